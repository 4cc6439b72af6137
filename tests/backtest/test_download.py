"""Bars from the simulated venues over real sockets, through ccxt: all of them, only what lacks, and kept whatever happens."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import numpy as np
import pytest
import pytest_asyncio

from engine.backtest import download as module
from engine.backtest.cache import Cache
from engine.backtest.download import Found, download
from engine.backtest.generated import HOUR_MS, MINUTE_MS
from engine.backtest.kept import read_bars, read_contract
from engine.backtest.series import Series
from engine.errors import DataError, VenueError
from tests.simulated import FRESH_MS, Simulated, simulated

ASTER, BTC = "ASTER/USDT:USDT", "BTC/USDT:USDT"
VENUES = ("binance", "okx")
PATHS = {"binance": "/fapi/v1/klines", "okx": "/api/v5/market/history-candles"}


@pytest_asyncio.fixture(loop_scope="function")
async def venue() -> AsyncIterator[Simulated]:
    async with simulated(symbols=["ASTERUSDT", "BTCUSDT"], warm_ms=FRESH_MS) as found:
        yield found


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache.in_state(tmp_path)


def recent(venue: Simulated, hours: int) -> tuple[int, int]:
    """So many whole hours that have ended."""
    end = venue.clock.now_ms() // MINUTE_MS * MINUTE_MS
    return end - hours * HOUR_MS, end


async def requests(venue: Simulated, name: str) -> int:
    state = await venue.state()
    counters = state["counters"] if name == "binance" else state["okx"]["counters"]
    return int(counters["requests"])


async def listed(venue: Simulated, symbol: str, span: tuple[int, int]) -> list[list[float]]:
    """Binance's side asked by hand: the bars of the span."""
    query = {"symbol": symbol, "interval": "1m", "limit": "1500", "startTime": str(span[0]), "endTime": str(span[1] - 1)}
    async with aiohttp.ClientSession() as http, http.get(f"{venue.rest}/fapi/v1/klines", params=query) as reply:
        return [[float(value) for value in row[:6]] for row in await reply.json()]


def numbers(series: Series) -> list[list[float]]:
    tick, step = float(series.contract.tick), float(series.contract.step)
    prices = [column * tick for column in (series.open, series.high, series.low, series.close)]
    return np.stack([series.open_ms, *prices, series.volume * step], axis=1).tolist()


@pytest.mark.parametrize("name", VENUES)
async def test_what_the_venue_has_is_what_is_kept(venue: Simulated, cache: Cache, name: str) -> None:
    span = recent(venue, 6)
    found = await download(cache, name, ASTER, span, MINUTE_MS, venue.rest)
    assert (found.bars, found.marks) == (360, 360)
    series = cache.load(ASTER, name)
    assert (series.open_ms[0], series.open_ms[-1], len(series)) == (span[0], span[1] - MINUTE_MS, 360)
    assert not any("missing" in remark for remark in series.remarks)
    assert np.all(series.high >= np.maximum(series.open, series.close)) and series.volume.any()
    if name == "binance":
        np.testing.assert_allclose(numbers(series), await listed(venue, "ASTERUSDT", span), rtol=1e-12)
    marks = cache.load(ASTER, name, mark=True)
    assert np.array_equal(marks.close, series.close) and not marks.volume.any()
    contract = read_contract(cache.place(name, ASTER))
    assert contract is not None and (str(contract.tick), str(contract.step)) == ("0.0001", "1") and contract.first_ms > 0


async def test_okx_counts_contracts_and_we_count_coins(venue: Simulated, cache: Cache) -> None:
    """A contract of BTC is a hundredth; the smallest part of one is a hundredth of that."""
    await download(cache, "okx", BTC, recent(venue, 2), MINUTE_MS, venue.rest)
    series = cache.load(BTC, "okx")
    assert str(series.contract.step) == "0.0001"
    async with aiohttp.ClientSession() as http:
        query = {"instId": "BTC-USDT-SWAP", "bar": "1m", "after": str(series.open_ms[10] + 1), "limit": "1"}
        async with http.get(f"{venue.rest}/api/v5/market/history-candles", params=query) as reply:
            (row,) = (await reply.json())["data"]
    assert int(row[0]) == series.open_ms[10]
    assert series.volume[10] * 0.0001 == pytest.approx(float(row[6])) == pytest.approx(float(row[5]) * 0.01)


@pytest.mark.parametrize("name", VENUES)
async def test_the_second_time_only_what_lacks_is_asked_for(venue: Simulated, cache: Cache, name: str) -> None:
    from_ms, to_ms = recent(venue, 6)
    await download(cache, name, ASTER, (from_ms + HOUR_MS, to_ms - HOUR_MS), MINUTE_MS, venue.rest)
    before = await requests(venue, name)
    again = await download(cache, name, ASTER, (from_ms + HOUR_MS, to_ms - HOUR_MS), MINUTE_MS, venue.rest)
    listing = await requests(venue, name) - before
    assert (again.bars, again.marks) == (0, 0) and listing <= 4  # markets and the time; what is listed is not asked for twice
    wider = await download(cache, name, ASTER, (from_ms, to_ms), MINUTE_MS, venue.rest)
    assert (wider.bars, wider.marks) == (120, 120) and len(cache.load(ASTER, name)) == 360


@pytest.mark.parametrize("name", VENUES)
async def test_pages_meet_without_a_seam(venue: Simulated, cache: Cache, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BINANCE_PAGE", 70)
    monkeypatch.setattr(module, "OKX_PAGE", 70)
    monkeypatch.setattr(module, "KEEP_EVERY", 100)
    told: list[tuple[str, int, int]] = []
    span = recent(venue, 4)
    found = await download(cache, name, ASTER, span, MINUTE_MS, venue.rest, lambda *what: told.append(what))
    assert found.bars == 240
    assert np.all(np.diff(read_bars(cache.place(name, ASTER) / "1m.parquet").columns[0]) == MINUTE_MS)
    assert [done for what, done, _ in told if what == "bars"] == [0, 70, 140, 210, 240]


async def test_longer_bars_are_fetched_as_such(venue: Simulated, cache: Cache) -> None:
    end = venue.clock.now_ms() // HOUR_MS * HOUR_MS
    await download(cache, "binance", ASTER, (end - 6 * HOUR_MS, end), 15 * MINUTE_MS, venue.rest)
    series = cache.load(ASTER, timeframe_ms=15 * MINUTE_MS)
    assert len(series) == 24 and series.timeframe_ms == 15 * MINUTE_MS
    assert [one.timeframes.keys() for one in cache.held()] == [{15 * MINUTE_MS: ()}.keys()]


@pytest.mark.parametrize("name", VENUES)
async def test_funding_that_was_settled_is_kept(venue: Simulated, cache: Cache, name: str) -> None:
    market = "ASTERUSDT" if name == "binance" else "ASTER-USDT-SWAP"
    rates = ("0.0001", "-0.0002", "0.0003")
    for rate in rates:
        await venue.fault("funding", venue=name, symbol=market, rate=rate)
        await asyncio.sleep(0.01)
    start = venue.clock.now_ms() // MINUTE_MS * MINUTE_MS
    source = module.SOURCES[name](venue.rest)
    try:
        await source.start(ASTER)
        settled, since, reached = await source.funding((start - 2 * HOUR_MS, start + HOUR_MS))
    finally:
        await source.close()
    assert [rate for _, rate in sorted(settled)][-3:] == [float(rate) for rate in rates]
    assert since <= min(at for at, _ in settled) and reached == start + HOUR_MS
    with cache.writing(name, ASTER) as writer:
        times, values = zip(*settled, strict=True)
        assert writer.add_funding(np.array(times), np.array(values), [(since, reached)], "test") == len(settled)
        assert writer.asked_funding() == [(since, reached)]


async def test_a_venue_that_stumbles_is_asked_again(venue: Simulated, cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)
    await venue.fault("http", path=PATHS["binance"], status=503, times=2)
    await venue.fault("http", path="/fapi/v1/markPriceKlines", status=429, headers={"Retry-After": "1"}, body="{}")
    found = await download(cache, "binance", ASTER, recent(venue, 1), MINUTE_MS, venue.rest)
    assert (found.bars, found.marks) == (60, 60)


async def test_a_venue_that_wants_to_be_left_alone_is(venue: Simulated, cache: Cache) -> None:
    await venue.fault("http", path=PATHS["binance"], status=418, headers={"Retry-After": "7200"}, body="{}", times=9)
    with pytest.raises(VenueError, match="it wants to be left alone for 120 minutes"):
        await download(cache, "binance", ASTER, recent(venue, 1), MINUTE_MS, venue.rest)


@pytest.mark.parametrize("name", VENUES)
async def test_a_download_that_fails_or_is_cancelled_keeps_what_came(
    venue: Simulated, cache: Cache, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BINANCE_PAGE", 60)
    monkeypatch.setattr(module, "OKX_PAGE", 60)
    span, found = recent(venue, 4), Found()

    def cancel(what: str, done: int, total: int) -> None:
        if done == 120:
            task.cancel()

    task = asyncio.create_task(download(cache, name, ASTER, span, MINUTE_MS, venue.rest, cancel, found))
    with pytest.raises(asyncio.CancelledError):
        await task
    kept = len(cache.load(ASTER, name))
    assert kept == found.bars == 120 and found.marks == 0
    refused = (
        '{"code":-1100,"msg":"Illegal characters."}'
        if name == "binance"
        else '{"code":"51000","msg":"Parameter error","data":[]}'
    )
    await venue.fault("http", venue=name, path=PATHS[name], status=400, body=refused)
    with pytest.raises(VenueError, match=r"bars could not be read: (Illegal|Parameter)"):
        await download(cache, name, ASTER, span, MINUTE_MS, venue.rest)
    assert len(cache.load(ASTER, name)) == 120
    rest = await download(cache, name, ASTER, span, MINUTE_MS, venue.rest)
    assert (rest.bars, rest.marks) == (120, 240) and len(cache.load(ASTER, name)) == 240


async def test_an_answer_that_is_none_is_an_error_and_nothing_is_kept_of_it(venue: Simulated, cache: Cache) -> None:
    minute = venue.clock.now_ms() // HOUR_MS * HOUR_MS - HOUR_MS
    bad = {
        f'[[{minute},"1.2","1.3","1.1","none","5"]]': "a bar holds what is no number",
        f'[[{minute},"1.2","1.1","1.3","1.2","5"]]': "column high: 1.1 is below the low, 1.3",
        f'[[{minute},"1.2","1.3","-1","1.2","5"]]': "column low: it is -1",
        f'[[{minute + 1},"1.2","1.3","1.1","1.2","5"]]': "which is no whole 1m",
        '[["soon","1.2"]]': "a bar could not be read",
        '{"code":0}': "ought to be a list",
    }
    for body, told in bad.items():
        await venue.fault("http", path=PATHS["binance"], status=200, body=body)
        with pytest.raises((VenueError, DataError), match=told):
            await download(cache, "binance", ASTER, recent(venue, 2), MINUTE_MS, venue.rest)
    with pytest.raises(DataError):
        cache.load(ASTER)


async def test_a_symbol_or_a_time_that_is_not_there_is_said(venue: Simulated, cache: Cache) -> None:
    with pytest.raises(DataError, match="Binance lists no such perpetual contract"):
        await download(cache, "binance", "DOGE/USDT:USDT", recent(venue, 1), MINUTE_MS, venue.rest)
    with pytest.raises(DataError, match="OKX lists no such perpetual contract"):
        await download(cache, "okx", "ASTER/USDT", recent(venue, 1), MINUTE_MS, venue.rest)
    with pytest.raises(
        DataError, match=r"binance has no finished bars from 2024-01-01 to 2024-12-31; it was listed on 2025-09-19"
    ):
        await download(cache, "binance", ASTER, (1_704_067_200_000, 1_735_603_200_000), MINUTE_MS, venue.rest)
    with pytest.raises(DataError, match="it has no bars of 7m"):
        await download(cache, "binance", ASTER, recent(venue, 1), 7 * MINUTE_MS, venue.rest)


async def test_a_venue_that_cannot_be_reached_is_said(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_WAIT_S", 0.01)
    with pytest.raises(VenueError, match="the list of markets could not be read"):
        await download(cache, "binance", ASTER, (0, 1), MINUTE_MS, "http://127.0.0.1:9")
