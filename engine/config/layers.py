"""Files, environment and flags in; one valid `Settings`, or a `ConfigError` that says what to change, out."""

import contextlib
import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import NamedTuple

import msgspec

from engine.catalog import Wanted, problem
from engine.config.check import check, shown
from engine.config.declare import INDICATORS, Settings
from engine.config.files import read_document, replace_document, user_path
from engine.config.render import LIST, Key, sections
from engine.errors import ConfigError

RESERVED = frozenset(
    {
        *("BARTER_ARM_PHRASE", "BARTER_FLUVIO_ENDPOINT", "BARTER_API_KEY", "BARTER_API_SECRET", "BARTER_API_PASSPHRASE"),
        *("BARTER_OLLAMA_HOST", "BARTER_CONTROL_SECRET", "BARTER_KEYS_FILE", "BARTER_BINANCE_KEY", "BARTER_BINANCE_SECRET"),
        *("BARTER_OKX_KEY", "BARTER_OKX_SECRET", "BARTER_OKX_PASSPHRASE", "BARTER_ALERT_URLS"),
    }
)
"""Variables that are ours and not settings: they are never read here, stored in `Settings` or repeated in a message."""

_SECTIONS: dict[str, dict[str, Key]] = {name: {key.name: key for key in keys} for name, _, keys in sections()}
_KEYS: dict[str, Key] = {key.dotted: key for keys in _SECTIONS.values() for key in keys.values()}
_VARIABLES: dict[str, Key] = {key.variable: key for key in _KEYS.values()}
_TABLES = tuple(f"{key.dotted}." for key in _KEYS.values() if key.table)

_SECRET = re.compile(r"secret|passw(or)?d|passphrase|token|credential|(api|private)_?key|(^|[_.-])keys?($|[_.-])", re.IGNORECASE)
_INT64 = 1 << 63  # TOML's integers, and what the journal can hold
_KINDS = {bool: "a truth value", int: "a whole number", float: "a fraction", str: "text", list: "a list", tuple: "a list"}


Changes = Mapping[str, Mapping[str, object]]
"""Section, key, value; None takes the key out again."""


class Origin(StrEnum):
    """Where a value comes from; later wins."""

    DEFAULT = "default"
    FILE = "file"
    SAVED = "settings.toml"
    ENVIRONMENT = "environment"
    FLAG = "flag"


class Source(NamedTuple):
    """`where` names the file or the variable."""

    origin: Origin
    where: str
    value: object


class Sourced(NamedTuple):
    """Settings, and all sources of each dotted key: the default first, the one that holds last.

    `environ` are the variables that are settings, and no others.
    """

    settings: Settings
    sources: Mapping[str, tuple[Source, ...]]
    file: Path | None
    environ: Mapping[str, str]
    flags: Mapping[str, str]

    @property
    def path(self) -> Path:
        """Where `save` puts changes."""
        return settings_path(self.file)

    def again(self, changes: Changes | None = None) -> "Sourced":
        """From the files as they are now, as if `changes` were saved. Raises ConfigError."""
        return read(file=self.file, environ=self.environ, flags=self.flags, changes=changes)

    def bare(self, changes: Changes | None = None) -> "Sourced":
        """The same without variables and flags: as another start would read it. Raises ConfigError."""
        return read(file=self.file, environ={}, flags={}, changes=changes)


class _Layers:
    """What was set so far, by dotted key, and who set it last."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.origin: dict[str, str] = {}
        self.layer = Origin.FILE
        self.sources = {name: [Source(Origin.DEFAULT, "", key.default)] for name, key in _KEYS.items()}
        self.indicators: tuple[Wanted, ...] = ()

    def list(self, where: str, value: object) -> None:
        """`[[indicators]]`: the last file that has any says which."""
        expected = "tables [[indicators]], each with a name"
        if not isinstance(value, list | tuple):
            raise ConfigError(where, LIST, f"this is {_kind(value)}", expected)
        if len(value) > INDICATORS:
            raise ConfigError(where, LIST, f"there are {len(value)} of them", f"at most {INDICATORS}")
        wanted: list[Wanted] = []
        for place, entry in enumerate(value, start=1):
            key = f"{LIST}[{place}]"
            try:
                one = msgspec.convert(entry, Wanted)
            except msgspec.ValidationError as error:
                raise ConfigError(where, key, str(error), "name, timeframe, parameters, label") from None
            if wrong := problem(one):
                raise ConfigError(where, f"{key}.{wrong.field}", wrong.problem, wrong.expected)
            if any(one.shown == other.shown and one.timeframe == other.timeframe for other in wanted):
                raise ConfigError(where, f"{key}.label", f"two indicators are called {shown(one.shown)}", "a label of its own")
            if not one.shown.isprintable() or len(one.shown) > 40:
                raise ConfigError(where, f"{key}.label", "it cannot be shown", "at most 40 characters that can be printed")
            wanted.append(one)
        self.indicators = tuple(wanted)

    def add(self, where: str, key: Key, value: object) -> None:
        self.values[key.dotted] = _convert(where, key, value)
        self.origin.pop(key.dotted, None)  # a key set again moves to the end: the newest is blamed
        self.origin[key.dotted] = where
        self.sources[key.dotted].append(Source(self.layer, where, self.values[key.dotted]))

    def settings(self) -> Settings:
        settings = msgspec.structs.replace(msgspec.convert(self.tree(), Settings), indicators=self.indicators)
        check(settings, self.blame)
        return settings

    def tree(self) -> dict[str, dict[str, object]]:
        """What was set, as a document; sections without a key are left out."""
        tree: dict[str, dict[str, object]] = {}
        for dotted, value in self.values.items():
            key = _KEYS[dotted]
            tree.setdefault(key.section, {})[key.name] = value
        return tree

    def blame(self, *keys: str) -> tuple[str, str]:
        """Of several keys that do not go together, the one set last, and where."""
        newest = next((key for key in reversed(self.origin) if key in keys), keys[0])
        return self.origin.get(newest, "defaults"), newest


def load(*, file: Path | None, environ: Mapping[str, str], flags: Mapping[str, str]) -> Settings:
    """Read every layer, later wins: defaults, file, `settings.toml` beside it, `BARTER_<SECTION>_<KEY>`, flags.

    `file` is an explicit `--config`, which must exist; None means `config.toml` in `config_folder()`, which need not.
    `flags` maps dotted names (`risk.max_leverage`) to text. Text from variables and flags is read as a TOML value; where
    text is declared a bare word will do, and where a list of texts is declared so will words separated by commas.
    Raises `ConfigError` with the file, variable or flag, the key, what was expected and the nearest valid key.
    """
    return read(file=file, environ=environ, flags=flags).settings


def read(*, file: Path | None, environ: Mapping[str, str], flags: Mapping[str, str], changes: Changes | None = None) -> Sourced:
    """As `load`, with where each value came from; `changes` as if they had been saved. Raises `ConfigError`."""
    layers, variables = _Layers(), {}
    chosen, saved = (config_folder() / "config.toml") if file is None else user_path(file), settings_path(file)
    _add_document(layers, str(chosen), read_document(chosen, required=file is not None))
    layers.layer = Origin.SAVED
    _add_document(layers, str(saved), _merged(saved, changes) if changes else read_document(saved, required=False))
    layers.layer = Origin.ENVIRONMENT
    for name in sorted(environ):
        if name.startswith("BARTER_") and name not in RESERVED and (found := _variable(name)):
            layers.add(f"environment variable {name}", found, _from_text(found, environ[name]))
            variables[name] = environ[name]
    layers.layer = Origin.FLAG
    for name, text in flags.items():
        key = _find("command line", name)
        layers.add("command line", key, _from_text(key, text))
    sources = {name: tuple(stack) for name, stack in layers.sources.items()}
    return Sourced(layers.settings(), sources, file, variables, dict(flags))


def parsed(dotted: str, text: str) -> object:
    """A text as the value of a setting, read as a flag's is. Raises `ConfigError`."""
    key = _find("settings", dotted)
    return _convert("settings", key, _from_text(key, text))


def save(changes: Changes, path: Path) -> None:
    """Merge `changes` into the `settings.toml` at `path`, atomically.

    The file is replaced whole with mode 0600, or left as it was and `ConfigError` raised: for a change that is not a valid
    setting, for a file that cannot be read or written. Whether the values go together depends on the other layers, so
    the caller tries them with `Sourced.again` first.
    """
    path = path.resolve()
    replace_document(path, _merged(path, changes))


def _merged(path: Path, changes: Changes) -> dict[str, object]:
    """The file at `path` as it would be with `changes`."""
    layers = _Layers()
    _add_document(layers, str(path), read_document(path, required=False))
    for section, keys in changes.items():
        for name, value in keys.items():
            if value is None:
                layers.values.pop(_find("change", f"{section}.{name}").dotted, None)
            else:
                _add_document(layers, "change", {section: {name: value}})
    kept = {LIST: [_written(one) for one in layers.indicators]} if layers.indicators else {}
    merged: dict[str, object] = msgspec.to_builtins({**layers.tree(), **kept})
    return merged


def create_aster_config(**overrides: Mapping[str, object]) -> Settings:
    """Settings for ASTER/USDT:USDT from the defaults alone: no file and no environment is read.

    Overrides are sections: `create_aster_config(risk={"max_leverage": 2}, strategy={"timeframe": "1s"})`. They are
    checked like a file; raises `ConfigError`.
    """
    layers = _Layers()
    layers.add("create_aster_config", _KEYS["engine.symbols"], ("ASTER/USDT:USDT",))
    _add_document(layers, "create_aster_config", overrides)
    return layers.settings()


def changed(settings: Settings, changes: Mapping[str, str], where: str = "command line") -> Settings:
    """The same settings but for `changes`, dotted names with text as `load` takes it in flags. Raises `ConfigError`."""
    layers = _Layers()
    _add_document(layers, "settings", msgspec.to_builtins(settings))
    for name, text in changes.items():
        key = _find(where, name)
        layers.add(where, key, _from_text(key, text))
    return layers.settings()


def config_folder() -> Path:
    """The platform's folder for the user's `config.toml` and `settings.toml`; it need not exist."""
    from platformdirs import user_config_path

    return user_config_path("barter-tui", appauthor=False)


def settings_path(file: Path | None) -> Path:
    """Where `save` puts what the settings screen changed: beside the user's file, so that it belongs to that file alone."""
    return (config_folder() if file is None else user_path(file).parent) / "settings.toml"


def state_dir(settings: Settings) -> Path:
    """The absolute folder of this mode's latch and sessions; not created here. No two modes share one."""
    from platformdirs import user_state_path

    chosen = settings.engine.state_dir
    folder = user_path(Path(chosen)).absolute() if chosen else user_state_path("barter-tui", appauthor=False)
    return folder / settings.engine.mode.value


# --- reading -----------------------------------------------------------------------------------------------------------


def _add_document(layers: _Layers, where: str, document: Mapping[str, object]) -> None:
    for path in _walk(document):
        if _looks_secret(path):
            raise _secret(where, path)
    for section, keys in document.items():
        if section == LIST:
            layers.list(where, keys)
            continue
        if section not in _SECTIONS:
            named = f"[{section}]" if isinstance(keys, Mapping) else section
            raise ConfigError(where, named, "there is no such section", _nearest_section(section))
        if not isinstance(keys, Mapping):
            raise ConfigError(where, section, f"this is {_kind(keys)}", f"a section, [{section}] with keys under it")
        for name, value in keys.items():
            layers.add(where, _find(where, f"{section}.{name}"), value)


def _walk(table: Mapping[str, object], prefix: str = "") -> Iterator[str]:
    for name, value in table.items():
        path = f"{prefix}{name}"
        yield path
        if isinstance(value, Mapping):
            yield from _walk(value, path + ".")


def _looks_secret(path: str) -> bool:
    """Names within a setting that is a table are looked at where it is converted."""
    return not (path in _KEYS or path in _SECTIONS or path.startswith(_TABLES)) and _SECRET.search(path) is not None


def _secret(where: str, path: str) -> ConfigError:
    in_environment = "it in the environment: BARTER_API_KEY, BARTER_API_SECRET, BARTER_API_PASSPHRASE"
    return ConfigError(where, path, "keys and secrets do not belong in settings", in_environment)


def _variable(name: str) -> Key | None:
    """The setting a variable names; None for one that is none of ours. A name meant as a setting but wrong is an error."""
    if name in _VARIABLES:
        return _VARIABLES[name]
    where = f"environment variable {name}"
    section, _, key = name.removeprefix("BARTER_").lower().partition("_")
    if section in _SECTIONS:
        raise ConfigError(where, "", "there is no such setting", _nearest_key(section, key, variable=True))
    if _looks_secret(name):
        return None
    without_section = [key.variable for key in _KEYS.values() if name == f"BARTER_{key.name}".upper()]
    if near := without_section or difflib.get_close_matches(name, _VARIABLES, n=1, cutoff=0.8):
        raise ConfigError(where, "", "there is no such setting", f"{near[0]}, the nearest")
    return None


def _find(where: str, dotted: str) -> Key:
    if dotted in _KEYS:
        return _KEYS[dotted]
    section, _, name = dotted.partition(".")
    if section == LIST:
        raise ConfigError(where, dotted, "indicators are tables of the settings file", "[[indicators]] in config.toml")
    if section in _SECTIONS:
        raise ConfigError(where, dotted, "there is no such setting", _nearest_key(section, name))
    raise ConfigError(where, dotted, "there is no such section", _nearest_section(section))


def _nearest_section(name: str) -> str:
    near = difflib.get_close_matches(name.lower(), _SECTIONS, n=1)
    return f"[{near[0]}], the nearest" if near else "one of " + ", ".join(f"[{section}]" for section in _SECTIONS)


def _nearest_key(section: str, name: str, *, variable: bool = False) -> str:
    """The nearest key of the section; failing that the same key of another section; failing that all of them."""
    keys = _SECTIONS[section]
    near = difflib.get_close_matches(name.lower(), keys, n=1)
    same = [key for key in _KEYS.values() if key.name == name.lower()]
    chosen = [keys[near[0]]] if near else same or list(keys.values())
    words = ", ".join(key.variable if variable else key.dotted for key in chosen)
    return f"{words}, the nearest" if len(chosen) == 1 else f"one of {words}"


def _from_text(key: Key, text: str) -> object:
    """A TOML value; else the text itself where text is declared, or its words where a list of texts is. No table is `{}`."""
    value: object = None
    with contextlib.suppress(ValueError, RecursionError):
        parsed = tomllib.loads(f"value = {text.strip()}")
        value = parsed["value"] if parsed.keys() == {"value"} else None
    if key.text:
        return value if isinstance(value, str) else text
    if key.listed and not isinstance(value, list):
        return [word.strip() for word in text.split(",") if word.strip()]
    if key.table and not text.strip():
        return {}
    return text if value is None else value


# --- checking ----------------------------------------------------------------------------------------------------------


def _convert(where: str, key: Key, value: object) -> object:
    """The value as declared, by msgspec; its refusals become sentences."""
    try:
        converted = msgspec.convert(value, key.type)
    except msgspec.ValidationError as error:
        raise ConfigError(where, key.dotted, _problem(value, str(error)), key.expected) from None
    if isinstance(converted, dict):
        for name in converted:
            if _SECRET.search(name):
                raise _secret(where, f"{key.dotted}.{name}")
    for item in _items(converted):
        if isinstance(item, str) and not item.isprintable():  # also stops "1m\n", which the pattern's $ lets through
            raise ConfigError(where, key.dotted, f"{shown(item)} holds a character that cannot be printed", key.expected)
        if (isinstance(item, float) and not math.isfinite(item)) or (isinstance(item, int) and not -_INT64 <= item < _INT64):
            raise ConfigError(where, key.dotted, f"{shown(item)} is out of range", f"{key.expected}, finite and of 64 bits")
    return converted


def _items(value: object) -> Iterator[object]:
    """What a value is made of: itself, a list's items, a table's names and what they stand for."""
    if isinstance(value, tuple):
        yield from value
    elif isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from _items(inner)
    else:
        yield value


def _problem(value: object, message: str) -> str:
    """msgspec says "Expected `int`, got `str`" for a wrong type, "Expected `int` <= 3" for a wrong value."""
    if isinstance(value, Mapping) and "$[...]" in message:
        return "something in it is not as it should be"
    items = enumerate(value) if "$[" in message and isinstance(value, list | tuple) else ()
    for index, item in items:
        if f"$[{index}]" in message:
            return f"item {index + 1}, {shown(item)}, is {_kind(item)}"
    if "got `" in message:
        return f"{shown(value)} is {_kind(value)}"
    if isinstance(value, str):
        return f"{shown(value)} is not one of its values"
    return f"{shown(value)} is out of range" if isinstance(value, int | float) else "the list is empty"


def _kind(value: object) -> str:
    return "a table" if isinstance(value, Mapping) else _KINDS.get(type(value), "a date or time")


# --- writing -----------------------------------------------------------------------------------------------------------


def _written(indicator: Wanted) -> dict[str, object]:
    """A table of the list as it may have been: without what was left out."""
    table: dict[str, object] = msgspec.to_builtins(indicator)
    return {name: value for name, value in table.items() if value not in ("", None, {})}
