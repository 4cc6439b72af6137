"""A small program that holds panes, for tests of the panes alone."""

import random
from collections.abc import Sequence

from pictures import random_desk, random_frames
from textual.app import App, ComposeResult
from textual.containers import Grid

from console import theme
from console.panes.lines import LinePane

THEMES = {one.name: one for one in theme.load_all()[0]}


class Host(App[None]):
    """One pane fills it; four stand two by two."""

    CSS = """
    Grid { grid-size: 1 1; }
    Grid.many { grid-size: 2 2; grid-columns: 2fr 3fr; grid-rows: 3fr 2fr; }
    .many LinePane { border: round $panel; border-title-color: $muted; }
    """

    def __init__(self, panes: Sequence[LinePane], worn: str = "dark") -> None:
        super().__init__()
        self.panes, self.worn = panes, worn

    def get_theme_variable_defaults(self) -> dict[str, str]:
        return theme.market_defaults(THEMES["dark"])

    def compose(self) -> ComposeResult:
        with Grid(classes="many" if len(self.panes) > 1 else ""):
            yield from self.panes

    def on_mount(self) -> None:
        for one in THEMES.values():
            self.register_theme(one)
        self.theme = self.worn
        for pane in self.panes:
            pane.border_title = pane.title


def frame(*panes: LinePane) -> int:
    """What the frame timer does; how many panes painted."""
    return sum(pane.paint_if_changed() for pane in panes)


def lines(pane: LinePane) -> list[str]:
    """The pane as text."""
    return [pane.render_line(y).text for y in range(pane.size.height)]


def page(pane: LinePane) -> str:
    return "\n".join(line.rstrip() for line in lines(pane))


async def any_picture_fits(kind: type[LinePane], seed: int) -> None:
    """Random pictures at random sizes: nothing raises and every line is exactly as wide as the pane."""
    dice = random.Random(seed)
    desk = random_desk(seed)
    pane = kind(desk)
    app = Host([pane])
    async with app.run_test(size=(dice.choice((1, 20, 80)), dice.choice((1, 5, 24)))) as pilot:
        for picture in random_frames(seed, 6):
            desk.apply(picture)
            pane.paint_if_changed()  # raises what is wrong: only keys and resizes show it in the pane
            assert all(pane.render_line(y).cell_length == pane.size.width for y in range(pane.size.height))
            await pilot.resize_terminal(dice.choice((1, 2, 9, 33, 80, 200)), dice.choice((1, 2, 7, 24, 60)))
            await pilot.pause()
            assert "could not be drawn" not in page(pane)


def rows_never_fail(pane: LinePane, width: int, height: int) -> None:
    """Only the composing, without a program around it: fast, for many examples."""
    for row in pane.rows(pane.desk, width, height):
        assert all(isinstance(text, str) and "\n" not in text for text, _ in row)
