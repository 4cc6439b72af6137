"""The core's state in; a frozen picture for whoever looks (a console, a log line, a summary) out."""

import msgspec

from engine.core.state import MarketState, State
from engine.events import Features, Level, Mode, Stance, Trading, Trust


class OrderView(msgspec.Struct, frozen=True):
    """An order that is alive."""

    client_id: str
    market: str
    purpose: str
    kind: str
    side: str
    quantity: str  # base units
    filled: str
    price: str  # quote units, the trigger of conditional orders; "" at market
    state: str


class MarketView(msgspec.Struct, frozen=True):
    """Prices in quote units, quantities in base units, both as text with the instrument's own decimals."""

    market: str
    symbol: str
    trust: Trust
    trust_reason: str
    bid: str
    ask: str
    spread_bps: float | None
    last: str
    mark: str
    position: str
    entry: str
    unrealised: str
    stop: str
    target: str
    features: Features | None
    stance: Stance | None
    age_ms: int | None = None  # since the newest message of its feed
    lag_ms: float | None = None  # mean time from the venue's stamp on a message to its receipt, by the estimated offset


class View(msgspec.Struct, frozen=True):
    """Money in quote units, as text; `at` is engine time, ns."""

    at: int
    mode: Mode
    trading: Trading
    trading_reason: str
    ready: str  # what trading waits for, "" when nothing
    refusal: str  # the newest reason why an entry was not made
    wallet: str
    equity: str
    realised: str
    unrealised: str
    fees: str
    funding: str
    markets: tuple[MarketView, ...]
    orders: tuple[OrderView, ...]
    counters: dict[str, int]
    alerts: tuple[tuple[int, Level, str], ...] = ()


def market_view(state: State, held: MarketState, timeframe_ms: int, at: int) -> MarketView:
    """As it is at engine time `at`."""
    instrument, book = held.instrument, held.book
    position = state.portfolio.position(instrument.market)
    mark = held.mark_price()
    spread = None
    if book.best_bid and book.best_ask:
        spread = round((book.best_ask - book.best_bid) * 20_000 / (book.best_ask + book.best_bid), 3)
    guards = {order.purpose: order for order in state.open_orders(instrument.market) if order.kind.conditional}

    def price(ticks: int) -> str:
        return str(ticks * instrument.tick) if ticks else ""

    def trigger(purpose: str) -> str:
        return next((order.price_text(instrument.tick) for key, order in guards.items() if key == purpose), "")

    return MarketView(
        instrument.market,
        instrument.market.partition(":")[2],
        book.trust,
        book.reason,
        price(book.best_bid),
        price(book.best_ask),
        spread,
        price(held.last_price),
        str(mark) if mark is not None else "",
        str(position.quantity * instrument.step),
        f"{position.entry(instrument):f}"[:16] if position.quantity else "",
        str(position.unrealised(instrument, mark)) if mark is not None and position.quantity else "0",
        trigger("stop"),
        trigger("target"),
        held.features.get(timeframe_ms),
        held.stance,
        (at - held.received_at) // 1_000_000 if held.received_at else None,
        held.mean_lag_us / 1000 if held.received_at else None,
    )


def order_views(state: State) -> tuple[OrderView, ...]:
    """Every order that is alive, oldest first; those of a market that is collected no more are left out."""
    views = []
    for order in state.live_orders():
        held = state.markets.get(order.market)
        if held is None:
            continue
        step, tick = held.instrument.step, held.instrument.tick
        views.append(
            OrderView(
                order.client_id,
                order.market,
                order.purpose.value,
                order.kind.value,
                order.side.name.lower(),
                str(order.quantity * step),
                str(order.filled * step),
                order.price_text(tick),
                order.state.value,
            )
        )
    return tuple(views)
