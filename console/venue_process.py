"""Starts the simulated venue as a process of its own and reads what it says; leaving it ends the process."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import msgspec

from console.child import Child
from engine.clock import Clock
from engine.errors import CaptureError, VenueStartError

if TYPE_CHECKING:
    from engine.execution.live import Credentials
    from engine.runtime import Endpoints

MODULE = "engine.venue"
READY_WITHIN_S = 60.0  # a long capture is read through before it is played
GONE_WITHIN_S = 3.0


class Order(msgspec.Struct):
    """What the venue is asked to be: one line of JSON on its standard input. Keys go this way and no other."""

    clock: Clock
    api_key: str
    secret: str
    seed: int
    balance: str
    capture: str | None = None
    loop: bool = False
    port: int = 0  # 0: any
    symbols: tuple[str, ...] | None = None  # by their names there; None: all that it knows
    passphrase: str = ""  # of OKX's side
    latency_ms: float = 0.0
    feed: "Feed | None" = None

    def __repr__(self) -> str:
        return "Order(...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []


class Feed(msgspec.Struct, frozen=True):
    """Where the venue's markets come from in paper: unified symbols at the addresses of a real venue, binance or okx."""

    venue: str
    rest: str
    ws: str
    symbols: tuple[str, ...]


class Played(msgspec.Struct):
    """What the venue says of the capture that it plays."""

    frames: int = 0
    seconds: float = 0.0


class Said(msgspec.Struct):
    """A line of the venue's standard output."""

    ready: bool = False
    rest: str = ""
    ws: str = ""
    symbols: tuple[str, ...] = ()
    capture: Played | None = None
    ended: bool = False
    frames: int = 0
    error: str = ""


class VenueProcess:
    """`async with VenueProcess(order) as venue`: ready when entered. Raises VenueStartError or CaptureError."""

    def __init__(self, order: Order, log: Path | None = None) -> None:
        self.order = order
        self.said = Said()
        self.ended: asyncio.Future[Said] | None = None
        self._log = log
        self._child: Child | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return await self._start(lambda: Child.start(MODULE, self.order, log=self._log))

    async def start_again(self) -> None:
        """After its death, at the same address and held by the same owners; its account begins anew. Raises as entering does."""
        dead = self.child
        self.order.port = urlsplit(self.said.rest).port or 0
        await self._stop_reading()
        await self._start(lambda: dead.successor(MODULE, self.order, log=self._log))

    async def _start(self, start: Callable[[], Awaitable[Child]]) -> Self:
        try:
            self._child = await start()
            self.said = await asyncio.wait_for(self._line(), READY_WITHIN_S)
        except TimeoutError:
            await self._end()
            raise VenueStartError("The simulated venue", f"it did not get ready within {READY_WITHIN_S:.0f} s") from None
        except (OSError, VenueStartError):
            await self._end()
            raise VenueStartError("The simulated venue", "its process ended before it was ready") from None
        except BaseException:  # cancelled while it started
            await self._end()
            raise
        if self.said.error or not self.said.ready:
            await self._end()
            if self.order.capture is not None:
                raise CaptureError(self.order.capture, self.said.error.removeprefix(f"{self.order.capture}: "))
            raise VenueStartError("The simulated venue", self.said.error or "it did not say that it is ready")
        self.ended = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._stop_reading()
        await self._end()

    async def _stop_reading(self) -> None:
        if self._reader is not None:
            self._reader.cancel()
            await asyncio.gather(self._reader, return_exceptions=True)

    def let_go(self) -> None:
        """Leave it to whoever else holds its input: it ends with the last of them."""
        if self._reader is not None:
            self._reader.cancel()
        if self._child is not None:
            self._child.let_go()
            self._child = None

    @property
    def endpoints(self) -> "Endpoints":
        from engine.runtime import Endpoints

        return Endpoints(self.said.rest, self.said.ws, simulated=True)

    @property
    def credentials(self) -> "Credentials":
        from engine.execution.live import Credentials

        return Credentials(self.order.api_key, self.order.secret, self.order.passphrase)

    @property
    def child(self) -> Child:
        assert self._child is not None
        return self._child

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def alive(self) -> bool:
        return self._child is not None and self._child.code is None

    async def _line(self) -> Said:
        line = await self.child.line()
        if not line:
            raise VenueStartError("The simulated venue", "it ended")
        try:
            return msgspec.json.decode(line, type=Said)
        except msgspec.DecodeError:
            raise VenueStartError("The simulated venue", "it said something that could not be read") from None

    async def _read(self) -> None:
        """Until the capture was played or the process is gone; both end `ended`."""
        assert self.ended is not None
        try:
            while not self.ended.done():
                said = await self._line()
                if said.ended:
                    self.ended.set_result(said)
        except VenueStartError:
            if not self.ended.done():
                self.ended.set_exception(VenueStartError("The simulated venue", "its process ended while it was needed"))
                self.ended.exception()  # seen: whoever waits is told, nobody has to

    async def _end(self) -> None:
        """Closing its input asks it to go."""
        if self._child is not None:
            await self._child.end(GONE_WITHIN_S)
