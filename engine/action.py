"""A closed bar, a stance and a position in; what to do and how much of it out.

The strategy enters in the direction of a valid, confident stance when the bar agrees, and leaves when a valid stance
turns against the position; stops and targets do the rest. Sizes come from the distance to the stop.
"""

import math

import msgspec

from engine.config import JudgmentSettings, StrategySettings
from engine.events import Bias, Features, Side, Stance
from engine.kernel import kernel
from engine.risk import doubts

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
    if problem := doubts(stance.confidence, judge.min_confidence, stance.risk_score, judge.max_risk_score):
        return _nothing(problem)
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


class Evidence(msgspec.Struct, frozen=True):
    """What outcomes say of following a stance: how many there are, how often it wins, and a mean win for each unit of a loss."""

    outcomes: int = 0
    win_chance: float = 0.0
    payoff: float = 0.0


NO_EVIDENCE = Evidence()


@kernel
def win_chance(chance: float, stop_distance: float, target_distance: float) -> float:
    """That the target is met before the stop, by the chance that the price goes that way at all.

    A price without drift meets the target first with odds of stop / target; a judgment multiplies them by what its own odds are
    worth, chance / (1 - chance). One half therefore says nothing, however near the target is.
    """
    if chance <= 0.0 or stop_distance <= 0.0 or target_distance <= 0.0:
        return 0.0
    if chance >= 1.0:
        return 1.0
    odds = stop_distance / target_distance * chance / (1.0 - chance)
    return odds / (1.0 + odds)


@kernel
def kelly_stake(win: float, payoff: float) -> float:
    """The fraction of equity to risk: win - (1 - win) / payoff (Kelly 1956), nothing where that is not positive."""
    if payoff <= 0.0:
        return 0.0
    stake = win - (1.0 - win) / payoff
    return stake if stake > 1e-12 else 0.0


@kernel
def position_size(
    method: int,
    equity: float,
    price: float,
    stop_distance: float,
    win: float,
    payoff: float,
    fixed_notional: float,
    capital_fraction: float,
    kelly_fraction: float,
    kelly_capital: float,
    risk_per_trade: float,
) -> float:
    """Base units to trade, before limits and steps.

    kelly: `kelly_fraction` of the full stake is lost at the stop; the notional is `kelly_capital` of equity at most.
    """
    if equity <= 0.0 or price <= 0.0 or stop_distance <= 0.0:
        return 0.0
    if method == FIXED:
        return fixed_notional / price
    if method == PERCENTAGE:
        return capital_fraction * equity / price
    if method == RISK_PARITY:
        return risk_per_trade * equity / stop_distance
    return min(kelly_stake(win, payoff) * kelly_fraction * equity / stop_distance, kelly_capital * equity / price)


def size(settings: StrategySettings, equity: float, price: float, planned: Plan, evidence: Evidence = NO_EVIDENCE) -> float:
    """`position_size` with the settings' method. kelly stakes nothing on too few outcomes."""
    known = evidence.outcomes >= settings.kelly_outcomes
    return position_size(
        SIZING[settings.sizing],
        equity,
        price,
        planned.stop_distance,
        evidence.win_chance if known else 0.0,
        evidence.payoff if known else 0.0,
        settings.fixed_notional,
        settings.capital_fraction,
        settings.kelly_fraction,
        settings.kelly_capital,
        settings.risk_per_trade,
    )


def no_stake(settings: StrategySettings, evidence: Evidence) -> str:
    """Why kelly stakes nothing, "" where it stakes something or another way of sizing is chosen."""
    if SIZING[settings.sizing] != KELLY:
        return ""
    if evidence.outcomes < settings.kelly_outcomes:
        return f"kelly stakes nothing on {evidence.outcomes} outcomes, and {settings.kelly_outcomes} are needed"
    if kelly_stake(evidence.win_chance, evidence.payoff) > 0.0:
        return ""
    if evidence.payoff <= 0.0:
        return f"kelly has no wins and losses to compare in {evidence.outcomes} outcomes"
    return f"kelly sees no edge: {evidence.win_chance:.0%} are won, {evidence.payoff:.2f} for each unit lost"
