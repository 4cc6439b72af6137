"""A line to type alerts on, with what it means while it is typed, above the alerts that are set and how each stands now."""

from collections.abc import Callable
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Input, Label, Static

from console import alerts
from console.alerts import Delete, Kind, Rule, Watcher
from console.desk import Desk
from console.orderline import LineError

REFRESH_S = 0.5


def _help() -> Table:
    """What may be typed."""
    table = Table.grid(padding=(0, 2))
    for typed, text in alerts.LINES:
        table.add_row(Text(typed, no_wrap=True), text.replace("`", ""))
    return table


class AlertScreen(ModalScreen[None]):
    """`kept` is called after each change; it stays open until it is left."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "Back"),
        Binding("pageup,up", "scroll(-1)", "Up", priority=True),
        Binding("pagedown,down", "scroll(1)", "Down", priority=True),
    ]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (20, "-roomy")]  # noqa: RUF012 - as Textual declares it
    MOST = 80  # letters

    def __init__(self, desk: Desk, watcher: Watcher, kept: Callable[[], None]) -> None:
        super().__init__()
        self.desk, self._watcher, self._kept = desk, watcher, kept

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as box:
            box.border_title = "Alerts"
            yield Input(placeholder="aster > 1.30", id="phrase", compact=True, max_length=self.MOST)
            yield Static("", id="question", markup=False)
            with VerticalScroll(id="set", can_focus=False):
                yield Static("", id="alerts", markup=False)
            yield Label("Enter: set or delete    Up, Down: the list    Esc: back", classes="hint")

    def on_mount(self) -> None:
        self._said("")
        self._list()
        self.set_interval(REFRESH_S, self._list)

    def _read(self, line: str) -> Rule | Delete:
        """Raises LineError, also for what cannot be done with the alerts that are set."""
        meant = alerts.read(line, self.desk)
        trial = Watcher(self._watcher.rules)
        if isinstance(meant, Delete):
            trial.delete(meant)
        else:
            trial.add(meant)
        return meant

    def _said(self, line: str) -> Rule | Delete | None:
        """Show what the line means; None where it means nothing yet."""
        label, meant = self.query_one("#question", Static), None
        try:
            meant = self._read(line)
            label.update(f"{self._words(meant)}.")
        except LineError as problem:
            label.update(f"{problem}." if line else _help())
        label.set_class(meant is None and bool(line), "-wrong")
        return meant

    def _words(self, meant: Rule | Delete) -> str:
        if isinstance(meant, Delete):
            rules = self._watcher.rules
            return f"Delete: {alerts.words(rules[meant.place - 1])}" if meant.place else f"Delete all {len(rules)} alerts"
        seen = alerts.see(meant, self.desk)
        known = f" ({seen.now})" if meant.kind is not Kind.JUDGMENT else ""
        return f"Say so when {alerts.words(meant)}{known}"

    def _list(self) -> None:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(justify="right", no_wrap=True)
        table.add_column()
        table.add_column()
        table.add_column(no_wrap=True)
        for place, rule in enumerate(self._watcher.rules, start=1):
            holds, now = alerts.see(rule, self.desk)
            memory = self._watcher.known.get(rule)
            fired = f"fired {memory.times}x" if memory is not None and memory.times else ""
            table.add_row(Text(str(place)), Text(alerts.words(rule)), Text(f"! {now}" if holds else now), Text(fired))
        self.query_one("#alerts", Static).update(table if self._watcher.rules else "No alert is set.")

    def on_input_changed(self, event: Input.Changed) -> None:
        self._said(event.value.strip())

    def on_input_submitted(self, event: Input.Submitted) -> None:
        line = event.value.strip()
        meant = self._said(line)
        if meant is None:
            return
        if isinstance(meant, Delete):
            self._watcher.delete(meant)
        else:
            self._watcher.add(meant)
        self._kept()
        self.query_one(Input).value = ""
        self._list()

    def action_leave(self) -> None:
        self.dismiss(None)

    def action_scroll(self, step: int) -> None:
        self.query_one("#set", VerticalScroll).scroll_relative(y=step * 3, animate=False)
