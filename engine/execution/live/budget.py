"""What a venue says of how much it was asked, with every reply, in; whether to ask now, out.

One that goes on asking after a 429 is banned (418, from two minutes to three days). Cancels and orders that only reduce always
go: they are few, and money hangs on them. Of reads the regular ones wait first: whether a kill is done, and whether a position
has its stop, is asked for until the venue turns us away.
"""

import contextlib
import math
from collections.abc import Mapping
from email.utils import parsedate_to_datetime

from engine.clock import NS_PER_S, Clock

TURNED_AWAY = (418, 429)
PAUSE_S, LONGEST_S = 5.0, 3 * 86_400.0  # without a word on how long; and at most
# Binance: what is counted by which header, how much of it there is, and over how many seconds (2026-11).
WEIGHT = ("X-MBX-USED-WEIGHT-1M", 2_400, 60)
ORDERS = (("X-MBX-ORDER-COUNT-10S", 300, 10), ("X-MBX-ORDER-COUNT-1M", 1_200, 60))
READS_SHARE, ENTRIES_SHARE = 0.8, 0.9  # of it that is used up: the rest is for what may not wait


class Budget:
    """Times are the engine's, as the venue's windows are."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._away_until = self._reads_until = self._entries_until = 0
        self.closings = 0  # times that the venue turned us away
        self.held = 0  # requests that were not made

    def seen(self, status: int, headers: Mapping[str, str]) -> None:
        """A reply came."""
        now = self._clock.now_ns()
        if status in TURNED_AWAY:
            self.closings += 1
            until = now + int(self._wait_s(headers.get("Retry-After", "")) * NS_PER_S)
            self._away_until = max(self._away_until, until)
            self._reads_until = max(self._reads_until, until)
            self._entries_until = max(self._entries_until, until)
        if _used(headers, WEIGHT[0]) >= WEIGHT[1] * READS_SHARE:
            self._reads_until = max(self._reads_until, _next(now, WEIGHT[2]))
        for name, most, seconds in ORDERS:
            if _used(headers, name) >= most * ENTRIES_SHARE:
                self._entries_until = max(self._entries_until, _next(now, seconds))

    def reading(self, *, may_wait: bool = True) -> str:
        """Why nothing should be read now, "" when it may. `may_wait`: nothing hangs on it."""
        return self._held(self._reads_until if may_wait else self._away_until)

    def reads_in_s(self) -> float:
        """How long until something may be read, 0 when it may now: for whom can wait."""
        return max(0.0, (self._reads_until - self._clock.now_ns()) / NS_PER_S)

    def rests_s(self) -> float:
        """How long until reads and entries are both free, 0 when they are now."""
        return max(0.0, (max(self._reads_until, self._entries_until) - self._clock.now_ns()) / NS_PER_S)

    def entering(self) -> str:
        """Why no entry should be sent now, "" when it may."""
        return self._held(self._entries_until)

    def _held(self, until: int) -> str:
        left = until - self._clock.now_ns()
        if left <= 0:
            return ""
        self.held += 1
        return f"the venue was asked too often, and is asked again in {left / NS_PER_S:.1f} s"

    def _wait_s(self, text: str) -> float:
        with contextlib.suppress(ValueError):
            seconds = float(text)
            return min(max(seconds, 0.0), LONGEST_S) if math.isfinite(seconds) else PAUSE_S
        try:
            return min(max(parsedate_to_datetime(text).timestamp() - self._clock.now_ns() / NS_PER_S, 0.0), LONGEST_S)
        except (TypeError, ValueError, OverflowError):
            return PAUSE_S


def _used(headers: Mapping[str, str], name: str) -> int:
    text = headers.get(name, "")
    return int(text) if text.isdecimal() and len(text) < 10 else 0


def _next(now: int, seconds: int) -> int:
    """The end of the venue's window: its minutes and tens of seconds are those of the clock."""
    return (now // (seconds * NS_PER_S) + 1) * seconds * NS_PER_S
