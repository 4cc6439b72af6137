"""What can go wrong, as one small tree; every error carries its facts and reads as a sentence.

BarterError
├── ConfigError        a setting is missing, unknown, of the wrong type or impossible
│   └── MismatchError      settings that are each possible do not go together
├── DecodeError        something a stranger wrote could not be read
├── VenueError         a venue refused, went silent or could not be reached
│   ├── VenueStartError    the simulated venue could not be started
│   └── KeyRefused         an API key may do more, or less, than trade
├── CaptureError       a recording cannot be played
├── StateError         the state folder cannot be used
├── DataError          bars for a backtest are missing, damaged or not what was asked for
├── SessionError       a recorded session cannot be written, read or replayed
├── QueueError         a Fluvio cluster cannot be reached, refused something or went silent
├── LinkError          a console and an engine do not come together
├── EngineStartError   the engine's process could not be started
└── InvariantError     the program found itself in a state that may not exist: a bug, which halts
"""


class BarterError(Exception):
    """The root: `str(error)` is a sentence for the person at the terminal."""


class ConfigError(BarterError):
    """A setting is wrong. `where` names the file, variable or flag, `key` the setting, `expected` what would do."""

    def __init__(self, where: str, key: str, problem: str, expected: str = "") -> None:
        self.where, self.key, self.problem, self.expected = where, key, problem, expected
        tail = f" Expected {expected}." if expected else ""
        subject = f"{where}, {key}" if key else where
        super().__init__(f"{subject}: {problem}.{tail}")


class MismatchError(ConfigError):
    """Settings do not go together; `key` is the one that was set last."""


class DecodeError(BarterError):
    """A message could not be decoded. `source` says whose it was, `problem` what and where in it."""

    def __init__(self, source: str, problem: str, excerpt: bytes | str = b"") -> None:
        # A decoder's words may repeat the message, and an escape in it would reach the terminal.
        problem = "".join(char if char.isprintable() else "?" for char in problem)
        self.source, self.problem = source, problem
        text = excerpt.decode("utf-8", "replace") if isinstance(excerpt, bytes) else excerpt
        self.excerpt = text[:120]
        super().__init__(f"{source}: {problem}" + (f" in {self.excerpt!r}" if self.excerpt else ""))


class VenueError(BarterError):
    """A venue refused or failed. `code` is the venue's own number, 0 where it gave none."""

    def __init__(self, venue: str, problem: str, code: int = 0) -> None:
        self.venue, self.problem, self.code = venue, problem, code
        super().__init__(f"{venue}: {problem}" + (f" (code {code})" if code else ""))


class VenueStartError(VenueError):
    """The simulated venue's process could not be started or did not say that it is ready."""


class KeyRefused(VenueError):
    """An API key is not used: it may withdraw, or may not trade. Asking again changes nothing."""


class CaptureError(BarterError):
    """A recording cannot be played. `path` and `line` say where (line 0: the file as a whole)."""

    def __init__(self, path: str, problem: str, line: int = 0) -> None:
        self.path, self.problem, self.line = path, problem, line
        super().__init__(f"{path}" + (f", line {line}" if line else "") + f": {problem}")


class StateError(BarterError):
    """The state folder cannot be read or written. `path` names it."""

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


class LimitError(BarterError):
    """A limit does not do what it is for, so nothing is started. `limit` names it."""

    def __init__(self, limit: str, problem: str) -> None:
        self.limit, self.problem = limit, problem
        super().__init__(f"The limit {limit} does not hold ({problem}). Nothing was started; this is a fault of the program.")


class DataError(BarterError):
    """Bars cannot be used. `where` names the file or series, `line` and `column` the place in it (0 and "": as a whole).

    `line` counts as a person does, the first is 1; in a file without lines it is the row.
    """

    def __init__(self, where: str, problem: str, expected: str = "", line: int = 0, column: str = "") -> None:
        self.where, self.problem, self.expected, self.line, self.column = where, problem, expected, line, column
        place = where + (f", line {line}" if line else "") + (f", column {column}" if column else "")
        super().__init__(f"{place}: {problem}." + (f" Expected {expected}." if expected else ""))


class SessionError(BarterError):
    """A recorded session cannot be written, read or replayed. `path` names it, `problem` says what and where in it."""

    def __init__(self, path: str, problem: str) -> None:
        self.path, self.problem = path, problem
        super().__init__(f"{path}: {problem}")


class QueueError(BarterError):
    """A Fluvio cluster cannot be reached, refused something or went silent. `place` says where, `problem` what."""

    def __init__(self, place: str, problem: str) -> None:
        self.place, self.problem = place, problem
        super().__init__(f"{place}: {problem}")


class LinkError(BarterError):
    """A console cannot reach an engine, or was refused by it. The text is the sentence to show."""


class EngineStartError(BarterError):
    """The engine's process could not be started, or ended with an error. `exit` is the exit code that it asks for."""

    def __init__(self, problem: str, exit: int = 1) -> None:
        self.problem, self.exit = problem, exit
        super().__init__(problem)


class InvariantError(BarterError):
    """Something that may not happen did. Trading halts; the text says what was found and where."""
