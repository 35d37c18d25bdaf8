"""Whether two values are the same, and in which way they are not: the shape, the sign, a factor."""

from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np

TOLERANCES = {2: 1e-2, 4: 1e-4, 8: 1e-7}  # by the bytes of the less exact of two numbers; of the largest entry
LONG = 20  # characters of a text that is said in full
NOTHING = {2: 1e-3, 4: 1e-6, 8: 1e-12}  # what a sum that is zero may come to


@dataclass(frozen=True)
class Unlike:
    """A sentence, and how far from right what it says is: 0 for a wrong sign, 3 for other numbers."""

    far: int
    text: str


def same(value: Any, expected: Any) -> bool:
    """Whether two values are equal, arrays and numbers up to rounding, and all that lists and dictionaries hold."""
    if isinstance(expected, dict):
        return (
            isinstance(value, dict)
            and value.keys() == expected.keys()
            and all(same(value[key], expected[key]) for key in expected)
        )
    if isinstance(expected, list | tuple):
        is_like = isinstance(value, list | tuple) and len(value) == len(expected)
        return is_like and all(same(*pair) for pair in zip(value, expected, strict=True))
    numbers, other = numbers_of(value), numbers_of(expected)
    if numbers is None or other is None:
        return value is expected or (type(value) is type(expected) and bool(value == expected))
    return numbers.shape == other.shape and _near(numbers, other)


def unlike(name: str, value: Any, expected: Any) -> Unlike:
    """What tells a value from the expected one."""
    numbers, other = numbers_of(value), numbers_of(expected)
    if numbers is None or other is None:
        return _of_other_kind(name, value, expected)
    if numbers.shape != other.shape:
        shapes = f"{name} has the shape {numbers.shape}, and {other.shape} is expected."
        if numbers.size == other.size and _near(numbers.reshape(other.shape), other):
            return Unlike(0, f"The numbers are right, but {shapes}")
        if _spreads(numbers, other):
            return Unlike(0, f"The numbers are right, but are still to be spread: {shapes}")
        return _transposed(name, numbers, other) or Unlike(2, shapes)
    if _near(-numbers, other):
        return Unlike(0, f"The sign of {name} is the wrong one.")
    if transposed := _transposed(name, numbers, other):
        return transposed
    if factor := _factor(numbers, other):
        times = _digits(factor, 1.0)[0]
        return Unlike(1, f"{name} is wrong by a constant factor: it is {times} times what is expected.")
    wrong = ~_near_each(numbers, other)
    if numbers.ndim == 0:
        return Unlike(3, f"{name} is {_told(value, expected)} is expected.")
    place = tuple(int(axis) for axis in np.argwhere(wrong)[0])
    return Unlike(
        3,
        f"{name} is wrong in {wrong.sum()} of {wrong.size} entries, such as [{', '.join(map(str, place))}]: it is "
        f"{_told(np.asarray(value)[place], np.asarray(expected)[place], ' there')} is expected.",
    )


def _of_other_kind(name: str, value: Any, expected: Any) -> Unlike:
    """What tells two values that are not both numbers."""
    if type(value) is type(expected) and isinstance(value, tuple | list | dict) and len(value) == len(expected):
        keys = list(expected) if isinstance(expected, dict) else range(len(expected))
        if not isinstance(value, dict) or value.keys() == expected.keys():
            wrong = next(key for key in keys if not same(value[key], expected[key]))
            return unlike(f"{name}[{wrong!r}]", value[wrong], expected[wrong])
    is_, be = _kind(value), _kind(expected)
    if is_ == be:
        return Unlike(3, f"{name} is {is_}, and another is expected.")
    return Unlike(3, f"{name} is {is_}, and {be} is expected.")


def _kind(value: Any) -> str:
    """What a value is, as one would say it: "an array (5, 7)", "a tuple of 2"."""
    if isinstance(value, np.ndarray):
        return f"an array {value.shape}"
    if value is None or value is Ellipsis:
        return str(value)
    if isinstance(value, bool | np.bool_):
        return str(value)
    if numbers_of(value) is not None:
        return f"the number {value + 0.0:.4g}"
    if isinstance(value, str):
        return repr(value) if len(value) <= LONG else "a str"
    if callable(value):
        return "a function"
    size = f" of {len(value)}" if hasattr(value, "__len__") else ""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}{size}"


def _transposed(name: str, numbers: np.ndarray, other: np.ndarray) -> Unlike | None:
    """That one array is the other with its axes in another order, if it is."""
    own = tuple(range(numbers.ndim))
    for axes in permutations(own) if 1 < numbers.ndim == other.ndim <= 4 else ():
        turned = numbers.transpose(axes)
        if axes != own and turned.shape == other.shape and _near(turned, other):
            if numbers.ndim == 2:
                return Unlike(0, f"{name} is the transpose of what is expected.")
            return Unlike(0, f"The axes of {name} are in another order: {name}.transpose{axes} is expected.")
    return None


def _spreads(numbers: np.ndarray, other: np.ndarray) -> bool:
    """Whether broadcasting makes one array of the other."""
    try:
        return _near(np.broadcast_to(numbers, other.shape), other)
    except ValueError:
        return False


def _told(number: Any, other: Any, where: str = "") -> str:
    """Two different numbers, with so many digits that one sees it; a truth value by its name."""
    first, second = _digits(number, other)
    return f"{first}{where}, and {second}"


def _digits(number: Any, other: Any) -> list[str]:
    """Two numbers in so many digits that they differ, none of them a zero with a sign."""
    for digits in (4, 7, 10, 17):
        said = [_written(one, digits) for one in (number, other)]
        if said[0] != said[1]:
            break
    return said


def _written(number: Any, digits: int) -> str:
    return str(bool(number)) if np.asarray(number).dtype == bool else f"{number + 0.0:.{digits}g}"


def numbers_of(value: Any) -> np.ndarray | None:
    """A value as an array, if it is one of numbers."""
    if not isinstance(value, np.ndarray | np.generic | int | float | complex):
        return None
    array = np.asarray(value)
    if array.dtype.kind in "bui":
        return array.astype(np.float64)
    return array if array.dtype.kind in "fc" else None


def _near_each(numbers: np.ndarray, other: np.ndarray) -> np.ndarray:
    size = min(array.dtype.itemsize if array.dtype.kind == "f" else 8 for array in (numbers, other))
    finite = np.abs(other[np.isfinite(other)])
    scale = float(finite.max()) if finite.size else 0.0
    size = min(size, 8)
    wide = numbers.astype(np.result_type(numbers, np.float64)), other.astype(np.result_type(other, np.float64))
    return np.isclose(*wide, rtol=0, atol=TOLERANCES[size] * scale + NOTHING[size], equal_nan=True)


def _near(numbers: np.ndarray, other: np.ndarray) -> bool:
    return bool(_near_each(numbers, other).all())


def _factor(numbers: np.ndarray, other: np.ndarray) -> float:
    """By which number one array is the other; 0 if there is none."""
    square = float((other.astype(float) ** 2).sum())
    if not np.isfinite(numbers).all() or not square or not np.isfinite(square):
        return 0.0
    factor = float((numbers.astype(float) * other).sum()) / square
    return factor if numbers.size > 1 and factor and _near(numbers / factor, other) else 0.0
