"""Bars and funding that were downloaded or imported, kept as Parquet; a `Series` of a symbol and a span comes out.

`data/<venue>/<symbol>/` in the state folder holds
- `1m.parquet` and so on, a file for each timeframe, and `mark-1m.parquet`, the same of the mark price, without volume,
- `funding.parquet`, and `contract.json`: the contract as the venue listed it.
`kept` says what is in the files. Only bars that exist are kept; gaps are filled when they are read. A file is replaced whole or
not at all, and one process at a time may write a symbol's.
"""

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np

from engine.backtest.bars import common, filled
from engine.backtest.kept import (
    COLUMNS,
    CONTRACT,
    INT,
    Header,
    Kept,
    Span,
    column_of,
    header_of,
    open_file,
    read_bars,
    read_contract,
    read_funding,
    read_header,
    replace_file,
    write_rows,
)
from engine.backtest.series import Contract, Floats, Integers, Series
from engine.backtest.spans import between, bounds, cut, date, length, length_of, resample
from engine.errors import DataError, StateError

FOLDER = "data"
FUNDING, LOCK, MARK = "funding.parquet", ".lock", "mark-"
IMPORTED = "import"  # the venue of files that name none
MINUTE_MS = 60_000
REMARKS = 50  # that are kept with a file, the newest
_UNFIT = re.compile(r"[^A-Za-z0-9.-]+")


class Held(msgspec.Struct, frozen=True):
    """One symbol of one venue: its bars by timeframe, how many there are and from when to when."""

    venue: str
    symbol: str
    folder: Path
    timeframes: dict[int, tuple[int, int, int]]  # timeframe: bars, first open, end of the last
    fundings: int
    size: int


class Cache:
    """`folder` is the state folder's `data`, see `in_state`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def in_state(cls, state: Path) -> "Cache":
        return cls(state / FOLDER)

    def place(self, venue: str, symbol: str) -> Path:
        return self.folder / (_UNFIT.sub("_", venue) or IMPORTED) / _UNFIT.sub("_", symbol)

    def load(
        self, symbol: str, venue: str = "", timeframe_ms: int = 0, start: str = "", end: str = "", *, mark: bool = False
    ) -> Series:
        """The bars from `start` to `end` (see `spans.slice_between`), made of shorter ones where those are what there is.

        Without `venue` the symbol must be kept of one alone; without `timeframe_ms` it is the shortest that is kept. `mark`:
        the bars of the mark price. Raises DataError.
        """
        place = self._find(symbol, venue)
        timeframe_ms = timeframe_ms or min(_timeframes(place, mark), default=MINUTE_MS)
        own_ms = _best(_timeframes(place, mark), timeframe_ms)
        if own_ms is None:
            there = ", ".join(map(length, sorted(_timeframes(place, mark)))) or "none"
            raise DataError(symbol, f"there are no bars that make {length(timeframe_ms)}; kept are {there}")
        series = _series(place, read_bars(_bars(place, own_ms, mark)))
        from_ms, to_ms = bounds(series, start, end)
        # With the bar before and the one after, so that a gap at an end is seen, and filled from what was before it.
        first = max(int(np.searchsorted(series.open_ms, from_ms, "right")) - 1, 0)
        last = int(np.searchsorted(series.open_ms, to_ms, "left")) + 1
        series = between(filled(cut(series, first, min(last, len(series)))), from_ms, to_ms)
        series = _with_funding(series, place)
        return resample(series, timeframe_ms)

    def held(self) -> list[Held]:
        """All that is kept, by venue and symbol; a damaged file raises DataError."""
        places = sorted(path for path in self.folder.glob("*/*") if path.is_dir())
        return [found for place in places if (found := _held(place)) is not None]

    @contextmanager
    def writing(self, venue: str, symbol: str) -> Iterator["Writer"]:
        """Alone: raises StateError where another process writes the same symbol, or nothing can be written."""
        place = self.place(venue, symbol)
        try:
            place.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = os.open(place / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as problem:
            raise StateError(str(place), f"data cannot be kept there ({problem.strerror})") from None
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                busy = f"another process writes the data of {symbol}: wait until it has ended"
                raise StateError(str(place), busy) from None
            yield Writer(place, venue, symbol)
        finally:
            os.close(lock)

    def _find(self, symbol: str, venue: str) -> Path:
        there = [place for place in sorted(self.folder.glob("*/*")) if place == self.place(place.parent.name, symbol)]
        there = [place for place in there if _timeframes(place)]
        places = [place for place in there if place == self.place(venue, symbol)] if venue else there
        if not places:
            of = f" of {venue}" if venue else ""
            of += f", but of {', '.join(place.parent.name for place in there)}," if there else ""
            command = f"`barter-tui data download --symbol {symbol}`, or `data import FILE --symbol {symbol}`"
            raise DataError(symbol, f"no bars{of} are kept in {self.folder}", command)
        if len(places) > 1:
            names = ", ".join(place.parent.name for place in places)
            raise DataError(symbol, f"bars of {names} are kept", "the venue to be named: --venue")
        return places[0]


class Writer:
    """Adds to what is kept of one symbol; each call replaces one file. Raises DataError and StateError."""

    def __init__(self, place: Path, venue: str, symbol: str) -> None:
        self.place, self.venue, self.symbol = place, venue, symbol

    def contract(self, contract: Contract) -> None:
        replace_file(self.place / CONTRACT, lambda path: path.write_bytes(msgspec.json.format(msgspec.json.encode(contract))))

    def asked(self, timeframe_ms: int, mark: bool = False) -> list[Span]:
        path = _bars(self.place, timeframe_ms, mark)
        return read_header(path).asked if path.exists() else []

    def asked_funding(self) -> list[Span]:
        path = self.place / FUNDING
        return read_header(path).asked if path.exists() else []

    def add(self, series: Series, asked: list[Span], *, mark: bool = False, newer: bool = True) -> int:
        """The bars of `series`, each of which exists; how many are new. Where both have one of the same time, the newer
        counts, or, unless `newer`, must be equal.
        """
        contract, path = series.contract, _bars(self.place, series.timeframe_ms, mark)
        units = (contract.tick, contract.step)
        mine = np.stack([series.open_ms, series.open, series.high, series.low, series.close, series.volume])
        header = Header(self.symbol, self.venue, series.timeframe_ms, *units, series.source, asked, list(series.remarks))
        kept = read_bars(path) if path.exists() else Kept(header)
        old, tick, step = kept.header, common(kept.header.tick, contract.tick), common(kept.header.step, contract.step)
        theirs = _scaled(kept.columns, old.tick / tick, old.step / step)
        mine = _scaled(mine, contract.tick / tick, contract.step / step)
        columns, again, differ = _merged(theirs, mine)
        if len(differ) and not newer:
            problem = f"{len(differ):,} of its bars are kept already with other numbers, the first of {date(int(differ[0]))}"
            raise DataError(series.source, problem, "the same numbers, or another --venue to keep them under")
        remarks = [*(remark for remark in old.remarks if remark not in series.remarks), *series.remarks][-REMARKS:]
        made = Header(
            self.symbol, self.venue, series.timeframe_ms, tick, step, series.source, joined([*old.asked, *asked]), remarks
        )
        write_rows(path, dict(zip(COLUMNS, columns, strict=True)), made)
        return int(mine.shape[1]) - again

    def add_funding(self, at_ms: Integers, rate: Floats, asked: list[Span], source: str) -> int:
        """Settlements; how many are new. Those of the same time are replaced."""
        path = self.place / FUNDING
        header = Header(self.symbol, self.venue, 0, Decimal(1), Decimal(1), source, joined([*self.asked_funding(), *asked]))
        old_ms, old_rate = read_funding(path) if path.exists() else (at_ms[:0], rate[:0])
        stays = ~np.isin(old_ms, at_ms)
        all_ms, rates = np.concatenate([old_ms[stays], at_ms]), np.concatenate([old_rate[stays], rate])
        all_ms, places = np.unique(all_ms, return_index=True)
        write_rows(path, {"at_ms": all_ms, "rate": rates[places]}, header)
        return len(all_ms) - len(old_ms)


def joined(spans: list[Span]) -> list[Span]:
    """The same time in as few spans as it takes, by time."""
    made: list[Span] = []
    for start, end in sorted(spans):
        if end <= start:
            continue
        if made and start <= made[-1][1]:
            made[-1] = (made[-1][0], max(made[-1][1], end))
        else:
            made.append((start, end))
    return made


def lacking(span: Span, asked: list[Span]) -> list[Span]:
    """What of `span` is in none of `asked`."""
    at, left = span[0], []
    for start, end in joined(asked):
        if start >= span[1]:
            break
        if start > at:
            left.append((at, start))
        at = max(at, end)
    return [*left, (at, span[1])] if at < span[1] else left


# --- what is there ----------------------------------------------------------------------------------------------------


def _series(place: Path, kept: Kept) -> Series:
    """Without anything filled in. A tick that the venue has changed since is that of the bars."""
    header = kept.header
    contract = read_contract(place) or Contract(
        header.symbol, "" if header.venue == IMPORTED else header.venue, header.tick, header.step
    )
    if not kept.columns.shape[1]:
        raise DataError(header.symbol, "no bars are kept of it: the venue gave none for the dates that it was asked for")
    if (header.tick, header.step) != (contract.tick, contract.step):
        ratio = contract.step / header.step
        sizes = {"min_quantity": int(contract.min_quantity * ratio), "max_quantity": int(contract.max_quantity * ratio)}
        contract = msgspec.structs.replace(contract, tick=header.tick, step=header.step, **sizes)
    open_ms, opened, high, low, close, volume = kept.columns
    units = (contract, header.timeframe_ms)
    return Series(*units, open_ms, opened, high, low, close, volume, source=header.source, remarks=tuple(header.remarks))


def _with_funding(series: Series, place: Path) -> Series:
    path = place / FUNDING
    if not path.exists():
        return series
    at_ms, rate = read_funding(path)
    from_ms, to_ms = int(series.open_ms[0]), int(series.open_ms[-1]) + series.timeframe_ms
    within = slice(*np.searchsorted(at_ms, (from_ms, to_ms)))
    remarks = series.remarks
    if unknown := lacking((from_ms, to_ms), read_header(path).asked):
        remarks += (f"Funding is not known from {date(unknown[0][0])} to {date(unknown[-1][1])}: none is paid there.",)
    return replace(series, funding_ms=at_ms[within], funding_rate=rate[within], remarks=remarks)


def _bars(place: Path, timeframe_ms: int, mark: bool = False) -> Path:
    return place / f"{MARK if mark else ''}{length(timeframe_ms)}.parquet"


def _timeframes(place: Path, mark: bool = False) -> list[int]:
    """Those of which there is a file."""
    found = []
    for path in place.glob("*.parquet"):
        if path.name.startswith(MARK) == mark and path.name != FUNDING:
            with suppress(DataError):
                found.append(length_of(path.stem.removeprefix(MARK)))
    return found


def _best(there: list[int], wanted_ms: int) -> int | None:
    """The timeframe itself, or the longest that makes it."""
    return max((one for one in there if wanted_ms % one == 0), default=None)


def _held(place: Path) -> Held | None:
    timeframes = {}
    symbol, venue = "", ""
    for timeframe_ms in sorted(_timeframes(place)):
        path = _bars(place, timeframe_ms)
        opened = open_file(path)
        header = header_of(path, opened)
        symbol, venue = header.symbol, header.venue
        times = column_of(path, opened, COLUMNS[0], INT)
        ends = (int(times[0]), int(times[-1]) + timeframe_ms) if len(times) else (0, 0)
        timeframes[timeframe_ms] = (len(times), *ends)
    if not timeframes:
        return None
    fundings = len(read_funding(place / FUNDING)[0]) if (place / FUNDING).exists() else 0
    return Held(venue, symbol, place, timeframes, fundings, sum(path.stat().st_size for path in place.iterdir()))


# --- two of a kind ----------------------------------------------------------------------------------------------------


def _merged(old: Integers, new: Integers) -> tuple[Integers, int, Integers]:
    """By time, of two bars of one time the new one; how many of the new were there, and the times of those that differ."""
    again, left, right = np.intersect1d(old[0], new[0], assume_unique=True, return_indices=True)
    differ = again[(old[:, left] != new[:, right]).any(axis=0)]
    both = np.concatenate([np.delete(old, left, axis=1), new], axis=1)
    return both[:, np.argsort(both[0], kind="stable")], len(again), differ


def _scaled(columns: Integers, prices: Decimal, volumes: Decimal) -> Integers:
    if prices == volumes == 1:
        return columns
    return columns * np.array([1, *[int(prices)] * 4, int(volumes)], np.int64)[:, None]
