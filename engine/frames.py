"""News and pictures in, the frames of one console or another out: each news once and in order, pictures where they changed."""

import itertools
from collections import deque
from collections.abc import Iterable
from typing import get_args

import msgspec

from engine.events import Alert, Event, Filled, OrderChanged, TradingChanged
from engine.views import AnyNews, AnyPicture, encode

NEWS_KEPT = 10_000  # a console that is further behind is dropped
NEWS_A_FRAME = 500

NEWS: frozenset[type] = frozenset(get_args(AnyNews))
URGENT: frozenset[type] = frozenset((Alert, Filled, OrderChanged, TradingChanged))


class _Frame(msgspec.Struct, frozen=True, tag="Frame"):
    """`views.Frame`, whose pictures are encoded already: they were compared that way."""

    first: int
    pictures: tuple[msgspec.Raw, ...]
    news: tuple[AnyNews, ...]


class News:
    """The newest `NEWS_KEPT` news of an engine. `count` is the number of the next one."""

    def __init__(self) -> None:
        self.count = 0
        self._ring: deque[AnyNews] = deque(maxlen=NEWS_KEPT)

    def take(self, event: Event) -> bool:
        """Keep an output of the core when it is news; called within the engine's path."""
        if type(event) not in NEWS:
            return False
        self._ring.append(event)  # type: ignore[arg-type]
        self.count += 1
        return True

    def since(self, number: int) -> tuple[AnyNews, ...]:
        """The news from `number` on, at most a frame's worth. A console never falls behind the ring: it is dropped first."""
        behind = self.count - number
        if not behind:
            return ()
        start = len(self._ring) - behind
        return tuple(itertools.islice(self._ring, start, start + NEWS_A_FRAME))


class Sent:
    """The pictures that one console has."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], tuple[AnyPicture, bytes]] = {}

    def changed(self, pictures: Iterable[AnyPicture]) -> tuple[msgspec.Raw, ...]:
        """Those that it does not have yet, encoded; from now on it has them."""
        found = []
        for picture in pictures:
            known = self._known.get(picture.key)
            if known is not None and known[0] is picture:
                continue  # the same object: not even worth encoding
            drawn = encode(picture)
            if known is None or known[1] != drawn:
                found.append(msgspec.Raw(drawn))
            self._known[picture.key] = picture, drawn
        return tuple(found)


def frame(first: int, pictures: tuple[msgspec.Raw, ...], news: tuple[AnyNews, ...]) -> bytes:
    return encode(_Frame(first, pictures, news))
