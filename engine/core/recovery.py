"""What the session before this one knew in; the same money, orders and plans in this one's state out, until the venue answers.

The venue has the last word: nothing here is traded on before the account was compared with it.
"""

from decimal import Decimal

import msgspec

from engine.action import Plan
from engine.config import Settings, day_starts_s
from engine.core.state import State
from engine.core.trading import Out
from engine.events import Alert, Level, OrderState, Recovered
from engine.execution.orders import Order
from engine.portfolio import Position, day_of


class Recollection(msgspec.Struct, frozen=True):
    """The part of a session's state that outlives it. `day`: number of the day whose opening equity this is."""

    orders: list[Order]  # that were alive
    positions: dict[str, Position]
    plans: dict[str, Plan]
    day: int
    day_equity: Decimal
    wallet: Decimal
    flattening: bool
    peak_equity: Decimal = Decimal(0)
    brackets: dict[str, Plan] = {}  # by the client id of an entry that was alive

    @property
    def flat(self) -> bool:
        """Nothing could change the wallet after the end, but a transfer."""
        return not self.orders and not self.positions


def recollection(state: State) -> Recollection:
    """Of a session that ended, in whatever way."""
    portfolio = state.portfolio
    held = {market: position for market, position in portfolio.positions.items() if position.quantity}
    plans = {market: market_state.plan for market, market_state in state.markets.items() if market_state.plan is not None}
    return Recollection(
        state.live_orders(),
        held,
        plans,
        portfolio.day,
        portfolio.day_equity,
        portfolio.wallet,
        state.flattening,
        portfolio.peak_equity,
        state.brackets,
    )


def recovered(state: State, settings: Settings, event: Recovered, out: Out) -> None:
    """Before the venue's first word on the account; entries wait for it."""
    state.recovering = False
    if event.problem:
        text = f"The session before this one ({event.parent}) cannot be read ({event.problem}): what the venue tells is adopted."
        out.append(Alert(event.at, Level.WARNING, text))
        return
    known = msgspec.json.decode(event.facts, type=Recollection)
    portfolio = state.portfolio
    if event.account != state.own_account:  # of a demo whose venue ended with it, too
        if not known.flat:
            text = f"The session {event.parent} left positions or orders on another account: they are not watched here."
            out.append(Alert(event.at, Level.INFO, text))
        return
    if not portfolio.known and known.day == day_of(event.at, day_starts_s(settings)):  # a restart does not reset the day's loss
        portfolio.day, portfolio.day_equity = known.day, known.day_equity
    if not portfolio.known:
        portfolio.peak_equity = known.peak_equity  # nor the height that the drawdown counts from
        state.wallet_before = known.wallet if known.flat else None
        for market, position in known.positions.items():
            if market in state.markets:
                ours = Position(position.quantity, position.cost, opened_at=position.opened_at, owner=position.owner)
                portfolio.positions[market] = ours
                state.markets[market].plan = known.plans.get(market)
        state.carried = True
    for order in known.orders:
        if order.market in state.markets and order.client_id not in state.orders:
            order.state, order.look_up_at, order.reason = OrderState.UNKNOWN, 0, f"left by the session {event.parent}"
            state.add(order)
            if (bracket := known.brackets.get(order.client_id)) is not None:
                state.brackets[order.client_id] = bracket
            if order.venue_id:
                state.by_venue_id[order.venue_id] = order.client_id
    lost = {*known.positions, *(order.market for order in known.orders)} - set(state.markets)
    for market in sorted(lost):
        text = f"The session before this one had a position or orders in {market}, which this one does not collect: look there."
        out.append(Alert(event.at, Level.WARNING, text))
    state.flattening = state.flattening or (known.flattening and bool(event.halted))
    count, held = len(known.orders), len(known.positions)
    if count or held or event.cut_off:
        how = "was cut off" if event.cut_off else "ended"
        left = f"{held} open positions and {count} live orders: they are compared with the venue."
        text = f"The session {event.parent} {how} with {left}"
        out.append(Alert(event.at, Level.WARNING if event.cut_off else Level.INFO, text))
