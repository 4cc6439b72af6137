"""The declarations in; `config.toml`, the README's table and the phrases of error messages out."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import inspect

from engine.config.declare import Settings

LIST = "indicators"  # tables of their own, not settings with defaults
_BARE = re.compile(r"[\w-]+", re.ASCII)  # a name that TOML takes without quotes
_PLAIN = re.compile(r"[\w./:=-]+")  # a text that needs no quotes in a list of words
_WORDS = re.compile(r"\^\(\w+(\|\w+)*\)\$")  # a pattern that lists words
EXAMPLE = (
    "",
    "# Further indicators, of the Python library `ta`: reckoned at each bar's close by a worker, shown beside the built-in ones.",
    "# Each table names one, its bars (1s or 1m; left out: those that decide), its parameters and a label. None by default.",
    "# [[indicators]]",
    '# name = "RSIIndicator"',
    '# timeframe = "1m"',
    "# parameters = { window = 21 }",
    '# label = "slow RSI"',
)


class Key(msgspec.Struct, frozen=True):
    """One setting as declared. `type` is what `msgspec.convert` takes; `text` whether a bare word may stand for a value."""

    section: str
    name: str
    type: Any
    default: object
    description: str
    expected: str
    text: bool
    listed: bool
    table: bool
    choices: tuple[str, ...]  # where these are all that it may be

    @property
    def dotted(self) -> str:
        return f"{self.section}.{self.name}"

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return f"BARTER_{self.section}_{self.name}".upper()


def sections() -> Iterator[tuple[str, str, tuple[Key, ...]]]:
    """Each section's name, its docstring and its keys, in the order of their declaration."""
    for section in msgspec.structs.fields(Settings):
        if section.name == LIST:
            continue
        keys = tuple(_key(section.name, field) for field in msgspec.structs.fields(section.type))
        yield section.name, (section.type.__doc__ or "").strip(), keys


def render_config() -> str:
    """`config.toml`: every setting, active with its default, under what it means and what it may be."""
    lines = [
        "# Settings of barter-tui, with their defaults. Generated: `python -m engine.config > config.toml`.",
        "# Later wins: defaults, this file, settings.toml beside it, BARTER_<SECTION>_<KEY>, flags.",
        "# Keys and secrets never go in here: they come from the environment, a keyring or a file of their own.",
    ]
    for name, doc, keys in sections():
        lines += ["", f"# {doc}", f"[{name}]"]
        for key in keys:
            value = literal(key.default)
            lines += [f"# {key.description}.", f"# {_capital(key.expected)}; default {value}.", f"{key.name} = {value}"]
    return "\n".join([*lines, *EXAMPLE]) + "\n"


def render_table() -> str:
    """The same as a Markdown table, one row a setting."""
    lines = ["| setting | default | may be | what it does |", "|---|---|---|---|"]
    for _, _, keys in sections():
        lines += [f"| `{key.dotted}` | `{literal(key.default)}` | {key.expected} | {key.description} |" for key in keys]
    return "\n".join(lines) + "\n"


def literal(value: object) -> str:
    """A value as TOML; JSON spells booleans, numbers, plain strings and their lists the same way."""
    return msgspec.json.encode(value).decode()


def typed(key: Key, value: object) -> str:
    """A value as a person types it; read again it is the same."""
    plain = msgspec.to_builtins(value)
    match plain:
        case str():
            return literal(plain) if plain.startswith(('"', "'")) else plain
        case float():
            return repr(plain).removesuffix(".0")
        case list() | tuple() if all(_PLAIN.fullmatch(item) for item in plain):
            return ", ".join(plain)
        case dict():
            pairs = [f"{name if _BARE.fullmatch(name) else literal(name)} = {literal(inner)}" for name, inner in plain.items()]
            return f"{{ {', '.join(pairs)} }}" if pairs else ""
    return literal(plain)


def declaration(kind: Any) -> tuple[inspect.Type, str, str]:
    """A type as it is declared: without its annotation, what it means, and what a value may be, as it reads after "Expected"."""
    declared = inspect.type_info(kind)
    described = ""
    if isinstance(declared, inspect.Metadata):
        described = str((declared.extra_json_schema or {}).get("description", ""))
        declared = declared.type
    return declared, described, _expected(declared)


def _key(section: str, field: msgspec.structs.FieldInfo) -> Key:
    declared, described, expected = declaration(field.type)
    return Key(
        section=section,
        name=field.name,
        type=field.type,
        default=field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory(),
        description=described,
        expected=expected,
        text=isinstance(declared, inspect.StrType | inspect.EnumType),
        listed=isinstance(declared, inspect.VarTupleType),
        table=isinstance(declared, inspect.DictType),
        choices=_choices(declared),
    )


def _choices(declared: inspect.Type) -> tuple[str, ...]:
    match declared:
        case inspect.BoolType():
            return ("true", "false")
        case inspect.EnumType(cls=cls):
            return tuple(str(member.value) for member in cls)
        case inspect.StrType(pattern=str(pattern)) if _WORDS.fullmatch(pattern):
            return tuple(pattern[2:-2].split("|"))
    return ()


def _expected(declared: inspect.Type) -> str:
    match declared:
        case inspect.BoolType():
            return "true or false"
        case inspect.IntType():
            return "a whole number" + _range(declared)
        case inspect.FloatType():
            return "a number" + _range(declared)
        case inspect.EnumType(cls=cls):
            return _one_of([str(member.value) for member in cls])
        case inspect.StrType(pattern=str(pattern)) if pattern.startswith("^(") and pattern.endswith(")$"):
            return _one_of(pattern[2:-2].split("|"))
        case inspect.DictType(value_type=inspect.VarTupleType()):
            return "a table of lists of texts"
        case inspect.DictType():
            return "a table of texts"
        case inspect.StrType():
            return "text"
        case inspect.VarTupleType(min_length=least):
            return f"a list of at least {least} text{'s' if least > 1 else ''}" if least else "a list of texts"
    raise TypeError(f"a setting of this type has no words in config.toml yet: {declared}")


def _range(number: inspect.IntType | inspect.FloatType) -> str:
    if number.ge is not None and number.le is not None:
        return f" from {number.ge} to {number.le}"
    low = f" above {number.gt}" if number.gt is not None else f" of at least {number.ge}" if number.ge is not None else ""
    high = f" below {number.lt}" if number.lt is not None else f" at most {number.le}" if number.le is not None else ""
    return low + (" and" if low and high else "") + high


def _one_of(words: list[str]) -> str:
    return "one of " + ", ".join(words)


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
