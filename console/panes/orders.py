"""Orders in, a line each out: those at work first, the newest finished ones after them, with the reason of each end."""

from typing import ClassVar

from textual.binding import BindingType

from console import format as show
from console import keys
from console.desk import Desk
from console.panes.lines import Row, Run, wrap
from console.panes.rows import RowsPane
from console.panes.table import Column, table
from engine.events import OrderState, Side
from engine.views import OrderRow, OrdersView, Picture, StatusView

COLUMNS = (
    Column("age", 8),
    Column("market", 7, right=False, least=5),
    Column("purpose", 5, right=False, least=5),
    Column("side", 1, right=False),
    Column("kind", 10, right=False),
    Column("size", 2),
    Column("filled", 6),
    Column("price", 3),
    Column("state", 4, right=False),
    Column("reason", 9, right=False, least=16),
)
WORDS = {OrderState.PARTLY_FILLED.value: "partly"}
LOOKS = {
    **{OrderState.UNKNOWN.value: "stop bold", OrderState.REJECTED.value: "down bold", OrderState.CANCELLING.value: "stop"},
    **{OrderState.FILLED.value: "up", OrderState.WORKING.value: "entry", OrderState.PARTLY_FILLED.value: "entry"},
}
MARKS = {
    **{OrderState.UNKNOWN.value: "? ", OrderState.REJECTED.value: "x ", OrderState.FILLED.value: "= "},
    **{OrderState.CANCELLED.value: "- ", OrderState.EXPIRED.value: "- "},
}


class OrdersPane(RowsPane):
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="orders")]
    title: ClassVar[str] = "Orders"
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = ((OrdersView, ""),)

    def versions(self) -> tuple[object, ...]:
        status = self.desk.get(StatusView, "")
        second = status.at // 1_000_000_000 if status and self._all() else 0
        return (*super().versions(), second, status.waits_for if status else (), self.cursor, self.has_focus)

    def _all(self) -> tuple[OrderRow, ...]:
        view = self.desk.get(OrdersView, "")
        return view.open + view.finished if view else ()

    def keys_of_rows(self) -> list[str]:
        return [row.client_id for row in self._all()]

    def selected(self) -> OrderRow | None:
        """The order under the cursor, if it still works: what `cancel` would cancel."""
        view = self.desk.get(OrdersView, "")
        return next((row for row in view.open if row.client_id == self.at_cursor()), None) if view else None

    def action_trace(self) -> None:
        """All that led to the order under the cursor."""
        if order := self.at_cursor():
            self.screen.trace(order)  # type: ignore[attr-defined]

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        rows = self._all()
        if not rows:
            return self.nothing("no orders", desk.get(OrdersView, "") is not None, width)
        status = desk.get(StatusView, "")
        at = status.at if status else 0
        view = desk.get(OrdersView, "")
        working = len(view.open) if view else 0
        cells = [self._cells(row, at, place >= working) for place, row in enumerate(rows)]
        lines = self.framed(table(COLUMNS, cells, width - 2), height)
        return [*lines, *self._told(lines, width, height)]

    def _told(self, lines: list[Row], width: int, height: int) -> list[Row]:
        """Under the table, a reason that was cut in it: of the order under the cursor, else of the newest that has one."""
        told = [row for row in self._all() if row.reason]
        at = self.at_cursor() if self.has_focus else ""
        row = next((row for row in told if row.client_id == at), told[0] if told else None)
        if row is None or any(text.startswith(row.reason) for line in lines for text, _ in line):
            return []
        said = wrap(f"{row.purpose} {row.side.name} {row.quantity} {row.state}: {row.reason}", width - 2)
        return [(("  ", "text"), (line, "muted")) for line in said] if len(lines) + len(said) <= height else []

    def _cells(self, row: OrderRow, at: int, over: bool) -> list[Run]:
        side = "bid" if row.side is Side.BUY else "ask"
        plain = "muted" if over else "text"
        return [
            (show.duration(max(0, at - row.created_at) // 1_000_000) if at else show.NONE, "muted"),
            (show.market_name(row.market, short=True), plain),
            (row.purpose, plain),
            (row.side.name, "muted" if over else f"{side} bold"),
            (row.kind, plain),
            (row.quantity, plain),
            (row.filled, plain),
            (row.price or "market", plain),
            (MARKS.get(row.state, "") + WORDS.get(row.state, row.state), LOOKS.get(row.state, plain)),
            (row.reason, "muted"),
        ]
