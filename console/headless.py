"""The engine without a screen: one line a second, or sentences, on stdout, alerts on stderr, the summary last.

Consoles may come and go: its owner is whoever started it, who steers by signals, so that a console that is lost is no loss
and `on_console_loss` does not apply. One that stops the engine ends the run in good order.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from typing import Any, TextIO

import msgspec

from console.exits import SIGNALS, Exit
from console.plain import Plain, ending
from console.venue_process import Said, VenueProcess
from engine.errors import VenueStartError
from engine.events import Action, Mode
from engine.runtime import opening
from engine.runtime.summary import Summary
from engine.serve import Ending, Service

LINE_EVERY_S = 1.0
DRAIN_S, DRAIN_AT_MOST_S = 0.5, 15.0  # after a capture's last frame: what is still under way comes in


class Headless:
    """One run. `seconds` is engine time, None until the capture ends, a console stops the engine or a signal comes."""

    def __init__(
        self,
        service: Service,
        venue: VenueProcess | None,
        seconds: float | None,
        as_json: bool,
        out: TextIO,
        plain: bool = False,
    ) -> None:
        self.service, self.engine = service, service.engine
        self.plain = Plain(service.engine.state, self._soon) if plain else None
        self.venue, self.seconds, self.as_json, self.out = venue, seconds, as_json, out
        self.stopping: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self._alerts_told = 0
        self._last = (0, time.monotonic())  # events, when
        self._closed = self._settling = False

    async def run(self) -> Exit:
        """Until something ends it; returns the exit code after the summary was written. Raises BarterError."""
        if self.plain is not None:
            self.plain.begin(self.engine.settings.engine.mode)
            self.engine.listen(self.plain.hear)
        serving = asyncio.create_task(self.service.run())
        try:
            await _first(serving, self.service.entered)
            with _signals(self._signalled, self.engine.kill):
                async with _beside(self._opening()), _beside(self._lines()):
                    ended = await self._ended(serving)
                self._settling = True
                halted = ended in SIGNALS.values()
                who = ended.name.lower() if halted else "the end of the run"
                self.service.stop(Ending(Action.HALT if halted else Action.SHUTDOWN, who, f"it was {who}" if halted else who))
                await _first(serving, self.service.settled)
                self._alerts()  # not what is said while it is taken apart
                await serving
                if ended is Exit.OK and self.stopping.done():
                    ended = self.stopping.result()
        finally:
            serving.cancel()
            await asyncio.gather(serving, return_exceptions=True)
        summary = self.service.summary or self.engine.summary()
        self._summary(summary)
        if ended is not Exit.OK:
            return ended
        if summary.counts["faults"]:
            return Exit.FAULT
        return Exit.DISAGREE if summary.agreement.compared and not summary.agreement.equal else Exit.OK

    async def _ended(self, serving: "asyncio.Task[Ending]") -> Exit:
        """The time is up, the capture was played, the venue died, a console stopped it, or a signal came: the first of them."""
        waits: list[asyncio.Future[Exit]] = [self.stopping, asyncio.ensure_future(self._stopped(serving))]
        if self.seconds is not None:
            waits.append(asyncio.ensure_future(self._time_up(self.seconds)))
        if self.venue is not None and self.venue.ended is not None:
            waits.append(asyncio.ensure_future(self._venue_ended(self.venue.ended)))
        done, rest = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in rest:
            if wait is not self.stopping:
                wait.cancel()
        return next(iter(done)).result()

    async def _stopped(self, serving: "asyncio.Task[Ending]") -> Exit:
        stopped = asyncio.ensure_future(self.service.until_stopped())
        await asyncio.wait((stopped, serving), return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        return Exit.OK

    async def _time_up(self, seconds: float) -> Exit:
        await asyncio.sleep(self.engine.clock.real_seconds(seconds))
        return Exit.OK

    async def _venue_ended(self, ended: asyncio.Future[Said]) -> Exit:
        try:
            await asyncio.shield(ended)
        except VenueStartError as problem:
            print(f"barter-tui: {problem}. The engine stops; nothing more can be sent.", file=sys.stderr)
            return Exit.VENUE
        frames, waited = -1, 0.0
        while frames != (now := self.engine.frames) and waited < DRAIN_AT_MOST_S:
            frames, waited = now, waited + DRAIN_S
            await asyncio.sleep(DRAIN_S)
        return Exit.OK

    def _signalled(self, number: signal.Signals) -> None:
        if self.stopping.done():
            print("barter-tui: second signal, leaving without waiting for the venue.", file=sys.stderr)
            os._exit(SIGNALS[number])
        print(f"barter-tui: {number.name}: halting. Press again to leave at once.", file=sys.stderr)
        self.stopping.set_result(SIGNALS[number])
        if self._settling:  # the run was over: what is left of it halts too
            self.engine.command(Action.HALT, SIGNALS[number].name.lower())

    # --- lines -----------------------------------------------------------------------------------------------------------

    async def _lines(self) -> None:
        while True:
            await asyncio.sleep(LINE_EVERY_S)
            self._alerts()
            if self.plain is not None:
                self.plain.second(self.engine.view())
            else:
                self._write(self._json_line() if self.as_json else self._line())

    def _soon(self, line: str) -> None:
        """Not while the core is at work."""
        asyncio.get_running_loop().call_soon(self._write, line)

    async def _opening(self) -> None:
        """The account before trading, where it is a real venue's."""
        if self.engine.settings.engine.mode in (Mode.TESTNET, Mode.LIVE):
            await self.engine.opened.wait()
            print(f"barter-tui: the account\n{opening.text(self.engine.opening())}", file=sys.stderr)

    def _rate(self) -> float:
        events, now = self.engine.state.counters.events, time.monotonic()
        before, then = self._last
        self._last = (events, now)
        return (events - before) / max(now - then, 1e-9)

    def _json_line(self) -> str:
        view = self.engine.view()
        body = {
            "type": "second",
            **{name: value for name, value in msgspec.structs.asdict(view).items() if name != "alerts"},
            "events_per_s": round(self._rate(), 1),
            "loop_lag_us": self.engine.latencies.loop_lag.percentiles(),
        }
        return msgspec.json.encode(body).decode()

    def _line(self) -> str:
        view = self.engine.view()
        head = time.strftime("%H:%M:%S", time.gmtime(view.at / 1e9))
        if not view.markets:
            return f"{head} {view.mode.value.upper()} waiting for the venue's list of markets"
        first = view.markets[0]
        price = f"{first.bid or '-'}/{first.ask or '-'}"
        trust = "" if first.trust == "trusted" else f" !{first.trust}: {first.trust_reason}"
        stance = first.stance
        opinion = "no judgment yet"
        if stance is not None:
            left = (stance.expires_at - view.at) / 1e9
            age = f"for {left:.0f} s" if left > 0 else "expired"
            opinion = f"{stance.bias.value} {stance.confidence:.2f} {age}"
        held = "flat"
        if float(first.position):
            held = f"{first.position} @ {first.entry[:10]} uPnL {float(first.unrealised):+.4f} stop {first.stop or 'none!'}"
        waits = f" (waits: {view.ready})" if view.ready and view.trading == "armed" else ""
        return (
            f"{head} {view.mode.value.upper()} {first.symbol} {price}{trust} | {opinion} | {held} | "
            f"equity {float(view.equity):.4f} fees {float(view.fees):.4f} | {view.trading.value}{waits} | "
            f"{self._rate():.0f} ev/s {view.counters['orders']} orders {view.counters['fills']} fills"
        )

    def _alerts(self) -> None:
        new = self.engine.alerts_seen - self._alerts_told
        self._alerts_told = self.engine.alerts_seen
        for _, level, text in list(self.engine.alerts)[-new:] if new else []:
            print(f"barter-tui: {level.value}: {text}", file=sys.stderr)

    def _summary(self, summary: Summary) -> None:
        if self.as_json:
            self._write(msgspec.json.encode({"type": "summary", **msgspec.structs.asdict(summary)}).decode())
            return
        if self.plain is not None:
            for line in ending(summary):
                self._write(line)
            return
        agreement = summary.agreement
        match (agreement.compared, agreement.equal):
            case (True, True):
                words = "equal to the venue's account to the last digit"
            case (True, False):
                words = f"NOT equal to the venue's account (wallet there {agreement.venue_wallet})"
            case _:
                words = "not compared with the venue"
        self._write(
            f"{summary.seconds:.0f} s, {summary.events} events, {summary.gaps} gaps, {summary.judgments} judgments, "
            f"{summary.orders} orders, {summary.fills} fills\n"
            f"PnL {summary.pnl} = realised {summary.realised} + unrealised {summary.unrealised} - fees {summary.fees} "
            f"+ funding {summary.funding}\nwallet {summary.wallet}, {words}"
        )
        for name, row in (
            *summary.ledger.instruments.items(),
            *((f"by {who}", row) for who, row in summary.ledger.judges.items()),
        ):
            sums = f"{row.net} = realised {row.realised} - fees {row.fees} + funding {row.funding}"
            self._write(f"{name or 'funding of no known market'}: {sums}, {row.fills} fills")
        for position in summary.positions:
            self._write(f"{position.market} {position.quantity} @ {position.entry[:12]} stop {position.stop or 'none'}")

    def _write(self, line: str) -> None:
        """A reader that went away ends the run, not with a traceback."""
        if self._closed:
            return
        try:
            print(line, file=self.out, flush=True)
        except BrokenPipeError:
            self._closed = True
            with contextlib.suppress(OSError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), self.out.fileno())
            if not self.stopping.done():
                self.stopping.set_result(Exit.OK)


async def _first(serving: "asyncio.Task[Ending]", event: asyncio.Event) -> None:
    """Wait for the event, or for the end of serving without it: that raises what it failed of."""
    waiting = asyncio.create_task(event.wait())
    await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    if serving.done():
        serving.result()


@contextlib.asynccontextmanager
async def _beside(work: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """Run `work` while the body runs."""
    task = asyncio.create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@contextlib.contextmanager
def _signals(handle: Callable[[signal.Signals], None], kill: Callable[[str], None]) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    for number in SIGNALS:
        loop.add_signal_handler(number, handle, number)
    loop.add_signal_handler(signal.SIGUSR1, kill, "the signal SIGUSR1")
    try:
        yield
    finally:
        for number in (*SIGNALS, signal.SIGUSR1):
            loop.remove_signal_handler(number)
