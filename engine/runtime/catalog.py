"""Closed bars to the catalogue's worker, its figures to the core as events; the worker is started again when it dies."""

import asyncio
import contextlib
import sys
import time
from collections.abc import Callable

import msgspec

from engine.catalog import Wanted
from engine.clock import Clock
from engine.config import TIMEFRAMES_MS
from engine.errors import BarterError
from engine.events import Alert, Bar, Emit, IndicatorValues, Instrument, Level
from engine.processor.catalog import KEPT, Reply, Request

ANSWER_S = 30.0  # real time; the first answer waits for pandas
LONGEST_LINE = 1 << 20
NAN = float("nan")
Known = Callable[[str, int], tuple[Instrument, list[Bar]] | None]  # a market's bars since the newest hole


class Catalog:
    """`closed` is told of each bar that closes, `run` is the worker's life. Where it lags, only the newest is answered."""

    def __init__(self, wanted: tuple[Wanted, ...], deciding_ms: int, known: Known, clock: Clock, emit: Emit) -> None:
        self.wanted: dict[int, list[Wanted]] = {}
        for one in wanted:
            self.wanted.setdefault(TIMEFRAMES_MS[one.timeframe] if one.timeframe else deciding_ms, []).append(one)
        self.skipped = 0  # bars that closed before the one before them was answered for
        self._known, self._clock, self._emit = known, clock, emit
        self._due: dict[tuple[str, int], None] = {}
        self._wake = asyncio.Event()
        self._sent: dict[tuple[str, int], int] = {}  # opening of the newest bar that the worker has
        self._failed: set[str] = set()

    def closed(self, bar: Bar) -> None:
        key = (bar.market, bar.timeframe_ms)
        if bar.timeframe_ms in self.wanted:
            self.skipped += key in self._due
            self._due[key] = None
            self._wake.set()

    async def run(self) -> None:
        """Raises BarterError when the worker dies or says nothing for long: it is then started anew, from all bars."""
        self._sent.clear()
        worker = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "engine.processor.catalog"),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=LONGEST_LINE,
        )
        try:
            while True:
                while self._due:
                    key = next(iter(self._due))
                    del self._due[key]
                    if (request := self._request(*key)) is not None:
                        self._tell(await self._answer(worker, request))
                self._wake.clear()
                await self._wake.wait()
        finally:
            if worker.stdin is not None:
                worker.stdin.close()
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()

    def _request(self, market: str, timeframe_ms: int) -> Request | None:
        """The bars that the worker lacks; all of them where a hole or a restart voids what it has."""
        found = self._known(market, timeframe_ms)
        if found is None or not found[1]:
            return None
        instrument, bars = found
        bars, before = bars[-KEPT:], self._sent.get((market, timeframe_ms), -1)
        fresh = [bar for bar in bars if bar.open_ms > before]
        if not fresh:
            return None
        begins = before < 0 or len(fresh) == len(bars) or fresh[0].open_ms != before + timeframe_ms
        tick, step = float(instrument.tick), float(instrument.step)
        rows = [
            (bar.open * tick, bar.high * tick, bar.low * tick, bar.close * tick, bar.volume * step)
            for bar in (bars if begins else fresh)
        ]
        self._sent[market, timeframe_ms] = bars[-1].open_ms
        return Request(market, timeframe_ms, bars[-1].open_ms, begins, rows, self.wanted[timeframe_ms] if begins else [])

    async def _answer(self, worker: asyncio.subprocess.Process, request: Request) -> Reply:
        assert worker.stdin is not None and worker.stdout is not None
        try:
            async with asyncio.timeout(ANSWER_S):
                worker.stdin.write(msgspec.json.encode(request) + b"\n")
                await worker.stdin.drain()
                line = await worker.stdout.readline()
            return msgspec.json.decode(line, type=Reply)
        except TimeoutError:
            raise BarterError(f"the worker of [[indicators]] said nothing for {ANSWER_S:.0f} s, so it is started anew") from None
        except (OSError, ValueError):
            raise BarterError("the worker of [[indicators]] died, so it is started anew") from None

    def _tell(self, reply: Reply) -> None:
        at = self._clock.now_ns()
        for label, problem in reply.failed.items():
            if label not in self._failed:
                self._failed.add(label)
                text = f"The indicator {label} cannot be reckoned ({problem}); its figures stay empty."
                self._emit(Alert(at, Level.WARNING, text), time.monotonic_ns())
        values = {name: _float(value) for name, value in reply.values.items()}
        past = {name: tuple(map(_float, line)) for name, line in reply.past.items()}
        self._emit(IndicatorValues(at, reply.market, reply.timeframe_ms, reply.open_ms, values, past), time.monotonic_ns())


def _float(value: float | None) -> float:
    return NAN if value is None else value
