"""Live trades in; the newest of one market, for consoles, out. No part of the state: nothing is decided on it."""

from collections import deque

from engine.events import Trade
from engine.views import Print

KEPT = 200  # a console that reads later than this many trades shows how many it missed


class Tape:
    """`seen` counts since `since` (engine time of the first, ns; 0 before one): a core restored from a snapshot begins anew."""

    def __init__(self) -> None:
        self.prints: deque[Print] = deque(maxlen=KEPT)
        self.seen = self.since = 0
        self._newest_id = 0

    def add(self, event: Trade) -> None:
        if event.id <= self._newest_id:
            return  # a connection that follows another one tells some again
        self._newest_id = event.id
        self.seen += 1
        self.since = self.since or event.at
        self.prints.append((event.venue_ms, event.price, event.size, int(event.side)))
