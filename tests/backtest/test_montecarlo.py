"""Monte Carlo of trades: the spreads that can be worked out, the same for the same seed, and bounded."""

import math

import numpy as np
import pytest

from engine.backtest import montecarlo
from engine.backtest.montecarlo import Method, position_profits, simulate
from tests.backtest.ledgers import trades

MIXED = np.array([30.0, -10.0, 20.0, -20.0, -10.0, 5.0])


def test_two_results_drawn_with_replacement_end_in_three_places() -> None:
    # +10 and -10 on 100, amounts kept: 120, 100 (twice as often) and 80.
    cloud = simulate(np.array([10.0, -10.0]), 100.0, runs=40_000, compound=False, seed=3)
    assert set(cloud.finals) == {80.0, 100.0, 120.0}
    assert np.mean(cloud.finals == 100) == pytest.approx(0.5, abs=0.01)
    # Drawdowns: up, up 0; up, down 10 / 110; down, up 10 %; down, down 20 %.
    assert sorted(set(cloud.drawdowns.round(9))) == pytest.approx([0, 10 / 110, 0.1, 0.2])
    assert cloud.chance_of_drawdown(0.1) == pytest.approx(0.5, abs=0.01)
    assert cloud.chance_of_ruin(0.9) == pytest.approx(0.5, abs=0.01)
    assert cloud.summary().chance_of_loss == pytest.approx(0.25, abs=0.01)


def test_compounding_draws_fractions_of_the_equity_before_each() -> None:
    # +100 % of 100, then -50 % of 200. Two in a row: 400 or 25.
    cloud = simulate(np.array([100.0, -100.0]), 100.0, runs=5_000, seed=1)
    assert set(cloud.finals) == {400.0, 100.0, 25.0}
    assert max(cloud.drawdowns) == pytest.approx(0.75)


@pytest.mark.parametrize("block", [1, 2, 4, 6])
@pytest.mark.parametrize("compound", [True, False])
def test_another_order_changes_the_drawdown_and_not_the_end(block: int, compound: bool) -> None:
    cloud = simulate(MIXED, 100.0, Method.SHUFFLE, runs=500, block=block, compound=compound)
    assert cloud.finals == pytest.approx(np.full(500, 115.0))
    assert (len(set(cloud.drawdowns.round(9))) > 1) == (block < 6)
    assert cloud.drawdowns.max() <= 0.4


def test_a_block_of_all_keeps_the_order_but_for_where_it_starts() -> None:
    cloud = simulate(MIXED, 100.0, runs=2_000, block=6, compound=False)
    lows = {round(100 + min(0.0, min(np.cumsum(np.roll(MIXED, turn)))), 9) for turn in range(6)}
    assert set(cloud.lows.round(9)) == lows
    assert cloud.finals == pytest.approx(np.full(2_000, 115.0))


def test_blocks_keep_the_streaks_that_single_draws_break() -> None:
    streaks = np.repeat(np.tile([10.0, -10.0], 10), 10)  # ten of a kind in a row
    single = simulate(streaks, 1_000.0, runs=2_000, compound=False).summary().quantiles[3].drawdown
    blocks = simulate(streaks, 1_000.0, runs=2_000, block=20, compound=False).summary().quantiles[3].drawdown
    assert blocks > single


def test_the_own_drawdown_is_that_of_the_results_in_their_order() -> None:
    # 100, 130, 120, 140, 120, 110, 115: 30 below a peak of 140.
    cloud = simulate(MIXED, 100.0, runs=10)
    assert cloud.drawdown == pytest.approx(30 / 140)
    assert cloud.summary().drawdown == cloud.drawdown


def test_the_middle_of_many_draws_is_what_arithmetic_says() -> None:
    profits = np.random.default_rng(5).normal(2, 30, 400)
    cloud = simulate(profits, 10_000.0, runs=20_000, compound=False)
    assert cloud.finals.mean() == pytest.approx(10_000 + profits.sum(), abs=3 * profits.std() * math.sqrt(400 / 20_000))
    assert cloud.finals.std() == pytest.approx(profits.std() * math.sqrt(400), rel=0.03)


def test_equity_that_is_gone_stays_gone() -> None:
    cloud = simulate(np.array([-60.0, -50.0, 500.0]), 100.0, runs=100, seed=2)
    assert (cloud.finals >= 0).all()
    assert cloud.drawdown == pytest.approx(1.0)
    assert cloud.chance_of_ruin(0.0) > 0


def test_the_same_seed_gives_the_same_runs_and_another_others() -> None:
    first, again, other = (simulate(MIXED, 100.0, seed=seed) for seed in (7, 7, 8))
    assert (first.finals == again.finals).all() and (first.drawdowns == again.drawdowns).all()
    assert (first.finals != other.finals).any()


@pytest.mark.parametrize("method", list(Method))
def test_runs_are_made_in_parts_of_bounded_size_and_all_of_them(method: Method, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(montecarlo, "CELLS", 20)
    random = np.random.default_rng(0)
    parts = list(montecarlo._draws(random, method, 6, 1_000, 4))
    assert {part.shape[1] for part in parts} == {6} and max(len(part) for part in parts) == 3
    assert sum(len(part) for part in parts) == 1_000
    assert len(simulate(MIXED, 100.0, method, runs=1_000).finals) == 1_000


def test_quantiles_rise_with_their_level() -> None:
    found = simulate(MIXED, 100.0).summary(ruin=0.8)
    assert [one.level for one in found.quantiles] == [0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99]
    assert all(
        a.final <= b.final and a.drawdown <= b.drawdown for a, b in zip(found.quantiles, found.quantiles[1:], strict=False)
    )
    assert (found.runs, found.positions, found.ruin) == (10_000, 6, 0.8)


def test_the_parts_of_a_position_are_one_result() -> None:
    made = trades({"entry_bar": 1, "profit": 2}, {"entry_bar": 1, "profit": 3}, {"entry_bar": 4, "profit": -1})
    assert list(position_profits(made)) == [5, -1]
    assert len(position_profits(trades())) == 0


@pytest.mark.parametrize(
    ("profits", "options", "words"),
    [
        ([], {}, "no trade"),
        ([1.0], {"runs": 0}, "0 runs"),
        ([1.0], {"runs": 2_000_000}, "2000000 runs"),
        ([1.0], {"block": 2}, "block of 2"),
        ([1.0], {"block": 0}, "block of 0"),
    ],
)
def test_what_cannot_be_drawn_is_said(profits: list[float], options: dict[str, int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        simulate(np.array(profits), 100.0, **options)
