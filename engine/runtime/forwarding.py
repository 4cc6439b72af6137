"""Keeps the Fluvio bridge running beside the engine and tells how it does; nothing of the engine ever waits for it."""

import asyncio
import contextlib
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine.clock import Clock
from engine.config import QueueSettings
from engine.errors import QueueError
from engine.events import Alert, Event, Level
from engine.queue.bridge import Status
from engine.runtime.supervise import Supervisor

DRAIN_S = 3.0
STATES = {
    "up": (Level.INFO, "Fluvio at {endpoint}: the journal is forwarded."),
    "failing": (Level.WARNING, "Fluvio: {problem}. The journal stays here and is forwarded when it answers."),
}


class Forwarding:
    """`start`, then `close`. `status` is the bridge's newest word, None before one."""

    def __init__(self, settings: QueueSettings, folder: Path, clock: Clock, tell: Callable[[Event], object]) -> None:
        self._settings, self._folder, self._clock, self._tell = settings, folder, clock, tell
        self.status: Status | None = None
        self._told = ""
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
        chosen, pipe = self._settings, asyncio.subprocess.PIPE
        words = (str(self._folder), chosen.endpoint, str(int(chosen.retention_hours * 3600)))
        log = (self._folder / "fluvio.log").open("ab")  # a Rust panic must not be drawn over the screen
        with log:
            bridge = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "engine.queue.bridge", "forward", *words), stdin=pipe, stdout=pipe, stderr=log
            )
        try:
            assert bridge.stdout is not None
            async for line in bridge.stdout:
                try:
                    self._hear(msgspec.json.decode(line, type=Status))
                except msgspec.MsgspecError:
                    continue  # the client prints now and then
            raise QueueError(chosen.endpoint, "the bridge's process ended, so it is started anew")
        finally:
            with contextlib.suppress(ProcessLookupError):
                bridge.kill()
            await bridge.wait()

    def _hear(self, status: Status) -> None:
        self.status = status
        if status.state != self._told and status.state in STATES:
            self._told = status.state
            level, words = STATES[status.state]
            self._say(level, words.format(endpoint=self._settings.endpoint, problem=status.problem))

    def _crashed(self, part: str, problem: str, _: bool) -> None:
        self._say(Level.WARNING, f"{part[:1].upper()}{part[1:]} crashed ({problem}) and is started anew.")

    def _say(self, level: Level, text: str) -> None:
        self._tell(Alert(self._clock.now_ns(), level, text))
