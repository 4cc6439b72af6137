"""Help: the keys of where one is come first, typing finds them, enter does one; what asks before it acts is only told."""

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, OptionList

from console import keys
from console.app import Console, Parting
from console.panes.chart import ChartPane
from console.screens.backtest import BacktestScreen
from console.screens.help import HelpScreen
from engine.events import Action
from tests import pictures
from tests.console.conftest import SIZES, FakeLink, frames_of, program
from tests.console.test_app import drawn
from tests.console.test_keys import settled, type_in, until

SMALL, LARGE = SIZES["small"], SIZES["large"]


async def opened(pilot: Pilot[Parting], link: FakeLink, *before: str) -> HelpScreen:
    await settled(pilot, link)
    await pilot.press(*before, "question_mark")
    await until(pilot, lambda: isinstance(pilot.app.screen, HelpScreen), 30.0)
    screen = pilot.app.screen
    assert isinstance(screen, HelpScreen)
    await until(pilot, lambda: isinstance(screen.focused, Input), 30.0)
    return screen


def listed(screen: HelpScreen) -> list[str]:
    """Ids of the keys in the list, from the top."""
    return [option.id for option in screen.query_one(OptionList).options if option.id]


async def find(pilot: Pilot[Parting], screen: HelpScreen, words: str) -> None:
    await type_in(pilot, words)
    await until(pilot, lambda: listed(screen) == [key.id for key in screen.found(words)], 30.0)


@pytest.mark.parametrize(
    ("place", "first"), [("1", "ladder_scroll_up"), ("2", "chart_zoom_in"), ("3", "halt"), ("6", "orders_trace")]
)
async def test_the_keys_of_the_focused_pane_come_first(place: str, first: str) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        screen = await opened(pilot, link, place)
        assert listed(screen)[0] == first
        assert set(listed(screen)) == {key.id for key in keys.KEYS}, "each once, and none of a screen that is not there"


@pytest.mark.parametrize(
    ("typed", "found"),
    [
        ("f12", ["halt"]),
        ("kill switch", ["halt"]),
        ("chart older", ["chart_scroll_left", "chart_page_left"]),
        ("NO NEW ENTRIES", ["disarm"]),
        ("space", ["recentre"]),
        ("colon", ["order"]),
        ("xyzzy", []),
    ],
)
async def test_typing_searches_keys_labels_and_sentences(typed: str, found: list[str]) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SMALL) as pilot:
        screen = await opened(pilot, link)
        await find(pilot, screen, typed)
        assert listed(screen) == found
        if not found:
            await until(pilot, lambda: "No key has these words" in drawn(app), 30.0)
        assert link.asks() == []


async def test_enter_does_what_a_panes_key_does_on_the_screen_below() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        screen = await opened(pilot, link, "3")
        chart = app.trading.panes[1]
        assert isinstance(chart, ChartPane)
        before = chart._zoom
        await find(pilot, screen, "zoom in")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.trading and chart._zoom == before + 1, 30.0)


async def test_enter_does_what_stops() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        screen = await opened(pilot, link)
        await find(pilot, screen, "disarm")
        await pilot.press("enter")
        await until(pilot, lambda: link.asks() == [(Action.DISARM, "")], 30.0)


@pytest.mark.parametrize("id", [key.id for key in keys.KEYS if key.danger])
async def test_what_asks_before_it_acts_is_only_told(id: str) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, user_keys={"arm": "z"})
    name = {"arm": "z"}.get(id, keys.BY_ID[id].shown)
    async with app.run_test(size=LARGE) as pilot:
        screen = await opened(pilot, link)
        await find(pilot, screen, keys.BY_ID[id].help[:30])
        assert listed(screen) == [id]
        await pilot.press("enter")
        await until(pilot, lambda: f"close this page and press {name}." in drawn(app), 30.0)
        assert app.screen is screen and link.asks() == []


async def test_the_arrows_choose_and_before_they_did_enter_does_nothing() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        screen = await opened(pilot, link, "2")
        await pilot.press("enter")
        await pilot.pause()
        assert app.screen is screen
        chart = app.trading.panes[1]
        assert isinstance(chart, ChartPane)
        before = chart._zoom
        await pilot.press("down", "down", "enter")
        await until(pilot, lambda: app.screen is app.trading and chart._zoom == before - 1, 30.0)


@pytest.mark.parametrize(("typed", "key"), [("disarm", "escape"), ("", "escape"), ("", "question_mark")])
async def test_help_is_closed_and_nothing_is_done(typed: str, key: str) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        screen = await opened(pilot, link)
        await find(pilot, screen, typed)
        await pilot.press(key)
        await until(pilot, lambda: app.screen is app.trading, 30.0)
        assert link.asks() == []


async def backtest(pilot: Pilot[Parting], link: FakeLink) -> BacktestScreen:
    await settled(pilot, link)
    await pilot.press("b")
    await until(pilot, lambda: isinstance(pilot.app.screen, BacktestScreen) and pilot.app.focused is not None, 30.0)
    screen = pilot.app.screen
    assert isinstance(screen, BacktestScreen)
    return screen


async def test_the_backtests_screen_has_help_of_its_own() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        below = await backtest(pilot, link)
        await pilot.press("f8")
        await until(pilot, lambda: isinstance(app.screen, HelpScreen) and isinstance(app.focused, Input), 30.0)
        screen = app.screen
        assert isinstance(screen, HelpScreen)
        assert set(listed(screen)) == {key.id for key in keys.BACKTEST} | {"halt", "palette"}
        await find(pilot, screen, "next tab")
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is below and below.query_one("TabbedContent").active == "curves", 30.0)  # type: ignore[attr-defined]


def titles(app: Console) -> list[str]:
    return [command.title for command in app.get_system_commands(app.screen)]


async def test_the_palette_offers_every_key_of_the_screen_and_every_theme() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        offered = titles(app)
        assert len(set(offered)) == len(offered)
        assert {title for title, _ in keys.palette()} | {f"theme: {name}" for name in app.theme_names} <= set(offered)
        below = await backtest(pilot, link)
        offered = titles(app)
        assert len(set(offered)) == len(offered)
        assert {f"{key.group.replace('_', ' ')}: {key.label}" for key in keys.BACKTEST if key.id != "backtest_help"} <= set(
            offered
        )
        command = next(one for one in app.get_system_commands(below) if one.title == "backtest: next tab")
        await command.callback()
        await until(pilot, lambda: below.query_one("TabbedContent").active == "curves", 30.0)  # type: ignore[attr-defined]
