"""`barter-tui --replay SESSION`: a recorded session on the trading screen, in one process, without an engine."""

import asyncio

from console import logs, theme
from console.app import Console, Parting
from console.exits import Exit
from console.link import memory_link
from engine.config import Sourced, state_dir, timeframe_ms
from engine.queue.files import find
from engine.queue.session import Session
from engine.replay.playback import Playback
from engine.replay.player import Player
from engine.server import DEEPEST, Consoles
from engine.views import Watch


async def show(sources: Sourced, name: str, speed: float, *, verbose: bool = False) -> int:
    """Until the console is left. Raises SessionError."""
    settings = sources.settings
    with Session(find(state_dir(settings), name)) as session:
        playback = Playback(Player(session), speed=speed)
        playback.play(True)
        console = Console(
            memory_link(lambda: consoles(playback), frames_per_s=settings.console.frames_per_s),
            log_file=logs.to_file(state_dir(settings), verbose),
            playback=playback,
            own_themes=theme.own_folder(),
            settings=settings,
            sources=sources,
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
