"""Equity in; what its loss limits do to open positions, once each time that one is reached, out. `risk` refuses entries."""

from decimal import Decimal

from engine import risk
from engine.config import Settings
from engine.core import trading
from engine.core.state import State
from engine.core.trading import Out
from engine.events import Alert, Level

SHARES = {"reduce": 0.5, "flatten": 1.0}


def watch(state: State, settings: Settings, equity: Decimal, out: Out) -> None:
    """Several times a second, with the equity that there is now."""
    portfolio, limits = state.portfolio, settings.risk
    if not portfolio.known or not state.reconciled:
        return
    lost = risk.daily_loss(float(portfolio.day_equity), float(equity))
    fallen = risk.drawdown(float(portfolio.peak_equity), float(equity))
    _reached(state, settings, "the daily loss", lost, limits.max_daily_loss, limits.on_daily_loss, out)
    _reached(state, settings, "the drawdown", fallen, limits.max_drawdown, limits.on_drawdown, out)


def _reached(state: State, settings: Settings, name: str, now: float, limit: float, then: str, out: Out) -> None:
    stays, fresh = risk.breach(now, limit, name in state.breached)
    if not fresh:
        if not stays and name in state.breached:
            state.breached.remove(name)
        return
    state.breached.append(name)
    did = {"block": "No entry is made", "reduce": "Half of each position is closed", "flatten": "All positions are closed"}[then]
    text = f"{name[:1].upper()}{name[1:]} of {now:.2%} has reached its limit of {limit:.2%}. {did}."
    out.append(Alert(state.now, Level.ERROR, text))
    if then not in SHARES:
        return
    for held in state.markets.values():
        if state.portfolio.position(held.instrument.market).quantity:
            trading.leave(state, settings, held, f"{name} reached its limit", out, SHARES[then])
