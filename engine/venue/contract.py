"""A market goes in; the exchange's memory of it between two moments comes out: last price, range, mark, settlements."""

from collections import deque
from decimal import Decimal

from engine.venue.market import Listing, Market, MarkState


class Contract:
    """One market and what the exchange remembers of it between two moments."""

    def __init__(self, market: Market) -> None:
        self.market = market
        self.listing: Listing = market.listing
        self.last = 0
        self.traded_low = 0  # range of trades since triggers were looked at, 0: none
        self.traded_high = 0
        self.state: MarkState | None = None
        self.funding: deque[tuple[int, Decimal, Decimal]] = deque(maxlen=1000)  # time, rate, mark

    def traded(self, price: int, at_ms: int) -> None:
        self.last = price
        self.traded_low = min(price, self.traded_low) if self.traded_low else price
        self.traded_high = max(price, self.traded_high)

    def last_price(self) -> int:
        """Ticks of the last trade; before the first one, the middle of the book; 0 while there is neither."""
        if not self.last and (rows := self.market.tape(1, None)):
            self.last = rows[-1].price
        if not self.last and (best := self.market.best()):
            return (best[0] + best[2]) // 2
        return self.last

    def mark(self) -> Decimal:
        return self.state.mark if self.state else self.last_price() * self.listing.tick
