"""Dates, cuts and longer bars."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from engine.backtest.generated import DAY_MS, FUNDING_MS, HOUR_MS, MINUTE_MS, listing, synthetic
from engine.backtest.series import Series
from engine.backtest.spans import between, date, end_of, length, length_of, resample, slice_between, start_of
from engine.errors import DataError

START_MS = 1_704_067_200_000  # 2024-01-01, a Monday


def minutes(bars: int, from_ms: int = START_MS) -> Series:
    return synthetic(listing("ASTER/USDT:USDT"), MINUTE_MS, from_ms, bars, 5)


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2024-01-01", START_MS, START_MS + DAY_MS),
        ("2024-01-01T12:30", START_MS + 12 * HOUR_MS + 30 * MINUTE_MS, START_MS + 12 * HOUR_MS + 30 * MINUTE_MS),
        ("2024-01-01 02:00+02:00", START_MS, START_MS),
        ("2024-02-29", START_MS + 59 * DAY_MS, START_MS + 60 * DAY_MS),
    ],
)
def test_an_end_date_includes_its_day_and_a_time_is_itself(text: str, start: int, end: int) -> None:
    assert (start_of(text), end_of(text)) == (start, end)


@pytest.mark.parametrize("text", ["", "yesterday", "2024-13-01", "2023-02-29", "01/02/2024"])
def test_what_is_no_date_is_an_error_that_shows_one(text: str) -> None:
    with pytest.raises(DataError, match=r"start date: .* is no date\. Expected a date such as 2024-01-31"):
        start_of(text)


def test_dates_and_lengths_are_shown_short() -> None:
    shown = [date(START_MS + more) for more in (0, MINUTE_MS, 1_000, 17)]
    assert shown == ["2024-01-01", "2024-01-01 00:01", "2024-01-01 00:00:01", "2024-01-01 00:00:00.017"]
    for text in ("1s", "1m", "90m", "4h", "1d", "3d", "1w"):
        assert length(length_of(text)) == text
    assert length(250) == "250ms"


@pytest.mark.parametrize("text", ["", "m", "0m", "1x", "1.5h", "-1m"])
def test_what_is_no_length_is_an_error(text: str) -> None:
    with pytest.raises(DataError, match="no length of a bar"):
        length_of(text)


def test_a_cut_has_the_bars_and_the_funding_within() -> None:
    whole = minutes(3 * 1440)
    cut = slice_between(whole, "2024-01-02", "2024-01-02")
    assert (len(cut), cut.open_ms[0], cut.open_ms[-1]) == (1440, START_MS + DAY_MS, START_MS + 2 * DAY_MS - MINUTE_MS)
    assert list(cut.funding_ms) == [START_MS + DAY_MS + number * FUNDING_MS for number in range(3)]
    assert list(cut.close) == list(whole.close[1440:2880])
    assert slice_between(whole) is whole and slice_between(whole, "2024-01-01", "2024-01-03") is whole


def test_dates_without_bars_are_an_error_that_says_from_when_to_when_there_are_some() -> None:
    """The seed's own example asks for 2024, and ASTER was listed in September 2025."""
    listed = 1_758_153_600_000  # 2025-09-18
    series = minutes(1440, listed + 7 * HOUR_MS)
    known = replace(series, contract=msgspec.structs.replace(series.contract, first_ms=listed))
    with pytest.raises(DataError) as raised:
        slice_between(known, "2024-01-01", "2024-12-31")
    assert str(raised.value) == (
        "ASTER/USDT:USDT: there are no bars from 2024-01-01 on: they go from 2025-09-18 07:00 to 2025-09-19 07:00;"
        " it was listed on 2025-09-18. Expected dates from 2025-09-18 07:00 to 2025-09-19 07:00."
    )
    with pytest.raises(DataError, match="up to 2025-12-31"):
        slice_between(series, "2025-09-18", "2025-12-31")
    # The day itself will do, though it began at seven.
    assert len(slice_between(series, "2025-09-18", "2025-09-19")) == 1440
    with pytest.raises(DataError, match="from 2025-09-18T00:00 on"):
        slice_between(series, "2025-09-18T00:00")


def test_an_end_before_the_start_and_an_empty_cut_are_errors() -> None:
    series = minutes(100)
    with pytest.raises(DataError, match="is not before"):
        slice_between(series, "2024-01-01T01:00", "2024-01-01T00:30")
    with pytest.raises(DataError, match="there are no bars"):
        between(series, 0, 5)


def test_longer_bars_are_made_of_the_shorter_ones() -> None:
    series = minutes(30)
    made = resample(series, 5 * MINUTE_MS)
    assert (len(made), made.timeframe_ms) == (6, 300_000) and list(made.open_ms) == list(series.open_ms[::5])
    for number in range(6):
        part = slice(5 * number, 5 * number + 5)
        expected = (
            series.open[part][0],
            series.high[part].max(),
            series.low[part].min(),
            series.close[part][-1],
            series.volume[part].sum(),
        )
        assert (made.open[number], made.high[number], made.low[number], made.close[number], made.volume[number]) == expected
    assert not made.remarks


def test_bars_that_are_not_whole_at_the_ends_are_left_out_and_it_is_said() -> None:
    series = minutes(130, START_MS + 50 * MINUTE_MS)
    made = resample(series, HOUR_MS)
    assert list(made.open_ms) == [START_MS + HOUR_MS, START_MS + 2 * HOUR_MS]
    assert made.remarks == ("10 bars of 1m at the ends fill no bar of 1h: left out.",)


def test_funding_of_what_is_left_out_is_left_out() -> None:
    series = minutes(600, START_MS - 30 * MINUTE_MS)
    assert START_MS + FUNDING_MS in series.funding_ms
    made = resample(series, 4 * HOUR_MS)
    assert list(made.funding_ms) == [START_MS] and len(made) == 2


def test_weeks_begin_on_monday() -> None:
    days = synthetic(listing("ASTER/USDT:USDT"), DAY_MS, START_MS - 2 * DAY_MS, 20, 5)
    assert list(resample(days, 7 * DAY_MS).open_ms) == [START_MS, START_MS + 7 * DAY_MS]


def test_what_does_not_divide_is_refused() -> None:
    series = minutes(100)
    assert resample(series, MINUTE_MS) is series
    for timeframe_ms in (90_000, 1_000):
        with pytest.raises(DataError, match="cannot be put into bars of"):
            resample(series, timeframe_ms)
    with pytest.raises(DataError, match="hold no whole bar of 1d"):
        resample(series, DAY_MS)
    shifted = replace(series, open_ms=series.open_ms + np.int64(20_000))
    with pytest.raises(DataError, match="none of 5m is whole in UTC"):
        resample(shifted, 5 * MINUTE_MS)
