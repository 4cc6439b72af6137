"""The part of a chunk that orders follow from, on record beside the session's file before they are sent.

Packing a chunk and committing it would cost an order 0.3 ms (measured 2026-11 beside a busy market); one write of what came since
the last one costs a tenth of it. The chunk is packed when it is full or a quarter of a second old, as if no order had been, and
the file is begun anew with the next chunk. Its writer holds a lock on it: whoever gets the lock finds a writer that was killed,
and puts what is there into the session (`session.adopt`).
"""

import contextlib
import errno
import fcntl
import os
import struct
import zlib
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.queue.layout import Buffer

MAGIC = b"bart"
MOST_BYTES = 64 << 20  # no file is larger, whatever made it
# The chunk's number, the block's number within it, the first input; then, up to this block, inputs, outputs, kinds, and the time
# of the first input; last, the bytes that follow: of inputs, outputs and counts.
_HEAD = struct.Struct(">QIQQQQqIII")
_SUM = struct.Struct(">4sI")
_counts = msgspec.msgpack.Decoder(list[tuple[int, int]])
_sync = getattr(os, "fdatasync", os.fsync)  # macOS has no other


class Part(NamedTuple):
    """The beginning of a chunk."""

    number: int
    first: int
    inputs: int
    outputs: int
    kinds: int
    at: int
    events: Buffer  # of the inputs, encoded one after the other
    told: Buffer  # of the outputs
    counts: list[tuple[int, int]]


def tail_of(session: Path) -> Path:
    return session.with_name(session.name + "-tail")


class Tail:
    """The writer's side. `path` must not exist. Raises OSError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._place = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._place, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._number = -1
        self._block = self._end = self._events = self._told = self._counts = 0

    def write(self, part: Part) -> None:
        """What it holds beyond what was written of the same chunk; it survives the end of this process."""
        if part.number != self._number:
            self._number = part.number
            self._block = self._end = self._events = self._told = self._counts = 0
        some, said, places = part.events[self._events :], part.told[self._told :], part.counts[self._counts :]
        if not some:
            return
        packed = msgspec.msgpack.encode(places)
        head = _HEAD.pack(part.number, self._block, *part[1:6], len(some), len(said), len(packed))
        block = b"".join((head, some, said, packed))
        block = _SUM.pack(MAGIC, zlib.crc32(block)) + block
        if os.pwrite(self._place, block, self._end) != len(block):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._block, self._end = self._block + 1, self._end + len(block)
        self._events, self._told, self._counts = len(part.events), len(part.told), len(part.counts)

    def flush(self) -> None:
        """To the disk."""
        _sync(self._place)

    def close(self, *, whole: bool) -> None:
        """It goes where all is in the session, and is left to whoever reads that next where it is not."""
        if whole:
            with contextlib.suppress(OSError):
                self.path.unlink()
        os.close(self._place)


def read(body: bytes) -> Part | None:
    """The newest chunk's part that is whole; None where there is none. A torn end is cut."""
    found: Part | None = None
    place, block = 0, 0
    events, told, counts = bytearray(), bytearray(), list[tuple[int, int]]()
    while len(body) - place >= _SUM.size + _HEAD.size:
        magic, check = _SUM.unpack_from(body, place)
        number, one, first, inputs, outputs, kinds, at, *sizes = _HEAD.unpack_from(body, place + _SUM.size)
        begin = place + _SUM.size + _HEAD.size
        end = begin + sum(sizes)
        if magic != MAGIC or one != block or end > len(body) or zlib.crc32(body[place + _SUM.size : end]) != check:
            break
        if found is not None and (number, first) != (found.number, found.first):
            break  # of an older chunk that was longer
        events += body[begin : begin + sizes[0]]
        told += body[begin + sizes[0] : end - sizes[2]]
        try:
            counts += _counts.decode(body[end - sizes[2] : end])
        except (ValueError, RecursionError):
            break
        found = Part(number, first, inputs, outputs, kinds, at, bytes(events), bytes(told), list(counts))
        place, block = end, block + 1
    return found


class Taken:
    """A tail whose writer is gone, held so that nobody else takes it: `with Taken(path) as body`. Raises OSError, also while
    its writer or somebody else holds it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> bytes:
        self._place = os.open(self._path, os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(self._place, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return os.pread(self._place, MOST_BYTES, 0)
        except BaseException:
            os.close(self._place)
            raise

    def __exit__(self, *_: object) -> None:
        os.close(self._place)
