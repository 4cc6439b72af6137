"""The settings screen: every declaration is on it, the loader's sentences while typing, and a file of what was changed alone."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input, Static

from console import keys
from console.app import Console, Parting
from console.link import memory_link
from console.panes.settings import SettingsPane
from console.replay import consoles
from console.screens.settings import SettingsScreen
from console.settings import KEYS, NEXT_START, WATCHES, Form
from engine.config import Sourced, read, typed
from engine.errors import ConfigError
from engine.events import Action
from engine.queue.session import Session
from engine.replay.playback import Playback
from engine.replay.player import Player
from tests import pictures
from tests.console.conftest import SIZES, FakeLink, frames_of, program
from tests.console.test_app import drawn
from tests.console.test_keys import settled, until

PANES = {"settings": SettingsScreen, "setting_list": SettingsPane}
WITHIN_S = 30.0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration folder, empty, instead of the real one."""
    place = tmp_path / "configuration"
    place.mkdir()
    monkeypatch.setattr("engine.config.layers.config_folder", lambda: place)
    return place


def sourced(environ: dict[str, str] | None = None, flags: dict[str, str] | None = None) -> Sourced:
    return read(file=None, environ=environ or {}, flags=flags or {})


def on(sources: Sourced, link: FakeLink | None = None, **options: Any) -> tuple[Console, FakeLink]:
    link = link or FakeLink(frames_of(pictures.busy()))
    return program(link, settings=sources.settings, sources=sources, **options), link


async def opened(pilot: Pilot[Parting], link: FakeLink) -> SettingsScreen:
    await settled(pilot, link)
    await pilot.press("s")
    await until(pilot, lambda: isinstance(pilot.app.screen, SettingsScreen) and pilot.app.screen.list.has_focus, WITHIN_S)
    screen = pilot.app.screen
    assert isinstance(screen, SettingsScreen)
    return screen


async def go_to(pilot: Pilot[Parting], screen: SettingsScreen, dotted: str) -> None:
    screen.list.move([key.dotted for key in screen.list.found].index(dotted) - screen.list.cursor)
    await until(pilot, lambda: screen.query_one("#detail").border_title == dotted, WITHIN_S)


async def type_in(pilot: Pilot[Parting], screen: SettingsScreen, dotted: str, text: str) -> None:
    """Into the value, over what is there; not entered yet."""
    await go_to(pilot, screen, dotted)
    await pilot.press("enter")
    value = screen.query_one("#value", Input)
    await until(pilot, lambda: value.has_focus, WITHIN_S)
    value.value = text
    await until(pilot, lambda: value.value == text, WITHIN_S)
    await pilot.pause()


async def enter(pilot: Pilot[Parting], screen: SettingsScreen, dotted: str, text: str) -> None:
    await type_in(pilot, screen, dotted, text)
    await pilot.press("enter")
    await until(pilot, lambda: screen.list.has_focus, WITHIN_S)


def text_of(screen: SettingsScreen, id: str) -> str:
    return str(screen.query_one(f"#{id}", Static).content)


# --- what is on it -----------------------------------------------------------------------------------------------------


def test_every_key_of_the_screen_is_bound_and_does_something() -> None:
    for key in keys.SETTINGS:
        owner = PANES[key.pane]
        assert key.id in {binding.id for binding in owner.BINDINGS}, key.id  # type: ignore[union-attr]
        assert callable(getattr(owner, f"action_{key.action.partition('(')[0]}", None)), key.id


async def test_every_setting_is_there_with_its_help_range_default_source_and_when_it_holds(folder: Path) -> None:
    (folder / "settings.toml").write_text("[risk]\nmax_leverage = 2.0\n")
    app, link = on(sourced({"BARTER_BOOK_LEVELS": "60"}))
    async with app.run_test(size=(160, 150)) as pilot:
        screen = await opened(pilot, link)
        await until(pilot, lambda: "▸ mode" in drawn(app), WITHIN_S)
        rows = [line.split()[0] for line in drawn(app).replace("▸", " ").splitlines()[2:] if line.strip()]
        assert [name for name in rows if name in {key.name for key in KEYS.values()}] == [key.name for key in KEYS.values()]
        for key in KEYS.values():
            about = " ".join(screen.form.about(key.dotted))
            assert key.description in about and f"the default is {typed(key, key.default) or 'nothing'}." in about
            assert key.expected[1:] in about or key.dotted in screen.form.offered
            assert (NEXT_START in about) == (key.section != "console")
        await go_to(pilot, screen, "risk.max_leverage")
        assert f"Now 2, from {folder / 'settings.toml'}." in text_of(screen, "about")
        row = next(line for line in drawn(app).splitlines() if " max_leverage " in line)
        assert row.split() == ["▸", "max_leverage", "2", "settings.toml"]
        await go_to(pilot, screen, "risk.max_drawdown")
        assert "Now 0.1, the default." in text_of(screen, "about")
        await go_to(pilot, screen, "book.levels")
        about = text_of(screen, "about")
        assert "Now 60, from the environment variable BARTER_BOOK_LEVELS." in about and "wins over what is saved here" in about
        assert screen.query_one("#value", Input).value == "1000", "what the files say is what can be changed"
        assert "! environment" in drawn(app)


@pytest.mark.parametrize("size", [(160, 50), (80, 24), (40, 12), (20, 5)])
async def test_the_list_scrolls_to_both_ends_at_every_size(size: tuple[int, int]) -> None:
    app, link = on(sourced())
    async with app.run_test(size=size) as pilot:
        screen = await opened(pilot, link)
        await pilot.press("end")
        assert screen.list.cursor == len(KEYS) - 1
        await pilot.press("pageup", "k", "up")
        assert screen.list.cursor < len(KEYS) - 3
        await pilot.press("home")
        await pilot.pause()
        assert screen.list.cursor == 0 and "Traceback" not in drawn(app) and "could not be drawn" not in drawn(app)
        if size[1] > 20:
            assert "[engine]" in drawn(app) and "▸ mode" in drawn(app)


async def test_a_search_looks_at_names_helps_and_values() -> None:
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await pilot.press("slash", *"funding window")
        await until(pilot, lambda: len(screen.list.found) < 5, WITHIN_S)
        assert {key.dotted for key in screen.list.found} == {"risk.funding_window_s", "risk.max_funding_bps"}
        await pilot.press("enter")
        await until(pilot, lambda: screen.list.has_focus, WITHIN_S)
        await pilot.press("slash", *"xyzzy")
        await until(pilot, lambda: "No setting holds these words." in drawn(app), WITHIN_S)
        await pilot.press("f3", "escape", "enter", "right", "down", "f2")
        search = screen.query_one("#search", Input)
        search.value = "11434"
        await until(pilot, lambda: [key.dotted for key in screen.list.found] == ["judgment.host"], WITHIN_S)
        assert not screen.form.changes


async def test_no_secret_is_shown() -> None:
    environ = {"BARTER_API_KEY": "hunter1", "BARTER_API_SECRET": "hunter2", "BARTER_ARM_PHRASE": "hunter3"}
    app, link = on(sourced(environ))
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        assert "hunter" not in repr(app.sources) and "hunter" not in drawn(app)
        await type_in(pilot, screen, "venue.binance_rest", "https://me:hunter2@host")
        await until(pilot, lambda: "may not hold a user, a password" in text_of(screen, "problem"), WITHIN_S)
        await pilot.press("enter")
        await pilot.pause()
        assert not screen.form.changes, "it is not kept"
        await pilot.press("escape")
        await until(pilot, lambda: "hunter" not in drawn(app), WITHIN_S)


# --- changing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dotted", "text"),
    [
        ("book.levels", "7"),
        ("book.levels", "many"),
        ("risk.max_leverage", "-1"),
        ("risk.max_leverage", ""),
        ("engine.symbols", "btcusdt"),
        ("engine.mode", "demmo"),
        ("risk.max_order_notional", "8000"),
        ("console.keys", "{ halt = 9 }"),
        ("queue.tls_ca", "ca.pem"),
    ],
)
async def test_what_is_wrong_is_said_while_it_is_typed_in_the_loaders_words(dotted: str, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        sourced(flags={dotted: text})
    said = str(refused.value).partition(": ")[2]
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await type_in(pilot, screen, dotted, text)
        await until(pilot, lambda: text_of(screen, "problem") == said[:1].upper() + said[1:], WITHIN_S)


async def test_only_what_was_changed_is_written_and_what_waits_for_a_start_is_said(folder: Path) -> None:
    (folder / "config.toml").write_text("[book]\nlevels = 60\n")
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await enter(pilot, screen, "risk.max_leverage", "2.5")
        await enter(pilot, screen, "engine.symbols", "BTC/USDT:USDT, ETH/USDT:USDT")
        await enter(pilot, screen, "book.levels", "60")  # as the file says
        await enter(pilot, screen, "venue.seed", "8")
        await enter(pilot, screen, "venue.seed", "7")  # and back
        await until(pilot, lambda: "2 not saved" in drawn(app).splitlines()[0], WITHIN_S)
        assert not (folder / "settings.toml").exists()
        await pilot.press("f2")
        await until(pilot, lambda: "Saved." in drawn(app).splitlines()[0], WITHIN_S)
        written = tomllib.loads((folder / "settings.toml").read_text())
        assert written == {"risk": {"max_leverage": 2.5}, "engine": {"symbols": ["BTC/USDT:USDT", "ETH/USDT:USDT"]}}
        told = [note.message for note in app._notifications]
        assert any("hold from the next start of barter-tui on: risk.max_leverage, engine.symbols" in text for text in told)
        assert app.sources is screen.form.sources and sourced().settings == app.sources.settings
        assert "not saved" not in drawn(app)
        await pilot.press("f2")
        await until(pilot, lambda: "Nothing was changed." in drawn(app), WITHIN_S)


async def test_a_setting_is_put_back_to_what_holds_without_the_saved_file(folder: Path) -> None:
    (folder / "config.toml").write_text("[book]\nlevels = 60\n")
    (folder / "settings.toml").write_text("[book]\nlevels = 70\n\n[risk]\nmax_leverage = 2.0\n")
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await go_to(pilot, screen, "book.levels")
        await pilot.press("f3")
        await until(pilot, lambda: "60  (was 70)" in drawn(app), WITHIN_S)
        assert "book.levels is as the file says again" in drawn(app)
        await type_in(pilot, screen, "risk.max_leverage", "9")
        await pilot.press("f3")
        await until(pilot, lambda: "3  (was 2)" in drawn(app) and screen.list.has_focus, WITHIN_S)
        assert screen.query_one("#value", Input).value == "3"
        await pilot.press("f2")
        await until(pilot, lambda: (folder / "settings.toml").read_text() == "", WITHIN_S)
        assert sourced().settings.book.levels == 60


async def test_settings_that_do_not_go_together_are_kept_and_not_saved_until_they_do(folder: Path) -> None:
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        for name in ("tls_ca", "tls_cert"):
            await enter(pilot, screen, f"queue.{name}", f"/{name}.pem")
        await pilot.press("f2")
        await until(pilot, lambda: "Not saved. TLS with a cluster takes three files" in drawn(app).splitlines()[0], WITHIN_S)
        assert not (folder / "settings.toml").exists() and len(screen.form.changes) == 2
        await enter(pilot, screen, "queue.tls_key", "/tls_key.pem")
        assert text_of(screen, "problem") == ""
        await pilot.press("f2")
        await until(pilot, lambda: (folder / "settings.toml").exists(), WITHIN_S)


def test_a_variable_does_not_hide_what_another_start_would_stumble_over() -> None:
    form = Form(sourced({"BARTER_RISK_MAX_ORDER_NOTIONAL": "100"}), lambda dotted, value: "")
    assert "would exceed the largest position" in form.problem("risk.max_position_notional", "1500")
    assert form.problem("risk.max_position_notional", "2500") == ""


def test_files_that_only_a_variable_makes_right_can_still_be_changed(folder: Path) -> None:
    (folder / "config.toml").write_text("[risk]\nmax_order_notional = 8000\n")
    form = Form(sourced({"BARTER_RISK_MAX_ORDER_NOTIONAL": "100"}), lambda dotted, value: "")
    assert form.enter("venue.seed", "3") == "" and form.mismatch() == ""


async def test_a_value_is_stepped_through_and_a_refused_one_stays_to_be_mended() -> None:
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await go_to(pilot, screen, "queue.record")
        await pilot.press("right")
        assert screen.form.changes == {"queue.record": False}
        await pilot.press("left")
        assert screen.form.changes == {}
        await go_to(pilot, screen, "engine.mode")
        await pilot.press("h")
        assert screen.form.changes == {"engine.mode": "live"}
        await go_to(pilot, screen, "book.levels")
        await pilot.press("right")
        await until(pilot, lambda: "press Enter" in drawn(app), WITHIN_S)
        await type_in(pilot, screen, "book.levels", "7")
        await pilot.press("enter", "f2")
        await until(pilot, lambda: "7 is out of range" in drawn(app).splitlines()[0], WITHIN_S)
        value = screen.query_one("#value", Input)
        assert value.has_focus and value.value == "7" and screen.form.changes == {"engine.mode": "live"}
        await pilot.press("escape")
        await until(pilot, lambda: screen.list.has_focus and value.value == "1000", WITHIN_S)


async def test_a_file_that_cannot_be_written_is_said_and_nothing_is_lost(folder: Path) -> None:
    sources = sourced()
    app, link = on(sources)
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await enter(pilot, screen, "venue.seed", "3")
        (folder / "settings.toml").mkdir()
        await pilot.press("f2")
        await until(pilot, lambda: "Not saved." in drawn(app) and "this is a folder" in drawn(app), WITHIN_S)
        assert screen.form.changes == {"venue.seed": 3}
        (folder / "settings.toml").rmdir()
        await pilot.press("f2")
        await until(pilot, lambda: (folder / "settings.toml").is_file(), WITHIN_S)


async def test_leaving_with_changes_takes_two_presses() -> None:
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await enter(pilot, screen, "venue.seed", "3")
        await pilot.press("escape")
        await until(pilot, lambda: any("leave without saving 1 change." in note.message for note in app._notifications), WITHIN_S)
        assert app.screen is screen
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading, WITHIN_S)
        await pilot.press("s")
        await until(pilot, lambda: isinstance(app.screen, SettingsScreen), WITHIN_S)
        await until(pilot, lambda: app.screen.query_one(SettingsPane).has_focus, WITHIN_S)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading, WITHIN_S)


async def test_typing_a_value_trades_nothing_and_the_kill_key_works() -> None:
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await type_in(pilot, screen, "judgment.model", "")
        await pilot.press(*"advcxq")
        assert screen.query_one("#value", Input).value == "advcxq" and link.asks() == []
        await pilot.press("f12")
        await until(pilot, lambda: (Action.HALT, "") in link.asks(), WITHIN_S)


# --- the screen's own --------------------------------------------------------------------------------------------------


async def test_a_theme_is_worn_while_it_is_stepped_through_and_kept_when_it_is_saved(folder: Path) -> None:
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await go_to(pilot, screen, "console.theme")
        for name in app.theme_names[1:]:
            await pilot.press("right")
            assert app.theme == name
        await pilot.press("escape", "escape")
        await until(pilot, lambda: app.screen is app.trading, WITHIN_S)
        assert app.theme == "dark", "nothing was saved"
        screen = await opened(pilot, link)
        await type_in(pilot, screen, "console.theme", "sepia")
        await until(pilot, lambda: app.theme == "sepia", WITHIN_S)
        await pilot.press("escape")
        await until(pilot, lambda: app.theme == "dark", WITHIN_S)
        await type_in(pilot, screen, "console.theme", "nothing of the kind")
        await until(pilot, lambda: "There is no theme nothing of the kind." in text_of(screen, "problem"), WITHIN_S)
        screen.query_one("#value", Input).value = "light"
        await pilot.press("enter", "f2")
        await until(pilot, lambda: (folder / "settings.toml").is_file(), WITHIN_S)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading, WITHIN_S)
        assert app.theme == "light"
    again, link = on(sourced())
    async with again.run_test(size=SIZES["large"]) as pilot:
        await settled(pilot, link)
        assert again.theme == "light"


async def test_keys_and_frames_hold_as_soon_as_they_are_saved() -> None:
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await type_in(pilot, screen, "console.keys", '{ halt = "k" }')
        await until(pilot, lambda: "may not be a key that writes a letter" in text_of(screen, "problem"), WITHIN_S)
        screen.query_one("#value", Input).value = '{ halt = "F9", disarm = "D" }'
        await pilot.press("enter")
        await until(pilot, lambda: screen.list.has_focus, WITHIN_S)
        await enter(pilot, screen, "console.frames_per_s", "5")
        assert app.frames_per_s == 12
        await pilot.press("f2")
        await until(pilot, lambda: app.frames_per_s == 5, WITHIN_S)
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading, WITHIN_S)
        await until(pilot, lambda: "F9" in drawn(app).splitlines()[-1], WITHIN_S)
        await pilot.press("d", "f12")
        assert link.asks() == []
        await pilot.press("D", "f9")
        assert link.asks() == [(Action.DISARM, ""), (Action.HALT, "")]
        assert app.kill.keys == {"f9"}


async def test_a_console_that_only_watches_changes_the_screen_and_not_the_engine(folder: Path) -> None:
    app, link = on(sourced(), control=False)
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await type_in(pilot, screen, "risk.max_leverage", "9")
        await until(pilot, lambda: text_of(screen, "problem") == WATCHES, WITHIN_S)
        await pilot.press("escape")
        await enter(pilot, screen, "console.theme", "midnight")
        await pilot.press("f2")
        await until(pilot, lambda: (folder / "settings.toml").is_file(), WITHIN_S)
        assert tomllib.loads((folder / "settings.toml").read_text()) == {"console": {"theme": "midnight"}}


async def test_a_variable_that_wins_leaves_the_theme_as_it_was(folder: Path) -> None:
    app, link = on(sourced({"BARTER_CONSOLE_THEME": "light"}))
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        assert app.theme == "light"
        await enter(pilot, screen, "console.theme", "sepia")
        assert app.theme == "sepia"
        await pilot.press("f2")
        await until(pilot, lambda: (folder / "settings.toml").is_file(), WITHIN_S)
        await until(pilot, lambda: app.theme == "light", WITHIN_S)


async def test_what_the_settings_say_is_what_the_program_begins_with() -> None:
    flags = {"console.theme": "midnight", "console.frames_per_s": "6", "console.keys": '{ halt = "f9" }'}
    app, link = on(sourced(flags=flags))
    async with app.run_test(size=SIZES["large"]) as pilot:
        await settled(pilot, link)
        assert (app.theme, app.frames_per_s, app.user_keys) == ("midnight", 6.0, {"halt": "f9"})


async def test_without_settings_the_key_says_so() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        await settled(pilot, link)
        await pilot.press("s")
        await until(pilot, lambda: any("no settings" in note.message for note in app._notifications), WITHIN_S)
        assert app.screen is app.trading


async def test_a_file_that_turned_bad_meanwhile_is_named(folder: Path) -> None:
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        (folder / "config.toml").write_text("= = =")
        await type_in(pilot, screen, "venue.seed", "3")
        await until(pilot, lambda: "config.toml: is not valid TOML" in text_of(screen, "problem"), WITHIN_S)


async def test_over_a_recorded_session_the_screens_own_settings_can_be_changed(small: Path, folder: Path) -> None:
    sources = sourced()
    with Session(small) as session:
        playback = Playback(Player(session))
        app = Console(memory_link(lambda: consoles(playback)), playback=playback, settings=sources.settings, sources=sources)
        async with app.run_test(size=SIZES["large"]) as pilot:
            await until(pilot, lambda: app.screen is app.trading and bool(app.desk.markets), WITHIN_S)
            await pilot.press("s")
            await until(pilot, lambda: isinstance(app.screen, SettingsScreen) and app.screen.list.has_focus, WITHIN_S)
            screen = app.screen
            assert isinstance(screen, SettingsScreen)
            await type_in(pilot, screen, "risk.max_leverage", "9")
            await until(pilot, lambda: text_of(screen, "problem") == WATCHES, WITHIN_S)
            await pilot.press("escape")
            await enter(pilot, screen, "console.theme", "sepia")
            await pilot.press("f2")
            await until(pilot, lambda: (folder / "settings.toml").is_file() and app.theme == "sepia", WITHIN_S)


async def test_a_layout_of_ones_own_can_be_chosen_as_soon_as_it_is_entered(folder: Path) -> None:
    app, link = on(sourced())
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await type_in(pilot, screen, "console.layouts", '{ mine = ["ladder chrat"] }')
        await until(pilot, lambda: "chrat is no pane" in text_of(screen, "problem"), WITHIN_S)
        screen.query_one("#value", Input).value = '{ mine = ["ladder chart"] }'
        await pilot.press("enter")
        await until(pilot, lambda: screen.list.has_focus, WITHIN_S)
        await go_to(pilot, screen, "console.layout")
        assert "One of desk, chart, orders, mine; the default is desk." in text_of(screen, "about")
        await pilot.press("left", "f2")
        await until(pilot, lambda: (folder / "settings.toml").is_file() and app.laid == "mine", WITHIN_S)
        written = tomllib.loads((folder / "settings.toml").read_text())
        assert written == {"console": {"layout": "mine", "layouts": {"mine": ["ladder chart"]}}}
        await pilot.press("escape")
        await until(pilot, lambda: sum(pane.is_on_screen for pane in app.trading.panes) == 2, WITHIN_S)
