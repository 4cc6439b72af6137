"""Files of bars as the world writes them: each layout is read, and bad data are an error that names the place."""

import gzip
import json
import zipfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path

import numpy as np
import pyarrow as arrow
import pytest
from pyarrow import feather, parquet

from engine.backtest.files import Funding, read, read_as_it_is
from engine.backtest.series import Contract, Series
from engine.errors import DataError

START = 1_704_067_200  # 2024-01-01, in seconds
BARS = [  # open, high, low, close, volume: four minutes
    (1.2000, 1.2050, 1.1990, 1.2010, 100.0),
    (1.2010, 1.2020, 1.2000, 1.2005, 50.5),
    (1.2005, 1.2105, 1.2005, 1.2100, 300.0),
    (1.2100, 1.2110, 1.2050, 1.2060, 20.0),
]
OPENS, CLOSES = [12000, 12010, 12005, 12100], [12010, 12005, 12100, 12060]
Write = Callable[..., Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(text: str | bytes, name: str = "bars.csv") -> Path:
        path = tmp_path / name
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return written


def rows(time: Callable[[int], object] = lambda place: (START + 60 * place) * 1000, parted: str = ",") -> str:
    return "\n".join(parted.join(map(str, (time(place), *bar))) for place, bar in enumerate(BARS)) + "\n"


def is_them(series: Series) -> bool:
    assert list(series.open_ms) == [(START + 60 * place) * 1000 for place in range(4)]
    assert (list(series.open), list(series.close)) == (OPENS, CLOSES)
    assert list(series.high) == [12050, 12020, 12105, 12110] and list(series.low) == [11990, 12000, 12005, 12050]
    assert list(series.volume * float(series.contract.step)) == [100.0, 50.5, 300.0, 20.0]
    assert series.contract.tick == Decimal("0.0001") and series.timeframe_ms == 60_000
    return True


# --- layouts ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "header",
    [
        "timestamp,open,high,low,close,volume",
        "Date,Open,High,Low,Close,Volume",
        "OPEN TIME,OPEN,HIGH,LOW,CLOSE,VOLUME",
        "ts,o,h,l,c,v",
        ",Open,High,Low,Close,Volume",  # a pandas index
        '"datetime","open","high","low","close","volume"',
        "unix,open,high,low,close,Volume BTC",
    ],
)
def test_columns_are_found_by_the_names_that_people_give_them(write: Write, header: str) -> None:
    assert is_them(read(write(f"{header}\n{rows()}")))


@pytest.mark.parametrize(
    "time",
    [
        lambda place: START + 60 * place,
        lambda place: f"{START + 60 * place}.0",
        lambda place: (START + 60 * place) * 1_000,
        lambda place: (START + 60 * place) * 1_000_000,
        lambda place: (START + 60 * place) * 1_000_000_000,
        lambda place: f"2024-01-01 00:0{place}:00",
        lambda place: f"2024-01-01T00:0{place}",
        lambda place: f"2024-01-01T00:0{place}:00Z",
        lambda place: f"2024-01-01 00:0{place}:00+00:00",
        lambda place: f"2024-01-01 05:3{place}:00+05:30",  # India
        lambda place: f"2023-12-31T19:0{place}:00.000-05:00",
        lambda place: f"2024-01-01 00:0{place}:00 UTC",
        lambda place: f"2024.01.01 00:0{place}",
        lambda place: f"01.01.2024 00:0{place}:00.000",
        lambda place: f"2024-01-01 00:00:00+00:0{place}" if place == 0 else f"2024-01-01 00:0{place}:00",
    ],
)
def test_times_are_told_apart_by_their_size_or_their_text(write: Write, time: Callable[[int], object]) -> None:
    assert is_them(read(write(f"time,open,high,low,close,volume\n{rows(time)}")))


def test_binances_dump_is_read_with_and_without_its_header(write: Write) -> None:
    lines = [
        f"{(START + 60 * place) * 1000},{o},{h},{low},{c},{v},{(START + 60 * place) * 1000 + 59_999},121.5,42,55.0,66.0,0"
        for place, (o, h, low, c, v) in enumerate(BARS)
    ]
    names = "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
    bare, named = read(write("\n".join(lines))), read(write("\n".join([names, *lines]), "named.csv"))
    assert is_them(bare) and is_them(named)
    assert "no header: its 12 columns were taken for Binance's" in bare.remarks[0]


def test_a_dump_that_goes_from_milliseconds_to_microseconds_is_one_series(write: Write) -> None:
    assert is_them(read(write(rows(lambda place: (START + 60 * place) * (1_000 if place < 2 else 1_000_000)))))


def test_okx_candles_count_the_base_coin_and_leave_the_unfinished_bar_out(write: Write) -> None:
    """Newest first, the sixth column counts contracts of ten; the last minute has not ended."""
    lines = [f"{(START + 60 * place) * 1000},{o},{h},{low},{c},{v / 10},{v},{v * o},{int(place < 4)}"
             for place, (o, h, low, c, v) in enumerate([*BARS, BARS[0]])]  # fmt: skip
    found = read(write("\n".join(reversed(lines))))
    named = read(write("\n".join(["ts,o,h,l,c,vol,volCcy,volCcyQuote,confirm", *lines]), "named.csv"))
    assert is_them(found) and is_them(named)
    assert any("1 bars were not finished" in remark for remark in found.remarks)
    assert any("turned round" in remark for remark in found.remarks)


@pytest.mark.parametrize("parted", [";", "\t", "|"])
def test_fields_are_parted_by_what_parts_them(write: Write, parted: str) -> None:
    assert is_them(read(write(parted.join(("time", "open", "high", "low", "close", "volume")) + "\n" + rows(parted=parted))))


def test_a_preface_blank_lines_and_a_byte_order_mark_do_no_harm(write: Write) -> None:
    text = "﻿https://www.example.org\n# free for all\n\nDate,Open,High,Low,Close,Volume\n" + rows().replace("\n", "\n\n", 2)
    assert is_them(read(write(text)))
    assert is_them(read(write(text.replace("\n", "\r\n"))))


def test_a_day_and_its_clock_are_one_time(write: Write) -> None:
    text = "<DATE>\t<TIME>\t<OPEN>\t<HIGH>\t<LOW>\t<CLOSE>\t<TICKVOL>\n" + rows(lambda place: f"2024.01.01\t00:0{place}:00", "\t")
    assert is_them(read(write(text)))


def test_bars_that_are_named_by_their_end_begin_a_bar_before(write: Write) -> None:
    text = "close_time,open,high,low,close,volume\n" + rows(lambda place: (START + 60 * place) * 1000 + 59_999)
    found = read(write(text))
    assert is_them(found) and "named by their end" in found.remarks[0]


def test_packed_dumps_are_read_and_named_with_what_is_inside(write: Write, tmp_path: Path) -> None:
    assert is_them(read(write(gzip.compress(rows().encode()), "bars.csv.gz")))
    with zipfile.ZipFile(tmp_path / "ASTERUSDT-1m-2024-01.zip", "w") as archive:
        archive.writestr("ASTERUSDT-1m-2024-01.csv", rows())
    found = read(tmp_path / "ASTERUSDT-1m-2024-01.zip", "ASTER/USDT:USDT")
    assert is_them(found) and found.source.endswith(".zip/ASTERUSDT-1m-2024-01.csv")
    assert found.contract.symbol == "ASTER/USDT:USDT"


def test_json_lists_and_objects_are_read(write: Write) -> None:
    lists = [[(START + 60 * place) * 1000, *bar] for place, bar in enumerate(BARS)]
    objects = [dict(zip(("timestamp", "open", "high", "low", "close", "volume"), row, strict=True)) for row in lists]
    assert is_them(read(write(json.dumps(lists), "a.json")))
    assert is_them(read(write(json.dumps(objects), "b.json")))
    assert is_them(read(write(json.dumps({"code": "0", "data": lists}), "c.json")))


@pytest.mark.parametrize("unit", ["ms", "us", "ns"])
def test_parquet_and_feather_are_read(tmp_path: Path, unit: str) -> None:
    """As freqtrade writes them: `date` with a zone, prices as floats."""
    times = (
        arrow.array([(START + 60 * place) * 1000 for place in range(4)])
        .cast(arrow.timestamp("ms"))
        .cast(arrow.timestamp(unit, "UTC"))
    )
    names = ("open", "high", "low", "close", "volume")
    table = arrow.table({"date": times, **dict(zip(names, map(list, zip(*BARS, strict=True)), strict=True))})
    parquet.write_table(table, tmp_path / "bars.parquet")
    feather.write_feather(table, tmp_path / "bars.feather")
    feather.write_feather(table.rename_columns(["when", *names]), tmp_path / "named.feather")
    assert all(is_them(read(tmp_path / name)) for name in ("bars.parquet", "bars.feather", "named.feather"))


def test_mark_prices_without_volume_count_as_none(tmp_path: Path) -> None:
    names = ("open", "high", "low", "close")
    columns = dict(zip(names, list(zip(*BARS, strict=True))[:4], strict=True))
    table = arrow.table(
        {"timestamp": [START + 60 * place for place in range(4)], **columns, "volume": arrow.nulls(4, arrow.float64())}
    )
    parquet.write_table(table, tmp_path / "mark.parquet")
    found = read(tmp_path / "mark.parquet")
    assert not found.volume.any() and "There is no column of volume: it counts as 0." in found.remarks


# --- funding ----------------------------------------------------------------------------------------------------------

DUMP = """\
calc_time,funding_interval_hours,last_funding_rate
1704067200004,8,0.0001
1704096000000,8,-0.00025
1704124800001,8,0.0003
"""


def test_a_dump_of_funding_is_known_by_its_columns(write: Write) -> None:
    found = read_as_it_is(write(DUMP), "ASTER/USDT:USDT")
    assert isinstance(found, Funding)
    assert list(found.at_ms) == [1704067200004, 1704096000000, 1704124800001] and list(found.rate) == [0.0001, -0.00025, 0.0003]
    assert found.span == (START * 1000, 1704124800001 + 28_799_996)  # the distances differ by milliseconds; the shorter counts
    answer = [
        {"symbol": "ASTERUSDT", "fundingTime": 1704067200004 + 28_800_000 * place, "fundingRate": "0.0001"} for place in (1, 0)
    ]
    told = read_as_it_is(write(json.dumps(answer), "funding.json"), "ASTER/USDT:USDT")
    assert isinstance(told, Funding) and list(told.at_ms) == [1704067200004, 1704096000004]
    assert isinstance(read_as_it_is(write(rows()), "ASTER/USDT:USDT"), Series)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("-0.00025", "nan", "line 3, column last_funding_rate: nan is no rate"),
        ("-0.00025", "2.5", "line 3, column last_funding_rate: 2.5 is no rate"),
        ("1704096000000", "1704067200004", "line 3, column calc_time: another rate of this time stands above"),
        ("calc_time", "somewhen", "there is no column for the time"),
        ("1704096000000,8,-0.00025\n1704124800001,8,0.0003\n", "", "fewer than two settlements"),
    ],
)
def test_bad_funding_is_named(write: Write, old: str, new: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read_as_it_is(write(DUMP.replace(old, new)), "ASTER/USDT:USDT")


# --- what is put right and said ---------------------------------------------------------------------------------------


def test_rows_out_of_order_are_sorted_and_it_is_said(write: Write) -> None:
    lines = rows().splitlines()
    found = read(write("\n".join([lines[0], lines[2], lines[1], lines[3]])))
    assert is_them(found) and "1 times a row came too late: sorted." in found.remarks


def test_equal_rows_are_dropped_and_it_is_said(write: Write) -> None:
    lines = rows().splitlines()
    found = read(write("\n".join([*lines[:2], lines[1], *lines[2:]])))
    assert is_them(found) and "1 rows stood there twice, the first in line 3: dropped." in found.remarks


def many(count: int = 100, without: tuple[int, ...] = ()) -> list[str]:
    return [f"{(START + 60 * place) * 1000},1.2,1.3,1.1,1.25,{place}" for place in range(count) if place not in without]


def test_gaps_become_flat_bars_at_the_last_close_and_it_is_said(write: Write) -> None:
    found = read(write("\n".join(many(without=(10, 20, 21)))))
    assert len(found) == 100 and set(np.diff(found.open_ms)) == {60_000}
    assert [int(column[20]) for column in (found.open, found.high, found.low, found.close, found.volume)] == [
        125,
        125,
        125,
        125,
        0,
    ]
    (said,) = (remark for remark in found.remarks if "missing" in remark)
    assert said == (
        "3 of 100 bars of 1m are missing in 2 gaps; the first is at 2024-01-01 00:10, the longest at 2024-01-01 00:20 (2 bars):"
        " filled with flat bars at the last close, without volume."
    )
    assert "Without volume: 1 of 97 bars." in found.remarks  # the first: the made ones are not counted again


def test_bars_of_another_time_zone_are_kept_and_it_is_said(write: Write) -> None:
    lines = [f"{(START + 3600 * place + 1800) * 1000},1.2,1.3,1.1,1.25,5" for place in range(30)]
    found = read(write("\n".join(lines)))
    assert "Bars begin 30m after whole 1h of UTC: are its times those of another zone?" in found.remarks


def test_the_contract_gives_ticks_and_steps(write: Write) -> None:
    contract = Contract("ASTER/USDT:USDT", "binance", Decimal("0.00005"), Decimal(1))
    found = read(write(rows()), contract=contract)
    assert found.contract is contract and list(found.open) == [24000, 24020, 24010, 24200]
    assert list(found.volume) == [100, 50, 300, 20] and "1 volumes were rounded to the step 1." in found.remarks


def test_a_price_that_only_the_noise_of_floats_took_off_its_tick_is_on_it(write: Write) -> None:
    found = read(write(rows().replace("1.2105", "1.2105000000000001")))
    assert is_them(found)


def test_a_price_near_its_tick_is_rounded_and_it_is_said(write: Write) -> None:
    contract = Contract("ASTER/USDT:USDT", "binance", Decimal("0.0001"), Decimal("0.5"))
    found = read(write(rows().replace("1.2105", "1.2105000001")), contract=contract)
    assert is_them(found) and any("1 of the column 3 were rounded to the tick 0.0001" in remark for remark in found.remarks)


def test_tiny_prices_keep_their_digits(write: Write) -> None:
    lines = [f"{(START + 60 * place) * 1000},0.000000123456,0.000000123458,0.000000123450,0.000000123457,1" for place in range(3)]
    found = read(write("\n".join(lines)))
    assert float(found.contract.tick) * float(found.open[0]) == pytest.approx(1.23456e-7, rel=1e-9)


# --- what is an error -------------------------------------------------------------------------------------------------

HEADER = "timestamp,open,high,low,close,volume\n"


def changed(line: int, old: str, new: str) -> str:
    """The rows under a header; in `line` of the file `old` is `new`."""
    lines = (HEADER + rows()).splitlines()
    assert old in lines[line - 1]
    lines[line - 1] = lines[line - 1].replace(old, new)
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("line", "old", "new", "column", "told"),
    [
        (3, "1.202,", "nan,", "high", "missing or not a number"),
        (3, "1.202,", ",", "high", "missing or not a number"),
        (3, "1.202,", "inf,", "high", "it is inf"),
        (4, "1.2105,", "-1.2105,", "high", "it is -1.2105"),
        (4, "1.2005,1.2105", "0,1.2105", "open", "it is 0"),
        (5, "20.0", "-20.0", "volume", "it is -20"),
        (5, "20.0", "nan", "volume", "missing or not a number"),
        (5, "1.211,", "dear,", "high", "'dear' is no number"),
        (4, "1.2105,", "1.2001,", "high", "1.2001 is below the low, 1.2005"),
        (3, "1.202,", "1.2007,", "high", "1.2007 is below the open, 1.201"),
        (2, "1.199,1.201", "1.2,1.1995", "close", "1.1995 is below the low, 1.2"),
        (3, str((START + 60) * 1000), "yesterday", "timestamp", "'yesterday' is no time"),
        (3, str((START + 60) * 1000), "12", "timestamp", "12 is no time"),
        (3, str((START + 60) * 1000), "", "timestamp", "'' is no time"),
        (4, str((START + 120) * 1000), str((START + 60) * 1000), "timestamp", "stands in line 3, with other numbers"),
    ],
)  # fmt: skip
def test_a_bad_field_is_named_by_line_and_column(write: Write, line: int, old: str, new: str, column: str, told: str) -> None:
    path = write(changed(line, old, new))
    with pytest.raises(DataError) as raised:
        read(path)
    assert (raised.value.line, raised.value.column) == (line, column)
    assert told in str(raised.value) and str(path) in str(raised.value)


def test_lines_are_counted_as_a_person_does_past_blank_ones(write: Write) -> None:
    with pytest.raises(DataError, match="line 8, column open"):
        read(write("# one\n\n" + HEADER + "\n\n" + rows().replace("1.2005,1.2105", "x,1.2105")))


def test_a_row_of_another_width_is_named(write: Write) -> None:
    with pytest.raises(DataError, match=r"line 3: the row has 3 fields, the first has 6"):
        read(write(changed(3, ",1.2,1.2005,50.5", "")))


def test_a_price_off_the_tick_is_named(write: Write) -> None:
    contract = Contract("ASTER/USDT:USDT", "binance", Decimal("0.0005"), Decimal(1))
    with pytest.raises(DataError, match=r"line 3, column low: 1\.1999 is not a multiple of the tick 0\.0005"):
        read(write(changed(3, "1.202,1.2,", "1.202,1.1999,")), contract=contract)


def test_a_bar_of_another_length_is_named(write: Write) -> None:
    lines = many(20)
    lines[12] = lines[12].replace(str((START + 720) * 1000), str((START + 690) * 1000))
    with pytest.raises(DataError, match="line 13, column 1: it begins at 2024-01-01 00:11:30, between the bars of 1m around it"):
        read(write("\n".join(lines)))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "it is empty"),
        ("\n\n", "it is empty"),
        (HEADER, "it holds a header and no bars"),
        ("a,b\n1,2\n", "none of its first 2 lines has five columns"),
        (
            "time,price,size,side,id\n1,2,3,4,5\n",
            "there is no column for open, high, low, close; there are time, price, size, side, id",
        ),
        (HEADER.replace("close", "last") + rows(), "there is no column for close"),
        (",".join("1" * 20) + "\n", "it has 20 columns and no header"),
        (rows().splitlines()[0], "a single bar does not tell how long it is"),
        ("\n".join(many(without=tuple(range(40, 60)))), "20 of 100 bars of 1m are missing in 1 gaps"),
    ],
)
def test_a_file_that_cannot_be_used_says_why(write: Write, text: str, told: str) -> None:
    with pytest.raises(DataError, match=told):
        read(write(text))


def test_one_bar_of_a_known_length_is_a_series(write: Write) -> None:
    assert len(read(write(rows().splitlines()[0]), timeframe_ms=60_000)) == 1


def test_bars_of_another_length_than_was_asked_for_are_refused(write: Write) -> None:
    with pytest.raises(DataError, match=r"its bars are 1m long\. Expected bars of 5m"):
        read(write(rows()), timeframe_ms=300_000)


def test_what_is_no_file_of_bars_is_told(write: Write, tmp_path: Path) -> None:
    wrong = {
        "nothing.csv": "there is no such file",
        "bars.xlsx": "files of this kind (.xlsx) are not read",
        "bad.gz": "cannot be read",
        "bad.zip": "it is damaged",
        "bad.parquet": "it cannot be read as parquet",
        "bad.feather": "it cannot be read as feather",
        "bad.json": "it is no JSON",
        "none.json": "it holds no list",
        "uneven.json": "line 2: the row is not like the first",
    }
    for name in list(wrong)[1:]:
        write("[[1, 2], [3]]" if name == "uneven.json" else "{}" if name == "none.json" else "rubbish", name)
    for name, told in wrong.items():
        with pytest.raises(DataError) as raised:
            read(tmp_path / name)
        assert told in str(raised.value), name
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="this is a folder"):
        read(tmp_path / "folder.csv")
    cut = gzip.compress(rows().encode() * 100)
    with pytest.raises(DataError, match="damaged"):
        read(write(cut[: len(cut) // 2], "cut.csv.gz"))
    with zipfile.ZipFile(tmp_path / "two.zip", "w") as archive:
        archive.writestr("a.csv", rows())
        archive.writestr("b.csv", rows())
    with pytest.raises(DataError, match="there are 2 files in it"):
        read(tmp_path / "two.zip")


# --- recorded ones ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "bars", "timeframe_ms", "tick"),
    [
        ("freqtrade/futures_XRP_USDT_USDT-5m-futures.feather", 1_999, 300_000, "0.0001"),
        ("freqtrade/futures_XRP_USDT_USDT-1h-futures.feather", 100, 3_600_000, "0.00001"),
        ("freqtrade/futures_XRP_USDT_USDT-1h-mark.feather", 100, 3_600_000, "0.00001"),
        ("freqtrade/ETH_BTC-5m.feather", 5_760, 300_000, "0.00000001"),
        ("nautilus/ADABTC-1m-2021-11-27.csv", 10, 60_000, "0.00000001"),
        ("basana/binance_btcusdt_day_2020.csv", 366, 86_400_000, "0.01"),
    ],
)
def test_klines_of_other_projects_are_read(shared_data: Path, name: str, bars: int, timeframe_ms: int, tick: str) -> None:
    found = read(shared_data / "market" / name)
    assert (len(found), found.timeframe_ms, found.contract.tick) == (bars, timeframe_ms, Decimal(tick))


@pytest.mark.parametrize(
    "name",
    [
        "nautilus/binance_btcusdt-trades.parquet",
        "nautilus/binance_btcusdt-depth-snap.csv",
        "nautilus/binance_btcusdt-instrument.txt",
        "freqtrade/futures_XRP_USDT_USDT-8h-funding_rate.feather",
        "hftbacktest/usdm_btcusdt_20240808.gz",
        "cryptofeed/OKX.0",
    ],
)
def test_other_recordings_are_refused_in_a_sentence(shared_data: Path, name: str) -> None:
    with pytest.raises(DataError, match=name.rpartition("/")[2]):
        read(shared_data / "market" / name)
