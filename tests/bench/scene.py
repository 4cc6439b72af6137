"""One venue with one engine on it: what the play of a fault steers, and what is measured meanwhile."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import aiohttp
import msgspec

from console.venue_process import VenueProcess
from engine.config import Settings, create_aster_config
from engine.core.state import MarketState
from engine.events import (
    Action,
    Event,
    Fault,
    OrderKind,
    OrderState,
    Purpose,
    SendOrder,
    Side,
    Ticket,
    TimeInForce,
    Trust,
    TrustChanged,
)
from engine.runtime import Engine
from engine.views import Ask
from tests.ollama_standin import Standin

PATIENCE_S = 40.0
SYMBOL = "ASTER/USDT:USDT"
STEPS, FAR = 100, 60  # of an order; ticks from the market where one rests
BUY = Ticket(Side.BUY, OrderKind.MARKET, STEPS)
SETTLES_S = 5.0  # for the venue's orders and ours to be the same: answers are under way


class Dialect(NamedTuple):
    """The venue's words for what a fault names."""

    place: str
    conditional: str
    cancel: str
    report: str  # the kind of a private stream's report on an order
    symbol: str


DIALECTS = {
    "binance": Dialect(
        "POST /fapi/v1/order", "POST /fapi/v1/algoOrder", "DELETE /fapi/v1/order", "ORDER_TRADE_UPDATE", "ASTERUSDT"
    ),
    "okx": Dialect(
        "POST /api/v5/trade/order",
        "POST /api/v5/trade/order-algo",
        "POST /api/v5/trade/cancel-order",
        "orders",
        "ASTER-USDT-SWAP",
    ),
}


class Longest:
    """How long something was so at a stretch, by who tells often whether it is."""

    def __init__(self) -> None:
        self.seconds = self._since = 0.0

    def tell(self, so: bool) -> None:
        now = time.monotonic()
        self.seconds = max(self.seconds, now - self._since if self._since else 0.0)
        self._since = (self._since or now) if so else 0.0


class Scene:
    """`more`: settings of the case. `standin` answers as the model where the case has one.

    A play is given twice: at first to see that trading resumes, then with `killing`, when `struck` presses the kill key twice.
    """

    def __init__(
        self, venue: VenueProcess, name: str, folder: Path, http: aiohttp.ClientSession, more: Mapping[str, Mapping[str, Any]]
    ) -> None:
        self.venue, self.name, self.http, self.words = venue, name, http, DIALECTS[name]
        others = [other for other in DIALECTS if other != name]
        chosen: dict[str, dict[str, Any]] = {
            "engine": {"symbols": [SYMBOL], "state_dir": str(folder), "venues": [name, *others], "arm_at_start": "yes"},
            "judgment": {"judge": "rules", "min_confidence": 1.0},
            "risk": {"max_orders_per_minute": 1000},
        }
        self.settings: Settings = create_aster_config(
            **{part: chosen.get(part, {}) | more.get(part, {}) for part in chosen | more}
        )
        self.engine: Engine | None = None
        self.standin, self.model_server = Standin(), contextlib.AsyncExitStack()
        self.left = contextlib.AsyncExitStack()  # what a play leaves behind, to be ended when all is over
        self.sent: list[SendOrder] = []
        self.blind_entries = 0  # sent while the book was not trusted
        self.distrusted = 0  # times that the book lost its trust
        self.crashes: list[str] = []
        self.bare, self.blind = Longest(), Longest()
        self.watching = self.killing = False
        self.killed_at = self.flat_at = self.ended_at = 0.0  # `ended_at`: an engine's process was killed, or left alone

    def serve_model(self, host: str) -> None:
        judgment = msgspec.structs.replace(self.settings.judgment, host=host)
        self.settings = msgspec.structs.replace(self.settings, judgment=judgment)

    async def fault(self, name: str, **fields: Any) -> None:
        body = {"name": name, "venue": self.name, **fields}
        async with self.http.post(f"{self.venue.said.rest}/sim/fault", json=body) as reply:
            assert reply.status == 200, await reply.text()

    async def there(self) -> Any:
        async with self.http.get(f"{self.venue.said.rest}/sim/state") as reply:
            state = await reply.json()
        return state if self.name == "binance" else state["okx"]

    # --- an engine in this process ---------------------------------------------------------------------------------------

    def journal(self, event: Event, out: list[Event]) -> None:
        if isinstance(event, Fault):
            self.crashes.append(f"{event.part}: {event.problem}")
        held = self.held
        for one in out:
            if isinstance(one, SendOrder):
                self.sent.append(one)
                self.blind_entries += one.purpose is Purpose.ENTRY and not (held is not None and held.book.trusted)
            elif isinstance(one, TrustChanged) and one.market == self.market and one.trust in (Trust.STALE, Trust.OFF):
                self.distrusted += 1
        self.bare.tell(held is not None and bool(held.unprotected_since))
        self.blind.tell(self.watching and not self.trusted())

    @property
    def running(self) -> Engine:
        assert self.engine is not None
        return self.engine

    @property
    def held(self) -> MarketState | None:
        return self.engine.state.traded if self.engine is not None else None

    async def ready(self) -> None:
        await self.until(lambda: self.held is not None and not self.running.view().ready and self.trusted(), "ready")

    async def until(self, reached: Callable[[], object], what: str, within_s: float = PATIENCE_S) -> None:
        deadline = time.monotonic() + within_s
        while not reached():
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            await asyncio.sleep(0.02)

    def ask(self, action: Action, target: str = "", ticket: Ticket | None = None) -> str:
        """Returns why it was refused, "" when it was not."""
        name = f"f{time.monotonic_ns()}"
        answer = self.running.ask(Ask(name, action, target or self.market, ticket=ticket))
        return "" if answer.accepted else answer.text

    @property
    def market(self) -> str:
        return f"{self.name}:{SYMBOL}"

    def position(self) -> int:
        return self.running.state.portfolio.position(self.market).quantity

    def enter(self) -> str:
        return self.ask(Action.ORDER, ticket=BUY)

    async def taken(self, ask: Callable[[], str], what: str) -> None:
        """Ask until it is taken: entries that are alike keep a distance in time, and a book may be empty for a moment."""
        await self.until(lambda: not ask(), what)

    def rest(self) -> str:
        held = self.held
        assert held is not None
        price = held.book.best_bid - FAR
        return self.ask(Action.ORDER, ticket=Ticket(Side.BUY, OrderKind.LIMIT, STEPS, price, time_in_force=TimeInForce.GTX))

    def struck(self) -> None:
        """The fault is there, and what it hurts is under way: each play says so once."""
        if self.killing and not self.killed_at:
            self.killed_at = time.monotonic()
            self.ask(Action.FLATTEN)

    def trusted(self) -> bool:
        """What an entry follows is known to be so: the book, the account, the fate of every order, and the record."""
        held, state = self.held, self.running.state
        known = state.private_up and state.reconciled and not state.unknown_orders(self.market) and not state.unrecorded
        return held is not None and held.book.trusted and known

    def quiet(self) -> bool:
        """Nothing is under way or unknown, and what is held is protected."""
        held, state = self.held, self.running.state
        still = all(order.state is OrderState.WORKING for order in state.live_orders())
        return held is not None and still and not held.unprotected_since and state.reconciled and state.private_up

    async def differ(self) -> int:
        """How many orders only one of us believes alive, and one more where the positions differ: 0 once all is answered."""
        deadline = time.monotonic() + SETTLES_S
        while (found := self._differing(await self.there())) and time.monotonic() < deadline:  # noqa: ASYNC110 - it is asked
            await asyncio.sleep(0.1)
        return found

    def _differing(self, there: Any) -> int:
        ours = {order.client_id for order in self.running.state.live_orders()}
        theirs = {*there["open_orders"], *there["open_conditionals"]}
        held = Decimal(there["positions"].get(self.words.symbol, {"quantity": "0"})["quantity"])
        return len(ours ^ theirs) + (held != self.position())


Play = Callable[[Scene], Awaitable[None]]


class Case(NamedTuple):
    """`kills` plays before the engine of this process starts, with one that is a process of its own and ends. `at`: the venues
    that have such a fault, all where none is named.
    """

    name: str
    play: Play
    kills: bool = False
    at: tuple[str, ...] = ()
    settings: Mapping[str, Mapping[str, Any]] = MappingProxyType({})
    model: bool = False
