"""Desks with fixed, realistic pictures of ASTER/USDT:USDT for tests and README pictures; random frames for properties."""

import math
import random
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import msgspec

from console.desk import Desk
from engine.events import Alert, Bar, Bias, Features, Filled, Level, Mode, ModelState, Side, Stance, Trading, Trust
from engine.views import (
    AccountView,
    AnyNews,
    AnyPicture,
    ChartLiveView,
    ChartView,
    Frame,
    IndicatorsView,
    JudgmentView,
    LadderView,
    LatencyView,
    MarketRow,
    MarketsView,
    ModelView,
    OrderRow,
    OrdersView,
    PositionRow,
    PositionsView,
    ProfitPoint,
    ProfitView,
    StageRow,
    StatusView,
    TapeView,
    TrackView,
)

MARKET = "binance:ASTER/USDT:USDT"
TICK, STEP = Decimal("0.0001"), Decimal(1)
TIMEFRAME_MS = 60_000
NOW_MS = 1_790_000_040_000  # 2026-09-21 14:14:00 UTC
NOW = NOW_MS * 1_000_000
SECOND = 1_000_000_000
MINUTE = 60 * SECOND
BARS = 240
ENTRY_BAR = -22  # where the position was opened


def bars(count: int = BARS, seed: int = 17, timeframe_ms: int = TIMEFRAME_MS, start: int = 12_240) -> tuple[Bar, ...]:
    """A wandering market of closed bars that ends at `NOW_MS`."""
    dice = random.Random(seed)
    price, found, pull = start, [], 0.0
    first = NOW_MS - NOW_MS % timeframe_ms - count * timeframe_ms
    for n in range(count):
        pull = 0.9 * pull + dice.gauss(0, 1.5)
        opened, path = price, [price]
        for _ in range(12):
            path.append(max(1, path[-1] + round(dice.gauss(pull / 5, 4.5))))
        price = path[-1]
        volume = int(abs(price - opened) * 900 + dice.expovariate(1 / 9_000)) + 400
        found.append(
            Bar(MARKET, timeframe_ms, first + n * timeframe_ms, opened, max(path), min(path), price, volume, volume // 60)
        )
    return tuple(found)


def overlays(closed: tuple[Bar, ...]) -> dict[str, tuple[float, ...]]:
    closes = [bar.close * float(TICK) for bar in closed]

    def mean(n: int) -> list[float]:
        return [math.nan if i + 1 < n else sum(closes[i + 1 - n : i + 1]) / n for i in range(len(closes))]

    middle = mean(20)
    spread = [
        math.nan if m != m else math.sqrt(sum((c - m) ** 2 for c in closes[i - 19 : i + 1]) / 20) for i, m in enumerate(middle)
    ]
    return {
        "sma_20": tuple(middle),
        "sma_50": tuple(mean(50)),
        "bollinger_upper": tuple(m + 2 * s for m, s in zip(middle, spread, strict=True)),
        "bollinger_lower": tuple(m - 2 * s for m, s in zip(middle, spread, strict=True)),
    }


def levels(closed: tuple[Bar, ...]) -> tuple[int, int, int]:
    """Entry, stop and target of the busy desk's long position, ticks."""
    entry = closed[ENTRY_BAR].close
    return entry, entry - 75, entry + 110


def forming(closed: tuple[Bar, ...]) -> Bar:
    last = closed[-1]
    opened = last.close
    return Bar(MARKET, last.timeframe_ms, last.open_ms + last.timeframe_ms, opened, opened + 9, opened - 4, opened + 6, 5_200, 88)


def ladder(
    mid: int,
    seed: int = 3,
    trust: Trust = Trust.TRUSTED,
    reason: str = "",
    own: tuple[tuple[int, int, Side, str], ...] | None = None,
) -> LadderView:
    """Best bid at `mid`, best ask a tick above, thicker away from the market; our entry, stop and target nearby."""
    dice = random.Random(seed)

    def side(first: int, step: int) -> tuple[tuple[int, int], ...]:
        found, price = [], first
        for depth in range(40):
            found.append((price, int(600 + dice.expovariate(1 / (900 + 220 * depth)))))
            price += step * (1 if dice.random() < 0.9 else 2)
        return tuple(found)

    if own is None:
        own = (
            (mid - 3, 4_100, Side.BUY, "entry"),
            (mid + 6, 8_200, Side.SELL, "target"),
            (mid - 9, 8_200, Side.SELL, "stop"),
            (mid + 4, 1_000, Side.SELL, "exit"),
        )
    return LadderView(
        MARKET,
        TICK,
        STEP,
        "ASTER",
        trust,
        reason,
        side(mid, -1),
        side(mid + 1, 1),
        mid + 1,
        1,
        f"{(mid + 0.4) * float(TICK):.6f}",
        10_000 / (mid + 0.5),
        0.23,
        "0.0001",
        NOW_MS + 3 * 3_600_000 + 12 * 60_000,
        own,
    )


def working(closed: tuple[Bar, ...]) -> tuple[tuple[int, int, Side, str], ...]:
    """The busy desk's orders as the ladder shows them."""
    _, stop, target = levels(closed)
    mid = forming(closed).close
    return (
        (stop, 8_200, Side.SELL, "stop"),
        (target, 8_200, Side.SELL, "target"),
        (mid - 3, 4_100, Side.BUY, "entry"),
    )


def chart(closed: tuple[Bar, ...]) -> ChartView:
    said = (Bias.SHORT, Bias.SHORT, Bias.HOLD, Bias.LONG, Bias.LONG, Bias.HOLD, Bias.LONG)
    marks = tuple((closed[-15 * (len(said) - n)].open_ms + 800, bias) for n, bias in enumerate(said))
    return ChartView(MARKET, TIMEFRAME_MS, TICK, closed, overlays(closed), judgments=marks)


def chart_live(closed: tuple[Bar, ...]) -> ChartLiveView:
    entry, price = closed[ENTRY_BAR], float(TICK)
    old, out = closed[-88], closed[-61]
    lines = tuple(zip(("entry", "stop", "target"), (level * price for level in levels(closed)), strict=True))
    marks = (
        (old.open_ms + 20_000, old.close, Side.SELL, "entry"),
        (out.open_ms + 9_000, out.close, Side.BUY, "target"),
        (entry.open_ms + 41_000, entry.close, Side.BUY, "entry"),
    )
    return ChartLiveView(MARKET, TIMEFRAME_MS, forming(closed), marks, lines)


def tape(last: int, count: int = 120, seed: int = 5) -> TapeView:
    """Trades around `last` up to `NOW_MS`, some of them large."""
    dice = random.Random(seed)
    ages = sorted((int(dice.expovariate(1 / 9_000)) for _ in range(count)), reverse=True)
    prints = tuple(
        (
            NOW_MS - age,
            last + dice.choice((-1, 0, 0, 1)),
            int(dice.expovariate(1 / 700)) + dice.choice((1, 40)),
            dice.choice((1, -1)),
        )
        for age in ages
    )
    return TapeView(MARKET, TICK, STEP, NOW - 40 * MINUTE, 18_230, prints)


def markets(closed: tuple[Bar, ...]) -> MarketsView:
    """ASTER on two venues and two others; BTC's book at the second venue is stale."""
    last, due = forming(closed).close, NOW_MS + 3 * 3_600_000 + 12 * 60_000
    (held,) = positions(closed).rows
    hour = tuple(bar.close for bar in closed[-60::2])
    slow = tuple(bar.close for bar in bars(60, seed=5, start=671_234))[::2]
    good, money = Trust.TRUSTED, (held.quantity, held.unrealised)
    okx, btc, sol = "okx:ASTER/USDT:USDT", "BTC/USDT:USDT", "binance:SOL/USDT:USDT"
    return MarketsView(
        "",
        (
            MarketRow(MARKET, TICK, good, last, 1, 1.64, "0.0001", due, *money, last / hour[0] - 1, 3_600_000, hour),
            MarketRow(okx, TICK, good, last - 2, -1, -1.64, "-0.000213", due, "0", "0", -0.0004, 480_000, hour[-8:]),
            MarketRow(
                f"binance:{btc}", Decimal("0.1"), good, 671_240, 1, math.nan, "0.00005", due, "0", "0", 0.0071, 3_600_000, slow
            ),
            MarketRow(f"okx:{btc}", Decimal("0.1"), Trust.STALE, 671_190, -1, math.nan, "", 0, "0", "0", 0.007, 3_600_000, slow),
            MarketRow(sol, Decimal("0.01"), Trust.SYNCING, 0, 0, math.nan, "", 0, "0", "0", math.nan, 0, ()),
        ),
    )


def features(closed: tuple[Bar, ...]) -> Features:
    lines = overlays(closed)
    close = closed[-1].close * float(TICK)
    return Features(
        close,
        lines["sma_20"][-1],
        lines["sma_50"][-1],
        close + 0.0004,
        close - 0.0003,
        63.4,
        0.00072,
        0.00055,
        0.00017,
        lines["sma_20"][-1],
        lines["bollinger_upper"][-1],
        lines["bollinger_lower"][-1],
        0.00186,
        0.81,
        0.23,
        close + 0.00004,
        14.6,
        7.2,
        18.4,
    )


def stance(bias: Bias = Bias.LONG) -> Stance:
    return Stance(
        MARKET,
        NOW - 12 * SECOND,
        NOW + 48 * SECOND,
        bias,
        0.72,
        0.31,
        "Price holds above SMA20 and SMA50 with a rising MACD histogram; bids outweigh asks and the spread is one tick. "
        "RSI at 63 leaves room before it is overbought. Volatility is ordinary, so a stop of two ATR is far enough.",
        "mistral",
        1.2358,
    )


def status(trading: Trading = Trading.ARMED, reason: str = "", at: int = NOW, data_age_ms: int = 40) -> StatusView:
    return StatusView(
        "",
        at,
        Mode.DEMO,
        "20260921-demo",
        1.0,
        trading,
        reason,
        False,
        (),
        "",
        (("public", True), ("market", True), ("private", True)),
        data_age_ms,
        1_840.0,
        312.0,
        640.0,
        482_113,
        0,
        1,
    )


def latency() -> LatencyView:
    """An hour of trading; no order was sent in the last minute."""
    return LatencyView(
        "",
        (
            StageRow("feed", 3_510, 4_100.0, 11_800.0, 210_004, 4_200.0, 18_300.0),
            StageRow("book", 3_510, 17.5, 61.0, 210_004, 17.0, 74.0),
            StageRow("features", 132, 92.0, 240.0, 7_920, 90.0, 310.0),
            StageRow("decision", 60, 61.0, 190.0, 3_600, 60.0, 220.0),
            StageRow("risk", 2, 5.2, 5.6, 41, 5.0, 12.4),
            StageRow("send", 0, 0.0, 0.0, 9, 310.0, 640.0),
            StageRow("ack", 0, 0.0, 0.0, 9, 1_530.0, 2_110.0),
        ),
    )


def account(closed: tuple[Bar, ...]) -> AccountView:
    """From 10,000.00: PnL = realised + unrealised - fees + funding, wallet = start + PnL - unrealised."""
    (row,) = positions(closed).rows
    realised, fees, funding, wallet = Decimal("58.11"), Decimal("15.93"), Decimal("-0.42"), Decimal("10041.76")
    equity = wallet + Decimal(row.unrealised)
    return AccountView("", str(wallet), str(equity), str(realised), row.unrealised, str(fees), str(funding), "10006.40", 0.03)


def profit(closed: tuple[Bar, ...]) -> ProfitView:
    """Four hours to the account of `account`: its fees with three trades, its funding at two settlements, one deep fall."""
    dice, now = random.Random(23), account(closed)
    end = float(Decimal(now.realised) + Decimal(now.unrealised) - Decimal(now.fees) + Decimal(now.funding))
    lowest = end - float(now.equity) + float(now.day_equity) * (1 - now.max_daily_loss)
    found, made, height, n = [], 0.0, 0.0, 240
    for k in range(n):
        made += dice.gauss(0.1, 1.6) - 4.2 * (70 <= k < 90) + 3.4 * (120 <= k < 150)
        bridged = made + (end - made) * max(0, k - n + 40) / 40
        height = max(height, bridged)
        fees, funding = (0.0, 4.9, 10.91, 15.93)[(k > 30) + (k > 95) + (k > 215)], (0.0, 0.3, -0.42)[(k > 60) + (k > 180)]
        found.append(ProfitPoint(NOW - (n - k) * MINUTE, round(bridged, 2), fees, funding, lowest, round(height - bridged, 2)))
    return ProfitView("", tuple(found))


def text(ticks: int) -> str:
    return f"{ticks * TICK:.4f}"


def positions(closed: tuple[Bar, ...]) -> PositionsView:
    entry, stop, target = levels(closed)
    mark = forming(closed).close
    gain, cost = 8_200 * (mark - entry) * TICK, 8_200 * entry * TICK
    row = PositionRow(
        MARKET,
        "8200",
        text(entry),
        text(mark),
        f"{gain:.2f}",
        float(gain / cost * 100),
        f"{8_200 * mark * TICK:.2f}",
        5,
        text(stop),
        text(target),
        "0.00",
        "5.02",
        "0.00",
        NOW - 22 * MINUTE,
    )
    return PositionsView("", (row,))


def orders(closed: tuple[Bar, ...]) -> OrdersView:
    entry, stop, target = levels(closed)
    refused = "the venue refused it: price outside its limits (-4016)"
    more = text(forming(closed).close - 3)
    return OrdersView(
        "",
        (
            OrderRow("b-3-s", MARKET, "stop", "stop", Side.SELL, "8200", "0", text(stop), "working", NOW - 21 * MINUTE, ""),
            OrderRow("b-3-t", MARKET, "target", "target", Side.SELL, "8200", "0", text(target), "working", NOW - 21 * MINUTE, ""),
            OrderRow("b-4", MARKET, "entry", "limit", Side.BUY, "4100", "0", more, "working", NOW - 40 * SECOND, ""),
        ),
        (
            OrderRow("b-3", MARKET, "entry", "market", Side.BUY, "8200", "8200", "", "filled", NOW - 22 * MINUTE, ""),
            OrderRow(
                "b-2", MARKET, "entry", "limit", Side.BUY, "4100", "0", text(entry - 900), "rejected", NOW - 50 * MINUTE, refused
            ),
        ),
    )


def news(closed: tuple[Bar, ...]) -> tuple[AnyNews, ...]:
    return (
        Alert(NOW - 40 * MINUTE, Level.INFO, "binance: book synchronised"),
        Filled(
            NOW - 22 * MINUTE,
            MARKET,
            "b-3",
            81_203,
            Side.BUY,
            8_200,
            closed[ENTRY_BAR].close,
            Decimal("5.02"),
            False,
            Decimal(0),
            8_200,
            Decimal("10042.18"),
        ),
        Alert(NOW - 2 * MINUTE, Level.WARNING, "tick to wire p99 rose to 0.31 ms"),
    )


def desk_of(*pictures: AnyPicture, said: tuple[AnyNews, ...] = (), connected: bool = True) -> Desk:
    """A desk that watches ASTER on one-minute bars and has these pictures."""
    desk = Desk()
    desk.market, desk.timeframe_ms, desk.markets, desk.connected = MARKET, TIMEFRAME_MS, (MARKET,), connected
    desk.apply(Frame(0, pictures, said))
    return desk


def busy() -> Desk:
    """A long position with its stop and target, an armed engine, a full book."""
    closed = bars()
    return desk_of(
        status(),
        latency(),
        account(closed),
        profit(closed),
        ladder(forming(closed).close, own=working(closed)),
        chart(closed),
        chart_live(closed),
        IndicatorsView(MARKET, TIMEFRAME_MS, closed[-1].open_ms, features(closed)),
        JudgmentView(MARKET, stance(), False, f"entered: 8,200 ASTER long at {text(closed[ENTRY_BAR].close)}"),
        positions(closed),
        orders(closed),
        tape(forming(closed).close),
        markets(closed),
        said=news(closed),
    )


def model(state: ModelState = ModelState.THINKING, **changes: Any) -> ModelView:
    """A model on probation that has judged for an hour."""
    view = ModelView(
        MARKET,
        state,
        "ministral-3:3b",
        "d" * 64,
        "",
        "probation",
        0.1,
        (),
        41,
        38,
        (("late", 1), ("stale", 2)),
        "the price moved 12 bps since the question",
        0,
        6_200,
        TrackView(31, 9, 18, 30, 0.42, 0.75, 0.238, 0.048, -0.02, 0.11, 0.244, 1.4, 0.6, 0.62, ((0, 0, 0.0),) * 10),
        "Short and long rows agree and trades lean to buyers, but the book",
        3.4,
    )
    return msgspec.structs.replace(view, **changes)


def asking() -> Desk:
    """The busy desk with a model that writes."""
    desk = busy()
    judged = msgspec.structs.replace(
        stance(),
        source="ministral-3:3b",
        rationale="Short and long rows agree; the hour is against them.",
        question="q41",
        size_cap=0.1,
    )
    pictures = (model(), JudgmentView(MARKET, judged, False, "entry sent: the stance is long and the bar agrees"))
    desk.apply(Frame(desk.next_news, pictures, ()))
    return desk


def _random_model(dice: random.Random) -> ModelView:
    return model(
        dice.choice(tuple(ModelState)),
        name=dice.choice(("", "m", "a-very-long-name-of-a-model:latest" * 3)),
        reason=dice.choice(("", "it failed 3 times in succession, the last time because " + "x" * 300)),
        verdict=dice.choice(((), ("its chances do not follow the market",))),
        size_cap=dice.choice((0.0, 0.1, 1.0)),
        track=dice.choice((None, TrackView(0, 0, 0, 0, 0.0, 1.0, 0.0, 1.0, -math.inf, math.inf, 0.0, 0.0, 0.0, 0.0, ()))),
        writing=dice.choice(("", "word " * 80)),
        rests_until=NOW + dice.randrange(-100, 700) * SECOND,
    )


def empty() -> Desk:
    """An engine that has just started: it waits, and has no prices yet."""
    waits = ("the book of ASTER/USDT:USDT is synchronising", "the account has not been read")
    now = status(Trading.OFF, data_age_ms=-1)
    return desk_of(
        StatusView(
            "",
            now.at,
            now.mode,
            now.session,
            now.speed,
            now.trading,
            "",
            False,
            waits,
            "",
            (("public", False),),
            -1,
            0.0,
            0.0,
            0.0,
            0,
            0,
            0,
        ),
        LadderView(
            MARKET,
            TICK,
            STEP,
            "ASTER",
            Trust.SYNCING,
            "waiting for the first snapshot",
            (),
            (),
            0,
            0,
            "",
            math.nan,
            math.nan,
            "",
            0,
            (),
        ),
        ChartView(MARKET, TIMEFRAME_MS, TICK, (), {}),
        ChartLiveView(MARKET, TIMEFRAME_MS, None, (), ()),
        IndicatorsView(MARKET, TIMEFRAME_MS, 0, None),
        JudgmentView(MARKET, None, False, ""),
        PositionsView("", ()),
        OrdersView("", (), ()),
    )


def stale() -> Desk:
    """The busy desk, with a book that has had no update for a while."""
    desk = busy()
    closed = bars()
    reason = "no update of the book for 3.4 s; orders are refused until it moves again"
    book = ladder(forming(closed).close, trust=Trust.STALE, reason=reason, own=working(closed))
    refusal = status(Trading.ARMED, data_age_ms=3_400)
    desk.apply(Frame(desk.next_news, (book, refusal), ()))
    return desk


def halted() -> Desk:
    """The busy desk after the kill switch."""
    desk = busy()
    desk.apply(Frame(desk.next_news, (status(Trading.HALTED, "halted by the operator (F12)"),), ()))
    return desk


def disconnected() -> Desk:
    """The busy desk after its engine died."""
    desk = busy()
    desk.connected, desk.lost_reason, desk.lost_at = False, "The engine ended 2 s ago; what is shown here is old.", 100.0
    return desk


# --- random ----------------------------------------------------------------------------------------------------------------


def random_desk(seed: int) -> Desk:
    """Any desk that the contract allows, odd ones more often than in life."""
    dice = random.Random(seed)
    desk = desk_of(*random_pictures(dice), connected=dice.random() < 0.8)
    desk.lost_reason = dice.choice(("", "the engine went away", "x" * 300))
    return desk


def random_frames(seed: int, count: int) -> Iterator[Frame]:
    """Frames that follow each other, without news."""
    dice = random.Random(seed)
    for _ in range(count):
        yield Frame(0, random_pictures(dice), ())


def random_pictures(dice: random.Random) -> tuple[AnyPicture, ...]:
    made = (_random_ladder(dice), *_random_chart(dice), _random_indicators(dice), _random_judgment(dice), _random_status(dice))
    made = (*made, _random_model(dice), _random_tape(dice), _random_markets(dice), _random_latency(dice))
    made = (*made, *_random_account(dice))
    return tuple(picture for picture in made if dice.random() < 0.9)


def _random_ladder(dice: random.Random) -> LadderView:
    mid = dice.choice((1, 7, 12_246, 671_234, 10**9))
    gap = dice.choice((1, 1, 2, 9, 400))
    most = dice.choice((0, 1, 30, 300))

    def side(first: int, step: int) -> tuple[tuple[int, int], ...]:
        prices = sorted({first + step * dice.randrange(dice.choice((1, 50, 5_000))) for _ in range(most)}, reverse=step < 0)
        return tuple((price, dice.choice((1, 37, 12_000, 10**11))) for price in prices if price > 0)

    bids, asks = side(mid, -1), side(mid + gap, 1)
    own = tuple(
        (
            max(1, mid + dice.randrange(-30, 30)),
            dice.choice((1, 8_200, 10**10)),
            dice.choice((Side.BUY, Side.SELL)),
            dice.choice(("entry", "exit", "stop", "target", "mystery")),
        )
        for _ in range(dice.choice((0, 1, 6)))
    )
    return LadderView(
        MARKET,
        dice.choice((TICK, Decimal("0.1"), Decimal(1), Decimal("1E+1"), Decimal("0.00000001"))),
        dice.choice((STEP, Decimal("0.001"))),
        "ASTER",
        dice.choice(tuple(Trust)),
        dice.choice(("", "a gap of 3 updates", "long " * 60)),
        bids,
        asks,
        dice.choice((0, mid, mid + gap, 1)),
        dice.choice((-1, 0, 1)),
        dice.choice(("", "1.224612")),
        dice.choice((math.nan, 0.8, 1e6)),
        dice.choice((math.nan, -1.0, 0.0, 0.3, 1.0)),
        dice.choice(("", "0.0001", "-0.000375")),
        dice.choice((0, NOW_MS - 5, NOW_MS + 9_000_000)),
        own,
    )


def _random_chart(dice: random.Random) -> tuple[ChartView, ChartLiveView]:
    closed = bars(dice.choice((1, 2, 30, 200)), seed=dice.randrange(9), start=dice.choice((3, 12_240, 10**8)))
    closed = tuple(bar for bar in closed if dice.random() < dice.choice((1.0, 0.7)))
    if dice.random() < 0.1:
        closed = ()
    if dice.random() < 0.2:
        closed = tuple(Bar(b.market, b.timeframe_ms, b.open_ms, 500, 500, 500, 500, 0, 0) for b in closed)
    last = closed[-1] if closed else Bar(MARKET, TIMEFRAME_MS, NOW_MS, 5, 9, 1, 4, 10, 2)
    forming = None
    if dice.random() < 0.7:
        forming = Bar(
            MARKET,
            TIMEFRAME_MS,
            last.open_ms + TIMEFRAME_MS,
            last.close,
            last.close + 3,
            max(1, last.close - 3),
            last.close,
            7,
            1,
        )
    lines = tuple(
        (name, last.close * float(TICK) * dice.choice((0.0, 0.99, 1.0, 1.01, 40.0)))
        for name in dice.sample(("entry", "stop", "target", "liquidation"), dice.randrange(4))
    )
    marks = tuple(
        (
            last.open_ms - dice.randrange(-90, 9_000) * 1_000,
            max(1, last.close + dice.randrange(-90, 90)),
            dice.choice((Side.BUY, Side.SELL)),
            dice.choice(("entry", "exit", "stop", "target")),
        )
        for _ in range(dice.choice((0, 3, 20)))
    )
    lined = overlays(closed) if closed and dice.random() < 0.8 else {}
    names = dice.sample(("EMA", "Donchian.hband", "Donchian.lband", "長い名前", "x" * 99), 3)
    listed = {name: lined.get("sma_20", ()) for name in names}
    said = tuple((last.open_ms - dice.randrange(-90, 9_000) * 1_000, dice.choice(tuple(Bias))) for _ in range(9))
    live = ChartLiveView(MARKET, TIMEFRAME_MS, forming, marks, lines)
    more = (listed if dice.random() < 0.5 else {}, said if dice.random() < 0.8 else ())
    return ChartView(MARKET, TIMEFRAME_MS, TICK, closed, lined, *more), live


def _random_indicators(dice: random.Random) -> IndicatorsView:
    if dice.random() < 0.2:
        return IndicatorsView(MARKET, TIMEFRAME_MS, 0, None)
    values = [dice.choice((math.nan, 0.0, -1.0, 1.2246, 63.4, -1e9, 1e9, math.inf)) for _ in range(19)]
    return IndicatorsView(MARKET, TIMEFRAME_MS, dice.randrange(10**6), Features(*values))


def _random_judgment(dice: random.Random) -> JudgmentView:
    if dice.random() < 0.2:
        return JudgmentView(MARKET, None, False, dice.choice(("", "no model answers")))
    made = NOW - dice.randrange(-5, 500) * SECOND
    opinion = Stance(
        MARKET,
        made,
        made + dice.choice((0, 1, 60, 10**6)) * SECOND,
        dice.choice(tuple(Bias)),
        dice.choice((0.0, 0.5, 1.0, math.nan, 7.0)),
        dice.choice((0.0, 0.5, 1.0, math.nan)),
        dice.choice(("", "Prices rise. " * 40, "y" * 500, "日本語の説明 " * 9)),
        "rules",
        1.2246,
    )
    return JudgmentView(
        MARKET, opinion, dice.random() < 0.3, dice.choice(("", "refused because the daily loss limit is reached", "z" * 200))
    )


def _random_tape(dice: random.Random) -> TapeView:
    prints = tuple(
        (
            NOW_MS + dice.randrange(-(10**6), 10**6),
            dice.choice((1, 12_246, 10**11)),
            dice.choice((1, 40, 8_200, 10**12)),
            dice.choice((1, -1)),
        )
        for _ in range(dice.choice((0, 1, 30, 200)))
    )
    since = dice.choice((0, NOW - MINUTE, NOW))
    return TapeView(MARKET, dice.choice((TICK, Decimal("1E+1"))), STEP, since, len(prints) + dice.choice((0, 9, 10**7)), prints)


def _random_markets(dice: random.Random) -> MarketsView:
    names = (MARKET, "okx:ASTER/USDT:USDT", "binance:BTC/USDT:USDT", "okx:1000" + "X" * 26 + "/USDT:USDT")
    rows = tuple(
        MarketRow(
            name,
            dice.choice((TICK, Decimal(1))),
            dice.choice(tuple(Trust)),
            dice.choice((0, 12_246, 10**11)),
            dice.choice((-1, 0, 1)),
            dice.choice((math.nan, -1.0, 1e6)),
            dice.choice(("", "0.0001", "-0.000375")),
            dice.choice((0, NOW_MS - 5, NOW_MS + 9_000_000)),
            dice.choice(("0", "-8200", "0.001")),
            dice.choice(("0", "-12.5", "1E+9")),
            dice.choice((math.nan, -0.5, 0.0, 12.0)),
            dice.choice((0, 1_000, 3_600_000)),
            tuple(dice.choice((1, 5, 10**9)) for _ in range(dice.choice((0, 1, 30)))),
        )
        for name in names
        if dice.random() < 0.8
    )
    return MarketsView("", rows)


def _random_latency(dice: random.Random) -> LatencyView:
    def figures() -> tuple[int, float, float]:
        return dice.choice((0, 1, 10**9)), dice.choice((0.0, 0.3, 999.9)), dice.choice((0.0, 1.0, 1e9))

    return LatencyView("", tuple(StageRow(name, *figures(), *figures()) for name in ("feed", "book", "a new one", "ack")))


def _random_account(dice: random.Random) -> tuple[AccountView, ProfitView]:
    def money() -> float:
        return dice.choice((0.0, -0.01, 12.5, -1e12, dice.gauss(0, 300)))

    count = dice.choice((0, 1, 2, 300))
    times = sorted(NOW - dice.randrange(dice.choice((1, 90, 10**6))) * SECOND for _ in range(count))
    lowest = dice.choice((math.nan, -300.0, 0.0, -1e9))
    points = tuple(ProfitPoint(at, money(), abs(money()), money(), lowest, abs(money())) for at in times)
    figures = [f"{money():.8f}" for _ in range(7)]
    return AccountView("", *figures, dice.choice((0.0, 0.03))), ProfitView("", points)


def _random_status(dice: random.Random) -> StatusView:
    return status(dice.choice(tuple(Trading)), dice.choice(("", "why")), NOW + dice.randrange(-100, 100) * SECOND)
