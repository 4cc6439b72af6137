"""The exit codes: an interface for scripts, declared here and documented from here."""

import signal
from enum import IntEnum


class Exit(IntEnum):
    """`meaning` is the sentence for README and help."""

    meaning: str

    def __new__(cls, code: int, meaning: str) -> "Exit":
        member = int.__new__(cls, code)
        member._value_ = code
        member.meaning = meaning
        return member

    OK = 0, "Ended as asked: the time was up, the capture was played, or the command did its work."
    FAULT = 1, "A part of the program crashed on the way; trading was halted if money was at stake. The summary says what."
    USAGE = 2, "The command line or a setting is wrong. Nothing was started."
    VENUE = 3, "The venue could not be started or reached, or the capture cannot be played."
    STATE = 4, "The state folder cannot be used, or an engine runs with it already (to attach: none does). Nothing was started."
    DISAGREE = 5, "At the end the ledger and the venue's account were compared and were not equal."
    DIFFERENT = 6, "A replay gave another output than was recorded; the first one is shown."
    DAMAGED = 7, "A recorded session does not exist, is damaged, altered or cannot be read. Nothing was concluded from it."
    INTERRUPTED = 130, "Halted by SIGINT (Ctrl-C): latched until `barter-tui release`. A replay, export or download just stops."
    TERMINATED = 143, "Halted by SIGTERM: latched until `barter-tui release`."


SIGNALS = {signal.SIGINT: Exit.INTERRUPTED, signal.SIGTERM: Exit.TERMINATED}  # that end a command without a screen


def render_table() -> str:
    """The README's table."""
    return "\n".join(["| code | meaning |", "|---|---|", *(f"| {code.value} | {code.meaning} |" for code in Exit)])
