"""Theme files in (`themes/*.toml`, ours and the user's), Textual themes with the market's colours as CSS variables out.

A file that cannot be used is a `ConfigError` that names file and key; the theme that is worn stays.
"""

import tomllib
from itertools import islice
from pathlib import Path

from textual.color import Color, ColorParseError
from textual.theme import Theme

from engine.config import config_folder
from engine.errors import ConfigError

BASE = ("primary", "secondary", "warning", "error", "success", "accent", "foreground", "background", "surface", "panel")
MARKET = (
    *("bid", "ask", "up", "down", "entry", "exit", "stop", "liq", "muted", "stale", "halt"),
    *("demo", "paper", "testnet", "live"),
)
DEFAULT = "dark"
MOST_FILES = 50  # in a folder
LARGEST_FILE = 1 << 16
LONGEST_NAME = 40
_ORDER = ("dark", "light", "midnight", "sepia", "colour-blind-safe", "high-contrast")  # then the user's own, by name


def folder() -> Path:
    """`themes/` of the checkout, else of the installed package."""
    package = Path(__file__).resolve().parent
    checkout = package.parent / "themes"
    return checkout if checkout.is_dir() else package / "themes"


def own_folder() -> Path:
    """Where the user's themes are; it need not exist."""
    return config_folder() / "themes"


def files(where: Path) -> list[Path]:
    """A folder's theme files by name; one file more than may be, at most."""
    return sorted(islice(where.glob("*.toml"), MOST_FILES + 1))


def stamp(path: Path) -> tuple[int, int]:
    """Changes when the file is saved."""
    try:
        seen = path.stat()
    except OSError:
        return 0, 0
    return seen.st_mtime_ns, seen.st_size


def load(path: Path) -> Theme:
    """One file; raises `ConfigError`."""
    try:
        if path.exists() and not path.is_file():  # a pipe would be waited for
            raise ConfigError(path.name, "", "is no file")
        with path.open("rb") as stream:
            raw = stream.read(LARGEST_FILE + 1)
    except OSError as error:
        raise ConfigError(path.name, "", f"cannot be read ({error.strerror or error})") from error
    if len(raw) > LARGEST_FILE:
        raise ConfigError(path.name, "", f"is larger than {LARGEST_FILE >> 10} kB, so it is no theme")
    try:
        table = tomllib.loads(raw.decode())
    except (ValueError, RecursionError) as error:
        raise ConfigError(path.name, "", f"is no TOML ({error})") from error
    name, dark, market = table.get("name"), table.get("dark"), table.get("market")
    if not isinstance(name, str) or not name:
        raise ConfigError(path.name, "name", "is missing or no text", "the theme's name")
    if not name.isprintable() or len(name) > LONGEST_NAME:
        raise ConfigError(path.name, "name", "it cannot be shown", f"at most {LONGEST_NAME} characters that can be printed")
    if not isinstance(dark, bool):
        raise ConfigError(path.name, "dark", "is missing or neither true nor false", "true or false")
    if not isinstance(market, dict):
        raise ConfigError(path.name, "market", "is missing", "a table [market]")
    made = Theme(name, _colour(path, "primary", table.get("primary")), dark=dark)
    for key in BASE:
        setattr(made, key, _colour(path, key, table.get(key)))
    made.variables = {key: _colour(path, f"market.{key}", market.get(key)) for key in MARKET}
    return made


def load_all(*folders: Path) -> tuple[list[Theme], list[ConfigError]]:
    """Every file that can be used, the built-in ones first, and what is wrong with the others.

    Of two themes of one name that of the later folder stands; in one folder that is an error. A folder that holds more than
    `MOST_FILES` is left out.
    """
    themes: dict[str, Theme] = {}
    wrong: list[ConfigError] = []
    for where in folders or (folder(),):
        here: dict[str, Path] = {}
        paths = files(where)
        if len(paths) > MOST_FILES:
            wrong.append(ConfigError(str(where), "", f"holds more than {MOST_FILES} themes, so none of them is used"))
            continue
        for path in paths:
            try:
                made = load(path)
                if made.name in here:
                    raise ConfigError(path.name, "name", f"{made.name} is the name of {here[made.name].name}", "one of its own")
            except ConfigError as error:
                wrong.append(error)
            else:
                here[made.name], themes[made.name] = path, made
    rank = {name: place for place, name in enumerate(_ORDER)}
    return sorted(themes.values(), key=lambda theme: (rank.get(theme.name, len(rank)), theme.name)), wrong


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
        raise ConfigError(path.name, key, "is missing" if value is None else f"{str(value)[:40]!r} is no text", expected)
    try:
        Color.parse(value)
    except ColorParseError as error:
        raise ConfigError(path.name, key, f"{value[:40]!r} is no colour", expected) from error
    return value
