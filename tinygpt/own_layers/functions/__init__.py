"""A file a function that is no layer, found by its name: the calls it is held to, and the mistakes it is made with.

- DEFINITION: the engine's own. The file's name is the function's, or says more.
- calls(rng): what it is called with, the numbers drawn by a seed (see `Call`).
- MISTAKES: rows of what is wrong, as one would tell its author, and edits (see `gradcheck.edits`) of the module that
  the engine's own stands in. Where the results are those of one of them in every call, the mistake has a name.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple, TypeAlias

import numpy as np


class Call(NamedTuple):
    """One call of the function. Each side gets copies of its arguments."""

    title: str
    arguments: tuple


Calls: TypeAlias = Iterator[Call]


class Uniform:
    """Stands in for a NumPy Generator where numbers between 0 and 1 are drawn: it gives those that it was made of."""

    LENT = "random", "uniform"  # what a file in a process of its own may call, and what it is told of all else
    OTHERWISE = "rng.{name} is not what draws here: take one number for each row from rng.random"

    def __init__(self, *numbers: float):
        self.numbers = list(numbers)

    def uniform(self, low: float = 0.0, high: float = 1.0, size: Any = None) -> Any:
        return low + (high - low) * self.random(size)

    def random(self, size: Any = None, dtype: Any = np.float64) -> Any:
        count = int(np.prod(size)) if size is not None else 1
        drawn, self.numbers = self.numbers[:count], self.numbers[count:]
        if len(drawn) < count:
            raise IndexError(f"rng.random was asked for more than one number for each row, {count} at once")
        return np.array(drawn).reshape(size) if size is not None else drawn[0]

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(self.OTHERWISE.format(name=name))
