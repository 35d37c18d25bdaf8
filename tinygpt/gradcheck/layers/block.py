"""The block: what it is checked on, and the mistakes it is usually made with."""

from tinygpt.gradcheck.cases import Case, Draw
from tinygpt.models.gpt2 import Block, BlockOps, GPTConfig
from tinygpt.ops import DEFINITIONS

DEFINITION = Block
MADE_OF = "layernorm", "attention", "linear", "dropout", "mlp"
NAMES = {
    "forward": "x params n_head approximate eps dropout key row ops "
    "get a ln_1 qkv c_attn attention c_proj drop_1 m ln_2 mlp drop_2",
    "backward": "dout cache ln_1 c_attn attention c_proj drop_1 ln_2 mlp drop_2 ops d dm dx da dqkv name gradient",
}


def cases(draw: Draw) -> list[Case]:
    H, D, B, T = *draw.sizes(2, most=3), *draw.sizes(2, least=4, most=5)
    shapes = GPTConfig(n_layer=1, n_head=H, n_embd=H * D).shapes()
    params = {name.removeprefix("h.0."): draw.parameter(name, shapes[name]) for name in shapes if "h.0." in name}
    weights = {name: array for name, array in params.items() if name.endswith("weight")}
    given = {"x": draw.array(B, T, H * D), "params": params, "n_head": H, "ops": BlockOps(DEFINITIONS)}
    exact = {"params": weights, "approximate": "none", "dropout": 0.3, "key": 5}
    return [
        Case("", given),
        Case("dropout, no biases, exact GELU", given | exact),
        Case("one token, large eps", given | {"x": draw.array(1, 1, H * D), "eps": 0.1}),
    ]


# fmt: off
MISTAKES = [
    ("attention_residual_forgotten", "term", ("return dx + da, ...", "return da, ..."),
     "the residual path around attention is missing: dx is only what comes back through attention",
     "the residual path around attention"),
    ("mlp_residual_forgotten", "term", ("dx = dout + dm", "dx = dm"),
     "the residual path around the MLP is missing: only what comes back through the MLP goes on",
     "the residual path around the MLP"),
    ("mlp_branch_forgotten", "term", ("dx = dout + dm", "dx = dout"),
     "what comes back through the MLP is not added to the residual stream", "what comes back through the MLP"),
    ("attention_branch_forgotten", "term", ("return dx + da, ...", "return dx, ..."),
     "what comes back through attention is not added to the residual stream", "what comes back through attention"),
    ("mlp_residual_twice", "term", ("dx = dout + dm", "dx = dout + dout + dm"),
     "the residual path around the MLP is added twice"),
    ("stream_without_mlp", "term", ("return dx + da, ...", "return dout + da, ..."),
     "dout + da is returned, where dx + da belongs: what came back through the MLP is lost on its way to x"),
    ("attention_residual_twice", "term", ("return dx + da, ...", "return dx + dx + da, ..."),
     "the residual path around attention is added twice"),
    ("attention_from_dout", "term", ("ops.dropout.backward(dx, drop_1)", "ops.dropout.backward(dout, drop_1)"),
     "attention's branch starts from dout and misses what came back through the MLP"),
    ("ln_1_skipped", "formula", ("ops.layernorm.backward(da, ln_1)", "(da, *ops.layernorm.backward(da, ln_1)[1:])"),
     "the gradient goes around ln_1: it does not pass through its backward"),
    ("ln_2_skipped", "formula", ("ops.layernorm.backward(dm, ln_2)", "(dm, *ops.layernorm.backward(dm, ln_2)[1:])"),
     "the gradient goes around ln_2: it does not pass through its backward"),
    ("layernorms_swapped", "layout",
     ('dm, d["ln_2.weight"], d["ln_2.bias"] = ...', 'dm, d["ln_1.weight"], d["ln_1.bias"] = ...'),
     ('da, d["ln_1.weight"], d["ln_1.bias"] = ...', 'da, d["ln_2.weight"], d["ln_2.bias"] = ...'),
     "the gradients of ln_1 and ln_2 stand in each other's place"),
    ("mlp_dropout_skipped", "mask", ("ops.dropout.backward(dout, drop_2)", "dout"),
     "what goes back into the MLP does not pass through its dropout mask"),
    ("attention_dropout_skipped", "mask", ("ops.dropout.backward(dx, drop_1)", "dx"),
     "what goes back into attention's projection does not pass through its dropout mask"),
    ("forward_without_mlp_residual", "forward", ("return x + m, ...", "return m, ..."), ("dx = dout + dm", "dx = dm"),
     "forward leaves the residual path around the MLP out"),
    ("dropouts_swapped", "layout", ("ops.dropout.backward(dout, drop_2)", "ops.dropout.backward(dout, drop_1)"),
     ("ops.dropout.backward(dx, drop_1)", "ops.dropout.backward(dx, drop_2)"),
     "the caches of the two dropouts stand in each other's place"),
    ("norm_caches_swapped", "layout", ("ops.layernorm.backward(dm, ln_2)", "ops.layernorm.backward(dm, ln_1)"),
     ("ops.layernorm.backward(da, ln_1)", "ops.layernorm.backward(da, ln_2)"),
     "the caches of ln_1 and ln_2 stand in each other's place"),
    ("cache_of_ln_1_for_ln_2", "layout", ("ops.layernorm.backward(dm, ln_2)", "ops.layernorm.backward(dm, ln_1)"),
     "ln_2's backward is given ln_1's cache"),
    ("cache_of_ln_2_for_ln_1", "layout", ("ops.layernorm.backward(da, ln_1)", "ops.layernorm.backward(da, ln_2)"),
     "ln_1's backward is given ln_2's cache"),
    ("cache_of_drop_1_for_drop_2", "mask", ("ops.dropout.backward(dout, drop_2)", "ops.dropout.backward(dout, drop_1)"),
     "the backward of the MLP's dropout is given the cache of attention's"),
    ("cache_of_drop_2_for_drop_1", "mask", ("ops.dropout.backward(dx, drop_1)", "ops.dropout.backward(dx, drop_2)"),
     "the backward of attention's dropout is given the cache of the MLP's"),
    ("stream_through_ln_1", "formula", ("ops.layernorm.backward(da, ln_1)", "ops.layernorm.backward(dx + da, ln_1)"),
     ("return dx + da, ...", "return da, ..."),
     "the residual path around attention goes through ln_1's backward, which it passes by"),
    ("stream_through_ln_2", "formula", ("ops.layernorm.backward(dm, ln_2)", "ops.layernorm.backward(dout + dm, ln_2)"),
     ("dx = dout + dm", "dx = dm"),
     "the residual path around the MLP goes through ln_2's backward, which it passes by"),
    ("forward_without_attention_residual", "forward", ("x = x + a\nm, ln_2 = ...", "x = a\nm, ln_2 = ..."),
     ("return dx + da, ...", "return da, ..."), "forward leaves the residual path around attention out"),
    ("both_dropouts_skipped", "mask", ("ops.dropout.backward(dout, drop_2)", "dout"),
     ("ops.dropout.backward(dx, drop_1)", "dx"),
     "what goes back passes through neither of the two dropout masks, the MLP's and attention's"),
]
