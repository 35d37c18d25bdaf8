"""Linear whose sums over rows are left to BLAS."""

import numpy as np


def forward(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, tuple]:
    """As the definition, `tinygpt/layers/linear.py`."""
    rows = x.reshape(-1, x.shape[-1])  # (..., I) -> (N, I)
    out = rows @ w  # (N, I) @ (I, O) -> (N, O)
    if b is not None:
        out += b
    return out.reshape(*x.shape[:-1], w.shape[1]), (x, w, b is not None)


def backward(dout: np.ndarray, cache: tuple) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """dx: (..., I), dw: (I, O), db: (O,) or None, as the definition."""
    x, w, has_bias = cache
    rows = x.reshape(-1, x.shape[-1])  # (..., I) -> (N, I)
    drows = dout.reshape(-1, w.shape[1])  # (..., O) -> (N, O)
    db = np.ones(len(drows), drows.dtype) @ drows if has_bias else None
    dw = rows.T @ drows  # (I, N) @ (N, O) -> (I, O)
    dx = drows @ w.T  # (N, O) @ (O, I) -> (N, I)
    return dx.reshape(x.shape), dw, db
