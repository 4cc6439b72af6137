"""Numbers as a trading screen shows them."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from console import format as show


@pytest.mark.parametrize(
    ("unit", "count", "text"),
    [("0.0001", 12345, "1.2345"), ("0.10", 7, "0.7"), ("5", 3, "15"), ("1E+1", 2, "20"), ("0.01", 0, "0.00")],
)
def test_a_price_has_the_decimals_of_its_tick(unit: str, count: int, text: str) -> None:
    assert show.ticks(count, Decimal(unit)) == text


@pytest.mark.parametrize(
    ("text", "signed", "plain"),
    [
        ("1234.5", "+1,234.50", "1,234.50"),
        ("-0.004", "0.00", "0.00"),
        ("-3", "-3.00", "-3.00"),
        ("x", "-", "-"),
        ("NaN", "-", "-"),
    ],
)
def test_money_has_two_decimals_and_a_sign_only_where_it_is_not_zero(text: str, signed: str, plain: str) -> None:
    assert (show.money(text, sign=True), show.money(text)) == (signed, plain)


@pytest.mark.parametrize(("value", "text"), [(1.254, "+1.25%"), (-0.001, "0.00%"), (float("nan"), "-"), (-2, "-2.00%")])
def test_a_percentage_has_a_sign(value: float, text: str) -> None:
    assert show.percent(value) == text


@pytest.mark.parametrize(
    ("ms", "text"),
    [(-1, "-"), (0, "0.0s"), (950, "0.9s"), (12_400, "12s"), (185_000, "3m05"), (7_620_000, "2h07"), (356_400_000, "4d03")],
)
def test_a_duration_says_its_unit(ms: float, text: str) -> None:
    assert show.duration(ms) == text


@pytest.mark.parametrize(
    ("us", "text"), [(0, "-"), (float("nan"), "-"), (312, "312us"), (999.7, "1.0ms"), (2_140, "2.1ms"), (1_300_000, "1.30s")]
)
def test_a_latency_says_its_unit(us: float, text: str) -> None:
    assert show.micros(us) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (840, "840"), (5_120, "5.1k"), (2_300_000, "2.3M")])
def test_a_count_is_short(value: float, text: str) -> None:
    assert show.count(value) == text


def test_a_market_is_named_for_people() -> None:
    assert show.market_name("binance:ASTER/USDT:USDT") == "binance ASTER/USDT"
    assert show.market_name("binance:ASTER/USDT:USDT", short=True) == "ASTER"
    assert show.market_name("") == ""


def test_times_are_utc_and_bars_have_a_length() -> None:
    assert show.clock(1_700_000_000_000_000_000) == "22:13:20"
    assert [show.timeframe(ms) for ms in (1_000, 60_000, 300_000, 3_600_000, 250)] == ["1s", "1m", "5m", "1h", "250ms"]


@given(st.text(), st.integers(0, 40))
def test_words_fill_exactly_their_cells_whatever_they_are(text: str, width: int) -> None:
    shown = show.fit(text, width)
    assert cell_len(shown) == width
    assert "\n" not in shown and "\x1b" not in shown


def test_a_number_that_does_not_fit_is_not_cut() -> None:
    assert show.number("1.25", 6) == "  1.25"
    assert show.number("12345.25", 6) == "######"
