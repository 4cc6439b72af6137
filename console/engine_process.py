"""Starts the engine as a process of its own and reads what it says; it may outlive whoever started it."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from console.child import Child
from engine.clock import Clock
from engine.config import Settings
from engine.errors import EngineStartError
from engine.places import Endpoints

if TYPE_CHECKING:
    from engine.execution.live import Credentials

READY_WITHIN_S = 30.0
GONE_WITHIN_S = 3.0


class Order(msgspec.Struct):
    """What the engine is asked to be: one line of JSON on its standard input. Keys go this way and no other."""

    settings: Settings
    clock: Clock
    endpoints: Endpoints
    credentials: "Credentials | None" = None
    verbose: bool = False
    phrase: str = ""  # that arms a live session


class Said(msgspec.Struct):
    """A line of the engine's standard output."""

    ready: bool = False
    socket: str = ""
    pid: int = 0
    session: str = ""
    ended: str = ""
    error: str = ""
    exit: int = 1


class EngineProcess:
    """`await EngineProcess.start(order, ...)`: consoles may come to `socket` when it returns.

    `problem` is what it said when it failed later on, "" while all is well.
    """

    def __init__(self, child: Child, said: Said) -> None:
        self.socket = Path(said.socket)
        self.problem = ""
        self._child = child
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, order: Order, *, lend: tuple[int, ...] = (), log: Path | None = None) -> "EngineProcess":
        """`lend`: descriptors that it is to hold as long as it lives, such as its venue's input. Raises EngineStartError."""
        try:
            child = await Child.start("engine", order, lend=lend, log=log)
        except OSError as problem:
            raise EngineStartError(f"The engine's process cannot be started ({problem.strerror}).") from None
        try:
            said = _said(await asyncio.wait_for(child.line(), READY_WITHIN_S))
            if said.ready:
                return cls(child, said)
        except TimeoutError:
            said = Said(error=f"The engine did not get ready within {READY_WITHIN_S:.0f} s.")
        except BaseException:  # cancelled while it started
            await child.end(GONE_WITHIN_S)
            raise
        await child.end(GONE_WITHIN_S)
        raise EngineStartError(said.error or "The engine's process ended before it was ready.", said.exit)

    @property
    def pid(self) -> int:
        return self._child.pid

    @property
    def alive(self) -> bool:
        """A dying process closes what it holds before it has an exit code: the end of its output counts."""
        return self._child.code is None and not self._reader.done()

    async def stopped(self, within_s: float) -> int:
        """Its exit code, once it has settled as it was asked to. One that does not is halted, and killed in the end."""
        if await self._child.gone(within_s) is None:
            self._child.terminate()
            await self._child.gone(within_s)
        await self._reader
        await self._child.end(GONE_WITHIN_S)
        code = self._child.code
        return code if code is not None and code >= 0 else 1

    def let_go(self) -> None:
        """Leave it to itself: it runs on when it was told so, and follows its console-loss policy when not."""
        self._reader.cancel()
        self._child.let_go()

    async def _read(self) -> None:
        while line := await self._child.line():
            self.problem = _said(line).error or self.problem


def _said(line: bytes) -> Said:
    try:
        return msgspec.json.decode(line or b"{}", type=Said)
    except msgspec.DecodeError:
        return Said(error="The engine's process said something that could not be read.")
