"""The head and its loss as one step: the hidden state times the token embeddings' transpose, into cross-entropy."""

from typing import Any

from tinygpt.backend import Array


def forward(
    x: Array, w: Array, targets: Array, denominator: Array | float | None = None, need_grad: bool = True, *, ops: Any
) -> tuple[Array, tuple]:
    """loss = cross_entropy(x @ w.T, targets, denominator).

    x: (N, C); w: (V, C), the tied token embeddings; targets: (N,) and denominator: see cross_entropy; need_grad: False
    if backward will not be called, which this definition ignores and its fast twins use; ops: the table of layers to
    use. Returns loss: (), cache.
    """
    logits, linear_cache = ops.linear.forward(x, w.T, None)  # (N, C) @ (C, V) -> (N, V)
    loss, loss_cache = ops.cross_entropy.forward(logits, targets, denominator)
    return loss, (linear_cache, loss_cache, ops)


def backward(dout: Array, cache: tuple) -> tuple[Array, Array]:
    """dx: (N, C), dw: (V, C).

    dout: ().
    """
    linear_cache, loss_cache, ops = cache
    dlogits = ops.cross_entropy.backward(dout, loss_cache)  # (N, V)
    dx, dw_transposed, _ = ops.linear.backward(dlogits, linear_cache)  # (N, V) -> (N, C), (C, V)
    return dx, dw_transposed.T
