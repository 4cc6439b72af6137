"""Bars in, the opinions that a judge would have had of them out, as columns for the loop.

They are made before the loop, and each takes effect at the time of the bar that it is about, plus what the judge took.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np

from engine.action import BIAS
from engine.backtest.loop import Judgments
from engine.backtest.series import Series
from engine.config import Settings
from engine.errors import SessionError
from engine.events import Judged, Stance, StanceEnded, decode_output
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
from engine.queue.session import Session
from engine.replay import first_of, settings_of

NS_PER_MS = 1_000_000


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


def recorded(session: Session, symbol: str) -> Judgments:
    """The opinions that were in force in a session about a contract, a model's before the rules', as the core chose them then.

    Raises SessionError where there are none.
    """
    settings = settings_of(session, first_of(session))
    said = list(_said(session, f"{settings.engine.venues[0]}:{symbol}"))
    if not said:
        raise SessionError(str(session.path), f"nobody judged {symbol} in it")
    ends = {one.stance.expires_at for one in said if isinstance(one, Judged) and one.stance.question}
    rows: list[tuple[float, ...]] = []
    model: Stance | None = None
    rules: Stance | None = None
    place = 0
    for at in sorted({one.at for one in said} | ends):
        while place < len(said) and said[place].at <= at:
            event, place = said[place], place + 1
            if isinstance(event, StanceEnded):
                if model is not None and model.question == event.question:
                    model = msgspec.structs.replace(model, expires_at=event.at)
            elif event.stance.question:
                model = event.stance
            else:
                rules = event.stance
        rows.append(row(_in_force(model, rules, settings, at), at))
    return columns(rows)


def _said(session: Session, market: str) -> Iterator[Judged | StanceEnded]:
    """In their order."""
    for chunk in session.chunks():
        for raw in chunk.outputs:
            event = decode_output(raw)
            if not isinstance(event, Judged | StanceEnded):
                continue
            name = event.stance.market if isinstance(event, Judged) else event.market
            if name == market:
                yield event


def _in_force(model: Stance | None, rules: Stance | None, settings: Settings, at: int) -> Stance | None:
    if model is not None and model.size_cap > 0.0 and model.valid(at) and settings.judgment.judge != "rules":
        return model
    return rules if rules is not None and rules.valid(at) else None


def row(stance: Stance | None, at: int, invalid_bps: float = 0.0) -> tuple[float, ...]:
    """In the order of `Judgments`; `at` ns is since when, `invalid_bps` the adverse move that is to end it (0: none)."""
    since_ms = at // NS_PER_MS
    if stance is None:
        return (since_ms, 0, since_ms, 0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0)
    move = abs(stance.target_price / stance.price - 1.0) * 1e4 if stance.target_price > 0.0 and stance.price > 0.0 else 0.0
    times = (since_ms, stance.expires_at // NS_PER_MS, stance.made_at // NS_PER_MS)
    view = (BIAS[stance.bias], stance.confidence, stance.risk_score, move, stance.price, stance.size_cap)
    return (*times, *view, invalid_bps)


def columns(rows: Sequence[Sequence[float]]) -> Judgments:
    """Rows, oldest first, as the loop reads them."""
    table = np.array(rows, np.float64).reshape(len(rows), len(Judgments._fields))
    whole = [np.rint(table[:, at]).astype(np.int64) for at in range(4)]
    return Judgments(*whole, *(table[:, at].copy() for at in range(4, table.shape[1])))


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
