"""The arithmetic of the comparison's strategy and nothing around it: one numba function over arrays, the limit of what there is.

Fees, funding, stop and target, whole units and the equity curve are on; prices are floats, there is no limit, no tick, no reason,
no liquidation, no judgment and no record of a trade but its number. It is what `peers/cross.py` is measured against.
"""

import numba
import numpy as np


@numba.njit(error_model="numpy", cache=True)
def bare(open_, high, low, close, open_ms, funding_ms, funding_rate, equity, capital, fee, share, stop_atr, target_atr):  # type: ignore[no-untyped-def]
    """Returns the number of trades; `equity` [n] is written."""
    n, due = len(close), len(funding_ms)
    wallet, units, entry, stop, target = capital, 0.0, 0.0, 0.0, 0.0
    fast = slow = before = close[0]
    gain = loss = ranges = gap_before = 0.0
    wanted, wanted_units, leave, settled, trades, atr_then = 0, 0.0, False, 0, 0, 0.0
    for i in range(n):
        o, h, low_, c = open_[i], high[i], low[i], close[i]
        while settled < due and funding_ms[settled] <= open_ms[i]:
            wallet -= units * o * funding_rate[settled]
            settled += 1
        if wanted != 0:
            units, entry = wanted * wanted_units, o
            wallet -= abs(units) * o * fee
            stop, target = o - wanted * stop_atr * atr_then, o + wanted * target_atr * atr_then
            wanted = 0
        if units != 0.0:
            side = 1.0 if units > 0.0 else -1.0
            price = 0.0
            if leave or side * (o - stop) <= 0.0:
                price = o
            elif side * ((low_ if side > 0.0 else h) - stop) <= 0.0:
                price = stop
            elif side * (o - target) >= 0.0:
                price = o
            elif side * ((h if side > 0.0 else low_) - target) >= 0.0:
                price = target
            if price != 0.0:
                wallet += units * (price - entry) - abs(units) * price * fee
                units = 0.0
                trades += 1
        leave = False
        spread = h - low_
        if i > 0:
            spread = max(spread, abs(h - before), abs(low_ - before))
            fast += (c - fast) * (2.0 / 13.0)
            slow += (c - slow) * (2.0 / 27.0)
            change = c - before
            gain += (max(change, 0.0) - gain) / 14.0
            loss += (max(-change, 0.0) - loss) / 14.0
        if i < 14:
            ranges += spread / 14.0
        else:
            ranges += (spread - ranges) / 14.0
        gap = fast - slow
        equity[i] = wallet + units * (c - entry)
        if i >= 33:
            up, down = gap_before <= 0.0 < gap, gap_before >= 0.0 > gap
            rsi = 100.0 - 100.0 / (1.0 + gain / loss)
            if units > 0.0:
                leave = down
            elif units < 0.0:
                leave = up
            elif (up and rsi < 70.0) or (down and rsi > 30.0):
                wanted_units = np.floor(equity[i] * share / c)
                wanted, atr_then = (1 if up else -1), ranges
        gap_before, before = gap, c
    if units != 0.0:
        wallet += units * (close[n - 1] - entry) - abs(units) * close[n - 1] * fee
        equity[n - 1] = wallet
        trades += 1
    return trades
