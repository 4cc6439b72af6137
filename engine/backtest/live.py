"""Bars in; the live core over them, with what a runtime and a venue would tell it, and a session that can be replayed, out.

One bar after another: funding, the orders of the last close at the opening, the stops and targets that rest, then the close, as
`engine.backtest.loop` says, with the fill kernels that it shares with everybody and nothing else of it: the two are compared. The
book is one level a side around the close; there is no liquidation.
"""

import platform
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

import msgspec

from engine import __version__
from engine.backtest.run import Costs, funding
from engine.backtest.series import Series
from engine.config import TIMEFRAMES_MS, Settings, timeframe_ms
from engine.core import Core
from engine.errors import ConfigError
from engine.events import (
    AccountSnapshot,
    Action,
    BalanceChange,
    Bar,
    BookDelta,
    BookSnapshot,
    CancelOrder,
    Command,
    ConditionalReport,
    Connected,
    Event,
    Fees,
    Filled,
    Instrument,
    Kline,
    LeverageSet,
    Mark,
    Mode,
    OrderAccepted,
    OrderKind,
    OrderRefused,
    OrderReport,
    Purpose,
    SendOrder,
    Started,
    Tick,
    TradeHistory,
    pack_levels,
)
from engine.fills import bar_price, half_spread, slippage_bps, stop_reference, target_reference
from engine.queue import Closing, Opening
from engine.queue.local import LocalQueue
from engine.runtime.recorder import code_hash

MS = 1_000_000
SIZE = 10**9
STATE_EVERY = 2_000  # bars: what a jump in a replay has to go through at most
SESSION = "bars"

Heard = Callable[[Event, Sequence[Event]], None]


class LiveBars:
    """Run it over a series; `trades` are (side, quantity, entry bar, exit bar, entry, exit, purpose), `equity` is at each close.

    `heard` gets every input of the core, with what followed from it. Raises ConfigError for bars that it does not know.
    """

    def __init__(
        self, series: Series, settings: Settings, costs: Costs, capital: float = 10_000.0, heard: Heard | None = None
    ) -> None:
        if series.timeframe_ms != timeframe_ms(settings):
            known = ", ".join(TIMEFRAMES_MS)
            raise ConfigError(
                "backtest", "timeframe", f"the live core does not decide on bars of {series.timeframe_ms} ms", known
            )
        self.series, self.costs, self._heard = series, costs, heard
        self.core = Core(settings)
        self.state = self.core.state
        contract = series.contract
        self.taker = Decimal(str(costs.taker)) if costs.taker is not None else contract.taker
        self.market = f"binance:{contract.symbol}"
        self.at = (int(series.open_ms[0]) - 1000) * MS
        self.update = 1_000
        self.out: list[Event] = []
        self.resting: dict[str, SendOrder] = {}
        self.wanted: list[SendOrder] = []
        self.trade_id = self.venue_id = 0
        self.range_bps = 0.0
        self.bar = 0
        self.seen = 0
        self.opened: list[tuple[int, int, int, int]] = []
        self.trades: list[tuple[int, int, int, int, int, int, str]] = []
        self.equity: list[float] = []
        self._begin(Decimal(str(capital)))

    def _begin(self, capital: Decimal) -> None:
        """A feed that is connected, a book that is trusted, an account that is known, trading armed."""
        contract, first = self.series.contract, int(self.series.open[0])
        settings = msgspec.json.encode(self.core.settings).decode()
        self.feed(Started(self.at, SESSION, "", Mode.DEMO, settings, __version__))
        base, _, quote = contract.symbol.partition(":")[0].partition("/")
        sizes = (contract.min_quantity, contract.max_quantity, contract.max_quantity)
        listed = Instrument(
            self.at, self.market, f"{base}{quote}", base, quote, contract.tick, contract.step, *sizes, contract.min_notional, True
        )
        self.feed(listed)
        for route in ("public", "market"):
            self.feed(Connected(self.at, "binance", route))
        self.feed(TradeHistory(self.at, self.market, b""))
        self.feed(self._delta(b"", b""))
        levels = (pack_levels([first - 1, SIZE]), pack_levels([first + 1, SIZE]))
        self.feed(BookSnapshot(self.at, self.market, self.update, *levels, self.at // MS))
        self.feed(self._delta(b"", b""))
        self.feed(Fees(self.at, self.market, Decimal(0), self.taker))
        self.feed(LeverageSet(self.at, self.market, 125))
        self.feed(Connected(self.at, "binance", "private"))
        self.at += MS
        self.feed(AccountSnapshot(self.at, "binance", capital, capital, (), (), self.at))
        self.feed(Command(self.at, "arm", Action.ARM, "the backtest"))
        self._serve()

    def feed(self, event: Event) -> None:
        out = self.core.process(event)
        self.out += out
        if self._heard is not None:
            self._heard(event, out)

    def _delta(self, bids: bytes, asks: bytes) -> BookDelta:
        before, self.update = self.update, self.update + 5
        return BookDelta(self.at, self.market, before + 1, self.update, before, bids, asks, self.at // MS)

    def run(self, going_on: Callable[[int], bool] | None = None) -> "LiveBars":
        """To the end, or until `going_on`, which hears the bar, says no."""
        due, rates = funding(self.series, self.costs)
        owed = dict(zip(due.tolist(), rates.tolist(), strict=True))
        for at in range(len(self.series)):
            self.bar = at
            if going_on is not None and not going_on(at):
                break
            self._bar(owed)
        return self

    def _bar(self, owed: dict[int, float]) -> None:
        s, at = self.series, self.bar
        opening, high, low, close = (int(column[at]) for column in (s.open, s.high, s.low, s.close))
        self._now(int(s.open_ms[at]))
        held = self.state.portfolio.position(self.market)
        if (rate := owed.get(int(s.open_ms[at]))) is not None and held.quantity:
            paid = Decimal(held.quantity) * s.contract.step * opening * s.contract.tick * Decimal(repr(rate))
            wallet = self.state.portfolio.wallet - paid
            self.feed(BalanceChange(self.at, "binance", "FUNDING_FEE", "USDT", wallet, -paid, self.market))
        orders, self.wanted = self.wanted, []
        for order in orders:
            if order.reduce_only and not held.quantity:
                self.feed(OrderRefused(self.at, self.market, order.client_id, -2022, "ReduceOnly Order is rejected."))
            else:
                self._fill(order, opening)
        self._serve()
        self._within(opening, opening, opening)
        self._now(int(s.open_ms[at]) + s.timeframe_ms - 1)
        self._within(opening, high, low)
        self._close(close, high, low, opening)

    def _within(self, opening: int, high: int, low: int) -> None:
        """A stop before a target; nothing else can happen in a bar."""
        for kind, meets in ((OrderKind.STOP, stop_reference), (OrderKind.TARGET, target_reference)):
            for name, order in list(self.resting.items()):
                if order.kind is not kind or name not in self.resting:
                    continue
                reference = meets(-int(order.side), order.trigger, opening, high, low)
                if reference:
                    del self.resting[name]
                    self.venue_id += 1
                    id = str(self.venue_id)
                    report = ConditionalReport(self.at, self.market, name, f"algo{name}", "TRIGGERED", id, "", self.at // MS)
                    self.feed(report)
                    self._fill(order, reference)
                    self._serve()

    def _close(self, close: int, high: int, low: int, opening: int) -> None:
        s, at = self.series, self.bar
        close_ms = int(s.open_ms[at]) + s.timeframe_ms
        self._now(close_ms)
        half = half_spread(close, self.costs.spread_bps)
        book = self.state.markets[self.market].book
        bids = [n for price in book.bid_prices for n in (price, 0)]
        asks = [n for price in book.ask_prices for n in (price, 0)]
        self.feed(self._delta(pack_levels([*bids, close - half, SIZE]), pack_levels([*asks, close + half, SIZE])))
        mark = close * s.contract.tick
        self.feed(Mark(self.at, self.market, mark, mark, Decimal(0), 0, close_ms))
        self.feed(Tick(self.at))
        self._serve()
        self.equity.append(float(self.state.equity()))
        figures = (opening, high, low, close, int(s.volume[at]))
        self.feed(Kline(self.at, Bar(self.market, s.timeframe_ms, int(s.open_ms[at]), *figures, 1), True, close_ms))
        features = self.state.markets[self.market].features[s.timeframe_ms]
        self.range_bps = features.atr_14 / features.close * 1e4 if features.atr_14 > 0.0 else 0.0
        self._serve()

    def _now(self, at_ms: int) -> None:
        self.at = max(at_ms * MS, self.at)

    def _serve(self) -> None:
        """Accept what the core has sent and cancelled since; market orders wait for the next opening."""
        while self.seen < len(self.out):
            event = self.out[self.seen]
            self.seen += 1
            if isinstance(event, SendOrder):
                if event.kind is OrderKind.MARKET:
                    self.wanted.append(event)
                else:
                    self.resting[event.client_id] = event
                    self.feed(OrderAccepted(self.at, self.market, event.client_id, f"algo{event.client_id}"))
            elif isinstance(event, CancelOrder) and self.resting.pop(event.client_id, None) is not None:
                name, at = event.client_id, self.at
                self.feed(ConditionalReport(at, self.market, name, f"algo{name}", "CANCELED", "", "", at // MS))
            elif isinstance(event, Filled):
                self._keep(event)
        self.out.clear()
        self.seen = 0

    def _fill(self, order: SendOrder, reference: int) -> None:
        volume = int(self.series.volume[self.bar])
        slip = slippage_bps(self.costs.slippage_bps, self.costs.impact, self.range_bps, order.quantity, volume)
        price = bar_price(reference, int(order.side), self.costs.spread_bps, slip)
        notional = price * self.series.contract.tick * (order.quantity * self.series.contract.step)
        self.venue_id += 1
        self.trade_id += 1
        if order.kind is OrderKind.MARKET:
            self.feed(OrderAccepted(self.at, self.market, order.client_id, str(self.venue_id)))
        self.feed(
            OrderReport(
                self.at,
                self.market,
                order.client_id,
                str(self.venue_id),
                "FILLED",
                order.side,
                order.quantity,
                order.quantity,
                order.reduce_only,
                self.at // MS,
                order.quantity,
                price,
                self.trade_id,
                (notional * self.taker).quantize(Decimal("1e-8")),
                "USDT",
            )
        )

    def _keep(self, event: Filled) -> None:
        order = self.state.orders[event.client_id]
        if order.purpose is Purpose.ENTRY:
            self.opened = [(int(event.side), event.quantity, self.bar, event.price)]
            return
        side, _, entry_bar, entry = self.opened[0]
        row = (side, event.quantity, entry_bar, self.bar, entry, event.price, order.purpose.value)
        self.trades.append(row)


def write_session(
    series: Series, settings: Settings, costs: Costs, capital: float, to: Path, going_on: Callable[[int], bool] | None = None
) -> int:
    """The live core over the bars as a session at `to`, which the replay screen plays and `sessions verify` checks; how many
    inputs it has. Raises ConfigError, and SessionError where it cannot be written.
    """
    places = msgspec.structs.replace(settings.engine, mode=Mode.DEMO, symbols=(series.contract.symbol,), venues=("binance",))
    bars = next((name for name, ms in TIMEFRAMES_MS.items() if ms == series.timeframe_ms), "auto")
    chosen = msgspec.structs.replace(
        settings,
        engine=places,
        strategy=msgspec.structs.replace(settings.strategy, timeframe=bars),
        book=msgspec.structs.replace(settings.book, cross_check_s=0.0),
    )
    names = (SESSION, "", Mode.DEMO, places.symbols, places.venues, __version__, code_hash(), platform.python_version())
    queue = LocalQueue(to, Opening(*names, int(series.open_ms[0]) * MS, 1.0))
    run = LiveBars(series, chosen, costs, capital, queue.append)

    def each(bar: int) -> bool:
        if bar % STATE_EVERY == 0:
            queue.commit()
            queue.keep(run.core.snapshot())
        return going_on is None or going_on(bar)

    run.run(each)
    state = run.state
    money = (str(state.equity() - Decimal(str(capital))), str(state.portfolio.wallet))
    counts = (queue.inputs, queue.outputs, state.counters.orders, state.counters.fills)
    queue.close(Closing(run.at, *counts, *money, run.core.digest()))
    return queue.inputs
