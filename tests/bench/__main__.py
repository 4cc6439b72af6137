"""All benches, one after the other, each a process of its own: a table on stdout, JSON in a file.

    python -m tests.bench [--quick] [--only NAME] [--peers FOLDER] [--out FILE.json]
    python -m tests.bench --readme FILE.json

Ctrl-C ends it and keeps what was measured. Exit codes: 0, every fact held; 1, a fact did not hold or a bench did not end in
time, and the last lines name it; 2, wrong arguments; 130, cancelled. What cannot be measured here is a row that says why.
"""

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import msgspec

from tests.bench.figures import TOLD, Figure, new_file, write
from tests.bench.report import Failure, Report, load, show, this_machine, versions, write_readme

ROOT = Path(__file__).resolve().parents[2]
LEAVE_S = 30.0  # for a bench that was interrupted: its venue and engine are told to go
CANCELLED = 130


class Bench(NamedTuple):
    """`command` goes to this Python; `quick` and `full` are its further arguments, and the seconds that they may take at most."""

    name: str
    command: tuple[str, ...]
    quick: tuple[str, ...] = ()
    quick_s: float = 120.0
    full: tuple[str, ...] = ()
    full_s: float = 1_800.0


def bench(name: str, quick: str, quick_s: float = 120.0, full: str = "", full_s: float = 1_800.0) -> Bench:
    return Bench(name, ("-m", f"tests.bench.{name}"), tuple(quick.split()), quick_s, tuple(full.split()), full_s)


BENCHES = (
    bench("market_data", "--rounds 1"),
    bench("pipeline", "--passes 1"),
    bench("journal", "--passes 1 --kills 5 --seek 100000", full_s=3_600),
    bench("backtest", "--bars 100000 --runs 3", full_s=3_600),
    bench("tick_to_wire", "--seconds 10 --alone 100"),
    bench("model", "--windows 2 --seconds 5"),
    bench("console", "--rounds 1 --seconds 8 --keys 8 --events 15000 --no-reader"),
    bench("kill", "--smoke"),
    bench("soak", "--seconds 10"),
    bench("faults", "--quick", 240.0, full_s=7_200),
    bench("hours", "--hours 0.03 --speed 8 --every 10", full_s=5_400),
)


def with_peers(one: Bench, folder: Path) -> Bench:
    """The environments of `backtest --environments`, where nautilus_trader has one too."""
    python = folder / "nautilus_trader" / "bin" / "python"
    more: tuple[str, ...] = ()
    if one.name == "backtest":
        more = ("--environments", str(folder))
    elif one.name == "journal" and python.exists():
        more = ("--peer", str(python))
    return one._replace(command=one.command + more)


def run(benches: tuple[Bench, ...], report: Report, quick: bool) -> None:
    """Fill the report; a KeyboardInterrupt marks it as cancelled."""
    began = time.monotonic()
    try:
        for number, one in enumerate(benches, start=1):
            _run(one, report, quick, f"{one.name} ({number} of {len(benches)})")
    except KeyboardInterrupt:
        report.cancelled = True
    report.seconds, report.load_after = round(time.monotonic() - began), round(os.getloadavg()[0], 1)


def _run(one: Bench, report: Report, quick: bool, title: str) -> None:
    arguments, most_s = (one.quick, one.quick_s) if quick else (one.full, one.full_s)
    with tempfile.TemporaryDirectory() as name:
        told, words = Path(name) / "told", Path(name) / "words"
        told.touch()
        began = time.monotonic()
        with words.open("wb") as file:
            environ = {**os.environ, TOLD: str(told)}
            command = (sys.executable, *one.command, *arguments)
            process = subprocess.Popen(command, cwd=ROOT, env=environ, stdout=file, stderr=file, start_new_session=True)
        try:
            ended = _wait(process, told, title, began, most_s)
        finally:
            _end(process)
            found = [msgspec.json.decode(line, type=Figure) for line in told.read_bytes().splitlines()]
            report.figures += [msgspec.structs.replace(figure, bench=one.name) for figure in found]
        if not ended:
            report.failed.append(Failure(one.name, f"it did not end within {most_s:g} s"))
        elif process.returncode:
            report.failed.append(Failure(one.name, fact(words.read_text(encoding="utf-8", errors="replace"))))
        elif not found:
            report.failed.append(Failure(one.name, "it told no figure"))
        outcome = "failed" if any(failure.bench == one.name for failure in report.failed) else f"{len(found)} figures"
        _say(f"{title}: {outcome}, {time.monotonic() - began:.0f} s\n")


def _wait(process: "subprocess.Popen[bytes]", told: Path, title: str, began: float, most_s: float) -> bool:
    """Whether it ended within its time; on a terminal a line tells how far it is."""
    while (passed := time.monotonic() - began) < most_s:
        if sys.stderr.isatty() or passed < 1.0:
            figures = told.read_bytes().count(b"\n")
            _say(f"{title}: {passed:.0f} s of at most {most_s:.0f} s, {figures} figures" + ("" if sys.stderr.isatty() else "\n"))
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(min(1.0, max(most_s - passed, 0.0)))
            return True
    return process.poll() is not None


def _end(process: "subprocess.Popen[bytes]") -> None:
    """What still runs of it is interrupted, so that it ends its own venue and engine; in the end it is killed."""
    with contextlib.suppress(subprocess.TimeoutExpired, ProcessLookupError):
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGINT)
            process.wait(LEAVE_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def fact(words: str) -> str:
    """The last line that a bench wrote, which is its exception; an assertion without words is named by its code."""
    lines = [line.strip("| ") for line in words.splitlines() if line.strip("| +-^~")] or ["it ended without a word"]
    if lines[-1] == "AssertionError":
        return next((line for line in reversed(lines) if line.startswith("assert ")), lines[-1])
    return lines[-1].removeprefix("AssertionError: ")


def _say(text: str) -> None:
    print(f"\r\x1b[K{text}" if sys.stderr.isatty() else text, end="", file=sys.stderr, flush=True)


def make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.bench", description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small sizes, all within five minutes on two idle cores")
    names = [one.name for one in BENCHES]
    parser.add_argument("--only", action="append", choices=names, metavar="NAME", help=f"more than once: {', '.join(names)}")
    parser.add_argument("--peers", type=Path, metavar="FOLDER", help="the peers' environments, made where they are not")
    parser.add_argument("--out", type=Path, metavar="FILE", help="a new file for the JSON")
    parser.add_argument("--readme", type=Path, metavar="FILE", help="run nothing; write the README's table from that JSON")
    return parser


def main() -> int:
    parser = make_parser()
    chosen = parser.parse_args()
    if chosen.readme:
        write_readme(ROOT / "README.md", load(chosen.readme))
        return 0
    benches = tuple(one for one in BENCHES if not chosen.only or one.name in chosen.only)
    if chosen.peers:
        benches = tuple(with_peers(one, chosen.peers.resolve()) for one in benches)
    elif chosen.quick:  # to install them takes longer than all the rest
        benches = tuple(one._replace(quick=(*one.quick, "--only", "none")) if one.name == "backtest" else one for one in benches)
    file = new_file(parser, chosen.out)
    date = datetime.now(UTC).isoformat(timespec="seconds")
    report = Report(date, chosen.quick, this_machine(os.cpu_count() or 1, os.getloadavg()[0]), versions())
    run(benches, report, chosen.quick)
    write(file, report)
    show(report)
    if report.cancelled:
        print("cancelled: the rest was not measured", file=sys.stderr)
        return CANCELLED
    return int(bool(report.failed))


if __name__ == "__main__":
    sys.exit(main())
