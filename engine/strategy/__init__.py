"""What is known at a bar's close in; whether to enter, leave or wait, and why, out.

A strategy is two kernels and a table of parameters. `decide` looks at `Now` and answers; `observe`, where it needs more than the
built-in indicators, keeps its own figures in a list of floats. The live core calls them as they are; the bar backtest compiles
them where they are kernels, and runs them as they are, slower, where they are not.
"""

import importlib
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from importlib.metadata import entry_points
from typing import Annotated, Any, NamedTuple, get_type_hints

import msgspec
from msgspec import Meta, inspect

from engine.config import StrategySettings, declaration
from engine.errors import ConfigError

__all__ = ["ENTER_LONG", "ENTER_SHORT", "GROUP", "LEAVE", "NOTHING", "Meta", "Now", "Strategy", "chosen", "find", "parameters_of"]

NOTHING, ENTER_LONG, ENTER_SHORT, LEAVE = 0, 1, -1, 2
GROUP = "barter_tui.strategies"  # of entry points
MEMORY_LIMIT = 100_000  # floats
BUILT_IN = ("stance", "reversion", "breakout")

Memory = list[float]


class Now(NamedTuple):
    """What a strategy may look at, at a bar's close. Prices in quote units, NaN while a figure warms up."""

    open: float
    high: float
    low: float
    close: float
    volume: float  # base units
    sma_20: float
    sma_50: float
    ema_12: float
    ema_26: float
    rsi_14: float
    macd: float
    macd_signal: float
    macd_histogram: float
    bollinger_middle: float
    bollinger_upper: float
    bollinger_lower: float
    atr_14: float
    position: int  # 1 long, -1 short, 0 flat
    cooling: bool  # a position was closed a moment ago: `[strategy] cooldown_bars`
    cost_bps: float  # of going in and out at market
    judged: bool  # there is a valid judgment, which says:
    stance: int  # 1 long, -1 short, 0 to hold
    confidence: float
    risk_score: float
    move_bps: float  # how far it expects the price to go, 0 where it does not say
    min_confidence: float  # `[judgment]`, with the next two
    max_risk_score: float
    cost_factor: float


class Strategy(NamedTuple):
    """`parameters` is a NamedTuple of ints and floats, each with a default and an Annotated Meta of range and description.

    `decide(p, memory, now)` returns one of NOTHING, ENTER_LONG, ENTER_SHORT and LEAVE, with the number of the sentence in `words`
    that says why (`{now.close}` and `{p.bars}` are filled in). `observe(p, memory, open, high, low, close, volume)` sees every
    closed bar just before; `memory(p)` is how many floats it needs, all 0 at first and after a hole in the bars.
    """

    name: str
    about: str
    parameters: Any  # the NamedTuple's class
    decide: Callable[..., tuple[int, int]]
    words: tuple[str, ...]
    observe: Callable[..., None] | None = None
    memory: Callable[[Any], int] | None = None
    follows: bool = False  # it acts on judgments alone: their age, size and doubts are its limits too

    def size(self, parameters: Any) -> int:
        """Floats of memory. Raises ConfigError where it is out of bounds."""
        floats = self.memory(parameters) if self.memory is not None else 0
        if not 0 <= floats <= MEMORY_LIMIT:
            raise ConfigError("strategy", self.name, f"it wants {floats} floats of memory", f"at most {MEMORY_LIMIT}")
        return max(floats, 1)

    def sentence(self, word: int, parameters: Any, now: Now) -> str:
        if not 0 <= word < len(self.words):
            return f"{self.name} gave no reason"
        return self.words[word].format(p=parameters, now=now)


class Parameter(NamedTuple):
    """One parameter as it is declared."""

    name: str
    kind: type
    default: float
    description: str
    least: float
    most: float
    expected: str


def parameters_of(strategy: Strategy) -> tuple[Parameter, ...]:
    """The declared parameters, in their order. Raises ConfigError for a declaration that is none."""
    kinds = get_type_hints(strategy.parameters, include_extras=True)
    found = []
    for name in strategy.parameters._fields:
        default = strategy.parameters._field_defaults.get(name)
        try:
            read, description, expected = declaration(kinds[name])
        except TypeError:
            read, description, expected = None, "", ""
        if not isinstance(read, inspect.IntType | inspect.FloatType) or default is None:
            raise ConfigError("strategy", f"{strategy.name}.{name}", "it is declared badly", "an int or float with a default")
        least = read.ge if read.ge is not None else read.gt if read.gt is not None else -math.inf
        most = read.le if read.le is not None else read.lt if read.lt is not None else math.inf
        kind = int if isinstance(read, inspect.IntType) else float
        found.append(Parameter(name, kind, default, description, least, most, expected))
    return tuple(found)


def parameters(strategy: Strategy, given: Mapping[str, object], where: str = "strategy.parameters") -> Any:
    """The strategy's parameters with those `given`, numbers or texts of numbers. Raises ConfigError naming the one at fault."""
    declared = {one.name: one for one in parameters_of(strategy)}
    values: dict[str, float] = {}
    for name, value in given.items():
        if (one := declared.get(name)) is None:
            known = ", ".join(declared) or "none: it has no parameters"
            raise ConfigError(where, name, f"{strategy.name} has no such parameter", known)
        try:
            hint = get_type_hints(strategy.parameters, include_extras=True)[name]
            values[name] = msgspec.convert(value, hint, strict=not isinstance(value, str))
        except msgspec.ValidationError:
            raise ConfigError(where, name, f"{value!r} is no value of it", one.expected) from None
        if not math.isfinite(values[name]):
            raise ConfigError(where, name, f"{value!r} is not finite", one.expected)
    return strategy.parameters(**values)


def find(name: str) -> Strategy:
    """A built-in strategy, one that an installed package offers as an entry point, or `module:name`. Raises ConfigError."""
    module, _, attribute = name.partition(":")
    if not attribute:
        if name in BUILT_IN:
            return _loaded(f"engine.strategy.{name}", "STRATEGY", name)
        for point in entry_points(group=GROUP, name=name):
            return _checked(point.load(), name)
        known = ", ".join((*BUILT_IN, *sorted(point.name for point in entry_points(group=GROUP))))
        raise ConfigError("strategy", name, "there is no such strategy", f"one of {known}, or your own as module:name")
    return _loaded(module, attribute, name)


def _loaded(module: str, attribute: str, name: str) -> Strategy:
    if "" not in sys.path:  # the command is installed: what lies in the current folder is not found by itself
        sys.path.append("")
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except Exception as problem:  # somebody else's code: whatever it raises is told
        text = f"{module} cannot be imported ({type(problem).__name__}: {problem})"
        raise ConfigError("strategy", name, text, "a module that Python finds") from None
    if found is None:
        raise ConfigError("strategy", name, f"{module} has no {attribute}", "module:name of a Strategy")
    return _checked(found, name)


def _checked(found: object, name: str) -> Strategy:
    if not isinstance(found, Strategy):
        raise ConfigError("strategy", name, f"it is a {type(found).__name__}", "an engine.strategy.Strategy")
    parameters_of(found)
    return found


@lru_cache(maxsize=64)
def _chosen(name: str, given: tuple[str, ...]) -> tuple[Strategy, Any]:
    strategy = find(name)
    return strategy, parameters(strategy, assignments(given))


def chosen(settings: StrategySettings) -> tuple[Strategy, Any]:
    """The strategy of the settings and its parameters. Raises ConfigError."""
    return _chosen(settings.name, settings.parameters)


def assignments(given: Sequence[str], where: str = "strategy.parameters") -> dict[str, str]:
    """`name=value` texts as a table. Raises ConfigError."""
    found: dict[str, str] = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise ConfigError(where, text, "this is no assignment", "name=value")
        found[name.strip()] = value.strip()
    return found


# What the built-in strategies share.
Heeding = Annotated[int, Meta(ge=0, le=2, description="Judgments: 0 are ignored, 1 forbid entries against them, 2 are needed")]
