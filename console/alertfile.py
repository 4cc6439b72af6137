"""The alerts that are set, in and out of a small file in the state folder that only its owner reads."""

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import msgspec

from console.alerts import MOST, Rule

NAME = "alerts.json"
LARGEST = 1 << 16


class AlertFile:
    """`path` None: nothing is kept, as in a program without a state folder. `problem` is a sentence, "" while all is well."""

    def __init__(self, folder: Path | None) -> None:
        self.path = folder / NAME if folder is not None else None
        self.problem = ""

    def read(self) -> list[Rule]:
        """A file that cannot be read stays as it is, and is not written over."""
        if self.path is None:
            return []
        try:
            with self.path.open("rb") as file:
                raw = file.read(LARGEST + 1)
            if len(raw) > LARGEST:
                raise ValueError(f"it has more than {LARGEST:,} bytes")
            return msgspec.json.decode(raw, type=list[Rule])[:MOST]
        except FileNotFoundError:
            return []
        except (OSError, ValueError, RecursionError) as problem:  # msgspec's errors are ValueErrors
            why = getattr(problem, "strerror", None) or problem
            self.problem = f"The alerts in {self.path} cannot be read ({why}). Until that file is moved away, none are kept."
            self.path = None
            return []

    def write(self, rules: Sequence[Rule]) -> None:
        """Whole or not at all."""
        if self.path is None:
            return
        beside = self.path.with_suffix(".new")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            with contextlib.suppress(FileNotFoundError):
                beside.unlink()
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
                file.write(msgspec.json.format(msgspec.json.encode(list(rules)), indent=1) + b"\n")
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self.path)
            self.problem = ""
        except OSError as problem:
            self.problem = f"The alerts could not be kept in {self.path} ({problem.strerror}): they end with this console."
