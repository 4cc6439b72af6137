"""Takes limit and market orders and cancels; gives matches by price, then time, and the sizes that are left at each price.

Order ids are the caller's; an id may be used again once its order is gone. Prices are integer ticks, quantities steps.
"""

from bisect import bisect_left, insort
from collections.abc import Iterator
from typing import NamedTuple

from engine.events import Side


class Match(NamedTuple):
    """One maker met by the aggressor, at the maker's price; `left` is what the maker still has in the book."""

    maker_id: int
    price: int
    quantity: int
    left: int


class Order:
    """An order that rests: `left` steps at `price`."""

    __slots__ = ("left", "order_id", "price", "side")

    def __init__(self, order_id: int, side: Side, price: int, left: int) -> None:
        self.order_id, self.side, self.price, self.left = order_id, side, price, left


class Queue:
    """The orders at one price, oldest first (a dict keeps their order and cancels in constant time)."""

    __slots__ = ("orders", "total")

    def __init__(self) -> None:
        self.orders: dict[int, Order] = {}
        self.total = 0


class HalfBook:
    """One side: queues by price, the best one last in `keys`."""

    __slots__ = ("keys", "queues", "sign", "touched")

    def __init__(self, side: Side) -> None:
        self.sign = int(side)
        self.keys: list[int] = []  # sign * price, rising
        self.queues: dict[int, Queue] = {}
        self.touched: set[int] = set()  # prices changed since the last `OrderBook.changes`

    @property
    def best(self) -> int:
        """The best price, 0 when the side is empty."""
        return self.sign * self.keys[-1] if self.keys else 0

    def size(self, price: int) -> int:
        queue = self.queues.get(price)
        return queue.total if queue else 0

    def join(self, order: Order) -> None:
        queue = self.queues.get(order.price)
        if queue is None:
            queue = self.queues[order.price] = Queue()
            insort(self.keys, self.sign * order.price)
        queue.orders[order.order_id] = order
        queue.total += order.left
        self.touched.add(order.price)

    def leave(self, order: Order) -> None:
        queue = self.queues[order.price]
        del queue.orders[order.order_id]
        queue.total -= order.left
        self.touched.add(order.price)
        if not queue.orders:
            self.drop(order.price)

    def drop(self, price: int) -> None:
        """Forget an empty price."""
        del self.queues[price]
        del self.keys[bisect_left(self.keys, self.sign * price)]

    def walk(self) -> Iterator[tuple[int, int]]:
        """`(price, size)`, best first."""
        for key in reversed(self.keys):
            price = self.sign * key
            yield price, self.queues[price].total


class OrderBook:
    """A continuous double auction. It is never crossed: whatever could trade has traded."""

    def __init__(self) -> None:
        self.bids, self.asks = HalfBook(Side.BUY), HalfBook(Side.SELL)
        self.orders: dict[int, Order] = {}

    def half(self, side: Side) -> HalfBook:
        return self.bids if side is Side.BUY else self.asks

    def submit(self, order_id: int, side: Side, quantity: int, limit: int, rests: bool) -> list[Match]:
        """Match `quantity` at `limit` or better (0: any price); what is left joins the book if `rests` and there is a limit."""
        if quantity <= 0 or limit < 0:
            raise ValueError(f"an order needs a positive quantity and no negative limit, not {quantity} at {limit}")
        if order_id in self.orders:
            raise ValueError(f"order {order_id} is already in the book")
        other = self.asks if side is Side.BUY else self.bids
        matches: list[Match] = []
        sign = int(side)
        while quantity and other.keys:
            price = other.sign * other.keys[-1]
            if limit and sign * (limit - price) < 0:
                break
            queue = other.queues[price]
            other.touched.add(price)
            gone: list[int] = []
            for maker in queue.orders.values():
                part = min(quantity, maker.left)
                maker.left -= part
                queue.total -= part
                quantity -= part
                matches.append(Match(maker.order_id, price, part, maker.left))
                if not maker.left:
                    gone.append(maker.order_id)
                if not quantity:
                    break
            for maker_id in gone:
                del queue.orders[maker_id], self.orders[maker_id]
            if not queue.orders:
                other.drop(price)
        if quantity and rests and limit:
            order = self.orders[order_id] = Order(order_id, side, limit, quantity)
            self.half(side).join(order)
        return matches

    def cancel(self, order_id: int) -> int:
        """Take an order out; returns the steps that were left, 0 if it is not in the book."""
        order = self.orders.pop(order_id, None)
        if order is None:
            return 0
        self.half(order.side).leave(order)
        return order.left

    def fillable(self, side: Side, limit: int) -> int:
        """Steps that an aggressor of `side` could take now at `limit` or better (0: any price)."""
        total = 0
        for price, size in self.half(side.other).walk():
            if limit and int(side) * (limit - price) < 0:
                break
            total += size
        return total

    def best(self) -> tuple[int, int, int, int]:
        """Best bid, its size, best ask, its size; zeros where a side is empty."""
        bid, ask = self.bids.best, self.asks.best
        return bid, self.bids.size(bid), ask, self.asks.size(ask)

    def changes(self) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Bids and asks touched since the last call with their sizes now (0: gone), rising by price."""
        bids = [(price, self.bids.size(price)) for price in sorted(self.bids.touched)]
        asks = [(price, self.asks.size(price)) for price in sorted(self.asks.touched)]
        self.bids.touched.clear()
        self.asks.touched.clear()
        return bids, asks
