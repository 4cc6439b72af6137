"""Goes with a breakout: enters where the close leaves the range of the last bars, and leaves where it leaves a shorter range
the other way (Donchian's channels).
"""

from typing import Annotated, NamedTuple

from engine.kernel import kernel
from engine.strategy import ENTER_LONG, ENTER_SHORT, LEAVE, NOTHING, Heeding, Memory, Meta, Now, Strategy


class Parameters(NamedTuple):
    bars: Annotated[int, Meta(ge=2, le=500, description="Bars of the range that an entry must leave")] = 60
    exit_bars: Annotated[int, Meta(ge=2, le=500, description="Bars of the range that ends a position")] = 30
    least_atr: Annotated[float, Meta(ge=0, le=100, description="Least width of the entry's range, in ATRs")] = 2.0
    judgment: Heeding = 1


WORDS = (
    "the range is not known yet",
    "the close left the shorter range against the position",
    "the position is held",
    "a position was closed a moment ago",
    "the close is within its range",
    "the range is too narrow",
    "the judgment is against it",
    "the close is above the highest of {p.bars} bars",
    "the close is below the lowest of {p.bars} bars",
)

# Memory: the ranges of the bars before the newest, how many bars were seen, then rings of highs and of lows.
TOP, BOTTOM, EXIT_TOP, EXIT_BOTTOM, SEEN, RINGS = 0, 1, 2, 3, 4, 5


def memory(p: Parameters) -> int:
    return RINGS + 2 * max(p.bars, p.exit_bars)


@kernel
def observe(p: Parameters, memory: Memory, open: float, high: float, low: float, close: float, volume: float) -> None:
    size = max(p.bars, p.exit_bars)
    seen = int(memory[SEEN])
    top = exit_top = -1e300
    bottom = exit_bottom = 1e300
    for back in range(1, min(size, seen) + 1):
        at = RINGS + (seen - back) % size
        if back <= p.bars:
            top = max(top, memory[at])
            bottom = min(bottom, memory[at + size])
        if back <= p.exit_bars:
            exit_top = max(exit_top, memory[at])
            exit_bottom = min(exit_bottom, memory[at + size])
    memory[TOP] = top
    memory[BOTTOM] = bottom
    memory[EXIT_TOP] = exit_top
    memory[EXIT_BOTTOM] = exit_bottom
    memory[RINGS + seen % size] = high
    memory[RINGS + size + seen % size] = low
    memory[SEEN] = seen + 1.0


@kernel
def decide(p: Parameters, memory: Memory, now: Now) -> tuple[int, int]:
    if memory[SEEN] <= max(p.bars, p.exit_bars) or not now.atr_14 > 0.0:
        return NOTHING, 0
    if now.position > 0:
        return (LEAVE, 1) if now.close < memory[EXIT_BOTTOM] else (NOTHING, 2)
    if now.position < 0:
        return (LEAVE, 1) if now.close > memory[EXIT_TOP] else (NOTHING, 2)
    if now.cooling:
        return NOTHING, 3
    side = ENTER_LONG if now.close > memory[TOP] else ENTER_SHORT if now.close < memory[BOTTOM] else 0
    if side == 0:
        return NOTHING, 4
    if memory[TOP] - memory[BOTTOM] < p.least_atr * now.atr_14:
        return NOTHING, 5
    agrees = now.judged and now.stance == side
    opposes = now.judged and now.stance == -side
    if (p.judgment >= 1 and opposes) or (p.judgment >= 2 and not agrees):
        return NOTHING, 6
    return side, 7 if side > 0 else 8


STRATEGY = Strategy("breakout", "goes with a close beyond the range of the last bars", Parameters, decide, WORDS, observe, memory)
