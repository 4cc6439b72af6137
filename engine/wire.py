"""Bytes between an engine and a console, whole messages in order: over a local socket, or within one loop.

Both sides of the link use the same two wires, so that a console in the engine's own loop sees what one far away would.
"""

import asyncio
from collections import deque
from typing import Protocol

from websockets.asyncio.connection import Connection
from websockets.exceptions import ConnectionClosed

LINGER_S = 2.0  # how long the last message may wait for a reader that does not read
IN_MEMORY = 4  # messages under way within a loop before the sender waits


class Wire(Protocol):
    """Each method raises ConnectionError once the other side has gone."""

    async def send(self, message: bytes) -> None:
        """Waits while the other side does not read: nothing is queued beyond a frame or two."""

    async def receive(self) -> bytes:
        """The next message, those that came before the end first."""

    async def part(self, last: bytes = b"") -> None:
        """Send a last message within a bounded time and close; never raises."""


class SocketWire:
    """Over a websocket, either side's."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def send(self, message: bytes) -> None:
        try:
            await self._connection.send(message)
        except ConnectionClosed as closed:
            raise ConnectionError(str(closed)) from None

    async def receive(self) -> bytes:
        try:
            message = await self._connection.recv()
        except ConnectionClosed as closed:
            raise ConnectionError(str(closed)) from None
        return message if isinstance(message, bytes) else message.encode()  # text is not ours: it will not decode

    async def part(self, last: bytes = b"") -> None:
        try:
            async with asyncio.timeout(LINGER_S):
                if last:
                    await self._connection.send(last)
                await self._connection.close()
        except (TimeoutError, ConnectionClosed):
            pass
        finally:
            self._connection.transport.abort()


class _Pipe:
    """One direction within a loop."""

    def __init__(self) -> None:
        self._messages: deque[bytes] = deque()
        self._readable, self._writable = asyncio.Event(), asyncio.Event()
        self._closed = False

    async def put(self, message: bytes) -> None:
        """As a socket does it: the message is on its way at once, and the wait is before the next one."""
        if self._closed:
            raise ConnectionError("the other side has gone")
        self._messages.append(message)
        self._readable.set()
        while len(self._messages) >= IN_MEMORY and not self._closed:
            self._writable.clear()
            await self._writable.wait()

    async def get(self) -> bytes:
        while not self._messages:
            if self._closed:
                raise ConnectionError("the other side has gone")
            self._readable.clear()
            await self._readable.wait()
        self._writable.set()
        return self._messages.popleft()

    def close(self, last: bytes = b"") -> None:
        if last and not self._closed:
            self._messages.append(last)
        self._closed = True
        self._readable.set()
        self._writable.set()


class MemoryWire:
    """One end of a pair within a loop; see `memory_wires`."""

    def __init__(self, outward: _Pipe, inward: _Pipe) -> None:
        self._outward, self._inward = outward, inward

    async def send(self, message: bytes) -> None:
        await self._outward.put(message)

    async def receive(self) -> bytes:
        return await self._inward.get()

    async def part(self, last: bytes = b"") -> None:
        self._outward.close(last)
        self._inward.close()


def memory_wires() -> tuple[MemoryWire, MemoryWire]:
    """Two ends of one wire."""
    there, back = _Pipe(), _Pipe()
    return MemoryWire(there, back), MemoryWire(back, there)
