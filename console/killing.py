"""`barter-tui kill [--flatten]`: the latch first, then the running engine, then, where that does not confirm it, by itself."""

import asyncio
import contextlib
import os
import socket
import time
from pathlib import Path
from typing import TYPE_CHECKING

from websockets.exceptions import WebSocketException
from websockets.sync.client import unix_connect

from console.commands import fresh_id
from console.exits import Exit
from engine import __version__
from engine.config import Settings, state_dir
from engine.door import find
from engine.errors import ConfigError
from engine.events import Action, Mode
from engine.runtime import latch
from engine.views import PROTOCOL, Answer, Ask, Frame, Goodbye, Hello, Leave, StatusView, Welcome, decode_to_console, encode

if TYPE_CHECKING:
    from engine.runtime.outside import Outcome

ANSWER_WITHIN_S = 2.0
DONE_WITHIN_S = 10.0  # after the engine has answered: then this acts too


def run(settings: Settings, flatten: bool) -> int:
    """Kill, report on stdout; 0 only where it was verified."""
    folder, word = state_dir(settings), "flatten" if flatten else "halt"
    begun = time.monotonic()
    latch.prepare(folder)
    latch.write(folder, f"{word} from another shell")
    _say(begun, f"latched: trading in {settings.engine.mode.value} stays halted until `barter-tui release`")
    problem = _told(folder, Action.FLATTEN if flatten else Action.HALT, begun)
    if not problem:
        return Exit.OK
    _say(begun, f"{problem}: acting without it")
    latch.write(folder, f"{word} from another shell")  # an engine that came and went may have released it
    try:
        outcomes = asyncio.run(_outside(settings, folder, flatten, begun))
    except ConfigError as wrong:
        _say(begun, f"not done: {wrong}")
        return Exit.VENUE
    for outcome in outcomes:
        if outcome.problem:
            _say(begun, f"{outcome.venue}: NOT done: {outcome.problem}. Look there by other means.")
            continue
        state = "flat" if flatten else "protected or flat"
        _say(
            begun,
            f"{outcome.venue}: {outcome.orders} orders cancelled in {outcome.cancelled_ms} ms, {outcome.positions} positions, "
            f"{state} and read back in {outcome.confirmed_ms} ms",
        )
    return Exit.VENUE if any(outcome.problem for outcome in outcomes) else Exit.OK


def _say(begun: float, text: str) -> None:
    print(f"{(time.monotonic() - begun) * 1000:7.0f} ms  {text}", flush=True)


def release(settings: Settings) -> int:
    """Clear the latch, and have an engine that runs release it too."""
    folder, mode = state_dir(settings), settings.engine.mode.value
    reason = latch.read(folder)
    running = find(folder).is_socket() and not _told(folder, Action.RELEASE, time.monotonic())
    if latch.clear(folder) or reason:
        after = "The engine that runs may be armed again." if running else "The next start may be armed again."
        print(f"Released: trading in {mode} was halted ({reason}). {after}")
    else:
        print(f"Nothing to release: trading in {mode} is not halted.")
    return Exit.OK


def _told(folder: Path, action: Action, begun: float) -> str:
    """Why the engine has not confirmed it, "" when it has."""
    path = find(folder)
    if not path.is_socket():
        return "no engine runs"
    try:
        connection = unix_connect(
            str(path), "ws://engine/", compression=None, open_timeout=ANSWER_WITHIN_S, close_timeout=0.5, ping_interval=None
        )
    except (OSError, TimeoutError, WebSocketException):
        return f"the engine does not answer ({ANSWER_WITHIN_S:.0f} s)" if time.monotonic() - begun > 1.0 else "no engine answers"
    try:
        connection.send(encode(Hello(PROTOCOL, __version__, True, 10.0)))
        return _asked(connection, Ask(fresh_id(), action, source="another shell"), begun)
    except (OSError, TimeoutError, WebSocketException, ValueError):
        return "the engine stopped answering"
    finally:
        with contextlib.suppress(OSError, WebSocketException):
            connection.send(encode(Leave(keep_running=True)))
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)


def _asked(connection: object, ask: Ask, begun: float) -> str:
    deadline, answered, still = time.monotonic() + ANSWER_WITHIN_S, False, ""
    while (left := deadline - time.monotonic()) > 0:
        message = decode_to_console(connection.recv(left, decode=False))  # type: ignore[attr-defined]
        if isinstance(message, Welcome):
            connection.send(encode(ask))  # type: ignore[attr-defined]
        elif isinstance(message, Goodbye):
            return f"the engine said goodbye ({message.reason})"
        elif isinstance(message, Answer) and message.id == ask.id:
            if not message.accepted:
                return f"the engine refused ({message.text})"
            if ask.action is Action.RELEASE:
                return ""
            answered, deadline = True, time.monotonic() + DONE_WITHIN_S
            _say(begun, "the engine has taken it")
        elif isinstance(message, Frame) and answered:
            status = next((one for one in message.pictures if isinstance(one, StatusView)), None)
            if status is not None and not status.kill_open and status.kill_done:
                _say(begun, status.kill_done)
                return ""
            still = status.kill_open if status is not None else still
    return f"the engine is not done ({still or 'it says nothing'})" if answered else "the engine has not answered"


async def _outside(settings: Settings, folder: Path, flatten: bool, begun: float) -> "list[Outcome]":
    from engine import keychain, places
    from engine.clock import Clock
    from engine.runtime import outside

    mode = settings.engine.mode

    def say(text: str) -> None:
        _say(begun, text)

    if mode in (Mode.DEMO, Mode.PAPER):
        where = outside.remembered(folder)
        if where is None:
            say("no simulated venue runs, so nothing can be open there")
            return []
        venues = settings.engine.venues if mode is Mode.DEMO else settings.engine.venues[:1]
        return list(await asyncio.gather(*(outside.kill(settings, where, venue, flatten, say) for venue in venues)))
    work = []
    environ = dict(os.environ)  # each venue's keys are looked for in the whole of it
    for venue in settings.engine.venues:
        try:
            keys = keychain.find_keys(venue, mode, dict(environ), folder)
        except ConfigError as wrong:
            if venue == settings.engine.venues[0]:
                raise
            say(f"{venue}: left alone, no keys of it are here ({wrong.problem if hasattr(wrong, 'problem') else wrong})")
            continue
        ends = places.endpoints(settings)
        place = ends.market(venue)
        ends = places.Endpoints(place.rest, place.ws, ends.simulated, False, ends.markets)
        where = outside.Whereabouts(ends, Clock.start(), keys)
        work.append(outside.kill(settings, where, venue, flatten, say))
    return list(await asyncio.gather(*work))
