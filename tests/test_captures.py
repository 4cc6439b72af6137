"""Captures that are imported: checked, kept once, found by name."""

import json
from pathlib import Path

import pytest

from console import captures
from console.cli import main
from console.exits import Exit
from engine.errors import CaptureError
from tests.venue.test_captured import small as rows
from tests.venue.test_captured import written


@pytest.fixture
def capture(tmp_path: Path) -> Path:
    return Path(written(tmp_path, rows(), "aster.txt"))


def test_an_imported_capture_is_found_by_its_name(capture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    found = captures.take(folder, capture)
    assert not found.known and found.path.read_bytes() == capture.read_bytes()
    assert any("ABCUSDT" in line for line in found.words)
    assert captures.find(folder, Path("aster.txt")) == found.path
    assert captures.find(folder, capture) == capture, "a file that is there is itself"
    assert captures.take(folder, capture).known


def test_another_capture_of_the_same_name_is_refused_and_the_first_kept(capture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    kept = captures.take(folder, capture).path
    before = kept.read_bytes()
    other = tmp_path / "other"
    other.mkdir()
    (other / "aster.txt").write_bytes(before + before.splitlines(keepends=True)[-1])
    with pytest.raises(CaptureError, match="another capture of this name"):
        captures.take(folder, other / "aster.txt")
    assert kept.read_bytes() == before


def test_it_says_how_many_frames_there_are_and_which_are_not_played(capture: Path, tmp_path: Path) -> None:
    text = capture.read_text()
    stamp = text.splitlines()[-1].partition(" ")[0]
    quote = {"e": "bookTicker", "u": 1, "s": "XYZUSDT", "b": "1.0", "B": "1", "a": "1.1", "A": "1", "T": 1, "E": 1}
    frame = json.dumps({"stream": "xyzusdt@bookTicker", "data": quote})
    capture.write_text(f"{text.rstrip()}\n{stamp} {frame}\n")
    words = captures.take(tmp_path / "state", capture).words
    others = sum("@ticker" in line for line in text.splitlines())
    assert others and words[0] == f"{len(text.splitlines()) + 1:,} frames, {others} of them of streams that are not played"
    assert "without a depth snapshot, so not played: XYZUSDT" in words


def test_a_long_import_says_how_far_it_is(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.venue.capture.TOLD_EVERY", 2)
    told: list[int] = []
    captures.take(tmp_path / "state", capture, told.append)
    assert told == list(range(2, len(capture.read_text().splitlines()) + 1, 2)) and told


def test_a_damaged_line_is_named_and_nothing_is_kept(capture: Path, tmp_path: Path) -> None:
    rows = capture.read_text().splitlines()
    capture.write_text("\n".join([*rows, rows[-1][:-9]]) + "\n")
    with pytest.raises(CaptureError, match=rf"aster\.txt, line {len(rows) + 1}"):
        captures.take(tmp_path / "state", capture)
    assert not (tmp_path / "state").exists()


def test_an_interrupted_import_leaves_nothing(capture: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.copyfileobj", pressed)
    with pytest.raises(KeyboardInterrupt):
        captures.take(tmp_path / "state", capture)
    assert not list((tmp_path / "state" / captures.FOLDER).iterdir())


def test_what_cannot_be_played_is_not_kept(tmp_path: Path) -> None:
    (tmp_path / "bad.txt").write_text("this is no capture\n")
    with pytest.raises(CaptureError, match=r"bad\.txt"):
        captures.take(tmp_path / "state", tmp_path / "bad.txt")
    (tmp_path / "a b.txt").write_text("x")
    with pytest.raises(CaptureError, match="letters, digits"):
        captures.take(tmp_path / "state", tmp_path / "a b.txt")
    assert not (tmp_path / "state").exists()


def test_a_name_that_is_none_says_which_there_are(capture: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    captures.take(folder, capture)
    with pytest.raises(CaptureError, match=r"imported are aster.txt"):
        captures.find(folder, Path("astr.txt"))
    with pytest.raises(CaptureError, match="no such file"):
        captures.find(folder, Path("../demo/captures/aster.txt"))


def test_the_command_tells_what_it_holds(capture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--set", f"engine.state_dir={tmp_path / 's'}"]
    assert main(["sessions", "import", str(capture), *flags]) == Exit.OK
    said = capsys.readouterr().out
    assert "ABCUSDT" in said and "--capture aster.txt" in said
    assert main(["sessions", "import", *flags]) == Exit.USAGE
    assert main(["sessions", "import", str(tmp_path / "none"), *flags]) == Exit.VENUE
