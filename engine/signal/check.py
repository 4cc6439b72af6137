"""A book's best levels by update id, and the venue's own picture of them, in; whether they are the same, out.

Sequence numbers prove that no update was missed, not that the venue sent the right ones or that we applied them rightly.
So a trusted book is compared with a REST picture from time to time. Both must be of the same update: a picture rarely is of
the newest one, so the best levels of the updates since the question are kept until it is answered.
"""

import msgspec

from engine.events import BookSnapshot, unpack_levels

LEVELS = 20  # a side that are compared
KEPT = 600  # updates whose best levels are kept while a question is open: a minute of them
Top = tuple[tuple[tuple[int, int], ...], tuple[tuple[int, int], ...]]


class Check(msgspec.Struct):
    """One question at a time; nothing is kept while none is open."""

    asked_at: int = 0  # 0: no question is open
    done_at: int = 0  # when the last one was answered
    tops: dict[int, Top] = msgspec.field(default_factory=dict)
    ahead: BookSnapshot | None = None  # of an update that we have not had yet
    missed: int = 0  # answers in succession that could not be compared

    @property
    def open(self) -> bool:
        return self.asked_at > 0

    def ask(self, at: int, last_id: int, top: Top) -> None:
        self.asked_at, self.ahead = at, None
        self.tops = {last_id: top}

    def passed(self, at: int, last_id: int, top: Top) -> bool | None:
        """An update was applied; the verdict if the venue's picture waited for it, None otherwise."""
        if self.ahead is not None and last_id >= self.ahead.last_id:
            picture, self.ahead = self.ahead, None
            return self._compare(at, picture, top if last_id == picture.last_id else None)
        if len(self.tops) < KEPT:
            self.tops[last_id] = top
        return None

    def answered(self, at: int, picture: BookSnapshot, last_id: int) -> bool | None:
        """The verdict; None where the picture cannot be compared, or is of an update that is still to come."""
        if picture.last_id > last_id:
            self.ahead = picture
            return None
        return self._compare(at, picture, self.tops.get(picture.last_id))

    def close(self, at: int, missed: bool = False) -> None:
        self.asked_at, self.done_at, self.ahead, self.tops = 0, at, None, {}
        self.missed = self.missed + 1 if missed else 0

    def _compare(self, at: int, picture: BookSnapshot, top: Top | None) -> bool | None:
        self.close(at, missed=top is None)
        return None if top is None else top == picture_top(picture)


def picture_top(picture: BookSnapshot) -> Top:
    """Its best levels, best first, empty ones left out."""
    bids, asks = _pairs(picture.bids), _pairs(picture.asks)
    return tuple(sorted(bids, reverse=True)[:LEVELS]), tuple(sorted(asks)[:LEVELS])


def _pairs(packed: bytes) -> list[tuple[int, int]]:
    flat = iter(unpack_levels(packed))
    return [(price, size) for price, size in zip(flat, flat, strict=True) if size]
