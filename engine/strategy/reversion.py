"""Fades a stretch: enters against a close outside of the Bollinger bands, and leaves when the price is back in the middle."""

import math
from typing import Annotated, NamedTuple

from engine.kernel import kernel
from engine.strategy import ENTER_LONG, ENTER_SHORT, LEAVE, NOTHING, Heeding, Memory, Meta, Now, Strategy


class Parameters(NamedTuple):
    """What the strategy can be told."""

    stretch: Annotated[float, Meta(gt=0, le=5, description="Distance from the middle, in half widths of the bands")] = 1.0
    oversold: Annotated[float, Meta(ge=0, le=50, description="A long entry needs an RSI 14 below this")] = 30.0
    overbought: Annotated[float, Meta(ge=50, le=100, description="A short entry needs an RSI 14 above this")] = 70.0
    most_trend: Annotated[
        float, Meta(ge=0, le=100, description="No entry where EMA 12 and 26 are further apart than this, in ATRs")
    ] = 1.5
    judgment: Heeding = 1


WORDS = (
    "the indicators are still warming up",
    "the price is back in the middle of its bands",
    "the position is held",
    "a position was closed a moment ago",
    "the trend is too strong to fade",
    "the price is not stretched",
    "the judgment is against it",
    "the close is below its bands with an RSI of {now.rsi_14:.0f}",
    "the close is above its bands with an RSI of {now.rsi_14:.0f}",
)


@kernel
def decide(p: Parameters, memory: Memory, now: Now) -> tuple[int, int]:
    """What to do at the close of a bar, and which of `WORDS` says why."""
    if math.isnan(now.bollinger_middle) or math.isnan(now.ema_26) or math.isnan(now.atr_14):
        return NOTHING, 0
    beyond = now.close - now.bollinger_middle
    if now.position != 0:
        return (LEAVE, 1) if beyond * now.position >= 0.0 else (NOTHING, 2)
    if now.cooling:
        return NOTHING, 3
    if abs(now.ema_12 - now.ema_26) > p.most_trend * now.atr_14:
        return NOTHING, 4
    reach = p.stretch * (now.bollinger_upper - now.bollinger_middle)
    side = 0
    if beyond < -reach and now.rsi_14 < p.oversold:
        side = ENTER_LONG
    elif beyond > reach and now.rsi_14 > p.overbought:
        side = ENTER_SHORT
    if side == 0:
        return NOTHING, 5
    agrees = now.judged and now.stance == side
    opposes = now.judged and now.stance == -side
    if (p.judgment >= 1 and opposes) or (p.judgment >= 2 and not agrees):
        return NOTHING, 6
    return side, 7 if side > 0 else 8


STRATEGY = Strategy("reversion", "fades a stretch back to the middle of the Bollinger bands", Parameters, decide, WORDS)
