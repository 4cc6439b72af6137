"""What every script does: bars from a file, runs that are timed, one line of JSON. It imports numpy alone.

    PYTHON SCRIPT BARS.npz STARTED RUNS

STARTED is the wall clock of whoever started the process, so that the first result counts imports and compiling.
"""

import json
import resource
import statistics
import sys
import time
from collections.abc import Callable, Mapping

import numpy as np

CAPITAL, FEE, SHARE, STOP, TARGET, WARM_UP = 10_000.0, 0.0005, 0.1, 2.0, 3.0, 34


def bars() -> dict[str, np.ndarray]:
    """open_ms, and open, high, low, close as prices, volume in units."""
    with np.load(sys.argv[1]) as file:
        return {name: file[name] for name in file.files}


def signals(close: np.ndarray, high: np.ndarray, low: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Crosses (1 up, -1 down, 0), RSI and ATR of every bar, by plain recursions: for those who want arrays."""
    n = len(close)
    cross, rsi, atr = np.zeros(n, np.int64), np.full(n, np.nan), np.full(n, np.nan)
    fast = slow = before = close[0]
    gain = loss = ranges = gap_before = 0.0
    for i, (c, h, low_) in enumerate(zip(close.tolist(), high.tolist(), low.tolist(), strict=True)):
        spread = h - low_
        if i:
            spread = max(spread, abs(h - before), abs(low_ - before))
            fast += (c - fast) * (2.0 / 13.0)
            slow += (c - slow) * (2.0 / 27.0)
            change = c - before
            gain += (max(change, 0.0) - gain) / 14.0
            loss += (max(-change, 0.0) - loss) / 14.0
        ranges += spread / 14.0 if i < 14 else (spread - ranges) / 14.0
        gap = fast - slow
        if i >= WARM_UP - 1:
            cross[i] = 1 if gap_before <= 0.0 < gap else -1 if gap_before >= 0.0 > gap else 0
            rsi[i] = 100.0 if loss == 0.0 else 100.0 - 100.0 / (1.0 + gain / loss)
            atr[i] = ranges
        gap_before, before = gap, c
    return cross, rsi, atr


def report(name: str, version: str, run: Callable[[], Mapping[str, float]], note: str = "") -> None:
    """`run` gives trades and final equity."""
    started, runs = float(sys.argv[2]), int(sys.argv[3])
    found = run()
    first_s = time.time() - started
    first_cpu_s = time.process_time()
    times, cpu = [], []
    for _ in range(runs):
        begun, busy = time.perf_counter(), time.process_time()
        found = run()
        times.append(time.perf_counter() - begun)
        cpu.append(time.process_time() - busy)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        json.dumps(
            {
                "name": name,
                "version": version,
                "first_s": first_s,
                "first_cpu_s": first_cpu_s,
                "warm_s": min(times, default=first_s),
                "warm_median_s": statistics.median(times or [first_s]),
                "warm_cpu_s": min(cpu, default=first_cpu_s),
                "memory_mb": memory,
                "trades": int(found["trades"]),
                "final": float(found["final"]),
                "note": note,
                **{key: value for key, value in found.items() if key not in ("trades", "final")},
            }
        )
    )
