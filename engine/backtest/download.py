"""A venue's name, a symbol and a span in; its bars, mark prices and funding asked through ccxt, and kept by a `Cache`.

What is kept already is not asked for again. What came is kept at the end, now and then, and when the download is cancelled or
fails, so that the next one goes on from there. Only bars that have ended are taken.
"""

import asyncio
import contextlib
import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, ClassVar

import aiohttp
import numpy as np
import tenacity

from engine.backtest.bars import Rows, in_units, units_of
from engine.backtest.cache import Cache, Writer, lacking
from engine.backtest.kept import Span
from engine.backtest.series import Contract, Series
from engine.backtest.spans import date, length
from engine.clock import Clock
from engine.errors import DataError, VenueError
from engine.execution.live import account, okx
from engine.execution.live.base import QUIET, TIMEOUT_MS, redirect, session, status_of
from engine.execution.live.budget import Budget
from engine.execution.live.outcome import UNKNOWN_CODES, code_of, words_of

BINANCE_PAGE, OKX_PAGE, FUNDING_PAGE = 1_000, 300, 1_000
KEEP_EVERY = 50_000  # bars, after which what came is written down
TRIES, FIRST_WAIT_S, LONGEST_WAIT_S = 6, 0.5, 20.0
PATIENCE_S = 150.0  # a venue that turns us away for longer is not waited for
PASSING = frozenset({408, 418, 429, 500, 502, 503, 504})  # HTTP statuses after which the same question may be answered,
PASSING_CODES = UNKNOWN_CODES | {-1003, -1008, 50001, 50011, 50040}  # and the venues' own numbers: busy, asked too often
OKX_BARS = {"1m": "1m", "3m": "3m", "5m": "5m", "15m": "15m", "30m": "30m", "1h": "1H", "2h": "2H", "4h": "4H", "6h": "6Hutc",
            "12h": "12Hutc", "1d": "1Dutc"}  # fmt: skip
BINANCE_BARS = frozenset(("1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d"))
FUNDING_EVERY_MS = 8 * 3_600_000
Told = Callable[[str, int, int], None]  # what is downloaded, how much of it is there, of how much
Row = tuple[int, str, str, str, str, str]  # open time, open, high, low, close, volume in base units


class Found:
    """What a download brought: new bars, mark prices and settlements."""

    def __init__(self) -> None:
        self.bars = self.marks = self.fundings = 0

    def __str__(self) -> str:
        return f"{self.bars:,} bars, {self.marks:,} mark prices and {self.fundings:,} settlements of funding"


async def download(
    cache: Cache,
    venue: str,
    symbol: str,
    span: Span,
    timeframe_ms: int,
    rest_base: str,
    told: Told = lambda what, done, total: None,
    found: Found | None = None,
) -> Found:
    """All that lacks of `span` (ms, its end not included; cut to what there can be). `found` counts along.

    Raises VenueError, DataError and StateError; what came before is kept.
    """
    found = found if found is not None else Found()
    with cache.writing(venue, symbol) as writer:
        async with contextlib.AsyncExitStack() as stack:
            source = SOURCES[venue](rest_base)
            stack.push_async_callback(source.close)
            contract, now_ms = await source.start(symbol)
            from_ms = max(span[0], contract.first_ms) // timeframe_ms * timeframe_ms
            to_ms = min(span[1], now_ms) // timeframe_ms * timeframe_ms
            if from_ms >= to_ms:
                listed = f"; it was listed on {date(contract.first_ms)[:10]}" if contract.first_ms else ""
                problem = f"{venue} has no finished bars from {date(span[0])} to {date(span[1])}{listed}"
                raise DataError(symbol, problem, "dates between its listing and today")
            writer.contract(contract)
            wanted = (from_ms, to_ms)
            for mark in (False, True):
                await _bars(source, writer, wanted, timeframe_ms, mark, told, found)
            await _funding(source, writer, wanted, told, found)
    return found


async def _bars(source: "Source", writer: Writer, wanted: Span, timeframe_ms: int, mark: bool, told: Told, found: Found) -> None:
    what = "mark prices" if mark else "bars"
    left = lacking(wanted, writer.asked(timeframe_ms, mark))
    total = (wanted[1] - wanted[0]) // timeframe_ms
    done = total - sum(end - start for start, end in left) // timeframe_ms

    def keep(rows: list[Row], asked: int, at: int) -> None:
        if at > asked:
            new = writer.add(_series(source, rows, timeframe_ms, mark), [(asked, at)], mark=mark)
            found.marks += new if mark else 0
            found.bars += 0 if mark else new

    for start, end in left:
        rows: list[Row] = []
        asked = at = start
        try:
            while at < end:
                told(what, done, total)
                page, reached = await source.bars(timeframe_ms, (at, end), mark)
                rows += [row for row in page if at <= row[0] < end]
                done += (reached - at) // timeframe_ms
                at = reached
                if len(rows) >= KEEP_EVERY:
                    keep(rows, asked, at)
                    rows, asked = [], at
        finally:
            keep(rows, asked, at)
    told(what, total, total)


async def _funding(source: "Source", writer: Writer, wanted: Span, told: Told, found: Found) -> None:
    for start, end in lacking(wanted, writer.asked_funding()):
        at_ms: list[int] = []
        rates: list[float] = []
        at, known = start, start
        try:
            while at < end:
                told("funding", at - start, end - start)
                page, since, reached = await source.funding((at, end))
                known = max(known, since)
                at_ms += [one for one, _ in page]
                rates += [rate for _, rate in page]
                at = reached
        finally:
            if at > start:
                times = np.array(at_ms, np.int64)
                found.fundings += writer.add_funding(times, np.array(rates, np.float64), [(known, at)], source.title)
    told("funding", 1, 1)


def _series(source: "Source", rows: Sequence[Row], timeframe_ms: int, mark: bool) -> Series:
    """The rows of one timeframe, by time, in the contract's units, or finer ones where its tick was finer then."""
    contract = source.contract
    ordered = sorted({row[0]: row for row in rows}.values())
    where = f"{source.title} {contract.symbol} {length(timeframe_ms)}{' mark prices' if mark else ''}"
    try:
        table = np.array([row[1:] for row in ordered], np.float64).reshape(-1, 5)
    except ValueError as problem:
        raise VenueError(source.title, f"a bar holds what is no number ({problem})") from None
    open_ms = np.array([row[0] for row in ordered], np.int64)
    if len(bad := np.flatnonzero(open_ms % timeframe_ms)):
        raise VenueError(source.title, f"a bar begins at {date(int(open_ms[bad[0]]))}, which is no whole {length(timeframe_ms)}")
    opened, high, low, close, volume = table.T
    found = Rows(where, np.arange(1, len(ordered) + 1), open_ms, (opened, high, low, close), None if mark else volume)
    units = units_of(found, contract) if len(ordered) else contract
    ticks = in_units(found, units) if len(ordered) else np.empty((5, 0), np.int64)
    return Series(units, timeframe_ms, open_ms, ticks[0], ticks[1], ticks[2], ticks[3], ticks[4], source=source.title)


# --- the venues -------------------------------------------------------------------------------------------------------


class Source(ABC):
    """A venue's public history of one symbol. ccxt keeps the pace; a failure that may pass is asked again some times."""

    venue: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, rest_base: str) -> None:
        self.rest_base = rest_base
        self.contract: Contract
        self._budget = Budget(Clock.start())
        self._exchange: Any = None
        self._session: aiohttp.ClientSession | None = None
        self._id = ""

    async def start(self, symbol: str) -> tuple[Contract, int]:
        """The contract, and the venue's time. Raises VenueError, and DataError where there is no such contract."""
        ccxt = await asyncio.to_thread(importlib.import_module, "ccxt.async_support")
        self._session = session(self._budget)
        shared = {"session": self._session, "enableRateLimit": True, "timeout": TIMEOUT_MS, "logger": QUIET}
        self._exchange = self._client(ccxt, shared)
        self._exchange.timeout_on_exit = 0
        listed = await self._ask("the list of markets", self._exchange.load_markets)
        market = listed.get(symbol)
        if market is None or not (market.get("swap") and market.get("linear")):
            like = [name for name, one in listed.items() if name.startswith(symbol.partition("/")[0] + "/") and one.get("swap")]
            raise DataError(
                symbol, f"{self.title} lists no such perpetual contract", ", ".join(like[:5]) or "one such as BTC/USDT:USDT"
            )
        self._id = str(market["id"])
        self.contract = _contract(self.venue, symbol, market)
        return self.contract, int(await self._ask("the time", self._exchange.fetch_time))

    async def close(self) -> None:
        if self._exchange is not None:
            await self._exchange.close()
        if self._session is not None:
            await self._session.close()

    @abstractmethod
    async def bars(self, timeframe_ms: int, span: Span, mark: bool) -> tuple[list[Row], int]:
        """Bars from the beginning of `span` on, and up to when these are all there are."""

    @abstractmethod
    async def funding(self, span: Span) -> tuple[list[tuple[int, float]], int, int]:
        """Settlements, since when these are all that there were, and up to when."""

    @abstractmethod
    def _client(self, ccxt: Any, shared: dict[str, Any]) -> Any: ...

    async def _ask(self, what: str, method: Callable[..., Any], *arguments: object) -> Any:
        """The answer. Raises VenueError."""
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception(_may_pass),
            wait=tenacity.wait_random_exponential(multiplier=FIRST_WAIT_S, max=LONGEST_WAIT_S),
            stop=tenacity.stop_after_attempt(TRIES),
            reraise=True,
        )
        try:
            async for attempt in retrying:
                with attempt:
                    await self._patience(what)
                    return await method(*arguments)
        except VenueError:
            raise
        except Exception as problem:
            raise VenueError(self.title, f"{what} could not be read: {words_of(problem)}", code_of(problem)) from None

    async def _patience(self, what: str) -> None:
        """Until the venue may be asked again."""
        wait_s = self._budget.reads_in_s()
        if wait_s > PATIENCE_S:
            raise VenueError(self.title, f"{what} could not be read: it wants to be left alone for {wait_s / 60:.0f} minutes")
        if wait_s:
            await asyncio.sleep(wait_s)


class Binance(Source):
    """Binance's bars, mark prices and funding, a page a request. Raises DataError for a length of bars that it does not have."""

    venue, title = account.VENUE, account.TITLE

    async def bars(self, timeframe_ms: int, span: Span, mark: bool) -> tuple[list[Row], int]:
        interval = length(timeframe_ms)
        if interval not in BINANCE_BARS:
            raise DataError(self.title, f"it has no bars of {interval}", ", ".join(sorted(BINANCE_BARS)))
        ask = self._exchange.fapiPublicGetMarkPriceKlines if mark else self._exchange.fapiPublicGetKlines
        asked = {"symbol": self._id, "interval": interval, "startTime": span[0], "endTime": span[1] - 1, "limit": BINANCE_PAGE}
        rows = [_row(row, 5) for row in _rows(self.title, await self._ask("bars", ask, asked))]
        return rows, max(row[0] for row in rows) + timeframe_ms if len(rows) >= BINANCE_PAGE else span[1]

    async def funding(self, span: Span) -> tuple[list[tuple[int, float]], int, int]:
        asked = {"symbol": self._id, "startTime": span[0], "endTime": span[1] - 1, "limit": FUNDING_PAGE}
        rows = _rows(self.title, await self._ask("funding", self._exchange.fapiPublicGetFundingRate, asked))
        paid = [_paid(self.title, row) for row in rows]
        return paid, span[0], max(at for at, _ in paid) + 1 if len(paid) >= FUNDING_PAGE else span[1]

    def _client(self, ccxt: Any, shared: dict[str, Any]) -> Any:
        exchange = ccxt.binanceusdm({**shared, "options": {"fetchCurrencies": False, "fetchMargins": False}})
        redirect(exchange, self.rest_base, account.PUBLIC_HOST)
        return exchange


class Okx(Source):
    """Answers come newest first, at most so many; funding goes three months back (2026-08)."""

    venue, title = okx.VENUE, okx.TITLE

    async def bars(self, timeframe_ms: int, span: Span, mark: bool) -> tuple[list[Row], int]:
        bar = OKX_BARS.get(length(timeframe_ms))
        if bar is None:
            raise DataError(self.title, f"it has no bars of {length(timeframe_ms)}", ", ".join(OKX_BARS))
        exchange = self._exchange
        ask = exchange.publicGetMarketHistoryMarkPriceCandles if mark else exchange.publicGetMarketHistoryCandles
        start, end = span[0], min(span[1], span[0] + OKX_PAGE * timeframe_ms)
        found: list[Row] = []
        after = end
        while after > start:
            asked = {"instId": self._id, "bar": bar, "after": after, "before": start - 1, "limit": OKX_PAGE}
            page = [_row(row, None if mark else 6) for row in _rows(self.title, await self._ask("bars", ask, asked))]
            older = [row for row in page if start <= row[0] < after]
            if not older:
                break
            found += older
            after = min(row[0] for row in older)
        return found, end

    async def funding(self, span: Span) -> tuple[list[tuple[int, float]], int, int]:
        found: list[tuple[int, float]] = []
        after = span[1]
        while after > span[0]:
            asked = {"instId": self._id, "after": after, "before": span[0] - 1, "limit": 100}
            rows = _rows(self.title, await self._ask("funding", self._exchange.publicGetPublicFundingRateHistory, asked))
            older = [paid for row in rows if span[0] <= (paid := _paid(self.title, row))[0] < after]
            if not older:
                break
            found += older
            after = min(at for at, _ in older)
        return found, max(span[0], after - FUNDING_EVERY_MS + 1) if found else span[1], span[1]

    def _client(self, ccxt: Any, shared: dict[str, Any]) -> Any:
        exchange = ccxt.okx({**shared, "options": {"defaultType": "swap", "fetchMarkets": {"types": ["swap"]}}})
        exchange.has["fetchCurrencies"] = False
        okx.redirect(exchange, self.rest_base)
        return exchange


SOURCES: dict[str, type[Source]] = {source.venue: source for source in (Binance, Okx)}


def _contract(venue: str, symbol: str, market: dict[str, Any]) -> Contract:
    """From ccxt's picture of a market; sizes on OKX are contracts there and base units here."""

    def number(value: object, otherwise: str = "0") -> Decimal:
        return Decimal(f"{Decimal(otherwise if value is None else str(value)).normalize():f}")

    size, limits = number(market.get("contractSize"), "1"), market["limits"]
    tick, lot = number(market["precision"]["price"]), number(market["precision"]["amount"])
    if tick <= 0 or lot <= 0:
        raise VenueError(venue, f"it does not say the tick and the step of {symbol}")
    least, most = number(limits["amount"]["min"]), number(limits["amount"]["max"], str(2**53))
    return Contract(
        symbol,
        venue,
        tick,
        number(lot * size),
        max(1, math.ceil(least / lot)),
        max(1, int(most / lot)),
        number((limits.get("cost") or {}).get("min")),
        number(market.get("maker"), "0.0002"),
        number(market.get("taker"), "0.0005"),
        first_ms=int(market.get("created") or 0),
    )


def _rows(title: str, reply: Any) -> list[Any]:
    rows = reply.get("data") if isinstance(reply, dict) else reply
    if not isinstance(rows, list):
        raise VenueError(title, "an answer that ought to be a list is none")
    return rows


def _row(row: Any, volume: int | None) -> Row:
    try:
        return int(row[0]), row[1], row[2], row[3], row[4], row[volume] if volume is not None else "0"
    except (TypeError, ValueError, IndexError, KeyError):
        raise VenueError("venue", f"a bar could not be read: {str(row)[:80]}") from None


def _paid(title: str, row: Any) -> tuple[int, float]:
    """Time and rate of a settlement. OKX says what was realised, which is what was paid."""
    try:
        at, rate = int(row["fundingTime"]), float(row.get("realizedRate") or row["fundingRate"])
    except (TypeError, ValueError, KeyError):
        raise VenueError(title, f"a settlement could not be read: {str(row)[:80]}") from None
    if not math.isfinite(rate) or abs(rate) > 1:
        raise VenueError(title, f"a settlement of {rate} is no rate")
    return at, rate


def _may_pass(problem: BaseException) -> bool:
    """By the venue's number first: ccxt's own kinds depend on the address."""
    if code_of(problem) in PASSING_CODES or status_of(problem) in PASSING:
        return True
    return any(kind.__name__ in ("NetworkError", "OperationFailed") for kind in type(problem).__mro__)
