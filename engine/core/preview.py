"""The core's state and a ticket in; what the engine would do with it now out.

The checks are those of sending, and nothing changes.
"""

from collections.abc import Iterator
from decimal import Decimal
from typing import NamedTuple

import msgspec

from engine import risk
from engine.config import RiskSettings, Settings
from engine.core import tickets
from engine.core.state import State
from engine.core.tickets import Wanted
from engine.events import OrderKind, Ticket, TimeInForce
from engine.fills import liquidation_price, take
from engine.portfolio import ZERO, Position, cents, commission, money
from engine.views import Estimate, Room, TicketView

LEVELS = 200  # of the book that are walked


class Fills(NamedTuple):
    """An order as the book would fill it. `parts` are ticks, steps, and whether it is the maker there; `notes` what the venue
    would make of it besides.
    """

    parts: list[tuple[int, int, bool]]
    taken: int = 0  # steps, at once
    slippage_bps: float = 0.0  # of these, beyond the best price
    notes: tuple[str, ...] = ()


def preview(state: State, settings: Settings, market: str, ticket: Ticket, amends: str = "") -> TicketView:
    """Of a new order in `market`, or of the order `amends` with other terms."""
    try:
        if amends:
            wanted = tickets.want_amended(state, settings, amends, ticket, "")
        else:
            wanted = tickets.want(state, settings, market, ticket, "")
    except tickets.Wrong as wrong:
        return TicketView(market, ticket, amends, str(wrong))
    refusal = risk.problem(wanted.intent, wanted.look, settings.risk) if wanted.gated else ""
    filled = fills(wanted, ticket)
    try:
        figures = estimate(state, settings, wanted, filled)
    except ArithmeticError:  # more digits than money has
        figures = None
    return TicketView(market, ticket, amends, refusal, figures, filled.notes)


def fills(wanted: Wanted, ticket: Ticket) -> Fills:
    """What the book does not show is reckoned at the limit; at market, at the last price that it shows."""
    intent, instrument = wanted.intent, wanted.held.instrument
    if ticket.kind.conditional:
        return Fills([(intent.price, intent.quantity, False)])
    got = take(iter(wanted.held.book.top(intent.side.other, LEVELS)), {}, intent.side, intent.quantity, ticket.price)
    taken, tif = sum(steps for _, steps in got), ticket.time_in_force
    if tif is TimeInForce.GTX:
        why = ("The price would take: the venue refuses a post-only order there.",) if taken else ()
        return Fills([(ticket.price, intent.quantity, True)], notes=why)
    parts, notes = [(price, steps, False) for price, steps in got], list[str]()
    if (rest := intent.quantity - taken) > 0:
        at = ticket.price or (got[-1][0] if got else intent.price)
        parts.append((at, rest, ticket.kind is OrderKind.LIMIT and tif is TimeInForce.GTC))
        shown = f"The book shows {taken * instrument.step:f} {instrument.base}"
        if tif is TimeInForce.IOC:
            notes.append(f"{shown} within the limit: the rest is cancelled.")
        elif tif is TimeInForce.FOK:
            notes.append(f"{shown} within the limit: nothing would be filled.")
        elif ticket.kind is OrderKind.MARKET:
            notes.append(f"{shown} only: the rest is reckoned at its last price.")
    paid = sum(price * steps for price, steps in got)
    slippage = (paid / (got[0][0] * taken) - 1.0) * 10_000 * intent.side + 0.0 if taken else 0.0  # no minus zero
    return Fills(parts, taken, slippage, tuple(notes))


def estimate(state: State, settings: Settings, wanted: Wanted, filled: Fills) -> Estimate:
    """What the order comes to when it fills as `filled` says; the stop and the target as market orders at their prices."""
    intent, look, portfolio, instrument = wanted.intent, wanted.look, state.portfolio, wanted.held.instrument
    market, closes = intent.market, intent.reduces
    maker, taker = portfolio.maker_rate(market), portfolio.taker_rate(market)
    notional = fee = realised = ZERO
    after = msgspec.structs.replace(portfolio.positions.get(market) or Position())
    for price, steps, made in filled.parts:
        part = money(instrument, price, steps)
        notional, fee = notional + part, fee + commission(part, maker if made else taker)
        realised += after.apply(instrument, intent.side, steps, price, 0)
    base = intent.quantity * instrument.step
    due = after.quantity * instrument.step * Decimal(look.price) * Decimal(look.funding_bps) / 10_000

    def outcome(ticks: int) -> Decimal | None:
        """What an entry comes to when it ends there."""
        if closes or not ticks:
            return None
        out = money(instrument, ticks, intent.quantity)
        return cents((out - notional) * intent.side - fee - commission(out, taker))

    lost, won = outcome(intent.stop), outcome(intent.target)
    return Estimate(
        intent.quantity,
        filled.taken,
        float(notional / base) if base else 0.0,
        filled.slippage_bps,
        f"{notional:f}",
        f"{fee:f}",
        risk.measured(intent, look).leverage,
        liquidation(state, settings, wanted, after, realised - fee),
        f"{cents(due):f}",
        look.funding_in_s,
        intent.stop,
        intent.target,
        f"{cents(realised - fee):f}" if closes else "",
        f"{-lost:f}" if lost is not None else "",
        f"{won:f}" if won is not None else "",
        0 if closes else risk.entry_room(look, settings.risk, abs(look.price - intent.stop * look.tick) if intent.stop else 0.0),
        () if closes else tuple(sorted(rooms(intent, look, settings.risk), key=lambda room: -room.share)),
    )


def liquidation(state: State, settings: Settings, wanted: Wanted, after: Position, earned: Decimal) -> float:
    """Where the position `after` the order would be liquidated, 0 where no price does that. On a cross margin all of the account
    stands for it, less what the other positions need; on an isolated one its own margin does.
    """
    held, look = wanted.held, wanted.look
    if not after.quantity:
        return 0.0
    cost = float(after.cost)
    if settings.risk.margin_mode == "isolated":
        wallet = cost / max(held.leverage, 1)
    else:
        before, mark = state.portfolio.positions.get(held.instrument.market), held.mark_price()
        unrealised = before.unrealised(held.instrument, mark) if before is not None and mark is not None else ZERO
        wallet = float(state.equity() - unrealised + earned) - risk.MAINTENANCE * look.other_notional
    return liquidation_price(after.side, abs(after.quantity) * look.step, cost, wallet, risk.MAINTENANCE)


def rooms(intent: risk.Intent, look: risk.Context, limits: RiskSettings) -> Iterator[Room]:
    """Every limit that an entry must keep and how much of it would be used: what `risk.approve` compares."""
    found = risk.measured(intent, look)
    yield _room("order", found.order, limits.max_order_notional, "USDT")
    yield _room("position", found.after, limits.max_position_notional, "USDT")
    yield _room("gross", found.gross, limits.max_gross_notional, "USDT")
    yield _room("leverage", found.leverage, limits.max_leverage, "x")
    yield _least("least order", found.order, look.min_notional, "USDT")
    if limits.min_liquidation_distance:
        yield _least("to liquidation", found.distance * 100, limits.min_liquidation_distance * 100, "%")
    if found.stop:
        yield _room("loss at stop", found.loss * 100, limits.max_loss_per_trade * 100, "%")
    yield _room("daily loss", found.lost * 100, limits.max_daily_loss * 100, "%")
    yield _room("drawdown", found.fallen * 100, limits.max_drawdown * 100, "%")
    yield _room("largest order", intent.quantity, look.max_quantity, "steps")
    yield _room("spread", look.spread_bps, limits.max_spread_bps, "bps")
    if look.divergence_bps == look.divergence_bps:
        yield _room("venues apart", look.divergence_bps, limits.max_divergence_bps, "bps")
    if beyond := [_room("collar", one.bps, one.limit_bps, "bps") for one in risk.collars(intent, look, limits)]:
        yield max(beyond, key=lambda room: room.share)
    if look.funding_in_s <= limits.funding_window_s:
        yield _room("funding", max(look.funding_bps * intent.side, 0.0), limits.max_funding_bps, "bps")
    yield _room("entries/min", look.entries_last_minute + 1, limits.max_orders_per_minute, "")
    if limits.stop_guard:
        yield _room("stops hit", look.recent_stops, limits.stop_guard, "")


def _room(name: str, used: float, limit: float, unit: str) -> Room:
    return Room(name, float(used), float(limit), unit, used / limit if limit > 0 else 1e18 if used > 0 else 0.0)


def _least(name: str, there: float, least: float, unit: str) -> Room:
    """Of a limit that may not be fallen below."""
    return Room(name, float(there), float(least), unit, least / there if there > 0.0 else 1e18, least=True)


def free_margin(state: State) -> Decimal:
    """Equity that neither a position nor an entry that may still fill holds as margin, never below 0."""
    free, portfolio = state.equity(), state.portfolio
    for market, held in state.markets.items():
        mark, step, leverage = held.mark_price(), held.instrument.step, max(held.leverage, 1)
        if mark is None:
            continue
        steps = abs(portfolio.quantity(market))
        steps += sum(order.outstanding for order in state.open_orders(market) if order.adds_exposure)
        free -= steps * step * mark / leverage
    return max(cents(free), ZERO)
