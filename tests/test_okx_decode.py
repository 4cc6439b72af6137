"""OKX's frames and REST bodies, as the venue writes them, become events in ticks and steps of base units, or one clear error."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DecodeError
from engine.events import (
    BookDelta,
    BookSnapshot,
    Event,
    Funding,
    Instrument,
    Kline,
    Liquidation,
    Mark,
    Quote,
    Side,
    Trade,
    unpack_levels,
)
from engine.signal.decoding import NAMES_KEPT, Control, Grid
from engine.signal.okx import decode
from engine.signal.okx.decode import Decoder

AT = 1_790_000_000_000_000_000
NAME, MARKET = "BTC-USDT-SWAP", "okx:BTC/USDT:USDT"
# A contract is 0.01 BTC and the least part of it 0.01: a step is 0.0001 BTC.
BTC = Instrument(
    AT, MARKET, NAME, "BTC", "USDT", Decimal("0.1"), Decimal("0.0001"), 1, 10**8, 10**6, Decimal(0), False, Decimal("0.01")
)
GRID = Grid.of(BTC)


@pytest.fixture
def decoder() -> Decoder:
    made = Decoder()
    made.list(BTC)
    return made


def raw(body: object) -> bytes:
    return msgspec.json.encode(body)


def push(channel: str, *rows: object, **more: object) -> bytes:
    return raw({"arg": {"channel": channel, "instId": NAME}, **more, "data": list(rows)})


def events(decoder: Decoder, body: bytes) -> list[Event]:
    heard = decoder.frame(body, AT)
    assert isinstance(heard, list)
    return heard


def problem(decoder: Decoder, body: bytes) -> str:
    with pytest.raises(DecodeError) as raised:
        decoder.frame(body, AT)
    return str(raised.value)


TRADE = {
    **{"instId": NAME, "tradeId": "130", "px": "63913.4", "sz": "34.95", "side": "sell", "ts": "17"},
    **{"count": "10", "source": "0"},
}
BOOK = {
    "asks": [["63913.5", "8.6", "0", "3"], ["63914", "0", "0", "0"]],
    "bids": [["63913.4", "12.34", "0", "1"]],
    "ts": "1600",
    "checksum": 0,
    "prevSeqId": 9,
    "seqId": 12,
}


def test_a_trade_is_in_steps_of_base_units_and_names_the_fills_that_it_holds(decoder: Decoder) -> None:
    assert events(decoder, push("trades", TRADE)) == [Trade(AT, MARKET, 130, 639134, 3495, Side.SELL, 17, 121)]


def test_every_row_of_a_push_is_an_event(decoder: Decoder) -> None:
    assert len(events(decoder, push("trades", TRADE, TRADE | {"tradeId": "131", "count": "1"}))) == 2


def test_an_update_is_chained_by_its_previous_id_and_a_snapshot_begins_a_chain(decoder: Decoder) -> None:
    (update,) = events(decoder, push("books", BOOK, action="update"))
    assert isinstance(update, BookDelta) and (update.previous_id, update.last_id, update.venue_ms) == (9, 12, 1600)
    assert list(unpack_levels(update.asks)) == [639135, 860, 639140, 0] and list(unpack_levels(update.bids)) == [639134, 1234]
    (snapshot,) = events(decoder, push("books", BOOK | {"prevSeqId": -1}, action="snapshot"))
    assert isinstance(snapshot, BookSnapshot) and snapshot.in_band and snapshot.last_id == 12


def test_a_keep_alive_is_an_empty_update(decoder: Decoder) -> None:
    (update,) = events(decoder, push("books", BOOK | {"asks": [], "bids": [], "prevSeqId": 12}, action="update"))
    assert isinstance(update, BookDelta) and not update.asks and not update.bids and update.previous_id == update.last_id == 12


def test_the_best_prices_carry_their_id_and_none_where_the_venue_gives_none(decoder: Decoder) -> None:
    best = {"asks": [["63913.5", "8.6", "0", "3"]], "bids": [["63913.4", "1", "0", "1"]], "ts": "5", "seqId": 77}
    assert events(decoder, push("bbo-tbt", best)) == [Quote(AT, MARKET, 77, 639134, 100, 639135, 860, 5)]
    del best["seqId"]
    assert events(decoder, push("bbo-tbt", best))[0].id == 0  # type: ignore[attr-defined]
    assert events(decoder, push("bbo-tbt", best | {"bids": []})) == []


def test_mark_funding_and_bars(decoder: Decoder) -> None:
    mark = {"instId": NAME, "instType": "SWAP", "markPx": "63913.45", "ts": "5"}
    assert events(decoder, push("mark-price", mark)) == [Mark(AT, MARKET, Decimal("63913.45"), Decimal(0), Decimal(0), 0, 5)]
    rate = {"instId": NAME, "fundingRate": "-0.0001", "fundingTime": "14400000", "nextFundingTime": "28800000", "ts": "9"}
    assert events(decoder, push("funding-rate", rate)) == [Funding(AT, MARKET, Decimal("-0.0001"), 14_400_000, 14_400_000, 9)]
    (kline,) = events(decoder, push("candle1m", ["60000", "63913.4", "63920", "63910", "63911.1", "4.5", "0.045", "2876", "1"]))
    assert isinstance(kline, Kline) and kline.closed and kline.market == MARKET
    assert (kline.bar.open_ms, kline.bar.open, kline.bar.high, kline.bar.volume) == (60_000, 639134, 639200, 450)


@pytest.mark.parametrize("left_out", ["fundingRate", "fundingTime"])
def test_funding_without_a_rate_or_a_time_says_nothing(decoder: Decoder, left_out: str) -> None:
    row = {"instId": NAME, "fundingRate": "0.0001", "fundingTime": "14400000"}
    del row[left_out]
    assert events(decoder, push("funding-rate", row)) == []


def test_liquidations_of_the_whole_type_are_filtered_by_instrument(decoder: Decoder) -> None:
    detail = {"side": "sell", "posSide": "net", "bkPx": "60000.1", "sz": "2", "bkLoss": "0", "ts": "7"}
    rows = [{"instId": name, "instType": "SWAP", "details": [detail]} for name in ("ETH-USDT-SWAP", NAME)]
    body = raw({"arg": {"channel": "liquidation-orders", "instType": "SWAP"}, "data": rows})
    assert events(decoder, body) == [Liquidation(AT, MARKET, Side.SELL, 600001, 200, 7)]


REFUSED = "the venue refused a request"
STREAM = {"channel": "books", "instId": NAME}
CONTROLS: dict[str, tuple[object, Control]] = {
    "ack": ({"event": "subscribe", "arg": STREAM, "connId": "x"}, Control("subscribe", f"books:{NAME}")),
    "off": ({"event": "unsubscribe", "arg": STREAM}, Control("unsubscribe", f"books:{NAME}")),
    "notice": ({"event": "notice", "code": "64008", "msg": "closing"}, Control("leaving", "", "closing (code 64008)")),
    "error": ({"event": "error", "code": "60018", "msg": "no"}, Control("error", "", f"{REFUSED}: no (code 60018)")),
}


@pytest.mark.parametrize("kind", CONTROLS)
def test_what_the_venue_says_of_the_connection_is_no_event(decoder: Decoder, kind: str) -> None:
    body, said = CONTROLS[kind]
    assert decoder.frame(raw(body), AT) == said
    assert decoder.frame(b"pong", AT) == Control("pong")


def test_an_instrument_that_nobody_listed_is_counted(decoder: Decoder) -> None:
    body = raw({"arg": {"channel": "trades", "instId": "ETH-USDT-SWAP"}, "data": [TRADE]})
    assert events(decoder, body) == [] and decoder.unknown_symbols == 1
    decoder.forget(BTC)
    assert events(decoder, push("trades", TRADE)) == [] and decoder.unknown_symbols == 2


WRONG: dict[str, tuple[bytes, str]] = {
    "channel": (push("tickers", {}), "a channel that was not asked for, 'tickers'"),
    "action": (push("books", BOOK, action="replace"), "a book's action is 'replace'"),
    "type": (push("books", BOOK | {"seqId": {}}, action="update"), "`$[0].seqId`"),
    "negative size": (push("books", BOOK | {"bids": [["1", "-1", "0", "1"]]}, action="update"), "negative price or size"),
    "price between ticks": (push("trades", TRADE | {"px": "63913.45"}), "not a multiple of 0.1"),
    "size between steps": (push("trades", TRADE | {"sz": "0.005"}), "not a multiple"),
    "side": (push("trades", TRADE | {"side": "both"}), "both"),
    "count": (push("trades", TRADE | {"count": "131"}), "131 fills"),
    "price of nothing": (push("trades", TRADE | {"px": "0"}), "a trade at 0"),
    "not a number": (push("mark-price", {"instId": NAME, "markPx": "NaN", "ts": "1"}), "NaN"),
    "funding": (push("funding-rate", {"instId": NAME, "fundingRate": "x", "fundingTime": "1"}), "OKX market data"),
    "neither": (b"{}", "neither an event nor data"),
    "event": (raw({"event": "party"}), "unknown kind, 'party'"),
    "no JSON": (b"<html>", "malformed"),
    "depth": (b"[" * 100_000, "OKX market data"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_read_is_an_error_that_says_what_and_quotes_little(decoder: Decoder, case: str) -> None:
    body, words = WRONG[case]
    said = problem(decoder, body)
    assert words in said and len(said) < 600


def test_new_fields_are_ignored_and_named_once_and_never_more_than_a_few(decoder: Decoder) -> None:
    body = push("trades", TRADE | {f"new{n}": n for n in range(500)})
    assert len(events(decoder, body)) == 1
    for _ in range(3):
        decoder.sample(body)
    assert "trades.new0" in decoder.unknown_fields and len(decoder.unknown_fields) == NAMES_KEPT


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_a_decode_error(body: bytes) -> None:
    tolerates(body)


FRAMES = (push("trades", TRADE), push("books", BOOK, action="update"), *(raw(body) for body, _ in CONTROLS.values()))


@given(st.sampled_from(FRAMES), st.data())
def test_frames_with_any_bytes_replaced_are_read_or_a_decode_error(body: bytes, data: st.DataObject) -> None:
    changed = bytearray(body)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    tolerates(bytes(changed))


def tolerates(body: bytes) -> None:
    decoder = Decoder()
    decoder.list(BTC)
    try:
        decoder.frame(body, AT)
    except DecodeError as error:
        assert len(str(error)) < 600
    decoder.sample(body)
    assert len(decoder.unknown_fields) <= NAMES_KEPT


# --- REST ------------------------------------------------------------------------------------------------------------

SPEC = {
    "instId": NAME, "ctType": "linear", "settleCcy": "USDT", "ctValCcy": "BTC", "state": "live", "ctVal": "0.01", "ctMult": "1",
    "tickSz": "0.1", "lotSz": "0.01", "minSz": "0.01", "maxLmtSz": "1000000", "maxMktSz": "10000",
}  # fmt: skip


def reply(*rows: object) -> bytes:
    return raw({"code": "0", "msg": "", "data": list(rows)})


def test_a_linear_swap_becomes_an_instrument_in_base_units() -> None:
    assert decode.instruments(reply(SPEC), AT, False) == ([BTC], [])


@pytest.mark.parametrize("changed", [{"ctType": "inverse"}, {"settleCcy": "USDC"}, {"state": "suspend"}, {"ctType": ""}])
def test_other_contracts_are_not_listed(changed: dict[str, str]) -> None:
    assert decode.instruments(reply(SPEC | changed), AT, False) == ([], [])


@pytest.mark.parametrize(
    "changed", [{"ctVal": ""}, {"ctValCcy": ""}, {"tickSz": "0"}, {"lotSz": "NaN"}, {"minSz": "-1"}, {"instId": 7}]
)
def test_an_instrument_that_cannot_be_read_is_named_and_fails_nobody_else(changed: dict[str, Any]) -> None:
    listed, (wrong,) = decode.instruments(reply(SPEC | changed, SPEC), AT, False)
    assert listed == [BTC] and "instId" in wrong


def test_book_trades_bars_and_time_are_read() -> None:
    book = decode.book_snapshot(reply({"asks": [["1.5", "2", "0", "1"]], "bids": [], "ts": "3", "seqId": 12}), GRID, AT)
    assert (book.last_id, book.in_band, list(unpack_levels(book.asks))) == (12, False, [15, 200])
    trades = decode.trade_history(reply(TRADE, TRADE | {"tradeId": "129", "side": "buy"}), GRID, AT)
    assert list(unpack_levels(trades.trades)) == [129, 639134, 3495, 1, 17, 130, 639134, 3495, -1, 17]
    rows = [[str(minute * 60_000), "1", "2", "0.5", "1.5", "3", "0.03", "1", "1"] for minute in (2, 1)]
    bars = decode.bar_history(reply(*rows), GRID, 60_000, AT).bars
    assert [bar.open_ms for bar in bars] == [60_000, 120_000] and bars[0].volume == 300
    assert decode.server_time(reply({"ts": "1597026383085"})) == 1597026383085
    assert decode.refusal(raw({"code": "51001", "msg": "Instrument ID does not exist.", "data": []}))[0] == 51001


READERS: dict[str, Callable[[bytes], object]] = {
    "instruments": lambda body: decode.instruments(body, AT, True),
    "books": lambda body: decode.book_snapshot(body, GRID, AT),
    "trades": lambda body: decode.trade_history(body, GRID, AT),
    "candles": lambda body: decode.bar_history(body, GRID, 60_000, AT),
    "time": decode.server_time,
}


@pytest.mark.parametrize("body", [b"", b"{", b"null", b"<html>busy</html>", b"\xff", b"[" * 100_000, b'{"code":"0","data":7}'])
@pytest.mark.parametrize("what", READERS)
def test_a_malformed_body_is_an_error_that_names_the_question(what: str, body: bytes) -> None:
    with pytest.raises(DecodeError, match=f"OKX {what}"):
        READERS[what](body)
    assert decode.refusal(body)[0] in (0, -1)


@pytest.mark.parametrize("what", ["books", "time"])
def test_an_answer_without_a_row_is_an_error(what: str) -> None:
    with pytest.raises(DecodeError):
        READERS[what](reply())
