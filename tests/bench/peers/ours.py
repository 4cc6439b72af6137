"""Ours: the whole of it, from arrays to trades, equity curve and every statistic."""

import common
import numpy as np

from engine import __version__
from engine.backtest.judges import nobody
from engine.backtest.metrics import measure
from engine.backtest.run import execute
from engine.backtest.series import Series
from tests.bench.peers.cross import CONTRACT, COSTS, CROSS, unlimited

held = common.bars()
columns = [np.rint(held[name] / float(CONTRACT.tick)).astype(np.int64) for name in ("open", "high", "low", "close")]
volume = held["volume"].astype(np.int64)
series = Series(CONTRACT, 60_000, held["open_ms"], *columns, volume, held["funding_ms"], held["funding_rate"])
settings = unlimited()


def run() -> dict[str, float]:
    done = execute(series, CROSS, CROSS.parameters(), settings, COSTS, nobody(), common.CAPITAL)
    assert done is not None
    statistics = measure(series, done.trades, done.equity, common.CAPITAL)
    return {"trades": statistics.trades, "final": statistics.final}


common.report("barter-tui", __version__, run)
