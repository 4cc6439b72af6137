"""The trading screen: panes laid out for the terminal's size, and what each key of the table does on it."""

import logging
import time
from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widget import Widget

from console import format as show
from console import keys
from console.desk import Desk
from console.dialogs import Phrase, Typed, ask_quit, confirm
from console.layouts import Laid, Rows, panes_of
from console.orderline import Facts, Understood
from console.panes.account import AccountPane
from console.panes.bars import Banner, KeyBar, TabStrip
from console.panes.chart import ChartPane
from console.panes.glance import GlancePane
from console.panes.indicators import IndicatorsPane
from console.panes.ladder import LadderPane
from console.panes.latency import LatencyStrip
from console.panes.lines import LinePane
from console.panes.log import LogPane
from console.panes.markets import MarketsPane
from console.panes.orders import OrdersPane
from console.panes.pnl import PnlPane
from console.panes.positions import PositionsPane
from console.panes.rationale import RationalePane
from console.panes.status import StatusPane
from console.panes.tape import TapePane
from console.screens.alerts import AlertScreen
from console.screens.latency import LatencyScreen
from console.screens.order import OrderScreen
from console.screens.ticket import TicketScreen
from console.screens.tour import TourScreen
from console.screens.trace import TraceScreen
from console.ticket import Form, again
from engine.events import Action, Level, Mode, Side, Trading
from engine.views import AccountView, LadderView, OrdersView, PositionsView, StatusView, arm_phrase

if TYPE_CHECKING:
    from console.app import Console

log = logging.getLogger(__name__)
ONE_PANE_BELOW = (100, 28)  # columns, rows: smaller screens show one pane at a time

SHARED = ("account", "pnl")  # one place
BOTH_FROM = 60  # rows: larger ones have room for both
GLANCE_FROM = (180, 55)  # columns, rows: larger ones have room for what is seen from far away


def unified(typed: str) -> str:
    """`btc` and `BTC/USDT` as `BTC/USDT:USDT`; anything else as it was typed, for the engine to refuse."""
    name = typed.upper()
    return name if ":" in name else f"{name}:USDT" if "/" in name else f"{name}/USDT:USDT"


class TradingScreen(Screen[None]):
    """`here` is the place (1 to 11) of the pane that has the focus, or the whole screen."""

    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(anywhere=False)]
    HORIZONTAL_BREAKPOINTS = [(0, "-narrow"), (100, "-medium"), (150, "-wide"), (190, "-vast")]  # noqa: RUF012 - as Textual declares it
    VERTICAL_BREAKPOINTS = [(0, "-tiny"), (8, "-short"), (28, "-mid"), (45, "-tall")]  # noqa: RUF012

    def __init__(self, desk: Desk, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self.desk = desk
        self.status = StatusPane(desk, id="status", now=now)
        self.glance = GlancePane(desk, self.status, id="glance")
        self.banner = Banner(desk, id="banner")
        self.ladder = LadderPane(desk, id="ladder")
        self.positions = PositionsPane(desk, id="positions")
        self.orders = OrdersPane(desk, id="orders")
        self.news = LogPane(desk, id="log")
        self.panes: tuple[LinePane, ...] = (
            *(self.ladder, ChartPane(desk, id="chart"), IndicatorsPane(desk, id="indicators")),
            *(RationalePane(desk, id="rationale"), self.positions, self.orders, self.news, AccountPane(desk, id="account")),
            *(TapePane(desk, id="tape"), MarketsPane(desk, id="markets"), PnlPane(desk, id="pnl")),
        )
        self.tabs = TabStrip(desk, [pane.title for pane in self.panes], id="tabs")
        self.strip = LatencyStrip(desk, id="latency")
        self.key_bar = KeyBar(desk, id="keys")
        self.lines: tuple[LinePane, ...] = (self.status, self.glance, self.banner, self.tabs, *self.panes, self.strip)
        self.typed: list[str] = []  # orders, the newest last
        self.ticket, self._ticketed = Form(), ""  # as it was left, and in which market
        self.here = 1
        self.maximised = False
        self.rows: Rows = ()  # of panes; none: as the style sheet says
        self._framed: tuple[bool, str] = (False, "")
        self._broken: dict[LinePane, str] = {}

    @property
    def program(self) -> "Console":
        return cast("Console", self.app)

    def compose(self) -> ComposeResult:
        _, chart, indicators, rationale, _, _, _, account, tape, markets, pnl = self.panes
        yield self.status
        yield self.glance
        yield self.banner
        yield self.tabs
        with Laid(id="desk"):
            with Horizontal(id="top"):
                yield self.ladder
                yield tape
                yield chart
                with Vertical(id="side"):
                    yield indicators
                    yield rationale
            with Horizontal(id="bottom"):
                with Vertical(id="money"):
                    yield self.positions
                    yield self.orders
                with Vertical(id="notes"):
                    yield account
                    yield pnl
                    yield markets
                    yield self.news
        yield self.strip
        yield self.key_bar

    def on_mount(self) -> None:
        for place, pane in enumerate(self.panes, start=1):
            pane.border_title = f"{keys.PLACES[place - 1]} {pane.title.lower()}"
        self._arrange()

    def on_resize(self, event: events.Resize) -> None:
        self._arrange(event.size.width, event.size.height)

    # --- painting ------------------------------------------------------------------------------------------------------

    def paint(self) -> None:
        """Whatever changed and can be seen. A pane that fails says so in its own place and the others go on."""
        with self.app.batch_update():
            self.banner.settle()
            for pane in (*self.lines, self.key_bar):
                try:
                    pane.paint_if_changed()
                except Exception as error:
                    self._fail(pane, error)

    def frame(self, halted: bool) -> None:
        """While trading is halted a frame stands around the screen, where there is room for one."""
        look = (halted and not self.has_class("-one"), self.app.theme)
        if look != self._framed:
            self._framed = look
            self.styles.border = ("outer", self.app.theme_variables["halt"]) if look[0] else None

    def _fail(self, pane: LinePane, error: Exception) -> None:
        sentence = f"{type(error).__name__}: {error}"
        if self._broken.get(pane) != sentence:
            self._broken[pane] = sentence
            log.error("%s could not be painted", pane.id, exc_info=error)
        pane.show_problem(sentence)

    def _arrange(self, width: int = 0, height: int = 0) -> None:
        """One pane at a time where the screen is small or one is maximised; else all of them."""
        width, height = width or self.size.width, height or self.size.height
        pane = self.panes[self.here - 1]
        absent = bool(self.rows) and pane.id not in panes_of(self.rows)
        one = self.maximised or absent or width < ONE_PANE_BELOW[0] or height < ONE_PANE_BELOW[1]
        holders = {node for node in pane.ancestors if isinstance(node, Widget)}
        with self.app.batch_update():
            self.set_class(one, "-one")
            self.set_class(height >= BOTH_FROM, "-high")
            if pane.id in SHARED:
                self.set_class(pane.id == "pnl", "-pnl")  # and stays there when another pane is looked at
            self.query_one("#desk", Laid).lay(() if one else self.rows)
            self.glance.display = not one and width >= GLANCE_FROM[0] and height >= GLANCE_FROM[1]
            for other in self.panes:
                other.set_class(other is pane, "-here")
            for holder in self.query("#desk Horizontal, #desk Vertical"):
                holder.set_class(holder in holders, "-holds")
            self.tabs.here = self.here
            pane.focus(scroll_visible=False)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        if event.widget in self.panes:
            self.here = self.panes.index(event.widget) + 1

    def on_tab_strip_chosen(self, message: TabStrip.Chosen) -> None:
        self.action_pane(message.place)

    # --- keys: looking -------------------------------------------------------------------------------------------------

    def action_pane(self, place: int) -> None:
        self.here = place
        self._arrange()
        self.paint()

    def action_pane_step(self, step: int) -> None:
        laid = panes_of(self.rows)
        there = [place for place, pane in enumerate(self.panes, start=1) if not laid or pane.id in laid]
        self.action_pane(there[(there.index(self.here) + step) % len(there)] if self.here in there else there[0])

    def lay(self, rows: Rows) -> None:
        """Panes in rows; the one that is looked at stays so where it has a place."""
        self.rows = rows
        names = panes_of(rows)
        if names and self.panes[self.here - 1].id not in names:
            self.here = next(place for place, pane in enumerate(self.panes, start=1) if pane.id == names[0])
        if self.is_mounted:
            self.action_pane(self.here)

    def action_maximise(self) -> None:
        self.maximised = not self.maximised
        self.action_pane(self.here)

    async def action_symbol(self, step: int) -> None:
        await self.program.look(symbol_step=step)

    def action_collect(self) -> None:
        def typed(answer: str | None) -> None:
            if answer:
                self.program.send_soon(self.program.prepare(Action.COLLECT, unified(answer)))

        text = "Its book, trades and bars are collected from every venue that lists it; orders go to the first market only."
        self.app.push_screen(Typed("Watch another market", text, "BTC, or BTC/USDT:USDT"), typed)

    async def action_drop(self) -> None:
        program = self.program
        if not program.bounced("drop"):
            symbol = self.desk.market.partition(":")[2]
            if program.second("drop", f"watch {show.market_name(self.desk.market, short=True)} no more", symbol):
                await program.ask(Action.DROP, symbol)

    async def action_timeframe(self, step: int = 1) -> None:
        await self.program.look(timeframe_step=step)

    def action_recentre(self) -> None:
        recentre = getattr(self.ladder, "recentre", None)
        if callable(recentre):
            recentre()

    def action_layout(self) -> None:
        self.program.next_layout()

    def action_latency(self) -> None:
        self.app.push_screen(LatencyScreen(self.desk))

    def action_theme(self) -> None:
        self.program.next_theme()

    def action_alert(self) -> None:
        program = self.program
        self.app.push_screen(AlertScreen(self.desk, program.alerts, program.keep_alerts))

    def action_backtest(self) -> None:
        self.program.open_backtest()

    def action_settings(self) -> None:
        self.program.open_settings()

    def action_help(self) -> None:
        self.program.open_help()

    def action_tour(self) -> None:
        def ended(key: str | None) -> None:
            if key:
                self.app.simulate_key(key)

        self.app.push_screen(TourScreen(self._point, self.program.user_keys), ended)

    def _point(self, name: str) -> None:
        """Let one part of the screen stand out, "" for none; where one pane has the screen it is that one."""
        place = next((place for place, pane in enumerate(self.panes, start=1) if pane.id == name), 0)
        if place and (self.has_class("-one") or not self.panes[place - 1].is_on_screen):
            self.here = place
            self._arrange()
        for widget in (*self.lines, self.key_bar):
            widget.set_class(widget.id == name, "-pointed")

    def action_palette(self) -> None:
        self.app.action_command_palette()

    def action_quit(self) -> None:
        self.app.push_screen(ask_quit(self.program.may_stop), self.program.part)

    # --- keys: steering ------------------------------------------------------------------------------------------------

    def _trading(self) -> Trading | None:
        status = self.desk.get(StatusView, "")
        return status.trading if status else None

    async def action_arm(self) -> None:
        program, status = self.program, self.desk.get(StatusView, "")
        if program.bounced("arm"):
            return
        if status is not None and status.trading is Trading.HALTED:
            program.say(f"Halted: release first ({keys.name_of('release', program.user_keys)}).", "warning")
        elif status is not None and status.mode is Mode.LIVE:
            phrase = arm_phrase(self.desk.markets[0].partition(":")[0])
            ask = program.prepare(Action.ARM, note=phrase)

            def typed(done: bool | None) -> None:
                if done:
                    program.send_soon(ask)
                else:
                    program.say("Not armed.")

            text = f"This trades real money. Type the phrase to allow entries: {phrase}"
            self.app.push_screen(Phrase("Arm live trading", text, phrase), typed)
        elif program.second("arm", "allow entries"):
            await program.ask(Action.ARM)

    async def action_disarm(self) -> None:
        if not self.program.bounced("disarm"):
            await self.program.ask(Action.DISARM)

    async def action_veto(self) -> None:
        if not self.program.bounced("veto"):
            await self.program.ask(Action.VETO, self.desk.market)

    def trace(self, order: str) -> None:
        """Show what led to an order or a judgment, and came of it; a sentence where there is none."""
        if not order:
            # A line in the log would move what the cursor is on there.
            self.program.notify("Neither an order nor a judgment is here to be traced.", timeout=4, markup=False)
            return
        self.app.push_screen(TraceScreen(self.desk, order, self.program.tell_watched))

    def action_veto_why(self) -> None:
        if self.program.bounced("veto_why"):
            return

        def told(note: str | None) -> None:
            if note:
                self.program.send_soon(self.program.prepare(Action.VETO, market, note))

        market = self.desk.market
        text = f"End the judgment of {show.market_name(market)}. Why? The journal keeps it; Escape changes nothing."
        self.app.push_screen(Typed("Veto", text, "for example: news at noon", most=200), told)

    def action_release(self) -> None:
        if self.program.bounced("release"):
            return
        if self._trading() is Trading.HALTED:
            text = "Trading is off after it, until you arm it again. Have you found out why it was halted?"
            self._confirm("Release the halt", text, "Release", Action.RELEASE)
        else:
            self.program.say("There is no halt to release.")

    def action_order(self) -> None:
        if self.program.bounced("order"):
            return
        market = self.desk.market
        screen = OrderScreen(self.desk, market, lambda: self._facts(market), self.typed)
        self.app.push_screen(screen, lambda answer: self._ordered(market, answer))

    def action_ticket(self) -> None:
        """The same by fields, at the ladder's cursor where there is one."""
        if self.program.bounced("ticket"):
            return
        market, facts, at = self.desk.market, self._facts(self.desk.market), self.ladder.cursor
        self.ticket = again(self.ticket if market == self._ticketed else Form(), facts, at)
        self._ticketed = market
        cursor = f"{at * facts.tick:f}" if at is not None and facts is not None else ""
        screen = TicketScreen(self.desk, market, lambda: self._facts(market), self.ticket, cursor)
        self.app.push_screen(screen, lambda answer: self._ordered(market, answer))

    def _ordered(self, market: str, answer: Understood | None) -> None:
        if answer is not None:
            ask = self.program.prepare(answer.action, answer.target or market, ticket=answer.ticket)
            self.program.tell(Level.INFO, f"you asked: {answer.words}")
            self.program.send_soon(ask)

    def _facts(self, market: str) -> Facts | None:
        """What an order's line is read against; None before there is a book."""
        view, held = self.desk.get(LadderView, market), self.desk.get(PositionsView, "")
        if view is None:
            return None
        mine = next((row for row in held.rows if row.market == market), None) if held is not None else None
        position = int(Decimal(mine.quantity) / view.step) if mine is not None else 0
        row = self.orders.selected() if self.focused is self.orders else None
        working = self.desk.get(OrdersView, "")
        resting = [one for one in working.open if one.market == market and one.kind == "limit"] if working is not None else []
        row = row or (resting[0] if len(resting) == 1 else None)
        bid, ask = (side[0][0] if side else 0 for side in (view.bids, view.asks))
        quote = market.rpartition(":")[2]
        name, side = (row.client_id, row.side) if row is not None else ("", Side.BUY)
        account = self.desk.get(AccountView, "")
        equity = Decimal(account.equity) if account is not None else None
        power = Decimal(account.free) * dict(account.leverages).get(market, 1) if account is not None and account.free else None
        return Facts(view.base, quote, view.tick, view.step, bid, ask, position, name, side, equity, power)

    def action_close(self) -> None:
        if self.program.bounced("close"):
            return
        chosen = self.positions.selected() if self.focused is self.positions else None
        view = self.desk.get(PositionsView, "")
        row = chosen or next((row for row in view.rows if row.market == self.desk.market), None) if view else None
        if row is None or not show.trend(row.quantity):
            self.program.say(f"No open position in {show.market_name(self.desk.market)}.")
            return
        side = "long" if show.trend(row.quantity) >= 0 else "short"
        what = f"Close {side} {row.quantity.lstrip('+-')} {show.market_name(row.market)} at the market, reduce-only"
        text = f"{what}. Unrealised now: {show.money(row.unrealised, sign=True)}."
        self._confirm("Close the position", text, "Close it", Action.CLOSE, row.market)

    async def action_cancel(self) -> None:
        if self.program.bounced("cancel"):
            return
        row = self.orders.selected()
        if row is None:
            self.program.say("No working order is selected: go to orders and choose one.")
        elif self.program.second("cancel", f"cancel {row.purpose} {row.side.name} {row.quantity}", row.client_id):
            await self.program.ask(Action.CANCEL, row.client_id)

    def _confirm(self, title: str, text: str, yes: str, action: Action, target: str = "") -> None:
        ask = self.program.prepare(action, target)  # one id for one question: a doubled Enter acts once

        def answered(answer: str | None) -> None:
            if answer == "yes":
                self.program.send_soon(ask)

        self.app.push_screen(confirm(title, text, yes), answered)
