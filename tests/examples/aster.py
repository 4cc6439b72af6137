"""ASTER through the public API: settings, made-up bars, a backtest, its figures."""

import asyncio

from engine.backtest import BacktestConfig, Backtester
from engine.config import create_aster_config

config = BacktestConfig(
    initial_capital=10_000,
    start_date="2024-01-01",
    end_date="2024-01-07",
    symbol="ASTER/USDT:USDT",
    data="synthetic",
    strategy="breakout",
    settings=create_aster_config(strategy={"sizing": "risk_parity"}, risk={"max_leverage": 2}),
)
results = asyncio.run(Backtester(config).run())
print(f"{len(results.trades)} trades, equity {results.equity[-1]:.2f}, Sharpe {results.statistics.sharpe:.2f}")
print(results.notes[0])
