"""F12 under full market load: from the key to the cancel request of a resting order on the wire, over many tries.

    python -m tests.bench.kill [--tries 50] [--rate 10000] [--smoke]

Venue, engine and console are processes of their own, and the key is a byte sequence on the console's pseudo-terminal. The
engine itself makes market entries only, so what rests is an order of somebody else on the same account: this process places
a limit buy with ccxt far below the market, and the venue's report of it on the private stream makes the engine adopt it, at
once, as an order that adds exposure (no comparison of the account has to be waited for). Each try then waits for a random phase
of the frames, presses F12, and afterwards releases and arms with the keys that a person would use. Half of the tries press F12
over the help, which covers the screen.

Facts: the order is cancelled in every try; no entry is decided after the halt or reaches the venue after the engine has
said that the halt is done, but those whose bytes were under way (counted); the position keeps its stop at the venue.
"""

import argparse
import asyncio
import contextlib
import random
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp

from engine.events import Action, Instrument, OrderAccepted, OrderKind, Purpose, SendOrder, Side, TimeInForce
from engine.execution.live import BinanceAccount
from engine.signal.binance import Rest
from tests.bench import venue as bench
from tests.bench.console import Running, started
from tests.bench.figures import Figure, machine, percentiles_us, table, tell
from tests.bench.recording import MARKET, find
from tests.bench.soak import Load
from tests.bench.terminal import Terminal

AIM_MS = 50.0
F12 = b"\x1b[24~"
FRAME_S = 1 / 12
BANNER = b"No entries are made"
DIALOG = b"Release the halt"
BOUNCE_S = 0.4
A_TRY_S = 4.0  # at most, taken together
WATCHED_S = 0.3  # after the halt, for entries that must not come
FAR = 0.93  # of the market's price: where the resting order lies
WHOLE = TimeInForce.GTC

# Stops and targets so far away that a position lasts until the judge turns, which it may do at each bar.
HOLDING: dict[str, dict[str, object]] = {
    **bench.BUSY,
    "strategy": bench.BUSY["strategy"] | {"min_stop_bps": 400.0},
    "risk": bench.BUSY["risk"],
}


class Try(NamedTuple):
    """Monotonic ns."""

    pressed: int
    heard: int  # the engine's core is given the command
    asked: int  # ccxt is called with the cancel
    written: int  # its bytes were handed to the socket
    received: int  # the venue's handler begins
    shown: int  # the terminal was sent the banner; 0 over the help, which hides it
    over_help: bool
    under_way: int  # entries that were decided before the halt and reached the venue after it
    stop_kept: bool  # there was a position, and its stop was still there


class Stranger:
    """Somebody else who trades on the same account."""

    def __init__(self, running: Running) -> None:
        self._venue = running.venue
        self._account = BinanceAccount(running.venue.credentials, running.venue.said.rest, running.venue.order.clock, 5_000)
        self._instrument: Instrument | None = None

    async def start(self) -> None:
        rest = Rest(self._venue.said.rest, self._venue.order.clock, True)
        try:
            self._instrument = next(one for one in (await rest.instruments())[0] if one.market.endswith(MARKET))
        finally:
            await rest.close()
        await self._account.start([self._instrument])

    async def close(self) -> None:
        await self._account.close()

    async def rest_order(self, name: str, price: float) -> None:
        """A limit buy far below the market."""
        held = self._instrument
        assert held is not None
        ticks = int(price * FAR / float(held.tick))
        steps = max(held.min_quantity, int(2 * float(held.min_notional) / (ticks * float(held.tick)) / float(held.step)) + 1)
        now = self._venue.order.clock.now_ns()
        wish = SendOrder(now, held.market, name, OrderKind.LIMIT, Purpose.ENTRY, Side.BUY, steps, ticks, 0, WHOLE, False)
        event, _ = await self._account.send(wish)
        assert isinstance(event, OrderAccepted), event


async def attempt(
    number: int, running: Running, terminal: Terminal, stranger: Stranger, session: aiohttp.ClientSession, chance: random.Random
) -> Try:
    """Armed and with a position when it begins; halted when it ends."""
    state = await _protected(running, session)
    running.take()
    name, since = f"rest{number}", len(running.lines)
    await stranger.rest_order(name, float(next(iter(state["marks"].values()))))
    await running.told(5.0, "adopted", since, id=name, adds=True)
    over_help = number % 2 == 1
    if over_help:
        terminal.press(b"?")
        await asyncio.sleep(0.3)
    await asyncio.sleep(0.1 + chance.random() * FRAME_S)
    before = await bench.state(session, running.venue)
    assert name in before["open_orders"], "the order does not rest at the venue"
    pressed = terminal.press(F12)
    cancel = await running.told(5.0, "cancel", since, id=name)
    command = await running.told(1.0, "command", since, action=Action.HALT.value)
    received = await running.told(1.0, "DELETE", since, id=name)
    shown = 0 if over_help else await terminal.shows(BANNER, since=pressed)
    assert not cancel["refused"] and cancel["written"], f"the cancel was not taken: {cancel}"
    await asyncio.sleep(WATCHED_S)
    after = await bench.state(session, running.venue)
    assert name not in after["open_orders"], "the order still rests at the venue"
    under_way = _entries(running, since, command["done"])
    kept = bool(after["positions"]) and bool(after["open_conditionals"])
    assert not after["positions"] or after["open_conditionals"], "the position lost its stop"
    return Try(pressed, command["heard"], cancel["asked"], cancel["written"], received["at"], shown, over_help, under_way, kept)


def _entries(running: Running, since: int, halted: int) -> int:
    """No entry was decided after the halt; how many that were decided before it reached the venue after it."""
    running.take()
    lines = running.lines[since:]
    late = [line for line in lines if line["what"] == "order" and not line["reduces"] and line["done"] > halted]
    assert not late, f"entries were sent after the halt: {late}"
    decided = {line["id"] for line in running.lines if line["what"] == "order"}
    came = [line for line in lines if line["what"] == "POST" and not line["reduces"] and line["at"] > halted]
    strange = [line["id"] for line in came if line["id"] not in decided]
    assert not strange, f"entries reached the venue after the halt, and the engine does not tell of them: {strange}"
    return len(came)


async def _protected(running: Running, session: aiohttp.ClientSession) -> dict[str, Any]:
    """The venue's state once there is a position with its stop; without one in time the try goes on, and is counted so."""
    deadline = time.monotonic() + 4.0
    while True:
        state = await bench.state(session, running.venue)
        if (state["positions"] and state["open_conditionals"]) or time.monotonic() > deadline:
            return state
        await asyncio.sleep(0.02)


async def _arm(running: Running, terminal: Terminal) -> None:
    """Release and arm with keys, as a person does it."""
    since = len(running.lines)
    for _ in range(8):  # a screen that has not heard of the halt yet says that there is nothing to release
        asked = terminal.press(b"r")
        with contextlib.suppress(AssertionError):
            await terminal.shows(DIALOG, since=asked, within_s=1.0)
            terminal.press(b"y")
            await running.told(1.0, "trading", since, to="off")
            break
    await running.told(1.0, "trading", since, to="off")
    for _ in range(8):  # a screen that has not heard of it yet refuses, and presses too close together are bounces
        await asyncio.sleep(BOUNCE_S)
        terminal.press(b"a")
        if any(line["what"] == "trading" and line["to"] == "armed" for line in running.lines[since:]):
            break
        running.take()
    await running.told(2.0, "trading", since, to="armed")


async def _close_help(terminal: Terminal) -> None:
    """Twice: where the console is busy, the first Escape and what follows it are read as one key."""
    for _ in range(2):
        terminal.press(b"\x1b")
        await asyncio.sleep(0.4)


def report(tries: list[Try], passed: float, events: float) -> None:
    over_help = sum(one.over_help for one in tries)
    print(f"\n{len(tries)} tries beside {events:,.0f} messages/s, {over_help} of them over the help, in {passed:.0f} s; ms:")
    parts = (
        ("key written to the command in the engine", [one.heard - one.pressed for one in tries]),
        ("  to ccxt called with the cancel", [one.asked - one.heard for one in tries]),
        ("  to its bytes at the socket", [one.written - one.asked for one in tries]),
        ("KEY TO CANCEL ON THE WIRE", [one.written - one.pressed for one in tries]),
        ("  over the help", [one.written - one.pressed for one in tries if one.over_help]),
        ("key to the venue's handler", [one.received - one.pressed for one in tries]),
        ("key to the halt's banner on the screen", [one.shown - one.pressed for one in tries if one.shown]),
    )
    rows = []
    for name, values in parts:
        p50, p99, _, most = percentiles_us(values)
        rows.append((name, len(values), p50 / 1000, percentile_ms(values, 90), p99 / 1000, most / 1000))
    table(("", "count", "p50", "p90", "p99", "most"), rows)
    whole = percentiles_us([one.written - one.pressed for one in tries])
    for word, value in zip(("p50", "p99"), whole, strict=False):
        tell(Figure(f"F12 to the cancel on the wire, {word} of {len(tries)}", value / 1000, "ms"))
    over = sum(one.written - one.pressed > AIM_MS * 1e6 for one in tries)
    print(f"aim {AIM_MS:g} ms: {len(tries) - over} of {len(tries)} within it")
    print("facts: every order was cancelled; entries decided after the halt: 0; decided before it and received by the", end=" ")
    print(f"venue after it: {sum(one.under_way for one in tries)}; the stop was kept in all of the", end=" ")
    print(f"{sum(one.stop_kept for one in tries)} tries with a position")


def percentile_ms(values: list[int], percent: int) -> float:
    held = sorted(values) or [0]
    return held[min(len(held) * percent // 100, len(held) - 1)] / 1e6


async def run(number: int, rate: float, folder: Path) -> None:
    recording = find(folder)
    load = Load.of(rate, recording)
    print(f"kill: {recording.words}, {MARKET}, looped, clock speed {load.speed:.1f}. {machine()}")
    chance, tries = random.Random(number), []
    async with started(folder, load.speed, recording.path, **HOLDING) as running, aiohttp.ClientSession() as session:
        stranger = Stranger(running)
        try:
            await stranger.start()
            async with running.terminal("console") as terminal:
                await terminal.shows(b"USDT 1s", since=0, within_s=20.0)
                await asyncio.sleep(3.0)
                began = time.monotonic()
                frames = (await bench.state(session, running.venue))["counters"]["frames"]
                for n in range(number):
                    if time.monotonic() - began > A_TRY_S * number:
                        print(f"{number - n} tries are left out: the machine is too busy for them in {A_TRY_S * number:.0f} s")
                        break
                    tries.append(await attempt(n, running, terminal, stranger, session, chance))
                    if tries[-1].over_help:
                        await _close_help(terminal)
                    try:
                        await _arm(running, terminal)
                    except AssertionError as problem:
                        print(f"the tries end after {n + 1}: the keys that release and arm were not taken ({problem})")
                        break
                passed = time.monotonic() - began
                frames = (await bench.state(session, running.venue))["counters"]["frames"] - frames
                await _close_help(terminal)
                assert await terminal.leave() == 0
        finally:
            await stranger.close()
    assert any(one.stop_kept for one in tries), "there never was a position with a stop"
    report(tries, passed, frames / passed)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tries", type=int, default=50, metavar="N", help="presses of F12 (default 50)")
    parser.add_argument("--rate", type=float, default=10_000.0, metavar="N", help="messages a second (default 10000)")
    parser.add_argument("--smoke", action="store_true", help="four tries, to see that it runs")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(run(4 if arguments.smoke else arguments.tries, arguments.rate, Path(folder)))


if __name__ == "__main__":
    main()
