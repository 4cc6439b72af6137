"""Commands from another machine: only what is sealed with the secret, fresh, for this session and new is carried out."""

from pathlib import Path

import msgspec
import pytest

from engine.config import load
from engine.errors import ConfigError
from engine.events import Action
from engine.queue.sealed import FURTHEST_S, LIFETIME_S, NS, Gate, Refused, Sealed, seal
from engine.secret import FILE, VARIABLE, control_secret
from engine.views import Ask

SECRET = b"correct horse battery staple"
NOW = 1_790_000_000 * NS
HALT = Ask("one", Action.HALT)


def gate(session: str = "s1", secret: bytes | None = SECRET) -> Gate:
    return Gate(session, secret)


def refusal(value: bytes, opened: Gate, now_ns: int = NOW) -> str:
    with pytest.raises(Refused) as refused:
        opened.open(value, now_ns)
    return refused.value.reason


def test_a_sealed_command_is_carried_out_once() -> None:
    value, opened = seal(HALT, "s1", SECRET, NOW), gate()
    assert opened.open(value, NOW + NS) == HALT
    assert "carried out before" in refusal(value, opened, NOW + 2 * NS)
    assert opened.open(seal(Ask("two", Action.ARM), "s1", SECRET, NOW), NOW).action is Action.ARM


def test_a_late_command_is_refused_and_the_refusal_names_the_clock() -> None:
    value = seal(HALT, "s1", SECRET, NOW)
    assert "expired 2.0 s ago by the engine's clock" in refusal(value, gate(), NOW + int((LIFETIME_S + 2) * NS))


def test_a_command_from_a_clock_that_is_ahead_cannot_be_kept_for_later() -> None:
    value = seal(HALT, "s1", SECRET, NOW + int((FURTHEST_S + 60) * NS))
    assert "the clocks differ" in refusal(value, gate())


def test_a_command_for_another_session_or_with_another_secret_is_refused() -> None:
    assert "it is for session s0, and this is s1" in refusal(seal(HALT, "s0", SECRET, NOW), gate())
    assert "not made with this engine's secret" in refusal(seal(HALT, "s1", SECRET + b"!", NOW), gate())


def test_an_engine_without_a_secret_takes_none() -> None:
    assert "no secret" in refusal(seal(HALT, "s1", SECRET, NOW), gate(secret=None))
    assert "too short" in refusal(seal(HALT, "s1", SECRET, NOW), Gate("s1", None, "x: the secret is too short."))


@pytest.mark.parametrize("field", ["session", "id", "expires_ns", "body"])
def test_nothing_of_a_sealed_command_can_be_changed(field: str) -> None:
    found = msgspec.msgpack.decode(seal(HALT, "s0", SECRET, NOW), type=Sealed)
    other = {"session": "s1", "id": "two", "expires_ns": NOW + 6 * NS, "body": found.body.replace(b"halt", b"veto")}[field]
    value = msgspec.msgpack.encode(msgspec.structs.replace(found, **{field: other}))
    assert "not made with this engine's secret" in refusal(value, gate("s0"))


@pytest.mark.parametrize("value", [b"", b"\xc1", b"\x95\x01\x02\x03\x04\x05", msgspec.msgpack.encode(["s1", "one", 1])])
def test_what_is_no_command_is_refused(value: bytes) -> None:
    assert refusal(value, gate()) == "it cannot be read"


def test_the_secret_is_not_in_what_is_sent() -> None:
    assert SECRET not in seal(HALT, "s1", SECRET, NOW)


# --- where it lies ---------------------------------------------------------------------------------------------------------


def test_the_secret_comes_from_the_environment_or_from_a_file_of_its_owners(tmp_path: Path) -> None:
    assert control_secret({}, tmp_path) is None
    (tmp_path / FILE).write_bytes(SECRET + b"\n")
    (tmp_path / FILE).chmod(0o600)
    assert control_secret({}, tmp_path) == SECRET
    assert control_secret({VARIABLE: "another one that is long"}, tmp_path) == b"another one that is long"


def test_a_secret_that_others_may_read_or_guess_is_refused_and_not_repeated(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(SECRET)
    (tmp_path / FILE).chmod(0o640)
    with pytest.raises(ConfigError, match=r"others may read this secret.*0600") as refused:
        control_secret({}, tmp_path)
    assert SECRET.decode() not in str(refused.value)
    with pytest.raises(ConfigError, match="too short") as short:
        control_secret({VARIABLE: "hunter2"}, tmp_path)
    assert "hunter2" not in str(short.value)


def test_the_variable_is_no_setting(tmp_path: Path) -> None:
    (tmp_path / "none.toml").touch()
    assert SECRET.decode() not in str(load(file=tmp_path / "none.toml", environ={VARIABLE: SECRET.decode()}, flags={}))
