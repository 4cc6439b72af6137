"""The `sessions` command and `--replay`: what they print, and the exit code of each outcome."""

from pathlib import Path

import msgspec
import pytest

from console.cli import main
from console.exits import Exit
from engine.config import create_aster_config, state_dir
from engine.core import Core
from engine.events import Alert, Level, Mode, Started, Tick
from engine.queue import Closing, Opening
from engine.queue.files import new_path
from engine.queue.local import LocalQueue
from engine.queue.session import Session

START_NS = 1_795_000_000_000_000_000


def record(folder: Path, name: str, *, lie: bool = False, cut_off: bool = False, second: int = 0) -> Path:
    """A session that a core made, of half a minute without a market; `lie` puts an output on record that never was."""
    settings = create_aster_config(engine={"state_dir": str(folder)})
    at = START_NS + second * 10**9
    chosen = settings.engine
    opening = Opening(name, "", Mode.DEMO, chosen.symbols, chosen.venues, "0.1.0", "c0de", "3.11.7", at, 1.0)
    path = new_path(state_dir(settings), opening)
    core, queue = Core(settings), LocalQueue(path, opening)
    body = msgspec.json.encode(settings).decode()
    for number in range(300):
        event = Tick(at + number * 10**8) if number else Started(at, name, "", Mode.DEMO, body, "0.1.0")
        out = core.process(event)
        queue.append(event, [*out, Alert(event.at, Level.INFO, "never said")] if lie and number == 200 else out)
    queue.close(None if cut_off else Closing(at + 30 * 10**9, 300, queue.outputs, 2, 1, "-1.25", "9998.75"))
    return path


def run(folder: Path, *words: str) -> int:
    return main([*words, "--set", f"engine.state_dir={folder}", "--config", str(folder / "none.toml")])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "none.toml").touch()
    return tmp_path


def test_without_a_session_the_list_says_where_one_would_be(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "sessions") == Exit.OK
    assert "No session is recorded" in capsys.readouterr().out


def test_the_list_has_each_session_with_its_end_and_its_profit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, "aaaaaa")
    record(folder, "bbbbbb", cut_off=True, second=60)
    record(folder, "cccccc", second=120).write_bytes(b"no session at all, but long enough to be looked at" * 99)
    assert run(folder, "sessions", "list") == Exit.OK
    head, *rows, total = capsys.readouterr().out.splitlines()
    assert head.split()[:3] == ["session", "mode", "symbols"]
    assert [row.split()[0] for row in rows] == ["aaaaaa", "bbbbbb", "cccccc"]
    assert "-1.25" in rows[0] and "0:00:30" in rows[0] and "in good order" in rows[0]
    assert total.startswith("3 in ") and " MB" in total
    assert "cut off" in rows[1] and "damaged" in rows[2]


def test_show_tells_what_is_known(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = record(folder, "aaaaaa")
    assert run(folder, "sessions", "show", "aaa") == Exit.OK
    shown = capsys.readouterr().out
    for fact in (str(path), "c0de", "demo", "symbols   ASTER/USDT:USDT\n", "9998.75", "300"):
        assert fact in shown, fact


def test_verify_prints_a_head_that_it_takes_again(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, "aaaaaa")
    assert run(folder, "sessions", "verify", "latest") == Exit.OK
    printed = capsys.readouterr().out
    assert printed.startswith("verified: ") and "300 inputs" in printed
    assert run(folder, "sessions", "verify", "latest", "--head", printed.split()[-1].upper()) == Exit.OK
    assert run(folder, "sessions", "verify", "latest", "--head", "0" * 64) == Exit.DAMAGED
    assert "not the session of that head" in capsys.readouterr().err


def test_damage_ends_verify_and_replay_with_a_sentence(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = record(folder, "aaaaaa")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for words in (("sessions", "verify", "latest"), ("--replay", "latest", "--no-ui")):
        assert run(folder, *words) == Exit.DAMAGED
        told = capsys.readouterr()
        assert told.err.startswith(f"barter-tui: {path}: it is damaged") and told.out == ""


def test_a_replay_says_that_it_is_identical(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with Session(record(folder, "aaaaaa")) as session:
        outputs = session.verify().outputs
    assert run(folder, "--replay", "aaaaaa", "--no-ui") == Exit.OK
    assert capsys.readouterr().out == f"replay identical: 300 inputs, {outputs} outputs\n"
    assert run(folder, "--replay", "aaaaaa", "--no-ui", "--json") == Exit.OK
    told = msgspec.json.decode(capsys.readouterr().out)
    assert (told["type"], told["inputs"], told["difference"]) == ("replay", 300, None)


def test_a_difference_shows_both_sides_and_the_other_code(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, "aaaaaa", lie=True)
    assert run(folder, "--replay", "latest", "--no-ui") == Exit.DIFFERENT
    told = capsys.readouterr()
    assert told.out.startswith("replay differs at input 200 (2026-11-18 ")
    assert "never said" in told.out and "replayed: nothing" in told.out
    assert "other code" in told.err
    assert run(folder, "--replay", "latest", "--no-ui", "--json") == Exit.DIFFERENT
    assert msgspec.json.decode(capsys.readouterr().out)["difference"]["input_number"] == 200


def test_a_session_that_was_cut_off_replays_and_says_so(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, "aaaaaa", cut_off=True)
    assert run(folder, "--replay", "latest", "--no-ui") == Exit.OK
    told = capsys.readouterr()
    assert "replay identical" in told.out and "cut off" in told.err


def test_another_symbols_session_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, "aaaaaa")
    assert run(folder, "--replay", "latest", "--no-ui", "--symbol", "SOL/USDT:USDT") == Exit.DAMAGED
    assert "does not hold SOL/USDT:USDT, but ASTER/USDT:USDT" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("sessions", "burn"), "sessions cannot do that"),
        (("sessions", "show"), "number of names"),
        (("sessions", "list", "x"), "number of names"),
        (("sessions", "show", "x", "--head", "y"), "only a verification"),
        (("--head", "y"), "only a verification"),
        (("release", "x"), "takes nothing more"),
        (("--replay", "latest"), "needs a terminal"),
        (("attach", "--replay", "latest", "--no-ui"), "no command"),
        (("--replay", "latest", "--no-ui", "--for", "5s"), "session's end"),
    ],
)
def test_what_makes_no_sense_is_a_usage_error(
    folder: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], told: str
) -> None:
    assert run(folder, *words) == Exit.USAGE
    assert told in capsys.readouterr().err


def test_a_session_that_does_not_exist_names_those_that_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    record(folder, "aaaaaa")
    assert run(folder, "--replay", "zzz", "--no-ui") == Exit.DAMAGED
    assert "the newest are aaaaaa" in capsys.readouterr().err
