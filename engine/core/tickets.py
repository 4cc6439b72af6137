"""An operator's ticket in; the order that it asks for, past the same gate as every other, out, or the reason why not.

An entry by hand is a bracket: its stop (the strategy's distance where none was chosen) and its target, if any, follow what is
filled of it. A stop, target or trailing stop by hand replaces the one that the position has.
"""

import math
from typing import NamedTuple

import msgspec

from engine import action, risk
from engine.action import Plan
from engine.config import Settings, timeframe_ms
from engine.core import trading
from engine.core.state import MarketState, State
from engine.core.trading import Out
from engine.events import AmendOrder, OrderKind, OrderState, Purpose, Side, Ticket, TimeInForce
from engine.execution import orders

K = OrderKind
MIN_TRAIL_BPS, MAX_TRAIL_BPS, TRAIL_STEP_BPS = 10, 1_000, 10  # what both venues take


class Wrong(Exception):
    """Its text is the reason."""


class Wanted(NamedTuple):
    """What a ticket comes to as things are now, before anything is sent: a preview shows it, `place` and `amend` act on it.

    `gated`: risk decides upon it. `plan` is how the position of an entry, or the one that there is, is meant to end.
    """

    held: MarketState
    intent: risk.Intent
    look: risk.Context
    gated: bool = True
    plan: Plan | None = None


def place(state: State, settings: Settings, market: str, ticket: Ticket | None, who: str, out: Out) -> str:
    """Send what the ticket asks for; returns why not, "" when it is on its way."""
    if ticket is None:
        return "an order needs a ticket"
    try:
        wanted = want(state, settings, market, ticket, who)
    except Wrong as wrong:
        return str(wrong)
    held = wanted.held
    if ticket.kind.conditional:  # `protection` places the new order, and takes the old one away once it protects
        held.plan = wanted.plan
        if ticket.kind is K.TARGET:
            held.target_refused_at = 0
        else:
            held.stop_tried_at = 0
        return ""
    approved = trading.gate(state, settings, held, wanted.intent, wanted.look, out)
    if approved is None:
        return state.refusal
    order = trading.send(state, approved, ticket.kind, 0, out, ticket.price, ticket.time_in_force)
    if wanted.plan is not None:
        state.brackets[order.client_id] = wanted.plan
    return ""


def want(state: State, settings: Settings, market: str, ticket: Ticket, who: str) -> Wanted:
    """Raises Wrong; changes nothing."""
    held = state.markets.get(market)
    if held is None:
        raise Wrong(f"{market or 'the market'} is not collected")
    _check(ticket)
    if ticket.kind.conditional:
        return _guard(state, settings, held, ticket, who)
    if ticket.reduce_only:
        return _exit(state, settings, held, ticket, who)
    return _entry(state, settings, held, ticket, who)


def _check(ticket: Ticket) -> None:
    """What is wrong with a ticket whatever the market does."""
    if min(ticket.quantity, ticket.price, ticket.trigger, ticket.stop, ticket.target, ticket.trail_bps) < 0:
        raise Wrong("an order has no negative figures")
    limit = ticket.kind is K.LIMIT
    if limit != bool(ticket.price):
        raise Wrong("a limit order needs a price" if limit else f"a {ticket.kind.value} order has no price of its own")
    if not limit and ticket.time_in_force is not TimeInForce.GTC:
        raise Wrong(f"{ticket.time_in_force.value.upper()} belongs to limit orders")
    if ticket.kind in (K.STOP, K.TARGET) and not ticket.trigger:
        raise Wrong(f"a {ticket.kind.value} order needs the price that triggers it")
    if (ticket.kind is K.TRAILING or ticket.trail_bps) and not (
        MIN_TRAIL_BPS <= ticket.trail_bps <= MAX_TRAIL_BPS and ticket.trail_bps % TRAIL_STEP_BPS == 0
    ):
        raise Wrong(
            f"a trailing stop's distance is {MIN_TRAIL_BPS} to {MAX_TRAIL_BPS} basis points, in steps of {TRAIL_STEP_BPS}"
        )
    if ticket.reduce_only and (ticket.stop or ticket.target or (ticket.trail_bps and ticket.kind is not K.TRAILING)):
        raise Wrong("an order that only reduces has no stop or target of its own")
    if ticket.stop and ticket.trail_bps:
        raise Wrong("a stop stands or trails, not both")


def _entry(state: State, settings: Settings, held: MarketState, ticket: Ticket, who: str) -> Wanted:
    market, side = held.instrument.market, ticket.side
    if state.portfolio.quantity(market) * side < 0:
        raise Wrong("it is against the position: close that first, or mark the order reduce-only")
    price = ticket.price or (held.book.best_ask if side is Side.BUY else held.book.best_bid)
    planned = _bracket(settings, held, ticket, price)
    stop = _first_stop(held, planned, side, price)
    reason = f"ordered by {who}"
    intent = risk.Intent(market, Purpose.ENTRY, side, ticket.quantity, price, stop, planned.target, reason, ticket.price)
    return Wanted(held, intent, trading.context(state, settings, held, side), plan=planned)


def _bracket(settings: Settings, held: MarketState, ticket: Ticket, price: int) -> Plan:
    """How the position of an entry at `price` ticks is meant to end."""
    side = ticket.side
    if ticket.stop and (price - ticket.stop) * side <= 0:
        raise Wrong("the stop is on the wrong side of the entry")
    if ticket.target and (ticket.target - price) * side <= 0:
        raise Wrong("the target is on the wrong side of the entry")
    features = held.features.get(timeframe_ms(settings))
    atr = features.atr_14 if features is not None else math.nan
    usual = action.plan(price * float(held.instrument.tick), atr, settings.strategy)
    return Plan(usual.stop_distance, 0.0, ticket.stop, ticket.target, ticket.trail_bps)


def _first_stop(held: MarketState, planned: Plan, side: Side, price: int) -> int:
    """The tick at which the stop of an entry at `price` ticks stands at first."""
    if planned.stop:
        return planned.stop
    tick = float(held.instrument.tick)
    distance = price * tick * planned.trail_bps / 10_000 if planned.trail_bps else planned.stop_distance
    return price - side * max(math.ceil(distance / tick), 1)


def _exit(state: State, settings: Settings, held: MarketState, ticket: Ticket, who: str) -> Wanted:
    market = held.instrument.market
    resting = sum(order.unfilled for order in state.open_orders(market) if order.purpose is Purpose.EXIT)
    free = abs(state.portfolio.quantity(market)) - resting
    if resting and ticket.quantity > free:
        raise Wrong(f"other orders close all but {max(free, 0) * held.instrument.step:f} of the position already")
    price = ticket.price or (held.book.best_bid if ticket.side is Side.SELL else held.book.best_ask)
    intent = risk.Intent(market, Purpose.EXIT, ticket.side, ticket.quantity, price, reason=f"ordered by {who}")
    return Wanted(held, intent, trading.context(state, settings, held))


def _guard(state: State, settings: Settings, held: MarketState, ticket: Ticket, who: str) -> Wanted:
    """Another plan for the position."""
    market = held.instrument.market
    position = state.portfolio.quantity(market)
    if not position:
        raise Wrong("there is no position; a stop or target of an entry goes on the entry's own ticket")
    if position * ticket.side > 0:
        raise Wrong("a stop or target must be against the position")
    if ticket.quantity not in (0, abs(position)):
        raise Wrong("a stop or target is for the whole position; leave its size out")
    mark = held.mark_price()
    if held.plan is None or mark is None:
        raise Wrong("the position's own stop is being placed; try again in a moment")
    ahead = (ticket.trigger * held.instrument.tick - mark) * ticket.side  # above zero: where a stop belongs
    if (ticket.kind is K.STOP and ahead <= 0) or (ticket.kind is K.TARGET and ahead >= 0):
        raise Wrong(f"the price is already past that {ticket.kind.value}")
    changed = msgspec.structs.replace
    if ticket.kind is K.TARGET:
        purpose, planned = Purpose.TARGET, changed(held.plan, target=ticket.trigger)
    else:
        purpose, planned = Purpose.STOP, changed(held.plan, stop=ticket.trigger, trail_bps=ticket.trail_bps)
    trigger = ticket.trigger or _first_stop(held, planned, ticket.side.other, round(mark / held.instrument.tick))
    intent = risk.Intent(market, purpose, ticket.side, abs(position), trigger, reason=f"ordered by {who}")
    return Wanted(held, intent, trading.context(state, settings, held), gated=False, plan=planned)


def amend(state: State, settings: Settings, client_id: str, ticket: Ticket | None, who: str, out: Out) -> str:
    """Change a resting limit order to the ticket's quantity and price; returns why not."""
    try:
        wanted = want_amended(state, settings, client_id, ticket, who)
    except Wrong as wrong:
        return str(wrong)
    if wanted.gated and trading.gate(state, settings, wanted.held, wanted.intent, wanted.look, out) is None:
        return state.refusal
    assert ticket is not None
    order = state.orders[client_id]
    orders.ask_amend(order, ticket.quantity, ticket.price, state.now)
    out.append(AmendOrder(state.now, order.market, client_id, order.venue_id, order.side, ticket.quantity, ticket.price))
    return ""


def want_amended(state: State, settings: Settings, client_id: str, ticket: Ticket | None, who: str) -> Wanted:
    """The order as if it were made anew, in place of what it may still fill. Raises Wrong; changes nothing."""
    order = state.orders.get(client_id)
    held = state.markets.get(order.market) if order is not None else None
    if order is None or held is None or not order.open:
        raise Wrong("there is no such open order")
    if ticket is None or ticket.quantity <= order.filled or ticket.price <= 0:
        raise Wrong("an amended order needs a price, and a quantity above what is filled")
    if not order.rests:
        raise Wrong("only a limit order that rests in the book can be amended")
    if order.state not in (OrderState.WORKING, OrderState.PARTLY_FILLED) or order.amend_quantity:
        raise Wrong(f"the order is {order.state.value.replace('_', ' ')} and cannot be amended now; try again in a moment")
    if (ticket.quantity, ticket.price) == (order.quantity, order.price):
        raise Wrong("the order is so already")
    market, quantity, price, reason = order.market, ticket.quantity - order.filled, ticket.price, f"amended by {who}"
    if not order.adds_exposure:
        if quantity > abs(state.portfolio.quantity(market)):
            raise Wrong("an exit may not be larger than the position")
        intent = risk.Intent(market, Purpose.EXIT, order.side, quantity, price, reason=reason)
        return Wanted(held, intent, trading.context(state, settings, held), gated=False)
    look = trading.context(state, settings, held, order.side)
    look = msgspec.structs.replace(look, pending=look.pending - order.side * order.outstanding)
    planned = state.brackets.get(client_id) or _bracket(settings, held, ticket, price)
    stop = _first_stop(held, planned, order.side, price)
    return Wanted(
        held, risk.Intent(market, Purpose.ENTRY, order.side, quantity, price, stop, planned.target, reason, price), look
    )
