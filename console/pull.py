"""`barter-tui model pull [NAME]`: a model's download, seen, and gone on with after it was cancelled."""

import asyncio
import sys

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from console.doctor import suggested
from console.exits import Exit
from engine.config import Settings
from engine.judgment.answer import AnswerError
from engine.model import Ollama

USAGE = "model pull [NAME]"


def run(settings: Settings, name: str) -> int:
    """The server does the work: cancelled by Ctrl-C, it keeps what it has and the next call goes on from there."""
    chosen = name or settings.judgment.model or suggested()
    try:
        asyncio.run(_pull(settings, chosen))
    except KeyboardInterrupt:
        print(
            f"barter-tui: stopped; what was fetched is kept: `barter-tui model pull {chosen}` goes on from there.",
            file=sys.stderr,
        )
        return Exit.INTERRUPTED
    except AnswerError as problem:
        text = str(problem)
        hint = " `barter-tui doctor` says what is missing." if problem.kind == "refused" else ""
        print(f"barter-tui: {chosen} was not fetched: {text}.{hint}", file=sys.stderr)
        return Exit.VENUE
    print(f"{chosen} is there. `barter-tui doctor` checks whether it fits.")
    return Exit.OK


async def _pull(settings: Settings, name: str) -> None:
    server = Ollama(settings.judgment)
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    status = ""
    try:
        with Progress(*columns, console=Console(stderr=True)) as shown:
            layers: dict[str, object] = {}
            async for part in server.pull(name):
                status = part.status
                if not part.total:
                    continue
                if part.digest not in layers:
                    layers[part.digest] = shown.add_task(part.digest.removeprefix("sha256:")[:12], total=part.total)
                shown.update(layers[part.digest], completed=part.completed, total=part.total)  # type: ignore[arg-type]
        if status != "success":
            raise AnswerError("cut", "the server ended before it was done")
        await server.find(name)  # it says so itself, and it may not be so
    finally:
        await server.close()
