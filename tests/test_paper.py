"""Paper: one simulated venue plays the exchange, another one is fed from it and takes the orders."""

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from console.exits import Exit
from console.venue_process import Feed, Order, VenueProcess
from engine.clock import Clock
from engine.config import create_aster_config
from engine.errors import VenueStartError
from engine.events import Action, Side, Trading
from engine.places import ours
from engine.runtime import Engine
from engine.venue.binance_feed import listing_of
from engine.venue.capture import Line
from engine.venue.feed import WAITING, FedMarket, Source
from engine.venue.frames import DECODE, Envelope
from engine.venue.market import Fill, Listing, MarketOrder, Sinks
from tests.simulated import Simulated, simulated, until

EAGER = {
    "judgment": {"every_bars": 1, "min_confidence": 0.5, "judge": "rules"},
    "strategy": {"cooldown_bars": 0, "timeframe": "1s"},
}
SYMBOL, UNIFIED = "ASTERUSDT", "ASTER/USDT:USDT"
LISTING = Listing("ABCUSDT", "ABC", "USDT", Decimal("0.01"), Decimal(1), 1, 10**6, 10**6, Decimal(5), 100, Decimal("0.005"),
                  Decimal("0.0002"), Decimal("0.0005"), 480)  # fmt: skip


class Fed:
    """A market that is fed by hand."""

    def __init__(self) -> None:
        self.source = Source()
        self.market = self.source.markets["ABCUSDT"] = FedMarket(self.source, LISTING)
        self.fills: list[Fill] = []
        self.trades: list[int] = []
        self.market.attach(Sinks(lambda *_: None, self.fills.append, lambda price, _: self.trades.append(price)))
        self.now, self.order = 1_000, 0

    def stream(self, kind: str, **body: Any) -> None:
        event = {"depth": "depthUpdate"}.get(kind, kind)
        frame = DECODE[kind](msgspec.json.encode({"e": event, "E": self.now, "T": self.now, "s": "ABCUSDT", **body}))
        self.source.take("ABCUSDT", Line(0, 0, kind, frame, Envelope()))
        self.step()

    def depth(self, last: int, before: int, bids: list[list[str]], asks: list[list[str]]) -> None:
        self.stream("depth", U=before + 1, u=last, pu=before, b=bids, a=asks)

    def snapshot(self, last_id: int, bids: list[list[str]], asks: list[list[str]]) -> None:
        raw = msgspec.json.encode({"lastUpdateId": last_id, "bids": bids, "asks": asks})
        self.source.take("ABCUSDT", Line(0, 0, "snapshot", None, msgspec.json.decode(raw, type=Envelope)))
        self.step()

    def trade(self, price: str, quantity: str, sold: bool) -> None:
        self.stream("aggTrade", a=self.now, p=price, q=quantity, f=1, l=1, m=sold)

    def step(self) -> None:
        self.now += 5
        self.market.advance(self.now)

    def send(self, side: Side, quantity: int, limit: int = 0, rests: bool = False) -> list[Fill]:
        self.order += 1
        return self.market.submit(MarketOrder(self.order, side, quantity, limit, rests), self.now)

    def synced(self) -> "Fed":
        self.depth(10, 5, [["1.00", "7"]], [["1.02", "4"]])
        self.snapshot(8, [["1.00", "6"], ["0.99", "9"]], [["1.02", "5"], ["1.03", "8"]])
        return self


def test_there_is_no_book_before_a_snapshot_on_which_the_stream_goes_on() -> None:
    fed = Fed()
    assert fed.market.best() is None and not fed.market.syncing
    fed.depth(10, 5, [["1.00", "7"]], [["1.02", "4"]])
    assert fed.market.best() is None and fed.market.syncing
    fed.snapshot(3, [["1.00", "6"]], [["1.02", "5"]])
    assert fed.market.best() is None, "it is older than what is held of the stream"
    fed.snapshot(8, [["1.00", "6"]], [["1.02", "5"]])
    assert fed.market.best() == (100, 7, 102, 4)


def test_an_order_walks_the_real_book_and_what_it_took_stays_taken() -> None:
    fed = Fed().synced()
    assert [(fill.price, fill.quantity, fill.maker) for fill in fed.send(Side.BUY, 6)] == [(102, 4, False), (103, 2, False)]
    assert [(fill.price, fill.quantity) for fill in fed.send(Side.BUY, 3)] == [(103, 3)]


def test_a_resting_order_waits_behind_the_queue_and_is_filled_in_parts() -> None:
    fed = Fed().synced()
    assert fed.send(Side.BUY, 5, 100, rests=True) == []
    fed.trade("1.00", "6", sold=True)
    assert fed.fills == []
    fed.trade("1.00", "3", sold=True)
    fed.trade("1.00", "9", sold=True)
    assert [(fill.price, fill.quantity, fill.maker) for fill in fed.fills] == [(100, 2, True), (100, 3, True)]


def test_a_gap_takes_the_book_away_and_nothing_is_filled_until_a_snapshot_brings_it_back() -> None:
    fed = Fed().synced()
    fed.send(Side.BUY, 5, 100, rests=True)
    fed.depth(30, 20, [["1.00", "0"]], [["0.98", "3"]])
    assert fed.market.best() is None and fed.market.syncing
    fed.trade("0.97", "100", sold=True)
    fed.stream("bookTicker", u=31, b="0.96", B="1", a="0.97", A="1")
    assert fed.fills == [] and fed.trades == [] and fed.send(Side.BUY, 2) == [] and fed.market.fillable(Side.BUY, 0) == 0
    fed.snapshot(30, [["0.97", "2"]], [["0.98", "3"]])
    assert fed.market.best() == (97, 2, 98, 3)
    assert [(fill.price, fill.quantity, fill.maker) for fill in fed.fills] == [(100, 5, True)]


def test_a_resting_order_that_is_placed_anew_without_a_book_meets_the_next_one() -> None:
    fed = Fed().synced()
    fed.source.lose()
    assert fed.send(Side.SELL, 4, 101, rests=True) == [] and fed.fills == []
    fed.depth(50, 40, [["1.01", "9"]], [["1.05", "1"]])
    fed.snapshot(50, [["1.01", "9"]], [["1.05", "1"]])
    assert [(fill.price, fill.quantity) for fill in fed.fills] == [(101, 4)]


def test_a_number_off_the_grid_is_counted_and_costs_the_book() -> None:
    fed = Fed().synced()
    fed.depth(11, 10, [["1.005", "1"]], [])
    assert fed.source.unreadable == 1 and fed.market.best() is None


def test_more_frames_than_can_be_held_cost_the_books_and_no_memory() -> None:
    fed = Fed().synced()
    raw = b'{"e":"depthUpdate","E":1,"T":1,"s":"ABCUSDT","U":11,"u":11,"pu":10,"b":[],"a":[]}'
    line = Line(0, 0, "depth", DECODE["depth"](raw), Envelope())
    for _ in range(WAITING + 1):
        fed.source.take("ABCUSDT", line)
    assert len(fed.source._waiting) == 1 and fed.market.best() is None


def test_a_contract_is_listed_as_the_exchange_lists_it() -> None:
    from engine.venue.binance_feed import _Symbol

    filters = [{"filterType": "PRICE_FILTER", "tickSize": "0.10"}, {"filterType": "MIN_NOTIONAL", "notional": "100"},
               {"filterType": "LOT_SIZE", "stepSize": "0.001", "minQty": "0.002", "maxQty": "1000"},
               {"filterType": "MARKET_LOT_SIZE", "stepSize": "0.001", "minQty": "0.001", "maxQty": "120"}]  # fmt: skip
    body = {"symbol": "BTCUSDT", "baseAsset": "BTC", "quoteAsset": "USDT", "filters": filters}
    listing = listing_of(msgspec.convert(body, _Symbol, strict=False))
    assert (listing.tick, listing.step, listing.min_notional) == (Decimal("0.1"), Decimal("0.001"), Decimal(100))
    assert (listing.min_quantity, listing.max_quantity, listing.max_market_quantity) == (2, 1_000_000, 120_000)
    with pytest.raises(VenueStartError, match="without its tick"):
        listing_of(msgspec.convert(body | {"filters": []}, _Symbol, strict=False))


# --- real sockets ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def paper(exchange: Simulated, **more: Any) -> AsyncIterator[VenueProcess]:
    feed = Feed(more.pop("venue", "binance"), exchange.rest, exchange.ws, more.pop("symbols", (UNIFIED,)))
    async with VenueProcess(Order(exchange.clock, "paper-key", "paper-secret", 0, "10000", feed=feed, **more)) as process:
        yield process


async def get(url: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url) as reply:
        return await reply.json()


async def reached(url: str, good: Callable[[Any], bool]) -> Any:
    async with asyncio.timeout(90):
        while not good(found := await get(url)):  # noqa: ASYNC110 - it is in another process
            await asyncio.sleep(0.05)
        return found


def settings(folder: Path, exchange: Simulated, venue: str = "binance", symbol: str = UNIFIED) -> Any:
    own = {"mode": "paper", "state_dir": str(folder), "symbols": [symbol], "venues": [venue]}
    return create_aster_config(engine=own, venue={f"{venue}_rest": exchange.rest, f"{venue}_ws": exchange.ws}, **EAGER)


def engine_on(venue: VenueProcess, chosen: Any) -> Engine:
    return Engine(chosen, venue.order.clock, ours(chosen, venue.said.rest, venue.said.ws), venue.credentials)


async def test_a_stop_that_is_reached_without_a_book_waits_for_one(tmp_path: Path) -> None:
    from engine.venue.exchange import Exchange
    from engine.venue.faults import Faults
    from engine.venue.market import MarkState
    from engine.venue.orders import Refusal, Request

    fed = Fed().synced()
    told: list[Any] = []
    exchange = Exchange(fed.source.markets, Decimal(1000), lambda *_: None, told.append, Faults(), fed.now)
    fed.market._mark = MarkState(Decimal("1.01"), Decimal("1.01"), Decimal(0), fed.now + 10**7)
    exchange.advance(fed.now)
    assert exchange.place(Request("ABCUSDT", "BUY", "MARKET", "9")).filled == 9
    stop = Request("ABCUSDT", "SELL", "STOP_MARKET", "9", trigger="0.98", reduce_only=True, working_type="MARK_PRICE")
    placed = exchange.conditionals.place(stop)
    fed.source.lose()
    fed.market._mark = MarkState(Decimal("0.90"), Decimal("0.90"), Decimal(0), fed.now + 10**7)
    exchange.advance(fed.now + 5)
    assert placed.open and exchange.position_steps("ABCUSDT") == 9
    with pytest.raises(Refusal) as refused:
        exchange.place(Request("ABCUSDT", "SELL", "MARKET", "9"))
    assert (refused.value.code, refused.value.status) == (-1008, 503)
    fed.depth(50, 40, [["0.91", "20"]], [["0.93", "5"]])
    fed.snapshot(50, [["0.91", "20"]], [["0.93", "5"]])
    exchange.advance(fed.now + 10)
    assert not placed.open and exchange.position_steps("ABCUSDT") == 0
    assert exchange.orders[placed.order_id].value == 91 * 9


def test_funding_is_settled_although_the_exchanges_clock_is_ahead_of_ours() -> None:
    from engine.venue.exchange import Exchange
    from engine.venue.faults import Faults
    from engine.venue.orders import Request

    fed = Fed().synced()
    exchange = Exchange(fed.source.markets, Decimal(1000), lambda *_: None, lambda _: None, Faults(), fed.now)

    def marked(next_ms: int) -> None:
        fed.stream("markPrice", p="1.02", i="1.02", r="0.001", T=next_ms)
        exchange.advance(fed.now)

    due = fed.now + 400
    marked(due)
    exchange.place(Request("ABCUSDT", "BUY", "MARKET", "6"))
    marked(due)
    assert exchange.account.funding_received == 0
    marked(due + 28_800_000)
    assert fed.now < due and exchange.account.funding_received == -6 * Decimal("1.02") * Decimal("0.001")
    marked(due + 2 * 28_800_000)
    assert exchange.account.funding_received == -6 * Decimal("1.02") * Decimal("0.001"), "a settlement that is put off is none"


async def same_book(exchange: Simulated, venue: VenueProcess, times: int) -> None:
    """Both are the same, level by level, so often as they are seen at the same update."""
    equal, deadline = 0, time.monotonic() + 180.0
    depth = f"/fapi/v1/depth?symbol={SYMBOL}&limit=20"
    while equal < times:
        assert time.monotonic() < deadline, "both are seldom at the same update"
        there, here = await asyncio.gather(get(exchange.rest + depth), get(venue.said.rest + depth))
        if "bids" in there and there.get("lastUpdateId") == here.get("lastUpdateId"):
            assert (here["bids"], here["asks"]) == (there["bids"], there["asks"])
            equal += 1
        await asyncio.sleep(0.05)


async def test_the_paper_book_is_the_exchanges_level_by_level() -> None:
    async with simulated() as exchange, paper(exchange) as venue:
        await reached(venue.said.rest + "/sim/state", lambda state: state["books"][SYMBOL])
        await same_book(exchange, venue, 6)
        mark = f"/fapi/v1/premiumIndex?symbol={SYMBOL}"
        # The mark is streamed once a second, on a socket of its own.
        await reached(venue.said.rest + mark, lambda found: "markPrice" in found)
        there, here = await asyncio.gather(get(exchange.rest + mark), get(venue.said.rest + mark))
        assert here["nextFundingTime"] == there["nextFundingTime"]
        assert abs(Decimal(here["markPrice"]) / Decimal(there["markPrice"]) - 1) < Decimal("0.01")


@pytest.mark.slow
async def test_a_real_market_is_followed_level_by_level(shared_data: Path) -> None:
    """The exchange plays a recording of Binance: 273 frames a second."""
    capture = str(shared_data / "market" / "hftbacktest" / "usdm_btcusdt_20240808.gz")
    clock = Clock.start()
    async with VenueProcess(Order(clock, "key", "secret", 0, "10000", capture=capture)) as exchange:
        feed = Feed("binance", exchange.said.rest, exchange.said.ws, ("BTC/USDT:USDT",))
        async with VenueProcess(Order(clock, "key", "secret", 0, "10000", feed=feed)) as venue:
            await reached(venue.said.rest + "/sim/state", lambda state: state["books"]["BTCUSDT"])
            depth, equal = "/fapi/v1/depth?symbol=BTCUSDT&limit=100", 0
            for _ in range(300):  # at most half a minute
                if equal > 5:
                    break
                there, here = await asyncio.gather(get(exchange.said.rest + depth), get(venue.said.rest + depth))
                if there["lastUpdateId"] == here["lastUpdateId"]:
                    assert levels(here) == levels(there)
                    equal += 1
                await asyncio.sleep(0.1)
    assert equal > 5


def levels(depth: Any) -> list[tuple[Decimal, Decimal]]:
    return [(Decimal(price), Decimal(size)) for price, size in depth["bids"] + depth["asks"]]


async def test_the_engine_collects_at_the_exchange_and_trades_on_paper(tmp_path: Path) -> None:
    async with simulated() as exchange, paper(exchange, latency_ms=5.0) as venue:
        async with engine_on(venue, settings(tmp_path, exchange)) as engine:
            await until(lambda: engine.state.reconciled, 120)
            assert engine.state.trading is Trading.OFF
            engine.command(Action.ARM, "the test")
            await until(lambda: engine.state.counters.fills >= 2 and engine.state.counters.trades, 180)
            summary = await engine.settle(Action.SHUTDOWN, "the test")
        here, there = await get(venue.said.rest + "/sim/state"), await exchange.state()
    assert summary.mode == "paper" and summary.agreement.equal, summary.agreement
    assert summary.counts["trades"] > 0 and summary.gaps == 0
    assert here["counters"]["fills"] >= 2 and there["counters"]["orders"] == 0, "nothing was sent to the exchange"
    assert Decimal(here["wallet"]) == Decimal(summary.wallet) != 10_000


async def test_a_lost_exchange_refuses_orders_and_its_return_makes_the_book_anew(tmp_path: Path) -> None:
    async with simulated() as exchange, paper(exchange) as venue:
        state = venue.said.rest + "/sim/state"
        await reached(state, lambda state: state["books"][SYMBOL])
        await exchange.fault("refuse")
        await reached(state, lambda state: not state["books"][SYMBOL])
        body = await get(f"{venue.said.rest}/fapi/v1/depth?symbol={SYMBOL}")
        assert body["code"] == -1008
        await exchange.fault("clear")
        await reached(state, lambda state: state["books"][SYMBOL])
        await exchange.fault("depth_gap")
        await same_book(exchange, venue, 4)  # that there was none for a moment may go unseen


async def test_an_exchange_that_cannot_be_reached_or_lists_something_else_is_a_sentence() -> None:
    async with simulated() as exchange:
        with pytest.raises(VenueStartError, match="does not list DOGE/USDT:USDT"):
            async with paper(exchange, symbols=("DOGE/USDT:USDT",)):
                pass
    with pytest.raises(VenueStartError, match=r"could not be reached .*paper needs the network"):
        async with paper(Simulated("http://127.0.0.1:9", "ws://127.0.0.1:9", exchange.clock, None)):  # type: ignore[arg-type]
            pass


@pytest.mark.slow
@pytest.mark.parametrize("traded", ["binance", "okx"])
async def test_the_command_runs_on_paper(tmp_path: Path, traded: str) -> None:
    home = {**os.environ, "BARTER_ENGINE_STATE_DIR": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    async with simulated() as exchange:
        ends = ["--set", f"venue.{traded}_rest={exchange.rest}", "--set", f"venue.{traded}_ws={exchange.ws}"]
        ends += ["--set", f"engine.venues={traded}", "--symbol", UNIFIED]
        line = ["-m", "console.cli", "--no-ui", "--json", "--mode", "paper", "--for", "8s", *ends]
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(sys.executable, *line, env=home, stdout=pipe, stderr=pipe)
        out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == Exit.OK, err.decode()
    summary = json.loads(out.splitlines()[-1])
    assert (summary["mode"], summary["trading"], summary["orders"]) == ("paper", "off", 0)
    assert summary["agreement"]["equal"] and summary["counts"]["deltas"] > 0


# --- OKX ---------------------------------------------------------------------------------------------------------------

SWAP, BITCOIN, BOTH = "BTC-USDT-SWAP", "BTC/USDT:USDT", ["ASTERUSDT", "BTCUSDT"]


class FedSwap:
    """A contract of 0.01 BTC in lots of a hundredth, fed with OKX's frames by hand."""

    def __init__(self) -> None:
        from engine.venue.okx.feed import FedOkxMarket, OkxFeeding, _Instrument, contract_of

        row = {"instId": SWAP, "ctVal": "0.01", "ctMult": "1", "ctValCcy": "BTC", "settleCcy": "USDT", "tickSz": "0.1",
               "lotSz": "0.01", "minSz": "0.01", "maxLmtSz": "10000", "maxMktSz": "2000", "lever": "125"}  # fmt: skip
        self.contract = contract_of(msgspec.convert(row, _Instrument))
        self.source = Source()
        self.market = self.source.markets[SWAP] = FedOkxMarket(self.source, self.contract)
        self.fills: list[Fill] = []
        self.market.attach(Sinks(lambda *_: None, self.fills.append, lambda *_: None))
        self.feeding = OkxFeeding("", "", self.source, Clock.start())
        self.now, self.order = 1_000, 0

    def push(self, channel: str, action: str = "", **row: Any) -> None:
        body = {"arg": {"channel": channel, "instId": SWAP}, "action": action, "data": [{"ts": str(self.now), **row}]}
        for symbol, line in self.feeding.read(msgspec.json.encode(body)):
            self.source.take(symbol, line)
        self.now += 5
        self.market.advance(self.now)

    def book(self, before: int, last: int, bids: dict[str, str], asks: dict[str, str], action: str = "update") -> None:
        rows = [[[price, size, "0", "1"] for price, size in side.items()] for side in (bids, asks)]
        self.push("books", action, bids=rows[0], asks=rows[1], checksum=0, prevSeqId=before, seqId=last)

    def trade(self, price: str, size: str, side: str, number: int = 7, count: int = 1) -> None:
        self.push("trades", instId=SWAP, tradeId=str(number), px=price, sz=size, side=side, count=str(count))

    def synced(self) -> "FedSwap":
        self.book(-1, 50, {"60000.0": "1.5", "59999.9": "2"}, {"60000.1": "0.04", "60000.2": "3"}, "snapshot")
        return self


def test_okx_counts_in_contracts_and_its_steps_are_parts_of_a_coin() -> None:
    fed = FedSwap()
    listing = fed.contract.listing
    assert (listing.tick, listing.step, fed.contract.face, fed.contract.lot) == tuple(
        Decimal(text) for text in ("0.1", "0.0001", "0.01", "0.01")
    )
    assert (listing.min_quantity, listing.max_quantity, listing.max_market_quantity) == (1, 1_000_000, 200_000)
    assert (listing.max_leverage, listing.base, listing.quote) == (125, "BTC", "USDT")
    fed.synced()
    assert fed.market.best() == (600_000, 150, 600_001, 4)
    found = fed.market.submit(MarketOrder(1, Side.BUY, 10, 0, False), fed.now)
    assert [(fill.price, fill.quantity) for fill in found] == [(600_001, 4), (600_002, 6)]


def test_okx_books_are_a_chain_that_may_begin_anew_with_lower_ids() -> None:
    fed = FedSwap().synced()
    fed.book(50, 53, {"60000.0": "0"}, {})
    assert fed.market.best() == (599_999, 200, 600_001, 4)
    fed.book(53, 53, {}, {})  # what a quiet book says
    fed.book(53, 2, {"60000.0": "0.01"}, {})  # after maintenance
    assert fed.market.best() == (600_000, 1, 600_001, 4)
    fed.book(4, 5, {}, {"60000.1": "0"})
    assert fed.market.best() is None, "ids are missing"
    fed.book(5, 6, {}, {})
    assert fed.market.syncing
    fed.synced()
    assert fed.market.best() == (600_000, 150, 600_001, 4)
    fed.book(50, 51, {"60000.0": "2"}, {})
    assert fed.market.best() == (600_000, 200, 600_001, 4)


def test_an_order_rests_in_okx_queue_and_its_trades_fill_it() -> None:
    fed = FedSwap().synced()
    assert fed.market.submit(MarketOrder(1, Side.BUY, 20, 600_000, True), fed.now) == []
    fed.trade("60000.0", "1.5", "sell", count=3)
    assert fed.fills == []
    fed.trade("60000.0", "0.12", "sell", 8)
    assert [(fill.price, fill.quantity, fill.maker) for fill in fed.fills] == [(600_000, 12, True)]
    fed.push("bbo-tbt", asks=[["59999.9", "1", "0", "1"]], bids=[["59999.8", "1", "0", "1"]], seqId=60)
    assert sum(fill.quantity for fill in fed.fills) == 20, "a quote through its price fills what is left"


def test_okx_mark_is_known_with_its_funding_and_not_before() -> None:
    fed = FedSwap().synced()
    fed.push("mark-price", instId=SWAP, markPx="60000.05")
    assert fed.market.mark() is None
    fed.push("funding-rate", instId=SWAP, fundingRate="", fundingTime="")
    fed.push("funding-rate", instId=SWAP, fundingRate="0.0002", fundingTime="28800000")
    fed.push("mark-price", instId=SWAP, markPx="60000.15")
    mark = fed.market.mark()
    assert mark is not None
    assert (mark.mark, mark.rate, mark.next_funding_ms) == (Decimal("60000.15"), Decimal("0.0002"), 28_800_000)


def test_what_okx_says_of_its_connection_is_no_line_and_what_cannot_be_read_is_an_error() -> None:
    read = FedSwap().feeding.read
    for raw in (b"pong", b'{"event":"subscribe","arg":{"channel":"books","instId":"BTC-USDT-SWAP"},"connId":"x"}'):
        assert not list(read(raw))
    for raw in (b"{", b'{"arg":{"channel":"trades","instId":"BTC-USDT-SWAP"},"data":[{"px":1}]}'):
        with pytest.raises(msgspec.DecodeError):
            list(read(raw))


@pytest.mark.parametrize("wrong", [{"ctVal": ""}, {"tickSz": "0"}, {"lotSz": "NaN"}, {"maxMktSz": "x"}])
def test_a_contract_without_its_figures_is_not_listed(wrong: dict[str, str]) -> None:
    from engine.venue.okx.feed import _Instrument, contract_of

    row = {"instId": SWAP, "ctVal": "0.01", "tickSz": "0.1", "lotSz": "1", "minSz": "1", "maxLmtSz": "9", "maxMktSz": "9"} | wrong
    with pytest.raises(VenueStartError, match=rf"{SWAP} is listed without"):
        contract_of(msgspec.convert(row, _Instrument))


OKX_BOOK = f"/api/v5/market/books?instId={SWAP}&sz=100"


async def same_okx_book(exchange: Simulated, venue: VenueProcess, times: int) -> None:
    equal, deadline = 0, time.monotonic() + 180.0
    while equal < times:
        assert time.monotonic() < deadline, "both are seldom at the same update"
        there, here = await asyncio.gather(get(exchange.rest + OKX_BOOK), get(venue.said.rest + OKX_BOOK))
        if there["data"] and here["data"] and there["data"][0]["seqId"] == here["data"][0]["seqId"]:
            books = [{side: [row[:2] for row in book["data"][0][side]] for side in ("bids", "asks")} for book in (there, here)]
            assert levels(books[0]) == levels(books[1]) and books[0]["bids"]
            equal += 1
        await asyncio.sleep(0.02)


async def test_okx_paper_book_is_the_exchanges_level_by_level_and_comes_back_after_a_gap_and_a_renumbering() -> None:
    okx = {"venue": "okx", "symbols": (BITCOIN,), "passphrase": "p"}
    async with simulated(symbols=BOTH) as exchange, paper(exchange, **okx) as venue:
        state = venue.said.rest + "/sim/state"
        await reached(state, lambda state: state["okx"]["books"].get(SWAP))
        await same_okx_book(exchange, venue, 4)
        await exchange.fault("depth_gap", venue="okx")
        await same_okx_book(exchange, venue, 3)
        await exchange.fault("renumber", venue="okx")
        await same_okx_book(exchange, venue, 3)
        await exchange.fault("refuse", venue="okx")
        await reached(state, lambda state: not state["okx"]["books"][SWAP])
        body = await get(venue.said.rest + OKX_BOOK)
        assert body["code"] == "50001" and body["data"] == []
        await exchange.fault("clear", venue="okx")
        await same_okx_book(exchange, venue, 3)


@pytest.mark.slow
async def test_the_engine_collects_at_okx_and_trades_on_paper(tmp_path: Path) -> None:
    """Contracts of 0.01 BTC: a size in the wrong unit would be a hundred times too large."""
    okx = {"venue": "okx", "symbols": (BITCOIN,), "passphrase": "p", "latency_ms": 5.0}
    async with simulated(symbols=BOTH) as exchange, paper(exchange, **okx) as venue:
        async with engine_on(venue, settings(tmp_path, exchange, "okx", BITCOIN)) as engine:
            await until(lambda: engine.state.reconciled, 120)
            engine.command(Action.ARM, "the test")
            await until(lambda: engine.state.counters.fills >= 2 and engine.state.counters.trades, 180)
            summary = await engine.settle(Action.SHUTDOWN, "the test")
        here, there = (await get(venue.said.rest + "/sim/state"))["okx"], (await exchange.state())["okx"]
    assert summary.mode == "paper" and summary.agreement.equal, summary.agreement
    assert summary.counts["trades"] > 0 and summary.gaps == 0
    assert here["counters"]["fills"] >= 2 and there["counters"]["orders"] == 0, "nothing was sent to the exchange"
    assert Decimal(here["wallet"]) == Decimal(summary.wallet) != 10_000
