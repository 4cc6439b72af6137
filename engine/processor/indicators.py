"""High, low and close of one closed bar after another come in; the hot set of indicators goes out.

The kernels are the recursions of the `ta` library, with its conventions: EMA begins with the first value (`ewm`, adjust=False),
RSI is Wilder's with the first change counted as 0, ATR begins with the mean of the first 14 true ranges, Bollinger divides
by n. A figure is NaN until `ta` would give it. The state is one flat list of floats, so that numba can compile the same
source over an array.
"""

import math

import msgspec

from engine.kernel import kernel

NAN = math.nan

# --- offsets into the state ------------------------------------------------------------------------------------------
# What is read:
SMA_20, SMA_50, EMA_12, EMA_26, RSI_14, MACD, MACD_SIGNAL, MACD_HISTOGRAM = 0, 1, 2, 3, 4, 5, 6, 7
BOLLINGER_MIDDLE, BOLLINGER_UPPER, BOLLINGER_LOWER, ATR_14 = 8, 9, 10, 11
# What it is made from:
BARS, CLOSE, FAST, SLOW, SIGNAL, GAIN, LOSS, RANGE = 12, 13, 14, 15, 16, 17, 18, 19
RING = 20  # the last 50 closes; bar i lies at RING + i % RING_SIZE
RING_SIZE = 50
SIZE = RING + RING_SIZE


@kernel
def window_mean(state: list[float], bars: int, n: int, close: float) -> float:
    """Mean of the last `n` closes, NaN before there are as many; `bars` counts the closes in the ring.

    Summed anew, as differences from the newest close: nothing drifts, and equal closes give exactly that close.
    """
    if bars < n:
        return NAN
    first = (bars - n) % RING_SIZE
    total = 0.0
    for i in range(first, min(first + n, RING_SIZE)):
        total += state[RING + i] - close
    for i in range(first + n - RING_SIZE):
        total += state[RING + i] - close
    return close + total / n


@kernel
def window_deviation(state: list[float], bars: int, n: int, mean: float) -> float:
    """Standard deviation (divided by n) of the last `n` closes around their `mean`."""
    if bars < n:
        return NAN
    first = (bars - n) % RING_SIZE
    total = 0.0
    for i in range(first, min(first + n, RING_SIZE)):
        difference = state[RING + i] - mean
        total += difference * difference
    for i in range(first + n - RING_SIZE):
        difference = state[RING + i] - mean
        total += difference * difference
    return math.sqrt(total / n)


@kernel
def rsi(gain: float, loss: float) -> float:
    """0..100 from the averages of gains and losses; 100 where nothing was lost, as in `ta`."""
    if loss == 0.0:
        return 100.0
    return 100.0 - 100.0 / (1.0 + gain / loss)


@kernel
def update_averages(state: list[float], close: float) -> None:
    """EMA 12 and 26, and MACD."""
    bars = int(state[BARS]) + 1
    if bars == 1:
        state[FAST] = close
        state[SLOW] = close
    else:
        state[FAST] += (close - state[FAST]) * (2.0 / 13.0)
        state[SLOW] += (close - state[SLOW]) * (2.0 / 27.0)
    if bars >= 12:
        state[EMA_12] = state[FAST]
    if bars >= 26:
        macd = state[FAST] - state[SLOW]
        if bars == 26:
            state[SIGNAL] = macd
        else:
            state[SIGNAL] += (macd - state[SIGNAL]) * 0.2
        state[EMA_26] = state[SLOW]
        state[MACD] = macd
        if bars >= 34:
            state[MACD_SIGNAL] = state[SIGNAL]
            state[MACD_HISTOGRAM] = macd - state[SIGNAL]


@kernel
def update_strength(state: list[float], close: float) -> None:
    """RSI 14."""
    bars = int(state[BARS]) + 1
    if bars > 1:
        change = close - state[CLOSE]
        state[GAIN] += (max(change, 0.0) - state[GAIN]) / 14.0
        state[LOSS] += (max(-change, 0.0) - state[LOSS]) / 14.0
    if bars >= 14:
        state[RSI_14] = rsi(state[GAIN], state[LOSS])


@kernel
def update_range(state: list[float], high: float, low: float) -> None:
    """ATR 14."""
    bars = int(state[BARS]) + 1
    true_range = high - low
    if bars > 1:
        previous = state[CLOSE]
        true_range = max(true_range, abs(high - previous), abs(low - previous))
    if bars <= 14:
        state[RANGE] += true_range / 14.0
    else:
        state[RANGE] += (true_range - state[RANGE]) / 14.0
    if bars >= 14:
        state[ATR_14] = state[RANGE]


@kernel
def update_windows(state: list[float], close: float) -> None:
    """SMA 20 and 50, and the Bollinger bands."""
    before = int(state[BARS])
    bars = before + 1
    state[RING + before % RING_SIZE] = close
    state[SMA_20] = window_mean(state, bars, 20, close)
    state[SMA_50] = window_mean(state, bars, 50, close)
    deviation = window_deviation(state, bars, 20, state[SMA_20])
    state[BOLLINGER_MIDDLE] = state[SMA_20]
    state[BOLLINGER_UPPER] = state[SMA_20] + 2.0 * deviation
    state[BOLLINGER_LOWER] = state[SMA_20] - 2.0 * deviation


@kernel
def advance(state: list[float], close: float) -> None:
    """The bar is over: the next one is told against its close."""
    state[BARS] += 1.0
    state[CLOSE] = close


@kernel
def update(state: list[float], high: float, low: float, close: float) -> None:
    """One closed bar; afterwards `state[SMA_20]` to `state[ATR_14]` hold the figures of this bar, in the unit of the prices."""
    update_averages(state, close)
    update_strength(state, close)
    update_range(state, high, low)
    update_windows(state, close)
    advance(state, close)


def empty() -> list[float]:
    """The state before the first bar."""
    return [NAN] * BARS + [0.0] * (SIZE - BARS)


class Indicators(msgspec.Struct):
    """The hot set of one market and timeframe, in the unit of the prices given; NaN while a figure warms up."""

    state: list[float] = msgspec.field(default_factory=empty)

    def update(self, high: float, low: float, close: float) -> None:
        """One more closed bar."""
        update(self.state, high, low, close)

    @property
    def bars(self) -> int:
        return int(self.state[BARS])

    @property
    def close(self) -> float:
        """Of the newest bar, 0 before the first."""
        return self.state[CLOSE]

    @property
    def sma_20(self) -> float:
        return self.state[SMA_20]

    @property
    def sma_50(self) -> float:
        return self.state[SMA_50]

    @property
    def ema_12(self) -> float:
        return self.state[EMA_12]

    @property
    def ema_26(self) -> float:
        return self.state[EMA_26]

    @property
    def rsi_14(self) -> float:
        return self.state[RSI_14]

    @property
    def macd(self) -> float:
        return self.state[MACD]

    @property
    def macd_signal(self) -> float:
        return self.state[MACD_SIGNAL]

    @property
    def macd_histogram(self) -> float:
        return self.state[MACD_HISTOGRAM]

    @property
    def bollinger_middle(self) -> float:
        return self.state[BOLLINGER_MIDDLE]

    @property
    def bollinger_upper(self) -> float:
        return self.state[BOLLINGER_UPPER]

    @property
    def bollinger_lower(self) -> float:
        return self.state[BOLLINGER_LOWER]

    @property
    def atr_14(self) -> float:
        return self.state[ATR_14]
