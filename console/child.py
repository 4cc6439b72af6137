"""A process of ours: one line of JSON goes in, lines of JSON come out, and closing its input asks it to go."""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import msgspec

from engine.errors import StateError

LONGEST_LINE = 1 << 20


class Child:
    """`python -m module`. Its input is a pipe that we hold the writing end of: `input` may be lent to another child, and the
    process is asked to go once everybody who holds it has closed it or died. The reading end is kept for a successor, which
    is then held by whoever held the one before it.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", input: int, theirs: int) -> None:
        self.input = input
        self._process, self._theirs = process, theirs
        self._lines = asyncio.StreamReader(limit=LONGEST_LINE)
        self._output: asyncio.ReadTransport | None = None

    @classmethod
    async def start(cls, module: str, order: msgspec.Struct, *, lend: tuple[int, ...] = (), log: Path | None = None) -> Self:
        """Start it and hand `order` over. `lend`: descriptors that it is to hold too; `log`: where its stderr goes instead
        of ours. Raises OSError when no process can be made, StateError when the log cannot.
        """
        theirs, ours = os.pipe()
        try:
            with _stderr(log) as stderr:
                process = _spawn(module, theirs, stderr, lend)
        except (OSError, StateError):
            os.close(ours)
            os.close(theirs)
            raise
        return await cls(process, ours, theirs)._begun(order)

    async def successor(self, module: str, order: msgspec.Struct, *, log: Path | None = None) -> Self:
        """Another one in its place, after its end, on the same input. Raises as `start` does."""
        with _stderr(log) as stderr:
            process = _spawn(module, self._theirs, stderr, ())
        after = type(self)(process, self.input, self._theirs)
        self.input = self._theirs = -1
        self._close_output()
        return await after._begun(order)

    async def _begun(self, order: msgspec.Struct) -> Self:
        output, lines = self._process.stdout, self._lines
        assert output is not None
        self._output, _ = await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), output)
        await asyncio.to_thread(_write, self.input, msgspec.json.encode(order) + b"\n")
        return self

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    async def line(self) -> bytes:
        """The next line that it says, b"" once it is gone or said more than a line can hold."""
        try:
            return await self._lines.readline()
        except ValueError:
            return b""

    def let_go(self) -> None:
        """Close our end of its input and wait for nothing: it decides what follows."""
        self._close_input()
        self._close_output()
        if self._process.poll() is None:
            self._process.returncode = 0  # it is meant to outlive us: no warning about it

    async def gone(self, within_s: float) -> int | None:
        """Its exit code as soon as it has one, None when it still runs after that time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while self.code is None:  # noqa: ASYNC110 - waiting in a thread could not be given up
                    await asyncio.sleep(0.01)
        return self.code

    async def end(self, within_s: float) -> None:
        """Ask it to go by closing our end of its input, and kill it when it does not."""
        self._close_input()
        if await self.gone(within_s) is None:
            self._process.kill()
            await self.gone(within_s)
        self._close_output()

    def terminate(self) -> None:
        """SIGTERM: an engine halts."""
        self._process.terminate()

    def _close_input(self) -> None:
        if self.input >= 0:
            os.close(self.input)
            os.close(self._theirs)
            self.input = self._theirs = -1

    def _close_output(self) -> None:
        if self._output is not None:
            self._output.close()


def _spawn(module: str, input: int, stderr: int | None, lend: tuple[int, ...]) -> "subprocess.Popen[bytes]":
    """Not asyncio's, which kills its children when its loop ends: an engine may outlive us. As everywhere, `-P`: a package in
    the folder that one happens to be in is not ours to run.
    """
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module],
        stdin=input,
        stdout=subprocess.PIPE,
        stderr=stderr,
        pass_fds=lend,
        start_new_session=True,  # Ctrl-C and a closed terminal are for us, who then decide about it
    )


@contextlib.contextmanager
def _stderr(log: Path | None) -> Iterator[int | None]:
    """Where its stderr goes: ours, or a file that only its owner reads, anew for each start."""
    if log is None:
        yield None
        return
    try:
        log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    except OSError as problem:
        raise StateError(str(log.parent), f"the state folder cannot be written ({problem.strerror})") from None
    try:
        yield file
    finally:
        os.close(file)


def _write(input: int, order: bytes) -> None:
    """All of it; a process that died at once is noticed by what it says."""
    with contextlib.suppress(BrokenPipeError):
        while order:
            order = order[os.write(input, order) :]
