"""The blocks and the last LayerNorm, where a sum and the LayerNorm that follows it are one kernel, across blocks too.

A block ends in x + m, and what comes next, its neighbour's ln_1 or ln_f, begins by reading that sum. So here a block is
seen from one LayerNorm's output to the next one's: a pass over memory less each way, and two launches.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinygpt.backend import Array, fold_in
from tinygpt.layers.dropout import AFTER_ATTENTION, AFTER_MLP, ATTENTION

REPLACES = ("layernorm", "linear", "attention", "gelu", "dropout")


def forward(
    x: Array, layers: Sequence[Mapping[str, Array]], w: Array, b: Array | None, n_head: int,
    approximate: str = "tanh", eps: float = 1e-5, dropout: float = 0.0, key: int = 0, row: int = 0,
    need_grad: bool = True, *, ops: Any,
) -> tuple[Array, tuple]:  # fmt: skip
    """for params in layers: x = block(x, params); out = layernorm(x, w, b): as in `GPT.hidden`, and the block as in
    `Block`, both in `tinygpt/models/gpt2.py`.

    x: (B, T, C); layers: each block's parameters by their names within it; w, b: of the last LayerNorm; need_grad:
    False keeps nothing for backward. The rest is the block's. Returns out: (B, T, C), cache.
    """
    residual_layernorm, mlp = ops.fused("residual_layernorm"), ops.fused("mlp")
    norms = [(params["ln_1.weight"], params.get("ln_1.bias")) for params in layers] + [(w, b)]
    a, first = ops.layernorm.forward(x, *norms[0], eps)
    blocks = []
    for layer, params in enumerate(layers):
        get, layer_key = params.get, fold_in(key, layer)
        qkv, c_attn = ops.linear.forward(a, params["attn.c_attn.weight"], get("attn.c_attn.bias"))  # -> (B, T, 3C)
        a, attention = ops.attention.forward(qkv, n_head, dropout, fold_in(layer_key, ATTENTION), row)  # -> (B, T, C)
        a, c_proj = ops.linear.forward(a, params["attn.c_proj.weight"], get("attn.c_proj.bias"))
        (x, m), ln_2 = residual_layernorm.forward(
            x, a, params["ln_2.weight"], get("ln_2.bias"), eps, dropout, fold_in(layer_key, AFTER_ATTENTION), row,
            ops=ops,
        )  # fmt: skip
        m, mlp_cache = mlp.forward(
            m, params["mlp.c_fc.weight"], get("mlp.c_fc.bias"), params["mlp.c_proj.weight"], get("mlp.c_proj.bias"),
            approximate, ops=ops,
        )  # fmt: skip
        (x, a), ln_next = residual_layernorm.forward(
            x, m, *norms[layer + 1], eps, dropout, fold_in(layer_key, AFTER_MLP), row, ops=ops
        )
        if need_grad:
            blocks.append((c_attn, attention, c_proj, ln_2, mlp_cache, ln_next))
    return a, (first, blocks, residual_layernorm, mlp, ops)


def backward(dout: Array, cache: tuple, add: Callable[[dict[str, Array | None]], None]) -> Array:
    """dx: (B, T, C). dout: (B, T, C); add: takes the parameters' gradients by their names in the model, those of each
    layer as soon as they are known. dx is the gradient of the stream, da and dm those of what is added to it.
    """
    first, blocks, residual_layernorm, mlp, ops = cache
    dx, da, after = None, dout, "ln_f."  # nothing but ln_f reads the last sum
    for layer in reversed(range(len(blocks))):
        c_attn, attention, c_proj, ln_2, mlp_cache, ln_next = blocks[layer]
        here = f"h.{layer}."
        d: dict[str, Array | None] = {}
        dx, dm, d[after + "weight"], d[after + "bias"] = residual_layernorm.backward((dx, da), ln_next)
        dm, dw_fc, d[here + "mlp.c_fc.bias"], dw_proj, d[here + "mlp.c_proj.bias"] = mlp.backward(dm, mlp_cache)
        add(
            {here + "mlp.c_fc.weight": dw_fc, here + "mlp.c_proj.weight": dw_proj}
        )  # now: what they are made of is large
        del dw_fc, dw_proj
        dx, da, d[here + "ln_2.weight"], d[here + "ln_2.bias"] = residual_layernorm.backward((dx, dm), ln_2)
        da, dw_proj, d[here + "attn.c_proj.bias"] = ops.linear.backward(da, c_proj)
        dqkv = ops.attention.backward(da, attention)  # (B, T, C) -> (B, T, 3C)
        da, dw_attn, d[here + "attn.c_attn.bias"] = ops.linear.backward(dqkv, c_attn)
        add({here + "attn.c_attn.weight": dw_attn, here + "attn.c_proj.weight": dw_proj})
        del dw_attn, dw_proj, dqkv
        add(d)  # vectors: one kernel adds up all of a layer's
        after = here + "ln_1."
    da, dw, db = ops.layernorm.backward(da, first)
    add({after + "weight": dw, after + "bias": db})
    return da if dx is None else dx + da
