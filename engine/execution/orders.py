"""An order's life as a state machine: what we did and what the venue says in, the next state out. Pure.

An order whose fate is unknown is UNKNOWN, not rejected: it counts as filled for risk and is asked for by client id until
the venue answers. "Not found" is believed only after the request can no longer execute and twice in a row.
"""

from decimal import Decimal

import msgspec

from engine.errors import InvariantError
from engine.events import OrderFact, OrderKind, OrderReport, OrderState, PositionFact, Purpose, SendOrder, Side, TimeInForce

S = OrderState
NS_PER_MS = 1_000_000
LOOK_UP_AFTER_MS = (200, 500, 1000, 2000, 4000)  # the schedule of questions; the last one repeats
ENDS_WITHIN_MS = 1000  # for the report of an order that does not rest, after which it is asked for

# What may follow what. A final state is left only when the venue's own report contradicts our conclusion.
ALLOWED: dict[OrderState, frozenset[OrderState]] = {
    S.CREATED: frozenset({S.SENT}),
    S.SENT: frozenset({S.UNKNOWN, S.WORKING, S.PARTLY_FILLED, S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED}),
    S.UNKNOWN: frozenset({S.WORKING, S.PARTLY_FILLED, S.FILLED, S.CANCELLED, S.REJECTED, S.EXPIRED}),
    S.WORKING: frozenset({S.PARTLY_FILLED, S.CANCELLING, S.FILLED, S.CANCELLED, S.EXPIRED, S.REJECTED}),
    S.PARTLY_FILLED: frozenset({S.CANCELLING, S.FILLED, S.CANCELLED, S.EXPIRED}),
    S.CANCELLING: frozenset({S.WORKING, S.PARTLY_FILLED, S.FILLED, S.CANCELLED, S.EXPIRED, S.REJECTED}),
    S.FILLED: frozenset(),
    S.CANCELLED: frozenset({S.FILLED}),
    S.REJECTED: frozenset({S.WORKING, S.PARTLY_FILLED, S.FILLED, S.CANCELLED, S.EXPIRED}),
    S.EXPIRED: frozenset({S.FILLED}),
}

VENUE_STATUS = {
    "NEW": S.WORKING,
    "PARTIALLY_FILLED": S.PARTLY_FILLED,
    "FILLED": S.FILLED,
    "CANCELED": S.CANCELLED,
    "EXPIRED": S.EXPIRED,
    "EXPIRED_IN_MATCH": S.EXPIRED,
    "REJECTED": S.REJECTED,
}
CONDITIONAL_STATUS = {
    "NEW": S.WORKING,
    "TRIGGERING": S.WORKING,
    "TRIGGERED": S.WORKING,
    "FINISHED": S.FILLED,
    "CANCELED": S.CANCELLED,
    "REJECTED": S.REJECTED,
    "EXPIRED": S.EXPIRED,
}


class Order(msgspec.Struct):
    """One order: quantities in steps, prices in ticks, times in engine ns."""

    client_id: str
    market: str
    kind: OrderKind
    purpose: Purpose
    side: Side
    quantity: int
    price: int
    trigger: int
    time_in_force: TimeInForce
    reduce_only: bool
    created_at: int
    trail_bps: int = 0
    state: OrderState = S.CREATED
    venue_id: str = ""
    filled: int = 0
    changed_at: int = 0
    reason: str = ""
    external: bool = False  # made by somebody else on the same account
    amend_quantity: int = 0  # asked for and not confirmed, 0: nothing is
    amend_price: int = 0
    amend_asked_at: int = 0
    told_ms: int = 0  # venue time of the newest report that its quantity and price are from
    triggered_at: int = 0  # when a conditional order was triggered
    booked: int = 0  # of what is filled, in the ledger
    cancel_asked_at: int = 0
    look_up_at: int = 0  # when to ask next, 0: no need
    look_ups: int = 0
    not_found: int = 0

    @property
    def unfilled(self) -> int:
        """What may still be filled; an amendment under way counts as done where it makes that more."""
        return max(self.quantity, self.amend_quantity) - self.filled if self.quantity > self.filled else 0

    @property
    def outstanding(self) -> int:
        """Steps that are not in the ledger and may come into it: what may still fill, and fills that were only told of."""
        most = self.filled if self.state.final else max(self.quantity, self.amend_quantity, self.filled)
        return max(most - self.booked, 0)

    @property
    def open(self) -> bool:
        return not self.state.final

    @property
    def adds_exposure(self) -> bool:
        return not self.reduce_only

    def price_text(self, tick: Decimal) -> str:
        """For people: the trigger or price in quote units, how far a stop trails, "" at market."""
        if self.trail_bps:
            return f"{self.trail_bps / 100:g}% off"
        ticks = self.trigger or self.price
        return f"{ticks * tick}" if ticks else ""

    def request(self, at: int) -> SendOrder:
        return SendOrder(
            at,
            self.market,
            self.client_id,
            self.kind,
            self.purpose,
            self.side,
            self.quantity,
            self.price,
            self.trigger,
            self.time_in_force,
            self.reduce_only,
            self.trail_bps,
        )

    @property
    def rests(self) -> bool:
        """A limit order that may stay in the book: it blocks nothing that goes to market."""
        return self.kind is OrderKind.LIMIT and self.time_in_force in (TimeInForce.GTC, TimeInForce.GTX)

    @property
    def ends_at_once(self) -> bool:
        """Filled or over as soon as the venue has it. If it seems to live, its report was lost: what it filled has no stop."""
        return not self.rests and not self.kind.conditional


Change = tuple[OrderState, OrderState] | None


def move(order: Order, after: OrderState, at: int, reason: str) -> Change:
    """Take the order to `after`; None when it is there already. Raises InvariantError on an impossible step."""
    before = order.state
    if before is after:
        return None
    if after not in ALLOWED[before]:
        raise InvariantError(f"Order {order.client_id} cannot go from {before.value} to {after.value} ({reason}).")
    order.state, order.changed_at, order.reason = after, at, reason
    if after is S.UNKNOWN:
        order.look_ups = 0
        order.look_up_at = at + LOOK_UP_AFTER_MS[0] * NS_PER_MS
    elif after.final or after in (S.WORKING, S.PARTLY_FILLED):
        order.look_up_at = order.not_found = 0
        if order.ends_at_once and not after.final:
            order.look_up_at = at + ENDS_WITHIN_MS * NS_PER_MS
    return before, after


def protects(order: OrderFact, position: PositionFact) -> bool:
    """Whether an order that a venue lists is the whole stop of a position that it lists."""
    against = order.conditional and order.reduce_only and order.side * position.quantity < 0
    whole = order.quantity == 0 or order.quantity >= abs(position.quantity)  # 0: the venue closes whatever there is
    loses = order.trail_bps > 0 or (order.trigger - position.mark) * order.side > 0  # a target is on the other side
    return against and whole and loses


def accepted(order: Order, venue_id: str, at: int) -> Change:
    """The request's reply. The private stream may have been faster: then only the venue's id is news."""
    order.venue_id = order.venue_id or venue_id
    if order.state in (S.SENT, S.UNKNOWN):
        return move(order, S.WORKING, at, "accepted by the venue")
    return None


def refused(order: Order, reason: str, at: int) -> Change:
    if order.state in (S.SENT, S.UNKNOWN) and not order.venue_id and not order.filled:
        return move(order, S.REJECTED, at, reason)
    return None


def fate_unknown(order: Order, reason: str, at: int) -> Change:
    """No usable reply. Whatever the private stream already told is better knowledge."""
    return move(order, S.UNKNOWN, at, reason) if order.state is S.SENT else None


def not_found(order: Order, at: int, believe_after_ns: int) -> Change:
    """The venue does not know the client id: believed when the request cannot execute any more, twice in a row."""
    if order.state is not S.UNKNOWN and order.state is not S.CANCELLING:
        return None
    if at - order.created_at < believe_after_ns:
        return None
    order.not_found += 1
    if order.not_found < 2:
        return None
    return move(order, S.REJECTED, at, "the venue does not know this order and it can no longer execute")


def ask_cancel(order: Order, at: int) -> Change:
    """Note that a cancel was sent. An order whose request is still out, or whose fate is unknown, keeps saying so."""
    order.cancel_asked_at = at
    if order.state in (S.WORKING, S.PARTLY_FILLED):
        return move(order, S.CANCELLING, at, "cancel asked")
    return None


def ask_amend(order: Order, quantity: int, price: int, at: int) -> None:
    """Note that another quantity and price were asked for; the venue's own report makes them so."""
    order.amend_quantity, order.amend_price, order.amend_asked_at = quantity, price, at
    order.look_up_at = order.look_up_at or at + LOOK_UP_AFTER_MS[2] * NS_PER_MS


def due_look_up(order: Order, at: int) -> bool:
    """Whether to ask now; asking schedules the next question."""
    if not order.look_up_at or at < order.look_up_at or order.state.final:
        return False
    order.look_ups += 1
    wait = LOOK_UP_AFTER_MS[min(order.look_ups, len(LOOK_UP_AFTER_MS) - 1)]
    order.look_up_at = at + wait * NS_PER_MS
    return True


def reported(order: Order, report: OrderReport) -> Change:
    """An ORDER_TRADE_UPDATE or a look-up. Reports may come late or twice: filled never shrinks, a finished order stays so."""
    order.venue_id = order.venue_id or report.venue_id
    order.filled = max(order.filled, report.filled)
    if order.kind is OrderKind.LIMIT and report.venue_ms >= order.told_ms:  # an older one may still tell of the old terms
        order.told_ms = report.venue_ms
        order.quantity, order.price = report.quantity or order.quantity, report.price or order.price
        if (order.quantity, order.price) == (order.amend_quantity, order.amend_price):
            order.amend_quantity = order.amend_price = 0
    after = VENUE_STATUS.get(report.status)
    if after is None:
        return None
    if order.filled >= order.quantity > 0:
        after = S.FILLED
    return _told(order, after, report.at, f"the venue says {report.status}")


def conditional_reported(order: Order, status: str, venue_id: str, reason: str, at: int) -> Change:
    """An ALGO_UPDATE: a triggered order stays WORKING until the market order that it placed reports."""
    order.venue_id = order.venue_id or venue_id
    if status == "TRIGGERED":
        order.triggered_at = order.triggered_at or at
    after = CONDITIONAL_STATUS.get(status)
    if after is None:
        return None
    return _told(order, after, at, reason or f"the venue says {status}")


def _told(order: Order, after: OrderState, at: int, reason: str) -> Change:
    if order.state is S.CREATED:
        raise InvariantError(f"The venue reports order {order.client_id}, which was never sent.")
    if after is S.WORKING and order.state in (S.PARTLY_FILLED, S.CANCELLING):
        return None  # late news, or the cancel is on its way
    if after is S.PARTLY_FILLED and order.state is S.CANCELLING:
        return None
    if after is S.REJECTED and order.state is S.PARTLY_FILLED:
        after = S.EXPIRED  # what was filled stands; the rest will not be
    if order.state.final and after not in ALLOWED[order.state]:
        return None  # a late or repeated report
    return move(order, after, at, reason)
