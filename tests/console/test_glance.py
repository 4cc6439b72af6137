"""What can be seen from two metres away on a large screen, and the same five facts in the status line of any."""

from collections.abc import Callable

import msgspec
import pytest

from console.desk import Desk
from console.panes.glance import TALL, tall
from console.panes.status import StatusPane, compose
from engine.events import Mode, Trading
from engine.views import PositionsView, StatusView
from tests import pictures
from tests.console.conftest import FakeLink, frames_of, program
from tests.console.test_app import drawn
from tests.console.test_keys import settled, until

HUGE = (200, 60)


def replaced(desk: Desk, **changes: object) -> Desk:
    status = desk.get(StatusView, "")
    assert status is not None
    desk._pictures[status.key] = msgspec.structs.replace(status, **changes)
    return desk


def short() -> Desk:
    desk = pictures.busy()
    held = desk.get(PositionsView, "")
    assert held is not None
    (row,) = held.rows
    desk._pictures[held.key] = PositionsView("", (msgspec.structs.replace(row, quantity="-8200"),))
    return desk


def flat() -> Desk:
    desk = pictures.busy()
    desk._pictures[PositionsView("", ()).key] = PositionsView("", ())
    return desk


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (pictures.busy, ["DEMO", "ARMED", "▲ LONG", "PnL", "PRICES TRUSTED"]),
        (pictures.halted, ["DEMO", "HALTED"]),
        (pictures.stale, ["! PRICES STALE"]),
        (short, ["▼ SHORT"]),
        (flat, ["FLAT"]),
        (lambda: replaced(pictures.busy(), mode=Mode.LIVE, trading=Trading.OFF), ["LIVE", "OFF"]),
        (lambda: replaced(pictures.busy(), flattening=True), ["FLATTENING"]),
    ],
)
async def test_a_large_screen_shows_five_facts_three_rows_tall(state: Callable[[], Desk], words: list[str]) -> None:
    link = FakeLink(frames_of(state()))
    app = program(link)
    async with app.run_test(size=HUGE) as pilot:
        await settled(pilot, link)
        glance = app.trading.glance
        assert glance.size.height == TALL

        def shown() -> str:
            return "\n".join(glance.render_line(y).text for y in range(TALL))

        await until(pilot, lambda: all(word in shown() for word in words), 30.0)
        assert all(len(row.rstrip()) < HUGE[0] for row in shown().splitlines()), "nothing is cut"


async def test_the_profit_is_written_large_and_an_old_one_with_its_mark() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=HUGE) as pilot:
        await settled(pilot, link)
        rows = [app.trading.glance.render_line(y).text for y in range(TALL)]
        await until(pilot, lambda: all(part in row for part, row in zip(tall("+71.28"), rows, strict=True)), 30.0)
        app.lose("the engine died")
        await until(pilot, lambda: "NO LINK" in app.trading.glance.render_line(1).text, 30.0)
        assert all(part in app.trading.glance.render_line(y).text for y, part in enumerate(tall("!+71.28")))


@pytest.mark.parametrize("size", [(160, 50), (179, 60), (200, 54), (80, 24)])
async def test_smaller_screens_keep_the_room_for_the_market(size: tuple[int, int]) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=size) as pilot:
        await settled(pilot, link)
        assert not app.trading.glance.is_on_screen
        line = drawn(app).splitlines()[0]
        assert all(word in line for word in ("DEMO", "ARMED", "LONG 8200 ASTER", "0.0s", "+71.28"))


async def test_a_pane_that_has_the_whole_screen_has_all_of_it() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=HUGE) as pilot:
        await settled(pilot, link)
        assert app.trading.glance.is_on_screen
        await pilot.press("2", "m")
        await until(pilot, lambda: not app.trading.glance.is_on_screen, 30.0)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (pictures.busy, "data 0.0s trusted"),
        (pictures.stale, "stale"),
        (short, "SHORT 8200 ASTER"),
        (flat, "flat"),
    ],
)
def test_the_status_line_says_what_is_held_and_whether_prices_are_trusted(state: Callable[[], Desk], words: str) -> None:
    desk = state()
    status = desk.get(StatusView, "")
    assert status is not None
    line = "".join(text for text, _ in compose(StatusPane(desk).parts(desk, status), 160))
    assert words in line


def test_each_digit_is_as_tall_as_the_others_and_as_wide_on_each_row() -> None:
    for text in ("0123456789", "+1,234.50", "-0.5", "!+71.28", ""):
        rows = tall(text)
        assert len(rows) == TALL and len({len(row) for row in rows}) == 1
    assert len(set(map(tuple, (tall(digit) for digit in "0123456789")))) == 10
