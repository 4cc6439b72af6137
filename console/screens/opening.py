"""The account over the screen, as the venue tells it: what it holds, what is set there, our limits and what differs."""

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import Static

from console.desk import Desk
from console.dialogs import Page
from engine.views import OpeningView

REFRESH_S = 0.5


class OpeningScreen(Page):
    def __init__(self, desk: Desk) -> None:
        super().__init__("The account at the venue")
        self.desk = desk
        self._seen = -1

    def contents(self) -> ComposeResult:
        yield Static("The engine has not told of the account yet.", id="opening", markup=False)

    async def on_mount(self) -> None:
        self._refresh()
        self.set_interval(REFRESH_S, self._refresh)

    def _refresh(self) -> None:
        version, view = self.desk.version(OpeningView, ""), self.desk.get(OpeningView, "")
        if view is not None and version != self._seen:
            self._seen = version
            self.query_one("#opening", Static).update(page(view))


def page(view: OpeningView) -> Table:
    table = Table.grid(padding=(0, 3, 0, 0))
    for name, said in view.rows:
        table.add_row(Text(name, "bold"), Text(said))
    return table
