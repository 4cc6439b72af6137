"""A backtest's trades in; out, how else they might have gone: the spread of final equity and of the deepest drawdown.

Each run draws the trades anew. `shuffle` keeps them all and changes their order, which asks whether the drawdown was luck;
`bootstrap` draws with replacement, which asks whether the profit was. Blocks keep neighbours together, so that streaks which
are no chance stay: the circular block bootstrap of Politis & Romano (1992).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta

from engine.backtest.returns import returns
from engine.backtest.series import Floats, Integers, Trades

CELLS = 2_000_000  # of one array at a time: runs are made in parts that are no larger
LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
MOST_RUNS = 1_000_000


class Method(StrEnum):
    """How trades are drawn: with replacement, or each once in another order."""

    BOOTSTRAP = "bootstrap"
    SHUFFLE = "shuffle"


class Quantile(msgspec.Struct, frozen=True):
    """In `level` of the runs equity ended lower, and the drawdown was less deep; each on its own."""

    level: float
    final: float  # quote units
    drawdown: float  # fraction of the peak


class Summary(msgspec.Struct, frozen=True):
    """What the runs came to. Chances are shares of them."""

    method: Annotated[Method, Meta(description="How trades were drawn")]
    runs: Annotated[int, Meta(description="How often")]
    positions: Annotated[int, Meta(description="Results in a run; the parts in which a position was closed are one")]
    block: Annotated[int, Meta(description="Neighbours that were drawn together")]
    seed: Annotated[int, Meta(description="Of the random numbers; the same gives the same runs")]
    chance_of_loss: Annotated[float, Meta(description="Equity ends below the start")]
    ruin: Annotated[float, Meta(description="Equity that counts as ruin, as a fraction of the start")]
    chance_of_ruin: Annotated[float, Meta(description="Equity is at or below that at some exit")]
    drawdown: Annotated[float, Meta(description="The backtest's own deepest drawdown at exits, a fraction of the peak")]
    chance_of_drawdown: Annotated[float, Meta(description="The drawdown is at least as deep as the backtest's own")]
    quantiles: Annotated[tuple[Quantile, ...], Meta(description="The spread")]


@dataclass(frozen=True)
class Cloud:
    """All runs. Arrays have one value a run; equity is looked at after each result, not within one."""

    method: Method
    block: int
    seed: int
    positions: int
    initial: float
    drawdown: float  # of the results in their own order
    finals: Floats  # quote units
    drawdowns: Floats  # fraction of the peak
    lows: Floats  # quote units, the lowest equity

    def chance_of_drawdown(self, depth: float) -> float:
        """Of one at least that deep. A hair's breadth is forgiven: sums in another order end with other digits."""
        return _share(self.drawdowns >= depth - 1e-12)

    def chance_of_ruin(self, left: float) -> float:
        """Of equity at or below that fraction of the start."""
        return _share(self.lows <= left * self.initial)

    def summary(self, ruin: float = 0.5) -> Summary:
        finals, depths = np.quantile(self.finals, LEVELS), np.quantile(self.drawdowns, LEVELS)
        return Summary(
            method=self.method,
            runs=len(self.finals),
            positions=self.positions,
            block=self.block,
            seed=self.seed,
            chance_of_loss=_share(self.finals < self.initial * (1 - 1e-12)),
            ruin=ruin,
            chance_of_ruin=self.chance_of_ruin(ruin),
            drawdown=self.drawdown,
            chance_of_drawdown=self.chance_of_drawdown(self.drawdown),
            quantiles=tuple(Quantile(*map(float, row)) for row in zip(LEVELS, finals, depths, strict=True)),
        )


def position_profits(trades: Trades) -> Floats:
    """[k] what each position came to, quote units, in the order of entries: its parts are no chances of their own."""
    _, which = np.unique(trades["entry_bar"], return_inverse=True)
    return np.bincount(which, trades["profit"]).astype(np.float64)  # of no trades it would be of integers


def simulate(
    profits: Floats,
    initial: float,
    method: Method = Method.BOOTSTRAP,
    *,
    runs: int = 10_000,
    block: int = 1,
    compound: bool = True,
    seed: int = 0,
) -> Cloud:
    """`profits` [k] in quote units and order, as `position_profits` gives them.

    With `compound` a result is the fraction that it was of the equity before it, otherwise its amount. Raises ValueError where
    there is no profit, or `runs` or `block` is out of range.
    """
    if not len(profits):
        raise ValueError("There is no trade to draw from.")
    if not 1 <= runs <= MOST_RUNS:
        raise ValueError(f"{runs} runs were asked for; 1 to {MOST_RUNS:,} are possible.")
    if not 1 <= block <= len(profits):
        raise ValueError(f"A block of {block} was asked for; 1 to {len(profits)}, the number of positions, is possible.")
    curve = np.concatenate(([initial], initial + np.cumsum(profits)))
    pool = returns(curve) if compound else profits
    finals, drawdowns, lows = np.empty(runs), np.empty(runs), np.empty(runs)
    at = 0
    for picks in _draws(np.random.default_rng(seed), method, len(pool), runs, block):
        part = slice(at, at + len(picks))
        finals[part], drawdowns[part], lows[part] = _walk(pool[picks], initial, compound)
        at += len(picks)
    own = float(_walk(pool[None, :], initial, compound)[1][0])
    return Cloud(method, block, seed, len(pool), initial, own, finals, drawdowns, lows)


def _draws(random: np.random.Generator, method: Method, count: int, runs: int, block: int) -> Iterator[Integers]:
    """Places in the pool, [some runs, count] at a time."""
    blocks = -(-count // block)
    most = max(1, CELLS // count)
    for made in range(0, runs, most):
        rows = min(most, runs - made)
        if method is Method.SHUFFLE:
            order = random.permuted(np.tile(np.arange(blocks), (rows, 1)), axis=1)
            picks = (order[:, :, None] * block + np.arange(block)).reshape(rows, -1)
            yield picks[picks < count].reshape(rows, count)  # the last block may be shorter
        else:
            starts = random.integers(0, count, (rows, blocks))
            yield ((starts[:, :, None] + np.arange(block)) % count).reshape(rows, -1)[:, :count]


def _walk(steps: Floats, initial: float, compound: bool) -> tuple[Floats, Floats, Floats]:
    """Final equity, deepest drawdown and lowest equity of each row."""
    paths = np.empty((len(steps), steps.shape[1] + 1))
    paths[:, 0] = initial
    if compound:
        np.cumprod(1 + steps, axis=1, out=paths[:, 1:])
        paths[:, 1:] *= initial
    else:
        np.cumsum(steps, axis=1, out=paths[:, 1:])
        paths[:, 1:] += initial
    finals, lows = paths[:, -1].copy(), paths.min(axis=1)
    peaks = np.maximum.accumulate(paths, axis=1)
    np.divide(paths, peaks, out=paths)
    return finals, 1 - paths.min(axis=1), lows


def _share(hits: npt.NDArray[np.bool_]) -> float:
    return float(np.count_nonzero(hits) / len(hits))
