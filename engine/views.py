"""What consoles see: frozen pictures of the engine, and the messages of the link that carries them.

Pictures are latest-wins: each is whole and replaces the one before it of the same `key`. News are lossless and numbered.
Prices are ticks and sizes steps beside the decimals that they need; money is exact decimal text in quote units.
"""

from decimal import Decimal

import msgspec

from engine.events import (
    Action,
    Alert,
    Bar,
    Bias,
    Decided,
    Features,
    Filled,
    FundingPaid,
    Judged,
    JudgmentDropped,
    JudgmentScored,
    Mode,
    ModelState,
    OrderChanged,
    Side,
    Stance,
    StanceEnded,
    Ticket,
    Trading,
    TradingChanged,
    Trust,
    TrustChanged,
)

PROTOCOL = 9  # raised by any change that an older console could misread
ARM_LIVE = "trade live with real money on {}"
NO_PREVIEW = "What an order would do is not told over a cluster: the engine says so when it is sent."
NOT_HERE = "This is a recorded session: nothing can be sent, and nothing was."


def arm_phrase(venue: str) -> str:
    """What must be typed before a live session makes entries."""
    return ARM_LIVE.format(venue)


def arms(typed: str, venue: str) -> bool:
    """Whether that was typed."""
    return typed.strip().lower() == arm_phrase(venue)


class Picture(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """A part of the screen. `market` is "" where it is about the whole account."""

    market: str

    @property
    def key(self) -> tuple[str, str]:
        return type(self).__name__, self.market


class StatusView(Picture, frozen=True, array_like=True):
    """The always-visible line, and what the engine waits for while it starts."""

    at: int  # engine time, ns
    mode: Mode
    session: str
    speed: float
    trading: Trading
    trading_reason: str
    flattening: bool
    waits_for: tuple[str, ...]  # sentences; empty when everything runs
    refusal: str  # the newest reason why an entry was not made
    routes: tuple[tuple[str, bool], ...]  # venue route, connected
    data_age_ms: int  # since the newest update of the traded book, -1 before the first
    round_trip_us: float
    tick_to_wire_p99_us: float
    loop_lag_p99_us: float
    events: int  # since the session began; consoles make rates of it
    dropped: int
    alerts: int
    link_troubles: int = 0  # consoles that lagged too far, could not be read or were another user's
    markets: tuple[str, ...] = ()  # that are collected now
    lag_ms: int | None = None  # mean time from the watched market's venue stamping a message to us, None before one
    replay: bool = False  # of a recorded session: nothing of it happens now
    kill_open: str = ""  # what a halt or a flatten waits for, "" where none is on its way
    kill_done: str = ""  # how the newest one ended
    forwarding: str = ""  # a word or two on the cluster that the session goes to, "" where it goes to none


class AccountView(Picture, frozen=True, array_like=True):
    """Money in quote units, as text: the ledger's, with what is open at the marks."""

    wallet: str
    equity: str
    realised: str
    unrealised: str
    fees: str
    funding: str
    day_equity: str  # at the opening of the day
    max_daily_loss: float  # the limit, fraction of it
    judges: tuple[tuple[str, str], ...] = ()  # who wanted the positions, and what they earned after commission and funding
    free: str = ""  # equity that neither a position nor an entry holds as margin
    leverages: tuple[tuple[str, int], ...] = ()  # by market, as the venue confirmed them


class ProfitPoint(msgspec.Struct, frozen=True, array_like=True):
    """Money in quote units since the session began."""

    at: int  # engine time, ns
    profit: float  # realised + unrealised - fees + funding
    fees: float
    funding: float
    lowest: float  # the profit at which the day's loss limit is used up, NaN before the day's opening is known
    fall: float  # below the height so far, the deepest since the point before


class ProfitView(Picture, frozen=True, array_like=True):
    """What the session has made, oldest first: some hundred points, the farther apart the longer it runs. From where this
    engine began, or, of a session that is sought through, as far as it was played.
    """

    points: tuple[ProfitPoint, ...]


class LadderView(Picture, frozen=True, array_like=True):
    """Best levels first, `(price, size)`; `own` are our orders at their price: (price, steps, side, what it is for)."""

    tick: Decimal
    step: Decimal
    base: str
    trust: Trust
    reason: str
    bids: tuple[tuple[int, int], ...]
    asks: tuple[tuple[int, int], ...]
    last: int  # newest trade's price, 0 before one
    last_side: int
    mark: str
    spread_bps: float
    imbalance: float
    funding_rate: str
    next_funding_ms: int
    own: tuple[tuple[int, int, Side, str], ...]
    others: tuple[tuple[str, Trust, float, float, float], ...] = ()  # venue, trust, bid, ask (quote units), our basis in bps


Print = tuple[int, int, int, int]  # a trade: venue ms, price, size, the aggressor's side


class TapeView(Picture, frozen=True, array_like=True):
    """The newest trades, the newest last, of `seen` in all since `since` (engine time, ns): what lies between two pictures and
    is in neither can so be counted.
    """

    tick: Decimal
    step: Decimal
    since: int
    seen: int
    prints: tuple[Print, ...]


class MarketRow(msgspec.Struct, frozen=True, array_like=True):
    """A market of the watch list. `closes` are bars' closes evenly apart, the oldest first, of the last `span_ms`: an hour, less
    while less is known. `change` is since its begin.
    """

    market: str
    tick: Decimal
    trust: Trust
    last: int  # newest trade's price, 0 before one
    last_side: int
    basis_bps: float  # our mid over the other venue's, NaN without another that is trusted
    funding_rate: str
    next_funding_ms: int
    position: str  # signed base units
    unrealised: str
    change: float  # fraction, NaN before a bar
    span_ms: int
    closes: tuple[int, ...]


class MarketsView(Picture, frozen=True, array_like=True):
    """Every market that is collected, those of one symbol side by side, the traded one first."""

    rows: tuple[MarketRow, ...]


class ChartView(Picture, frozen=True, array_like=True):
    """Closed bars, oldest first, with one overlay value each, NaN while warming up: another picture when a bar closes."""

    timeframe_ms: int
    tick: Decimal
    bars: tuple[Bar, ...]
    overlays: dict[str, tuple[float, ...]]  # sma_20, sma_50, bollinger_upper, bollinger_lower: quote units
    listed: dict[str, tuple[float, ...]] = {}  # figures of `[[indicators]]` that are prices, by column name: quote units
    judgments: tuple[tuple[int, Bias], ...] = ()  # venue ms when one came into force, and what it allows

    @property
    def key(self) -> tuple[str, str]:
        return type(self).__name__, f"{self.market}@{self.timeframe_ms}"


class ChartLiveView(Picture, frozen=True, array_like=True):
    """What moves on a chart between two closes, or belongs to us."""

    timeframe_ms: int
    unfinished: Bar | None
    marks: tuple[tuple[int, int, Side, str], ...]  # our fills: (venue ms, price, side, entry | exit | stop | target)
    lines: tuple[tuple[str, float], ...]  # entry, stop, target, liquidation: quote units

    @property
    def key(self) -> tuple[str, str]:
        return type(self).__name__, f"{self.market}@{self.timeframe_ms}"


class IndicatorsView(Picture, frozen=True, array_like=True):
    """`extra` are the figures of `[[indicators]]` at the bar that opened at `extra_open_ms`."""

    timeframe_ms: int
    bar_open_ms: int
    features: Features | None
    extra: dict[str, float] = {}
    extra_open_ms: int = 0

    @property
    def key(self) -> tuple[str, str]:
        return type(self).__name__, f"{self.market}@{self.timeframe_ms}"


class JudgmentView(Picture, frozen=True, array_like=True):
    """The newest opinion and what the rules did with it."""

    stance: Stance | None
    vetoed: bool
    outcome: str  # a sentence: entered, refused because ..., waits for the bar ...
    instead: tuple[tuple[str, float, int], ...] = ()  # what would have come of it otherwise: name, profit (quote), trades


class TrackView(msgspec.Struct, frozen=True, array_like=True):
    """How a model's judgments turned out. Intervals are of 95 %, over judgments that do not overlap; gains in basis points a
    judgment, after costs.
    """

    n: int
    independent: int
    hits: int
    sided: int
    hit_low: float
    hit_high: float
    brier: float
    skill: float  # 1 - Brier / 0.25
    skill_low: float
    skill_high: float
    brier_rules: float
    gain: float
    gain_rules: float
    believed: float
    buckets: tuple[tuple[int, int, float], ...]  # n, of them up, mean chance: by tenths of the chance
    regimes: tuple[tuple[str, int, int], ...] = ()  # name, n, of them right
    dropped: int = 0  # answers that were not used, in all sessions


class ModelView(Picture, frozen=True, array_like=True):
    """The language model behind the judgments of a market: how it is, what it writes, and how far it is believed."""

    state: ModelState
    name: str
    digest: str
    reason: str  # of its state, a sentence or ""
    tier: str
    size_cap: float
    verdict: tuple[str, ...]  # why it is not qualified
    questions: int
    answers: int
    dropped: tuple[tuple[str, int], ...]
    problem: str  # the newest reason why no stance came of a question
    rests_until: int  # engine time, ns; 0: it may be asked
    usual_ms: int
    track: TrackView | None
    writing: str = ""  # of the rationale, as far as it is written
    seconds: float = 0.0  # that it has been asked for
    shadow: str = ""  # a sentence about the second model


class PositionRow(msgspec.Struct, frozen=True, array_like=True):
    """A market that is held or was traded. Money and prices in quote units, as text; `opened_at` is engine time, ns."""

    market: str
    quantity: str  # signed base units
    entry: str
    mark: str
    unrealised: str
    unrealised_percent: float  # of the position's cost
    notional: str
    leverage: int
    stop: str
    target: str
    realised: str
    fees: str
    funding: str
    opened_at: int


class PositionsView(Picture, frozen=True, array_like=True):
    """Every market that is held or was traded in this session."""

    rows: tuple[PositionRow, ...]


class OrderRow(msgspec.Struct, frozen=True, array_like=True):
    """Quantities in base units and prices in quote units, as text; `created_at` is engine time, ns."""

    client_id: str
    market: str
    purpose: str
    kind: str
    side: Side
    quantity: str
    filled: str
    price: str  # trigger of conditional orders, "" at market
    state: str
    created_at: int
    reason: str


class OrdersView(Picture, frozen=True, array_like=True):
    """Open orders, and the newest finished ones after them."""

    open: tuple[OrderRow, ...]
    finished: tuple[OrderRow, ...]


class OpeningView(Picture, frozen=True, array_like=True):
    """The account as the venue told it last, and our limits: to be read before trading is armed. `ready`: nothing is awaited."""

    rows: tuple[tuple[str, str], ...]  # a name, "" where it is the one above, and what there is to say
    ready: bool


class StageRow(msgspec.Struct, frozen=True, array_like=True):
    """How long one stage takes, in microseconds, in the last minute and in the session."""

    name: str
    recent: int  # how often it was measured in the last minute
    recent_p50: float
    recent_p99: float
    count: int
    p50: float
    p99: float


class LatencyView(Picture, frozen=True, array_like=True):
    """The stages in their order: `feed` (from the venue's stamp to here), `book` (one update), `features` (of a bar), `decision`,
    `risk`, `send` (from the decision to the order's bytes at the socket), `ack` (from there to the venue's reply).
    """

    stages: tuple[StageRow, ...]


class TraceView(Picture, frozen=True, array_like=True):
    """The chain of an order or of a judgment, from the question to the money: what each step is called, when (engine time, 0: not
    known), and what it was.
    """

    order: str  # as in `Watch`
    steps: tuple[tuple[str, int, str], ...]


class Room(msgspec.Struct, frozen=True, array_like=True):
    """A limit, and how much of it there would be used; both in `unit`."""

    name: str
    used: float
    limit: float
    unit: str  # USDT, %, bps, x, steps, or "" for a number of times
    share: float  # of the limit that is used; above 1 (where the limit itself is too much: from 1 on) it refuses
    least: bool = False  # it may not be fallen below


class Estimate(msgspec.Struct, frozen=True, array_like=True):
    """What an order would do now, reckoned as if all of it were filled: what the book shows at its prices, the rest at the limit.

    Money is exact text in quote units; `result`, `loss` and `gain` are after the commissions of going in and out.
    """

    quantity: int  # steps
    taken: int  # of them, by the book at once
    average: float  # price, quote units
    slippage_bps: float  # of what is taken at once, beyond the best price
    notional: str
    fee: str
    leverage: float  # of the account after it, with the entries that rest
    liquidation: float  # price, of the position after it; 0 where there is none
    funding: str  # that the position after it would pay at the next settlement; below zero it receives
    funding_in_s: float  # until then; infinite where the venue has not told
    stop: int  # ticks, 0 without one
    target: int
    result: str  # what closing comes to, "" of an entry
    loss: str  # of an entry at its stop, "" without one
    gain: str  # at its target
    most: int  # steps that the limits would let an entry have, as sizing is clipped to it; 0 of what closes
    rooms: tuple[Room, ...]  # of the limits that apply to it, the nearest first


class TicketView(Picture, frozen=True, array_like=True):
    """What the engine would do with a ticket if it were sent now. Nothing was done, and nothing remembers it."""

    ticket: Ticket
    amends: str  # the order that it would change, "" for a new one
    refusal: str  # why it would not be sent, "" where it would
    estimate: Estimate | None = None
    notes: tuple[str, ...] = ()  # sentences about what the venue would make of it


AnyPicture = (
    StatusView
    | AccountView
    | LadderView
    | ChartView
    | ChartLiveView
    | IndicatorsView
    | JudgmentView
    | PositionsView
    | OrdersView
    | OpeningView
    | ModelView
    | TraceView
    | TicketView
    | TapeView
    | MarketsView
    | LatencyView
    | ProfitView
)
AnyNews = (
    Alert
    | Decided
    | Filled
    | FundingPaid
    | Judged
    | JudgmentDropped
    | JudgmentScored
    | OrderChanged
    | StanceEnded
    | TradingChanged
    | TrustChanged
)

# --- the link's messages ---------------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, frozen=True, tag=True):
    """The console's first word: its protocol, whether it may steer, and the frames a second that it wants: with 0 it is
    shown nothing, only commands, and its end is nobody's loss. A relay is shown all markets and timeframes, for consoles
    elsewhere; its end is nobody's loss either.
    """

    protocol: int
    version: str
    control: bool
    frames_per_s: float
    relay: bool = False


class Welcome(msgspec.Struct, frozen=True, tag=True):
    """The engine's answer. `news` is the number of the next news that it will be sent: what came before is in the first
    pictures. The first console of an engine is also sent the news from before it came.
    """

    protocol: int
    version: str
    session: str
    pid: int
    markets: tuple[str, ...]
    news: int


class Goodbye(msgspec.Struct, frozen=True, tag=True):
    """A sentence: why the link ends (another protocol, the engine stops, this console lagged too far)."""

    reason: str


class Frame(msgspec.Struct, frozen=True, tag=True):
    """What changed since the last frame: pictures that did, and all news in between (`first` is the number of the first)."""

    first: int
    pictures: tuple[AnyPicture, ...]
    news: tuple[AnyNews, ...]


class Watch(msgspec.Struct, frozen=True, tag=True):
    """Which market and timeframe the console shows: only these are sent in full."""

    market: str
    timeframe_ms: int
    depth: int  # levels a side
    order: str = ""  # whose trace is shown: an order's client id, or a judgment's key or question
    ticket: Ticket | None = None  # that is being written: what it would do is shown
    amends: str = ""  # the order that it would change, a client id


class Ask(msgspec.Struct, frozen=True, tag=True):
    """A command. `id` makes it happen once; `target` is a market or an order's client id where the action needs one."""

    id: str
    action: Action
    target: str = ""
    note: str = ""  # why, in the operator's own words
    source: str = "the console"
    ticket: Ticket | None = None


class Leave(msgspec.Struct, frozen=True, tag=True):
    """The console's last word. Going with it is no loss; a console that may steer also says what becomes of the engine:
    it runs on without a console, or settles and ends.
    """

    keep_running: bool


class Answer(msgspec.Struct, frozen=True, tag=True):
    """The engine took the command, or says why not."""

    id: str
    accepted: bool
    text: str


ToConsole = Welcome | Goodbye | Frame | Answer
ToEngine = Hello | Watch | Ask | Leave

encode = msgspec.msgpack.Encoder(decimal_format="string").encode
decode_to_console = msgspec.msgpack.Decoder(ToConsole).decode
decode_to_engine = msgspec.msgpack.Decoder(ToEngine).decode
