"""Keeps the Fluvio bridge running beside the engine and tells how it does; nothing of the engine ever waits for it."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.clock import Clock
from engine.config import Settings
from engine.errors import QueueError
from engine.events import Alert, Event, Level
from engine.queue.access import access
from engine.queue.bridge import Order, Status
from engine.queue.fluvio import topic_of
from engine.queue.relay import COMMANDS, VIEWS
from engine.runtime.supervise import Supervisor

DRAIN_S = 3.0
BEHIND_SHOWN = 20  # chunks; a few are always under way
REFUSALS_EVERY_S = 5.0
STATES = {
    "up": (Level.INFO, "Fluvio at {endpoint}: the journal is forwarded."),
    "failing": (Level.WARNING, "Fluvio: {problem}. The journal stays here and is forwarded when it answers."),
}


class Forwarding:
    """`start`, then `close`. `status` is the bridge's newest word, None before one."""

    def __init__(self, settings: Settings, folder: Path, clock: Clock, tell: Callable[[Event], object]) -> None:
        self._settings, self._folder, self._clock, self._tell = settings, folder, clock, tell
        self.status: Status | None = None
        self._told, self._endpoint = "", ""
        self._refused_at = -REFUSALS_EVERY_S
        self._tasks = Supervisor(self._crashed, lambda _, problem: self._say(Level.WARNING, f"The Fluvio bridge: {problem}."))

    def start(self) -> None:
        self._tasks.keep("the Fluvio bridge", self._run)

    async def close(self) -> None:
        """The session is closed: its last records get a moment, if the cluster takes them at all."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                # Its newest word may be from before the end: it looks again four times a second.
                await asyncio.sleep(0.6)
                while self._behind():  # noqa: ASYNC110 - the bridge speaks when it has something to say
                    await asyncio.sleep(0.05)
        await self._tasks.close()

    def _behind(self) -> bool:
        return self.status is not None and self.status.state == "up" and self.status.behind > 0

    async def _run(self) -> None:
        queue, symbols, pipe = self._settings.queue, self._settings.engine.symbols, asyncio.subprocess.PIPE
        topics = topic_of(symbols, VIEWS), topic_of(symbols, COMMANDS)
        order = Order(str(self._folder), access(queue), int(queue.retention_hours * 3600), topics)
        self._endpoint = order.access.endpoint
        log = (self._folder / "fluvio.log").open("ab")  # a Rust panic must not be drawn over the screen
        with log:
            bridge = await asyncio.create_subprocess_exec(
                *(sys.executable, "-P", "-m", "engine.queue.bridge", "forward"), stdin=pipe, stdout=pipe, stderr=log
            )
        try:
            assert bridge.stdin is not None and bridge.stdout is not None
            bridge.stdin.write(msgspec.json.encode(order) + b"\n")
            async for line in bridge.stdout:
                try:
                    self._hear(msgspec.json.decode(line, type=Status))
                except (ValueError, RecursionError):  # msgspec's are ValueErrors
                    continue  # the client prints now and then
            raise QueueError(self._endpoint, "the bridge's process ended, so it is started anew")
        finally:
            with contextlib.suppress(ProcessLookupError):
                bridge.kill()
            await bridge.wait()

    @property
    def words(self) -> str:
        """For the status line: `up`, `up -12` with so many chunks behind, `down -340`."""
        status = self.status
        if status is None or status.state == "connecting":
            return "..."
        state = "up" if status.state == "up" else "down"
        return f"{state} -{status.behind}" if status.behind > BEHIND_SHOWN or (state == "down" and status.behind) else state

    def _hear(self, status: Status) -> None:
        before, self.status = self.status, status
        if status.refused > (before.refused if before is not None else 0):
            self._tell_refusal(status)
        if status.state != self._told and status.state in STATES:
            self._told = status.state
            level, words = STATES[status.state]
            self._say(level, words.format(endpoint=self._endpoint, problem=status.problem))

    def _tell_refusal(self, status: Status) -> None:
        """At most one in some seconds: whoever may write to the topic could drown the log."""
        now = time.monotonic()
        if now - self._refused_at >= REFUSALS_EVERY_S:
            self._refused_at = now
            self._say(Level.WARNING, f"A command over Fluvio was refused ({status.refused} so far): {status.refusal}.")

    def _crashed(self, part: str, problem: str, _: bool) -> None:
        self._say(Level.WARNING, f"{part[:1].upper()}{part[1:]} crashed ({problem}) and is started anew.")

    def _say(self, level: Level, text: str) -> None:
        self._tell(Alert(self._clock.now_ns(), level, text))
