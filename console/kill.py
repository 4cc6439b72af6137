"""The kill key: presses in from the thread that reads the terminal, commands at the engine before the loop has seen the key.

A repaint holds the loop for tens of milliseconds, and the key with it; the thread needs only the interpreter, which it
gets within `SWITCH_S`. The loop sends the same command again, by its id, the usual way: it acts once.
"""

from collections import deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from textual import events
from textual.driver import Driver
from textual.message import Message

from console import keys
from console.commands import Presses, fresh_id
from engine.events import Action
from engine.views import Ask

if TYPE_CHECKING:
    from console.app import Console

SWITCH_S = 0.0001  # Python's own 5 ms would be waited for at each of the thread's steps, of which there are three or four
WAITING = 64  # presses that the loop has not seen


class KillKey:
    """What each press does is decided once: by `read`, or by `take` for a press that came another way (the palette)."""

    def __init__(self, presses: Presses, send_now: Callable[[Ask], bool], now: Callable[[], float]) -> None:
        self.keys = frozenset(keys.BY_ID["halt"].key.split(","))
        self._presses, self._send_now, self._now = presses, send_now, now
        self._read: deque[Ask | None] = deque(maxlen=WAITING)

    def remap(self, names: Iterable[str]) -> None:
        self.keys = frozenset(names)

    def read(self, key: str) -> None:
        """In the terminal's thread, for every key."""
        if key in self.keys:
            ask = self._decide()
            if ask is not None:
                self._send_now(ask)
            self._read.append(ask)

    def take(self) -> Ask | None:
        """In the loop: the command of the oldest press that it has not seen yet; None for a bounce."""
        return self._read.popleft() if self._read else self._decide()

    def _decide(self) -> Ask | None:
        now = self._now()
        if self._presses.bounced("halt", now):
            return None
        return Ask(fresh_id(), Action.FLATTEN if self._presses.kill_flattens(now) else Action.HALT)


def reading(usual: type[Driver]) -> type[Driver]:
    """The terminal's driver, with the kill key heard in its thread."""

    class Reading(usual):  # type: ignore[misc, valid-type]
        _app: "Console"

        def process_message(self, message: Message) -> None:
            if isinstance(message, events.Key):
                self._app.kill.read(message.key)
            super().process_message(message)

    return Reading
