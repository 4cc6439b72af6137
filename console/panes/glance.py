"""The five facts that must be seen from two metres away in, three tall rows out: mode, trading, position, PnL, trust."""

from typing import ClassVar

from rich.cells import cell_len
from textual.renderables.digits import DIGITS, DIGITS3X3_BOLD

from console import format as show
from console.desk import Desk
from console.panes.lines import LinePane, Row, Run
from console.panes.status import StatusPane, mode_of, open_rows, pnl, state_of, trusted
from engine.views import AccountView, Picture, StatusView

TALL, WIDEST_GAP = 3, 16
Block = tuple[Row, Row, Row]


class GlancePane(LinePane, can_focus=False):
    """Shown where there is room for it. The status line says how old the data is."""

    title: ClassVar[str] = "Glance"
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = StatusPane.shows
    DEFAULT_CSS = """
    GlancePane { height: 3; width: 1fr; background: $background; }
    """

    def __init__(self, desk: Desk, status: StatusPane, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self._status = status

    def versions(self) -> tuple[object, ...]:
        return (*super().versions(), self.desk.connected, self._status.old(self.desk))

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        status = desk.get(StatusView, "")
        if status is None:
            return []
        old = self._status.old(desk)
        word, look = state_of(desk, status)
        prices = f"prices {trusted(desk, old)}".upper()
        blocks = [
            board(*mode_of(status)),
            board(word, look),
            *positions(desk),
            labelled(("PnL", "muted"), ("session", "muted"), number=pnl(desk.get(AccountView, ""), old)),
            board(f"! {prices}" if old else prices, "stale bold" if old else "up bold"),
        ]
        room = (width - sum(wide(block) for block in blocks)) // max(1, len(blocks) - 1)
        gap = max(1, min(room, WIDEST_GAP))
        return [beside([block[y] for block in blocks], gap) for y in range(TALL)]


def board(word: str, look: str) -> Block:
    """A word in the middle of a field of its colour."""
    text, look = f"  {word.strip()}  ", look if "reverse" in look else f"{look} reverse"
    field: Row = ((" " * cell_len(text), look),)
    return field, ((text, look),), field


def positions(desk: Desk) -> list[Block]:
    """Flat, the one position, or how many there are; nothing while that is not known."""
    rows = open_rows(desk)
    if not rows:
        return [board("FLAT", "muted bold")] if desk.flat else []
    if len(rows) > 1:
        return [labelled(("positions", "muted"), number=(str(len(rows)), "text bold"))]
    (row,) = rows
    rising = show.trend(row.quantity) > 0
    look = f"{'up' if rising else 'down'} bold"
    arrow = "▲ LONG" if rising else "▼ SHORT"
    name = show.market_name(row.market, short=True)
    return [labelled((arrow, look), (name, "text bold"), number=(row.quantity.lstrip("+-"), look))]


def labelled(*label: Run, number: Run) -> Block:
    """Words above each other, and a number as tall as they are."""
    width = max(cell_len(text) for text, _ in label)
    lines = [(text.ljust(width), look) for text, look in label] + [(" " * width, "text")] * (TALL - len(label))
    text, look = number
    drawn = tall(text)
    return tuple((lines[y], ("  ", "text"), (drawn[y], look)) for y in range(TALL))  # type: ignore[return-value]


def tall(text: str) -> list[str]:
    """Digits and signs three rows high; what has no tall form stands on the lowest."""
    rows = ["", "", ""]
    for letter in text:
        place = DIGITS.find(letter)
        glyph = DIGITS3X3_BOLD[place * TALL : (place + 1) * TALL] if place > 0 else [" ", " ", letter]
        cells = max(cell_len(row) for row in glyph)
        rows = [row + part.ljust(cells) for row, part in zip(rows, glyph, strict=True)]
    return rows


def wide(block: Block) -> int:
    return sum(cell_len(text) for text, _ in block[0])


def beside(rows: list[Row], gap: int) -> Row:
    found: list[Run] = []
    for row in rows:
        if found:
            found.append((" " * gap, "text"))
        found.extend(row)
    return tuple(found)
