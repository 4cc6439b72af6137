"""What a simulated market offers the exchange above it: time in; frames, trades and fills out.

Two markets implement it: `generated` (order flow into a matching engine) and `captured` (a recording, our orders filled
against its book by `engine.fills`). Everything here is pure: time is passed in, randomness comes from a seed.
Prices are integer ticks, quantities integer steps of the listing.
"""

from collections.abc import Callable
from decimal import Decimal
from typing import Protocol

import msgspec

from engine.events import Side


class Listing(msgspec.Struct, frozen=True):
    """A contract as the venue lists it. Quantities are in steps, rates are fractions."""

    symbol: str  # ASTERUSDT
    base: str
    quote: str
    tick: Decimal
    step: Decimal
    min_quantity: int
    max_quantity: int
    max_market_quantity: int
    min_notional: Decimal
    max_leverage: int
    maintenance_rate: Decimal
    maker_rate: Decimal
    taker_rate: Decimal
    funding_minutes: int
    onboard_ms: int = 1_758_283_200_000


class Fill(msgspec.Struct, frozen=True):
    """A fill of one of the exchange's orders. `trade_id` counts within the market."""

    order_id: int
    price: int
    quantity: int
    maker: bool
    trade_id: int
    at_ms: int


class MarketOrder(msgspec.Struct, frozen=True):
    """What the exchange asks of the market. `limit` is 0 for a market order (takes what there is, never rests).

    `rests`: a remainder joins the book (GTC, GTX); otherwise it is dropped (IOC, market). FOK and post-only are the
    exchange's business: it asks `fillable` first.
    """

    order_id: int
    side: Side
    quantity: int
    limit: int
    rests: bool


class Depth(msgspec.Struct, frozen=True):
    """The book for REST: `(price, size)` best first, at update `last_id`."""

    last_id: int
    bids: list[tuple[int, int]]
    asks: list[tuple[int, int]]
    at_ms: int


class MarkState(msgspec.Struct, frozen=True):
    """Mark and index in quote units; `rate` is what the settlement at `next_funding_ms` will use."""

    mark: Decimal
    index: Decimal
    rate: Decimal
    next_funding_ms: int


class TapeRow(msgspec.Struct, frozen=True):
    """An aggregated trade as REST `aggTrades` gives it; `maker_is_buyer` means that the aggressor sold."""

    id: int
    price: int
    quantity: int
    first_id: int
    last_id: int
    at_ms: int
    maker_is_buyer: bool


class KlineRow(msgspec.Struct, frozen=True):
    """A bar of `minutes`; prices in ticks, volumes in steps, `quote_volume` in quote units."""

    open_ms: int
    close_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    quote_volume: Decimal
    trades: int
    taker_buy_volume: int


class Sinks(msgspec.Struct):
    """Where a market puts what happens while time advances or an order is matched.

    `frame(kind, body)`: a raw Binance market-data frame, ready JSON without the combined-stream envelope; `kind` is the
    stream's name without symbol and speed: `depth`, `bookTicker`, `aggTrade`, `trade`, `markPrice`, `kline_1m`, `forceOrder`.
    `fill(fill)`: a resting order of the exchange was filled. `trade(price, at_ms)`: the last price moved (triggers).
    """

    frame: Callable[[str, bytes], None]
    fill: Callable[[Fill], None]
    trade: Callable[[int, int], None]


class Market(Protocol):
    """One contract's market. `advance` is called every few milliseconds with rising time."""

    listing: Listing

    def attach(self, sinks: Sinks) -> None:
        """Set once, before anything else."""

    def subscribed(self, kinds: frozenset[str], now_ms: int) -> None:
        """The kinds that somebody listens to now; a recording starts when all that it holds are wanted."""

    def advance(self, now_ms: int) -> None:
        """Let everything happen that is due."""

    def submit(self, order: MarketOrder, now_ms: int) -> list[Fill]:
        """Match at once; the fills of the aggressing part are returned, those of a resting part come by the sink."""

    def cancel(self, order_id: int) -> int:
        """Take a resting order out; returns the steps that were left, 0 if it was not there."""

    def fillable(self, side: Side, limit: int) -> int:
        """Steps that an aggressor of `side` could take now at `limit` or better (0: any price)."""

    def best(self) -> tuple[int, int, int, int] | None:
        """Best bid, its size, best ask, its size; None while there is no book."""

    def depth(self, limit: int) -> Depth | None:
        """The newest book, None while a recording has not reached its first snapshot."""

    def mark(self) -> MarkState | None: ...

    def tape(self, limit: int, from_id: int | None) -> list[TapeRow]:
        """Aggregated trades, oldest first: the newest `limit`, or those from `from_id` on."""

    def klines(self, minutes: int, limit: int, start_ms: int | None, end_ms: int | None) -> list[KlineRow]:
        """Bars, oldest first, the last one may be unfinished."""

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen (a recording that was played to its end)."""
