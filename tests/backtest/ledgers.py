"""Small backtests written by hand: bars from closes, trades from a few columns, and one that is long and random."""

from decimal import Decimal

import numpy as np

from engine.backtest.series import SIGNAL, TRADE, Contract, Floats, Series, Trades
from engine.backtest.spans import DAY_MS

START_MS = 1_735_689_600_000  # 2025-01-01 00:00 UTC
CONTRACT = Contract("ASTER/USDT:USDT", "binance", Decimal("0.01"), Decimal("0.1"))


def bars(closes: list[int], timeframe_ms: int = DAY_MS, start_ms: int = START_MS) -> Series:
    """Each bar opens at the close before it; the first at its own. Closes in ticks of 0.01."""
    close = np.array(closes, np.int64)
    opened = np.append(close[:1], close[:-1])
    high, low = np.maximum(opened, close), np.minimum(opened, close)
    at = start_ms + timeframe_ms * np.arange(len(close), dtype=np.int64)
    return Series(CONTRACT, timeframe_ms, at, opened, high, low, close, np.full(len(close), 1000), source="by hand")


def trades(*rows: dict[str, float]) -> Trades:
    """What a row does not say: long, one step, in at bar 0 and out at bar 1, all prices 100 ticks, by a signal, no costs."""
    made = np.zeros(len(rows), TRADE)
    usual = {"side": 1, "quantity": 1, "exit_bar": 1, "entry": 100, "exit": 100, "best": 100, "worst": 100, "reason": SIGNAL}
    for i, row in enumerate(rows):
        for name, value in (usual | row).items():
            made[name][i] = value
    return made


def random_run(n: int, count: int, timeframe_ms: int = 60_000, seed: int = 1) -> tuple[Series, Trades, Floats]:
    """`n` bars with `count` trades, and the equity of 10,000 that they lead to, booked at their exits."""
    random = np.random.default_rng(seed)
    series = bars(list(np.maximum(5_000, 100_000 + np.cumsum(random.integers(-60, 61, n)))), timeframe_ms)
    entry = np.sort(random.choice(n - 1, count, replace=False))
    leave = np.minimum(entry + random.integers(1, 40, count), n - 1)
    order = np.argsort(leave, kind="stable")
    entry, leave = entry[order], leave[order]
    made = np.zeros(count, TRADE)
    made["side"], made["quantity"] = random.choice([-1, 1], count), 20
    made["entry_bar"], made["exit_bar"], made["reason"] = entry, leave, random.integers(0, 5, count)
    made["entry"], made["exit"] = series.open[entry], series.close[leave]
    low, high = np.minimum(made["entry"], made["exit"]), np.maximum(made["entry"], made["exit"])
    made["best"], made["worst"] = np.where(made["side"] > 0, [high, low], [low, high])
    made["fees"], made["slippage"] = 0.2, 0.1
    made["profit"] = made["side"] * (made["exit"] - made["entry"]) * 20 * 0.001 - 0.2
    return series, made, 10_000 + np.cumsum(np.bincount(leave, made["profit"], n))
