"""Book levels in, buckets of so many ticks out; and which bucket stands on which line of the ladder."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Level:
    """One row's worth of a side: its size, and the sum from the best level to here; steps."""

    size: int
    total: int


def grouped(levels: tuple[tuple[int, int], ...], ticks: int, up: bool) -> dict[int, Level]:
    """Levels, best first, in buckets of so many ticks: asks round up and bids down, so none looks better than it is."""
    found: dict[int, Level] = {}
    total = 0
    for price, size in levels:
        bucket = -(-price // ticks) if up else price // ticks
        total += size
        before = found.get(bucket)
        found[bucket] = Level(size + (before.size if before else 0), total)
    return found


class Axis:
    """Which price stands on which line: still while the market moves inside the dead band, centred again beyond it.

    Slots count upwards with the price. A spread too wide to show is folded into one slot, the one above the best bid.
    """

    def __init__(self) -> None:
        self.follows = True
        self.top = 0
        self._placed = False
        self._bid = self._folded = 0

    def place(self, bid: int, ask: int, lines: int) -> None:
        """Take in the best buckets (equal where one side is empty), and move if the market left the dead band."""
        between = ask - bid - 1
        self._bid = bid
        self._folded = between - 1 if between > max(2, lines // 3) else 0
        middle = bid + (ask - self._folded - bid + 1) // 2
        line = self.top - middle
        if not self._placed or (self.follows and abs(line - lines // 2) > lines // 4):
            self.top = middle + lines // 2
            self._placed = True

    def recentre(self) -> None:
        self.follows, self._placed = True, False

    def scroll(self, lines: int) -> None:
        self.follows = False
        self.top += lines

    def bucket(self, line: int) -> int | None:
        """The price bucket of a line, None at the fold."""
        slot = self.top - line
        if not self._folded or slot <= self._bid:
            return slot
        return None if slot == self._bid + 1 else slot + self._folded

    @property
    def folded(self) -> int:
        """Buckets inside the fold, 0 without one."""
        return self._folded + 1 if self._folded else 0
