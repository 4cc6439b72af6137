"""What this machine has and lacks for the program, each lack with the command that mends it."""

import asyncio
import os
import shutil
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from console.exits import Exit
from engine import trial
from engine.config import Settings, state_dir
from engine.errors import LimitError
from engine.judgment.answer import AnswerError
from engine.model import Found, Ollama, on_this_machine, threads

SPARE = 1.8  # of a model's size on the disk: what it takes in memory with its context (measured 2026-11)
FITS_GB = ((40, "ministral-3:8b"), (0, "ministral-3:3b"))  # memory, and the Mistral that answers in time there without a GPU
NICE = 10  # of the group of the server's processes, from which on it weighs little


class Finding(msgspec.Struct, frozen=True):
    """`mend` is a command, or what to do; "" where nothing is wrong. What is not `needed` costs comfort only."""

    what: str
    good: bool
    text: str
    mend: str = ""
    needed: bool = True


def suggested() -> str:
    """The Mistral for this machine."""
    gb = _memory_gb()[0]
    return next(name for least, name in FITS_GB if gb >= least)


def run(settings: Settings) -> int:
    """Print every finding; 0 where nothing that is needed is missing."""
    findings = [_state(settings), _limits(settings), *asyncio.run(_model(settings))]
    console = Console(highlight=False, width=None if sys.stdout.isatty() else max(Console().width, 120))
    for one in findings:
        sign, look = ("ok", "green") if one.good else ("missing", "bold red") if one.needed else ("better", "yellow")
        row = Table.grid()  # so that what is long goes on below where it began
        for width in (8, 14, None):
            row.add_column(width=width)
        row.add_row(Text(sign, look), Text(one.what, "bold"), Text(one.text))
        console.print(row)
        if one.mend:
            console.print(Text(f"{'':<22}{one.mend}", "bold"), soft_wrap=True)  # on one line, to be copied
    lacking = [one for one in findings if not one.good and one.needed]
    if lacking:
        console.print("\nWithout a model, rules judge: everything else works.", markup=False)
    return Exit.VENUE if lacking else Exit.OK


def _limits(settings: Settings) -> Finding:
    """Each limit, tripped once, with what it says."""
    try:
        outcomes = trial.run(settings.risk, settings.judgment)
    except LimitError as problem:
        return Finding("limits", False, str(problem), "nothing: do not trade with this program")
    width = max(len(one.limit) for one in outcomes)
    said = "\n".join(f"{one.limit:<{width}}  {one.said}" for one in outcomes)
    return Finding("limits", True, f"all {len(outcomes)} trials are refused as they must be:\n{said}")


def _state(settings: Settings) -> Finding:
    from engine.runtime import latch

    folder = state_dir(settings)
    try:
        latch.prepare(folder)
    except Exception as problem:
        return Finding("state folder", False, str(problem), "--set engine.state_dir=FOLDER")
    halted = latch.read(folder)
    if halted:
        return Finding("state folder", False, f"{folder}: trading is halted ({halted})", "barter-tui release", needed=False)
    free = shutil.disk_usage(folder).free / 1e9
    return Finding("state folder", True, f"{folder}, {free:.0f} GB free")


async def _model(settings: Settings) -> list[Finding]:
    wanted = settings.judgment
    if wanted.judge == "rules" or ":" in wanted.judge:
        return [Finding("judge", True, f"[judgment] judge is {wanted.judge}: no model is asked")]
    findings = []
    if not on_this_machine(wanted.host):
        text = f"{wanted.host} is another machine: whoever runs it reads and answers every question"
        findings.append(Finding("server", False, text, "--set judgment.host=http://127.0.0.1:11434", needed=False))
    server = Ollama(wanted)
    try:
        found = await server.find(wanted.model)
        findings.append(Finding("server", True, f"Ollama {found.version} at {wanted.host}"))
        findings.append(Finding("model", True, f"{found.name}, {found.size / 1e9:.1f} GB, digest {found.digest[:12]}"))
        findings += [await _memory(server, found), _threads(settings), *_priority(wanted.host)]
        if wanted.shadow:
            findings.append(await _shadow(server, wanted.shadow))
    except AnswerError as problem:
        if problem.kind == "missing":
            findings.append(Finding("server", True, f"Ollama at {wanted.host}"))
            name = wanted.model or suggested()
            findings.append(Finding("model", False, _capital(problem), f"barter-tui model pull {name}"))
        else:
            mend = (
                "ollama serve"
                if shutil.which("ollama")
                else "install Ollama (its site has one command for it), then: ollama serve"
            )
            findings.append(Finding("server", False, _capital(problem), mend))
        findings.append(_threads(settings))
    finally:
        await server.close()
    return findings


async def _shadow(server: Ollama, name: str) -> Finding:
    try:
        found = await server.find(name)
    except AnswerError as problem:
        return Finding("shadow", False, _capital(problem), f"barter-tui model pull {name}", needed=False)
    return Finding("shadow", True, f"{found.name}, digest {found.digest[:12]}")


async def _memory(server: Ollama, found: Found) -> Finding:
    loaded = (await server.loaded()).get(found.name)
    if loaded is not None:
        size, on_gpu = loaded
        place = f", {on_gpu / size:.0%} of it on a GPU" if size and on_gpu else ", all of it on the CPU"
        return Finding("memory", True, f"the model is loaded: {size / 1e9:.1f} GB{place}")
    needs, (_, free) = found.size * SPARE / 1e9, _memory_gb()
    if free and needs > free:
        mend = f"barter-tui model pull {suggested()}, and --set judgment.model={suggested()}"
        return Finding("memory", False, f"it needs some {needs:.1f} GB, and {free:.1f} GB are free", mend)
    return Finding("memory", True, f"it needs some {needs:.1f} GB; {free:.1f} GB are free")


def _threads(settings: Settings) -> Finding:
    cores, used = os.cpu_count() or 1, threads(settings.judgment)
    if cores > 1 and used >= cores:
        text = f"{used} threads on {cores} cores leave none to the engine"
        return Finding("threads", False, text, f"--set judgment.num_thread={cores - 1}", needed=False)
    return Finding("threads", True, f"{used} of {cores} cores")


def _priority(host: str) -> list[Finding]:
    """Whether the server on this machine gives way to the engine, where that can be seen (Linux)."""
    if not on_this_machine(host) or not Path("/proc").is_dir():
        return []
    servers = [pid for pid in _processes() if _name(pid) in ("ollama", "llama-server")]
    if not servers:
        return []
    rude = [pid for pid in servers if not _gives_way(pid)]
    if not rude:
        return [Finding("priority", True, "the server gives way to the engine")]
    numbers = " ".join(map(str, rude))
    mend = f"for p in {numbers}; do chrt -a -i -p 0 $p; echo 19 > /proc/$p/autogroup; done"
    text = "the server does not give way: while it writes, orders wait for it (its owner may run this)"
    return [Finding("priority", False, text, mend, needed=False)]


def _processes() -> list[int]:
    return [int(folder.name) for folder in Path("/proc").iterdir() if folder.name.isdigit()]


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""  # it ended meanwhile


def _gives_way(pid: int) -> bool:
    """Scheduled as idle, and weighed as little where Linux groups processes by session: `nice` counts only within such a group.

    Tick-to-wire p99 while the model wrote, against not writing (2 cores, 2026-11): 4.7 at nice 19 in a session of its own,
    1.8 with the group at 19 too, 1.2 scheduled as idle beside.
    """
    try:
        if os.sched_getscheduler(pid) != os.SCHED_IDLE:
            return False
        grouped = Path("/proc/sys/kernel/sched_autogroup_enabled")
        if not grouped.exists() or grouped.read_text().strip() != "1":
            return True
        return int(Path(f"/proc/{pid}/autogroup").read_text().rpartition("nice")[2]) >= NICE
    except (OSError, ValueError):
        return True  # it ended, or is not ours to see


def _memory_gb() -> tuple[float, float]:
    """All and free; 0 where it cannot be told."""
    try:
        page = os.sysconf("SC_PAGE_SIZE")
        total = page * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (ValueError, OSError):
        return 0.0, 0.0
    try:
        lines = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
        return total, int(lines["MemAvailable"].split()[0]) / 1e6
    except (OSError, KeyError, ValueError, IndexError):
        return total, page * os.sysconf("SC_AVPHYS_PAGES") / 1e9 if "SC_AVPHYS_PAGES" in os.sysconf_names else 0.0


def _capital(problem: Exception) -> str:
    text = str(problem)
    return text[:1].upper() + text[1:]
