"""What an object holds, and copies of it that hold something else: `copy.deepcopy`, told what stands for each array."""

import copy
import types
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from tinygpt.errors import UserError
from tinygpt.gradcheck.adapters.libraries import is_array, is_float
from tinygpt.gradcheck.adapters.names import RATES, VALUES, plain

DEPTH = 8  # of objects within objects
Path = tuple[Any, ...]  # the names of attributes, the keys of dicts and the numbers of lists on the way


def walk(thing: Any) -> Iterator[tuple[Path, Any]]:
    """All that an object holds, in attributes, dicts, lists and objects in it, the nearest first; an object once, and
    arrays and numbers wherever they are.
    """
    queue: deque[tuple[Path, Any]] = deque([((), thing)])
    seen = set()
    while queue:
        path, x = queue.popleft()
        yield path, x
        if not is_array(x) and id(x) not in seen and len(path) <= DEPTH:
            seen.add(id(x))
            queue += [((*path, key), value) for key, value in within(x)]


def held(thing: Any) -> Iterator[tuple[Path, Any]]:
    """Every array of floats that an object holds."""
    return ((path, x) for path, x in walk(thing) if is_float(x))


def within(x: Any) -> Iterator[tuple[Any, Any]]:
    """What a dict, a list or an object holds, each under its key, number or name."""
    if isinstance(x, Mapping):
        yield from x.items()
    elif isinstance(x, tuple | list):
        yield from enumerate(x)
    elif not isinstance(x, type | types.ModuleType | types.FunctionType | np.generic | np.random.Generator):
        yield from getattr(x, "__dict__", {}).items()
        for kind in type(x).__mro__:
            names = vars(kind).get("__slots__", ())
            for name in (names,) if isinstance(names, str) else names:
                if name not in ("__dict__", "__weakref__") and hasattr(x, name):
                    yield name, getattr(x, name)


def at(thing: Any, path: Path) -> Any:
    """What an object holds at a path; None if nothing."""
    for key in path:
        thing = dict(within(thing)).get(key)
    return thing


def copied(thing: Any, instead: Mapping[int, Any]) -> Any:
    """A copy of an object and all that it holds. instead: what stands for the things with those ids. Raises UserError
    if it holds what cannot be copied.
    """
    memo = dict(instead) | {id(x): x for _, x in walk(thing) if isinstance(x, types.ModuleType)}
    try:
        made = copy.deepcopy(thing, memo)
    except TypeError as error:
        raise UserError(
            f"{type(thing).__name__} cannot be copied: {error}; each call needs an object of its own, so keep what "
            f"cannot be copied outside of it"
        ) from None
    _rebind(made, memo)
    return made


def _rebind(thing: Any, memo: Mapping[int, Any]) -> None:
    """Have functions that an object holds, and that were made with what it holds, use the copies of that."""
    for path, x in list(walk(thing)):
        cells = getattr(x, "__closure__", None) if isinstance(x, types.FunctionType) else None
        copies = [memo.get(id(cell.cell_contents), cell.cell_contents) for cell in cells or ()]
        if any(a is not cell.cell_contents for a, cell in zip(copies, cells or (), strict=True)):
            closure = tuple(map(types.CellType, copies))
            bound = types.FunctionType(x.__code__, x.__globals__, x.__name__, x.__defaults__, closure)
            bound.__kwdefaults__ = x.__kwdefaults__
            put(thing, path, bound)


def named(path: Path, whole: bool = False) -> str:
    """What an array at a path is called: its last name, and the numbers after it, or the whole way to it."""
    path = path[:-1] if len(path) > 1 and plain(path[-1]) in VALUES else path
    start = 0 if whole else max([n for n, key in enumerate(path) if isinstance(key, str)], default=0)
    return "".join(f"[{key}]" if isinstance(key, int) else f".{key}" for key in path[start:]).removeprefix(".")


def rate(thing: Any) -> tuple[Path, float]:
    """Where an object holds a learning rate, and that; () and 0 if nowhere."""
    for path, x in walk(thing):
        if path and plain(path[-1]) in RATES - {"alpha"} and type(x) in (int, float) and x:
            return path, float(x)
    return (), 0.0


def put(thing: Any, path: Path, value: Any) -> None:
    """Have an object hold something else at a path."""
    holder = at(thing, path[:-1])
    if isinstance(holder, dict | list):
        holder[path[-1]] = value
    else:
        setattr(holder, path[-1], value)
