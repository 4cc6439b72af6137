"""A file of bars in, whoever wrote it; a `Series` out, or a DataError that names file, line and column.

CSV (also in .zip and .gz), JSON, Parquet and Feather. Columns are found by their names in any case, or by their place where
there is no header, as Binance's and OKX's dumps and most others have them. Times are seconds, milli-, micro- or nanoseconds
since 1970, told apart by their size, or texts; a time without a zone is UTC.
"""

import csv
import gzip
import io
import re
import zipfile
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from engine.backtest.bars import PRICES, Rows, to_series
from engine.backtest.series import Contract, Floats, Integers, Series
from engine.errors import DataError

MOST_BYTES = 2_000_000_000  # of a file once it is unpacked
MOST_NAMED = 12  # columns, in an error
PREFACE = 20  # lines that may stand before the header
SUFFIXES = (".csv", ".txt", ".tsv", ".json", ".parquet", ".feather", ".arrow", ".zip", ".gz")
# What columns are called, written small and without what is no letter or digit; the first that is there is taken.
NAMES = {
    "time": (
        "opentime", "unix", "timestamp", "time", "datetime", "date", "ts", "starttime", "startat", "start", "t", "bartime",
        "gmttime", "utc", "candlebegintime", "", "index", "indexlevel0", "closetime",
    ),
    "open": ("open", "o", "openprice", "priceopen"),
    "high": ("high", "h", "highprice", "pricehigh", "max"),
    "low": ("low", "l", "lowprice", "pricelow", "min"),
    "close": ("close", "c", "closeprice", "priceclose"),
    "volume": ("volccy", "volume", "v", "basevolume", "volumebase", "volumefrom", "vol", "tickvol", "tickvolume"),
}  # fmt: skip
# Without a header: how many columns there are, and where volume in base units stands. Time and prices come first.
PLACES = {5: None, 6: 5, 7: 5, 8: 5, 9: 6, 10: 5, 11: 5, 12: 5}  # 9: OKX, whose sixth counts contracts; 12: Binance
CONFIRM = ("confirm", 8)  # OKX: 0 of a bar that was not finished; by name, and by place among nine
FORMATS = ("%Y.%m.%d %H:%M:%S", "%Y.%m.%d %H:%M", "%Y/%m/%d %H:%M:%S", "%Y/%m/%d %H:%M", "%Y/%m/%d", "%Y-%m-%d %I-%p",
           "%d.%m.%Y %H:%M:%S.%f", "%d.%m.%Y %H:%M:%S")  # fmt: skip
A_TIME = "a date such as 2024-01-31 12:30, or seconds, ms, us or ns since 1970"
# Times as numbers: below each bound, what a millisecond is divided or multiplied by. Seconds since 1973, nanoseconds to 2262.
EARLIEST, SECONDS, MILLIS, MICROS = 10**8, 10**11, 10**14, 10**17


class Table(NamedTuple):
    """Columns as read, arrow's arrays; the header's names, none where there is no header; the line of the first row."""

    where: str
    names: list[str]
    columns: list[Any]
    first_line: int


def read(path: Path, symbol: str = "", contract: Contract | None = None, timeframe_ms: int | None = None) -> Series:
    """The bars of one file. `contract` gives their ticks and steps, else the decimals of the numbers do; the symbol is the
    contract's, `symbol`, or the file's name. `timeframe_ms` is demanded where given. Raises DataError.
    """
    table = _table(path)
    rows = _rows(table)
    return to_series(rows, symbol or path.name.partition(".")[0], contract, timeframe_ms)


# --- the file ---------------------------------------------------------------------------------------------------------


def _table(path: Path) -> Table:
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


def _beginning(where: str, head: list[str]) -> tuple[int, str]:
    """The place of the first line of five columns or more, and what parts them."""
    for place, line in enumerate(head):
        delimiter = max(",;\t|", key=line.count)
        if line.count(delimiter) >= 4 and not line.startswith("#"):
            return place, delimiter
    raise DataError(where, f"none of its first {len(head)} lines has five columns", "time, open, high, low, close, volume", 1)


# --- its columns ------------------------------------------------------------------------------------------------------


def _rows(table: Table) -> Rows:
    import pyarrow.compute as compute

    columns, places, remarks = table.columns, *_places(table)
    lines = table.first_line + np.arange(len(columns[0]), dtype=np.int64)
    said = {role: table.names[place] if table.names else str(place + 1) for role, place in places.items()}
    kept = np.ones(len(lines), bool)
    if _is_text(columns[0]):  # blank lines
        kept &= ~np.logical_and.reduce([_flags(compute.equal(columns[place], "")) for place in places.values()])
    if (place := places.pop("confirm", None)) is not None:
        unfinished = kept & (_numbers(table, columns[place], lines, "confirm") == 0)
        if unfinished.any():
            remarks.append(f"{int(unfinished.sum()):,} bars were not finished: left out.")
            kept &= ~unfinished
    where = np.flatnonzero(kept)
    if len(where) < len(kept):
        columns = [column.take(where) for column in columns]
        lines = lines[where]
    if not len(lines):
        raise DataError(table.where, "it holds no finished bars")
    clock = places.pop("clock", None)
    times = columns[places["time"]]
    if clock is not None:
        times = compute.binary_join_element_wise(times, columns[clock], " ")
    open_ms = _moments(table, times, lines, said["time"])
    if _plain(said["time"]) == "closetime":
        open_ms = _from_closes(open_ms, remarks)
    values = {role: _numbers(table, columns[place], lines, said[role]) for role, place in places.items() if role != "time"}
    opened, high, low, close = (values[name] for name in PRICES)
    volume = values.get("volume")
    if volume is not None and bool(np.isnan(volume).all()):  # mark prices have none
        volume = None
    return Rows(table.where, lines, open_ms, (opened, high, low, close), volume, said, remarks)


def _places(table: Table) -> tuple[dict[str, int], list[str]]:
    """Where each of time, prices and volume stands."""
    if not table.names:
        width = len(table.columns)
        if width not in PLACES:
            raise DataError(table.where, f"it has {width} columns and no header", "5 to 12 columns, or a header with their names")
        places = {name: place for place, name in enumerate(("time", *PRICES))}
        if (volume := PLACES[width]) is not None:
            places["volume"] = volume
        if width == 9:
            places["confirm"] = CONFIRM[1]
        kind = {9: "OKX's", 12: "Binance's"}.get(width, "time, open, high, low, close, volume")
        return places, [f"There is no header: its {width} columns were taken for {kind}."]
    plain = [_plain(name) for name in table.names]
    places = {
        role: plain.index(name)
        for role, names in NAMES.items()
        if (name := next((n for n in names if n in plain), None)) is not None
    }
    if "time" not in places:  # a table of somebody's own: the one column that is a time
        typed = [place for place, column in enumerate(table.columns) if str(column.type).startswith(("timestamp", "date"))]
        places |= {"time": typed[0]} if len(typed) == 1 else {}
    if "volume" not in places:  # `Volume BTC` beside `Volume USDT`
        place = next((place for place, name in enumerate(plain) if name.startswith("volume")), None)
        places |= {"volume": place} if place is not None else {}
    missing = [name for name in ("time", *PRICES) if name not in places]
    if missing:
        there = ", ".join(name or "(no name)" for name in table.names[:MOST_NAMED]) + (
            " ..." if len(table.names) > MOST_NAMED else ""
        )
        problem = f"there is no column for {', '.join(missing)}; there are {there}"
        raise DataError(table.where, problem, "columns of time, open, high, low, close, and volume", max(table.first_line - 1, 0))
    if plain[places["time"]] == "time" and "date" in plain and ":" in str(table.columns[places["time"]][0]):
        places |= {"time": plain.index("date"), "clock": places["time"]}  # a day and its clock, as MetaTrader writes them
    if CONFIRM[0] in plain:
        places["confirm"] = plain.index(CONFIRM[0])
    return places, []


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_text(column: Any) -> bool:
    return str(column.type) in ("string", "large_string")


def _flags(column: Any) -> Any:
    return column.to_numpy(zero_copy_only=False)


def _numbers(table: Table, column: Any, lines: Integers, name: str) -> Floats:
    """As float64; what is not there is NaN. Raises DataError for what is no number."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    try:
        if _is_text(column):
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


def _moments(table: Table, column: Any, lines: Integers, name: str) -> Integers:
    """Milliseconds UTC. Raises DataError."""
    import pyarrow as arrow
    import pyarrow.compute as compute

    if column.null_count:
        raise DataError(table.where, "there is no time", "", int(lines[int(np.argmax(_flags(compute.is_null(column))))]), name)
    kind = str(column.type)
    if kind.startswith(("timestamp", "date")):
        zone = getattr(column.type, "tz", None)
        micros = compute.cast(column, arrow.timestamp("us", zone), safe=False).cast(arrow.int64())
        return np.asarray(micros.to_numpy(zero_copy_only=False)) // 1000
    if not _is_text(column):
        numbers = (
            _numbers(table, column, lines, name)
            if arrow.types.is_floating(column.type)
            else column.to_numpy(zero_copy_only=False)
        )
        return _since_epoch(table, np.asarray(numbers), lines, name)
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


def _since_epoch(table: Table, numbers: Any, lines: Integers, name: str) -> Integers:
    """Each by its size: Binance's dumps went from milli- to microseconds with 2025."""
    bad = ~np.isfinite(numbers) | (numbers < EARLIEST)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(table.where, f"{numbers[row]} is no time", A_TIME, int(lines[row]), name)
    if numbers.dtype.kind == "f" and (numbers < SECONDS).all():  # of a second, parts are kept
        return np.asarray(np.rint(numbers * 1000), np.int64)
    whole = numbers.astype(np.int64)
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


def _from_closes(close_ms: Integers, remarks: list[str]) -> Integers:
    """A bar that is known by its end begins a bar's length before."""
    ends = close_ms + close_ms % 10 // 9  # ...59.999
    distances, counts = np.unique(np.abs(np.diff(ends)), return_counts=True)
    if not len(distances):
        return ends
    remarks.append("Bars are named by their end: each begins a bar's length before.")
    return np.asarray(ends - distances[np.argmax(counts)], np.int64)


def _short(problem: Exception) -> str:
    return str(problem).partition("\n")[0][:160]
