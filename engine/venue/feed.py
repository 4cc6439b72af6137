"""A real venue's public data in; its markets, as they are now, with our orders filled in them, out. What both venues share.

Frames are taken as they come and played when the exchange advances, so that fills are booked as those of any other market. A
book is in sync from a snapshot on which the stream goes on, and not after a gap or while the connection is down: then the
market has no book, which refuses new orders, lets triggered ones wait and fills nothing.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Any, TypeVar

import aiohttp
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import WebSocketException

from engine.clock import Clock
from engine.errors import InvariantError, VenueStartError
from engine.events import Side
from engine.venue.capture import Line, SymbolInfo
from engine.venue.frames import AggFrame, QuoteFrame, TradeFrame
from engine.venue.market import Fill, Listing, MarketOrder
from engine.venue.recorded import CapturedMarket

KINDS = {"depth": 1, "bookTicker": 1, "aggTrade": 1, "markPrice": 1, "kline_1m": 1}
SILENCE_S = 10.0  # on any route, where something comes every second or is asked for: the connection is dead
OPEN_S, CLOSE_S, REST_S = 10.0, 1.0, 10.0
SHORT_LIVED_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
REPAIR_FLOOR_S = 1.0  # between two attempts to bring a market's book back
LOOK_S = 0.1
LEVELS_KEPT = 5000  # a side; what lies further away is not our orders' business
PRUNE_EVERY_MS = 60_000
WAITING = 20_000  # frames between two advances; beyond, the books are made anew
MAX_FRAME = 8 * 1024 * 1024
# A number off the grid, a level that is none, nesting without end; msgspec's errors are ValueErrors.
UNREADABLE = (InvariantError, ArithmeticError, ValueError, RecursionError)
MOST_DIGITS = 20  # before and after the point of any figure of a listing

T = TypeVar("T")


class Source:
    """Frames that wait to be played, for all markets in the order in which they came. A `Playback` that never ends."""

    ended, passes = False, 1

    def __init__(self) -> None:
        self.markets: dict[str, FedMarket] = {}
        self.unreadable = 0
        self._waiting: deque[tuple[FedMarket, Line]] = deque()
        self._busy = False

    def wanted(self, now_ms: int) -> None:
        """The world does not wait for listeners."""

    def take(self, symbol: str, line: Line) -> None:
        market = self.markets.get(symbol)
        if market is None:
            return
        if len(self._waiting) >= WAITING:
            self.lose()
        self._waiting.append((market, line))

    def lose(self) -> None:
        """What was streamed is incomplete from here on: no book is in sync."""
        self._waiting.clear()
        for market in self.markets.values():
            market.lose()

    def advance(self, now_ms: int) -> None:
        if self._busy:
            return
        self._busy = True
        try:
            while self._waiting:
                market, line = self._waiting.popleft()
                try:
                    market.play(line, now_ms, 0)
                except UNREADABLE:
                    self.unreadable += 1
                    market.lose()
        finally:
            self._busy = False


class FedMarket(CapturedMarket):
    """A market of a real venue, now. `syncing` says that its book needs a snapshot."""

    def __init__(self, source: Source, listing: Listing) -> None:
        kinds, zero = dict(KINDS), Decimal(0)
        super().__init__(source, SymbolInfo(listing.symbol, listing.tick, listing.step, kinds, zero, zero, 0, 0, 0))
        self.listing = listing
        self._prune_ms = 0

    @property
    def syncing(self) -> bool:
        """An event at least must be there for a snapshot to be joined to."""
        return not self._synced and bool(self._buffer)

    def lose(self) -> None:
        self._synced = self._bridging = False
        self._buffer.clear()

    def submit(self, order: MarketOrder, now_ms: int) -> list[Fill]:
        """An order that rests waits for the book where there is none; one that does not finds nothing."""
        self.advance(now_ms)
        if not self._synced:
            if order.rests and order.limit:
                self._shadow.join(order.order_id, order.side, order.quantity, order.limit)
            return []
        return super().submit(order, now_ms)

    def fillable(self, side: Side, limit: int) -> int:
        return super().fillable(side, limit) if self._synced else 0

    def play(self, line: Line, due_ms: int, shift_ms: int) -> None:
        if not self._synced and isinstance(line.frame, QuoteFrame | AggFrame | TradeFrame):
            return  # nothing is filled against a book that is not whole
        super().play(line, due_ms, shift_ms)
        if self._synced and due_ms >= self._prune_ms:
            self._prune_ms = due_ms + PRUNE_EVERY_MS
            self._shadow.bids.prune(LEVELS_KEPT)
            self._shadow.asks.prune(LEVELS_KEPT)


class Feeding:
    """Keeps the markets of `source` fed. `run` goes on until it is cancelled; what goes wrong is tried again.

    A venue says what its routes are (`routes`), how each is asked for its streams (`url`, `requests`), what its frames are
    (`read`), and how a book comes back (`repair`). `ping` is sent where a route is silent; an answer counts as a sign of life.
    """

    routes: tuple[str, ...] = ()
    books = ""  # the route on which they come
    ping = ""

    def __init__(self, rest: str, ws: str, source: Source, clock: Clock) -> None:
        self.rest, self.ws, self.source, self.clock = rest, ws, source, clock
        self.connects = self.repairs = 0
        self.up = dict.fromkeys(self.routes, False)
        self.sockets: dict[str, ClientConnection] = {}
        self._next_repair: dict[str, float] = {}

    def url(self, route: str) -> str:
        raise NotImplementedError

    def requests(self, route: str) -> list[bytes]:
        """What is sent when a connection is open."""
        raise NotImplementedError

    def read(self, raw: bytes) -> Iterable[tuple[str, Line]]:
        """The lines of a frame and whose they are. Raises what is in UNREADABLE."""
        raise NotImplementedError

    async def repair(self, session: aiohttp.ClientSession, symbol: str) -> None:
        """Ask for what brings a book that has a gap back."""
        raise NotImplementedError

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=REST_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            for route in self.routes:
                tasks.create_task(self._follow(route))
            tasks.create_task(self._synchronise(session))

    async def _follow(self, route: str) -> None:
        pause_s = FIRST_PAUSE_S
        while True:
            opened = time.monotonic()
            with contextlib.suppress(OSError, TimeoutError, WebSocketException):
                await self._listen(route)
            self.up[route] = False
            if route == self.books:
                self.source.lose()
            pause_s = FIRST_PAUSE_S if time.monotonic() - opened > SHORT_LIVED_S else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s * (0.5 + random.random()))

    async def _listen(self, route: str) -> None:
        """Until the connection ends or falls silent."""
        options: dict[str, Any] = {"ping_interval": None, "compression": None, "max_size": MAX_FRAME}
        async with connect(self.url(route), open_timeout=OPEN_S, close_timeout=CLOSE_S, **options) as socket:
            self.sockets[route] = socket
            for request in self.requests(route):
                await socket.send(request.decode())
            self.connects += 1
            while True:
                raw = await self._hear(socket)
                self.up[route] = True
                self.take(raw)

    def take(self, raw: bytes) -> None:
        """A frame, to be played; what cannot be read is counted."""
        try:
            for symbol, line in self.read(raw):
                self.source.take(symbol, line)
        except UNREADABLE:
            self.source.unreadable += 1  # where it was a part of the book, the next one is a gap

    async def _hear(self, socket: ClientConnection) -> bytes:
        """The next frame; raises TimeoutError where there is none, after asking where that can be done."""
        if self.ping:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(SILENCE_S):
                    return await socket.recv(decode=False)
            await socket.send(self.ping)
        async with asyncio.timeout(SILENCE_S):
            return await socket.recv(decode=False)

    async def _synchronise(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for symbol, market in self.source.markets.items():
                if market.syncing and time.monotonic() >= self._next_repair.get(symbol, 0.0):
                    self._next_repair[symbol] = time.monotonic() + REPAIR_FLOOR_S * (1.0 + random.random() / 2)
                    await self.repair(session, symbol)


async def asked(url: str, **query: str) -> bytes:
    """The body of a list of markets. Raises VenueStartError."""
    try:
        timeout = aiohttp.ClientTimeout(total=REST_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url, params=query) as reply:
            raw = await reply.read()
    except (aiohttp.ClientError, TimeoutError) as problem:
        text = f"{url} could not be reached for the list of markets ({type(problem).__name__}); paper needs the network"
        raise VenueStartError("paper", text) from None
    if reply.status != 200:
        raise VenueStartError("paper", f"the list of markets of {url} was refused with HTTP {reply.status}")
    return raw


def sane(*figures: Decimal) -> bool:
    """Whether they can be tick, step or size of anything: others may take minutes to write out."""
    return all(one.is_finite() and one > 0 and abs(one.adjusted()) <= MOST_DIGITS for one in figures)


def wanted(where: str, listed: dict[str, T], symbols: Iterable[str]) -> list[T]:
    """Those of the unified `symbols` that are listed: the first must be. The engine says what else is missing."""
    names = tuple(symbols)
    if names[0] not in listed:
        raise VenueStartError("paper", f"{where} does not list {names[0]}, which is to be traded")
    return [listed[name] for name in names if name in listed]
