"""`barter-tui --replay SESSION`: a recorded session on the trading screen, in one process, without an engine."""

import asyncio

from console import logs
from console.app import Console, Parting
from console.exits import Exit
from console.link import memory_link
from engine.config import Settings, state_dir, timeframe_ms
from engine.queue.local import Session, find
from engine.replay.playback import Playback
from engine.replay.player import Player
from engine.server import DEEPEST, Consoles
from engine.views import Watch


async def show(settings: Settings, name: str, speed: float, *, verbose: bool = False) -> int:
    """Until the console is left. Raises SessionError."""
    with Session(find(state_dir(settings), name)) as session:
        playback = Playback(Player(session), speed=speed)
        playback.play(True)
        console = Console(
            memory_link(lambda: consoles(playback)),
            log_file=logs.to_file(state_dir(settings), verbose),
            playback=playback,
            settings=settings,
        )
        playing = asyncio.create_task(playback.run())
        try:
            parted = await console.run_async()
        finally:
            playing.cancel()
            await asyncio.gather(playing, return_exceptions=True)
            await console.link.close()
    return Exit.TERMINATED if parted is Parting.SIGNAL else Exit.OK


async def consoles(playback: Playback) -> Consoles:
    settings, opening = playback.player.settings, playback.player.session.opening
    markets = tuple(f"{opening.venues[0]}:{symbol}" for symbol in settings.engine.symbols)
    return Consoles(playback, opening.session, markets, Watch(markets[0], timeframe_ms(settings), DEEPEST))
