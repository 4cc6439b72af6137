"""`barter-tui backtest`: a strategy over bars; its figures as tables or JSON, and files of them."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from console.exits import Exit
from console.research import WHERE, add_run, add_settings, costs_of, settings_of
from engine.backtest import BacktestConfig, Backtester, Result
from engine.backtest.export import FORMS, document, export
from engine.backtest.metrics import FIGURES, shown
from engine.backtest.montecarlo import MOST_RUNS, Summary, position_profits, simulate
from engine.config import Settings
from engine.errors import ConfigError
from engine.queue.files import SUFFIX
from engine.strategy import BUILT_IN, chosen, find, parameters_of

SUMMARY = "run a strategy over bars: a file, what `data` has kept, or made-up ones"
PAGE, SESSION = "html", "session"
REPLAYED = 20_000  # the newest bars, of a run that is written as a session
CHECKED = 50_000  # the newest bars, of a strategy that is compiled
WIDE = 110  # columns from which each figure is explained


def make_parser() -> argparse.ArgumentParser:
    """The flags of `backtest`."""
    parser = argparse.ArgumentParser("barter-tui backtest", description=f"{SUMMARY[:1].upper()}{SUMMARY[1:]}.")
    add_run(parser)
    parser.add_argument(
        "--parameters", action="store_true", help="say what the strategies, or the one named, can be told, and end"
    )
    parser.add_argument("--check", action="store_true", help="look for look-ahead and for a warm-up that is too short, instead")
    parser.add_argument(
        "--monte-carlo", type=int, default=0, metavar="N", help="draw the trades anew N times, as luck might have"
    )
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout, the trades included")
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write it as well: FILE.html, .json, .barter (to replay), or a folder"
    )
    parser.add_argument("--as", dest="form", choices=FORMS, help="with --out a folder: of csv (the default) or parquet files")
    add_settings(parser)
    return parser


def _form(arguments: argparse.Namespace) -> str:
    if arguments.form and arguments.out is None:
        raise ConfigError(WHERE, "--as", "nothing is written", "--out FILE with it")
    if arguments.out is not None and arguments.out.exists():
        raise ConfigError(WHERE, "--out", f"{arguments.out} is there already", "a name that is not taken")
    if arguments.form:
        return str(arguments.form)
    return {".json": "json", ".html": PAGE, SUFFIX: SESSION}.get(arguments.out.suffix, "csv") if arguments.out is not None else ""


def run(arguments: argparse.Namespace) -> int:
    """Raises ConfigError and DataError."""
    settings, own = settings_of(arguments)
    if arguments.parameters:
        return _parameters((arguments.strategy,) if arguments.strategy else BUILT_IN)
    form = _form(arguments)
    config = config_of(arguments, settings, own)
    if arguments.check:
        return _check(config)
    result = asyncio.run(_run(config))
    if result is None:
        print("barter-tui: the backtest was interrupted; nothing of it was kept.", file=sys.stderr)
        return Exit.INTERRUPTED
    luck = _luck(result, arguments.monte_carlo)
    if arguments.out is not None:
        if form == SESSION:
            _write_session(result, arguments.out)
        elif form == PAGE:
            from engine.backtest import report

            report.write(result, arguments.out, [luck] if luck is not None else [])
        else:
            export(result, arguments.out, form)
        print(f"barter-tui: the result is in {arguments.out}.", file=sys.stderr)
    if arguments.json:
        sys.stdout.write(document(result).decode() + "\n")
    else:
        _print(result)
        if luck is not None:
            _print_luck(luck)
    return Exit.OK


def config_of(arguments: argparse.Namespace, settings: Settings, own: dict[str, str]) -> BacktestConfig:
    """What was typed, as a backtest. Raises ConfigError for costs that are out of range."""
    return BacktestConfig(
        initial_capital=arguments.capital,
        start_date=arguments.start,
        end_date=arguments.end,
        symbol=arguments.symbol,
        data=arguments.data,
        venue=arguments.venue,
        timeframe=arguments.timeframe,
        strategy=arguments.strategy,
        parameters=own,
        settings=settings,
        costs=costs_of(arguments),
        judge=arguments.judge,
        ask_every_min=arguments.ask_every,
        session=arguments.session,
        latency_ms=None if arguments.latency is None else arguments.latency * 1000,
        seed=arguments.seed,
    )


async def _run(config: BacktestConfig) -> Result | None:
    """With progress on stderr, where that is a terminal; Ctrl-C ends it."""
    from engine.backtest import compile

    tester = Backtester(config)
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, tester.progress.cancel)
    strategy, _ = chosen(config.chosen().strategy)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    stderr = Console(stderr=True)
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        what = "backtest"
        if not compile.compiles(strategy):
            what = f"{strategy.name} is plain Python: uncompiled"
            print(f"barter-tui: {strategy.name} is no kernel, so it runs uncompiled, many times slower.", file=sys.stderr)
        elif not compile.is_cached(strategy, config.chosen().strategy.sizing == "kelly"):
            what = "compiling the strategy, once"
        task = progress.add_task(what, total=1.0)

        heard = False

        def told(done: float) -> None:
            nonlocal heard
            if tester.stage and not heard:
                heard = True
                print(f"barter-tui: {tester.stage}; answers are kept, and Ctrl-C loses none.", file=sys.stderr)
            progress.update(task, completed=done, description=tester.stage or ("backtest" if done else what))

        return await tester.run(told)


def _write_session(result: Result, to: Path) -> None:
    """The newest bars of the run through the live core, for the replay screen. Raises ConfigError and SessionError."""
    from engine.backtest.live import write_session
    from engine.backtest.spans import cut

    if result.config.judge != "rules" or result.config.session:
        raise ConfigError(WHERE, "--out", "only a run over bars that the rules judge is written as a session", "--judge rules")
    bars = cut(result.series, max(0, len(result.series) - REPLAYED), len(result.series))
    stderr = Console(stderr=True)
    columns = (TextColumn("session"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=stderr, transient=True, disable=not stderr.is_terminal) as progress:
        task = progress.add_task("session", total=len(bars))

        def going_on(bar: int) -> bool:
            progress.update(task, completed=bar)
            return True

        write_session(bars, result.settings, result.config.costs, result.initial, to, going_on)
    print(f"barter-tui: the newest {len(bars):,} bars can be played: barter-tui --replay {to}", file=sys.stderr)


def _luck(result: Result, runs: int) -> Summary | None:
    """None where none is wanted, or there is no trade to draw from. Raises ConfigError."""
    if not 0 <= runs <= MOST_RUNS:
        raise ConfigError(WHERE, "--monte-carlo", f"{runs} is out of range", f"a number up to {MOST_RUNS:,}")
    if not runs or not len(result.trades):
        return None
    return simulate(position_profits(result.trades), result.initial, runs=runs, seed=result.config.seed).summary()


def _print_luck(luck: Summary) -> None:
    table = Table(title=f"{luck.runs:,} other ways for the trades to have come", title_justify="left", box=None)
    for heading in ("share of the ways below", "equity at the end", "deepest drawdown"):
        table.add_column(heading, justify="right")
    for one in luck.quantiles:
        table.add_row(f"{one.level:.0%}", f"{one.final:,.2f}", f"{one.drawdown:.2%}")
    console = Console()
    console.print(table)
    chances = f"{luck.chance_of_loss:.0%} of them end with a loss, {luck.chance_of_ruin:.1%} lose half at some time"
    deeper = f"{luck.chance_of_drawdown:.0%} have a drawdown at least as deep as this one"
    console.print(f"- {chances}, {deeper}.", markup=False, highlight=False)


def _check(config: BacktestConfig) -> int:
    """What was looked at on stdout, and exit code 1 where something is wrong."""
    from engine.backtest import checks, compile

    strategy, _ = chosen(config.chosen().strategy)
    bars = CHECKED if compile.compiles(strategy) else CHECKED // 10
    stderr = Console(stderr=True)
    with stderr.status("check"):
        found = checks.check(checks.checked(config, bars))
    assert found is not None
    for sentence in (*found.told, *found.problems):
        print(sentence)
    return Exit.FAULT if found.problems else Exit.OK


def _print(result: Result) -> None:
    console = Console()
    wide = console.width >= WIDE
    head = Table.grid(padding=(0, 2))
    for name, text in result.labels.items():
        head.add_row(name, text)
    console.print(head)
    for section in dict.fromkeys(figure.section for figure in FIGURES):
        table = Table(title=section, title_justify="left", title_style="bold", box=None, show_header=False, padding=(0, 2))
        for figure in FIGURES:
            if figure.section == section:
                value = shown(figure, getattr(result.statistics, figure.name))
                table.add_row(figure.title, value, *([f"[dim]{figure.description}[/dim]"] if wide else []))
        console.print(table)
    for note in (*result.notes, *result.statistics.remarks):
        console.print(f"- {note}", markup=False, highlight=False)


def _parameters(names: tuple[str, ...]) -> int:
    console = Console()
    for name in names:
        strategy = find(name)
        table = Table(title=f"{strategy.name}: {strategy.about}", title_justify="left", box=None)
        for heading in ("parameter", "default", "may be", "what it is"):
            table.add_column(heading)
        for one in parameters_of(strategy):
            table.add_row(one.name, f"{one.default:g}", one.expected, one.description)
        console.print(table)
    return Exit.OK
