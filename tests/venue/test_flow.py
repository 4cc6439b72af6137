"""The generated market: reproducible, shaped like a market, and speaking the venue's frames."""

import json
from collections import Counter, defaultdict
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from engine.events import Side
from engine.venue.flow import Flow, Regime
from engine.venue.generated import LISTINGS, SHAPES, GeneratedMarket
from engine.venue.market import Fill, MarketOrder, Sinks
from engine.venue.matching import OrderBook

NOW = 1_790_000_000_000
MINUTES = 20


class Heard:
    """What a market said."""

    def __init__(self) -> None:
        self.frames: list[tuple[str, bytes]] = []
        self.fills: list[Fill] = []
        self.trades: list[tuple[int, int]] = []

    def sinks(self) -> Sinks:
        return Sinks(lambda kind, body: self.frames.append((kind, body)), self.fills.append,
                     lambda price, at_ms: self.trades.append((price, at_ms)))  # fmt: skip

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [json.loads(body) for name, body in self.frames if name == kind]


def market(symbol: str = "ASTERUSDT", seed: int = 7) -> tuple[GeneratedMarket, Heard]:
    listing, price = LISTINGS[symbol]
    made, heard = GeneratedMarket(listing, seed, price, NOW), Heard()
    made.attach(heard.sinks())
    return made, heard


@cache
def session(symbol: str = "ASTERUSDT", seed: int = 7) -> tuple[GeneratedMarket, Heard, list[tuple[int, int, float]]]:
    """Twenty minutes: the market, what it said, and spread, bid-side depth and middle each second."""
    made, heard = market(symbol, seed)
    looks = []
    for second in range(1, MINUTES * 60 + 1):
        made.advance(NOW + second * 1000)
        best, depth = made.best(), made.depth(10)
        assert best is not None and depth is not None
        looks.append((best[2] - best[0], sum(size for _, size in depth.bids), (best[0] + best[2]) / 2))
    return made, heard, looks


def test_the_same_seed_gives_the_same_frames_however_time_is_sliced() -> None:
    (one, coarse), (two, fine) = market(), market()
    one.advance(NOW + 20_000)
    for step in range(1, 2001):
        two.advance(NOW + step * 10)
    assert coarse.frames and coarse.frames == fine.frames


def test_different_seeds_give_different_markets() -> None:
    (one, first), (two, second) = market(seed=1), market(seed=2)
    one.advance(NOW + 5_000)
    two.advance(NOW + 5_000)
    assert first.frames != second.frames


@pytest.mark.slow
def test_trades_come_in_clusters() -> None:
    counts = Counter(at_ms // 1000 for _, at_ms in session()[1].trades)
    series = [counts.get(NOW // 1000 + second, 0) for second in range(MINUTES * 60)]
    assert 2 < np.mean(series) < 12
    assert np.var(series) / np.mean(series) > 1.5


def test_volatility_clusters() -> None:
    moves = np.abs(np.diff([middle for _, _, middle in session()[2]]))
    for lag in (1, 2, 3, 5):  # 1,200 seconds: chance alone stays below 0.06
        assert np.corrcoef(moves[:-lag], moves[lag:])[0, 1] > 0.1


@pytest.mark.slow
@pytest.mark.parametrize("symbol", sorted(LISTINGS))
def test_the_spread_and_the_depth_breathe_and_the_book_is_never_crossed(symbol: str) -> None:
    looks = session(symbol)[2]
    spreads, depths = [spread for spread, _, _ in looks], [depth for _, depth, _ in looks]
    assert min(spreads) >= 1 and len(set(spreads)) >= 3
    assert np.percentile(depths, 90) > 1.5 * np.percentile(depths, 10)


def test_a_one_second_strategy_has_something_to_trade() -> None:
    bars: dict[int, list[int]] = defaultdict(list)
    for price, at_ms in session()[1].trades:
        bars[at_ms // 1000].append(price)
    assert 2 <= np.mean([max(prices) - min(prices) for prices in bars.values()]) <= 12
    assert np.percentile([spread for spread, _, _ in session()[2]], 75) <= 4


def test_both_trends_and_ranges_occur() -> None:
    listing, price = LISTINGS["ASTERUSDT"]
    flow, book = Flow(7, SHAPES["ASTERUSDT"], int(price / listing.tick), NOW), OrderBook()
    seen: Counter[Regime] = Counter()
    while flow.due_ms < NOW + 900_000:
        flow.step(book)
        seen[flow.regime] += 1
    assert min(seen[regime] for regime in Regime) > 0.03 * seen.total()


def test_most_trades_are_small_and_a_few_sweep_several_prices() -> None:
    rows = session()[0].tape(10_000, None)
    sizes = [row.quantity for row in rows]
    assert max(sizes) > 15 * float(np.median(sizes))
    prices = Counter(row.at_ms for row in rows)
    assert 0 < sum(count >= 3 for count in prices.values()) < 0.2 * len(prices)


def test_depth_frames_chain_with_gaps_in_the_ids_and_rebuild_the_book() -> None:
    made, heard = market()
    start = made.depth(5000)
    assert start is not None
    made.advance(NOW + 30_000)
    books = {"b": {}, "a": {}}  # type: dict[str, dict[Decimal, Decimal]]
    tick, step = made.listing.tick, made.listing.step
    books["b"] = {price * tick: size * step for price, size in start.bids}
    books["a"] = {price * tick: size * step for price, size in start.asks}
    frames = heard.of("depth")
    quotes = {quote["u"]: quote for quote in heard.of("bookTicker")}
    equal = jumps = 0
    assert frames[0]["pu"] <= start.last_id <= frames[0]["u"]
    for before, frame in zip([None, *frames], frames, strict=False):
        assert before is None or frame["pu"] == before["u"]
        assert frame["pu"] < frame["U"] <= frame["u"] and frame["st"] == 1 and frame["ps"] == "ASTERUSDT"
        jumps += frame["U"] > frame["pu"] + 1
        for side in "ba":
            for price, size in frame[side]:
                books[side][Decimal(price)] = Decimal(size)
                if not Decimal(size):
                    del books[side][Decimal(price)]
        bid, ask = max(books["b"]), min(books["a"])
        assert bid < ask
        if quote := quotes.get(frame["u"]):
            equal += 1
            assert (Decimal(quote["b"]), Decimal(quote["B"])) == (bid, books["b"][bid])
            assert (Decimal(quote["a"]), Decimal(quote["A"])) == (ask, books["a"][ask])
    assert equal >= 10 and jumps > len(frames) / 2
    final = made.depth(5000)
    assert final is not None and frames[-1]["u"] == final.last_id
    assert {price * tick: size * step for price, size in final.bids} == books["b"]


def test_trade_ids_are_consecutive_and_the_frames_agree_with_the_rest_tape() -> None:
    made, heard, _ = session()
    frames = heard.of("aggTrade")
    for before, frame in pairwise(frames):
        assert frame["a"] == before["a"] + 1 and frame["f"] == before["l"] + 1 and frame["l"] >= frame["f"]
    row = made.tape(1, frames[-1]["a"])[0]
    assert (row.id, row.first_id, row.at_ms) == (frames[-1]["a"], frames[-1]["f"], frames[-1]["T"])
    assert Decimal(frames[-1]["p"]) == row.price * made.listing.tick


def test_a_client_starts_warm_and_history_joins_the_first_traded_minute() -> None:
    made, _ = market()
    trades, bars = made.tape(1000, None), made.klines(1, 1500, None, None)
    assert len(bars) >= 500 and trades[-1].at_ms <= NOW
    assert made.tape(10_000, None)[0].at_ms < NOW - 140_000
    assert all(b.open_ms - a.open_ms == 60_000 for a, b in pairwise(bars))
    assert all(bar.low <= min(bar.open, bar.close) <= max(bar.open, bar.close) <= bar.high for bar in bars)
    assert all(abs(b.open - a.close) <= 0.01 * a.close for a, b in pairwise(bars))
    assert made.klines(15, 10, None, None)[-1].close == bars[-1].close


def test_bars_close_once_on_the_minute_and_add_up() -> None:
    heard = session()[1]
    closed = [frame["k"] for frame in heard.of("kline_1m") if frame["k"]["x"]]
    assert [k["t"] for k in closed] == list(range(closed[0]["t"], closed[0]["t"] + 60_000 * len(closed), 60_000))
    assert len(closed) >= MINUTES - 1
    whole = closed[3]
    rows = [frame for frame in heard.of("aggTrade") if whole["t"] <= frame["T"] <= whole["T"]]
    assert Decimal(whole["v"]) == sum(Decimal(row["q"]) for row in rows)
    assert Decimal(whole["h"]) == max(Decimal(row["p"]) for row in rows)
    assert (whole["f"], whole["L"]) == (rows[0]["f"], rows[-1]["l"])
    assert Decimal(whole["q"]) == sum(Decimal(row["p"]) * Decimal(row["q"]) for row in rows)


def test_the_mark_stays_near_the_middle_and_names_its_next_funding() -> None:
    made, heard, _ = session()
    marks = heard.of("markPrice")
    assert len(marks) == MINUTES * 60 and marks[0]["T"] % (240 * 60_000) == 0 and marks[0]["T"] > NOW
    best, mark = made.best(), made.mark()
    assert best is not None and mark is not None
    assert abs(float(mark.mark) / (best[0] * float(made.listing.tick)) - 1) < 0.005
    assert all(len(frame[key].partition(".")[2]) == 8 for frame in marks for key in ("p", "i", "P", "ap", "r"))


def test_an_order_of_ours_moves_the_book_and_shows_on_the_tape() -> None:
    made, heard = market()
    before = made.best()
    assert before is not None
    fills = made.submit(MarketOrder(1, Side.BUY, before[3] + 1, 0, False), NOW)
    after = made.best()
    assert after is not None and after[2] > before[2]
    assert sum(fill.quantity for fill in fills) == before[3] + 1 and not any(fill.maker for fill in fills)
    shown = heard.of("aggTrade")[0]
    assert Decimal(shown["q"]) == before[3] and shown["m"] is False and shown["f"] == fills[0].trade_id


def test_our_resting_order_is_filled_by_the_crowd_in_its_turn() -> None:
    made, heard = market()
    best = made.best()
    assert best is not None
    assert made.submit(MarketOrder(5, Side.BUY, 50, best[0], True), NOW) == []
    made.advance(NOW + 120_000)
    assert heard.fills and all(fill.maker and fill.order_id == 5 and fill.price == best[0] for fill in heard.fills)
    assert sum(fill.quantity for fill in heard.fills) + made.cancel(5) == 50


def test_a_trigger_may_send_an_order_from_inside_a_trade() -> None:
    made, heard = market()
    sent: list[list[Fill]] = []

    def trigger(price: int, at_ms: int) -> None:
        if not sent:
            sent.append([])
            sent[0] = made.submit(MarketOrder(9, Side.SELL, 100, 0, False), at_ms)

    made.attach(Sinks(lambda kind, body: heard.frames.append((kind, body)), heard.fills.append, trigger))
    made.advance(NOW + 10_000)
    assert sum(fill.quantity for fill in sent[0]) == 100
    frames = heard.of("depth")
    assert all(after["pu"] == before["u"] for before, after in pairwise(frames))
