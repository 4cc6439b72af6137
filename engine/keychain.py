"""Where a venue's API keys lie: the environment, the operating system's keyring, or a file that only its owner reads."""

import importlib
import os
import re
import stat
import tomllib
from collections.abc import Mapping, MutableMapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import ConfigError
from engine.events import Mode

if TYPE_CHECKING:
    from engine.execution.live import Credentials

FILE, FILE_VARIABLE = "keys.toml", "BARTER_KEYS_FILE"
SERVICE = "barter-tui"
LARGEST = 1 << 16
_TEXT = re.compile(r"""["']([^"'\n]{8,})["']""")
PARTS = {"binance": ("key", "secret"), "okx": ("key", "secret", "passphrase")}
VARIABLES = {venue: tuple(f"BARTER_{venue}_{part}".upper() for part in parts) for venue, parts in PARTS.items()}


def find_keys(venue: str, mode: Mode, environ: MutableMapping[str, str], folder: Path) -> "Credentials":
    """The first place that has any of the venue's keys must have all. What came from the environment is taken out of it, so
    that no child inherits it. Raises ConfigError, which never repeats a key.
    """
    from engine.execution.live import Credentials

    named = environ.get(FILE_VARIABLE, "").strip()
    path = _path(environ, folder)
    given = {part: environ.get(name, "").strip() for part, name in zip(PARTS[venue], VARIABLES[venue], strict=True)}
    forget(environ)
    where = "environment"
    if not any(given.values()):
        given, where = _in_file(path, venue, required=bool(named)), str(path)
    if not any(given.values()):
        given, where = _in_keyring(venue, mode), f"keyring, service {SERVICE}-{mode.value}"
    if not any(given.values()):
        names = " and ".join(VARIABLES[venue])
        raise ConfigError("keys", venue, f"{mode.value} needs keys of {venue}, and there are none", f"{names}, or {path}")
    lacking = [part for part in PARTS[venue] if not given.get(part)]
    if lacking:
        raise ConfigError(where, venue, f"the {' and the '.join(lacking)} of {venue} is missing", " and ".join(PARTS[venue]))
    wrong = next((part for part in PARTS[venue] if not given[part].isprintable() or not given[part].isascii()), None)
    if wrong:
        raise ConfigError(where, venue, f"the {wrong} holds letters that no key has", "it as the venue gave it")
    return Credentials(given["key"], given["secret"], given.get("passphrase", ""))


def forget(environ: MutableMapping[str, str]) -> None:
    """Take every venue's keys out of the environment."""
    for names in VARIABLES.values():
        for name in names:
            environ.pop(name, None)


def written_keys(environ: Mapping[str, str], folder: Path) -> list[str]:
    """Every text in the file of keys, fit to be used or not. For who takes them out of another text."""
    try:
        with _path(environ, folder).open("rb") as file:
            return _TEXT.findall(file.read(LARGEST).decode("utf-8", "replace"))
    except OSError:
        return []


def _path(environ: Mapping[str, str], folder: Path) -> Path:
    named = environ.get(FILE_VARIABLE, "").strip()
    return Path(named).expanduser() if named else folder / FILE


def _in_file(path: Path, venue: str, required: bool) -> dict[str, str]:
    """A table a venue, in TOML or, by its name, JSON."""
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigError(str(path), "", "others may read these keys", f"a file of your own: chmod 600 {path}")
            raw = file.read(LARGEST)
    except FileNotFoundError:
        if required:
            raise ConfigError(FILE_VARIABLE, "", f"there is no file {path}", "a file of keys") from None
        return {}
    except OSError as problem:
        raise ConfigError(str(path), "", f"it cannot be read ({problem.strerror})") from None
    expected = f"a table [{venue}] with {' and '.join(PARTS[venue])}, each a text"
    try:  # what the decoders say may repeat the text
        document: Any = msgspec.json.decode(raw) if path.suffix == ".json" else tomllib.loads(raw.decode())
    except (ValueError, RecursionError):
        raise ConfigError(str(path), "", "it is no readable TOML or JSON", expected) from None
    table = document.get(venue, {}) if isinstance(document, dict) else None
    if not isinstance(table, Mapping) or not all(isinstance(table.get(part, ""), str) for part in PARTS[venue]):
        raise ConfigError(str(path), venue, "it does not hold keys as it should", expected)
    return {part: table.get(part, "").strip() for part in PARTS[venue]}


def _in_keyring(venue: str, mode: Mode) -> dict[str, str]:
    """Asked only where the package `keyring` is installed; a keyring that is locked or none is an empty one."""
    try:
        keyring: Any = importlib.import_module("keyring")
    except ImportError:
        return {}
    found = {}
    for part in PARTS[venue]:
        try:
            found[part] = (keyring.get_password(f"{SERVICE}-{mode.value}", f"{venue} {part}") or "").strip()
        except Exception:  # each backend has errors of its own
            return {}
    return found
