"""A seed in; faults at both venues out, one after the other, for as long as somebody lets it blow."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from typing import Any

import aiohttp

from console.venue_process import VenueProcess
from tests.bench.market_faults import AT
from tests.bench.scene import DIALECTS

HITS_S = 60.0  # of market, within which there usually is an order
Stroke = tuple[str, tuple[dict[str, Any], ...], float]


class Weather:
    """Faults from a seeded schedule, in seconds of market; each is over before the next one comes."""

    def __init__(self, venue: VenueProcess, http: aiohttp.ClientSession, seed: int, every_s: float) -> None:
        self.venue, self.http, self.every_s = venue, http, every_s
        self.tried: Counter[str] = Counter()
        self._chance = random.Random(seed)

    async def blow(self) -> None:
        clock = self.venue.order.clock
        while True:
            await asyncio.sleep(clock.real_seconds(self._chance.expovariate(1 / self.every_s)))
            venue = self._chance.choice(list(DIALECTS))
            name, faults, lasts_s = self._chance.choice(list(strokes(venue, self._chance, clock.real_seconds(HITS_S))))
            self.tried[f"{venue}: {name}"] += 1
            for fault in faults:
                await self.switch(venue, fault)
            await asyncio.sleep(lasts_s)
            await self.switch(venue, {"name": "clear"})

    async def switch(self, venue: str, fault: dict[str, Any]) -> None:
        async with self.http.post(f"{self.venue.said.rest}/sim/fault", json={"venue": venue, **fault}) as reply:
            assert reply.status == 200, await reply.text()


def strokes(venue: str, chance: random.Random, hits_s: float) -> Iterator[Stroke]:
    """What may happen at a venue: a name, what is switched on, and for how many real seconds; `hits_s` of them for what waits
    for a request or a report.
    """
    words = DIALECTS[venue]
    for name, case in AT[venue].items():
        yield name, (*case.first, case.fault), min(case.lasts_s, 1.0) or 0.5
    requests = {"order": words.place, "stop": words.conditional, "cancel": words.cancel}
    for what, path in requests.items():
        yield f"{what}'s ACK lost", ({"name": "lose_ack", "path": path},), hits_s
        yield f"{what}'s ACK late", ({"name": "delay_reply", "path": path, "ms": 400},), hits_s
        yield f"{what} carried out late", ({"name": "delay_execution", "path": path, "ms": 400},), hits_s
        yield f"{what}'s body empty", ({"name": "empty_body", "path": path},), hits_s
        yield f"{what}: 503, carried out", ({"name": "http", "path": path, "status": 503, "executed": True},), hits_s
        yield f"{what}: 503", ({"name": "http", "path": path, "status": 503, "body": "Service Unavailable"},), hits_s
        body = '{"code":-1003,"msg":"Too many requests."}'
        yield (
            f"{what}: 429",
            ({"name": "http", "path": path, "status": 429, "body": body, "headers": {"Retry-After": "1"}},),
            hits_s,
        )
    for name in ("drop", "duplicate", "reorder", "malformed"):
        yield f"reports: {name}", ({"name": name, "kind": words.report, "times": 2},), hits_s
    yield "private stream cut", ({"name": "cut", "route": "private"},), 0.1
    if venue == "binance":
        yield "listen key expires", ({"name": "expire_listen_key"},), 0.1
    yield "slow consumer", ({"name": "slow_consumer_bytes", "quantity": 100},), 0.3
    yield "clock off", ({"name": "clock_offset", "ms": chance.choice((-8_000, 8_000))},), 0.5
    yield "funding", ({"name": "funding", "rate": chance.choice(("0.0002", "-0.0002"))},), 0.1
    side, quantity = chance.choice(("BUY", "SELL")), chance.randrange(10_000, 200_000)
    yield "shock", ({"name": "shock", "side": side, "quantity": quantity, "symbol": words.symbol},), 0.1
