"""The session's file: events a second appended, read and replayed, bytes an event, and what SIGKILL leaves.

    python -m tests.bench.journal [--kills 100]

Beside it stands the bare store: the same events, encoded in lists, compressed and put into SQLite, without numbers, hashes,
outputs' counts and the protocol around them.
"""

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import zstandard

from engine.config import create_aster_config
from engine.core import Core
from engine.events import (
    Action,
    BookDelta,
    Command,
    Connected,
    Event,
    Mode,
    Quote,
    Started,
    Tick,
    Trade,
    TradeHistory,
    encode,
    unpack_levels,
)
from engine.queue import Closing, Opening
from engine.queue.local import LocalQueue, Session
from engine.replay import Replay
from tests.bench.figures import machine, table
from tests.bench.pipeline import MARKET, NAME, TICK_NS, best_cpu, decoder, instrument
from tests.bench.recording import Frame, find, frames
from tests.test_queue import kill_while_writing

Pairs = list[tuple[Event, list[Event]]]
BARE_EVENTS = 512  # a chunk of the bare store


def processed(recorded: list[Frame]) -> Pairs:
    """The recording and its ticks through a core: what an engine would hand to its queue."""
    at = recorded[0].at
    settings = create_aster_config(engine={"symbols": [MARKET]}, strategy={"timeframe": "1s"})
    core, event, pairs, due = Core(settings), decoder(at), [], at
    started = Started(at, "bench0", "", Mode.DEMO, msgspec.json.encode(settings).decode(), "0")
    routes = (Connected(at, "binance", route) for route in ("public", "market"))
    for first in (started, instrument(at), *routes, TradeHistory(at, NAME, b""), Command(at, "1", Action.ARM, "the bench")):
        pairs.append((first, core.process(first)))
    for one in recorded:
        while due < one.at:
            tick = Tick(due)
            pairs.append((tick, core.process(tick)))
            due += TICK_NS
        found = event(one)
        pairs.append((found, core.process(found)))
    return pairs


def opening(at: int) -> Opening:
    return Opening("bench0", "", Mode.DEMO, (MARKET,), ("binance",), "0", "0", "3", at, 1.0)


def append(pairs: Pairs, folder: Path) -> Path:
    path = Path(tempfile.mkdtemp(dir=folder)) / "0-bench0.barter"
    queue = LocalQueue(path, opening(pairs[0][0].at))
    for event, out in pairs:
        queue.append(event, out)
    queue.close(Closing(pairs[-1][0].at, queue.inputs, queue.outputs, 0, 0, "0", "0"))
    return path


def append_bare(pairs: Pairs, folder: Path) -> Path:
    path = Path(tempfile.mkdtemp(dir=folder)) / "bare.sqlite"
    store = sqlite3.connect(path, isolation_level=None)
    store.execute("PRAGMA journal_mode = WAL")
    store.execute("PRAGMA synchronous = NORMAL")
    store.execute("CREATE TABLE chunks (number INTEGER PRIMARY KEY, body BLOB)")
    packer = zstandard.ZstdCompressor(level=1)
    flat = [one for event, out in pairs for one in (event, *out)]
    for place in range(0, len(flat), BARE_EVENTS):
        store.execute("INSERT INTO chunks (body) VALUES (?)", (packer.compress(encode(flat[place : place + BARE_EVENTS])),))
    store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    store.close()
    return path


def read(path: Path) -> int:
    with Session(path) as session:
        return sum(len(chunk.inputs) for chunk in session.chunks())


def replay(path: Path) -> int:
    with Session(path) as session:
        outcome = Replay(session).run()
    assert outcome.difference is None, outcome.difference
    return outcome.inputs


def speeds(pairs: Pairs, folder: Path, passes: int) -> None:
    count = sum(1 + len(out) for _, out in pairs)
    path = append(pairs, folder)
    assert read(path) == replay(path) == len(pairs)
    rows = []
    for name, work in (
        ("append", lambda: append(pairs, folder)),
        ("append to the bare store", lambda: append_bare(pairs, folder)),
        ("read and check", lambda: read(path)),
        ("replay and compare", lambda: replay(path)),
    ):
        seconds = best_cpu(work, passes)
        rows.append((name, round(count / seconds), seconds / count * 1e6))
    print(f"\n{count:,} events ({len(pairs):,} inputs), a CPU second, best of {passes} passes; all replayed identical")
    table(("", "events/s", "us/event"), rows)
    print(f"  append: {rows[0][1] / rows[1][1]:.2f} of the bare store's rate (aim 0.5)")


def sizes(pairs: Pairs, folder: Path) -> None:
    rows: list[Sequence[object]] = []
    for kind, unit in ((Trade, "trade"), (Quote, "quote"), (BookDelta, "changed level")):
        some: Pairs = [(event, []) for event, _ in pairs if isinstance(event, kind)]
        units = len(some)
        if kind is BookDelta:
            units = sum((len(unpack_levels(one.bids)) + len(unpack_levels(one.asks))) // 2 for one, _ in some)  # type: ignore[attr-defined]
        rows.append((unit, units, append(some, folder).stat().st_size / units, append_bare(some, folder).stat().st_size / units))
    whole = [way(pairs, folder).stat().st_size / len(pairs) for way in (append, append_bare)]
    rows.append(("input with its outputs", len(pairs), *whole))
    print("\nbytes on the disk (aims: 20 a trade, 8 a changed level)")
    table(("a", "count", "bytes", "bare store"), rows)


def kills(count: int, folder: Path) -> None:
    began, kept, extra = time.monotonic(), 0, 0
    for number in range(count):
        acknowledged, found = kill_while_writing(folder / f"{number}-kill.barter", 1 + number * 7 % 150)
        assert found >= acknowledged, (number, acknowledged, found)
        kept, extra = kept + acknowledged, extra + found - acknowledged
    seconds = time.monotonic() - began
    print(
        f"\n{count} writers killed (SIGKILL) while they wrote, {seconds:.0f} s: every session opened and verified, "
        f"{kept:,} acknowledged records all there, {extra:,} more that were committed and not yet acknowledged"
    )


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--passes", type=int, default=3)
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recording = find(folder)
        print(f"journal: {recording.words}. {machine()}")
        pairs = processed(frames(recording))
        speeds(pairs, folder, chosen.passes)
        sizes(pairs, folder)
        kills(chosen.kills, folder)


if __name__ == "__main__":
    main()
