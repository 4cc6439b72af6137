"""What the session has made in; its curve over time with the day's loss limit, fees and funding apart, and the drawdown, out."""

import math
from collections.abc import Sequence
from decimal import Decimal
from typing import ClassVar

from console import format as show
from console.desk import Desk
from console.panes.candles import DASH, DOT, LINE, Canvas
from console.panes.lines import RISING, LinePane, Row, Run, flowed, merged
from console.panes.profit import AXIS, DAYS_NS, LEAST, columns, label, scale_of
from engine.events import Trust
from engine.views import AccountView, LadderView, Picture, ProfitPoint, ProfitView, StatusView

LIMIT, LIMIT_BELOW = "┄", "▾"  # the day's loss limit: where it lies; that it lies below the scale
APART = 6  # cells between two marks of a limit that is not on the scale
TWO_LINES_FROM = 8  # lines: of figures
ROOMY = 8  # lines that a limit far from the curve may take a part of
LINES = ((DOT, "band", "funding"), (DASH, "slow", "fees"), (LINE, "fast", "pnl"))  # the last one is on top


class PnlPane(LinePane):
    title: ClassVar[str] = "PnL"
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = (
        *((ProfitView, ""), (AccountView, "")),
        (LadderView, None),
    )

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        points = known(desk)
        if not points:
            return [(("waiting for the account", "muted"),)]
        ladder = desk.get(LadderView)
        old = not desk.connected or (ladder is not None and ladder.trust is not Trust.TRUSTED)
        return drawn(points, width, height, old)


def known(desk: Desk) -> list[ProfitPoint]:
    """The curve's points, and the account as it is now for the last one."""
    view, account, status = desk.get(ProfitView, ""), desk.get(AccountView, ""), desk.get(StatusView, "")
    points = list(view.points) if view is not None else []
    if points and account is not None and status is not None and status.at > points[-1].at:
        profit = float(Decimal(account.realised) + Decimal(account.unrealised) - Decimal(account.fees) + Decimal(account.funding))
        opening = float(account.day_equity)
        lowest = profit - float(account.equity) + opening * (1 - account.max_daily_loss) if opening > 0 else math.nan
        fall = max(max(point.profit for point in points) - profit, 0.0)
        points.append(ProfitPoint(status.at, profit, float(account.fees), float(account.funding), lowest, fall))
    return points


def drawn(points: Sequence[ProfitPoint], width: int, height: int, old: bool = False) -> list[Row]:
    """Figures alone where there is no room for a curve."""
    cells, above = width - AXIS, 2 if height >= TWO_LINES_FROM else 1
    falls = 0 if height < above + LEAST + 2 else 1 if height < 12 else 2 if height < 20 else 3
    lines = height - above - 1 - falls
    if cells < LEAST or lines < LEAST:
        return flowed(figures(points, False, old), width, max(height, 1))
    first, last = points[0].at, points[-1].at
    curves = {
        "funding": [(point.at, point.funding) for point in points],
        "fees": [(point.at, -point.fees) for point in points],
        "pnl": [(point.at, point.profit) for point in points],
    }
    values = [value for curve in curves.values() for _, value in curve]
    lowest = [(point.at, point.lowest) for point in points if not math.isnan(point.lowest)]
    reach = max(max(values) - min(values), 1.0) * (1.0 if lines >= ROOMY else 0.25)
    near = bool(lowest) and lowest[-1][1] >= min(values) - reach
    scale = scale_of([*values, *(value for _, value in lowest[-1:] if near)], lines)
    canvas = Canvas(cells, lines)
    zero = scale.at(0.0, 1)
    canvas.fill(zero, "┄", "faint")
    labels = {0: label(scale.high), lines - 1: label(scale.low), zero: label(0.0)}
    if near:
        labels[scale.at(100 * lowest[-1][1], 1)] = (f"{lowest[-1][1]:+,.2f}".rjust(AXIS), "stop bold")
    limits = columns(lowest, first, last, cells)
    for x, value in enumerate(limits):
        if value is not None and scale.holds(100 * value):
            canvas.put(x, scale.at(100 * value, 1), LIMIT, "stop")
    for glyphs, look, name in LINES:
        for x, value in enumerate(columns(curves[name], first, last, cells)):
            if value is not None and not (glyphs is DASH and x % 2):
                line, part = divmod(scale.at(100 * value, 3), 3)
                canvas.put(x, line, glyphs[part], look)
    for x, value in enumerate(limits):
        if value is not None and 100 * value < scale.low and not x % APART:
            canvas.put(x, lines - 1, LIMIT_BELOW, "stop")
    said = show.clock if last - first < DAYS_NS else show.date
    start, end = said(first), said(last)
    return [
        *head(figures(points, near, old), width, above),
        *((*canvas.row(y), labels.get(y, label(None))) for y in range(lines)),
        *hanging(points, cells, falls),
        ((start + end.rjust(max(cells - len(start), 0)), "muted"),),
    ]


def head(runs: list[Run], width: int, lines: int) -> list[Row]:
    rows = flowed(runs, width, lines)
    return [*rows, *[()] * (lines - len(rows))]


def figures(points: Sequence[ProfitPoint], near: bool, old: bool) -> list[Run]:
    """What the lines are and where they stand, the most important first; `!` where the mark in it is old."""
    now, deepest = points[-1], max(point.fall for point in points)
    below = max(max(point.profit for point in points) - now.profit, 0.0)
    found: list[Run] = [
        (f"─ pnl !{now.profit:+,.2f}", "stale bold") if old else (f"─ pnl {now.profit:+,.2f}", "fast bold"),
        (f"█ drawdown {0.0 - below:,.2f}, at most {0.0 - deepest:,.2f}", "down"),
        (f"╌ fees {0.0 - now.fees:+,.2f}", "slow"),
        (f"· funding {now.funding:+,.2f}", "band"),
    ]
    if not math.isnan(now.lowest):
        used = now.profit <= now.lowest
        mark = LIMIT if near else LIMIT_BELOW
        found.insert(1, (f"{mark} day's limit {now.lowest:+,.2f}", "halt bold" if used else "stop"))
    return found


def hanging(points: Sequence[ProfitPoint], cells: int, lines: int) -> list[Row]:
    """The falls as bars from above, the deepest of each cell; their scale is the deepest of all."""
    first, last = points[0].at, points[-1].at
    deep: list[float | None] = [None] * cells
    for point in points:
        x = min((point.at - first) * cells // max(last - first, 1), cells - 1)
        deep[x] = max(deep[x] or 0.0, point.fall)
    for x in range(1, cells):
        deep[x] = deep[x - 1] if deep[x] is None else deep[x]
    deepest = max(point.fall for point in points)
    rows: list[Row] = []
    for y in range(lines):
        drawn: list[Run] = []
        for value in deep:
            eighths = math.ceil((value or 0.0) / deepest * lines * 8) - 8 * y if deepest else 0
            part = min(max(eighths, 0), 8)
            # Eighths exist from below only: what hangs from above is one of them with its colours swapped.
            drawn.append((RISING[8 - part], "down-bar reverse") if 0 < part < 8 else ("█" if part else " ", "down-bar"))
        name = f"{0.0 - deepest:,.2f}" if y == lines - 1 else ""
        rows.append((*merged(drawn), (name.rjust(AXIS), "down")))
    return rows
