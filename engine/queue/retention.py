"""Old sessions in; the same without their market data out: what is about money and decisions is kept for good.

Run as a module, `FOLDER KEEP_DAYS KEEP_GB OWN_SESSION NOW_NS`, it tidies one state folder and prints what it did as JSON.
"""

import contextlib
import os
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine import events as e
from engine.errors import SessionError
from engine.events import Event
from engine.queue.files import log_of, recorded, session_name, size
from engine.queue.local import write_condensed
from engine.queue.session import Session

# What goes: the market's words and what only repeats them. Everything else is a record of money or of a decision.
MARKET_INPUTS: frozenset[type[Event]] = frozenset(
    (
        *(e.Quote, e.BookDelta, e.BookSnapshot, e.SnapshotFailed, e.Trade, e.TradeHistory, e.Kline, e.BarHistory, e.Mark),
        *(e.Liquidation, e.IndicatorValues, e.ClockOffset, e.DecodeFailed, e.Tick),
    )
)
MARKET_OUTPUTS: frozenset[type[Event]] = frozenset(
    (e.TrustChanged, e.FetchSnapshot, e.FetchHistory, e.Resubscribe, e.BarsMissing, e.BarClosed, e.FeaturesReady)
)
NICENESS = 19
DAY_NS = 86_400_000_000_000


class Tidied(msgspec.Struct, frozen=True):
    """What became of the sessions that were due. A session with a problem is left as it is."""

    condensed: int
    freed_bytes: int
    problems: tuple[str, ...]


def due(folder: Path, keep_days: float, keep_gb: float, now_ns: int, own: str = "") -> list[Path]:
    """Sessions whose market data are to go, oldest first: of all that are older, and then until the rest fits. 0: no limit.

    The newest one stays whole, since the next start recovers from it, and so does `own`, which is being written.
    """
    paths = [path for path in recorded(folder) if session_name(path) != own]
    whole = [path for path in paths[:-1] if not _condensed(path)]
    total = sum(map(size, paths))
    found = []
    for path in whole:
        began_ns = int(path.name.partition("-")[0]) * 1_000_000 if path.name.partition("-")[0].isdigit() else now_ns
        old = keep_days > 0 and now_ns - began_ns > keep_days * DAY_NS
        large = keep_gb > 0 and total > keep_gb * 1e9
        if old or large:
            found.append(path)
            total -= size(path)
    return found


def condense(path: Path, now_ns: int, progress: Callable[[int], None] = lambda _: None) -> int:
    """Take a session's market data away; returns the bytes that came free. Raises SessionError, with the session unchanged.

    It is verified before anything is taken away, and the smaller file is on the disk before it takes the old one's place.
    """
    before = size(path)
    _settle(path)
    with Session(path) as session:
        verified = session.verify()
        made = write_condensed(session, verified, now_ns, _kept(session, progress))
    try:
        made.replace(path)
    except OSError as problem:
        raise SessionError(str(path), f"its smaller file cannot take its place ({problem.strerror})") from None
    return before - size(path)


def _settle(path: Path) -> None:
    """Move a killed writer's log into the file. Left beside it, SQLite would take it for the log of the smaller file."""
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as store:
            store.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        if log_of(path).exists():
            raise SessionError(str(path), "somebody reads or writes it now")
    except sqlite3.Error as problem:
        raise SessionError(str(path), f"it is damaged ({problem})") from None


def tidy(folder: Path, keep_days: float, keep_gb: float, now_ns: int, own: str = "") -> Tidied:
    """Everything that is due; a session that is damaged is told of and left alone."""
    condensed = freed = 0
    problems = []
    for leftover in (folder / "sessions").glob("*.condensing"):  # of one that was killed
        leftover.unlink(missing_ok=True)
    for path in due(folder, keep_days, keep_gb, now_ns, own):
        try:
            freed += condense(path, now_ns)
            condensed += 1
        except SessionError as problem:
            problems.append(str(problem))
    return Tidied(condensed, freed, tuple(problems))


def _kept(session: Session, progress: Callable[[int], None]) -> "list[tuple[int, Event | None, list[Event]]]":
    """Input number, the input where it is kept, and the outputs that are. Money records are few: they fit into memory."""
    found: list[tuple[int, Event | None, list[Event]]] = []
    number = 0
    for chunk in session.chunks():
        for event, raws in chunk.steps():
            outputs: list[Event] = [one for one in map(e.decode_output, raws) if type(one) not in MARKET_OUTPUTS]
            keep = type(event) not in MARKET_INPUTS
            if keep or outputs:
                found.append((number, event if keep else None, outputs))
            number += 1
        progress(number)
    return found


def _condensed(path: Path) -> bool:
    """A file that cannot be read counts as whole: condensing it will say what is wrong."""
    with contextlib.suppress(SessionError), Session(path) as session:
        return session.condensed is not None
    return False


def main() -> int:
    os.nice(NICENESS)
    folder, days, gigabytes, own, now_ns = sys.argv[1:6]
    sys.stdout.buffer.write(msgspec.json.encode(tidy(Path(folder), float(days), float(gigabytes), int(now_ns), own)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
