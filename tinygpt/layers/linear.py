"""Linear: a matrix product over the last axis, plus a bias. Every weight matrix of the GPT is one of these.

Read me first, then `layernorm.py`, `attention.py`, and the model's page, `tinygpt/models/gpt2.py`.
"""

from tinygpt.backend import Array


def forward(x: Array, w: Array, b: Array | None = None) -> tuple[Array, tuple]:
    """out = x @ w + b.

    x: (..., I); w: (I, O), the orientation of GPT-2's own checkpoints; b: (O,) or None.
    Returns out: (..., O), cache.
    """
    rows = x.reshape(-1, x.shape[-1])  # (..., I) -> (N, I): one large product is what BLAS is best at
    out = rows @ w  # (N, I) @ (I, O) -> (N, O)
    if b is not None:
        out = out + b
    return out.reshape(*x.shape[:-1], w.shape[1]), (x, w, b is not None)


def backward(dout: Array, cache: tuple) -> tuple[Array, Array, Array | None]:
    """dx: (..., I), dw: (I, O), db: (O,) or None.

    dout: (..., O). out[n, o] = sum_i x[n, i] w[i, o] + b[o], so each gradient sums dout over the axis it lacks.
    """
    x, w, has_bias = cache
    rows = x.reshape(-1, x.shape[-1])  # (..., I) -> (N, I)
    drows = dout.reshape(-1, w.shape[1])  # (..., O) -> (N, O)
    db = drows.sum(axis=0) if has_bias else None
    dw = rows.T @ drows  # (I, N) @ (N, O) -> (I, O)
    dx = drows @ w.T  # (N, O) @ (O, I) -> (N, I)
    return dx.reshape(x.shape), dw, db
