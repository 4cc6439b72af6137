"""The engine in a browser: who is let in, what a visitor sees, and what is left when it ends. Real processes, real sockets."""

import asyncio
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from textual_serve.download_manager import DownloadManager

from console import keys, serve
from console.exits import Exit
from console.launch import Attached
from console.link import WireLink
from engine.door import find
from engine.events import Trading
from engine.views import Frame, StatusView
from tests import pictures
from tests.console.conftest import FakeLink, frames_of, program
from tests.console.test_app import drawn
from tests.console.test_keys import settled, until
from tests.factory import settings
from tests.test_engine_process import running

PATIENCE_S = 30.0
HALT = "\x1b[24~"  # F12, as a terminal writes it
LOOKS = {  # of the screen's keys: what only looks; a new key is either one of these or in keys.LOCAL
    *("next_symbol", "previous_symbol", "timeframe", "previous_timeframe", "recentre", "theme", "layout", "latency"),
    *("help", "tour", "palette", "quit"),
    *("collect", "drop"),  # commands to the engine, which takes none from here
}


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def start(folder: Path, *arguments: str, out: Any = subprocess.PIPE) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "console.cli", *arguments]
    environ = {**os.environ, "BARTER_ENGINE_STATE_DIR": str(folder), "XDG_CONFIG_HOME": str(folder)}
    return subprocess.Popen(words, stdout=out, stderr=subprocess.PIPE, text=True, env=environ)


async def reached(holds: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < end, f"did not happen: {what}"
        await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A demo that runs, as the folder of its state."""
    folder = tmp_path_factory.mktemp("served")
    with (folder / "lines").open("w") as lines:
        process = start(folder, "--no-ui", out=lines)
    try:
        end = time.monotonic() + PATIENCE_S
        while "ASTER" not in (folder / "lines").read_text():
            assert time.monotonic() < end and process.poll() is None, "the engine did not start"
            time.sleep(0.1)
        yield folder
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


class Served:
    """`barter-tui serve` at a port of its own, asked by a client that is no browser and keeps its cookies."""

    def __init__(self, folder: Path, *more: str) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = start(folder, "serve", "--port", str(self.port), *more)
        assert self.process.stdout is not None
        self.address = ""
        self.web = aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True))

    async def get(self, address: str, **headers: str) -> tuple[int, str]:
        async with self.web.get(address, headers=headers) as response:
            return response.status, await response.text(errors="replace")

    def socket(self, *, origin: str = "", size: str = "width=120&height=36") -> Any:
        return self.web.ws_connect(f"{self.url}/ws?{size}", headers={"Origin": origin or self.url})

    def visitors(self) -> list[int]:
        """The processes of visitors."""
        table = subprocess.run(["ps", "-A", "-o", "pid=,ppid=,stat="], capture_output=True, text=True, check=True).stdout
        rows = [line.split() for line in table.splitlines()]
        return [int(pid) for pid, parent, state in rows if int(parent) == self.process.pid and state[0] != "Z"]

    async def end(self) -> str:
        """Its stderr; nothing of it is left."""
        visitors = self.visitors()
        self.process.send_signal(signal.SIGINT)
        out, err = await asyncio.to_thread(self.process.communicate, timeout=PATIENCE_S)
        assert self.process.returncode == Exit.INTERRUPTED, err
        assert "Traceback" not in out + err
        await reached(lambda: not any(running(pid) for pid in visitors), "the end of the visitors")
        return str(err)


@asynccontextmanager
async def served(folder: Path, *more: str) -> AsyncIterator[Served]:
    one = Served(folder, *more)
    try:
        one.address = (await asyncio.to_thread(one.process.stdout.readline)).strip()  # type: ignore[union-attr]
        yield one
    finally:
        await one.web.close()
        if one.process.poll() is None:
            one.process.kill()
            one.process.communicate()


async def shown(websocket: aiohttp.ClientWebSocketResponse, *words: str) -> None:
    """Waits until the visitor's screen has drawn all of these."""
    seen = ""
    async with asyncio.timeout(PATIENCE_S):
        while not all(word in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen) for word in words):
            message = await websocket.receive()
            assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), (message, seen[-500:])
            seen += message.data.decode("utf-8", "replace") if isinstance(message.data, bytes) else ""


async def trading(folder: Path) -> Trading:
    """What the engine says of itself."""
    link: WireLink = Attached(settings(engine={"state_dir": str(folder)})).link()
    await link.open()
    try:
        async with asyncio.timeout(PATIENCE_S):
            while True:
                message = await link.receive()
                for picture in message.pictures if isinstance(message, Frame) else ():
                    if isinstance(picture, StatusView):
                        return picture.trading
    finally:
        await link.close()


# --- a visitor ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
async def test_a_visitor_sees_the_console_and_can_only_watch(engine: Path) -> None:
    async with served(engine) as server:
        status, page = await server.get(server.address)
        assert status == 200 and f"ws://127.0.0.1:{server.port}/ws" in page
        assert (await server.get(f"{server.url}/static/js/textual.js"))[0] == 200
        async with server.socket() as websocket:
            await shown(websocket, "WATCHING", "ASTER/USDT")
            await websocket.send_json(["stdin", HALT])
            await shown(websocket, "This console only watches: halt was not sent.")
            await websocket.send_json(["stdin", "b"])
            await shown(websocket, "In a browser this console only watches.")
            assert len(server.visitors()) == 1
            assert await trading(engine) is Trading.ARMED
        await reached(lambda: not server.visitors(), "the end of a visitor that closed its page")
        assert "1 came to watch; turned away: nobody. The engine runs on." in await server.end()
    assert await trading(engine) is Trading.ARMED


@pytest.mark.slow
async def test_the_end_takes_the_visitors_with_it(engine: Path) -> None:
    async with served(engine) as server:
        await server.get(server.address)
        async with server.socket() as websocket:
            await shown(websocket, "WATCHING")
            await server.end()


async def test_a_visitor_goes_when_its_server_was_killed(engine: Path) -> None:
    async with served(engine) as server:
        await server.get(server.address)
        async with server.socket() as websocket:
            await shown(websocket, "WATCHING")
            (visitor,) = server.visitors()
            server.process.kill()
            server.process.communicate()
            await reached(lambda: not running(visitor), "the end of the visitor")


@pytest.mark.slow
async def test_what_a_visitor_sends_that_is_no_message_ends_it_and_nobody_else(engine: Path) -> None:
    async with served(engine) as server:
        await server.get(server.address)
        async with server.socket() as good, server.socket() as bad:
            await shown(good, "WATCHING")
            await bad.send_str('{"not": "a list"')
            async with asyncio.timeout(PATIENCE_S):
                while (await bad.receive()).type != aiohttp.WSMsgType.CLOSED:
                    pass
            await good.send_json(["stdin", "q"])
            await shown(good, "Leave the console")
        await server.end()


# --- who is turned away ------------------------------------------------------------------------------------------------


async def test_another_hosts_name_another_pages_origin_and_no_key_are_turned_away_and_counted(engine: Path) -> None:
    async with served(engine) as server:
        for _ in range(2):  # a page whose name was pointed here (DNS rebinding)
            status, said = await server.get(server.address, Host=f"evil.example:{server.port}")
            assert (status, "answers to no other name" in said) == (403, True)
        assert (await server.get(server.address, Origin="http://evil.example"))[0] == 403
        assert (await server.get(server.url))[0] == 403
        assert (await server.get(f"{server.url}/?key=guessed"))[0] == 403
        assert (await server.get(f"{server.url}/static/js/textual.js"))[0] == 403
        assert (await server.get(server.address))[0] == 200
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await server.socket(origin="http://evil.example")
        assert refused.value.status == 403
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await server.socket(size="width=100000&height=36")
        assert server.visitors() == []
        away = "2 for another host's name, 2 for another page's origin, 3 for no key, 1 for an odd size"
        assert f"0 came to watch; turned away: {away}." in await server.end()


@pytest.mark.slow
async def test_only_so_many_come_in_and_a_place_is_free_again(engine: Path) -> None:
    async with served(engine, "--visitors", "1") as server:
        await server.get(server.address)
        async with server.socket() as websocket:
            await shown(websocket, "WATCHING")
            status, said = await server.get(server.address)
            assert (status, "there is room for no more" in said) == (503, True)
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await server.socket()
            assert refused.value.status == 503
        end, refusals = time.monotonic() + PATIENCE_S, 2
        while (await server.get(server.address))[0] != 200:
            refusals += 1
            assert time.monotonic() < end, "the place did not become free"
            await asyncio.sleep(0.05)
        assert not server.visitors()
        async with server.socket() as websocket:
            await shown(websocket, "WATCHING")
        assert f"2 came to watch; turned away: {refusals} for no room." in await server.end()


async def test_an_engine_that_went_away_is_a_sentence_on_the_page(engine: Path, tmp_path: Path) -> None:
    """A folder whose socket is that of the engine, until it is taken away."""
    (tmp_path / "demo").mkdir()
    place = tmp_path / "demo" / "engine.sock"
    place.symlink_to(find(engine / "demo"))
    async with served(tmp_path) as server:
        assert (await server.get(server.address))[0] == 200
        place.unlink()
        status, said = await server.get(server.address)
        assert (status, "No engine runs now" in said) == (503, True)
        await server.end()


# --- what is not served ------------------------------------------------------------------------------------------------


def refused(folder: Path, *arguments: str) -> tuple[int, str]:
    process = start(folder, "serve", *arguments)
    _, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err and len(err.splitlines()) == 1, err
    return process.returncode, err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--host", "0.0.0.0"), "is not this machine's loopback"),
        (("--host", "192.168.1.5"), "is not this machine's loopback"),
        (("--host", "::"), "is not this machine's loopback"),
        (("--host", "example.com"), "is not this machine's loopback"),
        (("--port", "0"), "0 is no port"),
        (("--visitors", "0"), "0 is out of range"),
        (("--set", "engine"), "it is not a setting"),
    ],
)
def test_what_cannot_be_served_is_a_sentence(tmp_path: Path, arguments: tuple[str, ...], words: str) -> None:
    code, err = refused(tmp_path, *arguments)
    assert code == Exit.USAGE and words in err


def test_without_an_engine_it_is_a_sentence(tmp_path: Path) -> None:
    code, err = refused(tmp_path)
    assert code == Exit.STATE and "no engine runs with this state folder" in err
    assert list(tmp_path.iterdir()) == []


def test_a_port_that_is_taken_is_a_sentence(engine: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        code, err = refused(engine, "--port", str(other.getsockname()[1]))
    assert code == Exit.USAGE and "cannot be opened" in err and "another --port" in err


async def until_at_eof(visitor: serve.Visitor) -> None:
    process = visitor._process
    assert process is not None and process.stdout is not None
    await reached(process.stdout.at_eof, "the end of its output")


@pytest.mark.parametrize("late", [False, True], ids=["heard", "before-it-was-heard"])
async def test_a_visitors_process_that_says_no_more_and_stays_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, late: bool
) -> None:
    monkeypatch.setattr(serve, "GONE_WITHIN_S", 0.1)
    told: list[int] = []

    async def close() -> None:
        told.append(1)

    async def write(_: object) -> None: ...

    command = f"echo $$ > {tmp_path}/pid; exec sleep 60 >&- 2>&-"
    visitor = serve.Visitor(command, write_bytes=write, write_str=write, close=close, download_manager=DownloadManager())
    await visitor._open_app_process()
    if late:
        await until_at_eof(visitor)
    visitor._task = asyncio.create_task(visitor.run())
    await visitor.stop()
    assert told == [1]
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)


# --- its console -------------------------------------------------------------------------------------------------------


def test_each_key_of_the_screen_only_looks_or_is_not_for_a_browser() -> None:
    asked = {key.id for key in keys.KEYS if not key.pane and key.group not in ("trading", "pane")}
    assert asked == LOOKS | keys.LOCAL


@pytest.mark.parametrize("id", sorted(keys.LOCAL))
async def test_what_is_not_for_a_browser_is_said_from_key_and_palette(id: str) -> None:
    link, key = FakeLink(frames_of(pictures.busy())), keys.BY_ID[id]
    app = program(link, control=False, browser=True)
    async with app.run_test(size=(160, 50)) as pilot:
        await settled(pilot, link)
        await pilot.press(key.key)
        await until(pilot, lambda: drawn(app).count("In a browser this console only watches") == 1, PATIENCE_S)
        await app.press(key)
        await until(pilot, lambda: drawn(app).count("In a browser this console only watches") >= 2, PATIENCE_S)
        assert app.screen is app.trading


@pytest.mark.slow
def test_the_address_is_all_that_is_on_stdout(engine: Path) -> None:
    port = free_port()
    process = start(engine, "serve", "--port", str(port))
    assert process.stdout is not None
    first = process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    rest, _ = process.communicate(timeout=PATIENCE_S)
    assert re.fullmatch(rf"http://127\.0\.0\.1:{port}/\?key=[\w-]{{20,}}\n", first) and rest == ""
    assert process.returncode == Exit.TERMINATED
