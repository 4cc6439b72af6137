"""A recorded session in; its inputs through the same core, and the first output that is not the recorded one, out.

It needs no network, model, venue or keys: whatever came from outside is among the inputs.
"""

import hashlib
from collections.abc import Callable

import msgspec

from engine.config import Settings
from engine.core import Core
from engine.errors import SessionError
from engine.events import Event, Started, decode_output, encode
from engine.queue.session import Session

# Of real time. Events are stamped when they are read: a busy loop reorders some, and a history is told once it is whole, but a
# minute's worth never.
BACKWARDS_NS = 60_000_000_000
EXCERPT = 300

Progress = Callable[[int], None]  # how many inputs were replayed


class Difference(msgspec.Struct, frozen=True):
    """The first output that differs: what was recorded and what came now, "nothing" where one side ended earlier."""

    input_number: int
    at: int  # engine time, ns UTC
    event: str
    recorded: str
    replayed: str


class Outcome(msgspec.Struct, frozen=True):
    """How a replay ended; without `difference` every output was the recorded one, byte for byte, and so is the state."""

    inputs: int
    outputs: int
    difference: Difference | None


class Replay:
    """A session through a fresh core. Raises SessionError when it cannot be replayed; then nothing is said of it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.core: Core | None = None
        self.inputs = self.outputs = 0
        self._newest = 0

    def run(self, progress: Progress | None = None) -> Outcome:
        """To its end, or to the first difference."""
        for chunk in self.session.chunks():
            for event, recorded in chunk.steps():
                difference = self._step(event, recorded)
                if difference is not None:
                    return Outcome(self.inputs, self.outputs, difference)
            if chunk.state and self.core is not None and chunk.state != (now := self.core.snapshot()):
                return Outcome(self.inputs, self.outputs, self._other_state("a kept state", chunk.state, now))
            if progress is not None:
                progress(self.inputs)
        if self.core is None:
            raise SessionError(str(self.session.path), "it holds no events: its engine ended before the first was written")
        return Outcome(self.inputs, self.outputs, self._state_differs(self.core))

    def _state_differs(self, core: Core) -> Difference | None:
        """Every output was equal: the state at the end must be so too, where the session has an end."""
        closing = self.session.closing
        if closing is None or not closing.state or closing.state == (now := core.digest()):
            return None
        return Difference(self.inputs, self._newest, "the end of the session", f"state {closing.state}", f"state {now}")

    def _other_state(self, what: str, then: bytes, now: bytes) -> Difference:
        states = (f"state {hashlib.sha256(state).hexdigest()}" for state in (then, now))
        return Difference(self.inputs, self._newest, what, *states)

    def _step(self, event: Event, recorded: list[msgspec.Raw]) -> Difference | None:
        at = event.at
        if at > self._newest:
            self._newest = at
        elif at < self._newest - BACKWARDS_NS * max(self.session.opening.speed, 1.0):
            back = (self._newest - event.at) / 1e9
            problem = f"its clock went backwards by {back:.0f} s at input {self.inputs:,} ({type(event).__name__})"
            raise SessionError(str(self.session.path), problem)
        if self.core is None:
            self.core = Core(settings_of(self.session, event))
        out, _ = self.core.process_or_halt(event)
        if out or recorded:  # most inputs change a state and nothing else
            same = len(out) == len(recorded) and all(encode(a) == bytes(b) for a, b in zip(out, recorded, strict=True))
            if not same:
                return self._difference(event, recorded, out)
        self.inputs += 1
        self.outputs += len(out)
        return None

    def _difference(self, event: Event, recorded: list[msgspec.Raw], out: list[Event]) -> Difference:
        ours = [encode(output) for output in out]
        theirs = [bytes(output) for output in recorded]
        place = next((at for at, (a, b) in enumerate(zip(ours, theirs, strict=False)) if a != b), min(len(ours), len(theirs)))
        was = _told(theirs[place]) if place < len(theirs) else "nothing"
        now = repr(out[place]) if place < len(ours) else "nothing"
        apart = next((at for at, (a, b) in enumerate(zip(was, now, strict=False)) if a != b), 0)
        return Difference(self.inputs, event.at, excerpt(repr(event), 0), excerpt(was, apart), excerpt(now, apart))


def _told(raw: bytes) -> str:
    try:
        return repr(decode_output(raw))
    except (ValueError, RecursionError):
        return f"what is no output ({raw[:EXCERPT]!r})"


def excerpt(text: str, place: int) -> str:
    """The text around `place`, which is where two sides part."""
    if len(text) <= EXCERPT:
        return text
    start = max(place - EXCERPT // 3, 0)
    kind = text.partition("(")[0] + "(... " if start else ""
    return kind + text[start : start + EXCERPT] + (" ..." if start + EXCERPT < len(text) else "")


def first_of(session: Session) -> Event:
    """Its first input. Raises SessionError where there is none."""
    chunk = next(session.chunks(), None)
    if chunk is None:
        raise SessionError(str(session.path), "it holds no events: its engine ended before the first was written")
    return chunk.inputs[0]


def ends_ns(session: Session) -> int:
    """When it ended (engine time, UTC); of one that was cut off, its newest input. Raises SessionError."""
    closing = session.closing
    if closing is not None:
        return closing.ended_ns
    last = next(session.chunks(max(session.inputs - 1, 0)), None)
    return last.inputs[-1].at if last is not None else first_of(session).at


def settings_of(session: Session, first: Event) -> Settings:
    """What the session ran with, by its first input. Raises SessionError."""
    if not isinstance(first, Started):
        problem = f"it begins with {type(first).__name__}, and not with the start of an engine"
        raise SessionError(str(session.path), problem)
    try:
        return msgspec.json.decode(first.settings, type=Settings)
    except (ValueError, RecursionError) as problem:
        raise SessionError(str(session.path), f"its settings cannot be read ({problem})") from None
