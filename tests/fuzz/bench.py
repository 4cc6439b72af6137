"""A core in the middle of its work, for events that strangers caused: it may refuse and alert, and must not fail."""

import functools
from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from engine.config import Settings
from engine.core import Core
from engine.core.pictures import pictures
from engine.events import Action, Alert, Connected, Event, OrderKind, Side, Tick, Ticket, decode_input, encode
from engine.views import Watch
from engine.views import encode as shown
from tests.factory import MARKET, MS
from tests.test_okx_decode import BTC
from tests.world import World

QUIET_MS = 400  # that pass after what was told


class Desk(NamedTuple):
    """A core's state at a moment, what it is to go on from, and what its private stream had told until then."""

    settings: Settings
    state: bytes
    at: int
    frames: tuple[bytes, ...]


@functools.cache
def busy() -> Desk:
    """Armed, with a position that has its stop and target, and an entry that rests; OKX's BTC is watched, too."""
    world = World()
    frames: list[bytes] = []
    hear = world._hear

    def kept(raw: bytes) -> None:
        frames.append(raw)
        hear(raw)

    world._hear = kept  # type: ignore[method-assign]
    world.command(Action.ARM)
    world.wait(300)
    world.command(Action.ORDER, MARKET, Ticket(Side.BUY, OrderKind.MARKET, 300, stop=6100, target=6400))
    world.wait(1000)
    world.command(Action.ORDER, MARKET, Ticket(Side.BUY, OrderKind.LIMIT, 200, 6150, stop=6100))
    world.wait(1000)
    at = world.clock.at
    world.desk.feed(msgspec.structs.replace(BTC, at=at))
    for route in ("public", "market", "business"):
        world.desk.feed(Connected(at, "okx", route))
    assert world.state.portfolio.position(MARKET).quantity == 300 and world.open_entries() and frames
    state = world.desk.core.snapshot()
    world.close()
    return Desk(world.chosen, state, at, tuple(frames))


def took(events: Sequence[Event]) -> None:
    """The events go through a busy core, and time after them. Raises what the core or a codec raised."""
    if not events:
        return
    desk = busy()
    core, at = Core.restore(desk.settings, desk.state), desk.at
    out: list[Event] = []
    for event in events:
        assert decode_input(encode(event)) == event, "the journal does not give back what it was given"
        at = max(at, event.at)
        out += core.process(event)
    for _ in range(QUIET_MS // 100):
        at += 100 * MS
        out += core.process(Tick(at))
    for output in out:
        encode(output)
        assert not isinstance(output, Alert) or output.text.isprintable(), "an escape would reach the terminal"
    core.snapshot()
    orders = [order.client_id for order in core.state.live_orders()][:1]
    for market, timeframe_ms in ((MARKET, 1_000), (BTC.market, 60_000)):
        shown(pictures(core.state, desk.settings, Watch(market, timeframe_ms, 20, *orders)))
