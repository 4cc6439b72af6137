"""All that the core knows, as one tree of structs: encode it and it is a snapshot, decode it and the core goes on."""

import math
from decimal import Decimal

import msgspec

from engine.action import Plan
from engine.events import (
    Bar,
    Bias,
    Features,
    Funding,
    IndicatorValues,
    Instrument,
    Liquidation,
    Mark,
    ModelState,
    OrderState,
    Side,
    Stance,
    Trading,
)
from engine.execution.orders import Order
from engine.judgment.record import Record
from engine.judgment.stance import Question, Scoring
from engine.portfolio import Portfolio
from engine.processor.features import Intensity
from engine.processor.indicators import Indicators
from engine.signal.bars import Bars
from engine.signal.book import Book

FINAL_ORDERS_KEPT = 300


# What charts draw: one row a closed bar (its opening in ms; SMA 20, SMA 50, Bollinger upper and lower in quote units), and
# our fills (venue ms, ticks, side, what for).
Overlay = tuple[int, float, float, float, float]
FillMark = tuple[int, int, Side, str]
OVERLAYS_KEPT = 500
BAR_GRACE_MS = 300  # engine time: trades come in batches, up to some 150 ms late
QUIET_MS = 2000  # without news from a market for so long, the clock alone closes its bars
FILL_MARKS_KEPT = 200
StanceMark = tuple[int, Bias]  # venue ms when a stance came into force, and what it allows
STANCE_MARKS_KEPT = 300
VERDICTS_KEPT = 60
OUTCOMES_KEPT = 8
CAUSES_KEPT = 200
CHANGES_KEPT = 20  # of an order
STOPS_KEPT = 100


class Paper(msgspec.Struct):
    """A position that was never taken, and what it would have come to: base units, quote units."""

    quantity: float = 0.0
    entry: float = 0.0
    plan: Plan | None = None
    realised: float = 0.0
    fees: float = 0.0
    trades: int = 0
    bars_since_close: int = 1_000_000
    profit: float = 0.0  # at the newest bar's close: screens need no other
    wins: int = 0  # closed trades with a profit after commission, and sums over closed trades, in fractions of their price
    closed: int = 0
    won: float = 0.0
    lost: float = 0.0

    @property
    def side(self) -> int:
        """1, -1 or 0."""
        return (self.quantity > 0) - (self.quantity < 0)


class Verdict(msgspec.Struct):
    """A judgment and what the rules did with it while it was in force (engine time, and a sentence)."""

    stance: Stance
    asked_at: int = 0  # when the question behind it was asked, 0 without one
    since: int = 0  # in force, 0: never
    outcomes: list[tuple[int, str]] = []


class MarketState(msgspec.Struct):
    """One market: what its venue says, what we make of it, and how its position is meant to end."""

    instrument: Instrument
    book: Book
    bars: dict[int, Bars]
    indicators: dict[int, Indicators]
    intensity: Intensity
    mark: Mark | None = None
    features: dict[int, Features] = {}
    stance: Stance | None = None  # in force, or the last that was
    rules: Stance | None = None  # the newest of each judge
    model: Stance | None = None
    asked_at: int = 0
    asked_volatility: float = math.nan  # of the question behind `model`
    questions: dict[str, Question] = {}  # the newest
    scoring: list[Scoring] = []
    papers: dict[str, Paper] = {}  # see `core.counterfactual`
    papers_due: list[tuple[Features, Bar]] = []  # closed bars that they have not seen
    flow: float = 0.0  # sizes of the newest trades by their aggressor's side, exponentially weighted
    flow_total: float = 0.0
    vetoed: bool = False
    outcome: str = ""  # what the rules did with the stance at the newest bar
    overlays: dict[int, list[Overlay]] = {}
    listed: dict[int, dict[str, dict[int, float]]] = {}  # by timeframe, name and opening in ms: `[[indicators]]` that are prices
    fill_marks: list[FillMark] = []
    stance_marks: list[StanceMark] = []
    verdicts: list[Verdict] = []  # of the newest judgments
    bars_to_judgment: int = 0
    bars_since_close: int = 1_000_000
    lost_at: int = 0  # when a position was last closed at a loss
    stops_at: list[int] = []  # when stops were hit, the newest
    memory: list[float] = []  # of the strategy, see `engine.strategy`
    plan: Plan | None = None
    entry_order: str = ""  # the newest that was sent
    leverage: int = 0
    leverage_asked: bool = False
    unprotected_since: int = 0
    stop_tried_at: int = 0
    stop_passed_at: int = 0  # since when the mark has been beyond a stop that has not triggered
    target_refused_at: int = 0
    exit_refused_at: int = 0
    closing: str = ""  # why the whole position is being closed, in slices where one order will not do
    last_price: int = 0  # ticks of the newest trade
    last_side: int = 0
    newest_ms: int = 0  # the venue's time on its newest message
    clock_offset_ms: int = 0  # the venue's clock minus ours
    funding: Funding | None = None  # where the venue tells it apart from the mark
    liquidations: list[Liquidation] = []  # the newest
    catalog: dict[int, IndicatorValues] = {}  # the newest figures of `[[indicators]]`, by timeframe
    received_at: int = 0  # engine time of its newest message, 0 before one
    lag_us: int = 0  # from the venue's clock on a message to its receipt here, by the estimated offset
    mean_lag_us: int = 0  # the same, exponentially weighted over the newest 64 or so
    feed_lost: bool = False  # the trades' connection is down
    history_asked_at: int = 0
    mended_at: int = 0  # when history was last asked for because live trades skipped an id
    mends_failed: int = 0  # in succession: history did not have the trades either
    hole_told_at: int = 0

    @property
    def venue(self) -> str:
        return self.instrument.market.partition(":")[0]

    @property
    def symbol(self) -> str:
        return self.instrument.market.partition(":")[2]

    @property
    def mid(self) -> float:
        """Quote units, trusted or not; 0 without both sides."""
        book = self.book
        return (book.best_bid + book.best_ask) / 2 * float(self.instrument.tick) if book.best_bid and book.best_ask else 0.0

    def next_funding(self) -> tuple[Decimal, int] | None:
        """The rate of the next settlement and its venue time in ms; None where the venue has not told."""
        if self.funding is not None:
            return self.funding.rate, self.funding.next_ms
        if self.mark is not None and self.mark.next_funding_ms:
            return self.mark.funding_rate, self.mark.next_funding_ms
        return None

    def mark_price(self) -> Decimal | None:
        """The venue's mark, the book's mid before there is one."""
        if self.mark is not None:
            return self.mark.mark
        book = self.book
        if book.best_bid and book.best_ask:
            return (book.best_bid + book.best_ask) * self.instrument.tick / 2
        return None


class JudgeState(msgspec.Struct):
    """A judge that answers in its own time, as far as the core knows it."""

    state: ModelState = ModelState.OFF
    name: str = ""
    digest: str = ""
    version: str = ""
    reason: str = ""
    asked_first: bool = False  # mirrored markets, or it need not be
    qualified: bool = False
    verdict: tuple[str, ...] = ()  # why not
    record: Record | None = None
    questions: int = 0
    answers: int = 0
    dropped: dict[str, int] = {}  # by kind of failure
    problem: str = ""  # the newest
    failures: int = 0  # in succession
    rest_ns: int = 0
    rests_until: int = 0  # engine time, 0: it may be asked
    warming: bool = False
    times_ms: list[int] = []
    taken: list[str] = []  # questions that were answered
    chances: list[tuple[int, float]] = []  # its own, and the rules'
    last_words: tuple[int, int, int, str] | None = None
    repeated: int = 0

    @property
    def usual_ms(self) -> int:
        """What an answer usually takes, 0 before the first."""
        return sorted(self.times_ms)[len(self.times_ms) // 2] if self.times_ms else 0


class Cause(msgspec.Struct):
    """Why an order exists and what became of it: what a trace shows. `fills`: when, ticks, steps, fee, realised; `changes`: when,
    the state then, and why.
    """

    market: str
    at: int
    stance: Stance | None  # in force then
    asked_at: int  # when the question behind it was asked, 0 without one
    reason: str
    mid: float  # quote units, when it was decided
    entry: str  # the order that opened the position that this one guards or ends
    fills: list[tuple[int, int, int, Decimal, Decimal]] = []
    strategy: str = ""  # that wanted it by itself, "" where a judgment or a person did
    changes: list[tuple[int, OrderState, str]] = []


class Kill(msgspec.Struct):
    """A halt or a flatten that is on its way; times as in `KillReport`."""

    who: str
    flatten: bool
    asked_at: int
    orders: int
    positions: int
    cancelled_at: int = 0
    safe_at: int = 0
    compared_at: int = 0
    told_at: int = 0


class Counters(msgspec.Struct):
    """What happened how often; everything dropped, refused or odd has its own number."""

    events: int = 0
    trades: int = 0
    quotes: int = 0
    deltas: int = 0
    marks: int = 0
    liquidations: int = 0
    snapshots: int = 0
    decode_failures: int = 0
    disconnects: int = 0
    ignored: int = 0  # events for a market that is not collected
    bars: int = 0
    bars_missing: int = 0  # that do not exist because their trades could not be had
    bars_differ: int = 0  # closed by us and decided upon, and the venue's own is another one
    bars_mended: int = 0  # closed by us with trades missing, then replaced by the venue's
    clock_jumps: int = 0
    judgments: int = 0
    approvals: int = 0
    refusals: int = 0
    orders: int = 0
    cancels: int = 0
    rejects: int = 0
    unknown: int = 0
    fills: int = 0
    differences: int = 0
    adopted: int = 0
    faults: int = 0
    commands: int = 0
    dead_man_failures: int = 0  # the venue's dead man's switch could not be armed


class State(msgspec.Struct):
    """What decisions rest on. Times are engine nanoseconds unless the name ends in `_ms`; markets and orders go by their ids."""

    session: str = ""
    now: int = 0
    speed: float = 1.0
    judges: dict[str, JudgeState] = {}  # `model` and `shadow`, once heard of
    bar_grace_ms: int = BAR_GRACE_MS
    quiet_ms: int = QUIET_MS
    trading: Trading = Trading.OFF
    trading_reason: str = "not started"
    flattening: bool = False
    markets: dict[str, MarketState] = {}
    orders: dict[str, Order] = {}  # all that are alive and the newest finished ones
    alive: dict[str, None] = {}  # ids of those that are not final: what ticks and decisions walk over
    unbooked: dict[str, None] = {}  # ids of finished orders with fills that only a look-up has told of
    by_venue_id: dict[str, str] = {}
    final_orders: list[str] = []
    next_order: int = 1
    causes: dict[str, Cause] = {}  # of the newest orders
    brackets: dict[str, Plan] = {}  # of operators' entries that are alive: the position's plan from their first fill on
    portfolio: Portfolio = msgspec.field(default_factory=Portfolio)
    routes: dict[str, bool] = {}  # public, market, private: connected
    account: str = ""  # the venue that our orders go to, once its private stream was up
    private_up: bool = False
    private_since: int = 0  # when it came, engine time
    reconciled: bool = False
    reconciling: bool = False  # a snapshot was asked for and has not come
    account_changed_at: int = 0
    account_asked_at: int = 0
    private_lost_ms: int = 0
    entries: list[tuple[int, str, int, int, int]] = []  # of the last minute: when, market, side, steps, limit
    command_ids: list[str] = []
    own_account: str = ""  # see `Started.account`
    recovering: bool = False  # the session before this one is being read
    carried: bool = False  # positions were carried over from it, and the venue has not spoken yet
    wallet_before: Decimal | None = None  # at the end of a session that was flat: what differs now was transferred
    unrecorded: str = ""  # why this session cannot be recorded, which refuses entries
    refusal: str = ""  # the newest reason why an entry was not made
    kill: Kill | None = None
    kill_done: str = ""  # how the newest kill ended
    dead_man: dict[str, int] = {}  # markets whose switch is armed at the venue, and when that was asked for last
    dead_man_told: bool = False  # that it cannot be armed
    breached: list[str] = []  # limits of loss that are reached and were acted on
    counters: Counters = msgspec.field(default_factory=Counters)

    @property
    def traded(self) -> MarketState | None:
        """The first market is the one that is traded; None before it is listed."""
        return next(iter(self.markets.values()), None)

    def instruments(self) -> dict[str, Instrument]:
        return {market: held.instrument for market, held in self.markets.items()}

    def marks(self) -> dict[str, Decimal]:
        marks: dict[str, Decimal] = {}
        for market, held in self.markets.items():
            mark = held.mark_price()
            if mark is not None:
                marks[market] = mark
        return marks

    def equity(self) -> Decimal:
        """Wallet plus what is open at the marks."""
        return self.portfolio.wallet + self.portfolio.unrealised(self.instruments(), self.marks())

    def open_orders(self, market: str) -> list[Order]:
        return [order for order in self.live_orders() if order.market == market]

    def live_orders(self) -> list[Order]:
        return [self.orders[name] for name in self.alive]

    def add(self, order: Order) -> None:
        self.orders[order.client_id] = order
        self.alive[order.client_id] = None

    def unknown_orders(self, market: str) -> int:
        return sum(1 for order in self.open_orders(market) if order.state is OrderState.UNKNOWN)
