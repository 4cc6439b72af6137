"""The invariant: every open position has a live reduce-only stop of its size, or it is closed.

Checked after everything that can change a position or an order, and on every tick.
"""

import math

import msgspec

from engine import action, risk
from engine.config import Settings, timeframe_ms
from engine.core import trading
from engine.core.state import MarketState, State
from engine.core.trading import Out
from engine.events import Alert, Level, OrderKind, OrderState, Purpose, Side
from engine.execution.orders import Order

NS_PER_MS = 1_000_000
ENTRY_GRACE_NS = 500 * NS_PER_MS  # while an entry still fills, its final size is worth waiting for this long
RETRY_NS = 500 * NS_PER_MS
TARGET_RETRY_NS = 20 * RETRY_NS


def protect(state: State, settings: Settings, held: MarketState, out: Out) -> None:
    """Place, resize or remove the stop and the target of one market's position."""
    market = held.instrument.market
    position = state.portfolio.position(market)
    guards = [order for order in state.open_orders(market) if order.purpose in (Purpose.STOP, Purpose.TARGET)]
    if not position.quantity:
        held.unprotected_since = 0
        for order in guards:
            _remove(state, order, out)
        return
    if not state.reconciled:
        return  # what rests at the venue is not known: its stop may be there
    quantity, side = abs(position.quantity), Side.SELL if position.quantity > 0 else Side.BUY
    planned = held.plan or _default_plan(settings, held)
    sized = [order for order in guards if order.purpose is Purpose.STOP and _fits(order, side, quantity)]
    _watch(state, settings, held, any(order.state is OrderState.WORKING for order in sized), out)
    _escalate(state, settings, held, guards, out)
    if _entry_filling(state, market, position.opened_at) or _leaving(state, market):
        return
    if planned is None:
        return
    entry = float(position.entry(held.instrument))
    stops = [order for order in sized if _planned_stop(order, planned)]
    if not stops and state.now - held.stop_tried_at >= RETRY_NS:
        held.stop_tried_at = state.now
        if planned.trail_bps:
            _send(state, settings, held, OrderKind.TRAILING, side, quantity, 0, out, planned.trail_bps)
        else:
            trigger = planned.stop or _sooner(held, OrderKind.STOP, side, entry + planned.stop_distance * side)
            _send(state, settings, held, OrderKind.STOP, side, quantity, trigger, out)
    if any(order.state is OrderState.WORKING for order in stops):
        targets = [
            order
            for order in guards
            if order.purpose is Purpose.TARGET and _fits(order, side, quantity) and planned.target in (0, order.trigger)
        ]
        if not planned.target and not planned.target_distance:
            targets = []
        # A target that was refused is not tried again for a while: the position still has its stop.
        elif not targets and state.now - held.target_refused_at >= TARGET_RETRY_NS:
            trigger = planned.target or _sooner(held, OrderKind.TARGET, side, entry - planned.target_distance * side)
            _send(state, settings, held, OrderKind.TARGET, side, quantity, trigger, out)
        for order in guards:  # the old one goes only when the new one protects
            if order not in stops[-1:] and order not in targets[-1:]:
                _remove(state, order, out)


def _planned_stop(order: Order, planned: action.Plan) -> bool:
    """Whether it is the stop that was chosen; where none was, one of the right size will do."""
    if planned.trail_bps:
        return order.kind is OrderKind.TRAILING and order.trail_bps == planned.trail_bps
    return order.trigger == planned.stop if planned.stop else order.kind is OrderKind.STOP


def _fits(order: Order, side: Side, quantity: int) -> bool:
    return order.side is side and order.quantity == quantity and order.state is not OrderState.CANCELLING


def _entry_filling(state: State, market: str, opened_at: int) -> bool:
    """A partly filled entry: wait for the rest a little, since each resize is two more requests."""
    busy = any(order.purpose is Purpose.ENTRY for order in state.open_orders(market))
    return busy and state.now - opened_at < ENTRY_GRACE_NS


def _leaving(state: State, market: str) -> bool:
    """A market exit of known fate is on its way: its fill or its end brings us back here."""
    leaving = (order for order in state.open_orders(market) if order.purpose is Purpose.EXIT and not order.rests)
    return any(order.state is not OrderState.UNKNOWN for order in leaving)


def _watch(state: State, settings: Settings, held: MarketState, protected: bool, out: Out) -> None:
    """Close a position that has been without a stop for too long."""
    if protected:
        held.unprotected_since = 0
        return
    held.unprotected_since = held.unprotected_since or state.now
    if state.now - held.unprotected_since > settings.risk.protect_within_ms * NS_PER_MS:
        trading.leave(state, settings, held, "the position had no protective stop in time", out)


def _escalate(state: State, settings: Settings, held: MarketState, guards: list[Order], out: Out) -> None:
    """Close at market what a stop should have closed: it was triggered and has not filled, or the mark is beyond it."""
    wait_ns, mark = settings.risk.protect_within_ms * NS_PER_MS, held.mark_price()
    stops = [order for order in guards if order.purpose is Purpose.STOP]
    if any(order.triggered_at and state.now - order.triggered_at > wait_ns for order in stops):
        trading.leave(state, settings, held, "the stop was triggered and did not fill", out)
    passed = mark is not None and any(
        order.trigger and order.kind is OrderKind.STOP and (mark - order.trigger * held.instrument.tick) * order.side >= 0
        for order in stops
        if order.state is OrderState.WORKING
    )
    held.stop_passed_at = (held.stop_passed_at or state.now) if passed else 0
    if passed and state.now - held.stop_passed_at > wait_ns:
        trading.leave(state, settings, held, "the price is beyond the stop, which has not triggered", out)


def _default_plan(settings: Settings, held: MarketState) -> action.Plan | None:
    """For a position that we did not open: the strategy's distances from what is known now."""
    mark = held.mark_price()
    if mark is None:
        return None
    features = held.features.get(timeframe_ms(settings))
    held.plan = action.plan(float(mark), features.atr_14 if features else math.nan, settings.strategy)
    return held.plan


def _sooner(held: MarketState, kind: OrderKind, side: Side, price: float) -> int:
    """`price` quote units as the tick that triggers sooner."""
    up = side is Side.SELL if kind is OrderKind.STOP else side is Side.BUY
    return action.sooner(up, price / float(held.instrument.tick))


def _send(
    state: State,
    settings: Settings,
    held: MarketState,
    kind: OrderKind,
    side: Side,
    quantity: int,
    trigger: int,
    out: Out,
    trail_bps: int = 0,
) -> None:
    purpose = Purpose.TARGET if kind is OrderKind.TARGET else Purpose.STOP
    reason = f"a stop that trails by {trail_bps} bps" if trail_bps else f"{purpose.value} at {trigger} ticks"
    intent = risk.Intent(held.instrument.market, purpose, side, quantity, trigger, reason=reason)
    approved = trading.gate(state, settings, held, intent, trading.to_reduce(state, held), out)
    if approved is not None:
        trading.send(state, approved, kind, trigger, out, trail_bps=trail_bps)


def _remove(state: State, order: Order, out: Out) -> None:
    if state.now - order.cancel_asked_at >= trading.CANCEL_AGAIN_NS:
        trading.cancel(state, order, out)


def stop_refused(state: State, settings: Settings, held: MarketState, reason: str, out: Out) -> None:
    """The price is already past the stop: there is nothing to wait for, unless another one stands."""
    standing = [
        order
        for order in state.open_orders(held.instrument.market)
        if order.purpose is Purpose.STOP and order.state is OrderState.WORKING
    ]
    if standing and held.plan is not None:
        stays = standing[-1]
        held.plan = msgspec.structs.replace(held.plan, stop=stays.trigger, trail_bps=stays.trail_bps)
        text = f"The new stop was refused ({reason}); the one at {stays.trigger * held.instrument.tick} stays."
        out.append(Alert(state.now, Level.WARNING, text))
        return
    out.append(Alert(state.now, Level.WARNING, f"The stop was refused ({reason}); the position is closed at market."))
    trading.leave(state, settings, held, "the stop could not be placed because the price is already past it", out)
