"""Theme files: what is good is worn, what is bad is a sentence, and no colour is a choice."""

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
DARK = (FOLDER / "dark.toml").read_text(encoding="utf-8")


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / f"{name}.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_four_themes_load_with_every_market_colour() -> None:
    themes, wrong = theme.load_all()
    assert wrong == []
    assert [made.name for made in themes] == ["dark", "light", "colour-blind-safe", "high-contrast"]
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
        (lambda text: text + "\n= = =", ["TOML"]),
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


@pytest.mark.parametrize("name", BUILTIN_THEMES)
def test_textuals_own_themes_get_every_market_colour(name: str) -> None:
    assert set(theme.market_defaults(BUILTIN_THEMES[name])) == set(theme.MARKET)


async def test_y_wears_every_theme_in_turn_and_textuals_own_work_too() -> None:
    app = program(FakeLink(frames_of(pictures.busy())))
    async with app.run_test(size=(120, 36)) as pilot:
        worn = []
        for _ in range(5):
            worn.append(app.theme)
            await pilot.press("y")
            await pilot.pause()
        assert worn == ["dark", "light", "colour-blind-safe", "high-contrast", "dark"]
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
