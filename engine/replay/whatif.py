"""A recorded market in, with other settings; what would have come of it, beside the original settings, out.

Both are filled anew by the same rules, so what differs is the change and not the fills: orders arrive after the session's own
delay, take the book that their core sees then, and trigger at the venue's mark; our orders move nobody. What the account's
venue said in the session is left out, what people and models said is kept.
"""

import re
import statistics
from collections.abc import Callable, Iterator

import msgspec

from engine.config import Settings, changed
from engine.core import Core
from engine.errors import ConfigError, SessionError
from engine.events import (
    AccountSnapshot,
    Action,
    BalanceChange,
    CancelOrder,
    CancelRefused,
    Command,
    ConditionalReport,
    Decided,
    Event,
    Filled,
    LeverageSet,
    Mark,
    OrderAccepted,
    OrderFateUnknown,
    OrderNotFound,
    OrderRefused,
    OrderReport,
    SendOrder,
    Started,
    decode_output,
    encode,
)
from engine.queue import Chunk, Kind
from engine.queue.session import Session
from engine.replay import ends_ns, excerpt, first_of, settings_of
from engine.replay.refill import FUNDING, Refill

FIXED = ("engine", "venue", "queue", "console")  # sections that a session cannot have otherwise
OF_THE_MODEL = ("host", "model", "shadow", "ask_every_s", "deadline_s", "num_ctx", "num_thread", "keep_alive")
RULES = "rules"
OF_THE_VENUE = (
    OrderAccepted, OrderRefused, OrderFateUnknown, OrderNotFound, CancelRefused, OrderReport, ConditionalReport, AccountSnapshot,
    LeverageSet,
)  # fmt: skip
USUAL_DELAY_NS = 50_000_000  # where the session has no order to learn it from
ORDERS_TIMED = 200
ANSWERED_WITHIN_NS = 10_000_000_000  # later ones are not looked for
POINTS = 400  # of a curve
DOING = (Decided, SendOrder, CancelOrder)
_NUMBER = re.compile(r"(?<!\w)-?\d+(?:[.,]\d+)*%?")

Progress = Callable[[int], None]


class Figures(msgspec.Struct):
    """What one run came to; money in quote units. `refused`: how often, by reason without its numbers, "…" in their place.

    `problem`: the first internal check that failed, and halted the run; "" when none did.
    """

    name: str
    orders: int = 0
    fills: int = 0
    fees: float = 0.0
    realised: float = 0.0
    unrealised: float = 0.0
    funding: float = 0.0
    drawdown: float = 0.0  # largest fall of the profit from its height, at any fill or mark
    refused: dict[str, int] = {}
    curve: list[tuple[int, float]] = []  # engine time, profit
    problem: str = ""

    @property
    def profit(self) -> float:
        return self.realised + self.unrealised - self.fees + self.funding


class Divergence(msgspec.Struct, frozen=True):
    """An input after which the two said something else, and what."""

    input_number: int
    at: int
    event: str
    original: str
    changed: str


class WhatIf(msgspec.Struct, frozen=True):
    """`recorded` is what happened; `original` and `changed` are both filled anew, with the session's settings and with others.

    `divergence` is the first output of any kind that differs, `decision` the first order, cancel or decision. `faithful`: the
    recorded inputs gave the recorded outputs again; where not, other code recorded them, and `recorded` is of this code.
    """

    session: str
    changes: dict[str, str]
    delay_ms: float
    inputs: int
    recorded: Figures
    original: Figures
    changed: Figures
    divergence: Divergence | None
    decision: Divergence | None
    faithful: bool


def settings_for(session: Session, changes: dict[str, str]) -> tuple[Settings, Settings]:
    """The session's own and the changed ones. Raises ConfigError and SessionError."""
    own = settings_of(session, first_of(session))
    for name in changes:
        section, _, key = name.partition(".")
        if section in FIXED:
            raise ConfigError(
                "what if", name, "a session that was recorded cannot be had otherwise in this", "risk, strategy, ..."
            )
        if section == "judgment" and key in OF_THE_MODEL:
            raise ConfigError("what if", name, "a model cannot be asked again: its recorded answers are kept", "another setting")
    other = changed(own, changes, "what if")
    if other.judgment.judge not in (own.judgment.judge, RULES):
        raise ConfigError("what if", "judgment.judge", "nobody else can be asked about a session that is over", RULES)
    return own, other


def run(session: Session, changes: dict[str, str], progress: Progress | None = None) -> WhatIf:
    """Raises ConfigError for changes that cannot be and SessionError for a session that cannot be read."""
    own, other = settings_for(session, changes)
    if session.condensed is not None:
        raise SessionError(str(session.path), "its market data were removed, so nothing can be filled anew")
    delay_ns = delay_of(session)
    opening = opening_of(session)
    truth = Rerun("recorded", Core(own), None)
    one = Rerun("original", Core(own), Refill(delay_ns, opening))
    two = Rerun("changed", Core(other), Refill(delay_ns, opening))
    first, last = first_of(session).at, ends_ns(session)
    spacing, due, number, faithful = max((last - first) // POINTS, 1), first, 0, True
    divergence: Divergence | None = None
    decision: Divergence | None = None
    for chunk in session.chunks():
        for event, recorded in chunk.steps():
            number += 1
            out = truth.take(event)
            if (out or recorded) and faithful:
                faithful = [encode(output) for output in out] == [bytes(output) for output in recorded]
            if not of_the_account(event):
                ours, theirs = one.take(_meant(event, truth, one)), two.take(_meant(with_settings(event, other), truth, two))
                if decision is None and (ours or theirs):
                    divergence = divergence or _diverged(number, event, ours, theirs)
                    decision = _diverged(number, event, _doing(ours), _doing(theirs)) if divergence is not None else None
            if event.at >= due:
                due = event.at + spacing
                for side in (truth, one, two):
                    side.mark(event.at)
        if progress is not None:
            progress(number)
    if session.closing is not None and session.closing.inputs != number:
        raise SessionError(str(session.path), f"it holds {number:,} inputs, and its closing says {session.closing.inputs:,}")
    for side in (truth, one, two):
        side.mark(last)
    return WhatIf(
        session.opening.session,
        changes,
        delay_ns / 1e6,
        number,
        truth.figures(),
        one.figures(),
        two.figures(),
        divergence,
        decision,
        faithful,
    )


def of_the_account(event: Event) -> bool:
    """Whether the account's venue said it of the orders that were: filled anew, there are others."""
    return isinstance(event, OF_THE_VENUE) or (isinstance(event, BalanceChange) and event.reason == FUNDING)


def delay_of(session: Session) -> int:
    """From a decision to the venue's answer, the median over the session's first orders, ns."""
    delays: list[int] = []
    for chunk in session.holding(int(Kind.ORDER), 0):
        delays += _delays(session, chunk)
        if len(delays) >= ORDERS_TIMED:
            break
    return int(statistics.median(delays)) if delays else USUAL_DELAY_NS


def _delays(session: Session, chunk: Chunk) -> Iterator[int]:
    """Of the orders sent in this chunk, as far as they were accepted within `ANSWERED_WITHIN_NS`, in this one or any after it."""
    sent = {order.client_id: order.at for order in _sends(chunk)}
    latest = max(sent.values(), default=0) + ANSWERED_WITHIN_NS
    for later in session.chunks(chunk.first):
        for event in later.inputs:
            if isinstance(event, OrderAccepted) and event.client_id in sent:
                yield event.at - sent.pop(event.client_id)
            if not sent or event.at > latest:
                return


def _sends(chunk: Chunk) -> Iterator[SendOrder]:
    for output in map(decode_output, chunk.outputs):
        if isinstance(output, SendOrder):
            yield output


def opening_of(session: Session) -> AccountSnapshot | None:
    """The venue's first word on the account: both begin with it."""
    for chunk in session.chunks():
        for event in chunk.inputs:
            if isinstance(event, AccountSnapshot):
                return event
    return None


def with_settings(event: Event, settings: Settings) -> Event:
    """The start names the settings that its core runs with."""
    if isinstance(event, Started):
        return msgspec.structs.replace(event, settings=msgspec.json.encode(settings).decode())
    return event


def _meant(event: Event, truth: "Rerun", side: "Rerun") -> Event:
    """An operator's cancel means that order's counterpart: the same number may be another order on this side."""
    if not isinstance(event, Command) or event.action is not Action.CANCEL:
        return event
    order = truth.core.state.orders.get(event.target)
    open_there = side.core.state.open_orders(order.market) if order is not None else ()
    target = next((one.client_id for one in open_there if order is not None and one.purpose is order.purpose), "")
    return msgspec.structs.replace(event, target=target)


def _doing(out: list[Event]) -> list[Event]:
    return [one for one in out if isinstance(one, DOING)]


def _diverged(number: int, event: Event, out: list[Event], others: list[Event]) -> Divergence | None:
    ours, theirs = [encode(one) for one in out], [encode(one) for one in others]
    if ours == theirs:
        return None
    place = next((at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
    was = repr(out[place]) if place < len(out) else "nothing"
    now = repr(others[place]) if place < len(others) else "nothing"
    apart = next((at for at, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 0)
    return Divergence(number, event.at, type(event).__name__, excerpt(was, apart), excerpt(now, apart))


class Rerun:
    """One core, what is counted of it, and the venue that answers it."""

    def __init__(self, name: str, core: Core, venue: Refill | None) -> None:
        self.core, self.venue = core, venue
        self.side = Figures(name)
        self._height = 0.0

    def take(self, event: Event) -> list[Event]:
        """An input, behind the venue's answers that came before it; everything that left the core."""
        out: list[Event] = []
        fills = self.side.fills
        if self.venue is not None:
            for answer in self.venue.until(event.at, self.core):
                out += self._process(answer)
        out += self._process(event)
        if self.venue is not None:
            for answer in self.venue.seen(event, self.core):
                out += self._process(answer)
        if self.side.fills != fills or isinstance(event, Mark):
            self._measure()
        return out

    def _process(self, event: Event) -> list[Event]:
        out, problem = self.core.process_or_halt(event)
        if problem is not None:
            self.side.problem = self.side.problem or f"{type(problem).__name__}: {problem}"
        for output in out:
            match output:
                case SendOrder():
                    self.side.orders += 1
                case Filled():
                    self.side.fills += 1
                case Decided() if not output.approved:
                    reason = _NUMBER.sub("…", output.reason)
                    self.side.refused[reason] = self.side.refused.get(reason, 0) + 1
            if self.venue is not None:
                self.venue.asked(output)
        return out

    def mark(self, at: int) -> None:
        """A point of the curve."""
        self.side.curve.append((at, round(self._measure(), 6)))

    def _measure(self) -> float:
        profit = self.figures().profit
        self._height = max(self._height, profit)
        self.side.drawdown = max(self.side.drawdown, self._height - profit)
        return profit

    def figures(self) -> Figures:
        state = self.core.state
        side, portfolio = self.side, state.portfolio
        side.fees, side.realised, side.funding = float(portfolio.fees), float(portfolio.realised), float(portfolio.funding)
        side.unrealised = float(portfolio.unrealised(state.instruments(), state.marks()))
        return side


def table(found: WhatIf) -> list[tuple[str, str, str, str]]:
    """Rows for people: what, recorded, original, changed."""
    sides = (found.recorded, found.original, found.changed)

    def row(name: str, shown: Callable[[Figures], str]) -> tuple[str, str, str, str]:
        a, b, c = map(shown, sides)
        return name, a, b, c

    return [
        row("orders", lambda side: f"{side.orders}"),
        row("fills", lambda side: f"{side.fills}"),
        row("refused", lambda side: f"{sum(side.refused.values())}"),
        row("realised", lambda side: f"{side.realised:+,.2f}"),
        row("unrealised", lambda side: f"{side.unrealised:+,.2f}"),
        row("fees", lambda side: f"{side.fees:,.2f}"),
        row("funding", lambda side: f"{side.funding:+,.2f}"),
        row("profit", lambda side: f"{side.profit:+,.2f}"),
        row("drawdown", lambda side: f"{side.drawdown:,.2f}"),
    ]


def refusals(found: WhatIf) -> list[tuple[str, int, int]]:
    """Reasons by how differently often they refused: reason, original, changed."""
    reasons = {*found.original.refused, *found.changed.refused}
    rows = [(reason, found.original.refused.get(reason, 0), found.changed.refused.get(reason, 0)) for reason in reasons]
    return sorted((one for one in rows if one[1] != one[2]), key=lambda one: (-abs(one[1] - one[2]), one[0]))
