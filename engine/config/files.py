"""A TOML file in, its document out, or a `ConfigError` that says what is wrong with it; and a document back into a file."""

import tomllib
from collections.abc import Mapping
from pathlib import Path

from engine.errors import ConfigError
from engine.whole import write_whole

LARGEST = 1 << 20


def read_document(path: Path, *, required: bool) -> dict[str, object]:
    """The tables of a TOML file; {} where there is none and none is `required`. Raises ConfigError."""
    where = str(path)
    try:
        with path.open("rb") as stream:
            raw = stream.read(LARGEST + 1)
    except FileNotFoundError:
        if required:
            raise ConfigError(where, "", "there is no such file") from None
        return {}
    except IsADirectoryError:
        raise ConfigError(where, "", "this is a folder, not a file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(where, "", f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if len(raw) > LARGEST:
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


def replace_document(path: Path, document: Mapping[str, object]) -> None:
    """A reader, or a crash, finds the old file or the new one."""
    import tomli_w

    try:
        write_whole(path, tomli_w.dumps(document).encode())
    except OSError as error:
        raise ConfigError(str(path), "", f"cannot be written ({error.strerror or error})") from None


def user_path(path: Path) -> Path:
    """`~` as the user's home; left alone where there is none."""
    try:
        return path.expanduser()
    except RuntimeError:
        return path
