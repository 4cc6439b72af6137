"""What fails on the screen is written to a file that its owner alone reads, and the screen says where."""

import asyncio
import logging
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from console import logs
from tests import pictures
from tests.console.conftest import FakeLink, frames_of, program
from tests.console.test_app import drawn
from tests.console.test_keys import settled, until


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Path]:
    """The file of a screen's process; the loggers are as they were afterwards."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    levels = {name: logging.getLogger(name).level for name in ("barter", "console")}
    yield logs.to_file(tmp_path / "state", False)
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    for handler in before:
        root.addHandler(handler)
    root.setLevel(level)
    for name, was in levels.items():
        logging.getLogger(name).setLevel(was)


def test_nothing_is_made_until_something_is_logged_and_then_for_its_owner_alone(
    file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert not file.parent.exists()
    logging.getLogger("console.panes").error("broken")
    logging.getLogger("asyncio").error("never awaited")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert "ERROR console.panes: broken" in file.read_text() and "never awaited" in file.read_text()
    assert capfd.readouterr() == ("", "")


def test_the_file_does_not_grow_without_end(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(30):
        logging.getLogger("console").error("x" * 200_000)
    found = sorted(path.name for path in file.parent.iterdir())
    assert found == ["console.log", "console.log.1", "console.log.2"]
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in file.parent.iterdir())
    assert sum(path.stat().st_size for path in file.parent.iterdir()) < 4 * logs.LARGEST_BYTES


def test_a_file_that_cannot_be_written_costs_the_log_and_nothing_else(file: Path, capfd: pytest.CaptureFixture[str]) -> None:
    file.parent.write_text("a file where the folder should be")
    logging.getLogger("console").error("broken")
    assert capfd.readouterr() == ("", "")


async def test_a_broken_pane_and_help_say_where_the_log_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    link = FakeLink(frames_of(pictures.busy()))
    app = program(link, log_file=Path("state/console.log"))
    async with app.run_test(size=(160, 140)) as pilot:
        await settled(pilot, link)
        monkeypatch.setattr(app.trading.panes[1], "rows", lambda *_: 1 / 0)
        link.show(pictures.chart_live(pictures.bars(start=12_300)))
        chart = app.trading.panes[1]
        said = "division by zero (see state/console.log)"
        await until(pilot, lambda: said in " ".join(row[0][0] for row in chart._rows if row))
        await pilot.press("question_mark")
        await until(
            pilot,
            lambda: "What fails here is logged" in drawn(app) and "state/console.log" in drawn(app).partition("What fails")[2],
        )
    assert "ZeroDivisionError" in await asyncio.to_thread(file.read_text)
