"""A config, ranges and a number of windows in; what the best parameters of each window made of the next one, out.

The bars are cut into one part more than there are windows. In each window a sweep over the parts before (the last one, or all of
them) chooses; its winner runs over the next part, which it has not seen. Bars before that part only warm the indicators. What the
parts came to, one after another, is the result that counts.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from engine.backtest.backtester import BacktestConfig, judged, load
from engine.backtest.metrics import Statistics, measure
from engine.backtest.run import execute
from engine.backtest.series import Floats, Series, Trades
from engine.backtest.spans import cut
from engine.backtest.sweep import LEAST_TRADES, Axis, Values, applied, sweep
from engine.errors import DataError
from engine.strategy import chosen

WARM_UP = 2_000  # bars before a part that the indicators see
LEAST_BARS = 200  # of a part
MOST_WINDOWS = 100

Told = Callable[[int, int, float | None], bool]


@dataclass(frozen=True)
class Window:
    """`inside` is of the winner where it was chosen, `outside` of the same in the next part; no values: nothing was chosen."""

    values: Values
    inside: Statistics | None
    outside: Statistics


@dataclass(frozen=True)
class Walk:
    """`series`, `trades` and `equity` [bars] are of all the parts that were traded unseen, one after another."""

    windows: tuple[Window, ...]
    series: Series
    trades: Trades
    equity: Floats
    initial: float
    notes: tuple[str, ...]

    @property
    def statistics(self) -> Statistics:
        return measure(self.series, self.trades, self.equity, self.initial)


def walk_forward(
    config: BacktestConfig,
    axes: Sequence[Axis],
    windows: int,
    by: str = "sharpe",
    *,
    anchored: bool = False,
    least_trades: int = LEAST_TRADES,
    trials: int = 0,
    workers: int = 0,
    told: Told | None = None,
) -> Walk | None:
    """`told` hears how many runs of all windows are done, of how many; False ends it, which gives None. Raises ConfigError and
    DataError.
    """
    series = load(config)
    if not 1 <= windows <= MOST_WINDOWS or len(series) // (windows + 1) < LEAST_BARS:
        expected = f"1 to {min(MOST_WINDOWS, max(len(series) // LEAST_BARS - 1, 1))} windows"
        raise DataError("walk-forward", f"{len(series):,} bars cannot be cut for {windows} windows", expected)
    edges = np.linspace(0, len(series), windows + 2).astype(int).tolist()
    equity, capital = [], config.initial_capital
    trades: list[Trades] = []
    found: list[Window] = []
    whole = replace(config, data=series, start_date="", end_date="", timeframe="")
    ended = False
    for number in range(windows):
        begin, middle, end = 0 if anchored else edges[number], edges[number + 1], edges[number + 2]

        def here(done: int, of: int, best: float | None, before: int = number) -> bool:
            nonlocal ended
            ended = told is not None and not told(before * of + done, windows * of, best)
            return not ended

        more = {"least_trades": least_trades, "trials": trials, "workers": workers}
        inside = sweep(replace(whole, data=cut(series, begin, middle)), axes, by, told=here, **more)
        if ended:
            return None
        values = inside.trials[inside.winner].values if inside.winner is not None else {}
        first = max(0, middle - WARM_UP)
        outside = _unseen(applied(whole, values), cut(series, first, end), middle - first, capital, bool(values))
        run_trades, run_equity = outside
        part = cut(series, middle, end)
        chosen_there = inside.trials[inside.winner].statistics if inside.winner is not None else None
        found.append(Window(values, chosen_there, measure(part, run_trades, run_equity, capital)))
        shifted = run_trades.copy()
        for name in ("entry_bar", "exit_bar"):
            shifted[name] += middle - edges[1]
        trades.append(shifted)
        equity.append(run_equity)
        capital = float(run_equity[-1])
        if not capital > 0.0:
            break
    reached = edges[1] + sum(len(part) for part in equity)
    seen = cut(series, edges[1], reached)
    stitched, curve = np.concatenate(trades), np.concatenate(equity)
    return Walk(tuple(found), seen, stitched, curve, config.initial_capital, _notes(found, windows))


def _unseen(config: BacktestConfig, series: Series, quiet: int, capital: float, trades: bool) -> tuple[Trades, Floats]:
    """Trades by the bars of the part alone, and its equity."""
    settings = config.chosen()
    strategy, parameters = chosen(settings.strategy)
    opinions = judged(config, settings, series)
    run = execute(series, strategy, parameters, settings, config.costs, opinions, capital, quiet=quiet if trades else len(series))
    assert run is not None
    made = run.trades.copy()
    for name in ("entry_bar", "exit_bar"):
        made[name] -= quiet
    return made, run.equity[quiet:]


def _notes(found: Sequence[Window], windows: int) -> tuple[str, ...]:
    notes = []
    if len(found) < windows:
        notes.append(f"Nothing was left after {len(found)} of {windows} windows.")
    if idle := sum(1 for one in found if not one.values):
        notes.append(f"In {idle} of {len(found)} windows no run had enough trades: the next part was not traded.")
    inside = [one.inside.sharpe for one in found if one.inside is not None and one.inside.sharpe is not None]
    outside = [one.outside.sharpe for one in found if one.inside is not None and one.outside.sharpe is not None]
    if inside and outside:
        mean_in, mean_out = sum(inside) / len(inside), sum(outside) / len(outside)
        told = f"The winners had a mean Sharpe ratio of {mean_in:.2f} where they were chosen, and of {mean_out:.2f} unseen"
        notes.append(f"{told}: {mean_out / mean_in:.0%} of it was left." if mean_in > 0.0 else f"{told}.")
    changes = sum(1 for one, other in pairwise(found) if one.values != other.values)
    if len(found) > 1:
        notes.append(f"The parameters changed {changes} times in {len(found) - 1} steps.")
    return tuple(notes)
