"""Orders, conditionals and the account go in; the bodies in which the venue tells of them come out, by REST and by stream."""

from decimal import Decimal

from engine.venue.accounts import CENT, ZERO, Account, Booking
from engine.venue.market import Fill, Listing
from engine.venue.news import AccountNews, ConditionalNews, LeverageNews, News, OrderNews
from engine.venue.orders import Conditional, Order, places

Body = dict[str, object]
STP = "EXPIRE_MAKER"


def bodies(news: News) -> tuple[Body, ...]:
    """The private stream's events about one piece of news, in the order in which they are sent."""
    match news:
        case OrderNews(order, listing, execution, at_ms, bids, asks, fill, booking):
            update = order_update(order, listing, execution, at_ms, bids, asks, fill, booking)
            return (trade_lite(order, listing, fill), update) if fill else (update,)
        case ConditionalNews(order=conditional):
            return (algo_update(conditional, news.listing, news.at_ms, news.placed),)
        case AccountNews():
            return (account_update(news.account, news.reason, news.at_ms, news.change, news.marks, news.symbols),)
        case LeverageNews(symbol, leverage, at_ms):
            return ({"e": "ACCOUNT_CONFIG_UPDATE", "E": at_ms, "T": at_ms, "ac": {"s": symbol, "l": leverage}},)


def plain(value: Decimal) -> str:
    """Without exponent and without trailing zeros."""
    return format(value.normalize(), "f") if value else "0"


def money(value: Decimal) -> str:
    """Eight decimals, or all of them where the exact amount has more."""
    exponent = value.as_tuple().exponent
    return format(value if isinstance(exponent, int) and exponent < -8 else value.quantize(CENT), "f")


def price_text(listing: Listing, ticks: int) -> str:
    return format(ticks * listing.tick, "f") if ticks else "0"


def size_text(listing: Listing, steps: int) -> str:
    return format(steps * listing.step, "f") if steps else "0"


def average(order: Order, listing: Listing) -> Decimal:
    """Average price of the fills, one decimal finer than the tick, as the venue gives it."""
    if not order.filled:
        return ZERO
    return (Decimal(order.value) / order.filled * listing.tick).quantize(Decimal(1).scaleb(-places(listing.tick) - 1))


def order_body(order: Order, listing: Listing, acknowledgement: bool) -> Body:
    """An order by REST. Acknowledgements carry neither `avgPrice` nor `cumQuote` since 2026-07-15; look-ups do."""
    body: Body = {
        "orderId": order.id,
        "symbol": order.symbol,
        "status": order.status,
        "clientOrderId": order.client_id,
        "price": price_text(listing, order.price),
        "origQty": size_text(listing, order.quantity),
        "executedQty": size_text(listing, order.filled),
        "timeInForce": order.time_in_force,
        "type": order.kind,
        "reduceOnly": order.reduce_only,
        "closePosition": order.close_position,
        "side": order.side.name,
        "positionSide": "BOTH",
        "stopPrice": price_text(listing, order.trigger),
        "workingType": order.working_type,
        "priceProtect": False,
        "origType": order.original_kind or order.kind,
        "priceMatch": "NONE",
        "selfTradePreventionMode": STP,
        "goodTillDate": 0,
        "updateTime": order.updated_ms,
    }
    if acknowledgement:
        body["cumQty"] = body["executedQty"]
    else:
        body["avgPrice"] = plain(average(order, listing))
        body["cumQuote"] = plain(order.value * listing.tick * listing.step)
        body["time"] = order.created_ms
    return body


def conditional_body(order: Conditional, listing: Listing) -> Body:
    """A conditional order as `/fapi/v1/algoOrder` and its list give it."""
    return {
        "algoId": order.id,
        "clientAlgoId": order.client_id,
        "algoType": "CONDITIONAL",
        "orderType": order.kind,
        "symbol": order.symbol,
        "side": order.side.name,
        "positionSide": "BOTH",
        "timeInForce": order.time_in_force,
        "quantity": size_text(listing, order.quantity),
        "algoStatus": order.status,
        "triggerPrice": price_text(listing, order.trigger),
        "price": price_text(listing, order.price),
        "icebergQuantity": None,
        "selfTradePreventionMode": STP,
        "workingType": order.working_type,
        "priceMatch": "NONE",
        "closePosition": order.close_position,
        "priceProtect": False,
        "reduceOnly": order.reduce_only,
        "activatePrice": price_text(listing, order.activation) if order.callback else "",
        "callbackRate": plain(order.callback * 100) if order.callback else "",
        "actualOrderId": str(order.order_id) if order.order_id else "",
        "createTime": order.created_ms,
        "updateTime": order.updated_ms,
        "triggerTime": order.triggered_ms,
        "goodTillDate": 0,
    }


def order_update(
    order: Order,
    listing: Listing,
    execution: str,
    at_ms: int,
    bids: Decimal,
    asks: Decimal,
    fill: Fill | None = None,
    booking: Booking | None = None,
) -> Body:
    """ORDER_TRADE_UPDATE. `bids` and `asks` are the notional of the account's open orders on the symbol."""
    details: Body = {
        "s": order.symbol,
        "c": order.client_id,
        "S": order.side.name,
        "o": order.kind,
        "f": order.time_in_force,
        "q": size_text(listing, order.quantity),
        "p": price_text(listing, order.price),
        "ap": plain(average(order, listing)),
        "sp": price_text(listing, order.trigger),
        "x": execution,
        "X": order.status,
        "i": order.id,
        "l": size_text(listing, fill.quantity) if fill else "0",
        "z": size_text(listing, order.filled),
        "L": price_text(listing, fill.price) if fill else "0",
        "N": "USDT",
        "n": money(booking.commission) if booking else "0",
        "T": at_ms,
        "t": fill.trade_id if fill else 0,
        "b": plain(bids),
        "a": plain(asks),
        "m": bool(fill and fill.maker),
        "R": order.reduce_only,
        "wt": order.working_type,
        "ot": order.original_kind or order.kind,
        "ps": "BOTH",
        "cp": order.close_position,
        "pP": False,
        "si": 0,
        "ss": 0,
        "rp": money(booking.realised) if booking else "0",
        "V": STP,
        "pm": "NONE",
        "gtd": 0,
    }
    return {"e": "ORDER_TRADE_UPDATE", "E": at_ms, "T": at_ms, "o": details}


def trade_lite(order: Order, listing: Listing, fill: Fill) -> Body:
    """The stream's `TRADE_LITE`: a fill before its full report."""
    return {
        "e": "TRADE_LITE",
        "E": fill.at_ms,
        "T": fill.at_ms,
        "s": order.symbol,
        "q": size_text(listing, order.quantity),
        "p": price_text(listing, order.price),
        "m": fill.maker,
        "c": order.client_id,
        "S": order.side.name,
        "L": price_text(listing, fill.price),
        "l": size_text(listing, fill.quantity),
        "t": fill.trade_id,
        "i": order.id,
    }


def algo_update(order: Conditional, listing: Listing, at_ms: int, placed: Order | None) -> Body:
    """ALGO_UPDATE; `placed` is the ordinary order that the trigger made, whose average and size it reports."""
    details: Body = {
        "caid": order.client_id,
        "aid": order.id,
        "at": "CONDITIONAL",
        "o": order.kind,
        "s": order.symbol,
        "S": order.side.name,
        "ps": "BOTH",
        "f": order.time_in_force,
        "q": size_text(listing, order.quantity),
        "X": order.status,
        "ai": str(order.order_id) if order.order_id else "",
        "tp": price_text(listing, order.trigger),
        "p": price_text(listing, order.price),
        "V": STP,
        "wt": order.working_type,
        "pm": "NONE",
        "cp": order.close_position,
        "pP": False,
        "R": order.reduce_only,
        "tt": order.triggered_ms,
        "gtd": 0,
    }
    if placed:
        details["ap"] = plain(average(placed, listing))
        details["aq"] = size_text(listing, placed.filled)
        details["act"] = placed.kind
    if order.reason:
        details["rm"] = order.reason
    return {"e": "ALGO_UPDATE", "T": at_ms, "E": at_ms, "o": details}


def account_update(
    account: Account, reason: str, at_ms: int, change: Decimal, marks: dict[str, Decimal], symbols: tuple[str, ...]
) -> Body:
    """ACCOUNT_UPDATE. `change` excludes profit and commission; a cross position's funding names no position."""
    return {
        "e": "ACCOUNT_UPDATE",
        "T": at_ms,
        "E": at_ms,
        "a": {
            "m": reason,
            "B": [
                {
                    "a": "USDT",
                    "wb": money(account.wallet),
                    "cw": money(account.wallet - account.set_aside()),
                    "bc": money(change),
                }
            ],
            "P": [
                {
                    "s": symbol,
                    "pa": plain(held.quantity),
                    "ep": plain(held.entry),
                    "bep": plain(held.entry),
                    "cr": money(held.realised),
                    "up": money(held.unrealised(marks[symbol])),
                    "mt": account.mode_of(symbol),
                    "iw": money(held.margin) if held.margin else "0",
                    "ps": "BOTH",
                }
                for symbol in symbols
                if (held := account.position(symbol)) is not None
            ],
        },
    }
