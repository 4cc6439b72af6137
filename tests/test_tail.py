"""What an order follows from is on record before it is sent: whenever the writer is killed, all that it was promised is found."""

import stat
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SessionError
from engine.events import Tick
from engine.queue.files import new_path
from engine.queue.local import CHUNK_BYTES, LocalQueue
from engine.queue.retention import condense
from engine.queue.session import Session
from engine.queue.tail import read as read_tail
from engine.queue.tail import tail_of
from tests.test_queue import CLOSING, OPENING, feed, input_of, killed, outputs_of, read


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return new_path(tmp_path, OPENING)


def events(path: Path) -> list[int]:
    with Session(path) as session:
        assert session.verify().inputs == session.inputs
        found = read(session)
    assert found == [(input_of(number), outputs_of(number)) for number in range(len(found))]
    return [event.at for event, _ in found]


def close(queue: LocalQueue) -> None:
    queue.close(msgspec.structs.replace(CLOSING, inputs=queue.inputs, outputs=queue.outputs))


STEPS = st.lists(
    st.tuples(st.sampled_from(["secure", "commit", "keep", "nothing"]), st.integers(0, 150)), min_size=1, max_size=12
)


@settings(max_examples=60, deadline=None)
@given(STEPS)
def test_whatever_was_promised_is_found_however_the_writer_ended(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    folder = tmp_path_factory.mktemp("tail")
    path, promised = new_path(folder, OPENING), 0
    queue = LocalQueue(path, OPENING)
    for number, (what, count) in enumerate(steps):
        feed(queue, count)
        match what:
            case "secure":
                queue.secure(durable=number % 2 == 0)
                promised = queue.inputs
            case "commit":
                queue.commit()
                promised = queue.inputs
            case "keep":
                queue.keep(b"state")
        left = killed(path, folder / str(number))
        assert promised <= len(events(left)) <= queue.inputs
        assert not tail_of(left).exists(), "what it held is in the session now"
        assert len(events(left)) >= promised, "and stays there"
    close(queue)
    assert not tail_of(path).exists() and len(events(path)) == queue.inputs


def test_readers_of_a_session_that_is_written_leave_its_tail_alone(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    feed(queue, 10)
    queue.commit()
    feed(queue, 10)
    queue.secure()
    assert tail_of(path).exists() and len(events(path)) == 10
    assert tail_of(path).exists() and stat.S_IMODE(tail_of(path).stat().st_mode) == 0o600
    feed(queue, 10)
    queue.secure()
    queue.close(None)
    assert len(events(path)) == 30 and not tail_of(path).exists()


def test_a_torn_tail_is_cut_where_it_is_torn(path: Path, tmp_path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    ends = {0: 5}  # bytes of the tail to inputs that are found with them
    feed(queue, 5)
    queue.commit()
    for _ in range(4):
        feed(queue, 3)
        queue.secure()
        ends[tail_of(path).stat().st_size] = queue.inputs
    whole = tail_of(path).read_bytes()
    for number, size in enumerate(range(0, len(whole) + 1, 7)):
        left = killed(path, tmp_path / str(number))
        tail_of(left).write_bytes(whole[:size])
        assert len(events(left)) == max(count for end, count in ends.items() if end <= size)
    queue.close(None)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_tail_that_was_damaged_harms_nothing(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.mktemp("tail")
    path = new_path(folder, OPENING)
    queue = LocalQueue(path, OPENING)
    feed(queue, 5)
    queue.commit()
    feed(queue, 6)
    queue.secure()
    feed(queue, 6)
    queue.secure()
    body = bytearray(tail_of(path).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        body[data.draw(st.integers(0, len(body) - 1))] ^= data.draw(st.integers(1, 255))
    left = killed(path, folder / "left")
    tail_of(left).write_bytes(body)
    assert len(events(left)) in (5, 11, 17)
    queue.close(None)


def test_a_tail_that_does_not_follow_on_its_session_is_not_believed(path: Path, tmp_path: Path) -> None:
    """Of a chunk that the disk lost, of another session, of one that is closed or condensed."""
    queue = LocalQueue(path, OPENING)
    feed(queue, 20)
    queue.commit()
    early = killed(path, tmp_path / "early")
    while queue._number < 3:
        feed(queue, 20)
    feed(queue, 20)
    queue.secure()
    tail = tail_of(path).read_bytes()
    close(queue)
    tail_of(early).write_bytes(tail)
    assert len(events(early)) == 20 and tail_of(early).exists(), "it is left for whoever has the chunks between"
    tail_of(path).write_bytes(tail)
    count = len(events(path))
    assert count == queue.inputs and not tail_of(path).exists()


def test_a_condensed_session_takes_no_tail(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    queue.append(Tick(0), [])
    queue.secure()
    tail = tail_of(path).read_bytes()
    queue.close(None)
    condense(path, 1)
    tail_of(path).write_bytes(tail)
    with Session(path) as session:
        assert session.condensed is not None and session.inputs == 0


def test_the_disk_that_fails_under_an_order_is_told_and_the_next_one_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    queue = LocalQueue(path, OPENING)
    feed(queue, 3)
    queue.secure()

    def full(*_: object) -> int:
        return 10  # bytes of it

    with monkeypatch.context() as broken:
        broken.setattr("engine.queue.tail.os.pwrite", full)
        feed(queue, 3)
        with pytest.raises(SessionError, match=r"cannot be recorded \(No space left"):
            queue.secure()
    feed(queue, 3)
    queue.secure()
    part = read_tail(tail_of(path).read_bytes())
    assert part is not None and part.inputs == 9
    queue.close(None)
    assert len(events(path)) == 9


def test_chunks_that_could_not_be_written_go_before_an_order(path: Path, tmp_path: Path) -> None:
    """Else the tail would hold what follows on chunks that nobody has."""
    queue = LocalQueue(path, OPENING)
    feed(queue, 3)
    queue.secure()
    queue._store.execute("PRAGMA max_page_count = 1")
    with pytest.raises(SessionError, match="cannot be recorded"):
        while True:
            feed(queue, 1)
    with pytest.raises(SessionError, match="cannot be recorded"):
        queue.secure()
    queue._store.execute("PRAGMA max_page_count = 1000000")
    feed(queue, 3)
    queue.secure()
    assert not queue._sealed and len(events(killed(path, tmp_path / "left"))) == queue.inputs
    queue.close(None)


def test_an_order_costs_no_chunk(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    for _ in range(20):
        feed(queue, 2)
        queue.secure()
    assert queue.written_bytes == 0 and len(queue._in) < CHUNK_BYTES
    queue.close(None)
    with Session(path) as session:
        assert session.count == 1
