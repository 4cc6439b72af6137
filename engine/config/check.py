"""Settings that are each valid in; nothing, or a `ConfigError` about values that do not go together, out."""

import re
from collections.abc import Callable
from urllib.parse import urlsplit

from engine.config.declare import VENUES, Settings
from engine.errors import ConfigError, MismatchError
from engine.events import Mode

Blame = Callable[..., tuple[str, str]]
"""Of several dotted keys, where the newest was set and which it is."""

_SYMBOL = re.compile(r"([^\W_]+)/USDT:USDT")  # unified name of a linear USDT perpetual; Binance lists bases in any script


def check(settings: Settings, blame: Blame) -> None:
    """What no single key can know: values that do not go together or cannot mean anything."""
    risk = settings.risk
    if risk.max_order_notional > risk.max_position_notional:
        raise MismatchError(
            *blame("risk.max_order_notional", "risk.max_position_notional"),
            f"one order of {risk.max_order_notional:g} USDT (risk.max_order_notional) would exceed the largest position,"
            f" {risk.max_position_notional:g} USDT (risk.max_position_notional)",
            "the order's limit at or below the position's",
        )
    _check_symbols(settings.engine.symbols, blame)
    _check_venues(settings.engine.venues, blame)
    _check_address("venue.binance_rest", settings.venue.binance_rest, ("http", "https"), blame)
    _check_address("venue.binance_ws", settings.venue.binance_ws, ("ws", "wss"), blame)
    _check_address("venue.okx_rest", settings.venue.okx_rest, ("http", "https"), blame)
    _check_address("judgment.host", settings.judgment.host, ("http", "https"), blame)
    if settings.judgment.allow_unqualified and settings.engine.mode is not Mode.DEMO:
        where, key = blame("judgment.allow_unqualified", "engine.mode")
        problem = f"a model that failed its test is not traded in {settings.engine.mode.value}"
        raise MismatchError(where, key, problem, "it in demo only")
    _check_address("venue.okx_ws", settings.venue.okx_ws, ("ws", "wss"), blame)
    _check_tls(settings, blame)


def shown(value: object) -> str:
    """A value for a message: on one line, nearly as TOML spells it, and never longer than a glance."""
    if isinstance(value, dict | list | tuple):
        return "{...}" if isinstance(value, dict) else "[...]"
    text = str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else f"{value}"
    text = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text[:80])
    return text if len(text) < 60 else text[:56] + "..."


def _check_symbols(symbols: tuple[str, ...], blame: Blame) -> None:
    for index, symbol in enumerate(symbols):
        found = _SYMBOL.fullmatch(symbol)
        if found is None or found[1] != found[1].upper():
            base = re.split("[/:_-]", symbol)[0].upper().removesuffix("USDT")
            example = shown(f"{base if base.isalnum() else 'ASTER'}/USDT:USDT")
            problem = f"{shown(symbol)} is not the unified name of a USDT perpetual contract"
            raise ConfigError(*blame("engine.symbols"), problem, f"BASE/USDT:USDT in capitals, for example {example}")
        if symbol in symbols[:index]:
            raise ConfigError(*blame("engine.symbols"), f"{shown(symbol)} is listed twice", "each market once")


def _check_venues(venues: tuple[str, ...], blame: Blame) -> None:
    for index, venue in enumerate(venues):
        if venue not in VENUES:
            raise ConfigError(*blame("engine.venues"), f"{shown(venue)} is not a venue", f"one of {', '.join(VENUES)}")
        if venue in venues[:index]:
            raise ConfigError(*blame("engine.venues"), f"{shown(venue)} is listed twice", "each venue once")


def _check_tls(settings: Settings, blame: Blame) -> None:
    keys = ("queue.tls_ca", "queue.tls_cert", "queue.tls_key")
    given = [path for path in (settings.queue.tls_ca, settings.queue.tls_cert, settings.queue.tls_key) if path]
    if len(given) not in (0, len(keys)):
        raise MismatchError(*blame(*keys), "TLS with a cluster takes three files, and not all are named", " and ".join(keys))
    if settings.queue.profile and given:
        raise MismatchError(*blame("queue.profile", *keys), "a profile has files of its own", "queue.profile, or the TLS files")


def _check_address(key: str, address: str, schemes: tuple[str, str], blame: Blame) -> None:
    """An address is journalled and shown, so it may not carry a password; the message does not repeat one that does."""
    if not address:
        return
    where, _ = blame(key)
    wanted = f"nothing, or {schemes[1]}://host or {schemes[0]}://host"
    if set("@?#") & set(address):
        raise ConfigError(where, key, "an address may not hold a user, a password or a query", wanted)
    try:
        parts = urlsplit(address)
        sound = parts.scheme in schemes and bool(parts.hostname) and parts.port != 0 and " " not in address
    except ValueError:
        sound = False
    if not sound:
        raise ConfigError(where, key, f"{shown(address)} is not an address", wanted)
