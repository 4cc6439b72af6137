"""Requests of the core in, OKX's REST interface asked through ccxt, its answers back as events.

ccxt signs, names and sends; bodies are ours and answers are read raw, since its unified calls lose ids, statuses and the
difference between a refused order and a request without an answer. Sizes on the wire are contracts.
"""

import asyncio
from decimal import Decimal
from typing import Any, TypeVar

from engine.clock import Clock
from engine.errors import BarterError, KeyRefused, VenueError
from engine.events import (
    AccountSnapshot,
    AmendOrder,
    CancelOrder,
    ConditionalReport,
    Event,
    Fees,
    FetchAccount,
    FillFact,
    Instrument,
    LeverageSet,
    LookUpOrder,
    OrderAccepted,
    OrderFact,
    OrderFateUnknown,
    OrderKind,
    OrderRefused,
    SendOrder,
    SetLeverage,
    TimeInForce,
)
from engine.execution.live import base
from engine.execution.live import okx_shapes as shapes
from engine.execution.live.base import Wire
from engine.signal.decoding import said

VENUE, TITLE = "okx", "OKX"
PUBLIC_HOST = "https://www.okx.com"
ORDER_TYPES = {TimeInForce.GTC: "limit", TimeInForce.GTX: "post_only", TimeInForce.IOC: "ioc", TimeInForce.FOK: "fok"}
ALGO_KINDS = ("conditional", "trigger", "move_order_stop", "oco")
PAGE, MOST_PAGES = 100, 200
RECENT_MS = 2 * 86_400_000  # `fills` goes three days back, `fills-history` three months
LEAST_HOLD_S, MOST_HOLD_S = 10, 120
EXPIRING = ("trade/order", "trade/amend-order")  # requests that the venue drops after the time in their header
T = TypeVar("T")


class OkxAccount(base.VenueAccount):
    """One account at OKX (or at the simulated venue, which differs in its address only)."""

    venue, title = VENUE, TITLE

    def _client(self, ccxt: Any, shared: dict[str, Any]) -> Any:
        options = {
            "defaultType": "swap",
            "fetchMarkets": {"types": ["swap"]},
            "createOrder": "privatePostTradeOrder",
            "brokerId": "",
        }
        exchange = ccxt.okx({**shared, "password": self.credentials.passphrase, "options": options})
        exchange.has["fetchCurrencies"] = False  # else a signed question about assets that nobody trades
        redirect(exchange, self.rest_base)
        _expire(exchange, self.clock, self.recv_window_ms)
        return exchange

    async def _check(self) -> None:
        ask = self._exchange.privateGetAccountConfig
        (config,) = await self._rows("the account's settings", ask, {}, shapes.Config, "config", 1)
        if config.posMode != "net_mode":
            raise VenueError(TITLE, "the account is in hedge mode; switch it to net mode (Trade settings, Position mode)")
        if config.acctLv == "1":
            raise VenueError(TITLE, "the account is in spot mode; switch it to futures mode (Trade settings, Account mode)")
        allowed = config.perm.split(",")
        if "withdraw" in allowed:
            raise KeyRefused(TITLE, base.MAY_WITHDRAW)
        if "trade" not in allowed:
            raise KeyRefused(TITLE, f"this key may not trade (it has {said(config.perm) or 'no permission'}); make one that may")

    # --- orders ------------------------------------------------------------------------------------------------------

    async def send(self, order: SendOrder, wire: Wire | None = None) -> tuple[Event, Wire]:
        """Place one order, once. No reply that can be read means UNKNOWN; it is never sent again.

        `wire` is told when the bytes leave, while this still waits for the reply.
        """
        wire = base.marked(wire)
        if order.quantity <= 0:
            return OrderRefused(self.clock.now_ns(), order.market, order.client_id, 0, "an order of nothing"), wire
        if (held := self._held_back(order)) is not None:
            return held, wire
        request = self._request(order)
        ask = self._exchange.privatePostTradeOrderAlgo if order.kind.conditional else self._exchange.privatePostTradeOrder
        try:
            reply = await ask(request)
        except Exception as problem:
            return self._failed(order, problem), wire
        now = self.clock.now_ns()
        taken = _taken(reply)
        if taken is None or not (taken.id or taken.sCode):  # an empty or unreadable body
            return OrderFateUnknown(now, order.market, order.client_id, "the venue's reply was empty"), wire
        if taken.sCode not in ("", "0"):  # "partly done" does not raise
            return self._failed(order, _Refused(taken)), wire
        return OrderAccepted(now, order.market, order.client_id, taken.id), wire

    def _request(self, order: SendOrder) -> dict[str, object]:
        instrument = self._instruments[order.market]
        request: dict[str, object] = {
            "instId": instrument.venue_symbol,
            "tdMode": self.margin_mode,
            "side": order.side.name.lower(),
            "sz": _contracts(order.quantity, instrument),
            "clOrdId": order.client_id,
        }
        if order.reduce_only:
            request["reduceOnly"] = True
        trigger = _price(order.trigger, instrument)
        match order.kind:
            case OrderKind.MARKET:
                request["ordType"] = "market"
            case OrderKind.LIMIT:
                request |= {"ordType": ORDER_TYPES[order.time_in_force], "px": _price(order.price, instrument)}
            case OrderKind.TRAILING:
                request |= {"ordType": "move_order_stop", "callbackRatio": format(Decimal(order.trail_bps) / 10_000, "f")}
                request |= {"activePx": trigger} if order.trigger else {}
            case OrderKind.STOP | OrderKind.TARGET:
                name = "sl" if order.kind is OrderKind.STOP else "tp"
                request |= {f"{name}TriggerPx": trigger, f"{name}OrdPx": "-1", f"{name}TriggerPxType": "mark"}
                request["ordType"] = "conditional"
        if order.kind.conditional:
            request["algoClOrdId"] = order.client_id
        return request

    async def cancel(self, order: CancelOrder, wire: Wire | None = None) -> Event | None:
        """None when the venue took it: the private stream tells when the order is gone."""
        base.marked(wire)
        symbol = self._instruments[order.market].venue_symbol
        try:
            if order.conditional:
                reply = await self._exchange.privatePostTradeCancelAlgos([{"instId": symbol, "algoClOrdId": order.client_id}])
            else:
                reply = await self._exchange.privatePostTradeCancelOrder({"instId": symbol, "clOrdId": order.client_id})
            _check(reply)
        except Exception as problem:
            return self._not_cancelled(order, problem)
        return None

    async def amend(self, order: AmendOrder) -> Event | None:
        """None when the venue took it: the private stream tells the new terms."""
        instrument = self._instruments[order.market]
        request = {
            "instId": instrument.venue_symbol,
            "clOrdId": order.client_id,
            "newSz": _contracts(order.quantity, instrument),
            "newPx": _price(order.price, instrument),
        }
        try:
            _check(await self._exchange.privatePostTradeAmendOrder(request))
        except Exception as problem:
            return self._not_amended(order, problem)
        return None

    async def look_up(self, order: LookUpOrder) -> Event | None:
        """What became of an order, by our id; None when the question itself failed (it is asked again)."""
        instrument = self._instruments[order.market]
        try:
            if order.conditional:
                return await self._look_up_algo(order, instrument)
            reply = await self._exchange.privateGetTradeOrder({"instId": instrument.venue_symbol, "clOrdId": order.client_id})
        except Exception as problem:
            if isinstance(problem, BarterError):
                raise
            return self._not_found(order, problem)
        (found,) = _rows(reply, shapes.Order, "order", 1)
        return shapes.order_report(found, instrument, self.clock.now_ns())

    async def _look_up_algo(self, order: LookUpOrder, instrument: Instrument) -> Event:
        """A triggered one is finished when its own order is: the venue says only that it was placed."""
        reply = await self._exchange.privateGetTradeOrderAlgo({"algoClOrdId": order.client_id})
        (algo,) = _rows(reply, shapes.Algo, "order-algo", 1)
        report = shapes.algo_report(algo, instrument, self.clock.now_ns())
        if report.status != "TRIGGERED" or not report.order_id:
            return report
        reply = await self._exchange.privateGetTradeOrder({"instId": instrument.venue_symbol, "ordId": report.order_id})
        (placed,) = _rows(reply, shapes.Order, "order", 1)
        if placed.state not in ("filled", "canceled", "mmp_canceled"):
            return report
        at, name, number = self.clock.now_ns(), report.client_id, report.venue_id
        return ConditionalReport(at, order.market, name, number, "FINISHED", report.order_id, "", report.venue_ms)

    # --- the account -------------------------------------------------------------------------------------------------

    async def set_leverage(self, wish: SetLeverage) -> LeverageSet:
        name = self._instruments[wish.market].venue_symbol
        request = {"instId": name, "lever": str(wish.leverage), "mgnMode": self.margin_mode}
        ask = self._exchange.privatePostAccountSetLeverage
        (found,) = await self._rows("the leverage", ask, request, shapes.Leverage, "set-leverage", 1)
        return LeverageSet(self.clock.now_ns(), wish.market, int(shapes.decimal(found.lever, "lever")))

    async def fees(self, market: str) -> Fees:
        """The venue's rates are negative where they are paid."""
        family = self._instruments[market].venue_symbol.removesuffix("-SWAP")
        ask, wish = self._exchange.privateGetAccountTradeFee, {"instType": "SWAP", "instFamily": family}
        (found,) = await self._rows("the commission rates", ask, wish, shapes.Rates, "trade-fee", 1)
        maker, taker = found.makerU or found.maker, found.takerU or found.taker
        if not maker or not taker:
            raise VenueError(TITLE, "the commission rates are not in the reply")
        return Fees(self.clock.now_ns(), market, -shapes.decimal(maker, "maker"), -shapes.decimal(taker, "taker"))

    async def snapshot(self, wish: FetchAccount) -> AccountSnapshot:
        """Wallet, positions, open orders of both kinds and, where asked for, our fills since a time."""
        ex = self._exchange
        asked = self.clock.now_ns()
        swaps = {"instType": "SWAP"}
        balances, positions, orders, algos = await asyncio.gather(
            self._rows("the account", ex.privateGetAccountBalance, {}, shapes.Balance, "balance", 1),
            self._rows("the positions", ex.privateGetAccountPositions, swaps, shapes.Position, "positions"),
            self._pages("the open orders", ex.privateGetTradeOrdersPending, swaps, shapes.Order, "orders-pending", "ordId"),
            self._open_algos(),
        )
        fills = await self._fills_since(wish.fills_since_ms) if wish.fills_since_ms else []
        known = self._by_symbol
        usdt = next((one for one in balances[0].details if one.ccy == "USDT"), shapes.Detail("USDT", "0"))
        facts: list[OrderFact] = [shapes.order_fact(row, known[row.instId]) for row in orders if row.instId in known]
        facts += [shapes.algo_fact(row, known[row.instId]) for row in algos if row.instId in known]
        return AccountSnapshot(
            self.clock.now_ns(),
            VENUE,
            shapes.decimal(usdt.cashBal, "cashBal"),
            shapes.decimal(usdt.availEq or usdt.availBal, "availEq"),
            tuple(shapes.position_fact(row, known[row.instId]) for row in positions if row.instId in known),
            tuple(facts),
            asked,
            tuple(sorted(fills, key=lambda fill: (fill.venue_ms, fill.trade_id))),
        )

    async def _open_algos(self) -> list[shapes.Algo]:
        """The venue answers for one kind at a time."""
        ask, what, path = self._exchange.privateGetTradeOrdersAlgoPending, "the open conditional orders", "orders-algo-pending"
        wishes = [{"instType": "SWAP", "ordType": kind} for kind in ALGO_KINDS]
        found = await asyncio.gather(*(self._pages(what, ask, wish, shapes.Algo, path, "algoId") for wish in wishes))
        return [row for rows in found for row in rows]

    async def _fills_since(self, since_ms: int) -> list[FillFact]:
        old = self.clock.now_ms() - since_ms > RECENT_MS
        ask = self._exchange.privateGetTradeFillsHistory if old else self._exchange.privateGetTradeFills
        wish = {"instType": "SWAP", "begin": str(since_ms)}
        rows = await self._pages("our trades", ask, wish, shapes.Fill, "fills", "billId")
        return [shapes.fill_fact(row, self._by_symbol[row.instId]) for row in rows if row.instId in self._by_symbol]

    async def hold(self, markets: list[str], seconds: int) -> None:
        """The venue counts down for the whole account, 10 to 120 s; conditional orders survive it."""
        wait = min(max(seconds, LEAST_HOLD_S), MOST_HOLD_S) if seconds else 0
        await self._call("the dead man's switch", self._exchange.privatePostTradeCancelAllAfter, {"timeOut": str(wait)})

    # --- questions ---------------------------------------------------------------------------------------------------

    async def _pages(self, what: str, ask: Any, wish: dict[str, str], shape: type[T], path: str, id_name: str) -> list[T]:
        """All pages, the newest rows first. Raises VenueError where they do not end."""
        found: list[T] = []
        after: dict[str, str] = {}
        for _ in range(MOST_PAGES):
            rows = await self._rows(what, ask, {**wish, **after, "limit": str(PAGE)}, shape, path)
            found += rows
            if len(rows) < PAGE:
                return found
            after = {"after": getattr(rows[-1], id_name)}
        raise VenueError(TITLE, f"{what} could not be read: they do not end after {len(found):,}")

    async def _rows(self, what: str, ask: Any, wish: dict[str, str], shape: type[T], path: str, least: int = 0) -> list[T]:
        return _rows(await self._call(what, ask, wish), shape, path, least)


class _Refused(Exception):
    """A row of a reply that says no, as ccxt would word it."""

    def __init__(self, taken: shapes.Taken) -> None:
        words = taken.sMsg.replace('"', "'")
        super().__init__(f'okx {{"sCode":"{taken.sCode}","sMsg":"{words}"}}')


class _Data(base.Figures):
    data: list[object]


def _rows(reply: object, shape: type[T], path: str, least: int = 0) -> list[T]:
    """The rows of `data`; a DecodeError where they are not what they should be."""
    rows = base.convert(base.convert(reply, _Data, TITLE, path).data, list[shape], TITLE, path)  # type: ignore[valid-type]
    if len(rows) < least or (least and len(rows) > least):
        raise VenueError(TITLE, f"{path} has {len(rows)} rows, not {least}")
    return rows


def _taken(reply: object) -> shapes.Taken | None:
    """The first row of a reply to an order, None where there is none."""
    try:
        return _rows(reply, shapes.Taken, "order", 1)[0]
    except BarterError:
        return None


def _check(reply: object) -> None:
    """Raises where the venue would not do what it was asked for; without words of its own that is an error, too."""
    taken = _taken(reply)
    if taken is None:
        raise VenueError(TITLE, "the reply was empty")
    if taken.sCode not in ("", "0"):
        raise _Refused(taken)


def _contracts(steps: int, instrument: Instrument) -> str:
    return format((steps * instrument.step / instrument.contract).normalize(), "f")


def _price(ticks: int, instrument: Instrument) -> str:
    return format(ticks * instrument.tick, "f")


def redirect(exchange: Any, rest_base: str) -> None:
    """Its address has a host of its own beside the template in `rest`."""
    exchange.urls["api"] = {"rest": rest_base}
    exchange.hostname = rest_base.partition("://")[2]
    if rest_base != PUBLIC_HOST:
        exchange.urls["test"] = {}


def _expire(exchange: Any, clock: Clock, window_ms: int) -> None:
    """An order may execute for so long after it was signed, not for the 30 s for which the signature is good."""
    sign = exchange.sign

    def signed(path: str, api: Any, method: str, params: Any) -> Any:
        request = sign(path, api, method, params)
        if method == "POST" and path in EXPIRING:
            until = exchange.milliseconds() + int(window_ms * max(1.0, clock.speed))
            request["headers"]["expTime"] = str(until)
        return request

    exchange.sign = signed
