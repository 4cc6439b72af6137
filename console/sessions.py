"""Recorded sessions at the command line: list, show, verify, and replay through the same core."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from console import captures
from console import format as show
from console.actions import ACTIONS
from console.exits import Exit
from engine import door
from engine.config import Settings, state_dir
from engine.errors import ConfigError, SessionError
from engine.queue.access import access
from engine.queue.bridge import Order
from engine.queue.export import export
from engine.queue.files import FOLDER, find, recorded, session_name, size
from engine.queue.fluvio import SESSIONS, topic_of
from engine.queue.retention import condense, due
from engine.queue.session import Session
from engine.queue.tables import export_tables
from engine.replay import Outcome, Replay
from engine.replay.drift import drift


def run(
    settings: Settings,
    words: list[str],
    head: str,
    yes: bool = False,
    to: Path | None = None,
    form: str = "",
    last_s: float | None = None,
    at: str = "",
) -> int:
    """`barter-tui sessions [ACTION SESSION]`. Raises ConfigError and SessionError."""
    action, *names = words or ["list"]
    if action not in ACTIONS:
        raise ConfigError("command line", action, "sessions cannot do that", f"one of {', '.join(ACTIONS)}")
    wanted = 0 if action == "list" else 1
    if form and action != "export":
        raise ConfigError("command line", "--as", "only an export uses it", "`sessions export SESSION --to FILE --as FORM`")
    for flag, given in (("--last", last_s is not None), ("--at", bool(at))):
        if given and action != "bundle":
            raise ConfigError("command line", flag, "only a bundle uses it", "`sessions bundle SESSION --to FILE.zip`")
    if (action in ("export", "bundle")) != (to is not None):
        expected = "`sessions export SESSION --to FILE`"
        raise ConfigError("command line", "--to", "an export and a bundle need it, and nothing else does", expected)
    if action == "prune":
        return _prune(settings, names, yes)
    if action == "import":
        return _import(state_dir(settings), names)
    if action == "pull" and len(names) == 1:
        return _pull(settings, names[0])
    if len(names) != wanted:
        expected = f"`sessions {action} SESSION`" if wanted else "`sessions list`"
        raise ConfigError("command line", " ".join(words), "the number of names is wrong", expected)
    if head and action != "verify":
        raise ConfigError("command line", "--head", "only a verification uses it", "`sessions verify SESSION --head HASH`")
    folder = state_dir(settings)
    if action == "list":
        return _list(folder)
    with Session(find(folder, names[0])) as session:
        if to is not None:
            return _export(session, to, form) if action == "export" else _bundle(session, folder, to, last_s, at)
        if action == "drift":
            return _drift(session)
        return _show(session) if action == "show" else _verify(session, head)


def replay(settings: Settings, name: str, symbols: tuple[str, ...], as_json: bool) -> int:
    """`--replay SESSION --no-ui`: the inputs through the core, each output compared. `symbols`: that it must hold."""
    with Session(find(state_dir(settings), name)) as session:
        held = session.opening.symbols
        missing = [symbol for symbol in symbols if symbol not in held]
        if missing:
            raise SessionError(str(session.path), f"it does not hold {missing[0]}, but {', '.join(held)}")
        runner = Replay(session)
        with progress(session.inputs) as move:
            outcome = runner.run(move)
        if as_json:
            print(msgspec.json.encode({"type": "replay", **msgspec.structs.asdict(outcome)}).decode())
        else:
            print(_told(outcome))
        if outcome.difference is None and session.closing is None:
            _tell_cut_off()
        if outcome.difference is not None and (note := _other_code(session)):
            print(f"barter-tui: {note}", file=sys.stderr)
    return Exit.OK if outcome.difference is None else Exit.DIFFERENT


def _told(outcome: Outcome) -> str:
    found = outcome.difference
    if found is None:
        return f"replay identical: {outcome.inputs:,} inputs, {outcome.outputs:,} outputs"
    return (
        f"replay differs at input {found.input_number:,} ({show.date(found.at)}), after {outcome.outputs:,} equal outputs\n"
        f"  input:    {found.event}\n  recorded: {found.recorded}\n  replayed: {found.replayed}"
    )


def _other_code(session: Session) -> str:
    from engine.runtime.recorder import code_hash

    then, now = session.opening.code, code_hash()
    return f"the session was recorded by other code of the engine ({then}) than replays it ({now})." if then != now else ""


@contextmanager
def progress(total: int | None, doing: str = "replaying") -> Iterator[Callable[[int], None]]:
    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task(doing, total=total)
        yield lambda done: shown.update(task, completed=done)


def _list(folder: Path) -> int:
    paths = recorded(folder)
    if not paths:
        print(f"No session is recorded in {folder} yet: every run records one.")
        return Exit.OK
    table = Table(box=None, pad_edge=False)
    for head in ("session", "mode", "symbols", "started (UTC)", "span"):
        table.add_column(head, no_wrap=True)
    for head in ("inputs", "fills", "PnL", "size"):
        table.add_column(head, justify="right", no_wrap=True)
    table.add_column("end")
    for path in paths:
        table.add_row(*_row(path))
    wide = max(Console().width, 150) if not sys.stdout.isatty() else None
    Console(width=wide, highlight=False).print(table)
    print(f"{len(paths)} in {folder / FOLDER}, {sum(map(size, paths)) / 1e6:,.1f} MB.")
    return Exit.OK


def _row(path: Path) -> tuple[str, ...]:
    room = f"{size(path) / 1e6:.1f} MB"
    try:
        with Session(path) as session:
            opening, closing, gone = session.opening, session.closing, session.condensed
            who = (opening.session, opening.mode.value, " ".join(symbol.partition("/")[0] for symbol in opening.symbols))
            started = show.date(opening.started_ns)
            if closing is None:
                count = session.inputs if gone is None else gone.inputs
                end = "cut off, or still running" if gone is None else "cut off; market data removed"
                return (*who, started, "-", f"{count:,}", "-", "-", room, end)
            span = _span(closing.ended_ns - opening.started_ns)
            pnl = f"{float(closing.pnl):+.2f}"
            end = "in good order" if gone is None else "in good order; market data removed"
            return (*who, started, span, f"{closing.inputs:,}", str(closing.fills), pnl, room, end)
    except SessionError as problem:
        return (session_name(path), "?", "?", "?", "?", "?", "?", "?", room, problem.problem)


def _show(session: Session) -> int:
    facts = {"file": str(session.path), **msgspec.to_builtins(session.opening)}
    closing = session.closing
    facts |= msgspec.to_builtins(closing) if closing is not None else {"inputs": session.inputs}
    for name in ("started_ns", "ended_ns"):
        if name in facts:
            facts[name.removesuffix("_ns")] = show.date(facts.pop(name))
    if closing is None:
        facts["end"] = "none: its engine was killed, or still runs"
    if (gone := session.condensed) is not None:
        facts["market data"] = f"removed {show.date(gone.at_ns)}; its head was {gone.head}"
    for name, value in facts.items():
        print(f"{name:<9} {', '.join(value) if isinstance(value, tuple) else value if value != '' else '-'}")
    return Exit.OK


def _drift(session: Session) -> int:
    with progress(session.inputs, "filling anew") as move:
        found = drift(session, move)
    if not found.orders:
        print("No order was filled in it, and none would have been on paper.")
        return Exit.OK
    table = Table(box=None, pad_edge=False)
    for head in ("sent (UTC)", "market", "for", "side"):
        table.add_column(head, no_wrap=True)
    for head in ("wanted", "filled", "at", "on paper", "at", "drift bps", "cost"):
        table.add_column(head, justify="right", no_wrap=True)
    for one in found.orders:
        live, paper, step = one.live, one.paper, one.step
        prices = (f"{price:.8g}" if (price := side.price(step)) is not None else "-" for side in (live, paper))
        at, there = prices
        worse = f"{one.bps:+.2f}" if one.bps is not None else "-"
        who = (show.date(one.at), show.market_name(one.market), one.purpose, "buy" if one.buys else "sell")
        sizes = (f"{one.wanted * step:f}", f"{live.quantity * step:f}", at, f"{paper.quantity * step:f}", there)
        table.add_row(*who, *sizes, worse, f"{one.cost:+.4f}")
    wide = max(Console().width, 150) if not sys.stdout.isatty() else None
    Console(width=wide, highlight=False).print(table)
    print(
        f"{len(found.orders)} orders, {found.unmatched} of them filled otherwise than on paper; drift {found.bps:+.2f} bps"
        f" (above 0: worse than paper), cost {found.cost:+.4f} USDT, fees {found.fees_live:.4f} against {found.fees_paper:.4f};"
        f" orders took {found.delay_ms:.0f} ms."
    )
    return Exit.OK


def _prune(settings: Settings, names: list[str], yes: bool) -> int:
    folder, limits, now = state_dir(settings), settings.queue, time.time_ns()
    if names:
        paths = [find(folder, name) for name in names]
        if door.taken(folder) and paths[-1:] and recorded(folder)[-1] in paths:
            raise SessionError(names[0], "an engine runs and writes the newest session: stop it first")
    else:
        own = session_name(recorded(folder)[-1]) if door.taken(folder) and recorded(folder) else ""
        paths = due(folder, limits.keep_days, limits.keep_gb, now, own)
    if not paths:
        print(f"Nothing is due: keep_days is {limits.keep_days:g} and keep_gb {limits.keep_gb:g}.")
        return Exit.OK
    for path in paths:
        print("  ".join(_row(path)[place] for place in (0, 3, 8, 9)))
    question = f"Remove the market data of {len(paths)} sessions ({sum(map(size, paths)) / 1e6:,.1f} MB)? Money records stay."
    if not yes and not (sys.stdin.isatty() and _agreed(f"{question} They cannot be replayed any more. [y/N] ")):
        if not sys.stdin.isatty():
            raise ConfigError("command line", "prune", "it asks, and there is no terminal to ask on", "--yes with it")
        print("Nothing was removed.")
        return Exit.OK
    freed, problems = 0, []
    with progress(len(paths), "removing") as move:
        for done, path in enumerate(paths, start=1):
            try:
                freed += condense(path, now)
            except SessionError as problem:
                problems.append(str(problem))
            move(done)
    print(f"{len(paths) - len(problems)} sessions lost their market data: {freed / 1e6:,.1f} MB are free.")
    for text in problems:
        print(f"barter-tui: left as it is: {text}", file=sys.stderr)
    return Exit.DAMAGED if problems else Exit.OK


def _pull(settings: Settings, name: str) -> int:
    """In a process of its own: the client of Fluvio can freeze one, or crash at its end."""
    topics = topic_of(settings.engine.symbols, SESSIONS), topic_of(settings.engine.symbols)
    order = Order(str(state_dir(settings)), access(settings.queue), topics=topics, session=name)
    line = msgspec.json.encode(order) + b"\n"
    words = (sys.executable, "-P", "-m", "engine.queue.bridge", "pull")
    done = subprocess.run(words, input=line, capture_output=True, check=False)
    if done.returncode:
        told = done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
        last = told or f"the process that fetches it ended with code {done.returncode}"
        raise SessionError(name, f"it was not fetched: {last}")
    with Session(Path(done.stdout.decode().strip())) as session:
        return _verify(session, "")


def _export(session: Session, to: Path, form: str) -> int:
    with progress(session.inputs, "exporting") as move:
        if form not in ("", "jsonl"):
            counts = export_tables(session, to, form, move)
            words = ", ".join(f"{count:,} {name}" for name, count in counts.items() if count)
            print(f"{words} in {to}{os.sep}.")
            return Exit.OK
        count = export(session, to, move)
    print(f"{count:,} events in {to}.")
    return Exit.OK


def _bundle(session: Session, folder: Path, to: Path, last_s: float | None, at: str) -> int:
    from console.bundle import LAST_S, bundle

    with progress(session.inputs, "bundling") as move:
        made = bundle(session, folder, to, LAST_S if last_s is None else last_s, move, at)
    print(f"{to}: {size(to) / 1e6:.1f} MB, {made.lines:,} journal lines. It holds no key; look through it before you send it.")
    if made.problem:
        print(f"barter-tui: the bundle holds what lies before the damage: {made.problem}", file=sys.stderr)
    return Exit.OK


def _import(folder: Path, names: list[str]) -> int:
    """Captures into the state folder's own. Raises ConfigError, CaptureError and StateError."""
    if not names:
        raise ConfigError("command line", "import", "there is no file named", "`sessions import FILE ...`")
    for name in names:
        with progress(None, "reading") as move:  # how many frames there are is known when all are read
            found = captures.take(folder, Path(name), move)
        known = "was there already" if found.known else "is kept"
        for line in found.words:
            print(line)
        print(f"{found.path.name} {known}: `barter-tui --capture {found.path.name}` plays it.")
    return Exit.OK


def _agreed(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:
        return False


def _verify(session: Session, head: str) -> int:
    if (gone := session.condensed) is not None:
        count = sum(1 for _ in session.kept())
        print(f"verified: {count:,} kept records; market data were removed {show.date(gone.at_ns)}, its head was {gone.head}")
        if head and head.lower() != gone.head:
            raise SessionError(str(session.path), f"it is not the session of that head: its own was {gone.head}")
        return Exit.OK
    found = session.verify(head)
    print(f"verified: {found.chunks:,} chunks, {found.inputs:,} inputs, {found.outputs:,} outputs; head {found.head}")
    if not found.closed:
        _tell_cut_off()
    return Exit.OK


def _tell_cut_off() -> None:
    print("barter-tui: the session was cut off: its engine was killed, or still runs.", file=sys.stderr)


def _span(ns: int) -> str:
    seconds = int(ns / 1e9)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
