"""Attention: what it is checked on, and the mistakes it is usually made with."""

import numpy as np

from tinygpt.gradcheck.cases import Case, Draw

AXES = {"qkv": ("B", "T", "3C")}
CAUSAL = True
NAMES = {
    "forward": "qkv n_head dropout key row xp q k v scores weights keep bits out",
    "backward": "dout cache q k v weights keep dropout xp B T C dweights dropped dv dscores dq dk dqkv",
    "decode": "q keys values scores",
    "split_heads": "x n_head parts B T width",
    "merge_heads": "x B H T D",
    "_causal_softmax": "scores xp t S past exps",
}


def cases(draw: Draw) -> list[Case]:
    H, D = draw.sizes(2, most=4)  # so C is 6, 8 or 12
    B, T = (5, 7) if draw.rng.random() < 0.5 else (7, 5)

    def qkv(B: int, T: int, C: int) -> np.ndarray:
        return draw.product(B, T, 3 * C, fan_in=C)

    return [
        Case("", {"qkv": qkv(B, T, H * D), "n_head": H}),
        Case("one head", {"qkv": qkv(B, T, D), "n_head": 1}),
        Case("one token", {"qkv": qkv(1, 1, H * D), "n_head": H}),
        Case("dropout", {"qkv": qkv(B, T, H * D), "n_head": H, "dropout": 0.3, "key": 7, "row": 3}),
    ]


# fmt: off
_FULL = (  # the weights as they would be without the mask, and the mask
    "T = q.shape[-2]\n"
    "past = xp.arange(T) <= xp.arange(T)[:, None]\n"
    "full = bmm(q, k, transpose_b=True) * q.shape[-1] ** -0.5\n"
    "full = xp.exp(full - full.max(axis=-1, keepdims=True))\n"
    "full = full / full.sum(axis=-1, keepdims=True)\n"
)
_DSCORES = "dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))"
_SCALED = "dscores = dscores * q.shape[-1] ** -0.5"
MISTAKES = [
    ("dk_transposed", "layout", ("bmm(dscores, q, transpose_a=True)", "bmm(dscores, q)"),
     "dk multiplies q by dscores, not by dscores transposed: keys are its columns"),
    ("dq_transposed", "layout", ("bmm(dscores, k)", "bmm(dscores, k, transpose_a=True)"),
     "dq multiplies k by dscores transposed, where dscores itself belongs: queries are its rows"),
    ("dv_transposed", "layout", ("bmm(dropped, ...)", "bmm(dropped, dout)"),
     "dv multiplies dout by the weights, where the weights transposed belong"),
    ("scale_forgotten", "scale", (_SCALED, ""), "dq and dk lack the factor 1/sqrt(D)"),
    ("scale_twice", "scale", (_SCALED, "dscores = dscores / q.shape[-1]"), "dq and dk have the factor 1/sqrt(D) twice"),
    ("scale_of_all_channels", "scale", (_SCALED, "dscores = dscores * C ** -0.5"),
     "dq and dk have 1/sqrt(C), where 1/sqrt(D) belongs"),
    ("mask_after_softmax", "mask", (_DSCORES, _FULL + "dweights = xp.where(past, dweights, 0)\n"
      "dscores = full * (dweights - (dweights * full).sum(axis=-1, keepdims=True))"),
     "dscores is taken as if the mask came after the softmax"),
    ("mask_forgotten", "mask",
     (_DSCORES, _FULL + "dscores = full * (dweights - (dweights * full).sum(axis=-1, keepdims=True))"),
     "dscores is taken as if there were no causal mask"),
    ("own_score_masked", "mask",
     (_SCALED, _SCALED + "\ndscores = xp.where(xp.arange(T) < xp.arange(T)[:, None], dscores, 0)"),
     "the mask in backward is strict: a position's score with itself has no gradient"),
    ("dv_without_mask", "mask", ("dv = bmm(dropped, ...)",
      _FULL + "full = full if keep is None else full * keep / (1 - dropout)\ndv = bmm(full, dout, transpose_a=True)"),
     "dv takes the weights as they would be without the causal mask"),
    ("softmax_diagonal_only", "term", (_DSCORES, "dscores = weights * (1 - weights) * dweights"),
     "in dscores only the diagonal of softmax's Jacobian is there"),
    ("softmax_without_the_sum", "term", (_DSCORES, "dscores = weights * dweights"),
     "dscores lacks the term through softmax's normalising sum", "in dscores the term through softmax's sum"),
    ("softmax_sum_over_queries", "axis",
     ("(dweights * weights).sum(...)", "(dweights * weights).sum(axis=-2, keepdims=True)"),
     "in dscores the sum runs over the queries, where the keys belong"),
    ("softmax_factor_forgotten", "formula", ("dscores = weights * ...", "dscores = ..."),
     "dscores lacks the factor weights in front"),
    ("softmax_of_dropped", "mask",
     ("weights * (dweights - (dweights * weights).sum(...))", "dropped * (dweights - (dweights * dropped).sum(...))"),
     "softmax's backward takes the weights after dropout, where those before it belong"),
    ("dropout_not_in_dv", "mask", ("bmm(dropped, ...)", "bmm(weights, ...)"),
     "dv takes the weights as they were before dropout"),
    ("dropout_not_in_dweights", "mask", ("dweights = ... / ...", ""),
     "dweights does not pass through the dropout mask"),
    ("dropout_in_dscores", "mask", ("dweights = ... / ...", ""),
     (_SCALED, "if keep is not None:\n    dscores = dscores * keep / (1 - dropout)\n" + _SCALED),
     "dscores passes through the dropout mask, after softmax's backward, where dweights belongs, before it"),
    ("dropout_scaled_twice", "scale", ("dweights * keep / (1 - dropout)", "dweights * keep / (1 - dropout) ** 2"),
     "dweights is divided by 1 - p twice in dropout's backward"),
    ("packed_as_kqv", "layout", ("(dq, dk, dv)", "(dk, dq, dv)"), "dq and dk stand in each other's place"),
    ("packed_as_vkq", "layout", ("(dq, dk, dv)", "(dv, dk, dq)"), "dq and dv stand in each other's place"),
    ("head_and_time_swapped", "layout", ("dqkv.transpose(1, 3, 0, 2, 4)", "dqkv.transpose(1, 2, 0, 3, 4)"),
     "the heads are merged without bringing time to the front: head and time are swapped in dqkv"),
    ("dout_split_wrongly", "layout", ("split_heads(dout, ...)[0]", "dout.reshape(q.shape)"),
     "dout is reshaped to (B, H, T, D) without the transpose: head and time are swapped in it"),
    ("dq_from_queries", "formula", ("bmm(dscores, k)", "bmm(dscores, q)"),
     "dq multiplies dscores by q, where k belongs"),
    ("dk_from_keys", "formula", ("bmm(dscores, q, ...)", "bmm(dscores, k, ...)"),
     "dk multiplies dscores by k, where q belongs"),
    ("dk_not_computed", "zero", ("dk = bmm(dscores, q, ...)", "dk = 0 * bmm(dscores, q, ...)"), "dk is zero"),
    ("dv_not_computed", "zero", ("dv = bmm(dropped, ...)", "dv = 0 * bmm(dropped, ...)"), "dv is zero"),
    ("forward_unscaled", "forward", ("bmm(q, k, ...) * ...", "bmm(q, k, ...)"), (_SCALED, ""),
     "forward does not divide the scores by sqrt(D)"),
    ("forward_scaled_by_size", "forward", ("bmm(q, k, ...) * ...", "bmm(q, k, ...) / q.shape[-1]"),
     (_SCALED, "dscores = dscores / q.shape[-1]"), "forward divides the scores by D, where sqrt(D) belongs"),
    ("forward_mask_reversed", "forward", ("xp.arange(S) <= ...", "xp.arange(S) >= ..."),
     "forward's mask is the wrong way round: each position sees itself and what comes after it"),
    ("forward_without_mask", "forward", ("scores = xp.where(past, ...)", ""), "forward has no causal mask"),
    ("forward_sees_the_next_token", "forward", ("xp.arange(S - t, S)[:, None]", "xp.arange(S - t, S)[:, None] + 1"),
     "forward's mask is off by one: each position sees the next token"),
    ("forward_heads_interleaved", "forward",
     ("x.reshape(B, T, parts, n_head, width // parts // n_head).transpose(2, 0, 3, 1, 4)",
      "x.reshape(B, T, parts, width // parts // n_head, n_head).transpose(2, 0, 4, 1, 3)"),
     ("x.transpose(0, 2, 1, 3)", "x.transpose(0, 2, 3, 1)"),
     ("dqkv.transpose(1, 3, 0, 2, 4)", "dqkv.transpose(1, 3, 0, 4, 2)"),
     "forward gives each head every H-th channel, where neighbours belong together"),
    ("forward_heads_split_by_reshape", "forward",
     ("x.reshape(B, T, parts, n_head, width // parts // n_head).transpose(2, 0, 3, 1, 4)",
      "x.reshape(B, T, parts, -1).transpose(2, 0, 1, 3).reshape(parts, B, n_head, T, -1)"),
     ("split_heads(dout, ...)[0]", "dout.reshape(B, T, q.shape[1], -1).transpose(0, 2, 1, 3)"),
     ("dqkv.transpose(1, 3, 0, 2, 4)", "dqkv.reshape(3, B, T, C).transpose(1, 2, 0, 3)"),
     "forward splits the heads by reshape alone: (B, T, H, D) comes first, and then the transpose to (B, H, T, D)"),
    ("forward_heads_merged_by_reshape", "forward", ("x.transpose(0, 2, 1, 3)", "x"),
     ("split_heads(dout, ...)[0]", "dout.reshape(q.shape)"),
     "forward merges the heads by reshape alone, without the transpose to (B, T, H, D) before it"),
    ("forward_heads_by_reshape", "forward",
     ("x.reshape(B, T, parts, n_head, width // parts // n_head).transpose(2, 0, 3, 1, 4)",
      "x.reshape(B, T, parts, -1).transpose(2, 0, 1, 3).reshape(parts, B, n_head, T, -1)"),
     ("x.transpose(0, 2, 1, 3)", "x"), ("split_heads(dout, ...)[0]", "dout.reshape(q.shape)"),
     ("dqkv.transpose(1, 3, 0, 2, 4)", "dqkv.reshape(3, B, T, C).transpose(1, 2, 0, 3)"),
     "forward splits and merges the heads by reshape alone: each needs the transpose of (B, T, H, D) and (B, H, T, D)"),
    ("forward_channels_by_head", "forward",
     ("x.reshape(B, T, parts, n_head, width // parts // n_head).transpose(2, 0, 3, 1, 4)",
      "x.reshape(B, T, n_head, parts, width // parts // n_head).transpose(3, 0, 2, 1, 4)"),
     ("dqkv.transpose(1, 3, 0, 2, 4)", "dqkv.transpose(1, 3, 2, 0, 4)"),
     "forward splits the channels as (head, q/k/v), where all queries come first, then all keys, then all values"),
    ("forward_packed_as_kqv", "forward", ("q, k, v = split_heads(qkv, n_head)", "k, q, v = split_heads(qkv, n_head)"),
     ("(dq, dk, dv)", "(dk, dq, dv)"), "forward takes the channels for keys, queries, values: the queries come first"),
    ("forward_packed_as_vkq", "forward", ("q, k, v = split_heads(qkv, n_head)", "v, k, q = split_heads(qkv, n_head)"),
     ("(dq, dk, dv)", "(dv, dk, dq)"), "forward takes the channels for values, keys, queries: the queries come first"),
    ("forward_mask_after_softmax", "forward", ("scores = xp.where(past, ...)", ""),
     ("return exps / ...", "return xp.where(past, exps / ..., 0)"),
     (_DSCORES, _FULL + "dweights = xp.where(past, dweights, 0)\n"
      "dscores = full * (dweights - (dweights * full).sum(axis=-1, keepdims=True))"),
     "forward masks after softmax, so that the weights left do not sum to 1: the mask belongs before it, as -inf"),
    ("forward_mask_multiplied", "forward", ("scores = xp.where(past, ...)", "scores = scores * past"),
     (_DSCORES, _DSCORES + "\nT = q.shape[-2]\n"
      "dscores = xp.where(xp.arange(T) <= xp.arange(T)[:, None], dscores, 0)"),
     "forward gives masked scores 0, where -inf belongs: exp(0) is 1"),
    ("forward_mask_strict", "forward", ("xp.arange(S) <= ...", "xp.arange(S) < ..."),
     "forward's mask is strict: a position does not see itself, and the first one sees nothing"),
    ("forward_mask_strict_finite", "forward", ("xp.arange(S) <= ...", "xp.arange(S) < ..."),
     ("xp.where(past, scores, -xp.inf)", "xp.where(past, scores, -1e9)"),
     (_DSCORES, _DSCORES + "\nT = q.shape[-2]\n"
      "dscores = xp.where(xp.arange(T) < xp.arange(T)[:, None], dscores, 0)"),
     "forward's mask is strict: a position does not see itself, and the first one sees all alike"),
    ("forward_scaled_by_width", "forward",
     ("bmm(q, k, ...) * ...", "bmm(q, k, ...) * (q.shape[1] * q.shape[-1]) ** -0.5"),
     (_SCALED, "dscores = dscores * C ** -0.5"), "forward divides the scores by sqrt(C), where sqrt(D) belongs"),
    ("forward_scale_multiplied", "forward", ("bmm(q, k, ...) * ...", "bmm(q, k, ...) * q.shape[-1] ** 0.5"),
     (_SCALED, "dscores = dscores * q.shape[-1] ** 0.5"),
     "forward multiplies the scores by sqrt(D), where dividing by it belongs"),
    ("forward_softmax_over_queries", "forward", ("scores.max(...)", "scores.max(axis=-2, keepdims=True)"),
     ("exps.sum(...)", "exps.sum(axis=-2, keepdims=True)"),
     ("(dweights * weights).sum(...)", "(dweights * weights).sum(axis=-2, keepdims=True)"),
     "forward's softmax runs over the queries, where the keys belong: the last axis of the scores"),
    ("forward_weights_transposed", "forward", ("out = bmm(weights, v)", "out = bmm(weights, v, transpose_a=True)"),
     ("out = bmm(weights * keep / (1 - dropout), v)", "out = bmm(weights * keep / (1 - dropout), v, transpose_a=True)"),
     ("dweights = bmm(dout, v, ...)", "dweights = bmm(v, dout, transpose_b=True)"),
     ("dv = bmm(dropped, dout, ...)", "dv = bmm(dropped, dout)"),
     "forward multiplies v by the weights transposed, where the weights themselves belong"),
    ("forward_dropout_ignored", "forward", ("dropout > 0", "False"),
     "forward drops nothing where dropout is asked for"),
    ("packed_by_head", "layout", ("dqkv.transpose(1, 3, 0, 2, 4)", "dqkv.transpose(1, 3, 2, 0, 4)"),
     "dqkv is packed as (head, q/k/v), where all of dq comes first, then all of dk, then all of dv"),
    ("sees_the_next_token", "mask", ("xp = array_module(dout)", "xp = array_module(dout)\n" + _FULL.replace(
      "full = xp.exp", "full = xp.where(xp.arange(T) <= xp.arange(T)[:, None] + 1, full, -xp.inf)\nfull = xp.exp")
      + "weights = full"), "backward computes the weights with a mask off by one: each position sees the next one too"),
    ("packed_by_reshape", "layout", ("dqkv.transpose(1, 3, 0, 2, 4)", "dqkv"),
     "dqkv is packed by reshape alone: (q/k/v, B, H, T, D) is first to be transposed to (B, T, q/k/v, H, D)"),
]
