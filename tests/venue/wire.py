"""A venue over still markets on a real socket, and the real clients that speak to it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import ccxt.async_support as ccxt
import msgspec
from still_market import StillMarket

from engine.clock import Clock
from engine.venue.server import Venue, VenueSpec, running

KEY, SECRET = "the-key", "the-secret"
S, U = "ASTERUSDT", "ASTER/USDT:USDT"
PATIENCE_S = 5.0  # how long a test waits for what must come
QUIET_S = 0.15  # how long it listens for what must not


def exchange_client(venue: Venue, secret: str = SECRET, key: str = KEY) -> Any:
    """ccxt, redirected to the venue, with the error classes of the real address."""
    options = {"fetchCurrencies": False, "fetchMargins": False}
    client = ccxt.binanceusdm({"apiKey": key, "secret": secret, "enableRateLimit": False, "options": options})
    for name, url in list(client.urls["api"].items()):
        if isinstance(url, str):
            client.urls["api"][name] = url.replace("https://fapi.binance.com", venue.rest_url)
    linear = client.exceptions["linear"]
    client.exceptions = {
        **client.exceptions,
        "exact": {**client.exceptions["exact"], **linear.get("exact", {})},
        "broad": {**client.exceptions.get("broad", {}), **linear.get("broad", {})},
    }
    return client


class Wire:
    """One venue, its market, a ccxt client and plain HTTP and websockets."""

    def __init__(self, venue: Venue, market: StillMarket, client: Any, http: aiohttp.ClientSession) -> None:
        self.venue, self.market, self.ccxt, self.http = venue, market, client, http

    async def get(self, path: str, **params: Any) -> tuple[int, Any, Any]:
        async with self.http.get(self.venue.rest_url + path, params=params) as reply:
            return reply.status, await reply.json(), reply.headers

    async def fault(self, name: str, **fields: Any) -> Any:
        async with self.http.post(self.venue.rest_url + "/sim/fault", json={"name": name, **fields}) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()

    async def state(self) -> Any:
        return (await self.get("/sim/state"))[1]

    async def connect(self, path: str) -> "Listener":
        return Listener(await self.http.ws_connect(self.venue.ws_url + path, autoping=True))

    async def private(self) -> "Listener":
        key = (await self.ccxt.fapiPrivatePostListenKey())["listenKey"]
        return await self.connect(f"/private/ws?listenKey={key}")

    def send(self, kind: str, **fields: Any) -> None:
        """A frame that the market sends at the next advance."""
        self.market.frames.append((kind, msgspec.json.encode({"e": kind, **fields})))


class Listener:
    """A websocket read as JSON."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket

    async def command(self, method: str, *params: str, id: int = 1) -> Any:
        await self.socket.send_json({"method": method, "params": list(params), "id": id})
        return await self.next()

    async def text(self) -> str:
        message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
        assert message.type is aiohttp.WSMsgType.TEXT, message
        return str(message.data)

    async def next(self) -> Any:
        return msgspec.json.decode(await self.text())

    async def until(self, event: str, status: str = "") -> Any:
        """The next private event of a type (and order status)."""
        while True:
            found = await self.next()
            if found["e"] == event and (not status or found["o"]["X"] == status):
                return found

    async def silent(self) -> bool:
        try:
            await asyncio.wait_for(self.socket.receive(), QUIET_S)
        except TimeoutError:
            return True
        return False

    async def closed(self) -> bool:
        while True:
            message = await asyncio.wait_for(self.socket.receive(), PATIENCE_S)
            if message.type in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.ERROR):
                return True


@contextlib.asynccontextmanager
async def wired(**spec: Any) -> AsyncIterator[Wire]:
    """Everything started, and stopped again."""
    market = StillMarket()
    settings = VenueSpec(**{"clock": Clock.start(), "api_key": KEY, "secret": SECRET, "balance": "1000", **spec})
    async with running(settings, {S: market}) as venue, aiohttp.ClientSession() as http:
        # The funding of a still market is far away unless a test brings it near.
        market.set_mark("1.0", next_funding_ms=venue.clock.now_ms() + 3_600_000)
        client = exchange_client(venue)
        try:
            yield Wire(venue, market, client, http)
        finally:
            await client.close()
