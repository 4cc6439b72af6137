"""A process between a program and a cluster: records of a topic in order on its output, values for another one on its input.

Whatever runs here may freeze or die in the client without harm to who started it. It reconnects for ever, and says so.
"""

import asyncio
import os
import struct
import threading
from collections.abc import AsyncIterator

import msgspec

from engine.errors import QueueError
from engine.queue.access import Access
from engine.queue.fluvio import END, Cluster

WAITS_S = (0.5, 1.0, 2.0, 5.0)
LARGEST = 1 << 20
_LENGTH = struct.Struct(">I")


class Errand(msgspec.Struct, frozen=True):
    """The first message on its input. `start` is an offset, END what comes from now on; `write` "" where nothing is to be sent.
    Where topics are made for others, `retention_s` is not 0. A topic that says nothing for `silent_s` is opened anew.
    """

    access: Access
    read: str
    start: int = END
    write: str = ""
    retention_s: int = 0
    silent_s: float = 0.0  # 0: it may be silent


class Record(msgspec.Struct, frozen=True, tag=True):
    """What was read from the topic, at its place there."""

    offset: int
    value: bytes


class Standing(msgspec.Struct, frozen=True, tag=True):
    """Connected, or why not."""

    connected: bool
    problem: str = ""


class Stored(msgspec.Struct, frozen=True, tag=True):
    """What became of the value number `number` on its input; with a `problem` that is not known."""

    number: int
    offset: int
    problem: str = ""


Said = Record | Standing | Stored
_said = msgspec.msgpack.Decoder(Said)


def framed(value: bytes) -> bytes:
    return _LENGTH.pack(len(value)) + value


async def messages(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Up to the end of what is written there."""
    try:
        while True:
            (size,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            if size > LARGEST << 1:
                raise ConnectionError("a message is too large")
            yield await reader.readexactly(size)
    except (asyncio.IncompleteReadError, ConnectionError):
        return


async def said(reader: asyncio.StreamReader) -> AsyncIterator[Said]:
    async for message in messages(reader):
        yield _said.decode(message)


class Carrier:
    """Both directions; each has a connection of its own, so that a write that hangs holds no record up."""

    def __init__(self, errand: Errand) -> None:
        self.errand = errand
        self.following = errand.start
        self._told: Standing | None = None
        self._out = os.fdopen(os.dup(1), "wb")
        os.dup2(2, 1)  # the client prints now and then

    def say(self, message: Said) -> None:
        if isinstance(message, Standing):
            if message == self._told:
                return
            self._told = message
        self._out.write(framed(msgspec.msgpack.encode(message)))
        self._out.flush()

    async def read(self) -> None:
        tried = 0
        while True:
            try:
                async for offset, value in self._records():
                    self.say(Standing(True))
                    self.say(Record(offset, value))
                    self.following, tried = offset + 1, 0
            except QueueError as problem:
                self.say(Standing(False, str(problem)))
                await asyncio.sleep(WAITS_S[min(tried, len(WAITS_S) - 1)])
                tried += 1

    async def _records(self) -> AsyncIterator[tuple[int, bytes]]:
        errand = self.errand
        cluster = Cluster(errand.access)
        await cluster.connect()
        if errand.retention_s:
            await cluster.ensure(errand.read, errand.retention_s)
        elif errand.read not in await cluster.topics():
            raise QueueError(errand.access.endpoint, f"there is no topic {errand.read}: no engine has sent to it yet")
        if not errand.silent_s:
            self.say(Standing(True))
        records = cluster.read(errand.read, self.following, follow=True)
        while True:
            coming = asyncio.ensure_future(anext(records))  # not cancelled: see `Cluster.read`
            done, _ = await asyncio.wait({coming}, timeout=errand.silent_s or None)
            if not done:
                raise QueueError(errand.access.endpoint, f"nothing came on {errand.read} for {errand.silent_s:g} s")
            yield coming.result()

    async def write(self, reader: asyncio.StreamReader) -> None:
        """Each value once: whether to repeat one is for who knows what it means."""
        cluster: Cluster | None = None
        number = 0
        async for value in messages(reader):
            try:
                if cluster is None:
                    cluster = Cluster(self.errand.access)
                    await cluster.connect()
                    if self.errand.retention_s:
                        await cluster.ensure(self.errand.write, self.errand.retention_s)
                _, offset = await cluster.send(self.errand.write, "", [value])
                self.say(Stored(number, offset))
            except QueueError as problem:
                cluster = None
                self.say(Stored(number, -1, str(problem)))
            number += 1


async def run() -> None:
    """Until the input ends."""
    reader = asyncio.StreamReader(limit=LARGEST)
    # A thread, since a pipe of ours may be anything: asyncio takes only some kinds.
    loop = asyncio.get_running_loop()
    threading.Thread(target=_feed, args=(loop, reader), daemon=True).start()
    errand = msgspec.msgpack.decode(await anext(messages(reader)), type=Errand)
    carrier = Carrier(errand)
    if errand.write:
        await asyncio.gather(carrier.read(), carrier.write(reader))
    await carrier.read()


def _feed(loop: asyncio.AbstractEventLoop, reader: asyncio.StreamReader) -> None:
    while some := os.read(0, 1 << 16):
        loop.call_soon_threadsafe(reader.feed_data, some)
    os._exit(0)  # who started this is gone


if __name__ == "__main__":
    asyncio.run(run())
