"""The machine's clocks and the venues' answers in; what the core must know of time out: offsets, and jumps.

Engine time is monotonic, so it knows neither that the machine slept nor that its clock was set; and a process that stood
still finds old prices in its buffers. Each is a jump: told before anything that was read after it.
"""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Protocol

import msgspec

from engine.clock import NS_PER_MS, NS_PER_S, Clock, Readings
from engine.events import ClockJumped, ClockOffset, Emit
from engine.runtime.supervise import persist

BEAT_S = 0.25
LIMIT_NS = 2 * NS_PER_S
ASK_EVERY_S = 600.0
DRIFT_PPM = 50  # how fast a machine's clock may part from the venue's: 30 ms in ten minutes


class Asks(Protocol):
    """A venue's REST interface, as far as its clock is concerned."""

    def clock_offset(self, tries: int = 5) -> Awaitable[ClockOffset]: ...


class Jump(msgspec.Struct, frozen=True):
    """By how much time jumped, how far engine time lies behind since, and what happened."""

    jump_ns: int
    behind_ns: int
    cause: str


class Jumps:
    """Compares the clocks from one look to the next; only the differences count, so slow corrections are none of its."""

    def __init__(self, read: Callable[[], Readings] = Readings.now) -> None:
        self._read = read
        self._last = read()

    def due(self, mono_ns: int) -> bool:
        """Whether the last look is so long ago that something stood still."""
        return mono_ns - self._last.mono_ns > LIMIT_NS

    def look(self) -> Jump | None:
        before, now = self._last, self._read()
        self._last = now
        passed_ns = now.mono_ns - before.mono_ns
        slept_ns = now.boot_ns - before.boot_ns - passed_ns
        set_ns = now.wall_ns - before.wall_ns - passed_ns - slept_ns
        behind_ns = max(slept_ns, 0) + max(set_ns, 0)
        if slept_ns > LIMIT_NS:
            return Jump(slept_ns, behind_ns, "the machine slept")
        if abs(set_ns) > LIMIT_NS:
            return Jump(set_ns, behind_ns, f"the machine's clock was set {'forward' if set_ns > 0 else 'back'}")
        if passed_ns > LIMIT_NS:
            return Jump(passed_ns, 0, "the engine stood still")
        return None


def replaces(new: ClockOffset, held: ClockOffset | None) -> bool:
    """Whether a new estimate is worth more than the held one, whose uncertainty has grown with its age; or refutes it."""
    if held is None:
        return True
    uncertainty_ms = held.uncertainty_ms + (new.at - held.at) / NS_PER_MS * DRIFT_PPM / 1e6
    refuted = abs(new.offset_ms - held.offset_ms) > new.uncertainty_ms + uncertainty_ms
    return refuted or new.uncertainty_ms <= uncertainty_ms


class Clocks:
    """Watches time for the core. `shared`: the venue runs on our clock (it is simulated), so engine time is never stepped."""

    def __init__(self, clock: Clock, emit: Emit, shared: bool, read: Callable[[], Readings] = Readings.now) -> None:
        self.clock, self.shared = clock, shared
        self._emit = emit
        self._read = read
        self._watched: Jumps | None = None
        self._offsets: dict[str, ClockOffset] = {}
        self._jumped: dict[object, asyncio.Event] = {}

    def ahead_ms(self, venue: str) -> int:
        """The venue's clock minus ours, 0 while that is not known."""
        held = self._offsets.get(venue)
        return held.offset_ms if held is not None else 0

    async def watch(self) -> None:
        """Look several times a second, for ever."""
        self._watched = Jumps(self._read)
        while True:
            await asyncio.sleep(BEAT_S)
            self.look()

    def passed(self, mono_ns: int) -> None:
        """Something is about to enter the core that was read at `mono_ns`: what it must know first goes first."""
        if self._watched is not None and self._watched.due(mono_ns):
            self.look()

    def look(self) -> None:
        jump = self._watched.look() if self._watched is not None else None
        if jump is None:
            return
        self._offsets.clear()
        if not self.shared:
            self.clock.step(jump.behind_ns)
        for jumped in self._jumped.values():
            jumped.set()
        self._emit(ClockJumped(self.clock.now_ns(), jump.jump_ns // NS_PER_MS, jump.cause), time.monotonic_ns())

    async def follow(self, venue: Asks) -> None:
        """Ask the venue for its time every ten minutes, and at once after a jump."""
        jumped = self._jumped.setdefault(venue, asyncio.Event())
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ASK_EVERY_S):
                    await jumped.wait()
            await persist(partial(self.ask, venue))
            jumped.clear()

    async def ask(self, venue: Asks) -> None:
        """Estimate the venue's offset; the core is told where that is news. Raises BarterError."""
        found = await venue.clock_offset()
        if replaces(found, self._offsets.get(found.venue)):
            self._offsets[found.venue] = found
            self._emit(found, time.monotonic_ns())
