"""A core, the simulated venue's pure exchange, and between them a network that a test may break: all in one thread, in test time.

The requests go through the engine's own adapter and the venue's own REST table, the reports through the engine's own private
feed; only ccxt, sockets and clocks are left out, so that thousands of histories take minutes.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import msgspec

from engine.config import Settings
from engine.core import Core
from engine.core.recovery import recollection
from engine.core.state import State
from engine.events import (
    Action,
    AmendOrder,
    AmendRefused,
    ArmDeadMan,
    CancelOrder,
    CancelRefused,
    Command,
    Connected,
    DeadManSet,
    Disconnected,
    Event,
    FetchAccount,
    LeverageSet,
    LookUpOrder,
    Mode,
    OrderChanged,
    OrderFateUnknown,
    OrderState,
    Purpose,
    Recovered,
    SendOrder,
    SetLeverage,
    Side,
    Started,
    Tick,
    Ticket,
)
from engine.execution.live import BinanceAccount, Credentials, PrivateFeed
from engine.execution.live.private import _frames
from engine.venue.exchange import Exchange
from engine.venue.faults import Faults
from engine.venue.gate import Params
from engine.venue.holdings import Holdings
from engine.venue.market import Fill, MarketOrder, MarkState
from engine.venue.news import News
from engine.venue.orders import Refusal
from engine.venue.orders import Request as VenueRequest
from engine.venue.reports import bodies
from engine.venue.trading import Orders
from tests.factory import MARKET, MS, START, Desk, aster, settings
from tests.venue.still_market import StillMarket

SYMBOL = "ASTERUSDT"
LEVEL = 5_000  # steps at each level
ACCOUNT = "the-account"
MOST_REQUESTS = 1_000  # that may follow from one event
NEVER_MS = 9_000_000_000_000
REQUESTS = (SendOrder, CancelOrder, AmendOrder, LookUpOrder, FetchAccount, SetLeverage, ArmDeadMan)
Answer = Callable[[Params], Any]


class FullMarket(StillMarket):
    """A still market whose levels are always full again; the test moves its price."""

    def __init__(self) -> None:
        super().__init__(bid=6200, ask=6201, size=LEVEL)
        self.now_ms = START // MS
        self.state = MarkState(self.middle(), self.middle(), Decimal("0.0001"), NEVER_MS)

    @property
    def bid(self) -> int:
        return max(self.bids)

    @property
    def ask(self) -> int:
        return min(self.asks)

    def submit(self, order: MarketOrder, now_ms: int) -> list[Fill]:
        bid, ask = self.bid, self.ask
        fills = super().submit(order, now_ms)
        self._ladder(bid, ask)
        return fills

    def put(self, bid: int, ask: int) -> None:
        """A new price, with the mark in its middle."""
        self._ladder(max(bid, 100), max(ask, 101))
        self.set_mark(str(self.middle()), next_funding_ms=NEVER_MS)

    def shift(self, ticks: int, part: int) -> None:
        """The price moves; orders that it reaches are filled, the first of them with no more than `part` steps (0: all)."""
        self.put(self.bid + ticks, self.ask + ticks)
        for number, order in list(self.resting.items()):
            reached = order.limit >= self.ask if order.side is Side.BUY else order.limit <= self.bid
            if not reached or number not in self.resting:
                continue
            steps = min(order.quantity, part or order.quantity)
            part = 0
            if steps == order.quantity:
                del self.resting[number]
            else:
                self.resting[number] = msgspec.structs.replace(order, quantity=order.quantity - steps)
            self._trade(order.limit, steps, self.now_ms)
            self._sink().fill(Fill(number, order.limit, steps, True, self.trade_id, self.now_ms))


class LocalCcxt:
    """The requests that the adapter makes of ccxt, answered by the venue's REST table at once."""

    def __init__(self, exchange: Exchange) -> None:
        orders, holdings = Orders(exchange), Holdings(exchange, None)  # type: ignore[arg-type]
        self._order, self._conditional = orders.place, orders.place_conditional
        self.answers: dict[str, Answer] = {
            "fapiPrivateDeleteOrder": orders.cancel,
            "fapiPrivateDeleteAlgoOrder": orders.cancel_conditional,
            "fapiPrivateGetOrder": orders.order,
            "fapiPrivateGetAlgoOrder": orders.conditional,
            "fapiPrivatePutOrder": orders.amend,
            "fapiPrivateV3GetAccount": holdings.account,
            "fapiPrivateV3GetPositionRisk": lambda params: holdings.position_risk(params, everything=False),
            "fapiPrivateGetOpenOrders": orders.open_orders,
            "fapiPrivateGetOpenAlgoOrders": orders.open_conditionals,
            "fapiPrivateGetUserTrades": orders.user_trades,
            "fapiPrivatePostCountdownCancelAll": orders.countdown,
        }

    def __getattr__(self, name: str) -> Callable[..., Any]:
        answer = self.answers[name]

        async def ask(params: dict[str, Any] | None = None) -> Any:
            return self._said(answer, {key: str(value) for key, value in (params or {}).items()})

        return ask

    async def create_order(
        self, symbol: str, kind: str, side: str, amount: str, price: str | None, params: dict[str, Any]
    ) -> dict[str, Any]:
        """As ccxt 4.5.90 puts it on the wire for a linear contract."""
        fields = {"symbol": SYMBOL, "side": side.upper(), "quantity": amount}
        fields |= {"reduceOnly": "true"} if params.get("reduceOnly") else {}
        trigger = params.get("stopLossPrice") or params.get("takeProfitPrice")
        if trigger or "trailingPercent" in params:
            words = {
                "stopLossPrice": "STOP_MARKET",
                "takeProfitPrice": "TAKE_PROFIT_MARKET",
                "trailingPercent": "TRAILING_STOP_MARKET",
            }
            fields |= {"type": next(words[name] for name in words if name in params), "algoType": "CONDITIONAL"}
            fields |= {"triggerPrice": trigger} if trigger else {"callbackRate": params["trailingPercent"]}
            fields |= {"clientAlgoId": params["clientOrderId"], "workingType": params["workingType"]}
            return {"id": str(self._said(self._conditional, fields)["algoId"])}
        fields |= {"type": kind.upper(), "newClientOrderId": params["clientOrderId"]}
        fields |= {"price": price, "timeInForce": params["timeInForce"]} if price is not None else {}
        return {"id": str(self._said(self._order, fields)["orderId"])}

    @staticmethod
    def _said(answer: Answer, params: dict[str, str]) -> Any:
        try:
            return msgspec.json.decode(msgspec.json.encode(answer(params)))
        except Refusal as refusal:
            words = msgspec.json.encode({"code": refusal.code, "msg": refusal.problem}).decode()
            raise RuntimeError(f"binanceusdm {words}") from None


class TestClock:
    """The part of `Clock` that the adapter reads."""

    __test__ = False

    def __init__(self) -> None:
        self.at = START

    def now_ns(self) -> int:
        return self.at

    def now_ms(self) -> int:
        return self.at // MS


class World:
    """One account over one market. `network` says what becomes of the next requests; without a word they succeed."""

    def __init__(self, chosen: Settings | None = None, wallet: str = "10000") -> None:
        self.loop = asyncio.new_event_loop()
        self.chosen = chosen or settings()
        self.clock, self.market = TestClock(), FullMarket()
        self.told: deque[bytes] = deque()  # the private stream, on its way
        self.heard: deque[bytes] = deque(maxlen=20)
        self.up = False
        self.exchange = Exchange(
            {SYMBOL: self.market}, Decimal(wallet), lambda *_: None, self._tell, Faults(), START // MS
        )  # fmt: skip
        self.account = BinanceAccount(Credentials("k", "s"), "", self.clock, self.chosen.venue.recv_window_ms)  # type: ignore[arg-type]
        self.account._exchange = LocalCcxt(self.exchange)
        self.account._instruments[MARKET] = self.account._by_symbol[SYMBOL] = aster()
        self._decoder = PrivateFeed("", self.account, [aster()], self.clock, lambda *_: False)  # type: ignore[arg-type]
        self.network: deque[str] = deque()
        self.requests: deque[Event] = deque()
        self.outputs: list[Event] = []  # of all sessions
        self._pumping = False
        self.late: list[tuple[int, Event]] = []  # requests that arrive after the engine stopped waiting
        self.sent: list[str] = []  # client ids whose bytes left, of all sessions
        self.fates: dict[str, int] = {}
        self.sessions = self.commands = 0
        self.desk = self._begin("")

    # --- sessions ------------------------------------------------------------------------------------------------------

    def _begin(self, facts: str) -> Desk:
        world = self

        class Connected_(Desk):
            def feed(self, event: Event) -> list[Event]:
                out = super().feed(event)
                world.requests.extend(out)
                world.outputs.extend(out)
                world._pump()
                return out

        self.sessions += 1
        desk = Connected_.__new__(Connected_)
        desk.core, desk.at, desk.out, desk.inputs = Core(self.chosen), self.clock.at, [], []
        desk.update, desk.trade_id = self.clock.at // MS, 0
        self.desk = desk
        parent = f"w{self.sessions - 1:04}" if facts else ""
        desk.feed(Started(desk.at, f"w{self.sessions:04}", parent, Mode.DEMO, "", "0", account=ACCOUNT))
        desk.feed(msgspec.structs.replace(aster(), at=desk.at))
        template = Desk().open(self.market.bid, self.market.ask)
        for event in template.inputs[2:]:
            if type(event).__name__ in ("Connected", "TradeHistory", "BookSnapshot", "BookDelta", "Fees"):
                if isinstance(event, Connected) and event.route == "private":
                    continue
                desk.feed(msgspec.structs.replace(event, at=desk.at))
        desk.update = template.update
        desk.feed(LeverageSet(desk.at, MARKET, 3))
        if facts:
            desk.feed(Recovered(desk.at, parent, facts, True, "", account=ACCOUNT))
        self.connect()
        return desk

    def restart(self) -> None:
        """The engine is killed: what it was about to read is lost, its journal is not."""
        facts = msgspec.json.encode(recollection(self.state)).decode()
        self.told.clear()
        self.requests.clear()
        self.up = False
        self._begin(facts)

    def connect(self) -> None:
        self.up = True
        self.desk.feed(Connected(self.clock.at, "binance", "private"))

    def cut(self) -> None:
        """The private stream's connection ends; what was on its way is lost."""
        self.told.clear()
        if self.up:
            self.up = False
            self.desk.feed(Disconnected(self.clock.at, "binance", "private", "the test cut it"))

    @property
    def state(self) -> State:
        return self.desk.core.state

    # --- time ----------------------------------------------------------------------------------------------------------

    def wait(self, ms: int, deliver: bool = True) -> None:
        for _ in range(max(ms // 100, 1)):
            self.desk.at = self.clock.at = self.clock.at + 100 * MS
            self.exchange.advance(self.clock.now_ms())
            for due, request in [one for one in self.late if one[0] <= self.clock.at]:
                self.late.remove((due, request))
                self._perform(request)
            if deliver:
                self.deliver()
            book = self.state.markets[MARKET].book
            moved = (book.best_bid, book.best_ask) != (self.market.bid, self.market.ask)
            self.desk.touch(*((self.market.bid, self.market.ask) if moved else ()))
            self.desk.feed(Tick(self.clock.at))

    def move(self, ticks: int, part: int = 0) -> None:
        self.market.shift(ticks, part)
        self.exchange.advance(self.clock.now_ms())

    # --- the wire ------------------------------------------------------------------------------------------------------

    def _tell(self, news: News) -> None:
        if self.up:
            self.told.extend(msgspec.json.encode(body) for body in bodies(news))

    def deliver(self, count: int = 10**6) -> None:
        """The stream's next reports reach the engine."""
        while self.told and count:
            count -= 1
            self._hear(self.told.popleft())

    def repeat(self, back: int) -> None:
        """A report comes once more."""
        if self.heard and self.up:
            self._hear(self.heard[-1 - back % len(self.heard)])

    def _hear(self, raw: bytes) -> None:
        self.heard.append(raw)
        for event in self._decoder._events(_frames.decode(raw), self.clock.at):
            self.desk.feed(event)

    def _pump(self) -> None:
        """Requests go out one after the other; each takes a millisecond."""
        if self._pumping:
            return
        self._pumping = True
        try:
            for _ in range(MOST_REQUESTS):
                if not self.requests:
                    return
                if not isinstance(self.requests[0], REQUESTS):
                    self.requests.popleft()
                    continue
                self.desk.at = self.clock.at = self.clock.at + MS
                self.exchange.advance(self.clock.now_ms())
                self._asked(self.requests.popleft())
            raise AssertionError(f"requests without end: {list(self.requests)[:5]}")
        finally:
            self._pumping = False

    def _asked(self, request: Event) -> None:
        """A request of the core sets out; what becomes of it was chosen by the test."""
        if isinstance(request, SetLeverage):
            self.desk.feed(LeverageSet(self.clock.at, MARKET, request.leverage))
            return
        if isinstance(request, SendOrder):
            self.sent.append(request.client_id)
        fate = self.network.popleft() if self.network else "ok"
        self.fates[fate] = self.fates.get(fate, 0) + 1
        if fate == "ok":
            event = self._perform(request)
            if event is not None:
                self.desk.feed(event)
            return
        if fate == "executed":
            self._perform(request)
        elif fate == "late" and not isinstance(request, FetchAccount | LookUpOrder | ArmDeadMan):
            self.late.append((self.clock.at + self.chosen.venue.recv_window_ms * MS // 2, request))
        self._failed(request)

    def _failed(self, request: Event) -> None:
        """No reply came."""
        at = self.clock.at
        match request:
            case SendOrder():
                self.desk.feed(OrderFateUnknown(at, request.market, request.client_id, "the request timed out"))
            case CancelOrder():
                self.desk.feed(CancelRefused(at, request.market, request.client_id, 0, "RequestTimeout"))
            case ArmDeadMan():
                self.desk.feed(DeadManSet(at, request.venue, request.seconds, "RequestTimeout"))
            case AmendOrder():
                self.desk.feed(AmendRefused(at, request.market, request.client_id, 0, "RequestTimeout"))

    def _perform(self, request: Event) -> Event | None:
        """At the venue, by the adapter; its event."""
        account = self.account
        match request:
            case SendOrder():
                return self.loop.run_until_complete(account.send(request))[0]
            case CancelOrder():
                return self.loop.run_until_complete(account.cancel(request))
            case AmendOrder():
                return self.loop.run_until_complete(account.amend(request))
            case LookUpOrder():
                return self.loop.run_until_complete(account.look_up(request))
            case ArmDeadMan():
                self.loop.run_until_complete(account.hold(list(request.markets), request.seconds))
                return DeadManSet(self.clock.at, "binance", request.seconds, "")
            case FetchAccount():
                return self.loop.run_until_complete(account.snapshot(request))
        return None

    # --- people --------------------------------------------------------------------------------------------------------

    def command(self, action: Action, target: str = "", ticket: Ticket | None = None) -> None:
        self.commands += 1
        self.desk.feed(Command(self.clock.at, f"c{self.commands}", action, "the test", target, "", ticket))

    def stranger(self, side: Side, steps: int, price: int = 0) -> None:
        """Somebody else trades on the same account."""
        kind, limit = ("LIMIT", f"{price * self.market.listing.tick:f}") if price else ("MARKET", "")
        tif = "GTC" if price else ""
        with contextlib.suppress(Refusal):
            self.exchange.place(VenueRequest(SYMBOL, side.name, kind, str(steps), limit, time_in_force=tif))

    # --- what must be true -----------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """The network is well again and nobody wants anything new; long enough for all questions and comparisons."""
        self.network.clear()
        if not self.up:
            self.connect()
        self.command(Action.DISARM)
        for _ in range(400):
            self.wait(100)
        for _ in range(400):
            if not self.late and not self._restless():
                break
            self.wait(100)

    def _restless(self) -> bool:
        alive = self.state.live_orders()
        final = all(order.state is OrderState.WORKING and order.reduce_only for order in alive)
        return not final or self.state.reconciling or bool(self.differences())

    def differences(self) -> list[str]:
        """Where the engine and the venue disagree, or money is not safe; none is right."""
        state, found = self.state, []
        position = state.portfolio.position(MARKET).quantity
        there = self.exchange.position_steps(SYMBOL)
        if position != there:
            found.append(f"position {position}, the venue's {there}")
        if state.portfolio.wallet != self.exchange.account.wallet:
            found.append(f"wallet {state.portfolio.wallet}, the venue's {self.exchange.account.wallet}")
        ours = {order.client_id for order in state.live_orders()}
        open_there = {order.client_id for order in self.exchange.open.values()}
        open_there |= {order.client_id for order in self.exchange.conditionals.open()}
        if ours != open_there:
            found.append(f"orders {sorted(ours)}, the venue's {sorted(open_there)}")
        stops = [
            order
            for order in self.exchange.conditionals.open(SYMBOL)
            if order.kind in ("STOP_MARKET", "TRAILING_STOP_MARKET") and order.reduce_only and order.side * there < 0
        ]
        if there and not any(order.quantity == abs(there) for order in stops):
            found.append(f"the position of {there} has no stop of its size")
        if len(self.sent) != len(set(self.sent)):
            found.append("an order was sent twice")
        revived = [one for one in self.outputs if isinstance(one, OrderChanged) and one.before is OrderState.REJECTED]
        found += [f"{one.client_id} was given up and is {one.after.value}" for one in revived]
        unknown = [order.client_id for order in state.live_orders() if order.state is OrderState.UNKNOWN]
        if unknown:
            found.append(f"unknown {unknown}")
        return found

    def close(self) -> None:
        self.loop.close()

    def open_entries(self) -> list[str]:
        return [order.client_id for order in self.state.live_orders() if order.purpose is Purpose.ENTRY]


@contextlib.contextmanager
def armed(chosen: Settings | None = None) -> Iterator[World]:
    """A world that trades; at its end the core has failed nowhere."""
    made = World(chosen)
    made.command(Action.ARM)
    made.wait(200)
    yield made
    assert made.state.counters.faults == 0
    made.close()
