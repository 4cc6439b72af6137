"""A start is recovery: what the session before knew is known again, and the venue has the last word on it."""

from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.action import Plan
from engine.config import state_dir
from engine.core.recovery import Recollection
from engine.events import (
    Alert,
    Difference,
    LookUpOrder,
    OrderFact,
    OrderKind,
    OrderState,
    PositionFact,
    Purpose,
    Recovered,
    SendOrder,
    Side,
    Started,
    TimeInForce,
)
from engine.events import Mode as EngineMode
from engine.execution.orders import Order
from engine.portfolio import DAY_NS, Position
from engine.queue.files import recorded, session_name
from engine.runtime.recovery import read, recover
from tests.factory import MARKET as ASTER
from tests.factory import START, Desk
from tests.recordings import MARKET, desk, recording
from tests.simulated import simulated, until

STOP = Order(
    "old00s1", ASTER, OrderKind.STOP, Purpose.STOP, Side.SELL, 100, 0, 6100, TimeInForce.GTC, True, START - 10**9,
    state=OrderState.WORKING, venue_id="77",
)  # fmt: skip
FACT = OrderFact(ASTER, "old00s1", "77", Side.SELL, 100, 0, True, True, Decimal("0.6100"))
LONG = PositionFact(ASTER, 100, Decimal("0.62"), Decimal("0.62"), Decimal(0), Decimal(0))


def left(**changes: object) -> Recovered:
    known = Recollection(
        [STOP], {ASTER: Position(100, Decimal("62.0"), opened_at=START - 10**9)}, {ASTER: Plan(0.01, 0.02)},
        START // DAY_NS, Decimal(11_000), Decimal(10_500), False,
    )  # fmt: skip
    facts = msgspec.json.encode(msgspec.structs.replace(known, **changes)).decode()
    return Recovered(START, "old000", facts, True, "")


def after(event: Recovered) -> Desk:
    """A core that was told, before the venue says anything of the account."""
    made = Desk()
    made.feed(event)
    return made


def tell(made: Desk, *orders: OrderFact, positions: tuple[PositionFact, ...] = (LONG,)) -> Desk:
    """The venue's first word on the account."""
    made.out.clear()
    made.account = lambda: Desk.account(made, positions=positions, orders=orders)  # type: ignore[method-assign, assignment]
    return made.open()


def test_an_order_that_the_venue_still_has_is_ours_again_and_protects() -> None:
    made = tell(after(left()), FACT)
    order = made.core.state.orders["old00s1"]
    assert (order.state, order.external, order.purpose) == (OrderState.WORKING, False, Purpose.STOP)
    made.pass_ms(2_000)
    assert not any(isinstance(one, SendOrder) and one.purpose is Purpose.STOP for one in made.out)  # it has its stop
    assert made.core.state.counters.adopted == 0


def test_an_order_that_the_venue_does_not_list_is_asked_for_and_blocks_entries_until_it_is_known() -> None:
    made = tell(after(left(positions={}, plans={})), positions=())
    order = made.core.state.orders["old00s1"]
    assert order.state is OrderState.UNKNOWN and made.core.state.unknown_orders(ASTER) == 1
    made.pass_ms(500)
    assert any(isinstance(one, LookUpOrder) and one.client_id == "old00s1" for one in made.out)


def test_a_position_goes_on_with_its_entry_and_its_plan() -> None:
    made = tell(after(left()), FACT)
    state = made.core.state
    position = state.portfolio.position(ASTER)
    assert (position.quantity, position.cost, position.opened_at) == (100, Decimal("62.0"), START - 10**9)
    assert state.markets[ASTER].plan == Plan(0.01, 0.02)
    assert not any(isinstance(one, Difference) for one in made.out)


@pytest.mark.parametrize("theirs", [(), (msgspec.structs.replace(LONG, quantity=40),)])
def test_what_happened_to_a_position_meanwhile_is_a_difference_and_the_venue_is_right(theirs: tuple[PositionFact, ...]) -> None:
    made = tell(after(left()), positions=theirs)
    assert made.core.state.portfolio.position(ASTER).quantity == (theirs[0].quantity if theirs else 0)
    assert any(isinstance(one, Difference) and one.what == f"position in {ASTER}" for one in made.out)


def test_a_restart_does_not_reset_the_days_loss() -> None:
    assert tell(after(left()), FACT).core.state.portfolio.day_equity == Decimal(11_000)
    fresh = tell(after(left(day=START // DAY_NS - 1)), FACT).core.state
    assert fresh.portfolio.day_equity == fresh.equity()


def test_a_transfer_between_two_sessions_is_no_loss() -> None:
    """The first session ended flat, 500 below the day's opening; the wallet that the venue tells now is 500 lower still."""
    event = left(orders=[], positions={}, plans={})
    assert tell(after(event), positions=()).core.state.portfolio.day_equity == Decimal(10_500)


def test_nothing_is_carried_over_to_another_account() -> None:
    """A demo whose venue ended with it begins with a new account; a live key may be another account's."""
    made = tell(after(msgspec.structs.replace(left(), account="another")), positions=())
    state = made.core.state
    assert not state.orders and not state.portfolio.position(ASTER).quantity and state.portfolio.day_equity == state.equity()
    assert not any(isinstance(one, Difference) for one in made.out)


def test_a_flatten_goes_on_only_where_the_halt_is_still_latched() -> None:
    event = left(flattening=True)
    assert not after(event).core.state.flattening
    assert after(msgspec.structs.replace(event, halted="by the operator")).core.state.flattening


def test_what_lies_in_a_market_that_is_not_collected_is_told() -> None:
    other = "binance:BTC/USDT:USDT"
    made = after(left(positions={other: Position(1, Decimal(1))}, orders=[], plans={}))
    assert any(isinstance(one, Alert) and other in one.text and "look there" in one.text for one in made.out)
    assert other not in made.core.state.portfolio.positions


def test_no_entry_is_made_before_the_session_before_was_read() -> None:
    made = Desk()
    made.feed(Started(START, "test00", "old000", EngineMode.DEMO, "", "0"))
    assert made.core.state.recovering
    made.feed(Recovered(START, "old000", "", False, "", "it is damaged"))
    assert not made.core.state.recovering
    assert any(isinstance(one, Alert) and "it is damaged" in one.text for one in made.out)


@pytest.mark.slow
async def test_a_killed_engines_position_and_stop_are_the_next_ones(tmp_path: Path) -> None:
    """Two engines on one venue; the first ends as one that was killed does, without a word to anyone."""
    async with simulated() as venue:
        async with recording(venue, desk(tmp_path)) as first:
            state = first.state
            stops = lambda: [one for one in state.open_orders(MARKET) if one.purpose is Purpose.STOP]  # noqa: E731
            await until(lambda: [one for one in stops() if one.state is OrderState.WORKING], 60)
            assert first.recorder is not None
            await first._tasks.close()
            first.recorder.commit()
            first.recorder.close(None)
            stop, held, plan = stops()[0], state.portfolio.position(MARKET), state.markets[MARKET].plan
        chosen = desk(tmp_path, engine={"state_dir": str(tmp_path), "arm_at_start": "no"})
        async with recording(venue, chosen) as second:
            await until(lambda: second.state.reconciled, 60)
            ours = second.state.portfolio.position(MARKET)
            if ours.quantity:  # the venue may have closed it meanwhile
                assert (ours.quantity, ours.cost) == (held.quantity, held.cost)
                assert second.state.markets[MARKET].plan == plan
            order = second.state.orders[stop.client_id]
            await until(lambda: order.state is not OrderState.UNKNOWN)
            assert not order.external
            assert second.state.portfolio.day_equity == state.portfolio.day_equity
            told = [text for _, _, text in second.alerts]
            assert any("was cut off with 1 open positions" in text for text in told), told


def test_reading_goes_through_the_tail_behind_the_newest_kept_state(small: Path) -> None:
    found = read(small)
    assert found.parent == session_name(small) and not found.cut_off and not found.problem
    known = msgspec.json.decode(found.facts, type=Recollection)
    assert known.day > 0 and not known.positions


async def test_a_session_that_cannot_be_read_is_told_and_stops_nothing(tmp_path: Path) -> None:
    folder = state_dir(desk(tmp_path))
    (folder / "sessions").mkdir(parents=True)
    path = folder / "sessions" / "1700000000000-broken.barter"
    path.write_bytes(b"no session at all, but long enough to be looked at" * 99)
    (path,) = recorded(folder)
    found = await recover(folder, "broken", "")
    assert found.problem and not found.facts
