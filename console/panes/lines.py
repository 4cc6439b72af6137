"""Rows of styled runs in, cached strips out: what the hot panes share. Only rows that changed are drawn again."""

import logging
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich.cells import cell_len
from rich.segment import Segment
from rich.style import Style
from textual.dom import DOMNode
from textual.geometry import Region
from textual.strip import Strip

from console.desk import Desk
from console.panes.base import Pane

log = logging.getLogger(__name__)

Run = tuple[str, str]  # text, and what it is: a name of `NAMES`, with " bold" or " reverse" after it
Row = tuple[Run, ...]

NAMES = (
    *("text", "muted", "faint", "stale", "bid", "ask", "bid-bar", "ask-bar", "up", "down", "up-bar", "down-bar", "down-body"),
    *("entry", "exit", "stop", "liq", "halt", "fast", "slow", "band", "demo", "paper", "testnet", "live"),
    *("here", "key", "cursor"),
)
EIGHTHS = " ▏▎▍▌▋▊▉█"
RISING = " ▁▂▃▄▅▆▇█"


class Line(Strip):
    """A line of a pane from edge to edge. Undivided it is itself, where a `Strip` would hold itself from then on: only the
    garbage collector frees that, and its passes over all that was ever drawn held frames up for 50 ms.
    """

    __slots__ = ()

    def divide(self, cuts: Iterable[int]) -> Sequence[Strip]:
        inside = [cut for cut in cuts if cut <= self.cell_length]
        return [self] if inside == [self.cell_length] else super().divide(inside)


class Around(NamedTuple):
    """What a pane's rows are drawn in: all that a whole refresh, another style and another size may change."""

    plain: bool  # no border beside or below the rows
    width: int  # from edge to edge
    room: int  # of the rows
    top: tuple[Line, ...]  # the border
    left: tuple[Segment, ...]
    right: tuple[Segment, ...]
    looks: dict[str, Style]  # as they go to the terminal


class LinePane(Pane):
    """A pane of rows. `rows` says what it shows at a size; the rest is drawing as little as possible.

    `strips_built` and `strips_reused` count what the cache did.
    """

    DEFAULT_CSS = """
    LinePane {
        width: 1fr; height: 1fr; background: $surface; color: $foreground;
        .pane--text { color: $foreground; }
        .pane--muted { color: $muted; }
        .pane--faint { color: $muted 55%; }
        .pane--stale { color: $stale; }
        .pane--bid { color: $bid; }
        .pane--ask { color: $ask; }
        .pane--bid-bar { color: $bid 45%; }
        .pane--ask-bar { color: $ask 45%; }
        .pane--up { color: $up; }
        .pane--down { color: $down; }
        .pane--up-bar { color: $up 50%; }
        .pane--down-bar { color: $down 50%; }
        .pane--down-body { color: $down 80%; }
        .pane--entry { color: $entry; }
        .pane--exit { color: $exit; }
        .pane--stop { color: $stop; }
        .pane--liq { color: $liq; }
        .pane--halt { color: $halt; }
        .pane--demo { color: $demo; }
        .pane--paper { color: $paper; }
        .pane--testnet { color: $testnet; }
        .pane--live { color: $live; }
        .pane--fast { color: $warning 80%; }
        .pane--slow { color: $accent 80%; }
        .pane--band { color: $muted 80%; }
    }
    """

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self._rows: list[Row] = []
        self._strips: list[Line | None] = []
        self._around: Around | None = None
        self._blank = Line([], 0)  # below the rows
        self._looks: dict[str, Style] = {}
        self.strips_built = 0
        self.strips_reused = 0

    @abstractmethod
    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        """What there is to show, top to bottom; longer and wider than the size is cut."""

    # --- when ----------------------------------------------------------------------------------------------------------

    def paint_if_changed(self) -> bool:
        """As `Pane`'s, and a pane that is not on the screen does nothing."""
        return bool(self.size) and self.is_on_screen and super().paint_if_changed()

    def update_from(self, desk: Desk) -> None:
        width, height = self.size
        self._show(self.rows(desk, width, height)[:height])

    def repaint(self) -> None:
        """Paint at once, not at the next frame: after a key, a resize. An error is shown here and ends nothing."""
        if not self.size:
            return
        try:
            self.update_from(self.desk)
        except Exception as error:
            log.error("%s could not be painted", self.id, exc_info=error)
            self.show_problem(f"{type(error).__name__}: {error}")

    def show_problem(self, text: str) -> None:
        """The pane could not be painted: say so in its place."""
        log_file = getattr(self.app, "log_file", None)
        said = f"{text} (see {log_file})" if log_file is not None else text
        self._show([(("! this pane could not be drawn", "halt"),), *(((line, "muted"),) for line in wrap(said, self.size.width))])

    def on_resize(self) -> None:
        self.repaint()

    def on_show(self) -> None:
        self.repaint()

    def notify_style_update(self) -> None:
        super().notify_style_update()
        if self._looks:
            self._looks.clear()
            self._around = None
            self.refresh()

    # --- drawing -------------------------------------------------------------------------------------------------------

    def _show(self, rows: list[Row]) -> None:
        before, lines = self._rows, self._strips
        most = max(len(rows), len(before))
        changed = [y for y in range(most) if y >= len(rows) or y >= len(before) or rows[y] != before[y]]
        kept: list[Line | None] = lines[: len(rows)] + [None] * (len(rows) - len(lines))
        for y in changed:
            if y < len(kept):
                kept[y] = None
        self._rows, self._strips = rows, kept
        if changed:  # from edge to edge: Textual cuts lines up for less
            self.refresh(*bands(changed, -self.content_offset.x, self.outer_size.width))

    def _set_dirty(self, *regions: Region) -> None:
        if not regions:
            self._around = None
        super()._set_dirty(*regions)

    def draw_lines(self, crop: Region) -> list[Strip]:
        """As Textual's, which makes four strips of each line that changed."""
        around = self._around or self._look_around()
        if not around.plain:
            return super().draw_lines(crop)
        rows = range(self.outer_size.height - len(around.top))
        lines: list[Strip] = [*around.top]
        lines += map(self.whole_line, rows)
        strips = lines[crop.y : crop.bottom]
        first, last = crop.column_span
        return strips if (first, last) == (0, around.width) else [strip.crop(first, last) for strip in strips]

    def whole_line(self, y: int) -> Line:
        """A row with what is beside it."""
        around = self._around or self._look_around()
        if y >= len(self._rows):
            return self._blank
        line = self._strips[y]
        if line is not None:
            self.strips_reused += 1
            return line
        self.strips_built += 1
        line = self._strips[y] = self._line_of(self._rows[y], around)
        return line

    def render_line(self, y: int) -> Strip:
        """For Textual, where it draws a border beside the rows."""
        line = self.whole_line(y)
        left = self.content_offset.x
        return line.crop(left, left + self.size.width)

    def _line_of(self, row: Row, around: Around) -> Line:
        looks, room = around.looks, around.room
        segments = list(around.left)
        for text, name in row:
            look = looks.get(name)
            if look is None:
                look = looks[name] = self._as_sent(self.look(name))
            segments.append(Segment(text, look))
            room -= cell_len(text)
        if room > 0:
            segments.append(Segment(" " * room, looks[""]))
        elif room < 0:
            segments = list(Strip(segments).adjust_cell_length(self.content_offset.x + around.room))
        return Line((*segments, *around.right), around.width)

    def _look_around(self) -> Around:
        (width, _), styles = self.outer_size, self.styles
        top, right, bottom, left = self.gutter
        plain = not bottom and not styles.padding.top and left + right == styles.padding.width
        under, background = self.background_colors
        beside = self._as_sent(Style.from_color(bgcolor=(under + background).rich_color))
        border = super().draw_lines(Region(0, 0, width, top)) if plain and top else []
        self._around = Around(
            plain,
            width,
            max(width - left - right, 0),
            tuple(Line(strip, width) for strip in border),
            (Segment(" " * left, beside),) if left else (),
            (Segment(" " * right, beside),) if right else (),
            {"": self._as_sent(self.look(""))},
        )
        self._strips = [None] * len(self._rows)
        self._blank = self._line_of((), self._around)
        return self._around

    def _as_sent(self, look: Style) -> Style:
        """A style as it goes to the terminal: without colour where that is wished."""
        segments = [Segment(" ", look)]
        for each in self.get_line_filters():
            segments = each.apply(segments, self.background_colors[1])
        return segments[0].style or Style.null()

    def look(self, name: str) -> Style:
        """The theme's style of a run's name."""
        found = self._looks.get(name)
        if found is None:
            first, _, rest = name.partition(" ")
            found = self._component(first or "text").rich_style
            if rest:
                found += Style.parse(rest)
            self._looks[name] = found
        return found

    def _component(self, name: str) -> DOMNode:
        """One of Textual's component classes, made when it is drawn: declared, all of them would be made for each pane, each
        time that a size, the focus or a class changes, which was half of what the program's start cost.
        """
        if name not in NAMES:
            raise KeyError(f"no look is called {name}")
        node = DOMNode(classes=f"pane--{name}")
        node._attach(self)
        self.app.stylesheet.apply(node)
        return node


def bands(lines: Sequence[int], x: int, width: int) -> Iterable[Region]:
    """Rising line numbers as regions, neighbours joined."""
    start = previous = lines[0]
    for y in lines[1:]:
        if y != previous + 1:
            yield Region(x, start, width, previous - start + 1)
            start = y
        previous = y
    yield Region(x, start, width, previous - start + 1)


def merged(cells: Iterable[Run]) -> Row:
    """Neighbours of the same look as one run."""
    runs: list[Run] = []
    text: list[str] = []
    look = ""
    for glyph, name in cells:
        if name != look and text:
            runs.append(("".join(text), look))
            text = []
        look = name
        text.append(glyph)
    if text:
        runs.append(("".join(text), look))
    return tuple(runs)


def fitted(candidates: Sequence[Run], width: int, gap: str = "  ") -> Row:
    """As many of the runs as fit, in order of importance from the left, with gaps between."""
    row: list[Run] = []
    used = 0
    for text, name in candidates:
        need = cell_len(text) + (len(gap) if row else 0)
        if not text or used + need > width:
            continue
        if row:
            row.append((gap, "text"))
        row.append((text, name))
        used += need
    if not row and candidates:
        row.append(candidates[0])
    return tuple(row)


def flowed(runs: Sequence[Run], width: int, most: int) -> list[Row]:
    """As `fitted`, on as many lines as are needed and at most so many."""
    rows: list[Row] = []
    rest = list(runs)
    while rest and len(rows) < most:
        fits, used = 0, -2
        while fits < len(rest) and (not fits or used + 2 + cell_len(rest[fits][0]) <= width):
            used += 2 + cell_len(rest[fits][0])
            fits += 1
        rows.append(fitted(rest[:fits], width))
        del rest[:fits]
    return rows


def wrap(text: str, width: int, most: int = 100) -> list[str]:
    """Lines of at most `width` cells; words longer than that are cut."""
    lines: list[str] = []
    line = ""
    width = max(width, 1)
    for word in text.split():
        while cell_len(word) > width:
            if line:
                lines.append(line)
                line = ""
            part = word[:width]
            while cell_len(part) > width and len(part) > 1:
                part = part[:-1]
            lines.append(part)
            word = word[len(part) :]
        if not line:
            line = word
        elif word and cell_len(line) + 1 + cell_len(word) <= width:
            line += " " + word
        elif word:
            lines.append(line)
            line = word
        if len(lines) >= most:
            break
    if line:
        lines.append(line)
    return lines[:most]


def bar(fraction: float, width: int) -> str:
    """A bar from the left, `width` cells, in eighths."""
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (EIGHTHS[part] if part else "")).ljust(width)[:width]


def bar_from_right(fraction: float, width: int, name: str) -> list[Run]:
    """The same from the right. Eighths exist from the left only, so the last cell is one of them with its colours swapped."""
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    runs: list[Run] = [(" " * (width - full - (1 if part else 0)), "text")]
    if part:
        runs.append((EIGHTHS[8 - part], f"{name} reverse"))
    if full:
        runs.append(("█" * full, name))
    return runs


def short(value: float) -> str:
    """A size in at most six characters: 9,503, 12.3k, 4.56M."""
    for limit, unit, name in ((1e9, 1e9, "G"), (1e6, 1e6, "M"), (1e4, 1e3, "k")):
        if abs(value) >= limit:
            scaled = value / unit
            return f"{scaled:.{2 if abs(scaled) < 10 else 1 if abs(scaled) < 100 else 0}f}{name}"
    return f"{value:,.0f}" if abs(value) >= 100 or value == int(value) else f"{value:.3g}"
