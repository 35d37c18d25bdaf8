"""The head and its loss in chunks of rows, so that the (N, V) logits never exist whole.

For GPT-2's vocabulary those of a sequence of 1,024 tokens are 206 MB in float32, and their gradient as much again. The
loss needs each row once; so does its gradient, which is taken in the same pass and scaled by `dout` in backward.
"""

from typing import Any

from tinygpt.backend import Array, array_module
from tinygpt.layers.cross_entropy import IGNORED

REPLACES = ("linear", "cross_entropy")
CHUNK_BYTES = 128 << 20  # of logits at a time: products that keep a card busy, and a tenth of its memory at most


def forward(
    x: Array, w: Array, targets: Array, denominator: Array | float | None = None, need_grad: bool = True,
    *, ops: Any, rows: int | None = None,
) -> tuple[Array, tuple | None]:  # fmt: skip
    """As the definition, LMHeadLoss in `tinygpt/models/gpt2.py`; the cache is None without `need_grad`.

    rows: of a chunk, if not as many as make CHUNK_BYTES.
    """
    xp = array_module(x)
    if denominator is None:
        denominator = xp.maximum((targets != IGNORED).sum(), 1).astype(x.dtype)
    rows = rows or max(1, CHUNK_BYTES // (w.shape[0] * x.dtype.itemsize))
    loss = xp.zeros((), dtype=x.dtype)
    if need_grad:
        dx, dw = xp.empty_like(x), xp.zeros_like(w)
    for start in range(0, len(x), rows):
        chunk = slice(start, start + rows)
        logits = x[chunk] @ w.T  # (n, C) @ (C, V) -> (n, V)
        part, cache = ops.cross_entropy.forward(logits, targets[chunk], denominator)
        loss = loss + part
        if need_grad:
            dlogits = ops.cross_entropy.backward(xp.ones((), dtype=x.dtype), cache)  # (n, V)
            dx[chunk] = dlogits @ w  # (n, V) @ (V, C) -> (n, C)
            dw += dlogits.T @ x[chunk]  # (V, n) @ (n, C) -> (V, C)
    return loss, (dx, dw) if need_grad else None


def backward(dout: Array, cache: tuple) -> tuple[Array, Array]:
    """dx: (N, C), dw: (V, C), as the definition."""
    dx, dw = cache
    return dx * dout, dw * dout
