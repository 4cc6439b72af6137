"""The local queue: what is appended is read again, in order; what is damaged, altered or foreign is named, never believed."""

import asyncio
import contextlib
import os
import random
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import SessionError
from engine.events import Alert, BookDelta, Event, JournalState, Level, Mode, Quote, Tick, decode_output, encode, pack_levels
from engine.queue import Closing, Opening
from engine.queue import local as local_queue
from engine.queue.files import find, new_path
from engine.queue.local import LocalQueue
from engine.queue.session import Session

MARKET = "binance:ASTER/USDT:USDT"
START_NS = 1_700_000_000_000_000_000
OPENING = Opening("abc123", "", Mode.DEMO, ("ASTER/USDT:USDT",), ("binance",), "0.1.0", "c0de", "3.11", START_NS, 1.0)
CLOSING = Closing(1_700_000_060_000_000_000, 0, 0, 3, 2, "1.5", "10001.5")


def input_of(number: int) -> Event:
    levels = pack_levels(range(number % 40))
    return BookDelta(number, MARKET, number, number, number - 1, levels, levels, number) if number % 3 else Tick(number)


def outputs_of(number: int) -> list[Event]:
    return [Alert(number, Level.INFO, f"told {number} {place}") for place in range(number % 7 == 0 and number % 4)]


def write(path: Path, count: int, closing: bool = True, opening: Opening = OPENING) -> None:
    queue = LocalQueue(path, opening)
    for number in range(count):
        queue.append(input_of(number), outputs_of(number))
    done = msgspec.structs.replace(CLOSING, inputs=queue.inputs, outputs=queue.outputs) if closing else None
    queue.close(done)


def read(session: Session, first: int = 0) -> list[tuple[Event, list[Event]]]:
    return [
        (event, [decode_output(raw) for raw in out])
        for chunk in session.chunks(first)
        for place, (event, out) in enumerate(chunk.steps())
        if chunk.first + place >= first
    ]


def feed(queue: LocalQueue, count: int) -> None:
    for number in range(queue.inputs, queue.inputs + count):
        queue.append(input_of(number), outputs_of(number))


def killed(path: Path, to: Path) -> Path:
    """The files as SIGKILL would leave them now, in a folder of their own."""
    to.mkdir()
    for file in path.parent.glob(f"{path.name}*"):
        shutil.copy(file, to)
    return to / path.name


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return new_path(tmp_path, OPENING)


def test_what_was_appended_is_read_in_order_with_what_followed_from_each(path: Path) -> None:
    write(path, 5000)
    with Session(path) as session:
        assert read(session) == [(input_of(number), outputs_of(number)) for number in range(5000)]
        found = session.verify()
        assert found.chunks > 10 and found.closed
        assert (found.inputs, found.outputs) == (5000, sum(len(outputs_of(number)) for number in range(5000)))
        assert session.closing is not None and session.closing.inputs == session.inputs == 5000
        assert session.opening == OPENING


def test_reading_can_begin_anywhere(path: Path) -> None:
    write(path, 3000)
    with Session(path) as session:
        for first in (0, 1, 777, 2999, 3000):
            assert [event.at for event, _ in read(session, first)] == list(range(first, 3000))


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(0, 60), max_size=20), cuts=st.lists(st.booleans(), max_size=20))
def test_commits_at_any_moment_change_nothing_of_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], cuts: list[bool]
) -> None:
    path = new_path(tmp_path_factory.mktemp("queue"), OPENING)
    queue, number = LocalQueue(path, OPENING), 0
    for size, cut in zip(sizes, cuts, strict=False):
        for _ in range(size):
            queue.append(input_of(number), outputs_of(number))
            number += 1
        if cut:
            queue.commit(durable=bool(size % 2))
            with Session(path) as session:
                assert session.inputs == number  # a reader sees what was committed at once
    queue.close(None)
    with Session(path) as session:
        assert [event.at for event, _ in read(session)] == list(range(number))


async def test_a_reader_follows_a_session_that_is_being_written(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    seen: list[int] = []

    async def follow() -> None:
        with Session(path) as session:
            async for chunk in session.follow():
                seen.extend(event.at for event in chunk.inputs)

    following = asyncio.create_task(follow())
    for number in range(2000):
        queue.append(input_of(number), outputs_of(number))
        if number % 100 == 0:
            queue.commit()
            await asyncio.sleep(0.005)
    assert seen, "nothing was read while it was written"
    queue.close(msgspec.structs.replace(CLOSING, inputs=queue.inputs, outputs=queue.outputs))
    await asyncio.wait_for(following, 10)
    assert seen == list(range(2000))


def test_a_kept_state_is_found_before_any_input_that_lies_behind_it(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    states = {}
    for number in range(3000):
        queue.append(input_of(number), outputs_of(number))
        if number % 700 == 699:
            states[number + 1] = b"state %d" % number * 50
            assert queue.keep(states[number + 1])
    queue.close(None)
    with Session(path) as session:
        assert [chunk.first + len(chunk.inputs) for chunk in session.chunks() if chunk.state] == list(states)
        for wanted in (0, 699, 700, 701, 1399, 1400, 2999, 3000, 9999):
            behind = max((place for place in states if place <= wanted), default=None)
            assert session.state_before(wanted) == (None if behind is None else (behind, states[behind]))
        assert session.verify().inputs == 3000


def test_keeping_a_state_holds_up_no_chunk(path: Path) -> None:
    """What is sealed is written at once, so that nothing waits in memory for a commit that comes late."""
    queue = LocalQueue(path, OPENING)
    for number in range(3000):
        queue.append(input_of(number), outputs_of(number))
        if number % 700 == 699:
            assert queue.keep(b"state")
        assert not queue._sealed
    queue.close(None)


def test_a_state_is_not_kept_where_nothing_was_appended_since_the_last_chunk(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    assert not queue.keep(b"state")
    queue.append(input_of(0), [])
    assert queue.keep(b"state") and not queue.keep(b"state")
    queue.close(None)


def test_an_altered_state_is_found(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    queue.append(input_of(0), [])
    queue.keep(b"a state that somebody will alter")
    queue.close(None)
    change(path, "UPDATE chunks SET state = ?", zstandard.ZstdCompressor().compress(b"another state"))
    with Session(path) as session:
        with pytest.raises(SessionError, match="damaged or was altered"):
            session.state_before(1)
        with pytest.raises(SessionError, match="damaged or was altered"):
            session.verify()


def test_a_moment_is_found_in_the_chunk_that_holds_it(path: Path) -> None:
    write(path, 3000)
    with Session(path) as session:
        chunks = list(session.chunks())
        assert len(chunks) > 3
        for chunk in chunks:
            for event in (chunk.inputs[0], chunk.inputs[-1]):
                assert session.at(event.at) == chunk.first
        assert session.at(0) == 0 and session.at(2**62) == chunks[-1].first


def test_only_its_owner_can_read_a_session(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    queue.append(Tick(1), [])
    queue.commit()
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    queue.close(None)


def test_a_session_is_never_written_over(path: Path) -> None:
    write(path, 10)
    with pytest.raises(SessionError, match="cannot be recorded"):
        LocalQueue(path, OPENING)
    with Session(path) as session:
        assert session.verify().inputs == 10


def test_a_durable_commit_flushes_even_what_was_written_before_it(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An order that filled its chunk was written with it, and its commit found nothing left to flush."""
    flushed: list[str] = []
    fsync = os.fsync

    def watched(place: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{place}").readlink().name if sys.platform == "linux" else "-wal")
        fsync(place)

    monkeypatch.setattr(os, "fsync", watched)
    queue = LocalQueue(path, OPENING)
    number = 0
    while not queue.written_bytes:
        queue.append(noise(number), [])
        number += 1
    assert not queue._in and not queue._sealed, "the chunk was written as it became full"
    queue.commit()
    assert flushed == []
    queue.commit(durable=True)
    assert flushed[0].endswith("-wal")
    count = len(flushed)
    queue.commit(durable=True)
    assert len(flushed) == count, "nothing came in between"
    queue.append(noise(number), [])
    queue.commit(durable=True)
    assert len(flushed) > count
    queue.close(None)


def test_an_event_that_cannot_be_written_ends_the_recording_and_leaves_what_was_before_it(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    for number in range(5):
        queue.append(input_of(number), outputs_of(number))
    with pytest.raises(SessionError, match="Tick cannot be written"):
        queue.append(Tick(1 << 70), [])
    queue.append(Tick(6), [])
    assert queue.lost == 2
    with pytest.raises(SessionError, match="ended earlier"):
        queue.commit()
    with pytest.raises(SessionError):
        queue.close(CLOSING)
    with Session(path) as session:
        assert [event.at for event, _ in read(session)] == [0, 1, 2, 3, 4]
        assert not session.verify().closed


# --- what is wrong with a file is said -------------------------------------------------------------------------------------


def change(path: Path, statement: str, *values: object) -> None:
    with sqlite3.connect(path) as store:
        assert store.execute(statement, values).rowcount != 0
    store.close()


def flipped(body: bytes, place: int) -> bytes:
    return body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]


def flip_body(path: Path) -> None:
    with sqlite3.connect(path) as store:
        (body,) = store.execute("SELECT body FROM chunks WHERE number = 3").fetchone()
    store.close()
    change(path, "UPDATE chunks SET body = ? WHERE number = 3", flipped(body, len(body) // 2))


DAMAGES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a flipped bit": (flip_body, "chunk 3 .* is damaged or was altered"),
    "a missing chunk": (lambda path: change(path, "DELETE FROM chunks WHERE number = 4"), "chunk 4 is missing"),
    "no first chunk": (lambda path: change(path, "DELETE FROM chunks WHERE number = 0"), "chunk 0 is missing"),
    "a missing end": (
        lambda path: change(path, "DELETE FROM chunks WHERE number = (SELECT max(number) FROM chunks)"),
        "its closing does not fit",
    ),
    "another count": (lambda path: change(path, "UPDATE chunks SET inputs = inputs + 1 WHERE number = 2"), "chunk 2 .* altered"),
    "another opening": (lambda path: change(path, "UPDATE ends SET body = ? WHERE name = 'opening'", b"{}"), "opening"),
    "a huge chunk": (lambda path: change(path, "UPDATE chunks SET raw_bytes = 1 << 40 WHERE number = 1"), "chunk 1 .* altered"),
    "a future schema": (lambda path: change(path, "PRAGMA user_version = 99"), "a newer version of this program"),
    "a past schema": (lambda path: change(path, "PRAGMA user_version = 1"), "an older version of this program"),
    "another program's file": (lambda path: change(path, "PRAGMA application_id = 7"), "not a recorded session"),
    "no database": (lambda path: path.write_bytes(b"gzip, perhaps" * 999) and None, "damaged"),
    "an empty file": (lambda path: path.write_bytes(b"") and None, "not a recorded session"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_found_and_named(path: Path, name: str) -> None:
    write(path, 3000)
    damage, words = DAMAGES[name]
    damage(path)
    with pytest.raises(SessionError, match=words) as told, Session(path) as session:
        session.verify()
    assert str(path) in str(told.value)


def test_a_truncated_file_is_never_read_as_a_shorter_session(path: Path) -> None:
    write(path, 3000)
    whole = path.read_bytes()
    for length in range(0, len(whole), max(len(whole) // 25, 1)):
        path.write_bytes(whole[:length])
        with pytest.raises(SessionError), Session(path) as session:
            session.verify()


def test_any_flipped_byte_is_found_or_changes_nothing_that_is_read(path: Path) -> None:
    """A byte that no session uses (free space of a page) may differ; what is read may not."""
    queue = LocalQueue(path, OPENING)
    for number in range(4000):
        queue.append(noise(number), [])
    queue.close(msgspec.structs.replace(CLOSING, inputs=4000, outputs=0))
    whole, dice = path.read_bytes(), random.Random(5)
    with Session(path) as session:
        before, head = read(session), session.verify().head
    found = 0
    for _ in range(200):
        path.write_bytes(flipped(whole, dice.randrange(len(whole))))
        try:
            with Session(path) as session:
                assert session.verify().head == head
                assert read(session) == before
        except SessionError:
            found += 1
    assert found > 100


def rewrite(path: Path, change_one: Callable[[int, Event], Event]) -> None:
    """Another session under the same name, every hash of which is right: what a forger would make."""
    with Session(path) as session:
        events, closing = read(session), session.closing
    path.unlink()
    queue = LocalQueue(path, OPENING)
    for number, (event, out) in enumerate(events):
        queue.append(change_one(number, event), out)
    queue.close(closing)


def test_an_alteration_that_was_hashed_anew_is_found_by_a_head_kept_elsewhere(path: Path) -> None:
    write(path, 600)
    with Session(path) as session:
        head = session.verify().head
        assert session.verify(head).head == head
    rewrite(path, lambda number, event: event if number != 301 else Tick(event.at))
    with Session(path) as session:
        assert session.verify().head != head
        with pytest.raises(SessionError, match="not the session of that head"):
            session.verify(head)


def test_a_head_of_the_middle_fits_the_session_that_was_written_on(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    queue.append(Tick(1), [])
    queue.commit()
    with Session(path) as session:
        head = session.verify().head
    queue.append(Tick(2), [])
    queue.close(msgspec.structs.replace(CLOSING, inputs=2, outputs=0))
    with Session(path) as session:
        assert session.verify(head).inputs == 2


# --- a disk that fails -----------------------------------------------------------------------------------------------------


def fill(queue: LocalQueue, pages: int) -> None:
    """SQLite itself refuses to grow the file: what a full disk looks like to it."""
    queue._store.execute(f"PRAGMA max_page_count = {pages}")


def noise(number: int) -> Event:
    return Quote(number, MARKET, *(random.Random(number).getrandbits(60) for _ in range(5)), number)


def test_a_full_disk_loses_nothing_that_fits_into_memory_and_the_record_has_no_hole(path: Path) -> None:
    queue = LocalQueue(path, OPENING)
    queue.append(Tick(0), [])
    queue.commit()
    fill(queue, 1)
    refused = 0
    for number in range(1, 4000):
        try:
            queue.append(noise(number), [])
        except SessionError as problem:
            assert "full" in problem.problem
            refused += 1
    with pytest.raises(SessionError, match="full"):
        queue.commit()
    assert refused == 1, "each chunk tried the disk again"
    assert queue.lost == 0
    fill(queue, 1_000_000)
    queue.commit()
    queue.close(None)
    with Session(path) as session:
        assert [event.at for event, _ in read(session)] == list(range(4000))


def test_what_cannot_be_kept_ends_the_recording_and_is_counted(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_queue, "WAITING_BYTES", 200_000)
    queue = LocalQueue(path, OPENING)
    queue.append(Tick(0), [])
    queue.commit()
    fill(queue, 1)
    for number in range(1, 20_000):
        with contextlib.suppress(SessionError):
            queue.append(noise(number), [])
    fill(queue, 1_000_000)
    with pytest.raises(SessionError, match="ended earlier"):
        queue.commit()
    with pytest.raises(SessionError):
        queue.close(CLOSING)
    with Session(path) as session:
        assert session.closing is None
        assert 19_000 < queue.lost == 20_000 - session.verify().inputs  # the first chunk may still fit into a page


def test_a_commit_that_ends_the_recording_says_so_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It returned as if all were written, and an order would have been sent without a record."""
    monkeypatch.setattr(local_queue, "WAITING_BYTES", 10)
    queue = LocalQueue(path, OPENING)
    queue.append(noise(1), [])
    with pytest.raises(SessionError, match="ended earlier"):
        queue.commit()
    assert queue.lost == 1
    with pytest.raises(SessionError):
        queue.close(None)


# --- killed while it writes ------------------------------------------------------------------------------------------------

WRITER = """
import sys
from pathlib import Path
from engine.queue.local import LocalQueue
from tests.test_queue import OPENING, input_of, outputs_of

queue, number = LocalQueue(Path(sys.argv[1]), OPENING), 0
while True:
    for _ in range(number % 97):
        queue.append(input_of(number), outputs_of(number))
        number += 1
    queue.append(input_of(number), outputs_of(number))
    number += 1
    (queue.secure if number % 3 else queue.commit)(durable=number % 5 == 0)
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def kill_while_writing(path: Path, after_lines: int) -> tuple[int, int]:
    """SIGKILL once it acknowledged so often: what it acknowledged, and what is on record."""
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=Path(__file__).parent.parent) as writer:
        assert writer.stdout is not None
        said = b"".join(writer.stdout.readline() for _ in range(after_lines))
        time.sleep(random.Random(str(path)).random() / 100)  # not always right behind an acknowledgement
        os.kill(writer.pid, signal.SIGKILL)
        said += writer.stdout.read()  # what it had said before it died; the last line may be half a line
        acknowledged = int(said.rpartition(b"\n")[0].rpartition(b"\n")[2])
    with Session(path) as session:
        found = session.verify()
        assert not found.closed and session.closing is None
        assert [event.at for event, _ in read(session)] == list(range(found.inputs))
    return acknowledged, found.inputs


@pytest.mark.slow
def test_a_killed_writer_leaves_every_acknowledged_record(tmp_path: Path) -> None:
    for number, after in enumerate((1, 2, 9, 30, 77)):
        acknowledged, found = kill_while_writing(tmp_path / f"{number}-killed.barter", after)
        assert found >= acknowledged


# --- finding one -----------------------------------------------------------------------------------------------------------


def test_a_session_is_found_by_name_beginning_path_and_as_the_latest(tmp_path: Path) -> None:
    paths = []
    for number, name in enumerate(("abc123", "abd999", "xyz000")):
        opening = msgspec.structs.replace(OPENING, session=name, started_ns=OPENING.started_ns + number * 10**9)
        paths.append(new_path(tmp_path, opening))
        write(paths[-1], 3, opening=opening)
    assert find(tmp_path, "latest") == find(tmp_path, "x") == paths[2]
    assert find(tmp_path, "abc") == find(tmp_path, str(paths[0])) == paths[0]
    with pytest.raises(SessionError, match="several sessions begin with ab"):
        find(tmp_path, "ab")
    with pytest.raises(SessionError, match=r"no such session .* xyz000"):
        find(tmp_path, "q")


def test_the_state_of_the_recording_survives_the_codec() -> None:
    assert encode(JournalState(1, "full")) == msgspec.msgpack.encode(["JournalState", 1, "full"])
