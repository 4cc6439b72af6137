"""A real venue's public sockets and REST interface in; its markets, as they are now, with our orders filled in them, out.

Frames are taken as they come and played when the exchange advances, so that fills are booked as those of any other market. A
book is in sync from a REST snapshot on which the stream goes on, and not after a gap or while the connection is down: then the
market has no book, which refuses new orders, lets triggered ones wait and fills nothing.
"""

import asyncio
import contextlib
import random
import time
from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from typing import Any

import aiohttp
import msgspec
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

from engine.clock import Clock
from engine.errors import InvariantError, VenueStartError
from engine.events import Side
from engine.venue.capture import Line, SymbolInfo
from engine.venue.frames import DECODE, AggFrame, Envelope, QuoteFrame, TradeFrame, decode_envelope
from engine.venue.market import Fill, Listing, MarketOrder
from engine.venue.recorded import CapturedMarket, listing_for

STREAMS = {"public": ("depth@100ms", "bookTicker"), "market": ("aggTrade", "markPrice@1s")}
KINDS = {"depth": 1, "bookTicker": 1, "aggTrade": 1, "markPrice": 1, "kline_1m": 1}
SILENCE_S = 10.0  # on either route, where something comes every second: the connection is dead
OPEN_S, CLOSE_S, REST_S = 10.0, 1.0, 10.0
SHORT_LIVED_S = 5.0
FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.25, 15.0
SNAPSHOT_FLOOR_S = 1.0  # between two snapshots of a market
LOOK_S = 0.1
SNAPSHOT_LEVELS = 1000
LEVELS_KEPT = 5000  # a side; what lies further away is not our orders' business
PRUNE_EVERY_MS = 60_000
WAITING = 20_000  # frames between two advances; beyond, the books are made anew
MAX_FRAME = 8 * 1024 * 1024
UNREADABLE = (msgspec.DecodeError, InvariantError, ArithmeticError, ValueError)  # a number off the grid, a level that is none


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
        """An event at least must be there for the snapshot to be joined to."""
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
    """Keeps the markets of `source` fed. `run` goes on until it is cancelled; what goes wrong is tried again."""

    def __init__(self, rest: str, ws: str, source: Source, clock: Clock) -> None:
        self.rest, self.ws, self.source, self.clock = rest, ws, source, clock
        self.connects = self.snapshots = 0
        self.up = dict.fromkeys(STREAMS, False)
        self._next_snapshot: dict[str, float] = {}

    async def run(self) -> None:
        timeout = aiohttp.ClientTimeout(total=REST_S)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as tasks:
            for route, streams in STREAMS.items():
                tasks.create_task(self._follow(route, streams))
            tasks.create_task(self._synchronise(session))

    async def _follow(self, route: str, streams: Iterable[str]) -> None:
        pause_s = FIRST_PAUSE_S
        names = [f"{symbol.lower()}@{stream}" for symbol in self.source.markets for stream in streams]
        while True:
            opened = time.monotonic()
            with contextlib.suppress(OSError, TimeoutError, WebSocketException):
                await self._listen(route, names)
            self.up[route] = False
            if route == "public":
                self.source.lose()
            pause_s = FIRST_PAUSE_S if time.monotonic() - opened > SHORT_LIVED_S else min(2 * pause_s, LONGEST_PAUSE_S)
            await asyncio.sleep(pause_s * (0.5 + random.random()))

    async def _listen(self, route: str, names: list[str]) -> None:
        """Until the connection ends or falls silent."""
        url = f"{self.ws}/{route}/stream"
        options: dict[str, Any] = {"ping_interval": None, "compression": None, "max_size": MAX_FRAME}
        async with connect(url, open_timeout=OPEN_S, close_timeout=CLOSE_S, **options) as socket:
            await socket.send(msgspec.json.encode({"method": "SUBSCRIBE", "params": names, "id": 1}).decode())
            self.connects += 1
            while True:
                async with asyncio.timeout(SILENCE_S):
                    raw = await socket.recv(decode=False)
                self.up[route] = True
                self._take(raw)

    def _take(self, raw: bytes) -> None:
        try:
            envelope = decode_envelope(raw)
            kind = envelope.stream.partition("@")[2].partition("@")[0]
            if kind not in DECODE:
                return  # an acknowledgement
            frame = DECODE[kind](envelope.data)
        except (ValueError, RecursionError):  # msgspec's are ValueErrors
            self.source.unreadable += 1
            return  # where it was a part of the book, the next one is a gap
        self.source.take(frame.s, Line(0, self.clock.now_ns(), kind, frame, envelope))

    async def _synchronise(self, session: aiohttp.ClientSession) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            for symbol, market in self.source.markets.items():
                if market.syncing and time.monotonic() >= self._next_snapshot.get(symbol, 0.0):
                    self._next_snapshot[symbol] = time.monotonic() + SNAPSHOT_FLOOR_S * (1.0 + random.random() / 2)
                    await self._snapshot(session, symbol)

    async def _snapshot(self, session: aiohttp.ClientSession, symbol: str) -> None:
        query = {"symbol": symbol, "limit": str(SNAPSHOT_LEVELS)}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError, RecursionError):
            async with session.get(f"{self.rest}/fapi/v1/depth", params=query) as reply:
                raw = await reply.read()
            if reply.status != 200:
                return
            envelope = msgspec.json.decode(raw, type=Envelope)
            if envelope.lastUpdateId >= 0:
                self.snapshots += 1
                self.source.take(symbol, Line(0, self.clock.now_ns(), "snapshot", None, envelope))


# --- the list of markets -----------------------------------------------------------------------------------------------


class _Filter(msgspec.Struct):
    filterType: str
    tickSize: Decimal = Decimal(0)
    stepSize: Decimal = Decimal(0)
    minQty: Decimal = Decimal(0)
    maxQty: Decimal = Decimal(0)
    notional: Decimal = Decimal(0)


class _Symbol(msgspec.Struct):
    symbol: str
    contractType: str = ""
    status: str = ""
    baseAsset: str = ""
    quoteAsset: str = ""
    marginAsset: str = ""
    onboardDate: int = 0
    filters: list[_Filter] = []


class _Info(msgspec.Struct):
    symbols: list[_Symbol]


async def fed_markets(rest: str, symbols: Iterable[str]) -> Source:
    """The markets of the unified `symbols`, as the real venue lists them. Raises VenueStartError."""
    try:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=REST_S)) as session:
            async with session.get(f"{rest}/fapi/v1/exchangeInfo") as reply:
                raw = await reply.read()
            if reply.status != 200:
                raise VenueStartError("paper", f"the list of markets of {rest} was refused with HTTP {reply.status}")
        info = msgspec.json.decode(raw, type=_Info, strict=False)
    except (aiohttp.ClientError, TimeoutError) as problem:
        text = f"{rest} could not be reached for its list of markets ({type(problem).__name__}); paper needs the network"
        raise VenueStartError("paper", text) from None
    except (ValueError, RecursionError) as problem:
        raise VenueStartError("paper", f"the list of markets of {rest} cannot be read: {problem}") from None
    listed = {
        f"{one.baseAsset}/{one.quoteAsset}:{one.marginAsset}": one
        for one in info.symbols
        if one.contractType == "PERPETUAL" and one.status == "TRADING"
    }
    source, wanted = Source(), tuple(symbols)
    if wanted[0] not in listed:
        raise VenueStartError("paper", f"{rest} does not list {wanted[0]}, which is to be traded")
    for unified in wanted:
        if unified in listed:  # the engine says what else is missing
            listing = listing_of(listed[unified])
            source.markets[listing.symbol] = FedMarket(source, listing)
    return source


def listing_of(symbol: _Symbol) -> Listing:
    """As it is listed; fees, margin rate and leverage, which are not, are the usual ones. Raises VenueStartError."""
    filters = {one.filterType: one for one in symbol.filters}
    price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    if price is None or lot is None or price.tickSize <= 0 or lot.stepSize <= 0 or lot.maxQty <= 0:
        raise VenueStartError("paper", f"{symbol.symbol} is listed without its tick or step")
    most_market = filters.get("MARKET_LOT_SIZE", lot).maxQty or lot.maxQty
    tick, step = price.tickSize.normalize(), lot.stepSize.normalize()
    usual = listing_for(SymbolInfo(symbol.symbol, tick, step, {}, Decimal(0), Decimal(0), 0, 0, 0))
    return msgspec.structs.replace(
        usual,
        base=symbol.baseAsset,
        quote=symbol.quoteAsset,
        min_quantity=max(1, int(lot.minQty / step)),
        max_quantity=int(lot.maxQty / step),
        max_market_quantity=int(most_market / step),
        min_notional=filters["MIN_NOTIONAL"].notional if "MIN_NOTIONAL" in filters else Decimal(5),
        onboard_ms=symbol.onboardDate or usual.onboard_ms,
    )
