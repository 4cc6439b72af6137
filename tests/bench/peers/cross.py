"""The strategy of the comparison, as one of ours: EMA 12 and 26 cross, RSI 14 does not object, ATR 14 sets stop and target.

At a bar's close: long where EMA 12 crosses above EMA 26 and RSI 14 is below 70, short where it crosses below and RSI 14 is
above 30, while flat and from bar 34 on. A position ends by its stop (2 ATR of the signal's bar from the entry), its target
(3 ATR), or at the next opening after the opposite cross. Entries fill at the next opening. 10 % of the equity at the signal's
close, whole units; 5 bps of notional each way; nothing else.
"""

from decimal import Decimal
from typing import NamedTuple

from engine.backtest.run import Costs
from engine.backtest.series import Contract
from engine.config import Settings, create_aster_config
from engine.kernel import kernel
from engine.strategy import ENTER_LONG, ENTER_SHORT, LEAVE, NOTHING, Strategy

WARM_UP, SHARE, STOP_ATR, TARGET_ATR, FEE = 34, 0.1, 2.0, 3.0, 0.0005
BARS, FAST, SLOW, BEFORE = 0, 1, 2, 3


class Parameters(NamedTuple):
    pass


@kernel
def observe(p, memory, open, high, low, close, volume):  # type: ignore[no-untyped-def]
    if memory[BARS] == 0.0:
        memory[FAST] = close
        memory[SLOW] = close
    memory[BEFORE] = memory[FAST] - memory[SLOW]
    memory[FAST] += (close - memory[FAST]) * (2.0 / 13.0)
    memory[SLOW] += (close - memory[SLOW]) * (2.0 / 27.0)
    memory[BARS] += 1.0


@kernel
def decide(p, memory, now):  # type: ignore[no-untyped-def]
    if memory[BARS] < WARM_UP:
        return NOTHING, 0
    gap = memory[FAST] - memory[SLOW]
    up = memory[BEFORE] <= 0.0 < gap
    down = memory[BEFORE] >= 0.0 > gap
    if now.position > 0:
        return (LEAVE, 0) if down else (NOTHING, 0)
    if now.position < 0:
        return (LEAVE, 0) if up else (NOTHING, 0)
    if up and now.rsi_14 < 70.0:
        return ENTER_LONG, 0
    if down and now.rsi_14 > 30.0:
        return ENTER_SHORT, 0
    return NOTHING, 0


CROSS = Strategy("cross", "EMA 12 and 26 cross", Parameters, decide, ("",), observe, lambda p: 4)

# The others know no tick: a fine one, so that it makes no difference.
CONTRACT = Contract("ABC/USDT:USDT", "bench", Decimal("0.000001"), Decimal(1), min_notional=Decimal("0.01"))
COSTS = Costs(taker=FEE, spread_bps=0.0, slippage_bps=0.0, impact=0.0)


def unlimited() -> Settings:
    """The comparison's sizes and distances, and no limit that the others do not have."""
    loose = dict.fromkeys(("max_order_notional", "max_position_notional", "max_gross_notional", "max_leverage"), 1e12)
    loose |= dict.fromkeys(("max_drawdown", "max_daily_loss", "max_loss_per_trade"), 1.0)
    loose |= dict.fromkeys(("stop_guard", "min_liquidation_distance"), 0)
    sizes = {"capital_fraction": SHARE, "cooldown_bars": 0, "min_stop_bps": 1e-6}
    return create_aster_config(strategy={**sizes, "stop_atr": STOP_ATR, "target_atr": TARGET_ATR}, risk=loose)
