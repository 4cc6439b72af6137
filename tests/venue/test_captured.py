"""A recording played back: what the scan finds, what listeners get, and what our orders meet."""

import gzip
import json
from collections import Counter
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from engine.errors import CaptureError
from engine.events import Side
from engine.venue.capture import scan
from engine.venue.captured import open_capture
from engine.venue.market import Fill, MarketOrder, Sinks
from engine.venue.recorded import CapturedMarket

NOW = 1_790_000_000_000
RECV = 1_600_000_000_000  # ms, recorder's clock
SKEW = 1_200  # the recorder runs behind the venue
SHARED = Path(__file__).resolve().parents[2] / "../shared/data"
BTC = SHARED / "market/hftbacktest/usdm_btcusdt_20240808.gz"
SUSHI = SHARED / "wire/binance"
ALL = frozenset({"depth", "bookTicker", "aggTrade", "kline_1m", "markPrice"})


def row(at: int, body: dict[str, Any]) -> str:
    return f"{(RECV + at) * 1_000_000} {json.dumps(body, separators=(',', ':'))}"


def stream(at: int, kind: str, symbol: str = "ABCUSDT", late: int = 20, **data: Any) -> str:
    """A frame received at `at` ms, `late` ms after the venue's time."""
    event = {"depth": "depthUpdate"}.get(kind, kind)
    stamp = RECV + at + SKEW - late
    body = {"e": event, "E": stamp, "T": stamp - 1, "s": symbol, **data}
    return row(at, {"stream": f"{symbol.lower()}@{kind}", "data": body})


def snapshot(at: int, last_id: int, bids: list[list[str]], asks: list[list[str]]) -> str:
    return row(at, {"lastUpdateId": last_id, "E": 1, "T": 1, "bids": bids, "asks": asks})


def small() -> list[str]:
    """A market of one symbol: two events before the snapshot, a trade of the insurance fund, the price rising at the end."""
    return [
        stream(0, "depth", U=95, u=99, pu=90, b=[["1.00", "7"]], a=[]),
        stream(5, "bookTicker", u=99, b="1.00", B="7", a="1.02", A="4"),
        stream(10, "depth", U=101, u=104, pu=99, b=[["0.98", "3"]], a=[["1.02", "4"]], late=0),
        snapshot(20, 102, [["1.00", "7"], ["0.98", "2"]], [["1.02", "5"], ["1.04", "9"]]),
        stream(40, "depth", U=108, u=110, pu=104, b=[["1.00", "6"]], a=[["1.02", "0"], ["1.06", "1"]], st=1, ps="ABCUSDT"),
        stream(40, "bookTicker", u=110, b="1.00", B="6", a="1.04", A="9"),
        stream(60, "trade", t=500, p="1.00", q="2", X="MARKET", m=True),
        stream(70, "trade", t=501, p="0.50", q="2", X="INSURANCE_FUND", m=True),
        stream(80, "trade", t=502, p="1.04", q="1", X="MARKET", m=False),
        stream(90, "ticker"),
        stream(1_400, "depth", U=115, u=120, pu=110, b=[["1.04", "3"]], a=[["1.04", "0"]]),
    ]


def written(folder: Path, rows: list[str], name: str = "small.gz") -> str:
    path = folder / name
    data = ("\n".join(rows) + "\n").encode()
    path.write_bytes(gzip.compress(data, mtime=0) if name.endswith(".gz") else data)
    return str(path)


class Heard:
    def __init__(self, market: CapturedMarket) -> None:
        self.frames: list[tuple[str, dict[str, Any], int]] = []
        self.fills: list[Fill] = []
        self.prices: list[int] = []
        self.now = 0
        market.attach(Sinks(self._frame, self.fills.append, lambda price, at_ms: self.prices.append(price)))

    def _frame(self, kind: str, body: bytes) -> None:
        self.frames.append((kind, json.loads(body), self.now))

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [body for name, body, _ in self.frames if name == kind]


def opened(path: str, loop: bool = False, symbol: str = "ABCUSDT") -> tuple[CapturedMarket, Heard]:
    market = open_capture(path, loop)[symbol]
    heard = Heard(market)
    market.subscribed(ALL, NOW)
    return market, heard


def run(market: CapturedMarket, heard: Heard, until: int, step: int = 5) -> None:
    for at in range(0, until + 1, step):
        heard.now = NOW + at
        market.advance(NOW + at)


class Client:
    """A local book kept by the venue's rules; asserts what every client relies on."""

    def __init__(self, market: CapturedMarket) -> None:
        self.market, self.last = market, -1
        self.checked = self.aligned = 0  # equal-u points; those of them where the newest quote met its depth event
        self.newest_quote = -1
        self.sides: dict[str, dict[Decimal, Decimal]] = {"b": {}, "a": {}}
        self.quotes: dict[int, dict[str, Any]] = {}

    def begin(self) -> bool:
        depth = self.market.depth(100_000)
        if depth is None:
            return False
        tick, step = self.market.listing.tick, self.market.listing.step
        self.sides["b"] = {price * tick: size * step for price, size in depth.bids}
        self.sides["a"] = {price * tick: size * step for price, size in depth.asks}
        self.last = depth.last_id
        return True

    def depth(self, frame: dict[str, Any]) -> None:
        assert frame["pu"] == self.last or frame["pu"] <= self.last <= frame["u"], "the chain broke"
        self.last = frame["u"]
        for side in "ba":
            for price, size in frame[side]:
                self.sides[side][Decimal(price)] = Decimal(size)
                if not Decimal(size):
                    del self.sides[side][Decimal(price)]
        assert max(self.sides["b"]) < min(self.sides["a"]), "the book crossed"
        self.aligned += frame["u"] == self.newest_quote
        if frame["u"] in self.quotes:
            self.agree(self.quotes[frame["u"]])

    def quote(self, frame: dict[str, Any]) -> None:
        self.newest_quote = frame["u"]
        self.quotes = {u: quote for u, quote in self.quotes.items() if u > self.last} | {frame["u"]: frame}
        if frame["u"] == self.last:
            self.agree(frame)

    def agree(self, quote: dict[str, Any]) -> None:
        self.checked += 1
        bid, ask = max(self.sides["b"]), min(self.sides["a"])
        assert (Decimal(quote["b"]), Decimal(quote["B"])) == (bid, self.sides["b"][bid])
        assert (Decimal(quote["a"]), Decimal(quote["A"])) == (ask, self.sides["a"][ask])


def test_the_scan_infers_tick_step_kinds_and_the_recorders_skew(tmp_path: Path) -> None:
    info = scan(written(tmp_path, small()))
    one = info.symbols["ABCUSDT"]
    assert (one.tick, one.step) == (Decimal("0.02"), Decimal(1)) and str(one.tick) == "0.02"
    assert one.kinds == {"depth": 4, "bookTicker": 2, "trade": 3}
    assert (info.frames, info.skipped, info.skew_ms) == (11, 1, SKEW)
    assert (info.last_ns - info.first_ns, info.snapshots, one.gaps) == (1_400_000_000, {4: "ABCUSDT"}, 0)
    assert (one.low, one.high) == (Decimal("0.50"), Decimal("1.04"))


def test_plain_text_plays_like_gzip(tmp_path: Path) -> None:
    assert scan(written(tmp_path, small(), "plain.txt")).symbols == scan(written(tmp_path, small())).symbols


def test_playback_waits_for_listeners_of_all_that_is_recorded(tmp_path: Path) -> None:
    market = open_capture(written(tmp_path, small()))["ABCUSDT"]
    heard = Heard(market)
    market.subscribed(frozenset({"depth"}), NOW)
    market.advance(NOW + 1_000)
    assert heard.frames == []
    market.subscribed(frozenset({"depth", "bookTicker", "aggTrade"}), NOW + 1_000)
    market.advance(NOW + 1_000)
    assert [kind for kind, _, _ in heard.frames] == ["depth"]


def test_playback_starts_after_two_seconds_whatever_is_missing(tmp_path: Path) -> None:
    market = open_capture(written(tmp_path, small()))["ABCUSDT"]
    heard = Heard(market)
    market.subscribed(frozenset({"depth"}), NOW)
    market.advance(NOW + 1_999)
    assert heard.frames == []
    market.advance(NOW + 2_000)
    assert heard.frames


def test_frames_are_restamped_to_engine_time_and_never_lie_in_the_future(tmp_path: Path) -> None:
    market, heard = opened(written(tmp_path, small()))
    run(market, heard, 1_500)
    first = heard.of("depth")[0]
    assert (first["E"], first["T"]) == (NOW - 20, NOW - 21)
    assert all(NOW - 30 <= body["E"] <= now for _, body, now in heard.frames)
    assert market.ended and heard.of("depth")[2]["ps"] == "ABCUSDT" and "st" not in first


def test_every_recorded_frame_comes_once_and_in_order(tmp_path: Path) -> None:
    market, heard = opened(written(tmp_path, small()))
    run(market, heard, 1_500)
    assert [frame["u"] for frame in heard.of("depth")] == [99, 104, 110, 120]
    assert [frame["u"] for frame in heard.of("bookTicker")] == [99, 110]
    assert [frame["t"] for frame in heard.of("trade")] == [500, 501, 502]


def test_trades_bars_and_marks_that_are_derived_say_so(tmp_path: Path) -> None:
    market, heard = opened(written(tmp_path, small()))
    run(market, heard, 1_500)
    derived = heard.of("aggTrade")
    shown = [(t["a"], t["f"], t["l"], t["p"], t["m"]) for t in derived]
    assert shown == [(1, 500, 500, "1.00", True), (2, 502, 502, "1.04", False)]
    assert [t.id for t in market.tape(10, None)] == [1, 2] and heard.prices == [50, 52]
    assert heard.of("kline_1m") and heard.of("markPrice")[0]["p"] == "1.02000000"
    assert all(body["derived"] is True for kind in ("aggTrade", "kline_1m", "markPrice") for body in heard.of(kind))


def test_there_is_no_book_before_the_recorded_snapshot_and_then_it_follows_the_stream(tmp_path: Path) -> None:
    market, heard = opened(written(tmp_path, small()))
    run(market, heard, 15)
    assert market.depth(10) is None and market.best() is None
    run(market, heard, 20)
    depth = market.depth(10)
    # The event 101..104 came before the snapshot 102 and holds it: it must be applied on top.
    assert depth is not None and (depth.last_id, depth.bids, depth.asks) == (104, [(50, 7), (49, 3)], [(51, 4), (52, 9)])
    run(market, heard, 1_500)
    assert market.best() == (52, 3, 53, 1)


def test_a_gap_in_the_recording_takes_the_book_away(tmp_path: Path) -> None:
    rows = [*small(), stream(1_500, "depth", U=130, u=140, pu=125, b=[], a=[])]
    market, heard = opened(written(tmp_path, rows))
    run(market, heard, 1_495)
    assert market.depth(1) is not None
    run(market, heard, 1_600)
    assert market.depth(1) is None and market.best() is None


def test_a_loop_keeps_the_chain_and_never_crosses(tmp_path: Path) -> None:
    market, heard = opened(written(tmp_path, small()), loop=True)
    client, read = Client(market), 0
    for at in range(0, 7_000, 5):
        heard.now = NOW + at
        market.advance(NOW + at)
        if client.last < 0:
            if client.begin():
                read = len(heard.frames)
            continue
        for kind, body, _ in heard.frames[read:]:
            if kind == "depth":
                client.depth(body)
            elif kind == "bookTicker":
                client.quote(body)
        read = len(heard.frames)
        depth = market.depth(1)
        assert depth is not None and depth.last_id == client.last
    assert market.player.passes == 5 and client.checked >= 4 and not market.ended
    trades = heard.of("trade")
    assert [trade["t"] for trade in trades] == list(range(500, 500 + len(trades)))
    assert [trade["a"] for trade in heard.of("aggTrade")] == list(range(1, len(heard.of("aggTrade")) + 1))
    stamps = [body["E"] for kind, body, _ in heard.frames if kind == "trade"]
    assert stamps == sorted(stamps)


def test_our_market_order_takes_what_the_recorded_book_shows(tmp_path: Path) -> None:
    market, heard = opened(written(tmp_path, small()))
    run(market, heard, 30)
    assert market.fillable(Side.BUY, 0) == 13
    fills = market.submit(MarketOrder(1, Side.BUY, 6, 0, False), NOW + 30)
    assert [(f.price, f.quantity, f.maker) for f in fills] == [(51, 4, False), (52, 2, False)]
    assert fills[0].trade_id != fills[1].trade_id and market.fillable(Side.BUY, 0) == 7


def test_our_resting_order_waits_its_turn_in_the_recording(tmp_path: Path) -> None:
    market, heard = opened(written(tmp_path, small()))
    run(market, heard, 30)
    assert market.submit(MarketOrder(1, Side.SELL, 2, 51, True), NOW + 30) == []
    run(market, heard, 75)
    assert heard.fills == []
    run(market, heard, 90)
    assert [(f.order_id, f.price, f.quantity, f.maker) for f in heard.fills] == [(1, 51, 2, True)]


def test_several_symbols_in_one_file_each_get_their_snapshot(tmp_path: Path) -> None:
    other = [
        stream(1, "depth", "XYZUSDT", U=96, u=98, pu=91, b=[["20.5", "0.1"]], a=[]),
        snapshot(12, 103, [["20.5", "0.1"]], [["20.6", "0.3"]]),
        stream(30, "depth", "XYZUSDT", U=106, u=109, pu=98, b=[["20.4", "0.2"]], a=[]),
    ]
    rows = sorted(small() + other, key=lambda text: int(text.split()[0]))
    path = written(tmp_path, rows)
    info = scan(path)
    assert sorted(info.snapshots.values()) == ["ABCUSDT", "XYZUSDT"] and info.symbols["XYZUSDT"].step == Decimal("0.1")
    markets = open_capture(path)
    heard = {name: Heard(market) for name, market in markets.items()}
    for market in markets.values():
        market.subscribed(ALL, NOW)
    for at in range(0, 1_500, 5):
        markets["ABCUSDT"].advance(NOW + at)
    assert markets["XYZUSDT"].best() == (205, 1, 206, 3) and markets["ABCUSDT"].best() == (52, 3, 53, 1)
    assert all(body["s"] == name for name in heard for _, body, _ in heard[name].frames)


def broken(rows: list[str], at: int, text: str) -> list[str]:
    return [*rows[: at - 1], text, *rows[at:]]


SPOT_DATA = {"e": "depthUpdate", "E": 1, "T": 1, "s": "ABCUSDT", "U": 1, "u": 2, "b": [], "a": []}
SPOT = row(10, {"stream": "abcusdt@depth", "data": SPOT_DATA})


@pytest.mark.parametrize(
    ("rows", "line", "says"),
    [
        (broken(small(), 3, "1600000000000000000 {oops"), 3, "expected JSON"),
        (broken(small(), 3, "noon {}"), 3, "whole nanoseconds, not 'noon'"),
        (broken(small(), 3, "1600000000000000000"), 3, "expected '<receive time in ns> <json>'"),
        (broken(small(), 5, "1500000000000000000" + small()[4][19:]), 5, "goes backwards"),
        (broken(small(), 3, row(10, {"hello": 1})), 3, "lastUpdateId"),
        (broken(small(), 3, SPOT), 3, "lacks `pu`"),
        (broken(small(), 7, stream(60, "trade", t="x", p="1", q="2", m=True)), 7, "$.t"),
        (broken(small(), 7, stream(60, "trade", t=1, p="cheap", q="2", m=True)), 7, "decimal number, not 'cheap'"),
        (broken(small(), 5, stream(40, "depth", U=1, u=2, pu=3, b=[[1, 2]], a=[])), 5, "[price, size]"),
        ([text for text in small() if "lastUpdateId" not in text], 0, "no REST depth snapshot"),
        (broken(small(), 4, snapshot(20, 999, [["1.00", "7"]], [["1.02", "5"]])), 0, "no REST depth snapshot"),
    ],
)
def test_a_malformed_line_is_named_with_what_was_expected(tmp_path: Path, rows: list[str], line: int, says: str) -> None:
    path = written(tmp_path, rows)
    with pytest.raises(CaptureError) as caught:
        scan(path)
    assert (caught.value.path, caught.value.line) == (path, line) and says in caught.value.problem


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (gzip.compress(b"", mtime=0), "empty"),
        (b"1600000000000000000 {}", "expected gzip"),
        (gzip.compress(b"1600000000000000000 {}" * 999, mtime=0)[:-12], "truncated"),
        (gzip.compress(b"1 {}", mtime=0)[:10] + b"\xff\xff\xff\xff" * 9, "damaged"),
    ],
)
def test_a_file_that_is_not_what_it_says_is_an_error(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "bad.gz"
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=says):
        scan(str(path))


def test_a_file_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(CaptureError, match="cannot be read: No such file"):
        scan(str(tmp_path / "none.gz"))


@pytest.mark.slow
@pytest.mark.skipif(not BTC.exists(), reason="the shared recording is not beside this repository")
def test_the_real_recording_plays_whole_and_a_client_book_agrees_at_447_points_and_over_the_seam() -> None:
    info = scan(str(BTC))
    one = info.symbols["BTCUSDT"]
    assert (info.frames, one.tick, one.step, one.gaps) == (93_954, Decimal("0.10"), Decimal("0.001"), 0)
    assert sum(one.kinds.values()) == 93_953 and 1_200 < info.skew_ms < 1_300
    market = open_capture(str(BTC), loop=True, info=info)["BTCUSDT"]
    client, counts, state = Client(market), Counter[str](), {"now": NOW, "worst": 0}
    first_pass = (0, 0)

    def frame(kind: str, body: bytes) -> None:
        nonlocal first_pass
        if kind in ("depth", "bookTicker"):
            data = json.loads(body)
            state["worst"] = max(state["worst"], data["E"] - state["now"])
            if client.last >= 0:
                client.depth(data) if kind == "depth" else client.quote(data)
        if market.player.passes == 1:
            counts[kind] += 1
            first_pass = (client.aligned, client.checked)

    market.attach(Sinks(frame, lambda fill: None, lambda price, at_ms: None))
    market.subscribed(ALL, NOW)
    while market.player.passes < 2 or state["now"] < NOW + 360_000:
        market.advance(state["now"])
        if client.last < 0:
            client.begin()
        state["now"] += 10
    assert {kind: counts[kind] for kind in one.kinds} == one.kinds
    assert counts["aggTrade"] == counts["trade"] and state["worst"] <= 0
    # 447: the newest quote carries the depth event's id. 629: every id that both carry, whichever came first.
    assert first_pass == (447, 629) and client.checked > 629


@pytest.mark.skipif(not SUSHI.exists(), reason="the shared recordings are not beside this repository")
def test_older_recordings_of_several_symbols_play_with_their_own_trades_and_bars(tmp_path: Path) -> None:
    rows: list[tuple[float, str]] = []
    for symbol in ("SUSHIUSDT", "AKROUSDT", "KEEPUSDT"):
        for kind in ("book_chain", "aggTrade", "kline"):
            for text in (SUSHI / f"cf_{kind}_{symbol}.jsonl").read_text().splitlines():
                one = json.loads(text)
                rows.append((one["recv"], json.dumps(one.get("msg") or one["snapshot"])))
    rows.sort(key=lambda pair: pair[0])
    path = written(tmp_path, [f"{int(recv * 1e9)} {body}" for recv, body in rows])
    info = scan(path)
    assert sorted(info.symbols) == sorted(info.snapshots.values()) == ["AKROUSDT", "KEEPUSDT", "SUSHIUSDT"]
    assert (str(info.symbols["SUSHIUSDT"].tick), str(info.symbols["AKROUSDT"].tick)) == ("0.0010", "0.00001")
    markets = open_capture(path, loop=True, info=info)
    heard = {name: Heard(market) for name, market in markets.items()}
    for market in markets.values():
        market.subscribed(ALL, NOW)
    for at in range(0, 70_000, 10):
        markets["SUSHIUSDT"].advance(NOW + at)
    for name, market in markets.items():
        chain = heard[name].of("depth")
        assert all(after["pu"] == before["u"] for before, after in pairwise(chain)), name
        best = market.best()
        assert best is not None and best[0] < best[2]
        ids = [trade["a"] for trade in heard[name].of("aggTrade")]
        assert ids == list(range(ids[0], ids[0] + len(ids))) and "derived" not in heard[name].of("aggTrade")[0]
        bars = market.klines(1, 100, None, None)
        assert [bar.open_ms for bar in bars] == sorted({bar.open_ms for bar in bars})
        assert all(k["k"]["T"] - k["k"]["t"] == 59_999 for k in heard[name].of("kline_1m"))
