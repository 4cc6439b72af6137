"""backtesting.py: stops and targets are prices that are set with the order, so they are 2 and 3 ATR from the signal's close."""

import warnings

import common
import numpy as np
import pandas as pd
from backtesting import Backtest, Strategy, __version__

warnings.filterwarnings("ignore")
held = common.bars()
cross, rsi, atr = common.signals(held["close"], held["high"], held["low"])
frame = pd.DataFrame(
    {name.title(): held[name] for name in ("open", "high", "low", "close", "volume")},
    index=pd.to_datetime(held["open_ms"], unit="ms"),
)


class Cross(Strategy):
    def init(self) -> None:
        self.place = 0

    def next(self) -> None:
        at = len(self.data) - 1
        way = cross[at]
        if not way:
            return
        close = self.data.Close[-1]
        if self.position:
            if self.position.is_long != (way > 0):
                self.position.close()
        elif way > 0 and rsi[at] < 70:
            self.buy(size=common.SHARE, sl=close - common.STOP * atr[at], tp=close + common.TARGET * atr[at])
        elif way < 0 and rsi[at] > 30:
            self.sell(size=common.SHARE, sl=close + common.STOP * atr[at], tp=close - common.TARGET * atr[at])


def run() -> dict[str, float]:
    tester = Backtest(frame, Cross, cash=common.CAPITAL, commission=common.FEE, finalize_trades=True)
    found = tester.run()
    return {"trades": found["# Trades"], "final": found["Equity Final [$]"]}


assert np.isfinite(atr[common.WARM_UP :]).all()
common.report("backtesting.py", __version__, run)
