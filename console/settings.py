"""Settings with their sources in; what would be saved, tried as the loader would read it, out."""

from collections.abc import Callable, Mapping, Sequence

from engine.config import Key, Origin, Source, Sourced, parsed, save, sections, typed
from engine.errors import ConfigError, MismatchError

SECTIONS = tuple(sections())
KEYS = {key.dotted: key for _, _, keys in SECTIONS for key in keys}
OF_FILES = (Origin.DEFAULT, Origin.FILE)
WATCHES = "This console does not steer an engine: it changes the settings of the screen alone."
NEXT_START = "Takes effect when barter-tui is started next; the engine that runs keeps what it began with."
Check = Callable[[str, object], str]
"""A dotted key and its value in; a sentence when the screen cannot use it, else ""."""


class Form:
    """`changes` are what was entered and not saved, by dotted key; None takes a value out of `settings.toml`.

    `offered` are values of text settings that one may step through, by dotted key.
    """

    def __init__(self, sources: Sourced, check: Check, *, only_console: bool = False) -> None:
        self.sources = sources
        self.changes: dict[str, object] = {}
        self.offered: dict[str, Sequence[str]] = {}
        self._check, self._only_console = check, only_console
        self._sound = self._is_sound()

    # --- one setting ---------------------------------------------------------------------------------------------------

    def below(self, dotted: str) -> Source:
        """What holds without `settings.toml`, variables and flags."""
        return [source for source in self.sources.sources[dotted] if source.origin in OF_FILES][-1]

    def saved(self, dotted: str) -> Source | None:
        return next((source for source in self.sources.sources[dotted] if source.origin is Origin.SAVED), None)

    def over(self, dotted: str) -> Source | None:
        """The variable or flag that wins over whatever is saved."""
        source = self.sources.sources[dotted][-1]
        return None if source.origin in (*OF_FILES, Origin.SAVED) else source

    def holds(self, dotted: str) -> Source:
        return self.sources.sources[dotted][-1]

    def value(self, dotted: str) -> object:
        """What the files would say if the changes were saved."""
        change = self.changes.get(dotted, (self.saved(dotted) or self.below(dotted)).value)
        return self.below(dotted).value if change is None else change

    def text(self, dotted: str) -> str:
        return typed(KEYS[dotted], self.value(dotted))

    def choices(self, dotted: str) -> Sequence[str]:
        """What one may step through; empty where any text or number may be typed."""
        return KEYS[dotted].choices or self.offered.get(dotted, ())

    def stepped(self, dotted: str, step: int) -> str:
        """The text after the one that is there, round the end; "" where there is nothing to step through."""
        choices, text = self.choices(dotted), self.text(dotted)
        if not choices:
            return ""
        return choices[(choices.index(text) + step) % len(choices)] if text in choices else choices[0]

    # --- changing ------------------------------------------------------------------------------------------------------

    def problem(self, dotted: str, text: str) -> str:
        """What is wrong with the text, as the loader says it; "" when nothing is."""
        return self._tried(dotted, text)[1]

    def enter(self, dotted: str, text: str) -> str:
        """Keep the change, or say why it cannot be. One that does not go with others is kept: they may be changed too."""
        changes, problem = self._tried(dotted, text)
        if changes is None:
            return problem
        self.changes = changes
        return ""

    def put_back(self, dotted: str) -> str:
        return self.enter(dotted, typed(KEYS[dotted], self.below(dotted).value))

    def mismatch(self) -> str:
        """Why the changes cannot be saved as they are; "" when they can."""
        try:
            if self.changes:
                self._try(self.changes)
        except ConfigError as problem:
            return sentence(problem)
        return ""

    def _tried(self, dotted: str, text: str) -> tuple[dict[str, object] | None, str]:
        """The changes with this one, None where it cannot be; and a sentence."""
        if self._only_console and KEYS[dotted].section != "console":
            return None, WATCHES
        try:
            value = parsed(dotted, text)
            changes = self._with(dotted, value)
            if problem := self._check(dotted, value):
                return None, problem
            self._try(changes)
        except MismatchError as error:
            return changes, sentence(error)
        except ConfigError as error:
            return None, sentence(error)
        return changes, ""

    def _with(self, dotted: str, value: object) -> dict[str, object]:
        """The changes with this one; a value that holds anyway is none."""
        changes = {name: change for name, change in self.changes.items() if name != dotted}
        kept = self.saved(dotted)
        if value == self.below(dotted).value:
            return changes if kept is None else {**changes, dotted: None}
        return changes if kept is not None and value == kept.value else {**changes, dotted: value}

    def _try(self, changes: Mapping[str, object]) -> None:
        """Read them as this start would, and another one without its variables and flags. Raises ConfigError."""
        tree = _tree(changes)
        self.sources.again(tree)
        if (self.sources.environ or self.sources.flags) and self._sound:
            self.sources.bare(tree)

    def _is_sound(self) -> bool:
        """Whether the files are right by themselves; where they are not, that is no change's fault."""
        try:
            self.sources.bare()
        except ConfigError:
            return False
        return True

    def save(self) -> list[str]:
        """Write the changes, which have no `mismatch`, and read all again; what was written. Raises ConfigError."""
        names = list(self.changes)
        save(_tree(self.changes), self.sources.path)
        self.changes = {}
        self.sources = self.sources.again()
        self._sound = self._is_sound()
        return names

    # --- words ---------------------------------------------------------------------------------------------------------

    def found(self, words: str) -> list[Key]:
        """The settings whose name, help or value hold every word."""
        wanted = words.lower().split()
        return [key for key in KEYS.values() if all(word in self._searched(key) for word in wanted)]

    def _searched(self, key: Key) -> str:
        return f"{key.dotted} {key.description} {self.text(key.dotted)}".lower()

    def about(self, dotted: str) -> list[str]:
        """What it is, where it comes from, and when a change takes effect: a sentence each."""
        key, holds, over = KEYS[dotted], self.holds(dotted), self.over(dotted)
        offered = self.offered.get(dotted)
        may_be = f"one of {', '.join(offered)}" if offered else key.expected
        default = typed(key, key.default) or "nothing"
        said = [f"{key.description}.", f"{may_be[:1].upper()}{may_be[1:]}; the default is {default}."]
        where = f"from {'the ' if over else ''}{holds.where}" if holds.where else "the default"
        said.append(f"Now {typed(key, holds.value) or 'nothing'}, {where}.")
        if over is not None:
            said.append(f"The {over.where} wins over what is saved here, as long as it is given.")
        return [*said, when(key)]


def when(key: Key) -> str:
    """When a change of it takes effect."""
    if key.section != "console":
        return NEXT_START
    more = "; the engine sends pictures that often from the next start on" if key.name == "frames_per_s" else ""
    return f"Takes effect when it is saved{more}."


def sentence(problem: ConfigError) -> str:
    """A refusal of the loader without where the value stood, which is here; a file that cannot be read is named."""
    if not problem.key:
        return str(problem)
    tail = f" Expected {problem.expected}." if problem.expected else ""
    said = f"{problem.problem}.{tail}"
    return said[:1].upper() + said[1:]


def _tree(changes: Mapping[str, object]) -> dict[str, dict[str, object]]:
    tree: dict[str, dict[str, object]] = {}
    for dotted, value in changes.items():
        section, _, name = dotted.partition(".")
        tree.setdefault(section, {})[name] = value
    return tree
