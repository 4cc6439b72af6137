"""A config in; whether its strategy knows what it cannot know, and how many bars it needs before it knows enough, out.

Look-ahead: a history that ends earlier must give the same trades and equity up to its end. A strategy sees one bar after another
here, so that only one which keeps something of its own between runs can fail. Recursion: indicators that begin later than the
history converge; decisions after enough bars must be those of the whole history, or a live start decides otherwise.
"""

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from engine.backtest.backtester import BacktestConfig, judged, load
from engine.backtest.loop import Judgments
from engine.backtest.run import Run, execute
from engine.backtest.series import END, FIELDS, Series
from engine.backtest.spans import between, date
from engine.config import Settings
from engine.errors import DataError
from engine.processor import indicators
from engine.strategy import Now, Strategy, chosen

CUTS = 8
SEED = 7
WARM_UPS = (0, 25, 50, 100, 200, 500, 1_000, 2_000)
COMPARED = 1_000  # bars whose decisions are compared
LEAST_BARS = 100


class Check(NamedTuple):
    """`problems` are what is wrong, empty where nothing was found; `told` what was looked at."""

    problems: tuple[str, ...]
    told: tuple[str, ...]


def check(config: BacktestConfig, going_on: Callable[[str], bool] | None = None) -> Check | None:
    """Both checks; None where `going_on`, which hears what is done next, ended them. Raises ConfigError and DataError."""
    settings = config.chosen()
    strategy, parameters = chosen(settings.strategy)
    series = load(config)
    if len(series) < LEAST_BARS:
        raise DataError("check", f"{len(series)} bars are too few", f"at least {LEAST_BARS}")
    opinions = judged(config, settings, series)
    ahead = look_ahead(config, series, going_on)
    if ahead is None or (going_on is not None and not going_on("recursion")):
        return None
    late = recursion(series, strategy, parameters, settings, opinions)
    return Check((*ahead.problems, *late.problems), (*ahead.told, *late.told))


def look_ahead(config: BacktestConfig, series: Series, going_on: Callable[[str], bool] | None = None) -> Check | None:
    """Runs over the first bars alone against the run over all of them."""
    whole = _run(config, series)
    cuts = _cuts(whole, len(series))
    problems: list[str] = []
    for number, cut in enumerate(cuts):
        if going_on is not None and not going_on(f"look-ahead, {number + 1} of {len(cuts)}"):
            return None
        first = between(series, int(series.open_ms[0]), int(series.open_ms[cut - 1]) + 1)
        if problem := _differs(whole, _run(config, first), cut, series):
            problems.append(problem)
    again = _run(config, series)
    if again.fingerprint() != whole.fingerprint():
        problems.append("Two runs over the same bars gave other trades: the strategy keeps something between runs.")
    told = f"Look-ahead: {len(cuts)} histories that end earlier, with {len(whole.trades):,} trades in the whole one."
    return Check(tuple(problems), (told, "None of them knew what came later." if not problems else "They differ."))


def _run(config: BacktestConfig, series: Series) -> Run:
    settings = config.chosen()
    strategy, parameters = chosen(settings.strategy)
    opinions = judged(config, settings, series)
    run = execute(series, strategy, parameters, settings, config.costs, opinions, config.initial_capital)
    assert run is not None
    return run


def _cuts(whole: Run, bars: int) -> list[int]:
    """Ends of shorter histories: in trades, just after entries and exits, and anywhere."""
    chance = random.Random(SEED)
    places = [int(trade[name]) + more for trade in whole.trades for name in ("entry_bar", "exit_bar") for more in (1, 2)]
    places = [place for place in places if LEAST_BARS // 2 <= place < bars]
    chosen_places = chance.sample(places, min(len(places), CUTS // 2)) if places else []
    return sorted({*chosen_places, *(chance.randrange(bars // 4, bars) for _ in range(CUTS - len(chosen_places)))})


def _differs(whole: Run, part: Run, cut: int, series: Series) -> str:
    """The first thing that a history of `cut` bars had otherwise; its last bar closes what is open, and is left out."""
    when = f"a history that ends at {date(int(series.open_ms[cut - 1]))}"
    apart = np.flatnonzero(part.equity[: cut - 1] != whole.equity[: cut - 1])
    if len(apart):
        at = int(apart[0])
        return f"{when} has an equity of {part.equity[at]:,.2f} at bar {at:,}, and the whole one {whole.equity[at]:,.2f}."
    ours = part.trades[part.trades["reason"] != END]
    theirs = whole.trades[whole.trades["exit_bar"] < cut]
    theirs = theirs[theirs["reason"] != END]
    for at in range(max(len(ours), len(theirs))):
        if at >= len(ours) or at >= len(theirs) or any(ours[at][name] != theirs[at][name] for name in FIELDS):
            bar = int((theirs if at < len(theirs) else ours)[at]["entry_bar"])
            return f"{when} has another trade {at + 1:,}, entered at bar {bar:,} ({date(int(series.open_ms[bar]))})."
    return ""


def recursion(series: Series, strategy: Strategy, parameters: Any, settings: Settings, opinions: Judgments) -> Check:
    """What the strategy would want at each of the last bars, flat, by how many bars it has seen before them."""
    compared = min(COMPARED, len(series) // 2)
    begin = len(series) - compared
    longest = min(begin, 20 * WARM_UPS[-1])
    truth = _decisions(series, begin - longest, begin, strategy, parameters, settings, opinions)
    told: list[str] = []
    enough: int | None = None
    for warm_up in (one for one in WARM_UPS if one < longest):
        mine = _decisions(series, begin - warm_up, begin, strategy, parameters, settings, opinions)
        wrong = [at for at, (ours, theirs) in enumerate(zip(mine, truth, strict=True)) if ours != theirs]
        last = wrong[-1] + 1 if wrong else 0
        differ = f"{len(wrong):,} of {compared:,} decisions differ" + (f", the last at bar {last:,}" if wrong else "")
        told.append(f"begun {warm_up:,} bars before, {differ}")
        if not wrong:
            enough = warm_up
            break
    said = f"Recursion, against {longest:,} bars of history: {'; '.join(told)}."
    if enough is None:
        longest_tried = max((one for one in WARM_UPS if one < longest), default=0)
        return Check(
            (f"Its decisions still differ after {longest_tried:,} bars: where it starts changes what it does.",), (said,)
        )
    return Check((), (said, f"{enough:,} bars of warm-up are enough."))


def _decisions(
    series: Series, start: int, begin: int, strategy: Strategy, parameters: Any, settings: Settings, opinions: Judgments
) -> list[tuple[int, int]]:
    """From bar `begin` on, with their reasons, of a strategy that sees the bars from `start` on and holds nothing."""
    tick, step, judge = float(series.contract.tick), float(series.contract.step), settings.judgment
    hot, memory = indicators.Indicators(), [0.0] * strategy.size(parameters)
    found: list[tuple[int, int]] = []
    for at in range(start, len(series)):
        o, h, low, c = (int(column[at]) * tick for column in (series.open, series.high, series.low, series.close))
        volume = int(series.volume[at]) * step
        hot.update(h, low, c)
        if strategy.observe is not None:
            strategy.observe(parameters, memory, o, h, low, c, volume)
        if at < begin:
            continue
        now_ms = int(series.open_ms[at]) + series.timeframe_ms
        place = int(np.searchsorted(opinions.since_ms, now_ms, side="right")) - 1
        judging = place >= 0 and now_ms < int(opinions.until_ms[place])
        side, confidence, risk_score = 0, 0.0, 0.0
        if judging:
            side, confidence = int(opinions.side[place]), float(opinions.confidence[place])
            risk_score = float(opinions.risk_score[place])
        limits = (judge.min_confidence, judge.max_risk_score, judge.cost_factor)
        figures = (o, h, low, c, volume, *hot.state[: indicators.ATR_14 + 1])
        now = Now._make((*figures, 0, False, 0.0, judging, side, confidence, risk_score, 0.0, *limits))
        found.append(strategy.decide(parameters, memory, now))
    return found


def checked(config: BacktestConfig, bars: int) -> BacktestConfig:
    """The same over its last `bars` bars, for a look that need not take long."""
    series = load(config)
    if len(series) <= bars:
        return replace(config, data=series, start_date="", end_date="", timeframe="")
    kept = between(series, int(series.open_ms[-bars]), int(series.open_ms[-1]) + 1)
    return replace(config, data=kept, start_date="", end_date="", timeframe="")
