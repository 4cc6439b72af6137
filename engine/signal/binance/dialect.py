"""How Binance USD-M futures are spoken to: routes, streams and requests."""

from collections.abc import Iterable

import msgspec

from engine.events import BookDelta, Event, Instrument, Kline, Liquidation, Mark, Quote, Trade
from engine.signal.binance.decode import VENUE, Decoder
from engine.signal.connection import Stream
from engine.signal.decoding import NOTHING, Control, Heard

# By route and stream; a stream on the other route is acknowledged and silent. Those that may be: nobody has to trade.
STREAMS: dict[str, dict[str, tuple[type[Event], bool]]] = {
    "public": {"depth@100ms": (BookDelta, False), "bookTicker": (Quote, False)},
    "market": {
        "aggTrade": (Trade, True),
        "markPrice@1s": (Mark, False),
        "kline_1m": (Kline, True),
        "forceOrder": (Liquidation, True),
    },
}
METHODS = {"subscribe": "SUBSCRIBE", "unsubscribe": "UNSUBSCRIBE"}


class Binance:
    """A `Dialect`. The venue pings every three minutes and ends each connection after 24 hours."""

    venue, title = VENUE, "Binance"
    ping, ping_after_s = "", 0.0
    recycle_s = 23 * 3600.0
    requests_an_hour = 3600

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    def url(self, base: str, route: str) -> str:
        return base if base.endswith("/ws") else f"{base}/{route}/ws"  # the test network has no routes

    def streams(self, route: str, instrument: Instrument) -> tuple[Stream, ...]:
        symbol = instrument.venue_symbol.lower()
        return tuple(
            Stream(instrument.market, f"{symbol}@{name}", brings, quiet) for name, (brings, quiet) in STREAMS[route].items()
        )

    def request(self, verb: str, streams: Iterable[Stream], number: int) -> str:
        asked = {"method": METHODS[verb], "params": [stream.name for stream in streams], "id": number}
        return msgspec.json.encode(asked).decode()

    def frame(self, raw: bytes, at: int) -> Heard:
        heard = self.decoder.frame(raw, at)
        if heard is None:
            return NOTHING
        return heard if isinstance(heard, Control) else [heard]

    def sample(self, raw: bytes) -> None:
        self.decoder.sample(raw)
