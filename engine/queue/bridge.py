"""Sessions of a state folder in, their records on a Fluvio cluster out; a process of its own, since the client can freeze one.

The session files are the outbox: nothing else passes from the engine to here, and what was acknowledged is remembered beside
them, so that a broker that is gone for hours costs nothing but its lag. At least once: a record may be sent twice.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec

from engine.errors import BarterError, SessionError
from engine.queue.fluvio import CLOSING, OPENING, Assembly, Cluster, packed, topic_of
from engine.queue.local import Row, Session, new_path, rebuild, recorded, session_name

STATE = "fluvio.json"
LOOK_EVERY_S = 0.25
WAITS_S = (0.5, 1.0, 2.0, 5.0, 15.0)
BATCH_BYTES = 400_000
NICENESS = 10


class Sent(msgspec.Struct):
    """How far a session is on the cluster: chunks below `chunks` are acknowledged."""

    opened: bool = False
    chunks: int = 0
    closed: bool = False
    offset: int = -1  # of its newest record


class Status(msgspec.Struct, frozen=True):
    """One line to the engine. `behind`: chunks of all sessions that are not acknowledged yet; `left`: sessions left out, since
    they cannot be read.
    """

    state: str  # connecting, up, failing
    behind: int
    sent: int  # records acknowledged since the start
    failures: int
    problem: str = ""
    left: int = 0


class Outbox:
    """What of the sessions of `folder` is still to be sent, and what was acknowledged, on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._file = folder, folder / STATE
        try:
            self.sent = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Sent])
        except (OSError, msgspec.MsgspecError):
            self.sent = {}  # everything is sent again: readers know repeated records

    def acknowledged(self, session: str, sent: Sent) -> None:
        self.sent[session] = sent
        fresh = self._file.with_suffix(".tmp")
        fresh.write_bytes(msgspec.json.encode(self.sent))
        fresh.replace(self._file)

    def due(self) -> Iterator[tuple[Path, Sent, bool]]:
        """Sessions that are not wholly sent, oldest first, and whether a newer one exists: then nobody writes it any more."""
        paths = recorded(self.folder)
        for path in paths:
            sent = self.sent.get(session_name(path), Sent())
            if not sent.closed:
                yield path, sent, path is not paths[-1]


class Bridge:
    """Forwards for ever. Whatever goes wrong at the cluster is told in `status` and tried again, with pauses."""

    def __init__(self, outbox: Outbox, endpoint: str, retention_s: int) -> None:
        self._outbox, self._endpoint, self._retention_s = outbox, endpoint, retention_s
        self._cluster: Cluster | None = None
        self._topics: set[str] = set()
        self.status = Status("connecting", 0, 0, 0)
        self._told: Status | None = None
        self._left: set[Path] = set()  # that cannot be read: the others go on

    async def run(self) -> None:
        tried = 0
        while True:
            try:
                moved = await self._forward()
                tried = 0
                if not moved:
                    await asyncio.sleep(LOOK_EVERY_S)
            except BarterError as problem:
                self._cluster = None  # a fresh client and fresh producers: an old one repeats its error
                failures = self.status.failures + 1
                self._tell(msgspec.structs.replace(self.status, state="failing", failures=failures, problem=str(problem)))
                await asyncio.sleep(WAITS_S[min(tried, len(WAITS_S) - 1)])
                tried += 1

    async def _forward(self) -> bool:
        """One batch of each session; whether there was any."""
        if self._cluster is None:
            cluster = Cluster(self._endpoint)
            await cluster.connect()
            self._cluster, self._topics = cluster, set()
        moved, behind = False, 0
        for path, sent, ended in self._outbox.due():
            if path in self._left:
                continue
            try:
                with Session(path) as session:
                    if session.condensed is None:
                        some, more = await self._forward_one(self._cluster, session, sent, ended)
                        moved, behind = moved or some, behind + more
            except SessionError:
                self._left.add(path)
        self._tell(msgspec.structs.replace(self.status, state="up", behind=behind, problem="", left=len(self._left)))
        return moved

    async def _forward_one(self, cluster: Cluster, session: Session, sent: Sent, ended: bool) -> tuple[bool, int]:
        """Whether a batch was sent, and how many chunks are still to be."""
        name = session.opening.session
        topic = topic_of(session.opening.symbols)
        if topic not in self._topics:
            await cluster.ensure(topic, self._retention_s)
            self._topics.add(topic)
        closing = session.end("closing")  # asked before the rows: nothing is written after it
        values, after = self._batch(session, name, sent)
        if not values and closing is not None:
            values, after.closed = packed(name, CLOSING, closing), True
        elif not values and ended:
            after.closed = True  # cut off: nothing will come of it any more
            self._outbox.acknowledged(name, after)
        if values:
            after.offset = await cluster.send(topic, name, values)
            self._outbox.acknowledged(name, after)
            self.status = msgspec.structs.replace(self.status, sent=self.status.sent + len(values))
        return bool(values), session.count - after.chunks + (closing is not None and not after.closed)

    def _batch(self, session: Session, name: str, sent: Sent) -> tuple[list[bytes], Sent]:
        values: list[bytes] = []
        after = Sent(True, sent.chunks, False, sent.offset)
        if not sent.opened and (opening := session.end("opening")) is not None:
            values += packed(name, OPENING, opening)
        room = BATCH_BYTES
        for row in session.rows(sent.chunks):
            values += packed(name, row.number, row)
            after.chunks = row.number + 1
            room -= len(row.body) + len(row.state)
            if room <= 0:
                break
        return values, after

    def _tell(self, status: Status) -> None:
        self.status = status
        if status != self._told:
            self._told = status
            sys.stdout.buffer.write(msgspec.json.encode(status) + b"\n")
            sys.stdout.buffer.flush()


async def pull(endpoint: str, topic: str, name: str, folder: Path) -> Path:
    """A session from the cluster into this state folder, verified. Raises QueueError and SessionError."""
    cluster = Cluster(endpoint)
    await cluster.connect()
    found, rows = Assembly(name), list[Row]()
    async for _, value in cluster.read(topic):
        row = found.take(value)
        if row is not None:
            rows.append(row)
        if found.closing is not None:
            break
    if found.opening is None:
        raise SessionError(name, f"{topic} at {endpoint} does not hold the beginning of this session")
    from engine.queue import Opening

    path = new_path(folder, msgspec.json.decode(found.opening[0], type=Opening))
    if path.exists():
        raise SessionError(str(path), "this session is here already")
    rebuild(path, found.opening, rows, found.closing)
    return path


def main() -> int:
    """`forward FOLDER ENDPOINT RETENTION_S` until stdin closes, or `pull FOLDER ENDPOINT TOPIC SESSION`."""
    os.nice(NICENESS)
    action, folder, endpoint, *more = sys.argv[1:]
    try:
        if action == "pull":
            path = asyncio.run(pull(endpoint, more[0], more[1], Path(folder)))
            sys.stdout.write(f"{path}\n")
            return 0
        threading.Thread(target=_end_with_owner, daemon=True).start()
        asyncio.run(Bridge(Outbox(Path(folder)), endpoint, int(more[0])).run())
    except BarterError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


def _end_with_owner() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an orderly end of the interpreter can crash after the client was used
