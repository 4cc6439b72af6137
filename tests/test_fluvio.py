"""A session over Fluvio and back: the real client in the real bridge process, against a stand-in and a cluster, where one is."""

import asyncio
import contextlib
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest

from console.cli import main
from console.exits import Exit
from engine.errors import QueueError
from engine.events import Action
from engine.queue.access import Access, Tls, preflight
from engine.queue.bridge import LOOK_EVERY_S, STATE, Order, Outbox, Sent, Status
from engine.queue.files import recorded, session_name
from engine.queue.fluvio import CLOSING, LARGEST, OPENING, Assembly, packed, topic_of
from engine.queue.layout import Row
from engine.queue.local import LocalQueue, rebuild
from engine.queue.session import Session
from engine.replay import Replay
from tests.fluvio_bridge import bridged, line
from tests.fluvio_cluster import cluster
from tests.fluvio_standin import TOPIC, standin
from tests.recordings import MARKET, desk, recording
from tests.simulated import listening, say_nothing, simulated
from tests.test_queue import OPENING as OPENED
from tests.test_queue import input_of, outputs_of

PATIENCE_S = 60.0


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    """A state folder with one finished session."""
    (tmp_path / "sessions").mkdir()
    shutil.copy(small, tmp_path / "sessions" / small.name)
    return tmp_path


@asynccontextmanager
async def bridge(
    folder: Path, endpoint: str, tls: Tls | None = None
) -> AsyncIterator[tuple[asyncio.subprocess.Process, list[Status]]]:
    """The real process; what it says."""
    said: list[Status] = []
    order = Order(str(folder), Access(endpoint, tls), 3600, ("aster-views", "aster-commands"))
    async with bridged(order, said) as process:
        yield process, said


async def until(holds: Callable[[], object]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        await asyncio.sleep(0.02)


async def pulled(endpoint: str, topic: str, name: str, folder: Path) -> tuple[int, str, str]:
    words, pipe = (sys.executable, "-m", "engine.queue.bridge", "pull"), asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=pipe)
    topics = topic.replace("market-data", "sessions"), topic
    out, err = await process.communicate(line(Order(str(folder), Access(endpoint), topics=topics, session=name)))
    return process.returncode or 0, out.decode(), err.decode()


def finished(folder: Path, name: str) -> bool:
    return Outbox(folder).sent.get(name, Sent()).closed


def heads(*folders: Path) -> set[str]:
    found = set()
    for one in folders:
        for path in recorded(one):
            with Session(path) as session:
                found.add(session.verify().head)
    return found


# --- records -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("symbols", "topic"),
    [
        (("ASTER/USDT:USDT", "BTC/USDT:USDT"), "aster-market-data"),
        (("1000PEPE/USDT:USDT",), "1000pepe-market-data"),
        (("币/X",), "market-market-data"),
    ],
)
def test_a_topic_is_named_after_the_first_symbol(symbols: tuple[str, ...], topic: str) -> None:
    assert topic_of(symbols) == topic


def test_records_in_any_order_and_repetition_make_the_same_session(folder: Path, tmp_path: Path) -> None:
    (path,) = recorded(folder)
    with Session(path) as session:
        name, opening, closing = session.opening.session, session.end("opening"), session.end("closing")
        assert opening is not None and closing is not None
        values = packed(name, OPENING, opening) + packed(name, CLOSING, closing)
        for row in session.rows():
            values += packed(name, row.number, row)
    made = Assembly(name)
    strangers = [*packed("other0", OPENING, opening), b"\xc1 no record"]
    rows = [row for value in (*values[::-1], *values, *strangers) if (row := made.take(value)) is not None]
    assert (made.repeated, made.strange) == (len(values), 1)
    assert made.opening is not None
    rebuild(tmp_path / "else" / path.name, made.opening, rows, made.closing)
    assert (tmp_path / "else" / path.name).stat().st_mode & 0o777 == 0o600
    with Session(path) as one, Session(tmp_path / "else" / path.name) as other:
        assert one.verify() == other.verify()


def test_a_large_piece_is_cut_and_put_together() -> None:
    row = Row(7, 0, 1, 0, 1, 0, 9, os.urandom(2 * LARGEST), b"state", b"digest")
    values = packed("s", 7, row)
    assert len(values) == 3 and all(len(value) < 1_000_000 for value in values)
    made = Assembly("s")
    assert [made.take(value) for value in reversed(values)] == [None, None, row]


def test_a_session_with_a_missing_chunk_is_never_put_in_place(folder: Path, tmp_path: Path) -> None:
    (path,) = recorded(folder)
    with Session(path) as session:
        rows, opening = list(session.rows()), session.end("opening")
    assert opening is not None and len(rows) > 2
    with pytest.raises(Exception, match="chunk 1 is missing"):
        rebuild(tmp_path / "else" / path.name, opening, [rows[0], *rows[2:]], None)
    assert list((tmp_path / "else").iterdir()) == []


# --- preflight ----------------------------------------------------------------------------------------------------------


async def test_the_preflight_tells_a_cluster_from_nothing_from_silence_and_from_a_stranger() -> None:
    async with standin() as cluster:
        assert await preflight(Access(cluster.endpoint)) == "0.18.1"
    with pytest.raises(QueueError, match="no cluster can be reached"):
        await preflight(Access(cluster.endpoint))
    async with listening(say_nothing) as silent:
        with pytest.raises(QueueError, match="nothing answered there in time"):
            await preflight(Access(silent.rpartition("/")[2]))
    with pytest.raises(QueueError, match="does not speak"):
        await preflight(Access("nonsense"))


# --- the bridge ----------------------------------------------------------------------------------------------------------


async def test_a_session_comes_back_with_the_same_head(folder: Path, tmp_path: Path) -> None:
    (path,) = recorded(folder)
    name = session_name(path)
    async with standin() as cluster:
        async with bridge(folder, cluster.endpoint) as (_, said):
            await until(lambda: finished(folder, name))
            await until(lambda: said and said[-1].state == "up" and said[-1].behind == 0)
        code, out, err = await pulled(cluster.endpoint, TOPIC, name, tmp_path / "else")
        assert code == 0, err
        assert Path(out.strip()).name == path.name
        assert len(heads(folder, tmp_path / "else")) == 1
        code, _, err = await pulled(cluster.endpoint, TOPIC, name, tmp_path / "else")
        assert code == 1 and "here already" in err
        code, _, err = await pulled(cluster.endpoint, TOPIC, "nobody", tmp_path / "else")
        assert code == 1 and "does not hold the beginning" in err


async def test_the_command_line_fetches_a_session(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (path,) = recorded(folder)
    (tmp_path / "none.toml").touch()
    to = [f"engine.state_dir={tmp_path / 'else'}"]
    async with standin() as cluster:
        words = ("sessions", "pull", session_name(path), "--config", str(tmp_path / "none.toml"))
        settings = [word for one in (*to, f"queue.endpoint={cluster.endpoint}") for word in ("--set", one)]
        assert await asyncio.to_thread(main, [*words, *settings]) == Exit.DAMAGED
        assert "does not hold the beginning" in capsys.readouterr().err
        async with bridge(folder, cluster.endpoint):
            await until(lambda: finished(folder, session_name(path)))
        assert await asyncio.to_thread(main, [*words, *settings]) == Exit.OK
    assert "verified" in capsys.readouterr().out and len(heads(folder, tmp_path / "else" / "demo")) == 1


async def test_records_that_a_stream_skips_are_fetched_again(folder: Path, tmp_path: Path) -> None:
    """A real cluster's stream skips the batch at which a fetch is full."""
    (path,) = recorded(folder)
    path.unlink()
    made = LocalQueue(path, msgspec.structs.replace(OPENED, session=session_name(path), symbols=("ASTER/USDT:USDT",)))
    for place in range(3_000):
        made.append(input_of(place), outputs_of(place))
        if place % 300 == 299:
            assert made.keep(os.urandom(300_000))
    made.close(None)
    async with standin() as cluster:
        cluster.skips = True
        async with bridge(folder, cluster.endpoint) as (_, said):
            await until(lambda: said and said[-1].sent > 10 and said[-1].behind == 0)
        assert sum(len(body) for _, _, body in cluster.batches) > 2 << 20
        code, _, err = await pulled(cluster.endpoint, TOPIC, session_name(path), tmp_path / "else")
        assert code == 0, err
        assert cluster.streams > 1 and len(heads(folder, tmp_path / "else")) == 1


async def test_a_lost_acknowledgement_is_sent_again_and_read_once(folder: Path, tmp_path: Path) -> None:
    name = session_name(recorded(folder)[0])
    async with standin() as cluster:
        cluster.fault = "lost_ack"
        async with bridge(folder, cluster.endpoint) as (_, said):
            await until(lambda: cluster.produced and any(one.state == "failing" for one in said))
            stored = cluster.stored
            assert stored and not finished(folder, name)
            cluster.fault = "slow_ack"
            await until(lambda: finished(folder, name))
        assert cluster.stored > stored  # the same records are there twice
        code, _, err = await pulled(cluster.endpoint, TOPIC, name, tmp_path / "else")
        assert code == 0, err
        assert len(heads(folder, tmp_path / "else")) == 1


@pytest.mark.slow
async def test_a_cluster_that_comes_late_and_goes_is_caught_up_with(folder: Path, tmp_path: Path) -> None:
    """It is down at the start; then it dies while a session is being written, and comes back."""
    name, live = session_name(recorded(folder)[0]), "live00"
    async with standin() as cluster:
        await cluster.stop()
        async with bridge(folder, cluster.endpoint) as (process, said):
            await until(lambda: said and said[-1].state == "failing")
            await cluster.start()
            await until(lambda: finished(folder, name))
            opened = msgspec.structs.replace(OPENED, session=live, symbols=("ASTER/USDT:USDT",))
            made = LocalQueue(folder / "sessions" / f"9999999999999-{live}.barter", opened)
            for place in range(200):
                made.append(input_of(place), outputs_of(place))
            made.commit()
            await until(lambda: Outbox(folder).sent.get(live, Sent()).chunks)
            await cluster.stop()
            for place in range(200, 400):
                made.append(input_of(place), outputs_of(place))
            made.close(None)
            await until(lambda: said[-1].state == "failing")
            await cluster.start()
            with Session(made.path) as session:
                count = session.count
            await until(lambda: Outbox(folder).sent[live].chunks == count)
            assert process.returncode is None
        assert (await pulled(cluster.endpoint, TOPIC, live, tmp_path / "else"))[0] == 0
        assert heads(tmp_path / "else") < heads(folder)


async def test_a_damaged_session_holds_up_no_other_and_one_that_was_cut_off_is_done_with(folder: Path, tmp_path: Path) -> None:
    (path,) = recorded(folder)
    bad, cut = path.with_name("0000000000001-bad000.barter"), path.with_name("0000000000002-cut000.barter")
    shutil.copy(path, bad)
    with contextlib.closing(sqlite3.connect(bad)) as store, store:
        store.execute("UPDATE chunks SET body = x'00' WHERE number = 1")
    made = LocalQueue(cut, msgspec.structs.replace(OPENED, session="cut000", symbols=("ASTER/USDT:USDT",)))
    made.append(input_of(0), outputs_of(0))
    made.close(None)
    async with standin() as cluster:
        async with bridge(folder, cluster.endpoint) as (_, said):
            await until(lambda: finished(folder, session_name(path)) and finished(folder, "cut000"))
            await until(lambda: said[-1].left == 1 and said[-1].behind == 0)
        assert (await pulled(cluster.endpoint, TOPIC, session_name(path), tmp_path / "else"))[0] == 0


async def test_a_session_that_was_looked_at_while_it_was_being_made_is_forwarded_all_the_same(folder: Path) -> None:
    """Its file is there a moment before its opening is."""
    (old,) = recorded(folder)
    made = folder / "sessions" / "9999999999999-young0.barter"
    opened = msgspec.structs.replace(OPENED, session="young0", symbols=("ASTER/USDT:USDT",))
    made.touch()
    async with standin() as cluster, bridge(folder, cluster.endpoint):
        await until(lambda: finished(folder, session_name(old)))  # it was looked at after that one
        await asyncio.sleep(2 * LOOK_EVERY_S)
        made.unlink()
        LocalQueue(made, opened).close(None)
        await until(lambda: Outbox(folder).sent.get("young0", Sent()).opened)


async def test_a_bridge_that_is_killed_goes_on_where_it_was(folder: Path, tmp_path: Path) -> None:
    name = session_name(recorded(folder)[0])
    async with standin() as cluster:
        async with bridge(folder, cluster.endpoint):
            await until(lambda: (folder / STATE).exists())
        async with bridge(folder, cluster.endpoint):
            await until(lambda: finished(folder, name))
        assert (await pulled(cluster.endpoint, TOPIC, name, tmp_path / "else"))[0] == 0


@pytest.mark.parametrize("fault", ["silent", ""])
async def test_the_bridge_ends_with_its_owner_whatever_the_cluster_does(folder: Path, fault: str) -> None:
    async with standin() as cluster:
        cluster.fault = fault
        async with bridge(folder, cluster.endpoint) as (process, said):
            await until(lambda: said)
            assert process.stdin is not None
            process.stdin.close()
            async with asyncio.timeout(PATIENCE_S):
                assert await process.wait() == 0


# --- an engine ------------------------------------------------------------------------------------------------------------


async def test_an_engines_session_is_on_the_cluster_when_it_ends(tmp_path: Path) -> None:
    async with standin() as cluster, simulated() as venue:
        chosen = desk(tmp_path, queue={"backend": "fluvio", "endpoint": cluster.endpoint})
        async with recording(venue, chosen) as engine:
            await until(lambda: engine.forwarding is not None and (now := engine.forwarding.status) and now.sent > 3)
            summary = await engine.settle(Action.SHUTDOWN, "the test")
        assert summary.fluvio is not None and summary.fluvio.state == "up" and not summary.fluvio.problem
        assert any("the journal is forwarded" in text for _, _, text in engine.alerts)
        code, _, err = await pulled(cluster.endpoint, TOPIC, engine.session, tmp_path / "else")
        assert code == 0, err
        assert len(heads(engine.folder, tmp_path / "else")) == 1
        with Session(recorded(tmp_path / "else")[0]) as session:
            assert session.closing is not None and Replay(session).run().difference is None


@pytest.mark.parametrize("fault", ["silent", "absent"])
async def test_a_cluster_that_is_silent_or_absent_holds_nothing_up(tmp_path: Path, fault: str) -> None:
    async with standin() as cluster, simulated() as venue:
        cluster.fault = fault
        if fault == "absent":
            await cluster.stop()
        chosen = desk(tmp_path, queue={"backend": "fluvio", "endpoint": cluster.endpoint})
        async with recording(venue, chosen) as engine:
            await until(lambda: any("is forwarded when it answers" in text for _, _, text in engine.alerts))
            await until(lambda: engine.state.portfolio.position(MARKET).quantity)
            assert engine.latencies.loop_lag.percentiles().p50 < 1e6
            summary = await engine.settle(Action.SHUTDOWN, "the test")
        assert summary.fluvio is not None and summary.fluvio.state == "failing" and summary.recording is not None
        assert not summary.recording.problem and not summary.recording.lost
        assert not any(task.get_name() == "the Fluvio bridge" for task in asyncio.all_tasks())


# --- a real cluster -------------------------------------------------------------------------------------------------------


async def test_a_session_comes_back_from_a_real_cluster_with_the_same_head(folder: Path, tmp_path: Path) -> None:
    (path,) = recorded(folder)
    fresh = path.with_name(f"{time.time_ns() // 10**6:013d}-t{time.time_ns() % 10**8}.barter")
    made = LocalQueue(fresh, msgspec.structs.replace(OPENED, session=session_name(fresh), symbols=("BARTERTEST/USDT:USDT",)))
    path.unlink()
    kept = 0
    for place in range(20_000):
        made.append(input_of(place), outputs_of(place))
        if place >= 4_999 * (kept + 1):  # just behind a chunk there is nothing to keep it with
            kept += made.keep(os.urandom(400_000))
    assert kept == 4
    made.close(None)
    async with cluster(tmp_path / "cluster") as endpoint:
        async with bridge(folder, endpoint) as (_, said):
            await until(lambda: said and said[-1].state == "up" and said[-1].sent > 10 and said[-1].behind == 0)
        code, _, err = await pulled(endpoint, "bartertest-market-data", session_name(fresh), tmp_path / "else")
        assert code == 0, err
        assert len(heads(folder, tmp_path / "else")) == 1
