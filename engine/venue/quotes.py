"""Parameters of unsigned REST requests go in; listings, books, trades, bars and funding come out as Binance's JSON bodies."""

from collections.abc import Callable
from decimal import Decimal

import msgspec

from engine.venue.contract import Contract
from engine.venue.exchange import Exchange
from engine.venue.faults import Faults
from engine.venue.gate import Params, whole
from engine.venue.market import Depth, KlineRow, Listing, TapeRow
from engine.venue.orders import MAX_PRICE, PERCENT_DOWN, PERCENT_UP, Refusal, missing, places
from engine.venue.reports import Body, plain, price_text, size_text

DEPTH_LIMITS = {5: 2, 10: 2, 20: 2, 50: 2, 100: 5, 500: 10, 1000: 20}  # and what each weighs
INTERVAL_MINUTES = {
    "1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1h": 60, "2h": 120, "4h": 240, "6h": 360, "8h": 480, "12h": 720, "1d": 1440,
    "3d": 4320, "1w": 10080,
}  # fmt: skip
ORDER_TYPES = ["LIMIT", "MARKET", "STOP", "STOP_MARKET", "TAKE_PROFIT", "TAKE_PROFIT_MARKET", "TRAILING_STOP_MARKET"]
LIQUIDATION_FEE = "0.012500"
NEVER_MS = 4_133_404_800_000


def bounded(params: Params, default: int, most: int) -> int:
    limit = whole(params, "limit", default) or default
    if limit < 1:
        raise Refusal(-1130, "Data sent for parameter 'limit' is not valid.")
    return min(limit, most)


class Quotes:
    """Public data of all contracts. `boundary` holds snapshots that a fault wants to be served once."""

    def __init__(self, exchange: Exchange, faults: Faults, venue_ms: Callable[[], int]) -> None:
        self.exchange, self.faults, self._venue_ms = exchange, faults, venue_ms
        self.boundary: dict[str, Depth] = {}

    def exchange_info(self, params: Params) -> Body:
        return {
            "timezone": "UTC",
            "serverTime": self._venue_ms(),
            "futuresType": "U_MARGINED",
            "rateLimits": [
                {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": 2400},
                {"rateLimitType": "ORDERS", "interval": "MINUTE", "intervalNum": 1, "limit": 1200},
                {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10, "limit": 300},
            ],
            "exchangeFilters": [],
            "assets": [{"asset": "USDT", "marginAvailable": True, "autoAssetExchange": "-10000"}],
            "symbols": [listing_body(contract.listing) for contract in self.exchange.contracts.values()],
        }

    def depth(self, params: Params) -> Body:
        contract = self._contract(params)
        limit = whole(params, "limit", 500) or 500
        if limit not in DEPTH_LIMITS:
            raise Refusal(-4021, f"'{limit}' is not valid depth limit.")
        book, listing = contract.market.depth(limit), contract.listing
        held = self.boundary.pop(listing.symbol, None)
        if held:
            book = msgspec.structs.replace(held, bids=held.bids[:limit], asks=held.asks[:limit])
        if book is None:
            raise Refusal(-1008, "Server is currently overloaded with other requests. Please try again in a few minutes.", 503)
        last_id, wrong = book.last_id, int(self.faults.take("lying_snapshot"))
        if self.faults.take("stale_snapshot"):
            last_id = max(1, last_id - 1_000_000)
        return {
            "lastUpdateId": last_id,
            "E": self._venue_ms(),
            "T": book.at_ms,
            "bids": [(price_text(listing, price), size_text(listing, size + wrong)) for price, size in book.bids],
            "asks": [(price_text(listing, price), size_text(listing, size)) for price, size in book.asks],
        }

    def klines(self, params: Params) -> list[list[object]]:
        contract = self._contract(params)
        if not params.get("interval"):
            raise missing("interval")
        if params["interval"] not in INTERVAL_MINUTES:
            raise Refusal(-1120, "Invalid interval.")
        minutes, limit = INTERVAL_MINUTES[params["interval"]], bounded(params, 500, 1500)
        rows = contract.market.klines(minutes, limit, whole(params, "startTime"), whole(params, "endTime"))
        return [kline_row(contract.listing, row) for row in rows]

    def mark_klines(self, params: Params) -> list[list[object]]:
        """The mark's past is not kept: it is taken to be what was traded."""
        return [[*row[:5], "0", row[6], "0", row[8], "0", "0", "0"] for row in self.klines(params)]

    def agg_trades(self, params: Params) -> list[Body]:
        contract, limit = self._contract(params), bounded(params, 500, 1000)
        from_id, start, end = whole(params, "fromId"), whole(params, "startTime"), whole(params, "endTime")
        if from_id is not None:
            rows = contract.market.tape(limit, from_id)[:limit]
        elif start is not None:
            rows = [row for row in contract.market.tape(1_000_000, None) if row.at_ms >= start][:limit]
        else:
            rows = contract.market.tape(limit, None)
        return [tape_body(contract.listing, row) for row in rows if end is None or row.at_ms <= end]

    def recent_trades(self, params: Params) -> list[Body]:
        contract = self._contract(params)
        listing = contract.listing
        return [
            {
                "id": row.last_id,
                "price": price_text(listing, row.price),
                "qty": size_text(listing, row.quantity),
                "quoteQty": plain(row.price * listing.tick * row.quantity * listing.step),
                "time": row.at_ms,
                "isBuyerMaker": row.maker_is_buyer,
            }
            for row in contract.market.tape(bounded(params, 500, 1000), None)
        ]

    def ticker(self, params: Params) -> object:
        return self._each(params, self._ticker)

    def _ticker(self, contract: Contract) -> Body:
        listing, now_ms = contract.listing, self.exchange.now_ms
        rows = contract.market.klines(60, 24, now_ms - 86_400_000, None)
        last = contract.last_price()
        opened = rows[0].open if rows else last
        volume, quote = sum(row.volume for row in rows), sum((row.quote_volume for row in rows), Decimal(0))
        newest = contract.market.tape(1, None)
        average = quote / (volume * listing.step) if volume else last * listing.tick
        return {
            "symbol": listing.symbol,
            "priceChange": format((last - opened) * listing.tick, "f"),
            "priceChangePercent": format(Decimal(last - opened) / opened * 100 if opened else Decimal(0), ".3f"),
            "weightedAvgPrice": format(average, ".8f"),
            "lastPrice": price_text(listing, last),
            "lastQty": size_text(listing, newest[-1].quantity) if newest else "0",
            "openPrice": price_text(listing, opened),
            "highPrice": price_text(listing, max((row.high for row in rows), default=last)),
            "lowPrice": price_text(listing, min((row.low for row in rows), default=last)),
            "volume": size_text(listing, volume),
            "quoteVolume": plain(quote),
            "openTime": now_ms - 86_400_000,
            "closeTime": now_ms,
            "firstId": 1,
            "lastId": newest[-1].last_id if newest else 0,
            "count": sum(row.trades for row in rows),
        }

    def ticker_price(self, params: Params) -> object:
        return self._each(
            params,
            lambda contract: {
                "symbol": contract.listing.symbol,
                "price": price_text(contract.listing, contract.last_price()),
                "time": self.exchange.now_ms,
            },
        )

    def book_ticker(self, params: Params) -> object:
        return self._each(params, self._book_ticker)

    def _book_ticker(self, contract: Contract) -> Body:
        listing, best = contract.listing, contract.market.best() or (0, 0, 0, 0)
        return {
            "symbol": listing.symbol,
            "bidPrice": price_text(listing, best[0]),
            "bidQty": size_text(listing, best[1]),
            "askPrice": price_text(listing, best[2]),
            "askQty": size_text(listing, best[3]),
            "time": self.exchange.now_ms,
        }

    def premium_index(self, params: Params) -> object:
        return self._each(params, self._premium_index)

    def _premium_index(self, contract: Contract) -> Body:
        state, listing = contract.market.mark(), contract.listing
        if state is None:
            raise Refusal(-1008, "Server is currently overloaded with other requests. Please try again in a few minutes.", 503)
        return {
            "symbol": listing.symbol,
            "markPrice": format(state.mark, ".8f"),
            "indexPrice": format(state.index, ".8f"),
            "estimatedSettlePrice": format(state.index, ".8f"),
            "lastFundingRate": format(state.rate, ".8f"),
            "interestRate": "0.00010000",
            "nextFundingTime": state.next_funding_ms,
            "time": self.exchange.now_ms,
        }

    def funding_rate(self, params: Params) -> list[Body]:
        contracts = [self._contract(params)] if params.get("symbol") else list(self.exchange.contracts.values())
        start, end = whole(params, "startTime", 0) or 0, whole(params, "endTime")
        rows = [
            {
                "symbol": contract.listing.symbol,
                "fundingTime": at_ms,
                "fundingRate": format(rate, ".8f"),
                "markPrice": format(mark, ".8f"),
            }
            for contract in contracts
            for at_ms, rate, mark in contract.funding
            if at_ms >= start and (end is None or at_ms <= end)
        ]
        limit = bounded(params, 100, 1000)
        return rows[:limit] if params.get("startTime") else rows[-limit:]

    def funding_info(self, params: Params) -> list[Body]:
        return [
            {
                "symbol": contract.listing.symbol,
                "adjustedFundingRateCap": "0.02000000",
                "adjustedFundingRateFloor": "-0.02000000",
                "fundingIntervalHours": max(1, contract.listing.funding_minutes // 60),
                "disclaimer": False,
            }
            for contract in self.exchange.contracts.values()
        ]

    def open_interest(self, params: Params) -> Body:
        contract = self._contract(params)
        traded = sum(row.volume for row in contract.market.klines(60, 24, None, None))
        listing = contract.listing
        return {"openInterest": size_text(listing, traded), "symbol": listing.symbol, "time": self.exchange.now_ms}

    def _contract(self, params: Params) -> Contract:
        return self.exchange.contract(params.get("symbol", ""))

    def _each(self, params: Params, body: Callable[[Contract], Body]) -> object:
        if params.get("symbol"):
            return body(self._contract(params))
        return [body(contract) for contract in self.exchange.contracts.values()]


def listing_body(listing: Listing) -> Body:
    """A contract as `exchangeInfo` lists it. The tick is the price filter's, not `pricePrecision`'s business."""
    tick, step = format(listing.tick, "f"), format(listing.step, "f")
    return {
        "symbol": listing.symbol,
        "pair": listing.symbol,
        "contractType": "PERPETUAL",
        "deliveryDate": NEVER_MS,
        "onboardDate": listing.onboard_ms,
        "status": "TRADING",
        "maintMarginPercent": format(listing.maintenance_rate * 100, ".4f"),
        "requiredMarginPercent": format(Decimal(100) / listing.max_leverage, ".4f"),
        "baseAsset": listing.base,
        "quoteAsset": listing.quote,
        "marginAsset": listing.quote,
        "pricePrecision": places(listing.tick),
        "quantityPrecision": places(listing.step),
        "baseAssetPrecision": 8,
        "quotePrecision": 8,
        "underlyingType": "COIN",
        "underlyingSubType": [],
        "triggerProtect": "0.1500",
        "liquidationFee": LIQUIDATION_FEE,
        "marketTakeBound": "0.15",
        "maxMoveOrderLimit": 10000,
        "filters": [
            {"filterType": "PRICE_FILTER", "minPrice": tick, "maxPrice": str(MAX_PRICE), "tickSize": tick},
            lot("LOT_SIZE", listing, listing.max_quantity, step),
            lot("MARKET_LOT_SIZE", listing, listing.max_market_quantity, step),
            {"filterType": "MAX_NUM_ORDERS", "limit": 200},
            {"filterType": "MAX_NUM_ALGO_ORDERS", "limit": 10},
            {"filterType": "MIN_NOTIONAL", "notional": plain(listing.min_notional)},
            {
                "filterType": "PERCENT_PRICE",
                "multiplierUp": format(PERCENT_UP, ".4f"),
                "multiplierDown": format(PERCENT_DOWN, ".4f"),
                "multiplierDecimal": "4",
            },
        ],
        "orderTypes": ORDER_TYPES,
        "timeInForce": ["GTC", "IOC", "FOK", "GTX"],
    }


def lot(name: str, listing: Listing, most: int, step: str) -> Body:
    return {
        "filterType": name,
        "minQty": size_text(listing, listing.min_quantity),
        "maxQty": size_text(listing, most),
        "stepSize": step,
    }


def kline_row(listing: Listing, row: KlineRow) -> list[object]:
    """A row of `/fapi/v1/klines`."""
    taker = row.taker_buy_volume * listing.step
    average = row.quote_volume / (row.volume * listing.step) if row.volume else Decimal(0)
    return [
        row.open_ms,
        price_text(listing, row.open),
        price_text(listing, row.high),
        price_text(listing, row.low),
        price_text(listing, row.close),
        size_text(listing, row.volume),
        row.close_ms,
        plain(row.quote_volume),
        row.trades,
        plain(taker),
        format(taker * average, ".8f"),
        "0",
    ]


def tape_body(listing: Listing, row: TapeRow) -> Body:
    """A row of `/fapi/v1/aggTrades`."""
    size = size_text(listing, row.quantity)
    return {
        "a": row.id,
        "p": price_text(listing, row.price),
        "q": size,
        "nq": size,
        "f": row.first_id,
        "l": row.last_id,
        "T": row.at_ms,
        "m": row.maker_is_buyer,
    }
