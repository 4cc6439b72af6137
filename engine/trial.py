"""The limits in; each of them tripped once, dry, with what it said, out. A limit that does not trip stops the start.

Every trial is a healthy entry with one thing wrong, put through the gate itself; the healthy one must pass.
"""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import msgspec

from engine import risk
from engine.config import JudgmentSettings, RiskSettings
from engine.errors import LimitError
from engine.events import Purpose, Side, Trading, Trust
from engine.risk import MAINTENANCE, PASSIVE, Context, Intent

PRICE, TICK, STEP = 100.0, 0.01, 0.001
# Settings that are no limit of an entry, by why: what else is in `[risk]` must be tried.
NOT_TRIED = {
    "day_starts": "a window",
    "margin_mode": "what is set",
    "on_daily_loss": "what follows",
    "on_drawdown": "what follows",
    "stop_guard_bars": "a window",
    "funding_window_s": "a window",
    "protect_within_ms": "of positions",
    "flatten_within_bps": "of flattening",
    "dead_man_s": "of the venue",
}


class Trial(NamedTuple):
    """`limit` is the setting, or what else is in the way; `context` and `intent` are what is wrong, `said` is in the refusal."""

    limit: str
    said: str
    context: Mapping[str, object] = MappingProxyType({})
    intent: Mapping[str, object] = MappingProxyType({})


class Outcome(NamedTuple):
    """What a limit said when it was tripped."""

    limit: str
    said: str


# With which each other limit lets everything pass, so that the one that is tried is alone.
LOOSE: dict[str, float] = {
    **dict.fromkeys(("max_order_notional", "max_position_notional", "max_gross_notional", "max_leverage"), 1e15),
    **dict.fromkeys(("max_spread_bps", "max_divergence_bps", "max_collar_bps", "max_funding_bps"), 1e15),
    **dict.fromkeys(("max_judgment_age_s", "max_judgment_drift_bps", "max_orders_per_minute"), 1e15),
    **dict.fromkeys(("max_loss_per_trade", "max_daily_loss", "max_drawdown"), 1.0),
    "min_liquidation_distance": -1e15,
    **dict.fromkeys(("loss_cooldown_s", "stop_guard", "duplicate_window_s"), 0),
}
EQUITY = 1e12
OVER = 1.001  # times a limit: just above it


def trials(limits: RiskSettings, judgment: JudgmentSettings) -> list[Trial]:
    """One for each limit that the settings have in force."""
    healthy = healthy_entry(limits)
    steps, worth = healthy.quantity, healthy.quantity * STEP * PRICE
    beyond = 1.0 + limits.max_collar_bps / 10_000 * OVER
    far_stop = healthy.price - 100
    loss = steps * STEP * 100 * TICK

    def owning(equity: float, **more: object) -> dict[str, object]:
        return {"equity": equity, "day_equity": equity, **more}

    found = [
        Trial("trading", "trading is halted", {"trading": Trading.HALTED}),
        Trial("readiness", "a trial", {"ready": "a trial"}),
        Trial("book", "the book is stale", {"trust": Trust.STALE, "trust_reason": "a trial"}),
        Trial("unknown orders", "fate is unknown", {"unknown_orders": 1}),
        Trial("smallest order", "no room", {"min_quantity": steps + 1}),
        Trial("largest order", "more than the venue takes", {"max_quantity": steps - 1}),
        Trial("least notional", "least notional", {"min_notional": worth * OVER}),
        Trial("stop", "needs a protective stop", {}, {"stop": 0}),
        Trial("max_spread_bps", "the spread", {"spread_bps": limits.max_spread_bps * OVER}),
        Trial("max_divergence_bps", "bps apart", {"divergence_bps": limits.max_divergence_bps * OVER}),
        Trial("max_orders_per_minute", "in the last minute", {"entries_last_minute": limits.max_orders_per_minute}),
        Trial("max_funding_bps", "of funding", {"funding_in_s": 0.0, "funding_bps": limits.max_funding_bps + 0.1}),
        Trial("max_daily_loss", "today's loss", {"equity": EQUITY * (1.0 - limits.max_daily_loss) * (1.0 - 1e-9)}),
        Trial("max_drawdown", "below its height", owning(EQUITY * (1.0 - limits.max_drawdown), peak_equity=EQUITY * OVER)),
        Trial("max_order_notional", "an order of", {}, {"quantity": int(limits.max_order_notional * OVER / (PRICE * STEP)) + 1}),
        Trial("max_position_notional", "a position of", {"position": int(limits.max_position_notional / (PRICE * STEP))}),
        Trial("max_gross_notional", "gross exposure", {"other_notional": limits.max_gross_notional}),
        Trial("max_leverage", "leverage would be", owning(worth, other_notional=limits.max_leverage * worth)),
        Trial("max_loss_per_trade", "loss at the stop", owning(loss / limits.max_loss_per_trade / OVER), {"stop": far_stop}),
        Trial("max_collar_bps", "bps beyond the mark", {"mark": PRICE / beyond}),
        Trial("max_collar_bps", "bps beyond the price at another venue", {"elsewhere": (PRICE / beyond,)}),
        Trial("max_judgment_age_s", "the judgment is", {"judgment_age_s": limits.max_judgment_age_s * OVER}),
        Trial("max_judgment_drift_bps", "since the judgment", {"judgment_drift_bps": limits.max_judgment_drift_bps * OVER}),
    ]
    if limits.max_collar_bps * PASSIVE < 9_900:  # a price cannot be further below
        away = 1.0 - limits.max_collar_bps * PASSIVE / 10_000 * OVER
        found.append(Trial("max_collar_bps", "bps from the mark", {"mark": PRICE / away}))
    if limits.min_liquidation_distance:
        near = worth * (limits.min_liquidation_distance + MAINTENANCE) / OVER
        found.append(Trial("min_liquidation_distance", "liquidation would be", owning(near)))
    if limits.duplicate_window_s:
        found.append(Trial("duplicate_window_s", "the same order", {"recent": ((int(Side.BUY), steps, 0),)}))
    if limits.loss_cooldown_s:
        found.append(Trial("loss_cooldown_s", "closed at a loss", {"since_loss_s": 0.0}))
    if limits.stop_guard:
        found.append(Trial("stop_guard", "stops were hit", {"recent_stops": limits.stop_guard}))
    if judgment.min_confidence:
        found.append(Trial("min_confidence", "confidence", {"confidence": judgment.min_confidence * 0.99}))
    if judgment.max_risk_score < 1.0:
        found.append(Trial("max_risk_score", "risk", {"risk_score": judgment.max_risk_score + 0.001}))
    return found


def healthy_entry(limits: RiskSettings) -> Intent:
    """What every limit lets pass: half of the smallest of the notional limits."""
    most = min(limits.max_order_notional, limits.max_position_notional, limits.max_gross_notional) / 2
    ticks = round(PRICE / TICK)
    return Intent("a trial", Purpose.ENTRY, Side.BUY, max(int(most / (PRICE * STEP)), 2), ticks, ticks - 1, judged=True)


def _calm(judgment: JudgmentSettings) -> Context:
    return Context(
        *(Trading.ARMED, Trust.TRUSTED, "", "", PRICE, STEP, TICK, 0.0, math.nan, EQUITY, EQUITY),
        *(0, 0, 0.0, 0, 0, 1, 10**15, 0.0),
        min_confidence=judgment.min_confidence,
        max_risk_score=judgment.max_risk_score,
    )


def run(limits: RiskSettings, judgment: JudgmentSettings) -> list[Outcome]:
    """Every trial through the gate. Raises LimitError when one does not trip, or when the healthy entry does not pass."""
    healthy, calm = healthy_entry(limits), _calm(judgment)
    passed = risk.approve(healthy, calm, limits)
    if isinstance(passed, risk.Refused):
        raise LimitError("all", f"an entry that nothing is wrong with was refused: {passed.reason}")
    outcomes = []
    for trial in trials(limits, judgment):
        alone = msgspec.structs.replace(limits, **{name: loose for name, loose in LOOSE.items() if name != trial.limit})
        wrong = msgspec.structs.replace(healthy, **trial.intent)
        verdict = risk.approve(wrong, msgspec.structs.replace(calm, **trial.context), alone)
        if not isinstance(verdict, risk.Refused):
            raise LimitError(trial.limit, "an entry that it must refuse was let pass")
        if trial.said not in verdict.reason:
            raise LimitError(trial.limit, f"an entry that it must refuse was refused for something else: {verdict.reason}")
        outcomes.append(Outcome(trial.limit, verdict.reason))
    return outcomes
