"""Captures that are imported: checked, kept once, found by name."""

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
