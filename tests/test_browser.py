"""`barter-tui serve` in a real browser: the market is drawn there, and no key of it reaches the engine."""

import asyncio
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from console import theme
from engine.events import Trading
from tests.chromium import PATIENCE_S, PROGRAM, Page, browser
from tests.test_serve_command import engine, reached, served, trading  # noqa: F401 - a fixture

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PROGRAM, reason="no Chromium is installed: the page cannot be looked at"),
]
DRAWN = """(() => {
    const drawn = document.querySelector("canvas.xterm-text-layer")
    if (!drawn) return []
    const dots = drawn.getContext("2d").getImageData(0, 0, drawn.width, drawn.height).data
    const seen = new Set()
    for (let at = 0; at < dots.length; at += 4)
        if (dots[at + 3] == 255) seen.add("#" + [0, 1, 2].map(n => dots[at + n].toString(16).padStart(2, "0")).join(""))
    return [...seen]
})()"""


async def until(page: Page, holds: Callable[[str, set[str]], bool], what: str) -> None:
    """`holds` is told the words that have come to the page, and the colours that it shows."""
    end = time.monotonic() + PATIENCE_S
    while True:
        words = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", page.received.decode("utf-8", "replace"))
        colours = set(await page.value(DRAWN))
        if holds(words, colours):
            return
        assert time.monotonic() < end, f"did not come: {what}; {sorted(colours)}, {words[-500:]!r}, {page.errors}"
        await asyncio.sleep(0.1)


async def test_a_browser_draws_the_market_and_its_keys_change_nothing(engine: Path, tmp_path: Path) -> None:  # noqa: F811
    worn = next(one for one in theme.load_all()[0] if one.name == theme.DEFAULT)
    colours = {worn.variables[name].lower() for name in ("demo", "bid", "ask")}
    async with served(engine) as server, browser(tmp_path) as page:
        await page.open(server.address)
        await until(page, lambda words, seen: "ASTER/USDT" in words and "WATCHING" in words and colours <= seen, "the market")
        await page.value("document.querySelector('.xterm-helper-textarea').focus()")
        for key, code, text, said in (
            ("F12", 123, "", "halt was not sent"),
            ("d", 68, "d", "disarm was not sent"),
            ("b", 66, "b", "In a browser this console only watches"),
        ):
            await page.press(key, code, text)
            await until(page, lambda words, _, said=said: said in words, said)
        assert await trading(engine) is Trading.ARMED
        # It asks for a font elsewhere, which it is kept from, and for an icon that there is not.
        assert [error for error in page.errors if not re.search(r"fonts\.googleapis\.com|/favicon\.ico", error)] == []
        assert len(server.visitors()) == 1
        await page.open("about:blank")
        await reached(lambda: not server.visitors(), "the end of the visitor")
        await server.end()
