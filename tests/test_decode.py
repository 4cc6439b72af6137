"""Binance's frames and REST bodies become exact events, and nothing that a stranger writes does any other harm."""

import json
from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import DecodeError
from engine.events import (
    Bar,
    BookDelta,
    Event,
    Instrument,
    Kline,
    Liquidation,
    Mark,
    Quote,
    Side,
    Trade,
    decode_input,
    encode,
    unpack_levels,
)
from engine.signal.binance import decode
from engine.signal.binance.decode import Decoder, Grid, on_grid
from engine.signal.decoding import Control
from tests.factory import MARKET, MS, aster

AT = 1_790_000_000_000 * MS
GRID = Grid.of(aster())
TICKS = (Decimal("0.0001"), Decimal("0.1"), Decimal("0.01"), Decimal("0.00001"))

TICKER: dict[str, Any] = {
    "e": "bookTicker", "u": 400900217, "s": "ASTERUSDT", "b": "0.6200", "B": "31", "a": "0.6201", "A": "40",
    "T": 1568014460891, "E": 1568014460893,
}  # fmt: skip
DEPTH: dict[str, Any] = {
    "e": "depthUpdate", "E": 1786541222809, "T": 1786541222806, "s": "ASTERUSDT", "U": 157, "u": 160, "pu": 149,
    "b": [["0.6199", "10"], ["0.6198", "0"]], "a": [["0.6202", "100.000"]],
}  # fmt: skip
TRADE: dict[str, Any] = {
    "e": "aggTrade", "E": 1626992744262, "a": 87353230, "s": "ASTERUSDT", "p": "0.6120", "q": "297", "f": 1, "l": 4,
    "T": 1626992744108, "m": False,
}  # fmt: skip
MARK: dict[str, Any] = {
    "e": "markPriceUpdate", "E": 1562305380000, "s": "ASTERUSDT", "p": "0.62001234", "i": "0.61990000", "P": "0.62",
    "r": "-0.00038167", "T": 1562306400000,
}  # fmt: skip
KLINE: dict[str, Any] = {
    "e": "kline", "E": 1786540310066, "s": "ASTERUSDT",
    "k": {"t": 1786540260000, "T": 1786540319999, "s": "ASTERUSDT", "i": "1m", "f": 1, "L": 924, "o": "0.6200", "c": "0.6205",
          "h": "0.6210", "l": "0.6190", "v": "323", "n": 924, "x": False, "q": "200.2", "V": "6", "Q": "3.7", "B": "0"},
}  # fmt: skip
FORCED: dict[str, Any] = {
    "e": "forceOrder", "E": 1584059031426,
    "o": {"s": "ASTERUSDT", "S": "BUY", "o": "LIMIT", "f": "IOC", "q": "20", "p": "0.6300", "ap": "0.6180", "X": "FILLED",
          "l": "3", "z": "14", "T": 1584059031421},
}  # fmt: skip
FRAMES = {
    "bookTicker": TICKER, "depthUpdate": DEPTH, "aggTrade": TRADE, "markPriceUpdate": MARK, "kline": KLINE, "forceOrder": FORCED,
}  # fmt: skip


def raw(frame: dict[str, Any], **changed: Any) -> bytes:
    return json.dumps({**frame, **changed}).encode()


@pytest.fixture
def decoder() -> Decoder:
    made = Decoder()
    made.list(aster())
    return made


def instrument(symbol: str, tick: str, step: str) -> Instrument:
    base = symbol.removesuffix("USDT")
    market = f"binance:{base}/USDT:USDT"
    return Instrument(AT, market, symbol, base, "USDT", Decimal(tick), Decimal(step), 1, 10**9, 10**9, Decimal(5))


def problem_with(decoder: Decoder, frame: bytes) -> str:
    with pytest.raises(DecodeError) as raised:
        decoder.frame(frame, AT)
    assert len(str(raised.value)) < 600
    return str(raised.value)


# --- small frames whose values are known -----------------------------------------------------------------------------


def test_a_ticker_becomes_a_quote_in_ticks_and_steps(decoder: Decoder) -> None:
    assert decoder.frame(raw(TICKER), AT) == Quote(AT, MARKET, 400900217, 6200, 31, 6201, 40, 1568014460893)


def test_a_depth_update_becomes_packed_levels_and_a_size_of_zero_stays(decoder: Decoder) -> None:
    delta = decoder.frame(raw(DEPTH), AT)
    assert isinstance(delta, BookDelta)
    assert (delta.first_id, delta.last_id, delta.previous_id, delta.venue_ms) == (157, 160, 149, 1786541222809)
    assert list(unpack_levels(delta.bids)) == [6199, 10, 6198, 0]
    assert list(unpack_levels(delta.asks)) == [6202, 100]


def test_a_trade_whose_buyer_was_the_taker_is_a_buy_at_the_time_of_the_trade(decoder: Decoder) -> None:
    assert decoder.frame(raw(TRADE), AT) == Trade(AT, MARKET, 87353230, 6120, 297, Side.BUY, 1626992744108)


def test_a_trade_whose_buyer_was_the_maker_is_a_sell(decoder: Decoder) -> None:
    trade = decoder.frame(raw(TRADE, m=True), AT)
    assert isinstance(trade, Trade) and trade.side is Side.SELL


def test_mark_prices_keep_every_digit_and_the_sign_of_funding(decoder: Decoder) -> None:
    expected = Mark(AT, MARKET, Decimal("0.62001234"), Decimal("0.6199"), Decimal("-0.00038167"), 1562306400000, 1562305380000)
    assert decoder.frame(raw(MARK), AT) == expected


def test_an_old_mark_frame_without_an_index_price_is_read(decoder: Decoder) -> None:
    old = {name: value for name, value in MARK.items() if name not in ("i", "P")}
    mark = decoder.frame(raw(old), AT)
    assert isinstance(mark, Mark) and mark.index == 0


@pytest.mark.parametrize("answer", [{"result": None, "id": 1}, {"result": ["a@depth"], "id": 7}])
def test_answers_to_requests_are_no_events_and_name_the_request(decoder: Decoder, answer: dict[str, Any]) -> None:
    assert decoder.frame(raw(answer), AT) == Control("done", number=answer["id"])


def test_a_refused_request_comes_with_its_number_and_the_venues_words(decoder: Decoder) -> None:
    answer = decoder.frame(raw({"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": 1}), AT)
    assert answer == Control("error", "", "the venue refused a request: Invalid request: invalid stream (code 2)", 1)


def test_a_refusal_with_a_novel_in_it_is_cut_short(decoder: Decoder) -> None:
    answer = decoder.frame(raw({"error": {"code": 2, "msg": "x" * 100_000}, "id": 1}), AT)
    assert isinstance(answer, Control) and len(answer.text) < 300


def test_the_venues_own_bar(decoder: Decoder) -> None:
    bar = Bar(MARKET, 60_000, 1786540260000, 6200, 6210, 6190, 6205, 323, 924)
    assert decoder.frame(raw(KLINE), AT) == Kline(AT, bar, False, 1786540310066)
    closed = decoder.frame(raw(KLINE, k=KLINE["k"] | {"x": True}), AT)
    assert isinstance(closed, Kline) and closed.closed


def test_a_liquidation_is_what_was_traded_of_the_forced_order(decoder: Decoder) -> None:
    assert decoder.frame(raw(FORCED), AT) == Liquidation(AT, MARKET, Side.BUY, 6180, 14, 1584059031426)
    assert "both" in problem_with(decoder, raw(FORCED, o=FORCED["o"] | {"S": "both"}))


def test_a_coin_margined_contract_beside_ours_is_left_alone(decoder: Decoder) -> None:
    assert decoder.frame(raw(TICKER, s="ASTERUSD_PERP", ps="ASTERUSD", st=2), AT) is None
    assert decoder.unknown_symbols == 1


def test_a_market_that_nobody_listed_is_counted_and_left_alone(decoder: Decoder) -> None:
    assert decoder.frame(raw(TICKER, s="BTCUSDT"), AT) is None
    assert decoder.unknown_symbols == 1


# --- strangers -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", FRAMES)
def test_unknown_fields_change_nothing(decoder: Decoder, kind: str) -> None:
    more = raw(FRAMES[kind], zz_new={"nested": [1, "2", None]}, zz_flag=True)
    assert decoder.frame(more, AT) == decoder.frame(raw(FRAMES[kind]), AT)


@pytest.mark.parametrize("kind", FRAMES)
def test_the_names_of_unknown_fields_are_remembered(decoder: Decoder, kind: str) -> None:
    decoder.sample(raw(FRAMES[kind]))
    assert decoder.unknown_fields == set()
    fresh = Decoder()
    fresh.sample(raw(FRAMES[kind], zz_new=1))
    assert fresh.unknown_fields == {f"{kind}.zz_new"}


@pytest.mark.parametrize("nonsense", [b"", b"[]", b"\xff\xfe", b'{"e":"\xff"}', b'{"e":7}', b'{"\xff":1}', b"{}"])
def test_looking_for_unknown_fields_in_nonsense_does_no_harm(decoder: Decoder, nonsense: bytes) -> None:
    decoder.sample(nonsense)
    assert decoder.unknown_fields == set()


@pytest.mark.parametrize(
    ("kind", "field", "value"),
    [
        ("bookTicker", "b", {}),
        ("bookTicker", "b", "cheap"),
        ("bookTicker", "A", None),
        ("bookTicker", "u", "x"),
        ("bookTicker", "E", [1]),
        ("bookTicker", "s", 7),
        ("depthUpdate", "u", 1.5),
        ("depthUpdate", "pu", -1),
        ("depthUpdate", "E", 10**30),
        ("depthUpdate", "b", 7),
        ("depthUpdate", "a", {"0.1": "2"}),
        ("aggTrade", "a", 10**30),
        ("aggTrade", "m", "maybe"),
        ("aggTrade", "T", "now"),
        ("markPriceUpdate", "p", True),
        ("markPriceUpdate", "T", None),
        ("markPriceUpdate", "r", "free"),
    ],
)
def test_a_field_of_the_wrong_type_is_an_error_that_names_it(decoder: Decoder, kind: str, field: str, value: Any) -> None:
    assert f"`$.{field}`" in problem_with(decoder, raw(FRAMES[kind], **{field: value}))


def test_a_level_of_the_wrong_type_is_named_by_its_place(decoder: Decoder) -> None:
    assert "`$.b[1][1]`" in problem_with(decoder, raw(DEPTH, b=[["0.6199", "10"], ["0.6198", []]]))
    assert "`$.a[0]`" in problem_with(decoder, raw(DEPTH, a=[["0.6199"]]))


@pytest.mark.parametrize(
    ("kind", "field"),
    [("bookTicker", "b"), ("depthUpdate", "pu"), ("aggTrade", "m"), ("markPriceUpdate", "p"), ("aggTrade", "s")],
)
def test_a_missing_field_is_an_error_that_names_it(decoder: Decoder, kind: str, field: str) -> None:
    rest = {name: value for name, value in FRAMES[kind].items() if name != field}
    assert f"`{field}`" in problem_with(decoder, raw(rest))


@pytest.mark.parametrize("value", ["NaN", "inf", "-inf", "Infinity", "-0.6200", "1e300", "0.62005"])
@pytest.mark.parametrize(("kind", "field"), [("bookTicker", "a"), ("aggTrade", "p")])
def test_an_impossible_price_is_an_error_that_says_it(decoder: Decoder, kind: str, field: str, value: str) -> None:
    assert f"{float(value)}" in problem_with(decoder, raw(FRAMES[kind], **{field: value}))


@pytest.mark.parametrize("value", ["NaN", "inf", "-1", "1e300"])
def test_an_impossible_level_is_an_error(decoder: Decoder, value: str) -> None:
    problem_with(decoder, raw(DEPTH, b=[[value, "1"]]))
    problem_with(decoder, raw(DEPTH, a=[["0.62", value]]))


@pytest.mark.parametrize(("field", "value"), [("p", "NaN"), ("p", "sNaN"), ("p", "Infinity"), ("p", "0"), ("p", "-1")])
def test_an_impossible_mark_price_is_an_error(decoder: Decoder, field: str, value: str) -> None:
    assert "a mark price of" in problem_with(decoder, raw(MARK, **{field: value}))


@pytest.mark.parametrize(("field", "value"), [("i", "NaN"), ("i", "-1"), ("r", "NaN"), ("r", "Infinity")])
def test_an_impossible_index_or_funding_rate_is_an_error(decoder: Decoder, field: str, value: str) -> None:
    assert "funding rate" in problem_with(decoder, raw(MARK, **{field: value}))


def test_a_trade_for_nothing_is_an_error(decoder: Decoder) -> None:
    assert "a price of 0" in problem_with(decoder, raw(TRADE, p="0.0000"))


def test_a_price_between_two_ticks_is_seen_on_a_market_with_high_prices() -> None:
    decoder = Decoder()
    decoder.list(instrument("BTCUSDT", "0.1", "0.001"))
    frame = {**TICKER, "s": "BTCUSDT", "b": "64000.05", "a": "64000.10"}
    assert "64000.05 is not a multiple of 0.1" in problem_with(decoder, raw(frame))


@pytest.mark.parametrize("kind", FRAMES)
def test_a_frame_cut_anywhere_is_an_error(decoder: Decoder, kind: str) -> None:
    whole = raw(FRAMES[kind])
    for end in range(len(whole)):
        problem_with(decoder, whole[:end])


@pytest.mark.parametrize(
    "frame",
    [b"\xff\xfe", raw(TICKER).replace(b"ASTER", b"AST\xff"), raw(TICKER).replace(b"0.6200", b"\xc3\x28")],
    ids=["alone", "in the symbol", "in a price"],
)
def test_bytes_that_are_no_text_are_an_error(decoder: Decoder, frame: bytes) -> None:
    problem_with(decoder, frame)


@pytest.mark.parametrize(
    "frame",
    [b"[" * 100_000, b'{"e":' * 100_000, b'{"id":1,"result":' + b"[" * 100_000, raw(TICKER)[:-1] + b',"z":' + b"[" * 100_000],
    ids=["lists", "objects", "in an answer", "in a ticker"],
)
def test_a_frame_nested_without_end_is_an_error(decoder: Decoder, frame: bytes) -> None:
    problem_with(decoder, frame)


def test_an_event_that_was_not_asked_for_is_an_error_that_names_it(decoder: Decoder) -> None:
    problem = problem_with(decoder, raw({"e": "miniTicker", "E": 1, "s": "ASTERUSDT"}))
    assert "'miniTicker'" in problem and "`$.e`" in problem


def test_an_event_with_an_endless_name_is_cut_short(decoder: Decoder) -> None:
    problem_with(decoder, raw({"e": "x" * 1_000_000, "s": "ASTERUSDT"}))


def harmless(decoder: Decoder, frame: bytes) -> Event | None:
    """What `frame` decodes to; an event must survive the journal's codec."""
    try:
        event = decoder.frame(frame, AT)
    except DecodeError:
        return None
    if event is None or isinstance(event, Control):
        return None
    assert decode_input(encode(event)) == event
    return event


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=300))
def test_random_bytes_are_an_event_nothing_or_a_decode_error(frame: bytes) -> None:
    decoder = Decoder()
    decoder.list(aster())
    harmless(decoder, frame)
    decoder.sample(frame)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0.62", "nan", "-1", "1e99"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(FRAMES)), st.data())
def test_a_frame_with_any_fields_replaced_is_an_event_nothing_or_a_decode_error(kind: str, data: st.DataObject) -> None:
    decoder = Decoder()
    decoder.list(aster())
    frame = dict(FRAMES[kind])
    for name in data.draw(st.lists(st.sampled_from(sorted(frame)), max_size=3)):
        frame[name] = data.draw(JSON)
    harmless(decoder, raw(frame))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(FRAMES)), st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_a_frame_with_any_bytes_replaced_is_an_event_nothing_or_a_decode_error(kind: str, place: int, junk: bytes) -> None:
    decoder = Decoder()
    decoder.list(aster())
    whole = raw(FRAMES[kind])
    harmless(decoder, whole[:place] + junk + whole[place + len(junk) :])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TICKS), st.integers(1, 10**9), st.integers(0, 8))
def test_a_price_on_the_grid_comes_back_as_the_same_ticks(tick: Decimal, ticks: int, zeros: int) -> None:
    text = f"{ticks * tick:f}"
    text += ("" if "." in text else ".") + "0" * zeros
    assert on_grid(float(text), float(1 / tick)) == ticks


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TICKS), st.integers(1, 10**9), st.integers(1, 9))
def test_a_price_between_two_ticks_is_never_taken(tick: Decimal, ticks: int, tenth: int) -> None:
    between = ticks * tick + tick * tenth / 10
    with pytest.raises(ValueError, match="not a multiple"):
        on_grid(float(between), float(1 / tick))


# --- REST ------------------------------------------------------------------------------------------------------------

FILTERS: list[dict[str, Any]] = [
    {"filterType": "PRICE_FILTER", "minPrice": "0.0001", "maxPrice": "100", "tickSize": "0.00010"},
    {"filterType": "LOT_SIZE", "stepSize": "1", "maxQty": "1000000", "minQty": "1"},
    {"filterType": "MARKET_LOT_SIZE", "stepSize": "1", "maxQty": "250000", "minQty": "1"},
    {"filterType": "MIN_NOTIONAL", "notional": "5"},
    {"filterType": "SOMETHING_NEW", "limit": 200},
]


def info(filters: list[dict[str, Any]] = FILTERS, **changed: Any) -> bytes:
    symbol = {
        "symbol": "ASTERUSDT", "contractType": "PERPETUAL", "status": "TRADING", "baseAsset": "ASTER", "quoteAsset": "USDT",
        "marginAsset": "USDT", "filters": filters, **changed,
    }  # fmt: skip
    return json.dumps({"timezone": "UTC", "symbols": [symbol]}).encode()


def test_exchange_info_becomes_an_instrument_in_steps() -> None:
    assert decode.instruments(info(), AT, True) == ([aster(AT)], [])


@pytest.mark.parametrize(
    "changed", [{"contractType": "CURRENT_QUARTER"}, {"status": "SETTLING"}, {"marginAsset": "ASTER"}, {"contractType": ""}]
)
def test_what_is_no_trading_linear_perpetual_is_not_listed(changed: dict[str, str]) -> None:
    assert decode.instruments(info(**changed), AT, True) == ([], [])


def test_without_a_market_lot_filter_or_a_minimum_the_common_ones_hold() -> None:
    (listed,), _ = decode.instruments(info(FILTERS[:2]), AT, True)
    assert (listed.max_market_quantity, listed.min_notional) == (1_000_000, Decimal(0))


@pytest.mark.parametrize("missing", ["PRICE_FILTER", "LOT_SIZE"])
def test_a_symbol_without_its_filters_is_left_out_and_named(missing: str) -> None:
    rest = [entry for entry in FILTERS if entry["filterType"] != missing]
    listed, (wrong,) = decode.instruments(info(rest), AT, True)
    assert not listed and "ASTERUSDT lacks its price or lot filter" in wrong


def test_one_symbol_that_cannot_be_read_fails_nobody_else() -> None:
    body = msgspec.json.decode(info())
    broken = [{"symbol": "X"}, 7, {**body["symbols"][0], "filters": "none"}]
    listed, wrong = decode.instruments(msgspec.json.encode({"symbols": [*broken, *body["symbols"]]}), AT, True)
    assert listed == [aster(AT)] and len(wrong) == 3


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-1", "0"])
@pytest.mark.parametrize(("place", "field"), [(0, "tickSize"), (1, "stepSize"), (1, "minQty"), (2, "maxQty"), (3, "notional")])
def test_a_filter_with_an_impossible_figure_leaves_its_symbol_out(place: int, field: str, value: str) -> None:
    if value == "0" and place >= 2:
        return  # 0 means none there
    filters = [dict(entry) for entry in FILTERS]
    filters[place][field] = value
    listed, (wrong,) = decode.instruments(info(filters), AT, True)
    assert not listed and "ASTERUSDT" in wrong


DEPTH_BODY = (
    b'{"lastUpdateId":1027024,"E":1589436922972,"T":1,"bids":[["0.6199","431.000"]],"asks":[["0.6200","12"],["0.6201","3"]]}'
)
TRADES_BODY = b'[{"a":26129,"p":"0.6163","q":"4","f":1,"l":1,"T":1498793709153,"m":true,"nq":"4"}]'
KLINES_BODY = b'[[1499040000000,"0.6163","0.6800","0.6157","0.6158","148976",1499040059999,"91.2",308,"1756.8","28.4","0"]]'


def test_a_depth_body_becomes_a_snapshot() -> None:
    snapshot = decode.book_snapshot(DEPTH_BODY, GRID, AT)
    assert (snapshot.market, snapshot.last_id, snapshot.venue_ms) == (MARKET, 1027024, 1589436922972)
    assert list(unpack_levels(snapshot.bids)) == [6199, 431]
    assert list(unpack_levels(snapshot.asks)) == [6200, 12, 6201, 3]


def test_a_trades_body_becomes_history_in_order() -> None:
    history = decode.trade_history(TRADES_BODY, GRID, AT)
    assert list(unpack_levels(history.trades)) == [26129, 6163, 4, -1, 1498793709153]


def test_a_klines_body_becomes_bars() -> None:
    bar = decode.bar_history(KLINES_BODY, GRID, 60_000, AT).bars[0]
    assert (bar.open_ms, bar.open, bar.high, bar.low, bar.close, bar.volume, bar.trades) == (
        1499040000000, 6163, 6800, 6157, 6158, 148976, 308,
    )  # fmt: skip


def test_the_servers_time_is_read_beside_fields_that_are_new() -> None:
    assert decode.server_time(b'{"serverTime":1499827319559,"zone":"UTC"}') == 1499827319559


READERS: dict[str, Callable[[bytes], object]] = {
    "exchangeInfo": lambda body: decode.instruments(body, AT, True),
    "depth": lambda body: decode.book_snapshot(body, GRID, AT),
    "aggTrades": lambda body: decode.trade_history(body, GRID, AT),
    "klines": lambda body: decode.bar_history(body, GRID, 60_000, AT),
    "time": decode.server_time,
}
BODIES = {
    "exchangeInfo": info(),
    "depth": DEPTH_BODY,
    "aggTrades": TRADES_BODY,
    "klines": KLINES_BODY,
    "time": b'{"serverTime":1}',
}
NONSENSE = (b"", b"{", b"null", b'"x"', b"<html>busy</html>", b"\xff\xfe", b"[" * 100_000, b'{"code":-1}', b"[7]")
NUMBERS = (("depth", b"0.6200"), ("aggTrades", b"0.6163"), ("klines", b"0.6800"), ("klines", b"148976"))


@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
@pytest.mark.parametrize("what", READERS)
def test_a_malformed_body_is_an_error_that_names_the_question(what: str, body: bytes) -> None:
    with pytest.raises(DecodeError, match=f"Binance {what}") as raised:
        READERS[what](body)
    assert len(str(raised.value)) < 600


@pytest.mark.parametrize("value", ["NaN", "inf", "-1", "1e300"])
@pytest.mark.parametrize(("what", "number"), NUMBERS)
def test_an_impossible_number_in_a_body_is_an_error(what: str, number: bytes, value: str) -> None:
    with pytest.raises(DecodeError, match=f"Binance {what}"):
        READERS[what](BODIES[what].replace(number, value.encode()))


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(sorted(READERS)), st.integers(0, 400), st.binary(max_size=4))
def test_a_body_with_any_bytes_replaced_is_read_or_a_decode_error(what: str, place: int, junk: bytes) -> None:
    whole = BODIES[what]
    try:
        READERS[what](whole[:place] + junk + whole[place + len(junk) :])
    except DecodeError:
        return


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"code":-1121,"msg":"Invalid symbol."}', (-1121, "Invalid symbol.")),
        (b"", (0, "")),
        (b"<html>busy</html>", (0, "<html>busy</html>")),
        (b'{"code":"x"}', (0, '{"code":"x"}')),
        (b'{"msg":"\xff"}', (0, '{"msg":"\ufffd"}')),
    ],
)
def test_a_refusal_is_its_code_and_words(body: bytes, found: tuple[int, str]) -> None:
    assert decode.refusal(body) == found


# --- frames of the real venue ----------------------------------------------------------------------------------------

RECORDED = {
    "AKROUSDT": ("0.00001", "1"),
    "KEEPUSDT": ("0.0001", "1"),
    "SUSHIUSDT": ("0.0010", "1"),
    "BTCUSDT": ("0.10", "0.001"),
}


def recorded(folder: Path, pattern: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """File name and raw frame (or REST body) of every recording, without the recorder's envelopes."""
    for path in sorted(folder.glob(pattern)):
        for line in path.read_text().splitlines():
            body = json.loads(line)
            body = body.get("msg", body.get("snapshot", body))
            yield path.name, body.get("data", body)


def exact(text: str, unit: str) -> int:
    whole = Decimal(text) / Decimal(unit)
    assert whole == whole.to_integral_value()
    return int(whole)


@pytest.fixture
def wire(shared_data: Path) -> Path:
    folder = shared_data / "wire" / "binance"
    if not folder.is_dir():
        pytest.skip("no recorded Binance frames: ../shared/data/wire/binance is absent beside the repository")
    return folder


def test_every_recorded_frame_is_decoded_exactly(wire: Path) -> None:
    decoder = Decoder()
    for symbol, (tick, step) in RECORDED.items():
        decoder.list(instrument(symbol, tick, step))
    counts: dict[str, int] = {}
    patterns = ("cf_*_*USDT.jsonl", "hft_btcusdt_first8s.jsonl", "ccxt2026*.jsonl")
    for _, body in (found for pattern in patterns for found in recorded(wire, pattern)):
        kind = body.get("e", "")
        if kind not in FRAMES:
            continue
        counts[kind] = counts.get(kind, 0) + 1
        frame = json.dumps(body).encode()
        decoder.sample(frame)
        event = decoder.frame(frame, AT)
        tick, step = RECORDED[body["s"]]
        if kind == "bookTicker":
            expected = [exact(body["b"], tick), exact(body["B"], step), exact(body["a"], tick), exact(body["A"], step)]
            assert isinstance(event, Quote)
            assert [event.bid, event.bid_size, event.ask, event.ask_size] == expected
        elif kind == "depthUpdate":
            assert isinstance(event, BookDelta)
            assert (event.first_id, event.last_id, event.previous_id) == (body["U"], body["u"], body["pu"])
            for packed, rows in ((event.bids, body["b"]), (event.asks, body["a"])):
                assert list(unpack_levels(packed)) == [n for p, q in rows for n in (exact(p, tick), exact(q, step))]
        elif kind == "kline":
            told = body["k"]
            assert isinstance(event, Kline) and (event.bar.open_ms, event.closed) == (told["t"], told["x"])
            prices = [event.bar.open, event.bar.high, event.bar.low, event.bar.close]
            assert prices == [exact(told[name], tick) for name in "ohlc"] and event.bar.volume == exact(told["v"], step)
        else:
            side = Side.SELL if body["m"] else Side.BUY
            assert isinstance(event, Trade)
            assert (event.price, event.size, event.side) == (exact(body["p"], tick), exact(body["q"], step), side)
    assert counts["bookTicker"] > 1000 and counts["depthUpdate"] > 400 and counts["aggTrade"] == 53 and counts["kline"] > 20
    assert decoder.unknown_fields == set()


def test_recorded_mark_frames_of_several_years_are_decoded(wire: Path) -> None:
    decoder = Decoder()
    decoder.list(instrument("BTCUSDT", "0.1", "0.001"))
    frames = [body for _, body in recorded(wire, "tardis_messages.jsonl") if body.get("e") == "markPriceUpdate"]
    frames.append(json.loads((wire / "nautilus_market_data_mark_price_stream.json").read_text()))
    marks = [decoder.frame(json.dumps(frame).encode(), AT) for frame in frames]
    assert [mark.mark for mark in marks if isinstance(mark, Mark)] == [Decimal(frame["p"]) for frame in frames]
    assert len(marks) == 3


def test_the_recorded_order_of_book_frames_and_snapshot_decodes_to_a_snapshot_of_a_thousand_levels(wire: Path) -> None:
    grid = Grid.of(instrument("AKROUSDT", *RECORDED["AKROUSDT"]))
    bodies = [body for _, body in recorded(wire, "cf_book_chain_AKROUSDT.jsonl") if "lastUpdateId" in body]
    snapshot = decode.book_snapshot(json.dumps(bodies[0]).encode(), grid, AT)
    assert snapshot.last_id == bodies[0]["lastUpdateId"]
    assert list(unpack_levels(snapshot.bids))[:2] == [exact(bodies[0]["bids"][0][0], "0.00001"), int(bodies[0]["bids"][0][1])]
    assert len(unpack_levels(snapshot.asks)) == 2 * len(bodies[0]["asks"])


def test_the_recorded_exchange_info_lists_its_three_symbols(wire: Path) -> None:
    body = (wire / "cf_rest_exchangeInfo_3symbols.json").read_bytes()
    filters = {
        symbol["symbol"]: {entry["filterType"]: entry for entry in symbol["filters"]} for symbol in json.loads(body)["symbols"]
    }
    listed = {instrument.venue_symbol: instrument for instrument in decode.instruments(body, AT, False)[0]}
    assert len(listed) == 3 and listed.keys() == filters.keys()
    for symbol, found in listed.items():
        assert found.tick == Decimal(filters[symbol]["PRICE_FILTER"]["tickSize"])
        assert found.step == Decimal(filters[symbol]["LOT_SIZE"]["stepSize"])
        assert found.max_market_quantity * found.step == Decimal(filters[symbol]["MARKET_LOT_SIZE"]["maxQty"])
        assert found.min_notional == Decimal(filters[symbol]["MIN_NOTIONAL"]["notional"])
        assert not found.simulated
