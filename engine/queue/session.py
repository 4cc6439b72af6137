"""A recorded session, read: also while it is written, and what a killed writer left beside it."""

import asyncio
import contextlib
import hashlib
import logging
import sqlite3
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import zstandard

from engine.errors import SessionError
from engine.events import Event
from engine.queue import Chunk, Closing, Condensed, Opening
from engine.queue.files import log_of, words_of
from engine.queue.layout import (
    APPLICATION,
    BODY,
    CHUNK_LIMIT,
    COLUMNS,
    INSERT,
    KEPT_BODY,
    LEVEL,
    SCHEMA,
    Row,
    chained,
    raw_of,
    where_of,
)
from engine.queue.packed import unpack
from engine.queue.tail import Taken, read, tail_of

FOLLOW_EVERY_S = 0.1
UNREADABLE = (ValueError, RecursionError)  # msgspec's errors are ValueErrors
UNADOPTABLE = (OSError, sqlite3.Error, TypeError, ValueError, OverflowError)
BLOBS = frozenset({"body", "state", "digest"})
T = TypeVar("T")
log = logging.getLogger("barter.queue")


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
                raw = raw_of(part.inputs, part.events, part.outputs, part.told, part.counts)
                packed = zstandard.ZstdCompressor(level=LEVEL).compress(raw)
                row = Row(number, first, part.inputs, part.outputs, part.at, part.kinds, len(raw), packed, b"")
                store.execute(INSERT, row._replace(digest=chained(before, row)))
            store.execute("COMMIT")
            if part is None or closed or part.number <= number:
                beside.unlink()
    except UNADOPTABLE as problem:  # a session that is damaged says so when it is read
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
        how = "mode=ro" if log_of(path).exists() else "immutable=1"  # without a log, SQLite would want to make one beside it
        try:
            self._store = sqlite3.connect(f"{path.resolve().as_uri()}?{how}", uri=True, isolation_level=None)
        except sqlite3.Error as problem:
            raise self._wrong(f"it cannot be opened ({words_of(problem)})") from None
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
                some = KEPT_BODY.decode(raw)
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
        return row.first + row.inputs, self._unpacked(row.state, where_of(row))

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
        if min(row[:4]) < 0 or not 0 <= row.raw_bytes <= CHUNK_LIMIT or row.kinds < 0 or chained(before, row) != row.digest:
            raise self._wrong(f"{where_of(row)} is damaged or was altered")

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
        where = where_of(row)
        try:
            raw = unpack(row.body, row.raw_bytes)
            inputs, outputs, counts = BODY.decode(raw)
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
            raise self._wrong(f"it is damaged ({words_of(problem)})") from None
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
