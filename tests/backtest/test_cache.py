"""What is kept of bars and funding: the same comes out, whole, by span and timeframe; nothing half, and one writer at a time."""

import subprocess
import sys
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import msgspec
import numpy as np
import pytest

from engine.backtest.cache import IMPORTED, Cache, joined, lacking
from engine.backtest.generated import DAY_MS, HOUR_MS, MINUTE_MS, listing, synthetic
from engine.backtest.series import Contract, Series
from engine.backtest.spans import cut
from engine.errors import DataError, StateError

START_MS = 1_704_067_200_000  # 2024-01-01
ASTER = "ASTER/USDT:USDT"


def made(bars: int = 3 * 1440, timeframe_ms: int = MINUTE_MS, seed: int = 5) -> Series:
    return synthetic(listing(ASTER), timeframe_ms, START_MS, bars, seed)


def span(series: Series) -> list[tuple[int, int]]:
    return [(int(series.open_ms[0]), int(series.open_ms[-1]) + series.timeframe_ms)]


def keep(cache: Cache, *parts: Series, venue: str = "binance", newer: bool = True) -> list[int]:
    with cache.writing(venue, ASTER) as writer:
        return [writer.add(part, span(part), newer=newer) for part in parts]


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache.in_state(tmp_path)


def same(one: Series, other: Series) -> bool:
    names = ("open_ms", "open", "high", "low", "close", "volume")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def test_what_was_kept_comes_out_again(cache: Cache) -> None:
    series = made()
    assert keep(cache, series) == [len(series)]
    found = cache.load(ASTER)
    assert same(found, series) and found.timeframe_ms == MINUTE_MS
    assert found.contract == Contract(ASTER, "binance", Decimal("0.0001"), Decimal(1))
    assert all(column.dtype == np.int64 for column in (found.open_ms, found.open, found.volume))
    assert cache.place("binance", ASTER).name == "ASTER_USDT_USDT"


def test_dates_choose_what_is_read(cache: Cache) -> None:
    series = made()
    keep(cache, series)
    assert same(cache.load(ASTER, start="2024-01-02", end="2024-01-02"), cut(series, 1440, 2880))
    with pytest.raises(DataError, match="there are no bars from 2023-12-31 on: they go from 2024-01-01 to 2024-01-04"):
        cache.load(ASTER, start="2023-12-31")


def test_parts_in_any_order_and_overlapping_are_one_series(cache: Cache) -> None:
    series = made()
    assert keep(cache, cut(series, 2000, 4320), cut(series, 0, 1000), cut(series, 900, 2100)) == [2320, 1000, 1000]
    assert same(cache.load(ASTER), series)
    with cache.writing("binance", ASTER) as writer:
        assert writer.asked(MINUTE_MS) == span(series)


def test_a_gap_between_parts_is_filled_and_said_or_refused_when_it_is_wide(cache: Cache) -> None:
    series = made()
    keep(cache, cut(series, 0, 1500), cut(series, 1510, 4320))
    found = cache.load(ASTER)
    assert len(found) == 4320 and "10 of 4,320 bars of 1m are missing in 1 gaps" in found.remarks[-1]
    assert not cache.load(ASTER, end="2024-01-01").remarks
    # A cut that begins in the gap still has every minute, at the close before it.
    inside = cache.load(ASTER, start="2024-01-02T01:05")
    assert inside.open_ms[0] == START_MS + 1505 * MINUTE_MS and inside.open[0] == series.close[1499] and inside.volume[0] == 0
    wide = Cache(cache.folder.parent / "wide")
    keep(wide, cut(series, 0, 1000), cut(series, 3000, 4320))
    assert len(wide.load(ASTER, start="2024-01-01T10:00", end="2024-01-01T12:00")) == 120
    for start, end in (("", ""), ("2024-01-01", "2024-01-02"), ("2024-01-02", "2024-01-03")):
        with pytest.raises(DataError, match="are missing in 1 gaps"):
            wide.load(ASTER, start=start, end=end)


def test_longer_bars_are_made_of_the_longest_that_make_them(cache: Cache) -> None:
    series = made()
    keep(cache, series, made(72, HOUR_MS, seed=6))
    assert len(cache.load(ASTER, timeframe_ms=5 * MINUTE_MS)) == 864
    assert same(cache.load(ASTER, timeframe_ms=HOUR_MS), made(72, HOUR_MS, seed=6))
    assert cache.load(ASTER, timeframe_ms=4 * HOUR_MS).open[0] == made(72, HOUR_MS, seed=6).open[0]
    assert cache.load(ASTER).timeframe_ms == MINUTE_MS
    with pytest.raises(DataError, match="there are no bars that make 1s; kept are 1m, 1h"):
        cache.load(ASTER, timeframe_ms=1_000)


def test_funding_comes_with_the_bars_and_what_is_not_known_is_said(cache: Cache) -> None:
    series = made()
    keep(cache, series)
    with cache.writing("binance", ASTER) as writer:
        half = START_MS + DAY_MS
        known = series.funding_ms < half
        added = writer.add_funding(series.funding_ms[known], series.funding_rate[known], [(START_MS, half)], "test")
        assert (added, writer.asked_funding()) == (3, [(START_MS, half)])
        found = cache.load(ASTER)
        assert list(found.funding_ms) == list(series.funding_ms[:3]) and list(found.funding_rate) == list(series.funding_rate[:3])
        assert found.remarks == ("Funding is not known from 2024-01-02 to 2024-01-04: none is paid there.",)
        assert writer.add_funding(series.funding_ms, series.funding_rate, span(series), "test") == 6
    whole = cache.load(ASTER)
    assert list(whole.funding_rate) == list(series.funding_rate) and not whole.remarks
    assert list(cache.load(ASTER, start="2024-01-02", end="2024-01-02").funding_ms) == list(series.funding_ms[3:6])


def test_a_venue_that_made_its_tick_finer_is_kept_in_the_finer_one(cache: Cache) -> None:
    """Old prices are multiples of the new tick; what was 12000 ticks of 0.0001 is 120000 of 0.00001."""
    series = made(200)
    first, rest = cut(series, 0, 100), cut(series, 100, 200)
    finer = msgspec.structs.replace(series.contract, tick=Decimal("0.00001"), step=Decimal("0.1"))
    prices = {name: getattr(rest, name) * 10 + 1 for name in ("open", "high", "low", "close")}
    keep(cache, first, replace(rest, contract=finer, volume=rest.volume * 10, **prices))
    found = cache.load(ASTER)
    assert (found.contract.tick, found.contract.step) == (Decimal("0.00001"), Decimal("0.1"))
    assert list(found.close[:100]) == list(first.close * 10) and list(found.close[100:]) == list(rest.close * 10 + 1)
    assert list(found.volume) == list(series.volume * 10)


def test_the_contract_is_kept_beside_and_follows_the_bars_units(cache: Cache) -> None:
    contract = Contract(ASTER, "binance", Decimal("0.0001"), Decimal(1), 2, 1000, Decimal(5), first_ms=START_MS)
    keep(cache, made(100))
    with cache.writing("binance", ASTER) as writer:
        writer.contract(contract)
    assert cache.load(ASTER).contract == contract
    with cache.writing("binance", ASTER) as writer:
        writer.contract(msgspec.structs.replace(contract, step=Decimal(10), min_quantity=1))
    assert cache.load(ASTER).contract.step == 1 and cache.load(ASTER).contract.min_quantity == 10


def test_a_downloaded_bar_is_replaced_and_an_imported_one_must_agree(cache: Cache) -> None:
    series, other = made(100), made(100, seed=9)
    keep(cache, series)
    with pytest.raises(DataError, match="100 of its bars are kept already with other numbers, the first of 2024-01-01"):
        keep(cache, other, newer=False)
    assert same(cache.load(ASTER), series)
    assert keep(cache, series, newer=False) == [0]
    keep(cache, other)
    assert same(cache.load(ASTER), other)


def test_two_venues_of_one_symbol_are_two_and_one_must_be_named(cache: Cache) -> None:
    keep(cache, made(100))
    keep(cache, made(100, seed=9), venue="okx")
    with pytest.raises(DataError, match=r"bars of binance, okx are kept\. Expected the venue to be named"):
        cache.load(ASTER)
    assert same(cache.load(ASTER, "okx"), made(100, seed=9))


def test_what_is_not_kept_is_an_error_that_says_how_to_get_it(cache: Cache) -> None:
    with pytest.raises(DataError, match="data download --symbol ASTER/USDT:USDT"):
        cache.load(ASTER)
    with pytest.raises(DataError, match="no bars of okx, but of binance, are kept"):
        keep(cache, made(10))
        cache.load(ASTER, "okx")


def test_the_list_says_what_there_is(cache: Cache) -> None:
    keep(cache, made(100), made(10, HOUR_MS))
    keep(cache, made(50), venue=IMPORTED)
    one, two = cache.held()
    assert (one.venue, one.symbol, two.venue) == ("binance", ASTER, IMPORTED)
    assert one.timeframes == {
        MINUTE_MS: (100, START_MS, START_MS + 100 * MINUTE_MS),
        HOUR_MS: (10, START_MS, START_MS + 10 * HOUR_MS),
    }
    assert one.size > 1000 and Cache(cache.folder / "none").held() == []


def test_a_second_writer_is_turned_away_and_a_dead_one_is_not_in_the_way(cache: Cache) -> None:
    keep(cache, made(10))
    code = (
        "import sys; from pathlib import Path; from engine.backtest.cache import Cache\n"
        "with Cache(Path(sys.argv[1])).writing('binance', sys.argv[2]):\n"
        "    print('held', flush=True); sys.stdin.read()"
    )
    words = (sys.executable, "-c", code, str(cache.folder), ASTER)
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "held\n"
        with pytest.raises(StateError, match="another process writes the data of ASTER/USDT:USDT"):
            keep(cache, made(20))
        assert len(cache.load(ASTER)) == 10  # reading waits for nobody
        other.kill()
    assert keep(cache, made(20)) == [10]


def test_a_write_that_fails_leaves_what_was_there(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    series = made(100)
    keep(cache, cut(series, 0, 50))

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(StateError, match="it cannot be written"):
            keep(cache, series)
    assert same(cache.load(ASTER), cut(series, 0, 50))
    assert sorted(path.name for path in cache.place("binance", ASTER).iterdir()) == [".lock", "1m.parquet"]


def test_damaged_files_are_named(cache: Cache) -> None:
    keep(cache, made(100))
    path = cache.place("binance", ASTER) / "1m.parquet"
    whole = path.read_bytes()
    for bad in (b"", b"rubbish", whole[: len(whole) // 2], whole[:100] + b"\0" * 200 + whole[300:]):
        path.write_bytes(bad)
        with pytest.raises(DataError, match=r"1m\.parquet"):
            cache.load(ASTER)
    import pyarrow as arrow
    from pyarrow import parquet

    parquet.write_table(arrow.table({"open_ms": [1, 2]}), path)
    with pytest.raises(DataError, match="it does not say what it holds"):
        cache.load(ASTER)


def test_spans_are_joined_and_what_lacks_is_told() -> None:
    assert joined([(5, 7), (0, 2), (2, 4), (6, 9), (3, 3)]) == [(0, 4), (5, 9)]
    assert lacking((0, 10), []) == [(0, 10)]
    assert lacking((0, 10), [(0, 10)]) == [] == lacking((3, 4), [(0, 10)])
    assert lacking((0, 10), [(2, 3), (8, 20)]) == [(0, 2), (3, 8)]
    assert lacking((0, 10), [(20, 30)]) == [(0, 10)]


def test_a_year_of_minutes_comes_back_whole(cache: Cache) -> None:
    year = made(525_600)
    keep(cache, year)
    assert same(cache.load(ASTER), year)
    assert cache.held()[0].size < 5_000_000
