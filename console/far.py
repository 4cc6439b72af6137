"""The third link: an engine on another machine, over Fluvio. It reads what the engine's relay shows, and sends sealed commands.

The client of Fluvio runs in a process of its own (`engine.queue.carry`). A cluster that is gone never ends the link: what is
shown grows old, visibly, until it comes back. Only a goodbye of the engine, or another session in its place, ends it.
"""

import asyncio
import contextlib
import os
import sys
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

import msgspec

from console.exits import Exit
from console.link import WireLink
from engine import __version__
from engine.config import Settings, config_folder, state_dir
from engine.errors import ConfigError, LinkError
from engine.events import Alert, Level
from engine.frames import frame
from engine.queue.access import Access, access
from engine.queue.carry import Errand, Record, Standing, Stored, framed, said
from engine.queue.fluvio import topic_of
from engine.queue.relay import COMMANDS, VIEWS, Shown, Told, unpacked
from engine.queue.sealed import LIFETIME_S, seal
from engine.secret import FILE, VARIABLE, control_secret
from engine.views import (
    NO_PREVIEW,
    PROTOCOL,
    Answer,
    Ask,
    Goodbye,
    Leave,
    TicketView,
    TraceView,
    Watch,
    Welcome,
    decode_to_engine,
    encode,
)

SEEN_WITHIN_S = 9.0  # less than a link waits for a welcome
SILENT_S = 6.0  # the engine says something several times a second
ANSWERED_WITHIN_S = LIFETIME_S + 3.0
WAITING = 32  # messages that were not received yet, before nothing more is read
ENDS_WITHIN_S = 1.0
NS = 1_000_000_000
NO_TRACE = "Traces are shown on the engine's machine only, where each console is shown what it asks for."


class FluvioWire:
    """A `Wire` whose other side is a broadcast: the welcome is made here, of the first record that is seen.

    Without a `secret` it only watches. `note` says why nothing comes, "" while it does; `late_s` how much later the newest record
    came than the fastest did: the two machines' clocks need not agree for that.
    """

    def __init__(self, child: asyncio.subprocess.Process, where: str, secret: bytes | None) -> None:
        self.note, self.late_s, self.missed = "", 0.0, 0
        self.session = ""
        self._child, self._where, self._secret = child, where, secret
        self._out: deque[bytes] = deque()
        self._changed = asyncio.Condition()
        self._ended = False
        self._relay, self._sequence = "", -1
        self._news, self._told = 0, 0  # the engine's number of the next news, and ours
        self._fastest_s = float("inf")
        self._heard_at = time.monotonic()
        self._asked: dict[str, float] = {}  # not answered yet, and until when an answer is waited for
        self._sent: list[str] = []  # ids by their number at the child
        self._tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._mind())]

    # --- a wire ------------------------------------------------------------------------------------------------------------

    async def send(self, message: bytes) -> None:
        heard = decode_to_engine(message)
        if isinstance(heard, Watch) and heard.order:
            told = TraceView("", heard.order, (("far", 0, NO_TRACE),))
            await self._say(frame(self._told, (msgspec.Raw(encode(told)),), ()))
        if isinstance(heard, Watch) and heard.ticket is not None:
            unknown = TicketView(heard.market, heard.ticket, heard.amends, "", None, (NO_PREVIEW,))
            await self._say(frame(self._told, (msgspec.Raw(encode(unknown)),), ()))
        if not isinstance(heard, Ask):
            return  # everything is shown to everybody, and nobody's going is a loss
        if self._secret is None or not self.session:
            await self._say(Answer(heard.id, False, "This console only watches: `--control` opens one that may steer."))
            return
        value = seal(heard, self.session, self._secret, time.time_ns())
        self._asked[heard.id] = time.monotonic() + ANSWERED_WITHIN_S
        self._sent.append(heard.id)
        assert self._child.stdin is not None
        self._child.stdin.write(framed(value))

    async def receive(self) -> bytes:
        async with self._changed:
            await self._changed.wait_for(lambda: self._out or self._ended)
            if not self._out:
                raise ConnectionError("the link has ended")
            self._changed.notify_all()
            return self._out.popleft()

    async def part(self, last: bytes = b"") -> None:
        """Nobody is told: there may be other consoles, and the engine does not know of any."""
        self._ended = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        async with self._changed:
            self._changed.notify_all()
        # Its output is read to the end: a pipe with something left in it would never be closed.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(ENDS_WITHIN_S):
                await self._child.communicate()
                return
        with contextlib.suppress(ProcessLookupError):
            self._child.kill()
        await self._child.communicate()

    # --- what comes ----------------------------------------------------------------------------------------------------------

    async def _say(self, message: Welcome | Answer | Goodbye | bytes) -> None:
        """Waits while nobody receives: then the child is not read either, and what is shown is late."""
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._out) < WAITING or self._ended)
            self._out.append(message if isinstance(message, bytes) else encode(message))
            self._changed.notify_all()

    async def _read(self) -> None:
        assert self._child.stdout is not None
        async for message in said(self._child.stdout):
            match message:
                case Standing(connected, problem):
                    self.note = "" if connected else f"Reconnecting to Fluvio ({problem})."
                case Stored(number, _, problem) if problem:
                    await self._answer(self._sent[number], f"It may not have reached the cluster ({problem}).")
                case Record(_, value):
                    await self._take(value)
        await self._say(Goodbye("The process that reads from Fluvio ended: see fluvio.log in the state folder."))

    async def _mind(self) -> None:
        """What does not come in time."""
        began = time.monotonic()
        while True:
            await asyncio.sleep(0.25)
            now = time.monotonic()
            if not self.session and now - began > SEEN_WITHIN_S:
                why = self.note or "Does one run, with `[queue] backend` fluvio and this first symbol?"
                await self._say(Goodbye(f"No engine shows itself on {self._where}. {why}"))
                return
            for id in [id for id, until in self._asked.items() if until < now]:
                await self._answer(id, "No answer came in time. Whether it was done is not known: look at what is shown.")

    async def _answer(self, id: str, problem: str) -> None:
        if self._asked.pop(id, None) is not None:
            await self._say(Answer(id, False, problem))

    async def _take(self, value: bytes) -> None:
        try:
            shown, body = unpacked(value)
        except ValueError:
            self.missed += 1
            return
        now = time.monotonic()
        if self.session and shown.session != self.session:
            if now - self._heard_at > SILENT_S:
                await self._say(Goodbye(f"Session {self.session} is silent, and session {shown.session} shows itself now."))
            return
        if not self.session:
            if body.goodbye:
                return  # the last word of one that ended just now
            await self._begin(shown)
        self._heard_at = now
        if shown.relay == self._relay and shown.sequence <= self._sequence:
            return  # sent twice
        self.missed += shown.sequence - self._sequence - 1 if shown.relay == self._relay else 0
        self._relay, self._sequence = shown.relay, shown.sequence
        delay_s = (time.time_ns() - shown.sent_ns) / NS
        self._fastest_s = min(self._fastest_s, delay_s)
        self.late_s = delay_s - self._fastest_s
        await self._show(shown, body)

    async def _begin(self, shown: Shown) -> None:
        self.session, self._news = shown.session, shown.news
        if shown.protocol != PROTOCOL:
            await self._say(
                Goodbye(
                    f"That engine shows version {shown.protocol} of its pictures, and this console (barter-tui {__version__}) "
                    f"reads version {PROTOCOL}: use the engine's barter-tui."
                )
            )
            return
        await self._say(Welcome(PROTOCOL, __version__, shown.session, 0, (), self._told))

    async def _show(self, shown: Shown, body: Told) -> None:
        skipped = shown.news - self._news
        news = list(body.news[max(-skipped, 0) :])
        if skipped > 0:
            at = news[0].at if news else shown.sent_ns
            news.insert(0, Alert(at, Level.WARNING, f"{skipped} entries of this log were lost on the way to this console."))
        self._news = max(self._news, shown.news + len(body.news))
        if body.pictures or news:
            await self._say(frame(self._told, body.pictures, tuple(news)))
            self._told += len(news)
        for answer in body.answers:
            if self._asked.pop(answer.id, None) is not None:
                await self._say(answer)
        if body.goodbye:
            await self._say(Goodbye(body.goodbye))


def fluvio_link(
    find: Callable[[], Access], views: str, commands: str, secret: bytes | None = None, log: Path | None = None
) -> WireLink:
    """A link to whatever engine shows itself on the topic `views`; with a `secret` it may steer."""

    async def connect() -> FluvioWire:
        access, pipe = find(), asyncio.subprocess.PIPE
        try:
            with log.open("ab") if log is not None else contextlib.nullcontext() as stderr:
                words = (sys.executable, "-P", "-m", "engine.queue.carry")
                child = await asyncio.create_subprocess_exec(
                    *words, stdin=pipe, stdout=pipe, stderr=stderr or asyncio.subprocess.DEVNULL, start_new_session=True
                )
        except OSError as problem:
            raise LinkError(f"The process that reads from Fluvio cannot be started ({problem.strerror}).") from None
        errand = Errand(access, views, write=commands if secret is not None else "", silent_s=SILENT_S)
        assert child.stdin is not None
        child.stdin.write(framed(msgspec.msgpack.encode(errand)))
        return FluvioWire(child, f"{views} at {access.endpoint}", secret)

    return WireLink(connect, control=secret is not None)


class Far:
    """A console on an engine on another machine, over the Fluvio cluster that it forwards to. With `control` it may steer.

    Raises QueueError for a profile that cannot be read, ConfigError without the secret that steering takes.
    """

    def __init__(self, settings: Settings, *, control: bool = False) -> None:
        self.folder = state_dir(settings)
        self._access, symbols = access(settings.queue), settings.engine.symbols
        self._views, self._commands = topic_of(symbols, VIEWS), topic_of(symbols, COMMANDS)
        self._secret = control_secret(os.environ) if control else None
        if control and self._secret is None:
            expected = f"{VARIABLE} in the environment, or {config_folder() / FILE} of mode 0600, as on the engine's machine"
            raise ConfigError("command line", "--control", "there is no secret to sign commands with", expected)

    def link(self, frames_per_s: float = 12.0) -> WireLink:
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # the log of the process that reads goes there
        return fluvio_link(lambda: self._access, self._views, self._commands, self._secret, self.folder / "fluvio.log")

    async def inject(self, fault: str, venue: str) -> None:
        raise LinkError("only the console that started the simulated venue can do that")

    async def mind(self, tell: Callable[[str], None]) -> None:
        """Who started the venue minds it."""

    async def end(self, left: Leave | None) -> int:
        return Exit.OK
