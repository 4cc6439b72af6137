"""A recorded session in; its core at any moment of it out: sought, stepped, or run on."""

from collections.abc import Callable, Iterator

import msgspec

from engine.core import Core
from engine.events import Event, decode_output
from engine.queue import KINDS, Kind
from engine.queue.session import Session
from engine.replay import ends_ns, first_of, settings_of

Listener = Callable[[Event], None]


class Player:
    """`core` after the first `position` inputs of the session. Raises SessionError where the session cannot be read.

    A seek begins at the nearest state that was kept before its aim, so it costs what was recorded between the two. Outputs
    are those of this core; `engine.replay.Replay` is what compares them with the recorded ones.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.inputs = session.inputs
        first = first_of(session)
        self.settings = settings_of(session, first)
        self.started_ns = first.at
        self.ends_ns = ends_ns(session)
        self.position = 0
        self.core = Core(self.settings)
        self._played = self.core.curve  # the farthest
        self._ahead: Iterator[Event] = iter(())
        self._next: Event | None = None
        self._read_from(0)

    @property
    def at(self) -> int:
        """Engine time of the core, ns UTC."""
        return self.core.state.now or self.started_ns

    @property
    def ended(self) -> bool:
        return self._next is None

    def step(self, tell: Listener | None = None) -> list[Event]:
        """One input through the core; nothing at the end."""
        event = self._next
        if event is None:
            return []
        out, _ = self.core.process_or_halt(event)
        self.position += 1
        self._next = next(self._ahead, None)
        if tell is not None:
            for output in out:
                tell(output)
        return out

    def run_until(self, moment: int, most: int, tell: Listener | None = None) -> bool:
        """Inputs up to engine time `moment`, `most` of them; True when it got there, or to the end."""
        for _ in range(most):
            if self._next is None or self._next.at > moment:
                return True
            self.step(tell)
        return self._next is None or self._next.at > moment

    def seek(self, position: int) -> Iterator[int]:
        """To the state after `position` inputs; each value is the number of inputs that are still to be run. Run it to its
        end: between two values others may work, and nobody may look at the core.
        """
        position = min(max(position, 0), self.inputs)
        kept = self.session.state_before(position)
        start = kept[0] if kept is not None else 0
        if position < self.position or start > self.position:
            self._played = max(self._played, self.core.curve, key=lambda curve: curve.reaches)
            self.core = Core.restore(self.settings, kept[1]) if kept is not None else Core(self.settings)
            self.core.curve = self._played.until(self.core.state.now)
            self.position = start
            self._read_from(start)
        while self.position < position:
            if (position - self.position) % 1_000 == 0:
                yield position - self.position
            self.step()

    def place_of(self, moment: int) -> int:
        """How many inputs lie before engine time `moment`."""
        first = place = self.session.at(moment)
        for chunk in self.session.chunks(first):
            for event in chunk.inputs:
                if event.at >= moment:
                    return place
                place += 1
        return place

    def find(self, kinds: Kind, *, back: bool = False, wanted: Callable[[Event], bool] = lambda _: True) -> int | None:
        """The position just after the next input (or the one before) with such an output; None where there is none."""
        for chunk in self.session.holding(int(kinds), max(self.position - 2, 0) if back else self.position, back=back):
            steps = list(enumerate(chunk.steps(), start=chunk.first + 1))
            for place, (_, outputs) in reversed(steps) if back else steps:
                if (place < self.position) if back else (place > self.position):
                    found = (decode_output(output) for output in outputs)
                    if any(KINDS.get(type(output), Kind(0)) & kinds and wanted(output) for output in found):
                        return place
        return None

    def _read_from(self, position: int) -> None:
        """What lies ahead of `position`; 16 chunks at most are in memory."""
        self._ahead = self._events(position)
        self._next = next(self._ahead, None)

    def _events(self, position: int) -> Iterator[Event]:
        for chunk in self.session.chunks(position):
            yield from chunk.inputs[max(position - chunk.first, 0) :]


class Mark(msgspec.Struct, frozen=True):
    """A part of the session in which something of `kinds` happened."""

    at: int
    kinds: Kind


def marks(session: Session, kinds: Kind) -> list[Mark]:
    """Where such things happened, a chunk each."""
    return [Mark(at, Kind(found) & kinds) for at, found in session.kinds(int(kinds))]
