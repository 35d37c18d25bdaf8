"""What the checkers are given: 22 pairs of functions of the layers' contract, wrong ones and right ones."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

GROSS, SMALL, REPEAT, SINGLE, EFFECT, RIGHT = (
    "gross bugs", "errors of 2e-7", "not repeatable", "float32", "side effects", "right code",
)  # fmt: skip


class Case(NamedTuple):
    """One pair. inputs: the arrays to differentiate, by name; says: a pattern, words that hold it name the mistake."""

    title: str
    kind: str
    forward: Callable[..., tuple[Any, Any]]
    backward: Callable[[Any, Any], tuple]
    inputs: dict[str, np.ndarray]
    says: str = ""
    wrong: bool = True
    single: bool = False  # computes in float32


RNG = np.random.default_rng(18)
SQUARE = {"x": RNG.standard_normal((5, 4)), "w": RNG.standard_normal((4, 4)), "b": RNG.standard_normal(4)}
VECTORS = {"x": RNG.standard_normal((5, 6)), "w": RNG.standard_normal(6), "b": RNG.standard_normal(6)}
SCORES = {"x": RNG.standard_normal((5, 7))}
HEAD = {name: RNG.standard_normal((5, 4)) for name in "qkv"}
STREAM = {"x": RNG.standard_normal((5, 4)), "w": RNG.standard_normal((4, 4))}
TARGETS = np.array([2, 0, 2, 6, 3])
IDS = np.array([3, 1, 3, 3, 0])
KEEP = RNG.random((5, 5)) >= 0.3
EPS = 1e-5


def linear(x, w, b):
    return x @ w + b, (x, w)


def linear_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout, dout.sum(axis=0)


def normalised(x, eps=EPS):
    centred = x - x.mean(axis=-1, keepdims=True)
    rstd = 1 / np.sqrt((centred * centred).mean(axis=-1, keepdims=True) + eps)
    return centred * rstd, rstd


def through_norm(dxhat, xhat, rstd, mean=1, along=1):
    """mean, along: 0 leaves out that term."""
    means = [d.mean(axis=-1, keepdims=True) for d in (dxhat, dxhat * xhat)]
    return rstd * (dxhat - mean * means[0] - along * xhat * means[1])


def layernorm(x, w, b):
    xhat, rstd = normalised(x)
    return xhat * w + b, (x, xhat, rstd, w)


def layernorm_backward(dout, cache, mean=1, along=1, eps=None):
    x, xhat, rstd, w = cache
    if eps is not None:
        xhat, rstd = normalised(x, eps)
    return through_norm(dout * w, xhat, rstd, mean, along), (dout * xhat).sum(axis=0), dout.sum(axis=0)


def small_eps(x, w, b):
    xhat, rstd = normalised(x, 2e-7)
    return xhat * w + b, (x, xhat, rstd, w)


def softmax(x):
    exps = np.exp(x - x.max(axis=-1, keepdims=True))
    out = exps / exps.sum(axis=-1, keepdims=True)
    return out, out


def softmax_backward(dout, out):
    return out * (dout - (dout * out).sum(axis=-1, keepdims=True))


def cross_entropy(x):
    p, _ = softmax(x)
    return np.array(-np.log(p[np.arange(len(x)), TARGETS]).mean()), p


def cross_entropy_backward(dout, p, rows=5):
    return (dout * (p - np.eye(p.shape[1])[TARGETS]) / rows,)


def gelu(x):
    phi = (0.5 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))).astype(x.dtype)
    return x * phi, (x, phi)


def gelu_backward(dout, cache, three=3):
    x, phi = cache
    slope = math.sqrt(2 / math.pi) * (1 + three * 0.044715 * x**2)
    return ((dout * (phi + x * 2 * phi * (1 - phi) * slope)).astype(x.dtype),)


def attention(q, k, v):
    weights, _ = softmax(q @ k.T / 2)
    dropped = weights * KEEP / 0.7
    return dropped @ v, (q, k, v, weights, dropped)


def attention_backward(dout, cache):
    q, k, v, weights, dropped = cache
    dscores = softmax_backward(dout @ v.T * KEEP / 0.7, weights) / 2
    return dscores @ k, dscores.T @ q, dropped.T @ dout


def dk_not_transposed(dout, cache):
    q, k, v, weights, _ = cache
    dq, _, dv = attention_backward(dout, cache)
    return dq, softmax_backward(dout @ v.T * KEEP / 0.7, weights) / 2 @ q, dv


def dv_before_dropout(dout, cache):
    dq, dk, _ = attention_backward(dout, cache)
    return dq, dk, cache[3].T @ dout


def residual(x, w):
    xhat, rstd = normalised(x)
    return x + xhat @ w, (xhat, rstd, w)


def residual_through_the_norm(dout, cache):
    xhat, rstd, w = cache
    return through_norm(dout + dout @ w.T, xhat, rstd), xhat.T @ dout


def look_up(w):
    return w[IDS], w


def last_one_stays(dout, w):
    dw = np.zeros_like(w)
    dw[IDS] = dout
    return (dw,)


def square(x):
    return x * x, x


def one_entry_off(dout, x):
    dx = 2 * x * dout
    dx[3, 7] *= 1.1
    return (dx,)


def scaled(x):
    return 3 * x, np.zeros_like(x)


def adds_to_the_cache(dout, total):
    total += 3 * dout
    return (total.copy(),)


def single_gelu(x):
    return gelu(x.astype(np.float32))


def writes_to_dout(dout, x):
    dout *= 2 * x
    return (dout,)


def writes_to_x(x):
    kept = x.copy()
    x *= x
    return x.copy(), kept


def _but(backward, number, change):
    """A backward whose gradient of that number is changed."""

    def changed(dout, cache):
        gradients = list(backward(dout, cache))
        gradients[number] = change(gradients[number])
        return tuple(gradients)

    return changed


TALL = {"x": RNG.standard_normal((12, 10))}
TABLE = {"w": RNG.standard_normal((5, 3))}
ROWS = len(SQUARE["x"])

CASES = [
    Case("dw transposed", GROSS, linear, _but(linear_backward, 1, np.transpose), SQUARE, "transposed"),
    Case("db is a mean, not a sum", GROSS, linear, _but(linear_backward, 2, lambda db: db / ROWS), SQUARE, "mean|1/5"),
    Case("dx and dw exchanged", GROSS, linear, lambda dout, c: (*linear_backward(dout, c)[1::-1], dout.sum(axis=0)),
         SQUARE | {"x": RNG.standard_normal((4, 4))}, "each other's place|exchanged|swapped"),
    Case("LayerNorm without its mean term", GROSS, layernorm, lambda d, c: layernorm_backward(d, c, mean=0), VECTORS,
         "mean"),
    Case("LayerNorm without its variance term", GROSS, layernorm, lambda d, c: layernorm_backward(d, c, along=0),
         VECTORS, "variance|along"),
    Case("softmax gives zeros", GROSS, softmax, lambda dout, out: (np.zeros_like(out),), SCORES, "zero"),
    Case("softmax without its second term", GROSS, softmax, lambda dout, out: (dout * out,), SCORES, "term"),
    Case("cross-entropy forgets 1/N", GROSS, cross_entropy, lambda d, p: cross_entropy_backward(d, p, 1), SCORES,
         "1/N|number of|mean|length of axis 0"),
    Case("cross-entropy ignores dout", GROSS, cross_entropy, lambda d, p: cross_entropy_backward(1.0, p), SCORES,
         "dout"),
    Case("embedding keeps a token's last gradient", GROSS, look_up, last_one_stays, TABLE, "last|repeat"),
    Case("one entry of 120 is off by a tenth", GROSS, square, one_entry_off, TALL, r"\[3, 7\]|\(3, 7\)"),
    Case("dk from dscores not transposed", GROSS, attention, dk_not_transposed, HEAD, "transposed"),
    Case("dv from weights before dropout", GROSS, attention, dv_before_dropout, HEAD, "dropout|dropped"),
    Case("residual sent through LayerNorm", GROSS, residual, residual_through_the_norm, STREAM, "residual"),
    Case("backward leaves out an eps of 2e-7", SMALL, small_eps,
         lambda d, c: layernorm_backward(d, c, eps=0.0), VECTORS, r"\beps\b"),
    Case("dw is 2e-7 of itself too large", SMALL, linear, _but(linear_backward, 1, lambda dw: dw * (1 + 2e-7)), SQUARE,
         "1.0000002"),
    Case("each backward adds to the one before", REPEAT, scaled, adds_to_the_cache, TALL,
         "reentrant|repeat|again|accumulat|twice"),
    Case("right, in float32", SINGLE, single_gelu, gelu_backward, TALL, wrong=False, single=True),
    Case("GELU's cube without its 3, in float32", SINGLE, single_gelu, lambda d, c: gelu_backward(d, c, three=1), TALL,
         r"\b3\b|cube", single=True),
    Case("backward writes to dout", EFFECT, square, writes_to_dout, TALL, "wrote to dout|read-only"),
    Case("forward writes to its input", EFFECT, writes_to_x, lambda dout, x: (2 * x * dout,), TALL,
         "wrote to its input|read-only"),
    Case("attention with dropout", RIGHT, attention, attention_backward, HEAD, wrong=False),
]  # fmt: skip
