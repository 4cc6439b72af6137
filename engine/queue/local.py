"""A session as one SQLite file: compressed chunks of events, each one's hash over the hash before it.

SQLite in WAL mode: a commit is one append to the log file, which survives SIGKILL as soon as it returns; a torn tail after
a loss of power is found by the log's own checksums and cut. Readers come while it is written. What orders follow from does not
wait for that: see `tail`.
"""

import contextlib
import hashlib
import os
import sqlite3
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec
import zstandard

from engine.errors import SessionError
from engine.events import Event, encode, encode_into
from engine.queue import KINDS, Closing, Condensed, Opening
from engine.queue.files import log_of, words_of
from engine.queue.layout import APPLICATION, INSERT, KEPT, LEVEL, SCHEMA, TABLES, Row, chained, raw_of
from engine.queue.session import Session, Verified
from engine.queue.tail import Part, Tail, tail_of
from engine.whole import flush

CHUNK_BYTES = 16 << 10  # before compression; 8 KiB cost a fifth of the appended events a second (measured 2026-11)
WAITING_BYTES = 32 << 20  # compressed, that could not be written; beyond it the recording ends
KEPT_A_CHUNK = 1_000


class LocalQueue:
    """Writes one session; see `EventQueue`. `path` must not exist. Raises SessionError.

    When a commit fails, what was sealed waits in memory for the next one; beyond `WAITING_BYTES` the rest of the session is
    not recorded (`lost` counts its inputs), since a recording with a hole could not be replayed.
    """

    def __init__(self, path: Path, opening: Opening) -> None:
        self.path, self.opening = path, opening
        self.inputs = self.outputs = self.lost = self.written_bytes = 0
        self._in, self._out = bytearray(), bytearray()
        self._counts: list[tuple[int, int]] = []
        self._first = self._chunk_outputs = self._number = self._at = self._kinds = 0
        self._sealed: deque[Row] = deque()
        self._sealed_bytes = 0
        self._packer = zstandard.ZstdCompressor(level=LEVEL)
        self._tail: Tail | None = None  # from the first order on
        self._unflushed = True
        body = msgspec.json.encode(opening)
        self._digest = hashlib.sha256(body).digest()
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))  # SQLite gives its log the same rights
            self._store = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            run = self._store.execute
            run("PRAGMA page_size = 8192")
            run("PRAGMA journal_mode = WAL")
            run("PRAGMA wal_autocheckpoint = 0")  # it would flush to the disk within a commit: see `checkpoint`
            run("PRAGMA synchronous = NORMAL")
            run(f"PRAGMA application_id = {APPLICATION}")
            run(f"PRAGMA user_version = {SCHEMA}")
            self._store.executescript(TABLES)
            run("INSERT INTO ends VALUES ('opening', ?, ?)", (body, self._digest))
        except (OSError, sqlite3.Error) as problem:
            raise SessionError(str(path), f"the session cannot be recorded ({words_of(problem)})") from None

    def append(self, event: Event, out: Sequence[Event]) -> None:
        if self.lost:
            self.lost += 1
            return
        inputs, outputs = self._in, self._out
        before, before_out, kinds = len(inputs), len(outputs), 0
        try:
            encode_into(event, inputs, -1)
            for output in out:
                encode_into(output, outputs, -1)
                kinds |= KINDS.get(type(output), 0)
        except (OverflowError, TypeError, ValueError) as problem:  # a number beyond 64 bits, for one
            del inputs[before:], outputs[before_out:]
            with contextlib.suppress(SessionError):
                self.commit()
            self.lost = 1
            what = f"{type(event).__name__} cannot be written ({problem}), and a recording with a hole could not be replayed"
            raise SessionError(str(self.path), f"the recording ends: {what}") from None
        if not before:
            self._at = event.at
        if out:
            self._kinds |= kinds
            self._counts.append((self.inputs - self._first, len(out)))
            self.outputs += len(out)
            self._chunk_outputs += len(out)
        self.inputs += 1
        if before + before_out >= CHUNK_BYTES:
            self._seal()
            self._write_first()

    def commit(self, *, durable: bool = False) -> None:
        """Raises SessionError when it could not be written; what waits is tried again next time."""
        self._seal()
        if self.lost:  # asked after sealing, which may be what ends the recording
            raise SessionError(str(self.path), "the recording ended earlier and cannot go on")
        if self._sealed:
            self._write()
        if durable and self._unflushed:
            self._flush()

    def secure(self, *, durable: bool = False) -> None:
        """Raises SessionError when it could not be written. Sealed chunks that wait for a disk that failed go first."""
        if self._sealed or self.lost:
            self.commit(durable=durable)
            return
        try:
            if self._tail is None:
                self._tail, self._unflushed = Tail(tail_of(self.path)), True
            counted = (self._number, self._first, self.inputs - self._first, self._chunk_outputs, self._kinds, self._at)
            self._tail.write(Part(*counted, self._in, self._out, self._counts))
            if durable:
                if self._unflushed:
                    self._flush()
                self._tail.flush()
        except OSError as problem:
            raise SessionError(str(self.path), f"the session cannot be recorded ({words_of(problem)})") from None

    def keep(self, state: bytes) -> bool:
        """`state` is the core's after all that was appended: a replay can begin there.

        False when nothing was appended since the last chunk: there is none to keep it with.
        """
        if self.inputs == self._first:
            return False
        self._seal(self._packer.compress(state))
        self._write_first()
        return True

    def _write_first(self) -> None:
        if len(self._sealed) == 1:  # else writing failed, and the next `commit` tries again: not every chunk
            self._write()

    def checkpoint(self) -> None:
        """Move the log into the file, on a connection of its own: blocks for the disk, so call it from another thread."""
        try:
            with sqlite3.connect(self.path, isolation_level=None) as store:
                store.execute("PRAGMA wal_checkpoint(PASSIVE)")
            store.close()
        except sqlite3.Error as problem:
            raise SessionError(str(self.path), f"its log cannot be moved into the file ({words_of(problem)})") from None

    def close(self, closing: Closing | None) -> None:
        try:
            self.commit(durable=closing is not None)
            if closing is not None:
                body = msgspec.json.encode(closing)
                self._digest = hashlib.sha256(self._digest + body).digest()
                self._store.execute("INSERT INTO ends VALUES ('closing', ?, ?)", (body, self._digest))
                self._store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as problem:
            raise SessionError(str(self.path), f"the session cannot be closed ({words_of(problem)})") from None
        finally:
            self._store.close()
            if self._tail is not None:
                self._tail.close(whole=not self._sealed)

    def _flush(self) -> None:
        """The log to the disk. SQLite's own `synchronous` would not do: it acts on its next commit, and there may be none."""
        try:
            for path in (log_of(self.path), self.path.parent):
                flush(path)
        except OSError as problem:
            raise SessionError(str(self.path), f"the session cannot be flushed to the disk ({words_of(problem)})") from None
        self._unflushed = False

    def _seal(self, state: bytes = b"") -> None:
        inputs = self.inputs - self._first
        if not inputs:
            return
        raw = raw_of(inputs, self._in, self._chunk_outputs, self._out, self._counts)
        body = self._packer.compress(raw)
        row = Row(self._number, self._first, inputs, self._chunk_outputs, self._at, self._kinds, len(raw), body, state)
        self._digest = chained(self._digest, row)
        self._sealed.append(row._replace(digest=self._digest))
        self._sealed_bytes += len(body) + len(state)
        self._number, self._first, self._chunk_outputs, self._kinds = self._number + 1, self.inputs, 0, 0
        self._in, self._out, self._counts = bytearray(), bytearray(), []
        if self._sealed_bytes > WAITING_BYTES:
            self.lost = sum(row.inputs for row in self._sealed)
            self._sealed.clear()

    def _write(self) -> None:
        run = self._store.execute
        try:
            run("BEGIN IMMEDIATE")
            self._store.executemany(INSERT, self._sealed)
            run("COMMIT")
        except sqlite3.Error as problem:
            if self._store.in_transaction:
                run("ROLLBACK")
            raise SessionError(str(self.path), f"the session cannot be recorded ({words_of(problem)})") from None
        self._unflushed = True
        self.written_bytes += self._sealed_bytes
        self._sealed.clear()
        self._sealed_bytes = 0


def rebuild(path: Path, opening: tuple[bytes, bytes], rows: Sequence[Row], closing: tuple[bytes, bytes] | None) -> Verified:
    """A session's file from what another holds; it stands there only when all of it is verified. Raises SessionError."""
    made = path.with_suffix(".coming")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made.unlink(missing_ok=True)
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(made, isolation_level=None)) as store:
            store.execute(f"PRAGMA application_id = {APPLICATION}")
            store.execute(f"PRAGMA user_version = {SCHEMA}")
            store.executescript(TABLES)
            store.execute("BEGIN")
            ends = [("opening", *opening), *([("closing", *closing)] if closing is not None else [])]
            store.executemany("INSERT INTO ends VALUES (?, ?, ?)", ends)
            store.executemany(INSERT, sorted(rows))
            store.execute("COMMIT")
        with Session(made) as session:
            verified = session.verify()
        made.replace(path)
    except (OSError, sqlite3.Error) as problem:
        raise SessionError(str(path), f"the session cannot be written ({words_of(problem)})") from None
    finally:
        made.unlink(missing_ok=True)
    return verified


def write_condensed(
    session: Session, verified: Verified, now_ns: int, kept: Sequence[tuple[int, Event | None, Sequence[Event]]]
) -> Path:
    """A file beside the session's that holds `kept` alone (input number, input, outputs); it is on the disk when this returns."""
    made = session.path.with_suffix(".condensing")
    made.unlink(missing_ok=True)
    packer = zstandard.ZstdCompressor(level=9)
    try:
        os.close(os.open(made, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        with contextlib.closing(sqlite3.connect(made, isolation_level=None)) as store:
            store.execute(f"PRAGMA application_id = {APPLICATION}")
            store.execute(f"PRAGMA user_version = {SCHEMA}")
            store.executescript(TABLES + KEPT)
            store.execute("BEGIN")
            told = Condensed(now_ns, verified.head, verified.chunks, verified.inputs, verified.outputs)
            ends = {"opening": session.opening, "condensed": told, "closing": session.closing}
            digest = b""
            for name, value in ends.items():
                if value is not None:
                    body = msgspec.json.encode(value)
                    digest = hashlib.sha256(digest + body).digest()
                    store.execute("INSERT INTO ends VALUES (?, ?, ?)", (name, body, digest))
            for number, place in enumerate(range(0, len(kept), KEPT_A_CHUNK)):
                body = packer.compress(encode(kept[place : place + KEPT_A_CHUNK]))
                digest = hashlib.sha256(digest + body).digest()
                store.execute("INSERT INTO kept VALUES (?, ?, ?)", (number, body, digest))
            store.execute("COMMIT")
        for path in (made, made.parent):
            flush(path)
    except (OSError, sqlite3.Error) as problem:
        made.unlink(missing_ok=True)
        raise SessionError(str(session.path), f"its smaller file cannot be written ({words_of(problem)})") from None
    return made
