"""The transformer block: attention and MLP, each behind a LayerNorm and added to the residual stream (pre-norm).

Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2), section 2.3.
"""

from collections.abc import Mapping
from typing import Any

from tinygpt.backend import Array, fold_in

ATTENTION, AFTER_ATTENTION, AFTER_MLP = range(3)  # the block's places of dropout


def forward(
    x: Array, params: Mapping[str, Array], n_head: int, approximate: str = "tanh", eps: float = 1e-5,
    dropout: float = 0.0, key: int = 0, row: int = 0, *, ops: Any,
) -> tuple[Array, tuple]:  # fmt: skip
    """x = x + attention(ln_1(x)); out = x + mlp(ln_2(x)).

    x: (B, T, C); params: the block's arrays by GPT-2's names, `ln_1.weight` to `mlp.c_proj.bias`, the biases left out
    of a model without them; n_head, approximate, eps: see attention, gelu, layernorm; dropout, key, row: see dropout;
    ops: the table of layers to use. Returns out: (B, T, C), cache.
    """
    get = params.get  # None for a bias that the model does without
    a, ln_1 = ops.layernorm.forward(x, params["ln_1.weight"], get("ln_1.bias"), eps)
    qkv, c_attn = ops.linear.forward(a, params["attn.c_attn.weight"], get("attn.c_attn.bias"))  # -> (B, T, 3C)
    a, attention = ops.attention.forward(qkv, n_head, dropout, fold_in(key, ATTENTION), row)  # -> (B, T, C)
    a, c_proj = ops.linear.forward(a, params["attn.c_proj.weight"], get("attn.c_proj.bias"))
    a, drop_1 = ops.dropout.forward(a, dropout, fold_in(key, AFTER_ATTENTION), row)
    x = x + a
    m, ln_2 = ops.layernorm.forward(x, params["ln_2.weight"], get("ln_2.bias"), eps)
    m, mlp = ops.mlp.forward(
        m, params["mlp.c_fc.weight"], get("mlp.c_fc.bias"), params["mlp.c_proj.weight"], get("mlp.c_proj.bias"),
        approximate, ops=ops,
    )  # fmt: skip
    m, drop_2 = ops.dropout.forward(m, dropout, fold_in(key, AFTER_MLP), row)
    return x + m, (ln_1, c_attn, attention, c_proj, drop_1, ln_2, mlp, drop_2, ops)


def backward(dout: Array, cache: tuple) -> tuple[Array, dict[str, Array]]:
    """dx: (B, T, C), and the gradients of params by the same names.

    dout: (B, T, C). Each `x + f(x)` passes its gradient on unchanged and adds f's: why depth does not starve it.
    """
    ln_1, c_attn, attention, c_proj, drop_1, ln_2, mlp, drop_2, ops = cache
    d: dict[str, Array | None] = {}
    dm = ops.dropout.backward(dout, drop_2)
    dm, d["mlp.c_fc.weight"], d["mlp.c_fc.bias"], d["mlp.c_proj.weight"], d["mlp.c_proj.bias"] = ops.mlp.backward(
        dm, mlp
    )
    dm, d["ln_2.weight"], d["ln_2.bias"] = ops.layernorm.backward(dm, ln_2)
    dx = dout + dm
    da = ops.dropout.backward(dx, drop_1)
    da, d["attn.c_proj.weight"], d["attn.c_proj.bias"] = ops.linear.backward(da, c_proj)
    dqkv = ops.attention.backward(da, attention)  # (B, T, C) -> (B, T, 3C)
    da, d["attn.c_attn.weight"], d["attn.c_attn.bias"] = ops.linear.backward(dqkv, c_attn)  # -> (B, T, C)
    da, d["ln_1.weight"], d["ln_1.bias"] = ops.layernorm.backward(da, ln_1)
    return dx + da, {name: gradient for name, gradient in d.items() if gradient is not None}
