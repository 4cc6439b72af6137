"""What `backtest`, `sweep` and `data` have in common: flags in, settings and a `BacktestConfig` out."""

import argparse
import os
from collections.abc import Mapping
from pathlib import Path

import msgspec

from engine.backtest.run import Costs
from engine.config import Settings, load
from engine.errors import ConfigError

WHERE = "command line"


def add_settings(parser: argparse.ArgumentParser) -> None:
    """The flags of every command that reads settings."""
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a parameter of the strategy (bars=40), or with its section a setting (strategy.stop_atr=2); repeat for more",
    )
    parser.add_argument("--verbose", action="store_true", help="log more, to stderr")


def add_run(parser: argparse.ArgumentParser) -> None:
    """The flags that say what a backtest runs over, and with what."""
    add = parser.add_argument
    add("--data", default="", metavar="FILE", help="bars: a file, `synthetic` (made up), or left out: what `data` has kept")
    add("--session", default="", metavar="SESSION", help="in place of bars: a recorded session's books and trades; `latest`")
    add("--symbol", default="ASTER/USDT:USDT", metavar="SYMBOL", help="market of the bars (default: ASTER/USDT:USDT)")
    add("--venue", default="binance", metavar="NAME", help="venue of what was kept (default: binance)")
    add("--timeframe", default="", metavar="TIME", help="bars that decide: 1m, 15m, 1h (default: the data's own)")
    add("--from", dest="start", default="", metavar="DATE", help="first day, UTC: 2024-01-01")
    add("--to", dest="end", default="", metavar="DATE", help="last day, included")
    add("--strategy", default="", metavar="NAME", help="stance, reversion, breakout, or your own as module:name")
    add("--judge", default="rules", metavar="WHO", help="rules (the default), nobody, model, or a recorded session")
    add("--ask-every", type=int, default=30, metavar="MINUTES", help="with --judge model (default: 30)")
    add("--latency", type=float, metavar="SECONDS", help="of judgments after their bars, and with --session of orders")
    add("--capital", type=float, default=10_000.0, metavar="USDT", help="at the start (default: 10000)")
    add("--seed", type=int, default=1, metavar="N", help="of made-up bars (default: 1)")
    for field in msgspec.structs.fields(Costs):
        declared = msgspec.inspect.type_info(field.type)
        said = str((declared.extra_json_schema or {})["description"]) if isinstance(declared, msgspec.inspect.Metadata) else ""
        default = "" if field.default is None else f" (default: {field.default:g})"
        add(flag(field.name), type=float, default=field.default, metavar="N", help=f"{said[:1].lower()}{said[1:]}{default}")


def flag(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def settings_of(arguments: argparse.Namespace, environ: Mapping[str, str] = os.environ) -> tuple[Settings, dict[str, str]]:
    """The settings, and what was set without a section: parameters of the strategy. Raises ConfigError."""
    flags: dict[str, str] = {}
    own: dict[str, str] = {}
    for pair in arguments.set:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not key:
            raise ConfigError(WHERE, pair, "it is no assignment", "--set bars=40, or --set section.key=value")
        (flags if "." in key else own)[key] = value
    return load(file=arguments.config, environ=environ, flags=flags), own


def costs_of(arguments: argparse.Namespace) -> Costs:
    """Raises ConfigError."""
    given = {field.name: getattr(arguments, field.name) for field in msgspec.structs.fields(Costs)}
    try:
        return msgspec.convert(given, Costs)
    except msgspec.ValidationError as problem:
        name = str(problem).rpartition("$.")[2].rstrip("`")
        raise ConfigError(
            WHERE, f"--{name.replace('_', '-')}", f"{given.get(name)} is out of range", "a number of at least 0"
        ) from None


def render_table(parser: argparse.ArgumentParser) -> str:
    """A command's flags as a Markdown table."""
    lines = ["| flag | what it says |", "|---|---|"]
    for action in parser._actions:
        if action.option_strings and action.dest != "help":
            name = f"{action.option_strings[0]} {action.metavar}" if action.metavar else action.option_strings[0]
            lines.append(f"| `{name}` | {(action.help or '').replace('%%', '%').replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"
