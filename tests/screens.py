"""A fixture desk in, the whole program that shows it out: for snapshots of the screen and the README's pictures.

Nothing here depends on the machine: the clock stands still, times are UTC, nothing blinks, the link is a fake one.
"""

import random
from collections.abc import Callable

import msgspec
from textual.pilot import Pilot

from console.app import Console, Parting
from console.desk import Desk
from console.link import GONE
from engine.views import Frame, Goodbye, IndicatorsView, StatusView
from tests import pictures
from tests.console.conftest import FakeLink, Time, frames_of, program

EVENTS_A_SECOND = 5_012
CURVE = 40  # bars that the indicators' small curves have seen


class Film:
    """The program on a fake link; `run` plays what came before the desk, then the desk, then presses the keys."""

    def __init__(self, state: Callable[[], Desk], worn: str = "dark", *press: str, **options: object) -> None:
        self.desk, self.press = state(), press
        self.link = FakeLink()
        self.time = Time()
        self.app = program(self.link, self.time, wear=worn, restart=lambda: None, **options)

    async def run(self, pilot: Pilot[Parting]) -> None:
        await _until(pilot, lambda: bool(self.app.desk.markets) and self.app.trading.is_attached)
        for frame in before(self.desk):
            await self._show(pilot, frame)
        await self._show(pilot, frames_of(self.desk))
        if self.desk.lost_reason:
            self.link.give(Goodbye(GONE))
            await _until(pilot, lambda: bool(self.app.desk.lost_reason) and self.app.screen is not self.app.trading)
            self.time.at += 2.4
        for key in self.press:
            await pilot.press(key)
            await _until(pilot, lambda: self.app.screen.is_current)
        await _until(pilot, lambda: not self.app._animator._animations)
        await pilot.pause()
        self.app.trading.ladder.recentre()  # where its dead band left it depends on how fast the layout came
        self.app._frame()
        await pilot.pause()

    async def _show(self, pilot: Pilot[Parting], frame: Frame) -> None:
        taken = self.app.desk.frames + 1
        self.link.give(frame)
        await _until(pilot, lambda: self.app.desk.frames == taken)
        self.app._frame()


def before(desk: Desk) -> list[Frame]:
    """What an engine would have shown earlier: the bars behind the curves, and the event count a second ago."""
    frames = []
    dice = random.Random(11)
    seen, status = desk.get(IndicatorsView), desk.get(StatusView, "")
    if seen is not None and seen.features is not None:
        atr, volatility, spread, pace = seen.features.atr_14, seen.features.volatility_bps, 0.81, seen.features.trade_intensity
        for bar in range(CURVE, 0, -1):
            atr, volatility = atr * dice.uniform(0.96, 1.04), volatility * dice.uniform(0.93, 1.07)
            then = msgspec.structs.replace(
                seen.features,
                atr_14=atr,
                volatility_bps=volatility,
                spread_bps=spread * dice.choice((1, 1, 1, 2)),
                trade_intensity=pace * dice.uniform(0.4, 1.5),
            )
            opened = seen.bar_open_ms - bar * seen.timeframe_ms
            frames.append(Frame(0, (msgspec.structs.replace(seen, bar_open_ms=opened, features=then),), ()))
    if status is not None and status.events > EVENTS_A_SECOND:
        earlier = msgspec.structs.replace(status, at=status.at - pictures.SECOND, events=status.events - EVENTS_A_SECOND)
        frames.append(Frame(0, (earlier,), ()))
    return frames


async def picture(
    state: Callable[[], Desk], size: tuple[int, int], worn: str = "dark", *press: str, title: str = Console.TITLE or ""
) -> str:
    """The screen as SVG."""
    film = Film(state, worn, *press)
    async with film.app.run_test(size=size) as pilot:
        await film.run(pilot)
        return film.app.export_screenshot(title=title, simplify=True)


async def _until(pilot: Pilot[Parting], holds: Callable[[], bool]) -> None:
    for _ in range(1_000):
        if holds():
            return
        await pilot.pause(0.005)
    raise TimeoutError("the program did not come to show what it was given")
