"""A session as JSON lines: every event, in order, readable by anything."""

import json
from pathlib import Path

import pytest

from console.bundle import bundle
from console.cli import main
from console.exits import Exit
from engine.errors import SessionError
from engine.events import BookDelta, Filled, decode_output, unpack_levels
from engine.queue.export import export
from engine.queue.retention import condense
from engine.queue.session import Session
from engine.queue.tables import export_tables


def test_every_event_is_a_line_in_order(small: Path, tmp_path: Path) -> None:
    with Session(small) as session:
        count = export(session, tmp_path / "all.jsonl")
        steps = [step for chunk in session.chunks() for step in chunk.steps()]
    lines = [json.loads(line) for line in (tmp_path / "all.jsonl").read_text(encoding="utf-8").splitlines()]
    known = [
        (number, way, type(event).__name__, event.at)
        for number, (event, raws) in enumerate(steps)
        for way, event in (("in", event), *(("out", decode_output(raw)) for raw in raws))
    ]
    assert [(line["number"], line["direction"], line["type"], line["event"]["at"]) for line in lines] == known
    assert count == len(lines)
    deltas = [event for event, _ in steps if isinstance(event, BookDelta)]
    told = [line for line in lines if line["type"] == "BookDelta"]
    flat = [[number for pair in line["event"]["bids"] for number in pair] for line in told]
    assert flat == [list(unpack_levels(event.bids)) for event in deltas]
    fills = [one for _, raws in steps for one in map(decode_output, raws) if isinstance(one, Filled)]
    assert [line["event"]["fee"] for line in lines if line["type"] == "Filled"] == [str(fill.fee) for fill in fills]


def test_a_condensed_session_exports_what_it_kept(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / small.name
    copy.write_bytes(small.read_bytes())
    condense(copy, 1_800_000_000 * 10**9)
    with Session(copy) as session:
        export(session, tmp_path / "kept.jsonl")
    kinds = {json.loads(line)["type"] for line in (tmp_path / "kept.jsonl").read_text(encoding="utf-8").splitlines()}
    assert {"Filled", "SendOrder", "Started"} <= kinds and "Quote" not in kinds


def test_nothing_is_written_over_and_nothing_half_is_left(small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep me", encoding="utf-8")
    with Session(small) as session:
        with pytest.raises(SessionError, match="there already"):
            export(session, tmp_path / "mine.txt")
        with pytest.raises(SessionError, match="cannot be written"):
            export(session, tmp_path / "nowhere" / "x.jsonl")
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert (tmp_path / "mine.txt").read_text(encoding="utf-8") == "keep me"


def test_what_another_run_writes_is_left_to_it(small: Path, tmp_path: Path) -> None:
    other, folder = tmp_path / "x.partial", tmp_path / "t.partial"
    other.write_text("another run's", encoding="utf-8")
    folder.mkdir()
    with Session(small) as session:
        for write, to in (
            (export, "x"),
            (lambda *a: bundle(a[0], tmp_path, a[1]), "x"),
            (lambda *a: export_tables(*a, "csv"), "t"),
        ):
            with pytest.raises(SessionError, match=r"\.partial: somebody writes this now"):
                write(session, tmp_path / to)
    assert other.read_text(encoding="utf-8") == "another run's" and folder.is_dir()


def test_a_disk_without_links_takes_an_export_too(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", none)
    with Session(small) as session:
        assert export(session, tmp_path / "x") > 0
        with pytest.raises(SessionError, match="there already"):
            export(session, tmp_path / "x")
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_ctrl_c_is_a_sentence_and_leaves_nothing(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("engine.queue.session.Session.chunks", pressed)
    for form in ("jsonl", "csv"):
        words = ["sessions", "export", str(small), "--to", str(tmp_path / "x"), "--as", form]
        assert main(words) == Exit.INTERRUPTED
    assert "interrupted" in capsys.readouterr().err and not list(tmp_path.iterdir())


def test_the_command_says_how_many_and_needs_a_file(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "none.toml").touch()
    words = ["sessions", "export", str(small), "--config", str(tmp_path / "none.toml")]
    assert main([*words, "--to", str(tmp_path / "all.jsonl")]) == Exit.OK
    assert " events in " in capsys.readouterr().out
    assert main(words) == Exit.USAGE
    assert "--to" in capsys.readouterr().err
