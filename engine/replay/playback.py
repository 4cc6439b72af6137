"""A recorded session in; the pictures and news of an engine that plays it at any speed out, to the same consoles."""

import asyncio
import math
import time
from collections.abc import Callable, Iterator

import msgspec

from engine.core.pictures import pictures
from engine.errors import BarterError
from engine.events import Alert, Event, Level
from engine.queue import Kind
from engine.replay.player import Player
from engine.views import NOT_HERE, Answer, AnyPicture, Ask, StatusView, TicketView, Watch

SPEEDS = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 64.0, 256.0, math.inf)  # inf: as fast as it goes
BEAT_S = 0.02
INPUTS_A_BEAT = 1_500  # some 12 ms: keys and frames are served between two beats


class Playback:
    """Plays while `run` runs. What a key asks for is noted at once and done there; `busy` says what is on its way.

    `problem`: why the session cannot be read on; it stays where it was.
    """

    def __init__(self, player: Player, *, speed: float = 1.0) -> None:
        self.player = player
        self.playing = False
        self.speed = speed
        self.busy = self.problem = ""
        self._seek: Iterator[int] | None = None
        self._listeners: list[Callable[[Event], None]] = []
        self._alerts = 0
        self._from: tuple[float, int] | None = None  # monotonic seconds and engine time that playing is reckoned from

    # --- for consoles: see `engine.server.Source` ------------------------------------------------------------------------

    def pictures(self, watch: Watch) -> list[AnyPicture]:
        core, asked = self.player.core, msgspec.structs.replace(watch, ticket=None)
        found = pictures(core.state, self.player.settings, asked, tapes=core.tapes, curve=core.curve)
        said = [TicketView(watch.market, watch.ticket, watch.amends, NOT_HERE)] if watch.ticket is not None else []
        return [self._status(watch), *found, *said]

    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def ask(self, ask: Ask) -> Answer:
        return Answer(ask.id, False, NOT_HERE)

    # --- steering --------------------------------------------------------------------------------------------------------

    def play(self, on: bool) -> None:
        self.playing, self._from = on, None

    def set_speed(self, speed: float) -> None:
        self.speed, self._from = speed, None

    def faster(self, steps: int) -> None:
        """So many places along `SPEEDS`."""
        near = min(range(len(SPEEDS)), key=lambda place: abs(math.log(min(SPEEDS[place], 1e9) / min(self.speed, 1e9))))
        self.set_speed(SPEEDS[min(max(near + steps, 0), len(SPEEDS) - 1)])

    def step(self, inputs: int) -> None:
        """Forwards or back; playing ends."""
        self.play(False)
        self._go(self.player.position + inputs, f"to input {self.player.position + inputs:,}")

    def to_moment(self, at: int) -> None:
        at = min(max(at, self.player.started_ns), self.player.ends_ns)
        self._guarded(lambda: self._go(self.player.place_of(at), "there"))

    def to_next(self, kinds: Kind, name: str, *, back: bool = False, errors: bool = False) -> bool:
        """To just after the next one (or the one before); False where there is none. Playing ends."""

        def wanted(event: Event) -> bool:
            return not errors or not isinstance(event, Alert) or event.level is Level.ERROR

        found: list[int | None] = [None]
        self._guarded(lambda: found.__setitem__(0, self.player.find(kinds, back=back, wanted=wanted)))
        if found[0] is None:
            return False
        self.play(False)
        self._go(found[0], f"to the {'last' if back else 'next'} {name}")
        return True

    def _go(self, position: int, what: str) -> None:
        self._seek = self.player.seek(position)
        self._from = None
        self.busy = f"going {what}"

    # --- the life of it --------------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """For ever; a session that cannot be read on stops with `problem`."""
        while True:
            self._guarded(self._beat)
            await asyncio.sleep(BEAT_S if self._seek is None else 0)

    def _beat(self) -> None:
        if self._seek is not None:
            if next(self._seek, None) is None:
                self._seek, self.busy = None, ""
        elif self.playing:
            self._play_on()

    def _play_on(self) -> None:
        player, now = self.player, time.monotonic()
        if self._from is None:
            self._from = now, player.at
        began, start = self._from
        moment = player.ends_ns if math.isinf(self.speed) else start + int((now - began) * self.speed * 1e9)
        if not player.run_until(moment, INPUTS_A_BEAT, self._tell):
            self._from = None  # it cannot keep up: as fast as it goes, from here
        if player.ended:
            self.play(False)

    def _tell(self, output: Event) -> None:
        self._alerts += isinstance(output, Alert)
        for listener in self._listeners:
            listener(output)

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BarterError as problem:
            self.playing, self._seek, self.busy, self.problem = False, None, "", str(problem)

    def _status(self, watch: Watch) -> StatusView:
        player, state = self.player, self.player.core.state
        held = state.markets.get(watch.market) or state.traded
        age_ms = max((player.at - held.book.updated_at) // 1_000_000, 0) if held is not None and held.book.updated_at else -1
        return StatusView(
            "",
            player.at,
            player.settings.engine.mode,
            player.session.opening.session,
            self.speed if math.isfinite(self.speed) else 0.0,
            state.trading,
            state.trading_reason,
            state.flattening,
            (),
            state.refusal,
            tuple(state.routes.items()),
            age_ms,
            0.0,
            0.0,
            0.0,
            state.counters.events,
            0,
            self._alerts,
            markets=tuple(state.markets),
            lag_ms=held.mean_lag_us // 1000 if held is not None and held.mean_lag_us else None,
            replay=True,
        )
