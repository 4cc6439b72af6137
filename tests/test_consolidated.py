"""One contract at two venues: whose level is whose, how far their prices stand apart, and what that refuses."""

import math
from decimal import Decimal

import pytest

from engine.core import across as core_across
from engine.core.pictures import ladder
from engine.core.trading import context, not_ready
from engine.events import BookDelta, BookSnapshot, Instrument, Side, pack_levels
from engine.processor.consolidated import Across, Quoted, across, depth, mid
from engine.signal.book import Book
from tests.factory import MARKET, START, Desk, aster

OKX = Instrument(
    START, "okx:ASTER/USDT:USDT", "ASTER-USDT-SWAP", "ASTER", "USDT", Decimal("0.001"), Decimal(10), 1, 10**6, 10**6, Decimal(0)
)


def quoted(instrument: Instrument, bids: list[int], asks: list[int], rate: str | None = None) -> Quoted:
    """A trusted book of (price, size) pairs, flat."""
    book = Book(instrument.market)
    book.connected(START)
    book.delta(BookDelta(START, instrument.market, 1, 2, 1, b"", b"", 0))
    book.snapshot(BookSnapshot(START, instrument.market, 2, pack_levels(bids), pack_levels(asks), 0))
    assert book.trusted
    return Quoted(instrument, book, Decimal(rate) if rate else None)


def test_levels_of_two_venues_interleave_by_price_in_one_unit() -> None:
    ours = quoted(aster(), [6000, 5, 5990, 7], [6005, 3, 6020, 4])
    theirs = quoted(OKX, [600, 2, 599, 1], [601, 9])
    assert depth((ours, theirs), Side.BUY, 3) == [(0.6, 5.0), (0.6, 20.0), (pytest.approx(0.599), 7.0)]
    assert [size for _, size in depth((ours, theirs), Side.SELL, 9)] == [3.0, 90.0, 4.0]


def test_basis_divergence_funding_spread_and_imbalance_across_two_venues() -> None:
    ours = quoted(aster(), [6000, 5], [6010, 3], "0.0001")
    theirs = quoted(OKX, [602, 2], [603, 1], "-0.0002")
    seen = across(ours, [theirs], 10)
    assert mid(ours) == pytest.approx(0.6005) and mid(theirs) == pytest.approx(0.6025)
    assert seen.basis_bps == pytest.approx((0.6005 - 0.6025) / 0.6015 * 10_000)
    assert seen.divergence_bps == pytest.approx(-seen.basis_bps)
    assert seen.funding_difference_bps == pytest.approx(3.0)
    assert seen.spread_bps == pytest.approx((0.6010 - 0.602) / 0.6015 * 10_000)  # they cross
    assert seen.imbalance == pytest.approx((5 + 20 - 3 - 10) / (5 + 20 + 3 + 10))


def test_a_book_that_is_not_trusted_takes_no_part() -> None:
    ours, theirs = quoted(aster(), [6000, 5], [6010, 3]), quoted(OKX, [602, 2], [603, 1])
    theirs.book.disconnected(START, "test")
    assert depth((ours, theirs), Side.BUY, 5) == [(pytest.approx(0.6), 5.0)]
    alone = across(ours, [theirs], 10)
    assert all(math.isnan(getattr(alone, name)) for name in Across.__struct_fields__)


# --- in the core -----------------------------------------------------------------------------------------------------------


def two_venues(okx_bid: int) -> Desk:
    """Trading on Binance, with OKX's book beside it."""
    desk = Desk().open()
    desk.feed(OKX)
    market = desk.core.state.markets[OKX.market]
    market.book = quoted(OKX, [okx_bid, 20], [okx_bid + 1, 20]).book
    return desk


def test_venues_too_far_apart_are_seen_by_the_gate_and_a_book_that_is_not_trusted_is_not_compared() -> None:
    desk = two_venues(630)
    state, held = desk.core.state, desk.core.state.markets[MARKET]
    ours = mid(core_across.quoted(held))
    seen = context(state, desk.core.settings, held).divergence_bps
    assert seen == pytest.approx(abs(ours - 0.6305) / (ours + 0.6305) * 20_000)
    state.markets[OKX.market].book.disconnected(START, "test")
    assert math.isnan(context(state, desk.core.settings, held).divergence_bps)


def test_the_ladder_shows_the_other_venues_best_prices_and_our_basis() -> None:
    desk = two_venues(620)
    state = desk.core.state
    ((venue, trust, bid, ask, basis),) = ladder(state, desk.core.settings, state.markets[MARKET], 5).others
    assert (venue, str(trust), bid, ask) == ("okx", "trusted", pytest.approx(0.62), pytest.approx(0.621))
    assert basis == pytest.approx(core_across.beside(state, desk.core.settings, state.markets[MARKET]).basis_bps)


def test_a_market_without_an_account_is_watched_only_and_asks_for_no_leverage() -> None:
    desk = two_venues(620)
    state = desk.core.state
    assert not_ready(state, state.markets[OKX.market]) == "orders go to binance, and this market is watched only"
    desk.pass_ms(500)
    assert not any(type(out).__name__ == "SetLeverage" and out.market == OKX.market for out in desk.out)
