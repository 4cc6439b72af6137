"""The book that its stream begins itself (OKX): its chain by equality, what a gap costs, and the checksums of a recording."""

import json
import zlib
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from engine.config import BookSettings
from engine.events import (
    BookDelta,
    BookSnapshot,
    Event,
    FetchSnapshot,
    Quote,
    Resubscribe,
    Side,
    Trust,
    TrustChanged,
    pack_levels,
)
from engine.signal.book import IN_BAND_LEVELS, Book, BookOutput

M = "okx:BTC/USDT:USDT"
MS = 1_000_000
S = 1_000 * MS
T0 = 1_700_000_000 * S
Levels = dict[int, int]


def packed(levels: Levels) -> bytes:
    return pack_levels(value for level in levels.items() for value in level)


def snapshot(at: int, last: int, bids: Levels, asks: Levels, in_band: bool = True) -> BookSnapshot:
    return BookSnapshot(at, M, last, packed(bids), packed(asks), at // MS, in_band)


def update(at: int, previous: int, last: int, bids: Levels | None = None, asks: Levels | None = None) -> BookDelta:
    return BookDelta(at, M, previous, last, previous, packed(bids or {}), packed(asks or {}), at // MS)


def begun(**options: object) -> Book:
    """At id 10: bid 99, ask 101, one second after the connection."""
    book = Book(M, BookSettings(**{"cross_check_s": 0.0, **options}), in_band=True)
    book.connected(T0)
    assert kinds(book.snapshot(snapshot(T0 + S, 10, {99: 5}, {101: 4}))) == [TrustChanged] and book.trusted
    return book


def kinds(outputs: list[BookOutput]) -> list[type]:
    return [type(output) for output in outputs]


def asked(outputs: list[BookOutput]) -> Resubscribe:
    (found,) = [output for output in outputs if isinstance(output, Resubscribe)]
    return found


# --- the chain -------------------------------------------------------------------------------------------------------


def test_the_documents_chain_with_keep_alive_and_reset_keeps_its_trust() -> None:
    book = begun()
    for second, (previous, last) in enumerate([(10, 15), (15, 15), (15, 3), (3, 5)], start=2):
        assert book.delta(update(T0 + second * S, previous, last, {98: second})) == []
    assert book.trusted and book.last_id == 5 and book.bids == {99: 5, 98: 5} and book.counters.gaps == 0


def test_a_gap_is_stale_at_once_and_asks_for_this_book_alone() -> None:
    book = begun()
    outputs = book.delta(update(T0 + 20 * S, 11, 12, {98: 1}))
    assert kinds(outputs) == [TrustChanged, Resubscribe] and book.trust is Trust.STALE and not book.bids
    wish = asked(outputs)
    assert (wish.venue, wish.route, wish.market, wish.delay_ms) == ("okx", "public", M, 0)


def test_until_the_new_snapshot_updates_are_ignored_and_counted() -> None:
    book = begun()
    book.delta(update(T0 + 20 * S, 11, 12))
    assert book.delta(update(T0 + 20 * S, 12, 13, {98: 1})) == [] and book.counters.ignored == 1
    assert kinds(book.snapshot(snapshot(T0 + 21 * S, 13, {98: 1}, {101: 1}))) == [TrustChanged]
    assert book.trusted and book.bids == {98: 1} and book.failures == 0


def test_a_snapshot_replaces_the_book_at_any_time_without_losing_trust() -> None:
    book = begun()
    assert book.snapshot(snapshot(T0 + 2 * S, 7, {90: 1}, {91: 2})) == []
    assert book.trusted and book.last_id == 7 and (book.best_bid, book.best_ask) == (90, 91)
    assert book.delta(update(T0 + 2 * S, 7, 8)) == []


def test_the_newest_update_once_more_is_a_duplicate_and_an_older_one_a_gap() -> None:
    book = begun()
    book.delta(update(T0 + 2 * S, 10, 15, {98: 1}))
    assert book.delta(update(T0 + 2 * S, 10, 15, {98: 1})) == [] and book.counters.duplicates == 1 and book.trusted
    assert book.delta(update(T0 + 2 * S, 9, 10))[0].trust is Trust.STALE  # type: ignore[union-attr]


def test_gaps_soon_after_each_other_are_asked_for_later_and_later_and_then_the_route_is_made_anew() -> None:
    book = begun(snapshot_floor_ms=100, resubscribe_after=3)
    at, delays, routes = T0 + 2 * S, [], []
    for n in range(6):
        wish = asked(book.delta(update(at, 777, 778)))
        (routes if not wish.market else delays).append(wish.delay_ms)
        at += 2 * S
        book.snapshot(snapshot(at, 10 + n, {99: 5}, {101: 4}))
    assert len(routes) == 2 and len(delays) == 4


def test_a_resubscription_that_brings_nothing_is_asked_for_again() -> None:
    book = begun()
    book.delta(update(T0 + 20 * S, 11, 12))
    assert book.tick(T0 + 25 * S) == []
    assert kinds(book.tick(T0 + 31 * S)) == [Resubscribe] and book.counters.snapshots_failed == 1


def test_a_connection_that_brings_no_snapshot_is_noticed() -> None:
    book = Book(M, in_band=True)
    book.connected(T0)
    assert book.tick(T0 + 5 * S) == [] and kinds(book.tick(T0 + 11 * S)) == [Resubscribe]


def test_a_crossed_snapshot_is_no_book() -> None:
    book = begun()
    outputs = book.snapshot(snapshot(T0 + 20 * S, 12, {105: 1}, {101: 1}))
    assert kinds(outputs) == [TrustChanged, Resubscribe] and book.counters.crossed == 1 and not book.trusted


def test_a_clock_that_jumped_costs_the_book_and_it_is_asked_for() -> None:
    book = begun()
    outputs = book.clock_jumped(T0 + 20 * S)
    assert kinds(outputs) == [TrustChanged, Resubscribe] and book.trust is Trust.STALE


def test_a_rest_picture_that_nobody_asked_for_is_ignored() -> None:
    book = begun()
    book.delta(update(T0 + 20 * S, 11, 12))
    assert book.snapshot(snapshot(T0 + 21 * S, 13, {98: 1}, {101: 1}, in_band=False)) == []
    assert book.counters.snapshots_ignored == 1 and not book.trusted


def test_the_same_stream_can_be_begun_from_a_rest_picture() -> None:
    """The second way of starting: updates are buffered and joined, as on Binance."""
    book = Book(M, BookSettings(cross_check_s=0.0))
    book.connected(T0)
    assert kinds(book.delta(update(T0 + S, 10, 15, {98: 1}))) == [FetchSnapshot]
    assert kinds(book.snapshot(snapshot(T0 + 2 * S, 12, {99: 5, 98: 9}, {101: 4}, in_band=False))) == [TrustChanged]
    assert book.trusted and book.bids == {99: 5, 98: 1} and book.delta(update(T0 + 2 * S, 15, 16)) == []


def test_only_what_the_stream_carries_is_known() -> None:
    deep = {price: 1 for price in range(1000, 1000 - IN_BAND_LEVELS, -1)}
    book = begun()
    book.snapshot(snapshot(T0 + 2 * S, 11, deep, {1001: 1}))
    assert book.known_bid == min(deep) and book.known(Side.BUY) == IN_BAND_LEVELS and book.known_ask == 0


# --- the ticker ------------------------------------------------------------------------------------------------------


def test_a_ticker_with_ids_is_compared_and_one_without_only_shows_that_the_venue_lives() -> None:
    book = begun()
    assert book.quote(Quote(T0 + 2 * S, M, 10, 99, 5, 101, 4, 0)) == [] and book.counters.agreements == 1
    assert book.quote(Quote(T0 + 3 * S, M, 0, 1, 1, 2, 2, 0)) == [] and book.updated_at == T0 + 3 * S and book.trusted
    assert kinds(book.quote(Quote(T0 + 20 * S, M, 10, 99, 6, 101, 4, 0))) == []  # known already: an older one
    book.delta(update(T0 + 20 * S, 10, 15, {99: 7}))
    assert kinds(book.quote(Quote(T0 + 20 * S, M, 15, 99, 5, 101, 4, 0))) == [TrustChanged, Resubscribe]


# --- a recording -----------------------------------------------------------------------------------------------------


def checksum(levels: tuple[list[list[str]], list[list[str]]]) -> int:
    """OKX's, until it was zeroed in 2026: the best 25 of each side in turn, as the venue wrote them, in a signed CRC32."""
    parts: list[str] = []
    for n in range(25):
        parts += [":".join(side[n]) for side in levels if n < len(side)]
    value = zlib.crc32(":".join(parts).encode())
    return value - (1 << 32) if value >= 1 << 31 else value


class Recorded:
    """One instrument's frames through a book; the texts of prices and sizes are kept, since the checksum is over them."""

    def __init__(self) -> None:
        self.book = Book(M, BookSettings(cross_check_s=0.0), in_band=True)
        self.book.connected(T0)
        self.texts: dict[tuple[str, int], list[str]] = {}
        self.id = self.agreed = 0

    def take(self, action: str, row: dict[str, object]) -> None:
        sides = {name: self._levels(name, row[name]) for name in ("bids", "asks")}
        before, self.id = self.id, self.id + 1
        if action == "snapshot":
            event: Event = snapshot(T0, self.id, sides["bids"], sides["asks"])
            assert isinstance(event, BookSnapshot) and kinds(self.book.snapshot(event)) == [TrustChanged]
        else:
            assert self.book.delta(update(T0, before, self.id, sides["bids"], sides["asks"])) == []
        best = (self._written("bids", Side.BUY), self._written("asks", Side.SELL))
        assert checksum(best) == row["checksum"] and self.book.trusted
        self.agreed += 1

    def _levels(self, name: str, rows: object) -> Levels:
        assert isinstance(rows, list)
        levels: Levels = {}
        for price, size, *_ in rows:
            ticks = int(Decimal(price) * 10**8)
            self.texts[name, ticks] = [price, size]
            levels[ticks] = int(Decimal(size) * 10**8)
        return levels

    def _written(self, name: str, side: Side) -> list[list[str]]:
        return [self.texts[name, price] for price, _ in self.book.top(side, 25)]


def recorded(path: Path) -> Iterator[tuple[str, str, dict[str, object]]]:
    for line in path.read_text().splitlines():
        body = line.partition(": ")[2]
        if '"books"' in body and '"data"' in body:
            frame = json.loads(body)
            yield frame["arg"]["instId"], frame["action"], frame["data"][0]


def test_all_checksums_of_a_recording_are_reproduced(shared_data: Path) -> None:
    books: dict[str, Recorded] = {}
    for name, action, row in recorded(shared_data / "market/cryptofeed/OKX.ws.1.0"):
        books.setdefault(name, Recorded()).take(action, row)
    assert sum(one.agreed for one in books.values()) == 290 and len(books) == 3


def test_a_made_checksum_is_reproduced_and_a_wrong_size_is_noticed() -> None:
    """The small twin: the venue's own example of the text is `3366.1:7:3366.8:9:3366:6:3368:8`."""
    one = Recorded()
    asks, bids = [["3366.8", "9", "0", "1"], ["3368", "8", "0", "1"]], [["3366.1", "7", "0", "1"], ["3366", "6", "0", "1"]]
    text = "3366.1:7:3366.8:9:3366:6:3368:8"
    value = zlib.crc32(text.encode())
    one.take("snapshot", {"asks": asks, "bids": bids, "checksum": value - (1 << 32) if value >= 1 << 31 else value})
    with pytest.raises(AssertionError):
        one.take("update", {"asks": [["3368", "7", "0", "1"]], "bids": [], "checksum": value})
