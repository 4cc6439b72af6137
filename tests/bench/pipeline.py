"""A recording through decoder, book and core without sockets: messages a second, CPU by kind of message, memory.

    python -m tests.bench.pipeline [--passes 3]

The core runs armed on one-second bars with a tick each 100 ms, and no account behind it: every entry that it wishes for is
sized and refused at the gate, so that nothing has to answer orders.
"""

import argparse
import gc
import hashlib
import os
import sys
import tempfile
import time
import tracemalloc
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import msgspec

from engine.config import create_aster_config
from engine.core import Core
from engine.events import Action, BookDelta, Command, Connected, Event, Instrument, Mode, Quote, Started, Tick, TradeHistory
from engine.signal.binance import decode
from engine.signal.book import Book
from tests.bench.figures import Figure, machine, percentiles_us, resident_mb, table, tell
from tests.bench.recording import MARKET, SYMBOL, Frame, find, frames

TICK_NS = 100_000_000
KINDS = ("quote", "delta", "trade")
NAME = f"binance:{MARKET}"
Decode = Callable[[Frame], Event]


def instrument(at: int) -> Instrument:
    price, size = Decimal("0.1"), Decimal("0.001")
    return Instrument(at, NAME, SYMBOL, "BTC", "USDT", price, size, 1, 10**6, 10**6, Decimal(5), True)


def decoder(at: int) -> Decode:
    """What a collector does with a frame that it has read."""
    own = decode.Decoder()
    own.list(instrument(at))
    grid, frame = own.grids[SYMBOL], own.frame

    def event(one: Frame) -> Event:
        found = decode.book_snapshot(one.raw, grid, one.at) if one.kind == "snapshot" else frame(one.raw, one.at)
        assert found is not None
        return found

    return event


def new_core(at: int) -> Core:
    """Connected and armed, bars running."""
    core = Core(create_aster_config(engine={"symbols": [MARKET]}, strategy={"timeframe": "1s"}))
    core.process(Started(at, "bench0", "", Mode.DEMO, "", "0"))
    core.process(instrument(at))
    for route in ("public", "market"):
        core.process(Connected(at, "binance", route))
    core.process(TradeHistory(at, NAME, b""))
    core.process(Command(at, "1", Action.ARM, "the bench"))
    return core


# --- the stages -------------------------------------------------------------------------------------------------------


def decode_all(recorded: list[Frame]) -> None:
    event = decoder(recorded[0].at)
    for one in recorded:
        event(one)


def decode_and_book(recorded: list[Frame]) -> Book:
    event, book = decoder(recorded[0].at), Book(NAME)
    book.connected(recorded[0].at)
    for one in recorded:
        found = event(one)
        if isinstance(found, Quote):
            book.quote(found)
        elif isinstance(found, BookDelta):
            book.delta(found)
        elif one.kind == "snapshot":
            book.snapshot(found)  # type: ignore[arg-type]
    return book


def whole(recorded: list[Frame], core: Core, seen: Callable[[list[Event]], None] | None = None) -> int:
    """Decoding, and everything that the core makes of it; the number of ticks between."""
    event, process = decoder(recorded[0].at), core.process
    due, ticks = recorded[0].at, 0
    for one in recorded:
        while due < one.at:
            out = process(Tick(due))
            if seen is not None and out:
                seen(out)
            due += TICK_NS
            ticks += 1
        out = process(event(one))
        if seen is not None and out:
            seen(out)
    return ticks


def by_kind(recorded: list[Frame]) -> dict[str, tuple[list[int], list[int]]]:
    """Nanoseconds of each message in the decoder and in the core; the clock's own cost is taken off."""
    core, event, clock = new_core(recorded[0].at), decoder(recorded[0].at), time.perf_counter_ns
    own = min(-clock() + clock() for _ in range(10_000))
    spent: dict[str, tuple[list[int], list[int]]] = {kind: ([], []) for kind in (*KINDS, "snapshot", "tick")}
    due = recorded[0].at
    for one in recorded:
        while due < one.at:
            tick, before = Tick(due), clock()
            core.process(tick)
            spent["tick"][1].append(clock() - before - own)
            due += TICK_NS
        before = clock()
        found = event(one)
        between = clock()
        core.process(found)
        after = clock()
        spent[one.kind][0].append(between - before - own)
        spent[one.kind][1].append(after - between - own)
    return spent


# --- figures ----------------------------------------------------------------------------------------------------------


def best_cpu(work: Callable[[], object], passes: int) -> float:
    """CPU seconds of the quickest pass: what a busy machine adds is in the others."""
    spent = []
    for _ in range(passes):
        gc.collect()
        before = time.process_time()
        work()
        spent.append(time.process_time() - before)
    return min(spent)


def speeds(recorded: list[Frame], passes: int) -> None:
    stages: tuple[tuple[str, Callable[[], object]], ...] = (
        ("decode", lambda: decode_all(recorded)),
        ("decode, book", lambda: decode_and_book(recorded)),
        ("decode, book, bars, features, judge, strategy", lambda: whole(recorded, new_core(recorded[0].at))),
    )
    rows = []
    for name, work in stages:
        seconds = best_cpu(work, passes)
        rows.append((name, round(len(recorded) / seconds), seconds / len(recorded) * 1e6))
        limit = {"bound": rows[-1][1] / rows[0][1], "limit": "decoding alone"} if len(rows) > 1 else {}
        tell(Figure(name, rows[-1][1], "messages/CPU s", **limit))
    print(f"\nmessages a CPU second, best of {passes} passes")
    table(("stage", "messages/s", "us/message"), rows)


def kinds(recorded: list[Frame]) -> None:
    """CPU by kind: the clock's shares of a pass, scaled to the CPU time that the pass took."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    spent = by_kind(recorded)
    scale = (time.process_time() - cpu) / (time.perf_counter() - wall)
    rows = []
    for kind, (read, core) in spent.items():
        if core:
            mean = [sum(part) / max(len(part), 1) / 1000 * scale for part in (read, core)]
            rows.append((kind, len(core), mean[0], mean[1], sum(mean), *percentiles_us(core)[:3]))
    print(f"\nCPU us a message by kind ({scale:.0%} of the pass's time was ours); percentiles of the core alone")
    table(("kind", "count", "decode", "core", "together", "core p50", "p99", "p99.9"), rows)


def memory(recorded: list[Frame]) -> None:
    """What stays allocated after the first half and after all of it: a core that leaks differs by its leak."""
    gc.collect()
    core, rows = new_core(recorded[0].at), []
    half = len(recorded) // 2
    blocks, collected, before = _blocks(), _collections(), resident_mb(os.getpid())
    tracemalloc.start()
    for name, part in (("first half", recorded[:half]), ("second half", recorded[half:])):
        held = tracemalloc.get_traced_memory()[0]
        tracemalloc.reset_peak()
        whole(part, core)
        gc.collect()
        now, peak = tracemalloc.get_traced_memory()
        rows.append((name, len(part), now / 1024, (now - held) / 1024, (peak - now) / 1024))
    tracemalloc.stop()
    tell(Figure("memory that the second half of a recording adds to the core", rows[1][3], "KiB"))
    print("\nmemory of the core, KiB (tracemalloc)")
    table(("part", "messages", "held", "grown", "peak above"), rows)
    print(f"  blocks kept {_blocks() - blocks:,}; garbage collections {_collections() - collected}; RSS {before:.0f} MB before")


def _blocks() -> int:
    return sys.getallocatedblocks()


def _collections() -> int:
    return sum(generation["collections"] for generation in gc.get_stats())


# --- facts ------------------------------------------------------------------------------------------------------------


def facts(recorded: list[Frame]) -> None:
    """Every message was used, the book is right, and the same input gives the same output."""
    digests, told = [], Counter[str]()
    for _ in range(2):
        core, digest = new_core(recorded[0].at), hashlib.sha256()

        def seen(out: list[Event], digest: "hashlib._Hash" = digest) -> None:
            told.update(type(event).__name__ for event in out)
            digest.update(msgspec.msgpack.encode(out))

        ticks = whole(recorded, core, seen)
        digests.append(digest.hexdigest())
    counted, held = Counter(one.kind for one in recorded), core.state.markets[NAME]
    counters, book = core.state.counters, held.book.counters
    assert digests[0] == digests[1], "two runs over the same input differ"
    assert (counters.quotes, counters.deltas, counters.trades) == tuple(counted[kind] for kind in KINDS)
    assert counters.decode_failures == counters.ignored == 0
    assert (book.gaps, book.duplicates, book.crossed, book.mismatches, book.buffer_dropped) == (0, 0, 0, 0, 0)
    assert held.book.trusted and book.agreements > 0
    for bars in held.bars.values():
        assert (bars.counters.missing, bars.counters.late, bars.counters.buffer_dropped) == (0, 0, 0)
        assert bars.counters.trades == counted["trade"]
    outputs = ", ".join(f"{name} {count // 2}" for name, count in told.most_common())
    print(f"facts: {len(recorded)} messages and {ticks} ticks used, none dropped; gaps 0, duplicates 0, mismatches 0,")
    print(f"  ticker agreements {book.agreements}; two runs gave the same bytes; outputs: {outputs}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--passes", type=int, default=3, metavar="N", help="passes a stage; the quickest counts (default 3)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recording = find(Path(folder))
        recorded = frames(recording)
    seconds = (recorded[-1].at - recorded[0].at) / 1e9
    print(f"pipeline: {recording.words}: {len(recorded)} messages, {seconds:.0f} s. {machine()}")
    facts(recorded)
    speeds(recorded, arguments.passes)
    kinds(recorded)
    memory(recorded)


if __name__ == "__main__":
    main()
