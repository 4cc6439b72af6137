"""A Fluvio cluster behind few calls; a session's stored rows in, records on a topic out, and the same rows again elsewhere.

The client holds the interpreter's lock while many of its calls wait, never returns from a connect to a silent port and can
crash at exit (fluvio 0.21.0, seen 2026-11): it is imported by the bridge's own process and by commands that end soon.
"""

import asyncio
import contextlib
import os
import re
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, TypeVar

import msgspec

from engine.errors import QueueError
from engine.queue.access import Access, client_config, preflight
from engine.queue.layout import Row

CALL_S = 6.0
ACK_S = 8.0
IDLE_S = 2.0  # without a record, the end of what is stored has been reached
LARGEST = 900_000  # bytes of a record; the client refuses a request of 1,048,652 (measured 2026-11)
REOPENED = 3  # times in a row at one offset, before it counts as expired
CHUNKS, SESSIONS = "market-data", "sessions"  # ends of topics' names: of all of a session, and of where each session is
PARTITION = 0
END = -1  # an offset: from the next record on
FETCH_BYTES = 500_000  # a stream that gave less than this at once has skipped nothing: a full fetch is 1 MiB
OPENING, CLOSING = -1, -2  # numbers of pieces that are no chunk
T = TypeVar("T")


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A part of a piece of a session: `number` is a chunk's, or OPENING or CLOSING. Producers may send it twice."""

    session: str
    number: int
    part: int
    parts: int
    body: bytes


_records = msgspec.msgpack.Decoder(Record)
_rows = msgspec.msgpack.Decoder(tuple[int, int, int, int, int, int, int, bytes, bytes, bytes])
_ends = msgspec.msgpack.Decoder(tuple[bytes, bytes])


def topic_of(symbols: Sequence[str], stream: str = CHUNKS) -> str:
    """`aster-market-data`: of the first symbol of a session, whose others travel with it. Fluvio takes no other letters."""
    base = re.sub(r"[^a-z0-9]+", "-", symbols[0].partition("/")[0].lower()).strip("-")
    return f"{base or 'market'}-{stream}"


def packed(session: str, number: int, piece: Row | tuple[bytes, bytes]) -> list[bytes]:
    """One piece as records, each small enough to be sent."""
    raw = msgspec.msgpack.encode(tuple(piece))
    parts = max(-(-len(raw) // LARGEST), 1)
    return [
        msgspec.msgpack.encode(Record(session, number, part, parts, raw[part * LARGEST : (part + 1) * LARGEST]))
        for part in range(parts)
    ]


class Assembly:
    """The records of one session in any number, order and repetition in; its pieces out. Others' records are left alone."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.opening: tuple[bytes, bytes] | None = None
        self.closing: tuple[bytes, bytes] | None = None
        self.repeated = self.strange = 0
        self._done: set[int] = set()
        self._parts: dict[int, dict[int, bytes]] = {}

    def take(self, value: bytes) -> Row | None:
        """A chunk, once it is whole and was not had before."""
        try:
            record = _records.decode(value)
            if record.session != self.session:
                return None
            if record.number in self._done:
                self.repeated += 1
                return None
            parts = self._parts.setdefault(record.number, {})
            parts[record.part] = record.body
            if len(parts) < record.parts:
                return None
            raw = b"".join(parts[place] for place in range(record.parts))
            del self._parts[record.number]
            self._done.add(record.number)
            if record.number == OPENING:
                self.opening = _ends.decode(raw)
            elif record.number == CLOSING:
                self.closing = _ends.decode(raw)
            else:
                return Row(*_rows.decode(raw))
        except (ValueError, RecursionError, KeyError):  # msgspec's are ValueErrors
            self.strange += 1
        return None


async def within(seconds: float, call: Callable[..., T], *words: object) -> T:
    """A call of the client that blocks, on a thread that nobody waits for at exit. Raises QueueError."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(value: T | None, problem: BaseException | None) -> None:
        if done.done():
            return
        if problem is not None:
            done.set_exception(QueueError("Fluvio", str(problem) or type(problem).__name__))
        else:
            done.set_result(value)  # type: ignore[arg-type]

    def work() -> None:
        value, problem = None, None
        try:
            value = call(*words)
        except BaseException as error:  # a Rust panic is no Exception
            problem = error
        with contextlib.suppress(RuntimeError):  # the loop ended meanwhile
            loop.call_soon_threadsafe(settle, value, problem)

    threading.Thread(target=work, daemon=True, name="fluvio").start()
    try:
        async with asyncio.timeout(seconds):
            return await done
    except TimeoutError:
        raise QueueError("Fluvio", f"the client did not answer within {seconds:g} s") from None


class Cluster:
    """A connection to a cluster. Raises QueueError."""

    def __init__(self, access: Access) -> None:
        self.access, self.endpoint = access, access.endpoint
        self.reopened = self.expired = 0  # streams that skipped records; offsets that no stream has any more
        self._client: Any = None
        self._producers: dict[str, Any] = {}

    async def connect(self) -> str:
        """Returns the platform's version."""
        version = await preflight(self.access)
        os.environ.setdefault("FLV_SOCKET_WAIT", "5")  # read once, when the client starts
        os.environ.setdefault("FLV_METADATA_TIMEOUT", "5000")
        from fluvio import Fluvio

        self._client = await within(CALL_S, Fluvio.connect_with_config, client_config(self.access))
        return version

    async def topics(self) -> set[str]:
        """The names of those that are there."""
        return {found.name() for found in await within(CALL_S, (await self._admin()).list_topics, [])}

    async def ensure(self, topic: str, retention_s: int, segment_bytes: int = 0) -> None:
        """One partition, so that the order holds. A topic that exists is left as it is. Whole segments expire: with small ones
        (0: the cluster's own size) little more is kept than the retention says.
        """
        from fluvio import TopicSpec

        if topic in await self.topics():
            return
        spec = TopicSpec.create().with_partitions(1).with_retention_time(retention_s)
        if segment_bytes:
            spec = spec.with_segment_size(segment_bytes)
        await within(CALL_S, (await self._admin()).create_topic, topic, spec.build())

    async def _admin(self) -> Any:
        from fluvio import FluvioAdmin

        return await within(CALL_S, FluvioAdmin.connect_with_config, client_config(self.access))

    async def send(self, topic: str, session: str, values: Sequence[bytes]) -> tuple[int, int]:
        """All of them, each acknowledged; returns the first and the last offset. After an error the outcome is unknown: send
        them again.

        A producer that failed raises its old error for ever, so it is thrown away.
        """
        try:
            producer = self._producers.get(topic)
            if producer is None:
                producer = self._producers[topic] = await within(CALL_S, self._producer, topic)
            async with asyncio.timeout(ACK_S):
                acks = await producer.async_send_all([(session.encode(), value) for value in values])
                await producer.async_flush()
                offsets = [int((await ack.async_wait()).offset()) for ack in acks]
            return offsets[0], offsets[-1]
        except TimeoutError:
            self._producers.pop(topic, None)
            raise QueueError(self.endpoint, f"records were not acknowledged within {ACK_S:g} s") from None
        except QueueError:
            self._producers.pop(topic, None)
            raise
        except Exception as problem:  # the client raises many kinds
            self._producers.pop(topic, None)
            raise QueueError(self.endpoint, f"records could not be sent ({problem})") from None

    def _producer(self, topic: str) -> Any:
        from fluvio import DeliverySemantic, Isolation, TopicProducerConfigBuilder

        config = (
            TopicProducerConfigBuilder()
            .batch_size(1_000_000)
            .linger(0)
            .isolation(Isolation.ReadUncommitted)
            .delivery_semantic(DeliverySemantic.AtLeastOnce)
            .build()
        )
        return self._client.topic_producer_with_config(topic, config)

    async def read(self, topic: str, start: int = 0, *, follow: bool = False) -> AsyncIterator[tuple[int, bytes]]:
        """Offsets and values in order, each once, up to the end of what is stored; with `follow`, what comes after it too, for
        ever. From `start`, or from what comes next where that is END.

        A stream over a backlog skips records where a fetch is full (a batch at each MiB; fluvio 0.21.0 and the cluster's own
        command line, seen 2026-11): it is reopened at the first offset that is missing.
        """
        from fluvio import Offset

        consumer = await within(CALL_S, self._client.partition_consumer, topic, PARTITION)
        following, tried = start, 0
        while True:
            try:
                async with asyncio.timeout(CALL_S):
                    wanted = Offset.end() if following == END else Offset.absolute(following)
                    stream = await consumer._inner.async_stream(wanted)
                fresh, taken = True, 0
                while True:
                    # Never cancelled: a pending `async_next` that is loses a record now and then.
                    coming = asyncio.ensure_future(stream.async_next())
                    done, _ = await asyncio.wait({coming}, timeout=IDLE_S)
                    if not done:
                        if follow and taken < FETCH_BYTES:
                            taken = 0
                            await asyncio.wait({coming})
                        elif not fresh:
                            break  # what it skipped may have been the last: only a new stream knows that there is no more
                        else:
                            return
                    record = coming.result()
                    offset = int(record.offset())
                    if offset < following:
                        continue
                    if offset > following != END and tried < REOPENED:
                        self.reopened, tried = self.reopened + 1, tried + 1
                        break
                    self.expired += offset - following if following != END else 0
                    following, tried, fresh = offset + 1, 0, False
                    value = bytes(record.value())
                    taken += len(value)
                    yield offset, value
            except TimeoutError:
                raise QueueError(self.endpoint, f"the stream of {topic} was not opened within {CALL_S:g} s") from None
            except QueueError:
                raise
            except StopAsyncIteration:
                raise QueueError(self.endpoint, f"the stream of {topic} ended") from None
            except Exception as problem:
                raise QueueError(self.endpoint, f"{topic} cannot be read ({problem})") from None
