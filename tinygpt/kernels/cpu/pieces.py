"""Weight gradients that never exist whole: each piece is computed when it is added to where gradients are collected."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

PIECE = 1 << 19  # elements: 2 MB in float32, which is still in the cache when it is added


class Pieces(np.lib.mixins.NDArrayOperatorsMixin):
    """A gradient in pieces: `grads += pieces` adds part(index) to grads[index] for every index, one after the other.

    shape, dtype: of the whole. indices: of the pieces, which do not overlap. rows: of each piece, where they are
    consecutive rows from the first on; two gradients with the same number have the same pieces. To all else it is the
    array it stands for: `np.asarray(pieces)`, any attribute or arithmetic makes the whole, each time anew.
    """

    def __init__(
        self, shape: tuple[int, ...], dtype: Any, indices: Sequence[Any], part: Callable[[Any], np.ndarray],
        rows: int | None = None,
    ):  # fmt: skip
        self.shape, self.dtype = shape, np.dtype(dtype)
        self.indices, self.part, self.rows = indices, part, rows

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

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, out: Any = (), **options: Any) -> Any:
        if ufunc is np.add and method == "__call__" and not options and len(out) == 1 and out[0] is inputs[0]:
            whole, pieces = inputs
            if isinstance(whole, np.ndarray) and isinstance(pieces, Pieces) and whole.shape == pieces.shape:
                for index in pieces.indices:
                    whole[index] += pieces.part(index)
                return whole
        arrays = (np.asarray(x) if isinstance(x, Pieces) else x for x in inputs)
        if any(isinstance(x, np.ndarray) for x in out):  # not `pieces *= 2`, which makes an array
            options["out"] = out
        return getattr(ufunc, method)(*arrays, **options)


def is_large(w: np.ndarray) -> bool:
    """Whether the gradient of `w` comes in pieces."""
    return w.size > PIECE


def in_rows(w: np.ndarray, part: Callable[[slice], np.ndarray]) -> Pieces | np.ndarray:
    """The gradient of `w` whose consecutive rows `part` computes, in pieces of about PIECE elements if it is large."""
    if not is_large(w):
        return part(slice(0, len(w)))
    rows = max(1, PIECE // w.shape[1])
    return Pieces(w.shape, w.dtype, [slice(start, start + rows) for start in range(0, len(w), rows)], part, rows)


def product(w: np.ndarray, a: np.ndarray, b: np.ndarray) -> Pieces | np.ndarray:
    """The gradient a^T @ b of `w`: (N, I), (N, O) -> (I, O). Neither may change before the pieces are added."""
    return in_rows(w, lambda rows: a[:, rows].T @ b)
