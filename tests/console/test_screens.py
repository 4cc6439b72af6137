"""The whole screen: every state at every size, each in both themes (the README's pictures are three of the pairs)."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from console.desk import Desk
from tests import pictures
from tests.console.conftest import SIZES
from tests.readme_pictures import FOLDER, PICTURES, Picture, svg
from tests.screens import Film


@pytest.fixture(autouse=True)
def in_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)


@pytest.mark.parametrize(
    ("state", "size", "worn"),
    [
        (pictures.busy, "middle", "light"),
        (pictures.empty, "large", "light"),
        (pictures.empty, "middle", "dark"),
        (pictures.empty, "small", "dark"),
        (pictures.stale, "large", "dark"),
        (pictures.stale, "middle", "light"),
        (pictures.stale, "small", "light"),
        (pictures.halted, "large", "light"),
        (pictures.halted, "small", "dark"),
        (pictures.disconnected, "large", "dark"),
        (pictures.disconnected, "middle", "light"),
        (pictures.disconnected, "small", "dark"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_the_screen(snap_compare: Any, state: Callable[[], Desk], size: str, worn: str) -> None:
    film = Film(state, worn)
    assert snap_compare(film.app, terminal_size=SIZES[size], run_before=film.run)


@pytest.mark.parametrize("made", PICTURES, ids=lambda made: made.name)
async def test_the_readmes_pictures_show_the_screen_as_it_is(made: Picture) -> None:
    committed = made.path.read_text(encoding="utf-8")
    assert committed == await svg(made), "make them again: python -m tests.readme_pictures"


def test_the_readme_shows_each_picture_and_says_what_is_on_it(root: Any) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    shown = dict(re.findall(r"!\[([^\]]{40,})\]\((tests/readme/[a-z]+\.svg)\)", text))
    assert sorted(shown.values()) == sorted(f"tests/readme/{made.name}.svg" for made in PICTURES)
    assert sorted(path.name for path in FOLDER.iterdir()) == sorted(made.path.name for made in PICTURES)


@pytest.mark.parametrize("made", PICTURES, ids=lambda made: made.name)
def test_no_viewer_drops_the_blanks_of_the_pictures(made: Picture) -> None:
    """A browser that collapsed them stretched what was left over the run's width: "D E M O"."""
    text = made.path.read_text(encoding="utf-8")
    assert 'xml:space="preserve"' in text and "text { white-space: pre; }" in text


@pytest.mark.parametrize("made", PICTURES, ids=lambda made: made.name)
def test_the_pictures_fetch_nothing(made: Picture) -> None:
    text = made.path.read_text(encoding="utf-8")
    assert "url(" not in text.replace("url(#", "")
    assert set(re.findall(r"https?://[^\"\s]+", text)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}
