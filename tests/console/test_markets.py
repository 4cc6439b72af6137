"""The watch list: every market a line, what may not be believed is marked, and enter shows the one under the cursor."""

import asyncio
import math
from collections.abc import Callable

import msgspec
import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panes_host import any_picture_fits, rows_never_fail
from textual.pilot import Pilot

from console.app import DEPTH, Parting
from console.desk import Desk
from console.panes.lines import Row
from console.panes.markets import MarketsPane, curve
from engine.events import Trust
from engine.views import Frame, MarketRow, MarketsView, Watch
from tests.console.conftest import MARKETS, FakeLink, frames_of, program
from tests.console.test_keys import settled
from tests.console.test_keys import until as until_within


async def until(pilot: Pilot[Parting], holds: Callable[[], bool]) -> None:
    await until_within(pilot, holds, 30.0)


def text(rows: list[Row]) -> list[str]:
    return ["".join(run for run, _ in row).rstrip() for row in rows]


def drawn(desk: Desk, width: int = 160, height: int = 12) -> list[str]:
    pane = MarketsPane(desk)
    pane.can_focus = False
    return text(pane.rows(desk, width, height))


def view(desk: Desk) -> MarketsView:
    found = desk.get(MarketsView, "")
    assert found is not None
    return found


def test_a_line_has_both_venues_prices_basis_funding_position_and_change() -> None:
    head, aster, other, btc, stale, sol = drawn(pictures.busy())
    assert " ".join(head.split()) == "market venue last change curve elsewhere basis funding position uPnL book"
    for fact in ("* ", "ASTER", "binance", "1.2360▲", "1.2358▼", "+1.70% 1h", "+1.64 bps", "+0.0100% in 3h12", "+8200", "+29.52"):
        assert fact in aster, fact
    assert "-1.64 bps" in other and "-0.04% 8m" in other and "-0.0213%" in other and "*" not in other
    assert "67124.0▲" in btc and "!67119.0" in btc and "trusted" in btc
    assert "!67119.0" in stale and "! stale" in stale
    assert "! syncing" in sol and "!-" in sol


def test_the_most_important_columns_stay_when_it_is_narrow() -> None:
    narrow = drawn(pictures.busy(), 40)
    assert "ASTER" in narrow[1] and "1.2360▲" in narrow[1] and "+8200" not in narrow[1]
    assert all(len(line) <= 40 for line in narrow)
    assert "elsewhere" not in drawn(pictures.busy(), 70)[0] and "basis" in drawn(pictures.busy(), 70)[0]


def test_without_an_engine_every_price_is_old() -> None:
    lines = drawn(pictures.disconnected())
    assert "!1.2360" in lines[1] and "!+29.52" in lines[1] and "▲" not in "".join(lines)


def test_a_curve_ends_with_the_last_price_between_the_lowest_and_the_highest() -> None:
    row = view(pictures.busy()).rows[0]
    seen = msgspec.structs.replace(row, closes=(10, 20, 30), last=80)
    assert curve(seen, 6) == "  ▁▂▃█"
    assert curve(seen, 2) == "▁█"
    assert curve(msgspec.structs.replace(seen, closes=(5, 5), last=5), 3) == "▁▁▁"
    assert curve(msgspec.structs.replace(seen, closes=(), last=0), 3) == "   "


def test_a_market_that_nobody_traded_yet_has_no_change() -> None:
    row = MarketRow(MARKETS[0], pictures.TICK, Trust.TRUSTED, 0, 0, math.nan, "", 0, "0", "0", math.nan, 0, ())
    line = drawn(pictures.desk_of(pictures.status(), MarketsView("", (row,))))[1]
    assert line.split() == ["*", "ASTER", "binance", "-", "-", "-", "-", "-", "-", "-", "trusted"]


async def test_enter_shows_the_market_under_the_cursor_and_the_cursor_begins_at_the_one_that_is_shown() -> None:
    markets = tuple(row.market for row in view(pictures.busy()).rows)
    link = FakeLink(frames_of(pictures.busy()), markets=markets)
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("n", "0")
        await until(pilot, lambda: app.focused is not None and app.focused.id == "markets")
        pane = app.focused
        assert isinstance(pane, MarketsPane) and pane.at_cursor() == app.desk.market == markets[1]
        await pilot.press("down", "enter")
        await until(pilot, lambda: app.desk.market == markets[2])
        await until(pilot, lambda: link.sent[-1] == Watch(markets[2], app.desk.timeframe_ms, DEPTH))
        assert link.asks() == []


async def test_the_cursor_stays_on_its_market_when_others_come_and_go() -> None:
    desk = pictures.busy()
    pane = MarketsPane(desk)
    pane.cursor = view(desk).rows[3].market
    desk.apply(Frame(desk.next_news, (MarketsView("", view(desk).rows[2:]),), ()))
    assert pane.at_cursor() == pane.cursor
    desk.apply(Frame(desk.next_news, (MarketsView("", view(desk).rows[:1]),), ()))
    assert pane.at_cursor() == MARKETS[0] or pane.at_cursor() in pane.keys_of_rows()


@pytest.mark.parametrize(
    ("size", "tape", "markets"),
    [
        ((160, 50), True, True),
        ((210, 60), True, True),
        ((160, 36), True, False),
        ((120, 36), False, False),
        ((80, 24), False, False),
    ],
)
async def test_both_panes_are_on_the_screen_where_there_is_room_and_else_when_they_are_chosen(
    size: tuple[int, int], tape: bool, markets: bool
) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=size) as pilot:
        await settled(pilot, link)
        panes = {pane.id: pane for pane in app.trading.panes}
        assert (bool(panes["tape"].size), bool(panes["markets"].size)) == (tape, markets)
        for key, name in (("9", "tape"), ("0", "markets"), ("8", "account")):
            await pilot.press(key)
            await until(pilot, lambda name=name: app.focused is panes[name] and bool(panes[name].size))  # type: ignore[misc]
            await until(pilot, lambda name=name: bool(panes[name]._rows))  # type: ignore[misc]


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 60))
def test_any_markets_can_be_composed_at_any_size(seed: int, width: int, height: int) -> None:
    rows_never_fail(MarketsPane(pictures.random_desk(seed)), width, height)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_any_markets_fit_their_pane(seed: int) -> None:
    asyncio.run(any_picture_fits(MarketsPane, seed))
