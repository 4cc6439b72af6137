"""One order in; the chain behind it out: question, judgment, intent, order, fills, their price against the mid, the profit."""

from decimal import Decimal

from engine.core.state import Cause, MarketState, State
from engine.events import Purpose, Side
from engine.execution.orders import Order
from engine.views import TraceView

Step = tuple[str, int, str]


def trace(state: State, client_id: str) -> TraceView:
    """A guard or an exit is told behind the entry that it belongs to."""
    order, cause = state.orders.get(client_id), state.causes.get(client_id)
    if order is None or cause is None or order.market not in state.markets:
        return TraceView("", client_id, (("order", 0, "Nothing is kept of this order any more."),))
    held = state.markets[order.market]
    steps: list[Step] = []
    entry, entry_cause = state.orders.get(cause.entry), state.causes.get(cause.entry)
    if entry is not None and entry_cause is not None:
        steps += _chain(held, entry, entry_cause)
    return TraceView("", client_id, (*steps, *_chain(held, order, cause)))


def _chain(held: MarketState, order: Order, cause: Cause) -> list[Step]:
    steps: list[Step] = []
    stance = cause.stance
    if stance is not None and cause.asked_at:
        steps.append(("question", cause.asked_at, f"{stance.question} was asked of {stance.source}"))
    if stance is not None:
        chance = f"{stance.raw_chance}% up, taken as {stance.chance_up:.0%}; " if stance.raw_chance else ""
        limits = f"confidence {stance.confidence:.2f}, risk {stance.risk_score:.2f}, size at most {stance.size_cap:.0%}"
        said = f"{stance.bias.value} by {stance.source}: {chance}{limits}"
        steps.append(("judgment", stance.made_at, f"{said}. {stance.rationale}".rstrip()))
    step, tick = held.instrument.step, held.instrument.tick
    at_mid = f" with the mid at {cause.mid:g}" if cause.mid else ""
    size = f"{order.side.name} {order.quantity * step} {held.instrument.base}"
    steps.append(("intent", cause.at, f"{order.purpose.value}: {size}{at_mid}, since {cause.reason}"))
    if order.purpose is Purpose.ENTRY:
        steps.append(("risk", cause.at, "approved: every limit was kept"))
    at = f" at {(order.trigger or order.price) * tick}" if order.trigger or order.price else ""
    state = f"{order.kind.value}{at}, {order.state.value}" + (f": {order.reason}" if order.reason else "")
    steps.append(("order", order.created_at, f"{order.client_id} {state}"))
    steps += [_fill(held, order, cause, fill) for fill in cause.fills]
    if cause.fills:
        realised, fees = sum((fill[4] for fill in cause.fills), Decimal(0)), sum((fill[3] for fill in cause.fills), Decimal(0))
        steps.append(("money", cause.fills[-1][0], f"realised {realised.normalize():+f}, fees {fees.normalize():f}"))
    return steps


def _fill(held: MarketState, order: Order, cause: Cause, fill: tuple[int, int, int, Decimal, Decimal]) -> Step:
    at, price, quantity, _, _ = fill
    step, tick = held.instrument.step, held.instrument.tick
    text = f"{quantity * step} at {price * tick}"
    if cause.mid and not order.kind.conditional:
        worse = (float(price * tick) / cause.mid - 1.0) * 1e4 * (1 if order.side is Side.BUY else -1)
        text += f", {worse:+.1f} bps from the mid, {(at - cause.at) / 1e6:.0f} ms after the decision"
    return "fill", at, text
