"""One route of one venue in, decoded events out: a connection that is watched stream by stream and made anew when it must be.

An acknowledged subscription proves nothing (Binance's streams on a wrong route are acknowledged and stay silent since
2026-04-23), so each stream must bring its first data in time. A connection that is about to end is followed before it does: the
successor's events are held until all its streams have spoken, then told at once, and nobody notices but the ids.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple, Protocol

import websockets
from websockets.asyncio.client import ClientConnection, connect

from engine.clock import Clock
from engine.errors import DecodeError, VenueError
from engine.events import Alert, Connected, DecodeFailed, Disconnected, Emit, Event, Instrument, Level, Trade
from engine.signal.decoding import Control, Heard

SILENCE_S = 30.0  # a connection on which nothing at all comes for so long is dead
PONG_S = 5.0
CLOSE_S = 1.0  # how long a connection that is given up may take to say goodbye
OPEN_S = 10.0
SHORT_LIVED_S = 5.0  # connections that end sooner are made anew with growing pauses: the venue counts attempts
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
BETWEEN_REQUESTS_S = 0.25  # Binance takes 10 messages a second
HOUR_S = 3600.0
FOLLOW_AGAIN_S = 30.0
MAX_FRAME = 8 * 1024 * 1024
FRAMES_A_TURN = 32
FRAMES_BUFFERED = 4096  # past this the socket is not read: back-pressure, nothing is dropped
HELD = 50_000  # events of a successor that waits; beyond, it is given up


class Stream(NamedTuple):
    """`name` is what the venue's answers call it; `brings` is the kind of event that proves it."""

    market: str
    name: str
    brings: type[Event]
    may_be_quiet: bool = False  # nobody has to trade

    @property
    def key(self) -> tuple[str, type[Event]]:
        return self.market, self.brings


class Dialect(Protocol):
    """How a venue is spoken to."""

    venue: str
    title: str  # in sentences
    ping: str  # text that is answered, sent when nothing came for `ping_after_s`; "" where the venue pings
    ping_after_s: float
    recycle_s: float  # age at which a connection is followed by another one; 0: never
    requests_an_hour: int

    def url(self, base: str, route: str) -> str: ...
    def streams(self, route: str, instrument: Instrument) -> tuple[Stream, ...]: ...
    def request(self, verb: str, streams: Iterable[Stream], number: int) -> str:
        """`verb`: subscribe or unsubscribe."""

    def frame(self, raw: bytes, at: int) -> Heard: ...
    def sample(self, raw: bytes) -> None: ...


class _Connection:
    """One socket's life. While `held` is a list its events wait there."""

    def __init__(self, socket: ClientConnection, held: "deque[tuple[Event, int]] | None") -> None:
        self.socket, self.held = socket, held
        self.opened = self.last_frame = time.monotonic()
        self.pinged = 0.0
        self.leaving = False  # the venue has said that it will close it
        self.asked: dict[Stream, float] = {}  # when each stream was subscribed to
        self.seen: set[tuple[str, type[Event]]] = set()
        self.anew: set[str] = set()  # streams that are unsubscribed only to be subscribed to again
        self.quiet_told = False
        self.reading: asyncio.Task[None]

    def missing(self) -> list[Stream]:
        return [stream for stream in self.asked if stream.key not in self.seen]


class Feed:
    """Each connection is told by Connected and Disconnected, one that merely follows another is not.

    `run` ends by cancellation, or with a VenueError when the venue turns us away (not found, forbidden, too many attempts).
    """

    def __init__(self, dialect: Dialect, route: str, base: str, clock: Clock, first_data_s: float, emit: Emit) -> None:
        self.dialect, self.route, self.clock, self.emit = dialect, route, clock, emit
        self.url = dialect.url(base, route)
        self.first_data_s = max(clock.real_seconds(first_data_s), 2.0)
        self.streams: dict[str, Stream] = {}
        self.frames = self.connects = self.followed = self.requests_held = 0
        self._current: _Connection | None = None
        self._give_up = ""
        self._wake = asyncio.Event()
        self._wishes: deque[tuple[str, tuple[Stream, ...], float]] = deque()  # verb, streams, not before
        self._requests: deque[float] = deque(maxlen=dialect.requests_an_hour)
        self._closing: set[asyncio.Task[None]] = set()

    # --- wishes --------------------------------------------------------------------------------------------------------

    def reconnect(self, reason: str = "the books could not be synchronised, so the feed is connected anew") -> None:
        """Drop the connection and make it anew."""
        self._give_up = reason
        self._wake.set()

    def add(self, instrument: Instrument) -> None:
        """Subscribe to a market on the living connection."""
        wanted = tuple(stream for stream in self.dialect.streams(self.route, instrument) if stream.name not in self.streams)
        self.streams |= {stream.name: stream for stream in wanted}
        self._wish("subscribe", wanted)

    def remove(self, market: str) -> None:
        """Nothing more comes of that market."""
        gone = tuple(stream for stream in self.streams.values() if stream.market == market)
        for stream in gone:
            del self.streams[stream.name]
        self._wish("unsubscribe", gone)

    def resubscribe(self, market: str, brings: type[Event], delay_s: float) -> None:
        """Unsubscribe from one stream, and subscribe to it again once that was acknowledged: the venue begins it anew."""
        found = tuple(stream for stream in self.streams.values() if stream.key == (market, brings))
        self._wish("again", found, delay_s)

    def _wish(self, verb: str, streams: tuple[Stream, ...], delay_s: float = 0.0) -> None:
        if streams:
            self._wishes.append((verb, streams, time.monotonic() + delay_s))
            self._wake.set()

    # --- connections ---------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        pause_s = FIRST_PAUSE_S
        try:
            while True:
                while not self.streams:
                    self._wake.clear()
                    await self._wake.wait()
                opened = time.monotonic()
                socket = await self._connect()
                if socket is not None:
                    self.connects += 1
                    opened = time.monotonic()
                    await self._session(socket)
                if socket is not None and time.monotonic() - opened > SHORT_LIVED_S:
                    pause_s = FIRST_PAUSE_S
                await asyncio.sleep(pause_s * (0.5 + random.random()))
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
        except websockets.InvalidHandshake as problem:
            raise VenueError(self.dialect.title, f"the {self.route} stream was turned away ({problem})"[:200]) from None

    async def _connect(self) -> ClientConnection | None:
        """None where nobody answers now; raises InvalidHandshake when we are turned away for good."""
        try:
            return await connect(
                self.url,
                ping_interval=None,  # pings are the venue's business, or text
                max_size=MAX_FRAME,
                max_queue=FRAMES_BUFFERED,
                compression=None,
                open_timeout=OPEN_S,
                close_timeout=CLOSE_S,
            )
        except websockets.InvalidStatus as refused:
            if refused.response.status_code < 500:
                raise
        except (OSError, TimeoutError, websockets.InvalidMessage):
            pass
        return None

    async def _session(self, socket: ClientConnection) -> None:
        """From Connected to Disconnected."""
        self._give_up = ""
        self._wishes.clear()  # everything wanted is subscribed to at once
        self._current = current = _Connection(socket, None)
        reason = "the connection ended"
        self._tell(Connected(self.clock.now_ns(), self.dialect.venue, self.route))
        try:
            await self._begin(current)
            reason = await self._live()
        except websockets.ConnectionClosed as closed:
            reason = f"the venue closed the connection ({closed.rcvd.code if closed.rcvd else 'no reason given'})"
        finally:
            self._tell(Disconnected(self.clock.now_ns(), self.dialect.venue, self.route, reason))
            last, self._current = self._current, None
            for connection in {current, last}:
                await self._close(connection)

    async def _begin(self, connection: _Connection) -> None:
        """Subscribe and read from now on."""
        await self._ask(connection, "subscribe", tuple(self.streams.values()))
        connection.reading = asyncio.create_task(self._read(connection))

    async def _close(self, connection: _Connection) -> None:
        if reading := getattr(connection, "reading", None):
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
        await connection.socket.close()

    async def _live(self) -> str:
        """Watch the connection, and whichever follows it, until one has to be given up; returns why."""
        following: asyncio.Task[_Connection | str] | None = None
        follow_at = 0.0
        try:
            while True:
                current = self._current
                assert current is not None
                await self._pause(current)
                if current.reading.done():
                    current.reading.result()
                if self._give_up:
                    return self._give_up
                if problem := await self._problem(current):
                    return problem
                await self._grant(current)
                now = time.monotonic()
                old = self.dialect.recycle_s and now - current.opened > self.dialect.recycle_s
                if following is None and (current.leaving or old) and now >= follow_at:
                    following = asyncio.create_task(self._follow())
                if following is not None and following.done():
                    successor, following = following.result(), None
                    if isinstance(successor, str):
                        follow_at = now + FOLLOW_AGAIN_S
                        self._say(Level.WARNING, f"{self.dialect.title} {self.route} could not be followed: {successor}.")
                    else:
                        self._take_over(current, successor)
        finally:
            if following is not None:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)

    async def _pause(self, current: _Connection) -> None:
        """Until something is wished for, the reader ends, or it is time to look."""
        waking = asyncio.create_task(self._wake.wait())
        due = min((due for _, _, due in self._wishes), default=float("inf")) - time.monotonic()
        await asyncio.wait(
            {current.reading, waking},
            timeout=min(1.0, self.first_data_s / 4, max(due, BETWEEN_REQUESTS_S)),
            return_when=asyncio.FIRST_COMPLETED,
        )
        waking.cancel()
        self._wake.clear()

    async def _problem(self, current: _Connection) -> str:
        """Why the connection should be made anew, "" where it should not."""
        dialect, now = self.dialect, time.monotonic()
        if not self.streams:
            return "nothing is collected from it any more"
        silent_s = now - current.last_frame
        if silent_s > SILENCE_S:
            return f"nothing came for {SILENCE_S:.0f} s"
        if dialect.ping and silent_s > dialect.ping_after_s:
            if current.pinged > current.last_frame and now - current.pinged > PONG_S:
                return f"nothing came for {silent_s:.0f} s, and no pong"
            if current.pinged <= current.last_frame:
                current.pinged = now
                await current.socket.send(dialect.ping)
        missing = [stream for stream in current.missing() if now - current.asked[stream] >= self.first_data_s]
        silent = sorted(stream.name for stream in missing if not stream.may_be_quiet)
        if silent:
            return f"no first data on {', '.join(silent[:5])} within {self.first_data_s:.0f} s of subscribing"
        tradeless = sorted(stream.name for stream in missing if stream.brings is Trade)
        if tradeless and not current.quiet_told:
            current.quiet_told = True
            self._say(Level.WARNING, f"{dialect.title} has not sent a trade on {', '.join(tradeless[:5])} yet.")
        return ""

    # --- one that follows ----------------------------------------------------------------------------------------------

    async def _follow(self) -> _Connection | str:
        """Another connection whose streams have all spoken, or why there is none."""
        socket = await self._connect()
        if socket is None:
            return "nobody answers"
        successor = _Connection(socket, deque())
        try:
            await self._begin(successor)
            deadline = time.monotonic() + self.first_data_s
            while any(not stream.may_be_quiet for stream in successor.missing()):
                if successor.reading.done():
                    successor.reading.result()
                if time.monotonic() > deadline:
                    raise VenueError(self.dialect.title, "its streams did not all begin")
                await asyncio.sleep(0.05)
            return successor
        except (VenueError, websockets.ConnectionClosed) as problem:
            await self._close(successor)
            return str(problem)[:120]
        except BaseException:
            await self._close(successor)
            raise

    def _take_over(self, old: _Connection, new: _Connection) -> None:
        held, new.held = new.held or (), None
        old.reading.cancel()
        self._current = new
        self.followed += 1
        for event, read_ns in held:
            self.emit(event, read_ns)
        closing = asyncio.create_task(self._close(old))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    # --- talking -------------------------------------------------------------------------------------------------------

    async def _grant(self, current: _Connection) -> None:
        """The wishes that are due, one a look: the venue counts messages."""
        now = time.monotonic()
        for place, (verb, streams, due) in enumerate(self._wishes):
            if due > now:
                continue
            del self._wishes[place]
            if verb == "again":
                current.anew |= {stream.name for stream in streams}
            await self._ask(current, "unsubscribe" if verb == "again" else verb, streams)
            return

    async def _ask(self, connection: _Connection, verb: str, streams: tuple[Stream, ...]) -> None:
        if not streams:
            return
        now = time.monotonic()
        if len(self._requests) == self._requests.maxlen and now - self._requests[0] < HOUR_S:
            self.requests_held += 1
            self._wishes.append((verb, streams, self._requests[0] + HOUR_S))
            return
        self._requests.append(now)
        for stream in streams:
            connection.seen.discard(stream.key)
            connection.asked.pop(stream, None)
            if verb == "subscribe" or stream.name in connection.anew:  # also where the answer to unsubscribing never comes
                connection.asked[stream] = now
        await connection.socket.send(self.dialect.request(verb, streams, len(self._requests) + self.connects))

    async def _read(self, connection: _Connection) -> None:
        dialect, clock, emit, seen = self.dialect, self.clock, self.emit, connection.seen
        socket = connection.socket
        while True:
            raw = await socket.recv(decode=False)
            read_ns = time.monotonic_ns()
            self.frames += 1
            connection.last_frame = read_ns / 1e9
            try:
                heard = dialect.frame(raw, clock.at_mono(read_ns))
            except DecodeError as problem:
                emit(DecodeFailed(clock.at_mono(read_ns), dialect.venue, self.route, str(problem)), read_ns)
                continue
            if isinstance(heard, Control):
                await self._control(connection, heard)
                continue
            urgent = False
            for event in heard:
                key = (event.market, type(event))  # type: ignore[attr-defined]
                if key not in seen:
                    seen.add(key)
                    dialect.sample(raw)
                if connection.held is None:
                    urgent |= emit(event, read_ns)
                elif len(connection.held) < HELD:
                    connection.held.append((event, read_ns))
                else:
                    raise VenueError(dialect.title, "too much came before all its streams had begun")
            # A buffered burst would be read without a pause: an order that waits for its turn, and the timers, come first.
            if urgent or self.frames % FRAMES_A_TURN == 0:
                await asyncio.sleep(0)

    async def _control(self, connection: _Connection, control: Control) -> None:
        match control.kind:
            case "unsubscribe" if control.stream in connection.anew:
                connection.anew.discard(control.stream)
                stream = self.streams.get(control.stream)
                if stream is not None:
                    await self._ask(connection, "subscribe", (stream,))
            case "leaving":
                connection.leaving = True
                self._wake.set()
                self._say(Level.INFO, f"{self.dialect.title} {self.route}: {control.text}. Another connection follows.")
            case "error":
                named = f" on {control.stream}" if control.stream else ""
                problem = f"{self.dialect.title}: {control.text}{named}"
                self._tell(DecodeFailed(self.clock.now_ns(), self.dialect.venue, self.route, problem))

    def _say(self, level: Level, text: str) -> None:
        self._tell(Alert(self.clock.now_ns(), level, text))

    def _tell(self, event: Event) -> None:
        self.emit(event, time.monotonic_ns())
