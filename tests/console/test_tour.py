"""The cards for newcomers: shown once, about what stands out meanwhile, and in nobody's way."""

import string
from pathlib import Path

import pytest
from textual.pilot import Pilot

from console import keys
from console.app import Console, Parting
from console.dialogs import Question
from console.screens.help import HelpScreen
from console.screens.tour import CARDS, SEEN, TourScreen, first_time
from engine.events import Action
from tests import pictures
from tests.console.conftest import SIZES, FakeLink, frames_of, program
from tests.console.test_app import drawn
from tests.console.test_keys import settled, until

SMALL, LARGE = SIZES["small"], SIZES["large"]


def on_tour(app: Console) -> bool:
    return isinstance(app.screen, TourScreen)


async def started(pilot: Pilot[Parting], link: FakeLink) -> TourScreen:
    await until(pilot, lambda: on_tour(pilot.app), 30.0)  # type: ignore[arg-type]
    await settled(pilot, link)
    screen = pilot.app.screen
    assert isinstance(screen, TourScreen)
    return screen


def pointed(app: Console) -> list[str | None]:
    return [widget.id for widget in app.trading.query(".-pointed")]


def test_it_is_the_first_time_once_and_never_where_that_cannot_be_kept(tmp_path: Path) -> None:
    assert [first_time(tmp_path / "state") for _ in range(3)] == [True, False, False]
    assert (tmp_path / "state" / SEEN).read_bytes() == b""
    (tmp_path / "file").touch()
    assert not first_time(tmp_path / "file")


def test_there_are_six_cards_and_they_name_keys_and_panes_that_exist() -> None:
    panes = {pane.id for pane in program(FakeLink()).trading.panes} | {"status", "keys"}
    assert len(CARDS) == 6
    assert {card.pane for card in CARDS} <= panes
    named = {id for card in CARDS for _, id, _, _ in string.Formatter().parse(card.text) if id}
    assert named <= set(keys.BY_ID) and {"halt", "arm", "disarm", "order", "close", "help"} <= named


async def test_a_console_shows_no_cards_unasked() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        assert app.screen is app.trading


@pytest.mark.parametrize("size", ["large", "middle", "small"])
async def test_the_arrows_turn_the_cards_and_what_each_speaks_of_stands_out_and_can_be_seen(size: str) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, tour=True)
    async with app.run_test(size=SIZES[size]) as pilot:
        await started(pilot, link)
        for place, card in enumerate(CARDS, start=1):
            await until(pilot, lambda place=place, card=card: f"{place} of 6: {card.title}" in drawn(app), 30.0)  # type: ignore[misc]
            await until(pilot, lambda card=card: pointed(app) == [card.pane], 30.0)  # type: ignore[misc]
            assert app.trading.query_one(f"#{card.pane}").is_on_screen
            await pilot.press("right")
        await until(pilot, lambda: app.screen is app.trading, 30.0)
        assert pointed(app) == [] and link.asks() == []


async def test_left_goes_back_and_escape_ends_it() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, tour=True)
    async with app.run_test(size=LARGE) as pilot:
        screen = await started(pilot, link)
        await pilot.press("left", "right", "right", "left")
        assert screen.place == 1
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading and pointed(app) == [], 30.0)


async def test_the_kill_key_halts_over_a_card_and_the_card_stays() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, tour=True)
    async with app.run_test(size=SMALL) as pilot:
        await started(pilot, link)
        await pilot.press("f12")
        await until(pilot, lambda: link.asks() == [(Action.HALT, "")], 30.0)
        assert on_tour(app)


async def test_another_key_ends_it_and_does_what_it_does() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, tour=True)
    async with app.run_test(size=LARGE) as pilot:
        await started(pilot, link)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, Question) and pointed(app) == [], 30.0)


async def test_it_is_reached_again_by_its_key_from_help_and_from_the_palette() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        await pilot.press("f2")
        await until(pilot, lambda: on_tour(app), 30.0)
        await pilot.press("escape", "question_mark")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen), 30.0)
        await pilot.press(*"cards", "enter")
        await until(pilot, lambda: on_tour(app), 30.0)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading, 30.0)
        command = next(one for one in app.get_system_commands(app.screen) if one.title == "program: tour")
        await command.callback()
        await until(pilot, lambda: on_tour(app), 30.0)


async def test_a_card_says_the_keys_as_the_user_has_them() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, tour=True, user_keys={"halt": "f9"})
    async with app.run_test(size=LARGE) as pilot:
        await started(pilot, link)
        await pilot.press("right", "right", "right")
        await until(pilot, lambda: "[F9] is the kill switch" in drawn(app), 30.0)
