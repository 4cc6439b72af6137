"""Takes a recorded book, recorded trades and our orders, or a bar; gives the fills that those orders would have had.

The recording does not know of us, so three rules stand in for what it cannot show: what we took stays taken until the
recording speaks of that level again; a resting order waits behind everything displayed when it arrived; and it is filled
when the market trades or quotes through it. Prices are integer ticks, quantities integer steps.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterator

import msgspec

from engine.events import Side
from engine.kernel import kernel


class OwnFill(msgspec.Struct, frozen=True):
    """A fill of one of our orders; `left` is what is still open of it."""

    order_id: int
    side: Side
    price: int
    quantity: int
    maker: bool
    left: int
    at_ms: int


class Resting(msgspec.Struct):
    """Our order in the queue: `queue_ahead` steps at its price must trade or leave before it is filled."""

    order_id: int
    side: Side
    price: int
    quantity: int  # still open
    queue_ahead: int


class Waiting(msgspec.Struct, frozen=True):
    """An order on its way: it reaches the book at `active_ms`."""

    active_ms: int
    order_id: int
    side: Side
    quantity: int
    limit: int
    rests: bool


@kernel
def reaches(side: int, limit: int, price: int) -> bool:
    """Whether an aggressor of `side` (1 buy, -1 sell) may trade at `price`; limit 0 means any."""
    return limit == 0 or side * (limit - price) >= 0


@kernel
def queue_fill(queue_ahead: int, quantity: int, traded: int) -> tuple[int, int]:
    """`traded` steps printed at our price: how many are ours, and what is then ahead of us."""
    if traded <= queue_ahead:
        return 0, queue_ahead - traded
    return min(quantity, traded - queue_ahead), 0


@kernel
def queue_shrinks(queue_ahead: int, displayed: int) -> int:
    """A level that displays less than what was ahead of us has lost some of it: we move up."""
    return min(queue_ahead, displayed)


# --- bars: what a market order, a stop or a target would have had of one ------------------------------------------------


@kernel
def half_spread(price: int, spread_bps: float) -> int:
    """Ticks from the middle to a touch, rounded away from it."""
    return math.ceil(price * spread_bps / 20_000.0 - 1e-9)


@kernel
def slippage_bps(base_bps: float, impact: float, range_bps: float, quantity: int, volume: int) -> float:
    """Beyond the touch: a part that is always paid, and one that grows with the range of a bar (ATR) and with the square root of
    the share of its volume that is taken (the square-root law of impact).
    """
    return base_bps + impact * range_bps * math.sqrt(min(quantity / max(volume, 1), 100.0))


@kernel
def bar_price(reference: int, side: int, spread_bps: float, slip_bps: float) -> int:
    """Ticks at which an aggressor of `side` is filled where the bar's price is `reference`; never better, at least one tick."""
    slip = math.ceil(reference * slip_bps / 10_000.0 - 1e-9)
    return max(reference + side * (half_spread(reference, spread_bps) + slip), 1)


@kernel
def stop_reference(side: int, stop: int, opening: int, high: int, low: int) -> int:
    """Where the stop of a position of `side` triggers within a bar, 0 where it does not: a gap through it is paid."""
    if stop <= 0:
        return 0
    if side * (opening - stop) <= 0:
        return opening
    worst = low if side > 0 else high
    return stop if side * (worst - stop) <= 0 else 0


@kernel
def target_reference(side: int, target: int, opening: int, high: int, low: int) -> int:
    """The same of a target; a gap beyond it is earned."""
    if target <= 0:
        return 0
    if side * (opening - target) >= 0:
        return opening
    best = high if side > 0 else low
    return target if side * (best - target) >= 0 else 0


@kernel
def liquidation_price(side: int, quantity: float, cost: float, wallet: float, maintenance: float) -> float:
    """Quote units at which the equity is down to the maintenance margin, 0 where no price does that. `quantity` (base units) and
    `cost` (quote units) are those of the position, alone on the account: wallet + side * (quantity * p - cost) = maintenance *
    quantity * p.
    """
    price = (side * cost - wallet) / (quantity * (side - maintenance))
    return max(price, 0.0)


class Ladder:
    """One side of a book: absolute sizes by price, the best one at hand."""

    __slots__ = ("_keys", "_sign", "sizes")

    def __init__(self, side: Side) -> None:
        self.sizes: dict[int, int] = {}
        self._sign = int(side)
        self._keys: list[int] = []  # sign * price, rising: the best is last

    def set(self, price: int, size: int) -> None:
        """`size` 0 deletes the level."""
        if size:
            if price not in self.sizes:
                insort(self._keys, self._sign * price)
            self.sizes[price] = size
        elif self.sizes.pop(price, 0):
            del self._keys[bisect_left(self._keys, self._sign * price)]

    def replace(self, sizes: dict[int, int]) -> None:
        self.sizes = dict(sizes)
        self._keys = sorted(self._sign * price for price in sizes)

    def prune(self, most: int) -> None:
        """Forget what lies further away than the best `most` levels."""
        for key in self._keys[:-most]:
            del self.sizes[self._sign * key]
        del self._keys[:-most]

    @property
    def best(self) -> int:
        """The best price, 0 when the side is empty."""
        return self._sign * self._keys[-1] if self._keys else 0

    def walk(self) -> Iterator[tuple[int, int]]:
        """`(price, size)`, best first; the ladder may not change meanwhile."""
        for key in reversed(self._keys):
            price = self._sign * key
            yield price, self.sizes[price]


def take(
    levels: Iterator[tuple[int, int]], taken: dict[int, int], side: Side, quantity: int, limit: int
) -> list[tuple[int, int]]:
    """Walk the opposite side's `levels` for an aggressor of `side`: `(price, quantity)` at each level, best first.

    `taken` is what we already took of a level's displayed size; the caller adds the result to it.
    """
    got: list[tuple[int, int]] = []
    for price, size in levels:
        if quantity <= 0 or not reaches(side, limit, price):
            break
        part = min(quantity, size - taken.get(price, 0))
        if part > 0:
            got.append((price, part))
            quantity -= part
    return got


class Shadow:
    """Our orders beside a recorded book. Feed it the recording in order; each call returns the fills it caused.

    A batch of `set_level` calls is one book event: call `settle` after it. With `latency_ms` an order placed at a time
    becomes active that much later, by `advance`.
    """

    def __init__(self, latency_ms: int = 0) -> None:
        self.bids, self.asks = Ladder(Side.BUY), Ladder(Side.SELL)
        self.resting: dict[int, Resting] = {}
        self._latency_ms = latency_ms
        self._waiting: list[Waiting] = []
        self._taken: dict[Side, dict[int, int]] = {Side.BUY: {}, Side.SELL: {}}  # by the side of the book it was taken from

    def ladder(self, side: Side) -> Ladder:
        return self.bids if side is Side.BUY else self.asks

    # the recording

    def replace(self, bids: dict[int, int], asks: dict[int, int], at_ms: int) -> list[OwnFill]:
        """A snapshot: the whole book at once."""
        self.bids.replace(bids)
        self.asks.replace(asks)
        for taken in self._taken.values():
            taken.clear()
        for order in self.resting.values():
            order.queue_ahead = queue_shrinks(order.queue_ahead, self.ladder(order.side).sizes.get(order.price, 0))
        return self.settle(at_ms)

    def set_level(self, side: Side, price: int, size: int) -> None:
        (self.bids if side is Side.BUY else self.asks).set(price, size)
        taken = self._taken[side]
        if taken:
            taken.pop(price, None)
        for order in self.resting.values():
            if order.price == price and order.side is side:
                order.queue_ahead = queue_shrinks(order.queue_ahead, size)

    def settle(self, at_ms: int) -> list[OwnFill]:
        """After a book event: resting orders that the opposite best has reached are filled at their price."""
        if not self.resting:
            return []
        return self.quoted(self.bids.best, self.asks.best, at_ms)

    def quoted(self, bid: int, ask: int, at_ms: int) -> list[OwnFill]:
        """The market's best prices (0 for none): it cannot quote at or through our price without having filled us."""
        hit = [o for o in self.resting.values() if (0 < ask <= o.price if o.side is Side.BUY else bid >= o.price)]
        return [self._fill(order, order.quantity, at_ms) for order in hit]

    def traded(self, price: int, size: int, aggressor: Side, at_ms: int) -> list[OwnFill]:
        """A recorded trade: at our price it works through the queue, beyond it we are filled whole."""
        fills: list[OwnFill] = []
        ours = 0
        passive = [o for o in self.resting.values() if o.side is not aggressor]
        passive.sort(key=lambda order: -order.side * order.price)
        for order in passive:
            if order.side * (order.price - price) > 0:
                fills.append(self._fill(order, order.quantity, at_ms))
            elif order.price == price:
                part, order.queue_ahead = queue_fill(order.queue_ahead, order.quantity, size - ours)
                if part:
                    ours += part
                    fills.append(self._fill(order, part, at_ms))
        return fills

    # our orders

    def place(self, order_id: int, side: Side, quantity: int, limit: int, rests: bool, at_ms: int) -> list[OwnFill]:
        """`limit` 0 is a market order; what is left of an order that `rests` joins the queue at its limit."""
        order = Waiting(at_ms + self._latency_ms, order_id, side, quantity, limit, rests)
        if self._latency_ms:
            self._waiting.append(order)
            return []
        return self._arrive(order, at_ms)

    def join(self, order_id: int, side: Side, quantity: int, limit: int) -> None:
        """An order joins its queue without meeting the other side: the book is not known now."""
        ahead = self.ladder(side).sizes.get(limit, 0)
        self.resting[order_id] = Resting(order_id, side, limit, quantity, ahead)

    def advance(self, now_ms: int) -> list[OwnFill]:
        """Let the orders arrive whose latency has passed, in the order in which they were placed."""
        fills: list[OwnFill] = []
        while self._waiting and self._waiting[0].active_ms <= now_ms:
            order = self._waiting.pop(0)
            fills += self._arrive(order, order.active_ms)
        return fills

    def cancel(self, order_id: int) -> int:
        """Take an order out, arrived or not; returns the steps that were left, 0 if it is not there."""
        resting = self.resting.pop(order_id, None)
        if resting:
            return resting.quantity
        for index, order in enumerate(self._waiting):
            if order.order_id == order_id:
                del self._waiting[index]
                return order.quantity
        return 0

    def fillable(self, side: Side, limit: int) -> int:
        """Steps that an aggressor of `side` could take now at `limit` or better."""
        taken = self._taken[side.other]
        total = 0
        for price, size in self.ladder(side.other).walk():
            if not reaches(side, limit, price):
                break
            total += max(0, size - taken.get(price, 0))
        return total

    def _arrive(self, order: Waiting, at_ms: int) -> list[OwnFill]:
        fills: list[OwnFill] = []
        left, taken = order.quantity, self._taken[order.side.other]
        for price, part in take(self.ladder(order.side.other).walk(), taken, order.side, left, order.limit):
            taken[price] = taken.get(price, 0) + part
            left -= part
            fills.append(OwnFill(order.order_id, order.side, price, part, False, left, at_ms))
        if left and order.rests and order.limit:
            ahead = self.ladder(order.side).sizes.get(order.limit, 0)
            self.resting[order.order_id] = Resting(order.order_id, order.side, order.limit, left, ahead)
        return fills

    def _fill(self, order: Resting, part: int, at_ms: int) -> OwnFill:
        order.quantity -= part
        if not order.quantity:
            self.resting.pop(order.order_id, None)
        return OwnFill(order.order_id, order.side, order.price, part, True, order.quantity, at_ms)
