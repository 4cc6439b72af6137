"""The rationale: what is allowed, how sure, how old, until when, why, and what became of it."""

import asyncio
import io
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import pictures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from panes_host import Host, any_picture_fits, frame, lines, page, rows_never_fail
from rich.console import Console

from console.desk import Desk
from console.panes.rationale import RationalePane
from console.screens.record import page as record_page
from engine.events import Bias, ModelState
from engine.views import Frame, JudgmentView

SECOND = pictures.SECOND


@asynccontextmanager
async def shown(desk: Desk, width: int = 60, height: int = 14) -> AsyncIterator[RationalePane]:
    pane = RationalePane(desk)
    async with Host([pane]).run_test(size=(width, height)) as pilot:
        await pilot.pause()
        frame(pane)
        yield pane


def desk_with(bias: Bias = Bias.LONG, vetoed: bool = False, outcome: str = "") -> Desk:
    judged = JudgmentView(pictures.MARKET, pictures.stance(bias), vetoed, outcome)
    return pictures.desk_of(pictures.status(), pictures.ladder(12_358), judged)


def later(desk: Desk, seconds: float) -> None:
    desk.apply(Frame(desk.next_news, (pictures.status(at=pictures.NOW + int(seconds * SECOND)),), ()))


async def test_bias_is_a_word_with_an_arrow() -> None:
    for bias, word in ((Bias.LONG, "▲ LONG"), (Bias.SHORT, "▼ SHORT"), (Bias.HOLD, "■ HOLD")):
        async with shown(desk_with(bias)) as pane:
            assert lines(pane)[0].startswith(word)


async def test_confidence_is_a_number_and_a_bar() -> None:
    async with shown(desk_with()) as pane:
        assert "confidence 0.72" in lines(pane)[0]
        assert lines(pane)[0].count("█") == 8  # of 12


async def test_age_and_end_follow_the_engine_clock() -> None:
    desk = desk_with()
    async with shown(desk) as pane:
        assert "ends in 48s  age 12s" in lines(pane)[1]
        later(desk, 18)
        frame(pane)
        assert "ends in 30s  age 30s" in lines(pane)[1]
        later(desk, 53)
        frame(pane)
        assert "ended 5s ago" in lines(pane)[1]
        assert "! EXPIRED" in lines(pane)[0]


async def test_it_paints_once_a_second_at_most() -> None:
    desk = desk_with()
    async with shown(desk) as pane:
        painted = []
        for tenth in range(1, 30):
            later(desk, tenth / 10)
            painted.append(frame(pane))
        assert sum(painted) == 2


async def test_a_veto_is_said() -> None:
    async with shown(desk_with(vetoed=True)) as pane:
        assert "! VETOED" in lines(pane)[0]


async def test_a_model_is_shown_with_its_state_its_rank_and_what_it_writes() -> None:
    async with shown(pictures.asking(), width=76, height=14) as pane:
        text = "\n".join(lines(pane))
        assert "◆ thinking 3s  ministral-3:3b  probation  size 10%" in text
        assert "… Short and long rows agree and trades lean to buyers, but the book" in text
        assert "record 31  right 60% (42%-75%)  skill +5%" in text and "by ministral-3:3b" in text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"state": ModelState.OFF, "reason": "nothing answers at http://127.0.0.1:11434"}, "◆ model off  nothing answers at"),
        ({"state": ModelState.LATE}, "◆ late 3s"),
        ({"state": ModelState.READY, "writing": ""}, "◆ ready"),
        (
            {"state": ModelState.RULES, "rests_until": pictures.NOW + 42 * SECOND, "writing": "", "reason": "it failed 3 times"},
            "◆ rules 42s",
        ),
        (
            {"state": ModelState.READY, "size_cap": 0.0, "verdict": ("its chances do not follow the market",), "writing": ""},
            "on paper",
        ),
    ],
)
async def test_each_state_of_a_model_is_a_word(changes: dict[str, object], words: str) -> None:
    desk = pictures.asking()
    desk.apply(Frame(desk.next_news, (pictures.model(**changes),), ()))
    async with shown(desk, width=76, height=14) as pane:
        text = "\n".join(lines(pane))
        assert words in text
        assert (str(changes.get("reason", "")) or "")[:18] in text
        if "verdict" in changes:
            assert "do not follow" in text


async def test_a_models_words_are_text_and_never_markup() -> None:
    desk = pictures.asking()
    desk.apply(Frame(desk.next_news, (pictures.model(writing="[bold red]BUY[/] it"),), ()))
    async with shown(desk, width=76, height=14) as pane:
        assert "[bold red]BUY[/] it" in "\n".join(lines(pane))


def test_the_record_says_what_chances_are_worth() -> None:
    buckets = ((0, 0, 0.0),) * 3 + ((10, 2, 0.32),) + ((0, 0, 0.0),) * 3 + ((20, 16, 0.74),) + ((0, 0, 0.0),) * 2
    track = msgspec.structs.replace(pictures.model().track, buckets=buckets, regimes=(("trend", 20, 16),), dropped=3)
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(record_page(pictures.model(track=track, verdict=("its chances do not follow the market",))))
    text = console.export_text()
    assert "ministral-3:3b" in text and "probation, 10% of the usual size" in text
    assert "1 late, 2 stale" in text and "its chances do not follow the market" in text
    assert "18 of 30, 42% to 75%" in text and "Brier score" in text and "a coin 0.250" in text
    assert any("74%" in line and "80%" in line and "████████████████····" in line for line in text.splitlines())
    assert "16 of 20 right" in text
    console.print(record_page(pictures.model(track=None)))
    assert "has met its end yet" in console.export_text()
    unsure = msgspec.structs.replace(track, skill_low=-math.inf, skill_high=math.inf)
    console.print(record_page(pictures.model(track=unsure)))
    assert "too few without overlap" in console.export_text()


async def test_an_opinion_of_a_lost_engine_is_old() -> None:
    async with shown(pictures.disconnected()) as pane:
        assert "! old" in lines(pane)[0]


async def test_the_reason_wraps_and_the_outcome_follows() -> None:
    async with shown(desk_with(outcome="refused because the daily loss limit is reached"), 40, 20) as pane:
        text = " ".join(page(pane).split())
        assert pictures.stance().rationale in text
        assert text.endswith("→ refused because the daily loss limit is reached")


async def test_a_reason_that_is_too_long_is_cut_visibly_and_keeps_the_outcome() -> None:
    async with shown(desk_with(outcome="waits for the bar"), 40, 6) as pane:
        assert "…" in page(pane)
        assert "→ waits for the bar" in page(pane)


async def test_risk_and_source_are_named() -> None:
    async with shown(desk_with()) as pane:
        assert "risk 0.31 calm" in page(pane)
        assert "by mistral at 1.2358" in page(pane)


async def test_without_an_opinion_it_says_so() -> None:
    async with shown(pictures.empty()) as pane:
        assert page(pane).strip() == "no judgment yet"


async def test_an_unchanged_picture_is_not_painted_again() -> None:
    async with shown(desk_with()) as pane:
        page(pane)
        built = pane.strips_built
        assert [frame(pane) for _ in range(5)] == [0] * 5
        page(pane)
        assert pane.strips_built == built


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 200), st.integers(1, 60))
def test_any_opinion_can_be_composed_at_any_size(seed: int, width: int, height: int) -> None:
    rows_never_fail(RationalePane(pictures.random_desk(seed)), width, height)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_any_opinion_fits_its_pane(seed: int) -> None:
    asyncio.run(any_picture_fits(RationalePane, seed))
