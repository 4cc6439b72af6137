"""An order field by field, with the line that it amounts to and what it would do now. Closes as the order line does."""

from collections.abc import Callable
from typing import ClassVar

from rich.console import RenderableType
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.widgets import Label, Static

from console import format as show
from console.commands import AGAIN_WITHIN_S
from console.desk import Desk
from console.orderline import Facts
from console.panes.ticket import FormPane
from console.screens.order import Writing
from console.ticket import Form

STEPS = {"+": 1, "=": 1, "-": -1}


class TicketScreen(Writing):
    """`form` is kept by whoever opens it. `cursor` is the price at the ladder's cursor, "" without one."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back"),
        Binding("tab,down", "go(1)", "Next", priority=True),
        Binding("shift+tab,up", "go(-1)", "Previous", priority=True),
        Binding("right", "step(1)", "Next value"),
        Binding("left", "step(-1)", "Previous value"),
        Binding("backspace", "erase(False)", "Erase"),
        Binding("delete,ctrl+u", "erase(True)", "Clear"),
        Binding("enter", "send", "Send"),
    ]

    def __init__(self, desk: Desk, market: str, facts: Callable[[], Facts | None], form: Form, cursor: str = "") -> None:
        super().__init__(desk, market, facts)
        self.form, self._cursor = form, cursor
        self._waits: tuple[str, float] = "", 0.0  # the line that a second Enter sends, and when the first one was pressed
        self.fields = FormPane(desk, form, id="fields")

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as box:
            box.border_title = f"Ticket for {show.market_name(self.market)}"
            with Horizontal(id="sides"):
                yield self.fields
                yield self.preview
            yield Static("", id="question", markup=False)
            yield Label("Enter: send   Tab, arrows: fields, values   + -: steps   Esc: back", classes="hint")

    def line(self) -> str:
        return self.form.line()

    def frame(self) -> None:
        super().frame()
        self.fields.repaint()

    def words(self) -> tuple[RenderableType, str]:
        said, look = super().words()
        line, pressed = self._waits
        if not look and line == self.line() and self.program.now() - pressed <= AGAIN_WITHIN_S:
            said, look = f"Press Enter again within {AGAIN_WITHIN_S:.0f} s: {said}", "-waits"
        return f":{self.line()}\n{said}", look

    # --- keys ----------------------------------------------------------------------------------------------------------

    def _changed(self) -> None:
        self.refused = ""
        self.frame()

    def on_key(self, event: events.Key) -> None:
        """What is typed comes here before it is looked for among the bindings."""
        if event.is_printable and event.character:
            event.stop()
            if event.character in STEPS:
                self.form.nudge(STEPS[event.character], self._facts())
            else:
                self.form.type(event.character, self._cursor)
            self._changed()

    def action_go(self, fields: int) -> None:
        self.form.go(fields)
        self._changed()

    def action_step(self, by: int) -> None:
        self.form.step(by, self._facts())
        self._changed()

    def action_erase(self, all: bool) -> None:
        self.form.erase(all=all)
        self._changed()

    def action_send(self) -> None:
        """The second of two presses sends; a held or bouncing key is one press."""
        program, line = self.program, self.line()
        if program.bounced("ticket"):
            return
        if not self.may_send():
            self.say()
        elif program.presses.second("ticket", program.now(), line):
            self.dismiss(self.understood)
        else:
            self._waits = line, program.now()
            self.say()
