"""What consoles are shown is what the core knows."""

import math
from decimal import Decimal

import msgspec
import pytest

from engine.core import Core
from engine.core.pictures import SPARKS, chart, pictures
from engine.core.tape import KEPT
from engine.events import (
    Bar,
    BarHistory,
    BookSnapshot,
    Connected,
    Disconnected,
    IndicatorValues,
    OrderAccepted,
    Purpose,
    Side,
    Unlisted,
    pack_levels,
)
from engine.runtime.charts import Charts
from engine.views import (
    AccountView,
    ChartLiveView,
    ChartView,
    Frame,
    IndicatorsView,
    JudgmentView,
    LadderView,
    MarketRow,
    MarketsView,
    OrdersView,
    Picture,
    PositionsView,
    TapeView,
    Watch,
    decode_to_console,
    encode,
)
from tests.factory import MARKET, MS, SECOND, START, Desk, aster, sent, settings
from tests.test_core import entered, protect


def shown(desk: Desk, depth: int = 10, timeframe_ms: int = 1000) -> dict[type[Picture], Picture]:
    found = pictures(desk.core.state, settings(), Watch(MARKET, timeframe_ms, depth))
    assert decode_to_console(encode(Frame(0, tuple(found), ()))) is not None
    return {type(picture): picture for picture in found}


def a_desk_with_a_position() -> Desk:
    desk, _, out = entered()
    protect(desk, out)
    target = next(order for order in sent(desk.out) if order.purpose is Purpose.TARGET)
    desk.feed(OrderAccepted(desk.at, MARKET, target.client_id, "algo2"))
    return desk


def test_the_ladder_is_the_book_best_first_with_our_orders() -> None:
    desk = a_desk_with_a_position()
    view = shown(desk)[LadderView]
    assert isinstance(view, LadderView)
    book = desk.core.state.markets[MARKET].book
    assert view.bids[0] == (book.best_bid, book.best_bid_size) and view.asks[0] == (book.best_ask, book.best_ask_size)
    assert [price for price, _ in view.bids] == sorted((price for price, _ in view.bids), reverse=True)
    assert {name for _, _, _, name in view.own} == {"stop", "target"}
    assert 0 < view.spread_bps < 10 and -1 <= view.imbalance <= 1


def test_the_chart_has_a_value_of_each_overlay_for_each_bar_and_marks_our_fills() -> None:
    views = shown(a_desk_with_a_position())
    view = views[ChartView]
    assert isinstance(view, ChartView)
    assert len(view.bars) > 60
    assert all(len(values) == len(view.bars) for values in view.overlays.values())
    assert math.isnan(view.overlays["sma_20"][0]) and not math.isnan(view.overlays["sma_20"][-1])
    live = views[ChartLiveView]
    assert isinstance(live, ChartLiveView)
    assert [name for _, _, _, name in live.marks] == ["entry"]
    assert [name for name, _ in live.lines] == ["entry", "stop", "target"]
    lines = dict(live.lines)
    assert lines["stop"] < lines["entry"] < lines["target"]


def test_the_chart_has_the_prices_of_the_indicators_list_at_their_bars() -> None:
    desk, charts = a_desk_with_a_position(), Charts()
    held = desk.core.state.markets[MARKET]
    closed = held.bars[1000].closed
    before = charts.of(held, 1000)
    last = closed[-1].open_ms
    desk.feed(IndicatorValues(desk.at, MARKET, 1000, last - 1000, {"EMA": 0.62, "RSI": 55.0}, {"EMA": (0.6, 0.61, 0.62)}))
    assert charts.of(held, 1000) is not before
    desk.feed(IndicatorValues(desk.at, MARKET, 1000, last, {"EMA": 0.63, "RSI": 56.0}))
    view = shown(desk)[ChartView]
    assert isinstance(view, ChartView)
    assert view.listed.keys() == {"EMA"} and len(view.listed["EMA"]) == len(view.bars)
    assert view.listed["EMA"][-4:] == (0.6, 0.61, 0.62, 0.63) and math.isnan(view.listed["EMA"][-5])
    desk.feed(IndicatorValues(desk.at, MARKET, 1000, last - 5000, {"EMA": 9.0}))
    assert shown(desk)[ChartView].listed["EMA"][-6] != 9.0, "older figures than are known say nothing"  # type: ignore[attr-defined]
    assert not any(one.past for one in held.catalog.values())


def test_the_chart_marks_when_a_judgment_came_into_force() -> None:
    desk = a_desk_with_a_position()
    held = desk.core.state.markets[MARKET]
    view = shown(desk)[ChartView]
    assert isinstance(view, ChartView) and held.stance is not None
    assert view.judgments[-1] == (held.stance.made_at // 1_000_000, held.stance.bias)
    assert [ms for ms, _ in view.judgments] == sorted({ms for ms, _ in view.judgments})


def test_a_position_larger_than_the_account_has_a_price_at_which_it_is_liquidated() -> None:
    desk = a_desk_with_a_position()
    assert "liquidation" not in dict(shown(desk)[ChartLiveView].lines)  # type: ignore[attr-defined]
    state = desk.core.state
    position = state.portfolio.position(MARKET)
    entry = float(position.entry(state.markets[MARKET].instrument))
    size = position.quantity
    state.portfolio.wallet = Decimal(size) * Decimal(repr(entry)) / 5  # five times the account
    price = dict(shown(desk)[ChartLiveView].lines)["liquidation"]  # type: ignore[attr-defined]
    assert entry / 5 + (price - entry) == pytest.approx(0.01 * price, rel=1e-6), "its equity is the maintenance margin there"
    isolated = settings(risk={"margin_mode": "isolated"})
    (live,) = [one for one in pictures(state, isolated, Watch(MARKET, 1000, 5)) if isinstance(one, ChartLiveView)]
    price = dict(live.lines)["liquidation"]
    assert entry / 3 + (price - entry) == pytest.approx(0.01 * price, rel=1e-6), "its own margin at three times leverage"


def test_positions_and_orders_are_exact_text() -> None:
    desk = a_desk_with_a_position()
    views = shown(desk)
    rows, orders, account = views[PositionsView], views[OrdersView], views[AccountView]
    assert isinstance(rows, PositionsView) and isinstance(orders, OrdersView) and isinstance(account, AccountView)
    (row,) = rows.rows
    assert Decimal(row.quantity) == desk.core.state.portfolio.position(MARKET).quantity
    assert Decimal(row.stop) < Decimal(row.entry) < Decimal(row.target)
    assert {order.purpose for order in orders.open} == {"stop", "target"}
    assert [order.purpose for order in orders.finished] == ["entry"]
    assert Decimal(account.equity) == Decimal(account.wallet) + Decimal(account.unrealised)


def test_a_judgment_says_what_was_done_with_it() -> None:
    desk = Desk().open()
    desk.trend(60, 2)
    view = shown(desk)[JudgmentView]
    assert isinstance(view, JudgmentView) and view.stance is not None
    assert view.outcome == "nothing: trading is off"
    view = shown(a_desk_with_a_position())[JudgmentView]
    assert isinstance(view, JudgmentView) and view.outcome


def test_an_empty_core_can_be_shown() -> None:
    views = shown(Desk())
    assert views[LadderView].bids == () and views[ChartView].bars == ()  # type: ignore[attr-defined]
    assert views[IndicatorsView].features is None  # type: ignore[attr-defined]


def test_looking_does_not_change_the_core() -> None:
    for desk in (a_desk_with_a_position(), Desk()):
        before = desk.core.snapshot()
        shown(desk)
        assert desk.core.snapshot() == before


def test_closed_bars_are_drawn_when_one_closes_and_are_the_same_object_until_then() -> None:
    desk, charts = Desk().open(), Charts()
    held = desk.core.state.markets[MARKET]
    drawn, closes = charts.of(held, 1000), 0
    for _ in range(5):
        bars = len(held.bars[1000].closed)
        desk.trend(1, 2)
        before, drawn = drawn, charts.of(held, 1000)
        closes += len(held.bars[1000].closed) > bars
        assert (drawn is before) is (len(held.bars[1000].closed) == bars)
        assert repr(drawn) == repr(chart(held, 1000))  # NaN is not equal to itself
    assert closes and charts.made == 1 + closes
    assert charts.of(held, 60_000) is not drawn


def seen(desk: Desk, market: str = MARKET) -> TapeView:
    found = pictures(desk.core.state, settings(), Watch(market, 1000, 10), tapes=desk.core.tapes)
    return next(view for view in found if isinstance(view, TapeView))


def rows(desk: Desk) -> tuple[MarketRow, ...]:
    view = shown(desk)[MarketsView]
    assert isinstance(view, MarketsView)
    return view.rows


def test_the_tape_has_the_newest_trades_and_counts_all_of_them() -> None:
    desk = Desk().open()
    began = desk.at
    assert seen(desk).prints == () and seen(desk).since == 0
    for n in range(KEPT + 50):
        desk.trade(6200 + n, size=n + 1, side=Side.BUY if n % 2 else Side.SELL)
    view = seen(desk)
    assert (view.seen, len(view.prints), view.since) == (KEPT + 50, KEPT, began)
    assert view.prints[0][1:] == (6250, 51, -1) and view.prints[-1] == (desk.at // MS, 6200 + KEPT + 49, KEPT + 50, 1)


def test_a_trade_that_a_second_connection_tells_again_is_on_the_tape_once() -> None:
    desk = Desk().open()
    desk.trade(6200)
    desk.trade_id = 0
    desk.trade(6200)
    assert seen(desk).seen == 1


def test_the_tape_is_no_part_of_the_state_that_is_recorded() -> None:
    desk = Desk().open()
    for n in range(KEPT):
        desk.trade(6200 + n % 3)
    before = desk.core.digest()
    desk.core.tapes.clear()
    assert desk.core.digest() == before
    desk.core = Core.restore(settings(), desk.core.snapshot())
    desk.at += 5 * SECOND
    desk.trade(6300)
    assert (seen(desk).seen, seen(desk).since) == (1, desk.at), "what a tape begun anew shows is of another count"


def test_a_market_that_is_collected_no_more_has_no_tape() -> None:
    desk = Desk().open()
    desk.trade(6200)
    desk.feed(Unlisted(desk.at, MARKET))
    assert desk.core.tapes == {}


def test_the_watch_list_has_price_change_curve_and_position_of_a_market() -> None:
    desk = a_desk_with_a_position()
    (row,) = rows(desk)
    held = desk.core.state.markets[MARKET]
    closed = [bar for bar in held.bars[1000].closed if bar.open_ms % 10_000 == 0]
    assert row.closes == tuple(bar.close for bar in closed) and 5 <= len(row.closes) <= SPARKS
    assert row.change == held.last_price / held.bars[1000].closed[0].open - 1
    assert row.span_ms == len(held.bars[1000].closed) * 1000
    assert (row.last, row.trust) == (held.last_price, held.book.trust)
    assert Decimal(row.position) == desk.core.state.portfolio.position(MARKET).quantity > 0
    assert Decimal(row.unrealised) != 0 and math.isnan(row.basis_bps)


def test_the_watch_list_shows_an_hour_of_minutes_as_soon_as_there_are_some() -> None:
    desk = Desk().open()
    minutes = tuple(
        Bar(MARKET, 60_000, (START // MS // 60_000 - 90 + n) * 60_000, 100 + n, 999, 1, 101 + n, 5, 1) for n in range(89)
    )
    desk.feed(Disconnected(desk.at, "binance", "market", "for a test"))
    desk.feed(Connected(desk.at, "binance", "market"))
    desk.feed(BarHistory(desk.at, MARKET, 60_000, minutes))
    (row,) = rows(desk)
    assert (len(row.closes), row.span_ms) == (SPARKS, 3_600_000)
    assert row.change == minutes[-1].close / minutes[-60].open - 1


def test_the_same_contract_at_another_venue_stands_beside_ours_with_its_basis() -> None:
    desk = Desk().open()
    other = "okx:" + MARKET.partition(":")[2]
    desk.feed(msgspec.structs.replace(aster(desk.at), market="binance:BTC/USDT:USDT"))
    desk.feed(msgspec.structs.replace(aster(desk.at), market=other))
    assert [row.market for row in rows(desk)] == [MARKET, other, "binance:BTC/USDT:USDT"]
    assert all(math.isnan(row.basis_bps) for row in rows(desk))
    book = desk.core.state.markets[other].book
    desk.feed(Connected(desk.at, "okx", "public"))
    desk.feed(BookSnapshot(desk.at, other, 1, pack_levels([6190, 5]), pack_levels([6191, 5]), desk.at // MS, True))
    assert book.trusted
    ours, theirs, btc = rows(desk)
    assert ours.basis_bps == -theirs.basis_bps > 0 and math.isnan(btc.basis_bps)
