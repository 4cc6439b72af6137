"""One line of JSON on stdin, a `VenueSpec`, goes in; one ready line on stdout comes out, then the venue serves until stdin ends.

Start failures are one line `{"error": "<sentence>"}` and exit code 1. SIGTERM and the end of stdin (its owner died) stop it
with exit code 0; SIGINT is its owner's to decide about, and ignored.
"""

import asyncio
import contextlib
import logging
import os
import signal
import sys
import threading

import msgspec

from engine.errors import BarterError, VenueError, VenueStartError
from engine.venue.binance_feed import BinanceFeeding, fed_markets
from engine.venue.feed import Feeding
from engine.venue.markets import Recording, build_markets
from engine.venue.okx.feed import OkxFeeding, fed_contracts
from engine.venue.server import Venue, VenueSpec

SPEC_BYTES = 1_000_000
NICE = 5  # it stands for another machine: where this one is busy, the engine and the screen come first


def first_line() -> bytes:
    """The first line of stdin, read without buffering: the rest is only waited upon."""
    line = b""
    while not line.endswith(b"\n") and len(line) < SPEC_BYTES:
        read = os.read(0, 1)
        if not read:
            break
        line += read
    return line


def read_spec(line: bytes) -> VenueSpec:
    """Raises `VenueStartError` with a sentence that repeats nothing of the line, since it holds a secret."""
    if not line.strip():
        raise VenueStartError("simulated venue", "no specification came on stdin")
    try:
        spec = msgspec.json.decode(line, type=VenueSpec)
    except msgspec.DecodeError as error:
        raise VenueStartError("simulated venue", f"the specification on stdin cannot be read: {error}") from None
    if not 0 <= spec.port <= 65_535:
        raise VenueStartError("simulated venue", f"port {spec.port} is not between 0 and 65535")
    if spec.clock.speed <= 0:
        raise VenueStartError("simulated venue", f"the clock's speed must be above 0, not {spec.clock.speed}")
    if not spec.api_key or not spec.secret:
        raise VenueStartError("simulated venue", "the specification lacks an API key or a secret")
    return spec


def say(**facts: object) -> None:
    """One line for the owner. An owner that has gone is noticed by the end of stdin."""
    with contextlib.suppress(BrokenPipeError):
        sys.stdout.write(msgspec.json.encode(facts).decode() + "\n")
        sys.stdout.flush()


def watch_owner(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 65_536):
            pass
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(stop.set)


async def serve(spec: VenueSpec) -> None:
    """From specification to the owner's end. Raises `BarterError` for what keeps it from starting or going on."""
    venue, recording, feeding = await _made(spec)
    await venue.start()
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    threading.Thread(target=watch_owner, args=(loop, stop), daemon=True).start()
    capture = {"frames": recording.frames, "seconds": recording.seconds} if recording else None
    markets = (*venue.markets.values(), *venue.okx_markets.values())
    symbols = list(dict.fromkeys(f"{one.listing.base}/{one.listing.quote}:{one.listing.quote}" for one in markets))
    say(ready=True, rest=venue.rest_url, ws=venue.ws_url, symbols=symbols, capture=capture)
    running = asyncio.create_task(venue.run())
    stopping = asyncio.create_task(stop.wait())
    ending = asyncio.create_task(announce_end(venue, recording))
    fed = asyncio.create_task(feeding.run() if feeding else stop.wait())
    try:
        await asyncio.wait((running, stopping, fed), return_when=asyncio.FIRST_COMPLETED)
        for task in (running, fed):
            if task.done():
                task.result()
    finally:
        for task in (running, stopping, ending, fed):
            task.cancel()
        await asyncio.gather(fed, return_exceptions=True)
        await venue.stop()


async def _made(spec: VenueSpec) -> "tuple[Venue, Recording | None, Feeding | None]":
    """With the markets of a real venue, kept fed while they run, or our own."""
    if spec.feed is None:
        markets, recording = build_markets(spec)
        return Venue(spec, markets), recording, None
    if spec.feed.venue == "okx":
        source, contracts = await fed_contracts(spec.feed.rest, spec.feed.symbols)
        return Venue(spec, {}, contracts), None, OkxFeeding(spec.feed.rest, spec.feed.ws, source, spec.clock)
    source = await fed_markets(spec.feed.rest, spec.feed.symbols)
    return Venue(spec, source.markets, {}), None, BinanceFeeding(spec.feed.rest, spec.feed.ws, source, spec.clock)


async def announce_end(venue: Venue, recording: Recording | None) -> None:
    await venue.ended.wait()
    say(ended=True, frames=recording.frames if recording else 0)


def main() -> int:
    """0 when its owner ended it, 1 with a line on stdout that says why not."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.nice(NICE)
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    try:
        asyncio.run(serve(read_spec(first_line())))
    except BarterError as error:
        # The owner knows whom it started: the sentence is about what went wrong.
        say(error=error.problem if isinstance(error, VenueError) else str(error))
        return 1
    except Exception as error:
        # Nothing but a sentence may reach the owner; the type names the bug.
        say(error=f"The simulated venue stopped: {type(error).__name__}: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
