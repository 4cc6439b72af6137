"""Orders, algo orders and the account in; the rows in which OKX tells of them, by REST and by stream, out.

Everything is a string, sizes are contracts, what is paid is negative.
"""

from decimal import Decimal

from engine.venue.accounts import Booking
from engine.venue.exchange import Exchange, UserTrade
from engine.venue.market import Fill
from engine.venue.okx.contract import Contract
from engine.venue.orders import Conditional, Ending, Order
from engine.venue.reports import Body, average, money, plain

UID = "44705892343619584"
STATES = {"NEW": "live", "PARTIALLY_FILLED": "partially_filled", "FILLED": "filled"}  # all others: canceled
ALGO_STATES = {
    "NEW": "live",
    "TRIGGERED": "effective",
    "FINISHED": "effective",
    "CANCELED": "canceled",
    "REJECTED": "order_failed",
}
ORDER_TYPES = {"GTC": "limit", "GTX": "post_only", "IOC": "ioc", "FOK": "fok"}
# The number that the venue gives as `cancelSource`.
SOURCES = {
    Ending.NONE: "0",
    Ending.ASKED: "1",
    Ending.LIQUIDATION: "3",
    Ending.NOT_WHOLE: "13",
    Ending.UNFILLED: "14",
    Ending.NOTHING_TO_REDUCE: "17",
    Ending.COUNTDOWN: "20",
    Ending.WOULD_TAKE: "31",
    Ending.SELF_TRADE: "32",
}
TRIGGER_BY = {"MARK_PRICE": "mark", "CONTRACT_PRICE": "last"}


def contracts(contract: Contract, steps: int) -> str:
    return format(steps * contract.lot, "f")


def price(contract: Contract, ticks: int) -> str:
    return format(ticks * contract.listing.tick, "f") if ticks else ""


def order_row(order: Order, contract: Contract, exchange: Exchange) -> Body:
    """An order by REST, and the beginning of what the stream says of it."""
    placed_by = exchange.conditionals.orders.get(order.conditional_id)
    liquidation = "full_liquidation" if order.liquidation else "normal"
    return {
        "instType": "SWAP",
        "instId": contract.name,
        "ordId": str(order.id),
        "clOrdId": "" if placed_by or order.client_id.startswith(("sim-", "autoclose-")) else order.client_id,
        "algoId": str(placed_by.id) if placed_by else "",
        "algoClOrdId": placed_by.client_id if placed_by and not placed_by.client_id.startswith("sim-") else "",
        "tag": "",
        "ccy": "",
        "side": order.side.name.lower(),
        "posSide": "net",
        "tdMode": exchange.account.mode_of(contract.name),
        "ordType": "market" if order.kind == "MARKET" else ORDER_TYPES[order.time_in_force],
        "px": price(contract, order.price),
        "sz": contracts(contract, order.quantity),
        "accFillSz": contracts(contract, order.filled),
        "avgPx": plain(average(order, contract.listing)) if order.filled else "",
        "state": STATES.get(order.status, "canceled"),
        "cancelSource": SOURCES[order.ending] if order.status not in STATES else "",
        "reduceOnly": str(order.reduce_only).lower(),
        "lever": str(exchange.account.leverage_of(contract.name)),
        "fee": money(-order.fees),
        "feeCcy": "USDT",
        "rebate": "0",
        "rebateCcy": "USDT",
        "pnl": money(order.realised),
        "category": liquidation,
        "attachAlgoOrds": [],
        "cTime": str(order.created_ms),
        "uTime": str(order.updated_ms),
    }


def order_push(
    order: Order, contract: Contract, exchange: Exchange, fill: Fill | None, booking: Booking | None, amended: bool
) -> Body:
    """A row of the `orders` channel: the order, and the one fill that this push brings."""
    row = order_row(order, contract, exchange)
    return row | {
        "fillPx": price(contract, fill.price) if fill else "",
        "fillSz": contracts(contract, fill.quantity) if fill else "0",
        "tradeId": str(fill.trade_id) if fill else "",
        "fillTime": str(fill.at_ms) if fill else "",
        "execType": ("M" if fill.maker else "T") if fill else "",
        "fillFee": money(-booking.commission) if booking else "0",
        "fillFeeCcy": "USDT" if booking else "",
        "fillPnl": money(booking.realised) if booking else "0",
        "amendResult": "0" if amended else "",
        "code": "0",
        "msg": "",
    }


def algo_kind(order: Conditional) -> str:
    if order.kind == "TRAILING_STOP_MARKET":
        return "move_order_stop"
    return "trigger" if order.plain else "conditional"


def algo_row(order: Conditional, contract: Contract, exchange: Exchange) -> Body:
    """An algo order by REST and by stream."""
    kind, by = algo_kind(order), TRIGGER_BY[order.working_type]
    trigger, at = price(contract, order.trigger), price(contract, order.price) or "-1"
    stops = order.kind.startswith("STOP")
    placed = exchange.orders.get(order.order_id)
    row: Body = {
        "instType": "SWAP",
        "instId": contract.name,
        "algoId": str(order.id),
        "algoClOrdId": "" if order.client_id.startswith("sim-") else order.client_id,
        "clOrdId": "",
        "tag": "",
        "ordType": kind,
        "side": order.side.name.lower(),
        "posSide": "net",
        "tdMode": exchange.account.mode_of(contract.name),
        "sz": contracts(contract, order.quantity),
        "state": ALGO_STATES.get(order.status, "live"),
        "reduceOnly": str(order.reduce_only).lower(),
        "lever": str(exchange.account.leverage_of(contract.name)),
        "failCode": "51169" if order.status == "REJECTED" else "",
        "ordId": str(order.order_id) if order.order_id else "",
        "ordIdList": [str(order.order_id)] if order.order_id else [],
        "actualSz": contracts(contract, placed.filled) if placed else "0",
        "actualPx": plain(average(placed, contract.listing)) if placed else "",
        "actualSide": ("sl" if stops else "tp") if placed and kind == "conditional" else "",
        "triggerTime": str(order.triggered_ms) if order.triggered_ms else "",
        "cTime": str(order.created_ms),
        "uTime": str(order.updated_ms),
        **dict.fromkeys(("slTriggerPx", "slTriggerPxType", "slOrdPx", "tpTriggerPx", "tpTriggerPxType", "tpOrdPx"), ""),
        **dict.fromkeys(("triggerPx", "triggerPxType", "ordPx", "callbackRatio", "activePx", "moveTriggerPx"), ""),
    }
    if kind == "conditional":
        name = "sl" if stops else "tp"
        row |= {f"{name}TriggerPx": trigger, f"{name}TriggerPxType": by, f"{name}OrdPx": at}
    elif kind == "trigger":
        row |= {"triggerPx": trigger, "triggerPxType": by, "ordPx": at}
    else:
        row |= {"callbackRatio": plain(order.callback), "activePx": price(contract, order.activation)}
        if order.best:
            row["moveTriggerPx"] = plain(order.best * (1 + order.side * order.callback))
    return row


def fill_row(trade: UserTrade, contract: Contract, exchange: Exchange) -> Body:
    """A row of `/api/v5/trade/fills`."""
    fill = trade.fill
    order = exchange.orders.get(fill.order_id)
    ours = order is not None and not order.conditional_id and not order.client_id.startswith(("sim-", "autoclose-"))
    return {
        "instType": "SWAP",
        "instId": contract.name,
        "tradeId": str(fill.trade_id),
        "ordId": str(fill.order_id),
        "clOrdId": order.client_id if order is not None and ours else "",
        "billId": str(fill.trade_id),
        "tag": "",
        "fillPx": price(contract, fill.price),
        "fillSz": contracts(contract, fill.quantity),
        "fillPnl": money(trade.realised),
        "side": trade.side.name.lower(),
        "posSide": "net",
        "execType": "M" if fill.maker else "T",
        "fee": money(-trade.commission),
        "feeCcy": "USDT",
        "fillTime": str(fill.at_ms),
        "ts": str(fill.at_ms),
    }


def position_row(contract: Contract, exchange: Exchange) -> Body:
    """A row of `/api/v5/account/positions`, in contracts."""
    account, mark = exchange.account, exchange.contracts[contract.name].mark()
    held, listing = account.position(contract.name), contract.listing
    size, leverage = held.quantity / contract.face, account.leverage_of(contract.name)
    value = held.notional(mark)
    liquidation = account.liquidation_price(contract.name, exchange.marks(), exchange.rates())
    gain = held.unrealised(mark)
    return {
        "instType": "SWAP",
        "instId": contract.name,
        "posId": contract.name,
        "mgnMode": exchange.account.mode_of(contract.name),
        "posSide": "net",
        "pos": plain(size),
        "posCcy": "",
        "ccy": "USDT",
        "availPos": plain(size),
        "avgPx": plain(held.entry) if held.quantity else "",
        "markPx": format(mark, ".8f"),
        "liqPx": format(liquidation, ".8f") if liquidation else "",
        "upl": money(gain),
        "uplRatio": plain((gain * leverage / held.cost).quantize(Decimal("1e-8"))) if held.cost else "",
        "lever": str(leverage),
        "imr": money(abs(value) / leverage),
        "mmr": money(abs(value) * listing.maintenance_rate),
        "margin": money(held.margin) if held.margin else "",
        "notionalUsd": money(abs(value)),
        "realizedPnl": money(held.realised),
        "cTime": str(held.updated_ms),
        "uTime": str(held.updated_ms),
    }


def balance_row(exchange: Exchange) -> Body:
    """The row of `/api/v5/account/balance`: USDT alone."""
    margin = exchange.margin()
    at = str(exchange.now_ms)
    detail = {
        "ccy": "USDT",
        "cashBal": money(margin.wallet),
        "eq": money(margin.balance),
        "availEq": money(margin.available),
        "availBal": money(margin.available),
        "frozenBal": money(margin.initial + margin.isolated),
        "ordFrozen": money(margin.initial - margin.positions_initial),
        "upl": money(margin.unrealised),
        "imr": money(margin.initial),
        "mmr": money(margin.maintenance),
        "eqUsd": money(margin.balance),
        "uTime": at,
    }
    return {
        "uTime": at,
        "totalEq": money(margin.balance),
        "isoEq": money(margin.isolated + margin.isolated_gain),
        "adjEq": "",
        "imr": money(margin.initial),
        "mmr": money(margin.maintenance),
        "details": [detail],
    }
