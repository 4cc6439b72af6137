"""Goes with a breakout: enters where the close leaves the range of the last bars, and leaves where it leaves a shorter range
the other way (Donchian's channels).
"""

from typing import Annotated, NamedTuple

from engine.kernel import kernel
from engine.strategy import ENTER_LONG, ENTER_SHORT, LEAVE, NOTHING, Heeding, Memory, Meta, Now, Strategy


class Parameters(NamedTuple):
    """What the strategy can be told."""

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

# Memory: the ranges of the bars before the newest, how many bars were seen, then rings of highs and of negative lows.
TOP, BOTTOM, EXIT_TOP, EXIT_BOTTOM, SEEN, RINGS = 0, 1, 2, 3, 4, 5
NOTHING_YET = -1e300


def memory(p: Parameters) -> int:
    return RINGS + 2 * (max(p.bars, p.exit_bars) + 1)


@kernel
def highest(memory: Memory, ring: int, size: int, seen: int, bars: int, before: float) -> float:
    """Of the `bars` values before value number `seen`, where `before` was that of the ones before the newest of them."""
    if seen == 0:
        return NOTHING_YET
    newest = memory[ring + (seen - 1) % size]
    if newest >= before:
        return newest
    gone = seen - 1 - bars
    if gone < 0 or memory[ring + gone % size] < before:
        return before
    top = newest  # the highest has left: look again
    for at in range(gone + 1, seen):
        top = max(top, memory[ring + at % size])
    return top


@kernel
def observe(p: Parameters, memory: Memory, open: float, high: float, low: float, close: float, volume: float) -> None:
    """Both ranges as they were before this bar into `memory`, then the bar itself."""
    size = max(p.bars, p.exit_bars) + 1
    seen = int(memory[SEEN])
    lows = RINGS + size
    first = seen == 0
    memory[TOP] = highest(memory, RINGS, size, seen, p.bars, NOTHING_YET if first else memory[TOP])
    memory[EXIT_TOP] = highest(memory, RINGS, size, seen, p.exit_bars, NOTHING_YET if first else memory[EXIT_TOP])
    memory[BOTTOM] = -highest(memory, lows, size, seen, p.bars, NOTHING_YET if first else -memory[BOTTOM])
    memory[EXIT_BOTTOM] = -highest(memory, lows, size, seen, p.exit_bars, NOTHING_YET if first else -memory[EXIT_BOTTOM])
    memory[RINGS + seen % size] = high
    memory[lows + seen % size] = -low
    memory[SEEN] = seen + 1.0


@kernel
def decide(p: Parameters, memory: Memory, now: Now) -> tuple[int, int]:
    """What to do at the close of a bar, and which of `WORDS` says why."""
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
