"""The simulated venue as a process and the engine against it, as `barter-tui --no-ui` runs them; settings that trade often."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec

from console.venue_process import Order, VenueProcess
from engine.clock import Clock
from engine.config import Settings, create_aster_config
from engine.runtime import Engine
from engine.runtime import engine as shell

SEED, BALANCE = 7, "10000"
MARKET_KINDS = ("kline_1m", "depth", "bookTicker", "aggTrade", "markPrice")  # bars first: alone they would tell of a hole

# Every bar is judged and every judgment acted on; stops are close enough to be reached.
BUSY: dict[str, dict[str, object]] = {
    "judgment": {"every_bars": 1, "lifetime_bars": 2, "min_confidence": 0.0, "max_risk_score": 1.0},
    "strategy": {"timeframe": "1s", "cooldown_bars": 0, "min_stop_bps": 2.0, "stop_atr": 1.0, "target_atr": 1.0},
    "risk": {"max_orders_per_minute": 10_000, "max_daily_loss": 1.0, "max_spread_bps": 100.0},
}


def settings(symbol: str, folder: Path, **more: dict[str, object]) -> Settings:
    return create_aster_config(engine={"symbols": [symbol], "state_dir": str(folder)}, **more)


def order(speed: float, capture: Path | None = None) -> Order:
    path = str(capture.resolve()) if capture is not None else None
    return Order(Clock.start(speed), "bench", "bench-secret", SEED, BALANCE, path, capture is not None)


@contextlib.asynccontextmanager
async def trading(venue: VenueProcess, chosen: Settings, **more: Any) -> AsyncIterator[Engine]:
    """The engine, ready to trade when entered. `private_frames(engine)` counts what its private stream brought."""
    private: list[Any] = []
    usual = shell.private_feed

    def counted(*parts: Any) -> Any:
        feed = usual(*parts)
        private.append(feed)
        return feed

    shell.private_feed = counted
    try:
        async with Engine(chosen, venue.order.clock, venue.endpoints, venue.credentials, **more) as engine:
            engine.private = private  # type: ignore[attr-defined]
            await until(lambda: not engine.view().ready and all(h.book.trusted for h in engine.state.markets.values()), 60)
            yield engine
    finally:
        shell.private_feed = usual


def frames_read(engine: Engine) -> int:
    """Websocket messages that the engine took from all its sockets."""
    return engine.frames + sum(feed.frames for feed in engine.private)  # type: ignore[attr-defined]


async def until(reached: Any, seconds: float) -> None:
    """Wait for it, or fail with an AssertionError."""
    deadline = time.monotonic() + seconds
    while not reached():
        assert time.monotonic() < deadline, f"not reached within {seconds:.0f} s"
        await asyncio.sleep(0.05)


async def state(session: aiohttp.ClientSession, venue: VenueProcess) -> dict[str, Any]:
    async with session.get(f"{venue.said.rest}/sim/state") as reply:
        return msgspec.json.decode(await reply.read(), type=dict[str, Any])


async def silence(session: aiohttp.ClientSession, venue: VenueProcess) -> None:
    """Stop the market streams at the venue, so that what is still under way can be counted."""
    for kind in MARKET_KINDS:
        async with session.post(f"{venue.said.rest}/sim/fault", json={"name": "silence", "kind": kind}) as reply:
            assert reply.status == 200, await reply.text()
