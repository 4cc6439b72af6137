"""Bars and funding for backtests at the command line: list, download, import, check."""

import argparse
import asyncio
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table

from console.actions import DATA, help_text
from console.exits import Exit
from console.research import WHERE, add_settings, settings_of
from engine.backtest.bars import filled, sentences
from engine.backtest.cache import IMPORTED, Cache
from engine.backtest.files import Funding, read, read_as_it_is
from engine.backtest.spans import DAY_MS, date, end_of, length, length_of, start_of
from engine.backtest.tables import SUFFIXES
from engine.config import Settings, state_dir
from engine.errors import BarterError, ConfigError, DataError
from engine.places import addresses

VENUES = ("binance", "okx")
YEAR_MS = 365 * DAY_MS


def make_parser() -> argparse.ArgumentParser:
    """The words and flags of `data`."""
    parser = argparse.ArgumentParser(
        "barter-tui data",
        description="Bars and funding for backtests, kept in the state folder.",
        epilog=f"what it can do:\n{help_text(DATA)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("words", nargs="*", metavar="...", help=f"{' | '.join(DATA)}, and what it takes (see below)")
    add(
        "--symbol", default="", metavar="SYMBOL", help="with download and import: the market of the bars, such as ASTER/USDT:USDT"
    )
    add("--venue", default="", metavar="NAME", help="whose bars: binance or okx (download: the first of [engine] venues)")
    add("--timeframe", default="", metavar="TIME", help="how long the bars are: 1m, 15m, 4h, 1d (download: 1m)")
    add(
        "--from",
        dest="start",
        default="",
        metavar="DATE",
        help="with download: the first day, UTC (default: a year before the last)",
    )
    add("--to", dest="end", default="", metavar="DATE", help="with download: the last day, included (default: now)")
    add_settings(parser)
    return parser


def run(arguments: argparse.Namespace) -> int:
    """`barter-tui data [ACTION ...]`. Raises ConfigError, DataError, StateError and VenueError."""
    settings, own = settings_of(arguments)
    if own:
        raise ConfigError(WHERE, "--set", f"{next(iter(own))} is no setting", "--set section.key=value")
    action, *names = arguments.words or ["list"]
    if action not in DATA:
        raise ConfigError(WHERE, action, "data cannot do that", f"one of {', '.join(DATA)}")
    wanted = {"list": 0, "download": 0, "check": 1}.get(action)
    if (wanted is not None and len(names) != wanted) or (action == "import" and not names):
        raise ConfigError(WHERE, " ".join(arguments.words), "the number of names is wrong", _usage(action))
    for flag, given in (("--from", arguments.start), ("--to", arguments.end)):
        if given and action != "download":
            raise ConfigError(WHERE, flag, "only a download uses it", _usage("download"))
    if (action in ("download", "import")) != bool(arguments.symbol):
        raise ConfigError(WHERE, "--symbol", "a download and an import need it, and nothing else uses it", _usage("download"))
    cache = Cache.in_state(state_dir(settings))
    if action == "list":
        return _list(cache)
    if action == "check":
        return _check(cache, names[0], arguments)
    if action == "import":
        return _import(cache, names, arguments)
    return _download(cache, settings, arguments)


def _usage(action: str) -> str:
    return f"`data {action} {DATA[action][0]}`".replace(" `", "`")


def _list(cache: Cache) -> int:
    held = cache.held()
    if not held:
        print(f"No bars are kept in {cache.folder} yet: `barter-tui data download --symbol ASTER/USDT:USDT` fetches some.")
        return Exit.OK
    table = Table(box=None, pad_edge=False)
    for head in ("venue", "symbol", "bars"):
        table.add_column(head, no_wrap=True)
    for head in ("count", "funding"):
        table.add_column(head, justify="right", no_wrap=True)
    for head in ("from (UTC)", "to"):
        table.add_column(head, no_wrap=True)
    for one in held:
        for timeframe_ms, (bars, first, last) in one.timeframes.items():
            ends = (date(first), date(last)) if bars else ("-", "-")
            table.add_row(one.venue, one.symbol, length(timeframe_ms), f"{bars:,}", f"{one.fundings:,}", *ends)
    wide = max(Console().width, 120) if not sys.stdout.isatty() else None
    Console(width=wide, highlight=False).print(table)
    print(f"In {cache.folder}, {sum(one.size for one in held) / 1e6:,.1f} MB.")
    return Exit.OK


def _check(cache: Cache, name: str, chosen: argparse.Namespace) -> int:
    """A file, or what is kept of a symbol: each timeframe, or the one that was named."""
    asked_ms = _read("--timeframe", length_of, chosen.timeframe) if chosen.timeframe else None
    if Path(name).suffix.lower() in SUFFIXES or Path(name).exists():
        _say(name, sentences(read(Path(name), timeframe_ms=asked_ms)))
        return Exit.OK
    found = [one for one in cache.held() if one.symbol == name and chosen.venue in ("", one.venue)]
    if not found:
        cache.load(name, chosen.venue)  # says what there is not, and how to get it
    for one in found:
        for timeframe_ms in [asked_ms] if asked_ms else one.timeframes:
            series = cache.load(name, one.venue, timeframe_ms)
            _say(f"{one.venue} {name} {length(timeframe_ms)}", sentences(series))
    return Exit.OK


def _import(cache: Cache, names: list[str], chosen: argparse.Namespace) -> int:
    """Each file by itself: what came before a bad one stays."""
    asked_ms = _read("--timeframe", length_of, chosen.timeframe) if chosen.timeframe else None
    symbol, venue = chosen.symbol, chosen.venue or IMPORTED
    with cache.writing(venue, symbol) as writer:
        for name in names:
            series = read_as_it_is(Path(name), symbol, asked_ms)
            if isinstance(series, Funding):
                new = writer.add_funding(series.at_ms, series.rate, [series.span], series.where)
                _say(name, [f"{len(series.at_ms):,} settlements of funding, {new:,} of them new; kept as {venue} {symbol}."])
                continue
            told = sentences(filled(series))
            span = (int(series.open_ms[0]), int(series.open_ms[-1]) + series.timeframe_ms)
            new = writer.add(series, [span], newer=False)
            _say(name, told)
            print(f"  {new:,} of its bars are new; kept as {venue} {symbol} {length(series.timeframe_ms)}.")
    return Exit.OK


def _read(flag: str, reader: Callable[[str], int], text: str) -> int:
    """What a flag says. Raises ConfigError."""
    try:
        return reader(text)
    except DataError as problem:
        raise ConfigError(WHERE, flag, problem.problem, problem.expected) from None


def _say(head: str, lines: list[str]) -> None:
    print("\n".join([head, *(f"  {line}" for line in lines)]))


def _download(cache: Cache, settings: Settings, chosen: argparse.Namespace) -> int:
    from engine.backtest.download import Found, download

    symbol, venue = chosen.symbol, chosen.venue or settings.engine.venues[0]
    if venue not in VENUES:
        raise ConfigError(WHERE, "--venue", f"{venue!r} is no venue that bars are fetched from", " or ".join(VENUES))
    timeframe_ms = _read("--timeframe", length_of, chosen.timeframe or "1m")
    end_ms = _read("--to", end_of, chosen.end) if chosen.end else time.time_ns() // 1_000_000
    start_ms = _read("--from", start_of, chosen.start) if chosen.start else end_ms - YEAR_MS
    if start_ms >= end_ms:
        raise ConfigError(WHERE, "--from", f"{date(start_ms)} is not before {date(end_ms)}", "a date before --to")
    engine = msgspec.structs.replace(settings.engine, venues=(venue,))
    rest = addresses(msgspec.structs.replace(settings, engine=engine))[venue].rest
    found = Found()
    try:
        with _progress() as told:
            asyncio.run(download(cache, venue, symbol, (start_ms, end_ms), timeframe_ms, rest, told, found))
    except KeyboardInterrupt:
        print(f"barter-tui: interrupted; {found} were kept, and the same command goes on from there.", file=sys.stderr)
        return Exit.INTERRUPTED
    except BarterError:
        if found.bars or found.marks or found.fundings:
            print(f"barter-tui: {found} were kept, and the same command goes on from there.", file=sys.stderr)
        raise
    print(f"{found} are new.")
    _say(f"{venue} {symbol} {length(timeframe_ms)}", sentences(cache.load(symbol, venue, timeframe_ms)))
    return Exit.OK


@contextmanager
def _progress() -> Iterator["_Bars"]:
    columns = (TextColumn("{task.description:<11}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as shown:
        yield _Bars(shown)


class _Bars:
    """A bar for each kind of thing that is fetched."""

    def __init__(self, shown: Progress) -> None:
        self._shown = shown
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, done: int, total: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._shown.add_task(what, total=total)
        self._shown.update(self._tasks[what], completed=done, total=total)
