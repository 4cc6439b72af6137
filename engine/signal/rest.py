"""Questions to a venue's public REST interface: what both venues' have in common, the session, its failures, and the clock."""

import time
from collections.abc import Awaitable, Callable

import aiohttp

from engine.clock import Clock
from engine.errors import VenueError
from engine.events import ClockOffset

TIMEOUT_S = 10.0


class Session:
    """Keep-alive requests. Every failure is a VenueError; `refusal` reads code and message of an error's body."""

    def __init__(self, title: str, base: str, refusal: Callable[[bytes], tuple[int, str]]) -> None:
        self.title, self.base, self._refusal = title, base, refusal
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))

    async def close(self) -> None:
        await self._session.close()

    async def get(self, path: str, **query: str) -> bytes:
        started = time.monotonic()
        try:
            async with self._session.get(self.base + path, params=query) as reply:
                body = await reply.read()
        except TimeoutError:
            raise VenueError(self.title, f"{path} gave no answer for {time.monotonic() - started:.0f} s") from None
        except aiohttp.ClientError as problem:
            raise VenueError(self.title, f"{path} could not be reached ({type(problem).__name__})") from None
        if reply.status != 200:
            code, message = self._refusal(body)
            raise VenueError(self.title, f"{path} was refused with HTTP {reply.status}: {message}", code)
        return body


async def clock_offset(clock: Clock, venue: str, ask: Callable[[], Awaitable[int]], tries: int) -> ClockOffset:
    """The venue's clock minus ours, from the quickest of several questions; `ask` returns the venue's milliseconds."""
    best: tuple[int, int] | None = None  # round trip, offset (engine ns)
    for _ in range(tries):
        before = clock.now_ns()
        venue_ms = await ask()
        after = clock.now_ns()
        found = (after - before, venue_ms * 1_000_000 - (before + after) // 2)
        best = min(best, found) if best else found
    assert best is not None
    return ClockOffset(clock.now_ns(), venue, round(best[1] / 1e6), round(best[0] / 2e6))
