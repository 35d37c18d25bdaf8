"""Where the numbers of a step are in memory, by which each is known again wherever it turns up."""

import bisect
from collections.abc import Mapping
from typing import Any

import numpy as np

from tinygpt.recorder.derivatives import CONSTANT, NOBODY
from tinygpt.recorder.recording import Array, Terms
from tinygpt.recorder.values import addresses, as_array, is_numbers, leaves


class Memory:
    """The arrays so far. An element is known by its address in memory, which a view shares; arrays are kept alive, so
    that none is used twice. Every element has a number of its own, in the order in which the arrays came.
    """

    def __init__(self) -> None:
        self.arrays: list[Array] = []
        self.overwrites = False  # whether a function writes into what another one made
        self._numbers: dict[int, int] = {}  # of an element's address its number
        self._starts: list[int] = []  # of each array, the number of its first element
        self._values: list[float] = []  # by number
        self._constants: set[int] = set()  # addresses
        self._alive: list[Any] = []

    def constants(self, names: Mapping[str, Any]) -> None:
        """What a module holds before the step."""
        for name, value in names.items():
            given = [value, *(getattr(value, "__defaults__", None) or ()), *_of_keywords(value)]
            for _, numbers in leaves(given) if not name.startswith("__") else ():
                self._constants.update(self._kept(numbers))

    def known(self, value: Any) -> Array | None:
        """The array whose elements these are, all of them, in order, with the values that it had."""
        if not is_numbers(value):
            return None
        sources = self._source(value)
        if sources[0] < 0:
            return None
        start = int(sources[0])
        array = self._array_of(start)
        whole = np.arange(start, start + array.values.size)
        if self._starts[array.id] != start or not np.array_equal(sources, whole):
            return None
        return array if np.array_equal(array.values.ravel(), as_array(value).ravel(), equal_nan=True) else None

    def _array_of(self, number: int) -> Array:
        """The array that an element is of."""
        return self.arrays[bisect.bisect_right(self._starts, number) - 1]

    def _source(self, numbers: Any) -> np.ndarray:
        """Of each element, in C order, its number, or NOBODY, or CONSTANT."""
        kinds, constants = self._numbers, self._constants
        return np.array([kinds.get(a, CONSTANT if a in constants else NOBODY) for a in addresses(numbers)], np.int64)

    def parameter(self, name: str, value: np.ndarray) -> Array:
        """A parameter of the model, which is there before the step."""
        return self._register(Array(len(self.arrays), name, "param", np.array(value)), value)

    def _kept(self, numbers: Any) -> list[int]:
        """The addresses of numbers, which nothing else will have."""
        self._alive.append(list(numbers) if isinstance(numbers, list) else numbers)
        return addresses(numbers)

    def _register(self, array: Array, numbers: Any) -> Array:
        start, kept = len(self._values), self._kept(numbers)
        for address, value in zip(kept, array.values.ravel().tolist(), strict=True):
            before = self._numbers.get(address)
            if before is not None and self._values[before] != value == value:
                self.overwrites |= self._array_of(before).call is not array.call
                array.in_place = True
        self.arrays.append(array)
        self._starts.append(start)
        self._values += array.values.ravel().tolist()
        self._numbers |= {address: start + n for n, address in enumerate(kept)}
        return array

    def _terms(self, of: np.ndarray, numbers: np.ndarray, by: np.ndarray) -> Terms:
        """What elements `of` an array were made from, those of the same pair added up. numbers: of the elements that
        they were made from; what is constant moves nothing.
        """
        of, numbers, by = of[numbers >= 0], numbers[numbers >= 0], by[numbers >= 0]
        pairs, where = np.unique(np.stack([of, numbers]).astype(np.int64), axis=1, return_inverse=True)
        total = np.zeros(pairs.shape[1])
        np.add.at(total, where.ravel(), by)
        of, numbers = pairs
        source = np.searchsorted(self._starts, numbers, side="right") - 1
        return Terms(of, source, numbers - np.array(self._starts, np.int64)[source], total)


def _of_keywords(function: Any) -> list[Any]:
    """The values that a function takes where it is not given any by name."""
    return list((getattr(function, "__kwdefaults__", None) or {}).values())
