"""Market frames and private reports go in; websocket connections receive what they subscribed to.

A frame is encoded once, shared by its subscribers, and written straight to their transports, one write a loop turn: the
websocket framing of a server is only a length in front of the bytes. Compression is never negotiated.
A connection whose unsent bytes exceed `BUFFER_BYTES` is cut, as the real venue does, and counted.
"""

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable
from urllib.parse import unquote

import msgspec
from aiohttp import WSMsgType, web

from engine.clock import Clock
from engine.venue.faults import Faults
from engine.venue.reports import Body

BUFFER_BYTES = 32_000_000  # about 50,000 depth frames
MAX_STREAMS = 1024
MESSAGES_PER_SECOND = 10
PING_SECONDS = 180.0  # real time, like the connection that it keeps alive
PONG_LIMIT_SECONDS = 600.0
LISTEN_KEY_MS = 60 * 60 * 1000
ROUTES = ("public", "market", "private")
PUBLIC_KINDS = ("depth", "bookTicker", "trade", "rpiDepth")
EVERYTHING = "*"

Wanted = Callable[[str, frozenset[str]], None]
encode = msgspec.json.encode


def framed(payload: bytes, opcode: int = 0x81) -> bytes:
    """One unmasked websocket frame."""
    size = len(payload)
    if size < 126:
        return bytes((opcode, size)) + payload
    if size < 65_536:
        return bytes((opcode, 126)) + size.to_bytes(2, "big") + payload
    return bytes((opcode, 127)) + size.to_bytes(8, "big") + payload


class Stream(msgspec.Struct, frozen=True):
    """A stream's name taken apart. Any speed suffix is accepted and served at the market's one cadence."""

    name: str
    symbol: str
    kind: str

    @classmethod
    def parse(cls, name: str) -> "Stream | None":
        """None where the venue answers "invalid stream"."""
        if name.startswith("!"):
            kind = name[1:].split("@")[0]
            # Arrays over all symbols (!markPrice@arr, !ticker@arr) are acknowledged and stay silent.
            return cls(name, EVERYTHING, kind if kind in ("bookTicker", "forceOrder") else name) if kind else None
        symbol, at, kind = name.partition("@")
        if not at or not symbol or not kind:
            return None
        return cls(name, symbol.upper(), kind.split("@")[0])

    @property
    def route(self) -> str:
        return "public" if self.kind.startswith(PUBLIC_KINDS) else "market"


class Connection:
    """One websocket. `route` is "" on the flat legacy paths, which acknowledge and then stay silent."""

    def __init__(self, socket: web.WebSocketResponse, transport: asyncio.Transport, route: str, combined: bool) -> None:
        self.socket, self.transport, self.route, self.combined = socket, transport, route, combined
        self.streams: dict[str, Stream] = {}
        self.pending: list[bytes] = []
        self.listen_keys: set[str] = set()
        self.received: deque[int] = deque(maxlen=MESSAGES_PER_SECOND + 1)
        self.held_acks: list[bytes] = []
        self.last_pong = 0.0


class Outlet:
    """Connections and what is on its way to them: one write a loop turn, and an end for those that do not read."""

    def __init__(self, faults: Faults) -> None:
        self.faults = faults
        self.connections: set[Connection] = set()
        self.counters: Counter[str] = Counter()
        self._dirty: dict[Connection, None] = {}
        self._flushing = False

    def send(self, connection: Connection, frame: bytes) -> None:
        """A frame as it goes over the wire; answers that were held back follow it."""
        connection.pending.append(frame)
        if connection.held_acks:
            connection.pending.extend(connection.held_acks)
            connection.held_acks.clear()
        self._dirty[connection] = None
        if not self._flushing:
            self._flushing = True
            asyncio.get_running_loop().call_soon(self._flush)

    def _flush(self) -> None:
        self._flushing = False
        limit = self.faults.buffer_bytes or BUFFER_BYTES
        for connection in self._dirty:
            transport = connection.transport
            if transport.is_closing():
                connection.pending.clear()
                continue
            self.counters["frames"] += len(connection.pending)
            batch = b"".join(connection.pending)
            connection.pending.clear()
            if transport.get_write_buffer_size() + len(batch) > limit:
                self.counters["slow_consumers_cut"] += 1
                transport.abort()
                continue
            transport.write(batch)
        self._dirty.clear()

    def cut(self, route: str) -> int:
        """Abort the connections of a route (`all`: every one); how many."""
        chosen = [connection for connection in self.connections if route in ("all", connection.route)]
        for connection in chosen:
            connection.transport.abort()
        return len(chosen)


class Hub(Outlet):
    """All connections of the venue. `wanted(symbol, kinds)` is called when what is listened to changes."""

    def __init__(self, symbols: tuple[str, ...], clock: Clock, faults: Faults, wanted: Wanted) -> None:
        super().__init__(faults)
        self.symbols, self.clock, self.wanted = symbols, clock, wanted
        self.listen_key = ""
        self.key_expires_ms = 0
        # by symbol and kind, then by the name to put into the envelope (None: raw frames)
        self._subscribers: dict[tuple[str, str], dict[str | None, dict[Connection, None]]] = {}

    # --- data out --------------------------------------------------------------------------------------------------

    def publish(self, symbol: str, kind: str, body: bytes) -> None:
        """A market frame, to all who subscribed to it on the right route."""
        exact, of_all = self._subscribers.get((symbol, kind)), self._subscribers.get((EVERYTHING, kind))
        if not exact and not of_all:
            return
        for sent in self.faults.bodies(kind, body):
            for groups in (exact, of_all):
                for name, group in groups.items() if groups else ():
                    frame = framed(sent if name is None else self._enveloped(name, sent))
                    for connection in group:
                        self.send(connection, frame)

    def tell(self, report: Body) -> None:
        """A private report, to the connections of the active listen key."""
        if not self.listen_key or str(report.get("e")) in self.faults.silent:
            return
        for body in self.faults.bodies(str(report.get("e")), encode(report)):
            for connection in self.connections:
                if self.listen_key in connection.listen_keys:
                    sent = self._enveloped(self.listen_key, body) if connection.combined else body
                    self.send(connection, framed(sent))

    @staticmethod
    def _enveloped(name: str, body: bytes) -> bytes:
        return b'{"stream":"' + name.encode() + b'","data":' + body + b"}"

    # --- listen keys -----------------------------------------------------------------------------------------------

    def open_key(self) -> str:
        """The active key, its life extended; a new one if there is none."""
        if not self.listen_key:
            self.listen_key = secrets.token_hex(32)
        self.key_expires_ms = self.clock.now_ms() + LISTEN_KEY_MS
        return self.listen_key

    def extend_key(self) -> bool:
        """False where there is no key to extend."""
        return bool(self.listen_key) and bool(self.open_key())

    def close_key(self) -> None:
        self.listen_key = ""

    def expire_key(self) -> None:
        """Tell the private connections that their key is dead; nothing follows on them."""
        if not self.listen_key:
            return
        self.tell({"e": "listenKeyExpired", "E": self.clock.now_ms(), "listenKey": self.listen_key})
        self.listen_key = ""

    # --- connections -----------------------------------------------------------------------------------------------

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """A websocket from its handshake to its end."""
        if self.faults.refusing:
            return web.Response(status=503, text="Service Unavailable")
        route, combined, names = self._path(request)
        socket = web.WebSocketResponse(autoping=False, compress=False, max_msg_size=65_536)
        await socket.prepare(request)
        transport = request.transport
        if transport is None:
            return socket
        connection = Connection(socket, transport, route, combined)
        connection.last_pong = asyncio.get_running_loop().time()
        self.connections.add(connection)
        self.counters["connections"] += 1
        if route == "private":
            connection.listen_keys.update(names)
        else:
            self._subscribe(connection, [stream for name in names if (stream := Stream.parse(name))])
        try:
            await self._read(connection)
        finally:
            self._forget(connection)
        return socket

    async def keep_alive(self) -> None:
        """Ping for ever, every three minutes; who has not answered for ten is cut."""
        while True:
            await asyncio.sleep(PING_SECONDS)
            now = asyncio.get_running_loop().time()
            for connection in list(self.connections):
                if now - connection.last_pong > PONG_LIMIT_SECONDS:
                    connection.transport.abort()
                else:
                    self.counters["frames"] -= 1  # a ping is no message
                    self.send(connection, framed(str(self.clock.now_ms()).encode(), opcode=0x89))

    @staticmethod
    def _path(request: web.Request) -> tuple[str, bool, list[str]]:
        """Route, whether frames are enveloped, and the names in path and query."""
        parts = [part for part in unquote(request.path).split("/") if part]
        route = parts.pop(0) if parts and parts[0] in ROUTES else ""
        combined = bool(parts) and parts.pop(0) == "stream"
        names = parts + [name for name in request.query.get("streams", "").split("/") if name]
        if route == "private":
            names += [key for value in request.query.getall("listenKey", []) for key in value.split("/") if key]
        return route, combined, names

    async def _read(self, connection: Connection) -> None:
        async for message in connection.socket:
            now_ms = self.clock.now_ms()
            connection.received.append(now_ms)
            if len(connection.received) > MESSAGES_PER_SECOND and now_ms - connection.received[0] < 1000:
                self.counters["too_many_messages"] += 1
                await connection.socket.close(code=1008, message=b"Too many requests")
                return
            if message.type is WSMsgType.PING:
                if "pong" not in self.faults.silent:
                    await connection.socket.pong(message.data)
            elif message.type is WSMsgType.PONG:
                connection.last_pong = asyncio.get_running_loop().time()
            elif message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
                self._command(connection, message.data)

    def _command(self, connection: Connection, text: str | bytes) -> None:
        try:
            command = msgspec.json.decode(text, type=Command)
        except msgspec.DecodeError as error:
            kind = "Invalid JSON" if not isinstance(error, msgspec.ValidationError) else "Invalid request"
            return self._answer(connection, {"error": {"code": 3, "msg": f"{kind}: {error}"}, "id": None})
        if command.method == "LIST_SUBSCRIPTIONS":
            return self._answer(connection, {"result": list(connection.streams), "id": command.id})
        if command.method not in ("SUBSCRIBE", "UNSUBSCRIBE"):
            problem = f"Invalid request: unknown variant `{command.method}`"
            return self._answer(connection, {"error": {"code": 2, "msg": problem}, "id": command.id})
        streams = []
        for name in command.params:
            stream = Stream.parse(name)
            if stream is None:
                problem = "Invalid request: invalid stream"
                return self._answer(connection, {"error": {"code": 2, "msg": problem}, "id": command.id})
            streams.append(stream)
        if command.method == "UNSUBSCRIBE":
            self._unsubscribe(connection, streams)
        elif len(connection.streams.keys() | {stream.name for stream in streams}) > MAX_STREAMS:
            problem = f"Invalid request: too many streams, at most {MAX_STREAMS} a connection"
            return self._answer(connection, {"error": {"code": 2, "msg": problem}, "id": command.id})
        else:
            self._subscribe(connection, streams)
        self._answer(connection, {"result": None, "id": command.id}, late=self.faults.late_acks > 0)

    def _answer(self, connection: Connection, body: Body, late: bool = False) -> None:
        if late:
            self.faults.late_acks -= 1
            connection.held_acks.append(framed(encode(body)))
        else:
            self.send(connection, framed(encode(body)))

    def _subscribe(self, connection: Connection, streams: list[Stream]) -> None:
        for stream in streams[:MAX_STREAMS]:
            connection.streams[stream.name] = stream
            if stream.route == connection.route:
                self._group(connection, stream)[connection] = None
        self._announce()

    def _unsubscribe(self, connection: Connection, streams: list[Stream]) -> None:
        for stream in streams:
            if connection.streams.pop(stream.name, None) and stream.route == connection.route:
                self._group(connection, stream).pop(connection, None)
        self._announce()

    def _group(self, connection: Connection, stream: Stream) -> dict[Connection, None]:
        groups = self._subscribers.setdefault((stream.symbol, stream.kind), {})
        return groups.setdefault(stream.name if connection.combined else None, {})

    def _forget(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self._unsubscribe(connection, list(connection.streams.values()))

    def _announce(self) -> None:
        """Empty groups go, and markets learn which kinds are listened to."""
        for key, groups in list(self._subscribers.items()):
            kept = {name: group for name, group in groups.items() if group}
            if kept:
                self._subscribers[key] = kept
            else:
                del self._subscribers[key]
        for symbol in self.symbols:
            self.wanted(symbol, frozenset(kind for name, kind in self._subscribers if name in (symbol, EVERYTHING)))


class Command(msgspec.Struct):
    """A control message of a client."""

    method: str
    params: list[str] = []
    id: int | str | None = None
