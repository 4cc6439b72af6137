"""A bar backtest as a session: it verifies, replays to the same outputs, and plays on the replay screen's player."""

import json
from pathlib import Path

import pytest

from console.cli import main
from console.exits import Exit
from engine.backtest.generated import listing, synthetic
from engine.backtest.live import LiveBars, write_session
from engine.backtest.run import Costs
from engine.config import create_aster_config
from engine.errors import ConfigError
from engine.queue import Kind
from engine.queue.session import Session
from engine.replay import Replay
from engine.replay.player import Player

SETTINGS = create_aster_config(
    strategy={"name": "breakout", "parameters": ["bars=20", "exit_bars=10"]}, judgment={"judge": "rules"}
)
SERIES = synthetic(listing("ASTER/USDT:USDT"), 60_000, 1_790_000_040_000 // 60_000 * 60_000, 3_000, 4)


def test_the_session_verifies_and_replays_and_jumps_to_fills(tmp_path: Path) -> None:
    to = tmp_path / "bars.barter"
    inputs = write_session(SERIES, SETTINGS, Costs(), 10_000.0, to)
    with Session(to) as session:
        found, outcome = session.verify(), Replay(session).run()
        assert found.closed and found.inputs == inputs > 3 * len(SERIES) and outcome.difference is None
        assert session.closing is not None and session.closing.fills > 10
        place = Player(session).find(Kind.FILL)
        assert place is not None and place > 0


def test_bars_that_the_live_core_does_not_know_are_told() -> None:
    hours = synthetic(listing("ASTER/USDT:USDT"), 3_600_000, 1_789_999_200_000, 300, 4)
    with pytest.raises(ConfigError, match="does not decide on bars of 3600000 ms"):
        LiveBars(hours, SETTINGS, Costs())


def test_a_backtest_is_written_as_a_session_and_replayed_at_the_command_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    to = str(tmp_path / "run.barter")
    words = [
        "backtest",
        "--data",
        "synthetic",
        "--from",
        "2025-01-01",
        "--to",
        "2025-01-02",
        "--strategy",
        "breakout",
        "--out",
        to,
    ]
    assert main(words) == Exit.OK
    assert "barter-tui --replay" in capsys.readouterr().err
    assert main(["--replay", to, "--no-ui", "--json"]) == Exit.OK
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["inputs"] > 2_880


def test_what_a_strategy_earns_by_itself_is_its_own_and_not_an_operators() -> None:
    own = {"name": "breakout", "parameters": ["bars=20", "exit_bars=10"], "timeframe": "1m"}
    minutes = create_aster_config(strategy=own, judgment={"judge": "rules"}, book={"cross_check_s": 0.0})
    judges = LiveBars(SERIES, minutes, Costs()).run().state.portfolio.judges
    assert list(judges) == ["breakout"] and judges["breakout"].fills > 10
