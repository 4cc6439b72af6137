"""Binance's market-data sockets in, decoded events out: one connection a route, watched stream by stream.

An acknowledged subscription proves nothing (streams on a wrong route are acknowledged and stay silent, 2026-04-23), so
each stream must bring its first data in time or the connection is made anew.
"""

import asyncio
import random
import time

import msgspec
import websockets
from websockets.asyncio.client import ClientConnection, connect

from engine.clock import Clock
from engine.errors import DecodeError, VenueError
from engine.events import Alert, Connected, DecodeFailed, Disconnected, Emit, Instrument, Level
from engine.signal.binance.decode import VENUE, Decoder

# A stream on the other route is acknowledged and silent.
STREAMS = {"public": ("depth@100ms", "bookTicker"), "market": ("aggTrade", "markPrice@1s")}
KINDS = {"Quote": "bookTicker", "BookDelta": "depth@100ms", "Trade": "aggTrade", "Mark": "markPrice@1s"}
MAY_BE_QUIET = frozenset({"aggTrade"})  # nobody has to trade
SILENCE_S = 30.0  # a connection on which nothing at all comes for so long is dead
CLOSE_S = 1.0  # how long a connection that is given up may take to say goodbye
SHORT_LIVED_S = 5.0  # connections that end sooner are made anew with growing pauses: the venue counts attempts
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
MAX_FRAME = 8 * 1024 * 1024
FRAMES_A_TURN = 32
FRAMES_BUFFERED = 4096  # past this the socket is not read: back-pressure, nothing is dropped


class Feed:
    """One route of one venue; each connection is told by Connected and Disconnected.

    `run` ends by cancellation, or with a VenueError when the venue turns us away (not found, forbidden, too many attempts).
    """

    def __init__(
        self,
        route: str,
        base: str,
        instruments: list[Instrument],
        decoder: Decoder,
        clock: Clock,
        first_data_s: float,
        emit: Emit,
    ) -> None:
        self.route, self.decoder, self.clock, self.emit = route, decoder, clock, emit
        self.url = f"{base}/{route}/ws"
        self.first_data_s = max(clock.real_seconds(first_data_s), 2.0)
        self.streams = {
            f"{instrument.venue_symbol.lower()}@{stream}": (instrument.market, stream)
            for instrument in instruments
            for stream in STREAMS[route]
        }
        self.frames = 0
        self.connects = 0
        self._seen: set[tuple[str, str]] = set()
        self._last_frame = 0.0
        self._resubscribe: asyncio.Event = asyncio.Event()

    def reconnect(self) -> None:
        """Drop the connection and make it anew."""
        self._resubscribe.set()

    async def run(self) -> None:
        try:
            await self._run()
        except websockets.InvalidHandshake as problem:
            raise VenueError("Binance", f"the {self.route} stream was turned away ({problem})"[:200]) from None

    async def _run(self) -> None:
        pause_s = FIRST_PAUSE_S
        # `connect` as an iterator reconnects with exponential back-off; pings are the venue's business.
        async for socket in connect(
            self.url, ping_interval=None, max_size=MAX_FRAME, max_queue=FRAMES_BUFFERED, compression=None, close_timeout=CLOSE_S
        ):
            self.connects += 1
            opened = time.monotonic()
            reason = "the connection ended"
            try:
                reason = await self._session(socket)
            except websockets.ConnectionClosed as closed:
                reason = f"the venue closed the connection ({closed.rcvd.code if closed.rcvd else 'no reason given'})"
            finally:
                self.emit(Disconnected(self.clock.now_ns(), VENUE, self.route, reason), time.monotonic_ns())
                await socket.close()
            if time.monotonic() - opened > SHORT_LIVED_S:
                pause_s = FIRST_PAUSE_S
                continue
            await asyncio.sleep(pause_s * (0.5 + random.random()))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    async def _session(self, socket: ClientConnection) -> str:
        """Read until the connection ends or is given up; returns why."""
        self._seen.clear()
        self._resubscribe.clear()
        self._last_frame = time.monotonic()
        self.emit(Connected(self.clock.now_ns(), VENUE, self.route), time.monotonic_ns())
        request = {"method": "SUBSCRIBE", "params": list(self.streams), "id": self.connects}
        await socket.send(msgspec.json.encode(request).decode())
        reading = asyncio.create_task(self._read(socket))
        watching = asyncio.create_task(self._watch())
        try:
            done, _ = await asyncio.wait({reading, watching}, return_when=asyncio.FIRST_COMPLETED)
            return (watching if watching in done else reading).result() or "the connection ended"
        finally:
            for task in (reading, watching):
                task.cancel()
            await asyncio.gather(reading, watching, return_exceptions=True)

    async def _read(self, socket: ClientConnection) -> str:
        decoder, clock, emit, seen = self.decoder, self.clock, self.emit, self._seen
        while True:
            raw = await socket.recv(decode=False)
            read_ns = time.monotonic_ns()
            self.frames += 1
            self._last_frame = read_ns / 1e9
            try:
                event = decoder.frame(raw, clock.at_mono(read_ns))
            except DecodeError as problem:
                emit(DecodeFailed(clock.at_mono(read_ns), VENUE, self.route, str(problem)), read_ns)
                continue
            if event is None:
                continue
            key = (event.market, KINDS[type(event).__name__])  # type: ignore[attr-defined]
            if key not in seen:
                seen.add(key)
                decoder.sample(raw)
            # A buffered burst would be read without a pause: an order that waits for its turn, and the timers, come first.
            if emit(event, read_ns) or self.frames % FRAMES_A_TURN == 0:
                await asyncio.sleep(0)

    async def _watch(self) -> str:
        """Returns why the connection should be made anew."""
        started = time.monotonic()
        quiet_told = False
        while True:
            try:
                await asyncio.wait_for(self._resubscribe.wait(), min(1.0, self.first_data_s / 4))
                return "the books could not be synchronised, so the feed is connected anew"
            except TimeoutError:
                pass
            now = time.monotonic()
            if now - self._last_frame > SILENCE_S:
                return f"nothing came for {SILENCE_S:.0f} s"
            if now - started < self.first_data_s or quiet_told:
                continue
            missing = sorted(name for name, key in self.streams.items() if key not in self._seen)
            silent = [name for name in missing if self.streams[name][1] not in MAY_BE_QUIET]
            if silent:
                return f"no first data on {', '.join(silent)} within {self.first_data_s:.0f} s of subscribing"
            quiet_told = True
            if missing:
                text = f"Binance has not sent a trade on {', '.join(missing)} yet."
                self.emit(Alert(self.clock.now_ns(), Level.WARNING, text), time.monotonic_ns())
