"""`barter-tui data`: what a person types, and what is said."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from console.actions import DATA
from console.cli import main
from console.exits import Exit
from engine.backtest.cache import Cache
from tests.simulated import simulated

ASTER = "ASTER/USDT:USDT"


class Typed:
    """What a command said and how it ended."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err


Type = Callable[..., Typed]


@pytest.fixture
def type_(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Type:
    def typed(*words: str) -> Typed:
        code = main(["data", *words, "--set", f"engine.state_dir={tmp_path / 'state'}"])
        said = capsys.readouterr()
        return Typed(code, said.out, said.err)

    return typed


@pytest.fixture
def bars(tmp_path: Path) -> Path:
    lines = [f"{1_704_067_200 + 60 * place},1.2,1.3,1.1,1.25,{place}" for place in range(100) if place != 50]
    path = tmp_path / "bars.csv"
    path.write_text("time,open,high,low,close,volume\n" + "\n".join(lines))
    return path


@pytest.fixture(scope="module")
def venue_rest() -> Iterator[str]:
    """The simulated venue in a thread of its own, since the command has a loop of its own."""
    import asyncio

    ready, ended, found = threading.Event(), threading.Event(), list[str]()

    async def serve() -> None:
        async with simulated() as venue:
            found.append(venue.rest)
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert ready.wait(60)
        yield found[0]
    finally:
        ended.set()
        thread.join(60)


def test_an_import_is_kept_listed_and_checked(type_: Type, bars: Path, tmp_path: Path) -> None:
    assert "No bars are kept" in type_("list").out
    done = type_("import", str(bars), "--symbol", ASTER, "--venue", "binance")
    assert done.code == Exit.OK and "99 of its bars are new; kept as binance ASTER/USDT:USDT 1m." in done.out
    assert "1 of 100 bars of 1m are missing in 1 gaps" in done.out
    row = next(line for line in type_().out.splitlines() if ASTER in line)
    assert row.split()[:5] == ["binance", ASTER, "1m", "99", "0"]
    checked = type_("check", ASTER)
    assert checked.code == Exit.OK and "100 bars of 1m, from 2024-01-01 to 2024-01-01 01:40 (UTC)." in checked.out
    assert "1 of 100 bars of 1m are missing" in checked.out
    assert "100 bars of 5m" not in checked.out and "20 bars of 5m" in type_("check", ASTER, "--timeframe", "5m").out
    again = type_("import", str(bars), "--symbol", ASTER, "--venue", "binance")
    assert "0 of its bars are new" in again.out
    assert len(Cache.in_state(tmp_path / "state" / "demo").load(ASTER)) == 100


def test_a_dump_of_funding_is_imported_beside_the_bars(type_: Type, bars: Path, tmp_path: Path) -> None:
    dump = tmp_path / "ASTERUSDT-fundingRate-2024-01.csv"
    dump.write_text("calc_time,funding_interval_hours,last_funding_rate\n1704067200004,8,0.0001\n1704096000000,8,-0.00025\n")
    done = type_("import", str(bars), str(dump), "--symbol", ASTER)
    assert "2 settlements of funding, 2 of them new; kept as import ASTER/USDT:USDT." in done.out
    assert "Funding at 1 times." in type_("check", ASTER).out


def test_a_file_is_checked_without_being_kept(type_: Type, bars: Path, tmp_path: Path) -> None:
    checked = type_("check", str(bars))
    assert checked.code == Exit.OK and "100 bars of 1m" in checked.out
    bars.write_text(bars.read_text().replace("1.3", "nan", 1))
    bad = type_("check", str(bars))
    assert bad.code == Exit.USAGE and "bars.csv, line 2, column high: it is missing or not a number" in bad.err
    assert not (tmp_path / "state" / "demo" / "data").exists()


def test_of_several_files_those_before_a_bad_one_stay(type_: Type, bars: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("a,b\n1,2\n")
    done = type_("import", str(bars), str(bad), "--symbol", ASTER)
    assert done.code == Exit.USAGE and "kept as import" in done.out and "bad.csv" in done.err
    assert type_("check", ASTER).code == Exit.OK


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("burn",), "data cannot do that"),
        (("import",), "the number of names is wrong"),
        (("import", "bars.csv"), "a download and an import need it"),
        (("download",), "a download and an import need it"),
        (("list", "--symbol", ASTER), "nothing else uses it"),
        (("list", "--set", "bars=3"), "bars is no setting"),
        (("download", "more", "--symbol", ASTER), "the number of names is wrong"),
        (("download", "--symbol", ASTER, "--venue", "kraken"), "'kraken' is no venue that bars are fetched from"),
        (("list", "--from", "2024-01-01"), "only a download uses it"),
    ],
)
def test_what_is_typed_wrongly_is_told(type_: Type, words: tuple[str, ...], told: str) -> None:
    done = type_(*words)
    assert done.code == Exit.USAGE and told in done.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("--from", "soon"), "command line, --from: 'soon' is no date"),
        (("--to", "2024-13-01"), "command line, --to: '2024-13-01' is no date"),
        (("--from", "2025-02-01", "--to", "2025-01-01"), "2025-02-01 is not before 2025-01-02"),
        (("--timeframe", "1x"), "command line, --timeframe: '1x' is no length of a bar"),
    ],
)
def test_dates_and_lengths_are_checked_before_anything_is_asked(type_: Type, words: tuple[str, ...], told: str) -> None:
    done = type_("download", "--symbol", ASTER, *words)
    assert done.code == Exit.USAGE and told in done.err


def test_every_action_is_in_the_readme(root: Path) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert [action for action in DATA if f"barter-tui data {action}" not in readme] == []


@pytest.mark.parametrize("venue", ["binance", "okx"])
def test_a_download_from_the_venue_of_the_settings(type_: Type, venue_rest: str, venue: str) -> None:
    since = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 3 * 3600))
    words = ("download", "--symbol", ASTER, "--venue", venue, "--from", since, "--set", f"venue.{venue}_rest={venue_rest}")
    done = type_(*words)
    assert done.code == Exit.OK, done.err
    assert f"{venue} {ASTER} 1m" in done.out and "bars of 1m, from" in done.out and " mark prices" in done.out
    assert int(done.out.split()[0]) in (179, 180, 181)
    assert type_("check", ASTER).code == Exit.OK


def test_a_backtest_takes_what_was_kept_and_names_the_first_date_of_what_was_not(
    type_: Type, venue_rest: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The seed's own example asks for 2024; the contract was listed in September 2025."""
    state = ("--set", f"engine.state_dir={tmp_path / 'state'}")
    assert main(["backtest", "--symbol", ASTER, *state]) == Exit.USAGE
    assert "no bars of binance are kept" in capsys.readouterr().err
    since = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 6 * 3600))
    done = type_("download", "--symbol", ASTER, "--from", since, "--set", f"venue.binance_rest={venue_rest}")
    assert done.code == Exit.OK, done.err
    assert main(["backtest", "--symbol", ASTER, "--strategy", "breakout", *state]) == Exit.OK
    assert " of 1m, " in capsys.readouterr().out
    assert main(["backtest", "--symbol", ASTER, "--from", "2024-01-01", "--to", "2024-12-31", *state]) == Exit.USAGE
    said = capsys.readouterr().err
    assert "there are no bars from 2024-01-01 on" in said and "it was listed on 2025-09-19" in said


@pytest.mark.slow
def test_ctrl_c_says_what_was_kept_and_the_next_one_goes_on(tmp_path: Path, venue_rest: str) -> None:
    state = tmp_path / "state"
    code = (
        "import os, signal, sys\n"
        "from engine.backtest import download\n"
        "download.OKX_PAGE = 20\n"
        "plain = download._bars\n"
        "async def stopped(source, writer, wanted, timeframe_ms, mark, told, found):\n"
        "    def counting(what, done, total):\n"
        "        told(what, done, total)\n"
        "        if done == 60:\n"
        "            os.kill(os.getpid(), signal.SIGINT)\n"
        "    await plain(source, writer, wanted, timeframe_ms, mark, counting, found)\n"
        "download._bars = stopped\n"
        "from console.cli import main\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    since = time.strftime("%Y-%m-%dT%H:%M", time.gmtime(time.time() - 3 * 3600))
    settings = ("--set", f"engine.state_dir={state}", "--set", f"venue.okx_rest={venue_rest}")
    words = ("data", "download", "--symbol", ASTER, "--venue", "okx", "--from", since, *settings)
    done = subprocess.run((sys.executable, "-c", code, *words), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == Exit.INTERRUPTED, done.stderr
    assert "interrupted; 60 bars, 0 mark prices and 0 settlements of funding were kept" in done.stderr
    assert "Traceback" not in done.stderr
    assert len(Cache.in_state(state / "demo").load(ASTER)) == 60
    assert main(list(words)) == Exit.OK
    assert len(Cache.in_state(state / "demo").load(ASTER)) >= 179
