"""Market events in; bars, features, judgments and, at a bar's close, decisions out."""

import math
from datetime import UTC, datetime

import msgspec

from engine import action
from engine.config import TIMEFRAMES_MS, Settings, timeframe_ms
from engine.core import across, judging, trading
from engine.core.state import OVERLAYS_KEPT, MarketState, State
from engine.core.trading import Out
from engine.events import (
    Alert,
    Bar,
    BarClosed,
    BarHistory,
    BarsMissing,
    Features,
    FeaturesReady,
    FetchHistory,
    IndicatorValues,
    Instrument,
    Judged,
    Kline,
    Level,
    SetLeverage,
    Trade,
    TradeHistory,
)
from engine.judgment import Judge
from engine.processor import features
from engine.processor.features import Intensity
from engine.processor.indicators import Indicators
from engine.signal.bars import Bars, Made, Missing, unpack_trades
from engine.signal.book import Book

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
MINUTE_MS = 60_000  # of the venue's own bars
IN_BAND = frozenset({"okx"})  # venues whose streams begin books themselves
FLOW_KEEPS = 0.99  # of what was before each trade: the newest hundred or so speak
LAG_WEIGHT = 64  # a message counts for one part in so many
ASK_AGAIN_NS = 60 * NS_PER_S  # history that has not come
MEND_EVERY_NS = 10 * NS_PER_S
MENDS_TRIED = 3  # without success, until the feed connects anew
HOLE_TOLD_EVERY_NS = 60 * NS_PER_S
OPEN_BAR_MS = 2_000  # the newest bar of a history that ended less than this ago may have been read before its end


def listed(state: State, settings: Settings, event: Instrument) -> None:
    """A market begins; told again, its specification is replaced and everything known stays."""
    held = state.markets.get(event.market)
    if held is not None:
        held.instrument = event
        return
    state.markets[event.market] = MarketState(
        event,
        Book(event.market, settings.book, in_band=event.market.partition(":")[0] in IN_BAND),
        {timeframe: Bars(event.market, timeframe) for timeframe in TIMEFRAMES_MS.values()},
        {timeframe: Indicators() for timeframe in TIMEFRAMES_MS.values()},
        Intensity(settings.features.intensity_window_s),
    )


def heard(held: MarketState, at: int, venue_ms: int) -> None:
    """A message that the venue stamped as it sent it: its newest time, and how long the message was under way. OKX puts no stamp
    on its candles: `venue_ms` 0.
    """
    held.received_at = at
    if not venue_ms:
        return
    if venue_ms > held.newest_ms:
        held.newest_ms = venue_ms
    held.lag_us = lag_us = at // 1000 + (held.clock_offset_ms - venue_ms) * 1000
    mean_us = held.mean_lag_us
    held.mean_lag_us = mean_us + (lag_us - mean_us) // LAG_WEIGHT if mean_us else lag_us


def traded(state: State, settings: Settings, held: MarketState, event: Trade, judge: Judge, out: Out) -> None:
    """A trade into flow, intensity and every length of bars; a hole in the chain is asked for."""
    held.feed_lost = False
    first = next(iter(held.bars.values()))
    if event.id > first.last_id:  # a connection that follows another one tells some again
        held.intensity.trade(event.venue_ms)
        held.flow = held.flow * FLOW_KEEPS + event.side * event.size
        held.flow_total = held.flow_total * FLOW_KEEPS + event.size
    if first.breaks(event):
        _mend(state, held, out)
    elif not first.started and state.now - held.history_asked_at > ASK_AGAIN_NS:
        ask_history(state, held, out)
    for bars in held.bars.values():
        if made := bars.trade(event):
            _made(state, settings, held, bars, made, judge, out)


def kline(state: State, settings: Settings, held: MarketState, event: Kline, judge: Judge, out: Out) -> None:
    """The venue's own bar; an unfinished one says nothing that the trades do not."""
    bars = held.bars.get(event.bar.timeframe_ms)
    if bars is None or not event.closed:
        return
    differ, mended = bars.counters.differ, bars.counters.mended
    _made(state, settings, held, bars, bars.kline(event.bar), judge, out)
    _compared(state, settings, held, bars, differ, mended)
    if next(iter(held.bars.values())).misses(event.bar):
        _mend(state, held, out)


def _mend(state: State, held: MarketState, out: Out) -> None:
    """Trades were lost inside a connection: the venue still has them."""
    if held.mends_failed < MENDS_TRIED and state.now - held.mended_at > MEND_EVERY_NS:
        held.mended_at = state.now
        ask_history(state, held, out)


def clock(state: State, settings: Settings, held: MarketState, at: int, judge: Judge, out: Out) -> None:
    """Close the bars whose time has passed at the venue.

    Behind a backlog the venue's newest time lags the clock, and trades that belong into the bar are still coming: then that
    time counts. Only where nothing has come for long does the clock alone decide.
    """
    clock_ms = at // NS_PER_MS + held.clock_offset_ms
    venue_ms = min(clock_ms, max(held.newest_ms, clock_ms - state.quiet_ms))
    for bars in held.bars.values():
        if made := bars.clock(venue_ms, state.bar_grace_ms):
            _made(state, settings, held, bars, made, judge, out)


def _made(
    state: State, settings: Settings, held: MarketState, bars: Bars, made: list[Made], judge: Judge | None, out: Out
) -> None:
    """What became of the bars, in order. Those before a hole are of the past, and all are without a judge: they warm the
    indicators and decide nothing.
    """
    holes = sum(isinstance(one, Missing) for one in made)
    for one in made:
        if isinstance(one, Missing):
            holes -= 1
            _missing(state, settings, held, bars, one, out)
        elif judge is not None and not holes:
            _closed(state, settings, held, one, judge, out)
        else:
            _update(settings, held, one)
            held.features[one.timeframe_ms] = _features(settings, held, one)


def _missing(state: State, settings: Settings, held: MarketState, bars: Bars, hole: Missing, out: Out) -> None:
    """Bars that cannot be had: what is reckoned from neighbours begins anew behind them."""
    timeframe, market = bars.timeframe_ms, held.instrument.market
    _forget(settings, held, timeframe)
    held.features.pop(timeframe, None)
    state.counters.bars_missing += (hole.to_ms - hole.from_ms) // timeframe
    out.append(BarsMissing(state.now, market, timeframe, hole.from_ms, hole.to_ms))
    if not held.hole_told_at or state.now - held.hole_told_at > HOLE_TOLD_EVERY_NS:
        held.hole_told_at = state.now
        text = f"{market} has no {timeframe // 1000} s bars from {_clock(hole.from_ms)} to {_clock(hole.to_ms)} UTC"
        out.append(Alert(state.now, Level.WARNING, f"{text}: their trades could not be had. Its indicators warm up again."))


def _clock(ms: int) -> str:
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%H:%M:%S")


def _compared(state: State, settings: Settings, held: MarketState, bars: Bars, differ: int, mended: int) -> None:
    """Bars of ours met the venue's; `differ` and `mended` are what was counted before."""
    state.counters.bars_differ += bars.counters.differ - differ
    if bars.counters.mended == mended:
        return
    state.counters.bars_mended += bars.counters.mended - mended
    # A recursion cannot take one bar back: it runs again over all that are known.
    run, timeframe = bars.run(), bars.timeframe_ms
    _forget(settings, held, timeframe)
    held.overlays[timeframe] = [row for row in held.overlays.get(timeframe, []) if run and row[0] < run[0].open_ms]
    for bar in run:
        _update(settings, held, bar)
    if run:
        held.features[timeframe] = _features(settings, held, run[-1])


def _closed(state: State, settings: Settings, held: MarketState, bar: Bar, judge: Judge, out: Out) -> None:
    """A bar closed: indicators, features, and in the strategy's timeframe the judgment and the decision."""
    out.lap("")
    state.counters.bars += 1
    out.append(BarClosed(state.now, bar, derived=bar.volume == 0))
    _update(settings, held, bar)
    known = across.completed(_features(settings, held, bar), across.beside(state, settings, held))
    if (more := held.catalog.get(bar.timeframe_ms)) is not None:
        known = msgspec.structs.replace(known, extra=more.values)
    held.features[bar.timeframe_ms] = known
    out.append(FeaturesReady(state.now, bar.market, bar.timeframe_ms, bar.open_ms, known))
    out.lap("features")
    if bar.timeframe_ms != timeframe_ms(settings):
        return
    held.bars_since_close += 1
    held.bars_to_judgment -= 1
    if held.bars_to_judgment <= 0:
        held.bars_to_judgment = settings.judgment.every_bars
        held.rules = judge.judge(bar.market, known, state.now, bar.timeframe_ms)
        state.counters.judgments += 1
        judging.keep(held, held.rules)
        out.append(Judged(state.now, held.rules))
    judging.choose(settings, held, state.now)
    if held is state.traded:
        told = state.counters.approvals + state.counters.refusals
        trading.consider(state, settings, held, known, bar, out)
        if state.counters.approvals + state.counters.refusals == told:
            out.lap("decision")  # one that goes to the gate ends there
        judging.note(held, state.now)
        held.papers_due.append((known, bar))


def _forget(settings: Settings, held: MarketState, timeframe: int) -> None:
    held.indicators[timeframe] = Indicators()
    if timeframe == timeframe_ms(settings):
        held.memory = []


def _update(settings: Settings, held: MarketState, bar: Bar) -> None:
    tick = float(held.instrument.tick)
    known = held.indicators[bar.timeframe_ms]
    known.update(bar.high * tick, bar.low * tick, bar.close * tick)
    if bar.timeframe_ms == timeframe_ms(settings):
        action.observe(held.memory, bar, tick, float(held.instrument.step), settings.strategy)
    rows = held.overlays.setdefault(bar.timeframe_ms, [])
    rows.append((bar.open_ms, known.sma_20, known.sma_50, known.bollinger_upper, known.bollinger_lower))
    if len(rows) > 2 * OVERLAYS_KEPT:
        del rows[:OVERLAYS_KEPT]


def listed_on_price(held: MarketState, event: IndicatorValues) -> None:
    """Keep what charts draw of `[[indicators]]`: a worker that begins tells of the bars before, then each close adds a figure."""
    lines, timeframe = held.listed.setdefault(event.timeframe_ms, {}), event.timeframe_ms
    for name, past in event.past.items():
        first_ms = event.bar_open_ms - (len(past) - 1) * timeframe
        lines[name] = lines.get(name, {}) | {first_ms + n * timeframe: value for n, value in enumerate(past)}
    for name, line in lines.items():
        line[event.bar_open_ms] = event.values.get(name, math.nan)
        if len(line) > 2 * OVERLAYS_KEPT:
            for open_ms in list(line)[:OVERLAYS_KEPT]:
                del line[open_ms]


def _features(settings: Settings, held: MarketState, bar: Bar) -> Features:
    bars = held.bars[bar.timeframe_ms]
    later = max(bars.closed[-1].open_ms - bar.open_ms, 0) // bar.timeframe_ms if bars.closed else 0
    return features.at_close(
        held.indicators[bar.timeframe_ms],
        bars.run(features.closes_wanted(settings.features) + later),
        held.book,
        held.intensity,
        bar,
        float(held.instrument.tick),
        settings.features,
    )


def ask_history(state: State, held: MarketState, out: Out) -> None:
    """Trades are missing, or may be: bars wait for what history has of them."""
    held.history_asked_at = state.now
    minutes, first = held.bars[MINUTE_MS], next(iter(held.bars.values()))
    for bars in held.bars.values():
        bars.pause()
    since_ms = minutes.closed[-1].open_ms if minutes.closed else 0
    out.append(FetchHistory(state.now, held.instrument.market, since_ms, first.last_id))


def trade_history(state: State, settings: Settings, held: MarketState, event: TradeHistory, out: Out) -> None:
    """Bars of the time before we came, or were away."""
    if held.feed_lost:
        return  # it will be asked for when the feed is back, and then reach up to that time
    trades = unpack_trades(event.trades)
    first = next(iter(held.bars.values()))
    gaps = first.counters.id_gaps
    for bars in held.bars.values():
        differ, mended = bars.counters.differ, bars.counters.mended
        _made(state, settings, held, bars, bars.seed(trades), None, out)
        _compared(state, settings, held, bars, differ, mended)
    held.mends_failed = held.mends_failed + 1 if first.counters.id_gaps > gaps else 0


def bar_history(state: State, settings: Settings, held: MarketState, event: BarHistory, out: Out) -> None:
    """The venue's own bars; one that may still be unfinished is left to the trades."""
    bars = held.bars.get(event.timeframe_ms)
    if bars is None or held.feed_lost:
        return
    until_ms = event.at // NS_PER_MS + held.clock_offset_ms - event.timeframe_ms
    settled = [bar for bar in event.bars if bar.open_ms <= until_ms]
    if settled and settled[-1] is event.bars[-1] and settled[-1].open_ms > until_ms - OPEN_BAR_MS:
        settled.pop()
    differ, mended = bars.counters.differ, bars.counters.mended
    _made(state, settings, held, bars, bars.seed_bars(settled), None, out)
    _compared(state, settings, held, bars, differ, mended)


def feed_up(state: State, held: MarketState, out: Out) -> None:
    """The trades' connection is open (again)."""
    held.feed_lost, held.mends_failed = False, 0
    ask_history(state, held, out)


def feed_lost(held: MarketState) -> None:
    """Trades are missing from here on: no bars until history has filled the hole."""
    held.feed_lost = True
    held.intensity.reset()
    for bars in held.bars.values():
        bars.pause()


def clock_jumped(state: State, held: MarketState, out: Out) -> None:
    """Nothing known is fresh: the book is built anew, and history tells what was traded meanwhile."""
    out.extend(held.book.clock_jumped(state.now))
    held.intensity.reset()
    if not held.feed_lost:
        ask_history(state, held, out)


def ask_leverage(state: State, settings: Settings, held: MarketState, out: Out) -> None:
    """Once each time that the account answers again: the venue's leverage setting must cover our own limit."""
    if state.private_up and held.venue == state.account and not held.leverage_asked:
        held.leverage_asked = True
        out.append(SetLeverage(state.now, held.instrument.market, max(1, math.ceil(settings.risk.max_leverage))))
