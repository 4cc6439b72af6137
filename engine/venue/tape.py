"""Takes trades, quotes and book changes in ticks and steps; gives aggregated trades, bars and raw Binance USD-M frames.

Both simulated markets record and speak through here, so a frame looks the same whoever made it. Frames follow the
venue's form of 2026-08 (`st` 1 for USD-M, `ps` the pair on book frames).
"""

from collections import deque
from collections.abc import Iterable
from decimal import Decimal
from itertools import islice

from engine.errors import InvariantError
from engine.venue.market import KlineRow, MarkState, TapeRow

MINUTE_MS = 60_000
TRADES_KEPT = 10_000
BARS_KEPT = 3_000
TEXTS_KEPT = 200_000  # cached number texts; the cache is emptied there
LONGEST_KEPT = 40  # characters of one
MOST = 10**15


class Grid:
    """Integers to the venue's decimal strings and back, for one increment (a tick or a step)."""

    def __init__(self, increment: Decimal) -> None:
        exponent = increment.as_tuple().exponent
        assert isinstance(exponent, int)
        self.increment = increment
        self.decimals = max(0, -exponent)
        self._unit = int(increment.scaleb(self.decimals))
        self._scale = 10**self.decimals
        self._texts: dict[int, str] = {}
        self._counts: dict[str, int] = {}

    def text(self, count: int) -> str:
        found = self._texts.get(count)
        if found is None:
            if len(self._texts) >= TEXTS_KEPT:
                self._texts.clear()
            whole, part = divmod(count * self._unit, self._scale)
            found = self._texts[count] = f"{whole}.{part:0{self.decimals}d}" if self.decimals else str(whole)
        return found

    def count(self, text: str) -> int:
        """The integer whose `text` this is; a number between two increments is an InvariantError."""
        found = self._counts.get(text)
        if found is None:
            if len(self._counts) >= TEXTS_KEPT:
                self._counts.clear()
            exact = Decimal(text) / self.increment
            if not abs(exact) <= MOST:  # before it is written out, which may take minutes
                raise InvariantError(f"{text[:20]} is beyond all bounds")
            found = int(exact)
            if found != exact:
                raise InvariantError(f"{text[:20]} is not a multiple of {self.increment}")
            if len(text) < LONGEST_KEPT:
                self._counts[text] = found
        return found

    def amount(self, count: int) -> Decimal:
        return count * self.increment


class Bar:
    """A minute in the making."""

    __slots__ = ("buy_turnover", "buy_volume", "close", "first_id", "high", "last_id", "low", "open", "open_ms", "trades",
                 "turnover", "volume")  # fmt: skip

    def __init__(self, open_ms: int, price: int) -> None:
        self.open_ms = open_ms
        self.open = self.high = self.low = self.close = price
        self.volume = self.buy_volume = self.trades = 0
        self.turnover = self.buy_turnover = 0  # ticks x steps
        self.first_id = self.last_id = -1

    def add(self, row: TapeRow) -> None:
        price, quantity = row.price, row.quantity
        if not self.trades:
            self.first_id = row.first_id
            self.open = self.high = self.low = price
        self.high, self.low, self.close = max(self.high, price), min(self.low, price), price
        self.volume += quantity
        self.turnover += price * quantity
        if not row.maker_is_buyer:
            self.buy_volume += quantity
            self.buy_turnover += price * quantity
        self.trades += row.last_id - row.first_id + 1
        self.last_id = row.last_id


class Tape:
    """What traded: the newest aggregated trades and the bars made of them."""

    def __init__(self, symbol: str, prices: Grid, sizes: Grid, next_id: int = 1) -> None:
        self.symbol, self.prices, self.sizes = symbol, prices, sizes
        self.next_id = next_id
        self.rows: deque[TapeRow] = deque(maxlen=TRADES_KEPT)
        self.closed: deque[KlineRow] = deque(maxlen=BARS_KEPT)
        self.bar: Bar | None = None
        self.unpublished = False  # trades since the last kline frame
        self._pair = prices.increment * sizes.increment

    def record(self, price: int, quantity: int, first_id: int, last_id: int, at_ms: int, maker_is_buyer: bool) -> TapeRow:
        """Add an aggregated trade under the next id. Time must not run backwards past a closed bar."""
        row = TapeRow(self.next_id, price, quantity, first_id, last_id, at_ms, maker_is_buyer)
        self.add(row)
        return row

    def add(self, row: TapeRow, bars: bool = True) -> None:
        """Add a trade that has its id already; `bars` False where bars come from elsewhere (`put_bar`)."""
        self.next_id = row.id + 1
        self.rows.append(row)
        if not bars:
            return
        if self.bar is None:
            self.bar = Bar(row.at_ms - row.at_ms % MINUTE_MS, row.price)
        self.bar.add(row)
        self.unpublished = True

    def put_bar(self, row: KlineRow) -> None:
        """A bar made elsewhere: it replaces what is known of its minute, and drops later ones (a recording starts over)."""
        while self.closed and self.closed[-1].open_ms > row.open_ms:
            self.closed.pop()
        if self.closed and self.closed[-1].open_ms == row.open_ms:
            self.closed[-1] = row
        else:
            self.closed.append(row)

    def open_bar(self, at_ms: int, price: int) -> None:
        """Start the minute that holds `at_ms` at `price` (where an older history ends)."""
        self.bar = Bar(at_ms - at_ms % MINUTE_MS, price)

    def roll(self, now_ms: int, derived: bool = False) -> list[bytes]:
        """Close every minute that has ended by `now_ms`; the closing kline frames. A minute without trades is flat."""
        frames: list[bytes] = []
        while self.bar is not None and now_ms >= self.bar.open_ms + MINUTE_MS:
            frames.append(self.kline_frame(self.bar.open_ms + MINUTE_MS, True, derived))
            self.closed.append(self._row(self.bar))
            self.bar = Bar(self.bar.open_ms + MINUTE_MS, self.bar.close)
            self.unpublished = False
        return frames

    def newest(self, limit: int, from_id: int | None) -> list[TapeRow]:
        """The newest `limit` trades, or the `limit` from `from_id` on; oldest first."""
        rows = self.rows
        if not rows or limit <= 0:
            return []
        start = len(rows) - limit if from_id is None else from_id - rows[0].id
        return list(islice(rows, max(0, start), max(0, start) + limit))

    def bars(self, minutes: int, limit: int, start_ms: int | None, end_ms: int | None) -> list[KlineRow]:
        """Bars of `minutes`, oldest first, the unfinished one last: the newest `limit`, or the first from `start_ms` on."""
        ones = list(self.closed)
        if self.bar is not None:
            ones.append(self._row(self.bar))
        bars = ones if minutes == 1 else _merge(ones, minutes)
        if start_ms is not None:
            bars = [bar for bar in bars if bar.open_ms >= start_ms]
        if end_ms is not None:
            bars = [bar for bar in bars if bar.open_ms <= end_ms]
        return (bars[-limit:] if start_ms is None else bars[:limit]) if limit > 0 else []

    def _row(self, bar: Bar) -> KlineRow:
        turnover = bar.turnover * self._pair
        return KlineRow(bar.open_ms, bar.open_ms + MINUTE_MS - 1, bar.open, bar.high, bar.low, bar.close, bar.volume,
                        turnover, bar.trades, bar.buy_volume)  # fmt: skip

    # frames

    def trade_frame(self, row: TapeRow, event_ms: int, derived: bool = False) -> bytes:
        quantity = self.sizes.text(row.quantity)
        return (
            f'{{"e":"aggTrade","E":{event_ms},"a":{row.id},"s":"{self.symbol}","p":"{self.prices.text(row.price)}",'
            f'"q":"{quantity}","nq":"{quantity}","f":{row.first_id},"l":{row.last_id},"T":{row.at_ms},'
            f'"m":{"true" if row.maker_is_buyer else "false"},"st":1{_DERIVED if derived else ""}}}'
        ).encode()

    def kline_frame(self, event_ms: int, closed: bool, derived: bool = False) -> bytes:
        """The bar in the making; only while there is one."""
        bar, price, size = self.bar, self.prices.text, self.sizes.text
        assert bar is not None
        self.unpublished = False
        return (
            f'{{"e":"kline","E":{event_ms},"s":"{self.symbol}","k":{{"t":{bar.open_ms},"T":{bar.open_ms + MINUTE_MS - 1},'
            f'"s":"{self.symbol}","i":"1m","f":{bar.first_id},"L":{bar.last_id},"o":"{price(bar.open)}",'
            f'"c":"{price(bar.close)}","h":"{price(bar.high)}","l":"{price(bar.low)}","v":"{size(bar.volume)}",'
            f'"n":{bar.trades},"x":{"true" if closed else "false"},"q":"{bar.turnover * self._pair:f}",'
            f'"V":"{size(bar.buy_volume)}","Q":"{bar.buy_turnover * self._pair:f}","B":"0"}},"st":1'
            f"{_DERIVED if derived else ''}}}"
        ).encode()

    def quote_frame(self, best: tuple[int, int, int, int], update_id: int, at_ms: int) -> bytes:
        bid, bid_size, ask, ask_size = best
        price, size = self.prices.text, self.sizes.text
        return (
            f'{{"e":"bookTicker","u":{update_id},"s":"{self.symbol}","ps":"{self.symbol}","b":"{price(bid)}",'
            f'"B":"{size(bid_size)}","a":"{price(ask)}","A":"{size(ask_size)}","T":{at_ms},"E":{at_ms},"st":1}}'
        ).encode()

    def depth_frame(
        self, first_id: int, last_id: int, previous_id: int, bids: Iterable[tuple[int, int]], asks: Iterable[tuple[int, int]],
        at_ms: int,
    ) -> bytes:  # fmt: skip
        return (
            f'{{"e":"depthUpdate","E":{at_ms},"T":{at_ms},"s":"{self.symbol}","ps":"{self.symbol}","U":{first_id},'
            f'"u":{last_id},"pu":{previous_id},"b":[{self._levels(bids)}],"a":[{self._levels(asks)}],"st":1}}'
        ).encode()

    def mark_frame(self, mark: MarkState, at_ms: int) -> bytes:
        return mark_frame(self.symbol, mark.mark, mark.index, mark.rate, mark.next_funding_ms, at_ms)

    def _levels(self, levels: Iterable[tuple[int, int]]) -> str:
        price, size = self.prices.text, self.sizes.text
        return ",".join([f'["{price(ticks)}","{size(steps)}"]' for ticks, steps in levels])


_DERIVED = ',"derived":true'


def mark_frame(
    symbol: str, mark: Decimal, index: Decimal, rate: Decimal, next_funding_ms: int, at_ms: int, derived: bool = False
) -> bytes:
    return (
        f'{{"e":"markPriceUpdate","E":{at_ms},"s":"{symbol}","p":"{mark:.8f}","ap":"{mark:.8f}","P":"{index:.8f}",'
        f'"i":"{index:.8f}","r":"{rate:.8f}","T":{next_funding_ms},"st":1{_DERIVED if derived else ""}}}'
    ).encode()


def next_funding(at_ms: int, minutes: int) -> int:
    """Settlements lie on multiples of the interval since midnight UTC."""
    interval_ms = minutes * MINUTE_MS
    return at_ms - at_ms % interval_ms + interval_ms


def _merge(ones: list[KlineRow], minutes: int) -> list[KlineRow]:
    """Bars of one minute into bars of `minutes`, aligned to the epoch as the venue's are."""
    span_ms, merged = minutes * MINUTE_MS, list[KlineRow]()
    for one in ones:
        open_ms = one.open_ms - one.open_ms % span_ms
        if merged and merged[-1].open_ms == open_ms:
            last = merged[-1]
            merged[-1] = KlineRow(open_ms, last.close_ms, last.open, max(last.high, one.high), min(last.low, one.low), one.close,
                                  last.volume + one.volume, last.quote_volume + one.quote_volume, last.trades + one.trades,
                                  last.taker_buy_volume + one.taker_buy_volume)  # fmt: skip
        else:
            merged.append(KlineRow(open_ms, open_ms + span_ms - 1, one.open, one.high, one.low, one.close, one.volume,
                                   one.quote_volume, one.trades, one.taker_buy_volume))  # fmt: skip
    return merged
