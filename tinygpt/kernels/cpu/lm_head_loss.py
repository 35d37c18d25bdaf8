"""The head and its loss in chunks of rows, as `kernels/cuda/lm_head_loss.py`, in larger ones that are better for BLAS:
logits become their own gradient, and where one chunk is all, the embeddings' gradient is computed as it is added.
"""

from typing import Any

import numpy as np

from tinygpt.kernels.cpu.pieces import Pieces
from tinygpt.layers.cross_entropy import IGNORED

REPLACES = ("linear", "cross_entropy")
FEW = 1 << 20  # elements of the rows that go through cross-entropy at a time: 4 MB in float32


def forward(
    x: np.ndarray, w: np.ndarray, targets: np.ndarray, denominator: np.ndarray | float | None = None,
    need_grad: bool = True, *, ops: Any, rows: int | None = None,
) -> tuple[np.ndarray, tuple | None]:  # fmt: skip
    """As the definition, LMHeadLoss in `tinygpt/models/gpt2.py`; the cache is None without `need_grad`.

    rows: of a chunk, if not as many as make its logits the size of w, or FEW elements for a smaller w and where no
    gradient is needed.
    """
    (N, C), V = x.shape, len(w)
    if denominator is None:
        denominator = np.maximum((targets != IGNORED).sum(), 1).astype(x.dtype)
    rows = rows or max(C if need_grad else 1, FEW // V)
    loss, dx = np.zeros((), x.dtype), np.empty_like(x)
    whole = np.zeros_like(w) if need_grad and not 0 < N <= rows else None  # dw, where several chunks add to it
    for start in range(0, N, rows):
        chunk = slice(start, start + rows)
        logits = x[chunk] @ w.T  # (n, C) @ (C, V) -> (n, V)
        loss = loss + _cross_entropy(logits, targets[chunk], denominator, need_grad, ops)
        if need_grad:
            np.matmul(logits, w, out=dx[chunk])  # now dlogits: (n, V) @ (V, C) -> (n, C)
            if whole is not None:
                whole += logits.T @ x[chunk]  # (V, n) @ (n, C) -> (V, C)
    if not need_grad:
        return loss, None
    dw = Pieces(w.shape, w.dtype, lambda rows: logits[:, rows].T @ x if whole is None else whole[rows])
    return loss, (dx, dw)


def backward(dout: np.ndarray, cache: tuple) -> tuple[np.ndarray, Pieces]:
    """dx: (N, C), dw: (V, C), as the definition."""
    dx, dw = cache
    return dx * dout, Pieces(dw.shape, dw.dtype, lambda rows: dw[rows] * dout)


def _cross_entropy(logits: np.ndarray, targets: np.ndarray, denominator: Any, need_grad: bool, ops: Any) -> np.ndarray:
    """The loss of these rows, whose logits are overwritten by their gradient, a few at a time."""
    loss, few = np.zeros((), logits.dtype), max(1, FEW // logits.shape[1])
    for start in range(0, len(logits), few):
        rows = slice(start, start + few)
        part, cache = ops.cross_entropy.forward(logits[rows], targets[rows], denominator)
        loss = loss + part
        if need_grad:
            logits[rows] = ops.cross_entropy.backward(np.ones((), logits.dtype), cache)
    return loss
