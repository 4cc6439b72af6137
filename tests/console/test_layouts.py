"""Layouts: rows of pane names fill the screen, and a pane that has no place in them is shown alone while it is chosen."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from textual.geometry import Region
from textual.pilot import Pilot

from console import layouts
from console.app import Console, Parting
from engine.config import create_aster_config
from tests import pictures
from tests.console.conftest import SIZES, FakeLink, frames_of, program
from tests.console.test_app import drawn
from tests.console.test_keys import settled, until

PANES = ("ladder", "chart", "indicators", "rationale", "positions", "orders", "log", "account", "tape", "markets", "pnl")
MINE = ["ladder indicators/rationale", "log"]
WITHIN_S = 30.0


@st.composite
def some_rows(draw: st.DrawFn) -> Sequence[str]:
    names = draw(st.lists(st.sampled_from(PANES), min_size=1, unique=True))
    between = [draw(st.sampled_from([" ", "/", "\n"])) for _ in names]
    return "".join(name + gap for name, gap in zip(names, between, strict=True)).rstrip(" /\n").split("\n")


@given(some_rows(), st.integers(100, 300), st.integers(28, 100))
def test_the_panes_fill_the_screen_and_do_not_overlap(rows: Sequence[str], width: int, height: int) -> None:
    placed = layouts.regions(rows, width, height)
    assert list(placed) == layouts.panes_of(rows)
    cells = {(x, y) for one in placed.values() for x in range(one.x, one.right) for y in range(one.y, one.bottom)}
    assert len(cells) == width * height == sum(one.area for one in placed.values())
    assert all(one.width > 0 and one.height > 0 for one in placed.values())


def test_a_pane_gets_what_it_needs_and_the_others_what_is_left() -> None:
    placed = layouts.regions(("ladder chart indicators/rationale", "positions/orders log"), 160, 48)
    assert placed["ladder"] == Region(0, 0, 46, 32)
    assert placed["chart"] == Region(46, 0, 76, 32)
    assert placed["rationale"] == Region(122, 16, 38, 16)
    assert placed["positions"] == Region(0, 32, 110, 6)
    assert placed["orders"] == Region(0, 38, 110, 10)
    assert [one.width for one in layouts.regions(("ladder chart log",), 120, 40).values()] == [40, 40, 40], "too narrow for all"


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"mine": ["ladder chrat"]}, "layouts.mine: chrat is no pane: ladder, chart, "),
        ({"mine": ["ladder/"]}, "layouts.mine: nothing is no pane"),
        ({"mine": ["log", "log"]}, "layouts.mine: log is there twice."),
        ({"mine": []}, "it takes 1 to 6 rows"),
        ({"mine": ["log", " "]}, "each with panes"),
        ({"mine": ["log"] * 7}, "it takes 1 to 6 rows"),
        ({"desk": ["log"]}, "layouts.desk: that is a layout of ours"),
        ({"x" * 21: ["log"]}, "a name has 1 to 20 characters"),
        ({f"l{number}": ["log"] for number in range(21)}, "there are 21, and at most 20"),
    ],
)
def test_a_layout_that_cannot_be_is_a_sentence(own: dict[str, list[str]], said: str) -> None:
    assert any(said in sentence for sentence in layouts.problems(own, PANES))
    assert layouts.problems({"mine": MINE}, PANES) == []


def test_ours_name_panes_that_are_there() -> None:
    own = {name: rows for name, rows in layouts.BUILT_IN.items() if rows}
    wrong = layouts.problems({f"{name} ": rows for name, rows in own.items()}, PANES)
    assert own and wrong == []
    assert {*layouts.WIDTHS, *layouts.HEIGHTS} <= set(PANES)


def on(**console: object) -> tuple[Console, FakeLink]:
    link = FakeLink(frames_of(pictures.busy()))
    return program(link, settings=create_aster_config(console=console)), link


def seen(app: Console) -> dict[str, Region]:
    return {pane.id or "": pane.region for pane in app.trading.panes if pane.is_on_screen}


async def placed(pilot: Pilot[Parting], app: Console, rows: Sequence[str]) -> None:
    """The panes of the rows are where they should be, and no others are there."""
    desk = app.trading.query_one("#desk")

    def holds() -> bool:
        wanted = layouts.regions(rows, *desk.size)
        return seen(app) == {name: region.translate(desk.region.offset) for name, region in wanted.items()}

    await until(pilot, holds, WITHIN_S)
    app._frame()
    await pilot.pause()
    assert "could not be drawn" not in drawn(app)
    assert all(pane.border_title in drawn(app) for pane in app.trading.panes if pane.id in layouts.panes_of(rows))


async def test_the_key_lays_the_panes_out_each_way_and_comes_back_to_the_desk() -> None:
    app, link = on(layouts={"mine": MINE})
    async with app.run_test(size=SIZES["large"]) as pilot:
        await settled(pilot, link)
        before = seen(app)
        assert set(before) == set(PANES) - {"pnl"}, "which shares the account's place"
        for name in ("chart", "orders", "mine"):
            await pilot.press("L")
            assert app.laid == name
            await placed(pilot, app, app.layouts[name])
        await pilot.press("L")
        await until(pilot, lambda: seen(app) == before, WITHIN_S)
        assert link.asks() == []
        command = next(one for one in app.get_system_commands(app.screen) if one.title == "layout: mine")
        command.callback()
        await placed(pilot, app, MINE)


async def test_a_pane_without_a_place_is_shown_alone_while_it_is_chosen() -> None:
    app, link = on(layout="mine", layouts={"mine": MINE})
    async with app.run_test(size=SIZES["large"]) as pilot:
        await settled(pilot, link)
        await placed(pilot, app, MINE)
        await pilot.press("6")
        await until(pilot, lambda: list(seen(app)) == ["orders"] and app.trading.orders.has_focus, WITHIN_S)
        await pilot.press("tab")
        await placed(pilot, app, MINE)
        assert app.trading.here == 1
        visited = []
        for _ in range(4):
            visited.append(app.trading.panes[app.trading.here - 1].id)
            await pilot.press("tab")
        assert visited == ["ladder", "indicators", "rationale", "log"]
        await pilot.press("m")
        await until(pilot, lambda: len(seen(app)) == 1, WITHIN_S)
        await pilot.press("m")
        await placed(pilot, app, MINE)


async def test_a_small_screen_shows_one_pane_whatever_the_layout() -> None:
    app, link = on(layout="chart")
    async with app.run_test(size=SIZES["small"]) as pilot:
        await settled(pilot, link)
        await until(pilot, lambda: list(seen(app)) == ["ladder"], WITHIN_S)
        await pilot.press("2")
        await until(pilot, lambda: list(seen(app)) == ["chart"], WITHIN_S)
        await pilot.resize_terminal(*SIZES["large"])
        await placed(pilot, app, layouts.BUILT_IN["chart"])
        await pilot.resize_terminal(20, 5)
        await until(pilot, lambda: list(seen(app)) == ["chart"], WITHIN_S)


@pytest.mark.parametrize(
    ("console", "said"),
    [({"layout": "nothing"}, "There is no layout nothing."), ({"layouts": {"mine": ["chrat"]}}, "chrat is no pane")],
)
async def test_what_cannot_be_is_said_and_the_desk_is_shown(
    console: dict[str, object], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    app, link = on(**console)
    told: list[str] = []
    monkeypatch.setattr(app, "say", lambda sentence, *_: told.append(sentence))  # a toast goes by itself
    async with app.run_test(size=SIZES["large"]) as pilot:
        await settled(pilot, link)
        await until(pilot, lambda: any(said in sentence for sentence in told), WITHIN_S)
        assert app.laid == "desk" and set(seen(app)) == set(PANES) - {"pnl"}
