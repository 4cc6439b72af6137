"""The examples run as they stand, in a process of their own, and the README shows them as they are."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.config import load
from engine.events import Action, AnswerDone, Answered, Event, IndicatorValues
from tests.recordings import recording
from tests.simulated import simulated, until

EXAMPLES = Path(__file__).parent / "examples"
SHOWN = ("aster.py", "dip.py", "momentum.py", "config.toml")


def run(root: Path, state: Path, *words: str) -> str:
    """What it writes to stdout, from the folder of the examples."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("BARTER_")}
    environ |= {"NUMBA_DISABLE_JIT": "1"}  # compiling takes longer than these few bars
    environ |= {"PYTHONPATH": str(root), "BARTER_ENGINE_STATE_DIR": str(state), "XDG_CONFIG_HOME": str(state)}
    done = subprocess.run([sys.executable, *words], cwd=EXAMPLES, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_aster_is_backtested_through_the_public_interface(root: Path, tmp_path: Path) -> None:
    figures, note = run(root, tmp_path, "aster.py").splitlines()
    count, _, rest = figures.partition(" trades, equity ")
    assert int(count) > 0 and float(rest.partition(",")[0]) > 0
    assert note.startswith("SYNTHETIC: these prices were made up.")


def test_a_strategy_of_ones_own_is_backtested_by_its_name(root: Path, tmp_path: Path) -> None:
    days = ("--data", "synthetic", "--from", "2024-01-01", "--to", "2024-01-07")
    said = run(root, tmp_path, "-m", "console.cli", "backtest", *days, "--strategy", "dip:DIP", "--set", "low=35")
    assert "dip (low=35)" in said


async def test_a_judge_and_an_indicator_of_ones_own_serve_a_running_engine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(EXAMPLES)
    monkeypatch.syspath_prepend(str(EXAMPLES))
    flags = {"engine.state_dir": str(tmp_path), "engine.venues": "binance", "engine.symbols": "ASTER/USDT:USDT"}
    chosen = load(file=EXAMPLES / "config.toml", environ={}, flags=flags)
    seen: list[Event] = []

    def of(kind: type[Event]) -> list[Event]:
        return [event for event in seen if isinstance(event, kind)]

    async with simulated() as venue, recording(venue, chosen, lambda event, out: seen.extend([event, *out])) as engine:
        await until(lambda: of(IndicatorValues) and of(Answered) and of(AnswerDone), 60)
        await engine.settle(Action.SHUTDOWN, "the test")
    (told, *_) = of(IndicatorValues)
    assert any("stochastic" in name for name in told.values)  # type: ignore[attr-defined]
    assert any("RSI is " in str(one) for one in of(AnswerDone))


@pytest.mark.parametrize("name", SHOWN)
def test_the_readme_shows_the_example(root: Path, name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    shown = text.partition('"""\n\n')[2] if text.startswith('"""') else text
    assert shown.strip() in (root / "README.md").read_text(encoding="utf-8"), f"the README does not show {name} as it is"
