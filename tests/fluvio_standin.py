"""A cluster of one controller and one storage unit on loopback, for the real Fluvio client, with faults on demand.

It speaks what fluvio 0.21.0 asks for and no more: versions, lists and watches of metadata (controller), producing, offsets
and streams (storage unit). Big-endian fields, strings behind 16-bit lengths, lists behind 32-bit counts.
"""

import asyncio
import contextlib
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

UNIT = 5001
TOPIC = "aster-market-data"
ENDS = ("market-data", "sessions", "signals", "decisions", "executions", "views", "commands")
FETCHED = 1 << 20  # bytes that a stream gives at once
VERSIONS, PRODUCE, OFFSETS, STREAM, STREAM_OFFSETS = 18, 0, 1002, 1003, 1005
LIST, WATCH = 1003, 1004

Handle = Callable[["Fields", int, int], Awaitable[bytes | None]]


def number(kind: str, *values: int) -> bytes:
    return struct.pack(f">{kind}", *values)


def text(word: str) -> bytes:
    return number("h", len(word)) + word.encode()


def listed(items: list[bytes]) -> bytes:
    return number("I", len(items)) + b"".join(items)


class Fields:
    """A request, read from its front."""

    def __init__(self, body: bytes) -> None:
        self.body, self.place = body, 0

    def take(self, kind: str) -> int:
        (value,) = struct.unpack_from(f">{kind}", self.body, self.place)
        self.place += struct.calcsize(kind)
        return int(value)

    def raw(self, length: int) -> bytes:
        self.place += length
        return self.body[self.place - length : self.place]

    def text(self) -> str:
        return self.raw(self.take("h")).decode()


class Log:
    """A topic's one partition. `batches`: (first offset, records, bytes)."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int, bytes]] = []
        self.end = 0


class Standin:
    """The topics of ASTER; `batches` and `end` are of its chunks. `fault`: "", silent, lost_ack, slow_ack."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.fault, self._tls = "", tls
        self.logs = {f"aster-{end}": Log() for end in ENDS}
        self.produced = self.streams = 0
        self.skips = False  # a stream skips the batch at which a fetch is full, as the real one does
        self.port = self._unit_port = 0
        self._servers: list[asyncio.Server] = []
        self._writers: set[asyncio.StreamWriter] = set()
        self._streams: set[asyncio.Task[None]] = set()
        self._grown = asyncio.Condition()

    @property
    def endpoint(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def batches(self) -> list[tuple[int, int, bytes]]:
        return self.logs[TOPIC].batches

    @property
    def end(self) -> int:
        return self.logs[TOPIC].end

    @property
    def stored(self) -> int:
        """Records on all topics."""
        return sum(log.end for log in self.logs.values())

    async def start(self) -> None:
        """Again on the same ports after `stop`."""
        unit = await asyncio.start_server(self._unit, "127.0.0.1", self._unit_port, ssl=self._tls)
        controller = await asyncio.start_server(self._controller, "127.0.0.1", self.port, ssl=self._tls)
        self._servers = [unit, controller]
        self._unit_port, self.port = (server.sockets[0].getsockname()[1] for server in self._servers)

    async def stop(self) -> None:
        for server in self._servers:
            server.close()
        for writer in list(self._writers):
            writer.transport.abort()
        for task in list(self._streams):
            task.cancel()
        await asyncio.gather(*self._streams, return_exceptions=True)

    # --- metadata --------------------------------------------------------------------------------------------------------

    def _topic(self, name: str) -> bytes:
        replicas = number("H", 1) + number("I", 0) + listed([number("i", UNIT)])
        spec = number("B", 1) + number("IIBBBBBB", 1, 1, 0, 0, 0, 4, 0, 0)
        return text(name) + spec + number("B", 4) + replicas + number("H", 0) + text("")

    def _partition(self, name: str) -> bytes:
        end = self.logs[name].end
        status = number("BiqqI", 1, UNIT, end, end, 1) + listed([]) + number("qBq", 0, 0, 0)
        return text(f"{name}-0") + number("i", UNIT) + listed([number("i", UNIT)]) + number("BBBBBB", 0, 0, 4, 0, 0, 0) + status

    def _storage(self) -> bytes:
        public = number("H", self._unit_port) + listed([number("B", 1) + text("127.0.0.1") + number("B", 0)]) + number("B", 0)
        private = number("H", self._unit_port) + text("127.0.0.1") + number("B", 0)
        return text(f"custom-spu-{UNIT}") + number("iB", UNIT, 1) + public + private + number("BBB", 0, 0, 0)

    def _objects(self, kind: str) -> list[bytes]:
        if kind == "SPU":
            return [self._storage()]
        made = {"Topic": self._topic, "Partition": self._partition}.get(kind)
        return [made(name) for name in self.logs] if made is not None else []

    # --- connections -----------------------------------------------------------------------------------------------------

    async def _controller(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def answer(fields: Fields, key: int, _: int) -> bytes | None:
            if self.fault == "silent":
                return None
            if key == VERSIONS:
                keys = ((1001, 9), (1002, 1), (1003, 15), (1004, 15), (1005, 14), (1006, 1))
                return number("h", 0) + listed([number("hhh", name, low, 19) for name, low in keys]) + text("0.18.1")
            kind = fields.text()
            objects = listed(self._objects(kind))
            body = objects if key == LIST else number("q", 0) + listed([]) + objects
            return text(kind) + number("I", len(body)) + body if key in (LIST, WATCH) else None

        await self._serve(reader, writer, answer)

    async def _unit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def answer(fields: Fields, key: int, correlation: int) -> bytes | None:
            match 0 if key == PRODUCE else key:
                case 18:
                    keys = ((0, 0, 25), (1, 0, 25), (1002, 25, 25), (1003, 0, 25), (1005, 0, 0))
                    return number("h", 0) + listed([number("hhh", *one) for one in keys]) + text("0.0.0")
                case 0:
                    return await self._produce(fields, writer)
                case 1002:
                    fields.take("I")  # one topic
                    name = fields.text()
                    place = number("hIqq", 0, 0, 0, self.logs[name].end)
                    return listed([text(name) + listed([place])])
                case 1003:
                    name = fields.text()
                    fields.take("I")
                    self.streams += 1
                    task = asyncio.create_task(self._stream(writer, correlation, name, fields.take("q"), self.streams))
                    self._streams.add(task)
                    task.add_done_callback(self._streams.discard)
                case 1005:
                    streams = []
                    for _ in range(fields.take("I")):
                        fields.take("q")
                        streams.append(fields.take("I"))
                    return listed([number("Ih", stream, 0) for stream in streams])
            return None

        await self._serve(reader, writer, answer)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: Handle) -> None:
        self._writers.add(writer)
        try:
            while True:
                (length,) = struct.unpack(">i", await reader.readexactly(4))
                fields = Fields(await reader.readexactly(length))
                key, _, correlation, _ = fields.take("H"), fields.take("h"), fields.take("i"), fields.text()
                body = await answer(fields, key, correlation)
                if body is not None:
                    await self._send(writer, correlation, body)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter, correlation: int, body: bytes) -> None:
        writer.write(number("ii", len(body) + 4, correlation) + body)
        await writer.drain()

    async def _produce(self, fields: Fields, writer: asyncio.StreamWriter) -> bytes | None:
        if fields.take("B"):
            fields.text()
        fields.take("h")
        fields.take("i")
        fields.take("I")  # one topic
        name = fields.text()
        if not fields.take("I"):  # a flush of nothing; else one partition
            return listed([text(name) + listed([])]) + number("i", 0)
        fields.take("I")
        log = self.logs[name]
        body, place, first = bytearray(fields.raw(fields.take("i"))), 0, log.end
        while place < len(body):
            (length,) = struct.unpack_from(">i", body, place + 8)
            (last,) = struct.unpack_from(">i", body, place + 23)
            struct.pack_into(">q", body, place, log.end)
            log.batches.append((log.end, last + 1, bytes(body[place : place + 12 + length])))
            log.end, place = log.end + last + 1, place + 12 + length
        self.produced += 1
        async with self._grown:
            self._grown.notify_all()
        if self.fault == "lost_ack":
            writer.transport.abort()
            raise ConnectionError
        if self.fault == "slow_ack":
            await asyncio.sleep(0.2)
        return listed([text(name) + listed([number("Ihqqq", 0, 0, first, -1, 0)])]) + number("i", 0)

    async def _stream(self, writer: asyncio.StreamWriter, correlation: int, topic: str, following: int, name: int) -> None:
        log = self.logs[topic]
        with contextlib.suppress(ConnectionError):
            first = True
            while True:
                some: list[bytes] = []
                room = FETCHED
                for start, count, body in log.batches:
                    if start + count <= following:
                        continue
                    if room < len(body) and some:
                        following = start + count if self.skips else following
                        break
                    some.append(body)
                    following, room = start + count, room - len(body)
                if some or first:
                    first = False
                    data = b"".join(some)
                    head = text(topic) + number("IIhqqqBi", name, 0, 0, log.end, -1, 0, 0, len(data))
                    await self._send(writer, correlation, head + data)
                else:
                    async with self._grown:
                        await self._grown.wait_for(lambda at=following: log.end > at)  # type: ignore[misc]


@asynccontextmanager
async def standin(tls: ssl.SSLContext | None = None) -> AsyncIterator[Standin]:
    made = Standin(tls)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()
