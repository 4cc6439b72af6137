"""Starts the simulated venue as a process of its own and reads what it says; leaving it ends the process."""

import asyncio
import sys
from types import TracebackType
from typing import Self

import msgspec

from engine.clock import Clock
from engine.errors import CaptureError, VenueStartError
from engine.execution.live import Credentials
from engine.runtime import Endpoints

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


class Played(msgspec.Struct):
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

    def __init__(self, order: Order) -> None:
        self.order = order
        self.said = Said()
        self.ended: asyncio.Future[Said] | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "engine.venue",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is for the engine, which then ends the venue
        )
        self._process = process
        assert process.stdin is not None
        process.stdin.write(msgspec.json.encode(self.order) + b"\n")
        try:
            await process.stdin.drain()
            self.said = await asyncio.wait_for(self._line(), READY_WITHIN_S)
        except TimeoutError:
            await self._end()
            raise VenueStartError("The simulated venue", f"it did not get ready within {READY_WITHIN_S:.0f} s") from None
        except (ConnectionError, VenueStartError):
            await self._end()
            raise VenueStartError("The simulated venue", "its process ended before it was ready") from None
        if self.said.error or not self.said.ready:
            await self._end()
            if self.order.capture is not None:
                raise CaptureError(self.order.capture, self.said.error.removeprefix(f"{self.order.capture}: "))
            raise VenueStartError("The simulated venue", self.said.error or "it did not say that it is ready")
        self.ended = asyncio.get_running_loop().create_future()
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._reader is not None:
            self._reader.cancel()
        await self._end()

    @property
    def endpoints(self) -> Endpoints:
        return Endpoints(self.said.rest, self.said.ws, simulated=True)

    @property
    def credentials(self) -> Credentials:
        return Credentials(self.order.api_key, self.order.secret)

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    async def _line(self) -> Said:
        assert self._process is not None and self._process.stdout is not None
        line = await self._process.stdout.readline()
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
        except VenueStartError as problem:
            if not self.ended.done():
                self.ended.set_exception(VenueStartError("The simulated venue", "its process ended while it was needed"))
                self.ended.exception()  # seen: whoever waits is told, nobody has to
                del problem

    async def _end(self) -> None:
        """Closing its input asks it to go."""
        process = self._process
        if process is None or process.returncode is not None:
            return
        assert process.stdin is not None
        process.stdin.close()
        try:
            await asyncio.wait_for(process.wait(), GONE_WITHIN_S)
        except TimeoutError:
            process.kill()
            await process.wait()
