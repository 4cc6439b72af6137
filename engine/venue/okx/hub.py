"""OKX market frames in; websocket connections receive the channels that they subscribed to, and answers to what they say."""

import asyncio
import secrets
from collections import deque
from collections.abc import Mapping

import msgspec
from aiohttp import WSMsgType, web

from engine.clock import Clock
from engine.venue.faults import Faults
from engine.venue.okx.contract import OkxMarket
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
OF_A_TYPE = "liquidation-orders"
encode = msgspec.json.encode


class Arg(msgspec.Struct, frozen=True, omit_defaults=True):
    channel: str
    instId: str = ""
    instType: str = ""


class Asked(msgspec.Struct):
    op: str
    args: list[Arg] = []


class Listener(Connection):
    """A connection, what it hears, and when it last asked for something."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, route: str) -> None:
        super().__init__(socket, transport, route, False)
        self.id = secrets.token_hex(4)
        self.channels: dict[Arg, None] = {}
        self.asked_ms: deque[int] = deque(maxlen=REQUESTS_AN_HOUR)


class OkxHub(Outlet):
    """All connections of OKX's side."""

    def __init__(self, markets: Mapping[str, OkxMarket], clock: Clock, faults: Faults) -> None:
        super().__init__(faults)
        self.markets, self.clock = markets, clock
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
                self.publish(name, "fundingRate", self._funding(name))

    def _funding(self, name: str) -> bytes:
        market = self.markets[name]
        mark = market.mark()
        assert mark is not None
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
                message = await asyncio.wait_for(listener.socket.receive(), IDLE_SECONDS)
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
            return self._error(listener, "60009", "Login failed: the simulated venue has no OKX accounts")
        if asked.op not in ("subscribe", "unsubscribe"):
            return self._error(listener, "60012", f"Illegal request: {asked.op[:40]}")
        for arg in asked.args:
            if not self._known(listener, arg):
                wrong = encode(arg).decode()
                self._error(listener, "60018", f"Wrong URL or {wrong} doesn't exist. Please use the correct URL and channel")
            elif asked.op == "subscribe":
                self._subscribe(listener, arg)
            else:
                self._forget(listener, arg)
                self._acknowledge(listener, "unsubscribe", arg)
        return None

    def _known(self, listener: Listener, arg: Arg) -> bool:
        if arg.channel not in KINDS.get(listener.route, {}):
            return False
        return arg.instType == "SWAP" if arg.channel == OF_A_TYPE else arg.instId in self.markets

    def _subscribe(self, listener: Listener, arg: Arg) -> None:
        self._acknowledge(listener, "subscribe", arg)
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
            picture = market.okx_tape.book_frame("snapshot", -1, market.published, depth.bids, depth.asks, now_ms)
            self.send(listener, framed(picture))
        elif kind == "fundingRate":
            self.send(listener, framed(self._funding(arg.instId)))

    def _forget(self, listener: Listener, arg: Arg) -> None:
        listener.channels.pop(arg, None)
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
