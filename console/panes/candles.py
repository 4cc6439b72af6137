"""Bars and prices in, glyphs on a canvas out: candles, lines and volumes at a resolution finer than the cell."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from console.panes.lines import RISING, Row, Run, merged
from engine.events import Bar

HOLE = 3  # columns of the longest hole that is drawn; longer ones are cut to it
# What stands in the upper and the lower half of a cell: 0 nothing, 1 wick, 2 body. Rising bodies are slender and falling
# ones full, so that they differ without colour.
FALLING = {
    (0, 0): " ", (0, 1): "╷", (0, 2): "▄", (1, 0): "╵", (1, 1): "│", (1, 2): "▄", (2, 0): "▀", (2, 1): "▀", (2, 2): "█",
}  # fmt: skip
CLIMBING = {
    (0, 0): " ", (0, 1): "╷", (0, 2): "╻", (1, 0): "╵", (1, 1): "│", (1, 2): "╽", (2, 0): "╹", (2, 1): "╿", (2, 2): "┃",
}  # fmt: skip
LINE = "▔─▁"  # at one of three heights
DASH = "▔╌▁"
DOT = "˙·."


@dataclass(slots=True)
class Column:
    """One candle: a bar, or several when zoomed out. `last` is the index of its newest closed bar, -1 without one."""

    open_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    last: int

    @property
    def rises(self) -> bool:
        return self.close >= self.open


def columns(bars: Sequence[Bar], end: int, most: int, together: int, closed: int) -> list[Column | None]:
    """The newest `most` columns that end with `bars[end - 1]`, oldest first; None where a bar is missing.

    Bars are put together by their time, so that a column keeps its bars when new ones come.
    """
    found: list[Column | None] = []
    width_ms = bars[0].timeframe_ms * together if bars else 1
    current: Column | None = None
    slot = 0
    for index in range(end - 1, -1, -1):
        bar = bars[index]
        here = bar.open_ms // width_ms
        last = index if index < closed else -1
        if current is not None and here == slot:
            current.open_ms, current.open = bar.open_ms, bar.open
            current.high, current.low = max(current.high, bar.high), min(current.low, bar.low)
            current.volume += bar.volume
            current.last = max(current.last, last)
            continue
        if current is not None:
            found += [None] * min(HOLE, max(0, slot - here - 1))
        if len(found) >= most:
            break
        current = Column(bar.open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, last)
        slot = here
        found.append(current)
    del found[most:]
    return found[::-1]


@dataclass(frozen=True, slots=True)
class Scale:
    """Prices in ticks to heights: the top of the canvas is `high`."""

    low: float
    high: float
    lines: int

    def at(self, price: float, parts: int) -> int:
        """The part of a line (`parts` of them to a line) that a price falls in, from the top, inside the canvas."""
        total = self.lines * parts
        return min(max(int((self.high - price) / (self.high - self.low) * total), 0), total - 1)

    def down_to(self, price: float, parts: int) -> int:
        """The lowest part that a shape standing on a price fills."""
        total = self.lines * parts
        return min(max(math.ceil((self.high - price) / (self.high - self.low) * total) - 1, 0), total - 1)

    def holds(self, price: float) -> bool:
        return self.low <= price <= self.high


def nice(span: float, most: int) -> int:
    """The smallest of 1, 2, 5, 10 ... ticks that divides `span` into at most `most` parts."""
    step = 1
    while span / step > most:
        step = step * 2 if str(step)[0] in "15" else step // 2 * 5
    return step


def scale_of(shown: Sequence[Column | None], lines: int, extra: Sequence[float]) -> Scale:
    """A scale for the columns, and for those of the extra prices that do not squeeze them; its ends are round and so stay."""
    real = [column for column in shown if column is not None]
    low, high = float(min(column.low for column in real)), float(max(column.high for column in real))
    reach = max(high - low, 4.0)
    near = [price for price in extra if low - reach <= price <= high + reach]
    low, high = min([low, *near]), max([high, *near])
    step = nice(max(high - low, 4.0), max(lines, 2))
    low, high = math.floor(low / step - 0.2) * step, math.ceil(high / step + 0.2) * step
    return Scale(low, high, lines)


class Canvas:
    """Cells of a glyph and a look each."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        self._cells: list[list[Run]] = [[(" ", "text")] * width for _ in range(height)]

    def put(self, x: int, y: int, glyph: str, look: str) -> None:
        if 0 <= x < self.width and 0 <= y < self.height:
            self._cells[y][x] = (glyph, look)

    def hair(self, x: int, y: int, look: str) -> None:
        """A line across and one down, to be drawn over."""
        self.fill(y, "╴", look)
        for line in range(self.height):
            self.put(x, line, "┼" if line == y else "┆", look)

    def fill(self, y: int, glyph: str, look: str) -> None:
        self._cells[y] = [(glyph, look)] * self.width

    def row(self, y: int) -> Row:
        return merged(self._cells[y])

    def candle(self, column: Column, scale: Scale, x: int, width: int) -> None:
        """A body as wide as the column less a gap, with its wick in the middle."""
        glyphs, look = (CLIMBING, "up") if column.rises else (FALLING, "down-body")
        body_top = scale.at(max(column.open, column.close), 2)
        body_bottom = max(body_top, scale.down_to(min(column.open, column.close), 2))
        top, bottom = scale.at(column.high, 2), max(body_bottom, scale.down_to(column.low, 2))
        wide = width - 1 if width > 1 else 1
        middle = x + wide // 2
        for y in range(top // 2, bottom // 2 + 1):
            upper = 2 if body_top <= 2 * y <= body_bottom else 1 if top <= 2 * y <= bottom else 0
            lower = 2 if body_top <= 2 * y + 1 <= body_bottom else 1 if top <= 2 * y + 1 <= bottom else 0
            self.put(middle, y, glyphs[upper, lower], look)
            if wide > 1 and 2 in (upper, lower) and not column.rises:
                side = glyphs[2 if upper == 2 else 0, 2 if lower == 2 else 0]
                for beside in range(x, x + wide):
                    if beside != middle:
                        self.put(beside, y, side, look)
        if wide > 1 and column.rises:
            self._hollow(x, wide, (body_top // 2, body_bottom // 2), (top // 2, bottom // 2))

    def _hollow(self, x: int, wide: int, body: tuple[int, int], wick: tuple[int, int]) -> None:
        """A wide rising body: a frame of whole lines, the wick leaving from its middle."""
        first, last = body
        middle = x + wide // 2
        for y in range(first, last + 1):
            frame = "┏━┓" if y == first != last else "┗━┛" if y == last != first else "╺━╸" if first == last else "┃ ┃"
            for cell in range(x, x + wide):
                self.put(cell, y, frame[0 if cell == x else 2 if cell == x + wide - 1 else 1], "up")
        over, under = wick[0] < first, wick[1] > last
        if first == last:
            self.put(middle, first, "╋" if over and under else "┻" if over else "┳" if under else "━", "up")
        else:
            self.put(middle, first, "┻" if over else "━", "up")
            self.put(middle, last, "┳" if under else "━", "up")

    def volume(self, column: Column, most: int, x: int, width: int, look: str) -> None:
        """A column of eighths from the bottom."""
        eighths = max(1, round(column.volume / most * self.height * 8)) if column.volume else 0
        for y in range(self.height - 1, -1, -1):
            if eighths <= 0:
                return
            for cell in range(max(width - 1, 1)):
                self.put(x + cell, y, RISING[min(eighths, 8)], look)
            eighths -= 8
