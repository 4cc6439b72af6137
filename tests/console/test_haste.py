"""A program that ends while a dialog comes to be ends in order: nothing of a dialog is looked for that may be gone."""

import asyncio

import pytest
from textual.command import CommandList
from textual.worker import WorkerState

from console.palette import Palette
from tests import pictures
from tests.console.conftest import FakeLink, frames_of, program
from tests.console.test_keys import settled, until

OPENS = [("q",), ("question_mark",), ("w",), ("V",), ("c",), ("f2",), ("4", "enter"), ("6", "enter")]


@pytest.mark.parametrize("keys", OPENS, ids=" ".join)
async def test_the_end_in_the_middle_of_a_dialogs_beginning_does_no_harm(keys: tuple[str, ...]) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        *before, opening = keys
        await pilot.press(*before)
        app.simulate_key(opening)
        async with asyncio.timeout(30):
            while app.screen is app.trading:  # noqa: ASYNC110 - a pause would let the dialog come to be
                await asyncio.sleep(0)
    assert app._exception is None


async def test_a_palette_that_is_closed_while_it_searches_ends_nothing() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("ctrl+p")
        await until(pilot, lambda: isinstance(app.screen, Palette))
        palette = app.screen
        assert isinstance(palette, Palette)
        await palette.query_one(CommandList).remove()  # as it is on the way out
        worker = palette._gather_commands("arm")
        await until(pilot, lambda: worker.is_finished)
        assert worker.state is WorkerState.ERROR
        app.pop_screen()
        await until(pilot, lambda: app.screen is app.trading)
    assert app._exception is None
