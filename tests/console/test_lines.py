"""Lines as panes draw them themselves: the same as Textual's own, and gone as soon as they are drawn no more."""

import gc

import pytest
from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from console.panes.lines import Line, LinePane
from tests import pictures
from tests.console.conftest import SIZES, FakeLink, frames_of, program
from tests.console.test_keys import settled, until


def looks(strips: list[Strip]) -> list[list[Segment]]:
    return [list(strip.simplify()) for strip in strips]


@pytest.mark.parametrize("worn", ["dark", "light", "colour-blind-safe"])
@pytest.mark.parametrize("size", ["small", "vast"])
async def test_panes_draw_as_textual_would(size: str, worn: str) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES[size]) as pilot:
        await settled(pilot, link)
        for change in (
            lambda: setattr(app, "theme", worn),
            lambda: app.trading.action_pane(2),
            lambda: setattr(app.trading.panes[1], "border_title", "another"),
            lambda: app.trading._point("chart"),
        ):
            change()
            await pilot.pause()
            seen = 0
            for pane in app.trading.query(LinePane):
                if pane.is_on_screen and pane.outer_size:
                    whole = pane.outer_size.region
                    part = Region(1, 0, max(whole.width - 3, 1), whole.height)
                    for crop in (whole, part):
                        assert looks(pane.draw_lines(crop)) == looks(Widget.render_lines(pane, crop)), pane.id
                    seen += 1
            assert seen >= 3


def lines_alive() -> int:
    return sum(isinstance(one, Line) for one in gc.get_objects())


async def test_what_is_drawn_no_more_is_gone_without_the_garbage_collector() -> None:
    """Its passes over all that had been drawn held frames up for 50 ms, every other second."""
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        await settled(pilot, link)
        gc.collect()
        gc.disable()
        try:
            before = lines_alive()  # of this program and of others that the tests keep
            built = app.trading.ladder.strips_built
            for seed in range(12):
                for frame in pictures.random_frames(seed, 2):
                    link.show(*frame.pictures)
                await until(pilot, lambda: link._queue.empty())
                app._frame()
                await pilot.pause()
            drawn = app.trading.ladder.strips_built - built
            kept = lines_alive() - before
        finally:
            gc.enable()
        on_the_screen = sum(pane.outer_size.height + 1 for pane in app.trading.query(LinePane))
        assert drawn > 100 and kept <= on_the_screen
