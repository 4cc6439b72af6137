"""A backtest's result in; out, files for other programs: a folder of CSV or Parquet, or one JSON document.

Times are UTC: ISO in CSV and JSON, timestamps in Parquet. Prices and quantities are exact decimals on tick and step, money is
float in quote units. An exit within a bar has the time of its close, since bars do not say when.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

import msgspec
import numpy as np
import numpy.typing as npt

from engine.backtest.metrics import FIGURES, Statistics, Unit, bars_held, iso, trade_returns
from engine.backtest.series import REASONS, Floats, Series, Trades
from engine.backtest.thin import thin
from engine.queue.export import coming, coming_folder

FORMS = ("csv", "parquet", "json")
POINTS = 10_000  # of equity in JSON: more than these are thinned out there; CSV and Parquet have each bar
PRECISION = 38  # digits of a decimal in Parquet


class Result(Protocol):
    """What export and report read of a backtest."""

    @property
    def labels(self) -> Mapping[str, str]:
        """What was run, for people: strategy, its parameters, judge, fees ... by name."""

    @property
    def notes(self) -> Sequence[str]:
        """What was assumed, as sentences."""

    @property
    def refused(self) -> Mapping[str, int]:
        """Entries that were refused, by reason."""

    @property
    def series(self) -> Series: ...

    @property
    def trades(self) -> Trades: ...

    @property
    def equity(self) -> Floats: ...

    @property
    def statistics(self) -> Statistics: ...


@dataclass(frozen=True)
class Column:
    """`values` [rows]: `time` in ms UTC, `decimal` in whole units, `text` as strings, `int`, `float`."""

    name: str
    kind: str
    values: npt.NDArray[Any]
    unit: Decimal = Decimal(1)

    def text(self) -> Iterator[str]:
        match self.kind:
            case "time":
                moments: npt.NDArray[np.datetime64] = self.values.astype("datetime64[ms]")
                yield from np.datetime_as_string(moments, "ms" if (self.values % 1000).any() else "s", "UTC").tolist()
            case "decimal":
                places = _places(self.unit)
                yield from (f"{value * self.unit:.{places}f}" for value in self.values.tolist())
            case _:
                yield from map(str, self.values.tolist())

    def items(self) -> list[Any]:
        """As JSON has them."""
        if self.kind == "decimal":
            return [value * self.unit for value in self.values.tolist()]
        return list(self.text()) if self.kind == "time" else self.values.tolist()


def export(result: Result, to: Path, form: str) -> None:
    """`csv` and `parquet`: a new folder with a file for trades and one for equity; `json`: one file. See FORMS.

    Nothing stands at `to` until all of it is written, and what is there already is left alone. Raises SessionError.
    """
    if form == "json":
        with coming(to) as file:
            file.write(document(result))
        return
    write = _csv if form == "csv" else _parquet
    with coming_folder(to) as folder:
        write(folder / f"trades.{form}", trade_columns(result))
        write(folder / f"equity.{form}", equity_columns(result))
        (folder / "statistics.json").write_bytes(encode(_head(result)))


def document(result: Result) -> bytes:
    """All of it as JSON: the run, its data, statistics, trades as objects, equity as two lists of equal length."""
    trades = trade_columns(result)
    equity = result.equity
    kept = thin(equity, POINTS)
    at = Column("at", "time", _closes(result.series)[kept])
    names = [column.name for column in trades]
    rows = [dict(zip(names, row, strict=True)) for row in zip(*(column.items() for column in trades), strict=True)]
    curve = {"every_bar": len(kept) == len(equity), "at": at.items(), "equity": equity[kept].tolist()}
    return encode(_head(result) | {"trades": rows, "equity": curve})


def encode(tree: Any) -> bytes:
    """Decimals as JSON numbers, to the last digit."""
    return msgspec.json.format(msgspec.json.Encoder(decimal_format="number").encode(tree), indent=1)


def statistics_tree(statistics: Statistics) -> dict[str, Any]:
    """Its fields as plain values; moments are ISO times under a name without `_ms`."""
    tree: dict[str, Any] = msgspec.to_builtins(statistics)
    for figure in FIGURES:
        if figure.unit is Unit.TIME:
            moment = tree.pop(figure.name)
            tree[figure.name.removesuffix("_ms")] = None if moment is None else iso(moment)
    return tree


def trade_columns(result: Result) -> list[Column]:
    """Of each trade, by exit."""
    series, trades = result.series, result.trades
    tick, step = series.contract.tick, series.contract.step
    entered = series.open_ms[trades["entry_bar"]]
    return [
        Column("number", "int", np.arange(1, len(trades) + 1)),
        Column("side", "text", np.where(trades["side"] > 0, "long", "short")),
        Column("quantity", "decimal", trades["quantity"], step),
        Column("entry_at", "time", entered),
        Column("entry", "decimal", trades["entry"], tick),
        Column("exit_at", "time", entered + bars_held(trades) * series.timeframe_ms),
        Column("exit", "decimal", trades["exit"], tick),
        Column("reason", "text", np.array(REASONS)[trades["reason"]]),
        Column("entry_bar", "int", trades["entry_bar"]),
        Column("exit_bar", "int", trades["exit_bar"]),
        Column("best", "decimal", trades["best"], tick),
        Column("worst", "decimal", trades["worst"], tick),
        Column("stop", "decimal", trades["stop"], tick),
        Column("target", "decimal", trades["target"], tick),
        Column("fees", "float", trades["fees"]),
        Column("funding", "float", trades["funding"]),
        Column("slippage", "float", trades["slippage"]),
        Column("profit", "float", trades["profit"]),
        Column("return", "float", trade_returns(series, trades)),
    ]


def equity_columns(result: Result) -> list[Column]:
    """Of each bar."""
    series = result.series
    return [
        Column("at", "time", _closes(series)),
        Column("close", "decimal", series.close, series.contract.tick),
        Column("equity", "float", result.equity),
    ]


def _closes(series: Series) -> npt.NDArray[np.int64]:
    return series.open_ms + series.timeframe_ms


def _head(result: Result) -> dict[str, Any]:
    series = result.series
    data = {
        "symbol": series.contract.symbol,
        "venue": series.contract.venue,
        "synthetic": series.synthetic,
        "source": series.source,
        "remarks": series.remarks,
        "bars": len(series),
        "timeframe_ms": series.timeframe_ms,
        "tick": series.contract.tick,
        "step": series.contract.step,
    }
    tree = statistics_tree(result.statistics)
    told = {"run": dict(result.labels), "notes": list(result.notes), "refused": dict(result.refused)}
    return told | {"data": data, "statistics": tree}


def _places(unit: Decimal) -> int:
    exponent = unit.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def _csv(path: Path, columns: list[Column]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow([column.name for column in columns])
        out.writerows(zip(*(column.text() for column in columns), strict=True))


def _parquet(path: Path, columns: list[Column]) -> None:
    import pyarrow as arrow
    from pyarrow import parquet

    def array(column: Column) -> Any:
        values = np.ascontiguousarray(column.values)
        if column.kind == "time":
            return arrow.array(values, arrow.int64()).cast(arrow.timestamp("ms", "UTC"))
        if column.kind != "decimal":
            return arrow.array(values)
        places = _places(column.unit)
        whole = values * int(column.unit.scaleb(places))
        wide = np.stack([whole, whole >> 63], axis=1).astype("<i8")  # 128 bits, low half first, sign extended
        return arrow.Array.from_buffers(arrow.decimal128(PRECISION, places), len(values), [None, arrow.py_buffer(wide)])

    table = arrow.table({column.name: array(column) for column in columns})
    parquet.write_table(table, path, compression="zstd")
