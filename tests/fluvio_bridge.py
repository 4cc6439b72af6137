"""The real bridge process for tests, given its order; what it says is heard."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec

from engine.queue.bridge import Order, Status


def line(order: Order) -> bytes:
    return msgspec.json.encode(order) + b"\n"


@asynccontextmanager
async def bridged(
    order: Order, said: list[Status], env: Mapping[str, str] | None = None
) -> AsyncIterator[asyncio.subprocess.Process]:
    """It runs, and its words are added to `said`, until the block ends; then it is killed."""
    words, pipe = (sys.executable, "-m", "engine.queue.bridge", "forward"), asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*words, stdin=pipe, stdout=pipe, stderr=asyncio.subprocess.DEVNULL, env=env)
    assert process.stdin is not None
    process.stdin.write(line(order))

    async def hear() -> None:
        assert process.stdout is not None
        async for text in process.stdout:
            said.append(msgspec.json.decode(text, type=Status))

    hearing = asyncio.create_task(hear())
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        hearing.cancel()
        await asyncio.gather(hearing, return_exceptions=True)
