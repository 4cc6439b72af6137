"""What the screen's process logs goes to a file in the state folder, never to the terminal that it draws on."""

import logging
import os
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path

NAME = "console.log"
LARGEST_BYTES, OLD_ONES = 1_000_000, 2


class OwnersFile(RotatingFileHandler):
    """Made at the first record, for its owner alone. A disk that is full or read-only costs the log and nothing else."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, maxBytes=LARGEST_BYTES, backupCount=OLD_ONES, encoding="utf-8", delay=True)

    def _open(self) -> TextIOWrapper:
        path = Path(self.baseFilename)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        os.fchmod(made, 0o600)
        return os.fdopen(made, "a", encoding="utf-8")

    def handleError(self, record: logging.LogRecord) -> None:
        return


def to_file(folder: Path, verbose: bool) -> Path:
    """From here on every logger of this process writes there and nowhere else; returns where."""
    path = folder / NAME
    handler = OwnersFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    for old in root.handlers[:]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    for name in ("barter", "console"):
        logging.getLogger(name).setLevel(logging.DEBUG if verbose else logging.INFO)
    return path
