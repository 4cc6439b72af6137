"""Hours of accelerated market with faults at both venues all the time, trading armed: nothing grows, and all of it replays.

    python -m tests.bench.hours [--hours 5] [--speed 12] [--seed 1] [--venue binance] [--every 60] [--out FILE.json]

The venue's process makes the market, so many times as fast as real time; the engine is this process's, with collectors, core,
recording and order path as they always are. It trades on `--venue`, by the rules, and watches the other one. Every `--every`
seconds of market (on average; the schedule is the seed's) a fault is switched on at one of them: of market data, of orders'
requests and replies, of the account's stream, of connections, funding and prices.

What is judged, all after an hour of market: each of `MEASURES` rises from one tenth of the samples to the next, by medians, by
no more an hour of market than is allowed there; the journal's bytes an hour are the same in both halves; and each list in the
core's state is no longer than its limit, or without one in the second half than in the first. At the end the ledger is the
venue's account to the last digit, every hash of the session is right, and its replay gives the same outputs and the same state.
Ctrl-C ends it in good order with what was measured so far.
"""

import argparse
import asyncio
import gc
import os
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from decimal import Decimal
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import aiohttp
import msgspec

from console.venue_process import Order, VenueProcess
from engine.clock import Clock
from engine.config import BookSettings, Settings, create_aster_config
from engine.core import COMMANDS_REMEMBERED, LIQUIDATIONS_KEPT, judging, state
from engine.errors import SessionError
from engine.events import Action, Event, Trading, TradingChanged
from engine.portfolio import JUDGMENTS_KEPT, SEEN_TRADES
from engine.queue.files import recorded
from engine.queue.session import Session
from engine.replay import Replay
from engine.runtime import Engine
from engine.signal import bars, book, check
from tests.bench.figures import Figure, machine, new_file, resident_mb, table, tell, write
from tests.bench.scene import DIALECTS
from tests.bench.venue import until
from tests.bench.weather import Weather

SYMBOL = "ASTER/USDT:USDT"
SAMPLE_S, LISTS_EVERY = 2.0, 10  # samples: this process holds them, and they are not to be what grows
WARM_UP_H = 1.0  # of market: until what is kept of orders, bars and durations is as long as it becomes
LEAST_SAMPLES = 30  # after it; fewer tell nothing
NOISE = 0.1  # and two more: of a list that has no limit and is now and then a little longer
STEADY = 0.25  # how far the journal's bytes an hour may differ between the halves

# What may rise by how much an hour of market, 0: it is told and not judged. What is kept on purpose is bounded (see LIMITS), so
# these are noise; descriptors are without connections that are idle, and the lag is real, of the traded market's messages.
MEASURES = {
    "engine, MB": 3.0,
    "objects": 2_000.0,
    "descriptors": 1.0,
    "tasks": 1.0,
    "threads": 0.5,
    "idle connections": 0.0,
    "venue, MB": 0.0,
    "lag, ms": 0.0,
}
PARTS = 10  # of the samples, for a rise
ENTRIES_A_MINUTE = 1_000
# How long lists in the core's state may become, by their place in it; those that are not named may not grow by more than NOISE.
LIMITS = {
    "orders": state.FINAL_ORDERS_KEPT + 20,
    "by_venue_id": 2 * (state.FINAL_ORDERS_KEPT + 20),
    "final_orders": state.FINAL_ORDERS_KEPT,
    "causes": state.CAUSES_KEPT + 20,
    "causes.*.changes": state.CHANGES_KEPT,
    "command_ids": COMMANDS_REMEMBERED + 1,
    "portfolio.seen.*": SEEN_TRADES,
    "portfolio.judgments": JUDGMENTS_KEPT,
    "markets.*.liquidations": LIQUIDATIONS_KEPT,
    "markets.*.overlays.*": 2 * state.OVERLAYS_KEPT,  # the older half goes at once
    "markets.*.fill_marks": state.FILL_MARKS_KEPT,
    "markets.*.stance_marks": state.STANCE_MARKS_KEPT,
    "markets.*.verdicts": state.VERDICTS_KEPT,
    "markets.*.verdicts.*.outcomes": state.OUTCOMES_KEPT,
    "markets.*.stops_at": state.STOPS_KEPT,
    "markets.*.scoring": judging.SCORINGS_KEPT,
    "markets.*.bars.*.closed": bars.HISTORY,
    "markets.*.bars.*.partial_ms": bars.HISTORY,
    "markets.*.bars.*.buffer": bars.BUFFER_LIMIT,
    "markets.*.bars.*.klines": bars.KLINE_LIMIT,
    "markets.*.book.buffer": book.BUFFER_LIMIT,
    "markets.*.book.quotes": book.QUOTE_LIMIT,
    "markets.*.book.check.tops": check.KEPT,
    **dict.fromkeys(
        (f"markets.*.book.{side}" for side in ("bids", "asks", "bid_prices", "ask_prices")), 2 * BookSettings().levels
    ),
    "entries": ENTRIES_A_MINUTE,
}


class Sample(NamedTuple):
    """`hours` of market since the start; `values` as MEASURES name them."""

    hours: float
    values: dict[str, float]
    journal_bytes: int
    lists: dict[str, int]  # the longest by place; empty in most samples


class Trend(msgspec.Struct):
    """A measure after the warm-up; `rise` is an hour of market's."""

    name: str
    first: float
    last: float
    least: float
    most: float
    rise: float
    allowed: float
    flat: bool


class Grown(msgspec.Struct):
    """A list that was longer in the second half than in the first."""

    place: str
    first: int
    second: int
    limit: int | None

    @property
    def bounded(self) -> bool:
        return self.second <= (self.limit if self.limit is not None else self.first * (1 + NOISE) + 2)


class Found(msgspec.Struct):
    """All that a run tells; `problems` is empty where every fact held."""

    venue: str
    seed: int
    speed: float
    hours: float = 0.0
    real_s: float = 0.0
    interrupted: bool = False
    faults: dict[str, int] = {}
    counts: dict[str, int] = {}
    trends: list[Trend] = []
    grown: list[Grown] = []
    lists: int = 0
    samples: list[tuple[float, ...]] = []  # hours of market, as MEASURES, the journal's bytes
    journal_mb_an_hour: tuple[float, float] = (0.0, 0.0)  # first half, second half
    wallet: str = ""
    venue_wallet: str = ""
    verified: str = ""
    replayed: str = ""
    problems: list[str] = []


def sizes(value: Any, place: str = "") -> Iterator[tuple[str, int]]:
    """Each container of a tree of structs with its place and length; keys and indexes are `*`."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            yield from sizes(getattr(value, name), f"{place}.{name}" if place else name)
        return
    if not isinstance(value, (dict, list, set, deque)):
        return
    yield place, len(value)
    inner = value.values() if isinstance(value, dict) else value
    for one in inner:
        if not isinstance(one, (msgspec.Struct, dict, list, set, deque)):
            break  # all of them are of one kind
        yield from sizes(one, f"{place}.*")


def longest(engine: Engine) -> dict[str, int]:
    found: dict[str, int] = {}
    for place, length in sizes(engine.state):
        found[place] = max(length, found.get(place, 0))
    return found


def chosen_settings(venue: str, speed: float, folder: Path) -> Settings:
    """The demo's, with positions so small that hours of commission do not use the wallet up. What is a limit on real time
    (how late this machine may be) is as many times longer as time is faster.
    """
    return create_aster_config(
        engine={
            "symbols": [SYMBOL],
            "state_dir": str(folder),
            "venues": sorted(DIALECTS, key=lambda one: one != venue),
            "arm_at_start": "yes",
            "tick_ms": min(int(100 * speed), 1_000),
        },
        book={"stale_after_ms": int(2_000 * speed), "cross_check_s": 30.0},
        judgment={"judge": "rules", "every_bars": 5, "lifetime_bars": 15, "min_confidence": 0.3, "max_risk_score": 1.0},
        strategy={"timeframe": "1s", "sizing": "fixed", "fixed_notional": 50.0, "cooldown_bars": 5},
        risk={
            "max_daily_loss": 1.0,
            "max_drawdown": 1.0,
            "max_orders_per_minute": ENTRIES_A_MINUTE,
            "stop_guard": 0,
            "protect_within_ms": int(2_000 * speed),
            "dead_man_s": 120,
        },
    )


class Watch:
    """One run: the samples and what was seen go wrong."""

    def __init__(self, engine: Engine, venue: VenueProcess) -> None:
        self.engine, self.venue = engine, venue
        self.began_ns, self.began = engine.clock.now_ns(), time.monotonic()
        self.samples: list[Sample] = []
        self.changes: list[str] = []
        engine.listen(self._hear)

    def _hear(self, event: Event) -> None:
        if isinstance(event, TradingChanged):
            self.changes.append(f"trading became {event.trading.value}: {event.reason}")

    @property
    def hours(self) -> float:
        return (self.engine.clock.now_ns() - self.began_ns) / 3.6e12

    def take(self) -> None:
        recorder = self.engine.recorder
        assert recorder is not None
        held, idle = self.engine.state.traded, idle_connections(self.engine)
        descriptors = len(list(Path("/proc/self/fd").iterdir())) - idle if Path("/proc/self/fd").exists() else 0
        lag_ms = held.mean_lag_us / 1000 / self.engine.clock.speed if held is not None else 0.0
        gc.collect()  # what is left is alive: collections of it come every few hours by themselves
        counts = (len(gc.get_objects()), descriptors, len(asyncio.all_tasks()), threading.active_count(), idle)
        figures = (resident_mb(os.getpid()), *map(float, counts), resident_mb(self.venue.pid), lag_ms)
        lists = longest(self.engine) if len(self.samples) % LISTS_EVERY == 0 else {}
        values = dict(zip(MEASURES, figures, strict=True))
        self.samples.append(Sample(self.hours, values, recorder.figures().bytes, lists))

    def judge(self, found: Found) -> None:
        """Rises, lists and the journal, from what was sampled after the warm-up."""
        found.samples = [(one.hours, *one.values.values(), one.journal_bytes) for one in self.samples]
        warm = [one for one in self.samples if one.hours >= WARM_UP_H]
        if len(warm) < LEAST_SAMPLES:
            return
        at = [one.hours for one in warm]
        for name, allowed in MEASURES.items():
            found.trends.append(trend(name, at, [one.values[name] for one in warm], allowed))
        found.problems += [f"{one.name} grows by {one.rise:.2f} an hour" for one in found.trends if not one.flat]
        middle = len(warm) // 2
        halves = warm[:middle], warm[middle:]
        rates = [(half[-1].journal_bytes - half[0].journal_bytes) / (half[-1].hours - half[0].hours) / 1e6 for half in halves]
        found.journal_mb_an_hour = (rates[0], rates[1])
        if abs(rates[1] - rates[0]) > STEADY * rates[0]:
            found.problems.append(f"the journal took {rates[0]:.1f} and then {rates[1]:.1f} MB an hour")
        places = dict.fromkeys(place for one in warm for place in one.lists)
        found.lists = len(places)
        for place in places:
            first, second = (max(one.lists.get(place, 0) for one in half) for half in halves)
            if second > first:
                limit = next((limit for pattern, limit in LIMITS.items() if fnmatch(place, pattern)), None)
                found.grown.append(Grown(place, first, second, limit))
        found.problems += [f"{one.place} grew from {one.first} to {one.second}" for one in found.grown if not one.bounded]


def trend(name: str, hours: list[float], values: list[float], allowed: float) -> Trend:
    """The median of the rises from each of `PARTS` parts (its median) to the next: what grows steadily shows, and one moment in
    which this machine had no time for us, with a hundred requests that waited, does not.
    """
    parts = [range(n * len(values) // PARTS, (n + 1) * len(values) // PARTS) for n in range(PARTS)]
    middles = [(median(hours[i] for i in part), median(values[i] for i in part)) for part in parts]
    rise = median((after - before) / (then - at) for (at, before), (then, after) in pairwise(middles))
    flat = not allowed or rise <= allowed
    return Trend(name, middles[0][1], middles[-1][1], min(values), max(values), rise, allowed, flat)


def idle_connections(engine: Engine) -> int:
    """Kept open for the next request. After a moment without answers there may be a hundred of them to a host, and they stay as
    long as requests come often, which they do where time is fast.
    """
    sessions = [source.rest._session._session for source in engine.sources.values()]
    sessions += [engine._account._session] if engine._account is not None and engine._account._session is not None else []
    return sum(len(kept) for one in sessions if one.connector is not None for kept in one.connector._conns.values())


async def run(chosen: argparse.Namespace, folder: Path) -> Found:
    found = Found(chosen.venue, chosen.seed, chosen.speed)
    order = Order(Clock.start(chosen.speed), "bench", "bench-secret", chosen.seed, "10000", passphrase="bench-phrase")
    settings = chosen_settings(chosen.venue, chosen.speed, folder)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, stop.set)
    async with VenueProcess(order, folder / "venue.log") as venue, aiohttp.ClientSession() as http:
        async with Engine(settings, order.clock, venue.endpoints, venue.credentials) as engine:
            await until(lambda: not engine.view().ready and all(h.book.trusted for h in engine.state.markets.values()), 60)
            watch, weather = Watch(engine, venue), Weather(venue, http, chosen.seed, chosen.every)
            blowing = asyncio.create_task(weather.blow())
            while watch.hours < chosen.hours and not stop.is_set() and not blowing.done():
                watch.take()
                if sys.stderr.isatty() or len(watch.samples) % 30 == 1:
                    progress(watch, weather)
                try:
                    await asyncio.wait_for(stop.wait(), SAMPLE_S)
                except TimeoutError:
                    continue
            watch.take()
            found.interrupted = stop.is_set()
            loop.remove_signal_handler(signal.SIGINT)  # a second one ends it at once
            blowing.cancel()
            (ended,) = await asyncio.gather(blowing, return_exceptions=True)
            if not isinstance(ended, asyncio.CancelledError):
                found.problems.append(f"the faults ended: {ended!r}")
            for name in DIALECTS:
                await weather.switch(name, {"name": "clear"})
            found.hours, found.real_s, found.faults = watch.hours, time.monotonic() - watch.began, dict(weather.tried)
            watch.judge(found)
            found.problems += watch.changes
            if engine.state.trading is not Trading.ARMED:
                found.problems.append(f"trading was {engine.state.trading.value} at the end: {engine.state.trading_reason}")
            await until(lambda: engine.state.private_up and engine.state.reconciled, 60)
            summary = await engine.settle(Action.SHUTDOWN, "the end of the hours")
            async with http.get(f"{venue.said.rest}/sim/state") as reply:
                there = await reply.json()
        agreement = summary.agreement
        found.wallet, found.venue_wallet = agreement.wallet, (there if chosen.venue == "binance" else there["okx"])["wallet"]
        found.counts = summary.counts | {"restarts": summary.restarts, "commission_mismatches": agreement.commission_mismatches}
        if not agreement.compared or not agreement.equal or Decimal(found.wallet) != Decimal(found.venue_wallet):
            found.problems.append(f"the ledger differs: {agreement}, wallet there {found.venue_wallet}")
        if summary.counts["faults"]:
            found.problems.append("an internal check failed")
        if summary.recording is None or summary.recording.problem or summary.recording.lost:
            found.problems.append(f"the recording: {summary.recording}")
    return found


def progress(watch: Watch, weather: Weather) -> None:
    newest, counters = watch.samples[-1], watch.engine.state.counters
    words = f"{newest.hours:.2f} h of market, {weather.tried.total()} faults, {counters.fills} fills, "
    words += ", ".join(f"{name} {value:,.0f}" for name, value in newest.values.items())
    print(
        f"\r\x1b[K{words}" if sys.stderr.isatty() else words, end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True
    )


def replayed(found: Found, folder: Path) -> None:
    """The session's hashes, and its inputs through a fresh core."""
    began = time.monotonic()
    try:
        (path,) = recorded(folder / "demo")
        with Session(path) as session:
            whole = session.verify()
            found.verified = f"{whole.chunks:,} chunks, {whole.inputs:,} inputs, {whole.outputs:,} outputs; head {whole.head}"
            if not whole.closed:
                found.problems.append("the session was not closed")
            began = time.monotonic()
            outcome = Replay(session).run()
    except SessionError as problem:
        found.problems.append(str(problem))
        return
    seconds = time.monotonic() - began
    found.replayed = f"{outcome.inputs:,} inputs gave the same {outcome.outputs:,} outputs and the same state, in {seconds:.0f} s"
    if outcome.difference is not None:
        found.replayed = "different"
        found.problems.append(f"the replay differs: {outcome.difference}")


def show(found: Found) -> None:
    counts, faults = found.counts, sum(found.faults.values())
    took = f"{found.real_s / 60:.1f} min at speed {found.speed:g}, seed {found.seed}"
    print(f"\n{found.hours:.2f} hours of market in {took}; {machine()}")
    print(f"{faults} faults of {len(found.faults)} kinds at both venues, trading on {found.venue}: ", end="")
    names = ("orders", "fills", "unknown", "rejects", "disconnects", "restarts", "clock_jumps", "differences", "adopted")
    print(", ".join(f"{name} {counts.get(name, 0):,}" for name in names))
    if found.trends:
        head = ("after the warm-up", "first", "last", "least", "most", "rise an hour", "allowed", "flat")
        table(head, [(*msgspec.structs.astuple(one)[:6], one.allowed or "-", _yes(one)) for one in found.trends])
        first, second = found.journal_mb_an_hour
        print(f"journal: {first:.2f} MB an hour of market in the first half, {second:.2f} in the second")
        print(f"lists in the core's state: {found.lists}; longer in the second half than in the first: {len(found.grown)}")
        head = ("list", "first half", "second half", "limit")
        table(head, [(*msgspec.structs.astuple(one)[:3], one.limit or "-") for one in found.grown])
    else:
        print("  a run too short to tell what grows")
    print(f"ledger: wallet {found.wallet}, the venue's {found.venue_wallet}")
    print(f"verified: {found.verified}\nreplayed: {found.replayed}")
    for problem in found.problems:
        print(f"  NOT SO: {problem}")


def figures(found: Found) -> None:
    tell(Figure("hours of market with faults", found.hours, "h"))
    tell(Figure("faults meanwhile", sum(found.faults.values()), "faults"))
    for one in found.trends:
        name, _, unit = one.name.partition(", ")
        tell(Figure(f"{name}, more an hour of market", one.rise, unit or name))
    if found.trends:
        tell(Figure("journal an hour of market", found.journal_mb_an_hour[1], "MB"))
    tell(Figure("facts that did not hold", len(found.problems), "facts"))


def _yes(one: Trend) -> str:
    return "-" if not one.allowed else "yes" if one.flat else "NO"


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hours", type=float, default=5.0, metavar="N", help="of market (default 5)")
    parser.add_argument("--speed", type=float, default=12.0, metavar="N", help="of the clock (default 12: 5 hours in 25 minutes)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the market and of the faults (default 1)")
    parser.add_argument("--venue", choices=tuple(DIALECTS), default="binance", help="where it trades; faults come at both")
    parser.add_argument("--every", type=float, default=60.0, metavar="N", help="seconds of market between faults (default 60)")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="an empty one that keeps the session and the venue's log")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a new file for the JSON")
    return parser


def main() -> int:
    parser = make_parser()
    chosen = parser.parse_args()
    file = new_file(parser, chosen.out)
    with tempfile.TemporaryDirectory() as name:
        folder = chosen.folder or Path(name)
        found = asyncio.run(run(chosen, folder))
        replayed(found, folder)
    write(file, found)
    show(found)
    figures(found)
    if found.problems:
        print(f"did not hold: {'; '.join(found.problems)}", file=sys.stderr)
    return int(bool(found.problems))


if __name__ == "__main__":
    sys.exit(main())
