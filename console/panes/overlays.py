"""A chart's picture in; the lines over its candles out: the usual averages and bands, and those of the indicators' list."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from console import format as show
from console.panes.candles import DASH, DOT, LINE, Canvas, Column, Scale
from console.panes.lines import Run
from engine.views import ChartView

USUAL = (  # in the order of their legend
    ("SMA20", LINE, "fast", ("sma_20",)),
    ("SMA50", DASH, "slow", ("sma_50",)),
    ("Bollinger", DOT, "band", ("bollinger_upper", "bollinger_lower")),
)
WAYS = (  # of those of the list, beside the usual ones' and beside each other's
    *((LINE, "slow"), (DASH, "fast"), (DOT, "text"), (LINE, "text"), (DASH, "text"), (DOT, "fast"), (LINE, "band")),
    *((DASH, "band"), (DOT, "slow")),
)
LISTED, USUALLY, BOTH, NONE = "listed", "usual", "both", "none"


class Overlay(NamedTuple):
    """One indicator's lines, drawn alike. `series` are quote units, a value each closed bar."""

    name: str
    glyphs: str
    look: str
    series: tuple[tuple[float, ...], ...]

    def legend(self) -> Run:
        glyph = self.glyphs[1]
        return f"{f'{glyph} {glyph}' if self.glyphs is DASH else glyph * 3} {self.name}", self.look

    def values(self, index: int, decimals: int) -> Run:
        """With the figures at a closed bar."""
        text, look = self.legend()
        figures = [one[index] if 0 <= index < len(one) else math.nan for one in self.series]
        return f"{text} {'/'.join(show.NONE if math.isnan(value) else f'{value:.{decimals}f}' for value in figures)}", look


def choices(view: ChartView) -> tuple[str, ...]:
    """Which sets of overlays there are, the one that is shown first at the front: the list's own where it has any."""
    return (LISTED, USUALLY, BOTH, NONE) if view.listed else (USUALLY, NONE)


def overlays(view: ChartView, chosen: str) -> list[Overlay]:
    """The lines that `chosen` wants, in the order in which they are drawn."""
    found: list[Overlay] = []
    if chosen in (USUALLY, BOTH):
        for title, glyphs, look, names in USUAL:
            series = tuple(view.overlays[name] for name in names if name in view.overlays)
            found += [Overlay(title, glyphs, look, series)] if series else []
    if chosen in (LISTED, BOTH):
        labels: dict[str, list[tuple[float, ...]]] = {}
        for name, line in view.listed.items():
            labels.setdefault(name.partition(".")[0], []).append(line)
        for n, (label, lines) in enumerate(labels.items()):
            found.append(Overlay(label, *WAYS[n % len(WAYS)], tuple(lines)))
    return found


def draw_overlays(
    canvas: Canvas,
    scale: Scale,
    view: ChartView,
    drawn: Sequence[Overlay],
    shown: Sequence[Column | None],
    start: int,
    cells: int,
    column_ms: int,
) -> None:
    """The first ones over the others."""
    price = float(view.tick)
    for _, glyphs, look, series in reversed(drawn):
        for values in series:
            shift = len(values) - len(view.bars)
            for place, column in enumerate(shown):
                if column is None or column.last < 0:
                    continue
                index = column.last + shift
                if 0 <= index < len(values) and scale.holds(value := values[index] / price):
                    if glyphs is DASH and column.open_ms // column_ms % 2:
                        continue
                    line, part = divmod(scale.at(value, 3), 3)
                    for x in range(cells):
                        canvas.put(start + place * cells + x, line, glyphs[part], look)
