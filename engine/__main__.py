"""The engine as a process: one line of JSON, a `Spec`, comes in on stdin; consoles are served until somebody ends it.

stdout says `{"ready": true, "socket": ..., "pid": ...}` as soon as consoles may come, which is before the venue was
asked for anything, and `{"ended": ...}` or `{"error": sentence, "exit": code}` at the end. SIGINT and SIGTERM halt and
end it (130, 143); a second one ends it at once.

Its owner is whoever holds the other end of stdin. That end closing is no reason to stop dead: it is the loss of a
console, treated by the same settings. A console still connected goes on steering; one that left with "keep running" has
said that this is meant; otherwise, after `console_loss_after_s`, the engine halts (or flattens, or runs on), stops stay
at the venue and are verified, and after `console_return_s` without a console it settles and ends. Those seconds are the
time in which a crashed console can be opened again on the engine that it left, and the bound that leaves no orphan.
"""

import asyncio
import contextlib
import logging
import os
import resource
import signal
import sys
import threading

import msgspec

from engine.clock import Clock
from engine.config import Settings
from engine.door import Door
from engine.errors import BarterError, ConfigError, LimitError, StateError
from engine.events import Action
from engine.execution.live import Credentials
from engine.runtime import Endpoints, Engine
from engine.serve import Ending, Service, serve

SPEC_BYTES = 1_000_000
SIGNALS = {signal.SIGINT: ("interrupted", 130), signal.SIGTERM: ("terminated", 143)}
FAULT, USAGE, VENUE, STATE = 1, 2, 3, 4  # the command's exit codes


class Spec(msgspec.Struct, forbid_unknown_fields=True):
    """What is to run, and against which venue. Keys come this way and no other."""

    settings: Settings
    clock: Clock
    endpoints: Endpoints
    credentials: Credentials | None = None
    verbose: bool = False
    phrase: str = ""  # that arms a live session


def read_spec() -> Spec:
    """The first line of stdin, read without buffering: the rest is only waited upon. Repeats nothing of it in an error."""
    line = bytearray()
    while not line.endswith(b"\n") and len(line) < SPEC_BYTES:
        read = os.read(0, 65_536)
        if not read:
            break
        line += read
    try:
        return msgspec.json.decode(bytes(line), type=Spec)
    except msgspec.DecodeError as problem:
        raise ConfigError("standard input", "", f"the engine's specification cannot be read ({problem})") from None


def say(**facts: object) -> None:
    """One line for the owner, who may be gone."""
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
        sys.stdout.flush()


async def run(spec: Spec) -> int:
    """From the specification to the exit code. Raises BarterError when the engine cannot run."""
    loop = asyncio.get_running_loop()
    engine = Engine(spec.settings, spec.clock, spec.endpoints, spec.credentials, phrase=spec.phrase)

    def ready(service: Service, door: Door) -> None:
        for number in SIGNALS:
            loop.add_signal_handler(number, _signalled, service, number)
        loop.add_signal_handler(signal.SIGUSR1, engine.kill, "the signal SIGUSR1")
        say(ready=True, socket=str(door.path), pid=os.getpid(), session=engine.session)
        threading.Thread(target=_watch_owner, args=(loop, service), daemon=True).start()

    ending = await serve(engine, ready)
    say(ended=ending.reason)
    return ending.code


def _signalled(service: Service, number: signal.Signals) -> None:
    word, code = SIGNALS[number]
    if not service.stop(Ending(Action.HALT, word, f"it was {word}", code)):
        os._exit(code)


def _watch_owner(loop: asyncio.AbstractEventLoop, service: Service) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 65_536):
            pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(service.consoles.owner_gone)


def _log(verbose: bool) -> None:
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    if verbose:
        logging.getLogger("barter").setLevel(logging.DEBUG)


def main() -> int:
    """The exit code; what went wrong is also said on stdout, as a line for whoever started it."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a dump of this memory would hold the keys
    try:
        spec = read_spec()
        _log(spec.verbose)
        return asyncio.run(run(spec))
    except BarterError as problem:
        codes = ((ConfigError, USAGE), (StateError, STATE), (LimitError, FAULT))
        code = next((code for kind, code in codes if isinstance(problem, kind)), VENUE)
        say(error=str(problem), exit=code)
        return code
    except Exception as problem:
        logging.getLogger("barter.server").exception("the engine crashed")
        say(error=f"The engine crashed ({type(problem).__name__}: {problem}).", exit=FAULT)
        return FAULT


if __name__ == "__main__":
    sys.exit(main())
