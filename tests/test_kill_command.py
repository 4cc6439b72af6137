"""`barter-tui kill` and `release` from another shell: with an engine, with one that stands still, and without one."""

import asyncio
import contextlib
import os
import resource
import signal
import sys
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from pathlib import Path

import msgspec
import pytest

from console.hotline import Hotline
from engine.config import create_aster_config
from engine.door import find
from engine.events import (
    Action,
    FetchAccount,
    OrderAccepted,
    OrderFact,
    OrderKind,
    PositionFact,
    Purpose,
    SendOrder,
    Side,
    Ticket,
    TimeInForce,
)
from engine.execution.live import Credentials, open_account
from engine.execution.orders import protects
from engine.places import Address, Endpoints
from engine.runtime import latch, outside
from engine.runtime.sources import Source
from engine.views import Ask
from tests.simulated import KEY, SECRET, simulated
from tests.test_engine import until

MARKET, BTC = "binance:ASTER/USDT:USDT", "binance:BTC/USDT:USDT"
PATIENCE_S = 60.0


def environment(folder: Path) -> dict[str, str]:
    own = {"BARTER_ENGINE_STATE_DIR": str(folder), "BARTER_JUDGMENT_MIN_CONFIDENCE": "1.0", "BARTER_JUDGMENT_JUDGE": "rules"}
    return {**os.environ, **own, "BARTER_ENGINE_SYMBOLS": '["ASTER/USDT:USDT"]'}


def no_file_grows() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


async def command(folder: Path, *words: str, before: Callable[[], None] | None = None) -> tuple[int, str]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console.cli", *words), stdout=pipe, stderr=pipe, env=environment(folder), preexec_fn=before
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert b"Traceback" not in out + err, (out + err).decode()
    assert process.returncode is not None
    return process.returncode, out.decode()


@contextlib.asynccontextmanager
async def trading(folder: Path) -> AsyncIterator[tuple[int, list[dict[str, object]]]]:
    """A headless engine with a protected position and a resting entry; its pid, and the lines that it writes."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "console.cli", "--no-ui", "--json", "--for", "300s"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        env=environment(folder),
    )
    lines: list[dict[str, object]] = []

    async def read() -> None:
        assert process.stdout is not None
        while line := await process.stdout.readline():
            lines.append(msgspec.json.decode(line))

    reading = asyncio.create_task(read())
    try:
        await until(lambda: lines and lines[-1].get("ready") == "" and lines[-1].get("markets"))
        line = await asyncio.to_thread(Hotline, find(folder / "demo"))
        bid = float(lines[-1]["markets"][0]["bid"])  # type: ignore[index]
        line.send(Ask("one", Action.ORDER, MARKET, ticket=Ticket(Side.BUY, OrderKind.MARKET, 300)))
        line.send(Ask("two", Action.ORDER, MARKET, ticket=Ticket(Side.BUY, OrderKind.LIMIT, 200, int(bid * 10_000) - 150)))
        await until(lambda: _orders(lines) == {"entry", "stop"} and _position(lines))
        line.close()
        yield process.pid, lines
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(signal.SIGCONT)
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


def _orders(lines: list[dict[str, object]]) -> set[str]:
    return {order["purpose"] for order in lines[-1].get("orders", ())}  # type: ignore[attr-defined, index]


def _position(lines: list[dict[str, object]]) -> float:
    return float(lines[-1]["markets"][0]["position"])  # type: ignore[index]


@pytest.mark.slow
async def test_a_running_engine_confirms_a_kill_and_a_release(tmp_path: Path) -> None:
    async with trading(tmp_path) as (_, lines):
        code, said = await command(tmp_path, "kill")
        assert code == 0 and "the engine has taken it" in said and "confirmed by the venue" in said
        assert "binance: 0 orders cancelled" in said and "okx: 0 orders cancelled" in said
        await until(lambda: lines[-1]["trading"] == "halted")
        assert _orders(lines) == {"stop"} and _position(lines) == 300
        assert latch.read(tmp_path / "demo")
        code, said = await command(tmp_path, "kill", "--flatten")
        assert code == 0 and "flat in" in said
        await until(lambda: not _position(lines))
        code, said = await command(tmp_path, "release")
        assert code == 0 and "may be armed again" in said and not latch.read(tmp_path / "demo")
        await until(lambda: lines[-1]["trading"] == "off")


@pytest.mark.slow
async def test_a_kill_reaches_what_the_engine_does_not_collect(tmp_path: Path) -> None:
    async with trading(tmp_path) as (_, _):
        where = outside.remembered(tmp_path / "demo")
        assert where is not None
        source = Source("binance", where.endpoints.rest, where.endpoints.ws, where.clock, True, 10.0, lambda *_: False)
        await source.read_list()
        account = open_account("binance", where.credentials, where.endpoints.rest, where.clock, 5000)
        await account.start(list(source.listed.values()))
        wish = SendOrder(0, BTC, "stranger1", OrderKind.MARKET, Purpose.ENTRY, Side.BUY, 20, 0, 0, TimeInForce.GTC, False)
        assert isinstance((await account.send(wish))[0], OrderAccepted)
        code, said = await command(tmp_path, "kill", "--flatten")
        assert code == 0 and "confirmed by the venue" in said and "binance: 0 orders cancelled" in said
        seen = await account.snapshot(FetchAccount(0, "binance", "the test"))
        assert not [one for one in seen.positions if one.quantity] and not seen.orders
        await account.close()
        await source.rest.close()


@pytest.mark.slow
async def test_a_latch_that_cannot_be_written_stops_no_kill(tmp_path: Path) -> None:
    async with trading(tmp_path) as (_, lines):
        code, said = await command(tmp_path, "kill", "--flatten", before=no_file_grows)
        assert code == 4 and "NOT latched" in said and "read back in" in said
        await until(lambda: lines[-1]["trading"] == "halted" and not _position(lines))


@pytest.mark.slow
async def test_a_hung_engine_whose_venue_is_not_known_is_no_success(tmp_path: Path) -> None:
    async with trading(tmp_path) as (pid, _):
        (tmp_path / "demo" / outside.FILE).unlink()
        os.kill(pid, signal.SIGSTOP)
        code, said = await command(tmp_path, "kill")
        assert code == 3 and "address is not known" in said


POSITION = PositionFact(MARKET, 300, Decimal("0.62"), Decimal("0.62"), Decimal(0), Decimal(0))


@pytest.mark.parametrize(
    ("changed", "whole"),
    [
        ({}, True),
        ({"quantity": 0}, True),
        ({"trigger": Decimal(0), "trail_bps": 50}, True),
        ({"quantity": 299}, False),
        ({"trigger": Decimal("0.63")}, False),
        ({"side": Side.BUY}, False),
        ({"reduce_only": False}, False),
        ({"conditional": False}, False),
    ],
)
def test_a_stop_is_what_closes_the_whole_position_at_a_loss(changed: dict[str, object], whole: bool) -> None:
    stop = OrderFact(MARKET, "stop", "1", Side.SELL, 300, 0, True, True, Decimal("0.61"))
    assert protects(msgspec.structs.replace(stop, **changed), POSITION) is whole


@pytest.mark.slow
async def test_an_engine_that_stands_still_is_not_waited_for_and_finds_itself_halted(tmp_path: Path) -> None:
    async with trading(tmp_path) as (pid, lines):
        assert (tmp_path / "demo" / outside.FILE).stat().st_mode & 0o777 == 0o600
        os.kill(pid, signal.SIGSTOP)
        code, said = await command(tmp_path, "kill", "--flatten")
        assert code == 0 and "acting without it" in said
        assert "binance: 1 orders cancelled" in said and "1 positions, flat and read back" in said
        os.kill(pid, signal.SIGCONT)
        await until(lambda: lines[-1]["trading"] == "halted" and not _position(lines) and not _orders(lines))
    assert latch.read(tmp_path / "demo") and not (tmp_path / "demo" / outside.FILE).exists()


@pytest.mark.slow
async def test_without_an_engine_the_latch_is_written_and_what_could_be_asked_is_said(tmp_path: Path) -> None:
    code, said = await command(tmp_path, "kill")
    assert code == 0 and "no engine runs" in said and "nothing can be open" in said
    assert latch.read(tmp_path / "demo")
    code, said = await command(tmp_path, "--no-ui", "--json", "--for", "3s")
    assert code == 0 and msgspec.json.decode(said.splitlines()[0])["trading"] == "halted", "a restart stays latched"
    assert (await command(tmp_path, "release"))[0] == 0 and not latch.read(tmp_path / "demo")


@pytest.mark.parametrize(("words", "code"), [(("--mode", "live", "kill"), 3), (("kill", "now"), 2), (("--flatten",), 2)])
async def test_a_kill_that_cannot_be_done_says_so(tmp_path: Path, words: tuple[str, ...], code: int) -> None:
    assert (await command(tmp_path, *words))[0] == code


async def test_in_paper_the_kill_asks_the_venue_that_orders_go_to(tmp_path: Path) -> None:
    """Which lists fewer markets than the one that prices come from."""
    async with simulated(symbols=["ASTERUSDT", "BTCUSDT"]) as exchange, simulated() as ours:
        markets = {"binance": Address(exchange.rest, exchange.ws)}
        where = outside.Whereabouts(Endpoints(ours.rest, ours.ws, False, True, markets), ours.clock, Credentials(KEY, SECRET))
        outcome = await outside.kill(create_aster_config(), where, "binance", True, lambda text: None)
        assert outcome.problem == "" and outcome.confirmed_ms >= 0
