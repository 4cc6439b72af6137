"""How long each stage of the pipeline takes, in ns: durations in, their p50 and p99 of the last minute and of the session out.

The core reads no clock, so it is handed `Stages.lap` and calls it where a stage ends.
"""

import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

from engine.views import LatencyView, StageRow

SLICES, SLICE_S = 6, 10.0  # of the last minute
UNCOUNTED = 10_000  # durations of a stage that nobody looked at
NAMES = ("feed", "book", "features", "decision", "risk", "send", "ack")


class Stage:
    """Counts by duration, in buckets of a sixteenth of their octave: off by 3 % at most, and at most some hundred of them. They
    are counted when somebody looks: an order may be waiting when they are told.
    """

    def __init__(self) -> None:
        self.session: dict[int, int] = {}
        self.slices: deque[dict[int, int]] = deque([{}], maxlen=SLICES)
        self._told: list[int] = []

    def add(self, ns: int) -> None:
        self._told.append(ns)
        if len(self._told) >= UNCOUNTED:
            self.count()

    def count(self) -> None:
        newest, session = self.slices[-1], self.session
        for ns in self._told:
            key = bucket(ns) if ns > 0 else 0
            newest[key] = newest.get(key, 0) + 1
            session[key] = session.get(key, 0) + 1
        self._told = []

    def row(self, name: str) -> StageRow:
        self.count()
        return StageRow(name, *percentiles(self.slices), *percentiles([self.session]))


class Stages:
    """One stopwatch, and what it measured by stage."""

    def __init__(self, seconds: Callable[[], float] = time.monotonic) -> None:
        self.by_name = {name: Stage() for name in NAMES}
        self._at = 0
        self._seconds, self._turned = seconds, seconds()

    def begin(self, ns: int) -> None:
        """The core is given an event."""
        self._at = ns

    def lap(self, stage: str) -> None:
        """A stage ends here, "": something that is none of them."""
        now = time.monotonic_ns()
        if stage:
            self.by_name[stage].add(now - self._at)
        self._at = now

    def add(self, stage: str, ns: int) -> None:
        self.by_name[stage].add(ns)

    def view(self) -> LatencyView:
        """To be asked for about once a second."""
        now = self._seconds()
        while now - self._turned >= SLICE_S:
            self._turned += SLICE_S
            for stage in self.by_name.values():
                stage.count()
                stage.slices.append({})
        return LatencyView("", tuple(stage.row(name) for name, stage in self.by_name.items()))


def bucket(ns: int) -> int:
    shift = ns.bit_length() - 5
    return (shift << 4) + (ns >> shift) if shift > 0 else ns


def middle(key: int) -> float:
    """Of a bucket, ns."""
    shift = (key >> 4) - 1
    return float(key) if shift <= 0 else (key - (shift << 4) + 0.5) * (1 << shift)


def percentiles(counts: Iterable[dict[int, int]]) -> tuple[int, float, float]:
    """How many there were, and their p50 and p99 in microseconds."""
    total: Counter[int] = Counter()
    for one in counts:
        total.update(one)
    n = total.total()
    found, seen = [0.0, 0.0], 0
    for key in sorted(total):
        before, seen = seen, seen + total[key]
        for place, share in enumerate((0.5, 0.99)):
            if before < share * n <= seen:
                found[place] = middle(key) / 1000
    return n, found[0], found[1]
