"""The backtest screen: a form that says what is wrong, a run that can be ended, and what came of it from curves to candles."""

from pathlib import Path

import pytest
from textual.containers import Vertical
from textual.pilot import Pilot
from textual.widgets import Input, Static, TabbedContent

from console import keys
from console.app import Console, Parting
from console.panes.backtest import TradeChartPane, TradesPane
from console.panes.sweep import HeatPane, RunsPane
from console.screens.backtest import BacktestScreen
from engine.events import Action
from tests import pictures
from tests.console.conftest import SIZES, FakeLink, frames_of, program
from tests.console.test_app import drawn
from tests.console.test_keys import settled, until

PANES = {
    **{"backtest": BacktestScreen, "trades": TradesPane, "trade_chart": TradeChartPane},
    **{"heat": HeatPane, "runs": RunsPane},
}
COMPILED_S = 600.0  # a sweep's processes are niced: on a busy machine they get little of it, and compile where nobody did
SLOW = """
import time
from typing import NamedTuple
from engine.strategy import Strategy

class None_(NamedTuple):
    pass

def decide(p, memory, now):
    time.sleep(0.001)
    return 0, 0

SLOW = Strategy("slow", "sleeps", None_, decide, ("",))
"""


def test_every_key_of_the_screen_is_bound_and_does_something() -> None:
    for key in keys.BACKTEST:
        owner = PANES[key.pane]
        assert key.id in {binding.id for binding in owner.BINDINGS}, key.id  # type: ignore[union-attr]
        assert callable(getattr(owner, f"action_{key.action.partition('(')[0]}", None)), key.id


async def opened(pilot: Pilot[Parting], link: FakeLink) -> BacktestScreen:
    await settled(pilot, link)
    await pilot.press("b")
    await until(pilot, lambda: isinstance(pilot.app.screen, BacktestScreen))
    screen = pilot.app.screen
    assert isinstance(screen, BacktestScreen)
    await until(pilot, lambda: bool(screen.own) and len(screen.query("#own Input")) == len(screen.own))
    return screen


async def write(pilot: Pilot[Parting], screen: BacktestScreen, **values: str) -> None:
    for name, text in values.items():
        screen.query_one(f"#field-{name}", Input).value = text
    await pilot.pause(0.05)


async def ran(pilot: Pilot[Parting], screen: BacktestScreen) -> None:
    before = len(screen.kept)
    await pilot.press("f5")
    await until(pilot, lambda: len(screen.kept) > before, COMPILED_S)


def tab(app: Console) -> str:
    return app.screen.query_one(TabbedContent).active


@pytest.mark.parametrize("size", ["large", "small"])
async def test_a_backtest_is_run_and_looked_at(size: str) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES[size]) as pilot:
        screen = await opened(pilot, link)
        await write(pilot, screen, start="2025-10-01", end="2025-10-07", strategy="breakout", judge="nobody")
        await until(pilot, lambda: bool(screen.query("#own-exit_bars")))
        await ran(pilot, screen)
        await until(pilot, lambda: tab(app) == "curves")
        await until(pilot, lambda: "SYNTHETIC" in drawn(app) and "profit" in drawn(app))
        result = screen.kept[-1]
        trades = len(result.trades)
        assert trades > 5
        await pilot.press("f6")
        await until(pilot, lambda: "Capital" in drawn(app))
        await pilot.press("f6")
        await until(pilot, lambda: tab(app) == "months" and "2025" in drawn(app))
        await pilot.press("f6")
        await until(pilot, lambda: tab(app) == "trades-tab" and isinstance(app.focused, TradesPane))
        assert "SYNTHETIC" in drawn(app).splitlines()[0], "on every tab"
        await pilot.press("down", "down", "up")
        assert screen.trades.cursor == 1
        await pilot.press("end")
        assert screen.trades.cursor == trades - 1
        await pilot.press("enter")
        await until(pilot, lambda: tab(app) == "chart-tab" and f"trade {trades} of {trades}" in drawn(app))
        await until(pilot, lambda: isinstance(app.focused, TradeChartPane))
        assert result.trades["stop"].all() and result.trades["target"].all()
        assert all(f" {name} " in drawn(app) for name in ("stop", "target"))
        await pilot.press("p")
        await until(pilot, lambda: f"trade {trades - 1} of {trades}" in drawn(app))
        around = screen.chart.around
        await pilot.press("minus")
        assert screen.chart.around == 2 * around
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading)
        await pilot.press("b")
        await until(pilot, lambda: app.screen is screen and screen.kept[-1] is result)


async def test_what_is_wrong_is_said_beside_the_field_and_does_not_run() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await write(pilot, screen, start="2025-13-01")
        row = screen.query_one("#field-start", Input).parent
        assert row is not None
        await until(pilot, lambda: row.has_class("-wrong"))
        assert "is no date" in str(row.query_one(".help", Static).content)
        await pilot.press("f5")
        await until(pilot, lambda: "'2025-13-01' is no date" in drawn(app).splitlines()[0])
        assert not screen.kept
        await write(pilot, screen, start="2025-10-01", capital="-5", strategy="brekout")
        await until(pilot, lambda: "this is no capital" in drawn(app) and "there is no such strategy" in drawn(app))
        await write(pilot, screen, capital="5000", strategy="reversion")
        await until(pilot, lambda: bool(screen.query("#own-stretch")))
        screen.query_one("#own-stretch", Input).value = "9"
        stretch = screen.query_one("#own-stretch", Input).parent
        assert stretch is not None
        await until(pilot, lambda: "a number above 0 and at most 5" in str(stretch.query_one(".help", Static).content))


async def test_a_strategy_that_was_just_named_runs_with_the_parameters_that_it_is_about_to_show() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    async with program(link).run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        shown = screen.config().parameters
        await screen.query_one("#own", Vertical).remove_children()
        assert shown and screen.config().parameters == shown


async def test_two_runs_are_compared() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await write(pilot, screen, start="2025-10-01", end="2025-10-05", strategy="breakout", judge="nobody")
        await until(pilot, lambda: bool(screen.query("#own-exit_bars")))
        await ran(pilot, screen)
        screen.query_one("#own-bars", Input).value = "20"
        await ran(pilot, screen)
        assert screen.kept[0].fingerprint != screen.kept[1].fingerprint
        assert set(screen.equity.curves) == {"run before", "profit"}
        while tab(app) != "compare":
            before = tab(app)
            await pilot.press("f6")
            await until(pilot, lambda was=before: tab(app) != was)  # type: ignore[misc]
        await until(pilot, lambda: "1 before" in drawn(app) and "difference" in drawn(app))


async def test_a_strategy_in_plain_python_does_not_freeze_the_screen_and_can_be_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "slow_one.py").write_text(SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await write(pilot, screen, start="2025-10-01", end="2025-10-30", strategy="slow_one:SLOW", judge="nobody")
        await pilot.press("f5")
        await until(pilot, lambda: screen.has_class("-busy"))
        await pilot.press("f6")
        await until(pilot, lambda: tab(app) == "curves")
        await pilot.press("escape")
        await until(pilot, lambda: "nothing of it is kept" in drawn(app))
        assert app.screen is screen and not screen.kept


async def test_the_kill_key_works_from_the_screen() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        await opened(pilot, link)
        await pilot.press("f12")
        await until(pilot, lambda: (Action.HALT, "") in link.asks())


async def test_a_strategy_that_fails_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad_one.py").write_text(SLOW.replace("time.sleep(0.001)", "raise ValueError('no')").replace("SLOW", "BAD"))
    monkeypatch.syspath_prepend(str(tmp_path))
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await write(pilot, screen, start="2025-10-01", end="2025-10-02", strategy="bad_one:BAD")
        await pilot.press("f5")
        await until(pilot, lambda: "it failed (ValueError: no)" in drawn(app))


async def test_a_recorded_session_is_run_over_as_well(small: Path) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        await write(pilot, screen, session=str(small))
        await ran(pilot, screen)
        assert screen.kept[-1].labels["data"].startswith("session ")
        assert "queue where they rested" in " ".join(screen.kept[-1].notes)


@pytest.mark.slow
async def test_a_sweep_has_a_heat_map_and_its_runs_can_be_looked_at() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["large"]) as pilot:
        screen = await opened(pilot, link)
        sweeping = screen.sweeping
        await write(pilot, screen, start="2025-10-01", end="2025-10-05", strategy="breakout", judge="nobody")
        await until(pilot, lambda: bool(screen.query("#own-exit_bars")))
        over = screen.query_one("#sweep-over", Input)
        over.value = "bars=20,1"
        await pilot.press("f4")
        await until(pilot, lambda: tab(app) == "sweep-tab" and "a whole number from 2 to 500" in drawn(app).splitlines()[0])
        over.value = "bars=20,40 exit_bars=10,20 strategy.stop_atr=1:3:1"
        screen.query_one("#sweep-least", Input).value = "5"
        await pilot.press("f4")
        await until(pilot, lambda: sweeping.found is not None, COMPILED_S)
        found = sweeping.found
        assert found is not None and len(found.trials) == 12 and found.winner is not None
        await until(pilot, lambda: "sharpe: bars down, exit_bars across" in drawn(app) and "SYNTHETIC" in drawn(app))
        assert "pair 1 of 3" in drawn(app) and "winner" in drawn(app)
        best = found.value(found.winner)
        assert best is not None and f"█{best:+.2f}" in drawn(app)
        sweeping.heat.focus()
        await pilot.press("n", "n")
        await until(pilot, lambda: "exit_bars down, strategy.stop_atr across" in drawn(app))
        await pilot.press("p", "p", "p")
        await until(pilot, lambda: "pair 3 of 3" in drawn(app))
        sweeping.runs.focus()
        await pilot.press("down", "enter")
        await until(pilot, lambda: len(screen.kept) == 1, COMPILED_S)
        assert screen.kept[0].fingerprint == found.trials[found.ranked()[1]].fingerprint
        await until(pilot, lambda: tab(app) == "curves" and not screen.has_class("-busy"))


@pytest.mark.slow
async def test_a_sweep_that_is_ended_keeps_its_runs_and_one_at_a_time_is_run() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["small"]) as pilot:
        screen = await opened(pilot, link)
        await write(pilot, screen, start="2025-10-01", end="2025-12-31", strategy="breakout", judge="nobody")
        await until(pilot, lambda: bool(screen.query("#own-exit_bars")))
        screen.query_one("#sweep-over", Input).value = "bars=20:400:1 exit_bars=5:15:1"
        await pilot.press("f4")
        await until(pilot, lambda: sweeping_runs(screen) > 0, COMPILED_S)
        await pilot.press("f5")
        await until(pilot, lambda: not screen.kept and screen.sweeping.busy)
        await pilot.press("escape")
        await until(pilot, lambda: screen.sweeping.found is not None, COMPILED_S)
        found = screen.sweeping.found
        assert found is not None and 0 < len(found.trials) < 381 * 11
        assert any("It was ended after" in note for note in found.notes)
        assert app.screen is screen
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading)


def sweeping_runs(screen: BacktestScreen) -> int:
    return screen.sweeping._heard[0]
