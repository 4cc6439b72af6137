"""Parameters of OKX's signed requests in; orders, algo orders, positions and balances out, as rows of `data`.

Sizes on this side are contracts; the exchange below counts base units.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation

from engine.venue.exchange import Exchange
from engine.venue.news import LeverageNews
from engine.venue.okx import reports
from engine.venue.okx.contract import Contract, OkxMarket
from engine.venue.okx.refusals import WORDS, Wrong, wrong, wrong_conditional
from engine.venue.orders import Conditional, Order, Refusal, Request
from engine.venue.reports import Body, plain

CLIENT_ID = re.compile(r"[A-Za-z0-9]{1,32}")
MODES = ("cross", "isolated")
TIMES_IN_FORCE = {"limit": "GTC", "post_only": "GTX", "ioc": "IOC", "fok": "FOK"}
ALGO_KINDS = ("conditional", "trigger", "move_order_stop", "oco", "iceberg", "twap")
BATCH, ALGO_BATCH = 20, 10
LEAST_TIMEOUT_S, MOST_TIMEOUT_S = 10, 120
TRIGGERED_BY = {"": "CONTRACT_PRICE", "last": "CONTRACT_PRICE", "mark": "MARK_PRICE"}
Params = Mapping[str, object]


class Trading:
    """Everything that needs a key. Each method takes a request's parameters; `data` is what it returns."""

    def __init__(self, exchange: Exchange, markets: Mapping[str, OkxMarket]) -> None:
        self.exchange, self.markets = exchange, markets
        self.table: dict[tuple[str, str], Callable[[Params], list[Body]]] = {
            ("GET", "account/balance"): lambda params: [reports.balance_row(exchange)],
            ("GET", "account/positions"): self._positions,
            ("GET", "account/config"): lambda params: [self._config()],
            ("POST", "account/set-leverage"): self._set_leverage,
            ("GET", "account/leverage-info"): self._leverage,
            ("GET", "account/trade-fee"): self._fees,
            ("POST", "account/set-position-mode"): self._set_mode,
            ("GET", "trade/order"): lambda params: [self._row(self._find(params))],
            ("GET", "trade/orders-pending"): self._pending,
            ("GET", "trade/orders-history"): self._history,
            ("GET", "trade/fills"): self._fills,
            ("GET", "trade/fills-history"): self._fills,
            ("GET", "trade/order-algo"): lambda params: [self._algo_row(self._find_algo(params))],
            ("GET", "trade/orders-algo-pending"): self._algos_pending,
            ("POST", "trade/cancel-all-after"): self._cancel_all_after,
        }
        # Those that act on one order each: of a list of them some may fail and others not.
        self.acts: dict[str, tuple[Callable[[Params], Body], int]] = {
            "trade/order": (self._place, 1),
            "trade/batch-orders": (self._place, BATCH),
            "trade/cancel-order": (self._cancel, 1),
            "trade/cancel-batch-orders": (self._cancel, BATCH),
            "trade/amend-order": (self._amend, 1),
            "trade/amend-batch-orders": (self._amend, BATCH),
            "trade/order-algo": (self._place_algo, 1),
            "trade/cancel-algos": (self._cancel_algo, ALGO_BATCH),
            "trade/cancel-advance-algos": (self._cancel_algo, ALGO_BATCH),
        }

    def act(self, path: str, orders: list[Params]) -> tuple[str, str, list[Body]]:
        """Code, message and rows: "0" where all went well, "1" where none did, "2" where some did."""
        one, most = self.acts[path]
        if not 0 < len(orders) <= most:
            raise Wrong("51000", "Parameter batch size error")
        rows = [self._tried(one, params) for params in orders]
        failed = sum(row["sCode"] != "0" for row in rows)
        if not failed:
            return "0", "", rows
        return ("1", "All operations failed", rows) if failed == len(rows) else ("2", "Bulk operation partially succeeded", rows)

    def _tried(self, one: Callable[[Params], Body], params: Params) -> Body:
        at = str(self.exchange.now_ms)
        try:
            return {**one(params), "sCode": "0", "sMsg": "", "tag": "", "ts": at}
        except Refusal as refusal:
            problem = wrong(refusal)
        except Wrong as found:
            problem = found
        names = {name: _text(params, name) for name in ("clOrdId", "algoClOrdId") if _text(params, name)}
        return {"ordId": "", "clOrdId": "", **names, "sCode": problem.code, "sMsg": problem.words, "tag": "", "ts": at}

    # --- orders ------------------------------------------------------------------------------------------------------

    def _place(self, params: Params) -> Body:
        contract, kind = self._contract(params), _text(params, "ordType")
        if kind != "market" and kind not in TIMES_IN_FORCE:
            raise Wrong("51000", "Parameter ordType error")
        request = self._request(params, contract, "clOrdId")
        request.kind = "MARKET" if kind == "market" else "LIMIT"
        if kind != "market":
            request.price, request.time_in_force = _text(params, "px"), TIMES_IN_FORCE[kind]
        return _names(self.exchange.place(request))

    def _cancel(self, params: Params) -> Body:
        contract, number = self._contract(params), _number(params, "ordId")
        return _names(self.exchange.cancel(contract.name, number, _text(params, "clOrdId")))

    def _amend(self, params: Params) -> Body:
        order, contract = self._find(params, "51503"), self._contract(params)
        if not order.open or order.kind != "LIMIT":
            raise Wrong("51503", WORDS["51503"])
        size = _text(params, "newSz") or reports.contracts(contract, order.quantity)
        price = _text(params, "newPx") or reports.price(contract, order.price)
        amended = self.exchange.amend(contract.name, order.id, "", _base(size, contract, "newSz"), price)
        return {**_names(amended), "reqId": _text(params, "reqId")}

    def _find(self, params: Params, unknown: str = "51603") -> Order:
        contract = self._contract(params)
        try:
            return self.exchange.look_up(contract.name, _number(params, "ordId"), _text(params, "clOrdId"))
        except Refusal as refusal:
            if refusal.code == -2013:
                raise Wrong(unknown, WORDS[unknown]) from None
            raise

    def _pending(self, params: Params) -> list[Body]:
        return [self._row(order) for order in reversed(self.exchange.open.values()) if self._wanted(params, order.symbol)][:100]

    def _history(self, params: Params) -> list[Body]:
        found = [order for order in self.exchange.orders.values() if not order.open and self._wanted(params, order.symbol)]
        wanted = _text(params, "state")
        rows = [self._row(order) for order in reversed(found)]
        return [row for row in rows if wanted in ("", row["state"])][:100]

    def _fills(self, params: Params) -> list[Body]:
        """The newest first; `after` asks for those with an older bill id, `begin` and `end` for a time."""
        begin, end = _number(params, "begin") or 0, _number(params, "end")
        after, limit = _number(params, "after"), min(_number(params, "limit") or 100, 100)
        order_id = _number(params, "ordId")
        found = [
            trade
            for trade in reversed(self.exchange.trades)
            if self._wanted(params, trade.symbol)
            and begin <= trade.fill.at_ms
            and (end is None or trade.fill.at_ms <= end)
            and (after is None or trade.fill.trade_id < after)
            and order_id in (None, trade.fill.order_id)
        ]
        return [reports.fill_row(trade, self.markets[trade.symbol].contract, self.exchange) for trade in found[:limit]]

    def _cancel_all_after(self, params: Params) -> list[Body]:
        """The dead man's switch of the account: pending orders go, algo orders stay."""
        wait_s = _number(params, "timeOut")
        if wait_s is None or (wait_s and not LEAST_TIMEOUT_S <= wait_s <= MOST_TIMEOUT_S):
            raise Wrong("51000", "Parameter timeOut error")
        deadline = self.exchange.now_ms + wait_s * 1000
        self.exchange.countdowns.clear()
        if wait_s:
            self.exchange.countdowns.update(dict.fromkeys(self.markets, deadline))
        return [{"triggerTime": str(deadline) if wait_s else "0", "tag": "", "ts": str(self.exchange.now_ms)}]

    # --- algo orders -------------------------------------------------------------------------------------------------

    def _place_algo(self, params: Params) -> Body:
        contract, kind = self._contract(params), _text(params, "ordType")
        request = self._request(params, contract, "algoClOrdId")
        if kind == "conditional":
            self._stop_or_target(request, params)
        elif kind == "trigger":
            self._trigger(request, params, contract)
        elif kind == "move_order_stop":
            ratio = _decimal(_text(params, "callbackRatio"), "callbackRatio")
            request.kind, request.callback = "TRAILING_STOP_MARKET", plain(ratio * 100)
            request.activation = _text(params, "activePx")
        else:
            raise Wrong("51000", "Parameter ordType error (the simulated venue has conditional, trigger and move_order_stop)")
        try:
            placed = self.exchange.conditionals.place(request)
        except Refusal as refusal:
            raise wrong_conditional(refusal, request.kind, request.side == "BUY") from None
        return {"algoId": str(placed.id), "algoClOrdId": _text(params, "algoClOrdId"), "clOrdId": ""}

    @staticmethod
    def _stop_or_target(request: Request, params: Params) -> None:
        sides = [name for name in ("sl", "tp") if _text(params, f"{name}TriggerPx")]
        if len(sides) != 1:
            raise Wrong("51000", "Parameter slTriggerPx or tpTriggerPx error (one of the two)")
        (name,) = sides
        at = _text(params, f"{name}OrdPx")
        if not at:
            raise Wrong("50014", f"Parameter {name}OrdPx can not be empty.")
        kind = "STOP" if name == "sl" else "TAKE_PROFIT"
        request.kind, request.price = (f"{kind}_MARKET", "") if at == "-1" else (kind, at)
        request.trigger = _text(params, f"{name}TriggerPx")
        request.working_type = _working(params, f"{name}TriggerPxType")

    def _trigger(self, request: Request, params: Params, contract: Contract) -> None:
        """Waits for a price on either side: which one, the last price tells."""
        trigger, at = _text(params, "triggerPx"), _text(params, "orderPx")
        last = self.exchange.contracts[contract.name].last_price() * contract.listing.tick
        above = _decimal(trigger, "triggerPx") > last
        kind = "STOP" if above == (request.side == "BUY") else "TAKE_PROFIT"
        request.kind, request.price = (f"{kind}_MARKET", "") if at == "-1" else (kind, at)
        request.trigger, request.working_type = trigger, _working(params, "triggerPxType")
        request.plain = True

    def _cancel_algo(self, params: Params) -> Body:
        self._contract(params)
        cancelled = self.exchange.conditionals.cancel(_number(params, "algoId"), _text(params, "algoClOrdId"))
        return {"algoId": str(cancelled.id), "algoClOrdId": cancelled.client_id}

    def _find_algo(self, params: Params) -> Conditional:
        return self.exchange.conditionals.look_up(_number(params, "algoId"), _text(params, "algoClOrdId"))

    def _algos_pending(self, params: Params) -> list[Body]:
        """Of one kind a request, as the venue demands."""
        kind = _text(params, "ordType")
        if kind not in ALGO_KINDS:
            raise Wrong("51000", "Parameter ordType error")
        found = reversed(self.exchange.conditionals.open())
        return [
            self._algo_row(order) for order in found if reports.algo_kind(order) == kind and self._wanted(params, order.symbol)
        ][:100]

    # --- the account -------------------------------------------------------------------------------------------------

    def _config(self) -> Body:
        return {
            "uid": reports.UID,
            "mainUid": reports.UID,
            "acctLv": "2",
            "posMode": "net_mode",
            "autoLoan": False,
            "greeksType": "PA",
            "level": "Lv1",
            "label": "simulated",
            "perm": "read_only,trade",
            "ip": "",
            "kycLv": "3",
        }

    def _set_mode(self, params: Params) -> list[Body]:
        if _text(params, "posMode") == "long_short_mode":
            raise Wrong("51000", "Parameter posMode error (the simulated venue has net_mode only)")
        if _text(params, "posMode") != "net_mode":
            raise Wrong("51000", "Parameter posMode error")
        return [{"posMode": "net_mode"}]

    def _positions(self, params: Params) -> list[Body]:
        held = [name for name, position in self.exchange.account.positions.items() if position.quantity]
        return [reports.position_row(self.markets[name].contract, self.exchange) for name in held if self._wanted(params, name)]

    def _set_leverage(self, params: Params) -> list[Body]:
        contract, exchange = self._contract(params), self.exchange
        if (mode := _text(params, "mgnMode")) not in MODES:
            raise Wrong("51000", "Parameter mgnMode error")
        wanted = _number(params, "lever")
        if wanted is None or not 1 <= wanted <= contract.listing.max_leverage:
            raise Wrong("59102", WORDS["59102"])
        before = exchange.account.leverage_of(contract.name)
        exchange.account.leverage[contract.name] = wanted
        margin = exchange.margin()
        if wanted < before and margin.cross < margin.initial:
            exchange.account.leverage[contract.name] = before
            raise Wrong("51008", WORDS["51008"])
        if wanted != before:
            exchange.tell(LeverageNews(contract.name, wanted, exchange.now_ms))
        return [{"instId": contract.name, "lever": str(wanted), "mgnMode": mode, "posSide": "net"}]

    def _leverage(self, params: Params) -> list[Body]:
        names = [self._contract({"instId": name}).name for name in _text(params, "instId").split(",")]
        account, mode = self.exchange.account, _text(params, "mgnMode")
        return [{"instId": name, "lever": str(account.leverage_of(name)), "mgnMode": mode, "posSide": "net"} for name in names]

    def _fees(self, params: Params) -> list[Body]:
        """Negative: paid."""
        family = _text(params, "instFamily") or _text(params, "uly")
        listing = self._contract({"instId": f"{family}-SWAP"}).listing
        maker, taker = plain(-listing.maker_rate), plain(-listing.taker_rate)
        return [
            {
                "instType": "SWAP", "level": "Lv1", "maker": maker, "taker": taker, "makerU": maker, "takerU": taker,
                "feeGroup": [{"groupId": "1", "maker": maker, "taker": taker}], "ts": str(self.exchange.now_ms),
            }
        ]  # fmt: skip

    # --- small things ------------------------------------------------------------------------------------------------

    def _choose_mode(self, name: str, mode: str) -> None:
        """Each order says how it is margined; the position and all orders of a contract are margined alike here, while the venue
        itself would keep two positions.
        """
        account = self.exchange.account
        if mode not in MODES:
            raise Wrong("51000", "Parameter tdMode error")
        if mode == account.mode_of(name):
            return
        if self.exchange.position_steps(name) or self.exchange.has_orders(name):
            raise Wrong("51000", "Parameter tdMode error (the simulated venue margins all of a contract alike)")
        account.isolate(name, mode == "isolated")

    def _request(self, params: Params, contract: Contract, id_name: str) -> Request:
        """What all kinds of orders have."""
        self._choose_mode(contract.name, _text(params, "tdMode"))
        if _text(params, "posSide") not in ("", "net"):
            raise Wrong("51000", "Parameter posSide error")
        client_id, side = _text(params, id_name), _text(params, "side")
        if client_id and not CLIENT_ID.fullmatch(client_id):
            raise Wrong("51000", f"Parameter {id_name} error")
        if side not in ("buy", "sell"):
            raise Wrong("51000", "Parameter side error")
        size = _base(_text(params, "sz"), contract, "sz")
        reduces = _text(params, "reduceOnly").lower() == "true"
        return Request(contract.name, side.upper(), "", size, reduce_only=reduces, client_id=client_id)

    def _contract(self, params: Params) -> Contract:
        found = self.markets.get(_text(params, "instId"))
        if found is None:
            raise Wrong("51001", WORDS["51001"])
        return found.contract

    def _wanted(self, params: Params, name: str) -> bool:
        return _text(params, "instId") in ("", name) and _text(params, "instType") in ("", "SWAP")

    def _row(self, order: Order) -> Body:
        return reports.order_row(order, self.markets[order.symbol].contract, self.exchange)

    def _algo_row(self, order: Conditional) -> Body:
        return reports.algo_row(order, self.markets[order.symbol].contract, self.exchange)


def listed(body: object) -> Iterable[Params]:
    """A request's body as parameters, one order each."""
    return [one for one in (body if isinstance(body, list) else [body]) if isinstance(one, dict)]


def _names(order: Order) -> Body:
    return {"ordId": str(order.id), "clOrdId": "" if order.client_id.startswith("sim-") else order.client_id}


def _text(params: Params, name: str) -> str:
    value = params.get(name)
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _number(params: Params, name: str) -> int | None:
    text = _text(params, name)
    if not text:
        return None
    if not text.isdecimal() or len(text) > 20:
        raise Wrong("51000", f"Parameter {name} error")
    return int(text)


def _decimal(text: str, name: str) -> Decimal:
    try:
        value = Decimal(text or "x")
    except InvalidOperation:
        raise Wrong("51000", f"Parameter {name} error") from None
    if not value.is_finite() or abs(value.adjusted()) > 20:
        raise Wrong("51000", f"Parameter {name} error")
    return value


def _base(text: str, contract: Contract, name: str) -> str:
    """Contracts as base units, exactly."""
    if not text:
        raise Wrong("50014", f"Parameter {name} can not be empty.")
    return format(_decimal(text, name) * contract.face, "f")


def _working(params: Params, name: str) -> str:
    found = TRIGGERED_BY.get(_text(params, name))
    if found is None:
        raise Wrong("51000", f"Parameter {name} error")
    return found
