"""A REST request goes in; the reply that Binance USD-M futures would give comes out: status, JSON body, headers.

This module has the table of paths, what each costs and whether it is signed; what they answer is in `quotes`, `trading` and
`holdings`. Nothing here touches a socket.
"""

from collections.abc import Callable

import msgspec

from engine.clock import Clock
from engine.venue.exchange import Exchange
from engine.venue.faults import Faults
from engine.venue.gate import Call, Credentials, Limited, Limits, Params
from engine.venue.holdings import Holdings, ListenKeys
from engine.venue.orders import Refusal
from engine.venue.quotes import DEPTH_LIMITS, Quotes, bounded
from engine.venue.trading import Orders

PUBLIC, KEYED, SIGNED = "public", "keyed", "signed"

Weigher = Callable[[Params], int]


class Endpoint(msgspec.Struct, frozen=True):
    """Who answers a path, what it weighs against the venue's budgets, and whether it wants a key or a signature."""

    answer: Callable[[Params], object]
    weight: int | Weigher = 1
    security: str = PUBLIC
    orders: int = 0  # how much it adds to the account's order counts


class Reply(msgspec.Struct):
    """What goes back over HTTP."""

    status: int
    body: bytes
    headers: dict[str, str]


def depth_weight(params: Params) -> int:
    return DEPTH_LIMITS.get(bounded(params, 500, 1000), 20)


def kline_weight(params: Params) -> int:
    limit = bounded(params, 500, 1500)
    return 1 if limit < 100 else 2 if limit < 500 else 5 if limit <= 1000 else 10


def per_symbol(with_symbol: int, without: int) -> Weigher:
    return lambda params: with_symbol if params.get("symbol") else without


class Binance:
    """The REST surface over one exchange. `answer` is the door."""

    def __init__(self, exchange: Exchange, clock: Clock, credentials: Credentials, faults: Faults, keys: ListenKeys) -> None:
        self.exchange, self.clock, self.credentials, self.faults = exchange, clock, credentials, faults
        self.limits = Limits()
        self.requests = 0
        self.quotes = Quotes(exchange, faults, self.venue_ms)
        self.table = self._public(self.quotes) | self._signed(Orders(exchange), Holdings(exchange, keys))

    def answer(self, call: Call) -> Reply:
        """Never raises: a refusal is a reply, and so is a path that does not exist."""
        now_ms = self.venue_ms()
        endpoint = self.table.get((call.method, call.path))
        self.requests += 1
        if endpoint is None:
            return self._reply(404, {"code": -1, "msg": f"Path {call.path} does not exist for {call.method}."}, {})
        try:
            params = call.params()
            weight = endpoint.weight if isinstance(endpoint.weight, int) else endpoint.weight(params)
            self.limits.spend(weight, endpoint.orders, now_ms)
            if endpoint.security == SIGNED:
                self.credentials.check_signature(call, params)
            elif endpoint.security == KEYED:
                self.credentials.check_key(call.key)
            body, status = endpoint.answer(params), 200
        except Refusal as refusal:
            body, status = {"code": refusal.code, "msg": refusal.problem}, refusal.status
            if isinstance(refusal, Limited):
                return self._reply(status, body, {"Retry-After": str(refusal.retry_after_s)})
        return self._reply(status, body, self.limits.headers(endpoint.orders > 0, now_ms))

    def venue_ms(self) -> int:
        """The venue's clock, which a fault may have put wrong."""
        return self.clock.now_ms() + self.faults.clock_offset_ms

    @staticmethod
    def _reply(status: int, body: object, headers: dict[str, str]) -> Reply:
        return Reply(status, msgspec.json.encode(body), headers)

    def _public(self, quotes: Quotes) -> dict[tuple[str, str], Endpoint]:
        return {
            ("GET", "/fapi/v1/ping"): Endpoint(lambda params: {}),
            ("GET", "/fapi/v1/time"): Endpoint(lambda params: {"serverTime": self.venue_ms()}),
            ("GET", "/fapi/v1/exchangeInfo"): Endpoint(quotes.exchange_info),
            ("GET", "/fapi/v1/depth"): Endpoint(quotes.depth, depth_weight),
            ("GET", "/fapi/v1/klines"): Endpoint(quotes.klines, kline_weight),
            ("GET", "/fapi/v1/markPriceKlines"): Endpoint(quotes.mark_klines, kline_weight),
            ("GET", "/fapi/v1/aggTrades"): Endpoint(quotes.agg_trades, 20),
            ("GET", "/fapi/v1/trades"): Endpoint(quotes.recent_trades, 5),
            ("GET", "/fapi/v1/ticker/24hr"): Endpoint(quotes.ticker, per_symbol(1, 40)),
            ("GET", "/fapi/v1/ticker/price"): Endpoint(quotes.ticker_price, per_symbol(1, 2)),
            ("GET", "/fapi/v1/ticker/bookTicker"): Endpoint(quotes.book_ticker, per_symbol(2, 5)),
            ("GET", "/fapi/v1/premiumIndex"): Endpoint(quotes.premium_index, per_symbol(1, 10)),
            ("GET", "/fapi/v1/fundingRate"): Endpoint(quotes.funding_rate),
            ("GET", "/fapi/v1/fundingInfo"): Endpoint(quotes.funding_info, 0),
            ("GET", "/fapi/v1/openInterest"): Endpoint(quotes.open_interest),
        }

    @staticmethod
    def _signed(orders: Orders, holdings: Holdings) -> dict[tuple[str, str], Endpoint]:
        def get(answer: Callable[[Params], object], weight: int | Weigher = 5) -> Endpoint:
            return Endpoint(answer, weight, SIGNED)

        return {
            ("GET", "/sapi/v1/account/apiRestrictions"): get(holdings.key_permissions, 1),
            ("GET", "/fapi/v2/account"): get(holdings.account),
            ("GET", "/fapi/v3/account"): get(holdings.account),
            ("GET", "/fapi/v2/balance"): get(holdings.balance),
            ("GET", "/fapi/v3/balance"): get(holdings.balance),
            ("GET", "/fapi/v2/positionRisk"): get(lambda params: holdings.position_risk(params, everything=True)),
            ("GET", "/fapi/v3/positionRisk"): get(lambda params: holdings.position_risk(params, everything=False)),
            ("GET", "/fapi/v1/leverageBracket"): get(holdings.leverage_bracket, 1),
            ("GET", "/fapi/v1/symbolConfig"): get(holdings.symbol_config),
            ("GET", "/fapi/v1/accountConfig"): get(holdings.account_config),
            ("GET", "/fapi/v1/commissionRate"): get(holdings.commission_rate, 20),
            ("GET", "/fapi/v1/income"): get(holdings.income, 30),
            ("POST", "/fapi/v1/leverage"): get(holdings.set_leverage, 1),
            ("POST", "/fapi/v1/marginType"): get(holdings.set_margin_type, 1),
            ("GET", "/fapi/v1/positionSide/dual"): get(holdings.position_mode, 30),
            ("POST", "/fapi/v1/positionSide/dual"): get(holdings.set_position_mode, 1),
            ("GET", "/fapi/v1/multiAssetsMargin"): get(lambda params: {"multiAssetsMargin": False}, 30),
            ("POST", "/fapi/v1/order"): Endpoint(orders.place, 0, SIGNED, 1),
            ("POST", "/fapi/v1/order/test"): Endpoint(orders.test, 0, SIGNED),
            ("PUT", "/fapi/v1/order"): Endpoint(orders.amend, 1, SIGNED, 1),
            ("GET", "/fapi/v1/order"): get(orders.order, 1),
            ("GET", "/fapi/v1/openOrder"): get(orders.open_order, 1),
            ("DELETE", "/fapi/v1/order"): get(orders.cancel, 1),
            ("POST", "/fapi/v1/batchOrders"): Endpoint(orders.place_many, 5, SIGNED, 5),
            ("DELETE", "/fapi/v1/batchOrders"): get(orders.cancel_many, 1),
            ("GET", "/fapi/v1/openOrders"): get(orders.open_orders, per_symbol(1, 40)),
            ("DELETE", "/fapi/v1/allOpenOrders"): get(orders.cancel_all, 1),
            ("GET", "/fapi/v1/allOrders"): get(orders.all_orders),
            ("GET", "/fapi/v1/userTrades"): get(orders.user_trades),
            ("POST", "/fapi/v1/countdownCancelAll"): get(orders.countdown, 10),
            ("POST", "/fapi/v1/algoOrder"): Endpoint(orders.place_conditional, 0, SIGNED, 1),
            ("GET", "/fapi/v1/algoOrder"): get(orders.conditional, 1),
            ("DELETE", "/fapi/v1/algoOrder"): get(orders.cancel_conditional, 1),
            ("GET", "/fapi/v1/openAlgoOrders"): get(orders.open_conditionals, per_symbol(1, 40)),
            ("GET", "/fapi/v1/allAlgoOrders"): get(orders.all_conditionals),
            ("DELETE", "/fapi/v1/algoOpenOrders"): get(orders.cancel_all_conditionals, 1),
            ("POST", "/fapi/v1/listenKey"): Endpoint(holdings.open_listen_key, 1, KEYED),
            ("PUT", "/fapi/v1/listenKey"): Endpoint(holdings.extend_listen_key, 1, KEYED),
            ("DELETE", "/fapi/v1/listenKey"): Endpoint(holdings.close_listen_key, 1, KEYED),
        }
