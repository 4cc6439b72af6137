"""Bars, overlays, our fills and levels in; candles over volumes on a time axis out."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import ClassVar

from textual import events
from textual.binding import BindingType

from console import format as show
from console import keys
from console.desk import Desk
from console.panes.candles import DASH, DOT, LINE, Canvas, Column, Scale, columns, nice, scale_of
from console.panes.ladder import distrust
from console.panes.lines import LinePane, Row, Run, fitted, short, wrap
from engine.events import Bar, Side
from engine.views import ChartLiveView, ChartView, LadderView

ZOOMS = ((8, 1), (4, 1), (2, 1), (1, 1), (1, 2), (1, 4))  # bars a column, cells a column
PLAIN = 3  # the zoom of one bar, one cell
OVERLAYS = (
    ("bollinger_upper", DOT, "band"),
    ("bollinger_lower", DOT, "band"),
    ("sma_50", DASH, "slow"),
    ("sma_20", LINE, "fast"),
)
LEVELS = {"entry": ("E", "─", "entry"), "stop": ("S", "╌", "stop"), "target": ("T", "┄", "up"), "liquidation": ("L", "╍", "liq")}
SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS = 1_000, 60_000, 3_600_000, 86_400_000
INTERVALS = (
    *(n * SECOND_MS for n in (1, 2, 5, 10, 15, 30)),
    *(n * MINUTE_MS for n in (1, 2, 5, 10, 15, 30)),
    *(n * HOUR_MS for n in (1, 2, 4, 6, 12)),
    *(n * DAY_MS for n in (1, 2, 7, 30, 90, 365)),
)


class ChartPane(LinePane):
    """Candles."""

    title: ClassVar[str] = "Chart"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="chart")]
    shows = ((ChartView, None), (ChartLiveView, None))

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self._zoom = PLAIN
        self._end_ms: int | None = None  # opening of the newest bar shown; None follows the market
        self._fit = 1  # columns that the pane holds
        self._watched: tuple[str, int] = ("", 0)

    def versions(self) -> tuple[object, ...]:
        book = self.desk.get(LadderView)
        return (*super().versions(), self.desk.lost_reason, book and (book.trust, book.reason, book.step))

    # --- steering ------------------------------------------------------------------------------------------------------

    def zoom(self, steps: int) -> None:
        """In (positive): fewer, wider bars; out: several bars a column."""
        self._zoom = min(max(self._zoom + steps, 0), len(ZOOMS) - 1)
        self.repaint()

    def scroll_bars(self, columns: int) -> None:
        """Towards older (negative) or newer columns; at the newest the chart follows the market again."""
        bars = every(self.desk.get(ChartView), self.desk.get(ChartLiveView))
        if not bars:
            return
        end = self._end(bars) + columns * ZOOMS[self._zoom][0]
        self._end_ms = None if end >= len(bars) else bars[max(end, 1) - 1].open_ms
        self.repaint()

    def newest(self) -> None:
        """Follow the market again."""
        self._end_ms = None
        self.repaint()

    def action_zoom_in(self) -> None:
        self.zoom(1)

    def action_zoom_out(self) -> None:
        self.zoom(-1)

    def action_scroll_left(self) -> None:
        self.scroll_bars(-1)

    def action_scroll_right(self) -> None:
        self.scroll_bars(1)

    def action_page_left(self) -> None:
        self.scroll_bars(-max(1, self._fit // 2))

    def action_page_right(self) -> None:
        self.scroll_bars(max(1, self._fit // 2))

    def action_newest(self) -> None:
        self.newest()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.zoom(1)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.zoom(-1)

    def _end(self, bars: Sequence[Bar]) -> int:
        """How many of the bars, from the oldest, are to the left of the right edge."""
        if self._end_ms is None:
            return len(bars)
        for index in range(len(bars) - 1, -1, -1):
            if bars[index].open_ms <= self._end_ms:
                return index + 1
        return 1

    # --- drawing -------------------------------------------------------------------------------------------------------

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        if self._watched != (desk.market, desk.timeframe_ms):
            self._watched, self._end_ms = (desk.market, desk.timeframe_ms), None
        view, live = desk.get(ChartView), desk.get(ChartLiveView)
        bars = every(view, live)
        warning = distrust(desk, desk.get(LadderView))
        if view is None or not bars:
            said = f"no {show.timeframe(desk.timeframe_ms)} bars of {show.market_name(desk.market)} yet"
            return [((line, "muted"),) for line in wrap(f"{warning}; {said}" if warning else said, width)]
        end = self._end(bars)
        head = [header(view, bars, end, width, warning, desk.connected)] if height >= 4 else []
        return [*head, *self._plot(view, live, bars, end, width, height - len(head), bool(warning))]

    def _plot(
        self, view: ChartView, live: ChartLiveView | None, bars: Sequence[Bar], end: int, width: int, height: int, stale: bool
    ) -> list[Row]:
        price_cells = max(len(show.ticks(price, view.tick)) for price in (bars[-1].high, bars[end - 1].high))
        axis_cells = price_cells + 3 if width >= price_cells + 3 + 10 else 0
        time_lines = 1 if height >= 6 else 0
        volume_lines = min(max(height // 6, 1), 5) if height >= 9 else 0
        lines = max(height - time_lines - volume_lines, 1)
        together, cells = ZOOMS[self._zoom]
        room = width - axis_cells
        self._fit = max(room // cells, 1)
        shown = columns(bars, end, self._fit, together, len(view.bars))
        start = max(room - len(shown) * cells, 0) if len(bars) >= self._fit else 0
        price = float(view.tick)
        levels = [(name, value / price) for name, value in (live.lines if live else ()) if value > 0]
        scale = scale_of(shown, lines, [value for _, value in levels])
        canvas = Canvas(room, lines)
        draw_levels(canvas, scale, levels)
        draw_overlays(canvas, scale, view, shown, start, cells, bars[0].timeframe_ms * together)
        for place, column in enumerate(shown):
            if column is None:
                for y in range(lines):
                    canvas.put(start + place * cells, y, "┊", "faint")
            else:
                canvas.candle(column, scale, start + place * cells, cells)
        draw_marks(canvas, scale, live.marks if live else (), shown, start, cells, bars[0].timeframe_ms * together)
        rows = [canvas.row(y) for y in range(lines)]
        if axis_cells:
            labels = axis(view, scale, levels, bars[-1].close, stale, price_cells)
            rows = [(*row, label) for row, label in zip(rows, labels, strict=True)]
        if volume_lines:
            rows += self._volumes(shown, room, volume_lines, start, cells, axis_cells)
        if time_lines:
            rows.append(((times(shown, room, start, cells, bars[0].timeframe_ms * together), "muted"),))
        return rows

    def _volumes(
        self, shown: Sequence[Column | None], room: int, lines: int, start: int, cells: int, axis_cells: int
    ) -> list[Row]:
        canvas = Canvas(room, lines)
        most = max((column.volume for column in shown if column), default=0) or 1
        for place, column in enumerate(shown):
            if column is not None:
                look = "faint" if column.last < 0 else "up-bar" if column.rises else "down-bar"
                canvas.volume(column, most, start + place * cells, cells, look)
        book = self.desk.get(LadderView)
        label = f"  {short(most * float(book.step))}"[:axis_cells] if book is not None else ""
        return [(*canvas.row(y), (label if y == 0 else "", "muted")) for y in range(lines)]


def every(view: ChartView | None, live: ChartLiveView | None) -> tuple[Bar, ...]:
    """Closed bars and the unfinished one, which may be older than they are between two pictures."""
    if view is None:
        return ()
    last = live.unfinished if live is not None else None
    if last is None or (view.bars and last.open_ms <= view.bars[-1].open_ms):
        return view.bars
    return (*view.bars, last)


def header(view: ChartView, bars: Sequence[Bar], end: int, width: int, warning: str, connected: bool) -> Row:
    bar = bars[end - 1]
    change = (bar.close / bar.open - 1) * 100 if bar.open else 0.0
    look = "up" if bar.close >= bar.open else "down"
    name = f"{show.market_name(view.market)} {show.timeframe(view.timeframe_ms)}"
    prices = " ".join(f"{word} {show.ticks(value, view.tick)}" for word, value in
                      (("O", bar.open), ("H", bar.high), ("L", bar.low), ("C", bar.close)))  # fmt: skip
    runs: list[Run] = [(name, "text bold")]
    if warning:
        runs.append(("! stale" if connected else "! old", "halt bold"))
    if end < len(bars):
        runs.append((f"{len(bars) - end} newer bars →", "entry"))
    runs += [(f"{change:+.2f}%", look), (prices, "muted")]
    if view.overlays:
        runs += [(f"{LINE[1] * 3} SMA20", "fast"), (f"{LINE[1]} {LINE[1]} SMA50", "slow"), (f"{DOT[1] * 3} Bollinger", "band")]
    return fitted(runs, width)


def draw_levels(canvas: Canvas, scale: Scale, levels: Sequence[tuple[str, float]]) -> None:
    for name, value in levels:
        if scale.holds(value):
            _, glyph, look = LEVELS.get(name, ("-", "─", "muted"))
            canvas.fill(scale.at(value, 1), glyph, look)


def draw_overlays(
    canvas: Canvas, scale: Scale, view: ChartView, shown: Sequence[Column | None], start: int, cells: int, column_ms: int
) -> None:
    price = float(view.tick)
    for name, glyphs, look in OVERLAYS:
        values = view.overlays.get(name, ())
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


def axis(view: ChartView, scale: Scale, levels: Sequence[tuple[str, float]], last: int, stale: bool, cells: int) -> list[Run]:
    """Labels of the price axis, a line each: the last price first, then our levels (moved aside where taken), then the grid."""
    labels: dict[int, Run] = {}

    def text(letter: str, ticks: int) -> str:
        return f" {letter}{show.ticks(ticks, view.tick):>{cells}}"

    if scale.holds(last):
        labels[scale.at(last, 1)] = (text("!" if stale else "▸", last) + " ", "stale reverse" if stale else "text reverse")
    for name, value in levels:
        letter, _, look = LEVELS.get(name, ("-", "", "muted"))
        here = scale.at(value, 1)
        if not scale.holds(value):
            letter = "↑" if value > scale.high else "↓"
        spot = next((y for y in (here, here + 1, here - 1) if y not in labels and 0 <= y < scale.lines), None)
        if spot is not None:
            labels[spot] = (text(letter, round(value)), f"{look} bold")
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
