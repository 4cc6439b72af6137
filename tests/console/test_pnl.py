"""What the session has made over time: its lines, its limit, its falls, and the place that it shares with the account."""

import asyncio
import math

import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panes_host import any_picture_fits

from console.panes.lines import Row
from console.panes.pnl import PnlPane, drawn, known
from engine.views import AccountView, ProfitPoint, ProfitView
from tests.console.conftest import SIZES, FakeLink, frames_of, program
from tests.console.test_keys import settled, until

SECOND = 10**9


def said(rows: list[Row]) -> list[str]:
    return ["".join(text for text, _ in row) for row in rows]


def point(at_s: int, profit: float, lowest: float = -30.0, fall: float = 0.0) -> ProfitPoint:
    return ProfitPoint(at_s * SECOND, profit, 2.5, -1.25, lowest, fall)


def test_profit_fees_and_funding_are_apart_and_the_limit_is_a_line_at_its_height() -> None:
    rows = drawn([point(0, 0.0), point(50, 20.0), point(99, -12.0, fall=32.0)], 70, 20)
    text = said(rows)
    assert len(rows) == 20 and {len(line) for line in text[2:-1]} == {70}
    head = " ".join(text[:2])
    assert "pnl -12.00" in head and "fees -2.50" in head and "funding -1.25" in head
    assert "day's limit -30.00" in head and "drawdown -32.00, at most -32.00" in head
    (at,) = [y for y, line in enumerate(text) if line.endswith("-30.00")]
    assert text[at].count("┄") > 50 and ("stop bold" in [look for _, look in rows[at]])
    (zero,) = [y for y, line in enumerate(text) if line.endswith(" 0")]
    assert zero < at, "the limit lies below nothing made"
    assert text[-1].startswith("00:00:00") and "00:01:39" in text[-1]


def test_a_limit_far_below_is_marked_at_the_foot_and_squeezes_nothing() -> None:
    near, far = (said(drawn([point(0, 0.0, lowest), point(9, 5.0, lowest)], 70, 14)) for lowest in (-3.0, -3_000.0))
    assert any(line.endswith("-3.00") for line in near) and not any("▾" in line for line in near)
    assert "▾ day's limit -3,000.00" in far[0] and sum("▾" in line for line in far) == 2
    assert not any(line.endswith("-3,000.00") for line in far[2:])


def test_a_limit_that_is_used_up_and_an_old_mark_are_said_in_words_too() -> None:
    looks = {text: look for row in drawn([point(0, 0.0), point(9, -31.0, fall=31.0)], 90, 14, old=True) for text, look in row}
    assert looks["─ pnl !-31.00"] == "stale bold" and looks["┄ day's limit -30.00"] == "halt bold"


def test_the_falls_hang_as_deep_as_they_were_and_none_is_nothing() -> None:
    rows = drawn([point(0, 0.0), point(50, 20.0, fall=8.0), point(99, 0.0, fall=20.0)], 70, 22)
    falls = said(rows)[-4:-1]
    assert falls[-1].endswith("-20.00") and "█" in falls[0] and falls[-1].count("█") + falls[-1].count(" ") >= 59
    assert falls[0].lstrip(" ").startswith(("█", "▁")) and not any(mark in falls[0][:25] for mark in "▁▂▃▄▅▆▇█")
    flat = said(drawn([point(0, 0.0, math.nan), point(9, 1.0, math.nan)], 70, 14))
    assert not any("█" in line for line in flat[2:]) and "limit" not in flat[0]


def test_the_newest_point_is_the_account_as_it_is() -> None:
    desk = pictures.busy()
    points, account = known(desk), desk.get(AccountView, "")
    kept = desk.get(ProfitView, "")
    assert kept is not None and account is not None and len(points) == len(kept.points) + 1
    assert points[-1].profit == pytest.approx(71.28) and points[-1].at == pictures.NOW
    assert points[-1].lowest == pytest.approx(kept.points[-1].lowest)


@pytest.mark.parametrize(("size", "both"), [((160, 50), False), ((190, 60), True), ((120, 36), False)])
async def test_it_has_the_accounts_place_until_the_account_is_chosen_or_both_have_room(size: tuple[int, int], both: bool) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=size) as pilot:
        await settled(pilot, link)

        def there() -> set[str]:
            return {pane.id or "" for pane in app.trading.panes if pane.is_on_screen} & {"account", "pnl"}

        tall = size[1] > 36
        before = {"account", "pnl"} if both else {"account"} if tall else set()
        await until(pilot, lambda: there() == before)
        await pilot.press("P")
        await until(
            pilot, lambda: there() == (before if both else {"pnl"}) and app.focused is not None and app.focused.id == "pnl"
        )
        await pilot.press("1")
        await until(pilot, lambda: there() == (before if both else {"pnl"} if tall else set()))
        await pilot.press("8")
        await until(pilot, lambda: there() == (before if both else {"account"}))


async def test_one_pane_alone_is_alone_where_there_is_room_for_more() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        await settled(pilot, link)
        await pilot.press("P", "7", "m")
        await until(pilot, lambda: [pane.id for pane in app.trading.panes if pane.is_on_screen] == ["log"])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_any_curve_fits(seed: int) -> None:
    asyncio.run(any_picture_fits(PnlPane, seed))
