"""Requests of the core in, ccxt calls out, their outcomes back as events.

ccxt signs, names and sends; what it answers is read raw and decoded here, and errors are told apart by the venue's
number (`outcome`). Its own throttler is off: it would add 200 ms to an order.
"""

import asyncio
from decimal import Decimal
from functools import partial
from typing import Any, TypeVar

from engine.errors import DecodeError, KeyRefused, VenueError
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
    OrderReport,
    PositionFact,
    SendOrder,
    SetLeverage,
    Side,
)
from engine.execution.live import base, shapes
from engine.execution.live.base import Wire, status_of
from engine.execution.live.outcome import code_of, words_of
from engine.signal.decoding import counted

VENUE, TITLE = "binance", "Binance"
PUBLIC_HOST = "https://fapi.binance.com"
KEYS_HOST = "https://api.binance.com"  # what a key may do is asked of the spot host
SYMBOLS_APART = 10
NO_CHANGE = -4046  # of the margin mode: it is what was asked for
LONGEST_ID = 40
PERCENT = Decimal("0.01")  # a basis point of one
T = TypeVar("T")


class BinanceAccount(base.VenueAccount):
    """One account at Binance (or at the simulated venue, which differs in its address only)."""

    venue, title = VENUE, TITLE

    def _client(self, ccxt: Any, shared: dict[str, Any]) -> Any:
        options = {"fetchCurrencies": False, "fetchMargins": False, "recvWindow": self.recv_window_ms}
        exchange = ccxt.binanceusdm({**shared, "options": options})
        base.redirect(exchange, self.rest_base, PUBLIC_HOST)
        exchange.urls["api"]["sapi"] = f"{KEYS_HOST if self.rest_base == PUBLIC_HOST else self.rest_base}/sapi/v1"
        return exchange

    async def _check(self) -> None:
        reply = await self._call("the position mode", self._exchange.fapiPrivateGetPositionSideDual)
        if _convert(reply, shapes.PositionMode, "positionSide/dual").dualSidePosition:
            raise VenueError(TITLE, "the account is in hedge mode; switch it to one-way mode (Preferences, Position Mode)")
        await self._check_key()

    async def _check_key(self) -> None:
        """A key that may withdraw, or may not trade, is refused; a venue without that question (the test network) tells
        nothing of either. Raises KeyRefused.
        """
        try:
            reply = await self._exchange.sapiGetAccountApiRestrictions()
        except Exception as problem:
            if status_of(problem) == 404:
                return
            raise VenueError(TITLE, f"what the key may do could not be read: {words_of(problem)}", code_of(problem)) from None
        allowed = _convert(reply, shapes.Restrictions, "apiRestrictions")
        if allowed.enableWithdrawals:
            raise KeyRefused(TITLE, base.MAY_WITHDRAW)
        if not allowed.enableFutures:
            raise KeyRefused(TITLE, "this key may not trade futures; give it that permission, and start again")

    # --- orders ------------------------------------------------------------------------------------------------------

    async def send(self, order: SendOrder, wire: Wire | None = None) -> tuple[Event, Wire]:
        """Place one order, once. No reply that can be read means UNKNOWN; it is never sent again.

        `wire` is told when the bytes leave, while this still waits for the reply.
        """
        wire = base.marked(wire)
        if (held := self._held_back(order)) is not None:
            return held, wire
        instrument = self._instruments[order.market]
        params: dict[str, object] = {"clientOrderId": order.client_id}
        if order.reduce_only:
            params["reduceOnly"] = True
        price = str(order.price * instrument.tick) if order.price else None
        if order.kind.conditional:
            trigger = str(order.trigger * instrument.tick)
            if order.kind is OrderKind.TRAILING:
                params["trailingPercent"] = str(Decimal(order.trail_bps) / 100)
                params |= {"trailingTriggerPrice": trigger} if order.trigger else {}
            else:
                params["stopLossPrice" if order.kind is OrderKind.STOP else "takeProfitPrice"] = trigger
            params["workingType"] = "MARK_PRICE"
        elif order.kind is OrderKind.LIMIT:
            params["timeInForce"] = order.time_in_force.value.upper()
        kind = "limit" if order.kind is OrderKind.LIMIT else "market"
        side = "buy" if order.side is Side.BUY else "sell"
        amount = str(order.quantity * instrument.step)
        try:
            reply = await self._exchange.create_order(base.unified(order.market), kind, side, amount, price, params)
        except Exception as problem:
            return self._failed(order, problem), wire
        now = self.clock.now_ns()
        number = str(reply.get("id") or "") if isinstance(reply, dict) else ""
        if not number.isascii() or not 0 < len(number) < LONGEST_ID:  # an empty or unreadable body
            return OrderFateUnknown(now, order.market, order.client_id, "the venue's reply was empty"), wire
        return OrderAccepted(now, order.market, order.client_id, number), wire

    async def cancel(self, order: CancelOrder, wire: Wire | None = None) -> Event | None:
        """None when the venue took it: the private stream tells when the order is gone."""
        base.marked(wire)
        symbol = self._instruments[order.market].venue_symbol
        try:
            if order.conditional:
                await self._exchange.fapiPrivateDeleteAlgoOrder({"symbol": symbol, "clientAlgoId": order.client_id})
            else:
                await self._exchange.fapiPrivateDeleteOrder({"symbol": symbol, "origClientOrderId": order.client_id})
        except Exception as problem:
            return self._not_cancelled(order, problem)
        return None

    async def amend(self, order: AmendOrder) -> Event | None:
        """None when the venue took it: the private stream tells the new terms."""
        instrument = self._instruments[order.market]
        request = {
            "symbol": instrument.venue_symbol,
            "origClientOrderId": order.client_id,
            "side": order.side.name,
            "quantity": str(order.quantity * instrument.step),
            "price": str(order.price * instrument.tick),
        }
        try:
            await self._exchange.fapiPrivatePutOrder(request)
        except Exception as problem:
            return self._not_amended(order, problem)
        return None

    async def look_up(self, order: LookUpOrder) -> Event | None:
        """What became of an order, by our id; None when the question itself failed (it is asked again)."""
        symbol = self._instruments[order.market].venue_symbol
        try:
            if order.conditional:
                reply = await self._exchange.fapiPrivateGetAlgoOrder({"symbol": symbol, "clientAlgoId": order.client_id})
            else:
                reply = await self._exchange.fapiPrivateGetOrder({"symbol": symbol, "origClientOrderId": order.client_id})
        except Exception as problem:
            return self._not_found(order, problem)
        now = self.clock.now_ns()
        if order.conditional:
            algo = _convert(reply, shapes.AlgoOrder, "algoOrder")
            return ConditionalReport(
                now, order.market, order.client_id, str(algo.algoId), algo.algoStatus, algo.actualOrderId, "", algo.updateTime
            )
        found = _convert(reply, shapes.OpenOrder, "order")
        step = self._instruments[order.market].step
        return OrderReport(
            now,
            order.market,
            order.client_id,
            str(found.orderId),
            found.status,
            _side(found.side),
            shapes.whole(found.origQty, step),
            shapes.whole(found.executedQty, step),
            found.reduceOnly,
            found.updateTime,
            average=found.avgPrice,
            price=shapes.whole(found.price, self._instruments[order.market].tick),
        )

    # --- the account -------------------------------------------------------------------------------------------------

    async def set_leverage(self, wish: SetLeverage) -> LeverageSet:
        """The margin mode of the settings first: an account that has another one is not traded on."""
        symbol = self._instruments[wish.market].venue_symbol
        await self._set_margin_mode(symbol)
        request = {"symbol": symbol, "leverage": wish.leverage}
        reply = await self._call("the leverage", self._exchange.fapiPrivatePostLeverage, request)
        return LeverageSet(self.clock.now_ns(), wish.market, _convert(reply, shapes.Leverage, "leverage").leverage)

    async def _set_margin_mode(self, symbol: str) -> None:
        kind = "ISOLATED" if self.margin_mode == "isolated" else "CROSSED"
        try:
            await self._exchange.fapiPrivatePostMarginType({"symbol": symbol, "marginType": kind})
        except Exception as problem:
            if (code := code_of(problem)) != NO_CHANGE:
                text = f"the margin mode of {symbol} could not be set to {self.margin_mode}: {words_of(problem)}"
                raise VenueError(TITLE, text, code) from None

    async def fees(self, market: str) -> Fees:
        symbol = self._instruments[market].venue_symbol
        reply = await self._call("the commission rates", self._exchange.fapiPrivateGetCommissionRate, {"symbol": symbol})
        rates = _convert(reply, shapes.Commission, "commissionRate")
        return Fees(self.clock.now_ns(), market, rates.makerCommissionRate, rates.takerCommissionRate)

    async def snapshot(self, wish: FetchAccount) -> AccountSnapshot:
        """Wallet, positions, open orders of both kinds and, where asked for, our fills since a time."""
        ex = self._exchange
        asked = self.clock.now_ns()
        ask = partial(self._call, may_wait=wish.may_wait)
        wheres = self._wheres()
        account, risks, orders, algos = await asyncio.gather(
            ask("the account", ex.fapiPrivateV3GetAccount),
            ask("the positions", ex.fapiPrivateV3GetPositionRisk),
            asyncio.gather(*(ask("the open orders", ex.fapiPrivateGetOpenOrders, where) for where in wheres)),
            asyncio.gather(*(ask("the open conditional orders", ex.fapiPrivateGetOpenAlgoOrders, where) for where in wheres)),
        )
        fills: list[FillFact] = []
        if wish.fills_since_ms:
            for instrument in self._instruments.values():
                request = {"symbol": instrument.venue_symbol, "startTime": wish.fills_since_ms, "limit": 1000}
                rows = await ask("our trades", ex.fapiPrivateGetUserTrades, request)
                fills += [self._fill(instrument, row) for row in _convert(rows, list[shapes.UserTrade], "userTrades")]
        wallet, known = _usdt(_convert(account, shapes.Account, "account")), self._by_symbol
        return AccountSnapshot(
            self.clock.now_ns(),
            VENUE,
            wallet.walletBalance,
            wallet.availableBalance,
            tuple(self._positions(_convert(risks, list[shapes.PositionRisk], "positionRisk"))),
            tuple(
                [self._open(row) for row in _rows(orders, shapes.OpenOrder, "openOrders") if row.symbol in known]
                + [self._algo(row) for row in _rows(algos, shapes.AlgoOrder, "openAlgoOrders") if row.symbol in known]
            ),
            asked,
            tuple(sorted(fills, key=lambda fill: (fill.venue_ms, fill.trade_id))),
        )

    def _wheres(self) -> list[dict[str, str]]:
        """What open orders are asked of: a symbol weighs 1, all of them 40 (2026-11)."""
        symbols = [instrument.venue_symbol for instrument in self._instruments.values()]
        return [{"symbol": symbol} for symbol in symbols] if len(symbols) <= SYMBOLS_APART else [{}]

    def _positions(self, risks: list[shapes.PositionRisk]) -> list[PositionFact]:
        facts = []
        for risk in risks:
            instrument = self._by_symbol.get(risk.symbol)
            if instrument is None:
                continue
            quantity = _steps(risk.positionAmt, instrument)
            market, gain = instrument.market, risk.unRealizedProfit
            facts.append(PositionFact(market, quantity, risk.entryPrice, risk.markPrice, gain, risk.liquidationPrice))
        return facts

    def _open(self, order: shapes.OpenOrder) -> OrderFact:
        instrument = self._by_symbol[order.symbol]
        quantity, filled = _steps(order.origQty, instrument), _steps(order.executedQty, instrument)
        side, name = _side(order.side), order.clientOrderId
        return OrderFact(instrument.market, name, str(order.orderId), side, quantity, filled, order.reduceOnly, False, Decimal(0))

    def _algo(self, algo: shapes.AlgoOrder) -> OrderFact:
        instrument = self._by_symbol[algo.symbol]
        quantity, side = _steps(algo.quantity, instrument), _side(algo.side)
        reduces = algo.reduceOnly or algo.closePosition
        return OrderFact(
            instrument.market,
            algo.clientAlgoId,
            str(algo.algoId),
            side,
            quantity,
            0,
            reduces,
            True,
            algo.triggerPrice,
            _trail_bps(algo.callbackRate),
        )

    @staticmethod
    def _fill(instrument: Instrument, row: shapes.UserTrade) -> FillFact:
        return FillFact(
            instrument.market,
            str(row.orderId),
            row.id,
            _side(row.side),
            _steps(row.qty, instrument),
            shapes.whole(row.price, instrument.tick),
            row.commission,
            row.maker,
            row.time,
            row.commissionAsset,
        )

    async def hold(self, markets: list[str], seconds: int) -> None:
        """The venue counts down for each symbol apart."""
        for market in markets:
            request = {"symbol": self._instruments[market].venue_symbol, "countdownTime": seconds * 1000}
            await self._call("the dead man's switch", self._exchange.fapiPrivatePostCountdownCancelAll, request)

    async def listen_key(self) -> str:
        """Create the private stream's key, or get and extend the active one."""
        reply = await self._call("the private stream's key", self._exchange.fapiPrivatePostListenKey)
        return _convert(reply, shapes.ListenKey, "listenKey").listenKey

    async def keep_listen_key(self) -> None:
        await self._call("the private stream's key", self._exchange.fapiPrivatePutListenKey)


def _usdt(account: shapes.Account) -> shapes.Asset:
    """The account's USDT: other assets are no margin of USDT contracts in single-asset mode."""
    return next((asset for asset in account.assets if asset.asset == "USDT"), shapes.Asset("USDT", Decimal(0), Decimal(0)))


def _trail_bps(callback: str) -> int:
    try:
        return counted(Decimal(callback or 0), PERCENT)
    except (ArithmeticError, ValueError):
        raise DecodeError("Binance algoOrder", f"callbackRate is {callback[:20]!r}") from None


def _rows(bodies: list[object], shape: type[T], what: str) -> list[T]:
    return [row for body in bodies for row in _convert(body, list[shape], what)]  # type: ignore[valid-type]


def _convert(body: object, shape: type[T], what: str) -> T:
    return base.convert(body, shape, TITLE, what)


def _steps(quantity: Decimal, instrument: Instrument) -> int:
    return shapes.whole(quantity, instrument.step)


def _side(word: str) -> Side:
    return Side.BUY if word == "BUY" else Side.SELL
