"""Indicators, a trusted book, the trades' pace and the recent bars come in; `Features` at a bar's close go out."""

import math
from collections.abc import Sequence

import msgspec

from engine.config import FeatureSettings
from engine.events import Bar, Features, Side, Trust
from engine.kernel import kernel
from engine.processor.indicators import Indicators
from engine.signal.book import Book

NAN = math.nan
BUCKETS = 100  # of the trade counts in one window: the window moves in hundredths of itself

# --- formulas --------------------------------------------------------------------------------------------------------


@kernel
def spread_bps(bid: float, ask: float) -> float:
    """(ask - bid) / mid in basis points; NaN without both."""
    if bid <= 0.0 or ask <= 0.0:
        return NAN
    return (ask - bid) / (ask + bid) * 20_000.0


@kernel
def imbalance(bid_size: float, ask_size: float) -> float:
    """(bid - ask) / (bid + ask) of resting sizes, -1 (only sellers) to 1 (only buyers); NaN where nothing rests."""
    total = bid_size + ask_size
    if total <= 0.0:
        return NAN
    return (bid_size - ask_size) / total


@kernel
def microprice(bid: float, bid_size: float, ask: float, ask_size: float) -> float:
    """The best prices weighted by the size on the other side, in their unit: near the ask where bids outweigh.

    (bid * ask_size + ask * bid_size) / (bid_size + ask_size); NaN without both sides.
    """
    if bid_size <= 0.0 or ask_size <= 0.0:
        return NAN
    return bid + (ask - bid) * bid_size / (bid_size + ask_size)


@kernel
def volatility_bps(closes: Sequence[float], n: int) -> float:
    """Sample standard deviation (n - 1) of the last `n` log returns of `closes`, basis points per bar, not annualised.

    Needs `n + 1` closes, oldest first, in any unit; NaN with fewer.
    """
    size = len(closes)
    if n < 2 or size < n + 1:
        return NAN
    mean = math.log(closes[size - 1] / closes[size - 1 - n]) / n
    total = 0.0
    for i in range(size - n, size):
        difference = math.log(closes[i] / closes[i - 1]) - mean
        total += difference * difference
    return math.sqrt(total / (n - 1)) * 10_000.0


@kernel
def momentum_bps(closes: Sequence[float], n: int) -> float:
    """Simple return over the last `n` bars, basis points: (close / close n bars before - 1) * 10,000. NaN with fewer."""
    size = len(closes)
    if size < n + 1:
        return NAN
    return (closes[size - 1] / closes[size - 1 - n] - 1.0) * 10_000.0


# --- trade intensity -------------------------------------------------------------------------------------------------


class Intensity(msgspec.Struct):
    """Trades a second over the last `window_s` seconds of the venue's time, at constant cost a trade.

    Counts are kept in a ring of hundredths of the window. A trade older than the window is left out.
    """

    window_s: float = 10.0
    counts: list[int] = msgspec.field(default_factory=lambda: [0] * BUCKETS)
    total: int = 0
    newest: int = -1  # number of the newest bucket, -1 before the first trade
    first_ms: int = -1  # of the observation
    bucket_ms: int = 0

    def __post_init__(self) -> None:
        self.bucket_ms = max(1, round(self.window_s * 1000 / BUCKETS))

    def trade(self, venue_ms: int) -> None:
        """One trade, at the venue's time."""
        if self.first_ms < 0:
            self.first_ms = venue_ms
        bucket = venue_ms // self.bucket_ms
        if bucket > self.newest:
            self._advance(bucket)
        elif bucket <= self.newest - BUCKETS:
            return
        self.counts[bucket % BUCKETS] += 1
        self.total += 1

    def per_second(self, venue_now_ms: int) -> float:
        """Trades a second in the window that ends just before `venue_now_ms`, or with the newest trade if that is later.

        Until the window was observed in full, the time observed takes its place; NaN before that is a second (or half the
        window, if that is shorter).
        """
        if self.first_ms < 0:
            return NAN
        # A bar closes on the border of two buckets: the one that only begins there is not part of it.
        now = (venue_now_ms - 1) // self.bucket_ms
        if now > self.newest:
            self._advance(now)
        end_ms = (self.newest + 1) * self.bucket_ms
        begin_ms = max(self.first_ms, end_ms - self.bucket_ms * BUCKETS)
        observed_ms = (min(end_ms, venue_now_ms) if now == self.newest else end_ms) - begin_ms
        if observed_ms < min(1000.0, self.window_s * 500.0):
            return NAN
        return self.total * 1000.0 / observed_ms

    def reset(self) -> None:
        """The feed was lost: what was counted says nothing about now."""
        self.counts, self.total, self.newest, self.first_ms = [0] * BUCKETS, 0, -1, -1

    def _advance(self, bucket: int) -> None:
        for passed in range(max(self.newest + 1, bucket - BUCKETS + 1), bucket + 1):
            self.total -= self.counts[passed % BUCKETS]
            self.counts[passed % BUCKETS] = 0
        self.newest = bucket


# --- all of them -----------------------------------------------------------------------------------------------------


def closes_wanted(settings: FeatureSettings) -> int:
    """How many closes `at_close` looks at."""
    return max(settings.volatility_bars, settings.momentum_bars) + 1


def at_close(
    indicators: Indicators,
    closed: Sequence[Bar],
    book: Book | None,
    intensity: Intensity,
    bar: Bar,
    tick: float,
    settings: FeatureSettings,
) -> Features:
    """The features of `bar`, which just closed.

    `indicators` have seen it and, in quote units, give quote units; `closed` ends with it (or with later bars, which are left
    out). `tick` turns ticks into quote units. Without a trusted book its features are NaN; so is whatever still warms up.
    """
    wanted = closes_wanted(settings)
    end = len(closed)
    while end and closed[end - 1].open_ms > bar.open_ms:
        end -= 1
    closes = [float(past.close) for past in closed[max(0, end - wanted) : end]]
    spread = depth = micro = NAN
    if book is not None and book.trust is Trust.TRUSTED:
        spread = spread_bps(book.best_bid, book.best_ask)
        n = settings.imbalance_levels
        bid_size = sum(size for _, size in book.top(Side.BUY, n))
        ask_size = sum(size for _, size in book.top(Side.SELL, n))
        depth = imbalance(bid_size, ask_size)
        micro = microprice(book.best_bid, book.best_bid_size, book.best_ask, book.best_ask_size) * tick
    return Features(
        close=bar.close * tick,
        sma_20=indicators.sma_20,
        sma_50=indicators.sma_50,
        ema_12=indicators.ema_12,
        ema_26=indicators.ema_26,
        rsi_14=indicators.rsi_14,
        macd=indicators.macd,
        macd_signal=indicators.macd_signal,
        macd_histogram=indicators.macd_histogram,
        bollinger_middle=indicators.bollinger_middle,
        bollinger_upper=indicators.bollinger_upper,
        bollinger_lower=indicators.bollinger_lower,
        atr_14=indicators.atr_14,
        spread_bps=spread,
        imbalance=depth,
        microprice=micro,
        trade_intensity=intensity.per_second(bar.open_ms + bar.timeframe_ms),
        volatility_bps=volatility_bps(closes, settings.volatility_bars),
        momentum_bps=momentum_bps(closes, settings.momentum_bars),
    )
