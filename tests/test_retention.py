"""Old sessions lose their market data and keep their money records; nothing that is damaged or in use is touched."""

import shutil
import sqlite3
from pathlib import Path

import pytest

from console.cli import main
from console.exits import Exit
from engine import events as e
from engine.door import Door
from engine.errors import SessionError
from engine.queue import retention
from engine.queue.files import recorded, session_name
from engine.queue.local import LocalQueue
from engine.queue.retention import MARKET_INPUTS, MARKET_OUTPUTS, condense, due, tidy
from engine.queue.session import Session
from engine.replay import Replay

DAY_MS = 86_400_000
NOW_NS = 1_800_000_000 * 10**9


def money(session: Session) -> list[tuple[int, object, list[object]]]:
    """What a condensed session must still hold, from the whole one."""
    found, number = [], 0
    for chunk in session.chunks():
        for event, raws in chunk.steps():
            outputs = [one for one in map(e.decode_output, raws) if type(one) not in MARKET_OUTPUTS]
            if type(event) not in MARKET_INPUTS or outputs:
                found.append((number, event if type(event) not in MARKET_INPUTS else None, list(outputs)))
            number += 1
    return found  # type: ignore[return-value]


@pytest.fixture
def folder(small: Path, tmp_path: Path) -> Path:
    """A state folder of five sessions, one a day and the newest of today."""
    (tmp_path / "demo" / "sessions").mkdir(parents=True)
    for age in range(5):
        stamp = NOW_NS // 10**6 - age * DAY_MS
        shutil.copy(small, tmp_path / "demo" / "sessions" / f"{stamp:013d}-day{age}ago.barter")
    (tmp_path / "none.toml").touch()
    return tmp_path


def names(paths: list[Path]) -> list[str]:
    return [session_name(path) for path in paths]


def test_a_condensed_session_keeps_every_record_of_money_and_its_head(folder: Path) -> None:
    path = recorded(folder / "demo")[0]
    with Session(path) as session:
        before, head, opening, closing = money(session), session.verify().head, session.opening, session.closing
    freed = condense(path, NOW_NS)
    assert freed > 0
    with Session(path) as session:
        assert [(number, event, outputs) for number, event, outputs in session.kept()] == before
        assert (session.opening, session.closing) == (opening, closing)
        gone = session.condensed
        assert gone is not None and gone.head == head and closing is not None and gone.inputs == closing.inputs
    kinds = {type(event).__name__ for _, event, _ in before} | {type(one).__name__ for _, _, out in before for one in out}
    assert {"Started", "Instrument", "OrderReport", "AccountSnapshot", "Command", "SendOrder", "Filled", "Judged"} <= kinds
    assert not kinds & {"Quote", "BookDelta", "Trade", "Tick", "FeaturesReady"}


def test_every_kind_of_event_is_either_market_data_or_kept() -> None:
    """A new kind is kept unless somebody says that it may go."""
    inputs, outputs = set(e.Input.__args__), set(e.Output.__args__)
    assert inputs > MARKET_INPUTS and outputs > MARKET_OUTPUTS
    assert {e.SendOrder, e.Filled, e.OrderChanged, e.Judged, e.Decided, e.FundingPaid, e.Alert} <= outputs - MARKET_OUTPUTS
    assert {e.OrderReport, e.BalanceChange, e.AccountSnapshot, e.Command, e.Recovered, e.Started} <= inputs - MARKET_INPUTS


def test_a_condensed_session_is_never_replayed_as_a_shorter_one(folder: Path) -> None:
    path = recorded(folder / "demo")[0]
    condense(path, NOW_NS)
    with Session(path) as session, pytest.raises(SessionError, match="market data were removed on 2027-01-15"):
        Replay(session).run()


def test_days_and_gigabytes_choose_the_oldest_and_never_the_newest(folder: Path) -> None:
    demo = folder / "demo"
    each = recorded(demo)[0].stat().st_size / 1e9
    assert names(due(demo, 0, 0, NOW_NS)) == []
    assert names(due(demo, 2.5, 0, NOW_NS)) == ["day4ago", "day3ago"]
    assert names(due(demo, 0, each * 3.5, NOW_NS)) == ["day4ago", "day3ago"]
    assert names(due(demo, 0.0001, 0, NOW_NS + 10**15)) == ["day4ago", "day3ago", "day2ago", "day1ago"]
    assert names(due(demo, 0.5, 0, NOW_NS, own="day0ago")) == ["day4ago", "day3ago", "day2ago"]  # day1 is a parent


def test_a_damaged_session_is_told_and_left_as_it_is(folder: Path) -> None:
    path = recorded(folder / "demo")[0]
    with sqlite3.connect(path) as store:
        store.execute("UPDATE chunks SET body = x'00' WHERE number = 1")
    store.close()
    before = path.read_bytes()
    done = tidy(folder / "demo", 2.5, 0, NOW_NS)
    assert done.condensed == 1 and len(done.problems) == 1 and "damaged" in done.problems[0]
    assert path.read_bytes() == before


def test_one_that_was_killed_on_the_way_leaves_the_session_whole(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = recorded(folder / "demo")[0]

    def killed(*_: object) -> Path:
        (path.with_suffix(".condensing")).write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(retention, "write_condensed", killed)
        condense(path, NOW_NS)
    with Session(path) as session:
        assert session.condensed is None and session.verify().closed
    assert tidy(folder / "demo", 3.5, 0, NOW_NS).condensed == 1
    assert not list((folder / "demo" / "sessions").glob("*.condensing"))


def test_the_log_of_a_killed_writer_is_not_lost(tmp_path: Path) -> None:
    """Its newest chunks lie in the log alone; they are moved into the file before anything is taken away."""
    from tests.test_queue import OPENING, feed, killed

    queue, whole = LocalQueue(tmp_path / "0-abc123.barter", OPENING), 500
    feed(queue, whole)
    queue.commit()
    path = killed(queue.path, tmp_path / "left")
    queue.close(None)
    assert path.with_name(path.name + "-wal").stat().st_size
    condense(path, NOW_NS)
    assert not path.with_name(path.name + "-wal").exists()
    with Session(path) as session:
        assert session.condensed is not None and session.condensed.inputs == whole
        list(session.kept())


def run(folder: Path, *words: str) -> int:
    return main([*words, "--set", f"engine.state_dir={folder}", "--config", str(folder / "none.toml")])


def test_prune_names_what_goes_and_needs_a_yes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "sessions", "prune", "day3ago") == Exit.USAGE
    assert "--yes" in capsys.readouterr().err
    assert run(folder, "sessions", "prune", "day3ago", "--yes") == Exit.OK
    assert "1 sessions lost their market data" in capsys.readouterr().out
    assert run(folder, "sessions") == Exit.OK
    (row,) = [row for row in capsys.readouterr().out.splitlines() if "market data removed" in row]
    assert "in good order" in row
    assert run(folder, "sessions", "verify", "day3ago") == Exit.OK
    assert "kept records" in capsys.readouterr().out
    assert run(folder, "--replay", "day3ago", "--no-ui") == Exit.DAMAGED
    assert "cannot be replayed" in capsys.readouterr().err


def test_prune_without_names_holds_the_limits_of_the_settings(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "sessions", "prune", "--yes", "--set", "queue.keep_days=0", "--set", "queue.keep_gb=0") == Exit.OK
    assert "Nothing is due" in capsys.readouterr().out


def test_what_a_running_engine_writes_is_not_pruned(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Door(folder / "demo"):
        assert run(folder, "sessions", "prune", "day0ago", "--yes") == Exit.DAMAGED
        assert "an engine runs" in capsys.readouterr().err
