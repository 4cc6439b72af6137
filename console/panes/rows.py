"""A pane of rows with a cursor: up, down, home, end (and k, j) move it, and it stays on its row when rows come and go."""

from textual import events

from console.desk import Desk
from console.panes.lines import LinePane, Row, wrap
from engine.views import StatusView

MOVES = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -10, "pagedown": 10, "home": -10_000, "end": 10_000}


class NumberedPane(LinePane):
    """Rows that stay in order, known by their place: `many` says how many, and keys of the table move `cursor`."""

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.cursor = 0

    def many(self) -> int:
        raise NotImplementedError

    def move(self, rows: int) -> None:
        if many := self.many():
            self.cursor = min(max(self.cursor + rows, 0), many - 1)
            self.moved()
            self.repaint()

    def moved(self) -> None:
        """The cursor stands on another row, or was asked to."""

    def action_rows(self, rows: int) -> None:
        self.move(rows)

    def action_page(self, pages: int) -> None:
        self.move(pages * max(self.size.height - 2, 1))

    def action_ends(self, end: int) -> None:
        self.move(self.many() * (1 if end else -1))


class RowsPane(LinePane):
    """`keys_of_rows` names the rows in order; `framed` puts the cursor beside them and scrolls."""

    DEFAULT_CSS = """
    RowsPane { .pane--cursor { color: $primary; text-style: bold; } }
    """

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.cursor = ""
        self.offset_rows = 0

    def keys_of_rows(self) -> list[str]:
        raise NotImplementedError

    def at_cursor(self) -> str:
        """The key of the row under the cursor: where it was, else the first; "" without rows."""
        keys = self.keys_of_rows()
        return self.cursor if self.cursor in keys else keys[0] if keys else ""

    def on_key(self, event: events.Key) -> None:
        step = MOVES.get(event.key)
        keys = self.keys_of_rows()
        if step is None or not keys:
            return
        event.stop()
        place = keys.index(self.at_cursor()) + step
        self.cursor = keys[max(0, min(place, len(keys) - 1))]
        self.repaint()

    def on_click(self, event: events.Click) -> None:
        place = event.y - 1 + self.offset_rows
        keys = self.keys_of_rows()
        if 0 <= place < len(keys):
            self.cursor = keys[place]
            self.repaint()

    def on_focus(self) -> None:
        self.repaint()

    def on_blur(self) -> None:
        self.repaint()

    def nothing(self, what: str, known: bool, width: int) -> list[Row]:
        """No rows: that is only said for sure when the engine waits for nothing."""
        status = self.desk.get(StatusView, "")
        waits = status.waits_for if status is not None else ()
        said = f"{what} known yet; the engine waits: {'; '.join(waits)}" if known and waits else what if known else ""
        return [((line, "muted"),) for line in wrap(said or "waiting for the account", width)]

    def framed(self, lines: list[Row], height: int) -> list[Row]:
        """The header, then as many rows as there is room for, the cursor's among them."""
        keys = self.keys_of_rows()
        here = keys.index(self.at_cursor())
        room = max(1, height - 1)
        self.offset_rows = max(0, min(self.offset_rows, here, len(keys) - room))
        self.offset_rows = max(self.offset_rows, here - room + 1)
        shown: list[Row] = [(("  ", "text"), *lines[0])] if height > 1 else []
        for place in range(self.offset_rows, min(len(keys), self.offset_rows + room)):
            mark = ("▸ ", "cursor") if place == here and self.has_focus else ("  ", "text")
            shown.append((mark, *lines[place + 1]))
        return shown
