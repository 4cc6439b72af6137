"""Every fault that the simulated venue injects in mid-run: the book is trusted again, and nothing is entered meanwhile."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from factory import settings
from simulated import KEY, PASSPHRASE, SECRET, Simulated, simulated, until

from engine.events import Event, Purpose, SendOrder, Trust, TrustChanged
from engine.execution.live import Credentials
from engine.runtime import Endpoints, Engine
from engine.venue.faults import NAMES
from tests.bench.market_faults import AT, QUICK, Case

PATIENCE_S = 30.0
SYMBOL = "ASTER/USDT:USDT"
EAGER = {
    **QUICK,
    "judgment": {"every_bars": 1, "min_confidence": 0.0, "max_risk_score": 1.0},
    "strategy": {"cooldown_bars": 0},
    "risk": {"max_orders_per_minute": 1000, "max_spread_bps": 100.0},
}


class Watched:
    """An engine on both venues that trades on `first`, and what its core said."""

    def __init__(self, venue: Simulated, folder: Path, first: str) -> None:
        self.venue = venue
        self.changes: list[TrustChanged] = []
        self.entries = self.untrusted_entries = 0
        venues = sorted(("binance", "okx"), key=lambda one: one != first)
        chosen = settings(engine={"state_dir": str(folder), "symbols": [SYMBOL], "venues": venues}, **EAGER)
        endpoints = Endpoints(venue.rest, venue.ws, True)
        self.engine = Engine(chosen, venue.clock, endpoints, Credentials(KEY, SECRET, PASSPHRASE), journal=self._told)

    def _told(self, event: Event, out: list[Event]) -> None:
        for told in out:
            if isinstance(told, TrustChanged):
                self.changes.append(told)
            if isinstance(told, SendOrder) and told.purpose is Purpose.ENTRY:
                self.entries += 1
                self.untrusted_entries += not self.engine.state.markets[told.market].book.trusted

    def trusted(self, venue: str) -> bool:
        held = self.engine.state.markets.get(f"{venue}:{SYMBOL}")
        return held is not None and held.book.trusted

    def lost(self, venue: str) -> list[str]:
        return [told.reason for told in self.changes if told.market.startswith(venue) and told.trust in (Trust.STALE, Trust.OFF)]

    async def repeat(self, venue: str, case: Case, before: int) -> None:
        """Switch the fault on again and again, until it was noticed."""
        while True:
            await asyncio.sleep(case.again_s)
            if len(self.lost(venue)) > before:
                return
            await self.venue.fault(venue=venue, **case.fault)

    def counters(self, venue: str) -> Any:
        return self.engine.state.markets[f"{venue}:{SYMBOL}"].book.counters


@pytest.fixture
async def watched(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Watched]:
    """Running, with both books trusted; orders go to the venue that a test is about."""
    async with simulated() as venue:
        made = Watched(venue, tmp_path, request.node.callspec.params["venue"])
        async with made.engine:
            await until(lambda: made.trusted("binance") and made.trusted("okx"), PATIENCE_S)
            yield made


CASES = [(venue, name, case) for venue, cases in AT.items() for name, case in cases.items()]


@pytest.mark.slow
@pytest.mark.parametrize(("venue", "name", "case"), CASES, ids=[f"{venue}-{name.replace(' ', '_')}" for venue, name, _ in CASES])
async def test_a_fault_in_the_middle_of_a_run_ends_trusted_and_nothing_is_entered_meanwhile(
    watched: Watched, venue: str, name: str, case: Case
) -> None:
    for fault in case.first:
        await watched.venue.fault(venue=venue, **fault)
    before = len(watched.lost(venue))
    await watched.venue.fault(venue=venue, **case.fault)
    if case.again_s:
        await asyncio.wait_for(watched.repeat(venue, case, before), 2 * PATIENCE_S)
    if case.loses:
        await until(lambda: len(watched.lost(venue)) > before, PATIENCE_S)
    await asyncio.sleep(case.lasts_s or 0.5)
    await watched.venue.fault("clear", venue=venue)
    updates = watched.counters(venue).deltas
    await until(lambda: watched.trusted(venue) and watched.counters(venue).deltas > updates + 3, PATIENCE_S)
    lost = watched.lost(venue)[before:]
    assert bool(lost) == case.loses and all(case.reason in reason for reason in lost[:1]), lost
    assert watched.untrusted_entries == 0


def test_each_fault_of_market_data_is_tried() -> None:
    tried = {case.fault["name"] for _, _, case in CASES} | {fault["name"] for _, _, case in CASES for fault in case.first}
    of_the_account = {"lose_ack", "delay_execution", "empty_body", "expire_listen_key", "fee_rate", "funding", "shock"}
    of_the_account |= {"withdrawals"}
    elsewhere = {"clear", "drop", "duplicate", "clock_offset", "slow_consumer_bytes"}  # `drop` and `duplicate` are the gap's own
    assert tried | of_the_account | elsewhere >= set(NAMES)


@pytest.mark.parametrize("venue", ["binance", "okx"])
async def test_entries_are_made_while_books_are_trusted(watched: Watched, venue: str) -> None:
    """The count of the test above would be worth nothing if none were ever made."""
    await until(lambda: watched.entries, 60.0)
    assert all(order.market.startswith(venue) for order in watched.engine.state.orders.values())
    assert watched.untrusted_entries == 0
