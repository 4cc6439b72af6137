"""The trading screen over a recorded session: the same panes, a scrubber, and keys that move through time."""

import re
import time
from collections.abc import Callable
from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import BindingType

from console import keys
from console.desk import Desk
from console.dialogs import Typed
from console.panes.bars import KeyBar
from console.panes.scrubber import Scrubber, speed_text
from console.screens.trading import TradingScreen
from console.screens.whatif import WhatIfScreen
from console.whatif import changes_of
from engine.errors import BarterError
from engine.queue import Kind
from engine.replay.playback import Playback
from engine.replay.whatif import settings_for
from engine.views import NOT_HERE

NS = 1_000_000_000
DAY_S = 86_400
_CLOCK = re.compile(r"(?P<sign>[+-])?(?:(?:(?P<h>\d+):)?(?P<m>\d+):)?(?P<s>\d+(?:\.\d+)?)")
KINDS: dict[str, Kind] = {
    "judgment": Kind.JUDGMENT,
    "order": Kind.ORDER,
    "fill": Kind.FILL,
    "alert": Kind.ALERT,
    "fault": Kind.ALERT | Kind.TRADING,
}


def moment(typed: str, now: int, started: int, ends: int) -> int | None:
    """`12:03:04`, `+90`, `-1:30` and `50%` as engine time; None where it is none of these.

    A time of day is the first one after the session's start.
    """
    text = typed.strip()
    if text.endswith("%") and text[:-1].replace(".", "", 1).isdecimal():
        return started + int((ends - started) * min(float(text[:-1]), 100.0) / 100)
    found = _CLOCK.fullmatch(text)
    if found is None:
        return None
    seconds = int(found["h"] or 0) * 3600 + int(found["m"] or 0) * 60 + float(found["s"])
    if found["sign"]:
        return now + int(seconds * NS) * (-1 if found["sign"] == "-" else 1)
    if ":" not in text:
        return None  # a bare number could be anything
    day = started // (DAY_S * NS) * DAY_S * NS + int(seconds * NS)
    return day if day >= started // NS * NS else day + DAY_S * NS


class ReplayScreen(TradingScreen):
    """Its commands are those of a replay; a key that would steer an engine says that there is none."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="replay")]

    def __init__(self, desk: Desk, playback: Playback, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(desk, now)
        self.playback = playback
        self.scrubber = Scrubber(desk, playback, id="scrubber")
        self.key_bar = KeyBar(desk, id="keys", replay=True)
        self.lines = (*self.lines, self.scrubber)
        self._what_if = ""  # what was asked last, to be mended or gone on from

    def compose(self) -> ComposeResult:
        for widget in super().compose():
            if widget is self.key_bar:
                yield self.scrubber
            yield widget

    def action_play(self) -> None:
        playback = self.playback
        if not playback.playing and playback.player.ended:
            self.program.say("The session ends here: go back first.")
            return
        playback.play(not playback.playing)
        self.paint()

    def action_step(self, inputs: int) -> None:
        self.playback.step(inputs)

    def action_jump(self, seconds: int) -> None:
        self.playback.to_moment(self.playback.player.at + seconds * NS)

    def action_ends(self, end: int) -> None:
        player = self.playback.player
        self.playback.to_moment(player.ends_ns if end else player.started_ns)
        if end:
            self.playback.step(player.inputs - player.position)

    def action_speed(self, steps: int) -> None:
        self.playback.faster(steps)
        self.program.say(f"Speed: {speed_text(self.playback.speed)}.")

    def action_to_next(self, name: str) -> None:
        self._find(name, back=False)

    def action_to_last(self, name: str) -> None:
        self._find(name, back=True)

    def _find(self, name: str, *, back: bool) -> None:
        if not self.playback.to_next(KINDS[name], name, back=back, errors=name == "fault"):
            self.program.say(f"There is no {name} {'before' if back else 'after'} this.")

    def action_goto(self) -> None:
        player = self.playback.player

        def typed(answer: str | None) -> None:
            if not answer:
                return
            at = moment(answer, player.at, player.started_ns, player.ends_ns)
            if at is None:
                self.program.say(f"{answer} is not a time: write 12:03:04, +90, -1:30 or 50%.", "warning")
            else:
                self.playback.to_moment(at)

        text = "A time of day (UTC), seconds or minutes from here, or a part of the session."
        self.app.push_screen(Typed("Go to", text, "12:03:04, +90, -1:30 or 50%"), typed)

    def action_what_if(self) -> None:
        session = self.playback.player.session

        def typed(answer: str | None) -> None:
            if not answer:
                return
            self._what_if = answer
            try:
                changes = changes_of(answer.split())
                settings_for(session, changes)
            except BarterError as problem:
                self.program.say(str(problem), "warning")
                return
            self.app.push_screen(WhatIfScreen(self.desk, session.path, changes))

        text = "Other settings, separated by spaces. The session is filled anew with its own and with these, and compared."
        example = "risk.max_position_notional=500 strategy.stop_atr=2"
        self.app.push_screen(Typed("What if", text, example, most=200, value=self._what_if), typed)

    # --- what an engine would do -------------------------------------------------------------------------------------------

    def _nobody(self) -> None:
        self.program.say(NOT_HERE, "warning")

    async def action_arm(self) -> None:
        self._nobody()

    async def action_disarm(self) -> None:
        self._nobody()

    async def action_veto(self) -> None:
        self._nobody()

    async def action_cancel(self) -> None:
        self._nobody()

    async def action_drop(self) -> None:
        self._nobody()

    def action_collect(self) -> None:
        self._nobody()

    def action_release(self) -> None:
        self._nobody()

    def action_close(self) -> None:
        self._nobody()

    def action_order(self) -> None:
        self._nobody()

    def action_ticket(self) -> None:
        self._nobody()

    def action_alert(self) -> None:
        self.program.say("This is a recorded session: alerts are watched over a running engine.", "warning")

    def action_quit(self) -> None:
        self.program.part("leave")
