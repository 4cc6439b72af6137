"""Trades, history and the venue's clock come in; bars without holes, by the venue's trade time, go out.

Trades are told apart by their consecutive ids, so history and live trades may overlap without being counted twice. A bar
without trades is flat at the previous close with volume 0. Where trades are known to be missing no bar is invented: the
bars at both edges count as `partial` and the skipped ones as `holes`.
"""

from collections.abc import Iterable

import msgspec

from engine.events import Bar, Trade, unpack_levels

HISTORY = 500  # closed bars kept for views
BUFFER_LIMIT = 20_000  # live trades kept until history came; beyond, the oldest half goes
FILL_LIMIT = 10_000  # flat bars made at once (a machine that slept); beyond, a hole

TradeRow = tuple[int, int, int, int, int]


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
    history_late: int = 0  # closed bars that came after the trades had begun, of no use to the indicators


class Bars(msgspec.Struct):
    """Bars of one market and timeframe, prices in ticks and volumes in steps.

    Live trades wait until history came: call `seed_bars` and `seed` in this order, or `start` if none will come. After a
    lost connection call `pause`, and the same again. Every method returns the bars that it closed, oldest first, each once.
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
    paused_id: int = 0  # `last_id` when the feed was lost
    covered_ms: int = 0  # where the closed bars that came from the venue end
    sure: bool = False  # a trade was seen since the feed came (back): time without trades is flat, not unknown
    closed: list[Bar] = msgspec.field(default_factory=list)
    partial_ms: list[int] = msgspec.field(default_factory=list)  # openings of closed bars that miss trades
    buffer: list[Trade] = msgspec.field(default_factory=list)
    counters: BarCounters = msgspec.field(default_factory=BarCounters)

    @property
    def unfinished(self) -> Bar | None:
        """The bar that is being built, for views."""
        return self._bar() if self.open_ms >= 0 else None

    def closes(self, n: int) -> list[int]:
        """The last `n` closes in ticks, oldest first."""
        return [bar.close for bar in self.closed[-n:]]

    # --- events ------------------------------------------------------------------------------------------------------

    def trade(self, event: Trade) -> list[Bar]:
        """A live trade."""
        if not self.started:
            self.buffer.append(event)
            if len(self.buffer) > BUFFER_LIMIT:
                del self.buffer[: BUFFER_LIMIT // 2]
                self.counters.buffer_dropped += BUFFER_LIMIT // 2
            return []
        bars: list[Bar] = []
        self._add(event.id, event.price, event.size, event.venue_ms, True, bars)
        return bars

    def clock(self, venue_now_ms: int, grace_ms: int = 300) -> list[Bar]:
        """The venue's time: closes what ended `grace_ms` ago (trades arrive in batches, up to some 150 ms late)."""
        bars: list[Bar] = []
        if self.started and self.open_ms >= 0 and venue_now_ms >= self.open_ms + self.timeframe_ms + grace_ms:
            ended_ms = venue_now_ms - grace_ms
            self._advance(ended_ms - ended_ms % self.timeframe_ms, self.sure, bars)
        return bars

    def seed_bars(self, history: Iterable[Bar]) -> list[Bar]:
        """Closed bars from the venue, before `seed` or `start`; those newer than ours are taken and returned.

        They replace an unfinished bar of ours that they cover. The bar after the last of them becomes the unfinished one:
        trades complete it, and it counts as partial if the trades known do not reach back to its opening.
        """
        bars: list[Bar] = []
        if self.started:
            self.counters.history_late += 1
            return bars
        for bar in history:
            newest_ms = self.closed[-1].open_ms if self.closed else -1
            if bar.timeframe_ms != self.timeframe_ms or bar.open_ms <= newest_ms:
                continue
            if self.closed:
                self.counters.holes += (bar.open_ms - newest_ms) // self.timeframe_ms - 1
            self._keep(bar)
            self.covered_ms = bar.open_ms + self.timeframe_ms
            bars.append(bar)
        if bars and self.open_ms <= bars[-1].open_ms:
            self.close = bars[-1].close
            self._begin(self.covered_ms, False)
        return bars

    def seed(self, history: Iterable[TradeRow]) -> list[Bar]:
        """Trades (id, price, size, side, venue_ms) before the live ones, oldest first; live trades flow from now on."""
        bars: list[Bar] = []
        for id, price, size, _side, venue_ms in history:
            self._add(id, price, size, venue_ms, False, bars)
        return bars + self.start()

    def start(self) -> list[Bar]:
        """No (more) history comes: the trades that waited are counted, and live trades flow from now on."""
        bars: list[Bar] = []
        waiting, self.buffer, self.started = self.buffer, [], True
        for event in waiting:
            self._add(event.id, event.price, event.size, event.venue_ms, False, bars)
        if self.last_id == self.paused_id:
            self.whole = self.sure = False
        return bars

    def pause(self) -> None:
        """The feed was lost: no bars until `seed` or `start`; live trades wait again."""
        self.started, self.paused_id = False, self.last_id

    # --- bars --------------------------------------------------------------------------------------------------------

    def _add(self, id: int, price: int, size: int, venue_ms: int, connected: bool, bars: list[Bar]) -> None:
        if id <= self.last_id:
            self.counters.overlaps += 1
            return
        consecutive = id == self.last_id + 1
        if self.last_id and not consecutive:
            self.counters.id_gaps += 1
            self.counters.missing += id - self.last_id - 1
        self.last_id = id
        bucket_ms = venue_ms - venue_ms % self.timeframe_ms
        if self.open_ms < 0:
            self._begin(bucket_ms, False)
        elif bucket_ms < self.open_ms:
            if venue_ms < self.covered_ms:
                # Trades are known from before the venue's last closed bar ended: the one after it can be complete.
                self.counters.overlaps += 1
                self.whole = self.whole or (self.open_ms == self.covered_ms and not self.trades)
            else:
                self.counters.late += 1
            return
        else:
            # What is missing may belong to this bar as well as to the next one.
            self.whole = self.whole and consecutive
            if bucket_ms > self.open_ms:
                self._advance(bucket_ms, consecutive or (connected and self.sure), bars)
                self.whole = self.whole and consecutive
        self.sure = True
        if self.trades:
            self.high, self.low = max(self.high, price), min(self.low, price)
        else:
            self.open = self.high = self.low = price
        self.close = price
        self.volume += size
        self.trades += 1
        self.counters.trades += 1

    def _advance(self, bucket_ms: int, fill: bool, bars: list[Bar]) -> None:
        """Close the unfinished bar and begin the one at `bucket_ms`, with flat bars or a hole between."""
        steps = (bucket_ms - self.open_ms) // self.timeframe_ms
        bars.append(self._finish())
        if steps > 1 and (not fill or steps > FILL_LIMIT):
            self.counters.holes += steps - 1
            self._begin(bucket_ms, False)
            return
        for _ in range(steps - 1):
            self._begin(self.open_ms + self.timeframe_ms, True)
            bars.append(self._finish())
        self._begin(bucket_ms, True)

    def _begin(self, open_ms: int, whole: bool) -> None:
        self.open_ms, self.whole = open_ms, whole
        self.open = self.high = self.low = self.close
        self.volume = self.trades = 0

    def _bar(self) -> Bar:
        return Bar(
            self.market, self.timeframe_ms, self.open_ms, self.open, self.high, self.low, self.close, self.volume, self.trades
        )

    def _finish(self) -> Bar:
        bar = self._bar()
        if not bar.trades:
            self.counters.flat += 1
        if not self.whole:
            self.counters.partial += 1
            self.partial_ms.append(bar.open_ms)
        self._keep(bar)
        return bar

    def _keep(self, bar: Bar) -> None:
        self.closed.append(bar)
        if len(self.closed) > HISTORY:
            del self.closed[0]
        if len(self.partial_ms) > HISTORY:
            del self.partial_ms[0]
