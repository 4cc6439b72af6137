"""A kill without the engine: over a connection of its own, and read back until the venue says that it is so.

For an engine that hangs, is gone or does not answer. Its latch was written before; a restart finds it.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from engine import action
from engine.clock import Clock
from engine.config import Settings
from engine.core.trading import base36
from engine.errors import BarterError
from engine.events import (
    AccountSnapshot,
    CancelOrder,
    FetchAccount,
    Instrument,
    OrderFact,
    OrderKind,
    PositionFact,
    Purpose,
    SendOrder,
    Side,
    TimeInForce,
)
from engine.execution.live import Credentials, VenueAccount, open_account
from engine.execution.orders import protects
from engine.places import Endpoints
from engine.runtime.sources import Source

FILE = "venue.json"
WITHIN_S = 30.0
BEAT_S = 0.2


class Whereabouts(msgspec.Struct, frozen=True):
    """Where orders go, on what clock and with which keys."""

    endpoints: Endpoints
    clock: Clock
    credentials: Credentials

    def __repr__(self) -> str:
        return "Whereabouts(...)"

    def __rich_repr__(self) -> list[tuple[str, object]]:
        return []


def remember(folder: Path, where: Whereabouts) -> None:
    """Of a simulated venue only, whose keys were made up for this one run: so that a kill from another shell finds it."""
    path = folder / FILE
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
        place = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(place, "wb") as file:
            file.write(msgspec.json.encode(where))


def forget(folder: Path) -> None:
    with contextlib.suppress(OSError):
        (folder / FILE).unlink(missing_ok=True)


def remembered(folder: Path) -> Whereabouts | None:
    """None where no engine on a simulated venue has left word."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=Whereabouts)
    except (OSError, ValueError, RecursionError):
        return None


class Outcome(msgspec.Struct):
    """Of one venue. Times are real milliseconds since it began; -1: never."""

    venue: str
    problem: str = ""
    orders: int = 0
    positions: int = 0
    cancelled_ms: int = -1
    confirmed_ms: int = -1


async def kill(settings: Settings, where: Whereabouts, venue: str, flatten: bool, say: Callable[[str], None]) -> Outcome:
    """Never raises: what went wrong is in the outcome."""
    begun, outcome = time.monotonic(), Outcome(venue)
    account: VenueAccount | None = None
    source: Source | None = None
    try:
        async with asyncio.timeout(WITHIN_S):
            ends = where.endpoints
            source = Source(venue, ends.rest, ends.ws, where.clock, ends.simulated, 10.0, lambda *_: False)
            await source.read_list(attempts=3)
            window = settings.venue.recv_window_ms
            account = open_account(venue, where.credentials, ends.rest, where.clock, window, settings.risk.margin_mode)
            await account.start(list(source.listed.values()))
            say(f"{venue}: connected after {_ms(begun)} ms")
            await _Kill(settings, account, source.listed, flatten, outcome, begun, say).run(where.clock)
    except TimeoutError:
        outcome.problem = outcome.problem or f"it was not done within {WITHIN_S:.0f} s"
    except BarterError as problem:
        outcome.problem = str(problem)
    except Exception as problem:
        outcome.problem = f"it failed ({type(problem).__name__})"
    finally:
        if account is not None:
            await account.close()
        if source is not None:
            await source.rest.close()
    return outcome


class _Kill:
    """Ask, act, ask again, until the venue's own answer is what was wanted."""

    def __init__(
        self,
        settings: Settings,
        account: VenueAccount,
        listed: dict[str, Instrument],
        flatten: bool,
        outcome: Outcome,
        begun: float,
        say: Callable[[str], None],
    ) -> None:
        self.settings, self.account, self.listed, self.flatten = settings, account, listed, flatten
        self.outcome, self.begun, self.say = outcome, begun, say
        self._number = 0

    async def run(self, clock: Clock) -> None:
        first = True
        while True:
            seen = await self.account.snapshot(FetchAccount(clock.now_ns(), self.account.venue, "a kill from outside"))
            adding = [order for order in seen.orders if not order.reduce_only]
            held = [one for one in seen.positions if one.quantity]
            if first:
                first, self.outcome.orders, self.outcome.positions = False, len(adding), len(held)
                self.say(f"{self.account.venue}: {len(adding)} orders could add exposure, {len(held)} positions are open")
            if not adding and self.outcome.cancelled_ms < 0:
                self.outcome.cancelled_ms = _ms(self.begun)
            wanted = self._wanted(seen, adding, held, clock.now_ns())
            if not wanted:
                self.outcome.confirmed_ms = _ms(self.begun)
                return
            await asyncio.gather(*(self._ask(one) for one in wanted))
            await asyncio.sleep(BEAT_S)

    async def _ask(self, request: CancelOrder | SendOrder) -> None:
        """Whatever the answer is: the next picture of the account tells."""
        if isinstance(request, CancelOrder):
            await self.account.cancel(request)
        else:
            await self.account.send(request)

    def _wanted(
        self, seen: AccountSnapshot, adding: list[OrderFact], held: list[PositionFact], now: int
    ) -> list[CancelOrder | SendOrder]:
        """What is still to be asked for, the cancels first; nothing when all is as it should be."""
        gone = adding + ([order for order in seen.orders if order.reduce_only] if self.flatten and not held else [])
        wanted: list[CancelOrder | SendOrder] = [
            CancelOrder(now, order.market, order.client_id, order.venue_id, order.conditional) for order in gone
        ]
        for position in held:
            if self.flatten:
                wanted.append(self._close(position, now))
            elif not any(order.market == position.market and protects(order, position) for order in seen.orders):
                wanted.append(self._stop(position, now))
        return wanted

    def _close(self, position: PositionFact, now: int) -> SendOrder:
        most = self.listed[position.market].max_market_quantity
        return self._order(position, OrderKind.MARKET, Purpose.EXIT, min(abs(position.quantity), most), 0, now)

    def _stop(self, position: PositionFact, now: int) -> SendOrder:
        """At the strategy's least distance: nothing more is known of the position here."""
        instrument, mark = self.listed[position.market], float(position.mark)
        distance = action.plan(mark, 0.0, self.settings.strategy).stop_distance
        sign = 1 if position.quantity > 0 else -1
        trigger = max(round((mark - sign * distance) / float(instrument.tick)), 1)
        return self._order(position, OrderKind.STOP, Purpose.STOP, abs(position.quantity), trigger, now)

    def _order(self, position: PositionFact, kind: OrderKind, purpose: Purpose, steps: int, trigger: int, now: int) -> SendOrder:
        self._number += 1
        name = f"btk{base36(time.time_ns() // 1_000_000)}{self._number}"
        side = Side.SELL if position.quantity > 0 else Side.BUY
        return SendOrder(now, position.market, name, kind, purpose, side, steps, 0, trigger, TimeInForce.GTC, True)


def _ms(begun: float) -> int:
    return int((time.monotonic() - begun) * 1000)
