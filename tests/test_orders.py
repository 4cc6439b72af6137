"""An order's life: every path, in every order of arrival, and nothing that cannot be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import InvariantError
from engine.events import OrderKind, OrderReport, OrderState, Purpose, Side, TimeInForce
from engine.execution import orders
from engine.execution.orders import Order

S = OrderState
SECOND = 1_000_000_000


def new(state: OrderState = S.SENT, **changes: object) -> Order:
    order = Order("bt1", "m", OrderKind.MARKET, Purpose.ENTRY, Side.BUY, 100, 0, 0, TimeInForce.GTC, False, 0, **changes)  # type: ignore[arg-type]
    order.state = state
    return order


def report(status: str, filled: int = 0, at: int = 1) -> OrderReport:
    return OrderReport(at, "m", "bt1", "v1", status, Side.BUY, 100, filled, False, 0)


def test_the_usual_life() -> None:
    order = new(S.CREATED)
    orders.move(order, S.SENT, 1, "")
    assert orders.accepted(order, "v1", 2) == (S.SENT, S.WORKING)
    assert orders.reported(order, report("PARTIALLY_FILLED", 40)) == (S.WORKING, S.PARTLY_FILLED)
    assert orders.reported(order, report("FILLED", 100)) == (S.PARTLY_FILLED, S.FILLED)
    assert order.unfilled == 0 and not order.open


def test_a_fill_that_overtakes_the_reply_stands() -> None:
    order = new()
    orders.reported(order, report("FILLED", 100))
    assert orders.accepted(order, "v1", 3) is None
    assert orders.refused(order, "late", 3) is None
    assert orders.fate_unknown(order, "late", 3) is None
    assert order.state is S.FILLED


def test_a_timed_out_order_is_unknown_and_not_rejected() -> None:
    order = new()
    assert orders.fate_unknown(order, "no reply", 1) == (S.SENT, S.UNKNOWN)
    assert order.open


def test_look_ups_follow_the_schedule() -> None:
    order = new()
    orders.fate_unknown(order, "no reply", 0)
    asked = [ms for ms in range(0, 12_000, 10) if orders.due_look_up(order, ms * 1_000_000)]
    assert asked == [200, 700, 1700, 3700, 7700, 11700]


def test_a_market_order_that_is_accepted_and_whose_end_nobody_tells_is_asked_for() -> None:
    """Its report was lost on a stream that lives: what it filled would have no stop until the next comparison."""
    order = new()
    orders.accepted(order, "v1", 0)
    asked = [ms for ms in range(0, 4_000, 10) if orders.due_look_up(order, ms * 1_000_000)]
    assert asked == [1000, 1500, 2500]
    orders.reported(order, report("PARTIALLY_FILLED", 40, 5 * SECOND))
    assert not orders.due_look_up(order, 5 * SECOND) and orders.due_look_up(order, 6 * SECOND), "and so is the rest of it"
    orders.reported(order, report("FILLED", 100, 7 * SECOND))
    assert not orders.due_look_up(order, 60 * SECOND)


@pytest.mark.parametrize("kind", [OrderKind.LIMIT, OrderKind.STOP, OrderKind.TRAILING])
def test_an_order_that_may_rest_is_not_asked_for_while_it_rests(kind: OrderKind) -> None:
    order = new()
    order.kind = kind
    orders.accepted(order, "v1", 0)
    assert not orders.due_look_up(order, 3_600 * SECOND)


def test_not_found_is_believed_only_when_it_can_no_longer_execute_and_twice() -> None:
    order = new()
    orders.fate_unknown(order, "no reply", 0)
    for at in (1, 2, 3):
        assert orders.not_found(order, at * SECOND, 6 * SECOND) is None
    assert orders.not_found(order, 6 * SECOND, 6 * SECOND) is None
    assert orders.not_found(order, 7 * SECOND, 6 * SECOND) == (S.UNKNOWN, S.REJECTED)


def test_an_order_that_we_gave_up_and_the_venue_filled_is_filled() -> None:
    order = new(S.REJECTED)
    assert orders.reported(order, report("FILLED", 100)) == (S.REJECTED, S.FILLED)


def test_a_cancel_and_a_fill_race_and_the_fill_wins() -> None:
    order = new(S.WORKING)
    assert orders.ask_cancel(order, 1) == (S.WORKING, S.CANCELLING)
    assert orders.reported(order, report("FILLED", 100)) == (S.CANCELLING, S.FILLED)
    assert orders.reported(order, report("CANCELED", 0)) is None


def test_a_cancel_of_an_unanswered_order_does_not_hide_that_its_fate_is_open() -> None:
    order = new(S.UNKNOWN)
    assert orders.ask_cancel(order, 5) is None
    assert order.state is S.UNKNOWN and order.cancel_asked_at == 5


def test_late_news_does_not_wake_a_finished_order() -> None:
    order = new(S.FILLED, filled=100)
    for status in ("NEW", "PARTIALLY_FILLED", "CANCELED", "EXPIRED", "FILLED"):
        assert orders.reported(order, report(status, 40)) is None
    assert order.filled == 100


def test_a_stop_works_until_its_market_order_reports() -> None:
    order = new(S.SENT)
    assert orders.conditional_reported(order, "NEW", "a1", "", 1) == (S.SENT, S.WORKING)
    assert orders.conditional_reported(order, "TRIGGERING", "a1", "", 2) is None
    assert orders.reported(order, report("FILLED", 100)) == (S.WORKING, S.FILLED)
    assert orders.conditional_reported(order, "FINISHED", "a1", "", 3) is None


def test_an_impossible_step_is_a_bug() -> None:
    with pytest.raises(InvariantError, match="cannot go from filled to sent"):
        orders.move(new(S.FILLED), S.SENT, 1, "no")
    with pytest.raises(InvariantError, match="never sent"):
        orders.reported(new(S.CREATED), report("NEW"))


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("report"), st.sampled_from(sorted(orders.VENUE_STATUS)), st.integers(0, 100)),
        st.tuples(st.just("algo"), st.sampled_from(sorted(orders.CONDITIONAL_STATUS)), st.just(0)),
        st.tuples(st.sampled_from(["accepted", "refused", "unknown", "not found", "cancel"]), st.just(""), st.just(0)),
    ),
    max_size=25,
)


@given(STEPS)
def test_no_order_of_news_breaks_an_order(steps: list[tuple[str, str, int]]) -> None:
    """Whatever comes, in whatever order: no impossible step, filled never shrinks, filled stays filled."""
    order, filled = new(), 0
    for number, (kind, status, amount) in enumerate(steps, start=1):
        was_filled = order.state is S.FILLED
        at = number * 10 * SECOND
        match kind:
            case "report":
                orders.reported(order, report(status, amount, at))
            case "algo":
                orders.conditional_reported(order, status, "a1", "", at)
            case "accepted":
                orders.accepted(order, "v1", at)
            case "refused":
                orders.refused(order, "no", at)
            case "unknown":
                orders.fate_unknown(order, "no reply", at)
            case "not found":
                orders.not_found(order, at, SECOND)
            case _ if order.open:
                orders.ask_cancel(order, at)
        assert order.filled >= filled
        assert order.state is S.FILLED or not was_filled
        filled = order.filled
