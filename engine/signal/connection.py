"""One socket to a venue: what was asked of it, what was answered and heard, and what is overdue."""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Mapping
from typing import NamedTuple, Protocol

from engine.events import BookDelta, BookSnapshot, Event, Instrument, Trade
from engine.signal.decoding import Control, Heard
from engine.signal.socket import Socket

STREAM_SILENCE_S = 90.0  # OKX says at least once a minute that a book has not changed
HOUR_S = 3600.0
NAMED = 5  # streams in a sentence

Key = tuple[str, type[Event]]


class Stream(NamedTuple):
    """`name` is what the venue's answers call it; `brings` is the kind of event that proves it."""

    market: str
    name: str
    brings: type[Event]
    may_be_quiet: bool = False  # nobody has to trade

    @property
    def key(self) -> Key:
        return self.market, self.brings


class Dialect(Protocol):
    """How a venue is spoken to."""

    venue: str
    title: str  # in sentences
    ping: str  # text that is answered, sent when nothing came for `ping_after_s`; "" where the venue pings
    ping_after_s: float
    recycle_s: float  # age at which a connection is followed by another one; 0: never
    requests_an_hour: int  # on one connection

    def url(self, base: str, route: str) -> str: ...
    def streams(self, route: str, instrument: Instrument) -> tuple[Stream, ...]: ...
    def request(self, verb: str, streams: Iterable[Stream], number: int) -> str:
        """`verb`: subscribe or unsubscribe."""

    def frame(self, raw: bytes, at: int) -> Heard: ...
    def sample(self, raw: bytes) -> None: ...


class Connection:
    """One socket's life, all times monotonic seconds. While `held` is a list its events wait there."""

    def __init__(self, socket: Socket, dialect: Dialect, held: "deque[tuple[Event, int]] | None") -> None:
        self.socket, self.dialect, self.held = socket, dialect, held
        self.opened = self.last_frame = time.monotonic()
        self.pinged = self.spoken = 0.0
        self.leaving = False  # the venue has said that it will close it
        self.asked: dict[Stream, float] = {}  # when each stream was subscribed to
        self.heard: dict[Key, float] = {}  # when each kind of event came last
        self.anew: set[str] = set()  # streams that are unsubscribed only to be subscribed to again
        self.unanswered: dict[int, list[Stream]] = {}  # subscriptions that the venue has not acknowledged, by request
        self.quiet_told = False
        self.reading: asyncio.Task[None] | None = None
        self._requests: deque[float] = deque(maxlen=dialect.requests_an_hour)
        self._number = 0

    async def ask(self, verb: str, streams: tuple[Stream, ...]) -> float:
        """Send a request. Returns 0, or the time at which the venue's hour has room for it: then nothing was asked."""
        now = time.monotonic()
        if len(self._requests) == self._requests.maxlen and now - self._requests[0] < HOUR_S:
            return self._requests[0] + HOUR_S
        self._requests.append(now)
        self.spoken = now
        self._number += 1
        for stream in streams:
            self.heard.pop(stream.key, None)
            self.asked.pop(stream, None)
            if verb == "subscribe" or stream.name in self.anew:  # also where the answer to unsubscribing never comes
                self.asked[stream] = now
        if verb == "subscribe":
            self.unanswered[self._number] = list(streams)
        await self.socket.send(self.dialect.request(verb, streams, self._number))
        return 0.0

    def answered(self, answer: Control) -> list[Stream]:
        """The subscriptions that an answer is to: by the request's number, by the stream's name, or in the venue's words."""
        found = self.unanswered.pop(answer.number, [])
        for streams in self.unanswered.values():
            meant = [stream for stream in streams if _meant(stream, answer)]
            streams[:] = [stream for stream in streams if stream not in meant]
            found += meant
        return found

    def missing(self) -> list[Stream]:
        """Subscribed to, and not heard of yet."""
        return [stream for stream in self.asked if stream.key not in self.heard]

    def overdue(self, first_data_s: float, patience: Mapping[str, float]) -> tuple[str, dict[str, float]]:
        """Why it should be made anew, "" where it should not, and how long each silent stream was waited for, by name.

        `patience` has those waits that are not `first_data_s`, or `STREAM_SILENCE_S` between one event and the next.
        """
        now = time.monotonic()
        waits = {one: patience.get(one.name, first_data_s) for one in self.missing()}
        late = {one: wait_s for one, wait_s in waits.items() if now - self.asked[one] >= wait_s}
        if silent := {one.name: wait_s for one, wait_s in late.items() if not one.may_be_quiet}:
            return f"no first data on {some(silent)} within {min(silent.values()):.0f} s of subscribing", silent
        unanswered = self._unanswered()
        if mute := {one.name: wait_s for one, wait_s in late.items() if one in unanswered}:
            return f"the subscription to {some(mute)} was not acknowledged", mute
        limits = {one: max(STREAM_SILENCE_S, patience.get(one.name, 0.0)) for one in self.asked if not one.may_be_quiet}
        if dead := {one.name: limit_s for one, limit_s in limits.items() if now - self._last(one) > limit_s}:
            return f"nothing came on {some(dead)} for {min(dead.values()):.0f} s", dead
        return "", {}

    def _unanswered(self) -> set[Stream]:
        """Subscriptions that neither an answer nor data prove; what was proved is forgotten."""
        missing = set(self.missing())
        left = {number: [one for one in streams if one in missing] for number, streams in self.unanswered.items()}
        self.unanswered = {number: streams for number, streams in left.items() if streams}
        return {stream for streams in self.unanswered.values() for stream in streams}

    def tradeless(self, first_data_s: float) -> list[Stream]:
        now = time.monotonic()
        return [one for one in self.missing() if one.brings is Trade and now - self.asked[one] >= first_data_s]

    def _last(self, stream: Stream) -> float:
        """When it spoke last, or was asked to."""
        updates = self.heard.get((stream.market, BookDelta), 0.0) if stream.brings is BookSnapshot else 0.0
        return max(self.heard.get(stream.key, 0.0), updates, self.asked[stream])

    def stop(self) -> None:
        """Nothing more is told of it."""
        self.socket.mute()
        if self.reading is not None:
            self.reading.cancel()

    async def close(self) -> None:
        self.stop()
        if self.reading is not None:
            await asyncio.gather(self.reading, return_exceptions=True)
        await self.socket.close()


def some(streams: Iterable[str]) -> str:
    """A few of the names, for a sentence."""
    return ", ".join(sorted(streams)[:NAMED])


def _meant(stream: Stream, answer: Control) -> bool:
    """OKX's refusals name the stream in words only."""
    if answer.kind == "error":
        return all(part in answer.text for part in stream.name.split(":")) and ":" in stream.name
    return stream.name == answer.stream
