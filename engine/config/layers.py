"""Files, environment and flags in; one valid `Settings`, or a `ConfigError` that says what to change, out."""

import contextlib
import difflib
import math
import os
import re
import tempfile
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from engine.catalog import Wanted, problem
from engine.config.check import check, shown
from engine.config.declare import INDICATORS, Settings
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

_SECRET = re.compile(r"secret|passw(or)?d|passphrase|token|credential|(api|private)_?key|(^|[_.-])keys?($|[_.-])", re.IGNORECASE)
_LARGEST_FILE = 1 << 20
_INT64 = 1 << 63  # TOML's integers, and what the journal can hold
_KINDS = {bool: "a truth value", int: "a whole number", float: "a fraction", str: "text", list: "a list", tuple: "a list"}


class _Layers:
    """What was set so far, by dotted key, and who set it last."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}
        self.origin: dict[str, str] = {}
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
    layers = _Layers()
    chosen = (config_folder() / "config.toml") if file is None else _user_path(file)
    for path, required in ((chosen, file is not None), (settings_path(file), False)):
        _add_document(layers, str(path), _read(path, required=required))
    for name in sorted(environ):
        if name.startswith("BARTER_") and name not in RESERVED and (found := _variable(name)):
            layers.add(f"environment variable {name}", found, _from_text(found, environ[name]))
    for name, text in flags.items():
        key = _find("command line", name)
        layers.add("command line", key, _from_text(key, text))
    return layers.settings()


def save(changes: Mapping[str, Mapping[str, object]], path: Path) -> None:
    """Merge `changes` (section, key, value; None takes the key out again) into the `settings.toml` at `path`, atomically.

    The file is replaced whole with mode 0600, or left as it was and `ConfigError` raised: for a change that is not a valid
    setting, for a file that cannot be read or written. Whether the values go together depends on the other layers, so
    the caller tries them with `load(flags=...)` first.
    """
    path = path.resolve()
    layers = _Layers()
    _add_document(layers, str(path), _read(path, required=False))
    for section, keys in changes.items():
        for name, value in keys.items():
            if value is None:
                layers.values.pop(_find("change", f"{section}.{name}").dotted, None)
            else:
                _add_document(layers, "change", {section: {name: value}})
    kept = {LIST: [_written(one) for one in layers.indicators]} if layers.indicators else {}
    _replace(path, {**layers.tree(), **kept})


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
    return (config_folder() if file is None else _user_path(file).parent) / "settings.toml"


def state_dir(settings: Settings) -> Path:
    """The absolute folder of this mode's latch and sessions; not created here. No two modes share one."""
    from platformdirs import user_state_path

    chosen = settings.engine.state_dir
    folder = _user_path(Path(chosen)).absolute() if chosen else user_state_path("barter-tui", appauthor=False)
    return folder / settings.engine.mode.value


# --- reading -----------------------------------------------------------------------------------------------------------


def _read(path: Path, *, required: bool) -> dict[str, object]:
    where = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(_LARGEST_FILE + 1)
    except FileNotFoundError:
        if required:
            raise ConfigError(where, "", "there is no such file") from None
        return {}
    except IsADirectoryError:
        raise ConfigError(where, "", "this is a folder, not a file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(where, "", f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(raw) > _LARGEST_FILE:
        raise ConfigError(where, "", "is larger than a megabyte, so it is not a settings file")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigError(where, "", f"line {line} is not UTF-8 text", "a TOML file saved as UTF-8") from None
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ConfigError(where, "", "is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(where, "", f"is not valid TOML: {_at_end(str(error), text)}") from None


def _at_end(message: str, text: str) -> str:
    """tomllib names line and column except at the end of the document."""
    lines = text.split("\n")
    return message.replace("(at end of document)", f"(at line {len(lines)}, column {len(lines[-1]) + 1}, the end)")


def _add_document(layers: _Layers, where: str, document: Mapping[str, object]) -> None:
    for path in _walk(document):
        if _looks_secret(path):
            in_environment = "it in the environment: BARTER_API_KEY, BARTER_API_SECRET, BARTER_API_PASSPHRASE"
            raise ConfigError(where, path, "keys and secrets do not belong in settings", in_environment)
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
    return path not in _KEYS and path not in _SECTIONS and _SECRET.search(path) is not None


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
    """A TOML value; else the text itself where text is declared, or its words where a list of texts is."""
    value: object = None
    with contextlib.suppress(ValueError, RecursionError):
        parsed = tomllib.loads(f"value = {text.strip()}")
        value = parsed["value"] if parsed.keys() == {"value"} else None
    if key.text:
        return value if isinstance(value, str) else text
    if key.listed and not isinstance(value, list):
        return [word.strip() for word in text.split(",") if word.strip()]
    return text if value is None else value


# --- checking ----------------------------------------------------------------------------------------------------------


def _convert(where: str, key: Key, value: object) -> object:
    """The value as declared, by msgspec; its refusals become sentences."""
    try:
        converted = msgspec.convert(value, key.type)
    except msgspec.ValidationError as error:
        raise ConfigError(where, key.dotted, _problem(value, str(error)), key.expected) from None
    for item in converted if isinstance(converted, tuple) else (converted,):
        if isinstance(item, str) and not item.isprintable():  # also stops "1m\n", which the pattern's $ lets through
            raise ConfigError(where, key.dotted, f"{shown(item)} holds a character that cannot be printed", key.expected)
        if (isinstance(item, float) and not math.isfinite(item)) or (isinstance(item, int) and not -_INT64 <= item < _INT64):
            raise ConfigError(where, key.dotted, f"{shown(item)} is out of range", f"{key.expected}, finite and of 64 bits")
    return converted


def _problem(value: object, message: str) -> str:
    """msgspec says "Expected `int`, got `str`" for a wrong type, "Expected `int` <= 3" for a wrong value."""
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


def _replace(path: Path, document: Mapping[str, object]) -> None:
    """Write beside and rename over: a reader, or a crash, finds the old file or the new one."""
    import tomli_w

    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".settings-", suffix=".tmp")  # mkstemp makes it 0600
        with os.fdopen(handle, "wb") as stream:
            stream.write(tomli_w.dumps(msgspec.to_builtins(document)).encode())
            stream.flush()
            os.fsync(stream.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise ConfigError(str(path), "", f"cannot be written ({error.strerror or error})") from None


def _written(indicator: Wanted) -> dict[str, object]:
    """A table of the list as it may have been: without what was left out."""
    table: dict[str, object] = msgspec.to_builtins(indicator)
    return {name: value for name, value in table.items() if value not in ("", None, {})}


def _user_path(path: Path) -> Path:
    """`~` as the user's home; left alone where there is none."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path
