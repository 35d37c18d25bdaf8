"""A weight gradient that need not exist whole: that of the embeddings, which for GPT-2's vocabulary is 147 MiB."""

from collections.abc import Callable
from typing import Any

import numpy as np


class Pieces:
    """A gradient whose rows are computed when they are read: `pieces[start:stop]` some, `np.asarray(pieces)` all.

    shape, dtype: of the whole. part: computes the rows of a slice.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any, part: Callable[[slice], np.ndarray]):
        self.shape, self.dtype, self.part = shape, np.dtype(dtype), part

    def __getitem__(self, rows: slice) -> np.ndarray:
        return self.part(rows)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self.part(slice(0, self.shape[0])), dtype)
