"""The ladder: levels, sums, our orders, trust, and an axis that keeps still."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panes_host import Host, any_picture_fits, frame, lines, page, rows_never_fail

from console.desk import Desk
from console.panes.axis import grouped
from console.panes.ladder import LadderPane
from engine.events import Trust
from engine.views import Frame, LadderView

MID = 12_240


@asynccontextmanager
async def shown(desk: Desk, width: int = 60, height: int = 30) -> AsyncIterator[LadderPane]:
    pane = LadderPane(desk)
    async with Host([pane]).run_test(size=(width, height)) as pilot:
        await pilot.pause()
        frame(pane)
        yield pane


def desk_with(view: LadderView) -> Desk:
    return pictures.desk_of(pictures.status(), view)


def line_of(pane: LadderPane, price: str) -> str:
    return next(line for line in lines(pane) if re.search(rf"\b{re.escape(price)}", line))


def show_new(desk: Desk, view: LadderView) -> None:
    desk.apply(Frame(desk.next_news, (view,), ()))


async def test_bids_stand_left_of_their_price_and_asks_right() -> None:
    async with shown(desk_with(pictures.ladder(MID))) as pane:
        bid, ask = line_of(pane, "1.2240"), line_of(pane, "1.2241")
        assert re.search(r"\b844\s+1\.2240", bid)
        assert re.search(r"1\.2241\s+2,515\b", ask)
        prices = [float(found[0]) for line in lines(pane) if (found := re.findall(r"\b1\.2\d{3}\b", line)) and "mark" not in line]
        assert prices == sorted(prices, reverse=True)


async def test_prices_and_sizes_are_right_aligned_with_fixed_decimals() -> None:
    async with shown(desk_with(pictures.ladder(MID))) as pane:
        body = [line for line in lines(pane) if re.search(r"\d\.2\d{3}\b", line)][:20]
        assert len({re.search(r"1\.2\d{3}\b", line).end() for line in body if "mark" not in line}) == 1
        asks = [re.search(r"1\.2\d{3}\s+([\d,]+)\b", line) for line in body]
        assert len({found.end(1) for found in asks if found}) == 1


async def test_cumulative_sums_grow_from_the_best_price() -> None:
    view = pictures.ladder(MID)
    async with shown(desk_with(view), 110) as pane:
        total = sum(size for price, size in view.bids if price >= MID - 2)
        assert re.search(rf"\b{total:,}\s+\d", line_of(pane, "1.2238"))
        bars = [line.count("█") for line in lines(pane) if re.search(r"1\.22[0-3]\d\b", line)]
        assert bars == sorted(bars)


async def test_own_orders_stand_beside_their_price_with_purpose_and_side() -> None:
    async with shown(desk_with(pictures.ladder(MID)), 70) as pane:
        assert line_of(pane, "1.2237").startswith("E B 4,100")
        assert line_of(pane, "1.2246").rstrip().endswith("T S 8,200")
        assert line_of(pane, "1.2231").rstrip().endswith("S S 8,200")
        assert line_of(pane, "1.2244").rstrip().endswith("X S 1,000")


async def test_a_narrow_ladder_keeps_the_letters_of_own_orders() -> None:
    async with shown(desk_with(pictures.ladder(MID)), 34) as pane:
        assert line_of(pane, "1.2237").startswith("E B")


async def test_the_last_trade_is_marked_with_its_side() -> None:
    async with shown(desk_with(pictures.ladder(MID))) as pane:
        assert "B 1.2241" in line_of(pane, "1.2241")
        assert "B 1.2240" not in line_of(pane, "1.2240")


async def test_spread_imbalance_and_trust_are_said() -> None:
    async with shown(desk_with(pictures.ladder(MID)), 70) as pane:
        assert "spread 0.82 bps" in lines(pane)[0]
        assert "imbalance +0.23" in lines(pane)[0]
        assert "trusted" in lines(pane)[0]


@pytest.mark.parametrize("trust", [Trust.STALE, Trust.SYNCING, Trust.OFF])
async def test_an_untrusted_book_is_marked_on_every_price_and_says_why(trust: Trust) -> None:
    async with shown(desk_with(pictures.ladder(MID, trust=trust, reason="no update for 3.4 s"))) as pane:
        assert f"! {trust}: no update for 3.4 s" in page(pane)
        prices = [line for line in lines(pane) if re.search(r"\b1\.2[12]\d{2}", line) and "mark" not in line]
        assert prices
        assert all(re.search(r"1\.2[12]\d{2}!", line) for line in prices)


async def test_a_lost_engine_makes_the_ladder_old() -> None:
    desk = pictures.disconnected()
    async with shown(desk) as pane:
        assert "! The engine ended 2 s ago; what is shown here is old." in page(pane)


async def test_an_engine_that_still_starts_says_what_it_waits_for() -> None:
    async with shown(pictures.empty()) as pane:
        assert "! syncing: waiting for the first snapshot" in page(pane)


def test_grouping_adds_sizes_and_never_flatters_a_price() -> None:
    bids = grouped(((104, 5), (101, 7), (99, 2)), 5, up=False)
    asks = grouped(((106, 4), (110, 6), (111, 1)), 5, up=True)
    assert {bucket * 5: (level.size, level.total) for bucket, level in bids.items()} == {100: (12, 12), 95: (2, 14)}
    assert {bucket * 5: (level.size, level.total) for bucket, level in asks.items()} == {110: (10, 10), 115: (1, 11)}


async def test_group_shows_rows_of_so_many_ticks() -> None:
    view = pictures.ladder(MID)
    async with shown(desk_with(view)) as pane:
        pane.group(10)
        size = sum(size for price, size in view.bids if MID - 10 <= price < MID)
        assert f"{size:,}" in line_of(pane, "1.2230")
        assert "x10" in page(pane)
        pane.action_group_less()
        assert pane.ticks_a_row == 5


async def test_prices_keep_their_lines_inside_the_dead_band() -> None:
    desk = desk_with(pictures.ladder(MID))
    async with shown(desk) as pane:
        before = lines(pane).index(line_of(pane, "1.2240"))
        show_new(desk, pictures.ladder(MID + 3))
        frame(pane)
        assert lines(pane).index(line_of(pane, "1.2240")) == before


async def test_the_ladder_centres_again_when_the_market_leaves_the_dead_band() -> None:
    desk = desk_with(pictures.ladder(MID))
    async with shown(desk) as pane:
        before = lines(pane).index(line_of(pane, "1.2240"))
        show_new(desk, pictures.ladder(MID + 11))
        frame(pane)
        assert lines(pane).index(line_of(pane, "1.2251")) == before


async def test_a_scrolled_ladder_stays_until_it_is_recentred() -> None:
    desk = desk_with(pictures.ladder(MID))
    async with shown(desk, 90) as pane:
        before = lines(pane).index(line_of(pane, "1.2240"))
        pane.scroll_prices(-20)
        show_new(desk, pictures.ladder(MID + 30))
        frame(pane)
        assert "   1.2270" not in page(pane)
        assert "Space recentres" in page(pane)
        pane.action_recentre()
        assert lines(pane).index(line_of(pane, "1.2270")) == before
        assert "Space recentres" not in page(pane)


async def test_a_very_wide_spread_is_folded_into_one_line() -> None:
    narrow = pictures.ladder(MID)
    wide = LadderView(*(getattr(narrow, name) if name != "asks" else ((MID + 900, 77),) for name in LadderView.__struct_fields__))
    async with shown(desk_with(wide)) as pane:
        assert "899 ticks apart" in page(pane)
        at = [number for number, line in enumerate(lines(pane)) if re.search(r"1\.3140\b|1\.2240\b", line)]
        assert at[-1] - at[0] == 2


async def test_an_unchanged_picture_is_not_painted_again() -> None:
    async with shown(desk_with(pictures.ladder(MID))) as pane:
        assert [frame(pane) for _ in range(5)] == [0] * 5
        assert pane.paints == 1


async def test_lines_that_did_not_change_keep_their_strips() -> None:
    desk = desk_with(pictures.ladder(MID))
    async with shown(desk) as pane:
        page(pane)
        built, reused = pane.strips_built, pane.strips_reused
        page(pane)
        assert (pane.strips_built, pane.strips_reused) == (built, reused + pane.size.height)
        view = pictures.ladder(MID)
        own = LadderView(*(getattr(view, name) if name != "own" else () for name in LadderView.__struct_fields__))
        show_new(desk, own)
        frame(pane)
        page(pane)
        assert pane.strips_built == built + 4  # the lines of the four orders


async def test_another_theme_draws_every_line_anew() -> None:
    pane = LadderPane(desk_with(pictures.ladder(MID)))
    app = Host([pane])
    async with app.run_test(size=(60, 30)) as pilot:
        await pilot.pause()
        frame(pane)
        dark = pane.render_line(5)
        app.theme = "light"
        await pilot.pause()
        assert pane.render_line(5).text == dark.text
        assert pane.render_line(5) != dark


async def test_a_hidden_ladder_does_nothing() -> None:
    desk = desk_with(pictures.ladder(MID))
    pane = LadderPane(desk)
    async with Host([pane]).run_test(size=(60, 30)) as pilot:
        pane.display = False
        await pilot.pause()
        show_new(desk, pictures.ladder(MID + 1))
        assert frame(pane) == 0
        pane.display = True
        await pilot.pause()
        frame(pane)
        assert "1.2241" in page(pane)


async def test_an_error_while_a_key_is_handled_is_shown_in_the_pane(monkeypatch: pytest.MonkeyPatch) -> None:
    async with shown(desk_with(pictures.ladder(MID))) as pane:
        monkeypatch.setattr(pane, "rows", lambda *_: 1 // 0)
        pane.action_scroll_up()
        assert "could not be drawn" in page(pane)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 70), st.sampled_from((1, 2, 10, 100)))
def test_any_book_can_be_composed_at_any_size(seed: int, width: int, height: int, ticks: int) -> None:
    pane = LadderPane(pictures.random_desk(seed))
    pane.ticks_a_row = ticks
    rows_never_fail(pane, width, height)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_any_book_fits_its_pane(seed: int) -> None:
    asyncio.run(any_picture_fits(LadderPane, seed))
