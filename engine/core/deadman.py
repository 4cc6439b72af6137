"""Resting entries in; the venue's own dead man's switch, kept wound up by the core's ticks alone, out.

A loop that hangs winds nothing: the venue then cancels what could still add exposure. Protective stops are conditional orders,
which the switch leaves alone at both venues as far as is documented.
"""

from engine.config import Settings
from engine.core.state import State
from engine.core.trading import Out
from engine.events import Alert, ArmDeadMan, DeadManSet, Level

NS_PER_S = 1_000_000_000
LEAST_S = 10  # what both venues take
AGAIN_NS = 2 * NS_PER_S  # after it could not be armed


def tick(state: State, settings: Settings, out: Out) -> None:
    """Wind it up at a third of its length, and let it go when nothing rests any more."""
    length = settings.risk.dead_man_s
    if not length or not state.private_up:
        return
    seconds = max(length, LEAST_S)
    resting = {order.market for order in state.live_orders() if order.adds_exposure and not order.kind.conditional}
    # In engine time, which a demo may run faster than the network.
    due_ns = seconds * NS_PER_S // 3
    wanted = tuple(market for market in sorted(resting) if state.now - state.dead_man.get(market, 0) >= due_ns)
    if wanted:
        state.dead_man |= dict.fromkeys(wanted, state.now)
        out.append(ArmDeadMan(state.now, state.account, wanted, seconds))
    idle = tuple(market for market in sorted(state.dead_man) if market not in resting)
    if idle and not (state.account == "okx" and resting):  # OKX has one switch for the account
        for market in idle:
            del state.dead_man[market]
        out.append(ArmDeadMan(state.now, state.account, idle, 0))


def answered(state: State, event: DeadManSet, out: Out) -> None:
    """One that could not be armed is told once, and tried again soon."""
    if not event.problem:
        state.dead_man_told = False
        return
    state.counters.dead_man_failures += 1
    if not event.seconds:
        return  # it runs out over nothing, or is wound up anew by the next order
    for market in state.dead_man:
        state.dead_man[market] = event.at + AGAIN_NS - event.seconds * NS_PER_S // 3
    if not state.dead_man_told:
        state.dead_man_told = True
        text = f"The venue's dead man's switch could not be set ({event.problem}). It is tried again; resting orders stay."
        out.append(Alert(event.at, Level.WARNING, text))
