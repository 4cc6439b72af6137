"""An engine's pictures and news in, a few records a second for consoles elsewhere out; their sealed commands the other way.

It is one more console of the engine, at its local socket, in the bridge's process. The newest wins: what the cluster does not
take in time is replaced by what came since, and each picture is sent again from time to time, so that a console may come late.
"""

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Literal

import msgspec
import zstandard
from websockets.asyncio.client import ClientConnection, unix_connect
from websockets.exceptions import WebSocketException

from engine import __version__
from engine.door import find
from engine.errors import QueueError
from engine.queue.access import Access
from engine.queue.fluvio import END, Cluster
from engine.queue.packed import unpack
from engine.queue.sealed import Gate, Refused
from engine.views import PROTOCOL, Answer, AnyNews, AnyPicture, Goodbye, Hello, Welcome, encode

VIEWS, COMMANDS = "views", "commands"  # ends of topics' names
EVERY_S = 0.33
REFRESHED_S = 4.0  # a picture that did not change is sent again
RECORD_BYTES = 600_000  # of pictures, before compression; the rest waits for the next record
LARGEST_BODY = 16 << 20
NEWS_KEPT, ANSWERS_KEPT = 1_000, 100
RETENTION_S, SEGMENT_BYTES = 900, 8 << 20
WAIT_S, LOOK_S = 2.0, 0.5
COMMANDER = "a console over Fluvio"


class Shown(msgspec.Struct, frozen=True, array_like=True):
    """A record of the topic of views. `relay` is another after each restart of it, and `sequence` begins anew then; `sent_ns` is
    the wall clock of the engine's machine, UTC. `news` is the engine's number of the first news. See `Body`.
    """

    protocol: int  # of the pictures in it
    session: str
    relay: str
    sequence: int
    sent_ns: int
    news: int
    body: bytes


class Body(msgspec.Struct, frozen=True, array_like=True):
    """What is in one, compressed. `goodbye` is the engine's, "" before its end."""

    pictures: tuple[msgspec.Raw, ...]
    news: tuple[msgspec.Raw, ...]
    answers: tuple[msgspec.Raw, ...] = ()
    goodbye: str = ""


class Told(msgspec.Struct, frozen=True, array_like=True):
    """`Body`, as it is read. Pictures are passed on as they are: whoever shows them decodes them."""

    pictures: tuple[msgspec.Raw, ...]
    news: tuple[AnyNews, ...]
    answers: tuple[Answer, ...] = ()
    goodbye: str = ""


class _Frame(msgspec.Struct, frozen=True, tag="Frame"):
    """`views.Frame`, whose parts are passed on as they are."""

    first: int
    pictures: tuple[msgspec.Raw, ...]
    news: tuple[msgspec.Raw, ...]


_heard = msgspec.msgpack.Decoder(Welcome | Goodbye | _Frame | Answer)
_picture = msgspec.msgpack.Decoder(AnyPicture)
_shown = msgspec.msgpack.Decoder(Shown)
_told = msgspec.msgpack.Decoder(Told)


def unpacked(value: bytes) -> tuple[Shown, Told]:
    """A record of views, read. Raises ValueError."""
    try:
        found = _shown.decode(value)
        return found, _told.decode(unpack(found.body, LARGEST_BODY))
    except (ValueError, RecursionError, zstandard.ZstdError) as problem:  # msgspec's are ValueErrors
        raise ValueError(f"no record of views ({problem})") from None


class Board:
    """What consoles elsewhere should see: `take` gives what is due, and `taken` says that it arrived."""

    def __init__(self, session: str) -> None:
        self.session, self.relay = session, secrets.token_hex(4)
        self.sequence = self.dropped = 0
        self.goodbye = ""
        self._pictures: dict[tuple[str, str], tuple[bytes, float]] = {}  # and when it was sent last, 0 for never
        self._news: deque[bytes] = deque(maxlen=NEWS_KEPT)
        self._next = 0  # number of the next news
        self._answers: deque[bytes] = deque(maxlen=ANSWERS_KEPT)
        self._packer = zstandard.ZstdCompressor(level=1)

    def hear(self, frame: _Frame) -> None:
        for raw in frame.pictures:
            self._pictures[_picture.decode(raw).key] = bytes(raw), 0.0
        for number, news in enumerate(frame.news, start=frame.first):
            self.dropped += len(self._news) == NEWS_KEPT
            self._news.append(bytes(news))
            self._next = number + 1

    def answer(self, answer: Answer) -> None:
        self._answers.append(encode(answer))

    def take(self, now: float, now_ns: int) -> "tuple[bytes, Callable[[], None]] | None":
        """A record and what to call once it is acknowledged; None when there is nothing to say. `now` is monotonic seconds."""
        chosen: dict[tuple[str, str], bytes] = {}
        room = RECORD_BYTES
        for key, (raw, sent) in sorted(self._pictures.items(), key=lambda item: item[1][1]):
            if now - sent < REFRESHED_S or (chosen and room < len(raw)):
                break  # the longest unsent come first
            chosen[key], room = raw, room - len(raw)
        news, answers = tuple(self._news), tuple(self._answers)
        if not (chosen or news or answers or self.goodbye):
            return None
        body = Body(_raws(chosen.values()), _raws(news), _raws(answers), self.goodbye)
        packed = self._packer.compress(msgspec.msgpack.encode(body))
        record = Shown(PROTOCOL, self.session, self.relay, self.sequence, now_ns, self._next - len(news), packed)
        self.sequence += 1  # also when it does not arrive: another one like it would differ

        def taken() -> None:
            for key, raw in chosen.items():
                if self._pictures[key][0] is raw:  # else a newer one came meanwhile
                    self._pictures[key] = raw, now
            for kept, sent in ((self._news, news), (self._answers, answers)):
                for one in sent:
                    if kept and kept[0] is one:  # else the newest pushed it out
                        kept.popleft()

        return msgspec.msgpack.encode(record), taken


class Relay:
    """Runs for ever beside the bridge. `tell` is called with what changed in the bridge's status."""

    def __init__(
        self, folder: Path, access: Access, topics: tuple[str, str], secret: bytes | None, why: str, tell: Callable[..., None]
    ) -> None:
        """`why`: what is wrong with the secret, "" where there is none or nothing is."""
        self._folder, self._access, self._secret, self._why, self._tell = folder, access, secret, why, tell
        self._views, self._commands = topics
        self._board: Board | None = None
        self._gate = Gate("", None)
        self._counts: dict[Literal["commands", "refused"], int] = {"commands": 0, "refused": 0}

    async def run(self) -> None:
        while True:
            try:
                await self._serve_one()
            except (OSError, TimeoutError, WebSocketException, ConnectionError):
                await asyncio.sleep(LOOK_S)  # no engine listens here, or it has gone

    async def _serve_one(self) -> None:
        """From the engine's welcome to its end."""
        wanted = unix_connect(str(find(self._folder)), "ws://engine/", compression=None, max_size=LARGEST_BODY, close_timeout=1.0)
        async with wanted as engine:
            hello = Hello(PROTOCOL, __version__, self._secret is not None, 1 / EVERY_S, relay=True)
            await engine.send(encode(hello))
            welcome = _heard.decode(await engine.recv(decode=False))
            if not isinstance(welcome, Welcome):
                raise ConnectionError("the engine did not welcome it")
            if self._board is None or self._board.session != welcome.session:
                self._board, self._gate = Board(welcome.session), Gate(welcome.session, self._secret, self._why)
            board = self._board
            hearing = asyncio.create_task(self._hear(engine, board))
            passing = asyncio.create_task(self._pass_on(engine, board))
            try:
                await asyncio.wait((hearing, passing), return_when=asyncio.FIRST_COMPLETED)
                if hearing.done() and board.goodbye:
                    await asyncio.wait((passing,), timeout=2.0)  # the last record, as far as the cluster takes it
            finally:
                for task in (hearing, passing):
                    task.cancel()
                ends = await asyncio.gather(hearing, passing, return_exceptions=True)
            for end in ends:
                if isinstance(end, Exception):
                    raise end

    async def _hear(self, engine: ClientConnection, board: Board) -> None:
        while True:
            heard = _heard.decode(await engine.recv(decode=False))
            match heard:
                case _Frame():
                    board.hear(heard)
                case Answer():
                    board.answer(heard)
                case Goodbye(reason):
                    board.goodbye = reason or "The engine ended."
                    return

    async def _pass_on(self, engine: ClientConnection, board: Board) -> None:
        """Until the goodbye is told, whatever the cluster does meanwhile."""
        while True:
            try:
                cluster = Cluster(self._access)
                await cluster.connect()
                for topic in (self._views, self._commands):
                    await cluster.ensure(topic, RETENTION_S, SEGMENT_BYTES)
                publishing = asyncio.create_task(self._publish(cluster, board))
                obeying = asyncio.create_task(self._obey(cluster, engine, board))
                try:
                    await asyncio.wait((publishing, obeying), return_when=asyncio.FIRST_COMPLETED)
                finally:
                    for task in (publishing, obeying):
                        task.cancel()
                    ends = await asyncio.gather(publishing, obeying, return_exceptions=True)
                for end in ends:
                    if isinstance(end, Exception):
                        raise end
                return
            except QueueError as problem:
                self._tell(shows=str(problem))
                await asyncio.sleep(WAIT_S)

    async def _publish(self, cluster: Cluster, board: Board) -> None:
        """One record under way at a time; returns once the goodbye is told."""
        while True:
            began = time.monotonic()
            last = bool(board.goodbye)
            if (due := board.take(began, time.time_ns())) is not None:
                value, taken = due
                await cluster.send(self._views, board.session, [value])
                taken()
                self._tell(shows="")
            if last:
                return
            await asyncio.sleep(max(EVERY_S - (time.monotonic() - began), 0.02))

    async def _obey(self, cluster: Cluster, engine: ClientConnection, board: Board) -> None:
        """Commands that come from now on: those from before it would come late."""
        async for _, value in cluster.read(self._commands, END, follow=True):
            try:
                ask = self._gate.open(value, time.time_ns())
            except Refused as refused:
                self._count("refused", refusal=refused.reason)
                if refused.id and refused.session == board.session:
                    board.answer(Answer(refused.id, False, f"It was refused: {refused.reason}."))
                continue
            self._count("commands")
            with contextlib.suppress(ConnectionError, WebSocketException):
                await engine.send(encode(msgspec.structs.replace(ask, source=COMMANDER)))

    def _count(self, name: Literal["commands", "refused"], **more: str) -> None:
        self._counts[name] += 1
        self._tell(**{name: self._counts[name]}, **more)


def _raws(values: Iterable[bytes]) -> tuple[msgspec.Raw, ...]:
    return tuple(msgspec.Raw(value) for value in values)
