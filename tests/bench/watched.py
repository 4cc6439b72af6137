"""Engine, venue and console as their own processes are, with clock readings written to a file as lines of JSON.

`watching(folder)` makes `VenueProcess` and `EngineProcess` start this module instead; the console is started by
`tests.bench.terminal`. What is wrapped is wrapped in every window of a bench, so that windows can be compared.
Times are monotonic ns, which all processes of a machine share.
"""

import contextlib
import os
import sys
import time
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import msgspec

from console import engine_process, venue_process
from console.child import Child

ROLE, FILE = "BENCH_ROLE", "BENCH_FILE"
now = time.monotonic_ns


class Lines:
    """The end that writes; each line is there when `say` returns."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def say(self, **facts: object) -> None:
        os.write(self._file, msgspec.json.encode(facts) + b"\n")


class Reader:
    """The end that reads: `new` returns the lines that have come since it was called last."""

    def __init__(self, path: Path) -> None:
        self.path, self._offset = path, 0

    def new(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        with self.path.open("rb") as file:
            file.seek(self._offset)
            raw = file.read()
        whole = raw[: raw.rfind(b"\n") + 1]
        self._offset += len(whole)
        return [msgspec.json.decode(line) for line in whole.splitlines()]


@contextlib.contextmanager
def watching(folder: Path) -> Iterator[tuple[Path, Path]]:
    """While inside, venues and engines that are started write lines; yields the engine's file and the venue's."""
    files = {"engine": folder / "engine.lines", "engine.venue": folder / "venue.lines"}

    class Watched(Child):
        @classmethod
        async def start(cls, module: str, order: msgspec.Struct, *, lend: tuple[int, ...] = (), log: Path | None = None) -> Self:
            os.environ[ROLE], os.environ[FILE] = module, str(files[module])
            try:
                return await super().start("tests.bench.watched", order, lend=lend, log=log)
            finally:
                del os.environ[ROLE], os.environ[FILE]

    owners: tuple[Any, ...] = (engine_process, venue_process)
    try:
        for owner in owners:
            owner.Child = Watched
        yield files["engine"], files["engine.venue"]
    finally:
        for owner in owners:
            owner.Child = Child


# --- the engine -------------------------------------------------------------------------------------------------------


def run_engine(lines: Lines) -> int:
    """`python -m engine`, telling orders, cancels, commands and adoptions, and at its end what its consoles cost."""
    from engine import __main__ as program
    from engine import frames, wire
    from engine.core import account as core_account
    from engine.events import Command, TradingChanged
    from engine.execution.live import BinanceAccount
    from engine.runtime import Engine, stats
    from tests.bench import probe

    lag, drawn, sent = array("q"), array("q"), array("q")
    found = probe.Probe()

    class Lag(stats.Durations):
        def __init__(self, engine: Engine) -> None:
            super().__init__()
            self._engine = engine

        def add(self, ns: int) -> None:
            super().add(ns)
            lag.extend((now(), ns, self._engine.state.counters.events))

    made = Engine.__init__

    def make(engine: Any, *parts: Any, **more: Any) -> None:
        made(engine, *parts, **more)
        engine.latencies.loop_lag = Lag(engine)
        engine.listen(lambda out: isinstance(out, TradingChanged) and lines.say(what="trading", at=now(), to=out.trading.value))

    cancel, adopt, wire_send = BinanceAccount.cancel, core_account._adopt, wire.SocketWire.send
    pictures, changed = Engine.pictures, frames.Sent.changed

    async def tell_send(own: Any, order: Any, *more: Any) -> Any:
        result = await send(own, order, *more)
        reading = found.sent.pop(order.client_id)
        lines.say(what="order", id=order.client_id, reduces=order.reduce_only, **msgspec.structs.asdict(reading))
        return result

    async def tell_cancel(own: Any, order: Any, *more: Any) -> Any:
        reading = probe.Sent("cancel", asked=now())
        probe._current.set(reading)  # the task's own context: nobody else sees it
        result = await cancel(own, order, *more)
        lines.say(what="cancel", id=order.client_id, refused=result is not None, **msgspec.structs.asdict(reading))
        return result

    def tell_adopt(*parts: Any) -> Any:
        order = adopt(*parts)
        lines.say(what="adopted", at=now(), id=order.client_id, adds=order.adds_exposure)
        return order

    def tell_command(engine: Any, event: Any, read_ns: int = 0) -> Any:
        if type(event) is not Command:
            return process(engine, event, read_ns)
        heard = now()
        result = process(engine, event, read_ns)
        lines.say(what="command", action=event.action.value, heard=heard, done=now())
        return result

    def timed_pictures(engine: Any, watch: Any) -> Any:
        before = now()
        result = pictures(engine, watch)
        drawn.extend((before, now() - before, 0))
        return result

    def timed_changed(own: Any, shown: Any) -> Any:
        before = now()
        result = changed(own, shown)
        drawn.extend((before, now() - before, 1))
        return result

    async def counted_send(own: Any, message: bytes) -> None:
        sent.extend((now(), len(message)))
        await wire_send(own, message)

    with found.installed():
        send, process = BinanceAccount.send, Engine.process  # the probe's own: its readings are complete when they are told
        patches: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
            (Engine, "__init__", make),
            (BinanceAccount, "send", tell_send),
            (BinanceAccount, "cancel", tell_cancel),
            (core_account, "_adopt", tell_adopt),
            (Engine, "process", tell_command),
            (Engine, "pictures", timed_pictures),
            (frames.Sent, "changed", timed_changed),
            (wire.SocketWire, "send", counted_send),
        )
        for owner, name, new in patches:
            setattr(owner, name, new)
        code = program.main()
    lines.say(what="figures", lag=lag.tolist(), drawn=drawn.tolist(), sent=sent.tolist())
    return code


# --- the venue --------------------------------------------------------------------------------------------------------


def run_venue(lines: Lines) -> int:
    """`python -m engine.venue`, telling when orders and cancels have come in."""
    from urllib.parse import parse_qs

    from engine.venue import __main__ as program
    from engine.venue.server import Venue

    usual = Venue._on_request

    async def told(venue: Venue, request: Any) -> Any:
        at = now()
        if request.method in ("POST", "DELETE") and request.path.lower().endswith("order"):
            asked = parse_qs(request.rel_url.raw_query_string + "&" + await request.text())
            ids = ("newClientOrderId", "origClientOrderId", "clientAlgoId")
            name = next((asked[key][0] for key in ids if key in asked), "")
            reduces = asked.get("reduceOnly", ["false"])[0] == "true" or "algo" in request.path.lower()
            lines.say(what=request.method, at=at, id=name, reduces=reduces)
        return await usual(venue, request)

    Venue._on_request = told  # type: ignore[method-assign]
    return program.main()


# --- the console ------------------------------------------------------------------------------------------------------


def run_console(lines: Lines, argv: list[str]) -> int:
    """`barter-tui argv`, and at its end what each frame took: wall and CPU time of each part of it."""
    from textual.screen import Screen

    from console import app, cli, link
    from console.screens.trading import TradingScreen

    spent: dict[str, array[int]] = {name: array("q") for name in ("tick", "paint", "screen", "decode")}

    def timed(name: str, usual: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*parts: Any) -> Any:
            before, cpu = now(), time.thread_time_ns()
            try:
                return usual(*parts)
            finally:
                spent[name].extend((before, now() - before, time.thread_time_ns() - cpu))

        return wrapped

    frame = app.Console._frame

    def ticked(console: Any) -> None:
        spent["tick"].append(now())
        frame(console)

    owners: tuple[tuple[Any, str, Callable[..., Any]], ...] = (
        (app.Console, "_frame", ticked),
        (TradingScreen, "paint", timed("paint", TradingScreen.paint)),
        (Screen, "_on_timer_update", timed("screen", Screen._on_timer_update)),
        (link, "_decode", timed("decode", link._decode)),
    )
    for owner, name, new in owners:
        setattr(owner, name, new)
    usual = app.Console.run_async

    async def told(console: Any, **more: Any) -> Any:
        lines.say(what="screen", pid=os.getpid())  # not the process that was started: a guard stands between
        try:
            return await usual(console, **more)
        finally:
            lines.say(what="figures", **{name: held.tolist() for name, held in spent.items()})

    app.Console.run_async = told  # type: ignore[method-assign]
    return cli.main(argv)


def main() -> int:
    role, lines = os.environ.pop(ROLE), Lines(os.environ.pop(FILE))
    if role == "console":
        return run_console(lines, sys.argv[1:])
    return run_engine(lines) if role == "engine" else run_venue(lines)


if __name__ == "__main__":
    sys.exit(main())
