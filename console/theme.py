"""Theme files in (`themes/*.toml`), Textual themes with the market's colours as CSS variables out.

A file that cannot be used is a `ConfigError` that names file and key; the theme that is worn stays.
"""

import tomllib
from pathlib import Path

from textual.color import Color, ColorParseError
from textual.theme import Theme

from engine.errors import ConfigError

BASE = ("primary", "secondary", "warning", "error", "success", "accent", "foreground", "background", "surface", "panel")
MARKET = (
    *("bid", "ask", "up", "down", "entry", "exit", "stop", "liq", "muted", "stale", "halt"),
    *("demo", "paper", "testnet", "live"),
)
DEFAULT = "dark"
_ORDER = ("dark", "light", "colour-blind-safe", "high-contrast")  # then the user's own, by name


def folder() -> Path:
    """`themes/` of the checkout, else of the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "themes"
    return checkout if checkout.is_dir() else package / "themes"


def load(path: Path) -> Theme:
    """One file; raises `ConfigError`."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(path.name, "", f"cannot be read ({getattr(error, 'strerror', None) or error})") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(path.name, "", f"is no TOML ({error})") from error
    name, dark, market = table.get("name"), table.get("dark"), table.get("market")
    if not isinstance(name, str) or not name:
        raise ConfigError(path.name, "name", "is missing or no text", "the theme's name")
    if not isinstance(dark, bool):
        raise ConfigError(path.name, "dark", "is missing or neither true nor false", "true or false")
    if not isinstance(market, dict):
        raise ConfigError(path.name, "market", "is missing", "a table [market]")
    made = Theme(name, _colour(path, "primary", table.get("primary")), dark=dark)
    for key in BASE:
        setattr(made, key, _colour(path, key, table.get(key)))
    made.variables = {key: _colour(path, f"market.{key}", market.get(key)) for key in MARKET}
    return made


def load_all(where: Path | None = None) -> tuple[list[Theme], list[ConfigError]]:
    """Every file that can be used, the built-in ones first, and what is wrong with the others."""
    themes: list[Theme] = []
    wrong: list[ConfigError] = []
    for path in sorted((where or folder()).glob("*.toml")):
        try:
            themes.append(load(path))
        except ConfigError as error:
            wrong.append(error)
    rank = {name: place for place, name in enumerate(_ORDER)}
    return sorted(themes, key=lambda theme: (rank.get(theme.name, len(rank)), theme.name)), wrong


def market_defaults(theme: Theme) -> dict[str, str]:
    """Every market colour from a theme's own base colours: for themes that know nothing of markets."""
    text = theme.foreground or ("#d7dee6" if theme.dark else "#1c232b")
    good, bad, warn = theme.success or theme.primary, theme.error or theme.primary, theme.warning or theme.primary
    accent, grey = theme.accent or theme.primary, "#8d96a0" if theme.dark else "#5d6771"
    return {
        **{"bid": good, "ask": bad, "up": good, "down": bad, "entry": theme.primary, "exit": accent, "stop": warn},
        **{"liq": bad, "muted": grey, "stale": grey, "halt": bad},
        **{"demo": theme.primary, "paper": theme.secondary or text, "testnet": warn, "live": bad},
    }


def _colour(path: Path, key: str, value: object) -> str:
    expected = "a colour such as #3fce8f"
    if not isinstance(value, str):
        raise ConfigError(path.name, key, "is missing" if value is None else f"{value!r} is no text", expected)
    try:
        Color.parse(value)
    except ColorParseError as error:
        raise ConfigError(path.name, key, f"{value!r} is no colour", expected) from error
    return value
