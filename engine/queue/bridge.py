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

from engine.errors import BarterError, ConfigError, SessionError
from engine.queue import Opening
from engine.queue.access import Access
from engine.queue.files import new_path, recorded, session_name
from engine.queue.fluvio import CHUNKS, CLOSING, OPENING, SESSIONS, Assembly, Cluster, packed, topic_of
from engine.queue.layout import Row
from engine.queue.local import rebuild
from engine.queue.relay import Relay
from engine.queue.session import Session
from engine.queue.streams import Manifest, Place, Stream, facts, manifest
from engine.secret import control_secret
from engine.whole import write_whole

STATE = "forwarded.json"
LOOK_EVERY_S = 0.25
WAITS_S = (0.5, 1.0, 2.0, 5.0, 15.0)
BATCH_BYTES = 400_000
FACTS_AT_ONCE = 200
NICENESS = 10


class Sent(msgspec.Struct, frozen=True):
    """How far a session is on the cluster: of chunks below `chunks` all is acknowledged, of those below `facts` their facts."""

    places: dict[str, Place] = {}  # by topic
    opened: bool = False
    chunks: int = 0
    facts: int = 0
    ended: bool = False  # its closing is there too, or none will come
    closed: bool = False  # its manifest is there

    def place(self, topic: str) -> Place:
        """Where its records lie on that topic so far."""
        return self.places.get(topic, Place(topic))

    def after(self, values: list[bytes], topic: str, first: int, last: int) -> "Sent":
        """The same with these records behind."""
        return msgspec.structs.replace(self, places=self.places | {topic: self.place(topic).added(values, first, last)})


class Status(msgspec.Struct, frozen=True):
    """One line to the engine. `behind`: chunks of all sessions that are not wholly acknowledged yet; `left`: sessions left out,
    since they cannot be read; `commands` and `refused`: from consoles elsewhere, and why the newest was refused.
    """

    state: str  # connecting, up, failing
    behind: int
    sent: int  # records acknowledged since the start
    failures: int
    problem: str = ""
    left: int = 0
    commands: int = 0
    refused: int = 0
    refusal: str = ""
    shows: str = ""  # why consoles elsewhere see nothing, "" while they may


class Order(msgspec.Struct, frozen=True):
    """What such a process is to do: one line on its input. Certificates of a profile come this way and no other."""

    folder: str
    access: Access
    retention_s: int = 0
    topics: tuple[str, str] = ("", "")  # to forward: of views and commands; to pull: of sessions and of their chunks
    session: str = ""


class Outbox:
    """What of the sessions of `folder` is still to be sent, and what was acknowledged, on the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._file = folder, folder / STATE
        try:
            self.sent = msgspec.json.decode(self._file.read_bytes(), type=dict[str, Sent])
        except (OSError, ValueError, RecursionError):
            self.sent = {}  # everything is sent again: readers know repeated records

    def acknowledged(self, session: str, sent: Sent) -> None:
        self.sent[session] = sent
        write_whole(self._file, msgspec.json.encode(self.sent), durable=False)

    def due(self) -> Iterator[tuple[Path, Sent, bool]]:
        """Sessions that are not wholly sent, oldest first, and whether a newer one exists: then nobody writes it any more."""
        paths = recorded(self.folder)
        for path in paths:
            sent = self.sent.get(session_name(path), Sent())
            if not sent.closed:
                yield path, sent, path is not paths[-1]


class Bridge:
    """Forwards for ever. Whatever goes wrong at the cluster is told in `status` and tried again, with pauses."""

    def __init__(self, outbox: Outbox, access: Access, retention_s: int) -> None:
        self._outbox, self._access, self._retention_s = outbox, access, retention_s
        self._cluster: Cluster | None = None
        self._topics: set[str] = set()
        self.status = Status("connecting", 0, 0, 0)
        self._told: Status | None = None
        self._left: set[Path] = set()  # that cannot be read and that nobody writes any more: the others go on

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
                self.tell(state="failing", failures=self.status.failures + 1, problem=str(problem))
                await asyncio.sleep(WAITS_S[min(tried, len(WAITS_S) - 1)])
                tried += 1

    def tell(self, **changed: object) -> None:
        """Say to the engine what changed, where anything did."""
        self.status = msgspec.structs.replace(self.status, **changed)
        if self.status != self._told:
            self._told = self.status
            sys.stdout.buffer.write(msgspec.json.encode(self.status) + b"\n")
            sys.stdout.buffer.flush()

    async def _forward(self) -> bool:
        """One batch of each session; whether there was any."""
        if self._cluster is None:
            cluster = Cluster(self._access)
            await cluster.connect()
            self._cluster, self._topics = cluster, set()
        moved, behind = False, 0
        for path, sent, over in self._outbox.due():
            if path in self._left:
                continue
            try:
                with Session(path) as session:
                    if session.condensed is None:
                        some, more = await self._forward_one(session, sent, over)
                        moved, behind = moved or some, behind + more
            except SessionError:
                if over:  # the newest may be a session that is just being made: it is looked at again
                    self._left.add(path)
        self.tell(state="up", behind=behind, problem="", left=len(self._left))
        return moved

    async def _forward_one(self, session: Session, sent: Sent, over: bool) -> tuple[bool, int]:
        """Whether something was sent, and how many chunks are still to be. Facts go first: they are few, and say the most."""
        closing = session.end("closing")  # asked before the rows: nothing is written after it
        before = sent
        sent = await self._send_facts(session, sent)
        sent = await self._send_chunks(session, sent, closing)
        count = session.count
        whole = sent.chunks == sent.facts == count
        if whole and not sent.ended and closing is None and over:
            sent = self._acknowledged(session, msgspec.structs.replace(sent, ended=True))  # cut off: nothing more will come
        if whole and sent.ended:
            told = Manifest(session.opening.session, closing is None, tuple(sent.places.values()))
            await self._send(session, SESSIONS, [msgspec.json.encode(told)])
            sent = self._acknowledged(session, msgspec.structs.replace(sent, closed=True))
        return sent != before, count - min(sent.chunks, sent.facts) + (closing is not None and not sent.closed)

    async def _send_facts(self, session: Session, sent: Sent) -> Sent:
        """All streams, or none: the numbers of a batch that is sent again are the same then."""
        counts = {stream: sent.place(topic_of(session.opening.symbols, stream)).count for stream in Stream}
        found: dict[Stream, list[bytes]] = {}
        following, room = sent.facts, FACTS_AT_ONCE
        for row in session.rows(sent.facts):
            for stream, fact in facts(session.opening.session, session.decoded(row), counts):
                found.setdefault(stream, []).append(msgspec.msgpack.encode(fact))
                room -= 1
            following = row.number + 1
            if room <= 0:
                break
        after = sent
        for stream, values in found.items():
            topic, *offsets = await self._send(session, stream, values)
            after = after.after(values, topic, *offsets)
        if following == sent.facts:
            return sent
        return self._acknowledged(session, msgspec.structs.replace(after, facts=following))

    async def _send_chunks(self, session: Session, sent: Sent, closing: tuple[bytes, bytes] | None) -> Sent:
        name = session.opening.session
        values: list[bytes] = []
        if not sent.opened and (opening := session.end("opening")) is not None:
            values += packed(name, OPENING, opening)
        following, room = sent.chunks, BATCH_BYTES
        for row in session.rows(sent.chunks):
            values += packed(name, row.number, row)
            following = row.number + 1
            room -= len(row.body) + len(row.state)
            if room <= 0:
                break
        ended = sent.ended
        if not values and closing is not None and not ended:
            values, ended = packed(name, CLOSING, closing), True
        if not values:
            return sent
        topic, *offsets = await self._send(session, CHUNKS, values)
        after = msgspec.structs.replace(sent.after(values, topic, *offsets), opened=True, chunks=following, ended=ended)
        return self._acknowledged(session, after)

    async def _send(self, session: Session, stream: str, values: list[bytes]) -> tuple[str, int, int]:
        """The topic, and the first and the last offset."""
        assert self._cluster is not None
        topic = topic_of(session.opening.symbols, stream)
        if topic not in self._topics:
            await self._cluster.ensure(topic, self._retention_s)
            self._topics.add(topic)
        first, last = await self._cluster.send(topic, session.opening.session, values)
        self.status = msgspec.structs.replace(self.status, sent=self.status.sent + len(values))
        return topic, first, last

    def _acknowledged(self, session: Session, sent: Sent) -> Sent:
        self._outbox.acknowledged(session.opening.session, sent)
        return sent


async def pull(order: Order) -> Path:
    """A session from the cluster into this state folder, verified. Raises QueueError and SessionError."""
    cluster = Cluster(order.access)
    await cluster.connect()
    sessions, topic = order.topics
    place = await _place(cluster, sessions, topic, order.session)
    found, rows = Assembly(order.session), list[Row]()
    async for offset, value in cluster.read(topic, max(place.first, 0)):
        row = found.take(value)
        if row is not None:
            rows.append(row)
        if found.closing is not None or offset == place.last:
            break
    if found.opening is None:
        where = f"{topic} at {order.access.endpoint}"
        raise SessionError(order.session, f"{where} does not hold the beginning of this session")
    path = new_path(Path(order.folder), msgspec.json.decode(found.opening[0], type=Opening))
    if path.exists():
        raise SessionError(str(path), "this session is here already")
    rebuild(path, found.opening, rows, found.closing)
    return path


async def _place(cluster: Cluster, sessions: str, topic: str, name: str) -> Place:
    """Where a session's chunks lie, by its manifest; anywhere on the topic where it has none yet."""
    if sessions in await cluster.topics():
        async for _, value in cluster.read(sessions):
            told = manifest(value)
            if told is not None and told.session == name:
                return next((place for place in told.places if place.topic == topic), Place(topic))
    return Place(topic)


def main() -> int:
    """`forward` until stdin closes, or `pull`; the order is the first line of stdin."""
    os.nice(NICENESS)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    try:
        if sys.argv[1] == "pull":
            sys.stdout.write(f"{asyncio.run(pull(order))}\n")
            return 0
        threading.Thread(target=_end_with_owner, daemon=True).start()
        asyncio.run(_forward(order))
    except BarterError as problem:
        sys.stderr.write(f"{problem}\n")
        return 1
    return 0


async def _forward(order: Order) -> None:
    """The session's records, and what consoles elsewhere see and ask for."""
    folder = Path(order.folder)
    bridge = Bridge(Outbox(folder), order.access, order.retention_s)
    secret, why = None, ""
    try:
        secret = control_secret(os.environ)
    except ConfigError as problem:  # the records go on all the same
        why = str(problem)
    relay = Relay(folder, order.access, order.topics, secret, why, bridge.tell)
    await asyncio.gather(bridge.run(), relay.run())


def _end_with_owner() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    code = main()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)  # an orderly end of the interpreter can crash after the client was used
