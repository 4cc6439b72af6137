"""`barter-tui sweep`: a strategy over bars with every combination of some values, and what the best of them is worth."""

import argparse
import signal
import sys
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from console.backtest import config_of
from console.exits import Exit
from console.research import WHERE, add_run, add_settings, settings_of
from engine.backtest import findings
from engine.backtest.findings import BESIDE
from engine.backtest.metrics import FIGURES, shown
from engine.backtest.sweep import HeatMap, Sweep, axis, compared_by, heat_map, share, sweep
from engine.backtest.walk import Walk, walk_forward
from engine.errors import ConfigError

SHOWN = 15  # rows of the table
CELL = 9  # columns of the terminal for each of the heat map
WALKED = ("sharpe", "total_return")


class Rate(ProgressColumn):
    """Runs a second beside the bar."""

    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} runs/s" if task.speed else "")


def make_parser() -> argparse.ArgumentParser:
    """The flags of `sweep`."""
    parser = argparse.ArgumentParser("barter-tui sweep", description="Run a strategy with every combination of some values.")
    add_run(parser)
    add = parser.add_argument
    add(
        "--over",
        action="append",
        default=[],
        metavar="NAME=VALUES",
        help="what differs: bars=20,40,60 or bars=20:100:20, strategy.stop_atr=1,2,3, costs.taker=0,0.0005; repeat for more",
    )
    add("--by", default="sharpe", metavar="FIGURE", help="what the runs are compared by (default: sharpe)")
    add("--least", type=int, default=30, metavar="N", help="trades that a winner must have (default: 30)")
    add("--trials", type=int, default=0, metavar="N", help="so many of them, chosen by an optimiser (default: all)")
    add(
        "--walk-forward",
        type=int,
        default=0,
        metavar="N",
        help="choose in each of N windows, and run what was chosen in the next",
    )
    add("--anchored", action="store_true", help="with --walk-forward: every window begins with the first bar")
    add("--workers", type=int, default=0, metavar="N", help="processes at a time (default: one a core)")
    add("--json", action="store_true", help="one JSON document on stdout")
    add(
        "--out",
        type=Path,
        metavar="FILE",
        help="write it as well: every run as FILE.csv, .parquet or .json, or the page FILE.html",
    )
    add_settings(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """Raises ConfigError, DataError and SessionError."""
    settings, own = settings_of(arguments)
    if not arguments.over:
        raise ConfigError(WHERE, "--over", "nothing differs", "--over bars=20:100:20")
    if arguments.walk_forward and arguments.out is not None:
        raise ConfigError(WHERE, "--out", "a walk forward has no table of runs", "--json")
    if arguments.trials < 0 or arguments.walk_forward < 0 or arguments.least < 0:
        raise ConfigError(WHERE, "--trials", "a number is below 0", "numbers of at least 0")
    if arguments.session:
        raise ConfigError(WHERE, "--session", "a sweep runs over bars", "--data")
    if arguments.out is not None and (arguments.out.exists() or arguments.out.suffix not in findings.FORMS):
        raise ConfigError(WHERE, "--out", f"{arguments.out} cannot be written", f"a new file of {', '.join(findings.FORMS)}")
    compared_by(arguments.by)
    config, axes = config_of(arguments, settings, own), [axis(text) for text in arguments.over]
    stopped = False

    def stop(*_: object) -> None:
        nonlocal stopped
        stopped = True

    before = signal.signal(signal.SIGINT, stop)
    stderr = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
            task = progress.add_task("sweep", total=None)

            def told(done: int, of: int, best: float | None) -> bool:
                words = "sweep" if best is None else f"sweep, best {arguments.by} {best:.2f}"
                progress.update(task, completed=done, total=of, description=words)
                return not stopped

            more = {"least_trades": arguments.least, "trials": arguments.trials, "workers": arguments.workers, "told": told}
            if arguments.walk_forward:
                walk = walk_forward(config, axes, arguments.walk_forward, arguments.by, anchored=arguments.anchored, **more)
            else:
                found = sweep(config, axes, arguments.by, **more)
    finally:
        signal.signal(signal.SIGINT, before)
    if arguments.walk_forward:
        return _walked(walk, arguments.json)
    if arguments.out is not None:
        findings.write(found, arguments.out, f"{config.chosen().strategy.name} on {config.symbol}")
        print(f"barter-tui: {len(found.trials):,} runs are in {arguments.out}.", file=sys.stderr)
    if arguments.json:
        sys.stdout.write(msgspec.json.encode(findings.document(found)).decode() + "\n")
    else:
        _print(found)
    return Exit.INTERRUPTED if stopped else Exit.OK


def _walked(walk: Walk | None, as_json: bool) -> int:
    if walk is None:
        print("barter-tui: the walk was interrupted; nothing of it was kept.", file=sys.stderr)
        return Exit.INTERRUPTED
    if as_json:
        windows = [{"values": one.values, "inside": one.inside, "outside": one.outside} for one in walk.windows]
        found = {"windows": windows, "unseen": walk.statistics, "notes": walk.notes}
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        return Exit.OK
    console = Console()
    by_name = {figure.name: figure for figure in FIGURES}
    table = Table(title="Chosen in each window, and what it made of the next part", title_justify="left", box=None)
    for heading in ("from", "chosen", *(f"{by_name[name].title} {where}" for where in ("inside", "unseen") for name in WALKED)):
        table.add_column(heading, justify="right")
    for one in walk.windows:
        values = " ".join(f"{name}={value}" for name, value in one.values.items()) or "nothing"
        sides = (one.inside, one.outside)
        cells = ["-" if side is None else shown(by_name[name], getattr(side, name)) for side in sides for name in WALKED]
        table.add_row(shown(by_name["start_ms"], one.outside.start_ms), values, *cells)
    console.print(table)
    whole = ", ".join(f"{by_name[name].title} {shown(by_name[name], getattr(walk.statistics, name))}" for name in BESIDE)
    for note in (f"All unseen parts together: {whole}.", *walk.notes):
        console.print(f"- {note}", markup=False, highlight=False)
    return Exit.OK


def _print(found: Sweep) -> None:
    console = Console()
    table = Table(title=f"The best of {len(found.trials):,} runs", title_justify="left", box=None)
    for heading in findings.heads(found):
        table.add_column(heading, justify="right")
    for at in found.ranked()[:SHOWN]:
        table.add_row(*findings.told(found, at), style="bold" if at == found.winner else "")
    console.print(table)
    if len(found.axes) >= 2:
        rows, columns = found.axes[:2]
        if CELL * (len(columns.values) + 1) <= console.width:
            console.print(heat(heat_map(found, rows.name, columns.name)))
        else:
            console.print(f"- The heat map of {len(columns.values)} columns is wider than this terminal.", highlight=False)
    for note in found.notes:
        console.print(f"- {note}", markup=False, highlight=False)


def heat(found: HeatMap) -> Table:
    """Numbers in cells, redder below and greener above; signs say the same without colour."""
    ends = found.ends
    table = Table(title=f"{found.by}: {found.rows.name} down, {found.columns.name} across", title_justify="left", box=None)
    table.add_column("")
    for value in found.columns.values:
        table.add_column(value, justify="right")
    for value, row in zip(found.rows.values, found.values, strict=True):
        table.add_row(value, *(_cell(float(one), ends) for one in row))
    return table


def _cell(value: float, ends: tuple[float, float]) -> Text:
    if value != value:
        return Text("-", "dim")
    good = share(value, ends)
    red, green = round(170 * (1 - good)) + 20, round(140 * good) + 20
    return Text(f"{value:+.2f}", f"#ffffff on #{red:02x}{green:02x}30")
