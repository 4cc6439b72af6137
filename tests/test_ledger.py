"""Who earned what: by instrument, venue, judge and judgment, each sums up to the totals exactly; and when a day begins."""

from decimal import Decimal

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core import trading
from engine.core.recovery import recollection
from engine.core.state import FINAL_ORDERS_KEPT
from engine.core.trading import Out
from engine.events import (
    Action,
    BalanceChange,
    Command,
    Decided,
    Mode,
    OrderKind,
    OrderState,
    Purpose,
    Recovered,
    SendOrder,
    Side,
    Started,
    Ticket,
)
from engine.execution import orders
from engine.portfolio import JUDGMENTS_KEPT, Earned, Owner, Portfolio, commission
from tests.factory import MAKER, MARKET, SECOND, START, TAKER, Desk, aster, of, sent, settings
from tests.test_core import entered, fill, protect
from tests.test_judging import Judging

OTHER = msgspec.structs.replace(aster(), market="okx:ASTER/USDT:USDT")
THIRD = msgspec.structs.replace(aster(), market="binance:BTC/USDT:USDT", step=Decimal("0.001"))
RULES, MODEL = Owner("", "rules"), Owner("q1", "mistral")
DAY = 86_400 * SECOND

FILL = st.tuples(
    st.sampled_from([aster(), OTHER, THIRD]),
    st.sampled_from([Side.BUY, Side.SELL]),
    st.integers(1, 500),
    st.integers(1, 20_000),
    st.booleans(),
    st.integers(0, 2 * JUDGMENTS_KEPT),
)
FUNDING = st.tuples(
    st.sampled_from([MARKET, OTHER.market, THIRD.market, ""]),
    st.decimals(-100, 100, places=8, allow_nan=False, allow_infinity=False),
)


def total(rows: list[Earned]) -> tuple[Decimal, Decimal, Decimal, int]:
    return (
        sum((one.realised for one in rows), Decimal(0)),
        sum((one.fees for one in rows), Decimal(0)),
        sum((one.funding for one in rows), Decimal(0)),
        sum(one.fills for one in rows),
    )


@given(st.lists(st.one_of(FILL, FUNDING), max_size=120), st.booleans())
def test_every_way_of_looking_at_the_money_sums_up_to_the_totals(steps: list[tuple], crowded: bool) -> None:  # type: ignore[type-arg]
    portfolio = Portfolio()
    portfolio.open(Decimal(10_000))
    if crowded:  # so many judgments that the oldest are one row
        for n in range(JUDGMENTS_KEPT + 5):
            portfolio.fill(aster(), Side.BUY, 1, 6200, Decimal("0.00031"), False, 1, Owner(f"before{n}", "mistral"))
    for step in steps:
        if len(step) == 2:
            portfolio.fund(*step)
            continue
        instrument, side, size, price, maker, question = step
        fee = commission(price * instrument.tick * size * instrument.step, MAKER if maker else TAKER)
        owner = Owner(f"q{question}" if question else "", "mistral" if question else "rules")
        portfolio.fill(instrument, side, size, price, fee, maker, 1, owner)
    wanted = (portfolio.realised, portfolio.fees, portfolio.funding, portfolio.fills)
    assert total([*portfolio.by_market().values()]) == wanted
    assert total([*portfolio.by_venue().values()]) == wanted
    assert total([*portfolio.judges.values()]) == wanted
    assert total([*portfolio.judgments.values(), portfolio.older]) == wanted
    assert portfolio.wallet == 10_000 + wanted[0] - wanted[1] + wanted[2]
    assert len(portfolio.judgments) <= JUDGMENTS_KEPT and (portfolio.older_judgments > 0) >= crowded


def test_a_position_and_all_that_ends_it_belong_to_who_opened_it() -> None:
    """1,000 at 0.62 by the model, 500 more at 0.63 by the operator; all closed at 0.64 by a stop."""
    portfolio, fee = Portfolio(), Decimal("0.1")
    portfolio.open(Decimal(10_000))
    portfolio.fill(aster(), Side.BUY, 1_000, 6200, fee, False, 1, MODEL)
    portfolio.fund(MARKET, Decimal("-0.5"))
    portfolio.fill(aster(), Side.BUY, 500, 6300, fee, False, 2, Owner("", "operator"))
    portfolio.fill(aster(), Side.SELL, 1_500, 6400, fee, False, 3, Owner())
    portfolio.fund(MARKET, Decimal("0.25"))  # told after the close
    assert portfolio.judges == {
        "mistral": Earned(Decimal(25), Decimal("0.2"), Decimal("-0.25"), 2),  # 1,000 x 0.02 + 500 x 0.01
        "operator": Earned(Decimal(0), Decimal("0.1"), Decimal(0), 1),
    }
    assert portfolio.judges["mistral"].net == Decimal("24.55")
    assert portfolio.judgments["q1"] == portfolio.judges["mistral"] and portfolio.judgments[""].fills == 1


def test_a_fill_that_turns_a_position_gives_the_rest_to_who_turned_it() -> None:
    portfolio = Portfolio()
    portfolio.fill(aster(), Side.BUY, 100, 6000, Decimal(0), False, 1, MODEL)
    portfolio.fill(aster(), Side.SELL, 150, 6100, Decimal(0), False, 2, RULES)
    portfolio.fill(aster(), Side.BUY, 50, 6000, Decimal(0), False, 3, MODEL)
    assert portfolio.judges["mistral"].realised == Decimal(1) and portfolio.judges["rules"].realised == Decimal("0.5")


def test_funding_without_a_market_is_that_of_the_only_position_or_nobodys() -> None:
    portfolio = Portfolio()
    portfolio.fill(aster(), Side.BUY, 100, 6000, Decimal(0), False, 1, MODEL)
    portfolio.fund("", Decimal("-0.1"))
    portfolio.fill(OTHER, Side.SELL, 100, 6000, Decimal(0), False, 2, RULES)
    portfolio.fund("", Decimal("-0.2"))
    assert portfolio.by_market()[MARKET].funding == Decimal("-0.1") and portfolio.by_market()[""].funding == Decimal("-0.2")
    assert portfolio.judges["mistral"].funding == Decimal("-0.1") and portfolio.judges["external"].funding == Decimal("-0.2")


def test_only_the_newest_judgments_are_rows_and_one_that_earns_again_is_new() -> None:
    portfolio = Portfolio()
    for n in range(JUDGMENTS_KEPT):
        portfolio.fill(aster(), Side.BUY, 1, 6200, Decimal("0.1"), False, 1, Owner(f"q{n}", "mistral"))
    portfolio.fill(aster(), Side.BUY, 1, 6200, Decimal("0.1"), False, 1, Owner("q0", "mistral"))
    portfolio.fill(aster(), Side.BUY, 1, 6200, Decimal("0.1"), False, 1, Owner("new", "mistral"))
    assert len(portfolio.judgments) == JUDGMENTS_KEPT and {"q0", "new"} <= {*portfolio.judgments}
    assert "q1" not in portfolio.judgments and portfolio.older_judgments == 1
    assert portfolio.older == Earned(Decimal(0), Decimal("0.1"), Decimal(0), 1)


# --- through the core -------------------------------------------------------------------------------------------------


def closed_by_its_stop(desk: Desk, out: list) -> Portfolio:  # type: ignore[type-arg]
    stop = protect(desk, out)
    fill(desk, stop, stop.trigger - 5)
    assert not desk.core.state.portfolio.position(MARKET).quantity
    return desk.core.state.portfolio


def test_a_stop_that_is_hit_is_the_loss_of_the_rules_that_entered() -> None:
    desk, _, out = entered()
    portfolio = closed_by_its_stop(desk, out)
    assert {*portfolio.judges} == {"rules"} and {*portfolio.judgments} == {""}
    assert portfolio.judges["rules"].realised == portfolio.realised < 0 and portfolio.judges["rules"].fills == 2


def entry_of(out: list) -> SendOrder:  # type: ignore[type-arg]
    return next(order for order in sent(out) if order.purpose is Purpose.ENTRY)


def test_a_models_trade_is_booked_to_the_question_that_led_to_it() -> None:
    desk = Judging()
    question = desk.asked()
    desk.answer(question, chance_up=80, expires_min=30)
    order = entry_of(desk.trend(8, 2))
    out = fill(desk, order, desk.held.book.best_ask)
    desk.answer(desk.asked(), chance_up=75, expires_min=30)  # another stance while the position is held
    portfolio = closed_by_its_stop(desk, out)
    assert portfolio.judgments[question.question].realised == portfolio.realised < 0
    assert {*portfolio.judges} == {"model:3b"} and {*portfolio.judgments} == {question.question}


def by_hand(desk: Desk) -> SendOrder:
    ticket = Ticket(Side.BUY, OrderKind.MARKET, 500)
    return entry_of(desk.feed(Command(desk.at, "hand", Action.ORDER, "the test", MARKET, ticket=ticket)))


def test_an_operators_order_is_his_whatever_the_judges_think() -> None:
    """The stance in force was told as the reason of an order by hand."""
    desk = Judging()
    desk.answer(desk.asked(), chance_up=80, expires_min=30)
    order = by_hand(desk)
    fill(desk, order, desk.held.book.best_ask)
    (decided,) = [one for one in of(desk.out, Decided) if one.approved and one.purpose is Purpose.ENTRY]  # type: ignore[attr-defined]
    assert decided.judgment == "" and desk.core.state.causes[order.client_id].stance is None  # type: ignore[attr-defined]
    assert {*desk.core.state.portfolio.judges} == {"operator"} and {*desk.core.state.portfolio.judgments} == {""}


def test_funding_goes_to_who_holds_the_position() -> None:
    desk, _, out = entered()
    protect(desk, out)
    now = desk.core.state.portfolio.wallet - Decimal("0.3")
    desk.feed(BalanceChange(desk.at, "binance", "FUNDING_FEE", "USDT", now, Decimal("-0.3"), ""))
    portfolio = desk.core.state.portfolio
    assert portfolio.judges["rules"].funding == portfolio.position(MARKET).funding == Decimal("-0.3")


def test_a_position_that_was_carried_over_is_still_that_of_who_opened_it() -> None:
    desk, _, out = entered()
    protect(desk, out)
    facts = msgspec.json.encode(recollection(desk.core.state)).decode()
    fresh = Desk()
    fresh.feed(Started(START, "next00", "test00", Mode.DEMO, "", "0"))
    fresh.feed(aster())
    fresh.feed(Recovered(fresh.at, "test00", facts, False, ""))
    assert fresh.core.state.portfolio.position(MARKET).owner == RULES


def test_an_order_that_rests_long_is_still_known_by_its_cause() -> None:
    desk = Desk().open().arm()
    desk.trend(40, 0)
    ticket = Ticket(Side.BUY, OrderKind.LIMIT, 500, 6_190)
    order = entry_of(desk.feed(Command(desk.at, "resting", Action.ORDER, "the test", MARKET, ticket=ticket)))
    state = desk.core.state
    for n in range(300):
        state.causes[f"gone{n}"] = msgspec.structs.replace(state.causes[order.client_id])
    desk.pass_ms(2_000)
    by_hand(desk)
    assert order.client_id in state.causes and len(state.causes) <= 200


def test_of_finished_orders_the_newest_are_known_and_the_others_leave_nothing_behind() -> None:
    desk, entry, out = entered()
    protect(desk, out)
    state = desk.core.state
    mould = next(order for order in state.orders.values() if order.open)
    for n in range(1_000):
        name, there = f"gone{n}", f"venue{n}"
        state.add(msgspec.structs.replace(mould, client_id=name, venue_id=there, filled=n % 2, booked=0))
        state.by_venue_id |= {there: name, f"its market order {n}": name}
        change = orders.move(state.orders[name], OrderState.CANCELLED, desk.at, "the test")
        trading.tell(state, state.orders[name], change, Out())
        assert len(state.final_orders) <= FINAL_ORDERS_KEPT
    finished = {f"gone{n}" for n in range(1_000 - FINAL_ORDERS_KEPT // 2, 1_000)}
    assert finished <= state.orders.keys() and mould.client_id in state.orders and entry.client_id not in state.orders
    assert len(state.orders) <= FINAL_ORDERS_KEPT + len(state.alive)
    assert set(state.by_venue_id.values()) <= state.orders.keys() and state.unbooked.keys() <= state.orders.keys()
    assert {there for there, name in state.by_venue_id.items() if name == "gone999"} == {"venue999", "its market order 999"}


# --- days -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("starts", "hour", "same"), [(0, 23, True), (0, 24, False), (8, 31, True), (8, 32, False), (8, 24, True)]
)
def test_a_day_begins_when_the_settings_say(starts: int, hour: int, same: bool) -> None:
    """Hours are counted from midnight UTC; the first equity is told at the day's own beginning."""
    portfolio = Portfolio()
    portfolio.open(Decimal(10_000))
    midnight = START // DAY * DAY
    portfolio.start_day(midnight + starts * 3_600 * SECOND, Decimal(10_000), starts * 3_600)
    portfolio.start_day(midnight + hour * 3_600 * SECOND, Decimal(9_000), starts * 3_600)
    assert portfolio.day_equity == (10_000 if same else 9_000)


def test_the_core_asks_the_settings_when_the_day_begins() -> None:
    """Half a minute before and after the boundary."""
    minute = START // (60 * SECOND) % 1_440 + 1
    desk = Desk(settings(risk={"day_starts": f"{minute % 1_440 // 60:02}:{minute % 60:02}"})).open()
    desk.pass_ms(200)
    desk.core.state.portfolio.day_equity = Decimal(12_345)
    first = desk.core.state.portfolio.day
    boundary = (START // (60 * SECOND) + 1) * 60 * SECOND
    desk.at = max(boundary - 2 * SECOND, desk.at)
    desk.pass_ms(1_000)
    assert (desk.core.state.portfolio.day, desk.core.state.portfolio.day_equity) == (first, Decimal(12_345))
    desk.pass_ms(2_000)
    assert (desk.core.state.portfolio.day, desk.core.state.portfolio.day_equity) == (first + 1, Decimal(10_000))
