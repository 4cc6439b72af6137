"""The `barter-tui` command: arguments in, the right program started, an exit code out."""

import argparse
import asyncio
import importlib
import logging
import os
import re
import secrets
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from console.actions import ACTIONS, help_text
from console.exits import Exit
from console.guard import guarded
from engine import __version__
from engine.clock import Clock
from engine.config import Settings, Sourced, read, state_dir
from engine.errors import BarterError, ConfigError, DataError, EngineStartError, LimitError, SessionError, StateError
from engine.events import Mode
from engine.strategy import chosen
from engine.views import arm_phrase, arms

if TYPE_CHECKING:
    from console.launch import Real
    from console.venue_process import Order

COMMANDS = {
    "kill": "halt every engine of the mode and cancel what could add exposure; --flatten: close its positions too",
    "drill": "try the kill switch for real, in demo, paper or testnet, and time it until the venue confirms it; --tries N",
    "release": "clear a latched halt of the mode, so that it can be armed again",
    "attach": "a screen on a running engine; it only watches without --control",
    "serve": "the engine that runs, in a browser on this machine, to watch: see serve --help",
    "sessions": "what was recorded",
    "model": "fetch a language model into Ollama: model pull [NAME]",
    "doctor": "what this machine has and lacks, and the commands that mend it",
    "backtest": "run a strategy over bars: see backtest --help",
    "data": "bars and funding for backtests: see data --help",
    "sweep": "a strategy with every combination of some values: see sweep --help",
}
# Commands with a parser of their own, `make_parser`, and a `run`.
OWN_FLAGS = {
    "backtest": "console.backtest",
    "data": "console.data",
    "serve": "console.serve",
    "sweep": "console.sweep",
}
MANY_WORDS = ("sessions", "model")
SESSIONS = f"sessions [{' | '.join(ACTIONS)}]"
# Flags of sessions: where the parser puts each, and what uses it.
OF_SESSIONS = {
    "--head": ("head", "a verification"),
    "--to": ("to", "an export or a bundle"),
    "--as": ("form", "an export"),
    "--last": ("last", "a bundle"),
    "--at": ("at", "a bundle"),
    "--yes": ("yes", "a prune"),
}
_TIME = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
FASTEST = 1000.0
MOST_TRIES = 10_000
ARM_PHRASE = "BARTER_ARM_PHRASE"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; errors are sentences on stderr."""
    argv = sys.argv[1:] if argv is None else list(argv)
    os.umask(0o077)  # whatever is written from here on, by children too, is its owner's alone
    if argv and argv[0] in OWN_FLAGS:
        module = importlib.import_module(OWN_FLAGS[argv[0]])
        given = module.make_parser().parse_args(argv[1:])
        _log_to_stderr(given.verbose)
        return _told(lambda: module.run(given))
    parser = make_parser()
    arguments = parser.parse_args(argv)
    if arguments.command in OWN_FLAGS:
        parser.error(f"{arguments.command} comes first: barter-tui {arguments.command} --help")
    _log_to_stderr(arguments.verbose)

    def work() -> int:
        sources = read(file=arguments.config, environ=os.environ, flags=_flags(arguments))
        settings = sources.settings
        if arguments.words and arguments.command not in MANY_WORDS:
            raise ConfigError("command line", arguments.words[0], f"{arguments.command} takes nothing more", "it alone")
        if arguments.what_if and not arguments.replay:
            raise ConfigError("command line", "--what-if", "it asks of a recorded session", "--replay SESSION --no-ui with it")
        for flag, (name, user) in OF_SESSIONS.items():
            if getattr(arguments, name) and arguments.command != "sessions":
                raise ConfigError("command line", flag, f"only {user} uses it", SESSIONS)
        if (arguments.control or arguments.fluvio is not None) and arguments.command != "attach":
            flag = "--control" if arguments.control else "--fluvio"
            raise ConfigError("command line", flag, "only a screen on a running engine uses it", f"attach {flag}")
        if arguments.flatten and arguments.command != "kill":
            raise ConfigError("command line", "--flatten", "only a kill uses it", "kill --flatten")
        match arguments.command:
            case "kill":
                from console import killing

                return killing.run(settings, arguments.flatten)
            case "drill":
                from console import drill

                drill.check(settings)
                return asyncio.run(drill.run(settings, _order(arguments, settings), arguments.tries))
            case "release":
                from console import killing

                return killing.release(settings)
            case "doctor":
                from console import doctor

                return doctor.run(settings)
            case "model":
                return _model(settings, arguments.words)
            case "sessions":
                from console import sessions

                more = (arguments.yes, arguments.to, arguments.form or "", arguments.last, arguments.at)
                try:
                    return sessions.run(settings, arguments.words, arguments.head, *more)
                except KeyboardInterrupt:
                    print("barter-tui: interrupted; what was not finished was not done.", file=sys.stderr)
                    return Exit.INTERRUPTED
        return _replay(arguments, sources) if arguments.replay else _run(arguments, sources)

    return _told(work)


def _told(work: Callable[[], int]) -> int:
    """The exit code of `work`; what stops it is told as a sentence."""
    try:
        return work()
    except ConfigError as problem:
        return _sentence(problem, Exit.USAGE)
    except LimitError as problem:
        return _sentence(problem, Exit.FAULT)
    except StateError as problem:
        return _sentence(problem, Exit.STATE)
    except DataError as problem:
        return _sentence(problem, Exit.USAGE)
    except SessionError as problem:
        return _sentence(problem, Exit.DAMAGED)
    except EngineStartError as problem:
        return _sentence(problem, problem.exit)
    except BarterError as problem:
        return _sentence(problem, Exit.VENUE)


def make_parser() -> argparse.ArgumentParser:
    """Every flag and command, once."""
    parser = argparse.ArgumentParser(
        "barter-tui",
        description="A terminal console for crypto perpetual contracts.",
        epilog=f"sessions:\n{help_text()}\n\nexit codes:\n" + "\n".join(f"  {code.value:>3}  {code.meaning}" for code in Exit),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add(
        "command",
        nargs="?",
        choices=list(COMMANDS),
        help="; ".join(f"{name}: {what}" for name, what in COMMANDS.items()),
    )
    add("words", nargs="*", metavar="...", help=f"what a command takes: {SESSIONS}; model pull [NAME]")
    add("--version", action="version", version=f"barter-tui {__version__}")
    add("--mode", choices=[mode.value for mode in Mode], help="what the prices and the orders are (default: demo)")
    add(
        "--capture",
        type=Path,
        metavar="FILE",
        help="play a recording, a file or one that was imported, through the simulated venue instead of its own order flow",
    )
    add("--loop", action="store_true", help="start a capture over when it ends")
    add("--replay", metavar="SESSION", help="play a recorded session; with --no-ui, compare every output; `latest`")
    add(
        "--what-if",
        action="append",
        default=[],
        metavar="SECTION.KEY=VALUE",
        help="with --replay and --no-ui: what would have come of it with another setting, beside the original; repeat for more",
    )
    add("--head", default="", metavar="HASH", help="with sessions verify: the hash that the session must have")
    add("--to", type=Path, metavar="FILE", help="with sessions export and bundle: the file, or folder, to write")
    add("--as", dest="form", choices=("jsonl", "csv", "parquet"), help="with sessions export: what to write (default: jsonl)")
    add("--last", type=_seconds, metavar="TIME", help="with sessions bundle: how much of the market's data (default: 10m)")
    moments = "12:03:04 (UTC), +90 from the start, --at=-1:30 before the end, 50%%"
    add("--at", default="", metavar="TIME", help=f"with sessions bundle: when the screen is drawn: {moments} (default: the end)")
    add("--yes", action="store_true", help="with sessions prune: do not ask")
    add("--speed", type=_speed, default=1.0, metavar="N", help="run demo, or play a session, N times as fast as real time")
    add("--no-ui", action="store_true", help="no screen: one line a second on stdout")
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="with --no-ui: one JSON object a line, the summary last")
    shape.add_argument("--plain", action="store_true", help="with --no-ui: whole sentences, one fact a line, for screen readers")
    add("--for", dest="seconds", type=_seconds, metavar="TIME", help="with --no-ui: stop after that engine time: 60s, 5m, 1h")
    add("--embedded", action="store_true", help="run the engine within the screen's process; it ends with it")
    add(
        "--fluvio",
        nargs="?",
        const="",
        metavar="HOST:PORT",
        help="with attach: an engine on another machine, over the Fluvio cluster there, or over that of the settings",
    )
    add("--flatten", action="store_true", help="with kill: close every position, reduce-only, and read the venue back until flat")
    add("--tries", type=_tries, default=5, metavar="N", help="with drill: how often (default: 5)")
    add("--control", action="store_true", help="with attach: the screen may steer")
    add("--arm", action="store_true", help=f"start with trading armed (demo is armed anyway; live also takes {ARM_PHRASE})")
    add("--symbol", action="append", metavar="SYMBOL", help="market to trade, e.g. BTC/USDT:USDT; repeat to collect more")
    add("--seed", type=int, metavar="N", help="seed of the simulated order flow")
    add("--config", type=Path, metavar="FILE", help="settings file")
    add("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change one setting for this run")
    add("--verbose", action="store_true", help="log more: to stderr, with a screen to the logs in the state folder")
    return parser


def _seconds(text: str) -> float:
    found = _TIME.fullmatch(text.strip())
    if found is None or float(found[1]) <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time; write 60s, 5m or 1h")
    return float(found[1]) * _UNITS[found[2]]


def _tries(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= MOST_TRIES:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {MOST_TRIES}")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = 0.0
    if not 0.01 <= speed <= FASTEST:
        raise argparse.ArgumentTypeError(f"{text!r} is not a speed from 0.01 to {FASTEST:g}")
    return speed


def _flags(arguments: argparse.Namespace) -> dict[str, str]:
    """Flags that are settings, by dotted name."""
    flags: dict[str, str] = {}
    for pair in arguments.set:
        key, equals, value = pair.partition("=")
        if not equals:
            raise ConfigError("command line", pair, "it is not a setting", "--set section.key=value")
        flags[key.strip()] = value.strip()
    if arguments.mode:
        flags["engine.mode"] = arguments.mode
    if arguments.symbol:
        flags["engine.symbols"] = msgspec.json.encode(arguments.symbol).decode()
    if arguments.seed is not None:
        flags["venue.seed"] = str(arguments.seed)
    if arguments.fluvio:
        flags |= {"queue.endpoint": arguments.fluvio, "queue.profile": ""}
    if arguments.arm:
        flags["engine.arm_at_start"] = "yes"
    return flags


def _model(settings: Settings, words: Sequence[str]) -> int:
    from console import pull

    if not words or words[0] != "pull" or len(words) > 2:
        raise ConfigError("command line", " ".join(words), "that is nothing to do with a model", pull.USAGE)
    return pull.run(settings, words[1] if len(words) > 1 else "")


def _replay(arguments: argparse.Namespace, sources: Sourced) -> int:
    from console import sessions

    settings = sources.settings
    if arguments.command or arguments.capture is not None:
        raise ConfigError("command line", "--replay", "it goes with no command and no capture", "it alone")
    if not arguments.no_ui:
        if arguments.what_if:
            raise ConfigError("command line", "--what-if", "on the screen it is a key", "--no-ui with it, or W on the screen")
        _check_screen(arguments)
        return guarded(lambda: _told(lambda: asyncio.run(_replay_screen(arguments, sources))))
    if arguments.seconds is not None:
        raise ConfigError("command line", "--for", "a replay goes to the session's end", "--replay without it")
    try:
        if arguments.what_if:
            from console import whatif

            return whatif.at_the_command_line(settings, arguments.replay, arguments.what_if, arguments.json)
        return sessions.replay(settings, arguments.replay, tuple(arguments.symbol or ()), arguments.json)
    except KeyboardInterrupt:
        print("barter-tui: the replay was interrupted; it had found no difference so far.", file=sys.stderr)
        return Exit.INTERRUPTED


async def _replay_screen(arguments: argparse.Namespace, sources: Sourced) -> int:
    from console.replay import show

    return await show(sources, arguments.replay, arguments.speed, verbose=arguments.verbose)


def _run(arguments: argparse.Namespace, sources: Sourced) -> int:
    settings = sources.settings
    mode = settings.engine.mode
    chosen(settings.strategy)  # a strategy that is not there is told before anything starts
    if mode is not Mode.DEMO and arguments.capture is not None:
        raise ConfigError("command line", "--capture", f"it is played in demo, and this is {mode.value}", "--mode demo with it")
    if mode is not Mode.DEMO and arguments.speed != 1.0:
        raise ConfigError("command line", "--speed", f"{mode.value} runs as fast as the world does", "--speed with demo only")
    if not arguments.no_ui:
        _check_screen(arguments)
    if arguments.loop and arguments.capture is None:
        raise ConfigError("command line", "--loop", "there is nothing to start over", "--capture FILE with it")
    if arguments.capture is not None:
        from console import captures

        arguments.capture = captures.find(state_dir(settings), arguments.capture)
    if arguments.no_ui:
        return asyncio.run(_headless(arguments, settings))
    return guarded(lambda: _told(lambda: asyncio.run(_screen(arguments, sources))))


def _check_screen(arguments: argparse.Namespace) -> None:
    if arguments.seconds is not None or arguments.json or arguments.plain:
        flag = "--for" if arguments.seconds is not None else "--json" if arguments.json else "--plain"
        raise ConfigError("command line", flag, "the screen does not know it", "--no-ui with it")
    if not (sys.stdin.isatty() and sys.stdout.isatty() and sys.stderr.isatty()):  # textual draws on stderr
        problem = "the screen needs a terminal on stdin, stdout and stderr"
        raise ConfigError("command line", "", problem, "--no-ui for lines or JSON without one")


async def _screen(arguments: argparse.Namespace, sources: Sourced) -> int:
    """The console, on an engine that starts behind its first frame, or on one that runs already."""
    from console import logs, theme
    from console.app import Console, Parting
    from console.launch import Attached, Embedded, Launch, Siblings
    from console.messenger import addresses
    from console.screens.tour import first_time
    from engine.venue.faults import OFFERED

    settings = sources.settings

    def fit(symbols: tuple[str, ...]) -> Settings:
        return _for_capture(arguments, settings, symbols)

    urls = addresses(os.environ)
    attached, far = arguments.command == "attach", arguments.fluvio is not None
    launch: Launch
    if far:
        from console.far import Far

        launch = Far(settings, control=arguments.control)
    elif attached:
        launch = Attached(settings, control=arguments.control)
    elif arguments.embedded:
        launch = Embedded(_order(arguments, settings), settings, fit)
    else:
        launch = Siblings(_order(arguments, settings), settings, fit, verbose=arguments.verbose)
    link = launch.link(settings.console.frames_per_s)
    log_file = logs.to_file(state_dir(settings), arguments.verbose)
    # A lost link is opened again, which starts what died; an engine of somebody else's is not ours to start.
    console = Console(
        link,
        restart=None if attached and not far else lambda: None,
        log_file=log_file,
        faults={} if attached else OFFERED,
        inject=launch.inject,
        control=arguments.control or not attached,
        may_stop=not far,
        own_themes=theme.own_folder(),
        settings=settings,
        sources=sources,
        alerts=state_dir(settings),
        alert_urls=urls,
        tour=not attached and first_time(state_dir(settings).parent),
    )
    minding = asyncio.create_task(launch.mind(lambda sentence: console.say(sentence, "warning")))
    try:
        parted = await console.run_async()
    finally:
        minding.cancel()
        await asyncio.gather(minding, return_exceptions=True)
        await link.close()
        if link.left is not None and (arguments.embedded or not (link.left.keep_running or far)):
            print("barter-tui: the engine settles and ends.", file=sys.stderr)
        code = await launch.end(link.left)
    return Exit.TERMINATED if parted is Parting.SIGNAL else code


async def _headless(arguments: argparse.Namespace, settings: Settings) -> int:
    """Venue, where it is ours, and engine for one run without a screen; `barter-tui attach` finds it by the folder's socket."""
    from console.headless import Headless
    from console.launch import Real
    from console.venue_process import VenueProcess
    from engine.door import Door
    from engine.places import ours
    from engine.runtime import Engine, latch
    from engine.serve import Service, listening

    folder = state_dir(settings)
    latch.prepare(folder)
    order = _order(arguments, settings)

    async def run(door: Door, engine: Engine, venue: VenueProcess | None) -> int:
        service = Service(engine, minds_loss=False)
        async with listening(door, service.consoles):
            return await Headless(service, venue, arguments.seconds, arguments.json, sys.stdout, arguments.plain).run()

    with Door(folder) as door:  # before anything is started: one engine a folder
        if isinstance(order, Real):
            engine = Engine(settings, order.clock, order.endpoints, order.credentials, phrase=order.phrase)
            return await run(door, engine, None)
        async with VenueProcess(order) as venue:
            settings = _for_capture(arguments, settings, venue.said.symbols)
            places = ours(settings, venue.said.rest, venue.said.ws)
            return await run(door, Engine(settings, order.clock, places, venue.credentials), venue)


def _order(arguments: argparse.Namespace, settings: Settings) -> "Order | Real":
    """A venue of ours to be started, or where the real one is and the keys for it, which leave the environment here."""
    from console.launch import Real
    from engine import keychain, places

    mode = settings.engine.mode
    phrase = os.environ.pop(ARM_PHRASE, "")
    if mode in (Mode.DEMO, Mode.PAPER):
        keychain.forget(os.environ)
        return _venue_order(arguments, settings)
    traded = settings.engine.venues[0]
    if mode is Mode.LIVE and settings.engine.arm_at_start == "yes" and not arms(phrase, traded):
        problem = "live is armed by a phrase, and this is not it" if phrase else "live is armed by a phrase"
        keychain.forget(os.environ)
        wanted = f'"{arm_phrase(traded)}", or no --arm'
        raise ConfigError("environment variable", ARM_PHRASE, f"{problem}; nothing was started", wanted)
    keys = keychain.find_keys(traded, mode, os.environ, state_dir(settings))
    return Real(Clock.start(), places.endpoints(settings), keys, phrase)


def _venue_order(arguments: argparse.Namespace, settings: Settings) -> "Order":
    from console.venue_process import Feed, Order
    from engine.places import addresses

    feed, paper = None, settings.engine.mode is Mode.PAPER
    if paper:
        traded = settings.engine.venues[0]
        place = addresses(settings)[traded]
        feed = Feed(traded, place.rest, place.ws, settings.engine.symbols)
    return Order(
        Clock.start(arguments.speed),
        secrets.token_hex(16),
        secrets.token_hex(16),
        settings.venue.seed,
        str(settings.venue.balance),
        str(arguments.capture.resolve()) if arguments.capture is not None else None,
        arguments.loop,
        passphrase=secrets.token_hex(8),
        latency_ms=settings.venue.paper_latency_ms if paper else 0.0,
        feed=feed,
    )


def _for_capture(arguments: argparse.Namespace, settings: Settings, symbols: tuple[str, ...]) -> Settings:
    """A capture brings its own markets, of Binance alone; those that were asked for must be among them."""
    if arguments.capture is None:
        return settings
    chosen = settings.engine.symbols if arguments.symbol else symbols
    if arguments.symbol:
        missing = [symbol for symbol in settings.engine.symbols if symbol not in symbols]
        if missing:
            problem = f"the capture does not hold {missing[0]}"
            raise ConfigError("command line", "--symbol", problem, f"one of {', '.join(symbols)}")
    engine = msgspec.structs.replace(settings.engine, symbols=chosen, venues=("binance",))
    return msgspec.structs.replace(settings, engine=engine)


def _log_to_stderr(verbose: bool) -> None:
    """The engine's own words; tracebacks of crashes go here only when asked for, the sentence always goes to the alerts."""
    level = logging.DEBUG if verbose else logging.CRITICAL
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="barter-tui: %(name)s: %(message)s")
    logging.getLogger().setLevel(logging.WARNING if verbose else logging.CRITICAL)
    logging.getLogger("barter").setLevel(level)


def _sentence(problem: BarterError, code: int) -> int:
    print(f"barter-tui: {problem}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
