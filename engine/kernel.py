"""The mark of a kernel: a plain function over scalars and small arrays, in the subset that numba compiles.

The live core calls kernels as ordinary Python; only the bar backtest compiles them, from the same source.
"""

from collections.abc import Callable
from typing import TypeVar

Function = TypeVar("Function", bound=Callable[..., object])

KERNELS: list[Callable[..., object]] = []


def kernel(function: Function) -> Function:
    """Register `function` for compilation and return it unchanged."""
    KERNELS.append(function)
    return function
