"""What a run of the benches found, as a file, as a table in a terminal, and as the README's table."""

import platform
import re
import textwrap
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec

from engine import __version__
from tests.bench.figures import MB, Figure, table

PACKAGES = ("ccxt", "msgspec", "numba", "numpy", "textual", "websockets")
OPENING, CLOSING = "<!-- performance -->\n", "<!-- /performance -->\n"


class Machine(msgspec.Struct):
    system: str
    processor: str
    cores: int
    memory_mb: int
    load: float  # when the run began: how many others wanted a core


class Failure(msgspec.Struct):
    bench: str
    fact: str


class Report(msgspec.Struct):
    """`date` is UTC. `seconds` is how long the run took, `load_after` the load at its end; `cancelled`: benches are missing."""

    date: str
    quick: bool
    machine: Machine
    versions: dict[str, str]
    figures: list[Figure] = []
    failed: list[Failure] = []
    seconds: int = 0
    load_after: float = 0.0
    cancelled: bool = False


def this_machine(cores: int, load: float) -> Machine:
    told, memory = Path("/proc/cpuinfo"), Path("/proc/meminfo")
    names = re.findall(r"^model name\s*: (.+)$", told.read_text(), re.M) if told.is_file() else []
    kib = re.findall(r"^MemTotal:\s+(\d+)", memory.read_text(), re.M) if memory.is_file() else []
    system = f"{platform.system()} {platform.release()}"
    return Machine(system, (names or [platform.machine()])[0], cores, int((kib or ["0"])[0]) * 1024 // MB, round(load, 1))


def versions() -> dict[str, str]:
    found = {"barter-tui": __version__, "Python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "absent"
    return found


def rows(figures: Sequence[Figure]) -> list[tuple[str, str, str, str]]:
    """What, how much, beside whom, and of which limit; a figure beside several peers is one row."""
    found: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for one in figures:
        amount = f"{number(one.value)} {one.unit}" if one.value is not None else f"not measured: {one.why}"
        beside = f"{number(one.beside)} × {one.peer}" if one.beside is not None else ""
        bound = f"{number(one.bound)} × {one.limit}" if one.bound is not None else ""
        key = (f"{one.bench}: {one.name}", amount)
        held = found.setdefault(key, ([], []))
        for cells, cell in zip(held, (beside, bound), strict=True):
            cells += [cell] if cell else []
    return [(*key, "; ".join(beside), "; ".join(bound)) for key, (beside, bound) in found.items()]


def number(value: float) -> str:
    """About three digits of it."""
    if value == int(value) or abs(value) >= 1_000:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}" if abs(value) >= 0.1 else f"{value:.2g}"


HEAD = ("measured", "figure", "beside a peer", "of the limit")


def show(report: Report) -> None:
    table(HEAD, rows(report.figures))
    for one in report.failed:
        print(f"  FAILED {one.bench}: {one.fact}")


def readme(report: Report) -> str:
    """The part between the marks, with its last line break."""
    machine, size = report.machine, " --quick" if report.quick else ""
    with_what = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    words = (
        f"Measured on {report.date[:10]} by `python -m tests.bench{size}` in {report.seconds:,} s: {machine.processor}, "
        f"{machine.cores} cores, {machine.memory_mb:,} MB, {machine.system}, "
        f"load {machine.load:g} when it began and {report.load_after:g} when it ended; {with_what}. "
        "Machines are shared and figures differ from run to run; the ratios were made within this run."
    )
    lines = [
        textwrap.fill(words, 130, break_on_hyphens=False),
        "",
        f"| {' | '.join(word.capitalize() for word in HEAD)} |",
        "|" + "---|" * len(HEAD),
        *(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in rows(report.figures)),
        *(f"\nFailed, {one.bench}: {one.fact}" for one in report.failed),
    ]
    return "\n".join(lines) + "\n"


def write_readme(path: Path, report: Report) -> None:
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(OPENING)
    path.write_text(before + OPENING + readme(report) + CLOSING + rest.split(CLOSING)[1], encoding="utf-8")


def load(path: Path) -> Report:
    return msgspec.json.decode(path.read_bytes(), type=Report)
