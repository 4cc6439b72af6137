"""A request and the exchange's state go in; an order that may be executed comes out, or the venue's refusal."""

from typing import TYPE_CHECKING

from engine.events import Side
from engine.venue.accounts import ZERO
from engine.venue.orders import (
    CONDITIONAL_KINDS,
    MAX_OPEN_ORDERS,
    TIMES_IN_FORCE,
    Ending,
    Order,
    Refusal,
    Request,
    check_client_id,
    check_limit_band,
    check_market_band,
    check_notional,
    missing,
    price_ticks,
    quantity_steps,
    side_of,
)

if TYPE_CHECKING:
    from engine.venue.exchange import Exchange


class Acceptance:
    """The venue's filters and margin check over one exchange. Changes nothing."""

    def __init__(self, exchange: "Exchange") -> None:
        self.exchange = exchange

    def accept(self, request: Request) -> Order:
        """Everything that the venue checks before an order exists; raises `Refusal`."""
        contract = self.exchange.contract(request.symbol)
        side = side_of(request.side)
        if not request.kind:
            raise missing("type")
        if request.kind in CONDITIONAL_KINDS:
            raise Refusal(-4120, "Order type not supported for this endpoint. Please use the Algo Order API endpoints instead.")
        if request.kind not in ("LIMIT", "MARKET"):
            raise Refusal(-1116, "Invalid orderType.")
        market_order = request.kind == "MARKET"
        price = 0
        if not market_order:
            if not request.time_in_force:
                raise missing("timeInForce")
            if request.time_in_force not in TIMES_IN_FORCE:
                raise Refusal(-1115, "Invalid timeInForce.")
            price = price_ticks(contract.listing, request.price)
        elif request.price:
            raise Refusal(-1106, "Parameter 'price' sent when not required.")
        quantity = quantity_steps(contract.listing, request.quantity, market_order)
        if request.client_id:
            check_client_id("newClientOrderId", request.client_id)
            if (request.symbol, request.client_id) in self.exchange.open_ids:
                raise Refusal(-4116, "ClientOrderId is duplicated.")
        best, state = contract.market.best(), contract.state
        if best is None:
            raise Refusal(-1008, "Server is currently overloaded with other requests. Please try again in a few minutes.", 503)
        far = best[2] if side is Side.BUY else best[0]
        if state and market_order:
            check_market_band(side, far * contract.listing.tick, state)
        elif state:
            check_limit_band(contract.listing, side, price, state)
        if sum(order.symbol == request.symbol for order in self.exchange.open.values()) >= MAX_OPEN_ORDERS:
            raise Refusal(-2025, "Reach max open order limit.")
        if request.reduce_only:
            quantity = min(quantity, self.exchange.reducible(request.symbol, side, rests=not market_order))
            if not quantity:
                raise Refusal(-2022, "ReduceOnly Order is rejected.")
        else:
            check_notional(contract.listing, quantity, (price or far) * contract.listing.tick)
        order = self.exchange.new_order(request, side, quantity, price, request.client_id)
        self.check(order)
        return order

    def check(self, order: Order) -> None:
        """Post-only, fill-or-kill and margin: what depends on the book and the account at this moment."""
        why = Ending.NONE if self.exchange.cancels_unmatched else self.unmatched(order)
        if why is Ending.WOULD_TAKE:
            raise Refusal(-5022, "Due to the order could not be executed as maker, the Post Only order will be rejected.")
        if why is Ending.NOT_WHOLE:
            raise Refusal(-5021, "Due to the order could not be filled immediately, the FOK order has been rejected.")
        if not order.reduce_only:
            self._check_margin(order)

    def unmatched(self, order: Order) -> Ending:
        """Why a post-only or fill-or-kill order cannot live in the book as it is, NONE where it can."""
        if order.kind != "LIMIT" or order.time_in_force not in ("GTX", "FOK"):
            return Ending.NONE
        fillable = self.exchange.contracts[order.symbol].market.fillable(order.side, order.price)
        if order.time_in_force == "GTX":
            return Ending.WOULD_TAKE if fillable else Ending.NONE
        return Ending.NOT_WHOLE if fillable < order.quantity else Ending.NONE

    def _check_margin(self, order: Order) -> None:
        contract = self.exchange.contracts[order.symbol]
        best = contract.market.best()
        far = (best[2] if order.side is Side.BUY else best[0]) if best else contract.last_price()
        reference = min(order.price or far, far) if order.side is Side.BUY else max(order.price or far, far)
        price = (order.price or far) * contract.listing.tick
        opening_loss = max(ZERO, (reference * contract.listing.tick - contract.mark()) * order.side)
        before, after = self.exchange.margin(), self.exchange.margin(order, price)
        loss = opening_loss * order.quantity * contract.listing.step
        if after.initial > before.initial and after.cross - after.initial - loss < 0:
            raise Refusal(-2019, "Margin is insufficient.")
