"""A file of bars, or of funding, in, whoever wrote it; a `Series` out, or a DataError that names file, line and column.

Columns are found by their names in any case, or by their place where there is no header, as Binance's and OKX's dumps and most
others have them. `tables` reads the files.
"""

import re
from pathlib import Path
from typing import NamedTuple

import numpy as np

from engine.backtest.bars import PRICES, Rows, filled, to_series
from engine.backtest.series import Contract, Floats, Integers, Series
from engine.backtest.tables import Table, flags, is_text, moments, numbers, read_table
from engine.errors import DataError

MOST_NAMED = 12  # columns, in an error
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
RATES, FUNDING_TIMES = ("lastfundingrate", "realizedrate", "fundingrate"), ("calctime", "fundingtime")
# Without a header: how many columns there are, and where volume in base units stands. Time and prices come first.
PLACES = {5: None, 6: 5, 7: 5, 8: 5, 9: 6, 10: 5, 11: 5, 12: 5}  # 9: OKX, whose sixth counts contracts; 12: Binance
CONFIRM = ("confirm", 8)  # OKX: 0 of a bar that was not finished; by name, and by place among nine


class Funding(NamedTuple):
    """Settlements by time, positive rates where longs pay, and since and until when these are all."""

    where: str
    at_ms: Integers
    rate: Floats
    span: tuple[int, int]


def read(path: Path, symbol: str = "", contract: Contract | None = None, timeframe_ms: int | None = None) -> Series:
    """The bars of one file, gaps filled. `contract` gives their ticks and steps, else the decimals of the numbers do; the
    symbol is the contract's, `symbol`, or the file's name. `timeframe_ms` is demanded where given. Raises DataError.
    """
    return filled(to_series(_rows(read_table(path)), symbol or path.name.partition(".")[0], contract, timeframe_ms))


def read_as_it_is(path: Path, symbol: str, timeframe_ms: int | None = None) -> Series | Funding:
    """Bars with their gaps, or funding, as its columns say. Raises DataError."""
    table = read_table(path)
    plain = [_plain(name) for name in table.names]
    rate = next((name for name in RATES if name in plain), None)
    if rate is not None and "open" not in plain:
        return _funding(table, plain, rate)
    return to_series(_rows(table), symbol, None, timeframe_ms)


def _funding(table: Table, plain: list[str], rate: str) -> Funding:
    time = next((name for name in (*FUNDING_TIMES, *NAMES["time"]) if name in plain), None)
    if time is None:
        raise DataError(table.where, f"there is no column for the time of {rate}", "one such as fundingTime")
    columns, lines = table.columns, table.first_line + np.arange(len(table.columns[0]), dtype=np.int64)
    names = {"time": table.names[plain.index(time)], "rate": table.names[plain.index(rate)]}
    rates = numbers(table, columns[plain.index(rate)], lines, names["rate"])
    bad = ~(np.abs(rates) <= 1.0)
    if bad.any():
        row = int(np.argmax(bad))
        raise DataError(table.where, f"{rates[row]} is no rate of funding", "one such as 0.0001", int(lines[row]), names["rate"])
    if len(rates) < 2:
        raise DataError(table.where, "fewer than two settlements do not tell how far apart they are", "two or more")
    times = moments(table, columns[plain.index(time)], lines, names["time"])
    at_ms, first = np.unique(times, return_index=True)
    other = rates != rates[first][np.searchsorted(at_ms, times)]
    if other.any():
        row = int(np.argmax(other))
        raise DataError(table.where, "another rate of this time stands above", "one of each time", int(lines[row]), names["time"])
    distances, counts = np.unique(np.diff(at_ms), return_counts=True)
    # They are some milliseconds late: the first is that of its minute.
    span = (int(at_ms[0]) // 60_000 * 60_000, int(at_ms[-1]) + int(distances[np.argmax(counts)]))
    return Funding(table.where, at_ms, rates[first], span)


# --- its columns ------------------------------------------------------------------------------------------------------


def _rows(table: Table) -> Rows:
    import pyarrow.compute as compute

    columns, places, remarks = table.columns, *_places(table)
    lines = table.first_line + np.arange(len(columns[0]), dtype=np.int64)
    said = {role: table.names[place] if table.names else str(place + 1) for role, place in places.items()}
    kept = np.ones(len(lines), bool)
    if all(is_text(columns[place]) for place in places.values()):  # blank lines
        blank = [compute.equal(compute.fill_null(columns[place], ""), "") for place in places.values()]
        kept &= ~np.logical_and.reduce([flags(column) for column in blank])
    if (place := places.pop("confirm", None)) is not None:
        unfinished = kept & (numbers(table, columns[place], lines, "confirm") == 0)
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
    open_ms = moments(table, times, lines, said["time"])
    if _plain(said["time"]) == "closetime":
        open_ms = _from_closes(open_ms, remarks)
    values = {role: numbers(table, columns[place], lines, said[role]) for role, place in places.items() if role != "time"}
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
        there = [name or "(no name)" for name in table.names[:MOST_NAMED]] + ["..."] * (len(table.names) > MOST_NAMED)
        problem = f"there is no column for {', '.join(missing)}; there are {', '.join(there)}"
        raise DataError(table.where, problem, "columns of time, open, high, low, close, and volume", max(table.first_line - 1, 0))
    if plain[places["time"]] == "time" and "date" in plain and ":" in str(table.columns[places["time"]][0]):
        places |= {"time": plain.index("date"), "clock": places["time"]}  # a day and its clock, as MetaTrader writes them
    if CONFIRM[0] in plain:
        places["confirm"] = plain.index(CONFIRM[0])
    return places, []


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _from_closes(close_ms: Integers, remarks: list[str]) -> Integers:
    """A bar that is known by its end begins a bar's length before."""
    ends = close_ms + close_ms % 10 // 9  # ...59.999
    distances, counts = np.unique(np.abs(np.diff(ends)), return_counts=True)
    if not len(distances):
        return ends
    remarks.append("Bars are named by their end: each begins a bar's length before.")
    return np.asarray(ends - distances[np.argmax(counts)], np.int64)
