"""A residual connection and the LayerNorm that reads it: dropout, sum, mean, variance and output in one pass."""

import math
from typing import Any

import numpy as np

from tinygpt.backend import Array, array_module
from tinygpt.kernels.cuda.compiled import OfDefinition, fall_back
from tinygpt.kernels.cuda.layernorm import WARPS, blocks, kernels, not_taken, parts, rows_of
from tinygpt.kernels.cuda.unfinished import Sums
from tinygpt.random import finalise

REPLACES = ("dropout", "layernorm")


def forward(
    x: Array, a: Array, w: Array, b: Array | None = None, eps: float = 1e-5,
    dropout: float = 0.0, key: int = 0, row: int = 0, *, ops: Any,
) -> tuple[tuple[Array, Array], tuple]:  # fmt: skip
    """total = x + dropout(a) and out = layernorm(total), as the definitions of these two have them; the output is
    (total, out). Backward computes xhat and dropout's bits anew, so that only the sum is kept.
    """
    if why := not_taken(x, w, b) or _not_taken(x, a, dropout):
        return fall_back("residual_layernorm", why, _by_leaves(x, a, w, b, eps, dropout, key, row, ops))
    xp, N, C = array_module(x), *rows_of(x)
    x, a, w = (xp.ascontiguousarray(array) for array in (x, a, w))
    total, out = xp.empty_like(x), xp.empty_like(x)
    dropped = (
        np.uint64(finalise(key)), np.uint64(row), math.prod(x.shape[1:-1]),
        np.uint32(dropout * 2**32), 1 / (1 - dropout),
    )  # fmt: skip
    args = x, a, w, None if b is None else xp.ascontiguousarray(b), total, out, N, C, float(eps), *dropped
    ours = kernels("residual_layernorm", x, DROPOUT=int(dropout > 0))
    ours.launch("residual_layernorm_forward", blocks(N), 32 * WARPS, *args)
    return (total, out), (total, w, b is not None, eps, dropout, dropped)


def backward(douts: tuple[Array | None, Array], cache: tuple) -> tuple[Array, Array, Any, Any]:
    """dx, da: (B, ..., C), dw: (C,), db: (C,) or None, as the definition; dw and db unfinished. Without dropout, da is
    dx, one array.

    douts: dsum, None if nothing but LayerNorm reads the sum, and dout: (B, ..., C).
    """
    if isinstance(cache, OfDefinition):
        return _by_leaves_backward(douts, cache)
    total, w, has_bias, eps, dropout, dropped = cache
    xp, N, C = array_module(total), *rows_of(total)
    dsum, dout = (None if d is None else xp.ascontiguousarray(d, total.dtype) for d in douts)
    dx = xp.empty_like(total)
    da = xp.empty_like(total) if dropout else None
    dw, db, launched = parts(total, has_bias)
    args = total, w, dsum, dout, dx, da, dw, db, N, C, float(eps), *dropped
    ours = kernels("residual_layernorm", total, DROPOUT=int(dropout > 0))
    ours.launch("residual_layernorm_backward", *launched[:2], *args, shared=launched[2])
    return dx, dx if da is None else da, Sums(dw), Sums(db) if has_bias else None


def _not_taken(x: Array, a: Array, dropout: float) -> str:
    if x.dtype != a.dtype:
        return f"{x.dtype} beside another dtype"
    if x.shape != a.shape:
        return f"two terms of different shapes, {x.shape} and {a.shape}"
    return "dropout of a single row" if dropout and x.ndim < 2 else ""


def _by_leaves(
    x: Array, a: Array, w: Array, b: Array | None, eps: float, dropout: float, key: int, row: int, ops: Any
) -> tuple[tuple[Array, Array], tuple]:
    a, drop = ops.dropout.forward(a, dropout, key, row)
    total = x + a
    out, ln = ops.layernorm.forward(total, w, b, eps)
    return (total, out), (drop, ln, ops)


def _by_leaves_backward(douts: tuple[Array | None, Array], cache: tuple) -> tuple[Array, Array, Any, Any]:
    (dsum, dout), (drop, ln, ops) = douts, cache
    dx, dw, db = ops.layernorm.backward(dout, ln)
    dx = dx if dsum is None else dsum + dx
    return dx, ops.dropout.backward(dx, drop), dw, db
