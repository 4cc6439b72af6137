"""What the console costs, itself and the engine, at 160x50, 12 frames and some 5,000 market events a second.

    python -m tests.bench.console [--rounds 4] [--seconds 7] [--rate 5000] [--events 1000000] [--no-reader] [--smoke]

Venue, engine and console are processes of their own; the console is on a pseudo-terminal and attached to the engine, which
trades as often as its settings allow. First, what a console costs: the recording comes faster, the clock is as it always is;
there is a window at 200x60 with all the panes, and one console is left alone for a million events, to see its memory.
Then what the engine feels, under a clock as fast as the recording, so that orders are many. There windows alternate: no
console, a link that only reads (the engine makes and sends the same frames, and nothing draws them), the console. Facts: no
order of unknown fate, the console leaves in good order, the engine lives through all of it, and every key that was counted
was seen on the screen.
"""

import argparse
import asyncio
import contextlib
import os
import random
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from console.app import DEPTH
from console.engine_process import EngineProcess
from console.engine_process import Order as EngineOrder
from console.link import socket_link
from console.venue_process import VenueProcess
from engine.config import create_aster_config
from engine.places import Endpoints
from engine.views import Goodbye, Leave, Watch
from tests.bench import venue as bench
from tests.bench.figures import Figure, cpu_seconds, machine, percentiles_us, resident_mb, slope_a_minute, table, tell
from tests.bench.recording import MARKET, find, squeezed
from tests.bench.soak import Load
from tests.bench.terminal import COLUMNS, ROWS, Terminal
from tests.bench.watched import Reader, watching

FRAMES_PER_S = 12.0
WARM_UP_S = 3.0  # of a console: imports, first frames
WARM_MEMORY_S = 30.0  # caches and the kept news fill
LARGEST = (200, 60)
EVENTS = 1_000_000
MB_A_MILLION = 4.0  # events: of a console that keeps nothing it comes to less
KEYS = 40
TO_WIRE = "kernel read to transport.write"
KINDS = ("none", "reader", "console")
WORDS = {"none": "no console", "reader": "a link that reads", "console": "the console"}


class Window(NamedTuple):
    kind: str
    begin: int  # monotonic ns
    end: int
    engine_cpu: float  # seconds
    console_cpu: float
    written: int  # bytes to the terminal
    console_mb: float


@contextlib.asynccontextmanager
async def started(folder: Path, speed: float, capture: Path, **settings: dict[str, object]) -> AsyncIterator["Running"]:
    """Venue and engine, watched, with the engine trading when entered."""
    with watching(folder) as (engine_lines, venue_lines):
        async with VenueProcess(bench.order(speed, capture), folder / "venue.log") as venue:
            own = {"symbols": [MARKET], "state_dir": str(folder / "state"), "on_console_loss": "run"}
            chosen = create_aster_config(engine=own, **settings)
            order, said = venue.order, venue.said
            wanted = EngineOrder(chosen, order.clock, Endpoints(said.rest, said.ws), venue.credentials)
            engine = await EngineProcess.start(wanted, log=folder / "engine.log")
            running = Running(venue, engine, Reader(engine_lines), Reader(venue_lines), folder)
            try:
                await running.told(60.0, "order")
                yield running
                assert engine.alive, f"the engine died: {engine.problem}"
            finally:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(engine.pid, 15)
                await engine.stopped(20.0)
                running.take()


class Running:
    """The processes, and the lines that they have written so far."""

    def __init__(
        self, venue: VenueProcess, engine: EngineProcess, engine_lines: Reader, venue_lines: Reader, folder: Path
    ) -> None:
        self.venue, self.engine, self.folder = venue, engine, folder
        self._readers = (engine_lines, venue_lines)
        self.lines: list[dict[str, Any]] = []

    def take(self) -> None:
        for reader in self._readers:
            self.lines += reader.new()

    async def told(self, within_s: float, what: str, since: int = 0, **facts: object) -> dict[str, Any]:
        """The first line from number `since` on that says so; AssertionError when none comes in time."""
        deadline = time.monotonic() + within_s
        while True:
            self.take()
            for line in self.lines[since:]:
                if line["what"] == what and all(line.get(name) == value for name, value in facts.items()):
                    return line
            assert self.engine.alive, f"the engine died: {self.engine.problem}"
            assert time.monotonic() < deadline, f"no {what} {facts} within {within_s:g} s"
            await asyncio.sleep(0.005)

    def terminal(self, name: str, columns: int = COLUMNS, rows: int = ROWS) -> Terminal:
        argv = ["attach", "--control", "--set", f"engine.state_dir={self.folder / 'state'}"]
        return Terminal(self.folder / f"{name}.lines", argv, columns, rows)


# --- windows ----------------------------------------------------------------------------------------------------------


async def window(kind: str, running: Running, seconds: float, terminal: Terminal | None = None) -> Window:
    def look() -> tuple[int, float, float, int]:
        own = cpu_seconds(terminal.pid) if terminal else 0.0
        return time.monotonic_ns(), cpu_seconds(running.engine.pid), own, terminal.written if terminal else 0

    begin = look()
    await asyncio.sleep(seconds)
    end = look()
    memory = resident_mb(terminal.pid) if terminal else 0.0
    return Window(kind, begin[0], end[0], end[1] - begin[1], end[2] - begin[2], end[3] - begin[3], memory)


async def read_only(running: Running, seconds: float) -> Window:
    link = socket_link(lambda: _path(running), frames_per_s=FRAMES_PER_S)
    welcome = await link.open()
    await link.send(Watch(welcome.markets[0], 1_000, DEPTH))

    async def read() -> None:
        while not isinstance(await link.receive(), Goodbye):
            pass

    reading = asyncio.create_task(read())
    await asyncio.sleep(1.0)
    found = await window("reader", running, seconds)
    await link.send(Leave(True))
    await reading
    await link.close()
    return found


async def _path(running: Running) -> Path:
    return running.engine.socket


async def screen(
    running: Running, seconds: float, number: int, keys: int, size: tuple[int, int] = (COLUMNS, ROWS)
) -> tuple[Window, list[int], dict[str, Any]]:
    """A console's life: warm-up, the window, keys, and goodbye; with the console's own figures."""
    async with running.terminal(f"console{number}-{size[0]}", *size) as terminal:
        began = time.monotonic_ns()
        await terminal.shows(b"USDT 1s", since=began, within_s=20.0)
        await asyncio.sleep(WARM_UP_S)
        found = await window("console", running, seconds, terminal)
        seen = await timeframe_keys(terminal, keys)
        code = await terminal.leave()
        assert code == 0, f"the console ended with {code}: {terminal.tail()[-2000:]!r}"
    told = [line for line in Reader(terminal.lines).new() if line["what"] == "figures"]
    assert len(told) == 1, "the console told no figures"
    return found, seen, told[0]


async def timeframe_keys(terminal: Terminal, number: int) -> list[int]:
    """From `t` to the first bytes that name the other timeframe on the chart, each at a random phase of the frames."""
    chance, seen = random.Random(number), []
    for n in range(number):
        await asyncio.sleep(0.2 + chance.random() / FRAMES_PER_S)
        name = b"1m" if n % 2 == 0 else b"1s"
        at = terminal.press(b"t")
        words = (b"USDT " + name, b"no " + name + b" bars")
        seen.append(await terminal.shows(*words, since=at) - at)
    return seen


# --- figures ----------------------------------------------------------------------------------------------------------


def link_facts(windows: list[Window], running: Running) -> None:
    figures = next(line for line in running.lines if line["what"] == "figures")
    drawn = np.array(figures["drawn"], dtype=np.int64).reshape(-1, 3)
    sent = np.array(figures["sent"], dtype=np.int64).reshape(-1, 2)
    frames = _within(sent, windows)
    seconds = sum(one.end - one.begin for one in windows) / 1e9
    kib = frames[:, 1].sum() / seconds / 1024
    print(f"\nthe engine's side: {len(frames) / seconds:.1f} messages/s, {kib:,.0f} KiB/s over the link;", end=" ")
    print("in its loop, without a pause:")
    held, parts = _within(drawn, windows), (("making the pictures", 0), ("comparing and encoding them", 1))
    rows = [(name, *percentiles_us(held[held[:, 2] == which][:, 1])) for name, which in parts]
    table(("us a frame", "p50", "p99", "p99.9", "most"), rows)


def console_facts(mine: list[Window], consoles: list[dict[str, Any]], size: tuple[int, int]) -> None:
    """Frames are timed within the console, from the start of a frame's work to its last byte handed to the writer."""
    columns, rows = size
    shares = [one.console_cpu / (one.end - one.begin) * 1e9 for one in mine]
    rate = sum(one.written for one in mine) / sum(one.end - one.begin for one in mine) * 1e9
    print(f"\nthe console at {columns}x{rows}: {statistics.mean(shares):.1%} of a core", end=" ")
    print(f"({', '.join(f'{share:.1%}' for share in shares)}; aim 20%), {rate / 1024:,.0f} KiB/s to the terminal")
    wall: dict[str, list[int]] = {"paint": [], "screen": [], "decode": [], "whole": []}
    cpu: dict[str, list[int]] = {"paint": [], "screen": [], "decode": [], "whole": []}
    ticks = 0
    for one, figures in zip(mine, consoles, strict=True):
        inside = [tick for tick in figures["tick"] if one.begin <= tick < one.end]
        ticks += len(inside)
        edges = np.array(inside)
        whole = np.zeros((2, max(len(edges) - 1, 0)), dtype=np.int64)
        for name in ("paint", "screen", "decode"):
            found = _within(np.array(figures[name], dtype=np.int64).reshape(-1, 3), [one])
            wall[name] += found[:, 1].tolist()
            cpu[name] += found[:, 2].tolist()
            place = np.searchsorted(edges, found[:, 0], side="right") - 1
            for row, n in zip(found, place, strict=True):
                if 0 <= n < whole.shape[1]:
                    whole[:, n] += row[1:]
        wall["whole"] += whole[0].tolist()
        cpu["whole"] += whole[1].tolist()
    seconds = sum(one.end - one.begin for one in mine) / 1e9
    words = {
        "whole": "frame: all of these from one tick to the next",
        "paint": "panes: what changed",
        "screen": "screen: strips, diff, bytes",
        "decode": "a message of the link decoded",
    }
    print(f"{ticks / seconds:.1f} frames/s; us (aim of a frame's p99: 20,000):")
    lines = []
    for name, text in words.items():
        mean = sum(cpu[name]) / max(len(cpu[name]), 1) / 1000
        lines.append((text, len(wall[name]), *percentiles_us(wall[name])[:2], *percentiles_us(cpu[name])[:2], mean))
    table(("", "count", "wall p50", "wall p99", "CPU p50", "CPU p99", "CPU mean"), lines)
    print("  shares of the console's CPU: ", end="")
    total = sum(one.console_cpu for one in mine)
    print(", ".join(f"{name} {sum(cpu[name]) / 1e9 / max(total, 1e-9):.0%}" for name in ("paint", "screen", "decode")), end="")
    print("; the rest is Textual's messages, timers, the writer thread and the socket")
    at = f"at {columns}x{rows}"
    tell(Figure(f"the console's CPU {at}", statistics.mean(shares) * 100, "% of a core"))
    tell(Figure(f"a frame {at}, p99 of {len(wall['whole'])}", percentiles_us(wall["whole"])[1] / 1000, "ms"))
    tell(Figure(f"a frame's CPU {at}, p99", percentiles_us(cpu["whole"])[1] / 1000, "ms"))
    tell(Figure(f"to the terminal {at}", rate / 1024, "KiB/s"))


def key_facts(keys: list[int]) -> None:
    p50, p99, _, most = percentiles_us(keys)
    print(f"key to screen (`t` until the chart names the other timeframe), {len(keys)} keys: p50 {p50 / 1000:.1f}, ", end="")
    print(f"p99 {p99 / 1000:.1f}, most {most / 1000:.1f} ms (aim of the p99: 50)")
    tell(Figure(f"key to screen, p50 of {len(keys)}", p50 / 1000, "ms"))
    tell(Figure(f"key to screen, p99 of {len(keys)}", p99 / 1000, "ms"))


def memory_facts(rss: list[tuple[float, float]], running: Running) -> None:
    """Of the console that was left alone, once it was warm; a slope over less than a fifth of the events is none."""
    figures = next(line for line in running.lines if line["what"] == "figures")
    lag = np.array(figures["lag"], dtype=np.int64).reshape(-1, 3)
    events = np.interp([rss[0][0] * 1e9, rss[-1][0] * 1e9], lag[:, 0], lag[:, 2])
    seen, passed = float(events[1] - events[0]), rss[-1][0] - rss[0][0]
    print(f"memory: {rss[0][1]:.1f} -> {rss[-1][1]:.1f} MB over {seen:,.0f} events and {passed:.0f} s", end="")
    tell(Figure("the console's memory", rss[-1][1], "MB"))
    warm = [(at, mb) for at, mb in rss if at - rss[0][0] >= WARM_MEMORY_S]
    if seen < EVENTS / 5 or len(warm) < 3:
        print("; too few for a slope")
        return
    slope = slope_a_minute([at for at, _ in warm], [mb for _, mb in warm])
    a_million = slope / 60 * passed / seen * 1e6
    print(f"; after {WARM_MEMORY_S:.0f} s {slope:+.2f} MB/min, {a_million:+.2f} MB a million events")
    tell(Figure(f"the console's memory grows, over {seen / 1e6:.1f} million events", a_million, "MB a million"))
    if seen >= EVENTS:
        assert a_million < MB_A_MILLION, f"the console's memory grows by {a_million:.2f} MB with a million events"


def engine_facts(windows: list[Window], running: Running) -> None:
    figures = next(line for line in running.lines if line["what"] == "figures")
    lag = np.array(figures["lag"], dtype=np.int64).reshape(-1, 3)
    orders = [line for line in running.lines if line["what"] == "order" and line["socket"] and line["handed"] and line["asked"]]
    found: dict[str, dict[str, tuple[float, ...]]] = {}
    counts: dict[str, int] = {}
    rows: list[tuple[object, ...]] = []
    for kind in KINDS:
        mine = [one for one in windows if one.kind == kind]
        if not mine:
            continue
        inside = [line for line in orders if any(one.begin <= line["read"] < one.end for one in mine)]
        counts[kind] = len(inside)
        beats = _within(lag, mine)
        seconds = sum(one.end - one.begin for one in mine) / 1e9
        events = sum(int(part[-1, 2] - part[0, 2]) for one in mine if len(part := _within(lag, [one])) > 1)
        share = sum(one.engine_cpu for one in mine) / seconds
        found[kind] = {
            TO_WIRE: _percentiles([line["handed"] - line["chunk"] for line in inside]),
            "the engine's own tick_to_wire": _percentiles([line["marked"] - line["read"] for line in inside]),
            "loop lag": _percentiles(beats[:, 1].tolist()),
        }
        print(f"\n{WORDS[kind]}: {len(mine)} windows, {seconds:.0f} s, {events / seconds:,.0f} events/s", end=", ")
        print(f"{len(inside)} orders caused by frames, engine {share:.0%} of a core")
        rows += [(f"{WORDS[kind]}: {name}", *values) for name, values in found[kind].items()]
    print()
    table(("us", "p50", "p90", "p95", "p99"), rows)
    print("  ratios to no console (aim 1.1):")
    rows = []
    for kind in KINDS[1:]:
        if kind in found and "none" in found:
            for name, values in found[kind].items():
                pairs = list(zip(values, found["none"][name], strict=True))
                if name == TO_WIRE:
                    for percentile, (ours, theirs) in zip(("p50", "p99"), (pairs[0], pairs[3]), strict=True):
                        told = f"tick to wire with {WORDS[kind]}, {percentile} of {counts[kind]} (without: of {counts['none']})"
                        tell(Figure(told, ours, "us", beside=ours / max(theirs, 1e-9), peer="no console"))
                rows.append((f"{WORDS[kind]}: {name}", *(ours / max(theirs, 1e-9) for ours, theirs in pairs)))
    table(("", "p50", "p90", "p95", "p99"), rows)


def _percentiles(ns: list[int]) -> tuple[float, ...]:
    return tuple(float(value) / 1000 for value in np.percentile(ns or [0], (50, 90, 95, 99)))


def _within(rows: "np.ndarray[Any, Any]", windows: list[Window]) -> "np.ndarray[Any, Any]":
    """The rows whose first column lies in one of the windows."""
    kept = np.zeros(len(rows), dtype=bool)
    for one in windows:
        kept |= (rows[:, 0] >= one.begin) & (rows[:, 0] < one.end)
    return rows[kept]


async def run(rounds: int, seconds: float, rate: float, kinds: tuple[str, ...], keys: int, events: int, folder: Path) -> None:
    recording = find(folder)
    load = Load.of(rate, recording)
    fast = squeezed(recording, load.speed, folder)
    print(f"console: {recording.words}, {MARKET}, looped. {machine()}")
    print(f"\n# what a console costs: the recording {load.speed:.1f} times as fast, the clock as it is")
    (folder / "cost").mkdir()
    async with started(folder / "cost", 1.0, fast.path, **bench.BUSY) as running:
        await asyncio.sleep(3.0)
        windows, pressed, consoles = await rounds_of(("console",), rounds, seconds, keys, running)
        largest, _, of_largest = await screen(running, seconds, 0, 0, LARGEST)
        rss = await memory(running, events / rate)
    console_facts(windows, consoles, (COLUMNS, ROWS))
    key_facts(pressed)
    console_facts([largest], [of_largest], LARGEST)
    memory_facts(rss, running)
    link_facts(windows, running)
    print(f"\n# what the engine feels: everything {load.speed:.1f} times as fast, the clock too, so that many orders are sent")
    (folder / "orders").mkdir()
    async with started(folder / "orders", load.speed, recording.path, **bench.BUSY) as running:
        await asyncio.sleep(3.0)
        windows, _, consoles = await rounds_of(kinds, rounds, seconds, 0, running)
        async with bench.aiohttp.ClientSession() as session:
            assert (await bench.state(session, running.venue))["counters"]["orders"], "nothing was traded"
    unknown = [line["id"] for line in running.lines if line["what"] == "order" and not line["answered"]]
    assert not unknown, f"orders without an answer: {unknown[:5]}"
    mine = [one for one in windows if one.kind == "console"]
    shares = [one.console_cpu / (one.end - one.begin) * 1e9 for one in mine]
    print(f"the console, all of whose bars and ages change with that clock: {statistics.mean(shares):.1%} of a core")
    engine_facts(windows, running)


async def rounds_of(
    kinds: tuple[str, ...], rounds: int, seconds: float, keys: int, running: Running
) -> tuple[list[Window], list[int], list[dict[str, Any]]]:
    """The windows, the keys' times, and what each console told of itself."""
    windows: list[Window] = []
    pressed: list[int] = []
    consoles: list[dict[str, Any]] = []
    for number in range(rounds):
        for kind in kinds if number % 2 == 0 else kinds[::-1]:
            if kind == "none":
                await asyncio.sleep(1.0)
                windows.append(await window(kind, running, seconds))
            elif kind == "reader":
                windows.append(await read_only(running, seconds))
            else:
                found, seen, figures = await screen(running, seconds, number, keys // rounds)
                windows.append(found)
                pressed += seen
                consoles.append(figures)
    return windows, pressed, consoles


async def memory(running: Running, seconds: float) -> list[tuple[float, float]]:
    """A console left alone: (monotonic seconds, MB) each half second after its warm-up, for so long at least."""
    async with running.terminal("memory") as terminal:
        await terminal.shows(b"USDT 1s", since=time.monotonic_ns(), within_s=20.0)
        await asyncio.sleep(WARM_UP_S)
        rows: list[tuple[float, float]] = []
        while not rows or rows[-1][0] - rows[0][0] < seconds:
            rows.append((time.monotonic(), resident_mb(terminal.pid)))
            await asyncio.sleep(0.5)
        assert await terminal.leave() == 0
        return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=4, metavar="N", help="windows of each kind (default 4)")
    parser.add_argument("--seconds", type=float, default=7.0, metavar="N", help="real seconds of a window (default 7)")
    parser.add_argument("--rate", type=float, default=5_000.0, metavar="N", help="messages a second (default 5000)")
    parser.add_argument("--no-reader", action="store_true", help="leave out the windows with a link that only reads")
    parser.add_argument("--keys", type=int, default=KEYS, metavar="N", help=f"keys that are timed (default {KEYS})")
    parser.add_argument("--events", type=int, default=EVENTS * 5 // 4, metavar="N", help="that pass while memory is watched")
    parser.add_argument("--smoke", action="store_true", help="one short round, to see that it runs")
    arguments = parser.parse_args()
    rounds, seconds, keys, events = arguments.rounds, arguments.seconds, arguments.keys, arguments.events
    if arguments.smoke:
        rounds, seconds, keys, events = 1, 3.0, 6, 15_000
    kinds = tuple(kind for kind in KINDS if not (kind == "reader" and arguments.no_reader))
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(rounds, seconds, arguments.rate, kinds, keys, events, Path(folder)))


if __name__ == "__main__":
    main()
