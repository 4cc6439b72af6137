"""The table of keys is what is bound, shown, searched and written; each key does what it says."""

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from textual import events
from textual.command import CommandPalette
from textual.drivers.headless_driver import HeadlessDriver
from textual.pilot import Pilot
from textual.widgets import Input, Static

from console import keys
from console.app import DEPTH, Console, Parting
from console.commands import BOUNCE_S, Presses
from console.dialogs import Phrase, Question, Typed
from console.kill import reading
from console.panes.bars import KeyBar
from console.panes.chart import ChartPane, every
from console.panes.ladder import LadderPane
from console.panes.log import LogPane
from console.panes.markets import MarketsPane
from console.panes.orders import OrdersPane
from console.panes.rationale import RationalePane
from console.panes.tape import TapePane
from console.screens.help import HelpScreen
from console.screens.order import OrderScreen
from console.screens.record import RecordScreen
from console.screens.ticket import TicketScreen
from console.screens.trace import TraceScreen, after
from console.screens.trading import TradingScreen
from engine.events import (
    Action,
    Alert,
    Judged,
    Level,
    Mode,
    OrderChanged,
    OrderState,
    Side,
    TimeInForce,
    Trading,
)
from engine.views import (
    Ask,
    ChartLiveView,
    ChartView,
    Frame,
    LadderView,
    Leave,
    MarketsView,
    OrdersView,
    StatusView,
    TraceView,
    Watch,
)
from tests import pictures
from tests.console.conftest import MARKETS, FakeLink, Time, frames_of, program

IDS = [key.id for key in keys.KEYS]
PANES = {
    **{"ladder": LadderPane, "chart": ChartPane, "rationale": RationalePane, "orders": OrdersPane},
    **{"tape": TapePane, "markets": MarketsPane, "log": LogPane},
}


async def settled(pilot: Pilot[Parting], link: FakeLink) -> None:
    """The first frame is on the screen."""
    for _ in range(50):
        await pilot.pause(0.02)
        if pilot.app.desk.frames:  # type: ignore[attr-defined]
            break
    await pilot.pause(0.1)


async def until(pilot: Pilot[Parting], holds: Callable[[], bool], within_s: float = 120.0) -> None:
    """Waits as long as a busy machine needs."""
    end = time.monotonic() + within_s
    while not holds() and time.monotonic() < end:
        await pilot.pause(0.02)
    assert holds()


# --- the table ---------------------------------------------------------------------------------------------------------


def test_ids_are_unique_and_no_two_keys_are_the_same() -> None:
    assert len(set(IDS)) == len(IDS)
    assert keys.problems({}) == []


def test_every_key_is_bound_once_and_only_the_kill_key_everywhere() -> None:
    screen = {binding.id: binding for binding in TradingScreen.BINDINGS if binding.id}  # type: ignore[union-attr]
    anywhere = {binding.id: binding for binding in Console.BINDINGS if binding.id}  # type: ignore[union-attr]
    panes = [binding.id for kind in PANES.values() for binding in kind.BINDINGS]  # type: ignore[union-attr]
    assert len(set(panes)) == len(panes)
    assert set(screen) | set(anywhere) | set(panes) == set(IDS)
    assert set(anywhere) == {"halt"}
    assert anywhere["halt"].priority and not any(binding.priority for binding in screen.values())


def test_every_key_has_an_action_that_exists() -> None:
    for key in keys.KEYS:
        owner = PANES[key.pane] if key.pane else Console if key.anywhere else TradingScreen
        assert callable(getattr(owner, f"action_{key.action.partition('(')[0]}", None)), key.id


@pytest.mark.parametrize("key", ["f1", "f10", "f11", "ctrl+b", "ctrl+s", "ctrl+q", "escape"])
def test_keys_of_terminals_and_multiplexers_are_left_alone(key: str) -> None:
    assert key not in {name for row in keys.KEYS for name in row.key.split(",")}


def test_the_readmes_table_of_keys_is_the_generated_one(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    assert (text.count("<!-- keys -->\n"), text.count("<!-- /keys -->\n")) == (1, 1)
    assert text.partition("<!-- keys -->\n")[2].partition("<!-- /keys -->\n")[0].strip() == keys.render_table()


def test_palette_entries_read_area_and_verb() -> None:
    titles = [title for title, _ in keys.palette()]
    assert len(set(titles)) == len(titles) == len(keys.KEYS) - 1
    assert all(re.fullmatch(r"[a-z]+: [a-z ]+", title) for title in titles)


@pytest.mark.parametrize(
    ("remapped", "names"),
    [
        ({"hlat": "f9"}, "hlat"),
        ({"halt": "k"}, "letter"),
        ({"arm": "d"}, "disarm"),
        ({"halt": ""}, "letter"),
        ({"halt": "/"}, "letter"),
        ({"halt": "f99"}, "f99 is no key's name"),
        ({"arm": "ctr+k"}, "ctr+k is no key's name"),
        ({"order": "?"}, "? is already the key of order"),
        ({"chart_newest": "q"}, "quit"),
        ({"quit": "k"}, "quit"),
    ],
)
def test_a_remapping_that_cannot_be_is_a_sentence(remapped: dict[str, str], names: str) -> None:
    found = keys.problems(remapped)
    assert found and names in found[0]


def test_keys_may_be_written_as_they_are_shown() -> None:
    assert keys.settled({"halt": "F9, Ctrl+K", "help": "? ,h"}) == {"halt": "f9,ctrl+k", "help": "question_mark,h"}
    for key in keys.EVERY:
        assert keys.settled({key.id: key.key}) == {key.id: key.key}
        shown = ",".join(keys.shown(name) for name in key.key.split(","))
        assert key.key == "comma" or keys.settled({key.id: shown}) == {key.id: key.key}, "a comma separates"


async def test_a_remapped_key_acts_and_is_shown() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, user_keys={"halt": "F9", "disarm": "D"})
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("d", "f12")
        assert link.asks() == []
        await pilot.press("D", "f9")
        assert link.asks() == [(Action.DISARM, ""), (Action.HALT, "")]
        assert "F9" in "".join(strip.text for strip in [app.trading.query_one(KeyBar).render_line(0)])


async def test_what_is_said_of_a_halt_names_the_keys_as_they_were_remapped() -> None:
    link = FakeLink(frames_of(pictures.halted()))
    app = program(link, user_keys={"halt": "f9", "release": "R"})
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await until(pilot, lambda: "F9 again flattens, R releases." in app.trading.banner.said)
        await pilot.press("a")
        assert any("release first (R)" in note.message for note in app._notifications)


# --- presses -----------------------------------------------------------------------------------------------------------


def test_a_held_key_is_one_press_however_long() -> None:
    presses = Presses()
    assert [presses.bounced("halt", at * 0.05) for at in range(40)] == [False] + [True] * 39
    assert not presses.bounced("halt", 39 * 0.05 + BOUNCE_S + 0.01)


def test_a_second_press_counts_in_time_and_about_the_same_thing_only() -> None:
    presses = Presses()
    assert not presses.second("cancel", 0.0, "one")
    assert not presses.second("cancel", 1.0, "other")
    assert presses.second("cancel", 2.0, "other")
    assert not presses.second("cancel", 2.5, "other")
    assert not presses.second("cancel", 6.0, "other")


def test_the_kill_key_halts_first_even_when_a_halt_came_in_that_moment() -> None:
    presses = Presses()
    presses.shown(True, 10.0)
    assert not presses.kill_flattens(10.2)
    assert presses.kill_flattens(10.6)


def test_the_kill_key_flattens_a_halt_that_was_there_to_be_read_and_halts_again_after_a_release() -> None:
    presses = Presses()
    presses.shown(True, 10.0)
    assert presses.kill_flattens(11.5)
    presses.released()
    presses.shown(False, 12.0)
    assert not presses.kill_flattens(13.0)


# --- each key ----------------------------------------------------------------------------------------------------------


STOPS = {"d": (Action.DISARM, ""), "v": (Action.VETO, pictures.MARKET), "f12": (Action.HALT, "")}


@pytest.mark.parametrize("key", STOPS)
async def test_what_stops_takes_one_press_and_a_bounce_acts_once(key: str) -> None:
    link, clock = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, clock)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press(key)
        clock.at += 0.1
        await pilot.press(key)
        assert link.asks() == [STOPS[key]]


async def test_f12_twice_flattens_and_each_command_has_its_own_id() -> None:
    link, clock = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, clock)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("f12")
        clock.at += 0.4
        await pilot.press("f12")
        assert link.asks() == [(Action.HALT, ""), (Action.FLATTEN, "")]
        assert len({message.id for message in link.sent if hasattr(message, "id")}) == 2


async def test_f12_works_over_a_question_an_input_help_and_the_palette() -> None:
    link, clock = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, clock)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        for opening, screen in (("q", Question), ("question_mark", HelpScreen), ("ctrl+p", CommandPalette)):
            clock.at += 5
            await pilot.press(opening)
            await pilot.pause(0.1)
            assert isinstance(app.screen, screen)
            before = len(link.asks())
            await pilot.press("f12")
            assert len(link.asks()) == before + 1
            await pilot.press("escape")
            await pilot.pause(0.1)
        app.push_screen(Phrase("Title", "Text", "trade live"))
        await pilot.pause(0.1)
        clock.at += 5
        await pilot.press("a", "f12", "d")
        assert len(link.asks()) == 4
        assert {action for action, _ in link.asks()} == {Action.HALT, Action.FLATTEN}


async def test_the_terminals_thread_sends_a_halt_at_once_and_the_loop_the_same_one_again() -> None:
    link, clock = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, clock)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        driver = reading(HeadlessDriver)(app, size=(160, 50))
        for press in range(3):
            for name in ("j", "f12"):
                key = events.Key(name, None)
                await asyncio.to_thread(driver.process_message, key)
            assert [ask.action for ask in link.sent_now] == [Action.HALT, Action.FLATTEN][: press + 1]
            await until(pilot, lambda press=press: len(link.asks()) == min(press + 1, 2))  # type: ignore[misc]
            clock.at += 0.4 if press == 0 else 0.1  # the third is a bounce
        assert [message for message in link.sent if isinstance(message, Ask)] == link.sent_now


async def test_a_remapped_kill_key_is_the_one_that_is_heard() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, user_keys={"halt": "f9"})
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        app.kill.read("f12")
        assert not link.sent_now
        app.kill.read("f9")
        assert [ask.action for ask in link.sent_now] == [Action.HALT]


async def test_typing_a_letter_into_an_input_trades_nothing() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        app.push_screen(Phrase("Title", "Text", "trade live"))
        await pilot.pause(0.1)
        await pilot.press(*"advcxrnptmyq12", "space")
        assert link.asks() == []
        await pilot.press("escape")
        await pilot.press("ctrl+p")
        await pilot.pause(0.1)
        await pilot.press(*"advcx")
        assert link.asks() == []


async def test_arming_takes_two_presses() -> None:
    link, clock = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, clock)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("a")
        assert link.asks() == []
        clock.at += 0.5
        await pilot.press("a")
        assert link.asks() == [(Action.ARM, "")]


async def test_arming_while_halted_says_what_comes_first() -> None:
    link = FakeLink(frames_of(pictures.halted()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("a")
        assert link.asks() == []
        assert any("release first" in note.message for note in app._notifications)


@pytest.mark.parametrize(
    ("typed", "asked"), [("trade live with real money on binance", [(Action.ARM, "")]), ("trade live", []), ("yes", [])]
)
async def test_arming_live_takes_a_typed_phrase(typed: str, asked: list[tuple[Action, str]]) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        status = app.desk.get(StatusView, "")
        assert status is not None
        changed = {name: getattr(status, name) for name in status.__struct_fields__} | {"mode": Mode.LIVE, "trading": Trading.OFF}
        link.show(StatusView(**changed))
        await pilot.pause(0.1)
        await pilot.press("a")
        await pilot.pause(0.1)
        await pilot.press(*(letter if letter != " " else "space" for letter in typed), "enter")
        await pilot.pause(0.1)
        assert link.asks() == asked


@pytest.mark.parametrize(
    ("answer", "asked"), [("y", [(Action.CLOSE, pictures.MARKET)]), ("n", []), ("escape", []), ("enter", [])]
)
async def test_closing_a_position_asks(answer: str, asked: list[tuple[Action, str]]) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("c")
        await pilot.pause(0.1)
        assert isinstance(app.screen, Question)
        await pilot.press(answer)
        await pilot.pause(0.1)
        assert link.asks() == asked


async def test_releasing_asks_and_only_where_there_is_a_halt() -> None:
    link, clock = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, clock)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("r")
        assert app.screen is app.trading
        link.show(pictures.status(Trading.HALTED, "F12"))
        await pilot.pause(0.2)
        clock.at += 1
        await pilot.press("r")
        await pilot.pause(0.1)
        await pilot.press("y")
        await pilot.pause(0.1)
        assert link.asks() == [(Action.RELEASE, "")]


async def test_cancelling_takes_two_presses_on_the_selected_order() -> None:
    link, clock = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, clock)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("6", "down")
        view = app.desk.get(OrdersView, "")
        assert view is not None
        second = view.open[1].client_id
        await pilot.press("x")
        clock.at += 0.4
        await pilot.press("x")
        assert link.asks() == [(Action.CANCEL, second)]
        clock.at += 0.4
        await pilot.press("x", "up")
        clock.at += 0.4
        await pilot.press("x")
        assert len(link.asks()) == 1, "another order: the first press again"
        await pilot.press("end")
        clock.at += 0.4
        await pilot.press("x")
        assert len(link.asks()) == 1, "a finished order cannot be cancelled"


TYPED = {"btc": "BTC/USDT:USDT", "doge/usdt": "DOGE/USDT:USDT", "x:y": "X:Y", "": ""}


@pytest.mark.parametrize(("typed", "target"), TYPED.items())
async def test_another_market_is_watched_by_its_symbol(typed: str, target: str) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("w")
        await until(pilot, lambda: isinstance(app.screen, Typed))
        await pilot.press(*(key if key.isalnum() else {"/": "slash", ":": "colon"}[key] for key in typed), "enter")
        await until(pilot, lambda: app.screen is app.trading)
        await pilot.pause(0.1)
        assert link.asks() == ([(Action.COLLECT, target)] if target else [])


async def type_in(pilot: Pilot[Parting], line: str) -> None:
    names = {" ": "space", "@": "at", ".": "full_stop", "%": "percent_sign"}
    await pilot.press(*(names.get(letter, letter) for letter in line))


async def test_an_order_is_typed_said_in_words_and_sent_once() -> None:
    link, clock = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, clock)
    async with app.run_test(size=(120, 36)) as pilot:
        await settled(pilot, link)
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, OrderScreen))
        said = app.screen.query_one("#question", Static)
        await type_in(pilot, "buy 500 @ bid po")
        assert "was not understood" in str(said.render())
        await pilot.press("enter")
        assert isinstance(app.screen, OrderScreen) and link.asks() == [], "what is not understood is not sent"
        await pilot.press("tab")
        await until(pilot, lambda: "post-only" in str(said.render()))
        await pilot.press("enter")
        await until(pilot, lambda: app.screen is app.trading and bool(link.asks()))
        (ask,) = [one for one in link.sent if isinstance(one, Ask)]
        assert (ask.action, ask.target) == (Action.ORDER, app.desk.market) and ask.ticket is not None
        assert (ask.ticket.side, ask.ticket.quantity, ask.ticket.time_in_force) == (Side.BUY, 500, TimeInForce.GTX)
        view = app.desk.get(LadderView)
        assert view is not None and ask.ticket.price == view.bids[0][0]
        clock.at += 0.4
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, OrderScreen))
        await pilot.press("up")
        assert app.screen.query_one(Input).value == "buy 500 @ bid post"
        await pilot.press("down", "escape")
        await until(pilot, lambda: app.screen is app.trading)
        assert len(link.asks()) == 1


async def test_the_kill_key_works_over_an_order_that_is_being_typed() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(80, 24)) as pilot:
        await settled(pilot, link)
        await pilot.press("colon")
        await until(pilot, lambda: isinstance(app.screen, OrderScreen))
        await type_in(pilot, "buy 5")
        await pilot.press("f12")
        await until(pilot, lambda: link.asks() == [(Action.HALT, "")])


async def test_a_market_is_dropped_with_two_presses_and_the_screen_shows_another_one_then() -> None:
    link, clock = FakeLink(frames_of(pictures.busy())), Time()
    app = program(link, clock)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("n", "u")
        assert link.asks() == []
        clock.at += 0.4
        await pilot.press("u")
        assert link.asks() == [(Action.DROP, "BTC/USDT:USDT")]
        status = app.desk.get(StatusView, "")
        assert status is not None and app.desk.market == MARKETS[1]
        link.show(msgspec.structs.replace(status, markets=MARKETS[:1]))
        await until(pilot, lambda: app.desk.market == MARKETS[0])
        await until(pilot, lambda: link.sent[-1] == Watch(MARKETS[0], app.desk.timeframe_ms, DEPTH))


async def test_a_fault_is_injected_from_the_palette_where_the_watched_market_is() -> None:
    injected: list[tuple[str, str]] = []

    async def inject(name: str, venue: str) -> None:
        injected.append((name, venue))

    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, faults={"depth_gap": "A depth update is lost"}, inject=inject)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("ctrl+p")
        await pilot.pause(0.1)
        await pilot.press(*"injectdepth")
        await pilot.pause(0.5)
        await pilot.press("down", "enter")
        await until(pilot, lambda: bool(injected))
        assert injected == [("depth_gap", "binance")]


async def test_symbol_and_timeframe_keys_watch_something_else() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("n", "n", "p", "t", "T")
        watched = [(message.market, message.timeframe_ms) for message in link.sent if isinstance(message, Watch)]
        one, other = MARKETS
        assert watched == [(one, 60_000), (other, 60_000), (one, 60_000), (other, 60_000), (other, 1_000), (other, 60_000)]


@pytest.mark.parametrize("size", [(160, 50), (80, 24)])
async def test_pane_keys_focus_and_maximise(size: tuple[int, int]) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=size) as pilot:
        await settled(pilot, link)
        names = ["ladder", "chart", "indicators", "rationale", "positions", "orders", "log", "account", "tape", "markets", "pnl"]
        for place, name in enumerate(names, start=1):
            await pilot.press(keys.PLACES[place - 1])
            await pilot.pause()
            assert app.focused is not None and app.focused.id == name
        await pilot.press("tab")
        assert app.focused is not None and app.focused.id == "ladder"
        await pilot.press("shift+tab", "shift+tab")
        assert app.focused is not None and app.focused.id == "markets"
        await pilot.press("2", "m")
        await pilot.pause(0.1)
        chart = app.trading.panes[1]
        assert chart.size.width >= size[0] - 2
        await pilot.press("m")
        await pilot.pause(0.1)
        assert (chart.size.width >= size[0] - 2) is (size == (80, 24))


async def test_space_recentres_the_ladder(monkeypatch: pytest.MonkeyPatch) -> None:
    link, done = FakeLink(frames_of(pictures.busy())), []
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        assert callable(getattr(app.trading.ladder, "recentre", None))
        monkeypatch.setattr(app.trading.ladder, "recentre", lambda: done.append(1))
        await pilot.press("3", "space")
        assert done == [1]


# what each key of a pane does to it, after what was pressed before: (before, what is looked at)
MOVES: dict[str, tuple[tuple[str, ...], Callable[[Any], object], Callable[[object, object], bool]]] = {
    "ladder_scroll_up": ((), lambda pane: pane.axis.bucket(0), lambda before, after: after == before + 1),  # type: ignore
    "ladder_scroll_down": ((), lambda pane: pane.axis.bucket(0), lambda before, after: after == before - 1),  # type: ignore
    "ladder_page_up": ((), lambda pane: pane.axis.bucket(0), lambda before, after: after > before + 3),  # type: ignore
    "ladder_page_down": ((), lambda pane: pane.axis.bucket(0), lambda before, after: after < before - 3),  # type: ignore
    "ladder_group_more": ((), lambda pane: pane.ticks_a_row, lambda before, after: (before, after) == (1, 2)),  # type: ignore
    "ladder_group_less": (("]", "]"), lambda pane: pane.ticks_a_row, lambda before, after: (before, after) == (5, 2)),  # type: ignore
    "ladder_cursor_up": (("shift+up",), lambda pane: pane.cursor, lambda before, after: after == before + 1),  # type: ignore
    "ladder_cursor_down": (("shift+down",), lambda pane: pane.cursor, lambda before, after: after == before - 1),  # type: ignore
    "ladder_ticket": ((), lambda pane: type(pane.app.screen), lambda before, after: after is TicketScreen is not before),
    "chart_zoom_in": ((), lambda pane: pane._zoom, lambda before, after: after == before + 1),  # type: ignore
    "chart_zoom_out": ((), lambda pane: pane._zoom, lambda before, after: after == before - 1),  # type: ignore
    "chart_scroll_left": ((), lambda pane: newer(pane), lambda before, after: (before, after) == (0, 1)),  # type: ignore
    "chart_scroll_right": (("left", "left"), lambda pane: newer(pane), lambda before, after: (before, after) == (2, 1)),  # type: ignore
    "chart_page_left": ((), lambda pane: newer(pane), lambda before, after: after > before + 3),  # type: ignore
    "chart_page_right": (("pageup", "pageup"), lambda pane: newer(pane), lambda before, after: 0 < after < before - 3),  # type: ignore
    "rationale_record": ((), lambda pane: type(pane.app.screen), lambda before, after: after is RecordScreen is not before),
    "rationale_trace": ((), lambda pane: type(pane.app.screen), lambda before, after: after is TraceScreen is not before),
    "log_trace": (("k",), lambda pane: type(pane.app.screen), lambda before, after: after is TraceScreen is not before),
    "orders_trace": ((), lambda pane: type(pane.app.screen), lambda before, after: after is TraceScreen and before is not after),
    "tape_scroll_down": ((), lambda pane: pane.down, lambda before, after: (before, after) == (0, 1)),  # type: ignore
    "tape_scroll_up": (("j", "j"), lambda pane: pane.down, lambda before, after: (before, after) == (2, 1)),  # type: ignore
    "tape_page_down": ((), lambda pane: pane.down, lambda before, after: after > before + 3),  # type: ignore
    "tape_page_up": (("pagedown", "pagedown"), lambda pane: pane.down, lambda before, after: 0 < after < before - 3),  # type: ignore
    "tape_newest": (("pagedown",), lambda pane: pane.down, lambda before, after: before > 0 == after),  # type: ignore
    "tape_larger": ((), lambda pane: pane.least, lambda before, after: before == 0 < after),  # type: ignore
    "tape_smaller": (("]", "]"), lambda pane: pane.least, lambda before, after: 0 < after < before),  # type: ignore
    "markets_show": (("down", "down"), lambda pane: pane.desk.market, lambda before, after: after != before),  # type: ignore
    "chart_hair": ((), lambda pane: pane._hair is None, lambda before, after: before and not after),
    "chart_hair_up": (("enter", "down"), lambda pane: line_of_hair(pane), lambda before, after: after == before - 1),  # type: ignore
    "chart_hair_down": (("enter",), lambda pane: line_of_hair(pane), lambda before, after: after == before + 1),  # type: ignore
    "chart_overlays": ((), lambda pane: pane._overlays, lambda before, after: (before, after) == ("", "none")),
    "chart_newest": (("pageup",), lambda pane: newer(pane), lambda before, after: before > 0 == after),  # type: ignore
}


def line_of_hair(pane: ChartPane) -> int:
    """Of the cross hair, -1 without one."""
    return pane._hair[1] if pane._hair is not None else -1


def newer(pane: ChartPane) -> int:
    """How many bars lie to the right of what is shown."""
    bars = every(pane.desk.get(ChartView), pane.desk.get(ChartLiveView))
    return len(bars) - pane._end(bars)


@pytest.mark.parametrize(
    ("name", "key"), [(row.id, key) for row in keys.KEYS if row.pane for key in row.key.split(",")], ids=lambda value: value
)
async def test_a_panes_key_acts_on_it_while_it_has_the_focus(name: str, key: str) -> None:
    before_it, look, holds = MOVES[name]
    desk = pictures.busy()
    known = desk.get(MarketsView, "")
    assert known is not None
    link = FakeLink(frames_of(desk), markets=tuple(row.market for row in known.rows))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        place = next(place for place, one in enumerate(app.trading.panes, 1) if one.id == keys.BY_ID[name].pane)
        pane = app.trading.panes[place - 1]
        assert isinstance(pane, PANES[keys.BY_ID[name].pane])
        await pilot.press(str(3), key)  # somebody else's
        untouched = look(pane)
        await pilot.press(keys.PLACES[place - 1], *before_it)
        before = look(pane)
        assert before_it or before == untouched
        await pilot.press(key)
        assert holds(before, look(pane)), (before, look(pane))
        assert link.asks() == []


def test_each_key_of_a_pane_is_tried() -> None:
    assert set(MOVES) == {key.id for key in keys.KEYS if key.pane}


async def test_a_trace_asks_for_its_order_while_it_is_open_and_shows_each_step() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("6", "down", "enter")
        await until(pilot, lambda: isinstance(app.screen, TraceScreen))
        order = app.desk.get(OrdersView, "")
        assert order is not None
        chosen = (order.open + order.finished)[1].client_id
        await until(pilot, lambda: isinstance(link.sent[-1], Watch) and link.sent[-1].order == chosen)
        steps = (("question", pictures.NOW, "q1 was asked of [bold]m[/]"), ("fill", 0, "500 at 1.2, +0.4 bps from the mid"))
        link.give(Frame(app.desk.next_news, (TraceView("", chosen, steps),), ()))
        await pilot.pause(0.5)
        drawn = "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())
        assert re.search(r"14:14:00 +\+0\.0 ms +question +q1 was asked of \[bold\]m\[/\]", drawn)
        assert "+0.4 bps from the mid" in drawn
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.trading and link.sent[-1].order == "")
        assert link.asks() == []


def test_the_time_since_the_first_step_tells_steps_of_one_decision_apart() -> None:
    assert [after(ns) for ns in (0, 412_000, 4_331_200_000)] == ["+0.0 ms", "+0.4 ms", "+4,331.2 ms"]
    assert after(72_000_000_000) == "+1m12"


async def test_fills_orders_and_judgments_are_traced_from_the_log_and_the_rationale() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    link._next = len(frames_of(pictures.busy()).news)
    app = program(link)
    stance = pictures.stance()
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        moved = OrderChanged(pictures.NOW, pictures.MARKET, "b-4", OrderState.SENT, OrderState.WORKING, "")
        link.show(news=[moved, Judged(pictures.NOW, stance), Alert(pictures.NOW, Level.INFO, "the newest line")])
        await until(pilot, lambda: app.trading.news.lines[-1].text == "the newest line")
        await pilot.press("7", "enter")
        await until(pilot, lambda: any("to be traced" in note.message for note in app._notifications))
        assert app.screen is app.trading
        for before, traced in ((("up",), stance.key), (("up",), "b-4"), (("up", "up"), "b-3")):
            await pilot.press(*before, "enter")
            await until(pilot, lambda traced=traced: watched(link) == traced)  # type: ignore[misc]
            await pilot.press("escape")
            await until(pilot, lambda: app.screen is app.trading and watched(link) == "")
        await pilot.press("4", "enter")
        await until(pilot, lambda: watched(link) == stance.key)
        assert link.asks() == []


def watched(link: FakeLink) -> str | None:
    """Whose trace the engine was last asked for."""
    return next((message.order for message in reversed(link.sent) if isinstance(message, Watch)), None)


async def test_a_veto_with_a_note_is_one_command_and_escape_sends_none() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    clock = Time()
    app = program(link, clock)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("V", "escape")
        assert link.asks() == []
        clock.at += 1.0
        await pilot.press("V", *"news", "enter")
        await until(pilot, lambda: bool(link.asks()))
        assert link.asks() == [(Action.VETO, pictures.MARKET)]
        assert [message.note for message in link.sent if isinstance(message, Ask)] == ["news"]


async def test_the_palette_reaches_a_panes_key_from_any_pane() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        command = next(command for command in app.get_system_commands(app.screen) if command.title == "chart: zoom in")
        chart = app.trading.panes[1]
        assert isinstance(chart, ChartPane)
        before = chart._zoom
        await command.callback()
        assert chart._zoom == before + 1


async def test_help_shows_every_key() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 100)) as pilot:
        await settled(pilot, link)
        await pilot.press("question_mark")
        await pilot.pause(0.2)
        drawn = "\n".join("".join(segment.text for segment in strip) for strip in app.screen._compositor.render_strips())
        assert all(key.label in drawn and key.shown in drawn for key in keys.KEYS)
        await pilot.press("escape")
        await pilot.pause()
        assert app.screen is app.trading


async def test_the_palette_runs_a_command_of_the_table() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("ctrl+p")
        await pilot.pause(0.1)
        await pilot.press(*"disarm")
        await pilot.pause(0.5)
        await pilot.press("down", "enter")
        await pilot.pause(0.3)
        assert link.asks() == [(Action.DISARM, "")]


@pytest.mark.parametrize(
    ("answer", "said", "parting"), [("l", Leave(True), Parting.LEFT), ("s", Leave(False), Parting.STOPPED), ("n", None, None)]
)
async def test_q_asks_stop_leave_or_stay(answer: str, said: Leave | None, parting: Parting | None) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press("q")
        await pilot.pause(0.1)
        assert not any(isinstance(message, Leave) for message in link.sent)
        await pilot.press(answer)
        await pilot.pause(0.2)
        assert [message for message in link.sent if isinstance(message, Leave)] == ([said] if said else [])
        assert app.return_value == parting
        assert app.is_running is (parting is None)
