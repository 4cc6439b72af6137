"""Wishes in, orders out: sizing, the gate of `risk`, sending, cancelling, halting and flattening."""

import math
from collections.abc import Callable
from itertools import islice

from engine import action, risk
from engine.config import Settings, timeframe_ms
from engine.core import across
from engine.core.state import CAUSES_KEPT, CHANGES_KEPT, FINAL_ORDERS_KEPT, Cause, MarketState, State
from engine.events import (
    Alert,
    Bar,
    Bias,
    CancelOrder,
    Decided,
    Event,
    Features,
    LatchHalt,
    Level,
    OrderChanged,
    OrderKind,
    OrderState,
    Purpose,
    Side,
    Stance,
    TimeInForce,
    Trading,
    TradingChanged,
)
from engine.execution import orders
from engine.execution.orders import Order
from engine.judgment import record
from engine.processor.features import spread_bps
from engine.strategy import Now, chosen

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000
MINUTE_NS = 60_000_000_000
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
CANCEL_AGAIN_NS = 1_000_000_000
LEVELS_AT_HAND = 200
FORGOTTEN_TOGETHER = 50  # finished orders
EXIT_AGAIN_NS = 500_000_000  # a refused exit is not repeated at the speed of the network

Lap = Callable[[str], None]


class Out(list[Event]):
    """What follows from an event, in order. A core that was handed a stopwatch tells it by `lap` where a stage ends."""

    watch: Lap | None = None

    def lap(self, stage: str) -> None:
        if self.watch is not None:
            self.watch(stage)


def context(state: State, settings: Settings, held: MarketState, side: Side | None = None) -> risk.Context:
    """Everything that limits look at, as it is now, for an order of `side`: entries the other way may never fill, and take
    nothing off what this one adds.
    """
    instrument, book = held.instrument, held.book
    tick, step = float(instrument.tick), float(instrument.step)
    price, spread = _priced(held)
    pending = sum(
        order.side * order.outstanding
        for order in (*state.live_orders(), *(state.orders[name] for name in state.unbooked))
        if order.market == instrument.market and order.adds_exposure and not order.kind.conditional and side in (None, order.side)
    )
    others = 0.0
    for market, other in state.markets.items():
        quantity = state.portfolio.quantity(market)
        other_mark = other.mark_price()
        if other is not held and quantity and other_mark is not None:
            others += abs(quantity) * float(other.instrument.step) * float(other_mark)
    return risk.Context(
        state.trading,
        book.trust,
        book.reason,
        not_ready(state, held),
        price,
        step,
        tick,
        spread,
        across.divergence(state, held),
        float(state.equity()),
        float(state.portfolio.day_equity),
        state.portfolio.quantity(instrument.market),
        pending,
        others,
        state.unknown_orders(instrument.market),
        sum(1 for at, *_ in state.entries if state.now - at < MINUTE_NS),
        instrument.min_quantity,
        instrument.max_market_quantity,
        float(instrument.min_notional),
        float(state.portfolio.peak_equity),
        (state.now - held.lost_at) / NS_PER_S if held.lost_at else math.inf,
        sum(1 for at in held.stops_at if state.now - at <= settings.risk.stop_guard_bars * timeframe_ms(settings) * NS_PER_MS),
        *_funding(state, held),
        float(held.mark.mark) if held.mark is not None else 0.0,
        tuple(other.mid for other in across.elsewhere(state, held) if other.book.trusted),
        tuple(
            (sent_side, steps, limit)
            for at, market, sent_side, steps, limit in state.entries
            if market == instrument.market and state.now - at < settings.risk.duplicate_window_s * NS_PER_S
        ),
        *_judged(state, settings, held, price),
    )


def to_reduce(state: State, held: MarketState) -> risk.Context:
    """`context` for what only reduces a position."""
    return risk.to_reduce(*_priced(held), state.portfolio.quantity(held.instrument.market))


def _priced(held: MarketState) -> tuple[float, float]:
    """The price in quote units (the mark's without both sides, 0 without one) and the spread in basis points."""
    book = held.book
    if book.best_bid and book.best_ask:
        mid = (book.best_bid + book.best_ask) / 2
        return mid * float(held.instrument.tick), (book.best_ask - book.best_bid) / mid * 10_000
    mark = held.mark_price()
    return float(mark) if mark is not None else 0.0, math.inf


def _judged(state: State, settings: Settings, held: MarketState, price: float) -> tuple[float, float, float, float, float, float]:
    """Age, drift, confidence and risk of the stance in force, with the limits of the last two."""
    stance, limits = held.stance, settings.judgment
    if stance is None:
        return math.inf, math.inf, 0.0, limits.min_confidence, 1.0, limits.max_risk_score
    drift = abs(price / stance.price - 1.0) * 10_000 if stance.price > 0.0 else 0.0
    age = (state.now - stance.made_at) / NS_PER_S
    return age, drift, stance.confidence, limits.min_confidence, stance.risk_score, limits.max_risk_score


def _funding(state: State, held: MarketState) -> tuple[float, float]:
    """Seconds to the next settlement and its rate in basis points; never and 0 where it is not known."""
    due = held.next_funding()
    if due is None:
        return math.inf, 0.0
    rate, next_ms = due
    left_s = (next_ms - held.clock_offset_ms) / 1000 - state.now / NS_PER_S
    return (left_s if left_s >= 0.0 else math.inf), float(rate) * 10_000


def cost_bps(state: State, held: MarketState) -> float:
    """Of going in and out at market: two commissions and the spread."""
    spread = spread_bps(held.book.best_bid, held.book.best_ask)
    return 2e4 * float(state.portfolio.taker_rate(held.instrument.market)) + (0.0 if math.isnan(spread) else spread)


def not_ready(state: State, held: MarketState) -> str:
    """Why the account cannot be traded on yet, "" when it can."""
    if state.account and held.venue != state.account:
        return f"orders go to {state.account}, and this market is watched only"
    if state.unrecorded:
        return f"no entry is made that cannot be recorded: {state.unrecorded}"
    if state.recovering:
        return "the session before this one is being read"
    if not state.private_up:
        return "the account's private stream is not connected"
    if not state.reconciled:
        return "orders and positions have not been compared with the venue yet"
    if not held.leverage:
        return "the venue has not confirmed the leverage"
    if held.instrument.market not in state.portfolio.fee_rates:
        return "the venue has not told its commission rates"
    return ""


def consider(state: State, settings: Settings, held: MarketState, features: Features, bar: Bar, out: Out) -> None:
    """A bar of the strategy's timeframe closed: let the strategy decide and act on it."""
    market = held.instrument.market
    if state.trading is not Trading.ARMED:
        held.outcome = f"nothing: trading is {state.trading.value}"
        return
    under_way = [order for order in state.open_orders(market) if order.purpose in (Purpose.ENTRY, Purpose.EXIT)]
    if any(not order.rests for order in under_way):
        return
    position = state.portfolio.position(market).quantity
    cooling = held.bars_since_close < settings.strategy.cooldown_bars
    wish = action.decide(
        seen(state, settings, held, features, bar, held.stance, position, cooling), held.memory, settings.strategy
    )
    if wish.side is None:
        held.outcome = f"nothing: {wish.reason}"
    elif wish.leave:
        leave(state, settings, held, wish.reason, out)
    elif any(order.purpose is Purpose.ENTRY for order in under_way):
        held.outcome = "nothing: an entry order rests in the book"
    else:
        enter(state, settings, held, wish.side, wish.reason, features.atr_14, out)


def seen(
    state: State,
    settings: Settings,
    held: MarketState,
    features: Features,
    bar: Bar,
    stance: Stance | None,
    position: int,
    cooling: bool,
) -> Now:
    """The market as the strategy sees it."""
    tick, step = float(held.instrument.tick), float(held.instrument.step)
    cost = cost_bps(state, held)
    return action.look(features, bar, tick, step, stance, position, state.now, settings, cooling, cost)


def enter(state: State, settings: Settings, held: MarketState, side: Side, reason: str, atr: float, out: Out) -> None:
    """Size an entry, take it through the gate, send it."""
    instrument, book = held.instrument, held.book
    look = context(state, settings, held, side)
    expected = book.best_ask if side is Side.BUY else book.best_bid
    planned = action.plan(look.price, atr, settings.strategy)
    stance = held.stance
    follows = chosen(settings.strategy)[0].follows
    cap = stance.size_cap if stance is not None and follows else 1.0
    known = evidence(state, held, stance, planned)
    if problem := action.no_stake(settings.strategy, known):
        held.outcome = f"nothing: {problem}"
        return
    wanted = action.size(settings.strategy, look.equity, look.price, planned, known) * min(cap, 1.0)
    # The gate measures the loss from the price to the stop's tick, so room is asked for that distance.
    stop = action.stop_tick(expected, side, planned.stop_distance, look.tick)
    distance = max(abs(look.price - stop * look.tick), look.tick)
    quantity = min(int(wanted / look.step), risk.entry_room(look, settings.risk, distance))
    target = expected + side * max(round(planned.target_distance / look.tick), 1)
    by = "" if follows else settings.strategy.name
    planned_at = (expected, stop, target)
    intent = risk.Intent(instrument.market, Purpose.ENTRY, side, quantity, *planned_at, reason, judged=follows, strategy=by)
    approved = gate(state, settings, held, intent, look, out)
    if approved is not None:
        held.plan = planned
        send(state, approved, OrderKind.MARKET, 0, out)


def evidence(state: State, held: MarketState, stance: Stance | None, planned: action.Plan) -> action.Evidence:
    """What outcomes say of a stance: a model's by its record of scored judgments, which earlier sessions began; the rules' by
    the trades that they closed on paper in this one.
    """
    if stance is None or stance.bias is Bias.HOLD:
        return action.NO_EVIDENCE
    if stance.question:
        judge = state.judges.get("model")
        if judge is None or judge.record is None or not planned.target_distance:
            return action.NO_EVIDENCE
        up = 0.5 + record.believed(judge.record) * (record.clamp(stance.raw_chance) - 0.5)
        chance = up if stance.bias is Bias.LONG else 1.0 - up
        win = action.win_chance(chance, planned.stop_distance, planned.target_distance)
        return action.Evidence(judge.record.independent, win, planned.target_distance / planned.stop_distance)
    paper = held.papers.get("rules alone")
    if paper is None or not paper.closed:
        return action.NO_EVIDENCE
    losses = paper.closed - paper.wins
    if not paper.wins or not losses or not paper.lost:  # all of one kind: there is no ratio of the two yet
        return action.Evidence(paper.closed)
    return action.Evidence(paper.closed, paper.wins / paper.closed, (paper.won / paper.wins) / (paper.lost / losses))


def leave(state: State, settings: Settings, held: MarketState, reason: str, out: Out, share: float = 1.0, most: int = 0) -> None:
    """Close that share of the position at market, reduce-only, unless that is under way; no more than `most` steps (0: any) and
    than the venue takes in one order. A part below its smallest order is all of it.
    """
    market = held.instrument.market
    quantity = state.portfolio.position(market).quantity
    if not quantity or any(order.purpose is Purpose.EXIT and not order.rests for order in state.open_orders(market)):
        return
    if state.now - held.exit_refused_at < EXIT_AGAIN_NS:
        return  # whoever wants it asks at each tick
    side = Side.SELL if quantity > 0 else Side.BUY
    price = held.book.best_bid if side is Side.SELL else held.book.best_ask
    part = action.exit_steps(abs(quantity), share, most, held.instrument.min_quantity, held.instrument.max_market_quantity)
    intent = risk.Intent(market, Purpose.EXIT, side, part, price, reason=reason)
    approved = gate(state, settings, held, intent, to_reduce(state, held), out)
    if approved is not None:
        send(state, approved, OrderKind.MARKET, 0, out)


def gate(
    state: State, settings: Settings, held: MarketState, intent: risk.Intent, look: risk.Context, out: Out
) -> risk.Approved | None:
    """Ask `risk`; both answers are told."""
    out.lap("decision")
    verdict = risk.approve(intent, look, settings.risk)
    out.lap("risk")
    approved = isinstance(verdict, risk.Approved)
    reason = intent.reason if isinstance(verdict, risk.Approved) else verdict.reason
    stance = held.stance if intent.judged else None
    judgment = stance.question if stance is not None else ""
    mid = look.price if look.spread_bps < math.inf else 0.0
    decided = Decided(
        state.now, intent.market, intent.purpose, intent.side, intent.quantity, approved, reason, judgment, round(mid, 12)
    )
    out.append(decided)
    if intent.purpose in (Purpose.ENTRY, Purpose.EXIT):
        held.outcome = f"{intent.purpose.value} {'sent' if approved else 'refused'}: {reason}"
    if isinstance(verdict, risk.Approved):
        state.counters.approvals += 1
        return verdict
    state.counters.refusals += 1
    state.refusal = reason
    return None


def send(
    state: State,
    approved: risk.Approved,
    kind: OrderKind,
    trigger: int,
    out: Out,
    price: int = 0,
    time_in_force: TimeInForce = TimeInForce.GTC,
    trail_bps: int = 0,
) -> Order:
    """Make the order and ask for it to be sent; its id is the session's next."""
    intent = approved.intent
    number = state.next_order
    state.next_order += 1
    order = Order(
        f"bt{state.session}{base36(number)}",
        intent.market,
        kind,
        intent.purpose,
        intent.side,
        intent.quantity,
        price,
        trigger,
        time_in_force,
        intent.reduces,
        state.now,
        trail_bps,
    )
    state.add(order)
    _explain(state, order.client_id, intent)
    state.counters.orders += 1
    if intent.purpose is Purpose.ENTRY:
        recent = [one for one in state.entries if state.now - one[0] < MINUTE_NS]
        state.entries = [*recent, (state.now, intent.market, int(intent.side), intent.quantity, intent.limit)]
    tell(state, order, orders.move(order, OrderState.SENT, state.now, intent.reason), out)
    out.append(order.request(state.now))
    return order


def _explain(state: State, client_id: str, intent: risk.Intent) -> None:
    """Keep why an order exists."""
    held = state.markets[intent.market]
    judged = intent.judged or intent.purpose is Purpose.EXIT
    stance = held.stance if judged else None
    question = held.questions.get(stance.question) if stance is not None else None
    entry = "" if intent.purpose is Purpose.ENTRY else held.entry_order
    asked_at = question.at if question is not None else 0
    cause = Cause(intent.market, state.now, stance, asked_at, intent.reason, held.mid, entry, strategy=intent.strategy)
    state.causes[client_id] = cause
    if intent.purpose is Purpose.ENTRY:
        held.entry_order = client_id
    if len(state.causes) > CAUSES_KEPT:  # those of orders that are alive stay: their fills are booked by them
        over = len(state.causes) - CAUSES_KEPT
        for name in list(islice((name for name in state.causes if name not in state.alive), over)):
            del state.causes[name]


def cancel(state: State, order: Order, out: Out) -> None:
    tell(state, order, orders.ask_cancel(order, state.now), out)
    state.counters.cancels += 1
    out.append(CancelOrder(state.now, order.market, order.client_id, order.venue_id, order.kind.conditional))


def cancel_entries(state: State, out: Out) -> None:
    """Cancel everything that could add exposure and is still alive; asked again every second until it is gone."""
    for order in state.live_orders():
        if order.adds_exposure and state.now - order.cancel_asked_at >= CANCEL_AGAIN_NS:
            cancel(state, order, out)


def set_trading(state: State, trading: Trading, reason: str, out: Out) -> None:
    if (trading, reason) != (state.trading, state.trading_reason):
        state.trading, state.trading_reason = trading, reason
        out.append(TradingChanged(state.now, trading, reason))


def halt(state: State, reason: str, out: Out) -> None:
    """Latch: no order that adds exposure is made any more and those that rest are cancelled; stops stay."""
    if state.trading is not Trading.HALTED:
        out.append(LatchHalt(state.now, reason))
        set_trading(state, Trading.HALTED, reason, out)
        text = f"Trading is halted: {reason}. Stops stay; release with `barter-tui release`."
        out.append(Alert(state.now, Level.WARNING, text))
    cancel_entries(state, out)


def close(state: State, settings: Settings, market: str, who: str, out: Out) -> str:
    """An operator's wish to be flat in a market; returns why not, "" when it is under way."""
    held = state.markets.get(market)
    if held is None or not state.portfolio.position(market).quantity:
        return "there is no position to close"
    held.closing = f"closed by {who}"
    go_on_closing(state, settings, held, out)
    return ""


def go_on_closing(state: State, settings: Settings, held: MarketState, out: Out) -> None:
    """The next slice of a position that an operator closes, until nothing is left."""
    if not state.portfolio.position(held.instrument.market).quantity:
        held.closing = ""
    elif held.closing:
        leave(state, settings, held, held.closing, out)


def cancel_one(state: State, client_id: str, out: Out) -> str:
    """An operator's wish to cancel an order; returns why not. A stop stays: without it the position would be bare."""
    order = state.orders.get(client_id)
    if order is None or not order.open:
        return "there is no such open order"
    if order.purpose is Purpose.STOP and state.portfolio.position(order.market).quantity:
        return "the stop protects the position; close the position instead"
    cancel(state, order, out)
    return ""


def flatten(state: State, settings: Settings, out: Out) -> None:
    """Close whatever is open, in slices that the book can take; called until nothing is."""
    for held in state.markets.values():
        quantity = state.portfolio.position(held.instrument.market).quantity
        if quantity:
            slice_ = at_hand(held, Side.SELL if quantity > 0 else Side.BUY, settings.risk.flatten_within_bps)
            leave(state, settings, held, "flatten", out, most=slice_)


def at_hand(held: MarketState, side: Side, within_bps: float) -> int:
    """Steps that an aggressor of `side` finds so near the best price; 0 (any) where the book is not trusted: it must get out."""
    book = held.book
    best = book.best_bid if side is Side.SELL else book.best_ask
    if not book.trusted or not best:
        return 0
    reach = best * within_bps / 10_000
    levels = book.top(side.other, LEVELS_AT_HAND)
    return max(sum(size for price, size in levels if abs(price - best) <= reach), 1)


def tell(state: State, order: Order, change: orders.Change, out: Out) -> None:
    """Make a state change known and keep the memory of finished orders bounded."""
    if change is None:
        return
    before, after = change
    if after is OrderState.UNKNOWN:
        state.counters.unknown += 1
    if after is OrderState.REJECTED:
        state.counters.rejects += 1
    out.append(OrderChanged(state.now, order.market, order.client_id, before, after, order.reason))
    if (cause := state.causes.get(order.client_id)) is not None:
        cause.changes.append((state.now, after, order.reason))
        del cause.changes[:-CHANGES_KEPT]
    if not after.final:
        state.alive[order.client_id] = None  # the venue may know an order that we had given up
        return
    if order.client_id in state.alive:
        del state.alive[order.client_id]
        state.brackets.pop(order.client_id, None)
        if order.filled > order.booked:
            state.unbooked[order.client_id] = None
        state.final_orders.append(order.client_id)
        if len(state.final_orders) > FINAL_ORDERS_KEPT:
            _forget_oldest(state)


def _forget_oldest(state: State) -> None:
    """Many finished orders at once: all ids are looked through for it, and an order may be waiting."""
    gone = {name for name in state.final_orders[:FORGOTTEN_TOGETHER] if name in state.orders and name not in state.alive}
    del state.final_orders[:FORGOTTEN_TOGETHER]
    for name in gone:
        del state.orders[name]
        state.unbooked.pop(name, None)
    state.by_venue_id = {there: ours for there, ours in state.by_venue_id.items() if ours not in gone}


def base36(number: int) -> str:
    text = ""
    while number:
        number, digit = divmod(number, 36)
        text = DIGITS[digit] + text
    return text.rjust(4, "0")
