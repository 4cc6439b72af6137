"""What other programs say: consoles, engines, brokers, models."""

import asyncio
import functools
import json
import logging
import random
import struct
from collections.abc import Callable
from typing import Any

import msgspec
import zstandard

from console.link import WireLink
from engine.config import create_aster_config
from engine.core import Core
from engine.core.pictures import pictures
from engine.errors import BarterError, QueueError
from engine.events import Action, Alert, Command, Event, Level, OrderKind, Side, Ticket, Trading, TradingChanged
from engine.judgment import answer
from engine.model import Ollama
from engine.queue.access import Access, preflight
from engine.queue.relay import Board, _heard, unpacked
from engine.queue.sealed import Gate, Refused, Sealed, _mac, seal
from engine.server import Consoles
from engine.views import PROTOCOL, Answer, AnyPicture, Ask, Frame, Goodbye, Hello, Leave, Watch, Welcome, encode
from engine.wire import memory_wires
from tests import pictures as desks
from tests.factory import MARKET
from tests.fuzz.bench import busy
from tests.ollama_standin import reply

LOOP = asyncio.new_event_loop()


# --- consoles and engines ----------------------------------------------------------------------------------------------


class _Engine:
    """A busy core as a link's source. What a console asks goes into it as it does in a real engine."""

    def __init__(self) -> None:
        desk = busy()
        self.settings, self.at = desk.settings, desk.at
        self.core = Core.restore(desk.settings, desk.state)

    def pictures(self, watch: Watch) -> list[AnyPicture]:
        return pictures(self.core.state, self.settings, watch)

    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        return lambda: None

    def ask(self, ask: Ask) -> Answer:
        self.core.process(Command(self.at, ask.id, ask.action, ask.source, ask.target, ask.note[:200], ask.ticket))
        self.core.snapshot()
        return Answer(ask.id, True, "done")


class _Errors(logging.Handler):
    """What a server logs as a crash is a finding."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.seen: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.seen.append(record)


def _tree(message: object) -> Any:
    return msgspec.msgpack.decode(encode(message))


def to_engine() -> tuple[bytes, ...]:
    hello = Hello(PROTOCOL, "0.1.0", True, 12.0)
    order = Ticket(Side.BUY, OrderKind.LIMIT, 100, 6150, stop=6100, target=6400)
    talks: list[list[object]] = [
        [hello, Watch(MARKET, 1_000, 20, "btw00010004"), Ask("1", Action.ORDER, MARKET, "", "the console", order)],
        [hello, Ask("2", Action.AMEND, "btw00010004", ticket=Ticket(Side.BUY, OrderKind.LIMIT, 100, 6140)), Leave(True)],
        [hello, Ask("3", Action.CLOSE, MARKET), Ask("4", Action.HALT), Ask("5", Action.FLATTEN), Ask("6", Action.RELEASE)],
        [
            hello,
            Ask("7", Action.CANCEL, "btw00010004"),
            Ask("8", Action.VETO, MARKET, "why"),
            Ask("9", Action.COLLECT, "BTC/USDT:USDT"),
        ],
        [hello, Ask("a", Action.ORDER, MARKET, ticket=Ticket(Side.SELL, OrderKind.STOP, 0, trigger=6110, reduce_only=True))],
        [Hello(PROTOCOL, "0.1.0", True, 3.0, True), Watch("okx:BTC/USDT:USDT", 60_000, 5)],
        [Hello(PROTOCOL, "0.1.0", True, 0.0), Ask("b", Action.DROP, "BTC/USDT:USDT"), Ask("c", Action.SHUTDOWN)],
    ]
    return tuple(msgspec.msgpack.encode([_tree(message) for message in talk]) for talk in talks)


def engine(raw: bytes) -> None:
    """A console says this: it is answered or sent away with a sentence, and the engine goes on."""
    try:
        told = msgspec.msgpack.decode(raw)
        talk = [msgspec.msgpack.encode(one) for one in told] if isinstance(told, list) else [raw]
    except (ValueError, RecursionError, OverflowError, TypeError):
        talk = [encode(Hello(PROTOCOL, "0", True, 1.0)), raw]
    source = _Engine()
    errors = _Errors()
    log = logging.getLogger("barter.server")
    log.addHandler(errors)
    kept, log.propagate = log.propagate, False
    try:
        LOOP.run_until_complete(_talk(source, talk[:20]))
    finally:
        log.removeHandler(errors)
        log.propagate = kept
    for record in errors.seen:
        if record.exc_info and record.exc_info[1] is not None:
            raise record.exc_info[1]


async def _talk(source: _Engine, talk: list[bytes]) -> None:
    consoles = Consoles(source, "fuzz00", (MARKET,), Watch(MARKET, 1_000, 20))
    near, far = memory_wires()
    attending = asyncio.create_task(consoles.attend(far))
    reading = asyncio.create_task(_read(near))
    try:
        for message in talk:
            await near.send(message)
        for _ in range(20):
            await asyncio.sleep(0)
        await near.part()
        await attending
        await reading
    except ConnectionError:
        await attending
        await reading
    assert not consoles._present, "a console that has gone is kept"
    source.pictures(Watch(MARKET, 1_000, 20))


async def _read(wire: Any) -> None:
    try:
        while True:
            await wire.receive()
    except ConnectionError:
        pass


def to_console() -> tuple[bytes, ...]:
    frame = Frame(0, desks.random_pictures(random.Random(7)), ())
    told = Frame(3, (), (Alert(1, Level.INFO, "x"), TradingChanged(2, Trading.OFF, "y")))
    messages = (Welcome(PROTOCOL, "0", "s", 1, (MARKET,), 0), Goodbye("x"), frame, told, Answer("1", True, "done"))
    return tuple(encode(message) for message in messages)


def console(raw: bytes) -> None:
    """An engine says this, first or after its welcome: it is a message, or the link ends with a sentence."""
    for first in (encode(Welcome(PROTOCOL, "0", "s", 1, (MARKET,), 0)), raw):
        LOOP.run_until_complete(_hear(first, raw))


async def _hear(first: bytes, raw: bytes) -> None:
    async def connect() -> Any:
        near, far = memory_wires()
        await far.send(first)
        await far.send(raw)
        return near

    link = WireLink(connect)
    try:
        await link.open()
        assert isinstance(await link.receive(), Frame | Answer | Goodbye)
    except BarterError as problem:
        assert str(problem)
    finally:
        await link.close()


# --- over a broker -----------------------------------------------------------------------------------------------------


def records() -> tuple[bytes, ...]:
    """A record of views as two parts, what is packed and what is around it."""
    board = Board("fuzz00")
    heard = _heard.decode(to_console()[2])
    board.hear(heard)  # type: ignore[arg-type]
    board.hear(_heard.decode(to_console()[3]))  # type: ignore[arg-type]
    board.answer(Answer("1", True, "done"))
    due = board.take(100.0, 1)
    assert due is not None
    around = msgspec.msgpack.decode(due[0])
    inner = msgspec.msgpack.decode(zstandard.ZstdDecompressor().decompress(around[-1], max_output_size=1 << 24))
    return (due[0], msgspec.msgpack.encode([around[:-1], inner]))


def far_views(raw: bytes) -> None:
    """Anybody who can write to the topic: a record is read whole, or it is none."""
    for value in (raw, _packed(raw)):
        try:
            shown, body = unpacked(value)
        except ValueError:
            continue
        for news in body.news:
            assert isinstance(news, Event)
        for one in body.answers:
            assert isinstance(one, Answer)
        assert isinstance(shown.sequence, int) and isinstance(body.goodbye, str)


def _packed(raw: bytes) -> bytes:
    try:
        around, inner = msgspec.msgpack.decode(raw)
        packed = zstandard.ZstdCompressor(level=1).compress(msgspec.msgpack.encode(inner))
        return msgspec.msgpack.encode([*around, packed])
    except (ValueError, TypeError, RecursionError, OverflowError):
        return raw


SECRET = b"correct horse battery staple"


def commands() -> tuple[bytes, ...]:
    asks = (Ask("1", Action.HALT), Ask("2", Action.ORDER, MARKET, ticket=Ticket(Side.BUY, OrderKind.MARKET, 10, stop=6100)))
    return tuple(seal(ask, "fuzz00", SECRET, 1) for ask in asks)


def far_commands(raw: bytes) -> None:
    """A record without the seal is refused; so is one whose seal is right and whose body is none."""
    genuine = commands()
    try:
        ask = Gate("fuzz00", SECRET).open(raw, 1)
    except Refused as refused:
        assert str(refused) and len(refused.id) <= 64
    else:
        assert seal(ask, "fuzz00", SECRET, 1) in genuine, "a command was let through that nobody sealed"
    sealed = Sealed("fuzz00", "1", 2, raw, _mac(SECRET, "fuzz00", "1", 2, raw))
    try:
        Gate("fuzz00", SECRET).open(msgspec.msgpack.encode(sealed), 1)
    except Refused as refused:
        assert str(refused)


def greetings() -> tuple[bytes, ...]:
    version = b"0.17.3"
    body = struct.pack(">ihI", 1, 0, 1) + struct.pack(">hhh", 18, 1, 2) + struct.pack(">h", len(version)) + version
    return (struct.pack(">i", len(body)) + body, b"HTTP/1.1 400 Bad Request\r\n\r\n")


def greeting(raw: bytes) -> None:
    """Whatever answers where a cluster should be."""

    async def run() -> None:
        async def answered(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(raw)
            writer.close()

        async with await asyncio.start_server(answered, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            try:
                await preflight(Access(f"127.0.0.1:{port}"))
            except QueueError as problem:
                assert str(problem)

    LOOP.run_until_complete(run())


# --- models ------------------------------------------------------------------------------------------------------------


def answers() -> tuple[bytes, ...]:
    return tuple(text.encode() for text in (reply(60), reply(35), '{"chance_up": 55, "expires_min": 10, "invalid_bp": 40,'))


def judgment(raw: bytes) -> None:
    """What a model wrote: an opinion within its bounds, or the reason why there is none."""
    text = raw.decode("utf-8", "surrogateescape")
    for part in (text, answer.committed(text)):
        try:
            opinion = answer.decode(part)
        except answer.AnswerError as problem:
            assert problem.kind in answer.FAILURES and str(problem)
            continue
        assert 1 <= opinion.chance_up <= 99 and opinion.expires_min in answer.EXPIRIES and 5 <= opinion.invalid_bp <= 300
    for words in (answer.rationale(text[: answer.LONGEST]), answer.clean(text)):
        assert len(words) <= answer.WHY_LENGTH and words.isascii() and words.isprintable()


def replies() -> tuple[bytes, ...]:
    """Bodies of its replies, a line each."""
    model = {"name": "mistral:7b", "model": "mistral:7b", "digest": "abc", "size": 4, "size_vram": 0}
    words = [
        {"message": {"role": "assistant", "content": word}, "done": False} for word in ('{"chance_up": 55,', '"expires_min": 10')
    ]
    last = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": "stop", "eval_count": 4}
    pulled = [{"status": "pulling", "digest": "abc", "total": 100, "completed": 10}, {"status": "success"}]
    documents: tuple[list[Any], ...] = ([{"models": [model]}], [{"version": "0.33.0"}], [*words, last], pulled, [{"error": "no"}])
    return tuple(json.dumps(lines).encode() for lines in documents)


def model_server(raw: bytes) -> None:
    try:
        document = msgspec.json.decode(raw, type=list[msgspec.Raw])
        body = b"\n".join(bytes(line) for line in document) + b"\n"
    except (ValueError, RecursionError):
        body = raw
    LOOP.run_until_complete(_serve(body))


@functools.cache
def _client() -> None:
    import httpx
    import ollama

    assert httpx and ollama


async def _serve(body: bytes) -> None:
    """Whatever is asked of it, the server says this."""
    _client()

    async def answered(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\nConnection: close\r\n\r\n" + body)
            await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(answered, "127.0.0.1", 0) as server:
        host = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        model = Ollama(create_aster_config(judgment={"host": host, "deadline_s": 5.0}).judgment)

        async def pull() -> None:
            async for _ in model.pull("x"):
                pass

        try:
            for question in (
                lambda: model.find(""),
                model.loaded,
                lambda: model.warm("x"),
                lambda: model.answer("x", "t", str),
                pull,
            ):
                try:
                    await question()
                except answer.AnswerError as problem:
                    assert problem.kind in answer.FAILURES and str(problem)
        finally:
            await model.close()
