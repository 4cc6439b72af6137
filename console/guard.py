"""A process around the screen: whatever happens to the screen, the terminal comes back as it was.

`guarded(run)` forks. The child runs the screen; the parent only waits, and when the child was killed (nothing can be caught
of a SIGKILL) it restores the terminal's mode and leaves the alternate screen. A parent that was killed itself is noticed by
the child, which then ends in order. Fork happens before any thread or event loop exists.
"""

import contextlib
import os
import signal
import sys
import termios
import threading
import time
from collections.abc import Callable

# Leave the alternate screen, show the cursor, stop mouse, focus and paste reports, drop keyboard protocols, plain colours.
RESTORE = "\x1b[?1049l\x1b[?25h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1004l\x1b[?2004l\x1b[<u\x1b[0m\r"
FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
LOOK_EVERY_S = 0.5


def guarded(run: Callable[[], int]) -> int:
    """`run` in a child; returns its exit code, 128 + the signal's number if one killed it."""
    if not sys.stdout.isatty() or not sys.stdin.isatty():
        return run()
    mode = termios.tcgetattr(sys.stdin.fileno())
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        threading.Thread(target=watch_parent, args=(parent,), daemon=True).start()
        code = 1
        try:
            code = run()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return _wait(child, mode)


def _wait(child: int, mode: list[object]) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the screen reads Ctrl-C as a key
    for number in FORWARDED:
        signal.signal(number, lambda given, _: _pass_on(child, given))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code >= 0:
        return code
    with contextlib.suppress(OSError, termios.error):
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, mode)  # type: ignore[arg-type]
        sys.stdout.write(RESTORE)
        sys.stdout.flush()
    name = signal.Signals(-code).name
    print(f"barter-tui: the screen was killed ({name}). The engine follows [engine] on_console_loss.", file=sys.stderr)
    return 128 - code


def _pass_on(child: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, number)


def watch_parent(parent: int) -> None:
    """In a thread: end this process, in order, once its parent is another one."""
    while os.getppid() == parent:
        time.sleep(LOOK_EVERY_S)
    os.kill(os.getpid(), signal.SIGTERM)
