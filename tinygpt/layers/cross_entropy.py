"""Cross-entropy of the next token: minus the log of the probability that softmax(logits) gives to the target."""

from tinygpt.backend import Array, array_module

IGNORED = -1  # a target that counts for nothing


def forward(logits: Array, targets: Array, denominator: Array | float | None = None) -> tuple[Array, tuple]:
    """loss = sum over targets of -log softmax(logits)[target], divided by `denominator`.

    logits: (..., V); targets: (...) integers in [0, V), or -1 for a target to ignore. denominator: the number of
    targets not ignored if None, which makes the loss their mean; a batch computed in parts passes the whole batch's
    number, so that the parts' losses and gradients add up to the whole's. Returns loss: () in nats, in the dtype of
    logits, 0 where every target is ignored; cache.
    """
    xp = array_module(logits)
    rows = logits.reshape(-1, logits.shape[-1])  # (..., V) -> (N, V)
    targets = targets.reshape(-1)  # (...) -> (N,)
    counted = targets != IGNORED
    if denominator is None:
        denominator = xp.maximum(counted.sum(), 1).astype(logits.dtype)  # at least 1: with none counted the loss is 0
    shifted = rows - rows.max(axis=-1, keepdims=True)  # a constant per row cancels; this one keeps exp from overflowing
    log_total = xp.log(xp.exp(shifted).sum(axis=-1))  # (N,)
    places = xp.arange(len(targets)), xp.where(counted, targets, 0)
    losses = log_total - shifted[places]  # (N,)
    loss = xp.where(counted, losses, 0).sum() / denominator
    return loss.astype(logits.dtype), (shifted, log_total, places, counted, denominator, logits.shape)


def backward(dout: Array, cache: tuple) -> Array:
    """dlogits: (..., V): softmax(logits) minus one at the target, over the denominator; zero where ignored.

    dout: (), the gradient of whatever the loss goes into with respect to the loss; 1 at the top.
    """
    shifted, log_total, places, counted, denominator, shape = cache
    xp = array_module(shifted)
    dlogits = xp.exp(shifted - log_total[:, None])  # softmax, recomputed: exp again rather than a second (N, V) kept
    dlogits[places] -= 1
    scale = xp.where(counted, dout / denominator, 0).astype(dlogits.dtype)  # (N,)
    dlogits *= scale[:, None]
    return dlogits.reshape(shape)
