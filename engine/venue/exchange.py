"""Requests and time go in; orders, fills, positions and the account's stream of reports come out.

One account over several markets. Pure: the time of every call is passed in, frames and reports leave by callbacks. Markets
are advanced first and their fills booked as they come; what a price triggers is placed afterwards, never inside a market.
"""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Literal

import msgspec

from engine.events import Side
from engine.venue.acceptance import Acceptance
from engine.venue.accounts import ZERO, Account, Margin, Resting
from engine.venue.conditional import Conditionals
from engine.venue.contract import Contract
from engine.venue.faults import Faults
from engine.venue.market import Fill, Market, MarketOrder, Sinks
from engine.venue.news import AccountNews, News, OrderNews
from engine.venue.orders import Ending, Order, Refusal, Request, missing, price_ticks, quantity_steps

EARLY_MS = 60_000  # the clock of a market that is fed may be ahead of ours; a settlement that was put off is further away
HISTORY = 50_000  # orders, trades and income rows kept for REST, oldest dropped


class UserTrade(msgspec.Struct, frozen=True):
    """A fill of the account: commission paid and profit realised, USDT."""

    fill: Fill
    symbol: str
    side: Side
    commission: Decimal
    realised: Decimal


class Income(msgspec.Struct, frozen=True):
    """A row of the account's income: `amount` in USDT, below 0 where it was paid."""

    id: int
    symbol: str
    kind: str
    amount: Decimal
    at_ms: int
    trade_id: str = ""


class Exchange:
    """`frame(symbol, kind, body)` receives market data, `tell(news)` what happens to the account.

    `cancels_unmatched`: a post-only order that would take and a FOK order that cannot fill are accepted and cancelled at once
    (OKX), not refused (Binance).
    """

    def __init__(
        self, markets: Mapping[str, Market], wallet: Decimal, frame: Callable[[str, str, bytes], None],
        tell: Callable[[News], None], faults: Faults, now_ms: int, cancels_unmatched: bool = False,
    ) -> None:
        self.now_ms, self.cancels_unmatched = now_ms, cancels_unmatched
        self.account = Account(wallet)
        self.faults = faults
        self.tell = tell
        self.contracts = {symbol: Contract(market) for symbol, market in markets.items()}
        self.orders: dict[int, Order] = {}
        self.open: dict[int, Order] = {}
        self.open_ids: dict[tuple[str, str], int] = {}
        self.latest_ids: dict[tuple[str, str], int] = {}
        self.trades: deque[UserTrade] = deque(maxlen=HISTORY)
        self.income: deque[Income] = deque(maxlen=HISTORY)
        self.countdowns: dict[str, int] = {}
        self.conditionals = Conditionals(self)
        self.acceptance = Acceptance(self)
        self.liquidations = 0
        self._touched: dict[str, None] = {}
        self._next_order = 8_000_000_001
        self._next_income = 1
        for symbol, contract in self.contracts.items():
            contract.market.attach(Sinks(self._framer(symbol, frame), self._rested, contract.traded))

    # --- time ------------------------------------------------------------------------------------------------------

    def advance(self, now_ms: int) -> None:
        """Let all that is due happen: market, funding, triggers, countdowns, liquidation."""
        self.now_ms = max(now_ms, self.now_ms)
        for symbol, contract in self.contracts.items():
            contract.market.advance(self.now_ms)
            self._mark(symbol, contract)
        self._report_account()
        self.settle()

    def settle(self) -> None:
        """What follows from new prices and fills."""
        self._shrink_reduce_only()
        self.conditionals.trigger()
        for symbol, deadline in list(self.countdowns.items()):
            if self.now_ms >= deadline:
                del self.countdowns[symbol]
                self.cancel_all(symbol, Ending.COUNTDOWN)
        held = [symbol for symbol in self.contracts if self.position_steps(symbol)]
        if not held:
            return
        apart = [symbol for symbol in held if symbol in self.account.isolated]
        for symbol in apart:
            if self.account.isolated_liquidates(symbol, self.marks()[symbol], self.rates()[symbol]):
                self._liquidate([symbol])
        if len(apart) < len(held) and self.margin().liquidates:
            self._liquidate([symbol for symbol in self.contracts if symbol not in apart])

    @property
    def ended(self) -> bool:
        return bool(self.contracts) and all(contract.market.ended for contract in self.contracts.values())

    def contract(self, symbol: str) -> Contract:
        if not symbol:
            raise missing("symbol")
        if symbol not in self.contracts:
            raise Refusal(-1121, "Invalid symbol.")
        return self.contracts[symbol]

    # --- orders ----------------------------------------------------------------------------------------------------

    def place(self, request: Request) -> Order:
        """Check, accept, match. Raises `Refusal` where the venue would; afterwards reports have been told."""
        order = self.acceptance.accept(request)
        self.execute(order)
        return order

    def test(self, request: Request) -> None:
        """All the checks of `place` without the order."""
        self.acceptance.accept(request)

    def execute(self, order: Order, accepted: Callable[[], None] | None = None) -> None:
        """Send an accepted order to its market. `accepted` is called between its NEW report and its first fill."""
        contract = self.contracts[order.symbol]
        self._expire_own_makers(order)
        self.orders[order.id] = self.open[order.id] = order
        self.open_ids[(order.symbol, order.client_id)] = self.latest_ids[(order.symbol, order.client_id)] = order.id
        if len(self.orders) > HISTORY:
            self._forget_oldest()
        self.report(order, "CALCULATED" if order.liquidation else "NEW")
        if accepted:
            accepted()
        if self.cancels_unmatched and (why := self.acceptance.unmatched(order)):
            return self._close(order, "CANCELED", why)
        rests = order.kind != "MARKET" and order.time_in_force in ("GTC", "GTX")
        for fill in contract.market.submit(self._market_order(order, rests), self.now_ms):
            self._fill(order, fill)
        if order.open and not rests:
            self._close(order, "EXPIRED", Ending.UNFILLED)
        self._report_account()
        self._shrink_reduce_only()
        return None

    def cancel(self, symbol: str, order_id: int | None, client_id: str) -> Order:
        self.contract(symbol)
        order = self._find(symbol, order_id, client_id)
        if order is None or not order.open:
            raise Refusal(-2011, "Unknown order sent.")
        self.contracts[symbol].market.cancel(order.id)
        self._close(order, "CANCELED", Ending.ASKED)
        return order

    def cancel_all(self, symbol: str, why: Ending = Ending.ASKED) -> None:
        self.contract(symbol)
        for order in [order for order in self.open.values() if order.symbol == symbol]:
            self.contracts[symbol].market.cancel(order.id)
            self._close(order, "CANCELED", why)

    def look_up(self, symbol: str, order_id: int | None, client_id: str) -> Order:
        self.contract(symbol)
        order = self._find(symbol, order_id, client_id)
        if order is None:
            raise Refusal(-2013, "Order does not exist.")
        return order

    def amend(self, symbol: str, order_id: int | None, client_id: str, quantity: str, price: str) -> Order:
        """Change price and quantity of a resting limit order; it loses its place in the queue."""
        contract = self.contract(symbol)
        order = self.look_up(symbol, order_id, client_id)
        if not order.open or order.kind != "LIMIT":
            raise Refusal(-2013, "Order does not exist.")
        steps, ticks = quantity_steps(contract.listing, quantity, market=False), price_ticks(contract.listing, price)
        if (steps, ticks) == (order.quantity, order.price):
            raise Refusal(-5027, "No need to modify the order.")
        crosses = order.time_in_force == "GTX" and bool(contract.market.fillable(order.side, ticks))
        if crosses and not self.cancels_unmatched:
            raise Refusal(-5022, "Due to the order could not be executed as maker, the Post Only order will be rejected.")
        contract.market.cancel(order.id)
        if steps <= order.filled:
            self._close(order, "CANCELED", Ending.ASKED)
            return order
        order.quantity, order.price, order.updated_ms = steps, ticks, self.now_ms
        self.report(order, "AMENDMENT")
        if crosses:
            self._close(order, "CANCELED", Ending.WOULD_TAKE)
            return order
        for fill in contract.market.submit(self._market_order(order, rests=True), self.now_ms):
            self._fill(order, fill)
        self._report_account()
        return order

    def reducible(self, symbol: str, side: Side, rests: bool) -> int:
        """Steps by which an order of `side` could reduce the position; one that rests shares it with those resting already."""
        held = self.position_steps(symbol)
        if held * side >= 0:
            return 0
        resting = sum(o.unfilled for o in self.open.values() if o.symbol == symbol and o.reduce_only and o.side is side)
        return max(0, abs(held) - (resting if rests else 0))

    def position_steps(self, symbol: str) -> int:
        return int(self.account.position(symbol).quantity / self.contracts[symbol].listing.step)

    # --- the account -----------------------------------------------------------------------------------------------

    def marks(self) -> dict[str, Decimal]:
        return {symbol: contract.mark() for symbol, contract in self.contracts.items()}

    def rates(self) -> dict[str, Decimal]:
        return {symbol: contract.listing.maintenance_rate for symbol, contract in self.contracts.items()}

    def has_orders(self, symbol: str) -> bool:
        """Of either kind."""
        return any(order.symbol == symbol for order in self.open.values()) or bool(self.conditionals.open(symbol))

    def resting(self, extra: Order | None = None, price: Decimal = ZERO) -> dict[str, Resting]:
        """Value of what open orders, and perhaps one more at `price`, could add."""
        totals = {symbol: Resting() for symbol in self.contracts}
        for order in [*self.open.values(), extra] if extra else self.open.values():
            if order.reduce_only:
                continue
            listing = self.contracts[order.symbol].listing
            each = price if order is extra else order.price * listing.tick
            value = order.unfilled * listing.step * each
            if order.side is Side.BUY:
                totals[order.symbol].bids += value
            else:
                totals[order.symbol].asks += value
        return totals

    def margin(self, extra: Order | None = None, price: Decimal = ZERO) -> Margin:
        return self.account.margin(self.marks(), self.rates(), self.resting(extra, price))

    def fund(self, symbol: str, mark: Decimal, rate: Decimal) -> None:
        """Settle funding of a symbol now."""
        contract = self.contracts[symbol]
        contract.funding.append((self.now_ms, rate, mark))
        if not self.account.position(symbol).quantity:
            return
        payment = self.account.fund(symbol, mark, rate)
        self._earn(symbol, "FUNDING_FEE", payment)
        named = (symbol,) if symbol in self.account.isolated else ()
        self.tell(AccountNews(self.account, "FUNDING_FEE", self.now_ms, payment, self.marks(), named))

    def report(self, order: Order, execution: str) -> None:
        totals = self.resting()[order.symbol]
        self.tell(OrderNews(order, self.contracts[order.symbol].listing, execution, self.now_ms, totals.bids, totals.asks))

    def new_order(self, request: Request, side: Side, quantity: int, price: int, client_id: str) -> Order:
        number, self._next_order = self._next_order, self._next_order + 1
        return Order(
            id=number,
            symbol=request.symbol,
            client_id=client_id or f"sim-{number}",
            side=side,
            kind=request.kind,
            time_in_force=request.time_in_force or "GTC",
            quantity=quantity,
            price=price,
            reduce_only=request.reduce_only,
            created_ms=self.now_ms,
            updated_ms=self.now_ms,
        )

    # --- fills -----------------------------------------------------------------------------------------------------

    def _expire_own_makers(self, taker: Order) -> None:
        """Self-trade prevention EXPIRE_MAKER: own resting orders that the new one would meet make way."""
        market = self.contracts[taker.symbol].market
        for maker in list(self.open.values()):
            crosses = not taker.price or (taker.price - maker.price) * taker.side >= 0
            if maker.symbol != taker.symbol or maker.side is taker.side or not crosses:
                continue
            before_it = market.fillable(taker.side, maker.price - taker.side) if maker.price > taker.side else 0
            if before_it < taker.quantity:
                market.cancel(maker.id)
                self._close(maker, "EXPIRED_IN_MATCH", Ending.SELF_TRADE)

    def _rested(self, fill: Fill) -> None:
        if order := self.open.get(fill.order_id):
            self._fill(order, fill)

    def _fill(self, order: Order, fill: Fill) -> None:
        listing = self.contracts[order.symbol].listing
        charged = listing.maker_rate if fill.maker else listing.taker_rate
        if self.faults.fee_rate:
            charged = Decimal(self.faults.fee_rate)
        booking = self.account.fill(
            order.symbol, order.side, fill.price * listing.tick, fill.quantity * listing.step, charged, fill.at_ms
        )
        order.filled += fill.quantity
        order.value += fill.price * fill.quantity
        order.realised += booking.realised
        order.fees += booking.commission
        order.updated_ms = fill.at_ms
        order.status = "PARTIALLY_FILLED" if order.unfilled > 0 else "FILLED"
        if not order.open:
            self._drop(order)
        self.trades.append(UserTrade(fill, order.symbol, order.side, booking.commission, booking.realised))
        self._earn(order.symbol, "COMMISSION", -booking.commission, str(fill.trade_id))
        if booking.realised:
            self._earn(order.symbol, "REALIZED_PNL", booking.realised, str(fill.trade_id))
        totals = self.resting()[order.symbol]
        execution = "CALCULATED" if order.liquidation else "TRADE"
        self.tell(OrderNews(order, listing, execution, fill.at_ms, totals.bids, totals.asks, fill, booking))
        self._touched[order.symbol] = None
        if not order.open:
            self.conditionals.placed_order_ended(order)

    def _close(self, order: Order, status: Literal["CANCELED", "EXPIRED", "EXPIRED_IN_MATCH"], why: Ending) -> None:
        order.status, order.ending, order.updated_ms = status, why, self.now_ms
        self._drop(order)
        self.report(order, "CANCELED" if status == "CANCELED" else "EXPIRED")
        self.conditionals.placed_order_ended(order)

    def _drop(self, order: Order) -> None:
        self.open.pop(order.id, None)
        self.open_ids.pop((order.symbol, order.client_id), None)

    def _report_account(self) -> None:
        if self._touched:
            symbols = tuple(self._touched)
            self._touched.clear()
            self.tell(AccountNews(self.account, "ORDER", self.now_ms, ZERO, self.marks(), symbols))

    def _shrink_reduce_only(self) -> None:
        """Resting reduce-only orders never exceed the position: the newest are cut, or expire when nothing is left to reduce."""
        used: dict[tuple[str, Side], int] = {}
        for order in [order for order in self.open.values() if order.reduce_only]:
            held = self.position_steps(order.symbol)
            room = abs(held) if held * order.side < 0 else 0
            taken = used.get((order.symbol, order.side), 0)
            allowed = min(order.unfilled, max(0, room - taken))
            used[(order.symbol, order.side)] = taken + allowed
            if allowed == order.unfilled:
                continue
            market = self.contracts[order.symbol].market
            market.cancel(order.id)
            if not allowed:
                self._close(order, "EXPIRED", Ending.NOTHING_TO_REDUCE)
                continue
            order.quantity, order.updated_ms = order.filled + allowed, self.now_ms
            self.report(order, "AMENDMENT")
            for fill in market.submit(self._market_order(order, rests=True), self.now_ms):
                self._fill(order, fill)
        self._report_account()

    # --- funding and liquidation -----------------------------------------------------------------------------------

    def _mark(self, symbol: str, contract: Contract) -> None:
        before, state = contract.state, contract.market.mark()
        contract.state = state
        due = before is not None and self.now_ms >= before.next_funding_ms - EARLY_MS
        if due and before and state and state.next_funding_ms > before.next_funding_ms:
            self.fund(symbol, state.mark, before.rate)

    def _liquidate(self, symbols: Sequence[str]) -> None:
        """All orders are cancelled, then every position is closed by a market order of the venue's own."""
        for symbol in symbols:
            self.cancel_all(symbol, Ending.LIQUIDATION)
        for symbol in symbols:
            steps, contract = self.position_steps(symbol), self.contracts[symbol]
            if not steps or contract.market.best() is None:
                continue
            self.liquidations += 1
            side = Side.SELL if steps > 0 else Side.BUY
            request = Request(symbol, side.name, "MARKET", reduce_only=True)
            order = self.new_order(request, side, abs(steps), 0, f"autoclose-{self.now_ms * 1000 + self.liquidations}")
            order.liquidation = True
            held = self.account.position(symbol)
            wallet, margin = self.account.wallet, held.margin
            self.execute(order)
            if symbol in self.account.isolated:
                self._cleared(symbol, self.account.clear_own_debt(wallet, margin - held.margin))
        self._cleared("", self.account.clear_debt())

    def _cleared(self, symbol: str, amount: Decimal) -> None:
        if amount:
            self._earn(symbol, "INSURANCE_CLEAR", amount)
            self.tell(AccountNews(self.account, "INSURANCE_CLEAR", self.now_ms, amount, self.marks()))

    # --- small things ----------------------------------------------------------------------------------------------

    def _earn(self, symbol: str, kind: str, amount: Decimal, trade_id: str = "") -> None:
        self.income.append(Income(self._next_income, symbol, kind, amount, self.now_ms, trade_id))
        self._next_income += 1

    def _find(self, symbol: str, order_id: int | None, client_id: str) -> Order | None:
        if order_id is None and not client_id:
            raise Refusal(-1102, "Param 'origClientOrderId' or 'orderId' must be sent, but both were empty/null!")
        number = order_id if order_id is not None else self.latest_ids.get((symbol, client_id))
        order = self.orders.get(number) if number is not None else None
        return order if order and order.symbol == symbol else None

    def _forget_oldest(self) -> None:
        for number, order in list(self.orders.items())[: HISTORY // 10]:
            if not order.open:
                del self.orders[number]
                if self.latest_ids.get((order.symbol, order.client_id)) == number:
                    del self.latest_ids[(order.symbol, order.client_id)]

    @staticmethod
    def _market_order(order: Order, rests: bool) -> MarketOrder:
        return MarketOrder(order.id, order.side, order.unfilled, order.price, rests)

    @staticmethod
    def _framer(symbol: str, frame: Callable[[str, str, bytes], None]) -> Callable[[str, bytes], None]:
        return lambda kind, body: frame(symbol, kind, body)
