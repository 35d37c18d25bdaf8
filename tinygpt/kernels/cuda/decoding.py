"""What generating one token of each of few sequences is made of, `decoding.cu` and `decoding_attention.cu`: matrices
that are read once for all rows, and what stands before and after them in the same kernels. For `stack.decode`.
"""

from collections.abc import Mapping

from tinygpt.backend import Array, array_module
from tinygpt.kernels.cuda.compiled import REALS, Kernels, compiled, real_of

ROWS = 8  # at most: sums that a thread has room for
WIDEST = 256  # channels of a head
WARPS = {"float32": 32, "float64": 16, "bfloat16": 32}  # of a block of `linear` at most, as in decoding.cu
ACTIVATIONS = {None: 0, "tanh": 1, "none": 2}  # decoding.cu's
ATTENTION_WARPS = 16  # as in decoding_attention.cu
HEAD_WARPS = 8


def taken(x: Array, params: Mapping[str, Array], keys: Array, values: Array) -> bool:
    """Whether the kernels are made for x, (B, C), a layer's parameters, and its keys and values, (B, H, S, D)."""
    return (
        x.dtype.name in REALS
        and 0 < len(x) <= ROWS
        and keys.shape[-1] <= WIDEST
        and all(cache.dtype == x.dtype and cache.flags.c_contiguous for cache in (keys, values))
        and all(p.dtype == (x.dtype if p.ndim == 2 else real_of(x.dtype)) for p in params.values())
    )


def linear(
    x: Array, w: Array, b: Array | None = None, norm: tuple | None = None, gelu: str | None = None,
    residual: Array | None = None,
) -> Array:  # fmt: skip
    """residual + gelu(layernorm(x, *norm) @ w + b), of which all but the product may be absent.

    x: (B, I); w: (I, O); b: (O,); norm: layernorm's w, b, eps; gelu: which one; residual: (B, O). Returns out: (B, O).
    """
    xp, (n_in, n_out), dtype = array_module(x), w.shape, x.dtype
    ln_w, ln_b, eps = norm or (None, None, 0.0)
    out = xp.empty((len(x), n_out), dtype)
    columns = 32 // dtype.itemsize  # of a block; a warp has 32 // columns rows at once, in each of its threads 16 bytes
    warps = min(WARPS[dtype.name], -(-n_in // (32 // columns * (16 // dtype.itemsize))))
    args = xp.ascontiguousarray(x), ln_w, ln_b, float(eps), w, b, ACTIVATIONS[gelu], residual, out, n_in, n_out
    _kernels(x).launch("decode_linear", -(-n_out // columns), 32 * warps, *args)
    return out


def attention(qkv: Array, keys: Array, values: Array, start: int, n_head: int) -> Array:
    """Attention of the token at position `start` over it and all before; stores its key and value.

    qkv: (B, 3C); keys, values: (B, H, S, D). Returns out: (B, C).
    """
    B, _, S, D = keys.shape
    out = array_module(qkv).empty((B, n_head * D), qkv.dtype)
    args = qkv, keys, values, out, start, n_head, S, D, D**-0.5
    kernels = compiled("decoding_attention", qkv.dtype, PER_LANE=-(-D // 32))
    kernels.launch("decode_attention", B * n_head, 32 * ATTENTION_WARPS, *args)
    return out


def layernorm(x: Array, w: Array, b: Array | None, eps: float) -> Array:
    """As the definition's: (B, C)."""
    out = array_module(x).empty(x.shape, x.dtype)
    _kernels(x).launch("decode_layernorm", len(x), 256, x, w, b, out, x.shape[1], float(eps))
    return out


def head_taken(x: Array, w: Array) -> bool:
    return x.dtype.name in REALS and w.dtype == x.dtype and 0 < len(x) <= ROWS and w.flags.c_contiguous


def head(x: Array, w: Array) -> Array:
    """x @ w^T in what is computed in: (B, C), (V, C) -> (B, V)."""
    xp, (V, C) = array_module(x), w.shape
    out = xp.empty((len(x), V), real_of(x.dtype))
    _kernels(x).launch("decode_head", -(-V // HEAD_WARPS), 32 * HEAD_WARPS, xp.ascontiguousarray(x), w, out, V, C)
    return out


def _kernels(x: Array) -> Kernels:
    return compiled("decoding", x.dtype, ROWS=len(x))
