"""The simulated Binance over real sockets: what ccxt and a plain websocket see of it."""

import asyncio
import time
from collections.abc import AsyncIterator

import aiohttp
import ccxt.async_support as ccxt
import pytest
from wire import KEY, S, U, Wire, exchange_client, wired

from engine.clock import Clock
from engine.venue.gate import Limited, Limits

GUARD = {"reduceOnly": True, "clientAlgoId": "guard"}
SILENT = [("/market/ws", "asterusdt@depth"), ("/public/ws", "asterusdt@aggTrade"), ("/ws", "asterusdt@depth")]


@pytest.fixture
async def wire() -> AsyncIterator[Wire]:
    async with wired() as one:
        yield one


# --- REST through ccxt -------------------------------------------------------------------------------------------------


async def test_ccxt_reads_the_listing(wire: Wire) -> None:
    markets = await wire.ccxt.load_markets()
    market = markets[U]
    assert (market["precision"]["price"], market["precision"]["amount"], market["limits"]["cost"]["min"]) == (0.0001, 1.0, 5.0)
    assert await wire.ccxt.fetch_time() == pytest.approx(time.time() * 1000, abs=5_000)


async def test_an_acknowledgement_has_no_average_and_a_look_up_has(wire: Wire) -> None:
    placed = await wire.ccxt.create_order(U, "market", "buy", 100, params={"newClientOrderId": "one"})
    assert (placed["status"], placed["filled"], placed["average"], placed["cost"]) == ("closed", 100.0, None, None)
    found = await wire.ccxt.fetch_order(None, U, {"clientOrderId": "one"})
    assert (found["average"], found["cost"]) == (1.0001, 100.01)


async def test_a_limit_order_rests_is_listed_amended_and_cancelled(wire: Wire) -> None:
    order = await wire.ccxt.create_order(U, "limit", "buy", 100, 0.95, {"postOnly": True})
    assert order["status"] == "open"
    assert [found["id"] for found in await wire.ccxt.fetch_open_orders(U)] == [order["id"]]
    await wire.ccxt.edit_order(order["id"], U, "limit", "buy", 120, 0.96)
    assert (await wire.ccxt.fetch_order(order["id"], U))["price"] == 0.96
    assert (await wire.ccxt.cancel_order(order["id"], U))["status"] == "canceled"
    with pytest.raises(ccxt.OrderNotFound):
        await wire.ccxt.cancel_order(order["id"], U)


async def test_refusals_arrive_as_ccxts_own_errors(wire: Wire) -> None:
    for error, arguments in (
        (ccxt.OrderNotFillable, ("limit", "buy", 100, 1.0005, {"postOnly": True})),
        (ccxt.InsufficientFunds, ("market", "buy", 200_000)),
        (ccxt.InvalidOrder, ("market", "buy", 2)),
        (ccxt.OrderImmediatelyFillable, ("market", "sell", 100, None, {"stopLossPrice": 1.05})),
    ):
        with pytest.raises(error):
            await wire.ccxt.create_order(U, *arguments)


async def test_a_stop_lives_apart_from_the_orders(wire: Wire) -> None:
    await wire.ccxt.create_order(U, "market", "buy", 100)
    stop = await wire.ccxt.create_order(U, "market", "sell", 100, params={"stopLossPrice": 0.97, **GUARD})
    assert await wire.ccxt.fetch_open_orders(U) == []
    assert [found["id"] for found in await wire.ccxt.fetch_open_orders(U, params={"trigger": True})] == [stop["id"]]
    await wire.ccxt.cancel_all_orders(U)
    found = await wire.ccxt.fetch_order(None, U, {"trigger": True, "clientAlgoId": "guard"})
    assert (found["status"], found["triggerPrice"], found["reduceOnly"]) == ("open", 0.97, True)
    await wire.ccxt.cancel_order(stop["id"], U, {"trigger": True})
    assert await wire.ccxt.fetch_open_orders(U, params={"trigger": True}) == []


async def test_balance_position_fees_and_trades_agree(wire: Wire) -> None:
    await wire.ccxt.set_leverage(10, U)
    await wire.ccxt.create_order(U, "market", "buy", 100)
    balance, (position,) = (await wire.ccxt.fetch_balance())["USDT"], await wire.ccxt.fetch_positions([U])
    (trade,), state = await wire.ccxt.fetch_my_trades(U), await wire.state()
    fees = await wire.ccxt.fetch_trading_fee(U)
    assert (position["contracts"], position["side"], position["entryPrice"]) == (100.0, "long", 1.0001)
    assert trade["fee"]["cost"] == pytest.approx(100.01 * fees["taker"]) and state["fees_paid"] == "0.050005"
    assert state["wallet"] == "999.949995"
    assert balance["total"] == pytest.approx(999.949995 + position["unrealizedPnl"])
    assert (await wire.ccxt.fetch_leverage(U))["longLeverage"] == 10


async def test_settings_answer_as_the_venue_does(wire: Wire) -> None:
    with pytest.raises(ccxt.MarginModeAlreadySet):
        await wire.ccxt.set_margin_mode("cross", U)
    assert (await wire.ccxt.fetch_position_mode(U))["hedged"] is False
    with pytest.raises(ccxt.OperationRejected, match="-4059"):
        await wire.ccxt.set_position_mode(False)
    with pytest.raises(ccxt.BaseError, match="one-way"):
        await wire.ccxt.set_position_mode(True)
    switch = await wire.ccxt.fapiPrivatePostCountdownCancelAll({"symbol": S, "countdownTime": 60_000})
    assert switch == {"symbol": S, "countdownTime": "60000"}


async def test_the_margin_mode_is_set_while_nothing_is_open(wire: Wire) -> None:
    await wire.ccxt.set_leverage(10, U)
    await wire.ccxt.set_margin_mode("isolated", U)
    with pytest.raises(ccxt.MarginModeAlreadySet):
        await wire.ccxt.set_margin_mode("isolated", U)
    order = await wire.ccxt.create_order(U, "limit", "buy", 100, 0.95)
    with pytest.raises(ccxt.OperationRejected, match="-4047"):
        await wire.ccxt.set_margin_mode("cross", U)
    await wire.ccxt.cancel_order(order["id"], U)
    await wire.ccxt.create_order(U, "market", "buy", 100)
    with pytest.raises(ccxt.OperationRejected, match="-4048"):
        await wire.ccxt.set_margin_mode("cross", U)
    with pytest.raises(ccxt.BaseError, match="-4161"):
        await wire.ccxt.set_leverage(5, U)
    (position,) = await wire.ccxt.fetch_positions([U])
    assert position["marginMode"] == "isolated"
    assert float(position["info"]["isolatedWallet"]) == pytest.approx(10.001)
    assert position["liquidationPrice"] == pytest.approx((100.01 - 10.001) / 99.0)
    balance = (await wire.ccxt.fapiPrivateV3GetAccount())["assets"][0]
    assert float(balance["crossWalletBalance"]) == pytest.approx(float(balance["walletBalance"]) - 10.001)
    assert (await wire.ccxt.fetch_margin_mode(U))["marginMode"] == "isolated"
    await wire.ccxt.create_order(U, "market", "sell", 100, None, {"reduceOnly": True})
    await wire.ccxt.set_margin_mode("cross", U)


async def test_public_data_is_readable_by_ccxt(wire: Wire) -> None:
    await wire.ccxt.create_order(U, "market", "buy", 10)
    assert (await wire.ccxt.fetch_order_book(U, 5))["bids"][0] == [0.9999, 1000.0]
    assert (await wire.ccxt.fetch_trades(U))[-1]["price"] == 1.0001
    assert (await wire.ccxt.fetch_ohlcv(U, "1m"))[-1][4] == 1.0001
    assert (await wire.ccxt.fetch_ticker(U))["last"] == 1.0001
    assert (await wire.ccxt.fetch_funding_rate(U))["fundingRate"] == 0.0001
    status, _, headers = await wire.get("/fapi/v1/depth", symbol=S, limit=1000)
    assert status == 200 and int(headers["X-MBX-USED-WEIGHT-1M"]) >= 20


# --- who may ask, and how often ----------------------------------------------------------------------------------------


async def test_a_wrong_secret_is_refused_and_executes_nothing(wire: Wire) -> None:
    thief = exchange_client(wire.venue, secret="wrong")
    with pytest.raises(ccxt.AuthenticationError, match="-1022"):
        await thief.create_order(U, "market", "buy", 100)
    stranger = exchange_client(wire.venue, key="unknown")
    with pytest.raises(ccxt.AuthenticationError, match="-2015"):
        await stranger.fetch_balance()
    await thief.close()
    await stranger.close()
    assert (await wire.state())["counters"]["orders"] == 0


async def test_a_request_from_another_time_is_refused(wire: Wire) -> None:
    await wire.ccxt.load_markets()
    for offset_ms in (60_000, -5_000):
        await wire.fault("clock_offset", ms=offset_ms)
        with pytest.raises(ccxt.InvalidNonce):
            await wire.ccxt.fetch_balance()
    await wire.fault("clear")
    await wire.ccxt.fetch_balance()


async def test_the_signature_follows_a_scaled_clock() -> None:
    async with wired(clock=Clock.start(speed=20.0)) as wire:
        await wire.ccxt.load_markets()
        await asyncio.sleep(0.6)  # twelve engine seconds
        ahead = wire.venue.clock.now_ms() - int(time.time() * 1000)
        assert ahead > 10_000
        wire.ccxt.options["timeDifference"] = -ahead
        await wire.ccxt.fetch_balance()


async def test_too_much_weight_is_429_with_retry_after(wire: Wire) -> None:
    for _ in range(300):  # 120 of them fill a minute; a new one may begin meanwhile
        status, body, headers = await wire.get("/fapi/v1/aggTrades", symbol=S)
        if status != 200:
            break
    assert (status, body["code"]) == (429, -1003) and 1 <= int(headers["Retry-After"]) <= 60


def test_who_keeps_asking_is_banned_and_forgiven() -> None:
    limits = Limits()
    limits.spend(2_400, 0, 1_000)
    statuses = []
    for _ in range(12):
        with pytest.raises(Limited) as refusal:
            limits.spend(1, 0, 2_000)
        statuses.append(refusal.value.status)
    assert statuses == [429] * 10 + [418] * 2
    limits.spend(1, 0, 2_000 + 120_000)


def test_orders_are_counted_in_ten_seconds_and_a_minute() -> None:
    limits = Limits()
    for _ in range(300):
        limits.spend(0, 1, 60_000)
    with pytest.raises(Limited) as refusal:
        limits.spend(0, 1, 60_001)
    assert (refusal.value.code, refusal.value.retry_after_s) == (-1015, 10)
    limits.spend(0, 1, 70_000)
    assert limits.headers(True, 70_000) == {
        "X-MBX-USED-WEIGHT-1M": "0", "X-MBX-ORDER-COUNT-10S": "1", "X-MBX-ORDER-COUNT-1M": "301",
    }  # fmt: skip


async def test_unknown_paths_and_missing_parameters_are_json_errors(wire: Wire) -> None:
    status, body, _ = await wire.get("/fapi/v1/nothing")
    assert status == 404 and body["code"] < 0
    status, body, _ = await wire.get("/fapi/v1/depth")
    assert (status, body["code"]) == (400, -1102)
    status, body, _ = await wire.get("/fapi/v1/depth", symbol="NOPE")
    assert (status, body["code"]) == (400, -1121)


# --- streams -----------------------------------------------------------------------------------------------------------


async def test_streams_in_the_path_come_raw_and_in_the_query_enveloped(wire: Wire) -> None:
    raw = await wire.connect("/public/ws/asterusdt@depth@100ms")
    combined = await wire.connect("/public/stream?streams=asterusdt@depth@500ms/asterusdt@bookTicker")
    wire.send("depth", u=7)
    assert await raw.next() == {"e": "depth", "u": 7}
    assert await combined.next() == {"stream": "asterusdt@depth@500ms", "data": {"e": "depth", "u": 7}}
    assert wire.market.wanted == {"depth", "bookTicker"}


async def test_subscribe_list_and_unsubscribe_answer_by_id(wire: Wire) -> None:
    listener = await wire.connect("/market/ws/3")
    assert await listener.command("SUBSCRIBE", "asterusdt@aggTrade", id=5) == {"result": None, "id": 5}
    assert await listener.command("LIST_SUBSCRIPTIONS", id=6) == {"result": ["asterusdt@aggTrade"], "id": 6}
    wire.send("aggTrade", a=1)
    assert (await listener.next())["a"] == 1
    assert await listener.command("UNSUBSCRIBE", "asterusdt@aggTrade", id=7) == {"result": None, "id": 7}
    wire.send("aggTrade", a=2)
    assert await listener.silent()


@pytest.mark.parametrize(("path", "stream"), SILENT)
async def test_a_stream_on_the_wrong_or_the_legacy_route_is_acknowledged_and_silent(wire: Wire, path: str, stream: str) -> None:
    listener = await wire.connect(path)
    assert await listener.command("SUBSCRIBE", stream) == {"result": None, "id": 1}
    wire.send("depth", u=1)
    wire.send("aggTrade", a=1)
    assert await listener.silent()


async def test_malformed_commands_are_answered_with_an_error(wire: Wire) -> None:
    listener = await wire.connect("/public/ws")
    assert (await listener.command("SUBSCRIBE", "nonsense"))["error"]["code"] == 2
    await listener.socket.send_str("{not json")
    assert "error" in await listener.next()
    assert (await listener.command("SUBSCRIBE", *[f"s{n}usdt@depth" for n in range(1_025)]))["error"]["code"] == 2


async def test_eleven_messages_in_a_second_close_the_connection(wire: Wire) -> None:
    listener = await wire.connect("/public/ws")
    for number in range(11):
        await listener.socket.send_json({"method": "LIST_SUBSCRIPTIONS", "id": number})
    assert await listener.closed()


async def test_compression_is_never_negotiated(wire: Wire) -> None:
    socket = await wire.http.ws_connect(wire.venue.ws_url + "/public/ws", compress=15)
    assert socket.compress == 0


async def test_a_consumer_that_does_not_read_is_cut_and_counted(wire: Wire) -> None:
    listener = await wire.connect("/public/ws/asterusdt@depth")
    await wire.fault("slow_consumer_bytes", quantity=50_000)
    wire.send("depth", filler="x" * 60_000)
    assert await listener.closed()
    assert (await wire.state())["counters"]["slow_consumers_cut"] == 1


# --- the private stream ------------------------------------------------------------------------------------------------


async def test_a_market_order_is_told_as_new_then_filled_then_the_account(wire: Wire) -> None:
    private = await wire.private()
    await wire.ccxt.create_order(U, "market", "buy", 100, params={"newClientOrderId": "one"})
    new, lite, fill, account = [await private.next() for _ in range(4)]
    assert (new["o"]["x"], new["o"]["X"], new["o"]["c"]) == ("NEW", "NEW", "one")
    assert (lite["e"], lite["L"], lite["l"]) == ("TRADE_LITE", "1.0001", "100")
    assert (fill["o"]["X"], fill["o"]["n"], fill["o"]["rp"], fill["o"]["m"]) == ("FILLED", "0.05000500", "0.00000000", False)
    assert account["a"]["B"][0]["wb"] == "999.94999500"
    assert {"s": S, "pa": "100", "ep": "1.0001"}.items() <= account["a"]["P"][0].items()


async def test_a_triggered_stop_is_told_with_the_order_that_it_placed(wire: Wire) -> None:
    await wire.ccxt.create_order(U, "market", "buy", 100)
    await wire.ccxt.create_order(U, "market", "sell", 100, params={"stopLossPrice": 0.99, **GUARD})
    private = await wire.private()
    wire.market.move(9_890, 9_892)
    triggering = await private.until("ALGO_UPDATE", "TRIGGERING")
    order = await private.until("ORDER_TRADE_UPDATE", "NEW")
    triggered = await private.until("ALGO_UPDATE", "TRIGGERED")
    fill = await private.until("ORDER_TRADE_UPDATE", "FILLED")
    finished = await private.until("ALGO_UPDATE", "FINISHED")
    assert triggering["o"]["ai"] == "" and order["o"]["c"] == "guard"
    assert triggered["o"]["ai"] == finished["o"]["ai"] == str(fill["o"]["i"])
    assert (finished["o"]["aq"], finished["o"]["ap"]) == ("100", "0.989")
    assert (await private.until("ACCOUNT_UPDATE"))["a"]["P"][0]["pa"] == "0"


async def test_funding_and_leverage_are_told(wire: Wire) -> None:
    await wire.ccxt.create_order(U, "market", "buy", 100)
    private = await wire.private()
    await wire.fault("funding", rate="0.001")
    funding = await private.next()
    assert (funding["a"]["m"], funding["a"]["B"][0]["bc"]) == ("FUNDING_FEE", "-0.10000000")
    await wire.ccxt.set_leverage(7, U)
    assert (await private.next())["ac"] == {"s": S, "l": 7}
    income = await wire.ccxt.fapiPrivateGetIncome({"incomeType": "FUNDING_FEE"})
    assert [row["income"] for row in income] == ["-0.10000000"]


async def test_an_expired_listen_key_is_told_and_then_nothing(wire: Wire) -> None:
    private = await wire.private()
    await wire.fault("expire_listen_key")
    assert (await private.next())["e"] == "listenKeyExpired"
    await wire.ccxt.create_order(U, "market", "buy", 100)
    assert await private.silent()
    with pytest.raises(ccxt.BaseError, match="-1125"):
        await wire.ccxt.fapiPrivatePutListenKey()


async def test_a_listen_key_lives_sixty_minutes_without_a_keep_alive() -> None:
    async with wired(clock=Clock.start(speed=20_000.0)) as wire:
        private = await wire.private()
        assert (await private.next())["e"] == "listenKeyExpired"


# --- faults ------------------------------------------------------------------------------------------------------------


async def test_depth_faults_drop_repeat_and_break_frames(wire: Wire) -> None:
    listener = await wire.connect("/public/ws/asterusdt@depth")
    await wire.fault("depth_gap")
    for update in (1, 2):
        wire.send("depth", u=update, E=5)
    assert (await listener.next())["u"] == 2
    await wire.fault("depth_duplicate")
    wire.send("depth", u=3, E=5)
    assert [(await listener.next())["u"] for _ in range(2)] == [3, 3]
    await wire.fault("wrong_type")
    wire.send("depth", u=4, E=5)
    assert (await listener.next())["E"] == {"not": "a time"}
    await wire.fault("unknown_fields")
    wire.send("depth", u=5, E=5)
    assert (await listener.next())["zz_flag"] is True
    await wire.fault("malformed")
    wire.send("depth", u=6, E=5)
    assert not (await listener.text()).endswith("}")
    await wire.fault("silence")
    wire.send("depth", u=7, E=5)
    assert await listener.silent()


async def test_a_stale_snapshot_is_served_once(wire: Wire) -> None:
    wire.market.update = 5_000_000
    await wire.fault("stale_snapshot")
    stale, fresh = [(await wire.get("/fapi/v1/depth", symbol=S, limit=5))[1] for _ in range(2)]
    assert (stale["lastUpdateId"], fresh["lastUpdateId"]) == (4_000_000, 5_000_000)


async def test_connections_are_cut_and_refused(wire: Wire) -> None:
    public, market = await wire.connect("/public/ws"), await wire.connect("/market/ws")
    await wire.fault("cut", route="public")
    assert await public.closed() and (await market.command("LIST_SUBSCRIPTIONS"))["result"] == []
    await wire.fault("refuse")
    assert await market.closed()
    with pytest.raises(aiohttp.WSServerHandshakeError):
        await wire.connect("/public/ws")
    await wire.fault("refuse", on=False)
    await wire.connect("/public/ws")


async def test_an_order_whose_acknowledgement_was_lost_is_found_by_its_client_id(wire: Wire) -> None:
    await wire.ccxt.load_markets()
    await wire.fault("lose_ack", path="POST /fapi/v1/order")
    with pytest.raises(ccxt.NetworkError):
        await wire.ccxt.create_order(U, "market", "buy", 100, params={"newClientOrderId": "lost"})
    assert (await wire.ccxt.fetch_order(None, U, {"clientOrderId": "lost"}))["status"] == "closed"
    assert (await wire.state())["counters"]["fills"] == 1


async def test_http_errors_come_once_with_or_without_execution(wire: Wire) -> None:
    await wire.ccxt.load_markets()
    for executed, fills in ((False, 0), (True, 1)):
        await wire.fault("http", path="/fapi/v1/order", status=503, executed=executed)
        with pytest.raises(ccxt.BaseError):
            await wire.ccxt.create_order(U, "market", "buy", 100)
        assert (await wire.state())["counters"]["fills"] == fills
    await wire.ccxt.create_order(U, "market", "buy", 100)


async def test_an_empty_reply_hides_an_executed_order(wire: Wire) -> None:
    await wire.fault("empty_body", path="/fapi/v1/order")
    assert (await wire.ccxt.create_order(U, "market", "buy", 100))["id"] is None
    assert (await wire.state())["positions"][S]["quantity"] == "100"


async def test_a_delayed_order_executes_after_its_sender_gave_up(wire: Wire) -> None:
    await wire.ccxt.load_markets()
    await wire.fault("delay_execution", path="/fapi/v1/order", ms=400)
    wire.ccxt.timeout = 100
    with pytest.raises(ccxt.RequestTimeout):
        await wire.ccxt.create_order(U, "market", "buy", 100)
    assert (await wire.state())["counters"]["orders"] == 0
    await asyncio.sleep(0.5)
    assert (await wire.state())["counters"]["orders"] == 1


async def test_an_unknown_fault_is_refused_by_name(wire: Wire) -> None:
    async with wire.http.post(wire.venue.rest_url + "/sim/fault", json={"name": "gremlins"}) as reply:
        assert reply.status == 400 and "gremlins" in (await reply.json())["error"]


async def test_the_state_tells_no_secret(wire: Wire) -> None:
    text = str(await wire.state())
    assert KEY not in text and "the-secret" not in text
