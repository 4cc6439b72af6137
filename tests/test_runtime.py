"""The small parts under the engine: the halt latch on disk, tasks that come back, and the figures of durations."""

import asyncio
import gc
import logging
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
from factory import MARKET, settings
from simulated import until

from engine.clock import Clock
from engine.errors import DecodeError, StateError, VenueError
from engine.events import (
    Action,
    Alert,
    CancelOrder,
    Event,
    Mode,
    OrderFateUnknown,
    OrderKind,
    Purpose,
    SendOrder,
    Side,
    Started,
    Tick,
    TimeInForce,
    Trading,
)
from engine.runtime import Endpoints, Engine, latch, stats, supervise
from engine.runtime.requests import Requests
from engine.runtime.stages import UNCOUNTED, Stages
from engine.runtime.stats import Durations, Latencies
from engine.runtime.supervise import Supervisor, persist

# --- the latch -------------------------------------------------------------------------------------------------------


def test_without_a_latch_nothing_is_latched(tmp_path: Path) -> None:
    assert latch.read(tmp_path) == ""


def test_a_state_folder_that_was_never_made_holds_no_latch(tmp_path: Path) -> None:
    assert latch.read(tmp_path / "nowhere") == ""
    assert latch.clear(tmp_path / "nowhere") is False


def test_a_latch_is_read_back_with_its_reason_and_time(tmp_path: Path) -> None:
    latch.write(tmp_path, "the daily loss limit was reached")
    reason, _, since = latch.read(tmp_path).partition(" (")
    assert reason == "the daily loss limit was reached"
    assert datetime.fromisoformat(since.rstrip(")")).utcoffset() is not None


def test_the_newest_reason_replaces_the_old_one_and_leaves_nothing_beside_it(tmp_path: Path) -> None:
    latch.write(tmp_path, "first")
    latch.write(tmp_path, "second")
    assert latch.read(tmp_path).startswith("second (")
    assert [path.name for path in tmp_path.iterdir()] == [latch.NAME]


def test_a_released_latch_is_gone_and_releasing_twice_does_no_harm(tmp_path: Path) -> None:
    latch.write(tmp_path, "x")
    assert latch.clear(tmp_path) is True
    assert latch.read(tmp_path) == ""
    assert latch.clear(tmp_path) is False


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'{"reason":7,"since":""}',
        b'{"reason":"x"}',
        b"\xff\xfe",
        b'{"reason":"\xff","since":""}',
        b"[" * 100_000,
    ],
)
def test_a_damaged_latch_is_a_latch(tmp_path: Path, damage: bytes) -> None:
    (tmp_path / latch.NAME).write_bytes(damage)
    assert latch.read(tmp_path) == "the halt latch is damaged"
    assert latch.clear(tmp_path) is True


def test_a_latch_half_written_beside_does_not_count(tmp_path: Path) -> None:
    (tmp_path / f".{latch.NAME}.a1b2c3d4.new").write_bytes(b'{"reas')
    assert latch.read(tmp_path) == ""
    latch.write(tmp_path, "again")
    assert latch.read(tmp_path).startswith("again")


def test_a_write_that_fails_leaves_the_old_latch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    latch.write(tmp_path, "old")

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken, pytest.raises(StateError, match=r"the halt could not be written \(No space left"):
        broken.setattr("engine.whole.os.fdopen", full)
        latch.write(tmp_path, "new")
    assert latch.read(tmp_path).startswith("old")


def test_a_file_where_the_folder_should_be_is_said_by_every_part(tmp_path: Path) -> None:
    place = tmp_path / "state"
    place.write_text("in the way")
    with pytest.raises(StateError, match=r"the state folder cannot be written .*engine\.state_dir") as raised:
        latch.prepare(place)
    assert raised.value.path == str(place)
    with pytest.raises(StateError, match="the halt latch cannot be read"):
        latch.read(place)
    with pytest.raises(StateError, match="the halt could not be written"):
        latch.write(place, "x")
    with pytest.raises(StateError, match="the halt latch cannot be removed"):
        latch.clear(place)


def test_a_folder_where_the_latch_should_be_is_said(tmp_path: Path) -> None:
    (tmp_path / latch.NAME).mkdir()
    with pytest.raises(StateError, match="the halt latch cannot be read"):
        latch.read(tmp_path)


def test_preparing_makes_a_private_folder_and_leaves_nothing_in_it(tmp_path: Path) -> None:
    place = tmp_path / "a" / "state"
    latch.prepare(place)
    latch.prepare(place)
    assert list(place.iterdir()) == []
    assert place.stat().st_mode & 0o077 == 0


def engine_with(folder: Path, halted: str = "") -> Engine:
    """An engine that was not entered: a core, its outputs carried out, and no sockets."""
    clock = Clock.start()
    engine = Engine(settings(engine={"state_dir": str(folder)}), clock, Endpoints("http://127.0.0.1:9", "ws://127.0.0.1:9"))
    engine.process(Started(clock.now_ns(), engine.session, "", Mode.DEMO, "", "0", halted))
    return engine


def test_a_halt_that_cannot_be_written_halts_and_is_told(tmp_path: Path) -> None:
    engine = engine_with(tmp_path)
    (engine.folder / latch.NAME).mkdir(parents=True)
    engine.command(Action.HALT, "the test")
    assert engine.state.trading is Trading.HALTED
    assert any("a restart would not know it" in text for _, _, text in engine.alerts)


def test_a_halt_that_cannot_be_removed_is_told_and_breaks_nothing(tmp_path: Path) -> None:
    engine = engine_with(tmp_path, halted="an old halt")
    (engine.folder / latch.NAME).mkdir(parents=True)
    engine.command(Action.RELEASE, "the test")
    assert engine.state.trading is not Trading.HALTED
    assert any("a restart would find it" in text for _, _, text in engine.alerts)


@pytest.mark.parametrize(("action", "words"), [(Action.HALT, "would not know it"), (Action.RELEASE, "would find it")])
def test_what_is_told_of_the_latch_reaches_consoles_and_the_journal(tmp_path: Path, action: Action, words: str) -> None:
    engine = engine_with(tmp_path, halted="" if action is Action.HALT else "an old halt")
    heard: list[Event] = []
    journal: list[Event] = []
    engine.listen(heard.append)
    engine._journal = lambda event, out: journal.extend((event, *out))
    before = engine.alerts_seen
    (engine.folder / latch.NAME).mkdir(parents=True)
    engine.command(action, "the test")
    for told in (heard, journal):
        assert any(isinstance(event, Alert) and words in event.text for event in told)
    alerts = [event for event in heard if isinstance(event, Alert)]
    assert engine.alerts_seen - before == len(alerts) == len({event.text for event in alerts})


def test_a_latch_and_a_core_that_both_fail_still_halt_and_return(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = engine_with(tmp_path)
    (engine.folder / latch.NAME).mkdir(parents=True)

    def broken(event: Event) -> list[Event]:
        raise ValueError("broken")

    monkeypatch.setattr(engine.core, "process", broken)
    engine.command(Action.ARM, "the test")
    assert engine.state.trading is Trading.HALTED


def test_a_halt_outlives_the_engine_and_a_release_ends_it(tmp_path: Path) -> None:
    engine = engine_with(tmp_path)
    latch.prepare(engine.folder)
    engine.command(Action.HALT, "the test")
    found = latch.read(engine.folder)
    assert "the test" in found
    again = engine_with(tmp_path, halted=found)
    assert again.state.trading is Trading.HALTED
    again.command(Action.RELEASE, "the test")
    assert latch.read(again.folder) == ""


# --- the supervisor --------------------------------------------------------------------------------------------------


class Told:
    """A supervisor, and what it reported."""

    def __init__(self) -> None:
        self.crashes: list[tuple[str, str, bool]] = []
        self.failures: list[tuple[str, str]] = []
        self.tasks = Supervisor(
            lambda part, problem, money_path: self.crashes.append((part, problem, money_path)),
            lambda part, problem: self.failures.append((part, problem)),
        )


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervise, "FIRST_WAIT_S", 0.002)
    monkeypatch.setattr(supervise, "LONGEST_WAIT_S", 0.02)


async def test_a_task_that_fails_is_told_as_weather_and_runs_again(quick: None) -> None:
    told, runs = Told(), 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs < 4:
            raise VenueError("Binance", "it went away")

    told.tasks.keep("the feed", run, money_path=True)
    await until(lambda: runs == 4)
    await told.tasks.close()
    assert told.failures == [("the feed", "Binance: it went away")] * 3
    assert told.crashes == [] and told.tasks.restarts == 3


@pytest.mark.parametrize("money_path", [False, True])
async def test_a_crash_is_told_with_its_kind_and_whether_trading_must_stop(
    quick: None, caplog: pytest.LogCaptureFixture, money_path: bool
) -> None:
    told, runs = Told(), 0

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 1:
            raise KeyError("bug")

    caplog.set_level(logging.ERROR, "barter")  # the command line of another test may have made it quieter
    told.tasks.keep("the timer", run, money_path=money_path)
    await until(lambda: runs == 2)
    await told.tasks.close()
    assert told.crashes == [("the timer", "KeyError: 'bug'", money_path)] and told.failures == []
    assert any(record.exc_info for record in caplog.records if record.levelno == logging.ERROR)


async def test_a_task_that_returns_is_done(quick: None) -> None:
    told, runs = Told(), 0

    async def run() -> None:
        nonlocal runs
        runs += 1

    told.tasks.keep("short", run)
    await asyncio.sleep(0.05)
    await told.tasks.close()
    assert runs == 1 and told.tasks.restarts == 0


async def waits(monkeypatch: pytest.MonkeyPatch, fails: int, lives_s: float = 0.0) -> list[float]:
    """The pauses that a supervisor makes between runs that live `lives_s` (told, not waited for) and fail."""
    told, pauses, now = Told(), [], 0.0
    done = asyncio.Event()

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == fails:
            done.set()
            await asyncio.Event().wait()

    async def run() -> None:
        nonlocal now
        now += lives_s
        raise VenueError("Binance", "it went away")

    monkeypatch.setattr(supervise.time, "monotonic", lambda: now)
    monkeypatch.setattr(supervise.asyncio, "sleep", sleep)
    told.tasks.keep("the feed", run)
    await done.wait()
    monkeypatch.undo()
    await told.tasks.close()
    return pauses


async def test_pauses_grow_to_their_limit_and_never_end(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = await waits(monkeypatch, 2000)
    first, longest = supervise.FIRST_WAIT_S, supervise.LONGEST_WAIT_S
    for n, pause in enumerate(pauses[:5]):
        assert pause <= first * 2 ** (n + 1)
    assert longest / 2 < max(pauses[10:]) <= longest
    assert sum(pauses[10:]) / len(pauses[10:]) > longest / 4


async def test_a_task_that_lived_long_starts_again_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses = await waits(monkeypatch, 20, lives_s=supervise.HEALTHY_S + 1)
    assert all(pause <= 2 * supervise.FIRST_WAIT_S for pause in pauses)


async def test_work_done_once_is_not_repeated_when_it_fails_or_crashes(quick: None) -> None:
    told, runs = Told(), 0

    async def fail(problem: Exception) -> None:
        nonlocal runs
        runs += 1
        raise problem

    told.tasks.once("an order", fail(RuntimeError("bug")), money_path=True)
    told.tasks.once("a look-up", fail(DecodeError("Binance order", "nonsense")))
    await asyncio.sleep(0.05)
    assert runs == 2
    assert told.crashes == [("an order", "RuntimeError: bug", True)]
    assert told.failures == [("a look-up", "Binance order: nonsense")]
    await told.tasks.close()


async def test_closing_cancels_everything_and_tells_no_crash() -> None:
    told, ended = Told(), []

    async def forever() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(1)

    told.tasks.keep("one", forever, money_path=True)
    told.tasks.keep("two", forever)
    told.tasks.once("three", forever(), money_path=True)
    await asyncio.sleep(0.01)
    before = asyncio.all_tasks()
    await told.tasks.close()
    assert len(ended) == 3 and told.crashes == told.failures == []
    assert asyncio.all_tasks() == {asyncio.current_task()} and len(before) == 4


async def test_closing_ends_what_a_cancelled_task_starts_in_its_last_moment() -> None:
    told, ended = Told(), []

    async def late() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("late")

    async def first() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            told.tasks.once("late", late())

    told.tasks.once("first", first())
    await asyncio.sleep(0.01)
    await told.tasks.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_before_a_task_took_its_first_step_leaves_nothing_behind(recwarn: pytest.WarningsRecorder) -> None:
    told, runs = Told(), []

    async def work() -> None:
        runs.append(1)

    told.tasks.once("an order", work(), money_path=True)
    await told.tasks.close()
    del told
    await asyncio.sleep(0)
    gc.collect()
    assert runs == []
    assert not [warning for warning in recwarn if "never awaited" in str(warning.message)]


async def test_what_is_begun_at_once_has_taken_its_first_step_as_a_task_of_its_own() -> None:
    told, seen, opened = Told(), [], asyncio.Event()

    async def work() -> None:
        seen.append(asyncio.current_task())
        async with asyncio.timeout(60):  # asks whose it is
            await opened.wait()
        seen.append(asyncio.current_task())

    def begin() -> None:
        told.tasks.at_once("an order", work(), money_path=True)
        seen.append(asyncio.current_task())

    us = asyncio.current_task()
    begin()
    asyncio.get_running_loop().call_soon(begin)  # as a socket's callback does: in no task
    await asyncio.sleep(0)
    first, back, second, nobody = seen
    assert back is us and nobody is None
    assert {first.get_name(), second.get_name()} == {"an order"} and len({us, first, second}) == 3
    opened.set()
    await asyncio.sleep(0.01)
    assert seen[4:] == [first, second] and first.done() and second.done()
    await told.tasks.close()


async def test_a_crash_is_told_alike_in_the_first_step_and_in_a_later_one() -> None:
    told = Told()

    async def work(pause: bool) -> None:
        if pause:
            await asyncio.sleep(0)
        raise RuntimeError("bug")

    told.tasks.at_once("now", work(False), money_path=True)
    assert told.crashes == [("now", "RuntimeError: bug", True)]
    told.tasks.at_once("later", work(True), money_path=True)
    await asyncio.sleep(0.01)
    assert told.crashes[1:] == [("later", "RuntimeError: bug", True)]
    await told.tasks.close()


@pytest.mark.parametrize("turns", [0, 1, 3])
async def test_whoever_was_begun_hears_that_it_is_interrupted(turns: int) -> None:
    """Its bytes may be on their way: also before the loop came to its task."""
    told, ended = Told(), []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        except BaseException as problem:
            ended.append(type(problem))
            raise

    told.tasks.at_once("an order", work(), money_path=True)
    for _ in range(turns):
        await asyncio.sleep(0)
    await told.tasks.close()
    assert ended == [asyncio.CancelledError if turns else GeneratorExit] and told.crashes == []


async def test_what_an_event_asks_for_is_carried_out_before_any_of_it_is_begun(tmp_path: Path) -> None:
    """An order that fails at once tells the core, and what follows from that comes last."""
    engine = Engine(
        settings(engine={"state_dir": str(tmp_path)}, queue={"record": False}),
        Clock.start(),
        Endpoints("http://127.0.0.1:9", "ws://127.0.0.1:9", simulated=True),
    )
    done: list[str] = []

    class Account:
        async def send(self, order: SendOrder, wire: object) -> object:
            done.append(f"send {order.client_id}")
            if order.client_id == "a":
                raise RuntimeError("bug")
            return await asyncio.Event().wait()

        async def cancel(self, order: CancelOrder, wire: object) -> None:
            done.append(f"cancel {order.client_id}")

    engine._requests = requests = Requests(
        engine.clock,
        {},
        Account(),
        engine._tasks,
        engine.latencies,
        engine.stages,
        engine._emit,  # type: ignore[arg-type]
    )
    outputs = {
        Tick: [*(wanted(name) for name in "ab"), CancelOrder(1, MARKET, "old", "", False)],
        OrderFateUnknown: [CancelOrder(1, MARKET, "b", "", False)],
    }
    engine.core.process = lambda event: outputs.pop(type(event), [])  # type: ignore[assignment,method-assign,return-value]
    engine.listen(lambda output: done.append(type(output).__name__))
    engine.process(Tick(1))
    assert done == ["SendOrder", "SendOrder", "CancelOrder", "send a", "CancelOrder", "send b", "cancel old", "cancel b"]
    assert requests.unwritten
    await engine._tasks.close()
    assert not requests.unwritten


def wanted(name: str) -> SendOrder:
    whole = TimeInForce.GTC
    return SendOrder(1, MARKET, name, OrderKind.MARKET, Purpose.ENTRY, Side.BUY, 1, 0, 0, whole, False)


async def test_closing_twice_or_with_nothing_to_close_does_no_harm() -> None:
    told = Told()
    await told.tasks.close()
    await told.tasks.close()


# --- asking again ----------------------------------------------------------------------------------------------------


async def test_a_question_is_asked_again_until_it_is_answered(quick: None) -> None:
    asked = 0

    async def ask() -> str:
        nonlocal asked
        asked += 1
        if asked < 3:
            raise VenueError("Binance", "busy", -1008)
        return "answer"

    assert await persist(ask) == "answer"
    assert asked == 3


async def test_the_last_problem_is_raised_when_the_attempts_are_used_up(quick: None) -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        raise VenueError("Binance", f"attempt {asked}", -asked)

    with pytest.raises(VenueError, match="attempt 4") as raised:
        await persist(ask, attempts=4)
    assert (asked, raised.value.code) == (4, -4)


async def test_a_bug_is_raised_at_once(quick: None) -> None:
    asked = 0

    async def ask() -> None:
        nonlocal asked
        asked += 1
        raise KeyError("bug")

    with pytest.raises(KeyError):
        await persist(ask)
    assert asked == 1


# --- durations -------------------------------------------------------------------------------------------------------


def test_no_durations_have_no_percentiles() -> None:
    found = Durations().percentiles()
    assert (found.count, found.p50, found.p99, found.p999) == (0, 0.0, 0.0, 0.0)


def test_percentiles_are_microseconds_of_all_that_was_added() -> None:
    held = Durations()
    for n in range(1, 1001):
        held.add(n * 1000)
    found = held.percentiles()
    assert found.count == 1000
    assert [found.p50, found.p99, found.p999] == [round(float(np.percentile(range(1, 1001), q)), 1) for q in (50, 99, 99.9)]


def test_one_slow_event_is_seen_at_the_end_of_the_distribution_alone() -> None:
    held = Durations()
    for _ in range(998):
        held.add(10_000)
    held.add(5_000_000)
    held.add(5_000_000)
    found = held.percentiles()
    assert (found.p50, found.p99) == (10.0, 10.0) and found.p999 > 1000


def test_only_the_newest_durations_are_kept_and_all_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "KEPT", 100)
    held = Durations()
    for n in range(1000):
        held.add(1_000_000 if n < 900 else 1000)
    found = held.percentiles()
    assert (found.count, found.p50, found.p999) == (1000, 1.0, 1.0)


def test_a_stages_percentiles_are_near_the_exact_ones_and_its_memory_is_bounded() -> None:
    dice, stages = np.random.default_rng(5), Stages()
    for scale in (40, 90_000, 7e8):
        for ns in (found := (dice.lognormal(0, 1, 5_000) * scale).astype(int)):
            stages.add("book", int(ns))
        stages.add("ack", -5)
        row = next(row for row in stages.view().stages if row.name == "book")
        if scale == 40:
            exact = np.percentile(found, (50, 99)) / 1000
            assert (row.p50, row.p99) == pytest.approx(tuple(exact), rel=0.04)
            assert (row.count, row.recent_p50, row.recent_p99) == (5_000, row.p50, row.p99)
    for _ in range(3 * UNCOUNTED):  # nobody looks
        stages.add("risk", 7)
        assert len(stages.by_name["risk"]._told) < UNCOUNTED
    assert next(row for row in stages.view().stages if row.name == "risk").count == 3 * UNCOUNTED
    assert len(stages.by_name["book"].session) < 640
    assert next(row for row in stages.view().stages if row.name == "ack").p50 == 0.0


def test_a_stages_last_minute_forgets_what_is_older_and_its_session_does_not() -> None:
    now = [0.0]
    stages = Stages(lambda: now[0])
    stages.add("book", 1_000_000)
    now[0] = 45.0
    stages.view()
    stages.add("book", 2_000)
    seen = []
    for seconds in (45.0, 59.0, 61.0, 200.0):
        now[0] = seconds
        row = next(row for row in stages.view().stages if row.name == "book")
        seen.append((row.recent, row.count))
    assert seen == [(2, 2), (2, 2), (1, 2), (0, 2)]


def test_latencies_are_summed_up_by_name() -> None:
    times = Latencies()
    times.tick_to_wire.add(2_000_000)
    told = times.summary()
    assert told["tick_to_wire"].p50 == 2000.0
    assert told["core"].count == 0 and set(told) == set(vars(times))
