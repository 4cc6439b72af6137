"""Every fact that flows: what enters the core, what leaves it, and the words they share.

Prices are integer ticks and quantities integer steps of the instrument (see `Instrument`); money is `Decimal`; times are
nanoseconds UTC of engine time (`at`) or the venue's own milliseconds (`venue_ms`). Structs travel as arrays, so a new
field goes last and has a default.
"""

import math
from array import array
from collections.abc import Callable, Iterable
from decimal import Decimal
from enum import IntEnum, StrEnum

import msgspec

# --- words -------------------------------------------------------------------------------------------------------


class Mode(StrEnum):
    """What the prices and the orders are: the safe one first. Never changes within a session."""

    DEMO = "demo"
    PAPER = "paper"
    TESTNET = "testnet"
    LIVE = "live"


class Trading(StrEnum):
    """OFF: entries are not made. ARMED: they may be. HALTED: latched until released on purpose."""

    OFF = "off"
    ARMED = "armed"
    HALTED = "halted"


class Trust(StrEnum):
    """Whether a book may be traded on. Only TRUSTED may."""

    OFF = "off"
    SYNCING = "syncing"
    TRUSTED = "trusted"
    STALE = "stale"


class Side(IntEnum):
    """+1 and -1, so that a side multiplies."""

    BUY = 1
    SELL = -1

    @property
    def other(self) -> "Side":
        return Side(-self)


class Bias(StrEnum):
    """The direction a judgment allows: HOLD allows no entry."""

    HOLD = "hold"
    LONG = "long"
    SHORT = "short"


class OrderKind(StrEnum):
    """How an order meets the book. Conditional ones wait at the venue for their trigger."""

    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"  # triggers a reduce-only market order when the price is reached against the position
    TARGET = "target"  # take-profit: the same in the position's favour
    TRAILING = "trailing"  # a stop whose trigger follows the best price at a distance

    @property
    def conditional(self) -> bool:
        """Venues keep conditional orders apart (Binance: `/fapi/v1/algoOrder` since 2025-12-09)."""
        return self in (OrderKind.STOP, OrderKind.TARGET, OrderKind.TRAILING)


class TimeInForce(StrEnum):
    """How long an order may wait: until cancelled, not at all, not at all and whole, or only as a maker."""

    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"
    GTX = "gtx"  # post-only


class OrderState(StrEnum):
    """An order's life. UNKNOWN is a state, not a rejection: the venue may have executed it."""

    CREATED = "created"
    SENT = "sent"
    UNKNOWN = "unknown"
    WORKING = "working"
    PARTLY_FILLED = "partly_filled"
    CANCELLING = "cancelling"
    FILLED = "filled"
    CANCELLED = "cancelled"
    REJECTED = "rejected"
    EXPIRED = "expired"

    @property
    def final(self) -> bool:
        return self in (OrderState.FILLED, OrderState.CANCELLED, OrderState.REJECTED, OrderState.EXPIRED)


class Purpose(StrEnum):
    """Why an order exists. Only ENTRY may add exposure."""

    ENTRY = "entry"
    EXIT = "exit"
    STOP = "stop"
    TARGET = "target"


class Action(StrEnum):
    """What an operator may ask for."""

    ARM = "arm"
    DISARM = "disarm"
    HALT = "halt"
    FLATTEN = "flatten"
    RELEASE = "release"
    VETO = "veto"  # end the current stance of a market now
    CLOSE = "close"  # close a market's position, reduce-only
    CANCEL = "cancel"  # cancel one order by its client id
    COLLECT = "collect"  # collect another symbol from all venues
    DROP = "drop"  # collect a symbol no more; never one that is traded, held or has orders
    ORDER = "order"  # the order of a `Ticket`; `target` is its market
    AMEND = "amend"  # change a resting limit order (`target`) to the quantity and price of a `Ticket`
    SHUTDOWN = "shutdown"  # no new entries and entry orders cancelled, without latching a halt


class ModelState(StrEnum):
    """What the language model is doing, as the screen says it."""

    OFF = "off"  # nothing answers at its address, or it is not wanted
    STARTING = "starting"
    LOADING = "loading"
    READY = "ready"
    THINKING = "thinking"
    LATE = "late"  # an answer takes longer than most did
    RULES = "rules"  # it failed too often: rules judge until it answers again


class Level(StrEnum):
    """How much an alert matters."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Event(msgspec.Struct, frozen=True, array_like=True, tag=True, gc=False):
    """Anything that happened at engine time `at` (ns UTC)."""

    at: int


# --- levels: (price, size) pairs packed as native int64, ticks and steps --------------------------------------------
# Packed bytes decode far faster than lists of lists and give the garbage collector nothing to walk (measured 2026-11).


def pack_levels(flat: Iterable[int]) -> bytes:
    """`price, size, price, size ...` (ticks, steps) as bytes."""
    return array("q", flat).tobytes()


def unpack_levels(packed: bytes) -> "array[int]":
    """The flat integers back; `len` is twice the number of levels."""
    flat = array("q")
    flat.frombytes(packed)
    return flat


# --- inputs: the market ----------------------------------------------------------------------------------------------


class Instrument(Event, frozen=True, array_like=True, gc=False):
    """A contract's specification. `market` is `venue:symbol`, for example `binance:ASTER/USDT:USDT`.

    A price is `ticks * tick` quote units, a quantity `steps * step` base units. Limits are in steps; `min_notional` and
    the fee rates are quote units and fractions of notional; `max_leverage` is the account's setting, not the venue's cap.
    """

    market: str
    venue_symbol: str
    base: str
    quote: str
    tick: Decimal
    step: Decimal
    min_quantity: int
    max_quantity: int
    max_market_quantity: int
    min_notional: Decimal
    simulated: bool = False  # the prices are not those of the real market now
    contract: Decimal = Decimal(1)  # base units of what the venue counts sizes in (OKX: contracts)


class Connected(Event, frozen=True, array_like=True, gc=False):
    """A venue's route (`public`, `market`, `private`) is open; its streams have yet to prove themselves with data."""

    venue: str
    route: str


class Disconnected(Event, frozen=True, array_like=True, gc=False):
    """A venue's route is gone; what it carried is unknown until it is back."""

    venue: str
    route: str
    reason: str


class BookSnapshot(Event, frozen=True, array_like=True, gc=False):
    """A picture of the whole book: levels are packed (`pack_levels`).

    `in_band`: the stream itself pushed it, so it begins a chain of updates (OKX); else REST gave it, and it joins one.
    """

    market: str
    last_id: int
    bids: bytes
    asks: bytes
    venue_ms: int
    in_band: bool = False


class SnapshotFailed(Event, frozen=True, array_like=True, gc=False):
    """The picture of the book that was asked for cannot be had now."""

    market: str
    reason: str


class BookDelta(Event, frozen=True, array_like=True, gc=False):
    """Changed levels, absolute sizes, size 0 deletes. `previous_id` must equal the last event's `last_id`."""

    market: str
    first_id: int
    last_id: int
    previous_id: int
    bids: bytes
    asks: bytes
    venue_ms: int


class Quote(Event, frozen=True, array_like=True, gc=False):
    """Best bid and ask of the venue's own ticker, ticks and steps, at book update `id`."""

    market: str
    id: int
    bid: int
    bid_size: int
    ask: int
    ask_size: int
    venue_ms: int


class Trade(Event, frozen=True, array_like=True, gc=False):
    """An aggregated trade: `side` is the aggressor's. Ids are consecutive within a market.

    Where a venue counts the trades inside an aggregate, `id` is the last of them and `first_id` the first (OKX: `tradeId` and
    `tradeId - count + 1`); 0 says that the aggregate has the one id.
    """

    market: str
    id: int
    price: int
    size: int
    side: Side
    venue_ms: int
    first_id: int = 0


class TradeHistory(Event, frozen=True, array_like=True, gc=False):
    """Trades before the first live one, oldest first: packed `id, price, size, side, venue_ms`."""

    market: str
    trades: bytes


class Bar(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Open, high, low and close in ticks, volume in steps, of `[open_ms, open_ms + timeframe_ms)`."""

    market: str
    timeframe_ms: int
    open_ms: int
    open: int
    high: int
    low: int
    close: int
    volume: int
    trades: int


class BarHistory(Event, frozen=True, array_like=True, gc=False):
    """Closed bars of one timeframe from the venue's REST interface, oldest first."""

    market: str
    timeframe_ms: int
    bars: tuple[Bar, ...]


class Kline(Event, frozen=True, array_like=True, gc=False):
    """A bar as the venue's own stream has it, unfinished until `closed`. `bar.trades` is 0 where the venue counts none,
    `venue_ms` where it puts no time on it.
    """

    bar: Bar
    closed: bool
    venue_ms: int

    @property
    def market(self) -> str:
        return self.bar.market


class Mark(Event, frozen=True, array_like=True, gc=False):
    """Mark price and funding: `funding_rate` is the rate of the settlement at `next_funding_ms`. Where a venue tells funding
    apart (OKX: `Funding`), `next_funding_ms` is 0 and says nothing of it.
    """

    market: str
    mark: Decimal
    index: Decimal
    funding_rate: Decimal
    next_funding_ms: int
    venue_ms: int


class Funding(Event, frozen=True, array_like=True, gc=False):
    """The rate of the settlement at `next_ms`; `interval_ms` between settlements, 0 where the venue does not say."""

    market: str
    rate: Decimal
    next_ms: int
    interval_ms: int
    venue_ms: int


class Liquidation(Event, frozen=True, array_like=True, gc=False):
    """A forced order: `side` is its own (SELL: a long was liquidated). A sample of them, never a whole tape."""

    market: str
    side: Side
    price: int
    size: int
    venue_ms: int


class Unlisted(Event, frozen=True, array_like=True, gc=False):
    """A market is not collected any more."""

    market: str


class ClockJumped(Event, frozen=True, array_like=True, gc=False):
    """Wall clock and monotonic clock parted by `jump_ms` (the machine slept, or the clock was set): nothing known is fresh.

    `cause` is what happened in words; a process that stood still for so long counts too.
    """

    jump_ms: int
    cause: str = ""


class IndicatorValues(Event, frozen=True, array_like=True, gc=False):
    """What a worker reckoned at a bar's close, by column name; NaN while a figure warms up. `past` names the figures that are
    prices: when a worker begins, at each bar up to this one, oldest first.
    """

    market: str
    timeframe_ms: int
    bar_open_ms: int
    values: dict[str, float]
    past: dict[str, tuple[float, ...]] = {}


class ClockOffset(Event, frozen=True, array_like=True, gc=False):
    """The venue's clock minus ours, and how far that may be off (half the round trip)."""

    venue: str
    offset_ms: int
    uncertainty_ms: int


class DecodeFailed(Event, frozen=True, array_like=True, gc=False):
    """A frame could not be read; it was dropped and counted."""

    venue: str
    route: str
    problem: str


# --- inputs: the account ---------------------------------------------------------------------------------------------


class Fees(Event, frozen=True, array_like=True, gc=False):
    """Commission as a fraction of notional."""

    market: str
    maker: Decimal
    taker: Decimal


class OrderAccepted(Event, frozen=True, array_like=True, gc=False):
    """The venue's reply to our request: the order exists under `venue_id`."""

    market: str
    client_id: str
    venue_id: str


class OrderRefused(Event, frozen=True, array_like=True, gc=False):
    """The venue's reply: the order does not and will not exist."""

    market: str
    client_id: str
    code: int
    reason: str


class OrderFateUnknown(Event, frozen=True, array_like=True, gc=False):
    """No usable reply: the order may or may not exist."""

    market: str
    client_id: str
    reason: str


class OrderNotFound(Event, frozen=True, array_like=True, gc=False):
    """Asked by client id, the venue does not know the order (yet)."""

    market: str
    client_id: str


class CancelRefused(Event, frozen=True, array_like=True, gc=False):
    """The venue would not cancel, usually because the order is already gone."""

    market: str
    client_id: str
    code: int
    reason: str


class AmendRefused(Event, frozen=True, array_like=True, gc=False):
    """The venue would not change the order, or gave no usable reply (`code` 0): a look-up tells what it is now."""

    market: str
    client_id: str
    code: int
    reason: str


class OrderReport(Event, frozen=True, array_like=True, gc=False):
    """What the venue says of an order: from the private stream, or from a REST look-up (`trade_id` 0, no fill in it).

    `status` is the venue's word (NEW, PARTIALLY_FILLED, FILLED, CANCELED, EXPIRED, REJECTED ...). `filled` is cumulative;
    `last_*`, `fee`, `maker` and `realised` describe the one fill that this report brings.
    """

    market: str
    client_id: str
    venue_id: str
    status: str
    side: Side
    quantity: int
    filled: int
    reduce_only: bool
    venue_ms: int
    last_quantity: int = 0
    last_price: int = 0
    trade_id: int = 0
    fee: Decimal = Decimal(0)
    fee_asset: str = ""
    maker: bool = False
    realised: Decimal = Decimal(0)
    average: str = ""  # the venue's average price where it gives one (REST look-ups)
    price: int = 0  # ticks of a limit order, 0 where it has none or is not told


class ConditionalReport(Event, frozen=True, array_like=True, gc=False):
    """What the venue says of a stop or target: NEW, TRIGGERING, TRIGGERED, FINISHED, CANCELED, REJECTED, EXPIRED.

    `order_id` is the ordinary order that the trigger placed, "" before.
    """

    market: str
    client_id: str
    venue_id: str
    status: str
    order_id: str
    reason: str
    venue_ms: int


class BalanceChange(Event, frozen=True, array_like=True, gc=False):
    """The wallet after a change that is not ours to compute: funding, transfer, insurance. `change` is signed."""

    venue: str
    reason: str  # FUNDING_FEE, DEPOSIT, WITHDRAW ...
    asset: str
    wallet: Decimal
    change: Decimal
    market: str = ""


class PositionFact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A position as the venue reports it: signed steps."""

    market: str
    quantity: int
    entry: Decimal
    mark: Decimal
    unrealised: Decimal
    liquidation: Decimal


class OrderFact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An open order as the venue reports it."""

    market: str
    client_id: str
    venue_id: str
    side: Side
    quantity: int
    filled: int
    reduce_only: bool
    conditional: bool
    trigger: Decimal
    trail_bps: int = 0  # of a trailing stop


class FillFact(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A fill from the venue's list of our trades; it names the order by the venue's id only."""

    market: str
    venue_id: str
    trade_id: int
    side: Side
    quantity: int
    price: int
    fee: Decimal
    maker: bool
    venue_ms: int
    fee_asset: str = ""


class AccountSnapshot(Event, frozen=True, array_like=True, gc=False):
    """Everything the venue says of the account at one moment, by REST."""

    venue: str
    wallet: Decimal
    available: Decimal
    positions: tuple[PositionFact, ...]
    orders: tuple[OrderFact, ...]
    requested_at: int = 0  # engine time before the first of the requests behind it
    fills: tuple[FillFact, ...] = ()  # since the time that was asked for, oldest first


class LeverageSet(Event, frozen=True, array_like=True, gc=False):
    """The venue confirmed a market's leverage."""

    market: str
    leverage: int


class Ticket(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An order that an operator wants: steps and ticks, 0 where there is none. `stop` and `target` make an entry a bracket."""

    side: Side
    kind: OrderKind
    quantity: int
    price: int = 0
    trigger: int = 0
    time_in_force: TimeInForce = TimeInForce.GTC
    reduce_only: bool = False
    stop: int = 0
    target: int = 0
    trail_bps: int = 0


class DeadManSet(Event, frozen=True, array_like=True, gc=False):
    """The venue's answer to `ArmDeadMan`; `problem` says why it is not armed."""

    venue: str
    seconds: int
    problem: str


class Command(Event, frozen=True, array_like=True, gc=False):
    """An operator's wish. `id` makes a doubled press one command; `target` is a market, or an order's client id to cancel."""

    id: str
    action: Action
    source: str = ""
    target: str = ""
    note: str = ""  # why, in the operator's own words
    ticket: Ticket | None = None


class Tick(Event, frozen=True, array_like=True, gc=False):
    """Time passed; sent by the runtime several times a second."""


class Started(Event, frozen=True, array_like=True, gc=False):
    """The first event of a session: what the core was built from. `settings` is JSON without secrets."""

    session: str
    parent: str
    mode: Mode
    settings: str
    version: str
    halted: str = ""  # why the latch was found set, "" if it was not
    speed: float = 1.0  # of engine time against real time
    account: str = ""  # which account at the venue: a hash over its API key, "" without one


class Recovered(Event, frozen=True, array_like=True, gc=False):
    """What the session before this one left: `facts` is a `Recollection` as JSON, or `problem` says why it cannot be had."""

    parent: str
    facts: str
    cut_off: bool  # its engine was killed
    halted: str  # why trading was halted when this session started, "" if it was not
    problem: str = ""
    account: str = ""  # of that session: see `Started`


class Fault(Event, frozen=True, array_like=True, gc=False):
    """A part of the runtime failed; `money_path` says that trading must stop."""

    part: str
    problem: str
    money_path: bool


class ModelChanged(Event, frozen=True, array_like=True, gc=False):
    """The model that is asked, or why none is. `by` is `model` or `shadow`; `digest` tells what exactly runs."""

    by: str
    state: ModelState
    name: str
    digest: str
    version: str  # of the server
    reason: str


class Qualified(Event, frozen=True, array_like=True, gc=False):
    """What mirrored synthetic markets said of a model: `answers` are its chances from the strongest rise to the strongest fall,
    0 where it gave none that can be used.
    """

    by: str
    digest: str
    template: str
    answers: tuple[int, ...]
    cached: bool  # asked in an earlier session


class TrackRecord(Event, frozen=True, array_like=True, gc=False):
    """How a model's judgments turned out in earlier sessions, as the JSON of a `judgment.record.Record`."""

    by: str
    record: str


class Answered(Event, frozen=True, array_like=True, gc=False):
    """The part of an answer that decides, as the model wrote it; nothing in it is checked yet. Milliseconds are real ones
    since it was asked.
    """

    market: str
    question: str
    by: str
    text: str
    digest: str
    first_ms: int  # to its first word
    decided_ms: int  # to the end of this part


class AnswerDone(Event, frozen=True, array_like=True, gc=False):
    """The whole answer, behind `Answered`. `reason`: `stop`, `length`, `cut` (the stream ended without saying so)."""

    market: str
    question: str
    by: str
    text: str
    reason: str
    prompt_tokens: int
    answer_tokens: int
    load_ms: int
    total_ms: int


class AnswerFailed(Event, frozen=True, array_like=True, gc=False):
    """No usable answer. `kind` is a word of `judgment.FAILURES`, `reason` a sentence."""

    market: str
    question: str
    by: str
    kind: str
    reason: str


class JournalState(Event, frozen=True, array_like=True, gc=False):
    """Whether this session can be recorded: `problem` says why not, "" when it can again."""

    problem: str


# --- outputs ---------------------------------------------------------------------------------------------------------


class TrustChanged(Event, frozen=True, array_like=True, gc=False):
    """A book may be traded on, or no longer, and why."""

    market: str
    trust: Trust
    reason: str


class FetchSnapshot(Event, frozen=True, array_like=True, gc=False):
    """Ask REST for the book after `delay_ms`."""

    market: str
    delay_ms: int


class Resubscribe(Event, frozen=True, array_like=True, gc=False):
    """Reconnect a venue's route, because its books failed to synchronise several times; with `market`, leave the connection
    and subscribe to that market's book anew after `delay_ms` (OKX, whose snapshots come only in reply to that).
    """

    venue: str
    route: str
    reason: str
    market: str = ""
    delay_ms: int = 0


class Collect(Event, frozen=True, array_like=True, gc=False):
    """Begin with a symbol at every venue that lists it: an `Instrument` tells of each."""

    symbol: str


class Drop(Event, frozen=True, array_like=True, gc=False):
    """End with a symbol at every venue: `Unlisted` tells of each."""

    symbol: str


class FetchAccount(Event, frozen=True, array_like=True, gc=False):
    """Ask REST for orders, positions and balances, and for our fills since `fills_since_ms` (0: none). `may_wait`: nothing hangs
    on it, so that it leaves the rest of the venue's budget to others.
    """

    venue: str
    reason: str
    fills_since_ms: int = 0
    may_wait: bool = False


class FetchHistory(Event, frozen=True, array_like=True, gc=False):
    """Ask REST for a market's one-minute bars from `since_ms` on and its trades after `after_id`; 0: the newest page of them.

    The answers are one BarHistory, if there is one, and then one TradeHistory, without trades if none could be had.
    """

    market: str
    since_ms: int
    after_id: int


class BarsMissing(Event, frozen=True, array_like=True, gc=False):
    """No bars open in `[from_ms, to_ms)` and none will: what is reckoned from bars begins anew after it."""

    market: str
    timeframe_ms: int
    from_ms: int
    to_ms: int


class BarClosed(Event, frozen=True, array_like=True, gc=False):
    """A bar that changes no more."""

    bar: Bar
    derived: bool = False  # closed by the clock without a trade in it


class Features(msgspec.Struct, frozen=True, gc=False):
    """What is known at a bar's close. Prices are quote units, NaN while a figure warms up; see `processor.features`."""

    close: float
    sma_20: float
    sma_50: float
    ema_12: float
    ema_26: float
    rsi_14: float
    macd: float
    macd_signal: float
    macd_histogram: float
    bollinger_middle: float
    bollinger_upper: float
    bollinger_lower: float
    atr_14: float
    spread_bps: float
    imbalance: float  # (bid size - ask size) / (sum) over the first levels, -1..1
    microprice: float
    trade_intensity: float  # trades a second
    volatility_bps: float  # standard deviation of bar returns
    momentum_bps: float  # return over the momentum window
    # against the same contract at another venue, NaN without a trusted one; see `processor.consolidated`
    basis_bps: float = math.nan
    divergence_bps: float = math.nan
    funding_difference_bps: float = math.nan
    all_spread_bps: float = math.nan
    all_imbalance: float = math.nan
    extra: dict[str, float] = {}  # of `[[indicators]]`, at the bar before this one: they come after a bar has closed


class FeaturesReady(Event, frozen=True, array_like=True, gc=False):
    """What the judge and the strategy see of the bar that opened at `bar_open_ms`."""

    market: str
    timeframe_ms: int
    bar_open_ms: int
    features: Features


class Stance(msgspec.Struct, frozen=True, gc=False):
    """An opinion with an end: entries in the direction of `bias` are allowed until `expires_at` (ns)."""

    market: str
    made_at: int
    expires_at: int
    bias: Bias
    confidence: float  # 0..1
    risk_score: float  # 0 calm .. 1 dangerous
    rationale: str
    source: str
    price: float  # quote units, when it was made
    question: str = ""  # that it answers, "" of rules
    action: str = ""  # open_long, open_short, close, increase, reduce, hold: what it comes to with the position held then
    raw_chance: int = 0  # percent that the model gave, 0 of rules
    chance_up: float = 0.5  # that the price is higher at `due_at`, after clamping and calibration
    size_cap: float = 1.0  # the share of the usual size that it may move, 0: none
    due_at: int = 0  # when it is scored (ns), 0 of rules
    invalid_bps: float = 0.0  # an adverse move that ends it, 0: none
    regime: str = ""
    target_price: float = 0.0  # quote units, 0: none
    stop_price: float = 0.0

    def valid(self, at: int) -> bool:
        """Whether it may still be acted on."""
        return self.made_at <= at < self.expires_at

    @property
    def key(self) -> str:
        """Names it in all sessions: a veto, an early end or its late sentence make no other one of it."""
        return f"{self.source}@{self.made_at} {self.market}"


class Judged(Event, frozen=True, array_like=True, gc=False):
    """An opinion, before anything is done with it."""

    stance: Stance


class AskJudgment(Event, frozen=True, array_like=True, gc=False):
    """Ask the model. `table` is the part of the prompt that changes, `template` names the part that does not."""

    market: str
    question: str
    template: str
    table: str


class JudgmentDropped(Event, frozen=True, array_like=True, gc=False):
    """An answer, or its absence, that nothing follows from; `kind` as in `AnswerFailed`."""

    market: str
    question: str
    by: str
    kind: str
    reason: str


class StanceEnded(Event, frozen=True, array_like=True, gc=False):
    """A stance ended before its time, because of what the market did."""

    market: str
    question: str
    reason: str


class JudgmentScored(Event, frozen=True, array_like=True, gc=False):
    """A judgment met its end: `up` is what happened, prices are quote units, `record` is the model's whole record then (JSON)."""

    market: str
    question: str
    by: str
    chance_up: float
    price: float
    end_price: float
    up: bool
    record: str


class WarmModel(Event, frozen=True, array_like=True, gc=False):
    """Ask the model for a sign of life; a `ModelChanged` answers."""

    by: str


class Decided(Event, frozen=True, array_like=True, gc=False):
    """What the strategy wanted and what became of it: approved, or refused with the reason for the trader."""

    market: str
    purpose: Purpose
    side: Side
    quantity: int
    approved: bool
    reason: str
    judgment: str = ""  # the question behind it, "" where rules or a person are
    mid: float = 0.0  # quote units, then


class SendOrder(Event, frozen=True, array_like=True, gc=False):
    """Place this order. `price` and `trigger` are ticks, 0 where the kind has none."""

    market: str
    client_id: str
    kind: OrderKind
    purpose: Purpose
    side: Side
    quantity: int
    price: int
    trigger: int
    time_in_force: TimeInForce
    reduce_only: bool
    trail_bps: int = 0  # TRAILING: the distance to the best price, basis points; `trigger` is then where it begins to follow


class AmendOrder(Event, frozen=True, array_like=True, gc=False):
    """Change a resting limit order's whole quantity (what is filled included, steps) and price (ticks)."""

    market: str
    client_id: str
    venue_id: str
    side: Side
    quantity: int
    price: int


class CancelOrder(Event, frozen=True, array_like=True, gc=False):
    """Cancel an order; a conditional one lives in another list of the venue. What came of it is told by its reports."""

    market: str
    client_id: str
    venue_id: str
    conditional: bool


class LookUpOrder(Event, frozen=True, array_like=True, gc=False):
    """Ask the venue by client id what became of an order."""

    market: str
    client_id: str
    conditional: bool


class SetLeverage(Event, frozen=True, array_like=True, gc=False):
    """Set a market's leverage at the venue; entries wait for `LeverageSet`."""

    market: str
    leverage: int


class OrderChanged(Event, frozen=True, array_like=True, gc=False):
    """A step in an order's life."""

    market: str
    client_id: str
    before: OrderState
    after: OrderState
    reason: str


class Filled(Event, frozen=True, array_like=True, gc=False):
    """One fill, booked: `position` is the signed position after it in steps, `wallet` the cash after it."""

    market: str
    client_id: str
    trade_id: int
    side: Side
    quantity: int
    price: int
    fee: Decimal
    maker: bool
    realised: Decimal
    position: int
    wallet: Decimal


class FundingPaid(Event, frozen=True, array_like=True, gc=False):
    """Funding was booked: quote units, above 0 received; `wallet` is ours after it."""

    venue: str
    market: str
    amount: Decimal
    wallet: Decimal


class TradingChanged(Event, frozen=True, array_like=True, gc=False):
    """What may be traded from now on, and why."""

    trading: Trading
    reason: str


class LatchHalt(Event, frozen=True, array_like=True, gc=False):
    """Write the halt to disk, so that a restart finds it."""

    reason: str


class ReleaseHalt(Event, frozen=True, array_like=True, gc=False):
    """Remove the halt from disk."""


class KillReport(Event, frozen=True, array_like=True, gc=False):
    """How far a halt or a flatten has come. Times are engine time, 0: not yet; confirmed by the venue's own list of orders and
    positions, read after the ledger said so. `problem`: what is still open, or why nobody was asked.
    """

    who: str
    flatten: bool
    asked_at: int
    orders: int  # that could add exposure, when it was asked for
    positions: int  # that were open then
    cancelled_at: int  # the last of those orders was gone
    safe_at: int  # flat, or a halt: each position with its stop
    confirmed_at: int
    problem: str


class ArmDeadMan(Event, frozen=True, array_like=True, gc=False):
    """Have the venue cancel the account's resting orders in those markets after so many seconds, unless asked again; 0: never."""

    venue: str
    markets: tuple[str, ...]
    seconds: int


class CommandDone(Event, frozen=True, array_like=True, gc=False):
    """What became of a command: taken, or why not."""

    id: str
    accepted: bool
    text: str


class Alert(Event, frozen=True, array_like=True, gc=False):
    """A sentence for the person at the screen."""

    level: Level
    text: str


class Difference(Event, frozen=True, array_like=True, gc=False):
    """The venue and the ledger disagree: what, ours and theirs as text."""

    venue: str
    what: str
    ours: str
    theirs: str


Input = (
    Started
    | Instrument
    | Connected
    | Disconnected
    | BookSnapshot
    | SnapshotFailed
    | BookDelta
    | Quote
    | Trade
    | TradeHistory
    | BarHistory
    | Kline
    | Mark
    | Funding
    | Liquidation
    | Unlisted
    | ClockJumped
    | IndicatorValues
    | ClockOffset
    | DecodeFailed
    | Fees
    | OrderAccepted
    | OrderRefused
    | OrderFateUnknown
    | OrderNotFound
    | CancelRefused
    | AmendRefused
    | DeadManSet
    | OrderReport
    | ConditionalReport
    | BalanceChange
    | AccountSnapshot
    | LeverageSet
    | Command
    | Tick
    | Fault
    | JournalState
    | Recovered
    | Alert
    | ModelChanged
    | Qualified
    | TrackRecord
    | Answered
    | AnswerDone
    | AnswerFailed
)
Output = (
    TrustChanged
    | FetchSnapshot
    | Resubscribe
    | Collect
    | Drop
    | FetchAccount
    | FetchHistory
    | BarsMissing
    | BarClosed
    | FeaturesReady
    | Judged
    | Decided
    | SendOrder
    | AmendOrder
    | CancelOrder
    | LookUpOrder
    | SetLeverage
    | OrderChanged
    | Filled
    | FundingPaid
    | TradingChanged
    | LatchHalt
    | ReleaseHalt
    | KillReport
    | ArmDeadMan
    | CommandDone
    | Alert
    | Difference
    | AskJudgment
    | JudgmentDropped
    | StanceEnded
    | JudgmentScored
    | WarmModel
)

# How a shell hands an event to the core, with the monotonic time (ns) at which its bytes were read; True when something
# that must go out at once followed from it.
Emit = Callable[[Event, int], bool]

# --- encoding: one codec for everything that is written down or sent -----------------------------------------------

_encoder = msgspec.msgpack.Encoder(decimal_format="string")
encode, encode_into = _encoder.encode, _encoder.encode_into
decode_input = msgspec.msgpack.Decoder(Input).decode
decode_output = msgspec.msgpack.Decoder(Output).decode
