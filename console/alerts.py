"""A typed line in; the alert that it means, in words, out. And what the desk shows in; the alerts that fire out. Pure.

An alert fires when what it names becomes true, and not again before it was false. Firings that follow within a minute are
counted and told together.
"""

import math
from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from difflib import get_close_matches
from enum import StrEnum
from typing import NamedTuple

import msgspec

from console import format as show
from console.desk import Desk
from console.orderline import LineError
from engine.events import Bias, Features, Judged, Trust
from engine.views import AccountView, IndicatorsView, MarketRow, MarketsView, PositionsView, StatusView

MOST = 50
TOLD_EVERY_S = 60.0
# What may be typed, and what it means: the dialog and the README show this table.
LINES: tuple[tuple[str, str], ...] = (
    (
        "aster > 1.30",
        "A market's last price is above, `<` below; `okx aster > 1.30` at that venue, and without a name the one shown",
    ),
    ("rsi_14 > 70", "A figure of the indicators, of the market and the bars that are shown: it is seen while they are"),
    ("pnl < -50", "The unrealised profit of all positions; `aster pnl < -50` of one"),
    ("loss > 60%", "So much of the day's loss limit is used"),
    ("trust", "The book of some market is not trusted; `aster trust` of this one"),
    ("connection", "The engine, or one of its routes to the venues, is not connected"),
    ("judgment", "A judge changes its mind about the market that is shown; `btc judgment` about this one"),
    ("delete 2", "The second alert is deleted; `delete all` deletes every one"),
)


class Kind(StrEnum):
    """What a rule watches."""

    PRICE = "price"
    INDICATOR = "indicator"
    PNL = "pnl"
    LOSS = "loss"
    TRUST = "trust"
    CONNECTION = "connection"
    JUDGMENT = "judgment"


class Rule(msgspec.Struct, frozen=True):
    """`market` is "" for all of them; `value` counts in quote units, a figure's own or percent of the limit."""

    kind: Kind
    market: str = ""
    name: str = ""  # of the figure
    timeframe_ms: int = 0
    above: bool = True
    value: Decimal = Decimal(0)


class Delete(NamedTuple):
    """The line deletes a rule instead."""

    place: int  # the first is 1, 0: every one


class Fired(NamedTuple):
    """A rule that has come true, and the sentence that says so."""

    rule: Rule
    text: str


class Seen(NamedTuple):
    """`holds` is None where it cannot be told now; `now` is what there is to see, as text."""

    holds: bool | None
    now: str


UNSEEN = Seen(None, "not seen now")


# --- what is typed ---------------------------------------------------------------------------------------------------------


def read(line: str, desk: Desk) -> Rule | Delete:
    """Raises LineError."""
    words = line.lower().replace(">", " > ").replace("<", " < ").split()
    if not words:
        raise LineError("Type an alert, for example: aster > 1.30")
    if words[0] in ("delete", "del"):
        return _delete(words[1:])
    words = [{"above": ">", "below": "<"}.get(word, word) for word in words]
    signs = [place for place, word in enumerate(words) if word in "<>"]
    if signs:
        return _compared(words[: signs[0]], words[signs[0]] == ">", words[signs[0] + 1 :], desk)
    *of, name = words
    match name:
        case "trust":
            return Rule(Kind.TRUST, _market(of, desk) if of else "")
        case "judgment":
            return Rule(Kind.JUDGMENT, _market(of, desk))
        case "connection" if not of:
            return Rule(Kind.CONNECTION)
    raise LineError("Above or below what? For example: aster > 1.30, rsi_14 > 70, pnl < -50; or trust, connection, judgment")


def _delete(words: Sequence[str]) -> Delete:
    if len(words) == 1 and (words[0] == "all" or (words[0].isdecimal() and int(words[0]))):
        return Delete(0 if words[0] == "all" else int(words[0]))
    raise LineError("Which one? Its number, or all")


def _compared(of: list[str], above: bool, typed: list[str], desk: Desk) -> Rule:
    value = _number(typed)
    figures = {name.lower(): name for name in _figures(desk)}
    name = of[-1] if of else "price"
    match name:
        case "loss":
            if of[:-1]:
                raise LineError("The day's loss is of the whole account: loss > 60%")
            return Rule(Kind.LOSS, above=above, value=value)
        case "pnl":
            return Rule(Kind.PNL, _market(of[:-1], desk) if of[:-1] else "", above=above, value=value)
        case "price":
            return Rule(Kind.PRICE, _market(of[:-1], desk), above=above, value=value)
    if name in figures:
        return Rule(Kind.INDICATOR, _market(of[:-1], desk), figures[name], desk.timeframe_ms, above, value)
    return Rule(Kind.PRICE, _market(of, desk, figures), above=above, value=value)


def _number(typed: Sequence[str]) -> Decimal:
    text = "".join(typed).replace(",", "").removesuffix("%")
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise LineError(f"{' '.join(typed)!r} is not a number" if typed else "Than what? A number") from None
    if not value.is_finite() or abs(value) > Decimal("1e15"):
        raise LineError(f"{text!r} is no number that could be compared")
    return value


def _figures(desk: Desk) -> list[str]:
    view = desk.get(IndicatorsView)
    return [name for name in Features.__struct_fields__ if name != "extra"] + list(view.extra if view is not None else ())


def _market(words: Sequence[str], desk: Desk, figures: Sequence[str] | dict[str, str] = ()) -> str:
    """The market that the words name (a symbol, a venue, or both), the one that is shown before others."""
    known = (desk.market, *(market for market in desk.markets if market != desk.market)) if desk.market else desk.markets
    for word in words:
        left = [market for market in known if word in _names(market)]
        if not left:
            near = get_close_matches(word, [*figures, *(name for market in desk.markets for name in _names(market))], 1)
            guess = f"; did you mean {near[0]}?" if near else ""
            raise LineError(f"{word!r} is no market that is collected and no figure{guess}")
        known = tuple(left)
    if not known:
        raise LineError("No market is known yet")
    return known[0]


def _names(market: str) -> tuple[str, ...]:
    venue, _, symbol = market.lower().partition(":")
    pair = symbol.partition(":")[0]
    return venue, pair.partition("/")[0], pair, symbol, market.lower()


def words(rule: Rule) -> str:
    """What was understood."""
    name = show.market_name(rule.market)
    than = f"{'above' if rule.above else 'below'} {rule.value:f}"
    match rule.kind:
        case Kind.PRICE:
            return f"{name} trades {than}"
        case Kind.INDICATOR:
            return f"{rule.name} of {name} on {show.timeframe(rule.timeframe_ms)} bars is {than}"
        case Kind.PNL:
            return f"the unrealised profit of {name or 'all positions'} is {than}"
        case Kind.LOSS:
            return f"{'more' if rule.above else 'less'} than {rule.value:f}% of the day's loss limit is used"
        case Kind.TRUST:
            return f"the book of {name or 'some market'} is not trusted"
        case Kind.CONNECTION:
            return "the engine or one of its routes is not connected"
        case Kind.JUDGMENT:
            return f"a judge changes its mind about {name}"


# --- what is seen ----------------------------------------------------------------------------------------------------------


def see(rule: Rule, desk: Desk) -> Seen:
    """How things stand now; a judgment's change is not a state, so it never holds here."""
    if rule.kind is Kind.CONNECTION:
        return _connection(desk)
    if not desk.connected:
        return UNSEEN
    match rule.kind:
        case Kind.PRICE:
            row = next((row for row in _rows(desk) if row.market == rule.market and row.last), None)
            return _beside(rule, row.last * row.tick, show.ticks(row.last, row.tick)) if row is not None else UNSEEN
        case Kind.INDICATOR:
            return _indicator(rule, desk)
        case Kind.PNL:
            return _pnl(rule, desk)
        case Kind.LOSS:
            used = _loss(desk.get(AccountView, ""))
            return _beside(rule, used, f"{used:.1f}%")
        case Kind.TRUST:
            rows = [row for row in _rows(desk) if rule.market in ("", row.market)]
            bad = [show.market_name(row.market) + f" is {row.trust}" for row in rows if row.trust is not Trust.TRUSTED]
            return Seen(bool(bad), ", ".join(bad) or "trusted") if rows else UNSEEN
    return Seen(False, "as before")


def _connection(desk: Desk) -> Seen:
    if desk.lost_reason or (desk.frames and not desk.connected):
        return Seen(True, desk.lost_reason or "the engine is silent")
    status = desk.get(StatusView, "")
    if status is None:
        return UNSEEN
    down = [name for name, up in status.routes if not up]
    return Seen(bool(down), f"{', '.join(down)} down" if down else "connected")


def _rows(desk: Desk) -> tuple[MarketRow, ...]:
    view = desk.get(MarketsView, "")
    return view.rows if view is not None else ()


def _beside(rule: Rule, value: Decimal | float, text: str) -> Seen:
    """Prices and money are exact: a market at 1.3 is not above 1.3."""
    if not math.isfinite(value):
        return UNSEEN
    limit = rule.value if isinstance(value, Decimal) else float(rule.value)
    return Seen(value > limit if rule.above else value < limit, f"now {text}")


def _indicator(rule: Rule, desk: Desk) -> Seen:
    """The engine tells the figures of one market and one length of bars at a time: others would be old ones."""
    view = desk.get(IndicatorsView)
    if view is None or (view.market, view.timeframe_ms) != (rule.market, rule.timeframe_ms):
        return UNSEEN
    value = getattr(view.features, rule.name, math.nan) if rule.name not in view.extra else view.extra[rule.name]
    return _beside(rule, value, f"{value:.6g}")


def _pnl(rule: Rule, desk: Desk) -> Seen:
    view = desk.get(PositionsView, "")
    if view is None:
        return UNSEEN
    total = sum((Decimal(row.unrealised) for row in view.rows if rule.market in ("", row.market)), Decimal(0))
    return _beside(rule, total, show.money(str(total), sign=True))


def _loss(account: AccountView | None) -> float:
    """Percent of the day's loss limit that is used; NaN where that is not known."""
    opening = Decimal(account.day_equity) if account is not None else Decimal(0)
    if account is None or opening <= 0 or not account.max_daily_loss:
        return math.nan
    return float(max(Decimal(0), opening - Decimal(account.equity)) / opening) / account.max_daily_loss * 100


class Memory(msgspec.Struct):
    """Of one rule: how it stood last, and its firings."""

    holds: bool = False
    times: int = 0  # in all
    untold: int = 0
    told_at: float = -math.inf
    last: str = ""  # what was to be seen then


class Watcher:
    """The alerts that are set, at most `MOST`; `check` is called once a frame. Times are monotonic seconds."""

    def __init__(self, rules: Sequence[Rule] = ()) -> None:
        self.rules = list(dict.fromkeys(rules))[:MOST]
        self.known: dict[Rule, Memory] = {}
        self._read = 0  # number of the next news
        self._minds: dict[tuple[str, str], Bias] = {}  # of a market's judge
        self._trusted: set[str] = set()

    def add(self, rule: Rule) -> None:
        """Raises LineError."""
        if rule in self.rules:
            raise LineError("That alert is set already")
        if len(self.rules) >= MOST:
            raise LineError(f"{MOST} alerts are set: delete one first")
        self.rules.append(rule)

    def delete(self, which: Delete) -> list[Rule]:
        """Those that are gone. Raises LineError."""
        if which.place > len(self.rules):
            raise LineError(f"There is no alert {which.place}")
        gone = self.rules[which.place - 1 : which.place] if which.place else self.rules[:]
        self.replace([rule for rule in self.rules if rule not in gone])
        return gone

    def replace(self, rules: Sequence[Rule]) -> None:
        """These are set now; what is known of those that stay is kept."""
        self.rules = list(dict.fromkeys(rules))[:MOST]
        self.known = {rule: memory for rule, memory in self.known.items() if rule in self.rules}

    def check(self, desk: Desk, now: float) -> list[Fired]:
        """What must be said now."""
        minds, distrusted = self._judged(desk), self._distrusted(desk)
        said = []
        for rule in self.rules:
            memory = self.known.setdefault(rule, Memory())
            if rule.kind in (Kind.JUDGMENT, Kind.TRUST):
                for market, text in minds if rule.kind is Kind.JUDGMENT else distrusted:
                    if rule.market in ("", market):
                        _fire(memory, text)
            else:
                holds, seen = see(rule, desk)
                if holds and not memory.holds:
                    _fire(memory, seen)
                memory.holds = memory.holds if holds is None else holds
            if memory.untold and now - memory.told_at >= TOLD_EVERY_S:
                times = f", {memory.untold} times in the last minute or so" if memory.untold > 1 else ""
                memory.told_at, memory.untold = now, 0
                said.append(Fired(rule, f"Alert: {words(rule)} ({memory.last}){times}."))
        return said

    def _distrusted(self, desk: Desk) -> list[tuple[str, str]]:
        """Markets whose book was trusted at the last call and is not now; one that begins was not trusted yet."""
        found = []
        for row in _rows(desk) if desk.connected else ():
            if row.trust is Trust.TRUSTED:
                self._trusted.add(row.market)
            elif row.market in self._trusted:
                self._trusted.remove(row.market)
                found.append((row.market, f"{show.market_name(row.market)} is {row.trust}"))
        return found

    def _judged(self, desk: Desk) -> list[tuple[str, str]]:
        """The judges' changes of mind since the last call, with their market."""
        fresh = []
        for number, news in reversed(desk.news):
            if number < self._read:
                break
            fresh.append(news)
        self._read = desk.next_news
        changed = []
        for news in reversed(fresh):
            if isinstance(news, Judged):
                stance = news.stance
                before = self._minds.get((stance.market, stance.source))
                self._minds[stance.market, stance.source] = stance.bias
                if before not in (None, stance.bias):
                    text = f"{stance.source}: {before} to {stance.bias}, {stance.confidence:.0%} sure"
                    changed.append((stance.market, text))
        return changed


def _fire(memory: Memory, seen: str) -> None:
    memory.times += 1
    memory.untold += 1
    memory.last = seen


def render_table() -> str:
    """The README's table."""
    return "\n".join(["| typed | what it watches |", "|---|---|", *(f"| `{line}` | {text}. |" for line, text in LINES)])
