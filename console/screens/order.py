"""A line to type an order on, with what it would do while it is typed. Closes with the command, None for nothing."""

from collections.abc import Callable
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from console import orderline
from console.orderline import Facts, LineError, Understood


def _help() -> Table:
    """What may be typed."""
    table = Table.grid(padding=(0, 2))
    for typed, text in orderline.LINES:
        table.add_row(Text(typed, no_wrap=True), text.replace("`", ""))
    return table


class OrderScreen(ModalScreen[Understood | None]):
    """`facts` are asked for at each key, so that the prices are those of now; `history` is read and added to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back"),
        Binding("up", "older", "Older", priority=True),
        Binding("down", "newer", "Newer", priority=True),
        Binding("tab", "complete", "Complete", priority=True),
    ]
    MOST = 100  # letters

    def __init__(self, market: str, facts: Callable[[], Facts | None], history: list[str]) -> None:
        super().__init__()
        self._market, self._facts, self._history = market, facts, history
        self._place = len(history)

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as box:
            box.border_title = f"Order in {self._market}"
            yield Input(placeholder="buy 500 @ bid post stop 1.19", id="phrase", compact=True, max_length=self.MOST)
            yield Static("", id="question", markup=False)
            yield Label("Enter: send    Tab: complete    Up: older    Esc: back", classes="hint")

    def on_mount(self) -> None:
        self._said("")

    def _said(self, line: str) -> Understood | None:
        """Show what the line means; None where it means nothing yet."""
        label, understood = self.query_one("#question", Static), None
        try:
            facts = self._facts()
            if facts is None:
                raise LineError("There are no prices yet")
            understood = orderline.read(line, facts)
            label.update(f"{understood.words}.")
        except LineError as problem:
            label.update(f"{problem}." if line else _help())
        label.set_class(understood is None and bool(line), "-wrong")
        return understood

    def on_input_changed(self, event: Input.Changed) -> None:
        self._said(event.value.strip())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        line = event.value.strip()
        understood = self._said(line)
        if understood is not None:
            self._history[:] = [*(one for one in self._history if one != line), line][-50:]
            self.dismiss(understood)

    def action_leave(self) -> None:
        self.dismiss(None)

    def action_older(self) -> None:
        self._recall(self._place - 1)

    def action_newer(self) -> None:
        self._recall(self._place + 1)

    def _recall(self, place: int) -> None:
        if 0 <= place <= len(self._history):
            self._place = place
            line = self.query_one(Input)
            line.value = self._history[place] if place < len(self._history) else ""
            line.cursor_position = len(line.value)

    def action_complete(self) -> None:
        line = self.query_one(Input)
        if whole := orderline.complete(line.value):
            line.value = f"{whole} "
            line.cursor_position = len(line.value)
