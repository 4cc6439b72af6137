"""Every fault of an order's life at the venues, one after the other: what was lost, doubled or bare, and what came of it.

    python -m tests.bench.faults [--venue binance|okx|both] [--only WORD]

The venue is a process of its own and the engine trades there through ccxt by an operator's tickets; where the engine is killed
(SIGKILL), it is a process too, and a second one takes over. Each case: a fault, orders into it, quiet, then an entry as a proof
that trading resumed by itself, then a flatten. Survived means: nothing lost (the venue's orders, position and wallet are the
ledger's), nothing doubled (as many orders of each client id at the venue as were sent: one), no position without its stop for
longer than `risk.protect_within_ms` and the time that a close takes, and the flatten left the venue flat.
"""

import argparse
import asyncio
import contextlib
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from console.engine_process import EngineProcess
from console.engine_process import Order as EngineOrder
from console.hotline import Hotline
from console.venue_process import Order, VenueProcess
from engine.clock import Clock
from engine.config import Settings, create_aster_config
from engine.core.state import MarketState
from engine.events import Action, Event, OrderKind, OrderState, Purpose, SendOrder, Side, Ticket, TimeInForce, Trading
from engine.runtime import Engine
from engine.views import Ask
from tests.bench.figures import Figure, machine, table, tell

PATIENCE_S = 40.0
SYMBOL = "ASTER/USDT:USDT"
STEPS, FAR = 100, 60  # of an order; ticks from the market where one rests
BARE_S = 6.0


class Dialect(NamedTuple):
    """The venue's words for what a fault names."""

    place: str
    conditional: str
    cancel: str
    report: str  # the kind of a private stream's report on an order
    symbol: str


DIALECTS = {
    "binance": Dialect(
        "POST /fapi/v1/order", "POST /fapi/v1/algoOrder", "DELETE /fapi/v1/order", "ORDER_TRADE_UPDATE", "ASTERUSDT"
    ),
    "okx": Dialect(
        "POST /api/v5/trade/order",
        "POST /api/v5/trade/order-algo",
        "POST /api/v5/trade/cancel-order",
        "orders",
        "ASTER-USDT-SWAP",
    ),
}


class Scene:
    """One venue with one engine on it."""

    def __init__(self, venue: VenueProcess, name: str, folder: Path, http: aiohttp.ClientSession) -> None:
        self.venue, self.name, self.http, self.words = venue, name, http, DIALECTS[name]
        others = [other for other in DIALECTS if other != name]
        self.settings: Settings = create_aster_config(
            engine={"symbols": [SYMBOL], "state_dir": str(folder), "venues": [name, *others], "arm_at_start": "yes"},
            judgment={"judge": "rules", "min_confidence": 1.0},
            risk={"max_orders_per_minute": 1000},
        )
        self.sent: list[SendOrder] = []
        self.bare_s = 0.0
        self._bare_since = 0.0
        self.engine: Engine | None = None

    async def fault(self, name: str, **fields: Any) -> None:
        body = {"name": name, "venue": self.name, **fields}
        async with self.http.post(f"{self.venue.said.rest}/sim/fault", json=body) as reply:
            assert reply.status == 200, await reply.text()

    async def there(self) -> Any:
        async with self.http.get(f"{self.venue.said.rest}/sim/state") as reply:
            state = await reply.json()
        return state if self.name == "binance" else state["okx"]

    # --- an engine in this process ---------------------------------------------------------------------------------------

    def journal(self, event: Event, out: list[Event]) -> None:
        self.sent += [one for one in out if isinstance(one, SendOrder)]
        held = self.held
        bare = bool(held is not None and held.unprotected_since)
        now = time.monotonic()
        if not bare:
            self._bare_since = 0.0
            return
        self._bare_since = self._bare_since or now
        self.bare_s = max(self.bare_s, now - self._bare_since)

    @property
    def running(self) -> Engine:
        assert self.engine is not None
        return self.engine

    @property
    def held(self) -> MarketState | None:
        return self.engine.state.traded if self.engine is not None else None

    async def ready(self) -> None:
        await self.until(lambda: self.held is not None and not self.running.view().ready and self.held.book.trusted, "ready")

    async def until(self, reached: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + within_s
        while not reached():
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            await asyncio.sleep(0.02)

    def ask(self, action: Action, target: str = "", ticket: Ticket | None = None) -> str:
        name = f"f{time.monotonic_ns()}"
        answer = self.running.ask(Ask(name, action, target or self.market, ticket=ticket))
        return "" if answer.accepted else answer.text

    @property
    def market(self) -> str:
        return f"{self.name}:{SYMBOL}"

    def position(self) -> int:
        return self.running.state.portfolio.position(self.market).quantity

    def enter(self) -> str:
        return self.ask(Action.ORDER, ticket=Ticket(Side.BUY, OrderKind.MARKET, STEPS))

    def rest(self) -> str:
        held = self.held
        assert held is not None
        price = held.book.best_bid - FAR
        return self.ask(Action.ORDER, ticket=Ticket(Side.BUY, OrderKind.LIMIT, STEPS, price, time_in_force=TimeInForce.GTX))

    def quiet(self) -> bool:
        """Nothing is under way or unknown, and what is held is protected."""
        held, state = self.held, self.running.state
        alive = state.live_orders()
        still = all(order.state is OrderState.WORKING for order in alive)
        return held is not None and still and not held.unprotected_since and state.reconciled and state.private_up


Play = Callable[[Scene], Awaitable[None]]


class Case(NamedTuple):
    """`kills` plays before the engine of this process starts, with one that is a process of its own and is killed."""

    name: str
    play: Play
    kills: bool = False


class Doomed:
    """An engine in a process of its own, steered over its socket, seen at the venue only."""

    def __init__(self, scene: Scene, process: EngineProcess, line: Hotline) -> None:
        self.scene, self.process, self.line = scene, process, line

    def ask(self, action: Action, target: str = "", ticket: Ticket | None = None) -> None:
        assert self.line.send(Ask(f"d{time.monotonic_ns()}", action, target or self.scene.market, ticket=ticket))

    async def venue(self, reached: Callable[[Any], object], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not reached(there := await self.scene.there()):
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            await asyncio.sleep(0.02)
        return there

    async def trade(self, ticket: Ticket, reached: Callable[[Any], object]) -> Any:
        """Ask until it is so: the engine may not be ready for the first requests."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self.ask(Action.ORDER, ticket=ticket)
            for _ in range(40):
                there = await self.scene.there()
                if reached(there):
                    return there
                await asyncio.sleep(0.05)
        raise TimeoutError("the order of an engine that is to be killed")


def killed(state: str) -> Play:
    """SIGKILL while an order is in that state; what it left is for the next engine."""

    async def play(scene: Scene) -> None:
        venue = scene.venue
        order = EngineOrder(scene.settings, venue.order.clock, venue.endpoints, venue.credentials)
        process = await EngineProcess.start(order)
        try:
            line = await asyncio.to_thread(Hotline, process.socket)
            doomed = Doomed(scene, process, line)
            await _doom(doomed, state)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            await process.stopped(5.0)
        line.close()
        await asyncio.sleep(0.8)  # what was on its way to the venue arrives

    return play


BUY = Ticket(Side.BUY, OrderKind.MARKET, STEPS)


async def _doom(doomed: Doomed, state: str) -> None:
    scene, words = doomed.scene, doomed.scene.words
    low = Ticket(Side.BUY, OrderKind.LIMIT, STEPS, 1, time_in_force=TimeInForce.GTX)
    if state in ("working", "cancelling", "halting"):
        price = int(float((await scene.there())["marks"][words.symbol]) * 10_000) - FAR
        low = Ticket(Side.BUY, OrderKind.LIMIT, STEPS, price, time_in_force=TimeInForce.GTX)
        there = await doomed.trade(low, lambda there: there["open_orders"])
        if state == "cancelling":
            await scene.fault("delay_execution", path=words.cancel, ms=500)
            doomed.ask(Action.CANCEL, there["open_orders"][0])
        if state == "halting":
            doomed.ask(Action.HALT)
        await asyncio.sleep(0.05 if state != "working" else 0.0)
        return
    if state == "sent":
        await doomed.trade(BUY, lambda there: there["open_conditionals"])
        await scene.fault("delay_execution", path=words.place, ms=500)
        doomed.ask(Action.ORDER, ticket=BUY)
        await asyncio.sleep(0.1)
        return
    if state == "bare":
        await scene.fault("delay_execution", path=words.conditional, ms=500)
        await doomed.trade(BUY, lambda there: there["positions"])
        return
    await doomed.trade(BUY, lambda there: there["positions"] and there["open_conditionals"])
    if state == "closing":
        await scene.fault("delay_execution", path=words.place, ms=500)
        doomed.ask(Action.CLOSE)
        await asyncio.sleep(0.1)


async def _entered(scene: Scene) -> None:
    """An entry that the venue may or may not have: whatever becomes of it, quiet must come."""
    problem = scene.enter()
    assert not problem, problem
    await asyncio.sleep(0.3)
    await scene.until(scene.quiet, "quiet after the entry")


def reply(name: str, what: str = "place", **fields: Any) -> Play:
    """A fault of the next reply to such a request."""

    async def play(scene: Scene) -> None:
        await scene.fault(name, path=getattr(scene.words, what), **fields)
        if what == "cancel":
            problem = scene.rest()
            assert not problem, problem
            await scene.until(scene.quiet, "the resting order")
            (order,) = [one for one in scene.running.state.live_orders() if one.purpose is Purpose.ENTRY]
            scene.ask(Action.CANCEL, order.client_id)
            await scene.until(lambda: order.state.final, "the end of the order")
        else:
            await _entered(scene)

    return play


def stream(name: str, **fields: Any) -> Play:
    """A fault of the account's own reports on orders."""

    async def play(scene: Scene) -> None:
        await scene.fault(name, kind=scene.words.report, **fields)
        await _entered(scene)

    return play


async def race(scene: Scene) -> None:
    """A cancel and a fill at the same time."""
    problem = scene.rest()
    assert not problem, problem
    await scene.until(scene.quiet, "the resting order")
    (order,) = [one for one in scene.running.state.live_orders() if one.purpose is Purpose.ENTRY]
    await scene.fault("delay_execution", path=scene.words.cancel, ms=300)
    scene.ask(Action.CANCEL, order.client_id)
    await scene.fault(
        "shock", side="SELL", quantity=3_000_000, symbol="ASTERUSDT" if scene.name == "binance" else "ASTER-USDT-SWAP"
    )
    await scene.until(lambda: order.state.final, "the end of the order")
    await scene.until(scene.quiet, "quiet after the race")


async def clock_jump(scene: Scene) -> None:
    await scene.fault("clock_offset", ms=8_000)
    scene.enter()
    await asyncio.sleep(0.5)
    await scene.fault("clock_offset", ms=0)
    await scene.until(scene.quiet, "quiet after the jump")


async def key_expires(scene: Scene) -> None:
    await _entered(scene)
    lost = scene.running.state.counters.disconnects
    await scene.fault(
        "expire_listen_key" if scene.name == "binance" else "cut", **({} if scene.name == "binance" else {"route": "private"})
    )
    await scene.until(lambda: scene.running.state.counters.disconnects > lost, "the loss of the stream")
    await scene.until(scene.quiet, "the stream again")


def cut(state: str) -> Play:
    """Every connection is cut while an order is in that state."""

    async def play(scene: Scene) -> None:
        if state == "sent":
            await scene.fault("delay_execution", path=scene.words.place, ms=400)
            scene.enter()
            await asyncio.sleep(0.1)
        elif state == "working":
            scene.rest()
            await scene.until(scene.quiet, "the resting order")
        elif state == "held":
            await _entered(scene)
        elif state == "cancelling":
            scene.rest()
            await scene.until(scene.quiet, "the resting order")
            await scene.fault("delay_execution", path=scene.words.cancel, ms=400)
            (order,) = [one for one in scene.running.state.live_orders() if one.purpose is Purpose.ENTRY]
            scene.ask(Action.CANCEL, order.client_id)
        elif state == "closing":
            await _entered(scene)
            await scene.fault("delay_execution", path=scene.words.place, ms=400)
            scene.ask(Action.CLOSE)
            await asyncio.sleep(0.1)
        lost = scene.running.state.counters.disconnects
        await scene.fault("cut", route="all")
        await scene.until(lambda: scene.running.state.counters.disconnects > lost, "the loss of the stream")
        await scene.until(scene.quiet, "quiet after the cut")

    return play


async def outage(scene: Scene) -> None:
    """Connections are refused for two seconds, with a position and a resting order."""
    await _entered(scene)
    scene.rest()
    await scene.until(scene.quiet, "the resting order")
    await scene.fault("refuse")
    await asyncio.sleep(2.0)
    await scene.fault("refuse", on=False)
    await scene.until(scene.quiet, "quiet after the outage")


async def stopped(scene: Scene) -> None:
    """The venue stands still for three seconds."""
    await _entered(scene)
    os.kill(scene.venue.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(3.0)
        scene.ask(Action.CLOSE)
        await asyncio.sleep(0.2)
    finally:
        os.kill(scene.venue.pid, signal.SIGCONT)
    await scene.until(scene.quiet, "quiet after the stop")


FUNDED = {"rate": "0.0005"}


async def funded_in_the_dark(scene: Scene) -> None:
    """Funding is paid while the private stream is away: the ledger learns of it by comparison."""
    await _entered(scene)
    await scene.fault("cut", route="private")
    await scene.fault("funding", **FUNDED)
    await asyncio.sleep(0.2)
    await scene.until(scene.quiet, "quiet after funding")


CASES = (
    Case("ACK lost", reply("lose_ack")),
    Case("ACK late", reply("delay_reply", ms=1500)),
    Case("executed late", reply("delay_execution", ms=1500)),
    Case("empty body", reply("empty_body")),
    Case("429", reply("http", status=429, body='{"code":-1003,"msg":"Too many requests."}', headers={"Retry-After": "1"})),
    Case("418", reply("http", status=418, body='{"code":-1003,"msg":"Banned."}', headers={"Retry-After": "1"})),
    Case("503, executed", reply("http", status=503, executed=True)),
    Case("503, not executed", reply("http", status=503, body="Service Unavailable")),
    Case("504 page, executed", reply("http", status=504, body="<html>Gateway</html>", executed=True)),
    Case("stop's ACK lost", reply("lose_ack", "conditional")),
    Case("stop's 503, not executed", reply("http", "conditional", status=503, body="Service Unavailable")),
    Case("stop refused twice", reply("http", "conditional", status=400, times=2, body='{"code":-1001,"msg":"Internal error."}')),
    Case("cancel's ACK lost", reply("lose_ack", "cancel")),
    Case("cancel's 503", reply("http", "cancel", status=503, body="Service Unavailable")),
    Case("cancel and fill race", race),
    Case("reports twice", stream("duplicate", times=4)),
    Case("reports swapped", stream("reorder")),
    Case("reports lost", stream("drop", times=2)),
    Case("report cut off", stream("malformed")),
    Case("venue's clock jumps 8 s", clock_jump),
    Case("listen key expires", key_expires),
    Case("funding unheard", funded_in_the_dark),
    *(Case(f"cut while {state}", cut(state)) for state in ("sent", "working", "held", "cancelling", "closing")),
    *(
        Case(f"SIGKILL while {state}", killed(state), True)
        for state in ("sent", "working", "bare", "held", "cancelling", "closing", "halting")
    ),
    Case("outage of 2 s", outage),
    Case("venue stands still 3 s", stopped),
)


class Row(NamedTuple):
    case: str
    venue: str
    orders: int
    problems: tuple[str, ...]
    bare_ms: int
    resumed_s: float
    flat_s: float
    seconds: float


async def tried(case: Case, name: str) -> Row:
    """One case at one venue, from nothing to flat."""
    problems: list[str] = []
    began = time.monotonic()
    times = [0.0, 0.0]
    order = Order(Clock.start(), "bench", "bench-secret", 7, "10000", passphrase="bench-phrase")
    async with contextlib.AsyncExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        venue, http = (
            await stack.enter_async_context(VenueProcess(order)),
            await stack.enter_async_context(aiohttp.ClientSession()),
        )
        scene = Scene(venue, name, Path(folder), http)
        made = Engine(scene.settings, order.clock, venue.endpoints, venue.credentials, journal=scene.journal)
        try:
            if case.kills:
                await case.play(scene)
            scene.engine = await stack.enter_async_context(made)
            await scene.ready()
            if case.kills:
                await scene.until(scene.quiet, "quiet after the start")
                assert scene.position() <= 2 * STEPS, f"a position of {scene.position()}: an order was doubled"
            else:
                await case.play(scene)
            for number, step in enumerate((_resumed, _flat)):
                at = time.monotonic()
                await step(scene)
                times[number] = time.monotonic() - at
        except (TimeoutError, AssertionError) as problem:
            problems.append(f"never: {problem}")
        problems += await _judged(scene, await made.settle(Action.HALT, "the bench"))
    bare_ms, seconds = int(scene.bare_s * 1000), time.monotonic() - began
    return Row(case.name, name, len(scene.sent), tuple(problems), bare_ms, *times, seconds)


async def _resumed(scene: Scene) -> None:
    """An entry is accepted again, by itself, and fills."""
    if scene.running.state.trading is Trading.HALTED:  # on purpose, and for good until somebody releases it
        assert not scene.ask(Action.RELEASE) and not scene.ask(Action.ARM)

    def filled() -> bool:
        """Asks again where the last one was refused, by us or by a venue whose book is empty for a moment."""
        entries = [one.client_id for one in scene.sent[before:] if one.purpose is Purpose.ENTRY]
        newest = scene.running.state.orders[entries[-1]] if entries else None
        if newest is None or (newest.state.final and newest.state is not OrderState.FILLED):
            scene.enter()
        return newest is not None and newest.state is OrderState.FILLED

    before = len(scene.sent)
    await scene.until(filled, "an entry after it, by itself")
    await scene.until(scene.quiet, "protection of the entry after it")


async def _flat(scene: Scene) -> None:
    scene.ask(Action.FLATTEN)
    await scene.until(lambda: not scene.position() and not scene.running.state.live_orders(), "flat")
    deadline = time.monotonic() + PATIENCE_S
    while (there := await scene.there())["positions"] or there["open_orders"] or there["open_conditionals"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the venue is not flat: {there['positions']} {there['open_orders']} {there['open_conditionals']}")
        await asyncio.sleep(0.02)


async def _judged(scene: Scene, summary: Any) -> list[str]:
    found = []
    agreement = summary.agreement
    if not agreement.compared or agreement.wallet != agreement.venue_wallet or agreement.commission_mismatches:
        found.append(f"the ledger differs: {agreement}")
    names = [order.client_id for order in scene.sent]
    if len(names) != len(set(names)):
        found.append("an order was sent twice")
    if scene.bare_s > BARE_S:
        found.append(f"a position was bare for {scene.bare_s:.1f} s")
    if scene.running.state.counters.faults:
        found.append("an internal check failed")
    there = await scene.there()
    if there["wallet"] != f"{scene.running.state.portfolio.wallet.normalize():f}":
        found.append(f"wallet {scene.running.state.portfolio.wallet}, the venue's {there['wallet']}")
    return found


def show(rows: list[Row]) -> None:
    """The table, and what did not survive in words."""
    table(
        ("fault", "venue", "survived", "orders", "bare ms", "resumed s", "flat s", "in all s"),
        [
            (
                row.case,
                row.venue,
                "no" if row.problems else "yes",
                row.orders,
                row.bare_ms,
                row.resumed_s,
                row.flat_s,
                row.seconds,
            )
            for row in rows
        ],
    )
    for row in rows:
        for problem in row.problems:
            print(f"  {row.case} at {row.venue}: {problem}")
    survived = sum(not row.problems for row in rows)
    figures(rows, survived)
    print(f"  {survived} of {len(rows)} survived; {machine()}")


def figures(rows: list[Row], survived: int) -> None:
    found = [problem for row in rows for problem in row.problems]
    tell(Figure(f"faults survived, of {len(rows)} tried", survived, "faults"))
    tell(Figure("ledgers that differed from the venue's", sum("ledger" in one or "wallet" in one for one in found), "faults"))
    tell(Figure("orders doubled", sum("twice" in one or "doubled" in one for one in found), "orders"))
    for name, values in (("to an entry again", [row.resumed_s for row in rows]), ("to flat", [row.flat_s for row in rows])):
        tell(Figure(f"from a fault {name}, median", statistics.median(values), "s"))
    tell(Figure("longest time that a position was bare", max(row.bare_ms for row in rows), "ms"))


async def run(venues: list[str], only: str) -> list[Row]:
    rows = []
    for name in venues:
        for case in (one for one in CASES if only in one.name):
            rows.append(await tried(case, name))
            print(f"  {rows[-1].case} at {name}: {'; '.join(rows[-1].problems) or 'survived'}", file=sys.stderr, flush=True)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description="Faults of an order's life, at each venue.")
    parser.add_argument("--venue", choices=(*DIALECTS, "both"), default="both")
    parser.add_argument("--only", default="", help="cases whose name holds this")
    chosen = parser.parse_args()
    rows = asyncio.run(run(list(DIALECTS) if chosen.venue == "both" else [chosen.venue], chosen.only))
    show(rows)
    if failed := [f"{row.case} at {row.venue}" for row in rows if row.problems]:
        print(f"not survived: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
