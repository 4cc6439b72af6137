"""Bars, overlays, our fills and levels in; candles over volumes on a time axis out."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import BindingType

from console import format as show
from console import keys
from console.desk import Desk
from console.panes.candles import Canvas, Column, Scale, columns, scale_of
from console.panes.drawing import HOUR_MS, MINUTE_MS, SECOND_MS, Stage, axis, draw_levels, draw_marks, said, times
from console.panes.ladder import distrust
from console.panes.lines import LinePane, Row, Run, fitted, flowed, short, wrap
from console.panes.overlays import NONE, Overlay, choices, draw_overlays, overlays
from engine.events import Bar
from engine.views import ChartLiveView, ChartView, LadderView, StatusView

ZOOMS = ((8, 1), (4, 1), (2, 1), (1, 1), (1, 2), (1, 4))  # bars a column, cells a column
PLAIN = 3  # the zoom of one bar, one cell
TWO_HEADS = 14  # rows of the pane that has a line of its own for the overlays


class ChartPane(LinePane):
    """Candles. The cross hair stands on a bar, and moves out of the picture with it no further than to its edge."""

    title: ClassVar[str] = "Chart"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="chart")]
    shows = ((ChartView, None), (ChartLiveView, None))

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self._zoom = PLAIN
        self._end_ms: int | None = None  # opening of the newest bar shown; None follows the market
        self._fit = 1  # columns that the pane holds
        self._watched: tuple[str, int] = ("", 0)
        self._overlays = ""  # the chosen set of them
        self._hair: tuple[int, int] | None = None  # opening of its column, and its line from the top
        self._drawn: tuple[Stage, Scale] | None = None

    def versions(self) -> tuple[object, ...]:
        book = self.desk.get(LadderView)
        left = funding_left_ms(book, self.desk.get(StatusView, ""))
        told = left // (SECOND_MS if left < HOUR_MS else MINUTE_MS) if left is not None else None
        return (*super().versions(), self.desk.lost_reason, book and (book.trust, book.reason, book.step), told)

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
        self._step(-1)

    def action_scroll_right(self) -> None:
        self._step(1)

    def action_page_left(self) -> None:
        self.scroll_bars(-max(1, self._fit // 2))

    def action_page_right(self) -> None:
        self.scroll_bars(max(1, self._fit // 2))

    def action_newest(self) -> None:
        self.newest()

    def action_overlays(self) -> None:
        """The next set of them."""
        view = self.desk.get(ChartView)
        if view is not None:
            sets = choices(view)
            self._overlays = sets[(sets.index(self._chosen(view)) + 1) % len(sets)]
            self.repaint()

    def _chosen(self, view: ChartView) -> str:
        sets = choices(view)
        return self._overlays if self._overlays in sets else sets[0]

    def action_hair(self) -> None:
        """On the newest bar that is shown, at its close; or away."""
        if self._hair is not None or self._drawn is None:
            self._hair = None
        else:
            stage, scale = self._drawn
            column = next(column for column in reversed(stage.shown) if column is not None)
            self._hair = column.open_ms, scale.at(column.close, 1)
        self.repaint()

    def action_hair_up(self) -> None:
        self._raise(-1)

    def action_hair_down(self) -> None:
        self._raise(1)

    def _raise(self, lines: int) -> None:
        if self._hair is not None and self._drawn is not None:
            self._hair = self._hair[0], min(max(self._hair[1] + lines, 0), self._drawn[1].lines - 1)
            self.repaint()

    def _step(self, way: int) -> None:
        """The cross hair to the next bar, the chart after it at its edge; without one, the chart."""
        if self._hair is None or self._drawn is None:
            self.scroll_bars(way)
            return
        stage = self._drawn[0]
        here = stage.place(self._hair[0]) or 0
        beyond = stage.shown[here + 1 :] if way > 0 else stage.shown[:here][::-1]
        there = next((column for column in beyond if column is not None), None)
        if there is None:
            self.scroll_bars(way)
            ends = [column for column in self._drawn[0].shown if column is not None]
            there = ends[-1 if way > 0 else 0]
        self._hair = there.open_ms, self._hair[1]
        self.repaint()

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
            self._watched, self._end_ms, self._hair, self._drawn = (desk.market, desk.timeframe_ms), None, None, None
        view, live = desk.get(ChartView), desk.get(ChartLiveView)
        bars = every(view, live)
        warning = distrust(desk, desk.get(LadderView))
        if view is None or not bars:
            said = f"no {show.timeframe(desk.timeframe_ms)} bars of {show.market_name(desk.market)} yet"
            return [((line, "muted"),) for line in wrap(f"{warning}; {said}" if warning else said, width)]
        end = self._end(bars)
        stage, drawn = self._stage(view, bars, end, width), overlays(view, self._chosen(view))
        under = self._under(stage)
        head = self._head(view, bars, end, under, drawn, warning, width, height)
        return [*head, *self._plot(view, live, stage, drawn, under, bars[-1].close, height - len(head), bool(warning))]

    def _stage(self, view: ChartView, bars: Sequence[Bar], end: int, width: int) -> Stage:
        price_cells = max(len(show.ticks(price, view.tick)) for price in (bars[-1].high, bars[end - 1].high))
        axis_cells = price_cells + 3 if width >= price_cells + 3 + 10 else 0
        together, cells = ZOOMS[self._zoom]
        room = width - axis_cells
        self._fit = max(room // cells, 1)
        shown = columns(bars, end, self._fit, together, len(view.bars))
        start = max(room - len(shown) * cells, 0) if len(bars) >= self._fit else 0
        return Stage(shown, start, cells, bars[0].timeframe_ms * together, room, axis_cells, price_cells)

    def _under(self, stage: Stage) -> Column | None:
        """The column under the cross hair: at an edge where its own left the picture."""
        if self._hair is None:
            return None
        place = stage.place(self._hair[0])
        real = [column for column in stage.shown if column is not None]
        column = stage.shown[place] if place is not None else real[0 if self._hair[0] < real[0].open_ms else -1]
        assert column is not None
        self._hair = column.open_ms, self._hair[1]
        return column

    def _head(
        self,
        view: ChartView,
        bars: Sequence[Bar],
        end: int,
        under: Column | None,
        drawn: Sequence[Overlay],
        warning: str,
        width: int,
        height: int,
    ) -> list[Row]:
        """The bar's prices, and where there is room for it a line of the overlays, with their values at the cross hair."""
        if height < 4:
            return []
        book, left = self.desk.get(LadderView), funding_left_ms(self.desk.get(LadderView), self.desk.get(StatusView, ""))
        due = f"funding {float(book.funding_rate):+.4%} in {show.duration(left)}" if book and left is not None else ""
        legends = [one.legend() for one in drawn]
        if under is not None:
            legends = [one.values(under.last, show.decimals(view.tick) + 1) for one in drawn] if under.last >= 0 else legends
        elif self._chosen(view) == NONE:
            legends = [("no overlays", "muted")]
        runs = header(view, bars[end - 1], len(bars) - end, warning, self.desk.connected)
        if under is not None:
            runs = told(view, under, f"V {short(under.volume * float(book.step))}" if book is not None else "")
        if height < TWO_HEADS or not (legends or due):
            return [fitted([*runs, (due, "muted"), *legends], width)]
        rows = flowed(legends, max(width - len(due) - 2, 1), max(height // 8, 1)) or [()]
        used = sum(cell_len(text) for text, _ in rows[0])
        if due and used + 2 + len(due) <= width:
            rows[0] = (*rows[0], (" " * (width - used - len(due)), "text"), (due, "muted"))
        return [fitted(runs, width), *rows]

    def _plot(
        self,
        view: ChartView,
        live: ChartLiveView | None,
        stage: Stage,
        drawn: Sequence[Overlay],
        under: Column | None,
        last: int,
        height: int,
        stale: bool,
    ) -> list[Row]:
        shown, start, cells, column_ms, room, axis_cells, price_cells = stage
        time_lines = 1 if height >= 6 else 0
        volume_lines = min(max(height // 6, 1), 5) if height >= 9 else 0
        said_lines = 1 if height >= 10 and view.judgments else 0
        lines = max(height - time_lines - volume_lines - said_lines, 1)
        price = float(view.tick)
        levels = [(name, value / price) for name, value in (live.lines if live else ()) if value > 0]
        scale = scale_of(shown, lines, [value for _, value in levels])
        self._drawn = stage, scale
        canvas = Canvas(room, lines)
        hair_line = min(self._hair[1], lines - 1) if self._hair is not None else None
        if under is not None and hair_line is not None:
            canvas.hair(stage.middle(stage.shown.index(under)), hair_line, "muted")
        draw_levels(canvas, scale, levels)
        draw_overlays(canvas, scale, view, drawn, shown, start, cells, column_ms)
        for place, column in enumerate(shown):
            if column is None:
                for y in range(lines):
                    canvas.put(start + place * cells, y, "┊", "faint")
            else:
                canvas.candle(column, scale, start + place * cells, cells)
        draw_marks(canvas, scale, live.marks if live else (), shown, start, cells, column_ms)
        rows = [canvas.row(y) for y in range(lines)]
        if axis_cells:
            labels = axis(view, scale, levels, last, stale, price_cells, hair_line)
            rows = [(*row, label) for row, label in zip(rows, labels, strict=True)]
        if said_lines:
            rows.append((*said(view, stage), ("  judged"[:axis_cells], "muted")))
        if volume_lines:
            rows += self._volumes(shown, room, volume_lines, start, cells, axis_cells)
        if time_lines:
            rows.append(((times(shown, room, start, cells, column_ms), "muted"),))
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


def funding_left_ms(view: LadderView | None, status: StatusView | None) -> int | None:
    """Until the next settlement; None where the venue has not told."""
    if view is None or status is None or not view.funding_rate or not view.next_funding_ms:
        return None
    return max(view.next_funding_ms - status.at // 1_000_000, 0)


def header(view: ChartView, bar: Bar, newer: int, warning: str, connected: bool) -> list[Run]:
    """The newest bar that is shown, the most important first."""
    runs: list[Run] = [(f"{show.market_name(view.market)} {show.timeframe(view.timeframe_ms)}", "text bold")]
    if warning:
        runs.append(("! stale" if connected else "! old", "halt bold"))
    if newer:
        runs.append((f"{newer} newer bars →", "entry"))
    return [*runs, *prices(view, bar)]


def told(view: ChartView, column: Column, volume: str) -> list[Run]:
    """The bar under the cross hair."""
    change, ohlc = prices(view, column)
    return [(f"┼ {show.clock(column.open_ms * 1_000_000)}", "text bold"), ohlc, (volume, "muted"), change]


def prices(view: ChartView, bar: Bar | Column) -> tuple[Run, Run]:
    """How far it went, and its prices."""
    change = (bar.close / bar.open - 1) * 100 if bar.open else 0.0
    ohlc = " ".join(f"{word} {show.ticks(value, view.tick)}" for word, value in
                    (("O", bar.open), ("H", bar.high), ("L", bar.low), ("C", bar.close)))  # fmt: skip
    return (f"{change:+.2f}%", "up" if bar.close >= bar.open else "down"), (ohlc, "muted")
