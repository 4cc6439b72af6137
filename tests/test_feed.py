"""Market data from the simulated venue over real sockets: streams begin, break and come back, and the book knows."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import websockets
from factory import MARKET, aster, settings
from simulated import FRESH_MS, KEY, SECRET, Simulated, listening, say_nothing, simulated, turn_away, until
from websockets.asyncio.server import ServerConnection, serve

from console.venue_process import Order, VenueProcess
from engine.clock import Clock
from engine.core import Core
from engine.errors import DecodeError, VenueError
from engine.events import (
    Alert,
    BookDelta,
    Connected,
    DecodeFailed,
    Disconnected,
    Emit,
    Event,
    Mark,
    Mode,
    Quote,
    SnapshotFailed,
    Started,
    Tick,
    Trade,
    Trust,
    TrustChanged,
)
from engine.runtime.requests import Requests
from engine.runtime.sources import Source
from engine.runtime.stages import Stages
from engine.runtime.stats import Latencies
from engine.runtime.supervise import Supervisor
from engine.signal import feed, rest
from engine.signal.binance import Binance, Rest, dialect
from engine.signal.binance.decode import Decoder
from engine.signal.book import Book
from engine.signal.decoding import Grid
from engine.signal.feed import Feed

FIRST_DATA_S = 2.0
SYMBOL = "ASTERUSDT"


class Collector:
    """Both feeds into a core, and its requests carried out: the runtime without an account."""

    def __init__(self, ws: str, rest_base: str, clock: Clock, routes: tuple[str, ...] = ("public", "market")) -> None:
        self.clock = clock
        self.source = Source("binance", rest_base, ws, clock, True, FIRST_DATA_S, self.emit)
        self.rest, self.decoder, self.feeds = self.source.rest, self.source.decoder, self.source.feeds
        self.core = Core(settings())
        self.events: list[Event] = []
        self.out: list[Event] = []
        self.problems: list[str] = []
        self.tasks = Supervisor(
            lambda part, problem, _: self.problems.append(f"crash of {part}: {problem}"),
            lambda part, problem: self.problems.append(f"{part}: {problem}"),
        )
        self.requests = Requests(clock, {"binance": self.source}, None, self.tasks, Latencies(), Stages(), self.emit)
        for route in self.feeds.keys() - set(routes):
            del self.feeds[route]
        self.emit(Started(clock.now_ns(), "test00", "", Mode.DEMO, "", "0"), 0)
        listed = aster(clock.now_ns())
        self.source.listed[listed.market] = listed
        assert self.source.collect("ASTER/USDT:USDT")

    def emit(self, event: Event, read_ns: int) -> bool:
        self.events.append(event)
        urgent = False
        for output in self.core.process(event):
            self.out.append(output)
            urgent |= self.requests.carry_out(output, read_ns, read_ns, read_ns)
        return urgent

    async def tick(self) -> None:
        while True:
            await asyncio.sleep(0.05)
            self.emit(Tick(self.clock.now_ns()), 0)

    def seen(self, kind: type[Event], **fields: Any) -> list[Any]:
        return [
            e for e in self.events if isinstance(e, kind) and all(getattr(e, name) == value for name, value in fields.items())
        ]

    @property
    def book(self) -> Book:
        return self.core.state.markets[MARKET].book

    def trusts(self) -> list[Trust]:
        return [output.trust for output in self.out if isinstance(output, TrustChanged)]

    def reasons(self, trust: Trust) -> list[str]:
        return [output.reason for output in self.out if isinstance(output, TrustChanged) and output.trust is trust]


@contextlib.asynccontextmanager
async def collecting(ws: str, rest_base: str, clock: Clock, *routes: str) -> AsyncIterator[Collector]:
    collector = Collector(ws, rest_base, clock, routes or ("public", "market"))
    for route, one in collector.feeds.items():
        collector.tasks.keep(f"the {route} feed", one.run)
    collector.tasks.keep("the timer", collector.tick)
    try:
        yield collector
    finally:
        await collector.tasks.close()
        await collector.rest.close()
        assert not [problem for problem in collector.problems if problem.startswith("crash")]


@pytest.fixture
async def venue() -> AsyncIterator[Simulated]:
    async with simulated(warm_ms=FRESH_MS) as started:
        yield started


@pytest.fixture
async def collector(venue: Simulated) -> AsyncIterator[Collector]:
    """Connected, with a trusted book."""
    async with collecting(venue.ws, venue.rest, venue.clock) as started:
        await until(lambda: started.book.trusted)
        yield started


# --- streams ---------------------------------------------------------------------------------------------------------


async def test_every_stream_of_the_venues_own_process_brings_data() -> None:
    clock = Clock.start()
    async with (
        VenueProcess(Order(clock, KEY, SECRET, 7, "10000")) as process,
        collecting(process.endpoints.ws, process.endpoints.rest, clock) as collector,
    ):
        for kind in (Quote, BookDelta, Trade, Mark):
            await until(lambda kind=kind: collector.seen(kind))
        assert [event.route for event in collector.seen(Connected)] in (["public", "market"], ["market", "public"])
        assert not collector.seen(Disconnected) and not collector.seen(DecodeFailed)
        await until(lambda: collector.book.trusted)
        assert all(event.market == MARKET for event in collector.seen(Quote) + collector.seen(Trade))


async def test_the_connection_is_told_before_its_first_data(collector: Collector) -> None:
    first = next(event for event in collector.events if isinstance(event, Quote | BookDelta | Connected))
    assert isinstance(first, Connected)


async def test_trades_have_consecutive_ids_and_the_book_agrees_with_the_ticker(venue: Simulated, collector: Collector) -> None:
    for side in ("BUY", "SELL", "BUY", "SELL"):
        await venue.fault("shock", side=side, quantity=50)
    await until(lambda: len(collector.seen(Trade)) > 3 and collector.book.counters.agreements > 3)
    ids = [trade.id for trade in collector.seen(Trade)]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert collector.book.counters.mismatches == 0


async def test_a_stream_on_the_wrong_route_is_noticed_although_it_was_acknowledged(
    venue: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(dialect.STREAMS, "market", {"markPrice@1s": (Mark, False), "bookTicker": (Quote, False)})
    async with collecting(venue.ws, venue.rest, venue.clock, "market") as collector:
        await until(lambda: len(collector.seen(Connected)) == 2)
        (cut,) = collector.seen(Disconnected)
        assert "no first data on asterusdt@bookTicker" in cut.reason
        assert collector.seen(Mark) and not collector.seen(Quote)


async def test_a_market_in_which_nobody_trades_keeps_its_connection(venue: Simulated) -> None:
    await venue.fault("silence", kind="aggTrade")
    async with collecting(venue.ws, venue.rest, venue.clock, "market") as collector:
        await until(lambda: any("has not sent a trade" in getattr(event, "text", "") for event in collector.events))
        await venue.fault("silence", kind="aggTrade", on=False)
        await until(lambda: collector.seen(Trade))
        assert not collector.seen(Disconnected)


async def test_a_connection_on_which_nothing_comes_any_more_is_made_anew(
    venue: Simulated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed, "SILENCE_S", 1.0)
    async with collecting(venue.ws, venue.rest, venue.clock) as collector:
        await until(lambda: collector.book.trusted)
        for kind in ("depth", "bookTicker"):
            await venue.fault("silence", kind=kind)
        await until(lambda: collector.seen(Disconnected, route="public"))
        assert "nothing came for" in collector.seen(Disconnected, route="public")[0].reason
        assert not collector.book.trusted
        for kind in ("depth", "bookTicker"):
            await venue.fault("silence", kind=kind, on=False)
        await until(lambda: collector.book.trusted)


async def test_a_cut_socket_loses_the_book_and_brings_it_back(venue: Simulated, collector: Collector) -> None:
    await venue.fault("cut", route="public")
    await until(lambda: collector.seen(Disconnected, route="public"))
    assert not collector.book.trusted and not collector.book.bids
    await until(lambda: collector.book.trusted)
    assert len(collector.seen(Connected, route="public")) == 2
    assert not collector.seen(Disconnected, route="market")
    assert collector.trusts()[-3:] == [Trust.OFF, Trust.SYNCING, Trust.TRUSTED]


async def test_a_venue_that_refuses_connections_for_a_while_is_found_again(venue: Simulated, collector: Collector) -> None:
    await venue.fault("refuse")
    await until(lambda: {event.route for event in collector.seen(Disconnected)} == {"public", "market"})
    await venue.fault("refuse", on=False)
    await until(lambda: collector.book.trusted and collector.feeds["market"].connects >= 2, 20)


async def test_a_missing_depth_update_makes_the_book_stale_until_it_is_read_anew(venue: Simulated, collector: Collector) -> None:
    await venue.fault("depth_gap", symbol=SYMBOL)
    await until(lambda: Trust.STALE in collector.trusts())
    assert collector.reasons(Trust.STALE)[0].startswith("depth updates are missing")
    assert collector.book.counters.gaps == 1
    await until(lambda: collector.book.trusted)
    assert collector.book.counters.snapshots >= 2
    assert not collector.seen(Disconnected)


async def test_a_repeated_depth_update_is_ignored(venue: Simulated, collector: Collector) -> None:
    await venue.fault("depth_duplicate", symbol=SYMBOL)
    await until(lambda: collector.book.counters.duplicates)
    assert collector.book.trusted and collector.book.counters.gaps == 0


async def test_a_malformed_ticker_is_told_and_the_rest_goes_on(venue: Simulated, collector: Collector) -> None:
    await venue.fault("malformed", kind="bookTicker")
    await until(lambda: collector.seen(DecodeFailed))
    before = len(collector.seen(Quote))
    await until(lambda: len(collector.seen(Quote)) > before)
    (failed,) = collector.seen(DecodeFailed)
    assert (failed.venue, failed.route) == ("binance", "public") and "truncated" in failed.problem
    assert collector.core.state.counters.decode_failures == 1
    assert collector.book.trusted and not collector.seen(Disconnected)


@pytest.mark.parametrize(("kind", "back"), [("bookTicker", Quote), ("aggTrade", Trade), ("markPrice", Mark)])
async def test_a_frame_with_wrong_types_is_told_by_its_path_and_the_rest_goes_on(
    venue: Simulated, collector: Collector, kind: str, back: type[Event]
) -> None:
    await venue.fault("wrong_type", kind=kind)
    await venue.fault("shock", side="BUY", quantity=50)  # somebody trades
    await until(lambda: collector.seen(DecodeFailed))
    before = len(collector.seen(back))
    await venue.fault("shock", side="SELL", quantity=50)
    await until(lambda: len(collector.seen(back)) > before)
    assert len(collector.seen(DecodeFailed)) == 1
    assert "at `$." in collector.seen(DecodeFailed)[0].problem
    await until(lambda: collector.book.trusted)
    assert not collector.seen(Disconnected)


async def test_a_depth_update_that_cannot_be_read_is_a_gap(venue: Simulated, collector: Collector) -> None:
    await venue.fault("wrong_type", kind="depth")
    await until(lambda: collector.book.counters.gaps == 1)
    assert "at `$." in collector.seen(DecodeFailed)[0].problem
    await until(lambda: collector.book.trusted)


async def test_fields_that_are_new_are_ignored_and_named(venue: Simulated) -> None:
    await venue.fault("unknown_fields", kind="bookTicker", times=1_000_000)
    async with collecting(venue.ws, venue.rest, venue.clock, "public") as collector:
        await until(lambda: collector.book.trusted and collector.seen(Quote))
        assert {"bookTicker.zz_new", "bookTicker.zz_flag"} <= collector.decoder.unknown_fields
        assert not collector.seen(DecodeFailed)


async def test_a_snapshot_older_than_every_update_is_asked_for_again(venue: Simulated) -> None:
    await venue.fault("stale_snapshot", times=1)
    async with collecting(venue.ws, venue.rest, venue.clock, "public") as collector:
        await until(lambda: collector.book.trusted)
        assert collector.book.counters.snapshots_failed == 1 and collector.book.counters.snapshots == 2


async def test_a_snapshot_between_two_updates_joins(venue: Simulated) -> None:
    await venue.fault("boundary_snapshot", times=1)
    async with collecting(venue.ws, venue.rest, venue.clock, "public") as collector:
        await until(lambda: collector.book.trusted)
        assert collector.book.counters.gaps == 0


async def test_a_refused_snapshot_is_told_and_asked_for_again(venue: Simulated) -> None:
    await venue.fault("http", path="GET /fapi/v1/depth", status=503)
    async with collecting(venue.ws, venue.rest, venue.clock, "public") as collector:
        await until(lambda: collector.book.trusted)
        (failed,) = collector.seen(SnapshotFailed)
        assert "HTTP 503" in failed.reason and "code -1001" in failed.reason


async def test_an_acknowledgement_after_the_first_data_does_no_harm(venue: Simulated) -> None:
    await venue.fault("late_ack", times=2)
    async with collecting(venue.ws, venue.rest, venue.clock) as collector:
        await until(lambda: collector.book.trusted)
        assert not collector.seen(DecodeFailed)


async def test_a_resubscription_connects_anew(collector: Collector) -> None:
    collector.feeds["public"].reconnect()
    await until(lambda: len(collector.seen(Connected, route="public")) == 2)
    assert "could not be synchronised" in collector.seen(Disconnected, route="public")[0].reason
    await until(lambda: collector.book.trusted)


async def test_a_cancelled_feed_says_that_it_is_gone(collector: Collector) -> None:
    await collector.tasks.close()
    assert {event.route for event in collector.seen(Disconnected)} == {"public", "market"}


# --- venues that behave badly ----------------------------------------------------------------------------------------


def alone(route: str, base: str, emit: Emit) -> Feed:
    one = Feed(Binance(Decoder()), route, base, Clock.start(), 2, emit)
    one.add(aster())
    return one


async def test_a_refused_subscription_is_told_with_the_venues_words() -> None:
    async def refuse(connection: ServerConnection) -> None:
        asked = msgspec.json.decode(await connection.recv())
        await connection.send(f'{{"error":{{"code":2,"msg":"Invalid request: invalid stream"}},"id":{asked["id"]}}}')
        await connection.wait_closed()

    async with serve(refuse, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with collecting(f"ws://127.0.0.1:{port}", "http://127.0.0.1:9", Clock.start(), "market") as collector:
            await until(lambda: collector.seen(Alert))
            assert all(words in collector.seen(Alert)[0].text for words in ("invalid stream", "asterusdt@aggTrade"))
            await until(lambda: collector.seen(Disconnected))
            assert "no first data" in collector.seen(Disconnected)[0].reason


async def test_a_venue_that_closes_every_connection_at_once_is_not_stormed(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds >= feed.FIRST_PAUSE_S / 2:
            pauses.append(seconds)
        await sleep(min(seconds, 0.01))

    monkeypatch.setattr(feed.asyncio, "sleep", noted)

    async def close(connection: ServerConnection) -> None:
        await connection.close(1008, "Too many requests")

    async with serve(close, "127.0.0.1", 0, ping_interval=None) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        events: list[Event] = []
        one = alone("market", f"ws://127.0.0.1:{port}", lambda e, _: bool(events.append(e)))
        running = asyncio.create_task(one.run())
        while len(events) < 12:
            await sleep(0.005)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    told = [event for event in events if isinstance(event, Disconnected)]
    assert "1008" in told[0].reason
    assert len(pauses) >= 5
    assert pauses[4] >= feed.FIRST_PAUSE_S * 2**4 / 2 and max(pauses) <= feed.LONGEST_PAUSE_S * 1.5


@pytest.mark.parametrize("status", ["403 Forbidden", "404 Not Found", "429 Too Many Requests"])
async def test_a_feed_that_is_turned_away_is_weather_and_no_crash(status: str) -> None:
    async with listening(turn_away(status)) as address:
        one = alone("public", f"ws://{address}", lambda *_: False)
        with pytest.raises(VenueError, match=f"the public stream was turned away .*{status[:3]}"):
            await asyncio.wait_for(one.run(), 5)


async def test_a_frame_that_is_far_too_large_ends_the_connection_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feed, "MAX_FRAME", 1000)

    async def shout(connection: ServerConnection) -> None:
        with contextlib.suppress(websockets.ConnectionClosed):
            await connection.send("x" * 5000)
            await connection.wait_closed()

    async with serve(shout, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        async with collecting(f"ws://127.0.0.1:{port}", "http://127.0.0.1:9", Clock.start(), "market") as collector:
            await until(lambda: len(collector.seen(Connected)) >= 2)
            assert collector.seen(Disconnected)


# --- REST ------------------------------------------------------------------------------------------------------------

GRID = Grid.of(aster())
QUESTIONS = {
    "GET /fapi/v1/exchangeInfo": lambda asked: asked.instruments(),
    "GET /fapi/v1/depth": lambda asked: asked.book(SYMBOL, GRID),
    "GET /fapi/v1/aggTrades": lambda asked: asked.trades(SYMBOL, GRID),
    "GET /fapi/v1/klines": lambda asked: asked.bars(SYMBOL, GRID, 60_000),
    "GET /fapi/v1/time": lambda asked: asked.clock_offset(),
}


@contextlib.asynccontextmanager
async def asking(base: str) -> AsyncIterator[Rest]:
    asked = Rest(base, Clock.start(), True)
    try:
        yield asked
    finally:
        await asked.close()


async def test_instruments_come_by_our_own_decode_and_match_the_venues_grid(venue: Simulated) -> None:
    async with asking(venue.rest) as asked:
        (found,), wrong = await asked.instruments()
        assert not wrong
        assert (found.market, found.venue_symbol, found.simulated) == (MARKET, SYMBOL, True)
        assert (found.tick, found.step) == (aster().tick, aster().step)


async def test_book_trades_and_bars_are_read(venue: Simulated) -> None:
    async with asking(venue.rest) as asked:
        book, trades = await asked.book(SYMBOL, GRID), await asked.trades(SYMBOL, GRID)
        bars = (await asked.bars(SYMBOL, GRID, 60_000)).bars
        assert book.last_id and book.bids and book.asks and trades.trades
        assert len(bars) > 100 and all(bar.low <= bar.open <= bar.high for bar in bars)


async def test_the_venues_clock_is_measured(venue: Simulated) -> None:
    await venue.fault("clock_offset", ms=5000)
    async with asking(venue.rest) as asked:
        found = await asked.clock_offset()
        assert abs(found.offset_ms - 5000) <= 100 + found.uncertainty_ms


@pytest.mark.parametrize("path", QUESTIONS)
async def test_a_refused_question_is_a_venue_error_with_code_and_words(venue: Simulated, path: str) -> None:
    await venue.fault("http", path=path, status=400, body='{"code":-1121,"msg":"Invalid symbol."}')
    async with asking(venue.rest) as asked:
        with pytest.raises(VenueError) as raised:
            await QUESTIONS[path](asked)
    assert raised.value.code == -1121
    assert str(raised.value) == f"Binance: {path[4:]} was refused with HTTP 400: Invalid symbol. (code -1121)"


async def test_too_many_questions_are_a_venue_error_with_the_venues_words(venue: Simulated) -> None:
    body = '{"code":-1003,"msg":"Too many requests; current limit is 2400 request weight per 1 MINUTE."}'
    await venue.fault("http", path="GET /fapi/v1/depth", status=429, body=body, headers={"Retry-After": "7"})
    async with asking(venue.rest) as asked:
        with pytest.raises(VenueError, match=r"HTTP 429: Too many requests; .* \(code -1003\)"):
            await asked.book(SYMBOL, GRID)


async def test_a_gateways_page_is_a_venue_error_that_quotes_little_of_it(venue: Simulated) -> None:
    await venue.fault("http", path="GET /fapi/v1/depth", status=502, body="<html>" + "Bad Gateway " * 1000)
    async with asking(venue.rest) as asked:
        with pytest.raises(VenueError, match="HTTP 502: <html>Bad Gateway") as raised:
            await asked.book(SYMBOL, GRID)
    assert len(str(raised.value)) < 300


@pytest.mark.parametrize("path", QUESTIONS)
async def test_an_empty_reply_is_an_error_that_names_the_question(venue: Simulated, path: str) -> None:
    await venue.fault("empty_body", path=path)
    async with asking(venue.rest) as asked:
        with pytest.raises(DecodeError, match=f"Binance {path.rpartition('/')[2]}: .*truncated"):
            await QUESTIONS[path](asked)


async def test_a_connection_cut_before_the_reply_is_a_venue_error(venue: Simulated) -> None:
    await venue.fault("lose_ack", path="GET /fapi/v1/exchangeInfo", times=2)  # GET is asked twice by the client itself
    async with asking(venue.rest) as asked:
        with pytest.raises(VenueError, match="exchangeInfo could not be reached"):
            await asked.instruments()


async def test_a_venue_that_accepts_and_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "TIMEOUT_S", 0.2)
    async with listening(say_nothing) as address, asking(f"http://{address}") as asked:
        with pytest.raises(VenueError, match="exchangeInfo gave no answer"):
            await asyncio.wait_for(asked.instruments(), 5)


async def test_a_reply_that_comes_too_late_is_a_venue_error(venue: Simulated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "TIMEOUT_S", 0.2)
    await venue.fault("delay_reply", path="GET /fapi/v1/depth", ms=600)
    async with asking(venue.rest) as asked:
        with pytest.raises(VenueError, match="depth gave no answer"):
            await asked.book(SYMBOL, GRID)


async def test_nothing_listening_is_a_venue_error() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        async with asking(f"http://127.0.0.1:{unused.getsockname()[1]}") as asked:
            with pytest.raises(VenueError, match=r"could not be reached \(ClientConnectorError\)"):
                await asked.instruments()


async def test_something_that_speaks_no_http_is_a_venue_error() -> None:
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 mail.example ESMTP\r\n")
        await writer.drain()
        writer.close()

    async with listening(babble) as address, asking(f"http://{address}") as asked:
        with pytest.raises(VenueError, match="could not be reached"):
            await asked.instruments()
