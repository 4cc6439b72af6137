"""Takes one symbol's recorded frames as they fall due, and the exchange's orders; gives the market they describe.

Frames are re-stamped to engine time and passed on; the recorded book is kept beside them, and our orders are filled in it.
"""

from collections import deque
from decimal import Decimal
from itertools import islice
from typing import Protocol

import msgspec

from engine.events import Side
from engine.fills import OwnFill, Shadow
from engine.venue.capture import Line, SymbolInfo
from engine.venue.frames import AggFrame, DepthFrame, KlineFrame, MarkFrame, QuoteFrame, TradeFrame, decode_levels
from engine.venue.market import Depth, Fill, KlineRow, Listing, MarketOrder, MarkState, Sinks, TapeRow
from engine.venue.tape import Grid, Tape, mark_frame, next_funding

BUFFERED = 2_000  # depth events kept while there is no snapshot; the oldest go
OWN_TRADES_FROM = 10**12  # our fills are not on the recorded tape: their ids lie far above its ids
TIMER_MS = 250
FUNDING_RATE = Decimal("0.0001")  # a recording without mark prices: the venue's interest part
QUOTES = ("USDT", "USDC", "BUSD", "FDUSD")

Levels = list[tuple[int, int]]
_encode = msgspec.json.Encoder().encode


class Playback(Protocol):
    """What a market asks of the player that feeds it."""

    ended: bool
    passes: int

    def wanted(self, now_ms: int) -> None: ...

    def advance(self, now_ms: int) -> None: ...


def listing_for(info: SymbolInfo) -> Listing:
    """A contract with the recorded increments and limits that do not get in the way."""
    quote = next((name for name in QUOTES if info.symbol.endswith(name)), "USDT")
    most = int(10_000_000 / info.step)
    return Listing(
        symbol=info.symbol, base=info.symbol.removesuffix(quote), quote=quote, tick=info.tick, step=info.step,
        min_quantity=1, max_quantity=most, max_market_quantity=most, min_notional=Decimal(5), max_leverage=100,
        maintenance_rate=Decimal("0.005"), maker_rate=Decimal("0.0002"), taker_rate=Decimal("0.0005"), funding_minutes=480,
    )  # fmt: skip


class CapturedMarket:
    """A `Market` that was recorded. Its book exists from the recorded snapshot on, and not while the recording has a gap."""

    def __init__(self, player: Playback, info: SymbolInfo) -> None:
        self.listing = listing_for(info)
        self.timer_ms = 0
        self.heard = False
        self.player = player
        self._prices, self._sizes = Grid(info.tick), Grid(info.step)
        self._tape = Tape(info.symbol, self._prices, self._sizes)
        self._kinds = frozenset(info.kinds)
        self._sinks: Sinks | None = None
        self._shadow = Shadow()
        self._synced = self._bridging = False
        self._last = 0  # recorded id of the book; what is served adds the pass's offset
        self._buffer: deque[tuple[DepthFrame, Levels, Levels]] = deque(maxlen=BUFFERED)
        self._opening: tuple[int, dict[int, int], dict[int, int]] | None = None
        self._lead_until = -1  # in later passes: book frames up to this recorded id are older than the opening book
        self._book_offset = self._trade_offset = self._agg_offset = 0
        self._sent_u = self._newest_u = 0  # ids as delivered: last depth, newest of depth and quotes
        self._trade_span: tuple[int, int] | None = None
        self._agg_span: tuple[int, int] | None = None
        self._own_trades = OWN_TRADES_FROM
        self._quote = (0, 0)
        self._mark: MarkState | None = None
        self._now_ms = 0

    # the market

    def attach(self, sinks: Sinks) -> None:
        self._sinks = sinks

    def subscribed(self, kinds: frozenset[str], now_ms: int) -> None:
        if not kinds:
            return
        wanted = kinds | {"trade"} if "aggTrade" in kinds else kinds | {"aggTrade"} if "trade" in kinds else kinds
        self.heard = self._kinds <= wanted
        self.player.wanted(now_ms)

    def advance(self, now_ms: int) -> None:
        self.player.advance(now_ms)

    @property
    def ended(self) -> bool:
        return self.player.ended

    def submit(self, order: MarketOrder, now_ms: int) -> list[Fill]:
        self.advance(now_ms)
        self._now_ms = max(self._now_ms, now_ms)
        own = self._shadow.place(order.order_id, order.side, order.quantity, order.limit, order.rests, now_ms)
        return [self._fill(fill) for fill in own]

    def cancel(self, order_id: int) -> int:
        return self._shadow.cancel(order_id)

    def fillable(self, side: Side, limit: int) -> int:
        return self._shadow.fillable(side, limit)

    def best(self) -> tuple[int, int, int, int] | None:
        bids, asks = self._shadow.bids, self._shadow.asks
        if not self._synced or not bids.best or not asks.best:
            return None
        return bids.best, bids.sizes[bids.best], asks.best, asks.sizes[asks.best]

    def depth(self, limit: int) -> Depth | None:
        if not self._synced:
            return None
        bids, asks = (list(islice(ladder.walk(), limit)) for ladder in (self._shadow.bids, self._shadow.asks))
        return Depth(self._last + self._book_offset, bids, asks, self._now_ms)

    def mark(self) -> MarkState | None:
        return self._mark

    def tape(self, limit: int, from_id: int | None) -> list[TapeRow]:
        return self._tape.newest(limit, from_id)

    def klines(self, minutes: int, limit: int, start_ms: int | None, end_ms: int | None) -> list[KlineRow]:
        return self._tape.bars(minutes, limit, start_ms, end_ms)

    # the recording

    def play(self, line: Line, due_ms: int, shift_ms: int) -> None:
        """One recorded line: `shift_ms` turns the venue's recorded clock into engine time, never past `due_ms`."""
        self._now_ms = due_ms
        frame = line.frame
        if frame is None:
            self._snapshot(line, due_ms)
            return
        frame.E = min(frame.E + shift_ms, due_ms)
        if isinstance(frame, QuoteFrame):
            self._quoted(frame, shift_ms, due_ms)
        elif isinstance(frame, DepthFrame):
            self._changed(frame, shift_ms, due_ms)
        elif isinstance(frame, TradeFrame):
            self._traded(frame, shift_ms, due_ms)
        elif isinstance(frame, AggFrame):
            self._aggregated(frame, shift_ms, due_ms)
        elif isinstance(frame, KlineFrame):
            self._bar(frame, shift_ms)
        else:
            self._marked(frame, shift_ms)

    def on_timer(self, now_ms: int) -> None:
        """What is derived because the recording lacks it: bars from trades, marks from the middle."""
        self.timer_ms = now_ms - now_ms % TIMER_MS + TIMER_MS
        if "kline_1m" not in self._kinds:
            for frame in self._tape.roll(now_ms, derived=True):
                self._send("kline_1m", frame)
            if self._tape.unpublished:
                self._send("kline_1m", self._tape.kline_frame(now_ms, False, derived=True))
        if "markPrice" not in self._kinds and now_ms % 1000 < TIMER_MS:
            self._derive_mark(now_ms)

    def seam(self, at_ms: int) -> None:
        """A new pass: one depth update turns the final book into the opening one, and every id goes on rising."""
        if self._trade_span:
            self._trade_offset += self._trade_span[1] - self._trade_span[0] + 1
        if self._agg_span:
            self._agg_offset += self._agg_span[1] - self._agg_span[0] + 1
        if self._opening is None:
            return
        opening_u, bids, asks = self._opening
        changes = [_difference(ladder.sizes, wanted) for ladder, wanted in ((self._shadow.bids, bids), (self._shadow.asks, asks))]
        self._book_offset = self._newest_u + 1 - opening_u
        last_id = opening_u + self._book_offset
        self._send("depth", self._tape.depth_frame(last_id, last_id, self._sent_u, changes[0], changes[1], at_ms))
        self._sent_u = self._newest_u = last_id
        self._synced, self._bridging, self._last, self._lead_until = True, False, opening_u, opening_u
        self._buffer.clear()
        self._apply(changes[0], changes[1], at_ms)

    # book

    def _changed(self, frame: DepthFrame, shift_ms: int, due_ms: int) -> None:
        if frame.u <= self._lead_until:
            return
        bids, asks = self._levels(frame.b), self._levels(frame.a)
        recorded = DepthFrame(frame.e, frame.E, frame.T, frame.s, frame.U, frame.u, frame.pu, frame.b, frame.a)
        offset = self._book_offset
        frame.T = min(frame.T + shift_ms, due_ms)
        frame.U, frame.u, frame.pu = frame.U + offset, frame.u + offset, frame.pu + offset
        self._sent_u = frame.u
        self._newest_u = max(self._newest_u, frame.u)
        if self._synced:
            self._follow(recorded, bids, asks, due_ms)
        if not self._synced:
            self._buffer.append((recorded, bids, asks))
        self._send("depth", _encode(frame))

    def _follow(self, frame: DepthFrame, bids: Levels, asks: Levels, at_ms: int) -> None:
        """Apply an event to a book that has its snapshot; a gap ends the book until the next snapshot."""
        if frame.u < self._last or (frame.u == self._last and not self._bridging):
            return
        fits = frame.pu <= self._last <= frame.u if self._bridging else frame.pu == self._last
        if not fits:
            self._synced = self._bridging = False
            self._buffer.clear()
            return
        self._bridging, self._last = False, frame.u
        self._apply(bids, asks, at_ms)
        if self._opening is None:
            self._opening = (frame.u, dict(self._shadow.bids.sizes), dict(self._shadow.asks.sizes))

    def _snapshot(self, line: Line, at_ms: int) -> None:
        """A recorded REST snapshot: the book starts there, and what came since by the stream is applied to it."""
        if self._synced:
            return
        last_id = line.envelope.lastUpdateId
        while self._buffer and self._buffer[0][0].u < last_id:
            self._buffer.popleft()
        if self._buffer and self._buffer[0][0].pu > last_id:
            return
        self._report(self._shadow.replace(dict(self._levels(line.envelope.bids)), dict(self._levels(line.envelope.asks)), at_ms))
        self._synced = self._bridging = True
        self._last = last_id
        waiting = list(self._buffer)
        self._buffer.clear()
        for frame, bids, asks in waiting:
            self._follow(frame, bids, asks, at_ms)

    def _levels(self, raw: msgspec.Raw) -> Levels:
        price, size = self._prices.count, self._sizes.count
        return [(price(ticks), size(steps)) for ticks, steps in decode_levels(raw)]

    def _apply(self, bids: Levels, asks: Levels, at_ms: int) -> None:
        set_level = self._shadow.set_level
        for price, size in bids:
            set_level(Side.BUY, price, size)
        for price, size in asks:
            set_level(Side.SELL, price, size)
        self._report(self._shadow.settle(at_ms))

    def _quoted(self, frame: QuoteFrame, shift_ms: int, due_ms: int) -> None:
        if frame.u < self._lead_until:
            return
        frame.T = min(frame.T + shift_ms, due_ms)
        frame.u += self._book_offset
        self._newest_u = max(self._newest_u, frame.u)
        self._quote = (self._prices.count(frame.b), self._prices.count(frame.a))
        self._send("bookTicker", _encode(frame))
        if self._shadow.resting:
            self._report(self._shadow.quoted(*self._quote, due_ms))

    # trades

    def _traded(self, frame: TradeFrame, shift_ms: int, due_ms: int) -> None:
        self._trade_span = _widen(self._trade_span, frame.t, frame.t) if self.player.passes == 1 else self._trade_span
        frame.T = min(frame.T + shift_ms, due_ms)
        frame.t += self._trade_offset
        self._send("trade", _encode(frame))
        # Insurance fund and auto-deleveraging rows are not trades of the book.
        if frame.X != "MARKET" or "aggTrade" in self._kinds:
            return
        price, quantity = self._prices.count(frame.p), self._sizes.count(frame.q)
        row = TapeRow(self._tape.next_id, price, quantity, frame.t, frame.t, frame.T, frame.m)
        self._print(row)
        self._send("aggTrade", self._tape.trade_frame(row, frame.E, derived=True))
        self._felt(row, due_ms)

    def _aggregated(self, frame: AggFrame, shift_ms: int, due_ms: int) -> None:
        if self.player.passes == 1:
            self._trade_span = _widen(self._trade_span, frame.f, frame.l)
            self._agg_span = _widen(self._agg_span, frame.a, frame.a)
        frame.T = min(frame.T + shift_ms, due_ms)
        frame.a += self._agg_offset
        frame.f += self._trade_offset
        frame.l += self._trade_offset
        row = TapeRow(frame.a, self._prices.count(frame.p), self._sizes.count(frame.q), frame.f, frame.l, frame.T, frame.m)
        self._print(row)
        self._send("aggTrade", _encode(frame))
        self._felt(row, due_ms)

    def _print(self, row: TapeRow) -> None:
        self._tape.add(row, bars="kline_1m" not in self._kinds)

    def _felt(self, row: TapeRow, at_ms: int) -> None:
        if self._shadow.resting:
            aggressor = Side.SELL if row.maker_is_buyer else Side.BUY
            self._report(self._shadow.traded(row.price, row.quantity, aggressor, at_ms))
        if self._sinks:
            self._sinks.trade(row.price, at_ms)

    def _bar(self, frame: KlineFrame, shift_ms: int) -> None:
        """Recorded bars keep the recording's phase: open and close move by the same shift as everything else."""
        bar, price, size = frame.k, self._prices.count, self._sizes.count
        bar.t, bar.T = bar.t + shift_ms, bar.T + shift_ms
        if bar.n:
            bar.f, bar.L = bar.f + self._trade_offset, bar.L + self._trade_offset
        self._tape.put_bar(KlineRow(bar.t, bar.T, price(bar.o), price(bar.h), price(bar.l), price(bar.c), size(bar.v),
                                    Decimal(bar.q), bar.n, size(bar.V)))  # fmt: skip
        self._send("kline_1m", _encode(frame))

    # mark

    def _marked(self, frame: MarkFrame, shift_ms: int) -> None:
        frame.T += shift_ms
        index = frame.i if isinstance(frame.i, str) else frame.p
        self._mark = MarkState(Decimal(frame.p), Decimal(index), Decimal(frame.r or "0"), frame.T)
        self._send("markPrice", _encode(frame))

    def _derive_mark(self, now_ms: int) -> None:
        best = self.best()
        bid, ask = self._quote if self._quote[0] else (best[0], best[2]) if best else (0, 0)
        if not bid or not ask:
            return
        middle = self._prices.amount(bid + ask) / 2
        self._mark = MarkState(middle, middle, FUNDING_RATE, next_funding(now_ms, self.listing.funding_minutes))
        self._send("markPrice", mark_frame(
            self.listing.symbol, middle, middle, FUNDING_RATE, self._mark.next_funding_ms, now_ms, derived=True))  # fmt: skip

    # out

    def _send(self, kind: str, frame: bytes) -> None:
        if self._sinks:
            self._sinks.frame(kind, frame)

    def _report(self, own: list[OwnFill]) -> None:
        for fill in own:
            if self._sinks:
                self._sinks.fill(self._fill(fill))

    def _fill(self, own: OwnFill) -> Fill:
        self._own_trades += 1
        return Fill(own.order_id, own.price, own.quantity, own.maker, self._own_trades, own.at_ms)


def _difference(have: dict[int, int], want: dict[int, int]) -> Levels:
    """The changes that turn one side into another."""
    gone = [(price, 0) for price in have if price not in want]
    return sorted(gone + [(price, size) for price, size in want.items() if have.get(price) != size])


def _widen(span: tuple[int, int] | None, first: int, last: int) -> tuple[int, int]:
    return (first, last) if span is None else (min(span[0], first), max(span[1], last))
