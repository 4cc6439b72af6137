"""Starts what a screen needs when its link is first opened, and again after a death; ends it as the screen was left.

Venue and engine are siblings of each other. The engine also holds the venue's input, so that a simulated venue lives as
long as either this process or the engine does: an engine whose console was killed can still settle with its venue.
"""

import asyncio
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import msgspec

from console.engine_process import EngineProcess
from console.engine_process import Order as EngineOrder
from console.exits import Exit
from console.link import WireLink, memory_link, socket_link
from console.venue_process import Order, VenueProcess
from engine.clock import Clock
from engine.config import Settings, state_dir
from engine.door import SOCKET, find
from engine.errors import BarterError, EngineStartError, LinkError, StateError
from engine.events import Action
from engine.places import Endpoints, ours
from engine.views import Leave

if TYPE_CHECKING:
    from engine.execution.live import Credentials
    from engine.serve import Ending, Service
    from engine.server import Consoles

SETTLED_WITHIN_S = 20.0
LOOK_EVERY_S = 0.5
LEAVES_AFTER_MS = 20_000
NOTICE_S = 0.05  # the link's end may be heard of before the process's

Fit = Callable[[tuple[str, ...]], Settings]
Tell = Callable[[str], None]


class Real(msgspec.Struct, frozen=True):
    """A venue that is not ours to start: where it is, and the keys of the account there."""

    clock: Clock
    endpoints: Endpoints
    credentials: "Credentials"
    phrase: str = ""


class Launch(Protocol):
    """`link` starts what it needs at `open`; `end` is called once the screen is closed, and returns the exit code.
    `inject` switches a fault of a simulated venue's side on.

    `mind` runs meanwhile: a simulated venue that died is started again under the living engine, and `tell` is told.
    """

    def link(self, frames_per_s: float = 12.0) -> WireLink: ...
    async def mind(self, tell: Tell) -> None: ...
    async def inject(self, fault: str, venue: str) -> None: ...
    async def end(self, left: Leave | None) -> int: ...


class Siblings:
    """Venue and engine as processes. `fit` makes the engine's settings from the markets that a venue of ours lists."""

    def __init__(self, order: Order | Real, settings: Settings, fit: Fit, *, verbose: bool = False) -> None:
        self.folder = state_dir(settings)
        self.venue: VenueProcess | None = None
        self.engine: EngineProcess | None = None
        self._order, self._settings, self._fit, self._verbose = order, settings, fit, verbose
        self._phrase = order.phrase if isinstance(order, Real) else ""
        self._one = asyncio.Lock()

    def link(self, frames_per_s: float = 12.0) -> WireLink:
        return socket_link(self.start, frames_per_s=frames_per_s)

    async def start(self) -> Path:
        """Start what does not run; returns the engine's socket. Raises BarterError."""
        async with self._one:
            return await self._start()

    async def _start(self) -> Path:
        order = self._order
        if self.venue is not None and not self.venue.alive:
            await self.venue.__aexit__(None, None, None)
            self.venue = None
        if self.venue is None and isinstance(order, Order):
            self.venue = await _venue(order, self.folder)
        if self.engine is not None:
            await asyncio.sleep(NOTICE_S)
        if self.engine is not None and not self.engine.alive:
            await self.engine.stopped(SETTLED_WITHIN_S)
            self.engine = None
        if self.engine is None:
            settings, endpoints, credentials = _whereabouts(order, self.venue, self._settings, self._fit)
            phrase, self._phrase = self._phrase, ""  # one that died is not armed again by itself
            wanted = EngineOrder(settings, order.clock, endpoints, credentials, self._verbose, phrase)
            lend = (self.venue.child.input,) if self.venue is not None else ()
            self.engine = await EngineProcess.start(wanted, lend=lend, log=self.folder / "engine.log")
        return self.engine.socket

    async def inject(self, fault: str, venue: str) -> None:
        await _inject(self.venue, fault, venue)

    async def mind(self, tell: Tell) -> None:
        await _mind(lambda: self.venue if self.engine is not None and self.engine.alive else None, self._one, tell)

    async def end(self, left: Leave | None) -> int:
        """A screen that crashed (None) or left the engine running waits for nothing: the engine knows what to do."""
        engine, venue = self.engine, self.venue
        if engine is not None and engine.alive and (left is None or left.keep_running):
            engine.let_go()
            if venue is not None:
                venue.let_go()
            return Exit.OK if left is not None else Exit.FAULT
        code = Exit.OK if engine is None else await engine.stopped(SETTLED_WITHIN_S)
        if venue is not None:
            await venue.__aexit__(None, None, None)
        if engine is not None and engine.problem:
            raise EngineStartError(engine.problem, code)
        return code


class Embedded:
    """The engine in the screen's own loop; only the venue is a process. It ends with the screen, however that ends."""

    def __init__(self, order: Order | Real, settings: Settings, fit: Fit) -> None:
        self.folder = state_dir(settings)
        self._order, self._settings, self._fit = order, settings, fit
        self._phrase = order.phrase if isinstance(order, Real) else ""
        self._one = asyncio.Lock()
        self._venue: VenueProcess | None = None
        self._service: Service | None = None
        self._serving: asyncio.Task[Ending] | None = None

    def link(self, frames_per_s: float = 12.0) -> WireLink:
        return memory_link(self.start, frames_per_s=frames_per_s)

    async def start(self) -> "Consoles":
        """Start what does not run. Raises BarterError."""
        async with self._one:
            return await self._start()

    async def _start(self) -> "Consoles":
        from engine.runtime import Engine
        from engine.serve import serve

        if self._venue is not None and not self._venue.alive:
            await self._venue.__aexit__(None, None, None)
            self._venue = None
        order = self._order
        if self._venue is None and isinstance(order, Order):
            self._venue = await _venue(order, self.folder)
        if self._serving is None or self._serving.done():
            settings, endpoints, credentials = _whereabouts(order, self._venue, self._settings, self._fit)
            phrase, self._phrase = self._phrase, ""  # one that died is not armed again by itself
            engine = Engine(settings, order.clock, endpoints, credentials, phrase=phrase)
            ready: asyncio.Future[Service] = asyncio.get_running_loop().create_future()
            self._serving = asyncio.create_task(serve(engine, lambda service, _: ready.set_result(service)))
            await asyncio.wait((ready, self._serving), return_when=asyncio.FIRST_COMPLETED)
            if not ready.done():
                self._serving.result()
            self._service = ready.result()
        assert self._service is not None
        return self._service.consoles

    async def inject(self, fault: str, venue: str) -> None:
        await _inject(self._venue, fault, venue)

    async def mind(self, tell: Tell) -> None:
        await _mind(lambda: self._venue, self._one, tell)

    async def end(self, left: Leave | None) -> int:
        """An engine in this loop cannot run on without it: it settles, and halts when the screen crashed."""
        from engine.serve import Ending

        try:
            if self._serving is None or self._service is None:
                return Exit.OK
            action = Action.SHUTDOWN if left is not None else Action.HALT
            self._service.stop(Ending(action, "the console" if left is not None else "console loss", "its console closed"))
            return (await self._serving).code
        finally:
            if self._venue is not None:
                await self._venue.__aexit__(None, None, None)


class Attached:
    """A console on an engine that somebody else started; it only watches without `control`. Raises StateError when none runs
    with this state folder.
    """

    def __init__(self, settings: Settings, *, control: bool = False) -> None:
        self.folder, self.control = state_dir(settings), control
        if not find(self.folder).is_socket():
            hint = "start one with `barter-tui`"
            raise StateError(str(self.folder / SOCKET), f"no engine runs with this state folder: {hint}")

    def link(self, frames_per_s: float = 12.0) -> WireLink:
        return socket_link(self._find, control=self.control, frames_per_s=frames_per_s)

    async def _find(self) -> Path:
        return find(self.folder)

    async def inject(self, fault: str, venue: str) -> None:
        raise LinkError("only the console that started the simulated venue can do that")

    async def mind(self, tell: Tell) -> None:
        """Who started the venue minds it."""

    async def end(self, left: Leave | None) -> int:
        return Exit.OK


async def _inject(venue: VenueProcess | None, fault: str, where: str) -> None:
    """Raises OSError where the venue does not answer."""
    if venue is None:
        raise ConnectionError("no simulated venue runs")
    body = msgspec.json.encode({"name": fault, "venue": where, "ms": LEAVES_AFTER_MS if fault == "leave" else 0})
    asked = urllib.request.Request(f"{venue.said.rest}/sim/fault", body, {"Content-Type": "application/json"})
    await asyncio.to_thread(urllib.request.urlopen, asked, timeout=2.0)


async def _mind(running: Callable[[], VenueProcess | None], one: asyncio.Lock, tell: Tell) -> None:
    """For ever. A venue that cannot be started again is left alone until the link is opened anew, which tries too."""
    given_up: VenueProcess | None = None
    while True:
        await asyncio.sleep(LOOK_EVERY_S)
        async with one:
            venue = running()
            if venue is None or venue.alive or venue is given_up:
                continue
            tell("The simulated venue died. It is started again; its account begins anew.")
            try:
                await venue.start_again()
            except BarterError as problem:
                given_up = venue
                tell(f"The simulated venue could not be started again. {problem}")


def _whereabouts(
    order: Order | Real, venue: VenueProcess | None, settings: Settings, fit: Fit
) -> "tuple[Settings, Endpoints, Credentials]":
    """What an engine is told: its settings, where everything is, and the account's keys."""
    if isinstance(order, Real):
        return settings, order.endpoints, order.credentials
    assert venue is not None
    chosen = fit(venue.said.symbols)
    return chosen, ours(chosen, venue.said.rest, venue.said.ws), venue.credentials


async def _venue(order: Order, folder: Path) -> VenueProcess:
    return await VenueProcess(order, folder / "venue.log").__aenter__()
