"""The rule judge: its opinion follows the features, ends in time, and can be read."""

import math

import msgspec

from engine.config import JudgmentSettings
from engine.events import Bias, Features
from engine.judgment import RuleJudge

NAN = math.nan
RISING = Features(
    1.02, 1.01, 1.0, 1.012, 1.008, 62.0, 0.004, 0.003, 0.001, 1.01, 1.03, 0.99, 0.002, 1.5, 0.3, 1.0201, 6.0, 5.0, 25.0
)
FALLING = Features(
    0.98, 0.99, 1.0, 0.988, 0.992, 38.0, -0.004, -0.003, -0.001, 0.99, 1.01, 0.97, 0.002, 1.5, -0.3, 0.9799, 6.0, 5.0, -25.0
)
JUDGE = RuleJudge(JudgmentSettings(lifetime_bars=15))


def stance(features: Features):  # type: ignore[no-untyped-def]
    return JUDGE.judge("m", features, 1_000, 1_000)


def test_a_rising_market_is_long_and_its_mirror_short_with_equal_confidence() -> None:
    assert stance(RISING).bias is Bias.LONG and stance(FALLING).bias is Bias.SHORT
    assert abs(stance(RISING).confidence - stance(FALLING).confidence) < 1e-9
    assert 0.55 < stance(RISING).confidence <= 1.0


def test_a_stance_ends_after_its_bars() -> None:
    made = stance(RISING)
    assert made.expires_at - made.made_at == 15 * 1_000 * 1_000_000
    assert made.valid(made.made_at) and not made.valid(made.expires_at)


def test_the_rationale_is_a_sentence_built_from_the_features_that_it_used() -> None:
    words = stance(RISING).rationale
    assert words.startswith("Long, confidence ") and words.endswith(".")
    assert "EMA 12 is 2.00 ATR above EMA 26" in words
    assert "volatility 5.0 bps" in words
    assert stance(msgspec.structs.replace(RISING, ema_12=1.014)).rationale != words


def test_warming_indicators_hold_and_say_so() -> None:
    cold = msgspec.structs.replace(RISING, ema_26=NAN)
    assert (stance(cold).bias, stance(cold).confidence) == (Bias.HOLD, 0.0)
    assert "warming up" in stance(cold).rationale


def test_missing_figures_are_silent_and_never_reach_the_score() -> None:
    blank = Features(*(NAN for _ in range(19)))
    partial = msgspec.structs.replace(RISING, imbalance=NAN, momentum_bps=NAN, bollinger_upper=NAN, sma_50=NAN)
    assert not math.isnan(stance(partial).confidence) and "nan" not in stance(partial).rationale
    assert stance(partial).bias is Bias.LONG
    assert stance(blank).bias is Bias.HOLD and not math.isnan(stance(blank).risk_score)


def test_voices_that_disagree_hold() -> None:
    mixed = msgspec.structs.replace(
        RISING, ema_12=1.008, sma_20=1.0, macd_histogram=0.0, momentum_bps=0.0, rsi_14=50.0, imbalance=0.0
    )
    assert stance(mixed).bias is Bias.HOLD
    assert "do not agree" in stance(mixed).rationale


def test_wild_markets_are_riskier() -> None:
    wild = msgspec.structs.replace(RISING, volatility_bps=60.0, spread_bps=20.0)
    assert 0 <= stance(RISING).risk_score < 0.5 < stance(wild).risk_score <= 1
