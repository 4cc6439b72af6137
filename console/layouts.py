"""Rows of pane names in; where each pane lies at a size, out. `desk` has no rows: it is as the style sheet says.

A row is names with blanks between them, from left to right; names with `/` between them share a place, one below the other.
"""

from collections.abc import Iterable, Mapping, Sequence

from textual.containers import Vertical
from textual.geometry import NULL_OFFSET, NULL_SPACING, Region, Size
from textual.layout import ArrangeResult, Layout, WidgetPlacement
from textual.widget import Widget

Rows = Sequence[str]

DESK = "desk"
BUILT_IN: Mapping[str, Rows] = {
    DESK: (),
    "chart": ("chart", "ladder positions/orders log"),
    "orders": ("ladder chart/positions/orders account/log",),
}
MOST_ROWS, MOST_LAYOUTS, LONGEST_NAME = 6, 20, 20
# Cells and lines that are enough for a pane; what is not here takes what is left.
WIDTHS = {"ladder": 46, "tape": 30, "indicators": 38, "rationale": 38, "account": 50, "markets": 50, "log": 50, "pnl": 50}
HEIGHTS = {"positions": 6, "account": 10, "markets": 8, "pnl": 10}
LEAST = (40, 4)


def panes_of(rows: Rows) -> list[str]:
    return [name for row in rows for place in row.split() for name in place.split("/")]


def problems(layouts: Mapping[str, Rows], panes: Iterable[str]) -> list[str]:
    """Why a user's layouts cannot be used, as sentences; empty when they can."""
    known, found = tuple(panes), []
    if len(layouts) > MOST_LAYOUTS:
        found.append(f"layouts: there are {len(layouts)}, and at most {MOST_LAYOUTS} may be.")
    for name, rows in layouts.items():
        names = panes_of(rows)
        if name in BUILT_IN:
            found.append(f"layouts.{name}: that is a layout of ours; call it otherwise.")
        if not name or len(name) > LONGEST_NAME:
            found.append(f"layouts.{name}: a name has 1 to {LONGEST_NAME} characters.")
        if not 1 <= len(rows) <= MOST_ROWS or not all(row.split() for row in rows):
            found.append(f"layouts.{name}: it takes 1 to {MOST_ROWS} rows, each with panes.")
        found += [f"layouts.{name}: {pane or 'nothing'} is no pane: {', '.join(known)}." for pane in names if pane not in known]
        found += [f"layouts.{name}: {pane} is there twice." for pane in known if names.count(pane) > 1]
    return found


def regions(rows: Rows, width: int, height: int) -> dict[str, Region]:
    """Each pane's place, without gaps. Rows with the chart are twice as high as others."""
    placed: dict[str, Region] = {}
    y = 0
    for row, high in zip(rows, _shares([2 if "chart" in panes_of([row]) else 1 for row in rows], height), strict=True):
        x = 0
        columns = [column.split("/") for column in row.split()]
        wanted = [max(WIDTHS[name] for name in names) if WIDTHS.keys() >= set(names) else 0 for names in columns]
        for names, wide in zip(columns, _fitted(wanted, width, LEAST[0]), strict=True):
            top = y
            for name, lines in zip(names, _fitted([HEIGHTS.get(name, 0) for name in names], high, LEAST[1]), strict=True):
                placed[name] = Region(x, top, wide, lines)
                top += lines
            x += wide
        y += high
    return placed


def _fitted(wanted: list[int], room: int, least: int) -> list[int]:
    """What each wants, 0 being what is left; equal shares where that is too much, or nobody takes what is left."""
    free = wanted.count(0)
    left = room - sum(wanted)
    if left < free * least or (not free and len(wanted) > 1 and left < 0):
        return _shares([1] * len(wanted), room)
    if not free:
        return [*wanted[:-1], wanted[-1] + left]
    shares = iter(_shares([1] * free, left))
    return [one or next(shares) for one in wanted]


def _shares(weights: list[int], room: int) -> list[int]:
    ends = [room * sum(weights[: place + 1]) // sum(weights) for place in range(len(weights))]
    return [end - start for start, end in zip([0, *ends], ends, strict=False)]


class _ByRows(Layout):
    """The panes wherever they are below the parent, past the containers between."""

    name = "rows"

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def arrange(self, parent: Widget, children: list[Widget], size: Size, greedy: bool = True) -> ArrangeResult:
        return [
            WidgetPlacement(region, NULL_OFFSET, NULL_SPACING, parent.query_one(f"#{name}"))
            for name, region in regions(self.rows, size.width, size.height).items()
        ]


class Laid(Vertical):
    """A container whose panes lie in rows, or as the style sheet says while there are none."""

    rows: Rows = ()

    def lay(self, rows: Rows) -> None:
        if rows != self.rows:
            self.rows = rows
            self.set_class(bool(rows), "-laid")
            for child in self.children:
                child.refresh(layout=True)  # whoever is above it forgets where it put what

    @property
    def layout(self) -> Layout:
        return _ByRows(self.rows) if self.rows else super().layout
