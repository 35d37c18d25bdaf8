"""RMSNorm: each vector scaled to a mean square of 1, then stretched by w. LayerNorm without its mean and its bias.

Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019 (arXiv:1910.07467), equation 4.
"""

from tinygpt.backend import Array, array_module


def forward(x: Array, w: Array, eps: float = 1e-5) -> tuple[Array, tuple]:
    """out = w * x / sqrt(mean(x^2) + eps), the mean over the last axis.

    x: (..., C); w: (C,). Returns out: (..., C), cache.
    """
    xp = array_module(x)
    rrms = 1 / xp.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)  # (..., 1)
    xhat = x * rrms
    return xhat * w, (xhat, rrms, w)


def backward(dout: Array, cache: tuple) -> tuple[Array, Array]:
    """dx: (..., C), dw: (C,).

    dout: (..., C). x reaches the output directly and through the mean square, which takes away from dxhat its component
    along xhat.
    """
    xhat, rrms, w = cache
    dw = (dout * xhat).sum(axis=tuple(range(dout.ndim - 1)))  # (..., C) -> (C,)
    dxhat = dout * w
    dx = rrms * (dxhat - xhat * (dxhat * xhat).mean(axis=-1, keepdims=True))
    return dx, dw
