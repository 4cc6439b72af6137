"""Orders by hand, through the gate, at the simulated venue: what they become, and how a position's protection follows them."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest

from engine.events import (
    Action,
    Alert,
    AmendOrder,
    CommandDone,
    Decided,
    FetchAccount,
    OrderKind,
    OrderState,
    Purpose,
    SendOrder,
    Side,
    Ticket,
    TimeInForce,
)
from engine.execution.orders import Order
from engine.views import Ask
from tests.factory import MARKET, of, sent
from tests.factory import settings as chosen
from tests.test_engine import desk, engine_on, until, venue
from tests.world import SYMBOL, World, armed

B, S, L = Side.BUY, Side.SELL, OrderKind.LIMIT


@pytest.fixture
def world() -> Iterator[World]:
    with armed() as made:
        yield made


def order(world: World, ticket: Ticket | None, target: str = MARKET, action: Action = Action.ORDER) -> str:
    """The engine's answer: "" where it took the command."""
    before = len(world.desk.out)
    world.command(action, target, ticket)
    done = next(one for one in world.desk.out[before:] if isinstance(one, CommandDone))
    return "" if done.accepted else done.text


def alive(world: World, purpose: Purpose) -> list[Order]:
    return [one for one in world.state.live_orders() if one.purpose is purpose]


def position(world: World) -> int:
    return world.state.portfolio.position(MARKET).quantity


def test_a_limit_order_rests_and_its_bracket_follows_what_is_filled_of_it(world: World) -> None:
    assert order(world, Ticket(B, L, 300, 6190, stop=6150, target=6290)) == ""
    world.wait(300)
    (entry,) = alive(world, Purpose.ENTRY)
    assert (entry.state, entry.price) == (OrderState.WORKING, 6190) and not alive(world, Purpose.STOP)
    world.move(-11, part=120)  # to 6189/6190: 120 of it are filled
    world.wait(1500)
    assert position(world) == 120 and entry.state is OrderState.PARTLY_FILLED
    assert [(one.quantity, one.trigger) for one in alive(world, Purpose.STOP)] == [(120, 6150)]
    assert [(one.quantity, one.trigger) for one in alive(world, Purpose.TARGET)] == [(120, 6290)]
    world.move(-1)
    world.wait(3000)
    assert position(world) == 300 and entry.state is OrderState.FILLED
    assert [(one.quantity, one.trigger) for one in alive(world, Purpose.STOP)] == [(300, 6150)]
    assert [(one.quantity, one.trigger) for one in alive(world, Purpose.TARGET)] == [(300, 6290)]
    assert not world.differences() and not world.state.brackets


def test_a_bracket_without_a_target_has_none_and_without_a_stop_the_strategys(world: World) -> None:
    assert order(world, Ticket(B, OrderKind.MARKET, 200)) == ""
    world.wait(2000)
    (stop,) = alive(world, Purpose.STOP)
    assert stop.trigger < 6190 and not alive(world, Purpose.TARGET)


@pytest.mark.parametrize(
    ("tif", "price", "state", "filled"),
    [
        (TimeInForce.GTC, 6201, OrderState.FILLED, 200),
        (TimeInForce.GTX, 6201, OrderState.REJECTED, 0),
        (TimeInForce.GTX, 6200, OrderState.WORKING, 0),
        (TimeInForce.IOC, 6200, OrderState.EXPIRED, 0),
        (TimeInForce.IOC, 6201, OrderState.FILLED, 200),
        (TimeInForce.FOK, 6200, OrderState.REJECTED, 0),
        (TimeInForce.FOK, 6201, OrderState.FILLED, 200),
    ],
)
def test_times_in_force(world: World, tif: TimeInForce, price: int, state: OrderState, filled: int) -> None:
    assert order(world, Ticket(B, L, 200, price, time_in_force=tif)) == ""
    world.wait(1000)
    made = world.state.orders[sent(world.desk.out)[0].client_id]
    assert (made.state, made.filled, position(world)) == (state, filled, filled)
    assert not world.differences()


WRONG = [
    (Ticket(B, L, 100), "a limit order needs a price"),
    (Ticket(B, OrderKind.MARKET, 100, 6200), "a market order has no price of its own"),
    (Ticket(B, OrderKind.MARKET, 100, time_in_force=TimeInForce.IOC), "IOC belongs to limit orders"),
    (Ticket(B, OrderKind.MARKET, -5), "no negative figures"),
    (Ticket(B, L, 100, 6190, stop=6195), "wrong side of the entry"),
    (Ticket(B, L, 100, 6190, target=6185), "wrong side of the entry"),
    (Ticket(B, L, 100, 6190, stop=6100, trail_bps=50), "stands or trails"),
    (Ticket(B, L, 100, 6190, trail_bps=5), "10 to 1000 basis points"),
    (Ticket(S, OrderKind.STOP, 0), "needs the price that triggers it"),
    (Ticket(S, OrderKind.STOP, 0, trigger=6100), "there is no position"),
    (Ticket(S, OrderKind.MARKET, 100, reduce_only=True), "an exit must be against the position"),
    (Ticket(S, L, 100, 6210, reduce_only=True, stop=6300), "no stop or target of its own"),
    (Ticket(B, OrderKind.MARKET, 10_000_000), "more than the venue takes"),
    (Ticket(B, OrderKind.MARKET, 4_000), "largest order"),
    (Ticket(B, OrderKind.MARKET, 0), "smallest order"),
]


@pytest.mark.parametrize(("ticket", "why"), WRONG)
def test_a_ticket_that_cannot_be_sent_says_why_and_sends_nothing(world: World, ticket: Ticket, why: str) -> None:
    answer = order(world, ticket)
    assert why in answer or (why == "largest order" and "2000" in answer), answer
    assert not sent(world.desk.out)


def test_an_order_by_hand_passes_the_same_gate(world: World) -> None:
    world.command(Action.DISARM)
    assert "trading is off" in order(world, Ticket(B, OrderKind.MARKET, 100))
    assert order(world, None) == "an order needs a ticket"
    assert "is not collected" in order(world, Ticket(B, OrderKind.MARKET, 100), "binance:NOPE/USDT:USDT")
    world.command(Action.ARM)
    assert order(world, Ticket(B, OrderKind.MARKET, 100)) == ""
    world.wait(1000)
    assert "it is against the position" in order(world, Ticket(S, OrderKind.MARKET, 100))
    decided = [one for one in of(world.desk.out, Decided) if isinstance(one, Decided) and one.purpose is Purpose.ENTRY]
    assert [one.approved for one in decided] == [False, True]


def test_orders_that_rest_count_as_filled_for_the_limit_of_the_position() -> None:
    world = World(chosen(risk={"max_order_notional": 400.0, "max_position_notional": 500.0}))
    world.command(Action.ARM)
    world.wait(200)
    assert order(world, Ticket(B, L, 500, 6190)) == ""  # 310 USDT
    world.wait(300)
    assert order(world, Ticket(B, L, 400, 6180)) != ""
    assert order(world, Ticket(S, L, 500, 6230)) == "", "the other way takes nothing off, and adds nothing on"
    assert order(world, Ticket(B, L, 250, 6180)) == ""
    world.close()


def test_a_stop_by_hand_replaces_the_one_there_is_once_it_protects(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200))
    world.wait(2000)
    (before,) = alive(world, Purpose.STOP)
    seen = len(world.desk.out)
    assert order(world, Ticket(S, OrderKind.STOP, 0, trigger=6170)) == ""
    world.wait(2000)
    (after,) = alive(world, Purpose.STOP)
    assert after.trigger == 6170 and after.client_id != before.client_id and before.state is OrderState.CANCELLED
    kinds = [type(one).__name__ for one in world.desk.out[seen:] if type(one).__name__ in ("SendOrder", "CancelOrder")]
    assert kinds == ["SendOrder", "CancelOrder"]
    assert order(world, Ticket(S, OrderKind.TARGET, 0, trigger=6260)) == ""
    world.wait(1000)
    assert [one.trigger for one in alive(world, Purpose.TARGET)] == [6260]
    assert "already past" in order(world, Ticket(S, OrderKind.STOP, 0, trigger=6300))
    assert "whole position" in order(world, Ticket(S, OrderKind.STOP, 50, trigger=6100))
    assert "against the position" in order(world, Ticket(B, OrderKind.STOP, 0, trigger=6300))


def test_a_trailing_stop_follows_the_price_and_ends_the_position(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200, trail_bps=50))
    world.wait(1500)
    (stop,) = alive(world, Purpose.STOP)
    assert (stop.kind, stop.trail_bps, stop.quantity) == (OrderKind.TRAILING, 50, 200)
    world.move(200)
    world.wait(500)
    world.move(-25)  # 39 bps from the best
    world.wait(500)
    assert position(world) == 200
    world.move(-10)
    world.wait(1500)
    assert position(world) == 0 and stop.state is OrderState.FILLED and world.state.portfolio.realised > 0
    assert not world.differences()


def test_a_new_stop_that_the_venue_refuses_leaves_the_old_one(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200))
    world.wait(2000)
    (before,) = alive(world, Purpose.STOP)
    before.trigger = world.exchange.conditionals.open(SYMBOL)[0].trigger = 6150  # far away from what comes
    world.market.put(6168, 6169)  # the venue's mark falls before ours does
    world.exchange.advance(world.clock.now_ms() + 1)
    assert order(world, Ticket(S, OrderKind.STOP, 0, trigger=6172)) == ""
    world.wait(1000)
    assert [one.client_id for one in alive(world, Purpose.STOP)] == [before.client_id] and position(world) == 200
    assert any("stays" in one.text for one in of(world.desk.out, Alert) if isinstance(one, Alert))


def test_amending_an_order_changes_its_terms_at_the_venue(world: World) -> None:
    order(world, Ticket(B, L, 200, 6150))
    world.wait(300)
    (entry,) = alive(world, Purpose.ENTRY)
    assert order(world, Ticket(B, L, 260, 6155), entry.client_id, Action.AMEND) == ""
    assert entry.unfilled == 260, "what may be filled counts before the venue has confirmed it"
    world.wait(300)
    assert (entry.quantity, entry.price, entry.amend_quantity) == (260, 6155, 0)
    there = world.exchange.look_up(SYMBOL, None, entry.client_id)
    assert (there.quantity, there.price) == (260, 6155)
    for ticket, why in [
        (Ticket(B, L, 260, 6155), "is so already"),
        (Ticket(B, L, 0, 6155), "needs a price"),
        (Ticket(B, L, 100_000, 6155), ""),
    ]:
        answer = order(world, ticket, entry.client_id, Action.AMEND)
        assert answer and why in answer
    assert "no such open order" in order(world, Ticket(B, L, 1, 1), "nobody", Action.AMEND)
    assert not world.differences() or world.open_entries()


@pytest.mark.parametrize(("fate", "terms"), [("lost", (200, 6150)), ("executed", (260, 6155)), ("late", (260, 6155))])
def test_an_amendment_without_a_reply_is_asked_about_until_it_is_known(world: World, fate: str, terms: tuple[int, int]) -> None:
    order(world, Ticket(B, L, 200, 6150))
    world.wait(300)
    (entry,) = alive(world, Purpose.ENTRY)
    world.network.append(fate)
    order(world, Ticket(B, L, 260, 6155), entry.client_id, Action.AMEND)
    world.wait(500)
    assert entry.unfilled == 260, "either of the two may be true until it is known"
    world.wait(12_000)
    assert (entry.quantity, entry.price, entry.unfilled) == (*terms, terms[0]) and not entry.look_up_at
    assert len([one for one in world.desk.out if isinstance(one, AmendOrder)]) == 1


def test_an_exit_that_rests_does_not_hold_up_one_at_market(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200))
    world.wait(2000)
    assert order(world, Ticket(S, L, 150, 6250, reduce_only=True)) == ""
    world.wait(300)
    assert "close all but 50" in order(world, Ticket(S, L, 100, 6260, reduce_only=True))
    assert order(world, None, MARKET, Action.CLOSE) == ""
    world.wait(2000)
    assert position(world) == 0 and not world.state.live_orders() and not world.differences()


def test_a_cancel_that_was_lost_is_sent_again(world: World) -> None:
    order(world, Ticket(B, L, 200, 6150))
    world.wait(300)
    (entry,) = alive(world, Purpose.ENTRY)
    world.network.append("lost")
    assert order(world, None, entry.client_id, Action.CANCEL) == ""
    world.wait(300)
    assert entry.state is OrderState.CANCELLING
    world.wait(3000)
    assert entry.state is OrderState.CANCELLED and not world.exchange.open


def test_a_stop_that_was_triggered_and_does_not_fill_is_followed_by_a_market_order(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200))
    world.wait(2000)
    (stop,) = alive(world, Purpose.STOP)
    conditional = world.exchange.conditionals.open(SYMBOL)[0]
    conditional.status = "TRIGGERED"  # and its market order is lost inside the venue
    world.exchange.conditionals._tell(conditional)
    world.wait(1000)
    assert position(world) == 200
    world.wait(4000)
    assert position(world) == 0
    assert any("did not fill" in one.reason for one in of(world.desk.out, Decided) if isinstance(one, Decided))
    assert stop.triggered_at


def test_a_price_beyond_a_stop_that_does_not_trigger_closes_the_position(world: World) -> None:
    order(world, Ticket(B, OrderKind.MARKET, 200))
    world.wait(2000)
    world.exchange.conditionals.trigger = lambda: None  # type: ignore[method-assign]
    world.move(-100)
    world.wait(2000)
    assert position(world) == 200
    world.wait(3000)
    assert position(world) == 0
    assert any("beyond the stop" in one.reason for one in of(world.desk.out, Decided) if isinstance(one, Decided))


@pytest.mark.slow
async def test_tickets_reach_the_venue_through_ccxt(tmp_path: Path) -> None:
    """Post-only, amended, cancelled; a bracket with a trailing stop; a stop moved; all of it on the real wire."""
    quiet = desk(tmp_path, judgment={"min_confidence": 1.0, "judge": "rules"})
    async with venue() as process, engine_on(process, quiet) as engine:
        state = engine.state
        await until(lambda: state.markets and not engine.view().ready and next(iter(state.markets.values())).book.trusted)
        market = next(iter(state.markets))
        held = state.markets[market]
        number = 0

        def ask(action: Action, target: str, ticket: Ticket | None = None) -> None:
            nonlocal number
            number += 1
            answer = engine.ask(Ask(f"t{number}", action, target, ticket=ticket))
            assert answer.accepted, answer.text

        low = held.book.best_bid - 60
        ask(Action.ORDER, market, Ticket(B, L, 200, low, time_in_force=TimeInForce.GTX))
        await until(lambda: [one for one in state.live_orders() if one.state is OrderState.WORKING])
        (entry,) = state.live_orders()
        ask(Action.AMEND, entry.client_id, Ticket(B, L, 250, low + 3))
        await until(lambda: (entry.quantity, entry.price) == (250, low + 3))
        ask(Action.CANCEL, entry.client_id)
        await until(lambda: entry.state is OrderState.CANCELLED)
        ask(Action.ORDER, market, Ticket(B, OrderKind.MARKET, 300, trail_bps=100))
        await until(
            lambda: [one for one in state.live_orders() if one.kind is OrderKind.TRAILING and one.state is OrderState.WORKING]
        )
        ask(Action.ORDER, market, Ticket(S, OrderKind.STOP, 0, trigger=held.book.best_bid - 80))
        ask(Action.ORDER, market, Ticket(S, OrderKind.TARGET, 0, trigger=held.book.best_ask + 90))
        await until(
            lambda: (
                {one.kind for one in state.live_orders() if one.state is OrderState.WORKING} == {OrderKind.STOP, OrderKind.TARGET}
            )
        )
        ask(Action.ORDER, market, Ticket(S, L, 100, held.book.best_bid - 20, time_in_force=TimeInForce.IOC, reduce_only=True))
        await until(lambda: state.portfolio.position(market).quantity == 200)
        ask(Action.CLOSE, market)
        await until(lambda: not state.portfolio.position(market).quantity)
        summary = await engine.settle(Action.SHUTDOWN, "the test")
    assert summary.agreement.equal and Decimal(summary.fees) > 0, summary.agreement
    assert state.counters.unknown == 0 and state.counters.differences == 0


def test_what_is_sent_is_what_was_approved(world: World) -> None:
    """Each order in the outputs follows the gate's word on it."""
    order(world, Ticket(B, L, 200, 6150, time_in_force=TimeInForce.GTX))
    kinds = [one for one in world.desk.out if isinstance(one, Decided | SendOrder)]
    assert [type(one) for one in kinds] == [Decided, SendOrder]
    assert isinstance(kinds[0], Decided) and kinds[0].approved and kinds[0].quantity == 200


def test_an_exit_that_the_venue_refuses_is_tried_again_slowly_and_the_account_is_read(world: World) -> None:
    """Its stop has closed the position already, and the report of that is still on its way."""
    order(world, Ticket(B, OrderKind.MARKET, 200))
    world.wait(2000)
    world.move(-100)
    before = len(world.desk.out)
    assert position(world) == 200 and not world.exchange.position_steps(SYMBOL)
    order(world, None, MARKET, Action.CLOSE)
    world.wait(100, deliver=False)
    exits = [one for one in sent(world.desk.out[before:]) if one.purpose is Purpose.EXIT]
    assert len(exits) == 1 and of(world.desk.out[before:], FetchAccount)
    world.wait(2000)
    assert position(world) == 0 and not world.differences()


def test_a_fill_that_only_a_look_up_has_told_of_counts_until_it_is_booked() -> None:
    """Found by the random histories: the order was finished, its fill still on its way, and neither counted."""
    world = World(chosen(risk={"max_order_notional": 300.0, "max_position_notional": 500.0}))
    world.command(Action.ARM)
    world.wait(200)
    assert order(world, Ticket(S, OrderKind.MARKET, 400)) == ""
    name = sent(world.desk.out)[0].client_id
    world.command(Action.CANCEL, name)
    world.wait(300, deliver=False)
    assert world.state.orders[name].state is OrderState.FILLED and not position(world)
    assert "leave no room" in order(world, Ticket(S, OrderKind.MARKET, 450)) or "500" in world.state.refusal
    world.told.clear()  # and its report never comes: the account is asked
    world.wait(2500)
    assert position(world) == -400 and not world.state.unbooked
    assert not world.differences()
    world.close()


def test_an_old_report_does_not_bring_the_old_terms_back(world: World) -> None:
    order(world, Ticket(B, L, 200, 6150))
    world.wait(300)
    (entry,) = alive(world, Purpose.ENTRY)
    order(world, Ticket(B, L, 260, 6155), entry.client_id, Action.AMEND)
    world.wait(300)
    world.repeat(1)  # the report of the order when it was new
    assert (entry.quantity, entry.price) == (260, 6155)


def test_an_amendment_with_a_stop_on_the_wrong_side_is_refused_and_no_fault(world: World) -> None:
    """Of an order that has no bracket of its own: somebody else's."""
    world.stranger(B, 200, 6150)
    world.wait(500)
    (name,) = world.open_entries()
    assert "wrong side" in order(world, Ticket(B, L, 250, 6150, stop=6160), name, Action.AMEND)
    assert world.state.orders[name].quantity == 200
