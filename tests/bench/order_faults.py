"""What may go wrong with an order on its way, with the account's stream, with the venue, and with the engine's process."""

import asyncio
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from console.engine_process import EngineProcess
from console.engine_process import Order as EngineOrder
from console.hotline import Hotline
from console.link import socket_link
from engine.events import Action, OrderKind, Purpose, Side, Ticket, TimeInForce
from engine.execution.orders import Order
from engine.views import Ask
from tests.bench.scene import BUY, FAR, PATIENCE_S, STEPS, Case, Play, Scene

GONE_WITHIN_S = 5.0
MOST_UNHEARD_S = 6.0  # `risk.protect_within_ms`, and what asking takes on a machine that is busy


# --- the engine's process ---------------------------------------------------------------------------------------------------


class Doomed:
    """An engine in a process of its own, steered over its socket, seen at the venue only."""

    def __init__(self, scene: Scene, process: EngineProcess, line: Hotline) -> None:
        self.scene, self.process, self.line = scene, process, line

    def ask(self, action: Action, target: str = "", ticket: Ticket | None = None) -> None:
        assert self.line.send(Ask(f"d{time.monotonic_ns()}", action, target or self.scene.market, ticket=ticket))

    async def venue(self, reached: Callable[[Any], object], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not reached(there := await self.scene.there()):
            if time.monotonic() > deadline:
                raise TimeoutError(what)
            await asyncio.sleep(0.02)
        return there

    async def trade(self, ticket: Ticket, reached: Callable[[Any], object]) -> Any:
        """Ask until it is so: the engine may not be ready for the first requests."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline:
            self.ask(Action.ORDER, ticket=ticket)
            for _ in range(40):
                there = await self.scene.there()
                if reached(there):
                    return there
                await asyncio.sleep(0.05)
        raise TimeoutError("the order of an engine that is to end")


def killed(state: str) -> Play:
    """SIGKILL while an order is in that state; what it left is for the next engine."""

    async def play(scene: Scene) -> None:
        process, line = await _started(scene)
        try:
            await _doom(Doomed(scene, process, line), state)
        finally:
            os.kill(process.pid, signal.SIGKILL)
            scene.ended_at = time.monotonic()
            await process.stopped(GONE_WITHIN_S)
        line.close()
        await asyncio.sleep(0.8)  # what was on its way to the venue arrives

    return play


async def console_gone(scene: Scene) -> None:
    """The only console dies without a word while an entry rests beside a position: the engine halts, and ends as it is set to.
    The second time the kill comes while it waits for a console.
    """
    if scene.killing:
        waits = msgspec.structs.replace(scene.settings.engine, console_return_s=PATIENCE_S)
        scene.settings = msgspec.structs.replace(scene.settings, engine=waits)
    process, line = await _started(scene)
    scene.left.push_async_callback(process.stopped, GONE_WITHIN_S)
    doomed = Doomed(scene, process, line)

    async def socket() -> Path:
        return process.socket

    link = socket_link(socket)
    await link.open()
    await _doom(doomed, "held")
    await _doom(doomed, "working")
    await link.close()  # without a goodbye: the engine takes it for lost
    scene.ended_at = time.monotonic()
    there = await doomed.venue(lambda there: not there["open_orders"], "the cancel of the entry after the console's loss")
    assert there["positions"] and there["open_conditionals"], "the position lost its stop with the console"
    line.close()
    if not scene.killing:
        await process.stopped(PATIENCE_S)


async def _started(scene: Scene) -> tuple[EngineProcess, Hotline]:
    venue = scene.venue
    process = await EngineProcess.start(EngineOrder(scene.settings, venue.order.clock, venue.endpoints, venue.credentials))
    return process, await asyncio.to_thread(Hotline, process.socket)


async def _doom(doomed: Doomed, state: str) -> None:
    scene, words = doomed.scene, doomed.scene.words
    if state in ("working", "cancelling", "halting"):
        price = int(float((await scene.there())["marks"][words.symbol]) * 10_000) - FAR
        low = Ticket(Side.BUY, OrderKind.LIMIT, STEPS, price, time_in_force=TimeInForce.GTX)
        there = await doomed.trade(low, lambda there: there["open_orders"])
        if state == "cancelling":
            await scene.fault("delay_execution", path=words.cancel, ms=500)
            doomed.ask(Action.CANCEL, there["open_orders"][0])
        if state == "halting":
            doomed.ask(Action.HALT)
        await asyncio.sleep(0.05 if state != "working" else 0.0)
        return
    if state == "sent":
        await doomed.trade(BUY, lambda there: there["open_conditionals"])
        await scene.fault("delay_execution", path=words.place, ms=500)
        doomed.ask(Action.ORDER, ticket=BUY)
        await asyncio.sleep(0.1)
        return
    if state == "bare":
        await scene.fault("delay_execution", path=words.conditional, ms=500)
        await doomed.trade(BUY, lambda there: there["positions"])
        return
    await doomed.trade(BUY, lambda there: there["positions"] and there["open_conditionals"])
    if state == "closing":
        await scene.fault("delay_execution", path=words.place, ms=500)
        doomed.ask(Action.CLOSE)
        await asyncio.sleep(0.1)


# --- requests and replies ---------------------------------------------------------------------------------------------------


async def entered(scene: Scene) -> None:
    """An entry that the venue may or may not have: whatever becomes of it, quiet must come."""
    await scene.taken(scene.enter, "an entry that is taken")
    await asyncio.sleep(0.3)
    await scene.until(scene.quiet, "quiet after the entry")


async def _resting(scene: Scene) -> Order:
    """An entry that rests in the book."""
    before = set(scene.running.state.orders)
    await scene.taken(scene.rest, "a resting order that is taken")
    await scene.until(scene.quiet, "the resting order")
    alive = [one for one in scene.running.state.live_orders() if one.purpose is Purpose.ENTRY]
    return next(one for one in alive if one.client_id not in before)


async def _hit(scene: Scene) -> None:
    """An entry meets the fault that waits for it."""
    await scene.taken(scene.enter, "an entry that is taken")
    await asyncio.sleep(0.05)
    scene.struck()
    await asyncio.sleep(0.25)
    await scene.until(scene.quiet, "quiet after the entry")


def reply(name: str, what: str = "place", **fields: Any) -> Play:
    """A fault of the next reply to such a request."""

    async def play(scene: Scene) -> None:
        path = getattr(scene.words, what)
        if what == "cancel":
            order = await _resting(scene)
            await scene.fault(name, path=path, **fields)
            scene.ask(Action.CANCEL, order.client_id)
            scene.struck()
            await scene.until(lambda: order.state.final, "the end of the order")
            return
        await scene.fault(name, path=path, **fields)
        await _hit(scene)

    return play


def stream(name: str, **fields: Any) -> Play:
    """A fault of the account's own reports on orders."""

    async def play(scene: Scene) -> None:
        await scene.fault(name, kind=scene.words.report, **fields)
        await _hit(scene)

    return play


async def race(scene: Scene) -> None:
    """A cancel and a fill at the same time."""
    order = await _resting(scene)
    await scene.fault("delay_execution", path=scene.words.cancel, ms=300)
    scene.ask(Action.CANCEL, order.client_id)
    await scene.fault("shock", side="SELL", quantity=3_000_000, symbol=scene.words.symbol)
    scene.struck()
    await scene.until(lambda: order.state.final, "the end of the order")
    await scene.until(scene.quiet, "quiet after the race")


# --- the account's stream, the venue, money -----------------------------------------------------------------------------------


async def key_expires(scene: Scene) -> None:
    """OKX has no such key: its login ends with the connection."""
    await entered(scene)
    lost = scene.running.state.counters.disconnects
    if scene.name == "binance":
        await scene.fault("expire_listen_key")
    else:
        await scene.fault("cut", route="private")
    await scene.until(lambda: scene.running.state.counters.disconnects > lost, "the loss of the stream")
    scene.struck()
    await scene.until(scene.quiet, "the stream again")


def cut(state: str, route: str = "all") -> Play:
    """Connections are cut while an order is in that state."""

    async def play(scene: Scene) -> None:
        if state == "sent":
            await scene.fault("delay_execution", path=scene.words.place, ms=400)
            await scene.taken(scene.enter, "an entry that is taken")
            await asyncio.sleep(0.1)
        elif state == "working":
            await _resting(scene)
        elif state == "held":
            await entered(scene)
        elif state == "cancelling":
            order = await _resting(scene)
            await scene.fault("delay_execution", path=scene.words.cancel, ms=400)
            scene.ask(Action.CANCEL, order.client_id)
        elif state == "closing":
            await entered(scene)
            await scene.fault("delay_execution", path=scene.words.place, ms=400)
            scene.ask(Action.CLOSE)
            await asyncio.sleep(0.1)
        lost = scene.running.state.counters.disconnects
        await scene.fault("cut", route=route)
        scene.struck()
        await scene.until(lambda: scene.running.state.counters.disconnects > lost, "the loss of the stream")
        await scene.until(scene.quiet, "quiet after the cut")

    return play


async def outage(scene: Scene) -> None:
    """Connections are refused for two seconds, with a position and a resting order."""
    await entered(scene)
    await _resting(scene)
    await scene.fault("refuse")
    scene.struck()
    await asyncio.sleep(2.0)
    await scene.fault("refuse", on=False)
    await scene.until(scene.quiet, "quiet after the outage")


async def fills_unheard(scene: Scene) -> None:
    """An entry fills while streams are refused and requests are not: it has its stop before anybody tells of it, or is closed
    where the market has reached that already.
    """
    await scene.fault("delay_execution", path=scene.words.place, ms=300)
    await scene.taken(scene.enter, "an entry that is taken")
    await scene.fault("refuse")
    await asyncio.sleep(0.4)
    scene.struck()
    try:
        deadline, filled = time.monotonic() + MOST_UNHEARD_S, False
        while not scene.killing and not (there := await scene.there())["open_conditionals"]:
            if filled and not there["positions"]:
                break
            filled = bool(there["positions"])
            assert time.monotonic() < deadline, f"no stop after {MOST_UNHEARD_S:g} s, with {there['positions']} held"
            await asyncio.sleep(0.02)
        await scene.until(lambda: not scene.killing or not scene.position(), "a kill while streams are refused")
    finally:
        await scene.fault("refuse", on=False)
    await scene.until(scene.quiet, "quiet after the streams came back")


async def venue_stands_still(scene: Scene) -> None:
    """For three seconds nobody answers, with a position."""
    await entered(scene)
    os.kill(scene.venue.pid, signal.SIGSTOP)
    try:
        await asyncio.sleep(1.0)
        scene.struck()
        await asyncio.sleep(2.0)
        scene.ask(Action.CLOSE)
        await asyncio.sleep(0.2)
    finally:
        os.kill(scene.venue.pid, signal.SIGCONT)
    await scene.until(scene.quiet, "quiet after the stop")


async def funded_in_the_dark(scene: Scene) -> None:
    """Funding is paid while the private stream is away: the ledger learns of it by comparison."""
    await entered(scene)
    await scene.fault("cut", route="private")
    await scene.fault("funding", rate="0.0005")
    scene.struck()
    await asyncio.sleep(0.2)
    await scene.until(scene.quiet, "quiet after funding")


def clock(ms: int) -> Play:
    """The venue's clock is off by so much for a while."""

    async def play(scene: Scene) -> None:
        await scene.fault("clock_offset", ms=ms)
        await scene.taken(scene.enter, "an entry that is taken")
        await asyncio.sleep(0.1)
        scene.struck()
        await asyncio.sleep(0.4)
        await scene.fault("clock_offset", ms=0)
        await scene.until(scene.quiet, "quiet after the jump")

    return play


TOO_MANY = {"body": '{"code":-1003,"msg":"Too many requests."}', "headers": {"Retry-After": "1"}}
STATES = ("sent", "working", "bare", "held", "cancelling", "closing", "halting")
CASES = (
    Case("ACK lost", reply("lose_ack")),
    Case("ACK late", reply("delay_reply", ms=1500)),
    Case("executed late", reply("delay_execution", ms=1500)),
    Case("empty body", reply("empty_body")),
    Case("429", reply("http", status=429, **TOO_MANY)),
    Case("418", reply("http", status=418, **TOO_MANY)),
    Case("503, executed", reply("http", status=503, executed=True)),
    Case("503, not executed", reply("http", status=503, body="Service Unavailable")),
    Case("504 page, executed", reply("http", status=504, body="<html>Gateway</html>", executed=True)),
    Case("stop's ACK lost", reply("lose_ack", "conditional")),
    Case("stop's 503, not executed", reply("http", "conditional", status=503, body="Service Unavailable")),
    Case("stop refused twice", reply("http", "conditional", status=400, times=2, body='{"code":-1001,"msg":"Internal error."}')),
    Case("cancel's ACK lost", reply("lose_ack", "cancel")),
    Case("cancel's 503", reply("http", "cancel", status=503, body="Service Unavailable")),
    Case("cancel and fill race", race),
    Case("reports twice", stream("duplicate", times=4)),
    Case("reports swapped", stream("reorder")),
    Case("reports lost", stream("drop", times=2)),
    Case("report cut off", stream("malformed")),
    Case("venue's clock jumps 8 s ahead", clock(8_000)),
    Case("venue's clock jumps 8 s back", clock(-8_000)),
    Case("listen key expires", key_expires),
    Case("funding unheard", funded_in_the_dark),
    Case("private stream cut", cut("held", "private")),
    *(Case(f"cut while {state}", cut(state)) for state in ("sent", "working", "held", "cancelling", "closing")),
    *(Case(f"SIGKILL while {state}", killed(state), kills=True) for state in STATES),
    Case(
        "console gone",
        console_gone,
        kills=True,
        settings={"engine": {"on_console_loss": "halt", "console_loss_after_s": 0.3, "console_return_s": 1.0}},
    ),
    Case("outage of 2 s", outage),
    Case("entry fills while streams are refused", fills_unheard),
    Case("venue stands still 3 s", venue_stands_still),
)
