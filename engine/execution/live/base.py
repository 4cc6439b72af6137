"""What every venue's account is and shares: keys, the timing of a request, quiet logging, redirected addresses."""

import contextvars
import hashlib
import logging
import time
from collections.abc import Awaitable
from decimal import Decimal
from typing import Any, Protocol, TypeVar

import aiohttp
import msgspec

from engine.errors import DecodeError
from engine.events import (
    AccountSnapshot,
    AmendOrder,
    CancelOrder,
    Event,
    Fees,
    FetchAccount,
    Instrument,
    LeverageSet,
    LookUpOrder,
    SendOrder,
    SetLeverage,
)
from engine.execution.live.budget import Budget

TIMEOUT_MS = 10_000
KEEP_CONNECTION_S = 70
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


class VenueAccount(Protocol):
    """One account at one venue. Failures that are not an order's own are a VenueError or a DecodeError."""

    venue: str

    async def start(self, instruments: list[Instrument]) -> None:
        """Import ccxt beside the running market, load its markets, check the position mode; may be tried again."""

    @property
    def ready(self) -> bool:
        """Whether `start` has succeeded."""

    def trades(self, market: str) -> bool:
        """False of a market that came to be watched while the engine ran: nothing is set for it at the venue."""

    async def close(self) -> None: ...

    async def send(self, order: SendOrder, wire: Wire | None = None) -> tuple[Event, Wire]:
        """Place one order, once: OrderAccepted, OrderRefused or OrderFateUnknown. `wire` is told when the bytes leave."""

    async def cancel(self, order: CancelOrder, wire: Wire | None = None) -> Event | None:
        """None when the venue took it, else CancelRefused."""

    async def amend(self, order: AmendOrder) -> Event | None:
        """None when the venue took it, else AmendRefused."""

    async def look_up(self, order: LookUpOrder) -> Event | None:
        """What became of an order, by our id; None when the question itself failed."""

    async def set_leverage(self, wish: SetLeverage) -> LeverageSet: ...

    async def fees(self, market: str) -> Fees: ...

    async def snapshot(self, wish: FetchAccount) -> AccountSnapshot:
        """Wallet, positions, open orders of both kinds and, where asked for, our fills since a time."""

    async def hold(self, markets: list[str], seconds: int) -> None:
        """Arm the venue's dead man's switch for so many seconds; 0 turns it off. Conditional orders survive it."""


class Feed(Protocol):
    """An account's private stream."""

    def run(self) -> Awaitable[None]:
        """Ends only by cancellation, or with a VenueError."""


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
    return next((int(word) for word in words[1:5] if word.isdigit() and len(word) == 3), None)


def convert(body: object, shape: type[T], title: str, what: str) -> T:
    try:
        return msgspec.convert(body, shape, strict=False)
    except msgspec.ValidationError as problem:
        raise DecodeError(f"{title} {what}", str(problem)) from None


class Figures(msgspec.Struct):
    """A NaN or an infinity is a wrong type: it would poison every sum that it enters."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if isinstance(value, Decimal) and not value.is_finite():
                raise ValueError(f"{name} is {value}")


def whole(value: Decimal, unit: Decimal, what: str) -> int:
    """How many ticks or steps; a DecodeError where that is no whole number, since what is booked is exact."""
    count = value / unit
    if count != int(count):
        raise DecodeError(what, f"{value} is not a multiple of {unit}")
    return int(count)
