"""The bare numba loop, timed as the others are; no statistic, no trade is kept."""

import common
import numba
import numpy as np

from tests.bench.bare_loop import bare

held = common.bars()
columns = [held[name] for name in ("open", "high", "low", "close", "open_ms", "funding_ms", "funding_rate")]
equity = np.empty(len(held["close"]))
rules = (common.CAPITAL, common.FEE, common.SHARE, common.STOP, common.TARGET)


def run() -> dict[str, float]:
    trades = bare(*columns, equity, *rules)
    return {"trades": trades, "final": equity[-1]}


common.report("bare numba loop", numba.__version__, run)
