"""What the session has made, told every tick, in; at most `KEPT` points of it over time, for consoles, out. No part of the state:
nothing is decided on it, and a core that is restored from a snapshot begins anew.
"""

import math
from decimal import Decimal

from engine.portfolio import Portfolio
from engine.views import ProfitPoint, ProfitView

KEPT = 300  # one more, and every second one goes
STEP_NS = 1_000_000_000  # between two points at first, twice as long whenever half of them went


class Curve:
    """`view` is another object when there is another point."""

    def __init__(self) -> None:
        self.view = ProfitView("", ())
        self._points: list[ProfitPoint] = []
        self._step_ns = STEP_NS
        self._height = -math.inf
        self._fall = 0.0  # the deepest since the newest point

    @property
    def reaches(self) -> int:
        """Engine time of the newest point, 0 without one."""
        return self._points[-1].at if self._points else 0

    def add(self, at: int, portfolio: Portfolio, equity: Decimal, max_daily_loss: float) -> None:
        """At engine time `at` (ns), with the limit as a fraction of the day's opening equity."""
        if not portfolio.known:
            return
        one = portfolio
        profit = float(one.realised + equity - one.wallet - one.fees + one.funding)
        self._height = max(self._height, profit)
        self._fall = max(self._fall, self._height - profit)
        if self._points and at - self._points[-1].at < self._step_ns:
            return
        lowest = profit - float(equity) + float(one.day_equity) * (1 - max_daily_loss) if one.day_equity > 0 else math.nan
        self._points.append(ProfitPoint(at, profit, float(one.fees), float(one.funding), lowest, self._fall))
        self._fall = 0.0
        if len(self._points) > KEPT:
            self._points, self._step_ns = thinned(self._points), 2 * self._step_ns
        self.view = ProfitView("", tuple(self._points))

    def until(self, at: int) -> "Curve":
        """The same as it was at `at`, as far as points are left of it: for a session that is sought through."""
        before = Curve()
        before._points = [point for point in self._points if point.at <= at]
        before._step_ns = self._step_ns if before._points else STEP_NS
        before._height = max((point.profit for point in before._points), default=-math.inf)
        before.view = ProfitView("", tuple(before._points))
        return before


def thinned(points: list[ProfitPoint]) -> list[ProfitPoint]:
    """The first, and every second one after it with the deeper fall of the two: what is left out hides no fall."""
    later = (
        ProfitPoint(kept.at, kept.profit, kept.fees, kept.funding, kept.lowest, max(gone.fall, kept.fall))
        for gone, kept in zip(points[1::2], points[2::2], strict=True)
    )
    return [points[0], *later]
