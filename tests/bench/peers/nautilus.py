"""nautilus_trader: bars through its event-driven engine; a market order on a bar fills at its close, not the next opening."""

from decimal import Decimal

import common
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.core.nautilus_pyo3 import NAUTILUS_VERSION
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import Bar, BarType
from nautilus_trader.model.enums import AccountType, OmsType, OrderSide, TimeInForce
from nautilus_trader.model.identifiers import InstrumentId, Symbol, Venue
from nautilus_trader.model.instruments import CryptoPerpetual
from nautilus_trader.model.objects import Currency, Money, Price, Quantity
from nautilus_trader.trading.strategy import Strategy

held = common.bars()
cross, rsi, atr = common.signals(held["close"], held["high"], held["low"])
venue = Venue("BENCH")
ABC = Currency.from_str("BTC")
instrument = CryptoPerpetual(
    instrument_id=InstrumentId(Symbol("ABCUSDT"), venue),
    raw_symbol=Symbol("ABCUSDT"),
    base_currency=ABC,
    quote_currency=USDT,
    settlement_currency=USDT,
    is_inverse=False,
    price_precision=6,  # finer than the bars: stops that are rounded to their ticks are other stops
    size_precision=0,
    price_increment=Price.from_str("0.000001"),
    size_increment=Quantity.from_str("1"),
    max_quantity=None,
    min_quantity=None,
    max_notional=None,
    min_notional=None,
    max_price=None,
    min_price=None,
    margin_init=Decimal("0.01"),
    margin_maint=Decimal("0.005"),
    maker_fee=Decimal(str(common.FEE)),
    taker_fee=Decimal(str(common.FEE)),
    ts_event=0,
    ts_init=0,
)
kind = BarType.from_str(f"{instrument.id}-1-MINUTE-LAST-EXTERNAL")
made = [
    Bar(kind, Price(o, 6), Price(h, 6), Price(low, 6), Price(c, 6), Quantity(max(v, 1), 0), at, at)
    for o, h, low, c, v, at in zip(
        *(held[name].tolist() for name in ("open", "high", "low", "close", "volume")),
        ((held["open_ms"] + 60_000) * 1_000_000).tolist(),
        strict=True,
    )
]


class Cross(Strategy):
    def __init__(self) -> None:
        super().__init__()
        self.at = -1

    def on_start(self) -> None:
        self.subscribe_bars(kind)

    def on_bar(self, bar: Bar) -> None:
        self.at += 1
        way = cross[self.at]
        if not way:
            return
        close = float(bar.close)
        if not self.portfolio.is_flat(instrument.id):
            if self.portfolio.is_net_long(instrument.id) != (way > 0):
                self.cancel_all_orders(instrument.id)
                self.close_all_positions(instrument.id)
            return
        if not ((way > 0 and rsi[self.at] < 70) or (way < 0 and rsi[self.at] > 30)):
            return
        equity = float(self.portfolio.account(venue).balance_total(USDT).as_double())
        units = int(equity * common.SHARE / close)
        stop, target = close - way * common.STOP * atr[self.at], close + way * common.TARGET * atr[self.at]
        orders = self.order_factory.bracket(
            instrument_id=instrument.id,
            order_side=OrderSide.BUY if way > 0 else OrderSide.SELL,
            quantity=Quantity(units, 0),
            sl_trigger_price=Price(stop, 6),
            tp_price=Price(target, 6),
            tp_post_only=False,
            time_in_force=TimeInForce.GTC,
        )
        self.submit_order_list(orders)


def run() -> dict[str, float]:
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True), run_analysis=False))
    engine.add_venue(venue, OmsType.NETTING, AccountType.MARGIN, [Money(common.CAPITAL, USDT)], base_currency=USDT)
    engine.add_instrument(instrument)
    engine.add_data(made)
    engine.add_strategy(Cross())
    engine.run()
    closed = engine.cache.positions_closed()
    snapshots = len(engine.cache.position_snapshots())
    found = {"trades": len(closed) + snapshots, "final": engine.portfolio.account(venue).balance_total(USDT).as_double()}
    engine.dispose()
    return found


common.report("nautilus_trader", NAUTILUS_VERSION, run)
