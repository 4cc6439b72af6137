"""A console that only watches, and one whose link is far: what it says, and what it does not send."""

import msgspec

from console.app import Parting
from console.dialogs import Question
from engine.events import Action
from engine.views import Goodbye, Leave
from tests import pictures
from tests.console.conftest import SIZES, FakeLink, Time, frames_of, program
from tests.console.test_app import drawn
from tests.console.test_keys import settled, until

LARGE = SIZES["large"]


async def test_one_that_watches_says_so_and_sends_nothing_also_not_for_the_kill_key() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, control=False)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        await until(pilot, lambda: " WATCHING " in drawn(app).splitlines()[0])
        assert "F12 halt" not in drawn(app) and "q quit" in drawn(app)
        for key in ("d", "v", "f12"):
            await pilot.press(key)
        await until(pilot, lambda: drawn(app).count("This console only watches") == 3)
        assert link.asks() == []


async def test_leaving_one_that_watches_offers_no_stop() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, control=False)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        await pilot.press("q")
        await until(pilot, lambda: isinstance(app.screen, Question))
        assert isinstance(app.screen, Question) and [option.id for option in app.screen.options] == ["stay", "leave"]
        await pilot.press("l")
        await until(pilot, lambda: Leave(True) in link.sent)
    assert app.return_value is Parting.LEFT


async def test_a_far_console_that_steers_cannot_stop_the_engine_and_can_attach_again() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, may_stop=False, restart=lambda: None)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        await pilot.press("d")
        await until(pilot, lambda: (Action.DISARM, "") in link.asks())
        link.give(Goodbye("Session a is silent."))
        await until(pilot, lambda: "Attach again" in drawn(app))
        assert "recovery" not in drawn(app)
        await pilot.press("r")
        await until(pilot, lambda: link.opened == 2)


async def test_a_link_that_brings_nothing_says_why_and_how_old_all_is() -> None:
    time, link = Time(), FakeLink(frames_of(pictures.busy()))
    app = program(link, time)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        link.note = "Reconnecting to Fluvio (nothing answered there in time)."
        time.at += 7
        await until(pilot, lambda: "NOTHING SEEN for 7 s: everything shown is old. Reconnecting to Fluvio" in drawn(app))
        link.note = ""
        link.show(pictures.status())
        await until(pilot, lambda: "NOTHING SEEN" not in drawn(app))


async def test_what_comes_late_counts_as_old() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        link.late_s = 4.2
        await until(pilot, lambda: "ENGINE SILENT for 4 s: everything shown is old" in drawn(app))


async def test_the_cluster_is_on_the_status_line_in_a_word_and_stands_out_when_it_is_down() -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link)
    async with app.run_test(size=LARGE) as pilot:
        await settled(pilot, link)
        assert "fluvio" not in drawn(app).splitlines()[0]
        for words, shown in (("up", "fluvio up"), ("up -45", "fluvio up -45"), ("down -340", "fluvio !down -340")):
            link.show(msgspec.structs.replace(pictures.status(), forwarding=words))
            await until(pilot, lambda shown=shown: shown in drawn(app).splitlines()[0])
