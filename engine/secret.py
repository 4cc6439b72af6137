"""Where the secret lies that remote commands are sealed with: the environment, or a file that only its owner reads."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from engine.config import config_folder
from engine.errors import ConfigError

VARIABLE, FILE = "BARTER_CONTROL_SECRET", "control.secret"
SHORTEST = 16  # bytes
LONGEST = 4096


def control_secret(environ: Mapping[str, str], folder: Path | None = None) -> bytes | None:
    """`BARTER_CONTROL_SECRET`, else `control.secret` in the configuration folder, else None. Raises ConfigError, which never
    repeats it.
    """
    if given := environ.get(VARIABLE, "").strip():
        return _checked(given.encode(), f"environment variable {VARIABLE}")
    path = (config_folder() if folder is None else folder) / FILE
    try:
        with path.open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise ConfigError(str(path), "", "others may read this secret", "a file of mode 0600")
            return _checked(file.read(LONGEST).strip(), str(path))
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise ConfigError(str(path), "", f"it cannot be read ({problem.strerror})") from None


def written_secret(folder: Path | None = None) -> str:
    """What is in that file, fit to be used or not; "" where it cannot be read. For who takes it out of a text."""
    path = (config_folder() if folder is None else folder) / FILE
    try:
        with path.open("rb") as file:
            return file.read(LONGEST).decode("utf-8", "replace").strip()
    except OSError:
        return ""


def _checked(secret: bytes, where: str) -> bytes:
    if len(secret) < SHORTEST:
        raise ConfigError(where, "", "the secret is too short", f"at least {SHORTEST} characters that nobody can guess")
    return secret
