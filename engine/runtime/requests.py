"""What the core asks for in; carried out as tasks, and their results back as events."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

from engine.clock import Clock
from engine.errors import BarterError
from engine.events import (
    Alert,
    AmendOrder,
    ArmDeadMan,
    BookSnapshot,
    CancelOrder,
    Collect,
    DeadManSet,
    Drop,
    Emit,
    Event,
    FetchAccount,
    FetchHistory,
    FetchSnapshot,
    Level,
    LookUpOrder,
    OrderFateUnknown,
    Resubscribe,
    SendOrder,
    SetLeverage,
    SnapshotFailed,
)
from engine.execution.live import VenueAccount, Wire
from engine.runtime.history import Histories
from engine.runtime.sources import Source
from engine.runtime.stages import Stages
from engine.runtime.stats import Latencies
from engine.runtime.supervise import Supervisor, persist

JITTER_S = 0.2


class Requests:
    """The outside world as far as the core may ask it."""

    def __init__(
        self,
        clock: Clock,
        sources: dict[str, Source],
        account: VenueAccount | None,
        tasks: Supervisor,
        latencies: Latencies,
        stages: Stages,
        emit: Emit,
    ) -> None:
        self.clock, self.sources, self.account, self.tasks, self.emit = clock, sources, account, tasks, emit
        self.latencies, self.stages = latencies, stages
        self._wires: dict[int, Wire] = {}  # of orders and cancels whose reply has not come
        self._urgent: deque[tuple[str, Coroutine[Any, Any, None]]] = deque()  # until `begin`
        self._asked = 0
        self._histories = Histories(clock, emit)

    @property
    def unwritten(self) -> bool:
        """Whether the bytes of an order or cancel still wait to be handed to the socket."""
        return any(not wire.written_ns for wire in self._wires.values())

    def carry_out(self, output: Event, read_ns: int, core_ns: int, done_ns: int) -> bool:
        """Start what `output` asks for (orders and cancels: at `begin`); True if it is a request at all."""
        account = self.account
        match output:
            case SendOrder() if account is not None:
                work = self._timed(partial(self._send, account, output, read_ns, core_ns, done_ns))
                self._urgent.append((f"order {output.client_id}", work))
            case CancelOrder() if account is not None:
                work = self._timed(partial(self._cancel, account, output, core_ns))
                self._urgent.append((f"cancel of {output.client_id}", work))
            case AmendOrder() if account is not None:
                answer = self._tell_answer(partial(account.amend, output))
                self.tasks.once(f"amendment of {output.client_id}", answer, money_path=True)
            case LookUpOrder() if account is not None:
                self.tasks.once(f"look-up of {output.client_id}", self._tell_answer(partial(account.look_up, output)))
            case FetchAccount() if account is not None:
                self.tasks.once("the comparison with the venue", self._fetch_account(account, output))
            case ArmDeadMan() if account is not None:
                self.tasks.once("the dead man's switch", self._arm_dead_man(account, output))
            case SetLeverage() if account is not None and account.trades(output.market):
                self.tasks.once("the leverage", self._set_leverage(account, output))
            case FetchSnapshot():
                self.tasks.once("the book's snapshot", self._fetch_snapshot(output))
            case FetchHistory():
                self.tasks.once(f"the history of {output.market}", self._fetch_history(output))
            case Resubscribe():
                self._resubscribe(output)
            case Collect():
                self._collect(output.symbol)
            case Drop():
                for source in self.sources.values():
                    source.drop(output.symbol)
            case _:
                return False
        return True

    def begin(self) -> None:
        """Send what was carried out last: its first step may tell something, which waits until all of an event is carried out."""
        while self._urgent:
            name, work = self._urgent.popleft()
            self.tasks.at_once(name, work, money_path=True)

    def compare(self, reason: str) -> None:
        """Ask for the account now, whatever the core's own schedule says."""
        if self.account is not None:
            wish = FetchAccount(self.clock.now_ns(), self.account.venue, reason)
            self.tasks.once("the comparison with the venue", self._fetch_account(self.account, wish))

    def _tell(self, event: Event) -> None:
        self.emit(event, time.monotonic_ns())

    def _timed(self, request: Callable[[Wire], Coroutine[Any, Any, None]]) -> Coroutine[Any, Any, None]:
        """The request, known as unwritten from now on: readers give way to it (`unwritten`)."""
        self._asked += 1
        number, wire = self._asked, Wire()
        self._wires[number] = wire

        async def run() -> None:
            try:
                await request(wire)
            finally:
                del self._wires[number]

        return run()

    async def _send(self, account: VenueAccount, order: SendOrder, read_ns: int, core_ns: int, done_ns: int, wire: Wire) -> None:
        try:
            event, _ = await account.send(order, wire)
        except BaseException:
            # Whatever broke, or whoever cancelled us: the bytes may be on their way.
            text = "the request was interrupted"
            self._tell(OrderFateUnknown(self.clock.now_ns(), order.market, order.client_id, text))
            raise
        answered = time.monotonic_ns()
        self._tell(event)
        times = self.latencies
        times.round_trip.add(answered - wire.asked_ns)
        if wire.written_ns:
            self.stages.add("send", wire.written_ns - done_ns)
            self.stages.add("ack", answered - wire.written_ns)
        if wire.written_ns and read_ns:  # caused by something that was read, not by the timer
            times.read_to_core.add(core_ns - read_ns)
            times.core.add(done_ns - core_ns)
            times.handoff.add(wire.asked_ns - done_ns)
            times.ccxt.add(wire.written_ns - wire.asked_ns)
            times.tick_to_wire.add(wire.written_ns - read_ns)

    async def _cancel(self, account: VenueAccount, order: CancelOrder, core_ns: int, wire: Wire) -> None:
        event = await account.cancel(order, wire)
        if wire.written_ns and not order.conditional:
            self.latencies.cancel_to_wire.add(wire.written_ns - core_ns)
        if event is not None:
            self._tell(event)

    async def _tell_answer(self, ask: Callable[[], Awaitable[Event | None]]) -> None:
        event = await ask()
        if event is not None:
            self._tell(event)

    async def _fetch_account(self, account: VenueAccount, wish: FetchAccount) -> None:
        self._tell(await persist(lambda: account.snapshot(wish)))

    async def _arm_dead_man(self, account: VenueAccount, wish: ArmDeadMan) -> None:
        problem = ""
        try:
            await account.hold(list(wish.markets), wish.seconds)
        except BarterError as failed:
            problem = str(failed)
        self._tell(DeadManSet(self.clock.now_ns(), wish.venue, wish.seconds, problem))

    async def _set_leverage(self, account: VenueAccount, wish: SetLeverage) -> None:
        self._tell(await persist(lambda: account.set_leverage(wish), attempts=20))

    async def _fetch_snapshot(self, wish: FetchSnapshot) -> None:
        # Jitter, so that several books that lost their chain together do not ask together.
        await asyncio.sleep(self.clock.real_seconds(wish.delay_ms / 1000) + (random.random() * JITTER_S if wish.delay_ms else 0))
        try:
            self._tell(await self._source(wish.market).book(wish.market))
        except BarterError as problem:
            self._tell(SnapshotFailed(self.clock.now_ns(), wish.market, str(problem)))

    async def _fetch_history(self, wish: FetchHistory) -> None:
        try:
            past = self._source(wish.market).past(wish.market)
        except BarterError:
            return  # dropped meanwhile
        await self._histories.fetch(wish, past)

    def _source(self, market: str) -> Source:
        return self.sources[market.partition(":")[0]]

    def _resubscribe(self, wish: Resubscribe) -> None:
        feed = self.sources[wish.venue].feeds[wish.route]
        if wish.market:
            feed.resubscribe(wish.market, BookSnapshot, self.clock.real_seconds(wish.delay_ms / 1000))
        else:
            feed.reconnect()

    def _collect(self, symbol: str) -> None:
        missing = [source.title for source in self.sources.values() if not source.collect(symbol)]
        if missing:
            text = f"{' and '.join(missing)} {'does' if len(missing) == 1 else 'do'} not list {symbol}."
            self._tell(Alert(self.clock.now_ns(), Level.WARNING, text))
