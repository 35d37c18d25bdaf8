"""What a check leaves out: arrays that forward computes with, though they are no inputs."""

import contextlib
import functools
import inspect
import itertools
import types
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np

from tinygpt.gradcheck.arrays import holds_floats, is_array, is_float, library, native
from tinygpt.gradcheck.trees import is_tree, leaves, written

MOST = 64  # arrays that are tried
DEEP = 6  # objects and containers, one within the other, that are looked into
PLAIN = (str, bytes, int, type(None), type, types.ModuleType, np.random.Generator, np.dtype)


def held(forward: Callable, inputs: Any) -> dict[str, np.ndarray]:
    """Arrays of floats by name: in objects among the inputs, in forward's own object, and in its closure."""
    found: dict[str, np.ndarray] = {}
    seen: dict[int, Any] = {}
    for path, x in leaves(inputs):
        if not (is_array(x) or library(x)):
            _collect(x, written(path), found, DEEP, seen)
    _collect(forward, "", found, DEEP, seen)
    return found


def _collect(x: Any, name: str, found: dict[str, np.ndarray], deep: int, seen: dict[int, Any]) -> None:
    if len(found) >= MOST or isinstance(x, PLAIN) or deep < 0 or id(x) in seen:
        return
    seen[id(x)] = x
    if library(x) == "torch" and x.device.type == "cpu":
        x = native(x)  # of the same memory
    if is_float(x):
        if isinstance(x, np.ndarray) and x.size and x.flags.writeable:
            found[name] = x
        return
    for part, value in _parts(x):
        place = part if part.startswith("[") or not name or not part else f".{part}"
        _collect(value, name + place, found, deep - 1, seen)


def _parts(x: Any) -> Iterator[tuple[str, Any]]:
    """What is in an object, with names: the items of a tree, what a function was made with, an object's attributes."""
    if is_tree(x):
        items = x.items() if isinstance(x, Mapping) else enumerate(x)
        yield from ((written((key,)), value) for key, value in itertools.islice(items, 1000))
    elif isinstance(x, functools.partial):
        yield from x.keywords.items()
        yield from (("", value) for value in (*x.args, x.func))
    elif inspect.ismethod(x):
        yield "", x.__self__
    elif inspect.isfunction(x):
        for name, cell in zip(x.__code__.co_freevars, x.__closure__ or (), strict=False):
            with contextlib.suppress(ValueError):  # of a name that has no value yet
                yield name, cell.cell_contents
        for name in x.__code__.co_names:  # and arrays of its module, by name; functions and objects are another matter
            if holds_floats(value := x.__globals__.get(name)):
                yield name, value
    elif isinstance(getattr(x, "__dict__", None), dict):
        yield from ((name.removeprefix("_"), value) for name, value in list(vars(x).items()))


def matters(x: np.ndarray, unmoved: Callable[[], bool]) -> bool:
    """Whether forward's output depends on an array: it is moved a little, and put back as it was."""
    kept = x.copy()
    try:
        x += np.where(np.isfinite(x), (np.abs(x) + 1e-3) * 1e-3, 0).astype(x.dtype)
        return not unmoved()
    except Exception:  # a forward that cannot take it: nothing can be said
        return False
    finally:
        x[...] = kept
