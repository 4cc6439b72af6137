"""Bars in, the opinions that a judge would have had of them out, as columns for the loop.

They are made before the loop, and each takes effect at the time of the bar that it is about, plus what the judge took.
"""

import math
from typing import Any

import numpy as np

from engine.backtest.loop import Judgments
from engine.backtest.series import Series
from engine.config import Settings
from engine.fills import half_spread
from engine.judgment.rules import danger, is_ready, rounded, spoken, verdict
from engine.kernel import kernel
from engine.processor.features import momentum_bps, spread_bps, volatility_bps
from engine.processor.indicators import (
    ATR_14,
    BOLLINGER_LOWER,
    BOLLINGER_MIDDLE,
    BOLLINGER_UPPER,
    EMA_12,
    EMA_26,
    MACD_HISTOGRAM,
    RSI_14,
    SMA_20,
    SMA_50,
    empty,
    update,
)


def nobody() -> Judgments:
    """No opinion at all."""
    none = np.empty(0, np.int64)
    return Judgments(none, none, none, none, *(np.empty(0) for _ in range(6)))


def by_rules(series: Series, settings: Settings, spread: float, latency_ms: int = 0) -> Judgments:
    """What the rule judge says at every `[judgment] every_bars`th bar."""
    from engine.backtest.compile import compiled_judge

    every, tick = settings.judgment.every_bars, float(series.contract.tick)
    rows = -(-len(series) // every)
    side, confidence, risk_score = np.zeros(rows, np.int64), np.zeros(rows), np.zeros(rows)
    closes, hot, windows = series.close.astype(np.float64), np.array(empty()), settings.features
    about = (series.high, series.low, series.close, tick, spread, every, windows.volatility_bars, windows.momentum_bars)
    compiled_judge()(*about, closes, hot, side, confidence, risk_score)
    made_ms = series.open_ms[::every] + series.timeframe_ms
    until_ms = made_ms + settings.judgment.lifetime_bars * series.timeframe_ms
    none = np.zeros(rows)
    return Judgments(
        made_ms + latency_ms, until_ms, made_ms, side, confidence, risk_score, none, closes[::every] * tick, none + 1.0, none
    )


@kernel
def rule_pass(
    high: Any,
    low: Any,
    close: Any,
    tick: float,
    spread: float,
    every: int,
    volatility_bars: int,
    momentum_bars: int,
    closes: Any,
    hot: Any,
    side: Any,
    confidence: Any,
    risk_score: Any,
) -> int:
    """The rules' opinion at every `every`th bar, the first one included, into the last three columns; how many there are.

    `closes` are the closes as floats. The book is neutral: as much rests on either side, `spread` basis points apart.
    """
    wanted = max(volatility_bars, momentum_bars) + 1
    rows = 0
    for i in range(len(close)):
        last = close[i] * tick
        update(hot, high[i] * tick, low[i] * tick, last)
        if i % every:
            continue
        recent = closes[max(0, i + 1 - wanted) : i + 1]
        volatility, momentum = volatility_bps(recent, volatility_bars), momentum_bps(recent, momentum_bars)
        voices = spoken(
            last,
            hot[SMA_20],
            hot[SMA_50],
            hot[EMA_12],
            hot[EMA_26],
            hot[RSI_14],
            hot[MACD_HISTOGRAM],
            hot[BOLLINGER_MIDDLE],
            hot[BOLLINGER_UPPER],
            hot[BOLLINGER_LOWER],
            hot[ATR_14],
            volatility,
            momentum,
            0.0,
        )
        side[rows], confidence[rows] = verdict(voices, is_ready(hot[EMA_26], hot[RSI_14], hot[ATR_14]))
        half = half_spread(close[i], spread)
        width = spread_bps(float(close[i] - half), float(close[i] + half))
        risk_score[rows] = rounded(danger(10.0 if math.isnan(volatility) else volatility, 5.0 if math.isnan(width) else width))
        rows += 1
    return rows
