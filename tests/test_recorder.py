"""An engine records its session: orders before they are sent, a full disk refuses entries and nothing else, all of it replays."""

import shutil
import sqlite3
import tempfile
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.config import create_aster_config, load, state_dir
from engine.core import Core
from engine.errors import SessionError
from engine.events import (
    Action,
    BookDelta,
    Event,
    JournalState,
    Judged,
    Mark,
    Mode,
    OrderRefused,
    Purpose,
    Quote,
    SendOrder,
    Started,
    Tick,
    Trade,
    decode_output,
)
from engine.queue import Opening
from engine.queue.files import new_path, recorded, session_name
from engine.queue.local import LocalQueue
from engine.queue.session import Session
from engine.replay import BACKWARDS_NS, Replay
from tests.recordings import MARKET, desk, recording, without_sockets
from tests.simulated import KEY, SECRET, simulated, until

PAIRS = list[tuple[Event, list[Event]]]


def pairs(path: Path) -> PAIRS:
    with Session(path) as session:
        return [(event, [decode_output(raw) for raw in out]) for chunk in session.chunks() for event, out in chunk.steps()]


def rewritten(path: Path, events: PAIRS, folder: Path, **opened: Any) -> Path:
    """A session of these events whose hashes are right."""
    with Session(path) as session:
        opening, closing = msgspec.structs.replace(session.opening, **opened), session.closing
    assert closing is not None
    made = new_path(folder, opening)
    queue = LocalQueue(made, opening)
    for event, out in events:
        queue.append(event, out)
    queue.close(msgspec.structs.replace(closing, inputs=queue.inputs, outputs=queue.outputs))
    return made


def test_a_session_replays_to_the_same_outputs(small: Path) -> None:
    with Session(small) as session:
        found, outcome = session.verify(), Replay(session).run()
        assert found.closed and session.closing is not None and session.closing.fills >= 3
    assert outcome.difference is None
    assert (outcome.inputs, outcome.outputs) == (found.inputs, found.outputs)
    assert found.outputs > 50


def test_every_input_and_what_followed_is_on_record_with_what_it_was_made_by(small: Path) -> None:
    events = pairs(small)
    first = events[0][0]
    assert isinstance(first, Started) and first.session == session_name(small)
    kinds = {type(event).__name__ for event, _ in events} | {type(one).__name__ for _, out in events for one in out}
    assert {"Instrument", "BookSnapshot", "BookDelta", "Quote", "Trade", "OrderReport", "Command", "Fees", "ClockOffset"} <= kinds
    assert {"SendOrder", "Filled", "Judged", "Decided", "TrustChanged", "LatchHalt", "BarClosed"} <= kinds


def test_no_key_is_in_a_session(small: Path) -> None:
    said = repr(pairs(small)).encode() + small.read_bytes()
    assert KEY.encode() not in said and SECRET.encode() not in said


def test_a_replay_opens_no_socket_and_loads_no_client(small: Path) -> None:
    work = "assert Replay(session).run().difference is None"
    without_sockets(small, "from engine.replay import Replay", work)


# --- a change of anything that decides is found ----------------------------------------------------------------------------


def changed_limit(events: PAIRS) -> int:
    started = events[0][0]
    assert isinstance(started, Started)
    limits = msgspec.json.decode(started.settings)
    limits["risk"]["max_order_notional"] = 7.0
    events[0] = (msgspec.structs.replace(started, settings=msgspec.json.encode(limits).decode()), events[0][1])
    return 1


def changed_price(events: PAIRS) -> int:
    """A trade in the midst of the session becomes the highest of its bar."""
    for place, (event, out) in enumerate(events):
        if place > len(events) // 2 and isinstance(event, Trade) and event.market == MARKET:
            events[place] = (msgspec.structs.replace(event, price=event.price + 1_000), out)
            return place
    raise AssertionError("no trade was recorded")


def changed_judgment(events: PAIRS) -> int:
    for place, (_, out) in enumerate(events):
        for number, output in enumerate(out):
            if isinstance(output, Judged):
                surer = msgspec.structs.replace(output.stance, confidence=output.stance.confidence + 1e-12)
                out[number] = Judged(output.at, surer)
                return place
    raise AssertionError("no judgment was recorded")


def lost_output(events: PAIRS) -> int:
    place = next(place for place, (_, out) in enumerate(events) if any(isinstance(one, SendOrder) for one in out))
    events[place][1].pop()
    return place


def lost_input(events: PAIRS) -> int:
    place = next(place for place, (event, out) in enumerate(events) if place > 100 and out)
    del events[place]
    return place


def changed_mark(events: PAIRS) -> int:
    """The last mark price: nothing that leaves the core depends on it, the state at the end does."""
    for place in reversed(range(len(events))):
        event, out = events[place]
        if isinstance(event, Mark) and event.market == MARKET:
            events[place] = (msgspec.structs.replace(event, index=event.index + 1), out)
            return place
    raise AssertionError("no mark price was recorded")


CHANGES = (changed_limit, changed_price, changed_mark, changed_judgment, lost_output, lost_input)


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_a_first_difference_with_both_sides(small: Path, tmp_path: Path, change: Any) -> None:
    events = pairs(small)
    place = change(events)
    with Session(rewritten(small, events, tmp_path)) as session:
        outcome = Replay(session).run()
    found = outcome.difference
    assert found is not None and outcome.inputs == found.input_number >= place - 1
    assert found.recorded != found.replayed and found.event
    assert len(found.recorded) < 500 and len(found.replayed) < 500


def test_a_clock_that_went_backwards_is_refused(small: Path, tmp_path: Path) -> None:
    events = pairs(small)
    place = len(events) // 2
    event, out = events[place]
    events[place] = (msgspec.structs.replace(event, at=event.at - BACKWARDS_NS - 10**9), out)
    with Session(rewritten(small, events, tmp_path)) as session, pytest.raises(SessionError, match="clock went backwards"):
        Replay(session).run()


def test_of_a_session_that_ran_faster_than_the_world_as_many_minutes_may_be_reordered(small: Path, tmp_path: Path) -> None:
    """What was read in a real minute, at eight times the speed."""
    events = pairs(small)
    harmless = (Quote, Trade, Tick, BookDelta)  # whose time alone decides nothing
    place = next(at for at in range(len(events) // 2, len(events)) if isinstance(events[at][0], harmless))
    event, out = events[place]
    events[place] = (msgspec.structs.replace(event, at=event.at - 7 * BACKWARDS_NS), out)
    with Session(rewritten(small, events, tmp_path, speed=8.0)) as session:
        Replay(session).run()


def test_a_session_without_its_beginning_is_refused(small: Path, tmp_path: Path) -> None:
    with Session(rewritten(small, pairs(small)[1:], tmp_path)) as session, pytest.raises(SessionError, match="it begins with"):
        Replay(session).run()


def test_an_empty_session_is_refused(small: Path, tmp_path: Path) -> None:
    with Session(rewritten(small, [], tmp_path)) as session, pytest.raises(SessionError, match="no events"):
        Replay(session).run()


# --- the recording beside a live engine ------------------------------------------------------------------------------------


def on_disk(path: Path) -> set[str]:
    """The orders that would be found if the engine were killed now: what is in the files, which nobody holds any more."""
    with tempfile.TemporaryDirectory() as folder:
        for file in path.parent.glob(f"{path.name}*"):
            shutil.copy(file, folder)
        session = Session(Path(folder) / path.name)
    with session:
        return {
            output.client_id
            for chunk in session.chunks()
            for raw in chunk.outputs
            if isinstance(output := decode_output(raw), SendOrder)
        }


async def test_every_order_is_on_record_before_it_is_handed_to_the_venue(tmp_path: Path) -> None:
    async with simulated() as venue, recording(venue, desk(tmp_path)) as engine:
        requests, recorder = engine._requests, engine.recorder
        assert requests is not None and recorder is not None
        carry_out, missing, seen = requests.carry_out, [], []

        def watched(output: Event, *times: int) -> bool:
            if isinstance(output, SendOrder):
                seen.append(output.client_id)
                if output.client_id not in on_disk(Path(recorder.figures().file)):
                    missing.append(output.client_id)
            return carry_out(output, *times)

        requests.carry_out = watched  # type: ignore[method-assign]
        await until(lambda: len(seen) >= 4, 60)
    assert missing == []


async def test_a_full_disk_refuses_entries_says_so_and_keeps_exits_working(tmp_path: Path) -> None:
    """The disk fills while a position is open: it can be closed, no new one is made, and afterwards nothing is missing."""
    async with simulated() as venue, recording(venue, desk(tmp_path)) as engine:
        quantity = lambda: engine.state.portfolio.position(MARKET).quantity  # noqa: E731
        await until(quantity, 60)
        assert engine.recorder is not None and engine.recorder._queue is not None
        store: sqlite3.Connection = engine.recorder._queue._store
        store.execute("PRAGMA max_page_count = 1")
        await until(lambda: engine.state.unrecorded)
        assert any("No entry is made until it can be" in text for _, _, text in engine.alerts)
        entries = [order.client_id for order in engine.state.orders.values() if order.purpose is Purpose.ENTRY]
        engine.command(Action.CLOSE, "the test", MARKET)
        await until(lambda: not quantity())
        await until(lambda: "cannot be recorded" in engine.state.refusal, 60)  # a bar at which this strategy would enter
        later = [order.client_id for order in engine.state.orders.values() if order.purpose is Purpose.ENTRY]
        assert later == entries and not quantity()
        store.execute("PRAGMA max_page_count = 1000000")
        await until(lambda: not engine.state.unrecorded)
        await until(lambda: engine.state.counters.orders > len(entries), 30)
        summary = await engine.settle(Action.SHUTDOWN, "the test")
    assert summary.recording is not None and summary.recording.lost == summary.dropped["unrecorded"] == 0
    (path,) = recorded(engine.folder)
    with Session(path) as session:
        assert session.verify().closed
        assert Replay(session).run().difference is None


async def test_an_entry_whose_record_fails_at_that_moment_is_not_sent(tmp_path: Path) -> None:
    """The commit before the order is the first one that fails: the core could not know yet."""
    async with simulated() as venue, recording(venue, desk(tmp_path)) as engine:
        requests, recorder = engine._requests, engine.recorder
        assert requests is not None and recorder is not None
        commit, carry_out, sent, failed = recorder.commit, requests.carry_out, [], []

        def fails(*, order: bool = False) -> bool:
            if order:
                failed.append(order)
                return False
            return commit()

        def watched(output: Event, *times: int) -> bool:
            if isinstance(output, SendOrder):
                sent.append(output.purpose)
            return carry_out(output, *times)

        recorder.commit = fails  # type: ignore[method-assign]
        requests.carry_out = watched  # type: ignore[method-assign]
        await until(lambda: len(failed) >= 2, 60)
        assert Purpose.ENTRY not in sent
        assert engine.state.counters.rejects >= 2
        assert not engine.state.portfolio.position(MARKET).quantity
    events = pairs(recorded(engine.folder)[0])
    assert any(isinstance(event, OrderRefused) and "could not be recorded" in event.reason for event, _ in events)


async def test_a_session_that_cannot_be_begun_leaves_an_engine_that_makes_no_entry(tmp_path: Path) -> None:
    chosen = desk(tmp_path)
    state_dir(chosen).mkdir(parents=True)
    (state_dir(chosen) / "sessions").write_text("a file where the folder should be")
    async with simulated() as venue, recording(venue, chosen) as engine:
        assert "cannot be recorded" in engine.state.unrecorded
        await until(lambda: engine.state.private_up and engine.state.counters.judgments > 1, 60)
        summary = await engine.settle(Action.SHUTDOWN, "the test")
    assert summary.orders == 0
    assert summary.recording is not None and summary.recording.problem


async def test_a_session_names_the_one_before_it(tmp_path: Path) -> None:
    async with simulated() as venue:
        for _ in range(2):
            async with recording(venue, desk(tmp_path)):
                pass
        first, second = recorded(state_dir(desk(tmp_path)))
        with Session(second) as session:
            assert session.opening.parent == session_name(first)
            started = next(event for event, _ in pairs(second))
        assert isinstance(started, Started) and started.parent == session_name(first)


async def test_recording_can_be_switched_off_and_is_on_by_default(tmp_path: Path) -> None:
    """The queue's flag was once the wrong way round."""
    assert load(file=None, environ={}, flags={}).queue.record is True
    async with simulated() as venue, recording(venue, desk(tmp_path, queue={"record": False})) as engine:
        await until(lambda: engine.state.counters.quotes > 10)
        assert engine.recorder is None and engine.summary().recording is None
    assert recorded(engine.folder) == []


def test_a_session_that_cannot_be_recorded_refuses_once_and_tells_when_it_can_again() -> None:
    core = Core(create_aster_config())
    full = "The disk is full"
    told = [core.process(JournalState(at, problem)) for at, problem in enumerate((full, full, "", ""))]
    assert [len(out) for out in told] == [1, 0, 1, 0]
    assert core.state.unrecorded == ""


def test_the_ledger_of_a_replayed_session_is_the_recorded_one(small: Path) -> None:
    with Session(small) as session:
        replay = Replay(session)
        replay.run()
        assert session.closing is not None and replay.core is not None
        assert replay.core.state.portfolio.wallet == Decimal(session.closing.wallet)


def test_the_opening_says_what_recorded_it(small: Path) -> None:
    with Session(small) as session:
        found: Opening = session.opening
    assert found.mode is Mode.DEMO and found.symbols[0] == "ASTER/USDT:USDT"
    assert len(found.code) == 12 and found.python.count(".") == 2
