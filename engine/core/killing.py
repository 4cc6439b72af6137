"""A halt or a flatten in; followed until the venue itself says that it is so, and told with its times, out.

What it takes is done elsewhere (`trading`, `protection`); here is only whether it is done, and what is still open.
"""

import msgspec

from engine.core import account
from engine.core.state import Kill, State
from engine.core.trading import Out
from engine.events import AccountSnapshot, Alert, KillReport, Level, OrderState, Purpose
from engine.execution.orders import protects

NS_PER_MS = 1_000_000
VERIFY_AGAIN_NS = 1_000 * NS_PER_MS
LATE_NS = 5_000 * NS_PER_MS  # then, and every so often, what is still open is told


def begin(state: State, who: str, flatten: bool) -> None:
    """Before anything is done. A halt that becomes a flatten is one kill, timed from the wish to be flat."""
    if state.kill is not None and state.kill.flatten >= flatten:
        return
    adding = sum(order.adds_exposure for order in state.live_orders())
    state.kill_done = ""
    state.kill = Kill(who, flatten, state.now, adding, len(state.portfolio.held()))


def follow(state: State, out: Out) -> None:
    """While a kill is on its way: at every tick, and after what the venue says of an order."""
    kill = state.kill
    if kill is None:
        return
    if not kill.cancelled_at and not any(order.adds_exposure for order in state.live_orders()):
        kill.cancelled_at = state.now
    open_still = _open(state, kill)
    if open_still:
        kill.safe_at = 0
    elif not state.account and not state.own_account:
        _finish(state, kill, "no account is connected: there is nothing to ask", out)
        return
    else:
        kill.safe_at = kill.safe_at or state.now
        if state.account and state.now - kill.compared_at >= VERIFY_AGAIN_NS:
            kill.compared_at = state.now
            account.ask(state, state.account, "a kill is verified", out, anew=state.account_asked_at <= kill.safe_at)
    if state.now - max(kill.asked_at, kill.told_at) > LATE_NS:
        kill.told_at = state.now
        why = open_still or "the venue has not confirmed it"
        out.append(_report(state, kill, 0, why))
        out.append(Alert(state.now, Level.ERROR, f"The {_word(kill)} is not done: {why}. It goes on."))


def compared(state: State, event: AccountSnapshot, out: Out) -> None:
    """The venue's own word, after it was compared with the ledger."""
    kill = state.kill
    if kill is None or not kill.safe_at or event.requested_at <= kill.safe_at or _open(state, kill):
        return
    adding = [order for order in event.orders if not order.reduce_only]
    held = [position for position in event.positions if position.quantity]
    bare = [one for one in held if not any(order.market == one.market and protects(order, one) for order in event.orders)]
    if adding or (held if kill.flatten else bare):
        return
    _finish(state, kill, "", out)


def _open(state: State, kill: Kill) -> str:
    """What is not done yet, "" when the ledger says that all is."""
    adding = sum(order.adds_exposure for order in state.live_orders())
    held = state.portfolio.held()
    parts = [f"{adding} orders that could add exposure are alive"] if adding else []
    if kill.flatten and held:
        parts.append(f"positions are open in {', '.join(sorted(held))}")
    elif not kill.flatten:
        bare = [market for market in held if not _stopped(state, market)]
        parts += [f"positions are without a stop in {', '.join(bare)}"] if bare else []
    if kill.flatten and not held and (left := len(state.live_orders())):
        parts.append(f"{left} orders of positions that are gone are alive")
    return " and ".join(parts)


def _stopped(state: State, market: str) -> bool:
    whole = abs(state.portfolio.position(market).quantity)
    stops = [order for order in state.open_orders(market) if order.purpose is Purpose.STOP and order.state is OrderState.WORKING]
    return any(order.quantity >= whole for order in stops)


def _finish(state: State, kill: Kill, note: str, out: Out) -> None:
    state.kill = None
    report = _report(state, kill, state.now, note)
    out.append(report)

    def took(at: int) -> str:
        return f"{max(at - kill.asked_at, 0) / NS_PER_MS:.0f} ms"

    what = "flat" if kill.flatten else "protected or flat"
    text = (
        f"The {_word(kill)} by {kill.who} is done: {kill.orders} orders cancelled in {took(kill.cancelled_at)}, "
        f"{what} in {took(kill.safe_at or state.now)}, {note or 'confirmed by the venue'} in {took(state.now)}."
    )
    state.kill_done = text
    out.append(Alert(state.now, Level.WARNING, text))


def under_way(state: State) -> str:
    """What the kill that is on its way waits for, "" where none is."""
    return (_open(state, state.kill) or "the venue's own word") if state.kill is not None else ""


def _report(state: State, kill: Kill, confirmed_at: int, problem: str) -> KillReport:
    fields = msgspec.structs.asdict(kill)
    kept = {name: fields[name] for name in ("who", "flatten", "asked_at", "orders", "positions", "cancelled_at", "safe_at")}
    return KillReport(state.now, **kept, confirmed_at=confirmed_at, problem=problem)


def _word(kill: Kill) -> str:
    return "flatten" if kill.flatten else "halt"
