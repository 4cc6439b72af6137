"""The whole program as a person has it, in a real terminal: from the first start to the last, with everything killed in between.

Every screen that is looked at is searched for a traceback; afterwards no process of ours is left.
"""

import os
import re
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.exits import Exit
from tests.conftest import ROOT
from tests.tmux import LOOK_EVERY_S, PATIENCE_S, Tmux

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed: the program cannot be seen in a terminal"),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="no /proc here: processes cannot be told apart"),
]
SIZE = (120, 36)
BOUGHT = re.compile(r"entry +BUY +market +500 +500 +market")  # in the orders


class Program:
    """`barter-tui` typed into a shell, its state in a folder of its own."""

    def __init__(self, folder: Path, terminal: Tmux) -> None:
        self.folder, self.terminal = folder, terminal
        self.commands = 0

    def start(self, *words: str) -> None:
        """Typed, with the terminal's settings noted before and after it."""
        self.commands += 1
        command = shlex.join((sys.executable, "-m", "console.cli", *words))
        noted = [shlex.quote(str(self._noted(name))) for name in ("before", "after")]
        self.terminal.type(f"clear; stty -a > {noted[0]}; {command}; code=$?; stty -a > {noted[1]}; echo over $code")
        self.terminal.press("Enter")

    def over(self, code: int) -> None:
        """The shell has the terminal again, as it was: main screen, cursor, no mouse, every setting."""
        self.terminal.shows(f"over {code}\n")
        assert self.terminal.facts("alternate_on", "cursor_flag", "mouse_any_flag", "keypad_flag") == ["0", "1", "0", "0"]
        before, after = (self._noted(name).read_text() for name in ("before", "after"))
        assert before == after and "columns" in before

    def _noted(self, name: str) -> Path:
        return self.folder / f"{name}-{self.commands}"

    def processes(self) -> dict[int, list[str]]:
        """Ours, with their words; the shell and the terminal are not."""
        mark, found = f"XDG_STATE_HOME={self.folder}".encode(), {}
        for place in Path("/proc").glob("[0-9]*"):
            try:
                if mark in (place / "environ").read_bytes().split(b"\0"):
                    words = (place / "cmdline").read_bytes().decode().split("\0")
                    if "python" in Path(words[0]).name:
                        found[int(place.name)] = words
            except (OSError, ValueError):
                continue  # it ended, or it is somebody else's
        return found

    def running(self, module: str) -> list[int]:
        return sorted(pid for pid, words in self.processes().items() if module in words)

    def nobody_is_left(self) -> None:
        end = time.monotonic() + PATIENCE_S
        while left := self.processes():
            assert time.monotonic() < end, f"still running: {left}"
            time.sleep(LOOK_EVERY_S)


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    environ = {f"XDG_{name}_HOME": str(tmp_path) for name in ("STATE", "CONFIG", "DATA")}
    with Tmux(tmp_path, {**environ, "PYTHONPATH": str(ROOT)}, *SIZE) as terminal:
        made = Program(tmp_path, terminal)
        try:
            yield made
        finally:
            for pid in made.processes():
                os.kill(pid, signal.SIGKILL)


def test_a_session_from_the_first_start_to_its_replay(program: Program) -> None:
    terminal = program.terminal
    program.start("--seed", "7", "--set", "judgment.min_confidence=1")  # nobody trades but this test
    terminal.shows("1 of 6")
    terminal.press("Escape")
    terminal.shows("DEMO", "ARMED", "trusted", "flat")
    trade(terminal)

    terminal.press("F12")
    terminal.shows("HALTED", "confirmed by the venue")
    terminal.press("r")
    terminal.shows("Release the halt")
    terminal.press("y")
    terminal.until(lambda text: " OFF " in text and "HALTED: " not in text, "the end of the halt")

    terminal.resize(20, 5)
    terminal.until(lambda text: len(text.splitlines()) <= 5 and "DEMO" in text and "1 ladder" in text, "the ladder on 20x5")
    terminal.resize(*SIZE)
    terminal.until(lambda text: "3 indicators" in text and BOUGHT.search(text), "the order on the whole desk")
    detach(program)

    program.start("attach", "--control")
    terminal.until(lambda text: " OFF " in text and "trusted" in text and BOUGHT.search(text), "the order, attached")
    terminal.press("b")
    terminal.shows("BACKTEST", "data  synthetic")
    terminal.press("F5")
    terminal.shows("BACKTEST   SYNTHETIC")
    terminal.press("Escape")
    terminal.shows("1 ladder", "trusted")
    stop(program)
    program.nobody_is_left()

    program.start("--replay", "latest")
    terminal.shows("REPLAY of demo", "trusted")
    terminal.press("g")
    terminal.shows("A time of day (UTC)")
    terminal.type("100%")
    terminal.press("Enter")
    terminal.until(lambda text: "REPLAY of demo" in text and BOUGHT.search(text), "the order in the replay")
    terminal.press("q")
    program.over(Exit.OK)
    program.nobody_is_left()


def test_a_screen_and_an_engine_that_are_killed_leave_the_terminal_as_it_was(program: Program) -> None:
    terminal = program.terminal
    program.start("--seed", "7", "--set", "engine.on_console_loss=run")
    terminal.shows("1 of 6")
    terminal.press("Escape")
    terminal.shows("DEMO", "ARMED", "trusted")
    guard, screen = program.running("console.cli")
    os.kill(screen, signal.SIGKILL)
    terminal.shows("the screen was killed (SIGKILL)")
    program.over(128 + signal.SIGKILL)
    assert len(program.running("engine")) == 1 and guard not in program.processes()

    program.start("attach", "--control")
    terminal.shows("DEMO", "trusted")
    (engine,) = program.running("engine")
    os.kill(engine, signal.SIGKILL)
    terminal.shows("The engine is gone", "NO ENGINE")
    terminal.press("q")
    program.over(Exit.OK)
    program.nobody_is_left()


def trade(terminal: Tmux) -> None:
    """Bought on the line for orders; its stop follows."""
    terminal.press(":")
    terminal.shows("Order in binance ASTER/USDT")
    terminal.type("buy 500")
    terminal.shows("it would be sent now")
    terminal.press("Enter")
    terminal.until(lambda text: "LONG 500 ASTER" in text and "Order in" not in text, "the position")


def detach(program: Program) -> None:
    program.terminal.press("q")
    program.terminal.shows("Leave the console")
    program.terminal.press("l")
    program.over(Exit.OK)
    assert program.running("engine") and not program.running("console.cli")


def stop(program: Program) -> None:
    program.terminal.press("q")
    program.terminal.shows("Leave the console")
    program.terminal.press("s")
    program.over(Exit.OK)
