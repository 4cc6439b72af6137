"""What a model wrote in; a checked `Opinion` out, or the reason why there is none.

A grammar keeps most models to the schema, but not all servers have one, streams are cut, and a stranger may have written the
model: nothing is used that was not decoded strictly and found within its bounds.
"""

import re
import unicodedata
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

EXPIRIES = (5, 10, 15, 30, 60)
REGIMES = ("breakout", "quiet", "range", "shock", "trend")
WHY_LENGTH = 160
LONGEST = 8_192  # characters of an answer; beyond, it is no answer

FAILURES = {
    "refused": "the server could not be reached",
    "silent": "no word within the deadline",
    "late": "the answer was not complete within the deadline",
    "missing": "the server does not have the model",
    "busy": "the server has too much to do",
    "server": "the server reported an error",
    "cut": "the stream broke before the deciding part was complete",
    "malformed": "the answer is not what was asked for",
    "huge": "the answer does not end",
    "contradictory": "the answer contradicts itself",
    "stale": "the market had moved on when the answer came",
    "superseded": "a newer question took its place",
    "judge": "the judge failed",
}
"""Why no stance came of a question, by the word that the journal uses."""

# Keys are in alphabetical order: one of Ollama's two paths sorts them, and the deciding ones must come before `why`.
SCHEMA: dict[str, object] = {
    "type": "object",
    "additionalProperties": False,
    "properties": {
        "chance_up": {"type": "integer", "minimum": 1, "maximum": 99},
        "expires_min": {"type": "integer", "enum": list(EXPIRIES)},
        "invalid_bp": {"type": "integer", "minimum": 5, "maximum": 300},
        "regime": {"type": "string", "enum": list(REGIMES)},
        "why": {"type": "string", "minLength": 10, "maxLength": WHY_LENGTH},
    },
    "required": ["chance_up", "expires_min", "invalid_bp", "regime", "why"],
}
_WHY = re.compile(r',?\s*"why"\s*:\s*"?')
_KEY = re.compile(r'"(chance_up|expires_min|invalid_bp|regime)"\s*:')


class AnswerError(ValueError):
    """`kind` is a word of FAILURES; the text is a sentence without its end."""

    def __init__(self, kind: str, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Opinion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a judge states. `invalid_bp`: the adverse move, basis points, that proves it wrong."""

    chance_up: Annotated[int, Meta(ge=1, le=99)]
    expires_min: Annotated[int, Meta(ge=1, le=60)]
    invalid_bp: Annotated[int, Meta(ge=5, le=300)]
    regime: Literal["breakout", "quiet", "range", "shock", "trend"]
    why: str = ""


def committed(buffer: str) -> str:
    """The deciding part of an answer that is still being written, as JSON of its own; "" before it is complete."""
    found = _WHY.search(buffer)
    if found is None or not buffer[: found.start()].strip():
        return ""
    return buffer[: found.start()].rstrip().rstrip(",") + "}"


def decode(text: str) -> Opinion:
    """Raises AnswerError. `text` is the deciding part or a whole answer."""
    if len(text) > LONGEST:
        raise AnswerError("huge", f"the answer is longer than {LONGEST:,} characters")
    twice = [key for key in _KEY.findall(text)]
    if len(twice) != len(set(twice)):
        raise AnswerError("contradictory", "the answer states something twice")
    try:
        opinion = msgspec.json.decode(text.strip().encode(errors="replace"), type=Opinion)
    except msgspec.ValidationError as problem:
        raise AnswerError("malformed", f"the answer does not fit the schema ({clean(str(problem))})") from None
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        raise AnswerError("malformed", "the answer is not the JSON that was asked for") from None
    if opinion.expires_min not in EXPIRIES:
        raise AnswerError("malformed", f"an expiry of {opinion.expires_min} minutes was not offered")
    if opinion.regime == "quiet" and abs(opinion.chance_up - 50) >= 25:
        raise AnswerError("contradictory", f"a quiet market and a chance of {opinion.chance_up}% do not go together")
    return opinion


def clean(text: str, most: int = WHY_LENGTH) -> str:
    """Text of a stranger as one line that any screen can show: no control character, no escape, no bidirectional mark, ASCII."""
    plain = unicodedata.normalize("NFKC", text[: 8 * most])
    letters = "".join(char if " " <= char <= "~" else " " if char.isspace() else "" for char in plain)
    return " ".join(letters.split())[:most].rstrip()


def rationale(buffer: str) -> str:
    """The sentence of `why` as far as it was written, for people."""
    found = _WHY.search(buffer)
    if found is None:
        return ""
    raw = buffer[found.end() :]
    end = re.search(r'(?<!\\)(?:\\\\)*"', raw)
    if end is not None:
        raw = raw[: end.end() - 1]
    raw = re.sub(r"\\(?:u[0-9a-fA-F]{0,4}|.?)", lambda it: _unescaped(it[0]), raw)
    return clean(raw)


def _unescaped(escape: str) -> str:
    if escape[1:2] == "u":
        return chr(int(escape[2:], 16)) if len(escape) == 6 else ""
    return {"n": " ", "t": " ", "r": " ", '"': '"', "\\": "\\", "/": "/"}.get(escape[1:], "")
