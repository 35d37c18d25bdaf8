"""Arrays of other libraries on their way to NumPy and back. No library is imported here: whoever has arrays did."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygpt.gradcheck import arrays

Change = Callable[[Any], Any]


def library(x: Any) -> str:
    """ "torch" or "jax" if that is whose arrays a value is or holds; "" if it is neither's."""
    if isinstance(x, Mapping):
        return next(filter(None, map(library, x.values())), "")
    if isinstance(x, tuple | list):
        return next(filter(None, map(library, x)), "")
    return arrays.library(x)


def is_array(x: Any) -> bool:
    """Whether it is NumPy's array, or PyTorch's."""
    return isinstance(x, np.ndarray) or library(x) == "torch" and not isinstance(x, Mapping | tuple | list)


def is_float(x: Any) -> bool:
    """Whether it is an array of floats."""
    return is_array(x) and (x.dtype.kind == "f" if isinstance(x, np.ndarray) else bool(x.dtype.is_floating_point))


def shape(x: Any) -> tuple[int, ...]:
    """Of an array of any library, a list or a number."""
    return tuple(x.shape) if hasattr(x, "shape") else np.shape(x)


def to_numpy(x: Any) -> Any:
    """A copy of a tensor as NumPy's array, and of what holds some; anything else as it is."""
    if isinstance(x, Mapping | tuple | list):
        return changed(x, to_numpy) if library(x) else x
    return np.array(arrays.native(x)) if library(x) else x


def to_library(kind: str) -> Change:
    """What makes NumPy's arrays those of a library, in the same precision."""
    if not kind:
        return lambda x: x
    module: Any = sys.modules[kind] if kind == "torch" else sys.modules["jax"].numpy
    make = module.tensor if kind == "torch" else module.asarray

    def convert(x: Any) -> Any:
        if isinstance(x, Mapping | tuple | list):
            return changed(x, convert)
        return make(x) if isinstance(x, np.ndarray) else x

    return convert


def changed(x: Any, change: Change) -> Any:
    """What a dict, tuple or list holds, changed."""
    if isinstance(x, Mapping):
        return {name: change(value) for name, value in x.items()}
    return type(x)(*map(change, x)) if hasattr(x, "_fields") else type(x)(map(change, x))


@contextlib.contextmanager
def in_double(kind: str) -> Iterator[None]:
    """Where a library computes in float64 only if it is told to, it is told."""
    config = sys.modules["jax"].config if kind == "jax" else None
    before = config and config.jax_enable_x64
    if config:
        config.update("jax_enable_x64", True)
    try:
        yield
    finally:
        if config:
            config.update("jax_enable_x64", before)
