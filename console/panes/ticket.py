"""An order that is being written, in rows: the fields of a ticket, and what the engine says that the order would do."""

import math
from collections.abc import Callable
from decimal import Decimal

from rich.cells import cell_len

from console import format as show
from console.desk import Desk
from console.format import fit
from console.panes.account import signed
from console.panes.lines import LinePane, Row, Run, bar, fitted, wrap
from console.ticket import FIELDS, GUARDS, Form
from engine.events import Ticket
from engine.views import Estimate, LadderView, Room, TicketView

LABELS = {"kind": "type", "reduce": "reduce only"}
CHOICES = ("side", "kind", "reduce")
LABEL, NAME = 13, 10  # cells of a name: of a field, of a figure
LIMIT, SAID = 15, 26  # of a limit's name, and of what is said of it
HOUR_S = 3_600.0
BOUNDLESS, NO_EQUITY = 1e9, "no equity"


class FormPane(LinePane):
    """A field a row. The one that keys change is marked, besides being bright."""

    def __init__(self, desk: Desk, form: Form, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.form = form

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        return [self._row(name, width) for name in FIELDS]

    def _row(self, name: str, width: int) -> Row:
        form, here = self.form, self.form.here == name
        label = "distance %" if (name, form.kind) == ("trail", "trailing") else "trigger" if self._triggers(name) else name
        label = f"{'>' if here else ' '} {LABELS.get(label, label)}"
        if name not in form.fields:
            return ((fit(label, LABEL), "faint"), (" -", "faint"))
        value = str(getattr(form, name))
        shown = value.upper() if name == "side" else value
        look = ("bid" if value == "buy" else "ask") if name == "side" else "text"
        text = f"<{shown}>" if here and name in CHOICES else f" {shown}{'_' if here and name not in CHOICES else ''} "
        return (
            (fit(label, LABEL), "text bold" if here else "muted"),
            (fit(text, min(cell_len(text), width - LABEL)), f"{look} bold reverse" if here else look),
        )

    def _triggers(self, name: str) -> bool:
        return name == "price" and self.form.kind in GUARDS


class PreviewPane(LinePane, can_focus=False):
    """What the engine says of the order that `asked` returns: its ticket, and the order that it amends; None for none yet."""

    def __init__(self, desk: Desk, market: str, asked: Callable[[], tuple[Ticket, str] | None], *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.market, self.asked = market, asked

    def versions(self) -> tuple[object, ...]:
        return (self.desk.version(TicketView, self.market), self.desk.connected, self.asked())

    def view(self) -> TicketView | None:
        """The engine's word on this very order; None before it has come, and when the engine is not heard."""
        asked, view = self.asked(), self.desk.get(TicketView, self.market)
        there = asked is not None and view is not None and self.desk.connected and (view.ticket, view.amends) == asked
        return view if there else None

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        view, ladder = self.view(), desk.get(LadderView, self.market)
        if self.asked() is None or ladder is None:
            return []
        if not desk.connected:
            return [((f"! {desk.lost_reason or 'no engine is heard'}", "stale"),)]
        if view is None:
            return [(("The engine is asked what it would do.", "muted"),)]
        rows: list[Row] = []
        if view.refusal:
            rows += [((line, "halt bold"),) for line in wrap(f"! refused: {view.refusal}", width, most=3)]
        elif view.estimate is not None:
            rows.append((("it would be sent now", "text bold"),))
        rows += [((line, "stale"),) for note in view.notes for line in wrap(f"! {note}", width, most=2)]
        if (found := view.estimate) is not None:
            rows += figures(found, ladder, width)
            rows += [limit(one, width) for one in found.rooms]
        return rows


def figures(found: Estimate, ladder: LadderView, width: int) -> list[Row]:
    """Names left, what there is to say right of them."""
    places, facts = show.decimals(ladder.tick), dict[str, list[Run]]()
    if found.quantity:
        how = f"{found.slippage_bps:+.1f} bps" if found.taken else "rests"
        if 0 < found.taken < found.quantity:
            how += f", {show.ticks(found.taken, ladder.step)} at once"
        facts["price"] = [(f"{found.average:.{places + (2 if found.slippage_bps else 0)}f}", "text bold"), (how, "muted")]
        facts["cost"] = [(show.money(found.notional), "text bold"), (f"fee {show.money(found.fee, 4)}", "muted")]
    far = (f"liquidation {found.liquidation:.{places}f}", "liq") if found.liquidation else ("no liquidation", "muted")
    facts["leverage"] = [(f"{found.leverage:.2f}x" if found.leverage < BOUNDLESS else NO_EQUITY, "text"), far]
    facts["funding"] = [(text, "muted") for text in funding(found)]
    loss = Decimal(found.loss or 0)
    if found.loss:
        facts["at stop"] = [signed(str(-loss)), (show.ticks(found.stop, ladder.tick), "stop")]
    if found.gain:
        more = f", {Decimal(found.gain) / loss:.1f} times the loss" if loss > 0 else ""
        facts["at target"] = [signed(found.gain), (f"{show.ticks(found.target, ladder.tick)}{more}", "muted")]
    if found.result:
        facts["comes to"] = [signed(found.result)]
    if found.most:
        facts["at most"] = [(f"{show.ticks(found.most, ladder.step)} {ladder.base}", "text"), ("within the limits", "muted")]
    return [((f"{name:<{NAME}}", "muted"), *fitted(runs, max(width - NAME, 1))) for name, runs in facts.items()]


def funding(found: Estimate) -> tuple[str, str]:
    """Of the next settlement, and whether it comes within the hour."""
    if found.funding_in_s == math.inf:
        return "not known", ""
    due = Decimal(found.funding)
    what = f"{'receives' if due < 0 else 'pays'} {show.money(str(abs(due)), 4)}" if due else "none"
    return f"{what} in {show.duration(found.funding_in_s * 1000)}", "none this hour" if found.funding_in_s > HOUR_S else ""


def amount(value: float, unit: str) -> str:
    if value >= BOUNDLESS and unit in ("x", "%"):  # of an equity that is not known yet, or gone
        return NO_EQUITY
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:,.2f}"


def limit(room: Room, width: int) -> Row:
    """How much of a limit would be used: `order  602 of 2,000 USDT  ███  30 %`."""
    look = "halt" if room.share >= 1 else "stop" if room.share >= 0.8 else "muted"
    used, most = (amount(value, room.unit) for value in (room.used, room.limit))
    said = f"{'! ' if room.share >= 1 else ''}{used} of {'at least ' if room.least else ''}{most} {room.unit}".rstrip()
    share = f"{min(room.share * 100, 999):.0f} %"
    cells = width - LIMIT - SAID - 7
    gauge = bar(room.share, cells) if cells >= 4 else ""
    left = max(width - LIMIT - len(gauge) - 6, 1)
    return (
        (f"{room.name:<{LIMIT}}", "muted"),
        (fit(said, left), look if room.share >= 0.8 else "text"),
        (gauge, look),
        (f"{share:>6}", look),
    )
