"""Twenty-five wrong layers written by someone who had not read the library of mutants."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from tinygpt.backend import random_bits
from tinygpt.layers import attention


class Bug(NamedTuple):
    name: str
    layer: str
    families: tuple[str, ...]
    what: str  # a pair begins with "Two mistakes"
    backward: Callable
    forward: Callable | None = None  # None: the definition's


# embedding, linear


def embedding_by_sequence(dout, cache):
    idx, w = cache
    dw = np.zeros_like(w)
    for tokens, d in zip(idx, dout, strict=True):
        dw[tokens] += d
    return dw


def linear_x_reshaped(dout, cache):
    x, w, has_bias = cache
    drows = dout.reshape(-1, w.shape[1])
    db = drows.sum(axis=0) if has_bias else None
    dw = x.reshape(w.shape[0], -1) @ drows
    return (drows @ w.T).reshape(x.shape), dw, db


# layernorm


def layernorm_mean_of_dout(dout, cache):
    xhat, rstd, w, has_bias = cache
    rows = tuple(range(dout.ndim - 1))
    dxhat = dout * w
    along = (dxhat * xhat).mean(axis=-1, keepdims=True)
    dx = rstd * (dxhat - dout.mean(axis=-1, keepdims=True) - xhat * along)
    return dx, (dout * xhat).sum(axis=rows), dout.sum(axis=rows) if has_bias else None


def layernorm_as_batchnorm(dout, cache):
    xhat, rstd, w, has_bias = cache
    rows = tuple(range(dout.ndim - 1))
    dxhat = dout * w
    dx = rstd * (dxhat - dxhat.mean(axis=0) - xhat * (dxhat * xhat).mean(axis=0))
    return dx, (dout * xhat).sum(axis=rows), dout.sum(axis=rows) if has_bias else None


def layernorm_steps_forward(x, w, b=None, eps=1e-5):
    mean = x.mean(axis=-1, keepdims=True)
    var = x.var(axis=-1, keepdims=True)
    xhat = (x - mean) * (var + eps) ** -0.5
    out = xhat * w if b is None else xhat * w + b
    return out, (x, mean, var + eps, xhat, w, b is not None)


def layernorm_steps(dout, cache):
    x, mean, var, xhat, w, has_bias = cache
    C = x.shape[-1]
    rows = tuple(range(dout.ndim - 1))
    dxhat = dout * w
    dvar = (dxhat * (x - mean) * -0.5 * var**-1.5).sum(axis=-1, keepdims=True)
    dmean = (dxhat * var**-0.5).sum(axis=-1, keepdims=True) + dvar * (-2 * (x - mean)).mean(axis=-1, keepdims=True)
    dx = dxhat * var**-0.5 + dvar * 2 * (x - mean) / C + dmean / C
    return dx, (dout * xhat).sum(axis=rows), dout.sum(axis=rows) if has_bias else None


def layernorm_sum_and_no_mean(dout, cache):
    xhat, rstd, w, has_bias = cache
    rows = tuple(range(dout.ndim - 1))
    dxhat = dout * w
    dx = rstd * (dxhat - xhat * (dxhat * xhat).sum(axis=-1, keepdims=True))
    return dx, (dout * xhat).sum(axis=rows), dout.sum(axis=rows) if has_bias else None


def layernorm_unbiased_forward(x, w, b=None, eps=1e-5):
    var = x.var(axis=-1, ddof=1, keepdims=True)
    rstd = 1 / np.sqrt(var + eps)
    xhat = (x - x.mean(axis=-1, keepdims=True)) * rstd
    out = xhat * w if b is None else xhat * w + b
    return out, (xhat, rstd, w, b is not None)


def layernorm_unbiased(dout, cache):
    xhat, rstd, w, has_bias = cache
    rows = tuple(range(dout.ndim - 1))
    dxhat = dout * w
    along = (dxhat * xhat).sum(axis=-1, keepdims=True) / (xhat.shape[-1] - 1)
    dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True) - xhat * along)
    return dx, (dout * xhat).sum(axis=rows), dout.sum(axis=rows) if has_bias else None


# gelu, softmax, dropout


def gelu_sigmoid_forward(x, approximate="tanh"):
    s = 1 / (1 + np.exp(-1.702 * x))
    return x * s, (x, s)


def gelu_sigmoid(dout, cache):
    x, s = cache
    return dout * (s + 1.702 * x * s * (1 - s))


def gelu_half_and_cube_lost(dout, cache):
    x, phi, _ = cache
    tanh = 2 * phi - 1
    return dout * (0.5 * (1 + tanh) + x * (1 - tanh**2) * (2 / np.pi) ** 0.5)


def softmax_as_sigmoid(dout, cache):
    (out,) = cache
    return dout * out * (1 - out)


def dropout_redrawn_forward(x, p, key=0, row=0):
    keep = random_bits(x.shape, key, row, np) >= np.uint32(p * 2**32)
    return x * keep / (1 - p), (p, key, row)


def dropout_redrawn(dout, cache):
    p, key, row = cache
    keep = random_bits(dout.shape, key + 1, row, np) >= np.uint32(p * 2**32)
    return dout * keep / (1 - p)


# attention


def drop(weights, keep, dropout):
    return weights if keep is None else weights * keep / (1 - dropout)


def pack(*parts):
    return np.concatenate([attention.merge_heads(part) for part in parts], axis=-1)


def softmax_rows(scores):
    exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def softmax_back(dweights, weights):
    return weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))


def attention_peeks(dout, cache):
    q, k, v, _, keep, dropout = cache
    T, D = q.shape[-2:]
    future = np.triu(np.ones((T, T), dtype=bool), k=2)
    weights = softmax_rows(np.where(future, -np.inf, q @ k.swapaxes(-1, -2) * D**-0.5))
    dout = attention.split_heads(dout, q.shape[1], parts=1)[0]
    dv = drop(weights, keep, dropout).swapaxes(-1, -2) @ dout
    dscores = softmax_back(drop(dout @ v.swapaxes(-1, -2), keep, dropout), weights) * D**-0.5
    return pack(dscores @ k, dscores.swapaxes(-1, -2) @ q, dv)


def attention_row_sum(dout, cache):
    q, k, v, weights, keep, dropout = cache
    dout = attention.split_heads(dout, q.shape[1], parts=1)[0]
    dropped = drop(weights, keep, dropout)
    dv = dropped.swapaxes(-1, -2) @ dout
    dweights = drop(dout @ v.swapaxes(-1, -2), keep, dropout)
    row_sum = (dweights * dropped).sum(axis=-1, keepdims=True)
    dscores = weights * (dweights - row_sum) * q.shape[-1] ** -0.5
    return pack(dscores @ k, dscores.swapaxes(-1, -2) @ q, dv)


def attention_scaled_q_forward(qkv, n_head, dropout=0.0, key=0, row=0):
    out, (q, *rest) = attention.forward(qkv, n_head, dropout, key, row)
    return out, (q * q.shape[-1] ** -0.5, *rest)  # kept as the product with k uses it


def attention_scaled_q(dout, cache):
    q, k, v, weights, keep, dropout = cache
    dout = attention.split_heads(dout, q.shape[1], parts=1)[0]
    dv = drop(weights, keep, dropout).swapaxes(-1, -2) @ dout
    dweights = drop(dout @ v.swapaxes(-1, -2), keep, dropout)
    dscores = softmax_back(dweights, weights) * q.shape[-1] ** -0.5
    return pack(dscores @ k, dscores.swapaxes(-1, -2) @ q, dv)


def attention_dout_reshaped(dout, cache):
    q, k, v, weights, keep, dropout = cache
    dout = dout.reshape(q.shape)
    dv = drop(weights, keep, dropout).swapaxes(-1, -2) @ dout
    dweights = drop(dout @ v.swapaxes(-1, -2), keep, dropout)
    dscores = softmax_back(dweights, weights) * q.shape[-1] ** -0.5
    return pack(dscores @ k, dscores.swapaxes(-1, -2) @ q, dv)


def attention_over_queries(dout, cache):
    q, k, v, weights, keep, dropout = cache
    dout = attention.split_heads(dout, q.shape[1], parts=1)[0]
    dv = drop(weights, keep, dropout).swapaxes(-1, -2) @ dout
    dweights = drop(dout @ v.swapaxes(-1, -2), keep, dropout)
    dscores = weights * (dweights - (dweights * weights).sum(axis=-2, keepdims=True)) * q.shape[-1] ** -0.5
    return pack(dscores @ k, dv, dscores.swapaxes(-1, -2) @ q)


def attention_mask_late_forward(qkv, n_head, dropout=0.0, key=0, row=0):
    q, k, v = attention.split_heads(qkv, n_head)
    T, D = q.shape[-2:]
    past = np.tril(np.ones((T, T), dtype=bool))
    weights = softmax_rows(q @ k.swapaxes(-1, -2) * D**-0.5)
    keep = None
    if dropout > 0:
        keep = random_bits(weights.shape, key, row, np) >= np.uint32(dropout * 2**32)
    out = drop(weights * past, keep, dropout) @ v
    return attention.merge_heads(out), (q, k, v, weights, past, keep, dropout)


def attention_mask_late(dout, cache):
    q, k, v, weights, past, keep, dropout = cache
    dout = attention.split_heads(dout, q.shape[1], parts=1)[0]
    dv = drop(weights * past, keep, dropout).swapaxes(-1, -2) @ dout
    dweights = drop(dout @ v.swapaxes(-1, -2), keep, dropout) * past
    dscores = softmax_back(dweights, weights) * q.shape[-1] ** -0.5
    return pack(dscores @ k, dscores.swapaxes(-1, -2) @ q, dv)


# cross_entropy, lm_head_loss


def cross_entropy_probs_forward(logits, targets, denominator=None):
    probs = softmax_rows(logits.reshape(-1, logits.shape[-1]))
    targets = targets.reshape(-1)
    counted = targets >= 0
    if denominator is None:
        denominator = float(max(counted.sum(), 1))
    losses = -np.log(probs[np.arange(len(targets)), targets])
    return np.asarray(losses[counted].sum() / denominator), (probs, targets, denominator, logits.shape)


def cross_entropy_minus_one_is_last(dout, cache):
    probs, targets, denominator, shape = cache
    dlogits = probs.copy()
    dlogits[np.arange(len(targets)), targets] -= 1
    return (dlogits * dout / denominator).reshape(shape)


def cross_entropy_over_all_rows(dout, cache):
    shifted, log_total, places, counted, _, shape = cache
    dlogits = np.exp(shifted - log_total[:, None])
    dlogits[places] -= 1
    dlogits[~counted] = 0
    return (dlogits * dout / len(dlogits)).reshape(shape)


def lm_head_loss_reshaped(dout, cache):
    linear_cache, loss_cache, ops = cache
    dlogits = ops.cross_entropy.backward(dout, loss_cache)
    dx, dw, _ = ops.linear.backward(dlogits, linear_cache)
    return dx, dw.reshape(dw.shape[::-1])


def lm_head_loss_in_chunks(dout, cache):
    (x, w_transposed, _), loss_cache, ops = cache
    chunks = np.array_split(np.arange(len(x)), 2)
    dlogits = ops.cross_entropy.backward(dout / len(chunks), loss_cache)
    dx = np.empty_like(x)
    for rows in chunks:
        dx[rows] = dlogits[rows] @ w_transposed.T
        dw = dlogits[rows].T @ x[rows]
    return dx, dw


# mlp, block


def mlp_gelu_at_output(dout, cache):
    fc_cache, gelu_cache, proj_cache, ops = cache
    da, dw_proj, db_proj = ops.linear.backward(dout, proj_cache)
    _, gelu_cache = ops.gelu.forward(proj_cache[0], gelu_cache[2])
    dh = ops.gelu.backward(da, gelu_cache)
    dx, dw_fc, db_fc = ops.linear.backward(dh, fc_cache)
    return dx, dw_fc, db_fc, dw_proj, db_proj


def mlp_biases(dout, cache):
    fc_cache, gelu_cache, proj_cache, ops = cache
    da, dw_proj, db_proj = ops.linear.backward(dout, proj_cache)
    dh = ops.gelu.backward(da, gelu_cache)
    dx, dw_fc, db_fc = ops.linear.backward(dh, fc_cache)
    if db_fc is not None:
        db_fc = da.sum(axis=(0, 1))
    if db_proj is not None:
        db_proj = np.zeros_like(db_proj)
    return dx, dw_fc, db_fc, dw_proj, db_proj


def block_attention_branch(dx, cache, d):
    ln_1, c_attn, attention_cache, c_proj, drop_1, _, _, _, ops = cache
    da = ops.dropout.backward(dx, drop_1)
    da, d["attn.c_proj.weight"], d["attn.c_proj.bias"] = ops.linear.backward(da, c_proj)
    da = ops.attention.backward(da, attention_cache)
    da, d["attn.c_attn.weight"], d["attn.c_attn.bias"] = ops.linear.backward(da, c_attn)
    da, d["ln_1.weight"], d["ln_1.bias"] = ops.layernorm.backward(da, ln_1)
    return da


def block_pasted_norm(dout, cache):
    ln_1, _, _, _, _, _, mlp_cache, _, ops = cache
    d = {}
    dm, *grads = ops.mlp.backward(dout, mlp_cache)
    d["mlp.c_fc.weight"], d["mlp.c_fc.bias"], d["mlp.c_proj.weight"], d["mlp.c_proj.bias"] = grads
    dm, d["ln_2.weight"], d["ln_2.bias"] = ops.layernorm.backward(dm, ln_1)
    dx = dout + dm
    dx = dx + block_attention_branch(dx, cache, d)
    return dx, {name: gradient for name, gradient in d.items() if gradient is not None}


def block_skip_from_dout(dout, cache):
    _, _, _, _, _, ln_2, mlp_cache, drop_2, ops = cache
    d = {}
    dm, *grads = ops.mlp.backward(ops.dropout.backward(dout, drop_2), mlp_cache)
    d["mlp.c_fc.weight"], d["mlp.c_fc.bias"], d["mlp.c_proj.weight"], d["mlp.c_proj.bias"] = grads
    dm, d["ln_2.weight"], d["ln_2.bias"] = ops.layernorm.backward(dm, ln_2)
    dx = dout + block_attention_branch(dout + dm, cache, d)
    return dx, {name: gradient for name, gradient in d.items() if gradient is not None}


BUGS = [
    Bug(
        "embedding_by_sequence",
        "embedding",
        ("accumulation",),
        "Sequences are added up one by one with dw[tokens] += d, so a token repeated within a sequence counts once.",
        embedding_by_sequence,
    ),
    Bug(
        "linear_x_reshaped",
        "linear",
        ("layout",),
        "dw uses x reshaped to (I, N) where the transpose of the (N, I) rows belongs.",
        linear_x_reshaped,
    ),
    Bug(
        "layernorm_mean_of_dout",
        "layernorm",
        ("formula",),
        "The mean subtracted in dx is that of dout, not that of dout * w.",
        layernorm_mean_of_dout,
    ),
    Bug(
        "layernorm_as_batchnorm",
        "layernorm",
        ("axis",),
        "Both means in dx run over the first axis, as in a batch norm, and not over the channels.",
        layernorm_as_batchnorm,
    ),
    Bug(
        "layernorm_steps_dmean",
        "layernorm",
        ("sign",),
        "Step by step through mean and variance: the direct part of dmean lacks its minus.",
        layernorm_steps,
        layernorm_steps_forward,
    ),
    Bug(
        "layernorm_sum_and_no_mean",
        "layernorm",
        ("term", "scale"),
        "Two mistakes: dx lacks the mean term, and its component along xhat is a sum that is not divided by C.",
        layernorm_sum_and_no_mean,
    ),
    Bug(
        "layernorm_unbiased",
        "layernorm",
        ("forward",),
        "The forward divides the variance by C - 1.",
        layernorm_unbiased,
        layernorm_unbiased_forward,
    ),
    Bug(
        "gelu_sigmoid",
        "gelu",
        ("forward",),
        "The forward is x * sigmoid(1.702 x), another approximation than the one asked for.",
        gelu_sigmoid,
        gelu_sigmoid_forward,
    ),
    Bug(
        "gelu_half_and_cube_lost",
        "gelu",
        ("scale", "formula"),
        "Two mistakes: x Phi' lacks its 1/2, and the inner derivative lacks 3 * 0.044715 x^2.",
        gelu_half_and_cube_lost,
    ),
    Bug(
        "softmax_as_sigmoid",
        "softmax",
        ("term", "formula"),
        "Only the Jacobian's diagonal out (1 - out) is used; what goes through the other outputs is left out.",
        softmax_as_sigmoid,
    ),
    Bug(
        "dropout_redrawn",
        "dropout",
        ("mask",),
        "The backward draws the mask again from a generator that has moved on, so it keeps other elements.",
        dropout_redrawn,
        dropout_redrawn_forward,
    ),
    Bug(
        "attention_peeks",
        "attention",
        ("mask",),
        "The backward recomputes the weights with a causal mask off by one: each position sees the next one too.",
        attention_peeks,
    ),
    Bug(
        "attention_row_sum",
        "attention",
        ("scale",),
        "Under dropout, softmax's row sum takes the dropped weights, so it has 1 / (1 - p) once too often.",
        attention_row_sum,
    ),
    Bug(
        "attention_scaled_q",
        "attention",
        ("scale",),
        "The cached q is scaled already and dscores is scaled again, so dk has 1 / sqrt(D) twice.",
        attention_scaled_q,
        attention_scaled_q_forward,
    ),
    Bug(
        "attention_dout_reshaped",
        "attention",
        ("layout",),
        "dout (B, T, C) is reshaped straight to (B, H, T, D) instead of to (B, T, H, D) and transposed.",
        attention_dout_reshaped,
    ),
    Bug(
        "attention_over_queries",
        "attention",
        ("axis", "layout"),
        "Two mistakes: softmax's backward sums over the queries, not the keys, and dk and dv are packed in each "
        "other's place.",
        attention_over_queries,
    ),
    Bug(
        "attention_mask_late",
        "attention",
        ("forward",),
        "The forward takes softmax over all positions and zeroes the future afterwards, so the weights sum below 1.",
        attention_mask_late,
        attention_mask_late_forward,
    ),
    Bug(
        "cross_entropy_minus_one_is_last",
        "cross_entropy",
        ("mask",),
        "Ignored targets get a gradient: their -1 indexes the last class.",
        cross_entropy_minus_one_is_last,
        cross_entropy_probs_forward,
    ),
    Bug(
        "cross_entropy_over_all_rows",
        "cross_entropy",
        ("scale", "mask"),
        "The gradient is divided by the number of all targets, the ignored ones included.",
        cross_entropy_over_all_rows,
    ),
    Bug(
        "lm_head_loss_reshaped",
        "lm_head_loss",
        ("layout",),
        "dw (C, V) is reshaped to (V, C) where it should be transposed.",
        lm_head_loss_reshaped,
    ),
    Bug(
        "lm_head_loss_in_chunks",
        "lm_head_loss",
        ("accumulation", "scale"),
        "Two mistakes: dw is that of the last of two chunks only, and everything is divided by the number of chunks.",
        lm_head_loss_in_chunks,
    ),
    Bug(
        "mlp_gelu_at_output",
        "mlp",
        ("formula",),
        "GELU's derivative is taken at its output, not at its input.",
        mlp_gelu_at_output,
    ),
    Bug(
        "mlp_biases",
        "mlp",
        ("formula", "zero"),
        "Two mistakes: db_fc sums the gradient of GELU's output, not of its input, and db_proj is zeros.",
        mlp_biases,
    ),
    Bug(
        "block_pasted_norm",
        "block",
        ("formula", "mask"),
        "Two mistakes: ln_2's backward is given ln_1's cache, and the MLP branch's dropout has no backward.",
        block_pasted_norm,
    ),
    Bug(
        "block_skip_from_dout",
        "block",
        ("term",),
        "The first skip connection adds dout, not dx, so the MLP branch's part is missing from the returned dx.",
        block_skip_from_dout,
    ),
]
