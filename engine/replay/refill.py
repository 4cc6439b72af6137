"""Orders of a replayed core in; the venue's answers, by the book that the core sees, out. Pure, in the core's own time.

An order that arrives while that book is not trusted waits for it: nobody knows what it would have found. A limit order rests
behind what its price displays (`fills`), and loses its place when it is amended.
"""

import heapq
from collections.abc import Iterator
from decimal import Decimal

import msgspec

from engine.core import Core
from engine.events import (
    AccountSnapshot,
    AmendOrder,
    AmendRefused,
    BalanceChange,
    BookDelta,
    CancelOrder,
    CancelRefused,
    ConditionalReport,
    Event,
    FetchAccount,
    LeverageSet,
    LookUpOrder,
    Mark,
    OrderAccepted,
    OrderFact,
    OrderKind,
    OrderNotFound,
    OrderRefused,
    OrderReport,
    PositionFact,
    Purpose,
    Quote,
    SendOrder,
    SetLeverage,
    Side,
    TimeInForce,
    Trade,
)
from engine.fills import Resting, queue_fill, queue_shrinks, reaches, take
from engine.portfolio import Position, commission, money

DEPTH = 200  # levels that an order may take
NOT_REDUCING, UNKNOWN_ORDER, WOULD_TRIGGER = -2022, -2011, -2021  # the venue's codes
NOT_FILLABLE, WOULD_TAKE = -5021, -5022
ENDS_KEPT = 1_000  # of orders that are over, for look-ups: the oldest are forgotten
FUNDING = "FUNDING_FEE"


class Refill:
    """One account at the venue. `opening` is what it held when the session began, `delay_ns` how long a request is under way."""

    def __init__(self, delay_ns: int, opening: AccountSnapshot | None) -> None:
        self._delay_ns, self._opening = delay_ns, opening
        self._due: list[tuple[int, int, Event]] = []  # requests on their way, by when they arrive
        self._number = 0
        self._guards: dict[str, SendOrder] = {}
        self._triggers = Triggers()
        self._resting: dict[str, tuple[SendOrder, Resting]] = {}
        self._filled: dict[str, int] = {}  # of orders that are not over
        self._waiting: dict[str, SendOrder] = {}  # at the venue, until the book is trusted
        self._ended: dict[str, str] = {}  # the venue's word on orders that are over
        self._left = [fact for fact in opening.orders if fact.conditional] if opening is not None else []  # by the session before
        self._positions: dict[str, Position] = {}
        self._wallet = opening.wallet if opening is not None else Decimal(10_000)
        self._funding_ms: dict[str, int] = {}
        for fact in opening.positions if opening is not None else ():
            cost = fact.entry * abs(fact.quantity)  # times the step, once the instrument is known
            self._positions[fact.market] = Position(fact.quantity, cost)
        self._unscaled = set(self._positions)

    def asked(self, output: Event) -> None:
        """A request of the core sets out."""
        if isinstance(output, SendOrder | AmendOrder | CancelOrder | LookUpOrder | FetchAccount | SetLeverage):
            self._number += 1
            heapq.heappush(self._due, (output.at + self._delay_ns, self._number, output))

    def until(self, moment: int, core: Core) -> Iterator[Event]:
        """Answers to the requests that arrive before `moment`; each is processed before the next is made."""
        while self._due and self._due[0][0] <= moment:
            at, _, request = heapq.heappop(self._due)
            yield from self._answer(request, at, core)

    def seen(self, event: Event, core: Core) -> Iterator[Event]:
        """What news does to the account: marks trigger guards, funding is due, a book is back, somebody moved money."""
        for order in [one for one in self._waiting.values() if _trusted(one.market, core)] if self._waiting else ():
            del self._waiting[order.client_id]
            yield from self._execute(order, event.at, core)
        if self._resting and isinstance(event, Trade | BookDelta | Quote):
            yield from self._reach_resting(event, core)
        if isinstance(event, BalanceChange) and (self._opening is None or event.at > self._opening.at):
            self._wallet += event.change if event.asset == "USDT" else 0
        if not isinstance(event, Mark):
            return
        yield from self._fund(event, core)
        self._remember(core)
        for order in [guard for guard in self._guards.values() if guard.market == event.market]:
            instrument = core.state.markets[order.market].instrument
            if order.client_id in self._guards and self._triggers.reached(order, event.mark, instrument.tick):
                del self._guards[order.client_id]
                there = f"w{order.client_id}"
                at = event.at
                yield ConditionalReport(
                    at, order.market, order.client_id, there, "TRIGGERED", f"m{order.client_id}", "", at // 10**6
                )
                yield from self._execute(order, at, core)

    def _answer(self, request: Event, at: int, core: Core) -> Iterator[Event]:
        self._remember(core)
        match request:
            case SendOrder():
                yield from self._order(request, at, core)
            case AmendOrder():
                yield from self._amend(request, at, core)
            case CancelOrder():
                yield from self._cancel(request, at)
            case LookUpOrder():
                yield self._look_up(request, at)
            case SetLeverage():
                yield LeverageSet(at, request.market, request.leverage)
            case FetchAccount():
                yield self._snapshot(request, at, core)

    def _order(self, order: SendOrder, at: int, core: Core) -> Iterator[Event]:
        position = self._position(order.market, core).quantity
        if order.reduce_only and position * order.side >= 0:
            self._end(order.client_id, "REJECTED")
            yield OrderRefused(at, order.market, order.client_id, NOT_REDUCING, "ReduceOnly Order is rejected.")
            return
        held = core.state.markets.get(order.market)
        mark = held.mark.mark if held is not None and held.mark is not None else None
        tick = held.instrument.tick if held is not None else Decimal(1)
        if order.kind.conditional and mark is not None and self._triggers.reached(order, mark, tick):
            self._end(order.client_id, "REJECTED")
            yield OrderRefused(at, order.market, order.client_id, WOULD_TRIGGER, "Order would immediately trigger.")
            return
        problem = self._not_taken(order, core)
        if problem is not None:
            self._end(order.client_id, "REJECTED")
            yield OrderRefused(at, order.market, order.client_id, *problem)
            return
        yield OrderAccepted(at, order.market, order.client_id, f"w{order.client_id}")
        if order.kind.conditional:
            self._guards[order.client_id] = order
            yield ConditionalReport(at, order.market, order.client_id, f"w{order.client_id}", "NEW", "", "", at // 10**6)
        else:
            yield from self._execute(order, at, core)

    def _execute(self, order: SendOrder, at: int, core: Core) -> Iterator[Event]:
        """Take the book, level by level; what it does not hold rests or expires."""
        if not _trusted(order.market, core):
            self._waiting[order.client_id] = order
            return
        held = core.state.markets[order.market]
        position = self._position(order.market, core)
        wanted = min(order.quantity, abs(position.quantity)) if order.reduce_only else order.quantity
        if order.reduce_only and position.quantity * order.side >= 0:
            wanted = 0
        wanted = max(wanted - self._filled.get(order.client_id, 0), 0)
        for price, part in take(iter(held.book.top(order.side.other, DEPTH)), {}, order.side, wanted, order.price):
            yield self._fill(order, at, price, part, False, core)
        filled = self._filled.get(order.client_id, 0)
        if filled == order.quantity:
            return
        if wanted and order.kind is OrderKind.LIMIT and order.time_in_force in (TimeInForce.GTC, TimeInForce.GTX):
            self._number += 1
            ahead = held.book.size(order.side, order.price)
            place = Resting(self._number, order.side, order.price, order.quantity - filled, ahead)
            self._resting[order.client_id] = order, place
            yield self._report(order, at, "PARTIALLY_FILLED" if filled else "NEW", filled)
            return
        yield self._report(order, at, "EXPIRED", filled)
        self._end(order.client_id, "EXPIRED")

    def _fill(self, order: SendOrder, at: int, price: int, part: int, maker: bool, core: Core) -> OrderReport:
        held, position = core.state.markets[order.market], self._position(order.market, core)
        filled = self._filled[order.client_id] = self._filled.get(order.client_id, 0) + part
        portfolio = core.state.portfolio
        rate = portfolio.maker_rate(order.market) if maker else portfolio.taker_rate(order.market)
        fee = commission(money(held.instrument, price, part), rate)
        realised = position.apply(held.instrument, order.side, part, price, at)
        self._wallet += realised - fee
        self._number += 1
        status = "FILLED" if filled == order.quantity else "PARTIALLY_FILLED"
        if filled == order.quantity:
            self._end(order.client_id, status)
        return self._report(order, at, status, filled, part, price, fee, realised, maker)

    def _not_taken(self, order: SendOrder, core: Core) -> tuple[int, str] | None:
        """The venue's refusal of a post-only order that would take, and of a fill-or-kill that the book cannot fill."""
        if order.kind is not OrderKind.LIMIT or not _trusted(order.market, core):
            return None
        levels = iter(core.state.markets[order.market].book.top(order.side.other, DEPTH))
        at_hand = sum(part for _, part in take(levels, {}, order.side, order.quantity, order.price))
        if order.time_in_force is TimeInForce.GTX and at_hand:
            return WOULD_TAKE, "Due to the order could not be executed as maker, the Post Only order will be rejected."
        if order.time_in_force is TimeInForce.FOK and at_hand < order.quantity:
            return NOT_FILLABLE, "Due to the order could not be filled immediately, the FOK order has been rejected."
        return None

    def _reach_resting(self, event: Trade | BookDelta | Quote, core: Core) -> Iterator[Event]:
        """A trade at our price works through the queue; beyond it, or a quote there, fills what is left."""
        for order, place in [one for one in self._resting.values() if one[0].market == event.market]:
            book = core.state.markets[order.market].book
            if isinstance(event, Trade):
                if event.side is order.side:
                    continue
                if (order.price - event.price) * order.side > 0:
                    part = place.quantity
                elif order.price == event.price:
                    part, place.queue_ahead = queue_fill(place.queue_ahead, place.quantity, event.size)
                else:
                    continue
            else:
                place.queue_ahead = queue_shrinks(place.queue_ahead, book.size(order.side, order.price))
                best = book.best_ask if order.side is Side.BUY else book.best_bid
                part = place.quantity if book.trusted and best and reaches(order.side, order.price, best) else 0
            if order.reduce_only:
                part = min(part, max(-self._position(order.market, core).quantity * order.side, 0))
            if part:
                place.quantity -= part
                yield self._fill(order, event.at, order.price, part, True, core)

    def _amend(self, wish: AmendOrder, at: int, core: Core) -> Iterator[Event]:
        order, _ = self._resting.pop(wish.client_id, (None, None))
        if order is None:
            yield AmendRefused(at, wish.market, wish.client_id, UNKNOWN_ORDER, "Unknown order sent.")
            return
        changed = msgspec.structs.replace(order, quantity=wish.quantity, price=wish.price)
        filled = self._filled.get(order.client_id, 0)
        if changed.quantity <= filled:
            self._end(order.client_id, "CANCELED")
            yield self._report(changed, at, "CANCELED", filled)
            return
        yield self._report(changed, at, "PARTIALLY_FILLED" if filled else "NEW", filled)
        yield from self._execute(changed, at, core)

    def _report(
        self,
        order: SendOrder,
        at: int,
        status: str,
        filled: int,
        part: int = 0,
        price: int = 0,
        fee: Decimal = Decimal(0),
        realised: Decimal = Decimal(0),
        maker: bool = False,
    ) -> OrderReport:
        there = f"m{order.client_id}" if order.kind.conditional else f"w{order.client_id}"
        return OrderReport(
            at,
            order.market,
            order.client_id,
            there,
            status,
            order.side,
            order.quantity,
            filled,
            order.reduce_only,
            at // 10**6,
            part,
            price,
            self._number if part else 0,
            fee,
            "USDT" if part else "",
            maker,
            realised,
            price=order.price,
        )

    def _cancel(self, request: CancelOrder, at: int) -> Iterator[Event]:
        if (order := self._waiting.pop(request.client_id, None)) is not None:
            self._end(request.client_id, "CANCELED")
            yield self._report(order, at, "CANCELED", 0)
            return
        if (resting := self._resting.get(request.client_id)) is not None:
            filled = self._filled.get(request.client_id, 0)
            self._end(request.client_id, "CANCELED")
            yield self._report(resting[0], at, "CANCELED", filled)
            return
        guard = self._guards.pop(request.client_id, None)
        if guard is None:
            yield CancelRefused(at, request.market, request.client_id, UNKNOWN_ORDER, "Unknown order sent.")
            return
        self._end(request.client_id, "CANCELED")
        there = f"w{request.client_id}"
        yield ConditionalReport(at, request.market, request.client_id, there, "CANCELED", "", "", at // 10**6)

    def _look_up(self, request: LookUpOrder, at: int) -> Event:
        if (resting := self._resting.get(request.client_id)) is not None:
            filled = self._filled.get(request.client_id, 0)
            return self._report(resting[0], at, "PARTIALLY_FILLED" if filled else "NEW", filled)
        alive = request.client_id in self._guards or request.client_id in self._waiting
        status = "NEW" if alive else self._ended.get(request.client_id, "")
        if not status:
            return OrderNotFound(at, request.market, request.client_id)
        there = f"w{request.client_id}"
        if request.conditional:
            word = {"FILLED": "FINISHED"}.get(status, status)
            return ConditionalReport(at, request.market, request.client_id, there, word, "", "", at // 10**6)
        return OrderReport(at, request.market, request.client_id, there, status, Side.BUY, 0, 0, False, at // 10**6)

    def _fund(self, event: Mark, core: Core) -> Iterator[Event]:
        """At the hour, by the rate that was announced for it."""
        due = self._funding_ms.get(event.market, 0)
        self._funding_ms[event.market] = event.next_funding_ms
        held = core.state.markets.get(event.market)
        if not due or event.next_funding_ms <= due or held is None:
            return
        quantity = self._position(event.market, core).quantity
        if not quantity:
            return
        change = -(quantity * held.instrument.step * event.mark * event.funding_rate).quantize(Decimal("0.00000001"))
        self._wallet += change
        venue = event.market.partition(":")[0]
        yield BalanceChange(event.at, venue, FUNDING, "USDT", self._wallet, change, event.market)

    def _snapshot(self, request: FetchAccount, at: int, core: Core) -> AccountSnapshot:
        positions = []
        for market in [*self._positions]:
            held, position = core.state.markets.get(market), self._position(market, core)
            if held is None or not position.quantity:
                continue
            mark = held.mark_price() or position.entry(held.instrument)
            unrealised = position.unrealised(held.instrument, mark)
            positions.append(
                PositionFact(market, position.quantity, position.entry(held.instrument), mark, unrealised, Decimal(0))
            )
        orders = []
        for order in self._guards.values():
            tick = core.state.markets[order.market].instrument.tick
            there, trigger = f"w{order.client_id}", order.trigger * tick
            trail = order.trail_bps
            orders.append(
                OrderFact(order.market, order.client_id, there, order.side, order.quantity, 0, True, True, trigger, trail)
            )
        for order, _ in self._resting.values():
            there, filled = f"w{order.client_id}", self._filled.get(order.client_id, 0)
            reduces = order.reduce_only
            orders.append(
                OrderFact(order.market, order.client_id, there, order.side, order.quantity, filled, reduces, False, Decimal(0))
            )
        return AccountSnapshot(at, request.venue, self._wallet, self._wallet, tuple(positions), tuple(orders), request.at)

    def _position(self, market: str, core: Core) -> Position:
        position = self._positions.setdefault(market, Position())
        if market in self._unscaled and market in core.state.markets:
            self._unscaled.discard(market)
            position.cost *= core.state.markets[market].instrument.step
        return position

    def _remember(self, core: Core) -> None:
        """Guards that rested when the session began are ours from when their market is known."""
        for fact in [one for one in self._left if one.market in core.state.markets] if self._left else ():
            self._left.remove(fact)
            held = core.state.markets[fact.market]
            opening = self._opening.positions if self._opening is not None else ()
            entry = next((one.entry for one in opening if one.market == fact.market), None) or held.mark_price() or fact.trigger
            stops = bool(fact.trail_bps) or (fact.trigger - entry) * fact.side >= 0
            stop = OrderKind.TRAILING if fact.trail_bps else OrderKind.STOP
            self._guards[fact.client_id] = SendOrder(
                core.state.now,
                fact.market,
                fact.client_id,
                stop if stops else OrderKind.TARGET,
                Purpose.STOP if stops else Purpose.TARGET,
                fact.side,
                fact.quantity,
                0,
                int(fact.trigger / held.instrument.tick),
                TimeInForce.GTC,
                True,
                fact.trail_bps,
            )

    def _end(self, client_id: str, status: str) -> None:
        self._resting.pop(client_id, None)
        self._filled.pop(client_id, None)
        self._triggers.forget(client_id)
        self._ended[client_id] = status
        if len(self._ended) > ENDS_KEPT:
            del self._ended[next(iter(self._ended))]


def _trusted(market: str, core: Core) -> bool:
    held = core.state.markets.get(market)
    return held is not None and held.book.trusted


class Triggers:
    """Whether a venue's marks trigger stops and targets; it remembers the best price that a trailing one has seen."""

    def __init__(self) -> None:
        self._best: dict[str, Decimal] = {}

    def reached(self, order: SendOrder, mark: Decimal, tick: Decimal) -> bool:
        if order.kind is not OrderKind.TRAILING:
            falls = (order.side is Side.SELL) == (order.kind is OrderKind.STOP)
            return mark <= order.trigger * tick if falls else mark >= order.trigger * tick
        best = self._best.get(order.client_id, mark)
        self._best[order.client_id] = best = max(best, mark) if order.side is Side.SELL else min(best, mark)
        return (best - mark) * -order.side >= best * order.trail_bps / 10_000

    def forget(self, client_id: str) -> None:
        self._best.pop(client_id, None)
