"""The engine's state in, one line out that is always there: what is real, what may trade, and how fresh and fast it is."""

import time
from collections import deque
from collections.abc import Callable
from decimal import Decimal
from typing import ClassVar, NamedTuple

from rich.cells import cell_len

from console import format as show
from console.desk import Desk
from console.panes.lines import LinePane, Row, Run
from engine.events import Trading, Trust
from engine.views import AccountView, LadderView, Picture, PositionRow, PositionsView, StatusView

OLD_AFTER_MS = 3_000  # book.stale_after_ms of the default settings; the book's own trust decides before it
RATE_OVER_NS = 2_000_000_000
TRADING_LOOKS = {Trading.OFF: "muted bold", Trading.ARMED: "up bold", Trading.HALTED: "halt bold reverse"}


class Part(NamedTuple):
    """One fact, long and short. `rank` 1 stays longest."""

    rank: float
    long: tuple[Run, ...]
    short: tuple[Run, ...]
    end: bool = False  # stands at the right edge


class StatusPane(LinePane, can_focus=False):
    """`now` is monotonic seconds: between frames the data's age goes on growing."""

    title: ClassVar[str] = "Status"
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = (
        *((StatusView, ""), (AccountView, ""), (PositionsView, ""), (LadderView, None)),
    )
    DEFAULT_CSS = """
    StatusPane { height: 1; width: 1fr; background: $panel; }
    """

    def __init__(self, desk: Desk, *, id: str | None = None, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__(desk, id=id)
        self._now = now
        self._version = -1
        self._came_at = 0.0
        self._rates: deque[tuple[int, int]] = deque(maxlen=64)  # engine time, events

    def versions(self) -> tuple[object, ...]:
        return (*super().versions(), self._waited_ms() // 200)

    def _waited_ms(self) -> int:
        """How long ago the newest status came; 0 while they come as they should."""
        version = self.desk.version(StatusView, "")
        if version != self._version:
            self._version, self._came_at = version, self._now()
        status = self.desk.get(StatusView, "")
        waited = int((self._now() - self._came_at) * 1000) if version and not (status and status.replay) else 0
        return waited if waited > 500 else 0

    def age_ms(self) -> float:
        """Of the traded book, by now; -1 before its first update."""
        status = self.desk.get(StatusView, "")
        return -1 if status is None or status.data_age_ms < 0 else status.data_age_ms + self._waited_ms()

    def old(self, desk: Desk) -> bool:
        """The prices of the watched market are not to be traded on."""
        age, ladder = self.age_ms(), desk.get(LadderView)
        untrusted = ladder is not None and ladder.trust is not Trust.TRUSTED
        return age < 0 or age > OLD_AFTER_MS or not desk.connected or untrusted

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        status = desk.get(StatusView, "")
        if status is None:
            word = "connecting" if not desk.lost_reason else "no engine"
            return [((f" {word} ", "muted bold"), (show.market_name(desk.market), "text"))]
        return [compose(self.parts(desk, status), width)]

    def parts(self, desk: Desk, status: StatusView) -> list[Part]:
        account = desk.get(AccountView, "")
        age, old = self.age_ms(), self.old(desk)
        age_run = (f"{'!' if old else ''}{show.duration(age)}", "stale bold" if old else "text")
        trust = (f" {trusted(desk, old)}", "stale bold" if old else "muted")
        mode, (word, look) = mode_of(status), state_of(desk, status)
        state = (f" {word} " if "reverse" in look else word, look)
        gain = pnl(account, old and age >= 0)
        drops = (str(status.dropped), "stop bold" if status.dropped else "text")
        watching = (" WATCHING ", "text bold reverse"), (" WATCH ", "text bold reverse")
        forwarded = status.forwarding
        name, short = show.market_name(desk.market), show.market_name(desk.market, short=True)
        return [
            Part(1, (mode,), (mode,)),
            Part(4, ((name, "text bold"),), ((short, "text bold"),)),
            Part(2, (state,), (state,)),
            *([Part(3.5, watching[:1], watching[1:])] if desk.watches else []),
            Part(3, (("data ", "muted"), age_run, trust), (age_run,)),
            *([Part(4.2, (held,), (held,))] if (held := holding(desk)) is not None else []),
            fact(8, "round trip", "rt", show.micros(status.round_trip_us)),
            fact(7, "tick-to-wire p99", "p99", show.micros(status.tick_to_wire_p99_us)),
            fact(9, "events", "", f"{show.count(self._rate(status))}/s"),
            *([forwarding(forwarded)] if forwarded else []),
            Part(10, (("drops ", "muted"), drops), (("d", "muted"), drops)),
            Part(5, (("PnL ", "muted"), gain), (gain,), end=True),
            Part(6, ((show.clock(status.at), "text"), ("Z ", "muted")), ((show.clock(status.at), "text"),), end=True),
        ]

    def _rate(self, status: StatusView) -> float:
        """Events a second over the last two seconds of engine time."""
        rates = self._rates
        if rates and (status.at < rates[-1][0] or status.events < rates[-1][1]):
            rates.clear()
        if not rates or status.at > rates[-1][0]:
            rates.append((status.at, status.events))
        while len(rates) > 2 and rates[-1][0] - rates[1][0] >= RATE_OVER_NS:
            rates.popleft()
        (first_at, first), (last_at, last) = rates[0], rates[-1]
        return (last - first) * 1e9 / (last_at - first_at) if last_at > first_at else 0.0


def mode_of(status: StatusView) -> Run:
    """What is real, as a word on its colour."""
    look = f"{status.mode.value} bold reverse"
    return (f" REPLAY of {status.mode.value} ", look) if status.replay else (f" {status.mode.value.upper()} ", look)


def state_of(desk: Desk, status: StatusView) -> Run:
    """What may trade."""
    if not desk.connected:
        return "NO LINK", "halt bold reverse"
    if status.flattening:
        return "FLAT, HALTED" if desk.flat else "FLATTENING", "halt bold reverse"
    return status.trading.value.upper(), TRADING_LOOKS[status.trading]


def trusted(desk: Desk, old: bool) -> str:
    """One word for the prices of the watched market."""
    ladder = desk.get(LadderView)
    return "trusted" if not old else "old" if ladder is None or ladder.trust is Trust.TRUSTED else ladder.trust.value


def open_rows(desk: Desk) -> list[PositionRow]:
    view = desk.get(PositionsView, "")
    return [row for row in view.rows if show.trend(row.quantity)] if view is not None else []


def holding(desk: Desk) -> Run | None:
    """What is held; None before anybody said."""
    rows = open_rows(desk)
    if not rows:
        return ("flat", "muted") if desk.flat else None
    if len(rows) > 1:
        return f"{len(rows)} positions", "text bold"
    (row,) = rows
    rising = show.trend(row.quantity) > 0
    words = f"{'LONG' if rising else 'SHORT'} {row.quantity.lstrip('+-')} {show.market_name(row.market, short=True)}"
    return words, f"{'up' if rising else 'down'} bold"


def fact(rank: int, name: str, short: str, value: str) -> Part:
    return Part(rank, ((f"{name} ", "muted"), (value, "text")), ((f"{short} ".lstrip(), "muted"), (value, "text")))


def forwarding(words: str) -> Part:
    """The cluster that the session goes to; more important while it is down."""
    down = words.startswith("down")
    run = (f"{'!' if down else ''}{words}", "stop bold" if down else "text")
    return Part(4.5 if down else 8.5, (("fluvio ", "muted"), run), (("fl ", "muted"), run))


def pnl(account: AccountView | None, old: bool = False) -> Run:
    """Of the session: realised + unrealised - fees + funding; `!` where the mark in it is old."""
    if account is None:
        return ("-", "muted")
    total = str(Decimal(account.realised) + Decimal(account.unrealised) - Decimal(account.fees) + Decimal(account.funding))
    if old:
        return (f"!{show.money(total, sign=True)}", "stale bold")
    return (show.money(total, sign=True), f"{('down', 'text', 'up')[show.trend(total) + 1]} bold")


def compose(parts: list[Part], width: int) -> Row:
    """The most important ones that fit, the first of them in their long form; clock and PnL at the right edge."""
    ranked = sorted(parts, key=lambda part: part.rank)
    while len(ranked) > 1 and _needs([part.short for part in ranked], 1) > width:
        ranked.pop()
    chosen = {part.rank: part.short for part in ranked}
    gap = next((gap for gap in (2, 1) if _needs(list(chosen.values()), gap) <= width), 1)
    for part in ranked:
        if _needs([*(runs for rank, runs in chosen.items() if rank != part.rank), part.long], gap) <= width:
            chosen[part.rank] = part.long
    gap = 3 if _needs(list(chosen.values()), 3) <= width else gap
    return _joined([(part, chosen[part.rank]) for part in parts if part.rank in chosen], gap, width)


def _needs(chosen: list[tuple[Run, ...]], gap: int) -> int:
    return sum(cell_len(text) for runs in chosen for text, _ in runs) + gap * (len(chosen) - 1)


def _joined(chosen: list[tuple[Part, tuple[Run, ...]]], gap: int, width: int) -> Row:
    room = width - _needs([runs for _, runs in chosen], gap)
    row: list[Run] = []
    pushed = False
    for part, runs in chosen:
        if row:
            more = room if part.end and not pushed else 0
            row.append((" " * (gap + more), "text"))
        pushed = pushed or part.end
        row.extend(runs)
    return tuple(row)
