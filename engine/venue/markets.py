"""A `VenueSpec` goes in; the markets that the exchange lists come out: generated ones, or those of a recording."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from engine.errors import VenueStartError
from engine.venue.capture import scan
from engine.venue.captured import open_capture
from engine.venue.generated import LISTINGS, GeneratedMarket
from engine.venue.market import Listing, Market

if TYPE_CHECKING:
    from engine.venue.server import VenueSpec


class Recording(msgspec.Struct, frozen=True):
    """What the ready line says of a capture."""

    frames: int
    seconds: float


def build_markets(spec: "VenueSpec") -> tuple[Mapping[str, Market], Recording | None]:
    """Raises `VenueStartError` or `CaptureError` with a sentence for the owner."""
    if spec.capture is not None:
        return recorded(spec, spec.capture)
    markets: dict[str, Market] = {}
    for index, symbol in enumerate(spec.symbols or LISTINGS):
        if symbol not in LISTINGS:
            raise VenueStartError("simulated venue", f"{symbol!r} is not listed; there are {', '.join(LISTINGS)}")
        listing, price = LISTINGS[symbol]
        seed, now_ms = spec.seed + index, spec.clock.now_ms()
        markets[symbol] = GeneratedMarket(adjusted(listing, spec), seed, price, now_ms, spec.warm_ms)
    return markets, None


def recorded(spec: "VenueSpec", path: str) -> tuple[Mapping[str, Market], Recording]:
    """Every symbol of the recording is listed; `spec.symbols` only says which ones the owner relies on."""
    info = scan(path)
    for symbol in spec.symbols or ():
        if symbol not in info.symbols:
            raise VenueStartError("simulated venue", f"{symbol!r} is not in {path}; there are {', '.join(info.symbols)}")
    markets = open_capture(path, spec.loop, info)
    for market in markets.values():
        market.listing = adjusted(market.listing, spec)
    return dict(markets), Recording(info.frames, round((info.last_ns - info.first_ns) / 1e9, 3))


def adjusted(listing: Listing, spec: "VenueSpec") -> Listing:
    if spec.funding_minutes is None:
        return listing
    if spec.funding_minutes <= 0:
        raise VenueStartError("simulated venue", f"funding_minutes must be above 0, not {spec.funding_minutes}")
    return msgspec.structs.replace(listing, funding_minutes=spec.funding_minutes)
