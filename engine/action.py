"""A closed bar, a stance and a position in; what to do and how much of it out.

The strategy enters in the direction of a valid, confident stance when the bar agrees, and leaves when a valid stance
turns against the position; stops and targets do the rest. Sizes come from the distance to the stop.
"""

import math

import msgspec

from engine.config import JudgmentSettings, StrategySettings
from engine.events import Bias, Features, Side, Stance
from engine.kernel import kernel

FIXED, PERCENTAGE, KELLY, RISK_PARITY = 0, 1, 2, 3
SIZING = {"fixed": FIXED, "percentage_of_capital": PERCENTAGE, "kelly": KELLY, "risk_parity": RISK_PARITY}


class Plan(msgspec.Struct, frozen=True):
    """Where a position ends: distances from its price in quote units, or the ticks that an operator chose (0: none chosen)."""

    stop_distance: float
    target_distance: float  # 0: no target
    stop: int = 0
    target: int = 0
    trail_bps: int = 0  # the stop follows the best price at this distance


class Wish(msgspec.Struct, frozen=True):
    """`side` None: do nothing, for the reason given. `leave` closes the position instead of opening one."""

    side: Side | None
    leave: bool
    reason: str



def decide(
    features: Features,
    stance: Stance | None,
    position: int,
    at: int,
    judge: JudgmentSettings,
    cooling: bool,
    cost_bps: float = 0.0,
) -> Wish:
    """What to do at a bar's close with `position` (signed steps). `cost_bps` is what going in and out costs: a stance that says
    how far the price will go must say more than `cost_factor` times that.
    """
    if stance is None or not stance.valid(at):
        return _nothing("there is no valid judgment")
    if stance.bias is Bias.HOLD:
        return _nothing("the judgment is to hold")
    side = Side.BUY if stance.bias is Bias.LONG else Side.SELL
    if position:
        if position * side < 0 and stance.confidence >= judge.min_confidence:
            return Wish(side, True, f"the stance turned {stance.bias.value}")
        return _nothing("the position is held")
    if stance.confidence < judge.min_confidence:
        return _nothing(f"confidence {stance.confidence:.2f} is below {judge.min_confidence:g}")
    if stance.risk_score > judge.max_risk_score:
        return _nothing(f"risk {stance.risk_score:.2f} is above {judge.max_risk_score:g}")
    if stance.target_price > 0.0:
        move = abs(stance.target_price / stance.price - 1.0) * 10_000
        if move < judge.cost_factor * cost_bps:
            wanted = f"{judge.cost_factor:g} times the cost of {cost_bps:.1f}"
            return _nothing(f"an expected move of {move:.1f} bps does not pay {wanted}")
    if cooling:
        return _nothing("a position was closed a moment ago")
    if math.isnan(features.ema_12) or math.isnan(features.atr_14):
        return _nothing("the indicators are still warming up")
    if (features.close - features.ema_12) * side < 0:
        return _nothing("the bar does not agree yet")
    return Wish(side, False, f"the stance is {stance.bias.value} with confidence {stance.confidence:.2f} and the bar agrees")


def _nothing(reason: str) -> Wish:
    return Wish(None, False, reason)


def plan(price: float, atr: float, settings: StrategySettings) -> Plan:
    """Stop and target distances; the least distance holds where the ATR is small or not known."""
    least = price * settings.min_stop_bps / 10_000
    stop = max(settings.stop_atr * atr if atr > 0 else 0.0, least)
    return Plan(stop, stop * settings.target_atr / settings.stop_atr)


@kernel
def position_size(
    method: int,
    equity: float,
    price: float,
    stop_distance: float,
    target_distance: float,
    confidence: float,
    fixed_notional: float,
    capital_fraction: float,
    kelly_fraction: float,
    risk_per_trade: float,
) -> float:
    """Base units to trade, before limits and steps.

    kelly: the stake that is lost at the stop is `kelly_fraction` of the full Kelly fraction p - (1 - p) / b with
    p = confidence and b = target / stop distance (Kelly 1956), nothing when that is negative.
    """
    if equity <= 0.0 or price <= 0.0 or stop_distance <= 0.0:
        return 0.0
    if method == FIXED:
        return fixed_notional / price
    if method == PERCENTAGE:
        return capital_fraction * equity / price
    if method == RISK_PARITY:
        return risk_per_trade * equity / stop_distance
    edge = confidence - (1.0 - confidence) * stop_distance / target_distance
    return max(edge, 0.0) * kelly_fraction * equity / stop_distance


def size(settings: StrategySettings, equity: float, price: float, planned: Plan, confidence: float) -> float:
    """`position_size` with the settings' method."""
    return position_size(
        SIZING[settings.sizing],
        equity,
        price,
        planned.stop_distance,
        planned.target_distance,
        confidence,
        settings.fixed_notional,
        settings.capital_fraction,
        settings.kelly_fraction,
        settings.risk_per_trade,
    )
