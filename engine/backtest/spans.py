"""Dates and lengths as people write them in, milliseconds UTC out; and a series cut to dates or put into longer bars."""

import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from engine.backtest.series import Integers, Series
from engine.errors import DataError

UNITS_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
DAY_MS, WEEK_MS = UNITS_MS["d"], UNITS_MS["w"]
MONDAY_MS = 4 * DAY_MS  # the epoch was a Thursday
WANTED = "a date such as 2024-01-31, or 2024-01-31T12:30 (UTC)"
_LENGTH = re.compile(r"([1-9]\d{0,4})([smhdw])")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")


def start_of(text: str) -> int:
    """`2024-01-01` (its first moment), or a date with a time; without a time zone it is UTC. Raises DataError."""
    return _moment(text, "start date")[0]


def end_of(text: str) -> int:
    """The moment before which bars must begin: a date alone includes its day. Raises DataError."""
    moment, whole_day = _moment(text, "end date")
    return moment + DAY_MS if whole_day else moment


def date(moment_ms: int) -> str:
    """`2024-01-01`, with the time where it is not midnight."""
    try:
        at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=int(moment_ms))
    except OverflowError:
        return f"{moment_ms} ms"
    if moment_ms % DAY_MS == 0:
        return at.strftime("%Y-%m-%d")
    finest = "minutes" if moment_ms % 60_000 == 0 else "seconds" if moment_ms % 1_000 == 0 else "milliseconds"
    return at.replace(tzinfo=None).isoformat(" ", finest)


def length_of(text: str) -> int:
    """`1m`, `4h`, `1d` in milliseconds. Raises DataError."""
    found = _LENGTH.fullmatch(text.strip())
    if found is None:
        raise DataError("timeframe", f"{text!r} is no length of a bar", "one such as 1m, 15m, 4h, 1d")
    return int(found[1]) * UNITS_MS[found[2]]


def length(timeframe_ms: int) -> str:
    """`1m`, `4h`, `1d`: the largest unit that holds it, `250ms` where none does."""
    for name, unit in reversed(UNITS_MS.items()):
        if timeframe_ms % unit == 0 and (name != "w" or timeframe_ms == unit):
            return f"{timeframe_ms // unit}{name}"
    return f"{timeframe_ms}ms"


def slice_between(series: Series, start: str = "", end: str = "") -> Series:
    """The bars from `start` on and before `end` (see `start_of` and `end_of`); "" is as far as there are bars.

    A date alone is satisfied by bars that begin, or end, within its day. Raises DataError where the series does not reach
    that far, which says from when to when it goes, and since when there has been such a contract where that is known.
    """
    return between(series, *bounds(series, start, end))


def bounds(series: Series, start: str = "", end: str = "") -> tuple[int, int]:
    """The moments from and before which the bars of `slice_between` begin. Raises DataError as that does."""
    first, last = int(series.open_ms[0]), int(series.open_ms[-1]) + series.timeframe_ms
    from_ms, to_ms = start_of(start) if start else first, end_of(end) if end else last
    if from_ms >= to_ms:
        raise DataError("dates", f"{start or date(first)} is not before {end or date(last)}", "a start date before the end date")
    # A date whose day has bars is met, though the contract was listed at noon.
    early = from_ms < first and not (_DATE.fullmatch(start.strip()) and first < from_ms + DAY_MS)
    late = to_ms > last and not (_DATE.fullmatch(end.strip()) and last > to_ms - DAY_MS)
    if early or late:
        raise DataError(series.contract.symbol, _lacking(series, start, end, early), f"dates from {date(first)} to {date(last)}")
    return from_ms, to_ms


def _lacking(series: Series, start: str, end: str, early: bool) -> str:
    listed = series.contract.first_ms
    since = f"; it was listed on {date(listed)[:10]}" if listed else ""
    first, last = date(int(series.open_ms[0])), date(int(series.open_ms[-1]) + series.timeframe_ms)
    return f"there are no bars {f'from {start} on' if early else f'up to {end}'}: they go from {first} to {last}{since}"


def between(series: Series, from_ms: int, to_ms: int) -> Series:
    """The bars that begin from `from_ms` on and before `to_ms`, with their funding. Raises DataError where there are none."""
    first, last = np.searchsorted(series.open_ms, (from_ms, to_ms))
    if first == last:
        raise DataError(series.contract.symbol, f"there are no bars from {date(from_ms)} to {date(to_ms)}")
    if first == 0 and last == len(series):
        return series
    return cut(series, int(first), int(last))


def resample(series: Series, timeframe_ms: int) -> Series:
    """The same in bars of `timeframe_ms`, a multiple of the series' own, aligned to UTC (weeks to Monday).

    A first or last bar of which only a part is there is left out, which a remark says. Raises DataError.
    """
    own = series.timeframe_ms
    if timeframe_ms == own:
        return series
    where, name = series.contract.symbol, length(timeframe_ms)
    if timeframe_ms < own or timeframe_ms % own:
        raise DataError(where, f"bars of {length(own)} cannot be put into bars of {name}", f"a multiple of {length(own)}")
    origin = MONDAY_MS if timeframe_ms % WEEK_MS == 0 else 0
    since = int(series.open_ms[0]) - origin
    if since % own:
        problem = f"the first bar begins at {date(int(series.open_ms[0]))}, so that none of {name} is whole in UTC"
        raise DataError(where, problem, f"bars that begin at whole {length(own)} of UTC")
    each = timeframe_ms // own
    skipped = -since % timeframe_ms // own
    count = (len(series) - skipped) // each
    if count < 1:
        raise DataError(where, f"{len(series):,} bars of {length(own)} hold no whole bar of {name}", f"at least {each:,} bars")
    kept = cut(series, skipped, skipped + count * each)
    remarks = series.remarks
    if dropped := len(series) - len(kept):
        remarks += (f"{dropped:,} bars of {length(own)} at the ends fill no bar of {name}: left out.",)

    def grouped(values: Integers) -> Integers:
        return values.reshape(count, each)

    return replace(
        kept,
        timeframe_ms=timeframe_ms,
        open_ms=kept.open_ms[::each].copy(),
        open=kept.open[::each].copy(),
        high=grouped(kept.high).max(axis=1),
        low=grouped(kept.low).min(axis=1),
        close=kept.close[each - 1 :: each].copy(),
        volume=grouped(kept.volume).sum(axis=1),
        remarks=remarks,
    )


def cut(series: Series, first: int, last: int) -> Series:
    """The bars of these places, with the funding within."""
    kept = slice(first, last)
    from_ms, to_ms = series.open_ms[first], series.open_ms[last - 1] + series.timeframe_ms
    paid = slice(*np.searchsorted(series.funding_ms, (from_ms, to_ms)))
    return replace(
        series,
        open_ms=series.open_ms[kept],
        open=series.open[kept],
        high=series.high[kept],
        low=series.low[kept],
        close=series.close[kept],
        volume=series.volume[kept],
        funding_ms=series.funding_ms[paid],
        funding_rate=series.funding_rate[paid],
    )


def _moment(text: str, where: str) -> tuple[int, bool]:
    """Milliseconds, and whether it is a date alone."""
    written = text.strip()
    try:
        at = datetime.fromisoformat(written)
    except ValueError:
        raise DataError(where, f"{text!r} is no date", WANTED) from None
    at = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    moment = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
    return moment, _DATE.fullmatch(written) is not None
