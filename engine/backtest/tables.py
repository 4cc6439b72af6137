"""A file of rows and columns in; its columns out, as numbers and times, or a DataError that names the place.

CSV, also in .zip and .gz, JSON, Parquet and Feather. Times are seconds, milli-, micro- or nanoseconds since 1970, told apart by
their size, or texts; a time without a zone is UTC.
"""

import codecs
import csv
import gzip
import io
import zipfile
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from engine.backtest.series import Floats, Integers
from engine.errors import DataError

MOST_BYTES = 2_000_000_000  # of a file once it is unpacked
TEXT_BLOCK = 1 << 20
PREFACE = 20  # lines that may stand before the header
SUFFIXES = (".csv", ".txt", ".tsv", ".json", ".parquet", ".feather", ".arrow", ".zip", ".gz")
A_TIME = "a date such as 2024-01-31 12:30, or seconds, ms, us or ns since 1970"
FORMATS = ("%Y.%m.%d %H:%M:%S", "%Y.%m.%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y-%m-%d %I-%p",
           "%d.%m.%Y %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S")  # fmt: skip
# Times as numbers: seconds, milli- and microseconds are below these, nanoseconds above.
SECONDS, MILLIS, MICROS = 10**11, 10**14, 10**17
EARLIEST, LATEST = 10**8, 9 * 10**18  # what lies beyond is no time


class Table(NamedTuple):
    """Columns as read, arrow's arrays; the header's names, none where there is no header; the line of the first row."""

    where: str
    names: list[str]
    columns: list[Any]
    first_line: int


# --- the file ---------------------------------------------------------------------------------------------------------


def read_table(path: Path) -> Table:
    """Parquet, Feather, CSV or JSON, plain or packed, by the name's ending. Raises DataError."""
    where, kind = str(path), path.suffix.lower()
    try:
        if not path.is_file():
            raise DataError(where, "this is a folder, not a file" if path.is_dir() else "there is no such file")
        if kind in (".parquet", ".feather", ".arrow"):
            return _arrow(path, kind)
        if kind not in SUFFIXES:
            raise DataError(
                where, f"files of this kind ({kind or 'without an ending'}) are not read", f"one of {', '.join(SUFFIXES)}"
            )
        where, raw = _unpacked(path, kind)
    except OSError as problem:  # gzip's BadGzipFile is one
        raise DataError(where, f"it cannot be read ({problem.strerror or problem})") from None
    except (EOFError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError) as problem:
        raise DataError(where, f"it is damaged or cannot be unpacked ({problem})") from None
    if not raw.strip():
        raise DataError(where, "it is empty", "rows of time, open, high, low, close, volume")
    inner = where.lower().removesuffix(".gz")
    return _json(where, raw) if inner.endswith(".json") else _csv(where, raw)


def _unpacked(path: Path, kind: str) -> tuple[str, bytes]:
    """What the file is called, with the name of the one inside, and its bytes."""
    where = str(path)
    if kind == ".gz":
        with gzip.open(path) as stream:
            raw = stream.read(MOST_BYTES + 1)
    elif kind == ".zip":
        with zipfile.ZipFile(path) as archive:
            inside = [entry for entry in archive.infolist() if not entry.is_dir() and not entry.filename.startswith("__MACOSX")]
            if len(inside) != 1:
                raise DataError(where, f"there are {len(inside)} files in it", "one, as in the venues' dumps; unpack it")
            where = f"{where}/{inside[0].filename}"
            with archive.open(inside[0]) as stream:
                raw = stream.read(MOST_BYTES + 1)
    else:
        with path.open("rb") as stream:
            raw = stream.read(MOST_BYTES + 1)
    if len(raw) > MOST_BYTES:
        raise DataError(where, f"it holds more than {MOST_BYTES / 1e9:g} GB", "a smaller file, or Parquet")
    return where, raw


def _arrow(path: Path, kind: str) -> Table:
    import pyarrow as arrow
    from pyarrow import feather, parquet

    try:
        table = parquet.read_table(path) if kind == ".parquet" else feather.read_table(path)
    except (arrow.ArrowException, ValueError) as problem:
        raise DataError(str(path), f"it cannot be read as {kind[1:]} ({_short(problem)})") from None
    return Table(str(path), list(table.column_names), [column.combine_chunks() for column in table.columns], 1)


def _json(where: str, raw: bytes) -> Table:
    """A list of rows or of objects; also inside `data`, as OKX answers."""
    import pyarrow as arrow

    try:
        found = msgspec.json.decode(raw)
    except (ValueError, RecursionError) as problem:
        raise DataError(where, f"it is no JSON ({problem})") from None
    rows = found.get("data") if isinstance(found, dict) else found
    if not isinstance(rows, list):
        raise DataError(where, "it holds no list", "a list of rows [time, open, high, low, close, volume]")
    if not rows:
        raise DataError(where, "it holds no bars")
    names = list(rows[0]) if isinstance(rows[0], dict) else []
    width = len(rows[0]) if isinstance(rows[0], dict | list) else 0
    texts = []
    for number, row in enumerate(rows, start=1):
        values = list(row.values()) if isinstance(row, dict) else row
        if not isinstance(values, list) or len(values) != width or (names and list(row) != names):
            raise DataError(where, "the row is not like the first", f"a row of {width} fields", number)
        texts.append(["" if value is None else str(value) for value in values])
    return Table(where, names, [arrow.array(column) for column in zip(*texts, strict=True)], 1)


def _csv(where: str, raw: bytes) -> Table:
    import pyarrow as arrow
    from pyarrow import csv as reader

    raw = raw.removeprefix(b"\xef\xbb\xbf")
    _check_text(where, raw)
    head = [line.decode("utf-8", "replace") for line in raw[:100_000].splitlines()[: PREFACE + 1]]
    start, delimiter = _beginning(where, head)
    cells = next(csv.reader([head[start]], delimiter=delimiter))
    header = not any(map(_is_number, cells))
    wrong: list[Any] = []

    def note(row: Any) -> str:
        wrong.append(row)
        return "skip"

    names = [str(place) for place in range(len(cells))]
    skipped = start + header
    try:
        table = reader.read_csv(
            io.BytesIO(raw),
            read_options=reader.ReadOptions(column_names=names, skip_rows=skipped, use_threads=False, block_size=1 << 23),
            parse_options=reader.ParseOptions(delimiter=delimiter, ignore_empty_lines=False, invalid_row_handler=note),
            convert_options=reader.ConvertOptions(column_types=dict.fromkeys(names, arrow.string()), strings_can_be_null=False),
        )
    except arrow.ArrowException as problem:
        raise DataError(where, f"it cannot be read as CSV ({_short(problem)})", "UTF-8 text in rows and columns") from None
    if wrong:
        row = wrong[0]
        count = f"the row has {row.actual_columns} fields, the first has {row.expected_columns}"
        raise DataError(where, count, f"{row.expected_columns} fields", row.number or 0)
    if not table.num_rows:
        raise DataError(where, "it holds a header and no bars")
    return Table(where, cells if header else [], [column.combine_chunks() for column in table.columns], skipped + 1)


def _check_text(where: str, raw: bytes) -> None:
    """Raises DataError for what is no UTF-8: arrow would leave such a row out where it also has too few fields."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    for place in range(0, len(raw) + 1, TEXT_BLOCK):
        try:
            decoder.decode(raw[place : place + TEXT_BLOCK], place + TEXT_BLOCK > len(raw))
        except UnicodeDecodeError as problem:
            line = raw.count(b"\n", 0, place + problem.start) + 1
            raise DataError(where, "it holds what is no text", "UTF-8 text in rows and columns", line) from None


def _beginning(where: str, head: list[str]) -> tuple[int, str]:
    """The place of the first line of five columns or more (of two, where it speaks of funding), and what parts them."""
    for place, line in enumerate(head):
        delimiter = max(",;\t|", key=line.count)
        if line.count(delimiter) >= (1 if "funding" in line.lower() else 4) and not line.startswith("#"):
            return place, delimiter
    raise DataError(where, f"none of its first {len(head)} lines has five columns", "time, open, high, low, close, volume", 1)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def is_text(column: Any) -> bool:
    return str(column.type) in ("string", "large_string")


def flags(column: Any) -> Any:
    return column.to_numpy(zero_copy_only=False)


def numbers(table: Table, column: Any, lines: Integers, name: str) -> Floats:
    """As float64; what is not there is NaN. Raises DataError for what is no number."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    try:
        if is_text(column):
            column = compute.utf8_trim_whitespace(column)
            column = compute.if_else(compute.equal(column, ""), None, column)
        return np.asarray(compute.cast(column, arrow.float64(), safe=False).to_numpy(zero_copy_only=False), np.float64)
    except arrow.ArrowException:
        bad, text = _first_bad(column, _is_number)
        line = int(lines[bad]) if bad >= 0 else 0
        raise DataError(table.where, f"{text!r} is no number", "a number such as 1.2345", line, name) from None


def _first_bad(column: Any, good: Any) -> tuple[int, str]:
    for place, value in enumerate(column.to_pylist()):
        if value is not None and not good(str(value)):
            return place, str(value)[:40]
    return -1, str(column.type)


# --- times ------------------------------------------------------------------------------------------------------------


def moments(table: Table, column: Any, lines: Integers, name: str) -> Integers:
    """Milliseconds UTC. Raises DataError."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    if column.null_count:
        raise DataError(table.where, "there is no time", "", int(lines[int(np.argmax(flags(compute.is_null(column))))]), name)
    kind = str(column.type)
    if kind.startswith(("timestamp", "date")):
        zone = getattr(column.type, "tz", None)
        micros = compute.cast(column, arrow.timestamp("us", zone), safe=False).cast(arrow.int64())
        return np.asarray(micros.to_numpy(zero_copy_only=False)) // 1000
    if not is_text(column):
        whole = arrow.types.is_integer(column.type)
        values = column.to_numpy(zero_copy_only=False) if whole else numbers(table, column, lines, name)
        return _since_epoch(table, np.asarray(values), lines, name)
    column = compute.utf8_trim_whitespace(column)
    for form in (arrow.int64(), arrow.float64()):
        try:
            return _since_epoch(table, np.asarray(compute.cast(column, form).to_numpy()), lines, name)
        except arrow.ArrowInvalid:
            continue
    for zone in (None, "UTC"):
        try:
            micros = compute.cast(column, arrow.timestamp("us", zone)).cast(arrow.int64())
        except arrow.ArrowInvalid:
            continue
        return np.asarray(micros.to_numpy()) // 1000
    return _written(table, column.to_pylist(), lines, name)


def _since_epoch(table: Table, values: Any, lines: Integers, name: str) -> Integers:
    """Each by its size: Binance's dumps went from milli- to microseconds with 2025."""
    bad = ~np.isfinite(values) | (values < EARLIEST) | (values > LATEST)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(table.where, f"{values[row]} is no time", A_TIME, int(lines[row]), name)
    if values.dtype.kind == "f" and (values < SECONDS).all():  # of a second, parts are kept
        return np.asarray(np.rint(values * 1000), np.int64)
    whole = values.astype(np.int64)
    kinds = [whole < SECONDS, whole < MILLIS, whole < MICROS]
    return np.asarray(np.select(kinds, [whole * 1000, whole, whole // 1000], whole // 1_000_000), np.int64)


def _written(table: Table, texts: Sequence[str], lines: Integers, name: str) -> Integers:
    """Texts in a form that arrow does not read, or in several, or beside numbers."""
    made = np.empty(len(texts), np.int64)
    form = ""
    for place, text in enumerate(texts):
        if _is_number(text):
            made[place] = _since_epoch(table, np.array([float(text)]), lines[place : place + 1], name)[0]
            continue
        at, form = _parsed(text, form)
        if at is None:
            raise DataError(table.where, f"{text[:40]!r} is no time", A_TIME, int(lines[place]), name)
        made[place] = round(at.timestamp() * 1000)
    return made


def _parsed(text: str, form: str) -> tuple[datetime | None, str]:
    """`form` was that of the text before: it is tried first."""
    for shape in (form, "", *FORMATS) if form else ("", *FORMATS):
        try:
            at = datetime.strptime(text, shape) if shape else datetime.fromisoformat(text.removesuffix(" UTC"))
        except ValueError:
            continue
        return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)), shape
    return None, ""


def _short(problem: Exception) -> str:
    return str(problem).partition("\n")[0][:160]
