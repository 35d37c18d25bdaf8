"""Softmax: scores to probabilities, over the last axis."""

from tinygpt.backend import Array, array_module


def forward(x: Array) -> tuple[Array, tuple]:
    """out[i] = exp(x[i]) / sum_j exp(x[j]) over the last axis.

    x: (..., V), -inf for what is masked. Returns out: (..., V), cache. A row of nothing but -inf gives zeros.
    """
    xp = array_module(x)
    largest = x.max(axis=-1, keepdims=True)  # subtracted, so that exp cannot overflow; it cancels in the quotient
    exps = xp.exp(x - xp.where(xp.isinf(largest), 0, largest))
    total = exps.sum(axis=-1, keepdims=True)
    out = exps / xp.where(total == 0, 1, total)
    return out, (out,)


def backward(dout: Array, cache: tuple) -> Array:
    """dx: (..., V).

    dout: (..., V). d out[i] / d x[j] = out[i] ([i = j] - out[j]): the second term sums to the row's average of dout
    under its own probabilities.
    """
    (out,) = cache
    return out * (dout - (dout * out).sum(axis=-1, keepdims=True))
