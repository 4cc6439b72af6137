"""A long line in; out, the places of the few points that draw the same picture."""

import numpy as np

from engine.backtest.series import Floats, Integers


def thin(values: Floats | Integers, points: int) -> Integers:
    """Places in `values` [n] of at most `points` (4 or more) points, in order: all of them where there are no more.

    Otherwise the first, the last, and the lowest and the highest of each of equal stretches: drawn with a pixel or more for
    each stretch, no peak is missing that the whole line shows.
    """
    n = len(values)
    if n <= points:
        return np.arange(n)
    width = -(-n // (points // 2 - 1))
    rows = np.pad(values, (0, -n % width), mode="edge").reshape(-1, width)
    starts = np.arange(len(rows)) * width
    chosen = np.concatenate(([0, n - 1], starts + rows.argmin(axis=1), starts + rows.argmax(axis=1)))
    return np.unique(np.minimum(chosen, n - 1))
