"""The program on a link: it shows what it has, survives what fails, and paints no more than it must."""

import time as real_time
from decimal import Decimal
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from console.app import Console, Parting
from console.dialogs import Question
from console.notes import LEAST_S, Note
from console.panes.lines import LinePane
from console.panes.log import LINES_KEPT, LogPane
from console.panes.status import StatusPane
from console.screens.opening import OpeningScreen
from engine.events import Action, Alert, Filled, Level, Mode, Side, Trading
from engine.views import Answer, Ask, Goodbye, OpeningView, PositionRow, PositionsView
from tests import pictures
from tests.console.conftest import SIZES, FakeLink, Time, frames_of, program
from tests.console.test_keys import settled, until

LARGE = SIZES["large"]


def drawn(app: Console) -> str:
    """The screen as text."""
    strips = app.screen._compositor.render_strips()
    return "\n".join("".join(segment.text for segment in strip) for strip in strips)


def all_panes(app: Console) -> tuple[LinePane, ...]:
    trading = app.trading
    return (trading.status, trading.banner, trading.tabs, *trading.panes, trading.key_bar)


# --- what is shown -----------------------------------------------------------------------------------------------------


async def test_the_first_frame_comes_without_an_engine_and_then_says_what_it_waits_for() -> None:
    link = FakeLink()
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await until(pilot, lambda: "Connecting to the engine" in drawn(app) and "F12 halt" in drawn(app))
        link.give(frames_of(pictures.empty()))
        await until(pilot, lambda: "Starting: " in drawn(app) and "synchronis" in drawn(app))


async def test_flattening_is_said_until_flat_and_then_that_trading_stays_halted() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        halted = msgspec.structs.replace(pictures.status(Trading.HALTED, "flattened by the console"), flattening=True)
        link.show(halted)
        await until(pilot, lambda: "FLATTENING: closing every position" in drawn(app))
        assert " FLATTENING " in drawn(app).splitlines()[1]
        view = app.desk.get(PositionsView, "")
        assert view is not None
        link.show(PositionsView("", tuple(msgspec.structs.replace(row, quantity="0.000") for row in view.rows)))
        await until(pilot, lambda: "FLAT. Trading stays halted until released" in drawn(app))
        assert "FLATTENING" not in drawn(app) and " FLAT, HALTED " in drawn(app).splitlines()[1]
        assert all(screen.has_class("-halted") for screen in app.screen_stack)
        link.show(pictures.status(Trading.OFF, "released"))
        await until(pilot, lambda: "FLAT." not in drawn(app) and " OFF " in drawn(app).splitlines()[0])


async def test_troubles_of_the_link_are_among_the_engines_figures() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        assert "link troubles" not in drawn(app)
        link.show(msgspec.structs.replace(pictures.status(), link_troubles=3))
        await until(pilot, lambda: "link troubles" in drawn(app))


@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
async def test_the_status_line_always_has_its_facts(size: tuple[int, int]) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=size) as pilot:
        await settled(pilot, link)
        line = drawn(app).splitlines()[0]
        for fact in ("DEMO", "ASTER", "ARMED", "0.0s", "1.8ms", "312us", "/s", "14:14:00"):
            assert fact in line, f"{fact} is not in {line!r}"


async def test_events_a_second_are_counted_from_the_engines_own_clock() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        status = pictures.status()
        values = {name: getattr(status, name) for name in status.__struct_fields__}
        for second in (1, 2):
            values |= {"at": status.at + second * 1_000_000_000, "events": status.events + second * 5_000}
            link.show(type(status)(**values))
            await until(pilot, lambda: "events 5.0k/s" in drawn(app))


async def test_the_datas_age_goes_on_growing_when_no_frame_comes() -> None:
    link, time = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, time)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        time.at += 9
        await until(pilot, lambda: "!9.0s" in drawn(app))
        await until(pilot, lambda: "ENGINE SILENT for 9 s" in drawn(app) and "NO LINK" in drawn(app))
        link.show(pictures.status())
        await until(pilot, lambda: "SILENT" not in drawn(app) and "ARMED" in drawn(app))


@pytest.mark.parametrize("size", [*SIZES.values(), (20, 5)])
async def test_a_halt_is_on_the_whole_screen_until_it_is_released(size: tuple[int, int]) -> None:
    link = FakeLink(frames_of(pictures.halted()))
    app = program(link)
    async with app.run_test(size=size) as pilot:
        await settled(pilot, link)
        assert app.screen.has_class("-halted")
        assert "HALTED" in drawn(app)
        await pilot.press("question_mark")
        await pilot.pause(0.2)
        assert app.screen.has_class("-halted"), "dialogs too"
        await pilot.press("escape")
        link.show(pictures.status(Trading.OFF, "released"))
        await pilot.pause(0.3)
        assert not app.screen.has_class("-halted")
        assert "HALTED" not in drawn(app)


async def test_old_prices_are_marked_in_positions() -> None:
    link = FakeLink(frames_of(pictures.stale()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        assert any("!1." in line and "LONG" in line for line in drawn(app).splitlines())


async def test_a_refused_command_says_why() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        await pilot.press("d")
        ask = next(message for message in link.sent if isinstance(message, Ask))
        link.give(Answer(ask.id, False, "not a controlling console."))
        await pilot.pause(0.1)
        assert any("did not disarm: not a controlling console" in note.message for note in app._notifications)


# --- what dies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "end", [Goodbye("The engine was killed."), ConnectionError("reset by peer"), LookupError("news 1 missing")]
)
async def test_an_engine_that_ends_is_said_within_two_seconds_and_a_restart_is_offered(end: Goodbye | Exception) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    started: list[FakeLink] = []

    async def restart() -> FakeLink:
        started.append(FakeLink(frames_of(pictures.busy())))
        return started[0]

    app = program(link, restart=restart)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        link.give(end)
        began = real_time.monotonic()
        while not isinstance(app.screen, Question) and real_time.monotonic() - began < 2:
            await pilot.pause(0.01)
        await pilot.pause(0.1)
        assert real_time.monotonic() - began < 2
        assert "NO ENGINE" in drawn(app) and "NO LINK" in drawn(app) and "!1." in drawn(app)
        assert app.trading.has_class("-lost")
        await pilot.press("r")
        await pilot.pause(0.4)
        assert len(started) == 1 and app.link is started[0]
        await until(pilot, lambda: app.desk.connected and app.screen is app.trading and "NO ENGINE" not in drawn(app))


async def test_without_a_way_to_restart_the_dialog_offers_to_look_or_quit() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        link.give(Goodbye("gone"))
        await until(pilot, lambda: "Restart into" not in drawn(app))
        await pilot.press("f12")
        await pilot.pause(0.1)
        assert any("Nothing was sent" in note.message for note in app._notifications)
        await pilot.press("q")
        await pilot.pause(0.2)
        assert app.return_value is Parting.LOST


async def test_a_restart_that_fails_is_said_and_offered_again() -> None:
    link = FakeLink(frames_of(pictures.busy()))

    def restart() -> None:
        link.refuses_to_open = "no venue"

    app = program(link, restart=restart)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        link.give(Goodbye("gone"))
        await pilot.pause(0.2)
        await pilot.press("r")
        await until(pilot, lambda: isinstance(app.screen, Question) and "no venue" in drawn(app))


async def test_a_halt_that_no_engine_answered_is_sent_again_to_the_next_one() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, restart=lambda: None)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        await pilot.press("f12")
        first = [message for message in link.sent if isinstance(message, Ask)]
        link.give(Goodbye("gone"))
        await pilot.pause(0.2)
        link.sent.clear()
        await pilot.press("r")
        await pilot.pause(0.3)
        assert [message for message in link.sent if isinstance(message, Ask)] == first
        assert first[0].action is Action.HALT


async def test_a_link_that_takes_nothing_does_not_freeze_the_kill_key() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        link.stuck = True
        began = real_time.monotonic()
        await pilot.press("f12")
        await pilot.pause(0.1)
        assert real_time.monotonic() - began < 2
        assert any("may not have reached the engine" in note.message for note in app._notifications)


async def test_a_pane_that_fails_says_so_in_its_place_and_the_others_live(monkeypatch: pytest.MonkeyPatch) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        orders = app.trading.orders
        monkeypatch.setattr(orders, "rows", lambda *_: 1 / 0)
        link.give(frames_of(pictures.halted()))
        await until(pilot, lambda: "could not be drawn" in drawn(app) and "division by zero" in drawn(app))
        assert "HALTED" in drawn(app) and app.is_running
        monkeypatch.undo()
        link.give(frames_of(pictures.busy()))
        await until(pilot, lambda: "could not be drawn" not in drawn(app))


async def test_a_pane_that_fails_while_it_is_drawn_does_not_end_the_program(monkeypatch: pytest.MonkeyPatch) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        monkeypatch.setattr(app.trading.orders, "whole_line", lambda y: 1 / 0)
        app.trading.orders.refresh()
        await until(pilot, lambda: "could not be drawn: ZeroDivisionError" in drawn(app) and app.is_running)


async def test_an_answer_pressed_twice_acts_once() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        await pilot.press("c")
        await pilot.pause(0.1)
        await pilot.press("right", "enter", "enter", "y")
        await pilot.pause(0.1)
        asks = [message for message in link.sent if isinstance(message, Ask)]
        assert {ask.action for ask in asks} == {Action.CLOSE}
        assert len({ask.id for ask in asks}) == 1


# --- painting ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10_000), with_fills=st.booleans())
async def test_ten_thousand_frames_between_two_ticks_paint_each_pane_at_most_once(seed: int, with_fills: bool) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, frames_per_s=0.2)
    async with app.run_test(size=LARGE) as pilot:
        await pilot.pause(0.05)
        app._frame()
        before = {pane: pane.paints for pane in all_panes(app)}
        shown = list(pictures.random_frames(seed, 50))
        fill = Filled(1, pictures.MARKET, "c", 1, Side.BUY, 1, 12_345, Decimal(0), True, Decimal(0), 1, Decimal(0))
        app.painted_soon = not with_fills
        for place in range(10_000):
            link.show(*shown[place % 50].pictures, news=[fill] if with_fills and place % 100 == 0 else [])
        while link._queue.qsize():
            await pilot.pause(0.01)
        assert app.desk.frames >= 10_000
        app._frame()  # the tick
        most = 2 if with_fills else 1  # one at once for the fills, one at the tick
        assert {pane.id: pane.paints - before[pane] for pane in all_panes(app) if pane.paints - before[pane] > most} == {}


async def test_a_fill_paints_at_once() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, frames_per_s=0.2)
    async with app.run_test(size=LARGE) as pilot:
        await pilot.pause(0.05)
        app._frame()
        fill = Filled(pictures.NOW, pictures.MARKET, "c", 1, Side.SELL, 1, 12_345, Decimal(0), True, Decimal(0), 1, Decimal(0))
        link.show(pictures.status(Trading.OFF), news=[fill])
        await until(pilot, lambda: "OFF" in drawn(app).splitlines()[0])


async def test_panes_that_cannot_be_seen_cost_nothing() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=SIZES["small"]) as pilot:
        await settled(pilot, link)
        await pilot.press("1")
        chart, ladder = app.trading.panes[1], app.trading.ladder
        before, ladder_before = chart.paints, ladder.paints
        for frame in pictures.random_frames(1, 20):
            link.show(*frame.pictures)
        await pilot.pause(0.3)
        assert chart.paints == before
        assert ladder.paints > ladder_before


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["busy", "empty", "halted"])
async def test_any_size_and_back_without_a_crash(fixture: str) -> None:
    link = FakeLink(frames_of(getattr(pictures, fixture)()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        whole = drawn(app)
        for size in ((20, 5), (1, 1), (80, 24), (300, 4), (120, 36), LARGE):
            await pilot.resize_terminal(*size)
            await pilot.press("tab", "m")
            await pilot.pause(0.05)
            await pilot.press("m")
            assert app._exception is None
        await pilot.press("1")
        await pilot.pause(0.2)
        assert drawn(app).splitlines()[0] == whole.splitlines()[0]
        assert len(drawn(app)) == len(whole)


async def test_the_log_is_bounded_and_stands_still_while_it_is_read() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    link._next = len(frames_of(pictures.busy()).news)
    app = program(link)
    async with app.run_test(size=SIZES["small"]) as pilot:
        await settled(pilot, link)
        await pilot.press("7")
        for part in range(13):
            link.show(news=[Alert(pictures.NOW, Level.WARNING, f"sentence {part * 100 + one}") for one in range(100)])
        await pilot.pause(0.4)
        log = app.trading.query_one(LogPane)
        assert len(log.lines) == LINES_KEPT
        assert "W alert    sentence 1299" in drawn(app)
        await pilot.press("pageup")
        await until(pilot, lambda: "sentence 1299" not in drawn(app))
        link.show(news=[Alert(pictures.NOW, Level.ERROR, "sentence 1300")])
        await pilot.pause(0.3)
        assert log.unseen == 1 and "sentence 1300" not in drawn(app)
        await pilot.press("end")
        await until(pilot, lambda: "E alert    sentence 1300" in drawn(app) and log.unseen == 0)


async def test_the_logs_cursor_stays_on_its_line_while_others_come_and_the_picture_follows_it() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    link._next = len(frames_of(pictures.busy()).news)
    app = program(link)
    async with app.run_test(size=SIZES["small"]) as pilot:
        await settled(pilot, link)
        await pilot.press("7")
        link.show(news=[Alert(pictures.NOW, Level.INFO, f"sentence {one}") for one in range(60)])
        await until(pilot, lambda: "sentence 59" in drawn(app))
        assert "▸I alert    sentence 59" in drawn(app)
        await pilot.press("up", "k", "down")
        assert "▸I alert    sentence 58" in drawn(app) and "sentence 59" in drawn(app)
        link.show(news=[Alert(pictures.NOW, Level.INFO, "sentence 60")])
        log = app.trading.query_one(LogPane)
        await until(pilot, lambda: log.unseen == 1)
        assert "▸I alert    sentence 58" in drawn(app) and "sentence 60" not in drawn(app)
        await pilot.press(*["up"] * 40)
        assert "▸I alert    sentence 18" in drawn(app)
        await pilot.press(*["down"] * 42)
        await until(pilot, lambda: "▸I alert    sentence 60" in drawn(app) and log.unseen == 0)
        for line in range(LINES_KEPT + 50):
            log.tell(Level.INFO, f"line {line}")
        await pilot.press("home")
        assert "▸I console  line 50" in drawn(app)
        for line in range(20):
            log.tell(Level.INFO, f"more {line}")
        log.repaint()
        await pilot.press("down")
        assert "▸I console  line 71" in drawn(app), "what was forgotten takes the cursor along"
        await pilot.press("1")
        assert "▸I" not in drawn(app)


def test_the_least_important_facts_go_first() -> None:
    from console.panes.status import compose

    desk = pictures.busy()
    parts = StatusPane(desk).parts(desk, pictures.status())
    for width in range(1, 200):
        text = "".join(text for text, _ in compose(parts, width))
        assert "DEMO" in text
        assert len(text) <= max(width, 6)


async def test_a_position_that_is_flat_says_so_and_cannot_be_closed() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        row = PositionRow(pictures.MARKET, "0", "0", "1.23456789", "0", 0.0, "0", 3, "", "", "0.47", "1.00", "0", 1)
        link.show(PositionsView("", (row,)))
        await until(pilot, lambda: "FLAT" in drawn(app))
        assert "NONE" not in drawn(app), "no stop is missing where nothing is held"
        await pilot.press("c")
        assert app.screen is app.trading


async def test_averages_have_one_decimal_more_than_the_tick() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        long = "0.6234041147132169576059850374"
        row = PositionRow(pictures.MARKET, "-1604", long, "0.62333903", "-0.1", -0.01, "999", 3, "", "", "0", "0", "0", 1)
        link.show(PositionsView("", (row,)))
        await until(pilot, lambda: drawn(app).count("SHORT") == 2)
        line = next(line for line in drawn(app).splitlines()[1:] if "SHORT" in line)
        assert " 0.62340 " in line and " 0.62334 " in line and " NONE " in line


# --- toasts ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late_s", [-3600.0, -4.0, 0.0, 3600.0])
async def test_a_toast_whose_time_is_up_does_not_stop_the_program(late_s: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when a dialog opens in the moment in which a toast ends, or the machine's clock is set: the screen stood still."""
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE, notifications=True) as pilot:
        await settled(pilot, link)
        moved = SimpleNamespace(by=0.0)
        monkeypatch.setattr("textual.notifications.time", lambda: real_time.time() + moved.by)
        monkeypatch.setattr(Note, "has_expired", property(lambda note: False))  # it was not a moment ago
        app.say("A toast.")
        moved.by = 4.0 - late_s
        await pilot.press("question_mark")
        await pilot.pause(0.2)
        assert app.screen is not app.trading


def test_a_notes_time_is_never_up_and_it_expires_all_the_same() -> None:
    note = Note("text", timeout=-5.0)
    assert note.time_left == LEAST_S and note.has_expired
    assert not Note("text", timeout=5.0).has_expired


@pytest.mark.parametrize(("mode", "opens"), [(Mode.LIVE, True), (Mode.TESTNET, True), (Mode.PAPER, False), (Mode.DEMO, False)])
async def test_the_account_is_shown_once_where_orders_go_to_a_real_venue(mode: Mode, opens: bool) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        link.show(msgspec.structs.replace(pictures.status(Trading.OFF), mode=mode))
        rows = (("account", "binance, here"), ("balance", "1234.5 USDT"), ("waits for", "the leverage"))
        link.show(OpeningView("", rows, False))
        await pilot.pause(0.2)
        assert not isinstance(app.screen, OpeningScreen), "not before it is whole"
        link.show(OpeningView("", (*rows[:2], ("waits for", "nothing")), True))
        await pilot.pause(0.2)
        assert isinstance(app.screen, OpeningScreen) is opens
        if opens:
            await until(pilot, lambda: "1234.5 USDT" in drawn(app) and "The account at the venue" in drawn(app))
            await pilot.press("escape")
        link.show(OpeningView("", (*rows[:2], ("waits for", "nothing at all")), True))
        await pilot.pause(0.2)
        assert not isinstance(app.screen, OpeningScreen), "it is not forced upon anybody again"
        found = [command for command in app.get_system_commands(app.screen) if command.title == "view: the account at the venue"]
        found[0].callback()
        await until(pilot, lambda: "nothing at all" in drawn(app))
