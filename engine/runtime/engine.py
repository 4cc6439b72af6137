"""The engine as a library: start-up, the event loop's tasks, and an orderly end."""

import asyncio
import itertools
import logging
import math
import secrets
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Self, TypeGuard

import msgspec

from engine import __version__, trial
from engine.clock import NS_PER_MS, NS_PER_S, Clock
from engine.config import Settings, state_dir, timeframe_ms
from engine.core import Core, killing
from engine.core.pictures import pictures
from engine.core.state import State
from engine.core.trading import not_ready
from engine.core.view import View, market_view, order_views
from engine.errors import BarterError, ConfigError, KeyRefused
from engine.events import (
    AccountSnapshot,
    Action,
    Alert,
    AskJudgment,
    Bar,
    BarClosed,
    BookDelta,
    Command,
    CommandDone,
    Difference,
    Event,
    Fault,
    Instrument,
    JudgmentScored,
    LatchHalt,
    Level,
    Mode,
    OrderRefused,
    Purpose,
    ReleaseHalt,
    SendOrder,
    Started,
    Tick,
    Trading,
    WarmModel,
)
from engine.execution.live import Credentials, VenueAccount, open_account, private_feed
from engine.garbage import look_rarely
from engine.places import Endpoints
from engine.queue import Closing
from engine.runtime import latch, outside
from engine.runtime.catalog import Catalog
from engine.runtime.charts import Charts
from engine.runtime.clocks import Clocks
from engine.runtime.forwarding import Forwarding
from engine.runtime.judges import Judges
from engine.runtime.opening import opening
from engine.runtime.outside import Whereabouts
from engine.runtime.recorder import Recorder
from engine.runtime.recovery import recover
from engine.runtime.requests import Requests
from engine.runtime.sources import Source
from engine.runtime.stages import Stages
from engine.runtime.stats import Latencies
from engine.runtime.summary import Summary, dropped, summarise
from engine.runtime.supervise import Supervisor, persist
from engine.runtime.tidying import tidy
from engine.views import Answer, AnyPicture, Ask, ModelView, OpeningView, StatusView, Watch, arm_phrase, arms

log = logging.getLogger("barter.runtime")
ALERTS_KEPT = 200
DIFFERENCES_KEPT = 50
NOTE_LENGTH = 500
SETTLE_S = 5.0  # how long the end waits for cancels and fills
LAG_BEAT_S = 0.02
SENTINEL_BEAT_S = 0.25
KILL_AGAIN_S = 10.0  # a second signal within so long flattens
FIGURES_EVERY = 50  # beats
WATCH_AGAIN_S = 30.0
DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"

Journal = Callable[[Event, list[Event]], None]


def _adds_exposure(output: Event) -> TypeGuard[SendOrder]:
    return isinstance(output, SendOrder) and output.purpose is Purpose.ENTRY


class Engine:
    """One session, recorded in the state folder unless `[queue] record` is off.

    `journal` is given every input of the core with its outputs, in order, beside that. `phrase` is what was typed to arm a
    live session from its start.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        endpoints: Endpoints,
        credentials: Credentials | None = None,
        *,
        journal: Journal | None = None,
        session: str = "",
        phrase: str = "",
    ) -> None:
        self.settings, self.clock, self.endpoints, self.credentials = settings, clock, endpoints, credentials
        self.session = session or "".join(secrets.choice(DIGITS) for _ in range(6))
        self.folder = state_dir(settings)
        self.latencies, self.stages = Latencies(), Stages()
        self.core = Core(settings, lap=self.stages.lap)
        self.alerts: deque[tuple[int, Level, str]] = deque(maxlen=ALERTS_KEPT)
        self.alerts_seen = 0
        self.clocks = Clocks(clock, self.process, shared=endpoints.shared)
        self.sources: dict[str, Source] = {}
        self.venue_account: AccountSnapshot | None = None
        self.started_ns = self.first_price_ns = self.first_position_ns = 0
        self.outputs = 0
        self.recorder = Recorder(settings, self.folder, clock, self.core, self.process) if settings.queue.record else None
        wanted = self.recorder is not None and settings.queue.backend == "fluvio"
        self.forwarding = Forwarding(settings, self.folder, clock, self.process) if wanted else None
        self.judges = Judges(settings, self.folder, clock, self._emit, endpoints.simulated)
        self.opened = asyncio.Event()  # the venue has told everything that is read before trading
        self._differences: deque[Difference] = deque(maxlen=DIFFERENCES_KEPT)
        self._journal = journal
        self._phrase = phrase
        self._p99s = (0.0, 0.0)
        self._latency = self.stages.view()
        self._charts = Charts()
        self._listeners: list[Callable[[Event], None]] = []
        self._tasks = Supervisor(self._crashed, self._failed)
        self._account: VenueAccount | None = None
        self._requests: Requests | None = None
        self.refused = asyncio.Event()  # the keys are not used: `refusal` says why, and the engine is of no use
        self.refusal: KeyRefused | None = None
        self._command_number = 0
        self._killed_at = -math.inf
        self._recollected = asyncio.Event()  # the session before this one was read, or there is none

    # --- life ----------------------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Prepare the state folder and start everything; prices come before ccxt is loaded.

        Raises LimitError, StateError, ConfigError or VenueError when the engine cannot run at all.
        """
        tried = trial.run(self.settings.risk, self.settings.judgment)
        latch.prepare(self.folder)
        halted = latch.read(self.folder)
        self.started_ns = time.monotonic_ns()
        body = msgspec.json.encode(self.settings).decode()
        mode, speed = self.settings.engine.mode, self.clock.speed
        parent = self.recorder.open(self.session) if self.recorder is not None else ""
        account = self.credentials.account_at(self.settings.engine.venues[0]) if self.credentials is not None else ""
        self.process(Started(self.clock.now_ns(), self.session, parent, mode, body, __version__, halted, speed, account))
        text = f"All {len(tried)} trials of the limits were refused as they must be (`barter-tui doctor` shows them)."
        self.process(Alert(self.clock.now_ns(), Level.INFO, text))
        if self.recorder is not None:
            self.recorder.report()
        for venue in self.settings.engine.venues:
            ends, place = self.endpoints, self.endpoints.market(venue)
            first_data_s = self.settings.venue.first_data_s
            self.sources[venue] = Source(
                venue, place.rest, place.ws, self.clock, ends.simulated, first_data_s, self._emit, self._order_waits
            )
        traded, *watched = self.sources.values()
        try:
            await self._list_instruments(traded)
        except BarterError:
            await self._close_sources()
            if self.recorder is not None:
                self.recorder.close(None)
            raise
        if self.credentials is not None:
            rest, window, margin = self.endpoints.rest, self.settings.venue.recv_window_ms, self.settings.risk.margin_mode
            # A venue of ours has our clock, whatever that of the prices says.
            ahead_ms = partial(self.clocks.ahead_ms, traded.venue) if not self.endpoints.shared else lambda: 0
            self._account = open_account(traded.venue, self.credentials, rest, self.clock, window, margin, ahead_ms)
        self._requests = Requests(
            self.clock,
            self.sources,
            self._account,
            self._tasks,
            self.latencies,
            self.stages,
            self._emit,
        )
        if self.credentials is not None and self.endpoints.shared:
            outside.remember(self.folder, Whereabouts(self.endpoints, self.clock, self.credentials))
        self._tasks.keep("the watch of the clocks", self.clocks.watch)
        self._start_catalog()
        traded.start(self._tasks)
        self._tasks.keep(f"the clock of {traded.venue}", partial(self.clocks.follow, traded.rest))
        for source in watched:
            self._tasks.once(f"the markets of {source.venue}", self._watch(source))
        self._tasks.keep("the timer", self._tick, money_path=True)
        self._tasks.keep("the watch of the kill files", self._watch_sentinels, money_path=True)
        self._tasks.keep("the loop's watch", self._watch_lag)
        if parent:
            self._tasks.once("the recovery", self._recover(parent, halted), money_path=True)
        else:
            self._recollected.set()
        if self.recorder is not None:
            self._tasks.keep("the recording", self.recorder.run)
            self._tasks.once("the removal of old market data", self._tidy())
        self.judges.start(self._tasks)
        if self.forwarding is not None:
            self.forwarding.start()
        if self._account is not None:
            self._tasks.keep("the account", self._run_account, money_path=True)
        if self._arms_itself() and not halted and not self._is_real:
            self.command(Action.ARM, "the start")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._tasks.close()
        self.judges.close()
        if self._account is not None:
            await self._account.close()
        await self._close_sources()
        if self.endpoints.shared:
            outside.forget(self.folder)
        if self.recorder is not None:
            self.recorder.close(self._closing())
        if self.forwarding is not None:
            await self.forwarding.close()

    def _closing(self) -> Closing:
        """What the session came to; the recorder counts the events."""
        portfolio, counters = self.state.portfolio, self.state.counters
        unrealised = portfolio.unrealised(self.state.instruments(), self.state.marks())
        pnl = portfolio.realised + unrealised - portfolio.fees + portfolio.funding
        wallet, state = str(portfolio.wallet), self.core.digest()
        return Closing(self.clock.now_ns(), 0, 0, counters.orders, counters.fills, str(pnl), wallet, state)

    async def _close_sources(self) -> None:
        for source in self.sources.values():
            await source.rest.close()

    async def settle(self, action: Action, source: str) -> Summary:
        """The orderly end: `action` (SHUTDOWN or HALT), wait until nothing that adds exposure is alive and positions are
        protected, compare with the venue once more, and sum up. Streams run on until the engine is left.
        """
        self.command(action, source)
        deadline = time.monotonic() + SETTLE_S
        await self._until(self._settled, deadline)
        if self._account is not None and self.state.private_up and self._requests is not None:
            self.venue_account = None
            self._requests.compare("the session ends")
            await self._until(lambda: self.venue_account is not None and not self.state.reconciling, deadline + SETTLE_S)
        return self.summary()

    async def _until(self, reached: Callable[[], bool], deadline: float) -> None:
        while time.monotonic() < deadline and not reached():  # noqa: ASYNC110 - the core is synchronous and signals nobody
            await asyncio.sleep(0.02)

    def _settled(self) -> bool:
        entries = any(order.adds_exposure for order in self.state.live_orders())
        bare = any(held.unprotected_since for held in self.state.markets.values())
        return not entries and not bare

    # --- for those who look and steer -----------------------------------------------------------------------------------

    @property
    def state(self) -> State:
        return self.core.state

    def command(self, action: Action, source: str, market: str = "") -> None:
        self._command_number += 1
        name = f"{self.session}-{self._command_number}"
        self.process(Command(self.clock.now_ns(), name, action, source, market))

    def kill(self, source: str) -> None:
        """Halt; a second time soon after it, flatten: SIGUSR1, like the key."""
        now = time.monotonic()
        again = now - self._killed_at < KILL_AGAIN_S
        self._killed_at = now
        self.command(Action.FLATTEN if again else Action.HALT, source)

    def view(self) -> View:
        state, portfolio = self.state, self.state.portfolio
        first = state.traded
        unrealised = portfolio.unrealised(state.instruments(), state.marks())
        at = self.clock.now_ns()
        return View(
            at,
            self.settings.engine.mode,
            state.trading,
            state.trading_reason,
            not_ready(state, first) if first is not None else "no market is listed yet",
            state.refusal,
            str(portfolio.wallet),
            str(portfolio.wallet + unrealised),
            str(portfolio.realised),
            str(unrealised),
            str(portfolio.fees),
            str(portfolio.funding),
            tuple(market_view(state, held, timeframe_ms(self.settings), at) for held in state.markets.values()),
            order_views(state),
            msgspec.structs.asdict(state.counters),
            tuple(self.alerts),
        )

    def pictures(self, watch: Watch) -> list[AnyPicture]:
        """What a console that watches `watch` should see now."""
        found = pictures(self.state, self.settings, watch, self._charts.of, self.core.tapes, self.core.curve)
        own: list[AnyPicture] = [self._status(watch), self.opening(), self._latency]
        return [*own, *(self._writing(one) if isinstance(one, ModelView) else one for one in found)]

    def _writing(self, view: ModelView) -> ModelView:
        """With what only this process knows: the words that the model writes now."""
        text, seconds, state = self.judges.writing()
        if state is None:
            return view
        return msgspec.structs.replace(view, state=state, writing=text, seconds=round(seconds, 1))

    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]:
        """Call `callback` with each output of the core, at once; the function returned ends that."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def ask(self, ask: Ask) -> Answer:
        """A console's command. The core acts on an id once; a repeated one is answered as taken. Live is armed by a phrase."""
        if ask.action is Action.ARM and self.settings.engine.mode is Mode.LIVE and not self._typed(ask.note):
            return Answer(ask.id, False, f"live is armed by typing: {arm_phrase(self.settings.engine.venues[0])}")
        done: list[CommandDone] = []
        end = self.listen(lambda output: done.append(output) if isinstance(output, CommandDone) else None)
        self.process(Command(self.clock.now_ns(), ask.id, ask.action, ask.source, ask.target, ask.note[:NOTE_LENGTH], ask.ticket))
        end()
        if not done:
            return Answer(ask.id, True, "done before")
        return Answer(ask.id, done[0].accepted, done[0].text)

    def _typed(self, phrase: str) -> bool:
        return arms(phrase, self.settings.engine.venues[0])

    def _status(self, watch: Watch) -> StatusView:
        state = self.state
        held = state.markets.get(watch.market) or state.traded
        age_ms = -1
        if held is not None and held.book.updated_at:
            age_ms = max((self.clock.now_ns() - held.book.updated_at) // NS_PER_MS, 0)
        # A market of another venue is watched only: it waits for nothing of the account.
        ready = not_ready(state, held) if held is not None and state.account in ("", held.venue) else ""
        waits = [] if held is not None else ["the venue's list of markets"]
        waits += [ready] if ready else []
        waits += [f"the book: {held.book.reason}"] if held is not None and not held.book.trusted else []
        latencies = self.latencies
        return StatusView(
            "",
            self.clock.now_ns(),
            self.settings.engine.mode,
            self.session,
            self.clock.speed,
            state.trading,
            state.trading_reason,
            state.flattening,
            tuple(waits),
            state.refusal,
            tuple(state.routes.items()),
            age_ms,
            latencies.round_trip.newest_us,
            self._p99s[0],
            self._p99s[1],
            state.counters.events,
            sum(dropped(self).values()),
            self.alerts_seen,
            markets=tuple(state.markets),
            lag_ms=held.mean_lag_us // 1000 if held is not None and held.mean_lag_us else None,
            kill_open=killing.under_way(state),
            kill_done=state.kill_done,
            forwarding=self.forwarding.words if self.forwarding is not None else "",
        )

    def summary(self) -> Summary:
        return summarise(self)

    @property
    def venue_rests_s(self) -> float:
        """Real seconds until the traded venue may be asked for everything again, 0 when it may now."""
        return self.clock.real_seconds(self._account.budget.rests_s()) if self._account is not None else 0.0

    # --- the core ------------------------------------------------------------------------------------------------------

    def process(self, event: Event, read_ns: int = 0) -> bool:
        """One event through the core and its outputs on their way; True when a request to the outside follows."""
        before = time.monotonic_ns()
        self.stages.begin(before)
        out, bug = self.core.process_or_halt(event)
        after = time.monotonic_ns()
        if isinstance(event, BookDelta):
            self.stages.add("book", after - before)
            if (held := self.state.markets.get(event.market)) is not None:
                self.stages.add("feed", held.lag_us * 1000)
        if bug is not None:
            log.error("the core failed on %s", type(event).__name__, exc_info=bug)
        self.latencies.process.add(after - before)
        if self.recorder is not None:
            self.recorder.take(event, out)
        if self._journal is not None:
            self._journal(event, out)
        requests = self._requests
        if not out:
            return False
        self.outputs += len(out)
        urgent = False
        troubles: list[str] = []
        refused = () if self._recorded(out) else tuple(one for one in out if _adds_exposure(one))
        for output in out:
            for listener in self._listeners:
                listener(output)
            match output:
                case Alert():
                    self.alerts.append((output.at, output.level, output.text))
                    self.alerts_seen += 1
                case Difference():
                    self._differences.append(output)
                case LatchHalt():
                    troubles += self._latch(output)
                case ReleaseHalt():
                    troubles += self._unlatch()
                case SendOrder() if output in refused:
                    pass
                case AskJudgment():
                    self.judges.ask(output)
                case WarmModel():
                    self.judges.warm(output.by)
                case JudgmentScored():
                    self.judges.scored(output)
                case _ if requests is not None:
                    urgent |= requests.carry_out(output, read_ns, before, after)
        if requests is not None:
            requests.begin()
        for order in refused:
            words = "it could not be recorded, so it was not sent"
            self.process(OrderRefused(self.clock.now_ns(), order.market, order.client_id, 0, words))
        for text in troubles:  # through the core, as every alert goes: listeners and the journal get it too
            urgent |= self.process(Alert(self.clock.now_ns(), Level.ERROR, text))
        return urgent

    def _order_waits(self) -> bool:
        """Whether the bytes of an order or cancel wait to be handed to the socket: sockets give way to it."""
        return self._requests is not None and self._requests.unwritten

    def _recorded(self, out: list[Event]) -> bool:
        """Orders are on record before their bytes are sent; False when one of these is not."""
        if self.recorder is None or not any(isinstance(output, SendOrder) for output in out):
            return True
        return self.recorder.commit(order=True)

    def _emit(self, event: Event, read_ns: int) -> bool:
        """Events from sockets and requests."""
        self.clocks.passed(read_ns)
        if not self.first_price_ns and type(event).__name__ in ("Quote", "Trade"):
            self.first_price_ns = read_ns
        if isinstance(event, AccountSnapshot):
            self.venue_account = event
        urgent = self.process(event, read_ns)
        if not self.first_position_ns and self.state.counters.fills:
            self.first_position_ns = time.monotonic_ns()
        return urgent

    def _unlatch(self) -> list[str]:
        """Returns what must be said about it."""
        try:
            latch.clear(self.folder)
        except BarterError as problem:
            return [f"{problem}. The halt is released now, but a restart would find it."]
        return []

    def _latch(self, output: LatchHalt) -> list[str]:
        try:
            latch.write(self.folder, output.reason)
            if self._requests is None:  # nothing can wait behind it yet
                latch.settle(self.folder)
        except BarterError as problem:
            return [f"{problem}. Trading is halted now, but a restart would not know it."]
        if self._requests is not None:
            self._tasks.once("the halt latch", asyncio.to_thread(latch.settle, self.folder))
        return []

    # --- tasks -----------------------------------------------------------------------------------------------------------

    async def _list_instruments(self, source: Source) -> None:
        """The instruments that the settings name at the venue that we trade on, by our own REST decode."""
        await persist(partial(self.clocks.ask, source.rest), attempts=4)
        await source.read_list(attempts=4)
        for symbol in self.settings.engine.symbols:
            if not source.collect(symbol):
                known = ", ".join(sorted(market.partition(":")[2] for market in source.listed)[:8])
                raise ConfigError("engine.symbols", symbol, "the venue does not list this market", f"one of {known}")

    def _start_catalog(self) -> None:
        """The worker of `[[indicators]]`, where there are any."""
        if self.settings.indicators:
            wanted, deciding_ms = self.settings.indicators, timeframe_ms(self.settings)
            catalog = Catalog(wanted, deciding_ms, self._bars, self.clock, self._emit)
            self.listen(lambda output: catalog.closed(output.bar) if isinstance(output, BarClosed) else None)
            self._tasks.keep("the worker of [[indicators]]", catalog.run)

    def _bars(self, market: str, timeframe: int) -> tuple[Instrument, list[Bar]] | None:
        held = self.state.markets.get(market)
        return (held.instrument, held.bars[timeframe].run()) if held is not None else None

    async def _watch(self, source: Source) -> None:
        """A venue beside the one that we trade on: nothing waits for it, and what it does not list is said and left out."""
        while True:
            try:
                await self.clocks.ask(source.rest)
                await source.read_list()
                break
            except BarterError as problem:
                self._failed(f"the markets of {source.venue}", str(problem))
                await asyncio.sleep(WATCH_AGAIN_S)
        missing = [symbol for symbol in self.settings.engine.symbols if not source.collect(symbol)]
        if missing:
            text = f"{source.title} does not list {', '.join(missing)}."
            self.process(Alert(self.clock.now_ns(), Level.WARNING, text))
        source.start(self._tasks)
        self._tasks.keep(f"the clock of {source.venue}", partial(self.clocks.follow, source.rest))

    async def _tidy(self) -> None:
        told = await tidy(self.settings.queue, self.folder, self.session, self.clock.now_ns())
        if told is not None:
            self.process(msgspec.structs.replace(told, at=self.clock.now_ns()))

    async def _recover(self, parent: str, halted: str) -> None:
        """What the session before this one left, before the venue's first word on the account."""
        try:
            found = await recover(self.folder, parent, halted)
            self.process(msgspec.structs.replace(found, at=self.clock.now_ns()))
        finally:
            self._recollected.set()

    async def _run_account(self) -> None:
        """Load ccxt, ask what orders cost, then follow the private stream; failing starts over with back-off."""
        account, requests = self._account, self._requests
        assert account is not None and requests is not None
        instruments = [found for symbol in self.settings.engine.symbols if (found := self._listed(symbol)) is not None]
        if not account.ready:
            try:
                await account.start(instruments)
            except KeyRefused as problem:
                self.refusal = problem
                self.process(Alert(self.clock.now_ns(), Level.ERROR, f"{problem}."))
                self.refused.set()
                return
            look_rarely()
            for instrument in instruments:
                self._emit(await persist(partial(account.fees, instrument.market)), time.monotonic_ns())
        await self._recollected.wait()
        await private_feed(account, self.endpoints.ws, instruments, self.clock, self._emit, self._order_waits).run()

    def _listed(self, symbol: str) -> Instrument | None:
        """At the venue that we trade on."""
        source = self.sources[self.settings.engine.venues[0]]
        return source.listed.get(f"{source.venue}:{symbol}")

    async def _tick(self) -> None:
        pause = self.clock.real_seconds(self.settings.engine.tick_ms / 1000)
        while True:
            await asyncio.sleep(max(pause, 0.005))
            self.clocks.passed(time.monotonic_ns())
            self.process(Tick(self.clock.now_ns()))
            self._open()

    async def _watch_sentinels(self) -> None:
        """A file named KILL or FLATTEN in the state folder, also one that was there before the start; and the latch itself, which
        another shell writes while this engine does not answer.
        """
        while True:
            if self.state.trading is not Trading.HALTED and (reason := latch.read(self.folder)):
                self.command(Action.HALT, f"the latch: {reason}")
            if name := latch.sentinel(self.folder):
                self.command(Action.FLATTEN if latch.SENTINELS[name] else Action.HALT, f"the file {name}")
            await asyncio.sleep(SENTINEL_BEAT_S)

    async def _watch_lag(self) -> None:
        for beat in itertools.count():
            if beat % FIGURES_EVERY == 0:  # percentiles cost too much for every frame
                self._latency = self.stages.view()
                self._p99s = (self.latencies.tick_to_wire.percentiles().p99, self.latencies.loop_lag.percentiles().p99)
            due = time.monotonic_ns() + int(LAG_BEAT_S * NS_PER_S)
            await asyncio.sleep(LAG_BEAT_S)
            self.latencies.loop_lag.add(max(time.monotonic_ns() - due, 0))

    @property
    def _is_real(self) -> bool:
        """Whether orders go to a venue that is not ours."""
        return self.settings.engine.mode in (Mode.TESTNET, Mode.LIVE)

    def _open(self) -> None:
        """Once nothing is awaited; where the venue is real, nothing is armed before that."""
        held = self.state.traded
        if not self.opened.is_set() and held is not None and not not_ready(self.state, held):
            self.opened.set()
            if self._is_real and self._arms_itself() and self.state.trading is Trading.OFF:
                self.command(Action.ARM, "the start")

    def opening(self) -> OpeningView:
        account = self.credentials.account_at(self.settings.engine.venues[0]) if self.credentials is not None else ""
        return opening(self.settings, self.state, account, self.venue_account, self._differences)

    def _arms_itself(self) -> bool:
        wish = self.settings.engine.arm_at_start
        if self.settings.engine.mode is Mode.LIVE and not self._typed(self._phrase):
            return False
        return wish == "yes" or (wish == "auto" and self.settings.engine.mode is Mode.DEMO)

    def _crashed(self, part: str, problem: str, money_path: bool) -> None:
        self.process(Fault(self.clock.now_ns(), part, problem, money_path))

    def _failed(self, part: str, problem: str) -> None:
        self.process(Alert(self.clock.now_ns(), Level.WARNING, f"{part[:1].upper()}{part[1:]}: {problem}."))

    @property
    def run_seconds(self) -> float:
        """Engine seconds since the start."""
        return (time.monotonic_ns() - self.started_ns) / NS_PER_S * self.clock.speed

    @property
    def frames(self) -> int:
        """Market-data frames read from all sockets."""
        return sum(feed.frames for source in self.sources.values() for feed in source.feeds.values())

    @property
    def restarts(self) -> int:
        return self._tasks.restarts
