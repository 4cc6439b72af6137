"""A `VenueSpec` goes in; a listening venue comes out: REST and websockets on loopback over one exchange in engine time."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Literal

import msgspec
from aiohttp import web

from engine.clock import Clock
from engine.errors import BarterError, DecodeError, VenueStartError
from engine.events import Side
from engine.venue.binance import Binance, Reply
from engine.venue.exchange import Exchange
from engine.venue.faults import OFFERED, VENUES, FaultOrder, Faults
from engine.venue.gate import Call, Credentials
from engine.venue.generated import WARM_MS, GeneratedMarket
from engine.venue.market import Market, MarketOrder
from engine.venue.news import News
from engine.venue.okx import hub as okx_hub
from engine.venue.okx import rest as okx_rest
from engine.venue.okx.contract import OkxMarket, okx_markets
from engine.venue.okx.gate import OkxCredentials
from engine.venue.okx.hub import OkxHub
from engine.venue.okx.rest import OkxRest
from engine.venue.okx.trading import Trading
from engine.venue.reports import bodies, plain
from engine.venue.streams import Hub

HOST = "127.0.0.1"
STEP_S = 0.005  # real time between advances while they are cheap
REST_S = 0.001  # least pause after an expensive advance, so that sockets are served
CUT_GRACE_S = 0.5
LEAVE_S = 20.0  # OKX announces some 60 s ahead


class Feed(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A real venue whose public data make the markets: its addresses, and the unified symbols that are wanted."""

    venue: Literal["binance", "okx"]
    rest: str
    ws: str
    symbols: tuple[str, ...]


class VenueSpec(msgspec.Struct, forbid_unknown_fields=True):
    """What the owner wants: the first line on the venue's stdin. Money is decimal text; the clock is shared with the engine.

    `latency_ms` is real time added to each REST request, half before and half after it is carried out.
    """

    clock: Clock
    api_key: str
    secret: str
    seed: int = 1
    balance: str = "10000"
    capture: str | None = None
    loop: bool = False
    port: int = 0
    funding_minutes: int | None = None
    symbols: list[str] | None = None
    latency_ms: float = 0.0
    warm_ms: int = WARM_MS  # of a generated market's flow before the first look
    passphrase: str = ""  # of OKX's side, beside key and secret
    feed: Feed | None = None

    def wallet(self) -> Decimal:
        try:
            amount = Decimal(self.balance)
        except InvalidOperation:
            amount = Decimal("NaN")
        if not amount.is_finite() or amount < 0:
            raise VenueStartError("simulated venue", f"the balance must be a decimal number of USDT, not {self.balance!r}")
        return amount


class Venue:
    """The simulated exchange as it listens. `start`, then `run` until cancelled, then `stop`."""

    def __init__(self, spec: VenueSpec, markets: Mapping[str, Market], okx: Mapping[str, OkxMarket] | None = None) -> None:
        """`okx`: markets of OKX's side in place of its own, which follow the generated ones of `markets`."""
        self.spec, self.clock, self.faults = spec, spec.clock, Faults()
        self.markets = dict(markets)
        self.hub = Hub(tuple(markets), self.clock, self.faults, self._wanted)
        now_ms = self.clock.now_ms()
        self.exchange = Exchange(markets, spec.wallet(), self._frame, self._tell, self.faults, now_ms)
        self.rest = self._surface()
        self.okx_faults = Faults()
        keys = OkxCredentials(spec.api_key, spec.secret, spec.passphrase, self.clock.speed, self._okx_ms)
        leaders = {symbol: market for symbol, market in markets.items() if isinstance(market, GeneratedMarket)}
        self.okx_markets: Mapping[str, OkxMarket] = okx_markets(leaders, spec.seed, now_ms, spec.warm_ms) if okx is None else okx
        self.okx_hub = OkxHub(self.okx_markets, self.clock, self.okx_faults, keys)
        self.okx = self.okx_hub.account = Exchange(
            self.okx_markets, spec.wallet(), self.okx_hub.publish, self.okx_hub.tell, self.okx_faults, now_ms,
            cancels_unmatched=True,
        )  # fmt: skip
        trading = Trading(self.okx, self.okx_markets)
        self.okx_rest = OkxRest(self.okx_markets, self.okx_faults, self._okx_ms, trading, keys)
        self.port = 0
        self.ended = asyncio.Event()
        self._runner: web.AppRunner | None = None
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listen on loopback. Raises `VenueStartError` when the port cannot be had."""
        app = web.Application(client_max_size=1_000_000)
        app.router.add_post("/sim/fault", self._on_fault)
        app.router.add_get("/sim/faults", self._on_faults)
        app.router.add_get("/sim/state", self._on_state)
        app.router.add_route("*", "/{path:.*}", self._on_request)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=CUT_GRACE_S, handle_signals=False)
        await self._runner.setup()
        site = web.TCPSite(self._runner, HOST, self.spec.port)
        try:
            await site.start()
        except (OSError, OverflowError) as error:
            await self._runner.cleanup()
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            raise VenueStartError("simulated venue", f"cannot listen on {HOST}, port {self.spec.port}: {reason}") from None
        self.port = self._runner.addresses[0][1]
        self._tasks = [asyncio.create_task(self.hub.keep_alive())]

    async def run(self) -> None:
        """Advance the exchange with the clock for ever."""
        loop = asyncio.get_running_loop()
        while True:
            started = loop.time()
            self._advance()
            if self.exchange.ended:
                self.ended.set()
            await asyncio.sleep(max(REST_S, STEP_S - (loop.time() - started)))

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        self.hub.cut("all")
        self.okx_hub.cut("all")
        if self._runner:
            await self._runner.cleanup()

    @property
    def rest_url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://{HOST}:{self.port}"

    def _advance(self) -> None:
        now_ms = self.clock.now_ms()
        self.exchange.advance(now_ms)
        self.okx.advance(now_ms)
        self.okx_hub.advance(now_ms)
        if self.hub.listen_key and now_ms >= self.hub.key_expires_ms:
            self.hub.expire_key()

    def _tell(self, news: News) -> None:
        for body in bodies(news):
            self.hub.tell(body)

    def _wanted(self, symbol: str, kinds: frozenset[str]) -> None:
        self.markets[symbol].subscribed(kinds, self.clock.now_ms())

    def _surface(self) -> Binance:
        """The secret goes into the credentials and nowhere else."""
        credentials = Credentials(self.spec.api_key, self.spec.secret, self.clock.speed, self._venue_ms)
        return Binance(self.exchange, self.clock, credentials, self.faults, self.hub)

    def _venue_ms(self) -> int:
        return self.clock.now_ms() + self.faults.clock_offset_ms

    def _okx_ms(self) -> int:
        return self.clock.now_ms() + self.okx_faults.clock_offset_ms

    def _frame(self, symbol: str, kind: str, body: bytes) -> None:
        if kind == "depth" and self.faults.boundary_snapshots > 0:
            book = self.markets[symbol].depth(1000)
            last_id = msgspec.json.decode(body, type=_DepthId).u
            if book and book.last_id == last_id:
                self.faults.boundary_snapshots -= 1
                self.rest.quotes.boundary[symbol] = book
        self.hub.publish(symbol, kind, body)

    # --- requests --------------------------------------------------------------------------------------------------

    async def _on_request(self, request: web.Request) -> web.StreamResponse:
        okx = request.path.startswith((okx_hub.PREFIX, okx_rest.PREFIX))
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await (self.okx_hub if okx else self.hub).serve(request)
        try:
            body = await request.text()
        except UnicodeDecodeError:
            return web.json_response({"code": -1000, "msg": "The body is not UTF-8."}, status=400)
        key = request.headers.get("X-MBX-APIKEY", "")
        call = Call(request.method, request.path, request.rel_url.raw_query_string, body, key, request.headers)
        fault = (self.okx_faults if okx else self.faults).reply(call.method, call.path)
        if self.spec.latency_ms:
            await asyncio.sleep(self.spec.latency_ms / 2000)
        if fault and fault.name == "delay_execution":
            await asyncio.sleep(fault.ms / 1000)
        if fault and fault.name == "http" and not fault.executed:
            return web.Response(status=fault.status, text=fault.body, content_type="application/json", headers=fault.headers)
        self._advance()
        reply = self._okx_answer(call) if okx else self.rest.answer(call)
        (self.okx if okx else self.exchange).settle()
        if self.spec.latency_ms:
            await asyncio.sleep(self.spec.latency_ms / 2000)
        if fault and fault.name == "delay_reply":
            await asyncio.sleep(fault.ms / 1000)
        if fault and fault.name == "lose_ack" and request.transport:
            request.transport.abort()
        elif fault and fault.name == "http":
            return web.Response(status=fault.status, text=fault.body, content_type="application/json", headers=fault.headers)
        elif fault and fault.name == "empty_body":
            reply.body = b""
        return web.Response(status=reply.status, body=reply.body, content_type="application/json", headers=reply.headers)

    # --- the simulator's own endpoints, which no real venue has -----------------------------------------------------

    async def _on_fault(self, request: web.Request) -> web.Response:
        try:
            order = msgspec.json.decode(await request.read(), type=FaultOrder)
            if order.rate:
                Decimal(order.rate)
            if order.venue not in (*VENUES, "all"):
                raise DecodeError("fault", f"{order.venue!r} is no venue; there are {', '.join(VENUES)} and all")
            done = 0
            if order.venue != "okx":
                self.faults.switch(order)
                done += self._carry_out(order)
            if order.venue != "binance" or order.name in ("renumber", "leave"):
                self.okx_faults.switch(order)
                done += self._carry_out_okx(order)
        except (msgspec.DecodeError, InvalidOperation, KeyError, ValueError, BarterError) as error:
            return web.json_response({"error": str(error)}, status=400)
        return web.json_response({"done": order.name, "count": done})

    def _carry_out(self, order: FaultOrder) -> int:
        """Faults that act at once; how many connections or symbols they met."""
        symbols = [order.symbol] if order.symbol else list(self.markets)
        if order.name == "cut":
            return self.hub.cut(order.route)
        if order.name == "refuse" and order.on:
            return self.hub.cut(order.route)
        if order.name == "expire_listen_key":
            self.hub.expire_key()
        return self._move(order, self.exchange, symbols)

    def _move(self, order: FaultOrder, exchange: Exchange, symbols: list[str]) -> int:
        """What happens to the money and the prices of a side."""
        if order.name == "funding":
            self._advance()
            for symbol in symbols:
                contract = exchange.contracts[symbol]
                state = contract.market.mark()
                rate = Decimal(order.rate) if order.rate else state.rate if state else Decimal(0)
                exchange.fund(symbol, contract.mark(), rate)
        if order.name == "shock":
            self._advance()
            for symbol in symbols:
                # Order id 0 is nobody's: the fills of this aggressor belong to no account.
                shock = MarketOrder(0, Side[order.side], order.quantity, 0, rests=False)
                exchange.contracts[symbol].market.submit(shock, exchange.now_ms)
            self._advance()
        return len(symbols)

    def _carry_out_okx(self, order: FaultOrder) -> int:
        if order.name == "cut" or (order.name == "refuse" and order.on):
            return self.okx_hub.cut(order.route)
        if order.name == "leave":
            return self.okx_hub.leave(order.ms / 1000 or LEAVE_S)
        if order.name == "renumber":
            for name in self.okx_markets:
                self.okx_hub.renumber(name)
        return self._move(order, self.okx, [order.symbol] if order.symbol else list(self.okx_markets))

    def _okx_answer(self, call: Call) -> Reply:
        status, body = self.okx_rest.answer(call)
        return Reply(status, body, {})

    async def _on_faults(self, request: web.Request) -> web.Response:
        """What may be tried, by name, with what is seen of it."""
        return web.json_response(OFFERED)

    async def _on_state(self, request: web.Request) -> web.Response:
        """The account exactly as it is booked, without signature: for tests."""
        exchange = self.exchange
        okx = {"requests": self.okx_rest.requests, "orders": len(self.okx.orders), "fills": len(self.okx.trades)}
        state = {
            "now_ms": self.clock.now_ms(),
            **_booked(exchange),
            "okx": {
                **_booked(self.okx),
                "counters": {**self.okx_hub.counters, **okx, "faults": self.okx_faults.injected},
            },
            "connections": {
                route or "legacy": sum(connection.route == route for connection in self.hub.connections)
                for route in ("public", "market", "private", "")
            },
            "counters": {
                **self.hub.counters,
                "requests": self.rest.requests,
                "orders": len(exchange.orders),
                "fills": len(exchange.trades),
                "liquidations": exchange.liquidations,
                "faults": self.faults.injected,
            },
            "ended": exchange.ended,
        }
        return web.Response(body=msgspec.json.encode(state), content_type="application/json")


def _booked(exchange: Exchange) -> dict[str, object]:
    account = exchange.account
    return {
        "wallet": plain(account.wallet),
        "fees_paid": plain(account.fees_paid),
        "funding_received": plain(account.funding_received),
        "positions": {
            symbol: {"quantity": plain(held.quantity), "cost": plain(held.cost), "entry": plain(held.entry)}
            for symbol, held in account.positions.items()
            if held.quantity
        },
        "books": {symbol: contract.market.best() is not None for symbol, contract in exchange.contracts.items()},
        "marks": {symbol: plain(mark) for symbol, mark in exchange.marks().items()},
        "open_orders": [order.client_id for order in exchange.open.values()],
        "open_conditionals": [order.client_id for order in exchange.conditionals.open()],
        "countdowns": exchange.countdowns,
    }


class _DepthId(msgspec.Struct):
    u: int


@contextlib.asynccontextmanager
async def running(spec: VenueSpec, markets: Mapping[str, Market]) -> AsyncIterator[Venue]:
    """A venue in this process, for tests and embedding."""
    venue = Venue(spec, markets)
    await venue.start()
    task = asyncio.create_task(venue.run())
    try:
        yield venue
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        await venue.stop()
