"""vectorbt: signals and stops as arrays, orders one bar later at its opening."""

import common
import numpy as np
import pandas as pd
import vectorbt as vbt

held = common.bars()
index = pd.to_datetime(held["open_ms"], unit="ms")
prices = {name: pd.Series(held[name], index=index) for name in ("open", "high", "low", "close")}


def run() -> dict[str, float]:
    close, high, low = prices["close"], prices["high"], prices["low"]
    fast, slow = close.ewm(span=12, adjust=False).mean(), close.ewm(span=26, adjust=False).mean()
    gap = (fast - slow).to_numpy()
    change = close.diff().fillna(0.0)
    gain = change.clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    loss = (-change).clip(lower=0).ewm(alpha=1 / 14, adjust=False).mean()
    rsi = (100 - 100 / (1 + gain / loss)).fillna(100.0).to_numpy()
    before = close.shift().fillna(close.iloc[0])
    ranges = np.maximum(high - low, np.maximum((high - before).abs(), (low - before).abs())).to_numpy()
    seeded = pd.Series(np.concatenate([[ranges[:14].mean()], ranges[14:]]))
    atr = np.full(len(gap), np.nan)
    atr[13:] = seeded.ewm(alpha=1 / 14, adjust=False).mean().to_numpy()
    up, down = np.zeros(len(gap), bool), np.zeros(len(gap), bool)
    up[1:], down[1:] = (gap[:-1] <= 0) & (gap[1:] > 0), (gap[:-1] >= 0) & (gap[1:] < 0)
    up[: common.WARM_UP - 1] = down[: common.WARM_UP - 1] = False

    def later(values: np.ndarray, first: float) -> np.ndarray:
        return np.concatenate([[first], values[:-1]])

    distance = later(atr / close.to_numpy(), np.nan)
    portfolio = vbt.Portfolio.from_signals(
        close,
        entries=later(up & (rsi < 70), False),
        exits=later(down, False),
        short_entries=later(down & (rsi > 30), False),
        short_exits=later(up, False),
        price=prices["open"],
        open=prices["open"],
        high=high,
        low=low,
        sl_stop=np.nan_to_num(common.STOP * distance, nan=np.inf),
        tp_stop=np.nan_to_num(common.TARGET * distance, nan=np.inf),
        size=common.SHARE,
        size_type="percent",
        fees=common.FEE,
        init_cash=common.CAPITAL,
        upon_opposite_entry="close",
        stop_entry_price="fillprice",  # not the close of the bar that it fills in
        freq="1min",
    )
    stats = portfolio.stats()
    return {"trades": portfolio.trades.count(), "final": portfolio.final_value(), "sharpe": float(stats["Sharpe Ratio"])}


common.report("vectorbt", vbt.__version__, run)
