"""A feed's life beyond its streams: connections that follow each other, pings, budgets, markets that come and go."""

import asyncio
import contextlib
import http
from collections.abc import AsyncIterator, Awaitable, Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from factory import aster
from simulated import FRESH_MS, Simulated, simulated, until
from websockets.asyncio.server import ServerConnection, serve
from websockets.http11 import Request, Response

from engine.clock import Clock
from engine.events import (
    Alert,
    BookDelta,
    BookSnapshot,
    Connected,
    DecodeFailed,
    Disconnected,
    Event,
    Instrument,
    Liquidation,
    Quote,
    Trade,
)
from engine.signal import connection as connection_module
from engine.signal import feed as module
from engine.signal.binance import Binance
from engine.signal.binance.decode import Decoder as BinanceDecoder
from engine.signal.connection import Stream
from engine.signal.feed import Feed
from engine.signal.okx import Okx
from engine.signal.okx.decode import Decoder as OkxDecoder

OKX = "ASTER-USDT-SWAP"


def swap(name: str = OKX) -> Instrument:
    base = name.partition("-")[0]
    return Instrument(0, f"okx:{base}/USDT:USDT", name, base, "USDT", Decimal("0.0001"), Decimal(1), 1, 10**6, 10**6, Decimal(0))


class Heard:
    """A feed that runs, and what it emits."""

    def __init__(self, made: Feed) -> None:
        self.feed = made
        self.events: list[Event] = []
        made.emit = self._emit

    def _emit(self, event: Event, read_ns: int) -> bool:
        self.events.append(event)
        return False

    def of(self, kind: type[Event], market: str = "") -> list[Any]:
        return [one for one in self.events if isinstance(one, kind) and (not market or one.market == market)]  # type: ignore[attr-defined]


@contextlib.asynccontextmanager
async def running(made: Feed) -> AsyncIterator[Heard]:
    heard = Heard(made)
    task = asyncio.create_task(made.run())
    try:
        yield heard
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def on_binance(base: str, route: str = "public") -> Feed:
    decoder = BinanceDecoder()
    decoder.list(aster())
    one = Feed(Binance(decoder), route, base, Clock.start(), 3.0, lambda *_: False)
    one.add(aster())
    return one


def on_okx(base: str, *names: str, first_data_s: float = 3.0) -> Feed:
    decoder = OkxDecoder()
    one = Feed(Okx(decoder), "public", base, Clock.start(), first_data_s, lambda *_: False)
    for name in names or (OKX,):
        decoder.list(swap(name))
        one.add(swap(name))
    return one


Talk = Callable[[ServerConnection], Awaitable[None]]


@contextlib.asynccontextmanager
async def speaking(talk: Talk) -> AsyncIterator[str]:
    async with serve(talk, "127.0.0.1", 0, ping_interval=None) as server:
        yield f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"


@pytest.fixture
async def venue() -> AsyncIterator[Simulated]:
    async with simulated(symbols=["ASTERUSDT", "BTCUSDT"], warm_ms=FRESH_MS) as started:
        yield started


# --- following -------------------------------------------------------------------------------------------------------


async def test_an_old_connection_is_followed_and_no_update_is_missing_or_told_as_a_loss(venue: Simulated) -> None:
    made = on_binance(venue.ws)
    made.dialect.recycle_s = 1.5
    async with running(made) as heard:
        await until(lambda: made.followed >= 2, 30.0)
        deltas = len(heard.of(BookDelta))
        await until(lambda: len(heard.of(BookDelta)) > deltas + 3)
        assert len(heard.of(Connected)) == 1 and not heard.of(Disconnected)
        newest = 0
        for delta in heard.of(BookDelta):  # both connections bring the same ids: again, or the next in the chain
            assert delta.last_id <= newest or not newest or delta.previous_id == newest
            newest = max(newest, delta.last_id)
        await until(lambda: not made._closing)
        assert (await venue.state())["connections"]["public"] == 1


async def test_a_notice_is_followed_before_the_venue_closes(venue: Simulated) -> None:
    async with running(on_okx(venue.ws)) as heard:
        await until(lambda: heard.of(Quote))
        await venue.fault("leave", venue="okx", ms=2000)
        await until(lambda: heard.feed.followed == 1)
        await asyncio.sleep(2.5)
        snapshots = heard.of(BookSnapshot)
        assert len(snapshots) == 2 and len(heard.of(Connected)) == 1 and not heard.of(Disconnected)
        last = 0
        for event in heard.events:
            if isinstance(event, BookSnapshot):
                last = event.last_id
            elif isinstance(event, BookDelta):
                assert event.previous_id == last, "the chain goes on from the successor's snapshot"
                last = event.last_id


async def test_a_successor_that_never_speaks_is_given_up_and_the_old_one_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    connections: list[ServerConnection] = []

    async def talk(connection: ServerConnection) -> None:
        connections.append(connection)
        await connection.recv()
        while len(connections) == 1 or connection is connections[0]:
            for body in ALIVE:
                await connection.send(body)
            await asyncio.sleep(0.05)
        await connection.wait_closed()

    async with speaking(talk) as base:
        made = on_binance(base)
        made.dialect.recycle_s, made.first_data_s = 0.5, 1.0
        async with running(made) as heard:
            await until(lambda: any("could not be followed" in getattr(event, "text", "") for event in heard.events), 20.0)
            quotes = len(heard.of(Quote))
            await until(lambda: len(heard.of(Quote)) > quotes + 3)
            assert made.followed == 0 and not heard.of(Disconnected)


ALIVE = (
    '{"e":"bookTicker","u":1,"s":"ASTERUSDT","b":"0.6","B":"1","a":"0.7","A":"1","T":1,"E":1}',
    '{"e":"depthUpdate","E":1,"T":1,"s":"ASTERUSDT","U":1,"u":2,"pu":0,"b":[],"a":[]}',
)
BTC = Instrument(
    0, "binance:BTC/USDT:USDT", "BTCUSDT", "BTC", "USDT", Decimal("0.1"), Decimal("0.001"), 1, 10**6, 10**6, Decimal(0)
)


async def alive(connection: ServerConnection, *bodies: str) -> None:
    """Says the same for ever; in every tenth of a second at least once."""
    while True:
        for body in bodies or ALIVE:
            await connection.send(body)
        await asyncio.sleep(0.05)


async def test_a_connection_that_ends_as_its_successor_is_ready_is_followed_and_none_is_left_behind() -> None:
    alive_now: list[ServerConnection] = []

    async def talk(connection: ServerConnection) -> None:
        alive_now.append(connection)
        try:
            if len(alive_now) == 2:
                for body in ALIVE:
                    await connection.send(body)
                alive_now[0].transport.abort()
            await alive(connection)
        finally:
            alive_now.remove(connection)

    async with speaking(talk) as base:
        made = on_binance(base)
        made.dialect.recycle_s = 0.5
        async with running(made) as heard:
            await until(lambda: made.followed or made.connects > 1)
            made.dialect.recycle_s = 1000.0
            await until(lambda: len(alive_now) == 1)
            quotes = len(heard.of(Quote))
            await until(lambda: len(heard.of(Quote)) > quotes + 3)
            assert len(alive_now) == 1


async def test_a_venue_that_turns_the_successor_away_costs_nothing() -> None:
    attempts = 0

    async def once(connection: ServerConnection, request: Request) -> Response | None:
        nonlocal attempts
        attempts += 1
        return connection.respond(http.HTTPStatus.TOO_MANY_REQUESTS, "later") if attempts > 1 else None

    async def talk(connection: ServerConnection) -> None:
        await alive(connection)

    async with serve(talk, "127.0.0.1", 0, ping_interval=None, process_request=once) as server:
        made = on_binance(f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}")
        made.dialect.recycle_s = 0.5
        async with running(made) as heard:
            await until(lambda: any("429" in alert.text for alert in heard.of(Alert)))
            quotes = len(heard.of(Quote))
            await until(lambda: len(heard.of(Quote)) > quotes + 3)
            assert not heard.of(Disconnected)


async def test_a_market_added_while_a_successor_begins_is_collected_on_it() -> None:
    asked: dict[ServerConnection, set[str]] = {}
    ready = asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        asked[connection] = set()
        first = len(asked) == 1

        async def hear() -> None:
            async for text in connection:
                asked[connection] |= set(msgspec.json.decode(text)["params"])

        hearing = asyncio.create_task(hear())
        try:
            if not first:
                await ready.wait()
            await alive(connection)
        finally:
            hearing.cancel()

    async with speaking(talk) as base:
        made = on_binance(base)
        made.dialect.recycle_s = 0.5
        made.first_data_s = 10.0
        async with running(made) as heard:
            await until(lambda: len(asked) == 2)
            made.dialect.recycle_s = 1000.0
            made.add(BTC)
            old, new = asked
            await until(lambda: "btcusdt@bookTicker" in asked[old])
            ready.set()
            await until(lambda: made.followed)
            await until(lambda: {"asterusdt@bookTicker", "btcusdt@bookTicker"} <= asked[new])
            assert not heard.of(Disconnected)


async def test_a_liquidation_that_both_connections_brought_is_told_once() -> None:
    connections = 0
    forced = '{"e":"forceOrder","E":5,"o":{"s":"ASTERUSDT","S":"SELL","q":"1","p":"0.6","ap":"0.6","z":"1","T":5}}'
    marks = '{"e":"markPriceUpdate","E":1,"s":"ASTERUSDT","p":"0.6","r":"0.0001","T":9}'
    both = asyncio.Event()

    async def talk(connection: ServerConnection) -> None:
        nonlocal connections
        connections += 1
        if connections == 1:
            await connection.send(marks)
            await both.wait()
        else:
            both.set()
        await connection.send(forced)
        await alive(connection, marks)

    async with speaking(talk) as base:
        made = on_binance(base, "market")
        made.dialect.recycle_s = 0.5
        made.first_data_s = 10.0
        async with running(made) as heard:
            await until(lambda: made.followed)
            made.dialect.recycle_s = 0.0
            assert len(heard.of(Liquidation)) == 1


# --- subscriptions that fail, streams that die ---------------------------------------------------------------------------


async def test_a_quiet_stream_whose_subscription_is_not_acknowledged_is_noticed() -> None:
    """Nobody has to trade, so that no trade comes proves nothing; that nobody said yes does."""

    async def talk(connection: ServerConnection) -> None:
        await alive(connection, '{"e":"markPriceUpdate","E":1,"s":"ASTERUSDT","p":"0.6","r":"0.0001","T":9}')

    async with speaking(talk) as base, running(on_binance(base, "market")) as heard:
        await until(lambda: heard.of(Disconnected))
        reason = heard.of(Disconnected)[0].reason
        assert "not acknowledged" in reason and "asterusdt@aggTrade" in reason and "markPrice" not in reason


async def test_a_refused_channel_is_an_alert_that_names_it_and_the_others_go_on(venue: Simulated) -> None:
    made = on_okx(venue.ws)
    made.streams["tickers:SHIB-USDT-SWAP"] = Stream("okx:SHIB/USDT:USDT", "tickers:SHIB-USDT-SWAP", Trade, True)
    async with running(made) as heard:
        await until(lambda: any("Nothing comes of tickers:SHIB-USDT-SWAP" in alert.text for alert in heard.of(Alert)))
        await asyncio.sleep(made.first_data_s + 1.0)
        assert not heard.of(Disconnected)


async def test_a_stream_that_dies_on_a_living_connection_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "STREAM_SILENCE_S", 1.0)

    async def talk(connection: ServerConnection) -> None:
        for body in ALIVE:
            await connection.send(body)
        await alive(connection, ALIVE[0])

    async with speaking(talk) as base, running(on_binance(base)) as heard:
        await until(lambda: heard.of(Disconnected))
        assert heard.of(Disconnected)[0].reason == "nothing came on asterusdt@depth@100ms for 1 s"


async def test_a_market_that_says_nothing_disturbs_the_others_less_and_less() -> None:
    async def talk(connection: ServerConnection) -> None:
        await alive(connection)

    async with speaking(talk) as base:
        made = on_binance(base)
        made.add(BTC)
        made.first_data_s = 0.4
        async with running(made) as heard:
            await until(lambda: len(heard.of(Disconnected)) == 3)
            waits = [disconnected.at - connected.at for connected, disconnected in zip(
                heard.of(Connected), heard.of(Disconnected), strict=False)]  # fmt: skip
            assert waits[2] > 1.5e9, "four times as long as at first"
            made.remove(BTC.market)
            assert not made._patience


# --- pings, garbage, budgets -----------------------------------------------------------------------------------------


async def test_silence_is_asked_about_and_without_an_answer_the_connection_is_made_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []

    async def talk(connection: ServerConnection) -> None:
        async for text in connection:
            said.append(str(text))
            if text == "ping" and said.count("ping") <= 2:
                await connection.send("pong")

    monkeypatch.setattr(module, "PONG_S", 0.3)
    async with speaking(talk) as base:
        made = on_okx(base, first_data_s=60.0)
        made.dialect.ping_after_s = 0.3
        async with running(made) as heard:
            await until(lambda: heard.of(Disconnected), 20.0)
            assert said.count("ping") == 3 and "no pong" in heard.of(Disconnected)[0].reason


async def test_garbage_is_counted_and_the_connection_lives() -> None:
    async def talk(connection: ServerConnection) -> None:
        await connection.recv()
        for garbage in ("", "nonsense", b"\xff\xfe\x00", '{"e":7}', "[" * 5000, '{"arg":{"channel":"books"},"data":[{}]}'):
            await connection.send(garbage)
        for body in ALIVE:
            await connection.send(body)
        await connection.wait_closed()

    async with speaking(talk) as base, running(on_binance(base)) as heard:
        await until(lambda: heard.of(Quote))
        assert len(heard.of(DecodeFailed)) == 6 and not heard.of(Disconnected)


async def test_requests_are_held_back_where_the_venues_hour_is_used_up(venue: Simulated) -> None:
    made = on_okx(venue.ws)
    made.dialect.requests_an_hour = 3
    async with running(made) as heard:
        await until(lambda: heard.of(Quote))
        for _ in range(3):
            made.resubscribe("okx:ASTER/USDT:USDT", BookSnapshot, 0.0)
        await until(lambda: made.requests_held >= 1)
        await asyncio.sleep(1.0)
        assert len(heard.of(BookSnapshot)) == 2 and not heard.of(Disconnected)
        made.reconnect()  # the venue counts by connection
        await until(lambda: len(heard.of(BookSnapshot)) == 3)


# --- streams begun anew, markets that come and go ------------------------------------------------------------------------


async def test_one_stream_is_begun_anew_after_the_venue_has_let_it_go(venue: Simulated) -> None:
    async with running(on_okx(venue.ws, OKX, "BTC-USDT-SWAP")) as heard:
        await until(lambda: len(heard.of(BookSnapshot)) == 2)
        heard.feed.resubscribe("okx:ASTER/USDT:USDT", BookSnapshot, 0.0)
        await until(lambda: len(heard.of(BookSnapshot, "okx:ASTER/USDT:USDT")) == 2)
        assert len(heard.of(BookSnapshot, "okx:BTC/USDT:USDT")) == 1 and not heard.of(Disconnected)


async def test_a_market_that_is_dropped_before_its_book_is_begun_anew_is_not_missed(venue: Simulated) -> None:
    made = on_okx(venue.ws, OKX, "BTC-USDT-SWAP", first_data_s=2.0)
    async with running(made) as heard:
        await until(lambda: len(heard.of(BookSnapshot)) == 2)
        made.resubscribe("okx:BTC/USDT:USDT", BookSnapshot, 0.5)
        made.remove("okx:BTC/USDT:USDT")
        await asyncio.sleep(made.first_data_s + 1.5)
        assert not heard.of(Disconnected) and made.connects == 1


async def test_markets_come_and_go_on_a_living_connection(venue: Simulated) -> None:
    btc = msgspec.structs.replace(aster(), market="binance:BTC/USDT:USDT", venue_symbol="BTCUSDT", tick=Decimal("0.1"))
    btc = msgspec.structs.replace(btc, step=Decimal("0.001"))
    for made, instrument in ((on_binance(venue.ws), btc), (on_okx(venue.ws), swap("BTC-USDT-SWAP"))):
        decoder = made.dialect.decoder  # type: ignore[attr-defined]
        async with running(made) as heard:
            await until(lambda heard=heard: heard.of(Quote))  # type: ignore[misc]
            instrument = msgspec.structs.replace(instrument, tick=Decimal("0.01"), step=Decimal("0.0001"))
            decoder.list(instrument)
            made.add(instrument)
            await until(lambda heard=heard, name=instrument.market: heard.of(Quote, name))  # type: ignore[misc]
            made.remove(instrument.market)
            await asyncio.sleep(1.0)
            before = len(heard.of(Quote, instrument.market))
            await asyncio.sleep(1.0)
            assert len(heard.of(Quote, instrument.market)) == before and not heard.of(Disconnected)
            assert heard.of(Quote)[-1].market != instrument.market


async def test_a_feed_of_nothing_waits_without_a_connection(venue: Simulated) -> None:
    made = Feed(Okx(OkxDecoder()), "public", venue.ws, Clock.start(), 3.0, lambda *_: False)
    async with running(made) as heard:
        await asyncio.sleep(0.3)
        assert made.connects == 0
        made.dialect.decoder.list(swap())  # type: ignore[attr-defined]
        made.add(swap())
        await until(lambda: heard.of(Trade) or heard.of(Quote))
        made.remove("okx:ASTER/USDT:USDT")
        await until(lambda: heard.of(Disconnected))
        assert "nothing is collected" in heard.of(Disconnected)[0].reason
