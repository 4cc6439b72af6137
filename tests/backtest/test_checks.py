"""The checks of strategies: honest ones pass, one that remembers the future is caught, one that never settles is told."""

from typing import NamedTuple

import pytest

from console.cli import main
from console.exits import Exit
from engine.backtest import BacktestConfig
from engine.backtest.checks import check, checked, look_ahead, recursion
from engine.backtest.generated import listing, synthetic
from engine.backtest.judges import nobody
from engine.config import create_aster_config
from engine.strategy import Strategy, find

START = 1_790_000_040_000 // 60_000 * 60_000
SERIES = synthetic(listing("ASTER/USDT:USDT"), 60_000, START, 4_000, 3)
LOOSE = create_aster_config(risk={"max_drawdown": 1.0, "max_daily_loss": 1.0}, strategy={"min_stop_bps": 5.0})


class None_(NamedTuple):
    pass


SEEN: list[float] = []
LIVE = [0]


def remember(p: None_, memory: list[float], open: float, high: float, low: float, close: float, volume: float) -> None:
    """Keeps every close that any run has shown it."""
    place = int(memory[0])
    if place >= len(SEEN):
        SEEN.append(close)
    memory[0] += 1.0


def peek(p: None_, memory: list[float], now: object) -> tuple[int, int]:
    """Knows where the price will be in ten bars, from a run before."""
    place = int(memory[0]) - 1
    if place + 10 >= len(SEEN):
        return 0, 0
    ahead = SEEN[place + 10] - SEEN[place]
    return (1 if ahead > 0 else -1), 0


def count(p: None_, memory: list[float], open: float, high: float, low: float, close: float, volume: float) -> None:
    memory[0] += 1.0


def every_hundredth(p: None_, memory: list[float], now: object) -> tuple[int, int]:
    """Depends on where its history begins, for ever."""
    return (1 if int(memory[0]) % 107 == 0 else 0), 0


CHEAT = Strategy("cheat", "peeks", None_, peek, ("",), remember, lambda p: 1)
COUNTER = Strategy("counter", "counts", None_, every_hundredth, ("",), count, lambda p: 1)


@pytest.mark.parametrize("name", ["stance", "reversion", "breakout"])
def test_the_built_in_strategies_know_nothing_of_what_comes(name: str) -> None:
    found = check(BacktestConfig(data=SERIES, strategy=name, settings=LOOSE))
    assert found is not None and found.problems == ()
    assert "None of them knew what came later." in found.told and "bars of warm-up are enough" in found.told[-1]


def test_a_strategy_that_remembers_the_future_is_caught() -> None:
    SEEN.clear()
    config = BacktestConfig(data=SERIES, strategy="tests.backtest.test_checks:CHEAT", judge="nobody", settings=LOOSE)
    found = look_ahead(config, SERIES)
    assert found is not None and found.problems
    assert "a history that ends at" in found.problems[0] and "bar " in found.problems[0]


def test_a_strategy_that_depends_on_its_first_bar_is_told() -> None:
    found = recursion(SERIES, COUNTER, None_(), LOOSE, nobody())
    assert len(found.problems) == 1 and "still differ after" in found.problems[0]


def test_breakouts_warm_up_is_its_own_range() -> None:
    """60 bars of range and the one that leaves it: 50 are too few, 100 are enough."""
    strategy = find("breakout")
    found = recursion(SERIES, strategy, strategy.parameters(), LOOSE, nobody())
    assert found.told[-1] == "100 bars of warm-up are enough."


def test_the_newest_bars_are_looked_at() -> None:
    kept = checked(BacktestConfig(data=SERIES), 500)
    assert len(kept.data) == 500 and kept.data.open_ms[-1] == SERIES.open_ms[-1]  # type: ignore[union-attr,arg-type]


def test_a_check_at_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "backtest",
        "--check",
        "--data",
        "synthetic",
        "--from",
        "2025-01-01",
        "--to",
        "2025-01-03",
        "--strategy",
        "reversion",
    ]
    assert main(words) == Exit.OK
    assert "None of them knew what came later." in capsys.readouterr().out
