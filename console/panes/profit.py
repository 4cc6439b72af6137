"""Profits over time in, by name; one line a name over a money axis and a time axis out."""

import math
from collections.abc import Mapping, Sequence

from console import format as show
from console.desk import Desk
from console.panes.candles import DASH, DOT, LINE, Canvas, Scale, nice
from console.panes.lines import LinePane, Row, Run, fitted

Curve = Sequence[tuple[int, float]]  # engine time, profit

WAYS = ((DOT, "band"), (DASH, "slow"), (LINE, "fast"))  # of drawing a line; the last one is on top
AXIS = 10
DAYS_NS = 2 * 86_400 * 10**9  # longer curves are dated
LEAST = 4  # lines and cells, below which there is nothing to see


class ProfitPane(LinePane, can_focus=False):
    """Three curves at most; `draw` shows others."""

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.curves: Mapping[str, Curve] = {}

    def draw(self, curves: Mapping[str, Curve]) -> None:
        self.curves = curves
        self.repaint()

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        return plot(self.curves, width, height)


def plot(curves: Mapping[str, Curve], width: int, height: int) -> list[Row]:
    """A legend, the lines on one scale, and when they begin and end; nothing where there is no room or no point."""
    points = [point for curve in curves.values() for point in curve]
    cells, lines = width - AXIS, height - 2
    if not points or cells < LEAST or lines < LEAST:
        return []
    first, last = min(at for at, _ in points), max(at for at, _ in points)
    scale = scale_of([value for _, value in points], lines)
    canvas = Canvas(cells, lines)
    zero = scale.at(0.0, 1)
    canvas.fill(zero, "┄", "faint")
    for (glyphs, look), curve in zip(WAYS[-len(curves) :], curves.values(), strict=False):
        for x, value in enumerate(columns(curve, first, last, cells)):
            if value is not None and not (glyphs is DASH and x % 2):
                line, part = divmod(scale.at(100 * value, 3), 3)
                canvas.put(x, line, glyphs[part], look)
    labels = {0: scale.high, lines - 1: scale.low, zero: 0.0}
    rows = [(*canvas.row(y), label(labels.get(y))) for y in range(lines)]
    said = show.clock if last - first < DAYS_NS else show.date
    start, end = said(first), said(last)
    return [legend(curves, width), *rows, ((start + end.rjust(max(cells - len(start), 0)), "muted"),)]


def scale_of(values: Sequence[float], lines: int) -> Scale:
    """In cents, with round ends, from 0 or below to 0 or above."""
    low, high = min(0.0, *values) * 100, max(0.0, *values) * 100
    step = nice(max(high - low, 4.0), max(lines, 2))
    return Scale(math.floor(low / step) * step, max(math.ceil(high / step), math.floor(low / step) + 1) * step, lines)


def columns(curve: Curve, first: int, last: int, cells: int) -> list[float | None]:
    """The newest value of each cell, the one before where it has none; None before the first."""
    found: list[float | None] = [None] * cells
    for at, value in curve:
        found[min((at - first) * cells // max(last - first, 1), cells - 1)] = value
    for x in range(1, cells):
        if found[x] is None:
            found[x] = found[x - 1]
    return found


def legend(curves: Mapping[str, Curve], width: int) -> Row:
    runs: list[Run] = []
    for (glyphs, look), (name, curve) in zip(WAYS[-len(curves) :], curves.items(), strict=False):
        mark = f"{glyphs[1]} {glyphs[1]}" if glyphs is DASH else glyphs[1] * 3
        runs.append((f"{mark} {name} {curve[-1][1]:+,.2f}" if curve else f"{mark} {name}", look))
    return fitted(runs, width, gap="   ")


def label(cents: float | None) -> Run:
    return (f"{cents / 100:+,.2f}".rjust(AXIS) if cents else "0".rjust(AXIS) if cents is not None else " " * AXIS, "muted")
