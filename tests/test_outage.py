"""The market goes on while we are away: a lost feed, lost frames, a process that stood still; against the simulated venue."""

import asyncio
import math
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.events import Alert, Bar, BarsMissing, Event, FetchHistory, Trust, TrustChanged
from engine.runtime import Engine
from engine.signal.bars import TradeRow, unpack_trades
from engine.signal.binance import Rest
from engine.signal.binance.decode import Grid
from engine.views import Frame, LadderView
from tests.test_bars import batch, figures
from tests.test_engine import desk, engine_on, fault, until, venue
from tests.test_engine_process import of, prices, read_until, started

pytestmark = pytest.mark.slow

MINUTE = 60_000
AWAY_S, STOOD_S = 8.0, 4.0


def heard(engine: Engine) -> list[Event]:
    out: list[Event] = []
    engine.listen(out.append)
    return out


async def truth(engine: Engine) -> tuple[list[Bar], list[TradeRow]]:
    """The venue's own minutes, and everything that was traded of late."""
    rest = Rest(engine.endpoints.rest, engine.clock, True)
    grid = Grid.of(next(iter(engine.state.markets.values())).instrument)
    try:
        minutes = await rest.bars("ASTERUSDT", grid, MINUTE)
        rows: list[TradeRow] = []
        for _ in range(10):
            page = unpack_trades((await rest.trades("ASTERUSDT", grid, before_id=rows[0][0] if rows else 0)).trades)
            rows = [row for row in page if not rows or row[0] < rows[0][0]] + rows
        return list(minutes.bars[:-1]), rows
    finally:
        await rest.close()


def last_whole(engine: Engine, timeframe_ms: int) -> Callable[[], bool]:
    """Reached when two more bars have closed than now."""
    held = next(iter(engine.state.markets.values()))
    bars = held.bars[timeframe_ms]
    wanted_ms = (bars.closed[-1].open_ms if bars.closed else 0) + 2 * timeframe_ms
    return lambda: bars.closed[-1].open_ms >= wanted_ms


async def test_after_a_lost_feed_the_bars_have_no_hole_and_the_features_go_on(tmp_path: Path) -> None:
    async with venue(speed=10.0) as process, engine_on(process, desk(tmp_path)) as engine:
        out = heard(engine)
        held = next(iter(engine.state.markets.values()))
        await until(lambda: held.bars[1000].started and len(held.bars[1000].closed) > 60)
        await fault(process, name="refuse", route="market")
        await until(lambda: held.feed_lost)
        closed = {timeframe: len(bars.closed) for timeframe, bars in held.bars.items()}
        await asyncio.sleep(AWAY_S)
        assert {timeframe: len(bars.closed) for timeframe, bars in held.bars.items()} == closed, "unknown time is not flat"
        await fault(process, name="refuse", on=False)
        await until(lambda: not held.feed_lost and held.bars[1000].started)
        await until(last_whole(engine, MINUTE))
        minutes, rows = await truth(engine)
    assert [event for event in out if isinstance(event, BarsMissing)] == []
    assert engine.state.counters.bars_missing == 0
    theirs = {bar.open_ms: bar for bar in minutes[:-1]}  # the last one was not over when it was asked for
    ours = held.bars[MINUTE].run()
    assert len(ours) > 60 and ours == held.bars[MINUTE].closed[-len(ours) :]
    assert [figures(bar) for bar in ours if bar.open_ms in theirs] == [
        figures(theirs[b.open_ms]) for b in ours if b.open_ms in theirs
    ]
    plain = {bar.open_ms: bar for bar in batch(rows[1:], 1000)}
    seconds = held.bars[1000]
    # Those that closed after the trades were asked for are not in them.
    known = [bar for bar in seconds.run() if min(plain) < bar.open_ms < max(plain) and bar.open_ms not in seconds.partial_ms]
    assert len(known) > AWAY_S * 10
    assert [figures(bar) for bar in known if bar.trades] == [figures(plain[bar.open_ms]) for bar in known if bar.trades]
    assert {bar.open_ms for bar in known if not bar.trades}.isdisjoint(plain)
    for timeframe in (1000, MINUTE):
        assert not math.isnan(held.features[timeframe].ema_12) and not math.isnan(held.features[timeframe].sma_50)


async def test_an_outage_whose_trades_the_venue_does_not_tell_is_a_hole_that_everybody_sees(tmp_path: Path) -> None:
    async with venue(speed=10.0) as process, engine_on(process, desk(tmp_path)) as engine:
        out = heard(engine)
        held = next(iter(engine.state.markets.values()))
        await until(lambda: held.bars[1000].started and len(held.bars[1000].closed) > 60)
        await fault(process, name="http", path="/fapi/v1/aggTrades", times=1000)
        await fault(process, name="refuse", route="market")
        await until(lambda: held.feed_lost)
        await asyncio.sleep(2.0)
        await fault(process, name="refuse", on=False)
        await until(lambda: any(isinstance(event, BarsMissing) for event in out))
        first = next(event for event in out if isinstance(event, BarsMissing))
        assert first.timeframe_ms == 1000 and first.to_ms - first.from_ms >= 15_000
        await fault(process, name="clear")
        await until(lambda: held.bars[1000].started and len(held.bars[1000].run()) > 60)
        assert not math.isnan(held.features[1000].sma_50)
    told = [text for _, _, text in engine.alerts]
    assert any("A history of" in text for text in told) and any("warm up again" in text for text in told)
    assert engine.state.counters.bars_missing >= 15
    assert all(
        bar.timeframe_ms == MINUTE or bar.open_ms not in range(first.from_ms, first.to_ms) for bar in held.bars[1000].closed
    )


async def test_trades_that_were_lost_inside_a_connection_are_in_their_bars(tmp_path: Path) -> None:
    async with venue(speed=4.0) as process, engine_on(process, desk(tmp_path)) as engine:
        out = heard(engine)
        held = next(iter(engine.state.markets.values()))
        await until(lambda: held.bars[1000].started and len(held.bars[1000].closed) > 20)
        out.clear()
        since_ms = held.newest_ms
        await fault(process, name="drop", kind="aggTrade", times=3)
        await until(lambda: any(isinstance(event, FetchHistory) for event in out))
        await until(lambda: held.bars[1000].started)
        seconds = held.bars[1000]

        def known() -> list[Bar]:
            late = seconds.partial_ms  # what the clock had closed before the loss showed
            return [bar for bar in seconds.run() if bar.open_ms >= since_ms and bar.trades and bar.open_ms not in late]

        await until(lambda: len(known()) > 3)
        _, rows = await truth(engine)
        assert engine.state.counters.disconnects == 0 and seconds.counters.missing == 0
    plain = {bar.open_ms: bar for bar in batch(rows, 1000)}
    whole = [bar for bar in known() if bar.open_ms < max(plain)]  # what closed after the trades were asked for is not in them
    assert len(whole) >= 3
    assert [figures(bar) for bar in whole] == [figures(plain[bar.open_ms]) for bar in whole]


async def test_an_engine_that_stood_still_knows_it_and_trusts_its_books_only_when_they_are_read_anew(tmp_path: Path) -> None:
    async with started(tmp_path) as launch:
        link = launch.link()
        await link.open()
        await read_until(link, prices)
        await read_until(link, trusted)
        assert launch.engine is not None
        os.kill(launch.engine.pid, signal.SIGSTOP)
        time.sleep(STOOD_S)  # noqa: ASYNC251 - whoever waits for frames meanwhile gets none
        os.kill(launch.engine.pid, signal.SIGCONT)
        seen: list[object] = []

        def back(message: object) -> bool:
            seen.extend(message.news if isinstance(message, Frame) else ())
            return any(isinstance(event, Alert) for event in seen) and trusted(message)

        await read_until(link, back)
    alerts = [event.text for event in seen if isinstance(event, Alert)]
    assert any(text.startswith("The engine stood still") for text in alerts), alerts
    changes = [event.trust for event in seen if isinstance(event, TrustChanged)]
    assert Trust.STALE in changes and changes[-1] is Trust.TRUSTED


def trusted(message: object) -> bool:
    return any(isinstance(view, LadderView) and view.trust is Trust.TRUSTED for view in of(message, LadderView))
