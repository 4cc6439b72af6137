"""Settings: the order of their sources, and what a person reads when one of them is wrong."""

import os
import stat
import subprocess
import sys
import tomllib
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from console import keys
from engine import config
from engine.config import (
    Origin,
    Settings,
    create_aster_config,
    load,
    parsed,
    read,
    save,
    sections,
    settings_path,
    state_dir,
    typed,
)
from engine.errors import ConfigError
from engine.events import Mode


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's configuration folder, empty, instead of the real one."""
    place = tmp_path / "configuration"
    monkeypatch.setattr("engine.config.layers.config_folder", lambda: place)
    return place


def written(path: Path, text: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def from_file(path: Path, text: str | bytes) -> Settings:
    return load(file=written(path, text), environ={}, flags={})


def refused_file(path: Path, text: str | bytes) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        from_file(path, text)
    return caught.value


def refused(environ: dict[str, str] | None = None, flags: dict[str, str] | None = None) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(file=None, environ=environ or {}, flags=flags or {})
    return caught.value


# --- the order ---------------------------------------------------------------------------------------------------------


def test_without_any_source_the_defaults_hold() -> None:
    assert load(file=None, environ={}, flags={}) == Settings()


def test_each_source_overrides_the_one_before(folder: Path) -> None:
    written(folder / "config.toml", "[book]\nlevels = 100\nstale_after_ms = 1001\nresubscribe_after = 4\nsnapshot_floor_ms = 1")
    written(folder / "settings.toml", "[book]\nlevels = 200\nstale_after_ms = 1002\nresubscribe_after = 5")
    environ = {"BARTER_BOOK_LEVELS": "300", "BARTER_BOOK_STALE_AFTER_MS": "1003"}
    book = load(file=None, environ=environ, flags={"book.levels": "400"}).book
    assert (book.snapshot_floor_ms, book.resubscribe_after, book.stale_after_ms, book.levels) == (1, 5, 1003, 400)


def test_an_explicit_file_replaces_the_users_own_with_its_settings_toml(folder: Path, tmp_path: Path) -> None:
    written(folder / "config.toml", "[venue]\nseed = 1")
    written(folder / "settings.toml", "[venue]\nseed = 2")
    chosen = written(tmp_path / "desk" / "mine.toml", "[book]\nlevels = 60")
    assert load(file=chosen, environ={}, flags={}) == Settings(book=config.BookSettings(levels=60))
    assert settings_path(chosen) == tmp_path / "desk" / "settings.toml"
    written(settings_path(chosen), "[book]\nlevels = 70")
    assert load(file=chosen, environ={}, flags={}).book.levels == 70


def test_the_generated_config_toml_sets_every_key_to_its_default(tmp_path: Path) -> None:
    text = config.render_config()
    assert from_file(tmp_path / "copy.toml", text) == Settings()
    assert tomllib.loads(text) | {"indicators": []} == msgspec.json.decode(msgspec.json.encode(Settings()))


def test_each_value_knows_all_its_sources_the_one_that_holds_last(folder: Path) -> None:
    mine = written(folder / "config.toml", "[book]\nlevels = 100\nstale_after_ms = 1001")
    saved = written(folder / "settings.toml", "[book]\nlevels = 200")
    environ = {"BARTER_BOOK_LEVELS": "300", "BARTER_API_SECRET": "hunter2", "PATH": "x"}
    sourced = read(file=None, environ=environ, flags={"book.levels": "400"})
    assert sourced.settings == load(file=None, environ=environ, flags={"book.levels": "400"})
    assert [tuple(source) for source in sourced.sources["book.levels"]] == [
        (Origin.DEFAULT, "", 1000),
        (Origin.FILE, str(mine), 100),
        (Origin.SAVED, str(saved), 200),
        (Origin.ENVIRONMENT, "environment variable BARTER_BOOK_LEVELS", 300),
        (Origin.FLAG, "command line", 400),
    ]
    assert [source.origin for source in sourced.sources["book.stale_after_ms"]] == [Origin.DEFAULT, Origin.FILE]
    assert [source.origin for source in sourced.sources["book.cross_check_s"]] == [Origin.DEFAULT]
    assert sourced.environ == {"BARTER_BOOK_LEVELS": "300"}
    assert sourced.path == saved


def test_changes_are_tried_as_if_they_were_saved_and_nothing_is_written(folder: Path) -> None:
    written(folder / "settings.toml", "[risk]\nmax_order_notional = 300\n\n[[indicators]]\nname = 'RSIIndicator'")
    sourced = read(file=None, environ={"BARTER_RISK_MAX_POSITION_NOTIONAL": "9000"}, flags={})
    tried = sourced.again({"risk": {"max_order_notional": 8000}, "book": {"levels": 60}})
    assert (tried.settings.risk.max_order_notional, tried.settings.book.levels) == (8000.0, 60)
    assert tried.settings.indicators == sourced.settings.indicators != ()
    assert sourced.again({"risk": {"max_order_notional": None}}).settings.risk.max_order_notional == 2000.0
    with pytest.raises(ConfigError, match="would exceed the largest position, 5000 USDT"):
        sourced.bare({"risk": {"max_order_notional": 8000}})
    assert "8000" not in (folder / "settings.toml").read_text()


@pytest.mark.parametrize(
    ("variable", "text", "section", "key", "value"),
    [
        ("BARTER_ENGINE_MODE", "paper", "engine", "mode", Mode.PAPER),
        ("BARTER_ENGINE_MODE", '"paper"', "engine", "mode", Mode.PAPER),
        ("BARTER_ENGINE_STATE_DIR", "2024", "engine", "state_dir", "2024"),
        ("BARTER_ENGINE_STATE_DIR", "a b = c", "engine", "state_dir", "a b = c"),
        ("BARTER_ENGINE_SYMBOLS", '["BTC/USDT:USDT"]', "engine", "symbols", ("BTC/USDT:USDT",)),
        ("BARTER_ENGINE_SYMBOLS", "BTC/USDT:USDT, ETH/USDT:USDT", "engine", "symbols", ("BTC/USDT:USDT", "ETH/USDT:USDT")),
        ("BARTER_STRATEGY_TIMEFRAME", "1s", "strategy", "timeframe", "1s"),
        ("BARTER_VENUE_BALANCE", "20_000", "venue", "balance", 20000.0),
        ("BARTER_RISK_MAX_LEVERAGE", " 2.5 ", "risk", "max_leverage", 2.5),
    ],
)
def test_a_variable_is_read_as_toml_or_as_the_word_it_is(variable: str, text: str, section: str, key: str, value: object) -> None:
    settings = load(file=None, environ={variable: text}, flags={})
    assert getattr(getattr(settings, section), key) == value


def test_a_whole_number_serves_where_a_fraction_is_declared(tmp_path: Path) -> None:
    leverage = from_file(tmp_path / "a.toml", "[risk]\nmax_leverage = 2").risk.max_leverage
    assert isinstance(leverage, float)
    assert leverage == 2.0


def test_keys_and_layouts_are_tables(tmp_path: Path) -> None:
    text = '[console.keys]\nhalt = "f9"\nladder_scroll_up = "up,k"\n[console.layouts]\nmine = ["ladder chart", "log"]'
    console = from_file(tmp_path / "a.toml", text).console
    assert console.keys == {"halt": "f9", "ladder_scroll_up": "up,k"}
    assert console.layouts == {"mine": ("ladder chart", "log")}
    assert load(file=None, environ={"BARTER_CONSOLE_KEYS": '{ arm = "A" }'}, flags={}).console.keys == {"arm": "A"}
    every = "\n".join(f'{key.id} = "f9"' for key in keys.EVERY)
    assert len(from_file(tmp_path / "b.toml", f"[console.keys]\n{every}").console.keys) == len(keys.EVERY)


@pytest.mark.parametrize(
    ("dotted", "value", "text"),
    [
        ("book.levels", 60, "60"),
        ("venue.balance", 20000.0, "20000"),
        ("venue.balance", 0.125, "0.125"),
        ("queue.record", False, "false"),
        ("engine.mode", Mode.PAPER, "paper"),
        ("engine.state_dir", '"quoted" first', '"\\"quoted\\" first"'),
        ("engine.symbols", ("BTC/USDT:USDT", "ETH/USDT:USDT"), "BTC/USDT:USDT, ETH/USDT:USDT"),
        ("strategy.parameters", ("a=1", "b=2, c"), '["a=1","b=2, c"]'),
        ("strategy.parameters", (), ""),
        ("console.keys", {}, ""),
        ("console.keys", {"halt": "f9", "a b": "x"}, '{ halt = "f9", "a b" = "x" }'),
        ("console.layouts", {"mine": ("ladder chart", "log")}, '{ mine = ["ladder chart","log"] }'),
    ],
)
def test_a_value_is_typed_as_it_is_read(dotted: str, value: object, text: str) -> None:
    key = next(key for _, _, those in sections() for key in those if key.dotted == dotted)
    assert typed(key, value) == text
    assert parsed(dotted, text) == value


def test_every_default_is_read_from_what_would_be_typed() -> None:
    for _, _, those in sections():
        assert [key.dotted for key in those if parsed(key.dotted, typed(key, key.default)) != key.default] == []


# --- what is refused, and in which words -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "said"),
    [
        ("[book]\nlevels = true", "book.levels", ("true is a truth value", "a whole number from 50 to 5000")),
        ("[book]\nlevels = 100.0", "book.levels", ("100.0 is a fraction", "a whole number from 50 to 5000")),
        ("[book]\nlevels = 49", "book.levels", ("49 is out of range", "from 50 to 5000")),
        ('[book]\nlevels = "100"', "book.levels", ('"100" is text', "a whole number")),
        ("[risk]\nmax_leverage = false", "risk.max_leverage", ("false is a truth value", "a number above 0")),
        ("[risk]\nmax_leverage = 0", "risk.max_leverage", ("0 is out of range", "a number above 0")),
        ("[risk]\nmax_leverage = nan", "risk.max_leverage", ("nan is out of range",)),
        ("[risk]\nmax_leverage = inf", "risk.max_leverage", ("inf is out of range", "finite")),
        ("[risk]\nmax_daily_loss = 1.1", "risk.max_daily_loss", ("1.1 is out of range", "above 0 and at most 1")),
        ("[judgment]\nlifetime_bars = 0", "judgment.lifetime_bars", ("0 is out of range", "at least 1")),
        ("[venue]\nseed = 99999999999999999999", "venue.seed", ("out of range", "64 bits")),
        ('[engine]\nmode = "demmo"', "engine.mode", ('"demmo" is not one of its values', "one of demo, paper, testnet, live")),
        ('[engine]\narm_at_start = "maybe"', "engine.arm_at_start", ("one of auto, yes, no",)),
        ('[strategy]\ntimeframe = "1m\\n"', "strategy.timeframe", ("cannot be printed", "one of auto, 1s, 1m")),
        ('[engine]\nstate_dir = "a\\u0000b"', "engine.state_dir", ("cannot be printed",)),
        ("[engine]\nstate_dir = 2024-01-01", "engine.state_dir", ("is a date or time", "text")),
        ("[engine]\nsymbols = []", "engine.symbols", ("the list is empty", "at least 1")),
        ('[engine]\nsymbols = "BTC/USDT:USDT"', "engine.symbols", ("is text", "a list")),
        ('[engine]\nsymbols = ["BTC/USDT:USDT", 7]', "engine.symbols", ("item 2, 7, is a whole number",)),
        ('[engine]\nsymbols = ["btcusdt"]', "engine.symbols", ('"btcusdt" is not the unified name', '"BTC/USDT:USDT"')),
        ('[engine]\nsymbols = ["BTC/USDT"]', "engine.symbols", ("BASE/USDT:USDT",)),
        ('[engine]\nsymbols = ["btc/USDT:USDT"]', "engine.symbols", ("in capitals",)),
        ('[engine]\nsymbols = ["A/USDT:USDT", "A/USDT:USDT"]', "engine.symbols", ("listed twice",)),
        ('[venue]\nbinance_rest = "localhost:80"', "venue.binance_rest", ("is not an address", "https://host")),
        ("[console]\nkeys = 7", "console.keys", ("7 is a whole number", "a table of texts")),
        ("[console.keys]\nhalt = 9", "console.keys", ("something in it is not as it should be", "a table of texts")),
        ('[console.layouts]\nmine = "ladder"', "console.layouts", ("not as it should be", "a table of lists of texts")),
        ('[console.keys]\nhalt = "a\\u0000"', "console.keys", ("cannot be printed",)),
        ("[console]\nframes_per_s = 31", "console.frames_per_s", ("31 is out of range", "from 5 to 30")),
        ('[venue]\nbinance_ws = "http://localhost"', "venue.binance_ws", ("is not an address", "wss://host")),
    ],
)
def test_a_value_that_cannot_be_is_refused_with_what_would_do(tmp_path: Path, text: str, key: str, said: tuple[str, ...]) -> None:
    file = tmp_path / "mine.toml"
    error = refused_file(file, text)
    assert (error.where, error.key) == (str(file), key)
    assert [part for part in said if part not in str(error)] == []


@pytest.mark.parametrize(
    ("text", "key", "nearest"),
    [
        ("[book]\nstale_after = 1", "book.stale_after", "book.stale_after_ms"),
        ("[bok]\nlevels = 100", "[bok]", "[book]"),
        ("[strategy]\nmax_leverage = 2", "strategy.max_leverage", "risk.max_leverage"),
        ("levels = 100", "levels", "[engine], [venue], [book]"),
        ("book = 100", "book", "[book] with keys under it"),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest_valid_one(tmp_path: Path, text: str, key: str, nearest: str) -> None:
    error = refused_file(tmp_path / "mine.toml", text)
    assert error.key == key
    assert nearest in error.expected


def test_an_unknown_variable_of_a_section_is_answered_with_the_nearest_one() -> None:
    error = refused({"BARTER_RISK_MAX_LEVERAG": "hunter2"})
    assert "BARTER_RISK_MAX_LEVERAG" in error.where
    assert "BARTER_RISK_MAX_LEVERAGE, the nearest" in str(error)
    assert "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("name", "nearest"), [("BARTER_MODE", "BARTER_ENGINE_MODE"), ("BARTER_RISKS_MAX_LEVERAGE", "BARTER_RISK_MAX_LEVERAGE")]
)
def test_a_variable_that_was_meant_as_a_setting_is_not_ignored(name: str, nearest: str) -> None:
    assert nearest in str(refused({name: "live"}))


def test_other_variables_are_left_alone() -> None:
    environ = dict.fromkeys(config.RESERVED, "x") | {"BARTER_HOME": "x", "BARTER_BINANCE_API_SECRET": "x", "PATH": "x"}
    assert load(file=None, environ=environ, flags={}) == Settings()


def test_a_wrong_variable_is_named() -> None:
    error = refused({"BARTER_BOOK_LEVELS": "many"})
    assert str(error) == (
        'environment variable BARTER_BOOK_LEVELS, book.levels: "many" is text. Expected a whole number from 50 to 5000.'
    )


def test_an_empty_variable_is_not_a_number() -> None:
    assert '"" is text' in str(refused({"BARTER_RISK_MAX_LEVERAGE": ""}))


def test_a_variable_cannot_smuggle_in_a_second_setting() -> None:
    assert refused({"BARTER_BOOK_LEVELS": "100\nother = 1"}).key == "book.levels"


def test_a_wrong_flag_is_named() -> None:
    assert str(refused(flags={"book.levels": "7"})).startswith("command line, book.levels: 7 is out of range.")
    assert "book.levels, the nearest" in str(refused(flags={"book.level": "100"}))
    assert "[book], the nearest" in str(refused(flags={"books.levels": "100"}))


def test_an_order_larger_than_the_largest_position_is_refused_where_it_was_set_last(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.toml", "[risk]\nmax_position_notional = 3000")
    with pytest.raises(ConfigError, match=r"one order of 4000 USDT .* would exceed the largest position, 3000 USDT") as caught:
        load(file=file, environ={"BARTER_RISK_MAX_ORDER_NOTIONAL": "4000"}, flags={})
    assert caught.value.where == "environment variable BARTER_RISK_MAX_ORDER_NOTIONAL"
    assert caught.value.key == "risk.max_order_notional"


# --- secrets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '[venue]\napi_key = "hunter2"',
        '[venue]\nsecret = "hunter2"',
        '[binance]\nAPI-Secret = "hunter2"',
        '[engine.login]\npassword = "hunter2"',
        'token = "hunter2"',
        '[console.keys]\napi_key = "hunter2"',
        '[keys]\nbinance = "hunter2"',
        '[venue]\nbinance_rest = "https://me:hunter2@host"',
        '[venue]\nbinance_rest = "https://host/?signature=hunter2"',
    ],
)
def test_a_secret_in_a_file_is_refused_and_not_repeated(tmp_path: Path, text: str) -> None:
    error = refused_file(tmp_path / "mine.toml", text)
    assert "hunter2" not in str(error)
    assert "hunter2" not in repr(vars(error))
    assert "environment" in str(error) or "may not hold a user, a password or a query" in str(error)


def test_secrets_of_the_environment_do_not_reach_the_settings() -> None:
    settings = load(file=None, environ={"BARTER_API_KEY": "hunter2", "BARTER_API_SECRET": "hunter3"}, flags={})
    assert b"hunter" not in msgspec.json.encode(settings)


# --- files that cannot be read ------------------------------------------------------------------------------------------


def test_a_syntax_error_names_file_line_and_column(tmp_path: Path) -> None:
    message = str(refused_file(tmp_path / "mine.toml", "[book]\nlevels == 3\n"))
    assert "mine.toml" in message
    assert "line 2, column 9" in message


def test_a_syntax_error_at_the_end_names_line_and_column_too(tmp_path: Path) -> None:
    assert "line 2, column 13" in str(refused_file(tmp_path / "mine.toml", '[engine]\nmode = "demo'))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"[book]\n# \xff\n", "line 2 is not UTF-8 text"),
        (b"a = " + b"[" * 100_000, "nested too deeply"),
        (b"#" * 2_000_000, "larger than a megabyte"),
        (b"[venue]\nseed = " + b"9" * 5000, "not valid TOML"),
    ],
    ids=["not utf-8", "nested", "large", "digits"],
)
def test_a_file_that_is_no_settings_file_gets_a_sentence(tmp_path: Path, content: bytes, said: str) -> None:
    assert said in str(refused_file(tmp_path / "mine.toml", content))


def test_an_explicit_file_must_exist_and_be_a_file(tmp_path: Path) -> None:
    for path, said in ((tmp_path / "none.toml", "there is no such file"), (tmp_path, "this is a folder, not a file")):
        with pytest.raises(ConfigError, match=said):
            load(file=path, environ={}, flags={})


def test_a_path_through_a_file_gets_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot be read \(Not a directory\)"):
        load(file=written(tmp_path / "mine.toml", "") / "below.toml", environ={}, flags={})


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_gets_a_sentence(tmp_path: Path) -> None:
    file = written(tmp_path / "mine.toml", "")
    file.chmod(0)
    with pytest.raises(ConfigError, match=r"cannot be read \(Permission denied\)"):
        load(file=file, environ={}, flags={})


def test_a_byte_order_mark_is_read_over(tmp_path: Path) -> None:
    assert from_file(tmp_path / "mine.toml", b"\xef\xbb\xbf[book]\nlevels = 60").book.levels == 60


@given(st.binary(max_size=60))
def test_whatever_a_file_holds_the_answer_is_settings_or_a_sentence(tmp_path_factory: pytest.TempPathFactory, raw: bytes) -> None:
    file = written(tmp_path_factory.getbasetemp() / "any" / "mine.toml", b"[book]\n" + raw)
    try:
        load(file=file, environ={}, flags={})
    except ConfigError as error:
        assert str(error).startswith(str(file))


_texts = st.text(st.characters(blacklist_categories=("Cs",)), max_size=30)


@given(st.sampled_from(["engine.mode", "engine.symbols", "venue.seed", "risk.max_leverage", "venue.binance_ws"]), _texts)
def test_whatever_a_flag_holds_the_answer_is_settings_or_a_sentence(key: str, text: str) -> None:
    try:
        load(file=Path(os.devnull), environ={}, flags={key: text})
    except ConfigError as error:
        assert str(error).startswith("command line, " + key)
        assert str(error).isprintable()


# --- saving ------------------------------------------------------------------------------------------------------------


def test_what_is_saved_is_loaded(folder: Path) -> None:
    save({"risk": {"max_leverage": 2}, "engine": {"mode": Mode.DEMO, "symbols": ["BTC/USDT:USDT"]}}, settings_path(None))
    settings = load(file=None, environ={}, flags={})
    assert settings.risk.max_leverage == 2.0
    assert settings.engine.symbols == ("BTC/USDT:USDT",)
    assert settings_path(None).parent == folder


def test_saving_keeps_earlier_changes_and_none_takes_one_out(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    save({"risk": {"max_leverage": 2}, "book": {"levels": 60}}, path)
    save({"venue": {"seed": 3}, "book": {"levels": None}}, path)
    assert tomllib.loads(path.read_text()) == {"risk": {"max_leverage": 2.0}, "venue": {"seed": 3}}


def test_a_save_keeps_the_indicators_of_the_file(folder: Path) -> None:
    path = folder / "settings.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('[[indicators]]\nname = "RSIIndicator"\nparameters = { window = 21 }\n\n[risk]\nmax_leverage = 2\n')
    before = load(file=None, environ={}, flags={}).indicators
    save({"risk": {"max_leverage": 1.5}}, path)
    after = load(file=None, environ={}, flags={})
    assert after.indicators == before and len(before) == 1 and after.risk.max_leverage == 1.5


def test_the_saved_file_is_its_owners_alone_and_leaves_no_temporary_one(tmp_path: Path) -> None:
    path = written(tmp_path / "settings.toml", "")
    path.chmod(0o644)
    save({"venue": {"seed": 3}}, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    "changes", [{"book": {"levels": 1}}, {"book": {"level": 100}}, {"boo": {"levels": None}}, {"venue": {"api_key": "hunter2"}}]
)
def test_a_wrong_change_is_refused_and_the_file_stays_as_it_was(tmp_path: Path, changes: dict[str, dict[str, object]]) -> None:
    path = written(tmp_path / "settings.toml", "[venue]\nseed = 3\n")
    with pytest.raises(ConfigError):
        save(changes, path)
    assert path.read_text() == "[venue]\nseed = 3\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_save_that_is_interrupted_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    path = written(tmp_path / "settings.toml", "[venue]\nseed = 3\n")
    monkeypatch.setattr("engine.whole.os.fsync", full)
    with pytest.raises(ConfigError, match=r"settings.toml: cannot be written \(No space left on device\)"):
        save({"venue": {"seed": 4}}, path)
    assert path.read_text() == "[venue]\nseed = 3\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_linked_settings_file_stays_a_link(tmp_path: Path) -> None:
    real = written(tmp_path / "dotfiles" / "settings.toml", "")
    link = tmp_path / "settings.toml"
    link.symlink_to(real)
    save({"venue": {"seed": 3}}, link)
    assert link.is_symlink()
    assert "seed = 3" in real.read_text()


# --- the rest ----------------------------------------------------------------------------------------------------------


def test_the_seeds_aster_config_is_the_defaults_for_aster() -> None:
    defaults = Settings()
    assert create_aster_config() == replace(defaults, engine=replace(defaults.engine, symbols=("ASTER/USDT:USDT",)))
    assert create_aster_config().engine.symbols == ("ASTER/USDT:USDT",)


def test_the_aster_config_takes_sections_and_checks_them() -> None:
    settings = create_aster_config(risk={"max_leverage": 2}, engine={"mode": Mode.PAPER})
    assert (settings.risk.max_leverage, settings.engine.mode) == (2.0, Mode.PAPER)
    with pytest.raises(ConfigError, match=r"create_aster_config, risk.max_leverag: .* risk.max_leverage, the nearest"):
        create_aster_config(risk={"max_leverag": 2})


def test_no_two_modes_share_a_state_folder(tmp_path: Path) -> None:
    folders = {state_dir(create_aster_config(engine={"mode": mode, "state_dir": str(tmp_path)})) for mode in Mode}
    assert folders == {tmp_path / mode.value for mode in Mode}
    assert not any(folder.exists() for folder in folders)


def test_the_state_folder_is_absolute_and_knows_the_home() -> None:
    assert state_dir(create_aster_config(engine={"state_dir": "here"})) == Path.cwd() / "here" / "demo"
    assert state_dir(create_aster_config(engine={"state_dir": "~/here"})) == Path.home() / "here" / "demo"
    assert state_dir(Settings()).is_absolute()
    assert state_dir(Settings()).parent.name == "barter-tui"


def test_reading_the_declarations_imports_nothing_heavy(root: Path) -> None:
    heavy = ["asyncio", "ccxt", "textual", "platformdirs", "tomli_w"]
    probe = f"import sys, engine.config; print([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", probe], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
