"""The indicators against the `ta` library on the same bars, and the faults of the seed."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import pytest
from ta.momentum import RSIIndicator
from ta.trend import MACD, EMAIndicator, SMAIndicator
from ta.volatility import AverageTrueRange, BollingerBands

from engine.processor.indicators import Indicators

NAMES = (
    "sma_20", "sma_50", "ema_12", "ema_26", "rsi_14", "macd", "macd_signal", "macd_histogram",
    "bollinger_middle", "bollinger_upper", "bollinger_lower", "atr_14",
)  # fmt: skip


def walk(n: int, start: float, seed: int = 1, volatility: float = 1e-3, tick: float = 0.0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    close = start * np.exp(np.cumsum(rng.normal(0, volatility, n)))
    open_ = np.concatenate([[start], close[:-1]])
    high = np.maximum(open_, close) * (1 + np.abs(rng.normal(0, volatility, n)))
    low = np.minimum(open_, close) * (1 - np.abs(rng.normal(0, volatility, n)))
    frame = pd.DataFrame({"high": high, "low": low, "close": close})
    return (frame / tick).round() * tick if tick else frame


def ours(frame: pd.DataFrame) -> pd.DataFrame:
    indicators = Indicators()
    rows = []
    for high, low, close in zip(frame.high.tolist(), frame.low.tolist(), frame.close.tolist(), strict=True):
        indicators.update(high, low, close)
        rows.append([getattr(indicators, name) for name in NAMES])
    return pd.DataFrame(rows, columns=list(NAMES))


def reference(frame: pd.DataFrame) -> pd.DataFrame:
    close = frame.close
    macd, bands = MACD(close, 26, 12, 9), BollingerBands(close, 20, 2)
    atr = AverageTrueRange(frame.high, frame.low, close, 14).average_true_range()
    atr.iloc[:13] = math.nan  # where `ta` says 0 before the first value, we say that there is none
    return pd.DataFrame(
        {
            "sma_20": SMAIndicator(close, 20).sma_indicator(),
            "sma_50": SMAIndicator(close, 50).sma_indicator(),
            "ema_12": EMAIndicator(close, 12).ema_indicator(),
            "ema_26": EMAIndicator(close, 26).ema_indicator(),
            "rsi_14": RSIIndicator(close, 14).rsi(),
            "macd": macd.macd(),
            "macd_signal": macd.macd_signal(),
            "macd_histogram": macd.macd_diff(),
            "bollinger_middle": bands.bollinger_mavg(),
            "bollinger_upper": bands.bollinger_hband(),
            "bollinger_lower": bands.bollinger_lband(),
            "atr_14": atr,
        }
    )


def assert_equal_to_ta(frame: pd.DataFrame) -> None:
    mine, theirs = ours(frame), reference(frame)
    for name in NAMES:
        assert mine[name].isna().equals(theirs[name].isna()), f"{name}: warm-up differs"
        # Differences of prices inherit the rounding of the prices, so the scale of the comparison is the price's.
        scale = 1.0 if name == "rsi_14" else float(frame.close.abs().max())
        worst = float((mine[name] - theirs[name]).abs().max())
        assert worst <= 1e-9 * scale, f"{name}: off by {worst}"
        relative = ((mine[name] - theirs[name]).abs() / theirs[name].abs()).median()
        assert not relative > 1e-9, f"{name}: typically off by {relative}"


@pytest.mark.parametrize(("start", "tick"), [(0.0172, 0.00001), (0.0172, 0.0), (0.9, 0.0001), (64_000.0, 0.1), (1e-6, 0.0)])
def test_every_indicator_equals_ta_from_its_first_value_at_every_scale_of_prices(start: float, tick: float) -> None:
    assert_equal_to_ta(walk(1500, start, tick=tick))


def test_nothing_drifts_over_twenty_thousand_bars() -> None:
    assert_equal_to_ta(walk(20_000, 64_000.0, seed=2, tick=0.1))


def test_nothing_drifts_when_prices_fall_by_orders_of_magnitude() -> None:
    """A running sum would keep the rounding of the large prices; `ta` itself does, so plain numpy is the reference."""
    close = np.geomspace(64_000.0, 0.0172, 20_000)
    mine = ours(pd.DataFrame({"high": close, "low": close, "close": close}))
    window = close[-20:]
    assert mine.sma_20.iloc[-1] == pytest.approx(math.fsum(window) / 20, rel=1e-13)
    assert mine.sma_50.iloc[-1] == pytest.approx(math.fsum(close[-50:]) / 50, rel=1e-13)
    assert mine.bollinger_upper.iloc[-1] == pytest.approx(window.mean() + 2 * window.std(), rel=1e-13)


@pytest.mark.parametrize("price", [0.0172, 1.0, 64_000.1])
def test_constant_prices_give_exact_figures(price: float) -> None:
    frame = pd.DataFrame({"high": [price] * 200, "low": [price] * 200, "close": [price] * 200})
    assert_equal_to_ta(frame)
    last = ours(frame).iloc[-1]
    assert last.sma_50 == last.ema_26 == last.bollinger_upper == last.bollinger_lower == price
    assert last.macd == last.macd_signal == last.atr_14 == 0.0


@pytest.mark.parametrize("name", ["futures_XRP_USDT_USDT-5m-futures.feather", "ETH_BTC-5m.feather"])
def test_every_indicator_equals_ta_on_real_klines(shared_data: Path, name: str) -> None:
    assert_equal_to_ta(pd.read_feather(shared_data / "market" / "freqtrade" / name)[["high", "low", "close"]].iloc[:5000])


def test_every_indicator_equals_ta_on_recorded_bitcoin_days(shared_data: Path) -> None:
    frame = pd.read_csv(shared_data / "market" / "basana" / "binance_btcusdt_day_2020.csv")
    assert_equal_to_ta(frame[["high", "low", "close"]].astype(float))


def test_figures_are_nan_until_ta_has_one() -> None:
    first = ours(walk(60, 1.0)).notna().idxmax()
    assert dict(first) == {
        "sma_20": 19, "sma_50": 49, "ema_12": 11, "ema_26": 25, "rsi_14": 13, "macd": 25, "macd_signal": 33,
        "macd_histogram": 33, "bollinger_middle": 19, "bollinger_upper": 19, "bollinger_lower": 19, "atr_14": 13,
    }  # fmt: skip
    assert all(math.isnan(getattr(Indicators(), name)) for name in NAMES)


def test_seed_fault_rsi_read_the_oldest_window() -> None:
    """After a long rise, a long fall must show; the seed's RSI stayed with the first 14 bars."""
    close = pd.Series([100.0 + i for i in range(100)] + [200.0 - i for i in range(100)])
    rsi = ours(pd.DataFrame({"high": close, "low": close, "close": close})).rsi_14
    assert rsi.iloc[90] == 100.0
    assert rsi.iloc[199] < 1.0


def test_seed_fault_macd_signal_was_macd_times_a_constant() -> None:
    """The signal is a moving average of the MACD: it lags, so their ratio moves and they cross."""
    mine = ours(walk(500, 100.0)).dropna()
    ratio = mine.macd_signal / mine.macd
    assert ratio.std() > 0.01
    assert (mine.macd_histogram > 0).any() and (mine.macd_histogram < 0).any()
    expected = mine.macd_signal.shift(1) + 0.2 * (mine.macd - mine.macd_signal.shift(1))
    assert np.allclose(mine.macd_signal[1:], expected[1:], rtol=0, atol=1e-12)


def test_decoded_indicators_go_on_where_the_encoded_ones_stopped() -> None:
    frame = walk(120, 0.9)
    straight, interrupted = Indicators(), Indicators()
    for high, low, close in frame.itertuples(index=False):
        straight.update(high, low, close)
        interrupted = msgspec.msgpack.decode(msgspec.msgpack.encode(interrupted), type=Indicators)
        interrupted.update(high, low, close)
    assert interrupted == straight and interrupted.bars == 120


def test_the_kernels_compile_and_give_the_same_figures() -> None:
    numba = pytest.importorskip("numba")
    from engine.processor import indicators as module

    source = Path(module.__file__).read_text()
    namespace: dict[str, object] = {}
    # Compiled from a copy, so that the module's own functions stay the plain ones that the engine calls.
    exec(source.replace("from engine.kernel import kernel", "from numba import njit as kernel"), namespace)
    assert numba.extending.is_jitted(namespace["update"])
    state, plain = np.array(module.empty()), Indicators()
    for high, low, close in walk(80, 64_000.0, tick=0.1).itertuples(index=False):
        namespace["update"](state, high, low, close)  # type: ignore[operator]
        plain.update(high, low, close)
    assert np.allclose(state, plain.state, rtol=1e-12, atol=1e-12, equal_nan=True)
