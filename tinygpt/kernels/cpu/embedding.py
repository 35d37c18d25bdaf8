"""Embedding whose gradient is kept as the rows that were read; the others are zero."""

import numpy as np

from tinygpt.backend import sum_by_index
from tinygpt.kernels.cpu.pieces import Pieces
from tinygpt.layers import embedding

forward = embedding.forward


def backward(dout: np.ndarray, cache: tuple) -> Pieces:
    """dw: (V, C), as the definition."""
    (idx, w), C = cache, dout.shape[-1]
    index, sums = sum_by_index(idx.reshape(-1) % len(w), dout.reshape(-1, C))  # (..., C) -> (N, C) -> (rows, C)

    def part(rows: slice) -> np.ndarray:
        start, stop, _ = rows.indices(len(w))
        dw, read = np.zeros((stop - start, C), w.dtype), slice(*np.searchsorted(index, (start, stop)))
        dw[index[read] - start] = sums[read]
        return dw

    return Pieces(w.shape, w.dtype, part)
