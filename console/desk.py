"""Frames from the link in; the newest picture of everything, with versions, and a bounded ring of news out.

Panes read it and nothing else. Pictures are latest-wins; news are kept in order, the oldest beyond `NEWS_KEPT` go and are
counted.
"""

from collections import deque
from decimal import Decimal
from typing import TypeVar

from engine.views import AnyNews, AnyPicture, ChartLiveView, ChartView, Frame, IndicatorsView, Picture, PositionsView, StatusView

NEWS_KEPT = 2_000
TIMED = (ChartView, ChartLiveView, IndicatorsView)  # one a timeframe
P = TypeVar("P", bound=Picture)


class Desk:
    """What this console knows. `market` and `timeframe_ms` are what it looks at."""

    def __init__(self) -> None:
        self.market = ""
        self.timeframe_ms = 1_000
        self.markets: tuple[str, ...] = ()
        self.connected = False
        self.watches = False  # it may not steer
        self.lost_reason = ""  # a sentence, when the engine went away
        self.lost_at: float = 0.0  # monotonic seconds
        self.news: deque[tuple[int, AnyNews]] = deque(maxlen=NEWS_KEPT)
        self.news_forgotten = 0
        self.next_news = 0
        self.frames = 0
        self._pictures: dict[tuple[str, str], AnyPicture] = {}
        self._versions: dict[tuple[str, str], int] = {}

    def apply(self, frame: Frame) -> None:
        """Take a frame in. News that were seen before are left out; missing ones would be a broken link and raise."""
        self.frames += 1
        for picture in frame.pictures:
            self._pictures[picture.key] = picture
            self._versions[picture.key] = self._versions.get(picture.key, 0) + 1
            if isinstance(picture, StatusView) and picture.markets:
                self.markets = picture.markets
        for number, news in enumerate(frame.news, start=frame.first):
            if number < self.next_news:
                continue
            if number > self.next_news:
                raise LookupError(f"news {self.next_news} to {number - 1} are missing")
            self.next_news = number + 1
            if len(self.news) == NEWS_KEPT:
                self.news_forgotten += 1
            self.news.append((number, news))

    def get(self, kind: type[P], market: str | None = None) -> P | None:
        """The newest picture of a kind: of the watched market, or of `market` ("" for the account's own)."""
        found = self._pictures.get(self.key(kind, market))
        return found if isinstance(found, kind) else None

    def version(self, kind: type[Picture], market: str | None = None) -> int:
        """Rises with each new picture; 0 before the first."""
        return self._versions.get(self.key(kind, market), 0)

    def key(self, kind: type[Picture], market: str | None = None) -> tuple[str, str]:
        name = self.market if market is None else market
        return kind.__name__, f"{name}@{self.timeframe_ms}" if kind in TIMED else name

    @property
    def flat(self) -> bool:
        """The engine said that no position is open; False as long as it said nothing."""
        view = self.get(PositionsView, "")
        return view is not None and not any(Decimal(row.quantity) for row in view.rows)
