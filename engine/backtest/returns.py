"""Equity in, returns and what is reckoned from them alone out: of bars, of days, and their ratios.

Years have 365 days, as the market never closes, and the rate without risk is 0.
"""

import numpy as np

from engine.backtest.series import Floats, Integers, Series
from engine.backtest.spans import DAY_MS

DAYS = 365  # a year's


def returns(curve: Floats) -> Floats:
    """[n] fractions from the [n + 1] equities around them, the first above 0. Where nothing is left it is -1, then 0."""
    over = curve <= 0
    end = int(over.argmax()) if over.any() else len(curve)
    changes = np.zeros(len(curve) - 1)
    changes[: end - 1] = curve[1:end] / curve[: end - 1] - 1
    if end < len(curve):
        changes[end - 1] = -1.0
    return changes


def daily_returns(series: Series, equity: Floats, initial: float) -> Floats:
    """[d] returns of each UTC day, the first and last perhaps in part; of each bar where bars are longer than a day."""
    curve = np.concatenate(([initial], equity))
    return returns(curve[np.append(0, _day_ends(series) + 1)])


def days_of(series: Series) -> Integers:
    """[d] ms UTC, the start of each of those days."""
    return series.open_ms[_day_ends(series)] // DAY_MS * DAY_MS


def periods_a_year(series: Series) -> float:
    """How many of the returns that `daily_returns` gives make a year."""
    return DAYS * DAY_MS / max(series.timeframe_ms, DAY_MS)


def sharpe(changes: Floats, periods: float) -> float | None:
    """Mean over sample standard deviation, x sqrt(periods in a year); None below two returns or where they do not vary."""
    if len(changes) < 2:
        return None
    mean, deviation = float(changes.mean()), float(changes.std(ddof=1))
    return mean / deviation * periods**0.5 if _varies(deviation, mean) else None


def sortino(changes: Floats, periods: float) -> float | None:
    """Sortino & Price (1994), to a target of 0: the deviation is over all returns, the gains counted as 0."""
    if len(changes) < 2:
        return None
    downside = float(np.sqrt((np.minimum(changes, 0) ** 2).mean()))
    return float(changes.mean()) / downside * periods**0.5 if downside > 0 else None


def annual_return(growth: float, length_ms: int) -> float | None:
    """The n-th root of the growth over n years, less 1; -1 where nothing is left, None below a day or past what a float holds."""
    if length_ms < DAY_MS:
        return None
    if growth <= 0:
        return -1.0
    power = np.log(growth) * (DAYS * DAY_MS / length_ms)
    return float(np.expm1(power)) if power < 700 else None


def moments(changes: Floats) -> tuple[float, float] | None:
    """Skewness and kurtosis (normal: 0 and 3) by population moments; None where the returns do not vary."""
    if not len(changes):
        return None
    off = changes - changes.mean()
    deviation = float(np.sqrt((off**2).mean()))
    if not _varies(deviation, float(changes.mean())):
        return None
    off /= deviation
    return float((off**3).mean()), float((off**4).mean())


def _varies(deviation: float, mean: float) -> bool:
    return deviation > 1e-12 * abs(mean)  # below is what rounding leaves of equal returns


def _day_ends(series: Series) -> Integers:
    """[d] the last bar of each UTC day that a bar opens in."""
    last = len(series) - 1
    if series.timeframe_ms >= DAY_MS:
        return np.arange(last + 1)
    first_day, last_day = int(series.open_ms[0]) // DAY_MS, int(series.open_ms[-1]) // DAY_MS
    midnights = np.arange(first_day + 1, last_day + 1) * DAY_MS
    return np.append(np.searchsorted(series.open_ms, midnights) - 1, last)
