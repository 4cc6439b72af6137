"""Whatever a stranger sends, writes or types: a value or the documented error; and the core goes on. See `tests.fuzz`."""

import contextlib
import gzip
import json
import sqlite3
import struct
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.backtest import files as bars
from engine.errors import CaptureError, DataError, SessionError
from engine.queue.packed import unpack
from engine.queue.relay import unpacked
from engine.queue.session import Session
from engine.venue.capture import scan
from tests.fuzz import files
from tests.fuzz.doors import DOORS, alone
from tests.fuzz.mutate import mutated, slots


@pytest.fixture(scope="module", autouse=True)
def place() -> Iterator[Path]:
    with alone() as folder:
        yield folder


@pytest.mark.parametrize("name", DOORS)
def test_what_is_real_comes_in(name: str) -> None:
    door = DOORS[name]()
    assert door.seeds
    for seed in door.seeds:
        door.enter(seed)


@pytest.mark.parametrize("name", DOORS)
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_what_a_stranger_changed_is_read_or_refused(name: str, data: st.DataObject) -> None:
    door = DOORS[name]()
    door.enter(mutated(door.seeds, door.form, lambda sides: data.draw(st.integers(0, sides - 1))))


# --- what was found ----------------------------------------------------------------------------------------------------
# Each held up or halted a trading engine, or was an error that nobody could read.


def enter(name: str, raw: bytes) -> None:
    DOORS[name]().enter(raw)


def changed(name: str, place: int, **fields: object) -> bytes:
    """A seed with other values of these fields, wherever they stand in it."""
    tree = json.loads(DOORS[name]().seeds[place])
    for holder, key in slots(tree):
        if key in fields:
            holder[key] = fields[key]
    return json.dumps(tree).encode()


@pytest.mark.parametrize("figure", ["1e999990", "-1e999990", "1e-999990", "0e999999999", "9" * 5_000, "1e30"])
def test_a_figure_that_takes_minutes_to_write_out_does_not_stop_the_engine(figure: str) -> None:
    enter("binance-account", changed("binance-account", 0, q=figure))
    enter("binance-account-rest", changed("binance-account-rest", 0, callbackRate=figure, origQty=figure, walletBalance=figure))
    enter("okx-account", changed("okx-account", 0, sz=figure, fillPx=figure, uTime=figure))
    enter("okx-account-rest", changed("okx-account-rest", 0, callbackRatio=figure, cashBal=figure, lever=figure))
    enter("binance-rest", changed("binance-rest", 0, maxQty=figure))
    for place in range(4):
        enter("paper-feed", changed("paper-feed", place, b=figure, p=figure, q=figure, r=figure))
    enter("okx-rest", changed("okx-rest", 0, maxMktSz=figure))


@pytest.mark.parametrize("number", [2**63 - 1, 2**63, 2**64, -(2**63) - 1])
def test_a_number_beyond_64_bits_does_not_end_the_recording(number: int) -> None:
    for name, fields in {
        "binance-market": ("E", "T", "u"),
        "binance-account": ("E", "T", "t", "i"),
        "okx-market": ("ts", "fundingTime", "nextFundingTime"),
    }.items():
        for place in range(len(DOORS[name]().seeds) - 1):  # the last one of OKX is no JSON
            for field in fields:
                enter(name, changed(name, place, **{field: number}))
                enter(name, changed(name, place, **{field: str(number)}))


def test_half_a_surrogate_pair_in_a_reply_is_an_unreadable_reply() -> None:
    enter("binance-account-rest", changed("binance-account-rest", 0, symbol="\ud800", asset="\ud800", clientOrderId="\ud800"))
    enter("okx-account-rest", changed("okx-account-rest", 0, clOrdId="\ud800", ordId="\ud800"))


@pytest.mark.parametrize("text", ["Wed, 21 Oct 2026 07:2" + "8" * 20, "Wed, 21 Oct 99999 07:28:00 GMT"])
def test_a_date_to_wait_for_that_is_none_is_a_short_pause(text: str) -> None:
    enter("venue-headers", json.dumps([429, {"Retry-After": text}, ""]).encode())


@pytest.mark.parametrize(
    "words", ['{"code":' + "9" * 5_000 + "}", "okx POST https://x \u00b2\u00b2\u00b2 Bad", '{"sCode":"\u0661"}']
)
def test_an_error_with_an_endless_or_a_strange_number_is_an_error(words: str) -> None:
    enter("venue-headers", json.dumps([200, {}, words]).encode())


def test_a_record_that_says_that_it_becomes_terabytes_is_refused() -> None:
    """Four bytes of a frame's head say how much room is made for it."""
    bomb = bytes.fromhex("28b52ffd") + b"\xe0" + struct.pack("<Q", 1 << 42) + b"\x01\x00\x00"
    with pytest.raises(zstandard.ZstdError, match="larger than"):
        unpack(bomb, 1 << 20)
    with pytest.raises(ValueError, match="no record of views"):
        unpacked(msgspec.msgpack.encode([7, "s", "r", 0, 1, 0, bomb]))


def test_news_that_are_none_are_no_record_of_views_and_the_console_goes_on() -> None:
    around, inner = msgspec.msgpack.decode(DOORS["far-views"]().seeds[1])
    packed = zstandard.ZstdCompressor().compress(msgspec.msgpack.encode([inner[0], ["no news"], [], ""]))
    with pytest.raises(ValueError, match="no record of views"):
        unpacked(msgspec.msgpack.encode([*around, packed]))


def test_a_value_of_another_kind_in_a_sessions_file_is_damage(place: Path) -> None:
    for change in (
        "UPDATE chunks SET inputs = 'many' WHERE number = 0",
        "UPDATE chunks SET body = 'text' WHERE number = 0",
        "UPDATE chunks SET raw_bytes = -1 WHERE number = 0",
        "UPDATE ends SET digest = 7 WHERE name = 'opening'",
        "DELETE FROM ends WHERE name = 'opening'",
        "ALTER TABLE chunks RENAME COLUMN kinds TO sorts",
    ):
        path = files.put("altered.barter", DOORS["session-file"]().seeds[0])
        with contextlib.closing(sqlite3.connect(path)) as store, store:
            store.execute("PRAGMA journal_mode = DELETE")
            store.execute(change)
        with pytest.raises(SessionError), Session(path) as session:
            session.verify()


def test_a_recorded_output_that_is_none_is_a_difference_and_no_crash() -> None:
    inputs, outputs, counts = msgspec.msgpack.decode(DOORS["session-records"]().seeds[0])
    enter("session-records", msgspec.msgpack.encode([inputs, ["no output"] * len(outputs), counts]))


def test_a_row_of_a_bars_file_that_is_no_text_is_named_and_not_left_out(place: Path) -> None:
    path = files.put("bars.csv", DOORS["bars-file"]().seeds[1] + b"\n1704067560000,\xff\xfe")
    with pytest.raises(DataError, match="line 8: it holds what is no text"):
        bars.read(path)


def test_a_captures_line_with_an_endless_time_is_named(place: Path) -> None:
    with pytest.raises(CaptureError, match="line 1"):
        scan(str(files.put("capture", b"9" * 5_000 + b" {}\n")))


def test_a_captures_frame_that_nests_without_end_is_named(place: Path) -> None:
    nested = b"[" * 100_000
    for line in (
        b'1 {"stream":"x@depth","data":{"e":' + nested + b"}}",
        b"1 " + nested,
        b'1 {"lastUpdateId":1,"bids":' + nested + b"}",
    ):
        with pytest.raises(CaptureError, match="line 1"):
            scan(str(files.put("capture", line + b"\n")))


def test_a_captures_line_without_end_is_not_read_to_its_end(place: Path) -> None:
    bomb = gzip.compress(bytes(64 << 20))
    with pytest.raises(CaptureError, match="line 1: expected lines of at most 8 MiB"):
        scan(str(files.put("capture.gz", bomb)))


def test_an_account_whose_pages_do_not_end_is_weather_and_not_read_for_ever() -> None:
    tree = json.loads(DOORS["okx-account-rest"]().seeds[0])
    for answer in tree.values():
        answer["data"] *= 100
    enter("okx-account-rest", json.dumps(tree).encode())


def test_a_model_server_that_nests_without_end_is_malformed() -> None:
    enter("model-server", b"[" * 100_000)
