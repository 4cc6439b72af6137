"""Bars from trades, history and the clock, against bars computed from all trades at once."""

import json
from itertools import groupby, pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.events import Bar, Side, Trade, pack_levels
from engine.signal import bars as module
from engine.signal.bars import Bars, Missing, TradeRow, unpack_trades

M = "binance:ASTER/USDT:USDT"
T0 = 1_700_000_040_000  # a full minute


def trade(id: int, ms: int, price: int = 100, size: int = 1) -> Trade:
    return Trade(ms * 1_000_000, M, id, price, size, Side.BUY, ms)


def row(id: int, ms: int, price: int = 100, size: int = 1) -> TradeRow:
    return id, price, size, 1, ms


def bar(open_ms: int, open: int, high: int, low: int, close: int, volume: int, trades: int, timeframe_ms: int = 1000) -> Bar:
    return Bar(M, timeframe_ms, open_ms, open, high, low, close, volume, trades)


def flat(open_ms: int, price: int, timeframe_ms: int = 1000) -> Bar:
    return bar(open_ms, price, price, price, price, 0, 0, timeframe_ms)


def started(timeframe_ms: int = 1000) -> Bars:
    bars = Bars(M, timeframe_ms)
    bars.start()
    return bars


# --- live ------------------------------------------------------------------------------------------------------------


def test_a_bar_is_made_of_the_trades_in_its_time_and_closes_with_the_next_trade() -> None:
    bars = started()
    for id, ms, price in [(1, 0, 100), (2, 300, 104), (3, 600, 99), (4, 999, 101)]:
        assert bars.trade(trade(id, T0 + ms, price, size=10)) == []
    assert bars.trade(trade(5, T0 + 1000, 102)) == [bar(T0, 100, 104, 99, 101, 40, 4)]
    assert bars.unfinished == bar(T0 + 1000, 102, 102, 102, 102, 1, 1)


def test_the_clock_closes_a_bar_after_the_grace_and_not_before() -> None:
    bars = started()
    bars.trade(trade(1, T0 + 500))
    assert bars.clock(T0 + 1299) == []
    assert bars.clock(T0 + 1300) == [bar(T0, 100, 100, 100, 100, 1, 1)]
    assert bars.clock(T0 + 1300) == []


def test_a_quiet_market_has_flat_bars_and_no_holes() -> None:
    bars = started()
    bars.trade(trade(1, T0 + 500, 107))
    closed = bars.clock(T0 + 4300)
    assert closed[1:] == [flat(T0 + 1000 * i, 107) for i in (1, 2, 3)]
    assert bars.trade(trade(2, T0 + 4500, 90)) == []
    assert bars.clock(T0 + 5300) == [bar(T0 + 4000, 90, 90, 90, 90, 1, 1)], "a bar opens at its first trade"
    assert bars.counters.flat == 3


def test_a_trade_after_silence_brings_the_flat_bars_even_without_the_clock() -> None:
    bars = started()
    bars.trade(trade(1, T0, 107))
    assert bars.trade(trade(2, T0 + 3000, 90)) == [bar(T0, 107, 107, 107, 107, 1, 1), flat(T0 + 1000, 107), flat(T0 + 2000, 107)]


def test_before_the_first_trade_there_are_no_bars() -> None:
    bars = started()
    assert bars.clock(T0 + 60_000) == [] and bars.unfinished is None


def test_a_late_trade_is_counted_and_left_out() -> None:
    bars = started()
    bars.trade(trade(1, T0 + 500))
    bars.clock(T0 + 1300)
    assert bars.trade(trade(2, T0 + 900, 500, size=9)) == []
    assert bars.unfinished == flat(T0 + 1000, 100)
    assert (bars.counters.late, bars.counters.trades, bars.counters.id_gaps) == (1, 1, 0)


def test_a_trade_told_twice_counts_once() -> None:
    bars = started()
    for id in (1, 2, 2, 1):
        bars.trade(trade(id, T0 + 10))
    assert bars.unfinished is not None and bars.unfinished.volume == 2 and bars.counters.overlaps == 2


def test_missing_trades_are_counted_and_their_bars_marked_partial() -> None:
    bars = started()
    bars.trade(trade(1, T0 + 10))
    bars.trade(trade(2, T0 + 1000))
    bars.trade(trade(6, T0 + 2000))
    bars.trade(trade(7, T0 + 3000))
    bars.trade(trade(8, T0 + 4000))
    assert (bars.counters.id_gaps, bars.counters.missing) == (1, 3)
    assert bars.partial_ms == [T0, T0 + 1000, T0 + 2000], "the first bar, and those around the gap"
    assert len(bars.closed) == 4


def test_a_machine_that_slept_for_days_does_not_make_a_million_bars() -> None:
    bars = started()
    bars.trade(trade(1, T0))
    _, missing = bars.clock(T0 + 86_400_000 * 3)
    assert missing == Missing(T0 + 1000, T0 + 86_400_000 * 3 - 1000)
    assert bars.counters.holes == 86_400 * 3 - 2, "the bar that has just begun is not one of them"
    assert len(bars.clock(T0 + 86_400_000 * 3 + 1000)) == 1


def test_closed_bars_are_kept_up_to_a_limit() -> None:
    bars = started()
    for i in range(700):
        bars.trade(trade(i + 1, T0 + i * 1000, 100 + i))
    assert len(bars.closed) == module.HISTORY and bars.closes(2) == [797, 798]


# --- history ---------------------------------------------------------------------------------------------------------


def test_packed_history_comes_back_as_rows() -> None:
    rows = [(1, 100, 5, -1, T0), (2, 101, 6, 1, T0 + 1)]
    assert unpack_trades(pack_levels(value for r in rows for value in r)) == rows


def test_live_trades_wait_for_history_and_overlap_is_skipped_by_id() -> None:
    bars = Bars(M, 1000)
    for id in (3, 4, 5):
        assert bars.trade(trade(id, T0 + id * 400, 100 + id)) == []
    assert bars.clock(T0 + 60_000) == [], "no bars before history came"
    closed = bars.seed([row(id, T0 + id * 400, 100 + id) for id in (1, 2, 3, 4)])
    assert closed == [bar(T0, 101, 102, 101, 102, 2, 2), bar(T0 + 1000, 103, 104, 103, 104, 2, 2)]
    assert bars.unfinished == bar(T0 + 2000, 105, 105, 105, 105, 1, 1)
    assert (bars.counters.overlaps, bars.counters.id_gaps) == (2, 0)


def test_history_that_does_not_reach_the_live_trades_leaves_a_hole_and_not_invented_bars() -> None:
    bars = Bars(M, 1000)
    bars.trade(trade(50, T0 + 9000))
    closed = bars.seed([row(1, T0), row(2, T0 + 1000)])
    assert closed == [bar(T0, 100, 100, 100, 100, 1, 1), bar(T0 + 1000, 100, 100, 100, 100, 1, 1), Missing(T0 + 2000, T0 + 9000)]
    assert (bars.counters.holes, bars.counters.missing) == (7, 47)


def test_waiting_trades_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUFFER_LIMIT", 100)
    bars = Bars(M, 1000)
    for id in range(1, 252):
        bars.trade(trade(id, T0 + id))
    assert len(bars.buffer) <= 100 and len(bars.buffer) + bars.counters.buffer_dropped == 251


def test_the_minute_in_progress_is_completed_from_trades_after_the_venues_closed_bars() -> None:
    bars = Bars(M, 60_000)
    history = [bar(T0 + 60_000 * i, 90, 110, 80, 95, 1000, 77, 60_000) for i in range(3)]
    now = T0 + 180_000
    bars.trade(trade(104, now + 40_000, 99))
    assert bars.seed_bars(history) == history
    rows = [row(101, now - 5, 300, 9), row(102, now + 5, 97, 2), row(103, now + 9, 98, 3), row(104, now + 40_000, 99)]
    assert bars.seed(rows) == []
    assert bars.clock(now + 60_300) == [bar(now, 97, 99, 97, 99, 6, 3, 60_000)]
    assert (bars.counters.partial, bars.counters.holes, bars.counters.late) == (0, 0, 0)


def test_a_minute_whose_beginning_is_unknown_is_marked_partial() -> None:
    bars = Bars(M, 60_000)
    bars.seed_bars([flat(T0, 95, 60_000)])
    bars.seed([row(102, T0 + 75_000, 97)])
    assert len(bars.clock(T0 + 120_300)) == 1
    assert bars.partial_ms == [T0 + 60_000]
    bars.clock(T0 + 180_300)
    assert bars.counters.partial == 1


def test_venue_bars_that_come_after_the_trades_began_are_refused_and_counted() -> None:
    bars = started()
    assert bars.seed_bars([flat(T0, 1)]) == [] and bars.counters.history_late == 1


def test_bars_of_another_timeframe_are_not_taken() -> None:
    assert Bars(M, 60_000).seed_bars([flat(T0, 1, 1000)]) == []


def test_after_an_outage_history_fills_what_was_missed() -> None:
    bars = started()
    bars.trade(trade(1, T0))
    bars.trade(trade(2, T0 + 1000))
    bars.pause()
    assert bars.clock(T0 + 9000) == [], "time without a feed is not flat, it is unknown"
    bars.trade(trade(5, T0 + 4000))
    closed = bars.seed([row(id, T0 + 1000 * (id - 1)) for id in (2, 3, 4)])
    assert [b.open_ms for b in closed] == [T0 + 1000, T0 + 2000, T0 + 3000]
    assert (bars.counters.missing, bars.counters.holes, bars.counters.partial) == (0, 0, 1)


def test_after_an_outage_without_history_the_time_is_a_hole() -> None:
    bars = started()
    bars.trade(trade(1, T0))
    bars.pause()
    bars.start()
    assert bars.clock(T0 + 9300) == [bar(T0, 100, 100, 100, 100, 1, 1), Missing(T0 + 1000, T0 + 9000)]
    assert bars.counters.holes == 8 and bars.partial_ms == [T0]
    bars.trade(trade(40, T0 + 9400))
    assert [b.open_ms for b in bars.clock(T0 + 11_300)] == [T0 + 9000, T0 + 10_000], "from the first trade on, none missing"


def test_decoded_bars_go_on_where_the_encoded_ones_stopped() -> None:
    bars = started()
    for id in range(1, 9):
        bars.trade(trade(id, T0 + id * 333))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(bars), type=Bars)
    assert again == bars and again.clock(T0 + 9000) == bars.clock(T0 + 9000)


# --- the venue's own bars --------------------------------------------------------------------------------------------------


def test_the_venues_closed_bar_ends_ours_at_once_and_is_the_truth() -> None:
    bars = started()
    bars.trade(trade(1, T0 + 100, 100, 5))
    bars.trade(trade(2, T0 + 300, 101, 5))
    theirs = bar(T0, 100, 107, 100, 101, 12, 3)
    assert bars.kline(theirs) == [theirs]
    assert bars.trade(trade(3, T0 + 400, 107, 2)) == [], "one that the venue's bar holds already"
    assert bars.trade(trade(4, T0 + 1500, 102, 1)) == []
    assert bars.clock(T0 + 2300) == [bar(T0 + 1000, 102, 102, 102, 102, 1, 1)]
    assert (bars.counters.overlaps, bars.counters.late, bars.counters.partial, bars.counters.differ) == (1, 0, 0, 0)


def test_a_venue_that_counts_no_trades_gets_our_count() -> None:
    bars = started()
    bars.trade(trade(1, T0 + 100, 100, 5))
    assert bars.kline(bar(T0, 100, 100, 100, 100, 5, 0)) == [bar(T0, 100, 100, 100, 100, 5, 1)]


def test_bars_come_from_the_venue_alone_where_no_trades_do() -> None:
    bars = started()
    theirs = [bar(T0 + 1000 * i, 100 + i, 101 + i, 99 + i, 100 + i, 7, 2) for i in range(3)]
    assert [one for each in theirs for one in bars.kline(each)] == theirs
    assert bars.counters.holes == bars.counters.partial == 0


def test_a_bar_that_was_out_whole_is_not_rewritten_and_the_difference_is_counted() -> None:
    bars = started()
    for id, ms in ((1, 0), (2, 1000), (3, 2000)):
        bars.trade(trade(id, T0 + ms))
    ours = bars.closed[1]
    assert bars.kline(bar(T0 + 1000, 100, 140, 100, 100, 1, 1)) == []
    assert bars.closed[1] == ours and (bars.counters.differ, bars.counters.mended) == (1, 0)
    assert bars.kline(bar(T0 + 1000, 100, 100, 100, 100, 1, 44)) == [] and bars.counters.differ == 1, "counted in another way"


def test_a_bar_that_misses_trades_is_mended_by_the_venues() -> None:
    bars = started()
    bars.trade(trade(1, T0))
    bars.trade(trade(2, T0 + 1000))
    bars.trade(trade(9, T0 + 2000))
    theirs = bar(T0 + 1000, 100, 130, 70, 90, 80, 7)
    assert bars.kline(theirs) == []
    assert bars.closed[1] == theirs and bars.partial_ms == [T0]
    assert (bars.counters.differ, bars.counters.mended) == (0, 1)


def test_flat_bars_that_the_clock_made_are_doubted_when_trades_turn_out_to_be_missing() -> None:
    bars = started()
    bars.trade(trade(1, T0))
    bars.trade(trade(2, T0 + 1000))
    bars.clock(T0 + 4300)
    bars.trade(trade(5, T0 + 4500))
    assert bars.partial_ms == [T0, T0 + 1000, T0 + 2000, T0 + 3000]
    assert bars.clock(T0 + 5300) and bars.partial_ms[-1] == T0 + 4000


def test_a_late_trade_makes_its_bar_partial_and_the_flat_ones_behind_it() -> None:
    bars = started()
    bars.trade(trade(1, T0))
    bars.trade(trade(2, T0 + 1000))
    bars.clock(T0 + 4300)
    bars.trade(trade(3, T0 + 1900, 120))
    assert bars.partial_ms == [T0, T0 + 1000, T0 + 2000, T0 + 3000]


def test_the_venues_bars_of_a_pause_wait_for_history_and_mend_what_it_left_partial() -> None:
    bars = started()
    bars.trade(trade(1, T0, 100))
    bars.trade(trade(2, T0 + 1000, 100))
    bars.pause()
    theirs = bar(T0 + 1000, 100, 109, 100, 104, 9, 4)
    assert bars.kline(theirs) == []
    bars.trade(trade(7, T0 + 2100, 105))
    closed = bars.seed([row(6, T0 + 1900, 104)])
    assert [one.open_ms for one in closed if isinstance(one, Bar)] == [T0 + 1000]
    assert bars.closed[-1] == theirs and bars.counters.mended == 1


def test_the_venues_bars_that_wait_are_bounded() -> None:
    bars = Bars(M, 1000)
    for i in range(3 * module.KLINE_LIMIT):
        bars.kline(flat(T0 + 1000 * i, 100))
    assert len(bars.klines) == module.KLINE_LIMIT


def test_an_aggregate_that_joins_the_one_before_is_no_gap() -> None:
    bars = started()
    bars.trade(trade(4, T0))
    joined = msgspec.structs.replace(trade(9, T0 + 10), first_id=5)
    assert not bars.breaks(joined) and bars.breaks(trade(9, T0 + 10))
    bars.trade(joined)
    assert (bars.counters.id_gaps, bars.counters.missing) == (0, 0)


def test_history_with_a_hole_of_its_own_tells_it_and_the_run_begins_behind_it() -> None:
    bars = Bars(M, 60_000)
    history = [flat(T0 + 60_000 * i, 95, 60_000) for i in (0, 1, 5, 6)]
    assert bars.seed_bars(history) == [*history[:2], Missing(T0 + 120_000, T0 + 300_000), *history[2:]]
    assert bars.run() == history[2:] and bars.counters.holes == 3


# --- against all trades at once --------------------------------------------------------------------------------------


def batch(rows: list[TradeRow], timeframe_ms: int) -> list[Bar]:
    """The bars that have trades, computed the plain way."""
    made = []
    for open_ms, group in groupby(rows, key=lambda r: r[4] - r[4] % timeframe_ms):
        prices, sizes = zip(*[(r[1], r[2]) for r in group], strict=True)
        made.append(bar(open_ms, prices[0], max(prices), min(prices), prices[-1], sum(sizes), len(prices), timeframe_ms))
    return made


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 2500), st.integers(90, 110), st.integers(1, 9)), min_size=1, max_size=60),
    st.integers(0, 60),
    st.integers(0, 60),
)
def test_history_and_live_trades_in_any_split_give_the_same_bars(parts: list[tuple[int, int, int]], a: int, b: int) -> None:
    ms, rows = T0, []
    for id, (wait, price, size) in enumerate(parts, 1):
        ms += wait
        rows.append(row(id, ms, price, size))
    history_end, live_from = max(a, b), min(a, b)
    bars = Bars(M, 1000)
    for r in rows[live_from:history_end]:
        bars.trade(trade(r[0], r[4], r[1], r[2]))
    closed = bars.seed(rows[:history_end])
    for r in rows[history_end:]:
        closed += bars.trade(trade(r[0], r[4], r[1], r[2]))
        closed += bars.clock(r[4])
    closed += bars.clock(ms + 1300)
    assert [c for c in closed if c.trades] == batch(rows, 1000)
    assert [c.open_ms for c in closed] == list(range(closed[0].open_ms, closed[-1].open_ms + 1000, 1000)), "no hole, none twice"
    for before, c in pairwise(closed):
        assert c.trades or c.open == c.high == c.low == c.close == before.close


def figures(one: Bar) -> tuple[int, ...]:
    return one.open, one.high, one.low, one.close, one.volume


class Venue:
    """Everything that was traded, and the bars of all of it: what ours must equal where they claim to be whole."""

    def __init__(self, parts: list[tuple[int, int, int]]) -> None:
        self.rows: list[TradeRow] = []
        ms = T0
        for id, (wait, price, size) in enumerate(parts, 1):
            ms += wait
            self.rows.append(row(id, ms, price, size))
        self.end_ms = ms
        made = {one.open_ms: one for one in batch(self.rows, 1000)}
        self.bars: dict[int, Bar] = {}
        price = 0
        for open_ms in range(min(made), max(made) + 1000, 1000):
            one = made.get(open_ms) or flat(open_ms, price)
            self.bars[open_ms], price = one, one.close


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["live"] * 16 + ["lose", "cut", "back", "back", "clock", "early clock", "kline", "kline", "old kline"]),
        st.integers(0, 12),
        st.booleans(),
    ),
    min_size=30,
    max_size=120,
)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1700), st.integers(90, 110), st.integers(1, 9)), min_size=20, max_size=80), STEPS)
def test_whatever_is_lost_late_or_told_twice_a_bar_equals_the_venues_or_is_known_to_be_partial_or_missing(
    parts: list[tuple[int, int, int]], steps: list[tuple[str, int, bool]]
) -> None:
    venue, bars = Venue(parts), Bars(M, 1000)
    rows, at, up = venue.rows, 0, True  # `at`: how many trades have happened
    out = bars.start()
    for what, n, flag in steps:
        now_ms = rows[at - 1][4] if at else T0
        if what in ("live", "lose") and at < len(rows):
            id, price, size, _, ms = rows[at]
            at += 1
            if up and what == "live":
                out += bars.trade(trade(id, ms, price, size))
        elif what == "cut" and up:
            up = False
            bars.pause()
        elif what == "back":
            up = True
            bars.pause()
            if flag:
                told = [one for one in venue.bars.values() if one.open_ms + 1000 <= now_ms][-n:]
                out += bars.seed_bars(told)
            out += bars.seed(rows[max(0, at - n) : at])
        elif what == "clock":
            out += bars.clock(now_ms)
        elif what == "early clock":
            out += bars.clock(now_ms + 300 * n)
        elif what in ("kline", "old kline"):
            ended = [one for one in venue.bars.values() if one.open_ms + 1000 <= now_ms]
            back = 1 if what == "kline" else 1 + n
            if up and len(ended) >= back:
                out += bars.kline(ended[-back])
    expected_ms = None
    for one in out:
        begins_ms = one.open_ms if isinstance(one, Bar) else one.from_ms
        assert expected_ms in (None, begins_ms), "in order, each once, nothing left out in silence"
        expected_ms = one.open_ms + 1000 if isinstance(one, Bar) else one.to_ms
    assert [one.open_ms for one in out if isinstance(one, Bar)] == [one.open_ms for one in bars.closed]
    for one in bars.closed:
        truth = venue.bars.get(one.open_ms)
        # A loss shows with the next trade.
        if truth is not None and one.open_ms not in bars.partial_ms and one.open_ms + 1000 <= bars.last_ms:
            assert figures(one) == figures(truth), "what claims to be whole is"
    run = bars.run()
    assert all(b.open_ms - a.open_ms == 1000 for a, b in pairwise(run))


def test_recorded_trades_give_the_bars_computed_at_once(shared_data: Path) -> None:
    rows = []
    for line in (shared_data / "wire" / "binance" / "cf_aggTrade_SUSHIUSDT.jsonl").read_text().splitlines():
        frame = json.loads(line)
        body = frame.get("msg", frame).get("data", frame)
        rows.append(row(body["a"], body["T"], round(float(body["p"]) * 1000), int(body["q"])))
    bars, closed = started(), []
    for r in rows:
        closed += bars.trade(trade(r[0], r[4], r[1], r[2]))
    closed += bars.clock(rows[-1][4] + 1300)
    assert [c for c in closed if c.trades] == batch(rows, 1000)
    assert bars.counters.id_gaps == bars.counters.late == 0
