"""The strategy's decisions and its four ways of sizing."""

import itertools
import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.action import Evidence, Wish, decide, kelly_stake, look, no_stake, plan, position_size, size, win_chance
from engine.config import Settings, StrategySettings
from engine.events import Bar, Bias, Features, Side, Stance

NAN = math.nan
RISING = Features(1.01, 1.0, 0.99, 1.005, 1.0, 60.0, 0.005, 0.004, 0.001, 1.0, 1.02, 0.98, 0.002, 1.0, 0.2, 1.01, 5.0, 4.0, 20.0)
LONG = Stance("m", 0, 1_000, Bias.LONG, 0.8, 0.2, "why", "rules", 1.0)


def but(stance: Stance = LONG, **changes: object) -> Stance:
    return msgspec.structs.replace(stance, **changes)


def wish(
    stance: Stance | None = LONG,
    position: int = 0,
    at: int = 10,
    features: Features = RISING,
    cooling: bool = False,
    cost_bps: float = 0.0,
) -> Wish:
    bar = Bar("m", 60_000, 0, 101, 102, 100, round(features.close * 100), 5, 1)
    settings = Settings()
    return decide(look(features, bar, 0.01, 1.0, stance, position, at, settings, cooling, cost_bps), [0.0], settings.strategy)


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


PROVEN = Evidence(100, 0.6, 2.0)


@pytest.mark.parametrize(
    ("method", "expected"),
    [
        ("fixed", 250.0),  # 500 USDT at 2
        ("percentage_of_capital", 500.0),  # a tenth of 10,000 USDT at 2
        ("risk_parity", 1_000.0),  # 1,000 x 0.05 is 50 USDT, half a percent of 10,000
        ("kelly", 800.0),  # 0.6 - 0.4 / 2 is 0.4, a hundredth of it is 40 USDT, which 800 lose over 0.05
    ],
)
def test_each_sizing_method(method: str, expected: float) -> None:
    settings = StrategySettings(sizing=method, stop_atr=1.0, target_atr=2.0, kelly_fraction=0.01, kelly_capital=1.0)
    assert size(settings, 10_000.0, 2.0, plan(2.0, 0.05, settings), PROVEN) == pytest.approx(expected)


def kelly(evidence: Evidence, **settings: object) -> float:
    """Base units at 2 USDT with 10,000 of them, a stop at 0.05 and a target at 0.10."""
    chosen = StrategySettings(sizing="kelly", stop_atr=1.0, target_atr=2.0, **{"kelly_capital": 1.0, **settings})  # type: ignore[arg-type]
    return size(chosen, 10_000.0, 2.0, plan(2.0, 0.05, chosen), evidence)


def test_kelly_uses_its_setting_and_stakes_nothing_without_an_edge() -> None:
    """The seed program ignored the setting."""
    assert kelly(PROVEN, kelly_fraction=0.02) == pytest.approx(2 * kelly(PROVEN, kelly_fraction=0.01)) == pytest.approx(1_600.0)
    assert kelly(Evidence(100, 1 / 3, 2.0)) == 0.0 and kelly(Evidence(100, 0.2, 2.0)) == 0.0
    assert kelly(Evidence(100, 0.34, 2.0)) > 0.0


def test_kelly_stakes_nothing_on_too_few_outcomes() -> None:
    few, enough = msgspec.structs.replace(PROVEN, outcomes=29), msgspec.structs.replace(PROVEN, outcomes=30)
    assert kelly(few) == 0.0 and kelly(enough) > 0.0
    assert kelly(few, kelly_outcomes=29) > 0.0


def test_kelly_is_capped_by_its_share_of_the_capital() -> None:
    """A stop of 2.5 % and a tenth of the equity staked would be four times the capital."""
    assert kelly(PROVEN, kelly_fraction=0.25, kelly_capital=0.2) == pytest.approx(0.2 * 10_000 / 2.0)


def test_a_chance_of_one_half_has_no_edge_however_near_the_target_is() -> None:
    """Taken for a chance to win, one half would be an edge with any target further away than the stop."""
    for stop, target in ((1.0, 1.0), (1.0, 1.5), (1.0, 4.0), (3.0, 1.0)):
        assert kelly_stake(win_chance(0.5, stop, target), target / stop) == 0.0
        assert kelly_stake(win_chance(0.45, stop, target), target / stop) == 0.0
        assert kelly_stake(win_chance(0.55, stop, target), target / stop) > 0.0
    assert win_chance(0.6, 1.0, 1.0) == pytest.approx(0.6)
    assert win_chance(0.6, 1.0, 1.5) == pytest.approx(0.5)  # odds of 1 / 1.5 times 0.6 / 0.4
    assert kelly_stake(0.5, 1.5) == pytest.approx(1 / 6)


@given(st.floats(0.0, 1.0), st.floats(0.001, 100.0), st.floats(0.001, 100.0))
def test_kelly_never_stakes_more_than_everything_nor_less_than_nothing(chance: float, stop: float, target: float) -> None:
    assert 0.0 <= kelly_stake(win_chance(chance, stop, target), target / stop) <= 1.0


def test_why_kelly_stakes_nothing_is_said() -> None:
    settings = StrategySettings(sizing="kelly")
    assert no_stake(settings, Evidence(3)) == "kelly stakes nothing on 3 outcomes, and 30 are needed"
    assert "no wins and losses to compare in 40" in no_stake(settings, Evidence(40))
    assert no_stake(settings, Evidence(40, 0.3, 1.5)) == "kelly sees no edge: 30% are won, 1.50 for each unit lost"
    assert no_stake(settings, PROVEN) == "" and no_stake(StrategySettings(), Evidence()) == ""


def test_nothing_is_sized_without_equity_price_or_stop() -> None:
    cases = ((0.0, 1.0, 0.1), (1.0, 0.0, 0.1), (1.0, 1.0, 0.0), (-5.0, 1.0, 0.1))
    for method, (equity, price, stop) in itertools.product(range(4), cases):
        assert position_size(method, equity, price, stop, 0.9, 2.0, 100.0, 0.1, 0.1, 0.1, 0.1) == 0.0
