"""Small files, written whole or not at all: a reader, or a crash, finds the old one or the new one."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, body: bytes | Callable[[Path], object], *, durable: bool = True) -> None:
    """Put `body`, or what it writes to the path that it is given, where `path` is; a link stays a link.

    Only the owner may read it, and so its folder where that has to be made. `durable`: flushed to the disk with its name, for
    milliseconds; without, it survives the end of the process but maybe not a loss of power. Raises OSError, with nothing left
    behind.
    """
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")  # two programs may write at once
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
            if isinstance(body, bytes):
                file.write(body)
        if not isinstance(body, bytes):
            body(beside)
        if durable:
            flush(beside)
        beside.replace(path)
        if durable:
            flush(path.parent)
    except BaseException:
        with contextlib.suppress(OSError):
            beside.unlink()
        raise


def flush(path: Path) -> None:
    """A file, or the names in a folder, to the disk; blocks. Raises OSError."""
    place = os.open(path, os.O_RDONLY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
