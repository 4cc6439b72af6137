"""The simulated venue on real sockets, and what tests do with it: switch faults, read its books, wait for what must come."""

import asyncio
import contextlib
import gc
import time
import warnings
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import aiohttp

from engine.clock import Clock
from engine.venue.markets import build_markets
from engine.venue.server import VenueSpec, running

KEY, SECRET, PASSPHRASE = "canary-key-2f6b", "canary-secret-9d1e7c", "canary-phrase-51ab"
PATIENCE_S = 30.0  # how long a test waits for what must come
FRESH_MS = 10_000  # of flow: a book and a mark, for tests that need no past


class Simulated:
    """A venue's addresses and its control endpoints."""

    def __init__(self, rest: str, ws: str, clock: Clock, http: aiohttp.ClientSession) -> None:
        self.rest, self.ws, self.clock, self._http = rest, ws, clock, http

    async def fault(self, name: str, **fields: Any) -> Any:
        async with self._http.post(f"{self.rest}/sim/fault", json={"name": name, **fields}) as reply:
            assert reply.status == 200, await reply.text()
            return await reply.json()

    async def state(self) -> Any:
        async with self._http.get(f"{self.rest}/sim/state") as reply:
            return await reply.json()


@contextlib.asynccontextmanager
async def simulated(**spec: Any) -> AsyncIterator[Simulated]:
    """A venue in this process, which lists ASTER alone unless told otherwise."""
    clock = Clock.start()
    keys = {"api_key": KEY, "secret": SECRET, "passphrase": PASSPHRASE}
    chosen = VenueSpec(**{"clock": clock, **keys, "symbols": ["ASTERUSDT"], "seed": 7, **spec})
    markets, _ = build_markets(chosen)
    async with running(chosen, markets) as venue, aiohttp.ClientSession() as http:
        yield Simulated(venue.rest_url, venue.ws_url, clock, http)


async def until(reached: Callable[[], object], within_s: float = PATIENCE_S) -> None:
    """Wait until it is so; the wait is bounded so that a test that fails also ends."""
    deadline = time.monotonic() + within_s
    while not reached():
        assert time.monotonic() < deadline, "what must come did not come"
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def listening(serve: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]) -> AsyncIterator[str]:
    """A bare TCP server on loopback; yields `host:port`. Its connections are aborted at the end."""
    writers: list[asyncio.StreamWriter] = []

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            await serve(reader, writer)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    try:
        yield f"{host}:{port}"
    finally:
        server.close()
        for writer in writers:
            writer.transport.abort()
        await asyncio.sleep(0)


async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


def turn_away(status: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Any]:
    """A server that answers whatever is asked with `status` and an empty body."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        await writer.drain()
        writer.close()

    return answer


async def warned_of_when_cut(work: Coroutine[Any, Any, object]) -> list[str]:
    """What Python warns of where `work` is cancelled one turn after it began: what it asked for may not have begun yet."""
    gc.collect()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        task = asyncio.create_task(work)
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        gc.collect()
    return [str(warning.message) for warning in told]
