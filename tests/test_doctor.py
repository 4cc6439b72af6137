"""`doctor` and `model pull`: what is missing is said with what mends it; a download is seen, cancelled, gone on with."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread

import pytest

from console import doctor
from console.cli import main
from console.exits import Exit
from tests.ollama_standin import MODEL, Standin, standing


@pytest.fixture
def server() -> Iterator[tuple[Standin, str]]:
    """A stand-in on a loop of its own: the commands bring their own loop."""
    standin, up, down = Standin(), Event(), Event()
    address: list[str] = []

    async def serve() -> None:
        async with standing(standin) as host:
            address.append(host)
            up.set()
            await asyncio.to_thread(down.wait)

    thread = Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    assert up.wait(10)
    yield standin, address[0]
    down.set()
    thread.join(10)


def flags(host: str, folder: Path, *more: str) -> list[str]:
    return ["--set", f"judgment.host={host}", "--set", f"engine.state_dir={folder}", *more]


def test_without_a_server_it_says_how_to_get_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *flags("http://127.0.0.1:1", tmp_path)]) == Exit.VENUE
    said = " ".join(capsys.readouterr().out.split())
    assert "missing server Nothing answers at http://127.0.0.1:1" in said and "ollama serve" in said
    assert "Without a model, rules judge: everything else works." in said


def test_with_everything_there_it_is_content(
    server: tuple[Standin, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_memory_gb", lambda: (32.0, 20.0))
    assert main(["doctor", *flags(server[1], tmp_path)]) == Exit.OK
    said = " ".join(capsys.readouterr().out.split())
    assert f"ok server Ollama 0.33.0 at {server[1]}" in said and f"ok model {MODEL}, 3.0 GB" in said
    assert "ok memory it needs some 5.4 GB; 20.0 GB are free" in said and "missing" not in said


def test_a_missing_model_comes_with_the_command_that_fetches_the_one_that_fits(
    server: tuple[Standin, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_memory_gb", lambda: (16.0, 9.0))
    server[0].models = {"llama3:8b": "d"}
    assert main(["doctor", *flags(server[1], tmp_path)]) == Exit.VENUE
    assert "barter-tui model pull ministral-3:3b" in capsys.readouterr().out
    assert main(["doctor", *flags(server[1], tmp_path, "--set", "judgment.model=mistral:7b")]) == Exit.VENUE
    assert "barter-tui model pull mistral:7b" in capsys.readouterr().out


def test_what_costs_comfort_only_is_no_failure(
    server: tuple[Standin, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_memory_gb", lambda: (32.0, 20.0))
    cores = os.cpu_count() or 1
    many = ("--set", f"judgment.num_thread={cores + 1}", "--set", "judgment.shadow=qwen:1b")
    assert main(["doctor", *flags(server[1], tmp_path, *many)]) == Exit.OK
    said = capsys.readouterr().out
    assert "barter-tui model pull qwen:1b" in said
    if cores > 1:
        assert f"--set judgment.num_thread={cores - 1}" in said


def test_too_little_memory_is_said_before_the_model_is_loaded(
    server: tuple[Standin, str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_memory_gb", lambda: (8.0, 2.0))
    assert main(["doctor", *flags(server[1], tmp_path)]) == Exit.VENUE
    assert "it needs some 5.4 GB, and 2.0 GB are free" in " ".join(capsys.readouterr().out.split())


@pytest.mark.skipif(sys.platform != "linux", reason="scheduling is read from /proc")
def test_a_process_gives_way_once_it_is_scheduled_as_idle() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, start_new_session=True) as child:
        assert not doctor._gives_way(child.pid)
        os.sched_setscheduler(child.pid, os.SCHED_IDLE, os.sched_param(0))
        group = Path(f"/proc/{child.pid}/autogroup")
        if group.exists():
            group.write_text("19")
        assert doctor._gives_way(child.pid)
        child.communicate(b"\n")


# --- model pull -------------------------------------------------------------------------------------------------------


def test_a_pulled_model_is_there(server: tuple[Standin, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "pull", "mistral:7b", *flags(server[1], tmp_path)]) == Exit.OK
    assert "mistral:7b is there." in capsys.readouterr().out and "mistral:7b" in server[0].models


def test_a_model_that_does_not_exist_is_a_sentence(
    server: tuple[Standin, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["model", "pull", "nowhere:1b", *flags(server[1], tmp_path)]) == Exit.VENUE
    said = capsys.readouterr().err
    assert "nowhere:1b was not fetched" in said and "file does not exist" in said and "Traceback" not in said


def test_without_a_server_nothing_is_fetched(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["model", "pull", *flags("http://127.0.0.1:1", tmp_path)]) == Exit.VENUE
    assert "`barter-tui doctor` says what is missing" in capsys.readouterr().err


def test_ctrl_c_stops_a_download_that_can_be_gone_on_with(server: tuple[Standin, str], tmp_path: Path) -> None:
    server[0].word_s = 0.5
    command = [sys.executable, "-m", "console.cli", "model", "pull", "mistral:7b", *flags(server[1], tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        while not server[0].pulls:
            assert child.poll() is None
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=20)
    assert child.returncode == Exit.INTERRUPTED and "goes on from there" in said and "Traceback" not in said
    server[0].word_s = 0.0
    assert main(["model", "pull", "mistral:7b", *flags(server[1], tmp_path)]) == Exit.OK
    assert server[0].pulls == 2


@pytest.mark.parametrize("words", [["model"], ["model", "push"], ["model", "pull", "a", "b"], ["doctor", "who"]])
def test_a_command_that_is_none_is_a_usage_error(words: list[str], tmp_path: Path) -> None:
    assert main([*words, "--set", f"engine.state_dir={tmp_path}"]) == Exit.USAGE
