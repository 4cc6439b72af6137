"""A what-if over the replay screen: other settings in; its progress, then table, first divergence and curves out.

The work is done by a child process, which ends with this screen.
"""

import asyncio
import contextlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec
from rich.table import Table
from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import ProgressBar, Static

from console import format as show
from console.panes.lines import RISING
from console.whatif import HEADS, words
from engine.replay.whatif import Figures, WhatIf, table

LONGEST_LINE = 8 << 20
CURVE_ROWS, CURVE_CELLS = 3, 90


class Said(msgspec.Struct):
    """A line of the child."""

    done: int = 0
    of: int = 0
    found: WhatIf | None = None
    problem: str = ""


class WhatIfScreen(ModalScreen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "close", "Close")]

    def __init__(self, path: Path, changes: dict[str, str]) -> None:
        super().__init__()
        self.path, self.changes = path, changes
        self.found: WhatIf | None = None
        self._work: asyncio.Task[None] | None = None

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog", classes="-help") as box:
            box.border_title = "What if " + ", ".join(f"{key} = {value}" for key, value in self.changes.items())
            box.border_subtitle = "Esc closes, and ends the work"
            with VerticalScroll():
                yield ProgressBar(id="progress", show_eta=True)
                yield Static("", id="found", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
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
        except (OSError, ValueError) as problem:
            self._tell(f"The work failed ({problem}).")
        finally:
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
            self.query_one("#found", Static).update(shown(said.found))
        else:
            bar.update(total=said.of, progress=said.done)

    def _tell(self, sentence: str) -> None:
        self.query_one("#found", Static).update(sentence)

    def action_close(self) -> None:
        self.dismiss(None)


def shown(found: WhatIf) -> Table:
    """Figures, curves, words."""
    page = Table.grid(padding=(0, 0, 1, 0))
    page.add_column()
    figures = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for head in HEADS:
        figures.add_column(head, justify="right" if head else "left")
    for row in table(found):
        figures.add_row(*(Text(cell) for cell in row))
    page.add_row(figures)
    sides = (found.recorded, found.original, found.changed)
    low = min((value for side in sides for _, value in side.curve), default=0.0)
    high = max((value for side in sides for _, value in side.curve), default=0.0)
    for side in sides:
        page.add_row(_curve(side, min(low, 0.0), max(high, 0.0)))
    page.add_row(Text("\n".join(words(found))))
    return page


def _curve(side: Figures, low: float, high: float) -> Text:
    """The profit over the session, all sides on one scale."""
    made = Text(f"{side.name}  {show.money(str(round(side.profit, 2)), sign=True)}\n", "bold")
    for line in curve([value for _, value in side.curve], low, high):
        made.append(line + "\n", "green" if side.profit > 0 else "red")
    made.rstrip()
    return made


def curve(values: Sequence[float], low: float, high: float, rows: int = CURVE_ROWS, cells: int = CURVE_CELLS) -> list[str]:
    """Columns of eighths between `low` and `high`, top row first; each cell is the newest of the values that fall into it."""
    if not values:
        return []
    cells = min(cells, len(values))
    picked = [values[(cell + 1) * len(values) // cells - 1] for cell in range(cells)]
    span = high - low or 1.0
    heights = [round((min(max(value, low), high) - low) / span * rows * 8) for value in picked]
    return ["".join(RISING[min(max(height - 8 * row, 0), 8)] for height in heights) for row in reversed(range(rows))]
