"""The session before this one in; what it left behind out, read in a process of its own: a long tail takes a second.

Run as a module, it prints one `Recovered` of the session at the given path, as JSON.
"""

import asyncio
import contextlib
import os
import sys
from pathlib import Path

import msgspec

from engine.config import Settings
from engine.core import Core
from engine.core.recovery import recollection
from engine.errors import BarterError, SessionError
from engine.events import Recovered, Started
from engine.queue.files import find
from engine.queue.session import Session

WITHIN_S = 60.0
NICENESS = 5


def read(path: Path) -> Recovered:
    """From its newest kept state and the inputs after it. Raises SessionError."""
    with Session(path) as session:
        first = next(session.chunks(), None)
        if first is None:
            raise SessionError(str(path), "it holds no events")
        started = first.inputs[0]
        if not isinstance(started, Started):
            raise SessionError(str(path), "it does not begin with the start of an engine")
        try:
            settings = msgspec.json.decode(started.settings, type=Settings)
        except (ValueError, RecursionError) as problem:
            raise SessionError(str(path), f"its settings cannot be read ({problem})") from None
        kept = session.state_before(session.inputs)
        place, core = (kept[0], Core.restore(settings, kept[1])) if kept is not None else (0, Core(settings))
        for chunk in session.chunks(place) if place < session.inputs else ():
            for event in chunk.inputs[max(place - chunk.first, 0) :]:
                core.process_or_halt(event)
        facts = msgspec.json.encode(recollection(core.state)).decode()
        return Recovered(0, session.opening.session, facts, session.closing is None, "", account=started.account)


async def recover(folder: Path, parent: str, halted: str) -> Recovered:
    """Of the session `parent` of this state folder, without a time; never raises, the event says what went wrong."""
    worker: asyncio.subprocess.Process | None = None
    try:
        async with asyncio.timeout(WITHIN_S):
            path = str(find(folder, parent))
            words = (sys.executable, "-P", "-m", "engine.runtime.recovery", path)
            pipe = asyncio.subprocess.PIPE
            worker = await asyncio.create_subprocess_exec(*words, stdin=asyncio.subprocess.DEVNULL, stdout=pipe, stderr=pipe)
            said, wrong = await worker.communicate()
            if worker.returncode:
                last = wrong.decode("utf-8", "replace").strip().rpartition("\n")[2]
                raise SessionError(path, last or f"reading it ended with code {worker.returncode}")
            found = msgspec.json.decode(said, type=Recovered)
            return msgspec.structs.replace(found, halted=halted)
    except TimeoutError:
        problem = f"reading it took longer than {WITHIN_S:.0f} s"
    except SessionError as error:
        problem = error.problem
    except (OSError, ValueError) as error:
        problem = str(error)
    finally:
        if worker is not None and worker.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()
    return Recovered(0, parent, "", False, halted, problem)


def main() -> int:
    """What it read on stdout, or a sentence on stderr and 1."""
    os.nice(NICENESS)
    try:
        sys.stdout.buffer.write(msgspec.json.encode(read(Path(sys.argv[1]))))
    except BarterError as problem:
        sys.stderr.write(f"{getattr(problem, 'problem', problem)}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
