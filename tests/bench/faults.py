"""Every fault at the venues and around them, one after the other: what was lost, doubled or bare, and what came of it.

    python -m tests.bench.faults [--venue binance|okx|both] [--only WORD] [--quick] [--out FILE.json]

The venue is a process of its own and the engine trades there through ccxt by an operator's tickets; where the engine is killed
(SIGKILL) or loses its console, it is a process too, and a second one takes over. Each case, from nothing to flat:

1. the fault, with orders into it; then everything is trusted again by itself, and the venue's orders and position are ours;
2. an entry is accepted, fills and has its stop, as a proof that trading resumed by itself;
3. the fault again, and in the middle of it the kill key twice (where the engine was killed: `barter-tui kill --flatten`,
   with nobody else alive): halted, every order cancelled, flat, and the venue read back.

Survived means: nothing lost, nothing doubled (no client id was sent twice, and the position there is that of the ledger), no
entry on a book that was not trusted, no position without its stop for longer than `risk.protect_within_ms` and the time that a
close takes, the wallet the venue's to the last digit, and the kill left the venue flat. Ctrl-C ends it with what was measured.
"""

import argparse
import asyncio
import contextlib
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from console.venue_process import Order, VenueProcess
from engine.clock import Clock
from engine.events import Action, OrderState, Purpose, Trading
from engine.runtime import Engine
from tests.bench import inner_faults, order_faults
from tests.bench.figures import Figure, machine, new_file, table, tell, write
from tests.bench.scene import DIALECTS, PATIENCE_S, STEPS, Case, Scene
from tests.ollama_standin import standing

BARE_S = 6.0
CASES = (*order_faults.CASES, *inner_faults.CASES)
QUICK = ("ACK lost", "cut while held", "data: depth gap")


class Row(msgspec.Struct):
    """One case at one venue. Seconds are real: from the fault to trust (0: it was never lost), from there to an entry that is
    filled and protected, from the kill's request to flat.
    """

    case: str
    venue: str
    problems: list[str] = []
    orders: int = 0
    lost: int = 0
    doubled: int = 0
    bare_ms: int = 0
    trusted_s: float = 0.0
    resumed_s: float = 0.0
    flat_s: float = 0.0
    seconds: float = 0.0


class Sum(msgspec.Struct):
    """A venue's cases together; of times the median and the longest."""

    venue: str
    tried: int
    survived: int
    lost: int
    doubled: int
    bare_ms: int
    trusted_s: tuple[float, float]
    resumed_s: tuple[float, float]
    flat_s: tuple[float, float]


class Matrix(msgspec.Struct):
    """What `--out` writes."""

    machine: str
    sums: list[Sum]
    rows: list[Row]


async def tried(case: Case, name: str) -> Row:
    """One case at one venue, from nothing to flat."""
    row, began = Row(case.name, name), time.monotonic()
    order = Order(Clock.start(), "bench", "bench-secret", 7, "10000", passphrase="bench-phrase")
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        venue = await stack.enter_async_context(VenueProcess(order, folder / "venue.log"))
        http = await stack.enter_async_context(aiohttp.ClientSession())
        scene = Scene(venue, name, folder / "first", http, case.settings)
        await stack.enter_async_context(scene.left)
        if case.model:
            await stack.enter_async_context(scene.model_server)
            scene.serve_model(await scene.model_server.enter_async_context(standing(scene.standin)))
        try:
            if case.kills:
                await case.play(scene)
            async with Engine(scene.settings, order.clock, venue.endpoints, venue.credentials, journal=scene.journal) as made:
                scene.engine = made
                try:
                    await _recovered(scene, case, row)
                    await _resumed(scene, row)
                    await (_flat(scene, row) if case.kills else _killed(scene, case, row))
                except (TimeoutError, AssertionError) as problem:
                    row.problems.append(f"never: {problem}")
                await _judged(scene, row, await made.settle(Action.HALT, "the bench"))
            if case.kills:
                await _killed_alone(scene, case, folder / "second", row)
        except (TimeoutError, AssertionError) as problem:
            row.problems.append(f"never: {problem}")
    row.orders, row.bare_ms, row.seconds = len(scene.sent), int(scene.bare.seconds * 1000), time.monotonic() - began
    return row


async def _recovered(scene: Scene, case: Case, row: Row) -> None:
    """The fault, and everything known again."""
    await scene.ready()
    if case.kills:
        await scene.until(scene.quiet, "quiet after the start")
        row.trusted_s = time.monotonic() - scene.ended_at
        row.doubled += max(abs(scene.position()) // STEPS - 2, 0)
    else:
        scene.watching = True
        await case.play(scene)
        await scene.until(lambda: scene.quiet() and scene.trusted(), "trust after the fault")
        scene.watching, row.trusted_s = False, scene.blind.seconds
    row.lost += await scene.differ()
    await scene.fault("clear")


async def _resumed(scene: Scene, row: Row) -> None:
    """An entry is accepted again, by itself, and fills."""
    at = time.monotonic()
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
    row.resumed_s = time.monotonic() - at


async def _killed(scene: Scene, case: Case, row: Row) -> None:
    """The fault again, and the kill key twice in the middle of it."""
    scene.killing = True
    with contextlib.suppress(TimeoutError, AssertionError):  # what it waits for may be what the kill has ended
        async with asyncio.timeout(PATIENCE_S):
            await case.play(scene)
    assert scene.killed_at, "the fault did not come a second time, so the kill was not tried in it"
    await _is_flat(scene)
    row.flat_s = max(scene.flat_at - scene.killed_at, 0.0)


async def _flat(scene: Scene, row: Row) -> None:
    scene.killed_at = time.monotonic()
    scene.ask(Action.FLATTEN)
    await _is_flat(scene)


async def _is_flat(scene: Scene) -> None:
    """Halted, by the engine's word and by the venue's."""
    state = scene.running.state
    await scene.until(
        lambda: state.trading is Trading.HALTED and state.kill is None and not state.live_orders(), "the kill's end"
    )
    scene.flat_at = scene.flat_at or time.monotonic()
    assert not scene.position(), f"a position of {scene.position()} after the kill"
    await _nothing_there(scene)


async def _nothing_there(scene: Scene) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while (there := await scene.there())["positions"] or there["open_orders"] or there["open_conditionals"]:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the venue is not flat: {there['positions']} {there['open_orders']} {there['open_conditionals']}")
        await asyncio.sleep(0.02)


async def _killed_alone(scene: Scene, case: Case, folder: Path, row: Row) -> None:
    """The same death in another state folder; then the command, which has to act by itself."""
    chosen = msgspec.structs.replace(scene.settings.engine, state_dir=str(folder))
    scene.settings = msgspec.structs.replace(scene.settings, engine=chosen)
    scene.killing = True
    await case.play(scene)
    at = time.monotonic()
    environ = {**os.environ, "BARTER_ENGINE_STATE_DIR": str(folder)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console.cli", "kill", "--flatten"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environ,
    )
    saying = asyncio.create_task(process.communicate())
    try:
        await _nothing_there(scene)
        row.flat_s = time.monotonic() - at
    finally:
        said, _ = await saying
        if process.returncode:
            row.problems.append(f"`kill --flatten` ended with {process.returncode}: {said.decode(errors='replace')[-300:]}")


async def _judged(scene: Scene, row: Row, summary: Any) -> None:
    agreement = summary.agreement
    if not agreement.compared or agreement.wallet != agreement.venue_wallet or agreement.commission_mismatches:
        row.problems.append(f"the ledger differs: {agreement}")
    names = [order.client_id for order in scene.sent]
    row.doubled += len(names) - len(set(names))
    if row.doubled:
        row.problems.append("an order was doubled")
    if row.lost:
        row.problems.append(f"{row.lost} orders or positions are not the same here and at the venue")
    if scene.bare.seconds > BARE_S:
        row.problems.append(f"a position was bare for {scene.bare.seconds:.1f} s")
    if scene.blind_entries:
        row.problems.append(f"{scene.blind_entries} entries were sent on a book that was not trusted")
    if scene.crashes or scene.running.state.counters.faults:
        row.problems.append(f"an internal check failed: {'; '.join(scene.crashes)}")
    there = await scene.there()
    if there["wallet"] != f"{scene.running.state.portfolio.wallet.normalize():f}":
        row.problems.append(f"wallet {scene.running.state.portfolio.wallet}, the venue's {there['wallet']}")


def summed(rows: Sequence[Row]) -> list[Sum]:
    found = []
    for venue in dict.fromkeys(row.venue for row in rows):
        own = [row for row in rows if row.venue == venue]
        times = [_times([getattr(row, name) for row in own]) for name in ("trusted_s", "resumed_s", "flat_s")]
        survived = sum(not row.problems for row in own)
        sums = [sum(row.lost for row in own), sum(row.doubled for row in own), max(row.bare_ms for row in own)]
        found.append(Sum(venue, len(own), survived, *sums, *times))
    return found


def _times(values: list[float]) -> tuple[float, float]:
    return statistics.median(values), max(values)


def show(rows: Sequence[Row], sums: Sequence[Sum]) -> None:
    """The tables, and what did not survive in words."""
    head = ("fault", "venue", "survived", "orders", "lost", "doubled", "bare ms", "trusted s", "resumed s", "flat s", "in all s")
    times = ("trusted_s", "resumed_s", "flat_s", "seconds")
    counts = ("orders", "lost", "doubled", "bare_ms")
    cells = [
        (row.case, row.venue, "no" if row.problems else "yes", *(getattr(row, name) for name in (*counts, *times)))
        for row in rows
    ]
    table(head, cells)
    for row in rows:
        for problem in row.problems:
            print(f"  {row.case} at {row.venue}: {problem}")
    print()
    head = ("venue", "tried", "survived", "lost", "doubled", "longest bare ms", "trusted p50", "most s", "resumed p50", "most s")
    table(
        (*head, "flat p50", "most s"),
        [(*msgspec.structs.astuple(one)[:6], *one.trusted_s, *one.resumed_s, *one.flat_s) for one in sums],
    )
    print(f"  {machine()}")


def figures(rows: Sequence[Row]) -> None:
    tell(Figure(f"faults survived, of {len(rows)} tried", sum(not row.problems for row in rows), "faults"))
    tell(
        Figure(
            "ledgers that differed from the venue's", sum(any("wallet" in one for one in row.problems) for row in rows), "faults"
        )
    )
    tell(Figure("orders lost", sum(row.lost for row in rows), "orders"))
    tell(Figure("orders doubled", sum(row.doubled for row in rows), "orders"))
    for words, name in (("to trust", "trusted_s"), ("to an entry again", "resumed_s"), ("to flat by a kill in it", "flat_s")):
        tell(Figure(f"from a fault {words}, median", statistics.median(getattr(row, name) for row in rows), "s"))
    tell(Figure("longest time that a position was bare", max(row.bare_ms for row in rows), "ms"))


async def run(venues: Sequence[str], cases: Sequence[Case], rows: list[Row]) -> None:
    """`rows` is filled as they come: what was measured before an end is kept."""
    for name in venues:
        for case in (one for one in cases if name in (one.at or DIALECTS)):
            rows.append(await tried(case, name))
            print(f"  {rows[-1].case} at {name}: {'; '.join(rows[-1].problems) or 'survived'}", file=sys.stderr, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--venue", choices=(*DIALECTS, "both"), default="both")
    parser.add_argument("--only", default="", metavar="WORD", help="cases whose name holds this")
    parser.add_argument("--quick", action="store_true", help="one case of some kinds")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a new file for the JSON")
    chosen = parser.parse_args()
    cases = [one for one in CASES if chosen.only in one.name and (not chosen.quick or one.name in QUICK)]
    if not cases:
        parser.error(f"--only {chosen.only}: no case has that in its name")
    file, rows = new_file(parser, chosen.out), list[Row]()
    try:
        asyncio.run(run(list(DIALECTS) if chosen.venue == "both" else [chosen.venue], cases, rows))
    except KeyboardInterrupt:
        print(f"cancelled after {len(rows)} cases", file=sys.stderr)
        if not rows:
            return 130
    sums = summed(rows)
    write(file, Matrix(machine(), sums, rows))
    show(rows, sums)
    figures(rows)
    if failed := [f"{row.case} at {row.venue}" for row in rows if row.problems]:
        print(f"not survived: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
