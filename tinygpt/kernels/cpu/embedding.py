"""Embedding whose gradient is only the rows that were read."""

import numpy as np

from tinygpt.backend import sum_by_index
from tinygpt.kernels.cpu.pieces import Pieces
from tinygpt.layers.embedding import forward

__all__ = ["backward", "forward"]


def backward(dout: np.ndarray, cache: tuple) -> Pieces:
    """dw: (V, C), as the definition, in one piece of as many rows as there are different ids."""
    idx, w = cache
    index, sums = sum_by_index(idx.reshape(-1), dout.reshape(-1, w.shape[1]))  # (..., C) -> (N, C) -> (rows, C)
    return Pieces(w.shape, w.dtype, [index], lambda _: sums)
