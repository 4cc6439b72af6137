"""A backtest's result in; its trades as rows with a cursor, and the bars around one of them, out."""

from typing import ClassVar

import numpy as np
from textual.binding import BindingType
from textual.message import Message

from console import format as show
from console import keys
from console.desk import Desk
from console.panes.candles import Canvas, columns, scale_of
from console.panes.lines import LinePane, Row, Run
from console.panes.rows import NumberedPane
from console.panes.table import Column, table
from engine.backtest import Result
from engine.backtest.series import REASONS
from engine.events import Bar

NS_PER_MS = 1_000_000
AXIS = 12
AROUND = 30  # bars before and after a trade, at least
COLUMNS = (
    Column("#", 1),
    Column("side", 2, right=False),
    Column("entered", 3, right=False),
    Column("exited", 6, right=False),
    Column("size", 7),
    Column("entry", 4),
    Column("exit", 4),
    Column("why", 5, right=False),
    Column("fees", 8),
    Column("profit", 2),
    Column("equity", 9),
)


class TradesPane(NumberedPane):
    """Only the rows that are seen are made, however many there are."""

    title = "trades"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="trades")]

    class Chosen(Message):
        """Enter on a trade: its place in the result."""

        def __init__(self, place: int) -> None:
            super().__init__()
            self.place = place

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.result: Result | None = None
        self._top = 0

    def show(self, result: Result) -> None:
        self.result, self.cursor, self._top = result, 0, 0
        self.repaint()

    def many(self) -> int:
        return len(self.result.trades) if self.result is not None else 0

    def action_chart(self) -> None:
        if self.many():
            self.post_message(self.Chosen(self.cursor))

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        result = self.result
        if result is None or not len(result.trades):
            return [(("No backtest was run yet." if result is None else "It made no trade.", "muted"),)]
        room = max(height - 1, 1)
        self._top = min(max(self._top, self.cursor - room + 1), self.cursor)
        seen = range(self._top, min(self._top + room, len(result.trades)))
        made = [_row(result, place, place == self.cursor) for place in seen]
        return table(COLUMNS, made, width)


def _row(result: Result, place: int, here: bool) -> list[Run]:
    trade, series = result.trades[place], result.series
    tick, step = series.contract.tick, series.contract.step
    profit = float(trade["profit"])
    long = trade["side"] > 0
    more = " reverse" if here else ""
    look = ("up" if profit > 0 else "down" if profit < 0 else "text") + more
    plain = "text" + more
    return [
        (f"{place + 1:,}", plain),
        ("LONG" if long else "SHORT", ("up" if long else "down") + more),
        (moment(int(series.open_ms[trade["entry_bar"]])), plain),
        (moment(int(series.open_ms[trade["exit_bar"]])), plain),
        (show.ticks(int(trade["quantity"]), step), plain),
        (show.ticks(int(trade["entry"]), tick), plain),
        (show.ticks(int(trade["exit"]), tick), plain),
        (REASONS[trade["reason"]], plain),
        (f"{float(trade['fees']):,.2f}", plain),
        (f"{profit:+,.2f}", look),
        (f"{float(result.equity[trade['exit_bar']]):,.2f}", plain),
    ]


def moment(ms: int) -> str:
    """`2024-01-31 12:30` UTC."""
    return str(np.datetime64(ms, "ms").astype("datetime64[m]")).replace("T", " ")


class TradeChartPane(LinePane):
    """Candles around one trade, with its entry and exit, where each was, and its stop and target."""

    title = "chart"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="trade_chart")]

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.result: Result | None = None
        self.place = 0
        self.around = AROUND

    def show(self, result: Result, place: int) -> None:
        self.result, self.place, self.around = result, place, AROUND
        self.repaint()

    def action_step(self, trades: int) -> None:
        if self.result is not None and len(self.result.trades):
            self.place = min(max(self.place + trades, 0), len(self.result.trades) - 1)
            self.repaint()

    def action_zoom(self, way: int) -> None:
        self.around = min(max(self.around // 2 if way > 0 else self.around * 2, 5), 5_000)
        self.repaint()

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        if self.result is None or not len(self.result.trades):
            return [(("Choose a trade in trades with enter.", "muted"),)]
        return draw(self.result, self.place, self.around, width, height)


def draw(result: Result, place: int, around: int, width: int, height: int) -> list[Row]:
    """A sentence, the candles, and times; nothing where there is no room."""
    trade, series = result.trades[place], result.series
    cells, lines = width - AXIS, height - 2
    if cells < 10 or lines < 5:
        return []
    first = max(int(trade["entry_bar"]) - around, 0)
    last = min(int(trade["exit_bar"]) + around, len(series) - 1)
    part = slice(first, last + 1)
    open_ms, *prices = (getattr(series, name)[part].tolist() for name in ("open_ms", "open", "high", "low", "close", "volume"))
    bars = [Bar("", series.timeframe_ms, at, o, h, low, c, v, 1) for at, o, h, low, c, v in zip(open_ms, *prices, strict=True)]
    most = cells // 2
    together = -(-len(bars) // most)
    shown = columns(bars, len(bars), most, together, len(bars))
    entry, exit_ = int(trade["entry"]), int(trade["exit"])
    levels = [("stop", int(trade["stop"]), "╌", "stop"), ("target", int(trade["target"]), "┄", "up")]
    levels = [level for level in levels if level[1] > 0] + [("out", exit_, "┄", "exit"), ("in", entry, "─", "entry")]
    scale = scale_of(shown, lines, tuple(level[1] for level in levels))
    canvas = Canvas(cells, lines)
    labels: dict[int, Run] = {}
    for name, ticks, line, look in levels:  # the later one stays where two are in one row
        y = scale.at(ticks, 1)
        canvas.fill(y, line, look)
        labels[y] = (f" {name} {show.ticks(ticks, series.contract.tick)}".ljust(AXIS)[:AXIS], look)
    begins: dict[int, int] = {}
    for number, column in enumerate(shown):
        if column is not None:
            canvas.candle(column, scale, number * 2, 2)
            begins[number] = column.open_ms
    long = trade["side"] > 0
    for bar, ticks, glyph, look in (
        (int(trade["entry_bar"]), entry, "▲" if long else "▼", "entry"),
        (int(trade["exit_bar"]), exit_, "◆", "exit"),
    ):
        at_ms = int(series.open_ms[bar])
        at = max((number for number, begin in begins.items() if begin <= at_ms), default=0)
        canvas.put(at * 2, scale.at(ticks, 1), glyph, look)
    profit = float(trade["profit"])
    head = f"trade {place + 1:,} of {len(result.trades):,}: {'long' if long else 'short'}, out by {REASONS[trade['reason']]}, "
    title: Row = ((head, "text"), (f"{profit:+,.2f}", "up" if profit > 0 else "down"))
    blank: Run = (" " * AXIS, "muted")
    rows = [(*canvas.row(y), labels.get(y, blank)) for y in range(lines)]
    start, end = moment(bars[0].open_ms), moment(bars[-1].open_ms)
    return [title, *rows, ((start + end.rjust(max(cells - len(start), 0)), "muted"),)]
