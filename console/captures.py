"""Captures that were imported: files of recorded market data in the state folder, found by their names."""

import filecmp
import re
import shutil
from pathlib import Path

import msgspec

from console import format as show
from engine.errors import CaptureError, SessionError, StateError
from engine.queue.export import Progress, coming

FOLDER = "captures"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Taken(msgspec.Struct, frozen=True):
    """`known`: the same file was there already. `words` say what is in it."""

    path: Path
    known: bool
    words: tuple[str, ...]


def find(folder: Path, wanted: Path) -> Path:
    """The file itself, or the imported one of that name. Raises CaptureError."""
    if wanted.is_file():
        return wanted
    kept = folder / FOLDER / wanted.name
    if wanted.name == str(wanted) and kept.is_file():
        return kept
    names = sorted(path.name for path in (folder / FOLDER).glob("*") if path.is_file() and path.suffix != ".partial")
    hint = f"; imported are {', '.join(names[:8])}" if names else ""
    raise CaptureError(str(wanted), f"there is no such file{hint}")


def take(folder: Path, source: Path, progress: Progress = lambda _: None) -> Taken:
    """Read a capture whole, then keep a copy. Raises CaptureError for one that cannot be played, StateError for the folder."""
    from engine.venue.capture import scan

    if not source.is_file():
        raise CaptureError(str(source), "there is no such file")
    if not _NAME.fullmatch(source.name) or source.name.endswith(".partial"):
        raise CaptureError(str(source), "its name is none that can be typed: use letters, digits, dots, dashes")
    info = scan(str(source), progress)
    others = f", {info.skipped:,} of them of streams that are not played" if info.skipped else ""
    words = [f"{info.frames:,} frames{others}"]
    for symbol in info.symbols.values():
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in symbol.kinds.items())
        words.append(f"{symbol.symbol}: {kinds}, {symbol.gaps} gaps, {symbol.low} to {symbol.high}")
    if info.without_book:
        words.append(f"without a depth snapshot, so not played: {', '.join(info.without_book)}")
    words.append(f"{show.date(info.first_ns)} to {show.date(info.last_ns)} UTC")
    kept = folder / FOLDER / source.name
    if kept.exists():
        if filecmp.cmp(source, kept, shallow=False):
            return Taken(kept, True, tuple(words))
        raise CaptureError(str(kept), "another capture of this name is kept already: rename yours")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with source.open("rb") as read, coming(kept) as file:
            shutil.copyfileobj(read, file)
    except SessionError as problem:
        raise StateError(problem.path, f"the capture cannot be kept: {problem.problem}") from None
    except OSError as problem:
        raise StateError(str(kept), f"the capture cannot be kept ({problem.strerror})") from None
    return Taken(kept, False, tuple(words))
