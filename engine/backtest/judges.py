"""Bars in, the opinions that a judge would have had of them out, as columns for the loop."""

import math
from typing import Any

from engine.judgment.rules import danger, is_ready, rounded, spoken, verdict
from engine.kernel import kernel
from engine.fills import half_spread
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
    update,
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
