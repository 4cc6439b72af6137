"""The synchronous core: one event in, everything that follows from it out.

`Core.process(event)` is a plain function of state and event. It owns books, trust, bars, indicators, stances, orders and
positions; whatever is computed elsewhere (REST replies, fills, time) reaches it as an event. The same inputs give the
same outputs, byte for byte.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from engine import events as e
from engine.config import Settings, day_starts_s
from engine.core import (
    account,
    counterfactual,
    deadman,
    judging,
    killing,
    limits,
    market,
    protection,
    recovery,
    tickets,
    trading,
    watchlist,
)
from engine.core.curve import Curve
from engine.core.state import BAR_GRACE_MS, QUIET_MS, MarketState, State
from engine.core.tape import Tape
from engine.core.trading import Lap, Out
from engine.events import Action, Alert, Event, Level, Trading
from engine.judgment import RuleJudge

__all__ = ["Core", "State"]

NS_PER_MS = 1_000_000
COMMANDS_REMEMBERED = 1_000
LIQUIDATIONS_KEPT = 100
TRADE_ROUTES = {"okx": "public"}  # `market` elsewhere; books come on `public` everywhere


class Core:
    """State and the settings that it was built with. `process` is the only way in. `lap` is a stopwatch: it is told where the
    stages "features", "decision" and "risk" end, "" where something else does.
    """

    def __init__(self, settings: Settings, state: State | None = None, lap: Lap | None = None) -> None:
        self.settings = settings
        # A class and not an attribute of each: setting one takes longer than making the list.
        self._out: type[Out] = Out if lap is None else type("Watched", (Out,), {"watch": staticmethod(lap)})
        self.state = state or State()
        self.judge = RuleJudge(settings.judgment)
        self.tapes: dict[str, Tape] = {}  # of the markets, for consoles
        self.curve = Curve()  # likewise
        self._handlers: dict[type[Event], Callable[[Any, Out], None]] = {
            e.Quote: self._quote,
            e.BookDelta: self._delta,
            e.Trade: self._trade,
            e.Kline: self._kline,
            e.Tick: self._tick,
            e.Mark: self._mark,
            e.BookSnapshot: self._book_snapshot,
            e.SnapshotFailed: self._snapshot_failed,
            e.TradeHistory: self._trade_history,
            e.BarHistory: self._bar_history,
            e.Instrument: self._instrument,
            e.Unlisted: self._unlisted,
            e.Funding: self._funding,
            e.IndicatorValues: self._indicator_values,
            e.Liquidation: self._liquidation,
            e.Connected: self._connected,
            e.Disconnected: self._disconnected,
            e.ClockOffset: self._clock_offset,
            e.ClockJumped: self._clock_jumped,
            e.DecodeFailed: self._decode_failed,
            e.Fees: self._fees,
            e.LeverageSet: self._leverage_set,
            e.OrderAccepted: self._order_accepted,
            e.OrderRefused: self._order_refused,
            e.OrderFateUnknown: self._order_fate_unknown,
            e.OrderNotFound: self._order_not_found,
            e.CancelRefused: self._change_refused,
            e.AmendRefused: self._change_refused,
            e.DeadManSet: self._dead_man_set,
            e.OrderReport: self._order_report,
            e.ConditionalReport: self._conditional_report,
            e.BalanceChange: self._balance_change,
            e.AccountSnapshot: self._account_snapshot,
            e.Command: self._command,
            e.Started: self._started,
            e.Recovered: self._recovered,
            e.Fault: self._fault,
            e.JournalState: self._journal_state,
            e.Alert: self._alert,
            e.ModelChanged: self._model_changed,
            e.Qualified: self._qualified,
            e.TrackRecord: self._track_record,
            e.Answered: self._answered,
            e.AnswerDone: self._answer_done,
            e.AnswerFailed: self._answer_failed,
        }

    def process(self, event: Event) -> Out:
        """Everything that follows from `event`, in order.

        Whatever it raises is a bug (InvariantError: a state that may not exist): see `process_or_halt`.
        """
        state, out = self.state, self._out()
        if event.at > state.now:
            state.now = event.at
        state.counters.events += 1
        self._handlers[type(event)](event, out)
        return out

    def process_or_halt(self, event: Event) -> tuple[Out, Exception | None]:
        """`process`, and what follows where it raised: a shell and a replay treat a bug alike."""
        try:
            return self.process(event), None
        except Exception as problem:  # the core does no I/O: whatever it raises is a bug, and trading stops
            return self.halt_for_bug(problem), problem

    def halt_for_bug(self, error: Exception) -> Out:
        """What follows when `process` raised: trading halts, once, and the reason names the bug."""
        out = Out()
        self.state.counters.faults += 1
        trading.halt(self.state, f"an internal check failed ({type(error).__name__}: {error})", out)
        return out

    def snapshot(self) -> bytes:
        """The whole state; `Core.restore` goes on from it."""
        return msgspec.msgpack.encode(self.state)

    def digest(self) -> str:
        """sha256 of the whole state: two cores with the same one go on alike."""
        return hashlib.sha256(self.snapshot()).hexdigest()

    @classmethod
    def restore(cls, settings: Settings, snapshot: bytes) -> "Core":
        return cls(settings, msgspec.msgpack.decode(snapshot, type=State))

    # --- the market -------------------------------------------------------------------------------------------------

    def _held(self, name: str) -> MarketState | None:
        held = self.state.markets.get(name)
        if held is None:
            self.state.counters.ignored += 1
        return held

    def _quote(self, event: e.Quote, out: Out) -> None:
        self.state.counters.quotes += 1
        if held := self._held(event.market):
            market.heard(held, event.at, event.venue_ms)
            out.extend(held.book.quote(event))

    def _delta(self, event: e.BookDelta, out: Out) -> None:
        self.state.counters.deltas += 1
        if held := self._held(event.market):
            market.heard(held, event.at, event.venue_ms)
            out.extend(held.book.delta(event))

    def _trade(self, event: e.Trade, out: Out) -> None:
        self.state.counters.trades += 1
        if held := self._held(event.market):
            held.last_price, held.last_side = event.price, int(event.side)
            held.received_at = event.at
            held.newest_ms = max(held.newest_ms, event.venue_ms)  # of the trade: its message left up to 150 ms later
            market.traded(self.state, self.settings, held, event, self.judge, out)
            if (tape := self.tapes.get(event.market)) is None:
                tape = self.tapes[event.market] = Tape()
            tape.add(event)

    def _mark(self, event: e.Mark, out: Out) -> None:
        self.state.counters.marks += 1
        if held := self._held(event.market):
            held.mark = event
            market.heard(held, event.at, event.venue_ms)

    def _kline(self, event: e.Kline, out: Out) -> None:
        if held := self._held(event.bar.market):
            market.heard(held, event.at, event.venue_ms)
            market.kline(self.state, self.settings, held, event, self.judge, out)

    def _book_snapshot(self, event: e.BookSnapshot, out: Out) -> None:
        self.state.counters.snapshots += 1
        if held := self._held(event.market):
            out.extend(held.book.snapshot(event))

    def _snapshot_failed(self, event: e.SnapshotFailed, out: Out) -> None:
        if held := self._held(event.market):
            out.extend(held.book.snapshot_failed(event.at, event.reason))

    def _trade_history(self, event: e.TradeHistory, out: Out) -> None:
        if held := self._held(event.market):
            market.trade_history(self.state, self.settings, held, event, out)

    def _bar_history(self, event: e.BarHistory, out: Out) -> None:
        if held := self._held(event.market):
            market.bar_history(self.state, self.settings, held, event, out)

    def _instrument(self, event: e.Instrument, out: Out) -> None:
        known = event.market in self.state.markets
        market.listed(self.state, self.settings, event)
        held = self.state.markets[event.market]
        if not known and self.state.routes.get(f"{held.venue} public"):
            out.extend(held.book.connected(event.at))  # collected on a connection that is up already

    def _unlisted(self, event: e.Unlisted, out: Out) -> None:
        self.state.markets.pop(event.market, None)
        self.tapes.pop(event.market, None)

    def _indicator_values(self, event: e.IndicatorValues, out: Out) -> None:
        if held := self._held(event.market):
            before = held.catalog.get(event.timeframe_ms)
            if before is not None and before.bar_open_ms > event.bar_open_ms:
                self.state.counters.ignored += 1
                return
            held.catalog[event.timeframe_ms] = msgspec.structs.replace(event, past={}) if event.past else event
            market.listed_on_price(held, event)

    def _funding(self, event: e.Funding, out: Out) -> None:
        if held := self._held(event.market):
            held.funding = event

    def _liquidation(self, event: e.Liquidation, out: Out) -> None:
        self.state.counters.liquidations += 1
        if held := self._held(event.market):
            held.liquidations = [*held.liquidations[-LIQUIDATIONS_KEPT + 1 :], event]

    def _connected(self, event: e.Connected, out: Out) -> None:
        self.state.routes[f"{event.venue} {event.route}"] = True
        if event.route == "private":
            self.state.account, self.state.private_up, self.state.private_since = event.venue, True, event.at
            self.state.reconciled = self.state.reconciling = False
            account.ask(self.state, event.venue, "the private stream connected", out)
            return
        for held in self._of(event.venue):
            if event.route == "public":
                out.extend(held.book.connected(event.at))
            if event.route == TRADE_ROUTES.get(event.venue, "market"):
                market.feed_up(self.state, held, out)

    def _disconnected(self, event: e.Disconnected, out: Out) -> None:
        self.state.counters.disconnects += 1
        self.state.routes[f"{event.venue} {event.route}"] = False
        if event.route == "private":
            self.state.private_up = self.state.reconciled = self.state.reconciling = False
            self.state.private_lost_ms = event.at // NS_PER_MS
            for held in self._of(event.venue):
                held.leverage_asked = False  # somebody may change it while we do not hear of it
        for held in self._of(event.venue):
            if event.route == "public":
                out.extend(held.book.disconnected(event.at, event.reason))
            if event.route == TRADE_ROUTES.get(event.venue, "market"):
                market.feed_lost(held)
        out.append(Alert(event.at, Level.WARNING, f"{event.venue} {event.route}: {event.reason}. Reconnecting."))

    def _of(self, venue: str) -> list[MarketState]:
        return [held for name, held in self.state.markets.items() if name.startswith(venue + ":")]

    def _clock_offset(self, event: e.ClockOffset, out: Out) -> None:
        for held in self._of(event.venue):
            held.clock_offset_ms = event.offset_ms

    def _clock_jumped(self, event: e.ClockJumped, out: Out) -> None:
        state = self.state
        state.counters.clock_jumps += 1
        what = event.cause or "the clock jumped"
        text = f"{what[:1].upper()}{what[1:]} ({abs(event.jump_ms) / 1000:.1f} s): books and bars are read anew."
        out.append(Alert(event.at, Level.WARNING, text))
        for held in state.markets.values():
            market.clock_jumped(state, held, out)
        for venue in dict.fromkeys(name.partition(":")[0] for name in state.markets):
            if state.private_up:
                account.ask(state, venue, what, out)

    def _decode_failed(self, event: e.DecodeFailed, out: Out) -> None:
        self.state.counters.decode_failures += 1

    # --- the account ------------------------------------------------------------------------------------------------

    def _fees(self, event: e.Fees, out: Out) -> None:
        self.state.portfolio.fee_rates[event.market] = (event.maker, event.taker)

    def _leverage_set(self, event: e.LeverageSet, out: Out) -> None:
        if held := self._held(event.market):
            held.leverage = event.leverage

    def _order_accepted(self, event: e.OrderAccepted, out: Out) -> None:
        account.accepted(self.state, event, out)
        self._protect(event.market, out)

    def _order_refused(self, event: e.OrderRefused, out: Out) -> None:
        account.refused(self.state, self.settings, event, out)
        self._protect(event.market, out)

    def _order_fate_unknown(self, event: e.OrderFateUnknown, out: Out) -> None:
        account.fate_unknown(self.state, event, out)

    def _order_not_found(self, event: e.OrderNotFound, out: Out) -> None:
        account.not_found(self.state, self.settings, event, out)
        self._protect(event.market, out)

    def _change_refused(self, event: e.CancelRefused | e.AmendRefused, out: Out) -> None:
        account.change_refused(self.state, event, out)

    def _order_report(self, event: e.OrderReport, out: Out) -> None:
        account.reported(self.state, self.settings, event, out)
        self._protect(event.market, out)
        killing.follow(self.state, out)

    def _conditional_report(self, event: e.ConditionalReport, out: Out) -> None:
        account.conditional_reported(self.state, event, out)
        self._protect(event.market, out)
        killing.follow(self.state, out)

    def _balance_change(self, event: e.BalanceChange, out: Out) -> None:
        account.balance_changed(self.state, event, out)

    def _account_snapshot(self, event: e.AccountSnapshot, out: Out) -> None:
        account.snapshot(self.state, event, out)
        self.state.portfolio.start_day(event.at, self.state.equity(), day_starts_s(self.settings))
        for name in self.state.markets:
            self._protect(name, out)
        killing.compared(self.state, event, out)

    def _dead_man_set(self, event: e.DeadManSet, out: Out) -> None:
        deadman.answered(self.state, event, out)

    def _protect(self, name: str, out: Out) -> None:
        held = self.state.markets.get(name)
        if held is not None:
            protection.protect(self.state, self.settings, held, out)

    # --- judges ------------------------------------------------------------------------------------------------------

    def _model_changed(self, event: e.ModelChanged, out: Out) -> None:
        judging.changed(self.state, self.settings, event, out)

    def _qualified(self, event: e.Qualified, out: Out) -> None:
        judging.qualified(self.state, self.settings, event, out)

    def _track_record(self, event: e.TrackRecord, out: Out) -> None:
        judging.remembered(self.state, event)

    def _answered(self, event: e.Answered, out: Out) -> None:
        if held := self._held(event.market):
            judging.answered(self.state, self.settings, held, event, out)

    def _answer_done(self, event: e.AnswerDone, out: Out) -> None:
        if held := self._held(event.market):
            judging.done(self.state, held, event)

    def _answer_failed(self, event: e.AnswerFailed, out: Out) -> None:
        judging.failed(self.state, event, out)

    def _veto(self, name: str) -> str:
        """End the current opinion; the next one is formed as usual. Returns why not."""
        held = self.state.markets.get(name)
        if held is None or held.stance is None or not held.stance.valid(self.state.now):
            return "there is no valid judgment to veto"
        judging.veto(held, self.state.now)
        held.outcome = "nothing: the judgment was vetoed"
        judging.note(held, self.state.now)
        return ""

    # --- time and people --------------------------------------------------------------------------------------------

    def _tick(self, event: e.Tick, out: Out) -> None:
        state = self.state
        equity = state.equity()
        state.portfolio.start_day(event.at, equity, day_starts_s(self.settings))
        self.curve.add(event.at, state.portfolio, equity, self.settings.risk.max_daily_loss)
        for held in state.markets.values():
            out.extend(held.book.tick(event.at))
            market.clock(state, self.settings, held, event.at, self.judge, out)
            market.ask_leverage(state, self.settings, held, out)
            protection.protect(state, self.settings, held, out)
            trading.go_on_closing(state, self.settings, held, out)
        if (traded := state.traded) is not None:
            judging.tick(state, self.settings, traded, out)
            counterfactual.tick(state, self.settings, traded)
        limits.watch(state, self.settings, equity, out)
        account.look_ups(state, out)
        if state.trading is not Trading.ARMED:
            trading.cancel_entries(state, out)
        if state.flattening:
            trading.flatten(state, self.settings, out)
        killing.follow(state, out)
        deadman.tick(state, self.settings, out)
        account.ask_regularly(state, out)

    def _started(self, event: e.Started, out: Out) -> None:
        self.state.session, self.state.recovering = event.session, bool(event.parent)
        self.state.own_account, self.state.speed = event.account, event.speed
        # A network and a scheduler are not faster under `--speed`: these are 50 ms and 2 s of real time at least.
        self.state.bar_grace_ms = max(BAR_GRACE_MS, int(50 * event.speed))
        self.state.quiet_ms = max(QUIET_MS, int(QUIET_MS * event.speed))
        if event.halted:
            trading.set_trading(self.state, Trading.HALTED, event.halted, out)
            out.append(Alert(event.at, Level.WARNING, f"Trading stays halted from before: {event.halted}."))
        else:
            trading.set_trading(self.state, Trading.OFF, "started", out)

    def _recovered(self, event: e.Recovered, out: Out) -> None:
        recovery.recovered(self.state, self.settings, event, out)

    def _fault(self, event: e.Fault, out: Out) -> None:
        self.state.counters.faults += 1
        out.append(Alert(event.at, Level.ERROR, f"{event.part[:1].upper()}{event.part[1:]} crashed: {event.problem}."))
        if event.money_path:
            trading.halt(self.state, f"{event.part} failed", out)

    def _journal_state(self, event: e.JournalState, out: Out) -> None:
        if event.problem and not self.state.unrecorded:
            text = f"{event.problem}. No entry is made until it can be; exits, stops and cancels work."
            out.append(Alert(event.at, Level.ERROR, text))
        elif self.state.unrecorded and not event.problem:
            out.append(Alert(event.at, Level.INFO, "The session is recorded again, without a hole: entries may be made."))
        self.state.unrecorded = event.problem

    def _alert(self, event: Alert, out: Out) -> None:
        out.append(event)  # the runtime's words go the same way as ours

    def _command(self, event: e.Command, out: Out) -> None:
        state = self.state
        if event.id in state.command_ids:
            return  # a doubled press
        state.command_ids = [*state.command_ids[-COMMANDS_REMEMBERED:], event.id]
        state.counters.commands += 1
        problem = self._carry_out(event, event.source or "the operator", out)
        out.append(e.CommandDone(event.at, event.id, not problem, problem or f"{event.action.value}: done"))

    def _carry_out(self, event: e.Command, who: str, out: Out) -> str:
        """Returns why the command could not be taken, "" when it was."""
        state = self.state
        match event.action:
            case Action.ARM:
                if state.trading is Trading.HALTED:
                    return "trading is halted: release it before arming"
                trading.set_trading(state, Trading.ARMED, f"armed by {who}", out)
            case Action.DISARM | Action.SHUTDOWN:
                if state.trading is Trading.ARMED:
                    trading.set_trading(state, Trading.OFF, f"disarmed by {who}", out)
                trading.cancel_entries(state, out)
            case Action.HALT:
                killing.begin(state, who, flatten=False)
                trading.halt(state, f"halted by {who}", out)
            case Action.FLATTEN:
                killing.begin(state, who, flatten=True)
                trading.halt(state, f"flattened by {who}", out)
                state.flattening = True
                trading.flatten(state, self.settings, out)
            case Action.RELEASE:
                state.flattening, state.kill = False, None
                if state.trading is not Trading.HALTED:
                    return "trading is not halted"
                out.append(e.ReleaseHalt(event.at))
                trading.set_trading(state, Trading.OFF, f"released by {who}", out)
            case Action.VETO:
                return self._veto(event.target)
            case Action.CLOSE:
                return trading.close(state, self.settings, event.target, who, out)
            case Action.CANCEL:
                return trading.cancel_one(state, event.target, out)
            case Action.ORDER:
                problem = tickets.place(state, self.settings, event.target, event.ticket, who, out)
                self._protect(event.target, out)
                return problem
            case Action.AMEND:
                return tickets.amend(state, self.settings, event.target, event.ticket, who, out)
            case Action.COLLECT:
                return watchlist.collect(state, event.target, out)
            case Action.DROP:
                return watchlist.drop(state, event.target, out)
        return ""
