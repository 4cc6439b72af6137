"""The settings that were found, by section, as rows with a cursor: name, value, and where the value comes from."""

from typing import ClassVar

from textual import events
from textual.binding import BindingType
from textual.message import Message

from console import keys
from console.desk import Desk
from console.format import fit
from console.panes.lines import Row
from console.panes.rows import NumberedPane
from console.settings import SECTIONS, Form
from engine.config import Key, typed

NAME, SOURCE = 24, 15  # cells


class SettingsPane(NumberedPane):
    """`form` has the values. Moving, stepping and editing are told to the screen."""

    title = "settings"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="setting_list")]
    DEFAULT_CSS = """
    SettingsPane { background: $background; padding: 0 1; .pane--cursor { color: $primary; text-style: bold; } }
    """

    class Moved(Message):
        """Another setting is under the cursor."""

    class Asked(Message):
        """A key asks the screen to do `what`: `edit`, `search`, or `step` by `step`."""

        def __init__(self, what: str, step: int = 0) -> None:
            super().__init__()
            self.what, self.step = what, step

    def __init__(self, desk: Desk, form: Form, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.form = form
        self.found: list[Key] = form.found("")
        self._top = 0
        self._shown: list[Key | None] = []  # by line that is seen; None for a heading

    @property
    def here(self) -> Key | None:
        return self.found[self.cursor] if self.found else None

    def show(self, found: list[Key]) -> None:
        """Others; the cursor stays on its setting where that is among them."""
        here = self.here
        self.found = found
        self.cursor = found.index(here) if here in found else 0
        self.post_message(self.Moved())
        self.repaint()

    def many(self) -> int:
        return len(self.found)

    def moved(self) -> None:
        self.post_message(self.Moved())

    def action_edit(self) -> None:
        self.post_message(self.Asked("edit"))

    def action_search(self) -> None:
        self.post_message(self.Asked("search"))

    def action_step(self, step: int) -> None:
        self.post_message(self.Asked("step", step))

    def on_click(self, event: events.Click) -> None:
        key = self._shown[event.y] if 0 <= event.y < len(self._shown) else None
        if key is not None:
            self.move(self.found.index(key) - self.cursor)

    def on_focus(self) -> None:
        self.call_later(self.repaint)  # the base class learns of it after this

    def on_blur(self) -> None:
        self.call_later(self.repaint)

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        if not self.found:
            self._shown = []
            return [(("No setting holds these words.", "muted"),)]
        lines: list[tuple[Row, Key | None]] = []
        at = 0
        for name, doc, those in SECTIONS:
            here = [key for key in those if key in self.found]
            if here:
                lines.append(((("  " + fit(f"[{name}] {doc}", width - 2), "muted"),), None))
            for key in here:
                if key == self.here:
                    at = len(lines)
                lines.append((self._row(key, width), key))
        self._top = max(min(self._top, at - 1 if at == 1 else at), at - height + 1, 0)  # the first heading is seen too
        self._top = min(self._top, max(len(lines) - height, 0))
        seen = lines[self._top : self._top + height]
        self._shown = [key for _, key in seen]
        return [row for row, _ in seen]

    def _row(self, key: Key, width: int) -> Row:
        form, here = self.form, key == self.here
        more = " bold" if here else ""
        mark = ("▸ " if self.has_focus else "› ") if here else "  "
        room = max(width - 2 - NAME - 1 - SOURCE, 6)
        over, changed = form.over(key.dotted), key.dotted in form.changes
        if changed:
            text, source, look = f"{form.text(key.dotted) or '-'}  (was {_short(form, key)})", "* not saved", "entry"
        else:
            origin = form.holds(key.dotted).origin
            text, source = _short(form, key), f"! {origin.value}" if over else f"  {origin.value}"
            look = "stop" if over else "muted" if origin.value == "default" else "text"
        return (
            (mark, "cursor"),
            (fit(key.name, NAME) + " ", "text" + more),
            (fit(text, room), ("entry" if changed else "text") + more),
            (fit(source, SOURCE), look),
        )


def _short(form: Form, key: Key) -> str:
    return typed(key, form.holds(key.dotted).value) or "-"
