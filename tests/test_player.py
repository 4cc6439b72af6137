"""A session at any of its moments: what a seek reaches is what running there from the start reaches."""

import random
from pathlib import Path

import pytest

from engine.core import Core
from engine.events import Filled, Judged, decode_output, encode
from engine.queue import Kind
from engine.queue.session import Session
from engine.replay import settings_of
from engine.replay.player import Player, marks


@pytest.fixture
def session(small: Path) -> Session:
    return Session(small)


def sought(player: Player, position: int) -> Player:
    for _ in player.seek(position):
        pass
    return player


def snapshots(session: Session, places: set[int]) -> dict[int, bytes]:
    """The state after so many inputs, by a core that ran there from the start."""
    events = [event for chunk in session.chunks() for event in chunk.inputs]
    core, found = Core(settings_of(session, events[0])), {}
    for place, event in enumerate(events):
        if place in places:
            found[place] = core.snapshot()
        core.process_or_halt(event)
    return found | ({len(events): core.snapshot()} if len(events) in places else {})


def test_a_seek_reaches_the_state_that_running_there_reaches(session: Session) -> None:
    inputs = session.inputs
    dice = random.Random(7)
    places = [inputs, 0, 1, inputs - 1, inputs // 2, *(dice.randrange(inputs) for _ in range(12))]
    known, player = snapshots(session, set(places)), Player(session)
    for place in places:
        assert sought(player, place).position == place
        assert player.core.snapshot() == known[place]
    assert sum(1 for chunk in session.chunks() if chunk.state) > 1  # else no seek began at a kept state


def test_a_seek_begins_at_the_nearest_kept_state(session: Session) -> None:
    kept = [chunk.first + len(chunk.inputs) for chunk in session.chunks() if chunk.state]
    player = Player(session)
    assert next(player.seek(kept[-1]), None) is None and player.position == kept[-1]


def test_steps_go_on_where_a_seek_ended_and_say_what_the_session_recorded(session: Session) -> None:
    steps = [step for chunk in session.chunks() for step in chunk.steps()]
    start = len(steps) // 3
    player = sought(Player(session), start)
    for _, recorded in steps[start : start + 100]:
        assert [encode(output) for output in player.step()] == [bytes(raw) for raw in recorded]
    assert player.position == start + 100


def test_a_player_ends_where_the_session_does(session: Session) -> None:
    player = sought(Player(session), session.inputs - 2)
    heard: list[object] = []
    assert player.run_until(2**62, 10, heard.append) and player.ended
    assert player.position == session.inputs and player.step() == []


def test_a_moment_is_reached_within_a_limit_of_inputs(session: Session) -> None:
    player = Player(session)
    middle = (player.started_ns + player.ends_ns) // 2
    while not player.run_until(middle, 100):
        pass
    assert player.position == player.place_of(middle + 1)
    assert player.at <= middle


@pytest.mark.parametrize(("kind", "event"), [(Kind.FILL, Filled), (Kind.JUDGMENT, Judged)])
def test_every_fill_and_judgment_is_found_forwards_and_backwards(session: Session, kind: Kind, event: type) -> None:
    steps = [step for chunk in session.chunks() for step in chunk.steps()]
    known = [place for place, (_, out) in enumerate(steps, 1) if any(isinstance(decode_output(one), event) for one in out)]
    player, found = Player(session), []
    while (place := player.find(kind)) is not None:
        found.append(place)
        sought(player, place)
    assert found == known and len(known) >= 2
    back = [player.position]
    while (place := player.find(kind, back=True)) is not None:
        back.append(place)
        sought(player, place)
    assert back == known[::-1]


def test_the_marks_of_a_session_lie_where_its_fills_are(session: Session) -> None:
    fills = [
        decode_output(raw).at for chunk in session.chunks() for raw in chunk.outputs if isinstance(decode_output(raw), Filled)
    ]
    found = marks(session, Kind.FILL)
    assert found and all(mark.kinds is Kind.FILL for mark in found)
    assert min(mark.at for mark in found) <= min(fills) <= max(fills)
