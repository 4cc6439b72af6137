"""Trades in, a line each out, the newest at the top: time, side, price, size. Scrolled it stands still and counts what comes."""

from collections import deque
from statistics import median
from typing import ClassVar, NamedTuple

from textual import events
from textual.binding import BindingType

from console import format as show
from console import keys
from console.desk import Desk
from console.panes.lines import LinePane, Row, Run, fitted, wrap
from engine.events import Side
from engine.views import Picture, Print, TapeView

KEPT = 2_000  # of the market that is shown; the oldest go
LARGE = 5  # times the usual size: bold
CLOCKS = (12, 9, 6)  # letters of the time, the most that fit: 14:05:09.123, 05:09.123, 09.123


class Missed(NamedTuple):
    """So many trades lie here and were not seen: more came between two pictures than one holds."""

    trades: int


class TapePane(LinePane):
    """`least` steps and more are shown; `held` is what was there when it was scrolled, None while it follows."""

    title: ClassVar[str] = "Tape"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="tape")]
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = ((TapeView, None),)

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.prints: deque[Print | Missed] = deque(maxlen=KEPT)  # the newest first
        self.least = 0
        self.held: list[Print | Missed] | None = None
        self.down = 0  # lines from the newest
        self.new = 0  # since it was scrolled, of those that are shown
        self._of: tuple[str, int] = ("", 0)
        self._told = 0  # trades of this tape that were read
        self._lines = 1
        self._cells: tuple[int, ...] = (0, 0)  # of prices and sizes: columns only grow

    # --- steering ------------------------------------------------------------------------------------------------------

    def scroll_trades(self, lines: int) -> None:
        """To older (positive) or newer trades; back at the newest it follows again."""
        if self.held is None:
            if lines <= 0:
                return
            self.read()
            self.held, self.new = self._shown(self.prints), 0
        self.down = max(0, min(self.down + lines, len(self.held) - 1))
        if not self.down:
            self.held = None
        self.repaint()

    def action_newest(self) -> None:
        self.held, self.down = None, 0
        self.repaint()

    def action_scroll_up(self) -> None:
        self.scroll_trades(-1)

    def action_scroll_down(self) -> None:
        self.scroll_trades(1)

    def action_page_up(self) -> None:
        self.scroll_trades(-max(1, self._lines - 1))

    def action_page_down(self) -> None:
        self.scroll_trades(max(1, self._lines - 1))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_trades(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_trades(3)

    def action_larger(self) -> None:
        self.least = rounded(self.least, up=True) if self.least else rounded(max(1, self._usual()))
        self.action_newest()

    def action_smaller(self) -> None:
        sizes = [one[2] for one in self.prints if not isinstance(one, Missed)]
        self.least = rounded(self.least, up=False)
        if self.least <= min(sizes, default=0):
            self.least = 0  # it hides nothing
        self.action_newest()

    def _usual(self) -> int:
        sizes = [one[2] for one in self.prints if not isinstance(one, Missed)]
        return int(median(sizes)) if sizes else 1

    # --- reading -------------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Take over what the newest picture has more than the one before."""
        view = self.desk.get(TapeView)
        if view is None:
            self._begin("", 0)
            return
        if (view.market, view.since) != self._of or view.seen < self._told:
            self._begin(view.market, view.since)
            self._told = view.seen - len(view.prints)  # nobody missed what was before we looked
        fresh = view.seen - self._told
        self._told = view.seen
        if (missed := fresh - len(view.prints)) > 0:
            self.prints.appendleft(Missed(missed))
        came = view.prints[-fresh:] if fresh > 0 else ()
        self.prints.extendleft(came)
        if self.held is not None:
            self.new += sum(one[2] >= self.least for one in came) + max(missed, 0)

    def _begin(self, market: str, since: int) -> None:
        """Another market, or another count of this one."""
        if market != self._of[0]:
            self.least, self._cells = 0, (0, 0)
        self._of, self._told = (market, since), 0
        self.prints.clear()
        self.held, self.down, self.new = None, 0, 0

    def _shown(self, prints: "deque[Print | Missed]", most: int = KEPT) -> list[Print | Missed]:
        found: list[Print | Missed] = []
        for one in prints:
            if isinstance(one, Missed) or one[2] >= self.least:
                found.append(one)
                if len(found) == most:
                    break
        return found

    # --- drawing -------------------------------------------------------------------------------------------------------

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        self.read()
        view = desk.get(TapeView)
        if view is None or not self.prints:
            said = "no trade yet" if desk.connected else "! no engine is connected"
            return [((line, "muted"),) for line in wrap(said, width)]
        self._lines = max(1, height - 1)
        seen = self._shown(self.prints, self._lines) if self.held is None else self.held[self.down : self.down + self._lines]
        usual = self._usual()
        for one in seen:
            if not isinstance(one, Missed):
                self._cells = tuple(max(cells, len(text)) for cells, text in zip(self._cells, figures(view, one), strict=True))
        lines = [self._line(view, one, usual, width) for one in seen]
        return [self._head(view, width), *lines] if height > 1 else lines

    def _head(self, view: TapeView, width: int) -> Row:
        """What is not as usual; else how many trades there were."""
        said: list[Run] = [("! old", "stale bold")] if not self.desk.connected else []
        if self.held is not None:
            said.append((f"{self.new:,} new: {keys.BY_ID['tape_newest'].shown}", "entry bold"))
        if self.least:
            said.append((f"≥ {show.ticks(self.least, view.step)}", "text"))
        return fitted([*said, (f"{view.seen:,} trades since {show.clock(view.since)}", "muted")], width)

    def _line(self, view: TapeView, one: Print | Missed, usual: int, width: int) -> Row:
        if isinstance(one, Missed):
            return ((show.fit(f"… {one.trades:,} more, not shown", width), "muted"),)
        ms, price, size, side = one
        cells, (prices, sizes) = self._cells, figures(view, one)
        old = not self.desk.connected
        look = "stale" if old else "bid" if side > 0 else "ask"
        large = " bold" if size >= LARGE * usual else ""
        room = width - cells[0] - cells[1] - 4
        clock = f"{show.clock(ms * 1_000_000)}.{ms % 1000:03}"
        letters = next((letters for letters in CLOCKS if letters < room), 0)
        row: list[Run] = [(f"{clock[-letters:]} ", "stale" if old else "muted")] if letters else []
        row += [(f"{Side(side).name[0]} {prices:>{cells[0]}}", look + large), (f"  {sizes:>{cells[1]}}", look + large)]
        value = f"{price * size * view.tick * view.step:,.0f}"
        if room - letters - 1 >= 16:
            row.append((f"{value:>14}", "muted"))
        return tuple(row)


def figures(view: TapeView, one: Print) -> tuple[str, str]:
    """Price and size as text."""
    return show.ticks(one[1], view.tick), f"{one[2] * view.step:,.{show.decimals(view.step)}f}"


def rounded(size: int, *, up: bool | None = None) -> int:
    """The nearest of 1, 2, 5, 10 ... steps that is not above; with `up` the next one, without it the one before (0 below 1)."""
    if size < 1:
        return 0
    power = int(10 ** (len(str(size)) - 1))
    ladder = (power // 10 * 5, power, 2 * power, 5 * power, 10 * power)
    place = max(n for n, one in enumerate(ladder) if one <= size)
    return ladder[place if up is None else place + 1 if up else place - 1]
