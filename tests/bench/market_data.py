"""Recorded frames through decoder, book, trust and features, beside ccxt.pro's own handlers on the same frames.

    python -m tests.bench.market_data [--rounds 5] [--smoke]

Ours and theirs take turns in one process, on the same bytes; the median of the rounds counts. ccxt.pro is given each frame as
its client gives it, decoded by the JSON library that it would use; its handlers keep a book, a ticker and trades, check
nothing but the sequence, and reckon no features. Facts: both books end equal in their best levels, and ours lost nothing.

Then an hour of venue time: the recording over and over, its ids and times moved on, and the bytes that one book holds.
"""

import argparse
import gc
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ccxt.pro as ccxtpro
import msgspec

from engine.config import BookSettings
from engine.events import BookDelta, BookSnapshot, Event, Quote, Side
from engine.signal.book import Book
from tests.bench.figures import Figure, machine, table, tell
from tests.bench.pipeline import NAME, decoder, new_core, whole
from tests.bench.recording import MARKET, SYMBOL, Frame, find, frames

HOUR_NS = 3_600_000_000_000
LOOKS_MIN = (10, 30, 60)
TOP = 20
SKIM = "reading the JSON alone"
try:
    import orjson

    loads: Callable[[bytes], Any] = orjson.loads
    JSON = "orjson"
except ImportError:
    loads, JSON = json.loads, "json"


LISTED = {
    **{"id": SYMBOL, "symbol": MARKET, "base": "BTC", "quote": "USDT", "settle": "USDT", "type": "swap"},
    **{"baseId": "BTC", "quoteId": "USDT", "settleId": "USDT", "contractSize": 1, "active": True},
    **{"spot": False, "swap": True, "future": False, "option": False, "contract": True, "linear": True, "inverse": False},
    "precision": {"price": 0.1, "amount": 0.001},
}


class Client:
    """As much of a websocket client as ccxt.pro's handlers use."""

    url = "wss://fstream.binance.com/public/ws/0"

    def __init__(self) -> None:
        self.subscriptions: dict[str, object] = {}
        self.resolved = 0

    def resolve(self, result: object, message_hash: str) -> object:
        self.resolved += 1
        return result


def theirs(recorded: list[Frame]) -> Any:
    """An exchange of ccxt.pro whose book has its snapshot, and every frame after that through its handlers."""
    exchange = ccxtpro.binanceusdm({"newUpdates": True})
    exchange.set_markets([exchange.safe_market_structure(LISTED)])
    client = Client()
    exchange.orderbooks[MARKET] = exchange.order_book({}, 1000)
    handle = exchange.handle_message
    for one in recorded:
        body = loads(one.raw)
        if one.kind != "snapshot":
            handle(client, body)
        else:
            _join(exchange, client, body)
    return exchange


def _join(exchange: Any, client: Client, body: dict[str, Any]) -> None:
    """What `fetch_order_book_snapshot` does once its REST answer has come."""
    book = exchange.orderbooks[MARKET]
    if exchange.safe_integer(book, "nonce") is not None:
        return
    snapshot = exchange.parse_order_book(body, MARKET, body.get("T"), "bids", "asks")
    snapshot["nonce"] = body["lastUpdateId"]
    book.reset(snapshot)
    waiting, book.cache = book.cache, []
    for delta in waiting:
        if delta["u"] >= body["lastUpdateId"]:
            exchange.handle_order_book_message(client, delta, book)


def ours_book(recorded: list[Frame]) -> Book:
    """Decoder and book with its trust checks, nothing else."""
    event, book = decoder(recorded[0].at), Book(NAME)
    book.connected(recorded[0].at)
    for one in recorded:
        found = event(one)
        if isinstance(found, Quote):
            book.quote(found)
        elif isinstance(found, BookDelta):
            book.delta(found)
        elif isinstance(found, BookSnapshot):
            book.snapshot(found)
    return book


class Nothing(msgspec.Struct):
    """No field of a frame."""


def skimmed(recorded: list[Frame]) -> None:
    """Every byte is read as JSON and nothing is kept: no decoder that reads all of a frame can be quicker by much."""
    decode = msgspec.json.Decoder(Nothing).decode
    for one in recorded:
        decode(one.raw)


def spent(work: Callable[[], object]) -> float:
    gc.collect()
    before = time.process_time()
    work()
    return time.process_time() - before


Stages = tuple[tuple[str, Callable[[], object]], ...]


def compare(name: str, recorded: list[Frame], rounds: int, ours: Stages, aim: float) -> None:
    seconds: dict[str, list[float]] = {}
    for _ in range(rounds):
        for label, work in (*ours, ("ccxt.pro", lambda: theirs(recorded)), (SKIM, lambda: skimmed(recorded))):
            seconds.setdefault(label, []).append(spent(work))
    base, least = (statistics.median(seconds[label]) for label in ("ccxt.pro", SKIM))
    rows = []
    for label, values in seconds.items():
        middle = statistics.median(values)
        rows.append((label, round(len(recorded) / middle), middle / len(recorded) * 1e6, base / middle))
        if label in dict(ours):
            ratios = {"beside": base / middle, "peer": "ccxt.pro", "bound": least / middle, "limit": SKIM}
            tell(Figure(f"{name}: {label}", rows[-1][1], "frames/CPU s", **ratios))
    print(f"\n{name}: {len(recorded)} frames, median of {rounds} rounds (aim: {aim:g} times ccxt.pro)")
    table(("", "frames/CPU s", "us/frame", "times ccxt.pro"), rows)


def facts(recorded: list[Frame]) -> None:
    """The same frames leave the same best levels in both books."""
    book, exchange = ours_book(recorded), theirs(recorded)
    their_book = exchange.orderbooks[MARKET]
    for side, name in ((Side.BUY, "bids"), (Side.SELL, "asks")):
        mine = [(round(price * 0.1, 1), round(size * 0.001, 3)) for price, size in book.top(side, TOP)]
        assert mine == [(round(price, 1), round(size, 3)) for price, size in their_book[name][:TOP]], name
    counters = book.counters
    assert book.trusted and (counters.gaps, counters.crossed, counters.mismatches) == (0, 0, 0)
    core = new_core(recorded[0].at)
    whole(recorded, core)
    assert core.state.counters.decode_failures == 0
    print(f"facts: the best {TOP} levels a side are equal in both; {counters.agreements} agreements of ours with the ticker")


# --- an hour ----------------------------------------------------------------------------------------------------------


def moved(events: list[Event], shift_ns: int, shift_id: int) -> list[Event]:
    """The same changes later, under later ids."""
    out: list[Event] = []
    for event in events:
        more = {"at": event.at + shift_ns}
        if isinstance(event, BookDelta):
            more |= {name: getattr(event, name) + shift_id for name in ("first_id", "last_id", "previous_id")}
        elif isinstance(event, Quote):
            more |= {"id": event.id + shift_id}
        out.append(msgspec.structs.replace(event, **more))
    return out


def hour(recorded: list[Frame]) -> None:
    """Each pass is joined to the one before it by one update that sets the book to where the recording begins."""
    event = decoder(recorded[0].at)
    events = [event(one) for one in recorded if one.kind != "trade"]
    snapshot = next(one for one in events if isinstance(one, BookSnapshot))
    deltas = [one for one in events if isinstance(one, BookDelta) and one.last_id >= snapshot.last_id]
    length_ns, span = recorded[-1].at - recorded[0].at, deltas[-1].last_id - deltas[0].previous_id + 1
    book, rows, passes, due = Book(NAME, BookSettings(cross_check_s=0.0)), [], 0, list(LOOKS_MIN)
    book.connected(events[0].at)
    deepest = 0
    while due:
        shift = passes * length_ns
        if passes == 0:
            for one in events:
                _feed(book, one)
        else:
            for one in moved(list(deltas), shift, passes * span):
                if isinstance(one, BookDelta) and one.previous_id != book.last_id:
                    one = msgspec.structs.replace(one, previous_id=book.last_id)
                book.quotes.clear()
                _feed(book, one)
                deepest = max(deepest, len(book.bids), len(book.asks))
                if not book.live:  # levels of the pass before may cross: begin it anew
                    book.connected(one.at)
                    later = msgspec.structs.replace(snapshot, at=one.at, last_id=one.last_id)
                    _feed(book, one)
                    book.snapshot(later)
        passes += 1
        while due and passes * length_ns >= due[0] * 60_000_000_000:
            rows.append((f"{due.pop(0)} min", len(book.bids) + len(book.asks), len(msgspec.msgpack.encode(book)), size_of(book)))
    print(f"\nan hour of venue time in {passes} passes, one book: at most {deepest} levels a side, {book.counters.pruned} pruned")
    table(("after", "levels", "encoded bytes", "bytes in memory"), rows)
    tell(Figure("one book's memory after an hour of venue time", rows[-1][3] / 1024, "KiB"))
    assert max(row[1] for row in rows) <= 4 * BookSettings().levels


def _feed(book: Book, event: Event) -> None:
    if isinstance(event, Quote):
        book.quote(event)
    elif isinstance(event, BookDelta):
        book.delta(event)
    elif isinstance(event, BookSnapshot):
        book.snapshot(event)


def size_of(thing: object, seen: set[int] | None = None) -> int:
    """Bytes of an object and of all that it holds."""
    seen = seen if seen is not None else set()
    if id(thing) in seen:
        return 0
    seen.add(id(thing))
    size = sys.getsizeof(thing)
    if isinstance(thing, dict):
        size += sum(size_of(key, seen) + size_of(value, seen) for key, value in thing.items())
    elif isinstance(thing, list | tuple):
        size += sum(size_of(one, seen) for one in thing)
    elif isinstance(thing, msgspec.Struct):
        size += sum(size_of(getattr(thing, name), seen) for name in thing.__struct_fields__)
    return size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, metavar="N", help="rounds of ours and theirs (default 5)")
    parser.add_argument("--smoke", action="store_true", help="one round over a tenth of the frames, to see that it runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        recording = find(Path(folder))
        recorded = frames(recording)
    if arguments.smoke:
        recorded, arguments.rounds = recorded[: len(recorded) // 10], 1
    print(f"market data: {recording.words}; ccxt {ccxtpro.__version__} with {JSON}. {machine()}")
    facts(recorded)
    full = (
        ("decode, book, trust and all of the core", lambda: whole(recorded, new_core(recorded[0].at))),
        ("decode, book, trust", lambda: ours_book(recorded)),
    )
    compare("the mixed stream", recorded, arguments.rounds, full, 10)
    depth = [one for one in recorded if one.kind in ("delta", "snapshot")]
    alone = (
        ("decode, book, trust, core", lambda: whole(depth, new_core(depth[0].at))),
        ("decode, book, trust", lambda: ours_book(depth)),
    )
    compare("depth alone", depth, arguments.rounds, alone, 3)
    hour(recorded)


if __name__ == "__main__":
    main()
