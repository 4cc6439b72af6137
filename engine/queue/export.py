"""A recorded session in, JSON lines out: one event a line, inputs and what followed from each, in order."""

import contextlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import msgspec

from engine.errors import SessionError
from engine.events import BookDelta, BookSnapshot, Event, decode_output, unpack_levels
from engine.queue.session import Session

Progress = Callable[[int], None]
OTHERS = "somebody writes this now, or was killed while doing so: remove it then"


def lines(session: Session, progress: Progress = lambda _: None) -> Iterator[dict[str, Any]]:
    """Each event with its session, the number of its input, its direction (`in` or `out`) and type; of a condensed session
    what it kept.

    Prices and sizes are whole ticks and steps: the market's `Instrument` line says how large these are.
    """
    name = session.opening.session
    for number, event, outputs in session.kept() if session.condensed is not None else whole(session, progress):
        if event is not None:
            yield _line(name, number, "in", event)
        for output in outputs:
            yield _line(name, number, "out", output)


def export(session: Session, to: Path, progress: Progress = lambda _: None) -> int:
    """Write them; returns how many. The file stands there only when all of it is written. Raises SessionError."""
    count = 0
    with coming(to) as file:
        for line in lines(session, progress):
            file.write(msgspec.json.encode(line) + b"\n")
            count += 1
    return count


@contextmanager
def coming(to: Path) -> Iterator[IO[bytes]]:
    """A new file that stands at `to` when the block has ended well, and nowhere when it has not. Raises SessionError."""
    made = unfinished(to)
    try:
        file = made.open("xb")
    except FileExistsError:
        raise SessionError(str(made), OTHERS) from None
    except OSError as problem:
        raise SessionError(str(to), f"it cannot be written ({problem.strerror})") from None
    try:
        with file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        _place(made, to)
    except FileExistsError:
        raise SessionError(str(to), "this is there already") from None
    except OSError as problem:
        raise SessionError(str(to), f"it cannot be written ({problem.strerror or problem})") from None
    finally:
        with contextlib.suppress(OSError):
            made.unlink()


@contextmanager
def coming_folder(to: Path) -> Iterator[Path]:
    """The same of a folder: write files into what this gives. Raises SessionError."""
    made = unfinished(to)
    try:
        made.mkdir()
    except FileExistsError:
        raise SessionError(str(made), OTHERS) from None
    except OSError as problem:
        raise SessionError(str(to), f"it cannot be written ({problem.strerror})") from None
    try:
        yield made
        for path in made.iterdir():
            with path.open("rb") as file:
                os.fsync(file.fileno())
        unfinished(to)  # a rename puts a folder over an empty one
        made.rename(to)
    except OSError as problem:
        raise SessionError(str(to), f"it cannot be written ({problem.strerror or problem})") from None
    finally:  # an interrupt too leaves nothing half
        shutil.rmtree(made, ignore_errors=True)


def unfinished(to: Path) -> Path:
    """What `to` is called while it is written. Raises SessionError where `to` is there."""
    if to.exists():
        raise SessionError(str(to), "this is there already")
    return to.with_name(to.name + ".partial")


def _place(made: Path, to: Path) -> None:
    """Unlike a rename, a link does not write over what is there; not every disk has links."""
    try:
        os.link(made, to)
    except FileExistsError:
        raise
    except OSError:
        unfinished(to)
        made.rename(to)


def whole(session: Session, progress: Progress) -> Iterator[tuple[int, Event | None, list[Event]]]:
    """Each input's number, itself, and what followed from it."""
    for chunk in session.chunks():
        for number, (event, raws) in enumerate(chunk.steps(), start=chunk.first):
            yield number, event, [decode_output(raw) for raw in raws]
        progress(chunk.first + len(chunk.inputs))


def _line(session: str, number: int, direction: str, event: Event) -> dict[str, Any]:
    fields = msgspec.structs.asdict(event)
    if isinstance(event, BookDelta | BookSnapshot):
        for name in ("bids", "asks"):
            flat = unpack_levels(fields[name])
            fields[name] = list(zip(flat[::2], flat[1::2], strict=True))
    return {"session": session, "number": number, "direction": direction, "type": type(event).__name__, "event": fields}
