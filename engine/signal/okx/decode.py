"""Raw OKX v5 frames and REST bodies in, events out. Contracts become base units, prices ticks and quantities steps here, once.

Nearly everything is a JSON string there, `seqId` and `prevSeqId` are integers, and `data` is a list. A contract is
`ctVal * ctMult` base units, so an instrument's step is `lotSz * ctVal * ctMult`. The books' checksum has been zero since
2026-06-23 and is not looked at.
"""

from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import Annotated, TypeVar

import msgspec

from engine.errors import DecodeError
from engine.events import (
    Bar,
    BarHistory,
    BookDelta,
    BookSnapshot,
    Funding,
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
    LARGEST,
    MOST,
    NAMES_KEPT,
    SHORT,
    UNREADABLE,
    Control,
    Events,
    Grid,
    Heard,
    Millis,
    Whole,
    counted,
    nearest,
    on_grid,
    said,
    usable,
)

VENUE = "okx"
PONG = b"pong"
BARS_MS = {"candle1s": 1_000, "candle1m": 60_000}
T = TypeVar("T")
Sequence = Annotated[int, msgspec.Meta(ge=-1, le=LARGEST)]  # -1 before a snapshot
Rows = tuple[tuple[float, float, msgspec.Raw, msgspec.Raw], ...]  # price, contracts, a dead field, orders


class Arg(msgspec.Struct, omit_defaults=True):
    """Names a stream, in a subscription as in what it brings."""

    channel: str
    instId: str = ""
    instType: str = ""

    @property
    def name(self) -> str:
        return f"{self.channel}:{self.instId or self.instType}"


class _Frame(msgspec.Struct, gc=False):
    arg: Arg | None = None
    data: msgspec.Raw = msgspec.Raw(b"")
    action: str = ""
    event: str = ""
    code: str = ""
    msg: str = ""


class _Trade(msgspec.Struct, gc=False):
    """`tradeId` is the newest of `count` fills that one taker order made at one price."""

    tradeId: Whole
    px: float
    sz: float
    side: str
    ts: Millis
    count: Whole = 1


class _Book(msgspec.Struct, gc=False):
    asks: Rows
    bids: Rows
    ts: Millis
    seqId: Sequence
    prevSeqId: Sequence = -1


class _Best(msgspec.Struct, gc=False):
    """`seqId` since 2022."""

    asks: Rows
    bids: Rows
    ts: Millis
    seqId: Whole = 0


class _Mark(msgspec.Struct, gc=False):
    instId: str
    markPx: Decimal
    ts: Millis


class _Funding(msgspec.Struct, gc=False):
    """A real frame without `fundingRate` exists (2021); the venue sends "" for what does not apply."""

    instId: str
    fundingRate: str = ""
    fundingTime: str = ""
    nextFundingTime: str = ""
    ts: str = ""


class _Detail(msgspec.Struct, gc=False):
    side: str
    bkPx: float
    sz: float
    ts: Millis


class _Liquidations(msgspec.Struct, gc=False):
    instId: str
    details: list[_Detail]


Candle = tuple[Millis, float, float, float, float, float, msgspec.Raw, msgspec.Raw, str]

_frame = msgspec.json.Decoder(_Frame)
_trades = msgspec.json.Decoder(list[_Trade], strict=False)
_books = msgspec.json.Decoder(list[_Book], strict=False)
_bests = msgspec.json.Decoder(list[_Best], strict=False)
_marks = msgspec.json.Decoder(list[_Mark], strict=False)
_fundings = msgspec.json.Decoder(list[_Funding])
_liquidations = msgspec.json.Decoder(list[_Liquidations], strict=False)
_candles = msgspec.json.Decoder(list[Candle], strict=False)

SIDES = {"buy": Side.BUY, "sell": Side.SELL}
# Fields that the venue documents, by channel; others are new.
_KNOWN = {
    "trades": {"instId", "tradeId", "px", "sz", "side", "ts", "count", "source", "seqId"},
    "books": {"asks", "bids", "ts", "checksum", "seqId", "prevSeqId"},
    "bbo-tbt": {"asks", "bids", "ts", "seqId", "checksum"},
    "mark-price": {"instId", "instType", "markPx", "ts"},
    "liquidation-orders": {"instId", "instFamily", "instType", "uly", "details"},
}


class Decoder:
    """Frames of OKX into events. `unknown_symbols` counts what belongs to instruments that nobody listed."""

    def __init__(self) -> None:
        self.grids: dict[str, Grid] = {}
        self.unknown_symbols = 0
        self.unknown_fields: set[str] = set()
        self._sampled: set[str] = set()
        self._channels: dict[str, Callable[[_Frame, Grid, int], Events]] = {
            "books": self._book,
            "bbo-tbt": self._best,
            "trades": self._trade,
            "mark-price": self._mark,
            "funding-rate": self._funding,
            **dict.fromkeys(BARS_MS, self._candle),
        }

    def list(self, instrument: Instrument) -> None:
        self.grids[instrument.venue_symbol] = Grid.of(instrument)

    def forget(self, instrument: Instrument) -> None:
        self.grids.pop(instrument.venue_symbol, None)

    def frame(self, raw: bytes, at: int) -> Heard:
        """What a frame brings, in order; a `Control` for the venue's own words about the connection.

        Raises DecodeError for anything else; the frame is named in it.
        """
        if raw == PONG:
            return Control("pong")
        try:
            frame = _frame.decode(raw)
            if frame.event:
                return _control(frame, raw)
            arg = frame.arg
            if arg is None or not frame.data:
                raise ValueError("neither an event nor data of a channel")
            if arg.channel == "liquidation-orders":
                return self._liquidation(frame, at)
            read = self._channels.get(arg.channel)
            if read is None:
                raise ValueError(f"a channel that was not asked for, {arg.channel[:40]!r}")
            grid = self.grids.get(arg.instId)
            if grid is None:
                self.unknown_symbols += 1
                return []
            return read(frame, grid, at)
        except UNREADABLE as problem:
            raise _unreadable("market data", problem, raw) from None

    def sample(self, raw: bytes) -> None:
        """Remember the names of fields that we do not know, looked at once for each channel."""
        try:
            frame = _frame.decode(raw)
            rows = msgspec.json.decode(frame.data, type=list[dict[str, msgspec.Raw]])
        except UNREADABLE:
            return
        channel = frame.arg.channel if frame.arg else ""
        if channel in _KNOWN and channel not in self._sampled:
            self._sampled.add(channel)
            names = sorted(f"{channel}.{name[:40]}" for row in rows[:1] for name in row.keys() - _KNOWN[channel])
            self.unknown_fields.update(names[: NAMES_KEPT - len(self.unknown_fields)])

    # --- channels ----------------------------------------------------------------------------------------------------

    def _trade(self, frame: _Frame, grid: Grid, at: int) -> Events:
        found: Events = []
        for row in _trades.decode(frame.data):
            price, size = on_grid(row.px, grid.per_tick), on_grid(row.sz, grid.per_step)
            if not price or not 1 <= row.count <= row.tradeId:
                raise ValueError(f"a trade at {row.px} of {row.count} fills")
            found.append(Trade(at, grid.market, row.tradeId, price, size, SIDES[row.side], row.ts, row.tradeId - row.count + 1))
        return found

    def _book(self, frame: _Frame, grid: Grid, at: int) -> Events:
        found: Events = []
        for row in _books.decode(frame.data):
            bids, asks = _levels(row.bids, grid), _levels(row.asks, grid)
            if frame.action == "snapshot":
                found.append(BookSnapshot(at, grid.market, row.seqId, bids, asks, row.ts, True))
            elif frame.action == "update":
                found.append(BookDelta(at, grid.market, row.prevSeqId, row.seqId, row.prevSeqId, bids, asks, row.ts))
            else:
                raise ValueError(f"a book's action is {frame.action[:20]!r}")
        return found

    def _best(self, frame: _Frame, grid: Grid, at: int) -> Events:
        found: Events = []
        for row in _bests.decode(frame.data):
            if row.bids and row.asks:  # a side may be empty for a moment
                bid, ask = row.bids[0], row.asks[0]
                sizes = on_grid(bid[1], grid.per_step), on_grid(ask[1], grid.per_step)
                prices = on_grid(bid[0], grid.per_tick), on_grid(ask[0], grid.per_tick)
                found.append(Quote(at, grid.market, row.seqId, prices[0], sizes[0], prices[1], sizes[1], row.ts))
        return found

    def _mark(self, frame: _Frame, grid: Grid, at: int) -> Events:
        found: Events = []
        for row in _marks.decode(frame.data):
            if not usable(row.markPx) or row.markPx <= 0:
                raise ValueError(f"a mark price of {row.markPx}")
            found.append(Mark(at, grid.market, row.markPx, Decimal(0), Decimal(0), 0, row.ts))
        return found

    def _funding(self, frame: _Frame, grid: Grid, at: int) -> Events:
        found: Events = []
        for row in _fundings.decode(frame.data):
            if row.fundingRate and row.fundingTime:  # every field is optional
                rate, due = Decimal(row.fundingRate), _millis(row.fundingTime)
                after, told = _millis(row.nextFundingTime or "0"), _millis(row.ts or "0")
                if not usable(rate) or not due:
                    raise ValueError(f"a funding rate of {row.fundingRate[:20]} at {row.fundingTime[:20]}")
                found.append(Funding(at, grid.market, rate, due, max(after - due, 0), told))
        return found

    def _candle(self, frame: _Frame, grid: Grid, at: int) -> Events:
        assert frame.arg is not None
        timeframe_ms = BARS_MS[frame.arg.channel]
        rows = _candles.decode(frame.data)
        return [Kline(at, _bar(row, grid, timeframe_ms, on_grid), row[8] == "1", 0) for row in rows]

    def _liquidation(self, frame: _Frame, at: int) -> Events:
        found: Events = []
        for row in _liquidations.decode(frame.data):
            grid = self.grids.get(row.instId)
            if grid is None:
                continue  # the channel brings all instruments of its type
            for one in row.details:
                price, size = nearest(one.bkPx, grid.per_tick), nearest(one.sz, grid.per_step)
                found.append(Liquidation(at, grid.market, SIDES[one.side], price, size, one.ts))
        return found


def _control(frame: _Frame, raw: bytes) -> Control:
    name = frame.arg.name if frame.arg else ""
    if frame.event in ("subscribe", "unsubscribe"):
        return Control(frame.event, name)
    if frame.event == "notice":
        return Control("leaving" if frame.code == "64008" else "notice", name, _told(frame))
    if frame.event == "error":
        return Control("error", name, f"the venue refused a request: {_told(frame)}")
    if frame.event in ("channel-conn-count", "channel-conn-count-error", "login"):
        return Control("notice", name)
    raise ValueError(f"an event of an unknown kind, {frame.event[:20]!r}")


def _told(frame: _Frame) -> str:
    return f"{said(frame.msg)} (code {said(frame.code[:10])})"


def _millis(text: str) -> int:
    return msgspec.convert(text, Millis, strict=False)


def _levels(rows: Rows, grid: Grid) -> bytes:
    """Packed levels; the check of the grid is left to the quotes, which are one level a message."""
    per_tick, per_step = grid.per_tick, grid.per_step
    flat = array("q")
    add = flat.append
    for row in rows:
        add(round(row[0] * per_tick))
        add(round(row[1] * per_step))
    if flat and (min(flat) < 0 or max(flat) > MOST):
        raise ValueError("a level has a negative price or size, or one beyond all bounds")
    return flat.tobytes()


def _bar(row: Candle, grid: Grid, timeframe_ms: int, whole: Callable[[float, float], int]) -> Bar:
    """Volume comes in contracts; the venue counts no trades."""
    opening, high, low, close = (whole(value, grid.per_tick) for value in row[1:5])
    return Bar(grid.market, timeframe_ms, row[0], opening, high, low, close, whole(row[5], grid.per_step), 0)


# --- REST ------------------------------------------------------------------------------------------------------------


class _Reply(msgspec.Struct):
    code: str
    msg: str = ""
    data: msgspec.Raw = msgspec.Raw(b"[]")


class _Instrument(msgspec.Struct):
    instId: str
    ctType: str = ""
    settleCcy: str = ""
    ctValCcy: str = ""
    state: str = ""
    ctVal: str = ""
    ctMult: str = ""
    tickSz: str = ""
    lotSz: str = ""
    minSz: str = ""
    maxLmtSz: str = ""
    maxMktSz: str = ""


class _Snapshot(msgspec.Struct):
    asks: Rows
    bids: Rows
    ts: Millis
    seqId: Whole


class _Time(msgspec.Struct):
    ts: Millis


_reply = msgspec.json.Decoder(_Reply)
_instruments = msgspec.json.Decoder(list[msgspec.Raw])
_instrument = msgspec.json.Decoder(_Instrument)
_snapshots = msgspec.json.Decoder(list[_Snapshot], strict=False)
_times = msgspec.json.Decoder(list[_Time], strict=False)


def instruments(raw: bytes, at: int, simulated: bool) -> tuple[list[Instrument], list[str]]:
    """The linear USDT swaps that are live, and the names of those that cannot be read: one of them fails nobody else."""
    listed: list[Instrument] = []
    wrong: list[str] = []
    for row in _data(_instruments, raw, "instruments"):
        try:
            spec = _instrument.decode(row)
            if spec.ctType != "linear" or spec.settleCcy != "USDT" or spec.state != "live":
                continue
            listed.append(_listed(spec, at, simulated))
        except UNREADABLE:
            wrong.append(said(bytes(row)[:60].decode("utf-8", "replace")))
    return listed, wrong


def _listed(spec: _Instrument, at: int, simulated: bool) -> Instrument:
    contract = Decimal(spec.ctVal) * Decimal(spec.ctMult or 1)
    figures = [Decimal(text) for text in (spec.tickSz, spec.lotSz, spec.minSz, spec.maxLmtSz, spec.maxMktSz)]
    base = spec.ctValCcy
    if not base or not all(usable(figure) and figure > 0 for figure in (contract, *figures)):
        raise ValueError("an impossible figure")
    tick, lot, least, most, most_market = figures
    return Instrument(
        at,
        f"{VENUE}:{base}/USDT:USDT",
        spec.instId,
        base,
        "USDT",
        tick.normalize(),
        (lot * contract).normalize(),
        counted(least, lot),
        counted(most, lot),
        counted(most_market, lot),
        Decimal(0),  # the venue knows no least notional
        simulated,
        contract.normalize(),
    )


def book_snapshot(raw: bytes, grid: Grid, at: int) -> BookSnapshot:
    rows = _data(_snapshots, raw, "books")
    with _reading("books", raw):
        if not rows:
            raise ValueError("no book in it")
        row = rows[0]
        return BookSnapshot(at, grid.market, row.seqId, _levels(row.bids, grid), _levels(row.asks, grid), row.ts)


def trade_history(raw: bytes, grid: Grid, at: int) -> TradeHistory:
    """Single fills, newest first there, oldest first here."""
    flat: list[int] = []
    rows = _data(_trades, raw, "trades")
    with _reading("trades", raw):
        for row in sorted(rows, key=lambda row: row.tradeId):
            flat += (row.tradeId, nearest(row.px, grid.per_tick), nearest(row.sz, grid.per_step), SIDES[row.side], row.ts)
        return TradeHistory(at, grid.market, pack_levels(flat))


def bar_history(raw: bytes, grid: Grid, timeframe_ms: int, at: int) -> BarHistory:
    """Newest first there, oldest first here."""
    rows = _data(_candles, raw, "candles")
    with _reading("candles", raw):
        bars = sorted((_bar(row, grid, timeframe_ms, nearest) for row in rows), key=lambda bar: bar.open_ms)
        return BarHistory(at, grid.market, timeframe_ms, tuple(bars))


def server_time(raw: bytes) -> int:
    """Venue time in milliseconds."""
    rows = _data(_times, raw, "time")
    with _reading("time", raw):
        return rows[0].ts


def refusal(raw: bytes) -> tuple[int, str]:
    """Code and message of an error body, (0, "") when it is none; errors come with HTTP 200 too."""
    try:
        reply = _reply.decode(raw)
        return int(reply.code), said(reply.msg)
    except UNREADABLE:
        return -1, said(raw[:120].decode("utf-8", "replace"))


def _data(decoder: "msgspec.json.Decoder[T]", raw: bytes, what: str) -> T:
    with _reading(what, raw):
        return decoder.decode(_reply.decode(raw).data)


@contextmanager
def _reading(what: str, raw: bytes) -> Iterator[None]:
    try:
        yield
    except UNREADABLE as problem:
        raise _unreadable(what, problem, raw) from None


def _unreadable(what: str, problem: BaseException, raw: bytes) -> DecodeError:
    return DecodeError(f"OKX {what}", str(problem)[:SHORT] or type(problem).__name__, raw)
