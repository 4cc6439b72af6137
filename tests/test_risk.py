"""Limits: each is tripped once, exits never are, and nobody else can approve."""

import math

import msgspec
import pytest

from engine.config import RiskSettings
from engine.events import Purpose, Side, Trading, Trust
from engine.risk import (
    Approved,
    Context,
    Intent,
    Refused,
    approve,
    entry_room,
    leverage,
    liquidation_distance,
    loss_at_stop,
    to_reduce,
)

CALM = Context(
    *(Trading.ARMED, Trust.TRUSTED, "", "", 0.62, 1.0, 0.0001, 1.6, math.nan, 10_000.0, 10_000.0),
    *(0, 0, 0.0, 0, 0, 1, 250_000, 5.0),
)
ENTRY = Intent("m", Purpose.ENTRY, Side.BUY, 1000, 6200, 6150, 6300)
LIMITS = RiskSettings(loss_cooldown_s=5.0)


def refusal(context: Context = CALM, intent: Intent = ENTRY, limits: RiskSettings = LIMITS) -> str:
    verdict = approve(intent, context, limits)
    return verdict.reason if isinstance(verdict, Refused) else ""


def but(context: Context = CALM, **changes: object) -> Context:
    return msgspec.structs.replace(context, **changes)


def test_a_sound_entry_passes() -> None:
    assert isinstance(approve(ENTRY, CALM, LIMITS), Approved)


@pytest.mark.parametrize(
    ("context", "words"),
    [
        (but(trading=Trading.OFF), "trading is off"),
        (but(trading=Trading.HALTED), "trading is halted"),
        (but(trust=Trust.STALE, trust_reason="silent for 3 s"), "the book is stale: silent for 3 s"),
        (but(trust=Trust.SYNCING), "the book is syncing"),
        (but(ready="the account's private stream is not connected"), "private stream"),
        (but(unknown_orders=1), "fate is unknown"),
        (but(spread_bps=21.0), "spread of 21.0"),
        (but(spread_bps=float("nan")), "spread"),
        (but(divergence_bps=30.1), "30.1 bps apart"),
        (but(entries_last_minute=30), "30 entries"),
        (but(equity=9_650.0), "today's loss of 3.50%"),
        (but(position=8_000), "a position of 5580.00"),
        (but(pending=8_000), "a position of 5580.00"),
        (but(other_notional=29_600.0), "leverage would be 3.02"),
        (but(equity=0.0, day_equity=0.0), "leverage"),
        (but(price=2.1), "an order of 2100.00"),
        (but(price=0.004), "below the venue's least notional"),
        (but(max_quantity=999), "more than the venue takes"),
        (but(min_quantity=1001), "no room"),
        (but(peak_equity=11_200.0), "equity is 10.71% below its height"),
        (but(since_loss_s=4.0), "closed at a loss 4 s ago, and 5 s must pass"),
        (but(recent_stops=4), "4 stops were hit within 60 bars"),
        (but(funding_in_s=30.0, funding_bps=6.0), "pay 6.0 bps of funding in 30 s"),
    ],
)
def test_each_limit_refuses_an_entry_with_its_reason(context: Context, words: str) -> None:
    assert words in refusal(context)


def test_liquidation_is_kept_away() -> None:
    """A leverage of 3 is allowed, and would be liquidated after a fall of a third: a limit of 40 % comes first."""
    far = msgspec.structs.replace(LIMITS, min_liquidation_distance=0.4)
    context = but(other_notional=24_000.0)
    assert refusal(context) == "" and "liquidation would be 39.6% away" in refusal(context, limits=far)
    assert liquidation_distance(10_000.0, 0.0) > 1e9 and liquidation_distance(10_000.0, 20_000.0) == pytest.approx(0.49)


def test_funding_is_a_reason_for_who_pays_it_soon() -> None:
    soon = but(funding_in_s=30.0, funding_bps=6.0)
    short = Intent("m", Purpose.ENTRY, Side.SELL, 1000, 6200, 6250, 6100)
    assert refusal(soon, short) == "" and refusal(but(funding_in_s=61.0, funding_bps=6.0)) == ""
    assert "pay 6.0 bps" in refusal(but(funding_in_s=30.0, funding_bps=-6.0), short)
    assert refusal(but(funding_in_s=30.0, funding_bps=4.0)) == ""


def test_what_is_off_is_no_reason() -> None:
    off = msgspec.structs.replace(LIMITS, loss_cooldown_s=0.0, stop_guard=0, min_liquidation_distance=0.0)
    assert refusal(but(since_loss_s=0.0, recent_stops=99), limits=off) == ""


def test_venues_that_agree_or_cannot_be_compared_are_no_reason() -> None:
    assert refusal(but(divergence_bps=30.0)) == "" and refusal(but(divergence_bps=math.nan)) == ""


def test_an_entry_without_a_stop_on_its_losing_side_is_refused() -> None:
    assert "protective stop" in refusal(intent=msgspec.structs.replace(ENTRY, stop=0))
    assert "protective stop" in refusal(intent=msgspec.structs.replace(ENTRY, stop=6210))
    assert "protective stop" in refusal(intent=msgspec.structs.replace(ENTRY, side=Side.SELL))


def test_the_loss_at_the_stop_is_limited() -> None:
    """1000 x (0.62 - 0.52) = 100 USDT is 1 % of equity; a tick more is too much."""
    assert refusal(intent=msgspec.structs.replace(ENTRY, stop=5200)) == ""
    assert "loss at the stop" in refusal(intent=msgspec.structs.replace(ENTRY, stop=5199))


def test_an_exit_is_never_refused_for_an_entrys_reason() -> None:
    worst = but(
        trading=Trading.HALTED, trust=Trust.STALE, ready="down", unknown_orders=3, spread_bps=900.0, equity=1.0, position=500,
        entries_last_minute=99, price=0.0001,
    )  # fmt: skip
    assert isinstance(approve(Intent("m", Purpose.EXIT, Side.SELL, 500, 0), worst, LIMITS), Approved)
    assert isinstance(approve(Intent("m", Purpose.STOP, Side.SELL, 500, 6000), worst, LIMITS), Approved)


def test_an_exit_cannot_turn_or_grow_the_position() -> None:
    held = but(position=500)
    assert "larger than the position" in refusal(held, Intent("m", Purpose.EXIT, Side.SELL, 501, 0))
    assert "against the position" in refusal(held, Intent("m", Purpose.EXIT, Side.BUY, 500, 0))
    assert "nothing to close" in refusal(held, Intent("m", Purpose.EXIT, Side.SELL, 0, 0))


def test_only_risk_can_approve() -> None:
    with pytest.raises(TypeError, match="only risk"):
        Approved(ENTRY, seal=object())


def test_room_is_what_the_limits_leave_and_an_entry_of_it_passes() -> None:
    for context in (CALM, but(position=3000), but(other_notional=28_000.0), but(price=1.9)):
        for stop in (6190, 5000, 100):
            distance = context.price - stop * context.tick
            quantity = entry_room(context, LIMITS, distance)
            intent = msgspec.structs.replace(ENTRY, quantity=quantity, stop=stop)
            assert quantity > 0 and refusal(context, intent) == ""
            assert entry_room(but(context, price=0.0), LIMITS, distance) == 0


def test_no_equity_means_endless_leverage_and_loss() -> None:
    assert leverage(1.0, 0.0) > 1e12 and loss_at_stop(1.0, 1.0, 0.5, -1.0) > 1e12


@pytest.mark.parametrize("position", [-5, -1, 0, 1, 5])
@pytest.mark.parametrize("purpose", list(Purpose))
@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("quantity", [0, 1, 5, 6])
def test_what_only_reduces_is_judged_by_little_as_by_everything(
    position: int, purpose: Purpose, side: Side, quantity: int
) -> None:
    intent = msgspec.structs.replace(ENTRY, purpose=purpose, side=side, quantity=quantity, reason="")
    few = approve(intent, to_reduce(0.62, 1.6, position), LIMITS)
    if purpose is Purpose.ENTRY:
        assert isinstance(few, Refused)
        return
    verdict = approve(intent, but(position=position), LIMITS)
    assert type(few) is type(verdict) and getattr(few, "reason", "") == getattr(verdict, "reason", "")
