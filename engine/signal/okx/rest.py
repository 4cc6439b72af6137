"""Questions to OKX's public REST interface: instruments, books, trades, bars, time. Errors come with HTTP 200 too."""

from engine.clock import Clock
from engine.errors import VenueError
from engine.events import BarHistory, BookSnapshot, ClockOffset, Instrument, TradeHistory
from engine.signal.decoding import Grid
from engine.signal.okx import decode
from engine.signal.rest import Session, clock_offset

BAR_NAMES = {60_000: "1m"}
MOST_BARS, MOST_OLD_BARS, MOST_TRADES = 300, 100, 100  # a page
BOOK_LEVELS = 400


class Rest:
    """One keep-alive session. Every failure is a VenueError or a DecodeError."""

    def __init__(self, base: str, clock: Clock, simulated: bool) -> None:
        self.clock, self.simulated = clock, simulated
        self._session = Session("OKX", base, decode.refusal)
        self.close = self._session.close

    async def instruments(self) -> tuple[list[Instrument], list[str]]:
        """Those that can be traded, and the names of those that could not be read."""
        raw = await self._get("/api/v5/public/instruments", instType="SWAP")
        return decode.instruments(raw, self.clock.now_ns(), self.simulated)

    async def book(self, venue_symbol: str, grid: Grid, limit: int = BOOK_LEVELS) -> BookSnapshot:
        raw = await self._get("/api/v5/market/books", instId=venue_symbol, sz=str(min(limit, BOOK_LEVELS)))
        return decode.book_snapshot(raw, grid, self.clock.now_ns())

    async def trades(self, venue_symbol: str, grid: Grid, limit: int = MOST_TRADES, before_id: int = 0) -> TradeHistory:
        """The newest fills, or those before `before_id` (the venue calls it `after`: later in its newest-first order)."""
        older = {"after": str(before_id)} if before_id else {}
        path = "/api/v5/market/history-trades" if before_id else "/api/v5/market/trades"
        raw = await self._get(path, instId=venue_symbol, limit=str(min(limit, MOST_TRADES)), **older)
        return decode.trade_history(raw, grid, self.clock.now_ns())

    async def bars(self, venue_symbol: str, grid: Grid, timeframe_ms: int, limit: int = MOST_BARS, end_ms: int = 0) -> BarHistory:
        """The newest bars, the last one unfinished, or those that open before `end_ms`."""
        older = {"after": str(end_ms)} if end_ms else {}
        path = "/api/v5/market/history-candles" if end_ms else "/api/v5/market/candles"
        most = MOST_OLD_BARS if end_ms else MOST_BARS
        raw = await self._get(path, instId=venue_symbol, bar=BAR_NAMES[timeframe_ms], limit=str(min(limit, most)), **older)
        return decode.bar_history(raw, grid, timeframe_ms, self.clock.now_ns())

    async def clock_offset(self, tries: int = 5) -> ClockOffset:
        async def ask() -> int:
            return decode.server_time(await self._get("/api/v5/public/time"))

        return await clock_offset(self.clock, decode.VENUE, ask, tries)

    async def _get(self, path: str, **query: str) -> bytes:
        body = await self._session.get(path, **query)
        code, message = decode.refusal(body)
        if code:
            raise VenueError("OKX", f"{path} was refused: {message}", code)
        return body
