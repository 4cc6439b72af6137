"""The settings, declared once: sections as structs, each key with its type, range, default and description.

`config.toml`, the README's table, the validation and its messages are all made from here.
"""

from typing import Annotated

import msgspec
from msgspec import Meta

from engine.catalog import Wanted
from engine.events import Mode

Positive = Annotated[float, Meta(gt=0)]
Fraction = Annotated[float, Meta(gt=0, le=1)]


VENUES = ("binance", "okx")


class EngineSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What runs and where it keeps its state."""

    mode: Annotated[Mode, Meta(description="What the prices and the orders are; never changes within a session")] = Mode.DEMO
    symbols: Annotated[
        tuple[str, ...], Meta(min_length=1, description="Markets to collect; the first one is traded (unified symbols)")
    ] = ("ASTER/USDT:USDT", "BTC/USDT:USDT", "ETH/USDT:USDT")
    venues: Annotated[
        tuple[str, ...],
        Meta(min_length=1, description="Venues to collect from, binance and okx; orders go to the first one"),
    ] = ("binance", "okx")
    state_dir: Annotated[str, Meta(description="Folder for the halt latch and sessions; empty: the platform's state folder")] = ""
    arm_at_start: Annotated[
        str, Meta(pattern="^(auto|yes|no)$", description="Whether entries may be made from the start; auto: in demo only")
    ] = "auto"
    on_console_loss: Annotated[
        str,
        Meta(
            pattern="^(halt|flatten|run)$",
            description="What the engine does when the last console that steers is lost (one that says goodbye is not)",
        ),
    ] = "halt"
    console_loss_after_s: Annotated[
        float, Meta(ge=0, le=3600, description="Seconds without such a console, after a loss, until it does that")
    ] = 5.0
    console_return_s: Annotated[
        float, Meta(ge=0, le=86400, description="Seconds after that for a console to come back; then the engine settles and ends")
    ] = 30.0
    tick_ms: Annotated[int, Meta(ge=10, le=1000, description="How often time-driven checks run, in engine milliseconds")] = 100


class VenueSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How venues are reached, and the simulated one."""

    binance_rest: Annotated[str, Meta(description="REST base; empty: the mode's own")] = ""
    binance_ws: Annotated[str, Meta(description="Websocket base; empty: the mode's own")] = ""
    okx_rest: Annotated[str, Meta(description="REST base of OKX; empty: the mode's own")] = ""
    okx_ws: Annotated[str, Meta(description="Websocket base of OKX; empty: the mode's own")] = ""
    first_data_s: Annotated[Positive, Meta(description="A stream must bring its first data within this many seconds")] = 10.0
    recv_window_ms: Annotated[
        int, Meta(ge=100, le=60000, description="How long after its timestamp an order may still execute")
    ] = 5000
    seed: Annotated[int, Meta(ge=0, description="Seed of the simulated venue's order flow (demo)")] = 7
    balance: Annotated[Positive, Meta(description="Starting balance of the simulated account, USDT")] = 10_000.0
    paper_latency_ms: Annotated[
        float, Meta(ge=0, le=10_000, description="Real milliseconds that a request to the simulated venue takes in paper")
    ] = 20.0


class BookSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When a book is trusted."""

    stale_after_ms: Annotated[int, Meta(ge=100, description="A book without an update for this long is stale")] = 3000
    levels: Annotated[int, Meta(ge=50, le=5000, description="Levels kept on each side; those further away are dropped")] = 1000
    cross_check_s: Annotated[
        float, Meta(ge=0, le=86400, description="Seconds between two comparisons of a trusted book with a REST picture; 0: none")
    ] = 60.0
    snapshot_floor_ms: Annotated[int, Meta(ge=0, description="Least time between two book snapshots of a market")] = 1000
    resubscribe_after: Annotated[int, Meta(ge=1, description="Failed synchronisations before the feed is reconnected")] = 3


class FeatureSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Windows of the microstructure features (the indicators' windows are their names)."""

    imbalance_levels: Annotated[int, Meta(ge=1, le=100, description="Levels a side in the depth imbalance")] = 10
    intensity_window_s: Annotated[Positive, Meta(description="Seconds over which trades are counted")] = 10.0
    volatility_bars: Annotated[int, Meta(ge=3, le=500, description="Bars in the volatility")] = 30
    momentum_bars: Annotated[int, Meta(ge=1, le=500, description="Bars in the momentum")] = 10


class JudgmentSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How often an opinion is formed and what it takes to act on it."""

    every_bars: Annotated[int, Meta(ge=1, description="Closed bars between two judgments")] = 5
    lifetime_bars: Annotated[int, Meta(ge=1, description="Bars for which a judgment is valid")] = 15
    min_confidence: Annotated[float, Meta(ge=0, le=1, description="Entries need at least this confidence")] = 0.55
    max_risk_score: Annotated[float, Meta(ge=0, le=1, description="Entries are refused above this risk score")] = 0.85
    judge: Annotated[
        str,
        Meta(
            pattern=r"^(auto|rules|model|[A-Za-z_][\w.]*:[A-Za-z_]\w*)$",
            description="Who judges: `rules`, `model` (Ollama), `auto`: the model where one answers; or your own, `module:name`",
        ),
    ] = "auto"
    fallback: Annotated[
        str, Meta(pattern="^(rules|hold)$", description="Who judges where the model does not: the rules, or nobody (no entry)")
    ] = "rules"
    host: Annotated[str, Meta(description="Where Ollama listens")] = "http://127.0.0.1:11434"
    model: Annotated[str, Meta(description="Ollama's name of the model; empty: the Mistral that is installed")] = ""
    shadow: Annotated[str, Meta(description="A second model, asked the same on paper only; empty: none")] = ""
    ask_every_s: Annotated[
        float, Meta(ge=1, le=86_400, description="Seconds between two questions; never below twice the usual answer's time")
    ] = 30.0
    deadline_s: Annotated[float, Meta(gt=0, le=600, description="Real seconds that an answer may take")] = 45.0
    max_expiry_min: Annotated[float, Meta(gt=0, le=60, description="Minutes that a model's judgment is valid at most")] = 30.0
    cost_factor: Annotated[
        float, Meta(ge=1, le=100, description="A model's expected move must be this many times the cost of going in and out")
    ] = 1.5
    num_ctx: Annotated[int, Meta(ge=1024, le=32_768, description="Context of the model in tokens; a change loads it anew")] = 2048
    num_thread: Annotated[
        int, Meta(ge=0, le=256, description="Threads of the model; 0: a core less than there are; a change loads it anew")
    ] = 0
    keep_alive: Annotated[
        str, Meta(pattern=r"^-?\d+(ms|s|m|h)?$", description="How long Ollama keeps the model loaded without a question")
    ] = "30m"
    allow_unqualified: Annotated[
        bool, Meta(description="Trade on a model that failed the test of mirrored markets (demo only)")
    ] = False
    probation: Annotated[
        int,
        Meta(ge=1, le=100_000, description="Scored judgments, not overlapping, before a model counts as known"),
    ] = 50
    probation_size: Annotated[
        Fraction, Meta(description="Share of the usual size until then, and of a model without an edge")
    ] = 0.1
    hold_after: Annotated[
        int, Meta(ge=1, le=100_000, description="Scored judgments after which a model that is worse than chance is not traded")
    ] = 100


class StrategySettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """When to enter and leave, and how large."""

    name: Annotated[
        str,
        Meta(
            pattern=r"^[A-Za-z_][\w.-]*(:[A-Za-z_]\w*)?$",
            description="Who decides: `stance`, `reversion`, `breakout`, one that a package offers, or your own, `module:name`",
        ),
    ] = "stance"
    parameters: Annotated[tuple[str, ...], Meta(description="Its parameters that are not the defaults, each as name=value")] = ()
    timeframe: Annotated[str, Meta(pattern="^(auto|1s|1m)$", description="Bars that decide; auto: 1s in demo, else 1m")] = "auto"
    sizing: Annotated[
        str,
        Meta(
            pattern="^(fixed|percentage_of_capital|kelly|risk_parity)$",
            description="How a position is sized; the keys below that name a way belong to it",
        ),
    ] = "percentage_of_capital"
    fixed_notional: Annotated[Positive, Meta(description="fixed: notional of a position, USDT")] = 500.0
    capital_fraction: Annotated[Fraction, Meta(description="percentage_of_capital: notional as a fraction of equity")] = 0.1
    kelly_fraction: Annotated[Fraction, Meta(description="kelly: fraction of the full Kelly stake")] = 0.25
    kelly_capital: Annotated[Fraction, Meta(description="kelly: notional as a fraction of equity, at most")] = 0.2
    kelly_outcomes: Annotated[
        int,
        Meta(
            ge=1,
            le=100_000,
            description="kelly: outcomes (scored judgments of a model, trades on paper of the rules) before it stakes anything",
        ),
    ] = 30
    risk_per_trade: Annotated[Fraction, Meta(description="risk_parity: fraction of equity lost at the stop")] = 0.005
    stop_atr: Annotated[Positive, Meta(description="Distance of the protective stop in ATRs")] = 3.0
    target_atr: Annotated[Positive, Meta(description="Distance of the target in ATRs")] = 4.5
    min_stop_bps: Annotated[Positive, Meta(description="Least distance of the stop, basis points of price")] = 25.0
    cooldown_bars: Annotated[int, Meta(ge=0, description="Bars to wait after a position was closed")] = 5


class RiskSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Hard limits. Nothing that a model or a venue says can raise them."""

    max_order_notional: Annotated[Positive, Meta(description="Largest order, USDT")] = 2_000.0
    max_position_notional: Annotated[Positive, Meta(description="Largest position in a market, USDT")] = 5_000.0
    max_gross_notional: Annotated[Positive, Meta(description="Largest exposure of all positions together, USDT")] = 50_000.0
    max_leverage: Annotated[Positive, Meta(description="Largest gross exposure as a multiple of equity")] = 3.0
    margin_mode: Annotated[
        str, Meta(pattern="^(cross|isolated)$", description="Which money backs a position at the venue; set there before trading")
    ] = "cross"
    max_loss_per_trade: Annotated[Fraction, Meta(description="Largest loss at the stop, fraction of equity")] = 0.01
    max_daily_loss: Annotated[
        Fraction, Meta(description="Loss of a day, fraction of its opening equity, after which entries stop")
    ] = 0.03
    day_starts: Annotated[str, Meta(pattern=r"^([01]\d|2[0-3]):[0-5]\d$", description="When that day begins, HH:MM in UTC")] = (
        "00:00"
    )
    on_daily_loss: Annotated[
        str,
        Meta(
            pattern="^(block|reduce|flatten)$",
            description="What happens then: `block`: no entry; `reduce`: half of each position is closed; `flatten`: all of it",
        ),
    ] = "block"
    max_drawdown: Annotated[
        Fraction, Meta(description="Fall of the equity from its height, sessions before included, after which entries stop")
    ] = 0.1
    on_drawdown: Annotated[
        str, Meta(pattern="^(block|reduce|flatten)$", description="What happens then, as with the daily loss")
    ] = "block"
    min_liquidation_distance: Annotated[
        float,
        Meta(ge=0, lt=1, description="Entries leave the account this far from liquidation, fraction of the price; 0: any"),
    ] = 0.1
    loss_cooldown_s: Annotated[
        float, Meta(ge=0, le=86_400, description="Seconds without an entry in a market after a loss there; 0: none")
    ] = 0.0
    stop_guard: Annotated[
        int, Meta(ge=0, le=100, description="So many stops hit within `stop_guard_bars`, and a market gets no entry; 0: any")
    ] = 4
    stop_guard_bars: Annotated[int, Meta(ge=1, le=10_000, description="Bars of the strategy over which stops are counted")] = 60
    funding_window_s: Annotated[
        float, Meta(ge=0, le=3_600, description="Seconds before funding without an entry that would pay too much of it; 0: none")
    ] = 60.0
    max_funding_bps: Annotated[
        float, Meta(ge=0, le=1_000, description="What an entry may pay at the next funding within that window, basis points")
    ] = 5.0
    max_spread_bps: Annotated[Positive, Meta(description="Entries are refused above this spread, basis points")] = 20.0
    max_divergence_bps: Annotated[
        Positive, Meta(description="Entries are refused while the venues' prices are further apart than this, basis points")
    ] = 30.0
    max_collar_bps: Annotated[
        Positive,
        Meta(
            description="How far an entry may pay beyond the mark and other venues' prices, basis points; resting, 20 times that"
        ),
    ] = 100.0
    duplicate_window_s: Annotated[
        float,
        Meta(ge=0, le=60, description="Seconds within which the same entry (side, size, limit) is not sent twice; 0: never"),
    ] = 1.0
    max_judgment_age_s: Annotated[
        Positive, Meta(description="Entries do not follow a judgment that is older, whatever its own expiry says, seconds")
    ] = 900.0
    max_judgment_drift_bps: Annotated[
        Positive, Meta(description="Entries do not follow a judgment once the price has moved further since, basis points")
    ] = 150.0
    max_orders_per_minute: Annotated[int, Meta(ge=1, description="Entry orders a minute")] = 30
    flatten_within_bps: Annotated[
        Positive, Meta(description="A flatten takes the book no further than this from its best price at once, basis points")
    ] = 20.0
    dead_man_s: Annotated[
        int,
        Meta(ge=0, le=120, description="Seconds until the venue cancels resting entries of an engine that is gone; 0: never"),
    ] = 60
    protect_within_ms: Annotated[int, Meta(ge=50, description="A position without a stop for this long is closed")] = 3000


class QueueSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a session is recorded."""

    record: Annotated[bool, Meta(description="Record every session in the state folder, so that it can be replayed")] = True
    durable: Annotated[
        str,
        Meta(
            pattern="^(auto|yes|no)$",
            description="Whether an order is on the disk, safe from a loss of power, before it is sent; auto: in live only",
        ),
    ] = "auto"
    backend: Annotated[
        str,
        Meta(
            pattern="^(local|fluvio)$",
            description="Where the journal goes: `local`: the state folder; `fluvio`: from there on to a Fluvio cluster too",
        ),
    ] = "local"
    endpoint: Annotated[
        str, Meta(pattern=r"^[^\s:]+:\d{1,5}$", description="The cluster's controller as host:port, with backend fluvio")
    ] = "127.0.0.1:9003"
    profile: Annotated[
        str, Meta(description="A profile of Fluvio's own configuration, for endpoint and TLS in place of these keys; empty: none")
    ] = ""
    tls_ca: Annotated[
        str, Meta(description="PEM file of who vouches for the cluster's certificate; turns TLS on, and needs the next two")
    ] = ""
    tls_cert: Annotated[str, Meta(description="PEM file of our certificate")] = ""
    tls_key: Annotated[str, Meta(description="PEM file of its private key; the path alone is kept")] = ""
    tls_domain: Annotated[
        str,
        Meta(description="The name in the certificate, which holds *.NAME too, for storage units; empty: the endpoint's host"),
    ] = ""
    retention_hours: Annotated[
        float, Meta(ge=1, le=87_600, description="How long the cluster keeps records, set when a topic is made")
    ] = 168.0
    keep_days: Annotated[
        float,
        Meta(ge=0, le=3650, description="Days that a session's market data are kept; its money records stay; 0: for good"),
    ] = 30.0
    keep_gb: Annotated[
        float,
        Meta(ge=0, le=10_000, description="GB for all sessions of a mode; the oldest lose their market data first; 0: any"),
    ] = 5.0


class ConsoleSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The screen: what it looks like, and its keys. The engine does not read it."""

    theme: Annotated[
        str, Meta(description="What the screen wears: a theme of ours, or the name of one in your themes folder")
    ] = "dark"
    frames_per_s: Annotated[
        float, Meta(ge=5, le=30, description="How often a second the screen is painted at most; fewer for a slow line")
    ] = 12.0
    layout: Annotated[str, Meta(description="How the panes lie at the start: desk, chart, orders, or one of `layouts`")] = "desk"
    keys: Annotated[
        dict[str, str],
        Meta(description='Other keys, each as name = key: halt = "f9"; commas separate several, the README has the names'),
    ] = {}
    layouts: Annotated[
        dict[str, tuple[str, ...]],
        Meta(description='Layouts of your own, each as name = rows of panes: mine = ["ladder chart", "positions/orders log"]'),
    ] = {}


INDICATORS = 50  # entries at most


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All sections of `config.toml`, and its list of further indicators."""

    engine: EngineSettings = EngineSettings()
    venue: VenueSettings = VenueSettings()
    book: BookSettings = BookSettings()
    features: FeatureSettings = FeatureSettings()
    judgment: JudgmentSettings = JudgmentSettings()
    strategy: StrategySettings = StrategySettings()
    risk: RiskSettings = RiskSettings()
    queue: QueueSettings = QueueSettings()
    console: ConsoleSettings = ConsoleSettings()
    indicators: tuple[Wanted, ...] = ()


TIMEFRAMES_MS = {"1s": 1_000, "1m": 60_000}


def day_starts_s(settings: Settings) -> int:
    """Seconds after midnight UTC at which the day of the daily loss begins."""
    hours, minutes = settings.risk.day_starts.split(":")
    return int(hours) * 3_600 + int(minutes) * 60


def timeframe_ms(settings: Settings) -> int:
    """Length of the bars that decide."""
    if settings.strategy.timeframe == "auto":
        return TIMEFRAMES_MS["1s" if settings.engine.mode is Mode.DEMO else "1m"]
    return TIMEFRAMES_MS[settings.strategy.timeframe]
