"""Messages to and from an engine: over its local socket, or within one loop; `far` has a third way. A console knows the engine
by this alone.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from engine import __version__
from engine.errors import LinkError
from engine.views import PROTOCOL, Answer, Ask, Frame, Goodbye, Hello, Leave, Watch, Welcome, decode_to_console, encode

if TYPE_CHECKING:
    from console.hotline import Hotline
    from engine.server import Consoles
    from engine.wire import Wire

WELCOME_WITHIN_S = 10.0
LARGEST_MESSAGE = 16 << 20
FRAMES_WAITING = 2  # beyond that a console that does not keep up is told less, not later
PING_EVERY_S, PONG_WITHIN_S = 5.0, 20.0

GONE = "The engine is gone: its process ended or was killed."

Connect = Callable[[], Awaitable["Wire"]]


class Link(Protocol):
    """`open`, then `receive` until a `Goodbye` comes. After one, `open` again tries anew: it also starts an engine of ours."""

    async def open(self) -> Welcome:
        """Shake hands. Raises BarterError: its text says why there is no link."""

    async def receive(self) -> Frame | Answer | Goodbye:
        """The next message; a `Goodbye`, given again and again, is the last, also when the engine was killed."""

    async def send(self, message: Watch | Ask | Leave) -> None:
        """Does nothing when the link has ended: `receive` tells that. A command that no `Answer` came for may be sent again,
        with its id, over a new link.
        """

    def send_now(self, ask: Ask) -> bool:
        """From any thread, past everything that the loop does; False where there is no such way or it is broken."""

    @property
    def note(self) -> str:
        """Why nothing comes although the link has not ended, "" while all is well."""

    @property
    def late_s(self) -> float:
        """How much older than usual the newest message was when it came."""

    async def close(self) -> None:
        """End the link; without a `Leave` before it, the engine takes it for the loss of this console."""


class WireLink:
    """The link over whatever wire `connect` makes. `left` is the goodbye that was sent, None without one.

    `direct` makes the connection for `send_now`; it is called in a thread, once the engine has said welcome.
    """

    def __init__(
        self,
        connect: Connect,
        *,
        control: bool = True,
        frames_per_s: float = 12.0,
        direct: "Callable[[], Hotline | None] | None" = None,
    ) -> None:
        self.left: Leave | None = None
        self._connect = connect
        self._direct = direct if control else None
        self._hotline: Hotline | None = None
        self._hello = Hello(PROTOCOL, __version__, control, frames_per_s)
        self._wire: Wire | None = None
        self._end = Goodbye("The link is not open.")

    async def open(self) -> Welcome:
        await self.close()
        self.left = None
        wire = await self._connect()
        try:
            async with asyncio.timeout(WELCOME_WITHIN_S):
                await wire.send(encode(self._hello))
                answer = _decode(await wire.receive())
        except (ConnectionError, TimeoutError):
            answer = Goodbye("The engine did not answer this console.")
        if isinstance(answer, Welcome):
            self._wire = wire
            if self._direct is not None:
                self._hotline = await asyncio.to_thread(self._direct)
            return answer
        await wire.part()
        said = answer.reason if isinstance(answer, Goodbye) else ""
        raise LinkError(said or "The engine did not say welcome: versions may differ.")

    async def receive(self) -> Frame | Answer | Goodbye:
        if self._wire is None:
            return self._end
        try:
            message = _decode(await self._wire.receive())
        except ConnectionError:
            message = Goodbye(GONE)
        if isinstance(message, Welcome):
            message = Goodbye("The engine said welcome twice: versions may differ.")
        if isinstance(message, Goodbye):
            await self._finish(message)
        return message

    async def send(self, message: Watch | Ask | Leave) -> None:
        if isinstance(message, Leave):
            self.left = message
        if self._wire is None:
            return
        with contextlib.suppress(ConnectionError):  # what the engine said last is still to be received
            await self._wire.send(encode(message))

    def send_now(self, ask: Ask) -> bool:
        hotline = self._hotline
        if hotline is None or not hotline.send(ask):
            return False
        hotline.forget()
        return True

    @property
    def note(self) -> str:
        return str(getattr(self._wire, "note", ""))

    @property
    def late_s(self) -> float:
        return float(getattr(self._wire, "late_s", 0.0))

    async def close(self) -> None:
        await self._finish(Goodbye("The link was closed."))

    async def _finish(self, end: Goodbye) -> None:
        wire, self._wire = self._wire, None
        hotline, self._hotline = self._hotline, None
        if hotline is not None:
            hotline.close()
        if wire is not None:
            self._end = end
            await wire.part()


def socket_link(find: Callable[[], Awaitable[Path]], *, control: bool = True, frames_per_s: float = 12.0) -> WireLink:
    """A link over the socket that `find` names at each opening; it may start the engine that makes it."""
    path = Path()

    def direct() -> "Hotline | None":
        from console.hotline import hotline

        return hotline(path)

    async def connect() -> "Wire":
        nonlocal path
        from websockets.asyncio.client import unix_connect
        from websockets.exceptions import InvalidStatus, WebSocketException

        from engine.wire import SocketWire

        path = await find()
        try:
            connection = await unix_connect(
                str(path),
                "ws://engine/",
                compression=None,
                max_size=LARGEST_MESSAGE,
                max_queue=FRAMES_WAITING,
                open_timeout=WELCOME_WITHIN_S,
                ping_interval=PING_EVERY_S,
                ping_timeout=PONG_WITHIN_S,
                close_timeout=1.0,
            )
        except InvalidStatus as refused:
            text = (refused.response.body or b"").decode("utf-8", "replace").strip()
            raise LinkError(text or "The engine refused this console.") from None
        except (OSError, TimeoutError, WebSocketException):
            raise LinkError(f"No engine answers at {path}.") from None
        return SocketWire(connection)

    return WireLink(connect, control=control, frames_per_s=frames_per_s, direct=direct)


def memory_link(find: Callable[[], Awaitable["Consoles"]], *, control: bool = True, frames_per_s: float = 12.0) -> WireLink:
    """A link to an engine in the same loop."""
    attending: set[asyncio.Task[None]] = set()

    async def connect() -> "Wire":
        from engine.wire import memory_wires

        consoles = await find()
        near, far = memory_wires()
        task = asyncio.create_task(consoles.attend(far))
        attending.add(task)
        task.add_done_callback(attending.discard)
        return near

    return WireLink(connect, control=control, frames_per_s=frames_per_s)


def _decode(message: bytes) -> Welcome | Goodbye | Frame | Answer:
    try:
        heard: Welcome | Goodbye | Frame | Answer = decode_to_console(message)
    except (ValueError, RecursionError) as problem:  # msgspec's errors and UnicodeDecodeError
        return Goodbye(f"What the engine said could not be read ({problem}): versions may differ.")
    return heard
