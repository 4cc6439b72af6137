"""Columns and cells in, aligned rows out: the least important columns go first when the width does."""

from collections.abc import Sequence
from typing import NamedTuple

from rich.cells import cell_len

from console.format import fit, number
from console.panes.lines import Row, Run

GAP = "  "


class Column(NamedTuple):
    """`rank` 1 stays longest. A column of words gives way down to `least` cells, one of numbers never."""

    name: str
    rank: int
    right: bool = True
    least: int = 0  # words only: the fewest cells that make sense
    look: str = "text"


def table(columns: Sequence[Column], rows: Sequence[Sequence[Run]], width: int, *, header: bool = True) -> list[Row]:
    """The header and the rows in `width` cells: numbers right-aligned and whole, words cut, the rest left out."""
    wide = [max([cell_len(column.name), *(cell_len(row[place][0]) for row in rows)]) for place, column in enumerate(columns)]
    room = width
    kept: dict[int, int] = {}
    for place in sorted(range(len(columns)), key=lambda place: columns[place].rank):
        gap = len(GAP) if kept else 0
        need = wide[place]
        if need + gap > room and columns[place].least:
            need = max(min(need, room - gap), 0)
            if need < min(columns[place].least, wide[place]):
                continue
        if need + gap > room or need == 0:
            continue
        kept[place] = need
        room -= need + gap
    places = sorted(kept)
    chosen = [columns[place] for place in places]
    shown: list[Row] = []
    if header:
        shown.append(_row([(column.name, "muted") for column in chosen], chosen, kept, places))
    for row in rows:
        shown.append(_row([row[place] for place in places], chosen, kept, places))
    return shown


def _row(cells: Sequence[Run], columns: Sequence[Column], widths: dict[int, int], places: Sequence[int]) -> Row:
    runs: list[Run] = []
    for (text, look), column, place in zip(cells, columns, places, strict=True):
        if runs:
            runs.append((GAP, "text"))
        runs.append((number(text, widths[place]) if column.right else fit(text, widths[place]), look))
    return tuple(runs)
