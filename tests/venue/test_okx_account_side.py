"""The account at OKX's side of the simulated venue, as ccxt's unified calls, ccxt.pro and a raw client see it."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import aiohttp
import ccxt.async_support as ccxt
import ccxt.pro as ccxtpro
import pytest
import websockets
from simulated import FRESH_MS, KEY, PASSPHRASE, SECRET, Simulated, simulated

from engine.clock import Clock

BTC, ASTER = "BTC-USDT-SWAP", "ASTER-USDT-SWAP"
U = "BTC/USDT:USDT"
PATIENCE_S = 10.0


@pytest.fixture
async def venue() -> AsyncIterator[Simulated]:
    async with simulated(symbols=["ASTERUSDT", "BTCUSDT"], warm_ms=FRESH_MS) as started:
        yield started


def client_of(venue: Simulated, module: Any = ccxt) -> Any:
    client = module.okx(
        {
            "apiKey": KEY,
            "secret": SECRET,
            "password": PASSPHRASE,
            "enableRateLimit": False,
            "options": {"defaultType": "swap", "fetchMarkets": {"types": ["swap"]}},
        }
    )
    client.has["fetchCurrencies"] = False
    client.urls["api"]["rest"], client.urls["api"]["ws"] = venue.rest, venue.ws + "/ws/v5"
    return client


@pytest.fixture
async def okx(venue: Simulated) -> AsyncIterator[Any]:
    client = client_of(venue)
    yield client
    await client.close()


def signed(method: str, path: str, body: str = "", at: float | None = None, **changed: str) -> dict[str, str]:
    """The headers of a request."""
    moment = datetime.fromtimestamp(at if at is not None else time.time(), UTC)
    stamp = moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"
    sign = base64.b64encode(hmac.new(SECRET.encode(), (stamp + method + path + body).encode(), hashlib.sha256).digest()).decode()
    headers = {
        "OK-ACCESS-KEY": KEY,
        "OK-ACCESS-SIGN": sign,
        "OK-ACCESS-TIMESTAMP": stamp,
        "OK-ACCESS-PASSPHRASE": PASSPHRASE,
    }
    return {**headers, **{f"OK-ACCESS-{name.upper()}": value for name, value in changed.items()}}


async def ask(venue: Simulated, method: str, path: str, body: object = None, **changed: Any) -> tuple[int, Any]:
    text = json.dumps(body) if body is not None else ""
    headers = {**signed(method, path, text, **changed), "Content-Type": "application/json"}
    async with aiohttp.ClientSession() as http, http.request(method, venue.rest + path, data=text, headers=headers) as reply:
        return reply.status, json.loads(await reply.read())


# --- the signature ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"key": ""}, "50103"),
        ({"passphrase": ""}, "50104"),
        ({"sign": ""}, "50106"),
        ({"timestamp": ""}, "50107"),
        ({"key": "nobody"}, "50111"),
        ({"passphrase": "wrong"}, "50105"),
        ({"timestamp": "yesterday"}, "50112"),
        ({"timestamp": "2020-01-01T00:00:00.000Z"}, "50102"),
        ({"sign": "bm8="}, "50113"),
    ],
)
async def test_a_request_that_is_not_signed_right_is_refused_with_the_venues_number(
    venue: Simulated, changed: dict[str, str], code: str
) -> None:
    status, reply = await ask(venue, "GET", "/api/v5/account/balance?ccy=USDT", **changed)
    assert (status, reply["code"], reply["data"]) == (401, code, [])


@pytest.mark.parametrize(("late_s", "code"), [(25, "0"), (35, "50102"), (-35, "50102")])
async def test_a_signature_is_good_for_thirty_seconds(venue: Simulated, late_s: int, code: str) -> None:
    _, reply = await ask(venue, "GET", "/api/v5/account/config", at=time.time() - late_s)
    assert reply["code"] == code


async def test_the_signature_covers_query_and_body(venue: Simulated) -> None:
    headers = signed("GET", "/api/v5/trade/orders-pending?instType=SWAP")
    async with aiohttp.ClientSession() as http:
        for query, code in (("instType=SWAP", "0"), (f"instType=SWAP&instId={BTC}", "50113")):
            async with http.get(f"{venue.rest}/api/v5/trade/orders-pending?{query}", headers=headers) as reply:
                assert json.loads(await reply.read())["code"] == code


async def test_public_questions_need_no_key_and_unknown_paths_do_not_exist(venue: Simulated) -> None:
    async with aiohttp.ClientSession() as http:
        async with http.get(f"{venue.rest}/api/v5/public/time") as reply:
            assert json.loads(await reply.read())["code"] == "0"
        async with http.get(f"{venue.rest}/api/v5/trade/nonsense") as reply:
            assert reply.status == 404


# --- orders as ccxt makes them -----------------------------------------------------------------------------------------


async def test_ccxts_unified_calls_trade_and_read_the_account(okx: Any, venue: Simulated) -> None:
    """Sizes are contracts: one and a half of them are 0.015 BTC."""
    placed = await okx.create_order(U, "market", "buy", 1.5, None, {"clOrdId": "in1"})
    assert placed["id"] and placed["info"]["sCode"] == "0"
    assert (await venue.state())["okx"]["positions"][BTC]["quantity"] == "0.015"
    (held,) = await okx.fetch_positions()
    names = ("symbol", "contracts", "side", "leverage", "marginMode")
    assert [held[name] for name in names] == [U, 1.5, "long", 20, "cross"]
    assert held["entryPrice"] > 1000 and held["contractSize"] == 0.01
    order = await okx.fetch_order(None, U, {"clientOrderId": "in1"})
    assert (order["status"], order["filled"], order["clientOrderId"]) == ("closed", 1.5, "in1") and order["fee"]["cost"] > 0
    trades = await okx.fetch_my_trades(U)
    assert sum(trade["amount"] for trade in trades) == 1.5 and all(trade["fee"]["cost"] > 0 for trade in trades)
    usdt = (await okx.fetch_balance())["USDT"]
    assert 9_900 < usdt["free"] < usdt["total"] < 10_000
    fee = await okx.fetch_trading_fee(U)
    assert (fee["maker"], fee["taker"]) == (0.0002, 0.0005)
    await okx.set_leverage(5, U)
    assert (await okx.fetch_leverage(U, {"marginMode": "cross"}))["longLeverage"] == 5
    assert (await okx.fetch_position_mode(U))["hedged"] is False


async def test_limit_orders_rest_are_amended_and_cancelled(okx: Any) -> None:
    low = (await okx.fetch_order_book(U))["bids"][0][0] * 0.97
    kinds = {"limit": {}, "post_only": {"postOnly": True}}
    for name, params in kinds.items():
        await okx.create_order(U, "limit", "buy", 1, low, {"clOrdId": name.replace("_", ""), **params})
    open_orders = {order["clientOrderId"]: order for order in await okx.fetch_open_orders(U)}
    assert {name: order["info"]["ordType"] for name, order in open_orders.items()} == {"limit": "limit", "postonly": "post_only"}
    await okx.edit_order(open_orders["limit"]["id"], U, "limit", "buy", 2, low * 0.99)
    changed = await okx.fetch_order(open_orders["limit"]["id"], U)
    assert (changed["amount"], changed["status"]) == (2, "open") and changed["price"] < low
    cancelled = await okx.cancel_orders([order["id"] for order in open_orders.values()], U)
    assert len(cancelled) == 2 and await okx.fetch_open_orders(U) == []
    with pytest.raises(ccxt.OrderNotFound):
        await okx.cancel_order(open_orders["limit"]["id"], U)


async def test_a_refused_order_has_its_number_in_the_row(okx: Any, venue: Simulated) -> None:
    await okx.load_markets()
    with pytest.raises(ccxt.InsufficientFunds, match="51008"):
        await okx.create_order(U, "market", "buy", 5_000)
    row = {"instId": BTC, "tdMode": "cross", "side": "buy", "ordType": "market", "sz": "1"}
    status, none = await ask(venue, "POST", "/api/v5/trade/order", {**row, "sz": "0.005"})
    assert (status, none["code"], none["data"][0]["sCode"]) == (200, "1", "51121")
    _, some = await ask(venue, "POST", "/api/v5/trade/batch-orders", [row, {**row, "sz": "9999", "clOrdId": "b"}])
    assert some["code"] == "2" and [one["sCode"] for one in some["data"]] == ["0", "51008"]
    assert some["data"][1]["clOrdId"] == "b" and some["data"][0]["ordId"]
    for wrong, code in (
        ({"instId": "DOGE-USDT-SWAP"}, "51001"),
        ({"tdMode": "isolated"}, "51000"),  # the position is a cross one
        ({"tdMode": "cash"}, "51000"),
        ({"side": "both"}, "51000"),
        ({"ordType": "iceberg"}, "51000"),
        ({"sz": "one"}, "51000"),
        ({"sz": ""}, "50014"),
        ({"posSide": "long"}, "51000"),
        ({"clOrdId": "a-b"}, "51000"),
        ({"side": "sell", "reduceOnly": True, "instId": ASTER}, "51169"),
    ):
        _, reply = await ask(venue, "POST", "/api/v5/trade/order", {**row, **wrong})
        assert (reply["code"], reply["data"][0]["sCode"]) == ("1", code), wrong


async def test_an_isolated_position_has_a_margin_of_its_own(okx: Any, venue: Simulated) -> None:
    await okx.load_markets()
    await okx.set_leverage(10, U, {"mgnMode": "isolated"})
    order = {"instId": BTC, "tdMode": "isolated", "side": "buy", "ordType": "market", "sz": "1"}
    _, placed = await ask(venue, "POST", "/api/v5/trade/order", order)
    assert placed["data"][0]["sCode"] == "0"
    (position,) = await okx.fetch_positions([U])
    assert position["marginMode"] == "isolated" and position["leverage"] == 10
    cost = position["contracts"] * position["contractSize"] * position["entryPrice"]
    assert float(position["info"]["margin"]) == pytest.approx(cost / 10)
    assert cost * 0.9 < position["liquidationPrice"] * position["contracts"] * position["contractSize"] < cost * 0.92
    _, balance = await ask(venue, "GET", "/api/v5/account/balance")
    detail = balance["data"][0]["details"][0]
    assert float(balance["data"][0]["isoEq"]) == pytest.approx(cost / 10 + float(detail["upl"]))
    assert float(detail["availEq"]) == pytest.approx(float(detail["cashBal"]) - cost / 10)
    assert (await okx.fetch_leverage(U, {"mgnMode": "isolated"}))["longLeverage"] == 10


# --- algo orders -----------------------------------------------------------------------------------------------------


async def test_algo_orders_are_listed_by_kind_found_by_their_own_id_and_cancelled(okx: Any) -> None:
    last = (await okx.fetch_order_book(U))["bids"][0][0]
    await okx.create_order(U, "market", "buy", 1)
    reduce = {"reduceOnly": True}
    stop = {**reduce, "stopLossPrice": last * 0.95, "slTriggerPxType": "mark", "algoClOrdId": "stop"}
    await okx.create_order(U, "market", "sell", 1, None, stop)
    await okx.create_order(U, "market", "sell", 1, None, {**reduce, "takeProfitPrice": last * 1.05, "algoClOrdId": "target"})
    await okx.create_order(U, "market", "sell", 1, None, {**reduce, "triggerPrice": last * 0.9, "algoClOrdId": "plain"})
    await okx.create_order(U, "market", "sell", 1, None, {**reduce, "trailingPercent": 2.5, "algoClOrdId": "trail"})
    listed = {}
    for kind in ("conditional", "trigger", "move_order_stop", "oco"):
        rows = (await okx.privateGetTradeOrdersAlgoPending({"ordType": kind}))["data"]
        listed[kind] = sorted(row["algoClOrdId"] for row in rows)
    assert listed == {"conditional": ["stop", "target"], "trigger": ["plain"], "move_order_stop": ["trail"], "oco": []}
    (found,) = (await okx.privateGetTradeOrderAlgo({"algoClOrdId": "stop"}))["data"]
    assert (found["slTriggerPxType"], found["slOrdPx"], found["state"], found["sz"]) == ("mark", "-1", "live", "1.00")
    (trail,) = (await okx.privateGetTradeOrderAlgo({"algoClOrdId": "trail"}))["data"]
    assert trail["callbackRatio"] == "0.025"
    assert await okx.fetch_open_orders(U) == []  # they rest apart
    with pytest.raises(ccxt.ExchangeError, match="51000"):
        await okx.privateGetTradeOrdersAlgoPending({})
    reply = await okx.privatePostTradeCancelAlgos([{"instId": BTC, "algoClOrdId": name} for name in ("stop", "nobody")])
    assert reply["code"] == "2" and [row["sCode"] for row in reply["data"]] == ["0", "51400"]
    with pytest.raises(ccxt.OrderNotFound):
        await okx.privateGetTradeOrderAlgo({"algoClOrdId": "nobody"})


async def test_the_dead_mans_switch_cancels_orders_and_spares_algo_orders() -> None:
    clock = Clock.start(10.0)  # its shortest time is ten seconds
    async with simulated(symbols=["BTCUSDT"], clock=clock, warm_ms=FRESH_MS) as venue:
        okx = client_of(venue)
        okx.nonce = clock.now_ms
        try:
            book = (await okx.fetch_order_book(U))["bids"][0][0]
            await okx.create_order(U, "market", "buy", 1)
            await okx.create_order(U, "limit", "buy", 1, book * 0.97, {"clOrdId": "rests"})
            stop = {"reduceOnly": True, "stopLossPrice": book * 0.95, "algoClOrdId": "stop"}
            await okx.create_order(U, "market", "sell", 1, None, stop)
            for wrong in ("5", "121", "soon"):
                with pytest.raises(ccxt.ExchangeError, match="51000"):
                    await okx.privatePostTradeCancelAllAfter({"timeOut": wrong})
            began = clock.now_ms()
            (armed,) = (await okx.cancel_all_orders_after(10_000))["data"]
            assert int(armed["triggerTime"]) >= began + 10_000
            while (state := (await venue.state())["okx"])["open_orders"]:
                assert state["open_orders"] == ["rests"]
                await asyncio.sleep(0.02)
            assert clock.now_ms() >= int(armed["triggerTime"])
            assert state["open_conditionals"] == ["stop"]
            assert (await okx.fetch_order(None, U, {"clientOrderId": "rests"}))["info"]["cancelSource"] == "20"
        finally:
            await okx.close()


# --- private channels ------------------------------------------------------------------------------------------------


class Private:
    """A raw connection that keeps what it hears."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def say(self, op: str, *args: dict[str, str]) -> None:
        await self.socket.send(json.dumps({"op": op, "args": list(args)}))

    async def hear(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(await asyncio.wait_for(self.socket.recv(), PATIENCE_S))
        return found

    async def login(self, **changed: str) -> dict[str, Any]:
        at = changed.get("timestamp", str(int(time.time())))
        text = f"{at}GET/users/self/verify"
        sign = base64.b64encode(hmac.new(SECRET.encode(), text.encode(), hashlib.sha256).digest()).decode()
        await self.say("login", {"apiKey": KEY, "passphrase": PASSPHRASE, "timestamp": at, "sign": sign, **changed})
        return await self.hear()

    async def rows(self, channel: str, count: int) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = []
        while len(found) < count:
            frame = await self.hear()
            if frame.get("arg", {}).get("channel") == channel and "data" in frame:
                found += frame["data"]
        return found


@contextlib.asynccontextmanager
async def private(venue: Simulated, route: str) -> AsyncIterator[Private]:
    async with websockets.connect(f"{venue.ws}/ws/v5/{route}", ping_interval=None) as socket:
        yield Private(socket)


@pytest.mark.parametrize("route", ["private", "business"])
async def test_private_channels_need_a_login_on_their_own_connection(venue: Simulated, route: str) -> None:
    channel = {"private": "orders", "business": "orders-algo"}[route]
    async with private(venue, route) as one:
        await one.say("subscribe", {"channel": channel, "instType": "SWAP"})
        assert (await one.hear())["code"] == "60011"
        for changed, code in (
            ({"apiKey": "x"}, "60005"),
            ({"passphrase": "x"}, "60024"),
            ({"timestamp": "1500000000"}, "60006"),
            ({"timestamp": "now"}, "60004"),
            ({"sign": "x"}, "60007"),
        ):
            reply = await one.login(**changed)
            assert (reply["event"], reply["code"]) == ("error", code)
        assert (await one.login())["code"] == "0"
        await one.say("subscribe", {"channel": channel, "instType": "SWAP"})
        assert (await one.hear())["event"] == "subscribe"
        await one.say("subscribe", {"channel": "nonsense"})
        assert (await one.hear())["code"] == "60018"


async def test_orders_and_balances_are_pushed_with_the_subscriptions_own_arg(venue: Simulated, okx: Any) -> None:
    async with private(venue, "private") as one:
        await one.login()
        asked = {"channel": "orders", "instType": "SWAP", "instId": BTC}
        await one.say("subscribe", asked, {"channel": "account"}, {"channel": "positions", "instType": "ANY"})
        (before,) = await one.rows("account", 1)
        assert Decimal(before["details"][0]["cashBal"]) == 10_000
        await okx.create_order(U, "market", "buy", 1, None, {"clOrdId": "in"})
        frame = await one.hear()
        while "data" not in frame or frame["arg"]["channel"] != "orders":
            frame = await one.hear()
        assert {name: value for name, value in frame["arg"].items() if name != "uid"} == asked and frame["arg"]["uid"]
        assert (frame["data"][0]["state"], frame["data"][0]["clOrdId"], frame["data"][0]["tradeId"]) == ("live", "in", "")
        (filled,) = await one.rows("orders", 1)
        while filled["state"] != "filled":
            (filled,) = await one.rows("orders", 1)
        assert filled["execType"] == "T" and Decimal(filled["fillFee"]) < 0 and filled["accFillSz"] == "1.00"
        (after,) = await one.rows("account", 1)
        assert Decimal(after["details"][0]["cashBal"]) < 10_000
        (held,) = await one.rows("positions", 1)
        assert (held["instId"], held["pos"], held["posSide"]) == (BTC, "1", "net")
        await okx.create_order("ASTER/USDT:USDT", "market", "buy", 100)
        await okx.create_order(U, "market", "sell", 1, None, {"clOrdId": "out"})
        assert {row["instId"] for row in await one.rows("orders", 2)} == {BTC}  # of one instrument, as asked


async def test_a_triggered_algo_order_is_effective_and_its_order_names_it(venue: Simulated, okx: Any) -> None:
    async with private(venue, "private") as orders, private(venue, "business") as algos:
        for one, channel in ((orders, "orders"), (algos, "orders-algo")):
            await one.login()
            await one.say("subscribe", {"channel": channel, "instType": "SWAP"})
        last = (await okx.fetch_order_book(U))["bids"][0][0]
        await okx.create_order(U, "market", "buy", 1)
        await okx.create_order(U, "market", "sell", 1, None, {"reduceOnly": True, "stopLossPrice": last - 2, "algoClOrdId": "s"})
        (live,) = await algos.rows("orders-algo", 1)
        assert (live["state"], live["ordType"], live["algoClOrdId"]) == ("live", "conditional", "s")
        await venue.fault("shock", venue="okx", symbol=BTC, side="SELL", quantity=100_000)
        (fired,) = await algos.rows("orders-algo", 1)
        assert fired["state"] == "effective" and fired["actualSide"] == "sl"
        rows = await orders.rows("orders", 4)
        ours = [row for row in rows if row["algoId"]]
        assert {(row["algoClOrdId"], row["clOrdId"], row["ordId"]) for row in ours} == {("s", "", fired["ordIdList"][0])}


async def test_ccxt_pro_watches_its_orders(venue: Simulated) -> None:
    pro = client_of(venue, ccxtpro)
    try:
        watching = asyncio.create_task(pro.watch_orders(U))
        await asyncio.sleep(1)
        await pro.create_order(U, "market", "buy", 1, None, {"clOrdId": "seen"})
        (order, *_) = await asyncio.wait_for(watching, PATIENCE_S)
        assert order["clientOrderId"] == "seen" and order["amount"] == 1
    finally:
        await pro.close()
