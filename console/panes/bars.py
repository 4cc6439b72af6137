"""Three lines around the panes: what must be known now (banner), which pane is shown (tabs), what can be pressed (keys)."""

from collections.abc import Sequence
from typing import ClassVar

from rich.cells import cell_len
from textual import events
from textual.message import Message

from console.desk import Desk
from console.keys import KEYS, PLACES, REPLAY, name_of, shown
from console.panes.lines import LinePane, Row, Run, wrap
from engine.events import Trading
from engine.views import Picture, PositionsView, StatusView


class Banner(LinePane, can_focus=False):
    """Lost, silent, halted, flattening or starting, in words; no lines at all when there is nothing to say."""

    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = ((StatusView, ""), (PositionsView, ""))
    DEFAULT_CSS = """
    Banner {
        height: auto; max-height: 3; width: 1fr; padding: 0 1; display: none; background: $panel; color: $foreground;
        &.-said { display: block; }
        &.-grave { background: $halt; color: $background; }
        &.-grave .pane--text { color: $background; background: $halt; text-style: bold; }
    }
    """
    said = ""
    silent_s = 0  # whole seconds without a word from an engine that is connected
    note = ""  # of the link: why

    def words(self) -> tuple[str, bool]:
        """What to say, and whether it is grave."""
        desk, status = self.desk, self.desk.get(StatusView, "")
        if desk.lost_reason:
            return f"NO ENGINE: {desk.lost_reason} Everything shown is old.", True
        if self.silent_s:
            more = self.note or ("" if desk.watches else f"{self._key('halt')} still asks it to halt.")
            who = "NOTHING SEEN" if self.note else "ENGINE SILENT"
            return f"{who} for {self.silent_s} s: everything shown is old. {more}".rstrip(), True
        if status is None:
            return "Connecting to the engine ...", False
        if status.flattening and desk.flat:
            why = status.kill_done or status.trading_reason
            return f"FLAT. Trading stays halted until released ({self._key('release')}). {why}".rstrip(), True
        if status.flattening:
            waits = f" Open still: {status.kill_open}." if status.kill_open else ""
            return f"FLATTENING: closing every position, reduce-only. {status.trading_reason}{waits}", True
        if status.trading is Trading.HALTED:
            keys = f"{self._key('halt')} again flattens, {self._key('release')} releases."
            text = f"HALTED: {status.trading_reason or 'no reason given'}. No entries are made. {keys}".replace("..", ".")
            more = f"Open still: {status.kill_open}." if status.kill_open else status.kill_done
            return f"{text} {more}".rstrip(), True
        if status.waits_for:
            word = "Starting" if status.data_age_ms < 0 else "Waiting"
            return f"{word}: {'; '.join(sentence.rstrip('.') for sentence in status.waits_for)}", False
        return "", False

    def _key(self, id: str) -> str:
        return name_of(id, getattr(self.app, "user_keys", {}))

    def settle(self) -> None:
        """Take the room that the words need; called before the paint."""
        words, grave = self.words()
        if words != self.said:
            self.said = words
            self.set_class(bool(words), "-said")
            self.set_class(grave, "-grave")
            self.styles.height = max(1, min(3, len(wrap(words, max(self.screen.size.width - 2, 1)))))

    def versions(self) -> tuple[object, ...]:
        return (*super().versions(), self.said)

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        return [((line, "text"),) for line in wrap(self.said, width)]


class TabStrip(LinePane, can_focus=False):
    """Which pane has the screen, where one at a time has it. A click goes there."""

    DEFAULT_CSS = """
    TabStrip { height: 1; width: 1fr; background: $panel; .pane--here { color: $background; background: $primary; } }
    """

    class Chosen(Message):
        """The tab at `place`, the first is 1, was chosen."""

        def __init__(self, place: int) -> None:
            self.place = place
            super().__init__()

    def __init__(self, desk: Desk, titles: Sequence[str], *, id: str | None = None) -> None:
        super().__init__(desk, id=id)
        self.titles = tuple(titles)
        self.here = 1

    def versions(self) -> tuple[object, ...]:
        return (self.here,)

    def labels(self, width: int) -> list[str]:
        """` 1 ladder ` where all fit, else the name at the current one only."""
        long = [f" {PLACES[place - 1]} {title.lower()}{' ' * (place == self.here)}" for place, title in enumerate(self.titles, 1)]
        if sum(map(len, long)) <= width:
            return long
        return [text if place == self.here else f" {PLACES[place - 1]} " for place, text in enumerate(long, start=1)]

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        return [tuple((text, "here bold" if place == self.here else "muted") for place, text in enumerate(self.labels(width), 1))]

    def on_click(self, event: events.Click) -> None:
        end = 0
        for place, text in enumerate(self.labels(self.size.width), start=1):
            end += len(text)
            if event.x < end:
                self.post_message(self.Chosen(place))
                return


class KeyBar(LinePane, can_focus=False):
    """The keys that fit, the most important first; their names come from the table of keys."""

    DEFAULT_CSS = """
    KeyBar { height: 1; width: 1fr; background: $panel; .pane--key { color: $primary; } }
    """

    shows: ClassVar[tuple[tuple[type[Picture], str | None], ...]] = ((StatusView, ""),)

    def __init__(self, desk: Desk, *, id: str | None = None, replay: bool = False) -> None:
        super().__init__(desk, id=id)
        # Over a recorded session nothing can be steered: its own keys come first.
        ours = (key._replace(bar=1) for key in REPLAY)
        self._keys = (*ours, *(key for key in KEYS if key.group != "trading")) if replay else KEYS

    def versions(self) -> tuple[object, ...]:
        status = self.desk.get(StatusView, "")
        return (status.trading if status else None, self._focused())

    def _focused(self) -> str:
        """The pane that has the focus; its keys are shown where there is room."""
        focused = self.screen.focused
        return focused.id or "" if focused is not None else ""

    def rows(self, desk: Desk, width: int, height: int) -> list[Row]:
        status = desk.get(StatusView, "")
        halted = status is not None and status.trading is Trading.HALTED
        keymap = getattr(self.app, "user_keys", {})
        known = [key for key in self._keys if not desk.watches or key.group != "trading"]
        there = [key for key in known if key.bar and key.pane in ("", "replay", self._focused())]
        ranked = sorted(there, key=lambda key: 1.5 if halted and key.id == "release" else key.bar)
        row: list[Run] = []
        room = width
        for key in ranked:
            name = shown(keymap.get(key.id, key.key).split(",")[0])
            label = "flatten" if halted and key.id == "halt" else key.label
            need = cell_len(name) + cell_len(label) + 4
            if need > room:
                break
            row += [(f" {name}", "halt bold" if key.id == "halt" else "key bold"), (f" {label}  ", "muted")]
            room -= need
        return [tuple(row)]
