"""One Parquet file of bars or of funding: its rows as arrays and what it says of itself, out; the same in, whole or not at all.

Bars are six columns of int64: `open_ms`; `open`, `high`, `low`, `close` in ticks; `volume` in steps. Funding is `at_ms`, int64,
and `rate`, float64, positive where longs pay. A `Header` stands as JSON under the key `barter` of the file's metadata.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from engine.backtest.bars import MOST_BARS
from engine.backtest.series import Contract, Floats, Integers
from engine.errors import DataError, StateError
from engine.whole import write_whole

KEY, VERSION = b"barter", 1
COLUMNS = ("open_ms", "open", "high", "low", "close", "volume")
CONTRACT = "contract.json"
INT, FLOAT = np.dtype(np.int64), np.dtype(np.float64)
Span = tuple[int, int]  # from, to (ms, `to` not included)


class Header(msgspec.Struct):
    """What a file holds. `asked`: spans that the venue was asked for or a file covered, so that their gaps are known ones."""

    symbol: str
    venue: str
    timeframe_ms: int  # 0 of funding, and then units of 1
    tick: Decimal
    step: Decimal
    source: str
    asked: list[Span] = []
    remarks: list[str] = []
    version: int = VERSION


@dataclass
class Kept:
    """A file's content: `columns` are those of `COLUMNS`, [6, n], by time."""

    header: Header
    columns: Integers = field(default_factory=lambda: np.empty((len(COLUMNS), 0), np.int64))


# --- reading ----------------------------------------------------------------------------------------------------------


def read_header(path: Path) -> Header:
    """Without its rows. Raises DataError."""
    return header_of(path, open_file(path))


def read_bars(path: Path) -> Kept:
    """A file of bars, whole; each must be later than the one before. Raises DataError."""
    opened = open_file(path)
    header = header_of(path, opened)
    columns = np.stack([column_of(path, opened, name, INT) for name in COLUMNS])
    if (np.diff(columns[0]) <= 0).any() or header.timeframe_ms <= 0 or columns.shape[1] > MOST_BARS:
        raise DataError(
            str(path), "its bars are out of order: it was not written by this program, or is damaged", "it to be removed"
        )
    return Kept(header, columns)


def read_funding(path: Path) -> tuple[Integers, Floats]:
    """Times and rates of the settlements. Raises DataError."""
    opened = open_file(path)
    header_of(path, opened)
    return column_of(path, opened, "at_ms", INT), column_of(path, opened, "rate", FLOAT)


def read_contract(place: Path) -> Contract | None:
    """None where only files were imported. Raises DataError."""
    try:
        return msgspec.json.decode((place / CONTRACT).read_bytes(), type=Contract)
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as problem:
        raise DataError(str(place / CONTRACT), f"it cannot be read ({problem})") from None


def open_file(path: Path) -> Any:
    """Raises DataError where it is no Parquet file."""
    import pyarrow as arrow
    from pyarrow import parquet

    try:
        return parquet.ParquetFile(path)
    except (OSError, arrow.ArrowException) as problem:
        raise DataError(
            str(path), f"it cannot be read ({str(problem).partition(chr(10))[0][:160]})", "it to be removed"
        ) from None


def header_of(path: Path, opened: Any) -> Header:
    """What the file says of itself. Raises DataError for one that is not ours, or newer."""
    raw = (opened.schema_arrow.metadata or {}).get(KEY, b"")
    try:
        header = msgspec.json.decode(raw, type=Header)
    except ValueError as problem:
        raise DataError(str(path), f"it does not say what it holds ({problem})", "a file that this program wrote") from None
    if header.version > VERSION:
        raise DataError(str(path), f"it was written by a newer version of this program (form {header.version})")
    return header


def column_of(path: Path, opened: Any, name: str, kind: Any) -> Any:
    """One column as an array of `kind`. Raises DataError."""
    import pyarrow as arrow

    try:
        (column,) = opened.read([name]).columns
        values = column.combine_chunks().to_numpy(zero_copy_only=False)
    except (OSError, ValueError, arrow.ArrowException) as problem:
        raise DataError(str(path), f"it cannot be read ({str(problem).partition(chr(10))[0][:160]})", "", 0, name) from None
    if values.dtype != kind:
        raise DataError(str(path), f"it holds {values.dtype}", str(kind), 0, name)
    return values


# --- writing ----------------------------------------------------------------------------------------------------------


def write_rows(path: Path, columns: dict[str, Any], header: Header) -> None:
    """Whole or not at all: it is written beside the file, and takes its place."""
    import pyarrow as arrow
    from pyarrow import parquet

    table = arrow.table(columns).replace_schema_metadata({KEY: msgspec.json.encode(header)})
    # Deltas make a third of the size of plain numbers, and are the quickest to read.
    coded = {name: "DELTA_BINARY_PACKED" if values.dtype == np.int64 else "PLAIN" for name, values in columns.items()}
    replace_file(path, lambda beside: parquet.write_table(table, beside, use_dictionary=False, column_encoding=coded))


def replace_file(path: Path, write: Callable[[Path], object]) -> None:
    """Whole or not at all. Raises StateError."""
    try:
        write_whole(path, write)
    except OSError as problem:
        raise StateError(str(path), f"it cannot be written ({problem.strerror or problem})") from None
