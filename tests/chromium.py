"""A headless Chromium that a test steers over its DevTools protocol: a page opened, keys pressed, what it drew looked at."""

import asyncio
import base64
import itertools
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp

PROGRAM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), "")
PATIENCE_S = 60.0
SIZE = (1400, 800)


class Page:
    """`errors` are what its scripts threw and what was logged as errors; `received` are the bytes that its websockets brought."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.errors: list[str] = []
        self.received = b""
        self._socket, self._numbers = socket, itertools.count(1)
        self._answers: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for message in self._socket:
            told = message.json()
            if "id" in told:
                self._answers.pop(told["id"]).set_result(told)
            elif told["method"] == "Network.webSocketFrameReceived":
                frame = told["params"]["response"]
                data = frame["payloadData"]
                self.received += base64.b64decode(data) if frame["opcode"] == 2 else data.encode()
            elif told["method"] in ("Runtime.exceptionThrown", "Log.entryAdded"):
                entry = told["params"].get("entry", {"level": "error"})
                if entry["level"] == "error":
                    self.errors.append(str(told["params"]))

    async def ask(self, method: str, **params: Any) -> dict[str, Any]:
        number = next(self._numbers)
        answer = self._answers[number] = asyncio.get_running_loop().create_future()
        await self._socket.send_json({"id": number, "method": method, "params": params})
        async with asyncio.timeout(PATIENCE_S):
            told = await answer
        assert "error" not in told, told
        return dict(told["result"])

    async def open(self, address: str) -> None:
        for domain in ("Page", "Runtime", "Log", "Network"):
            await self.ask(f"{domain}.enable")
        await self.ask("Page.navigate", url=address)

    async def value(self, script: str) -> Any:
        """Of an expression of its own language."""
        found = await self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        return found["result"].get("value")

    async def press(self, key: str, code: int, text: str = "") -> None:
        """One that the terminal hears: by its name and its old number, with the letter that it types."""
        for kind in ("keyDown", "keyUp"):
            typed = {"text": text} if text and kind == "keyDown" else {}
            await self.ask("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **typed)

    async def close(self) -> None:
        self._reading.cancel()
        with suppress(asyncio.CancelledError):
            await self._reading


@asynccontextmanager
async def browser(folder: Path) -> AsyncIterator[Page]:
    """Its first page; the browser and all of its processes are gone afterwards."""
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-port=0", "--no-first-run", "--lang=en")
    place = (f"--user-data-dir={folder}", f"--window-size={SIZE[0]},{SIZE[1]}")
    alone = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with (folder / "log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(PROGRAM, *flags, *place, alone, "about:blank", stdout=log, stderr=log)
    try:
        told, end = folder / "DevToolsActivePort", time.monotonic() + PATIENCE_S
        while not told.exists() or not told.read_text().strip():
            assert time.monotonic() < end and process.returncode is None, (folder / "log").read_text()[-2000:]
            await asyncio.sleep(0.05)
        port = told.read_text().split()[0]
        async with aiohttp.ClientSession() as web:
            async with web.get(f"http://127.0.0.1:{port}/json/list") as answer:
                where = next(one["webSocketDebuggerUrl"] for one in await answer.json() if one["type"] == "page")
            async with web.ws_connect(where, max_msg_size=0) as socket:
                page = Page(socket)
                yield page
                await page.close()
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await asyncio.wait_for(process.wait(), PATIENCE_S)
