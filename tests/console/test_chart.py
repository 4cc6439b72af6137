"""The chart: candles at half a line, overlays, our fills and levels, holes, zoom and scroll."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import msgspec
import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panes_host import Host, any_picture_fits, frame, lines, page, rows_never_fail

from console import format as show
from console.desk import Desk
from console.panes.candles import Canvas, Column, Scale, columns, nice, scale_of
from console.panes.chart import ChartPane
from engine.events import Bar, Bias, Side
from engine.views import ChartLiveView, ChartView, Frame

MINUTE = 60_000
START = pictures.NOW_MS - 100 * MINUTE


def bar(minute: int, opened: int = 100, high: int = 110, low: int = 90, close: int = 105, volume: int = 50) -> Bar:
    return Bar(pictures.MARKET, MINUTE, START + minute * MINUTE, opened, high, low, close, volume, 3)


def view(
    *bars: Bar,
    unfinished: Bar | None = None,
    overlays: dict[str, tuple[float, ...]] | None = None,
    marks: tuple[tuple[int, int, Side, str], ...] = (),
    levels: tuple[tuple[str, float], ...] = (),
) -> tuple[ChartView, ChartLiveView]:
    closed = ChartView(pictures.MARKET, MINUTE, Decimal("0.01"), bars, overlays or {})
    return closed, ChartLiveView(pictures.MARKET, MINUTE, unfinished, marks, levels)


@asynccontextmanager
async def shown(desk: Desk, width: int = 80, height: int = 24) -> AsyncIterator[ChartPane]:
    pane = ChartPane(desk)
    async with Host([pane]).run_test(size=(width, height)) as pilot:
        await pilot.pause()
        frame(pane)
        yield pane


def drawn(column: Column, low: float, high: float, height: int, width: int = 1) -> list[str]:
    canvas = Canvas(width, height)
    canvas.candle(column, Scale(low, high, height), 0, width)
    return ["".join(text for text, _ in canvas.row(y)) for y in range(height)]


def desk_with(picture: tuple[ChartView, ChartLiveView]) -> Desk:
    return pictures.desk_of(pictures.status(), pictures.ladder(105), *picture)


def column_of(pane: ChartPane, x: int) -> str:
    """Below both headers."""
    return "".join(line[x] for line in lines(pane)[2:-1])


# --- drawing ---------------------------------------------------------------------------------------------------------------


def test_a_falling_candle_is_full_and_a_rising_one_slender() -> None:
    assert drawn(Column(0, 6, 8, 0, 2, 1, 0), 0, 8, 4) == ["│", "█", "█", "│"]
    assert drawn(Column(0, 3, 8, 0, 5, 1, 0), 0, 8, 4) == ["│", "╽", "╿", "│"]
    assert drawn(Column(0, 2, 8, 0, 6, 1, 0), 0, 8, 4) == ["│", "┃", "┃", "│"]


def test_half_a_line_is_the_smallest_price_step() -> None:
    assert drawn(Column(0, 7, 7, 7, 7, 1, 0), 0, 8, 4) == ["╻", " ", " ", " "]
    assert drawn(Column(0, 6, 6, 6, 6, 1, 0), 0, 8, 4) == [" ", "╹", " ", " "]


def test_wide_candles_are_hollow_when_they_rise_and_leave_a_gap() -> None:
    assert drawn(Column(0, 2, 8, 0, 6, 1, 0), 0, 8, 4, 4) == [" │  ", "┏┻┓ ", "┗┳┛ ", " │  "]
    assert drawn(Column(0, 6, 8, 0, 2, 1, 0), 0, 8, 4, 4)[1] == "███ "


def test_a_hole_is_drawn_and_a_long_one_is_cut() -> None:
    bars = [bar(0), bar(2), bar(60)]
    assert [column and column.last for column in columns(bars, 3, 20, 1, 3)] == [0, None, 1, None, None, None, 2]


def test_bars_put_together_keep_their_column_when_a_bar_comes() -> None:
    bars = [bar(minute, close=100 + minute, high=120 + minute) for minute in range(9)]
    before, after = columns(bars[:8], 8, 20, 4, 8), columns(bars, 9, 20, 4, 9)
    assert before[:2] == after[:2]
    first = next(column for column in after if column is not None and column.volume == 200)
    assert (first.open, first.close) == (100, first.high - 20)


def test_grid_steps_are_round() -> None:
    assert [nice(span, 5) for span in (4, 9, 30, 99, 4_000)] == [1, 2, 10, 20, 1_000]


def test_far_levels_do_not_squeeze_the_candles() -> None:
    shape: list[Column | None] = [Column(0, 100, 110, 90, 105, 1, 0)]
    near, far = scale_of(shape, 10, [115.0]), scale_of(shape, 10, [900.0])
    assert near.holds(115.0)
    assert not far.holds(900.0)
    assert far.high < 130


# --- the pane --------------------------------------------------------------------------------------------------------------


async def test_an_empty_chart_says_so() -> None:
    desk = pictures.empty()
    async with shown(desk) as pane:
        assert "no 1m bars of binance ASTER/USDT yet" in page(pane)


async def test_a_single_bar_is_a_chart() -> None:
    async with shown(desk_with(view(bar(0)))) as pane:
        assert "C 1.05" in lines(pane)[0]
        assert any(glyph in page(pane) for glyph in "┃╽╿╻╹")


async def test_the_unfinished_bar_gives_the_last_price() -> None:
    async with shown(desk_with(view(bar(0), bar(1), unfinished=bar(2, close=107)))) as pane:
        assert "▸1.07" in page(pane)
        assert "C 1.07" in lines(pane)[0]


async def test_an_unfinished_bar_that_closed_meanwhile_is_not_drawn_twice() -> None:
    desk = desk_with(view(bar(0), bar(1), unfinished=bar(2, close=107)))
    async with shown(desk) as pane:
        closed, _ = view(bar(0), bar(1), bar(2, close=103))
        desk.apply(Frame(desk.next_news, (closed,), ()))
        frame(pane)
        assert "C 1.03" in lines(pane)[0]
        assert sum(glyph in "┃╽╿╻╹" for glyph in column_of(pane, 3)) == 0


async def test_newest_bar_stands_at_the_price_axis() -> None:
    bars = tuple(bar(minute) for minute in range(99))
    async with shown(desk_with(view(*bars, bar(99, 100, 200, 10, 150)))) as pane:
        edge = len("".join(lines(pane)[5]).rstrip()) - 1
        assert "│" in column_of(pane, 80 - 4 - 3 - 1)
        assert edge >= 0


async def test_levels_are_lines_with_a_letter_and_their_price() -> None:
    picture = view(bar(0), bar(1), levels=(("entry", 1.0), ("stop", 0.92), ("target", 1.15)))
    async with shown(desk_with(picture)) as pane:
        for glyph, label in (("─", "E1.00"), ("╌", "S0.92"), ("┄", "T1.15")):
            line = next(line for line in lines(pane) if label in line)
            assert line.count(glyph) > 40


async def test_a_level_outside_is_named_with_an_arrow() -> None:
    async with shown(desk_with(view(bar(0), levels=(("target", 9.0),)))) as pane:
        assert "T9.00↑" in page(pane)


async def test_a_liquidation_price_is_a_line_beside_the_others() -> None:
    levels = (("entry", 1.0), ("stop", 0.95), ("liquidation", 0.92))
    async with shown(desk_with(view(bar(0), bar(1), levels=levels))) as pane:
        line = next(line for line in lines(pane) if "L0.92" in line)
        assert line.count("╍") > 40


async def test_judgments_are_letters_under_their_bars() -> None:
    closed, live = view(*(bar(minute) for minute in range(10)))
    marks = ((bar(2).open_ms, Bias.LONG), (bar(5).open_ms + 59_999, Bias.SHORT), (bar(7).open_ms, Bias.HOLD))
    desk = desk_with((msgspec.structs.replace(closed, judgments=((bar(-50).open_ms, Bias.LONG), *marks)), live))
    async with shown(desk) as pane:
        line = next(line for line in lines(pane) if line.rstrip().endswith("judge"))
        assert line[:10] == "  L  S H  "


async def test_fills_are_marked_on_their_bar() -> None:
    marks = (
        (bar(3).open_ms + 5_000, 100, Side.BUY, "entry"),
        (bar(6).open_ms + 59_999, 104, Side.SELL, "target"),
        (bar(8).open_ms, 104, Side.SELL, "entry"),
    )
    async with shown(desk_with(view(*(bar(minute) for minute in range(10)), marks=marks))) as pane:
        assert "▲" in column_of(pane, 3)
        assert "×" in column_of(pane, 6)
        assert "▼" in column_of(pane, 8)
        assert page(pane).count("▲") == page(pane).count("×") == page(pane).count("▼") == 1


async def test_overlays_fill_free_cells_only_and_skip_what_warms_up() -> None:
    nan = float("nan")
    bars = tuple(bar(minute, 100, 104, 96, 102) for minute in range(8))
    over = {"sma_20": (nan, nan, *(1.09,) * 6)}
    picture = view(*bars, overlays=over, levels=(("target", 1.11),))
    async with shown(desk_with(picture)) as pane:
        marked = [x for x in range(8) if any(glyph in column_of(pane, x) for glyph in "▔─▁")]
        assert marked == [2, 3, 4, 5, 6, 7]
        assert "SMA20" in lines(pane)[1]


def listed_chart() -> Desk:
    """Eight bars with the usual overlays and two indicators of the list, one of them with two lines."""
    closed, live = view(*(bar(minute, 100, 104, 96, 102) for minute in range(8)), overlays={"sma_20": (1.01,) * 8})
    lines = {"EMA": (1.02,) * 8, "Band.hband": (1.04,) * 8, "Band.lband": (float("nan"), *(0.97,) * 7)}
    return desk_with((msgspec.structs.replace(closed, listed=lines), live))


async def test_overlays_of_the_list_come_first_and_a_key_shows_the_others_both_and_none() -> None:
    async with shown(listed_chart()) as pane:
        heads = []
        for _ in range(5):
            heads.append({name for name in ("EMA", "Band", "SMA20", "no overlays") if name in lines(pane)[1]})
            pane.action_overlays()
        assert heads == [{"EMA", "Band"}, {"SMA20"}, {"SMA20", "EMA", "Band"}, {"no overlays"}, {"EMA", "Band"}]


async def test_a_chart_without_a_list_keeps_the_choice_of_no_overlays() -> None:
    desk = desk_with(view(bar(0), bar(1), overlays={"sma_20": (1.0, 1.0)}))
    async with shown(desk) as pane:
        pane.action_overlays()
        assert "no overlays" in lines(pane)[1]
        desk.apply(Frame(desk.next_news, view(bar(0), bar(1), bar(2), overlays={"sma_20": (1.0,) * 3}), ()))
        frame(pane)
        assert "no overlays" in lines(pane)[1]


async def test_the_cross_hair_tells_the_bar_its_overlays_and_the_price_of_its_row() -> None:
    async with shown(listed_chart()) as pane:
        pane.action_hair()
        pane.action_scroll_left()
        head, over = lines(pane)[:2]
        assert show.clock(bar(6).open_ms * 1_000_000) in head
        assert all(part in head for part in ("O 1.00", "H 1.04", "L 0.96", "C 1.02", "V 50"))
        assert "EMA 1.020" in over and "Band 1.040/0.970" in over
        for _ in range(99):
            pane.action_scroll_left()
        assert show.clock(bar(0).open_ms * 1_000_000) in lines(pane)[0]
        assert "Band 1.040/-" in lines(pane)[1]
        for _ in range(99):
            pane.action_hair_up()
        top = next(line for line in lines(pane)[2:] if "┼" in line)
        assert lines(pane).index(top) == 2
        before = float(top.rpartition("┼")[2])
        pane.action_hair_down()
        after = float(next(line for line in lines(pane)[2:] if "┼" in line).rpartition("┼")[2])
        assert before > after > 1.04 - 0.02
        pane.action_hair()
        assert "┼" not in page(pane)


async def test_the_cross_hair_stays_on_its_bar_while_new_ones_come_and_moves_the_chart_at_its_edge() -> None:
    bars = tuple(bar(minute, close=100 + minute % 7) for minute in range(99))
    desk = desk_with(view(*bars))
    async with shown(desk) as pane:
        pane.action_hair()
        at = show.clock(bar(98).open_ms * 1_000_000)
        assert at in lines(pane)[0]
        desk.apply(Frame(desk.next_news, view(*bars, bar(99), bar(100)), ()))
        frame(pane)
        assert at in lines(pane)[0]
        for _ in range(98):
            pane.action_scroll_left()
        assert show.clock(bar(0).open_ms * 1_000_000) in lines(pane)[0]
        for _ in range(200):
            pane.action_scroll_right()
        assert show.clock(bar(100).open_ms * 1_000_000) in lines(pane)[0]
        pane.action_hair()
        assert "newer bars" not in page(pane)


async def test_the_time_to_funding_counts_down() -> None:
    desk = pictures.busy()
    async with shown(desk, 120, 30) as pane:
        assert lines(pane)[1].rstrip().endswith("funding +0.0100% in 3h12")
        for seconds, painted in ((5, 1), (9, 0), (64, 1), (66, 0)):
            paints = pane.paints
            desk.apply(Frame(desk.next_news, (pictures.status(at=pictures.NOW + seconds * pictures.SECOND),), ()))
            frame(pane)
            assert pane.paints - paints == painted, seconds
        desk.apply(Frame(desk.next_news, (pictures.status(at=pictures.NOW + 3 * 60 * pictures.MINUTE + 9_500_000_000),), ()))
        frame(pane)
        assert lines(pane)[1].rstrip().endswith("in 11m50")


async def test_zooming_out_puts_bars_together_and_in_widens_them() -> None:
    async with shown(pictures.busy(), 120, 30) as pane:
        plain = page(pane)
        pane.zoom(-1)
        assert page(pane) != plain
        pane.zoom(2)
        assert page(pane) != plain
        pane.action_zoom_out()
        assert page(pane) == plain
        pane.zoom(99)
        pane.zoom(-99)


async def test_a_scrolled_chart_stays_while_new_bars_come_and_returns() -> None:
    bars = tuple(bar(minute, close=100 + minute % 7) for minute in range(99))
    desk = desk_with(view(*bars))
    async with shown(desk) as pane:
        followed = page(pane)
        pane.scroll_bars(-10)
        held = lines(pane)[3:]
        assert "10 newer bars →" in lines(pane)[0]
        desk.apply(Frame(desk.next_news, view(*bars, bar(99)), ()))
        frame(pane)
        assert "11 newer bars →" in lines(pane)[0]
        assert lines(pane)[3:][-1] == held[-1]
        pane.scroll_bars(-10_000)
        pane.scroll_bars(10_000)
        assert "newer bars" not in page(pane)
        assert page(pane) != followed


async def test_prices_of_a_stale_book_are_marked() -> None:
    async with shown(pictures.stale(), 120, 30) as pane:
        assert "! stale" in lines(pane)[0]
        assert "!1.2360" in page(pane)


async def test_times_stand_under_their_bars() -> None:
    async with shown(pictures.busy(), 120, 30) as pane:
        last = lines(pane)[-1]
        assert "14:00" in last
        newest = 120 - (6 + 3) - 1  # the unfinished bar, of 14:14
        assert last.index("14:00") + 2 == newest - 14


async def test_an_unchanged_chart_is_not_painted_again_and_keeps_its_strips() -> None:
    async with shown(pictures.busy(), 120, 30) as pane:
        page(pane)
        built = pane.strips_built
        assert [frame(pane) for _ in range(5)] == [0] * 5
        page(pane)
        assert pane.strips_built == built


@pytest.mark.parametrize("seed", range(3))
async def test_a_moving_last_bar_redraws_few_lines(seed: int) -> None:
    desk = pictures.busy()
    async with shown(desk, 120, 36) as pane:
        page(pane)
        built = pane.strips_built
        closed = pictures.bars()
        old = pictures.chart_live(closed)
        last = old.unfinished
        assert last is not None
        moved = Bar(
            last.market, last.timeframe_ms, last.open_ms, last.open, last.high, last.low, last.close - 1 - seed, 5_300, 90
        )
        changed = ChartLiveView(old.market, old.timeframe_ms, moved, old.marks, old.lines)
        desk.apply(Frame(desk.next_news, (changed,), ()))
        frame(pane)
        page(pane)
        assert 1 <= pane.strips_built - built <= 8


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 220), st.integers(1, 70), st.integers(-5, 5), st.integers(-300, 300))
def test_any_bars_can_be_composed_at_any_size(seed: int, width: int, height: int, zoom: int, scroll: int) -> None:
    pane = ChartPane(pictures.random_desk(seed))
    pane.zoom(zoom)
    pane.scroll_bars(scroll)
    rows_never_fail(pane, width, height)
    pane.action_hair()
    pane.action_overlays()
    pane.action_scroll_left()
    rows_never_fail(pane, width, height)
    rows_never_fail(pane, height, width)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_any_bars_fit_their_pane(seed: int) -> None:
    asyncio.run(any_picture_fits(ChartPane, seed))
