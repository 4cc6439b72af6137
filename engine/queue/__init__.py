"""The event queue: what entered the core and what left it, in order, kept where it can be read again.

`EventQueue` is what an engine writes to; `Chunk` is what readers get. `local` keeps one file a session.
"""

from collections.abc import Iterator, Sequence
from enum import IntFlag
from typing import Protocol

import msgspec

from engine.events import Alert, Decided, Event, Filled, Input, Judged, Mode, SendOrder, TradingChanged


class Kind(IntFlag):
    """What people look for in a session; each chunk says which of them its outputs are. Numbers are on the disk."""

    JUDGMENT = 1
    DECISION = 2
    ORDER = 4
    FILL = 8
    ALERT = 16
    TRADING = 32  # armed, disarmed, halted


# As plain numbers: a flag's own "or" takes longer than packing an event.
KINDS: dict[type[Event], int] = {
    Judged: Kind.JUDGMENT.value,
    Decided: Kind.DECISION.value,
    SendOrder: Kind.ORDER.value,
    Filled: Kind.FILL.value,
    Alert: Kind.ALERT.value,
    TradingChanged: Kind.TRADING.value,
}


class Opening(msgspec.Struct, frozen=True):
    """What is known of a session when it begins. `code` is a hash over the engine's own sources: `version` alone does not
    tell two checkouts apart. `parent` is the session that ran in this state folder before.
    """

    session: str
    parent: str
    mode: Mode
    symbols: tuple[str, ...]
    venues: tuple[str, ...]
    version: str
    code: str
    python: str
    started_ns: int  # engine time, UTC
    speed: float


class Closing(msgspec.Struct, frozen=True):
    """What is known when it has ended in good order; money is exact decimal text in USDT."""

    ended_ns: int
    inputs: int
    outputs: int
    orders: int
    fills: int
    pnl: str
    wallet: str
    state: str = ""  # sha256 of the core's whole state: what changed nothing that left the core is found by it


class Condensed(msgspec.Struct, frozen=True):
    """What a session was before its market data were removed. `head` is its last hash then: see `Session.verify`."""

    at_ns: int
    head: str
    chunks: int
    inputs: int
    outputs: int


class Chunk(msgspec.Struct, frozen=True):
    """Consecutive inputs of the core, the first of which is number `first` of the session, and the outputs of each."""

    first: int
    inputs: list[Input]
    outputs: list[msgspec.Raw]  # of all inputs, encoded: decoded only by those who want to see them
    counts: list[tuple[int, int]]  # place of an input within the chunk, and how many outputs followed from it, where any did
    state: bytes = b""  # the core's snapshot after its last input, where one was kept

    def steps(self) -> Iterator[tuple[Input, list[msgspec.Raw]]]:
        """Each input with what followed from it."""
        done = taken = 0
        for place, count in self.counts:
            for event in self.inputs[done:place]:
                yield event, []
            yield self.inputs[place], self.outputs[taken : taken + count]
            done, taken = place + 1, taken + count
        for event in self.inputs[done:]:
            yield event, []


class EventQueue(Protocol):
    """Where an engine's events go. Whatever fails raises SessionError, and what was appended is kept and tried again."""

    def append(self, event: Event, out: Sequence[Event]) -> None:
        """Take an input and its outputs; they may wait in memory until `commit`."""

    def secure(self, *, durable: bool) -> None:
        """The same as soon as can be, for an order that waits: readers may come to see it with the next commit only."""

    def keep(self, state: bytes) -> bool:
        """Keep the core's state after what was appended, so that a reader need not begin at the start; False where it was
        not kept, since nothing was appended since the last chunk.
        """

    def commit(self, *, durable: bool) -> None:
        """What was appended survives the end of this process when this returns, and a loss of power where `durable`."""

    def close(self, closing: Closing | None) -> None:
        """Commit and end; without a `closing` it reads as a session that was cut off."""
