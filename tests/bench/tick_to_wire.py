"""From the socket read that causes an order to its bytes at the socket, part by part, beside ccxt alone in the same run.

    python -m tests.bench.tick_to_wire [--seconds 40] [--alone 400] [--speed 37] [--flow | --recording]

The engine trades as often as its settings allow: on the venue's own order flow, then on the recording under load. After each,
while the venue's process and its clock run on, ccxt sends orders to the same venue with the same session and no engine beside
it. Facts: every order that was sent has all its readings, none is of unknown fate, and no message was dropped.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from console.venue_process import VenueProcess
from engine.errors import BarterError
from engine.events import Action, Instrument, OrderKind, Purpose, SendOrder, Side, TimeInForce
from engine.execution.live import BinanceAccount
from engine.runtime import Engine
from engine.runtime.summary import dropped
from tests.bench import venue as bench
from tests.bench.figures import Figure, machine, percentiles_us, table, tell
from tests.bench.probe import Probe, Sent
from tests.bench.recording import MARKET, find

ASTER = "ASTER/USDT:USDT"
PERCENTILES = ("p50", "p99", "p99.9")
PAUSE_S = 0.02  # between orders of ccxt alone: what is left of one is done when the next begins

PARTS = (
    ("buffer: kernel read to frame taken", lambda s: s.read - s.chunk),
    ("decode", lambda s: s.core - s.read),
    ("core", lambda s: s.done - s.core),
    ("hand-off: the record, and the call of ccxt", lambda s: s.asked - s.done),
    ("ccxt and aiohttp until transport.write", lambda s: s.handed - s.asked),
    ("after it: send(2)", lambda s: s.written - s.handed),
)
TOTALS = (
    ("engine share (buffer .. hand-off)", lambda s: s.asked - s.chunk),
    ("ccxt share (call .. transport.write)", lambda s: s.handed - s.asked),
    ("TICK TO WIRE (kernel read .. transport.write)", lambda s: s.handed - s.chunk),
    ("  from frame taken, as the engine counts", lambda s: s.handed - s.read),
    ("the engine's own mark, tick_to_wire", lambda s: s.marked - s.read),
    ("  mark's end before transport.write", lambda s: s.handed - s.marked),
    ("  mark's start after the kernel read", lambda s: s.read - s.chunk),
    ("round trip (call .. reply)", lambda s: s.answered - s.asked),
)


async def engine_orders(venue: VenueProcess, symbol: str, folder: Path, seconds: float) -> tuple[list[Sent], Instrument]:
    with Probe().installed() as probe:
        async with bench.trading(venue, bench.settings(symbol, folder, **bench.BUSY)) as engine:
            events, began = engine.state.counters.events, time.monotonic()
            probe.sent.clear()  # the first ones pay for connections and caches
            await asyncio.sleep(seconds)
            passed = time.monotonic() - began
            rate = (engine.state.counters.events - events) / passed
            readings = [sent for sent in probe.sent.values() if sent.complete]
            lag = percentiles_us(engine.latencies.loop_lag._ns)
            print(f"\n{len(readings)} orders in {passed:.0f} s beside {rate:,.0f} events/s;", end=" ")
            print(f"loop lag p50 {lag[0]:.0f}, p99 {lag[1]:.0f} us")
            engine.command(Action.SHUTDOWN, "the end of the bench")
            await asyncio.sleep(1.0)
            facts(engine, probe)
            return readings, next(iter(engine.state.markets.values())).instrument


def facts(engine: Engine, probe: Probe) -> None:
    counters = engine.state.counters
    assert counters.unknown == 0 and counters.faults == 0, counters
    assert counters.decode_failures == 0 and dropped(engine)["unknown_market"] == 0, counters
    for held in engine.state.markets.values():
        book = held.book.counters
        assert (book.gaps, book.duplicates, book.mismatches, book.buffer_dropped) == (0, 0, 0, 0), book
        assert all(bars.counters.missing == 0 for bars in held.bars.values())
    partly = [name for name, sent in probe.sent.items() if not sent.complete]
    assert not partly, f"orders without all their readings: {partly[:5]}"


async def alone(venue: VenueProcess, instrument: Instrument, number: int) -> list[Sent]:
    """ccxt's `create_order` and nothing else: a session as the engine's, an event loop without a market."""
    with Probe().installed() as probe:
        account = BinanceAccount(venue.credentials, venue.said.rest, venue.order.clock, 5_000)
        try:
            await account.start([instrument])
            size = max(instrument.min_quantity, int(100 / float(instrument.step) / 60_000) if "BTC" in instrument.market else 100)
            for n in range(number + 20):
                side = Side.BUY if n % 2 == 0 else Side.SELL
                now = venue.order.clock.now_ns()
                name, kind, whole = f"alone{n}", OrderKind.MARKET, TimeInForce.GTC
                wish = SendOrder(now, instrument.market, name, kind, Purpose.ENTRY, side, size, 0, 0, whole, False)
                event, _ = await account.send(wish)
                assert type(event).__name__ == "OrderAccepted", event
                await asyncio.sleep(PAUSE_S)
        finally:
            await account.close()
        return list(probe.sent.values())[20:]


def report(words: str, readings: list[Sent], alone: list[Sent]) -> None:
    by_socket = [sent for sent in readings if sent.socket]
    for cause, some in (("a websocket frame", by_socket), ("the timer or a reply", [s for s in readings if not s.socket])):
        kinds = Counter(f"{sent.purpose} by {sent.cause}" for sent in some)
        print(f"caused by {cause}: {len(some)} ({', '.join(f'{count} {name}' for name, count in kinds.most_common())})")
    rows = [(name, *percentiles_us(map(part, by_socket))) for name, part in (*PARTS, *TOTALS)]
    table(("us", "p50", "p99", "p99.9", "most"), rows)
    burst = [sent for sent in by_socket if sent.frame_queue > 0]
    print(f"  {len(burst)} of them with frames waiting behind the cause (p50 {_median(s.frame_queue for s in burst):.0f})")
    base = percentiles_us(map(TOTALS[1][1], alone))
    for what, part in (("tick to wire", TOTALS[2][1]), ("the engine's share of it", TOTALS[0][1])):
        own = percentiles_us(map(part, by_socket))
        for n, percentile in enumerate(PERCENTILES):
            name = f"{what}, {words}, {percentile} of {len(by_socket)}"
            ratio, peer = (own[n] / base[n], "ccxt alone") if alone else (None, "")
            tell(Figure(name, own[n], "us", beside=ratio, peer=peer))
    if not alone:
        return
    print(f"ccxt alone, no engine, same venue: {len(alone)} orders")
    rows = [(name, *percentiles_us(map(part, alone))) for name, part in (PARTS[4], PARTS[5], TOTALS[-1])]
    table(("us", "p50", "p99", "p99.9", "most"), rows)
    for name, part in (
        ("engine share", TOTALS[0][1]),
        ("ccxt share beside the engine", TOTALS[1][1]),
        ("TICK TO WIRE", TOTALS[2][1]),
    ):
        own = percentiles_us(map(part, by_socket))
        ratios = ", ".join(f"{word} {own[n] / max(base[n], 1e-9):.2f}" for n, word in enumerate(PERCENTILES))
        print(f"  {name} / ccxt alone: {ratios}")
    engine, ccxt = (statistics.median(map(part, by_socket)) for part in (TOTALS[0][1], TOTALS[1][1]))
    print(f"  engine share / ccxt share within the same orders, medians: {engine / ccxt:.2f}")


def _median(values: Iterable[int]) -> float:
    held = list(values)
    return statistics.median(held) if held else 0.0


async def run(symbol: str, speed: float, capture: Path | None, seconds: float, number: int, folder: Path) -> None:
    async with VenueProcess(bench.order(speed, capture)) as venue:
        readings, instrument = await engine_orders(venue, symbol, folder, seconds)
        try:
            other = await alone(venue, instrument, number)
        except (AssertionError, BarterError) as problem:
            print(f"ccxt alone could not be measured: {problem}")
            other = []
    report("a recording under load" if capture else "the venue's own flow", readings, other)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=40.0, metavar="N", help="real seconds of trading, each (default 40)")
    parser.add_argument("--alone", type=int, default=400, metavar="N", help="orders of ccxt alone (default 400)")
    parser.add_argument("--speed", type=float, default=37.0, metavar="N", help="speed of the clock (default 37)")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--flow", action="store_true", help="only the venue's own order flow")
    which.add_argument("--recording", action="store_true", help="only the recording")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        more = (arguments.seconds, arguments.alone, Path(folder))
        if not arguments.recording:
            print(f"tick_to_wire: the venue's own order flow, {ASTER}, clock speed {arguments.speed:g}. {machine()}")
            asyncio.run(run(ASTER, arguments.speed, None, *more))
        if not arguments.flow:
            recording = find(Path(folder))
            print(f"\ntick_to_wire: {recording.words}, {MARKET}, looped, clock speed {arguments.speed:g}. {machine()}")
            asyncio.run(run(MARKET, arguments.speed, recording.path, *more))


if __name__ == "__main__":
    main()
