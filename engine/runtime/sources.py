"""One venue's market data: its list of markets, its questions and its sockets; what is collected can change while it runs."""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

from engine.clock import Clock
from engine.errors import BarterError
from engine.events import Alert, BarHistory, BookSnapshot, ClockOffset, Emit, Event, Instrument, Level, TradeHistory, Unlisted
from engine.runtime.supervise import Supervisor, persist
from engine.signal import binance, okx
from engine.signal.binance.decode import Decoder as BinanceDecoder
from engine.signal.connection import Dialect
from engine.signal.decoding import Grid
from engine.signal.feed import Feed
from engine.signal.okx.decode import Decoder as OkxDecoder
from engine.signal.socket import never

MINUTE_MS = 60_000
NAMED = 5  # unreadable instruments that an alert names


class Questions(Protocol):
    """A venue's REST interface."""

    def instruments(self) -> Awaitable[tuple[list[Instrument], list[str]]]: ...
    def book(self, venue_symbol: str, grid: Grid) -> Awaitable[BookSnapshot]: ...
    def trades(self, venue_symbol: str, grid: Grid, *, before_id: int = 0) -> Awaitable[TradeHistory]: ...
    def bars(self, venue_symbol: str, grid: Grid, timeframe_ms: int, *, end_ms: int = 0) -> Awaitable[BarHistory]: ...
    def clock_offset(self, tries: int = 5) -> Awaitable[ClockOffset]: ...
    def close(self) -> Awaitable[None]: ...


class Source:
    """`collected` are the markets whose events come. `emit` gets everything."""

    def __init__(
        self,
        venue: str,
        rest: str,
        ws: str,
        clock: Clock,
        simulated: bool,
        first_data_s: float,
        emit: Emit,
        order_waits: Callable[[], bool] = never,
    ) -> None:
        self.venue, self.clock, self.emit = venue, clock, emit
        self.decoder: BinanceDecoder | OkxDecoder
        self.rest: Questions
        dialect: Dialect
        if venue == "okx":
            self.decoder, self.rest, routes = (decoder := OkxDecoder()), okx.Rest(rest, clock, simulated), okx.ROUTES
            dialect = okx.Okx(decoder)
        else:
            self.decoder, self.rest, routes = (reader := BinanceDecoder()), binance.Rest(rest, clock, simulated), binance.ROUTES
            dialect = binance.Binance(reader)
        self.title = dialect.title
        self.feeds = {route: Feed(dialect, route, ws, clock, first_data_s, emit, order_waits) for route in routes}
        self.listed: dict[str, Instrument] = {}  # all that the venue has, by market
        self.collected: dict[str, Instrument] = {}

    async def read_list(self, attempts: int = 6) -> None:
        """What the venue lists; those that cannot be read are named, and fail nobody else. Raises BarterError."""
        found, wrong = await persist(self.rest.instruments, attempts=attempts)
        self.listed = {instrument.market: instrument for instrument in found}
        if wrong:
            names = ", ".join(wrong[:NAMED])
            text = f"{self.title} lists {len(wrong)} markets that could not be read and are left out: {names}."
            self._tell(Alert(self.clock.now_ns(), Level.WARNING, text))

    def collect(self, symbol: str) -> bool:
        """False where the venue does not list it."""
        found = self.listed.get(f"{self.venue}:{symbol}")
        if found is None:
            return False
        if found.market not in self.collected:
            self.collected[found.market] = found
            self.decoder.list(found)
            self._tell(found)
            for feed in self.feeds.values():
                feed.add(found)
        return True

    def drop(self, symbol: str) -> None:
        market = f"{self.venue}:{symbol}"
        found = self.collected.pop(market, None)
        if found is not None:
            for feed in self.feeds.values():
                feed.remove(market)
            self.decoder.forget(found)
            self._tell(Unlisted(self.clock.now_ns(), market))

    def start(self, tasks: Supervisor) -> None:
        for route, feed in self.feeds.items():
            tasks.keep(f"the {self.venue} {route} feed", feed.run)

    async def book(self, market: str) -> BookSnapshot:
        symbol, grid = self._where(market)
        return await self.rest.book(symbol, grid)

    def past(self, market: str) -> "Past":
        return Past(self.rest, *self._where(market))

    def _where(self, market: str) -> tuple[str, Grid]:
        found = self.collected.get(market)
        if found is None:
            raise BarterError(f"{market} is not collected any more")
        return found.venue_symbol, self.decoder.grids[found.venue_symbol]

    def _tell(self, event: Event) -> None:
        self.emit(event, 0)


class Past:
    """One market's history at the venue's REST interface."""

    def __init__(self, rest: Questions, symbol: str, grid: Grid) -> None:
        self.bars_before = partial(rest.bars, symbol, grid, MINUTE_MS)
        self.trades_before = partial(rest.trades, symbol, grid)

    async def bars(self, end_ms: int) -> BarHistory:
        return await self.bars_before(end_ms=end_ms)

    async def trades(self, before_id: int) -> TradeHistory:
        return await self.trades_before(before_id=before_id)
