"""`barter-tui drill`: the kill switch, tried for real where nothing can be lost, and timed until the venue confirms it.

Each try takes a small protected position and an entry that rests, flattens, and waits for the report that the core makes of it.
"""

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from console.exits import SIGNALS, Exit
from console.sessions import progress
from engine.config import Settings, state_dir
from engine.core.state import MarketState
from engine.errors import ConfigError
from engine.events import Action, Event, KillReport, Mode, OrderKind, OrderState, Purpose, Side, Ticket
from engine.runtime import Endpoints, Engine
from engine.runtime.stats import Durations
from engine.views import Ask

WITHIN_S = 30.0
BUDGET_S = 120.0  # the venue counts requests by the minute: many tries in a row use that up
FAR = 0.97  # of the best bid: where the entry rests
WORTH = 3.0  # times the venue's least notional
ALLOWED = (Mode.DEMO, Mode.PAPER, Mode.TESTNET)


class Times:
    """Of every try, from the command on."""

    def __init__(self) -> None:
        self.cancelled, self.flat, self.confirmed = Durations(), Durations(), Durations()
        self.problems: list[str] = []


def check(settings: Settings) -> None:
    """Raises ConfigError in live: a drill trades."""
    if settings.engine.mode not in ALLOWED:
        raise ConfigError(
            "engine.mode", settings.engine.mode.value, "a drill opens and closes positions", "--mode demo or testnet"
        )


async def tried(
    engine: Engine, tries: int, done: Callable[[int], None] = lambda number: None, stop: Callable[[], bool] = lambda: False
) -> Times:
    """With an engine that runs and is not traded by its strategy. `done` is told after each try; a try that began is ended before
    `stop` is heeded.
    """
    times, reports = Times(), list[KillReport]()
    end = engine.listen(lambda output: _keep(reports, output))
    try:
        await _until(lambda: _ready(engine) or stop(), "the engine's readiness")
        for number in range(tries):
            try:
                await _until(lambda: stop() or not engine.venue_rests_s, "room in the venue's budget", BUDGET_S)
                if stop():
                    break
                await _once(engine, number, times, reports)
            except TimeoutError as problem:
                times.problems.append(f"try {number + 1}: {problem}")
                await _flat(engine, times)
            done(number + 1)
    finally:
        end()
    return times


async def _flat(engine: Engine, times: Times) -> None:
    """After a try that failed."""
    state = engine.state
    engine.command(Action.FLATTEN, "the drill")
    try:
        await _until(lambda: not state.portfolio.held() and not state.live_orders(), "being flat after it")
    except TimeoutError as problem:
        times.problems.append(str(problem))


def _keep(reports: list[KillReport], output: Event) -> None:
    if isinstance(output, KillReport):
        reports.append(output)


def _ready(engine: Engine) -> bool:
    held = engine.state.traded
    return held is not None and not engine.view().ready and held.book.trusted


async def _once(engine: Engine, number: int, times: Times, reports: list[KillReport]) -> None:
    state, held = engine.state, engine.state.traded
    assert held is not None
    engine.command(Action.RELEASE, "the drill")
    engine.command(Action.ARM, "the drill")
    await _until(lambda: _ask(engine, held, f"drill{number}a", _market(held)), "an entry")
    await _until(lambda: _alive(engine, Purpose.STOP), "the position's stop")
    await _until(lambda: _ask(engine, held, f"drill{number}b", _resting(held)), "an entry that rests")
    await _until(lambda: _alive(engine, Purpose.ENTRY), "its place in the book")
    del reports[:]
    engine.command(Action.FLATTEN, "the drill")
    await _until(lambda: any(report.confirmed_at for report in reports), "the venue's confirmation")
    report = next(one for one in reports if one.confirmed_at)
    speed = engine.clock.speed
    for kept, at in (
        (times.cancelled, report.cancelled_at),
        (times.flat, report.safe_at),
        (times.confirmed, report.confirmed_at),
    ):
        kept.add(int((at - report.asked_at) / speed))
    if state.portfolio.held():
        times.problems.append(f"try {number + 1}: a position is open after it")


def _steps(held: MarketState) -> int:
    instrument = held.instrument
    price = held.book.best_ask * instrument.tick * instrument.step
    return max(int(float(instrument.min_notional) * WORTH / float(price)) + 1, instrument.min_quantity)


def _market(held: MarketState) -> Ticket:
    return Ticket(Side.BUY, OrderKind.MARKET, _steps(held))


def _resting(held: MarketState) -> Ticket:
    return Ticket(Side.BUY, OrderKind.LIMIT, _steps(held) * 2, int(held.book.best_bid * FAR))


def _ask(engine: Engine, held: MarketState, name: str, ticket: Ticket) -> bool:
    """Asked again under another name where it was refused: a book may be stale for a moment."""
    return engine.ask(Ask(f"{name}{time.monotonic_ns()}", Action.ORDER, held.instrument.market, ticket=ticket)).accepted


def _alive(engine: Engine, purpose: Purpose) -> bool:
    return any(order.purpose is purpose and order.state is OrderState.WORKING for order in engine.state.live_orders())


async def _until(reached: Callable[[], object], what: str, within_s: float = 0.0) -> None:
    within_s = within_s or WITHIN_S
    deadline = time.monotonic() + within_s
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come within {within_s:.0f} s")
        await asyncio.sleep(0.01)


def show(times: Times, engine: Engine) -> int:
    """The table on stdout."""
    print(f"{'from the command until':<44}{'n':>6}{'p50 ms':>10}{'p99 ms':>10}")
    rows = (
        ("the cancel's bytes were at the socket", engine.latencies.cancel_to_wire),
        ("no order that adds exposure was left", times.cancelled),
        ("the position was flat and its stop gone", times.flat),
        ("the venue confirmed it", times.confirmed),
    )
    for name, kept in rows:
        found = kept.percentiles()
        print(f"{name:<44}{found.count:>6}{found.p50 / 1000:>10.1f}{found.p99 / 1000:>10.1f}")
    for problem in times.problems:
        print(problem, file=sys.stderr)
    return Exit.VENUE if times.problems else Exit.OK


def quiet(settings: Settings, folder: Path) -> Settings:
    """The same without its strategy's own trades, in a folder that is thrown away."""
    replaced = msgspec.structs.replace
    engine = replaced(settings.engine, state_dir=str(folder), symbols=settings.engine.symbols[:1], arm_at_start="no")
    judgment = replaced(settings.judgment, judge="rules", min_confidence=1.0)
    risk = replaced(settings.risk, max_orders_per_minute=100_000, duplicate_window_s=0.0, max_collar_bps=1_000.0)
    return replaced(settings, engine=engine, judgment=judgment, risk=risk)


async def run(settings: Settings, order: object, tries: int) -> int:
    """`order`: a venue of ours to start, or where the real test network is. Raises BarterError."""
    from console.launch import Real
    from console.venue_process import Order, VenueProcess
    from engine.places import ours

    with tempfile.TemporaryDirectory() as name:
        chosen = quiet(settings, Path(name))
        state_dir(chosen).mkdir(parents=True)
        if isinstance(order, Real):
            return await _with(Engine(chosen, order.clock, order.endpoints, order.credentials), tries)
        assert isinstance(order, Order)
        async with VenueProcess(order) as venue:
            places: Endpoints = ours(chosen, venue.said.rest, venue.said.ws)
            return await _with(Engine(chosen, order.clock, places, venue.credentials), tries)


async def _with(engine: Engine, tries: int) -> int:
    stopped: list[signal.Signals] = []
    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stopped.append, number)
    async with engine:
        print(f"{tries} drills on {engine.settings.engine.venues[0]} in {engine.settings.engine.mode.value}", flush=True)
        with progress(tries, "drilling") as done:
            times = await tried(engine, tries, done, lambda: bool(stopped))
        code = show(times, engine)
    if stopped and times.confirmed.count < tries:
        left = "a position is open" if engine.state.portfolio.held() else "the account is flat"
        print(f"Stopped after {times.confirmed.count} of {tries} drills; {left}.", file=sys.stderr)
        return SIGNALS[stopped[0]]
    return code
