"""Limits: an intent and the state of things in; `Approved` or `Refused` with a reason for the trader out.

Nothing else can make an `Approved`, and execution accepts nothing else. Entries must pass every limit; an order that
only reduces is never refused for an entry's reason.
"""

import math
from collections.abc import Iterator
from enum import IntEnum
from typing import NamedTuple

import msgspec

from engine.config import RiskSettings
from engine.events import Purpose, Side, Trading, Trust
from engine.kernel import kernel

MAINTENANCE = 0.01  # of notional
PASSIVE = 20  # times the collar: how far from the market an order may rest


class Intent(msgspec.Struct, frozen=True):
    """What the strategy (or the operator, or the protection) wants: steps, ticks. `price` is the expected fill."""

    market: str
    purpose: Purpose
    side: Side
    quantity: int
    price: int
    stop: int = 0
    target: int = 0
    reason: str = ""
    limit: int = 0  # ticks of a limit order, 0 at market
    judged: bool = False  # a stance led to it: its age, drift, confidence and risk are limits too
    strategy: str = ""  # that wants it by itself, "" where a judgment or a person does

    @property
    def reduces(self) -> bool:
        return self.purpose is not Purpose.ENTRY


class Refused(msgspec.Struct, frozen=True):
    """An order that is not sent; `reason` is a sentence for the trader."""

    intent: Intent
    reason: str


class Approved:
    """An intent that passed. `risk.approve` makes it; a test holds that nobody else does."""

    __slots__ = ("intent",)

    def __init__(self, intent: Intent, *, seal: object) -> None:
        if seal is not _SEAL:
            raise TypeError("only risk.approve may approve an intent")
        self.intent = intent


_SEAL = object()


class Context(msgspec.Struct, frozen=True):
    """The state that limits look at. Money is quote units as float: limits are comparisons, nothing here is booked."""

    trading: Trading
    trust: Trust
    trust_reason: str
    ready: str  # why the account cannot be traded on yet, "" if it can
    price: float  # quote units a base unit
    step: float  # base units a step
    tick: float
    spread_bps: float
    divergence_bps: float  # from the same contract at other venues, NaN where none is trusted
    equity: float
    day_equity: float
    position: int  # signed steps
    pending: int  # steps of entries that are not final or of unknown fate, signed: they count as filled
    other_notional: float  # gross notional of the other markets
    unknown_orders: int
    entries_last_minute: int
    min_quantity: int
    max_quantity: int
    min_notional: float
    peak_equity: float = 0.0  # its height so far, 0 where it is not known
    since_loss_s: float = math.inf  # since a position in this market was closed at a loss
    recent_stops: int = 0  # hit in this market within the guard's bars
    funding_in_s: float = math.inf
    funding_bps: float = 0.0  # positive: longs pay
    mark: float = 0.0  # the venue's own, 0 where it has told none
    elsewhere: tuple[float, ...] = ()  # mids of the same contract at other venues with a trusted book
    recent: tuple[tuple[int, int, int], ...] = ()  # side, steps and limit of the entries within the window of duplicates
    judgment_age_s: float = 0.0
    judgment_drift_bps: float = 0.0  # of the price since the judgment was made, whichever way
    confidence: float = 1.0
    min_confidence: float = 0.0
    risk_score: float = 0.0
    max_risk_score: float = 1.0


_EXIT_ONLY = "what only reduces was asked for"
_NO_ENTRY = Context(
    Trading.OFF, Trust.OFF, "", _EXIT_ONLY, 0.0, 0.0, 0.0, math.inf, math.nan, 0.0, 0.0, 0, 0, 0.0, 0, 0, 0, 0, 0.0
)


def to_reduce(price: float, spread_bps: float, position: int) -> Context:
    """All that is looked at for what only reduces, which must not wait for the rest; every entry is refused by it."""
    return msgspec.structs.replace(_NO_ENTRY, price=price, spread_bps=spread_bps, position=position)


# --- the limits as kernels: the backtest compiles the same source -----------------------------------------------------


@kernel
def notional(quantity: float, price: float) -> float:
    return abs(quantity) * price


@kernel
def daily_loss(day_equity: float, equity: float) -> float:
    """Fraction of the day's opening equity that is lost, 0 when there is a gain."""
    if day_equity <= 0.0 or equity >= day_equity:
        return 0.0
    return (day_equity - equity) / day_equity


@kernel
def drawdown(peak_equity: float, equity: float) -> float:
    """Fraction of the height that is lost, 0 at it."""
    if peak_equity <= 0.0 or equity >= peak_equity:
        return 0.0
    return (peak_equity - equity) / peak_equity


@kernel
def liquidation_distance(equity: float, gross_notional: float) -> float:
    """Adverse move of everything at once, fraction of the price, that leaves no more than the maintenance margin; huge without
    positions. MAINTENANCE stands for the venue's tier, whose rate for small positions is lower.
    """
    if gross_notional <= 0.0:
        return 1e18
    return equity / gross_notional - MAINTENANCE


@kernel
def leverage(gross_notional: float, equity: float) -> float:
    """Gross exposure as a multiple of equity; huge when there is no equity."""
    if equity <= 0.0:
        return 1e18
    return gross_notional / equity


@kernel
def loss_at_stop(quantity: float, price: float, stop: float, equity: float) -> float:
    """Loss as a fraction of equity if the whole quantity is closed at the stop."""
    if equity <= 0.0:
        return 1e18
    return abs(quantity) * abs(price - stop) / equity


@kernel
def room(
    price: float,
    stop_distance: float,
    equity: float,
    held: float,
    other_notional: float,
    max_order: float,
    max_position: float,
    max_leverage: float,
    max_loss: float,
    max_gross: float,
) -> float:
    """Base units that an entry may have at most under the notional, leverage and loss limits; `held` is |position|."""
    if price <= 0.0:
        return 0.0
    most = max_order / price
    most = min(most, max_position / price - held)
    most = min(most, (max_leverage * equity - other_notional) / price - held)
    most = min(most, (max_gross - other_notional) / price - held)
    if stop_distance > 0.0:
        most = min(most, max_loss * equity / stop_distance)
    return max(most, 0.0)


class Exposure(IntEnum):
    """Which limit of `exposure_limit` is in the way; NONE where all let an entry pass."""

    NONE = 0
    DAILY_LOSS = 1
    DRAWDOWN = 2
    LEAST_NOTIONAL = 3
    ORDER = 4
    POSITION = 5
    GROSS = 6
    LEVERAGE = 7
    LIQUIDATION = 8
    NO_STOP = 9
    LOSS = 10


@kernel
def exposure_limit(
    side: int,
    quantity: float,
    held: float,
    price: float,
    paid: float,
    stop: float,
    equity: float,
    day_equity: float,
    peak_equity: float,
    other_notional: float,
    min_notional: float,
    max_daily_loss: float,
    max_drawdown: float,
    max_order: float,
    max_position: float,
    max_gross: float,
    max_leverage: float,
    min_liquidation_distance: float,
    max_loss: float,
) -> int:
    """The first limit of loss and exposure in the way of an entry, as in `Exposure`. `quantity` and `held` (signed) are base
    units, `paid` is the price that the order is reckoned at and `stop` that of its stop, 0 for none.
    """
    if daily_loss(day_equity, equity) >= max_daily_loss:
        return 1
    if drawdown(peak_equity, equity) >= max_drawdown:
        return 2
    order = notional(quantity, paid)
    if order < min_notional:
        return 3
    if order > max_order:
        return 4
    after = notional(held + side * quantity, price)
    if after > max_position:
        return 5
    gross = after + other_notional
    if gross > max_gross:
        return 6
    if leverage(gross, equity) > max_leverage:
        return 7
    if liquidation_distance(equity, gross) < min_liquidation_distance:
        return 8
    if stop <= 0.0:
        return 9
    if loss_at_stop(quantity, paid, stop, equity) > max_loss * (1.0 + 1e-9):
        return 10
    return 0


@kernel
def breach(now: float, limit: float, breached: bool) -> tuple[bool, bool]:
    """Whether a limit of loss counts as reached, and whether it was only now: it is not again at each flicker around it."""
    if now < limit:
        return breached and now >= limit * 0.9, False
    return True, not breached


def entry_room(context: Context, limits: RiskSettings, stop_distance: float) -> int:
    """Steps that an entry may have at most: what sizing is clipped to (a limit is still checked by `approve`)."""
    most = room(
        context.price,
        stop_distance,
        context.equity,
        abs(context.position + context.pending) * context.step,
        context.other_notional,
        limits.max_order_notional,
        limits.max_position_notional,
        limits.max_leverage,
        limits.max_loss_per_trade,
        limits.max_gross_notional,
    )
    return min(int(most / context.step), context.max_quantity)


def approve(intent: Intent, context: Context, limits: RiskSettings) -> Approved | Refused:
    """The only gate between wanting and sending."""
    reason = problem(intent, context, limits)
    return Refused(intent, reason) if reason else Approved(intent, seal=_SEAL)


def problem(intent: Intent, context: Context, limits: RiskSettings) -> str:
    """Why `approve` would refuse now, "" where it would not."""
    return _exit_problem(intent, context) if intent.reduces else _entry_problem(intent, context, limits)


def _exit_problem(intent: Intent, context: Context) -> str:
    if intent.quantity <= 0:
        return "there is nothing to close"
    if context.position * intent.side >= 0:
        return "an exit must be against the position"
    if intent.quantity > abs(context.position):
        return f"an exit of {intent.quantity} steps is larger than the position of {abs(context.position)}"
    return ""


def _entry_problem(intent: Intent, context: Context, limits: RiskSettings) -> str:
    """The first limit in the way, as a sentence; cheap and decisive ones first."""
    if context.trading is not Trading.ARMED:
        return f"trading is {context.trading.value}"
    if context.ready:
        return context.ready
    if context.trust is not Trust.TRUSTED:
        return f"the book is {context.trust.value}: {context.trust_reason}"
    if context.unknown_orders:
        return "an order's fate is unknown, so no entry is made until the venue has answered"
    if intent.quantity < max(context.min_quantity, 1):
        return "the limits leave no room for the venue's smallest order"
    if intent.quantity > context.max_quantity:
        return f"{intent.quantity} steps are more than the venue takes in one order ({context.max_quantity})"
    if not context.spread_bps <= limits.max_spread_bps:
        return f"the spread of {context.spread_bps:.1f} bps is above {limits.max_spread_bps:g}"
    if context.divergence_bps > limits.max_divergence_bps:
        return f"the venues are {context.divergence_bps:.1f} bps apart, above {limits.max_divergence_bps:g}"
    if context.entries_last_minute >= limits.max_orders_per_minute:
        return f"{context.entries_last_minute} entries were sent in the last minute, the limit"
    if context.since_loss_s < limits.loss_cooldown_s:
        return f"a position was closed at a loss {context.since_loss_s:.0f} s ago, and {limits.loss_cooldown_s:g} s must pass"
    if limits.stop_guard and context.recent_stops >= limits.stop_guard:
        return f"{context.recent_stops} stops were hit within {limits.stop_guard_bars} bars, the limit"
    if limits.duplicate_window_s and (int(intent.side), intent.quantity, intent.limit) in context.recent:
        return f"the same order was sent less than {limits.duplicate_window_s:g} s ago"
    if intent.judged and (problem := _judgment_problem(context, limits)):
        return problem
    pays = context.funding_bps * intent.side
    if context.funding_in_s <= limits.funding_window_s and pays > limits.max_funding_bps:
        return f"it would pay {pays:.1f} bps of funding in {context.funding_in_s:.0f} s, above {limits.max_funding_bps:g}"
    return _exposure_problem(intent, context, limits)


def _judgment_problem(context: Context, limits: RiskSettings) -> str:
    if context.judgment_age_s > limits.max_judgment_age_s:
        return f"the judgment is {context.judgment_age_s:.0f} s old, above {limits.max_judgment_age_s:g}"
    if context.judgment_drift_bps > limits.max_judgment_drift_bps:
        return f"the price moved {context.judgment_drift_bps:.0f} bps since the judgment, above {limits.max_judgment_drift_bps:g}"
    return doubts(context.confidence, context.min_confidence, context.risk_score, context.max_risk_score)


def doubts(confidence: float, min_confidence: float, risk_score: float, max_risk_score: float) -> str:
    """Why a judgment may not be acted on, "" if it may. The gate decides by it; a strategy asks it first."""
    if not confidence >= min_confidence:
        return f"confidence {confidence:.2f} is below {min_confidence:g}"
    if not risk_score <= max_risk_score:
        return f"risk {risk_score:.2f} is above {max_risk_score:g}"
    return ""


class Collar(NamedTuple):
    """How far the price of an order is from what the contract is worth, in basis points, and the limit of that."""

    name: str
    worth: float
    bps: float
    limit_bps: float
    passive: bool  # it is away from the market, not into it


def collars(intent: Intent, context: Context, limits: RiskSettings) -> Iterator[Collar]:
    """A price that would take far beyond what the contract is worth, here or elsewhere, is a slip of the hand or a torn book. On
    the passive side an order may rest far away, but not absurdly so.
    """
    price = intent.price * context.tick
    for name, worth in (("mark", context.mark), *(("price at another venue", mid) for mid in context.elsewhere)):
        if worth > 0.0:
            beyond = (price / worth - 1.0) * 10_000 * intent.side
            passive = beyond < 0.0
            yield Collar(name, worth, abs(beyond), limits.max_collar_bps * (PASSIVE if passive else 1), passive)


def _collar_problem(intent: Intent, context: Context, limits: RiskSettings) -> str:
    for one in collars(intent, context, limits):
        if one.bps > one.limit_bps:
            word = "from" if one.passive else "beyond"
            price = intent.price * context.tick
            return f"{price:g} is {one.bps:.0f} bps {word} the {one.name} of {one.worth:g}, above {one.limit_bps:g}"
    return ""


class Measured(NamedTuple):
    """What the limits of loss and exposure look at, as if the whole order were filled: quote units and fractions."""

    paid: float  # a base unit
    stop: float  # its price, 0 for none on the losing side
    order: float
    after: float  # the position's notional
    gross: float
    leverage: float
    distance: float  # to liquidation
    loss: float  # at the stop
    lost: float  # today
    fallen: float  # from the equity's height


def measured(intent: Intent, context: Context) -> Measured:
    """What an intent would come to, in quote units and fractions: the figures that the limits compare."""
    paid = intent.limit * context.tick if intent.limit else context.price
    quantity, held = intent.quantity * context.step, (context.position + context.pending) * context.step
    stop = intent.stop * context.tick if (intent.price - intent.stop) * intent.side > 0 else 0.0  # on the wrong side: none
    after = notional(held + intent.side * quantity, context.price)
    gross = after + context.other_notional
    return Measured(
        paid,
        stop,
        notional(quantity, paid),
        after,
        gross,
        leverage(gross, context.equity),
        liquidation_distance(context.equity, gross),
        loss_at_stop(quantity, paid, stop, context.equity),
        daily_loss(context.day_equity, context.equity),
        drawdown(context.peak_equity, context.equity),
    )


def _exposure_problem(intent: Intent, context: Context, limits: RiskSettings) -> str:
    found = measured(intent, context)
    reached = exposure_limit(
        int(intent.side),
        intent.quantity * context.step,
        (context.position + context.pending) * context.step,
        context.price,
        found.paid,
        found.stop,
        context.equity,
        context.day_equity,
        context.peak_equity,
        context.other_notional,
        context.min_notional,
        limits.max_daily_loss,
        limits.max_drawdown,
        limits.max_order_notional,
        limits.max_position_notional,
        limits.max_gross_notional,
        limits.max_leverage,
        limits.min_liquidation_distance,
        limits.max_loss_per_trade,
    )
    match Exposure(reached):
        case Exposure.NONE:
            return _collar_problem(intent, context, limits)
        case Exposure.DAILY_LOSS:
            return f"today's loss of {found.lost:.2%} has reached the daily limit of {limits.max_daily_loss:.2%}"
        case Exposure.DRAWDOWN:
            return f"the equity is {found.fallen:.2%} below its height, and the limit is {limits.max_drawdown:.2%}"
        case Exposure.LEAST_NOTIONAL:
            return f"an order of {found.order:.2f} is below the venue's least notional of {context.min_notional:g}"
        case Exposure.ORDER:
            return f"an order of {found.order:.2f} is above the limit of {limits.max_order_notional:g}"
        case Exposure.POSITION:
            return f"a position of {found.after:.2f} would be above the limit of {limits.max_position_notional:g}"
        case Exposure.GROSS:
            return f"a gross exposure of {found.gross:.2f} would be above the limit of {limits.max_gross_notional:g}"
        case Exposure.LEVERAGE:
            return f"leverage would be {found.leverage:.2f}, above {limits.max_leverage:g}"
        case Exposure.LIQUIDATION:
            return f"liquidation would be {max(found.distance, 0.0):.1%} away, nearer than {limits.min_liquidation_distance:.1%}"
        case Exposure.NO_STOP:
            return "an entry needs a protective stop on the losing side of its price"
    return f"the loss at the stop would be {found.loss:.2%} of equity, above {limits.max_loss_per_trade:.2%}"
