"""A market that only moves when a test says so: a ladder in, exact fills out."""

from decimal import Decimal

import msgspec

from engine.events import Side
from engine.venue.market import Depth, Fill, KlineRow, Listing, MarketOrder, MarkState, Sinks, TapeRow

ASTER = Listing(
    symbol="ASTERUSDT", base="ASTER", quote="USDT", tick=Decimal("0.0001"), step=Decimal(1), min_quantity=1,
    max_quantity=1_000_000, max_market_quantity=250_000, min_notional=Decimal(5), max_leverage=50,
    maintenance_rate=Decimal("0.01"), maker_rate=Decimal("0.0002"), taker_rate=Decimal("0.0005"), funding_minutes=240,
)  # fmt: skip
FUNDING_MS = 240 * 60_000


class StillMarket:
    """Bids and asks by tick. `move` puts a new ladder and trades through it; frames are a test's to publish."""

    def __init__(self, listing: Listing = ASTER, bid: int = 9_999, ask: int = 10_001, size: int = 1_000) -> None:
        self.listing = listing
        self.sinks: Sinks | None = None
        self.size, self.levels = size, 50
        self.resting: dict[int, MarketOrder] = {}
        self.rows: list[TapeRow] = []
        self.trade_id = 100
        self.update = 1_000
        self.wanted: frozenset[str] = frozenset()
        self.now_ms = 0
        self.script: list[tuple[int, int]] = []  # ladders to move to at the next advance
        self.frames: list[tuple[str, bytes]] = []  # to be sent at the next advance
        self.ended = False
        self._ladder(bid, ask)
        self.state: MarkState | None = MarkState(self.middle(), self.middle(), Decimal("0.0001"), FUNDING_MS)

    def _ladder(self, bid: int, ask: int) -> None:
        self.bids = {bid - level: self.size for level in range(self.levels)}
        self.asks = {ask + level: self.size for level in range(self.levels)}

    def middle(self) -> Decimal:
        return Decimal(max(self.bids) + min(self.asks)) / 2 * self.listing.tick

    def move(self, bid: int, ask: int) -> None:
        """At the next advance: a new ladder, a trade at its bid and ask, resting orders that it crosses fill as makers."""
        self.script.append((bid, ask))

    def set_mark(self, mark: str, rate: str = "0.0001", next_funding_ms: int = FUNDING_MS) -> None:
        self.state = MarkState(Decimal(mark), Decimal(mark), Decimal(rate), next_funding_ms)

    # the protocol

    def attach(self, sinks: Sinks) -> None:
        self.sinks = sinks

    def subscribed(self, kinds: frozenset[str], now_ms: int) -> None:
        self.wanted = kinds

    def advance(self, now_ms: int) -> None:
        self.now_ms = now_ms
        frames, self.frames = self.frames, []
        for kind, body in frames:
            self._sink().frame(kind, body)
        while self.script:
            bid, ask = self.script.pop(0)
            self._ladder(bid, ask)
            if self.state:
                self.state = msgspec.structs.replace(self.state, mark=self.middle(), index=self.middle())
            for order in list(self.resting.values()):
                reached = ask <= order.limit if order.side is Side.BUY else bid >= order.limit
                if reached:
                    del self.resting[order.order_id]
                    self.trade_id += 1
                    self._sink().fill(Fill(order.order_id, order.limit, order.quantity, True, self.trade_id, now_ms))
            self._trade(bid, 1, now_ms)
            self._trade(ask, 1, now_ms)

    def submit(self, order: MarketOrder, now_ms: int) -> list[Fill]:
        fills, left = [], order.quantity
        book = self.asks if order.side is Side.BUY else self.bids
        for price in sorted(book, reverse=order.side is Side.SELL):
            if not left or (order.limit and (order.limit - price) * order.side < 0):
                break
            taken = min(left, book[price])
            left -= taken
            book[price] -= taken
            if not book[price]:
                del book[price]
            self._trade(price, taken, now_ms)
            fills.append(Fill(order.order_id, price, taken, False, self.trade_id, now_ms))
        if left and order.rests:
            self.resting[order.order_id] = msgspec.structs.replace(order, quantity=left)
        return fills

    def cancel(self, order_id: int) -> int:
        order = self.resting.pop(order_id, None)
        return order.quantity if order else 0

    def fillable(self, side: Side, limit: int) -> int:
        book = self.asks if side is Side.BUY else self.bids
        return sum(size for price, size in book.items() if not limit or (limit - price) * side >= 0)

    def best(self) -> tuple[int, int, int, int] | None:
        if not self.bids or not self.asks:
            return None
        bid, ask = max(self.bids), min(self.asks)
        return bid, self.bids[bid], ask, self.asks[ask]

    def depth(self, limit: int) -> Depth | None:
        bids, asks = sorted(self.bids.items(), reverse=True)[:limit], sorted(self.asks.items())[:limit]
        return Depth(self.update, bids, asks, self.now_ms)

    def mark(self) -> MarkState | None:
        return self.state

    def tape(self, limit: int, from_id: int | None) -> list[TapeRow]:
        return self.rows[-limit:] if from_id is None else [row for row in self.rows if row.id >= from_id][:limit]

    def klines(self, minutes: int, limit: int, start_ms: int | None, end_ms: int | None) -> list[KlineRow]:
        if not self.rows:
            return []
        prices, span = [row.price for row in self.rows], minutes * 60_000
        opened = self.now_ms // span * span
        volume = sum(row.quantity for row in self.rows)
        return [KlineRow(opened, opened + span - 1, prices[0], max(prices), min(prices), prices[-1], volume, Decimal(volume),
                         len(prices), volume // 2)]  # fmt: skip

    def _sink(self) -> Sinks:
        assert self.sinks is not None
        return self.sinks

    def _trade(self, price: int, quantity: int, now_ms: int) -> None:
        self.trade_id += 1
        self.rows.append(TapeRow(self.trade_id, price, quantity, self.trade_id, self.trade_id, now_ms, False))
        self._sink().trade(price, now_ms)
