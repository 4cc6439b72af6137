"""The terminal comes back whatever happens to the screen: real processes on a pseudo-terminal."""

import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

PATIENCE_S = 20.0
# A screen as far as the terminal can tell: raw mode, alternate screen, and it says who it is.
SCREEN = """
import os, sys, termios, time, tty
from console.guard import guarded

def screen():
    tty.setraw(0)
    sys.stdout.write("\\x1b[?1049h\\x1b[?25l" + f"pid={os.getpid()};")
    sys.stdout.flush()
    KEEPING
sys.exit(guarded(screen))
"""


class Terminal:
    """A pseudo-terminal with a program on it."""

    def __init__(self, keeping: str) -> None:
        self.master, slave = pty.openpty()
        self.before = termios.tcgetattr(self.master)
        script = SCREEN.replace("KEEPING", keeping)
        root = Path(__file__).resolve().parents[2]
        self.program = subprocess.Popen(
            [sys.executable, "-c", script], stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=root
        )
        os.close(slave)
        self.seen = ""

    def until(self, words: str) -> str:
        deadline = time.monotonic() + PATIENCE_S
        while words not in self.seen:
            assert time.monotonic() < deadline, f"{words!r} did not come in {self.seen!r}"
            if select.select([self.master], [], [], 0.1)[0]:
                self.seen += os.read(self.master, 4096).decode(errors="replace")
        return self.seen

    def screen_pid(self) -> int:
        return int(self.until(";").partition("pid=")[2].partition(";")[0])

    def end(self) -> int:
        try:
            return self.program.wait(PATIENCE_S)
        finally:
            os.close(self.master)


def test_a_killed_screen_leaves_the_terminal_as_it_was_and_a_sentence() -> None:
    terminal = Terminal("time.sleep(60)")
    os.kill(terminal.screen_pid(), signal.SIGKILL)
    seen = terminal.until("on_console_loss")
    assert "\x1b[?1049l" in seen and "\x1b[?25h" in seen
    assert "the screen was killed (SIGKILL)" in seen
    assert termios.tcgetattr(terminal.master)[3] == terminal.before[3]
    assert terminal.end() == 128 + signal.SIGKILL


def test_an_ordinary_end_passes_its_exit_code() -> None:
    terminal = Terminal("return 5")
    terminal.until(";")
    assert terminal.end() == 5


@pytest.mark.parametrize("name", ["SIGTERM", "SIGUSR1"])
def test_a_signal_to_the_guard_reaches_the_screen(name: str) -> None:
    keeping = f'import signal; signal.signal(signal.{name}, lambda *_: (print("told"), os._exit(7))); time.sleep(60)'
    terminal = Terminal(keeping)
    terminal.screen_pid()
    time.sleep(0.3)
    terminal.program.send_signal(signal.Signals[name])
    terminal.until("told")
    assert terminal.end() == 7


def test_a_screen_whose_guard_was_killed_ends_by_itself() -> None:
    terminal = Terminal('import signal; signal.signal(signal.SIGTERM, lambda *_: (print("alone"), os._exit(0))); time.sleep(60)')
    terminal.screen_pid()
    terminal.program.kill()
    terminal.until("alone")
    assert terminal.end() == -signal.SIGKILL
