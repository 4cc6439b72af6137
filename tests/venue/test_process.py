"""The venue as a process: one line in, one line out, and its end."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

Start = Callable[..., "subprocess.Popen[str]"]


def spec(**fields: Any) -> str:
    clock = {"wall_ns": time.time_ns(), "mono_ns": time.monotonic_ns(), "speed": 1.0}
    return json.dumps({"clock": clock, "api_key": "k", "secret": "hush-hush", **fields}) + "\n"


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    started = []

    def begin(line: str) -> "subprocess.Popen[str]":
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        process = subprocess.Popen([sys.executable, "-m", "engine.venue"], text=True, cwd=root, **pipes)  # type: ignore[call-overload]
        started.append(process)
        process.stdin.write(line)
        process.stdin.flush()
        return process  # type: ignore[no-any-return]

    yield begin
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ready(process: "subprocess.Popen[str]") -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def test_it_says_that_it_is_ready_and_ends_with_its_owner(start: Start) -> None:
    process = start(spec(symbols=["ASTERUSDT", "BTCUSDT"]))
    told = ready(process)
    assert told["ready"] is True and told["symbols"] == ["ASTER/USDT:USDT", "BTC/USDT:USDT"] and told["capture"] is None
    with urllib.request.urlopen(told["rest"] + "/fapi/v1/time") as reply:
        assert json.load(reply)["serverTime"] > 0
    out, err = process.communicate()  # closes its stdin
    assert process.returncode == 0 and out == "" and "Traceback" not in err and "hush-hush" not in err


def test_an_interrupt_is_its_owners_business_and_a_termination_is_not(start: Start) -> None:
    process = start(spec())
    told = ready(process)
    os.kill(process.pid, signal.SIGINT)
    with urllib.request.urlopen(told["rest"] + "/fapi/v1/ping") as reply:
        assert reply.status == 200
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(20) == 0


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("\n", "no specification"),
        ("{nonsense\n", "cannot be read"),
        (spec(symbols=["NOPEUSDT"]), "NOPEUSDT"),
        (spec(balance="plenty"), "balance"),
        (spec(capture="/nonexistent/recording.gz"), "/nonexistent/recording.gz"),
        (spec(unknown=1), "unknown"),
    ],
    ids=["nothing", "nonsense", "symbol", "balance", "capture", "field"],
)
def test_what_keeps_it_from_starting_is_one_sentence(start: Start, line: str, names: str) -> None:
    process = start(line)
    out, err = process.communicate()
    told = json.loads(out)
    assert process.returncode == 1 and list(told) == ["error"] and names in told["error"]
    assert "Traceback" not in err and "hush-hush" not in out + err


def test_a_port_in_use_is_named(start: Start) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        process = start(spec(port=port))
        out, _ = process.communicate()
    assert process.returncode == 1 and str(port) in json.loads(out)["error"]


@pytest.mark.slow
def test_a_recording_is_played_to_its_end_and_said_so(start: Start, shared_data: Path) -> None:
    recording = shared_data / "market" / "hftbacktest" / "usdm_btcusdt_20240808.gz"
    line = json.loads(spec(capture=str(recording)))
    line["clock"]["speed"] = 300.0
    process = start(json.dumps(line) + "\n")
    told = ready(process)
    assert told["symbols"] == ["BTC/USDT:USDT"] and told["capture"]["frames"] == 93_954
    # Unlimited: a client that has stopped reading would not see the answer to its close behind the frames that it left.
    with connect(told["ws"] + "/public/ws/btcusdt@depth/btcusdt@bookTicker", max_queue=None) as listener:
        frames = [json.loads(listener.recv()) for _ in range(100)]
        assert {frame["e"] for frame in frames} <= {"depthUpdate", "bookTicker"}
    assert process.stdout is not None
    assert json.loads(process.stdout.readline()) == {"ended": True, "frames": 93_954}
