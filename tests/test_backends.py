"""One contract for both backends of the queue: what is appended in batches is read from an offset, followed, on its topics."""

import asyncio
import contextlib
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

import msgspec
import pytest

from engine.events import Decided, Event, Filled, Tick
from engine.queue.access import Access
from engine.queue.bridge import Order
from engine.queue.carry import Errand, Record, framed, said
from engine.queue.fluvio import END, SESSIONS, topic_of
from engine.queue.local import LocalQueue
from engine.queue.session import Session
from engine.queue.streams import Ordered, Stream, facts, manifest
from tests.fluvio_bridge import bridged
from tests.fluvio_cluster import cluster
from tests.fluvio_standin import standin
from tests.simulated import until
from tests.test_queue import CLOSING, OPENING
from tests.test_streams import decided, filled

PATIENCE_S = 30.0
TOPICS = """
import asyncio, os, sys
from engine.queue.fluvio import Access, Cluster

async def run():
    cluster = Cluster(Access(sys.argv[1]))
    await cluster.connect()
    print(*await cluster.topics(), flush=True)
    os._exit(0)

asyncio.run(run())
"""


class Backend(Protocol):
    def append(self, steps: list[tuple[Event, list[Event]]]) -> None:
        """A batch that is kept when this returns."""

    def read(self, stream: Stream, offset: int) -> AsyncGenerator[Event, None]:
        """From the event number `offset` of this stream on, then what comes, for ever."""

    async def topics(self) -> set[str]: ...


class Local:
    def __init__(self, folder: Path, symbols: tuple[str, ...]) -> None:
        self.session = f"t{time.time_ns() % 10**9}"
        self.path = folder / "sessions" / f"{time.time_ns() // 10**6:013d}-{self.session}.barter"
        self.queue = LocalQueue(self.path, msgspec.structs.replace(OPENING, session=self.session, symbols=symbols))

    def append(self, steps: list[tuple[Event, list[Event]]]) -> None:
        for event, outputs in steps:
            self.queue.append(event, outputs)
        self.queue.commit()

    async def read(self, stream: Stream, offset: int) -> AsyncGenerator[Event, None]:
        counts: dict[Stream, int] = {}
        with Session(self.path) as session:
            async for chunk in session.follow():
                for where, fact in facts(self.session, chunk, counts):
                    if where is stream and fact.sequence >= offset:
                        yield fact.decoded()

    async def topics(self) -> set[str]:
        return {stream.value for stream in Stream}

    def close(self) -> None:
        self.queue.close(msgspec.structs.replace(CLOSING, inputs=self.queue.inputs, outputs=self.queue.outputs))


class Fluvio(Local):
    """The same file, and the real bridge; what is read is what a process on another machine would read."""

    def __init__(self, folder: Path, symbols: tuple[str, ...], endpoint: str) -> None:
        super().__init__(folder, symbols)
        self.symbols, self.endpoint = symbols, endpoint

    async def read(self, stream: Stream, offset: int) -> AsyncGenerator[Event, None]:
        reader = Ordered(self.session)
        async with contextlib.aclosing(records(self.endpoint, topic_of(self.symbols, stream), 0)) as coming:
            async for _, value in coming:
                fact = reader.take(value)
                if fact is not None and fact.sequence >= offset:
                    assert not reader.missing
                    yield fact.decoded()

    async def topics(self) -> set[str]:
        pipe = asyncio.subprocess.PIPE
        done = await asyncio.create_subprocess_exec(sys.executable, "-c", TOPICS, self.endpoint, stdout=pipe)
        out, _ = await done.communicate()
        ours = topic_of(self.symbols, "")
        return {name.removeprefix(ours) for name in out.decode().split() if name.startswith(ours)}


async def records(endpoint: str, topic: str, start: int) -> AsyncGenerator[tuple[int, bytes], None]:
    """Of a topic, through the process that a console on another machine has."""
    pipe = asyncio.subprocess.PIPE
    words = (sys.executable, "-m", "engine.queue.carry")
    child = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL)
    assert child.stdin is not None and child.stdout is not None
    child.stdin.write(framed(msgspec.msgpack.encode(Errand(Access(endpoint), topic, start))))
    try:
        async for message in said(child.stdout):
            if isinstance(message, Record):
                yield message.offset, message.value
    finally:
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.communicate()


@asynccontextmanager
async def bridging(backend: Fluvio) -> AsyncIterator[None]:
    topics = topic_of(backend.symbols, "views"), topic_of(backend.symbols, "commands")
    order = Order(str(backend.path.parent.parent), Access(backend.endpoint), 3600, topics)
    async with bridged(order, []):
        yield


@pytest.fixture(params=["local", "stand-in", "cluster"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Local]:
    async with contextlib.AsyncExitStack() as stack:
        match request.param:
            case "local":
                made = Local(tmp_path, ("ASTER/USDT:USDT",))
            case "stand-in":
                standing = await stack.enter_async_context(standin())
                made = Fluvio(tmp_path, ("ASTER/USDT:USDT",), standing.endpoint)
            case _:
                made = Fluvio(tmp_path, ("BARTERTEST/USDT:USDT",), await stack.enter_async_context(cluster(tmp_path / "cluster")))
        if isinstance(made, Fluvio):
            await stack.enter_async_context(bridging(made))
        yield made


def steps(numbers: range) -> Iterator[tuple[Event, list[Event]]]:
    """A decision at each, and a fill at every third."""
    for number in numbers:
        yield Tick(number), [decided(number), *([filled(number)] if number % 3 == 0 else [])]


async def some(backend: Local, stream: Stream, offset: int, count: int) -> list[Event]:
    found: list[Event] = []
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(backend.read(stream, offset)) as coming:
        async for event in coming:
            found.append(event)
            if len(found) == count:
                return found
    raise AssertionError(f"{len(found)} of {count} came")


async def test_what_was_appended_in_batches_is_read_from_any_offset_in_order(backend: Local) -> None:
    for start in range(0, 300, 100):
        backend.append(list(steps(range(start, start + 100))))
    assert await some(backend, Stream.DECISIONS, 0, 300) == [decided(number) for number in range(300)]
    assert await some(backend, Stream.DECISIONS, 250, 50) == [decided(number) for number in range(250, 300)]
    fills = await some(backend, Stream.EXECUTIONS, 90, 10)
    assert fills == [filled(number) for number in range(270, 300, 3)] and all(isinstance(one, Filled) for one in fills)


async def test_a_reader_follows_what_is_appended_while_it_reads(backend: Local) -> None:
    backend.append(list(steps(range(3))))
    found: list[Event] = []
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(backend.read(Stream.DECISIONS, 0)) as coming:
        async for event in coming:
            found.append(event)
            if len(found) == 12:
                break
            if len(found) % 3 == 0:
                backend.append(list(steps(range(len(found), len(found) + 3))))
    assert [one.at for one in found if isinstance(one, Decided)] == list(range(12))


async def test_each_stream_has_a_topic_of_its_own(backend: Local) -> None:
    backend.append([(Tick(0), [decided(0), filled(0)])])
    assert await some(backend, Stream.DECISIONS, 0, 1) == [decided(0)]
    assert await some(backend, Stream.EXECUTIONS, 0, 1) == [filled(0)]
    assert {Stream.DECISIONS, Stream.EXECUTIONS} <= await backend.topics()


@pytest.mark.parametrize("backend", ["stand-in", "cluster"], indirect=True)
async def test_a_finished_sessions_manifest_leads_a_reader_to_its_records(backend: Fluvio) -> None:
    backend.append(list(steps(range(60))))
    backend.close()
    known = records(backend.endpoint, topic_of(backend.symbols, SESSIONS), 0)
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(known):
        async for _, value in known:
            told = manifest(value)
            if told is not None and told.session == backend.session:
                break
    assert not told.cut_off
    places = {place.topic.removeprefix(topic_of(backend.symbols, "")): place for place in told.places}
    assert set(places) == {"market-data", "decisions", "executions"}
    place, reader = places["executions"], Ordered(backend.session)
    theirs = records(backend.endpoint, place.topic, place.first)
    async with asyncio.timeout(PATIENCE_S), contextlib.aclosing(theirs):
        async for offset, value in theirs:
            reader.take(value)
            if offset == place.last:
                break
    assert (reader.following, reader.missing, reader.sha256) == (place.count, 0, place.sha256) == (20, 0, place.sha256)


async def test_a_follower_from_the_end_gets_only_what_comes(tmp_path: Path) -> None:
    async with standin() as standing:
        made = Fluvio(tmp_path, ("ASTER/USDT:USDT",), standing.endpoint)
        made.append(list(steps(range(10))))
        topic = topic_of(made.symbols, Stream.DECISIONS)
        async with bridging(made), asyncio.timeout(PATIENCE_S):
            await until(lambda: standing.logs[topic].end == 10)
            coming = records(standing.endpoint, topic, END)
            first = asyncio.ensure_future(anext(coming))
            await until(lambda: standing.streams)
            await asyncio.sleep(0.2)
            made.append(list(steps(range(10, 12))))
            assert (await first)[0] == 10
            await coming.aclose()
