"""The invariant: every open position has a live reduce-only stop of its size, or it is closed.

Checked after everything that can change a position or an order, and on every tick.
"""

import math

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
    stops = [order for order in guards if order.purpose is Purpose.STOP and _fits(order, side, quantity)]
    live = [order for order in stops if order.state is OrderState.WORKING]
    _watch(state, settings, held, bool(live), out)
    if _entry_filling(state, market, position.opened_at) or _leaving(state, market):
        return
    planned = held.plan or _default_plan(settings, held)
    if planned is None:
        return
    entry = float(position.entry(held.instrument))
    if not stops and state.now - held.stop_tried_at >= RETRY_NS:
        held.stop_tried_at = state.now
        _guard(state, settings, held, OrderKind.STOP, side, quantity, entry - planned.stop_distance * -side, out)
    if live:
        targets = [order for order in guards if order.purpose is Purpose.TARGET and _fits(order, side, quantity)]
        # A target that was refused is not tried again for a while: the position still has its stop.
        if not targets and state.now - held.target_refused_at >= TARGET_RETRY_NS:
            _guard(state, settings, held, OrderKind.TARGET, side, quantity, entry + planned.target_distance * -side, out)
        for order in guards:  # the old size goes only when the new one protects
            if order not in stops and order not in targets:
                _remove(state, order, out)


def _fits(order: Order, side: Side, quantity: int) -> bool:
    return order.side is side and order.quantity == quantity and order.state is not OrderState.CANCELLING


def _entry_filling(state: State, market: str, opened_at: int) -> bool:
    """A partly filled entry: wait for the rest a little, since each resize is two more requests."""
    busy = any(order.purpose is Purpose.ENTRY for order in state.open_orders(market))
    return busy and state.now - opened_at < ENTRY_GRACE_NS


def _leaving(state: State, market: str) -> bool:
    """A market exit of known fate is on its way: its fill or its end brings us back here."""
    return any(order.purpose is Purpose.EXIT and order.state is not OrderState.UNKNOWN for order in state.open_orders(market))


def _watch(state: State, settings: Settings, held: MarketState, protected: bool, out: Out) -> None:
    """Close a position that has been without a stop for too long."""
    if protected:
        held.unprotected_since = 0
        return
    held.unprotected_since = held.unprotected_since or state.now
    if state.now - held.unprotected_since > settings.risk.protect_within_ms * NS_PER_MS:
        trading.leave(state, settings, held, "the position had no protective stop in time", out)


def _default_plan(settings: Settings, held: MarketState) -> action.Plan | None:
    """For a position that we did not open: the strategy's distances from what is known now."""
    mark = held.mark_price()
    if mark is None:
        return None
    features = held.features.get(timeframe_ms(settings))
    held.plan = action.plan(float(mark), features.atr_14 if features else math.nan, settings.strategy)
    return held.plan


def _guard(
    state: State, settings: Settings, held: MarketState, kind: OrderKind, side: Side, quantity: int, price: float, out: Out
) -> None:
    """Send a stop or a target at `price` quote units, rounded to the tick that triggers sooner."""
    ticks = price / float(held.instrument.tick)
    sooner = side is Side.SELL if kind is OrderKind.STOP else side is Side.BUY
    trigger = max(math.ceil(ticks - 1e-9) if sooner else math.floor(ticks + 1e-9), 1)
    purpose = Purpose.STOP if kind is OrderKind.STOP else Purpose.TARGET
    intent = risk.Intent(held.instrument.market, purpose, side, quantity, trigger, reason=f"{purpose.value} at {trigger} ticks")
    approved = trading.gate(state, settings, held, intent, trading.context(state, settings, held), out)
    if approved is not None:
        trading.send(state, approved, kind, trigger, out)


def _remove(state: State, order: Order, out: Out) -> None:
    if state.now - order.cancel_asked_at >= trading.CANCEL_AGAIN_NS:
        trading.cancel(state, order, out)


def stop_refused(state: State, settings: Settings, held: MarketState, reason: str, out: Out) -> None:
    """The price is already past the stop: there is nothing to wait for."""
    out.append(Alert(state.now, Level.WARNING, f"The stop was refused ({reason}); the position is closed at market."))
    trading.leave(state, settings, held, "the stop could not be placed because the price is already past it", out)
