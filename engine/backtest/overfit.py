"""The returns of all the runs of a search in; out, how much of the winner is what the best of so many would show by luck.

Sharpe ratios here are per period (a day), not scaled to a year. Count every run that was tried, also those thrown away.
"""

import itertools
import math
from statistics import NormalDist
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from engine.backtest.returns import moments
from engine.backtest.series import Floats

NORMAL = NormalDist()
EULER = 0.5772156649015329
BLOCKS = 16  # as in the paper: 12,870 ways to halve them
MOST_BLOCKS = 20  # 184,756 ways
CELLS = 2_000_000  # of one array at a time


class Deflated(msgspec.Struct, frozen=True):
    """How sure it is that the winner of a search has an edge."""

    sharpe: Annotated[float, Meta(description="The winner's Sharpe ratio, of a period")]
    by_luck: Annotated[float, Meta(description="What the best of as many runs without an edge would show, of a period")]
    trials: Annotated[float, Meta(description="Independent runs that the search amounts to")]
    chance: Annotated[float, Meta(description="Deflated Sharpe ratio: the chance that the true one is above 0, as a fraction")]


class Overfit(msgspec.Struct, frozen=True):
    """What halving the history in every way found about choosing the best run."""

    chance: Annotated[
        float, Meta(description="Probability of overfitting: the best in one half is in the worse half of all in the other")
    ]
    chance_of_loss: Annotated[float, Meta(description="The best in one half loses in the other")]
    slope: Annotated[
        float | None, Meta(description="Of its Sharpe ratio in the other half over that in the one; negative: choosing misleads")
    ]
    halvings: Annotated[int, Meta(description="In how many ways the history was halved")]
    trials: Annotated[int, Meta(description="Runs that were compared")]
    periods: Annotated[int, Meta(description="Returns of each that were used")]


def probabilistic_sharpe(sharpe: float, against: float, periods: int, skew: float = 0.0, kurtosis: float = 3.0) -> float:
    """The chance that the true Sharpe ratio is above `against`, given one measured over `periods` returns of that shape.

    Bailey & López de Prado, "The Sharpe ratio efficient frontier", Journal of Risk 15 (2012), equation 11. `kurtosis` is 3 for
    normal returns. Raises ValueError below two returns, or where no returns have such a shape.
    """
    spread = 1 - skew * sharpe + (kurtosis - 1) / 4 * sharpe**2
    if periods < 2 or spread <= 0:
        raise ValueError(
            f"No Sharpe ratio of {sharpe:.3f} comes from {periods} returns of skewness {skew:.2f}, kurtosis {kurtosis:.2f}."
        )
    return NORMAL.cdf((sharpe - against) * math.sqrt(periods - 1) / math.sqrt(spread))


def expected_maximum(deviation: float, trials: float) -> float:
    """The Sharpe ratio expected of the best of so many independent trials that have none, whose ratios vary by `deviation`.

    Bailey & López de Prado, "The deflated Sharpe ratio", Journal of Portfolio Management 40 (2014), equation 1; 0 for one.
    """
    if trials <= 1:
        return 0.0
    first, second = NORMAL.inv_cdf(1 - 1 / trials), NORMAL.inv_cdf(1 - 1 / (trials * math.e))
    return max(0.0, deviation * ((1 - EULER) * first + EULER * second))


def independent_trials(returns: Floats) -> float:
    """How many independent runs the columns of `returns` [T, N] amount to: r + (1 - r) N, r their mean correlation.

    Appendix 3 of the same paper. Columns that never vary count as one more together; r below 0 counts as 0.
    """
    varying = returns[:, returns.std(axis=0) > 0]
    count = int(varying.shape[1])
    still = int(count < returns.shape[1])
    if count < 2:
        return float(count + still)
    unit = (varying - varying.mean(axis=0)) / varying.std(axis=0)
    total = float((unit.sum(axis=1) ** 2).mean())  # of all entries of the correlation matrix, which is not made
    mean = max(0.0, (total - count) / (count * (count - 1)))
    return mean + (1 - mean) * count + still


def deflated_sharpe(returns: Floats, winner: int, trials: float | None = None) -> Deflated | None:
    """Of the column `winner` of `returns` [T, N], beside all that were tried; None where the winner's do not vary.

    The same paper, equation 2: the probabilistic ratio against the best that luck would give. `trials` overrides the number of
    independent ones, where more was tried than is here. Raises ValueError below two returns.
    """
    if returns.ndim != 2 or len(returns) < 2:
        raise ValueError("The returns of each trial, two or more of them, were expected: an array [T, N].")
    shape = moments(returns[:, winner])
    if shape is None:
        return None
    ratios = _ratios(returns.sum(axis=0), (returns**2).sum(axis=0), len(returns))
    count = independent_trials(returns) if trials is None else trials
    deviation = float(ratios.std(ddof=1)) if len(ratios) > 1 else 0.0
    luck = expected_maximum(deviation, count)
    sharpe = float(ratios[winner])
    return Deflated(sharpe, luck, count, probabilistic_sharpe(sharpe, luck, len(returns), *shape))


def probability_of_overfitting(returns: Floats, blocks: int = BLOCKS) -> Overfit:
    """Combinatorially symmetric cross-validation of `returns` [T, N]: N runs over the same T periods.

    Bailey, Borwein, López de Prado & Zhu, "The probability of backtest overfitting", Journal of Computational Finance 20
    (2017), section 2: the history is cut into `blocks` (even); each half of them chooses the run with the best Sharpe ratio,
    and its rank is looked up in the other. The first T mod `blocks` periods are left out. A run that never varies has a
    ratio of 0. Raises ValueError below two runs or two periods a block, or for blocks that are odd or too many.
    """
    if returns.ndim != 2 or returns.shape[1] < 2:
        raise ValueError("Two or more runs were expected: an array [T, N].")
    if blocks % 2 or not 2 <= blocks <= MOST_BLOCKS:
        raise ValueError(f"{blocks} blocks were asked for; an even number from 2 to {MOST_BLOCKS} was expected.")
    size, trials = len(returns) // blocks, returns.shape[1]
    if size < 2:
        raise ValueError(f"{len(returns)} periods are too few for {blocks} blocks; two or more for each were expected.")
    cut = returns[len(returns) - size * blocks :].reshape(blocks, size, trials)
    sums, squares = cut.sum(axis=1), (cut**2).sum(axis=1)
    half = size * blocks // 2
    halves = _halves(blocks)
    chosen, kept, share = np.empty(len(halves)), np.empty(len(halves)), np.empty(len(halves))
    most = max(1, CELLS // trials)
    for at in range(0, len(halves), most):
        part = halves[at : at + most]
        inside = _ratios(part @ sums, part @ squares, half)
        outside = _ratios((1 - part) @ sums, (1 - part) @ squares, half)
        rows, best = np.arange(len(part)), inside.argmax(axis=1)
        chosen[at : at + most], own = inside[rows, best], outside[rows, best]
        kept[at : at + most] = own
        below, equal = (outside < own[:, None]).sum(axis=1), (outside == own[:, None]).sum(axis=1)
        share[at : at + most] = (below + (equal + 1) / 2) / (trials + 1)  # the rank from 1 on, the mean one where some are equal
    varies = chosen.std() > 1e-12
    return Overfit(
        chance=float((share <= 0.5).mean()),  # a logit at or below 0
        chance_of_loss=float((kept < 0).mean()),
        slope=float(np.cov(chosen, kept)[0, 1] / chosen.var(ddof=1)) if varies else None,
        halvings=len(halves),
        trials=trials,
        periods=size * blocks,
    )


def _halves(blocks: int) -> Floats:
    """[ways, blocks] 1 where a block is in the half that chooses."""
    ways = list(itertools.combinations(range(blocks), blocks // 2))
    halves = np.zeros((len(ways), blocks))
    halves[np.arange(len(ways))[:, None], ways] = 1
    return halves


def _ratios(sums: npt.NDArray[np.float64], squares: npt.NDArray[np.float64], count: int) -> Floats:
    """Sharpe ratios of `count` returns from their sums and those of their squares; 0 where they do not vary."""
    mean = sums / count
    variance = (squares - sums * mean) / (count - 1)
    varies = variance > 1e-12 * squares / count  # below is what rounding leaves of equal returns
    return np.where(varies, mean / np.sqrt(np.where(varies, variance, 1.0)), 0.0)
