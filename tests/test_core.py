"""The core by hand: decisions, protection, halts, recovery; and that the same inputs give the same outputs."""

import math
from decimal import Decimal

import msgspec

from engine.core import Core
from engine.core.pictures import chart, chart_version
from engine.core.view import market_view
from engine.events import (
    Action,
    Alert,
    Bar,
    BarClosed,
    BarHistory,
    BarsMissing,
    BookSnapshot,
    CancelOrder,
    ClockJumped,
    ClockOffset,
    Command,
    CommandDone,
    ConditionalReport,
    Connected,
    Decided,
    Difference,
    Disconnected,
    Event,
    FetchAccount,
    FetchHistory,
    FetchSnapshot,
    Filled,
    Judged,
    Kline,
    LatchHalt,
    Mark,
    OrderAccepted,
    OrderChanged,
    OrderFact,
    OrderFateUnknown,
    OrderKind,
    OrderNotFound,
    OrderRefused,
    OrderReport,
    OrderState,
    PositionFact,
    Purpose,
    ReleaseHalt,
    SendOrder,
    Side,
    Tick,
    Trade,
    TradeHistory,
    Trading,
    TradingChanged,
    Trust,
    encode,
    pack_levels,
)
from engine.processor.indicators import Indicators
from tests.factory import MARKET, MS, SECOND, TAKER, Desk, aster, of, sent, settings


def fill(
    desk: Desk, order: SendOrder, price: int, quantity: int = 0, trade_id: int = 0, fee: Decimal | None = None
) -> list[Event]:
    """The venue fills an order (wholly by default) and says so on the private stream."""
    quantity = quantity or order.quantity
    state = desk.core.state.orders[order.client_id]
    filled = state.filled + quantity
    status = "FILLED" if filled >= order.quantity else "PARTIALLY_FILLED"
    charged = fee if fee is not None else (price * Decimal("0.0001") * quantity * TAKER).quantize(Decimal("1e-8"))
    position = desk.core.state.portfolio.position(MARKET)
    realised = Decimal(0)
    if position.quantity * order.side < 0:
        part = min(quantity, abs(position.quantity))
        realised = position.side * (price * Decimal("0.0001") * part - position.cost * part / abs(position.quantity))
    return desk.feed(
        OrderReport(
            desk.at,
            MARKET,
            order.client_id,
            f"v{order.client_id}",
            status,
            order.side,
            order.quantity,
            filled,
            order.reduce_only,
            desk.at // MS,
            quantity,
            price,
            trade_id or 7_000 + desk.core.state.counters.fills,
            charged,
            "USDT",
            False,
            realised,
        )
    )


def entered(chosen: object = None) -> tuple[Desk, SendOrder, list[Event]]:
    """A desk on which a rising market has just led to a filled long entry; also what followed the fill."""
    desk = Desk(chosen).open().arm()  # type: ignore[arg-type]
    out = desk.trend(80, 2)
    entry = sent(out)[0]
    desk.feed(OrderAccepted(desk.at, MARKET, entry.client_id, f"v{entry.client_id}"))
    return desk, entry, fill(desk, entry, desk.core.state.markets[MARKET].book.best_ask)


def protect(desk: Desk, out: list[Event]) -> SendOrder:
    """The venue takes the stop."""
    stop = next(order for order in sent(out) if order.purpose is Purpose.STOP)
    desk.feed(OrderAccepted(desk.at, MARKET, stop.client_id, "algo1"))
    return stop


def test_a_rising_market_leads_to_one_long_entry() -> None:
    desk = Desk().open().arm()
    out = desk.trend(80, 2)
    orders = sent(out)
    assert [(order.purpose, order.side, order.kind) for order in orders] == [(Purpose.ENTRY, Side.BUY, OrderKind.MARKET)]
    assert of(out, Judged)


def test_a_stopwatch_is_told_where_stages_end_and_changes_nothing() -> None:
    told: list[str] = []
    watched, plain = Desk(), Desk()
    watched.core = Core(watched.core.settings, watched.core.state, told.append)
    for desk in (watched, plain):
        desk.open().arm().trend(80, 2)
    assert [encode(event) for event in watched.out] == [encode(event) for event in plain.out]
    assert watched.core.digest() == plain.core.digest()
    counters = plain.core.state.counters
    assert counters.approvals and told.count("risk") == counters.approvals + counters.refusals
    assert told.count("features") == counters.bars
    gate = told.index("risk")
    assert told[gate - 3 : gate + 1] == ["", "features", "decision", "risk"] and told[gate + 1] != "decision"


def test_a_falling_market_leads_to_a_short_entry() -> None:
    desk = Desk().open().arm()
    orders = sent(desk.trend(80, -2))
    assert orders and orders[0].side is Side.SELL and not orders[0].reduce_only


def test_nothing_is_sent_while_trading_is_off() -> None:
    desk = Desk().open()
    assert sent(desk.trend(80, 2)) == []


def test_nothing_is_sent_before_the_account_was_compared() -> None:
    desk = Desk()
    desk.open()
    desk.feed(Disconnected(desk.at, "binance", "private", "cut"))
    desk.arm()
    out = desk.trend(80, 2)
    assert sent(out) == []
    refusals = [event for event in out if isinstance(event, Decided)]
    assert refusals and all("private stream" in event.reason for event in refusals)


def test_stale_book_refuses_orders() -> None:
    desk = Desk().open().arm()
    desk.feed(Disconnected(desk.at, "binance", "public", "cut"))
    out: list[Event] = []
    for n in range(80):
        out += desk.trade(6200 + 2 * n)
        desk.at += SECOND
        out += desk.feed(Tick(desk.at))
    assert sent(out) == []
    assert any("book is" in event.reason for event in out if isinstance(event, Decided))


def test_a_filled_entry_is_protected_at_once_by_a_reduce_only_stop_of_its_size() -> None:
    _, entry, out = entered()
    stops = [order for order in sent(out) if order.purpose is Purpose.STOP]
    assert [(stop.side, stop.quantity, stop.reduce_only, stop.kind) for stop in stops] == [
        (Side.SELL, entry.quantity, True, OrderKind.STOP)
    ]
    assert stops[0].trigger < of(out, Filled)[0].price  # type: ignore[attr-defined]


def test_the_target_follows_when_the_stop_is_live() -> None:
    desk, _, out = entered()
    assert not [order for order in sent(out) if order.purpose is Purpose.TARGET]
    stop = next(order for order in sent(out) if order.purpose is Purpose.STOP)
    after = desk.feed(OrderAccepted(desk.at, MARKET, stop.client_id, "algo1"))
    targets = [order for order in sent(after) if order.purpose is Purpose.TARGET]
    assert targets and targets[0].reduce_only and targets[0].trigger > stop.trigger


def test_a_short_position_has_its_stop_above() -> None:
    """The seed program gave an increased short a long's stop."""
    desk = Desk().open().arm()
    entry = sent(desk.trend(80, -2))[0]
    desk.feed(OrderAccepted(desk.at, MARKET, entry.client_id, "v1"))
    price = desk.core.state.markets[MARKET].book.best_bid
    stop = next(order for order in sent(fill(desk, entry, price)) if order.purpose is Purpose.STOP)
    assert stop.side is Side.BUY and stop.trigger > price


def test_a_stop_waits_for_its_trigger_and_is_no_market_order_at_once() -> None:
    """The seed program's stops became market orders at once."""
    desk, _, out = entered()
    stop = next(order for order in sent(out) if order.purpose is Purpose.STOP)
    assert stop.kind.conditional and 0 < stop.trigger < desk.core.state.markets[MARKET].book.best_bid


def test_the_quantity_is_base_units_and_not_quote_notional() -> None:
    """The seed program sent quote notional as base quantity: a tenth of 10,000 USDT is 1,600 ASTER, not 1,000."""
    _, entry, _ = entered()
    assert 1000 / 0.64 < entry.quantity < 1000 / 0.61


def test_a_position_whose_stop_never_comes_is_closed() -> None:
    desk, entry, _ = entered()
    out = desk.pass_ms(4000)
    exits = [order for order in sent(out) if order.purpose is Purpose.EXIT]
    assert exits and exits[0].reduce_only and exits[0].quantity == entry.quantity


def test_a_stop_that_would_trigger_at_once_closes_the_position_at_market() -> None:
    desk, _entry, out = entered()
    stop = next(order for order in sent(out) if order.purpose is Purpose.STOP)
    after = desk.feed(OrderRefused(desk.at, MARKET, stop.client_id, -2021, "Order would immediately trigger."))
    assert [order.purpose for order in sent(after)] == [Purpose.EXIT]


def test_a_partly_filled_entry_gets_a_stop_of_what_was_filled_and_then_of_the_whole() -> None:
    desk = Desk().open().arm()
    entry = sent(desk.trend(80, 2))[0]
    desk.feed(OrderAccepted(desk.at, MARKET, entry.client_id, "v1"))
    price = desk.core.state.markets[MARKET].book.best_ask
    half = entry.quantity // 2
    assert sent(fill(desk, entry, price, half)) == []  # the rest is waited for a moment
    first = [order for order in sent(desk.pass_ms(700)) if order.purpose is Purpose.STOP]
    assert [stop.quantity for stop in first] == [half]
    desk.feed(OrderAccepted(desk.at, MARKET, first[0].client_id, "a1"))
    rest = [
        order
        for order in sent(fill(desk, entry, price, entry.quantity - half) + desk.pass_ms(600))
        if order.purpose is Purpose.STOP
    ]
    assert [stop.quantity for stop in rest] == [entry.quantity]
    old = desk.core.state.orders[first[0].client_id]
    assert old.state is OrderState.WORKING  # the small stop stays until the large one protects
    after = desk.feed(OrderAccepted(desk.at, MARKET, rest[0].client_id, "a2"))
    assert first[0].client_id in [event.client_id for event in after if isinstance(event, CancelOrder)]


def test_a_triggered_stop_flattens_and_its_target_is_cancelled() -> None:
    desk, entry, out = entered()
    stop = protect(desk, out)
    target = next(order for order in sent(desk.out) if order.purpose is Purpose.TARGET)
    desk.feed(OrderAccepted(desk.at, MARKET, target.client_id, "algo2"))
    desk.feed(ConditionalReport(desk.at, MARKET, stop.client_id, "algo1", "TRIGGERED", "9001", "", desk.at // MS))
    after = fill(desk, stop, stop.trigger)
    assert desk.core.state.portfolio.position(MARKET).quantity == 0
    assert [event.client_id for event in after if isinstance(event, CancelOrder)] == [target.client_id]
    assert entry.quantity == stop.quantity


def test_a_fill_told_twice_is_booked_once() -> None:
    desk, entry, _ = entered()
    position = desk.core.state.portfolio.position(MARKET).quantity
    report = next(event for event in desk.inputs if isinstance(event, OrderReport))
    assert of(desk.feed(report), Filled) == []
    assert desk.core.state.portfolio.position(MARKET).quantity == position == entry.quantity


def test_a_wrong_commission_is_told() -> None:
    desk = Desk().open().arm()
    entry = sent(desk.trend(80, 2))[0]
    out = fill(desk, entry, 6361, fee=Decimal("0.00000001"))
    assert any("commission" in event.what for event in out if isinstance(event, Difference))
    assert desk.core.state.portfolio.fee_mismatches == 1


def test_a_commission_in_another_asset_is_told_and_not_taken_from_this_wallet() -> None:
    desk = Desk().open().arm()
    entry = sent(desk.trend(80, 2))[0]
    report = OrderReport(
        desk.at, MARKET, entry.client_id, "v1", "FILLED", Side.BUY, entry.quantity, entry.quantity, False, 0,
        entry.quantity, 6361, 7, Decimal("0.002"), "BNB",
    )  # fmt: skip
    out = desk.feed(report)
    assert [event.theirs for event in out if isinstance(event, Difference)] == ["0.002 BNB"]
    assert desk.core.state.portfolio.wallet == 10_000


def test_halt_cancels_what_adds_exposure_keeps_the_stop_and_sends_no_entry_afterwards() -> None:
    desk, _, out = entered()
    stop = protect(desk, out)
    resting = desk.core.state.orders[stop.client_id]
    changes = {"client_id": "stray", "reduce_only": False, "purpose": Purpose.ENTRY, "kind": OrderKind.LIMIT}
    desk.core.state.add(msgspec.structs.replace(resting, **changes))
    halted = desk.command(Action.HALT)
    assert of(halted, LatchHalt)
    assert [event.client_id for event in halted if isinstance(event, CancelOrder)] == ["stray"]
    after = desk.trend(120, 3)
    assert all(order.reduce_only for order in sent(after))
    assert stop.client_id not in [event.client_id for event in after if isinstance(event, CancelOrder)]
    assert desk.core.state.trading is Trading.HALTED


def test_a_stop_that_is_missing_after_a_halt_is_replaced() -> None:
    desk, entry, out = entered()
    stop = protect(desk, out)
    desk.command(Action.HALT)
    desk.feed(ConditionalReport(desk.at, MARKET, stop.client_id, "algo1", "CANCELED", "", "", desk.at // MS))
    again = [order for order in sent(desk.pass_ms(1000)) if order.purpose is Purpose.STOP]
    assert [(order.quantity, order.side) for order in again] == [(entry.quantity, Side.SELL)]


def test_a_halted_session_starts_halted_and_is_armed_only_after_a_release() -> None:
    desk = Desk(halted="halted by somebody (2026-11-22)").open()
    desk.command(Action.ARM)
    assert desk.core.state.trading is Trading.HALTED
    assert sent(desk.trend(80, 2)) == []
    assert of(desk.command(Action.RELEASE), ReleaseHalt)
    assert desk.core.state.trading is Trading.OFF
    desk.command(Action.ARM)
    assert desk.core.state.trading is Trading.ARMED


def test_flatten_closes_reduce_only_and_stays_halted() -> None:
    desk, entry, out = entered()
    protect(desk, out)
    flat = desk.command(Action.FLATTEN)
    exits = sent(flat)
    assert [(order.purpose, order.quantity, order.reduce_only) for order in exits] == [(Purpose.EXIT, entry.quantity, True)]
    fill(desk, exits[0], 6350)
    assert desk.core.state.portfolio.position(MARKET).quantity == 0
    assert desk.core.state.trading is Trading.HALTED


def test_a_doubled_command_counts_once() -> None:
    desk = Desk().open()
    assert of(desk.command(Action.HALT, "one"), TradingChanged)
    desk.command(Action.RELEASE, "two")
    assert desk.command(Action.HALT, "one") == []
    assert desk.core.state.trading is Trading.OFF


def answer(out: list[Event]) -> tuple[bool, str]:
    done = next(event for event in out if isinstance(event, CommandDone))
    return done.accepted, done.text


def test_a_vetoed_judgment_opens_nothing_until_the_next_one() -> None:
    desk = Desk(settings(judgment={"every_bars": 100})).open().arm()
    out: list[Event] = []
    while not of(out, Judged):
        out += desk.trend(1, 2, 6200 + desk.trade_id * 2)
    assert answer(desk.feed(Command(desk.at, "v1", Action.VETO, "the test", MARKET))) == (True, "veto: done")
    assert sent(desk.trend(30, 2, 6200 + desk.trade_id * 2)) == []
    assert desk.core.state.markets[MARKET].vetoed
    assert answer(desk.feed(Command(desk.at, "v2", Action.VETO, "the test", MARKET)))[1] == "there is no valid judgment to veto"


def test_an_operator_closes_a_position_even_while_halted() -> None:
    desk, entry, out = entered()
    protect(desk, out)
    desk.command(Action.HALT)
    closing = desk.feed(Command(desk.at, "x1", Action.CLOSE, "the test", MARKET))
    exits = [(order.purpose, order.quantity, order.reduce_only) for order in sent(closing)]
    assert exits == [(Purpose.EXIT, entry.quantity, True)]
    fill(desk, sent(closing)[0], 6350)
    assert answer(desk.feed(Command(desk.at, "x2", Action.CLOSE, "the test", MARKET))) == (False, "there is no position to close")


def test_an_operator_cancels_a_target_but_not_the_stop_of_a_position() -> None:
    desk, _, out = entered()
    stop = protect(desk, out)
    target = next(order for order in sent(desk.out) if order.purpose is Purpose.TARGET)
    desk.feed(OrderAccepted(desk.at, MARKET, target.client_id, "algo2"))
    taken = desk.feed(Command(desk.at, "k1", Action.CANCEL, "the test", target.client_id))
    assert [event.client_id for event in taken if isinstance(event, CancelOrder)] == [target.client_id]
    refused = desk.feed(Command(desk.at, "k2", Action.CANCEL, "the test", stop.client_id))
    assert not of(refused, CancelOrder) and "protects the position" in answer(refused)[1]
    assert answer(desk.feed(Command(desk.at, "k3", Action.CANCEL, "the test", "nobody")))[0] is False


def test_arming_while_halted_is_answered_with_the_reason() -> None:
    desk = Desk(halted="before").open()
    assert answer(desk.command(Action.ARM)) == (False, "trading is halted: release it before arming")


def test_an_order_of_unknown_fate_blocks_entries_and_is_asked_for_until_the_venue_answers() -> None:
    desk = Desk().open().arm()
    entry = sent(desk.trend(80, 2))[0]
    desk.feed(OrderFateUnknown(desk.at, MARKET, entry.client_id, "no reply"))
    out = desk.trend(20, 2, 6360)
    assert sent(out) == []
    asked = [event for event in out if type(event).__name__ == "LookUpOrder"]
    assert len(asked) >= 4
    # Not found is not believed while the request could still execute.
    state = desk.core.state.orders[entry.client_id]
    assert state.state is OrderState.UNKNOWN
    desk.feed(OrderNotFound(desk.at, MARKET, entry.client_id))
    assert state.state is OrderState.UNKNOWN
    desk.feed(OrderNotFound(desk.at, MARKET, entry.client_id))
    assert state.state is OrderState.REJECTED


def test_an_unknown_order_that_was_filled_is_found_and_protected() -> None:
    desk = Desk().open().arm()
    entry = sent(desk.trend(80, 2))[0]
    desk.feed(OrderFateUnknown(desk.at, MARKET, entry.client_id, "no reply"))
    out = fill(desk, entry, 6361)
    assert desk.core.state.orders[entry.client_id].state is OrderState.FILLED
    assert [order.purpose for order in sent(out)] == [Purpose.STOP]


def test_a_position_that_is_found_at_the_start_is_adopted_and_protected() -> None:
    desk = Desk()
    fact = PositionFact(MARKET, -700, Decimal("0.62"), Decimal("0.62"), Decimal(0), Decimal(1))
    for event in Desk().open().inputs[2:]:
        if type(event).__name__ != "AccountSnapshot":
            desk.feed(event)
    desk.at += SECOND
    out = desk.account(positions=(fact,))
    stops = [order for order in sent(out) if order.purpose is Purpose.STOP]
    assert [(stop.side, stop.quantity) for stop in stops] == [(Side.BUY, 700)]


def test_a_stop_that_is_found_at_the_start_is_kept() -> None:
    desk = Desk()
    for event in Desk().open().inputs[2:]:
        if type(event).__name__ != "AccountSnapshot":
            desk.feed(event)
    fact = PositionFact(MARKET, 700, Decimal("0.62"), Decimal("0.62"), Decimal(0), Decimal(1))
    order = OrderFact(MARKET, "btolder0001", "55", Side.SELL, 700, 0, True, True, Decimal("0.6100"))
    out = desk.account(positions=(fact,), orders=(order,)) + desk.pass_ms(2000)
    assert [order for order in sent(out) if order.purpose is Purpose.STOP] == []
    assert not of(out, CancelOrder)


def test_a_difference_with_the_venue_is_told_and_the_venue_wins() -> None:
    desk = Desk().open()
    desk.at += SECOND
    out = desk.account("9990")
    assert [event.what for event in out if isinstance(event, Difference)] == ["wallet"]
    assert desk.core.state.portfolio.wallet == 9990


def test_trading_waits_after_a_lost_private_stream_until_the_account_agrees_again() -> None:
    desk = Desk().open().arm()
    desk.feed(Disconnected(desk.at, "binance", "private", "cut"))
    assert not desk.core.state.reconciled
    desk.feed(Connected(desk.at, "binance", "private"))
    assert not desk.core.state.reconciled
    desk.account()
    assert desk.core.state.reconciled


def test_every_change_of_an_order_is_told() -> None:
    desk, entry, _ = entered()
    changes = [
        (event.before, event.after)
        for event in desk.out
        if isinstance(event, OrderChanged) and event.client_id == entry.client_id
    ]
    assert changes == [
        (OrderState.CREATED, OrderState.SENT),
        (OrderState.SENT, OrderState.WORKING),
        (OrderState.WORKING, OrderState.FILLED),
    ]


# --- the same inputs give the same outputs -----------------------------------------------------------------------------


def a_session() -> Desk:
    """Entry, stop, triggered stop, halt: a bit of everything."""
    desk, _, out = entered()
    stop = protect(desk, out)
    desk.trend(10, -3, 6360)
    fill(desk, stop, stop.trigger)
    desk.trend(60, -2, 6340)
    desk.command(Action.HALT)
    desk.pass_ms(500)
    return desk


def run(inputs: list[Event], **sections: dict[str, object]) -> bytes:
    core = Core(settings(**sections))
    return b"".join(encode(output) for event in inputs for output in core.process(event))


def test_two_runs_over_the_same_inputs_are_byte_identical() -> None:
    inputs = a_session().inputs
    first = run(inputs)
    assert len(first) > 10_000
    assert first == run(inputs) == b"".join(encode(output) for output in a_session().out)


def test_changing_one_limit_changes_the_outputs() -> None:
    inputs = a_session().inputs
    assert run(inputs) != run(inputs, risk={"max_order_notional": 300.0})


def test_a_restored_core_goes_on_like_the_one_that_was_never_interrupted() -> None:
    inputs = a_session().inputs
    middle = len(inputs) * 3 // 4
    core = Core(settings())
    for event in inputs[:middle]:
        core.process(event)
    resumed = Core.restore(settings(), core.snapshot())
    straight = [encode(output) for event in inputs[middle:] for output in core.process(event)]
    assert straight == [encode(output) for event in inputs[middle:] for output in resumed.process(event)]
    assert straight


# --- time ---------------------------------------------------------------------------------------------------------------


def bars_closed(out: list[Event]) -> list[int]:
    return [event.bar.trades for event in out if isinstance(event, BarClosed) and event.bar.timeframe_ms == 1000]


def test_a_backlog_does_not_close_bars_whose_trades_are_still_coming() -> None:
    """The clock is two bars ahead of what the venue has told so far."""
    desk = Desk().open()
    desk.trade(6200)
    desk.at += 1_900 * MS
    assert bars_closed(desk.feed(Tick(desk.at))) == []
    late = Trade(desk.at, MARKET, desk.trade_id + 1, 6203, 10, Side.BUY, desk.at // MS - 1_200)
    desk.trade_id += 1
    desk.feed(late)
    assert bars_closed(desk.touch() + desk.feed(Tick(desk.at + 400 * MS))) == [2]


def test_without_news_the_clock_alone_closes_bars() -> None:
    desk = Desk().open()
    desk.trade(6200)
    out: list[Event] = []
    for _ in range(50):
        desk.at += 100 * MS
        out += desk.feed(Tick(desk.at))
    assert bars_closed(out)[0] == 1 and len(bars_closed(out)) >= 2


# --- holes in the bars --------------------------------------------------------------------------------------------------


def kline(open_ms: int, close: int, volume: int = 9, closed: bool = True, timeframe_ms: int = 1000) -> Kline:
    bar = Bar(MARKET, timeframe_ms, open_ms, close, close, close, close, volume, 0)
    return Kline((open_ms + timeframe_ms) * MS, bar, closed, open_ms + timeframe_ms)


def cut(desk: Desk, seconds: int) -> FetchHistory:
    """The market's feed is lost and comes back; what the core asks for then."""
    desk.feed(Disconnected(desk.at, "binance", "market", "cut"))
    desk.pass_ms(1000 * seconds)
    return next(e for e in desk.feed(Connected(desk.at, "binance", "market")) if isinstance(e, FetchHistory))


def without_history(desk: Desk) -> list[Event]:
    """The venue has none: not after the reconnection, and not when a trade shows that some are missing."""
    desk.trade_id += 500
    out = desk.feed(TradeHistory(desk.at, MARKET, b"")) + desk.trade(6300)
    if of(out, FetchHistory):
        out += desk.feed(TradeHistory(desk.at, MARKET, b""))
    return out


def test_history_is_asked_for_at_the_start_and_from_where_the_known_ends_after_a_lost_feed() -> None:
    desk = Desk()
    first = next(e for e in desk.feed(Connected(desk.at, "binance", "market")) if isinstance(e, FetchHistory))
    assert (first.market, first.since_ms, first.after_id) == (MARKET, 0, 0)
    desk = Desk().open()
    desk.trend(70, 1)
    asked = cut(desk, 3)
    newest = desk.core.state.markets[MARKET].bars[60_000].closed[-1]
    assert (asked.since_ms, asked.after_id) == (newest.open_ms, desk.trade_id)


def test_a_hole_that_history_fills_is_none_and_the_features_go_on() -> None:
    desk = Desk().open()
    desk.trend(60, 1)
    cut(desk, 3)
    rows = [n for i in range(3) for n in (desk.trade_id + 1 + i, 6260 + i, 10, 1, desk.at // MS - 2900 + 1000 * i)]
    desk.trade_id += 3
    out = desk.feed(TradeHistory(desk.at, MARKET, pack_levels(rows)))
    out += desk.trend(5, 1)
    held = desk.core.state.markets[MARKET]
    assert of(out, BarsMissing) == [] and of(out, Alert) == [] and desk.core.state.counters.bars_missing == 0
    assert held.bars[1000].run() == held.bars[1000].closed and not math.isnan(held.features[1000].sma_50)
    plain = Indicators()
    for bar in held.bars[1000].closed:
        plain.update(*(price * 0.0001 for price in (bar.high, bar.low, bar.close)))
    assert plain.state == held.indicators[1000].state, "bar by bar in order, as if nothing had been cut"


def test_a_hole_that_cannot_be_filled_is_told_and_nothing_is_reckoned_over_it() -> None:
    desk = Desk().open().arm()
    desk.trend(60, 0)
    held = desk.core.state.markets[MARKET]
    cut(desk, 30)
    out = without_history(desk)
    (missing,) = of(out, BarsMissing)
    assert isinstance(missing, BarsMissing) and missing.timeframe_ms == 1000
    assert (missing.to_ms - missing.from_ms) // 1000 == desk.core.state.counters.bars_missing > 25
    assert any("warm up again" in event.text for event in out if isinstance(event, Alert))
    out = desk.trend(11, 20, 6300)
    assert sent(out) == [], "no entry on features that warm up"
    assert math.isnan(held.features[1000].ema_12) and math.isnan(held.features[1000].momentum_bps)
    desk.trend(60, 1, 6500)
    assert not math.isnan(held.features[1000].sma_50)
    shown = chart(held, 1000)
    after = next(n for n, bar in enumerate(shown.bars) if bar.open_ms == missing.to_ms)
    assert shown.bars[after - 1].open_ms + 1000 == missing.from_ms, "the chart draws a gap where the time jumps"
    assert not math.isnan(shown.overlays["sma_20"][after - 1]) and math.isnan(shown.overlays["sma_20"][after + 18])


def test_nothing_is_decided_on_the_bar_in_which_the_feed_was_lost() -> None:
    desk = Desk().open()
    desk.trend(60, 2)
    desk.trade(6330)
    cut(desk, 30)
    desk.arm()
    desk.feed(TradeHistory(desk.at, MARKET, b""))
    out = desk.pass_ms(200)
    assert of(out, BarsMissing) and not of(out, BarClosed) and not of(out, Judged) and not sent(out)


def test_minutes_that_neither_bars_nor_trades_bring_back_are_a_hole_too() -> None:
    desk = Desk().open()
    desk.trend(130, 1)
    cut(desk, 300)
    missing = [event for event in without_history(desk) if isinstance(event, BarsMissing)]
    assert [event.timeframe_ms for event in missing] == [1000, 60_000]
    held = desk.core.state.markets[MARKET]
    assert held.indicators[60_000].bars == 0 and 60_000 not in held.features
    desk.pass_ms(61_000)
    assert held.indicators[60_000].bars == len(held.bars[60_000].run()) == 1


def test_the_venues_minutes_fill_what_its_trades_do_not_reach() -> None:
    desk = Desk().open()
    desk.trend(130, 1)
    asked = cut(desk, 300)
    minutes = desk.core.state.markets[MARKET].bars[60_000]
    now_ms = desk.at // MS
    bars = tuple(Bar(MARKET, 60_000, ms, 62, 63, 61, 62, 9, 3) for ms in range(asked.since_ms, now_ms - 60_000, 60_000))
    before = len(minutes.closed)
    desk.feed(BarHistory(desk.at, MARKET, 60_000, bars))
    out = without_history(desk)
    assert [event.timeframe_ms for event in out if isinstance(event, BarsMissing)] == [1000]
    assert len(minutes.closed) >= before + 4 and minutes.run() == minutes.closed


def test_holes_that_follow_each_other_are_counted_and_told_once_a_minute() -> None:
    desk = Desk().open()
    desk.trend(5, 1)
    out: list[Event] = []
    for _ in range(4):
        cut(desk, 5)
        out += without_history(desk) + desk.trend(2, 1)
    assert len(of(out, BarsMissing)) == 4
    assert len([event for event in out if isinstance(event, Alert) and "has no" in event.text]) == 1


def test_history_that_comes_while_the_feed_is_lost_again_starts_nothing() -> None:
    desk = Desk().open()
    desk.trend(5, 1)
    desk.feed(Disconnected(desk.at, "binance", "market", "cut"))
    desk.feed(TradeHistory(desk.at, MARKET, b""))
    assert of(desk.pass_ms(5000), BarClosed) == [], "time without a feed is not flat"


def test_trades_lost_inside_a_connection_are_fetched_before_their_bar_is_closed() -> None:
    desk = Desk().open()
    desk.trend(5, 1)
    known, desk.trade_id = desk.trade_id, desk.trade_id + 2
    (asked,) = of(desk.trade(6210), FetchHistory)
    assert isinstance(asked, FetchHistory) and asked.after_id == known
    rows = [n for id in (known, known + 1, known + 2) for n in (id, 6290, 10, 1, desk.at // MS)]
    desk.feed(TradeHistory(desk.at, MARKET, pack_levels(rows)))
    out = desk.pass_ms(1500)
    (closed,) = of(out, BarClosed)[:1]
    assert isinstance(closed, BarClosed) and (closed.bar.high, closed.bar.trades) == (6290, 3)
    bars = desk.core.state.markets[MARKET].bars[1000]
    assert (bars.counters.id_gaps, bars.counters.partial) == (0, 1), "the first one of all"


def test_a_venue_whose_history_lacks_the_trades_too_is_not_asked_for_ever() -> None:
    desk = Desk().open()
    desk.trend(5, 1)
    asked = 0
    for _ in range(10):
        desk.pass_ms(11_000)
        desk.trade_id += 5
        wishes = of(desk.trade(6210), FetchHistory)
        asked += len(wishes)
        if wishes:
            desk.feed(TradeHistory(desk.at, MARKET, b""))
    assert asked == 3
    assert desk.core.state.markets[MARKET].bars[1000].started


def test_okx_brings_trades_and_books_on_one_route_and_its_candles_are_no_matter_of_trades() -> None:
    desk = Desk()
    okx = "okx:ASTER/USDT:USDT"
    desk.feed(msgspec.structs.replace(aster(), market=okx))
    (asked,) = of(desk.feed(Connected(desk.at, "okx", "public")), FetchHistory)
    assert isinstance(asked, FetchHistory) and asked.market == okx
    assert of(desk.feed(Connected(desk.at, "okx", "business")), FetchHistory) == []
    held = desk.core.state.markets[okx]
    desk.feed(Disconnected(desk.at, "okx", "business", "cut"))
    assert not held.feed_lost
    desk.feed(Disconnected(desk.at, "okx", "public", "cut"))
    assert held.feed_lost and held.book.trust is Trust.OFF


# --- the venue's own bars -----------------------------------------------------------------------------------------------


def test_the_venues_closed_bar_closes_ours_and_an_unfinished_one_says_nothing() -> None:
    desk = Desk().open()
    desk.trade(6200)
    open_ms = desk.at // MS // 1000 * 1000
    assert of(desk.feed(kline(open_ms, 6200, closed=False)), BarClosed) == []
    (closed,) = of(desk.feed(kline(open_ms, 6207)), BarClosed)
    assert isinstance(closed, BarClosed) and closed.bar.close == 6207 and not closed.derived
    assert of(desk.feed(kline(open_ms, 6207)), BarClosed) == []


def test_trades_that_stay_away_while_the_venues_bar_tells_of_them_are_fetched() -> None:
    desk = Desk().open()
    desk.trend(10, 1)
    open_ms = (desk.at // MS // 60_000 + 1) * 60_000
    desk.pass_ms(open_ms + 60_000 - desk.at // MS)
    assert of(desk.feed(kline(open_ms, 6210, volume=0, timeframe_ms=60_000)), FetchHistory) == [], "nobody traded"
    (asked,) = of(desk.feed(kline(open_ms, 6210, timeframe_ms=60_000)), FetchHistory)
    assert isinstance(asked, FetchHistory) and asked.after_id == desk.trade_id
    rows = [desk.trade_id + 1, 6250, 9, 1, open_ms + 5_500]
    desk.feed(TradeHistory(desk.at, MARKET, pack_levels(rows)))
    assert open_ms + 5_000 in desk.core.state.markets[MARKET].bars[1000].partial_ms, "it was out as a flat one"


def test_a_bar_that_was_decided_upon_stays_and_the_difference_is_counted() -> None:
    desk = Desk().open()
    desk.trend(30, 1)
    bars = desk.core.state.markets[MARKET].bars[1000]
    before = bars.closed[-3]
    desk.feed(kline(before.open_ms, 9000))
    assert bars.closed[-3] == before and desk.core.state.counters.bars_differ == 1


def test_a_partial_bar_is_mended_for_views_and_indicators_from_there_on() -> None:
    desk = Desk().open()
    desk.trend(30, 1)
    state = desk.core.state
    held = state.markets[MARKET]
    held.mends_failed = 3  # as if history had nothing
    desk.trade_id += 5
    desk.trade(6230)
    desk.pass_ms(3000)
    partial = next(bar for bar in held.bars[1000].closed if bar.open_ms == held.bars[1000].partial_ms[-1])
    version = chart_version(held, 1000)
    desk.feed(kline(partial.open_ms, 6500))
    assert state.counters.bars_mended == 1 and chart_version(held, 1000) != version
    plain = Indicators()
    for bar in held.bars[1000].closed:
        plain.update(*(price * 0.0001 for price in (bar.high, bar.low, bar.close)))
    assert plain.state == held.indicators[1000].state
    assert [row[0] for row in held.overlays[1000]] == [bar.open_ms for bar in held.bars[1000].closed]
    assert held.features[1000].sma_20 == plain.sma_20


def test_a_history_read_before_its_newest_bar_had_ended_does_not_close_that_one() -> None:
    desk = Desk()
    desk.feed(Connected(desk.at, "binance", "market"))
    now_ms = desk.at // MS
    newest = now_ms // 60_000 * 60_000 - 60_000
    bars = tuple(Bar(MARKET, 60_000, newest + 60_000 * n, 1, 1, 1, 1, 1, 1) for n in (-1, 0))
    held = desk.core.state.markets[MARKET]
    desk.feed(BarHistory((newest + 61_000) * MS, MARKET, 60_000, bars))
    assert [bar.open_ms for bar in held.bars[60_000].closed] == [bars[0].open_ms]


# --- clocks -------------------------------------------------------------------------------------------------------------


def test_a_clock_jump_makes_every_book_stale_until_a_fresh_snapshot_and_pauses_the_bars() -> None:
    desk = Desk().open().arm()
    desk.trend(30, 1)
    desk.account()
    held = desk.core.state.markets[MARKET]
    out = desk.feed(ClockJumped(desk.at, 3_600_000, "the machine slept"))
    assert held.book.trust is Trust.STALE and not held.bars[1000].started
    assert len(of(out, FetchHistory)) == len(of(out, FetchAccount)) == 1
    (alert,) = of(out, Alert)
    assert isinstance(alert, Alert) and alert.text.startswith("The machine slept (3600.0 s)")
    desk.at += SECOND
    assert of(desk.touch(), FetchSnapshot), "what comes out of the buffers is not enough"
    assert held.book.trust is Trust.STALE
    out = desk.pass_ms(3000)
    assert sent(out) == [] and of(out, BarClosed) == []
    levels, others = (pack_levels([n for i in range(20) for n in (at - i * way, 50)]) for at, way in ((6200, 1), (6201, -1)))
    desk.feed(BookSnapshot(desk.at, MARKET, desk.update, levels, others, desk.at // MS))
    desk.touch()
    assert held.book.trusted
    desk.feed(TradeHistory(desk.at, MARKET, b""))
    assert held.bars[1000].started and desk.core.state.counters.clock_jumps == 1


def test_a_jump_while_the_feed_is_down_leaves_history_to_the_reconnection() -> None:
    desk = Desk().open()
    desk.feed(Disconnected(desk.at, "binance", "market", "cut"))
    assert of(desk.feed(ClockJumped(desk.at, 5000)), FetchHistory) == []
    assert of(desk.feed(Connected(desk.at, "binance", "market")), FetchHistory)


def test_time_never_runs_backwards_in_the_core() -> None:
    desk = Desk().open()
    now = desk.core.state.now
    desk.feed(ClockJumped(desk.at - 9 * SECOND, -9_000, "the machine's clock was set back"))
    desk.feed(Tick(desk.at - 5 * SECOND))
    assert desk.core.state.now == now


def test_the_lag_is_the_receipt_less_the_venues_stamp_by_its_own_clock() -> None:
    desk = Desk().open()
    held = desk.core.state.markets[MARKET]
    desk.feed(ClockOffset(desk.at, "binance", -400, 20))  # the venue's clock is 400 ms behind ours
    for _ in range(1000):
        desk.at += 10 * MS
        desk.feed(Mark(desk.at, MARKET, Decimal("0.62"), Decimal("0.62"), Decimal(0), 0, desk.at // MS - 430))
    assert held.lag_us == 30_000 and abs(held.mean_lag_us - 30_000) <= 64
    assert held.received_at == desk.at
    view = market_view(desk.core.state, held, 1000, desk.at + 250 * MS)
    assert view.age_ms == 250 and view.lag_ms is not None and abs(view.lag_ms - 30) < 0.1


def test_okx_candles_which_bear_no_time_tell_nothing_of_the_lag() -> None:
    """The screen showed a lag of years on OKX."""
    desk = Desk().open()
    held = desk.core.state.markets[MARKET]
    desk.feed(Mark(desk.at, MARKET, Decimal("0.62"), Decimal("0.62"), Decimal(0), 0, desk.at // MS - 30))
    before = held.lag_us, held.mean_lag_us, held.newest_ms
    candle = kline(desk.at // MS // 1000 * 1000, 6200, closed=False)
    desk.feed(msgspec.structs.replace(candle, at=desk.at + MS, venue_ms=0))
    assert (held.lag_us, held.mean_lag_us, held.newest_ms) == before
    assert held.received_at == desk.at + MS
