"""Binance's account messages, REST and private stream, as typed structs: what is read of them and nothing more."""

from decimal import Decimal

import msgspec

from engine.execution.live import base
from engine.execution.live.base import Figures
from engine.signal.decoding import Millis


def whole(value: Decimal, unit: Decimal) -> int:
    return base.whole(value, unit, "Binance account")


class Asset(Figures):
    """One currency of an `Account`."""

    asset: str
    walletBalance: Decimal
    availableBalance: Decimal


class Account(Figures):
    """`GET /fapi/v3/account`."""

    assets: list[Asset]


class PositionRisk(Figures):
    """A row of `GET /fapi/v3/positionRisk`: `positionAmt` in base units, signed in one-way mode."""

    symbol: str
    positionAmt: Decimal
    entryPrice: Decimal
    markPrice: Decimal
    unRealizedProfit: Decimal
    liquidationPrice: Decimal = Decimal(0)
    positionSide: str = "BOTH"


class OpenOrder(Figures):
    """A row of `GET /fapi/v1/openOrders`."""

    symbol: str
    orderId: int
    clientOrderId: str
    status: str
    side: str
    origQty: Decimal
    executedQty: Decimal
    reduceOnly: bool = False
    updateTime: Millis = 0
    avgPrice: str = ""
    price: Decimal = Decimal(0)


class AlgoOrder(Figures):
    """A row of `GET /fapi/v1/openAlgoOrders`: a conditional order."""

    symbol: str
    algoId: int
    clientAlgoId: str
    algoStatus: str
    side: str
    quantity: Decimal
    triggerPrice: Decimal
    reduceOnly: bool = False
    closePosition: bool = False
    updateTime: Millis = 0
    actualOrderId: str = ""
    callbackRate: str = ""  # percent, "" of those that do not trail


class UserTrade(Figures):
    """A row of `GET /fapi/v1/userTrades`."""

    symbol: str
    id: int
    orderId: int
    side: str
    price: Decimal
    qty: Decimal
    commission: Decimal
    maker: bool
    time: Millis
    commissionAsset: str = ""


class Commission(Figures):
    """`GET /fapi/v1/commissionRate`: fractions of notional."""

    makerCommissionRate: Decimal
    takerCommissionRate: Decimal


class PositionMode(Figures):
    """`GET /fapi/v1/positionSide/dual`: whether the account is in hedge mode."""

    dualSidePosition: bool


class Restrictions(Figures):
    """What an API key may do; what is not told counts as the worse of the two."""

    enableWithdrawals: bool = True
    enableFutures: bool = False


class Leverage(Figures):
    """The answer to `POST /fapi/v1/leverage`."""

    leverage: int


class ListenKey(Figures):
    """The answer to `POST /fapi/v1/listenKey`."""

    listenKey: str


class OrderUpdate(Figures):
    """`o` of ORDER_TRADE_UPDATE."""

    s: str
    c: str
    S: str
    x: str
    X: str
    i: int
    q: Decimal
    z: Decimal
    L: Decimal
    l: Decimal  # noqa: E741 the venue's name
    t: int = 0
    T: Millis = 0
    R: bool = False
    m: bool = False
    n: Decimal | None = None  # null until there is a fill
    N: str | None = None
    rp: Decimal = Decimal(0)
    p: Decimal = Decimal(0)


class AlgoUpdate(Figures):
    """`o` of ALGO_UPDATE."""

    s: str
    caid: str
    aid: int
    X: str
    ai: str = ""
    rm: str = ""


class Balance(Figures):
    """One currency of an `AccountUpdate`: wallet after it, and what changed but for fees and profit."""

    a: str
    wb: Decimal
    bc: Decimal = Decimal(0)


class AccountPosition(Figures):
    """A position of an `AccountUpdate`: base units, signed."""

    s: str
    pa: Decimal


class AccountUpdate(Figures):
    """`a` of ACCOUNT_UPDATE."""

    m: str
    B: list[Balance] = msgspec.field(default_factory=list)
    P: list[AccountPosition] = msgspec.field(default_factory=list)


class OrderTradeUpdateFrame(msgspec.Struct, tag_field="e", tag="ORDER_TRADE_UPDATE"):
    """An order changed or was filled."""

    E: Millis
    o: OrderUpdate


class AlgoUpdateFrame(msgspec.Struct, tag_field="e", tag="ALGO_UPDATE"):
    """A conditional order changed."""

    E: Millis
    o: AlgoUpdate


class AccountUpdateFrame(msgspec.Struct, tag_field="e", tag="ACCOUNT_UPDATE"):
    """Wallet or positions changed."""

    E: Millis
    a: AccountUpdate


class TradeLiteFrame(msgspec.Struct, tag_field="e", tag="TRADE_LITE"):
    """Read and left alone: the full report follows and has the commission."""


class ConfigFrame(msgspec.Struct, tag_field="e", tag="ACCOUNT_CONFIG_UPDATE"):
    """Leverage or mode changed: known, so that it is no surprise, and not read."""


class MarginCallFrame(msgspec.Struct, tag_field="e", tag="MARGIN_CALL"):
    """Liquidation is near: known and not read."""


class TriggerRejectFrame(msgspec.Struct, tag_field="e", tag="CONDITIONAL_ORDER_TRIGGER_REJECT"):
    """A conditional order was triggered, and what it became was refused: known and not read."""


class ListenKeyExpiredFrame(msgspec.Struct, tag_field="e", tag="listenKeyExpired"):
    """The stream ends; another key is needed."""


PrivateFrame = (
    OrderTradeUpdateFrame
    | AlgoUpdateFrame
    | AccountUpdateFrame
    | TradeLiteFrame
    | ConfigFrame
    | MarginCallFrame
    | TriggerRejectFrame
    | ListenKeyExpiredFrame
)
