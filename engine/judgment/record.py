"""Judgments that met their end in; how far a model's chances can be believed out.

All figures are sums, so that a record of years is small, merges and replays. Judgments are given faster than they expire, and
those that overlap are no new evidence: intervals count only those that began after the one before them had ended.
"""

import math
from enum import StrEnum

import msgspec

from engine.config import JudgmentSettings

Z = 1.96  # of a 95 % interval
BUCKETS = 10
LOWEST, HIGHEST = 0.2, 0.8  # chances are clamped to these: models are surer than they are right


class Tier(StrEnum):
    """How much a model may move."""

    UNQUALIFIED = "unqualified"  # asked on paper
    PROBATION = "probation"
    KNOWN = "known"
    DEMOTED = "demoted"  # no edge was seen: at the size of probation
    HELD = "held"  # worse than chance: not traded


class Tally(msgspec.Struct):
    """Outcomes of one bucket or regime."""

    n: int = 0
    ups: int = 0
    chances: float = 0.0
    hits: int = 0


class Record(msgspec.Struct):
    """One model with one template in one kind of market. Gains in basis points of the price, after `cost_bps` a judgment."""

    digest: str
    template: str
    simulated: bool  # a generated market says nothing of a real one
    n: int = 0
    ups: int = 0
    hits: int = 0  # of those that took a side
    sided: int = 0
    brier: float = 0.0
    brier_rules: float = 0.0
    gain: float = 0.0  # of whoever had followed each with the same stake
    gain_rules: float = 0.0
    independent: int = 0  # judgments that do not overlap, and their sums:
    until: int = 0  # engine time, when the newest of them ended
    skill: float = 0.0  # of 0.25 - (chance - outcome)^2
    skill_squares: float = 0.0
    lean: float = 0.0  # of (chance - 1/2) * (outcome - 1/2)
    leans: float = 0.0  # of (chance - 1/2)^2
    dropped: int = 0  # answers that were not used
    failed: int = 0
    buckets: list[Tally] = msgspec.field(default_factory=lambda: [Tally() for _ in range(BUCKETS)])
    regimes: dict[str, Tally] = {}


def clamp(percent: int) -> float:
    return min(max(percent / 100.0, LOWEST), HIGHEST)


def score(
    record: Record, chance: float, rules_chance: float, begun: int, ended: int, moved_bps: float, cost_bps: float, regime: str
) -> None:
    """One judgment met its end: `chance` as clamped, `moved_bps` since it was published. An unchanged price is half of both."""
    outcome = 1.0 if moved_bps > 0.0 else 0.0 if moved_bps < 0.0 else 0.5
    side, rules_side = _side(chance), _side(rules_chance)
    hit = side * moved_bps > 0.0
    record.n += 1
    record.ups += moved_bps > 0.0
    record.sided += bool(side) and moved_bps != 0.0
    record.hits += hit
    record.brier += (chance - outcome) ** 2
    record.brier_rules += (rules_chance - outcome) ** 2
    record.gain += side * moved_bps - cost_bps * abs(side)
    record.gain_rules += rules_side * moved_bps - cost_bps * abs(rules_side)
    for tally in (record.buckets[min(int(chance * BUCKETS), BUCKETS - 1)], record.regimes.setdefault(regime, Tally())):
        tally.n += 1
        tally.ups += moved_bps > 0.0
        tally.chances += chance
        tally.hits += hit
    if begun < record.until:
        return
    record.until = ended
    record.independent += 1
    skill = 0.25 - (chance - outcome) ** 2
    record.skill += skill
    record.skill_squares += skill * skill
    record.lean += (chance - 0.5) * (outcome - 0.5)
    record.leans += (chance - 0.5) ** 2


def _side(chance: float) -> int:
    return (chance > 0.5) - (chance < 0.5)


def skill_interval(record: Record) -> tuple[float, float]:
    """95 % interval of the mean of 0.25 - Brier over judgments that do not overlap; unbounded with fewer than three."""
    n = record.independent
    if n < 3:
        return -math.inf, math.inf
    mean = record.skill / n
    variance = max(record.skill_squares / n - mean * mean, 0.0) * n / (n - 1)
    half = Z * math.sqrt(variance / n)
    return mean - half, mean + half


def hit_interval(hits: int, n: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a rate (Wilson 1927); everything is possible with none."""
    if not n:
        return 0.0, 1.0
    rate, square = hits / n, Z * Z
    middle = (rate + square / (2 * n)) / (1 + square / n)
    half = Z / (1 + square / n) * math.sqrt(rate * (1 - rate) / n + square / (4 * n * n))
    return max(middle - half, 0.0), min(middle + half, 1.0)


def believed(record: Record) -> float:
    """How much of a chance's distance from one half outcomes bear out, 0..1: least squares through the middle."""
    return min(max(record.lean / record.leans, 0.0), 1.0) if record.leans > 0.0 else 0.0


def tier(record: Record, qualified: bool, settings: JudgmentSettings) -> Tier:
    """An edge is seen where even the lower end of the skill's interval is above 0, or nothing yet speaks against one."""
    if not qualified:
        return Tier.UNQUALIFIED
    if record.independent < settings.probation:
        return Tier.PROBATION
    low, high = skill_interval(record)
    if record.independent >= settings.hold_after and high < 0.0:
        return Tier.HELD
    return Tier.KNOWN if low > 0.0 and record.gain > 0.0 else Tier.DEMOTED


def size_cap(at: Tier, settings: JudgmentSettings, live: bool) -> float:
    """Share of the usual size. A young model trades a little wherever no real money is at stake."""
    match at:
        case Tier.KNOWN:
            return 1.0
        case Tier.PROBATION:
            return 0.0 if live else settings.probation_size
        case Tier.DEMOTED:
            return settings.probation_size
        case _:
            return 0.0


def calibrated(record: Record, at: Tier, chance: float) -> float:
    """The chance to act on: clamped while the model is young, drawn towards one half by what outcomes bear out later."""
    if at in (Tier.KNOWN, Tier.DEMOTED, Tier.HELD):
        return 0.5 + believed(record) * (chance - 0.5)
    return chance
