"""The model in bar backtests: asked at a cadence over a real socket, each table once for ever, resumable."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.backtest import BacktestConfig, Backtester
from engine.backtest.asked import NEEDED, Asked, by_model
from engine.backtest.generated import listing, synthetic
from engine.backtest.series import Series
from engine.config import Settings, create_aster_config
from engine.errors import DataError
from tests.ollama_standin import Standin, reply, standing

START = 1_790_000_040_000 // 60_000 * 60_000


@pytest.fixture
def series() -> Series:
    return synthetic(listing("ASTER/USDT:USDT"), 60_000, START, 600, 5)


def settings(host: str = "http://127.0.0.1:9", **more: object) -> Settings:
    return create_aster_config(judgment={"host": host, **more})


async def asked(host: str, series: Series, path: Path, every_min: int = 60, **more: object) -> Asked | None:
    return await by_model(series, settings(host), 1.0, every_min, path, **more)  # type: ignore[arg-type]


async def test_it_is_asked_at_its_cadence_and_says_the_same_again_without_being_asked(series: Series, tmp_path: Path) -> None:
    standin = Standin()
    async with standing(standin) as host:
        first = await asked(host, series, tmp_path / "answers.sqlite", latency_ms=1_000)
        assert first is not None and first.questions == len(range(NEEDED - 1, 600, 60)) == first.answered == 10
        tables = standin.tables()
        assert len(set(tables)) == len(tables) == 10
        assert all("book" not in table and "fund8h" not in table and "basis" not in table for table in tables)
        again = await asked(host, series, tmp_path / "answers.sqlite", latency_ms=1_000)
        assert again is not None and len(standin.tables()) == 10
        for one, other in zip(first.judgments, again.judgments, strict=True):
            assert np.array_equal(one, other)
    closes = series.open_ms[NEEDED - 1 :: 60] + 60_000
    assert np.array_equal(first.judgments.made_ms, closes + 1_000) and np.array_equal(first.judgments.since_ms, closes + 1_000)
    assert (first.judgments.until_ms <= closes + 30 * 60_000).all() and set(first.judgments.side) <= {-1, 0, 1}


async def test_an_answer_takes_effect_after_what_it_took(series: Series, tmp_path: Path) -> None:
    standin = Standin()
    standin.word_s = 0.02
    async with standing(standin) as host:
        found = await asked(host, series, tmp_path / "a.sqlite")
    assert found is not None
    waits = found.judgments.since_ms - (series.open_ms[NEEDED - 1 :: 60] + 60_000)
    assert (waits >= 20).all()


async def test_another_model_is_asked_anew(series: Series, tmp_path: Path) -> None:
    standin = Standin()
    async with standing(standin) as host:
        await asked(host, series, tmp_path / "a.sqlite")
        standin.models = dict.fromkeys(standin.models, "another digest")
        await asked(host, series, tmp_path / "a.sqlite")
    assert len(standin.tables()) == 20


async def test_what_was_answered_before_it_was_ended_is_kept(series: Series, tmp_path: Path) -> None:
    standin = Standin()
    heard: list[tuple[int, int, float]] = []

    def until_three(done: int, of: int, left_s: float) -> bool:
        heard.append((done, of, left_s))
        return done < 3

    async with standing(standin) as host:
        assert await asked(host, series, tmp_path / "a.sqlite", told=until_three) is None
        assert len(standin.tables()) == 3
        found = await asked(host, series, tmp_path / "a.sqlite", told=lambda *_: True)
        assert found is not None and found.answered == 10 and len(standin.tables()) == 10
    assert heard[0][:2] == (0, 10) and any(left > 0 for _, _, left in heard), "what is left is told once an answer is known"


async def test_an_answer_that_cannot_be_used_is_counted_and_its_time_has_no_opinion(series: Series, tmp_path: Path) -> None:
    standin = Standin()
    answers: Iterator[str] = iter([reply(70), "I would buy", *[reply(30)] * 8])
    standin.answers = lambda table: next(answers)
    async with standing(standin) as host:
        found = await asked(host, series, tmp_path / "a.sqlite", latency_ms=0)
    assert found is not None and (found.answered, found.dropped) == (9, 1)
    assert found.judgments.side.tolist() == [1, *[-1] * 8]


async def test_where_no_model_answers_it_is_told(series: Series, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing answers at"):
        await asked("http://127.0.0.1:9", series, tmp_path / "a.sqlite")
    hours = synthetic(listing("ASTER/USDT:USDT"), 3_600_000, START, 100, 5)
    with pytest.raises(DataError, match="asked about minutes"):
        await asked("http://127.0.0.1:9", hours, tmp_path / "a.sqlite")


async def test_a_whole_backtest_with_the_model(series: Series, tmp_path: Path) -> None:
    standin = Standin()
    standin.answers = reply(80, expires_min=30, invalid_bp=300)
    async with standing(standin) as host:
        own = create_aster_config(engine={"state_dir": str(tmp_path)}, judgment={"host": host, "max_risk_score": 1.0})
        tester = Backtester(BacktestConfig(data=series, judge="model", ask_every_min=30, settings=own, latency_ms=0))
        found = await tester.run()
        assert found is not None and len(found.trades) > 0 and set(found.trades["side"]) == {1}
        assert "was asked every 30 minutes: 20 of 20 answers could be used" in found.notes[-1]
        stopped = Backtester(BacktestConfig(data=series, judge="model", ask_every_min=7, settings=own))
        standin.word_s = 0.05
        task = asyncio.create_task(stopped.run())
        await asyncio.sleep(0.3)
        stopped.progress.cancel()
        assert await task is None
