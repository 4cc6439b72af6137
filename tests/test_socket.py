"""Messages of a websocket, told without a task between: all of them, in order, and none before an order that waits."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed, ConnectionClosedError

from engine.signal.socket import MAX_FRAGMENTS, TURNS_GIVEN, Socket, open_socket
from tests.simulated import until

BUFFERED = 64
Speak = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def spoken_to(speak: Speak, buffered: int = BUFFERED) -> AsyncIterator[Socket]:
    async with serve(speak, "127.0.0.1", 0, close_timeout=0.5) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        socket = await open_socket(f"ws://127.0.0.1:{port}", buffered, close_timeout=0.5)
        try:
            yield socket
        finally:
            await socket.close()


def counting(number: int) -> Speak:
    async def speak(connection: ServerConnection) -> None:
        for n in range(number):
            await connection.send(str(n))

    return speak


async def heard(socket: Socket) -> list[bytes]:
    """All that it tells until it ends."""
    told: list[bytes] = []
    with pytest.raises(ConnectionClosed):
        await asyncio.wait_for(socket.listen(lambda raw: bool(told.append(raw))), 30)
    return told


@pytest.mark.parametrize("late_s", [0.0, 0.2])
async def test_all_is_told_in_order_also_what_came_before_anybody_listened(late_s: float) -> None:
    """Ten times more than is kept: the kernel is not read meanwhile, and nothing is dropped."""
    async with spoken_to(counting(20 * BUFFERED)) as socket:
        await asyncio.sleep(late_s)
        assert len(socket._waiting) <= 20 * BUFFERED
        assert await heard(socket) == [str(n).encode() for n in range(20 * BUFFERED)]


async def test_what_waits_is_bounded_while_nobody_listens() -> None:
    """One read of the kernel is at most 256 KiB: what it holds is kept, and then nothing more is read."""
    large = "x" * 60_000

    async def speak(connection: ServerConnection) -> None:
        for _ in range(400):
            await connection.send(large)

    async with spoken_to(speak, 4) as socket:
        await asyncio.sleep(0.3)
        assert 4 < len(socket._waiting) < 20
        assert await heard(socket) == [large.encode()] * 400


async def test_a_message_in_parts_is_told_once_and_whole() -> None:
    async def speak(connection: ServerConnection) -> None:
        await connection.send(["a", "bc", "", "d"])
        await connection.send(b"bytes")
        await connection.send([b"x", b"y"])

    async with spoken_to(speak) as socket:
        assert await heard(socket) == [b"abcd", b"bytes", b"xy"]


async def test_a_message_in_endless_parts_ends_it() -> None:
    async def speak(connection: ServerConnection) -> None:
        await connection.send("first")
        await connection.send(["x"] * (MAX_FRAGMENTS + 10))

    async with spoken_to(speak) as socket:
        told: list[bytes] = []
        with pytest.raises(ValueError, match=f"more than {MAX_FRAGMENTS} parts"):
            await asyncio.wait_for(socket.listen(lambda raw: bool(told.append(raw))), 30)
        assert told in ([b"first"], [])


async def test_a_goodbye_and_a_cut_are_told_apart() -> None:
    async def cut(connection: ServerConnection) -> None:
        await connection.send("last")
        await asyncio.sleep(0.05)
        connection.transport.abort()

    async with spoken_to(cut) as socket:
        told: list[bytes] = []
        with pytest.raises(ConnectionClosedError):
            await asyncio.wait_for(socket.listen(lambda raw: bool(told.append(raw))), 30)
        assert told == [b"last"]


async def test_what_breaks_in_the_listener_ends_the_listening_and_nothing_more_is_told() -> None:
    told: list[bytes] = []

    def hear(raw: bytes) -> bool:
        told.append(raw)
        if raw == b"3":
            raise RuntimeError("of the core")
        return False

    async with spoken_to(counting(10)) as socket:
        with pytest.raises(RuntimeError, match="of the core"):
            await asyncio.wait_for(socket.listen(hear), 30)
        assert told == [b"0", b"1", b"2", b"3"]


async def test_nothing_is_told_once_it_is_muted_or_its_listening_is_cancelled() -> None:
    async def speak(connection: ServerConnection) -> None:
        n = 0
        while True:
            await connection.send(f"{n:2000}")
            n += 1

    for end in ("mute", "cancel"):
        async with spoken_to(speak) as socket:
            told: list[bytes] = []
            listening = asyncio.create_task(socket.listen(lambda raw, told=told: bool(told.append(raw))))  # type: ignore[misc]
            await until(lambda told=told: len(told) > 1000)  # type: ignore[misc]
            if end == "mute":
                socket.mute()
            else:
                listening.cancel()
                await asyncio.wait({listening})
            count = len(told)
            await asyncio.sleep(0.05)
            assert len(told) == count
            listening.cancel()


async def test_the_rest_of_a_burst_waits_for_the_order_that_its_first_message_caused() -> None:
    """The order's task comes to its turns before the next message; one that is not written for long holds nothing up."""
    seen: list[str] = []
    unwritten = False

    async def order(turns: int) -> None:
        nonlocal unwritten
        for n in range(turns):
            seen.append(f"turn {n}")
            await asyncio.sleep(0)
        seen.append("written")
        unwritten = False

    tasks: list[asyncio.Task[None]] = []

    def hear(raw: bytes) -> bool:
        nonlocal unwritten
        seen.append(raw.decode())
        if raw not in (b"2", b"5"):
            return False
        unwritten = True
        tasks.append(asyncio.create_task(order(2 if raw == b"2" else TURNS_GIVEN + 6)))
        return True

    async def burst(connection: ServerConnection) -> None:
        connection.transport.write(b"".join(b"\x81\x01" + str(n).encode() for n in range(10)))  # one packet, one read
        await connection.wait_closed()

    async with spoken_to(burst) as socket:
        listening = asyncio.create_task(socket.listen(hear, lambda: unwritten))
        await until(lambda: "9" in seen and len(tasks) == 2 and all(task.done() for task in tasks))
        listening.cancel()
    assert seen[:7] == ["0", "1", "2", "turn 0", "turn 1", "written", "3"]
    last = seen[seen.index("5") + 1 :]
    assert last[:TURNS_GIVEN] == [f"turn {n}" for n in range(TURNS_GIVEN)]
    between = [word for word in last[: last.index("written")] if word.isdigit()]
    assert between[:2] == ["6", "7"] and [word for word in last if word.isdigit()] == ["6", "7", "8", "9"]
