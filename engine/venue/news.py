"""What happened to an account, as values: the exchange tells of it, and each venue's surface writes it in its own words."""

from decimal import Decimal

import msgspec

from engine.venue.accounts import Account, Booking
from engine.venue.market import Fill, Listing
from engine.venue.orders import Conditional, Order


class OrderNews(msgspec.Struct, frozen=True):
    """`execution`: NEW, TRADE, CANCELED, EXPIRED, AMENDMENT, CALCULATED (the venue's own order). `bids` and `asks` are the
    notional of the account's open orders on the symbol.
    """

    order: Order
    listing: Listing
    execution: str
    at_ms: int
    bids: Decimal
    asks: Decimal
    fill: Fill | None = None
    booking: Booking | None = None


class ConditionalNews(msgspec.Struct, frozen=True):
    """`placed` is the ordinary order that the trigger made."""

    order: Conditional
    listing: Listing
    at_ms: int
    placed: Order | None = None


class AccountNews(msgspec.Struct, frozen=True):
    """`reason`: ORDER, FUNDING_FEE, INSURANCE_CLEAR. `change` excludes profit and commission."""

    account: Account
    reason: str
    at_ms: int
    change: Decimal
    marks: dict[str, Decimal]
    symbols: tuple[str, ...] = ()


class LeverageNews(msgspec.Struct, frozen=True):
    """A contract's leverage was set."""

    symbol: str
    leverage: int
    at_ms: int


News = OrderNews | ConditionalNews | AccountNews | LeverageNews
