"""A closed bar, a stance and a position in; what to do and how much of it out.

The strategy of the settings says when to enter and to leave; stops and targets do the rest. Sizes come from the distance to the
stop.
"""

import math

import msgspec

from engine.config import Settings, StrategySettings
from engine.events import Bar, Bias, Features, Side, Stance
from engine.kernel import kernel
from engine.strategy import LEAVE, NOTHING, Memory, Now, chosen

FIXED, PERCENTAGE, KELLY, RISK_PARITY = 0, 1, 2, 3
BIAS = {Bias.LONG: 1, Bias.SHORT: -1, Bias.HOLD: 0}
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


def look(
    features: Features,
    bar: Bar,
    tick: float,
    step: float,
    stance: Stance | None,
    position: int,
    at: int,
    settings: Settings,
    cooling: bool,
    cost_bps: float,
) -> Now:
    """What the strategy sees at the close of `bar`, with `position` (signed) at `at` ns."""
    judge = settings.judgment
    judged = stance is not None and stance.valid(at)
    side, confidence, risk_score, move_bps = 0, 0.0, 0.0, 0.0
    if stance is not None and judged:
        side = BIAS[stance.bias]
        confidence, risk_score = stance.confidence, stance.risk_score
        if stance.target_price > 0.0:
            move_bps = abs(stance.target_price / stance.price - 1.0) * 10_000
    return Now(
        bar.open * tick,
        bar.high * tick,
        bar.low * tick,
        features.close,
        bar.volume * step,
        features.sma_20,
        features.sma_50,
        features.ema_12,
        features.ema_26,
        features.rsi_14,
        features.macd,
        features.macd_signal,
        features.macd_histogram,
        features.bollinger_middle,
        features.bollinger_upper,
        features.bollinger_lower,
        features.atr_14,
        (position > 0) - (position < 0),
        cooling,
        cost_bps,
        judged,
        side,
        confidence,
        risk_score,
        move_bps,
        judge.min_confidence,
        judge.max_risk_score,
        judge.cost_factor,
    )


def decide(now: Now, memory: Memory, settings: StrategySettings) -> Wish:
    """What the strategy of the settings does at a bar's close."""
    strategy, parameters = chosen(settings)
    what, word = strategy.decide(parameters, memory, now)
    reason = strategy.sentence(word, parameters, now)
    if what == LEAVE and now.position:
        return Wish(Side.SELL if now.position > 0 else Side.BUY, True, reason)
    if what in (NOTHING, LEAVE) or now.position:
        return Wish(None, False, reason)
    return Wish(Side.BUY if what > 0 else Side.SELL, False, reason)


def observe(memory: Memory, bar: Bar, tick: float, step: float, settings: StrategySettings) -> None:
    """Let the strategy see a closed bar; an empty `memory` is made as large as it wants."""
    strategy, parameters = chosen(settings)
    if not memory:
        memory.extend([0.0] * strategy.size(parameters))
    if strategy.observe is not None:
        prices = (bar.open * tick, bar.high * tick, bar.low * tick, bar.close * tick)
        strategy.observe(parameters, memory, *prices, bar.volume * step)


@kernel
def distances(price: float, atr: float, stop_atr: float, target_atr: float, min_stop_bps: float) -> tuple[float, float]:
    """Of the stop and the target, quote units; the least distance holds where the ATR is small or not known."""
    stop = price * min_stop_bps / 10_000
    if atr > 0.0:
        stop = max(stop_atr * atr, stop)
    return stop, stop * target_atr / stop_atr


@kernel
def stop_tick(expected: int, side: int, stop_distance: float, tick: float) -> int:
    """Where the stop of an entry is reckoned before its fill: a whole number of ticks within the distance."""
    return expected - side * max(math.floor(stop_distance / tick), 1)


@kernel
def sooner(up: bool, ticks: float) -> int:
    """A trigger's price as a whole tick, to the side (`up`) that triggers sooner."""
    return max(math.ceil(ticks - 1e-9) if up else math.floor(ticks + 1e-9), 1)


@kernel
def exit_steps(quantity: int, share: float, most: int, least: int, cap: int) -> int:
    """Steps of an exit of that share of `quantity`, no more than `most` (0: any) and than `cap`, the venue's largest order. A
    part below its smallest order is all of it.
    """
    part = math.ceil(quantity * share)
    if most:
        part = min(part, max(most, least))
    part = min(part, cap)
    rest = quantity - part
    if part < least or 0 < rest < least:  # too little to be sent, now or as what would be left
        part = quantity if quantity <= cap else part - least
    return min(part, quantity)


def plan(price: float, atr: float, settings: StrategySettings) -> Plan:
    """Stop and target distances."""
    return Plan(*distances(price, atr, settings.stop_atr, settings.target_atr, settings.min_stop_bps))


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
