"""A wish for a market's history in; the pages of it that reach back far enough, as events, out."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from engine.clock import Clock
from engine.errors import BarterError
from engine.events import Alert, Bar, BarHistory, Emit, Event, FetchHistory, Level, TradeHistory, unpack_levels
from engine.runtime.supervise import persist

AT_ONCE = 2  # markets whose history is read at the same time
ATTEMPTS = 4  # of one page
BAR_PAGES = 4  # of 499 minutes on Binance, 300 on OKX
TRADE_PAGES = 5  # of 1000 on Binance (weight 20 each), 100 on OKX
# Real seconds for all pages of one kind. Both bear the time of their newest page, and the core is told when both are there: a
# replay takes a minute between the two for a clock that went backwards.
MOST_S = 25.0
Page = TypeVar("Page", BarHistory, TradeHistory)


class Past(Protocol):
    """What a venue's REST interface tells of one market. 0 asks for the newest page; every page is oldest first."""

    def bars(self, end_ms: int) -> Awaitable[BarHistory]:
        """One-minute bars that open before `end_ms`."""

    def trades(self, before_id: int) -> Awaitable[TradeHistory]:
        """Trades with ids below `before_id`."""


class Histories:
    """Reads what markets missed, a few at a time. Only the answer to a market's newest wish is told."""

    def __init__(self, clock: Clock, emit: Emit) -> None:
        self._clock, self._emit = clock, emit
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._wishes: dict[str, FetchHistory] = {}

    async def fetch(self, wish: FetchHistory, past: Past) -> None:
        """Bars, then trades, so that the trades begin before the last bar ends. What cannot be had is an alert."""
        self._wishes[wish.market] = wish
        async with self._turns:
            if self._wishes[wish.market] is not wish:
                return
            found: list[BarHistory | TradeHistory | str] = []
            for read in (self._bars, self._trades):
                try:
                    async with asyncio.timeout(MOST_S):
                        found.append(await read(wish, past))
                except BarterError as problem:
                    found.append(str(problem))
                except TimeoutError:
                    found.append(f"it took more than {MOST_S:g} s")
        if self._wishes[wish.market] is not wish:
            return
        for one in found:
            if isinstance(one, str):
                text = f"A history of {wish.market} could not be read ({one}); what it would have filled is missing."
                self._tell(Alert(self._clock.now_ns(), Level.WARNING, text))
            else:
                self._tell(one)
        if not isinstance(found[-1], TradeHistory):
            self._tell(TradeHistory(self._clock.now_ns(), wish.market, b""))  # the bars go on without it

    def _tell(self, event: Event) -> None:
        self._emit(event, time.monotonic_ns())

    async def _bars(self, wish: FetchHistory, past: Past) -> BarHistory:
        newest = await _page(past.bars, 0)
        bars: tuple[Bar, ...] = newest.bars
        for _ in range(BAR_PAGES - 1):
            if not (wish.since_ms and bars and bars[0].open_ms > wish.since_ms):
                break
            older = [bar for bar in (await _page(past.bars, bars[0].open_ms)).bars if bar.open_ms < bars[0].open_ms]
            if not older:
                break
            bars = (*older, *bars)
        # At the time of the newest page: whether its last bar had ended is reckoned from it.
        return BarHistory(newest.at, newest.market, newest.timeframe_ms, bars)

    async def _trades(self, wish: FetchHistory, past: Past) -> TradeHistory:
        newest = await _page(past.trades, 0)
        packed = newest.trades
        for _ in range(TRADE_PAGES - 1):
            oldest = _first_id(packed)
            if not (wish.after_id and oldest > wish.after_id + 1):
                break
            older = (await _page(past.trades, oldest)).trades
            if not older or _first_id(older) >= oldest:
                break
            packed = older + packed  # ids that are in both pages are counted once
        return TradeHistory(newest.at, newest.market, packed)


async def _page(read: Callable[[int], Awaitable[Page]], before: int) -> Page:
    return await persist(lambda: read(before), ATTEMPTS)


def _first_id(packed: bytes) -> int:
    return unpack_levels(packed[:8])[0] if packed else 0
