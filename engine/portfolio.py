"""The exact ledger: fills, funding and the venue's snapshots in; positions, wallet and profit out, all in `Decimal`.

The rules are Binance's as far as they are known, and where they are not they are fixed here (and, independently, in the
simulated venue): commission is notional x rate to 8 decimals, half-even; a reduction by q of Q releases cost C x q / Q to
8 decimals, half-even (all of C when q is Q), so that closing a position in parts realises exactly its cash flow.
"""

from decimal import ROUND_HALF_EVEN, Decimal

import msgspec

from engine.events import Instrument, Side

ZERO = Decimal(0)
CENT = Decimal("0.00000001")  # the venue's smallest amount of USDT
SEEN_TRADES = 20_000
JUDGMENTS_KEPT = 200
DAY_NS = 86_400_000_000_000


def cents(amount: Decimal) -> Decimal:
    """To the venue's 8 decimals."""
    return amount.quantize(CENT, ROUND_HALF_EVEN)


def money(instrument: Instrument, price: int, quantity: int) -> Decimal:
    """Notional of `quantity` steps at `price` ticks, exactly."""
    return price * instrument.tick * (quantity * instrument.step)


def commission(notional: Decimal, rate: Decimal) -> Decimal:
    return cents(notional * rate)


def day_of(at: int, starts_s: int) -> int:
    """Number of the day that begins so many seconds after UTC's."""
    return (at - starts_s * 1_000_000_000) // DAY_NS


class Owner(msgspec.Struct, frozen=True):
    """Who wanted a position: the question that its judgment answers ("" of rules and people), and the judge, the strategy that
    acted by itself, `operator`, `external` (somebody else on the account) or `earlier` (an order of the session before).
    """

    judgment: str = ""
    judge: str = "external"


class Earned(msgspec.Struct):
    """What somebody's fills came to, in quote units. Funding that was paid is negative."""

    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    fills: int = 0

    @property
    def net(self) -> Decimal:
        return self.realised - self.fees + self.funding

    def add(self, realised: Decimal, fees: Decimal, funding: Decimal, fills: int) -> None:
        self.realised += realised
        self.fees += fees
        self.funding += funding
        self.fills += fills


class Position(msgspec.Struct):
    """`quantity` is signed steps, `cost` the positive cost basis of what is open, in quote units."""

    quantity: int = 0
    cost: Decimal = ZERO
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    opened_at: int = 0
    owner: Owner = Owner()  # of what is open, or was last: funding may come after the close
    fills: int = 0

    @property
    def side(self) -> int:
        """1, -1 or 0."""
        return (self.quantity > 0) - (self.quantity < 0)

    def entry(self, instrument: Instrument) -> Decimal:
        """Average entry price in quote units, 0 when flat."""
        return self.cost / (abs(self.quantity) * instrument.step) if self.quantity else ZERO

    def unrealised(self, instrument: Instrument, mark: Decimal) -> Decimal:
        return self.side * (abs(self.quantity) * instrument.step * mark - self.cost)

    def apply(self, instrument: Instrument, side: Side, quantity: int, price: int, at: int) -> Decimal:
        """Book a fill of `quantity` steps at `price` ticks; returns the profit it realised (before commission)."""
        reducing = min(quantity, abs(self.quantity)) if side == -self.side else 0
        realised = ZERO
        if reducing:
            whole = reducing == abs(self.quantity)
            released = self.cost if whole else cents(self.cost * reducing / abs(self.quantity))
            realised = self.side * (money(instrument, price, reducing) - released)
            self.cost -= released
            self.quantity += side * reducing
        opening = quantity - reducing
        if opening:
            if not self.quantity:
                self.opened_at = at
            self.cost += money(instrument, price, opening)
            self.quantity += side * opening
        self.realised += realised
        return realised


class Portfolio(msgspec.Struct):
    """One account: the wallet, a position a market, and what was paid and earned since the session began."""

    known: bool = False  # whether the venue has told what the wallet holds
    wallet: Decimal = ZERO
    opening_wallet: Decimal = ZERO
    positions: dict[str, Position] = {}
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    funding: Decimal = ZERO
    adjustments: Decimal = ZERO  # wallet changes that are neither profit, fee nor funding
    fee_rates: dict[str, tuple[Decimal, Decimal]] = {}  # maker, taker
    fee_mismatches: int = 0
    fills: int = 0
    seen: dict[str, dict[int, None]] = {}  # trade ids booked, by market; the oldest are forgotten past SEEN_TRADES
    day: int = -1
    day_equity: Decimal = ZERO
    peak_equity: Decimal = ZERO  # height so far, moved by what is transferred
    unplaced_funding: Decimal = ZERO  # whose market the venue has not told
    judgments: dict[str, Earned] = {}  # by question, the one that was booked upon last comes last
    older: Earned = msgspec.field(default_factory=Earned)  # the sum of those past JUDGMENTS_KEPT
    older_judgments: int = 0
    judges: dict[str, Earned] = {}

    def taker_rate(self, market: str) -> Decimal:
        """Of notional; 0 before the venue has told."""
        return self.fee_rates[market][1] if market in self.fee_rates else ZERO

    def held(self) -> list[str]:
        """Markets with an open position."""
        return [market for market, position in self.positions.items() if position.quantity]

    def maker_rate(self, market: str) -> Decimal:
        return self.fee_rates[market][0] if market in self.fee_rates else ZERO

    def position(self, market: str) -> Position:
        return self.positions.setdefault(market, Position())

    def quantity(self, market: str) -> int:
        """Signed steps, 0 when flat; whoever only looks makes no position."""
        position = self.positions.get(market)
        return position.quantity if position is not None else 0

    def first_sight(self, market: str, trade_id: int) -> bool:
        """False for a fill that was booked before: streams and look-ups may tell it twice."""
        seen = self.seen.setdefault(market, {})
        if trade_id in seen:
            return False
        seen[trade_id] = None
        if len(seen) > SEEN_TRADES:
            del seen[next(iter(seen))]
        return True

    def fill(
        self,
        instrument: Instrument,
        side: Side,
        quantity: int,
        price: int,
        fee: Decimal,
        maker: bool,
        at: int,
        owner: Owner = Owner(),  # noqa: B008 - it is frozen
    ) -> tuple[Decimal, Decimal | None]:
        """Book a fill with the commission that the venue charged. A position and all that ends it belong to the `owner` who
        opened it; whoever adds to it bears the commission of that alone.

        Returns the profit realised and, when our own arithmetic gives another commission than `fee`, ours.
        """
        position = self.position(instrument.market)
        before = position.side
        bears = position.owner if side == -before else owner
        realised = position.apply(instrument, side, quantity, price, at)
        if position.side and position.side != before:
            position.owner = owner
        position.fees += fee
        position.fills += 1
        self._attribute(bears, realised, fee, ZERO, 1)
        self.realised += realised
        self.fees += fee
        self.wallet += realised - fee
        self.fills += 1
        rates = self.fee_rates.get(instrument.market)
        if rates is None:
            return realised, None
        ours = commission(money(instrument, price, quantity), rates[0] if maker else rates[1])
        if ours == fee:
            return realised, None
        self.fee_mismatches += 1
        return realised, ours

    def fund(self, market: str, amount: Decimal) -> None:
        """Book a funding payment: positive is received. Without a market it is that of the only open position, if there is one
        (Binance names none for cross margin).
        """
        self.funding += amount
        self.wallet += amount
        open_now = self.held()
        market = market or (open_now[0] if len(open_now) == 1 else "")
        if market:
            self.position(market).funding += amount
        else:
            self.unplaced_funding += amount
        self._attribute(self.position(market).owner if market else Owner(), ZERO, ZERO, amount, 0)

    def _attribute(self, owner: Owner, realised: Decimal, fees: Decimal, funding: Decimal, fills: int) -> None:
        """Each amount is booked to one judgment and to one judge, so that both sum up to the totals."""
        earned = self.judgments.pop(owner.judgment, None) or Earned()
        self.judgments[owner.judgment] = earned
        for one in (earned, self.judges.setdefault(owner.judge, Earned())):
            one.add(realised, fees, funding, fills)
        while len(self.judgments) > JUDGMENTS_KEPT:
            oldest = next(iter(self.judgments))
            gone = self.judgments.pop(oldest)
            self.older.add(gone.realised, gone.fees, gone.funding, gone.fills)
            self.older_judgments += 1

    def by_market(self) -> dict[str, Earned]:
        """Markets with fills or funding; "" is funding whose market is not known."""
        rows = {
            market: Earned(one.realised, one.fees, one.funding, one.fills)
            for market, one in self.positions.items()
            if one.fills or one.realised or one.fees or one.funding
        }
        return {**rows, "": Earned(funding=self.unplaced_funding)} if self.unplaced_funding else rows

    def by_venue(self) -> dict[str, Earned]:
        rows: dict[str, Earned] = {}
        for market, one in self.by_market().items():
            rows.setdefault(market.partition(":")[0], Earned()).add(one.realised, one.fees, one.funding, one.fills)
        return rows

    def adjust(self, amount: Decimal) -> None:
        """Book a change of the wallet that somebody else caused: a transfer, a bonus, an adopted difference."""
        self.adjustments += amount
        self.wallet += amount
        self.peak_equity += amount if self.peak_equity else ZERO

    def open(self, wallet: Decimal) -> None:
        """The venue's first word on the wallet: the session's starting point."""
        self.known, self.wallet, self.opening_wallet = True, wallet, wallet

    def unrealised(self, instruments: dict[str, Instrument], marks: dict[str, Decimal]) -> Decimal:
        """Over all positions; one whose mark is not known yet counts as nothing."""
        total = ZERO
        for market, position in self.positions.items():
            if position.quantity and market in marks:
                total += position.unrealised(instruments[market], marks[market])
        return total

    def start_day(self, at: int, equity: Decimal, starts_s: int = 0) -> None:
        """Remember the equity with which a day opens, so many seconds after UTC's, and its height: the limits of loss and
        drawdown count from them.
        """
        if self.known and equity > self.peak_equity:
            self.peak_equity = equity
        day = day_of(at, starts_s)
        if self.known and day != self.day:
            self.day, self.day_equity = day, equity
