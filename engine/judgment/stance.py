"""An opinion and what is known of the market in; the stance that code makes of it out, or why it makes none.

A model orients and reduces: its stance ends no later than settings allow, its stop is never further away than the plan's, and
its size is a share of what code would take anyway.
"""

import math

import msgspec

from engine.config import JudgmentSettings
from engine.events import Bias, Features, Stance
from engine.judgment.answer import AnswerError, Opinion, clean
from engine.judgment.rules import risk_score
from engine.kernel import kernel

NS_PER_MIN = 60_000_000_000
STALE_ATR = 1.1  # of a minute's ATR, half of that of five minutes: a market that has moved further is another one
LEAST_INVALID_ATR, MOST_INVALID_ATR = 1.0, 4.0
CALMER, WILDER = 0.4, 2.5  # volatility against that of the question, beyond which its regime is over


class Question(msgspec.Struct):
    """What the core remembers of a question. Prices in quote units."""

    id: str
    at: int
    price: float
    atr: float  # of the minutes behind the table, NaN before they are known
    volatility_bps: float
    position: int  # signed steps
    gaps: int  # of the market's feed so far
    rules_chance: float
    cost_bps: float


class Scoring(msgspec.Struct):
    """A judgment that waits for its end."""

    question: str
    by: str
    begun: int
    due: int
    price: float
    chance: float
    rules_chance: float
    cost_bps: float
    regime: str


@kernel
def expected_move_bps(chance_up: float, atr_bps: float, minutes: float) -> float:
    """What a chance is worth: |2p - 1| times the move that the ATR of a minute makes over so many minutes."""
    return abs(2.0 * chance_up - 1.0) * atr_bps * math.sqrt(max(minutes, 0.0))


def check_fresh(question: Question, price: float, position: int, gaps: int) -> None:
    """Raises AnswerError where the market that was asked about is not the one that the answer meets."""
    if gaps != question.gaps:
        raise AnswerError("stale", "the feed had a gap since the question")
    if (position > 0) - (position < 0) != (question.position > 0) - (question.position < 0):
        raise AnswerError("stale", "the position changed since the question")
    if not (price > 0.0 and question.price > 0.0):
        raise AnswerError("stale", "there is no price to act at")
    moved = abs(price - question.price)
    if question.atr > 0.0 and moved > STALE_ATR * question.atr:
        bps = moved / question.price * 1e4
        raise AnswerError("stale", f"the price moved {bps:.0f} bps since the question")


def made(
    opinion: Opinion,
    question: Question,
    market: str,
    at: int,
    price: float,
    features: Features,
    chance: float,
    cap: float,
    position: int,
    stop_distance: float,
    source: str,
    settings: JudgmentSettings,
    held: Stance | None,
) -> Stance:
    """`chance` is the opinion's after clamping and calibration; `stop_distance` the plan's, quote units."""
    confidence = max(chance, 1.0 - chance)
    bias = Bias.LONG if chance > 0.5 else Bias.SHORT if chance < 0.5 else Bias.HOLD
    if confidence < settings.min_confidence:
        bias = Bias.HOLD
    side = {Bias.LONG: 1, Bias.SHORT: -1, Bias.HOLD: 0}[bias]
    atr_bps = question.atr / question.price * 1e4 if question.atr > 0.0 else opinion.invalid_bp / LEAST_INVALID_ATR
    invalid = min(max(float(opinion.invalid_bp), LEAST_INVALID_ATR * atr_bps), MOST_INVALID_ATR * atr_bps)
    minutes = min(float(opinion.expires_min), settings.max_expiry_min)
    move = expected_move_bps(chance, atr_bps, minutes) * price / 1e4
    # Counted from the question: what the model took to answer is part of the time that its view holds.
    ends = question.at + int(minutes * NS_PER_MIN)
    return Stance(
        market,
        at,
        max(ends, at),
        bias,
        round(confidence, 4),
        round(risk_score(features), 4),
        clean(opinion.why),
        source,
        price,
        question.id,
        action(side, position, confidence, held, settings),
        opinion.chance_up,
        round(chance, 4),
        cap,
        question.at + opinion.expires_min * NS_PER_MIN,
        round(invalid, 1),
        opinion.regime,
        price + side * move,
        price - side * stop_distance,
    )


def action(side: int, position: int, confidence: float, held: Stance | None, settings: JudgmentSettings) -> str:
    """What a view comes to with the position that is held."""
    if not position:
        return {1: "open_long", -1: "open_short", 0: "hold"}[side]
    along = side * position
    if along < 0:
        return "close"
    if not along:
        return "reduce" if confidence < settings.min_confidence else "hold"
    return "increase" if held is not None and confidence > held.confidence + 0.1 else "hold"


def ended(stance: Stance, price: float, volatility_bps: float, asked_volatility_bps: float) -> str:
    """Why the market has ended a model's stance before its time, "" where it has not."""
    if stance.invalid_bps and stance.price > 0.0 and price > 0.0:
        moved = (price / stance.price - 1.0) * 1e4
        against = -moved if stance.chance_up > 0.5 else moved
        if against >= stance.invalid_bps:
            return f"the price moved {against:.0f} bps against it, and {stance.invalid_bps:.0f} prove it wrong"
    if asked_volatility_bps > 0.0 and volatility_bps > 0.0:
        change = volatility_bps / asked_volatility_bps
        if change > WILDER:
            return f"the market is {change:.1f} times as wild as when it was asked"
        if change < CALMER:
            return f"the market has calmed to {change:.0%} of what it was when it was asked"
    return ""
