"""Records a session beside the engine: every input and its outputs in, chunks in the session's file out."""

import asyncio
import hashlib
import logging
import platform
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import msgspec

import engine
from engine.clock import Clock
from engine.config import Settings
from engine.core import Core
from engine.errors import SessionError
from engine.events import Event, JournalState, Mode
from engine.queue import Closing, Opening
from engine.queue.files import new_path, recorded, session_name
from engine.queue.local import LocalQueue

log = logging.getLogger("barter.queue")
STATE_EVERY = 100_000  # inputs: what a seek or a recovery has to replay at most, some 0.8 s; a state is some 170 kB
COMMIT_EVERY_S = 0.25  # what SIGKILL may cost of market data, at most twice this
CHECKPOINT_EVERY = 20  # commits


class Recorded(msgspec.Struct, frozen=True):
    """What became of the recording of a session; `problem` is "" when all of it is written."""

    file: str
    inputs: int
    outputs: int
    bytes: int  # compressed
    lost: int  # inputs that could not be kept
    problem: str


class Recorder:
    """One session's recording. A disk that fails never stops the engine: `problem` says so, and it is tried again.

    `core`: whose events these are; it is told of trouble through `tell`.
    """

    def __init__(self, settings: Settings, folder: Path, clock: Clock, core: Core, tell: Callable[[Event], object]) -> None:
        self._settings, self._folder, self._clock, self._core, self._tell = settings, folder, clock, core, tell
        self._kept_at = 0  # inputs, when the core's state was kept last
        self._queue: LocalQueue | None = None  # while it records
        self._shown: LocalQueue | None = None  # what `figures` tells, also afterwards
        self.problem = self._told = ""
        wish = settings.queue.durable
        self._durable = wish == "yes" or (wish == "auto" and settings.engine.mode is Mode.LIVE)

    def open(self, session: str) -> str:
        """Begin the session's file, whatever comes of it; returns the name of the session before it, "" without one."""
        chosen = self._settings.engine
        before = recorded(self._folder)
        parent = session_name(before[-1]) if before else ""
        opening = Opening(
            session,
            parent,
            chosen.mode,
            chosen.symbols,
            chosen.venues,
            engine.__version__,
            code_hash(),
            platform.python_version(),
            self._clock.now_ns(),
            self._clock.speed,
        )
        try:
            self._queue = self._shown = LocalQueue(new_path(self._folder, opening), opening)
        except SessionError as problem:
            self._failed(problem)
        return parent

    def take(self, event: Event, out: Sequence[Event]) -> None:
        """Called for every input, in order."""
        if self._queue is not None:
            try:
                self._queue.append(event, out)
            except SessionError as problem:
                self._failed(problem)

    def commit(self, *, order: bool = False) -> bool:
        """Write what was taken; True when it is safe there. `order`: as durably as an order's record must be."""
        if self._queue is None:
            return False
        try:
            if order:
                self._queue.secure(durable=self._durable)
            else:
                self._queue.commit(durable=False)
        except SessionError as problem:
            self._failed(problem)
            return False
        self.problem = ""
        return True

    def report(self) -> None:
        """Tell the core when the recording broke, or works again."""
        if self.problem != self._told:
            self._told = self.problem
            self._tell(JournalState(self._clock.now_ns(), self.problem))

    async def run(self) -> None:
        """Commit and move the log into the file from time to time, for ever."""
        while True:
            for _ in range(CHECKPOINT_EVERY):
                await asyncio.sleep(COMMIT_EVERY_S)
                self._keep_state()
                self.commit()
                self.report()
            if self._queue is not None and not self.problem:
                try:
                    await asyncio.to_thread(self._queue.checkpoint)
                except SessionError as problem:  # the log grows meanwhile; nothing is lost
                    log.warning("%s", problem)

    def _keep_state(self) -> None:
        queue = self._queue
        if queue is None or self.problem or queue.inputs - self._kept_at < STATE_EVERY:
            return
        try:
            if queue.keep(self._core.snapshot()):
                self._kept_at = queue.inputs
        except SessionError as problem:
            self._failed(problem)

    def close(self, closing: Closing | None) -> None:
        """End the recording; inputs that come later are not part of the session."""
        queue, self._queue = self._queue, None
        if queue is None:
            return
        try:
            if closing is not None:
                queue.keep(self._core.snapshot())  # what the next session recovers from without replaying
            if closing is not None:
                closing = msgspec.structs.replace(closing, inputs=queue.inputs, outputs=queue.outputs)
            queue.close(closing)
        except SessionError as problem:
            self._failed(problem)

    def figures(self) -> Recorded:
        queue = self._shown
        if queue is None:
            return Recorded("", 0, 0, 0, 0, self.problem)
        return Recorded(str(queue.path), queue.inputs, queue.outputs, queue.written_bytes, queue.lost, self.problem)

    def _failed(self, problem: SessionError) -> None:
        if not self.problem:
            log.warning("%s", problem)
        self.problem = f"{problem.problem[:1].upper()}{problem.problem[1:]} in {problem.path}"


@cache
def code_hash() -> str:
    """A hash over the engine's sources: what decides, and what recorded it."""
    root = Path(engine.__file__).parent
    found = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        found.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return found.hexdigest()[:12]
