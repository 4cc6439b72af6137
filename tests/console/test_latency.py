"""How long each stage takes: the strip of the widest layout, and the table."""

import asyncio
import io

import msgspec
import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panes_host import Host, any_picture_fits, frame, page
from rich.console import Console as Terminal
from textual.widgets import Static

from console.panes.latency import LatencyStrip, table
from console.screens.latency import LatencyScreen
from engine.views import Frame
from tests.console.conftest import SIZES, FakeLink, frames_of, program
from tests.console.test_keys import settled, until


def printed(width: int, wide: bool) -> str:
    terminal = Terminal(width=width, record=True, file=io.StringIO())
    terminal.print(table(pictures.latency(), wide))
    return terminal.export_text()


async def test_the_strip_tells_the_last_minute_and_in_muted_the_session_where_nothing_came() -> None:
    desk = pictures.busy()
    pane = LatencyStrip(desk)
    async with Host([pane]).run_test(size=(158, 1)) as pilot:
        await pilot.pause()
        frame(pane)
        text = page(pane)
        for part in ("feed 4.1ms/11.8ms", "book 18us/61us", "risk 5us/6us", "send 310us/640us", "ack 1.5ms/2.1ms"):
            assert part in text
        looks = {text: look for text, look in pane.rows(desk, 158, 1)[0]}
        assert (looks["18us/61us"], looks["310us/640us"]) == ("text", "muted")
        assert [text for text, _ in pane.rows(desk, 45, 1)[0]][-1] == "18us/61us", "what does not fit is left out whole"


@pytest.mark.parametrize("width", [70, 104])
def test_the_table_has_every_figure_whole_at_each_width(width: int) -> None:
    text = printed(width, width > 100)
    assert "…" not in text
    for part in ("feed", "4.1ms", "11.8ms", "18.3ms", "210.0k", "310us", "2.1ms"):
        assert part in text
    assert ("░" in text) is ("one update of a book" in text) is (width > 100)


async def test_f3_shows_the_table_which_goes_on_and_closes() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        await settled(pilot, link)
        assert app.trading.strip.display and app.trading.strip.region.height == 1
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, LatencyScreen))
        view = pictures.latency()
        rows = (msgspec.structs.replace(view.stages[0], recent_p99=77_000.0), *view.stages[1:])
        link.give(Frame(app.desk.next_news, (msgspec.structs.replace(view, stages=rows),), ()))
        stages = app.screen.query_one("#stages", Static)
        await until(pilot, lambda: "77.0ms" in drawn(stages))
        await pilot.press("f3")
        await until(pilot, lambda: app.screen is app.trading)
        assert link.asks() == []


async def test_a_small_screen_has_no_strip_and_a_session_that_is_played_no_figures() -> None:
    desk = pictures.empty()
    link = FakeLink(frames_of(desk))
    app = program(link)
    async with app.run_test(size=SIZES["small"]) as pilot:
        await settled(pilot, link)
        assert not app.trading.strip.display
        await pilot.press("f3")
        await until(pilot, lambda: isinstance(app.screen, LatencyScreen))
        assert "a recorded session nothing" in drawn(app.screen.query_one("#stages", Static))


def drawn(widget: Static) -> str:
    return "\n".join(widget.render_line(y).text for y in range(widget.size.height))


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_any_figures_fit_their_line(seed: int) -> None:
    asyncio.run(any_picture_fits(LatencyStrip, seed))
