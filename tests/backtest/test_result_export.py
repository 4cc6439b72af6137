"""A backtest's result as CSV, Parquet and JSON: the same facts in each, exact, and all of it or nothing."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pytest
from pyarrow import parquet

from engine.backtest.export import FORMS, POINTS, Column, document, export
from engine.backtest.metrics import HOUR_MS, Statistics, measure
from engine.backtest.series import STOP, Floats, Series, Trades
from engine.backtest.spans import DAY_MS
from engine.backtest.thin import thin
from engine.errors import SessionError
from tests.backtest.ledgers import START_MS, bars, random_run, trades


@dataclass(frozen=True)
class Outcome:
    series: Series
    trades: Trades
    equity: Floats
    labels: Mapping[str, str] = field(default_factory=lambda: {"strategy": "breakout", "entry_bars": "20"})
    notes: Sequence[str] = ("Book features were neutral.",)
    refused: Mapping[str, int] = field(default_factory=lambda: {"leverage": 3})

    @property
    def statistics(self) -> Statistics:
        return measure(self.series, self.trades, self.equity, 10_000.0)


@pytest.fixture
def two() -> Outcome:
    made = trades(
        {"quantity": 15, "entry": 123, "exit": 130, "entry_bar": 1, "exit_bar": 2, "profit": 0.1, "fees": 0.005, "best": 131},
        {"side": -1, "entry": 130, "exit": 135, "entry_bar": 2, "exit_bar": 2, "reason": STOP, "profit": -0.05},
    )
    return Outcome(bars([123, 123, 135], HOUR_MS), made, np.array([10_000.0, 10_000.0, 10_000.05]))


def test_csv_has_exact_prices_on_the_tick_and_iso_times(two: Outcome, tmp_path: Path) -> None:
    export(two, tmp_path / "run", "csv")
    first, second = csv.DictReader((tmp_path / "run" / "trades.csv").read_text().splitlines())
    assert (first["number"], first["side"], first["quantity"], first["entry"], first["exit"]) == (
        "1",
        "long",
        "1.5",
        "1.23",
        "1.30",
    )
    assert (first["entry_at"], first["exit_at"]) == (
        "2025-01-01T01:00:00Z",
        "2025-01-01T02:00:00Z",
    )  # a signal's exit, at the open
    assert (second["side"], second["reason"], second["exit_at"]) == ("short", "stop", "2025-01-01T03:00:00Z")
    assert float(first["return"]) == pytest.approx(0.1 / (1.5 * 1.23))
    rows = list(csv.reader((tmp_path / "run" / "equity.csv").read_text().splitlines()))
    assert rows[0] == ["at", "close", "equity"]
    assert rows[3] == ["2025-01-01T03:00:00Z", "1.35", "10000.05"]


def test_parquet_has_the_same_with_types(two: Outcome, tmp_path: Path) -> None:
    export(two, tmp_path / "run", "parquet")
    export(two, tmp_path / "plain", "csv")
    table = parquet.read_table(tmp_path / "run" / "trades.parquet")
    assert table.schema.field("entry").type == arrow.decimal128(38, 2)
    assert table.column("entry").to_pylist() == [Decimal("1.23"), Decimal("1.30")]
    assert table.column("entry_at")[0].as_py().isoformat() == "2025-01-01T01:00:00+00:00"
    plain = list(csv.DictReader((tmp_path / "plain" / "trades.csv").read_text().splitlines()))
    assert table.column_names == list(plain[0])
    for name in ("side", "quantity", "exit", "reason", "profit"):
        assert [str(value) for value in table.column(name).to_pylist()] == [row[name] for row in plain]
    assert parquet.read_table(tmp_path / "run" / "equity.parquet").column("equity").to_pylist() == list(two.equity)


def test_parquet_decimals_hold_negative_and_large_numbers(tmp_path: Path) -> None:
    from engine.backtest.export import _parquet

    values = np.array([-1, 0, 2**53], np.int64)
    _parquet(
        tmp_path / "x.parquet",
        [Column("fine", "decimal", values, Decimal("0.0001")), Column("coarse", "decimal", values, Decimal(10))],
    )
    table = parquet.read_table(tmp_path / "x.parquet")
    assert table.column("fine").to_pylist() == [Decimal("-0.0001"), 0, 2**53 * Decimal("0.0001")]
    assert table.column("coarse").to_pylist() == [-10, 0, 2**53 * 10]


def test_json_says_what_was_run_and_over_which_data(two: Outcome) -> None:
    tree = json.loads(document(replace(two, series=replace(two.series, synthetic=True, remarks=("One bar was filled.",)))))
    assert tree["run"] == {"strategy": "breakout", "entry_bars": "20"}
    assert tree["notes"] == ["Book features were neutral."] and tree["refused"] == {"leverage": 3}
    assert tree["data"]["synthetic"] is True and tree["data"]["remarks"] == ["One bar was filled."]
    assert tree["statistics"]["start"] == "2025-01-01T00:00:00Z" and "start_ms" not in tree["statistics"]
    assert tree["statistics"]["annual_return"] is None and tree["statistics"]["ruined"] is None
    assert tree["statistics"]["by_side"][1] == {"key": "short", "trades": 1, "wins": 0, "profit": -0.05, "fees": 0.0}
    assert tree["equity"]["every_bar"] is True and tree["equity"]["equity"] == [10_000.0, 10_000.0, 10_000.05]


def test_json_prices_are_decimal_numbers(two: Outcome) -> None:
    first = json.loads(document(two), parse_float=Decimal)["trades"][0]
    assert (first["entry"], first["exit"], first["quantity"], first["number"]) == (
        Decimal("1.23"),
        Decimal("1.30"),
        Decimal("1.5"),
        1,
    )


def test_json_thins_a_long_curve_out_and_says_so() -> None:
    series, made, equity = random_run(50_000, 500)
    curve = json.loads(document(Outcome(series, made, equity)))["equity"]
    assert curve["every_bar"] is False
    assert len(curve["at"]) == len(curve["equity"]) <= POINTS
    assert (min(curve["equity"]), max(curve["equity"]), curve["equity"][-1]) == (equity.min(), equity.max(), equity[-1])


@pytest.mark.parametrize("form", FORMS)
def test_no_trades_is_a_result_too(form: str, tmp_path: Path) -> None:
    export(Outcome(bars([100, 100]), trades(), np.full(2, 10_000.0)), tmp_path / "run", form)
    if form == "json":
        assert json.loads((tmp_path / "run").read_bytes())["trades"] == []
    else:
        assert (tmp_path / "run" / f"trades.{form}").stat().st_size > 50


@pytest.mark.parametrize("form", FORMS)
def test_what_is_there_already_is_left_alone(form: str, two: Outcome, tmp_path: Path) -> None:
    place = tmp_path / "run"
    place.write_text("mine")
    with pytest.raises(SessionError, match="there already"):
        export(two, place, form)
    assert place.read_text() == "mine" and list(tmp_path.iterdir()) == [place]


@pytest.mark.parametrize("form", FORMS)
def test_a_failed_export_leaves_nothing_behind(form: str, two: Outcome, tmp_path: Path) -> None:
    broken = replace(two, series=replace(two.series, open_ms=two.series.open_ms[:2]))  # a trade outside of the bars
    with pytest.raises((IndexError, ValueError)):
        export(broken, tmp_path / "run", form)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_not_there_is_an_error_in_words(two: Outcome, tmp_path: Path) -> None:
    with pytest.raises(SessionError, match="cannot be written"):
        export(two, tmp_path / "nowhere" / "run", "csv")


def test_times_with_milliseconds_keep_them() -> None:
    assert list(Column("at", "time", np.array([START_MS, START_MS + DAY_MS + 1])).text()) == [
        "2025-01-01T00:00:00.000Z",
        "2025-01-02T00:00:00.001Z",
    ]


def test_a_thinned_line_keeps_both_ends_and_each_peak() -> None:
    values = np.zeros(1003)
    values[[500, 777]] = 9, -9
    kept = thin(values, 20)
    assert len(kept) <= 20 and kept[0] == 0 and kept[-1] == 1002
    assert {500, 777} <= set(kept)
    assert list(thin(values, 1003)) == list(range(1003))


@pytest.mark.parametrize("n", [5, 19, 20, 21, 22, 100, 12_345])
@pytest.mark.parametrize("points", [4, 7, 20])
def test_a_thinned_line_is_bounded_ordered_and_as_high_and_low_as_the_whole(n: int, points: int) -> None:
    values = np.random.default_rng(n).normal(size=n)
    kept = thin(values, points)
    assert len(kept) <= max(points, 4) or n <= points
    assert (np.diff(kept) > 0).all() and kept[0] >= 0 and kept[-1] == n - 1
    assert (values[kept].min(), values[kept].max()) == (values.min(), values.max())
