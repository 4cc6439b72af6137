"""Conditional orders and prices go in; ordinary orders come out when a trigger is reached.

They live apart from the book (`/fapi/v1/algoOrder` since 2025-12-09): neither `openOrders` nor `allOpenOrders` nor the
countdown sees them.
"""

from decimal import Decimal
from typing import TYPE_CHECKING

from engine.events import Side
from engine.venue.accounts import ZERO
from engine.venue.news import ConditionalNews
from engine.venue.orders import (
    CONDITIONAL_KINDS,
    MAX_OPEN_CONDITIONALS,
    TIMES_IN_FORCE,
    Conditional,
    Order,
    Refusal,
    Request,
    check_client_id,
    check_notional,
    missing,
    number,
    price_ticks,
    quantity_steps,
    side_of,
)

if TYPE_CHECKING:
    from engine.venue.exchange import Exchange

WORKING_TYPES = ("CONTRACT_PRICE", "MARK_PRICE")
LEAST_CALLBACK, MOST_CALLBACK = Decimal("0.1"), Decimal(20)  # percent; 20 since 2026-10-23
TRIGGER_ROUNDS = 20  # a triggered order moves the price and may trigger more; a bound against a loop


def _callback(text: str) -> Decimal:
    """`callbackRate` in percent, as a fraction."""
    if not text:
        raise missing("callbackRate")
    rate = number("callbackRate", text)
    if not LEAST_CALLBACK <= rate <= MOST_CALLBACK or rate != rate.quantize(LEAST_CALLBACK):
        raise Refusal(-2007, "Invalid callBack rate.")
    return rate / 100


class Conditionals:
    """The account's conditional orders. `exchange` places what they trigger."""

    def __init__(self, exchange: "Exchange") -> None:
        self.exchange = exchange
        self.orders: dict[int, Conditional] = {}
        self._resting: dict[int, Conditional] = {}  # those of them that are open: they are looked at with every price
        self.by_order: dict[int, Conditional] = {}
        self._next = 3_000_000_000_000_001

    def place(self, request: Request) -> Conditional:
        """Accept a conditional order; raises `Refusal` where the venue would."""
        contract = self.exchange.contract(request.symbol)
        listing, side = contract.listing, side_of(request.side)
        if not request.kind:
            raise missing("type")
        if request.kind not in CONDITIONAL_KINDS:
            raise Refusal(-1116, "Invalid orderType.")
        trails = request.kind == "TRAILING_STOP_MARKET"
        if request.working_type not in WORKING_TYPES:
            raise Refusal(-4019, "Invalid workingType.")
        at_market = request.kind.endswith("_MARKET")
        callback = _callback(request.callback) if trails else ZERO
        activation = price_ticks(listing, request.activation, "activatePrice") if trails and request.activation else 0
        trigger = 0 if trails else price_ticks(listing, request.trigger, "triggerPrice")
        price = 0 if at_market else price_ticks(listing, request.price)
        if not at_market and request.time_in_force and request.time_in_force not in TIMES_IN_FORCE:
            raise Refusal(-1115, "Invalid timeInForce.")
        if request.close_position:
            if request.quantity:
                raise Refusal(-4137, "Quantity must be zero with closePosition equals true.")
            if request.reduce_only:
                raise Refusal(-1106, "Parameter 'reduceOnly' sent when not required.")
            if not at_market:
                raise Refusal(-4136, "Target strategy invalid for orderType, closePosition.")
            if any(o.close_position and (o.symbol, o.side, o.kind) == (request.symbol, side, request.kind) for o in self.open()):
                raise Refusal(-4130, "An open stop or take profit order with GTE and closePosition in the direction is existing.")
        quantity = 0 if request.close_position else quantity_steps(listing, request.quantity, at_market)
        if not request.reduce_only and not request.close_position:
            check_notional(listing, quantity, (price or trigger or activation or contract.last_price()) * listing.tick)
        if request.client_id:
            check_client_id("clientAlgoId", request.client_id)
            if any(order.client_id == request.client_id for order in self.open()):
                raise Refusal(-4116, "ClientOrderId is duplicated.")
        if len(self.open(request.symbol)) >= MAX_OPEN_CONDITIONALS:
            raise Refusal(-4045, "Reach max stop order limit.")
        number, now_ms = self._next, self.exchange.now_ms
        order = Conditional(
            number, request.symbol, request.client_id or f"sim-algo-{number}", side, request.kind, request.time_in_force or "GTC",
            quantity, price, trigger, request.working_type, request.reduce_only, request.close_position, now_ms, now_ms,
            callback=callback, activation=activation, plain=request.plain,
        )  # fmt: skip
        reference = contract.mark() if order.working_type == "MARK_PRICE" else contract.last_price() * listing.tick
        if activation and reference and (activation * listing.tick - reference) * side >= 0:
            raise Refusal(-2021, "Order would immediately trigger.")
        if not trails and reference and order.reached(reference, reference, listing.tick):
            raise Refusal(-2021, "Order would immediately trigger.")
        self._next += 1
        self.orders[number] = self._resting[number] = order
        self._tell(order)
        return order

    def cancel(self, algo_id: int | None, client_id: str) -> Conditional:
        order = self.look_up(algo_id, client_id, Refusal(-2011, "Unknown order sent."))
        if not order.open:
            raise Refusal(-2011, "Unknown order sent.")
        self._end(order, "CANCELED")
        return order

    def cancel_all(self, symbol: str) -> None:
        self.exchange.contract(symbol)
        for order in self.open(symbol):
            self._end(order, "CANCELED")

    def look_up(self, algo_id: int | None, client_id: str, unknown: Refusal | None = None) -> Conditional:
        if algo_id is None and not client_id:
            raise Refusal(-1102, "Param 'algoId' or 'clientAlgoId' must be sent, but both were empty/null!")
        for order in reversed(self.orders.values()):
            if order.id == algo_id or (algo_id is None and order.client_id == client_id):
                return order
        raise unknown or Refusal(-2013, "Order does not exist.")

    def open(self, symbol: str = "") -> list[Conditional]:
        return [order for order in self._resting.values() if symbol in ("", order.symbol)]

    def trigger(self) -> None:
        """Place the orders of all conditionals whose trigger the prices since the last call have reached. Where there is no book,
        they wait for one.
        """
        for _ in range(TRIGGER_ROUNDS):
            reached = self._reached()
            if not reached:
                return
            for order in reached:
                if order.open:
                    self._fire(order)

    def placed_order_ended(self, placed: Order) -> None:
        """The ordinary order of a trigger was filled or cancelled: the conditional is finished."""
        if order := self.by_order.pop(placed.id, None):
            self._end(order, "FINISHED", placed)

    def _reached(self) -> list[Conditional]:
        reached = []
        ranges: dict[tuple[str, str], tuple[Decimal, Decimal]] = {}
        for symbol, contract in self.exchange.contracts.items():
            tick = contract.listing.tick
            if contract.market.best() is None:
                continue
            if contract.traded_high:
                ranges[(symbol, "CONTRACT_PRICE")] = (contract.traded_low * tick, contract.traded_high * tick)
                contract.traded_low = contract.traded_high = 0
            if contract.state:
                ranges[(symbol, "MARK_PRICE")] = (contract.state.mark, contract.state.mark)
        for order in self.open():
            prices = ranges.get((order.symbol, order.working_type))
            if prices and order.reached(*prices, self.exchange.contracts[order.symbol].listing.tick):
                reached.append(order)
        return reached

    def _fire(self, order: Conditional) -> None:
        exchange = self.exchange
        order.triggered_ms = exchange.now_ms
        self._move(order, "TRIGGERING")
        quantity = order.quantity
        if order.reduce_only or order.close_position:
            steps = exchange.position_steps(order.symbol)
            room = abs(steps) if steps * order.side < 0 else 0
            quantity = room if order.close_position else min(quantity, room)
        if not quantity:
            order.reason = "Reduce Only reject"
            self._end(order, "REJECTED")
            return
        kind = "MARKET" if order.kind.endswith("_MARKET") else "LIMIT"
        reduces = order.reduce_only or order.close_position
        request = Request(order.symbol, order.side.name, kind, time_in_force=order.time_in_force, reduce_only=reduces)
        placed = exchange.new_order(request, Side(order.side), quantity, order.price, order.client_id)
        placed.original_kind, placed.trigger, placed.working_type = order.kind, order.trigger, order.working_type
        placed.close_position, placed.conditional_id = order.close_position, order.id
        try:
            if exchange.contracts[order.symbol].market.best() is None:
                raise Refusal(-1008, "No book.")
            exchange.acceptance.check(placed)
        except Refusal as refusal:
            order.reason = refusal.problem
            self._end(order, "REJECTED")
            return
        order.order_id = placed.id
        self.by_order[placed.id] = order
        exchange.execute(placed, accepted=lambda: self._move(order, "TRIGGERED", placed))

    def _move(self, order: Conditional, status: str, placed: Order | None = None) -> None:
        order.status, order.updated_ms = status, self.exchange.now_ms
        if not order.open:
            self._resting.pop(order.id, None)
        self._tell(order, placed)

    def _end(self, order: Conditional, status: str, placed: Order | None = None) -> None:
        self._move(order, status, placed)
        if len(self.orders) > 10_000:
            for number in [number for number, old in self.orders.items() if not old.open][:5_000]:
                if self.orders[number] not in self.by_order.values():
                    del self.orders[number]

    def _tell(self, order: Conditional, placed: Order | None = None) -> None:
        listing = self.exchange.contracts[order.symbol].listing
        self.exchange.tell(ConditionalNews(order, listing, self.exchange.now_ms, placed))
