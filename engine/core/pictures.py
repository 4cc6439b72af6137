"""The core's state in; the pictures that a console watching one market needs out. Nothing here changes the state."""

import math
from collections.abc import Callable, Mapping

from engine import risk
from engine.config import Settings
from engine.core import across, judging
from engine.core.curve import Curve
from engine.core.preview import free_margin, preview
from engine.core.state import MarketState, State
from engine.core.tape import Tape
from engine.core.trace import trace
from engine.events import ModelState, OrderKind, Purpose, Side, Trust
from engine.execution.orders import Order
from engine.fills import liquidation_price
from engine.judgment.record import Record, believed, hit_interval, skill_interval
from engine.portfolio import Position
from engine.processor import consolidated
from engine.processor.features import imbalance
from engine.views import (
    AccountView,
    AnyPicture,
    ChartLiveView,
    ChartView,
    IndicatorsView,
    JudgmentView,
    LadderView,
    MarketRow,
    MarketsView,
    ModelView,
    OrderRow,
    OrdersView,
    PositionRow,
    PositionsView,
    TapeView,
    TrackView,
    Watch,
)

BARS_SHOWN = 300
FLAT = Position()  # read only
FINISHED_SHOWN = 50
SPARKS = 30  # points of a market's small curve
SPARKS_OF_MS = {60_000: 3_600_000, 1_000: 300_000}  # bars: how far back they are shown, the first that have enough
OVERLAYS = ("sma_20", "sma_50", "bollinger_upper", "bollinger_lower")


def pictures(
    state: State,
    settings: Settings,
    watch: Watch,
    charts: Callable[[MarketState, int], ChartView] | None = None,
    tapes: Mapping[str, Tape] | None = None,
    curve: Curve | None = None,
) -> list[AnyPicture]:
    """Everything but the status line, which the runtime adds. `charts` stands in for `chart`: one that remembers."""
    found: list[AnyPicture] = [account(state, settings), positions(state), orders(state), markets(state)]
    if curve is not None:
        found.append(curve.view)
    if watch.order:
        found.append(trace(state, watch.order))
    if watch.ticket is not None:
        found.append(preview(state, settings, watch.market, watch.ticket, watch.amends))
    held = state.markets.get(watch.market)
    if held is not None:
        if (asked := model(state, settings, held)) is not None:
            found.append(asked)
        found += [ladder(state, settings, held, watch.depth), judgment(held), indicators(held, watch.timeframe_ms)]
        if tapes is not None:
            found.append(tape(held, tapes.get(watch.market) or Tape()))
        if watch.timeframe_ms in held.bars:
            found += [(charts or chart)(held, watch.timeframe_ms), chart_live(state, settings, held, watch.timeframe_ms)]
    return found


def account(state: State, settings: Settings) -> AccountView:
    """The ledger's money, with what is open at the marks."""
    portfolio = state.portfolio
    unrealised = portfolio.unrealised(state.instruments(), state.marks())
    return AccountView(
        "",
        str(portfolio.wallet),
        str(portfolio.wallet + unrealised),
        str(portfolio.realised),
        str(unrealised),
        str(portfolio.fees),
        str(portfolio.funding),
        str(portfolio.day_equity),
        settings.risk.max_daily_loss,
        tuple((judge, str(one.net)) for judge, one in portfolio.judges.items()),
        str(free_margin(state)),
        tuple((market, held.leverage) for market, held in state.markets.items() if held.leverage),
    )


def ladder(state: State, settings: Settings, held: MarketState, depth: int) -> LadderView:
    """The nearest `depth` levels a side and our own orders; NaN for what an empty side leaves unknown."""
    instrument, book = held.instrument, held.book
    bids, asks = tuple(book.top(Side.BUY, depth)), tuple(book.top(Side.SELL, depth))
    spread = tilt = math.nan
    if bids and asks:
        spread = (asks[0][0] - bids[0][0]) * 20_000 / (asks[0][0] + bids[0][0])
        n = settings.features.imbalance_levels
        tilt = imbalance(sum(size for _, size in bids[:n]), sum(size for _, size in asks[:n]))
    own = tuple(
        (order.trigger or order.price, order.unfilled, order.side, order.purpose.value)
        for order in state.open_orders(instrument.market)
        if order.trigger or order.price
    )
    mark, due = held.mark, held.next_funding()
    return LadderView(
        instrument.market,
        instrument.tick,
        instrument.step,
        instrument.base,
        book.trust,
        book.reason,
        bids,
        asks,
        held.last_price,
        held.last_side,
        str(mark.mark) if mark else "",
        spread,
        tilt,
        str(due[0]) if due is not None else "",
        due[1] if due is not None else 0,
        own,
        tuple(_elsewhere(held, other) for other in across.elsewhere(state, held)),
    )


def _elsewhere(held: MarketState, other: MarketState) -> tuple[str, Trust, float, float, float]:
    book, tick = other.book, float(other.instrument.tick)
    basis = consolidated.distance_bps(consolidated.mid(across.quoted(held)), consolidated.mid(across.quoted(other)))
    return other.venue, book.trust, book.best_bid * tick, book.best_ask * tick, basis


def tape(held: MarketState, known: Tape) -> TapeView:
    instrument = held.instrument
    return TapeView(instrument.market, instrument.tick, instrument.step, known.since, known.seen, tuple(known.prints))


def markets(state: State) -> MarketsView:
    by_symbol: dict[str, list[MarketState]] = {}
    for held in state.markets.values():
        by_symbol.setdefault(held.symbol, []).append(held)
    return MarketsView("", tuple(_market(state, held, alike) for alike in by_symbol.values() for held in alike))


def _market(state: State, held: MarketState, alike: list[MarketState]) -> MarketRow:
    """`alike` are the same contract at all venues."""
    instrument, market = held.instrument, held.instrument.market
    ours = consolidated.mid(across.quoted(held))
    theirs = [consolidated.mid(across.quoted(other)) for other in alike if other is not held]
    due, mark, position = held.next_funding(), held.mark_price(), state.portfolio.positions.get(market, FLAT)
    change, span_ms, closes = _sparks(held)
    return MarketRow(
        market,
        instrument.tick,
        held.book.trust,
        held.last_price,
        held.last_side,
        next((consolidated.distance_bps(ours, mid) for mid in theirs if mid), math.nan),
        str(due[0]) if due is not None else "",
        due[1] if due is not None else 0,
        str(position.quantity * instrument.step),
        str(position.unrealised(instrument, mark)) if mark is not None and position.quantity else "0",
        change,
        span_ms,
        closes,
    )


def _sparks(held: MarketState) -> tuple[float, int, tuple[int, ...]]:
    """Change, span and closes, as in `MarketRow`. Which bars are picked hangs on their opening: the curve does not jitter."""
    for timeframe_ms, back_ms in SPARKS_OF_MS.items():
        closed = held.bars[timeframe_ms].closed[-(back_ms // timeframe_ms) :]
        ends_ms = closed[-1].open_ms + timeframe_ms if closed else 0
        closed = [bar for bar in closed if bar.open_ms >= ends_ms - back_ms]  # there may be holes
        if len(closed) * timeframe_ms < min(SPARKS_OF_MS.values()) and timeframe_ms != min(SPARKS_OF_MS):
            continue  # minutes say less than seconds do yet
        if closed:
            picked = tuple(bar.close for bar in closed if bar.open_ms % (back_ms // SPARKS) == 0)
            now = held.last_price or closed[-1].close
            return now / closed[0].open - 1, ends_ms - closed[0].open_ms, picked
    return math.nan, 0, ()


def chart(held: MarketState, timeframe_ms: int) -> ChartView:
    """The closed bars and the lines over them; NaN where a line is not warm yet."""
    closed = tuple(held.bars[timeframe_ms].closed[-BARS_SHOWN:])
    rows = {row[0]: row[1:] for row in held.overlays.get(timeframe_ms, [])[-BARS_SHOWN - 1 :]}
    blank = (math.nan,) * len(OVERLAYS)
    columns = [rows.get(bar.open_ms, blank) for bar in closed]
    overlays = {name: tuple(column[n] for column in columns) for n, name in enumerate(OVERLAYS)}
    lines = held.listed.get(timeframe_ms, {})
    listed = {name: tuple(line.get(bar.open_ms, math.nan) for bar in closed) for name, line in lines.items()}
    since_ms = closed[0].open_ms if closed else 0
    judgments = tuple(mark for mark in held.stance_marks if mark[0] >= since_ms)
    return ChartView(held.instrument.market, timeframe_ms, held.instrument.tick, closed, overlays, listed, judgments)


def chart_version(held: MarketState, timeframe_ms: int) -> tuple[int, ...]:
    """Differs whenever `chart` would: a bar closed or was mended, its overlays were reckoned, or a stance came into force. The
    lists are cut at once.
    """
    bars, rows = held.bars[timeframe_ms], held.overlays.get(timeframe_ms, [])
    newest_ms = bars.closed[-1].open_ms if bars.closed else -1
    more = held.catalog.get(timeframe_ms)
    after = (more.at if more is not None else -1, held.stance_marks[-1][0] if held.stance_marks else -1)
    return len(bars.closed), newest_ms, bars.counters.mended, len(rows), rows[-1][0] if rows else -1, *after


def chart_live(state: State, settings: Settings, held: MarketState, timeframe_ms: int) -> ChartLiveView:
    """The bar that is not closed, fills, and the position's lines: what changes between two bars."""
    market, tick = held.instrument.market, float(held.instrument.tick)
    bars = held.bars[timeframe_ms]
    since_ms = bars.closed[-min(BARS_SHOWN, len(bars.closed))].open_ms if bars.closed else 0
    position = state.portfolio.positions.get(market, FLAT)
    lines: list[tuple[str, float]] = []
    if position.quantity:
        lines.append(("entry", float(position.entry(held.instrument))))
        lines += [(name, order.trigger * tick) for name, order in guards(state, market).items() if order.trigger]
        lines += [("liquidation", price) for price in (liquidation(state, settings, held, position),) if price > 0.0]
    marks = tuple(mark for mark in held.fill_marks if mark[0] >= since_ms)
    return ChartLiveView(market, timeframe_ms, bars.unfinished, marks, tuple(lines))


def liquidation(state: State, settings: Settings, held: MarketState, position: Position) -> float:
    """The price (quote units) at which the position would be liquidated, 0 where none does that. On a cross margin all of the
    account stands for it, less what the other positions need; on an isolated one its own margin does.
    """
    size, cost, marks = float(abs(position.quantity) * held.instrument.step), float(position.cost), state.marks()
    if settings.risk.margin_mode == "isolated":
        wallet = cost / max(held.leverage, 1)
    else:
        market = held.instrument.market
        own = position.unrealised(held.instrument, marks[market]) if market in marks else 0
        others = sum(
            abs(other.quantity) * state.markets[name].instrument.step * marks[name]
            for name, other in state.portfolio.positions.items()
            if name != market and name in marks
        )
        wallet = float(state.equity() - own) - risk.MAINTENANCE * float(others)
    return liquidation_price(position.side, size, cost, wallet, risk.MAINTENANCE)


def indicators(held: MarketState, timeframe_ms: int) -> IndicatorsView:
    closed = held.bars[timeframe_ms].closed if timeframe_ms in held.bars else []
    open_ms = closed[-1].open_ms if closed else 0
    more = held.catalog.get(timeframe_ms)
    extra, extra_ms = (more.values, more.bar_open_ms) if more is not None else ({}, 0)
    return IndicatorsView(held.instrument.market, timeframe_ms, open_ms, held.features.get(timeframe_ms), extra, extra_ms)


def judgment(held: MarketState) -> JudgmentView:
    instead = tuple((name, paper.profit, paper.trades) for name, paper in held.papers.items())
    return JudgmentView(held.instrument.market, held.stance, held.vetoed, held.outcome, instead)


def model(state: State, settings: Settings, held: MarketState) -> ModelView | None:
    """None where no model was ever heard of."""
    judge = state.judges.get("model")
    if judge is None:
        return None
    at = judging.tier(settings, judge)
    resting = bool(judge.rests_until) and judge.state is ModelState.READY
    shadow = state.judges.get("shadow")
    second = ""
    if shadow is not None:
        known = shadow.record
        score = f", Brier {known.brier / known.n:.3f} of {known.n}" if known is not None and known.n else ""
        second = f"{shadow.name}: {shadow.state.value}, {shadow.answers} answers{score}"
    return ModelView(
        held.instrument.market,
        ModelState.RULES if resting else judge.state,
        judge.name,
        judge.digest,
        judge.problem if resting else judge.reason,
        at.value,
        judging.size_cap(settings, at),
        judge.verdict,
        judge.questions,
        judge.answers,
        tuple(sorted(judge.dropped.items())),
        judge.problem,
        judge.rests_until,
        judge.usual_ms,
        _track(judge.record),
        shadow=second,
    )


def _track(known: Record | None) -> TrackView | None:
    if known is None or not known.n:
        return None
    low, high = skill_interval(known)
    return TrackView(
        known.n,
        known.independent,
        known.hits,
        known.sided,
        *hit_interval(known.hits, known.sided),
        known.brier / known.n,
        1.0 - known.brier / known.n / 0.25,
        low / 0.25,
        high / 0.25,
        known.brier_rules / known.n,
        known.gain / known.n,
        known.gain_rules / known.n,
        believed(known),
        tuple((tally.n, tally.ups, tally.chances / tally.n if tally.n else 0.0) for tally in known.buckets),
        tuple((name, tally.n, tally.hits) for name, tally in sorted(known.regimes.items())),
        known.dropped,
    )


def guards(state: State, market: str) -> dict[str, Order]:
    """The live stop and target of a market's position, by name."""
    return {order.purpose.value: order for order in state.open_orders(market) if order.kind.conditional}


def positions(state: State) -> PositionsView:
    """A row for each market that is held or was traded."""
    rows = []
    for market, held in state.markets.items():
        position = state.portfolio.positions.get(market)
        if position is None or not (position.quantity or position.fees):
            continue
        instrument, mark = held.instrument, held.mark_price()
        unrealised = position.unrealised(instrument, mark) if mark is not None else position.realised * 0
        live = guards(state, market)
        rows.append(
            PositionRow(
                market,
                str(position.quantity * instrument.step),
                f"{position.entry(instrument):f}",
                str(mark) if mark is not None else "",
                str(unrealised),
                float(unrealised / position.cost * 100) if position.cost else 0.0,
                f"{abs(position.quantity) * instrument.step * mark:f}" if mark is not None else "",
                held.leverage,
                _price(held, live.get("stop")),
                _price(held, live.get("target")),
                str(position.realised),
                str(position.fees),
                str(position.funding),
                position.opened_at,
            )
        )
    return PositionsView("", tuple(rows))


def orders(state: State) -> OrdersView:
    finished = [state.orders[name] for name in state.final_orders[-FINISHED_SHOWN:] if name in state.orders]
    return OrdersView(
        "",
        tuple(_row(state, order) for order in state.live_orders() if order.market in state.markets),
        tuple(_row(state, order) for order in reversed(finished) if order.state.final and order.market in state.markets),
    )


def _row(state: State, order: Order) -> OrderRow:
    held = state.markets[order.market]
    step = held.instrument.step
    return OrderRow(
        order.client_id,
        order.market,
        order.purpose.value,
        order.kind.value,
        order.side,
        str(order.quantity * step),
        str(order.filled * step),
        "" if order.kind is OrderKind.MARKET and order.purpose in (Purpose.ENTRY, Purpose.EXIT) else _price(held, order),
        order.state.value,
        order.created_at,
        order.reason,
    )


def _price(held: MarketState, order: Order | None) -> str:
    return order.price_text(held.instrument.tick) if order is not None else ""
