"""A session's figures in one struct: the last line of `--json`, and what the readable form is made from."""

from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import msgspec
from msgspec import Meta

from engine.core.counterfactual import profit
from engine.core.pictures import model
from engine.events import AccountSnapshot, Mode, Stance, Trading
from engine.portfolio import Earned, Portfolio
from engine.queue.bridge import Status
from engine.runtime.recorder import Recorded
from engine.runtime.stats import Percentiles

if TYPE_CHECKING:
    from engine.runtime.engine import Engine


class PositionSummary(msgspec.Struct, frozen=True):
    """Base and quote units, as exact text. `venue_*` are the venue's own figures at the last comparison."""

    market: str
    quantity: str
    entry: str
    unrealised: str  # at the venue's mark of the last comparison, at our mark without one
    venue_quantity: str | None
    venue_unrealised: str | None
    stop: str


class Agreement(msgspec.Struct, frozen=True):
    """Our ledger beside the venue's account, to the last digit."""

    compared: bool
    equal: bool
    wallet: str
    venue_wallet: str | None
    differences: int
    commission_mismatches: int


class Row(msgspec.Struct, frozen=True):
    """What one instrument, venue, judge or judgment earned, as exact text; `net` is realised - fees + funding."""

    realised: str
    fees: str
    funding: str
    net: str
    fills: int


class LedgerSummary(msgspec.Struct, frozen=True):
    """The same money seen four ways: each sums up to the session's totals."""

    instruments: dict[str, Row]  # "": funding whose market the venue has not told
    venues: dict[str, Row]
    judges: dict[str, Row]
    judgments: dict[str, Row]  # by question, "" of rules and people
    older_judgments: int  # that are no rows of their own any more
    older: Row


class BookSummary(msgspec.Struct, frozen=True):
    """How one market's data were: trust at the end, counters of the session."""

    market: str
    trust: str
    reason: str
    counters: dict[str, int]
    bars: dict[str, int]
    clock_offset_ms: int  # the venue's clock minus ours
    lag_ms: float  # mean time from the venue's stamp on a message to its receipt, corrected by that


class Summary(msgspec.Struct, frozen=True):
    """The session. Money and quantities are exact decimal text."""

    session: Annotated[str, Meta(description="Name of this run of the engine")]
    mode: Annotated[Mode, Meta(description="What the prices and the orders were")]
    seconds: Annotated[float, Meta(description="Engine time from start to end; more than real time with `--speed`")]
    trading: Annotated[Trading, Meta(description="`off`, `armed` or `halted` at the end")]
    trading_reason: Annotated[str, Meta(description="Why")]
    first_price_s: Annotated[float | None, Meta(description="Real seconds from the engine's start to the first price")]
    first_position_s: Annotated[float | None, Meta(description="Real seconds from the engine's start to the first fill")]
    events: Annotated[int, Meta(description="Everything that entered the core")]
    frames: Annotated[int, Meta(description="Market-data frames read from the sockets")]
    outputs: Annotated[int, Meta(description="Everything that left the core")]
    counts: Annotated[dict[str, int], Meta(description="What happened how often, by kind")]
    gaps: Annotated[int, Meta(description="Breaks in the books' chains of updates")]
    crossed: Annotated[int, Meta(description="Books whose best bid reached the best ask")]
    ticker_agreements: Annotated[
        int, Meta(description="Times book and ticker had the same update id and the same best prices and sizes")
    ]
    ticker_mismatches: Annotated[int, Meta(description="Times they had the same id and differed")]
    judgments: Annotated[int, Meta(description="Opinions formed")]
    last_judgment: Annotated[Stance | None, Meta(description="The newest one, with its rationale")]
    instead: Annotated[
        dict[str, float],
        Meta(
            description="Profit, after fees, of papers beside the account: the model followed raw, the rules alone, no risk gate"
        ),
    ]
    model: Annotated[
        dict[str, Any] | None,
        Meta(description="The language model: state, name, digest, rank, answers, what was dropped, record; null: none"),
    ]
    orders: Annotated[int, Meta(description="Orders sent, protective ones included")]
    fills: Annotated[int, Meta(description="Fills booked")]
    fees: Annotated[str, Meta(description="Commission paid, USDT")]
    realised: Annotated[str, Meta(description="Profit of what was closed, before fees")]
    unrealised: Annotated[str, Meta(description="Profit of what is open, at the venue's mark where it was compared")]
    funding: Annotated[str, Meta(description="Funding received (negative: paid)")]
    pnl: Annotated[str, Meta(description="realised + unrealised - fees + funding")]
    wallet: Annotated[str, Meta(description="Cash by our ledger")]
    equity: Annotated[str, Meta(description="wallet + unrealised")]
    ledger: Annotated[
        LedgerSummary,
        Meta(
            description=(
                "Realised profit, fees, funding and fills by instrument, by venue, by who wanted the position (the judge, "
                "`operator`, `external`, `earlier`), and by judgment: the newest 200, the older ones as one row"
            )
        ),
    ]
    positions: Annotated[
        tuple[PositionSummary, ...], Meta(description="Markets that were traded: position, stop, and the venue's own figures")
    ]
    agreement: Annotated[Agreement, Meta(description="Our ledger beside the venue's account: `equal` means to the last digit")]
    books: Annotated[
        tuple[BookSummary, ...],
        Meta(description="Each book's trust, its counters, the bars closed, the venue's clock and the mean lag of its messages"),
    ]
    latency_us: Annotated[
        dict[str, Percentiles],
        Meta(
            description=(
                "Microseconds at p50, p99 and p99.9: an event through the core (`process`); from the socket read "
                "that causes an order to its bytes at the socket (`tick_to_wire`) and the parts of that "
                "(`read_to_core`, `core`, `handoff`, `ccxt`); the order's `round_trip`; from what wanted it to a "
                "cancel's bytes (`cancel_to_wire`); how late the loop's timer fires (`loop_lag`)"
            )
        ),
    ]
    dropped: Annotated[dict[str, int], Meta(description="What came and was not used, by reason")]
    recording: Annotated[
        Recorded | None,
        Meta(
            description="The session's file: inputs and outputs, compressed bytes, what was lost; null: `[queue] record` is off"
        ),
    ]
    fluvio: Annotated[
        Status | None,
        Meta(description="The bridge to Fluvio: its state, chunks behind, records acknowledged, failures; null: not wanted"),
    ]
    restarts: Annotated[int, Meta(description="Tasks that ended and were started again")]
    alerts: Annotated[int, Meta(description="Sentences told on stderr")]


def render_table() -> str:
    """The README's table of the summary object."""
    rows = []
    for name, hint in get_type_hints(Summary, include_extras=True).items():
        description = next(meta.description for meta in hint.__metadata__ if isinstance(meta, Meta))
        rows.append(f"| `{name}` | {description} |")
    return "\n".join(["| field | what it is |", "|---|---|", *rows])


def summarise(engine: "Engine") -> Summary:
    """The figures as they are now; an engine that has settled gives its last ones."""
    state, portfolio = engine.state, engine.state.portfolio
    theirs = engine.venue_account
    positions = tuple(_position(engine, market, theirs) for market in state.markets if _touched(engine, market))
    unrealised = sum((Decimal(position.unrealised) for position in positions), Decimal(0))
    books = [held.book.counters for held in state.markets.values()]
    stances = [held.stance for held in state.markets.values() if held.stance is not None]
    return Summary(
        engine.session,
        engine.settings.engine.mode,
        round(engine.run_seconds, 3),
        state.trading,
        state.trading_reason,
        _since(engine.started_ns, engine.first_price_ns),
        _since(engine.started_ns, engine.first_position_ns),
        state.counters.events,
        engine.frames,
        engine.outputs,
        msgspec.structs.asdict(state.counters),
        sum(book.gaps for book in books),
        sum(book.crossed for book in books),
        sum(book.agreements for book in books),
        sum(book.mismatches for book in books),
        state.counters.judgments,
        stances[0] if stances else None,
        _instead(engine),
        _model(engine),
        state.counters.orders,
        state.counters.fills,
        str(portfolio.fees),
        str(portfolio.realised),
        str(unrealised),
        str(portfolio.funding),
        str(portfolio.realised + unrealised - portfolio.fees + portfolio.funding),
        str(portfolio.wallet),
        str(portfolio.wallet + unrealised),
        _ledger(portfolio),
        positions,
        _agreement(engine, positions, theirs),
        tuple(
            BookSummary(
                name,
                held.book.trust.value,
                held.book.reason,
                msgspec.structs.asdict(held.book.counters),
                {f"{timeframe // 1000}s": len(bars.closed) for timeframe, bars in held.bars.items()},
                held.clock_offset_ms,
                held.mean_lag_us / 1000,
            )
            for name, held in state.markets.items()
        ),
        engine.latencies.summary(),
        dropped(engine),
        engine.recorder.figures() if engine.recorder is not None else None,
        engine.forwarding.status if engine.forwarding is not None else None,
        engine.restarts,
        engine.alerts_seen,
    )


def _ledger(portfolio: Portfolio) -> LedgerSummary:
    return LedgerSummary(
        _rows(portfolio.by_market()),
        _rows(portfolio.by_venue()),
        _rows(portfolio.judges),
        _rows(portfolio.judgments),
        portfolio.older_judgments,
        _row(portfolio.older),
    )


def _rows(earned: dict[str, Earned]) -> dict[str, Row]:
    return {name: _row(one) for name, one in earned.items()}


def _row(one: Earned) -> Row:
    return Row(str(one.realised), str(one.fees), str(one.funding), str(one.net), one.fills)


def _model(engine: "Engine") -> dict[str, Any] | None:
    held = engine.state.traded
    view = model(engine.state, engine.settings, held) if held is not None else None
    if view is None:
        return None
    track = msgspec.structs.asdict(view.track) if view.track is not None else None
    return {**msgspec.structs.asdict(view), "dropped": dict(view.dropped), "track": track}


def _instead(engine: "Engine") -> dict[str, float]:
    held = engine.state.traded
    return {name: round(profit(held, paper), 2) for name, paper in held.papers.items()} if held is not None else {}


def _touched(engine: "Engine", market: str) -> bool:
    position = engine.state.portfolio.positions.get(market)
    return position is not None and bool(position.quantity or position.realised or position.fees)


def _position(engine: "Engine", market: str, theirs: AccountSnapshot | None) -> PositionSummary:
    held = engine.state.markets[market]
    instrument, position = held.instrument, engine.state.portfolio.position(market)
    fact = next((fact for fact in theirs.positions if fact.market == market), None) if theirs else None
    mark = fact.mark if fact is not None and fact.quantity else held.mark_price()
    unrealised = position.unrealised(instrument, mark) if mark is not None and position.quantity else Decimal(0)
    stops = [order for order in engine.state.open_orders(market) if order.purpose == "stop"]
    return PositionSummary(
        market,
        str(position.quantity * instrument.step),
        str(position.entry(instrument)),
        str(unrealised),
        str((fact.quantity if fact else 0) * instrument.step) if theirs else None,
        (str(fact.unrealised) if fact else "0") if theirs else None,
        str(stops[0].trigger * instrument.tick) if stops else "",
    )


def _agreement(engine: "Engine", positions: tuple[PositionSummary, ...], theirs: AccountSnapshot | None) -> Agreement:
    """Equal means: wallet, each position and its unrealised profit, and no difference was found on the way."""
    portfolio = engine.state.portfolio
    equal = theirs is not None and theirs.wallet == portfolio.wallet and engine.state.counters.differences == 0
    equal = equal and all(_same(position) for position in positions)
    return Agreement(
        theirs is not None,
        equal,
        str(portfolio.wallet),
        str(theirs.wallet) if theirs else None,
        engine.state.counters.differences,
        portfolio.fee_mismatches,
    )


def _same(position: PositionSummary) -> bool:
    ours, theirs = (position.quantity, position.unrealised), (position.venue_quantity, position.venue_unrealised)
    return all(there is not None and Decimal(here) == Decimal(there) for here, there in zip(ours, theirs, strict=True))


def dropped(engine: "Engine") -> dict[str, int]:
    """Everything that came and was not used, by reason."""
    dropped = {
        "undecodable": engine.state.counters.decode_failures,
        "unknown_market": engine.state.counters.ignored + sum(one.decoder.unknown_symbols for one in engine.sources.values()),
        "late_trades": 0,
        "buffered_updates": 0,
        "buffered_trades": 0,
        "duplicates": 0,
        "unrecorded": engine.recorder.figures().lost if engine.recorder is not None else 0,
    }
    for held in engine.state.markets.values():
        dropped["buffered_updates"] += held.book.counters.buffer_dropped
        dropped["duplicates"] += held.book.counters.duplicates
        for bars in held.bars.values():
            dropped["late_trades"] += bars.counters.late
            dropped["buffered_trades"] += bars.counters.buffer_dropped
    return dropped


def _since(start_ns: int, then_ns: int) -> float | None:
    return round((then_ns - start_ns) / 1e9, 3) if then_ns else None
