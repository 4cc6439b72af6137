"""A server that speaks the part of Ollama's interface that we use, over a real socket, with answers and faults from a script."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

MODEL, DIGEST = "ministral-3:3b", "sha256-of-the-stand-in"


def reply(
    chance_up: int = 70,
    expires_min: int = 10,
    invalid_bp: int = 40,
    regime: str = "trend",
    why: str = "short and long rows agree, but the book is even",
) -> str:
    return json.dumps(
        {"chance_up": chance_up, "expires_min": expires_min, "invalid_bp": invalid_bp, "regime": regime, "why": why}
    )


def leaning(table: str) -> str:
    """An honest judge: its chance follows the words of the table, and a mirrored table gets the mirrored chance."""
    score = 0.0
    for line in table.splitlines()[1:]:
        for word, value in (("strong up", 2.0), ("mild up", 0.5), ("strong down", -2.0), ("mild down", -0.5)):
            if word in line:
                score += value
                break
        else:
            score += ("move up" in line) - ("move down" in line)
    return reply(round(min(max(50 + 3.5 * score, 3), 97)))


class Standin:
    """`answers` is what it says to a table: a text, or a function that makes one of the table. `fault` is a word of FAULTS,
    `faults` the same for the next requests, one each.
    """

    def __init__(self) -> None:
        self.answers: str | Callable[[str], str] = leaning
        self.fault = ""
        self.faults: list[str] = []
        self.models = {MODEL: DIGEST}
        self.requests: list[dict[str, Any]] = []  # of chats with messages
        self.warmed = 0
        self.busy = self.most_busy = self.cancelled = 0
        self.word_s = 0.0  # between two words
        self.done_reason = "stop"
        self.pulls = 0

    def tables(self) -> list[str]:
        return [request["messages"][-1]["content"] for request in self.requests]

    # --- routes ---------------------------------------------------------------------------------------------------------

    async def version(self, _: web.Request) -> web.Response:
        return web.json_response({"version": "0.33.0"})

    async def tags(self, _: web.Request) -> web.Response:
        rows = [{"name": name, "model": name, "digest": digest, "size": 3_000_000_000} for name, digest in self.models.items()]
        return web.json_response({"models": rows})

    async def loaded(self, _: web.Request) -> web.Response:
        rows = [{"name": name, "model": name, "size": 4, "size_vram": 0} for name in self.models]
        return web.json_response({"models": rows if self.warmed else []})

    async def pull(self, request: web.Request) -> web.StreamResponse:
        self.pulls += 1
        out = await self._begin(request)
        name = (await request.json())["model"]
        if name == "nowhere:1b":
            await self._line(out, {"error": "pull model manifest: file does not exist"})
            return out
        await self._line(out, {"status": "pulling manifest"})
        for done in range(0, 101, 10):
            await self._line(out, {"status": "pulling abc", "digest": "abc", "total": 100, "completed": done})
            await asyncio.sleep(self.word_s)
        await self._line(out, {"status": "success"})
        self.models[name] = "digest of " + name
        return out

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body["model"] not in self.models:
            return web.json_response({"error": f"model '{body['model']}' not found"}, status=404)
        if not body["messages"]:
            self.warmed += 1
            if self.fault == "loading":
                await asyncio.sleep(3600)
            return web.json_response({"model": body["model"], "message": {"role": "assistant", "content": ""}, "done": True})
        self.requests.append(body)
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        try:
            fault = self.faults.pop(0) if self.faults else self.fault
            return await self._answer(request, body, fault)
        except (ConnectionError, asyncio.CancelledError):
            self.cancelled += 1
            raise
        finally:
            self.busy -= 1

    async def _answer(self, request: web.Request, body: dict[str, Any], fault: str) -> web.StreamResponse:
        if fault.isdigit():
            return web.json_response({"error": "the script says so"}, status=int(fault))
        if fault in ("silent", "loading"):
            await asyncio.sleep(3600)
        if fault == "redirect":
            return web.Response(status=307, headers={"Location": "http://127.0.0.1:1/api/chat"})
        table = body["messages"][-1]["content"]
        text = self.answers if isinstance(self.answers, str) else self.answers(table)
        out = await self._begin(request)
        if fault == "not_json_lines":
            await out.write(b"<html>hello</html>\n")
            return out
        if fault == "array":
            await out.write(b"[1, 2]\n")
            return out
        if fault == "endless_line":
            with contextlib.suppress(ConnectionError):
                while True:
                    await out.write(b"a" * 65536)
            return out
        if fault == "endless_answer":
            text = '{"chance_up": ' + "7" * 100_000
        if fault == "slow":
            await self._word(out, text[:5])
            await asyncio.sleep(3600)
        step = 4 if len(text) < 4096 else 2048
        words = [text[at : at + step] for at in range(0, len(text), step)]
        for number, word in enumerate(words):
            if fault == "error_line" and number == 3:
                await self._line(out, {"error": "llama-server process has terminated"})
                return out
            if fault == "broken" and number == 3:
                assert request.transport is not None
                request.transport.abort()
                return out
            await self._word(out, word)
            await asyncio.sleep(self.word_s)
        if fault != "no_done":
            last = {"message": {"role": "assistant", "content": ""}, "done": True, "done_reason": self.done_reason}
            await self._line(out, {**last, "prompt_eval_count": 360, "eval_count": len(words), "load_duration": 1_000_000})
        return out

    async def _begin(self, request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        await out.prepare(request)
        return out

    async def _word(self, out: web.StreamResponse, word: str) -> None:
        await self._line(out, {"message": {"role": "assistant", "content": word}, "done": False})

    async def _line(self, out: web.StreamResponse, facts: dict[str, Any]) -> None:
        await out.write(json.dumps(facts).encode() + b"\n")


@contextlib.asynccontextmanager
async def standing(standin: Standin) -> AsyncIterator[str]:
    """Yields its address."""
    app = web.Application()
    app.add_routes(
        [
            web.get("/api/version", standin.version),
            web.get("/api/tags", standin.tags),
            web.get("/api/ps", standin.loaded),
            web.post("/api/chat", standin.chat),
            web.post("/api/pull", standin.pull),
        ]
    )
    runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()
