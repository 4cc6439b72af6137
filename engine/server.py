"""Consoles come in over a wire; each gets frames at its own pace, an answer to each command, and a goodbye with a reason.

The engine never waits here. News reach `Consoles` by a plain call and go into one bounded ring; each console has a task
that takes from it, compares pictures with those last sent, and is the only one that waits when its reader is slow:
pictures are made when they can be sent, so the newest wins, and news pile up in the ring until they are taken in order.
"""

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import Callable
from typing import Protocol

import msgspec

from engine import __version__
from engine.config import TIMEFRAMES_MS
from engine.events import Event
from engine.frames import NEWS_KEPT, URGENT, News, Sent, frame
from engine.views import (
    PROTOCOL,
    Answer,
    AnyPicture,
    Ask,
    Goodbye,
    Hello,
    Leave,
    StatusView,
    Watch,
    Welcome,
    decode_to_engine,
    encode,
)
from engine.wire import LINGER_S, Wire

log = logging.getLogger("barter.server")

ANSWERS_KEPT = 10_000
ANSWERS_WAITING = 1_000  # of one console that asks and does not read
CONSOLES = 8
DEEPEST = 200  # levels a side
RELAYED_DEPTH = 50  # of each market
LINES = 2 * CONSOLES  # connections that only command
SLOWEST, FASTEST = 1.0, 30.0  # frames a second
URGENT_EVERY_S = 0.01
HELLO_WITHIN_S = 5.0

LAGGED = "This console lagged too far behind the engine, which let it go: open it again."
UNREADABLE = "The engine could not read what this console said ({}): their versions may differ."


class Source(Protocol):
    """What an engine shows; all of it returns at once."""

    def pictures(self, watch: Watch) -> list[AnyPicture]: ...
    def listen(self, callback: Callable[[Event], None]) -> Callable[[], None]: ...
    def ask(self, ask: Ask) -> Answer: ...


class Counts(msgspec.Struct):
    """What became of consoles, since the engine started."""

    welcomed: int = 0
    other_users: int = 0  # refused by the socket
    other_versions: int = 0
    unreadable: int = 0
    lagged: int = 0
    lost: int = 0  # went without a word and could steer
    frames: int = 0
    bytes: int = 0

    @property
    def troubles(self) -> int:
        """What a trader should hear of: a console that could not follow, or somebody who had no business here."""
        return self.lagged + self.unreadable + self.other_users


class _Parting(Exception):
    """The engine ends a link; the text is the goodbye."""


class Consoles:
    """All consoles of one engine. `attend` is the life of one of them; `lost` tells when nobody steers any more."""

    def __init__(self, source: Source, session: str, markets: tuple[str, ...], watch: Watch) -> None:
        self.source, self.session, self.markets, self.watch = source, session, markets, watch
        self.counts = Counts()
        self.stop_asked: Callable[[], None] = lambda: None
        self.lost = False  # the last console that steers, or the owner before one came, is gone without a word
        self._changed = asyncio.Event()
        self._kept_running = False
        self._present: set[_Console] = set()
        self._attending: set[asyncio.Task[None]] = set()
        self._closed = ""
        self.said = News()
        self._answers: dict[str, Answer] = {}
        self._end_listening = source.listen(self._hear)

    async def attend(self, wire: Wire) -> None:
        """From the console's first word to its end; never raises."""
        task = asyncio.current_task()
        assert task is not None
        self._attending.add(task)
        try:
            last = await self._attend(wire)
            await wire.part(encode(Goodbye(last)) if last else b"")
        finally:
            self._attending.discard(task)

    async def close(self, reason: str) -> None:
        """Give everybody what is left of the news and a goodbye; newcomers get the goodbye alone."""
        if self._closed:
            return
        self._closed = reason
        self._end_listening()
        for console in self._present:
            console.end(reason)
        if self._attending:
            await asyncio.wait(self._attending, timeout=3 * LINGER_S)

    # --- who is there -----------------------------------------------------------------------------------------------------

    @property
    def news(self) -> int:
        """The number of the next news."""
        return self.said.count

    @property
    def steered(self) -> bool:
        """A console that may steer is connected."""
        return any(console.steers for console in self._present)

    def owner_gone(self) -> None:
        """Whoever started the engine is no more. That is a loss unless a console steers, or one said that all may run on."""
        if not self.steered and not self._kept_running:
            self._lose()

    async def until_lost(self) -> None:
        while not self.lost:
            await self._changed.wait()

    async def stays_lost(self, seconds: float | None) -> bool:
        """Wait that long (None: as long as it takes) for a console that steers; False as soon as there is one."""
        try:
            async with asyncio.timeout(seconds):
                while self.lost:
                    await self._changed.wait()
        except TimeoutError:
            return self.lost
        return False

    def _lose(self) -> None:
        if self.lost:
            return  # a killed starter takes its console's socket and its pipe with it
        self.lost = True
        self.counts.lost += 1
        self._tell_change()

    def _find(self) -> None:
        self.lost = False
        self._tell_change()

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed.clear()

    def left(self, console: "_Console", keep_running: bool) -> None:
        """A console said goodbye."""
        console.left = True
        if console.relay:
            return
        if console.control and keep_running:
            self._kept_running = True
            if not any(other.steers for other in self._present if other is not console):
                self._find()
        elif console.control:
            self.stop_asked()

    # --- one console ------------------------------------------------------------------------------------------------------

    async def _attend(self, wire: Wire) -> str:
        """Returns the goodbye, "" where nobody is there to hear it."""
        try:
            async with asyncio.timeout(HELLO_WITHIN_S):
                hello = self.decode(await wire.receive())
            console = self._admit(hello, wire)
        except _Parting as parting:
            return str(parting)
        except TimeoutError:
            return "The engine heard no hello from this console."
        except ConnectionError:
            return ""
        try:
            return await console.run()
        finally:
            self._present.discard(console)
            if console.steers and not console.left and not self.steered and not self._closed:
                self._lose()

    def _admit(self, hello: msgspec.Struct, wire: Wire) -> "_Console":
        if not isinstance(hello, Hello):
            raise _Parting(UNREADABLE.format("it did not begin with a hello"))
        if hello.protocol != PROTOCOL:
            self.counts.other_versions += 1
            raise _Parting(
                f"This console speaks version {hello.protocol} of the link (barter-tui {hello.version}) and the engine version "
                f"{PROTOCOL} (barter-tui {__version__}): use the engine's barter-tui, or stop that engine and start this one's."
            )
        if self._closed:
            raise _Parting(self._closed)
        shown = hello.frames_per_s != 0 and not hello.relay
        if sum(console.seat == shown for console in self._present) >= (CONSOLES if shown else LINES):
            raise _Parting(f"The engine has {CONSOLES} consoles already: close one of them.")
        if not shown:
            console = _Console(self, wire, hello, self.news)
            self._present.add(console)
            return console
        first = self.counts.welcomed == 0
        self.counts.welcomed += 1
        # The first console also hears what happened while it was on its way.
        console = _Console(self, wire, hello, max(self.news - NEWS_KEPT, 0) if first else self.news)
        self._present.add(console)
        if console.control:
            self._kept_running = False
            self._find()
        return console

    def welcome(self, news: int) -> bytes:
        return encode(Welcome(PROTOCOL, __version__, self.session, os.getpid(), self.markets, news))

    def decode(self, message: bytes) -> Hello | Watch | Ask | Leave:
        try:
            heard: Hello | Watch | Ask | Leave = decode_to_engine(message)
        except (ValueError, RecursionError) as problem:  # msgspec's errors and UnicodeDecodeError
            self.counts.unreadable += 1
            raise _Parting(UNREADABLE.format(problem)) from None
        return heard

    # --- news and commands --------------------------------------------------------------------------------------------------

    def _hear(self, event: Event) -> None:
        """An output of the core. Called within the engine's path: it stores and wakes, no more."""
        if self.said.take(event):
            urgent = type(event) in URGENT
            for console in self._present:
                if console.shown:
                    console.hear(urgent, self.news)

    def pictures(self, watch: Watch) -> list[AnyPicture]:
        """The engine's, with what became of its consoles."""
        troubles, replace = self.counts.troubles, msgspec.structs.replace
        shown = self.source.pictures(watch)
        if not troubles:
            return shown
        return [replace(view, link_troubles=troubles) if isinstance(view, StatusView) else view for view in shown]

    def ask(self, ask: Ask, control: bool) -> Answer:
        """A command is carried out once, whichever connection repeats it."""
        if not control:
            return Answer(ask.id, False, "This console only watches: open one that may steer.")
        known = self._answers.get(ask.id)
        if known is not None:
            return known
        try:
            answer = self.source.ask(ask)
        except Exception as problem:
            log.exception("a command crashed")
            answer = Answer(ask.id, False, f"The engine failed to do that ({type(problem).__name__}): see its log.")
        self._answers[ask.id] = answer
        if len(self._answers) > ANSWERS_KEPT:
            del self._answers[next(iter(self._answers))]
        return answer


class _Console:
    """One that was welcomed: what it watches, what it was sent last, and the two tasks that serve it.

    One that is not `shown` anything is the line of a console that is here besides: it commands and gets answers, and its
    end is nobody's loss. Nor is that of a relay, which is shown everything.
    """

    def __init__(self, consoles: Consoles, wire: Wire, hello: Hello, news: int) -> None:
        self.consoles, self.wire, self.control, self.news = consoles, wire, hello.control, news
        self.shown, self.relay = hello.frames_per_s != 0, hello.relay
        self.seat = self.shown and not self.relay  # one of the places for people
        self.steers = self.seat and self.control
        self.left = False
        wanted = hello.frames_per_s if hello.frames_per_s >= SLOWEST else SLOWEST  # NaN too
        self._period = 1 / min(wanted, FASTEST)
        self._watch = consoles.watch
        self._sent = Sent()
        self._answers: deque[Answer] = deque()
        self._wake = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._due = self._drawn = 0.0  # loop time of the next frame, and of the last one
        self._ending: asyncio.Future[str] = self._loop.create_future()

    def hear(self, urgent: bool, count: int) -> None:
        if count - self.news > NEWS_KEPT:
            if not self._ending.done():
                self.consoles.counts.lagged += 1
            self.end(LAGGED)
        elif urgent:
            self._wake.set()

    def end(self, reason: str) -> None:
        if not self._ending.done():
            self._ending.set_result(reason)

    async def run(self) -> str:
        """Until either side ends it; returns the goodbye, "" where nobody is there to hear it."""
        tasks = [asyncio.create_task(self._read()), asyncio.create_task(self._write())]
        ended: list[asyncio.Future[str]] = [*tasks, self._ending]
        try:
            await asyncio.wait(ended, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        if self._ending.done():
            reason = self._ending.result()
            if reason is not LAGGED:
                await self._send_rest()
            return reason
        return next(_goodbye(end) for end in ends if not isinstance(end, asyncio.CancelledError))

    async def _read(self) -> str:
        """What the console says; returns when it leaves without stopping the engine."""
        while True:
            match self.consoles.decode(await self.wire.receive()):
                case Watch() as watch:
                    self._watch = msgspec.structs.replace(watch, depth=min(max(watch.depth, 1), DEEPEST))
                    self._due = min(self._due, self._drawn + 1 / FASTEST)
                    self._wake.set()
                case Ask() as ask:
                    self._answers.append(self.consoles.ask(ask, self.control))
                    if len(self._answers) > ANSWERS_WAITING:
                        self.consoles.counts.lagged += 1
                        raise _Parting(LAGGED)
                    self._wake.set()
                case Leave(keep_running):
                    self.consoles.left(self, keep_running)
                    if keep_running or not self.control:
                        return "This console left the engine, which runs on."
                case Hello():
                    self.consoles.counts.unreadable += 1
                    raise _Parting(UNREADABLE.format("it said hello twice"))

    async def _write(self) -> str:
        """Frames at the console's pace and what is urgent between them; the only place that waits for its reader."""
        await self.wire.send(self.consoles.welcome(self.news))
        while True:
            self._wake.clear()
            await self._send_answers()
            if not self.shown:
                await self._wake.wait()
                continue
            now = self._loop.time()
            drawing = now >= self._due
            if drawing:
                following = self._due + self._period
                self._drawn, self._due = now, following if following > now else now + self._period  # late ones are left out
            await self._send_frame(drawing)
            if self.consoles.news > self.news:
                continue  # more than a frame holds, or more by now
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(max(self._due, self._loop.time())):
                    await self._wake.wait()
                    if not self._answers:  # a burst of news is one frame
                        await asyncio.sleep(URGENT_EVERY_S - (self._loop.time() - now))

    async def _send_answers(self) -> None:
        while self._answers:
            await self.wire.send(encode(self._answers.popleft()))

    async def _send_frame(self, drawing: bool) -> None:
        consoles = self.consoles
        pictures = () if not drawing else await self._all_changed() if self.relay else self._changed(self._watch)
        news = consoles.said.since(self.news)
        if not pictures and not news:
            return
        message = frame(self.news, pictures, news)
        self.news += len(news)
        consoles.counts.frames += 1
        consoles.counts.bytes += len(message)
        await self.wire.send(message)

    def _changed(self, watch: Watch) -> tuple[msgspec.Raw, ...]:
        return self._sent.changed(self.consoles.pictures(watch))

    async def _all_changed(self) -> tuple[msgspec.Raw, ...]:
        """Of each market and timeframe, a market at a time: all at once would hold the engine up for milliseconds."""
        found: tuple[msgspec.Raw, ...] = ()
        first = self.consoles.pictures(self._watch)
        status = next((view for view in first if isinstance(view, StatusView)), None)
        for market in status.markets if status is not None and status.markets else self.consoles.markets:
            for timeframe_ms in TIMEFRAMES_MS.values():
                some = self.consoles.pictures(Watch(market, timeframe_ms, RELAYED_DEPTH))
                found += self._sent.changed(view for view in some if not isinstance(view, StatusView))
            await asyncio.sleep(0)
        return (*self._sent.changed([status] if status is not None else []), *found)

    async def _send_rest(self) -> None:
        """What happened up to the end, as far as the console reads it in time."""
        with contextlib.suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(LINGER_S):
                await self._send_answers()
                if not self.shown:
                    return
                await self._send_frame(True)
                while self.consoles.news > self.news:
                    await self._send_frame(False)


def _goodbye(end: str | BaseException) -> str:
    if isinstance(end, str):
        return end
    if isinstance(end, _Parting):
        return str(end)
    if isinstance(end, ConnectionError):
        return ""
    log.error("serving a console crashed", exc_info=end)
    return f"The engine failed to serve this console ({type(end).__name__}): see its log."
