"""Mistral through Ollama: a question in; what the model wrote, as it writes it, out.

The client's default is to wait for ever and to follow wherever it is sent, so every call here has an end, a bound on what
it reads and one host. What the server says is used once `engine.judgment.answer` has decoded and checked it.
Behaviour of the server and of the client as observed with Ollama 0.33 and ollama 0.6 (2026-11).
"""

import asyncio
import contextlib
import importlib
import ipaddress
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from typing import Any
from urllib.parse import urlsplit

import msgspec

from engine.config import JudgmentSettings
from engine.judgment.answer import LONGEST, SCHEMA, AnswerError, clean
from engine.judgment.prompt import SYSTEM

CONNECT_S = 2.0
SHORT_S = 5.0  # lists and versions
LOAD_S = 300.0  # Ollama's own limit
MOST_BYTES = 4 << 20  # of one reply
ANSWER_TOKENS = 140
SEED = 7
FAMILY = ("ministral", "mistral")  # names to choose from where none is set


class Found(msgspec.Struct, frozen=True):
    """A model that the server has. `size` is bytes on the disk."""

    name: str
    digest: str
    version: str
    size: int


class Whole(msgspec.Struct, frozen=True):
    """A whole answer. `reason` is the server's `stop` or `length`, `cut` where the stream ended without a word."""

    text: str
    reason: str
    prompt_tokens: int = 0
    answer_tokens: int = 0
    load_ms: int = 0


class Progress(msgspec.Struct, frozen=True):
    """Of a download: bytes of the layer that `status` speaks of."""

    status: str
    digest: str
    completed: int
    total: int


def threads(settings: JudgmentSettings) -> int:
    """A core stays free: a model on all of them doubles the tail of everything else (measured 2026-11)."""
    return settings.num_thread or max((os.cpu_count() or 2) - 1, 1)


def on_this_machine(host: str) -> bool:
    name = urlsplit(host).hostname or ""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost"


class Ollama:
    """One server. Whatever fails raises AnswerError with a word of `judgment.FAILURES`."""

    def __init__(self, settings: JudgmentSettings) -> None:
        self.settings = settings
        self._client: Any = None

    async def close(self) -> None:
        if self._client is not None:
            with contextlib.suppress(Exception):
                await self._client.close()

    async def find(self, wanted: str) -> Found:
        """The model called `wanted`, or the Mistral that is there; its digest pins what runs."""
        async with self._told(SHORT_S):
            listed = (await self._open().list()).models
            version = await self._version()
        names = {model.model: model for model in listed if model.model}
        name = wanted if wanted in names else f"{wanted}:latest" if f"{wanted}:latest" in names else ""
        if not wanted:
            fitting = [one for one in names if any(part in one.lower() for part in FAMILY)]
            # The smallest: what answers in time is worth more than what knows more.
            name = min(fitting, key=lambda one: (int(names[one].size or 0), one), default="")
        if not name:
            what = f"the model {wanted}" if wanted else "a Mistral"
            raise AnswerError("missing", f"the server does not have {what}: `barter-tui model pull` fetches it")
        model = names[name]
        return Found(clean(name, 80), clean(model.digest or "", 80), version, int(model.size or 0))

    async def _version(self) -> str:
        reply = await self._open()._client.get("/api/version")
        return clean(str(reply.json().get("version", "")), 40)

    async def warm(self, name: str) -> None:
        """Load the model; the server says nothing until it is there."""
        async with self._told(LOAD_S):
            await self._open().chat(model=name, messages=[], stream=False, keep_alive=self._keep(), options=self._options())

    async def loaded(self) -> dict[str, tuple[int, int]]:
        """Models in memory: bytes, and how many of them on a GPU."""
        async with self._told(SHORT_S):
            running = (await self._open().ps()).models
        return {str(model.model): (int(model.size or 0), int(model.size_vram or 0)) for model in running}

    async def answer(self, name: str, table: str, wrote: Callable[[str], None], tokens: int = ANSWER_TOKENS) -> Whole:
        """`wrote` gets the text so far with each word. Cancelling closes the stream, which frees the model in a tenth of a second
        while it writes; while it still reads the prompt, it reads on.
        """
        text = ""
        async with self._told(None):
            messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": table}]
            stream: AsyncIterator[Any] = await self._open().chat(
                model=name,
                messages=messages,
                stream=True,
                think=False,
                format=SCHEMA,
                keep_alive=self._keep(),
                options={**self._options(), "num_predict": tokens},
            )
            async with contextlib.aclosing(stream):  # type: ignore[type-var]
                async for part in stream:
                    text += part.message.content or ""
                    if len(text) > LONGEST:
                        raise AnswerError("huge", f"the answer is longer than {LONGEST:,} characters")
                    wrote(text)
                    if part.done:
                        return Whole(
                            text,
                            clean(part.done_reason or "stop", 20),
                            _count(part.prompt_eval_count),
                            _count(part.eval_count),
                            _count(part.load_duration) // 1_000_000,
                        )
        # Thirty equal tokens end a stream without its last line.
        return Whole(text, "cut")

    async def pull(self, name: str) -> AsyncIterator[Progress]:
        """Download a model; what was fetched stays, so a cancelled download goes on where it was. Raises AnswerError."""
        client = self._make(bounded=False)
        try:
            async with self._told(None):
                stream = await client.pull(name, stream=True)
                async with contextlib.aclosing(stream):
                    async for part in stream:
                        status, digest = clean(part.status or "", 80), clean(part.digest or "", 80)
                        yield Progress(status, digest, _count(part.completed), _count(part.total))
        finally:
            await client.close()

    async def _knock(self) -> None:
        """Where nobody listens, the client need not even be loaded. Raises AnswerError."""
        parts = urlsplit(self.settings.host)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        try:
            async with asyncio.timeout(CONNECT_S):
                _, writer = await asyncio.open_connection(parts.hostname, port)
        except (OSError, TimeoutError):
            raise AnswerError("refused", f"nothing answers at {self.settings.host}") from None
        writer.close()

    # --- the client -----------------------------------------------------------------------------------------------------------

    def _keep(self) -> str | int:
        text = self.settings.keep_alive
        return int(text) if text.isascii() and text.lstrip("-").isdigit() else text

    def _options(self) -> dict[str, Any]:
        """The same with every request: another `num_ctx` or `num_thread` would load the model anew."""
        return {
            "temperature": 0,
            "seed": SEED,
            "num_ctx": self.settings.num_ctx,
            "num_thread": threads(self.settings),
            "repeat_penalty": 1.0,  # a penalty bends digits
        }

    def _open(self) -> Any:
        if self._client is None:
            self._client = self._make(bounded=True)
        return self._client

    def _make(self, *, bounded: bool) -> Any:
        import httpx
        import ollama

        host = self.settings.host
        read_s = max(self.settings.deadline_s, LOAD_S) if bounded else LOAD_S
        # verify=False: 30 ms of the loop for certificates that http has no use for. trust_env: a proxy would take loopback.
        verify = urlsplit(host).scheme == "https"
        transport = _bounded_transport(verify) if bounded else httpx.AsyncHTTPTransport(verify=verify)
        return ollama.AsyncClient(
            host,
            follow_redirects=False,
            trust_env=False,
            transport=transport,
            timeout=httpx.Timeout(connect=CONNECT_S, read=read_s, write=5.0, pool=5.0),
        )

    @contextlib.asynccontextmanager
    async def _told(self, within_s: float | None) -> AsyncIterator[None]:
        """Errors of the client and of the network as AnswerError."""
        if "ollama" not in sys.modules:
            await self._knock()
            await asyncio.to_thread(importlib.import_module, "ollama")  # 0.7 s that prices do not wait for
        import httpx
        import ollama

        started = time.monotonic()
        try:
            async with asyncio.timeout(within_s):
                yield
        except AnswerError:
            raise
        except TimeoutError:
            if within_s is None:
                raise  # the caller's own limit
            raise AnswerError("silent", f"the server said nothing for {time.monotonic() - started:.0f} s") from None
        except ollama.ResponseError as problem:
            raise _response(problem.status_code, str(problem.error)) from None
        except (ConnectionError, httpx.ConnectError, httpx.ConnectTimeout):
            raise AnswerError("refused", f"nothing answers at {self.settings.host}") from None
        except httpx.TimeoutException:
            raise AnswerError("silent", f"the server said nothing for {time.monotonic() - started:.0f} s") from None
        except _TooMuch:
            raise AnswerError("huge", f"the server sent more than {MOST_BYTES >> 20} MiB") from None
        except httpx.HTTPError as problem:
            raise AnswerError("cut", f"the connection broke ({type(problem).__name__})") from None
        except (ollama.RequestError, ValueError, AttributeError, TypeError, KeyError, RecursionError):
            raise AnswerError("malformed", "the server does not speak Ollama's protocol") from None


def _count(value: Any) -> int:
    return max(value, 0) if isinstance(value, int) else 0


def _response(status: int, text: str) -> AnswerError:
    said = clean(text, 120) or "without a word"
    if status == 404:
        return AnswerError("missing", f"the server does not have it ({said})")
    if status == 503:
        return AnswerError("busy", f"the server has too much to do ({said})")
    return AnswerError("server", f"the server reported an error ({status if status > 0 else 'while it wrote'}: {said})")


class _TooMuch(Exception):
    pass


def _bounded_transport(verify: bool) -> Any:
    """A transport that stops reading a reply without end: the client itself waits for a line's end, however long."""
    import httpx

    class Bounded(httpx.AsyncByteStream):
        def __init__(self, inner: Any) -> None:
            self.inner = inner

        async def __aiter__(self) -> AsyncIterator[bytes]:
            read = 0
            async for chunk in self.inner:
                read += len(chunk)
                if read > MOST_BYTES:
                    raise _TooMuch
                yield chunk

        async def aclose(self) -> None:
            await self.inner.aclose()

    class Transport(httpx.AsyncHTTPTransport):
        async def handle_async_request(self, request: Any) -> Any:
            reply = await super().handle_async_request(request)
            return httpx.Response(
                reply.status_code, headers=reply.headers, stream=Bounded(reply.stream), extensions=reply.extensions
            )

    return Transport(verify=verify)
