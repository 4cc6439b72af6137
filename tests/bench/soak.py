"""The venue's process plays a recording in a loop, so fast that 10,000 messages a second come; the engine lives with it.

    python -m tests.bench.soak [--seconds 60] [--rate 10000] [--samples]

The bench's process is the engine's: collectors, core and order path as they always are, trading armed, through sockets.
Facts: no message is lost between the venue's sockets and the core, every gap counter is 0, and memory is flat after the warm-up
(in runs of 45 s and more). The journal of the engine is used to measure how old news is when it is read.
"""

import argparse
import asyncio
import os
import tempfile
import time
from array import array
from pathlib import Path
from typing import NamedTuple

import aiohttp
import msgspec

from console.venue_process import VenueProcess
from engine.events import Action, Event, Quote, Trust, TrustChanged
from engine.runtime import Engine
from engine.runtime.summary import dropped
from tests.bench import venue as bench
from tests.bench.figures import Figure, cpu_seconds, machine, percentiles_us, resident_mb, slope_a_minute, table, tell
from tests.bench.recording import MARKET, SYMBOL, Recording, find, frames

WARM_UP_S, FLAT_FROM_S = 15.0, 45.0
MB_A_MINUTE = 2.0
AGES_KEPT = 1 << 19
HEADROOM = 1.03  # so that the average lies above the rate that was asked for


class Watch:
    """The engine's journal: how old each quote is when it is read, and when the book lost its trust. Its memory never grows."""

    def __init__(self) -> None:
        self.ages = array("q", bytes(8 * AGES_KEPT))
        self.quotes = 0
        self.distrust: list[str] = []

    def __call__(self, event: Event, out: list[Event]) -> None:
        if type(event) is Quote:
            self.ages[self.quotes % AGES_KEPT] = event.at - event.venue_ms * 1_000_000
            self.quotes += 1
        elif out:
            for told in out:
                if isinstance(told, TrustChanged) and told.trust is Trust.STALE:
                    self.distrust.append(told.reason)

    def newest(self) -> "array[int]":
        return self.ages[: min(self.quotes, AGES_KEPT)]


class Samples:
    """One line a second about the engine's and the venue's process."""

    def __init__(self, engine: Engine, venue: VenueProcess) -> None:
        self.engine, self.venue = engine, venue
        self.rows: list[tuple[float, int, float, float, float, float]] = []
        self.began = self._last = (time.monotonic(), engine.state.counters.events, self._cpu(), self._venue_cpu())

    def take(self) -> None:
        now = (time.monotonic(), self.engine.state.counters.events, self._cpu(), self._venue_cpu())
        passed = now[0] - self._last[0]
        rate, ours, theirs = (round((now[n] - self._last[n]) / passed * f) for n, f in ((1, 1), (2, 100), (3, 100)))
        memory, their_memory = resident_mb(os.getpid()), resident_mb(self.venue.pid)
        self.rows.append((now[0] - self.began[0], rate, ours, theirs, memory, their_memory))
        self._last = now

    def slope(self) -> tuple[float, float]:
        """MB a minute after the warm-up, the engine's and the venue's."""
        warm = [row for row in self.rows if row[0] >= WARM_UP_S]
        at = [row[0] for row in warm]
        return slope_a_minute(at, [row[4] for row in warm]), slope_a_minute(at, [row[5] for row in warm])

    def shares(self) -> tuple[float, float]:
        passed = self._last[0] - self.began[0]
        return (self._last[2] - self.began[2]) / passed, (self._last[3] - self.began[3]) / passed

    @staticmethod
    def _cpu() -> float:
        return time.process_time()

    def _venue_cpu(self) -> float:
        return cpu_seconds(self.venue.pid)


class Load(NamedTuple):
    """What is played: the clock's speed, the frames of a pass, and how long its quotes were under way when it was recorded."""

    speed: float
    frames: int
    delays_ns: list[int]

    @classmethod
    def of(cls, rate: float, recording: Recording) -> "Load":
        """So fast that `rate` messages a second come."""
        recorded = frames(recording)
        seconds = (recorded[-1].at - recorded[0].at) / 1e9
        sent = msgspec.json.Decoder(_Sent)
        delays = [one.at - sent.decode(one.raw).E * 1_000_000 for one in recorded if one.kind == "quote"]
        per_second = len(recorded) / seconds + 1  # and a mark price a second
        return cls(rate * HEADROOM / per_second, len(recorded), delays)


class _Sent(msgspec.Struct):
    E: int


async def soak(seconds: float, rate: float, recording: Recording, folder: Path, every_sample: bool) -> None:
    load = Load.of(rate, recording)
    watch = Watch()
    async with VenueProcess(bench.order(load.speed, recording.path)) as venue, aiohttp.ClientSession() as session:
        chosen = bench.settings(MARKET, folder, strategy={"timeframe": "1s"})
        async with bench.trading(venue, chosen, journal=watch) as engine:
            watch.quotes = 0
            watch.distrust.clear()
            for durations in vars(engine.latencies).values():
                durations.__init__()
            samples = Samples(engine, venue)
            read = bench.frames_read(engine)
            while samples.rows == [] or samples.rows[-1][0] < seconds:
                await asyncio.sleep(1.0)
                samples.take()
            read = bench.frames_read(engine) - read
            passed = samples.rows[-1][0]
            figures(engine, watch, samples, read, passed, load, every_sample)
            engine.command(Action.SHUTDOWN, "the end of the soak")
            await facts(engine, venue, session, passed, samples, read, load)


def figures(engine: Engine, watch: Watch, samples: Samples, read: int, passed: float, load: Load, every_sample: bool) -> None:
    print(f"\n{read / passed:,.0f} websocket messages/s read on average over {passed:.0f} s, clock speed {load.speed:.2f}")
    if every_sample:
        table(("second", "events/s", "engine CPU %", "venue CPU %", "engine MB", "venue MB"), samples.rows)
    ours, theirs = samples.shares()
    print(f"CPU of a core: engine {ours:.0%} ({ours * passed / max(read, 1) * 1e6:.1f} us/message), venue {theirs:.0%}")
    tell(Figure("messages through sockets, none lost", read / passed, "messages/s"))
    tell(Figure("the engine's CPU, sockets and orders with it", ours * passed / max(read, 1) * 1e6, "us/message"))
    rows: list[tuple[object, ...]] = []
    for words, delays in (("backlog of quotes: read - E", watch.newest()), ("  of which in the recording", load.delays_ns)):
        least = min(delays)  # the clocks of recorder and venue differed
        rows.append((words, len(delays), *percentiles_us(round((delay - least) / load.speed) for delay in delays)))
    for name in ("loop_lag", "process", "tick_to_wire", "round_trip"):
        rows.append((name, len(vars(engine.latencies)[name]._ns), *percentiles_us(vars(engine.latencies)[name]._ns)))
    table(("us of real time", "count", "p50", "p99", "p99.9", "most"), rows)
    counters = engine.state.counters
    print(f"orders {counters.orders}, fills {counters.fills}, judgments {counters.judgments}, bars {counters.bars}", end="; ")
    limit_ms = engine.settings.book.stale_after_ms / load.speed
    print(f"book stale {len(watch.distrust)} times (its limit is {limit_ms:.0f} ms of real time at this speed)")
    memory, venue_memory = samples.slope()
    held = [row[4] for row in samples.rows]
    words = "a run too short for a slope"
    if passed > WARM_UP_S + 3:
        words = f"after {WARM_UP_S:.0f} s {memory:+.2f} MB/min, venue {venue_memory:+.2f} MB/min"
    print(f"memory: engine {held[0]:.1f} -> {held[-1]:.1f} MB; {words}")


async def facts(
    engine: Engine,
    venue: VenueProcess,
    session: aiohttp.ClientSession,
    passed: float,
    samples: Samples,
    read: int,
    load: Load,
) -> None:
    """Stop the streams at the venue and let the rest come in: then both have counted the same frames."""
    held = engine.state.markets[f"binance:{MARKET}"]
    book, counters = held.book.counters, engine.state.counters
    await bench.silence(session, venue)
    deadline = time.monotonic() + 20
    while True:
        sent = (await bench.state(session, venue))["counters"]
        await asyncio.sleep(0.3)
        after = (await bench.state(session, venue))["counters"]
        if sent["frames"] == after["frames"] == bench.frames_read(engine) or time.monotonic() > deadline:
            break
    sent, got = after["frames"], bench.frames_read(engine)
    assert after["connections"] == 3 and not after.get("slow_consumers_cut"), f"a connection was lost: {after}"
    assert sent == got, f"the venue sent {sent} frames and the engine read {got}"
    assert (counters.decode_failures, dropped(engine)["unknown_market"]) == (0, 0)
    assert (book.gaps, book.duplicates, book.crossed, book.buffer_dropped, book.quotes_dropped) == (0, 0, 0, 0, 0), book
    assert book.mismatches == 0 and book.agreements > 0, book
    for bars in held.bars.values():
        own = bars.counters
        assert (own.id_gaps, own.missing, own.buffer_dropped, own.holes) == (0, 0, 0, 0), own
    assert (counters.faults, counters.unknown, engine.restarts) == (0, 0, 0), counters
    print(f"\nfacts: {sent} frames sent by the venue, {got} read by the engine: none dropped")
    print(f"  {book.deltas} depth updates and {counters.trades} trades without a gap in their ids; {book.agreements}", end=" ")
    print(f"ticker agreements, no mismatch; {read / load.frames:.1f} passes of {load.frames} frames")
    late = held.bars[1000].counters.late
    print(f"  {late} trades came after their bar of a second was closed")
    if passed >= FLAT_FROM_S:
        slope = samples.slope()[0]
        assert slope < MB_A_MINUTE, f"the engine's memory grows by {slope:.2f} MB a minute"
        tell(Figure("the engine's memory under that load", slope, "MB/min"))
        print(f"  memory is flat: {slope:+.2f} MB/min after the warm-up")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, metavar="N", help="real seconds of load (default 60; smoke 10)")
    parser.add_argument("--rate", type=float, default=10_000.0, metavar="N", help="messages a second (default 10000)")
    parser.add_argument("--samples", action="store_true", help="print each second's sample")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recording = find(Path(folder))
        print(f"soak: {recording.words}, {SYMBOL}, looped. {machine()}")
        asyncio.run(soak(arguments.seconds, arguments.rate, recording, Path(folder), arguments.samples))


if __name__ == "__main__":
    main()
