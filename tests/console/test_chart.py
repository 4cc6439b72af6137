"""The chart: candles at half a line, overlays, our fills and levels, holes, zoom and scroll."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from decimal import Decimal

import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panes_host import Host, any_picture_fits, frame, lines, page, rows_never_fail

from console.desk import Desk
from console.panes.candles import Canvas, Column, Scale, columns, nice, scale_of
from console.panes.chart import ChartPane
from engine.events import Bar, Side
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
    return "".join(line[x] for line in lines(pane)[1:-1])


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
        assert "↑9.00" in page(pane)


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
        assert "SMA20" in lines(pane)[0]


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


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_any_bars_fit_their_pane(seed: int) -> None:
    asyncio.run(any_picture_fits(ChartPane, seed))
