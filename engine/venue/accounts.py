"""Fills, prices and funding of one account go in; its wallet, positions and margin come out, exact to the last digit.

Cross or isolated margin, one-way mode, one settlement asset. Nothing here is shared with the engine's ledger: both implement the
same published rules, and a difference between them is a bug of one of the two.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext

import msgspec

from engine.events import Side

ZERO = Decimal(0)
CENT = Decimal("0.00000001")
ENTRY_PLACES = Decimal("0.0000000001")
# Products of price, quantity and cost must not be rounded before the one rounding that the rules name.
EXACT = Context(prec=80, rounding=ROUND_HALF_EVEN)
DEFAULT_LEVERAGE = 20


def rounded(amount: Decimal) -> Decimal:
    """Half-even to 8 decimals: the venue's unit of account."""
    return amount.quantize(CENT, rounding=ROUND_HALF_EVEN, context=EXACT)


class Position(msgspec.Struct):
    """`quantity` is signed base units, `cost` the sum of price x quantity of what is open, never negative. `margin` is what is
    set aside for an isolated one, and all that it can lose.
    """

    quantity: Decimal = ZERO
    cost: Decimal = ZERO
    margin: Decimal = ZERO
    realised: Decimal = ZERO  # since the venue started, before fees
    updated_ms: int = 0

    @property
    def sign(self) -> int:
        return (self.quantity > 0) - (self.quantity < 0)

    @property
    def entry(self) -> Decimal:
        """Average entry price to 10 decimals, 0 when flat."""
        if not self.quantity:
            return ZERO
        return EXACT.divide(self.cost, abs(self.quantity)).quantize(ENTRY_PLACES, context=EXACT)

    def unrealised(self, mark: Decimal) -> Decimal:
        with localcontext(EXACT):
            return (abs(self.quantity) * mark - self.cost) * self.sign

    def notional(self, mark: Decimal) -> Decimal:
        """Signed value at `mark`."""
        return EXACT.multiply(self.quantity, mark)


class Booking(msgspec.Struct, frozen=True):
    """What one fill did to the account."""

    commission: Decimal
    realised: Decimal
    wallet: Decimal
    position: Decimal


class Resting(msgspec.Struct):
    """Value of the open orders of a symbol that could add exposure, by side."""

    bids: Decimal = ZERO
    asks: Decimal = ZERO


class Margin(msgspec.Struct, frozen=True):
    """The account at one set of marks. `initial` and `maintenance` are of what is not isolated, `available` is what new orders
    may use, `isolated` what is set aside for isolated positions and `isolated_gain` what those have gained.
    """

    wallet: Decimal
    unrealised: Decimal
    initial: Decimal
    positions_initial: Decimal
    maintenance: Decimal
    isolated: Decimal = ZERO
    isolated_gain: Decimal = ZERO

    @property
    def balance(self) -> Decimal:
        return self.wallet + self.unrealised

    @property
    def cross(self) -> Decimal:
        """Of the balance, what stands for all that is not isolated."""
        return self.balance - self.isolated - self.isolated_gain

    @property
    def available(self) -> Decimal:
        return max(ZERO, self.cross - self.initial)

    @property
    def liquidates(self) -> bool:
        return self.maintenance > 0 and self.cross <= self.maintenance


class Account:
    """Positions by symbol over one wallet. Marks and rates are passed in: the account reads no market."""

    def __init__(self, wallet: Decimal) -> None:
        self.wallet = wallet
        self.positions: dict[str, Position] = {}
        self.leverage: dict[str, int] = {}
        self.isolated: set[str] = set()  # symbols whose positions have a margin of their own
        self.fees_paid = ZERO
        self.funding_received = ZERO

    def position(self, symbol: str) -> Position:
        return self.positions.setdefault(symbol, Position())

    def leverage_of(self, symbol: str) -> int:
        return self.leverage.get(symbol, DEFAULT_LEVERAGE)

    def isolate(self, symbol: str, isolated: bool) -> None:
        """Whether the positions of a symbol have a margin of their own: to be asked of a flat one only."""
        (self.isolated.add if isolated else self.isolated.discard)(symbol)

    def mode_of(self, symbol: str) -> str:
        """As both venues write it."""
        return "isolated" if symbol in self.isolated else "cross"

    def fill(self, symbol: str, side: Side, price: Decimal, quantity: Decimal, rate: Decimal, at_ms: int = 0) -> Booking:
        """Book one fill of positive `quantity` at `price`, charged `rate` of its notional once."""
        held = self.position(symbol)
        with localcontext(EXACT):
            commission = rounded(price * quantity * rate)
            closing = min(quantity, abs(held.quantity)) if held.sign == -side else ZERO
            realised = self._release(held, closing, price) if closing else ZERO
            opening = quantity - closing
            held.quantity += side * quantity
            held.cost += opening * price
            if symbol in self.isolated:
                held.margin += rounded(opening * price / self.leverage_of(symbol))
            held.realised += realised
            held.updated_ms = at_ms
            self.wallet += realised - commission
            self.fees_paid += commission
        return Booking(commission, realised, self.wallet, held.quantity)

    @staticmethod
    def _release(held: Position, quantity: Decimal, price: Decimal) -> Decimal:
        """Take the cost of `quantity` out of the position; what the closing part realised."""
        size = abs(held.quantity)
        released = held.cost if quantity == size else rounded(held.cost * quantity / size)
        held.cost -= released
        held.margin -= held.margin if quantity == size else rounded(held.margin * quantity / size)
        return (quantity * price - released) * held.sign

    def fund(self, symbol: str, mark: Decimal, rate: Decimal) -> Decimal:
        """Settle funding of one symbol; what the wallet received (negative: paid)."""
        held = self.position(symbol)
        with localcontext(EXACT):
            payment = rounded(-held.quantity * mark * rate)
            self.wallet += payment
            if symbol in self.isolated:
                held.margin += payment
            self.funding_received += payment
        return payment

    def clear_debt(self) -> Decimal:
        """The insurance fund pays what a bankrupt, flat account owes; the amount."""
        if self.wallet >= 0 or any(held.quantity for held in self.positions.values()):
            return ZERO
        owed, self.wallet = -self.wallet, ZERO
        return owed

    def clear_own_debt(self, wallet: Decimal, margin: Decimal) -> Decimal:
        """The same of an isolated position that was liquidated, as far as it cost more than its margin: `wallet` before that, and
        what of the margin it released.
        """
        owed = max(ZERO, wallet - self.wallet - margin)
        self.wallet += owed
        return owed

    def set_aside(self) -> Decimal:
        """For isolated positions."""
        return sum((held.margin for held in self.positions.values()), ZERO)

    def isolated_liquidates(self, symbol: str, mark: Decimal, rate: Decimal) -> bool:
        held = self.positions.get(symbol)
        if held is None or not held.quantity or symbol not in self.isolated:
            return False
        with localcontext(EXACT):
            return held.margin + held.unrealised(mark) <= abs(held.notional(mark)) * rate

    def margin(self, marks: Mapping[str, Decimal], rates: Mapping[str, Decimal], resting: Mapping[str, Resting]) -> Margin:
        """Initial margin is the larger of the two exposures that fills of either side would make, over leverage."""
        unrealised = initial = positions_initial = maintenance = isolated = isolated_gain = ZERO
        with localcontext(EXACT):
            for symbol, mark in marks.items():
                held = self.positions.get(symbol)
                value = held.notional(mark) if held else ZERO
                orders = resting.get(symbol)
                leverage, apart = self.leverage_of(symbol), symbol in self.isolated
                if held and held.quantity:
                    gain = held.unrealised(mark)
                    unrealised += gain
                    if apart:
                        isolated, isolated_gain = isolated + held.margin, isolated_gain + gain
                    else:
                        maintenance += abs(value) * rates[symbol]
                        positions_initial += abs(value) / leverage
                exposure = max(abs(value + orders.bids), abs(value - orders.asks), abs(value)) if orders else abs(value)
                initial += (exposure - abs(value) if apart else exposure) / leverage
            first = (self.wallet, unrealised, rounded(initial), rounded(positions_initial), maintenance)
            return Margin(*first, isolated, isolated_gain)

    def liquidation_price(self, symbol: str, marks: Mapping[str, Decimal], rates: Mapping[str, Decimal]) -> Decimal:
        """The mark at which the margin balance meets maintenance with all other marks as they are (an isolated position's own
        margin its own maintenance); 0 if there is none.
        """
        held = self.position(symbol)
        if not held.quantity:
            return ZERO
        others = {name: mark for name, mark in marks.items() if name != symbol}
        rest = self.margin(others, rates, {})
        with localcontext(EXACT):
            cushion = held.margin if symbol in self.isolated else rest.cross - rest.maintenance
            price = (held.sign * held.cost - cushion) / (abs(held.quantity) * (held.sign - rates[symbol]))
        return max(ZERO, price)
