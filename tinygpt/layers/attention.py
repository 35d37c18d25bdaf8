"""Causal multi-head self-attention, from packed queries, keys and values to the heads' outputs side by side.

Vaswani et al., "Attention Is All You Need", 2017 (arXiv:1706.03762), equation 1; causal and packed as in GPT-2. The
products with c_attn before it and c_proj after it are linear layers and stand in the block.
"""

from tinygpt.backend import Array, array_module, bmm, random_bits


def forward(qkv: Array, n_head: int, dropout: float = 0.0, key: int = 0, row: int = 0) -> tuple[Array, tuple]:
    """out = softmax(q k^T / sqrt(D)) v for every head, where position t sees positions 0..t only.

    qkv: (B, T, 3C), the queries' channels first, then the keys', then the values', each C split into n_head heads of
    size D. dropout: probability that an attention weight is dropped; its random bits depend on `key` and on the row's
    place in the whole batch, `row` being that of qkv[0]. Returns out: (B, T, C), cache.
    """
    xp = array_module(qkv)
    q, k, v = split_heads(qkv, n_head)  # (B, T, 3C) -> 3 x (B, H, T, D)
    scores = bmm(q, k, transpose_b=True) * q.shape[-1] ** -0.5  # (B, H, T, D) @ (B, H, D, T) -> (B, H, T, T)
    weights = _causal_softmax(scores)
    keep = None
    if dropout > 0:
        bits = random_bits(weights.shape, key, row, xp)
        keep = bits >= xp.uint32(dropout * 2**32)
        out = bmm(weights * keep / (1 - dropout), v)
    else:
        out = bmm(weights, v)  # (B, H, T, T) @ (B, H, T, D) -> (B, H, T, D)
    return merge_heads(out), (q, k, v, weights, keep, dropout)


def backward(dout: Array, cache: tuple) -> Array:
    """dqkv: (B, T, 3C), packed as qkv.

    dout: (B, T, C).
    """
    q, k, v, weights, keep, dropout = cache
    xp = array_module(dout)
    B, T, C = dout.shape
    dout = split_heads(dout, q.shape[1], parts=1)[0]  # (B, T, C) -> (B, H, T, D)
    dweights = bmm(dout, v, transpose_b=True)  # (B, H, T, D) @ (B, H, D, T) -> (B, H, T, T)
    dropped = weights
    if keep is not None:
        dropped = weights * keep / (1 - dropout)  # recomputed: one product is cheaper than (B, H, T, T) kept
        dweights = dweights * keep / (1 - dropout)
    dv = bmm(dropped, dout, transpose_a=True)  # (B, H, T, T)^T @ (B, H, T, D) -> (B, H, T, D)
    # Softmax's backward. A masked score has weight 0, so its gradient is 0 without asking the mask again.
    dscores = weights * (dweights - (dweights * weights).sum(axis=-1, keepdims=True))
    dscores = dscores * q.shape[-1] ** -0.5
    dq = bmm(dscores, k)  # (B, H, T, T) @ (B, H, T, D) -> (B, H, T, D)
    dk = bmm(dscores, q, transpose_a=True)  # (B, H, T, T)^T @ (B, H, T, D) -> (B, H, T, D)
    dqkv = xp.stack((dq, dk, dv))  # (3, B, H, T, D)
    return dqkv.transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * C)


def decode(q: Array, keys: Array, values: Array) -> Array:
    """Attention of the newest t positions over all S so far, their own included; for generating, with no backward.

    q: (B, H, t, D), the queries of positions S - t .. S - 1; keys, values: (B, H, S, D). Returns out: (B, t, C).
    With t = S this is forward; with t = 1, one step of generation.
    """
    scores = bmm(q, keys, transpose_b=True) * q.shape[-1] ** -0.5  # (B, H, t, D) @ (B, H, D, S) -> (B, H, t, S)
    return merge_heads(bmm(_causal_softmax(scores), values))  # (B, H, t, S) @ (B, H, S, D) -> (B, t, C)


def split_heads(x: Array, n_head: int, parts: int = 3) -> Array:
    """(B, T, parts * C) -> (parts, B, H, T, D), a view: each head's channels are neighbours within a part."""
    B, T, width = x.shape
    return x.reshape(B, T, parts, n_head, width // parts // n_head).transpose(2, 0, 3, 1, 4)


def merge_heads(x: Array) -> Array:
    """(B, H, T, D) -> (B, T, C), the heads side by side."""
    B, H, T, D = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, H * D)


def _causal_softmax(scores: Array) -> Array:
    """Softmax over the S keys for the last t of S positions: (..., t, S) -> (..., t, S), zero above the diagonal."""
    xp = array_module(scores)
    t, S = scores.shape[-2:]
    past = xp.arange(S) <= xp.arange(S - t, S)[:, None]  # (t, S): key s is not later than the query
    scores = xp.where(past, scores, -xp.inf)
    exps = xp.exp(scores - scores.max(axis=-1, keepdims=True))  # never all -inf: a position sees itself
    return exps / exps.sum(axis=-1, keepdims=True)
