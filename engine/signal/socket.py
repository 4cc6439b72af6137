"""A websocket whose messages are told as the kernel's bytes are read: nothing waits for a task to wake up.

websockets hands messages to whoever awaits `recv`, which costs two turns of the event loop between the bytes and the core, each
behind whatever else the loop has to do. Here the protocol's own callback tells them, in order, and gives way to orders.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.frames import Frame, Opcode

MESSAGES_A_TURN = 32  # then timers, and the other sockets, come first
TURNS_GIVEN = 4  # of the loop, to an order that is about to be written: ccxt and aiohttp take three (2026-11)
MAX_FRAGMENTS = 4096
DATA = (Opcode.TEXT, Opcode.BINARY, Opcode.CONT)

Hear = Callable[[bytes], bool]


def never() -> bool:
    return False


class Socket(ClientConnection):
    """Messages that come before `listen` wait for it. Past the `max_queue` of `connect` the kernel is not read:
    back-pressure, nothing is dropped.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._unread: list[bytes] = []
        self._waiting: deque[bytes] = deque()
        self._parts: list[bytes] = []  # of a message that comes in fragments
        self._hear: Hear | None = None
        self._order_waits = never
        self._over: asyncio.Future[None] = self.loop.create_future()
        self._muted = self._held = self._due = False
        self._turns = 0

    async def listen(self, hear: Hear, order_waits: Callable[[], bool] = never) -> None:
        """Tell `hear` each message until the connection ends, which raises ConnectionClosed, or until `hear` raises.

        While `order_waits`, and when `hear` returns True (it caused an order), the rest gives way to it for some turns.
        """
        self._hear, self._order_waits = hear, order_waits
        self._tell_some()
        try:
            await self._over
        finally:
            self.mute()

    def mute(self) -> None:
        """Nothing more is told; what comes is read and dropped, as the goodbye must be seen."""
        self._muted, self._order_waits = True, never
        self._waiting.clear()
        self._resume()

    # --- what websockets calls -------------------------------------------------------------------------------------------

    def process_event(self, event: Any) -> None:
        if not isinstance(event, Frame) or event.opcode not in DATA:
            super().process_event(event)
            return
        if self._muted:
            return
        if event.fin and not self._parts:
            self._waiting.append(bytes(event.data))
        else:
            self._parts.append(bytes(event.data))
            if event.fin:
                self._waiting.append(b"".join(self._parts))
                self._parts = []
            elif len(self._parts) > MAX_FRAGMENTS:
                self._end(ValueError(f"a message in more than {MAX_FRAGMENTS} parts"))
        if self.max_queue_high is not None and len(self._waiting) > self.max_queue_high and not self._held:
            self._held = True
            self.transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        self._unread.append(data)
        if not self._due:
            self._tell_some()

    def eof_received(self) -> None:
        self._take_apart()
        super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        self._take_apart()
        super().connection_lost(exc)
        while self._waiting and self._hear is not None:
            self._tell()
        self._end(self.close_exc)

    # --- telling -----------------------------------------------------------------------------------------------------------

    def _tell_some(self) -> None:
        """As many as this turn has room for; the rest in the next."""
        self._due = False
        self._turns = self._turns + 1 if self._order_waits() else 0
        room = MESSAGES_A_TURN if not self._turns else 1 if self._turns > TURNS_GIVEN else 0
        if room:
            self._take_apart()
        if self._hear is None:
            return
        while room and self._waiting:
            room = 0 if self._tell() else room - 1
        if self._held and len(self._waiting) <= (self.max_queue_low or 0):
            self._resume()
        if self._waiting or self._unread:
            self._due = True
            self.loop.call_soon(self._tell_some)

    def _take_apart(self) -> None:
        """Bytes into messages."""
        unread, self._unread = self._unread, []
        for data in unread:
            super().data_received(data)

    def _tell(self) -> bool:
        assert self._hear is not None
        try:
            return self._hear(self._waiting.popleft())
        except Exception as problem:
            self._end(problem)
            return True

    def _end(self, problem: Exception) -> None:
        self.mute()
        if not self._over.done():
            self._over.set_exception(problem)
            self._over.exception()  # nobody may listen

    def _resume(self) -> None:
        if self._held:
            self._held = False
            self.transport.resume_reading()


async def open_socket(url: str, buffered: int, *, ping_interval: float | None = None, **more: Any) -> Socket:
    """Without compression, and without our pings unless wished for: the rest as `connect` has it. Raises what that does."""
    kept = (buffered, buffered // 4)
    opened = await connect(url, create_connection=Socket, ping_interval=ping_interval, max_queue=kept, compression=None, **more)
    assert isinstance(opened, Socket)
    return opened
