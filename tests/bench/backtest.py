"""One strategy over the same bars, ours and others', each in an environment of its own, in one run.

    python -m tests.bench.backtest [--bars 525600] [--runs 5] [--environments FOLDER] [--only WORD]

The strategy is that of `peers/cross.py`. `first` is from the start of a process to its first result: imports, compiling and
one run; `warm` the best of the next runs, with their median and the CPU seconds of the quickest beside it. Ours and the bare
loop are started twice: with nothing compiled on the disk, and again. Ours reckons every statistic within each run, the bare
loop none. Peers that cannot be had are told with the reason. The loops alone, by turns in one process, are at the end.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from engine.backtest.generated import listing, synthetic
from tests.bench.figures import Figure, lacking, table, tell
from tests.bench.peer_fills import PEERS as PEER_RULES
from tests.bench.peer_fills import SAID, reckoned
from tests.bench.peers import common

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
PEERS = {
    "backtesting.py": ("backtesting_py.py", ("backtesting",)),
    "vectorbt": ("vectorbt_peer.py", ("vectorbt",)),
    "nautilus_trader": ("nautilus.py", ("nautilus_trader",)),
}
SLOW = {"nautilus_trader": 1, "backtesting.py": 2}  # runs after the first, at most
NOTES = (
    "barter-tui: prices on a tick of a millionth, the others floats: a stop may trigger one bar sooner or later.",
    *(f"{name}: {said}" for name, said in SAID.items()),
    "Reckoned: the bare arithmetic with the peer's rules of filling (`peer_fills.py`), and what is left of the difference.",
    "Of the peers none pays funding; the bars have none in this comparison, and the loops' own line has it.",
)


def write_bars(to: Path, bars: int, funding: bool) -> None:
    made = synthetic(listing("ASTER/USDT:USDT"), 60_000, 1_735_689_600_000, bars, 11)
    tick = float(made.contract.tick)
    columns = {name: np.round(getattr(made, name) * tick, 4) for name in ("open", "high", "low", "close")}
    due, rate = (made.funding_ms, made.funding_rate) if funding else (made.funding_ms[:0], made.funding_rate[:0])
    np.savez(to, open_ms=made.open_ms, volume=made.volume, funding_ms=due, funding_rate=rate, **columns)


def interpreter(folder: Path, name: str, wants: tuple[str, ...]) -> str:
    """The peer's own, made where it is not there yet. Raises RuntimeError with the reason where it cannot be had."""
    place = folder / name
    python = place / "bin" / "python"
    if not python.exists():
        print(f"making an environment for {name}", file=sys.stderr)
        for command in ([sys.executable, "-m", "venv", str(place)], [str(python), "-m", "pip", "install", "-q", *wants]):
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            if done.returncode:
                last = (done.stderr or done.stdout).strip().splitlines()[-1:]
                subprocess.run(["rm", "-rf", str(place)], check=False)
                raise RuntimeError(" ".join(last) or "it could not be installed")
    return str(python)


def run(python: str, script: str, bars: Path, runs: int, environ: dict[str, str] | None = None) -> dict[str, Any]:
    command = [python, str(HERE / "peers" / script), str(bars), repr(time.time()), str(runs)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **(environ or {})}, cwd=ROOT)
    if done.returncode:
        raise RuntimeError((done.stderr.strip().splitlines() or ["it ended without a word"])[-1])
    return dict(json.loads(done.stdout.splitlines()[-1]))


def bars_in(file: Path) -> int:
    with np.load(file) as held:
        return len(held["close"])


def figures(rows: list[dict[str, Any]], ours: dict[str, Any], bars: int) -> None:
    """Of those who have a warm run: ours beside each, the bare loop as the limit."""
    bare = next(row for row in rows if row["name"] == "bare numba loop")
    limit = {"bound": ours["warm_s"] / bare["warm_s"], "limit": bare["name"]}
    name = f"{bars:,} bars with every statistic, warm"
    tell(Figure(name, ours["warm_s"] * 1000, "ms", **limit))
    tell(Figure(f"{bars:,} bars, from nothing to the first result", ours["first_s"], "s"))
    for row in rows:
        if row["name"] in PEERS:
            peer = f"{row['name']} {row['version']}"
            tell(Figure(name, ours["warm_s"] * 1000, "ms", beside=ours["warm_s"] / row["warm_s"], peer=peer))


def compare(bars: Path, runs: int, environments: Path, only: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as empty:
        nothing = {"XDG_CACHE_HOME": empty, "NUMBA_CACHE_DIR": empty, "PYTHONPATH": str(ROOT)}
        for name, script in (("barter-tui", "ours.py"), ("bare numba loop", "bare.py")):
            rows.append({**run(sys.executable, script, bars, 0, nothing), "name": f"{name}, nothing compiled"})
            rows.append({**run(sys.executable, script, bars, runs, nothing), "name": name})
    for name, (script, wants) in PEERS.items():
        if only not in name:
            lacking(f"{bars_in(bars):,} bars beside {name}", "it was not asked for")
            continue
        try:
            rows.append(run(interpreter(environments, name, wants), script, bars, min(runs, SLOW.get(name, runs))))
        except RuntimeError as problem:
            lacking(f"{bars_in(bars):,} bars beside {name}", str(problem))
    return rows


def explain(bars: Path, rows: list[dict[str, Any]]) -> None:
    """Beside each peer, the final equity that its rules of filling come to."""
    with np.load(bars) as file:
        columns = [file[name] for name in ("open", "high", "low", "close")]
    _, high, low, close = columns
    columns += common.signals(close, high, low)
    for row in rows:
        row["reckoned"] = ("", "")
        if row["name"] in PEER_RULES:
            rules = (common.CAPITAL, common.FEE, common.SHARE, common.STOP, common.TARGET, PEER_RULES[row["name"]])
            trades, final = reckoned(*columns, *rules)
            more = "" if trades == row["trades"] else f", {trades - row['trades']:+} trades"
            row["reckoned"] = (f"{final:,.2f}", f"{row['final'] - final:+.6f}{more}")


def warm(row: dict[str, Any], ours: dict[str, Any]) -> tuple[str, str, str, str]:
    if row["name"].endswith("compiled"):
        return "", "", "", ""
    ratio = f"{row['warm_s'] / ours['warm_s']:.2f}"
    return f"{row['warm_s']:.4f}", ratio, f"{row['warm_median_s']:.4f}", f"{row['warm_cpu_s']:.4f}"


def loops(bars: Path, runs: int) -> None:
    """The compiled loop alone beside the bare one, by turns in this process, with funding."""
    from engine.backtest import compile
    from engine.backtest.judges import nobody
    from engine.backtest.loop import REFUSALS, Bars, Funding, Out
    from engine.backtest.run import setup
    from engine.backtest.series import WHOLE
    from engine.processor import indicators
    from tests.bench.bare_loop import bare
    from tests.bench.peers.cross import CONTRACT, COSTS, CROSS, unlimited

    with np.load(bars) as file:
        held = {name: file[name] for name in file.files}
    n = len(held["close"])
    ticks = [np.rint(held[name] / float(CONTRACT.tick)).astype(np.int64) for name in ("open", "high", "low", "close")]
    numbers = setup(CONTRACT, 60_000, unlimited(), COSTS, CROSS, common.CAPITAL)
    fast = compile.compiled(CROSS, False)
    columns = [held[name] for name in ("open", "high", "low", "close", "open_ms", "funding_ms", "funding_rate")]
    rules = (common.CAPITAL, common.FEE, common.SHARE, common.STOP, common.TARGET)
    series = Bars(held["open_ms"], *ticks, held["volume"].astype(np.int64))
    settled = Funding(held["funding_ms"], held["funding_rate"])
    equity = np.empty(n)
    out = Out(np.empty(n), np.empty((2 * n + 2, WHOLE), np.int64), np.empty((2 * n + 2, 4)), np.zeros(len(REFUSALS), np.int64))
    ours_s, bare_s = [], []
    rows = made = 0
    for _ in range(runs + 1):
        hot, memory, progress = np.array(indicators.empty()), np.zeros(4), np.zeros(2, np.int64)
        begun = time.perf_counter()
        rows = fast(series, settled, nobody(), numbers, CROSS.parameters(), hot, memory, out, progress)
        ours_s.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        made = bare(*columns, equity, *rules)
        bare_s.append(time.perf_counter() - begun)
    ours, least = min(ours_s[1:]), min(bare_s[1:])
    name = f"{n:,} bars with funding, the compiled loop alone"
    tell(Figure(name, ours * 1000, "ms", bound=ours / least, limit="bare numba loop"))
    print(f"\nthe loops alone, {n:,} bars with funding, best of {runs}:")
    print(f"  ours {ours * 1000:.2f} ms, {rows:,} trades, {out.equity[-1]:,.2f}")
    print(f"  bare {least * 1000:.2f} ms, {made:,} trades, {equity[-1]:,.2f}: ours takes {ours / least:.2f} times as long")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    options.add_argument("--bars", type=int, default=525_600)
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--only", default="", metavar="WORD", help="peers whose name holds it; none: no peer")
    options.add_argument("--environments", type=Path, metavar="FOLDER", help="where peers are installed, and kept")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        bars, funded = Path(scratch) / "bars.npz", Path(scratch) / "funded.npz"
        write_bars(bars, chosen.bars, False)
        write_bars(funded, chosen.bars, True)
        rows = compare(bars, chosen.runs, chosen.environments or Path(scratch) / "environments", chosen.only)
        explain(bars, rows)
        ours = next(row for row in rows if row["name"] == "barter-tui")
        print(f"{chosen.bars:,} bars; times in seconds, and as multiples of ours\n")
        times = ("first", "x", "CPU", "warm", "x", "median", "CPU")
        head = ("", "version", *times, "memory MB", "trades", "final equity", "reckoned", "left")
        table(
            head,
            [
                (
                    row["name"],
                    row["version"],
                    f"{row['first_s']:.2f}",
                    f"{row['first_s'] / ours['first_s']:.1f}",
                    f"{row['first_cpu_s']:.2f}",
                    *warm(row, ours),
                    f"{row['memory_mb']:.0f}",
                    f"{row['trades']:,}",
                    f"{row['final']:,.2f}",
                    *row["reckoned"],
                )
                for row in rows
            ],
        )
        turns_s = sum(row["first_s"] for row in rows) * chosen.runs
        print(f"\n{chosen.runs} runs of each by turns, a process each, would need some {turns_s:,.0f} s")
        print("\n" + "\n".join(f"- {note}" for note in NOTES))
        figures(rows, ours, chosen.bars)
        loops(funded, chosen.runs)


if __name__ == "__main__":
    main()
