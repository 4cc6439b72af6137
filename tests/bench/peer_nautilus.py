"""nautilus_trader's backtest over ticks that another process wrote, in an environment of its own; prints one line of JSON.

    PYTHON tests/bench/peer_nautilus.py TICKS.npz PASSES

It imports nothing of this project. The strategy subscribes to everything and does nothing: what is measured is the engine.
"""

import json
import sys
import time

import numpy as np
from nautilus_trader.backtest.engine import BacktestEngine, BacktestEngineConfig
from nautilus_trader.config import LoggingConfig
from nautilus_trader.core.nautilus_pyo3 import NAUTILUS_VERSION
from nautilus_trader.model.currencies import USDT
from nautilus_trader.model.data import BookOrder, OrderBookDelta, OrderBookDeltas, QuoteTick, TradeTick
from nautilus_trader.model.enums import AccountType, AggressorSide, BookAction, BookType, OmsType, OrderSide
from nautilus_trader.model.identifiers import TradeId, Venue
from nautilus_trader.model.objects import Money, Price, Quantity
from nautilus_trader.test_kit.providers import TestInstrumentProvider
from nautilus_trader.trading.strategy import Strategy

QUOTE, TRADE, LEVEL = 0, 1, 2  # kinds of rows: (kind, ns, side, price, size, ask, ask size, last of its event)


class Looks(Strategy):
    """Gets all of it, as a strategy that trades would."""

    def __init__(self, instrument_id) -> None:
        super().__init__()
        self.instrument_id, self.seen = instrument_id, 0

    def on_start(self) -> None:
        self.subscribe_quote_ticks(self.instrument_id)
        self.subscribe_trade_ticks(self.instrument_id)
        self.subscribe_order_book_deltas(self.instrument_id, BookType.L2_MBP)

    def on_quote_tick(self, tick) -> None:
        self.seen += 1

    def on_trade_tick(self, tick) -> None:
        self.seen += 1

    def on_order_book_deltas(self, deltas) -> None:
        self.seen += 1


def ticks(rows, tick: float, step: float, instrument):
    """The rows as nautilus_trader's own objects."""
    name, pp, sp = instrument.id, instrument.price_precision, instrument.size_precision
    made, levels = [], []
    for number, (kind, at, side, price, size, ask, ask_size, last) in enumerate(rows.tolist()):
        at = int(at)
        if kind == QUOTE:
            bid, offer = Price(price * tick, pp), Price(ask * tick, pp)
            made.append(QuoteTick(name, bid, offer, Quantity(size * step, sp), Quantity(ask_size * step, sp), at, at))
        elif kind == TRADE:
            who = AggressorSide.BUYER if side > 0 else AggressorSide.SELLER
            made.append(TradeTick(name, Price(price * tick, pp), Quantity(size * step, sp), who, TradeId(str(number)), at, at))
        else:
            whose = OrderSide.BUY if side > 0 else OrderSide.SELL
            order = BookOrder(whose, Price(price * tick, pp), Quantity(size * step, sp), 0)
            action = BookAction.UPDATE if size else BookAction.DELETE
            levels.append(OrderBookDelta(name, action, order, 128 if last else 0, number, at, at))
            if last:
                made.append(OrderBookDeltas(name, levels))
                levels = []
    return made


def main() -> None:
    found, passes = np.load(sys.argv[1]), int(sys.argv[2])
    instrument = TestInstrumentProvider.btcusdt_perp_binance()
    data = ticks(found["rows"], float(found["tick"]), float(found["step"]), instrument)
    engine = BacktestEngine(BacktestEngineConfig(logging=LoggingConfig(bypass_logging=True)))
    engine.add_venue(
        venue=Venue("BINANCE"),
        oms_type=OmsType.NETTING,
        account_type=AccountType.MARGIN,
        starting_balances=[Money(1_000_000, USDT)],
        base_currency=None,
        book_type=BookType.L2_MBP,
    )
    engine.add_instrument(instrument)
    engine.add_data(data)
    strategy = Looks(instrument.id)
    engine.add_strategy(strategy)
    times = []
    for _ in range(passes):
        strategy.seen = 0
        began = time.process_time()
        engine.run()
        times.append(time.process_time() - began)
        engine.reset()
        engine.clear_strategies()
        strategy = Looks(instrument.id)
        engine.add_strategy(strategy)
    print(json.dumps({"version": NAUTILUS_VERSION, "items": len(data), "cpu_s": min(times), "python": sys.version.split()[0]}))


if __name__ == "__main__":
    main()
