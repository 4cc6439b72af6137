"""Tick backtests: a recorded session through the live core with other settings; and its judgments, taken for bars."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engine.backtest import BacktestConfig, Backtester, Result, judges, ticks
from engine.config import create_aster_config
from engine.errors import SessionError
from engine.events import Action, Command, Event, Judged, decode_output
from engine.queue.session import Session
from engine.replay.whatif import Rerun

SYMBOL = "ASTER/USDT:USDT"
EAGER = {
    "judgment": {"every_bars": 1, "min_confidence": 0.0, "judge": "rules"},
    "strategy": {"cooldown_bars": 0, "stop_atr": 1.0, "target_atr": 1.0},
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A demo of four minutes, twenty times as fast."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "console.cli", "--no-ui", "--json", "--for", "240s", "--speed", "20", "--symbol", SYMBOL]
    environ = {**os.environ, "BARTER_ENGINE_STATE_DIR": str(folder), "BARTER_ENGINE_VENUES": "binance"}
    subprocess.run(command, env=environ, capture_output=True, check=True, timeout=300)
    (path,) = (folder / "demo" / "sessions").glob("*.barter")
    return path


def over(session: Path, **more: object) -> Result:
    found = Backtester(BacktestConfig(session=str(session), settings=create_aster_config(**EAGER), **more)).work()  # type: ignore[arg-type]
    assert found is not None
    return found


@pytest.mark.slow
def test_a_session_is_traded_anew_and_its_equity_is_the_sum_of_its_trades(session: Path) -> None:
    found = over(session)
    assert len(found.trades) > 0 and found.series.synthetic and found.series.timeframe_ms == 1_000
    assert found.equity[0] == found.initial == 10_000.0
    assert found.equity[-1] - found.initial == pytest.approx(found.trades["profit"].sum(), abs=1e-6)
    assert found.trades["fees"].sum() > 0.0 and found.statistics.trades == len(found.trades)
    spread = found.trades["slippage"].sum() / found.statistics.traded
    assert 0.0 < spread < 0.001  # half a spread and what the orders took


@pytest.mark.slow
def test_it_is_the_same_each_time_and_latency_costs(session: Path) -> None:
    first, again, slow = over(session, latency_ms=5.0), over(session, latency_ms=5.0), over(session, latency_ms=900.0)
    assert first.fingerprint == again.fingerprint != slow.fingerprint


@pytest.mark.slow
def test_the_strategy_may_be_another_one(session: Path) -> None:
    found = over(session, strategy="breakout", parameters={"bars": 3, "exit_bars": 2, "least_atr": 0})
    assert found.strategy.name == "breakout" and found.fingerprint != over(session).fingerprint
    assert "breakout (bars=3, exit_bars=2" in found.labels["strategy"]


def test_what_operators_did_is_left_out(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this one a position was closed by hand twice, and trading was halted at its end."""
    heard: list[Event] = []

    class Heard(Rerun):
        def take(self, event: Event) -> list[Event]:
            heard.append(event)
            return super().take(event)

    monkeypatch.setattr(ticks, "Rerun", Heard)
    done = over(small)
    assert [one.action for one in heard if isinstance(one, Command)] == [Action.ARM] and len(heard) > 100
    assert "What operators did" in " ".join(done.notes)


@pytest.mark.slow
def test_it_can_be_cancelled(session: Path) -> None:
    tester = Backtester(BacktestConfig(session=str(session), settings=create_aster_config(**EAGER)))
    tester.progress.cancel()
    assert tester.work() is None


@pytest.mark.slow
def test_recorded_judgments_are_those_that_were_in_force(session: Path) -> None:
    with Session(session) as opened:
        judged = judges.recorded(opened, SYMBOL)
        said = [decode_output(raw) for chunk in opened.chunks() for raw in chunk.outputs]
    stances = [one.stance for one in said if isinstance(one, Judged) and one.stance.market.startswith("binance:ASTER")]
    assert len(judged.since_ms) == len({stance.made_at for stance in stances})
    assert list(judged.since_ms) == sorted(judged.since_ms)
    assert np.allclose(judged.confidence, [stance.confidence for stance in stances])
    assert set(judged.side) <= {-1, 0, 1} and (judged.until_ms > judged.since_ms).all()


@pytest.mark.slow
def test_recorded_judgments_drive_a_bar_backtest(session: Path) -> None:
    """Bars of the session's own time, made up: what matters is that the opinions reach the loop at their times."""
    series = over(session).series
    found = Backtester(BacktestConfig(data=series, judge=str(session), settings=create_aster_config(**EAGER))).work()
    nobody = Backtester(BacktestConfig(data=series, judge="nobody", settings=create_aster_config(**EAGER))).work()
    assert found is not None and nobody is not None
    assert len(nobody.trades) == 0 and "cannot trade" in " ".join(nobody.notes)
    assert len(found.trades) + sum(found.run.refused.values()) > 0


def test_a_session_that_is_not_there_is_told(tmp_path: Path) -> None:
    settings = create_aster_config(engine={"state_dir": str(tmp_path)})
    with pytest.raises(SessionError, match="there is no such session"):
        Backtester(BacktestConfig(session="nowhere", settings=settings)).work()
    with pytest.raises(SessionError, match="there is no such session"):
        Backtester(BacktestConfig(data="synthetic", judge="nowhere", settings=settings)).work()
