"""The benches can be started, and the command that runs all of them keeps, names and tells what it should."""

import importlib
import os
import pkgutil
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests import bench
from tests.bench import report
from tests.bench.__main__ import BENCHES, Bench, run, with_peers
from tests.bench.figures import Figure
from tests.bench.report import Report

SCRIPTS = {"peer_nautilus"}  # runs in an environment of its own, where its imports are
MODULES = [one.name for one in pkgutil.iter_modules(bench.__path__) if not one.ispkg and one.name not in SCRIPTS]
TELLS = "from tests.bench.figures import Figure, tell; tell(Figure('speed', 12.5, 'events/s', beside=2.0, peer='theirs')); "


# What a shell starts in the background ignores the signal, and so does all that it starts.
HEARS = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "


def python(name: str, code: str, most_s: float = 60.0) -> Bench:
    return Bench(name, ("-c", code), quick_s=most_s)


def empty() -> Report:
    return Report("2026-11-30T04:00:00+00:00", True, report.this_machine(2, 0.5), report.versions())


def ran(*benches: Bench) -> Report:
    found = empty()
    run(benches, found, quick=True)
    return found


@pytest.mark.parametrize("name", MODULES)
def test_each_module_of_the_benches_imports(name: str) -> None:
    importlib.import_module(f"tests.bench.{name}")


def test_each_bench_that_is_a_command_is_run_by_the_one_for_all() -> None:
    """The entry of a module that has one, but for those that the benches themselves start."""
    entries = {name for name in MODULES if hasattr(importlib.import_module(f"tests.bench.{name}"), "main")}
    assert entries - {"__main__", "watched"} == {one.name for one in BENCHES}


@pytest.mark.slow
@pytest.mark.parametrize("one", BENCHES, ids=lambda one: one.name)
def test_help_of_each_bench_knows_the_arguments_of_a_quick_run(root: Path, one: Bench, tmp_path: Path) -> None:
    (tmp_path / "nautilus_trader" / "bin").mkdir(parents=True)
    (tmp_path / "nautilus_trader" / "bin" / "python").touch()
    one = with_peers(one, tmp_path)
    done = subprocess.run([sys.executable, *one.command, "--help"], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage: ")
    flags = [word for word in (*one.command, *one.quick, *one.full) if word.startswith("--")]
    assert [flag for flag in flags if f"{flag} " not in done.stdout] == []


def test_help_of_the_command_for_all(root: Path) -> None:
    command = [sys.executable, "-m", "tests.bench", "--help"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    assert all(one.name in done.stdout for one in BENCHES)


def test_figures_of_a_bench_bear_its_name() -> None:
    found = ran(python("mine", TELLS))
    assert found.figures == [Figure("speed", 12.5, "events/s", beside=2.0, peer="theirs", bench="mine")]
    assert found.failed == []


def test_a_fact_that_does_not_hold_is_named_and_the_next_bench_runs() -> None:
    found = ran(python("mine", TELLS + "assert False, 'two runs differ'"), python("next", TELLS))
    assert [(one.bench, one.fact) for one in found.failed] == [("mine", "two runs differ")]
    assert [one.bench for one in found.figures] == ["mine", "next"]


def test_a_fact_without_words_is_named_by_its_code(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text("gaps = 1\nassert gaps == 0\n")
    found = ran(Bench("mine", (str(script),)))
    assert [one.fact for one in found.failed] == ["assert gaps == 0"]


def test_what_cannot_be_measured_here_is_a_row_and_no_failure() -> None:
    found = ran(python("mine", "from tests.bench.figures import lacking; lacking('beside a peer', 'it is not installed')"))
    assert found.failed == []
    assert report.rows(found.figures) == [("mine: beside a peer", "not measured: it is not installed", "", "")]


def test_a_bench_that_tells_nothing_failed() -> None:
    assert [one.fact for one in ran(python("mine", "")).failed] == ["it told no figure"]


def test_a_bench_that_does_not_end_is_ended_and_its_figures_are_kept() -> None:
    found = ran(python("mine", HEARS + TELLS + "import time; time.sleep(600)", 5.0))
    assert [one.fact for one in found.failed] == ["it did not end within 5 s"]
    assert [one.name for one in found.figures] == ["speed"]


def test_ctrl_c_keeps_what_was_measured() -> None:
    interrupts = "import os, time; os.kill(os.getppid(), signal.SIGINT); time.sleep(600)"
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        found = ran(python("mine", HEARS + TELLS + interrupts), python("next", TELLS))
    finally:
        signal.signal(signal.SIGINT, before)
    assert found.cancelled
    assert [one.bench for one in found.figures] == ["mine"]
    assert found.failed == []


@pytest.mark.slow
def test_the_command_writes_a_new_file_and_refuses_an_old_one(root: Path, tmp_path: Path) -> None:
    """The model's bench ends at once where no server is."""
    file = tmp_path / "figures.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--only", "model", "--out", str(file)]
    environ = {**os.environ, "BARTER_OLLAMA_HOST": "http://127.0.0.1:9"}
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    found = report.load(file)
    assert [(one.bench, one.value) for one in found.figures] == [("model", None)]
    assert "nothing answers at http://127.0.0.1:9" in done.stdout
    again = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False, env=environ)
    assert again.returncode == 2
    assert report.load(file) == found


def test_the_readmes_table_was_written_from_the_figures_that_are_kept(root: Path) -> None:
    text = (root / "README.md").read_text(encoding="utf-8")
    kept = report.load(root / "tests" / "bench" / "figures.json")
    within = text.split(report.OPENING)[1].split(report.CLOSING)[0]
    assert within == report.readme(kept), "write it again: python -m tests.bench --readme tests/bench/figures.json"
    assert not kept.failed and not kept.cancelled


def test_the_readme_is_written_between_its_marks_alone(tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{report.OPENING}old\n{report.CLOSING}after\n", encoding="utf-8")
    held = empty()
    held.figures = [Figure("speed", 12.5, "events/s", 2.0, "theirs", 0.5, "bare | alone", bench="mine")]
    report.write_readme(page, held)
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"before\n{report.OPENING}Measured on 2026-11-30 by ")
    assert "| mine: speed | 12.5 events/s | 2 × theirs | 0.50 × bare / alone |\n" in text
    assert text.endswith(f"{report.CLOSING}after\n")


def test_a_figure_beside_several_peers_is_one_row() -> None:
    figures = [Figure("speed", 5.0, "ms", beside=ratio, peer=peer, bench="mine") for ratio, peer in ((0.5, "a"), (0.0123, "b"))]
    assert report.rows(figures) == [("mine: speed", "5 ms", "0.50 × a; 0.012 × b", "")]


def test_a_report_reads_back_as_it_was_written(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    held = ran(python("mine", TELLS))
    file.write_bytes(msgspec.json.format(msgspec.json.encode(held)))
    assert report.load(file) == held
