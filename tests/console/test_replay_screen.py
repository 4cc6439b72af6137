"""A recorded session on the trading screen: it plays, steps, jumps, and nothing of it can steer anything."""

import asyncio
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from textual.pilot import Pilot
from textual.widgets import Input

from console.alerts import Kind, Rule
from console.app import Console, Parting
from console.link import memory_link
from console.replay import consoles
from console.screens.replay import ReplayScreen, moment
from console.screens.whatif import WhatIfScreen
from engine.events import Filled, decode_output
from engine.queue.session import Session
from engine.replay.playback import Playback
from engine.replay.player import Player
from engine.views import NOT_HERE, LadderView, PositionsView, StatusView

SECOND = 10**9
NOON = 1_795_003_200 * SECOND  # 2026-11-18 12:00:00 UTC


@asynccontextmanager
async def screen(path: Path) -> AsyncIterator[tuple[Console, Playback, Pilot[Parting]]]:
    with Session(path) as session:
        playback = Playback(Player(session))
        app = Console(memory_link(lambda: consoles(playback)), playback=playback)
        playing = asyncio.create_task(playback.run())
        try:
            async with app.run_test(size=(160, 50)) as pilot:
                await until(pilot, lambda: app.desk.get(StatusView, "") is not None)
                yield app, playback, pilot
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)


async def until(pilot: Pilot[Parting], holds: Callable[[], bool]) -> None:
    for _ in range(2_000):
        if holds():
            return
        await pilot.pause(0.01)
    raise TimeoutError("the replay did not come to show it")


def drawn(app: Console) -> str:
    return "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())


def fills(path: Path) -> list[int]:
    """Positions just after inputs that filled something."""
    with Session(path) as session:
        steps = [step for chunk in session.chunks() for step in chunk.steps()]
    return [place for place, (_, out) in enumerate(steps, 1) if any(isinstance(decode_output(one), Filled) for one in out)]


async def test_a_session_plays_to_its_end_as_fast_as_it_goes(small: Path) -> None:
    async with screen(small) as (app, playback, pilot):
        assert isinstance(app.trading, ReplayScreen)
        for _ in range(12):
            await pilot.press(">")
        await pilot.press("space")
        await until(pilot, lambda: playback.player.ended)
        status = lambda: app.desk.get(StatusView, "")  # noqa: E731
        await until(pilot, lambda: (found := status()) is not None and found.at >= playback.player.at)
        with Session(small) as session:
            closing = session.closing
        assert closing is not None and playback.player.core.digest() == closing.state
        await until(pilot, lambda: "at its end" in drawn(app) and "REPLAY of demo" in drawn(app))


async def test_keys_go_to_fills_forwards_and_back_and_step_by_step(small: Path) -> None:
    known = fills(small)
    async with screen(small) as (app, playback, pilot):
        for place in known[:2]:
            await pilot.press("F")
            await until(pilot, lambda place=place: playback.player.position == place and not playback.busy)
        await pilot.press("B")
        await until(pilot, lambda: playback.player.position == known[0])
        await pilot.press(".")
        await until(pilot, lambda: playback.player.position == known[0] + 1)
        await pilot.press(",")
        await until(pilot, lambda: playback.player.position == known[0] and not playback.busy)
        await until(pilot, lambda: f"input {known[0]:,} of" in drawn(app))
        assert app.desk.get(LadderView) is not None


async def test_a_time_is_gone_to_and_what_is_no_time_is_told(small: Path) -> None:
    async with screen(small) as (app, playback, pilot):
        await pilot.press("g", *"50%", "enter")
        middle = (playback.player.started_ns + playback.player.ends_ns) // 2
        await until(pilot, lambda: playback.player.position == playback.player.place_of(middle))
        await pilot.press("g", *"noon", "enter")
        await until(pilot, lambda: "noon is not a time" in drawn(app))


@pytest.mark.parametrize("key", ["a", "d", "v", "c", "r", "o", "colon", "f12"])
async def test_nothing_is_sent_and_that_is_said(small: Path, key: str) -> None:
    async with screen(small) as (app, _, pilot):
        await pilot.press(key)
        await until(pilot, lambda: any(note.message == NOT_HERE for note in app._notifications))
        assert not app._asked


async def test_alerts_are_not_watched_over_a_recorded_session_and_that_is_said(small: Path) -> None:
    async with screen(small) as (app, playback, pilot):
        app.alerts.add(Rule(Kind.CONNECTION))
        app.alerts.add(Rule(Kind.PNL, value=Decimal(-(10**9))))
        playback.play(True)
        await pilot.press("exclamation_mark")
        await until(pilot, lambda: any("alerts are watched over a running engine" in note.message for note in app._notifications))
        await until(pilot, lambda: app.desk.get(PositionsView, "") is not None and app.desk.connected)
        app._frame()
        assert app.screen is app.trading and app.alerts.known == {}


async def test_a_paused_replay_is_not_called_silent(small: Path) -> None:
    async with screen(small) as (app, _, pilot):
        app._heard_at -= 60
        await pilot.pause(0.3)
        assert "SILENT" not in drawn(app) and "paused" in drawn(app)


async def test_a_what_if_is_reckoned_beside_the_screen_and_compared_on_it(small: Path) -> None:
    async with screen(small) as (app, playback, pilot):
        await pilot.press("W", *"risk.max_order_notional=100 strategy.stop_atr=2", "enter")
        await until(pilot, lambda: isinstance(app.screen, WhatIfScreen))
        shown = app.screen
        assert isinstance(shown, WhatIfScreen)
        await until(pilot, lambda: shown.found is not None)
        assert shown.found is not None and shown.found.changes["strategy.stop_atr"] == "2"
        for words in ("original, filled anew", "drawdown", "··· recorded", "─── changed", "First divergence at input"):
            await until(pilot, lambda words=words: words in drawn(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading)
        await pilot.press(".")
        await until(pilot, lambda: playback.player.position == 1)


async def test_a_what_if_holds_nothing_up_and_when_it_is_left_takes_its_process_along(
    small: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[asyncio.subprocess.Process] = []
    make = asyncio.create_subprocess_exec

    async def made(*words: str, **options: Any) -> asyncio.subprocess.Process:
        started.append(await make(sys.executable, "-c", "import time; time.sleep(60)", **options))
        return started[0]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", made)
    async with screen(small) as (app, playback, pilot):
        await pilot.press("W", *"risk.max_leverage=1", "enter")
        await until(pilot, lambda: bool(started))
        playback.play(True)
        await until(pilot, lambda: playback.player.position > 100)
        assert isinstance(app.screen, WhatIfScreen) and started[0].returncode is None
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading and started[0].returncode is not None)


@pytest.mark.parametrize(
    ("typed", "words"),
    [
        ("risk.max_leverag=1", "risk.max_leverage, the nearest"),
        ("engine.mode=live", "cannot be had otherwise"),
        ("x", "not a setting"),
    ],
)
async def test_a_what_if_that_cannot_be_is_told_and_nothing_is_started(small: Path, typed: str, words: str) -> None:
    async with screen(small) as (app, _, pilot):
        await pilot.press("W", *typed, "enter")
        await until(pilot, lambda: any(words in note.message for note in app._notifications))
        assert app.screen is app.trading
        await pilot.press("W")
        assert app.screen.query_one("#phrase", Input).value == typed, "it is there to be mended"


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("12:00:30", NOON + 30 * SECOND),
        ("0:05", NOON + 12 * 3600 * SECOND + 5 * SECOND),  # of the next day
        ("+90", NOON + 190 * SECOND),
        ("-1:30", NOON + 10 * SECOND),
        ("+0.5", NOON + 100 * SECOND + SECOND // 2),
        ("50%", NOON + 300 * SECOND),
        ("150%", NOON + 600 * SECOND),
        ("30", None),
        ("soon", None),
        ("%", None),
    ],
)
def test_times_are_read(typed: str, expected: int | None) -> None:
    assert moment(typed, NOON + 100 * SECOND, NOON, NOON + 600 * SECOND) == expected
