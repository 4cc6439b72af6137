"""How much a venue may be asked: what its replies say, and what is held back then."""

from collections.abc import Mapping

import pytest

from engine.clock import Clock
from engine.errors import VenueError
from engine.events import CancelOrder, FetchAccount, OrderAccepted, OrderKind, OrderRefused
from engine.execution.live import account
from engine.execution.live.account import SYMBOLS_APART
from engine.execution.live.budget import READS_SHARE, WEIGHT, Budget
from tests.factory import MARKET
from tests.test_account import PLACE, Trader, order, protective, trader, venue

__all__ = ["trader", "venue"]  # fixtures
MINUTE = 1_790_000_040  # begins a minute, seconds UTC


class Hand(Clock):
    """A clock that is moved by hand."""

    def at_mono(self, mono_ns: int) -> int:
        return self.wall_ns


def hand(seconds: float = MINUTE) -> Hand:
    return Hand(int(seconds * 1e9), 0)


def test_a_venue_that_turns_us_away_is_left_alone_for_as_long_as_it_says() -> None:
    clock = hand()
    budget = Budget(clock)
    assert budget.reading() == budget.entering() == ""
    budget.seen(429, {"Retry-After": "7"})
    assert "asked again in 7.0 s" in budget.reading() and budget.entering() and (budget.closings, budget.held) == (1, 2)
    clock.step(int(7e9))
    assert budget.reading() == budget.entering() == ""


@pytest.mark.parametrize(
    ("text", "wait"), [("", 5.0), ("soon", 5.0), ("-3", 0.0), ("1e9", 259_200.0), ("nan", 5.0), ("120", 120.0)]
)
def test_a_retry_after_of_any_kind_is_a_wait(text: str, wait: float) -> None:
    budget = Budget(hand())
    budget.seen(418, {"Retry-After": text})
    assert budget.reading() == (f"the venue was asked too often, and is asked again in {wait:.1f} s" if wait else "")


def test_a_date_in_retry_after_is_read() -> None:
    budget = Budget(hand(MINUTE))
    budget.seen(429, {"Retry-After": "Mon, 21 Sep 2026 14:54:30 GMT"})
    assert "asked again in" in budget.reading()


def test_reads_stop_before_the_weight_is_used_up_and_go_on_in_the_next_minute() -> None:
    clock = hand(MINUTE + 20)
    budget = Budget(clock)
    budget.seen(200, {"X-MBX-USED-WEIGHT-1M": "1919"})
    assert not budget.reading()
    budget.seen(200, {"X-MBX-USED-WEIGHT-1M": "1920"})
    assert "in 40.0 s" in budget.reading() and not budget.entering()
    clock.step(int(40e9))
    assert not budget.reading()


@pytest.mark.parametrize(("name", "used", "wait"), [("X-MBX-ORDER-COUNT-10S", "270", 5), ("X-MBX-ORDER-COUNT-1M", "1080", 35)])
def test_entries_stop_before_the_orders_are_used_up(name: str, used: str, wait: int) -> None:
    budget = Budget(hand(MINUTE + 25))
    budget.seen(200, {name: str(int(used) - 1)})
    assert not budget.entering()
    budget.seen(200, {name: used})
    assert f"in {wait}.0 s" in budget.entering() and not budget.reading()


def test_a_header_that_is_no_number_says_nothing() -> None:
    budget = Budget(hand())
    for text in ("", "many", "-5", "9" * 30, "²"):
        budget.seen(200, {"X-MBX-USED-WEIGHT-1M": text, "X-MBX-ORDER-COUNT-10S": text})
    assert not budget.reading() and not budget.entering()


async def test_after_a_429_entries_and_reads_wait_and_exits_and_cancels_go(trader: Trader) -> None:
    assert isinstance(await trader.send(order("in")), OrderAccepted)
    await trader.venue.fault(
        "http", path=PLACE, status=429, body='{"code":-1003,"msg":"Too many."}', headers={"Retry-After": "30"}
    )
    assert isinstance(await trader.send(order("turned")), OrderRefused)
    refused = await trader.send(order("held"))
    assert isinstance(refused, OrderRefused) and "asked again in" in refused.reason
    with pytest.raises(VenueError, match="asked too often"):
        await trader.account.snapshot(FetchAccount(0, "binance", "test"))
    stop = await trader.send(protective("stop", OrderKind.STOP, 5500))
    assert isinstance(stop, OrderAccepted)
    assert await trader.account.cancel(CancelOrder(0, MARKET, "stop", "", True)) is None
    there = await trader.venue.state()
    assert there["counters"]["orders"] == 1 and not there["open_conditionals"]


async def test_with_little_weight_left_the_regular_comparison_waits_and_others_do_not(trader: Trader) -> None:
    """Whether a kill is done is asked for all the same, until the venue turns us away."""
    used = {WEIGHT[0]: str(int(WEIGHT[1] * READS_SHARE))}
    trader.account.budget.seen(200, used)
    with pytest.raises(VenueError, match="asked too often"):
        await trader.account.snapshot(FetchAccount(0, "binance", "test", may_wait=True))
    await trader.account.snapshot(FetchAccount(0, "binance", "test"))
    assert trader.account.budget.rests_s() > 0
    trader.account.budget.seen(429, {"Retry-After": "30"})
    with pytest.raises(VenueError, match="asked too often"):
        await trader.account.snapshot(FetchAccount(0, "binance", "test"))


async def test_a_comparison_weighs_little_where_few_symbols_are_traded(trader: Trader, monkeypatch: pytest.MonkeyPatch) -> None:
    budget, used = trader.account.budget, [0]

    def seen(status: int, headers: Mapping[str, str]) -> None:
        used.append(max(used[-1], int(headers[WEIGHT[0]])))

    await trader.send(order("in"))
    await trader.send(protective("stop", OrderKind.STOP, 5500))
    monkeypatch.setattr(budget, "seen", seen)
    weights, found = [], []
    for apart in (SYMBOLS_APART, 0):
        monkeypatch.setattr(account, "SYMBOLS_APART", apart)
        await trader.account.snapshot(FetchAccount(0, "binance", "test"))
        before = used[-1]
        found.append(await trader.account.snapshot(FetchAccount(0, "binance", "test")))
        weights.append(used[-1] - before)
    assert weights == [12, 90] and found[0].orders == found[1].orders != ()
