"""Theme files: what is good is worn, what is bad is a sentence, and no colour is a choice."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from textual.theme import BUILTIN_THEMES
from textual.widgets import Input

from console import theme
from engine.errors import ConfigError
from tests import pictures
from tests.console.conftest import FakeLink, frames_of, program
from tests.console.test_keys import settled, until

FOLDER = theme.folder()
OURS = ["dark", "light", "midnight", "sepia", "colour-blind-safe", "high-contrast"]
DARK = (FOLDER / "dark.toml").read_text(encoding="utf-8")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_six_themes_load_with_every_market_colour() -> None:
    themes, wrong = theme.load_all()
    assert wrong == []
    assert [made.name for made in themes] == OURS
    assert all(set(made.variables) == set(theme.MARKET) for made in themes)


@pytest.mark.parametrize(
    ("change", "names"),
    [
        (lambda text: text.replace('bid = "#3fce8f"', 'bid = "greenish"'), ["market.bid", "greenish"]),
        (lambda text: text.replace('halt = "#ff5c57"', ""), ["market.halt", "missing"]),
        (lambda text: text.replace("dark = true", 'dark = "yes"'), ["dark", "true or false"]),
        (lambda text: text.replace('primary = "#6cb6ff"', "primary = 7"), ["primary", "7"]),
        (lambda text: text.replace("[market]", "[prices]"), ["market", "missing"]),
        (lambda text: text.replace('name = "dark"', ""), ["name"]),
        (lambda text: text.replace('name = "dark"', f'name = "{"x" * 41}"'), ["name", "40 characters"]),
        (lambda text: text.replace('name = "dark"', 'name = "a\\u0007"'), ["name", "cannot be shown"]),
        (lambda text: text + "\n= = =", ["TOML"]),
        (lambda text: "a = " + "[" * 10_000, ["TOML"]),
        (lambda text: text + "#" * theme.LARGEST_FILE, ["larger than 64 kB"]),
    ],
)
def test_a_bad_file_is_named_with_its_key(tmp_path: Path, change: Callable[[str], str], names: list[str]) -> None:
    with pytest.raises(ConfigError) as problem:
        theme.load(write(tmp_path, "mine", change(DARK)))
    assert all(name in str(problem.value) for name in ["mine.toml", *names])


def test_bytes_that_are_no_text_are_a_sentence_too(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"mine\.toml"):
        theme.load(tmp_path / "mine.toml")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "mine.toml")
    with pytest.raises(ConfigError, match=r"mine\.toml: is no file"):
        theme.load(tmp_path / "mine.toml")


def own(folder: Path, name: str, bid: str = "#3fce8f", file: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    return write(
        folder, file or name, DARK.replace('name = "dark"', f'name = "{name}"').replace('bid = "#3fce8f"', f'bid = "{bid}"')
    )


def test_the_users_themes_come_after_ours_and_one_of_the_same_name_in_its_place(tmp_path: Path) -> None:
    own(tmp_path, "zebra")
    own(tmp_path, "apple")
    own(tmp_path, "light", bid="#123456")
    own(tmp_path, "apple", file="second")
    themes, wrong = theme.load_all(FOLDER, tmp_path)
    assert [made.name for made in themes] == [*OURS, "apple", "zebra"]
    assert themes[1].variables["bid"] == "#123456"
    assert [str(error) for error in wrong] == ["second.toml, name: apple is the name of apple.toml. Expected one of its own."]


def test_a_folder_with_too_many_files_is_left_out(tmp_path: Path) -> None:
    for number in range(theme.MOST_FILES):
        own(tmp_path, f"t{number}")
    themes, wrong = theme.load_all(FOLDER, tmp_path)
    assert len(themes) == len(OURS) + theme.MOST_FILES and not wrong
    own(tmp_path, "more")
    themes, wrong = theme.load_all(FOLDER, tmp_path)
    assert [made.name for made in themes] == OURS
    assert [str(error) for error in wrong] == [f"{tmp_path}: holds more than 50 themes, so none of them is used."]


def test_no_folder_of_ones_own_is_no_mistake(tmp_path: Path) -> None:
    themes, wrong = theme.load_all(FOLDER, tmp_path / "none")
    assert len(themes) == len(OURS) and not wrong
    assert theme.own_folder().name == "themes" and theme.own_folder().parent.name == "barter-tui"


@pytest.mark.parametrize("name", BUILTIN_THEMES)
def test_textuals_own_themes_get_every_market_colour(name: str) -> None:
    assert set(theme.market_defaults(BUILTIN_THEMES[name])) == set(theme.MARKET)


async def test_y_wears_every_theme_in_turn_and_textuals_own_work_too() -> None:
    app = program(FakeLink(frames_of(pictures.busy())))
    async with app.run_test(size=(120, 36)) as pilot:
        worn = []
        for _ in range(len(OURS) + 1):
            worn.append(app.theme)
            await pilot.press("y")
            await pilot.pause()
        assert worn == [*OURS, "dark"]
        app.theme = "nord"
        await pilot.pause(0.1)
        assert "ASTER" in app.export_screenshot()


async def test_a_bad_theme_gives_a_toast_and_the_worn_one_stays(tmp_path: Path) -> None:
    write(tmp_path, "dark", DARK)
    app = program(FakeLink(frames_of(pictures.busy())), themes=tmp_path)
    async with app.run_test(size=(120, 36)) as pilot:
        write(tmp_path, "mine", DARK.replace('bid = "#3fce8f"', 'bid = "greenish"').replace('"dark"', '"mine"'))
        app.reread_themes()
        await pilot.pause()
        told = [note.message for note in app._notifications]
        assert any("mine.toml" in text and "market.bid" in text for text in told)
        assert app.theme == "dark"


async def test_a_saved_theme_is_worn_at_once(tmp_path: Path) -> None:
    write(tmp_path, "dark", DARK)
    app = program(FakeLink(frames_of(pictures.busy())), themes=tmp_path)
    async with app.run_test(size=(120, 36)) as pilot:
        write(tmp_path, "dark", DARK.replace("#3fce8f", "#123456") + "\n# saved\n")
        app._saved = {}  # as if the file system's clock had moved on
        app.reread_themes()
        await pilot.pause(0.2)
        assert app.theme_variables["bid"] == "#123456"
        assert "#123456" in app.export_screenshot()


async def test_a_theme_of_ones_own_is_worn_again_as_soon_as_it_is_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own(tmp_path, "mine")
    app = program(FakeLink(frames_of(pictures.busy())), own_themes=tmp_path, wear="mine")
    said: list[str] = []  # toasts come a little later, and go
    monkeypatch.setattr(app, "say", lambda sentence, *_: said.append(sentence))
    async with app.run_test(size=(120, 36)) as pilot:
        assert app.theme == "mine" and app.theme_names == (*OURS, "mine")
        own(tmp_path, "broken", bid="greenish")
        (tmp_path / "gone.toml").symlink_to(tmp_path / "nothing")
        own(tmp_path, "mine", bid="#123456")  # the last: when it is seen, the others were
        await until(pilot, lambda: app.theme_variables["bid"] == "#123456", 30.0)
        told = list(said)
        assert sum("broken.toml, market.bid" in text for text in told) == 1
        seen = dict(app._saved)
        app.reread_themes()
        await pilot.pause()
        assert app._saved == seen and len(said) == len(told), "said once, not every second"
        own(tmp_path, "mine", bid="reddish")
        await until(pilot, lambda: any("mine.toml, market.bid" in text for text in said), 30.0)
        assert app.theme == "mine" and app.theme_variables["bid"] == "#123456"


async def test_a_theme_that_is_not_there_is_said_and_the_default_is_worn() -> None:
    app = program(FakeLink(frames_of(pictures.busy())), wear="nothing")
    async with app.run_test(size=(120, 36)) as pilot:
        await until(pilot, lambda: any("no theme nothing: dark is worn" in note.message for note in app._notifications), 30.0)
        assert app.theme == "dark"


async def test_without_colour_everything_is_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    app = program(FakeLink(frames_of(pictures.halted())))
    async with app.run_test(size=(120, 36)) as pilot:
        await pilot.pause(0.2)
        assert app.no_color
        styles = [segment.style for strip in app.screen._compositor.render_strips() for segment in strip if segment.style]
        colours = [colour.triplet for style in styles for colour in (style.color, style.bgcolor) if colour and colour.triplet]
        assert len(colours) > 1_000
        assert all(red == green == blue for red, green, blue in colours)


@pytest.mark.parametrize("key", ["question_mark", "colon", "ctrl+p", "w"])
async def test_no_cursor_blinks_in_whatever_is_typed_into(key: str) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot, link)
        await pilot.press(key)
        await until(pilot, lambda: isinstance(app.focused, Input) and not app.focused.cursor_blink, 30.0)
        styles = [segment.style for strip in app.screen._compositor.render_strips() for segment in strip if segment.style]
        assert not any(style.blink or style.blink2 for style in styles)
