"""The local book against a reference book, against recordings, and what the trader is told."""

import gzip
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import BookSettings
from engine.events import (
    BookDelta,
    BookSnapshot,
    FetchSnapshot,
    Quote,
    Resubscribe,
    Side,
    Trust,
    TrustChanged,
    pack_levels,
)
from engine.signal import book as module
from engine.signal.book import Book

M = "binance:ASTER/USDT:USDT"
MS = 1_000_000
S = 1_000 * MS
T0 = 1_700_000_000 * S
Levels = dict[int, int]


def packed(levels: Levels) -> bytes:
    return pack_levels(value for level in levels.items() for value in level)


def delta(at: int, previous: int, last: int, bids: Levels | None = None, asks: Levels | None = None) -> BookDelta:
    return BookDelta(at, M, previous + 1, last, previous, packed(bids or {}), packed(asks or {}), at // MS)


def picture(at: int, last: int, bids: Levels, asks: Levels) -> BookSnapshot:
    return BookSnapshot(at, M, last, packed(bids), packed(asks), at // MS)


def quote(at: int, id: int, bid: int, bid_size: int, ask: int, ask_size: int) -> Quote:
    return Quote(at, M, id, bid, bid_size, ask, ask_size, at // MS)


def syncing(**options: Any) -> Book:
    book = Book(M, BookSettings(**options))
    book.connected(T0)
    return book


def trusted(**options: Any) -> Book:
    """A book at id 20: bids 99 and 98, asks 101 and 102, synchronised at T0 + 2 s."""
    book = syncing(**options)
    book.delta(delta(T0 + S, 5, 10))
    book.snapshot(picture(T0 + 2 * S, 10, {99: 5, 98: 7}, {101: 4, 102: 6}))
    book.delta(delta(T0 + 2 * S, 10, 20))
    assert book.trust is Trust.TRUSTED
    return book


def kinds(outputs: list[Any]) -> list[type]:
    return [type(output) for output in outputs]


# --- becoming trusted ------------------------------------------------------------------------------------------------


def test_connecting_is_syncing_and_the_first_update_asks_for_a_snapshot_once() -> None:
    book = Book(M)
    assert book.trust is Trust.OFF
    (changed,) = book.connected(T0)
    assert isinstance(changed, TrustChanged) and changed.trust is Trust.SYNCING
    assert book.delta(delta(T0, 1, 2)) == [FetchSnapshot(T0, M, 0)]
    assert book.delta(delta(T0, 2, 3)) == []


@pytest.mark.parametrize(("previous", "snapshot_id", "last"), [(5, 8, 10), (8, 8, 10), (5, 10, 10)])
def test_a_snapshot_inside_or_at_the_edge_of_an_update_is_joined(previous: int, snapshot_id: int, last: int) -> None:
    book = syncing()
    book.delta(delta(T0, 1, previous, {50: 1}))
    book.delta(delta(T0, previous, last, {99: 3}))
    (changed,) = book.snapshot(picture(T0 + S, snapshot_id, {99: 1}, {101: 1}))
    assert isinstance(changed, TrustChanged) and changed.trust is Trust.TRUSTED
    assert (book.last_id, book.bids) == (last, {99: 3, 50: 1} if snapshot_id == previous else {99: 3})


def test_a_snapshot_newer_than_every_update_waits_for_the_next_one() -> None:
    book = syncing()
    book.delta(delta(T0, 1, 5))
    assert book.snapshot(picture(T0 + S, 8, {99: 1}, {101: 1})) == []
    assert book.trust is Trust.SYNCING
    assert kinds(book.delta(delta(T0 + S, 8, 12, {99: 2}))) == [TrustChanged]
    assert (book.trust, book.bids, book.last_id) == (Trust.TRUSTED, {99: 2}, 12)


def test_a_snapshot_older_than_the_updates_is_fetched_again_later_each_time() -> None:
    book = syncing(snapshot_floor_ms=1000, resubscribe_after=10)
    book.delta(delta(T0, 50, 60))
    delays, at = [], T0
    for _ in range(4):
        (again,) = book.snapshot(picture(at, 40, {99: 1}, {101: 1}))
        assert isinstance(again, FetchSnapshot)
        delays.append(again.delay_ms)
        at += again.delay_ms * MS
    assert delays == [2000, 4000, 8000, 16000]
    assert book.trust is Trust.SYNCING


def test_three_failed_syncs_reconnect_the_feed() -> None:
    book = syncing(snapshot_floor_ms=0)
    book.delta(delta(T0, 50, 60))
    outputs = [output for i in range(1, 4) for output in book.snapshot(picture(T0 + i * 10 * S, 40, {1: 1}, {2: 1}))]
    assert kinds(outputs) == [FetchSnapshot, FetchSnapshot, Resubscribe]
    assert isinstance(outputs[2], Resubscribe) and (outputs[2].venue, outputs[2].route) == ("binance", "public")


def test_a_refused_or_unanswered_snapshot_request_is_made_again() -> None:
    book = syncing()
    book.delta(delta(T0, 1, 2))
    assert kinds(book.snapshot_failed(T0 + S, "HTTP 418")) == [FetchSnapshot]
    assert book.tick(T0 + 5 * S) == []
    assert kinds(book.tick(book.snapshot_due + 11 * S)) == [FetchSnapshot]
    assert book.counters.snapshots_failed == 2


def test_a_hole_while_syncing_is_not_bridged_by_the_snapshot() -> None:
    book = syncing()
    book.delta(delta(T0, 1, 2))
    book.delta(delta(T0, 7, 9))
    book.snapshot(picture(T0 + S, 2, {99: 1}, {101: 1}))
    assert book.trust is Trust.SYNCING
    book.snapshot(picture(T0 + 9 * S, 8, {99: 1}, {101: 1}))
    assert (book.trust, book.last_id, book.counters.gaps) == (Trust.TRUSTED, 9, 1)


def test_endless_syncing_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BUFFER_LIMIT", 20)
    book = syncing()
    outputs = [output for i in range(1, 23) for output in book.delta(delta(T0, i, i + 1))]
    assert len(book.buffer) <= 20 and book.counters.buffer_dropped == 20
    assert kinds(outputs) == [FetchSnapshot, FetchSnapshot]


# --- losing trust ----------------------------------------------------------------------------------------------------


def test_a_gap_makes_the_book_stale_at_once_and_empties_it() -> None:
    book = trusted()
    changed, fetch = book.delta(delta(T0 + 3 * S, 25, 30))
    assert isinstance(changed, TrustChanged) and changed.trust is Trust.STALE and "missing" in changed.reason
    assert isinstance(fetch, FetchSnapshot)
    assert (book.best_bid, book.best_ask, book.top(Side.BUY, 5), book.counters.gaps) == (0, 0, [], 1)
    (back,) = book.snapshot(picture(T0 + 5 * S, 28, {97: 1}, {98: 1}))
    assert isinstance(back, TrustChanged) and back.trust is Trust.TRUSTED


def test_snapshots_keep_their_distance_over_gaps() -> None:
    book = trusted(snapshot_floor_ms=1000)  # first asked for at T0 + 1 s
    at = T0 + 20 * S
    due = []
    for i in range(3):
        outputs = book.delta(delta(at, 25 + 10 * i, 30 + 10 * i))
        due += [at + output.delay_ms * MS for output in outputs if isinstance(output, FetchSnapshot)]
        at = book.snapshot_due
        book.snapshot(picture(at, 30 + 10 * i, {97: 1}, {98: 1}))
    assert len(due) >= 2 and all(later - earlier >= 1000 * MS for earlier, later in pairwise(due))


def test_a_book_that_never_holds_reconnects_in_the_end() -> None:
    book = trusted()
    seen: list[type] = []
    at, id = T0 + 3 * S, 20
    for _ in range(3):
        seen += kinds(book.delta(delta(at, id + 5, id + 9)))
        at = book.snapshot_due
        book.snapshot(picture(at, id + 9, {97: 1}, {98: 1}))
        id, at = id + 9, at + S
    assert Resubscribe in seen


def test_a_duplicate_changes_nothing() -> None:
    book = trusted()
    before = msgspec.msgpack.encode((book.bids, book.asks, book.last_id, book.updated_at))
    assert book.delta(delta(T0 + 3 * S, 5, 10, {99: 1000})) == []
    assert msgspec.msgpack.encode((book.bids, book.asks, book.last_id, book.updated_at)) == before
    assert book.counters.duplicates == 1


def test_a_crossed_book_is_stale() -> None:
    book = trusted()
    outputs = book.delta(delta(T0 + 3 * S, 20, 21, {101: 1}))
    assert kinds(outputs) == [TrustChanged, FetchSnapshot]
    assert (book.trust, book.counters.crossed, book.best_bid) == (Trust.STALE, 1, 0)


def test_a_disconnected_book_is_off_and_serves_nothing() -> None:
    book = trusted()
    (changed,) = book.disconnected(T0 + 3 * S, "closed by the venue")
    assert isinstance(changed, TrustChanged) and changed.trust is Trust.OFF and "closed by the venue" in changed.reason
    assert (book.best_bid, book.best_quote) == (0, None)
    assert book.disconnected(T0 + 4 * S, "again") == []
    assert book.delta(delta(T0 + 4 * S, 20, 21)) == [] and book.counters.while_off == 1
    assert book.snapshot(picture(T0 + 4 * S, 21, {99: 1}, {101: 1})) == [] and book.trust is Trust.OFF


def test_reconnecting_without_a_disconnect_forgets_the_old_book() -> None:
    book = trusted()
    assert kinds(book.connected(T0 + 3 * S)) == [TrustChanged]
    assert (book.trust, book.bids) == (Trust.SYNCING, {})


def test_a_silent_book_is_stale_and_says_for_how_long_and_comes_back_with_the_next_update() -> None:
    book = trusted(stale_after_ms=3000)
    assert book.tick(T0 + 5 * S) == []
    (changed,) = book.tick(T0 + 5 * S + 100 * MS)
    assert isinstance(changed, TrustChanged) and changed.trust is Trust.STALE and "3.1 s" in changed.reason
    assert book.tick(T0 + 6 * S) == []
    assert book.best_bid == 99  # shown in grey
    (back,) = book.delta(delta(T0 + 7 * S, 20, 22, {99: 6}))
    assert isinstance(back, TrustChanged) and back.trust is Trust.TRUSTED and book.best_bid_size == 6


def test_a_silent_book_that_missed_an_update_does_not_come_back() -> None:
    book = trusted()
    book.tick(T0 + 20 * S)
    book.delta(delta(T0 + 21 * S, 25, 30))
    assert (book.trust, book.live) == (Trust.STALE, False)


def test_a_moving_ticker_does_not_hide_a_dead_depth_stream() -> None:
    book = trusted(stale_after_ms=3000)
    for i in range(1, 40):
        book.quote(quote(T0 + 2 * S + i * 100 * MS, 20 + i, 99, 5 + i, 101, 4))
        book.tick(T0 + 2 * S + i * 100 * MS)
    assert book.trust is Trust.STALE and "behind" in book.reason


# --- the venue's ticker ----------------------------------------------------------------------------------------------


def test_the_ticker_agrees_at_equal_ids_whichever_comes_first() -> None:
    book = trusted()
    assert book.quote(quote(T0 + 2 * S, 20, 99, 5, 101, 4)) == []
    assert book.quote(quote(T0 + 2 * S, 25, 99, 8, 101, 4)) == []
    assert book.delta(delta(T0 + 2 * S, 20, 25, {99: 8})) == []
    assert (book.counters.agreements, book.counters.mismatches, book.quotes) == (2, 0, [])


@pytest.mark.parametrize("wrong", [(98, 5, 101, 4), (99, 6, 101, 4), (99, 5, 102, 4), (99, 5, 101, 5)])
@pytest.mark.parametrize("quote_first", [True, False])
def test_another_price_or_size_at_an_equal_id_is_stale(wrong: tuple[int, int, int, int], quote_first: bool) -> None:
    book = trusted()
    events = [lambda: book.delta(delta(T0 + 3 * S, 20, 25)), lambda: book.quote(quote(T0 + 3 * S, 25, *wrong))]
    outputs = [output for event in (reversed(events) if quote_first else events) for output in event()]
    assert [output.trust for output in outputs if isinstance(output, TrustChanged)] == [Trust.STALE]
    assert book.counters.mismatches == 1
    outputs = book.delta(delta(T0 + 4 * S, 25, 30))
    assert book.awaiting


def test_quotes_that_come_late_or_between_updates_are_not_compared() -> None:
    book = trusted()
    for id in (15, 23):
        book.quote(quote(T0 + 3 * S, id, 1, 1, 2, 1))
    book.delta(delta(T0 + 3 * S, 20, 25))
    assert (book.trust, book.counters.agreements, book.counters.mismatches) == (Trust.TRUSTED, 0, 0)


def test_quotes_without_depth_are_bounded() -> None:
    book = syncing()
    for i in range(3 * module.QUOTE_LIMIT):
        book.quote(quote(T0 + i, i + 1, 1, 1, 2, 1))
    assert len(book.quotes) <= module.QUOTE_LIMIT and book.quotes[0].id == 1
    assert len(book.quotes) + book.counters.quotes_dropped == 3 * module.QUOTE_LIMIT


# --- reads and bounds ------------------------------------------------------------------------------------------------


def test_the_best_levels_come_best_first() -> None:
    book = trusted()
    assert (book.best_bid, book.best_bid_size, book.best_ask, book.best_ask_size) == (99, 5, 101, 4)
    assert book.top(Side.BUY, 5) == [(99, 5), (98, 7)] and book.top(Side.SELL, 1) == [(101, 4)]


def test_far_levels_are_pruned_and_the_complete_part_is_known() -> None:
    book = trusted(levels=50)
    bids = {price: 1 for price in range(-20, 99)}
    assert book.delta(delta(T0 + 3 * S, 20, 21, bids, {200 + i: 1 for i in range(99)})) == []
    assert (len(book.bids), len(book.asks), book.counters.pruned) == (50, 50, 70 + 51)
    assert sorted(book.bids) == book.bid_prices and sorted(book.asks) == book.ask_prices
    assert (book.best_bid, book.known(Side.BUY), book.known(Side.SELL)) == (99, 50, 50)
    book.delta(delta(T0 + 3 * S, 21, 22, {1: 1}))
    assert (len(book.bids), book.known(Side.BUY)) == (51, 50)


def test_a_decoded_book_goes_on_where_the_encoded_one_stopped() -> None:
    book = trusted()
    book.quote(quote(T0 + 2 * S, 25, 99, 8, 101, 4))
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(book), type=Book)
    assert again == book
    event = delta(T0 + 3 * S, 20, 25, {99: 8})
    assert again.delta(event) == book.delta(event) and again == book and again.counters.agreements == 1


# --- against a reference ---------------------------------------------------------------------------------------------


class Reference:
    """A venue's true book, its updates in small groups, and its state at every id."""

    def __init__(self) -> None:
        self.id = 100
        self.bids, self.asks = {40: 1}, {60: 1}
        self.states = {self.id: (dict(self.bids), dict(self.asks))}

    def change(self, at: int, changes: list[tuple[int, int]], jump: int) -> BookDelta:
        previous, first = self.id, self.id + jump
        bids: Levels = {}
        asks: Levels = {}
        for price, size in changes:
            self.id += jump
            side, changed = (self.bids, bids) if price < 50 else (self.asks, asks)
            changed[price] = size
            side[price] = size
            if not size:
                del side[price]
            self.states[self.id] = (dict(self.bids), dict(self.asks))
        return BookDelta(at, M, first, self.id, previous, packed(bids), packed(asks), at // MS)

    def picture(self, at: int, age: int) -> BookSnapshot:
        id = sorted(self.states)[max(0, len(self.states) - 1 - age)]
        return picture(at, id, *self.states[id])

    def quote(self, at: int) -> Quote:
        bid, ask = max(self.bids, default=0), min(self.asks, default=0)
        return quote(at, self.id, bid, self.bids.get(bid, 0), ask, self.asks.get(ask, 0))


CHANGES = st.lists(st.tuples(st.integers(30, 70), st.integers(0, 3)), min_size=1, max_size=4)
STEP = st.one_of(
    st.tuples(st.sampled_from(["deliver"] * 6 + ["drop", "twice"]), CHANGES),
    st.tuples(st.sampled_from(["deliver"]), CHANGES),
    st.tuples(st.just("snapshot"), st.integers(0, 4)),
    st.tuples(st.sampled_from(["quote", "quote", "reconnect", "silence", "old"]), st.none()),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(STEP, min_size=10, max_size=60), st.integers(1, 5))
def test_a_trusted_book_always_equals_the_reference_book_at_its_id(steps: list[tuple[str, Any]], jump: int) -> None:
    reference, book, at = Reference(), Book(M, BookSettings(snapshot_floor_ms=0)), T0
    book.connected(at)
    sent: list[BookDelta] = []
    trust = book.trust
    for what, argument in [("deliver", [(45, 1)]), ("snapshot", 0), ("deliver", [(55, 1)]), *steps]:
        at += 100 * MS
        outputs: list[Any] = []
        match what:
            case "deliver" | "drop" | "twice":
                event = reference.change(at, [(p, s) for p, s in argument if s or p in (reference.bids | reference.asks)], jump)
                if event.last_id > event.previous_id:
                    sent.append(event)
                    for _ in range({"deliver": 1, "drop": 0, "twice": 2}[what]):
                        outputs += book.delta(event)
            case "snapshot":
                outputs += book.snapshot(reference.picture(at, argument))
            case "quote":
                outputs += book.quote(reference.quote(at))
            case "old" if sent:
                outputs += book.delta(sent[len(sent) // 2])
            case "silence":
                at += 5 * S
                outputs += book.tick(at)
            case "reconnect":
                outputs += book.disconnected(at, "test") + book.connected(at)
        changes = [output.trust for output in outputs if isinstance(output, TrustChanged)]
        assert (changes or [trust])[-1] is book.trust, "told of every change"
        assert all(a is not b for a, b in zip([trust, *changes], changes, strict=False)), "and of each once"
        trust = book.trust
        assert book.bid_prices == sorted(book.bids) and book.ask_prices == sorted(book.asks)
        if book.trust is Trust.TRUSTED:
            assert (book.bids, book.asks) == reference.states[book.last_id]
    assert book.counters.mismatches == book.counters.crossed == 0


# --- recordings ------------------------------------------------------------------------------------------------------


MarketEvent = BookDelta | BookSnapshot | Quote


def market_events(lines: Iterator[tuple[int, dict[str, Any]]], tick: float, step: float) -> Iterator[MarketEvent]:
    def flat(levels: list[list[str]]) -> bytes:
        return pack_levels(value for p, q in levels for value in (round(float(p) / tick), round(float(q) / step)))

    for at, body in lines:
        if "lastUpdateId" in body:
            yield BookSnapshot(at, M, body["lastUpdateId"], flat(body["bids"]), flat(body["asks"]), body["T"])
        elif body["e"] == "depthUpdate":
            yield BookDelta(at, M, body["U"], body["u"], body["pu"], flat(body["b"]), flat(body["a"]), body["T"])
        elif body["e"] == "bookTicker":
            bid, ask = round(float(body["b"]) / tick), round(float(body["a"]) / tick)
            yield Quote(at, M, body["u"], bid, round(float(body["B"]) / step), ask, round(float(body["A"]) / step), body["T"])


def chain(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    for line in path.read_text().splitlines():
        row = json.loads(line)
        yield int(row["recv"] * 1e9), row["snapshot"] if "snapshot" in row else row["msg"]["data"]


def hft(lines: Iterator[bytes]) -> Iterator[tuple[int, dict[str, Any]]]:
    for line in lines:
        at, _, text = line.partition(b" ")
        if b'@trade"' not in text:
            body = msgspec.json.decode(text)
            yield int(at), body.get("data", body)


def play(book: Book, events: Iterator[MarketEvent]) -> list[Any]:
    outputs: list[Any] = []
    for event in events:
        match event:
            case BookDelta():
                outputs += book.delta(event)
            case BookSnapshot():
                outputs += book.snapshot(event)
            case _:
                outputs += book.quote(event)
        outputs += book.tick(event.at)
    return outputs


@pytest.mark.parametrize(("symbol", "tick"), [("SUSHIUSDT", 0.001), ("AKROUSDT", 0.00001), ("KEEPUSDT", 0.0001)])
def test_recorded_quiet_markets_synchronise_and_never_show_a_gap(shared_data: Path, symbol: str, tick: float) -> None:
    book = syncing(stale_after_ms=60_000)
    outputs = play(book, market_events(chain(shared_data / "wire" / "binance" / f"cf_book_chain_{symbol}.jsonl"), tick, 1.0))
    assert kinds(outputs) == [FetchSnapshot, TrustChanged]
    assert (book.trust, book.counters.gaps, book.counters.crossed, book.counters.mismatches) == (Trust.TRUSTED, 0, 0, 0)
    assert book.counters.agreements > 0


def test_six_minutes_of_recorded_btc_have_no_gap_and_agree_with_the_ticker_at_every_equal_id(shared_data: Path) -> None:
    book = syncing(cross_check_s=0)
    with gzip.open(shared_data / "market" / "hftbacktest" / "usdm_btcusdt_20240808.gz") as lines:
        outputs = play(book, market_events(hft(iter(lines)), 0.1, 0.001))
    counters = book.counters
    assert kinds(outputs) == [FetchSnapshot, TrustChanged] and book.trust is Trust.TRUSTED
    assert (counters.deltas, counters.gaps, counters.crossed, counters.duplicates) == (6551, 0, 0, 0)
    # 447 where the ticker had just come, 126 where it came next, 56 where it had run further ahead (counted from the ids alone).
    assert (counters.agreements, counters.mismatches) == (629, 0)
    assert max(len(book.bids), len(book.asks)) <= 2000 and counters.pruned > 0
