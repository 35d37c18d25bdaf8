"""The MLP with GELU and its bias in one kernel, so that nothing passes over the hidden layer but that and products.

In backward GELU's kernel overwrites the gradient that it reads, and sums up the bias's on the way.
"""

from typing import Any

from tinygpt.backend import Array, array_module
from tinygpt.kernels.cuda.columns import room_for_sums, taken
from tinygpt.kernels.cuda.compiled import OfDefinition
from tinygpt.kernels.cuda.gelu import FORMS, gradient_of_sum, of_sum
from tinygpt.kernels.cuda.linear import add_bias, product, sum_columns
from tinygpt.kernels.cuda.unfinished import Product, Sums

REPLACES = ("linear", "gelu")


def forward(
    x: Array, w_fc: Array, b_fc: Array | None, w_proj: Array, b_proj: Array | None,
    approximate: str = "tanh", *, ops: Any, recompute: bool = False,
) -> tuple[Array, tuple]:  # fmt: skip
    """As the definition, MLP in `tinygpt/models/gpt2.py`. `ops` computes only what the kernels do not take.

    recompute: True keeps only what GELU takes, (N, 4C), and not what it gives, which backward computes again.
    """
    if approximate not in FORMS or not taken(x, w_fc, w_proj, vectors=[b_fc, b_proj]):
        return _by_leaves(x, w_fc, b_fc, w_proj, b_proj, approximate, ops)
    h = product(x.reshape(-1, x.shape[-1]), w_fc)  # (..., C) -> (N, 4C), without its bias
    a = of_sum(h, b_fc, approximate)  # (N, 4C)
    out = product(a, w_proj)  # (N, 4C) -> (N, C)
    if b_proj is not None:
        add_bias(out, b_proj)
    cache = x, h, None if recompute else a, w_fc, b_fc, w_proj, b_proj is not None, approximate
    return out.reshape(*x.shape[:-1], w_proj.shape[1]), cache


def backward(dout: Array, cache: tuple) -> tuple[Array, Product, Sums | None, Product, Sums | None]:
    """As the definition, but that the gradients of weights and biases are left unfinished."""
    if isinstance(cache, OfDefinition):
        return _by_leaves_backward(dout, cache)
    x, h, a, w_fc, b_fc, w_proj, has_b_proj, approximate = cache
    a = of_sum(h, b_fc, approximate) if a is None else a
    drows = array_module(x).ascontiguousarray(dout, x.dtype).reshape(-1, w_proj.shape[1])  # (..., C) -> (N, C)
    db_proj = sum_columns(drows) if has_b_proj else None
    dw_proj = Product(a, drows)
    da = product(drows, w_proj, transpose=True)  # (N, C) -> (N, 4C)
    dh, parts = da, None if b_fc is None else room_for_sums(da, da.shape[1])
    gradient_of_sum(da, h, b_fc, approximate, dh, parts)
    dw_fc = Product(x.reshape(-1, x.shape[-1]), dh)
    db_fc = None if parts is None else Sums(parts)
    dx = product(dh, w_fc, transpose=True)  # (N, 4C) -> (N, C)
    return dx.reshape(x.shape), dw_fc, db_fc, dw_proj, db_proj


def _by_leaves(
    x: Array, w_fc: Array, b_fc: Array | None, w_proj: Array, b_proj: Array | None, approximate: str, ops: Any
) -> tuple[Array, OfDefinition]:
    h, fc = ops.linear.forward(x, w_fc, b_fc)
    a, gelu = ops.gelu.forward(h, approximate)
    out, proj = ops.linear.forward(a, w_proj, b_proj)
    return out, OfDefinition((fc, gelu, proj, ops))


def _by_leaves_backward(dout: Array, cache: tuple) -> tuple[Array, Any, Any, Any, Any]:
    fc, gelu, proj, ops = cache
    da, dw_proj, db_proj = ops.linear.backward(dout, proj)
    dx, dw_fc, db_fc = ops.linear.backward(ops.gelu.backward(da, gelu), fc)
    return dx, dw_fc, db_fc, dw_proj, db_proj
