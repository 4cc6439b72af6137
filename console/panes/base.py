"""What all panes share: they are painted from the desk by the frame timer, only when visible and when something changed."""

import logging
from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from console.desk import Desk
from engine.views import Picture

log = logging.getLogger(__name__)


class Pane(Widget, can_focus=True):
    """A part of the screen.

    `shows` are the pictures that it is made of, each with its market ("" for the account, None for the watched one).
    `update_from` takes what it needs from the desk and refreshes what changed; it is called by the frame timer, never by an
    event. An error in it is shown inside the pane and does not end the program (the screen guards the call).
    """

    title: ClassVar[str] = ""
    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = ()

    def __init__(self, desk: Desk, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.desk = desk
        self._seen: tuple[object, ...] = ()
        self.paints = 0
        self._undrawn = ""  # what the last drawing failed of

    def versions(self) -> tuple[object, ...]:
        """Changes exactly when this pane has something new to show."""
        desk = self.desk
        return (desk.market, desk.timeframe_ms, desk.connected, *(desk.version(kind, market) for kind, market in self.shows))

    def paint_if_changed(self) -> bool:
        """Called once a frame while visible; True if it painted."""
        now = self.versions()
        if now == self._seen:
            return False
        self._seen = now
        self.paints += 1
        self.update_from(self.desk)
        return True

    def update_from(self, desk: Desk) -> None:
        raise NotImplementedError

    def draw_lines(self, crop: Region) -> list[Strip]:
        """The lines of a part of the pane, with its border and padding."""
        return super().render_lines(crop)

    def render_lines(self, crop: Region) -> list[Strip]:
        """Textual asks for these; an error while drawing would end the program, so it is shown here instead."""
        try:
            strips = self.draw_lines(crop)
            self._undrawn = ""
            return strips
        except Exception as error:
            sentence = f"! this pane could not be drawn: {type(error).__name__}: {error}"
            if sentence != self._undrawn:
                self._undrawn = sentence
                log.error("%s could not be drawn", self.id, exc_info=error)
            style = self.rich_style
            first = Strip([Segment(sentence, style)]).adjust_cell_length(crop.width, style)
            return [first if crop.y + y == 0 else Strip.blank(crop.width, style) for y in range(crop.height)]
