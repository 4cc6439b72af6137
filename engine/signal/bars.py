"""Trades, history, the venue's own bars and its clock come in; bars in order go out, and `Missing` where there are none.

Trades are told apart by their consecutive ids, so history and live trades may overlap without being counted twice. A bar
without trades is flat at the previous close with volume 0. Where trades are known to be missing no bar is invented: the
bars at both edges count as `partial` and the skipped ones as `holes`. What goes out is each told once and never out of
order, so whoever reckons over it can trust that neighbours are neighbours.
"""

from bisect import bisect_left
from collections.abc import Iterable

import msgspec

from engine.events import Bar, Trade, unpack_levels

HISTORY = 500  # closed bars kept for views
BUFFER_LIMIT = 20_000  # live trades kept until history came; beyond, the oldest half goes
KLINE_LIMIT = 100  # closed bars of the venue's stream kept meanwhile; beyond, the oldest goes
FILL_LIMIT = 10_000  # flat bars made at once (a machine that slept); beyond, a hole

TradeRow = tuple[int, int, int, int, int]


class Missing(msgspec.Struct, frozen=True, gc=False):
    """No bars open in `[from_ms, to_ms)`: what was traded there is not known."""

    from_ms: int
    to_ms: int


Made = Bar | Missing


def unpack_trades(packed: bytes) -> list[TradeRow]:
    """The rows of a `TradeHistory`: (id, price, size, side, venue_ms)."""
    flat = iter(unpack_levels(packed))
    return list(zip(flat, flat, flat, flat, flat, strict=True))


class BarCounters(msgspec.Struct):
    """What happened to the trades and bars of one timeframe since the session began."""

    trades: int = 0  # counted in a bar
    overlaps: int = 0  # known already: by id, or inside a bar that came closed from the venue
    late: int = 0  # older than the open bar: left out of every bar
    id_gaps: int = 0
    missing: int = 0  # trades inside the gaps
    flat: int = 0
    partial: int = 0
    holes: int = 0  # bars that do not exist, because trades are missing or the clock jumped
    buffer_dropped: int = 0
    history_late: int = 0  # closed bars of the venue that came when what follows them was out, of no use
    differ: int = 0  # our bar had every trade that we know of, was out, and the venue's is another one
    mended: int = 0  # partial bars that the venue's bar replaced after they were out


class Bars(msgspec.Struct):
    """Bars of one market and timeframe, prices in ticks and volumes in steps.

    Live trades wait until history came: call `seed_bars` and `seed` in this order, or `start` if none will come. After a
    lost connection call `pause`, and the same again. Every method returns what it closed and what is missing before it.
    """

    market: str
    timeframe_ms: int
    started: bool = False
    open_ms: int = -1  # of the unfinished bar, -1 before the first
    open: int = 0
    high: int = 0
    low: int = 0
    close: int = 0
    volume: int = 0
    trades: int = 0  # in the unfinished bar; 0: its prices are the previous close
    whole: bool = False  # every trade of the unfinished bar is known
    last_id: int = 0
    last_ms: int = 0  # the venue's time of that trade
    paused_id: int = 0  # `last_id` when the feed was lost
    covered_from_ms: int = 0  # where the newest closed bars that came from the venue begin
    covered_ms: int = 0  # and end
    sure: bool = False  # a trade was seen since the feed came (back): time without trades is flat, not unknown
    told_ms: int = -1  # where the newest bar or hole that is out ends, -1 before the first
    run_ms: int = 0  # opening of the first bar since the newest hole
    closed: list[Bar] = msgspec.field(default_factory=list)
    partial_ms: list[int] = msgspec.field(default_factory=list)  # openings of closed bars that miss trades
    buffer: list[Trade] = msgspec.field(default_factory=list)
    klines: list[Bar] = msgspec.field(default_factory=list)  # that came while the trades waited
    counters: BarCounters = msgspec.field(default_factory=BarCounters)

    @property
    def unfinished(self) -> Bar | None:
        """The bar that is being built, for views."""
        return self._bar() if self.open_ms >= 0 else None

    def closes(self, n: int) -> list[int]:
        """The last `n` closes in ticks, oldest first."""
        return [bar.close for bar in self.closed[-n:]]

    def run(self, most: int = HISTORY) -> list[Bar]:
        """The newest `most` closed bars since the newest hole, oldest first: neighbours without exception."""
        if not self.closed:
            return []
        length = min((self.closed[-1].open_ms - self.run_ms) // self.timeframe_ms + 1, most)
        return self.closed[-length:] if length > 0 else []

    def breaks(self, event: Trade) -> bool:
        """Whether trades are missing between those known and this live one."""
        return self.started and 0 < self.last_id < (event.first_id or event.id) - 1

    def misses(self, bar: Bar) -> bool:
        """Whether the venue's closed bar tells of trades while none came since before it opened."""
        return self.started and bar.volume > 0 and 0 < self.last_ms < bar.open_ms

    # --- events ------------------------------------------------------------------------------------------------------

    def trade(self, event: Trade) -> list[Made]:
        """A live trade."""
        if not self.started:
            self.buffer.append(event)
            if len(self.buffer) > BUFFER_LIMIT:
                del self.buffer[: BUFFER_LIMIT // 2]
                self.counters.buffer_dropped += BUFFER_LIMIT // 2
            return []
        out: list[Made] = []
        self._add(event.first_id or event.id, event.id, event.price, event.size, event.venue_ms, True, out)
        return out

    def clock(self, venue_now_ms: int, grace_ms: int = 300) -> list[Made]:
        """The venue's time: closes what ended `grace_ms` ago (trades arrive in batches, up to some 150 ms late)."""
        out: list[Made] = []
        if self.started and self.open_ms >= 0 and venue_now_ms >= self.open_ms + self.timeframe_ms + grace_ms:
            ended_ms = venue_now_ms - grace_ms
            self._advance(ended_ms - ended_ms % self.timeframe_ms, self.sure, out)
        return out

    def kline(self, bar: Bar) -> list[Made]:
        """A closed bar of the venue's own stream: the truth about its time.

        It takes the place of our unfinished bar. If ours is out already it stays, since something may have been decided on
        it, and the difference is counted; but one that is known to miss trades is mended (`counters.mended` tells).
        """
        out: list[Made] = []
        if self.started:
            self._take(bar, out)
        else:
            self.klines.append(bar)
            del self.klines[:-KLINE_LIMIT]
        return out

    def seed_bars(self, history: Iterable[Bar]) -> list[Made]:
        """Closed bars from the venue, before `seed` or `start`; those newer than ours are taken and returned.

        They replace an unfinished bar of ours that they cover, and mend partial ones. The bar after the last of them becomes
        the unfinished one: trades complete it, and it counts as partial if the trades known do not reach back to its opening.
        """
        out: list[Made] = []
        if self.started:
            self.counters.history_late += 1
            return out
        for bar in history:
            if bar.timeframe_ms != self.timeframe_ms:
                continue
            if bar.open_ms >= self.told_ms:
                self._cover(bar, out)
            elif self.closed and bar.open_ms >= self.closed[0].open_ms:
                self._compare(bar)
        if out and self.open_ms < self.told_ms:
            self.close = self.closed[-1].close
            self._begin(self.told_ms, False)
        return out

    def seed(self, history: Iterable[TradeRow]) -> list[Made]:
        """Trades (id, price, size, side, venue_ms) before the live ones, oldest first; live trades flow from now on."""
        out: list[Made] = []
        for id, price, size, _side, venue_ms in history:
            self._add(id, id, price, size, venue_ms, False, out)
        return out + self.start()

    def start(self) -> list[Made]:
        """No (more) history comes: the trades that waited are counted, and live trades flow from now on."""
        out: list[Made] = []
        waiting, self.buffer, self.started = self.buffer, [], True
        for event in waiting:
            self._add(event.first_id or event.id, event.id, event.price, event.size, event.venue_ms, False, out)
        if self.last_id == self.paused_id:
            self.whole = self.sure = False
        klines, self.klines = self.klines, []
        for bar in klines:
            self._take(bar, out)
        return out

    def pause(self) -> None:
        """The feed was lost: no bars until `seed` or `start`; live trades wait again."""
        if self.started:
            self.started, self.paused_id = False, self.last_id

    # --- bars --------------------------------------------------------------------------------------------------------

    def _add(self, first_id: int, id: int, price: int, size: int, venue_ms: int, connected: bool, out: list[Made]) -> None:
        if id <= self.last_id:
            self.counters.overlaps += 1
            return
        consecutive = first_id <= self.last_id + 1
        if self.last_id and not consecutive:
            self.counters.id_gaps += 1
            self.counters.missing += first_id - self.last_id - 1
            self._doubt(self.last_ms - self.last_ms % self.timeframe_ms, False)
        self.last_id, self.last_ms = id, venue_ms
        bucket_ms = venue_ms - venue_ms % self.timeframe_ms
        if self.open_ms < 0:
            self._begin(bucket_ms, False)
        elif bucket_ms < self.open_ms:
            if self.covered_from_ms <= venue_ms < self.covered_ms:
                # Trades are known from before the venue's last closed bar ended: the one after it can be complete.
                self.counters.overlaps += 1
                self.whole = self.whole or (self.open_ms == self.covered_ms and not self.trades)
            else:
                self.counters.late += 1
                self._doubt(bucket_ms, True)
            return
        else:
            # What is missing may belong to this bar as well as to the next one.
            self.whole = self.whole and consecutive
            if bucket_ms > self.open_ms:
                self._advance(bucket_ms, consecutive or (connected and self.sure), out, consecutive)
        self.sure = True
        if self.trades:
            self.high, self.low = max(self.high, price), min(self.low, price)
        else:
            self.open = self.high = self.low = price
        self.close = price
        self.volume += size
        self.trades += 1
        self.counters.trades += 1

    def _advance(self, bucket_ms: int, fill: bool, out: list[Made], whole: bool = True) -> None:
        """Close the unfinished bar and begin the one at `bucket_ms`, with flat bars (`fill`) or a hole between."""
        steps = (bucket_ms - self.open_ms) // self.timeframe_ms
        self._finish(out)
        if steps > 1 and (not fill or steps > FILL_LIMIT):
            self._reach(bucket_ms, out)
            self._begin(bucket_ms, False)
            return
        for _ in range(steps - 1):
            self._begin(self.open_ms + self.timeframe_ms, whole)
            self._finish(out)
        self._begin(bucket_ms, whole)

    def _doubt(self, from_ms: int, flat: bool) -> None:
        """Trades of the bars that are out from `from_ms` on were not counted: those are partial after all. With `flat` this
        ends at a later bar with trades of its own.
        """
        known = set(self.partial_ms)
        for bar in self.closed[bisect_left(self.closed, from_ms, key=_opening) :]:
            if flat and bar.trades and bar.open_ms > from_ms:
                return
            if not self.covered_from_ms <= bar.open_ms < self.covered_ms and bar.open_ms not in known:
                self._partial(bar.open_ms)
        self.whole = self.whole and self.trades > 0

    def _partial(self, open_ms: int) -> None:
        self.counters.partial += 1
        self.partial_ms.append(open_ms)
        del self.partial_ms[:-HISTORY]

    def _begin(self, open_ms: int, whole: bool) -> None:
        self.open_ms, self.whole = open_ms, whole
        self.open = self.high = self.low = self.close
        self.volume = self.trades = 0

    def _bar(self) -> Bar:
        return Bar(
            self.market, self.timeframe_ms, self.open_ms, self.open, self.high, self.low, self.close, self.volume, self.trades
        )

    def _finish(self, out: list[Made]) -> None:
        bar = self._bar()
        if not bar.trades:
            self.counters.flat += 1
        if not self.whole:
            self._partial(bar.open_ms)
        self._keep(bar, out)

    def _keep(self, bar: Bar, out: list[Made]) -> None:
        self._reach(bar.open_ms, out)
        self.told_ms = bar.open_ms + self.timeframe_ms
        self.closed.append(bar)
        if len(self.closed) > HISTORY:
            del self.closed[0]
        out.append(bar)

    def _reach(self, open_ms: int, out: list[Made]) -> None:
        """Whatever goes out next opens at `open_ms`: say what is missing before it."""
        if 0 <= self.told_ms < open_ms:
            self.counters.holes += (open_ms - self.told_ms) // self.timeframe_ms
            out.append(Missing(self.told_ms, open_ms))
            self.told_ms = self.run_ms = open_ms
        elif self.told_ms < 0:
            self.run_ms = open_ms

    # --- the venue's bars ----------------------------------------------------------------------------------------------

    def _take(self, bar: Bar, out: list[Made]) -> None:
        """A closed bar of the venue while trades flow."""
        if bar.open_ms < max(self.told_ms, self.open_ms):
            self._compare(bar)
            return
        if 0 <= self.open_ms < bar.open_ms:
            self._advance(bar.open_ms, self.sure, out)
        self._cover(bar if bar.trades else msgspec.structs.replace(bar, trades=self.trades), out)
        self.close = bar.close
        self._begin(self.told_ms, self.sure)

    def _cover(self, bar: Bar, out: list[Made]) -> None:
        if bar.open_ms != self.covered_ms:
            self.covered_from_ms = bar.open_ms
        self._keep(bar, out)
        self.covered_ms = self.told_ms

    def _compare(self, bar: Bar) -> None:
        """The venue's bar beside ours, which is out."""
        index = bisect_left(self.closed, bar.open_ms, key=_opening)
        if index == len(self.closed) or (ours := self.closed[index]).open_ms != bar.open_ms:
            self.counters.history_late += 1
            return
        partial = bar.open_ms in self.partial_ms
        if partial:
            self.partial_ms.remove(bar.open_ms)
        if _figures(ours) == _figures(bar):
            return
        if not partial:
            self.counters.differ += 1
            return
        self.counters.mended += 1
        self.closed[index] = bar if bar.trades else msgspec.structs.replace(bar, trades=ours.trades)
        if self.open_ms == bar.open_ms + self.timeframe_ms and not self.trades:
            self.open = self.high = self.low = self.close = bar.close


def _opening(bar: Bar) -> int:
    return bar.open_ms


def _figures(bar: Bar) -> tuple[int, int, int, int, int]:
    """What two bars of the same time must agree in: venues count trades in other ways than ours, or not at all."""
    return bar.open, bar.high, bar.low, bar.close, bar.volume
