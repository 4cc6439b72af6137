"""What an order would do, before it is sent: figures reckoned by hand, the refusals of sending, and nothing changed."""

from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as chosen_examples
from hypothesis import strategies as st

from engine.config import JudgmentSettings, RiskSettings
from engine.core.pictures import pictures
from engine.core.preview import preview, rooms
from engine.events import Action, Mark, OrderKind, PositionFact, Purpose, Side, Ticket, TimeInForce
from engine.replay import Session
from engine.replay.playback import Playback
from engine.replay.player import Player
from engine.trial import Trial, healthy_entry, trials
from engine.trial import _calm as calm
from engine.views import NOT_HERE, AccountView, Estimate, Frame, TicketView, Watch, decode_to_console, encode
from tests.factory import MARKET, MS, START, Desk, settings
from tests.test_tickets import WRONG, alive, order
from tests.world import World, armed

B, S, K, T = Side.BUY, Side.SELL, OrderKind, TimeInForce
WIDE = {
    "max_order_notional": 50_000.0,
    "max_position_notional": 50_000.0,
    "max_leverage": 20.0,
    "min_liquidation_distance": 0.0,
    "max_loss_per_trade": 0.5,
    "max_daily_loss": 0.95,
    "max_drawdown": 0.95,
}


@pytest.fixture
def world() -> Iterator[World]:
    with armed() as made:
        yield made


def a_desk(wallet: str = "10000", held: tuple[PositionFact, ...] = (), **risk: object) -> Desk:
    """5,000 steps at each tick from 0.6200 down and from 0.6201 up; funding of 1 basis point in half an hour."""
    desk = Desk(settings(risk={**WIDE, **risk})).open().arm()
    desk.account(wallet, held)
    due_ms = desk.at // MS + 1_800_000
    desk.feed(Mark(desk.at, MARKET, Decimal("0.62005"), Decimal("0.62005"), Decimal("0.0001"), due_ms, desk.at // MS))
    return desk


def of(desk: Desk, ticket: Ticket) -> TicketView:
    return preview(desk.core.state, desk.core.settings, MARKET, ticket)


def figures(desk: Desk, ticket: Ticket) -> Estimate:
    view = of(desk, ticket)
    assert view.refusal == "" and view.estimate is not None
    return view.estimate


# --- figures -------------------------------------------------------------------------------------------------------------


def test_a_market_order_walks_the_book() -> None:
    """12,000: 5,000 at 0.6201, 5,000 at 0.6202 and 2,000 at 0.6203."""
    found = figures(a_desk("1000"), Ticket(B, K.MARKET, 12_000, stop=6100, target=6400))
    cost = Decimal("3100.5") + Decimal("3101.0") + Decimal("1240.6")
    fee = Decimal("1.55025") + Decimal("1.5505") + Decimal("0.6203")  # 5 basis points of each
    assert (Decimal(found.notional), Decimal(found.fee)) == (cost, fee)
    assert found.taken == found.quantity == 12_000
    assert found.average == pytest.approx(7442.1 / 12_000) and found.slippage_bps == pytest.approx((7442.1 / 7441.2 - 1) * 1e4)
    assert found.leverage == pytest.approx(12_000 * 0.62005 / 1000)
    # At the stop 7,320.00 come back and at the target 7,680.00, each less its commission of 5 basis points.
    assert Decimal(found.loss) == cost - 7320 + fee + Decimal("3.66")
    assert Decimal(found.gain) == 7680 - cost - fee - Decimal("3.84")
    assert found.result == ""
    assert Decimal(found.funding) == Decimal("0.74406") and found.funding_in_s == pytest.approx(1800, abs=1)


def test_the_liquidation_price_is_where_the_equity_is_the_maintenance_margin() -> None:
    for side, stop in ((B, 6100), (S, 6300)):
        found = figures(a_desk("1000"), Ticket(side, K.MARKET, 12_000, stop=stop))
        price = found.liquidation
        equity = 1000 - float(found.fee) + side * (12_000 * price - float(found.notional))
        assert equity == pytest.approx(0.01 * 12_000 * price) and (price - 0.62) * side < 0
    assert figures(a_desk("10000"), Ticket(B, K.MARKET, 12_000, stop=6100)).liquidation == 0.0, "the wallet pays for all of it"
    isolated = figures(a_desk("10000", margin_mode="isolated"), Ticket(B, K.MARKET, 12_000, stop=6100))
    assert isolated.liquidation == pytest.approx((7442.1 - 7442.1 / 3) / (12_000 * 0.99)), "at three times its margin"


def test_a_limit_order_pays_the_makers_commission_for_what_rests() -> None:
    resting = figures(a_desk(), Ticket(B, K.LIMIT, 1000, 6190, stop=6100))
    assert (resting.taken, resting.slippage_bps, resting.average) == (0, 0.0, pytest.approx(0.619))
    assert Decimal(resting.fee) == Decimal("0.1238")  # 619 at 2 basis points
    partly = figures(a_desk(), Ticket(B, K.LIMIT, 7000, 6201, stop=6100))
    assert partly.taken == 5000 and Decimal(partly.fee) == Decimal("1.55025") + Decimal("0.24804")


@pytest.mark.parametrize(
    ("ticket", "note"),
    [
        (Ticket(B, K.LIMIT, 100, 6201, time_in_force=T.GTX), "refuses a post-only"),
        (Ticket(B, K.LIMIT, 100, 6200, time_in_force=T.GTX), ""),
        (Ticket(B, K.LIMIT, 7000, 6201, time_in_force=T.IOC), "shows 5000 ASTER within the limit: the rest is cancelled"),
        (Ticket(B, K.LIMIT, 7000, 6201, time_in_force=T.FOK), "nothing would be filled"),
        (Ticket(B, K.LIMIT, 5000, 6201, time_in_force=T.FOK), ""),
        (Ticket(B, K.LIMIT, 7000, 6201), ""),
        (Ticket(B, K.MARKET, 110_000), "shows 100000 ASTER only"),
    ],
)
def test_what_the_venue_would_make_of_it_is_said(ticket: Ticket, note: str) -> None:
    notes = of(a_desk(), ticket).notes
    assert (len(notes) == 1 and note in notes[0]) if note else notes == ()


def test_what_closes_says_what_it_comes_to_and_passes_no_limit_of_entries() -> None:
    held = (PositionFact(MARKET, 2000, Decimal("0.61"), Decimal("0.62"), Decimal(20), Decimal(0)),)
    desk = a_desk("1000", held)
    found = figures(desk, Ticket(S, K.MARKET, 2000, reduce_only=True))
    assert Decimal(found.result) == 1240 - 1220 - Decimal("0.62")
    assert (found.leverage, found.liquidation, found.rooms, found.loss) == (0.0, 0.0, (), "")
    half = figures(desk, Ticket(S, K.MARKET, 1000, reduce_only=True))
    assert Decimal(half.result) == 620 - 610 - Decimal("0.31") and half.leverage > 0
    desk.pass_ms(200)  # the position's own stop is on its way
    stop = figures(desk, Ticket(S, K.STOP, 0, trigger=6150))
    assert Decimal(stop.result) == 1230 - 1220 - Decimal("0.615") and stop.quantity == 2000
    trailing = figures(desk, Ticket(S, K.TRAILING, 0, trail_bps=100))
    assert trailing.average == pytest.approx(0.62 * 0.99, abs=1e-4)


def test_the_free_margin_is_what_positions_and_entries_leave() -> None:
    held = (PositionFact(MARKET, 2000, Decimal("0.61"), Decimal("0.62"), Decimal(20), Decimal(0)),)
    desk = a_desk("1000", held)
    (account,) = [
        one for one in pictures(desk.core.state, desk.core.settings, Watch(MARKET, 1000, 5)) if isinstance(one, AccountView)
    ]
    assert Decimal(account.equity) == 1000 + Decimal("20.1") and account.leverages == ((MARKET, 3),)
    assert float(account.free) == pytest.approx(1020.1 - 1240.1 / 3)


# --- limits --------------------------------------------------------------------------------------------------------------


def test_the_room_of_each_limit_is_told_the_nearest_first() -> None:
    found = figures(a_desk(), Ticket(B, K.LIMIT, 10_000, 6200, stop=6100)).rooms
    assert [room.share for room in found] == sorted((room.share for room in found), reverse=True)
    told = {room.name: (pytest.approx(room.used), room.limit, room.unit) for room in found}
    assert told["order"] == (6200.0, 50_000.0, "USDT")
    assert told["position"] == (6200.5, 50_000.0, "USDT") and told["gross"] == (6200.5, 50_000.0, "USDT")
    assert told["leverage"] == (0.62005, 20.0, "x")
    assert told["loss at stop"] == (1.0, 50.0, "%")  # 100 of 10,000
    assert told["collar"] == (0.8063865, 2000.0, "bps")  # it rests half a tick below the mark: 20 times the collar
    assert told["daily loss"] == (0.0, 95.0, "%") and told["drawdown"] == (0.0, 95.0, "%")
    assert told["entries/min"] == (1.0, 30.0, "") and told["largest order"] == (10_000.0, 250_000.0, "steps")
    assert told["spread"] == (1.612773, 20.0, "bps") and told["least order"] == (6200.0, 5.0, "USDT")
    assert "funding" not in told, "it is due in half an hour, and the limit looks at the last minute before"


# What is not a measure: it is there or not.
PLAIN = {"trading", "readiness", "book", "unknown orders", "smallest order", "stop", "duplicate_window_s", "loss_cooldown_s"}
OF_JUDGMENTS = {"max_judgment_age_s", "max_judgment_drift_bps", "min_confidence", "max_risk_score"}  # no person's order has one
MEASURED = [one for one in trials(RiskSettings(), JudgmentSettings()) if one.limit not in PLAIN | OF_JUDGMENTS]


@pytest.mark.parametrize("trial", MEASURED, ids=lambda trial: trial.said)
def test_a_limit_that_refuses_has_no_room_and_one_that_passes_has_some(trial: Trial) -> None:
    limits, healthy = RiskSettings(), calm(JudgmentSettings())
    intent = healthy_entry(limits)
    assert all(room.share < 1.0 for room in rooms(intent, healthy, limits))
    bad = msgspec.structs.replace(healthy, **trial.context)
    changed = msgspec.structs.replace(intent, **trial.intent)
    assert max(room.share for room in rooms(changed, bad, limits)) >= 1.0


# --- the same as sending, and nothing changed ------------------------------------------------------------------------------


def test_a_preview_refuses_with_the_words_of_sending(world: World) -> None:
    for ticket, _ in WRONG:
        before = preview(world.state, world.chosen, MARKET, ticket).refusal
        assert before and order(world, ticket) == before, ticket


tickets = st.builds(
    Ticket,
    st.sampled_from(Side),
    st.sampled_from(OrderKind),
    st.integers(0, 4_000) | st.integers(0, 2**62),
    st.sampled_from((0, 0, 6150, 6200, 6201, 6260, 1, 2**60)),
    st.sampled_from((0, 0, 6150, 6260)),
    st.sampled_from(TimeInForce),
    st.booleans(),
    st.sampled_from((0, 0, 6100, 6300, 2**60)),
    st.sampled_from((0, 0, 6100, 6300)),
    st.sampled_from((0, 0, 50, 7)),
)


@chosen_examples(deadline=None, max_examples=25)
@given(st.lists(tickets, min_size=1, max_size=12))
def test_what_the_preview_says_is_what_sending_does(wanted: list[Ticket]) -> None:
    """With orders that rest, positions and stops as they come; and the encoded state is the same before and after a preview."""
    world = World()
    world.command(Action.ARM)
    world.wait(200)
    for ticket in (Ticket(B, K.MARKET, 200), Ticket(B, K.LIMIT, 100, 6150), *wanted):
        before, told = world.desk.core.snapshot(), len(world.outputs)
        found = pictures(world.state, world.chosen, Watch(MARKET, 1000, 5, ticket=ticket))
        (view,) = [one for one in found if isinstance(one, TicketView)]
        assert world.desk.core.snapshot() == before and len(world.outputs) == told
        assert decode_to_console(encode(Frame(0, (view,), ()))) == Frame(0, (view,), ())
        assert view.ticket == ticket and order(world, ticket) == view.refusal
        world.wait(1500)
    world.close()


def test_a_preview_before_anything_is_known_changes_nothing_either() -> None:
    desk = Desk()
    before = desk.core.snapshot()
    for ticket in (Ticket(B, K.MARKET, 100), Ticket(B, K.LIMIT, 100, 6200), Ticket(S, K.STOP, 0, trigger=6000)):
        assert of(desk, ticket).refusal
        assert preview(desk.core.state, desk.core.settings, "binance:NOPE/USDT:USDT", ticket).refusal.endswith("is not collected")
    assert desk.core.snapshot() == before and desk.at == START


def test_a_fill_comes_as_the_preview_said(world: World) -> None:
    ticket = Ticket(B, K.MARKET, 3000)
    found = preview(world.state, world.chosen, MARKET, ticket).estimate
    assert order(world, ticket) == "" and found is not None
    world.wait(2000)
    position = world.state.portfolio.positions[MARKET]
    assert (position.quantity, str(position.cost.normalize())) == (3000, str(Decimal(found.notional).normalize()))
    assert position.fees == Decimal(found.fee)
    (stop,) = alive(world, Purpose.STOP)
    assert stop.trigger - found.stop in (0, 1), "between two ticks it triggers sooner"


def test_amending_is_previewed_as_it_is_done(world: World) -> None:
    assert order(world, Ticket(B, K.LIMIT, 200, 6150)) == ""
    world.wait(300)
    (entry,) = alive(world, Purpose.ENTRY)
    for ticket in (Ticket(B, K.LIMIT, 200, 6150), Ticket(B, K.LIMIT, 100_000, 6155), Ticket(B, K.LIMIT, 260, 6155)):
        before = world.desk.core.snapshot()
        view = preview(world.state, world.chosen, MARKET, ticket, entry.client_id)
        assert world.desk.core.snapshot() == before
        assert order(world, ticket, entry.client_id, Action.AMEND) == view.refusal
    assert view.amends == entry.client_id and view.estimate is not None and view.estimate.notional.startswith("160.03")
    assert preview(world.state, world.chosen, MARKET, ticket, "nobody").refusal == "there is no such open order"


def test_a_recorded_session_previews_nothing(small: Path) -> None:
    playback = Playback(Player(Session(small)))
    ticket = Ticket(B, K.MARKET, 100)
    found = [one for one in playback.pictures(Watch(MARKET, 1000, 5, ticket=ticket)) if isinstance(one, TicketView)]
    assert [(one.ticket, one.refusal, one.estimate) for one in found] == [(ticket, NOT_HERE, None)]
