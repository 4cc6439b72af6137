"""`--replay SESSION --what-if KEY=VALUE`: the table of what would have come of it; and the same as a child of the screen.

As a module it reads one line of JSON, `[path, changes]`, and prints lines of JSON: `{"done": inputs, "of": inputs}` while it
works, then `{"found": WhatIf}` or `{"problem": sentence}`.
"""

import os
import sys
from pathlib import Path
from typing import TextIO

import msgspec
from rich.console import Console
from rich.table import Table

from console import format as show
from console.exits import Exit
from engine.config import Settings, state_dir
from engine.errors import BarterError, ConfigError
from engine.queue.files import find
from engine.queue.session import Session
from engine.replay.whatif import Divergence, WhatIf, refusals, run, table

NICENESS = 5
REASONS = 6
HEADS = ("", "recorded", "original, filled anew", "changed, filled anew")


def changes_of(texts: list[str]) -> dict[str, str]:
    """`key=value` each. Raises ConfigError."""
    changes: dict[str, str] = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise ConfigError("what if", text, "it is not a setting", "section.key=value, for example risk.max_leverage=1")
        changes[key.strip()] = value.strip()
    return changes


def at_the_command_line(settings: Settings, name: str, texts: list[str], as_json: bool) -> int:
    """Raises ConfigError and SessionError."""
    from console.sessions import progress

    changes = changes_of(texts)
    try:
        with Session(find(state_dir(settings), name)) as session, progress(session.inputs, "filling anew") as move:
            found = run(session, changes, move)
    except KeyboardInterrupt:
        print("barter-tui: the what-if was interrupted before its end; nothing can be said of it.", file=sys.stderr)
        return Exit.INTERRUPTED
    if as_json:
        print(msgspec.json.encode({"type": "what_if", **msgspec.structs.asdict(found)}).decode())
    else:
        _print(found)
    return Exit.OK


def _print(found: WhatIf) -> None:
    console = Console(highlight=False)
    shown = Table(box=None, pad_edge=False)
    for head in HEADS:
        shown.add_column(head, justify="right" if head else "left")
    for row in table(found):
        shown.add_row(*row)
    console.print(shown)
    for line in words(found):
        console.print(line, markup=False, soft_wrap=True)


def words(found: WhatIf) -> list[str]:
    """What a table does not say: where the two part, and what was refused otherwise."""
    lines = [f"Orders arrive {found.delay_ms:.1f} ms after the decision, the session's median; {found.inputs:,} inputs."]
    first, decision = found.divergence, found.decision
    if first is None:
        lines.append("Both did the same: the change made no difference.")
    else:
        lines += _parted("First divergence", first)
    if decision is not None and decision != first:
        lines += _parted("First other decision", decision)
    elif first is not None and decision is None:
        lines.append("Every decision and order was the same.")
    for reason, original, other in refusals(found)[:REASONS]:
        lines.append(f"Refused {original} times, now {other}: {reason}")
    for side in (found.recorded, found.original, found.changed):
        if side.problem:
            lines.append(f"! The {side.name} run halted, since an internal check failed: {side.problem}")
    if not found.faithful:
        lines.append("! Other code recorded this session: what is called recorded is what this code makes of its inputs.")
    return lines


def _parted(what: str, at: Divergence) -> list[str]:
    where = f"{what} at input {at.input_number:,} ({show.clock(at.at)}), a {at.event}:"
    return [where, f"  original: {at.original}", f"  changed:  {at.changed}"]


def _child(source: TextIO, out: TextIO) -> int:
    path, changes = msgspec.json.decode(source.readline(), type=tuple[str, dict[str, str]])

    def say(**facts: object) -> None:
        out.write(msgspec.json.encode(facts).decode() + "\n")
        out.flush()

    try:
        with Session(Path(path)) as session:
            found = run(session, changes, lambda done: say(done=done, of=session.inputs))
    except BarterError as problem:
        say(problem=str(problem))
        return Exit.DAMAGED
    say(found=found)
    return Exit.OK


if __name__ == "__main__":
    os.nice(NICENESS)
    sys.exit(_child(sys.stdin, sys.stdout))
