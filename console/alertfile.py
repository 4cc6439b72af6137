"""The alerts that are set, in and out of a small file in the state folder that only its owner reads; consoles share it."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from console.alerts import MOST, Rule
from engine.whole import write_whole

NAME = "alerts.json"
LARGEST = 1 << 16
Stamp = tuple[int, int]  # inode and time of change: each writing makes a new file


class AlertFile:
    """`path` None: nothing is kept, as in a program without a state folder. `problem` is a sentence, "" while all is well."""

    def __init__(self, folder: Path | None) -> None:
        self.path = folder / NAME if folder is not None else None
        self.problem = ""
        self._known: list[Rule] = []  # what the file said when it was last read or written
        self._stamp: Stamp | None = None

    def read(self) -> list[Rule]:
        """A file that cannot be read stays as it is, and is not written over."""
        if self.path is None:
            return []
        self._stamp = self._stamped()
        try:
            with self.path.open("rb") as file:
                raw = file.read(LARGEST + 1)
            if len(raw) > LARGEST:
                raise ValueError(f"it has more than {LARGEST:,} bytes")
            self._known = msgspec.json.decode(raw, type=list[Rule])[:MOST]
        except FileNotFoundError:
            self._known = []
        except (OSError, ValueError, RecursionError) as problem:  # msgspec's errors are ValueErrors
            why = getattr(problem, "strerror", None) or problem
            self.problem = f"The alerts in {self.path} cannot be read ({why}). Until that file is moved away, none are kept."
            self.path = None
        return list(self._known)

    def changed(self, rules: Sequence[Rule]) -> list[Rule] | None:
        """What is set now that another console wrote the file, with what `rules` has beyond it; None where nobody did."""
        if self.path is None or self._stamped() == self._stamp:
            return None
        return self._merged(rules)

    def write(self, rules: Sequence[Rule]) -> list[Rule]:
        """What is set then: `rules`, and what other consoles set and deleted since the file was read. Whole or not at all."""
        if self.path is None:
            return list(rules)
        merged = self._merged(rules)[:MOST] if self._stamped() != self._stamp else list(rules)
        if self.path is None:  # it cannot be read any more
            return merged
        try:
            write_whole(self.path, msgspec.json.format(msgspec.json.encode(merged), indent=1) + b"\n")
            self._known, self._stamp, self.problem = merged, self._stamped(), ""
        except OSError as problem:
            self.problem = f"The alerts could not be kept in {self.path} ({problem.strerror}): they end with this console."
        return merged

    def _merged(self, rules: Sequence[Rule]) -> list[Rule]:
        before = self._known
        theirs = self.read()
        gone = {rule for rule in before if rule not in rules}
        return [rule for rule in theirs if rule not in gone] + [one for one in rules if one not in before and one not in theirs]

    def _stamped(self) -> Stamp | None:
        assert self.path is not None
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns
