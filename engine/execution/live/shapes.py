"""Binance's account messages, REST and private stream, as typed structs: what is read of them and nothing more."""

from decimal import Decimal

import msgspec

from engine.execution.live import base
from engine.execution.live.base import Figures
from engine.signal.decoding import Millis


def whole(value: Decimal, unit: Decimal) -> int:
    return base.whole(value, unit, "Binance account")


class Asset(Figures):
    asset: str
    walletBalance: Decimal
    availableBalance: Decimal


class Account(Figures):
    assets: list[Asset]


class PositionRisk(Figures):
    symbol: str
    positionAmt: Decimal
    entryPrice: Decimal
    markPrice: Decimal
    unRealizedProfit: Decimal
    liquidationPrice: Decimal = Decimal(0)
    positionSide: str = "BOTH"


class OpenOrder(Figures):
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
    makerCommissionRate: Decimal
    takerCommissionRate: Decimal


class PositionMode(Figures):
    dualSidePosition: bool


class Restrictions(Figures):
    """What an API key may do; what is not told counts as the worse of the two."""

    enableWithdrawals: bool = True
    enableFutures: bool = False


class Leverage(Figures):
    leverage: int


class ListenKey(Figures):
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
    a: str
    wb: Decimal
    bc: Decimal = Decimal(0)


class AccountPosition(Figures):
    s: str
    pa: Decimal


class AccountUpdate(Figures):
    """`a` of ACCOUNT_UPDATE."""

    m: str
    B: list[Balance] = msgspec.field(default_factory=list)
    P: list[AccountPosition] = msgspec.field(default_factory=list)


class OrderTradeUpdateFrame(msgspec.Struct, tag_field="e", tag="ORDER_TRADE_UPDATE"):
    E: Millis
    o: OrderUpdate


class AlgoUpdateFrame(msgspec.Struct, tag_field="e", tag="ALGO_UPDATE"):
    E: Millis
    o: AlgoUpdate


class AccountUpdateFrame(msgspec.Struct, tag_field="e", tag="ACCOUNT_UPDATE"):
    E: Millis
    a: AccountUpdate


class TradeLiteFrame(msgspec.Struct, tag_field="e", tag="TRADE_LITE"):
    """Read and left alone: the full report follows and has the commission."""


class ConfigFrame(msgspec.Struct, tag_field="e", tag="ACCOUNT_CONFIG_UPDATE"):
    pass


class MarginCallFrame(msgspec.Struct, tag_field="e", tag="MARGIN_CALL"):
    pass


class TriggerRejectFrame(msgspec.Struct, tag_field="e", tag="CONDITIONAL_ORDER_TRIGGER_REJECT"):
    pass


class ListenKeyExpiredFrame(msgspec.Struct, tag_field="e", tag="listenKeyExpired"):
    pass


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
