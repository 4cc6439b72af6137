"""One order or judgment in; the chain behind it and what came of it out: question, judgment, stance, decision, intent, order, the
venue's answers, fills, their price against the mid, the profit.
"""

from datetime import UTC, datetime
from decimal import Decimal

from engine.core.judging import verdict
from engine.core.state import Cause, MarketState, State, Verdict
from engine.events import Bias, OrderState, Purpose, Side, Stance
from engine.execution.orders import Order
from engine.views import TraceView

Step = tuple[str, int, str]
FILLS = (OrderState.PARTLY_FILLED, OrderState.FILLED)  # told by the fills themselves


def trace(state: State, key: str) -> TraceView:
    """Of an order by its client id; of a judgment by `Stance.key` or by the question that it answers."""
    steps = _of_order(state, key) or _of_judgment(state, key)
    return TraceView("", key, tuple(steps) or (("nothing", 0, "Nothing is kept of this any more."),))


def _of_order(state: State, client_id: str) -> list[Step]:
    """A guard or an exit is told behind the entry that it belongs to."""
    order, cause = state.orders.get(client_id), state.causes.get(client_id)
    if order is None or cause is None or order.market not in state.markets:
        return []
    held = state.markets[order.market]
    entry, entry_cause = state.orders.get(cause.entry), state.causes.get(cause.entry)
    before = _why(held, entry_cause) + _did(held, entry, entry_cause) if entry is not None and entry_cause is not None else []
    return [*before, *_why(held, cause), *_did(held, order, cause)]


def _of_judgment(state: State, key: str) -> list[Step]:
    """With every order that followed from it, and the guards and exits of the position that filled."""
    for held in state.markets.values():
        for known in reversed(held.verdicts):
            if key and key in (known.stance.key, known.stance.question):
                steps = [*_judged(known.stance, known.asked_at, known), *_decided(known)]
                entries: list[str] = []
                for name, cause in state.causes.items():
                    order = state.orders.get(name)
                    ours = cause.stance is not None and cause.stance.key == known.stance.key
                    if order is not None and (ours or (cause.entry in entries and cause.fills)):
                        entries += [name] if order.purpose is Purpose.ENTRY else []
                        steps += _did(held, order, cause)
                return steps
    return []


def _why(held: MarketState, cause: Cause) -> list[Step]:
    """The judgment behind an order, and the decisions up to it."""
    if cause.stance is None:
        return []
    known = verdict(held, cause.stance)
    judged = _judged(cause.stance, cause.asked_at, known)
    return judged if known is None else [*judged, *(step for step in _decided(known) if step[1] <= cause.at)]


def _judged(stance: Stance, asked_at: int, known: Verdict | None) -> list[Step]:
    """The question, the judgment, and what it allows."""
    steps: list[Step] = []
    stance = known.stance if known is not None else stance  # with the sentence that came later
    if asked_at:
        steps.append(("question", asked_at, f"{stance.question} was asked of {stance.source}"))
    chance = f"{stance.raw_chance}% up, taken as {stance.chance_up:.0%}; " if stance.raw_chance else ""
    limits = f"confidence {stance.confidence:.2f}, risk {stance.risk_score:.2f}, at {stance.price:g}"
    said = f"{stance.bias.value} by {stance.source}: {chance}{limits}"
    steps.append(("judgment", stance.made_at, f"{said}. {stance.rationale}".rstrip()))
    if known is not None and not known.since:
        return [*steps, ("stance", 0, "it never came into force: another one was, or it may move nothing")]
    entries = f"{stance.bias.value} entries of at most {stance.size_cap:.0%} of the usual size"
    allows = "no entry" if stance.bias is Bias.HOLD else entries
    until = datetime.fromtimestamp(stance.expires_at // 1_000_000_000, UTC).strftime("%H:%M:%S")
    return [*steps, ("stance", known.since if known is not None else stance.made_at, f"it allows {allows} until {until} UTC")]


def _decided(known: Verdict) -> list[Step]:
    return [("decision", at, text) for at, text in known.outcomes]


def _did(held: MarketState, order: Order, cause: Cause) -> list[Step]:
    """What was wanted, whether it was allowed, and what the venue made of it."""
    step, tick = held.instrument.step, held.instrument.tick
    at_mid = f" with the mid at {cause.mid:g}" if cause.mid else ""
    size = f"{order.side.name} {order.quantity * step} {held.instrument.base}"
    steps: list[Step] = [("intent", cause.at, f"{order.purpose.value}: {size}{at_mid}, since {cause.reason}")]
    if order.purpose is Purpose.ENTRY:
        steps.append(("risk", cause.at, "approved: every limit was kept"))
    at = f" at {(order.trigger or order.price) * tick}" if order.trigger or order.price else ""
    state = f"{order.kind.value}{at}, {order.state.value}" + (f": {order.reason}" if order.reason else "")
    steps.append(("order", order.created_at, f"{order.client_id} {state}"))
    steps += sorted([*_answers(cause), *(_fill(held, order, cause, fill) for fill in cause.fills)], key=lambda one: one[1])
    if cause.fills:
        realised, fees = sum((fill[4] for fill in cause.fills), Decimal(0)), sum((fill[3] for fill in cause.fills), Decimal(0))
        steps.append(("money", cause.fills[-1][0], f"realised {realised.normalize():+f}, fees {fees.normalize():f}"))
    return steps


def _answers(cause: Cause) -> list[Step]:
    """What the venue said of it, and what we asked for meanwhile: its first word acknowledges the order."""
    steps: list[Step] = []
    sent_at = 0
    for at, after, reason in cause.changes:
        if after is OrderState.SENT:
            sent_at = at
        elif sent_at and after is not OrderState.UNKNOWN:
            steps.append(("ack", at, f"{after.value} {(at - sent_at) / 1e6:.1f} ms after it was sent" + _tail(reason)))
            sent_at = 0
        elif after not in FILLS:
            steps.append(("order", at, after.value + _tail(reason)))
    return steps


def _tail(reason: str) -> str:
    return f": {reason}" if reason else ""


def _fill(held: MarketState, order: Order, cause: Cause, fill: tuple[int, int, int, Decimal, Decimal]) -> Step:
    at, price, quantity, _, _ = fill
    step, tick = held.instrument.step, held.instrument.tick
    text = f"{quantity * step} at {price * tick}"
    if cause.mid and not order.kind.conditional:
        worse = (float(price * tick) / cause.mid - 1.0) * 1e4 * (1 if order.side is Side.BUY else -1)
        text += f", {worse:+.1f} bps from the mid, {(at - cause.at) / 1e6:.0f} ms after the decision"
    return "fill", at, text
