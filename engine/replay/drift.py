"""A recorded session in; each order's fills beside those that paper would have given it, and how far they lie apart, out.

Paper is what a what-if fills by: the order arrives after the session's own delay, or when the venue's mark reaches its trigger,
and takes the book that the core saw then. The books are the recorded ones, so one order's drift does not grow into the next.
"""

import heapq
from collections.abc import Callable
from decimal import Decimal

import msgspec

from engine.core import Core
from engine.core.state import State
from engine.errors import SessionError
from engine.events import CancelOrder, Event, Filled, Mark, OrderChanged, OrderState, SendOrder, decode_output
from engine.fills import take
from engine.portfolio import commission, money
from engine.queue.session import Session
from engine.replay import first_of, settings_of
from engine.replay.refill import DEPTH, Triggers
from engine.replay.whatif import delay_of

Progress = Callable[[int], None]
GONE = (OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED)


class Side(msgspec.Struct):
    """What an order came to: steps, the sum of price x quantity and the commission, both in quote units."""

    quantity: int = 0
    value: Decimal = Decimal(0)
    fees: Decimal = Decimal(0)

    def price(self, step: Decimal) -> Decimal | None:
        """The average, None without a fill."""
        return self.value / (self.quantity * step) if self.quantity else None


class OrderDrift(msgspec.Struct):
    """`bps`: how much worse than paper's its price was, in basis points; None where one of them has no fill."""

    at: int
    market: str
    client_id: str
    purpose: str
    buys: bool
    wanted: int
    step: Decimal
    live: Side
    paper: Side

    @property
    def bps(self) -> float | None:
        if not self.live.quantity or not self.paper.quantity:
            return None
        return float(self.cost / self.at_paper * 10_000)

    @property
    def at_paper(self) -> Decimal:
        """The value of what was filled, at paper's price; as it was where paper has none."""
        paper = self.paper
        return paper.value * self.live.quantity / paper.quantity if paper.quantity else self.live.value

    @property
    def cost(self) -> Decimal:
        """Quote units lost against paper's price, on what was filled; negative: won."""
        return self.live.value - self.at_paper if self.buys else self.at_paper - self.live.value


class Drift(msgspec.Struct, frozen=True):
    """`bps` weighs each order by its value. `unmatched`: orders that only one side filled, or that it filled in part."""

    session: str
    delay_ms: float
    orders: tuple[OrderDrift, ...]  # that either side filled, in the order in which they were sent
    bps: float
    cost: Decimal
    fees_live: Decimal
    fees_paper: Decimal
    unmatched: int


def drift(session: Session, progress: Progress | None = None) -> Drift:
    """Raises SessionError for a session that cannot be read or has no market data any more."""
    if session.condensed is not None:
        raise SessionError(str(session.path), "its market data were removed, so nothing can be filled anew")
    delay_ns = delay_of(session)
    core, paper, done = Core(settings_of(session, first_of(session))), _Paper(delay_ns), 0
    for chunk in session.chunks():
        for event, recorded in chunk.steps():
            paper.until(event.at, core.state)
            core.process_or_halt(event)
            for raw in recorded:
                paper.said(decode_output(raw), core.state)
            paper.seen(event, core.state)
            done += 1
        if progress is not None:
            progress(done)
    return _summed(session, delay_ns, [one for one in paper.orders.values() if one.live.quantity or one.paper.quantity])


class _Paper:
    """The orders of a session, filled anew beside it."""

    def __init__(self, delay_ns: int) -> None:
        self.orders: dict[str, OrderDrift] = {}
        self._delay_ns, self._number = delay_ns, 0
        self._due: list[tuple[int, int, SendOrder]] = []
        self._guards: dict[str, SendOrder] = {}
        self._triggers = Triggers()

    def said(self, output: Event, state: State) -> None:
        """Something that the core said then: an order sets out, or is a fill richer."""
        match output:
            case SendOrder():
                step = state.markets[output.market].instrument.step
                buys, purpose = output.side > 0, output.purpose.value
                about = (output.at, output.market, output.client_id, purpose, buys, output.quantity, step)
                self.orders[output.client_id] = OrderDrift(*about, Side(), Side())
                self._number += 1
                heapq.heappush(self._due, (output.at + self._delay_ns, self._number, output))
            case CancelOrder():
                self._guards.pop(output.client_id, None)
            case OrderChanged() if output.after in GONE:
                self._guards.pop(output.client_id, None)
            case Filled() if output.client_id in self.orders:
                instrument = state.markets[output.market].instrument
                live = self.orders[output.client_id].live
                live.quantity += output.quantity
                live.value += money(instrument, output.price, output.quantity)
                live.fees += output.fee

    def until(self, moment: int, state: State) -> None:
        """Orders that arrive before `moment`."""
        while self._due and self._due[0][0] <= moment:
            _, _, order = heapq.heappop(self._due)
            if order.kind.conditional:
                self._guards[order.client_id] = order
            else:
                self._fill(order, state)

    def seen(self, event: Event, state: State) -> None:
        """A mark triggers the stops and targets that it reaches."""
        if not isinstance(event, Mark) or event.market not in state.markets:
            return
        tick = state.markets[event.market].instrument.tick
        guards = [one for one in self._guards.values() if one.market == event.market]
        for order in [one for one in guards if self._triggers.reached(one, event.mark, tick)]:
            del self._guards[order.client_id]
            self._fill(order, state)

    def _fill(self, order: SendOrder, state: State) -> None:
        held, paper = state.markets.get(order.market), self.orders[order.client_id].paper
        if held is None or not held.book.trusted:
            return  # nobody knows what it would have found
        rate = state.portfolio.taker_rate(order.market)
        for price, part in take(iter(held.book.top(order.side.other, DEPTH)), {}, order.side, order.quantity, order.price):
            value = money(held.instrument, price, part)
            paper.quantity += part
            paper.value += value
            paper.fees += commission(value, rate)


def _summed(session: Session, delay_ns: int, orders: list[OrderDrift]) -> Drift:
    both = [one for one in orders if one.bps is not None]
    cost = sum((one.cost for one in both), Decimal(0))
    at_paper = sum((one.at_paper for one in both), Decimal(0))
    return Drift(
        session.opening.session,
        delay_ns / 1e6,
        tuple(orders),
        float(cost / at_paper * 10_000) if at_paper else 0.0,
        cost,
        sum((one.live.fees for one in orders), Decimal(0)),
        sum((one.paper.fees for one in orders), Decimal(0)),
        sum(one.live.quantity != one.paper.quantity for one in orders),
    )
