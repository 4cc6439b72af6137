"""Whatever the wire does, a book that says TRUSTED equals the venue's; and it always gets there again."""

import random
from collections import deque

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import BookSettings
from engine.events import BookDelta, BookSnapshot, FetchSnapshot, Quote, Resubscribe, Trust, pack_levels
from engine.signal.book import Book, BookOutput

MS = 1_000_000
S = 1_000 * MS
T0 = 1_700_000_000 * S
MID = 10_000
Levels = dict[int, int]
Sides = tuple[Levels, Levels]


def packed(levels: Levels) -> bytes:
    return pack_levels(value for level in levels.items() for value in level)


class Exchange:
    """The plain reference: two dicts, an id that grows with each change, and the book at every id that anybody was told."""

    def __init__(self, dice: random.Random, in_band: bool) -> None:
        self.dice, self.in_band = dice, in_band
        self.bids: Levels = {MID - n: dice.randint(1, 9) for n in range(1, 8)}
        self.asks: Levels = {MID + n: dice.randint(1, 9) for n in range(1, 8)}
        self.id = self.published = 50_000_000
        self.changed: Sides = ({}, {})
        self.told: dict[int, Sides] = {}

    def change(self) -> None:
        """One level is set or goes; the sides never cross, and neither is ever empty."""
        side = self.dice.randrange(2)
        book, best = (self.bids, max(self.bids)) if side == 0 else (self.asks, min(self.asks))
        step = -1 if side == 0 else 1
        other = min(self.asks) if side == 0 else max(self.bids)
        price = self.dice.choice([best + step * self.dice.randrange(6), best - step])
        if (price - other) * step <= 0:
            price = best
        size = 0 if len(book) > 3 and self.dice.random() < 0.4 else self.dice.randint(1, 9)
        if size:
            book[price] = size
        else:
            book.pop(price, None)
        self.changed[side][price] = size
        self.id += self.dice.randint(1, 30)

    def picture(self) -> Sides:
        self.told[self.id] = (dict(self.bids), dict(self.asks))
        return self.told[self.id]

    def delta(self, at: int, market: str) -> BookDelta:
        """Everything since the last one; an empty one keeps a quiet chain alive where the venue does that."""
        (bids, asks), self.changed = self.changed, ({}, {})
        previous, self.published = self.published, self.id
        self.picture()
        first = previous if self.in_band else min(previous + 1, self.id)
        return BookDelta(at, market, first, self.id, previous, packed(bids), packed(asks), at // MS)

    def renumber(self) -> None:
        """The next update is chained to the old ids and has a low one."""
        self.id -= 1_000_000


class World:
    """An exchange, a book, the wire between them, and somebody who carries out what the book asks for."""

    def __init__(self, seed: int, in_band: bool) -> None:
        self.dice = random.Random(seed)
        self.in_band = in_band
        self.market = f"{'okx' if in_band else 'binance'}:X/USDT:USDT"
        self.exchange = Exchange(self.dice, in_band)
        quick = BookSettings(snapshot_floor_ms=100, cross_check_s=0.5, stale_after_ms=2000)
        self.book = Book(self.market, quick, in_band=in_band)
        self.at = T0
        self.wire: deque[BookDelta | BookSnapshot | Quote] = deque()
        self.requests: deque[BookOutput] = deque()
        self.connected = False
        self.trusted_at_least_once = False
        self.connect()

    # what the world may do

    def connect(self) -> None:
        self.connected = True
        self.wire.clear()
        self.take(self.book.connected(self.at))
        if self.in_band:
            self.subscribe()

    def subscribe(self) -> None:
        """The stream's own snapshot, behind what is under way already."""
        if self.exchange.changed != ({}, {}):
            self.wire.append(self.exchange.delta(self.at, self.market))
        bids, asks = self.exchange.picture()
        exchange = self.exchange
        self.wire.append(BookSnapshot(self.at, self.market, exchange.id, packed(bids), packed(asks), self.at // MS, True))

    def cut(self) -> None:
        self.connected = False
        self.wire.clear()
        self.requests.clear()
        self.take(self.book.disconnected(self.at, "cut"))

    def publish(self) -> None:
        for _ in range(self.dice.randint(0 if self.in_band else 1, 4)):
            self.exchange.change()
        if self.connected:
            self.wire.append(self.exchange.delta(self.at, self.market))
        else:
            self.exchange.delta(self.at, self.market)

    def quote(self) -> None:
        exchange = self.exchange
        bid, ask = max(exchange.bids), min(exchange.asks)
        if self.connected:
            self.wire.append(
                Quote(self.at, self.market, exchange.id, bid, exchange.bids[bid], ask, exchange.asks[ask], self.at // MS)
            )

    def deliver(self) -> None:
        """The next message arrives, now."""
        if not self.wire:
            return
        event = self.wire.popleft()
        if isinstance(event, BookDelta):
            self.take(self.book.delta(event))
        elif isinstance(event, BookSnapshot):
            self.take(self.book.snapshot(event))
        else:
            self.take(self.book.quote(event))

    def drop(self) -> None:
        if self.wire:
            self.wire.popleft()

    def duplicate(self) -> None:
        if self.wire:
            self.wire.appendleft(self.wire[0])

    def swap(self) -> None:
        if len(self.wire) > 1:
            self.wire[0], self.wire[1] = self.wire[1], self.wire[0]

    def renumber(self) -> None:
        if self.in_band and self.exchange.id > 10_000_000 and self.exchange.changed == ({}, {}):
            self.exchange.renumber()
            self.publish()

    def answer(self, how: str = "") -> None:
        """Carry out the oldest request: `fail`, `stale` (an older picture) or rightly."""
        if not self.requests:
            return
        request = self.requests.popleft()
        if isinstance(request, Resubscribe):
            if not request.market:
                self.cut()
                self.connect()
            elif self.connected and how != "fail":
                self.wire.clear()  # nothing comes between the end of a subscription and the next one
                self.subscribe()
        elif isinstance(request, FetchSnapshot) and how == "fail":
            self.take(self.book.snapshot_failed(self.at, "refused"))
        elif isinstance(request, FetchSnapshot):
            known = [id for id in self.exchange.told if id <= self.exchange.id]
            id = self.dice.choice(known) if how == "stale" and known else self.exchange.id
            bids, asks = self.exchange.told[id] if how == "stale" and known else self.exchange.picture()
            self.take(self.book.snapshot(BookSnapshot(self.at, self.market, id, packed(bids), packed(asks), self.at // MS)))

    def wait(self, seconds: float) -> None:
        self.at += int(seconds * S)
        self.take(self.book.tick(self.at))

    # what must hold

    def take(self, outputs: list[BookOutput]) -> None:
        self.requests += [output for output in outputs if isinstance(output, FetchSnapshot | Resubscribe)]
        self.check()

    def check(self) -> None:
        book = self.book
        if book.trust is not Trust.TRUSTED:
            return
        self.trusted_at_least_once = True
        bids, asks = self.exchange.told[book.last_id]
        assert (book.bids, book.asks) == (bids, asks), f"at {book.last_id}"
        assert book.bid_prices == sorted(bids) and book.ask_prices == sorted(asks)

    def settle(self) -> None:
        """The faults end: everything is delivered and every request carried out."""
        if not self.connected:
            self.connect()
        for _ in range(200):
            self.publish()
            self.wait(0.5)
            while self.wire or self.requests:
                while self.wire:
                    self.deliver()
                self.answer()
            if self.book.trusted:
                return
        raise AssertionError(f"never trusted again: {self.book.trust} {self.book.reason}")


ACTIONS = ("publish", "publish", "publish", "deliver", "deliver", "deliver", "deliver", "quote", "wait")
FAULTS = ("drop", "duplicate", "swap", "cut", "connect", "renumber", "fail", "stale", "answer", "answer", "long wait")


def carry_out(world: World, action: str) -> None:
    match action:
        case "wait":
            world.wait(0.1)
        case "long wait":
            world.wait(2.5)
        case "answer":
            world.answer()
        case "fail" | "stale":
            world.answer(action)
        case "connect":
            if not world.connected:
                world.connect()
        case _:
            getattr(world, action)()


@pytest.mark.parametrize("in_band", [False, True], ids=["joined", "in band"])
@settings(max_examples=250, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.sampled_from(ACTIONS + FAULTS), min_size=5, max_size=120))
def test_a_book_that_says_trusted_equals_the_venues_and_gets_there_again(in_band: bool, seed: int, actions: list[str]) -> None:
    world = World(seed, in_band)
    for action in actions:
        carry_out(world, action)
    world.settle()
    assert world.book.trusted
    world.check()


@pytest.mark.parametrize("in_band", [False, True], ids=["joined", "in band"])
def test_long_histories_lose_and_find_their_trust_many_times(in_band: bool) -> None:
    """That the property above is not empty: faults do happen to trusted books, and checks with pictures agree."""
    gaps = agreed = 0
    for seed in range(20):
        world = World(seed, in_band)
        for _ in range(400):
            carry_out(world, world.dice.choice(ACTIONS + ("answer",) * 3 + FAULTS if world.dice.random() < 0.3 else ACTIONS))
        world.settle()
        gaps, agreed = gaps + world.book.counters.gaps, agreed + world.book.counters.checks_agreed
        assert world.trusted_at_least_once and world.book.counters.checks_differed == 0
        assert world.book.counters.mismatches == 0
    assert gaps > 20 and agreed > 5
