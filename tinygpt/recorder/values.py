"""The numbers in a value: an array, a float, a list of floats, or what holds such: a tuple, a dict, an object, a
closure.

Each stands at a path, the steps that lead there: `(1, "xhat")` in `(out, {"xhat": xhat})`.
"""

import copy
from collections.abc import Iterator
from types import BuiltinMethodType, CellType, FunctionType, MethodType, SimpleNamespace
from typing import Any

import numpy as np

Path = tuple[Any, ...]
ARRAY = "an array"
DEEPEST = 8  # steps of a path: what holds itself ends somewhere


def is_numbers(value: Any) -> bool:
    """Whether a value is one that a derivative can be taken by: floats, neither ids nor a mask."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind == "f" and value.size > 0
    if isinstance(value, list):
        return len(value) > 1 and all(isinstance(number, float | np.floating) for number in value)
    return isinstance(value, float | np.floating)


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """The numbers in a value, each with its path."""
    if is_numbers(value):
        yield path, value
    elif len(path) < DEEPEST:
        for step, part in _parts(value).items():
            yield from leaves(part, (*path, step))


def form(value: Any, backward: bool) -> list[str]:
    """What each thing is that forward or backward returns, as far as the step depends on it."""
    parts = list(value) if isinstance(value, tuple | list) else [value]
    if len(parts) == 2 and not backward:
        return [_form(parts[0]), "a cache"]
    if len(parts) == 1 and isinstance(value, tuple | list):
        return [f"a {type(value).__name__} of one thing"]
    return [_form(part) for part in parts]


def _form(value: Any) -> str:
    if isinstance(value, np.ndarray) and value.ndim:
        return f"{ARRAY} of shape {value.shape}"
    if isinstance(value, float | int | np.number | np.ndarray):
        return "a number"
    return "None" if value is None else f"a {type(value).__name__}"


def taken(value: Any, path: Path) -> Any:
    """What stands at a path of a value."""
    for step in path:
        value = _parts(value)[step]
    return value


def put(value: Any, path: Path, new: Any) -> Any:
    """The value with `new` at a path, where the value itself is changed if it can be."""
    if not path:
        return new
    step, *rest = path
    changed = put(_parts(value)[step], tuple(rest), new)
    if isinstance(value, list | dict):
        value[step] = changed
    elif isinstance(value, tuple):
        return _rebuilt(value, _parts(value) | {step: changed})
    elif isinstance(value, FunctionType):
        next(cell for name, cell in _cells(value) if name == step).cell_contents = changed
    elif not isinstance(value, MethodType | BuiltinMethodType):
        object.__setattr__(value, step, changed)
    return value


def copied(value: Any, depth: int = DEEPEST) -> Any:
    """A value whose numbers stand elsewhere. What cannot come to hold any is itself."""
    if is_numbers(value):
        return copy.copy(value)
    parts = _parts(value) if depth else {}
    copies = {step: copied(part, depth - 1) for step, part in parts.items()}
    if all(copies[step] is part for step, part in parts.items()) and not isinstance(value, list | dict):
        return value
    return _rebuilt(value, copies)


def is_coarse(numbers: Any) -> bool:
    """Whether they are in less than float64."""
    return hasattr(numbers, "dtype") and numbers.dtype.itemsize < 8


def as_array(numbers: Any) -> np.ndarray:
    """Numbers as a float64 array of their own, in C order."""
    return np.array(numbers, dtype=float, order="C")


def like(array: np.ndarray, numbers: Any) -> Any:
    """An array in the form that `numbers` has: a float, a list, an array."""
    if isinstance(numbers, np.ndarray):
        return array
    return array.tolist() if isinstance(numbers, list) or type(numbers) is float else np.float64(array)


def addresses(numbers: Any) -> list[int]:
    """Where each number is in memory, in C order, which views of an array share; of a float, an identity below 0."""
    if isinstance(numbers, list):
        return [-id(number) for number in numbers]
    if not isinstance(numbers, np.ndarray):
        return [-id(numbers)]
    places = np.full(numbers.shape, numbers.__array_interface__["data"][0], dtype=np.int64)
    for axis, (length, stride) in enumerate(zip(numbers.shape, numbers.strides, strict=True)):
        places += (np.arange(length) * stride).reshape([-1 if axis == n else 1 for n in range(numbers.ndim)])
    return places.ravel().tolist()


def written(name: str, path: Path) -> str:
    """What to call the numbers at a path of what is called `name`: xhat, of cache["xhat"]; outs[3], of a list."""
    if path and isinstance(path[-1], str) and path[-1].isidentifier():
        return path[-1]
    return name + "".join(f"[{step!r}]" for step in path)


def _parts(value: Any) -> dict[Any, Any]:
    """What a value holds, by the step that leads there."""
    if isinstance(value, tuple | list):
        return dict(enumerate(value))
    if type(value) is dict:
        return value
    if isinstance(value, FunctionType):
        return {name: cell.cell_contents for name, cell in _cells(value)}
    if isinstance(value, MethodType | BuiltinMethodType):
        return {"__self__": value.__self__} if _holds(value.__self__) else {}
    return vars(value) if _holds(value) and hasattr(value, "__dict__") else {}


def _holds(value: Any) -> bool:
    """Whether it is an object that holds numbers as a cache does: a container, a namespace, or of a reader's class."""
    own = getattr(type(value), "__module__", "").startswith(OWN)
    return type(value) in (dict, list, tuple, SimpleNamespace) or own


OWN = "own part: "  # how the names of readers' modules begin while they are recorded


def _cells(function: FunctionType) -> list[tuple[str, CellType]]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return [(name, cell) for name, cell in cells if cell != CellType()]


def _rebuilt(value: Any, parts: dict[Any, Any]) -> Any:
    """A value of the same kind that holds other parts."""
    if isinstance(value, tuple):
        return type(value)(*parts.values()) if hasattr(value, "_fields") else tuple(parts.values())
    if isinstance(value, list):
        return list(parts.values())
    if type(value) is dict:
        return parts
    if isinstance(value, FunctionType):
        names = value.__code__.co_freevars
        cells = tuple(
            CellType(parts[name]) if name in parts else cell
            for name, cell in zip(names, value.__closure__ or (), strict=True)
        )
        made = FunctionType(value.__code__, value.__globals__, value.__name__, value.__defaults__, cells)
        made.__kwdefaults__ = value.__kwdefaults__
        return made
    if isinstance(value, MethodType | BuiltinMethodType):
        return getattr(parts["__self__"], value.__name__)
    made = copy.copy(value)
    for name, part in parts.items():
        object.__setattr__(made, name, part)
    return made
