"""The tape: newest trades first, nothing lost without a word, a size filter, and a hold while it is scrolled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panes_host import Host, any_picture_fits, frame, lines, page, rows_never_fail

from console.panes.tape import KEPT, Missed, TapePane, rounded
from engine.views import Frame, Print, TapeView

SHOWN = 200  # a picture's


def trade(n: int, size: int = 100) -> Print:
    return pictures.NOW_MS + n, 12_246 + n % 3, size, 1 if n % 2 else -1


def tape(*numbers: int, seen: int | None = None, since: int = pictures.NOW, size: int = 100) -> TapeView:
    made = tuple(trade(n, size) for n in numbers)
    return TapeView(pictures.MARKET, pictures.TICK, pictures.STEP, since, len(made) if seen is None else seen, made)


def show(pane: TapePane, view: TapeView) -> list[str]:
    """The next frame."""
    pane.desk.apply(Frame(pane.desk.next_news, (view,), ()))
    frame(pane)
    return [line.rstrip() for line in lines(pane)]


@asynccontextmanager
async def shown(view: TapeView, width: int = 50, height: int = 12) -> AsyncIterator[TapePane]:
    pane = TapePane(pictures.desk_of(pictures.status(), view))
    async with Host([pane]).run_test(size=(width, height)) as pilot:
        await pilot.pause()
        frame(pane)
        pane.focus()
        await pilot.pause()
        yield pane


def times(text: list[str]) -> list[int]:
    """The milliseconds of the trades that are shown, top to bottom."""
    return [int(line.split()[0][-3:]) for line in text if " B " in line or " S " in line]


async def test_a_line_has_time_side_price_and_size_and_the_newest_is_on_top() -> None:
    async with shown(tape(1, 2, seen=9_000)) as pane:
        assert [line.split() for line in lines(pane)[:3]] == [
            ["9,000", "trades", "since", "14:14:00"],
            ["14:14:00.002", "S", "1.2248", "100", "122"],
            ["14:14:00.001", "B", "1.2247", "100", "122"],
        ]


@pytest.mark.parametrize(("width", "clock"), [(30, "14:14:00.001"), (26, "14:00.001"), (22, "00.001"), (16, "B")])
async def test_a_narrow_tape_shortens_the_time_and_never_price_or_size(width: int, clock: str) -> None:
    async with shown(tape(1, size=1_234), width) as pane:
        assert lines(pane)[1].split()[0] == clock and lines(pane)[1].split()[-2:] == ["1.2247", "1,234"]


async def test_columns_stand_below_each_other_whatever_came_before() -> None:
    async with shown(msgspec.structs.replace(tape(), seen=3, prints=(trade(1, 7), trade(2, 1_234_567), trade(3, 90)))) as pane:
        ends = {
            line.rindex(f" {size} ") + 1 + len(size)
            for line, size in zip(lines(pane)[1:], ("90", "1,234,567", "7"), strict=False)
        }
        assert len(ends) == 1


async def test_pictures_that_overlap_show_each_trade_once() -> None:
    async with shown(tape(1, 2, 3)) as pane:
        assert times(show(pane, tape(2, 3, 4, seen=4))) == [4, 3, 2, 1]
        assert times(show(pane, tape(2, 3, 4, seen=4))) == [4, 3, 2, 1]


async def test_trades_that_came_between_two_pictures_and_are_in_neither_are_counted() -> None:
    async with shown(tape(1, 2)) as pane:
        text = show(pane, tape(8, 9, seen=2_009))
        assert times(text) == [9, 8, 2, 1] and text[3].strip() == "… 2,005 more, not shown"


async def test_a_tape_that_the_engine_began_anew_is_not_joined_to_the_one_before() -> None:
    async with shown(tape(1, 2, 3)) as pane:
        assert times(show(pane, tape(7, 8, seen=700, since=pictures.NOW + 1))) == [8, 7]
        assert "not shown" not in page(pane)


async def test_another_market_has_its_own_tape() -> None:
    async with shown(tape(1, 2, 3)) as pane:
        other = "binance:BTC/USDT:USDT"
        pane.desk.market = other
        text = show(pane, msgspec.structs.replace(tape(5), market=other))
        assert times(text) == [5]
        pane.desk.market = "binance:NONE/USDT:USDT"
        frame(pane)
        assert page(pane).strip() == "no trade yet"


async def test_scrolled_it_stands_still_and_counts_what_comes_until_the_newest_is_asked_for() -> None:
    async with shown(tape(*range(40), seen=40)) as pane:
        pane.action_scroll_down()
        assert times(lines(pane))[0] == 38
        assert "0 new" in lines(pane)[0]
        text = show(pane, tape(*range(40, 77), seen=77))
        assert times(text)[0] == 38 and text[0].split()[:2] == ["37", "new:"]
        pane.action_page_down()
        assert times(lines(pane))[0] == 28 and "37 new" in lines(pane)[0]
        pane.action_newest()
        assert times(lines(pane))[0] == 76 and "new" not in lines(pane)[0]


async def test_scrolled_back_to_the_newest_it_follows_again() -> None:
    async with shown(tape(*range(40), seen=40)) as pane:
        pane.action_page_down()
        show(pane, tape(40, 41, seen=42))
        pane.action_page_up()
        assert times(lines(pane))[0] == 41 and pane.held is None


async def test_small_trades_are_left_out_by_the_filter_and_not_counted_as_new() -> None:
    sizes = (3, 90, 110, 400, 5_000)
    async with shown(tape(*range(40), seen=40)) as pane:
        view = msgspec.structs.replace(tape(seen=45), prints=tuple(trade(100 + n, size) for n, size in enumerate(sizes)))
        show(pane, view)
        pane.action_larger()
        assert pane.least == 100 and "≥ 100" in lines(pane)[0]
        assert times(lines(pane))[:3] == [104, 103, 102]
        pane.action_larger()
        assert pane.least == 200 and times(lines(pane)) == [104, 103]
        pane.action_scroll_down()
        more = msgspec.structs.replace(tape(seen=47), prints=(trade(200, 10), trade(201, 999)))
        assert show(pane, more)[0].split()[:2] == ["1", "new:"]
        for _ in range(9):
            pane.action_smaller()
        assert pane.least == 0 and times(lines(pane))[:3] == [201, 200, 104]


def test_the_filters_sizes_are_one_two_five() -> None:
    assert [rounded(size) for size in (0, 1, 3, 5, 37, 100, 999)] == [0, 1, 2, 5, 20, 100, 500]
    assert [rounded(size, up=True) for size in (1, 5, 10, 20, 50)] == [2, 10, 20, 50, 100]
    assert [rounded(size, up=False) for size in (1, 5, 10, 20, 100)] == [0, 2, 5, 10, 50]


async def test_an_old_tape_says_so() -> None:
    async with shown(tape(1)) as pane:
        pane.desk.connected = False
        frame(pane)
        assert lines(pane)[0].startswith("! old")
        assert {name for row in pane._rows[1:] for _, name in row} <= {"stale", "muted"}


def test_what_is_kept_is_bounded_however_many_trades_come() -> None:
    pane = TapePane(pictures.desk_of(tape(0)))
    for n in range(30):
        pane.desk.apply(Frame(0, (tape(*range(n * SHOWN, (n + 1) * SHOWN), seen=(n + 1) * SHOWN),), ()))
        pane.rows(pane.desk, 40, 20)
    assert len(pane.prints) == KEPT


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 400), min_size=1, max_size=12))
def test_every_trade_is_shown_or_counted_as_missed(steps: list[int]) -> None:
    pane = TapePane(pictures.desk_of(tape(0)))
    pane.rows(pane.desk, 40, 20)
    total = 1
    for step in steps:
        total += step
        newest = range(max(0, total - SHOWN), total)
        pane.desk.apply(Frame(0, (tape(*newest, seen=total),), ()))
        pane.rows(pane.desk, 40, 20)
    known = sum(one.trades if isinstance(one, Missed) else 1 for one in pane.prints)
    assert known == total or len(pane.prints) == KEPT


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 60))
def test_any_tape_can_be_composed_at_any_size(seed: int, width: int, height: int) -> None:
    pane = TapePane(pictures.random_desk(seed))
    rows_never_fail(pane, width, height)
    for view in pictures.random_frames(seed, 3):
        pane.desk.apply(view)
        rows_never_fail(pane, width, height)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_any_tape_fits_its_pane(seed: int) -> None:
    asyncio.run(any_picture_fits(TapePane, seed))
