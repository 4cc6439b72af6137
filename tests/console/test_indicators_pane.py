"""The indicators: figures with their decimals, gauges, and what still warms up."""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pictures
from hypothesis import given, settings
from hypothesis import strategies as st
from panes_host import Host, any_picture_fits, frame, lines, page, rows_never_fail

from console.desk import Desk
from console.panes.indicators import IndicatorsPane, balance, scale
from engine.events import Features
from engine.views import Frame, IndicatorsView

NAMES = Features.__struct_fields__


@asynccontextmanager
async def shown(desk: Desk, width: int = 50, height: int = 20) -> AsyncIterator[IndicatorsPane]:
    pane = IndicatorsPane(desk)
    async with Host([pane]).run_test(size=(width, height)) as pilot:
        await pilot.pause()
        frame(pane)
        yield pane


def seen(**changed: float) -> Features:
    usual = pictures.features(pictures.bars())
    return Features(*(changed.get(name, getattr(usual, name)) for name in NAMES))


def at(bar: int, features: Features | None) -> IndicatorsView:
    return IndicatorsView(pictures.MARKET, pictures.TIMEFRAME_MS, bar * 60_000, features)


def desk_with(features: Features | None) -> Desk:
    return pictures.desk_of(pictures.ladder(12_240), at(1, features))


def line_of(pane: IndicatorsPane, name: str) -> str:
    return next(line for line in lines(pane) if name in line)


def text(runs: tuple[tuple[str, str], ...]) -> str:
    return "".join(part for part, _ in runs)


async def test_figures_have_the_decimals_of_the_tick_and_stand_right() -> None:
    async with shown(desk_with(seen(sma_20=1.2, rsi_14=63.44, imbalance=-0.5))) as pane:
        assert "1.2000" in line_of(pane, "SMA 20")
        assert "63.4" in line_of(pane, "RSI 14")
        assert "-0.50" in line_of(pane, "imbalance")
        ends = {
            line[:24].rstrip().__len__() for line in lines(pane) if line[:12].strip() and line.startswith(("SMA", "RSI", "imb"))
        }
        assert ends == {24}


async def test_what_is_not_known_yet_warms_up() -> None:
    async with shown(desk_with(seen(sma_50=math.nan, rsi_14=math.nan))) as pane:
        assert "warming up" in line_of(pane, "SMA 50")
        assert "warming up" in line_of(pane, "RSI 14")
        assert page(pane).count("warming up") == 2


async def test_before_the_first_bar_everything_warms_up() -> None:
    async with shown(desk_with(None)) as pane:
        assert page(pane).strip() == "warming up: no bar has closed yet"


async def test_figures_of_a_lost_engine_are_old() -> None:
    async with shown(pictures.disconnected(), height=6) as pane:
        assert lines(pane)[0].startswith("! old")


def test_rsi_has_marks_at_30_and_70() -> None:
    gauge = text(scale(0.5, 21, (0.3, 0.7)))
    assert (gauge[6], gauge[14], gauge[10]) == ("┼", "┼", "●")
    assert text(scale(1.4, 21, ()))[-1] == "▸"


def test_a_balance_leans_to_its_sign() -> None:
    assert text(balance(0.5, 9)) == "····│██··"
    assert text(balance(-1.0, 9)) == "████│····"
    assert balance(math.nan, 9) == ()


async def test_overbought_is_a_word_too() -> None:
    async with shown(desk_with(seen(rsi_14=74.0)), width=80) as pane:
        assert "overbought" in page(pane)


async def test_two_columns_when_wide() -> None:
    async with shown(desk_with(seen()), width=100) as pane:
        assert "spread" in line_of(pane, "RSI 14")
        assert len(page(pane).strip().splitlines()) <= 9


async def test_curves_have_a_value_a_bar() -> None:
    desk = desk_with(seen(trade_intensity=1.0))
    async with shown(desk) as pane:
        for bar, pace in ((2, 4.0), (2, 5.0), (3, 9.0)):
            desk.apply(Frame(0, (at(bar, seen(trade_intensity=pace)),), ()))
            frame(pane)
        assert line_of(pane, "intensity").rstrip().endswith("▁▄█")


async def test_an_unchanged_picture_is_not_painted_again() -> None:
    async with shown(desk_with(seen())) as pane:
        page(pane)
        built = pane.strips_built
        assert [frame(pane) for _ in range(5)] == [0] * 5
        page(pane)
        assert pane.strips_built == built


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 60))
def test_any_figures_can_be_composed_at_any_size(seed: int, width: int, height: int) -> None:
    rows_never_fail(IndicatorsPane(pictures.random_desk(seed)), width, height)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_any_figures_fit_their_pane(seed: int) -> None:
    asyncio.run(any_picture_fits(IndicatorsPane, seed))
