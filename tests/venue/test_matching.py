"""The matching engine: price, then time; nothing crossed, nothing lost."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.events import Side
from engine.venue.matching import Match, OrderBook

SIDES = st.sampled_from([Side.BUY, Side.SELL])
SUBMITS = st.tuples(SIDES, st.integers(1, 20), st.integers(0, 12), st.booleans())
HISTORIES = st.lists(st.one_of(SUBMITS, st.integers(0, 40)), max_size=60)


def test_an_aggressor_meets_the_best_price_first_and_the_oldest_order_in_it() -> None:
    book = OrderBook()
    book.submit(1, Side.SELL, 3, 101, True)
    book.submit(2, Side.SELL, 3, 100, True)
    book.submit(3, Side.SELL, 3, 100, True)
    assert book.submit(4, Side.BUY, 7, 101, False) == [Match(2, 100, 3, 0), Match(3, 100, 3, 0), Match(1, 101, 1, 2)]
    assert book.best() == (0, 0, 101, 2)


def test_a_partly_filled_maker_keeps_its_place() -> None:
    book = OrderBook()
    book.submit(1, Side.BUY, 5, 100, True)
    book.submit(2, Side.BUY, 5, 100, True)
    book.submit(3, Side.SELL, 2, 0, False)
    assert [m.maker_id for m in book.submit(4, Side.SELL, 4, 0, False)] == [1, 2]


def test_what_a_limit_order_cannot_take_joins_the_book() -> None:
    book = OrderBook()
    book.submit(1, Side.SELL, 3, 100, True)
    book.submit(2, Side.BUY, 5, 100, True)
    assert book.best() == (100, 2, 0, 0) and book.cancel(2) == 2 and book.cancel(2) == 0


def test_a_market_order_never_rests() -> None:
    book = OrderBook()
    assert book.submit(1, Side.BUY, 5, 0, True) == [] and not book.orders


def test_changes_name_each_touched_price_once_with_its_size_now() -> None:
    book = OrderBook()
    book.submit(1, Side.BUY, 5, 100, True)
    book.submit(2, Side.BUY, 5, 99, True)
    book.cancel(2)
    assert book.changes() == ([(99, 0), (100, 5)], []) and book.changes() == ([], [])


@pytest.mark.parametrize(("quantity", "limit"), [(0, 1), (-1, 1), (1, -1)])
def test_an_impossible_order_is_refused(quantity: int, limit: int) -> None:
    with pytest.raises(ValueError, match="positive quantity"):
        OrderBook().submit(1, Side.BUY, quantity, limit, True)


def test_an_order_id_in_the_book_may_not_be_used_again() -> None:
    book = OrderBook()
    book.submit(1, Side.BUY, 1, 10, True)
    with pytest.raises(ValueError, match="already"):
        book.submit(1, Side.BUY, 1, 10, True)


@given(HISTORIES)
def test_the_book_is_never_crossed_and_agrees_with_an_obvious_model(history: list[tuple[Side, int, int, bool] | int]) -> None:
    book = OrderBook()
    open_orders: dict[int, tuple[Side, int, int]] = {}  # a slow, obvious model: id -> side, price, left; in order of arrival
    for number, action in enumerate(history, 1):
        if isinstance(action, int):
            assert book.cancel(action) == open_orders.pop(action, (Side.BUY, 0, 0))[2]
            continue
        side, quantity, limit, rests = action
        takeable = book.fillable(side, limit)
        matches = book.submit(number, side, quantity, limit, rests)
        others = [(-side * price, order_id) for order_id, (owner, price, _) in open_orders.items() if owner is not side]
        expected = [order_id for _, order_id in sorted(others, key=lambda item: (-item[0], item[1]))]
        assert [match.maker_id for match in matches] == expected[: len(matches)]
        traded = sum(match.quantity for match in matches)
        assert traded == min(quantity, takeable)
        for match in matches:
            owner, price, left = open_orders[match.maker_id]
            assert price == match.price and left - match.quantity == match.left
            open_orders[match.maker_id] = (owner, price, match.left)
            if not match.left:
                del open_orders[match.maker_id]
        if rests and limit and quantity > traded:
            open_orders[number] = (side, limit, quantity - traded)
        bid, _, ask, _ = book.best()
        assert not bid or not ask or bid < ask
        assert {i: (o.side, o.price, o.left) for i, o in book.orders.items()} == open_orders
        for half, side_of in ((book.bids, Side.BUY), (book.asks, Side.SELL)):
            totals: dict[int, int] = {}
            for owner, price, left in open_orders.values():
                if owner is side_of:
                    totals[price] = totals.get(price, 0) + left
            assert list(half.walk()) == sorted(totals.items(), reverse=side_of is Side.BUY)
