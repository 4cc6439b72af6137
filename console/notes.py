"""Notifications that can always be shown: a sentence in, one whose time is never up before its toast is on the screen, out.

Textual's timers (8.2.8, 2026-11) never come back from an interval that lies in the past: the whole program stands still, and
the terminal with it. A toast asks for one where its time runs out while it is made, which happens when a dialog opens just
then, or when the clock of the machine is set.
"""

from textual.notifications import Notification

LEAST_S = 0.05


class Note(Notification):
    """As Textual counts its time, but what is left of it never lies in the past."""

    @property
    def time_left(self) -> float:
        return max(super().time_left, LEAST_S)

    @property
    def has_expired(self) -> bool:
        return super().time_left <= 0
