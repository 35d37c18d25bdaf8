"""The block's multilayer perceptron: out to four times the width, GELU, and back."""

from typing import Any

from tinygpt.backend import Array


def forward(
    x: Array, w_fc: Array, b_fc: Array | None, w_proj: Array, b_proj: Array | None,
    approximate: str = "tanh", *, ops: Any,
) -> tuple[Array, tuple]:  # fmt: skip
    """out = gelu(x @ w_fc + b_fc) @ w_proj + b_proj.

    x: (B, T, C); w_fc: (C, 4C); b_fc: (4C,) or None; w_proj: (4C, C); b_proj: (C,) or None; approximate: which GELU
    (see gelu); ops: the table of layers to use. Returns out: (B, T, C), cache.
    """
    h, fc_cache = ops.linear.forward(x, w_fc, b_fc)  # (B, T, C) -> (B, T, 4C)
    a, gelu_cache = ops.gelu.forward(h, approximate)  # (B, T, 4C)
    out, proj_cache = ops.linear.forward(a, w_proj, b_proj)  # (B, T, 4C) -> (B, T, C)
    return out, (fc_cache, gelu_cache, proj_cache, ops)


def backward(dout: Array, cache: tuple) -> tuple[Array, Array, Array | None, Array, Array | None]:
    """dx: (B, T, C), dw_fc, db_fc, dw_proj, db_proj.

    dout: (B, T, C).
    """
    fc_cache, gelu_cache, proj_cache, ops = cache
    da, dw_proj, db_proj = ops.linear.backward(dout, proj_cache)  # (B, T, C) -> (B, T, 4C)
    dh = ops.gelu.backward(da, gelu_cache)  # (B, T, 4C)
    dx, dw_fc, db_fc = ops.linear.backward(dh, fc_cache)  # (B, T, 4C) -> (B, T, C)
    return dx, dw_fc, db_fc, dw_proj, db_proj
