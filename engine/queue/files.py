"""Where sessions lie: names in, paths out."""

import sqlite3
from pathlib import Path

from engine.errors import SessionError
from engine.queue import Opening
from engine.queue.tail import tail_of

SUFFIX = ".barter"
FOLDER = "sessions"
LATEST = "latest"


def new_path(state_folder: Path, opening: Opening) -> Path:
    """Where a session of this state folder is recorded: names sort by time."""
    stamp = opening.started_ns // 1_000_000
    return state_folder / FOLDER / f"{stamp:013d}-{opening.session}{SUFFIX}"


def recorded(state_folder: Path) -> list[Path]:
    """All sessions of a state folder, oldest first."""
    return sorted((state_folder / FOLDER).glob(f"*{SUFFIX}"))


def find(state_folder: Path, name: str) -> Path:
    """A session by its path, its name, the beginning of its name, or `latest`. Raises SessionError."""
    if Path(name).suffix == SUFFIX and Path(name).is_file():
        return Path(name)
    known = recorded(state_folder)
    if name == LATEST and known:
        return known[-1]
    found = [path for path in known if session_name(path).startswith(name)]
    exact = [path for path in found if session_name(path) == name]
    if len(exact or found) == 1:
        return (exact or found)[0]
    some = f"several sessions begin with {name}" if found else "there is no such session"
    hint = f"the newest are {', '.join(session_name(path) for path in known[-3:])}" if known else "none is recorded yet"
    raise SessionError(name, f"{some} in {state_folder / FOLDER}; {hint}")


def size(path: Path) -> int:
    """Bytes on the disk, with its log and its tail."""
    return sum(file.stat().st_size for file in (path, log_of(path), tail_of(path)) if file.exists())


def session_name(path: Path) -> str:
    return path.stem.partition("-")[2] or path.stem


def log_of(path: Path) -> Path:
    """SQLite's log beside the file, there while it is written or after its writer was killed."""
    return path.with_name(path.name + "-wal")


def words_of(problem: OSError | sqlite3.Error) -> str:
    return problem.strerror or str(problem) if isinstance(problem, OSError) else str(problem)
