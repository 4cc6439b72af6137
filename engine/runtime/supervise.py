"""Named tasks in; their crashes reported, restarted with back-off and, on a money path, told to the core as faults."""

import asyncio
import contextvars
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Generator
from functools import partial
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

    def at_once(self, name: str, work: Coroutine[Any, Any, None], *, money_path: bool = False) -> None:
        """`once`, and the first step of it now: to where `work` waits for something."""
        context = contextvars.copy_context()
        begun = _Begun(self._guarded(name, work, money_path))
        task = self._start(begun.rest(), name, context)
        task.add_done_callback(lambda _: begun.close())
        begun.begin(task, context)

    async def close(self) -> None:
        while self._tasks:  # a task's end may start others: an interrupted order tells the core
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await asyncio.sleep(0)  # from Python 3.12 on, gathering what is done gives no turn, and nobody would take it off

    def _start(
        self, work: Coroutine[Any, Any, None], name: str, context: contextvars.Context | None = None
    ) -> asyncio.Task[None]:
        task = asyncio.create_task(work, name=name, context=context)
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


class _Begun:
    """A coroutine whose first step is taken before its task's: the loop would come to that one turn later, which cost an order
    0.1 ms and more (measured 2026-11). Python's own `eager_start` is of 3.12.
    """

    def __init__(self, work: Coroutine[Any, Any, None]) -> None:
        self._work = work
        self._waits_for: Any = None
        self._over = False

    def begin(self, task: asyncio.Task[None], context: contextvars.Context) -> None:
        """In the name of `task`, which awaits `rest`: time-outs ask whose they are."""
        loop, outer = task.get_loop(), asyncio.current_task()
        if outer is not None:
            asyncio._leave_task(loop, outer)
        asyncio._enter_task(loop, task)
        try:
            context.run(self._step, partial(self._work.send, None))
        finally:
            asyncio._leave_task(loop, task)
            if outer is not None:
                asyncio._enter_task(loop, outer)

    async def rest(self) -> None:
        await self

    def __await__(self) -> Generator[Any, None, None]:
        while not self._over:
            try:
                yield self._waits_for
            except BaseException as problem:  # a cancellation
                self._step(partial(self._work.throw, problem))
            else:
                self._step(partial(self._work.send, None))

    def _step(self, step: Callable[[], Any]) -> None:
        try:
            self._waits_for = step()
        except StopIteration:
            self._over = True

    def close(self) -> None:
        """Of a task that was cancelled before it went on."""
        self._work.close()


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
