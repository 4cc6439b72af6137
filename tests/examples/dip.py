"""A strategy of one's own: buys when RSI is low, leaves when it is back."""

from typing import Annotated, NamedTuple

from engine.kernel import kernel
from engine.strategy import ENTER_LONG, LEAVE, NOTHING, Meta, Strategy


class Parameters(NamedTuple):
    low: Annotated[float, Meta(ge=0, le=100, description="An RSI 14 below this enters")] = 30.0


@kernel
def decide(p, memory, now):
    if now.position:
        return (LEAVE, 0) if now.rsi_14 > 50.0 else (NOTHING, 1)
    return (ENTER_LONG, 2) if now.rsi_14 < p.low else (NOTHING, 3)


WORDS = ("RSI is back above 50", "the position is held", "RSI is {now.rsi_14:.0f}", "RSI is not low")
DIP = Strategy("dip", "buys a low RSI", Parameters, decide, WORDS)
