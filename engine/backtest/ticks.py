"""A recorded session and other settings in; what they would have come to, filled anew from its books and trades, out.

The core is the live one, and so is every event of the market: orders arrive after the latency, take the book that is there
then, and wait in the queue where they rest (`replay.refill`). What the account's venue said in the session is left out. The
result is that of a bar backtest, over the bars that the core itself has closed.
"""

from collections.abc import Callable
from decimal import Decimal

import msgspec
import numpy as np

from engine.backtest.run import Run
from engine.backtest.series import END, LIMIT, LIQUIDATION, SIGNAL, STOP, TARGET, TRADE, Contract, Series
from engine.config import Settings, timeframe_ms
from engine.core import Core
from engine.errors import DataError, SessionError
from engine.events import Action, Bar, BarClosed, Command, Event, Filled, FundingPaid, Purpose, Recovered, SendOrder, Started
from engine.queue.files import session_name
from engine.queue.session import Session
from engine.replay import first_of, settings_of
from engine.replay.refill import Refill
from engine.replay.whatif import Rerun, delay_of, of_the_account, opening_of, with_settings

REASON_OF = {Purpose.STOP: STOP, Purpose.TARGET: TARGET, Purpose.EXIT: SIGNAL}


def run(
    session: Session, settings: Settings, latency_ms: float | None = None, told: Callable[[int], bool] | None = None
) -> tuple[Series, Run, float] | None:
    """Bars, trades and equity with `settings`, and what the account held first. What operators did is left out; trading is armed.

    `told` hears how many inputs were read and may end it by False, which gives None. `latency_ms` None: that of the session's
    own orders. Raises SessionError and DataError.
    """
    if session.condensed is not None:
        raise SessionError(str(session.path), "its market data were removed, so nothing can be filled anew")
    delay_ns = delay_of(session) if latency_ms is None else round(latency_ms * 1e6)
    opening = opening_of(session)
    rerun = Rerun("ticks", Core(settings), Refill(delay_ns, opening))
    initial = float(opening.wallet) if opening is not None else 10_000.0
    book = Ledger(rerun, timeframe_ms(settings), initial)
    number = 0
    for chunk in session.chunks():
        for event, _ in chunk.steps():
            number += 1
            if of_the_account(event) or isinstance(event, Command | Recovered):
                continue
            for output in rerun.take(_started(event, settings)):
                book.take(output)
            if isinstance(event, Started):
                rerun.take(Command(event.at, "backtest", Action.ARM, "the backtest"))
        if told is not None and not told(number):
            return None
    return *book.result(f"session {session_name(session.path)}, its books and trades"), initial


def settings_for(session: Session, wanted: Settings, judge: str) -> Settings:
    """The session's, with what a backtest may have otherwise. `judge` `rules`: whatever a model said in it is not used."""
    own = settings_of(session, first_of(session))
    judgment = msgspec.structs.replace(wanted.judgment, judge="rules") if judge == "rules" else own.judgment
    sections = {"strategy": wanted.strategy, "risk": wanted.risk, "features": wanted.features, "judgment": judgment}
    return msgspec.structs.replace(own, **sections)


def _started(event: Event, settings: Settings) -> Event:
    """The start of the run: with its settings, and no halt that somebody had left."""
    event = with_settings(event, settings)
    return msgspec.structs.replace(event, halted="") if isinstance(event, Started) else event


class Ledger:
    """What a core says of its traded market, as bars, trades and an equity curve."""

    def __init__(self, rerun: Rerun, length_ms: int, initial: float) -> None:
        self._rerun, self._length_ms, self._initial = rerun, length_ms, initial
        self._bars: list[Bar] = []
        self._equity: list[float] = []
        self._rows: list[tuple[int | float, ...]] = []
        self._market = ""
        self._side = self._open = self._entry_bar = self._best = self._worst = 0
        self._cost = self._fees = self._funding = self._slipped = 0.0
        self._placed: dict[Purpose, int] = {}  # ticks at which the first stop and the first target of the position were

    def take(self, event: Event) -> None:
        state = self._rerun.core.state
        traded = state.traded
        if traded is None:
            return
        self._market = traded.instrument.market
        if isinstance(event, BarClosed) and event.bar.market == self._market and event.bar.timeframe_ms == self._length_ms:
            self._bars.append(event.bar)
            self._equity.append(float(state.equity()) if state.portfolio.known else self._initial)
            self._reach(event.bar.high, event.bar.low)
        elif isinstance(event, FundingPaid) and event.market == self._market and self._open:
            self._funding += float(event.amount)
        elif isinstance(event, SendOrder) and event.market == self._market:
            if event.trigger or event.price:
                self._placed.setdefault(event.purpose, event.trigger or event.price)
        elif isinstance(event, Filled) and event.market == self._market:
            self._filled(event, traded.mid)

    def _filled(self, event: Filled, mid: float) -> None:
        tick, step = self._units()
        side, price = int(event.side), event.price
        fee = float(event.fee)
        slipped = side * (price * tick - mid) * event.quantity * step if mid > 0.0 else 0.0
        if self._open and side != self._side:
            closing = min(event.quantity, self._open)
            share = closing / self._open
            entry = self._cost / (self._open * step)
            gross = self._side * (price * tick - entry) * closing * step
            order = self._rerun.core.state.orders.get(event.client_id)
            reason = REASON_OF.get(order.purpose, SIGNAL) if order is not None else LIQUIDATION
            if reason == SIGNAL and order is not None and "limit" in self._rerun.core.state.causes[event.client_id].reason:
                reason = LIMIT
            self._row(closing, price, reason, share, fee * closing / event.quantity, slipped * closing / event.quantity, gross)
            fee, slipped = fee * (1.0 - closing / event.quantity), slipped * (1.0 - closing / event.quantity)
            rest = event.quantity - closing
        else:
            rest = event.quantity
        if not rest:
            return
        if not self._open:
            self._side, self._entry_bar = side, len(self._bars)
            self._best = self._worst = price
            self._placed.clear()
            self._cost = self._fees = self._funding = self._slipped = 0.0
        self._open += rest
        self._cost += price * tick * rest * step
        self._fees += fee
        self._slipped += slipped

    def _row(self, closing: int, price: int, reason: int, share: float, fee: float, slipped: float, gross: float) -> None:
        tick, step = self._units()
        self._reach(price, price)
        entry = round(self._cost / (self._open * step) / tick)
        paid, funding = self._fees * share + fee, self._funding * share
        whole = (self._side, closing, self._entry_bar, len(self._bars), entry, price, reason, self._best, self._worst)
        placed = (self._placed.get(Purpose.STOP, 0), self._placed.get(Purpose.TARGET, 0))
        self._rows.append((*whole, *placed, paid, funding, self._slipped * share + slipped, gross - paid + funding))
        self._open -= closing
        kept = 1.0 - share
        self._cost, self._fees, self._funding, self._slipped = (
            self._cost * kept, self._fees * kept, self._funding * kept, self._slipped * kept,
        )  # fmt: skip

    def _reach(self, high: int, low: int) -> None:
        if self._open:
            self._best = max(self._best, high) if self._side > 0 else min(self._best, low)
            self._worst = min(self._worst, low) if self._side > 0 else max(self._worst, high)

    def _units(self) -> tuple[float, float]:
        instrument = self._rerun.core.state.markets[self._market].instrument
        return float(instrument.tick), float(instrument.step)

    def result(self, source: str) -> tuple[Series, Run]:
        """A hole in the bars is filled with flat ones, which a remark says. Raises DataError where there are no bars."""
        if not self._bars:
            raise DataError(source, "no bar of the traded market closed in it", "a session of some minutes")
        state = self._rerun.core.state
        held = state.markets[self._market]
        instrument = held.instrument
        maker, taker = state.portfolio.fee_rates.get(self._market, (Decimal(0), Decimal(0)))
        if self._open:  # what is open is closed at the last price, for its commission
            tick, step = self._units()
            price = self._bars[-1].close
            value = price * tick * self._open * step
            self._row(self._open, price, END, 1.0, value * float(taker), 0.0, self._side * (value - self._cost))
        contract = Contract(
            self._market.partition(":")[2],
            held.venue,
            instrument.tick,
            instrument.step,
            instrument.min_quantity,
            instrument.max_market_quantity,
            instrument.min_notional,
            maker,
            taker,
        )
        opens = np.array([bar.open_ms for bar in self._bars], np.int64)
        places = (opens - opens[0]) // self._length_ms
        n = int(places[-1]) + 1
        at = np.zeros(n, np.int64)
        at[places] = np.arange(len(opens))
        at = np.maximum.accumulate(at)
        whole = np.zeros(n, bool)
        whole[places] = True
        table = np.array([(bar.open, bar.high, bar.low, bar.close, bar.volume) for bar in self._bars], np.int64)[at]
        table[~whole, :4] = table[~whole, 3:4]
        table[~whole, 4] = 0
        remarks = (f"{n - len(opens):,} bars are missing in the session: flat here.",) if n > len(opens) else ()
        opening, high, low, close, volume = table.T.copy()
        series = Series(
            contract,
            self._length_ms,
            opens[0] + self._length_ms * np.arange(n, dtype=np.int64),
            opening,
            high,
            low,
            close,
            volume,
            source=source,
            synthetic=instrument.simulated,
            remarks=remarks,
        )
        self._equity[-1] = self._initial + sum(row[-1] for row in self._rows)  # what filled after the last bar included
        trades = np.array(self._rows, TRADE) if self._rows else np.empty(0, TRADE)
        for name in ("entry_bar", "exit_bar"):
            trades[name] = np.append(places, n - 1)[np.minimum(trades[name], len(places))]
        return series, Run(trades, np.array(self._equity)[at], dict(self._rerun.side.refused))
