"""One route of one venue in, decoded events out: a connection that is watched stream by stream and made anew when it must be.

An acknowledged subscription proves nothing (Binance's streams on a wrong route are acknowledged and stay silent since
2026-04-23), so each stream must bring its first data in time. A connection that is about to end is followed before it does: the
successor's events are held until all its streams have spoken, then told at once, and nobody notices but the ids.
"""

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from functools import partial

import websockets

from engine.clock import Clock
from engine.errors import DecodeError, VenueError
from engine.events import Alert, Connected, DecodeFailed, Disconnected, Emit, Event, Instrument, Level, Liquidation
from engine.signal.connection import Connection, Dialect, Stream, some
from engine.signal.decoding import NOTHING, Control
from engine.signal.socket import Socket, never, open_socket

SILENCE_S = 30.0  # a connection on which nothing at all comes for so long is dead
PONG_S = 5.0
CLOSE_S = 1.0  # how long a connection that is given up may take to say goodbye
OPEN_S = 10.0
SHORT_LIVED_S = 5.0  # connections that end sooner are made anew with growing pauses: the venue counts attempts
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
BETWEEN_REQUESTS_S = 0.25  # Binance takes 10 messages a second
MOST_PATIENCE_S = 600.0  # with a stream that has nothing to say
FOLLOW_AGAIN_S = 30.0
MAX_FRAME = 8 * 1024 * 1024
FRAMES_BUFFERED = 4096  # past this the socket is not read: back-pressure, nothing is dropped
HELD = 50_000  # events of a successor that waits; beyond, it is given up


class Feed:
    """Each connection is told by Connected and Disconnected, one that merely follows another is not.

    `run` ends by cancellation, or with a VenueError when the venue turns us away (not found, forbidden, too many attempts).
    """

    def __init__(
        self,
        dialect: Dialect,
        route: str,
        base: str,
        clock: Clock,
        first_data_s: float,
        emit: Emit,
        order_waits: Callable[[], bool] = never,
    ) -> None:
        self.dialect, self.route, self.clock, self.emit, self.order_waits = dialect, route, clock, emit, order_waits
        self.url = dialect.url(base, route)
        self.first_data_s = max(clock.real_seconds(first_data_s), 2.0)
        self.streams: dict[str, Stream] = {}
        self.frames = self.connects = self.followed = self.requests_held = 0
        self._current: Connection | None = None
        self._give_up = ""
        self._wake = asyncio.Event()
        self._wishes: deque[tuple[str, tuple[Stream, ...], float]] = deque()  # verb, streams, not before
        self._patience: dict[str, float] = {}  # seconds, with streams for whose silence a connection was given up
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
        gone = [stream for stream in self.streams.values() if stream.market == market]
        if not any(stream.market not in ("", market) for stream in self.streams.values()):
            gone = list(self.streams.values())  # what is of no market is wanted for the sake of some
        for stream in gone:
            del self.streams[stream.name]
            self._patience.pop(stream.name, None)
            if self._current is not None:
                self._current.asked.pop(stream, None)  # nothing is waited for, even where the request is held back
        self._wish("unsubscribe", tuple(gone))

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

    async def _connect(self) -> Socket | None:
        """None where nobody answers now; raises InvalidHandshake when we are turned away for good."""
        try:
            return await open_socket(self.url, FRAMES_BUFFERED, max_size=MAX_FRAME, open_timeout=OPEN_S, close_timeout=CLOSE_S)
        except websockets.InvalidStatus as refused:
            if refused.response.status_code < 500:
                raise
        except (OSError, TimeoutError, websockets.InvalidMessage):
            pass
        return None

    async def _session(self, socket: Socket) -> None:
        """From Connected to Disconnected."""
        self._give_up = ""
        self._wishes.clear()  # everything wanted is subscribed to at once
        self._current = current = Connection(socket, self.dialect, None)
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
            for connection in {current, last or current}:
                await connection.close()

    async def _begin(self, connection: Connection) -> None:
        """Subscribe and read from now on."""
        await self._ask(connection, "subscribe", tuple(self.streams.values()))
        hear = partial(self._hear, connection)
        connection.reading = asyncio.create_task(connection.socket.listen(hear, self.order_waits))

    async def _live(self) -> str:
        """Watch the connection, and whichever follows it, until one has to be given up; returns why."""
        following: asyncio.Task[Connection | str] | None = None
        follow_at = 0.0
        try:
            while True:
                current = self._current
                assert current is not None and current.reading is not None
                await self._pause({current.reading} if following is None else {current.reading, following})
                now = time.monotonic()
                if following is not None and following.done():
                    successor, following = following.result(), None
                    if isinstance(successor, Connection):
                        follow_at = now + SHORT_LIVED_S
                        self._take_over(current, successor)
                        continue
                    follow_at = now + FOLLOW_AGAIN_S
                    self._say(Level.WARNING, f"{self.dialect.title} {self.route} could not be followed: {successor}.")
                if current.reading.done():
                    current.reading.result()
                if self._give_up:
                    return self._give_up
                if problem := await self._problem(current):
                    return problem
                await self._grant(current)
                old = self.dialect.recycle_s and now - current.opened > self.dialect.recycle_s
                if following is None and (current.leaving or old) and now >= follow_at:
                    following = asyncio.create_task(self._follow())
        finally:
            if following is not None:
                following.cancel()
                (left,) = await asyncio.gather(following, return_exceptions=True)
                if isinstance(left, Connection):
                    await left.close()

    async def _pause(self, tasks: set[asyncio.Task[None] | asyncio.Task[Connection | str]]) -> None:
        """Until something is wished for, one of the tasks ends, or it is time to look."""
        waking = asyncio.create_task(self._wake.wait())
        due = min((due for _, _, due in self._wishes), default=float("inf")) - time.monotonic()
        await asyncio.wait(
            {*tasks, waking},
            timeout=min(1.0, self.first_data_s / 4, max(due, BETWEEN_REQUESTS_S)),
            return_when=asyncio.FIRST_COMPLETED,
        )
        waking.cancel()
        self._wake.clear()

    async def _problem(self, current: Connection) -> str:
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
        problem, waited = current.overdue(self.first_data_s, self._patience)
        # A market may have nothing to say for long: the others are not made to suffer for it again and again.
        self._patience |= {name: min(2 * wait_s, MOST_PATIENCE_S) for name, wait_s in waited.items()}
        tradeless = current.tradeless(self.first_data_s)
        if tradeless and not problem and not current.quiet_told:
            current.quiet_told = True
            self._say(Level.WARNING, f"{dialect.title} has not sent a trade on {some(one.name for one in tradeless)} yet.")
        return problem

    # --- one that follows ----------------------------------------------------------------------------------------------

    async def _follow(self) -> Connection | str:
        """Another connection whose streams have all spoken, as far as they do on this one, or why there is none."""
        try:
            socket = await self._connect()
        except websockets.InvalidHandshake as problem:
            return str(problem)[:120]
        if socket is None:
            return "nobody answers"
        successor = Connection(socket, self.dialect, deque())
        try:
            await self._begin(successor)
            deadline = time.monotonic() + self.first_data_s
            while self._waits_for(successor):
                if successor.reading is not None and successor.reading.done():
                    successor.reading.result()
                if time.monotonic() > deadline:
                    raise VenueError(self.dialect.title, "its streams did not all begin")
                await asyncio.sleep(0.05)
            return successor
        except (VenueError, websockets.ConnectionClosed) as problem:
            await successor.close()
            return str(problem)[:120]
        except BaseException:
            await successor.close()
            raise

    def _waits_for(self, successor: Connection) -> bool:
        heard = self._current.heard if self._current is not None else {}
        wanted = self.streams.values()
        return any(one in wanted and one.key in heard and not one.may_be_quiet for one in successor.missing())

    def _take_over(self, old: Connection, new: Connection) -> None:
        held, new.held = new.held or (), None
        old.stop()
        self._current = new
        self.followed += 1
        markets = {stream.market for stream in self.streams.values()}
        for event, read_ns in held:
            # What can be told twice is; a liquidation has no id, and the old connection has told it.
            if not isinstance(event, Liquidation) and event.market in markets:  # type: ignore[attr-defined]
                self.emit(event, read_ns)
        # It began with what was wanted then; all its streams have begun anew.
        self._wishes.clear()
        self._wish("subscribe", tuple(stream for stream in self.streams.values() if stream not in new.asked))
        self._wish("unsubscribe", tuple(stream for stream in new.asked if stream.name not in self.streams))
        closing = asyncio.create_task(old.close())
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    # --- talking -------------------------------------------------------------------------------------------------------

    async def _grant(self, current: Connection) -> None:
        """One of the wishes that are due: the venue counts messages."""
        now = time.monotonic()
        if now - current.spoken < BETWEEN_REQUESTS_S:
            return
        for place, (verb, streams, due) in enumerate(self._wishes):
            if due > now:
                continue
            del self._wishes[place]
            if verb != "unsubscribe":
                streams = tuple(stream for stream in streams if stream.name in self.streams)  # others are dropped meanwhile
            if verb == "again":
                current.anew |= {stream.name for stream in streams}
            await self._ask(current, "unsubscribe" if verb == "again" else verb, streams)
            return

    async def _ask(self, connection: Connection, verb: str, streams: tuple[Stream, ...]) -> None:
        if streams and (not_before := await connection.ask(verb, streams)):
            self.requests_held += 1
            self._wishes.append((verb, streams, not_before))

    def _hear(self, connection: Connection, raw: bytes) -> bool:
        """One message; True when an order follows from it."""
        dialect, emit, known = self.dialect, self.emit, connection.heard
        read_ns = time.monotonic_ns()
        self.frames += 1
        connection.last_frame = read_s = read_ns / 1e9
        try:
            heard = dialect.frame(raw, self.clock.at_mono(read_ns))
        except DecodeError as problem:
            return emit(DecodeFailed(self.clock.at_mono(read_ns), dialect.venue, self.route, str(problem)), read_ns)
        if isinstance(heard, Control):
            self._control(connection, heard)
            heard = NOTHING
        urgent = False
        for event in heard:
            key = (event.market, type(event))  # type: ignore[attr-defined]
            if key not in known:
                dialect.sample(raw)
            known[key] = read_s
            if connection.held is None:
                urgent |= emit(event, read_ns)
            elif len(connection.held) < HELD:
                connection.held.append((event, read_ns))
            else:
                raise VenueError(dialect.title, "too much came before all its streams had begun")
        return urgent

    def _control(self, connection: Connection, control: Control) -> None:
        answered = connection.answered(control)
        match control.kind:
            case "unsubscribe" if control.stream in connection.anew:
                connection.anew.discard(control.stream)
                stream = self.streams.get(control.stream)
                if stream is not None:  # before anything else that may use up the venue's hour
                    self._wishes.appendleft(("subscribe", (stream,), 0.0))
                    self._wake.set()
            case "leaving":
                connection.leaving = True
                self._wake.set()
                self._say(Level.INFO, f"{self.dialect.title} {self.route}: {control.text}. Another connection follows.")
            case "error":
                what = f" Nothing comes of {some(one.name for one in answered)}." if answered else ""
                self._say(Level.ERROR, f"{self.dialect.title} {self.route}: {control.text}.{what}")

    def _say(self, level: Level, text: str) -> None:
        self._tell(Alert(self.clock.now_ns(), level, text))

    def _tell(self, event: Event) -> None:
        self.emit(event, time.monotonic_ns())
