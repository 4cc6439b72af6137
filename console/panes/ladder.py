"""The book as a price axis: bids left, asks right, our orders beside their price, and whether it may be trusted."""

from decimal import Decimal
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.binding import BindingType

from console import keys
from console.desk import Desk
from console.format import decimals
from console.panes.axis import Axis, Level, grouped
from console.panes.lines import LinePane, Row, Run, bar, bar_from_right, fitted, short, wrap
from engine.events import Side, Trust
from engine.views import LadderView, StatusView

GROUPS = (1, 2, 5, 10, 20, 50, 100)  # ticks a row
LETTERS = {"entry": "E", "stop": "S", "target": "T", "exit": "X"}
OWN = 10  # cells of an own-order column; where there is no room, its letters alone
MIDDLE = 5  # cells around the price: the last trade's letter before it, the mark of stale ones after it
MINUTE_NS = 60_000_000_000


class LadderPane(LinePane):
    """Prices in the middle."""

    title: ClassVar[str] = "Ladder"
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="ladder")]
    shows = ((LadderView, None),)

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.axis = Axis()
        self.ticks_a_row = 1
        self.cursor: int | None = None  # ticks
        self._market = ""
        self._size_cells = self._price_cells = 0
        self._lines = 1

    def versions(self) -> tuple[object, ...]:
        status = self.desk.get(StatusView, "")
        return (*super().versions(), self.desk.lost_reason, status.at // MINUTE_NS if status else 0)

    # --- steering ------------------------------------------------------------------------------------------------------

    def recentre(self) -> None:
        """Back to the market, and follow it again; the cursor is gone."""
        self.cursor = None
        self.axis.recentre()
        self.repaint()

    def group(self, ticks: int) -> None:
        """So many ticks a row."""
        self.ticks_a_row = max(1, ticks)
        self._size_cells = 0
        self.axis.recentre()
        self.repaint()

    def scroll_prices(self, lines: int) -> None:
        """Look at higher (positive) or lower prices; the ladder stays there until `recentre`."""
        self.axis.scroll(lines)
        self.repaint()

    def action_recentre(self) -> None:
        self.recentre()

    def action_cursor(self, rows: int) -> None:
        """From the best price of the side that it goes to; what is out of sight is scrolled to."""
        view = self.desk.get(LadderView)
        if view is None or not (view.bids or view.asks):
            return
        if self.cursor is None:
            side = (view.asks or view.bids) if rows > 0 else (view.bids or view.asks)
            self.cursor = side[0][0]
        else:
            self.cursor = max(self.cursor + rows * self.ticks_a_row, 1)
        low, high = self.cursor // self.ticks_a_row, -(-self.cursor // self.ticks_a_row)
        seen = [bucket for line in range(self._lines) if (bucket := self.axis.bucket(line)) is not None] or [low]
        beyond = min(low - seen[-1], 0) or max(high - seen[0], 0)
        if beyond:
            self.axis.scroll(beyond)
        self.repaint()

    def action_ticket(self) -> None:
        """At the cursor's price."""
        self.screen.action_ticket()  # type: ignore[attr-defined]

    def action_group_more(self) -> None:
        self.group(next((n for n in GROUPS if n > self.ticks_a_row), GROUPS[-1]))

    def action_group_less(self) -> None:
        self.group(next((n for n in reversed(GROUPS) if n < self.ticks_a_row), GROUPS[0]))

    def action_scroll_up(self) -> None:
        self.scroll_prices(1)

    def action_scroll_down(self) -> None:
        self.scroll_prices(-1)

    def action_page_up(self) -> None:
        self.scroll_prices(max(1, self._lines // 2))

    def action_page_down(self) -> None:
        self.scroll_prices(-max(1, self._lines // 2))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        event.stop()
        self.scroll_prices(2)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        event.stop()
        self.scroll_prices(-2)

    # --- drawing -------------------------------------------------------------------------------------------------------

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        view = desk.get(LadderView)
        if desk.market != self._market:
            self._market, self._size_cells, self._price_cells, self.cursor = desk.market, 0, 0, None
            self.axis.recentre()
        warning = distrust(desk, view)
        if view is None or not (view.bids or view.asks):
            said = warning or "! the book has no levels"
            return [((line, "stale"),) for line in wrap(said, width)]
        head: list[Row] = []
        foot: list[Row] = []
        if height >= 3:
            head.append(self._spread(view, width, bool(warning)))
        if height >= 14:
            foot.append(funding(view, desk.get(StatusView, ""), width))
        if height >= 18:
            foot += [elsewhere(other, decimals(view.tick), not desk.connected, width) for other in view.others]
        titles = height >= 6
        self._lines = lines = height - len(head) - len(foot) - (1 if titles else 0)
        painter = Painter(self, view, width, lines, bool(warning))
        prices = [painter.row(line) for line in range(lines)]
        if titles:
            head.append(painter.titles())
        page = [*head, *prices, *foot]
        if warning:  # in place of the titles and, if it is long, of the highest prices: nothing moves
            first = len(head) - 1 if titles else len(head)
            for y, line in enumerate(wrap(warning, width, most=max(1, height // 3)), start=min(first, height - 1)):
                page[y] = ((line, "halt"),)
        return page

    def _spread(self, view: LadderView, width: int, stale: bool) -> Row:
        word = f"! {view.trust}" if view.trust is not Trust.TRUSTED else "! not connected" if stale else "trusted"
        candidates: list[Run] = [
            (f"spread {number(view.spread_bps, '.2f')} bps", "stale" if stale else "text"),
            (word, "halt bold" if stale else "muted"),
            (f"imbalance {number(view.imbalance, '+.2f')}", "stale" if stale else "text"),
        ]
        if not self.axis.follows:
            candidates.insert(2, ("scrolled: Space recentres", "entry"))
        row = fitted(candidates, width)
        cells = min(20, width - sum(cell_len(text) for text, _ in row) - 2)
        if cells >= 6 and view.imbalance == view.imbalance:
            bids = min(max(round((1 + view.imbalance) / 2 * cells), 0), cells)
            looks = ("faint", "faint") if stale else ("bid-bar", "ask-bar")
            row = (*row, ("  ", "text"), ("█" * bids, looks[0]), ("░" * (cells - bids), looks[1]))
        return row

    def widths(self, prices: int, sizes: int) -> tuple[int, int]:
        """Columns only grow while a market is shown: nothing jumps sideways."""
        self._price_cells = max(self._price_cells, prices)
        self._size_cells = max(self._size_cells, sizes)
        return self._price_cells, self._size_cells


class Painter:
    """One picture of the ladder at one size."""

    def __init__(self, pane: LadderPane, view: LadderView, width: int, lines: int, stale: bool) -> None:
        self.view, self.stale = view, stale
        self.ticks = pane.ticks_a_row
        self.bids = grouped(view.bids, self.ticks, up=False)
        self.asks = grouped(view.asks, self.ticks, up=True)
        self.bid = max(self.bids) if self.bids else min(self.asks)
        self.ask = min(self.asks) if self.asks else self.bid
        self.axis = pane.axis
        self.axis.place(min(self.bid, self.ask), max(self.bid, self.ask), lines)
        self.shown = [bucket for line in range(lines) if (bucket := self.axis.bucket(line)) is not None]
        self.decimals, self.size_decimals = decimals(view.tick), decimals(view.step)
        self.last = self._bucket(view.last) if view.last else None
        self.cursor = self._bucket(pane.cursor) if pane.cursor is not None else None
        self.own: dict[int, list[tuple[int, Side, str]]] = {}
        for price, steps, side, purpose in view.own:
            self.own.setdefault(self._bucket(price), []).append((steps, side, purpose))
        self._sums()
        self._columns(pane, width)

    def _bucket(self, price: int) -> int:
        up = bool(self.view.asks) and price >= self.view.asks[0][0]
        return -(-price // self.ticks) if up else price // self.ticks

    def _sums(self) -> None:
        """The sum reaches across empty prices, so that the bars make one outline."""
        self.sums: dict[int, int] = {}
        for side, best, step in ((self.bids, self.bid, -1), (self.asks, self.ask, 1)):
            if not side:
                continue
            ordered = sorted(side) if step > 0 else sorted(side, reverse=True)
            index, total = 0, 0
            for bucket in sorted((b for b in self.shown if (b - best) * step >= 0), reverse=step < 0):
                while index < len(ordered) and (ordered[index] - bucket) * step <= 0:
                    total = side[ordered[index]].total
                    index += 1
                if (bucket - ordered[-1]) * step <= 0:
                    self.sums[bucket] = total
        self.most = max(self.sums.values(), default=1) or 1

    def _columns(self, pane: LadderPane, width: int) -> None:
        ends = (self.shown[0], self.shown[-1]) if self.shown else (self.bid,)
        widest = max((level.size for side in (self.bids, self.asks) for b, level in side.items() if b in self.sums), default=0)
        self.price_cells, wanted = pane.widths(max(len(self.price(b)) for b in ends), len(self.size(widest)))
        self.left = max((width - self.price_cells - MIDDLE) // 2, 0)
        self.right = max(width - self.price_cells - MIDDLE - self.left, 0)
        self.size_cells = min(max(wanted, 4), self.left)
        spare = self.left - self.size_cells
        self.own_cells = OWN if spare >= OWN + 4 else 4 if spare >= 4 else 0
        spare -= self.own_cells
        self.gap = " " if spare >= 4 else ""  # between sums or bars and sizes
        self.sum_cells = 7 if spare >= 7 + 7 else 0
        self.bar_cells = spare - self.sum_cells - 1 if self.gap else 0

    def price(self, bucket: int) -> str:
        return f"{bucket * self.ticks * self.view.tick:.{self.decimals}f}"

    def size(self, steps: int) -> str:
        return f"{steps * self.view.step:,.{self.size_decimals}f}"

    def titles(self) -> Row:
        bars = " " * self.bar_cells
        bid, ask = (f"{name:>{self.size_cells}}"[: self.size_cells] for name in ("bid", "ask"))
        total = f"{'sum':>{self.sum_cells}}"[: self.sum_cells]
        buys, sells = ("buying", "selling") if self.own_cells == OWN else ("", "")
        left = f"{buys:<{self.own_cells}}{bars}{total}{self.gap}{bid}"
        right = f"{ask}{total}{self.gap}{bars}{sells:>{self.own_cells}}"
        price = f"x{self.ticks} price" if self.ticks > 1 else "price"
        room = self.price_cells + 3
        middle = f"{price:>{room}}  " if len(price) <= room else f"{f'x{self.ticks}':>{room}}  "
        return ((f"{left:>{self.left}}"[: self.left] + middle + f"{right:<{self.right}}"[: self.right], "muted"),)

    def row(self, line: int) -> Row:
        bucket = self.axis.bucket(line)
        if bucket is None:
            text = f"{self.axis.folded * self.ticks} ticks apart"
            return ((" " * max(self.left + (self.price_cells + MIDDLE - len(text)) // 2, 0) + text, "muted"),)
        return (*self._left(bucket), *self._middle(bucket), *self._right(bucket))

    def _middle(self, bucket: int) -> list[Run]:
        look = "bid" if bucket <= self.bid and self.bids else "ask" if bucket >= self.ask and self.asks else "muted"
        text = f"{self.price(bucket):>{self.price_cells}}"
        if bucket == self.cursor:
            letter = Side(self.view.last_side).name[0] if bucket == self.last and self.view.last_side else " "
            return [(f">{letter} {text}{'!' if self.stale else ' '}<", f"{'stale' if self.stale else look} bold reverse")]
        if self.stale:
            letter = Side(self.view.last_side).name[0] if bucket == self.last and self.view.last_side else " "
            return [(f" {letter} {text}! ", "stale")]
        if bucket == self.last and self.view.last_side:
            side = Side(self.view.last_side)
            return [(f" {side.name[0]} ", f"{'up' if side is Side.BUY else 'down'} bold"), (text, "text bold"), ("  ", "text")]
        return [(f"   {text}  ", look)]

    def _look(self, name: str, bucket: int) -> str:
        if self.stale:
            return "stale"
        return f"{name} bold" if bucket in (self.bid, self.ask) else name

    def _numbers(self, side: dict[int, Level], bucket: int) -> tuple[str, str]:
        level = side.get(bucket)
        if level is None:
            return " " * self.size_cells, " " * self.sum_cells
        size = self.size(level.size)
        if len(size) > self.size_cells:
            size = short(float(level.size * self.view.step))
        total = short(float(level.total * self.view.step))
        return f"{size:>{self.size_cells}}"[: self.size_cells], f"{total:>{self.sum_cells}}"[: self.sum_cells]

    def _share(self, side: dict[int, Level], best: int, bucket: int) -> float:
        """The part of the longest bar, 0 on the other side's prices."""
        beyond = bucket > best if side is self.bids else bucket < best
        return 0.0 if beyond or not side else self.sums.get(bucket, 0) / self.most

    def _left(self, bucket: int) -> list[Run]:
        size, total = self._numbers(self.bids, bucket)
        runs: list[Run] = [self._own(bucket, Side.BUY)]
        bars = "faint" if self.stale else "bid-bar"
        runs += bar_from_right(self._share(self.bids, self.bid, bucket), self.bar_cells, bars) if self.bar_cells else []
        runs += [(total + self.gap, "stale" if self.stale else "muted"), (size, self._look("bid", bucket))]
        used = self.own_cells + self.bar_cells + self.sum_cells + len(self.gap) + self.size_cells
        return [*runs[:1], (" " * (self.left - used), "text"), *runs[1:]]

    def _right(self, bucket: int) -> list[Run]:
        size, total = self._numbers(self.asks, bucket)
        share = self._share(self.asks, self.ask, bucket)
        runs: list[Run] = [(size, self._look("ask", bucket)), (total + self.gap, "stale" if self.stale else "muted")]
        if self.bar_cells:
            runs.append((bar(share, self.bar_cells), "faint" if self.stale else "ask-bar"))
        used = self.own_cells + self.bar_cells + self.sum_cells + len(self.gap) + self.size_cells
        return [*runs, (" " * (self.right - used), "text"), self._own(bucket, Side.SELL)]

    def _own(self, bucket: int, side: Side) -> Run:
        """`E B 1,200`: an entry that buys 1,200 at this price."""
        mine = [(steps, purpose) for steps, order_side, purpose in self.own.get(bucket, ()) if order_side == side]
        if not mine or not self.own_cells:
            return " " * self.own_cells, "text"
        purpose = mine[0][1]
        size = self.size(sum(steps for steps, _ in mine))
        head = f"{''.join(sorted({LETTERS.get(name, '?') for _, name in mine}))} {side.name[0]} "
        if len(head) + len(size) > self.own_cells - 1:
            size = short(float(sum(steps for steps, _ in mine) * self.view.step))
        look = {"entry": "entry", "stop": "stop", "exit": "exit", "target": "up"}.get(purpose, "text")
        text = (head + size)[: self.own_cells]
        return (f"{text:<{self.own_cells}}" if side is Side.BUY else f"{text:>{self.own_cells}}"), f"{look} bold"


def distrust(desk: Desk, view: LadderView | None) -> str:
    """Why these prices may not be believed, as a sentence; "" when they may."""
    if not desk.connected:
        return f"! {desk.lost_reason or 'no engine is connected yet'}"
    if view is None:
        return "! no book yet"
    if view.trust is not Trust.TRUSTED:
        return f"! {view.trust}: {view.reason or 'the book may not be traded on'}"
    return ""


def funding(view: LadderView, status: StatusView | None, width: int) -> Row:
    """Mark price and funding, as much of it as has room."""
    candidates: list[Run] = [(f"mark {view.mark}" if view.mark else "", "muted")]
    if view.funding_rate:
        text = f"funding {Decimal(view.funding_rate) * 100:+.4f}%"
        if status is not None and view.next_funding_ms:
            minutes = max(0, (view.next_funding_ms - status.at // 1_000_000) // 60_000)
            text += f" in {minutes // 60}h {minutes % 60:02d}m"
        candidates.append((text, "muted"))
    return fitted(candidates, width)


def elsewhere(other: tuple[str, Trust, float, float, float], places: int, lost: bool, width: int) -> Row:
    """The same contract at another venue: its best prices, and how far ours are above them."""
    venue, trust, bid, ask, basis = other
    old = lost or trust is not Trust.TRUSTED
    look = "stale" if old else "muted"
    prices = f"{bid:.{places}f} / {ask:.{places}f}" if bid and ask else "no prices"
    word = f"! {trust if not lost else 'old'}" if old else f"basis {number(basis, '+.2f')} bps"
    return fitted([(f"{venue} {prices}", look), (word, look)], width)


def number(value: float, form: str) -> str:
    return format(value, form) if value == value else "-"
