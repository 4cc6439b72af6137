"""What the status line, positions, orders, account and dialogs say when the facts are old, missing or long."""

import msgspec
import pytest
from textual.widgets import Button

from console.panes.account import AccountPane
from console.panes.lines import Row
from console.panes.orders import OrdersPane
from console.panes.positions import PositionsPane
from console.panes.status import pnl
from engine.events import Trading
from engine.views import AccountView, Frame, StatusView
from tests import pictures
from tests.screens import Film


def text(rows: list[Row]) -> list[str]:
    return ["".join(run for run, _ in row) for row in rows]


def test_the_fixtures_account_adds_up() -> None:
    account = pictures.busy().get(AccountView, "")
    assert account is not None
    assert pnl(account) == ("+71.28", "up bold")
    assert float(account.equity) - 10_000 == pytest.approx(71.28)


@pytest.mark.parametrize("state", [pictures.stale, pictures.disconnected])
def test_profit_reckoned_with_an_old_mark_is_not_green(state: object) -> None:
    assert callable(state)
    rows = text(AccountPane(state()).rows(state(), 60, 20))
    assert [row.split()[-1][0] for row in rows if row.startswith(("equity", "session PnL", "unrealised"))] == ["!", "!", "!"]


def test_the_days_loss_is_seen_on_the_large_desk() -> None:
    desk = pictures.busy()
    assert any("day's loss" in row and "0.0% of 3.0%" in row for row in text(AccountPane(desk).rows(desk, 60, 7)))


def test_how_late_the_venues_messages_come_is_seen() -> None:
    desk = pictures.busy()
    assert not any("event lag" in row for row in text(AccountPane(desk).rows(desk, 60, 30)))
    desk.apply(Frame(desk.next_news, (msgspec.structs.replace(pictures.status(), lag_ms=37),), ()))
    assert any("event lag" in row and "37 ms" in row for row in text(AccountPane(desk).rows(desk, 60, 30)))


def test_an_engine_that_still_compares_with_the_venue_does_not_say_that_nothing_is_open() -> None:
    desk = pictures.empty()
    for kind, said in ((PositionsPane, "no open position known yet; the engine waits"), (OrdersPane, "no orders known yet")):
        assert " ".join(text(kind(desk).rows(desk, 80, 5))).startswith(said)
    status = desk.get(StatusView, "")
    assert status is not None
    desk.apply(Frame(desk.next_news, (pictures.status(Trading.OFF),), ()))
    assert text(PositionsPane(desk).rows(desk, 80, 5)) == ["no open position"]


@pytest.mark.parametrize("width", [60, 80, 95])
def test_a_reason_that_the_table_cuts_is_told_under_it(width: int) -> None:
    desk = pictures.busy()
    said = " ".join(" ".join(text(OrdersPane(desk).rows(desk, width, 12))).split())
    assert "entry BUY 4100 rejected: the venue refused it: price outside its limits (-4016)" in said


def test_a_narrow_table_of_orders_keeps_their_state() -> None:
    desk = pictures.busy()
    rows = text(OrdersPane(desk).rows(desk, 38, 12))
    assert "state" in rows[0] and "working" in rows[1] and "rejected" in rows[5]


@pytest.mark.parametrize("size", [(40, 12), (50, 14), (80, 24)])
async def test_a_small_terminal_shows_the_answers_of_a_question(size: tuple[int, int]) -> None:
    film = Film(pictures.disconnected)
    async with film.app.run_test(size=size) as pilot:
        await film.run(pilot)
        for button in film.app.screen.query(Button):
            assert film.app.screen.find_widget(button).visible_region.area == button.region.area > 0


async def test_nothing_of_a_narrower_pane_is_left_when_it_grows() -> None:
    """A word that had wrapped into a second row stayed there: Textual had drawn the old rows at the new width already."""

    async def seen(*sizes: tuple[int, int]) -> list[str]:
        film = Film(pictures.empty)
        async with film.app.run_test(size=sizes[0]) as pilot:
            await film.run(pilot)
            for size in sizes[1:]:
                await pilot.resize_terminal(*size)
                await pilot.pause()
            return [strip.text for strip in film.app.screen._compositor.render_strips()]

    assert await seen((120, 50), (160, 50)) == await seen((160, 50))
