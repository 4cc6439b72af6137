"""Orders through the real ccxt to the simulated venue and back: what is accepted, refused, unknown, and never said aloud."""

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import ccxt.async_support as ccxt
import msgspec
import pytest
from factory import MARKET, aster
from rich.pretty import pretty_repr
from simulated import FRESH_MS, KEY, SECRET, Simulated, listening, say_nothing, simulated, until, warned_of_when_cut
from websockets.asyncio.server import ServerConnection, serve

from console.venue_process import Order, VenueProcess
from engine.clock import Clock
from engine.errors import BarterError, DecodeError, VenueError
from engine.events import (
    BalanceChange,
    CancelOrder,
    CancelRefused,
    ConditionalReport,
    Connected,
    DecodeFailed,
    Disconnected,
    Event,
    FetchAccount,
    Instrument,
    LookUpOrder,
    OrderAccepted,
    OrderFateUnknown,
    OrderKind,
    OrderNotFound,
    OrderRefused,
    OrderReport,
    Purpose,
    SendOrder,
    SetLeverage,
    Side,
    TimeInForce,
)
from engine.execution.live import BinanceAccount, Credentials, PrivateFeed, account, base, private, shapes
from engine.execution.live.base import redirect, status_of
from engine.execution.live.outcome import Fate, code_of, fate_of, words_of

PLACE, PLACE_CONDITIONAL = "POST /fapi/v1/order", "POST /fapi/v1/algoOrder"
WINDOW_MS = 5000
PATIENCE_S = 30.0  # until what must come: a busy machine takes its time


def order(client_id: str, quantity: int = 100, side: Side = Side.BUY, **fields: Any) -> SendOrder:
    values: dict[str, Any] = {
        "at": 0, "market": MARKET, "client_id": client_id, "kind": OrderKind.MARKET, "purpose": Purpose.ENTRY, "side": side,
        "quantity": quantity, "price": 0, "trigger": 0, "time_in_force": TimeInForce.GTC, "reduce_only": False,
    }  # fmt: skip
    return SendOrder(**{**values, **fields})


def resting(client_id: str, price: int = 6000) -> SendOrder:
    return order(client_id, kind=OrderKind.LIMIT, price=price, time_in_force=TimeInForce.GTX)


def protective(client_id: str, kind: OrderKind, trigger: int, quantity: int = 100) -> SendOrder:
    purpose = Purpose(kind.value)
    return order(client_id, quantity, Side.SELL, kind=kind, purpose=purpose, trigger=trigger, reduce_only=True)


class Trader:
    """An account at a venue, and what its private stream told."""

    def __init__(self, venue: Simulated, secret: str = SECRET, key: str = KEY) -> None:
        self.venue = venue
        self.account = BinanceAccount(Credentials(key, secret), venue.rest, venue.clock, WINDOW_MS)
        self.events: list[Event] = []
        self.stream = PrivateFeed(venue.ws, self.account, [aster()], venue.clock, self.emit)
        self.running: asyncio.Task[None] | None = None

    def emit(self, event: Event, read_ns: int) -> bool:
        self.events.append(event)
        return False

    async def listen(self) -> None:
        connected = len(self.seen(Connected))
        self.running = asyncio.create_task(self.stream.run())
        await until(lambda: len(self.seen(Connected)) > connected)

    async def send(self, wish: SendOrder) -> Event:
        event, _ = await self.account.send(wish)
        assert isinstance(event, OrderAccepted | OrderRefused | OrderFateUnknown)
        assert (event.market, event.client_id) == (MARKET, wish.client_id)
        return event

    async def look_up(self, client_id: str, conditional: bool = False) -> Event | None:
        return await self.account.look_up(LookUpOrder(0, MARKET, client_id, conditional))

    async def found(self, client_id: str) -> OrderReport:
        """The venue's answer about an order that executes a little later."""
        report: Event | None = None
        deadline = time.monotonic() + 5
        while not isinstance(report, OrderReport):
            assert time.monotonic() < deadline, f"the venue never knew {client_id}"
            report = await self.look_up(client_id)
        return report

    def seen(self, kind: type[Event], **fields: Any) -> list[Any]:
        return [
            e for e in self.events if isinstance(e, kind) and all(getattr(e, name) == value for name, value in fields.items())
        ]

    async def position(self) -> Decimal:
        held = (await self.venue.state())["positions"].get("ASTERUSDT")
        return Decimal(held["quantity"]) if held else Decimal(0)


@contextlib.asynccontextmanager
async def trading(venue: Simulated, **credentials: str) -> AsyncIterator[Trader]:
    trader = Trader(venue, **credentials)
    try:
        await trader.account.start([aster()])
        yield trader
    finally:
        if trader.running is not None:
            trader.running.cancel()
            await asyncio.gather(trader.running, return_exceptions=True)
        await trader.account.close()


@pytest.fixture
async def venue() -> AsyncIterator[Simulated]:
    async with simulated(warm_ms=FRESH_MS) as started:
        yield started


@pytest.fixture
async def trader(venue: Simulated) -> AsyncIterator[Trader]:
    async with trading(venue) as started:
        yield started


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests are given up soon; must come before `trader`."""
    monkeypatch.setattr(base, "TIMEOUT_MS", 300)


# --- orders ----------------------------------------------------------------------------------------------------------


async def test_a_market_order_is_accepted_filled_and_told_with_its_fees_by_the_venues_own_process() -> None:
    clock = Clock.start()
    async with VenueProcess(Order(clock, KEY, SECRET, 7, "10000")) as process:
        venue = Simulated(process.endpoints.rest, process.endpoints.ws, clock, None)  # type: ignore[arg-type]
        async with trading(venue) as trader:
            await trader.listen()
            event, wire = await trader.account.send(order("first", 2000))
            assert isinstance(event, OrderAccepted)
            assert wire.asked_ns < wire.written_ns
            await until(lambda: trader.seen(OrderReport, status="FILLED"))
            told = trader.seen(OrderReport)
            assert {report.client_id for report in told} == {"first"}
            assert {report.venue_id for report in told} == {event.venue_id}
            assert told[0].status == "NEW" and told[0].trade_id == 0 and told[0].fee == 0
            fills = [report for report in told if report.trade_id]
            assert sum(fill.last_quantity for fill in fills) == 2000 == fills[-1].filled
            assert len({fill.trade_id for fill in fills}) == len(fills)
            for fill in fills:
                value = fill.last_quantity * fill.last_price * aster().tick
                assert fill.fee == value * Decimal("0.0005") and fill.fee_asset == "USDT" and not fill.maker
            assert not trader.seen(DecodeFailed)


async def test_a_sale_that_closes_tells_what_was_realised(trader: Trader) -> None:
    await trader.listen()
    await trader.send(order("in"))
    await trader.send(order("out", side=Side.SELL, reduce_only=True, purpose=Purpose.EXIT))
    await until(lambda: trader.seen(OrderReport, client_id="out", status="FILLED"))
    assert await trader.position() == 0
    bought = [(fill.last_quantity, fill.last_price) for fill in trader.seen(OrderReport, client_id="in") if fill.trade_id]
    sold = [fill for fill in trader.seen(OrderReport, client_id="out") if fill.trade_id]
    cost = sum(quantity * price for quantity, price in bought)
    gain = sum(fill.last_quantity * fill.last_price for fill in sold) - cost
    assert abs(sum(fill.realised for fill in sold) - gain * aster().tick) < Decimal("0.000001")
    assert all(fill.reduce_only for fill in sold)


async def test_a_resting_order_is_found_and_cancelled(trader: Trader) -> None:
    await trader.listen()
    accepted = await trader.send(resting("rest"))
    assert isinstance(accepted, OrderAccepted)
    found = await trader.look_up("rest")
    assert isinstance(found, OrderReport)
    assert (found.status, found.venue_id, found.side, found.quantity, found.filled) == (
        "NEW",
        accepted.venue_id,
        Side.BUY,
        100,
        0,
    )
    assert await trader.account.cancel(CancelOrder(0, MARKET, "rest", accepted.venue_id, False)) is None
    await until(lambda: trader.seen(OrderReport, client_id="rest", status="CANCELED"))
    again = await trader.account.cancel(CancelOrder(0, MARKET, "rest", accepted.venue_id, False))
    assert isinstance(again, CancelRefused) and again.code == -2011


async def test_a_look_up_of_a_filled_order_gives_its_average_price(trader: Trader) -> None:
    await trader.send(order("filled"))
    found = await trader.look_up("filled")
    assert isinstance(found, OrderReport)
    assert (found.status, found.filled, found.trade_id) == ("FILLED", 100, 0)
    assert Decimal("0.5") < Decimal(found.average) < Decimal("0.8")


@pytest.mark.parametrize("conditional", [False, True])
async def test_an_order_that_the_venue_does_not_know_is_not_found(trader: Trader, conditional: bool) -> None:
    assert isinstance(await trader.look_up("nobody", conditional), OrderNotFound)


async def test_stop_and_target_rest_apart_from_the_book_and_are_found_by_snapshot(trader: Trader) -> None:
    await trader.listen()
    await trader.send(order("in"))
    stop = await trader.send(protective("stop", OrderKind.STOP, 5500))
    target = await trader.send(protective("target", OrderKind.TARGET, 7000))
    assert isinstance(stop, OrderAccepted) and isinstance(target, OrderAccepted)
    await until(lambda: len(trader.seen(ConditionalReport, status="NEW")) == 2)
    snapshot = await trader.account.snapshot(FetchAccount(0, "binance", "test"))
    facts = {fact.client_id: fact for fact in snapshot.orders}
    assert facts.keys() == {"stop", "target"}
    assert facts["stop"].venue_id == stop.venue_id and facts["stop"].trigger == Decimal("0.5500")
    assert facts["target"].trigger == Decimal("0.7000")
    assert all(
        fact.conditional and fact.reduce_only and fact.side is Side.SELL and fact.quantity == 100 for fact in facts.values()
    )
    found = await trader.look_up("stop", conditional=True)
    assert isinstance(found, ConditionalReport) and (found.status, found.order_id) == ("NEW", "")


async def test_a_cancelled_stop_is_told_and_gone(trader: Trader) -> None:
    await trader.listen()
    await trader.send(order("in"))
    stop = await trader.send(protective("stop", OrderKind.STOP, 5500))
    assert isinstance(stop, OrderAccepted)
    assert await trader.account.cancel(CancelOrder(0, MARKET, "stop", stop.venue_id, True)) is None
    await until(lambda: trader.seen(ConditionalReport, client_id="stop", status="CANCELED"))
    assert (await trader.account.snapshot(FetchAccount(0, "binance", "test"))).orders == ()
    again = await trader.account.cancel(CancelOrder(0, MARKET, "stop", stop.venue_id, True))
    assert isinstance(again, CancelRefused) and again.code < 0


async def test_a_snapshot_that_is_cut_short_leaves_nothing_half_begun(trader: Trader) -> None:
    assert await warned_of_when_cut(trader.account.snapshot(FetchAccount(0, "binance", "test"))) == []


async def test_a_snapshot_tells_wallet_position_and_fills(trader: Trader) -> None:
    began = trader.venue.clock.now_ms() - 1000
    await trader.listen()
    await trader.send(order("in"))
    await until(lambda: trader.seen(OrderReport, status="FILLED"))
    snapshot = await trader.account.snapshot(FetchAccount(0, "binance", "test", began))
    (position,) = snapshot.positions
    assert (position.market, position.quantity) == (MARKET, 100)
    assert snapshot.wallet == Decimal((await trader.venue.state())["wallet"])
    reports = [report for report in trader.seen(OrderReport) if report.trade_id]
    assert [(fill.trade_id, fill.quantity, fill.price, fill.fee) for fill in snapshot.fills] == [
        (report.trade_id, report.last_quantity, report.last_price, report.fee) for report in reports
    ]
    assert snapshot.requested_at <= snapshot.at


async def test_leverage_and_fees_are_asked_for(trader: Trader) -> None:
    assert (await trader.account.set_leverage(SetLeverage(0, MARKET, 7))).leverage == 7
    fees = await trader.account.fees(MARKET)
    assert (fees.maker, fees.taker) == (Decimal("0.0002"), Decimal("0.0005"))


async def test_funding_changes_the_balance(trader: Trader) -> None:
    await trader.listen()
    await trader.send(order("in"))
    await trader.venue.fault("funding", symbol="ASTERUSDT", rate="0.001")
    await until(lambda: trader.seen(BalanceChange))
    (paid,) = trader.seen(BalanceChange)
    # The venue does not say for which market when the margin is shared.
    assert (paid.reason, paid.asset, paid.market) == ("FUNDING_FEE", "USDT", "") and paid.change < 0
    assert paid.wallet == Decimal((await trader.venue.state())["wallet"])


# --- refusals --------------------------------------------------------------------------------------------------------


def without_secrets(text: str) -> bool:
    return not any(word in text for word in ("http", "signature", "timestamp=", "127.0.0.1", KEY, SECRET))


REFUSED = {
    "margin": (order("a", 2_000_000), -2019, "Margin is insufficient"),
    "notional": (order("b", 1), -4164, "notional must be no smaller than 5"),
    "reduce-only": (order("c", side=Side.SELL, reduce_only=True), -2022, "ReduceOnly Order is rejected"),
    "post-only": (resting("d", 7000), -5022, "could not be executed as maker"),
    "trigger": (protective("e", OrderKind.STOP, 9000), -2021, "immediately trigger"),
    "client id": (order("not/a valid id!"), -4015, "Client order id is not valid"),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_a_refused_order_carries_the_venues_code_and_words(trader: Trader, why: str) -> None:
    wish, code, words = REFUSED[why]
    if why == "trigger":
        await trader.send(order("in"))
    refused = await trader.send(wish)
    assert isinstance(refused, OrderRefused)
    assert refused.code == code and words in refused.reason and without_secrets(refused.reason)


async def test_an_id_that_is_open_already_is_refused(trader: Trader) -> None:
    await trader.send(resting("twice"))
    refused = await trader.send(resting("twice"))
    assert isinstance(refused, OrderRefused) and refused.code == -4116
    assert (await trader.venue.state())["open_orders"] == ["twice"]


async def test_an_order_of_nothing_is_refused_before_it_is_sent(trader: Trader) -> None:
    before = (await trader.venue.state())["counters"]["requests"]
    refused = await trader.send(order("nothing", 0))
    assert isinstance(refused, OrderRefused) and refused.code == 0 and without_secrets(refused.reason)
    assert (await trader.venue.state())["counters"]["requests"] == before


async def test_an_order_with_a_wrong_signature_is_refused(trader: Trader) -> None:
    trader.account._exchange.secret = "another"
    refused = await trader.send(order("forged"))
    assert isinstance(refused, OrderRefused) and refused.code == -1022
    assert refused.reason == "Signature for this request is not valid."


async def test_an_account_with_a_wrong_secret_does_not_start(venue: Simulated) -> None:
    with pytest.raises(VenueError, match="position mode could not be read") as raised:
        async with trading(venue, secret="another"):
            pass
    assert raised.value.code == -1022 and without_secrets(str(raised.value)) and "another" not in str(raised.value)


async def test_an_account_with_a_wrong_key_does_not_start(venue: Simulated) -> None:
    with pytest.raises(VenueError) as raised:
        async with trading(venue, key="another"):
            pass
    assert raised.value.code == -2015 and "another" not in str(raised.value)


async def test_a_request_from_a_wrong_clock_is_refused(trader: Trader) -> None:
    await trader.venue.fault("clock_offset", ms=60_000)
    refused = await trader.send(order("late"))
    assert isinstance(refused, OrderRefused) and refused.code == -1021


@pytest.mark.parametrize("status", [429, 418, 403])
async def test_an_order_turned_away_at_the_door_is_refused(trader: Trader, status: int) -> None:
    for body in ('{"code":-1015,"msg":"Too many new orders."}', "", "<html>slow down</html>"):
        await trader.venue.fault("http", path=PLACE, status=status, body=body, headers={"Retry-After": "7"})
        refused = await trader.send(order("limited"))
        assert isinstance(refused, OrderRefused) and without_secrets(refused.reason), body
    assert isinstance(await trader.look_up("limited"), OrderNotFound)


# --- unknown fates ---------------------------------------------------------------------------------------------------


UNKNOWN: dict[str, dict[str, Any]] = {
    "the reply is lost": {"name": "lose_ack"},
    "the reply is late": {"name": "delay_reply", "ms": 700},
    "the execution is late": {"name": "delay_execution", "ms": 700},
    "the reply is empty": {"name": "empty_body"},
    "503 after execution": {"name": "http", "status": 503, "executed": True},
    "504 after execution": {"name": "http", "status": 504, "body": "Gateway Timeout", "executed": True},
    "408 after execution": {"name": "http", "status": 408, "body": '{"code":-1007,"msg":"Timeout waiting."}', "executed": True},
    "a gateway's own number": {"name": "http", "status": 502, "body": '{"code":502,"msg":"Bad Gateway"}', "executed": True},
    "200 with a page": {"name": "http", "status": 200, "body": "<html>hello</html>", "executed": True},
    "200 with a list": {"name": "http", "status": 200, "body": "[]", "executed": True},
    "200 with nothing in it": {"name": "http", "status": 200, "body": "{}", "executed": True},
}


@pytest.mark.parametrize("why", UNKNOWN)
async def test_an_order_without_a_usable_reply_is_unknown_and_was_executed_once(
    impatient: None, trader: Trader, why: str
) -> None:
    await trader.venue.fault(path=PLACE, **UNKNOWN[why])
    unknown = await trader.send(order("maybe"))
    assert isinstance(unknown, OrderFateUnknown) and without_secrets(unknown.reason)
    found = await trader.found("maybe")
    assert (found.status, found.filled) == ("FILLED", 100)
    assert (await trader.venue.state())["counters"]["orders"] == 1
    assert await trader.position() == 100


async def test_a_stop_without_a_usable_reply_is_unknown_and_found(impatient: None, trader: Trader) -> None:
    await trader.send(order("in"))
    await trader.venue.fault("lose_ack", path=PLACE_CONDITIONAL)
    assert isinstance(await trader.send(protective("stop", OrderKind.STOP, 5500)), OrderFateUnknown)
    found = await trader.look_up("stop", conditional=True)
    assert isinstance(found, ConditionalReport) and found.status == "NEW"
    assert (await trader.venue.state())["open_conditionals"] == ["stop"]


async def test_an_order_that_never_executed_is_unknown_first_and_not_found_then(trader: Trader) -> None:
    await trader.venue.fault("http", path=PLACE, status=503, body="Service Unavailable")
    assert isinstance(await trader.send(order("maybe")), OrderFateUnknown)
    assert isinstance(await trader.look_up("maybe"), OrderNotFound)
    assert await trader.position() == 0


async def test_an_order_to_a_venue_that_is_gone_is_unknown() -> None:
    async with simulated() as venue:
        trader = Trader(venue)
        await trader.account.start([aster()])
    try:
        unknown = await trader.send(order("maybe"))
        assert isinstance(unknown, OrderFateUnknown) and without_secrets(unknown.reason)
        assert await trader.look_up("maybe") is None
        assert isinstance(await trader.account.cancel(CancelOrder(0, MARKET, "maybe", "", False)), CancelRefused)
        with pytest.raises(VenueError, match="could not be read") as raised:
            await trader.account.snapshot(FetchAccount(0, "binance", "test"))
        assert without_secrets(str(raised.value))
    finally:
        await trader.account.close()


@pytest.mark.parametrize("name", ["lose_ack", "empty_body", "http"])
async def test_a_question_that_failed_says_nothing_of_the_order(trader: Trader, name: str) -> None:
    await trader.send(order("there"))
    await trader.venue.fault(name, path="GET /fapi/v1/order", times=2)  # the client asks a lost GET once more
    try:
        assert await trader.look_up("there") is None
    except DecodeError as problem:
        assert name == "empty_body" and without_secrets(str(problem))


# --- the account's other questions -----------------------------------------------------------------------------------

SNAPSHOT_PATHS = ["/fapi/v3/account", "/fapi/v3/positionRisk", "/fapi/v1/openOrders", "/fapi/v1/openAlgoOrders"]


@pytest.mark.parametrize("name", ["http", "empty_body"])
async def test_a_snapshot_of_which_a_part_is_missing_is_an_error(trader: Trader, name: str) -> None:
    for path in SNAPSHOT_PATHS:
        await trader.venue.fault(name, path=f"GET {path}")
        with pytest.raises(BarterError) as raised:
            await trader.account.snapshot(FetchAccount(0, "binance", "test"))
        assert without_secrets(str(raised.value)), path


async def test_a_wallet_of_no_number_is_an_error(trader: Trader) -> None:
    body = '{"assets":[{"asset":"USDT","walletBalance":"NaN","availableBalance":"1"}]}'
    await trader.venue.fault("http", path="GET /fapi/v3/account", status=200, body=body)
    with pytest.raises(DecodeError, match="walletBalance is NaN"):
        await trader.account.snapshot(FetchAccount(0, "binance", "test"))


async def test_a_start_whose_position_mode_cannot_be_read_is_weather(venue: Simulated) -> None:
    for body in ("", "{}", "[]", "<html>", '{"dualSidePosition":"maybe"}'):
        await venue.fault("http", path="GET /fapi/v1/positionSide/dual", status=200, body=body)
        with pytest.raises(BarterError, match="positionSide/dual"):
            async with trading(venue):
                pass


async def test_an_account_in_hedge_mode_does_not_start(venue: Simulated) -> None:
    await venue.fault("http", path="GET /fapi/v1/positionSide/dual", status=200, body='{"dualSidePosition":true}')
    with pytest.raises(VenueError, match="hedge mode"):
        async with trading(venue):
            pass


async def test_a_start_whose_list_of_markets_is_empty_is_weather(venue: Simulated) -> None:
    for body in ("", "{}", '{"symbols":[]}'):
        await venue.fault("http", path="GET /fapi/v1/exchangeInfo", status=200, body=body)
        with pytest.raises(VenueError, match="list of markets"):
            async with trading(venue):
                pass


async def test_a_start_that_failed_can_be_tried_again(venue: Simulated) -> None:
    await venue.fault("http", path="GET /fapi/v1/exchangeInfo", status=503)
    trader = Trader(venue)
    with pytest.raises(VenueError):
        await trader.account.start([aster()])
    assert not trader.account.ready
    await trader.account.start([aster()])
    assert trader.account.ready and isinstance(await trader.send(order("in")), OrderAccepted)
    await trader.account.close()


async def test_an_unreadable_key_or_leverage_is_weather(trader: Trader) -> None:
    for body in ("", "{}", '{"listenKey":7}', '{"leverage":"x"}'):
        await trader.venue.fault("http", path="POST /fapi/v1/listenKey", status=200, body=body)
        await trader.venue.fault("http", path="POST /fapi/v1/leverage", status=200, body=body)
        with pytest.raises(BarterError, match="listenKey"):
            await trader.account.listen_key()
        with pytest.raises(BarterError, match="leverage"):
            await trader.account.set_leverage(SetLeverage(0, MARKET, 3))


async def test_a_venue_that_accepts_and_says_nothing_does_not_hold_the_start(impatient: None) -> None:
    async with listening(say_nothing) as address:
        held = BinanceAccount(Credentials(KEY, SECRET), f"http://{address}", Clock.start(), WINDOW_MS)
        with pytest.raises(VenueError, match="list of markets could not be read: RequestTimeout"):
            await asyncio.wait_for(held.start([aster()]), PATIENCE_S)
        await held.close()


# --- the private stream ----------------------------------------------------------------------------------------------


async def test_an_expired_key_ends_the_stream_and_a_new_run_connects_again(trader: Trader) -> None:
    await trader.listen()
    await trader.venue.fault("expire_listen_key")
    assert trader.running is not None
    with pytest.raises(VenueError, match="the venue let the stream's key expire"):
        await asyncio.wait_for(trader.running, PATIENCE_S)
    (gone,) = trader.seen(Disconnected)
    assert gone.route == "private" and "key expire" in gone.reason
    await trader.listen()
    await trader.send(order("after"))
    await until(lambda: trader.seen(OrderReport, client_id="after", status="FILLED"))


async def test_a_cut_private_stream_is_told_and_ends_with_a_venue_error(trader: Trader) -> None:
    await trader.listen()
    await trader.venue.fault("cut", route="private")
    assert trader.running is not None
    with pytest.raises(VenueError, match="the venue closed the connection"):
        await asyncio.wait_for(trader.running, PATIENCE_S)
    assert [event.route for event in trader.seen(Disconnected)] == ["private"]


async def test_a_private_stream_that_fell_silent_is_given_up_though_nobody_closed_it(
    trader: Trader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router has forgotten the connection: fills were heard of at the next comparison only."""
    monkeypatch.setattr(private, "PING_EVERY_S", 0.1)
    monkeypatch.setattr(private, "PONG_WITHIN_S", 0.2)
    await trader.listen()
    await asyncio.sleep(1.0)
    assert not trader.seen(Disconnected), "pings are answered"
    await trader.venue.fault("silence", kind="pong")
    assert trader.running is not None
    with pytest.raises(VenueError, match="the venue fell silent"):
        await asyncio.wait_for(trader.running, PATIENCE_S)
    assert [event.route for event in trader.seen(Disconnected)] == ["private"]


async def test_a_private_stream_that_cannot_be_opened_is_weather_and_no_crash(trader: Trader) -> None:
    await trader.venue.fault("refuse")
    with pytest.raises(VenueError, match="the private stream could not be opened"):
        await asyncio.wait_for(trader.stream.run(), PATIENCE_S)
    assert not trader.events


async def test_a_private_stream_with_nobody_there_is_weather_and_no_crash(trader: Trader) -> None:
    stream = PrivateFeed("ws://127.0.0.1:9", trader.account, [aster()], trader.venue.clock, trader.emit)
    with pytest.raises(VenueError, match="the private stream could not be opened"):
        await asyncio.wait_for(stream.run(), PATIENCE_S)


@pytest.mark.parametrize("name", ["malformed", "unknown_fields"])
async def test_a_damaged_report_is_told_and_the_stream_goes_on(trader: Trader, name: str) -> None:
    await trader.listen()
    await trader.venue.fault(name, kind="ORDER_TRADE_UPDATE")
    await trader.send(order("in"))
    await until(lambda: trader.seen(OrderReport, status="FILLED"))
    assert len(trader.seen(DecodeFailed)) == (name == "malformed")
    assert trader.running is not None and not trader.running.done()


REPORT: dict[str, Any] = {
    "s": "ASTERUSDT", "c": "x", "S": "BUY", "x": "TRADE", "X": "FILLED", "i": 1, "q": "10", "z": "10", "L": "0.6200", "l": "10",
    "t": 5, "T": 1, "n": "0.01", "N": "USDT", "rp": "0",
}  # fmt: skip
DAMAGED: dict[str, bytes] = {
    "no text": b"\xff\xfe",
    "nested": b'{"e":"ORDER_TRADE_UPDATE","E":1,"o":' + b"[" * 100_000,
    "an endless name": json.dumps({"e": "x" * 100_000}).encode(),
    **{
        f"{field} {value}": json.dumps({"e": "ORDER_TRADE_UPDATE", "E": 1, "o": {**REPORT, field: value}}).encode()
        for field, value in [
            ("n", "NaN"), ("rp", "Infinity"), ("q", "sNaN"), ("L", "NaN"), ("L", "0.62005"), ("l", "0.5"), ("z", "9.5"),
            ("i", "x"),
        ]
    },
    "a balance of no number": b'{"e":"ACCOUNT_UPDATE","E":1,"a":{"m":"DEPOSIT","B":[{"a":"USDT","wb":"NaN","bc":"1"}]}}',
}  # fmt: skip


async def test_no_frame_of_the_private_stream_can_break_it(trader: Trader) -> None:
    async def damage(connection: ServerConnection) -> None:
        for frame in DAMAGED.values():
            await connection.send(frame)
        await connection.send(json.dumps({"e": "ORDER_TRADE_UPDATE", "E": 1, "o": REPORT}))
        await connection.wait_closed()

    async with serve(damage, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        trader.stream.base = f"ws://127.0.0.1:{port}"
        await trader.listen()
        await until(lambda: trader.seen(OrderReport))
        assert len(trader.seen(OrderReport)) == 1
        failures = trader.seen(DecodeFailed)
        assert len(failures) == len(DAMAGED)
        assert all(failure.route == "private" and len(failure.problem) <= 200 for failure in failures)


async def test_a_bug_behind_the_private_stream_is_not_mistaken_for_a_damaged_frame(trader: Trader) -> None:
    def broken(event: Event, read_ns: int) -> bool:
        if isinstance(event, OrderReport):
            raise ValueError("a bug in the core")
        trader.events.append(event)
        return False

    trader.stream.emit = broken
    await trader.listen()
    await trader.send(order("in"))
    assert trader.running is not None
    with pytest.raises(ValueError, match="a bug in the core"):
        await asyncio.wait_for(trader.running, PATIENCE_S)
    assert trader.seen(Disconnected) and not trader.seen(DecodeFailed)


def test_recorded_order_updates_of_the_venue_are_read(shared_data: Path) -> None:
    listed = {
        symbol: Instrument(
            0,
            f"binance:{symbol[:-4]}/USDT:USDT",
            symbol,
            symbol[:-4],
            "USDT",
            Decimal("0.01"),
            Decimal("0.001"),
            1,
            9,
            9,
            Decimal(5),
        )
        for symbol in ("BTCUSDT", "ETHUSDT")
    }
    stream = PrivateFeed("", None, list(listed.values()), Clock.start(), lambda *_: False)  # type: ignore[arg-type]
    read = 0
    for path in sorted((shared_data / "wire" / "binance").glob("nautilus*order_update*.json")):
        body = json.loads(path.read_text())
        body = body.get("data", body)
        frame = msgspec.json.decode(json.dumps(body).encode(), type=shapes.PrivateFrame, strict=False)
        events = stream._events(frame, 1)
        if body["o"]["s"] not in listed:
            continue
        (report,) = events
        assert isinstance(report, OrderReport)
        assert report.quantity * Decimal("0.001") == Decimal(body["o"]["q"])
        assert report.fee == (Decimal(body["o"]["n"]) if body["o"].get("n") else 0)
        read += 1
    assert read >= 8


# --- what an exception means -----------------------------------------------------------------------------------------

REFUSING = [
    -1003, -1008, -1015, -1021, -5028, -1022, -2014, -2015, -2010, -2018, -2019, -2024, -4050, -4051, -2021, -2022, -4118, -2023,
    -2025, -4045, -4028, -4029, -4044, -2027, -2028, -1111, -4003, -4004, -4005, -4014, -4023, -4046, -4059, -4061, -4062, -4067,
    -4068, -4115, -4116, -4120, -4131, -4164, -5021, -5022,
]  # fmt: skip
MEANING: list[tuple[int, Fate]] = [
    *((code, Fate.REFUSED) for code in REFUSING),
    *((code, Fate.UNKNOWN) for code in (-1000, -1001, -1006, -1007)),
    *((code, Fate.GONE) for code in (-2011, -2013)),
]


async def test_the_venues_number_decides_whatever_class_ccxt_makes_of_it(trader: Trader) -> None:
    for code, fate in MEANING:
        body = f'{{"code":{code},"msg":"Told by the venue."}}'
        await trader.venue.fault("http", path=PLACE, status=503 if code == -1008 else 400, body=body)
        event = await trader.send(order(f"n{-code}"))
        if fate is Fate.REFUSED:
            assert event == OrderRefused(event.at, MARKET, f"n{-code}", code, "Told by the venue.")
        else:
            # That an order which is being placed is not known says nothing of whether it exists.
            assert isinstance(event, OrderFateUnknown), code


URL = "http://127.0.0.1:1/fapi/v1/order"


@pytest.mark.parametrize(
    ("problem", "fate"),
    [
        *((ccxt.ExchangeError(f'binanceusdm {{"code":{code},"msg":"A 503 of words."}}'), fate) for code, fate in MEANING),
        (ccxt.RequestTimeout(f"binanceusdm POST {URL}"), Fate.UNKNOWN),
        (ccxt.NetworkError(f"binanceusdm POST {URL}"), Fate.UNKNOWN),
        (ccxt.ExchangeNotAvailable(f"binanceusdm POST {URL} 503 Service Unavailable "), Fate.UNKNOWN),
        (ccxt.ExchangeNotAvailable(f"binanceusdm POST {URL} 403 Forbidden "), Fate.REFUSED),
        (ccxt.DDoSProtection("binanceusdm 429 Too Many Requests "), Fate.REFUSED),
        (ccxt.DDoSProtection("binanceusdm 418 I'm a teapot <html>"), Fate.REFUSED),
        (ccxt.DDoSProtection(f"binanceusdm POST {URL} 429 Too Many Requests "), Fate.REFUSED),
        (ccxt.ExchangeError(f'binanceusdm POST {URL} 502 Bad Gateway {{"code":502}}'), Fate.UNKNOWN),
        (ccxt.InvalidOrder("binanceusdm amount of X/USDT:USDT must be greater than minimum amount precision of 1"), Fate.REFUSED),
        (ccxt.BadSymbol("binanceusdm does not have market symbol X"), Fate.REFUSED),
        (ccxt.ArgumentsRequired("binanceusdm createOrder() requires a price argument for a limit order"), Fate.REFUSED),
        (TypeError("a bug"), Fate.UNKNOWN),
        (TimeoutError(), Fate.UNKNOWN),
    ],
    ids=str,
)
def test_an_exception_means(problem: Exception, fate: Fate) -> None:
    assert fate_of(problem, status_of(problem)) is fate


def test_the_words_of_an_exception_are_the_venues_or_its_kind_and_short() -> None:
    assert words_of(ccxt.NetworkError(f"binanceusdm POST {URL}?signature=abc")) == "NetworkError"
    told = ccxt.ExchangeError(f'binanceusdm POST {URL}?signature=abc 400 {{"code":-1,"msg":"No \\"such\\" thing."}}')
    assert words_of(told) == 'No \\"such\\" thing.' and code_of(told) == -1
    assert len(words_of(ccxt.ExchangeError(json.dumps({"code": -1, "msg": "x" * 5000})))) <= 200


# --- secrets and addresses -------------------------------------------------------------------------------------------


async def test_the_secret_is_never_said_aloud(venue: Simulated, caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with trading(venue) as trader:
            await trader.listen()
            credentials = trader.account.credentials
            said += [
                repr(credentials),
                str(credentials),
                pretty_repr(credentials),
                pretty_repr(trader.account),
                repr(vars(trader)),
            ]
            said.append(repr(await trader.send(order("in"))))
            for name in ("http", "lose_ack", "empty_body"):
                await venue.fault(name, path=PLACE)
                said.append(repr(await trader.send(order(f"o-{name}"))))
            trader.account._exchange.secret = SECRET + "x"
            said.append(repr(await trader.send(order("forged"))))
            for name in ("http", "empty_body"):
                await venue.fault(name, path="POST /fapi/v1/listenKey")
                with pytest.raises(BarterError) as raised:
                    await trader.account.listen_key()
                said += [str(raised.value), repr(raised.value), repr(vars(raised.value))]
            await venue.fault("expire_listen_key")
            assert trader.running is not None
            with pytest.raises(VenueError) as ended:
                await asyncio.wait_for(trader.running, PATIENCE_S)
            said += [repr(ended.value), *map(repr, trader.events)]
        with pytest.raises(VenueError) as refused:
            async with trading(venue, key=KEY + "x"):
                pass
        said += [repr(refused.value), str(refused.value)]
    assert not [text for text in said if SECRET in text or KEY in text]
    logged = [f"{record.name}: {record.getMessage()}" for record in caplog.records]
    assert not [line for line in logged if SECRET in line or KEY in line]
    assert not [line for line in logged if "signature=" in line or "listenKey=" in line]


def addresses(urls: object) -> list[str]:
    if isinstance(urls, dict):
        return [found for value in urls.values() for found in addresses(value)]
    return [str(urls)] if urls else []


async def test_no_address_of_a_redirected_exchange_reaches_a_public_host(trader: Trader) -> None:
    found = addresses(trader.account._exchange.urls["api"])
    assert any(url.startswith(trader.venue.rest) for url in found)
    assert [url for url in found if not url.startswith((trader.venue.rest + "/", "http://127.0.0.1:9/"))] == []


@pytest.mark.parametrize("host", ["https://testnet.binancefuture.com", account.PUBLIC_HOST])
async def test_an_exchange_at_the_real_venue_reaches_that_host_alone(host: str) -> None:
    exchange = ccxt.binanceusdm()
    redirect(exchange, host, account.PUBLIC_HOST)
    found = [url for url in addresses(exchange.urls["api"]) if not url.startswith(("http://127.0.0.1:9/", "wss://"))]
    assert found and all(url.startswith(host + "/") for url in found)
    await exchange.close()
