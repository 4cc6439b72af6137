"""Raw Binance USD-M frames and REST bodies in, events out. Prices become ticks and quantities steps here, once.

Decoding is typed: an unknown field is ignored (and its name remembered), a wrong type is a DecodeError that names its path.
Prices and quantities are JSON strings there; times and ids integers.
"""

from array import array
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TypeVar

import msgspec

from engine.errors import DecodeError
from engine.events import (
    Bar,
    BarHistory,
    BookDelta,
    BookSnapshot,
    Event,
    Instrument,
    Kline,
    Liquidation,
    Mark,
    Quote,
    Side,
    Trade,
    TradeHistory,
    pack_levels,
)
from engine.signal.decoding import (
    MOST,
    NAMES_KEPT,
    SHORT,
    UNREADABLE,
    Control,
    Grid,
    Millis,
    Whole,
    counted,
    nearest,
    on_grid,
    said,
    usable,
)

VENUE = "binance"
T = TypeVar("T")
Levels = tuple[tuple[float, float], ...]


class _Frame(msgspec.Struct, tag_field="e", gc=False):
    s: str


class _Depth(_Frame, tag="depthUpdate", gc=False):
    E: Millis
    U: Whole
    u: Whole
    pu: Whole
    b: Levels
    a: Levels


class _BookTicker(_Frame, tag="bookTicker", gc=False):
    E: Millis
    u: Whole
    b: float
    B: float
    a: float
    A: float


class _AggTrade(_Frame, tag="aggTrade", gc=False):
    E: Millis
    a: Whole
    p: float
    q: float
    T: Millis
    m: bool


class _MarkPrice(_Frame, tag="markPriceUpdate", gc=False):
    E: Millis
    p: Decimal
    r: Decimal
    T: Millis
    i: Decimal = Decimal(0)


class _Candle(msgspec.Struct, gc=False):
    t: Millis
    i: str
    o: float
    h: float
    low: float = msgspec.field(name="l")
    c: float
    v: float
    n: Whole
    x: bool


class _Kline(_Frame, tag="kline", gc=False):
    E: Millis
    k: _Candle


class _Forced(msgspec.Struct, gc=False):
    """`ap` and `z` are what was traded; price and quantity of the order itself are not."""

    s: str
    S: str
    ap: float
    z: float
    T: Millis


class _ForceOrder(msgspec.Struct, tag_field="e", tag="forceOrder", gc=False):
    E: Millis
    o: _Forced

    @property
    def s(self) -> str:
        return self.o.s


class _Error(msgspec.Struct):
    code: int = 0
    msg: str = ""


class _Control(msgspec.Struct):
    """The answer to a request: `id` tells which; an error has `error`."""

    id: int | None = None
    error: _Error | None = None


_frames = msgspec.json.Decoder(_Depth | _BookTicker | _AggTrade | _MarkPrice | _Kline | _ForceOrder, strict=False)
_control = msgspec.json.Decoder(_Control)


class Decoder:
    """Frames of one venue into events. `unknown_symbols` counts frames of markets that nobody listed."""

    def __init__(self) -> None:
        self.grids: dict[str, Grid] = {}
        self.unknown_symbols = 0
        self.unknown_fields: set[str] = set()
        self._sampled: set[str] = set()

    def list(self, instrument: Instrument) -> None:
        self.grids[instrument.venue_symbol] = Grid.of(instrument)

    def forget(self, instrument: Instrument) -> None:
        self.grids.pop(instrument.venue_symbol, None)

    def frame(self, raw: bytes, at: int) -> Event | Control | None:
        """A market-data frame as an event, an answer to a request as a `Control`; None for symbols that are not listed.

        Raises DecodeError for anything else; the frame is named in it.
        """
        try:
            frame = _frames.decode(raw)
        except UNREADABLE as problem:
            if (answer := _answer(raw)) is not None:
                return answer
            raise _unreadable("market data", problem, raw) from None
        grid = self.grids.get(frame.s)
        if grid is None:
            self.unknown_symbols += 1
            return None
        try:
            if isinstance(frame, _BookTicker):
                return Quote(
                    at,
                    grid.market,
                    frame.u,
                    on_grid(frame.b, grid.per_tick),
                    on_grid(frame.B, grid.per_step),
                    on_grid(frame.a, grid.per_tick),
                    on_grid(frame.A, grid.per_step),
                    frame.E,
                )
            if isinstance(frame, _AggTrade):
                side = Side.SELL if frame.m else Side.BUY  # m: the buyer was the maker, so the aggressor sold
                price, size = on_grid(frame.p, grid.per_tick), on_grid(frame.q, grid.per_step)
                if not price:
                    raise ValueError("a trade at a price of 0")
                return Trade(at, grid.market, frame.a, price, size, side, frame.T)
            if isinstance(frame, _Depth):
                bids, asks = levels(frame.b, grid), levels(frame.a, grid)
                return BookDelta(at, grid.market, frame.U, frame.u, frame.pu, bids, asks, frame.E)
            if isinstance(frame, _Kline):
                return Kline(at, _bar(frame.k, grid), frame.k.x, frame.E)
            if isinstance(frame, _ForceOrder):
                price, size = nearest(frame.o.ap, grid.per_tick), nearest(frame.o.z, grid.per_step)
                return Liquidation(at, grid.market, SIDES[frame.o.S], price, size, frame.E)
            if not usable(frame.p) or frame.p <= 0:
                raise ValueError(f"a mark price of {frame.p}")
            if not usable(frame.i) or frame.i < 0 or not usable(frame.r):
                raise ValueError(f"an index price of {frame.i} or a funding rate of {frame.r}")
            return Mark(at, grid.market, frame.p, frame.i, frame.r, frame.T, frame.E)
        except UNREADABLE as problem:
            raise _unreadable("market data", problem, raw) from None

    def sample(self, raw: bytes) -> None:
        """Remember the names of fields that we do not know, looked at once for each kind of frame."""
        try:
            body = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
            kind = bytes(body.get("e", b"")).decode().strip('"')
        except UNREADABLE:
            return
        if kind in _KNOWN and kind not in self._sampled:
            self._sampled.add(kind)
            names = sorted(f"{kind}.{name[:40]}" for name in body.keys() - _KNOWN.get(kind, body.keys()))
            self.unknown_fields.update(names[: NAMES_KEPT - len(self.unknown_fields)])


def _answer(raw: bytes) -> Control | None:
    """To SUBSCRIBE and the like; None where it is none."""
    try:
        answer = _control.decode(raw)
    except UNREADABLE:
        return None
    if answer.error is not None:
        text = f"the venue refused a request: {said(answer.error.msg)} (code {answer.error.code})"
        return Control("error", text=text, number=answer.id or 0)
    return Control("done", number=answer.id) if answer.id is not None else None


# Fields that the venue documents; others are new (`st` and `ps` since the UM/CM integration of 2026, `nq` without RPI fills).
_KNOWN = {
    "depthUpdate": {"e", "E", "T", "s", "U", "u", "pu", "b", "a", "st", "ps"},
    "bookTicker": {"e", "u", "s", "b", "B", "a", "A", "T", "E", "st", "ps"},
    "aggTrade": {"e", "E", "a", "s", "p", "q", "nq", "f", "l", "T", "m", "st"},
    "markPriceUpdate": {"e", "E", "s", "p", "i", "P", "ap", "r", "T", "st"},
    "kline": {"e", "E", "s", "k", "st"},
    "forceOrder": {"e", "E", "o", "st", "ps"},
}
BARS_MS = {"1m": 60_000}
SIDES = {"BUY": Side.BUY, "SELL": Side.SELL}


def _bar(row: _Candle, grid: Grid) -> Bar:
    opening, high, low, close = (on_grid(value, grid.per_tick) for value in (row.o, row.h, row.low, row.c))
    return Bar(grid.market, BARS_MS[row.i], row.t, opening, high, low, close, on_grid(row.v, grid.per_step), row.n)


def levels(pairs: Levels, grid: Grid) -> bytes:
    """Packed levels; the check of the grid is left to the quotes, which are one level a message."""
    per_tick, per_step = grid.per_tick, grid.per_step
    flat = array("q")
    add = flat.append  # a third faster than a comprehension over pairs (2026-11)
    for price, size in pairs:
        add(round(price * per_tick))
        add(round(size * per_step))
    if flat and (min(flat) < 0 or max(flat) > MOST):
        raise ValueError("a level has a negative price or size, or one beyond all bounds")
    return flat.tobytes()


# --- REST ------------------------------------------------------------------------------------------------------------


class _Snapshot(msgspec.Struct):
    lastUpdateId: Whole
    bids: Levels
    asks: Levels
    E: Millis = 0


class _Filter(msgspec.Struct):
    filterType: str
    tickSize: Decimal | None = None
    stepSize: Decimal | None = None
    minQty: Decimal | None = None
    maxQty: Decimal | None = None
    notional: Decimal | None = None


class _Symbol(msgspec.Struct):
    symbol: str
    baseAsset: str
    quoteAsset: str
    marginAsset: str
    contractType: str
    status: str
    filters: list[_Filter]


class _ExchangeInfo(msgspec.Struct):
    symbols: list[msgspec.Raw]


class _RestTrade(msgspec.Struct, gc=False):
    a: Whole
    p: float
    q: float
    T: Millis
    m: bool


class _Time(msgspec.Struct):
    serverTime: Millis


Candles = tuple[Millis, float, float, float, float, float, int, msgspec.Raw, Whole, msgspec.Raw, msgspec.Raw, msgspec.Raw]
_snapshot = msgspec.json.Decoder(_Snapshot, strict=False)
_info = msgspec.json.Decoder(_ExchangeInfo, strict=False)
_symbol = msgspec.json.Decoder(_Symbol, strict=False)
_trades = msgspec.json.Decoder(list[_RestTrade], strict=False)
_klines = msgspec.json.Decoder(list[Candles], strict=False)
_time = msgspec.json.Decoder(_Time)


def instruments(raw: bytes, at: int, simulated: bool) -> tuple[list[Instrument], list[str]]:
    """The linear perpetuals that are trading, from `exchangeInfo`, and why others could not be read: one fails nobody else."""
    listed: list[Instrument] = []
    wrong: list[str] = []
    for row in _decode(_info, raw, "exchangeInfo").symbols:
        try:
            symbol = _symbol.decode(row)
            if symbol.contractType == "PERPETUAL" and symbol.status == "TRADING" and symbol.marginAsset == symbol.quoteAsset:
                listed.append(_listed(symbol, at, simulated))
        except UNREADABLE as problem:
            wrong.append(said(f"{bytes(row)[:40].decode('utf-8', 'replace')}... ({str(problem)[:80]})"))
    return listed, wrong


def _listed(symbol: _Symbol, at: int, simulated: bool) -> Instrument:
    filters = {entry.filterType: entry for entry in symbol.filters}
    price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    market_lot = filters.get("MARKET_LOT_SIZE", lot)
    least = filters.get("MIN_NOTIONAL")
    if not (price and lot and market_lot and price.tickSize and lot.stepSize and lot.minQty and lot.maxQty):
        raise ValueError(f"{symbol.symbol} lacks its price or lot filter")
    notional = least.notional if least and least.notional is not None else Decimal(0)
    figures = (price.tickSize, lot.stepSize, lot.minQty, lot.maxQty, market_lot.maxQty or lot.maxQty)
    if not all(usable(figure) and figure > 0 for figure in figures) or not (usable(notional) and notional >= 0):
        raise ValueError(f"{symbol.symbol} has an impossible filter")
    step = lot.stepSize
    return Instrument(
        at,
        f"{VENUE}:{symbol.baseAsset}/{symbol.quoteAsset}:{symbol.marginAsset}",
        symbol.symbol,
        symbol.baseAsset,
        symbol.quoteAsset,
        price.tickSize.normalize(),
        step.normalize(),
        counted(lot.minQty, step),
        counted(lot.maxQty, step),
        counted(market_lot.maxQty or lot.maxQty, step),
        notional,
        simulated,
    )


def book_snapshot(raw: bytes, grid: Grid, at: int) -> BookSnapshot:
    body = _decode(_snapshot, raw, "depth")
    with _reading("depth", raw):
        return BookSnapshot(at, grid.market, body.lastUpdateId, levels(body.bids, grid), levels(body.asks, grid), body.E)


def trade_history(raw: bytes, grid: Grid, at: int) -> TradeHistory:
    """`GET /fapi/v1/aggTrades`. Raises DecodeError."""
    flat: list[int] = []
    rows = _decode(_trades, raw, "aggTrades")
    with _reading("aggTrades", raw):
        for row in rows:
            price, size = nearest(row.p, grid.per_tick), nearest(row.q, grid.per_step)
            flat += (row.a, price, size, Side.SELL if row.m else Side.BUY, row.T)
    return TradeHistory(at, grid.market, pack_levels(flat))


def bar_history(raw: bytes, grid: Grid, timeframe_ms: int, at: int) -> BarHistory:
    """`GET /fapi/v1/klines`. Raises DecodeError."""
    rows = _decode(_klines, raw, "klines")
    with _reading("klines", raw):
        bars = tuple(
            Bar(
                grid.market,
                timeframe_ms,
                row[0],
                nearest(row[1], grid.per_tick),
                nearest(row[2], grid.per_tick),
                nearest(row[3], grid.per_tick),
                nearest(row[4], grid.per_tick),
                nearest(row[5], grid.per_step),
                row[8],
            )
            for row in rows
        )
    return BarHistory(at, grid.market, timeframe_ms, bars)


def server_time(raw: bytes) -> int:
    """Venue time in milliseconds."""
    return _decode(_time, raw, "time").serverTime


def refusal(raw: bytes) -> tuple[int, str]:
    """Code and message of an error body; (0, text) when it is none."""
    try:
        error = msgspec.json.decode(raw, type=_Error)
    except UNREADABLE:
        return 0, said(raw[:120].decode("utf-8", "replace"))
    return error.code, said(error.msg)


def _decode(decoder: "msgspec.json.Decoder[T]", raw: bytes, what: str) -> T:
    with _reading(what, raw):
        return decoder.decode(raw)


@contextmanager
def _reading(what: str, raw: bytes) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as problem:
        raise _unreadable(what, problem, raw) from None


def _unreadable(what: str, problem: BaseException, raw: bytes) -> DecodeError:
    return DecodeError(f"Binance {what}", str(problem)[:SHORT], raw)
