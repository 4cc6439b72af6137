"""A recorded session in, tables for analysis out: a file for each kind of fact, as CSV or Parquet.

Prices and sizes are exact decimals in quote and base units, times are nanoseconds UTC of engine time (in Parquet `at_utc` is the
time of `at` as a timestamp), and `number` is that of the input that the fact is or followed from.
"""

import contextlib
import csv
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import msgspec

from engine import events as e
from engine.errors import SessionError
from engine.events import Event
from engine.queue.export import Progress, coming_folder, whole
from engine.queue.session import Session

ROWS = 20_000  # that are written at once, and in memory
DIGITS, PLACES = 38, 18  # of a decimal in Parquet
Value = int | float | str | bool | Decimal

Row = tuple[Value, ...]
Units = Callable[[str], tuple[Decimal, Decimal]]  # of a market: its tick and step


class Kind(msgspec.Struct, frozen=True):
    """A table: its columns by name and type, and the row of an event."""

    name: str
    columns: tuple[tuple[str, str], ...]
    row: Callable[[Any, Units], Row]


def _kind(name: str, columns: str, row: Callable[[Any, Units], Row]) -> Kind:
    """`columns` are words `name:type`; `at:time` and `market:text` are the first of each table that has a market."""
    pairs = tuple((word.partition(":")[0], word.partition(":")[2]) for word in columns.split())
    return Kind(name, pairs, row)


def _trade(event: e.Trade, units: Units) -> Row:
    tick, step = units(event.market)
    return event.at, event.market, event.venue_ms, event.id, event.side.name.lower(), event.price * tick, event.size * step


def _quote(event: e.Quote, units: Units) -> Row:
    tick, step = units(event.market)
    bid, ask = (event.bid * tick, event.bid_size * step), (event.ask * tick, event.ask_size * step)
    return event.at, event.market, event.venue_ms, *bid, *ask


def _bar(event: e.BarClosed, units: Units) -> Row:
    bar = event.bar
    tick, step = units(bar.market)
    prices = (bar.open * tick, bar.high * tick, bar.low * tick, bar.close * tick)
    return event.at, bar.market, bar.timeframe_ms, bar.open_ms, *prices, bar.volume * step, bar.trades, event.derived


def _judgment(event: e.Judged, _: Units) -> Row:
    s = event.stance
    judged = (s.source, s.bias.value, s.confidence, s.risk_score, s.chance_up, s.size_cap, s.price)
    return event.at, s.market, *judged, s.expires_at, s.question, s.rationale


def _decision(event: e.Decided, units: Units) -> Row:
    wish = (event.purpose.value, event.side.name.lower(), event.quantity * units(event.market)[1])
    return event.at, event.market, *wish, event.approved, event.reason, event.judgment, event.mid


def _request(event: e.SendOrder, units: Units) -> Row:
    tick, step = units(event.market)
    what = (event.client_id, event.kind.value, event.purpose.value, event.side.name.lower(), event.quantity * step)
    return event.at, event.market, *what, event.price * tick, event.trigger * tick, event.reduce_only


def _fill(event: e.Filled, units: Units) -> Row:
    tick, step = units(event.market)
    what = (event.client_id, event.trade_id, event.side.name.lower(), event.quantity * step, event.price * tick)
    return event.at, event.market, *what, event.fee, event.maker, event.realised, event.position * step, event.wallet


HEAD = "at:time market:text"
KINDS: dict[type[Event], Kind] = {
    e.Trade: _kind("trades", f"{HEAD} venue_ms:int id:int side:text price:decimal quantity:decimal", _trade),
    e.Quote: _kind("quotes", f"{HEAD} venue_ms:int bid:decimal bid_size:decimal ask:decimal ask_size:decimal", _quote),
    e.BarClosed: _kind(
        "bars",
        f"{HEAD} timeframe_ms:int open_ms:int open:decimal high:decimal low:decimal close:decimal volume:decimal trades:int "
        "derived:bool",
        _bar,
    ),
    e.Judged: _kind(
        "judgments",
        f"{HEAD} source:text bias:text confidence:float risk_score:float chance_up:float size_cap:float price:float "
        "expires_at:time question:text rationale:text",
        _judgment,
    ),
    e.JudgmentScored: _kind(
        "scores",
        f"{HEAD} by:text question:text chance_up:float price:float end_price:float up:bool",
        lambda s, _: (s.at, s.market, s.by, s.question, s.chance_up, s.price, s.end_price, s.up),
    ),
    e.Decided: _kind(
        "decisions",
        f"{HEAD} purpose:text side:text quantity:decimal approved:bool reason:text judgment:text mid:float",
        _decision,
    ),
    e.SendOrder: _kind(
        "requests",
        f"{HEAD} client_id:text kind:text purpose:text side:text quantity:decimal price:decimal trigger:decimal reduce_only:bool",
        _request,
    ),
    e.OrderChanged: _kind(
        "orders",
        f"{HEAD} client_id:text before:text after:text reason:text",
        lambda o, _: (o.at, o.market, o.client_id, o.before.value, o.after.value, o.reason),
    ),
    e.Filled: _kind(
        "fills",
        f"{HEAD} client_id:text trade_id:int side:text quantity:decimal price:decimal fee:decimal maker:bool realised:decimal "
        "position:decimal wallet:decimal",
        _fill,
    ),
    e.FundingPaid: _kind("funding", f"{HEAD} amount:decimal wallet:decimal", lambda f, _: (f.at, f.market, f.amount, f.wallet)),
    e.TradingChanged: _kind("trading", "at:time trading:text reason:text", lambda t, _: (t.at, t.trading.value, t.reason)),
    e.Alert: _kind("alerts", "at:time level:text text:text", lambda a, _: (a.at, a.level.value, a.text)),
}


class Writer(Protocol):
    """One table on its way to the disk."""

    def write(self, rows: list[tuple[Value, ...]]) -> None: ...

    def close(self) -> None: ...


def export_tables(session: Session, to: Path, form: str, progress: Progress = lambda _: None) -> dict[str, int]:
    """`form` is `csv` or `parquet`: a file for each kind in the new folder `to`; returns the rows of each.

    The folder stands there only when all of it is written. Raises SessionError.
    """
    make = _csv if form == "csv" else _parquet()
    with coming_folder(to) as made:
        counts = _write(session, made, make, progress)
    return counts


def _write(session: Session, folder: Path, make: "Callable[[Path, Kind], Writer]", progress: Progress) -> dict[str, int]:
    rows: dict[str, list[tuple[Value, ...]]] = {kind.name: [] for kind in KINDS.values()}
    counts = dict.fromkeys(rows, 0)
    with contextlib.ExitStack() as open_files:
        writers = {kind.name: make(folder, kind) for kind in KINDS.values()}
        for writer in writers.values():
            open_files.callback(writer.close)
        for name, row in _rows(session, progress):
            rows[name].append(row)
            counts[name] += 1
            if len(rows[name]) >= ROWS:
                writers[name].write(rows[name])
                rows[name] = []
        for name, rest in rows.items():
            writers[name].write(rest)
    return counts


def _rows(session: Session, progress: Progress) -> Iterator[tuple[str, tuple[Value, ...]]]:
    units: dict[str, tuple[Decimal, Decimal]] = {}
    facts: Iterable[tuple[int, Event | None, list[Event]]]
    facts = session.kept() if session.condensed is not None else whole(session, progress)
    for number, event, outputs in facts:
        if isinstance(event, e.Instrument):
            units[event.market] = event.tick, event.step
        for one in (event, *outputs) if event is not None and not isinstance(event, e.Alert) else outputs:
            kind = KINDS.get(type(one))
            if kind is None:
                continue
            try:
                row = kind.row(one, units.__getitem__)
            except KeyError as market:
                problem = f"input {number:,} tells of {market.args[0]} before an Instrument says how large its ticks are"
                raise SessionError(str(session.path), problem) from None
            yield kind.name, (number, *row)


class _Csv:
    def __init__(self, path: Path, kind: Kind) -> None:
        self._file = path.open("w", encoding="utf-8", newline="")
        self._out = csv.writer(self._file)
        self._out.writerow(["number", *(name for name, _ in kind.columns)])

    def write(self, rows: list[tuple[Value, ...]]) -> None:
        self._out.writerows([f"{value:f}" if isinstance(value, Decimal) else value for value in row] for row in rows)

    def close(self) -> None:
        self._file.close()


def _csv(folder: Path, kind: Kind) -> Writer:
    return _Csv(folder / f"{kind.name}.csv", kind)


def _parquet() -> Callable[[Path, Kind], Writer]:
    import pyarrow as arrow  # late: it takes a tenth of a second, and CSV does without
    from pyarrow import parquet

    timestamp = arrow.timestamp("ns", "UTC")
    types = {
        "time": arrow.int64(),
        "int": arrow.int64(),
        "float": arrow.float64(),
        "text": arrow.string(),
        "bool": arrow.bool_(),
        "decimal": arrow.decimal128(DIGITS, PLACES),
    }

    class Parquet:
        def __init__(self, folder: Path, kind: Kind) -> None:
            fields = [("number", arrow.int64()), *((name, types[word]) for name, word in kind.columns), ("at_utc", timestamp)]
            self._path, self._schema = folder / f"{kind.name}.parquet", arrow.schema(fields)
            self._at = self._schema.get_field_index("at")
            self._out = parquet.ParquetWriter(self._path, self._schema, compression="zstd")

        def write(self, rows: list[tuple[Value, ...]]) -> None:
            if not rows:
                return
            columns = list(zip(*rows, strict=True))
            columns.append(columns[self._at])
            arrays = []
            for values, field in zip(columns, self._schema, strict=True):
                try:
                    arrays.append(arrow.array(values, type=field.type))
                except arrow.ArrowInvalid as problem:
                    numbers = f"inputs {rows[0][0]:,} to {rows[-1][0]:,}"
                    raise SessionError(self._path.name, f"{field.name} of {numbers} does not fit ({problem})") from None
            self._out.write_batch(arrow.record_batch(arrays, schema=self._schema))

        def close(self) -> None:
            self._out.close()

    return Parquet
