"""Named tasks in; their crashes reported, restarted with back-off and, on a money path, told to the core as faults."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import tenacity

from engine.errors import BarterError

log = logging.getLogger("barter.runtime")
HEALTHY_S = 60.0
FIRST_WAIT_S, LONGEST_WAIT_S = 0.25, 15.0
T = TypeVar("T")

Report = Callable[[str, str, bool], None]  # part, problem, whether trading must stop


class Supervisor:
    """Keeps tasks running until `close`. A BarterError is weather (a venue that went away) and is only told; anything
    else is a crash, and on a money path it stops trading.
    """

    def __init__(self, crashed: Report, failed: Callable[[str, str], None]) -> None:
        self._crashed, self._failed = crashed, failed
        self._tasks: set[asyncio.Task[None]] = set()
        self.restarts = 0

    def keep(self, name: str, run: Callable[[], Coroutine[Any, Any, None]], *, money_path: bool = False) -> None:
        """Run again and again; `run` returning means that it is done."""
        self._start(self._kept(name, run, money_path), name)

    def once(self, name: str, work: Coroutine[Any, Any, None], *, money_path: bool = False) -> None:
        """Run to its end; a crash is told and not repeated."""
        # A task that is cancelled before its first step never awaits `work`.
        self._start(self._guarded(name, work, money_path), name).add_done_callback(lambda _: work.close())

    async def close(self) -> None:
        while self._tasks:  # a task's end may start others: an interrupted order tells the core
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[Any, Any, None], name: str) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _guarded(self, name: str, work: Coroutine[Any, Any, None], money_path: bool) -> None:
        try:
            await work
        except BarterError as problem:
            self._failed(name, str(problem))
        except Exception as problem:
            log.exception("%s crashed", name)
            self._crashed(name, _words(problem), money_path)

    async def _kept(self, name: str, run: Callable[[], Coroutine[Any, Any, None]], money_path: bool) -> None:
        wait = tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S)
        state = tenacity.RetryCallState(tenacity.AsyncRetrying(wait=wait), None, (), {})
        state.attempt_number = 0
        while True:
            started = time.monotonic()
            try:
                await run()
                return
            except BarterError as problem:
                self._failed(name, str(problem))
            except Exception as problem:
                log.exception("%s crashed", name)
                self._crashed(name, _words(problem), money_path)
            self.restarts += 1
            state.attempt_number = 1 if time.monotonic() - started > HEALTHY_S else state.attempt_number + 1
            await asyncio.sleep(wait(state))


async def persist(call: Callable[[], Awaitable[T]], attempts: int = 6) -> T:
    """Ask again after a BarterError, with back-off; the last one is raised."""
    retrying = tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception_type(BarterError),
        wait=tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
        stop=tenacity.stop_after_attempt(attempts),
        reraise=True,
    )

    async def attempt() -> T:
        return await call()

    return await retrying(attempt)


def _words(problem: BaseException) -> str:
    return f"{type(problem).__name__}: {problem}"
