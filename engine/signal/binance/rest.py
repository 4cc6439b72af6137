"""Questions to Binance's public REST interface: instruments, books, trades, bars, time."""

import time

import aiohttp

from engine.clock import Clock
from engine.errors import VenueError
from engine.events import BarHistory, BookSnapshot, ClockOffset, Instrument, TradeHistory
from engine.signal.binance import decode
from engine.signal.binance.decode import VENUE, Grid

TIMEOUT_S = 10.0
BAR_INTERVALS = {60_000: "1m"}  # futures have no second bars


class Rest:
    """One keep-alive session. Every failure is a VenueError or a DecodeError."""

    def __init__(self, base: str, clock: Clock, simulated: bool) -> None:
        self.base, self.clock, self.simulated = base, clock, simulated
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))

    async def close(self) -> None:
        await self._session.close()

    async def instruments(self) -> list[Instrument]:
        return decode.instruments(await self._get("/fapi/v1/exchangeInfo"), self.clock.now_ns(), self.simulated)

    async def book(self, venue_symbol: str, grid: Grid, limit: int = 1000) -> BookSnapshot:
        """Weight 20 at 1000 levels, 10 at 500, 5 at 100."""
        raw = await self._get("/fapi/v1/depth", symbol=venue_symbol, limit=str(limit))
        return decode.book_snapshot(raw, grid, self.clock.now_ns())

    async def trades(self, venue_symbol: str, grid: Grid, limit: int = 1000, before_id: int = 0) -> TradeHistory:
        """The newest aggregated trades, or those before `before_id`; weight 20."""
        older = {"fromId": str(max(before_id - limit, 0))} if before_id else {}
        raw = await self._get("/fapi/v1/aggTrades", symbol=venue_symbol, limit=str(limit), **older)
        return decode.trade_history(raw, grid, self.clock.now_ns())

    async def bars(self, venue_symbol: str, grid: Grid, timeframe_ms: int, limit: int = 499, end_ms: int = 0) -> BarHistory:
        """The newest bars, the last one unfinished, or those that open before `end_ms`; weight 2 up to 499."""
        older = {"endTime": str(end_ms - 1)} if end_ms else {}
        interval = BAR_INTERVALS[timeframe_ms]
        raw = await self._get("/fapi/v1/klines", symbol=venue_symbol, interval=interval, limit=str(limit), **older)
        return decode.bar_history(raw, grid, timeframe_ms, self.clock.now_ns())

    async def clock_offset(self, tries: int = 5) -> ClockOffset:
        """The venue's clock minus ours, from the quickest of several questions."""
        best: tuple[int, int] | None = None  # round trip, offset (engine ns)
        for _ in range(tries):
            before = self.clock.now_ns()
            venue_ms = decode.server_time(await self._get("/fapi/v1/time"))
            after = self.clock.now_ns()
            found = (after - before, venue_ms * 1_000_000 - (before + after) // 2)
            best = min(best, found) if best else found
        assert best is not None
        return ClockOffset(self.clock.now_ns(), VENUE, round(best[1] / 1e6), round(best[0] / 2e6))

    async def _get(self, path: str, **query: str) -> bytes:
        started = time.monotonic()
        try:
            async with self._session.get(self.base + path, params=query) as reply:
                body = await reply.read()
        except TimeoutError:
            raise VenueError("Binance", f"{path} gave no answer for {time.monotonic() - started:.0f} s") from None
        except aiohttp.ClientError as problem:
            raise VenueError("Binance", f"{path} could not be reached ({type(problem).__name__})") from None
        if reply.status != 200:
            code, message = decode.refusal(body)
            raise VenueError("Binance", f"{path} was refused with HTTP {reply.status}: {message}", code)
        return body
