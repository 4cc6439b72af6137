"""A market as Binance lists it in; the same contract as OKX lists it, counted in contracts, out."""

from decimal import Decimal
from typing import Protocol

import msgspec

from engine.venue.flow import Flow, Shape
from engine.venue.generated import LISTINGS, SHAPES, GeneratedMarket
from engine.venue.market import Listing, Market
from engine.venue.okx.tape import OkxTape
from engine.venue.tape import Grid

# Face value in base units, and the smallest part of a contract (2026-08; ASTER's is of one whole contract).
CONTRACTS = {
    "ASTER": (Decimal(1), Decimal(1)),
    "BTC": (Decimal("0.01"), Decimal("0.01")),
    "ETH": (Decimal("0.1"), Decimal("0.01")),
}
BASIS_BPS = 3.0  # how far its fair value usually lies from the other venue's
BASIS_S = 60.0  # how long it stays there
SEED = 1_000  # apart from the other venue's


class Contract(msgspec.Struct, frozen=True):
    """`listing` counts in steps of `lot` contracts, each of `face` base units."""

    name: str  # BTC-USDT-SWAP
    listing: Listing
    face: Decimal
    lot: Decimal

    @classmethod
    def of(cls, listing: Listing) -> "Contract":
        face, lot = CONTRACTS[listing.base]
        step = face * lot
        ratio = listing.step / step
        most, most_market = int(listing.max_quantity * ratio), int(listing.max_market_quantity * ratio)
        name = f"{listing.base}-{listing.quote}-SWAP"
        own = msgspec.structs.replace(
            listing, symbol=name, step=step, max_quantity=most, max_market_quantity=most_market, min_notional=Decimal(0)
        )
        return cls(name, own, face, lot)


class Following(Flow):
    """A crowd whose fair value is another market's, plus a basis that wanders about zero."""

    def __init__(self, leader: Flow, ratio: float, seed: int, shape: Shape, price: int, start_ms: int) -> None:
        self.leader, self.ratio, self.basis = leader, ratio, 0.0
        super().__init__(seed, shape, price, start_ms)

    def _pulse(self) -> None:
        super()._pulse()
        keep = 1.0 - 0.1 / BASIS_S
        self.basis = self.basis * keep + BASIS_BPS * (1.0 - keep * keep) ** 0.5 * self._draws.normal()
        self.fair = max(20.0, self.leader.fair_at(self._pulse_ms) * self.ratio * (1.0 + self.basis / 10_000.0))


class OkxMarket(Market, Protocol):
    """What OKX's side asks of a market beyond what every market offers."""

    contract: Contract
    okx_tape: OkxTape

    @property
    def published(self) -> int:
        """Id of the newest update that was told of."""

    def flush(self) -> None:
        """Tell of every change now, so that a picture of the book is where the next update begins."""

    def renumber(self) -> int:
        """Begin anew with low ids; returns the last of the old ones."""


class OwnOkxMarket(GeneratedMarket):
    """OKX's own book of a contract that Binance's market lists too."""

    def __init__(
        self, contract: Contract, leader: GeneratedMarket, seed: int, start_price: Decimal, now_ms: int, warm_ms: int
    ) -> None:
        self.contract, self._leader = contract, leader
        self.okx_tape = OkxTape(contract.name, Grid(contract.listing.tick), Grid(contract.lot), contract.face, now_ms)
        super().__init__(contract.listing, seed + SEED, start_price, now_ms, warm_ms)

    @property
    def published(self) -> int:
        return self._published

    def flush(self) -> None:
        self.publish(self._now_ms)

    def renumber(self) -> int:
        before, self._update = self._published, self._published % 1000 + 1
        self._published = self._update
        return before

    def shape(self, start_price: Decimal) -> Shape:
        theirs = self._leader.listing
        usual = SHAPES[theirs.symbol]
        return msgspec.structs.replace(usual, size=usual.size * float(theirs.step / self.listing.step))

    def make_flow(self, seed: int, shape: Shape, price: int, start_ms: int) -> Flow:
        ratio = float(self._leader.listing.tick / self.listing.tick)
        return Following(self._leader.flow, ratio, seed, shape, price, start_ms)

    def make_tape(self, now_ms: int) -> OkxTape:
        return self.okx_tape


def okx_markets(leaders: dict[str, GeneratedMarket], seed: int, now_ms: int, warm_ms: int) -> dict[str, OwnOkxMarket]:
    """One for each market of Binance that OKX lists too, by OKX's name."""
    found: dict[str, OwnOkxMarket] = {}
    for index, (symbol, leader) in enumerate(leaders.items()):
        if symbol in LISTINGS and leader.listing.base in CONTRACTS:
            contract = Contract.of(leader.listing)
            price = Decimal(round(leader.flow.fair)) * leader.listing.tick
            found[contract.name] = OwnOkxMarket(contract, leader, seed + index, price, now_ms, warm_ms)
    return found
