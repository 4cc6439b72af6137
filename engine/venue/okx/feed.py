"""OKX's public socket and REST interface as a feed of paper: books that begin with a picture, by the stream itself.

Its frames are told in the form of the recorded ones, counted in contracts, and its contracts are listed as it lists them.
"""

from collections.abc import Iterable
from decimal import Decimal

import aiohttp
import msgspec
from msgspec import Raw

from engine.errors import VenueStartError
from engine.venue.capture import Line, SymbolInfo
from engine.venue.feed import UNREADABLE, FedMarket, Feeding, Source, asked, sane, wanted
from engine.venue.frames import AggFrame, DepthFrame, Envelope, Frame, MarkFrame, QuoteFrame
from engine.venue.market import Listing
from engine.venue.okx.contract import Contract
from engine.venue.okx.tape import OkxTape
from engine.venue.recorded import Levels, listing_for
from engine.venue.tape import Grid

CHANNELS = ("books", "bbo-tbt", "trades", "mark-price", "funding-rate")
PATH = "/api/v5/public/instruments"
ARGS_A_REQUEST = 50  # the venue takes 64 KiB
MINUTE_MS = 60_000

Rows = list[tuple[str, str, Raw, Raw]]  # price, contracts, a dead field, orders


class _Arg(msgspec.Struct):
    channel: str
    instId: str = ""


class _Pushed(msgspec.Struct):
    arg: _Arg | None = None
    data: Raw = Raw(b"[]")
    action: str = ""
    event: str = ""


class _Book(msgspec.Struct):
    asks: Rows
    bids: Rows
    ts: int
    seqId: int = 0
    prevSeqId: int = -1


class _Trade(msgspec.Struct):
    """`tradeId` is the newest of `count` fills that one taker order made at one price."""

    tradeId: int
    px: str
    sz: str
    side: str
    ts: int
    count: int = 1


class _Mark(msgspec.Struct):
    markPx: str
    ts: int


class _Funding(msgspec.Struct):
    """The venue sends "" for what does not apply."""

    fundingRate: str = ""
    fundingTime: str = ""
    nextFundingTime: str = ""


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
    lever: str = ""
    listTime: str = ""


class _Listed(msgspec.Struct):
    code: str
    msg: str = ""
    data: list[_Instrument] = []


_pushed = msgspec.json.Decoder(_Pushed)
_books = msgspec.json.Decoder(list[_Book], strict=False)
_trades = msgspec.json.Decoder(list[_Trade], strict=False)
_marks = msgspec.json.Decoder(list[_Mark], strict=False)
_fundings = msgspec.json.Decoder(list[_Funding])


class FedOkxMarket(FedMarket):
    """A contract of OKX, now. Nobody listens to it here: the engine hears the real venue."""

    def __init__(self, source: Source, contract: Contract) -> None:
        super().__init__(source, contract.listing)
        self.contract = contract
        self._sizes = Grid(contract.lot)
        self._tape = self.okx_tape = OkxTape(contract.name, self._prices, self._sizes, contract.face)

    @property
    def published(self) -> int:
        return self._last

    def flush(self) -> None:
        """What was told is what there is."""

    def renumber(self) -> int:
        return self._last

    def _snapshot(self, line: Line, at_ms: int) -> None:
        """It comes by the stream itself: what came before it is of another one."""
        self.lose()
        super()._snapshot(line, at_ms)
        self._bridging = False

    def _follow(self, frame: DepthFrame, bids: Levels, asks: Levels, at_ms: int) -> None:
        """Ids are a chain, and begin anew, lower, after maintenance."""
        if frame.pu != self._last:
            self.lose()
            return
        self._last = frame.u
        self._apply(bids, asks, at_ms)

    def _send(self, kind: str, frame: bytes) -> None:
        pass


class OkxFeeding(Feeding):
    """A book with a gap is subscribed to anew. Marks begin with the first funding rate, which comes at once."""

    routes, books, ping = ("public",), "public", "ping"

    def __init__(self, *parts: object) -> None:
        super().__init__(*parts)  # type: ignore[arg-type]
        self._funding: dict[str, tuple[str, int]] = {}  # rate, and when it is settled

    def url(self, route: str) -> str:
        return f"{self.ws}/ws/v5/{route}"

    def requests(self, route: str) -> list[bytes]:
        args = [{"channel": channel, "instId": name} for name in self.source.markets for channel in CHANNELS]
        parts = (args[at : at + ARGS_A_REQUEST] for at in range(0, len(args), ARGS_A_REQUEST))
        return [msgspec.json.encode({"op": "subscribe", "args": part}) for part in parts]

    def read(self, raw: bytes) -> Iterable[tuple[str, Line]]:
        if raw == b"pong":
            return ()
        pushed = _pushed.decode(raw)
        if pushed.event or pushed.arg is None:
            return ()  # an acknowledgement
        name = pushed.arg.instId
        at_ns = self.clock.now_ns()
        return [(name, Line(0, at_ns, kind, frame, envelope)) for kind, frame, envelope in self._lines(pushed, name)]

    def _lines(self, pushed: _Pushed, name: str) -> Iterable[tuple[str, Frame | None, Envelope]]:
        assert pushed.arg is not None
        bare = Envelope()
        match pushed.arg.channel:
            case "books":
                for book in _books.decode(pushed.data):
                    bids, asks = _levels(book.bids), _levels(book.asks)
                    if pushed.action == "snapshot":
                        yield "snapshot", None, Envelope(lastUpdateId=book.seqId, bids=bids, asks=asks, E=book.ts)
                    else:
                        first = book.prevSeqId + 1
                        frame = DepthFrame("depthUpdate", book.ts, book.ts, name, first, book.seqId, book.prevSeqId, bids, asks)
                        yield "depth", frame, bare
            case "bbo-tbt":
                for best in _books.decode(pushed.data):
                    if best.bids and best.asks:  # a side may be empty for a moment
                        bid, ask = best.bids[0], best.asks[0]
                        yield "bookTicker", QuoteFrame("bookTicker", best.seqId, name, *bid[:2], *ask[:2], best.ts, best.ts), bare
            case "trades":
                for one in _trades.decode(pushed.data):
                    first, sold = one.tradeId - one.count + 1, one.side == "sell"
                    yield (
                        "aggTrade",
                        AggFrame("aggTrade", one.ts, one.tradeId, name, one.px, one.sz, first, one.tradeId, one.ts, sold),
                        bare,
                    )
            case "funding-rate":
                for rate in _fundings.decode(pushed.data):
                    if rate.fundingRate and rate.fundingTime:  # every field is optional
                        self._funding[name] = (rate.fundingRate, int(rate.fundingTime))
            case "mark-price":
                for mark in _marks.decode(pushed.data):
                    if name in self._funding:
                        value, due_ms = self._funding[name]
                        yield "markPrice", MarkFrame("markPriceUpdate", mark.ts, name, mark.markPx, value, due_ms), bare

    async def repair(self, session: aiohttp.ClientSession, symbol: str) -> None:
        socket = self.sockets.get(self.books)
        if socket is not None and self.up[self.books]:
            self.repairs += 1
            for verb in ("unsubscribe", "subscribe"):
                request = {"op": verb, "args": [{"channel": "books", "instId": symbol}]}
                await socket.send(msgspec.json.encode(request).decode())


def _levels(rows: Rows) -> Raw:
    return Raw(msgspec.json.encode([row[:2] for row in rows]))


# --- the list of markets -----------------------------------------------------------------------------------------------


async def fed_contracts(rest: str, symbols: Iterable[str]) -> tuple[Source, dict[str, FedOkxMarket]]:
    """The linear swaps of the unified `symbols`, as the real venue lists them, and what feeds them. Raises VenueStartError."""
    raw = await asked(f"{rest}{PATH}", instType="SWAP")
    try:
        found = msgspec.json.decode(raw, type=_Listed)
    except (ValueError, RecursionError) as problem:  # msgspec's are ValueErrors
        raise VenueStartError("paper", f"the list of markets of {rest} cannot be read: {problem}") from None
    if found.code != "0":
        raise VenueStartError("paper", f"the list of markets of {rest} was refused: {found.msg[:120]} (code {found.code[:10]})")
    listed = {
        f"{one.ctValCcy}/{one.settleCcy}:{one.settleCcy}": one
        for one in found.data
        if one.ctType == "linear" and one.state == "live" and one.settleCcy == "USDT"
    }
    source, markets = Source(), dict[str, FedOkxMarket]()
    for one in wanted(rest, listed, symbols):
        contract = contract_of(one)
        source.markets[contract.name] = markets[contract.name] = FedOkxMarket(source, contract)
    return source, markets


def contract_of(one: _Instrument) -> Contract:
    """As it is listed; fees and margin rate, which are not, are the usual ones. Raises VenueStartError."""
    try:
        face = Decimal(one.ctVal) * Decimal(one.ctMult or 1)
        tick, lot, least, most, most_market = (
            Decimal(text) for text in (one.tickSz, one.lotSz, one.minSz, one.maxLmtSz, one.maxMktSz)
        )
        leverage, listed_ms = Decimal(one.lever or 1), int(one.listTime or 0)
        if not sane(face, tick, lot, least, most, most_market, leverage):
            raise ValueError("a figure is impossible")
    except UNREADABLE:
        raise VenueStartError("paper", f"{one.instId} is listed without its tick, lot or face value") from None
    step = (face * lot).normalize()
    usual = listing_for(SymbolInfo(f"{one.ctValCcy}{one.settleCcy}", tick.normalize(), step, {}, Decimal(0), Decimal(0), 0, 0, 0))
    listing: Listing = msgspec.structs.replace(
        usual,
        symbol=one.instId,
        base=one.ctValCcy,
        quote=one.settleCcy,
        min_quantity=max(1, int(least / lot)),
        max_quantity=int(most / lot),
        max_market_quantity=int(most_market / lot),
        min_notional=Decimal(0),  # the venue knows none
        max_leverage=int(leverage) if one.lever else usual.max_leverage,
        onboard_ms=listed_ms or usual.onboard_ms,
    )
    return Contract(one.instId, listing, face.normalize(), lot.normalize())
