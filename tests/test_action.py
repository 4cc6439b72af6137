"""The strategy's decisions and its four ways of sizing."""

import math

import msgspec
import pytest

from engine.action import KELLY, decide, plan, position_size, size
from engine.config import JudgmentSettings, StrategySettings
from engine.events import Bias, Features, Side, Stance

NAN = math.nan
RISING = Features(1.01, 1.0, 0.99, 1.005, 1.0, 60.0, 0.005, 0.004, 0.001, 1.0, 1.02, 0.98, 0.002, 1.0, 0.2, 1.01, 5.0, 4.0, 20.0)
LONG = Stance("m", 0, 1_000, Bias.LONG, 0.8, 0.2, "why", "rules", 1.0)
JUDGE = JudgmentSettings()


def but(stance: Stance = LONG, **changes: object) -> Stance:
    return msgspec.structs.replace(stance, **changes)


def wish(stance: Stance | None = LONG, position: int = 0, at: int = 10, features: Features = RISING, cooling: bool = False):  # type: ignore[no-untyped-def]
    return decide(features, stance, position, at, JUDGE, cooling)


def test_a_valid_confident_stance_that_the_bar_agrees_with_opens_in_its_direction() -> None:
    assert (wish().side, wish().leave) == (Side.BUY, False)
    assert wish(but(bias=Bias.SHORT), features=msgspec.structs.replace(RISING, close=0.99)).side is Side.SELL


@pytest.mark.parametrize(
    "stance",
    [None, but(bias=Bias.HOLD), but(expires_at=10), but(made_at=11), but(confidence=0.5), but(risk_score=0.9)],
    ids=["none", "hold", "expired", "from the future", "unsure", "dangerous"],
)
def test_a_stance_that_may_not_be_acted_on_opens_nothing(stance: Stance | None) -> None:
    assert wish(stance).side is None


def test_a_bar_against_the_stance_or_a_cooldown_opens_nothing() -> None:
    assert wish(features=msgspec.structs.replace(RISING, close=1.0)).side is None
    assert wish(features=msgspec.structs.replace(RISING, ema_12=NAN)).side is None
    assert wish(cooling=True).side is None


def test_a_stance_against_the_position_closes_it_and_one_with_it_does_nothing() -> None:
    assert (wish(position=-5).side, wish(position=-5).leave) == (Side.BUY, True)
    assert wish(position=5).side is None
    assert wish(but(confidence=0.5), position=-5).side is None
    assert wish(but(expires_at=5), position=-5).side is None


def test_the_stop_has_a_least_distance_and_the_target_its_ratio() -> None:
    settings = StrategySettings(stop_atr=2.0, target_atr=3.0, min_stop_bps=10.0)
    assert plan(100.0, 1.0, settings).stop_distance == 2.0
    assert plan(100.0, 0.001, settings).stop_distance == pytest.approx(0.1)
    assert plan(100.0, NAN, settings).target_distance == pytest.approx(0.15)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("fixed", 500 / 2.0),
        ("percentage_of_capital", 0.1 * 10_000 / 2.0),
        ("risk_parity", 0.005 * 10_000 / 0.05),
        ("kelly", 0.25 * (0.8 - 0.2 * 0.05 / 0.10) * 10_000 / 0.05),
    ],
)
def test_each_sizing_method(method: str, expected: float) -> None:
    settings = StrategySettings(sizing=method, stop_atr=1.0, target_atr=2.0)
    assert size(settings, 10_000.0, 2.0, plan(2.0, 0.05, settings), 0.8) == pytest.approx(expected)


def test_kelly_uses_its_setting_and_stakes_nothing_without_an_edge() -> None:
    """The seed program ignored the setting."""

    def kelly(fraction: float, confidence: float) -> float:
        return position_size(KELLY, 1000.0, 1.0, 0.1, 0.1, confidence, 0.0, 0.0, fraction, 0.0)

    assert kelly(0.5, 0.7) == pytest.approx(2 * kelly(0.25, 0.7))
    assert kelly(0.5, 0.5) == 0.0 and kelly(0.5, 0.2) == 0.0


def test_nothing_is_sized_without_equity_price_or_stop() -> None:
    for equity, price, stop in ((0.0, 1.0, 0.1), (1.0, 0.0, 0.1), (1.0, 1.0, 0.0), (-5.0, 1.0, 0.1)):
        assert position_size(0, equity, price, stop, 0.1, 0.9, 100.0, 0.1, 0.1, 0.1) == 0.0
