"""A typed line in; the command that it means, with what was understood in words, or the reason why it means nothing, out. Pure.

The engine and its limits decide what becomes of it: here is only what a line can be wrong about.
"""

from collections.abc import Iterator, Sequence
from decimal import ROUND_FLOOR, ROUND_HALF_EVEN, Decimal, InvalidOperation
from typing import NamedTuple

from engine.events import Action, OrderKind, Side, Ticket, TimeInForce

# What may be typed, and what it means: the dialog, its completion and the README show this table.
LINES: tuple[tuple[str, str], ...] = (
    ("buy 500", "Buy 500 at the market; `sell` likewise. The strategy's stop goes with it"),
    ("buy 300usdt", "The same for 300 USDT, at the price of now"),
    ("buy 25%", "For a quarter of what the free margin buys; with `reduce`, a quarter of the position"),
    ("buy risk 0.5% stop 1.19", "As much as loses 0.5 % of the equity at its stop"),
    ("buy 500 @ 1.2040 post", "A limit order; `post` never takes, `ioc` takes what there is, `fok` all of it or nothing"),
    ("buy 500 @ bid", "At the best bid, or the best `ask`; `join` is the best price of its own side"),
    ("buy 500 stop 1.19 target 2%", "A bracket: stop and target follow what is filled; in percent, they are so far away"),
    ("buy 500 trail 0.5", "Its stop follows the best price at 0.5 %"),
    ("sell all reduce", "Only reduces the position; `half` or a size as well, and a limit"),
    ("stop 1.19", "Another stop for the position; `target 1.25` and `trail 0.5` likewise"),
    ("amend 400 @ 1.2050", "Another size and price for the order selected in orders, or for the only one that rests"),
)
WORDS = (
    *("buy", "sell", "amend", "stop", "target", "trail", "post", "ioc", "fok", "reduce", "risk", "all", "half", "bid", "ask"),
    *("join", "@"),
)
FLAGS = {"post": TimeInForce.GTX, "ioc": TimeInForce.IOC, "fok": TimeInForce.FOK}
FLAG_NAMES = {
    TimeInForce.GTC: "",
    TimeInForce.GTX: ", post-only",
    TimeInForce.IOC: ", immediate or cancel",
    TimeInForce.FOK: ", fill or kill",
}
K = OrderKind


class Facts(NamedTuple):
    """What a line is read against: ticks, steps, the market's best prices (ticks, 0 for none), the signed position (steps) and
    money in quote units, None where it is not known.
    """

    base: str
    quote: str
    tick: Decimal
    step: Decimal
    bid: int
    ask: int
    position: int = 0
    selected: str = ""  # the client id of the order that `amend` means
    selected_side: Side = Side.BUY
    equity: Decimal | None = None
    power: Decimal | None = None  # what the free margin buys in this market


class Understood(NamedTuple):
    """`words` says it back before it is sent."""

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
    if size in ("", "@"):
        raise LineError(f"How much? In {facts.base}, or with {facts.quote.lower()} or % behind it, or risk and a %, all, half")
    if size == "risk":
        size = f"risk {next(rest, '')}"
    ends: dict[str, str] = {}
    price = trail = 0
    tif, reduces = TimeInForce.GTC, False
    for word in rest:
        if word == "@":
            price = _price(next(rest, ""), facts, "limit", side)
        elif word in ("stop", "target"):
            ends[word] = next(rest, "")
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
    stop, target = (_end(ends[name], facts, name, side, now) if name in ends else 0 for name in ("stop", "target"))
    quantity = _size(size, side, facts, now, reduces, abs(now - stop) if stop else now * trail // 10_000)
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
        trigger = _end(next(rest, ""), facts, name, side.other, facts.bid if side is Side.SELL else facts.ask)
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


def _end(word: str, facts: Facts, name: str, side: Side, now: int) -> int:
    """The tick of a stop or target of a position of `side`: a price, or so many percent away from the one of `now`."""
    if not word.endswith("%"):
        return _price(word, facts, name)
    percent = _number(word.removesuffix("%"), f"the {name}'s distance")
    if not now:
        raise LineError(f"There is no price now to put the {name} at {word} from")
    away = -side if name == "stop" else side
    if percent >= 100 and away < 0:
        raise LineError(f"{word} below the price there is nothing")
    return now + away * max(int((now * percent / 100).to_integral_value(ROUND_HALF_EVEN)), 1)


def _price(word: str, facts: Facts, name: str, side: Side | None = None) -> int:
    near = {"bid": facts.bid, "ask": facts.ask}
    if word in near:
        if not near[word]:
            raise LineError(f"There is no {word} now")
        return near[word]
    if word == "join" and side is not None:
        return _price("bid" if side is Side.BUY else "ask", facts, name)
    price = _number(word, f"the {name}'s price")
    ticks = price / facts.tick
    if ticks != int(ticks):
        below = int(ticks.to_integral_value(ROUND_FLOOR))
        raise LineError(f"{word} is between two ticks: {_ticks(below, facts)} and {_ticks(below + 1, facts)} exist")
    if ticks > 10**12:
        raise LineError(f"{word} is no price")
    return int(ticks)


def _size(word: str, side: Side, facts: Facts, price: int, reduces: bool = False, distance: int = 0) -> int:
    """Steps; `distance` is that of the stop, in ticks, 0 without one."""
    part = word.endswith("%") and reduces
    if part or word in ("all", "half"):
        if facts.position * side >= 0:
            raise LineError(f"{word} means the position, and that is not closed by this side")
        held = abs(facts.position)
        percent = min(_number(word.removesuffix("%"), "the part in percent"), Decimal(100)) if part else Decimal(50)
        return held if word == "all" else max(int(held * percent / 100), 1)
    quote = facts.quote.lower()
    if word.startswith("risk ") or word.endswith(("%", quote)):
        if not price:
            raise LineError("There is no price now to turn that into a size")
        if word.startswith("risk "):
            worth = _share(word.removeprefix("risk "), facts.equity, "the equity at risk")
            if not distance:
                raise LineError("A risk needs a stop: add stop and its price, or trail and its distance")
            price = distance
        elif word.endswith("%"):
            worth = _share(word, facts.power, "the free margin")
        else:
            worth = _number(word.removesuffix(quote), "the size")
        steps = (worth / (price * facts.tick * facts.step)).to_integral_value(ROUND_FLOOR)
    else:
        steps = _number(word, "the size") / facts.step
        if steps != int(steps):
            raise LineError(f"{word} is no multiple of {facts.step:f} {facts.base}, the smallest step")
    if not 0 < steps < 10**15:
        raise LineError(f"{word} is no size")
    return int(steps)


def _share(word: str, whole: Decimal | None, what: str) -> Decimal:
    percent = _number(word.removesuffix("%"), f"{what} in percent")
    if percent > 100:
        raise LineError(f"{word} is more than there is")
    if whole is None or whole <= 0:
        raise LineError(f"{what[0].upper()}{what[1:]} is {'not known yet' if whole is None else 'nothing'}")
    return whole * percent / 100


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
