"""A terminal that a test looks at: a shell inside tmux on a socket of its own, keys in, the screen as text out."""

import os
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

PATIENCE_S = 60.0
LOOK_EVERY_S = 0.1


class Tmux:
    """`with Tmux(folder, environ) as terminal`: `environ` is what the shell's children have more than this process."""

    def __init__(self, folder: Path, environ: Mapping[str, str], columns: int = 120, rows: int = 36) -> None:
        self._socket = folder / "tmux"
        own = {name: value for name, value in os.environ.items() if name not in ("TMUX", "NO_COLOR", "COLUMNS", "LINES")}
        self._environ = {**own, **environ, "PS1": "$ ", "ENV": "", "TERM": "xterm-256color"}
        self._size = ("-x", str(columns), "-y", str(rows))

    def __enter__(self) -> "Tmux":
        self.run("-f", os.devnull, "new-session", "-d", *self._size, "sh")
        self.run("set", "-g", "remain-on-exit", "on")
        self.run("set", "-g", "window-size", "manual")
        return self

    def __exit__(self, *error: object) -> None:
        subprocess.run(["tmux", "-S", str(self._socket), "kill-server"], capture_output=True, check=False)

    def run(self, *words: str) -> str:
        command = ["tmux", "-S", str(self._socket), *words]
        done = subprocess.run(command, capture_output=True, text=True, env=self._environ, check=False)
        assert done.returncode == 0, f"{' '.join(words)}: {done.stderr}"
        return done.stdout

    def press(self, *keys: str) -> None:
        """By tmux's names: `F12`, `Enter`, `C-c`, `a`."""
        self.run("send-keys", *keys)

    def type(self, text: str) -> None:
        self.run("send-keys", "-l", text)

    def resize(self, columns: int, rows: int) -> None:
        self.run("resize-window", "-x", str(columns), "-y", str(rows))

    def screen(self) -> str:
        """What is on it now; nothing of a traceback, ever."""
        text = self.run("capture-pane", "-p", "-J")
        assert "Traceback" not in text, text
        return text

    def facts(self, *names: str) -> list[str]:
        """What tmux knows of the terminal: `alternate_on`, `cursor_flag`, `mouse_any_flag`, `pane_tty`."""
        return self.run("display-message", "-p", " ".join(f"#{{{name}}}" for name in names)).split()

    def until(self, holds: Callable[[str], object], what: str) -> str:
        """The first screen that holds it; AssertionError when none comes in time."""
        end = time.monotonic() + PATIENCE_S
        while True:
            text = self.screen()
            if holds(text):
                return text
            assert time.monotonic() < end, f"did not come: {what}\n{text}"
            time.sleep(LOOK_EVERY_S)

    def shows(self, *words: str) -> str:
        """Waits until all of these are on the screen."""
        return self.until(lambda text: all(word in text for word in words), " and ".join(map(repr, words)))
