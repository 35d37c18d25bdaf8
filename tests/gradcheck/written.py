"""Layers written step by step, as people write them and not as the engine does: right ones, to be spoiled in tests."""

from types import SimpleNamespace

LINEAR = """
def forward(x, w, b=None):
    rows = x.reshape(-1, x.shape[-1])
    out = rows @ w
    if b is not None:
        out = out + b
    return out.reshape(*x.shape[:-1], w.shape[1]), (x, w, b)

def backward(dout, cache):
    x, w, b = cache
    rows, drows = x.reshape(-1, x.shape[-1]), dout.reshape(-1, dout.shape[-1])
    dx = drows @ w.T
    dw = rows.T @ drows
    db = None if b is None else drows.sum(axis=0)
    return dx.reshape(x.shape), dw, db
"""

EMBEDDING = """
def forward(idx, w):
    return w[idx], (idx, w)

def backward(dout, cache):
    idx, w = cache
    dw = np.zeros_like(w)
    for place in np.ndindex(idx.shape):
        dw[idx[place]] += dout[place]
    return dw
"""

LAYERNORM = """
def forward(x, w, b=None, eps=1e-5):
    mean = x.mean(axis=-1, keepdims=True)
    var = ((x - mean) ** 2).mean(axis=-1, keepdims=True)
    rstd = (var + eps) ** -0.5
    xhat = (x - mean) * rstd
    out = xhat * w
    if b is not None:
        out = out + b
    return out, (x, mean, rstd, xhat, w, b)

def backward(dout, cache):
    x, mean, rstd, xhat, w, b = cache
    C = x.shape[-1]
    rows = tuple(range(x.ndim - 1))
    dw = (dout * xhat).sum(axis=rows)
    db = None if b is None else dout.sum(axis=rows)
    dxhat = dout * w
    dvar = (dxhat * (x - mean)).sum(axis=-1, keepdims=True) * -0.5 * rstd**3
    dmean = -(dxhat * rstd).sum(axis=-1, keepdims=True)
    dx = dxhat * rstd + dvar * 2 * (x - mean) / C + dmean / C
    return dx, dw, db
"""

SOFTMAX = """
def forward(x):
    m = x.max(axis=-1, keepdims=True)
    m = np.where(np.isfinite(m), m, 0)
    e = np.exp(x - m)
    s = e.sum(axis=-1, keepdims=True)
    p = e / np.where(s == 0, 1, s)
    return p, p

def backward(dout, p):
    return p * (dout - (dout * p).sum(axis=-1, keepdims=True))
"""

CROSS_ENTROPY = """
def forward(logits, targets, denominator=None):
    z, t = logits.reshape(-1, logits.shape[-1]), targets.reshape(-1)
    keep = t != -1
    safe = np.where(keep, t, 0)
    n = denominator or max(keep.sum(), 1)
    z = z - z.max(axis=-1, keepdims=True)
    p = np.exp(z)
    p = p / p.sum(axis=-1, keepdims=True)
    nll = -np.log(p[np.arange(len(t)), safe])
    loss = nll[keep].sum() / n
    return np.asarray(loss), (p, safe, keep, n, logits.shape)

def backward(dout, cache):
    p, safe, keep, n, shape = cache
    p = p.copy()
    p[np.arange(len(safe)), safe] -= 1
    p[~keep] = 0
    return (dout * p / n).reshape(shape)
"""

ATTENTION = """
def split(x, n_head):
    B, T, C = x.shape
    return x.reshape(B, T, n_head, C // n_head).transpose(0, 2, 1, 3)

def merge(x):
    B, H, T, D = x.shape
    return x.transpose(0, 2, 1, 3).reshape(B, T, H * D)

def forward(qkv, n_head, dropout=0.0, key=0, row=0):
    B, T, C3 = qkv.shape
    q, k, v = (split(part, n_head) for part in np.split(qkv, 3, axis=-1))
    scores = q @ k.transpose(0, 1, 3, 2) / np.sqrt(q.shape[-1])
    mask = np.tril(np.ones((T, T), bool))
    scores = np.where(mask, scores, -np.inf)
    w = np.exp(scores - scores.max(axis=-1, keepdims=True))
    w = w / w.sum(axis=-1, keepdims=True)
    keep = np.ones(w.shape)
    if dropout > 0:
        keep = (random_bits(w.shape, key, row, np) >= np.uint32(dropout * 2**32)) / (1 - dropout)
    return merge((w * keep) @ v), (q, k, v, w, keep)

def backward(dout, cache):
    q, k, v, w, keep = cache
    dout = split(dout, q.shape[1])
    dv = (w * keep).transpose(0, 1, 3, 2) @ dout
    dw = dout @ v.transpose(0, 1, 3, 2) * keep
    ds = w * (dw - (dw * w).sum(axis=-1, keepdims=True)) / np.sqrt(q.shape[-1])
    dq = ds @ k
    dk = ds.transpose(0, 1, 3, 2) @ q
    return np.concatenate([merge(dq), merge(dk), merge(dv)], axis=-1)
"""

SOURCES = {
    "linear": LINEAR, "embedding": EMBEDDING, "layernorm": LAYERNORM, "softmax": SOFTMAX,
    "cross_entropy": CROSS_ENTROPY, "attention": ATTENTION,
}  # fmt: skip


def written(layer, *changes):
    """A layer with some of its text changed: pairs of what stands there once, and what is to stand there instead."""
    text = SOURCES[layer]
    for old, new in changes:
        assert text.count(old) == 1, (old, text.count(old))
        text = text.replace(old, new)
    namespace = {}
    exec("import numpy as np\nfrom tinygpt.backend import random_bits\n" + text, namespace)
    return SimpleNamespace(forward=namespace["forward"], backward=namespace["backward"])
