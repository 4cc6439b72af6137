"""The bare loop's arithmetic with each peer's own rules of filling: what is left of a difference in equity is unexplained.

Found by comparing fills one by one (2026-11-30: backtesting.py 0.6.6, vectorbt 1.2.0, nautilus_trader 1.221.0); with these
rules the arithmetic gives each peer's fills and, to what float sums leave over, its final equity.
"""

from typing import Any, NamedTuple

import numba
import numpy as np


class Rules(NamedTuple):
    """All False is `bare_loop.bare`: entries at the next opening, whole units of the signal's equity and close, stop and target
    from the fill; they count in the entry's own bar, after a signal's exit, the stop before the target.
    """

    fractions: bool = False  # of units
    at_fill: bool = False  # sized by the equity and the price of the fill
    less_fee: bool = False  # so that the commission is within the size
    from_signal: bool = False  # stop and target are set from the signal's close
    in_percent: bool = False  # they are shares of the signal's close, taken of the fill
    later: bool = False  # they do not count in the entry's own bar
    stop_first: bool = False  # they come before a signal's exit at the same opening
    at_close: bool = False  # orders on a signal fill at its close
    high_first: bool = False  # of both in one bar the one on the way from opening to high to low to close
    at_trigger: bool = False  # a gap beyond stop or target fills at their price
    sticks: bool = False  # a bar that stops a long and closes at its low leaves that stop as the price of an entry
    on_ticks: bool = False  # stop and target on millionths


PEERS = {
    "backtesting.py": Rules(at_fill=True, less_fee=True, from_signal=True),
    "vectorbt": Rules(fractions=True, at_fill=True, less_fee=True, in_percent=True, later=True, stop_first=True),
    "nautilus_trader": Rules(from_signal=True, at_close=True, high_first=True, at_trigger=True, sticks=True, on_ticks=True),
}
SAID = {
    "backtesting.py": "stop and target from the signal's close; sized at the fill, the commission within the size",
    "vectorbt": "fractions of units, sized at the fill, the commission within; no stop or target in the bar of an entry, else"
    " they come before a signal's exit in the same bar",
    "nautilus_trader": "orders on a signal fill at its close; within a bar the high comes before the low; gaps fill at stop and"
    " target themselves; after a stop at the bar's last price an entry fills at the stop's price",
}


def arithmetic(open_: Any, high: Any, low: Any, close: Any, cross: Any, rsi: Any, ranges: Any, capital: float, fee: float,
               share: float, stop_atr: float, target_atr: float, rules: Rules) -> tuple[int, float]:  # fmt: skip
    """Trades and final equity, from bars and from what `peers.common.signals` makes of them."""
    n = len(close)
    wallet, units, entry, stop, target = capital, 0.0, 0.0, 0.0, 0.0
    wanted, wanted_units, leave, trades, atr, signal, entered = 0, 0.0, False, 0, 0.0, 0.0, -1
    for i in range(n):
        o, h, l, c = open_[i], high[i], low[i], close[i]  # noqa: E741
        left = 0.0
        fills_now = wanted != 0
        for step in range(2):  # what fills at the opening, and what a signal at the close of this bar fills there
            if fills_now:
                fill = o if step == 0 else (left if left > 0.0 else c)
                units = wanted_units
                if rules.at_fill:
                    units = wallet * share / (fill * (1.0 + fee) if rules.less_fee else fill)
                if not rules.fractions:
                    units = np.floor(units)
                units, entry, entered = wanted * units, fill, i
                wallet -= abs(units) * fill * fee
                base = signal if rules.from_signal else fill
                scale = fill / signal if rules.in_percent else 1.0
                stop, target = base - wanted * stop_atr * atr * scale, base + wanted * target_atr * atr * scale
                if rules.on_ticks:
                    stop, target = np.round(stop, 6), np.round(target, 6)
                wanted, fills_now = 0, False
            if step == 1:
                break
            if units != 0.0:
                side = 1.0 if units > 0.0 else -1.0
                price = 0.0
                if leave and not rules.stop_first:
                    price = o
                elif not (rules.later and entered == i) and not (rules.at_close and entered == i):
                    worst, best = (l, h) if side > 0.0 else (h, l)
                    if side * (o - stop) <= 0.0:
                        price = stop if rules.at_trigger else o
                    elif rules.high_first and side > 0.0 and o < target <= h:
                        price = target
                    elif side * (worst - stop) <= 0.0:
                        price = stop
                    elif side * (o - target) >= 0.0:
                        price = target if rules.at_trigger else o
                    elif side * (best - target) >= 0.0:
                        price = target
                    if price == stop and rules.sticks and side > 0.0 and c == l:
                        left = stop
                if price == 0.0 and leave:
                    price = o
                if price != 0.0:
                    wallet += units * (price - entry) - abs(units) * price * fee
                    units = 0.0
                    trades += 1
            leave = False
            up, down = cross[i] > 0, cross[i] < 0
            if units != 0.0:
                leave = down if units > 0.0 else up
                if leave and rules.at_close:
                    wallet += units * (c - entry) - abs(units) * c * fee
                    units, leave = 0.0, False
                    trades += 1
            elif (up and rsi[i] < 70.0) or (down and rsi[i] > 30.0):
                wanted_units = wallet * share / c
                wanted, atr, signal = (1 if up else -1), ranges[i], c
                fills_now = rules.at_close
    if units != 0.0:
        wallet += units * (close[n - 1] - entry) - abs(units) * close[n - 1] * fee
        trades += 1
    return trades, wallet


reckoned = numba.njit(error_model="numpy", cache=True)(arithmetic)
