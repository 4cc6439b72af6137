"""Limits that look back: the day's loss, the drawdown, losses, stops, funding; told once, acted on once, kept over restarts."""

from decimal import Decimal

import msgspec
import pytest

from engine.core.recovery import recollection
from engine.events import (
    Alert,
    Decided,
    Mark,
    Mode,
    Purpose,
    Recovered,
    SendOrder,
    Side,
    Started,
)
from tests.factory import MARKET, MS, SECOND, START, Desk, aster, of, sent, settings
from tests.test_core import entered, fill, protect


def mark_at(desk: Desk, price: float, funding: str = "0", next_in_s: int = 0) -> None:
    due = (desk.at + next_in_s * SECOND) // MS if next_in_s else 0
    value = Decimal(str(price))
    desk.feed(Mark(desk.at, MARKET, value, value, Decimal(funding), due, desk.at // MS))


def falls(desk: Desk, bps: float) -> list[object]:
    """The mark falls so far below the entry; a second passes."""
    entry = float(desk.core.state.portfolio.position(MARKET).entry(desk.core.state.markets[MARKET].instrument))
    mark_at(desk, entry * (1 - bps / 10_000))
    return desk.pass_ms(1_000)  # type: ignore[return-value]


def limited(**risk: object) -> tuple[Desk, SendOrder]:
    desk, entry, out = entered(settings(risk={"max_daily_loss": 0.001, "max_drawdown": 0.5, **risk}))
    protect(desk, out)
    return desk, entry


@pytest.mark.parametrize(("then", "share"), [("block", 0.0), ("reduce", 0.5), ("flatten", 1.0)])
def test_a_days_loss_does_what_the_settings_say_once(then: str, share: float) -> None:
    desk, entry = limited(on_daily_loss=then)
    out = falls(desk, 200)
    told = [alert.text for alert in of(out, Alert) if "daily loss" in alert.text]  # type: ignore[arg-type]
    assert len(told) == 1 and "has reached its limit of 0.10%" in told[0]
    exits = [order for order in sent(out) if order.purpose is Purpose.EXIT]  # type: ignore[arg-type]
    assert [order.quantity for order in exits] == ([-(-entry.quantity * share // 1)] if share else [])
    assert all(order.reduce_only for order in exits)
    for order in exits:
        fill(desk, order, desk.core.state.markets[MARKET].book.best_bid)
    again = falls(desk, 205) if share < 1.0 else desk.pass_ms(1_000)
    assert not [order for order in sent(again) if order.purpose is Purpose.EXIT], "once"  # type: ignore[arg-type]
    assert not [alert for alert in of(again, Alert) if "daily loss" in alert.text]  # type: ignore[arg-type]


def test_after_a_part_was_closed_the_stop_is_of_what_is_left() -> None:
    desk, entry = limited(on_daily_loss="reduce")
    (order,) = [one for one in sent(falls(desk, 200)) if one.purpose is Purpose.EXIT]  # type: ignore[arg-type]
    out = fill(desk, order, desk.core.state.markets[MARKET].book.best_bid)
    out += desk.pass_ms(2_000)
    stops = [one for one in sent(out) if one.purpose is Purpose.STOP]
    assert stops and stops[0].quantity == entry.quantity - order.quantity


def test_the_drawdown_counts_from_the_height_and_flickering_around_it_is_one_breach() -> None:
    desk, _ = limited(max_daily_loss=1.0, max_drawdown=0.002, on_drawdown="block")
    mark_at(desk, 0.70)
    desk.pass_ms(1_000)
    height = desk.core.state.portfolio.peak_equity
    assert height > 10_000
    mark_at(desk, 0.67)
    out = desk.pass_ms(1_000)
    for price in (0.672, 0.669, 0.672, 0.669):
        mark_at(desk, price)
        out += desk.pass_ms(500)
    assert len([alert for alert in of(out, Alert) if "The drawdown" in alert.text]) == 1
    assert desk.core.state.portfolio.peak_equity == height


def test_a_restart_does_not_forget_the_height_and_a_withdrawal_is_no_loss() -> None:
    desk = Desk().open()
    desk.pass_ms(500)
    desk.core.state.portfolio.peak_equity = Decimal(12_000)
    facts = msgspec.json.encode(recollection(desk.core.state)).decode()
    for wallet, height in (("10000", 12_000), ("9000", 11_000)):
        fresh = Desk()
        fresh.feed(Started(START, "next00", "test00", Mode.DEMO, "", "0"))
        fresh.feed(aster())
        fresh.feed(Recovered(fresh.at, "test00", facts, False, ""))
        fresh.account(wallet)
        assert fresh.core.state.portfolio.peak_equity == height


def test_after_a_loss_no_entry_is_made_for_the_time_that_is_set() -> None:
    desk, entry = limited(max_daily_loss=1.0, loss_cooldown_s=3_600)
    stop = next(order for order in desk.core.state.orders.values() if order.purpose is Purpose.STOP)
    low = desk.core.state.portfolio.position(MARKET).entry(aster())
    request = msgspec.structs.replace(stop.request(desk.at), side=Side.SELL)
    fill(desk, request, int(low / Decimal("0.0001")) - 20)
    assert not desk.core.state.portfolio.position(MARKET).quantity and desk.core.state.markets[MARKET].lost_at
    desk.core.state.markets[MARKET].bars_since_close = 1_000
    out = desk.trend(60, 3, desk.core.state.markets[MARKET].last_price)
    refused = [one.reason for one in of(out, Decided) if not one.approved]
    assert refused and all("closed at a loss" in reason for reason in refused)
    assert not [order for order in sent(out) if order.purpose is Purpose.ENTRY] and entry.quantity


def test_stops_that_were_hit_are_counted_over_the_guards_bars() -> None:
    desk, _, out = entered(settings(risk={"stop_guard": 1, "stop_guard_bars": 30}))
    stop = protect(desk, out)
    fill(desk, stop, stop.trigger - 5)
    held = desk.core.state.markets[MARKET]
    assert held.stops_at == [desk.at]
    held.bars_since_close = 1_000
    out = desk.trend(20, 3, held.last_price)
    assert any("1 stops were hit within 30 bars" in one.reason for one in of(out, Decided))
    held.stops_at = [desk.at - 31 * SECOND]
    held.bars_since_close = 1_000
    assert any(one.approved for one in of(desk.trend(20, 3, held.last_price), Decided))


def test_an_entry_that_would_pay_for_funding_soon_waits() -> None:
    desk = Desk(settings(risk={"funding_window_s": 3_600, "max_funding_bps": 5})).open().arm()
    mark_at(desk, 0.62, "0.0010", 600)
    out = desk.trend(80, 2)
    refused = [one.reason for one in of(out, Decided) if not one.approved]
    assert refused and all("bps of funding" in reason for reason in refused) and not sent(out)
