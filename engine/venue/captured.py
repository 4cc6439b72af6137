"""Takes a recording and time; gives every line to its symbol's market when it is due, pass after pass if it loops.

One `Player` feeds the markets of all symbols in the file, in the order in which the frames were received.
"""

from collections.abc import Iterator

from engine.venue.capture import NS_PER_MS, CaptureInfo, Line, lines, scan
from engine.venue.recorded import TIMER_MS, CapturedMarket

PATIENCE_MS = 2_000  # after the first subscription, playback starts whatever else is wanted
SEAM_MS = 1  # between the last frame of a pass and the first of the next


def open_capture(path: str, loop: bool = False, info: CaptureInfo | None = None) -> dict[str, CapturedMarket]:
    """The markets of a recording by symbol, waiting for their listeners. Raises CaptureError for a file that cannot be played."""
    return Player(info or scan(path), loop).markets


class Player:
    """Reads the file once a pass and hands each frame to its symbol's market when it is due."""

    def __init__(self, info: CaptureInfo, loop: bool) -> None:
        self.info, self.loop = info, loop
        self.markets = {name: CapturedMarket(self, one) for name, one in info.symbols.items()}
        self.ended = False
        self.passes = 0
        self._lines: Iterator[Line] = iter(())
        self._next: Line | None = None
        self._origin_ms = 0  # engine time of this pass's first frame
        self._started = self._busy = False
        self._patience_ms: int | None = None

    def wanted(self, now_ms: int) -> None:
        """Somebody subscribed: start when every recorded kind of every symbol has a listener."""
        if self._started:
            return
        if self._patience_ms is None:
            self._patience_ms = now_ms + PATIENCE_MS
        if all(market.heard for market in self.markets.values()):
            self._start(now_ms)

    def advance(self, now_ms: int) -> None:
        if self._busy:
            return
        if not self._started and self._patience_ms is not None and now_ms >= self._patience_ms:
            self._start(self._patience_ms)
        if not self._started or self.ended:
            return
        self._busy = True
        try:
            self._play(now_ms)
        finally:
            self._busy = False

    def _play(self, now_ms: int) -> None:
        first_ns, markets = self.info.first_ns, self.markets
        while (line := self._next) is not None:
            due_ms = self._origin_ms + (line.recv_ns - first_ns) // NS_PER_MS
            if due_ms > now_ms:
                break
            for market in markets.values():
                if due_ms >= market.timer_ms:
                    market.on_timer(due_ms)
            symbol = line.frame.s if line.frame is not None else self.info.snapshots.get(line.number, "")
            if symbol in markets:
                markets[symbol].play(line, due_ms, self._origin_ms - first_ns // NS_PER_MS - self.info.skew_ms)
            self._next = next(self._lines, None)
            if self._next is None:
                if not self.loop:
                    self.ended = True
                    return
                self._begin(due_ms + SEAM_MS)
                for market in markets.values():
                    market.seam(self._origin_ms)
        for market in markets.values():
            if now_ms >= market.timer_ms:
                market.on_timer(now_ms)

    def _start(self, now_ms: int) -> None:
        self._started = True
        for market in self.markets.values():
            market.timer_ms = now_ms - now_ms % TIMER_MS + TIMER_MS
        self._begin(now_ms)

    def _begin(self, origin_ms: int) -> None:
        self._origin_ms = origin_ms
        self.passes += 1
        self._lines = lines(self.info.path)
        self._next = next(self._lines)
