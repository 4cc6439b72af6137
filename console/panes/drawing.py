"""Columns, a scale and what belongs on them in; levels, fills, judgments and the labels of both axes out."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from console import format as show
from console.panes.candles import Canvas, Column, Scale, nice
from console.panes.lines import Row, Run
from engine.events import Bias, Side
from engine.views import ChartView

STANCES = {Bias.LONG: ("L", "up bold"), Bias.SHORT: ("S", "down bold"), Bias.HOLD: ("H", "muted bold")}
LEVELS = {"entry": ("E", "─", "entry"), "stop": ("S", "╌", "stop"), "target": ("T", "┄", "up"), "liquidation": ("L", "╍", "liq")}
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
INTERVALS = (
    *(n * SECOND_MS for n in (1, 2, 5, 10, 15, 30)),
    *(n * MINUTE_MS for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR_MS for n in (1, 2, 4, 6, 12)),
    *(n * DAY_MS for n in (1, 2, 7, 30, 90, 365)),
)


class Stage(NamedTuple):
    """What is drawn and where: columns from `start`, each so many cells wide, in `room` cells beside those of the axis."""

    shown: list[Column | None]
    start: int
    cells: int
    column_ms: int
    room: int
    axis_cells: int
    price_cells: int

    def place(self, ms: int) -> int | None:
        """Of the column that holds a time."""
        slot = ms // self.column_ms
        return next((n for n, one in enumerate(self.shown) if one is not None and one.open_ms // self.column_ms == slot), None)

    def middle(self, place: int) -> int:
        return self.start + place * self.cells + (self.cells - 1) // 2


def draw_levels(canvas: Canvas, scale: Scale, levels: Sequence[tuple[str, float]]) -> None:
    for name, value in levels:
        if scale.holds(value):
            _, glyph, look = LEVELS.get(name, ("-", "─", "muted"))
            canvas.fill(scale.at(value, 1), glyph, look)


def draw_marks(
    canvas: Canvas,
    scale: Scale,
    marks: Sequence[tuple[int, int, Side, str]],
    shown: Sequence[Column | None],
    start: int,
    cells: int,
    column_ms: int,
) -> None:
    """Buying entries point up from under their bar, selling ones down from above it; a cross is where we left."""
    found = {column.open_ms // column_ms: (place, column) for place, column in enumerate(shown) if column is not None}
    for venue_ms, price, side, purpose in marks:
        place, column = found.get(venue_ms // column_ms, (0, None))
        if column is None:
            continue
        x = start + place * cells + (cells - 1) // 2
        if purpose != "entry":
            canvas.put(x, scale.at(price, 1), "×", "stop bold" if purpose == "stop" else "exit bold")
        elif side == Side.BUY:
            canvas.put(x, min(scale.at(column.low, 1) + 1, scale.lines - 1), "▲", "entry bold")
        else:
            canvas.put(x, max(scale.at(column.high, 1) - 1, 0), "▼", "entry bold")


def axis(
    view: ChartView,
    scale: Scale,
    levels: Sequence[tuple[str, float]],
    last: int,
    stale: bool,
    cells: int,
    hair: int | None = None,
) -> list[Run]:
    """Labels of the price axis, a line each: that of the cross hair first, then the last price and our levels (moved aside where
    taken), then the grid.
    """
    labels: dict[int, Run] = {}

    def text(letter: str, ticks: int) -> str:
        return f" {letter}{show.ticks(ticks, view.tick):>{cells}}"

    def put(value: float, label: str, look: str) -> None:
        here = scale.at(value, 1)
        spot = next((y for y in (here, here + 1, here - 1) if y not in labels and 0 <= y < scale.lines), None)
        if spot is not None:
            labels[spot] = (label, look)

    if hair is not None:
        at = scale.high - (hair + 0.5) / scale.lines * (scale.high - scale.low)
        labels[hair] = (text("┼", round(at)) + " ", "muted reverse")
    if scale.holds(last):
        put(last, text("!" if stale else "▸", last) + " ", "stale reverse" if stale else "text reverse")
    for name, value in levels:
        letter, _, look = LEVELS.get(name, ("-", "", "muted"))
        outside = "" if scale.holds(value) else "↑" if value > scale.high else "↓"
        put(value, text(letter, round(value)) + outside, f"{look} bold")
    step = nice(scale.high - scale.low, max(scale.lines // 4, 1))
    grid = -(-int(scale.low) // step) * step
    while grid <= scale.high:
        y = scale.at(grid, 1)
        if y not in labels and grid > 0:
            labels[y] = (text(" ", grid), "muted")
        grid += step
    return [labels.get(y, ("", "muted")) for y in range(scale.lines)]


def times(shown: Sequence[Column | None], room: int, start: int, cells: int, column_ms: int) -> str:
    """Round times under their columns, apart enough to be read."""
    least = column_ms * -(-14 // cells)
    interval = next((one for one in INTERVALS if one >= least and one % column_ms == 0), least)
    line = [" "] * room
    free, before = 0, None
    for place, column in enumerate(shown):
        if column is None:
            continue
        period = column.open_ms // interval
        if period != before:
            moment = show.clock(column.open_ms * 1_000_000)
            text = moment if interval < 60_000 else moment[:5] if interval < DAY_MS else date(column.open_ms)
            x = start + place * cells - len(text) // 2
            if before is not None and x >= free and x + len(text) <= room:
                line[x : x + len(text)] = text
                free = x + len(text) + 2
        before = period
    return "".join(line)


def date(ms: int) -> str:
    """Month and day, UTC."""
    return datetime.fromtimestamp(ms / 1000, UTC).strftime("%m-%d")


def said(view: ChartView, stage: Stage) -> Row:
    """Under the candles, a letter where a judgment came into force: what it allows."""
    canvas = Canvas(stage.room, 1)
    places = {one.open_ms // stage.column_ms: n for n, one in enumerate(stage.shown) if one is not None}
    for venue_ms, bias in view.judgments:
        if (place := places.get(venue_ms // stage.column_ms)) is not None:
            canvas.put(stage.middle(place), 0, *STANCES[bias])
    return canvas.row(0)
