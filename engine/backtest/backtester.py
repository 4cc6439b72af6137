"""A `BacktestConfig` in; data, judgments, the run and its statistics, with everything that was assumed, out."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.backtest import generated, judges
from engine.backtest.loop import Judgments
from engine.backtest.metrics import Statistics, measure
from engine.backtest.run import Costs, Progress, Run, execute
from engine.backtest.series import Floats, Series, Trades
from engine.backtest.spans import date, end_of, length, length_of, resample, slice_between, start_of
from engine.config import Settings, create_aster_config, state_dir
from engine.errors import ConfigError, DataError
from engine.strategy import Strategy, chosen

if TYPE_CHECKING:
    from engine.backtest.asked import Asked

SYNTHETIC, MODEL = "synthetic", "model"
SYNTHETIC_DAYS = 30
NEWEST = "2026-01-01"  # where made-up bars end when no date is given
LOOK_S = 0.05


@dataclass(frozen=True)
class BacktestConfig:
    """What to run. Dates are UTC, `end_date` is included; `data` is a file of bars, `synthetic`, a `Series`, or "": what
    `barter-tui data` has kept. `settings` hold the strategy, its sizing and the limits, as live ones do.
    """

    initial_capital: float = 10_000.0  # quote units
    start_date: str = ""
    end_date: str = ""
    symbol: str = "ASTER/USDT:USDT"
    data: str | Path | Series = ""
    venue: str = "binance"  # of what was kept
    timeframe: str = ""  # bars that decide; "": the data's own
    strategy: str = ""  # over the settings'
    parameters: Mapping[str, object] = field(default_factory=dict)  # over the settings'
    settings: Settings = field(default_factory=create_aster_config)
    costs: Costs = field(default_factory=Costs)
    session: str = ""  # in place of data: a recorded session, its books and trades, through the live core
    judge: str = "rules"  # `rules`, `nobody`, `model`, or a session whose judgments are taken (with `session`: `session`)
    ask_every_min: int = 30  # of the model
    latency_ms: float | None = None  # of a judgment after its bar's close; with `session` of orders, None: as they took then
    seed: int = 1  # of made-up bars

    def chosen(self) -> Settings:
        """The settings with the strategy and parameters given beside them. Raises ConfigError."""
        strategy = self.settings.strategy
        name, given = self.strategy or strategy.name, strategy.parameters
        if self.strategy and self.strategy != strategy.name:
            given = ()
        given += tuple(f"{key}={value}" for key, value in self.parameters.items())
        changed = msgspec.structs.replace(strategy, name=name, parameters=given)
        return msgspec.structs.replace(self.settings, strategy=changed)


@dataclass(frozen=True)
class Result:
    """What came of a run; `notes` are the assumptions behind it, as sentences."""

    config: BacktestConfig
    settings: Settings
    series: Series
    strategy: Strategy
    parameters: Any
    run: Run
    initial: float  # capital, quote units
    compiled: bool
    notes: tuple[str, ...]

    @property
    def trades(self) -> Trades:
        return self.run.trades

    @property
    def equity(self) -> Floats:
        return self.run.equity

    @property
    def refused(self) -> dict[str, int]:
        return self.run.refused

    @property
    def fingerprint(self) -> str:
        return self.run.fingerprint()

    @cached_property
    def statistics(self) -> Statistics:
        return measure(self.series, self.trades, self.equity, self.initial)

    @property
    def labels(self) -> dict[str, str]:
        """What was run, for people."""
        series, contract = self.series, self.series.contract
        given = ", ".join(f"{name}={value:g}" for name, value in zip(self.parameters._fields, self.parameters, strict=True))
        last_ms = int(series.open_ms[-1]) + series.timeframe_ms
        return {
            "strategy": f"{self.strategy.name} ({given})" if given else self.strategy.name,
            "symbol": contract.symbol,
            "bars": f"{len(series):,} of {length(series.timeframe_ms)}, {date(int(series.open_ms[0]))} to {date(last_ms)} UTC",
            "data": series.source,
            "judge": self.config.judge,
            "sizing": self.settings.strategy.sizing,
            "fingerprint": self.fingerprint,
        }


class Backtester:
    """`await Backtester(config).run()`; `progress` says how far it is, and cancels."""

    def __init__(self, config: BacktestConfig) -> None:
        self.config = config
        self.progress = Progress()
        self.bars = 0  # that there are, once the data are read
        self.stage = ""  # what takes long before the bars are run over, for people

    async def run(self, told: Callable[[float], None] | None = None) -> Result | None:
        """The result, or None where it was cancelled. `told` hears the fraction that is done. Raises ConfigError and DataError.

        A task that is cancelled ends the run.
        """
        work = asyncio.create_task(asyncio.to_thread(self.work))
        try:
            while not work.done():
                await asyncio.wait([work], timeout=LOOK_S)
                if told is not None and self.bars:
                    told(min(1.0, (self.progress.at + 1) / self.bars))
        except asyncio.CancelledError:
            self.progress.cancel()
            await asyncio.gather(work, return_exceptions=True)
            raise
        return work.result()

    def work(self) -> Result | None:
        """The same at once, in the caller's thread."""
        from engine.backtest.compile import compiles

        config = self.config
        if not config.initial_capital > 0.0:
            raise ConfigError("backtest", "initial_capital", f"{config.initial_capital:g} is no capital", "a number above 0")
        settings = config.chosen()
        strategy, given = chosen(settings.strategy)
        if config.session:
            return self._ticks(settings)
        series = load(config)
        self.bars = len(series)
        if config.judge == MODEL:
            asked = self._ask(settings, series)
            if asked is None:
                return None
            opinions = asked.judgments
        else:
            asked, opinions = None, judged(config, settings, series)
        run = execute(series, strategy, given, settings, config.costs, opinions, config.initial_capital, self.progress)
        if run is None:
            return None
        fast = compiles(strategy)
        told = notes(config, settings, series, strategy, fast, run)
        if asked is not None:
            told += (
                f"{asked.model} was asked every {config.ask_every_min} minutes: {asked.answered:,} of {asked.questions:,} "
                "answers could be used. Where it has no valid opinion nobody judges.",
            )
        return Result(config, settings, series, strategy, given, run, config.initial_capital, fast, told)

    def _ask(self, settings: Settings, series: Series) -> "Asked | None":
        from engine.backtest.asked import FILE, by_model
        from engine.backtest.cache import FOLDER

        config = self.config

        def told(done: int, of: int, left_s: float) -> bool:
            if left_s or not self.stage:
                left = f", some {left_s / 60:,.0f} min left" if left_s else ""
                self.stage = f"asking the model: {done:,} of {of:,}{left}"
            return not self.progress.cancelled

        kept = state_dir(config.settings) / FOLDER / FILE
        if config.ask_every_min < 1:
            raise ConfigError("backtest", "ask_every_min", f"{config.ask_every_min} is no time", "minutes, at least 1")
        every, spread = config.ask_every_min, config.costs.spread_bps
        asked = asyncio.run(by_model(series, settings, spread, every, kept, config.latency_ms, told))
        self.stage = ""
        return asked

    def _ticks(self, wanted: Settings) -> Result | None:
        from engine.backtest import ticks
        from engine.queue.files import find
        from engine.queue.session import Session

        config = self.config
        with Session(find(state_dir(config.settings), config.session)) as session:
            settings = ticks.settings_for(session, wanted, config.judge)
            self.bars = session.inputs

            def told(inputs: int) -> bool:
                self.progress.bar[0] = inputs
                return not self.progress.cancelled

            found = ticks.run(session, settings, config.latency_ms, told)
        if found is None:
            return None
        series, run, initial = found
        strategy, given = chosen(settings.strategy)
        return Result(config, settings, series, strategy, given, run, initial, False, notes_of_ticks(series, run))


def load(config: BacktestConfig) -> Series:
    """The bars that a config names, cut to its dates and put into its bars. Raises DataError."""
    if isinstance(config.data, Series):
        series = config.data
    elif config.data == SYNTHETIC:
        return _made_up(config)
    elif config.data:
        from engine.backtest import files

        series = files.read(Path(config.data).expanduser(), config.symbol)
    else:
        from engine.backtest.cache import Cache

        timeframe_ms = length_of(config.timeframe) if config.timeframe else 0
        cache = Cache.in_state(state_dir(config.settings))
        return cache.load(config.symbol, config.venue, timeframe_ms, config.start_date, config.end_date)
    series = slice_between(series, config.start_date, config.end_date)
    return resample(series, length_of(config.timeframe)) if config.timeframe else series


def _made_up(config: BacktestConfig) -> Series:
    timeframe_ms = length_of(config.timeframe or "1m")
    to_ms = end_of(config.end_date or NEWEST) if config.end_date or not config.start_date else 0
    from_ms = start_of(config.start_date) if config.start_date else to_ms - SYNTHETIC_DAYS * 86_400_000
    to_ms = to_ms or from_ms + SYNTHETIC_DAYS * 86_400_000
    if from_ms >= to_ms:
        raise DataError("dates", f"{config.start_date} is not before {config.end_date}", "a start date before the end date")
    listing = generated.listing(config.symbol)
    return generated.synthetic(listing, timeframe_ms, from_ms, max(1, (to_ms - from_ms) // timeframe_ms), config.seed)


def judged(config: BacktestConfig, settings: Settings, series: Series) -> Judgments:
    """The judgments of whoever judges. Raises ConfigError, and SessionError where a session cannot be read."""
    if config.judge == "nobody":
        return judges.nobody()
    if config.judge == "rules":
        return judges.by_rules(series, settings, config.costs.spread_bps, round(config.latency_ms or 0.0))
    from engine.queue.files import find
    from engine.queue.session import Session

    with Session(find(state_dir(config.settings), config.judge)) as session:
        return judges.recorded(session, series.contract.symbol)


def notes(
    config: BacktestConfig, settings: Settings, series: Series, strategy: Strategy, fast: bool, run: Run
) -> tuple[str, ...]:
    """What the figures rest on."""
    costs = config.costs
    taker = float(series.contract.taker) if costs.taker is None else costs.taker
    found = [*series.remarks]
    if series.synthetic:
        found.insert(0, "SYNTHETIC: these prices were made up. They show that the program works, and nothing of any market.")
    found.append(
        f"Orders fill at the next bar's opening, {costs.spread_bps / 2 + costs.slippage_bps:g} bps or more beyond it (half of a "
        f"spread of {costs.spread_bps:g}, slippage of {costs.slippage_bps:g}, and impact), for {taker:.4%} of notional."
    )
    found.append("Stops and targets fill within a bar, the worse one first; a gap through a stop fills at the gap.")
    found.append("Bars are of trades, so stops trigger by the last price here and by the mark price at a venue.")
    found.append("The book's features are neutral, and limits that only a venue can trip (spread, trust, collar) always pass.")
    if not len(series.funding_ms):
        told = "no funding is paid" if costs.funding_rate is None else f"{costs.funding_rate:.4%} is paid every 8 hours"
        found.append(f"The data have no funding rates: {told}.")
    if run.refused:
        told = ", ".join(f"{count:,} for {why}" for why, count in sorted(run.refused.items(), key=lambda row: -row[1]))
        found.append(f"Entries were refused as they would be live: {told}.")
    if "the drawdown" in run.refused:
        found.append("Once the drawdown's limit is reached nothing is entered any more: see [risk] max_drawdown.")
    if config.judge == "nobody" and strategy.follows:
        found.append("Nobody judges, and this strategy follows judgments: it cannot trade.")
    if settings.strategy.sizing == "kelly":
        found.append("Kelly learns from the strategy's own trades on paper within the run.")
    if not fast:
        found.append("The strategy's functions are no kernels, so that it ran uncompiled, many times slower.")
    return tuple(found)


def notes_of_ticks(series: Series, run: Run) -> tuple[str, ...]:
    """The same of a session that was filled anew."""
    found = [*series.remarks]
    if series.synthetic:
        found.insert(0, "SYNTHETIC: the venue of this session was simulated, and its prices were made up.")
    found.append("Orders took the recorded book after the latency, and waited in its queue where they rested; they moved nobody.")
    found.append("What operators did in the session is left out, and trading was armed throughout.")
    if run.refused:
        told = ", ".join(f"{count:,}: {why}" for why, count in sorted(run.refused.items(), key=lambda row: -row[1])[:5])
        found.append(f"Entries that were refused: {told}.")
    return tuple(found)
