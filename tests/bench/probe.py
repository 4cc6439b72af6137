"""Clock readings taken from outside the engine: when an order's cause was read from the kernel, when its bytes went there.

The engine's own marks (`engine.runtime.stats`) begin when a frame is taken out of the socket library's buffer and end when
aiohttp announces a write. The probe reads the clock at `data_received` and around `transport.write`, so that what lies between
those and the marks is known too. It costs about a microsecond a frame.
"""

import asyncio.selector_events as selector
import contextlib
import contextvars
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec
from websockets.asyncio.connection import Connection

from engine.events import BookDelta, ConditionalReport, Event, Mark, OrderReport, Quote, SendOrder, Trade
from engine.execution.live import BinanceAccount
from engine.runtime import Engine
from engine.runtime.requests import Requests
from engine.signal.socket import Socket

now = time.monotonic_ns
SocketTransport = selector._SelectorSocketTransport  # type: ignore[attr-defined]


class Sent(msgspec.Struct):
    """One order's readings, monotonic ns; 0 where there was none."""

    purpose: str
    cause: str = ""  # the name of the event that it follows from
    socket: bool = False  # a websocket frame brought that event; else the timer or a reply did
    chunk: int = 0  # the kernel gave the bytes that held the frame
    read: int = 0  # the engine took the frame
    core: int = 0
    done: int = 0
    asked: int = 0  # ccxt is called
    marked: int = 0  # aiohttp says that it writes: the engine's mark
    handed: int = 0  # transport.write is entered
    written: int = 0  # transport.write has returned, after send(2)
    answered: int = 0
    frame_queue: int = 0  # frames that waited behind the cause when it was taken

    @property
    def complete(self) -> bool:
        return self.written > 0 and self.asked > 0


FROM_FRAMES = (Quote, BookDelta, Trade, Mark, OrderReport, ConditionalReport)

# The order that a task (and those which it starts) sends.
_current: contextvars.ContextVar[Sent | None] = contextvars.ContextVar("current", default=None)


class Probe:
    """`with Probe().installed() as probe`: `probe.sent` holds the readings of every order by client id."""

    def __init__(self) -> None:
        self.sent: dict[str, Sent] = {}
        self._chunk = self._frame = self._queue = 0
        self._event: Event | None = None

    @contextlib.contextmanager
    def installed(self) -> Iterator["Probe"]:
        patched: list[tuple[Any, str, Any]] = []

        def patch(owner: Any, name: str, new: Any) -> None:
            patched.append((owner, name, getattr(owner, name)))
            setattr(owner, name, new)

        patch(Socket, "data_received", self._data_received(Socket.data_received))
        patch(Connection, "data_received", self._take_apart(Connection.data_received))
        patch(Socket, "process_event", self._process_event(Socket.process_event))
        patch(Socket, "_tell", self._tell(Socket._tell))
        patch(Engine, "process", self._process(Engine.process))
        patch(Requests, "carry_out", self._carry_out(Requests.carry_out))
        patch(BinanceAccount, "send", self._send(BinanceAccount.send))
        patch(SocketTransport, "write", self._write(SocketTransport.write))
        try:
            yield self
        finally:
            for owner, name, old in reversed(patched):
                setattr(owner, name, old)

    # --- what is wrapped --------------------------------------------------------------------------------------------

    def _data_received(self, usual: Any) -> Any:
        def data_received(socket: Any, data: bytes) -> None:
            socket.__dict__.setdefault("reads", deque()).append(now())
            usual(socket, data)

        return data_received

    def _take_apart(self, usual: Any) -> Any:
        def data_received(connection: Any, data: bytes) -> None:
            if isinstance(connection, Socket):
                self._chunk = connection.__dict__["reads"].popleft()
            usual(connection, data)

        return data_received

    def _process_event(self, usual: Any) -> Any:
        def process_event(socket: Any, event: Any) -> None:
            before = len(socket._waiting)
            usual(socket, event)
            if len(socket._waiting) > before:
                socket.__dict__.setdefault("chunks", deque()).append(self._chunk)

        return process_event

    def _tell(self, usual: Any) -> Any:
        def tell(socket: Any) -> bool:
            self._frame = socket.__dict__["chunks"].popleft()
            self._queue = len(socket.__dict__["chunks"])
            return bool(usual(socket))

        return tell

    def _process(self, usual: Any) -> Any:
        def process(engine: Any, event: Event, read_ns: int = 0) -> bool:
            self._event = event
            return bool(usual(engine, event, read_ns))

        return process

    def _carry_out(self, usual: Any) -> Any:
        def carry_out(requests: Any, output: Any, read: int, core: int, done: int) -> bool:
            if isinstance(output, SendOrder):
                by_frame = isinstance(self._event, FROM_FRAMES)
                chunk, queue = (self._frame, self._queue) if by_frame else (read, 0)
                purpose, cause = output.purpose.value, type(self._event).__name__
                self.sent[output.client_id] = Sent(purpose, cause, by_frame, chunk, read, core, done, frame_queue=queue)
            return bool(usual(requests, output, read, core, done))

        return carry_out

    def _send(self, usual: Any) -> Any:
        async def send(account: Any, order: SendOrder, *more: Any) -> Any:
            sent = self.sent.setdefault(order.client_id, Sent(order.purpose.value))
            _current.set(sent)
            event, wire = await usual(account, order, *more)
            sent.asked, sent.marked, sent.answered = wire.asked_ns, wire.written_ns, now()
            return event, wire

        return send

    def _write(self, usual: Any) -> Any:
        def write(transport: Any, data: Any) -> None:
            sent = _current.get()
            if sent is None or sent.handed:
                usual(transport, data)
                return
            sent.handed = now()
            usual(transport, data)
            sent.written = now()

        return write
