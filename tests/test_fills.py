"""Orders against a recorded book: what they take, how they wait, when they are filled."""

from hypothesis import given
from hypothesis import strategies as st

from engine.events import Side
from engine.fills import Ladder, Shadow, queue_fill, take


def book(latency_ms: int = 0) -> Shadow:
    shadow = Shadow(latency_ms)
    shadow.replace({100: 5, 99: 7}, {102: 4, 103: 6}, 0)
    return shadow


def test_a_market_order_walks_the_levels_and_reports_each_price() -> None:
    fills = book().place(1, Side.BUY, 7, 0, False, 10)
    assert [(f.price, f.quantity, f.left, f.maker) for f in fills] == [(102, 4, 3, False), (103, 3, 0, False)]


def test_two_market_orders_in_a_row_do_not_take_the_same_size_twice() -> None:
    shadow = book()
    shadow.place(1, Side.SELL, 5, 0, False, 10)
    assert [(f.price, f.quantity) for f in shadow.place(2, Side.SELL, 9, 0, False, 11)] == [(99, 7)]
    assert shadow.fillable(Side.SELL, 0) == 0


def test_what_was_taken_is_there_again_once_the_recording_updates_the_level() -> None:
    shadow = book()
    shadow.place(1, Side.SELL, 5, 100, False, 10)
    shadow.set_level(Side.BUY, 100, 3)
    assert shadow.fillable(Side.SELL, 100) == 3


def test_a_limit_order_stops_at_its_price_and_the_rest_joins_the_queue() -> None:
    shadow = book()
    fills = shadow.place(1, Side.BUY, 6, 102, True, 10)
    assert [(f.price, f.quantity) for f in fills] == [(102, 4)]
    assert (shadow.resting[1].quantity, shadow.resting[1].queue_ahead) == (2, 0)


def test_an_order_that_does_not_rest_is_dropped() -> None:
    shadow = book()
    assert shadow.place(1, Side.BUY, 6, 101, False, 10) == [] and not shadow.resting


def test_trades_at_our_price_eat_the_queue_before_they_fill_us() -> None:
    shadow = book()
    shadow.place(1, Side.BUY, 4, 100, True, 10)
    assert shadow.traded(100, 5, Side.SELL, 20) == []
    assert [(f.quantity, f.left, f.maker) for f in shadow.traded(100, 3, Side.SELL, 21)] == [(3, 1, True)]
    assert [(f.quantity, f.left) for f in shadow.traded(100, 9, Side.SELL, 22)] == [(1, 0)]
    assert not shadow.resting


def test_a_trade_by_our_own_side_does_not_fill_us() -> None:
    shadow = book()
    shadow.place(1, Side.BUY, 4, 101, True, 10)
    assert shadow.traded(101, 50, Side.BUY, 20) == []


def test_a_level_that_shrinks_moves_us_up() -> None:
    shadow = book()
    shadow.place(1, Side.BUY, 4, 100, True, 10)
    shadow.set_level(Side.BUY, 100, 2)
    assert [f.quantity for f in shadow.traded(100, 3, Side.SELL, 20)] == [1]


def test_a_level_that_grows_does_not_move_us_back() -> None:
    shadow = book()
    shadow.place(1, Side.BUY, 4, 100, True, 10)
    shadow.set_level(Side.BUY, 100, 50)
    assert [f.quantity for f in shadow.traded(100, 6, Side.SELL, 20)] == [1]


def test_a_trade_through_our_price_fills_us_whole_at_our_price() -> None:
    shadow = book()
    shadow.place(1, Side.BUY, 4, 100, True, 10)
    assert [(f.price, f.quantity) for f in shadow.traded(99, 1, Side.SELL, 20)] == [(100, 4)]


def test_the_opposite_best_reaching_our_price_fills_us_at_our_price() -> None:
    shadow = book()
    shadow.place(1, Side.SELL, 4, 103, True, 10)
    for price, size in ((102, 0), (103, 0)):
        shadow.set_level(Side.SELL, price, size)
    shadow.set_level(Side.SELL, 106, 1)
    shadow.set_level(Side.BUY, 105, 2)
    assert [(f.price, f.quantity, f.at_ms) for f in shadow.settle(30)] == [(103, 4, 30)]


def test_two_of_our_orders_at_one_price_share_a_trade_in_their_order() -> None:
    shadow = book()
    shadow.place(1, Side.BUY, 4, 101, True, 10)
    shadow.place(2, Side.BUY, 4, 101, True, 11)
    assert [(f.order_id, f.quantity) for f in shadow.traded(101, 6, Side.SELL, 20)] == [(1, 4), (2, 2)]


def test_an_order_becomes_active_after_its_latency_and_meets_the_book_of_then() -> None:
    shadow = book(latency_ms=50)
    assert shadow.place(1, Side.BUY, 4, 0, False, 100) == []
    shadow.set_level(Side.SELL, 102, 0)
    assert shadow.advance(149) == []
    assert [(f.price, f.at_ms) for f in shadow.advance(200)] == [(103, 150)]


def test_a_cancel_returns_what_was_left_whether_resting_or_on_its_way() -> None:
    shadow = book()
    shadow.place(1, Side.BUY, 4, 101, True, 10)
    shadow.traded(101, 1, Side.SELL, 20)
    assert (shadow.cancel(1), shadow.cancel(1)) == (3, 0)
    late = book(latency_ms=50)
    late.place(2, Side.BUY, 4, 101, True, 10)
    assert late.cancel(2) == 4 and late.advance(1000) == [] and not late.resting


@given(st.integers(0, 100), st.integers(1, 100), st.integers(0, 200))
def test_no_step_of_a_trade_is_counted_twice(ahead: int, quantity: int, traded: int) -> None:
    ours, left_ahead = queue_fill(ahead, quantity, traded)
    assert ours + (ahead - left_ahead) <= traded and 0 <= ours <= quantity and 0 <= left_ahead <= ahead
    assert ours == 0 or left_ahead == 0


@given(st.dictionaries(st.integers(1, 50), st.integers(1, 9), max_size=20), st.integers(1, 200), st.integers(0, 50))
def test_a_taker_gets_the_best_prices_first_and_no_more_than_is_there(sizes: dict[int, int], quantity: int, limit: int) -> None:
    ladder = Ladder(Side.SELL)
    for price, size in sizes.items():
        ladder.set(price, size)
    got = take(ladder.walk(), {}, Side.BUY, quantity, limit)
    within = sum(size for price, size in sizes.items() if not limit or price <= limit)
    assert [price for price, _ in got] == sorted(price for price, _ in got)
    assert sum(part for _, part in got) == min(quantity, within)


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 5))))
def test_a_ladder_agrees_with_a_dictionary(updates: list[tuple[int, int]]) -> None:
    ladder, plain = Ladder(Side.BUY), dict[int, int]()
    for price, size in updates:
        ladder.set(price, size)
        plain[price] = size
    live = {price: size for price, size in plain.items() if size}
    assert list(ladder.walk()) == sorted(live.items(), reverse=True)
    assert ladder.best == max(live, default=0)
