"""The console in a process of its own on a pseudo-terminal: keys go in, the bytes that it writes come out with their times."""

import asyncio
import contextlib
import fcntl
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from collections import deque
from pathlib import Path
from typing import Self

from console.cli import make_parser
from tests.bench import watched

COLUMNS, ROWS = 160, 50
CHUNK = 65_536
KEPT_CHUNKS = 4_000
START_WITHIN_S, GONE_WITHIN_S = 20.0, 10.0


class Terminal:
    """`async with Terminal(folder, argv) as terminal`: `barter-tui argv` runs on it. Nothing answers its questions."""

    def __init__(self, lines: Path, argv: list[str], columns: int = COLUMNS, rows: int = ROWS) -> None:
        make_parser().parse_args(argv)
        self.lines, self.argv = lines, argv
        self.pid = 0  # of the process that draws
        self.written = 0  # bytes, by the console
        self._chunks: deque[tuple[int, bytes]] = deque(maxlen=KEPT_CHUNKS)
        self._arrived = threading.Condition()
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        environment = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "LINES")}
        environment |= {"TERM": "xterm-256color", "COLORTERM": "truecolor", watched.ROLE: "console", watched.FILE: str(lines)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.bench.watched", *argv],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment,
            start_new_session=True,
        )
        os.close(slave)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    async def __aenter__(self) -> Self:
        """Until the screen's process has told which one it is."""
        deadline = time.monotonic() + START_WITHIN_S
        while not self.pid:
            self.pid = next((line["pid"] for line in watched.Reader(self.lines).new() if line["what"] == "screen"), 0)
            assert time.monotonic() < deadline, f"the console did not start: {self.tail()!r}"
            await asyncio.sleep(0.02)
        return self

    async def __aexit__(self, *error: object) -> None:
        """Kill what did not leave by itself."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            with contextlib.suppress(AssertionError):
                await self.gone()
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join(1)
        os.close(self._master)

    async def leave(self) -> int:
        """With the keys that a person would use, once the question can be read; the engine runs on."""
        asked = self.press(b"q")
        await self.shows(b"Leave the console", since=asked)
        self.press(b"l")
        return await self.gone()

    async def gone(self) -> int:
        deadline = time.monotonic() + GONE_WITHIN_S
        while self._process.poll() is None:
            assert time.monotonic() < deadline, "the console did not leave"
            await asyncio.sleep(0.02)
        assert self._process.returncode is not None
        return self._process.returncode

    def press(self, key: bytes) -> int:
        """Write a key; returns the time just before."""
        at = time.monotonic_ns()
        os.write(self._master, key)
        return at

    async def shows(self, *words: bytes, since: int, within_s: float = 5.0) -> int:
        """The arrival of the first bytes after `since` that hold one of `words`; AssertionError when none come."""
        found = await asyncio.to_thread(self._wait, words, since, within_s)
        assert found, f"the screen did not show {words} within {within_s:g} s: {self.tail()[-2000:]!r}"
        return found

    def tail(self) -> bytes:
        with self._arrived:
            return b"".join(chunk for _, chunk in list(self._chunks)[-8:])

    def _wait(self, words: tuple[bytes, ...], since: int, within_s: float) -> int:
        deadline = time.monotonic() + within_s
        longest = max(map(len, words))
        with self._arrived:
            while True:
                before = b""
                for at, chunk in self._chunks:
                    if at < since:
                        continue
                    held = before + chunk
                    if any(word in held for word in words):
                        return at
                    before = held[-longest:]
                if not self._arrived.wait(max(deadline - time.monotonic(), 0)) and time.monotonic() >= deadline:
                    return 0

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self._master, CHUNK):
                at = time.monotonic_ns()
                with self._arrived:
                    self.written += len(chunk)
                    self._chunks.append((at, chunk))
                    self._arrived.notify_all()
