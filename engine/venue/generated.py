"""Takes time and the exchange's orders; gives a living market: order flow into a matching engine, out as Binance frames."""

from decimal import Decimal

import numpy as np

from engine.events import Side
from engine.venue.flow import Act, Flow, Shape, Wish
from engine.venue.market import Depth, Fill, KlineRow, Listing, MarketOrder, MarkState, Sinks, TapeRow
from engine.venue.matching import Match, OrderBook
from engine.venue.tape import MINUTE_MS, Grid, Tape, next_funding

WARM_MS = 150_000  # of real flow before the client's first look
HISTORY_MINUTES = 1_500
TIMER_MS = 50
INTEREST = 0.0001  # the interest part of funding, per settlement (Binance's 0.01 %)
PREMIUM_BOUND = 0.0005


def _listing(symbol: str, tick: str, step: str, limits: tuple[int, int], leverage: int, rate: str, minutes: int) -> Listing:
    return Listing(
        symbol=symbol, base=symbol.removesuffix("USDT"), quote="USDT", tick=Decimal(tick), step=Decimal(step),
        min_quantity=1, max_quantity=limits[0], max_market_quantity=limits[1], min_notional=Decimal(5),
        max_leverage=leverage, maintenance_rate=Decimal(rate), maker_rate=Decimal("0.0002"), taker_rate=Decimal("0.0005"),
        funding_minutes=minutes,
    )  # fmt: skip


LISTINGS: dict[str, tuple[Listing, Decimal]] = {
    "ASTERUSDT": (_listing("ASTERUSDT", "0.0001", "1", (10_000_000, 2_000_000), 50, "0.01", 240), Decimal("0.62")),
    "BTCUSDT": (_listing("BTCUSDT", "0.10", "0.001", (1_000_000, 120_000), 100, "0.004", 480), Decimal(64_000)),
    "ETHUSDT": (_listing("ETHUSDT", "0.01", "0.001", (10_000_000, 2_000_000), 100, "0.005", 480), Decimal(2_600)),
}
SHAPES = {
    "ASTERUSDT": Shape(sigma=1.6, unit=1.0, half_spread=0.7, size=900.0),
    "BTCUSDT": Shape(sigma=28.0, unit=9.0, half_spread=1.2, size=90.0),
    "ETHUSDT": Shape(sigma=14.0, unit=5.0, half_spread=1.0, size=900.0),
}


def shape_for(listing: Listing, start_price: Decimal) -> Shape:
    """A temper for a contract that has none of its own: about 1 bp of price a second, 500 quote units an order."""
    price = float(start_price / listing.tick)
    sigma = max(1.2, price * 1e-4)
    return Shape(sigma=sigma, unit=max(1.0, sigma / 3), half_spread=0.8, size=max(2.0, float(500 / start_price / listing.step)))


class GeneratedMarket:
    """A `Market` whose prices are made here. The same seed and the same outside orders give the same frames."""

    def __init__(self, listing: Listing, seed: int, start_price: Decimal, now_ms: int, warm_ms: int = WARM_MS) -> None:
        self.listing = listing
        self._prices, self._sizes = Grid(listing.tick), Grid(listing.step)
        start = round(start_price / listing.tick)
        start_ms = now_ms - warm_ms
        self._shape = self.shape(start_price)
        self.flow = self.make_flow(seed, self._shape, start, start_ms)
        self._book = OrderBook()
        # Ids grow with the clock faster than the market uses them, so a restarted venue never falls behind its past.
        self._update = self._published = now_ms * 6
        self._first = 0  # id of the first change since the last depth frame, 0 for none
        self._now_ms = start_ms
        self._trade_id = now_ms * 2
        self._tape = self.make_tape(now_ms)
        self._sinks: Sinks | None = None
        self._busy = False
        self._best = (0, 0, 0, 0)
        self._index = self._premium = self._funding_premium = 0.0
        self._timer_ms = start_ms - start_ms % TIMER_MS + TIMER_MS
        self._history(seed, start, start_ms)
        for wish in self.flow.opening():
            self._book.submit(wish.order_id, wish.side, wish.quantity, wish.price, True)
        self._best = self._book.best()
        self._index = self.flow.fair
        self._stamp_mark(start_ms)
        self.advance(now_ms)

    # what another venue's market makes differently

    def shape(self, start_price: Decimal) -> Shape:
        return SHAPES.get(self.listing.symbol) or shape_for(self.listing, start_price)

    def make_flow(self, seed: int, shape: Shape, price: int, start_ms: int) -> Flow:
        return Flow(seed, shape, price, start_ms)

    def make_tape(self, now_ms: int) -> Tape:
        return Tape(self.listing.symbol, self._prices, self._sizes, now_ms)

    def attach(self, sinks: Sinks) -> None:
        self._sinks = sinks

    def subscribed(self, kinds: frozenset[str], now_ms: int) -> None:
        """A generated market runs whether or not anybody listens."""

    @property
    def ended(self) -> bool:
        return False

    def advance(self, now_ms: int) -> None:
        # A sink may submit an order from inside, which asks for time again: the outer call goes on.
        if self._busy:
            return
        self._busy = True
        try:
            flow = self.flow
            while True:
                if flow.due_ms < self._timer_ms:
                    if flow.due_ms > now_ms:
                        break
                    at_ms = self._now_ms = int(flow.due_ms)
                    for wish in flow.step(self._book):
                        self._carry_out(wish, at_ms)
                else:
                    if self._timer_ms > now_ms:
                        break
                    self._now_ms = self._timer_ms
                    self._on_timer(self._timer_ms)
                    self._timer_ms += TIMER_MS
        finally:
            self._busy = False

    def submit(self, order: MarketOrder, now_ms: int) -> list[Fill]:
        self.advance(now_ms)
        self._now_ms = max(self._now_ms, now_ms)
        matches = self._book.submit(order.order_id, order.side, order.quantity, order.limit, order.rests)
        first = self._trade_id + 1
        if matches:
            self.flow.felt(order.side, sum(match.quantity for match in matches), float(now_ms))
        self._trade_id += len(matches)
        fills = [Fill(order.order_id, match.price, match.quantity, False, first + index, now_ms)
                 for index, match in enumerate(matches)]  # fmt: skip
        self._after(order.side, matches, first, now_ms)
        return fills

    def cancel(self, order_id: int) -> int:
        left = self._book.cancel(order_id)
        if left:
            self._changed(self._now_ms)
        return left

    def fillable(self, side: Side, limit: int) -> int:
        return self._book.fillable(side, limit)

    def best(self) -> tuple[int, int, int, int] | None:
        best = self._book.best()
        return best if best[0] and best[2] else None

    def depth(self, limit: int) -> Depth | None:
        """The book at the newest change: the depth frame that covers it may be up to 100 ms away, as at the venue."""
        bids = [level for level, _ in zip(self._book.bids.walk(), range(limit), strict=False)]
        asks = [level for level, _ in zip(self._book.asks.walk(), range(limit), strict=False)]
        return Depth(self._update, bids, asks, self._now_ms)

    def mark(self) -> MarkState | None:
        return self._mark

    def tape(self, limit: int, from_id: int | None) -> list[TapeRow]:
        return self._tape.newest(limit, from_id)

    def klines(self, minutes: int, limit: int, start_ms: int | None, end_ms: int | None) -> list[KlineRow]:
        return self._tape.bars(minutes, limit, start_ms, end_ms)

    # inside

    def _carry_out(self, wish: Wish, at_ms: int) -> None:
        if wish.act is Act.CANCEL:
            if self._book.cancel(wish.order_id):
                self._changed(at_ms)
            return
        matches = self._book.submit(wish.order_id, wish.side, wish.quantity, wish.price, wish.act is Act.POST)
        first = self._trade_id + 1
        self._trade_id += len(matches)
        self._after(wish.side, matches, first, at_ms)

    def _after(self, side: Side, matches: list[Match], first_id: int, at_ms: int) -> None:
        """Tell the world about an order: book, tape, makers, and last the triggers, which may send the next order."""
        self._changed(at_ms)
        if not matches:
            return
        start, count = 0, len(matches)
        while start < count:
            price, end, quantity = matches[start].price, start, 0
            while end < count and matches[end].price == price:
                quantity += matches[end].quantity
                end += 1
            row = self._tape.record(price, quantity, first_id + start, first_id + end - 1, at_ms, side is Side.SELL)
            if self._sinks:
                self._sinks.frame("aggTrade", self._tape.trade_frame(row, at_ms))
            start = end
        if self._sinks:
            for index, match in enumerate(matches):
                if match.maker_id >= 0:
                    self._sinks.fill(Fill(match.maker_id, match.price, match.quantity, True, first_id + index, at_ms))
            self._sinks.trade(matches[-1].price, at_ms)

    def _changed(self, at_ms: int) -> None:
        """One change of the book is one update id; ids jump, since the venue counts all its symbols together."""
        book = self._book
        if not book.bids.touched and not book.asks.touched:
            return
        self._update += 1 + self._update * 7 % 13
        self._first = self._first or self._update
        best = book.best()
        if best != self._best:
            self._best = best
            if self._sinks and best[0] and best[2]:
                self._sinks.frame("bookTicker", self._tape.quote_frame(best, self._update, at_ms))

    def _on_timer(self, at_ms: int) -> None:
        if at_ms % 100 == 0:
            self.publish(at_ms)
        if at_ms % MINUTE_MS == 0:
            for frame in self._tape.roll(at_ms):
                if self._sinks:
                    self._sinks.frame("kline_1m", frame)
        if at_ms % 250 == 0 and self._tape.unpublished and self._sinks:
            self._sinks.frame("kline_1m", self._tape.kline_frame(at_ms, False))
        if at_ms % 1000 == 0:
            self._stamp_mark(at_ms)
            if self._sinks:
                self._sinks.frame("markPrice", self._tape.mark_frame(self._mark, at_ms))

    def publish(self, at_ms: int) -> None:
        """The book's changes since the last depth frame, if there are any."""
        if not self._first:
            return
        bids, asks = self._book.changes()
        if self._sinks:
            frame = self._tape.depth_frame(self._first, self._update, self._published, bids, asks, at_ms)
            self._sinks.frame("depth", frame)
        self._published, self._first = self._update, 0

    def _stamp_mark(self, at_ms: int) -> None:
        """Index: the fair value, smoothed. Mark: index plus the smoothed basis of the mid. Funding from the mean premium."""
        bid, _, ask, _ = self._book.best()
        middle = (bid + ask) / 2 if bid and ask else self._index
        self._index += (self.flow.fair - self._index) * 0.3
        self._premium += (middle - self._index - self._premium) * 0.1
        self._funding_premium += (self._premium / self._index - self._funding_premium) / 300.0
        rate = self._funding_premium + min(PREMIUM_BOUND, max(-PREMIUM_BOUND, INTEREST - self._funding_premium))
        tick = float(self.listing.tick)
        self._mark = MarkState(
            Decimal(f"{(self._index + self._premium) * tick:.8f}"), Decimal(f"{self._index * tick:.8f}"),
            Decimal(f"{rate:.8f}"), next_funding(at_ms, self.listing.funding_minutes),
        )  # fmt: skip

    def _history(self, seed: int, start: int, start_ms: int) -> None:
        """Minutes before the flow: a seeded walk that ends at the start price, where the first traded minute opens."""
        shape = self._shape
        random = np.random.Generator(np.random.PCG64([seed, 1]))
        count = HISTORY_MINUTES
        temper = np.exp(0.4 * np.convolve(random.standard_normal(count + 29), np.ones(30) / 30**0.5, "valid"))
        moves = random.standard_normal(count) * shape.sigma * 5.0 * temper
        path = np.concatenate([np.cumsum(moves[::-1])[::-1], [0.0]]) + start
        # A walk back in time may wander far from home: pull what is far towards it, without touching the end.
        path = start * np.exp(np.tanh((path - start) / start / 0.12) * 0.12)
        ticks = np.maximum(1, np.rint(path)).astype(np.int64)
        ticks[-1] = start
        wicks = np.abs(random.standard_normal((2, count))) * shape.sigma * 2.0 * temper
        highs = np.maximum(ticks[:-1], ticks[1:]) + wicks[0].astype(np.int64)
        lows = np.maximum(1, np.minimum(ticks[:-1], ticks[1:]) - wicks[1].astype(np.int64))
        trades = np.maximum(20, random.poisson(240, count))
        volumes = np.maximum(1, trades * shape.size * 0.5 * np.exp(0.4 * random.standard_normal(count))).astype(np.int64)
        opened = start_ms - start_ms % MINUTE_MS - count * MINUTE_MS
        pair = self.listing.tick * self.listing.step
        for index, (first, last, high, low, volume, number) in enumerate(
            zip(ticks[:-1].tolist(), ticks[1:].tolist(), highs.tolist(), lows.tolist(), volumes.tolist(), trades.tolist(),
                strict=True)
        ):  # fmt: skip
            open_ms = opened + index * MINUTE_MS
            self._tape.closed.append(KlineRow(
                open_ms, open_ms + MINUTE_MS - 1, first, high, low, last, volume, volume * ((first + last) // 2) * pair,
                number, int(volume * (0.65 - 0.3 * (last < first))),
            ))  # fmt: skip
        self._tape.open_bar(start_ms, start)
