"""What the venue said of the account, and our limits, in; the page that is read before anything can be sent, out."""

from collections.abc import Iterable

from engine.config import Settings
from engine.core.state import State
from engine.core.trading import not_ready
from engine.events import AccountSnapshot, Difference, Instrument, OrderFact, PositionFact, Side
from engine.views import OpeningView

SHOWN = 20  # positions, orders or differences; how many more there are is said


def opening(
    settings: Settings, state: State, account: str, theirs: AccountSnapshot | None, differences: Iterable[Difference]
) -> OpeningView:
    """`account` is the hash that the journal names it by, `theirs` the venue's newest word on it."""
    held = state.traded
    waits = "the venue's list of markets" if held is None else not_ready(state, held)
    rows = [("account", f"{settings.engine.venues[0]}, {settings.engine.mode.value}, {account or 'none'}")]
    if theirs is not None:
        instruments = {market.instrument.market: market.instrument for market in state.markets.values()}
        rows.append(("balance", f"{theirs.wallet.normalize():f} USDT, of which {theirs.available.normalize():f} can be used"))
        positions = [fact for fact in theirs.positions if fact.quantity and fact.market in instruments]
        rows += _named("positions", [_position(fact, instruments[fact.market]) for fact in positions])
        orders = [fact for fact in theirs.orders if fact.market in instruments]
        rows += _named("open orders", [_order(fact, instruments[fact.market]) for fact in orders])
    if held is not None:
        risk = settings.risk
        set_there = f"{held.leverage}x, {risk.margin_mode} margin, one-way" if held.leverage else "not confirmed by the venue yet"
        rows.append(("leverage", f"{held.instrument.market.partition(':')[2]}: {set_there}"))
        sizes = f"an order {risk.max_order_notional:g} USDT, a position {risk.max_position_notional:g} USDT"
        losses = f"{risk.max_loss_per_trade:.1%} a trade, {risk.max_daily_loss:.1%} a day, {risk.max_drawdown:.1%} in all"
        rows += [("limits", f"{sizes}, leverage {risk.max_leverage:g}"), ("", f"losses: {losses}")]
    rows += _named("differences", [f"{one.what}: here {one.ours}, there {one.theirs}" for one in differences])
    if state.counters.adopted:
        rows.append(("adopted", f"positions and orders that this session did not know: {state.counters.adopted}"))
    rows.append(("waits for", waits or "nothing: entries are made once it is armed"))
    return OpeningView("", tuple(rows), not waits)


def _named(name: str, texts: list[str]) -> list[tuple[str, str]]:
    shown = texts[:SHOWN] + ([f"and {len(texts) - SHOWN} more"] if len(texts) > SHOWN else [])
    return [(name if place == 0 else "", text) for place, text in enumerate(shown or ["none"])]


def _position(fact: PositionFact, instrument: Instrument) -> str:
    side, quantity = ("long" if fact.quantity > 0 else "short"), abs(fact.quantity) * instrument.step
    name = instrument.market.partition(":")[2]
    return f"{name} {side} {quantity:f} at {fact.entry.normalize():f}, unrealised {fact.unrealised.normalize():f}"


def _order(fact: OrderFact, instrument: Instrument) -> str:
    side, name = ("buy" if fact.side is Side.BUY else "sell"), instrument.market.partition(":")[2]
    more = f", trigger {fact.trigger.normalize():f}" if fact.conditional else ""
    reduces = ", reduce-only" if fact.reduce_only else ""
    return f"{name} {side} {(fact.quantity - fact.filled) * instrument.step:f}{more}{reduces}, {fact.client_id}"


def text(view: OpeningView) -> str:
    """For a terminal without a screen."""
    width = max(len(name) for name, _ in view.rows)
    return "\n".join(f"  {name:<{width}}  {said}" for name, said in view.rows)
