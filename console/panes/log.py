"""News in, lines out, newest at the bottom: alerts, decisions, fills, judgments, changes of trading and of trust.

The level is a letter and a colour: I, W, E. Scrolled up it stands still and counts what came since. Enter traces the order or the
judgment of a line.
"""

from collections import deque
from decimal import Decimal
from itertools import islice
from typing import ClassVar, NamedTuple

from textual import events
from textual.binding import BindingType

from console import format as show
from console import keys
from console.desk import Desk
from console.format import fit
from console.panes.lines import LinePane, Row
from engine.events import (
    Alert,
    Decided,
    Filled,
    FundingPaid,
    Judged,
    JudgmentDropped,
    JudgmentScored,
    Level,
    OrderChanged,
    OrderState,
    Side,
    StanceEnded,
    Trading,
    TradingChanged,
    Trust,
    TrustChanged,
)
from engine.views import AnyNews, LadderView, Picture, StatusView

LINES_KEPT = 1_000
LEVEL_LOOKS = {Level.INFO: "muted", Level.WARNING: "stop bold", Level.ERROR: "down bold"}
MOVES = {"up": -1, "k": -1, "down": 1, "j": 1, "pageup": -10, "pagedown": 10, "home": -LINES_KEPT, "end": LINES_KEPT}


class Line(NamedTuple):
    at: int
    level: Level
    kind: str
    text: str
    look: str = "text"
    trace: str = ""  # whose, as in `Watch`


class LogPane(LinePane):
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="log")]
    title: ClassVar[str] = "Log"
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = ()

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.lines: deque[Line] = deque(maxlen=LINES_KEPT)
        self.read = 0  # number of the next news
        self.told = 0
        self.count = 0  # number of the next line
        self.cursor: int | None = None  # number of the line under it; None: the newest one, whichever that is
        self.unseen = 0
        self._end = 0  # number behind the lowest line that is shown

    def versions(self) -> tuple[object, ...]:
        return (self.desk.next_news, self.told, self.cursor, self.has_focus)

    def tell(self, level: Level, text: str, kind: str = "console") -> None:
        """A line of this console's own: what was asked, what failed here."""
        status = self.desk.get(StatusView, "")
        self._add(Line(status.at if status else 0, level, kind, text))
        self.told += 1

    def _add(self, line: Line) -> None:
        self.lines.append(line)
        self.count += 1
        self.unseen += self.cursor is not None

    def read_news(self) -> None:
        fresh: list[AnyNews] = []
        for number, news in reversed(self.desk.news):
            if number < self.read:
                break
            fresh.append(news)
        self.read = self.desk.next_news
        for news in reversed(fresh):
            if not isinstance(news, Judged) or news.stance.market in (self.desk.market, *self.desk.markets[:1]):
                self._add(line_of(news, self.desk))  # judgments of markets that are neither traded nor looked at are too many

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        self.read_news()
        oldest = self.count - len(self.lines)
        if self.cursor is None:
            self.unseen, self._end = 0, self.count
        else:  # it stays in the picture, which stays where it is as long as it can
            self.cursor = max(self.cursor, oldest)
            end = min(max(self._end, self.cursor + 1, oldest + height), self.cursor + height)
            self._end = min(end, self.count)
        self.border_subtitle = f"{self.unseen} new" if self.unseen else ""
        first = max(self._end - height, oldest)
        shown = islice(self.lines, first - oldest, self._end - oldest)
        here = self.place() if self.has_focus else -1
        return [self._row(line, width, number == here) for number, line in enumerate(shown, start=first)]

    def _row(self, line: Line, width: int, here: bool) -> Row:
        wide = width >= 60
        head = show.clock(line.at) if width >= 30 else ""
        letter = line.level.value[0].upper()
        text_look = LEVEL_LOOKS[line.level] if line.level is not Level.INFO else line.look
        used = len(head) + 3 + (9 if wide else 0)
        return (
            (head, "muted"),
            (("▸" if here else " ") if head else "", "entry bold"),
            (f"{letter} ", LEVEL_LOOKS[line.level] + (" reverse" if here and not head else "")),
            (f"{line.kind:<8} " if wide else "", "muted"),
            (fit(line.text, max(0, width - used)), text_look),
        )

    # --- the cursor ----------------------------------------------------------------------------------------------------

    def place(self) -> int:
        """Number of the line under the cursor."""
        return self.count - 1 if self.cursor is None else self.cursor

    def move(self, lines: int, scroll: bool = False) -> None:
        """Down (positive) or up, all of the picture too where it is scrolled; at the newest line it follows again."""
        newest = self.count - 1
        there = max(self.count - len(self.lines), min(self.place() + lines, newest))
        self._end += lines if scroll else 0
        self.cursor = there if there < newest else None
        self.repaint()

    def action_trace(self) -> None:
        """All that belongs to the line under the cursor."""
        index = self.place() - (self.count - len(self.lines))
        self.screen.trace(self.lines[index].trace if 0 <= index < len(self.lines) else "")  # type: ignore[attr-defined]

    def on_key(self, event: events.Key) -> None:
        if event.key in MOVES:
            event.stop()
            lines = MOVES[event.key]
            self.move(lines, scroll=abs(lines) > 1)

    def on_click(self, event: events.Click) -> None:
        number = max(self._end - self.size.height, self.count - len(self.lines)) + event.y - self.gutter.top
        if number < self._end:
            self.move(number - self.place())

    def on_focus(self) -> None:
        self.repaint()

    def on_blur(self) -> None:
        self.repaint()

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        self.move(-3, scroll=True)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        self.move(3, scroll=True)


def line_of(news: AnyNews, desk: Desk) -> Line:
    """One sentence for one piece of news."""
    match news:
        case Alert():
            return Line(news.at, news.level, "alert", news.text)
        case Decided():
            wish = f"{news.purpose.value} {news.side.name}{_size(desk, news.market, news.quantity)}"
            verdict = "approved" if news.approved else "refused"
            look = "entry" if news.approved else "muted"
            return Line(news.at, Level.INFO, "decision", _tail(f"{wish} {verdict}", news.reason), look, news.judgment)
        case Filled():
            price = _price(desk, news.market, news.price)
            made = f", realised {show.money(str(news.realised), sign=True)}" if news.realised else ""
            text = (
                f"{news.side.name}{_size(desk, news.market, news.quantity)} at {price}, fee {show.money(str(news.fee), 4)}{made}"
            )
            return Line(news.at, Level.INFO, "fill", text, "bid bold" if news.side is Side.BUY else "ask bold", news.client_id)
        case FundingPaid():
            return Line(
                news.at, Level.INFO, "funding", f"{show.money(str(news.amount), 4, sign=True)} {show.market_name(news.market)}"
            )
        case Judged():
            stance = news.stance
            name = show.market_name(stance.market, short=True)
            text = f"{name} {stance.bias.value.upper()} {stance.confidence:.0%} by {stance.source}: {stance.rationale}"
            return Line(news.at, Level.INFO, "judgment", text, trace=stance.key)
        case JudgmentDropped():
            stale = news.kind in ("stale", "superseded")
            text = f"the {news.by}'s answer is not used ({news.kind}): {news.reason}"
            return Line(news.at, Level.INFO if stale else Level.WARNING, "judgment", text, "muted")
        case StanceEnded():
            return Line(news.at, Level.INFO, "judgment", f"the judgment ended: {news.reason}", trace=news.question)
        case JudgmentScored():
            moved = (news.end_price / news.price - 1.0) * 1e4
            text = f"the {news.by} gave {news.chance_up:.0%} for a rise, and the price moved {moved:+.1f} bps"
            return Line(news.at, Level.INFO, "judgment", text, "muted", news.question)
        case OrderChanged():
            bad = news.after in (OrderState.REJECTED, OrderState.UNKNOWN)
            text = _tail(f"{news.client_id[-8:]} {news.before.value} > {news.after.value}", news.reason)
            return Line(news.at, Level.WARNING if bad else Level.INFO, "order", text, "muted", news.client_id)
        case TradingChanged():
            halted = news.trading is Trading.HALTED
            text = _tail(news.trading.value.upper(), news.reason)
            return Line(news.at, Level.ERROR if halted else Level.INFO, "trading", text, "text bold")
        case TrustChanged():
            stale = news.trust is Trust.STALE
            text = _tail(f"book of {show.market_name(news.market)} {news.trust.value}", news.reason)
            return Line(news.at, Level.WARNING if stale else Level.INFO, "book", text, "muted")


def _tail(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


def _size(desk: Desk, market: str, steps: int) -> str:
    ladder = desk.get(LadderView, market)
    return f" {show.ticks(steps, ladder.step)} {ladder.base}" if ladder and steps else ""


def _price(desk: Desk, market: str, price: int) -> str:
    ladder = desk.get(LadderView, market)
    return show.ticks(price, ladder.tick) if ladder else f"{Decimal(price)} ticks"
