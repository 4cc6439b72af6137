"""A market's depth updates, snapshots and quotes come in; a local book, and whether it may be traded on, go out.

Updates are chained by `previous_id` and sizes are absolute. A chain begins in one of two ways. On Binance a REST snapshot `L` is
joined to the first update with `previous_id <= L <= last_id`. On OKX (`in_band`) the stream's own snapshot begins it, at any
time, and only comes in reply to a subscription; ids there may fall in the middle of a chain (maintenance), so that equality
with the previous id is all that counts. A book is TRUSTED only while that chain is whole, its sides do not cross, its top
equals the venue's own ticker at equal ids, a REST picture equals it at equal ids, and news arrives in time:

    OFF --connected--> SYNCING --snapshot joined--> TRUSTED --silence--> STALE --an update, none missing--> TRUSTED
                          ^                            | gap, crossed, ticker or picture disagrees, clock jumped
     any --disconnected--> OFF                         `------------> STALE --snapshot joined--> TRUSTED
"""

from bisect import bisect_left, insort
from itertools import islice

import msgspec

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
    unpack_levels,
)
from engine.signal.check import LEVELS, Check, Top

MS = 1_000_000
BUFFER_LIMIT = 10_000  # updates kept while syncing; beyond, the sync starts again
QUOTE_LIMIT = 4_096  # quotes ahead of the depth stream; beyond, the middle ones lose their comparison
BACKOFF_LIMIT_MS = 30_000
SNAPSHOT_TIMEOUT_MS = 10_000  # a request unanswered for this long counts as failed
IN_BAND_LEVELS = 400  # a side that OKX's stream carries
CHECK_AGAIN_S = 5.0
CHECKS_IN_A_ROW = 5
PICTURE_DIFFERS = "the venue's REST picture is another one at the same update"
PROVEN_MS = 10_000  # a book lost sooner than this after its sync counts as a failed sync

BookOutput = TrustChanged | FetchSnapshot | Resubscribe


class BookCounters(msgspec.Struct):
    """What happened to a book since the session began; all of it may be shown to the trader."""

    deltas: int = 0
    duplicates: int = 0
    gaps: int = 0
    crossed: int = 0
    quotes: int = 0
    old_quotes: int = 0
    quotes_dropped: int = 0
    agreements: int = 0
    mismatches: int = 0
    snapshots: int = 0
    snapshots_ignored: int = 0
    snapshots_failed: int = 0  # refused, unanswered, or older than every update
    ignored: int = 0  # updates before the stream's snapshot
    checks: int = 0  # comparisons with a REST picture: asked for, the same, other, of no update that we had
    checks_agreed: int = 0
    checks_differed: int = 0
    checks_missed: int = 0
    resyncs: int = 0
    silences: int = 0
    pruned: int = 0
    buffer_dropped: int = 0
    while_off: int = 0


class Book(msgspec.Struct):
    """One market's book in ticks and steps. Read it freely, trade on it only while `trust` is TRUSTED.

    The methods named after events return what the world has to know or do, usually nothing. A price or size that does not
    exist reads as 0. `known_bid` and `known_ask` bound the complete part of each side (0: all of it is complete); levels
    beyond are only those that changed since the snapshot.
    """

    market: str
    settings: BookSettings = msgspec.field(default_factory=BookSettings)
    in_band: bool = False  # the stream itself brings the snapshot
    trust: Trust = Trust.OFF
    reason: str = "not connected yet"
    live: bool = False  # the chain of updates is whole; False with another trust than OFF: syncing
    last_id: int = 0
    updated_at: int = 0
    venue_ms: int = 0
    bids: dict[int, int] = msgspec.field(default_factory=dict)
    asks: dict[int, int] = msgspec.field(default_factory=dict)
    bid_prices: list[int] = msgspec.field(default_factory=list)  # both ascending: the best bid is last, the best ask first
    ask_prices: list[int] = msgspec.field(default_factory=list)
    known_bid: int = 0
    known_ask: int = 0
    best_quote: Quote | None = None
    quotes: list[Quote] = msgspec.field(default_factory=list)  # those ahead of the depth stream, oldest first
    buffer: list[BookDelta] = msgspec.field(default_factory=list)  # an unbroken chain
    held: BookSnapshot | None = None  # newer than every update seen: waits for the update that it joins
    awaiting: bool = False  # a snapshot was asked for
    snapshot_due: int = 0  # when the newest request is carried out
    synced_at: int = 0
    failures: int = 0
    check: Check = msgspec.field(default_factory=Check)
    counters: BookCounters = msgspec.field(default_factory=BookCounters)

    # --- reads -------------------------------------------------------------------------------------------------------

    @property
    def trusted(self) -> bool:
        return self.trust is Trust.TRUSTED

    @property
    def best_bid(self) -> int:
        return self.bid_prices[-1] if self.bid_prices else 0

    @property
    def best_ask(self) -> int:
        return self.ask_prices[0] if self.ask_prices else 0

    @property
    def best_bid_size(self) -> int:
        return self.bids[self.bid_prices[-1]] if self.bid_prices else 0

    @property
    def best_ask_size(self) -> int:
        return self.asks[self.ask_prices[0]] if self.ask_prices else 0

    def top(self, side: Side, n: int) -> list[tuple[int, int]]:
        """The best `n` levels as (price, size), best first; BUY reads the bids, SELL the asks."""
        if side is Side.BUY:
            return [(price, self.bids[price]) for price in islice(reversed(self.bid_prices), n)]
        return [(price, self.asks[price]) for price in islice(self.ask_prices, n)]

    def size(self, side: Side, price: int) -> int:
        return (self.bids if side is Side.BUY else self.asks).get(price, 0)

    def known(self, side: Side) -> int:
        """How many of the best levels are complete: nothing is missing between them."""
        if side is Side.BUY:
            return len(self.bid_prices) - (bisect_left(self.bid_prices, self.known_bid) if self.known_bid else 0)
        return bisect_left(self.ask_prices, self.known_ask + 1) if self.known_ask else len(self.ask_prices)

    # --- events ------------------------------------------------------------------------------------------------------

    def connected(self, at: int) -> list[BookOutput]:
        """The venue's route is open: whatever was known is forgotten and the sync begins with the first update, or with the
        stream's own snapshot, which is on its way.
        """
        self._forget()
        if self.in_band:
            self.awaiting, self.snapshot_due = True, at
        return self._become(at, Trust.SYNCING, "connected, waiting for the book")

    def disconnected(self, at: int, reason: str) -> list[BookOutput]:
        self._forget()
        return self._become(at, Trust.OFF, f"disconnected: {reason}")

    def clock_jumped(self, at: int) -> list[BookOutput]:
        """Time was lost: what is held and what still comes out of buffers is old, so the sync begins anew."""
        if self.trust is Trust.OFF:
            return []
        self.counters.resyncs += 1
        self._forget()
        outputs = self._become(at, Trust.STALE, "the clock jumped: synchronising again")
        return [*outputs, *self._request(at, "the clock jumped")] if self.in_band else outputs

    def delta(self, event: BookDelta) -> list[BookOutput]:
        """A depth update: applied, buffered while syncing, ignored as a duplicate, or the proof of a gap."""
        self.counters.deltas += 1
        if not self.live:
            return self._buffer(event)
        if event.previous_id != self.last_id:
            if event.last_id == self.last_id or (event.last_id < self.last_id and not self.in_band):
                self.counters.duplicates += 1
                return []
            self.counters.gaps += 1
            return self._lost(event.at, "depth updates are missing", event)
        problem = self._apply(event)
        if problem:
            return self._lost(event.at, problem, event)
        silent_ns, self.updated_at = event.at - self.updated_at, event.at
        if self.trust is Trust.TRUSTED:
            return []
        return self._become(event.at, Trust.TRUSTED, f"updates flow again after {silent_ns / 1e9:.1f} s, none missing")

    def snapshot(self, event: BookSnapshot) -> list[BookOutput]:
        """The stream's own begins the chain anew. A REST picture is joined to the buffered updates, or kept until the update
        that it joins arrives; of a whole chain it is a check.
        """
        self.counters.snapshots += 1
        if event.in_band and self.trust is not Trust.OFF:
            return self._begin(event)
        if self.live and self.check.open:
            return self._judged(event.at, self.check.answered(event.at, event, self.last_id))
        if self.live or self.trust is Trust.OFF or self.in_band:
            self.counters.snapshots_ignored += 1
            return []
        if event.at >= self.snapshot_due:  # else it answers a request made before the connection was lost
            self.awaiting = False
        self.held = event
        return self._join(event.at)

    def snapshot_failed(self, at: int, reason: str) -> list[BookOutput]:
        """The request for a snapshot came to nothing: asked again, later."""
        if self.live and self.check.open:
            self.check.close(at, missed=True)
            self.counters.checks_missed += 1
        if self.live or self.trust is Trust.OFF or at < self.snapshot_due:
            return []
        return self._failed(at, f"no snapshot: {reason}")

    def quote(self, event: Quote) -> list[BookOutput]:
        """The venue's best bid and ask: compared with ours at equal ids, whichever stream comes first."""
        self.counters.quotes += 1
        if not event.id:  # a ticker without ids proves nothing but that the venue is alive
            self.updated_at = event.at
            return []
        if self.best_quote is not None and event.id <= self.best_quote.id:
            self.counters.old_quotes += 1
            return []
        self.best_quote = event
        self.updated_at = event.at
        if self.live and event.id <= self.last_id:
            if event.id == self.last_id and not self._agrees(event):
                return self._lost(event.at, "the venue's ticker shows another best price or size", None)
            return []
        self.quotes.append(event)
        if len(self.quotes) > QUOTE_LIMIT:
            # The oldest one stays: it says since when depth lags behind.
            del self.quotes[1 : QUOTE_LIMIT // 2]
            self.counters.quotes_dropped += QUOTE_LIMIT // 2 - 1
        return []

    def tick(self, at: int) -> list[BookOutput]:
        """Time passed: silence makes the book stale, an unanswered snapshot request is repeated."""
        if self.trust is Trust.TRUSTED:
            limit_ns = self.settings.stale_after_ms * MS
            if at - self.updated_at > limit_ns:
                self.counters.silences += 1
                return self._become(at, Trust.STALE, f"no update for {(at - self.updated_at) / 1e9:.1f} s")
            if self.quotes and at - self.quotes[0].at > limit_ns:
                self.counters.silences += 1
                lag_s = (at - self.quotes[0].at) / 1e9
                return self._become(at, Trust.STALE, f"depth is {lag_s:.1f} s behind the venue's ticker")
            return self._check_soon(at)
        elif self.awaiting and at - self.snapshot_due > SNAPSHOT_TIMEOUT_MS * MS:
            return self._failed(at, f"no answer to the snapshot request for {SNAPSHOT_TIMEOUT_MS // 1000} s")
        return []

    # --- the chain ---------------------------------------------------------------------------------------------------

    def _become(self, at: int, trust: Trust, reason: str) -> list[BookOutput]:
        changed = trust is not self.trust
        self.trust, self.reason = trust, reason
        return [TrustChanged(at, self.market, trust, reason)] if changed else []

    def _forget(self) -> None:
        self._clear()
        self.best_quote, self.quotes = None, []

    def _clear(self) -> None:
        if self.check.open:
            self.check.close(self.check.asked_at, missed=True)
        self.live, self.last_id, self.held, self.awaiting = False, 0, None, False
        self.bids, self.asks, self.bid_prices, self.ask_prices = {}, {}, [], []
        self.known_bid = self.known_ask = 0
        self.buffer = []

    def _buffer(self, event: BookDelta) -> list[BookOutput]:
        if self.trust is Trust.OFF:
            self.counters.while_off += 1
            return []
        if self.in_band:
            self.counters.ignored += 1
            return []
        if self.buffer and event.previous_id != self.buffer[-1].last_id:
            if event.last_id <= self.buffer[-1].last_id:
                self.counters.duplicates += 1
                return []
            # What came before the hole can no longer be joined to what comes after it.
            self.counters.gaps += 1
            self.buffer.clear()
        self.buffer.append(event)
        if len(self.buffer) > BUFFER_LIMIT:
            self.counters.buffer_dropped += len(self.buffer) - 1
            self.buffer = [event]
            return self._failed(event.at, f"no snapshot within {BUFFER_LIMIT} updates")
        if self.held is not None:
            return self._join(event.at)
        return [] if self.awaiting else self._request(event.at)

    def _join(self, at: int) -> list[BookOutput]:
        """Join the held snapshot to the buffered updates, if they meet."""
        held = self.held
        assert held is not None
        older = 0
        while older < len(self.buffer) and self.buffer[older].last_id < held.last_id:
            older += 1
        del self.buffer[:older]
        if not self.buffer:
            return []
        if self.buffer[0].previous_id > held.last_id:
            self.held = None
            return [] if self.awaiting else self._failed(at, "the snapshot was older than the updates")
        self._load(held)
        chain, self.buffer, self.held = self.buffer, [], None
        self.live, self.awaiting, self.synced_at, self.updated_at = True, False, at, at
        for event in chain:
            problem = self._apply(event)
            if problem:
                return self._lost(at, problem, event)
        return self._become(at, Trust.TRUSTED, "snapshot and updates agree")

    def _begin(self, snapshot: BookSnapshot) -> list[BookOutput]:
        """The stream's own snapshot replaces whatever was held."""
        self._clear()
        self._load(snapshot)
        self.live, self.synced_at, self.updated_at, self.venue_ms = True, snapshot.at, snapshot.at, snapshot.venue_ms
        if self.best_quote is not None and self.best_quote.id <= snapshot.last_id:
            self.quotes = []
        if self.bid_prices and self.ask_prices and self.bid_prices[-1] >= self.ask_prices[0]:
            self.counters.crossed += 1
            return self._lost(snapshot.at, "the best bid is not below the best ask", None)
        return self._become(snapshot.at, Trust.TRUSTED, "the venue's snapshot begins the chain")

    def _load(self, snapshot: BookSnapshot) -> None:
        bids, asks = unpack_levels(snapshot.bids), unpack_levels(snapshot.asks)
        self.bids = {price: size for price, size in zip(bids[::2], bids[1::2], strict=True) if size}
        self.asks = {price: size for price, size in zip(asks[::2], asks[1::2], strict=True) if size}
        self.bid_prices, self.ask_prices = sorted(self.bids), sorted(self.asks)
        # A side shorter than what was asked for, or than what the stream carries, is the whole side.
        most = min(self.settings.levels, IN_BAND_LEVELS) if self.in_band else self.settings.levels
        self.known_bid = self.bid_prices[0] if len(self.bid_prices) >= most else 0
        self.known_ask = self.ask_prices[-1] if len(self.ask_prices) >= most else 0
        self.last_id = snapshot.last_id

    def _apply(self, event: BookDelta) -> str:
        """Change the levels and compare; what is wrong with the book afterwards, "" if nothing."""
        if event.bids:
            book, prices = self.bids, self.bid_prices
            flat = iter(unpack_levels(event.bids))
            for price, size in zip(flat, flat, strict=True):
                if size:
                    if price not in book:
                        insort(prices, price)
                    book[price] = size
                elif price in book:
                    del book[price]
                    del prices[bisect_left(prices, price)]
        if event.asks:
            book, prices = self.asks, self.ask_prices
            flat = iter(unpack_levels(event.asks))
            for price, size in zip(flat, flat, strict=True):
                if size:
                    if price not in book:
                        insort(prices, price)
                    book[price] = size
                elif price in book:
                    del book[price]
                    del prices[bisect_left(prices, price)]
        if event.last_id < self.last_id:  # a venue may number anew in the middle of a chain (OKX, maintenance)
            self.best_quote, self.quotes = None, []
        self.last_id, self.venue_ms = event.last_id, event.venue_ms
        if self.bid_prices and self.ask_prices and self.bid_prices[-1] >= self.ask_prices[0]:
            self.counters.crossed += 1
            return "the best bid is not below the best ask"
        if self.quotes and not self._passed_quotes_agree():
            return "the venue's ticker shows another best price or size"
        if self.check.asked_at and self._differs(self.check.passed(event.at, event.last_id, self._top())):
            return PICTURE_DIFFERS
        if len(self.bid_prices) > 2 * self.settings.levels or len(self.ask_prices) > 2 * self.settings.levels:
            self._prune()
        return ""

    def _passed_quotes_agree(self) -> bool:
        """Drop the quotes that depth has caught up with; compare the one with the same id."""
        quotes, passed, agrees = self.quotes, 0, True
        for quote in quotes:
            if quote.id > self.last_id:
                break
            passed += 1
            if quote.id == self.last_id:
                agrees = self._agrees(quote)
        if passed:
            del quotes[:passed]
        return agrees

    def _agrees(self, quote: Quote) -> bool:
        ours = (self.best_bid, self.best_bid_size, self.best_ask, self.best_ask_size)
        if ours == (quote.bid, quote.bid_size, quote.ask, quote.ask_size):
            self.counters.agreements += 1
            return True
        self.counters.mismatches += 1
        return False

    def _prune(self) -> None:
        keep = self.settings.levels
        if len(self.bid_prices) > 2 * keep:
            far = self.bid_prices[:-keep]
            del self.bid_prices[:-keep]
            for price in far:
                del self.bids[price]
            self.known_bid = max(self.known_bid, self.bid_prices[0])
            self.counters.pruned += len(far)
        if len(self.ask_prices) > 2 * keep:
            far = self.ask_prices[keep:]
            del self.ask_prices[keep:]
            for price in far:
                del self.asks[price]
            edge = self.ask_prices[-1]
            self.known_ask = min(self.known_ask, edge) if self.known_ask else edge
            self.counters.pruned += len(far)

    # --- the check against a REST picture ----------------------------------------------------------------------------

    def _top(self) -> Top:
        return tuple(self.top(Side.BUY, LEVELS)), tuple(self.top(Side.SELL, LEVELS))

    def _check_soon(self, at: int) -> list[BookOutput]:
        """Ask for a picture to compare with when it is time; a question that nobody answers is closed."""
        check, every_s = self.check, self.settings.cross_check_s
        if check.open:
            if at - check.asked_at > SNAPSHOT_TIMEOUT_MS * MS:
                check.close(at, missed=True)
                self.counters.checks_missed += 1
            return []
        # The first pictures that are of no update we had are soon followed by others; then it waits for its turn.
        wait_s = min(CHECK_AGAIN_S, every_s) if 0 < check.missed <= CHECKS_IN_A_ROW else every_s
        if not every_s or at - max(check.done_at, self.synced_at) < wait_s * 1000 * MS:
            return []
        self.counters.checks += 1
        check.ask(at, self.last_id, self._top())
        return [FetchSnapshot(at, self.market, 0)]

    def _differs(self, verdict: bool | None) -> bool:
        if verdict is None:
            if not self.check.open:
                self.counters.checks_missed += 1
            return False
        if verdict:
            self.counters.checks_agreed += 1
        else:
            self.counters.checks_differed += 1
        return not verdict

    def _judged(self, at: int, verdict: bool | None) -> list[BookOutput]:
        return self._lost(at, PICTURE_DIFFERS, None) if self._differs(verdict) else []

    # --- losing it and getting it back -------------------------------------------------------------------------------

    def _lost(self, at: int, problem: str, event: BookDelta | None) -> list[BookOutput]:
        """The book is wrong: not to be traded on from now, and built again beginning with `event`."""
        self.counters.resyncs += 1
        # A sync that does not hold is a failed one, or a venue that lies could keep us resyncing for ever.
        self.failures = self.failures + 1 if at - self.synced_at < PROVEN_MS * MS else 0
        self._clear()
        outputs = self._become(at, Trust.STALE, f"{problem}: synchronising again")
        if self.in_band:
            return outputs + self._retry(at, problem)
        if event is not None:
            self.buffer.append(event)
            outputs += self._retry(at, problem)
        return outputs

    def _failed(self, at: int, problem: str) -> list[BookOutput]:
        self.counters.snapshots_failed += 1
        self.failures += 1
        self.held, self.awaiting, self.reason = None, False, problem
        return self._retry(at, problem)

    def _retry(self, at: int, problem: str) -> list[BookOutput]:
        if self.failures and self.failures % self.settings.resubscribe_after == 0:
            # Waiting for the reconnection; should it not come, `tick` finds the request unanswered and asks again.
            self.awaiting, self.snapshot_due = True, at
            return [Resubscribe(at, self.market.partition(":")[0], "public", f"{self.market}: {problem}")]
        return self._request(at, problem)

    def _request(self, at: int, problem: str = "") -> list[BookOutput]:
        """Ask for a snapshot, not sooner than the floor after the last one, later the more often it failed."""
        wait_ms = self.settings.snapshot_floor_ms
        if self.failures:
            wait_ms = min(max(wait_ms, 100) << min(self.failures, 10), max(wait_ms, BACKOFF_LIMIT_MS))
        self.snapshot_due = max(at, self.snapshot_due + wait_ms * MS) if self.snapshot_due else at
        self.awaiting = True
        delay_ms = -((at - self.snapshot_due) // MS)
        if self.in_band:
            venue = self.market.partition(":")[0]
            return [Resubscribe(at, venue, "public", f"{self.market}: {problem}", self.market, delay_ms)]
        return [FetchSnapshot(at, self.market, delay_ms)]
