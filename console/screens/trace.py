"""The chain of an order or a judgment over the screen, from the question to the money, as the engine tells it: when, and how long
after the first step.
"""

from collections.abc import Callable, Coroutine
from typing import Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from console import format as show
from console.desk import Desk
from console.dialogs import Page
from engine.views import TraceView

REFRESH_S = 0.2
Watch = Callable[[str], Coroutine[Any, Any, None]]


class TraceScreen(Page):
    """Asks the engine for the trace while it is open, so that what happens meanwhile appears."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter", "close", "Close")]

    def __init__(self, desk: Desk, order: str, watch: Watch) -> None:
        super().__init__(f"Trace of {order.partition(' ')[0]}")
        self.desk, self.order, self._watch = desk, order, watch
        self._seen = -1

    def contents(self) -> ComposeResult:
        yield Static("The engine is asked.", id="steps", markup=False)

    async def on_mount(self) -> None:
        self.set_interval(REFRESH_S, self._refresh)
        await self._watch(self.order)

    def _refresh(self) -> None:
        version, view = self.desk.version(TraceView, ""), self.desk.get(TraceView, "")
        if view is None or view.order != self.order or version == self._seen:
            return
        self._seen = version
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(min_width=8, no_wrap=True)
        table.add_column(min_width=12, justify="right", no_wrap=True)
        table.add_column(min_width=9, no_wrap=True)
        table.add_column()
        first = next((at for _, at, _ in view.steps if at), 0)
        for name, at, text in view.steps:
            when = (show.clock(at), after(at - first)) if at else ("", "")
            table.add_row(Text(when[0]), Text(when[1]), Text(name, "bold"), Text(text))
        self.query_one("#steps", Static).update(table)

    async def action_close(self) -> None:
        await super().action_close()
        await self._watch("")


def after(ns: int) -> str:
    """`+0.4 ms`, `+4,331.2 ms`, `+1m12`: within a minute the steps of one decision are told apart."""
    return f"{ns / 1e6:+,.1f} ms" if abs(ns) < 60_000_000_000 else f"+{show.duration(ns / 1e6)}"
