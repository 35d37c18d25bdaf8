"""Embedding whose gradient, where the table is large, is only the rows that were read."""

import numpy as np

from tinygpt.backend import sum_by_index
from tinygpt.kernels.cpu.pieces import Pieces, is_large
from tinygpt.layers import embedding

forward = embedding.forward


def backward(dout: np.ndarray, cache: tuple) -> Pieces | np.ndarray:
    """dw: (V, C), as the definition; of a large table in one piece, which has a row for each different id."""
    idx, w = cache
    if not is_large(w):
        return embedding.backward(dout, cache)
    index, sums = sum_by_index(idx.reshape(-1), dout.reshape(-1, w.shape[1]))  # (..., C) -> (N, C) -> (rows, C)
    return Pieces(w.shape, w.dtype, [index], lambda _: sums)
