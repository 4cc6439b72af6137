"""Kernels in; the bar loop of a strategy, compiled and kept on the disk, out. The only module that imports numba.

numba's own cache looks at one file's time: an edited callee in another file would not be noticed. So its folder is named by a
hash over every kernel's source, the strategy's and this package's, and over the versions of numba and Python.
"""

import hashlib
import inspect
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.extending import register_jitable

from engine.backtest import judges, loop
from engine.kernel import KERNELS
from engine.strategy import Strategy

FOLDERS_KEPT = 8
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy", "no_cfunc_wrapper": True}
AVERAGES = ("ema_12", "ema_26", "macd", "macd_signal", "macd_histogram")
STRENGTH = ("rsi_14",)
WINDOWS = ("sma_20", "sma_50", "bollinger_middle", "bollinger_upper", "bollinger_lower")
GROUPS = (AVERAGES, STRENGTH, WINDOWS)

_registered: set[Callable[..., Any]] = set()
_made: dict[object, Callable[..., Any]] = {}


def compiles(strategy: Strategy) -> bool:
    """Whether the strategy's functions are kernels."""
    return strategy.decide in KERNELS and (strategy.observe is None or strategy.observe in KERNELS)


def reads(function: Callable[..., Any]) -> tuple[bool, bool, bool]:
    """Which groups of indicators a function looks at, itself or in what it calls: the others are not reckoned."""
    names = _names(function, set())
    return tuple(any(name in names for name in group) for group in GROUPS)  # type: ignore[return-value]


def _names(function: Callable[..., Any], known: set[object]) -> set[str]:
    """The attributes that a function reads, with those of the kernels that it calls."""
    if function in known:
        return set()
    known.add(function)
    code = inspect.unwrap(function).__code__
    found = set(code.co_names)
    for name in code.co_names:
        called = function.__globals__.get(name)
        if called in KERNELS:
            found |= _names(called, known)
    return found


def _nothing(p: Any, memory: Any, open: float, high: float, low: float, close: float, volume: float) -> None:
    """`observe` of a strategy that has none."""


def plain(strategy: Strategy, kelly: bool) -> Callable[..., int]:
    """The loop as the interpreter runs it."""
    return loop.loop(strategy.decide, strategy.observe or _nothing, (True, True, True), kelly)


def source_hash(strategy: Strategy | None = None) -> str:
    """Of everything that the compiled code is made from."""
    digest = hashlib.sha256(f"{numba.__version__} {sys.version}".encode())
    files = {inspect.getsourcefile(kernel) or "" for kernel in KERNELS}
    files |= {loop.__file__, judges.__file__, __file__}
    if strategy is not None:
        files.add(inspect.getsourcefile(strategy.decide) or "")
    for file in sorted(files):
        digest.update(Path(file).read_bytes() if file and Path(file).is_file() else file.encode())
    return digest.hexdigest()[:16]


def cache_folder(strategy: Strategy | None = None) -> Path:
    from platformdirs import user_cache_path

    return user_cache_path("barter-tui", appauthor=False) / "kernels" / source_hash(strategy)


def is_cached(strategy: Strategy, kelly: bool) -> bool:
    """Whether a compiled loop lies on the disk already."""
    folder = cache_folder(strategy)
    return folder.is_dir() and any(folder.rglob(f"*{_key(strategy, kelly)}*.nbi"))


def _key(strategy: Strategy, kelly: bool) -> str:
    return f"loop_{strategy.name}_" + "".join("1" if one else "0" for one in (*reads(strategy.decide), kelly))


def compiled(strategy: Strategy, kelly: bool) -> Callable[..., int]:
    """The loop of a strategy whose functions are kernels; the first call compiles it, later ones and processes find it."""
    key = (strategy.decide, strategy.observe, kelly)
    if key not in _made:
        register(strategy)
        run = loop.loop(strategy.decide, strategy.observe or _nothing, reads(strategy.decide), kelly)
        run.__name__ = run.__qualname__ = _key(strategy, kelly)
        _made[key] = _jit(run, strategy)
    return _made[key]


def warm(strategy: Strategy) -> None:
    """Compile what a run with it needs, or find it on the disk, by running it over no bars."""
    from engine.backtest.generated import listing, synthetic
    from engine.backtest.run import Costs, execute
    from engine.config import create_aster_config

    settings, one = create_aster_config(), synthetic(listing("ASTER/USDT:USDT"), 60_000, 0, 1, 1)
    opinions = judges.by_rules(one, settings, 1.0)
    execute(one, strategy, strategy.parameters(), settings, Costs(), opinions, 1.0)


def compiled_judge() -> Callable[..., int]:
    """The pass of the rule judge over bars."""
    if judges.rule_pass not in _made:
        register(None)
        _made[judges.rule_pass] = _jit(judges.rule_pass, None)
    return _made[judges.rule_pass]


def register(strategy: Strategy | None) -> None:
    """Let numba compile kernels where compiled code calls them; they stay plain functions for everybody else."""
    more = [strategy.decide, strategy.observe] if strategy is not None else []
    for function in (*KERNELS, _nothing, *more):
        if function is not None and function not in _registered:
            register_jitable(no_cpython_wrapper=True, **OPTIONS)(function)
            _registered.add(function)


def _jit(function: Callable[..., Any], strategy: Strategy | None) -> Callable[..., Any]:
    folder = cache_folder(strategy)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # whoever can write there has code run
        os.utime(folder)
        _tidy(folder)
        cache = True
    except OSError:
        cache = False  # compiled anew in each process
    numba.config.CACHE_DIR = str(folder)  # type: ignore[attr-defined]
    return numba.njit(cache=cache, **OPTIONS)(function)  # type: ignore[no-any-return]


def _tidy(folder: Path) -> None:
    """Of sources that were edited: the oldest folders go."""
    others = sorted((one for one in folder.parent.iterdir() if one != folder), key=lambda one: one.stat().st_mtime)
    for old in others[: max(0, len(others) - FOLDERS_KEPT + 1)]:
        shutil.rmtree(old, ignore_errors=True)
