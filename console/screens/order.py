"""A line to type an order on, with what it would do while it is typed. Closes with the command, None for nothing."""

from abc import abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, ClassVar, cast

from rich.console import RenderableType
from rich.table import Table
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from console import format as show
from console import orderline
from console.desk import Desk
from console.orderline import Facts, LineError, Understood
from console.panes.ticket import PreviewPane
from engine.events import Ticket

if TYPE_CHECKING:
    from console.app import Console


def _help() -> Table:
    """What may be typed."""
    table = Table.grid(padding=(0, 2))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True, overflow="ellipsis")  # each of them is there on the smallest screen
    for typed, text in orderline.LINES:
        table.add_row(typed, text.replace("`", ""))
    return table


HELP = _help()


class Writing(ModalScreen[Understood | None]):
    """An order that is being written: what its line means, and what the engine would do with it, are said at each frame.

    `facts` are asked for each time, so that the prices are those of now.
    """

    def __init__(self, desk: Desk, market: str, facts: Callable[[], Facts | None]) -> None:
        super().__init__()
        self.market, self._facts = market, facts
        self.understood: Understood | None = None
        self.problem = ""  # why the line means nothing
        self.refused = ""  # why the engine would not do what Enter asked for
        self._shown: object = None
        self.preview = PreviewPane(desk, market, self._asked, id="preview")

    @abstractmethod
    def line(self) -> str:
        """As it is now."""

    @property
    def program(self) -> "Console":
        return cast("Console", self.app)

    def on_mount(self) -> None:
        self.set_interval(1 / self.program.frames_per_s, self.frame)
        self.frame()

    def on_unmount(self) -> None:
        self.program.preview(None)

    def _asked(self) -> tuple[Ticket, str] | None:
        return (self.understood.ticket, self.understood.target) if self.understood is not None else None

    def frame(self) -> None:
        """The line is read again: `bid` and `join` follow the market."""
        self.read()
        self.program.preview(*(self._asked() or (None,)))
        self.preview.display = self.understood is not None
        self.preview.paint_if_changed()
        self.say()

    def read(self) -> None:
        self.understood, self.problem = None, ""
        try:
            facts = self._facts()
            if facts is None:
                raise LineError("There are no prices yet")
            self.understood = orderline.read(self.line(), facts)
        except LineError as problem:
            self.problem = f"{problem}."

    def words(self) -> tuple[RenderableType, str]:
        """What to say of the line, and how it looks: a class, or ""."""
        if self.understood is None:
            return self.problem, "-wrong"
        if self.refused:
            return f"Not sent: {self.refused}.", "-wrong"
        return f"{self.understood.words}.", ""

    def say(self) -> None:
        said, look = self.words()
        if (said, look) != self._shown:
            self._shown = said, look
            label = self.query_one("#question", Static)
            label.update(said)
            label.set_classes(look)

    def may_send(self) -> bool:
        """Whether the line means something that the engine would do, as far as it has said."""
        self.read()
        view = self.preview.view()
        self.refused = view.refusal if view is not None else ""
        return self.understood is not None and not self.refused

    def action_leave(self) -> None:
        self.dismiss(None)


class OrderScreen(Writing):
    """`history` is read and added to."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back"),
        Binding("up", "older", "Older", priority=True),
        Binding("down", "newer", "Newer", priority=True),
        Binding("tab", "complete", "Complete", priority=True),
    ]
    MOST = 100  # letters

    def __init__(self, desk: Desk, market: str, facts: Callable[[], Facts | None], history: list[str]) -> None:
        super().__init__(desk, market, facts)
        self._history, self._place = history, len(history)

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as box:
            box.border_title = f"Order in {show.market_name(self.market)}"
            yield Input(placeholder="buy 500 @ bid post stop 1.19", id="phrase", compact=True, max_length=self.MOST)
            yield Static("", id="question", markup=False)
            yield self.preview
            yield Label("Enter: send    Tab: complete    Up: older    Esc: back", classes="hint")

    def line(self) -> str:
        return self.query_one(Input).value.strip()

    def words(self) -> tuple[RenderableType, str]:
        return super().words() if self.line() else (HELP, "")

    def on_input_changed(self, event: Input.Changed) -> None:
        self.refused = ""
        self.frame()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if self.may_send():
            line = self.line()
            self._history[:] = [*(one for one in self._history if one != line), line][-50:]
            self.dismiss(self.understood)
        else:
            self.say()

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
