"""What venues say: market data and accounts, by socket and by REST, of both."""

import asyncio
import functools
import json
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from engine.clock import Clock
from engine.errors import BarterError, DecodeError
from engine.events import Event, FetchAccount, LookUpOrder, SetLeverage
from engine.execution.live import BinanceAccount, Credentials, OkxAccount, OkxFeed, PrivateFeed
from engine.execution.live.base import status_of
from engine.execution.live.budget import Budget
from engine.execution.live.outcome import code_of, fate_of, words_of
from engine.signal.binance import decode as binance
from engine.signal.decoding import NAMES_KEPT, Grid
from engine.signal.okx import decode as okx
from engine.venue.binance_feed import BinanceFeeding
from engine.venue.capture import Line
from engine.venue.feed import FedMarket, Source
from engine.venue.frames import decode_envelope
from engine.venue.market import Sinks
from engine.venue.okx import feed as okx_feed
from engine.venue.okx.feed import FedOkxMarket, OkxFeeding, contract_of
from tests import test_decode, test_okx_decode
from tests.factory import MARKET, START, aster
from tests.fuzz.bench import busy, took
from tests.test_okx_decode import BTC
from tests.venue.still_market import ASTER

LONGEST = 600  # characters of an error that a screen shows
GRIDS = {"binance": Grid.of(aster()), "okx": Grid.of(BTC)}


def at() -> int:
    return busy().at


def known(problem: Exception) -> None:
    """An error that is documented: short enough to be shown, and printable to any encoding."""
    text = str(problem)
    assert text and len(text) < LONGEST, f"an error of {len(text)} characters"
    text.encode("utf-8", "surrogateescape")
    assert all(char.isprintable() for char in text), "an escape would reach the terminal"


# --- market data -------------------------------------------------------------------------------------------------------


def binance_frames() -> tuple[bytes, ...]:
    answers = ({"result": None, "id": 1}, {"error": {"code": 2, "msg": "Invalid request"}, "id": 1})
    return tuple(json.dumps(frame).encode() for frame in (*test_decode.FRAMES.values(), *answers))


def binance_market(raw: bytes) -> None:
    decoder = binance.Decoder()
    decoder.list(aster())
    decoder.sample(raw)
    assert len(decoder.unknown_fields) <= NAMES_KEPT
    try:
        heard = decoder.frame(raw, at())
    except DecodeError as problem:
        known(problem)
        return
    took([heard] if isinstance(heard, Event) else [])


def okx_frames() -> tuple[bytes, ...]:
    name = BTC.venue_symbol
    best = {"asks": [["63913.5", "8.6", "0", "3"]], "bids": [["63913.4", "1", "0", "1"]], "ts": "5", "seqId": 77}
    mark = {"instId": name, "instType": "SWAP", "markPx": "63913.45", "ts": "5"}
    rate = {"instId": name, "fundingRate": "-0.0001", "fundingTime": "14400000", "nextFundingTime": "28800000", "ts": "9"}
    bar = ["60000", "63913.4", "63920", "63910", "63911.1", "4.5", "0.045", "2876", "1"]
    detail = {"side": "sell", "posSide": "net", "bkPx": "60000.1", "sz": "2", "bkLoss": "0", "ts": "7"}
    pushes = [("bbo-tbt", best), ("mark-price", mark), ("funding-rate", rate), ("candle1m", bar), ("candle1s", bar)]
    forced = {"instId": name, "instType": "SWAP", "details": [detail]}
    bodies = [{"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": [forced]}]
    rest = (json.dumps(body).encode() for body in bodies)
    return (*test_okx_decode.FRAMES, *(test_okx_decode.push(channel, row) for channel, row in pushes), *rest, b"pong")


def okx_market(raw: bytes) -> None:
    decoder = okx.Decoder()
    decoder.list(BTC)
    decoder.sample(raw)
    assert len(decoder.unknown_fields) <= NAMES_KEPT
    try:
        heard = decoder.frame(raw, at())
    except DecodeError as problem:
        known(problem)
        return
    took(heard if isinstance(heard, list) else [])


def binance_bodies() -> tuple[bytes, ...]:
    return (*test_decode.BODIES.values(), b'{"code":-1121,"msg":"Invalid symbol."}')


def binance_rest(raw: bytes) -> None:
    _rest(raw, binance, GRIDS["binance"])


def okx_bodies() -> tuple[bytes, ...]:
    reply = test_okx_decode.reply
    book = {"asks": [["63913.5", "8.6", "0", "3"]], "bids": [["63913.4", "1", "0", "1"]], "ts": "5", "seqId": 77}
    bar = ["60000", "63913.4", "63920", "63910", "63911.1", "4.5", "0.045", "2876", "1"]
    rows: tuple[object, ...] = (test_okx_decode.SPEC, book, test_okx_decode.TRADE, bar, {"ts": "1597026383085"})
    refused = b'{"code":"51001","msg":"Instrument does not exist","data":[]}'
    return (*(reply(row) for row in rows), refused)


def okx_rest(raw: bytes) -> None:
    _rest(raw, okx, GRIDS["okx"])


def _rest(raw: bytes, decode: Any, grid: Grid) -> None:
    """Whatever was asked, the body may be any."""
    readers: tuple[Callable[[], object], ...] = (
        lambda: [*decode.instruments(raw, at(), True)[0]],
        lambda: decode.book_snapshot(raw, grid, at()),
        lambda: decode.trade_history(raw, grid, at()),
        lambda: decode.bar_history(raw, grid, 60_000, at()),
        lambda: decode.server_time(raw),
    )
    code, words = decode.refusal(raw)
    assert isinstance(code, int) and len(words) <= 200 and words.isprintable()
    for read in readers:
        try:
            found = read()
        except DecodeError as problem:
            known(problem)
            continue
        took(found if isinstance(found, list) else [found] if isinstance(found, Event) else [])


def paper_frames() -> tuple[bytes, ...]:
    name = "asterusdt"
    depth = {
        "e": "depthUpdate",
        "E": 10,
        "T": 9,
        "s": "ASTERUSDT",
        "U": 156,
        "u": 160,
        "pu": 155,
        "b": [["0.6199", "10"]],
        "a": [],
    }
    quote = {"e": "bookTicker", "u": 160, "s": "ASTERUSDT", "b": "0.6200", "B": "31", "a": "0.6201", "A": "40", "T": 9, "E": 10}
    trade = {"e": "aggTrade", "E": 10, "a": 8, "s": "ASTERUSDT", "p": "0.6200", "q": "297", "f": 1, "l": 4, "T": 9, "m": False}
    mark = {
        "e": "markPriceUpdate",
        "E": 10,
        "s": "ASTERUSDT",
        "p": "0.62001234",
        "i": "0.61990000",
        "P": "0.62",
        "r": "-0.0003",
        "T": 99,
    }
    streams = {"depth@100ms": depth, "bookTicker": quote, "aggTrade": trade, "markPrice@1s": mark}
    return tuple(json.dumps({"stream": f"{name}@{stream}", "data": data}).encode() for stream, data in streams.items())


def paper(raw: bytes) -> None:
    """The simulated venue's own feed of a real market: what cannot be read is counted, and the venue goes on."""
    source = Source()
    market = source.markets["ASTERUSDT"] = FedMarket(source, ASTER)
    market.attach(Sinks(lambda *_: None, lambda *_: None, lambda *_: None))
    feeding = BinanceFeeding("", "", source, Clock.start())
    snapshot = b'{"lastUpdateId":155,"E":1,"T":1,"bids":[["0.6198","10"]],"asks":[["0.6203","5"]]}'
    source.take("ASTERUSDT", Line(0, 1, "snapshot", None, decode_envelope(snapshot)))
    for frame in (paper_frames()[0], raw, *paper_frames()):
        feeding.take(frame)
        source.advance(20)


def paper_okx_frames() -> tuple[bytes, ...]:
    level = [["60000.0", "1.5", "0", "2"]]
    rows = {
        "books": {"asks": [["60000.1", "0.04", "0", "1"]], "bids": level, "ts": "9", "seqId": 12, "prevSeqId": 11},
        "bbo-tbt": {"asks": [["60000.1", "0.04", "0", "1"]], "bids": level, "ts": "9", "seqId": 12},
        "trades": {"tradeId": "7", "px": "60000.0", "sz": "1.2", "side": "sell", "ts": "9", "count": "2"},
        "funding-rate": {"fundingRate": "0.0001", "fundingTime": "28800000", "nextFundingTime": "57600000"},
        "mark-price": {"markPx": "60000.05", "ts": "9"},
    }
    arg = {"instId": BTC.venue_symbol}
    frames = [{"arg": {"channel": name, **arg}, "action": "update", "data": [row]} for name, row in rows.items()]
    begins = {"arg": {"channel": "books", **arg}, "action": "snapshot", "data": [rows["books"] | {"seqId": 11, "prevSeqId": -1}]}
    return tuple(json.dumps(frame).encode() for frame in (begins, *frames))


def paper_okx(raw: bytes) -> None:
    """The same, fed with OKX's."""
    source = Source()
    row = {"instId": BTC.venue_symbol, "ctVal": "0.01", "ctValCcy": "BTC", "settleCcy": "USDT", "tickSz": "0.1", "lotSz": "0.01",
           "minSz": "0.01", "maxLmtSz": "10000", "maxMktSz": "2000"}  # fmt: skip
    market = source.markets[BTC.venue_symbol] = FedOkxMarket(source, contract_of(msgspec.convert(row, okx_feed._Instrument)))
    market.attach(Sinks(lambda *_: None, lambda *_: None, lambda *_: None))
    feeding = OkxFeeding("", "", source, Clock.start())
    for frame in (*paper_okx_frames()[:2], raw, *paper_okx_frames()):
        feeding.take(frame)
        source.advance(20)


# --- accounts ----------------------------------------------------------------------------------------------------------


@functools.cache
def _binance() -> tuple[BinanceAccount, PrivateFeed]:
    clock = Clock.start()
    account = BinanceAccount(Credentials("k", "s"), "", clock, 5_000)
    account._instruments[MARKET] = account._by_symbol["ASTERUSDT"] = aster()
    return account, PrivateFeed("", account, [aster()], clock, lambda *_: False)


@functools.cache
def _okx() -> tuple[OkxAccount, OkxFeed]:
    clock = Clock.start()
    account = OkxAccount(Credentials("k", "s", "p"), "", clock, 5_000)
    account._instruments[BTC.market] = account._by_symbol[BTC.venue_symbol] = BTC
    return account, OkxFeed("", account, [BTC], clock, lambda *_: False)


def binance_reports() -> tuple[bytes, ...]:
    funding = {
        "e": "ACCOUNT_UPDATE",
        "E": 1,
        "T": 1,
        "a": {"m": "FUNDING_FEE", "B": [_BALANCE], "P": [{"s": "ASTERUSDT", "pa": "300"}]},
    }
    plain = ({"e": "listenKeyExpired", "E": 1, "listenKey": "x"}, {"e": "MARGIN_CALL", "E": 1}, {"e": "ACCOUNT_CONFIG_UPDATE"})
    return (*busy().frames, *(json.dumps(frame).encode() for frame in (funding, *plain)))


_BALANCE = {"a": "USDT", "wb": "9990.5", "cw": "9990.5", "bc": "-0.25"}


def binance_account(raw: bytes) -> None:
    try:
        _, events = _binance()[1].decode(raw, at())
    except DecodeError as problem:
        known(problem)
        return
    took(events)


def okx_reports() -> tuple[bytes, ...]:
    order = {
        "instId": BTC.venue_symbol, "ordId": "1", "clOrdId": "btw00010009", "algoClOrdId": "", "side": "buy", "sz": "2",
        "px": "63000",
        "accFillSz": "1", "state": "partially_filled", "avgPx": "63000", "reduceOnly": "false", "cancelSource": "", "uTime": "17",
        "tradeId": "5", "fillSz": "1", "fillPx": "63000", "fillFee": "-0.3", "fillFeeCcy": "USDT", "fillPnl": "0",
        "fillTime": "17", "execType": "T",
    }  # fmt: skip
    algo = {
        "instId": BTC.venue_symbol, "algoId": "7", "algoClOrdId": "btw00010010", "side": "sell", "sz": "1", "state": "live",
        "ordType": "conditional", "reduceOnly": "true", "slTriggerPx": "60000", "callbackRatio": "0.01", "ordIdList": [],
        "failCode": "", "uTime": "18",
    }  # fmt: skip
    balance = {
        "eventType": "funding_fee", "balData": [{"ccy": "USDT", "cashBal": "9990.5", "uTime": "1"}],
        "posData": [{"instId": BTC.venue_symbol}],
    }  # fmt: skip
    pushes = [("orders", order), ("orders-algo", algo), ("algo-advance", algo), ("balance_and_position", balance)]
    bodies: list[object] = [{"arg": {"channel": name, "instType": "SWAP"}, "data": [row]} for name, row in pushes]
    bodies += [{"event": "login", "code": "0", "msg": ""}, {"event": "notice", "code": "64008", "msg": "closing"}]
    return tuple(json.dumps(body).encode() for body in bodies)


def okx_account(raw: bytes) -> None:
    feed = _okx()[1]
    feed._cash = {}
    try:
        feed.decode(okx_reports()[3], at())  # changes of balance are told against the balance before
        _, events = feed.decode(raw, at())
    except DecodeError as problem:
        known(problem)
        return
    took(events)


class _Replies:
    """In place of ccxt's client: each of its questions is answered with what a body says of it."""

    def __init__(self, bodies: Mapping[str, Any]) -> None:
        self.bodies = bodies

    def __getattr__(self, name: str) -> Callable[..., Any]:
        async def ask(*_: Any) -> Any:
            return self.bodies.get(name)

        return ask


def binance_replies() -> tuple[bytes, ...]:
    order = {
        "symbol": "ASTERUSDT", "orderId": 1, "clientOrderId": "btw00010004", "status": "NEW", "side": "BUY", "origQty": "200",
        "executedQty": "10", "reduceOnly": False, "updateTime": 17, "avgPrice": "0.615", "price": "0.6150",
    }  # fmt: skip
    algo = {
        "symbol": "ASTERUSDT", "algoId": 3, "clientAlgoId": "btw00010002", "algoStatus": "NEW", "side": "SELL", "quantity": "300",
        "triggerPrice": "0.6100", "reduceOnly": True, "closePosition": False, "updateTime": 17, "actualOrderId": "",
        "callbackRate": "0.5",
    }  # fmt: skip
    trade = {
        "symbol": "ASTERUSDT", "id": 101, "orderId": 1, "side": "BUY", "price": "0.6201", "qty": "300", "commission": "0.09",
        "commissionAsset": "USDT", "maker": False, "time": 17,
    }  # fmt: skip
    risk = {
        "symbol": "ASTERUSDT", "positionAmt": "300", "entryPrice": "0.6201", "markPrice": "0.62", "unRealizedProfit": "-0.1",
        "liquidationPrice": "0.01", "positionSide": "BOTH",
    }  # fmt: skip
    bodies = {
        "fapiPrivateV3GetAccount": {"assets": [{"asset": "USDT", "walletBalance": "9999.9", "availableBalance": "9990"}]},
        "fapiPrivateV3GetPositionRisk": [risk],
        "fapiPrivateGetOpenOrders": [order],
        "fapiPrivateGetOpenAlgoOrders": [algo],
        "fapiPrivateGetUserTrades": [trade],
        "fapiPrivateGetOrder": order,
        "fapiPrivateGetAlgoOrder": algo,
        "fapiPrivateGetCommissionRate": {"makerCommissionRate": "0.0002", "takerCommissionRate": "0.0005"},
        "fapiPrivatePostLeverage": {"leverage": 3},
        "fapiPrivatePostListenKey": {"listenKey": "abc"},
        "fapiPrivateGetPositionSideDual": {"dualSidePosition": False},
        "sapiGetAccountApiRestrictions": {"enableWithdrawals": False, "enableFutures": True},
    }
    return (json.dumps(bodies).encode(),)


def okx_replies() -> tuple[bytes, ...]:
    order, algo = (json.loads(okx_reports()[place])["data"][0] for place in (0, 1))
    fill = {
        "instId": BTC.venue_symbol, "ordId": "1", "tradeId": "5", "billId": "9", "side": "buy", "fillPx": "63000", "fillSz": "1",
        "fee": "-0.3", "ts": "17", "feeCcy": "USDT", "execType": "T", "fillTime": "17",
    }  # fmt: skip
    position = {"instId": BTC.venue_symbol, "pos": "3", "avgPx": "63000", "markPx": "63001", "upl": "0.1", "liqPx": "30000"}
    detail = {"ccy": "USDT", "cashBal": "9999.9", "availEq": "9990", "availBal": "9990"}
    rows = {
        "privateGetAccountBalance": [{"details": [detail]}],
        "privateGetAccountPositions": [position],
        "privateGetTradeOrdersPending": [order],
        "privateGetTradeOrdersAlgoPending": [algo],
        "privateGetTradeFills": [fill],
        "privateGetTradeFillsHistory": [fill],
        "privateGetTradeOrder": [order],
        "privateGetTradeOrderAlgo": [algo],
        "privateGetAccountTradeFee": [{"maker": "-0.0002", "taker": "-0.0005"}],
        "privatePostAccountSetLeverage": [{"lever": "3"}],
        "privateGetAccountConfig": [{"posMode": "net_mode", "perm": "read_only,trade", "acctLv": "2"}],
        "privatePostTradeOrder": [{"ordId": "1", "sCode": "0", "sMsg": ""}],
    }
    return (json.dumps({name: {"code": "0", "msg": "", "data": data} for name, data in rows.items()}).encode(),)


def binance_account_rest(raw: bytes) -> None:
    _account_rest(raw, _binance()[0], MARKET, START // 1_000_000)


def okx_account_rest(raw: bytes) -> None:
    _account_rest(raw, _okx()[0], BTC.market, START // 1_000_000)


def _account_rest(raw: bytes, account: BinanceAccount | OkxAccount, market: str, since_ms: int) -> None:
    try:
        bodies = json.loads(raw)
    except (ValueError, RecursionError):
        return  # ccxt reads the bodies; an unreadable one is an error of its own
    if not isinstance(bodies, dict):
        return
    account._exchange = _Replies(bodies)

    def ask(question: Any) -> None:
        try:
            # An order that pages for ever would be a finding: the answer to each page is the same.
            answer = LOOP.run_until_complete(question)
        except BarterError as problem:
            known(problem)
            return
        took([answer] if isinstance(answer, Event) else [])

    ask(account.snapshot(FetchAccount(at(), account.venue, "fuzz", since_ms)))
    ask(account.look_up(LookUpOrder(at(), market, "btw00010004", False)))
    ask(account.look_up(LookUpOrder(at(), market, "btw00010002", True)))
    ask(account.fees(market))
    ask(account.set_leverage(SetLeverage(at(), market, 3)))
    ask(account._check())
    if isinstance(account, BinanceAccount):
        ask(account.listen_key())


LOOP = asyncio.new_event_loop()


# --- what comes with a reply -------------------------------------------------------------------------------------------


def headers() -> tuple[bytes, ...]:
    used = {"X-MBX-USED-WEIGHT-1M": "2000", "X-MBX-ORDER-COUNT-10S": "299", "Retry-After": "30"}
    dated = {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}
    text = 'binanceusdm POST https://x/order 400 Bad Request {"code":-2019,"msg":"Margin is insufficient."}'
    return tuple(json.dumps(one).encode() for one in ([429, used, text], [418, dated, text], [200, {}, text]))


def budget(raw: bytes) -> None:
    try:
        status, given, text = json.loads(raw)
        told = {str(name): value for name, value in given.items() if isinstance(value, str)}
    except (ValueError, TypeError, AttributeError, RecursionError):
        return
    clock = Clock.start()
    for turned in (429, status if isinstance(status, int) else 200):
        held = Budget(clock)
        held.seen(turned, told)
        assert 0 <= held.reads_in_s() <= 3 * 86_400 + 1
        held.reading(), held.entering()
    problem = RuntimeError(str(text))
    assert isinstance(code_of(problem), int) and len(words_of(problem)) <= 200 and words_of(problem).isprintable()
    fate_of(problem, status_of(problem))
