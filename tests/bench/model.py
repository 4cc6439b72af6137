"""Tick-to-wire while a model writes at full speed, beside the same without it: windows of both in turn, in one session.

    python -m tests.bench.model --host http://127.0.0.1:11434 [--model NAME] [--windows 6] [--seconds 15] [--speed 37]

The server should run at nice 19 with a thread less than there are cores, as `barter-tui doctor` checks; the load asks it without
a pause from a process of its own. Facts: it wrote in every window that it should have, and every order has its readings.
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from console.venue_process import VenueProcess
from engine.config import JudgmentSettings
from engine.events import Action
from engine.judgment.answer import AnswerError
from engine.judgment.prompt import text
from engine.judgment.qualify import market
from engine.model import Ollama, threads
from tests.bench import venue as bench
from tests.bench.figures import Figure, lacking, machine, percentiles_us, table, tell
from tests.bench.probe import Probe, Sent
from tests.bench.tick_to_wire import ASTER, PERCENTILES, TOTALS, facts

SETTLE_S = 3.0  # between windows: a prompt that is being read is not given up


async def load(chosen: JudgmentSettings, name: str) -> None:
    """Ask for ever; a line on stdout for each answer with its number of tokens."""
    server = Ollama(chosen)
    found = await server.find(name)
    number = 0
    while True:
        number += 1
        whole = await server.answer(found.name, text(market((number % 9 - 4) / 4)), lambda _: None)
        print(whole.answer_tokens, flush=True)


async def found(chosen: JudgmentSettings, name: str) -> None:
    """Raises AnswerError where there is no server or no model."""
    server = Ollama(chosen)
    try:
        await server.find(name)
    finally:
        await server.close()


def _start(command: tuple[str, ...]) -> "subprocess.Popen[str]":
    """The one who asks gives way too: an engine asks now and then, and its part in it is small."""
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, preexec_fn=lambda: os.nice(19))


async def run(host: str, name: str, windows: int, seconds: float, speed: float, folder: Path) -> None:
    command = (sys.executable, "-m", "tests.bench.model", "--host", host, "--model", name, "--load")
    by_kind: dict[bool, list[Sent]] = {False: [], True: []}
    tokens = 0
    async with VenueProcess(bench.order(speed)) as venue:
        with Probe().installed() as probe:
            chosen = bench.settings(ASTER, folder, **bench.BUSY)
            async with bench.trading(venue, chosen) as engine:
                await asyncio.sleep(SETTLE_S)
                for number in range(windows):
                    on = bool(number % 2)
                    writer = _start(command) if on else None
                    await asyncio.sleep(SETTLE_S)
                    probe.sent.clear()
                    await asyncio.sleep(seconds)
                    by_kind[on] += [sent for sent in probe.sent.values() if sent.complete and sent.socket]
                    if writer is not None:
                        assert writer.poll() is None, "the load ended by itself"
                        writer.terminate()
                        said = writer.communicate(timeout=20)[0].split()
                        assert said, "the model did not write in this window"
                        tokens += sum(map(int, said))
                engine.command(Action.SHUTDOWN, "the end of the bench")
                await asyncio.sleep(1.0)
                facts(engine, probe)
    on_s = seconds * (windows // 2)
    print(f"{tokens} tokens in {on_s:.0f} s of writing; {len(by_kind[False])} orders without it, {len(by_kind[True])} with it")
    rows = []
    for words, part in TOTALS[:3]:
        off, on_ = (percentiles_us(map(part, by_kind[kind])) for kind in (False, True))
        rows += [(f"{words}, off", *off), (f"{words}, on", *on_)]
        if part is TOTALS[2][1]:
            for percentile, b, a in zip(PERCENTILES, on_, off, strict=False):
                told = f"tick to wire while a model writes, {percentile} of {len(by_kind[True])}"
                tell(Figure(told, b, "us", beside=b / max(a, 1e-9), peer="no model"))
        rows.append((f"{words}, on / off", *(f"{b / max(a, 1e-9):.2f}" for a, b in zip(off, on_, strict=True))))
    table(("us", "p50", "p99", "p99.9", "most"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default=os.environ.get("BARTER_OLLAMA_HOST", "http://127.0.0.1:11434"))
    parser.add_argument("--model", default="", metavar="NAME", help="default: the Mistral that is there")
    parser.add_argument("--windows", type=int, default=6, metavar="N", help="half of them with the model writing (default 6)")
    parser.add_argument("--seconds", type=float, default=15.0, metavar="N", help="of each window (default 15)")
    parser.add_argument("--speed", type=float, default=37.0, metavar="N", help="speed of the clock (default 37)")
    parser.add_argument("--load", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    chosen = JudgmentSettings(host=arguments.host)
    if arguments.load:
        asyncio.run(load(chosen, arguments.model))
    print(f"model: tick to wire with it writing and without, {threads(chosen)} threads, {time.strftime('%F')}. {machine()}")
    try:
        asyncio.run(found(chosen, arguments.model))
    except AnswerError as problem:
        lacking("tick to wire while a model writes", str(problem))
        return
    with tempfile.TemporaryDirectory() as folder:
        more = (arguments.windows, arguments.seconds, arguments.speed, Path(folder))
        asyncio.run(run(arguments.host, arguments.model, *more))


if __name__ == "__main__":
    main()
