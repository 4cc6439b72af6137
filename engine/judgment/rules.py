"""Features in, a stance out, by plain rules: weighs trend, momentum, stretch and the book.

`RuleJudge` is the opinion of plain rules; it is always there, so that trading never waits for a model.
"""

import math
from typing import Protocol

from engine.config import JudgmentSettings
from engine.events import Bias, Features, Stance
from engine.kernel import kernel

NS_PER_MS = 1_000_000
WARMING = "Hold: the indicators are still warming up."
HOLD_BELOW = 0.15  # scores nearer to 0 than this are no opinion


class Judge(Protocol):
    """Whoever forms opinions: rules here, a language model elsewhere."""

    def judge(self, market: str, features: Features, at: int, timeframe_ms: int) -> Stance: ...


class RuleJudge:
    """Weighs trend, momentum, stretch and the book; each voice is -1..1 and speaks in the rationale when it matters."""

    def __init__(self, settings: JudgmentSettings) -> None:
        self.settings = settings

    def judge(self, market: str, features: Features, at: int, timeframe_ms: int) -> Stance:
        """A stance that is valid for `lifetime_bars`; HOLD while indicators warm up or the voices disagree."""
        f = features
        voices = spoken(
            f.close,
            f.sma_20,
            f.sma_50,
            f.ema_12,
            f.ema_26,
            f.rsi_14,
            f.macd_histogram,
            f.bollinger_middle,
            f.bollinger_upper,
            f.bollinger_lower,
            f.atr_14,
            f.volatility_bps,
            f.momentum_bps,
            f.imbalance,
        )
        ready = is_ready(f.ema_26, f.rsi_14, f.atr_14)
        side, confidence = verdict(voices, ready)
        bias = {1: Bias.LONG, -1: Bias.SHORT, 0: Bias.HOLD}[side]
        risk, risk_words = _risk(features)
        return Stance(
            market,
            at,
            at + self.settings.lifetime_bars * timeframe_ms * NS_PER_MS,
            bias,
            confidence,
            rounded(risk),
            _sentence(bias, confidence, features, voices, risk_words) if ready else WARMING,
            "rules",
            features.close,
        )


# --- the voices as kernels: the backtest compiles the same source ----------------------------------------------------------

Voices = tuple[float, float, float, float, float, float, float]
WEIGHTS = (3.0, 1.5, 2.0, 1.5, 1.0, 1.0, 1.0)  # averages, slow averages, MACD, momentum, RSI, bands, book


@kernel
def spoken(
    close: float,
    sma_20: float,
    sma_50: float,
    ema_12: float,
    ema_26: float,
    rsi_14: float,
    macd_histogram: float,
    bollinger_middle: float,
    bollinger_upper: float,
    bollinger_lower: float,
    atr: float,
    volatility_bps: float,
    momentum_bps: float,
    imbalance: float,
) -> Voices:
    """What each voice says, -1 (short) to 1; NaN where it is silent: a figure that is still warming up says nothing."""
    fast = slow = push = thrust = lean = stretch = math.nan
    if atr > 0.0:
        fast = math.tanh((ema_12 - ema_26) / atr)
        slow = math.tanh((sma_20 - sma_50) / atr / 2.0)
        push = math.tanh(macd_histogram / atr * 4.0)
    if volatility_bps > 0.0:
        thrust = math.tanh(momentum_bps / (volatility_bps * 3.0))
    if not math.isnan(rsi_14):  # momentum below the extremes, exhaustion beyond them
        lean = (rsi_14 - 50.0) / 50.0
        if rsi_14 > 75.0 or rsi_14 < 25.0:
            lean = -lean
    if bollinger_upper > bollinger_lower:
        place = (close - bollinger_middle) / (bollinger_upper - bollinger_lower) * 2.0
        if abs(place) > 1.0:
            stretch = -math.copysign(min(abs(place) - 1.0, 1.0), place)
    return fast, slow, push, thrust, lean, stretch, imbalance


@kernel
def is_ready(ema_26: float, rsi_14: float, atr_14: float) -> bool:
    return not math.isnan(ema_26) and not math.isnan(rsi_14) and not math.isnan(atr_14)


@kernel
def verdict(voices: Voices, ready: bool) -> tuple[int, float]:
    """The side (1, -1, 0 to hold) and the confidence of all voices together."""
    total = weights = 0.0
    for i in range(len(voices)):
        if not math.isnan(voices[i]):
            total += WEIGHTS[i] * voices[i]
            weights += WEIGHTS[i]
    score = total / weights if weights > 0.0 else 0.0
    if not ready:
        return 0, 0.0
    confidence = rounded(min(0.5 + 0.5 * abs(score), 1.0))
    if abs(score) < HOLD_BELOW:
        return 0, confidence
    return (1 if score > 0.0 else -1), confidence


@kernel
def rounded(value: float) -> float:
    """To four decimals, in one way for the interpreter and the compiler."""
    return math.floor(value * 1e4 + 0.5) / 1e4


@kernel
def danger(volatility_bps: float, spread_bps: float) -> float:
    """0 calm .. 1 dangerous."""
    return 1.0 - math.exp(-(volatility_bps / 40.0 + spread_bps / 30.0))


# --- words -------------------------------------------------------------------------------------------------------------------


def _loudest(voices: Voices) -> list[int]:
    """The places of the three that weigh most."""
    loud = [(-abs(WEIGHTS[n] * value), n) for n, value in enumerate(voices) if not math.isnan(value)]
    loud.sort()
    return [n for _, n in loud[:3]]


def _said(n: int, f: Features) -> str:
    """What the voice at that place says."""
    match n:
        case 0:
            fast = _atrs(f.ema_12 - f.ema_26, f)
            return f"EMA 12 is {abs(fast):.2f} ATR {_above(fast)} EMA 26"
        case 1:
            slow = _atrs(f.sma_20 - f.sma_50, f)
            return f"SMA 20 is {abs(slow):.2f} ATR {_above(slow)} SMA 50"
        case 2:
            return f"the MACD histogram is {_atrs(f.macd_histogram, f):+.2f} ATR"
        case 3:
            return f"momentum is {f.momentum_bps:+.1f} bps"
        case 4:
            return f"RSI {f.rsi_14:.0f} {'is stretched' if f.rsi_14 > 75 or f.rsi_14 < 25 else 'leaves room'}"
        case 5:
            return f"price is outside its {_band(f.close - f.bollinger_middle)} Bollinger band"
    return f"{'bids' if f.imbalance > 0 else 'asks'} outweigh by {abs(f.imbalance):.0%}"


def _atrs(distance: float, f: Features) -> float:
    return distance / f.atr_14 if f.atr_14 > 0 else 0.0


def risk_score(f: Features) -> float:
    """0 calm .. 1 dangerous, from volatility and spread; a figure that is not known counts as a usual one."""
    return danger(*_swing(f))


def _swing(f: Features) -> tuple[float, float]:
    """Volatility and spread, basis points."""
    swing = f.volatility_bps if not math.isnan(f.volatility_bps) else 10.0
    width = f.spread_bps if not math.isnan(f.spread_bps) else 5.0
    return swing, width


def _risk(f: Features) -> tuple[float, str]:
    risk, (swing, width) = risk_score(f), _swing(f)
    return risk, f"volatility {swing:.1f} bps a bar and a spread of {width:.1f} bps put risk at {risk:.2f}"


def _sentence(bias: Bias, confidence: float, f: Features, voices: Voices, risk_words: str) -> str:
    why = ", ".join([_said(n, f) for n in _loudest(voices)]) or "nothing speaks"
    head = {Bias.HOLD: "Hold", Bias.LONG: "Long", Bias.SHORT: "Short"}[bias]
    middle = "the voices do not agree" if bias is Bias.HOLD else f"confidence {confidence:.2f}"
    return f"{head}, {middle}: {why}; {risk_words}."


def _above(value: float) -> str:
    return "above" if value > 0 else "below"


def _band(value: float) -> str:
    return "upper" if value > 0 else "lower"
