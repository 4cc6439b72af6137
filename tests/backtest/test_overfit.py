"""Overfitting: the examples of the papers, cases worked out by hand, and what noise and a true edge come to."""

import math
from itertools import combinations

import numpy as np
import pytest

from engine.backtest import overfit
from engine.backtest.overfit import (
    deflated_sharpe,
    expected_maximum,
    independent_trials,
    probabilistic_sharpe,
    probability_of_overfitting,
)

DAILY = 1 / math.sqrt(250)


def noise(seed: int, periods: int = 400, trials: int = 50) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 0.01, (periods, trials))


def test_the_papers_example_of_a_deflated_sharpe_ratio() -> None:
    # "A numerical example": 100 trials, variance 1/2 a year, 1,250 days, ratio 2.5 a year, skewness -3, kurtosis 10.
    luck = expected_maximum(math.sqrt(0.5) * DAILY, 100)
    assert luck == pytest.approx(0.1132, abs=5e-5)
    assert probabilistic_sharpe(2.5 * DAILY, luck, 1250, -3, 10) == pytest.approx(0.9004, abs=5e-5)


@pytest.mark.parametrize(("trials", "skew", "kurtosis"), [(46, -3, 10), (88, 0, 3)])
def test_the_papers_other_two_cases_reach_95_percent(trials: int, skew: float, kurtosis: float) -> None:
    luck = expected_maximum(math.sqrt(0.5) * DAILY, trials)
    assert probabilistic_sharpe(2.5 * DAILY, luck, 1250, skew, kurtosis) == pytest.approx(0.9505, abs=5e-5)


def test_a_probabilistic_ratio_by_hand() -> None:
    # 0.1 of 101 normal returns: 0.1 x 10 / sqrt(1 + 0.5 x 0.01) = 0.99751, of which the normal distribution has 0.84074 below.
    assert probabilistic_sharpe(0.1, 0.0, 101) == pytest.approx(0.84074, abs=5e-6)
    assert probabilistic_sharpe(0.1, 0.1, 101) == 0.5


def test_losing_tails_and_short_histories_make_it_less_sure() -> None:
    usual = probabilistic_sharpe(0.1, 0, 500)
    assert probabilistic_sharpe(0.1, 0, 500, skew=-2, kurtosis=9) < usual
    assert probabilistic_sharpe(0.1, 0, 100) < usual


def test_the_best_of_many_is_what_simulation_shows() -> None:
    best = np.random.default_rng(1).normal(size=(20_000, 50)).max(axis=1).mean()
    assert expected_maximum(1.0, 50) == pytest.approx(best, rel=0.02)
    assert expected_maximum(1.0, 1) == expected_maximum(0.0, 100) == 0


def test_copies_of_a_run_are_no_further_trials() -> None:
    one = noise(1, trials=1)
    assert independent_trials(np.repeat(one, 30, axis=1)) == pytest.approx(1)
    assert independent_trials(noise(2, 20_000, 30)) == pytest.approx(30, rel=0.01)
    half = noise(3, 50_000, 20) + noise(4, 50_000, 1)  # a correlation of one half
    assert independent_trials(half) == pytest.approx(0.5 + 0.5 * 20, rel=0.03)
    assert independent_trials(np.zeros((10, 5))) == 1


def test_a_winner_among_noise_is_not_sure_and_a_true_one_is() -> None:
    found = []
    for seed in range(20):
        trials = noise(seed)
        best = deflated_sharpe(trials, int(trials.mean(axis=0).argmax()))
        assert best is not None
        found.append(best.chance)
    assert 0.3 < np.mean(found) < 0.7 and max(found) < 0.95
    true = noise(0)
    true[:, 7] += 0.004
    edge = deflated_sharpe(true, 7)
    assert edge is not None and edge.chance > 0.99
    assert edge.sharpe == pytest.approx(true[:, 7].mean() / true[:, 7].std(ddof=1))


def test_more_trials_deflate_more() -> None:
    true = noise(0)
    true[:, 7] += 0.002
    few, many = deflated_sharpe(true, 7, trials=5), deflated_sharpe(true, 7, trials=5_000)
    assert few is not None and many is not None
    assert few.by_luck < many.by_luck and few.chance > many.chance


def test_a_winner_that_never_traded_has_no_ratio() -> None:
    assert deflated_sharpe(np.zeros((10, 3)), 0) is None


# Four blocks of two periods, two runs: run 0 earns in the first three blocks, run 1 in the last alone, but more.
FOUR = np.array([[1, 0], [2, 0.1], [1, 0], [2, 0.1], [1, 0], [2, 0.1], [-9, 8], [-8, 9]])


def test_four_blocks_by_hand() -> None:
    # A half without the last block chooses run 0 (1.5 a period against 0.05); the other half holds the last block, where
    # run 1 is better: rank 1 of 2, overfit. A half with it chooses run 1, and the other half holds two good blocks of run 0:
    # overfit again. Run 1's 0.05 there is no loss; run 0's mean with the last block, (1.5 - 8.5) / 2, is one.
    found = probability_of_overfitting(FOUR, blocks=4)
    assert (found.chance, found.halvings, found.trials, found.periods) == (1.0, 6, 2, 8)
    assert found.chance_of_loss == 0.5


def test_it_equals_the_paper_written_as_a_loop() -> None:
    trials = noise(9, 63, 7)  # three periods more than six blocks of ten
    found = probability_of_overfitting(trials, blocks=6)
    cut = trials[3:].reshape(6, 10, 7)
    logits, inside, outside = [], [], []
    for half in combinations(range(6), 3):
        rest = [block for block in range(6) if block not in half]
        train, test = (np.concatenate(cut[list(blocks)]) for blocks in (half, rest))
        ours, theirs = (part.mean(axis=0) / part.std(axis=0, ddof=1) for part in (train, test))
        best = int(ours.argmax())
        relative = (1 + int((theirs < theirs[best]).sum())) / 8
        logits.append(math.log(relative / (1 - relative)))
        inside.append(ours[best])
        outside.append(theirs[best])
    assert found.chance == pytest.approx(np.mean(np.array(logits) <= 0))
    assert found.chance_of_loss == pytest.approx(np.mean(np.array(outside) < 0))
    assert found.slope == pytest.approx(np.polyfit(inside, outside, 1)[0])
    assert (found.halvings, found.periods) == (20, 60)


def test_noise_is_overfit_about_half_of_the_time() -> None:
    assert np.mean([probability_of_overfitting(noise(seed), blocks=10).chance for seed in range(40)]) == pytest.approx(
        0.5, abs=0.08
    )


def test_a_truly_better_run_is_not_overfit() -> None:
    trials = noise(0)
    trials[:, 7] += 0.004
    found = probability_of_overfitting(trials)
    assert found.chance < 0.01 and found.chance_of_loss < 0.01 and found.halvings == 12_870


def test_runs_that_never_trade_rank_at_zero() -> None:
    trials = np.zeros((40, 3))
    trials[:, 0] = noise(1, 40, 1)[:, 0] + 0.02
    assert probability_of_overfitting(trials, blocks=4).chance == 0
    still = probability_of_overfitting(np.zeros((40, 3)), blocks=4)
    assert still.chance == 1 and still.slope is None  # nothing to choose by


def test_parts_of_bounded_size_give_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = probability_of_overfitting(noise(3), blocks=8)
    monkeypatch.setattr(overfit, "CELLS", 160)
    assert probability_of_overfitting(noise(3), blocks=8) == whole


@pytest.mark.parametrize(
    ("shape", "blocks", "words"),
    [((40, 1), 4, "Two or more runs"), ((40, 3), 5, "5 blocks"), ((40, 3), 22, "22 blocks"), ((7, 3), 4, "7 periods")],
)
def test_what_cannot_be_judged_is_said(shape: tuple[int, int], blocks: int, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        probability_of_overfitting(np.zeros(shape), blocks)


def test_a_shape_that_no_returns_have_is_refused() -> None:
    with pytest.raises(ValueError, match="skewness 20"):
        probabilistic_sharpe(0.5, 0, 100, skew=20, kurtosis=3)
    with pytest.raises(ValueError, match="1 returns"):
        probabilistic_sharpe(0.5, 0, 1)
