"""Where the link's socket lies in a state folder; that one engine alone listens there; and whose processes come in."""

import fcntl
import hashlib
import os
import socket
import stat
import struct
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.errors import StateError

SOCKET, POINTER, LOCK = "engine.sock", "engine.sock.path", "engine.lock"
LONGEST_PATH = 100  # macOS holds 103 bytes of a socket's path, Linux 107
SOL_LOCAL, XUCRED_BYTES = 0, 76  # macOS and BSD: the level and the size of what LOCAL_PEERCRED answers


class Door:
    """`with Door(folder) as door`: the folder's lock is held and `door.socket` is bound, mode 0600.

    The lock is the kernel's, so that it goes with its engine however that dies: a socket file that is found under a free
    lock is a dead engine's and replaced. Raises StateError when an engine runs there or nothing can be made there.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / SOCKET
        self.socket: socket.socket
        self._lock = -1

    def __enter__(self) -> Self:
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
            self._lock = _lock(self.folder)
            self.path = place(self.folder)
            self.path.unlink(missing_ok=True)
            self.socket = _bind(self.path)
            self._point()
        except OSError as problem:
            self._release()
            raise StateError(str(self.folder), f"the socket for consoles cannot be made there ({problem.strerror})") from None
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.socket.close()
        self.path.unlink(missing_ok=True)
        (self.folder / POINTER).unlink(missing_ok=True)
        self._release()

    def _point(self) -> None:
        """Say where the socket is when it could not lie in the folder itself."""
        pointer = self.folder / POINTER
        pointer.unlink(missing_ok=True)
        if self.path.parent != self.folder:
            pointer.write_text(str(self.path), encoding="utf-8")

    def _release(self) -> None:
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def find(folder: Path) -> Path:
    """Where an engine of this state folder listens, if one does."""
    try:
        return Path((folder / POINTER).read_text(encoding="utf-8"))
    except OSError:
        return folder / SOCKET


def place(folder: Path) -> Path:
    """Where the socket of this folder is to lie: in it, or under a name of its own in a short folder."""
    direct = folder / SOCKET
    if len(os.fsencode(direct)) <= LONGEST_PATH:
        return direct
    name = hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:16]
    return _short_folder() / f"{name}.sock"


def peer_uid(connected: socket.socket) -> int | None:
    """Whose process is at the other end of a local socket; None where the platform does not tell."""
    linux, bsd = getattr(socket, "SO_PEERCRED", None), getattr(socket, "LOCAL_PEERCRED", None)
    if linux is not None:
        return int(struct.unpack("3i", connected.getsockopt(socket.SOL_SOCKET, linux, 12))[1])
    if bsd is not None:
        return int(struct.unpack_from("2I", connected.getsockopt(SOL_LOCAL, bsd, XUCRED_BYTES))[1])
    return None


def taken(folder: Path) -> bool:
    """Whether an engine runs with this state folder."""
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(lock)
    return False


def _lock(folder: Path) -> int:
    path = folder / LOCK
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        pid = os.read(lock, 20).decode("ascii", "replace").strip()
        os.close(lock)
        who = f"an engine (process {pid})" if pid else "an engine"
        hint = "look at it with `barter-tui attach`, or stop it there before you start another"
        raise StateError(str(folder), f"{who} runs with this state folder already: {hint}") from None
    os.ftruncate(lock, 0)
    os.write(lock, b"%d\n" % os.getpid())
    return lock


def _bind(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        made.bind(str(path))
    except OSError:
        made.close()
        raise
    finally:
        os.umask(mask)
    return made


def _short_folder() -> Path:
    """A folder of ours alone whose path is short: under the session's runtime folder, or where temporary files go."""
    for base in (os.environ.get("XDG_RUNTIME_DIR"), tempfile.gettempdir(), "/tmp"):
        folder = Path(base or "") / f"barter-tui-{os.getuid()}"
        if not folder.is_absolute() or len(os.fsencode(folder)) > LONGEST_PATH - 22:  # a name of 16 digits, ".sock" and "/"
            continue
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
        except OSError:
            continue
        if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid() and not found.st_mode & 0o077:
            return folder
    raise StateError(tempfile.gettempdir(), "no short folder that only its owner can enter could be made for the socket")
