"""Bars in, trades and statistics out: the live decision code over recorded or generated bars.

results = await Backtester(BacktestConfig(start_date="2024-01-01", end_date="2024-12-31", data="synthetic")).run()
"""

from engine.backtest.backtester import BacktestConfig, Backtester, Result
from engine.backtest.run import Costs

__all__ = ["BacktestConfig", "Backtester", "Costs", "Result"]
