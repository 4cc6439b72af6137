"""A config and ranges of what may differ in it; a run for each combination, in several processes, and what the best is worth.

A winner is the best of many, so it looks better than it is: the deflated Sharpe ratio and the probability of overfitting say by
how much. The bars are read once, into a file that all processes map; the rules' judgments are made once for all settings alike.
"""

import itertools
import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from functools import partial
from multiprocessing import get_context, resource_tracker
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from engine.backtest.backtester import MODEL, BacktestConfig, judged, load
from engine.backtest.loop import REFUSALS
from engine.backtest.metrics import FIGURES, Statistics, Unit, measure
from engine.backtest.overfit import BLOCKS, Deflated, Overfit, deflated_sharpe, probability_of_overfitting
from engine.backtest.returns import daily_returns
from engine.backtest.run import Costs, execute
from engine.backtest.series import Floats, Series
from engine.config import changed
from engine.errors import ConfigError
from engine.strategy import chosen

WHERE = "sweep"
MOST_RUNS = 100_000
MOST_VALUES = 1_000  # of one axis
RUNS_A_TASK = 8
NICE = 10  # an engine that trades on the same machine comes first
LEAST_TRADES = 30
HALTS = REFUSALS[2]  # the drawdown
ASKED_AT_MOST = 20  # questions to the optimiser for each run that is wanted: it repeats itself near the end
WORST = -1e18  # what it is told of a run without a value
FEWEST_BLOCKS = 4
COLUMNS = ("open_ms", "open", "high", "low", "close", "volume")

Values = dict[str, str]  # of one run, by the names of the axes


class Axis(NamedTuple):
    """What may differ: a parameter of the strategy, a setting `section.key`, or `costs.key`; values as text."""

    name: str
    values: tuple[str, ...]


class Trial(msgspec.Struct, frozen=True):
    """One run. `problem` says why there is none: its values do not go together."""

    values: Values
    statistics: Statistics | None
    refused: dict[str, int]
    fingerprint: str
    problem: str = ""


@dataclass(frozen=True)
class Sweep:
    """`trials` in the order of the combinations, those that were not run left out. `returns` [days, runs] are theirs.

    A winner has at least `least` trades. `synthetic`: the bars were made up.
    """

    axes: tuple[Axis, ...]
    by: str
    least: int
    synthetic: bool
    trials: tuple[Trial, ...]
    returns: Floats
    winner: int | None  # place among the trials
    deflated: Deflated | None
    overfit: Overfit | None
    notes: tuple[str, ...]

    def value(self, at: int) -> float | None:
        """What the runs are compared by."""
        return worth(self.trials[at], self.by)

    def ranked(self) -> list[int]:
        """Places of the trials that have a value, the best first; those with fewer trades than a winner must have come last."""
        places = [at for at in range(len(self.trials)) if self.value(at) is not None]
        return sorted(places, key=lambda at: (not self.able(at), -float(self.value(at) or 0.0)))

    def able(self, at: int) -> bool:
        """Whether it could win."""
        return worth(self.trials[at], self.by, self.least) is not None


def worth(trial: Trial, by: str, least: int = 0) -> float | None:
    """The figure `by` of a run that there was and that made at least so many trades."""
    statistics = trial.statistics
    return None if statistics is None or statistics.trades < least else getattr(statistics, by)


def axis(text: str) -> Axis:
    """`bars=20,40,60`, or `bars=20:100:20` with both ends. Raises ConfigError."""
    name, equals, given = (part.strip() for part in text.partition("="))
    if not equals or not name or not given:
        raise ConfigError(WHERE, text, "it is no range", "name=20,40,60 or name=20:100:20")
    values = tuple(part.strip() for part in given.split(",") if part.strip())
    if ":" in given:
        parts = given.split(":")
        try:
            first, last, step = (Decimal(part.strip()) for part in parts)
        except (InvalidOperation, ValueError):
            raise ConfigError(WHERE, name, f"{given!r} is no range", "first:last:step in numbers") from None
        if not all(one.is_finite() for one in (first, last, step)) or step <= 0 or last < first:
            raise ConfigError(WHERE, name, f"{given!r} has no values", "first:last:step, rising")
        count = int((last - first) / step) + 1
        if count > MOST_VALUES:
            raise ConfigError(WHERE, name, f"{count:,} values are too many", f"at most {MOST_VALUES:,}")
        values = tuple(f"{first + step * at:f}" for at in range(count))
    if len(set(values)) != len(values) or not values:
        raise ConfigError(WHERE, name, f"{given!r} has no values, or one twice", "each value once")
    return Axis(name, values)


def applied(config: BacktestConfig, values: Mapping[str, str]) -> BacktestConfig:
    """The config with these values. Raises ConfigError."""
    settings = {name: value for name, value in values.items() if "." in name and not name.startswith("costs.")}
    costs = {name.partition(".")[2]: value for name, value in values.items() if name.startswith("costs.")}
    own = {name: value for name, value in values.items() if "." not in name}
    try:
        dearer = msgspec.convert({**msgspec.to_builtins(config.costs), **costs}, Costs, strict=False)
    except msgspec.ValidationError as problem:
        raise ConfigError(WHERE, "costs", str(problem), "numbers of at least 0") from None
    return replace(
        config,
        settings=changed(config.settings, settings, WHERE) if settings else config.settings,
        costs=dearer,
        parameters={**config.parameters, **own},
    )


def combinations(config: BacktestConfig, axes: Sequence[Axis]) -> list[Values]:
    """Every combination; each value is tried by itself first. Raises ConfigError that names the one at fault."""
    names = [one.name for one in axes]
    if len(set(names)) != len(names) or not names:
        raise ConfigError(WHERE, ", ".join(names), "a range is named twice, or none is", "each range once")
    total = int(np.prod([len(one.values) for one in axes], dtype=object))
    if total > MOST_RUNS:
        raise ConfigError(WHERE, ", ".join(names), f"{total:,} combinations are too many", f"at most {MOST_RUNS:,}")
    for one in axes:
        for value in one.values:
            chosen(applied(config, {one.name: value}).chosen().strategy)
    return [dict(zip(names, values, strict=True)) for values in itertools.product(*(one.values for one in axes))]


def compared_by(name: str) -> str:
    """The figure's name. Raises ConfigError where no runs can be compared by it."""
    known = [figure.name for figure in FIGURES if figure.unit in (Unit.CHANGE, Unit.RATIO, Unit.QUOTE, Unit.SHARE)]
    if name not in known:
        raise ConfigError(WHERE, "--by", f"runs cannot be compared by {name!r}", ", ".join(known))
    return name


def sweep(
    config: BacktestConfig,
    axes: Sequence[Axis],
    by: str = "sharpe",
    *,
    least_trades: int = LEAST_TRADES,
    trials: int = 0,
    workers: int = 0,
    told: Callable[[int, int, float | None], bool] | None = None,
) -> Sweep:
    """All combinations, or `trials` of them that an optimiser chooses, seeded with the config's seed.

    `told` hears how many runs are done, of how many, and the best value so far; False ends the sweep, and what is done is kept.
    Raises ConfigError, DataError and SessionError before anything is run.
    """
    by = compared_by(by)
    if config.judge == MODEL:
        raise ConfigError(WHERE, "judge", "a sweep does not ask the model", "rules, nobody, or a session that it judged")
    wanted = combinations(config, axes)
    of = min(trials, len(wanted)) if trials else len(wanted)

    value = partial(worth, by=by, least=least_trades)
    found: dict[int, Done] = {}
    best: float | None = None
    series = load(config)
    with Pool(config, series, of, workers) as pool:
        runs = _searched(pool, axes, wanted, trials, config.seed, value) if trials else _grid(pool, wanted)
        for done in runs:
            found.update(done)
            best = max((one for one in (best, *(value(trial) for _, (trial, _) in done)) if one is not None), default=None)
            if told is not None and not told(len(found), of, best):
                break
    places = sorted(found)
    whole = [found[at][1] for at in places]
    length = max((len(one) for one in whole), default=0)
    returns = np.stack([one if len(one) else np.zeros(length) for one in whole], axis=1) if whole else np.empty((0, 0))
    trials_made = tuple(found[at][0] for at in places)
    return _judged(Sweep(tuple(axes), by, least_trades, series.synthetic, trials_made, returns, None, None, None, ()), of)


def _judged(done: Sweep, wanted: int) -> Sweep:
    """With its winner, and what that is worth."""
    trials, returns = done.trials, done.returns
    able = [at for at in range(len(trials)) if done.able(at)]
    winner = max(able, key=lambda at: float(done.value(at) or 0.0)) if able else None
    notes = []
    if len(trials) < wanted:
        notes.append(f"It was ended after {len(trials):,} of {wanted:,} runs.")
    if bad := sum(1 for one in trials if one.problem):
        notes.append(f"{bad:,} combinations cannot be: {next(one.problem for one in trials if one.problem)}")
    if stopped := sum(1 for one in trials if HALTS in one.refused):
        notes.append(f"{stopped:,} runs reached the drawdown's limit and entered nothing after it: risk.max_drawdown=1 goes on.")
    if winner is None:
        notes.append(f"No run has {done.least} trades and a {done.by}: there is no winner.")
    deflated: Deflated | None = None
    overfit: Overfit | None = None
    if winner is not None and len(trials) > 1:
        if len(returns) >= 2:
            deflated = deflated_sharpe(returns, winner)
        blocks = min(BLOCKS, len(returns) // 2 // 2 * 2)
        # A run that stands still would beat every loser, and never lose: it is no candidate.
        moving = returns[:, returns[len(returns) % max(blocks, 1) :].std(axis=0) > 0.0]
        if blocks >= FEWEST_BLOCKS and moving.shape[1] > 1:
            overfit = probability_of_overfitting(moving, blocks)
        elif blocks >= FEWEST_BLOCKS:
            notes.append("Too few runs trade to say how likely it is that the winner is overfitted.")
        else:
            notes.append(f"{len(returns)} days are too few to say how likely it is that the winner is overfitted.")
    if deflated is not None:
        notes.append(
            f"Of {len(trials):,} runs, which amount to {deflated.trials:.0f} independent ones, the best would show a daily "
            f"Sharpe ratio of {deflated.by_luck:.3f} by luck alone; the winner shows {deflated.sharpe:.3f}. The chance that its "
            f"edge is real is {deflated.chance:.0%} (deflated Sharpe ratio)."
        )
    if overfit is not None:
        notes.append(
            f"The best run of one half of the days is in the worse half of all runs in the other {overfit.chance:.0%} of the "
            f"time (probability of overfitting), and loses there {overfit.chance_of_loss:.0%} of the time."
        )
    return replace(done, winner=winner, deflated=deflated, overfit=overfit, notes=tuple(notes))


# --- side by side -----------------------------------------------------------------------------------------------------

Done = tuple[Trial, Floats]


class Pool:
    """Processes that have the bars of a config; use it with `with`. The first thing that it does is to compile, once for all."""

    def __init__(self, config: BacktestConfig, series: Series, runs: int, workers: int = 0) -> None:
        from engine.backtest import compile

        strategy, _ = chosen(config.chosen().strategy)
        if compile.compiles(strategy):
            compile.warm(strategy)
        self.processes = max(1, min(workers or os.cpu_count() or 1, runs))
        self._folder = tempfile.TemporaryDirectory(prefix="barter-sweep-")
        bare = replace(config, data=_with(series, np.empty((len(COLUMNS), 0), np.int64)))
        shared = _share(series, Path(self._folder.name))
        with redirect_stderr(sys.__stderr__):  # its own helper process wants a file, and a screen has put something else there
            resource_tracker.ensure_running()
        self._pool = ProcessPoolExecutor(self.processes, get_context("spawn"), _begin, (bare, shared))

    def __enter__(self) -> "Pool":
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._folder.cleanup()

    def submit(self, wanted: list[Values]) -> "Future[list[Done]]":
        return self._pool.submit(_work, wanted)


def _grid(pool: Pool, wanted: list[Values]) -> Iterator[list[tuple[int, Done]]]:
    """All of them, by their places, as they are done. Whoever stops asking ends it."""
    chunks = iter([range(at, min(at + RUNS_A_TASK, len(wanted))) for at in range(0, len(wanted), RUNS_A_TASK)])
    under_way: dict[Future[list[Done]], range] = {}

    def send(count: int) -> None:
        for chunk in itertools.islice(chunks, count):
            under_way[pool.submit([wanted[at] for at in chunk])] = chunk

    send(2 * pool.processes)
    while under_way:
        ready, _ = wait(under_way, return_when=FIRST_COMPLETED)
        for future in ready:
            yield list(zip(under_way.pop(future), future.result(), strict=True))
        send(len(ready))


def _searched(
    pool: Pool, axes: Sequence[Axis], wanted: list[Values], trials: int, seed: int, value: Callable[[Trial], float | None]
) -> Iterator[list[tuple[int, Done]]]:
    """So many of them, chosen by optuna's TPE sampler, which looks where the best ones were; each at most once."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize", sampler=optuna.samplers.TPESampler(seed=seed, constant_liar=True))
    ranges: dict[str, Any] = {one.name: optuna.distributions.IntDistribution(0, len(one.values) - 1) for one in axes}
    places = {tuple(values.values()): at for at, values in enumerate(wanted)}
    known: dict[int, float] = {}
    trials = min(trials, len(wanted))
    asked = 0
    while len(known) < trials and asked < ASKED_AT_MOST * trials:
        batch: dict[int, list[Any]] = {}
        while (
            len(batch) < pool.processes * RUNS_A_TASK // 2 and len(known) + len(batch) < trials and asked < ASKED_AT_MOST * trials
        ):
            asked += 1
            trial = study.ask(ranges)
            at = places[tuple(one.values[trial.params[one.name]] for one in axes)]
            if at in known:
                study.tell(trial, known[at])
            else:
                batch.setdefault(at, []).append(trial)
        parts = [list(batch)[number :: pool.processes] for number in range(pool.processes)]
        futures = [(part, pool.submit([wanted[at] for at in part])) for part in parts if part]
        for part, future in futures:
            done = list(zip(part, future.result(), strict=True))
            for at, one in done:
                found = value(one[0])
                known[at] = WORST if found is None else found
                for trial in batch[at]:
                    study.tell(trial, known[at])
            yield done


def _share(series: Series, folder: Path) -> Path:
    np.save(folder / "bars.npy", np.stack([getattr(series, name) for name in COLUMNS]))
    return folder / "bars.npy"


_here: dict[str, Any] = {}  # of a worker's process: its config, with the bars, and the judgments that were made


def _begin(config: BacktestConfig, shared: Path) -> None:
    import signal

    os.nice(NICE)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends the sweep
    assert isinstance(config.data, Series)
    _here["config"], _here["judgments"] = replace(config, data=_with(config.data, np.load(shared, mmap_mode="r"))), {}


def _with(series: Series, columns: Any) -> Series:
    """The series with other bars, in the order of COLUMNS."""
    open_ms, opening, high, low, close, volume = (np.asarray(row) for row in columns)
    return replace(series, open_ms=open_ms, open=opening, high=high, low=low, close=close, volume=volume)


def _work(wanted: Iterable[Values]) -> list[Done]:
    return [_one(_here["config"], values) for values in wanted]


def _one(config: BacktestConfig, values: Values) -> Done:
    series = config.data
    assert isinstance(series, Series)
    try:
        config = applied(config, values)
        settings = config.chosen()
        strategy, given = chosen(settings.strategy)
    except ConfigError as problem:
        return Trial(values, None, {}, "", str(problem)), np.empty(0)
    key = (settings.judgment, settings.features, config.costs.spread_bps, config.judge, config.latency_ms)
    if key not in _here["judgments"]:
        _here["judgments"].clear()  # one at a time: they are as long as the bars
        _here["judgments"][key] = judged(config, settings, series)
    run = execute(series, strategy, given, settings, config.costs, _here["judgments"][key], config.initial_capital)
    assert run is not None
    statistics = measure(series, run.trades, run.equity, config.initial_capital)
    days = daily_returns(series, run.equity, config.initial_capital)
    return Trial(values, statistics, run.refused, run.fingerprint()), days


# --- two at a time ----------------------------------------------------------------------------------------------------


class HeatMap(NamedTuple):
    """`values` [rows, columns], NaN where no run has one: the best over whatever else differs."""

    by: str
    rows: Axis
    columns: Axis
    values: Floats

    @property
    def ends(self) -> tuple[float, float]:
        """The lowest and the highest value, 0 where there is none."""
        known = self.values[~np.isnan(self.values)]
        return (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)


def share(value: float, ends: tuple[float, float]) -> float:
    """Where a value lies between the ends: 0 to 1, 0.5 where they are the same."""
    low, high = ends
    return (value - low) / (high - low) if high > low else 0.5


def heat_map(found: Sweep, rows: str, columns: str) -> HeatMap:
    """Raises ConfigError for a name that is no axis."""
    known = {one.name: one for one in found.axes}
    for name in (rows, columns):
        if name not in known:
            raise ConfigError(WHERE, name, "it did not differ in this sweep", ", ".join(known))
    down, across = known[rows], known[columns]
    values = np.full((len(down.values), len(across.values)), np.nan)
    for at, trial in enumerate(found.trials):
        value = found.value(at)
        if value is not None:
            place = down.values.index(trial.values[rows]), across.values.index(trial.values[columns])
            values[place] = np.nanmax([values[place], value])
    return HeatMap(found.by, down, across, values)
