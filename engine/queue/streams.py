"""Chunks of a session in, its single facts out: what was seen, decided and executed, numbered, each stream by itself.

A stream is read without the chunks. Facts of one session and stream are numbered from 0 without a hole, and the number
depends on the session's file alone: whoever reads a fact twice drops it, and whoever misses one knows.
"""

import hashlib
from collections.abc import Iterator
from enum import StrEnum
from functools import reduce
from operator import or_

import msgspec

from engine import events as e
from engine.events import Event
from engine.queue import Chunk


class Stream(StrEnum):
    """The end of a topic's name."""

    SIGNALS = "signals"  # bars and features as they closed
    DECISIONS = "decisions"  # judgments, intents, refusals, commands
    EXECUTIONS = "executions"  # orders, fills, funding, the account


STREAMS: dict[type[Event], Stream] = {
    **dict.fromkeys((e.BarClosed, e.BarsMissing, e.FeaturesReady), Stream.SIGNALS),
    **dict.fromkeys((e.ModelChanged, e.Qualified, e.AskJudgment, e.Answered, e.AnswerDone, e.AnswerFailed), Stream.DECISIONS),
    **dict.fromkeys((e.JudgmentDropped, e.JudgmentScored, e.StanceEnded, e.Judged, e.Decided), Stream.DECISIONS),
    **dict.fromkeys((e.Command, e.CommandDone, e.TradingChanged), Stream.DECISIONS),
    **dict.fromkeys((e.SendOrder, e.CancelOrder, e.OrderChanged, e.Filled, e.FundingPaid), Stream.EXECUTIONS),
    **dict.fromkeys((e.BalanceChange, e.AccountSnapshot, e.Difference), Stream.EXECUTIONS),
}
_BY_TAG = {kind.__name__: stream for kind, stream in STREAMS.items()}


class Fact(msgspec.Struct, frozen=True, array_like=True):
    """One event, encoded as everywhere, with the number of the core's input that it is or followed from."""

    session: str
    sequence: int
    input: int
    event: msgspec.Raw

    def decoded(self) -> Event:
        """Raises msgspec.MsgspecError for an event that no stream holds."""
        return _event(self.event)


_facts = msgspec.msgpack.Decoder(Fact)
_event = msgspec.msgpack.Decoder(reduce(or_, STREAMS)).decode


def stream_of(raw: bytes) -> Stream | None:
    """Of an encoded event, by its tag alone: an array whose first element is a short text."""
    if len(raw) < 2 or raw[0] & 0xF0 != 0x90:
        return None
    start, length = (2, raw[1] & 0x1F) if raw[1] & 0xE0 == 0xA0 else (3, raw[2]) if raw[1] == 0xD9 else (0, 0)
    return _BY_TAG.get(raw[start : start + length].decode("ascii", "replace"))


def facts(session: str, chunk: Chunk, counts: dict[Stream, int]) -> Iterator[tuple[Stream, Fact]]:
    """Those of a chunk in order; `counts` are the numbers of the next ones and move on."""

    def made(stream: Stream, number: int, raw: msgspec.Raw) -> tuple[Stream, Fact]:
        sequence = counts.get(stream, 0)
        counts[stream] = sequence + 1
        return stream, Fact(session, sequence, number, raw)

    for number, (event, outputs) in enumerate(chunk.steps(), start=chunk.first):
        if (stream := STREAMS.get(type(event))) is not None:
            yield made(stream, number, msgspec.Raw(e.encode(event)))
        for raw in outputs:
            if (stream := stream_of(bytes(raw))) is not None:
                yield made(stream, number, raw)


def chained(before: str, value: bytes) -> str:
    """A record's hash over the one before it ("" for the first), in hex: a run of records is known by its last."""
    return hashlib.sha256(bytes.fromhex(before) + value).hexdigest()


class Ordered:
    """One session's records of a stream in, repeated or with holes; its facts once each and in order out.

    `missing` counts what a hole left out; `sha256` is that of what was given out, as a manifest has it.
    """

    def __init__(self, session: str, sequence: int = 0) -> None:
        self.session, self.following = session, sequence
        self.repeated = self.missing = self.strange = 0
        self.sha256 = ""

    def take(self, value: bytes) -> Fact | None:
        """None for what is another session's, was given out before, or is no fact."""
        try:
            fact = _facts.decode(value)
        except (ValueError, RecursionError):  # msgspec's are ValueErrors
            self.strange += 1
            return None
        if fact.session != self.session:
            return None
        if fact.sequence < self.following:
            self.repeated += 1
            return None
        self.missing += fact.sequence - self.following
        self.following = fact.sequence + 1
        self.sha256 = chained(self.sha256, value)
        return fact


class Place(msgspec.Struct, frozen=True):
    """Where a session's records lie on a topic: between these offsets, `count` of them and maybe repeated ones. `sha256` is
    that of each behind the one before, in the order of their numbers.
    """

    topic: str
    partition: int = 0
    first: int = -1
    last: int = -1
    count: int = 0
    sha256: str = ""

    def added(self, values: list[bytes], first: int, last: int) -> "Place":
        """The same with these records behind, which were acknowledged at these offsets."""
        digest = reduce(chained, values, self.sha256)
        start = first if self.first < 0 else self.first
        return Place(self.topic, self.partition, start, last, self.count + len(values), digest)


class Manifest(msgspec.Struct, frozen=True):
    """The last word on a session: where all of it is. Cut off: its engine was killed, and nothing more will come."""

    session: str
    cut_off: bool
    places: tuple[Place, ...]


def manifest(value: bytes) -> Manifest | None:
    """From a record of the topic of sessions; None for anything else."""
    try:
        return msgspec.json.decode(value, type=Manifest)
    except (ValueError, RecursionError):
        return None
