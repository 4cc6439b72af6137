"""An engine and those who look at it, from the first hello to the goodbye: when nobody steers, and how it ends."""

import asyncio
import contextlib
import http
import logging
import os
import socket
from collections.abc import AsyncIterator, Callable

import msgspec
from websockets.asyncio.server import ServerConnection, unix_serve
from websockets.http11 import Request, Response

from engine.config import timeframe_ms
from engine.door import Door, peer_uid
from engine.errors import BarterError
from engine.events import Action
from engine.runtime import Engine
from engine.runtime.summary import Summary
from engine.server import Consoles
from engine.views import Watch
from engine.wire import SocketWire

log = logging.getLogger("barter.server")

FIRST_DEPTH = 20  # levels a side for a console that has not said yet what it watches
FLAT_WITHIN_S = 60.0  # beyond the time to come back: how long flattening may hold the end up
LARGEST_MESSAGE = 64 << 10
UNREAD_BYTES = 32 << 10  # written and not taken by a console, before nothing more is made for it
KERNEL_BYTES = 64 << 10  # the kernel's share of that: what lies there is already old
PING_EVERY_S, PONG_WITHIN_S = 5.0, 20.0  # a console that hangs is lost after these


class Ending(msgspec.Struct, frozen=True):
    """How an engine ends: what is done first, who asked, and what consoles are told."""

    action: Action
    source: str
    reason: str
    code: int = 0


class Service:
    """`await Service(engine).run()`: an engine that was not entered yet, its consoles, and its orderly end.

    Consoles are served before the engine is entered, so that the first one sees what it waits for. When the last console
    that steers is lost, `[engine] on_console_loss` says what follows; with `minds_loss` False nothing does: an engine that
    was started without a console has its owner elsewhere, and who looks in may go again.
    """

    def __init__(self, engine: Engine, *, minds_loss: bool = True) -> None:
        self.engine, self.minds_loss = engine, minds_loss
        self.summary: Summary | None = None  # once settled
        self.entered, self.settled = asyncio.Event(), asyncio.Event()
        settings = engine.settings
        markets = tuple(f"{venue}:{symbol}" for symbol in settings.engine.symbols for venue in settings.engine.venues)
        self.consoles = Consoles(engine, engine.session, markets, Watch(markets[0], timeframe_ms(settings), FIRST_DEPTH))
        self.consoles.stop_asked = self._stop_asked
        self._ending: asyncio.Future[Ending] = asyncio.get_running_loop().create_future()

    def stop(self, ending: Ending) -> bool:
        """End in good order; False when that was asked for before."""
        if self._ending.done():
            return False
        self._ending.set_result(ending)
        return True

    async def until_stopped(self) -> Ending:
        """Who asked for the end, as soon as somebody does."""
        return await asyncio.shield(self._ending)

    async def run(self) -> Ending:
        """Enter the engine, serve until `stop`, settle, say goodbye. Raises BarterError when the engine cannot start."""
        minding = asyncio.create_task(self._mind_loss() if self.minds_loss else asyncio.sleep(0))
        entering = asyncio.create_task(self._enter())
        refused = asyncio.create_task(self.engine.refused.wait())
        try:
            await asyncio.wait((entering, self._ending), return_when=asyncio.FIRST_COMPLETED)
            if not self._ending.done():
                entering.result()
            await asyncio.wait((refused, self._ending), return_when=asyncio.FIRST_COMPLETED)
            if not self._ending.done() and self.engine.refusal is not None:
                raise self.engine.refusal
            ending = await self._ending
            if entering.done() and entering.exception() is None:
                self.summary = await self.engine.settle(ending.action, ending.source)
                self.settled.set()
            else:
                self.engine.command(ending.action, ending.source)
            await self.consoles.close(f"The engine ended: {ending.reason}.")
            return ending
        except BarterError as problem:
            await self.consoles.close(f"The engine could not start. {problem}")
            raise
        finally:
            for task in (minding, entering, refused):
                task.cancel()
            await asyncio.gather(minding, entering, refused, return_exceptions=True)
            await self.consoles.close("The engine failed: see its log.")
            await self.engine.__aexit__(None, None, None)

    async def _enter(self) -> None:
        await self.engine.__aenter__()
        self.entered.set()

    def _stop_asked(self) -> None:
        self.stop(Ending(Action.SHUTDOWN, "the console", "a console stopped it"))

    # --- when nobody steers -----------------------------------------------------------------------------------------------

    async def _mind_loss(self) -> None:
        """Follow the settings when the last console that steers is lost, and end when none comes back."""
        chosen = self.engine.settings.engine
        while True:
            await self.consoles.until_lost()
            if not await self.consoles.stays_lost(chosen.console_loss_after_s):
                continue
            if chosen.on_console_loss == "run":
                log.warning("the last console that steers is lost; the engine runs on, as it is set to")
                await self.consoles.stays_lost(None)
                continue
            action = Action.FLATTEN if chosen.on_console_loss == "flatten" else Action.HALT
            self.engine.command(action, "console loss")
            if await self.consoles.stays_lost(chosen.console_return_s) and await self._stays_lost_until_flat(action):
                self.stop(Ending(action, "console loss", "its last console was lost and none came back"))
                return

    async def _stays_lost_until_flat(self, action: Action) -> bool:
        """Flattening may take longer than the time to come back; stops stay where it does not succeed."""
        deadline = asyncio.get_running_loop().time() + FLAT_WITHIN_S
        while action is Action.FLATTEN and not self._flat() and asyncio.get_running_loop().time() < deadline:
            if not await self.consoles.stays_lost(0.2):
                return False
        return self.consoles.lost

    def _flat(self) -> bool:
        return not any(position.quantity for position in self.engine.state.portfolio.positions.values())


async def serve(engine: Engine, ready: Callable[[Service, Door], None]) -> Ending:
    """An engine with its door open: `ready` is called once consoles may come. Raises BarterError when it cannot run."""
    with Door(engine.folder) as door:
        service = Service(engine)
        async with listening(door, service.consoles):
            ready(service, door)
            return await service.run()


@contextlib.asynccontextmanager
async def listening(door: Door, consoles: Consoles, uid: int | None = None) -> AsyncIterator[None]:
    """Serve consoles on the door's socket; processes of another user than `uid` (ours) are turned away and counted."""
    ours = os.getuid() if uid is None else uid

    async def attend(connection: ServerConnection) -> None:
        await consoles.attend(SocketWire(connection))

    def check(connection: ServerConnection, request: Request) -> Response | None:
        connected: socket.socket = connection.transport.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, KERNEL_BYTES)
        theirs = peer_uid(connected)
        if theirs is None or theirs == ours:
            return None
        consoles.counts.other_users += 1
        return connection.respond(http.HTTPStatus.FORBIDDEN, "This engine belongs to another user.\n")

    server = await unix_serve(
        attend,
        sock=door.socket,
        process_request=check,
        compression=None,
        server_header=None,
        max_size=LARGEST_MESSAGE,
        write_limit=UNREAD_BYTES,
        ping_interval=PING_EVERY_S,
        ping_timeout=PONG_WITHIN_S,
        close_timeout=1.0,
    )
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
