"""The history of a market, page by page: how far back, in what order, and what becomes of it when the venue refuses."""

import asyncio

import pytest

from engine.clock import Clock
from engine.errors import VenueError
from engine.events import Alert, Bar, BarHistory, Event, FetchHistory, TradeHistory, pack_levels
from engine.runtime import history as module
from engine.runtime import supervise
from engine.runtime.history import Histories
from engine.signal.bars import unpack_trades
from engine.signal.binance import Rest
from engine.signal.binance.decode import Grid
from tests.factory import MARKET, START
from tests.simulated import simulated

MINUTE = 60_000
FIRST_MS = START // 1_000_000 // MINUTE * MINUTE


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_WAIT_S", 0.0)


class Shelf:
    """A venue that remembers so many minutes and trades and gives them in small pages; refuses as often as it is told to."""

    def __init__(self, minutes: int = 0, trades: int = 0, page: int = 10, refusals: int = 0) -> None:
        self.minutes, self.ids, self.page, self.refusals = range(minutes), range(1, trades + 1), page, refusals
        self.asked: list[int] = []
        self.at_once = self.most_at_once = 0

    async def _asked(self, before: int) -> None:
        self.asked.append(before)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.at_once -= 1
        if self.refusals:
            self.refusals -= 1
            raise VenueError("Binance", "busy")

    async def bars(self, end_ms: int) -> BarHistory:
        await self._asked(end_ms)
        opens = [FIRST_MS + n * MINUTE for n in self.minutes]
        found = [ms for ms in opens if not end_ms or ms < end_ms][-self.page :]
        bars = tuple(Bar(MARKET, MINUTE, ms, 1, 1, 1, 1, 1, 1) for ms in found)
        return BarHistory(START + len(self.asked), MARKET, MINUTE, bars)

    async def trades(self, before_id: int) -> TradeHistory:
        await self._asked(before_id)
        found = [id for id in self.ids if not before_id or id < before_id][-self.page :]
        packed = pack_levels(n for id in found for n in (id, 1, 1, 1, id))
        return TradeHistory(START + len(self.asked), MARKET, packed)


class Reader:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self.histories = Histories(Clock.start(), self.tell)

    def tell(self, event: Event, read_ns: int) -> bool:
        self.events.append(event)
        return False

    async def read(self, shelf: Shelf, since: int = 0, after_id: int = 0) -> list[Event]:
        since_ms = FIRST_MS + since * MINUTE if since else 0
        await self.histories.fetch(FetchHistory(START, MARKET, since_ms, after_id), shelf)
        return self.events


def minutes(event: Event) -> list[int]:
    assert isinstance(event, BarHistory)
    return [(bar.open_ms - FIRST_MS) // MINUTE for bar in event.bars]


def ids(event: Event) -> list[int]:
    assert isinstance(event, TradeHistory)
    return [row[0] for row in unpack_trades(event.trades)]


async def test_the_start_takes_one_page_of_each_bars_first() -> None:
    shelf = Shelf(minutes=100, trades=100)
    bars, trades = await Reader().read(shelf)
    assert minutes(bars) == list(range(90, 100)) and ids(trades) == list(range(91, 101))
    assert shelf.asked == [0, 0]


async def test_pages_are_read_until_they_reach_what_is_known() -> None:
    shelf = Shelf(minutes=100, trades=100)
    bars, trades = await Reader().read(shelf, since=75, after_id=80)
    assert minutes(bars) == list(range(70, 100)) and ids(trades) == list(range(81, 101))
    assert len(shelf.asked) == 5
    assert bars.at == START + 1, "whether the last bar had ended is reckoned from the newest page"


async def test_there_is_a_last_page_however_far_back_the_gap_reaches() -> None:
    shelf = Shelf(minutes=1000, trades=1000)
    bars, trades = await Reader().read(shelf, since=1, after_id=1)
    assert len(minutes(bars)) == 10 * module.BAR_PAGES and len(ids(trades)) == 10 * module.TRADE_PAGES


async def test_a_venue_that_remembers_less_than_the_gap_is_not_asked_for_ever() -> None:
    shelf = Shelf(minutes=15, trades=15)
    shelf.minutes, shelf.ids = range(40, 55), range(40, 55)
    bars, trades = await Reader().read(shelf, since=20, after_id=20)
    assert minutes(bars) == ids(trades) == list(range(40, 55))
    assert len(shelf.asked) == 6, "the third page of each is empty"


async def test_a_refusal_is_asked_again() -> None:
    bars, trades = await Reader().read(Shelf(minutes=10, trades=10, refusals=2))
    assert minutes(bars) and ids(trades)


async def test_bars_that_cannot_be_had_are_an_alert_and_the_trades_come_all_the_same() -> None:
    alert, trades = await Reader().read(Shelf(minutes=10, trades=10, refusals=module.ATTEMPTS))
    assert isinstance(alert, Alert) and "busy" in alert.text and MARKET in alert.text
    assert ids(trades) == list(range(1, 11))


async def test_trades_that_cannot_be_had_end_the_wait_without_them() -> None:
    *alerts, trades = await Reader().read(Shelf(refusals=1_000))
    assert len(alerts) == 2 and all(isinstance(alert, Alert) for alert in alerts)
    assert ids(trades) == []


async def test_many_markets_are_read_a_few_at_a_time() -> None:
    reader, shelf = Reader(), Shelf(minutes=10, trades=10)
    wishes = [FetchHistory(START, f"binance:{n}", 0, 0) for n in range(20)]
    await asyncio.gather(*(reader.histories.fetch(wish, shelf) for wish in wishes))
    assert len(reader.events) == 40 and shelf.most_at_once == module.AT_ONCE


async def test_an_answer_to_an_older_wish_is_not_told() -> None:
    reader, shelf = Reader(), Shelf(minutes=10, trades=10)
    old, new = FetchHistory(START, MARKET, 0, 0), FetchHistory(START + 1, MARKET, 0, 0)
    await asyncio.gather(reader.histories.fetch(old, shelf), reader.histories.fetch(new, shelf))
    assert [type(event) for event in reader.events] == [BarHistory, TradeHistory]


async def test_older_pages_of_a_real_venue_join_the_newest() -> None:
    async with simulated() as venue:
        rest = Rest(venue.rest, venue.clock, True)
        try:
            (aster,), _ = await rest.instruments()
            grid = Grid.of(aster)
            newest = await rest.bars("ASTERUSDT", grid, MINUTE, limit=20)
            older = await rest.bars("ASTERUSDT", grid, MINUTE, limit=20, end_ms=newest.bars[0].open_ms)
            assert [bar.open_ms for bar in (*older.bars, *newest.bars)] == [
                newest.bars[0].open_ms + MINUTE * n for n in range(-20, 20)
            ]
            trades: list[int] = []
            while len(trades) < 12:
                await asyncio.sleep(0.05)
                trades = ids(await rest.trades("ASTERUSDT", grid))
            last = trades[-1]
            assert ids(await rest.trades("ASTERUSDT", grid, limit=5, before_id=last)) == list(range(last - 5, last))
        finally:
            await rest.close()


async def test_a_venue_that_is_slow_does_not_hold_a_history_up_until_its_time_is_long_past(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A session with a stamp of a minute ago could not be replayed: its clock went backwards."""

    class Hangs(Shelf):
        async def trades(self, before_id: int) -> TradeHistory:
            return await asyncio.Future()

    monkeypatch.setattr(module, "MOST_S", 0.05)
    reader = Reader()
    bars, alert, empty = await reader.read(Hangs(minutes=10))
    assert minutes(bars) and isinstance(alert, Alert) and "took more than" in alert.text
    assert isinstance(empty, TradeHistory) and not empty.trades and empty.at >= alert.at
