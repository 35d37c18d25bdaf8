"""Attention in blocks of queries, of which each meets only the keys up to its own last position.

What the softmax divides by is divided out of the (T, D) products instead of the (T, T) weights: with e = exp(scores)
and r its row sums, out = e v / r. And the mean of a row's dweights under its weights, the softmax's correction, is
dout . out (Dao et al., "FlashAttention", 2022, arXiv:2205.14135, appendix B.4), so that

    dscores = e * (dout v^T - dout . out) / r
"""

from typing import Any

import numpy as np

from tinygpt.backend import random_bits
from tinygpt.layers.attention import split_heads


def forward(
    qkv: np.ndarray, n_head: int, dropout: float = 0.0, key: int = 0, row: int = 0, *, rows: int = 64
) -> tuple[np.ndarray, tuple]:
    """As the definition, `tinygpt/layers/attention.py`. rows: queries in a block; with fewer, more products are saved,
    but they become too small to be fast.
    """
    q, k, v = split_heads(qkv, n_head)  # (B, T, 3C) -> 3 x (B, H, T, D)
    B, H, T, D = q.shape
    scale = D**-0.5
    keep = None
    if dropout > 0:
        keep = random_bits((B, H, T, T), key, row, np) >= np.uint32(dropout * 2**32)
    ends = [*range(rows, T, rows), T]
    blocks = [(slice(start, end), slice(0, end)) for start, end in zip([0, *ends], ends, strict=False)]
    out = np.empty((B, T, H, D), qkv.dtype)
    weighted = out.transpose(0, 2, 1, 3)  # (B, H, T, D), a view
    sums = np.empty((B, H, T, 1), qkv.dtype)
    future = np.triu(np.ones((rows, rows), bool), 1)  # a block's queries and their own keys: where a key is later
    exps = []  # of each block, (B, H, t, S)
    for block, past in blocks:
        e = np.matmul(q[:, :, block], k[:, :, past].swapaxes(2, 3))  # (B, H, t, D) @ (B, H, D, S) -> (B, H, t, S)
        e *= scale
        np.copyto(e[..., block], -np.inf, where=future[: e.shape[2], : e.shape[2]])
        e -= e.max(axis=-1, keepdims=True)
        np.exp(e, out=e)
        np.matmul(e, np.ones((past.stop, 1), e.dtype), out=sums[:, :, block])
        dropped = e if keep is None else e * keep[:, :, block, past]
        np.matmul(dropped, v[:, :, past], out=weighted[:, :, block])  # (B, H, t, S) @ (B, H, S, D) -> (B, H, t, D)
        exps.append(e)
    weighted /= sums if keep is None else sums * (1 - dropout)
    out = out.reshape(B, T, H * D)
    return out, (q, k, v, blocks, exps, sums, out, keep, dropout)


def backward(dout: np.ndarray, cache: tuple) -> np.ndarray:
    """dqkv: (B, T, 3C), packed as qkv, as the definition."""
    q, k, v, blocks, exps, sums, out, keep, dropout = cache
    B, H, T, D = q.shape
    dqkv = np.empty((B, T, 3, H, D), dout.dtype)
    dq, dk, dv = dqkv.transpose(2, 0, 3, 1, 4)  # 3 x (B, H, T, D), views
    dout, out = (split_heads(x, H, parts=1)[0] for x in (dout, out))  # (B, T, C) -> (B, H, T, D)
    dout = dout / sums
    scaled = dout * D**-0.5  # scores are products over sqrt(D), and so are their gradients
    along = np.vecdot(scaled, out)[..., None]  # (B, H, T, 1)
    if keep is not None:
        dout /= 1 - dropout
        scaled /= 1 - dropout
    for (block, past), e in reversed(list(zip(blocks, exps, strict=True))):
        de = np.matmul(scaled[:, :, block], v[:, :, past].swapaxes(2, 3))  # -> (B, H, t, S)
        dropped = e
        if keep is not None:
            dropped = e * keep[:, :, block, past]
            de *= keep[:, :, block, past]
        de -= along[:, :, block]
        de *= e
        np.matmul(de, k[:, :, past], out=dq[:, :, block])  # (B, H, t, S) @ (B, H, S, D) -> (B, H, t, D)
        products: tuple[Any, ...] = (dk, de, q), (dv, dropped, dout)
        for gradient, a, b in products:  # (B, H, t, S)^T @ (B, H, t, D) -> (B, H, S, D)
            if past.stop == T:  # the last block, which comes first, reaches every key
                np.matmul(a.swapaxes(2, 3), b[:, :, block], out=gradient)
            else:
                gradient[:, :, past] += np.matmul(a.swapaxes(2, 3), b[:, :, block])
    return dqkv.reshape(B, T, 3 * H * D)
