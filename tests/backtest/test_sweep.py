"""Sweeps: every combination once, each run as it would be alone, and a winner that is told how lucky it may be."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from console.cli import main
from console.exits import Exit
from engine.backtest import BacktestConfig, Backtester
from engine.backtest.sweep import Axis, applied, axis, combinations, heat_map, sweep
from engine.config import create_aster_config
from engine.errors import ConfigError

MONTH = BacktestConfig(data="synthetic", start_date="2025-01-01", end_date="2025-01-31", strategy="breakout", judge="nobody")
AXES = (axis("bars=20,40"), axis("strategy.stop_atr=1:2:0.5"))


def test_ranges_are_read() -> None:
    assert axis("bars=20:100:20") == Axis("bars", ("20", "40", "60", "80", "100"))
    assert axis(" stop = 0.1:0.3:0.1 ").values == ("0.1", "0.2", "0.3")
    assert axis("costs.taker=0,0.0005").values == ("0", "0.0005")


@pytest.mark.parametrize(
    "text", ["bars", "=3", "bars=", "bars=5:1:1", "bars=1:5:0", "bars=1:x:1", "bars=1:5", "bars=3,3", "a=1:9e9:1"]
)
def test_what_is_no_range_is_told(text: str) -> None:
    with pytest.raises(ConfigError, match="sweep"):
        axis(text)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("bars=20,1", "a whole number from 2 to 500"),
        ("brs=20", "breakout has no such parameter"),
        ("strategy.stop_atr=1,-1", "strategy.stop_atr"),
        ("costs.taker=-1", "costs"),
        ("costs.tacker=1", "costs"),
        ("engine.nothing=1", "there is no such setting"),
    ],
)
def test_a_value_that_cannot_be_is_told_before_anything_runs(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        combinations(MONTH, [axis(text)])


@pytest.mark.slow
def test_every_combination_is_run_as_it_would_be_alone() -> None:
    heard: list[tuple[int, int]] = []
    found = sweep(MONTH, AXES, workers=2, told=lambda done, of, best: heard.append((done, of)) is None)
    assert [trial.values for trial in found.trials] == combinations(MONTH, AXES) and len(found.trials) == 6
    assert heard[-1] == (6, 6)
    for trial in found.trials[::2]:
        alone = Backtester(applied(MONTH, trial.values)).work()
        assert alone is not None and alone.fingerprint == trial.fingerprint
        assert trial.statistics is not None and trial.statistics.final == alone.equity[-1]
    assert len({trial.fingerprint for trial in found.trials}) == 6
    assert found.returns.shape == (31, 6)
    assert found.winner == found.ranked()[0] and found.deflated is not None and found.overfit is not None
    table = heat_map(found, "bars", "strategy.stop_atr")
    assert table.values.shape == (2, 3) and table.values.max() == found.value(found.winner)
    other = heat_map(found, "strategy.stop_atr", "bars").values
    assert np.array_equal(other, table.values.T)


def test_a_sweep_that_is_ended_keeps_what_is_done() -> None:
    axes = (Axis("bars", tuple(str(bars) for bars in range(20, 120))),)
    found = sweep(replace(MONTH, end_date="2025-01-03"), axes, workers=1, told=lambda done, of, best: False)
    assert 0 < len(found.trials) < 100
    assert f"It was ended after {len(found.trials)} of 100 runs." in found.notes


def test_values_that_do_not_go_together_are_counted() -> None:
    """The largest order may not be above the largest position: each value is possible alone."""
    axes = (Axis("risk.max_order_notional", ("500", "4000")), Axis("risk.max_position_notional", ("3000", "6000")))
    found = sweep(MONTH, axes, workers=1)
    assert [bool(trial.problem) for trial in found.trials] == [False, False, True, False]
    assert any("1 combinations cannot be" in note for note in found.notes)


@pytest.mark.slow
def test_a_sweep_at_the_command_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["sweep", "--data", "synthetic", "--from", "2025-01-01", "--to", "2025-01-31", "--judge", "nobody"]
    words += ["--strategy", "breakout"]
    words += ["--over", "bars=20,40", "--over", "exit_bars=10,20", "--workers", "1", "--out", str(tmp_path / "runs.csv")]
    assert main(words) == Exit.OK
    out = " ".join(capsys.readouterr().out.split())
    assert "The best of 4 runs" in out and "bars down, exit_bars across" in out and "probability of overfitting" in out
    rows = list(csv.DictReader((tmp_path / "runs.csv").open()))
    assert [(row["bars"], row["exit_bars"]) for row in rows] == [("20", "10"), ("20", "20"), ("40", "10"), ("40", "20")]
    assert main([*words[:-2], "--json"]) == Exit.OK
    found = json.loads(capsys.readouterr().out)
    assert found["winner"] in [trial["values"] for trial in found["trials"]] and found["overfit"]["trials"] == 4
    assert main([*words[:-2], "--by", "luck"]) == Exit.USAGE
    assert "cannot be compared by 'luck'" in capsys.readouterr().err


@pytest.mark.slow
def test_the_page_of_a_sweep_has_a_heat_map_and_what_is_luck(tmp_path: Path) -> None:
    words = ["sweep", "--data", "synthetic", "--from", "2025-01-01", "--to", "2025-01-31", "--judge", "nobody"]
    words += ["--strategy", "breakout", "--over", "bars=20,40", "--over", "exit_bars=10,20", "--workers", "1"]
    assert main([*words, "--out", str(tmp_path / "runs.html")]) == Exit.OK
    html = (tmp_path / "runs.html").read_text()
    assert '"type":"heatmap"' in html and "probability of overfitting" in html and html.count("<td>winner</td>") == 1
    assert "No market ever traded at them" in html
    assert [path.name for path in tmp_path.iterdir()] == ["runs.html"]


def test_a_table_of_runs_has_the_same_rows_in_every_form_and_runs_that_cannot_be_are_empty(tmp_path: Path) -> None:
    from pyarrow import parquet

    from engine.backtest import findings

    axes = (Axis("risk.max_order_notional", ("500", "4000")), Axis("risk.max_position_notional", ("3000", "6000")))
    found = sweep(MONTH, axes, workers=1)
    for form in (".csv", ".parquet", ".json"):
        findings.write(found, tmp_path / f"runs{form}", "it")
    table = parquet.read_table(tmp_path / "runs.parquet").to_pydict()
    rows = list(csv.DictReader((tmp_path / "runs.csv").open()))
    tree = json.loads((tmp_path / "runs.json").read_text())
    assert tree["synthetic"] and [trial["fingerprint"] for trial in tree["trials"]] == table["fingerprint"]
    assert [row["fingerprint"] for row in rows] == table["fingerprint"] and table["trades"][2] is None and rows[2]["trades"] == ""
    assert [float(row["final"]) for row in rows if row["final"]] == [one for one in table["final"] if one is not None]


def test_runs_with_too_few_trades_to_win_come_last() -> None:
    found = sweep(MONTH, (axis("bars=20,500"),), workers=1, least_trades=1)
    few, many = sorted(range(2), key=lambda at: found.trials[at].statistics.trades)  # type: ignore[union-attr]
    least = found.trials[many].statistics.trades  # type: ignore[union-attr]
    assert least > found.trials[few].statistics.trades  # type: ignore[union-attr]
    assert replace(found, least=least).ranked() == [many, few]
    assert not replace(found, least=least).able(few) and replace(found, least=0).able(few)


@pytest.mark.slow
def test_runs_that_stopped_are_told_and_those_that_never_move_are_no_candidates() -> None:
    """With a drawdown of 0.2 % every run ends within days: it would beat the losers by standing still."""
    settings = create_aster_config(risk={"max_drawdown": 0.002})
    axes = (axis("bars=20:60:20"), axis("exit_bars=10,20"))
    found = sweep(replace(MONTH, settings=settings), axes, workers=1, least_trades=1)
    assert any("6 runs reached the drawdown's limit" in note for note in found.notes)
    assert found.overfit is None or found.overfit.trials < 6
