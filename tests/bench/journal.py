"""The session's file: events a second appended, read and replayed, bytes an event, and what SIGKILL leaves.

    python -m tests.bench.journal [--kills 100] [--seek 10000000] [--peer PYTHON]

PYTHON is the interpreter of an environment with nautilus_trader: its backtest runs over the same ticks in the same run.

Beside it stands the bare store: the same events, encoded in lists, compressed and put into SQLite, without numbers, hashes,
outputs' counts and the protocol around them.
"""

import argparse
import random
import sqlite3
import subprocess
import tempfile
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import numpy as np
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
from engine.queue import Closing, Kind, Opening
from engine.queue.local import LocalQueue
from engine.queue.session import Session
from engine.replay import Replay
from engine.replay.player import Player
from engine.runtime.recorder import STATE_EVERY
from tests.bench.figures import Figure, lacking, machine, table, tell
from tests.bench.pipeline import MARKET, NAME, TICK_NS, best_cpu, decoder, instrument
from tests.bench.recording import Frame, find, frames
from tests.test_queue import kill_while_writing

Pairs = list[tuple[Event, list[Event]]]
BARE = "append to the bare store"
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
        (BARE, lambda: append_bare(pairs, folder)),
        ("read and check", lambda: read(path)),
        ("replay and compare", lambda: replay(path)),
    ):
        seconds = best_cpu(work, passes)
        rows.append((name, round(count / seconds), seconds / count * 1e6))
    print(f"\n{count:,} events ({len(pairs):,} inputs), a CPU second, best of {passes} passes; all replayed identical")
    table(("", "events/s", "us/event"), rows)
    for name, rate, _ in rows:
        if name != BARE:
            limit = {"bound": rate / rows[1][1], "limit": BARE} if name == "append" else {}
            tell(Figure(name, rate, "events/CPU s", **limit))
    print(f"  append: {rows[0][1] / rows[1][1]:.2f} of the bare store's rate (aim 0.5)")


def beside(pairs: Pairs, folder: Path, python: str, passes: int) -> None:
    """Our replay, with bars, features, judgments, decisions and every output compared, beside a backtest that does nothing."""
    rows: list[tuple[int, ...]] = []
    for event, _ in pairs:
        match event:
            case Quote():
                rows.append((0, event.at, 0, event.bid, event.bid_size, event.ask, event.ask_size, 1))
            case Trade():
                rows.append((1, event.at, int(event.side), event.price, event.size, 0, 0, 1))
            case BookDelta():
                levels = [(side, *pair) for side, packed in ((1, event.bids), (-1, event.asks)) for pair in _pairs(packed)]
                rows += [(2, event.at, *level, 0, 0, place == len(levels)) for place, level in enumerate(levels, start=1)]
    ours = instrument(pairs[0][0].at)
    ticks = folder / "ticks.npz"
    np.savez(ticks, rows=np.array(rows, dtype=np.int64), tick=float(ours.tick), step=float(ours.step))
    peer = Path(__file__).with_name("peer_nautilus.py")
    done = subprocess.run((python, str(peer), str(ticks), str(passes)), capture_output=True, text=True, check=False)
    if done.returncode:
        last = done.stderr.strip().rpartition("\n")[2]
        lacking("replay beside nautilus_trader", last)
        return
    theirs = msgspec.json.decode(done.stdout.strip().rpartition("\n")[2], type=Peer)
    path = append(pairs, folder)
    fastest = best_cpu(lambda: replay(path), passes)
    reading = best_cpu(lambda: read(path), passes)
    items = sum(isinstance(event, Quote | Trade | BookDelta) for event, _ in pairs)
    rates = [theirs.items / theirs.cpu_s, items / fastest, items / reading]
    print(
        f"\nnautilus_trader {theirs.version} on Python {theirs.python} over the same {items:,} quotes, trades and book updates;"
    )
    print(f"items a CPU second, best of {passes} passes each, in turn in this run")
    for name, rate in zip(("replay, every output compared", "a session read and checked"), rates[1:], strict=True):
        tell(Figure(name, rate, "items/CPU s", beside=rate / rates[0], peer=f"nautilus_trader {theirs.version}, idle"))
    names = ("its backtest with an idle strategy", "our replay, every output compared", "our read and check")
    table(
        ("", "items/s", "of its"),
        [(name, round(rate), f"{rate / rates[0]:.2f}") for name, rate in zip(names, rates, strict=True)],
    )


class Peer(msgspec.Struct):
    version: str
    items: int
    cpu_s: float
    python: str


def _pairs(packed: bytes) -> list[tuple[int, int]]:
    flat = unpack_levels(packed)
    return list(zip(flat[::2], flat[1::2], strict=True))


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
    for name, _, ours, bare in rows:
        tell(Figure(f"on the disk, {name}", ours, "bytes", bound=ours / bare, limit="the bare store"))  # type: ignore[operator, arg-type]
    print("\nbytes on the disk (aims: 20 a trade, 8 a changed level)")
    table(("a", "count", "bytes", "bare store"), rows)


def kills(count: int, folder: Path) -> None:
    began, kept, extra = time.monotonic(), 0, 0
    for number in range(count):
        acknowledged, found = kill_while_writing(folder / f"{number}-kill.barter", 1 + number * 7 % 150)
        assert found >= acknowledged, (number, acknowledged, found)
        kept, extra = kept + acknowledged, extra + found - acknowledged
    seconds = time.monotonic() - began
    tell(Figure(f"acknowledged records lost in {count} writers killed", 0, "records"))
    print(
        f"\n{count} writers killed (SIGKILL) while they wrote, {seconds:.0f} s: every session opened and verified, "
        f"{kept:,} acknowledged records all there, {extra:,} more that were committed and not yet acknowledged"
    )


def long_session(recorded: list[Frame], folder: Path, events: int) -> Path:
    """So many inputs and outputs: the recording over and over through one core, each round later than the one before."""
    at = recorded[0].at
    settings = create_aster_config(engine={"symbols": [MARKET]}, strategy={"timeframe": "1s"})
    core, event = Core(settings), decoder(at)
    path = folder / "0-bench1.barter"
    queue = LocalQueue(path, opening(at))

    def take(one: Event) -> None:
        queue.append(one, core.process(one))

    take(Started(at, "bench1", "", Mode.DEMO, msgspec.json.encode(settings).decode(), "0"))
    for first in (instrument(at), *(Connected(at, "binance", route) for route in ("public", "market"))):
        take(first)
    span, kept, shift = recorded[-1].at - at + TICK_NS, 0, 0
    while queue.inputs + queue.outputs < events:
        for frame in recorded:
            found = event(frame)
            take(msgspec.structs.replace(found, at=found.at + shift))
            if queue.inputs - kept >= STATE_EVERY and queue.keep(core.snapshot()):
                kept = queue.inputs
        shift += span
    queue.close(Closing(at + shift, queue.inputs, queue.outputs, 0, 0, "0", "0", core.digest()))
    return path


def seeks(recorded: list[Frame], folder: Path, events: int, tries: int = 40) -> None:
    path = long_session(recorded, folder, events)
    dice = random.Random(3)
    times: dict[str, list[float]] = {
        "open": [],
        "seek anywhere": [],
        "seek 1,000 inputs back": [],
        "find a time": [],
        "next judgment": [],
    }

    def timed(name: str, work: Callable[[], object]) -> None:
        began = time.perf_counter()
        work()
        times[name].append((time.perf_counter() - began) * 1e3)

    with Session(path) as session:
        inputs = session.inputs
        for _ in range(tries):
            timed("open", lambda: Player(session))
        player = Player(session)
        for _ in range(tries):
            timed("seek anywhere", lambda: deque(player.seek(dice.randrange(inputs)), 0))
            timed("seek 1,000 inputs back", lambda: deque(player.seek(player.position - 1_000), 0))
            moment = dice.randrange(player.started_ns, player.ends_ns)
            timed("find a time", lambda moment=moment: player.place_of(moment))
            timed("next judgment", lambda: player.find(Kind.JUDGMENT))
        whole = inputs + (session.closing.outputs if session.closing is not None else 0)
    print(f"\na session of {whole:,} events ({inputs:,} inputs), {path.stat().st_size / 1e6:,.0f} MB, {tries} tries each; ms")
    rows = [(name, *np.percentile(found, (50, 90, 100)).round(1)) for name, found in times.items()]
    table(("", "p50", "p90", "most"), rows)
    tell(Figure(f"a seek anywhere in {whole:,} events, p50", float(np.percentile(times["seek anywhere"], 50)), "ms"))


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    options.add_argument("--kills", type=int, default=100)
    options.add_argument("--passes", type=int, default=3)
    options.add_argument("--seek", type=int, default=10_000_000, help="events of the session that is sought in; 0: none")
    options.add_argument("--peer", default="", metavar="PYTHON", help="an interpreter with nautilus_trader")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recording = find(folder)
        print(f"journal: {recording.words}. {machine()}")
        pairs = processed(frames(recording))
        speeds(pairs, folder, chosen.passes)
        if not chosen.peer:
            lacking("replay beside nautilus_trader", "no interpreter with it was named")
        else:
            beside(pairs, folder, chosen.peer, chosen.passes)
        sizes(pairs, folder)
        kills(chosen.kills, folder)
        if chosen.seek:
            seeks(frames(recording), folder, chosen.seek)


if __name__ == "__main__":
    main()
