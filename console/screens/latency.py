"""Over the screen: how long each stage takes, from the venue's stamp to its answer, now and over the session."""

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from console.desk import Desk
from console.dialogs import Page
from console.panes.latency import table
from engine.views import LatencyView

REFRESH_S = 0.5
WIDE = 110  # cells of a screen that has room for bars
NOTHING = "The engine has told nothing yet. Of a recorded session nothing is measured."


class LatencyScreen(Page):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("enter,f3", "close", "Close")]

    def __init__(self, desk: Desk) -> None:
        super().__init__("Latency")
        self.desk = desk
        self._seen = 0

    def contents(self) -> ComposeResult:
        yield Static(NOTHING, id="stages", markup=False)

    def on_mount(self) -> None:
        self._refresh()
        self.set_interval(REFRESH_S, self._refresh)

    def _refresh(self) -> None:
        version, view = self.desk.version(LatencyView, ""), self.desk.get(LatencyView, "")
        if view is not None and version != self._seen:
            self._seen = version
            for box in self.query("#stages").results(Static):  # none while the program ends
                box.update(table(view, self.app.size.width >= WIDE))
