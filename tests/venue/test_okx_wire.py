"""OKX's side of the simulated venue, as a raw websocket client and ccxt.pro see it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from decimal import Decimal
from itertools import pairwise
from typing import Any

import aiohttp
import ccxt.pro as ccxtpro
import msgspec
import pytest
import websockets
from simulated import Simulated, simulated

BTC, ASTER = "BTC-USDT-SWAP", "ASTER-USDT-SWAP"
SYMBOLS = ["ASTERUSDT", "BTCUSDT"]
PATIENCE_S = 10.0
Frame = dict[str, Any]


class Client:
    """A connection that keeps what it hears."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self.socket = socket

    async def say(self, op: str, *args: tuple[str, str]) -> None:
        rows = [{"channel": channel, "instId": name} for channel, name in args]
        await self.socket.send(msgspec.json.encode({"op": op, "args": rows}).decode())

    async def hear(self) -> Frame | str:
        text = await asyncio.wait_for(self.socket.recv(), PATIENCE_S)
        return "pong" if text == "pong" else msgspec.json.decode(text)

    async def next(self, channel: str, **facts: object) -> Frame:
        """The next data of a channel."""
        while True:
            frame = await self.hear()
            if not isinstance(frame, dict) or "data" not in frame or frame["arg"]["channel"] != channel:
                continue
            if all(frame.get(name) == value for name, value in facts.items()):
                return frame

    async def event(self, kind: str) -> Frame:
        while True:
            frame = await self.hear()
            if isinstance(frame, dict) and frame.get("event") == kind:
                return frame


@pytest.fixture
async def venue() -> AsyncIterator[Simulated]:
    async with simulated(symbols=SYMBOLS) as started:
        yield started


@contextlib.asynccontextmanager
async def client(venue: Simulated, route: str = "public") -> AsyncIterator[Client]:
    async with websockets.connect(f"{venue.ws}/ws/v5/{route}", ping_interval=None) as socket:
        yield Client(socket)


async def ask(venue: Simulated, path: str, **query: str) -> Any:
    async with aiohttp.ClientSession() as http, http.get(f"{venue.rest}/api/v5/{path}", params=query) as reply:
        assert reply.status == 200
        return msgspec.json.decode(await reply.read())


async def test_a_subscription_is_acknowledged_one_by_one_and_begins_with_a_snapshot(venue: Simulated) -> None:
    async with client(venue) as one:
        await one.say("subscribe", ("books", BTC), ("trades", BTC))
        acks = [await one.event("subscribe"), await one.event("subscribe")]
        assert [ack["arg"]["channel"] for ack in acks] == ["books", "trades"] and len({ack["connId"] for ack in acks}) == 1
    async with client(venue) as one:
        await one.say("subscribe", ("books", BTC))
        first = await one.next("books")
        row = first["data"][0]
        assert (first["action"], row["prevSeqId"], row["checksum"]) == ("snapshot", -1, 0)
        assert all(isinstance(text, str) for level in row["bids"] for text in level) and len(row["bids"][0]) == 4


async def test_updates_are_chained_by_the_previous_id_on_every_connection_of_the_instrument(venue: Simulated) -> None:
    async with client(venue) as early, client(venue) as late:
        await early.say("subscribe", ("books", BTC))
        chain = [(await early.next("books"))["data"][0]]
        for _ in range(5):
            chain.append((await early.next("books", action="update"))["data"][0])
        await late.say("subscribe", ("books", BTC))
        snapshot = (await late.next("books"))["data"][0]
        update = (await late.next("books"))["data"][0]
        assert update["prevSeqId"] == snapshot["seqId"]
        while chain[-1]["seqId"] < update["seqId"]:
            chain.append((await early.next("books", action="update"))["data"][0])
        assert all(after["prevSeqId"] == before["seqId"] for before, after in pairwise(chain))
        assert chain[-1]["seqId"] == update["seqId"], "the same ids on both"


async def test_sizes_are_contracts_of_the_face_value_that_the_list_tells(venue: Simulated) -> None:
    listed = {row["instId"]: row for row in (await ask(venue, "public/instruments", instType="SWAP"))["data"]}
    assert (listed[BTC]["ctVal"], listed[BTC]["lotSz"], listed[BTC]["ctType"]) == ("0.01", "0.01", "linear")
    assert listed[ASTER]["ctVal"] == "1"
    async with client(venue) as one:
        await one.say("subscribe", ("trades", BTC), ("bbo-tbt", BTC))
        trade = (await one.next("trades"))["data"][0]
        assert Decimal(trade["sz"]) % Decimal(listed[BTC]["lotSz"]) == 0 and trade["side"] in ("buy", "sell")
        assert int(trade["count"]) >= 1 and isinstance(trade["tradeId"], str)


async def test_marks_funding_and_bars_come_on_their_routes(venue: Simulated) -> None:
    async with client(venue) as one, client(venue, "business") as two:
        await one.say("subscribe", ("mark-price", BTC), ("funding-rate", BTC))
        funding = (await one.next("funding-rate"))["data"][0]
        assert int(funding["nextFundingTime"]) > int(funding["fundingTime"])
        assert Decimal((await one.next("mark-price"))["data"][0]["markPx"]) > 0
        await one.say("subscribe", ("candle1m", BTC))
        assert (await one.event("error"))["code"] == "60018"
        await two.say("subscribe", ("candle1m", BTC))
        bar = (await two.next("candle1m"))["data"][0]
        assert len(bar) == 9 and bar[8] in ("0", "1") and Decimal(bar[6]) == Decimal(bar[5]) * Decimal("0.01")


async def test_ping_is_text_and_what_is_not_known_is_an_error(venue: Simulated) -> None:
    async with client(venue) as one:
        await one.socket.send("ping")
        assert await one.hear() == "pong"
        await one.say("subscribe", ("books", "NOPE-USDT-SWAP"))
        assert "doesn't exist" in (await one.event("error"))["msg"]
        await one.socket.send("{")
        assert (await one.event("error"))["code"] == "60012"
        await one.socket.send('{"op":"login","args":[]}')
        assert (await one.event("error"))["code"] == "60009"


async def test_after_unsubscribing_nothing_more_comes_and_subscribing_again_begins_anew(venue: Simulated) -> None:
    async with client(venue) as one:
        await one.say("subscribe", ("books", BTC))
        await one.next("books", action="update")
        await one.say("unsubscribe", ("books", BTC))
        await one.event("unsubscribe")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.socket.recv(), 0.5)
        await one.say("subscribe", ("books", BTC))
        assert (await one.next("books"))["action"] == "snapshot"


async def test_a_legal_reset_says_so_in_the_chain(venue: Simulated) -> None:
    async with client(venue) as one:
        await one.say("subscribe", ("books", BTC))
        await one.next("books", action="update")
        await venue.fault("renumber", venue="okx")
        before = 0
        while True:
            row = (await one.next("books", action="update"))["data"][0]
            assert not before or row["prevSeqId"] == before
            if row["seqId"] < row["prevSeqId"]:
                break
            before = row["seqId"]
        after = (await one.next("books", action="update"))["data"][0]
        assert after["prevSeqId"] == row["seqId"] < after["seqId"]


async def test_a_notice_is_given_before_a_connection_is_closed(venue: Simulated) -> None:
    async with client(venue) as one:
        await one.say("subscribe", ("trades", BTC))
        await venue.fault("leave", venue="okx", ms=300)
        assert (await one.event("notice"))["code"] == "64008"
        with pytest.raises(websockets.ConnectionClosed):
            while True:
                await asyncio.wait_for(one.socket.recv(), PATIENCE_S)


async def test_rest_gives_the_book_at_an_id_of_the_chain_trades_newest_first_and_bars(venue: Simulated) -> None:
    async with client(venue) as one:
        await one.say("subscribe", ("books", BTC))
        ids = {(await one.next("books"))["data"][0]["seqId"]}
        book = (await ask(venue, "market/books", instId=BTC, sz="5"))["data"][0]
        while book["seqId"] not in ids:
            ids.add((await one.next("books"))["data"][0]["seqId"])
            assert max(ids) <= book["seqId"]
        assert len(book["bids"]) == len(book["asks"]) == 5
    rows = (await ask(venue, "market/trades", instId=BTC, limit="50"))["data"]
    numbers = [int(row["tradeId"]) for row in rows]
    assert numbers == sorted(numbers, reverse=True) and len(set(numbers)) == 50
    older = (await ask(venue, "market/history-trades", instId=BTC, limit="10", after=str(numbers[-1])))["data"]
    assert [int(row["tradeId"]) for row in older] == list(range(numbers[-1] - 1, numbers[-1] - 11, -1))
    bars = (await ask(venue, "market/candles", instId=BTC, bar="1m", limit="3"))["data"]
    assert [int(bar[0]) for bar in bars] == sorted((int(bar[0]) for bar in bars), reverse=True)
    assert [bar[8] for bar in bars] == ["0", "1", "1"]
    assert (await ask(venue, "market/books", instId="NOPE"))["code"] == "51001"


async def test_its_price_follows_the_other_venues(venue: Simulated) -> None:
    async with aiohttp.ClientSession() as http:
        for _ in range(5):
            theirs = Decimal((await ask(venue, "public/mark-price", instId=BTC))["data"][0]["markPx"])
            async with http.get(f"{venue.rest}/fapi/v1/premiumIndex", params={"symbol": "BTCUSDT"}) as reply:
                ours = Decimal((await reply.json())["markPrice"])
            assert abs(theirs / ours - 1) * 10_000 < 25
            await asyncio.sleep(0.3)


async def test_ccxt_pro_reads_it_as_it_reads_the_real_one(venue: Simulated) -> None:
    exchange = ccxtpro.okx({"options": {"defaultType": "swap", "fetchMarkets": {"types": ["swap"]}}})
    exchange.has["fetchCurrencies"] = False
    exchange.urls["api"]["rest"], exchange.urls["api"]["ws"] = venue.rest, f"{venue.ws}/ws/v5"
    try:
        book = await asyncio.wait_for(exchange.watch_order_book("BTC/USDT:USDT"), PATIENCE_S)
        assert book["bids"][0][0] < book["asks"][0][0]
        trades = await asyncio.wait_for(exchange.watch_trades("BTC/USDT:USDT"), PATIENCE_S)
        assert trades[-1]["symbol"] == "BTC/USDT:USDT"
        bars = await exchange.fetch_ohlcv("BTC/USDT:USDT", "1m", limit=5)
        assert len(bars) == 5
    finally:
        await exchange.close()


async def test_the_table_of_faults_is_told(venue: Simulated) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{venue.rest}/sim/faults") as reply:
        told = await reply.json()
    assert "depth_gap" in told and all(text[0].isupper() for text in told.values())
