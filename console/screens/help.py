"""Every key and what it does, from the table of keys."""

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static

from console.dialogs import Page
from console.keys import EVERY, shown

NOTES = (
    "Dangerous keys (!) ask before they act; stopping never does. Words beside colours always say the same: "
    "+ and -, BUY and SELL, ! for what is old. In lists: arrows or j and k, Home, End, page up and down. "
    "In another shell, `barter-tui release` clears a latched halt."
)


class HelpScreen(Page):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("question_mark,enter", "close", "Close")]

    def __init__(self, remapped: Mapping[str, str], log_file: Path | None = None) -> None:
        super().__init__("Keys")
        self._remapped, self._log_file = remapped, log_file

    def contents(self) -> ComposeResult:
        for group, rows in groupby(EVERY, key=lambda key: key.group):
            table = Table.grid(padding=(0, 2, 0, 0))
            table.add_column(justify="right", min_width=9, no_wrap=True)
            table.add_column(width=17, no_wrap=True)
            table.add_column()
            for key in rows:
                name = shown(self._remapped.get(key.id, key.key))
                label = f"{'!' if key.danger else ' '} {key.label}"
                table.add_row(Text(name, "bold"), Text(label), Text(key.help))
            yield Static(group, classes="group")
            yield Static(table)
        logged = f" What fails here is logged in {self._log_file}." if self._log_file is not None else ""
        yield Static(NOTES + logged, classes="hint", markup=False)
