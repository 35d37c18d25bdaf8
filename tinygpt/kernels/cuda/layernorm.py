"""LayerNorm with a row in the registers of a warp, so that forward and backward each read what they are given once."""

import math
from typing import Any

from tinygpt.backend import Array, array_module
from tinygpt.kernels.cuda.compiled import STATIC_SHARED, Kernels, OfDefinition, compiled, fall_back, real_of
from tinygpt.kernels.cuda.unfinished import Sums
from tinygpt.layers import layernorm

WARPS = 8  # of a block, with a row each, of whose numbers each of 32 lanes has a part in its registers
WIDEST = {"float32": 2048, "float64": 1024, "bfloat16": 2048}  # numbers of a row
PARTS = 256  # at most, that the rows are summed in for dw and db


def forward(x: Array, w: Array, b: Array | None = None, eps: float = 1e-5) -> tuple[Array, tuple]:
    """As the definition, `tinygpt/layers/layernorm.py`. Backward computes xhat anew, so that only x is kept."""
    if why := not_taken(x, w, b):
        return fall_back("layernorm", why, _of_definition(x, w, b, eps))
    xp, N, C = array_module(x), *rows_of(x)
    x, w = xp.ascontiguousarray(x), xp.ascontiguousarray(w)
    out = xp.empty_like(x)
    args = x, w, None if b is None else xp.ascontiguousarray(b), out, N, C, float(eps)
    kernels("layernorm", x).launch("layernorm_forward", blocks(N), 32 * WARPS, *args)
    return out, (x, w, b is not None, eps)


def backward(dout: Array, cache: tuple) -> tuple[Array, Sums, Sums | None]:
    """dx: (..., C), dw: (C,), db: (C,) or None, as the definition; dw and db unfinished."""
    if isinstance(cache, OfDefinition):
        dx, dw, db = layernorm.backward(dout.astype("float32") if dout.dtype.name == "bfloat16" else dout, cache)
        return dx.astype(dout.dtype, copy=False), dw, db
    x, w, has_bias, eps = cache
    xp, N, C = array_module(x), *rows_of(x)
    dout, dx = xp.ascontiguousarray(dout, x.dtype), xp.empty_like(x)
    dw, db, launched = parts(x, has_bias)
    args = x, w, dout, dx, dw, db, N, C, float(eps)
    kernels("layernorm", x).launch("layernorm_backward", *launched[:2], *args, shared=launched[2])
    return dx, Sums(dw), Sums(db) if has_bias else None


def _of_definition(x: Array, w: Array, b: Array | None, eps: float) -> tuple[Array, tuple]:
    if x.dtype.name != "bfloat16":
        return layernorm.forward(x, w, b, eps)
    out, cache = layernorm.forward(x.astype(w.dtype), w, b, eps)  # whose sums and square roots are then in float32
    return out.astype(x.dtype), cache


# What residual_layernorm shares


def not_taken(x: Array, *parameters: Array | None) -> str:
    """Why the kernels do not take these arrays, or "": x, (..., C), and w and b, (C,), of its dtype, or
    float32 beside bfloat16."""
    if x.dtype.name not in WIDEST:
        return str(x.dtype)
    if any(p is not None and p.dtype != real_of(x.dtype) for p in parameters):
        return f"{x.dtype} beside another dtype"
    C = x.shape[-1]
    if any(p is not None and p.shape != (C,) for p in parameters):
        return f"rows of {C:,} numbers with parameters of another length"
    return "" if 0 < C <= WIDEST[x.dtype.name] else f"rows of {C:,} numbers in {x.dtype}"


def rows_of(x: Array) -> tuple[int, int]:
    """N and C, the rows and their numbers: (..., C)."""
    return math.prod(x.shape[:-1]), x.shape[-1]


def kernels(name: str, x: Array, **constants: int) -> Kernels:
    """Those of `name`.cu for rows of x, with one of eight sizes of a lane's part: as many are ever compiled."""
    return compiled(name, x.dtype, PER_LANE=8 * -(-x.shape[-1] // (8 * 32)), **constants)


def blocks(N: int) -> int:
    """Of WARPS rows each; one for no rows, as a grid cannot be empty."""
    return max(1, -(-N // WARPS))


def parts(x: Array, has_bias: bool) -> tuple[Array, Array | None, tuple[int, int, int]]:
    """Room for the parts of dw and of db, (parts, C) each; blocks, threads of a block, and bytes of shared memory for
    backward. The number of parts follows from the shape alone, so that the sums are the same on every card.
    """
    xp: Any = array_module(x)
    N, C = rows_of(x)
    dtype = real_of(x.dtype)
    sums = 2 * C * dtype.itemsize  # bytes, of a warp
    warps = min(WARPS, STATIC_SHARED // sums)  # which every card gives a block
    count = min(PARTS, max(1, -(-N // warps)))
    dw, db = xp.empty((count, C), dtype), xp.empty((count, C), dtype) if has_bias else None
    return dw, db, (count, 32 * warps, warps * sums)
