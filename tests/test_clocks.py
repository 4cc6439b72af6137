"""Clocks that jump, machines that sleep, venues whose time is asked for: what the core is told, and when."""

import asyncio
import time

import pytest

from engine.clock import NS_PER_MS, NS_PER_S, Clock, Readings
from engine.errors import VenueError
from engine.events import ClockJumped, ClockOffset, Event
from engine.runtime import clocks as module
from engine.runtime.clocks import Clocks, Jump, Jumps, replaces
from engine.signal.binance import Rest
from tests.simulated import simulated, until

MS, S = NS_PER_MS, NS_PER_S
WALL = 1_790_000_000 * S


class Machine:
    """Three clocks, moved by hand."""

    def __init__(self) -> None:
        self.mono_ns, self.boot_ns, self.wall_ns = 5 * S, 6 * S, WALL

    def read(self) -> Readings:
        return Readings(self.mono_ns, self.boot_ns, self.wall_ns)

    def runs(self, ns: int) -> "Machine":
        self.mono_ns, self.boot_ns, self.wall_ns = self.mono_ns + ns, self.boot_ns + ns, self.wall_ns + ns
        return self

    def sleeps(self, ns: int) -> "Machine":
        self.boot_ns, self.wall_ns = self.boot_ns + ns, self.wall_ns + ns
        return self

    def is_set(self, ns: int) -> "Machine":
        self.wall_ns += ns
        return self


def seen(machine: Machine, change: object) -> Jump | None:
    """What a look finds after the change."""
    jumps = Jumps(machine.read)
    change()  # type: ignore[operator]
    return jumps.look()


# --- jumps -----------------------------------------------------------------------------------------------------------------


def test_time_that_passes_as_it_should_is_no_jump() -> None:
    machine = Machine()
    jumps = Jumps(machine.read)
    for _ in range(10_000):
        machine.runs(250 * MS).is_set(1 * MS)  # corrected by 4 ms a second, as time daemons do
        assert jumps.look() is None


def test_a_machine_that_slept_is_noticed_and_engine_time_lies_behind_by_that() -> None:
    machine = Machine()
    jump = seen(machine, lambda: machine.runs(100 * MS).sleeps(3600 * S))
    assert jump == Jump(3600 * S, 3600 * S, "the machine slept")


def test_a_clock_that_was_set_forward_or_back_is_noticed_and_only_forward_is_followed() -> None:
    machine = Machine()
    assert seen(machine, lambda: machine.is_set(5 * S)) == Jump(5 * S, 5 * S, "the machine's clock was set forward")
    assert seen(machine, lambda: machine.is_set(-5 * S)) == Jump(-5 * S, 0, "the machine's clock was set back")


def test_a_process_that_stood_still_is_noticed_though_every_clock_went_on() -> None:
    machine = Machine()
    assert seen(machine, lambda: machine.runs(7 * S)) == Jump(7 * S, 0, "the engine stood still")


@pytest.mark.parametrize("ns", [1, 500 * MS, 2 * S])
def test_what_is_within_two_seconds_is_told_by_nobody(ns: int) -> None:
    for change in ("runs", "sleeps", "is_set"):
        machine = Machine()
        assert seen(machine, lambda name=change, of=machine: getattr(of, name)(ns)) is None


def test_a_jump_is_told_once() -> None:
    machine = Machine()
    jumps = Jumps(machine.read)
    machine.sleeps(9 * S)
    assert jumps.look() is not None and jumps.look() is None


def test_the_machines_own_clocks_agree_while_it_is_awake() -> None:
    before = Readings.now()
    time.sleep(0.05)
    after = Readings.now()
    assert after.mono_ns - before.mono_ns >= 50 * MS
    assert abs((after.boot_ns - before.boot_ns) - (after.mono_ns - before.mono_ns)) < 2 * S


# --- engine time -----------------------------------------------------------------------------------------------------------


def test_engine_time_steps_forward_and_never_back() -> None:
    clock = Clock(WALL, 0)
    before = clock.at_mono(S)
    clock.step(3 * S)
    assert clock.at_mono(S) == before + 3 * S
    with pytest.raises(ValueError, match="does not go backwards"):
        clock.step(-1)


class Told:
    """Clocks over a machine moved by hand, and what they told the core."""

    def __init__(self, shared: bool = False) -> None:
        self.machine, self.events = Machine(), list[Event]()
        self.clock = Clock.start()
        self.clocks = Clocks(self.clock, self.tell, shared, self.machine.read)

    def tell(self, event: Event, read_ns: int) -> bool:
        self.events.append(event)
        return False

    async def watched(self) -> asyncio.Task[None]:
        task = asyncio.create_task(self.clocks.watch())
        await asyncio.sleep(0)
        return task


async def test_a_jump_reaches_the_core_before_what_was_read_after_it() -> None:
    told = Told()
    watch = await told.watched()
    before = told.clock.now_ns()
    told.clocks.passed(told.machine.mono_ns + S)
    assert told.events == []
    told.machine.runs(4 * S)
    told.clocks.passed(told.machine.mono_ns)
    (event,) = told.events
    assert isinstance(event, ClockJumped) and (event.jump_ms, event.cause) == (4000, "the engine stood still")
    assert before <= event.at < before + 60 * S
    watch.cancel()


async def test_the_watch_finds_a_sleep_by_itself_and_sets_engine_time_right() -> None:
    told = Told()
    watch = await told.watched()
    before = told.clock.now_ns()
    told.machine.sleeps(3600 * S)
    await until(lambda: told.events)
    (event,) = told.events
    assert isinstance(event, ClockJumped) and event.jump_ms == 3_600_000
    assert event.at >= before + 3600 * S
    watch.cancel()


async def test_a_venue_that_runs_on_our_clock_slept_with_it() -> None:
    told = Told(shared=True)
    watch = await told.watched()
    before = told.clock.now_ns()
    told.machine.sleeps(3600 * S)
    told.clocks.look()
    assert len(told.events) == 1 and told.clock.now_ns() < before + 3600 * S
    watch.cancel()


def test_nothing_is_told_before_the_watch_began() -> None:
    told = Told()
    told.machine.runs(60 * S)
    told.clocks.passed(told.machine.mono_ns)
    told.clocks.look()
    assert told.events == []


# --- offsets ---------------------------------------------------------------------------------------------------------------


def offset(ms: int, uncertainty_ms: int, after_s: float = 0) -> ClockOffset:
    return ClockOffset(WALL + int(after_s * S), "binance", ms, uncertainty_ms)


def test_the_first_estimate_counts_and_a_surer_one_replaces_it() -> None:
    assert replaces(offset(5, 80), None)
    assert replaces(offset(9, 20, 600), offset(5, 80))


def test_a_less_sure_estimate_does_not_replace_a_surer_one_until_that_is_old() -> None:
    held = offset(5, 10)
    assert not replaces(offset(20, 60, 600), held)
    assert replaces(offset(20, 60, 1200), held), "after twenty minutes the clocks may have parted by 60 ms"


def test_an_estimate_that_refutes_the_held_one_replaces_it_however_unsure() -> None:
    assert replaces(offset(500, 200, 60), offset(5, 10))


class Answers:
    """A venue's clock: what it says next."""

    def __init__(self, *said: ClockOffset | VenueError) -> None:
        self.said = list(said)

    async def clock_offset(self, tries: int = 5) -> ClockOffset:
        answer = self.said.pop(0)
        if isinstance(answer, VenueError):
            raise answer
        return answer


async def test_only_estimates_that_are_news_reach_the_core_and_a_jump_forgets_them() -> None:
    told = Told()
    watch = await told.watched()
    good, unsure, other = offset(5, 10), offset(9, 70, 1), offset(9, 70, 2)
    venue = Answers(good, unsure, other)
    await told.clocks.ask(venue)
    await told.clocks.ask(venue)
    assert told.events == [good]
    told.machine.sleeps(9 * S)
    told.clocks.look()
    await told.clocks.ask(venue)
    assert told.events[-1] is other
    watch.cancel()


async def test_a_venue_is_asked_again_after_a_while_and_at_once_after_a_jump(monkeypatch: pytest.MonkeyPatch) -> None:
    told = Told()
    watch = await told.watched()
    venue = Answers(VenueError("Binance", "busy"), offset(5, 10), offset(6, 9), *(offset(7, 8, n) for n in range(1000)))
    following = asyncio.create_task(told.clocks.follow(venue))
    await asyncio.sleep(0.05)
    assert told.events == [], "the start has asked already"
    told.machine.sleeps(9 * S)
    await until(lambda: len(told.events) == 2)
    assert told.events[-1] == offset(5, 10), "a refusal is not the last word"
    following.cancel()
    monkeypatch.setattr(module, "ASK_EVERY_S", 0.01)
    following = asyncio.create_task(told.clocks.follow(venue))
    await until(lambda: len(told.events) >= 4)
    following.cancel()
    watch.cancel()


async def test_the_offset_is_that_of_the_quickest_answer_of_a_real_venue() -> None:
    async with simulated() as venue:
        await venue.fault("clock_offset", ms=700)
        rest = Rest(venue.rest, venue.clock, True)
        try:
            await venue.fault("delay_reply", path="/fapi/v1/time", ms=300, times=2)
            found = await rest.clock_offset()
        finally:
            await rest.close()
    assert abs(found.offset_ms - 700) <= found.uncertainty_ms + 2
