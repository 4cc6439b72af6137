"""The command without a screen, as its user runs it: a process, its output, its exit code."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from console.exits import Exit
from console.headless import Headless
from console.link import socket_link
from engine.door import SOCKET, find
from engine.events import Action
from engine.runtime import latch
from engine.views import Answer, Ask, Frame, Leave

pytestmark = pytest.mark.slow

PATIENCE_S = 60


def start(folder: Path, *arguments: str, **environ: str) -> subprocess.Popen[str]:
    home = {"BARTER_ENGINE_STATE_DIR": str(folder / "state"), "XDG_CONFIG_HOME": str(folder / "config")}
    return subprocess.Popen(
        [sys.executable, "-m", "console.cli", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **home, **environ},
    )


def run(folder: Path, *arguments: str, **environ: str) -> tuple[int, list[str], str]:
    """Exit code, lines of stdout, stderr."""
    process = start(folder, *arguments, **environ)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err and "Traceback" not in out, err
    return process.returncode, out.splitlines(), err


def test_json_is_one_object_a_line_and_the_summary_last(tmp_path: Path) -> None:
    code, lines, err = run(tmp_path, "--no-ui", "--json", "--for", "30s", "--speed", "3")
    assert code == Exit.OK, err
    objects = [json.loads(line) for line in lines]
    assert [body["type"] for body in objects[:-1]] == ["second"] * (len(objects) - 1) and len(objects) >= 4
    summary = objects[-1]
    assert summary["type"] == "summary" and summary["mode"] == "demo"
    assert summary["agreement"]["equal"] and summary["gaps"] == 0 and summary["judgments"] > 0
    for name in ("events", "orders", "fills", "fees", "pnl", "positions", "latency_us", "dropped", "wallet"):
        assert name in summary
    assert {"p50", "p99", "p999"} <= summary["latency_us"]["process"].keys()
    assert 30 <= summary["seconds"] < 60
    assert summary["model"]["state"] in ("off", "ready", "loading", "starting") and summary["instead"].keys() >= {"rules alone"}
    assert objects[1]["markets"][0]["symbol"] == "ASTER/USDT:USDT"
    assert objects[1]["markets"][0]["age_ms"] >= 0 and objects[1]["markets"][0]["lag_ms"] is not None


def test_plain_is_one_readable_line_a_second(tmp_path: Path) -> None:
    code, lines, err = run(tmp_path, "--no-ui", "--for", "24s", "--speed", "3", "--symbol", "ETH/USDT:USDT")
    assert code == Exit.OK, err
    assert re.match(r"\d\d:\d\d:\d\d DEMO ETH/USDT:USDT \d+\.\d+/\d+\.\d+ ", lines[0]), lines[0]
    assert any("equal to the venue's account to the last digit" in line for line in lines)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, Exit.INTERRUPTED), (signal.SIGTERM, Exit.TERMINATED)])
def test_a_signal_halts_latches_and_a_release_is_needed(tmp_path: Path, number: signal.Signals, code: Exit) -> None:
    process = start(tmp_path, "--no-ui", "--json")
    assert process.stdout is not None
    first = json.loads(process.stdout.readline())
    assert first["trading"] == "armed"
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == code, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["trading"] == "halted" and summary["type"] == "summary"
    again, lines, err = run(tmp_path, "--no-ui", "--json", "--for", "2s")
    assert again == Exit.OK and json.loads(lines[-1])["trading"] == "halted"
    assert "stays halted" in err
    released, lines, _ = run(tmp_path, "release")
    assert released == Exit.OK and lines[0].startswith("Released")
    assert "Nothing to release" in run(tmp_path, "release")[1][0]
    assert json.loads(run(tmp_path, "--no-ui", "--json", "--for", "2s")[1][-2])["trading"] == "armed"


async def test_a_console_can_attach_halt_and_go_and_the_run_ends_with_its_own_summary(tmp_path: Path) -> None:
    process = await asyncio.to_thread(begun, tmp_path, "--set", "engine.console_loss_after_s=0.1")
    try:
        folder = tmp_path / "state" / "demo"

        async def where() -> Path:
            return find(folder)

        link = socket_link(where)
        assert (await link.open()).pid == process.pid
        async with asyncio.timeout(PATIENCE_S):
            assert isinstance(await link.receive(), Frame)
            await link.send(Ask("halt-1", Action.HALT))
            while not isinstance(answer := await link.receive(), Answer):
                pass
        assert answer.id == "halt-1" and answer.accepted
        await link.close()  # without a word: no loss, the run's owner is its terminal
        await asyncio.sleep(1.0)
        assert process.poll() is None and "the console" in latch.read(folder)
        process.send_signal(signal.SIGTERM)
        out, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
    finally:
        process.kill()
    assert process.returncode == Exit.TERMINATED and "Traceback" not in err
    summary = json.loads(out.splitlines()[-1])
    assert (summary["type"], summary["trading"]) == ("summary", "halted")
    assert "halted by the console" in summary["trading_reason"]


async def test_a_console_that_stops_the_engine_ends_the_run_in_good_order(tmp_path: Path) -> None:
    process = await asyncio.to_thread(begun, tmp_path)
    try:

        async def where() -> Path:
            return find(tmp_path / "state" / "demo")

        link = socket_link(where)
        await link.open()
        await link.send(Leave(keep_running=False))
        out, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
        await link.close()
    finally:
        process.kill()
    assert process.returncode == Exit.OK, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["type"] == "summary" and summary["trading"] == "off"


def test_two_engines_never_share_a_state_folder(tmp_path: Path) -> None:
    process = begun(tmp_path)
    try:
        code, lines, err = run(tmp_path, "--no-ui", "--for", "5s")
        assert code == Exit.STATE and lines == []
        assert f"process {process.pid}" in err and "barter-tui attach" in err
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=PATIENCE_S)
    assert run(tmp_path, "release")[0] == Exit.OK
    assert not (tmp_path / "state" / "demo" / SOCKET).exists()


async def test_a_signal_while_the_run_settles_halts_too() -> None:
    commands: list[tuple[Action, str]] = []
    engine = SimpleNamespace(command=lambda action, source: commands.append((action, source)))
    headless = Headless(SimpleNamespace(engine=engine), None, None, True, sys.stdout)  # type: ignore[arg-type]
    headless._settling = True
    headless._signalled(signal.SIGTERM)
    assert commands == [(Action.HALT, "terminated")] and headless.stopping.result() is Exit.TERMINATED


def begun(folder: Path, *arguments: str) -> "subprocess.Popen[str]":
    """A run that has written its first line."""
    process = start(folder, "--no-ui", "--json", *arguments)
    assert process.stdout is not None
    assert process.stdout.readline()
    return process


def test_a_venue_that_dies_ends_the_run_with_a_sentence(tmp_path: Path) -> None:
    process = start(tmp_path, "--no-ui", "--json")
    assert process.stdout is not None
    process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system does not tell a process's children")
    venue = int(children.read_text().split()[0])
    os.kill(venue, signal.SIGKILL)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == Exit.VENUE
    assert "process ended while it was needed" in err and "Traceback" not in err + out
    assert json.loads(out.splitlines()[-1])["type"] == "summary"


def test_the_venue_goes_when_its_owner_is_killed(tmp_path: Path) -> None:
    process = start(tmp_path, "--no-ui", "--json")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    if not children.exists():
        process.kill()
        pytest.skip("this system does not tell a process's children")
    venue = int(children.read_text().split()[0])
    process.kill()
    process.wait()
    process.stdout.close()
    process.stderr.close()
    deadline = time.monotonic() + PATIENCE_S
    while _alive(venue):
        assert time.monotonic() < deadline, "the venue outlived its owner"
        time.sleep(0.05)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_reader_that_goes_away_ends_the_run_quietly(tmp_path: Path) -> None:
    process = start(tmp_path, "--no-ui")
    assert process.stdout is not None and process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    err = process.stderr.read()
    process.stderr.close()
    assert process.wait(PATIENCE_S) == Exit.OK
    assert "Traceback" not in err and "BrokenPipe" not in err


def not_gzip(folder: Path) -> str:
    path = folder / "broken.gz"
    path.write_bytes(b"\x1f\x8b\x08\x00not really")
    return str(path)


def a_text(folder: Path) -> str:
    path = folder / "words.txt"
    path.write_text("these are words\n")
    return str(path)


def an_empty_file(folder: Path) -> str:
    path = folder / "empty"
    path.touch()
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["--no-ui", "--for", "soon"], Exit.USAGE, "write 60s, 5m or 1h"),
        (["--no-ui", "--for", "0s"], Exit.USAGE, "is not a time"),
        (["--no-ui", "--speed", "0"], Exit.USAGE, "is not a speed"),
        (["--no-ui", "--speed", "nan"], Exit.USAGE, "is not a speed"),
        (["--no-ui", "--bogus"], Exit.USAGE, "--bogus"),
        (["--no-ui", "--json", "--plain"], Exit.USAGE, "not allowed with"),
        (["--no-ui", "--set", "risk.max_levrage=2"], Exit.USAGE, "risk.max_leverage"),
        (["--no-ui", "--set", "risk.max_leverage=-2"], Exit.USAGE, "risk.max_leverage"),
        (["--no-ui", "--set", "strategy.name=brekout"], Exit.USAGE, "one of stance, reversion, breakout"),
        (["--no-ui", "--set", "strategy.name=breakout", "--set", "strategy.parameters=bars=1"], Exit.USAGE, "from 2 to 500"),
        (["--no-ui", "--set", "nonsense"], Exit.USAGE, "--set section.key=value"),
        (["--no-ui", "--symbol", "ASTERUSDT"], Exit.USAGE, "ASTER/USDT:USDT"),
        (["--no-ui", "--symbol", "DOGE/USDT:USDT"], Exit.USAGE, "does not list this market"),
        (["--no-ui", "--mode", "paper", "--speed", "2"], Exit.USAGE, "as fast as the world does"),
        (["--no-ui", "--mode", "paper", "--capture", "some.gz"], Exit.USAGE, "is played in demo"),
        (["--no-ui", "--mode", "live"], Exit.USAGE, "live needs keys of binance"),
        (["--no-ui", "--mode", "testnet"], Exit.USAGE, "testnet needs keys of binance"),
        (["--no-ui", "--mode", "live", "--arm"], Exit.USAGE, '"trade live with real money on binance", or no --arm'),
        ([], Exit.USAGE, "--no-ui"),
        (["--no-ui", "--loop"], Exit.USAGE, "--capture"),
        (["--no-ui", "--config", "missing.toml"], Exit.USAGE, "missing.toml"),
        (["--no-ui", "--capture", "missing.gz"], Exit.VENUE, "no such file"),
        (["--no-ui", "--capture", not_gzip], Exit.VENUE, "broken.gz"),
        (["--no-ui", "--capture", a_text], Exit.VENUE, "words.txt, line 1"),
        (["--no-ui", "--capture", an_empty_file], Exit.VENUE, "empty"),
    ],
    ids=lambda value: " ".join(getattr(one, "__name__", str(one)) for one in value) if isinstance(value, list) else str(value),
)
def test_bad_input_is_answered_with_a_sentence(tmp_path: Path, arguments: list[object], code: Exit, words: str) -> None:
    made = [part(tmp_path) if callable(part) else str(part) for part in arguments]
    got, lines, err = run(tmp_path, *made)
    assert (got, lines) == (code, []), err
    assert words in err.replace("\n", " ")


def test_a_state_folder_that_cannot_be_made_stops_the_start(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    code, lines, err = run(tmp_path, "--no-ui", BARTER_ENGINE_STATE_DIR=str(in_the_way / "state"))
    assert (code, lines) == (Exit.STATE, [])
    assert "state folder cannot be written" in err


def test_a_capture_that_does_not_hold_the_symbol_says_what_it_holds(tmp_path: Path) -> None:
    from tests.test_engine import frames

    capture = tmp_path / "sol.gz"
    frames(capture, "SOLUSDT", seconds=5)
    code, _, err = run(tmp_path, "--no-ui", "--capture", str(capture), "--symbol", "BTC/USDT:USDT")
    assert code == Exit.USAGE and "SOL/USDT:USDT" in err


def test_a_capture_ends_by_itself_and_sums_up(tmp_path: Path) -> None:
    from tests.test_engine import frames

    capture = tmp_path / "sol.gz"
    count = frames(capture, "SOLUSDT", seconds=20)
    code, lines, err = run(tmp_path, "--no-ui", "--json", "--capture", str(capture), "--speed", "10")
    assert code == Exit.OK, err
    counts = json.loads(lines[-1])["counts"]
    assert counts["deltas"] + counts["quotes"] + counts["trades"] + counts["snapshots"] == count
