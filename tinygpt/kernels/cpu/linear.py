"""Linear whose weight gradient, where it is large, is computed piece by piece as it is added."""

import numpy as np

from tinygpt.kernels.cpu.pieces import Pieces, is_large, product


def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, tuple]:
    """As the definition, `tinygpt/layers/linear.py`."""
    rows = x.reshape(-1, x.shape[-1])  # (..., I) -> (N, I)
    out = rows @ w  # (N, I) @ (I, O) -> (N, O)
    if b is not None:
        out += b
    return out.reshape(*x.shape[:-1], w.shape[1]), (x, w, b is not None)


def backward(dout: np.ndarray, cache: tuple) -> tuple[np.ndarray, Pieces | np.ndarray, np.ndarray | None]:
    """dx: (..., I), dw: (I, O), db: (O,) or None, as the definition."""
    x, w, has_bias = cache
    rows = x.reshape(-1, x.shape[-1])  # (..., I) -> (N, I)
    drows = dout.reshape(-1, w.shape[1])  # (..., O) -> (N, O)
    db = np.ones(len(drows), drows.dtype) @ drows if has_bias else None
    held = drows.copy() if is_large(w) else drows  # pieces come later: the caller may have changed dout by then
    dw = product(w, rows, held)  # (I, N) @ (N, O) -> (I, O)
    dx = drows @ w.T  # (N, O) @ (O, I) -> (N, I)
    return dx.reshape(x.shape), dw, db
