"""A request to trade goes in; an order that the venue's filters allow comes out, or the venue's refusal.

Codes and texts are Binance USD-M's own (error list of 2026-07).
"""

import re
from decimal import Decimal, InvalidOperation
from enum import StrEnum

import msgspec

from engine.errors import VenueError
from engine.events import Side
from engine.venue.accounts import ZERO
from engine.venue.market import Listing, MarkState

CLIENT_ID = re.compile(r"[.A-Z:/a-z0-9_-]{1,36}")
CONDITIONAL_KINDS = ("STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET")
TIMES_IN_FORCE = ("GTC", "IOC", "FOK", "GTX")
PERCENT_UP = Decimal("1.15")
PERCENT_DOWN = Decimal("0.85")
MAX_PRICE = 10_000_000
LONGEST_NUMBER = 20  # digits before or after the point that a parameter may have
MAX_OPEN_ORDERS = 200
MAX_OPEN_CONDITIONALS = 10


class Refusal(VenueError):
    """The venue says no: `code` and `problem` are what it writes in the reply, `status` the HTTP status."""

    def __init__(self, code: int, problem: str, status: int = 400) -> None:
        self.status = status
        super().__init__("binance", problem, code)


class Ending(StrEnum):
    """Why an order ended unfilled."""

    NONE = ""
    ASKED = "asked"
    COUNTDOWN = "countdown"
    UNFILLED = "unfilled"  # what an IOC or market order found no counterpart for
    NOT_WHOLE = "not whole"  # a FOK order
    WOULD_TAKE = "would take"  # a post-only order
    SELF_TRADE = "self trade"
    NOTHING_TO_REDUCE = "nothing to reduce"
    LIQUIDATION = "liquidation"


class Request(msgspec.Struct):
    """What a client asks to be placed, still as the text that it sent. "" is absent."""

    symbol: str
    side: str
    kind: str
    quantity: str = ""
    price: str = ""
    trigger: str = ""
    time_in_force: str = ""
    reduce_only: bool = False
    close_position: bool = False
    client_id: str = ""
    working_type: str = "CONTRACT_PRICE"
    callback: str = ""  # TRAILING_STOP_MARKET: percent
    activation: str = ""
    plain: bool = False  # OKX's `trigger`, which is neither stop nor target


class Order(msgspec.Struct):
    """An order that the venue accepted. Prices in ticks, quantities in steps; `price` 0 is a market order."""

    id: int
    symbol: str
    client_id: str
    side: Side
    kind: str
    time_in_force: str
    quantity: int
    price: int
    reduce_only: bool
    created_ms: int
    updated_ms: int
    close_position: bool = False
    original_kind: str = ""
    trigger: int = 0
    working_type: str = "CONTRACT_PRICE"
    status: str = "NEW"
    filled: int = 0
    value: int = 0  # sum of price x quantity of the fills, ticks x steps
    realised: Decimal = ZERO
    fees: Decimal = ZERO
    liquidation: bool = False
    ending: Ending = Ending.NONE
    conditional_id: int = 0  # the conditional order that placed it

    @property
    def open(self) -> bool:
        return self.status in ("NEW", "PARTIALLY_FILLED")

    @property
    def unfilled(self) -> int:
        return self.quantity - self.filled


class Conditional(msgspec.Struct):
    """A conditional order: it rests apart from the book and places an ordinary order when its trigger is reached."""

    id: int
    symbol: str
    client_id: str
    side: Side
    kind: str
    time_in_force: str
    quantity: int
    price: int
    trigger: int
    working_type: str
    reduce_only: bool
    close_position: bool
    created_ms: int
    updated_ms: int
    status: str = "NEW"
    triggered_ms: int = 0
    order_id: int = 0
    reason: str = ""
    callback: Decimal = ZERO  # fraction of the best price; above zero: the trigger follows
    activation: int = 0  # ticks; 0: it follows from the start
    best: Decimal = ZERO  # the best price since it follows
    plain: bool = False  # OKX's `trigger`, which is neither stop nor target

    @property
    def open(self) -> bool:
        return self.status == "NEW"

    @property
    def waits_below(self) -> bool:
        """Whether it triggers when the price falls to it: a stop that sells, a target that buys."""
        return self.kind.startswith("STOP") == (self.side is Side.SELL)

    def reached(self, low: Decimal, high: Decimal, tick: Decimal) -> bool:
        if self.callback:
            return self._follow(low, high, tick)
        return low <= self.trigger * tick if self.waits_below else high >= self.trigger * tick

    def _follow(self, low: Decimal, high: Decimal, tick: Decimal) -> bool:
        """A trailing stop: the range's favourable end moves the best price first, so that its own turn counts."""
        sells = self.side is Side.SELL
        if not self.best:
            at = self.activation * tick
            if at and not (high >= at if sells else low <= at):
                return False
        favourable, adverse = (high, low) if sells else (low, high)
        self.best = max(self.best, favourable) if sells or not self.best else min(self.best, favourable)
        turned = (self.best - adverse) if sells else (adverse - self.best)
        return turned >= self.best * self.callback


def places(unit: Decimal) -> int:
    """Decimals of a tick or step."""
    exponent = unit.normalize().as_tuple().exponent
    return max(0, -exponent) if isinstance(exponent, int) else 0


def missing(name: str) -> Refusal:
    return Refusal(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def number(name: str, text: str) -> Decimal:
    """A finite decimal, or the venue's refusal of the parameter."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        raise Refusal(-1100, f"Illegal characters found in parameter '{name}'.") from None
    if not value.is_finite() or len(text) > 40 or abs(value.adjusted()) > LONGEST_NUMBER:
        raise Refusal(-1100, f"Illegal characters found in parameter '{name}'.")
    return value


def units(value: Decimal, unit: Decimal, off_grid: Refusal) -> int:
    """`value` as a whole number of `unit`s."""
    exponent = value.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > places(unit):
        raise Refusal(-1111, "Precision is over the maximum defined for this asset.")
    count = value / unit
    if count != count.to_integral_value():
        raise off_grid
    return int(count)


def price_ticks(listing: Listing, text: str, name: str = "price") -> int:
    """Raises Refusal, with the venue's own code."""
    if not text:
        raise missing(name)
    value = number(name, text)
    if value <= 0:
        raise Refusal(-4001, "Price less than 0.")
    if value > MAX_PRICE:
        raise Refusal(-4002, "Price greater than max price.")
    return units(value, listing.tick, Refusal(-4014, "Price not increased by tick size."))


def quantity_steps(listing: Listing, text: str, market: bool) -> int:
    """The same for a size; market orders have a limit of their own."""
    if not text:
        raise missing("quantity")
    value = number("quantity", text)
    if value <= 0:
        raise Refusal(-4003, "Quantity less than or equal to zero.")
    steps = units(value, listing.step, Refusal(-4023, "Qty not increased by step size."))
    if steps < listing.min_quantity:
        raise Refusal(-4004, "Quantity less than min quantity.")
    if steps > (listing.max_market_quantity if market else listing.max_quantity):
        raise Refusal(-4005, "Quantity greater than max quantity.")
    return steps


def side_of(text: str) -> Side:
    if not text:
        raise missing("side")
    if text not in ("BUY", "SELL"):
        raise Refusal(-1117, "Invalid side.")
    return Side[text]


def check_client_id(name: str, text: str) -> None:
    if not CLIENT_ID.fullmatch(text):
        raise Refusal(-4015, f"Client order id is not valid: {name} must match ^[.A-Z:/a-z0-9_-]{{1,36}}$.")


def check_notional(listing: Listing, steps: int, price: Decimal) -> None:
    if steps * listing.step * price < listing.min_notional:
        least = format(listing.min_notional.normalize(), "f")
        raise Refusal(-4164, f"Order's notional must be no smaller than {least} (unless you choose reduce only).")


def check_limit_band(listing: Listing, side: Side, ticks: int, mark: MarkState) -> None:
    """A bid far above or an ask far below the mark is refused; the passive direction is free."""
    price = ticks * listing.tick
    if side is Side.BUY and price > mark.mark * PERCENT_UP:
        raise Refusal(-4016, f"Limit price can't be higher than {(mark.mark * PERCENT_UP).quantize(listing.tick)}.")
    if side is Side.SELL and price < mark.mark * PERCENT_DOWN:
        raise Refusal(-4024, f"Limit price can't be lower than {(mark.mark * PERCENT_DOWN).quantize(listing.tick)}.")


def check_market_band(side: Side, best: Decimal, mark: MarkState) -> None:
    outside = best > mark.mark * PERCENT_UP if side is Side.BUY else best < mark.mark * PERCENT_DOWN
    if outside:
        raise Refusal(-4131, "The counterparty's best price does not meet the PERCENT_PRICE filter limit.")
