"""A typed line in; the command that it means, with what was understood in words, or the reason why it means nothing, out. Pure.

The engine and its limits decide what becomes of it: here is only what a line can be wrong about.
"""

from collections.abc import Iterator, Sequence
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import NamedTuple

from engine.events import Action, OrderKind, Side, Ticket, TimeInForce

# What may be typed, and what it means: the dialog, its completion and the README show this table.
LINES: tuple[tuple[str, str], ...] = (
    ("buy 500", "Buy 500 at the market; `sell` likewise. The strategy's stop goes with it"),
    ("buy 300usdt", "The same for 300 USDT, at the price of now"),
    ("buy 500 @ 1.2040 post", "A limit order; `post` never takes, `ioc` takes what there is, `fok` all of it or nothing"),
    ("buy 500 @ bid", "At the best bid, or the best `ask`"),
    ("buy 500 stop 1.19 target 1.25", "A bracket: stop and target follow what is filled"),
    ("buy 500 trail 0.5", "Its stop follows the best price at 0.5 %"),
    ("sell all reduce", "Only reduces the position; `half` or a size as well, and a limit"),
    ("stop 1.19", "Another stop for the position; `target 1.25` and `trail 0.5` likewise"),
    ("amend 400 @ 1.2050", "Another size and price for the order selected in orders, or for the only one that rests"),
)
WORDS = ("buy", "sell", "amend", "stop", "target", "trail", "post", "ioc", "fok", "reduce", "all", "half", "bid", "ask", "@")
FLAGS = {"post": TimeInForce.GTX, "ioc": TimeInForce.IOC, "fok": TimeInForce.FOK}
FLAG_NAMES = {
    TimeInForce.GTC: "",
    TimeInForce.GTX: ", post-only",
    TimeInForce.IOC: ", immediate or cancel",
    TimeInForce.FOK: ", fill or kill",
}
K = OrderKind


class Facts(NamedTuple):
    """What a line is read against: ticks, steps, the market's best prices (ticks, 0 for none) and the signed position (steps)."""

    base: str
    quote: str
    tick: Decimal
    step: Decimal
    bid: int
    ask: int
    position: int = 0
    selected: str = ""  # the client id of the order that `amend` means
    selected_side: Side = Side.BUY


class Understood(NamedTuple):
    action: Action
    target: str  # an order's client id, "" for the market
    ticket: Ticket
    words: str


class LineError(ValueError):
    """A sentence for the one who types."""


def read(line: str, facts: Facts) -> Understood:
    """Raises LineError."""
    words = line.lower().replace("@", " @ ").split()
    if not words:
        raise LineError("Type an order, for example: buy 500 @ bid post")
    rest = iter(words[1:])
    match words[0]:
        case "buy" | "b":
            return _order(Side.BUY, rest, facts)
        case "sell" | "s":
            return _order(Side.SELL, rest, facts)
        case "amend":
            return _amend(rest, facts)
        case "stop" | "target" | "trail":
            return _guard(words[0], rest, facts)
    raise LineError(f"{words[0]!r} is no command; there are buy, sell, amend, stop, target and trail")


def complete(line: str) -> str:
    """The line with its last word completed, "" where nothing or more than one thing would do."""
    start, _, word = line.rpartition(" ")
    found = [known for known in WORDS if word and known.startswith(word.lower()) and known != word.lower()]
    return f"{start} {found[0]}".lstrip() if len(found) == 1 else ""


def _order(side: Side, rest: Iterator[str], facts: Facts) -> Understood:
    size = next(rest, "")
    if not size:
        raise LineError(f"How much? In {facts.base}, or with {facts.quote.lower()} behind it, or all, half")
    price = stop = target = trail = 0
    tif, reduces = TimeInForce.GTC, False
    for word in rest:
        if word == "@":
            price = _price(next(rest, ""), facts, "limit")
        elif word == "stop":
            stop = _price(next(rest, ""), facts, word)
        elif word == "target":
            target = _price(next(rest, ""), facts, word)
        elif word == "trail":
            trail = _bps(next(rest, ""))
        elif word == "reduce":
            reduces = True
        elif word in FLAGS:
            tif = FLAGS[word]
        else:
            raise LineError(f"{word!r} was not understood")
    if tif is not TimeInForce.GTC and not price:
        raise LineError("post, ioc and fok belong to a limit: add @ and a price")
    now = price or (facts.ask if side is Side.BUY else facts.bid)
    quantity = _size(size, side, facts, now)
    kind = K.LIMIT if price else K.MARKET
    ticket = Ticket(side, kind, quantity, price, 0, tif, reduces, stop, target, trail)
    return Understood(Action.ORDER, "", ticket, _in_words(ticket, facts, now))


def _in_words(ticket: Ticket, facts: Facts, now: int) -> str:
    verb = "Buy" if ticket.side is Side.BUY else "Sell"
    at = f"limit {_ticks(ticket.price, facts)}{FLAG_NAMES[ticket.time_in_force]}" if ticket.price else "at the market"
    text = f"{verb} {_steps(ticket.quantity, facts)} {facts.base}, {at}"
    text += ", only to reduce" if ticket.reduce_only else ""
    for name, price in (("stop", ticket.stop), ("target", ticket.target)):
        if price:
            text += (
                f", {name} {_ticks(price, facts)} ({(price / now - 1) * 100:+.2f} %)"
                if now
                else f", {name} {_ticks(price, facts)}"
            )
    text += f", a stop that trails by {ticket.trail_bps / 100:g} %" if ticket.trail_bps else ""
    worth = ticket.quantity * facts.step * now * facts.tick
    return f"{text}: {worth:,.2f} {facts.quote}" if now else text


def _guard(name: str, rest: Iterator[str], facts: Facts) -> Understood:
    if not facts.position:
        raise LineError(f"There is no position for a {name}; an entry takes its own: buy 500 {name} ...")
    side = Side.SELL if facts.position > 0 else Side.BUY
    held = f"{_steps(abs(facts.position), facts)} {facts.base}"
    if name == "trail":
        bps = _bps(next(rest, ""))
        ticket = Ticket(side, K.TRAILING, 0, reduce_only=True, trail_bps=bps)
        words = f"The stop of the position of {held} trails by {bps / 100:g} %"
    else:
        trigger = _price(next(rest, ""), facts, name)
        ticket = Ticket(side, K.STOP if name == "stop" else K.TARGET, 0, trigger=trigger, reduce_only=True)
        words = f"The {name} of the position of {held} at {_ticks(trigger, facts)}"
    if (more := next(rest, "")) != "":
        raise LineError(f"{more!r} was not understood")
    return Understood(Action.ORDER, "", ticket, words)


def _amend(rest: Iterator[str], facts: Facts) -> Understood:
    if not facts.selected:
        raise LineError("Which order? Select one that rests, in orders")
    size, at, price = next(rest, ""), next(rest, ""), next(rest, "")
    if not size or at != "@":
        raise LineError("Amend to what? For example: amend 400 @ 1.2050")
    ticks = _price(price, facts, "limit")
    ticket = Ticket(facts.selected_side, K.LIMIT, _size(size, facts.selected_side, facts, ticks), ticks)
    words = f"The order {facts.selected} becomes {_steps(ticket.quantity, facts)} {facts.base}, limit {_ticks(ticks, facts)}"
    return Understood(Action.AMEND, facts.selected, ticket, words)


def _price(word: str, facts: Facts, name: str) -> int:
    near = {"bid": facts.bid, "ask": facts.ask}
    if word in near:
        if not near[word]:
            raise LineError(f"There is no {word} now")
        return near[word]
    price = _number(word, f"the {name}'s price")
    ticks = price / facts.tick
    if ticks != int(ticks):
        below = int(ticks.to_integral_value(ROUND_FLOOR))
        raise LineError(f"{word} is between two ticks: {_ticks(below, facts)} and {_ticks(below + 1, facts)} exist")
    if ticks > 10**12:
        raise LineError(f"{word} is no price")
    return int(ticks)


def _size(word: str, side: Side, facts: Facts, price: int) -> int:
    if word in ("all", "half"):
        if facts.position * side >= 0:
            raise LineError(f"{word} means the position, and that is not closed by this side")
        held = abs(facts.position)
        return held if word == "all" else max(held // 2, 1)
    quote = facts.quote.lower()
    if word.endswith(quote):
        if not price:
            raise LineError("There is no price now to turn that into a size")
        steps = _number(word.removesuffix(quote), "the size") / (price * facts.tick * facts.step)
        steps = steps.to_integral_value(ROUND_FLOOR)
    else:
        steps = _number(word, "the size") / facts.step
        if steps != int(steps):
            raise LineError(f"{word} is no multiple of {facts.step:f} {facts.base}, the smallest step")
    if not 0 < steps < 10**15:
        raise LineError(f"{word} is no size")
    return int(steps)


def _bps(word: str) -> int:
    percent = _number(word.removesuffix("%"), "the trailing distance in percent")
    bps = percent * 100
    if bps != int(bps):
        raise LineError(f"{word} is too fine: a trailing distance is whole hundredths of a percent")
    return int(bps)


def _number(word: str, what: str) -> Decimal:
    try:
        value = Decimal(word.replace(",", ""))
    except InvalidOperation:
        raise LineError(
            f"{word!r} is no number; {what} is expected" if word else f"{what[0].upper()}{what[1:]} is missing"
        ) from None
    if not value.is_finite() or value <= 0 or value > Decimal(10) ** 15 or value < Decimal(10) ** -15:
        raise LineError(f"{word} cannot be {what}")
    return value


def _ticks(count: int, facts: Facts) -> str:
    return f"{count * facts.tick:f}"


def _steps(count: int, facts: Facts) -> str:
    return f"{count * facts.step:f}"


def render_table(lines: Sequence[tuple[str, str]] = LINES) -> str:
    """The README's table."""
    return "\n".join(["| typed | what it does |", "|---|---|", *(f"| `{line}` | {text}. |" for line, text in lines)])
