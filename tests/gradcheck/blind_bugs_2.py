"""Twenty-five more wrong layers written by someone who had not read the library of mutants."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinygpt.backend import bmm, random_bits
from tinygpt.layers import softmax
from tinygpt.layers.attention import merge_heads, split_heads


class Bug(NamedTuple):
    name: str
    layer: str
    families: tuple[str, ...]
    what: str
    backward: Callable
    forward: Callable | None = None  # None: the definition's own


# Embedding and linear


def embedding_row_by_row(dout, cache):
    idx, w = cache
    dw = np.zeros_like(w)
    C = w.shape[1]
    for tokens, grad in zip(np.atleast_2d(idx), dout.reshape(-1, idx.shape[-1], C), strict=True):
        dw[tokens] += grad  # a token that a sequence holds twice is added once
    return dw


def linear_reshape_for_transpose(dout, cache):
    x, w, has_bias = cache
    drows = dout.reshape(-1, w.shape[1])
    dw = x.reshape(w.shape[0], -1) @ drows  # not x.reshape(-1, I).T
    return (drows @ w.T).reshape(x.shape), dw, drows.sum(axis=0) if has_bias else None


# LayerNorm


def layernorm_own_forward(x, w, b=None, eps=1e-5):
    mu, var = x.mean(-1, keepdims=True), x.var(-1, keepdims=True)
    out = w * (x - mu) / np.sqrt(var + eps)
    return out if b is None else out + b, (x, mu, var, w, eps, b is not None)


def layernorm_variance_from_x(dout, cache):
    x, mu, var, w, eps, has_bias = cache
    rows, C = tuple(range(x.ndim - 1)), x.shape[-1]
    centred, std = x - mu, np.sqrt(var + eps)
    dxhat = dout * w
    dvar = -0.5 * (dxhat * x).sum(-1, keepdims=True) / std**3  # x, not centred
    dmu = -(dxhat / std).sum(-1, keepdims=True)
    dx = dxhat / std + 2 * centred * dvar / C + dmu / C
    return dx, (dout * centred / std).sum(rows), dout.sum(rows) if has_bias else None


def layernorm_over_variance_forward(x, w, b=None, eps=1e-5):
    centred = x - x.mean(-1, keepdims=True)
    inverse = 1 / ((centred * centred).mean(-1, keepdims=True) + eps)  # no square root
    out = centred * inverse * w
    return out if b is None else out + b, (centred, inverse, w, b is not None)


def layernorm_over_variance(dout, cache):
    centred, inverse, w, has_bias = cache
    rows = tuple(range(dout.ndim - 1))
    dxhat = dout * w
    along = (dxhat * centred).mean(-1, keepdims=True)
    dx = inverse * (dxhat - dxhat.mean(-1, keepdims=True) - 2 * inverse * centred * along)
    return dx, (dout * centred * inverse).sum(rows), dout.sum(rows) if has_bias else None


def layernorm_dout_overwritten(dout, cache):
    xhat, rstd, w, has_bias = cache
    rows = tuple(range(dout.ndim - 1))
    dout = dout * w  # for dx, but dw and db still read it below
    dx = rstd * (dout - dout.mean(-1, keepdims=True) - xhat * (dout * xhat).mean(-1, keepdims=True))
    return dx, (dout * xhat).sum(rows), dout.sum(rows) if has_bias else None


def layernorm_from_batchnorm(dout, cache):
    xhat, rstd, w, has_bias = cache
    rows = tuple(range(dout.ndim - 1))
    dxhat = dout * w
    along = (dxhat * xhat).mean(-1, keepdims=True)
    dx = rstd * (dxhat - dxhat.mean(0, keepdims=True) - xhat * along)  # mean over the batch
    return dx, (dout * xhat).mean(rows), dout.sum(rows) if has_bias else None  # dw a mean


# GELU and softmax


def gelu_parenthesis_forward(x, approximate="tanh"):
    t = np.tanh(np.sqrt(2 / np.pi) * x + 0.044715 * x**3)  # the root multiplies x alone
    return 0.5 * x * (1 + t), (x, t)


def gelu_parenthesis(dout, cache):
    x, t = cache
    du = np.sqrt(2 / np.pi) + 3 * 0.044715 * x**2
    return dout * 0.5 * (1 + t + x * (1 - t * t) * du)


def gelu_phi_as_sigmoid(dout, cache):
    x, phi, approximate = cache
    if approximate == "tanh":
        density = phi * (1 - phi) * np.sqrt(2 / np.pi) * (1 + 3 * 0.044715 * x * x)  # no factor 2
    else:
        density = 0.5 * np.exp(-0.5 * x * x) / np.sqrt(2 * np.pi)  # halved too
    return dout * (phi + x * density)


def softmax_as_log_softmax(dout, cache):
    (out,) = cache
    return dout - out * dout.sum(-1, keepdims=True)


def softmax_sum_over_first(dout, cache):
    (out,) = cache
    return out * (dout - (dout * out).sum(axis=0, keepdims=True))


# Attention


def thin(weights, keep, p):
    return weights if keep is None else weights * keep / (1 - p)


def pack(dq, dk, dv):
    """3 x (B, H, T, D) -> (B, T, 3C)."""
    return np.concatenate([merge_heads(d) for d in (dq, dk, dv)], axis=-1)


def attention_recomputed_off_by_one(dout, cache):
    q, k, v, _, keep, p = cache
    T, root = q.shape[2], np.sqrt(q.shape[-1])
    dout = split_heads(dout, q.shape[1], parts=1)[0]
    past = np.tril(np.ones((T, T), dtype=bool), 1)  # lets the next position in
    weights, _ = softmax.forward(np.where(past, bmm(q, k, transpose_b=True) / root, -np.inf))
    dweights = thin(bmm(dout, v, transpose_b=True), keep, p)
    dscores = softmax.backward(dweights, (weights,)) / root
    dv = bmm(thin(weights, keep, p), dout, transpose_a=True)
    return pack(bmm(dscores, k), bmm(dscores, q, transpose_a=True), dv)


def attention_packed_by_head(dout, cache):
    q, k, v, weights, keep, p = cache
    B, T, C = dout.shape
    dout = split_heads(dout, q.shape[1], parts=1)[0]
    dweights = thin(bmm(dout, v, transpose_b=True), keep, p)
    dscores = softmax.backward(dweights, (weights,)) / np.sqrt(q.shape[-1])
    dv = bmm(thin(weights, keep, p), dout, transpose_a=True)
    dqkv = np.stack((bmm(dscores, k), bmm(dscores, q, transpose_a=True), dv))  # (3, B, H, T, D)
    return dqkv.transpose(1, 3, 2, 0, 4).reshape(B, T, 3 * C)  # (B, T, H, 3, D)


def attention_half_scaled_diagonal(dout, cache):
    q, k, v, weights, keep, p = cache
    dout = split_heads(dout, q.shape[1], parts=1)[0]
    dweights = thin(bmm(dout, v, transpose_b=True), keep, p)
    dscores = weights * dweights  # the row's average is not taken away
    dq = bmm(dscores, k) / np.sqrt(q.shape[-1])
    dk = bmm(dscores, q, transpose_a=True)  # not scaled
    return pack(dq, dk, bmm(thin(weights, keep, p), dout, transpose_a=True))


def attention_softmax_over_queries_forward(qkv, n_head, dropout=0.0, key=0, row=0):
    q, k, v = split_heads(qkv, n_head)
    T = q.shape[2]
    scores = np.where(np.tri(T, dtype=bool), bmm(q, k, transpose_b=True) / np.sqrt(q.shape[-1]), -np.inf)
    exps = np.exp(scores - scores.max(axis=-2, keepdims=True))
    weights = exps / exps.sum(axis=-2, keepdims=True)  # columns sum to one, not rows
    keep = random_bits(weights.shape, key, row, np) >= np.uint32(dropout * 2**32) if dropout > 0 else None
    return merge_heads(bmm(thin(weights, keep, dropout), v)), (q, k, v, weights, keep, dropout)


def attention_softmax_over_queries(dout, cache):
    q, k, v, weights, keep, p = cache
    dout = split_heads(dout, q.shape[1], parts=1)[0]
    dweights = thin(bmm(dout, v, transpose_b=True), keep, p)
    dscores = weights * (dweights - (dweights * weights).sum(axis=-2, keepdims=True)) / np.sqrt(q.shape[-1])
    dv = bmm(thin(weights, keep, p), dout, transpose_a=True)
    return pack(bmm(dscores, k), bmm(dscores, q, transpose_a=True), dv)


def attention_softmax_of_dropped(dout, cache):
    q, k, v, weights, keep, p = cache
    dout = split_heads(dout, q.shape[1], parts=1)[0]
    weights = thin(weights, keep, p)  # right for dv, but softmax's backward needs them undropped
    dweights = thin(bmm(dout, v, transpose_b=True), keep, p)
    dscores = softmax.backward(dweights, (weights,)) / np.sqrt(q.shape[-1])
    return pack(bmm(dscores, k), bmm(dscores, q, transpose_a=True), bmm(weights, dout, transpose_a=True))


def attention_keys_into_a_copy(dout, cache):
    q, k, v, weights, keep, p = cache
    B, T, C = dout.shape
    dqkv = np.zeros((B, T, 3 * C), dout.dtype)
    dq, dk, dv = split_heads(dqkv, q.shape[1])  # views
    dout = split_heads(dout, q.shape[1], parts=1)[0]
    dweights = thin(bmm(dout, v, transpose_b=True), keep, p)
    dscores = softmax.backward(dweights, (weights,)) / np.sqrt(q.shape[-1])
    dq[...] = bmm(dscores, k)
    dk.reshape(-1)[:] = bmm(dscores, q, transpose_a=True).reshape(-1)  # reshape copies a strided view
    dv[...] = bmm(thin(weights, keep, p), dout, transpose_a=True)
    return dqkv


# Cross-entropy, dropout and MLP


def cross_entropy_target_columns(dout, cache):
    shifted, log_total, (_, columns), counted, denominator, shape = cache
    dlogits = np.exp(shifted - log_total[:, None])
    dlogits[:, columns] -= 1  # in every row, at every row's target
    return (dlogits * (counted * dout / denominator)[:, None]).reshape(shape)


def cross_entropy_mean_of_everything(dout, cache):
    shifted, log_total, places, _, _, shape = cache
    dlogits = np.exp(shifted - log_total[:, None])
    dlogits[places] -= 1  # ignored rows pass for target 0
    return (dlogits * dout / dlogits.size).reshape(shape)


def dropout_new_mask(dout, cache):
    keep, p = cache
    if keep is None:
        return dout
    return dout * (np.random.default_rng(0).random(dout.shape) >= p) / (1 - p)


def mlp_gelu_at_its_output(dout, cache):
    fc_cache, (_, _, approximate), proj_cache, ops = cache
    da, dw_proj, db_proj = ops.linear.backward(dout, proj_cache)
    a = proj_cache[0]
    dh = ops.gelu.backward(da, ops.gelu.forward(a, approximate)[1])  # the slope at gelu(h), not at h
    return *ops.linear.backward(dh, fc_cache), dw_proj, db_proj


def mlp_relu_slope_no_bias(dout, cache):
    fc_cache, (h, _, _), proj_cache, ops = cache
    da, dw_proj, db_proj = ops.linear.backward(dout, proj_cache)
    dx, dw_fc, db_fc = ops.linear.backward(da * (h > 0), fc_cache)
    return dx, dw_fc, db_fc, dw_proj, None if db_proj is None else np.zeros_like(db_proj)


# Block


def mlp_branch(dout, cache, d):
    """The gradient of x that comes through dropout, mlp and ln_2; the parameters' go into d."""
    *_, ln_2, mlp, drop_2, ops = cache
    dm, d["mlp.c_fc.weight"], d["mlp.c_fc.bias"], d["mlp.c_proj.weight"], d["mlp.c_proj.bias"] = ops.mlp.backward(
        ops.dropout.backward(dout, drop_2), mlp
    )
    dm, d["ln_2.weight"], d["ln_2.bias"] = ops.layernorm.backward(dm, ln_2)
    return dm


def attention_branch(dout, cache, d):
    ln_1, c_attn, attention, c_proj, drop_1, *_, ops = cache
    da = ops.dropout.backward(dout, drop_1)
    da, d["attn.c_proj.weight"], d["attn.c_proj.bias"] = ops.linear.backward(da, c_proj)
    da = ops.attention.backward(da, attention)
    da, d["attn.c_attn.weight"], d["attn.c_attn.bias"] = ops.linear.backward(da, c_attn)
    da, d["ln_1.weight"], d["ln_1.bias"] = ops.layernorm.backward(da, ln_1)
    return da


def block_attention_from_dout(dout, cache):
    d = {}
    dx = dout + mlp_branch(dout, cache, d)
    dx = dx + attention_branch(dout, cache, d)  # should receive dx
    return dx, {name: grad for name, grad in d.items() if grad is not None}


def block_norms_swapped(dout, cache):
    d = {}
    dx = dout + mlp_branch(dout, cache, d)
    da = attention_branch(dx, cache, d)
    for part in ("weight", "bias"):
        d[f"ln_1.{part}"], d[f"ln_2.{part}"] = d[f"ln_2.{part}"], d[f"ln_1.{part}"]
    return dout + da, {name: grad for name, grad in d.items() if grad is not None}  # dx + da


# The head and its loss


def lm_head_last_third(dout, cache):
    (x, w_t, _), loss_cache, ops = cache
    dlogits = ops.cross_entropy.backward(dout, loss_cache) / len(x)  # a second mean
    dx, dw = np.empty_like(x), np.zeros_like(w_t.T)
    step = -(-len(x) // 3)
    for start in range(0, len(x), step or 1):
        part = slice(start, start + step)
        dx[part] = dlogits[part] @ w_t.T
        dw = dlogits[part].T @ x[part]  # +=
    return dx, dw


def lm_head_target_minus_average(dout, cache):
    (x, w_t, _), loss_cache, ops = cache
    shifted, log_total, (_, targets), counted, denominator, _ = loss_cache
    probs, w = np.exp(shifted - log_total[:, None]), w_t.T
    dx = (w[targets] - probs @ w) * (counted * dout / denominator)[:, None]
    return dx, ops.cross_entropy.backward(dout, loss_cache).T @ x


BUGS = [
    Bug(
        "embedding_row_by_row",
        "embedding",
        ("accumulation",),
        "A token that occurs twice in the same sequence gets only its last gradient there.",
        embedding_row_by_row,
    ),
    Bug(
        "linear_reshape_for_transpose",
        "linear",
        ("layout",),
        "dw reshapes x to (I, N) where it should reshape to (N, I) and transpose.",
        linear_reshape_for_transpose,
    ),
    Bug(
        "layernorm_variance_from_x",
        "layernorm",
        ("formula",),
        "The variance's gradient multiplies by x instead of x minus its mean.",
        layernorm_variance_from_x,
        layernorm_own_forward,
    ),
    Bug(
        "layernorm_over_variance",
        "layernorm",
        ("forward",),
        "The forward divides by the variance, not by its square root.",
        layernorm_over_variance,
        layernorm_over_variance_forward,
    ),
    Bug(
        "layernorm_dout_overwritten",
        "layernorm",
        ("formula",),
        "dw and db are computed from dout * w, because dout was overwritten with it.",
        layernorm_dout_overwritten,
    ),
    Bug(
        "layernorm_from_batchnorm",
        "layernorm",
        ("axis", "scale"),
        "dxhat's mean in dx is taken over the first axis, and dw is a mean over the rows instead of a sum.",
        layernorm_from_batchnorm,
    ),
    Bug(
        "gelu_parenthesis",
        "gelu",
        ("forward",),
        "The forward multiplies only x by sqrt(2/pi) and not the cubic term.",
        gelu_parenthesis,
        gelu_parenthesis_forward,
    ),
    Bug(
        "gelu_phi_as_sigmoid",
        "gelu",
        ("scale",),
        "Phi' is phi (1 - phi) u' without its factor 2, half of what it should be.",
        gelu_phi_as_sigmoid,
    ),
    Bug(
        "softmax_as_log_softmax",
        "softmax",
        ("formula",),
        "The backward is that of log-softmax.",
        softmax_as_log_softmax,
    ),
    Bug(
        "softmax_sum_over_first",
        "softmax",
        ("axis",),
        "The sum of dout * out runs over the first axis instead of the last.",
        softmax_sum_over_first,
    ),
    Bug(
        "attention_recomputed_off_by_one",
        "attention",
        ("mask",),
        "The weights are recomputed in the backward with a causal mask that lets the next position in.",
        attention_recomputed_off_by_one,
    ),
    Bug(
        "attention_packed_by_head",
        "attention",
        ("layout",),
        "dqkv is packed as q, k, v of the first head, then of the second, and so on.",
        attention_packed_by_head,
    ),
    Bug(
        "attention_half_scaled_diagonal",
        "attention",
        ("scale", "term"),
        "Softmax's backward lacks the row's average, and dk lacks 1/sqrt(D).",
        attention_half_scaled_diagonal,
    ),
    Bug(
        "attention_softmax_over_queries",
        "attention",
        ("forward",),
        "The forward normalises the weights over the queries instead of the keys.",
        attention_softmax_over_queries,
        attention_softmax_over_queries_forward,
    ),
    Bug(
        "attention_softmax_of_dropped",
        "attention",
        ("mask", "formula"),
        "Softmax's backward uses the weights after dropout instead of those before it.",
        attention_softmax_of_dropped,
    ),
    Bug(
        "attention_keys_into_a_copy",
        "attention",
        ("zero",),
        "dk is written into a copy of its part of dqkv, which stays zero.",
        attention_keys_into_a_copy,
    ),
    Bug(
        "cross_entropy_target_columns",
        "cross_entropy",
        ("mask", "term"),
        "One is subtracted in every row at the targets of all rows.",
        cross_entropy_target_columns,
    ),
    Bug(
        "cross_entropy_mean_of_everything",
        "cross_entropy",
        ("scale", "mask"),
        "The gradient is divided by the number of logits, and ignored rows get a gradient as if their target were 0.",
        cross_entropy_mean_of_everything,
    ),
    Bug(
        "dropout_new_mask",
        "dropout",
        ("mask",),
        "The backward draws a mask of its own instead of using the forward's.",
        dropout_new_mask,
    ),
    Bug(
        "mlp_gelu_at_its_output",
        "mlp",
        ("formula",),
        "GELU's derivative is taken at its output instead of its input.",
        mlp_gelu_at_its_output,
    ),
    Bug(
        "mlp_relu_slope_no_bias",
        "mlp",
        ("formula", "zero"),
        "GELU's derivative is ReLU's, and db_proj is zeros.",
        mlp_relu_slope_no_bias,
    ),
    Bug(
        "block_attention_from_dout",
        "block",
        ("term",),
        "The attention branch receives dout alone, without what comes back through the MLP branch.",
        block_attention_from_dout,
    ),
    Bug(
        "block_norms_swapped",
        "block",
        ("layout", "term"),
        "The gradients of ln_1 and ln_2 are stored under each other's names, and dx lacks the MLP branch's own part.",
        block_norms_swapped,
    ),
    Bug(
        "lm_head_last_third",
        "lm_head_loss",
        ("scale", "accumulation"),
        "The gradient is divided by the number of rows once more, and dw keeps only the last chunk of rows.",
        lm_head_last_third,
    ),
    Bug(
        "lm_head_target_minus_average",
        "lm_head_loss",
        ("sign",),
        "dx is the target's row minus the average row: the negative of what it should be.",
        lm_head_target_minus_average,
    ),
]
