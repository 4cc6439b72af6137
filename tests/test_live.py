"""Live and testnet: keys, the phrase, and what is checked before anything can be sent; the simulated venue plays the real one."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import pytest
from msgspec.json import encode as json_encode

from console.exits import Exit
from engine import keychain
from engine.clock import Clock
from engine.config import create_aster_config
from engine.errors import ConfigError, KeyRefused
from engine.events import Action, Alert, Event, Level, Mode, Trading
from engine.execution.live import Credentials
from engine.places import REAL, TEST, Address, addresses, endpoints, ours
from engine.runtime import Engine
from engine.runtime.opening import text
from engine.serve import Service
from engine.signal.binance import Binance
from engine.signal.binance.decode import Decoder
from engine.views import Ask, Goodbye, Leave, OpeningView, StatusView, arm_phrase
from tests.simulated import KEY, SECRET, Simulated, simulated, until

EAGER = {
    "judgment": {"every_bars": 1, "min_confidence": 0.5, "judge": "rules"},
    "strategy": {"cooldown_bars": 0, "timeframe": "1s"},
}
PHRASE = "trade live with real money on binance"
HASHED = Credentials(KEY, SECRET).account_at("binance")
CANARIES = (KEY, SECRET, "canary-passphrase-77aa")


def environ(**more: str) -> dict[str, str]:
    return {"BARTER_BINANCE_KEY": KEY, "BARTER_BINANCE_SECRET": SECRET, **more}


def live(folder: Path, venue: Simulated, mode: str = "live", **more: dict[str, object]):  # type: ignore[no-untyped-def]
    own = {"mode": mode, "state_dir": str(folder), "symbols": ["ASTER/USDT:USDT"], "venues": ["binance"]}
    engine = own | more.pop("engine", {})
    return create_aster_config(engine=engine, venue={"binance_rest": venue.rest, "binance_ws": venue.ws}, **more)


def engine_of(folder: Path, venue: Simulated, phrase: str = "", **more: dict[str, object]) -> Engine:
    chosen = live(folder, venue, **more)
    return Engine(chosen, venue.clock, endpoints(chosen), Credentials(KEY, SECRET), phrase=phrase)


# --- keys --------------------------------------------------------------------------------------------------------------


def test_keys_of_the_environment_are_taken_out_of_it(tmp_path: Path) -> None:
    given = environ(BARTER_OKX_SECRET="other", PATH="/bin")
    assert keychain.find_keys("binance", Mode.LIVE, given, tmp_path) == Credentials(KEY, SECRET)
    assert given == {"PATH": "/bin"}


def test_a_file_of_ones_own_holds_keys_of_each_venue_and_one_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "keys.toml"
    path.write_text('[binance]\nkey = "k1"\nsecret = "s1"\n[okx]\nkey = "k2"\nsecret = "s2"\npassphrase = "p2"\n')
    path.chmod(0o640)
    with pytest.raises(ConfigError, match=f"others may read these keys.*chmod 600 {path}"):
        keychain.find_keys("binance", Mode.LIVE, {}, tmp_path)
    path.chmod(0o600)
    assert keychain.find_keys("binance", Mode.LIVE, {}, tmp_path) == Credentials("k1", "s1")
    assert keychain.find_keys("okx", Mode.LIVE, {}, tmp_path) == Credentials("k2", "s2", "p2")
    other = tmp_path / "other.json"
    other.write_text('{"okx": {"key": "k3", "secret": "s3", "passphrase": "p3"}}')
    other.chmod(0o600)
    assert keychain.find_keys("okx", Mode.LIVE, {keychain.FILE_VARIABLE: str(other)}, tmp_path) == Credentials("k3", "s3", "p3")


@pytest.mark.parametrize(
    ("given", "text", "words"),
    [
        ({"BARTER_BINANCE_KEY": CANARIES[0]}, "", "the secret of binance is missing"),
        ({}, f'[binance]\nkey = "{CANARIES[1]}', "no readable TOML or JSON"),
        ({}, f'[binance]\nkey = ["{CANARIES[1]}"]', "does not hold keys as it should"),
        ({}, "", "needs keys of binance"),
        ({"BARTER_BINANCE_KEY": f"{KEY}\x00", "BARTER_BINANCE_SECRET": SECRET}, "", "letters that no key has"),
        ({keychain.FILE_VARIABLE: "/nowhere/keys.toml"}, "", "there is no file"),
    ],
)
def test_what_is_wrong_with_keys_is_said_without_them(tmp_path: Path, given: dict[str, str], text: str, words: str) -> None:
    if text:
        (tmp_path / "keys.toml").write_text(text)
        (tmp_path / "keys.toml").chmod(0o600)
    with pytest.raises(ConfigError, match=words) as refused:
        keychain.find_keys("binance", Mode.TESTNET, given, tmp_path)
    assert not any(canary in repr(refused.value) for canary in CANARIES)


def test_the_keyring_is_asked_last_and_a_locked_one_holds_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Ring:
        held = {("barter-tui-testnet", "binance key"): "k", ("barter-tui-testnet", "binance secret"): "s"}  # noqa: RUF012

        @classmethod
        def get_password(cls, service: str, name: str) -> str | None:
            if service == "barter-tui-paper":
                raise RuntimeError("locked")
            return cls.held.get((service, name))

    monkeypatch.setitem(sys.modules, "keyring", Ring)  # type: ignore[arg-type]
    assert keychain.find_keys("binance", Mode.TESTNET, {}, tmp_path) == Credentials("k", "s")
    for mode in (Mode.LIVE, Mode.PAPER):
        with pytest.raises(ConfigError, match="there are none"):
            keychain.find_keys("binance", mode, {}, tmp_path)


def test_credentials_are_not_in_their_own_text() -> None:
    from rich.pretty import pretty_repr

    from console.engine_process import Order

    keys = Credentials(*CANARIES)
    order = Order(create_aster_config(), None, None, keys)  # type: ignore[arg-type]
    texts = (repr(keys), str(keys), pretty_repr(keys), f"{keys!r}", repr(order), pretty_repr(order))
    for shown in (*texts, keys.account_at("binance")):
        assert not any(canary in shown for canary in CANARIES)


# --- places ------------------------------------------------------------------------------------------------------------


def test_each_mode_has_addresses_of_its_own_and_the_settings_come_first() -> None:
    def chosen(mode: str, **venue: str):  # type: ignore[no-untyped-def]
        return create_aster_config(engine={"mode": mode}, venue=venue)

    assert addresses(chosen("live")) == addresses(chosen("paper")) == REAL
    assert addresses(chosen("testnet")) == TEST
    own = chosen("live", binance_rest="http://127.0.0.1:1/", okx_ws="ws://127.0.0.1:2")
    assert addresses(own) == {
        "binance": Address("http://127.0.0.1:1", REAL["binance"].ws),
        "okx": Address(REAL["okx"].rest, "ws://127.0.0.1:2"),
    }
    real = endpoints(chosen("live"))
    assert (real.rest, real.simulated, real.shared) == (REAL["binance"].rest, False, False)
    assert endpoints(chosen("testnet")).simulated
    fed = ours(chosen("paper"), "http://127.0.0.1:3", "ws://127.0.0.1:3")
    assert (fed.rest, fed.simulated, fed.shared, fed.market("okx")) == ("http://127.0.0.1:3", False, True, REAL["okx"])
    assert ours(chosen("demo"), "a", "b").market("okx") == Address("a", "b")


def test_the_test_network_has_one_socket_address_without_routes() -> None:
    dialect = Binance(Decoder())
    assert dialect.url(TEST["binance"].ws, "public") == dialect.url(TEST["binance"].ws, "market") == TEST["binance"].ws
    assert dialect.url(REAL["binance"].ws, "public") == "wss://fstream.binance.com/public/ws"


# --- at the venue ------------------------------------------------------------------------------------------------------


async def test_live_starts_off_and_only_the_phrase_arms_it(tmp_path: Path) -> None:
    assert arm_phrase("binance") == PHRASE
    async with simulated() as venue, engine_of(tmp_path, venue) as engine:
        await until(lambda: engine.state.reconciled, 30)
        assert engine.state.trading is Trading.OFF
        for note in ("", "yes", "trade live with real money on okx"):
            answer = engine.ask(Ask(f"arm {note}", Action.ARM, note=note))
            assert not answer.accepted and PHRASE in answer.text
            assert engine.state.trading is Trading.OFF
        assert engine.ask(Ask("arm", Action.ARM, note=PHRASE)).accepted
        assert engine.state.trading is Trading.ARMED


@pytest.mark.parametrize(("phrase", "trading"), [("", Trading.OFF), ("trade live", Trading.OFF), (PHRASE, Trading.ARMED)])
async def test_a_setting_alone_never_arms_live(tmp_path: Path, phrase: str, trading: Trading) -> None:
    async with simulated() as venue, engine_of(tmp_path, venue, phrase, engine={"arm_at_start": "yes"}) as engine:
        assert engine.state.trading is Trading.OFF, "nothing is armed before the account can be read"
        await asyncio.wait_for(engine.opened.wait(), 30)
        assert engine.state.trading is trading


async def test_the_account_can_be_read_before_anything_is_sent(tmp_path: Path) -> None:
    async with simulated() as venue, engine_of(tmp_path, venue) as engine:
        before = engine.opening()
        assert not before.ready and dict(before.rows)["leverage"].endswith("not confirmed by the venue yet")
        await asyncio.wait_for(engine.opened.wait(), 30)
        view = engine.opening()
        state = await venue.state()
        assert state["counters"]["orders"] == 0
    rows = dict(view.rows)
    assert view.ready and rows["account"] == f"binance, live, {HASHED}"
    assert rows["balance"].startswith(f"{Decimal(state['wallet']).normalize():f} USDT")
    assert (rows["positions"], rows["open orders"], rows["differences"]) == ("none", "none", "none")
    assert rows["leverage"] == "ASTER/USDT:USDT: 3x, cross margin, one-way"
    assert rows["limits"] == "an order 2000 USDT, a position 5000 USDT, leverage 3"
    assert text(view).splitlines()[0].split() == ["account", "binance,", "live,", HASHED]


async def test_what_is_held_and_rests_at_the_venue_is_on_the_page(tmp_path: Path) -> None:
    async with simulated() as venue:
        async with engine_of(tmp_path, venue, PHRASE, engine={"arm_at_start": "yes"}, **EAGER) as engine:
            await until(lambda: engine.state.counters.fills, 60)
            market = next(iter(engine.state.markets))
            await until(lambda: engine.state.open_orders(market), 10)
            held = engine.state.portfolio.position(market).quantity
            await engine.settle(Action.SHUTDOWN, "the test")
        async with engine_of(tmp_path / "another", venue) as again:
            await asyncio.wait_for(again.opened.wait(), 30)
            named = dict(again.opening().rows)
            rows = [said for _, said in again.opening().rows]
    assert held and any(f"{'long' if held > 0 else 'short'} " in said and "unrealised" in said for said in rows)
    assert any("trigger" in said and "reduce-only" in said for said in rows)
    assert named["adopted"].startswith("positions and orders that this session did not know: ")


async def test_a_market_that_is_watched_later_leaves_the_account_alone(tmp_path: Path) -> None:
    """It crashed: "The leverage crashed: KeyError"."""
    async with simulated(symbols=["ASTERUSDT", "BTCUSDT"]) as venue, engine_of(tmp_path, venue) as engine:
        await asyncio.wait_for(engine.opened.wait(), 30)
        assert engine.ask(Ask("watch", Action.COLLECT, "BTC/USDT:USDT")).accepted
        later = "binance:BTC/USDT:USDT"
        await until(lambda: later in engine.state.markets and engine.state.markets[later].leverage_asked)
        await asyncio.sleep(0.5)
        assert engine.state.counters.faults == 0 and all(level is Level.INFO for _, level, _ in engine.alerts)


async def test_requests_carry_the_venues_time_where_it_is_not_ours(tmp_path: Path) -> None:
    async with simulated() as venue:
        await venue.fault("clock_offset", ms=-60_000)
        async with engine_of(tmp_path, venue) as engine:
            await until(lambda: engine.state.reconciled, 30)


async def test_a_key_that_may_withdraw_ends_the_start_with_a_sentence(tmp_path: Path) -> None:
    async with simulated() as venue:
        await venue.fault("withdrawals")
        engine = engine_of(tmp_path, venue)
        with pytest.raises(KeyRefused, match="may withdraw, so it is not used"):
            await asyncio.wait_for(Service(engine).run(), 30)
        assert (await venue.state())["counters"]["orders"] == 0
    assert any("may withdraw" in text for _, _, text in engine.alerts)


async def test_a_venue_that_cannot_say_what_a_key_may_do_is_traded_on(tmp_path: Path) -> None:
    async with simulated() as venue:
        await venue.fault("http", path="/sapi/v1/account/apiRestrictions", status=404, body="<html>not here</html>", times=100)
        async with engine_of(tmp_path, venue, engine={"mode": "testnet"}) as engine:
            await until(lambda: engine.state.reconciled, 30)


async def test_a_margin_mode_that_cannot_be_had_keeps_the_account_from_being_traded_on(tmp_path: Path) -> None:
    told: list[Event] = []
    async with simulated() as venue:
        async with engine_of(tmp_path, venue) as engine:
            await until(lambda: engine.state.traded is not None and engine.state.traded.leverage, 30)
        words = '{"code":-4047,"msg":"Margin type cannot be changed if there exists open orders."}'
        await venue.fault("http", path="/fapi/v1/marginType", status=400, body=words, times=100)
        engine = engine_of(tmp_path, venue, risk={"margin_mode": "isolated"})
        engine.listen(told.append)
        async with engine:
            await until(lambda: engine.state.reconciled, 30)
            await asyncio.sleep(1.0)
            assert engine.state.traded is not None and not engine.state.traded.leverage
            waits = engine.view().ready
    assert "has not confirmed" in waits
    assert not any(isinstance(event, Alert) and "hedge" in event.text for event in told)


# --- the whole command -------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path: Path) -> Iterator[dict[str, str]]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("BARTER_")}
    yield {**kept, "BARTER_ENGINE_STATE_DIR": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path / "config")}


def command(home: dict[str, str], venue: Simulated, *arguments: str, mode: str = "live") -> list[str]:
    ends = ["--set", f"venue.binance_rest={venue.rest}", "--set", f"venue.binance_ws={venue.ws}"]
    ends += ["--set", "engine.venues=binance"]
    return [sys.executable, "-m", "console.cli", "--no-ui", "--mode", mode, "--symbol", "ASTER/USDT:USDT", *ends, *arguments]


async def ran(home: dict[str, str], line: list[str]) -> tuple[int, str, str]:
    pipe = subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*line, env=home, stdout=pipe, stderr=pipe)
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode is not None
    return process.returncode, out.decode(), err.decode()


@pytest.mark.slow
async def test_live_runs_on_a_venue_with_keys_and_shows_none_of_them_anywhere(tmp_path: Path, home: dict[str, str]) -> None:
    keys = environ(BARTER_OKX_PASSPHRASE=CANARIES[2], BARTER_ARM_PHRASE=PHRASE)
    async with simulated() as venue:
        line = command(home, venue, "--json", "--verbose", "--arm", "--for", "12s", "--set", "strategy.timeframe=1s",
                       "--set", "judgment.every_bars=1", "--set", "judgment.judge=rules")  # fmt: skip
        running = asyncio.create_task(ran({**home, **keys}, line))
        await asyncio.sleep(6.0)
        seen = _command_lines(str(tmp_path))
        code, out, err = await running
    assert code == Exit.OK, err
    summary = json.loads(out.splitlines()[-1])
    assert summary["mode"] == "live"
    assert any(json.loads(line)["trading"] == "armed" for line in out.splitlines()[:-1])
    assert summary["agreement"]["equal"], summary["agreement"]
    assert "barter-tui: the account\n" in err and HASHED in err
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert any("sessions" in str(path) for path in files) and seen
    texts = [out, err, *seen, *(path.read_bytes().decode("latin-1") for path in files)]
    texts += [_unpacked(path) for path in files]
    for canary in CANARIES:
        assert not any(canary in text for text in texts)


@pytest.mark.slow
async def test_a_live_engine_that_is_started_again_after_its_death_is_not_armed_by_the_same_phrase(tmp_path: Path) -> None:
    from console.launch import Real, Siblings
    from tests.test_engine_process import of, read_until

    def whole(message: object) -> bool:
        return any(view.ready for view in of(message, OpeningView))  # type: ignore[attr-defined]

    def armed(message: object) -> bool:
        return any(view.trading is Trading.ARMED for view in of(message, StatusView))  # type: ignore[attr-defined]

    async with simulated() as venue:
        chosen = live(tmp_path, venue, engine={"arm_at_start": "yes"})
        launch = Siblings(Real(venue.clock, endpoints(chosen), Credentials(KEY, SECRET), PHRASE), chosen, lambda _: chosen)
        link = launch.link()
        try:
            await link.open()
            await read_until(link, armed)
            assert launch.engine is not None
            os.kill(launch.engine.pid, signal.SIGKILL)
            await read_until(link, lambda message: isinstance(message, Goodbye))
            await link.close()
            await link.open()
            assert not armed(await read_until(link, whole))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1.0):
                    await read_until(link, armed)
        finally:
            await link.close()
            await launch.end(Leave(keep_running=False))


@pytest.mark.slow
async def test_an_engine_of_a_screen_gets_its_keys_by_a_pipe_and_shows_them_nowhere(tmp_path: Path) -> None:
    from console.launch import Real, Siblings
    from tests.test_engine_process import of, read_until

    async with simulated() as venue:
        chosen = live(tmp_path, venue)
        real = Real(venue.clock, endpoints(chosen), Credentials(*CANARIES), PHRASE)
        launch = Siblings(real, chosen, lambda _: chosen, verbose=True)
        link = launch.link()
        await link.open()
        seen: list[object] = []
        try:
            def ready(message: object) -> bool:
                seen.append(message)
                return any(view.ready for view in of(message, OpeningView))  # type: ignore[attr-defined]

            await read_until(link, ready)
            assert launch.engine is not None and launch.venue is None
            seen += _of_process(launch.engine.pid)
            await link.send(Leave(keep_running=False))
            await read_until(link, lambda message: isinstance(message, Goodbye))
        finally:
            assert await launch.end(Leave(keep_running=False)) == 0
    seen += [path.read_bytes() for path in launch.folder.rglob("*") if path.is_file()]
    seen += [_unpacked(path) for path in launch.folder.rglob("*") if path.is_file()]
    assert (launch.folder / "engine.log").exists() and len(seen) > 5
    assert not any(canary in str(one) for canary in CANARIES for one in seen)


CRASH = """
import sys
import engine.__main__ as program

async def crash(engine, ready):
    keys, spec_of_it = engine.credentials, repr(engine.credentials)
    raise RuntimeError(f"the test broke it, with {keys} at hand")

program.serve = crash
sys.exit(program.main())
"""


async def test_a_crashed_engines_traceback_holds_no_key(tmp_path: Path, home: dict[str, str]) -> None:
    from console.engine_process import Order

    async with simulated() as venue:
        chosen = live(tmp_path, venue)
        order = Order(chosen, venue.clock, endpoints(chosen), Credentials(*CANARIES), True, PHRASE)
        pipe = subprocess.PIPE
        line = [sys.executable, "-c", CRASH]
        process = await asyncio.create_subprocess_exec(*line, env=home, cwd=tmp_path, stdin=pipe, stdout=pipe, stderr=pipe)
        out, err = await asyncio.wait_for(process.communicate(json_encode(order) + b"\n"), 60)
    assert process.returncode == 1 and b"Traceback" in err and b"the test broke it" in out
    assert not any(canary.encode() in out + err for canary in CANARIES)


def test_a_traceback_with_every_local_variable_holds_no_key() -> None:
    from io import StringIO

    from rich.console import Console
    from rich.traceback import Traceback

    from console.engine_process import Order
    from console.launch import Real

    keys, chosen = Credentials(*CANARIES), create_aster_config()
    at = endpoints(chosen)

    def crash(order: Order, real: Real, keys: Credentials) -> None:
        raise RuntimeError("the test broke it")

    out = StringIO()
    try:
        crash(Order(chosen, Clock.start(), at, keys), Real(Clock.start(), at, keys), keys)
    except RuntimeError as problem:
        shown = Traceback.from_exception(type(problem), problem, problem.__traceback__, show_locals=True)
        Console(file=out, width=200).print(shown)
    inner = out.getvalue().rpartition("in crash")[2]
    assert "real = Real(" in inner and "order = Order(" in inner
    assert not any(canary in inner for canary in CANARIES)


def _of_process(pid: int) -> list[bytes]:
    """Its command line and its environment, where the system shows them."""
    process = Path(f"/proc/{pid}")
    return [(process / name).read_bytes() for name in ("cmdline", "environ")] if process.exists() else []


def _command_lines(mark: str) -> list[str]:
    """Of the processes whose environment names this test's folder."""
    found = []
    for folder in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if folder.name.isdigit() and mark.encode() in (folder / "environ").read_bytes():
                found.append((folder / "cmdline").read_bytes().decode())
    return found


def _unpacked(path: Path) -> str:
    import zstandard

    try:
        with path.open("rb") as file:
            return zstandard.ZstdDecompressor().stream_reader(file, read_across_frames=True).read().decode("latin-1")
    except zstandard.ZstdError:
        return ""
