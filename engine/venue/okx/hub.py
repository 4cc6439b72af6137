"""OKX market frames and an account's news in; websocket connections receive the channels that they subscribed to, and answers
to what they say.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import Mapping

import msgspec
from aiohttp import WSMsgType, web

from engine.clock import Clock
from engine.venue.exchange import Exchange
from engine.venue.faults import Faults
from engine.venue.news import AccountNews, ConditionalNews, News, OrderNews
from engine.venue.okx import reports
from engine.venue.okx.contract import OkxMarket
from engine.venue.okx.gate import Login, OkxCredentials
from engine.venue.okx.refusals import Wrong
from engine.venue.reports import Body, money
from engine.venue.streams import Connection, Outlet, framed

PREFIX = "/ws/v5/"
IDLE_SECONDS = 30.0  # real time without a push or a word: the venue closes
KEEP_ALIVE_MS = 60_000
FUNDING_EVERY_MS = 60_000
LEVELS = 400
REQUESTS_AN_HOUR = 480
HOUR_MS = 3_600_000
# The market's own word for each channel, by route.
KINDS = {
    "public": {
        "books": "depth",
        "bbo-tbt": "bookTicker",
        "trades": "aggTrade",
        "mark-price": "markPrice",
        "funding-rate": "fundingRate",
        "liquidation-orders": "forceOrder",
    },
    "business": {"candle1m": "kline_1m"},
}
# Of an account, after a login on the same connection.
PRIVATE = {
    "private": ("orders", "positions", "account", "balance_and_position"),
    "business": ("orders-algo", "algo-advance"),
}
OF_SWAPS = ("orders", "positions", "orders-algo", "algo-advance")
BALANCE_EVENTS = {"ORDER": "filled", "FUNDING_FEE": "funding_fee", "INSURANCE_CLEAR": "claw_back"}
OF_A_TYPE = "liquidation-orders"
encode = msgspec.json.encode


class Arg(msgspec.Struct, frozen=True, omit_defaults=True):
    """A channel, of one contract or of a kind of them."""

    channel: str
    instId: str = ""
    instType: str = ""


class Asked(msgspec.Struct):
    """What a client sent."""

    op: str
    args: list[msgspec.Raw] = []


class Listener(Connection):
    """A connection, what it hears, and when it last asked for something."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, route: str) -> None:
        super().__init__(socket, transport, route, False)
        self.id = secrets.token_hex(4)
        self.channels: dict[Arg, None] = {}
        self.logged_in = False
        self.asked_ms: deque[int] = deque(maxlen=REQUESTS_AN_HOUR)


class OkxHub(Outlet):
    """All connections of OKX's side. `account` is what the private channels are about, set once it exists."""

    def __init__(self, markets: Mapping[str, OkxMarket], clock: Clock, faults: Faults, credentials: OkxCredentials) -> None:
        super().__init__(faults)
        self.markets, self.clock, self.credentials = markets, clock, credentials
        self.account: Exchange | None = None
        self._listening: dict[tuple[str, str], dict[Listener, None]] = {}  # by instrument and the market's word
        self._told_ms: dict[str, int] = {}  # when each book was last told of
        self._funded_ms = 0

    # --- data out --------------------------------------------------------------------------------------------------

    def publish(self, name: str, kind: str, body: bytes) -> None:
        """A frame of an instrument, to all who listen to its channel."""
        if kind == "depth":
            self._told_ms[name] = self.clock.now_ms()
        listeners = self._listening.get((name, kind))
        if not listeners:
            return
        for sent in self.faults.bodies(kind, body):
            frame = framed(sent)
            for listener in listeners:
                self.send(listener, frame)

    def advance(self, now_ms: int) -> None:
        """What a quiet market says: an empty update a minute, and its funding."""
        for (name, kind), listeners in self._listening.items():
            if kind == "depth" and listeners and now_ms - self._told_ms.get(name, now_ms) >= KEEP_ALIVE_MS:
                market = self.markets[name]
                last = market.published
                self.publish(name, kind, market.okx_tape.book_frame("update", last, last, (), (), now_ms))
        if now_ms - self._funded_ms >= FUNDING_EVERY_MS:
            self._funded_ms = now_ms
            for name in self.markets:
                if frame := self._funding(name):
                    self.publish(name, "fundingRate", frame)

    def _funding(self, name: str) -> bytes:
        """Empty where nothing is known of it yet."""
        market = self.markets[name]
        mark = market.mark()
        if mark is None:
            return b""
        return market.okx_tape.funding_frame(mark, market.listing.funding_minutes, self.clock.now_ms())

    def renumber(self, name: str) -> None:
        """Maintenance: ids begin anew, low, and the chain says so."""
        market = self.markets[name]
        market.flush()
        before = market.renumber()
        frame = market.okx_tape.book_frame("update", before, market.published, (), (), self.clock.now_ms())
        self.publish(name, "depth", frame)

    def leave(self, after_s: float) -> int:
        """Tell everybody that their connection will soon be closed, and close it then."""
        loop = asyncio.get_running_loop()
        text = "The connection will soon be closed for a service upgrade. Please reconnect."
        for listener in list(self.connections):
            assert isinstance(listener, Listener)
            self._say(listener, {"event": "notice", "code": "64008", "msg": text, "connId": listener.id})
            loop.call_later(after_s, listener.transport.abort)
        return len(self.connections)

    # --- an account's news ---------------------------------------------------------------------------------------------

    def tell(self, news: News) -> None:
        """To all who are logged in and listen to a channel that it belongs to."""
        account = self.account
        if account is None:
            return
        match news:
            case OrderNews(order=order):
                contract = self.markets[order.symbol].contract
                amended = news.execution == "AMENDMENT"
                row = reports.order_push(order, contract, account, news.fill, news.booking, amended)
                self._push("orders", row, order.symbol)
            case ConditionalNews(order=algo):
                if algo.status in reports.ALGO_STATES and algo.status != "FINISHED":  # of the moments between, nothing is said
                    row = reports.algo_row(algo, self.markets[algo.symbol].contract, account)
                    advanced = row["ordType"] == "move_order_stop"
                    self._push("algo-advance" if advanced else "orders-algo", row, algo.symbol)
            case AccountNews():
                self._push("account", reports.balance_row(account))
                for name in news.symbols:
                    self._push("positions", reports.position_row(self.markets[name].contract, account), name)
                event = BALANCE_EVENTS[news.reason]
                self._push("balance_and_position", self._both(event, news.symbols))
            case _:
                pass  # a change of leverage has no channel

    def _push(self, channel: str, row: Body, name: str = "") -> None:
        for listener in list(self.connections):
            assert isinstance(listener, Listener)
            for arg in listener.channels:
                if arg.channel == channel and arg.instId in ("", name):
                    self._push_to(listener, arg, [row])

    def _push_to(self, listener: Listener, arg: Arg, rows: list[Body]) -> None:
        named = {name: value for name, value in msgspec.structs.asdict(arg).items() if value}
        body = encode({"arg": {**named, "uid": reports.UID}, "data": rows})
        for sent in self.faults.bodies(arg.channel, body):
            self.send(listener, framed(sent))

    def _picture(self, listener: Listener, arg: Arg) -> None:
        """What a private channel begins with: positions and balances do, orders do not."""
        account = self.account
        if account is None:
            return
        held = tuple(name for name, position in account.account.positions.items() if position.quantity)
        if arg.channel == "account":
            self._push_to(listener, arg, [reports.balance_row(account)])
        elif arg.channel == "positions":
            rows = [reports.position_row(self.markets[name].contract, account) for name in held if arg.instId in ("", name)]
            self._push_to(listener, arg, rows)
        elif arg.channel == "balance_and_position":
            self._push_to(listener, arg, [self._both("snapshot", held)])

    def _both(self, event: str, names: tuple[str, ...]) -> Body:
        account = self.account
        assert account is not None
        at = str(account.now_ms)
        wanted = ("posId", "instId", "instType", "mgnMode", "posSide", "pos", "ccy", "posCcy", "avgPx", "uTime")
        rows = [reports.position_row(self.markets[name].contract, account) for name in names]
        return {
            "pTime": at,
            "eventType": event,
            "balData": [{"ccy": "USDT", "cashBal": money(account.account.wallet), "uTime": at}],
            "posData": [{name: row[name] for name in wanted} for row in rows],
            "trades": [],
        }

    # --- connections -----------------------------------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.StreamResponse:
        route = request.path.removeprefix(PREFIX).strip("/")
        if self.faults.refusing:
            return web.Response(status=503, text="Service Unavailable")
        if route not in (*KINDS, "private"):
            return web.Response(status=404)
        socket = web.WebSocketResponse(autoping=True, compress=False, max_msg_size=65_536)
        await socket.prepare(request)
        if request.transport is None:
            return socket
        listener = Listener(socket, request.transport, route)
        self.connections.add(listener)
        self.counters["connections"] += 1
        try:
            await self._read(listener)
        finally:
            self.connections.discard(listener)
            for arg in list(listener.channels):
                self._forget(listener, arg)
        return socket

    async def _read(self, listener: Listener) -> None:
        while True:
            try:
                # Not `wait_for`: before Python 3.12 it may swallow a cancellation that meets a message.
                async with asyncio.timeout(IDLE_SECONDS):
                    message = await listener.socket.receive()
            except TimeoutError:
                if listener.channels:
                    continue  # it is being pushed to
                await listener.socket.close(code=4004, message=b"no data received in 30s")
                return
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                return
            if message.data in ("ping", b"ping"):
                if "pong" not in self.faults.silent:
                    self.send(listener, framed(b"pong"))
                continue
            self._asked(listener, message.data)

    def _asked(self, listener: Listener, text: str | bytes) -> None:
        now_ms = self.clock.now_ms()
        if len(listener.asked_ms) == REQUESTS_AN_HOUR and now_ms - listener.asked_ms[0] < HOUR_MS:
            return self._error(listener, "60014", "Requests too frequent")
        listener.asked_ms.append(now_ms)
        try:
            asked = msgspec.json.decode(text, type=Asked)
        except msgspec.DecodeError:
            return self._error(listener, "60012", "Illegal request")
        if asked.op == "login":
            return self._login(listener, asked.args)
        if asked.op not in ("subscribe", "unsubscribe"):
            return self._error(listener, "60012", f"Illegal request: {asked.op[:40]}")
        try:
            args = [msgspec.json.decode(arg, type=Arg) for arg in asked.args]
        except msgspec.DecodeError:
            return self._error(listener, "60012", "Illegal request")
        for arg in args:
            if arg.channel in PRIVATE.get(listener.route, ()) and not listener.logged_in:
                self._error(listener, "60011", "Please log in")
            elif not self._known(listener, arg):
                wrong = encode(arg).decode()
                self._error(listener, "60018", f"Wrong URL or {wrong} doesn't exist. Please use the correct URL and channel")
            elif asked.op == "subscribe":
                self._subscribe(listener, arg)
            else:
                self._forget(listener, arg)
                self._acknowledge(listener, "unsubscribe", arg)
        return None

    def _login(self, listener: Listener, args: list[msgspec.Raw]) -> None:
        try:
            self.credentials.check_login(msgspec.json.decode(args[0], type=Login))
        except (msgspec.DecodeError, IndexError):
            return self._error(listener, "60009", "Login failed")
        except Wrong as wrong:
            return self._error(listener, wrong.code, wrong.words)
        listener.logged_in = True
        return self._say(listener, {"event": "login", "code": "0", "msg": "", "connId": listener.id})

    def _known(self, listener: Listener, arg: Arg) -> bool:
        if arg.channel in PRIVATE.get(listener.route, ()):
            typed = arg.instType in ("SWAP", "ANY") or arg.channel not in OF_SWAPS
            return typed and arg.instId in ("", *self.markets)
        if arg.channel not in KINDS.get(listener.route, {}):
            return False
        return arg.instType == "SWAP" if arg.channel == OF_A_TYPE else arg.instId in self.markets

    def _subscribe(self, listener: Listener, arg: Arg) -> None:
        self._acknowledge(listener, "subscribe", arg)
        if arg.channel in PRIVATE.get(listener.route, ()):
            listener.channels[arg] = None
            return self._picture(listener, arg)
        kind = KINDS[listener.route][arg.channel]
        if kind == "depth":
            self.markets[arg.instId].flush()  # those who listen already get what the picture holds
        listener.channels[arg] = None
        for name in self._names(arg):
            self._listening.setdefault((name, kind), {})[listener] = None
        if kind == "depth":
            market = self.markets[arg.instId]
            depth = market.depth(LEVELS)
            now_ms = self.clock.now_ms()
            self._told_ms[arg.instId] = now_ms
            if depth is not None:
                picture = market.okx_tape.book_frame("snapshot", -1, market.published, depth.bids, depth.asks, now_ms)
                self.send(listener, framed(picture))
        elif kind == "fundingRate" and (frame := self._funding(arg.instId)):
            self.send(listener, framed(frame))
        return None

    def _forget(self, listener: Listener, arg: Arg) -> None:
        listener.channels.pop(arg, None)
        if arg.channel in PRIVATE.get(listener.route, ()):
            return
        kind = KINDS[listener.route][arg.channel]
        for name in self._names(arg):
            self._listening.get((name, kind), {}).pop(listener, None)

    def _names(self, arg: Arg) -> tuple[str, ...]:
        return tuple(self.markets) if arg.channel == OF_A_TYPE else (arg.instId,)

    def _acknowledge(self, listener: Listener, event: str, arg: Arg) -> None:
        if self.faults.take("lose_unsubscribe" if event == "unsubscribe" else "lose_subscribe"):
            return
        self._say(listener, {"event": event, "arg": arg, "connId": listener.id})

    def _error(self, listener: Listener, code: str, problem: str) -> None:
        self._say(listener, {"event": "error", "code": code, "msg": problem, "connId": listener.id})

    def _say(self, listener: Listener, body: object) -> None:
        self.send(listener, framed(encode(body)))
