"""Walking forward: what was chosen in one part runs over the next, which it has not seen; and the optimiser's share of a grid."""

import json

import numpy as np
import pytest

from console.cli import main
from console.exits import Exit
from engine.backtest import BacktestConfig
from engine.backtest.backtester import load
from engine.backtest.spans import cut
from engine.backtest.sweep import axis, sweep
from engine.backtest.walk import WARM_UP, walk_forward
from engine.config import create_aster_config
from engine.errors import DataError

LOOSE = create_aster_config(risk={"max_drawdown": 1.0, "max_daily_loss": 1.0})
CONFIG = BacktestConfig(
    data="synthetic", start_date="2025-01-01", end_date="2025-02-09", strategy="breakout", judge="nobody", settings=LOOSE
)
AXES = (axis("bars=20,60"), axis("exit_bars=10,30"))


@pytest.mark.slow
def test_each_part_is_traded_by_what_the_part_before_chose() -> None:
    heard: list[tuple[int, int]] = []
    walk = walk_forward(CONFIG, AXES, 3, workers=1, told=lambda done, of, best: heard.append((done, of)) is None)
    assert walk is not None and len(walk.windows) == 3 and heard[-1] == (12, 12)
    series = load(CONFIG)
    quarter = len(series) // 4
    first = BacktestConfig(**{**vars(CONFIG), "data": cut(series, 0, quarter), "start_date": "", "end_date": ""})
    alone = sweep(first, AXES, workers=1)
    assert alone.winner is not None and walk.windows[0].values == alone.trials[alone.winner].values
    assert walk.windows[0].inside == alone.trials[alone.winner].statistics
    assert len(walk.equity) == len(walk.series) == len(series) - quarter
    assert walk.series.open_ms[0] == series.open_ms[quarter]
    assert walk.equity[-1] - walk.initial == pytest.approx(walk.trades["profit"].sum())
    assert (walk.trades["entry_bar"] >= 0).all() and (np.diff(walk.trades["exit_bar"]) >= 0).all()
    for before, after in zip(walk.windows, walk.windows[1:], strict=False):
        assert after.outside.initial == pytest.approx(before.outside.final)
    assert any("unseen" in note for note in walk.notes)


@pytest.mark.slow
def test_bars_before_a_part_warm_the_indicators_and_are_not_traded() -> None:
    """The first bars of a part are traded: without the bars before, a range of 60 would be known only an hour later."""
    walk = walk_forward(CONFIG, (axis("bars=60"), axis("exit_bars=30"), axis("least_atr=0")), 3, workers=1)
    assert walk is not None
    parts = np.linspace(0, len(load(CONFIG)), 5).astype(int)[1:4] - int(np.linspace(0, len(load(CONFIG)), 5)[1])
    soonest = [int((walk.trades["entry_bar"] - begin)[walk.trades["entry_bar"] >= begin].min()) for begin in parts]
    assert min(soonest) < 60 <= WARM_UP


def test_windows_that_are_too_short_are_told() -> None:
    with pytest.raises(DataError, match="cannot be cut for 99 windows"):
        walk_forward(BacktestConfig(**{**vars(CONFIG), "end_date": "2025-01-03"}), AXES, 99)


def test_a_walk_that_is_ended_gives_nothing() -> None:
    assert walk_forward(CONFIG, AXES, 3, workers=1, told=lambda *_: False) is None


@pytest.mark.slow
def test_the_optimiser_runs_a_share_of_the_grid_once_each_and_the_same_each_time() -> None:
    axes = (axis("bars=10:100:10"), axis("exit_bars=5:25:5"))
    found = sweep(CONFIG, axes, trials=12, workers=1)
    again = sweep(CONFIG, axes, trials=12, workers=1)
    assert [trial.values for trial in found.trials] == [trial.values for trial in again.trials]
    assert len(found.trials) == 12 == len({tuple(trial.values.items()) for trial in found.trials})
    assert len(sweep(CONFIG, AXES, trials=50, workers=1).trials) == 4, "there are no more"


@pytest.mark.slow
def test_a_walk_at_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "--data", "synthetic", "--from", "2025-01-01", "--to", "2025-01-31", "--judge", "nobody", "--workers", "1"]
    words += ["--strategy", "breakout", "--over", "bars=20,60", "--walk-forward", "2"]
    assert main(words) == Exit.OK
    out = " ".join(capsys.readouterr().out.split())
    assert "All unseen parts together" in out and "bars=" in out
    assert main([*words, "--anchored", "--json"]) == Exit.OK
    assert len(json.loads(capsys.readouterr().out)["windows"]) == 2
