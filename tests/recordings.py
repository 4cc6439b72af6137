"""A real engine on a simulated venue, recorded: sessions that tests read, replay and look at."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from engine.config import Settings, create_aster_config, state_dir
from engine.events import Action
from engine.execution.live import Credentials
from engine.queue.files import recorded
from engine.runtime import Endpoints, Engine
from engine.runtime.engine import Journal
from tests.simulated import KEY, SECRET, Simulated, simulated, until

EAGER = {
    "judgment": {"every_bars": 1, "min_confidence": 0.0},
    "strategy": {"cooldown_bars": 0, "stop_atr": 1.0, "target_atr": 1.0},
}
MARKET = "binance:ASTER/USDT:USDT"


def desk(folder: Path, **sections: Any) -> Settings:
    return create_aster_config(**{**EAGER, "engine": {"state_dir": str(folder)}, **sections})


@asynccontextmanager
async def recording(venue: Simulated, settings: Settings, journal: Journal | None = None) -> AsyncIterator[Engine]:
    keys = Credentials(KEY, SECRET)
    async with Engine(settings, venue.clock, Endpoints(venue.rest, venue.ws), keys, journal=journal) as engine:
        yield engine


def record(folder: Path) -> Path:
    """A session with two positions, orders, fills, a fault and a halt."""

    async def run() -> None:
        async with simulated() as venue, recording(venue, desk(folder)) as engine:
            for _ in range(2):
                await until(lambda: engine.state.portfolio.position(MARKET).quantity, 60)
                engine.command(Action.CLOSE, "the test", MARKET)
                await until(lambda: not engine.state.portfolio.position(MARKET).quantity)
            await venue.fault("depth_gap")
            gaps = lambda: sum(held.book.counters.gaps for held in engine.state.markets.values())  # noqa: E731
            await until(gaps)
            await until(lambda: all(held.book.trusted for held in engine.state.markets.values()))
            await engine.settle(Action.HALT, "the test")

    asyncio.run(run())
    (path,) = recorded(state_dir(desk(folder)))
    return path


def without_sockets(path: Path, imports: str, work: str) -> None:
    """`work` on the `session` at `path`, in a process of its own: it opens no socket, and loads no client of anything."""
    code = (
        "import sys\n"
        "seen = []\n"
        "sys.addaudithook(lambda event, _: seen.append(event) if event.startswith('socket.') else None)\n"
        "from pathlib import Path\n"
        "from engine.queue.session import Session\n"
        f"{imports}\n"
        f"with Session(Path(sys.argv[1])) as session: {work}\n"
        "assert not seen, seen\n"
        "assert not {'ccxt', 'websockets', 'aiohttp', 'ollama', 'fluvio', 'textual'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
