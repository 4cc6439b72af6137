"""Takes rows of bars as somebody wrote them; gives a `Series` without holes and a sentence for each thing found, or a DataError.

What is put right and said: order, equal duplicates, gaps, which become flat bars without volume at the last close. What is an
error, with line and column: numbers that are none, prices that cannot be, two different bars of one time, mixed lengths.
"""

import math
from dataclasses import dataclass, field, replace
from decimal import Decimal

import msgspec
import numpy as np

from engine.backtest.series import Contract, Floats, Integers, Series
from engine.backtest.spans import MONDAY_MS, WEEK_MS, date, length
from engine.errors import DataError

PRICES = ("open", "high", "low", "close")
MOST_MISSING = 0.1  # of all bars: with more of them made up, a result says nothing of the market
MOST_BARS = 20_000_000
SHORTEST_MS = 1_000
FINEST = 10  # decimals of a tick or step that is inferred; of numbers with more, the smallest keeps so many digits:
DIGITS = 10
NOISE, NEAR = 1e-12, 1e-9  # relative: what floats add to a number; what may be rounded, and is said
LARGEST_PRICE, LARGEST_VOLUME = 2.0**53, 2.0**62  # in ticks, in steps


@dataclass
class Rows:
    """As found, in the order of the file. Prices in quote units, volume in base units; None: there is no such column.

    `lines` are those of the file, `names` what it calls its columns.
    """

    where: str
    lines: Integers
    open_ms: Integers
    prices: tuple[Floats, Floats, Floats, Floats]  # open, high, low, close
    volume: Floats | None
    names: dict[str, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def wrong(self, row: int, column: str, problem: str, expected: str = "") -> DataError:
        name = self.names.get(column, column)
        return DataError(self.where, problem, expected, int(self.lines[row]), name)


def to_series(rows: Rows, symbol: str, contract: Contract | None = None, timeframe_ms: int | None = None) -> Series:
    """In the units of `contract`, or in those that the numbers' decimals show. `timeframe_ms`: what the bars must be long.

    Gaps are still in it: `filled` closes them. Raises DataError.
    """
    if not len(rows.lines):
        raise DataError(rows.where, "it holds no bars")
    _finite(rows)
    if contract is None:
        contract = _inferred(rows, symbol)
    return _in_order(rows, in_units(rows, contract), contract, timeframe_ms)


def in_units(rows: Rows, contract: Contract) -> Integers:
    """Open, high, low, close in ticks and volume in steps, [5, n], of bars that could be. Raises DataError."""
    _finite(rows)
    prices = [_ticks(rows, name, values, contract.tick) for name, values in zip(PRICES, rows.prices, strict=True)]
    _plausible(rows, *prices)
    return np.stack([*prices, _steps(rows, contract.step)])


def units_of(rows: Rows, contract: Contract) -> Contract:
    """The contract, with a finer tick where its prices need one: venues change theirs. Raises DataError."""
    _finite(rows)
    counts = np.concatenate(rows.prices) / float(contract.tick)
    if (np.abs(counts - np.rint(counts)) <= NEAR * counts).all():
        return contract
    finer = common(contract.tick, _unit(rows, "prices", np.concatenate(rows.prices)))
    return msgspec.structs.replace(contract, tick=finer)


def common(one: Decimal, other: Decimal) -> Decimal:
    """The largest unit of which both are multiples."""
    places = max(0, *(-int(unit.as_tuple().exponent) for unit in (one, other)))
    return Decimal(math.gcd(int(one.scaleb(places)), int(other.scaleb(places)))).scaleb(-places)


# --- numbers ----------------------------------------------------------------------------------------------------------


def _finite(rows: Rows) -> None:
    for name, values in zip(PRICES, rows.prices, strict=True):
        _numbers(rows, name, values, least=None)
    if rows.volume is not None:
        _numbers(rows, "volume", rows.volume, least=0.0)


def _numbers(rows: Rows, name: str, values: Floats, least: float | None) -> None:
    """Finite, and above zero, or from `least` on."""
    bad = ~np.isfinite(values) | (values <= 0 if least is None else values < least)
    if not bad.any():
        return
    row = int(np.argmax(bad))
    value = float(values[row])
    said = "it is missing or not a number" if np.isnan(value) else f"it is {value:g}"
    raise rows.wrong(row, name, said, "a price above 0" if least is None else "a number from 0 on")


def _inferred(rows: Rows, symbol: str) -> Contract:
    tick = _unit(rows, "prices", np.concatenate(rows.prices))
    step = Decimal(1) if rows.volume is None else _unit(rows, "volumes", rows.volume)
    rows.remarks.append(f"Ticks of {tick:f} and steps of {step:f}, as the decimals of its numbers show.")
    return Contract(symbol, "", tick, step)


def _unit(rows: Rows, what: str, values: Floats) -> Decimal:
    """The largest power of ten up to 1 of which all are multiples."""
    some = values[:: max(1, len(values) // 1000)]
    for decimals in range(FINEST + 1):
        if _fits(some, decimals) and _fits(values, decimals):
            return Decimal(1).scaleb(-decimals)
    least = float(values[values > 0].min())
    decimals = max(0, DIGITS - 1 - int(np.floor(np.log10(least))))
    rows.remarks.append(f"Some {what} have more than {FINEST} decimals: rounded to {decimals}.")
    return Decimal(1).scaleb(-decimals)


def _fits(values: Floats, decimals: int) -> bool:
    scaled = values * 10.0**decimals
    return bool((np.abs(scaled - np.rint(scaled)) <= NOISE * np.abs(scaled)).all())


def _ticks(rows: Rows, name: str, values: Floats, tick: Decimal) -> Integers:
    counts = values / float(tick)
    whole = np.rint(counts)
    off = np.abs(counts - whole)
    if len(bad := np.flatnonzero(off > NEAR * counts)):
        row = int(bad[0])
        raise rows.wrong(row, name, f"{float(values[row]):.12g} is not a multiple of the tick {tick:f}")
    if len(bad := np.flatnonzero((whole < 1) | (whole >= LARGEST_PRICE))):
        row = int(bad[0])
        raise rows.wrong(row, name, f"{float(values[row]):.12g} is no number of ticks of {tick:f} that can be held")
    if near := int(np.count_nonzero(off > NOISE * 10 * counts)):
        rows.remarks.append(f"{near:,} of the column {rows.names.get(name, name)} were rounded to the tick {tick:f}.")
    return whole.astype(np.int64)


def _steps(rows: Rows, step: Decimal) -> Integers:
    """Volumes are sums that nobody orders: they are rounded to the step."""
    if rows.volume is None:
        rows.remarks.append("There is no column of volume: it counts as 0.")
        return np.zeros(len(rows.lines), np.int64)
    counts = rows.volume / float(step)
    whole = np.rint(counts)
    if len(bad := np.flatnonzero(whole >= LARGEST_VOLUME)):
        row = int(bad[0])
        raise rows.wrong(row, "volume", f"{float(rows.volume[row]):g} is more steps of {step:f} than can be held")
    if near := int(np.count_nonzero(np.abs(counts - whole) > NEAR * np.maximum(counts, 1.0))):
        rows.remarks.append(f"{near:,} volumes were rounded to the step {step:f}.")
    return whole.astype(np.int64)


def _plausible(rows: Rows, open: Integers, high: Integers, low: Integers, close: Integers) -> None:
    """The high is the highest and the low the lowest of a bar."""
    checks: tuple[tuple[str, Integers, str, Integers], ...] = (
        ("high", high, "low", low),
        ("high", high, "open", open),
        ("high", high, "close", close),
        ("open", open, "low", low),
        ("close", close, "low", low),
    )
    for upper, above, lower, below in checks:
        if len(bad := np.flatnonzero(above < below)):
            row = int(bad[0])
            values = dict(zip(PRICES, rows.prices, strict=True))
            told = f"{values[upper][row]:.12g} is below the {lower}, {values[lower][row]:.12g}"
            raise rows.wrong(row, upper, told, "the high highest and the low lowest")


# --- times ------------------------------------------------------------------------------------------------------------


def _in_order(rows: Rows, columns: Integers, contract: Contract, timeframe_ms: int | None) -> Series:
    """`columns`: open, high, low, close in ticks and volume in steps, [5, n], which are plausible. Raises DataError."""
    lines, open_ms, remarks = rows.lines, rows.open_ms, list(rows.remarks)
    steps = np.diff(open_ms)
    if len(steps) and (steps < 0).any():
        turned = bool((steps <= 0).all())
        order = np.argsort(open_ms[::-1] if turned else open_ms, kind="stable")
        order = len(open_ms) - 1 - order if turned else order
        found = (
            "The newest bar came first: turned round"
            if turned
            else f"{int((steps < 0).sum()):,} times a row came too late: sorted"
        )
        remarks.append(f"{found}.")
        lines, open_ms, columns = lines[order], open_ms[order], columns[:, order]
    lines, open_ms, columns = _once(rows, lines, open_ms, columns, remarks)
    length_ms = _length(rows, lines, open_ms, timeframe_ms)
    if columns[4].any() and (still := int((columns[4] == 0).sum())):
        remarks.append(f"Without volume: {still:,} of {len(open_ms):,} bars.")
    if offset := (int(open_ms[0]) - (MONDAY_MS if length_ms % WEEK_MS == 0 else 0)) % length_ms:
        told = f"Bars begin {length(offset)} after whole {length(length_ms)} of UTC: are its times those of another zone?"
        remarks.append(told)
    opened, high, low, close, volume = columns
    return Series(contract, length_ms, open_ms, opened, high, low, close, volume, source=rows.where, remarks=tuple(remarks))


def _once(
    rows: Rows, lines: Integers, open_ms: Integers, columns: Integers, remarks: list[str]
) -> tuple[Integers, Integers, Integers]:
    """Each time once."""
    twice = np.flatnonzero(np.diff(open_ms) == 0) + 1
    if not len(twice):
        return lines, open_ms, columns
    differ = (columns[:, twice] != columns[:, twice - 1]).any(axis=0)
    if differ.any():
        at = int(twice[np.argmax(differ)])
        other = f"another bar of {date(int(open_ms[at]))} stands in line {int(lines[at - 1]):,}, with other numbers"
        raise DataError(rows.where, other, "one bar for each time", int(lines[at]), rows.names.get("time", "time"))
    remarks.append(f"{len(twice):,} rows stood there twice, the first in line {int(lines[twice[0]]):,}: dropped.")
    return np.delete(lines, twice), np.delete(open_ms, twice), np.delete(columns, twice, axis=1)


def _length(rows: Rows, lines: Integers, open_ms: Integers, wanted_ms: int | None) -> int:
    """The most common distance of two bars."""
    if len(open_ms) == 1:
        if wanted_ms is None:
            raise DataError(rows.where, "a single bar does not tell how long it is", "two bars or more, or a timeframe")
        return wanted_ms
    distances, counts = np.unique(np.diff(open_ms), return_counts=True)
    length_ms = int(distances[np.argmax(counts)])
    if wanted_ms is not None and length_ms != wanted_ms:
        raise DataError(rows.where, f"its bars are {length(length_ms)} long", f"bars of {length(wanted_ms)}")
    if length_ms < SHORTEST_MS:
        raise DataError(rows.where, f"its bars are {length_ms} ms apart", "bars of a second or longer")
    rest = open_ms % length_ms
    rests, counts = np.unique(rest, return_counts=True)
    if len(rests) > 1:
        at = int(np.argmax(rest != rests[np.argmax(counts)]))
        problem = f"it begins at {date(int(open_ms[at]))}, between the bars of {length(length_ms)} around it"
        expected = "bars of one length, in one time zone"
        raise DataError(rows.where, problem, expected, int(lines[at]), rows.names.get("time", "time"))
    return length_ms


def filled(series: Series) -> Series:
    """What is missing as flat bars at the last close, without volume, and a remark. Raises DataError for too much of it."""
    open_ms, length_ms = series.open_ms, series.timeframe_ms
    distances, rests = np.divmod(np.diff(open_ms), length_ms)
    if rests.any():
        at = date(int(open_ms[int(np.argmax(rests != 0)) + 1]))
        raise DataError(series.source, f"the bar of {at} is no whole number of {length(length_ms)} after the one before")
    whole = int(distances.sum()) + 1
    missing = whole - len(open_ms)
    if not missing:
        return series
    gaps = np.flatnonzero(distances > 1)
    longest = int(gaps[np.argmax(distances[gaps])])
    first, after = (date(int(open_ms[at]) + length_ms) for at in (int(gaps[0]), longest))
    told = (
        f"{missing:,} of {whole:,} bars of {length(length_ms)} are missing in {len(gaps):,} gaps; the first is at {first},"
        f" the longest at {after} ({int(distances[longest]) - 1:,} bars)"
    )
    if missing > MOST_MISSING * whole or whole > MOST_BARS:
        raise DataError(series.source, told, f"at most {MOST_MISSING:.0%} missing, and {MOST_BARS:,} bars")
    real = np.zeros(whole, bool)
    real[np.concatenate([[0], np.cumsum(distances)])] = True
    source = np.cumsum(real) - 1

    def flat(values: Integers) -> Integers:
        return np.where(real, values[source], series.close[source])

    return replace(
        series,
        open_ms=open_ms[0] + length_ms * np.arange(whole, dtype=np.int64),
        open=flat(series.open),
        high=flat(series.high),
        low=flat(series.low),
        close=flat(series.close),
        volume=np.where(real, series.volume[source], 0),
        remarks=(*series.remarks, f"{told}: filled with flat bars at the last close, without volume."),
    )


def sentences(series: Series) -> list[str]:
    """What a person wants to know of it first, then the remarks."""
    first, last = date(int(series.open_ms[0])), date(int(series.open_ms[-1]) + series.timeframe_ms)
    contract = series.contract
    head = [
        f"{len(series):,} bars of {length(series.timeframe_ms)}, from {first} to {last} (UTC).",
        f"Prices from {int(series.low.min()) * contract.tick:f} to {int(series.high.max()) * contract.tick:f}, "
        f"ticks of {contract.tick:f}, steps of {contract.step:f}.",
    ]
    if paid := len(series.funding_ms):
        head.append(f"Funding at {paid:,} times.")
    elif not any(remark.startswith("Funding") for remark in series.remarks):
        head.append("Funding is not known: none will be paid.")
    return [*head, *series.remarks]
