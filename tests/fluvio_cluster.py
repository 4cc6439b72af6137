"""A real Fluvio cluster for tests: the one that `BARTER_FLUVIO_ENDPOINT` names, or one of our own on loopback where `fluvio`
and `fluvio-run` are on the PATH; else the test is skipped with the reason.
"""

import asyncio
import os
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest

from engine.errors import QueueError
from engine.queue.access import Access, preflight

UNIT = 5001
STARTS_WITHIN_S = 40.0


@asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[str]:
    """Its endpoint."""
    if given := os.environ.get("BARTER_FLUVIO_ENDPOINT"):
        yield given
        return
    client, server = shutil.which("fluvio"), shutil.which("fluvio-run")
    if client is None or server is None:
        pytest.skip("no Fluvio cluster: set BARTER_FLUVIO_ENDPOINT, or put `fluvio` and `fluvio-run` on the PATH")
    public, private, unit, between = (f"127.0.0.1:{port}" for port in _free(4))
    home = folder / "home"
    home.mkdir(parents=True)
    surroundings = {**os.environ, "HOME": str(home)}  # its profiles are none of the user's
    controller = ("sc", "--local", str(folder / "sc"), "--bind-public", public, "--bind-private", private)
    storage = ("spu", "-i", str(UNIT), "-p", unit, "-v", between, "--sc-addr", private, "--log-base-dir", str(folder / "spu"))
    async with AsyncExitStack() as started:
        await started.enter_async_context(_running(folder / "sc.log", server, *controller, env=surroundings))
        await _until_it_answers(public)
        for words in (
            ("profile", "add", "tests", public),
            ("cluster", "spu", "register", "--id", str(UNIT), "--public-server", unit, "--private-server", between),
        ):
            done = await asyncio.to_thread(subprocess.run, (client, *words), env=surroundings, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        await started.enter_async_context(_running(folder / "spu.log", server, *storage, env=surroundings))
        end = time.monotonic() + STARTS_WITHIN_S
        while True:
            words = (client, "cluster", "spu", "list")
            done = await asyncio.to_thread(subprocess.run, words, env=surroundings, capture_output=True, text=True)
            if "Online" in done.stdout:
                break
            assert time.monotonic() < end, f"the storage unit did not come: {done.stdout}{done.stderr}"
            await asyncio.sleep(0.2)
        yield public


@asynccontextmanager
async def _running(log: Path, *words: str, env: dict[str, str]) -> AsyncIterator[None]:
    with log.open("wb") as file:
        process = await asyncio.create_subprocess_exec(*words, env=env, stdout=file, stderr=file)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def _until_it_answers(endpoint: str) -> None:
    end = time.monotonic() + STARTS_WITHIN_S
    while True:
        try:
            await preflight(Access(endpoint))
            return
        except QueueError:
            assert time.monotonic() < end, "the controller did not come"
            await asyncio.sleep(0.2)


def _free(count: int) -> list[int]:
    made = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in made]
    for one in made:
        one.close()
    return ports
