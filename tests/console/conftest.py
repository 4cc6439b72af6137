"""A link without an engine, and the program on it."""

import asyncio
from collections.abc import Iterable

from console.app import Console
from engine.events import Action
from engine.views import Answer, AnyNews, AnyPicture, Ask, Frame, Goodbye, Leave, Watch, Welcome
from tests import pictures

MARKETS = (pictures.MARKET, "binance:BTC/USDT:USDT")
SIZES = {"small": (80, 24), "middle": (120, 36), "large": (160, 50), "vast": (200, 60)}


class FakeLink:
    """Gives the frames it was given and those that a test pushes; remembers what was sent."""

    def __init__(self, *frames: Frame, markets: tuple[str, ...] = MARKETS, news: int = 0) -> None:
        self.sent: list[Watch | Ask | Leave] = []
        self.sent_now: list[Ask] = []
        self.closed = 0
        self.opened = 0
        self.stuck = False  # sending never ends
        self.refuses_to_open = self.note = ""
        self.late_s = 0.0
        self._markets, self._next = markets, news
        self._queue: asyncio.Queue[Frame | Answer | Goodbye | Exception] = asyncio.Queue()
        for frame in frames:
            self._queue.put_nowait(frame)

    async def open(self) -> Welcome:
        self.opened += 1
        if self.refuses_to_open:
            raise ConnectionError(self.refuses_to_open)
        return Welcome(1, "0", "s-test", 1, self._markets, 0)

    async def receive(self) -> Frame | Answer | Goodbye:
        message = await self._queue.get()
        if isinstance(message, Exception):
            raise message
        return message

    async def send(self, message: Watch | Ask | Leave) -> None:
        if self.stuck:
            await asyncio.Event().wait()
        self.sent.append(message)

    def send_now(self, ask: Ask) -> bool:
        self.sent_now.append(ask)
        return True

    async def close(self) -> None:
        self.closed += 1

    # --- for tests -----------------------------------------------------------------------------------------------------

    def give(self, message: Frame | Answer | Goodbye | Exception) -> None:
        self._queue.put_nowait(message)

    def show(self, *shown: AnyPicture, news: Iterable[AnyNews] = ()) -> None:
        """A frame with these pictures and news."""
        told = tuple(news)
        self.give(Frame(self._next, shown, told))
        self._next += len(told)

    def asks(self) -> list[tuple[Action, str]]:
        return [(message.action, message.target) for message in self.sent if isinstance(message, Ask)]


class Time:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


def frames_of(desk: object) -> Frame:
    """Everything a fixture desk has, as the first frame of a link."""
    from console.desk import Desk

    assert isinstance(desk, Desk)
    return Frame(0, tuple(desk._pictures.values()), tuple(news for _, news in desk.news))


def program(link: FakeLink, time: Time | None = None, **options: object) -> Console:
    """The program on a fake link; with a clock of its own it never calls the engine silent by itself."""
    made = Console(link, now=time or Time(), **options)  # type: ignore[arg-type]
    made.desk.timeframe_ms = pictures.TIMEFRAME_MS
    return made
