"""What the venues' private streams have in common: whose they are, how a socket is opened, and what a message of theirs tells."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, TypeVar

import websockets

from engine.clock import Clock
from engine.errors import DecodeError, VenueError
from engine.events import DecodeFailed, Emit, Event, Instrument
from engine.execution.live.base import QUIET
from engine.signal.socket import Socket, never, open_socket

FRAMES_BUFFERED = 1024
CLOSE_S = 1.0
LONGEST = 200  # letters of a problem that is told
Frame = TypeVar("Frame")


class PrivateStream(ABC, Generic[Frame]):
    """One account's stream. `foreign` counts reports on markets that are not collected."""

    venue: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self, base: str, instruments: list[Instrument], clock: Clock, emit: Emit, order_waits: Callable[[], bool] = never
    ) -> None:
        self.base, self.clock, self.emit, self.order_waits = base, clock, emit, order_waits
        self._by_symbol = {instrument.venue_symbol: instrument for instrument in instruments}
        self.frames = self.foreign = 0

    @abstractmethod
    def decode(self, raw: bytes, at: int) -> tuple[Frame, list[Event]]:
        """A frame, and what it tells of markets that are collected. Raises DecodeError for whatever cannot be read."""

    async def _open(self, url: str, **more: Any) -> Socket:
        """Failing is weather and no crash, since the account's task is on the money path: a VenueError."""
        try:
            return await open_socket(url, FRAMES_BUFFERED, close_timeout=CLOSE_S, logger=QUIET, **more)
        except (OSError, websockets.InvalidHandshake) as problem:
            raise VenueError(self.title, f"the private stream could not be opened ({type(problem).__name__})") from None

    def _told(self, raw: bytes, look: Callable[[Frame], None]) -> bool:
        """One message, its frame given to `look` before its events are told; True when an order follows from it: a stop waits to
        be sent.
        """
        read_ns = time.monotonic_ns()
        self.frames += 1
        at = self.clock.at_mono(read_ns)
        try:
            frame, events = self.decode(raw, at)
        except DecodeError as problem:
            return self.emit(DecodeFailed(at, self.venue, "private", str(problem)[:LONGEST]), read_ns)
        look(frame)
        urgent = [self.emit(event, read_ns) for event in events]
        return any(urgent)


def why_ended(problem: websockets.ConnectionClosed | VenueError) -> str:
    """For a sentence that names the venue already."""
    if isinstance(problem, websockets.ConnectionClosed):
        silent = problem.sent is not None and not problem.rcvd_then_sent  # by us, since no pong came
        return "the venue fell silent" if silent else "the venue closed the connection"
    return problem.problem + (f" (code {problem.code})" if problem.code else "")
