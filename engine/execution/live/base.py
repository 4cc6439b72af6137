"""What every venue's account is and shares: keys, the timing of a request, quiet logging, redirected addresses."""

import asyncio
import contextvars
import hashlib
import importlib
import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any, ClassVar, Protocol, TypeVar

import aiohttp
import msgspec

from engine.clock import Clock
from engine.errors import DecodeError, VenueError
from engine.events import (
    AccountSnapshot,
    AmendOrder,
    AmendRefused,
    CancelOrder,
    CancelRefused,
    Event,
    Fees,
    FetchAccount,
    Instrument,
    LeverageSet,
    LookUpOrder,
    OrderFateUnknown,
    OrderNotFound,
    OrderRefused,
    SendOrder,
    SetLeverage,
)
from engine.execution.live.budget import Budget
from engine.execution.live.outcome import Fate, code_of, fate_of, words_of
from engine.signal.decoding import LARGEST, SHORT, counted, usable

TIMEOUT_MS = 10_000
KEEP_CONNECTION_S = 70
# Why a key is not used, at every venue that tells.
MAY_WITHDRAW = "this key may withdraw, so it is not used; take that permission from it, or make a key without it"
MESSAGES = frozenset({"rm", "sMsg"})
NOWHERE = "http://127.0.0.1:9/unused"
# ccxt and websockets log whole requests at DEBUG, with the API key, signatures and the listen key: theirs go nowhere.
QUIET = logging.Logger("barter.quiet", logging.CRITICAL + 1)
QUIET.addHandler(logging.NullHandler())
T = TypeVar("T")


class Credentials(msgspec.Struct, frozen=True):
    """Never written anywhere: not in settings, journal, log or view. `passphrase` is OKX's."""

    api_key: str
    secret: str
    passphrase: str = ""

    def __repr__(self) -> str:
        return "Credentials(...)"

    def account_at(self, venue: str) -> str:
        """Tells one account from another in the journal; the key cannot be found from it."""
        apart = "" if venue == "binance" else f"{venue} "  # Binance's came first, and its sessions are to be found again
        return hashlib.sha256(f"account {apart}{self.api_key}".encode()).hexdigest()[:12]

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return []  # msgspec's own would show the fields in the screen's tracebacks


class Wire(msgspec.Struct):
    """When one request's bytes were handed to the socket, monotonic ns; 0 until then."""

    asked_ns: int = 0
    written_ns: int = 0


class Feed(Protocol):
    """An account's private stream."""

    def run(self) -> Awaitable[None]:
        """Ends only by cancellation, or with a VenueError."""


class VenueAccount(ABC):
    """One account at one venue. Failures that are not an order's own are a VenueError or a DecodeError.

    Here is what all have in common; each makes its own ccxt client, asks in its own words and reads the answers.
    """

    venue: ClassVar[str]
    title: ClassVar[str]

    def __init__(
        self,
        credentials: Credentials,
        rest_base: str,
        clock: Clock,
        recv_window_ms: int,
        *,
        margin_mode: str = "cross",
        ahead_ms: Callable[[], int] = lambda: 0,
    ) -> None:
        """`ahead_ms` is the venue's clock minus ours: requests carry the venue's time."""
        self.credentials, self.rest_base, self.clock = credentials, rest_base, clock
        self.recv_window_ms, self.margin_mode, self._ahead_ms = recv_window_ms, margin_mode, ahead_ms
        self.budget = Budget(clock)
        self._instruments: dict[str, Instrument] = {}
        self._by_symbol: dict[str, Instrument] = {}
        self._exchange: Any = None
        self._session: aiohttp.ClientSession | None = None
        self._loaded = False

    async def start(self, instruments: list[Instrument]) -> None:
        """Import ccxt beside the running market (it takes seconds), load its markets, check the account; may be tried again."""
        for instrument in instruments:
            self._instruments[instrument.market] = instrument
            self._by_symbol[instrument.venue_symbol] = instrument
        await self.close()  # of an earlier try
        # Not `import` in the loop: prices must not wait for 2-4 s of imports.
        ccxt = await asyncio.to_thread(importlib.import_module, "ccxt.async_support")
        self._session = session(self.budget)
        shared = {
            "apiKey": self.credentials.api_key,
            "secret": self.credentials.secret,
            "session": self._session,
            "enableRateLimit": False,
            "timeout": TIMEOUT_MS,
            "logger": QUIET,
        }
        self._exchange = self._client(ccxt, shared)
        self._exchange.milliseconds = lambda: self.clock.now_ms() + self._ahead_ms()  # what signed requests carry
        self._exchange.timeout_on_exit = 0
        listed = await self._call("the list of markets", self._exchange.load_markets)
        for instrument in instruments:
            if unified(instrument.market) not in listed:  # an empty reply reads as an empty list
                raise VenueError(self.title, f"{unified(instrument.market)} is not in the list of markets")
        await self._check()
        self._loaded = True

    @abstractmethod
    def _client(self, ccxt: Any, shared: dict[str, Any]) -> Any:
        """The venue's class of ccxt, at our address."""

    @abstractmethod
    async def _check(self) -> None:
        """Raises VenueError, or KeyRefused, where the account cannot be traded on."""

    @property
    def ready(self) -> bool:
        """Whether `start` has succeeded."""
        return self._loaded

    def trades(self, market: str) -> bool:
        """False of a market that came to be watched while the engine ran: nothing is set for it at the venue."""
        return market in self._instruments

    async def close(self) -> None:
        if self._exchange is not None:
            await self._exchange.close()
            self._exchange = None
        if self._session is not None:
            await self._session.close()
            self._session = None

    @abstractmethod
    async def send(self, order: SendOrder, wire: Wire | None = None) -> tuple[Event, Wire]:
        """Place one order, once: OrderAccepted, OrderRefused or OrderFateUnknown. `wire` is told when the bytes leave."""

    @abstractmethod
    async def cancel(self, order: CancelOrder, wire: Wire | None = None) -> Event | None:
        """None when the venue took it, else CancelRefused."""

    @abstractmethod
    async def amend(self, order: AmendOrder) -> Event | None:
        """None when the venue took it, else AmendRefused."""

    @abstractmethod
    async def look_up(self, order: LookUpOrder) -> Event | None:
        """What became of an order, by our id; None when the question itself failed."""

    @abstractmethod
    async def set_leverage(self, wish: SetLeverage) -> LeverageSet: ...

    @abstractmethod
    async def fees(self, market: str) -> Fees: ...

    @abstractmethod
    async def snapshot(self, wish: FetchAccount) -> AccountSnapshot:
        """Wallet, positions, open orders of both kinds and, where asked for, our fills since a time."""

    @abstractmethod
    async def hold(self, markets: list[str], seconds: int) -> None:
        """Arm the venue's dead man's switch for so many seconds; 0 turns it off. Conditional orders survive it."""

    async def _call(self, what: str, ask: Callable[..., Awaitable[Any]], *wish: object, may_wait: bool = False) -> Any:
        """The answer to a question; `may_wait` as in `Budget.reading`. Raises VenueError."""
        if wait := self.budget.reading(may_wait=may_wait):
            raise VenueError(self.title, f"{what} could not be read: {wait}")
        try:
            return await ask(*wish)
        except Exception as problem:
            raise VenueError(self.title, f"{what} could not be read: {words_of(problem)}", code_of(problem)) from None

    def _held_back(self, order: SendOrder) -> OrderRefused | None:
        """An entry that the budget has no room for: it is not sent."""
        if order.reduce_only or not (problem := self.budget.entering()):
            return None
        return OrderRefused(self.clock.now_ns(), order.market, order.client_id, 0, problem)

    def _failed(self, order: SendOrder, problem: Exception) -> Event:
        now = self.clock.now_ns()
        if fate_of(problem, status_of(problem)) is Fate.REFUSED:
            return OrderRefused(now, order.market, order.client_id, code_of(problem), words_of(problem))
        return OrderFateUnknown(now, order.market, order.client_id, f"no usable reply ({words_of(problem)})")

    def _not_cancelled(self, order: CancelOrder, problem: Exception) -> CancelRefused:
        return CancelRefused(self.clock.now_ns(), order.market, order.client_id, code_of(problem), words_of(problem))

    def _not_amended(self, order: AmendOrder, problem: Exception) -> AmendRefused:
        known = fate_of(problem, status_of(problem)) is not Fate.UNKNOWN
        code = code_of(problem) if known else 0
        return AmendRefused(self.clock.now_ns(), order.market, order.client_id, code, words_of(problem))

    def _not_found(self, order: LookUpOrder, problem: Exception) -> OrderNotFound | None:
        """None where the question itself failed."""
        gone = fate_of(problem, status_of(problem)) is Fate.GONE
        return OrderNotFound(self.clock.now_ns(), order.market, order.client_id) if gone else None


def unified(market: str) -> str:
    """`binance:ASTER/USDT:USDT` as ccxt writes it."""
    return market.partition(":")[2]


_wire: contextvars.ContextVar[Wire | None] = contextvars.ContextVar("wire", default=None)


def marked(wire: Wire | None) -> Wire:
    """The request that this task makes next is timed by `wire`."""
    wire = wire or Wire()
    wire.asked_ns = time.monotonic_ns()
    _wire.set(wire)
    return wire


def session(budget: Budget) -> aiohttp.ClientSession:
    """Connections that stay: the default would drop an idle one after 15 s, and the next order would pay for a new one."""
    connector = aiohttp.TCPConnector(keepalive_timeout=KEEP_CONNECTION_S)
    return aiohttp.ClientSession(connector=connector, trace_configs=[_trace(budget)])


def _trace(budget: Budget) -> aiohttp.TraceConfig:
    """Notes when a request is handed to the transport, the end of tick-to-wire; and what each reply says of the budget."""

    async def answered(session: object, context: object, params: aiohttp.TraceRequestEndParams) -> None:
        budget.seen(params.response.status, params.response.headers)

    async def body_written(_session: object, _context: object, _params: object) -> None:
        wire = _wire.get()
        if wire is not None and not wire.written_ns:
            wire.written_ns = time.monotonic_ns()

    async def headers_written(session: object, context: object, params: aiohttp.TraceRequestHeadersSentParams) -> None:
        if params.method not in ("POST", "PUT"):  # those carry a body, which goes out with the headers
            await body_written(session, context, params)

    trace = aiohttp.TraceConfig()
    trace.on_request_chunk_sent.append(body_written)
    trace.on_request_headers_sent.append(headers_written)
    trace.on_request_end.append(answered)
    return trace


def redirect(exchange: Any, rest_base: str, public_host: str) -> None:
    """Point every URL at `rest_base`; nothing may be left that reaches a public host by accident."""
    api = exchange.urls["api"]
    for name, url in list(api.items()):
        if isinstance(url, str):
            api[name] = url.replace(public_host, rest_base) if url.startswith(public_host) else NOWHERE
        elif rest_base != public_host:
            api[name] = {}


def status_of(problem: BaseException) -> int | None:
    """The HTTP status that ccxt puts into its text: `binanceusdm POST https://... 503 Service Unavailable ...`, and for 418
    and 429 `binanceusdm 429 Too Many Requests ...`.
    """
    words = str(problem).split(" ")
    return next((int(word) for word in words[1:5] if word.isascii() and word.isdigit() and len(word) == 3), None)


def convert(body: object, shape: type[T], title: str, what: str) -> T:
    """What ccxt read of a reply, as typed. Raises DecodeError."""
    try:
        msgspec.json.encode(body)  # Python's decoder lets half a surrogate pair through, which no journal can hold
        return msgspec.convert(body, shape, strict=False)
    except (ValueError, OverflowError, RecursionError) as problem:  # msgspec's and UnicodeEncodeError are ValueErrors
        raise DecodeError(f"{title} {what}", str(problem)[:SHORT]) from None


class Figures(msgspec.Struct):
    """A NaN, an infinity or a number beyond all bounds is a wrong type: it would poison every sum that it enters. So is a name
    that cannot be printed: it would reach the terminal. `MESSAGES` are words, and are looked at where they are shown.
    """

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:  # a stop waits for this: one test for most fields
            value = getattr(self, name)
            kind = type(value)
            if kind is Decimal:
                if not usable(value):
                    raise ValueError(f"{name} is {value}"[:SHORT])
            elif kind is int:
                if not -LARGEST <= value <= LARGEST:
                    raise ValueError(f"{name} is of more than 64 bits")
            elif kind is str:
                if not value.isprintable() and name not in MESSAGES:
                    raise ValueError(f"{name} cannot be printed")
            elif kind is list and not all(one.isprintable() for one in value if isinstance(one, str)):
                raise ValueError(f"{name} cannot be printed")


def whole(value: Decimal, unit: Decimal, what: str) -> int:
    """How many ticks or steps; a DecodeError where that is no whole number, since what is booked is exact."""
    try:
        count = counted(value, unit)
    except ValueError as problem:
        raise DecodeError(what, str(problem)) from None
    if count * unit != value:
        raise DecodeError(what, f"{value} is not a multiple of {unit}")
    return count
