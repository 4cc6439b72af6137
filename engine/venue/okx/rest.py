"""A REST request to OKX in; status and `{"code", "msg", "data"}` out. Errors come with HTTP 200 unless they are about the key."""

from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import TypeVar
from urllib.parse import parse_qsl

import msgspec

from engine.venue.faults import Faults
from engine.venue.gate import Call
from engine.venue.okx.contract import OkxMarket
from engine.venue.okx.gate import OkxCredentials
from engine.venue.okx.refusals import Wrong, wrong
from engine.venue.okx.trading import Trading, listed
from engine.venue.orders import Refusal

PREFIX = "/api/v5/"
BAR_MINUTES = {"1m": 1, "3m": 3, "5m": 5, "15m": 15, "30m": 30, "1H": 60, "2H": 120, "4H": 240}
EXPIRING = ("trade/order", "trade/batch-orders", "trade/amend-order")  # `expTime` bounds when they may execute
Params = dict[str, str]
T = TypeVar("T")


class OkxRest:
    """`answer` is the door."""

    def __init__(
        self, markets: Mapping[str, OkxMarket], faults: Faults, venue_ms: Callable[[], int], trading: Trading,
        credentials: OkxCredentials,
    ) -> None:  # fmt: skip
        self.markets, self.faults, self.venue_ms = markets, faults, venue_ms
        self.trading, self.credentials = trading, credentials
        self.requests = 0
        self._paths: dict[str, Callable[[Params], list[object]]] = {
            "public/time": lambda params: [{"ts": str(self.venue_ms())}],
            "public/instruments": self._instruments,
            "public/funding-rate": self._funding,
            "public/funding-rate-history": self._funding_history,
            "public/mark-price": self._mark,
            "market/books": self._book,
            "market/trades": self._trades,
            "market/history-trades": self._trades,
            "market/candles": self._candles,
            "market/history-candles": self._candles,
            "market/history-mark-price-candles": self._mark_candles,
        }

    def answer(self, call: Call) -> tuple[int, bytes]:
        """HTTP status and body. Never raises: a refusal is a reply, and so is a path that does not exist."""
        self.requests += 1
        try:
            code, words, data = self._carry_out(call)
        except Refusal as refusal:
            found = wrong(refusal)
            return found.status, msgspec.json.encode({"code": found.code, "msg": found.words, "data": []})
        except Wrong as refused:
            return refused.status, msgspec.json.encode({"code": refused.code, "msg": refused.words, "data": []})
        return 200, msgspec.json.encode({"code": code, "msg": words, "data": data})

    def _carry_out(self, call: Call) -> tuple[str, str, Sequence[object]]:
        path = call.path.removeprefix(PREFIX)
        if call.method == "GET" and (read := self._paths.get(path)):
            return "0", "", read(dict(parse_qsl(call.query)))
        ask = self.trading.table.get((call.method, path))
        if ask is None and not (call.method == "POST" and path in self.trading.acts):
            raise Wrong("404", "Not Found", 404)
        self.credentials.check(call)
        until = call.headers.get("expTime", "")
        if path in EXPIRING and until.isdecimal() and int(until) < self.venue_ms():
            raise Wrong("51149", "Order timed out. Please try again later.")
        if call.method == "GET":
            params: list[Mapping[str, object]] = [dict(parse_qsl(call.query))]
        else:
            try:
                params = list(listed(msgspec.json.decode(call.body or "{}")))
            except msgspec.DecodeError:
                raise Wrong("50002", "JSON syntax error", 400) from None
        if ask is not None:
            return "0", "", ask(params[0] if params else {})
        return self.trading.act(path, params)

    def _market(self, params: Params) -> OkxMarket:
        found = self.markets.get(params.get("instId", ""))
        if found is None:
            raise Wrong("51001", "Instrument ID does not exist.")
        return found

    def _instruments(self, params: Params) -> list[object]:
        if params.get("instType") != "SWAP":
            raise Wrong("51000", "Parameter instType error")
        return [self._instrument(market) for market in self.markets.values()]

    def _instrument(self, market: OkxMarket) -> object:
        contract, listing = market.contract, market.listing
        family = f"{listing.base}-{listing.quote}"
        return {
            "instType": "SWAP", "instId": contract.name, "instFamily": family, "uly": family, "ctType": "linear",
            "ctVal": f"{contract.face:f}", "ctMult": "1", "ctValCcy": listing.base, "settleCcy": listing.quote, "baseCcy": "",
            "quoteCcy": "", "tickSz": f"{listing.tick:f}", "lotSz": f"{contract.lot:f}", "minSz": f"{contract.lot:f}",
            "maxLmtSz": f"{listing.max_quantity * contract.lot:f}", "maxMktSz": f"{listing.max_market_quantity * contract.lot:f}",
            "lever": str(listing.max_leverage), "listTime": str(listing.onboard_ms), "state": "live", "alias": "", "expTime": "",
        }  # fmt: skip

    def _funding(self, params: Params) -> list[object]:
        market = self._market(params)
        mark, minutes = there(market.mark()), market.listing.funding_minutes
        frame = market.okx_tape.funding_frame(mark, minutes, self.venue_ms())
        return list(msgspec.json.decode(frame)["data"])

    def _mark(self, params: Params) -> list[object]:
        market = self._market(params)
        mark = there(market.mark())
        return list(msgspec.json.decode(market.okx_tape.mark_frame(mark, self.venue_ms()))["data"])

    def _book(self, params: Params) -> list[object]:
        market = self._market(params)
        market.flush()
        depth = there(market.depth(min(_whole(params, "sz", 1), 400)))
        last_id = max(1, market.published - 1_000_000) if self.faults.take("stale_snapshot") else market.published
        bids, asks = depth.bids, depth.asks
        if self.faults.take("lying_snapshot"):
            bids = [(price, size + 1) for price, size in bids]
        frame = market.okx_tape.book_frame("snapshot", -1, last_id, bids, asks, self.venue_ms())
        row = msgspec.json.decode(frame)["data"][0]
        return [{"asks": row["asks"], "bids": row["bids"], "ts": row["ts"], "seqId": row["seqId"]}]

    def _trades(self, params: Params) -> list[object]:
        """Single fills, the newest first; `after` asks for older ones."""
        market, limit, before = self._market(params), min(_whole(params, "limit", 100), 500), _whole(params, "after", 0)
        text, size = market.okx_tape.prices.text, market.okx_tape.sizes
        rows = market.tape(10_000, None)
        found = []
        for row in islice((row for row in reversed(rows) if not before or row.first_id < before), limit):
            count = row.last_id - row.first_id + 1
            share, rest = divmod(row.quantity, count)
            for place in range(count - 1, -1, -1):  # what each fill was of is not kept: they share the aggregate
                number = row.first_id + place
                if not before or number < before:
                    steps = share + (rest if place == 0 else 0)
                    side = "sell" if row.maker_is_buyer else "buy"
                    found.append({"instId": market.contract.name, "tradeId": str(number), "px": text(row.price),
                                  "sz": size.text(max(steps, 1)), "side": side, "ts": str(row.at_ms), "source": "0"})  # fmt: skip
        return list(found[:limit])

    def _candles(self, params: Params) -> list[object]:
        """The newest first: those older than `after` and newer than `before`."""
        market, limit, after = self._market(params), min(_whole(params, "limit", 100), 300), _whole(params, "after", 0)
        before = _whole(params, "before", 0)
        minutes = BAR_MINUTES.get(params.get("bar", "1m"))
        if minutes is None:
            raise Wrong("51000", "Parameter bar error")
        rows = [row for row in market.klines(minutes, limit, None, after - 1 if after else None) if row.open_ms > before]
        now_ms = self.venue_ms()
        return [msgspec.json.decode(market.okx_tape.candle(row, row.close_ms < now_ms)) for row in reversed(rows)]

    def _mark_candles(self, params: Params) -> list[object]:
        """The mark's past is not kept: it is taken to be what was traded."""
        rows = self._candles({**params, "limit": str(min(_whole(params, "limit", 100), 100))})
        return [[*row[:5], row[8]] for row in rows if isinstance(row, list)]

    def _funding_history(self, params: Params) -> list[object]:
        """The newest settlement first: those older than `after` and newer than `before`."""
        name, limit = self._market(params).contract.name, min(_whole(params, "limit", 400), 400)
        after, before = _whole(params, "after", 0), _whole(params, "before", 0)
        rows = [(at_ms, rate) for at_ms, rate, _ in self.trading.exchange.contracts[name].funding]
        rows = [(at_ms, rate) for at_ms, rate in reversed(rows) if at_ms > before and (not after or at_ms < after)]
        return [
            {"instType": "SWAP", "instId": name, "fundingTime": str(at_ms), "fundingRate": f"{rate:f}",
             "realizedRate": f"{rate:f}", "method": "current_period"}
            for at_ms, rate in rows[:limit]
        ]  # fmt: skip


def there(found: T | None) -> T:
    """A fed market may have no book and no mark yet."""
    if found is None:
        raise Wrong("50001", "Service temporarily unavailable. Please try again later.", 503)
    return found


def _whole(params: Params, name: str, default: int) -> int:
    text = params.get(name, "")
    if not text:
        return default
    if not text.isdigit():
        raise Wrong("51000", f"Parameter {name} error")
    return int(text)
