"""Features at a bar's close: each formula on figures that can be checked by hand."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.config import BookSettings, FeatureSettings
from engine.events import Bar, BookDelta, BookSnapshot, Features, Trust, pack_levels
from engine.processor import features
from engine.processor.features import Intensity
from engine.processor.indicators import Indicators
from engine.signal.book import Book

M = "binance:ASTER/USDT:USDT"
T0 = 1_700_000_000_000
TICK = 0.01


def trusted_book() -> Book:
    book = Book(M, BookSettings())
    book.connected(1)
    book.delta(BookDelta(2, M, 1, 10, 0, b"", b"", T0))
    bids, asks = [100, 30, 99, 10, 98, 500], [102, 10, 103, 10, 104, 900]
    book.snapshot(BookSnapshot(3, M, 10, pack_levels(bids), pack_levels(asks), T0))
    assert book.trust is Trust.TRUSTED
    return book


def bars(closes: list[int]) -> list[Bar]:
    return [Bar(M, 1000, T0 + 1000 * i, close, close + 1, close - 1, close, 5, 3) for i, close in enumerate(closes)]


def at_close(
    closes: list[int], book: Book | None = None, intensity: Intensity | None = None, settings: FeatureSettings | None = None
) -> Features:
    indicators, closed = Indicators(), bars(closes)
    for bar in closed:
        indicators.update(bar.high * TICK, bar.low * TICK, bar.close * TICK)
    chosen = settings or FeatureSettings(imbalance_levels=2, volatility_bars=5, momentum_bars=3)
    return features.at_close(indicators, closed, book, intensity or Intensity(), closed[-1], TICK, chosen)


# --- book ------------------------------------------------------------------------------------------------------------


def test_book_features_of_a_trusted_book() -> None:
    known = at_close([100] * 3, trusted_book())
    assert known.spread_bps == pytest.approx(2 / 101 * 10_000)
    assert known.imbalance == pytest.approx((40 - 20) / 60), "over two levels a side, not the large third ones"
    assert known.microprice == pytest.approx((100 * 10 + 102 * 30) / 40 * TICK), "near the ask, where bids outweigh"


@pytest.mark.parametrize("trust", [Trust.OFF, Trust.SYNCING, Trust.STALE])
def test_an_untrusted_book_gives_no_figures(trust: Trust) -> None:
    book = trusted_book()
    book.trust = trust
    known = at_close([100] * 3, book)
    assert all(math.isnan(figure) for figure in (known.spread_bps, known.imbalance, known.microprice))


def test_no_book_and_an_empty_side_give_no_figures() -> None:
    book = trusted_book()
    book.delta(BookDelta(4, M, 11, 12, 10, b"", pack_levels([102, 0, 103, 0, 104, 0]), T0))
    known = at_close([100] * 3, book)
    assert math.isnan(known.spread_bps) and math.isnan(known.microprice) and known.imbalance == 1.0
    assert math.isnan(at_close([100] * 3, None).spread_bps)


@given(st.floats(1, 1e5), st.floats(0.001, 1e6), st.floats(0, 100), st.floats(0.001, 1e6))
def test_the_microprice_lies_between_bid_and_ask(bid: float, bid_size: float, spread: float, ask_size: float) -> None:
    micro = features.microprice(bid, bid_size, bid + spread, ask_size)
    assert bid <= micro <= (bid + spread) * (1 + 1e-12)
    assert -1 <= features.imbalance(bid_size, ask_size) <= 1


# --- returns ---------------------------------------------------------------------------------------------------------


def test_volatility_is_the_sample_deviation_of_log_returns_in_basis_points() -> None:
    closes = [500, 100, 101, 99, 104, 103, 103]
    expected = np.std(np.diff(np.log(closes[-6:])), ddof=1) * 10_000
    assert at_close(closes).volatility_bps == pytest.approx(expected, rel=1e-12)


def test_momentum_is_the_simple_return_over_its_bars_in_basis_points() -> None:
    assert at_close([50, 100, 101, 99, 104]).momentum_bps == pytest.approx(400.0)


def test_returns_need_one_close_more_than_bars() -> None:
    assert math.isnan(at_close([100] * 5).volatility_bps) and at_close([100] * 6).volatility_bps == 0.0
    assert math.isnan(at_close([100] * 3).momentum_bps) and at_close([100] * 4).momentum_bps == 0.0


def test_later_bars_closed_in_the_same_breath_are_left_out() -> None:
    closed = bars([100, 100, 100, 110, 999])
    known = features.at_close(Indicators(), closed, None, Intensity(), closed[3], 1.0, FeatureSettings(momentum_bars=3))
    assert (known.close, known.momentum_bps) == (110.0, pytest.approx(1000.0))


def test_indicators_are_passed_on_in_quote_units() -> None:
    known = at_close([100 + i for i in range(60)])
    assert known.close == pytest.approx(1.59) and known.sma_20 == pytest.approx(1.495) and known.rsi_14 == 100.0
    assert known.atr_14 == pytest.approx(0.02)
    assert not any(math.isnan(getattr(known, name)) for name in ("sma_50", "ema_26", "macd_signal", "bollinger_upper"))


# --- trade intensity -------------------------------------------------------------------------------------------------


def test_seed_fault_trade_intensity_was_always_zero() -> None:
    intensity = Intensity(10.0)
    for i in range(400):
        intensity.trade(T0 + i * 50)
    assert intensity.per_second(T0 + 400 * 50) == pytest.approx(20.0)
    assert at_close([100] * 20, None, intensity).trade_intensity == pytest.approx(20.0)


def test_intensity_falls_when_trades_stop_and_ends_at_zero() -> None:
    intensity = Intensity(10.0)
    for i in range(200):
        intensity.trade(T0 + i * 50)
    assert 9.5 <= intensity.per_second(T0 + 15_000) <= 10.5
    assert intensity.per_second(T0 + 25_000) == 0.0


def test_intensity_is_nan_before_a_second_was_observed_and_honest_soon_after() -> None:
    intensity = Intensity(10.0)
    assert math.isnan(intensity.per_second(T0))
    for i in range(40):
        intensity.trade(T0 + i * 50)
        if i == 5:
            assert math.isnan(intensity.per_second(T0 + 250))
    assert intensity.per_second(T0 + 1999) == pytest.approx(20.0, rel=0.02), "over the two seconds seen, not over ten"
    intensity.reset()
    assert math.isnan(intensity.per_second(T0 + 3000))


def test_intensity_takes_constant_space_and_survives_encoding() -> None:
    intensity = Intensity(3600.0)
    for i in range(5000):
        intensity.trade(T0 + i * i)
    again = msgspec.msgpack.decode(msgspec.msgpack.encode(intensity), type=Intensity)
    assert again == intensity and len(intensity.counts) == features.BUCKETS


@settings(max_examples=150, deadline=None)
@given(st.lists(st.integers(-3000, 4000), min_size=1, max_size=80), st.sampled_from([0.5, 2.0, 10.0]))
def test_intensity_counts_exactly_the_trades_of_its_window(waits: list[int], window_s: float) -> None:
    intensity, now, times = Intensity(window_s), T0, []
    newest = now
    for wait in waits:
        now += wait
        intensity.trade(now)
        times.append(now)
        newest = max(newest, now) if len(times) > 1 else now
        width = intensity.bucket_ms
        first = newest // width - features.BUCKETS + 1
        assert intensity.total == sum(intensity.counts) == sum(1 for t in times if t // width >= first)
