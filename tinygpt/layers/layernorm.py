"""LayerNorm: each vector shifted to mean 0 and scaled to variance 1, then stretched by w and moved by b.

Ba, Kiros and Hinton, "Layer Normalization", 2016 (arXiv:1607.06450), equations 3 and 4.
"""

from tinygpt.backend import Array, array_module


def forward(x: Array, w: Array, b: Array | None = None, eps: float = 1e-5) -> tuple[Array, tuple]:
    """out = w * (x - mean(x)) / sqrt(var(x) + eps) + b, mean and variance over the last axis.

    x: (..., C); w: (C,); b: (C,) or None. Returns out: (..., C), cache.
    """
    xp = array_module(x)
    centred = x - x.mean(axis=-1, keepdims=True)  # (..., C)
    var = (centred * centred).mean(axis=-1, keepdims=True)  # (..., 1)
    rstd = 1 / xp.sqrt(var + eps)
    xhat = centred * rstd
    out = xhat * w
    if b is not None:
        out = out + b
    return out, (xhat, rstd, w, b is not None)


def backward(dout: Array, cache: tuple) -> tuple[Array, Array, Array | None]:
    """dx: (..., C), dw: (C,), db: (C,) or None.

    dout: (..., C). x reaches the output in three ways: directly, through the mean and through the variance; the last
    two take away from dxhat its mean and its component along xhat.
    """
    xhat, rstd, w, has_bias = cache
    rows = tuple(range(dout.ndim - 1))
    db = dout.sum(axis=rows) if has_bias else None  # (..., C) -> (C,)
    dw = (dout * xhat).sum(axis=rows)  # (..., C) -> (C,)
    dxhat = dout * w
    along = (dxhat * xhat).mean(axis=-1, keepdims=True)  # (..., 1)
    dx = rstd * (dxhat - dxhat.mean(axis=-1, keepdims=True) - xhat * along)
    return dx, dw, db
