"""The fault matrix and the hours of market as they are run, on the smallest of what they can do; and what they judge by."""

import asyncio
import re
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from engine.venue.faults import NAMES
from tests.bench import faults, hours, inner_faults, market_faults, order_faults
from tests.bench.faults import Matrix, Row, summed
from tests.bench.hours import Found, Grown, Sample, Watch


def ran(root: Path, file: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"tests.bench.{words[0]}", *words[1:], "--out", str(file)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_the_matrix_tells_of_each_case_what_was_lost_and_when_all_was_well_again(root: Path, tmp_path: Path) -> None:
    done = ran(root, tmp_path / "out.json", "faults", "--venue", "okx", "--only", "cut while held")
    assert done.returncode == 0, done.stdout + done.stderr
    found = msgspec.json.decode((tmp_path / "out.json").read_bytes(), type=Matrix)
    (row,), (total,) = found.rows, found.sums
    assert (row.case, row.venue, row.problems, row.lost, row.doubled) == ("cut while held", "okx", [], 0, 0)
    assert row.orders > 4 and row.trusted_s > 0 and row.resumed_s > 0 and row.flat_s > 0
    assert (total.tried, total.survived, total.flat_s) == (1, 1, (row.flat_s, row.flat_s))
    assert "cut while held" in done.stdout and "resumed s" in done.stdout


def test_every_fault_that_the_venue_can_make_is_in_the_matrix() -> None:
    sources = "".join(Path(str(one.__file__)).read_text(encoding="utf-8") for one in (order_faults, inner_faults, market_faults))
    quoted = set(re.findall(r'"(\w+)"', sources))
    drawn_on_by_tests = {"fee_rate", "withdrawals"}  # of no running engine: a wrong account, a key that is refused at the start
    assert set(NAMES) - quoted == drawn_on_by_tests
    assert len({case.name for case in faults.CASES}) == len(faults.CASES)
    assert set(faults.QUICK) <= {case.name for case in faults.CASES}


def test_a_case_that_did_not_survive_is_counted_at_its_venue_alone() -> None:
    rows = [Row("a", "okx", lost=2, problems=["lost"], flat_s=1.0), Row("b", "okx", flat_s=3.0), Row("a", "binance")]
    okx, binance = summed(rows)
    assert (okx.tried, okx.survived, okx.lost, okx.flat_s) == (2, 1, 2, (2.0, 3.0))
    assert (binance.tried, binance.survived, binance.lost) == (1, 1, 0)


@pytest.mark.slow
def test_minutes_of_market_with_faults_leave_an_equal_ledger_and_replay(root: Path, tmp_path: Path) -> None:
    words = ("--hours", "0.01", "--speed", "8", "--every", "10", "--venue", "okx")
    done = ran(root, tmp_path / "out.json", "hours", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    found = msgspec.json.decode((tmp_path / "out.json").read_bytes(), type=Found)
    assert found.problems == [] and found.hours >= 0.01 and found.faults
    assert Decimal(found.wallet) == Decimal(found.venue_wallet) and "the same" in found.replayed and "head" in found.verified


def test_what_grows_over_hours_is_told_and_what_is_bounded_is_not() -> None:
    """Samples of ten hours, in which descriptors and one list grow."""
    watch = Watch.__new__(Watch)
    watch.samples = []
    for n in range(100):
        odd = {"descriptors": 20.0 + n, "tasks": 900.0 if n == 50 else 25.0}
        lists = {"orders": min(n * 10, 320), "leaked": n, "steady": 7}
        watch.samples.append(Sample(n / 10, dict.fromkeys(hours.MEASURES, 100.0) | odd, n * 1000, lists))
    found = Found("binance", 1, 1.0)
    watch.judge(found)
    assert [one.name for one in found.trends if not one.flat] == ["descriptors"]
    assert [one.place for one in found.grown if not one.bounded] == ["leaked"]
    assert len(found.problems) == 2 and abs(found.journal_mb_an_hour[0] - 0.01) < 1e-9


def test_a_list_without_a_limit_may_be_a_little_longer_now_and_then() -> None:
    assert Grown("a", 30, 33, None).bounded and not Grown("a", 30, 40, None).bounded
    assert Grown("a", 30, 320, 320).bounded and not Grown("a", 30, 321, 320).bounded


@pytest.mark.slow
def test_ctrl_c_ends_the_hours_in_good_order_with_what_was_measured(root: Path, tmp_path: Path) -> None:
    async def run() -> tuple[int | None, bytes]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.bench.hours", "--hours", "50", "--speed", "8", "--out", str(tmp_path / "out.json")),
            cwd=root,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert process.stderr is not None
        await process.stderr.readline()  # the first sample's
        process.send_signal(2)
        out, _ = await process.communicate()
        return process.returncode, out

    code, out = asyncio.run(run())
    found = msgspec.json.decode((tmp_path / "out.json").read_bytes(), type=Found)
    assert code == 0, out.decode()
    assert found.interrupted and found.hours < 50 and "the same" in found.replayed
