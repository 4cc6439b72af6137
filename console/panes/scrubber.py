"""A playback in; two lines out: where it stands in its session, and what happened when."""

import math

from console import format as show
from console.desk import Desk
from console.keys import name_of
from console.panes.lines import LinePane, Row, Run
from engine.queue import Kind
from engine.replay.playback import Playback
from engine.replay.player import Mark, marks

# What a column of the line shows, the first that happened within it; the letter of a fill is not its colour alone.
SIGNS: tuple[tuple[Kind, str, str, str], ...] = (
    (Kind.TRADING, "H", "halt bold", "trading switched"),
    (Kind.FILL, "F", "entry bold", "fill"),
    (Kind.ORDER, "O", "exit", "order"),
    (Kind.ALERT, "!", "stop", "alert"),
    (Kind.JUDGMENT, "j", "muted", "judgment"),
)
MARKED = Kind.TRADING | Kind.FILL | Kind.ORDER | Kind.ALERT | Kind.JUDGMENT


def speed_text(speed: float) -> str:
    return "as fast as it goes" if math.isinf(speed) else f"{speed:g}x"


class Scrubber(LinePane, can_focus=False):
    DEFAULT_CSS = """
    Scrubber { height: 2; width: 1fr; padding: 0 1; background: $panel; color: $foreground; }
    """

    def __init__(self, desk: Desk, playback: Playback, *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.playback = playback
        self._marks: list[Mark] = marks(playback.player.session, MARKED)

    def versions(self) -> tuple[object, ...]:
        playback = self.playback
        return (playback.player.position, playback.playing, playback.speed, playback.busy, playback.problem)

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        return [self._words(width), self._line(width)]

    def _words(self, width: int) -> Row:
        playback, player = self.playback, self.playback.player
        if playback.problem:
            return ((playback.problem, "stop bold"),)
        doing = playback.busy or ("playing" if playback.playing else "at its end" if player.ended else "paused")
        runs: list[Run] = [
            (f"{doing} ", "text bold" if playback.playing else "muted bold"),
            (f"{speed_text(playback.speed)}  ", "text"),
            (f"{show.clock(player.at)}.{player.at // 1_000_000 % 1000:03} ", "text bold"),
            (f"of {show.clock(player.started_ns)} to {show.clock(player.ends_ns)}  ", "muted"),
            (f"input {player.position:,} of {player.inputs:,}  ", "muted"),
        ]
        mine = getattr(self.app, "user_keys", {})
        hint = f"{name_of('replay_play', mine)} plays, {name_of('replay_goto', mine)} goes to a time"
        if sum(len(text) for text, _ in runs) + len(hint) <= width:
            runs.append((hint, "muted"))
        return tuple(runs)

    def _line(self, width: int) -> Row:
        player = self.playback.player
        cells: list[Kind] = [Kind(0)] * width
        for mark in self._marks:
            cells[self._column(mark.at, width)] |= mark.kinds
        here = self._column(player.at, width)
        return tuple(("█", "text bold") if column == here else _sign(kinds) for column, kinds in enumerate(cells))

    def _column(self, at: int, width: int) -> int:
        player = self.playback.player
        span = max(player.ends_ns - player.started_ns, 1)
        return min(max((at - player.started_ns) * (width - 1) // span, 0), width - 1)


def _sign(kinds: Kind) -> Run:
    for kind, sign, look, _ in SIGNS:
        if kinds & kind:
            return (sign, look)
    return ("─", "faint")
