"""`barter-tui kill [--flatten]`: the latch first, then the running engine, then, where that does not confirm it, by itself."""

import asyncio
import contextlib
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING

from websockets.exceptions import WebSocketException

from console.commands import fresh_id
from console.exits import Exit
from console.hotline import Hotline
from engine.config import Settings, state_dir
from engine.door import find
from engine.errors import ConfigError, StateError
from engine.events import Action, Mode
from engine.runtime import latch
from engine.views import Answer, Ask, Frame, Goodbye, StatusView

if TYPE_CHECKING:
    from engine.runtime.outside import Outcome

ANSWER_WITHIN_S = 2.0
FRAMES_PER_S = 10.0
DONE_WITHIN_S = 10.0  # after the engine has answered: then this acts too


def run(settings: Settings, flatten: bool) -> int:
    """Kill, report on stdout; 0 only where each venue's own answer is as it should be, over all of its markets."""
    folder, word = state_dir(settings), "flatten" if flatten else "halt"
    begun = time.monotonic()
    latched = _latch(settings, f"{word} from another shell", begun)
    problem = _told(folder, Action.FLATTEN if flatten else Action.HALT, begun)
    _say(begun, f"{problem}: acting without it" if problem else "every venue is read back")
    if problem and latched:  # an engine that came and went may have released it
        latched = _latch(settings, f"{word} from another shell", begun, again=True)
    try:
        outcomes = asyncio.run(_outside(settings, folder, flatten, begun))
    except ConfigError as wrong:
        if problem:
            _say(begun, f"not done: {wrong}")
            return Exit.VENUE
        _say(begun, f"not read back from here: {wrong}. The engine has read its own markets back")
        outcomes = []
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
    if any(outcome.problem for outcome in outcomes):
        return Exit.VENUE
    return Exit.OK if latched else Exit.STATE


def _latch(settings: Settings, reason: str, begun: float, again: bool = False) -> bool:
    """A latch that cannot be written stops nothing: what is open at the venue comes first."""
    try:
        latch.prepare(state_dir(settings))
        latch.write(state_dir(settings), reason)
    except StateError as problem:
        _say(begun, f"NOT latched: {problem}. A restart would not know of it; going on")
        return False
    if not again:
        _say(begun, f"latched: trading in {settings.engine.mode.value} stays halted until `barter-tui release`")
    return True


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
    """Why the engine has not confirmed it, "" when it has. Two connections, since one that is shown something is a console, and
    its coming and going would mean something.
    """
    path = find(folder)
    if not path.is_socket():
        return "no engine runs"
    with contextlib.ExitStack() as stack:
        try:
            line = stack.enter_context(contextlib.closing(Hotline(path)))
            ask = Ask(fresh_id(), action, source="another shell")
            problem = _answered(line, ask.id) if line.send(ask) else "the engine does not answer"
            if problem or action is Action.RELEASE:
                return problem
            _say(begun, "the engine has taken it")
            return _done(stack.enter_context(contextlib.closing(Hotline(path, FRAMES_PER_S))), begun)
        except (OSError, TimeoutError, WebSocketException, ValueError):
            return "the engine does not answer"


def _answered(line: Hotline, name: str) -> str:
    deadline = time.monotonic() + ANSWER_WITHIN_S
    while (left := deadline - time.monotonic()) > 0:
        message = line.receive(left)
        if isinstance(message, Goodbye):
            return f"the engine said goodbye ({message.reason})"
        if isinstance(message, Answer) and message.id == name:
            return "" if message.accepted else f"the engine refused ({message.text})"
    return "the engine has not answered"


def _done(seen: Hotline, begun: float) -> str:
    """Wait for the engine's own report."""
    deadline, still = time.monotonic() + DONE_WITHIN_S, ""
    while (left := deadline - time.monotonic()) > 0:
        message = seen.receive(left)
        status = (
            next((one for one in message.pictures if isinstance(one, StatusView)), None) if isinstance(message, Frame) else None
        )
        if status is not None and not status.kill_open and status.kill_done:
            _say(begun, status.kill_done)
            return ""
        still = status.kill_open if status is not None else still
    return f"the engine is not done ({still or 'it says nothing'})"


async def _outside(settings: Settings, folder: Path, flatten: bool, begun: float) -> "list[Outcome]":
    from engine import keychain, places
    from engine.clock import Clock
    from engine.runtime import outside

    mode = settings.engine.mode

    def say(text: str) -> None:
        _say(begun, text)

    if mode in (Mode.DEMO, Mode.PAPER):
        where = outside.remembered(folder)
        if where is None and find(folder).is_socket():
            raise ConfigError("state folder", str(folder), "the simulated venue's address is not known", "its engine to answer")
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
        ends = places.Endpoints(place.rest, place.ws, ends.simulated, False)
        where = outside.Whereabouts(ends, Clock.start(), keys)
        work.append(outside.kill(settings, where, venue, flatten, say))
    return list(await asyncio.gather(*work))
