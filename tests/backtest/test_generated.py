"""Bars that were made up: the same everywhere, consistent, and with a market's temper."""

import hashlib

import numpy as np
import pytest

from engine.backtest.generated import DAY_MS, FUNDING_MS, HOUR_MS, MINUTE_MS, listing, synthetic
from engine.backtest.series import Series
from engine.errors import DataError

START_MS = 1_704_067_200_000  # 2024-01-01


def made(bars: int = 50_000, timeframe_ms: int = MINUTE_MS, seed: int = 7, symbol: str = "ASTER/USDT:USDT") -> Series:
    return synthetic(listing(symbol), timeframe_ms, START_MS, bars, seed)


def digest(series: Series) -> str:
    columns = (series.open, series.high, series.low, series.close, series.volume, series.funding_ms, series.funding_rate)
    return hashlib.sha256(b"".join(column.astype("<f8").tobytes() for column in columns)).hexdigest()[:16]


def test_the_bars_are_the_same_on_every_platform() -> None:
    """Written down once: another digest means that every fingerprint of a synthetic run changes too."""
    assert digest(made(10_000)) == "f17c231f590fd66c"
    assert digest(made(1_000, HOUR_MS, 3, "BTC/USDT:USDT")) == "04496ea1275fc8ec"


def test_another_seed_is_another_market() -> None:
    assert not np.array_equal(made(100, seed=1).close, made(100, seed=2).close)


def test_more_bars_begin_with_the_same_bars() -> None:
    short, long = made(1_000), made(5_000)
    for name in ("open_ms", "open", "high", "low", "close", "volume"):
        assert np.array_equal(getattr(short, name), getattr(long, name)[:1_000]), name


@pytest.mark.parametrize("timeframe_ms", [1_000, MINUTE_MS, HOUR_MS, DAY_MS])
def test_every_bar_is_one_that_could_have_been(timeframe_ms: int) -> None:
    series = made(2_000, timeframe_ms)
    assert np.all(series.high >= np.maximum(series.open, series.close))
    assert np.all(series.low <= np.minimum(series.open, series.close))
    assert series.low.min() >= 1 and series.volume.min() >= 1
    assert np.all(np.diff(series.open_ms) == timeframe_ms)
    assert all(column.dtype == np.int64 for column in (series.open_ms, series.open, series.volume, series.funding_ms))


def test_the_label_says_that_they_were_made_up() -> None:
    series = made(10)
    assert series.synthetic and "made up" in series.source and series.contract.venue == "synthetic"


def test_aster_begins_at_a_dollar_twenty() -> None:
    assert made(10).open[0] == 12_000


def test_funding_comes_every_eight_hours_within_the_bars() -> None:
    series = made(3 * 1440)
    assert list(series.funding_ms) == [START_MS + number * FUNDING_MS for number in range(9)]
    assert np.all(np.abs(series.funding_rate) <= 0.003)
    late = synthetic(listing("ASTER/USDT:USDT"), MINUTE_MS, START_MS + MINUTE_MS, 480, 1)
    assert list(late.funding_ms) == [START_MS + FUNDING_MS]


def test_volatility_clusters_and_tails_are_fat_but_moves_have_no_memory() -> None:
    moves = np.diff(np.log(made(200_000).close.astype(float)))
    assert np.mean(moves**4) / np.mean(moves**2) ** 2 > 6
    assert np.corrcoef(np.abs(moves[:-60]), np.abs(moves[60:]))[0, 1] > 0.1
    assert abs(np.corrcoef(moves[:-1], moves[1:])[0, 1]) < 0.02


def test_volume_comes_with_range() -> None:
    series = made()
    assert np.corrcoef(series.volume, series.high - series.low)[0, 1] > 0.4


def test_a_price_cannot_leave_for_zero_or_the_sky() -> None:
    series = made(20_000, DAY_MS)
    assert series.low.min() > 0.2 * 12_000 and series.high.max() < 5 * 12_000


@pytest.mark.parametrize(
    ("timeframe_ms", "bars", "seed"), [(0, 10, 1), (MINUTE_MS, 0, 1), (MINUTE_MS, 10**9, 1), (MINUTE_MS, 10, -1)]
)
def test_what_is_no_series_is_refused(timeframe_ms: int, bars: int, seed: int) -> None:
    with pytest.raises(DataError, match="synthetic bars"):
        synthetic(listing("ASTER/USDT:USDT"), timeframe_ms, START_MS, bars, seed)
