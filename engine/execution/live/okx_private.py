"""The account's two private sockets at OKX in; order reports, algo reports and balance changes out as events.

Orders and balances come on `/private`, algo orders on `/business`; each needs its own login. The stream counts as connected
when both have acknowledged all their channels, and ends with the first of them; the core then asks for a snapshot by REST,
since what happened in between is not sent again.
"""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from decimal import Decimal
from functools import partial

import msgspec
import websockets

from engine.clock import Clock
from engine.errors import DecodeError, VenueError
from engine.events import BalanceChange, Connected, Disconnected, Emit, Event, Instrument
from engine.execution.live import okx_shapes as shapes
from engine.execution.live.base import Credentials
from engine.execution.live.okx import TITLE, VENUE, OkxAccount
from engine.execution.live.stream import PrivateStream, why_ended
from engine.signal.decoding import SHORT, UNREADABLE, said
from engine.signal.socket import Socket, never

READY_WITHIN_S = 10.0
PING_AFTER_S, PONG_WITHIN_S = 20.0, 10.0  # the venue drops a connection on which nothing comes for 30 s
PONG = b"pong"
VERIFY = "GET/users/self/verify"
LEAVING = "64008"  # the venue closes the connection soon, for an upgrade
CHANNELS: dict[str, tuple[dict[str, str], ...]] = {
    "private": (
        {"channel": "orders", "instType": "SWAP"},
        {"channel": "positions", "instType": "SWAP"},
        {"channel": "account"},
        {"channel": "balance_and_position"},
    ),
    "business": ({"channel": "orders-algo", "instType": "SWAP"}, {"channel": "algo-advance", "instType": "SWAP"}),
}
# The venue's word for a change of balance: those of fills are the ledger's own to compute.
REASONS = {"funding_fee": "FUNDING_FEE", "transferred": "TRANSFER", "claw_back": "INSURANCE_CLEAR"}
OURS = frozenset({"snapshot", "filled", "liquidation", "adl", "partial_liquidation", "set_leverage"})

_frames = msgspec.json.Decoder(shapes.Frame)
_orders = msgspec.json.Decoder(list[shapes.Order])
_algos = msgspec.json.Decoder(list[shapes.Algo])
_balances = msgspec.json.Decoder(list[shapes.BalanceAndPosition])


def login(credentials: Credentials, epoch_s: int) -> str:
    """The first message on a private connection."""
    signed = hmac.new(credentials.secret.encode(), f"{epoch_s}{VERIFY}".encode(), hashlib.sha256).digest()
    args = {
        "apiKey": credentials.api_key,
        "passphrase": credentials.passphrase,
        "timestamp": str(epoch_s),
        "sign": base64.b64encode(signed).decode(),
    }
    return msgspec.json.encode({"op": "login", "args": [args]}).decode()


class Line:
    """One of the two sockets, and how far its opening has come."""

    def __init__(self, socket: Socket, route: str) -> None:
        self.socket, self.route = socket, route
        self.wanted = {arg["channel"] for arg in CHANNELS[route]}  # channels that are not acknowledged yet
        self.logged_in, self.ready = asyncio.Event(), asyncio.Event()
        self.last_frame = time.monotonic()


class OkxFeed(PrivateStream[shapes.Frame]):
    """One account's stream. `run` ends only by cancellation or with a VenueError."""

    venue, title = VENUE, TITLE

    def __init__(
        self,
        ws: str,
        account: OkxAccount,
        instruments: list[Instrument],
        clock: Clock,
        emit: Emit,
        order_waits: Callable[[], bool] = never,
    ) -> None:
        super().__init__(ws, instruments, clock, emit, order_waits)
        self.account = account
        self._cash: dict[str, Decimal] = {}  # the newest balances told
        self._channels: dict[str, Callable[[shapes.Frame, int], list[Event]]] = {
            "orders": self._orders,
            "orders-algo": self._algos,
            "algo-advance": self._algos,
            "balance_and_position": self._balance,
        }

    async def run(self) -> None:
        self._cash = {}
        sockets: dict[str, Socket] = {}
        try:
            for route in CHANNELS:
                sockets[route] = await self._open(f"{self.base}/ws/v5/{route}")
            reason = await self._follow(sockets)
        finally:
            await asyncio.gather(*(socket.close() for socket in sockets.values()))
        raise VenueError(TITLE, f"the private stream ended: {reason}")

    async def _follow(self, sockets: dict[str, Socket]) -> str:
        """Until the first of them ends; the reason for it."""
        reason, told = "the connection ended", False
        lines = [Line(socket, route) for route, socket in sockets.items()]
        tasks = [asyncio.create_task(self._read(line)) for line in lines]
        opening = asyncio.create_task(self._opened(lines))
        try:
            done, _ = await asyncio.wait({*tasks, opening}, return_when=asyncio.FIRST_COMPLETED)
            if opening in done:
                opening.result()
                told = True
                self.emit(Connected(self.clock.now_ns(), VENUE, "private"), time.monotonic_ns())
                await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            next(task for task in tasks if task.done()).result()
        except (websockets.ConnectionClosed, VenueError) as problem:
            reason = why_ended(problem)
        finally:
            for line in lines:
                line.socket.mute()
            for task in (*tasks, opening):
                task.cancel()
            await asyncio.gather(*tasks, opening, return_exceptions=True)
            if told:
                self.emit(Disconnected(self.clock.now_ns(), VENUE, "private", reason), time.monotonic_ns())
        return reason

    async def _opened(self, lines: list[Line]) -> None:
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                for line in lines:
                    await line.ready.wait()
        except TimeoutError:
            raise VenueError(TITLE, "the venue did not acknowledge the private channels") from None

    async def _read(self, line: Line) -> None:
        """Log in, subscribe, then listen until the end, which raises ConnectionClosed or a VenueError."""
        await line.socket.send(login(self.account.credentials, self.clock.now_ms() // 1000))
        listening = asyncio.create_task(line.socket.listen(partial(self._hear, line), self.order_waits))
        keeping = asyncio.create_task(self._keep(line))
        try:
            done, _ = await asyncio.wait({listening, keeping}, return_when=asyncio.FIRST_COMPLETED)
            next(iter(done)).result()
        finally:
            listening.cancel()
            keeping.cancel()
            await asyncio.gather(listening, keeping, return_exceptions=True)

    async def _keep(self, line: Line) -> None:
        """Subscribe once the login is acknowledged; then ping where nothing comes, until the venue does not answer."""
        await line.logged_in.wait()
        await line.socket.send(msgspec.json.encode({"op": "subscribe", "args": CHANNELS[line.route]}).decode())
        while True:
            silent_s = time.monotonic() - line.last_frame
            if silent_s < PING_AFTER_S:
                await asyncio.sleep(PING_AFTER_S - silent_s)
                continue
            pinged = time.monotonic()
            await line.socket.send("ping")
            await asyncio.sleep(PONG_WITHIN_S)
            if line.last_frame < pinged:
                raise VenueError(TITLE, "the venue fell silent")

    def _hear(self, line: Line, raw: bytes) -> bool:
        line.last_frame = time.monotonic()
        return raw != PONG and self._told(raw, partial(self._look, line))

    def _look(self, line: Line, frame: shapes.Frame) -> None:
        match frame.event:
            case "login":
                line.logged_in.set()
            case "subscribe":
                line.wanted.discard(frame.arg.channel)
                if not line.wanted:
                    line.ready.set()
            case "error":
                raise VenueError(TITLE, f"the private stream was refused: {said(frame.msg)}", _code(frame))
            case "notice" if frame.code == LEAVING:
                raise VenueError(TITLE, "the venue closes the connection for an upgrade")

    def decode(self, raw: bytes, at: int) -> tuple[shapes.Frame, list[Event]]:
        try:
            frame = _frames.decode(raw)
            read = self._channels.get(frame.arg.channel) if not frame.event else None
            return frame, read(frame, at) if read else []
        except UNREADABLE as problem:
            raise DecodeError(shapes.WHAT, str(problem)[:SHORT]) from None

    # --- channels ------------------------------------------------------------------------------------------------------

    def _orders(self, frame: shapes.Frame, at: int) -> list[Event]:
        found: list[Event] = []
        for row in _orders.decode(frame.data):
            if (instrument := self._collected(row.instId)) is not None:
                found.append(shapes.order_report(row, instrument, at))
        return found

    def _algos(self, frame: shapes.Frame, at: int) -> list[Event]:
        found: list[Event] = []
        for row in _algos.decode(frame.data):
            if (instrument := self._collected(row.instId)) is not None:
                found.append(shapes.algo_report(row, instrument, at))
        return found

    def _balance(self, frame: shapes.Frame, at: int) -> list[Event]:
        """The venue tells what is there, not by how much it changed: that is what the last push did not have."""
        found: list[Event] = []
        for row in _balances.decode(frame.data):
            market = ""
            if len(row.posData) == 1 and (instrument := self._by_symbol.get(row.posData[0].instId)) is not None:
                market = instrument.market
            for cash in row.balData:
                now = shapes.decimal(cash.cashBal, "cashBal")
                change = now - self._cash.get(cash.ccy, now)
                self._cash[cash.ccy] = now
                if change and row.eventType not in OURS:
                    reason = REASONS.get(row.eventType, row.eventType.upper())
                    found.append(BalanceChange(at, VENUE, reason, cash.ccy, now, change, market))
        return found

    def _collected(self, symbol: str) -> Instrument | None:
        found = self._by_symbol.get(symbol)
        self.foreign += found is None
        return found


def _code(frame: shapes.Frame) -> int:
    return int(frame.code) if frame.code.isdecimal() else 0
