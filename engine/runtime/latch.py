"""The halt latch: one small file in the state folder that survives everything but `release`."""

import contextlib
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from engine.errors import StateError
from engine.whole import flush, write_whole

NAME = "halt.json"


class Latched(msgspec.Struct, frozen=True):
    """What the file holds: why, and since when, ISO 8601 in UTC."""

    reason: str
    since: str


# Files that anybody with the folder may make, by any means: each acts once, and is renamed to say so.
SENTINELS = {"KILL": False, "FLATTEN": True}


def sentinel(folder: Path) -> str:
    """The name of a kill file that lies in the folder, the graver one first; it is taken. "" without one."""
    for name in reversed(SENTINELS):
        path = folder / name
        if path.exists():
            with contextlib.suppress(OSError):  # one that cannot be moved goes on acting until somebody removes it
                path.replace(path.with_suffix(".taken"))
            return name
    return ""


def prepare(folder: Path) -> None:
    """Make the state folder and prove that it can be written. Raises StateError."""
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)  # one that was there before may be open to others
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as problem:
        hint = "a halt could not be remembered; name another folder with engine.state_dir"
        raise StateError(str(folder), f"the state folder cannot be written ({problem.strerror}): {hint}") from None


def read(folder: Path) -> str:
    """Why trading is latched, "" when it is not. A damaged latch is a latch."""
    path = folder / NAME
    try:
        raw = path.read_bytes()
    except FileNotFoundError:
        return ""
    except OSError as problem:
        raise StateError(str(path), f"the halt latch cannot be read ({problem.strerror})") from None
    try:
        latched = msgspec.json.decode(raw, type=Latched)
    except (ValueError, RecursionError):  # msgspec's errors and UnicodeDecodeError
        return "the halt latch is damaged"
    return f"{latched.reason} ({latched.since})"


def write(folder: Path, reason: str) -> None:
    """Survives the end of this process as soon as it returns; a loss of power only after `settle`. Raises StateError.

    Apart, since flushing to the disk takes milliseconds in which the cancels of a halt would wait.
    """
    path = folder / NAME
    body = msgspec.json.encode(Latched(reason, datetime.now(UTC).isoformat(timespec="seconds")))
    try:
        write_whole(path, body, durable=False)
    except OSError as problem:
        raise StateError(str(path), f"the halt could not be written ({problem.strerror})") from None


def settle(folder: Path) -> None:
    """Flush the latch to the disk, its name included; blocks. One released meanwhile needs nothing. Raises StateError."""
    try:
        for path in (folder / NAME, folder):
            flush(path)
    except FileNotFoundError:
        return
    except OSError as problem:
        raise StateError(str(folder / NAME), f"the halt could not be flushed to the disk ({problem.strerror})") from None


def clear(folder: Path) -> bool:
    """Release; False when nothing was latched. Raises StateError."""
    path = folder / NAME
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as problem:
        raise StateError(str(path), f"the halt latch cannot be removed ({problem.strerror})") from None
    return True
