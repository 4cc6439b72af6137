"""Recorded sessions at the command line: list, show, verify, and replay through the same core."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from console.exits import Exit
from engine.config import Settings, state_dir
from engine.errors import ConfigError, SessionError
from engine.queue.local import FOLDER, Session, find, recorded, session_name, size
from engine.replay import Outcome, Replay

ACTIONS = {
    "list": "the recorded sessions of the mode, oldest first (the default)",
    "show": "what is known of one session",
    "verify": "check every hash of one session; with --head against a hash that you kept",
}


def run(settings: Settings, words: list[str], head: str) -> int:
    """`barter-tui sessions [list | show SESSION | verify SESSION]`. Raises ConfigError and SessionError."""
    action, *names = words or ["list"]
    if action not in ACTIONS:
        raise ConfigError("command line", action, "sessions cannot do that", f"one of {', '.join(ACTIONS)}")
    wanted = 0 if action == "list" else 1
    if len(names) != wanted:
        expected = f"`sessions {action} SESSION`" if wanted else "`sessions list`"
        raise ConfigError("command line", " ".join(words), "the number of names is wrong", expected)
    if head and action != "verify":
        raise ConfigError("command line", "--head", "only a verification uses it", "`sessions verify SESSION --head HASH`")
    folder = state_dir(settings)
    if action == "list":
        return _list(folder)
    with Session(find(folder, names[0])) as session:
        return _show(session) if action == "show" else _verify(session, head)


def replay(settings: Settings, name: str, symbols: tuple[str, ...], as_json: bool) -> int:
    """`--replay SESSION --no-ui`: the inputs through the core, each output compared. `symbols`: that it must hold."""
    with Session(find(state_dir(settings), name)) as session:
        held = session.opening.symbols
        missing = [symbol for symbol in symbols if symbol not in held]
        if missing:
            raise SessionError(str(session.path), f"it does not hold {missing[0]}, but {', '.join(held)}")
        runner = Replay(session)
        with _progress(session.inputs) as move:
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
        f"replay differs at input {found.input_number:,} ({_time(found.at)}), after {outcome.outputs:,} equal outputs\n"
        f"  input:    {found.event}\n  recorded: {found.recorded}\n  replayed: {found.replayed}"
    )


def _other_code(session: Session) -> str:
    from engine.runtime.recorder import code_hash

    then, now = session.opening.code, code_hash()
    return f"the session was recorded by other code of the engine ({then}) than replays it ({now})." if then != now else ""


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown:
        task = shown.add_task("replay", total=total)
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
    print(f"{len(paths)} in {folder / FOLDER}, {sum(map(size, paths)) / 1e6:,.1f} MB; none is ever removed by this program.")
    return Exit.OK


def _row(path: Path) -> tuple[str, ...]:
    room = f"{size(path) / 1e6:.1f} MB"
    try:
        with Session(path) as session:
            opening, closing = session.opening, session.closing
            who = (opening.session, opening.mode.value, " ".join(symbol.partition("/")[0] for symbol in opening.symbols))
            started = _time(opening.started_ns)
            if closing is None:
                return (*who, started, "-", f"{session.inputs:,}", "-", "-", room, "cut off, or still running")
            span = _span(closing.ended_ns - opening.started_ns)
            pnl = f"{float(closing.pnl):+.2f}"
            return (*who, started, span, f"{closing.inputs:,}", str(closing.fills), pnl, room, "in good order")
    except SessionError as problem:
        return (session_name(path), "?", "?", "?", "?", "?", "?", "?", room, problem.problem)


def _show(session: Session) -> int:
    facts = {"file": str(session.path), **msgspec.to_builtins(session.opening)}
    closing = session.closing
    facts |= msgspec.to_builtins(closing) if closing is not None else {"inputs": session.inputs}
    for name in ("started_ns", "ended_ns"):
        if name in facts:
            facts[name.removesuffix("_ns")] = _time(facts.pop(name))
    if closing is None:
        facts["end"] = "none: its engine was killed, or still runs"
    for name, value in facts.items():
        print(f"{name:<9} {', '.join(value) if isinstance(value, tuple) else value if value != '' else '-'}")
    return Exit.OK


def _verify(session: Session, head: str) -> int:
    found = session.verify(head)
    print(f"verified: {found.chunks:,} chunks, {found.inputs:,} inputs, {found.outputs:,} outputs; head {found.head}")
    if not found.closed:
        _tell_cut_off()
    return Exit.OK


def _tell_cut_off() -> None:
    print("barter-tui: the session was cut off: its engine was killed, or still runs.", file=sys.stderr)


def _time(ns: int) -> str:
    return datetime.fromtimestamp(ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _span(ns: int) -> str:
    seconds = int(ns / 1e9)
    return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
