"""The live core on bars: what a runtime and a venue would do, with the fills that bars give.

One bar after another: funding, the orders of the last close at the opening, the stops and targets that rest, then the close, as
`engine.backtest.loop` says. Nothing of the loop is used here, only the fill kernels that it shares with everybody.
"""

from decimal import Decimal

from engine.backtest.run import Costs, funding
from engine.backtest.series import Series
from engine.config import Settings
from engine.events import (
    BalanceChange,
    Bar,
    BookDelta,
    CancelOrder,
    ConditionalReport,
    Fees,
    Filled,
    Kline,
    Mark,
    OrderAccepted,
    OrderKind,
    OrderRefused,
    OrderReport,
    Purpose,
    SendOrder,
    Tick,
    pack_levels,
)
from engine.fills import bar_price, half_spread, slippage_bps, stop_reference, target_reference
from tests.factory import MARKET, MS, Desk

SIZE = 10**9


class BarDesk:
    """Feed it a series; `trades` are (side, quantity, entry bar, exit bar, entry, exit, purpose), `equity` is at each close."""

    def __init__(self, series: Series, settings: Settings, costs: Costs, capital: str = "10000") -> None:
        self.series, self.costs = series, costs
        self.taker = Decimal(str(costs.taker)) if costs.taker is not None else series.contract.taker
        self.desk = Desk(settings)
        self.desk.at = (int(series.open_ms[0]) - 1000) * MS
        self.state = self.desk.core.state
        self.desk.open(int(series.open[0]) - 1, int(series.open[0]) + 1)
        self.desk.feed(Fees(self.desk.at, MARKET, Decimal(0), self.taker))
        self.desk.arm()
        self.resting: dict[str, SendOrder] = {}
        self.market: list[SendOrder] = []
        self.trade_id = self.venue_id = 0
        self.range_bps = 0.0
        self.bar = 0
        self.seen = len(self.desk.out)
        self.opened: list[tuple[int, int, int, int]] = []
        self.trades: list[tuple[int, int, int, int, int, int, str]] = []
        self.equity: list[float] = []

    def run(self) -> "BarDesk":
        due, rates = funding(self.series, self.costs)
        owed = dict(zip(due.tolist(), rates.tolist(), strict=True))
        for at in range(len(self.series)):
            self.bar = at
            self._bar(owed)
        return self

    def _bar(self, owed: dict[int, float]) -> None:
        s, at = self.series, self.bar
        opening, high, low, close = (int(column[at]) for column in (s.open, s.high, s.low, s.close))
        self._now(int(s.open_ms[at]))
        held = self.state.portfolio.position(MARKET)
        if (rate := owed.get(int(s.open_ms[at]))) is not None and held.quantity:
            paid = Decimal(held.quantity) * s.contract.step * opening * s.contract.tick * Decimal(repr(rate))
            wallet = self.state.portfolio.wallet - paid
            self.desk.feed(BalanceChange(self.desk.at, "binance", "FUNDING_FEE", "USDT", wallet, -paid, MARKET))
        orders, self.market = self.market, []
        for order in orders:
            if order.reduce_only and not held.quantity:
                self.desk.feed(OrderRefused(self.desk.at, MARKET, order.client_id, -2022, "ReduceOnly Order is rejected."))
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
                    report = ConditionalReport(self.desk.at, MARKET, name, f"algo{name}", "TRIGGERED", id, "", self.desk.at // MS)
                    self.desk.feed(report)
                    self._fill(order, reference)
                    self._serve()

    def _close(self, close: int, high: int, low: int, opening: int) -> None:
        s, at = self.series, self.bar
        close_ms = int(s.open_ms[at]) + s.timeframe_ms
        self._now(close_ms)
        half = half_spread(close, self.costs.spread_bps)
        book = self.state.markets[MARKET].book
        bids = [n for price in book.bid_prices for n in (price, 0)]
        asks = [n for price in book.ask_prices for n in (price, 0)]
        before, self.desk.update = self.desk.update, self.desk.update + 5
        levels = (pack_levels([*bids, close - half, SIZE]), pack_levels([*asks, close + half, SIZE]))
        self.desk.feed(BookDelta(self.desk.at, MARKET, before + 1, self.desk.update, before, *levels, close_ms))
        mark = close * s.contract.tick
        self.desk.feed(Mark(self.desk.at, MARKET, mark, mark, Decimal(0), 0, close_ms))
        self.desk.feed(Tick(self.desk.at))
        self._serve()
        self.equity.append(float(self.state.equity()))
        figures = (opening, high, low, close, int(s.volume[at]))
        self.desk.feed(Kline(self.desk.at, Bar(MARKET, s.timeframe_ms, int(s.open_ms[at]), *figures, 1), True, close_ms))
        features = self.state.markets[MARKET].features[s.timeframe_ms]
        self.range_bps = features.atr_14 / features.close * 1e4 if features.atr_14 > 0.0 else 0.0
        self._serve()

    def _now(self, at_ms: int) -> None:
        self.desk.at = max(at_ms * MS, self.desk.at)

    def _serve(self) -> None:
        """Accept what the core has sent and cancelled since; market orders wait for the next opening."""
        while self.seen < len(self.desk.out):
            event = self.desk.out[self.seen]
            self.seen += 1
            if isinstance(event, SendOrder):
                if event.kind is OrderKind.MARKET:
                    self.market.append(event)
                else:
                    self.resting[event.client_id] = event
                    self.desk.feed(OrderAccepted(self.desk.at, MARKET, event.client_id, f"algo{event.client_id}"))
            elif isinstance(event, CancelOrder) and self.resting.pop(event.client_id, None) is not None:
                name, at = event.client_id, self.desk.at
                self.desk.feed(ConditionalReport(at, MARKET, name, f"algo{name}", "CANCELED", "", "", at // MS))
            elif isinstance(event, Filled):
                self._keep(event)

    def _fill(self, order: SendOrder, reference: int) -> None:
        volume = int(self.series.volume[self.bar])
        slip = slippage_bps(self.costs.slippage_bps, self.costs.impact, self.range_bps, order.quantity, volume)
        price = bar_price(reference, int(order.side), self.costs.spread_bps, slip)
        notional = price * self.series.contract.tick * (order.quantity * self.series.contract.step)
        self.venue_id += 1
        self.trade_id += 1
        if order.kind is OrderKind.MARKET:
            self.desk.feed(OrderAccepted(self.desk.at, MARKET, order.client_id, str(self.venue_id)))
        self.desk.feed(
            OrderReport(
                self.desk.at,
                MARKET,
                order.client_id,
                str(self.venue_id),
                "FILLED",
                order.side,
                order.quantity,
                order.quantity,
                order.reduce_only,
                self.desk.at // MS,
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
