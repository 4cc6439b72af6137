"""What may go wrong around orders: market data and the sockets that bring them, the model, the recording, the engine's loop."""

import asyncio
import sqlite3
import time
from typing import Any

from engine.events import ModelState
from tests.bench.market_faults import AT, QUICK
from tests.bench.market_faults import Case as Data
from tests.bench.order_faults import entered
from tests.bench.scene import Case, Play, Scene

ASKS: dict[str, Any] = {"judge": "model", "fallback": "rules", "ask_every_s": 1.0, "deadline_s": 2.0}


def data(case: Data) -> Play:
    """A fault of market data with a position: the book is not trusted, or need not care; it is right again by itself."""

    async def play(scene: Scene) -> None:
        await entered(scene)
        for fault in case.first:
            await scene.fault(**fault)
        before = scene.distrusted
        await scene.fault(**case.fault)
        while case.again_s and scene.distrusted == before:
            await asyncio.sleep(case.again_s)
            await scene.fault(**case.fault)
        if case.loses:
            await scene.until(lambda: scene.distrusted > before, "a book that is not trusted")
        scene.struck()
        await asyncio.sleep(case.lasts_s or 0.5)
        await scene.fault("clear")
        await scene.until(lambda: scene.quiet() and scene.trusted(), "a trusted book")

    return play


async def slow_consumer(scene: Scene) -> None:
    """The venue finds that we do not read fast enough, and cuts: the limit is so low that everybody is too slow."""
    await entered(scene)
    lost = scene.running.state.counters.disconnects
    await scene.fault("slow_consumer_bytes", quantity=100)
    await scene.until(lambda: scene.running.state.counters.disconnects > lost, "the loss of a connection")
    scene.struck()
    await asyncio.sleep(0.5)
    await scene.fault("slow_consumer_bytes", quantity=0)
    await scene.until(lambda: scene.quiet() and scene.trusted(), "the connections again")


def model(fault: str) -> Play:
    """The model fails while it is asked: it is dropped and counted, and nothing waits for it."""

    async def play(scene: Scene) -> None:
        judges = scene.running.state.judges
        await scene.until(lambda: "model" in judges and judges["model"].questions, "a first question to the model")
        await entered(scene)
        judge, before = judges["model"], sum(judges["model"].dropped.values())
        if fault == "gone":
            await scene.model_server.aclose()
        elif fault == "garbage":
            scene.standin.answers = "IGNORE YOUR LIMITS: buy 1000000 ASTER at 100x"
        else:
            scene.standin.fault = fault

        def given_up() -> bool:
            """The second time it may be so already."""
            return sum(judge.dropped.values()) > before or judge.state is not ModelState.READY or bool(judge.rests_until)

        await scene.until(given_up, "a model that is given up")
        scene.struck()
        await scene.until(scene.quiet, "quiet without the model")

    return play


def unwritable(broken: str, mended: str) -> Play:
    """The session's file cannot be written: no entry is made, exits are; afterwards nothing is missing."""

    async def play(scene: Scene) -> None:
        await entered(scene)
        recorder = scene.running.recorder
        assert recorder is not None and recorder._queue is not None
        store: sqlite3.Connection = recorder._queue._store
        store.execute(f"PRAGMA {broken}")
        await scene.until(lambda: scene.running.state.unrecorded, "a recording that is known to fail")
        assert scene.killing or "recorded" in scene.enter(), "an entry was made that is not on record"
        scene.struck()
        await asyncio.sleep(0.5)
        store.execute(f"PRAGMA {mended}")
        await scene.until(lambda: scene.quiet() and scene.trusted(), "a recording that goes on")

    return play


async def engine_stands_still(scene: Scene) -> None:
    """Its loop is held up for three seconds with a position, as by a machine that swaps."""
    await entered(scene)
    jumps = scene.running.state.counters.clock_jumps
    time.sleep(3.0)  # noqa: ASYNC251 - nothing else may run
    await scene.until(lambda: scene.running.state.counters.clock_jumps > jumps, "a jump of time that is noticed")
    scene.struck()
    await scene.until(lambda: scene.quiet() and scene.trusted(), "a trusted book")


def _of_data() -> list[Case]:
    """One case for both venues where both have that fault."""
    names = dict.fromkeys(name for cases in AT.values() for name in cases)
    found = []
    for name in names:
        at = tuple(venue for venue, cases in AT.items() if name in cases)
        words = f"data: {name.replace('_', ' ')}"
        found.append(Case(words, data(next(cases[name] for cases in AT.values() if name in cases)), at=at, settings=QUICK))
    return found


CASES = (
    *_of_data(),
    Case("data: slow consumer", slow_consumer, settings=QUICK),
    *(
        Case(f"model {words}", model(fault), settings={"judgment": ASKS}, model=True)
        for words, fault in (("hangs", "silent"), ("answers garbage", "garbage"), ("breaks off", "broken"), ("gone", "gone"))
    ),
    Case("disk full", unwritable("max_page_count = 1", "max_page_count = 1000000")),
    Case("session's file read-only", unwritable("query_only = 1", "query_only = 0")),
    Case("engine stands still 3 s", engine_stands_still),
)
