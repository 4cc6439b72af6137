"""Orders through the real ccxt to the simulated OKX and back: contracts, algo orders, refusals, unknown fates, sockets."""

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any

import ccxt.async_support as ccxt
import pytest
import websockets
from rich.pretty import pretty_repr
from simulated import FRESH_MS, KEY, PASSPHRASE, SECRET, Simulated, listening, say_nothing, simulated, until, warned_of_when_cut
from websockets.asyncio.server import ServerConnection, serve

from engine.clock import Clock
from engine.errors import BarterError, VenueError
from engine.events import (
    AmendOrder,
    AmendRefused,
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
from engine.execution.live import Credentials, OkxAccount, OkxFeed, base, okx_private, stream
from engine.execution.live.base import status_of
from engine.execution.live.okx import PUBLIC_HOST, redirect
from engine.execution.live.outcome import Fate, code_of, fate_of, words_of
from engine.signal.okx.rest import Rest

PLACE, PLACE_ALGO = "POST /api/v5/trade/order", "POST /api/v5/trade/order-algo"
BTC, ASTER = "okx:BTC/USDT:USDT", "okx:ASTER/USDT:USDT"
WINDOW_MS = 5000
PATIENCE_S = 30.0  # until what must come: a busy machine takes its time


class Trader:
    """An account at OKX's side, what its stream told, and the instruments as the venue lists them."""

    def __init__(self, venue: Simulated, listed: list[Instrument], window_ms: int = WINDOW_MS, **keys: str) -> None:
        self.venue, self.listed = venue, {instrument.market: instrument for instrument in listed}
        credentials = Credentials(**{"api_key": KEY, "secret": SECRET, "passphrase": PASSPHRASE, **keys})
        self.account = OkxAccount(credentials, venue.rest, venue.clock, window_ms)
        self.events: list[Event] = []
        self.stream = OkxFeed(venue.ws, self.account, listed, venue.clock, self.emit)
        self.running: asyncio.Task[None] | None = None

    def emit(self, event: Event, read_ns: int) -> bool:
        self.events.append(event)
        return False

    async def listen(self) -> None:
        connected = len(self.seen(Connected))
        self.running = asyncio.create_task(self.stream.run())
        await until(lambda: len(self.seen(Connected)) > connected)

    def order(self, client_id: str, quantity: int = 100, side: Side = Side.BUY, **fields: Any) -> SendOrder:
        values: dict[str, Any] = {
            "at": 0, "market": BTC, "client_id": client_id, "kind": OrderKind.MARKET, "purpose": Purpose.ENTRY, "side": side,
            "quantity": quantity, "price": 0, "trigger": 0, "time_in_force": TimeInForce.GTC, "reduce_only": False,
        }  # fmt: skip
        return SendOrder(**{**values, **fields})

    async def send(self, client_id: str, quantity: int = 100, side: Side = Side.BUY, **fields: Any) -> Event:
        event, _ = await self.account.send(self.order(client_id, quantity, side, **fields))
        assert isinstance(event, OrderAccepted | OrderRefused | OrderFateUnknown) and event.client_id == client_id
        return event

    async def protect(self, client_id: str, kind: OrderKind, percent: int, **fields: Any) -> Event:
        """A reduce-only order that sells, its trigger so far from the mark."""
        trigger = await self.ticks(percent) if percent else 0
        wish = {"kind": kind, "trigger": trigger, "reduce_only": True, "purpose": Purpose.STOP, **fields}
        return await self.send(client_id, 100, Side.SELL, **wish)

    async def triggered(self) -> str:
        """A stop that the mark, which wanders by itself, has reached: one that it leaves is placed anew nearer to it."""
        for number in range(60):
            name = f"stop{number}"
            if not isinstance(await self.protect(name, OrderKind.STOP, 0, trigger=await self.ticks(0) - 5), OrderAccepted):
                continue  # it was reached already
            await asyncio.sleep(0.5)
            if await self.account.cancel(CancelOrder(0, BTC, name, "", True)) is not None:  # it is not there any more
                break
        await until(lambda: self.seen(ConditionalReport, client_id=name, status="TRIGGERED"))
        return name

    async def ticks(self, percent: int, market: str = BTC) -> int:
        """A price so many percent from the mark."""
        instrument = self.listed[market]
        mark = Decimal((await self.okx())["marks"][instrument.venue_symbol])
        return int(mark * (100 + percent) / 100 / instrument.tick)

    async def look_up(self, client_id: str, conditional: bool = False) -> Event | None:
        return await self.account.look_up(LookUpOrder(0, BTC, client_id, conditional))

    async def okx(self) -> Any:
        return (await self.venue.state())["okx"]

    async def position(self, name: str = "BTC-USDT-SWAP") -> Decimal:
        held = (await self.okx())["positions"].get(name)
        return Decimal(held["quantity"]) if held else Decimal(0)

    def seen(self, kind: type[Event], **fields: Any) -> list[Any]:
        return [
            e for e in self.events if isinstance(e, kind) and all(getattr(e, name) == value for name, value in fields.items())
        ]


async def listed_at(venue: Simulated) -> list[Instrument]:
    rest = Rest(venue.rest, venue.clock, True)
    try:
        return (await rest.instruments())[0]
    finally:
        await rest.close()


@contextlib.asynccontextmanager
async def trading(venue: Simulated, window_ms: int = WINDOW_MS, **keys: str) -> AsyncIterator[Trader]:
    listed = await listed_at(venue)
    trader = Trader(venue, listed, window_ms, **keys)
    try:
        await trader.account.start(listed)
        yield trader
    finally:
        if trader.running is not None:
            trader.running.cancel()
            await asyncio.gather(trader.running, return_exceptions=True)
        await trader.account.close()


@pytest.fixture
async def venue() -> AsyncIterator[Simulated]:
    async with simulated(symbols=["ASTERUSDT", "BTCUSDT"], warm_ms=FRESH_MS) as started:
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


@pytest.mark.parametrize(("market", "base_units"), [(BTC, "0.0001"), (ASTER, "1")])
async def test_an_order_goes_out_in_contracts_and_its_fills_come_back_in_steps(
    trader: Trader, market: str, base_units: str
) -> None:
    await trader.listen()
    instrument = trader.listed[market]
    assert instrument.step == Decimal(base_units)
    event = await trader.send("first", 700, market=market)
    assert isinstance(event, OrderAccepted)
    await until(lambda: trader.seen(OrderReport, status="FILLED"))
    assert await trader.position(instrument.venue_symbol) == 700 * instrument.step
    told = trader.seen(OrderReport)
    assert {(report.market, report.client_id, report.venue_id) for report in told} == {(market, "first", event.venue_id)}
    assert told[0].status == "NEW" and told[0].trade_id == 0 and told[0].quantity == 700
    fills = [report for report in told if report.trade_id]
    assert sum(fill.last_quantity for fill in fills) == 700 == fills[-1].filled
    assert len({fill.trade_id for fill in fills}) == len(fills)
    for fill in fills:
        value = fill.last_quantity * instrument.step * fill.last_price * instrument.tick
        assert abs(fill.fee - value * Decimal("0.0005")) < Decimal("1e-8") and fill.fee > 0 and not fill.maker
    snapshot = await trader.account.snapshot(FetchAccount(0, "okx", "test", 1))
    assert [(held.market, held.quantity) for held in snapshot.positions] == [(market, 700)]
    assert [(f.trade_id, f.quantity, f.price, f.fee) for f in snapshot.fills] == [
        (f.trade_id, f.last_quantity, f.last_price, f.fee) for f in fills
    ]
    assert snapshot.wallet == Decimal((await trader.okx())["wallet"]) and not trader.seen(DecodeFailed)


async def test_a_snapshot_that_is_cut_short_leaves_nothing_half_begun(trader: Trader) -> None:
    assert await warned_of_when_cut(trader.account.snapshot(FetchAccount(0, "okx", "test"))) == []


async def test_a_sale_that_closes_tells_what_was_realised(trader: Trader) -> None:
    await trader.listen()
    await trader.send("in")
    await trader.send("out", side=Side.SELL, reduce_only=True)
    await until(lambda: trader.seen(OrderReport, client_id="out", status="FILLED"))
    assert await trader.position() == 0
    fills = [report for report in trader.seen(OrderReport) if report.trade_id]
    gain = -sum(fill.side * fill.last_quantity * fill.last_price for fill in fills)
    there = Decimal((await trader.okx())["wallet"]) - 10_000
    assert gain * trader.listed[BTC].tick * trader.listed[BTC].step == sum(fill.realised for fill in fills)
    assert sum(fill.realised - fill.fee for fill in fills) == there


async def test_more_fills_than_a_page_has_are_all_read(trader: Trader) -> None:
    for number in range(105):
        await trader.send(f"o{number}", 10, Side.BUY if number % 2 else Side.SELL)
    fills = (await trader.account.snapshot(FetchAccount(0, "okx", "test", 1))).fills
    assert len(fills) == (await trader.okx())["counters"]["fills"] >= 105
    assert len({fill.trade_id for fill in fills}) == len(fills)


async def test_a_resting_order_is_found_amended_and_cancelled(trader: Trader) -> None:
    await trader.listen()
    low, lower = await trader.ticks(-3), await trader.ticks(-4)
    accepted = await trader.send("rest", kind=OrderKind.LIMIT, price=low, time_in_force=TimeInForce.GTX)
    assert isinstance(accepted, OrderAccepted)
    found = await trader.look_up("rest")
    assert isinstance(found, OrderReport)
    assert (found.status, found.quantity, found.filled, found.price) == ("NEW", 100, 0, low)
    assert await trader.account.amend(AmendOrder(0, BTC, "rest", accepted.venue_id, Side.BUY, 70, lower)) is None
    await until(lambda: trader.seen(OrderReport, client_id="rest", status="NEW", quantity=70, price=lower))
    (fact,) = (await trader.account.snapshot(FetchAccount(0, "okx", "test"))).orders
    assert (fact.client_id, fact.quantity, fact.conditional) == ("rest", 70, False)
    cancel = CancelOrder(0, BTC, "rest", accepted.venue_id, False)
    assert await trader.account.cancel(cancel) is None
    await until(lambda: trader.seen(OrderReport, client_id="rest", status="CANCELED"))
    again = await trader.account.cancel(cancel)
    assert isinstance(again, CancelRefused) and again.code == 51400
    late = await trader.account.amend(AmendOrder(0, BTC, "rest", accepted.venue_id, Side.BUY, 50, low))
    assert isinstance(late, AmendRefused) and late.code == 51503


@pytest.mark.parametrize(
    ("in_force", "percent"), [(TimeInForce.GTX, 1), (TimeInForce.FOK, -1), (TimeInForce.IOC, -1)], ids=["post-only", "fok", "ioc"]
)
async def test_an_order_whose_terms_cannot_be_met_is_accepted_and_expires(
    trader: Trader, in_force: TimeInForce, percent: int
) -> None:
    await trader.listen()
    price = await trader.ticks(percent)
    assert isinstance(await trader.send("brief", kind=OrderKind.LIMIT, price=price, time_in_force=in_force), OrderAccepted)
    await until(lambda: trader.seen(OrderReport, client_id="brief", status="EXPIRED"))
    assert await trader.position() == 0 and (await trader.okx())["open_orders"] == []
    found = await trader.look_up("brief")
    assert isinstance(found, OrderReport) and (found.status, found.filled) == ("EXPIRED", 0)


@pytest.mark.parametrize("conditional", [False, True])
async def test_an_order_that_the_venue_does_not_know_is_not_found(trader: Trader, conditional: bool) -> None:
    assert isinstance(await trader.look_up("nobody", conditional), OrderNotFound)


async def test_stop_target_and_trailing_stop_rest_apart_and_are_found_by_snapshot(trader: Trader) -> None:
    await trader.listen()
    await trader.send("in")
    low, high = await trader.ticks(-5), await trader.ticks(5)
    sent = [
        await trader.protect("stop", OrderKind.STOP, 0, trigger=low),
        await trader.protect("target", OrderKind.TARGET, 0, trigger=high),
        await trader.protect("trail", OrderKind.TRAILING, 0, trail_bps=250),
    ]
    assert all(isinstance(event, OrderAccepted) for event in sent)
    await until(lambda: len(trader.seen(ConditionalReport, status="NEW")) == 3)
    snapshot = await trader.account.snapshot(FetchAccount(0, "okx", "test"))
    facts = {fact.client_id: fact for fact in snapshot.orders}
    tick = trader.listed[BTC].tick
    assert {name: (fact.trigger, fact.trail_bps) for name, fact in facts.items()} == {
        "stop": (low * tick, 0), "target": (high * tick, 0), "trail": (Decimal(0), 250),
    }  # fmt: skip
    assert all(
        fact.conditional and fact.reduce_only and fact.side is Side.SELL and fact.quantity == 100 for fact in facts.values()
    )
    for name in facts:
        assert await trader.account.cancel(CancelOrder(0, BTC, name, facts[name].venue_id, True)) is None
        await until(lambda name=name: trader.seen(ConditionalReport, client_id=name, status="CANCELED"))
    assert (await trader.account.snapshot(FetchAccount(0, "okx", "test"))).orders == ()
    again = await trader.account.cancel(CancelOrder(0, BTC, "stop", facts["stop"].venue_id, True))
    assert isinstance(again, CancelRefused) and again.code == 51400


async def test_a_stop_that_triggers_tells_its_order_under_the_stops_own_id(trader: Trader) -> None:
    await trader.listen()
    await trader.send("in")
    stop = await trader.triggered()
    await until(lambda: trader.seen(OrderReport, client_id=stop, status="FILLED"))
    (triggered,) = trader.seen(ConditionalReport, client_id=stop, status="TRIGGERED")
    assert {report.venue_id for report in trader.seen(OrderReport, client_id=stop)} == {triggered.order_id}
    assert await trader.position() == 0
    found = await trader.look_up(stop, conditional=True)
    assert isinstance(found, ConditionalReport) and (found.status, found.order_id) == ("FINISHED", triggered.order_id)


async def test_leverage_fees_and_the_dead_mans_switch(trader: Trader) -> None:
    assert (await trader.account.set_leverage(SetLeverage(0, BTC, 7))).leverage == 7
    fees = await trader.account.fees(BTC)
    assert (fees.maker, fees.taker) == (Decimal("0.0002"), Decimal("0.0005"))
    for asked, armed in ((30, 30), (3, 10), (600, 120)):
        await trader.account.hold([BTC], asked)
        left = {at - trader.venue.clock.now_ms() for at in (await trader.okx())["countdowns"].values()}
        assert all(armed * 1000 - 2000 < ms <= armed * 1000 for ms in left) and left
    await trader.account.hold([BTC], 0)
    assert (await trader.okx())["countdowns"] == {}


async def test_funding_changes_the_balance_by_what_was_paid_and_fills_do_not(trader: Trader) -> None:
    await trader.listen()
    await trader.send("in")
    before = Decimal((await trader.okx())["wallet"])
    await trader.venue.fault("funding", venue="okx", symbol="BTC-USDT-SWAP", rate="0.001")
    await until(lambda: trader.seen(BalanceChange))
    after = Decimal((await trader.okx())["wallet"])
    (paid,) = trader.seen(BalanceChange)
    assert (paid.reason, paid.asset, paid.wallet, paid.change) == ("FUNDING_FEE", "USDT", after, after - before)
    assert paid.change < 0


# --- refusals --------------------------------------------------------------------------------------------------------


def without_secrets(text: str) -> bool:
    return not any(word in text for word in ("http", "sign", "127.0.0.1", KEY, SECRET, PASSPHRASE))


REFUSED: dict[str, tuple[dict[str, Any], int]] = {
    "margin": ({"quantity": 100_000}, 51008),
    "reduce-only": ({"side": Side.SELL, "reduce_only": True}, 51169),
    "stop above the price": ({"kind": OrderKind.STOP, "side": Side.SELL, "percent": 5}, 51280),
    "stop below the price": ({"kind": OrderKind.STOP, "side": Side.BUY, "percent": -5}, 51278),
    "target below the price": ({"kind": OrderKind.TARGET, "side": Side.SELL, "percent": -5}, 51279),
    "callback": ({"kind": OrderKind.TRAILING, "side": Side.SELL, "trail_bps": 5000}, 51257),
    "client id": ({"client_id": "not-valid"}, 51000),
    "too dear": ({"kind": OrderKind.LIMIT, "price_percent": 40}, 51137),
}


@pytest.mark.parametrize("why", REFUSED)
async def test_a_refused_order_carries_the_venues_code_and_words(trader: Trader, why: str) -> None:
    wish, code = dict(REFUSED[why][0]), REFUSED[why][1]
    for name, field in (("percent", "trigger"), ("price_percent", "price")):
        if name in wish:
            wish[field] = await trader.ticks(wish.pop(name))
    refused = await trader.send(wish.pop("client_id", "no"), **wish)
    assert isinstance(refused, OrderRefused), refused
    assert refused.code == code and refused.reason and without_secrets(refused.reason)


async def test_an_id_that_is_taken_means_that_its_order_exists(trader: Trader) -> None:
    low = await trader.ticks(-3)
    await trader.send("twice", kind=OrderKind.LIMIT, price=low)
    assert isinstance(await trader.send("twice", kind=OrderKind.LIMIT, price=low), OrderFateUnknown)
    found = await trader.look_up("twice")
    assert isinstance(found, OrderReport) and found.status == "NEW" and (await trader.okx())["open_orders"] == ["twice"]


async def test_an_order_of_nothing_is_refused_before_it_is_sent(trader: Trader) -> None:
    before = (await trader.okx())["counters"]["requests"]
    refused = await trader.send("nothing", 0)
    assert isinstance(refused, OrderRefused) and refused.code == 0
    assert (await trader.okx())["counters"]["requests"] == before


async def test_a_code_of_part_success_is_read_although_it_does_not_raise(trader: Trader) -> None:
    row = {"ordId": "", "clOrdId": "part", "sCode": "51008", "sMsg": "Insufficient USDT"}
    body = json.dumps({"code": "2", "msg": "Bulk operation partially succeeded", "data": [row]})
    await trader.venue.fault("http", venue="okx", path=PLACE, status=200, body=body)
    refused = await trader.send("part")
    assert isinstance(refused, OrderRefused) and (refused.code, refused.reason) == (51008, "Insufficient USDT")


async def test_an_order_that_comes_after_its_time_does_not_execute(venue: Simulated) -> None:
    async with trading(venue, window_ms=300) as trader:
        await venue.fault("delay_execution", venue="okx", path=PLACE, ms=700)
        refused = await trader.send("late")
        assert isinstance(refused, OrderRefused) and refused.code == 51149
        assert await trader.position() == 0


WRONG_KEYS = {"api_key": 50111, "secret": 50113, "passphrase": 50105}


@pytest.mark.parametrize("what", WRONG_KEYS)
async def test_an_account_with_a_wrong_key_does_not_start(venue: Simulated, what: str) -> None:
    with pytest.raises(VenueError, match="settings could not be read") as raised:
        async with trading(venue, **{what: "another"}):
            pass
    assert raised.value.code == WRONG_KEYS[what] and without_secrets(str(raised.value).replace("Sign", ""))


async def test_a_request_from_a_wrong_clock_is_refused(trader: Trader) -> None:
    await trader.venue.fault("clock_offset", venue="okx", ms=60_000)
    refused = await trader.send("late")
    assert isinstance(refused, OrderRefused) and refused.code == 50102


CONFIGS = {
    "hedge mode; switch it to net mode": {"posMode": "long_short_mode", "acctLv": "2", "perm": "read_only,trade"},
    "spot mode; switch it to futures mode": {"posMode": "net_mode", "acctLv": "1", "perm": "read_only,trade"},
    "may not trade": {"posMode": "net_mode", "acctLv": "2", "perm": "read_only"},
    "config": {"posMode": 7},
}


@pytest.mark.parametrize("words", CONFIGS)
async def test_an_account_that_cannot_be_traded_does_not_start_and_the_sentence_says_why(venue: Simulated, words: str) -> None:
    body = json.dumps({"code": "0", "msg": "", "data": [CONFIGS[words]]})
    await venue.fault("http", venue="okx", path="GET /api/v5/account/config", status=200, body=body)
    with pytest.raises(BarterError, match=words):
        async with trading(venue):
            pass


@pytest.mark.parametrize("body", ["", "{}", "[]", "<html>", '{"code":"0","data":[]}', '{"code":"0","data":7}'])
async def test_replies_that_cannot_be_read_are_weather(venue: Simulated, body: str) -> None:
    await venue.fault("http", venue="okx", path="GET /api/v5/account/config", status=200, body=body)
    with pytest.raises(BarterError):
        async with trading(venue):
            pass
    async with trading(venue) as trader:
        for path in ("GET /api/v5/account/balance", "POST /api/v5/account/set-leverage", "GET /api/v5/account/trade-fee"):
            await venue.fault("http", venue="okx", path=path, status=200, body=body)
        with pytest.raises(BarterError):
            await trader.account.snapshot(FetchAccount(0, "okx", "test"))
        with pytest.raises(BarterError):
            await trader.account.set_leverage(SetLeverage(0, BTC, 3))
        with pytest.raises(BarterError):
            await trader.account.fees(BTC)


async def test_a_start_that_failed_can_be_tried_again(venue: Simulated) -> None:
    await venue.fault("http", venue="okx", path="GET /api/v5/public/instruments", status=503, times=2)
    listed: list[Instrument] = []
    with contextlib.suppress(BarterError):
        listed = await listed_at(venue)
    assert not listed
    with contextlib.suppress(BarterError):
        await listed_at(venue)
    trader = Trader(venue, await listed_at(venue))
    await venue.fault("http", venue="okx", path="GET /api/v5/public/instruments", status=503)
    with pytest.raises(VenueError):
        await trader.account.start(list(trader.listed.values()))
    assert not trader.account.ready
    await trader.account.start(list(trader.listed.values()))
    assert trader.account.ready and isinstance(await trader.send("in"), OrderAccepted)
    await trader.account.close()


async def test_a_venue_that_accepts_and_says_nothing_does_not_hold_the_start(impatient: None) -> None:
    async with listening(say_nothing) as address:
        held = OkxAccount(Credentials(KEY, SECRET, PASSPHRASE), f"http://{address}", Clock.start(), WINDOW_MS)
        with pytest.raises(VenueError, match="list of markets could not be read: RequestTimeout"):
            await asyncio.wait_for(held.start([]), PATIENCE_S)
        await held.close()


# --- unknown fates ---------------------------------------------------------------------------------------------------

UNKNOWN: dict[str, dict[str, Any]] = {
    "the reply is lost": {"name": "lose_ack"},
    "the reply is late": {"name": "delay_reply", "ms": 700},
    "the execution is late": {"name": "delay_execution", "ms": 700},
    "the reply is empty": {"name": "empty_body"},
    "503 after execution": {"name": "http", "status": 503, "executed": True},
    "504 after execution": {"name": "http", "status": 504, "body": "Gateway Timeout", "executed": True},
    "50026 after execution": {"name": "http", "status": 500, "body": '{"code":"50026","msg":"System error"}', "executed": True},
    "50004 after execution": {"name": "http", "status": 400, "body": '{"code":"50004","msg":"Timed out"}', "executed": True},
    "200 with a page": {"name": "http", "status": 200, "body": "<html>hello</html>", "executed": True},
    "200 with a list": {"name": "http", "status": 200, "body": "[]", "executed": True},
    "200 with nothing in it": {"name": "http", "status": 200, "body": "{}", "executed": True},
    "200 with an empty row": {"name": "http", "status": 200, "body": '{"code":"0","data":[{}]}', "executed": True},
}


@pytest.mark.parametrize("why", UNKNOWN)
async def test_an_order_without_a_usable_reply_is_unknown_and_was_executed_once(
    impatient: None, trader: Trader, why: str
) -> None:
    await trader.venue.fault(venue="okx", path=PLACE, **UNKNOWN[why])
    unknown = await trader.send("maybe")
    assert isinstance(unknown, OrderFateUnknown) and without_secrets(unknown.reason)
    found: Event | None = None
    for _ in range(100):
        found = await trader.look_up("maybe")
        if isinstance(found, OrderReport):
            break
        await asyncio.sleep(0.05)
    assert isinstance(found, OrderReport) and (found.status, found.filled) == ("FILLED", 100)
    assert (await trader.okx())["counters"]["orders"] == 1 and await trader.position() == Decimal("0.01")


async def test_a_stop_without_a_usable_reply_is_unknown_and_found(impatient: None, trader: Trader) -> None:
    await trader.send("in")
    await trader.venue.fault("lose_ack", venue="okx", path=PLACE_ALGO)
    assert isinstance(await trader.protect("stop", OrderKind.STOP, -5), OrderFateUnknown)
    found = await trader.look_up("stop", conditional=True)
    assert isinstance(found, ConditionalReport) and found.status == "NEW"
    assert (await trader.okx())["open_conditionals"] == ["stop"]


async def test_an_order_that_never_executed_is_unknown_first_and_not_found_then(trader: Trader) -> None:
    await trader.venue.fault("http", venue="okx", path=PLACE, status=503, body="Service Unavailable")
    assert isinstance(await trader.send("maybe"), OrderFateUnknown)
    assert isinstance(await trader.look_up("maybe"), OrderNotFound) and await trader.position() == 0


@pytest.mark.parametrize("status", [429, 403])
async def test_an_order_turned_away_at_the_door_is_refused(trader: Trader, status: int) -> None:
    for body in ('{"code":"50011","msg":"Rate limit reached."}', "", "<html>slow down</html>"):
        await trader.venue.fault("http", venue="okx", path=PLACE, status=status, body=body)
        refused = await trader.send("limited")
        assert isinstance(refused, OrderRefused) and without_secrets(refused.reason), body
    assert isinstance(await trader.look_up("limited"), OrderNotFound)


REFUSING = [
    50001, 50005, 50011, 50102, 50103, 50105, 50111, 50112, 50113, 50114, 51000, 51001, 51004, 51006, 51008, 51010, 51020, 51028,
    51119, 51121, 51127, 51131, 51137, 51138, 51149, 51169, 51170, 51278, 51280, 51410, 59107,
]  # fmt: skip
MEANING: list[tuple[int, Fate]] = [
    *((code, Fate.REFUSED) for code in REFUSING),
    *((code, Fate.UNKNOWN) for code in (50004, 50013, 50026, 51016, 51065)),
    *((code, Fate.GONE) for code in (51400, 51401, 51402, 51503, 51603)),
]


@pytest.mark.parametrize(("code", "fate"), MEANING)
def test_the_venues_number_means(code: int, fate: Fate) -> None:
    alone = ccxt.ExchangeError(f'okx {{"code":"{code}","data":[],"msg":"Told by the venue."}}')
    row = f'{{"clOrdId":"a","ordId":"","sCode":"{code}","sMsg":"Told by the venue.","tag":""}}'
    inside = ccxt.InvalidOrder(f'okx {{"code":"1","data":[{row}],"msg":"All operations failed"}}')
    after = ccxt.InvalidOrder(f'okx {{"msg":"All operations failed","code":"1","data":[{row}]}}')
    for problem in (alone, inside, after):
        assert fate_of(problem, status_of(problem)) is fate and code_of(problem) == code
        assert words_of(problem) == "Told by the venue."


# --- the private sockets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ["private", "business"])
async def test_a_cut_socket_is_told_once_and_the_next_run_connects_again(trader: Trader, route: str) -> None:
    await trader.listen()
    await trader.venue.fault("cut", venue="okx", route=route)
    assert trader.running is not None
    with pytest.raises(VenueError, match="the venue closed the connection"):
        await asyncio.wait_for(trader.running, PATIENCE_S)
    assert [event.route for event in trader.seen(Disconnected)] == ["private"]
    await trader.listen()
    await trader.send("after")
    await until(lambda: trader.seen(OrderReport, client_id="after", status="FILLED"))


async def test_a_notice_of_an_upgrade_ends_the_stream_before_the_venue_does(trader: Trader) -> None:
    await trader.listen()
    await trader.venue.fault("leave", venue="okx", ms=30_000)
    assert trader.running is not None
    with pytest.raises(VenueError, match="for an upgrade"):
        await asyncio.wait_for(trader.running, PATIENCE_S)
    assert len(trader.seen(Disconnected)) == 1


async def test_a_stream_that_falls_silent_is_asked_and_given_up(trader: Trader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(okx_private, "PING_AFTER_S", 0.2)
    monkeypatch.setattr(okx_private, "PONG_WITHIN_S", 0.3)
    await trader.listen()
    await asyncio.sleep(0.8)
    assert trader.running is not None and not trader.running.done(), "pongs keep it"
    await trader.venue.fault("silence", venue="okx", kind="pong")
    with pytest.raises(VenueError, match="fell silent"):
        await asyncio.wait_for(trader.running, PATIENCE_S)


async def test_channels_that_are_not_acknowledged_are_no_connection(trader: Trader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(okx_private, "READY_WITHIN_S", 0.5)
    await trader.venue.fault("lose_subscribe", venue="okx", times=1)
    with pytest.raises(VenueError, match="did not acknowledge"):
        await asyncio.wait_for(trader.stream.run(), PATIENCE_S)
    assert not trader.events


@pytest.mark.parametrize("what", ["secret", "passphrase", "api_key"])
async def test_a_login_with_a_wrong_key_is_refused_in_the_venues_words(trader: Trader, what: str) -> None:
    trader.account.credentials = Credentials(**{"api_key": KEY, "secret": SECRET, "passphrase": PASSPHRASE, what: "another"})
    with pytest.raises(VenueError, match=r"Invalid|Wrong") as raised:
        await asyncio.wait_for(trader.stream.run(), PATIENCE_S)
    assert without_secrets(str(raised.value).replace("sign", "")) and not trader.events


async def test_a_stream_that_cannot_be_opened_is_weather_and_no_crash(trader: Trader) -> None:
    await trader.venue.fault("refuse", venue="okx")
    with pytest.raises(VenueError, match="the private stream could not be opened"):
        await asyncio.wait_for(trader.stream.run(), PATIENCE_S)
    trader.stream.base = "ws://127.0.0.1:9"
    with pytest.raises(VenueError, match="the private stream could not be opened"):
        await asyncio.wait_for(trader.stream.run(), PATIENCE_S)
    assert not trader.events


@pytest.mark.parametrize("name", ["malformed", "unknown_fields"])
async def test_a_damaged_report_is_told_and_the_stream_goes_on(trader: Trader, name: str) -> None:
    await trader.listen()
    await trader.venue.fault(name, venue="okx", kind="orders")
    await trader.send("in")
    await until(lambda: trader.seen(OrderReport, status="FILLED"))
    assert len(trader.seen(DecodeFailed)) == (name == "malformed")
    assert trader.running is not None and not trader.running.done()


REPORT: dict[str, Any] = {
    "instId": "BTC-USDT-SWAP", "ordId": "7", "clOrdId": "x", "side": "buy", "sz": "1", "accFillSz": "1", "state": "filled",
    "tradeId": "5", "fillSz": "1", "fillPx": "64000.1", "fillFee": "-0.3", "fillFeeCcy": "USDT", "fillPnl": "0", "uTime": "1",
}  # fmt: skip


def pushed(channel: str, row: object) -> bytes:
    return json.dumps({"arg": {"channel": channel, "uid": "1"}, "data": [row]}).encode()


DAMAGED: dict[str, bytes] = {
    "no text": b"\xff\xfe",
    "nested": b'{"arg":{"channel":"orders"},"data":' + b"[" * 100_000,
    **{
        f"{field} {value}": pushed("orders", {**REPORT, field: value})
        for field, value in [
            ("fillFee", "NaN"), ("fillPnl", "Infinity"), ("sz", "sNaN"), ("fillPx", "NaN"), ("fillPx", "64000.15"),
            ("fillSz", "0.005"), ("tradeId", "x"), ("tradeId", "9" * 30), ("side", "both"), ("accFillSz", 7), ("sz", "1e"),
        ]
    },
    "a balance of no number": pushed("balance_and_position", {"eventType": "x", "balData": [{"ccy": "USDT", "cashBal": "NaN"}]}),
    "an algo of nobody's side": pushed(
        "orders-algo", {"instId": "BTC-USDT-SWAP", "algoId": "1", "side": "buy", "sz": "1", "state": "live", "uTime": "soon"}
    ),
}  # fmt: skip


async def test_no_frame_of_the_private_stream_can_break_it(trader: Trader) -> None:
    async def damage(connection: ServerConnection) -> None:
        assert json.loads(await connection.recv())["op"] == "login"
        await connection.send('{"event":"login","code":"0"}')
        for arg in json.loads(await connection.recv())["args"]:
            await connection.send(json.dumps({"event": "subscribe", "arg": arg}))
        assert connection.request is not None
        if connection.request.path.endswith("private"):
            await until(lambda: trader.seen(Connected))
            for frame in DAMAGED.values():
                await connection.send(frame)
            await connection.send(pushed("orders", REPORT))
            await connection.send(pushed("orders", {**REPORT, "instId": "DOGE-USDT-SWAP"}))
        await connection.wait_closed()

    async with serve(damage, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        trader.stream.base = f"ws://127.0.0.1:{port}"
        await trader.listen()
        await until(lambda: trader.seen(OrderReport) and trader.stream.foreign)
        (report,) = trader.seen(OrderReport)
        assert (report.last_quantity, report.last_price, report.fee, report.trade_id) == (100, 640_001, Decimal("0.3"), 5)
        failures = trader.seen(DecodeFailed)
        assert len(failures) == len(DAMAGED), [failure.problem for failure in failures]
        assert all(failure.route == "private" and len(failure.problem) <= 200 for failure in failures)


async def test_a_stream_that_is_ended_in_the_middle_of_frames_ends(trader: Trader, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancellation that met a frame was swallowed, and the engine never came to its end."""
    monkeypatch.setattr(stream, "CLOSE_S", 0.1)

    async def pour(connection: ServerConnection) -> None:
        await connection.recv()
        await connection.send('{"event":"login","code":"0"}')
        for arg in json.loads(await connection.recv())["args"]:
            await connection.send(json.dumps({"event": "subscribe", "arg": arg}))
        with contextlib.suppress(ConnectionError, websockets.ConnectionClosed):
            while True:
                await connection.send(pushed("account", {}))
                await asyncio.sleep(0)  # by itself it would fill every buffer of the machine first

    async with serve(pour, "127.0.0.1", 0, close_timeout=0.1) as server:
        trader.stream.base = f"ws://127.0.0.1:{next(iter(server.sockets)).getsockname()[1]}"
        for _ in range(4):
            await trader.listen()
            assert trader.running is not None
            trader.running.cancel()
            done, _ = await asyncio.wait({trader.running}, timeout=PATIENCE_S)  # a swallowed cancellation never ends
            assert done


# --- secrets and addresses -------------------------------------------------------------------------------------------


async def test_no_secret_is_ever_said_aloud(venue: Simulated, caplog: pytest.LogCaptureFixture) -> None:
    said: list[str] = []
    with caplog.at_level(logging.DEBUG):
        async with trading(venue) as trader:
            await trader.listen()
            said += [repr(trader.account.credentials), pretty_repr(trader.account), repr(vars(trader))]
            said.append(repr(await trader.send("in")))
            for name in ("http", "lose_ack", "empty_body"):
                await venue.fault(name, venue="okx", path=PLACE)
                said.append(repr(await trader.send(f"o{name.replace('_', '')}")))
            trader.account._exchange.secret = SECRET + "x"
            said.append(repr(await trader.send("forged")))
            await venue.fault("cut", venue="okx", route="private")
            assert trader.running is not None
            with pytest.raises(VenueError) as ended:
                await asyncio.wait_for(trader.running, PATIENCE_S)
            said += [repr(ended.value), *map(repr, trader.events)]
        with pytest.raises(VenueError) as refused:
            async with trading(venue, api_key=KEY + "x"):
                pass
        said += [repr(refused.value), str(refused.value)]
    logged = [f"{record.name}: {record.getMessage()}" for record in caplog.records]
    for secret in (SECRET, KEY, PASSPHRASE, "OK-ACCESS-SIGN"):
        assert not [text for text in said + logged if secret in text], secret


async def test_no_address_of_a_redirected_exchange_reaches_a_public_host(trader: Trader) -> None:
    exchange = trader.account._exchange
    assert exchange.urls["api"] == {"rest": trader.venue.rest} and exchange.urls["test"] == {}
    signed = exchange.sign("trade/order", ["private"], "POST", {"instId": "x"})
    assert signed["url"] == f"{trader.venue.rest}/api/v5/trade/order"


async def test_an_exchange_at_the_real_venue_reaches_that_host_alone() -> None:
    exchange = ccxt.okx()
    redirect(exchange, PUBLIC_HOST)
    assert exchange.urls["api"] == {"rest": PUBLIC_HOST} and exchange.hostname == "www.okx.com"
    await exchange.close()
