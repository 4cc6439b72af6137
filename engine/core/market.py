"""Market events in; bars, features, judgments and, at a bar's close, decisions out."""

import math

from engine.config import TIMEFRAMES_MS, Settings, timeframe_ms
from engine.core import trading
from engine.core.state import OVERLAYS_KEPT, MarketState, State
from engine.core.trading import Out
from engine.events import (
    Bar,
    BarClosed,
    BarHistory,
    Features,
    FeaturesReady,
    Instrument,
    Judged,
    SetLeverage,
    Trade,
    TradeHistory,
)
from engine.judgment import Judge
from engine.processor import features
from engine.processor.features import Intensity
from engine.processor.indicators import Indicators
from engine.signal.bars import Bars, unpack_trades
from engine.signal.book import Book

NS_PER_MS = 1_000_000


def listed(state: State, settings: Settings, event: Instrument) -> None:
    """A market begins; told again, its specification is replaced and everything known stays."""
    held = state.markets.get(event.market)
    if held is not None:
        held.instrument = event
        return
    state.markets[event.market] = MarketState(
        event,
        Book(event.market, settings.book),
        {timeframe: Bars(event.market, timeframe) for timeframe in TIMEFRAMES_MS.values()},
        {timeframe: Indicators() for timeframe in TIMEFRAMES_MS.values()},
        Intensity(settings.features.intensity_window_s),
    )


def traded(state: State, settings: Settings, held: MarketState, event: Trade, judge: Judge, out: Out) -> None:
    held.intensity.trade(event.venue_ms)
    for bars in held.bars.values():
        for bar in bars.trade(event):
            _closed(state, settings, held, bar, judge, out)


def clock(state: State, settings: Settings, held: MarketState, at: int, judge: Judge, out: Out) -> None:
    """Close the bars whose time has passed at the venue.

    Behind a backlog the venue's newest time lags the clock, and trades that belong into the bar are still coming: then that
    time counts. Only where nothing has come for long does the clock alone decide.
    """
    clock_ms = at // NS_PER_MS + held.clock_offset_ms
    venue_ms = min(clock_ms, max(held.newest_ms, clock_ms - state.quiet_ms))
    for bars in held.bars.values():
        for bar in bars.clock(venue_ms, state.bar_grace_ms):
            _closed(state, settings, held, bar, judge, out)


def _closed(state: State, settings: Settings, held: MarketState, bar: Bar, judge: Judge, out: Out) -> None:
    """A bar closed: indicators, features, and in the strategy's timeframe the judgment and the decision."""
    state.counters.bars += 1
    out.append(BarClosed(state.now, bar, derived=bar.trades == 0))
    _update(held, bar)
    known = _features(settings, held, bar)
    held.features[bar.timeframe_ms] = known
    out.append(FeaturesReady(state.now, bar.market, bar.timeframe_ms, bar.open_ms, known))
    if bar.timeframe_ms != timeframe_ms(settings):
        return
    held.bars_since_close += 1
    held.bars_to_judgment -= 1
    if held.bars_to_judgment <= 0:
        held.bars_to_judgment = settings.judge.every_bars
        held.stance, held.vetoed = judge.judge(bar.market, known, state.now, bar.timeframe_ms), False
        state.counters.judgments += 1
        out.append(Judged(state.now, held.stance))
    if next(iter(state.markets)) == bar.market:  # the first market is the one that is traded
        trading.consider(state, settings, held, out)


def _update(held: MarketState, bar: Bar) -> None:
    tick = float(held.instrument.tick)
    known = held.indicators[bar.timeframe_ms]
    known.update(bar.high * tick, bar.low * tick, bar.close * tick)
    rows = held.overlays.setdefault(bar.timeframe_ms, [])
    rows.append((bar.open_ms, known.sma_20, known.sma_50, known.bollinger_upper, known.bollinger_lower))
    if len(rows) > 2 * OVERLAYS_KEPT:
        del rows[:OVERLAYS_KEPT]


def _features(settings: Settings, held: MarketState, bar: Bar) -> Features:
    return features.at_close(
        held.indicators[bar.timeframe_ms],
        held.bars[bar.timeframe_ms].closed,
        held.book,
        held.intensity,
        bar,
        float(held.instrument.tick),
        settings.features,
    )


def trade_history(state: State, settings: Settings, held: MarketState, event: TradeHistory, out: Out) -> None:
    """Bars of the time before we came: they warm the indicators and decide nothing."""
    trades = unpack_trades(event.trades)
    for bars in held.bars.values():
        for bar in bars.seed(trades):
            _warm(settings, held, bar)


def bar_history(settings: Settings, held: MarketState, event: BarHistory) -> None:
    """The venue's own bars; the last one may still be unfinished and is left to the trades."""
    bars = held.bars.get(event.timeframe_ms)
    if bars is None:
        return
    venue_ms = event.at // NS_PER_MS + held.clock_offset_ms
    for bar in bars.seed_bars(bar for bar in event.bars if bar.open_ms + bar.timeframe_ms <= venue_ms):
        _warm(settings, held, bar)


def _warm(settings: Settings, held: MarketState, bar: Bar) -> None:
    _update(held, bar)
    held.features[bar.timeframe_ms] = _features(settings, held, bar)


def feed_lost(held: MarketState) -> None:
    """Trades are missing from here on: no bars until history has filled the hole."""
    held.intensity.reset()
    for bars in held.bars.values():
        bars.pause()


def ask_leverage(state: State, settings: Settings, held: MarketState, out: Out) -> None:
    """Once each time that the account answers again: the venue's leverage setting must cover our own limit."""
    if state.private_up and not held.leverage_asked:
        held.leverage_asked = True
        out.append(SetLeverage(state.now, held.instrument.market, max(1, math.ceil(settings.risk.max_leverage))))
