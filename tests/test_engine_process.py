"""Venue, engine and console as processes: how they start, and what is left when one of them is killed."""

import asyncio
import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from console.engine_process import EngineProcess
from console.engine_process import Order as EngineOrder
from console.launch import Attached, Siblings
from console.link import WireLink, socket_link
from console.venue_process import Order
from engine.clock import Clock
from engine.config import Settings
from engine.door import SOCKET
from engine.errors import EngineStartError, StateError
from engine.events import Action, Trading, Trust
from engine.places import Endpoints
from engine.runtime import latch
from engine.views import Answer, Ask, ChartLiveView, ChartView, Frame, Goodbye, LadderView, Leave, StatusView
from tests.factory import settings

pytestmark = pytest.mark.slow

PATIENCE_S = 30.0
QUICK = {"console_loss_after_s": 0.3, "console_return_s": 0.5}
NOWHERE = "http://127.0.0.1:9"


def desk(folder: Path, **more: object) -> Settings:
    return settings(engine={"state_dir": str(folder), **more})


def running(pid: int) -> bool:
    """A process that nobody has buried is not running."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    try:
        return not stat.parent.parent.joinpath("self").exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


async def until(reached: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not reached():
        assert time.monotonic() < deadline, f"did not happen: {what}"
        await asyncio.sleep(0.02)


@asynccontextmanager
async def started(folder: Path, **more: object) -> AsyncIterator[Siblings]:
    """Venue and engine as a screen starts them; nothing is left at the end."""
    chosen = desk(folder, **more)
    launch = Siblings(Order(Clock.start(), "key", "secret", 7, "10000"), chosen, lambda _: chosen)
    try:
        yield launch
    finally:
        pids = [part.pid for part in (launch.engine, launch.venue) if part is not None and part.alive]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        await launch.end(Leave(keep_running=False))
        await until(lambda: not any(running(pid) for pid in pids), "the end of the processes")


async def read_until(link: WireLink, reached: Callable[[object], object]) -> object:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            message = await link.receive()
            if reached(message):
                return message
            assert not isinstance(message, Goodbye), message.reason


def prices(message: object) -> bool:
    return isinstance(message, Frame) and any(isinstance(picture, LadderView) and picture.bids for picture in message.pictures)


def of(message: object, kind: type) -> list[object]:
    return [picture for picture in message.pictures if isinstance(picture, kind)] if isinstance(message, Frame) else []


async def test_the_first_frame_comes_before_the_venue_has_answered_and_says_what_is_awaited(tmp_path: Path) -> None:
    order = EngineOrder(desk(tmp_path), Clock.start(), Endpoints(NOWHERE, "ws://127.0.0.1:9"))
    engine = await EngineProcess.start(order, log=tmp_path / "log")

    async def socket() -> Path:
        return engine.socket

    link = socket_link(socket)
    await link.open()
    status = of(await read_until(link, lambda message: of(message, StatusView)), StatusView)[0]
    assert isinstance(status, StatusView) and status.waits_for == ("the venue's list of markets",)
    last = await read_until(link, lambda message: isinstance(message, Goodbye))
    assert isinstance(last, Goodbye) and "could not start" in last.reason and "could not be reached" in last.reason
    assert await engine.stopped(PATIENCE_S) == 3
    assert "could not be reached" in engine.problem and "Traceback" not in (tmp_path / "log").read_text()


async def test_prices_come_a_command_is_done_and_a_stop_ends_everything_in_good_order(tmp_path: Path) -> None:
    async with started(tmp_path) as launch:
        link = launch.link()
        await link.open()
        await read_until(link, prices)
        await link.send(Ask("one", Action.HALT))
        halted = await read_until(
            link, lambda message: any(view.trading is Trading.HALTED for view in of(message, StatusView))  # type: ignore[attr-defined]
        )
        assert isinstance(halted, Frame)
        assert launch.engine is not None and launch.venue is not None
        pids = launch.engine.pid, launch.venue.pid
        await link.send(Leave(keep_running=False))
        await read_until(link, lambda message: isinstance(message, Goodbye))
        assert await launch.end(link.left) == 0
        assert not any(running(pid) for pid in pids)
        assert "Traceback" not in (launch.folder / "engine.log").read_text()


async def test_a_second_engine_is_refused_and_a_signal_halts_the_first_says_goodbye_and_ends_it(tmp_path: Path) -> None:
    async with started(tmp_path) as launch:
        link = launch.link()
        await link.open()
        await read_until(link, prices)
        assert launch.engine is not None
        with pytest.raises(EngineStartError, match="runs with this state folder already") as refused:
            await EngineProcess.start(EngineOrder(desk(tmp_path), Clock.start(), Endpoints(NOWHERE, "ws://127.0.0.1:9")))
        assert refused.value.exit == 4
        os.kill(launch.engine.pid, signal.SIGTERM)
        last = await read_until(link, lambda message: isinstance(message, Goodbye))
        assert isinstance(last, Goodbye) and last.reason == "The engine ended: it was terminated."
        assert await launch.engine.stopped(PATIENCE_S) == 143
        assert latch.read(launch.folder).startswith("halted by terminated")


@pytest.mark.parametrize("line", [b"", b"{nonsense\n", b'{"settings": {}, "secret": "hush-hush"}\n'])
def test_a_specification_that_cannot_be_read_is_one_sentence(root: Path, line: bytes) -> None:
    done = subprocess.run([sys.executable, "-m", "engine"], input=line, cwd=root, capture_output=True, timeout=PATIENCE_S)
    told = json.loads(done.stdout)
    assert done.returncode == told["exit"] == 2 and "specification cannot be read" in told["error"]
    assert b"hush" not in done.stdout + done.stderr and b"Traceback" not in done.stderr


# --- deaths -----------------------------------------------------------------------------------------------------------------


async def test_a_killed_engine_is_noticed_at_once_and_opening_again_starts_one_that_recovers(tmp_path: Path) -> None:
    async with started(tmp_path) as launch:
        link = launch.link()
        first = await link.open()
        await read_until(link, prices)
        await link.send(Ask("one", Action.HALT))
        await until(lambda: latch.read(launch.folder), "the halt")
        assert launch.engine is not None and launch.venue is not None
        venue = launch.venue.pid
        os.kill(launch.engine.pid, signal.SIGKILL)
        async with asyncio.timeout(2.0):
            while not isinstance(message := await link.receive(), Goodbye):
                pass
        assert message.reason == "The engine is gone: its process ended or was killed."
        again = await link.open()
        assert again.session != first.session and again.pid != first.pid and launch.venue.pid == venue
        found = await read_until(link, prices)
        assert isinstance(found, Frame)
        assert launch.engine.alive and latch.read(launch.folder)


async def test_a_killed_venue_leaves_an_engine_that_answers_and_can_be_stopped(tmp_path: Path) -> None:
    async with started(tmp_path) as launch:
        link = launch.link()
        await link.open()
        await read_until(link, prices)
        assert launch.venue is not None
        os.kill(launch.venue.pid, signal.SIGKILL)
        await read_until(
            link, lambda message: any(not all(up for _, up in view.routes) for view in of(message, StatusView))  # type: ignore[attr-defined]
        )
        await link.send(Leave(keep_running=False))
        await read_until(link, lambda message: isinstance(message, Goodbye))
        assert await launch.end(link.left) == 0
        assert launch.engine is not None and not running(launch.engine.pid)


async def test_a_killed_venue_is_started_again_and_the_engine_reconnects_and_synchronises(tmp_path: Path) -> None:
    async with started(tmp_path) as launch:
        link, told = launch.link(), []
        await link.open()
        await read_until(link, prices)
        assert launch.venue is not None and launch.engine is not None
        first, engine, address = launch.venue.pid, launch.engine.pid, launch.venue.said.rest
        minding = asyncio.create_task(launch.mind(told.append))
        try:
            await read_until(link, lambda message: any(view.unfinished for view in of(message, ChartLiveView)))
            os.kill(first, signal.SIGKILL)
            await read_until(link, lambda message: any(view.trust is not Trust.TRUSTED for view in of(message, LadderView)))
            await read_until(link, lambda message: any(view.trust is Trust.TRUSTED for view in of(message, LadderView)))
            await read_until(link, lambda message: any(all(up for _, up in view.routes) for view in of(message, StatusView)))
            since_ms = time.time() * 1000

            def bars_go_on(message: object) -> bool:
                bars = [bar for view in of(message, ChartView) for bar in view.bars]  # type: ignore[attr-defined]
                return sum(1 for bar in bars if bar.trades and bar.open_ms > since_ms) >= 3

            await read_until(link, bars_go_on)
        finally:
            minding.cancel()
        assert launch.venue.pid != first and launch.venue.said.rest == address and launch.engine.pid == engine
        assert told == ["The simulated venue died. It is started again; its account begins anew."]


CONSOLE = """
import asyncio, json, sys
from pathlib import Path
from console.launch import Siblings
from console.venue_process import Order
from engine.clock import Clock
from engine.views import Frame, LadderView, Leave
from tests.test_engine_process import desk, prices, read_until

async def main(folder, how, more):
    chosen = desk(folder, **more)
    launch = Siblings(Order(Clock.start(), "key", "secret", 7, "10000"), chosen, lambda _: chosen)
    link = launch.link()
    await link.open()
    await read_until(link, prices)
    print(json.dumps([launch.engine.pid, launch.venue.pid]), flush=True)
    if how == "leave":
        await link.send(Leave(keep_running=True))
        await link.close()
        await launch.end(link.left)
        return
    if how == "crash":
        await link.close()
        await launch.end(link.left)
        return
    while True:
        await link.receive()

asyncio.run(main(Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3])))
"""


@asynccontextmanager
async def console(root: Path, folder: Path, how: str, **more: object) -> AsyncIterator[tuple["subprocess.Popen[str]", int, int]]:
    """A console's process with its engine and venue; yields it and their ids. None of them is left at the end."""
    process = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", CONSOLE, str(folder), how, json.dumps(more)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
    )
    assert process.stdout is not None
    engine, venue = json.loads(await asyncio.to_thread(process.stdout.readline))
    try:
        yield process, engine, venue
    finally:
        for pid in (process.pid, engine, venue):
            if running(pid):
                os.kill(pid, signal.SIGKILL)
        await asyncio.to_thread(process.communicate)


async def test_a_killed_console_leaves_an_engine_that_halts_and_ends_and_then_the_venue_ends(root: Path, tmp_path: Path) -> None:
    async with console(root, tmp_path, "wait", **QUICK) as (process, engine, venue):
        folder = tmp_path / "demo"
        process.kill()
        await until(lambda: latch.read(folder), "the halt")
        assert latch.read(folder).startswith("halted by console loss") and running(venue)
        await until(lambda: not running(engine), "the end of the engine")
        await until(lambda: not running(venue), "the end of the venue")
        assert "Traceback" not in (folder / "engine.log").read_text() + (folder / "venue.log").read_text()
        assert not (folder / SOCKET).exists()


async def test_a_console_that_crashed_can_be_opened_again_on_the_halted_engine(root: Path, tmp_path: Path) -> None:
    async with console(root, tmp_path, "crash", console_loss_after_s=0.1, console_return_s=20.0) as (process, engine, venue):
        await asyncio.to_thread(process.wait)
        await until(lambda: latch.read(tmp_path / "demo"), "the halt")
        link = Attached(desk(tmp_path), control=True).link()
        assert (await link.open()).pid == engine
        await read_until(link, prices)
        await link.send(Leave(keep_running=False))
        await read_until(link, lambda message: isinstance(message, Goodbye))
        await link.close()
        await until(lambda: not running(engine) and not running(venue), "the end of both")


async def test_an_engine_left_running_goes_on_with_its_venue_until_a_console_stops_it(root: Path, tmp_path: Path) -> None:
    async with console(root, tmp_path, "leave", **QUICK) as (process, engine, venue):
        assert await asyncio.to_thread(process.wait) == 0
        await asyncio.sleep(1.5)  # longer than a loss would take
        assert running(engine) and running(venue) and not latch.read(tmp_path / "demo")
        link = Attached(desk(tmp_path), control=True).link()
        await link.open()
        await read_until(link, prices)
        await link.send(Leave(keep_running=False))
        await read_until(link, lambda message: isinstance(message, Goodbye))
        await link.close()
        await until(lambda: not running(engine) and not running(venue), "the end of both")


def test_a_state_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def start() -> None:
        async with started(tmp_path / "file") as launch:
            await launch.link().open()

    with pytest.raises(StateError, match="state folder cannot be written"):
        asyncio.run(start())


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "needs a terminal"),
        (["attach"], "needs a terminal"),
        (["--for", "5s"], "--for: the screen does not know it"),
        (["--json"], "--json: the screen does not know it"),
    ],
)
def test_a_screen_that_cannot_be_shown_is_a_sentence_and_starts_nothing(
    root: Path, tmp_path: Path, arguments: list[str], words: str
) -> None:
    environ = {**os.environ, "BARTER_ENGINE_STATE_DIR": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "console.cli", *arguments]
    done = subprocess.run(command, cwd=root, env=environ, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_screen_whose_stderr_goes_to_a_file_is_refused_and_not_drawn_into_it(root: Path, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    environ = {**os.environ, "BARTER_ENGINE_STATE_DIR": str(tmp_path / "state"), "XDG_CONFIG_HOME": str(tmp_path)}
    command = [sys.executable, "-m", "console.cli"]
    with (tmp_path / "stderr").open("wb") as file:
        done = subprocess.run(command, cwd=root, env=environ, stdin=slave, stdout=slave, stderr=file, timeout=60)
    os.close(slave)
    os.close(master)
    said = (tmp_path / "stderr").read_text()
    assert done.returncode == 2 and "needs a terminal on stdin, stdout and stderr" in said and "\x1b" not in said
    assert not (tmp_path / "state").exists()


def test_attaching_where_no_engine_runs_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="no engine runs with this state folder: start one"):
        Attached(desk(tmp_path))


async def test_a_console_that_attaches_only_watches_unless_it_asked_for_control(root: Path, tmp_path: Path) -> None:
    async with console(root, tmp_path, "leave", **QUICK) as (process, engine, _):
        assert await asyncio.to_thread(process.wait) == 0
        watching, steering = Attached(desk(tmp_path)).link(), Attached(desk(tmp_path), control=True).link()
        answers = []
        for link in (watching, steering):
            await link.open()
            await link.send(Ask(f"arm {len(answers)}", Action.DISARM))
            answers.append(await read_until(link, lambda message: isinstance(message, Answer)))
        assert [answer.accepted for answer in answers if isinstance(answer, Answer)] == [False, True]
        await watching.send(Leave(keep_running=False))  # of one that only watches it stops nothing
        await watching.close()
        await asyncio.sleep(0.5)
        assert running(engine)
        await steering.send(Leave(keep_running=False))
        await read_until(steering, lambda message: isinstance(message, Goodbye))
        await steering.close()
        await until(lambda: not running(engine), "the end of the engine")


def test_a_package_in_the_folder_that_one_is_in_is_not_run(tmp_path: Path) -> None:
    for name in ("engine", "console"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise SystemExit('a stranger runs')")
    words = [sys.executable, "-P", "-m", "console.cli", "--no-ui", "--for", "2s", "--set", f"engine.state_dir={tmp_path / 's'}"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0 and "stranger" not in done.stdout + done.stderr, done.stderr
