"""`barter-tui backtest` as a user runs it."""

import json
import re
import sys
from pathlib import Path

import pytest

from console.cli import main
from console.exits import Exit

WEEK = ("--data", "synthetic", "--from", "2024-01-01", "--to", "2024-01-07")


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    code = main(["backtest", *words])
    said = capsys.readouterr()
    return code, said.out, said.err


def test_a_backtest_prints_figures_and_what_they_rest_on(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *WEEK, "--strategy", "breakout")
    assert code == Exit.OK
    assert "Sharpe" in out and "10,080 of 1m" in out and "SYNTHETIC" in out


def test_json_is_one_document_with_the_trades(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, *WEEK, "--strategy", "reversion", "--set", "oversold=40", "--set", "overbought=60", "--json")
    found = json.loads(out)
    assert code == Exit.OK and found["data"]["synthetic"] is True
    assert found["run"]["strategy"].startswith("reversion (stretch=1, oversold=40")
    assert len(found["trades"]) == found["statistics"]["trades"] > 5


def test_the_same_run_has_the_same_fingerprint_and_another_one_has_another(capsys: pytest.CaptureFixture[str]) -> None:
    documents = [json.loads(run(capsys, *WEEK, "--strategy", "breakout", "--seed", seed, "--json")[1]) for seed in "112"]
    prints = [found["run"]["fingerprint"] for found in documents]
    assert prints[0] == prints[1] != prints[2]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--strategy", "brekout"), "there is no such strategy. Expected one of stance, reversion, breakout"),
        (("--strategy", "breakout", "--set", "bars=1"), "bars: '1' is no value of it. Expected a whole number from 2 to 500"),
        (("--strategy", "breakout", "--set", "brs=10"), "brs: breakout has no such parameter. Expected bars, exit_bars"),
        (("--set", "strategy.stop_atr=-1"), "strategy.stop_atr"),
        (("--set", "bars"), "it is no assignment"),
        (("--spread-bps", "-1"), "--spread-bps: -1.0 is out of range"),
        (("--capital", "0"), "0 is no capital"),
        (("--from", "2024-13-01"), "'2024-13-01' is no date"),
        (("--from", "2024-02-01"), "2024-02-01 is not before 2024-01-07"),
        (("--judge", "fortune"), "there is no such session"),
        (("--data", "nowhere.csv"), "nowhere.csv: there is no such file"),
        (("--timeframe", "7"), "'7' is no length of a bar"),
    ],
)
def test_what_is_wrong_is_told_in_a_sentence(capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str) -> None:
    code, out, err = run(capsys, *WEEK, *words)
    assert (code, out) == (Exit.DAMAGED if "session" in said else Exit.USAGE, "")
    assert said in err and "Traceback" not in err


def test_the_parameters_of_strategies_are_told(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--parameters")
    assert code == Exit.OK and all(name in out for name in ("stance: ", "reversion: ", "exit_bars", "a number from 0 to 50"))


def test_a_file_of_bars_is_read_and_resampled(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "bars.csv"
    lines = ["timestamp,open,high,low,close,volume"]
    for at in range(600):
        price = 12_000 + at % 50
        prices = ",".join(f"{(price + more) / 1e4:.4f}" for more in (0, 5, -5, 1))
        lines.append(f"{1_704_067_200_000 + at * 60_000},{prices},100")
    file.write_text("\n".join(lines) + "\n")
    code, out, _ = run(capsys, "--data", str(file), "--strategy", "reversion", "--timeframe", "5m", "--json")
    assert code == Exit.OK and json.loads(out)["data"]["bars"] == 120 and json.loads(out)["data"]["synthetic"] is False


def readme_strategy(root: Path) -> str:
    found = re.findall(r"```python\n(.*?)```", (root / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    return next(block for block in found if "DIP = Strategy" in block)


@pytest.mark.parametrize("plain", [False, True], ids=["kernel", "plain Python"])
def test_the_readmes_strategy_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, root: Path, plain: bool
) -> None:
    """From the current folder, as its user has it; plain Python is told to be slower, and trades the same."""
    name = f"dip_{'plain' if plain else 'fast'}"
    source = readme_strategy(root)
    (tmp_path / f"{name}.py").write_text(source.replace("@kernel\n", "") if plain else source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    code, out, err = run(capsys, *WEEK, "--strategy", f"{name}:DIP", "--json")
    found = json.loads(out)
    assert code == Exit.OK and found["statistics"]["trades"] > 10
    assert ("no kernel" in err) is plain
    assert {trade["side"] for trade in found["trades"]} == {"long"}
    other = tmp_path / f"{name}_too.py"
    other.write_text(source if plain else source.replace("@kernel\n", ""))
    assert json.loads(run(capsys, *WEEK, "--strategy", f"{name}_too:DIP", "--json")[1])["trades"] == found["trades"]


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("raise RuntimeError('broken')", "cannot be imported (RuntimeError: broken)"),
        ("X = 3", "has no DIP"),
        ("DIP = 3", "it is a int. Expected an engine.strategy.Strategy"),
    ],
)
def test_a_module_that_is_no_strategy_is_told(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, said: str
) -> None:
    name = f"bad{abs(hash(source))}"
    (tmp_path / f"{name}.py").write_text(source)
    monkeypatch.chdir(tmp_path)
    code, _, err = run(capsys, *WEEK, "--strategy", f"{name}:DIP")
    assert code == Exit.USAGE and said in err


def test_the_result_is_written_where_nothing_is_yet(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    folder = tmp_path / "run"
    code, _, err = run(capsys, *WEEK, "--strategy", "breakout", "--out", str(folder))
    assert code == Exit.OK and "the result is in" in err
    assert sorted(file.name for file in folder.iterdir()) == ["equity.csv", "statistics.json", "trades.csv"]
    code, _, err = run(capsys, *WEEK, "--strategy", "breakout", "--out", str(folder))
    assert code == Exit.USAGE and "is there already" in err
    assert run(capsys, *WEEK, "--strategy", "breakout", "--out", str(tmp_path / "run.json"))[0] == Exit.OK
    assert json.loads((tmp_path / "run.json").read_bytes())["statistics"]["trades"] > 10
    assert run(capsys, *WEEK, "--strategy", "breakout", "--out", str(tmp_path / "run.html"))[0] == Exit.OK
    assert "SYNTHETIC" in (tmp_path / "run.html").read_text(encoding="utf-8")


def test_the_trades_are_drawn_anew(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    code, out, _ = run(capsys, *WEEK, "--strategy", "breakout", "--monte-carlo", "500", "--out", str(tmp_path / "luck.html"))
    assert code == Exit.OK and "500 other ways" in out and "have a drawdown at least as deep" in " ".join(out.split())
    assert "Equity ends below the start" in (tmp_path / "luck.html").read_text(encoding="utf-8")
    assert run(capsys, *WEEK, "--monte-carlo", "-1")[0] == Exit.USAGE


@pytest.mark.parametrize(
    ("body", "mark", "said"),
    [
        ("raise ValueError('no idea')", "", "ValueError: no idea"),
        ("return now.nothing, 0", "@kernel\n", "TypingError"),
        ("return 1", "", "TypeError"),
    ],
    ids=["raises", "cannot be compiled", "gives something else"],
)
def test_a_strategy_that_fails_is_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    root: Path,
    body: str,
    mark: str,
    said: str,
) -> None:
    name = f"failing{abs(hash(body))}"
    head = readme_strategy(root).partition("@kernel")[0]
    tail = "WORDS = ('a', 'b', 'c', 'd')\nDIP = Strategy('dip', 'fails', Parameters, decide, WORDS)\n"
    (tmp_path / f"{name}.py").write_text(f"{head}{mark}def decide(p, memory, now):\n    {body}\n\n{tail}")
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *WEEK, "--strategy", f"{name}:DIP")
    assert (code, out) == (Exit.USAGE, "") and said in err and "Traceback" not in err
