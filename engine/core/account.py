"""What the venue says of our orders and money in; booked fills, order states and differences out."""

from decimal import Decimal

from engine.config import Settings
from engine.core import protection, trading
from engine.core.state import FILL_MARKS_KEPT, STOPS_KEPT, MarketState, State
from engine.core.trading import Out
from engine.events import (
    AccountSnapshot,
    Alert,
    AmendRefused,
    BalanceChange,
    CancelRefused,
    ConditionalReport,
    Difference,
    FetchAccount,
    Filled,
    FillFact,
    FundingPaid,
    Level,
    LookUpOrder,
    OrderAccepted,
    OrderFact,
    OrderFateUnknown,
    OrderKind,
    OrderNotFound,
    OrderRefused,
    OrderReport,
    OrderState,
    PositionFact,
    Purpose,
    Side,
    TimeInForce,
)
from engine.execution import orders
from engine.execution.orders import Order
from engine.portfolio import ZERO, Owner, Position, cents

NS_PER_MS = 1_000_000
# A stop whose trigger is reached already: Binance's number, and OKX's for one that buys and one that sells.
STOP_REACHED = frozenset({-2021, 51278, 51280})
FILLS_OVERLAP_MS = 10_000
ASK_ACCOUNT_EVERY_NS = 30_000_000_000
ASK_ACCOUNT_RESTING_NS = 10_000_000_000  # while an entry rests: a fill of it whose report is lost has no stop until then
ASK_ACCOUNT_AWAY_NS = 5_000_000_000  # while the private stream is away: positions must have their stops all the same
FILLS_AGAIN_NS = 1_000_000_000
ASK_ACCOUNT_AGAIN_NS = 5_000_000_000


def accepted(state: State, event: OrderAccepted, out: Out) -> None:
    """The venue knows the order, by an id of its own."""
    order = state.orders.get(event.client_id)
    if order is None:
        return
    state.by_venue_id[event.venue_id] = order.client_id
    trading.tell(state, order, orders.accepted(order, event.venue_id, event.at), out)
    if order.cancel_asked_at and order.open and order.state is not OrderState.CANCELLING:
        trading.cancel(state, order, out)  # the first cancel may have come before the order


def refused(state: State, settings: Settings, event: OrderRefused, out: Out) -> None:
    """The order does not exist at the venue: told, and an exit or a stop that was refused is looked into at once."""
    order = state.orders.get(event.client_id)
    if order is None:
        return
    reason = f"{event.reason} (code {event.code})"
    change = orders.refused(order, reason, event.at)
    trading.tell(state, order, change, out)
    if change is None:
        return
    held = state.markets.get(order.market)
    if order.purpose is not Purpose.TARGET:
        out.append(Alert(event.at, Level.WARNING, f"The venue refused a {order.purpose.value} order: {reason}."))
    elif held is not None:
        held.target_refused_at = event.at
    if held is not None and order.purpose is Purpose.EXIT:
        held.exit_refused_at = event.at
        if not order.rests:
            ask(state, held.venue, "an exit was refused, so the position may be another one", out)
    if held is not None and order.purpose is Purpose.STOP and event.code in STOP_REACHED:
        protection.stop_refused(state, settings, held, reason, out)


def fate_unknown(state: State, event: OrderFateUnknown, out: Out) -> None:
    order = state.orders.get(event.client_id)
    if order is not None:
        trading.tell(state, order, orders.fate_unknown(order, event.reason, event.at), out)


def not_found(state: State, settings: Settings, event: OrderNotFound, out: Out) -> None:
    order = state.orders.get(event.client_id)
    if order is not None:
        trading.tell(state, order, orders.not_found(order, event.at, _window_ns(settings)), out)


def change_refused(state: State, event: CancelRefused | AmendRefused, out: Out) -> None:
    """Usually the order is gone already: its own report says how, and a look-up asks where none came."""
    order = state.orders.get(event.client_id)
    if order is None or not order.open:
        return
    order.look_up_at = event.at + 200 * NS_PER_MS
    if isinstance(event, AmendRefused):
        if event.code:
            order.amend_quantity = order.amend_price = 0
        why = f"{event.reason} (code {event.code})" if event.code else event.reason
        out.append(
            Alert(event.at, Level.WARNING, f"The order {event.client_id} was not amended: {why}. It is asked what it is now.")
        )


def ask_regularly(state: State, out: Out) -> None:
    """The comparison that is due; more often while nobody tells what happens."""
    if not state.account:
        return
    every_ns, reason = ASK_ACCOUNT_EVERY_NS, "the regular comparison is due"
    if not state.private_up:
        every_ns, reason = ASK_ACCOUNT_AWAY_NS, "the private stream is away"
    elif any(order.rests and order.adds_exposure for order in state.live_orders()):
        every_ns = ASK_ACCOUNT_RESTING_NS
    if state.now - state.account_asked_at > every_ns:
        ask(state, state.account, reason, out, may_wait=every_ns == ASK_ACCOUNT_EVERY_NS)


def look_ups(state: State, out: Out) -> None:
    """Ask what is due to be asked: orders of unknown fate, and fills that were told of and have not come."""
    for order in state.live_orders():
        if orders.due_look_up(order, state.now):
            out.append(LookUpOrder(state.now, order.market, order.client_id, order.kind.conditional))
    if state.unbooked and state.account and state.now - state.account_asked_at >= FILLS_AGAIN_NS:
        first = state.orders[next(iter(state.unbooked))]
        if state.now - first.changed_at >= FILLS_AGAIN_NS:
            ask(state, state.account, f"the fills of {first.client_id} have not been told", out)


def reported(state: State, settings: Settings, event: OrderReport, out: Out) -> None:
    """What a report tells of an order, and its fill, booked once by the trade's id; an order that is not ours is adopted."""
    held = state.markets.get(event.market)
    if held is None:
        state.counters.ignored += 1
        return
    order = _order(state, event.client_id, event.venue_id) or _adopt_report(state, event)
    if event.venue_id:
        state.by_venue_id.setdefault(event.venue_id, order.client_id)
    if event.last_quantity and event.trade_id:
        fill = FillFact(
            event.market,
            event.venue_id,
            event.trade_id,
            event.side,
            event.last_quantity,
            event.last_price,
            event.fee,
            event.maker,
            event.venue_ms,
            event.fee_asset,
        )
        _book(state, held, order.client_id, fill, event.realised, out)
    trading.tell(state, order, orders.reported(order, event), out)
    looked_up = not event.last_quantity and bool(order.look_ups)
    if order.state is OrderState.UNKNOWN or (order.open and order.cancel_asked_at and order.state is OrderState.WORKING):
        order.look_up_at = order.look_up_at or event.at
    elif order.state is OrderState.CANCELLING and looked_up and event.at - order.cancel_asked_at >= trading.CANCEL_AGAIN_NS:
        trading.cancel(state, order, out)  # it is alive: the first request was lost
    elif order.state in (OrderState.WORKING, OrderState.PARTLY_FILLED):
        _amended(settings, order, event)


def _window_ns(settings: Settings) -> int:
    """After so long a request can no longer execute."""
    return (settings.venue.recv_window_ms + 1000) * NS_PER_MS


def _amended(settings: Settings, order: Order, event: OrderReport) -> None:
    """What a report says of an amendment: done, or, once it can no longer execute, not done. Then nothing is asked any more."""
    if order.amend_quantity and event.at - order.amend_asked_at > _window_ns(settings):
        order.amend_quantity = order.amend_price = 0
    if not order.amend_quantity and not order.ends_at_once:
        order.look_up_at = 0


def conditional_reported(state: State, event: ConditionalReport, out: Out) -> None:
    """The same of a conditional order, which has no fills: those are of the order that it becomes."""
    order = _order(state, event.client_id, event.venue_id)
    if order is None:
        return
    if event.order_id:
        state.by_venue_id[event.order_id] = order.client_id
    change = orders.conditional_reported(order, event.status, event.venue_id, event.reason, event.at)
    trading.tell(state, order, change, out)


def balance_changed(state: State, event: BalanceChange, out: Out) -> None:
    """Funding is booked to its market; any other change of the wallet is told."""
    if not state.portfolio.known or event.asset != "USDT":
        return  # contracts are margined in USDT; another asset's wallet is not in this ledger
    if event.reason == "FUNDING_FEE":
        state.portfolio.fund(event.market, event.change)
        out.append(FundingPaid(event.at, event.venue, event.market, event.change, state.portfolio.wallet))
    else:
        state.portfolio.adjust(event.change)
        out.append(Alert(event.at, Level.INFO, f"The venue changed the wallet by {event.change}: {event.reason}."))
    state.account_changed_at = event.at


def ask(state: State, venue: str, reason: str, out: Out, *, may_wait: bool = False, anew: bool = False) -> None:
    """Ask for the account unless that is under way; an answer that never comes is asked for again. `anew`: what was asked before
    does not tell.
    """
    if state.reconciling and not anew and state.now - state.account_asked_at < ASK_ACCOUNT_AGAIN_NS:
        return
    state.reconciling, state.account_asked_at = True, state.now
    since = max(state.private_lost_ms - FILLS_OVERLAP_MS, 1) if state.portfolio.known else 0
    out.append(FetchAccount(state.now, venue, reason, since, may_wait))


def snapshot(state: State, event: AccountSnapshot, out: Out) -> None:
    """The first one opens the ledger; later ones are compared with it, fills missed while away are booked first."""
    state.reconciling = False
    if not state.portfolio.known:
        state.portfolio.open(event.wallet)
        if state.wallet_before is not None:
            state.portfolio.day_equity += event.wallet - state.wallet_before
            state.portfolio.peak_equity += event.wallet - state.wallet_before
            state.wallet_before = None
        if state.carried:
            state.carried = False
            _positions_agree(state, event, out)
        else:
            for fact in event.positions:
                _adopt_position(state, fact, event.at, out)
        _fates(state, event, out)
        _orders_agree(state, event, out)
        state.reconciled = True
        return
    for fill in event.fills:
        held = state.markets.get(fill.market)
        if held is not None and fill.trade_id not in state.portfolio.seen.get(fill.market, {}):
            order_id = state.by_venue_id.get(fill.venue_id, fill.venue_id)
            _book(state, held, order_id, fill, None, out)
    if event.requested_at <= state.account_changed_at:
        ask(state, event.venue, "the account changed while it was read", out)
        return
    if state.private_up and event.requested_at < state.private_since:
        ask(state, event.venue, "it was read before the private stream was there", out)
        return
    if not state.private_up and not _agrees(state, event):
        return  # its parts may be of different moments, and nobody tells: what stays so is believed once the stream is back
    _positions_agree(state, event, out)
    _orders_agree(state, event, out)
    for name in [name for name in state.unbooked if state.orders[name].changed_at < event.requested_at]:
        del state.unbooked[name]  # what they filled is in the position that was just compared
    if event.wallet != state.portfolio.wallet:
        _differ(state, event.venue, "wallet", str(state.portfolio.wallet), str(event.wallet), out)
        state.portfolio.adjust(event.wallet - state.portfolio.wallet)
    state.reconciled = True
    state.private_lost_ms = event.at // NS_PER_MS


def _book(state: State, held: MarketState, client_id: str, fill: FillFact, realised_there: Decimal | None, out: Out) -> None:
    portfolio, instrument = state.portfolio, held.instrument
    if not portfolio.known or not portfolio.first_sight(fill.market, fill.trade_id):
        return
    before, fee = portfolio.position(fill.market).quantity, fill.fee
    if fee and fill.fee_asset not in ("", instrument.quote):
        paid = f"{fee} {fill.fee_asset}"
        _differ(state, _venue(fill.market), f"commission asset of trade {fill.trade_id}", instrument.quote, paid, out)
        fee = ZERO  # it did not come out of this wallet
    owner = _owner(state, client_id)
    realised, our_fee = portfolio.fill(instrument, fill.side, fill.quantity, fill.price, fee, fill.maker, state.now, owner)
    after = portfolio.position(fill.market).quantity
    state.counters.fills += 1
    state.account_changed_at = state.now
    if our_fee is not None and fee == fill.fee:
        _differ(state, _venue(fill.market), f"commission of trade {fill.trade_id}", str(our_fee), str(fill.fee), out)
    if realised_there is not None and cents(realised) != cents(realised_there):
        _differ(state, _venue(fill.market), f"profit of trade {fill.trade_id}", str(realised), str(realised_there), out)
    if (bracket := state.brackets.get(client_id)) is not None:
        held.plan = bracket
    if before and (after == 0 or (after > 0) != (before > 0)):
        held.bars_since_close = 0
        held.unprotected_since = 0
        if after == 0:
            held.plan = None
    if (cause := state.causes.get(client_id)) is not None:
        cause.fills.append((state.now, fill.price, fill.quantity, fill.fee, realised))
    order = state.orders.get(client_id)
    if order is not None:
        order.booked += fill.quantity
        if order.booked >= order.filled:
            state.unbooked.pop(client_id, None)
    if realised < 0:
        held.lost_at = state.now
    if order is not None and order.purpose is Purpose.STOP and after == 0:
        held.stops_at = [*held.stops_at[-STOPS_KEPT + 1 :], state.now]
    held.fill_marks.append((fill.venue_ms, fill.price, fill.side, order.purpose.value if order else "external"))
    del held.fill_marks[:-FILL_MARKS_KEPT]
    out.append(
        Filled(
            state.now,
            fill.market,
            client_id,
            fill.trade_id,
            fill.side,
            fill.quantity,
            fill.price,
            fill.fee,
            fill.maker,
            realised,
            after,
            portfolio.wallet,
        )
    )


def _owner(state: State, client_id: str) -> Owner:
    """Who wanted an order: its cause tells, for as long as it is alive."""
    order, cause = state.orders.get(client_id), state.causes.get(client_id)
    if cause is not None:
        judged = cause.stance
        return Owner(judged.question, judged.source) if judged is not None else Owner("", cause.strategy or "operator")
    return Owner("", "external" if order is None or order.external else "earlier")


def _order(state: State, client_id: str, venue_id: str) -> Order | None:
    """By our id; a stop's market order may come under the venue's id only."""
    return state.orders.get(client_id) or state.orders.get(state.by_venue_id.get(venue_id, ""))


def _adopt_report(state: State, event: OrderReport) -> Order:
    """Somebody else's order on our account: a manual close, a liquidation."""
    purpose = Purpose.EXIT if event.reduce_only else Purpose.ENTRY
    kind = OrderKind.LIMIT
    return _adopt(state, event.client_id, event.market, kind, purpose, event.side, event.quantity, event.venue_id, 0)


def _adopt(
    state: State,
    client_id: str,
    market: str,
    kind: OrderKind,
    purpose: Purpose,
    side: Side,
    quantity: int,
    venue_id: str,
    trigger: int,
) -> Order:
    order = Order(
        client_id,
        market,
        kind,
        purpose,
        side,
        quantity,
        0,
        trigger,
        TimeInForce.GTC,
        purpose is not Purpose.ENTRY,
        state.now,
        state=OrderState.WORKING,
        venue_id=venue_id,
        external=True,
    )
    state.add(order)
    state.counters.adopted += 1
    return order


def _adopt_position(state: State, fact: PositionFact, at: int, out: Out) -> None:
    held = state.markets.get(fact.market)
    if held is None or not fact.quantity:
        return
    cost = fact.entry * abs(fact.quantity) * held.instrument.step
    ours = state.portfolio.position(fact.market)
    same = ours.quantity * fact.quantity > 0
    owner = ours.owner if same else Owner()
    state.portfolio.positions[fact.market] = Position(
        fact.quantity, cost, ours.realised, ours.fees, ours.funding, at, owner, ours.fills
    )
    state.counters.adopted += 1
    out.append(
        Alert(at, Level.WARNING, f"A position of {fact.quantity * held.instrument.step} {held.instrument.base} was adopted.")
    )


def _agrees(state: State, event: AccountSnapshot) -> bool:
    """Whether positions and wallet are those of the ledger."""
    theirs = {fact.market: fact.quantity for fact in event.positions}
    same = all(theirs.get(market, 0) == state.portfolio.quantity(market) for market in state.markets)
    return same and event.wallet == state.portfolio.wallet


def _positions_agree(state: State, event: AccountSnapshot, out: Out) -> None:
    theirs = {fact.market: fact for fact in event.positions}
    for market in state.markets:
        ours = state.portfolio.position(market)
        fact = theirs.get(market)
        quantity = fact.quantity if fact is not None else 0
        if quantity == ours.quantity:
            continue
        _differ(state, event.venue, f"position in {market}", str(ours.quantity), str(quantity), out)
        if fact is not None and fact.quantity:
            _adopt_position(state, fact, event.at, out)
        else:
            ours.quantity, ours.cost = 0, ZERO


def _fates(state: State, event: AccountSnapshot, out: Out) -> None:
    """Orders that an earlier session left: those that the venue lists are alive, the others are asked for at once."""
    listed = {fact.client_id: fact for fact in event.orders}
    for order in state.live_orders():
        if order.state is not OrderState.UNKNOWN:
            continue
        fact = listed.get(order.client_id)
        if fact is None:
            order.look_up_at = event.at
            continue
        order.filled = order.booked = max(order.filled, fact.filled)  # the position was compared a moment ago
        state.by_venue_id[fact.venue_id] = order.client_id
        trading.tell(state, order, orders.accepted(order, fact.venue_id, event.at), out)


def _orders_agree(state: State, event: AccountSnapshot, out: Out) -> None:
    """Strangers' orders are adopted; ours that the venue does not list are asked for one by one."""
    listed = {fact.client_id for fact in event.orders}
    for fact in event.orders:
        if fact.client_id not in state.orders and fact.market in state.markets:
            _adopt_fact(state, fact)
    for order in state.live_orders():
        quiet = order.changed_at < event.requested_at and order.created_at < event.requested_at
        if order.client_id not in listed and quiet:
            order.look_up_at = order.look_up_at or event.at


def _adopt_fact(state: State, fact: OrderFact) -> None:
    purpose = Purpose.ENTRY
    kind = OrderKind.LIMIT
    if fact.conditional:
        kind, purpose = OrderKind.STOP, Purpose.STOP
        mark = state.markets[fact.market].mark_price()
        entry = state.portfolio.position(fact.market).entry(state.markets[fact.market].instrument) or mark
        if fact.trail_bps:
            kind = OrderKind.TRAILING
        elif entry is not None and (fact.trigger - entry) * fact.side < 0:
            kind, purpose = OrderKind.TARGET, Purpose.TARGET
    elif fact.reduce_only:
        purpose = Purpose.EXIT
    tick = state.markets[fact.market].instrument.tick
    order = _adopt(
        state, fact.client_id, fact.market, kind, purpose, fact.side, fact.quantity, fact.venue_id, int(fact.trigger / tick)
    )
    order.booked = fact.filled
    order.filled, order.reduce_only, order.trail_bps = fact.filled, fact.reduce_only, fact.trail_bps


def _differ(state: State, venue: str, what: str, ours: str, theirs: str, out: Out) -> None:
    state.counters.differences += 1
    out.append(Difference(state.now, venue, what, ours, theirs))
    out.append(Alert(state.now, Level.ERROR, f"{venue} and the ledger disagree on the {what}: ours {ours}, theirs {theirs}."))


def _venue(market: str) -> str:
    return market.partition(":")[0]
