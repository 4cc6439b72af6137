"""How a session lies in its SQLite file: tables, chunks as rows, and the hash of each over the hash before it."""

import hashlib
import struct
from typing import NamedTuple

import msgspec

from engine.events import Input, Output, encode

APPLICATION = 0x62617274  # "bart": SQLite's application_id, so that another program's file is told from ours
SCHEMA = 2
CHUNK_LIMIT = 64 << 20  # no chunk is larger, whatever its row says
LEVEL = -1  # of zstd: a fifth less time than 1, for 2 % more bytes (measured 2026-11)
Buffer = bytes | bytearray

TABLES = """
CREATE TABLE chunks (
    number INTEGER PRIMARY KEY, first INTEGER NOT NULL, inputs INTEGER NOT NULL, outputs INTEGER NOT NULL,
    at INTEGER NOT NULL, kinds INTEGER NOT NULL, raw_bytes INTEGER NOT NULL, body BLOB NOT NULL, state BLOB NOT NULL,
    digest BLOB NOT NULL
);
CREATE INDEX states ON chunks (first) WHERE state != x'';
CREATE TABLE ends (name TEXT PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL) WITHOUT ROWID;
"""
INSERT = "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
KEPT = "CREATE TABLE kept (number INTEGER PRIMARY KEY, body BLOB NOT NULL, digest BLOB NOT NULL);"
# What a chunk's digest covers beside the one before it, its body and its state: `Row` up to `raw_bytes`, and the body's length.
_HEADER = struct.Struct(">QQQQqQQQ")
_ARRAY = struct.Struct(">BI")  # msgpack's array 32
KEPT_BODY = msgspec.msgpack.Decoder(list[tuple[int, Input | None, list[Output]]])
BODY = msgspec.msgpack.Decoder(tuple[list[Input], list[msgspec.Raw], list[tuple[int, int]]])


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


def chained(before: bytes, row: Row) -> bytes:
    return hashlib.sha256(before + _HEADER.pack(*row[:7], len(row.body)) + row.body + row.state).digest()


def raw_of(inputs: int, events: Buffer, outputs: int, told: Buffer, counts: list[tuple[int, int]]) -> bytes:
    """What is compressed of a chunk: `BODY`, put together from its encoded parts."""
    return b"".join((b"\x93", _ARRAY.pack(0xDD, inputs), events, _ARRAY.pack(0xDD, outputs), told, encode(counts)))


def where_of(row: Row) -> str:
    return f"chunk {row.number} (from input {row.first:,})"
