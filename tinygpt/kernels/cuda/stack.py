"""The blocks and the last LayerNorm, where a sum and the LayerNorm that follows it are one kernel, across blocks too.

A block ends in x + m, and what comes next, its neighbour's ln_1 or ln_f, begins by reading that sum. So here a block is
seen from one LayerNorm's output to the next one's: a pass over memory less each way, and two launches.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tinygpt.backend import Array, fold_in
from tinygpt.kernels.cuda import decoding
from tinygpt.layers.dropout import AFTER_ATTENTION, AFTER_MLP, ATTENTION
from tinygpt.recompute import Recomputed

REPLACES = ("layernorm", "linear", "attention", "gelu", "dropout")


def forward(
    x: Array, layers: Sequence[Mapping[str, Array]], w: Array, b: Array | None, n_head: int,
    approximate: str = "tanh", eps: float = 1e-5, dropout: float = 0.0, key: int = 0, row: int = 0,
    need_grad: bool = True, recompute: str = "none", *, ops: Any,
) -> tuple[Array, tuple]:  # fmt: skip
    """for params in layers: x = block(x, params); out = layernorm(x, w, b): as in `GPT.hidden`, and the block as in
    `Block`, both in `tinygpt/models/gpt2.py`.

    x: (B, T, C); layers: each block's parameters by their names within it; w, b: of the last LayerNorm; need_grad:
    False keeps nothing for backward; recompute: what backward computes again. The rest is the block's. Returns out:
    (B, T, C), cache.
    """
    norms = [(params["ln_1.weight"], params.get("ln_1.bias")) for params in layers] + [(w, b)]
    a, first = ops.layernorm.forward(x, *norms[0], eps)
    block, blocks = Recomputed(Block) if recompute == "blocks" else Block, []
    for layer, params in enumerate(layers):
        (x, a), cache = block.forward(
            x, a, params, *norms[layer + 1], n_head, approximate, eps, dropout, fold_in(key, layer), row,
            recompute == "gelu", ops=ops,
        )  # fmt: skip
        if need_grad:
            blocks.append(cache)
    return a, (first, block, blocks, ops)


def backward(dout: Array, cache: tuple, add: Callable[[dict[str, Array | None]], None]) -> Array:
    """dx: (B, T, C). dout: (B, T, C); add: takes the parameters' gradients by their names in the model, those of each
    layer as soon as they are known. dx is the gradient of the stream, da that of what LayerNorm makes of it.
    """
    first, block, blocks, ops = cache
    dx, da, after = None, dout, "ln_f."  # nothing but ln_f reads the last sum
    for layer in reversed(range(len(blocks))):
        dx, da = block.backward((dx, da), blocks[layer], add, f"h.{layer}.", after)
        after = f"h.{layer}.ln_1."
    da, dw, db = ops.layernorm.backward(da, first)
    add({after + "weight": dw, after + "bias": db})
    return da if dx is None else dx + da


class Block:
    """A block without its ln_1, and the LayerNorm after it: the next block's ln_1, or ln_f."""

    @staticmethod
    def forward(
        x: Array, a: Array, params: Mapping[str, Array], w: Array, b: Array | None, n_head: int, approximate: str,
        eps: float, dropout: float, key: int, row: int, recompute_gelu: bool, *, ops: Any,
    ) -> tuple[tuple[Array, Array], tuple]:  # fmt: skip
        """The stream after the block, and its LayerNorm. x: the stream, a: its ln_1, (B, T, C); w, b: of the LayerNorm
        after it.
        """
        residual_layernorm, mlp, get = ops.fused("residual_layernorm"), ops.fused("mlp"), params.get
        qkv, c_attn = ops.linear.forward(a, params["attn.c_attn.weight"], get("attn.c_attn.bias"))  # -> (B, T, 3C)
        a, attention = ops.attention.forward(qkv, n_head, dropout, fold_in(key, ATTENTION), row)  # -> (B, T, C)
        a, c_proj = ops.linear.forward(a, params["attn.c_proj.weight"], get("attn.c_proj.bias"))
        (x, m), ln_2 = residual_layernorm.forward(
            x, a, params["ln_2.weight"], get("ln_2.bias"), eps, dropout, fold_in(key, AFTER_ATTENTION), row, ops=ops
        )
        m, mlp_cache = mlp.forward(
            m, params["mlp.c_fc.weight"], get("mlp.c_fc.bias"), params["mlp.c_proj.weight"], get("mlp.c_proj.bias"),
            approximate, recompute=recompute_gelu, ops=ops,
        )  # fmt: skip
        out, ln_next = residual_layernorm.forward(x, m, w, b, eps, dropout, fold_in(key, AFTER_MLP), row, ops=ops)
        return out, (c_attn, attention, c_proj, ln_2, mlp_cache, ln_next, residual_layernorm, mlp, ops)

    @staticmethod
    def backward(
        douts: tuple[Array | None, Array], cache: tuple, add: Callable[[dict[str, Array | None]], None],
        here: str, after: str,
    ) -> tuple[Array, Array]:  # fmt: skip
        """dx, da: (B, T, C). douts: those after the block; here, after: how the names of its parameters begin, and
        of those of the LayerNorm after it. da and dm are the gradients of what is added to the stream.
        """
        c_attn, attention, c_proj, ln_2, mlp_cache, ln_next, residual_layernorm, mlp, ops = cache
        d: dict[str, Array | None] = {}
        dx, dm, d[after + "weight"], d[after + "bias"] = residual_layernorm.backward(douts, ln_next)
        dm, dw_fc, d[here + "mlp.c_fc.bias"], dw_proj, d[here + "mlp.c_proj.bias"] = mlp.backward(dm, mlp_cache)
        add({here + "mlp.c_fc.weight": dw_fc, here + "mlp.c_proj.weight": dw_proj})
        del dw_fc, dw_proj  # what they are made of is large
        dx, da, d[here + "ln_2.weight"], d[here + "ln_2.bias"] = residual_layernorm.backward((dx, dm), ln_2)
        da, dw_proj, d[here + "attn.c_proj.bias"] = ops.linear.backward(da, c_proj)
        dqkv = ops.attention.backward(da, attention)  # (B, T, C) -> (B, T, 3C)
        da, dw_attn, d[here + "attn.c_attn.bias"] = ops.linear.backward(dqkv, c_attn)
        add({here + "attn.c_attn.weight": dw_attn, here + "attn.c_proj.weight": dw_proj})
        del dw_attn, dw_proj, dqkv
        add(d)  # vectors: one kernel adds up all of a layer's
        return dx, da


# Generation: one new token of each of few sequences, by matrix-vector kernels


def decodes(x: Array, layers: Sequence[Mapping[str, Array]], keys: Array, values: Array) -> bool:
    """Whether `decode` is made for these: x, (B, 1, C), of few sequences, in a dtype and with heads they take."""
    return x.shape[1] == 1 and decoding.taken(x[:, 0], layers[0], keys[0], values[0])


def decode(
    x: Array, layers: Sequence[Mapping[str, Array]], w: Array, b: Array | None, keys: Array, values: Array, start: int,
    n_head: int, approximate: str = "tanh", eps: float = 1e-5,
) -> Array:  # fmt: skip
    """`forward` of one token after `start` others, as `Block.decode` has it in each block: five launches a layer.

    x: (B, 1, C); keys, values: (n_layer, B, H, S, D), of the first `start` positions, which take in the new one here;
    the rest as in forward. Returns out: (B, 1, C).
    """
    x = x[:, 0]  # (B, C)
    for layer, params in enumerate(layers):
        get = params.get
        ln_1, ln_2 = ((params[f"{name}.weight"], get(f"{name}.bias"), eps) for name in ("ln_1", "ln_2"))
        qkv = decoding.linear(x, params["attn.c_attn.weight"], get("attn.c_attn.bias"), norm=ln_1)  # -> (B, 3C)
        a = decoding.attention(qkv, keys[layer], values[layer], start, n_head)  # -> (B, C)
        x = decoding.linear(a, params["attn.c_proj.weight"], get("attn.c_proj.bias"), residual=x)
        h = decoding.linear(x, params["mlp.c_fc.weight"], get("mlp.c_fc.bias"), norm=ln_2, gelu=approximate)
        x = decoding.linear(h, params["mlp.c_proj.weight"], get("mlp.c_proj.bias"), residual=x)  # (B, 4C) -> (B, C)
    return decoding.layernorm(x, w, b, eps)[:, None]


def logits(x: Array, w: Array) -> Array:
    """x @ w^T, of the last hidden state and the head: (B, C), (V, C) -> (B, V)."""
    return decoding.head(x, w) if decoding.head_taken(x, w) else x @ w.T
