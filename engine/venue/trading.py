"""Parameters of authenticated requests go in; orders, conditional orders and trades come out as JSON bodies."""

import msgspec

from engine.venue.exchange import Exchange
from engine.venue.gate import Params, flag, whole
from engine.venue.orders import Order, Refusal, Request, missing
from engine.venue.reports import Body, conditional_body, money, order_body, plain, price_text, size_text

BATCH = 5
CANCEL_BATCH = 10
ALL_CANCELLED = {"code": 200, "msg": "The operation of cancel all open order is done."}


def one_way(params: Params) -> None:
    if params.get("positionSide", "BOTH") not in ("", "BOTH"):
        raise Refusal(-4061, "Order's position side does not match user's setting.")


def order_request(params: Params) -> Request:
    """Raises Refusal for what the simulated venue does not have."""
    one_way(params)
    for unsupported in ("priceMatch", "goodTillDate"):
        if params.get(unsupported, "NONE") not in ("NONE", "", "0"):
            raise Refusal(-1130, f"Data sent for parameter '{unsupported}' is not valid. (the simulated venue does not have it)")
    return Request(
        symbol=params.get("symbol", ""),
        side=params.get("side", ""),
        kind=params.get("type", ""),
        quantity=params.get("quantity", ""),
        price=params.get("price", ""),
        trigger=params.get("triggerPrice", ""),
        time_in_force=params.get("timeInForce", ""),
        reduce_only=flag(params, "reduceOnly"),
        close_position=flag(params, "closePosition"),
        client_id=params.get("newClientOrderId", "") or params.get("clientAlgoId", ""),
        working_type=params.get("workingType", "") or "CONTRACT_PRICE",
        callback=params.get("callbackRate", ""),
        activation=params.get("activatePrice", ""),
    )


class Orders:
    """Everything that places, finds and cancels."""

    def __init__(self, exchange: Exchange) -> None:
        self.exchange = exchange

    def place(self, params: Params) -> Body:
        # `closePosition` belongs to conditional orders, which are refused here anyway.
        return self._order(self.exchange.place(order_request(params)), acknowledgement=True)

    def test(self, params: Params) -> Body:
        self.exchange.test(order_request(params))
        return {}

    def place_many(self, params: Params) -> list[Body]:
        if not params.get("batchOrders"):
            raise missing("batchOrders")
        try:
            orders = msgspec.json.decode(params["batchOrders"], type=list[dict[str, object]])
        except msgspec.DecodeError:
            raise Refusal(-1130, "Data sent for parameter 'batchOrders' is not valid.") from None
        if not 0 < len(orders) <= BATCH:
            raise Refusal(-4044, "Batch order size is invalid.")
        replies: list[Body] = []
        for fields in orders:
            try:
                replies.append(self.place({name: _text(value) for name, value in fields.items()}))
            except Refusal as refusal:
                replies.append({"code": refusal.code, "msg": refusal.problem})
        return replies

    def amend(self, params: Params) -> Body:
        order = self.exchange.amend(
            params.get("symbol", ""), whole(params, "orderId"), params.get("origClientOrderId", ""),
            params.get("quantity", ""), params.get("price", ""),
        )  # fmt: skip
        return self._order(order, acknowledgement=True)

    def order(self, params: Params) -> Body:
        found = self.exchange.look_up(params.get("symbol", ""), whole(params, "orderId"), params.get("origClientOrderId", ""))
        return self._order(found)

    def open_order(self, params: Params) -> Body:
        found = self.exchange.look_up(params.get("symbol", ""), whole(params, "orderId"), params.get("origClientOrderId", ""))
        if not found.open:
            raise Refusal(-2013, "Order does not exist.")
        return self._order(found)

    def cancel(self, params: Params) -> Body:
        cancelled = self.exchange.cancel(params.get("symbol", ""), whole(params, "orderId"), params.get("origClientOrderId", ""))
        return self._order(cancelled, acknowledgement=True)

    def cancel_many(self, params: Params) -> list[Body]:
        numbers = _list(params, "orderIdList") or _list(params, "orderidlist")
        clients = _list(params, "origClientOrderIdList") or _list(params, "origclientorderidlist")
        chosen = [(whole({"orderIdList": str(number)}, "orderIdList"), "") for number in numbers]
        chosen += [(None, str(name)) for name in clients]
        if not 0 < len(chosen) <= CANCEL_BATCH:
            raise Refusal(-4044, "Batch order size is invalid.")
        replies: list[Body] = []
        for order_id, client_id in chosen:
            try:
                cancelled = self.exchange.cancel(params.get("symbol", ""), order_id, client_id)
                replies.append(self._order(cancelled, acknowledgement=True))
            except Refusal as refusal:
                replies.append({"code": refusal.code, "msg": refusal.problem})
        return replies

    def cancel_all(self, params: Params) -> Body:
        self.exchange.cancel_all(params.get("symbol", ""))
        return dict(ALL_CANCELLED)

    def open_orders(self, params: Params) -> list[Body]:
        return [self._order(order) for order in self.exchange.open.values() if self._wanted(params, order.symbol)]

    def all_orders(self, params: Params) -> list[Body]:
        symbol, first, start = self._symbol(params), whole(params, "orderId") or 0, whole(params, "startTime") or 0
        found = [o for o in self.exchange.orders.values() if o.symbol == symbol and o.id >= first and o.created_ms >= start]
        limit = whole(params, "limit") or 500
        return [self._order(order) for order in (found[:limit] if first or start else found[-limit:])]

    def user_trades(self, params: Params) -> list[Body]:
        symbol, contract = self._symbol(params), self.exchange.contract(params.get("symbol", ""))
        order_id, first, start = whole(params, "orderId"), whole(params, "fromId") or 0, whole(params, "startTime") or 0
        listing, rows = contract.listing, []
        for trade in self.exchange.trades:
            fill = trade.fill
            if trade.symbol != symbol or fill.trade_id < first or fill.at_ms < start or order_id not in (None, fill.order_id):
                continue
            rows.append(
                {
                    "symbol": symbol,
                    "id": fill.trade_id,
                    "orderId": fill.order_id,
                    "side": trade.side.name,
                    "price": price_text(listing, fill.price),
                    "qty": size_text(listing, fill.quantity),
                    "realizedPnl": money(trade.realised),
                    "quoteQty": plain(fill.price * listing.tick * fill.quantity * listing.step),
                    "commission": money(trade.commission),
                    "commissionAsset": "USDT",
                    "time": fill.at_ms,
                    "positionSide": "BOTH",
                    "buyer": trade.side > 0,
                    "maker": fill.maker,
                }
            )
        limit = whole(params, "limit") or 500
        return rows[:limit] if first or start else rows[-limit:]

    def countdown(self, params: Params) -> Body:
        """The dead man's switch of one symbol; 0 turns it off. Conditional orders survive it."""
        symbol, wait_ms = self._symbol(params), whole(params, "countdownTime")
        if wait_ms is None:
            raise missing("countdownTime")
        if wait_ms > 0:
            self.exchange.countdowns[symbol] = self.exchange.now_ms + wait_ms
        else:
            self.exchange.countdowns.pop(symbol, None)
        return {"symbol": symbol, "countdownTime": str(wait_ms)}

    # --- conditional orders ----------------------------------------------------------------------------------------

    def place_conditional(self, params: Params) -> Body:
        if not params.get("algoType"):
            raise missing("algoType")
        if params["algoType"] != "CONDITIONAL":
            raise Refusal(-4500, "Invalid algoType.")
        placed = self.exchange.conditionals.place(order_request(params))
        return conditional_body(placed, self.exchange.contracts[placed.symbol].listing)

    def conditional(self, params: Params) -> Body:
        found = self.exchange.conditionals.look_up(whole(params, "algoId"), params.get("clientAlgoId", ""))
        return self._conditional_body(found.id)

    def cancel_conditional(self, params: Params) -> Body:
        cancelled = self.exchange.conditionals.cancel(whole(params, "algoId"), params.get("clientAlgoId", ""))
        return {"algoId": cancelled.id, "clientAlgoId": cancelled.client_id, "code": "200", "msg": "success"}

    def cancel_all_conditionals(self, params: Params) -> Body:
        self.exchange.conditionals.cancel_all(params.get("symbol", ""))
        return dict(ALL_CANCELLED)

    def open_conditionals(self, params: Params) -> list[Body]:
        return [self._conditional_body(o.id) for o in self.exchange.conditionals.open() if self._wanted(params, o.symbol)]

    def all_conditionals(self, params: Params) -> list[Body]:
        symbol = self._symbol(params)
        return [self._conditional_body(o.id) for o in self.exchange.conditionals.orders.values() if o.symbol == symbol]

    def _conditional_body(self, number: int) -> Body:
        order = self.exchange.conditionals.orders[number]
        listing = self.exchange.contracts[order.symbol].listing
        body = conditional_body(order, listing)
        placed = self.exchange.orders.get(order.order_id)
        body["actualPrice"] = plain(placed.value * listing.tick / placed.filled) if placed and placed.filled else "0"
        body["tpTriggerPrice"] = body["tpPrice"] = body["slTriggerPrice"] = body["slPrice"] = "0"
        body["tpOrderType"] = ""
        return body

    # --- small things ----------------------------------------------------------------------------------------------

    def _order(self, order: Order, acknowledgement: bool = False) -> Body:
        return order_body(order, self.exchange.contracts[order.symbol].listing, acknowledgement)

    def _symbol(self, params: Params) -> str:
        return self.exchange.contract(params.get("symbol", "")).listing.symbol

    def _wanted(self, params: Params, symbol: str) -> bool:
        if not params.get("symbol"):
            return True
        return self._symbol(params) == symbol


def _list(params: Params, name: str) -> list[object]:
    if not params.get(name):
        return []
    try:
        return msgspec.json.decode(params[name], type=list[object])
    except msgspec.DecodeError:
        raise Refusal(-1130, f"Data sent for parameter '{name}' is not valid.") from None


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
