"""Mirrored synthetic markets out; what a model made of them in, and whether it can tell up from down.

The same market is asked upside down: a model whose chances do not rise with the market, or lean to one side, judges on paper.
"""

import math

import msgspec

from engine.judgment.prompt import MINUTES, Row, Table

STRENGTHS = (1.0, 0.5, 0.25, 0.0, -0.25, -0.5, -1.0)  # of the market's rise
LEAST_RANK = 0.8  # Spearman's correlation of strength and chance
MIRROR_POINTS = 10.0  # percent: how far a market and its mirror may be from adding up to 100
FLAT_FROM, FLAT_TO = 45, 55


class Verdict(msgspec.Struct, frozen=True):
    """`problems` are sentences without their end; none of them: the model is qualified."""

    rank: float
    mirror_points: float
    flat: int
    problems: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return not self.problems


def market(strength: float) -> Table:
    """All signals as one, from a strong fall (-1) over nothing (0) to a strong rise (1)."""
    rows = tuple(
        Row(
            minutes,
            moved_bps=strength * usual * 2.2,
            usual_bps=usual,
            trend=(strength > 0.0) - (strength < 0.0) + 0.0,
            volume=1.0 + abs(strength),
            rsi=50.0 + 24.0 * strength,
            atr_bps=usual * 1.4,
        )
        for minutes, usual in zip(MINUTES, (4.0, 9.0, 16.0, 32.0), strict=True)
    )
    return Table(rows, 1.0, 10.0, 1.0, 0.7 * strength, 0.6 * strength, 0.8 * strength, 0.0, 1.0)


def verdict(answers: tuple[int, ...]) -> Verdict:
    """`answers` in the order of STRENGTHS, 0 where none could be used."""
    failed = sum(1 for chance in answers if not chance) + len(STRENGTHS) - len(answers)
    if failed:
        return Verdict(math.nan, math.nan, 0, (f"{failed} of {len(STRENGTHS)} answers could not be used",))
    rank = _spearman(STRENGTHS, tuple(float(chance) for chance in answers))
    mirror = max(abs(chance + other - 100.0) for chance, other in zip(answers, answers[::-1], strict=True))
    flat = answers[len(answers) // 2]
    problems = []
    if not rank > LEAST_RANK:
        shown = (
            "its chances are all the same" if math.isnan(rank) else f"rank correlation {rank:.2f}, above {LEAST_RANK:g} is needed"
        )
        problems.append(f"its chances do not follow the market ({shown})")
    if mirror >= MIRROR_POINTS:
        problems.append(f"a market and its mirror differ by {mirror:.0f} points, less than {MIRROR_POINTS:.0f} is needed")
    if not FLAT_FROM <= flat <= FLAT_TO:
        problems.append(f"a market without any signal gets {flat}%, {FLAT_FROM} to {FLAT_TO} is needed")
    return Verdict(rank, mirror, flat, tuple(problems))


def _spearman(xs: tuple[float, ...], ys: tuple[float, ...]) -> float:
    """Correlation of ranks, ties shared; NaN where one side does not vary."""
    one, two = _ranks(xs), _ranks(ys)
    mean = (len(one) + 1) / 2
    over = math.fsum((a - mean) * (b - mean) for a, b in zip(one, two, strict=True))
    under = math.sqrt(math.fsum((a - mean) ** 2 for a in one) * math.fsum((b - mean) ** 2 for b in two))
    return over / under if under else math.nan


def _ranks(values: tuple[float, ...]) -> list[float]:
    return [sum(other < value for other in values) + (values.count(value) + 1) / 2 for value in values]
