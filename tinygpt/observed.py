"""What a model does with one text: where each head looks, and what is expected after each token."""

from typing import Any, NamedTuple

import numpy as np

from tinygpt.backend import Array, array_module, to_host
from tinygpt.errors import UserError


class Observed(NamedTuple):
    """One text of T tokens in a model of L layers, H heads and V tokens.

    weights: (L, H, T, T), row t being how much position t takes from each position; losses: (T - 1,) nats, of each
    token but the first, which nothing stands before; ranks: (T - 1,) whole numbers, 1 for a token that was the
    likeliest; likeliest: (T, K) ids of the K likeliest tokens after each position, and probabilities: (T, K), theirs.
    """

    weights: np.ndarray
    losses: np.ndarray
    ranks: np.ndarray
    likeliest: np.ndarray
    probabilities: np.ndarray


class Watched:
    """A leaf in attention's place: it computes with the one that was there, and keeps the weights of each call."""

    def __init__(self, leaf: Any):
        self.leaf = leaf
        self.weights: list[np.ndarray] = []  # of each call: (H, T, T), of the first row of the batch

    def forward(self, qkv: Array, n_head: int, *rest: Any) -> tuple[Array, Any]:
        self.weights.append(to_host(attention_weights(self.leaf, qkv[:1], n_head, *rest))[0])
        return self.leaf.forward(qkv, n_head, *rest)


def attention_weights(leaf: Any, qkv: Array, n_head: int, *rest: Any) -> Array:
    """The weights with which an implementation of attention mixes values: (B, T, 3C) -> (B, H, T, T).

    Every head's out is weights @ v. So the weights come out by themselves where v is the identity, of which a head of
    D channels holds D columns at a time. Any implementation can be asked, and what it answers is what it did: no cache
    is opened. leaf: as `tinygpt/layers/attention.py` is; rest: what its forward takes besides.
    """
    xp = array_module(qkv)
    B, T, width = qkv.shape
    C = width // 3
    D = C // n_head
    weights = xp.empty((B, n_head, T, T), qkv.dtype)
    for first in range(0, T, D):
        asked = qkv.copy()
        asked[..., 2 * C :] = xp.tile(xp.eye(T, D, k=-first, dtype=qkv.dtype), n_head)  # (T, D) -> (T, C)
        out, _ = leaf.forward(asked, n_head, *rest)
        columns = out.reshape(B, T, n_head, D).transpose(0, 2, 1, 3)  # (B, T, C) -> (B, H, T, D)
        weights[..., first : first + D] = columns[..., : T - first]
    return weights


def observe(model: Any, ids: np.ndarray, likeliest: int = 10) -> Observed:
    """Run a model on one text and keep what it does. ids: (T,) integers, T at least 1 and at most block_size. The model
    is left as it was. Raises UserError where its weights make no probabilities, or its attention is not asked.
    """
    ids, table = np.asarray(ids, dtype=np.int64), model.ops
    watched = Watched(table.attention)
    model.ops = table.replace(attention=watched)
    try:
        logits = to_host(model.forward(ids[None])[0])[0]  # (T, V)
    finally:
        model.ops = table
    if len(watched.weights) != model.config.n_layer:
        problem = "a block that is not the model's own computes its attention itself"
        raise UserError(f"{problem}, so there are no weights to be seen; leave it out of --mine")
    if not np.isfinite(logits).all():
        raise UserError("the model's logits on this text are not all finite numbers, so its weights are of no use")
    losses, ranks = np.empty(len(ids) - 1), np.empty(len(ids) - 1, np.int64)
    K = min(likeliest, logits.shape[-1])
    ordered, probabilities = np.empty((len(ids), K), np.int64), np.empty((len(ids), K))
    for t, row in enumerate(logits.astype(np.float64)):
        row -= row.max()
        row -= np.log(np.exp(row).sum())  # (V,) logits -> logarithms of probabilities
        ordered[t] = np.argsort(-row, kind="stable")[:K]
        probabilities[t] = np.exp(row[ordered[t]])
        if t + 1 < len(ids):
            losses[t], ranks[t] = 0 - row[ids[t + 1]], 1 + (row > row[ids[t + 1]]).sum()
    return Observed(np.stack(watched.weights).astype(np.float32), losses, ranks, ordered, probabilities)
