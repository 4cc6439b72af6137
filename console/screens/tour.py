"""Six cards over the trading screen: each speaks of a part of it, which stands out meanwhile. Closes with the key that ended it.

Arrows turn the cards and Escape ends them; any other key ends them too and then does what it does, so that nobody is held up.
"""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from string import Formatter
from typing import ClassVar, NamedTuple

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Static

from console.keys import BY_ID, shown

log = logging.getLogger(__name__)
SEEN = "tour-seen"  # an empty file in the user's state folder


class Card(NamedTuple):
    """`pane` is the id of what it speaks of; words in braces are ids of keys."""

    pane: str
    title: str
    text: str


CARDS = (
    Card(
        "status",
        "What is real",
        "The top line is always there. DEMO, PAPER, TESTNET or LIVE says what is real; OFF, ARMED or HALTED whether "
        "entries are allowed; data, how old the prices are. What is old turns grey and carries a !, and no entry is made "
        "on it. Then what you hold; at the right, what the session has made.",
    ),
    Card(
        "ladder",
        "The market",
        "The ladder is the order book: sizes for sale above, wanted below, your own orders beside their price. The chart "
        "next to it ({pane_2}) draws your entry, stop and target as lines. {next_symbol} shows another market, "
        "{timeframe} other bars, and {maximise} gives a pane the whole screen.",
    ),
    Card(
        "rationale",
        "The judgment",
        "A judge, the rules or a model, gives an opinion that ends by itself: long, short or hold, how sure it is, until "
        "when, and why. The program trades inside that opinion and inside hard limits. {veto} ends it now.",
    ),
    Card(
        "status",
        "Stopping",
        "{halt} is the kill switch, from everywhere: once halts and cancels what could add exposure, again closes every "
        "position. It stays halted until {release} is pressed and answered. {disarm} only ends new entries; {arm}, twice,"
        " allows them (live asks for a phrase). Protective stops stay at the venue.",
    ),
    Card(
        "positions",
        "Your own orders",
        "{order} opens a line: type buy 500, read what it would do, press Enter. Every entry gets a stop. {close} closes "
        "the position at the market, after a question; in orders ({pane_6}) {cancel}, twice, cancels the one under the "
        "cursor.",
    ),
    Card(
        "keys",
        "Where help is",
        "{help} lists every key, those of the pane you are in first; type to search, Enter does it. {palette} finds every"
        " command by name. {tour} shows these cards again, {quit} leaves.",
    ),
)


class TourScreen(ModalScreen[str]):
    """`point` is told which pane a card speaks of, and "" at the end. Closes with a key's name, "" for none."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "close", "End"),
        Binding("right,down,l,j,space,enter", "turn(1)", "Next"),
        Binding("left,up,h,k", "turn(-1)", "Back"),
    ]

    def __init__(self, point: Callable[[str], None], remapped: Mapping[str, str]) -> None:
        super().__init__()
        self.place = 0
        self._point, self._remapped = point, remapped
        # Held, not queried: the program may end before they are mounted.
        self._text = Static("", id="question", markup=False)
        self._box = Vertical(self._text, id="dialog", classes="-tour")
        self._box.border_subtitle = "← → turn    Esc ends"

    def compose(self) -> ComposeResult:
        yield self._box

    def on_mount(self) -> None:
        self._show()

    def _show(self) -> None:
        card = CARDS[self.place]
        self._box.border_title = f"{self.place + 1} of {len(CARDS)}: {card.title}"
        self._text.update(self.text(card))
        self._point(card.pane)

    def text(self, card: Card) -> Text:
        """With the keys as this user has them."""
        text = Text()
        for words, id, _, _ in Formatter().parse(card.text):
            text.append(words)
            if id:
                text.append(f"[{shown(self._remapped.get(id, BY_ID[id].key).split(',')[0])}]", "bold")
        return text

    def action_turn(self, step: int) -> None:
        """Beyond the last card there is an end, before the first nothing."""
        if self.place + step == len(CARDS):
            self.action_close()
        elif self.place + step >= 0:
            self.place += step
            self._show()

    def action_close(self) -> None:
        self._end("")

    def on_key(self, event: events.Key) -> None:
        if not any(event.key in key.split(",") for key in MINE):
            event.stop()
            event.prevent_default()
            self._end(event.key)

    def _end(self, key: str) -> None:
        self._point("")
        self.dismiss(key)


MINE = tuple(binding.key for binding in TourScreen.BINDINGS if isinstance(binding, Binding))


def first_time(folder: Path) -> bool:
    """True once for a state folder, and for one where that cannot be remembered never."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        (folder / SEEN).touch(mode=0o600, exist_ok=False)
    except OSError as problem:
        if not isinstance(problem, FileExistsError):
            log.info("that the tour was seen cannot be remembered (%s)", problem)
        return False
    return True
