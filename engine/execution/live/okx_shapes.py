"""OKX's account messages, REST and private stream, as typed structs: what is read of them and nothing more.

Nearly everything is a string there, and "" is what does not apply; sizes are contracts, what is paid is negative.
"""

from decimal import Decimal, InvalidOperation

import msgspec

from engine.errors import DecodeError
from engine.events import ConditionalReport, FillFact, Instrument, OrderFact, OrderReport, PositionFact, Side
from engine.execution.live import base
from engine.signal.decoding import LARGEST, LATEST_MS, said, usable

WHAT = "OKX account"
SIDES = {"buy": Side.BUY, "sell": Side.SELL}
STATUS = {"live": "NEW", "partially_filled": "PARTIALLY_FILLED", "filled": "FILLED", "mmp_canceled": "CANCELED"}
# Reasons of a cancel that were the order's own terms: FOK, IOC, post-only, self-trade.
EXPIRED_BY = frozenset({"13", "14", "31", "32"})
ALGO_STATUS = {
    "live": "NEW",
    "pause": "NEW",
    "partially_effective": "TRIGGERED",
    "effective": "TRIGGERED",
    "canceled": "CANCELED",
    "order_failed": "REJECTED",
    "partially_failed": "REJECTED",
}


class Config(base.Figures):
    """A row of `/api/v5/account/config`: position mode, what the key may, account level."""

    posMode: str
    perm: str = "trade"
    acctLv: str = ""


class Detail(base.Figures):
    """One currency of a `Balance`."""

    ccy: str
    cashBal: str
    availEq: str = ""
    availBal: str = ""


class Balance(msgspec.Struct):
    """A row of `/api/v5/account/balance`."""

    details: list[Detail]


class Position(base.Figures):
    """A row of `/api/v5/account/positions`: `pos` in contracts, signed in net mode."""

    instId: str
    pos: str
    avgPx: str = ""
    markPx: str = ""
    upl: str = ""
    liqPx: str = ""


class Order(base.Figures):
    """By REST and by stream; `fill*`, `exec*` and `tradeId` are the stream's."""

    instId: str
    ordId: str
    side: str
    sz: str
    accFillSz: str
    state: str
    clOrdId: str = ""
    algoClOrdId: str = ""
    px: str = ""
    avgPx: str = ""
    reduceOnly: str = ""
    cancelSource: str = ""
    uTime: str = ""
    tradeId: str = ""
    fillSz: str = ""
    fillPx: str = ""
    fillFee: str = ""
    fillFeeCcy: str = ""
    fillPnl: str = ""
    fillTime: str = ""
    execType: str = ""


class Algo(base.Figures):
    """A row of `orders-algo-pending`, or of the channels `orders-algo` and `algo-advance`: a conditional order, in contracts."""

    instId: str
    algoId: str
    side: str
    sz: str
    state: str
    algoClOrdId: str = ""
    ordType: str = ""
    reduceOnly: str = ""
    slTriggerPx: str = ""
    tpTriggerPx: str = ""
    triggerPx: str = ""
    activePx: str = ""
    callbackRatio: str = ""
    ordId: str = ""
    ordIdList: list[str] = msgspec.field(default_factory=list)
    failCode: str = ""
    uTime: str = ""

    @property
    def placed(self) -> str:
        """The ordinary order that the trigger made, "" before."""
        return next((number for number in [*self.ordIdList, self.ordId] if number not in ("", "0")), "")


class Fill(base.Figures):
    """A row of `/api/v5/trade/fills`: `fillSz` in contracts, `fee` below 0 where it was paid."""

    instId: str
    ordId: str
    tradeId: str
    billId: str
    side: str
    fillPx: str
    fillSz: str
    fee: str
    ts: str
    feeCcy: str = ""
    execType: str = ""
    fillTime: str = ""


class Rates(msgspec.Struct):
    """A row of `/api/v5/account/trade-fee`: below 0 where a fee is paid; the `U` ones are of USDT-margined contracts."""

    maker: str = ""
    taker: str = ""
    makerU: str = ""
    takerU: str = ""


class Leverage(msgspec.Struct):
    """A row of `/api/v5/account/leverage-info`."""

    lever: str


class Taken(base.Figures):
    """What became of one order of a request: by `sCode` "0" it was taken."""

    ordId: str = ""
    algoId: str = ""
    sCode: str = ""
    sMsg: str = ""

    @property
    def id(self) -> str:
        return self.ordId or self.algoId


class Cash(base.Figures):
    """One currency of `balance_and_position`."""

    ccy: str
    cashBal: str


class Held(base.Figures):
    """A position of `balance_and_position`, of which only the name is read."""

    instId: str


class BalanceAndPosition(base.Figures):
    """A row of the channel `balance_and_position`; `eventType` says what changed them."""

    eventType: str
    balData: list[Cash] = msgspec.field(default_factory=list)
    posData: list[Held] = msgspec.field(default_factory=list)


class Arg(msgspec.Struct):
    """The channel that a pushed message belongs to."""

    channel: str = ""


class Frame(msgspec.Struct):
    """A word about the connection (`event`), or rows of a channel."""

    event: str = ""
    code: str = ""
    msg: str = ""
    arg: Arg = msgspec.field(default_factory=Arg)
    data: msgspec.Raw = msgspec.Raw(b"[]")


# --- into the core's words ---------------------------------------------------------------------------------------------


def decimal(text: str, what: str) -> Decimal:
    """A number that can be reckoned with; "" is zero."""
    try:
        value = Decimal(text or 0)
    except InvalidOperation:
        value = Decimal("NaN")
    if not usable(value):
        raise DecodeError(WHAT, f"{what} is {text[:20]!r}")
    return value


def number(text: str, what: str) -> int:
    """An id; "" is zero."""
    if text and not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= LARGEST):
        raise DecodeError(WHAT, f"{what} is {text[:20]!r}")
    return int(text or 0)


def millis(text: str, what: str) -> int:
    """A time; "" is zero."""
    found = number(text, what)
    if found > LATEST_MS:
        raise DecodeError(WHAT, f"{what} is {text[:20]!r}")
    return found


def side(text: str) -> Side:
    if text not in SIDES:
        raise DecodeError(WHAT, f"side is {text[:20]!r}")
    return SIDES[text]


def steps(contracts: str, instrument: Instrument, what: str) -> int:
    return base.whole(decimal(contracts, what) * instrument.contract, instrument.step, f"{WHAT} {what}")


def ticks(price: str, instrument: Instrument, what: str) -> int:
    return base.whole(decimal(price, what), instrument.tick, f"{WHAT} {what}")


def status(order: Order) -> str:
    if order.state == "canceled":
        return "EXPIRED" if order.cancelSource in EXPIRED_BY else "CANCELED"
    return STATUS.get(order.state, order.state.upper())


def order_report(order: Order, instrument: Instrument, at: int) -> OrderReport:
    """A triggered algo order's own order comes under the algo's id. The stream repeats a fill in later pushes without
    `tradeId`, REST has none.
    """
    traded = bool(order.tradeId) and decimal(order.fillSz, "fillSz") > 0
    limit = bool(order.px) and order.px not in ("-1", "0")
    return OrderReport(
        at,
        instrument.market,
        order.algoClOrdId or order.clOrdId or order.ordId,
        order.ordId,
        status(order),
        side(order.side),
        steps(order.sz, instrument, "sz"),
        steps(order.accFillSz, instrument, "accFillSz"),
        order.reduceOnly == "true",
        millis(order.uTime, "uTime"),
        steps(order.fillSz, instrument, "fillSz") if traded else 0,
        ticks(order.fillPx, instrument, "fillPx") if traded else 0,
        number(order.tradeId, "tradeId") if traded else 0,
        -decimal(order.fillFee, "fillFee") if traded else Decimal(0),
        order.fillFeeCcy if traded else "",
        order.execType == "M",
        decimal(order.fillPnl, "fillPnl") if traded else Decimal(0),
        order.avgPx,
        ticks(order.px, instrument, "px") if limit else 0,
    )


def order_fact(order: Order, instrument: Instrument) -> OrderFact:
    """An open order as reconciliation compares it. Raises DecodeError for figures that are no steps of the contract."""
    return OrderFact(
        instrument.market,
        order.clOrdId or order.ordId,
        order.ordId,
        side(order.side),
        steps(order.sz, instrument, "sz"),
        steps(order.accFillSz, instrument, "accFillSz"),
        order.reduceOnly == "true",
        False,
        Decimal(0),
    )


def algo_report(algo: Algo, instrument: Instrument, at: int) -> ConditionalReport:
    word = ALGO_STATUS.get(algo.state, algo.state.upper())
    reason = f"the venue says {said(algo.failCode)}" if word == "REJECTED" and algo.failCode else ""
    name = algo.algoClOrdId or algo.algoId
    return ConditionalReport(at, instrument.market, name, algo.algoId, word, algo.placed, reason, millis(algo.uTime, "uTime"))


def algo_fact(algo: Algo, instrument: Instrument) -> OrderFact:
    """The same for a conditional one; the trigger in quote units, 0 where it trails without one yet."""
    trigger = algo.slTriggerPx or algo.tpTriggerPx or algo.triggerPx or algo.activePx
    return OrderFact(
        instrument.market,
        algo.algoClOrdId or algo.algoId,
        algo.algoId,
        side(algo.side),
        steps(algo.sz, instrument, "sz"),
        0,
        algo.reduceOnly == "true",
        True,
        decimal(trigger, "trigger"),
        int(decimal(algo.callbackRatio, "callbackRatio") * 10_000),
    )


def position_fact(position: Position, instrument: Instrument) -> PositionFact:
    """A position as reconciliation compares it: signed steps, prices in quote units."""
    return PositionFact(
        instrument.market,
        steps(position.pos, instrument, "pos"),
        decimal(position.avgPx, "avgPx"),
        decimal(position.markPx, "markPx"),
        decimal(position.upl, "upl"),
        decimal(position.liqPx, "liqPx"),
    )


def fill_fact(fill: Fill, instrument: Instrument) -> FillFact:
    """A fill as it is booked: OKX's fee is below 0 where it is paid, ours above."""
    return FillFact(
        instrument.market,
        fill.ordId,
        number(fill.tradeId, "tradeId"),
        side(fill.side),
        steps(fill.fillSz, instrument, "fillSz"),
        ticks(fill.fillPx, instrument, "fillPx"),
        -decimal(fill.fee, "fee"),
        fill.execType == "M",
        millis(fill.fillTime or fill.ts, "fillTime"),
        fill.feeCcy,
    )
