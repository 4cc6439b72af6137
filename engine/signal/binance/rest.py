"""Questions to Binance's public REST interface: instruments, books, trades, bars, time."""

from engine.clock import Clock
from engine.events import BarHistory, BookSnapshot, ClockOffset, Instrument, TradeHistory
from engine.signal.binance import decode
from engine.signal.decoding import Grid
from engine.signal.rest import Session, clock_offset

BAR_INTERVALS = {60_000: "1m"}  # futures have no second bars


class Rest:
    """One keep-alive session. Every failure is a VenueError or a DecodeError."""

    def __init__(self, base: str, clock: Clock, simulated: bool) -> None:
        self.clock, self.simulated = clock, simulated
        self._session = Session("Binance", base, decode.refusal)
        self.close = self._session.close

    async def instruments(self) -> tuple[list[Instrument], list[str]]:
        """Those that can be traded, and the names of those that could not be read."""
        return decode.instruments(await self._session.get("/fapi/v1/exchangeInfo"), self.clock.now_ns(), self.simulated)

    async def book(self, venue_symbol: str, grid: Grid, limit: int = 1000) -> BookSnapshot:
        """Weight 20 at 1000 levels, 10 at 500, 5 at 100."""
        raw = await self._session.get("/fapi/v1/depth", symbol=venue_symbol, limit=str(limit))
        return decode.book_snapshot(raw, grid, self.clock.now_ns())

    async def trades(self, venue_symbol: str, grid: Grid, limit: int = 1000, before_id: int = 0) -> TradeHistory:
        """The newest aggregated trades, or those before `before_id`; weight 20."""
        older = {"fromId": str(max(before_id - limit, 0))} if before_id else {}
        raw = await self._session.get("/fapi/v1/aggTrades", symbol=venue_symbol, limit=str(limit), **older)
        return decode.trade_history(raw, grid, self.clock.now_ns())

    async def bars(self, venue_symbol: str, grid: Grid, timeframe_ms: int, limit: int = 499, end_ms: int = 0) -> BarHistory:
        """The newest bars, the last one unfinished, or those that open before `end_ms`; weight 2 up to 499."""
        older = {"endTime": str(end_ms - 1)} if end_ms else {}
        interval = BAR_INTERVALS[timeframe_ms]
        raw = await self._session.get("/fapi/v1/klines", symbol=venue_symbol, interval=interval, limit=str(limit), **older)
        return decode.bar_history(raw, grid, timeframe_ms, self.clock.now_ns())

    async def clock_offset(self, tries: int = 5) -> ClockOffset:
        async def ask() -> int:
            return decode.server_time(await self._session.get("/fapi/v1/time"))

        return await clock_offset(self.clock, decode.VENUE, ask, tries)
