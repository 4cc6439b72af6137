"""The account's private stream is away while the venue answers requests: what was filled is found, protected and closed."""

from collections.abc import Iterator

import pytest

from engine.core import account
from engine.events import (
    Action,
    Connected,
    Difference,
    FetchAccount,
    KillReport,
    OrderKind,
    OrderState,
    Purpose,
    SendOrder,
    Side,
    Ticket,
    TimeInForce,
)
from tests.factory import MARKET, SECOND, of
from tests.factory import settings as chosen
from tests.test_tickets import alive, order, position
from tests.world import SYMBOL, World, armed

BUY = Ticket(Side.BUY, OrderKind.MARKET, 200)


@pytest.fixture
def world() -> Iterator[World]:
    risk = {"max_order_notional": 20_000.0, "max_position_notional": 50_000.0, "max_loss_per_trade": 0.5}
    with armed(chosen(risk=risk)) as made:
        yield made


def lost(world: World, ticket: Ticket = BUY) -> None:
    """An order is filled, and the stream is cut before it tells."""
    order(world, ticket)
    assert world.exchange.position_steps(SYMBOL) and not position(world)
    world.cut()


def test_an_entry_that_filled_as_the_stream_was_lost_has_its_stop_within_the_time_for_it(world: World) -> None:
    """It had none for as long as the stream was away."""
    lost(world)
    world.wait(world.chosen.risk.protect_within_ms)
    assert position(world) == 200 and not world.state.private_up
    (stop,) = alive(world, Purpose.STOP)
    assert stop.state is OrderState.WORKING
    assert [one.client_id for one in world.exchange.conditionals.open() if one.client_id == stop.client_id]
    world.connect()
    world.wait(1000)
    assert not world.differences() and not of(world.outputs, Difference)


def test_a_report_that_a_living_stream_swallowed_is_found_and_protected_too(world: World) -> None:
    order(world, BUY)
    world.told.clear()
    world.wait(world.chosen.risk.protect_within_ms)
    assert position(world) == 200 and alive(world, Purpose.STOP) and not of(world.outputs, Difference)


def test_a_report_of_a_resting_entry_that_a_living_stream_swallowed_is_found_within_ten_seconds(world: World) -> None:
    book = world.state.markets[MARKET].book
    order(world, Ticket(Side.BUY, OrderKind.LIMIT, 200, book.best_ask + 5, time_in_force=TimeInForce.GTC))
    assert world.exchange.position_steps(SYMBOL) == 200
    world.told.clear()
    world.wait(account.ASK_ACCOUNT_RESTING_NS // 1_000_000 + world.chosen.risk.protect_within_ms)
    assert position(world) == 200 and alive(world, Purpose.STOP) and not of(world.outputs, Difference)


def test_a_flatten_is_confirmed_by_the_venue_though_the_stream_is_away(world: World) -> None:
    order(world, BUY)
    world.wait(2000)
    world.cut()
    world.command(Action.FLATTEN)
    world.wait(8000)
    assert not world.exchange.position_steps(SYMBOL) and not position(world)
    assert of(world.outputs, KillReport)[-1].confirmed_at  # type: ignore[attr-defined]
    assert not world.exchange.open and not world.exchange.conditionals.open()


def test_no_entry_is_made_while_the_stream_is_away_though_the_account_agrees(world: World) -> None:
    world.cut()
    world.wait(6000)
    assert world.state.reconciled
    before = len(of(world.outputs, SendOrder))
    world.command(Action.ORDER, MARKET, BUY)
    world.wait(500)
    assert len(of(world.outputs, SendOrder)) == before


def test_a_picture_that_does_not_agree_is_not_believed_before_somebody_tells_again(world: World) -> None:
    """Its parts may be of different moments: a position that was adopted and a fill that came later would be booked twice."""
    world.cut()
    world.wait(1000)
    world.stranger(Side.BUY, 300)
    world.state.private_lost_ms = world.clock.now_ms() + 60_000  # the fill is not among those that are asked for
    world.wait(12_000)
    assert not position(world) and not of(world.outputs, Difference) and not world.state.reconciled
    world.connect()
    world.wait(2000)
    assert position(world) == 300 and not world.differences()


def test_the_account_is_asked_for_more_often_while_the_stream_is_away(world: World) -> None:
    world.wait(3000)
    world.cut()
    before = len(of(world.outputs, FetchAccount))
    world.wait(20_000)
    due = 20 * SECOND // account.ASK_ACCOUNT_AWAY_NS
    assert due - 1 <= len(of(world.outputs, FetchAccount)) - before <= due + 1


def test_a_picture_from_before_the_stream_came_back_does_not_count(world: World) -> None:
    world.cut()
    world.wait(6000)
    (old,) = [world._perform(FetchAccount(world.clock.at, "binance", "the test", 1))]
    assert old is not None
    world.wait(100)
    world.network.append("lost")
    world.desk.feed(Connected(world.clock.at, "binance", "private"))
    world.up = True
    before = len(of(world.outputs, FetchAccount))
    world.network.append("lost")
    world.desk.feed(old)
    assert not world.state.reconciled and len(of(world.outputs, FetchAccount)) == before + 1
