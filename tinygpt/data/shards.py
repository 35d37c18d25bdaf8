"""Tokens that lie in several files, shards, read as one array; memory-mapped, so that none takes room."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygpt.data.mapped import MappedTokens


class JoinedTokens:
    """Arrays end to end, as far as a text's tokens are asked for: length, slices, and indices in arrays of any shape.
    Only what is asked for is read. A window may lie in several of them.
    """

    ndim = 1

    def __init__(self, parts: Sequence[np.ndarray]):
        """parts: (n_i,) each, one or more, of the same dtype."""
        self.parts = list(parts)
        self.ends = np.cumsum([len(part) for part in self.parts])  # of each, in the whole
        self.dtype = self.parts[0].dtype
        self.itemsize = self.dtype.itemsize

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    @property
    def size(self) -> int:
        return len(self)

    @property
    def nbytes(self) -> int:
        return len(self) * self.itemsize

    def __len__(self) -> int:
        return int(self.ends[-1])

    def __getitem__(self, key: Any) -> Any:
        """A token, or an array of them, for what NumPy takes for an index. IndexError for places that are not there."""
        if isinstance(key, slice):
            start, stop, step = key.indices(len(self))
            return self._slice(start, max(start, stop)) if step == 1 else self[np.arange(start, stop, step)]
        places = np.asarray(key)
        if places.dtype == bool:
            if places.shape != self.shape:
                raise IndexError(f"a mask of shape {places.shape} was given for {len(self):,} tokens")
            places = np.flatnonzero(places)
        if places.dtype.kind not in "iu" and places.size:
            raise IndexError(f"tokens are indexed by whole numbers, slices, and arrays of them, and not {places.dtype}")
        places = places.astype(np.int64)
        if places.size and not -len(self) <= places.min() <= places.max() < len(self):
            raise IndexError(f"index {places.max() if places.max() >= len(self) else places.min()} is out of bounds "
                             f"for {len(self):,} tokens")  # fmt: skip
        places = np.where(places < 0, places + len(self), places)
        found = np.empty(places.shape, self.dtype)
        owners = self.owners(places)
        for owner in np.unique(owners):
            here = owners == owner
            found[here] = self.parts[owner][places[here] - (self.ends[owner] - len(self.parts[owner]))]
        return found[()]  # a number where one was asked for

    def _slice(self, start: int, stop: int) -> np.ndarray:
        pieces = []
        for part, end in zip(self.parts, self.ends.tolist(), strict=True):
            begin = end - len(part)
            if start < end and begin < stop:
                pieces.append(part[max(start - begin, 0) : stop - begin])
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces or [self.parts[0][:0]])

    def owners(self, places: np.ndarray) -> np.ndarray:
        """places, any shape, from 0 on -> the numbers of the parts that they lie in."""
        return np.searchsorted(self.ends, places, side="right")

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        """All of it, in memory."""
        return self[:].astype(dtype or self.dtype, copy=bool(copy))


class Shards:
    """Token files that are read as one: `tokens`, and a `check` of those that are about to be read."""

    def __init__(self, files: Sequence[MappedTokens]):
        self.files = list(files)
        self.tokens = JoinedTokens([file.tokens for file in self.files])

    def check(self, starts: np.ndarray, length: int) -> None:
        """Raise TextError if a file that the windows of `length` tokens from `starts` on, (n,), lie in is not what was
        mapped.
        """
        first = self.tokens.owners(starts)
        last = self.tokens.owners(np.minimum(starts + max(length, 1), len(self.tokens)) - 1)
        for owner in sorted(
            {number for pair in zip(first, last, strict=True) for number in range(pair[0], pair[1] + 1)}
        ):
            if owner < len(self.files):
                self.files[owner].check(starts, length)
