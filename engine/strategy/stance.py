"""Follows a judgment: enters where the bar and the trend agree with it, and leaves when it turns against the position."""

import math
from typing import Annotated, NamedTuple

from engine.kernel import kernel
from engine.strategy import LEAVE, NOTHING, Memory, Meta, Now, Strategy


class Parameters(NamedTuple):
    """What the strategy can be told."""

    trend: Annotated[
        int, Meta(ge=0, le=2, description="Trend filter: 0 none, 1 the close beyond EMA 12, 2 EMA 12 beyond EMA 26 as well")
    ] = 1


WORDS = (
    "there is no valid judgment",
    "the judgment is to hold",
    "the stance turned against the position",
    "the position is held",
    "confidence {now.confidence:.2f} is below {now.min_confidence:g}",
    "risk {now.risk_score:.2f} is above {now.max_risk_score:g}",
    "an expected move of {now.move_bps:.1f} bps does not pay {now.cost_factor:g} times the cost of {now.cost_bps:.1f}",
    "a position was closed a moment ago",
    "the indicators are still warming up",
    "the bar does not agree yet",
    "the trend does not agree yet",
    "the stance is long with confidence {now.confidence:.2f} and the bar agrees",
    "the stance is short with confidence {now.confidence:.2f} and the bar agrees",
)


@kernel
def decide(p: Parameters, memory: Memory, now: Now) -> tuple[int, int]:
    """What to do at the close of a bar, and which of `WORDS` says why."""
    if not now.judged:
        return NOTHING, 0
    if now.stance == 0:
        return NOTHING, 1
    if now.position != 0:
        if now.position != now.stance and now.confidence >= now.min_confidence:
            return LEAVE, 2
        return NOTHING, 3
    if not now.confidence >= now.min_confidence:
        return NOTHING, 4
    if not now.risk_score <= now.max_risk_score:
        return NOTHING, 5
    if 0.0 < now.move_bps < now.cost_factor * now.cost_bps:
        return NOTHING, 6
    if now.cooling:
        return NOTHING, 7
    if math.isnan(now.ema_12) or math.isnan(now.atr_14):
        return NOTHING, 8
    if p.trend >= 1 and (now.close - now.ema_12) * now.stance < 0.0:
        return NOTHING, 9
    if p.trend >= 2 and not (now.ema_12 - now.ema_26) * now.stance > 0.0:
        return NOTHING, 10
    return now.stance, 11 if now.stance > 0 else 12


STRATEGY = Strategy("stance", "follows the judgment, with a trend filter", Parameters, decide, WORDS, follows=True)
