"""The core's outputs and its view in, whole sentences out, one fact a line: for screen readers and braille.

What is about money, orders, trading and trust is said at once; of what only moves, one sentence a second at most.
"""

from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import TYPE_CHECKING

from console import format as show
from engine.events import (
    Decided,
    Event,
    Filled,
    FundingPaid,
    Judged,
    Mode,
    OrderChanged,
    OrderState,
    Side,
    StanceEnded,
    Trading,
    TradingChanged,
    Trust,
    TrustChanged,
)

if TYPE_CHECKING:
    from engine.core.state import State
    from engine.core.view import MarketView, View
    from engine.runtime.summary import Summary

MODES = {
    Mode.DEMO: "This is demo: play money at a simulated venue",
    Mode.PAPER: "This is paper: real prices, and orders at a simulated venue",
    Mode.TESTNET: "This is testnet: orders go to the venue's test network",
    Mode.LIVE: "This is live: orders are for real money",
}
TRADING = {Trading.OFF: "Trading is off", Trading.ARMED: "Trading is armed", Trading.HALTED: "Trading is halted"}
ENDED = {
    OrderState.WORKING: "is working at the venue",
    OrderState.FILLED: "is filled",
    OrderState.CANCELLED: "is cancelled",
    OrderState.EXPIRED: "has expired",
    OrderState.REJECTED: "was rejected",
    OrderState.UNKNOWN: "may or may not have reached the venue",
}


class Plain:
    """`hear` takes each output of the core, `second` a view once a second; both hand sentences to `say`."""

    def __init__(self, state: "State", say: Callable[[str], None]) -> None:
        self._state, self._say = state, say
        self._moved: dict[str, str] = {}  # what only moves, as it was said last; the one that was said longest ago first
        self._bias = self._refusal = self._ready = ""
        self._trading: Trading | None = None
        self._begun = False

    def begin(self, mode: Mode) -> None:
        self._say(sentence(MODES[mode]))

    def hear(self, event: Event) -> None:
        for words in self._sentences(event):
            self._say(sentence(words))

    def second(self, view: "View") -> None:
        if not view.markets:
            return
        first = view.markets[0]
        if not self._begun:
            self._begun = True
            self._say(sentence(f"The market that is traded is {show.market_name(first.market)}"))
            self._say(sentence(_held(Decimal(first.position), first.position.lstrip("-"), _base(first))))
        self._traded(view.trading, view.trading_reason)
        if view.ready != self._ready:
            self._ready = view.ready
            if view.ready:
                self._say(sentence(f"Entries wait for this: {view.ready}"))
        self._move(view, first)

    def _move(self, view: "View", first: "MarketView") -> None:
        total = Decimal(view.realised) + Decimal(view.unrealised) - Decimal(view.fees) + Decimal(view.funding)
        now = {"profit": f"The session has made {_gain(total)} USDT"}
        if first.trust is Trust.TRUSTED and first.bid and first.ask:
            now["price"] = f"{_base(first)} trades between {first.bid} and {first.ask}"
        if Decimal(first.position):
            now["open"] = f"The open position stands at {_gain(Decimal(first.unrealised))} USDT"
        waiting = sorted(now, key=lambda name: list(self._moved).index(name) if name in self._moved else -1)
        for name in waiting:
            if self._moved.get(name) != now[name]:
                self._moved.pop(name, None)
                self._moved[name] = now[name]
                self._say(sentence(now[name]))
                return

    def _sentences(self, event: Event) -> Iterator[str]:
        traded = self._state.traded
        first = traded.instrument.market if traded is not None else ""
        match event:
            case Filled():
                yield from self._filled(event)
            case OrderChanged() if event.after in ENDED and event.before is not event.after:
                reason = "" if event.after in (OrderState.WORKING, OrderState.FILLED) else event.reason
                yield _because(f"{self._order(event)} {ENDED[event.after]}", reason)
            case Decided() if not event.approved and event.reason != self._refusal:
                self._refusal = event.reason
                yield _because(f"An {event.purpose.value} to {_verb(event.side)} was refused", event.reason)
            case TradingChanged():
                self._traded(event.trading, event.reason)
            case FundingPaid():
                done = "received" if event.amount > 0 else "paid"
                yield f"Funding of {abs(event.amount):f} USDT was {done} for {show.market_name(event.market, short=True)}"
            case Judged() if event.stance.market == first and event.stance.bias.value != self._bias:
                stance, self._bias = event.stance, event.stance.bias.value
                who = "The rules say" if stance.source == "rules" else f"The judge {stance.source} says"
                yield f"{who} {stance.bias.value}, {stance.confidence:.0%} sure"
            case StanceEnded() if event.market == first:
                yield _because("The judgment ended", event.reason)
            case TrustChanged() if event.market == first:
                name = show.market_name(event.market)
                old = _because(f"The prices of {name} are not trusted, and no entry is made on them", event.reason)
                yield f"The prices of {name} are trusted" if event.trust is Trust.TRUSTED else old

    def _traded(self, trading: Trading, reason: str) -> None:
        """Once for each change: a session may begin with what was latched before it."""
        if trading is not self._trading:
            self._trading = trading
            self._say(sentence(_because(TRADING[trading], reason)))

    def _filled(self, fill: Filled) -> Iterator[str]:
        held = self._state.markets.get(fill.market)
        if held is None:
            return
        one = held.instrument
        size, price = show.ticks(fill.quantity, one.step), show.ticks(fill.price, one.tick)
        yield f"{'Bought' if fill.side is Side.BUY else 'Sold'} {size} {one.base} at {price}"
        yield f"The fee was {fill.fee:f} {one.quote}"
        if fill.realised:
            yield f"That realised {_gain(fill.realised)} {one.quote}"
        yield _held(Decimal(fill.position), show.ticks(abs(fill.position), one.step), one.base)

    def _order(self, event: OrderChanged) -> str:
        order, held = self._state.orders.get(event.client_id), self._state.markets.get(event.market)
        if order is None or held is None:
            return f"The order {event.client_id}"
        one = held.instrument
        price = order.price_text(one.tick)
        where = f" at {price}" if price else " at the market"
        return f"The {order.purpose.value} order to {_verb(order.side)} {show.ticks(order.quantity, one.step)} {one.base}{where}"


def ending(summary: "Summary") -> Iterator[str]:
    """What a run came to."""
    yield sentence(f"The session lasted {summary.seconds:.0f} seconds")
    yield sentence(f"It made {_gain(Decimal(summary.pnl))} USDT")
    yield sentence(f"The fees were {show.money(summary.fees)} USDT")
    yield sentence(f"Funding came to {show.money(summary.funding, sign=True)} USDT")
    counts = _many(summary.judgments, "judgment"), _many(summary.orders, "order"), _many(summary.fills, "fill")
    yield sentence(f"It had {counts[0]}, {counts[1]} and {counts[2]}")
    yield sentence(f"The wallet holds {show.money(summary.wallet)} USDT")
    if summary.agreement.compared:
        same = "equals" if summary.agreement.equal else "does not equal"
        yield sentence(f"The ledger {same} the venue's account")
    for position in summary.positions:
        if Decimal(position.quantity):
            stop = f"with a stop at {position.stop}" if position.stop else "without a stop"
            side = "short" if position.quantity.startswith("-") else "long"
            name = show.market_name(position.market)
            yield sentence(f"A {side} position of {position.quantity.lstrip('-')} in {name} is left open, {stop}")


def sentence(words: str) -> str:
    """On one line, of printable letters alone, with a capital and a full stop."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in words).split()).rstrip(".")
    return f"{line[:1].upper()}{line[1:]}."


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _because(words: str, reason: str) -> str:
    return f"{words}: {reason}" if reason else words


def _verb(side: Side) -> str:
    return "buy" if side is Side.BUY else "sell"


def _base(view: "MarketView") -> str:
    return show.market_name(view.market, short=True)


def _held(quantity: Decimal, size: str, base: str) -> str:
    return f"You are {'long' if quantity > 0 else 'short'} {size} {base}" if quantity else f"You hold no {base}"


def _gain(value: Decimal) -> str:
    shown = show.money(str(abs(value)))
    return f"a {'gain' if value > 0 else 'loss'} of {shown}" if Decimal(shown.replace(",", "")) else "no gain and no loss, 0.00"
