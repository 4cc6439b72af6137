"""A mode and the addresses that the settings name in; where market data comes from and where orders go, out."""

import msgspec

from engine.config import Settings
from engine.events import Mode


class Address(msgspec.Struct, frozen=True):
    """Bases of a venue's REST interface and of its websockets."""

    rest: str
    ws: str


class Endpoints(msgspec.Struct, frozen=True):
    """Orders go to `rest` and `ws`; market data comes from `markets`, or from there too for a venue that it does not name.

    `simulated`: the prices are not those of the real market now. `shared`: the account's venue runs on our clock.
    """

    rest: str
    ws: str
    simulated: bool = True
    shared: bool = True
    markets: dict[str, Address] = {}

    def market(self, venue: str) -> Address:
        return self.markets.get(venue) or Address(self.rest, self.ws)


# A websocket base that ends in /ws is the flat form, without routes: Binance's test network kept it (2026-08).
REAL = {
    "binance": Address("https://fapi.binance.com", "wss://fstream.binance.com"),
    "okx": Address("https://www.okx.com", "wss://ws.okx.com:8443"),
}
TEST = {
    "binance": Address("https://testnet.binancefuture.com", "wss://fstream.binancefuture.com/ws"),
    "okx": Address("https://www.okx.com", "wss://wspap.okx.com:8443"),
}


def addresses(settings: Settings) -> dict[str, Address]:
    """Of each venue that is collected from, in paper, testnet and live: `[venue] binance_rest` and the like come first."""
    own = TEST if settings.engine.mode is Mode.TESTNET else REAL
    chosen = settings.venue
    named = {"binance": Address(chosen.binance_rest, chosen.binance_ws), "okx": Address(chosen.okx_rest, chosen.okx_ws)}
    return {
        venue: Address(named[venue].rest.rstrip("/") or own[venue].rest, named[venue].ws.rstrip("/") or own[venue].ws)
        for venue in settings.engine.venues
    }


def endpoints(settings: Settings) -> Endpoints:
    """Of testnet and live, where orders go to the first venue itself."""
    places = addresses(settings)
    traded = places[settings.engine.venues[0]]
    return Endpoints(traded.rest, traded.ws, settings.engine.mode is Mode.TESTNET, False, places)


def ours(settings: Settings, rest: str, ws: str) -> Endpoints:
    """Of demo and paper, where orders go to the simulated venue at `rest` and `ws`; in paper market data is the real one."""
    if settings.engine.mode is Mode.PAPER:
        return Endpoints(rest, ws, simulated=False, shared=True, markets=addresses(settings))
    return Endpoints(rest, ws)
