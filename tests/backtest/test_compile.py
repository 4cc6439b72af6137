"""The compiled loop: made once, found again, made anew when anything that it is made from was edited; always the same trades."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from engine.backtest import BacktestConfig, Backtester, Costs
from engine.backtest.series import REASONS

RUN = """
import sys
from engine.backtest import BacktestConfig, Backtester, compile
from engine.strategy import find
known = compile.is_cached(find("breakout"), False)
config = BacktestConfig(start_date="2024-01-01", end_date="2024-01-10", data="synthetic", strategy="breakout", judge="nobody")
print(Backtester(config).work().fingerprint, known, len(compile.compiled(find("breakout"), False).stats.cache_hits))
"""


@pytest.mark.slow
def test_an_edited_callee_is_noticed_and_nothing_else_is_compiled_again(root: Path, tmp_path: Path) -> None:
    """The loop lies in another file than the fill rule that is edited, and numba alone would not see it."""
    shutil.copytree(root / "engine", tmp_path / "engine", ignore=shutil.ignore_patterns("__pycache__"))
    environ = {**os.environ, "XDG_CACHE_HOME": str(tmp_path / "cache"), "HOME": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}

    def run() -> list[str]:
        command = [sys.executable, "-c", RUN]
        done = subprocess.run(command, cwd=tmp_path, env=environ, capture_output=True, text=True, check=True)
        return done.stdout.split()

    first, again = run(), run()
    assert first[1:] == ["False", "0"] and again[1:] == ["True", "1"] and first[0] == again[0]
    fills = tmp_path / "engine" / "fills.py"
    rule = "return max(reference + side * (half_spread(reference, spread_bps) + slip), 1)"
    assert rule in fills.read_text()
    fills.write_text(fills.read_text().replace(rule, rule.replace("+ slip)", "+ slip + 1)")))
    edited = run()
    assert edited[1:] == ["False", "0"] and edited[0] != first[0]


# Of runs that never change: whoever changes one of these says why in the commit.
FINGERPRINTS = {
    ("stance", 1, "rules"): "a82e868af83571f4",
    ("stance", 2, "rules"): "e8bd35d4ad008e59",
    ("reversion", 1, "rules"): "cc24dbf7b8e4c5a8",
    ("breakout", 1, "rules"): "bee85df586cb9854",
    ("breakout", 1, "nobody"): "e9506d89cc7d7580",
}


@pytest.mark.parametrize(("strategy", "seed", "judge"), FINGERPRINTS)
def test_fixed_runs_have_the_trades_that_they_had(strategy: str, seed: int, judge: str) -> None:
    costs = Costs(spread_bps=2.0, slippage_bps=1.0, impact=0.2)
    dates = {"start_date": "2025-01-01", "end_date": "2025-02-28"}
    config = BacktestConfig(data="synthetic", strategy=strategy, seed=seed, judge=judge, costs=costs, **dates)
    result = Backtester(config).work()
    assert result is not None and len(result.trades) > 50
    assert {REASONS[reason] for reason in set(result.trades["reason"])} >= {"stop", "target"}
    assert result.fingerprint == FINGERPRINTS[strategy, seed, judge]
