"""A wish to collect another symbol, or one no more, in; the request for it, or why it cannot be, out."""

import re

from engine.core.state import State
from engine.core.trading import Out
from engine.events import Collect, Drop

SYMBOLS = 20  # more than that nobody watches, and each costs its sockets' share
_SYMBOL = re.compile(r"[^\W_]{1,30}/USDT:USDT")


def collect(state: State, symbol: str, out: Out) -> str:
    """Returns why not, "" when it is asked for."""
    if not _SYMBOL.fullmatch(symbol):
        return f"{symbol[:40]!r} is not the unified name of a USDT perpetual, such as BTC/USDT:USDT"
    known = {held.symbol for held in state.markets.values()}
    if symbol in known:
        return f"{symbol} is collected already"
    if len(known) >= SYMBOLS:
        return f"{SYMBOLS} symbols are collected already: drop one first"
    out.append(Collect(state.now, symbol))
    return ""


def drop(state: State, symbol: str, out: Out) -> str:
    """Returns why not, "" when it is asked for."""
    mine = [held for held in state.markets.values() if held.symbol == symbol]
    if not mine:
        return f"{symbol[:40]!r} is not collected"
    if (traded := state.traded) is not None and traded.symbol == symbol:
        return f"{symbol} is the market that is traded"
    markets = {held.instrument.market for held in mine}
    if any(state.portfolio.position(market).quantity for market in markets):
        return f"there is a position in {symbol}: close it first"
    if any(order.market in markets for order in state.live_orders()):
        return f"there are orders in {symbol}: cancel them first"
    out.append(Drop(state.now, symbol))
    return ""
