"""A real message and dice in; the message with a few things wrong in it out: values replaced within it, or its bytes damaged."""

import copy
import json
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import msgspec

MOST_CHANGES = 3
DEEP = 3_000
# Texts of JSON values that nobody should send.
NASTY = (
    "null", "true", "0", "-1", "1", "-0.0", "1e308", "-1e308", "1e400", "1e-400", "0.1", "1.5", "9007199254740993",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616", "-9223372036854775809",
    "1" + "0" * 400,
    '""', '"0"', '"-1"', '"NaN"', '"nan"', '"sNaN"', '"Infinity"', '"-Infinity"', '"1e30"', '"1e308"', '"-1e308"',
    '"1e400"', '"1e999990"', '"-1e999990"', '"1e-999990"', '"1e999999999"', '"0e999999999"', '"9223372036854775807"',
    '"9223372036854775808"', '"18446744073709551616"', '"-9223372036854775809"', '"' + "9" * 5_000 + '"',
    '"0.' + "0" * 300 + '1"',
    '"1_0"', '" 1"', '"\\u0661"', '"\\u00b2"', '"\\ud800"', '"\\u0000"', '"\\u001b[2J\\u202e"',
    '"x"', '"' + "x" * 20_000 + '"', "[]", "{}", "[[]]",
    '[{"a":[]}]', "[" * DEEP + "]" * DEEP, "00", "tru", '"',
)  # fmt: skip
WORDS = tuple(text.strip('"').encode() for text in NASTY)
# The same for formats whose values are Python's.
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 0.5, -0.0, 1e308, -1e308, float("nan"),
    float("inf"), "", "x", "NaN", "1e999990", "\x00", "x" * 20_000, b"", b"\xff", [], {}, [[]], {"a": []},
)  # fmt: skip


class Dice(Protocol):
    def __call__(self, sides: int) -> int:
        """A number from 0 to `sides` - 1."""


class Form(NamedTuple):
    """How a format is taken apart and put together, and what may be put into it."""

    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    values: tuple[Any, ...]


JSON = Form(
    lambda raw: json.loads(raw),
    lambda tree: msgspec.json.encode(tree),
    tuple(msgspec.Raw(text.encode()) for text in NASTY),
)
MSGPACK = Form(lambda raw: msgspec.msgpack.decode(raw), lambda tree: msgspec.msgpack.encode(tree), VALUES)


def mutated(seeds: Sequence[bytes], form: Form | None, dice: Dice) -> bytes:
    """One of the seeds, changed up to `MOST_CHANGES` times."""
    raw = seeds[dice(len(seeds))]
    if form is not None and dice(4):
        try:
            tree = form.read(raw)
        except (ValueError, RecursionError):
            tree = None
        if isinstance(tree, dict | list):
            for _ in range(1 + dice(MOST_CHANGES)):
                change(tree, form.values, dice)
            try:
                return form.write(tree)
            except (ValueError, TypeError, OverflowError, RecursionError):
                pass
    for _ in range(dice(1 + MOST_CHANGES)):
        raw = damaged(raw, seeds, dice)
    return raw


def slots(tree: Any) -> list[tuple[Any, Any]]:
    """Every place in it that holds a value: a container and its key."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        one = waiting.pop()
        keys = list(one) if isinstance(one, dict) else range(len(one))
        for key in keys:
            found.append((one, key))
            if isinstance(one[key], dict | list):
                waiting.append(one[key])
    return found


def change(tree: Any, values: Sequence[Any], dice: Dice) -> None:
    """One value of the tree is replaced, taken out, doubled, or put where another one was."""
    places = slots(tree)
    if not places:
        return
    holder, key = places[dice(len(places))]
    what = dice(8)
    if what < 4:
        holder[key] = copy.deepcopy(values[dice(len(values))])  # it may be changed in its turn
    elif what == 4:
        other, there = places[dice(len(places))]
        if not isinstance(other[there], dict | list):  # nothing may hold itself
            holder[key] = other[there]
    elif what == 5:
        del holder[key]
    elif what == 6 and isinstance(holder, list):
        holder.extend(holder[key : key + 1] * (1 + dice(4)))
    else:
        holder[key] = _near(holder[key], dice)


def _near(value: Any, dice: Dice) -> Any:
    """A number that is a little, or a lot, another one; of anything else a list of it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return (value + 1, value - 1, -value, value * 1000, str(value))[dice(5)]
    if isinstance(value, float):
        return (value * 1.0001, -value, value * 1e9, str(value))[dice(4)]
    if isinstance(value, str) and value.lstrip("-").replace(".", "", 1).isdecimal():
        return ("-" + value, value + "1", value + "000000", "0", value.replace(".", ""))[dice(5)]
    return [value]


def damaged(raw: bytes, seeds: Sequence[bytes], dice: Dice) -> bytes:
    """The bytes with one thing wrong."""
    place = dice(len(raw) + 1)
    match dice(6):
        case 0 if place < len(raw):
            return raw[:place] + bytes((raw[place] ^ (1 << dice(8)),)) + raw[place + 1 :]
        case 1:
            return raw[:place]
        case 2:
            return raw[:place] + raw[place + 1 + dice(16) :]
        case 3:
            return raw[:place] + WORDS[dice(len(WORDS))] + raw[place + dice(8) :]
        case 4:
            other = seeds[dice(len(seeds))]
            return raw[:place] + other[dice(len(other) + 1) :]
        case _:
            return raw[:place] + bytes(dice(256) for _ in range(1 + dice(4))) + raw[place:]
