"""What is handed to whoever looks into an incident: everything that helps, and nothing that opens an account."""

import contextlib
import html
import json
import shutil
import sqlite3
import zipfile
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote
from xml.etree import ElementTree

import pytest

from console.bundle import bundle, redactor
from console.cli import main
from console.exits import Exit
from engine.errors import ConfigError, SessionError
from engine.events import Filled, SendOrder, decode_output
from engine.queue.retention import condense
from engine.queue.session import Session
from engine.replay.player import Player

KEY, SECRET = "canary-key-77aa", "canary-secret-91bb"


@pytest.fixture
def made(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> zipfile.ZipFile:
    monkeypatch.setenv("BARTER_API_KEY", KEY)
    monkeypatch.setenv("BARTER_API_SECRET", SECRET)
    state = tmp_path / "state"
    state.mkdir()
    (state / "engine.log").write_text(f"signed with {SECRET}, key={KEY}, in {Path.home()}/x", encoding="utf-8")
    (state / "console.log.1").write_bytes(b"\xff\xfe older")
    with Session(small) as session:
        bundle(session, state, tmp_path / "all.zip", last_s=1.0)
    return zipfile.ZipFile(tmp_path / "all.zip")


def test_no_credential_is_in_any_of_it(made: zipfile.ZipFile) -> None:
    for name in made.namelist():
        body = made.read(name)
        assert KEY.encode() not in body and SECRET.encode() not in body, name
    assert made.read("logs/engine.log").decode() == "signed with [redacted], key=[redacted], in ~/x"


def test_money_and_decisions_are_whole_and_of_the_market_the_newest(made: zipfile.ZipFile, small: Path) -> None:
    lines = [json.loads(line) for line in made.read("journal.jsonl").splitlines()]
    with Session(small) as session:
        steps = [step for chunk in session.chunks() for step in chunk.steps()]
        assert session.closing is not None
        ends = session.closing.ended_ns
    for kind in (Filled, SendOrder):
        known = sum(isinstance(decode_output(raw), kind) for _, raws in steps for raw in raws)
        assert sum(line["type"] == kind.__name__ for line in lines) == known > 0
    quotes = [line["event"]["at"] for line in lines if line["type"] == "Quote"]
    every = sum(type(event).__name__ == "Quote" for event, _ in steps)
    assert 0 < len(quotes) < every and min(quotes) >= ends - 10**9


def test_it_says_what_ran_whether_it_is_whole_and_what_it_looked_like(made: zipfile.ZipFile) -> None:
    assert {"README.txt", "session.json", "settings.json", "verify.txt", "versions.json", "screen.svg"} <= set(made.namelist())
    assert made.read("verify.txt").startswith(b"verified: ")
    assert json.loads(made.read("settings.json"))["engine"]["mode"] == "demo"
    versions = json.loads(made.read("versions.json"))
    assert versions["packages"]["ccxt"] and versions["python"]
    root = ElementTree.fromstring(made.read("screen.svg"))
    assert b"url(" not in made.read("screen.svg").replace(b"url(#", b""), "it asks nobody for fonts"
    words = "".join(root.itertext()).replace("\xa0", " ")
    assert "REPLAY" in words and "ladder" in words and "paused" in words


def test_the_screen_shows_a_book_that_was_trusted_then(small: Path, tmp_path: Path) -> None:
    """Just before the end the session's last fault may not be over, so of the moment of its first fill."""
    with Session(small) as session:
        steps = (step for chunk in session.chunks() for step in chunk.steps())
        filled = next(one for _, raws in steps for one in map(decode_output, raws) if isinstance(one, Filled))
        after_s = (filled.at - session.opening.started_ns) / 10**9
        bundle(session, tmp_path, tmp_path / "then.zip", at=f"+{after_s:.3f}")
    with zipfile.ZipFile(tmp_path / "then.zip") as made:
        words = "".join(ElementTree.fromstring(made.read("screen.svg")).itertext()).replace("\xa0", " ")
    assert "trusted" in words and "REPLAY" in words


def test_a_session_without_market_data_is_bundled_with_what_there_is(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / small.name
    shutil.copy(small, copy)
    condense(copy, 1_900_000_000 * 10**9)
    with Session(copy) as session:
        assert bundle(session, tmp_path, tmp_path / "b.zip").lines > 0
    with zipfile.ZipFile(tmp_path / "b.zip") as made:
        assert b"removed" in made.read("screen.svg") and b"removed" in made.read("verify.txt")


def test_a_damaged_session_is_bundled_up_to_the_damage(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / small.name
    shutil.copy(small, copy)
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as store:
        ((middle, first, at),) = store.execute(
            "SELECT number, first, at FROM chunks WHERE number = (SELECT max(number) / 2 FROM chunks)"
        )
        store.execute("UPDATE chunks SET body = zeroblob(length(body)) WHERE number = ?", (middle,))
    with Session(copy) as session:
        assert "is damaged" in bundle(session, tmp_path, tmp_path / "b.zip", last_s=0.5).problem
    with zipfile.ZipFile(tmp_path / "b.zip") as made:
        lines = [json.loads(line) for line in made.read("journal.jsonl").splitlines()]
        assert f"chunk {middle} (from input {first:,}) is damaged" in made.read("verify.txt").decode()
        assert made.read("screen.svg").startswith(b"<svg") and json.loads(made.read("settings.json"))["engine"]["mode"] == "demo"
    assert max(line["number"] for line in lines) == first - 1
    market = [line["event"]["at"] for line in lines if line["type"] in ("Quote", "BookDelta", "Trade")]
    assert market and min(market) >= at - 10**9, "of the market there is the newest before the damage"


def test_a_session_that_was_cut_off_is_bundled_whole_or_condensed(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / small.name
    shutil.copy(small, copy)
    with contextlib.closing(sqlite3.connect(copy, isolation_level=None)) as store:
        store.execute("DELETE FROM ends WHERE name = 'closing'")
    with Session(copy) as session:
        whole = bundle(session, tmp_path, tmp_path / "whole.zip").lines
    condense(copy, 1_900_000_000 * 10**9)
    with Session(copy) as session:
        assert 0 < bundle(session, tmp_path, tmp_path / "condensed.zip").lines < whole
    with zipfile.ZipFile(tmp_path / "whole.zip") as made:
        assert b"It was cut off" in made.read("verify.txt")


def test_nothing_is_written_over_and_nothing_half_is_left(small: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.zip").write_text("keep me")
    with Session(small) as session:
        with pytest.raises(SessionError, match="there already"):
            bundle(session, tmp_path, tmp_path / "mine.zip")
        with pytest.raises(SessionError, match="cannot be written"):
            bundle(session, tmp_path, tmp_path / "no" / "where.zip")

        def stop(_: int) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            bundle(session, tmp_path, tmp_path / "new.zip", progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.zip"] and (tmp_path / "mine.zip").read_text() == "keep me"


def test_what_is_short_or_harmless_is_left_alone() -> None:
    redacted = redactor({"MY_TOKEN": "abc", "SHELL": "/bin/zsh", "PASSWORD": "long-enough-1"}, Path("/"))
    assert redacted("abc /bin/zsh long-enough-1 /x") == "abc /bin/zsh [redacted] /x"


def test_a_credential_is_found_however_it_is_written() -> None:
    phrase, secret = "open sesame now", 'a"b&c\\d<e+f/ghij'
    redacted = redactor({"BARTER_ARM_PHRASE": phrase, "BARTER_API_SECRET": secret}, Path("/place/me"))
    written = (
        phrase,
        html.escape(phrase).replace(" ", "&#160;"),
        json.dumps(secret)[1:-1],
        html.escape(secret),
        quote(secret, safe=""),
    )
    assert [redacted(text) for text in written] == ["[redacted]"] * len(written)
    assert redacted("at http://me:pw12345678@host/x") == "at http://[redacted]@host/x"
    assert redacted("/place/me/x, /place/me, /place/melanie") == "~/x, ~, /place/melanie"


def logged(small: Path, folder: Path, text: str) -> str:
    """What a bundle makes of a log."""
    (folder / "engine.log").write_text(text, encoding="utf-8")
    with Session(small) as session:
        bundle(session, folder, folder / "b.zip", last_s=1.0)
    with zipfile.ZipFile(folder / "b.zip") as made:
        return made.read("logs/engine.log").decode()


def test_a_log_holds_no_credential_that_this_environment_does_not_know(small: Path, tmp_path: Path) -> None:
    told = {
        "GET /x?signature=8f3e77&y=1 X-MBX-APIKEY: 'k9k9k9'": "GET /x?signature=[redacted]&y=1 X-MBX-APIKEY: '[redacted]'",
        "Authorization: Token t0 t1, key={}, 43 tokens": "Authorization: [redacted], key={}, 43 tokens",
        "BARTER_API_SECRET=s1 api_secret: s2 apiSecret=s3 secretKey => s4": (
            "BARTER_API_SECRET=[redacted] api_secret: [redacted] apiSecret=[redacted] secretKey => [redacted]"
        ),
        """{'password': 'two "words', "token":"a\\"b", x: 1}""": """{'password': '[redacted]', "token":"[redacted]", x: 1}""",
        r"said {\"secret\": \"s5\", \"sign\":\"s6\"}": r"said {\"secret\": \"[redacted]\", \"sign\":\"[redacted]\"}",
        "Cookie: a=c1; b=c2": "Cookie: [redacted]",
        "at http://me:p@ss12345@host/x and ws://host/s?streams=aster@depth": (
            "at http://[redacted]@host/x and ws://host/s?streams=aster@depth"
        ),
    }
    assert logged(small, tmp_path, "\n".join(told)).splitlines() == list(told.values())


def test_the_secret_of_remote_commands_is_in_no_log(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "canary-of-a-file-5d1c"
    (tmp_path / "control.secret").write_text(f"{secret}\n", encoding="utf-8")
    monkeypatch.setattr("engine.secret.config_folder", lambda: tmp_path)
    assert logged(small, tmp_path, f"sealed with {secret}") == "sealed with [redacted]"


def test_a_line_break_behind_a_credential_of_the_environment_does_not_hide_it(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARTER_API_KEY", f" {KEY}\n")
    assert logged(small, tmp_path, f"uses {KEY} now") == "uses [redacted] now"


def test_a_long_log_is_cut_at_a_line_and_not_within_a_credential(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BARTER_API_KEY", KEY)
    monkeypatch.setattr("console.bundle.LOG_BYTES", len(KEY) - 3 + len("\nnewer\n"))
    (tmp_path / "engine.log").write_text(f"older\nuses {KEY}\nnewer\n", encoding="utf-8")
    with Session(small) as session:
        bundle(session, tmp_path, tmp_path / "b.zip", last_s=1.0)
    with zipfile.ZipFile(tmp_path / "b.zip") as made:
        assert made.read("logs/engine.log") == b"newer\n"


def test_the_command_bundles_and_its_flags_belong_to_it(small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sessions", "bundle", str(small), "--set", f"engine.state_dir={tmp_path}"]
    assert main([*words, "--to", str(tmp_path / "b.zip"), "--last", "2s", "--at=-0:01"]) == Exit.OK
    assert "It holds no key" in capsys.readouterr().out and zipfile.is_zipfile(tmp_path / "b.zip")
    assert main(words) == Exit.USAGE
    assert main(["sessions", "show", str(small), "--last", "2s"]) == Exit.USAGE


def picture(path: Path) -> str:
    """The words of a bundle's screen."""
    with zipfile.ZipFile(path) as made:
        return "".join(ElementTree.fromstring(made.read("screen.svg")).itertext()).replace("\xa0", " ")


def test_the_screen_is_drawn_at_a_moment_of_the_session(small: Path, tmp_path: Path) -> None:
    with Session(small) as session:
        player = Player(session)
        middle = (player.started_ns + player.ends_ns) // 2
        for name, at in (("time", f"{datetime.fromtimestamp(middle // 10**9, UTC):%H:%M:%S}"), ("start", "+0"), ("end", "-0")):
            bundle(session, tmp_path, tmp_path / f"{name}.zip", last_s=1.0, at=at)
        places = {"time": player.place_of(middle // 10**9 * 10**9), "start": 0, "end": player.place_of(player.ends_ns)}
    for name, place in places.items():
        assert f"input {place:,} of" in picture(tmp_path / f"{name}.zip")
    with zipfile.ZipFile(tmp_path / "time.zip") as made:
        shown = f"the screen at {datetime.fromtimestamp(middle // 10**9, UTC):%Y-%m-%d %H:%M:%S} UTC"
        assert shown in made.read("README.txt").decode()


@pytest.mark.parametrize(
    ("at", "words"), [("noon", "it is not a time"), ("+999:00:00", "does not hold that time"), ("-999:00:00", "a time from 20")]
)
def test_a_moment_that_the_session_does_not_have_is_told_and_nothing_is_written(
    small: Path, tmp_path: Path, at: str, words: str
) -> None:
    with Session(small) as session, pytest.raises(ConfigError, match=words):
        bundle(session, tmp_path, tmp_path / "b.zip", at=at)
    assert not list(tmp_path.iterdir())


def test_a_session_without_market_data_has_no_screen_at_any_time(small: Path, tmp_path: Path) -> None:
    copy = tmp_path / small.name
    shutil.copy(small, copy)
    condense(copy, 1_900_000_000 * 10**9)
    with Session(copy) as session, pytest.raises(SessionError, match="there is no screen"):
        bundle(session, tmp_path, tmp_path / "b.zip", at="50%")


@pytest.mark.parametrize("words", [("--at", "50%"), ("--last", "5m"), ("--as", "csv"), ("--to", "x")])
def test_a_flag_that_would_be_ignored_is_refused(tmp_path: Path, words: tuple[str, str]) -> None:
    folder = f"engine.state_dir={tmp_path}"
    for command in ((), ("doctor",), ("sessions", "prune", "--yes"), ("sessions", "import", "none.gz"), ("sessions", "list")):
        assert main([*command, *words, "--set", folder]) == Exit.USAGE


def test_keys_that_lie_in_the_state_folder_are_taken_out_of_its_logs(small: Path, tmp_path: Path) -> None:
    folder = tmp_path / "state"
    folder.mkdir()
    (folder / "keys.toml").write_text("[binance]\nkey = \"canary-key-of-a-file\"\nsecret = 'canary-secret-of-a-file'\n")
    (folder / "engine.log").write_text("told: canary-key-of-a-file and canary-secret-of-a-file, and no more\n")
    with Session(small) as session:
        bundle(session, folder, tmp_path / "b.zip", last_s=1.0)
    with zipfile.ZipFile(tmp_path / "b.zip") as made:
        text = made.read("logs/engine.log").decode()
    assert "canary" not in text and "and no more" in text
