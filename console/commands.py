"""Key presses and times in; whether they act, ask again or are bounces out. No clock and no screen of its own.

A held key repeats every few tens of milliseconds and an old switch bounces: both count as one press.
"""

import secrets
import threading

BOUNCE_S = 0.3
AGAIN_WITHIN_S = 3.0
HALT_SEEN_S = 1.0  # a halt that the screen has shown this long was seen: the kill key now flattens


def fresh_id() -> str:
    """Of one command, whoever else sends some: the engine does each id once."""
    return f"c{secrets.token_hex(8)}"


class Presses:
    """Remembers the newest press of each key. Times are monotonic seconds.

    The kill key's are told from the thread that reads the terminal, what the screen shows from the loop.
    """

    def __init__(self) -> None:
        self._one = threading.Lock()
        self._pressed: dict[str, float] = {}
        self._waiting: dict[str, tuple[str, float]] = {}  # key: what it was about, when it was first pressed
        self._halt_asked = False
        self._halted_since: float | None = None

    def bounced(self, key: str, now: float) -> bool:
        """True for a press so soon after the last one that no finger meant it. A held key goes on bouncing."""
        before = self._pressed.get(key)
        self._pressed[key] = now
        return before is not None and now - before < BOUNCE_S

    def second(self, key: str, now: float, target: str = "") -> bool:
        """True for a second press about the same thing, in time; the first one is remembered."""
        about, when = self._waiting.pop(key, ("", -AGAIN_WITHIN_S))
        if about == target and now - when <= AGAIN_WITHIN_S:
            return True
        self._waiting[key] = (target, now)
        return False

    def shown(self, halted: bool, now: float) -> None:
        """What the screen says of the halt; told once a frame."""
        with self._one:
            if halted and self._halted_since is None:
                self._halted_since = now
            elif not halted and self._halted_since is not None:
                self._halt_asked, self._halted_since = False, None

    def released(self) -> None:
        """A release was asked for: the next press of the kill key halts."""
        with self._one:
            self._halt_asked, self._halted_since = False, None

    def kill_flattens(self, now: float) -> bool:
        """Whether this press of the kill key is the second one: of ours, or after a halt that was there to be read."""
        with self._one:
            seen = self._halted_since is not None and now - self._halted_since >= HALT_SEEN_S
            again = self._halt_asked or seen
            self._halt_asked = True
            return again
