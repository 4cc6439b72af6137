"""How OKX v5 is spoken to: routes, channels and requests."""

from collections.abc import Iterable

import msgspec

from engine.events import BookSnapshot, Event, Funding, Instrument, Kline, Liquidation, Mark, Quote, Trade
from engine.signal.connection import Stream
from engine.signal.decoding import Heard
from engine.signal.okx.decode import VENUE, Arg, Decoder

# By route and channel; some need not bring anything for long.
CHANNELS: dict[str, dict[str, tuple[type[Event], bool]]] = {
    "public": {
        "books": (BookSnapshot, False),
        "bbo-tbt": (Quote, False),
        "trades": (Trade, True),
        "mark-price": (Mark, False),
        "funding-rate": (Funding, True),
    },
    "business": {"candle1m": (Kline, True)},
}
LIQUIDATIONS = Stream("", "liquidation-orders:SWAP", Liquidation, True)  # of all instruments of the type


class Okx:
    """A `Dialect`. The venue drops a connection on which nothing comes for 30 s, and says so a minute before an upgrade."""

    venue, title = VENUE, "OKX"
    ping, ping_after_s = "ping", 20.0
    recycle_s = 0.0
    requests_an_hour = 400  # of 480: subscribing, unsubscribing and logging in count together

    def __init__(self, decoder: Decoder) -> None:
        self.decoder = decoder

    def url(self, base: str, route: str) -> str:
        return f"{base}/ws/v5/{route}"

    def streams(self, route: str, instrument: Instrument) -> tuple[Stream, ...]:
        found = [
            Stream(instrument.market, f"{channel}:{instrument.venue_symbol}", brings, quiet)
            for channel, (brings, quiet) in CHANNELS[route].items()
        ]
        return (*found, LIQUIDATIONS) if route == "public" else tuple(found)

    def request(self, verb: str, streams: Iterable[Stream], number: int) -> str:
        args = []
        for stream in streams:
            channel, _, name = stream.name.partition(":")
            args.append(Arg(channel, instType=name) if stream is LIQUIDATIONS else Arg(channel, instId=name))
        return msgspec.json.encode({"op": verb, "args": args}).decode()

    def frame(self, raw: bytes, at: int) -> Heard:
        return self.decoder.frame(raw, at)

    def sample(self, raw: bytes) -> None:
        self.decoder.sample(raw)
