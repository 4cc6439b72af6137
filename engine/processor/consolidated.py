"""The books of one contract at several venues come in; the market that they make together goes out, each level with its venue.

Only trusted books take part, and only prices in one unit are compared: quote units a base unit, sizes in base units.
"""

import math
from collections.abc import Iterable, Sequence
from decimal import Decimal
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

    @property
    def venue(self) -> str:
        return self.instrument.market.partition(":")[0]


class Level(NamedTuple):
    """A price and the base units there, of one venue."""

    price: float
    size: float
    venue: str


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


def depth(markets: Iterable[Quoted], side: Side, n: int) -> list[Level]:
    """The best `n` levels of all trusted books, best first. A price that two venues share stands there for each of them."""
    found = [level for quoted in markets if quoted.book.trusted for level in _levels(quoted, side, n)]
    found.sort(key=lambda level: -level.price * side)  # stable: of one price the venues keep their order
    return found[:n]


def _levels(quoted: Quoted, side: Side, n: int) -> list[Level]:
    tick, step, venue = float(quoted.instrument.tick), float(quoted.instrument.step), quoted.venue
    return [Level(price * tick, size * step, venue) for price, size in quoted.book.top(side, n)]


def divergence_bps(ours: Quoted, others: Sequence[Quoted]) -> float:
    """How far the trusted venues' middles are apart; NaN without another one."""
    theirs = [price for quoted in others if (price := mid(quoted))]
    if not theirs:
        return NAN
    prices = [price, *theirs] if (price := mid(ours)) else theirs
    return distance_bps(max(prices), min(prices))


def across(ours: Quoted, others: Sequence[Quoted], levels: int) -> Across:
    """`levels` a side count in the imbalance. The first trusted one of `others` is what basis and funding compare with."""
    mids = [(quoted, price) for quoted in (ours, *others) if (price := mid(quoted))]
    theirs = next(((quoted, price) for quoted, price in mids if quoted is not ours), None)
    if theirs is None:
        return Across()
    quoted, price = theirs
    bids, asks = depth((ours, *others), Side.BUY, levels), depth((ours, *others), Side.SELL, levels)
    funding = NAN
    if ours.funding_rate is not None and quoted.funding_rate is not None:
        funding = float(ours.funding_rate - quoted.funding_rate) * 10_000
    return Across(
        distance_bps(mid(ours), price),
        divergence_bps(ours, others),
        funding,
        spread_bps(bids[0].price, asks[0].price),
        imbalance(math.fsum(level.size for level in bids), math.fsum(level.size for level in asks)),  # as in every Python version
    )
