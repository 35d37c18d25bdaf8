"""Weight gradients that never exist whole: each piece is computed when it is added to where gradients are collected."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

PIECE = 1 << 19  # elements: 2 MB in float32, which is still in the cache when it is added


class Pieces(np.lib.mixins.NDArrayOperatorsMixin):
    """A gradient in pieces: `grads += pieces` adds part(index) to grads[index] for every index, one after the other.

    shape, dtype: of the whole. indices: of the pieces, which do not overlap. rows: of each piece, where they are
    consecutive rows from the first on; two gradients with the same number have the same pieces.

    To all else it is the array it stands for: `np.asarray(pieces)` or any arithmetic makes the whole.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, indices: Sequence[Any], part: Callable[[Any], np.ndarray],
        rows: int | None = None,
    ):  # fmt: skip
        self.shape = shape
        self.dtype = np.dtype(dtype)
        self.indices = indices
        self.part = part
        self.rows = rows

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # what NumPy looks for before it asks for __array__
            raise AttributeError(name)
        return getattr(np.asarray(self), name)

    def __getitem__(self, key: Any) -> Any:
        return np.asarray(self)[key]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        whole = np.zeros(self.shape, self.dtype)
        whole += self
        return whole if dtype is None else whole.astype(dtype, copy=False)

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (None,), **options: Any) -> Any:
        if ufunc is np.add and out[0] is inputs[0] and isinstance(inputs[1], Pieces):
            for index in self.indices:
                out[0][index] += self.part(index)
            return out[0]
        arrays = (np.asarray(x) if isinstance(x, Pieces) else x for x in inputs)
        return getattr(ufunc, method)(*arrays, **options, **({} if out == (None,) else {"out": out}))


def in_rows(shape: tuple[int, ...], dtype: Any, part: Callable[[slice], np.ndarray]) -> Pieces | np.ndarray:
    """The gradient whose consecutive rows `part` computes: in pieces of about PIECE elements; at once if one is all."""
    rows = max(1, PIECE // shape[1])
    if rows >= shape[0]:
        return part(slice(0, shape[0]))
    return Pieces(shape, dtype, [slice(start, start + rows) for start in range(0, shape[0], rows)], part, rows)
