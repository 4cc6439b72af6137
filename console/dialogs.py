"""Questions over the screen: each closes with its answer, and Escape is always the one that changes nothing."""

from abc import abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Button, Input, Label, Static


class Option(NamedTuple):
    """`key` is a letter; `grave` ones stand out."""

    id: str
    key: str
    label: str
    grave: bool = False


class Question(ModalScreen[str]):
    """A question with a few answers; the first is safe, has the focus and is what Escape means."""

    AUTO_FOCUS = "Button"
    HORIZONTAL_BREAKPOINTS = [(0, "-thin"), (76, "-roomy")]  # noqa: RUF012 - as Textual declares it

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "safe", "Back"),
        Binding("left,up,h,k", "app.focus_previous", "Previous"),
        Binding("right,down,l,j", "app.focus_next", "Next"),
    ]

    def __init__(self, title: str, text: str, options: Sequence[Option], *, grave: bool = False) -> None:
        super().__init__(classes="-grave" if grave else "")
        self.options = tuple(options)
        self._title, self._text = title, text

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as box:
            box.border_title = self._title
            yield Static(self._text, id="question", markup=False)
            with Horizontal(id="answers"):
                for option in self.options:
                    button = Button(f"[{option.key.upper()}] {option.label}".replace("[", r"\["), id=option.id, compact=True)
                    button.set_class(option.grave, "-grave")
                    yield button

    def on_key(self, event: events.Key) -> None:
        for option in self.options:
            if event.key.lower() == option.key:
                event.stop()
                event.prevent_default()
                self.dismiss(option.id)
                return

    def on_button_pressed(self, event: Button.Pressed) -> None:
        self.dismiss(event.button.id or self.options[0].id)

    def action_safe(self) -> None:
        self.dismiss(self.options[0].id)


class Phrase(ModalScreen[bool]):
    """Closes with True only when the phrase was typed."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "safe", "Back")]

    def __init__(self, title: str, text: str, phrase: str) -> None:
        super().__init__(classes="-grave")
        self._title, self._text, self._phrase = title, text, phrase

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as box:
            box.border_title = self._title
            yield Static(self._text, id="question", markup=False)
            yield Input(placeholder=self._phrase, id="phrase", compact=True)
            yield Label("Enter: go on    Esc: back", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip().lower() == self._phrase.lower())

    def action_safe(self) -> None:
        self.dismiss(False)


class Typed(ModalScreen[str]):
    """Closes with what was typed, "" for nothing."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "safe", "Back")]

    def __init__(self, title: str, text: str, example: str, most: int = 60, value: str = "") -> None:
        super().__init__()
        self._title, self._text, self._example, self._most, self._value = title, text, example, most, value

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog") as box:
            box.border_title = self._title
            yield Static(self._text, id="question", markup=False)
            yield Input(self._value, placeholder=self._example, id="phrase", compact=True, max_length=self._most)
            yield Label("Enter: go on    Esc: back", classes="hint")

    def on_input_submitted(self, event: Input.Submitted) -> None:
        self.dismiss(event.value.strip())

    def action_safe(self) -> None:
        self.dismiss("")


class Page(ModalScreen[None]):
    """Something to read over the screen; it scrolls, and Escape and q close it."""

    AUTO_FOCUS = "VerticalScroll"
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q", "close", "Close")]

    def __init__(self, title: str, hint: str = "Esc closes") -> None:
        super().__init__()
        self._title, self._hint = title, hint

    def compose(self) -> ComposeResult:
        with Vertical(id="dialog", classes="-help") as box:
            box.border_title, box.border_subtitle = self._title, self._hint
            with VerticalScroll():
                yield from self.contents()

    @abstractmethod
    def contents(self) -> ComposeResult:
        """What there is to read."""

    async def action_close(self) -> None:
        self.dismiss(None)


def ask_quit(may_stop: bool = True) -> Question:
    """`stay`, `leave` (the engine runs on) or `stop`."""
    stopped = "Stopped, it makes no new entries, cancels entry orders and ends; protective stops stay at the venue. "
    return Question(
        "Leave the console",
        f"The engine runs in a process of its own. {stopped if may_stop else ''}"
        f"Left running, it goes on trading without {'a screen' if may_stop else 'this screen'}.",
        [
            Option("stay", "n", "Stay"),
            Option("leave", "l", "Leave it running"),
            *([Option("stop", "s", "Stop the engine", True)] if may_stop else []),
        ],
    )


def ask_lost(reason: str, can_restart: bool, ours: bool = True) -> Question:
    """`stay`, `restart` or `quit`. An engine that is not ours is not started: the link is opened again."""
    more = (
        "Restarted, a new session first reads orders, positions and balances from the venue (recovery), and does not trade "
        "before they agree."
    )
    return Question(
        "The engine is gone",
        f"{reason}\n\nWhat you see is old. {more if ours else ''}".rstrip(),
        [
            Option("stay", "n", "Stay"),
            *([Option("restart", "r", "Restart into recovery" if ours else "Attach again")] if can_restart else []),
            Option("quit", "q", "Quit", True),
        ],
        grave=True,
    )


def confirm(title: str, text: str, yes: str) -> Question:
    """`no` or `yes`."""
    return Question(title, text, [Option("no", "n", "No"), Option("yes", "y", yes, True)], grave=True)
