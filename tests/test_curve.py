"""What the session has made over time, beside the core: bounded, no fall lost, and as it was when a session is sought through."""

import itertools
import math
from decimal import Decimal

import pytest

from engine.core import Core
from engine.core.curve import KEPT, STEP_NS, Curve
from engine.core.pictures import account, pictures
from engine.portfolio import Portfolio
from engine.queue.session import Session
from engine.replay.player import Player
from engine.views import AccountView, Frame, ProfitView, Watch, decode_to_console, encode
from tests.factory import MARKET, settings
from tests.test_pictures import a_desk_with_a_position
from tests.test_player import session, sought  # noqa: F401


def drawn(curve: Curve, profits: list[float], start: int = 0) -> Curve:
    for second, profit in enumerate(profits, start):
        book = Portfolio(known=True, wallet=Decimal(1000), realised=Decimal(str(profit)), day_equity=Decimal(1000))
        curve.add(second * STEP_NS, book, Decimal(1000), 0.03)
    return curve


def test_the_newest_point_is_what_the_account_says() -> None:
    desk = a_desk_with_a_position()
    desk.pass_ms(3_000)
    core = desk.core
    found = pictures(core.state, settings(), Watch(MARKET, 1000, 10), curve=core.curve)
    assert decode_to_console(encode(Frame(0, tuple(found), ()))) is not None
    view = next(view for view in found if isinstance(view, ProfitView))
    said: AccountView = account(core.state, settings())
    made = Decimal(said.realised) + Decimal(said.unrealised) - Decimal(said.fees) + Decimal(said.funding)
    newest = view.points[-1]
    assert newest.profit == pytest.approx(float(made)) and newest.fees == float(said.fees) > 0.0
    to_limit = float(said.equity) - float(said.day_equity) * (1 - said.max_daily_loss)
    assert newest.profit - newest.lowest == pytest.approx(to_limit)
    assert all(later.at - earlier.at >= STEP_NS for earlier, later in itertools.pairwise(view.points))


def test_a_long_session_has_no_more_points_than_a_short_one_and_its_deepest_fall() -> None:
    profits = [float(n % 7) for n in range(5_000)]
    profits[1_233] = -50.0
    points = drawn(Curve(), profits).view.points
    assert KEPT // 2 <= len(points) <= KEPT
    assert points[0].at == 0 and 5_000 * STEP_NS - points[-1].at <= 2 * (points[-1].at - points[-2].at)
    assert max(point.fall for point in points) == 56.0
    assert {later.at - earlier.at for earlier, later in itertools.pairwise(points)} == {32 * STEP_NS}


def test_nothing_is_told_before_the_venue_has_told_the_wallet_nor_a_limit_before_the_day_opened() -> None:
    curve = Curve()
    curve.add(1, Portfolio(), Decimal(0), 0.03)
    assert curve.view.points == ()
    curve.add(2, Portfolio(known=True), Decimal(0), 0.03)
    assert math.isnan(curve.view.points[0].lowest)


def test_a_curve_until_then_goes_on_as_it_would_have() -> None:
    profits = [float(n * 37 % 11) for n in range(60)]
    whole = drawn(Curve(), profits)
    again = drawn(whole.until(29 * STEP_NS), profits[30:], 30)
    assert again.view == whole.view
    assert whole.until(-1).view.points == ()


def test_a_session_that_is_sought_through_keeps_the_curve_up_to_there(session: Session) -> None:  # noqa: F811
    player = Player(session)
    assert player.run_until(player.ends_ns, session.inputs)
    whole = player.core.curve.view.points
    assert len(whole) >= 2
    for place in (session.inputs - 1, player.place_of(whole[1].at), player.place_of(whole[0].at), 0, session.inputs // 2):
        there = sought(player, place)
        known = tuple(point for point in whole if point.at <= there.core.state.now)
        assert there.core.curve.view.points == (known if place else ())


def test_the_curve_is_no_part_of_the_state_that_is_recorded() -> None:
    desk = a_desk_with_a_position()
    before = desk.core.digest()
    desk.core.curve = Curve()
    assert desk.core.digest() == before
    assert Core.restore(settings(), desk.core.snapshot()).curve.view.points == ()
