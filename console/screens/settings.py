"""Every setting from its declaration: what it is, what it may be, where its value comes from; changed, tried and saved here.

The engine that runs keeps the settings it began with; the screen's own hold when they are saved, and a theme while it is
stepped through.
"""

from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Horizontal, Vertical
from textual.screen import Screen
from textual.widgets import Input, Label, Static

from console import keys, layouts
from console.desk import Desk
from console.panes.settings import SettingsPane
from console.settings import Form
from engine.config import Sourced
from engine.errors import ConfigError
from engine.views import StatusView

if TYPE_CHECKING:
    from console.app import Console

LONGEST = 2_000  # letters of a value
LOOK_S = 0.2
HINTS = (
    *("settings_save", "settings_put_back", "settings_leave", "setting_list_edit", "setting_list_search"),
    *("setting_list_next_value", "setting_list_value_before"),
)
THEME, KEYS, LAYOUT, LAYOUTS = "console.theme", "console.keys", "console.layout", "console.layouts"


class SettingsScreen(Screen[None]):
    BINDINGS: ClassVar[list[BindingType]] = [*keys.bindings(pane="settings")]
    VERTICAL_BREAKPOINTS = [(0, "-short"), (20, "-roomy")]  # noqa: RUF012 - as Textual declares it
    DEFAULT_CSS = """
    SettingsScreen { background: $background; overflow: hidden; }
    SettingsScreen #state { height: 1; background: $panel; color: $foreground; padding: 0 1; }
    SettingsScreen #hint { height: 1; background: $panel; color: $muted; padding: 0 1; }
    SettingsScreen .row { height: 1; padding: 0 1; }
    SettingsScreen .row Label { width: 26; color: $muted; }
    SettingsScreen .row Input { width: 1fr; border: none; height: 1; background: $surface; padding: 0 1; }
    SettingsScreen #setting_list { height: 1fr; }
    SettingsScreen #detail { height: auto; max-height: 50%; border-top: solid $panel; border-title-color: $primary; }
    SettingsScreen #about { height: auto; padding: 0 1; color: $muted; }
    SettingsScreen #problem { height: auto; padding: 0 1; color: $halt; }
    SettingsScreen.-short #about { display: none; }
    """

    def __init__(self, desk: Desk, sources: Sourced, *, only_console: bool = False) -> None:
        super().__init__()
        self.desk = desk
        self.form = Form(sources, self._check, only_console=only_console)
        self.list = SettingsPane(desk, self.form, id="setting_list")
        self._worn = ""  # before a theme was tried
        self._said = ""

    @property
    def program(self) -> "Console":
        return cast("Console", self.app)

    def compose(self) -> ComposeResult:
        yield Static("", id="state", markup=False)
        with Horizontal(classes="row"):
            yield Label("search")
            yield Input(placeholder="words of a name, a help or a value", id="search", compact=True)
        yield self.list
        with Vertical(id="detail"):
            yield Static("", id="about", markup=False)
            with Horizontal(classes="row"):
                yield Label("value", id="name")
                yield Input(id="value", compact=True, max_length=LONGEST)
            yield Static("", id="problem", markup=False)
        names = ((keys.name_of(id, self.program.user_keys).partition(" or ")[0], keys.BY_ID[id].label) for id in HINTS)
        yield Static("  ".join(f"{name} {label}" for name, label in names), id="hint", markup=False)

    def on_mount(self) -> None:
        self._worn = self.app.theme
        self.form.offered[THEME] = self.program.theme_names
        self.list.focus()
        self.set_interval(LOOK_S, self._tell)
        self._look()

    # --- the list ------------------------------------------------------------------------------------------------------

    def on_settings_pane_moved(self) -> None:
        self._look()

    def on_settings_pane_asked(self, event: SettingsPane.Asked) -> None:
        if self.list.here is None:
            return
        if event.what == "step":
            self._step(self.list.here.dotted, event.step)
        else:
            self.query_one("#search" if event.what == "search" else "#value", Input).focus()

    def _step(self, dotted: str, step: int) -> None:
        text = self.form.stepped(dotted, step)
        if text:
            self._enter(dotted, text)
        else:
            self._say("Any value may be typed here: press Enter.")

    def _enter(self, dotted: str, text: str) -> bool:
        problem = self.form.enter(dotted, text)
        self._say(problem, keep=bool(problem))
        return not problem

    # --- typing --------------------------------------------------------------------------------------------------------

    def on_input_changed(self, event: Input.Changed) -> None:
        if event.input.id == "search":
            self.list.show(self.form.found(event.value))
        elif self.list.here is not None and event.input.has_focus:
            dotted, text = self.list.here.dotted, event.value.strip()
            problem = self.form.problem(dotted, text)
            self.query_one("#problem", Static).update(problem)
            if dotted == THEME and not problem:
                self.app.theme = text

    def on_input_submitted(self, event: Input.Submitted) -> None:
        if event.input.id == "search" or self.list.here is None or self._enter(self.list.here.dotted, event.value.strip()):
            self.list.focus()

    def _check(self, dotted: str, value: object) -> str:
        """What only the screen knows."""
        if dotted == THEME and value not in self.program.available_themes:
            return f"There is no theme {value}. Expected one of {', '.join(self.program.theme_names)}."
        if dotted == LAYOUT and value not in self._layouts():
            return f"There is no layout {value}. Expected one of {', '.join(self._layouts())}."
        if dotted == KEYS and isinstance(value, dict):
            return " ".join(keys.problems(value))
        if dotted == LAYOUTS and isinstance(value, dict):
            return " ".join(layouts.problems(value, self.program.pane_names))
        return ""

    def _layouts(self) -> list[str]:
        own = self.form.value(LAYOUTS)
        return [*layouts.BUILT_IN, *(own if isinstance(own, dict) else ())]

    # --- saving and leaving --------------------------------------------------------------------------------------------

    def action_save(self) -> None:
        form = self.form
        here = self.list.here
        if here is not None and self.query_one("#value", Input).has_focus and not self._enter(here.dotted, self._typed()):
            return
        if not form.changes:
            self._say("Nothing was changed.")
            return
        if problem := form.mismatch():
            self._say(f"Not saved. {problem}")
            return
        themed = THEME in form.changes
        try:
            names = form.save()
        except ConfigError as problem:
            self._say(f"Not saved. {problem}")
            return
        self.program.take(form.sources)
        wanted = form.sources.settings.console.theme
        self._worn = wanted if themed and wanted in self.program.available_themes else self._worn
        later = [name for name in names if not name.startswith("console.")]
        more = f" Those of the engine hold from the next start of barter-tui on: {', '.join(later)}." if later else ""
        self.program.say(f"Saved in {form.sources.path}: {', '.join(names)}.{more}")
        self._say("Saved.")

    def action_put_back(self) -> None:
        here = self.list.here
        if here is not None:
            if problem := self.form.put_back(here.dotted):
                self._say(problem)
            else:
                source = self.form.below(here.dotted)
                self._say(f"{here.dotted} is as the {source.origin.value} says again, once it is saved.")
            self.list.focus()

    def action_leave(self) -> None:
        count = len(self.form.changes)
        if self.focused is not self.list:
            self.list.focus()
            self._say("")
        elif not count or self.program.second("settings_leave", f"leave without saving {count} change{'s' * (count > 1)}"):
            self.app.theme = self._worn
            self.app.pop_screen()

    # --- looking -------------------------------------------------------------------------------------------------------

    def _typed(self) -> str:
        return self.query_one("#value", Input).value.strip()

    def _say(self, sentence: str, keep: bool = False) -> None:
        self._said = sentence
        self._look(keep)

    def _tell(self) -> None:
        """The engine's state too, so that nobody forgets that it trades on."""
        status = self.desk.get(StatusView, "")
        engine = f"{status.mode.value.upper()} {status.trading.value}" if status is not None else "no engine"
        unsaved = f"   {len(self.form.changes)} not saved" if self.form.changes else ""
        self.query_one("#state", Static).update(f"SETTINGS{unsaved}   the engine: {engine}   {self._said}")

    def _look(self, keep: bool = False) -> None:
        """All that the cursor, a change or a sentence has an effect on; `keep`: but what is being typed."""
        form, here = self.form, self.list.here
        form.offered[LAYOUT] = self._layouts()
        self._tell()
        self.query_one("#detail", Vertical).border_title = here.dotted if here is not None else ""
        self.query_one("#about", Static).update("\n".join(form.about(here.dotted)) if here is not None else "")
        self.query_one("#problem", Static).update(form.mismatch())
        value = self.query_one("#value", Input)
        value.disabled = here is None
        if here is not None and not keep:
            with self.prevent(Input.Changed):
                value.value = form.text(here.dotted)
        self.app.theme = form.text(THEME) if THEME in form.changes else self._worn
        self.list.repaint()
