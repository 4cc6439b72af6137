"""A session as one SQLite file: compressed chunks of events, each one's hash over the hash before it.

SQLite in WAL mode: a commit is one append to the log file, which survives SIGKILL as soon as it returns; a torn tail after
a loss of power is found by the log's own checksums and cut. Readers come while it is written. What orders follow from does not
wait for that: see `tail`.
"""

import asyncio
import contextlib
import hashlib
import logging
import os
import sqlite3
import struct
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec
import zstandard

from engine.errors import SessionError
from engine.events import Event, Input, Output, encode, encode_into
from engine.queue import KINDS, Chunk, Closing, Condensed, Opening
from engine.queue.packed import unpack
from engine.queue.tail import Tail, Taken, read, tail_of
from engine.whole import flush

SUFFIX = ".barter"
FOLDER = "sessions"
LATEST = "latest"
APPLICATION = 0x62617274  # "bart": SQLite's application_id, so that another program's file is told from ours
SCHEMA = 2
CHUNK_BYTES = 16 << 10  # before compression; 8 KiB cost a fifth of the appended events a second (measured 2026-11)
CHUNK_LIMIT = 64 << 20  # no chunk is larger, whatever its row says
WAITING_BYTES = 32 << 20  # compressed, that could not be written; beyond it the recording ends
FOLLOW_EVERY_S = 0.1
UNREADABLE = (ValueError, RecursionError)  # msgspec's errors are ValueErrors
BLOBS = frozenset({"body", "state", "digest"})
T = TypeVar("T")
Buffer = bytes | bytearray
log = logging.getLogger("barter.queue")

_TABLES = """
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY, first INTEGER NOT NULL, inputs INTEGER NOT NULL, outputs INTEGER NOT NULL,
    at INTEGER NOT NULL, kinds INTEGER NOT NULL, raw_bytes INTEGER NOT NULL, body BLOB NOT NULL, state BLOB NOT NULL,
    digest BLOB NOT NULL
);
CREATE INDEX states ON chunks (first) WHERE state != x'';
CREATE TABLE ends (name TEXT PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID;
"""
_INSERT = "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_KEPT = "CREATE TABLE kept (number INTEGER PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL);"
KEPT_A_CHUNK = 1_000
# What a chunk's digest covers beside the one before it, its body and its state: `Row` up to `raw_bytes`, and the body's length.
_HEADER = struct.Struct(">QQQQqQQQ")
_ARRAY = struct.Struct(">BI")  # msgpack's array 32
_KEPT_BODY = msgspec.msgpack.Decoder(list[tuple[int, Input | None, list[Output]]])
_BODY = msgspec.msgpack.Decoder(tuple[list[Input], list[msgspec.Raw], list[tuple[int, int]]])


class Row(NamedTuple):
    """A chunk as it is stored."""

    number: int
    first: int
    inputs: int
    outputs: int
    at: int  # engine time of its first input
    kinds: int  # what its outputs are, as bits: see `Kind`
    raw_bytes: int
    body: bytes
    state: bytes  # the core's, after its last input; b"" in most
    digest: bytes = b""


COLUMNS = ", ".join(Row._fields)


def _chained(before: bytes, row: Row) -> bytes:
    return hashlib.sha256(before + _HEADER.pack(*row[:7], len(row.body)) + row.body + row.state).digest()


def _raw(inputs: int, events: Buffer, outputs: int, told: Buffer, counts: list[tuple[int, int]]) -> bytes:
    """What is compressed of a chunk: `_BODY`, put together from its encoded parts."""
    return b"".join((b"\x93", _ARRAY.pack(0xDD, inputs), events, _ARRAY.pack(0xDD, outputs), told, encode(counts)))


def _where(row: Row) -> str:
    return f"chunk {row.number} (from input {row.first:,})"


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
        self._packer = zstandard.ZstdCompressor(level=-1)  # a fifth less time than 1, for 2 % more bytes
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
            self._store.executescript(_TABLES)
            run("INSERT INTO ends VALUES ('opening', ?, ?)", (body, self._digest))
        except (OSError, sqlite3.Error) as problem:
            raise SessionError(str(path), f"the session cannot be recorded ({_words(problem)})") from None

    def append(self, event: Event, out: Sequence[Event]) -> None:
        if self.lost:
            self.lost += 1
            return
        inputs, outputs = self._in, self._out
        before, before_out = len(inputs), len(outputs)
        try:
            encode_into(event, inputs, -1)
            for output in out:
                encode_into(output, outputs, -1)
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
            for output in out:
                self._kinds |= KINDS.get(type(output), 0)
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
            inputs = self.inputs - self._first
            self._tail.write(self._number, self._first, self._at, self._kinds, inputs, self._in, self._out, self._counts)
            if durable:
                if self._unflushed:
                    self._flush()
                self._tail.flush()
        except OSError as problem:
            raise SessionError(str(self.path), f"the session cannot be recorded ({_words(problem)})") from None

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
            raise SessionError(str(self.path), f"its log cannot be moved into the file ({_words(problem)})") from None

    def close(self, closing: Closing | None) -> None:
        try:
            self.commit(durable=closing is not None)
            if closing is not None:
                body = msgspec.json.encode(closing)
                self._digest = hashlib.sha256(self._digest + body).digest()
                self._store.execute("INSERT INTO ends VALUES ('closing', ?, ?)", (body, self._digest))
                self._store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as problem:
            raise SessionError(str(self.path), f"the session cannot be closed ({_words(problem)})") from None
        finally:
            self._store.close()
            if self._tail is not None:
                self._tail.close(whole=not self._sealed)

    def _flush(self) -> None:
        """The log to the disk. SQLite's own `synchronous` would not do: it acts on its next commit, and there may be none."""
        try:
            for path in (_log(self.path), self.path.parent):
                flush(path)
        except OSError as problem:
            raise SessionError(str(self.path), f"the session cannot be flushed to the disk ({_words(problem)})") from None
        self._unflushed = False

    def _seal(self, state: bytes = b"") -> None:
        inputs = self.inputs - self._first
        if not inputs:
            return
        raw = _raw(inputs, self._in, self._chunk_outputs, self._out, self._counts)
        body = self._packer.compress(raw)
        row = Row(self._number, self._first, inputs, self._chunk_outputs, self._at, self._kinds, len(raw), body, state)
        self._digest = _chained(self._digest, row)
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
            self._store.executemany(_INSERT, self._sealed)
            run("COMMIT")
        except sqlite3.Error as problem:
            if self._store.in_transaction:
                run("ROLLBACK")
            raise SessionError(str(self.path), f"the session cannot be recorded ({_words(problem)})") from None
        self._unflushed = True
        self.written_bytes += self._sealed_bytes
        self._sealed.clear()
        self._sealed_bytes = 0


def write_condensed(
    session: "Session", verified: "Verified", now_ns: int, kept: Sequence[tuple[int, Event | None, Sequence[Event]]]
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
            store.executescript(_TABLES + _KEPT)
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
        raise SessionError(str(session.path), f"its smaller file cannot be written ({_words(problem)})") from None
    return made


def adopt(path: Path) -> None:
    """Put what a killed writer left beside the session at `path` into it, as its last chunk. Nothing is done while it is written,
    or where it cannot be written to: what is beside it stays there then.
    """
    beside = tail_of(path)
    if not beside.exists():
        return
    try:
        with Taken(beside) as body, contextlib.closing(sqlite3.connect(path, isolation_level=None)) as store:
            part = read(body)
            store.execute("BEGIN IMMEDIATE")
            (opening,) = store.execute("SELECT digest FROM ends WHERE name = 'opening'").fetchone()
            last = store.execute("SELECT number + 1, first + inputs, digest FROM chunks ORDER BY number DESC LIMIT 1").fetchone()
            number, first, before = last or (0, 0, opening)
            (closed,) = store.execute("SELECT count(*) FROM ends WHERE name != 'opening'").fetchone()
            if part is not None and not closed and (part.number, part.first) == (number, first):
                raw = _raw(part.inputs, part.events, part.outputs, part.told, part.counts)
                packed = zstandard.ZstdCompressor(level=-1).compress(raw)
                row = Row(number, first, part.inputs, part.outputs, part.at, part.kinds, len(raw), packed, b"")
                store.execute(_INSERT, row._replace(digest=_chained(before, row)))
            store.execute("COMMIT")
            if part is None or closed or part.number <= number:
                beside.unlink()
    except (
        OSError,
        sqlite3.Error,
        TypeError,
        ValueError,
        OverflowError,
    ) as problem:  # a file that is damaged says so when it is read
        log.info("%s stays beside its session: %s", beside, problem)


class Verified(msgspec.Struct, frozen=True):
    """What was read from the first byte to the last. `head` is the last hash: keep it elsewhere, and no alteration of the
    session can go unseen (`verify(head)`).
    """

    chunks: int
    inputs: int
    outputs: int
    head: str
    closed: bool


class Session:
    """Reads one session, also while it is written. Whatever is wrong with it raises SessionError, which says where."""

    def __init__(self, path: Path) -> None:
        self.path = path
        if not path.is_file():
            raise SessionError(str(path), "there is no such session")
        adopt(path)
        how = "mode=ro" if _log(path).exists() else "immutable=1"  # without a log, SQLite would want to make one beside it
        try:
            self._store = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, isolation_level=None)
        except sqlite3.Error as problem:
            raise self._wrong(f"it cannot be opened ({_words(problem)})") from None
        (application,), (schema,) = self._rows("PRAGMA application_id")[0], self._rows("PRAGMA user_version")[0]
        if application != APPLICATION:
            raise self._wrong("it is not a recorded session")
        if schema != SCHEMA:
            age = "a newer" if schema > SCHEMA else "an older"
            raise self._wrong(f"it was written by {age} version of this program (schema {schema}, this one reads {SCHEMA})")
        self.opening = self._end("opening", Opening)

    def __enter__(self) -> "Session":
        return self

    def __exit__(self, *_: object) -> None:
        self._store.close()

    @property
    def closing(self) -> Closing | None:
        """None while it is written, and for ever when its engine was killed."""
        found = self._rows("SELECT count(*) FROM ends WHERE name = 'closing'")
        return self._end("closing", Closing) if found[0][0] else None

    @property
    def condensed(self) -> Condensed | None:
        """What it was before its market data were removed; None while it is whole."""
        found = self._rows("SELECT count(*) FROM ends WHERE name = 'condensed'")
        return self._end("condensed", Condensed) if found[0][0] else None

    def kept(self) -> Iterator[tuple[int, Event | None, list[Event]]]:
        """Of a condensed session: input numbers, inputs that were kept, and outputs; every hash is checked on the way."""
        digest = b""
        for name in ("opening", "condensed", "closing"):
            for body, stored in self._rows("SELECT body, digest FROM ends WHERE name = ?", name):
                digest = hashlib.sha256(digest + body).digest()
                if digest != stored:
                    raise self._wrong(f"its {name} is damaged or was altered")
        for number, (place, body, stored) in enumerate(self._rows("SELECT number, body, digest FROM kept ORDER BY number")):
            digest = hashlib.sha256(digest + body).digest()
            if place != number or digest != stored:
                raise self._wrong(f"part {number} of its kept records is missing, damaged or was altered")
            try:
                raw = unpack(body, CHUNK_LIMIT)
                some = _KEPT_BODY.decode(raw)
            except (zstandard.ZstdError, *UNREADABLE) as problem:
                raise self._wrong(f"part {number} of its kept records cannot be decoded ({problem})") from None
            for at, event, outputs in some:
                yield at, event, list(outputs)

    @property
    def inputs(self) -> int:
        """How many are committed."""
        rows = self._rows("SELECT first + inputs FROM chunks ORDER BY number DESC LIMIT 1")
        return int(rows[0][0]) if rows else 0

    def chunks(self, first: int = 0) -> Iterator[Chunk]:
        """From the chunk on that holds input `first`; each hash, number and count is checked on the way."""
        if (gone := self.condensed) is not None:
            day = ""
            with contextlib.suppress(ValueError, OverflowError, OSError):
                day = datetime.fromtimestamp(gone.at_ns / 1e9, UTC).strftime(" on %Y-%m-%d")
            raise self._wrong(f"its market data were removed{day}, so it cannot be replayed; its money records are there")
        for row in self._chain(first):
            yield self.decoded(row)

    def state_before(self, wanted: int) -> tuple[int, bytes] | None:
        """The newest kept state from which input `wanted` lies ahead, and the number of inputs behind it; None without one."""
        query = "SELECT number FROM chunks WHERE state != x'' AND first + inputs <= ? AND first <= ? ORDER BY first DESC LIMIT 1"
        if not (found := self._rows(query, wanted, wanted)):
            return None
        row = self._alone(self._one(f"SELECT {COLUMNS} FROM chunks WHERE number = ?", found[0][0]))
        return row.first + row.inputs, self._unpacked(row.state, _where(row))

    def at(self, moment: int) -> int:
        """The number of the first input of the chunk that holds engine time `moment` (ns UTC); chunks are in order of time."""
        low, high = 0, self.count
        while high - low > 1:  # the first of `low` is at or before the moment, or low is 0
            middle = (low + high) // 2
            found = self._rows("SELECT at FROM chunks WHERE number = ?", middle)
            if not found:
                raise self._wrong(f"chunk {middle} is missing")
            low, high = (middle, high) if found[0][0] <= moment else (low, middle)
        rows = self._rows("SELECT first FROM chunks WHERE number = ?", low)
        return int(rows[0][0]) if rows else 0

    def holding(self, kinds: int, first: int, *, back: bool = False) -> Iterator[Chunk]:
        """Chunks with outputs of these kinds, from the one that holds input `first` on, or from it backwards; each hash is
        checked against that of the chunk before it.
        """
        starts = self._rows("SELECT max(number) FROM chunks WHERE first <= ?", first)
        number, order, side = int(starts[0][0] or 0), "DESC" if back else "ASC", "<=" if back else ">="
        query = f"SELECT {COLUMNS} FROM chunks WHERE number {side} ? AND kinds & ? ORDER BY number {order} LIMIT 1"
        while found := self._rows(query, number, kinds):
            row = self._alone(found[0])
            yield self.decoded(row)
            number = row.number + (-1 if back else 1)

    def kinds(self, kinds: int) -> list[tuple[int, int]]:
        """Engine time and kinds of each chunk that holds some of these."""
        return [(int(at), int(found)) for at, found in self._rows("SELECT at, kinds FROM chunks WHERE kinds & ?", kinds)]

    @property
    def count(self) -> int:
        """Chunks that are committed."""
        return int(self._rows("SELECT coalesce(max(number) + 1, 0) FROM chunks")[0][0])

    def rows(self, number: int = 0) -> Iterator[Row]:
        """Chunks as they are stored, from chunk `number` on; each hash is checked on the way."""
        first = self._rows("SELECT first FROM chunks WHERE number = ?", number)
        if first:
            yield from self._chain(int(first[0][0]))

    def end(self, name: str) -> tuple[bytes, bytes] | None:
        """`opening` or `closing` as it is stored, with its hash."""
        found = self._rows("SELECT body, digest FROM ends WHERE name = ?", name)
        return (found[0][0], found[0][1]) if found else None

    async def follow(self, first: int = 0) -> AsyncIterator[Chunk]:
        """The same, then what comes, until the session is closed."""
        while True:
            closed = self.closing is not None
            for chunk in self.chunks(first):
                if chunk.first >= first:  # else it was given before
                    first = chunk.first + len(chunk.inputs)
                    yield chunk
            if closed:
                return
            await asyncio.sleep(FOLLOW_EVERY_S)

    def verify(self, head: str = "") -> Verified:
        """Read and check everything; with `head`, a hash of `Verified` kept elsewhere, that it is the hash of this session, or
        of its beginning when it was written on since.
        """
        opening, digest = self._one("SELECT body, digest FROM ends WHERE name = 'opening'")
        if hashlib.sha256(opening).digest() != digest:
            raise self._wrong("its opening is damaged")
        chunks = inputs = outputs = 0
        heads = {digest.hex()}
        for row in self._chain(0):
            self.decoded(row)
            digest = row.digest
            heads.add(digest.hex())
            chunks, inputs, outputs = chunks + 1, inputs + row.inputs, outputs + row.outputs
        ends = self._rows("SELECT body, digest FROM ends WHERE name = 'closing'")
        if ends:
            body, stored = ends[0]
            if hashlib.sha256(digest + body).digest() != stored:
                raise self._wrong("its closing does not fit what is before it")
            digest = stored
            heads.add(digest.hex())
            closing = self._end("closing", Closing)
            if (closing.inputs, closing.outputs) != (inputs, outputs):
                raise self._wrong(f"it holds {inputs:,} inputs, and its closing says {closing.inputs:,}")
        if head and head.lower() not in heads:
            raise self._wrong(f"it is not the session of that head: its own is {digest.hex()}")
        return Verified(chunks, inputs, outputs, digest.hex(), bool(ends))

    def _alone(self, found: tuple[Any, ...]) -> Row:
        """One chunk, whose hash fits the one before it."""
        row = Row(*found)
        before = self._rows("SELECT digest FROM chunks WHERE number = ?", row.number - 1) if row.number else ()
        self._check(before[0][0] if before else self._one("SELECT digest FROM ends WHERE name = 'opening'")[0], row)
        return row

    def _check(self, before: bytes, row: Row) -> None:
        if min(row[:4]) < 0 or not 0 <= row.raw_bytes <= CHUNK_LIMIT or row.kinds < 0 or _chained(before, row) != row.digest:
            raise self._wrong(f"{_where(row)} is damaged or was altered")

    def _chain(self, first: int) -> Iterator[Row]:
        starts = self._rows("SELECT max(number) FROM chunks WHERE first <= ?", first)
        number = int(starts[0][0] or 0)
        if number:
            before = self._rows("SELECT digest, first + inputs FROM chunks WHERE number = ?", number - 1)
            if not before:
                raise self._wrong(f"chunk {number - 1} is missing")
            digest, expected = before[0]
        else:
            digest, expected = self._one("SELECT digest FROM ends WHERE name = 'opening'")[0], 0
        while rows := self._rows(f"SELECT {COLUMNS} FROM chunks WHERE number >= ? ORDER BY number LIMIT 16", number):
            for found in rows:
                row = Row(*found)
                if (row.number, row.first) != (number, expected):
                    raise self._wrong(f"chunk {number} is missing, or begins with another input than {expected:,}")
                self._check(digest, row)
                yield row
                digest, number, expected = row.digest, number + 1, expected + row.inputs

    def decoded(self, row: Row) -> Chunk:
        where = _where(row)
        try:
            raw = unpack(row.body, row.raw_bytes)
            inputs, outputs, counts = _BODY.decode(raw)
        except (zstandard.ZstdError, *UNREADABLE) as problem:
            raise self._wrong(f"{where} cannot be decoded ({problem})") from None
        told = sum(count for _, count in counts)
        if (len(raw), len(inputs), len(outputs), told) != (row.raw_bytes, row.inputs, row.outputs, row.outputs):
            raise self._wrong(f"{where} holds another number of events than it says")
        places = [place for place, _ in counts]
        if places and (places[0] < 0 or places[-1] >= row.inputs or places != sorted(set(places))):
            raise self._wrong(f"{where} has outputs of inputs that it does not hold")
        return Chunk(row.first, inputs, outputs, counts, self._unpacked(row.state, where) if row.state else b"")

    def _unpacked(self, packed: bytes, where: str) -> bytes:
        try:
            return unpack(packed, CHUNK_LIMIT)
        except zstandard.ZstdError as problem:
            raise self._wrong(f"the state after {where} cannot be decoded ({problem})") from None

    def _end(self, name: str, kind: type[T]) -> T:
        rows = self._rows("SELECT body FROM ends WHERE name = ?", name)
        if not rows:
            raise self._wrong(f"its {name} is missing")
        try:
            return msgspec.json.decode(rows[0][0], type=kind)
        except UNREADABLE as problem:
            raise self._wrong(f"its {name} cannot be decoded ({problem})") from None

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """SQLite gives back values of any type where a file was tampered with: each is looked at."""
        try:
            cursor = self._store.execute(query, values)
            found = cursor.fetchall()
        except sqlite3.Error as problem:
            raise self._wrong(f"it is damaged ({_words(problem)})") from None
        except (ValueError, OverflowError):  # its own words, or a text, are not UTF-8
            raise self._wrong("it is damaged") from None
        kinds = [bytes if column[0] in BLOBS else int for column in cursor.description]
        empty = [column[0].startswith("max(") for column in cursor.description]
        for row in found:
            if any(
                type(value) is not kind and not (value is None and none)
                for value, kind, none in zip(row, kinds, empty, strict=True)
            ):
                raise self._wrong("it is damaged (a value is of another kind than its column)")
        return found

    def _one(self, query: str, *values: object) -> tuple[Any, ...]:
        found = self._rows(query, *values)
        if not found:
            raise self._wrong("it is damaged (a part of it is missing)")
        return found[0]

    def _wrong(self, problem: str) -> SessionError:
        return SessionError(str(self.path), problem)


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
            store.executescript(_TABLES)
            store.execute("BEGIN")
            ends = [("opening", *opening), *([("closing", *closing)] if closing is not None else [])]
            store.executemany("INSERT INTO ends VALUES (?, ?, ?)", ends)
            store.executemany(_INSERT, sorted(rows))
            store.execute("COMMIT")
        with Session(made) as session:
            verified = session.verify()
        made.replace(path)
    except (OSError, sqlite3.Error) as problem:
        raise SessionError(str(path), f"the session cannot be written ({_words(problem)})") from None
    finally:
        made.unlink(missing_ok=True)
    return verified


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
    return sum(file.stat().st_size for file in (path, _log(path), tail_of(path)) if file.exists())


def session_name(path: Path) -> str:
    return path.stem.partition("-")[2] or path.stem


def _log(path: Path) -> Path:
    """SQLite's log beside the file, there while it is written or after its writer was killed."""
    return path.with_name(path.name + "-wal")


def _words(problem: OSError | sqlite3.Error) -> str:
    return problem.strerror or str(problem) if isinstance(problem, OSError) else str(problem)
