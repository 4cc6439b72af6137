"""`barter-tui serve`: the engine that runs, in browsers on this machine. Each visitor is a console that only watches.

textual-serve starts a process for each visitor, `python -m console.serve`, and carries its bytes over a websocket. Here it is
told who may come in: a browser on this machine that opened the address with its key, and only as many as there is room for.
"""

import argparse
import asyncio
import contextlib
import ipaddress
import logging
import os
import secrets
import shlex
import signal
import sys
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NoReturn

from aiohttp import web
from textual_serve.app_service import AppService
from textual_serve.server import Server

from console.exits import SIGNALS, Exit
from console.guard import watch_parent
from engine import keychain
from engine.config import Settings, load, state_dir
from engine.door import find
from engine.errors import BarterError, ConfigError
from engine.events import Mode

log = logging.getLogger("console")
WHERE = "command line"
HOST, PORT = "127.0.0.1", 8000
VISITORS, MOST_VISITORS = 4, 32
WIDEST = 1_000  # columns and rows that a visitor may ask for
LARGEST_MESSAGE = 1 << 16  # bytes: keys, pasted text
ENDS_WITHIN_S = 5.0
GONE_WITHIN_S = 2.0  # a visitor's process after the end of its output; then it is killed
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def make_parser() -> argparse.ArgumentParser:
    """The flags of `barter-tui serve`."""
    parser = argparse.ArgumentParser("barter-tui serve", description="The engine that runs, in a browser on this machine.")
    add = parser.add_argument
    add("--host", default=HOST, metavar="ADDRESS", help=f"of this machine's loopback, no other (default: {HOST})")
    add("--port", type=int, default=PORT, metavar="N", help=f"where browsers find it (default: {PORT})")
    add("--visitors", type=int, default=VISITORS, metavar="N", help=f"at most so many at a time (default: {VISITORS})")
    _add_settings(parser)
    return parser


def _add_settings(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--mode", choices=[mode.value for mode in Mode], help="the mode of the engine (default: as in the settings)"
    )
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings file")
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE", help="change one setting for this run")
    parser.add_argument("--verbose", action="store_true", help="log more: to stderr, of visitors to the log in the state folder")


def _settings(arguments: argparse.Namespace) -> Settings:
    flags = {"engine.mode": arguments.mode} if arguments.mode else {}
    for pair in arguments.set:
        key, equals, value = (part.strip() for part in pair.partition("="))
        if not equals:
            raise ConfigError(WHERE, pair, "it is not a setting", "--set section.key=value")
        flags[key] = value
    return load(file=arguments.config, environ=os.environ, flags=flags)


def run(arguments: argparse.Namespace) -> int:
    """Until a signal ends it. Raises ConfigError for an address that is not ours to open, StateError where no engine runs."""
    from console.launch import Attached

    host = _loopback(arguments.host)
    if not 1 <= arguments.port <= 65_535:
        raise ConfigError(WHERE, "--port", f"{arguments.port} is no port", "a number from 1 to 65535")
    if not 1 <= arguments.visitors <= MOST_VISITORS:
        raise ConfigError(WHERE, "--visitors", f"{arguments.visitors} is out of range", f"a number from 1 to {MOST_VISITORS}")
    settings = _settings(arguments)
    Attached(settings)
    keychain.forget(os.environ)  # no visitor's process inherits them
    server = Loopback(_visitor(arguments), host, arguments.port, arguments.visitors, state_dir(settings))
    return asyncio.run(_serve(server, settings.engine.mode))


def _loopback(host: str) -> str:
    """Its address. Raises ConfigError for one that other machines reach."""
    address = HOST if host == "localhost" else host
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(address).is_loopback:
            return address
    problem = f"{host} is not this machine's loopback, and nobody else is to see your account"
    raise ConfigError(WHERE, "--host", problem, "127.0.0.1, ::1 or localhost")


def _visitor(arguments: argparse.Namespace) -> str:
    """The command of one visitor's process, for a shell, which it replaces."""
    words = [sys.executable, "-P", "-m", "console.serve"]
    words += ["--mode", arguments.mode] if arguments.mode else []
    words += ["--config", str(arguments.config.absolute())] if arguments.config else []
    words += [word for pair in arguments.set for word in ("--set", pair)]
    words += ["--verbose"] if arguments.verbose else []
    return f"exec {shlex.join(words)}{'' if arguments.verbose else ' 2>/dev/null'}"


class Loopback(Server):
    """Lets in who came to `public_url` itself, with the key; counts who was turned away, and why."""

    def __init__(self, command: str, host: str, port: int, room: int, folder: Path) -> None:
        self.place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        super().__init__(command, host, port, title="barter-tui", public_url=f"http://{self.place}")
        self.key = secrets.token_urlsafe(16)
        self.room, self.folder = room, folder
        self.came = self.here = 0
        self.empty = asyncio.Event()
        self.turned_away: Counter[str] = Counter()
        self._cookie = f"barter-{port}"
        addresses = f"'self' {self.public_url}"
        policy = {
            "default-src": addresses,
            "script-src": f"{addresses} 'unsafe-inline'",  # of textual-serve's page
            "style-src": f"{addresses} 'unsafe-inline'",
            "img-src": f"{addresses} data:",
            "connect-src": f"{addresses} ws://{self.place}",
            "frame-ancestors": "'none'",
        }
        self._headers = {
            "Content-Security-Policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "no-referrer",
            "Cache-Control": "no-store",
        }

    @property
    def address(self) -> str:
        """What is opened in a browser."""
        return f"{self.public_url}/?key={self.key}"

    async def on_startup(self, app: web.Application) -> None:
        """No banner: `run` says where it is."""

    async def _make_app(self) -> web.Application:
        app = await super()._make_app()
        app.middlewares.append(self._let_in)
        return app

    @web.middleware
    async def _let_in(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """A page elsewhere that had its name point here (DNS rebinding) or that opens our websocket gets nothing."""
        key = request.query.get("key", "") or request.cookies.get(self._cookie, "")
        if request.headers.get("Host", "") != self.place:
            self._turn_away("another host's name", 403, f"This is {self.public_url} and answers to no other name.")
        if request.headers.get("Origin", self.public_url) != self.public_url:
            self._turn_away("another page's origin", 403, "Only the page of this address may do that.")
        if not secrets.compare_digest(key.encode(), self.key.encode()):
            self._turn_away("no key", 403, "Open the address that `barter-tui serve` printed: its key is missing or old.")
        if request.path in ("/", "/ws"):
            if not find(self.folder).is_socket():
                self._turn_away("no engine", 503, "No engine runs now. Start one with `barter-tui`, then load this page again.")
            if self.here >= self.room:
                self._turn_away("no room", 503, f"{self.here} watch already, and there is room for no more. Close one of them.")
        response = await handler(request)
        if not response.prepared:
            response.headers.update(self._headers)
            response.headers.add("Set-Cookie", f"{self._cookie}={self.key}; Path=/; HttpOnly; SameSite=Strict")
        return response

    def _turn_away(self, why: str, status: int, sentence: str) -> NoReturn:
        self.turned_away[why] += 1
        if self.turned_away[why] == 1:
            _say(f"turned away: {why}. {sentence} More like it are counted.")
        kind = web.HTTPForbidden if status == 403 else web.HTTPServiceUnavailable
        raise kind(text=f"{sentence}\n")

    async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
        """One visitor, from its coming to the end of its process."""
        asked = [request.query.get(name, "80") for name in ("width", "height")]
        if not all(size.isdecimal() and len(size) < 5 and int(size) <= WIDEST for size in asked):
            self._turn_away("an odd size", 403, f"At most {WIDEST} columns and rows.")
        self.came, self.here = self.came + 1, self.here + 1
        self.empty.clear()
        websocket = web.WebSocketResponse(heartbeat=15, max_msg_size=LARGEST_MESSAGE)

        async def close() -> None:
            await websocket.close()

        visitor = Visitor(
            self.command,
            write_bytes=websocket.send_bytes,
            write_str=websocket.send_str,
            close=close,
            download_manager=self.download_manager,
        )
        try:
            await websocket.prepare(request)
            await visitor.start(int(asked[0]), int(asked[1]))
            await self._process_messages(websocket, visitor)
        except (ValueError, LookupError, TypeError, AssertionError, ConnectionError) as problem:
            log.warning("a visitor's message was not understood", exc_info=problem)
        finally:
            try:
                await visitor.stop()
            finally:
                self.here -= 1
                if not self.here:
                    self.empty.set()
        return websocket


class Visitor(AppService):
    """One visitor's process; the page is told when it ends, also when it never began."""

    async def run(self) -> None:
        with contextlib.suppress(asyncio.CancelledError):  # it cancels its own reader, and trips where that never began
            await super().run()
        await self.remote_close()
        await self._gone()

    async def _gone(self) -> None:
        """Nothing is left of it: neither the process, nor our end of its pipes, which Python 3.13 warns of."""
        process = self._process
        assert process is not None
        try:
            async with asyncio.timeout(GONE_WITHIN_S):
                await process.wait()
        except TimeoutError:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()
        with contextlib.suppress(ConnectionError):
            self.stdin.close()
            await self.stdin.wait_closed()


async def _serve(server: Loopback, mode: Mode) -> int:
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[Exit] = loop.create_future()

    def signalled(number: signal.Signals) -> None:
        if not ended.done():
            ended.set_result(SIGNALS[number])

    for number in SIGNALS:
        loop.add_signal_handler(number, signalled, number)
    runner = web.AppRunner(await server._make_app(), handle_signals=False, access_log=None, shutdown_timeout=0.5)
    await runner.setup()
    try:
        await web.TCPSite(runner, server.host, server.port).start()
    except OSError as problem:
        await runner.cleanup()
        why = os.strerror(problem.errno) if problem.errno else str(problem)
        raise ConfigError(WHERE, "--port", f"{server.place} cannot be opened ({why})", "another --port") from None
    print(server.address, flush=True)
    _say(f"the {mode.value} engine can be watched there, by browsers on this machine, and not steered. Ctrl-C ends it.")
    code = await ended
    await runner.cleanup()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(ENDS_WITHIN_S if server.here else 0):
            await server.empty.wait()
    away = ", ".join(f"{count} for {why}" for why, count in server.turned_away.items())
    _say(f"{server.came} came to watch; turned away: {away or 'nobody'}. The engine runs on.")
    return code


def _say(sentence: str) -> None:
    print(f"barter-tui: {sentence}", file=sys.stderr, flush=True)


# --- a visitor's process -----------------------------------------------------------------------------------------------


async def _visit(settings: Settings, verbose: bool) -> None:
    from console import logs
    from console.app import Console
    from console.launch import Attached

    log_file = logs.to_file(state_dir(settings), verbose)
    link = Attached(settings).link()
    console = Console(link, log_file=log_file, control=False, browser=True)
    try:
        await console.run_async()
    finally:
        await link.close()


def visit(argv: Sequence[str]) -> int:
    """One visitor's console, drawn to the server that started this process; it ends with it."""
    parser = argparse.ArgumentParser("console.serve")
    _add_settings(parser)
    arguments = parser.parse_args(argv)
    threading.Thread(target=watch_parent, args=(os.getppid(),), daemon=True).start()
    try:
        asyncio.run(_visit(_settings(arguments), arguments.verbose))
    except BarterError as problem:
        log.warning("a visitor saw nothing: %s", problem)
        return Exit.STATE
    return Exit.OK


if __name__ == "__main__":
    sys.exit(visit(sys.argv[1:]))
