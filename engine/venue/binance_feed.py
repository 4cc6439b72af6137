"""Binance's public sockets and REST interface as a feed of paper: books by a REST snapshot on which the stream goes on."""

import contextlib
from collections.abc import Iterable
from decimal import Decimal

import aiohttp
import msgspec

from engine.errors import VenueStartError
from engine.venue.capture import Line, SymbolInfo
from engine.venue.feed import FedMarket, Feeding, Source, asked, sane, wanted
from engine.venue.frames import DECODE, Envelope, decode_envelope
from engine.venue.market import Listing
from engine.venue.recorded import listing_for

STREAMS = {"public": ("depth@100ms", "bookTicker"), "market": ("aggTrade", "markPrice@1s")}
SNAPSHOT_LEVELS = 1000


class BinanceFeeding(Feeding):
    """Binance's streams as they feed paper: a book is a REST snapshot and the updates that join it."""

    routes, books = tuple(STREAMS), "public"

    def url(self, route: str) -> str:
        return f"{self.ws}/{route}/stream"

    def requests(self, route: str) -> list[bytes]:
        names = [f"{symbol.lower()}@{stream}" for symbol in self.source.markets for stream in STREAMS[route]]
        return [msgspec.json.encode({"method": "SUBSCRIBE", "params": names, "id": 1})]

    def read(self, raw: bytes) -> Iterable[tuple[str, Line]]:
        envelope = decode_envelope(raw)
        kind = envelope.stream.partition("@")[2].partition("@")[0]
        if kind not in DECODE:
            return ()  # an acknowledgement
        frame = DECODE[kind](envelope.data)
        return ((frame.s, Line(0, self.clock.now_ns(), kind, frame, envelope)),)

    async def repair(self, session: aiohttp.ClientSession, symbol: str) -> None:
        query = {"symbol": symbol, "limit": str(SNAPSHOT_LEVELS)}
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, ValueError, RecursionError):
            async with session.get(f"{self.rest}/fapi/v1/depth", params=query) as reply:
                raw = await reply.read()
            if reply.status != 200:
                return
            envelope = msgspec.json.decode(raw, type=Envelope)
            if envelope.lastUpdateId >= 0:
                self.repairs += 1
                self.source.take(symbol, Line(0, self.clock.now_ns(), "snapshot", None, envelope))


# --- the list of markets -----------------------------------------------------------------------------------------------


class _Filter(msgspec.Struct):
    filterType: str
    tickSize: Decimal = Decimal(0)
    stepSize: Decimal = Decimal(0)
    minQty: Decimal = Decimal(0)
    maxQty: Decimal = Decimal(0)
    notional: Decimal = Decimal(0)


class _Symbol(msgspec.Struct):
    symbol: str
    contractType: str = ""
    status: str = ""
    baseAsset: str = ""
    quoteAsset: str = ""
    marginAsset: str = ""
    onboardDate: int = 0
    filters: list[_Filter] = []


class _Info(msgspec.Struct):
    symbols: list[_Symbol]


async def fed_markets(rest: str, symbols: Iterable[str]) -> Source:
    """The markets of the unified `symbols`, as the real venue lists them. Raises VenueStartError."""
    raw = await asked(f"{rest}/fapi/v1/exchangeInfo")
    try:
        info = msgspec.json.decode(raw, type=_Info, strict=False)
    except (ValueError, RecursionError) as problem:  # msgspec's are ValueErrors
        raise VenueStartError("paper", f"the list of markets of {rest} cannot be read: {problem}") from None
    listed = {
        f"{one.baseAsset}/{one.quoteAsset}:{one.marginAsset}": one
        for one in info.symbols
        if one.contractType == "PERPETUAL" and one.status == "TRADING"
    }
    source = Source()
    for one in wanted(rest, listed, symbols):
        listing = listing_of(one)
        source.markets[listing.symbol] = FedMarket(source, listing)
    return source


def listing_of(symbol: _Symbol) -> Listing:
    """As it is listed; fees, margin rate and leverage, which are not, are the usual ones. Raises VenueStartError."""
    filters = {one.filterType: one for one in symbol.filters}
    price, lot = filters.get("PRICE_FILTER"), filters.get("LOT_SIZE")
    if price is None or lot is None or not sane(price.tickSize, lot.stepSize, lot.maxQty):
        raise VenueStartError("paper", f"{symbol.symbol} is listed without its tick or step")
    most_market = filters.get("MARKET_LOT_SIZE", lot).maxQty or lot.maxQty
    if not sane(most_market) or (lot.minQty and not sane(lot.minQty)):
        raise VenueStartError("paper", f"{symbol.symbol} is listed with impossible sizes")
    tick, step = price.tickSize.normalize(), lot.stepSize.normalize()
    usual = listing_for(SymbolInfo(symbol.symbol, tick, step, {}, Decimal(0), Decimal(0), 0, 0, 0))
    return msgspec.structs.replace(
        usual,
        base=symbol.baseAsset,
        quote=symbol.quoteAsset,
        min_quantity=max(1, int(lot.minQty / step)),
        max_quantity=int(lot.maxQty / step),
        max_market_quantity=int(most_market / step),
        min_notional=filters["MIN_NOTIONAL"].notional if "MIN_NOTIONAL" in filters else Decimal(5),
        onboard_ms=symbol.onboardDate or usual.onboard_ms,
    )
