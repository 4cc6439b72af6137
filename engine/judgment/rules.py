"""Features in, a stance out, by plain rules: weighs trend, momentum, stretch and the book.

`RuleJudge` is the opinion of plain rules; it is always there, so that trading never waits for a model.
"""

import math
from typing import Protocol

from engine.config import JudgmentSettings
from engine.events import Bias, Features, Stance

NS_PER_MS = 1_000_000
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
        voices = _voices(features)
        # fsum: the built-in sum of floats rounds otherwise from Python 3.12 on, and a session must replay on any version.
        score = math.fsum(weight * value for weight, value, _ in voices) / (math.fsum(weight for weight, _, _ in voices) or 1.0)
        risk, risk_words = _risk(features)
        ready = not math.isnan(features.ema_26) and not math.isnan(features.rsi_14) and not math.isnan(features.atr_14)
        bias = Bias.HOLD
        if ready and abs(score) >= HOLD_BELOW:
            bias = Bias.LONG if score > 0 else Bias.SHORT
        confidence = min(0.5 + 0.5 * abs(score), 1.0) if ready else 0.0
        return Stance(
            market,
            at,
            at + self.settings.lifetime_bars * timeframe_ms * NS_PER_MS,
            bias,
            round(confidence, 4),
            round(risk, 4),
            _sentence(bias, confidence, voices, risk, risk_words, ready),
            "rules",
            features.close,
        )


Voice = tuple[float, float, str]  # weight, -1..1, what it says


def _voices(f: Features) -> list[Voice]:
    """Only what is known speaks: a figure that is still warming up is NaN and says nothing."""
    atr = f.atr_14
    voices: list[Voice] = []

    def say(weight: float, value: float, words: str) -> None:
        if not math.isnan(value):
            voices.append((weight, value, words))

    if atr > 0:
        gap = (f.ema_12 - f.ema_26) / atr
        say(3.0, math.tanh(gap), f"EMA 12 is {abs(gap):.2f} ATR {_above(gap)} EMA 26")
        slow = (f.sma_20 - f.sma_50) / atr
        say(1.5, math.tanh(slow / 2), f"SMA 20 is {abs(slow):.2f} ATR {_above(slow)} SMA 50")
        push = f.macd_histogram / atr
        say(2.0, math.tanh(push * 4), f"the MACD histogram is {push:+.2f} ATR")
    if f.volatility_bps > 0:
        thrust = f.momentum_bps / (f.volatility_bps * 3)
        say(1.5, math.tanh(thrust), f"momentum is {f.momentum_bps:+.1f} bps")
    if not math.isnan(f.rsi_14):
        # Momentum below the extremes, exhaustion beyond them.
        lean = (f.rsi_14 - 50) / 50
        stretched = f.rsi_14 > 75 or f.rsi_14 < 25
        say(1.0, -lean if stretched else lean, f"RSI {f.rsi_14:.0f} {'is stretched' if stretched else 'leaves room'}")
    if f.bollinger_upper > f.bollinger_lower:
        place = (f.close - f.bollinger_middle) / (f.bollinger_upper - f.bollinger_lower) * 2
        if abs(place) > 1:
            say(1.0, -math.copysign(min(abs(place) - 1, 1), place), f"price is outside its {_band(place)} Bollinger band")
    say(1.0, f.imbalance, f"{'bids' if f.imbalance > 0 else 'asks'} outweigh by {abs(f.imbalance):.0%}")
    return voices


def risk_score(f: Features) -> float:
    """0 calm .. 1 dangerous, from volatility and spread; a figure that is not known counts as a usual one."""
    swing, width = _swing(f)
    return 1 - math.exp(-(swing / 40 + width / 30))


def _swing(f: Features) -> tuple[float, float]:
    """Volatility and spread, basis points."""
    swing = f.volatility_bps if not math.isnan(f.volatility_bps) else 10.0
    width = f.spread_bps if not math.isnan(f.spread_bps) else 5.0
    return swing, width


def _risk(f: Features) -> tuple[float, str]:
    risk, (swing, width) = risk_score(f), _swing(f)
    return risk, f"volatility {swing:.1f} bps a bar and a spread of {width:.1f} bps put risk at {risk:.2f}"


def _sentence(bias: Bias, confidence: float, voices: list[Voice], risk: float, risk_words: str, ready: bool) -> str:
    if not ready:
        return "Hold: the indicators are still warming up."
    loudest = sorted(voices, key=lambda voice: -abs(voice[0] * voice[1]))[:3]
    why = ", ".join(words for _, _, words in loudest) or "nothing speaks"
    head = {Bias.HOLD: "Hold", Bias.LONG: "Long", Bias.SHORT: "Short"}[bias]
    middle = "the voices do not agree" if bias is Bias.HOLD else f"confidence {confidence:.2f}"
    return f"{head}, {middle}: {why}; {risk_words}."


def _above(value: float) -> str:
    return "above" if value > 0 else "below"


def _band(value: float) -> str:
    return "upper" if value > 0 else "lower"
