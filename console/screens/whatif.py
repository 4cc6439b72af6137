"""A what-if over the replay screen: other settings in; its progress, then table, first divergence and curves out.

The work is done by a child process, which ends with this screen.
"""

import asyncio
import contextlib
import sys
from pathlib import Path

import msgspec
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.widgets import ProgressBar, Static

from console.desk import Desk
from console.dialogs import Page
from console.panes.profit import ProfitPane
from console.whatif import HEADS, words
from engine.replay.whatif import WhatIf, table

LONGEST_LINE = 8 << 20
ENDS_S = 5.0  # after its last line


class Said(msgspec.Struct):
    """A line of the child."""

    done: int = 0
    of: int = 0
    found: WhatIf | None = None
    problem: str = ""


class WhatIfScreen(Page):
    def __init__(self, desk: Desk, path: Path, changes: dict[str, str]) -> None:
        told = ", ".join(f"{key} = {value}" for key, value in changes.items())
        super().__init__(f"What if {told}", "Esc closes, and ends the work")
        self.profit = ProfitPane(desk, id="profit")
        self.path, self.changes = path, changes
        self.found: WhatIf | None = None
        self._work: asyncio.Task[None] | None = None

    def contents(self) -> ComposeResult:
        yield ProgressBar(id="progress", show_eta=True)
        yield Static("", id="figures")
        yield self.profit
        yield Static("", id="found", markup=False)

    async def on_mount(self) -> None:
        self.profit.display = False
        self._work = asyncio.create_task(self._run())

    async def on_unmount(self) -> None:
        if self._work is not None:
            self._work.cancel()
            await asyncio.gather(self._work, return_exceptions=True)

    async def _run(self) -> None:
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", "console.whatif"),
            stdin=pipe,
            stdout=pipe,
            stderr=asyncio.subprocess.DEVNULL,
            limit=LONGEST_LINE,
        )
        try:
            assert child.stdin is not None and child.stdout is not None
            child.stdin.write(msgspec.json.encode((str(self.path), self.changes)) + b"\n")
            async for line in child.stdout:
                self._take(msgspec.json.decode(line, type=Said))
            if self.found is None and not self.query_one("#found", Static).content:
                self._tell("The work ended without a result: see the session with `barter-tui sessions verify`.")
            await asyncio.wait_for(child.wait(), ENDS_S)
        except (OSError, ValueError, TimeoutError) as problem:
            self._tell(f"The work failed ({problem or 'it does not end'}).")
        finally:
            if child.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    child.kill()
            await child.wait()

    def _take(self, said: Said) -> None:
        bar = self.query_one("#progress", ProgressBar)
        if said.problem:
            bar.display = False
            self._tell(said.problem)
        elif said.found is not None:
            bar.display = False
            self.found = said.found
            self.query_one("#figures", Static).update(figures(said.found))
            sides = (said.found.recorded, said.found.original, said.found.changed)
            self.profit.display = True
            self.profit.draw({side.name: side.curve for side in sides})
            self._tell("\n".join(words(said.found)))
        else:
            bar.update(total=said.of, progress=said.done)

    def _tell(self, sentence: str) -> None:
        self.query_one("#found", Static).update(sentence)


def figures(found: WhatIf) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in HEADS:
        made.add_column(head, justify="right" if head else "left")
    for row in table(found):
        made.add_row(*(Text(cell) for cell in row))
    return made
