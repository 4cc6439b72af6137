"""Keys that act on the screen below in; a list to read, to search by typing and to choose from, and the chosen key, out.

A key that asks before it acts is not chosen here: the page says which one to press.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import ClassVar

from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static
from textual.widgets.option_list import Option

from console.keys import BY_ID, Key, shown

NOTES = (
    "! asks before it acts; stopping never does. Words beside colours always say the same: + and -, BUY and SELL, ! for what "
    "is old. In lists: arrows or j and k, Home, End, page up and down. In another shell, `barter-tui release` clears a "
    "latched halt."
)
OPENS = "?"
HINT = "Type to search    ↑ ↓ choose    Enter does it    Esc closes"


class HelpScreen(ModalScreen[Key | None]):
    """Closes with the key that was chosen. `pane` is the id of the one that has the focus: its keys come first."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "Close"),
        *(Binding(key, f"move('{move}')", move) for key, move in (
            ("up", "cursor_up"), ("down", "cursor_down"), ("pageup", "page_up"), ("pagedown", "page_down"),
        )),
    ]  # fmt: skip

    def __init__(
        self, offered: Sequence[Key], pane: str = "", remapped: Mapping[str, str] | None = None, log_file: Path | None = None
    ) -> None:
        super().__init__()
        self._offered = sorted(offered, key=lambda key: not (pane and key.pane == pane))
        self._remapped, self._log_file = remapped or {}, log_file
        # Held, not queried: the program may end before they are mounted.
        self._filter = Input(placeholder="arm, zoom, F12 ...", compact=True, max_length=60)
        self._list = OptionList()
        self._said = Static("", classes="hint", markup=False)

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog", classes="-keys") as box:
            box.border_title, box.border_subtitle = "Keys", HINT
            yield self._filter
            yield self._list
            yield self._said

    def on_mount(self) -> None:
        self._show("")
        self._filter.focus()

    # --- what there is -------------------------------------------------------------------------------------------------

    def _shown(self, key: Key) -> str:
        return shown(self._remapped.get(key.id, key.key))

    def found(self, typed: str) -> list[Key]:
        """Those in which every word that was typed occurs: in keys, group, label or sentence."""
        words = typed.lower().split()
        return [key for key in self._offered if all(word in self._text(key) for word in words)]

    def _text(self, key: Key) -> str:
        return f"{self._shown(key)} {self._remapped.get(key.id, key.key)} {key.group} {key.label} {key.help}".lower()

    def _show(self, typed: str) -> None:
        found, options = self.found(typed), self._list
        options.clear_options()
        options.add_options(self._rows(found))
        if not found:
            options.add_option(Option("No key has these words.", disabled=True))
        elif typed.strip():
            options.highlighted = 1  # below the first group's name
        else:
            logged = f" What fails here is logged in {self._log_file}." if self._log_file is not None else ""
            options.add_option(Option(Text(NOTES + logged), disabled=True))
        self._say("")

    def _rows(self, found: Iterable[Key]) -> Iterable[Option]:
        for group, rows in groupby(found, key=lambda key: key.group):
            yield Option(Text(group.replace("_", " "), "bold"), disabled=True)
            for key in rows:
                yield Option(self._row(key), id=key.id)

    def _row(self, key: Key) -> Table:
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(justify="right", width=11)
        table.add_column(width=17, no_wrap=True)
        table.add_column()
        table.add_row(Text(self._shown(key), "bold"), Text(f"{'!' if key.danger else ' '} {key.label}"), Text(key.help))
        return table

    def _say(self, sentence: str) -> None:
        self._said.update(sentence)
        self._said.display = bool(sentence)

    # --- what is done --------------------------------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.value == OPENS:  # the key that opened the page closes it
            self.action_close()
        else:
            self._show(event.value)

    def on_input_submitted(self) -> None:
        self._list.action_select()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        key = BY_ID[event.option_id or ""]
        if key.danger:
            self._say(f"{key.label.capitalize()} asks before it acts: close this page and press {self._shown(key)}.")
        else:
            self.dismiss(key)

    def action_move(self, move: str) -> None:
        getattr(self._list, f"action_{move}")()

    def action_close(self) -> None:
        self.dismiss(None)
