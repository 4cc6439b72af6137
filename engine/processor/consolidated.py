"""The books of one contract at several venues come in; the market that they make together goes out.

Only trusted books take part, and only prices in one unit are compared: quote units a base unit, sizes in base units.
"""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
from operator import itemgetter
from typing import NamedTuple

import msgspec

from engine.events import Instrument, Side
from engine.kernel import kernel
from engine.processor.features import imbalance, spread_bps
from engine.signal.book import Book

NAN = math.nan


class Quoted(NamedTuple):
    """One venue's market of the contract."""

    instrument: Instrument
    book: Book
    funding_rate: Decimal | None  # of its next settlement


class Across(msgspec.Struct, frozen=True):
    """How one venue's market stands among the others; NaN where no other one is trusted."""

    basis_bps: float = NAN  # its mid over the other venue's
    divergence_bps: float = NAN  # the largest distance between any two mids
    funding_difference_bps: float = NAN  # its rate minus the other's, each for its own settlement
    spread_bps: float = NAN  # between the best prices of all; negative where they cross
    imbalance: float = NAN  # of the first levels of all


@kernel
def distance_bps(ours: float, theirs: float) -> float:
    """(ours - theirs) in basis points of their mean; NaN without both."""
    if ours <= 0.0 or theirs <= 0.0:
        return NAN
    return (ours - theirs) / (ours + theirs) * 20_000.0


def mid(quoted: Quoted) -> float:
    """Quote units; 0 where the book is not trusted or has not both sides."""
    book = quoted.book
    if not (book.trusted and book.best_bid and book.best_ask):
        return 0.0
    return (book.best_bid + book.best_ask) / 2 * float(quoted.instrument.tick)


def depth(markets: Iterable[Quoted], side: Side, n: int) -> list[tuple[float, float]]:
    """The best `n` levels (price, size) of all trusted books, best first. A price of two venues stands there for each of them."""
    found: list[tuple[float, float]] = []
    for instrument, book, _ in markets:
        if book.trusted:
            tick, step = float(instrument.tick), float(instrument.step)
            found += [(price * tick, size * step) for price, size in book.top(side, n)]
    found.sort(key=_price, reverse=side is Side.BUY)
    return found[:n]


_price = itemgetter(0)


def divergence_bps(ours: Quoted, others: Sequence[Quoted]) -> float:
    """How far the trusted venues' middles are apart; NaN without another one."""
    theirs = [price for quoted in others if (price := mid(quoted))]
    if not theirs:
        return NAN
    prices = [price, *theirs] if (price := mid(ours)) else theirs
    return distance_bps(max(prices), min(prices))


def across(ours: Quoted, others: Sequence[Quoted], levels: int) -> Across:
    """`levels` a side count in the imbalance. The first trusted one of `others` is what basis and funding compare with."""
    here, prices = mid(ours), [mid(quoted) for quoted in others]
    place = next((n for n, price in enumerate(prices) if price), None)
    if place is None:
        return Across()
    quoted, price = others[place], prices[place]
    bids, asks = depth((ours, *others), Side.BUY, levels), depth((ours, *others), Side.SELL, levels)
    funding = NAN
    if ours.funding_rate is not None and quoted.funding_rate is not None:
        funding = float(ours.funding_rate - quoted.funding_rate) * 10_000
    known = [one for one in (here, *prices) if one]
    return Across(
        distance_bps(here, price),
        distance_bps(max(known), min(known)),
        funding,
        spread_bps(bids[0][0], asks[0][0]),
        imbalance(math.fsum([size for _, size in bids]), math.fsum([size for _, size in asks])),  # as in every Python version
    )
