"""A sweep in; its heat maps, one pair of what differed at a time, and its best runs as rows with a cursor, out."""

import itertools
import math
from typing import ClassVar

from textual.binding import BindingType
from textual.message import Message

from console import keys
from console.desk import Desk
from console.panes.lines import LinePane, Row, Run
from console.panes.rows import RowsPane
from console.panes.table import Column, table
from engine.backtest import findings
from engine.backtest.sweep import HeatMap, Sweep, Values, heat_map, share

MOST_RUNS = 200  # rows; the table that `barter-tui sweep` writes has all
CELL = 9
SHADES = ("░", "▒", "▓", "█")  # a quarter of the range each


class HeatPane(LinePane):
    """Each cell is the best run over whatever else differed; the sign, the number and the shade say it without colour too."""

    title = "heat map"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="heat")]

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.found: Sweep | None = None
        self.pair = 0
        self.top = self.left = 0

    def show(self, found: Sweep) -> None:
        self.found, self.pair, self.top, self.left = found, 0, 0, 0
        self.repaint()

    def action_pair(self, step: int) -> None:
        self.pair, self.top, self.left = self.pair + step, 0, 0
        self.repaint()

    def action_scroll(self, rows: int, columns: int) -> None:
        self.top, self.left = max(self.top + rows, 0), max(self.left + columns, 0)
        self.repaint()

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        found = self.found
        if found is None:
            return [(("No sweep was run yet.", "muted"),)]
        pairs = list(itertools.combinations((one.name for one in found.axes), 2))
        if not pairs:
            return [(("A heat map needs two ranges.", "muted"),)]
        at = self.pair % len(pairs)
        down, across = pairs[at]
        made = heat_map(found, down, across)
        more = f"   pair {at + 1} of {len(pairs)}" if len(pairs) > 1 else ""
        over = ", the best of what else differs" if len(found.axes) > 2 else ""
        title: Row = ((f"{found.by}: {down} down, {across} across{over}{more}", "muted"),)
        return [title, *self._cells(made, width, height - 1)]

    def _cells(self, made: HeatMap, width: int, height: int) -> list[Row]:
        edge = max(len(value) for value in made.rows.values) + 1
        beside, below = max((width - edge) // CELL, 1), max(height - 1, 1)
        self.left = min(self.left, max(len(made.columns.values) - beside, 0))
        self.top = min(self.top, max(len(made.rows.values) - below, 0))
        ends = made.ends
        columns = range(self.left, min(self.left + beside, len(made.columns.values)))
        head = "".join(made.columns.values[column][: CELL - 1].rjust(CELL) for column in columns)
        lines: list[Row] = [((" " * edge + head, "muted"),)]
        for row in range(self.top, min(self.top + below, len(made.rows.values))):
            cells = [_cell(float(made.values[row, column]), ends) for column in columns]
            lines.append(((made.rows.values[row].rjust(edge - 1) + " ", "muted"), *cells))
        return lines


def _cell(value: float, ends: tuple[float, float]) -> Run:
    if math.isnan(value):
        return "-".rjust(CELL), "faint"
    shade = SHADES[min(int(share(value, ends) * len(SHADES)), len(SHADES) - 1)]
    look = "up" if value > 0.0 else "down" if value < 0.0 else "text"
    return f"{shade}{value:+.2f}".rjust(CELL), look + (" bold" if value == ends[1] else "")


class RunsPane(RowsPane):
    """The best runs, the winner marked; enter asks for the one under the cursor."""

    title = "runs"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="runs")]

    class Chosen(Message):
        """A run is wanted again, with these values."""

        def __init__(self, values: Values) -> None:
            super().__init__()
            self.values = values

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.found: Sweep | None = None
        self.best: list[int] = []

    def show(self, found: Sweep) -> None:
        self.found, self.best, self.cursor = found, found.ranked()[:MOST_RUNS], ""
        self.repaint()

    def keys_of_rows(self) -> list[str]:
        return [str(at) for at in self.best]

    def action_run(self) -> None:
        if self.found is not None and self.best:
            self.post_message(self.Chosen(self.found.trials[int(self.at_cursor())].values))

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        found = self.found
        if found is None:
            return [(("No sweep was run yet.", "muted"),)]
        if not self.best:
            return [((f"No run has a {found.by}.", "muted"),)]
        own = len(found.axes)  # of the columns say what differed, and stay longest
        columns = [Column("", 1, right=False)]
        columns += [Column(head, max(2, 3 + place - own)) for place, head in enumerate(findings.heads(found))]
        rows = []
        for at in self.best:
            look = "text bold" if at == found.winner else "text" if found.able(at) else "muted"
            mark = "winner" if at == found.winner else "" if found.able(at) else "few trades"
            rows.append([(cell, look) for cell in (mark, *findings.told(found, at))])
        return self.framed(table(columns, rows, width - 2), height)
