"""What lies in files and is typed: settings, keys, sessions, captures, bars, flags, orders."""

import contextlib
import functools
import gzip
import io
import itertools
import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
import zstandard

from console import backtest, data, research, sweep, theme
from console.cli import _flags, make_parser
from console.orderline import LINES, LineError, complete, read
from engine.backtest import files as bars
from engine.config import changed, create_aster_config, load, render_config
from engine.core import Core
from engine.errors import CaptureError, ConfigError, DataError, SessionError
from engine.events import Event, Mode, Started
from engine.keychain import find_keys
from engine.queue import Closing, Kind, Opening
from engine.queue.layout import CHUNK_LIMIT, Row, chained
from engine.queue.local import LocalQueue, rebuild
from engine.queue.session import Session
from engine.queue.tail import tail_of
from engine.replay import Replay
from engine.runtime import latch
from engine.venue.capture import scan
from tests.fuzz.bench import busy
from tests.world import World

place = Path(tempfile.gettempdir())  # what is read lies here: see `doors.alone`


def put(name: str, raw: bytes) -> Path:
    path = place / name
    path.write_bytes(raw)
    path.chmod(0o600)
    return path


# --- settings ----------------------------------------------------------------------------------------------------------


def settings_files() -> tuple[bytes, ...]:
    small = b'[engine]\nvenues = ["okx"]\n[risk]\nmax_leverage = 2\nday_starts = "06:30"\n[strategy]\nname = "stance"\n'
    catalogue = b'[[indicators]]\nname = "rsi"\ntimeframe = "1m"\nlabel = "slow RSI"\n[indicators.parameters]\nwindow = 28\n'
    return (small, catalogue, small + catalogue, render_config().encode())


def settings_file(raw: bytes) -> None:
    with contextlib.suppress(ConfigError):
        load(file=put("config.toml", raw), environ={}, flags={})


def settings_words() -> tuple[bytes, ...]:
    flags = {"risk.max_leverage": "2", "engine.symbols": "BTC/USDT:USDT,ETH/USDT:USDT", "strategy.parameters": '["bars=40"]'}
    environ = {"BARTER_RISK_MAX_LEVERAGE": "2", "BARTER_ENGINE_MODE": "paper", "BARTER_JUDGMENT_HOST": "http://127.0.0.1:1"}
    return tuple(json.dumps(one).encode() for one in ([flags, environ], [{}, environ], [flags, {}]))


def settings_words_read(raw: bytes) -> None:
    try:
        given = msgspec.json.decode(raw, type=tuple[dict[str, str], dict[str, str]])
    except (ValueError, RecursionError):
        return
    flags, environ = given
    with contextlib.suppress(ConfigError):
        load(file=None, environ=environ, flags=flags)
    with contextlib.suppress(ConfigError):
        changed(create_aster_config(), flags)


def command_lines() -> tuple[bytes, ...]:
    lines = (
        ["--no-ui", "--json", "--for", "60s", "--seed", "11", "--set", "risk.max_leverage=2"],
        ["--mode", "paper", "--symbol", "BTC/USDT:USDT", "--arm", "--verbose", "--speed", "10"],
        ["--replay", "latest", "--no-ui", "--what-if", "risk.max_order_notional=200"],
        ["sessions", "verify", "latest", "--head", "ab12"],
        ["sessions", "bundle", "latest", "--last", "30m", "--at=-1:30", "--as", "csv"],
        ["attach", "--fluvio", "10.0.0.5:9003", "--control"],
        ["kill", "--flatten"],
        ["drill", "--tries", "3"],
        [
            "backtest",
            "--data",
            "synthetic",
            "--strategy",
            "breakout",
            "--set",
            "bars=40",
            "--capital",
            "1000",
            "--from",
            "2024-01-01",
        ],
        ["sweep", "--data", "synthetic", "--over", "bars=10,20,30"],
        ["data", "show"],
    )
    return tuple(json.dumps(line).encode() for line in lines)


def command_line(raw: bytes) -> None:
    """Up to where something would be started: a value, a usage error (exit 2) or help and version (exit 0)."""
    try:
        words = msgspec.json.decode(raw, type=list[str])
    except (ValueError, RecursionError):
        return
    own = {"backtest": backtest, "data": data, "sweep": sweep}
    with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
        try:
            if words and words[0] in own:
                given = own[words[0]].make_parser().parse_args(words[1:])
                research.settings_of(given, {})
                return
            arguments = make_parser().parse_args(words)
            load(file=arguments.config, environ={}, flags=_flags(arguments))
        except ConfigError:
            pass
        except SystemExit as end:
            assert end.code in (0, 2), f"exit code {end.code}"


def keys_files() -> tuple[bytes, ...]:
    tables = {"binance": {"key": "k" * 64, "secret": "s" * 64}, "okx": {"key": "k", "secret": "s", "passphrase": "p"}}
    return (
        json.dumps(tables).encode(),
        b'[binance]\nkey = "abc"\nsecret = "def"\n[okx]\nkey = "a"\nsecret = "b"\npassphrase = "c"\n',
    )


def keys_file(raw: bytes) -> None:
    for name, venue in itertools.product(("keys.toml", "keys.json"), ("binance", "okx")):
        path = put(name, raw)
        try:
            find_keys(venue, Mode.LIVE, {"BARTER_KEYS_FILE": str(path)}, place)
        except ConfigError as problem:
            assert "k" * 64 not in str(problem) and "s" * 64 not in str(problem), "a key is repeated"


# --- sessions ----------------------------------------------------------------------------------------------------------


@functools.cache
def _recorded() -> tuple[list[tuple[Event, list[Event]]], list[bytes]]:
    """Inputs and outputs of a small session, and the core's state at each tenth."""
    world = World()
    world.wait(500)
    inputs = list(world.desk.inputs)
    world.close()
    first = inputs[0]
    assert isinstance(first, Started)
    settings = busy().settings
    inputs[0] = msgspec.structs.replace(first, settings=msgspec.json.encode(settings).decode())
    core = Core(settings)
    steps, states = [], []
    for number, event in enumerate(inputs):
        steps.append((event, list(core.process(event))))
        states.append(core.snapshot() if number % 10 == 9 else b"")
    return steps, states


OPENING = Opening("fuzz00", "", Mode.DEMO, ("ASTER/USDT:USDT",), ("binance",), "0", "c", "3.11", 1, 1.0)


@functools.cache
def _session() -> tuple[bytes, frozenset[str], tuple[Row, ...], tuple[bytes, bytes]]:
    """A session's file, its hashes, its chunks, its opening."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.barter"
        queue = LocalQueue(path, OPENING)
        for (event, out), state in zip(*_recorded(), strict=True):
            queue.append(event, out)
            if state:
                queue.keep(state)
        queue.close(Closing(2, queue.inputs, queue.outputs, 0, 0, "0", "0"))
        with Session(path) as session:
            rows = tuple(session.rows())
            opening = session.end("opening")
            assert opening is not None
            heads = {opening[1].hex(), session.verify().head, *(row.digest.hex() for row in rows)}
        return path.read_bytes(), frozenset(heads), rows, opening


def session_files() -> tuple[bytes, ...]:
    return (_session()[0],)


def session_file(raw: bytes) -> None:
    """What can be read of a damaged file is what was written, or a SessionError."""
    path = put("damaged.barter", raw)
    try:
        with Session(path) as session:
            verified = session.verify()
            assert verified.head in _session()[1], "an altered session was verified"
            for _ in session.chunks():
                pass
    except SessionError:
        pass
    for look in (
        lambda session: list(session.chunks(7)),
        lambda session: list(session.kept()),
        lambda session: (session.closing, session.condensed, session.inputs, session.count),
        lambda session: session.state_before(15),
        lambda session: session.at(busy().at),
        lambda session: list(session.holding(int(Kind.ALERT | Kind.TRADING), 5, back=True)),
        lambda session: session.kinds(255),
        lambda session: list(session.rows(1)),
    ):
        with contextlib.suppress(SessionError), Session(path) as session:
            look(session)


def session_records() -> tuple[bytes, ...]:
    rows = _session()[2]
    return tuple(zstandard.ZstdDecompressor().decompress(row.body, max_output_size=CHUNK_LIMIT) for row in rows[:3])


def session_record(raw: bytes) -> None:
    """A file whose hashes are all right and whose records are anything: read, replayed, or a SessionError."""
    if len(raw) > CHUNK_LIMIT:
        return
    try:
        body = msgspec.msgpack.decode(raw)
        inputs, outputs, at = len(body[0]), len(body[1]), 1
    except (ValueError, TypeError, LookupError, RecursionError):
        inputs, outputs, at = 1, 0, 1
    opening = _session()[3]
    row = Row(0, 0, inputs, outputs, at, 0, len(raw), zstandard.ZstdCompressor(level=1).compress(raw), b"")
    row = row._replace(digest=chained(opening[1], row))
    path = place / "strange.barter"
    try:
        rebuild(path, opening, [row], None)
        with Session(path) as session:
            Replay(session).run()
    except SessionError:
        pass


@functools.cache
def _killed() -> tuple[bytes, bytes, int]:
    """A session whose writer was killed, what lies beside it, and how many inputs both hold."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.barter"
        queue = LocalQueue(path, OPENING)
        half = len(_recorded()[0]) // 2
        for number, (event, out) in enumerate(_recorded()[0]):
            queue.append(event, out)
            if number > half and number % 5 == 0:
                queue.secure()
            elif number == half:
                queue.commit()
                queue.checkpoint()
        queue.secure()
        session, tail = path.read_bytes(), tail_of(path).read_bytes()
        whole = queue.inputs
        queue.close(None)
        return session, tail, whole


def session_tails() -> tuple[bytes, ...]:
    return (_killed()[1],)


def session_tail(raw: bytes) -> None:
    """Whatever lies beside a session, the session is read, and no record is made up."""
    session, tail, whole = _killed()
    path = put("killed.barter", session)
    put(tail_of(path).name, raw)
    try:
        with Session(path) as read_again:
            assert read_again.verify().inputs <= whole and (raw != tail or read_again.inputs == whole)
            list(read_again.chunks())
    finally:
        tail_of(path).unlink(missing_ok=True)


# --- small files -------------------------------------------------------------------------------------------------------


def themes() -> tuple[bytes, ...]:
    return tuple(path.read_bytes() for path in theme.files(theme.folder()))


def theme_file(raw: bytes) -> None:
    with contextlib.suppress(ConfigError):
        theme.load(put("strange.toml", raw))


def latches() -> tuple[bytes, ...]:
    return (b'{"reason":"halted by the key","since":"2026-11-30T06:00:00+00:00"}',)


def latch_file(raw: bytes) -> None:
    """A damaged latch is a latch: whatever is in the file, trading is halted, in words that can be shown."""
    put(latch.NAME, raw)
    assert latch.read(place), "a latch was read as none"


# --- market data -------------------------------------------------------------------------------------------------------


def capture_files() -> tuple[bytes, ...]:
    depth = (
        b'{"stream":"asterusdt@depth","data":{"e":"depthUpdate","E":1786541222809,"T":1786541222806,"s":"ASTERUSDT",'
        b'"U":157,"u":160,"pu":149,"b":[["0.6199","10"]],"a":[["0.6202","100"]]}}'
    )
    trade = (
        b'{"stream":"asterusdt@aggTrade","data":{"e":"aggTrade","E":1786541222810,"a":8,"s":"ASTERUSDT","p":"0.6200",'
        b'"q":"297","f":1,"l":4,"T":1786541222810,"m":false}}'
    )
    book = b'{"lastUpdateId":155,"E":1786541222800,"T":1786541222800,"bids":[["0.6198","10"]],"asks":[["0.6203","5"]]}'
    plain = b"".join(b"%d %s\n" % (1786541222900000000 + number, text) for number, text in enumerate((book, depth, trade)))
    return (plain, gzip.compress(plain, mtime=0))


def capture_file(raw: bytes) -> None:
    with contextlib.suppress(CaptureError):
        scan(str(put("capture.gz" if raw[:2] == b"\x1f\x8b" else "capture", raw)))


def bars_files() -> tuple[bytes, ...]:
    rows = [f"{1704067200000 + 60000 * n},{1.2 + n / 1000:.4f},1.3,1.1,{1.21 + n / 1000:.4f},{100 + n}" for n in range(6)]
    named = "open_time,open,high,low,close,volume\n" + "\n".join(rows)
    dated = "date;open;high;low;close;volume\n2024-01-01 00:00;1.2;1.3;1.1;1.2;5\n2024-01-01 00:01;1.2;1.3;1.1;1.2;5\n"
    funding = "calc_time,funding_interval_hours,last_funding_rate\n1704067200000,8,0.0001\n1704096000000,8,-0.0001\n"
    parts: Any = json.dumps([[1704067200000 + 60000 * n, "1.2", "1.3", "1.1", "1.2", "100"] for n in range(4)])
    return tuple(text.encode() for text in ("\n".join(rows), named, dated, funding, parts))


def bars_file(raw: bytes) -> None:
    path = put("bars.json" if raw[:1] in (b"[", b"{") else "bars.csv", raw)
    with contextlib.suppress(DataError):
        bars.read(path)
    with contextlib.suppress(DataError):
        bars.read_as_it_is(path, "ASTER")


# --- orders ------------------------------------------------------------------------------------------------------------


def order_lines() -> tuple[bytes, ...]:
    return tuple(line.encode() for line, _ in LINES)


def order_line(raw: bytes) -> None:
    from tests.console.test_orderline import LONG

    line = raw.decode("utf-8", "replace")
    complete(line)
    try:
        understood = read(line, LONG)
    except LineError:
        return
    ticket = understood.ticket
    assert ticket.quantity >= 0 and ticket.price >= 0 and ticket.trail_bps >= 0 and understood.words
    msgspec.msgpack.encode(ticket)
