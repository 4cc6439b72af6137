"""Durations, processes and tables: what the benches print and tell, and how they look at a process."""

import argparse
import os
import resource
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np

MB = 1024 * 1024
TOLD = "BARTER_BENCH_TOLD"  # names the file that `tell` writes to; whoever runs the benches sets it


class Figure(msgspec.Struct, omit_defaults=True):
    """One result. `beside` is value / the peer's value in the same run, `bound` value / the physical limit's."""

    name: str
    value: float | None = None
    unit: str = ""
    beside: float | None = None
    peer: str = ""
    bound: float | None = None
    limit: str = ""
    why: str = ""  # there is no value
    bench: str = ""


def tell(figure: Figure) -> None:
    """To whoever runs the benches, at once, so that what was measured before an end is kept; nobody listens to a bench alone."""
    if name := os.environ.get(TOLD):
        with Path(name).open("ab") as file:
            file.write(msgspec.json.encode(figure) + b"\n")


def lacking(name: str, why: str) -> None:
    """It cannot be measured here: no failure, but a row that says so."""
    print(f"{name}: not measured, since {why}")
    tell(Figure(name, why=why))


def new_file(parser: argparse.ArgumentParser, path: Path | None) -> BinaryIO | None:
    """`--out FILE`, opened before anything is measured; an old one is refused by the parser."""
    try:
        return path.open("xb") if path is not None else None
    except OSError as error:
        parser.error(f"--out {path}: {error.strerror}")


def write(file: BinaryIO | None, found: object) -> None:
    """As JSON that people can read, and close it; nothing where none was wanted."""
    if file is not None:
        with file:
            file.write(msgspec.json.format(msgspec.json.encode(found)) + b"\n")


def percentiles_us(ns: Iterable[int]) -> tuple[float, float, float, float]:
    """p50, p99, p99.9 and the largest of durations in nanoseconds, as microseconds; zeros without any."""
    values = np.fromiter(ns, dtype=np.int64)
    if not len(values):
        return 0.0, 0.0, 0.0, 0.0
    p50, p99, p999, most = np.percentile(values, (50, 99, 99.9, 100)) / 1000
    return float(p50), float(p99), float(p999), float(most)


def resident_mb(pid: int) -> float:
    """Memory that a process holds now."""
    status = Path(f"/proc/{pid}/statm")
    if status.exists():
        return int(status.read_text().split()[1]) * resource.getpagesize() / MB
    return int(_ps(pid, "rss")) / 1024


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        fields = stat.read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    seconds = 0.0
    for part in _ps(pid, "time").replace("-", ":").split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def _ps(pid: int, what: str) -> str:
    return subprocess.run(["ps", "-o", f"{what}=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout.strip()


def slope_a_minute(at_s: Sequence[float], values: Sequence[float]) -> float:
    """The straight line through the samples, in their unit a minute."""
    return float(np.polyfit(at_s, values, 1)[0]) * 60 if len(at_s) > 2 else 0.0


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Columns on stdout, the first to the left and the others to the right."""
    lines = [[_cell(cell) for cell in row] for row in (head, *rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(head))]
    for line in lines:
        first, *others = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        print("  " + "  ".join([first.strip().ljust(widths[0]), *others]))


def machine() -> str:
    """What the figures were made on, as far as it matters for comparing them."""
    load = os.getloadavg()[0]
    return f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, load {load:.1f}"


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.1f}" if abs(value) >= 10 else f"{value:.2f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
