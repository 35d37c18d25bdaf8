"""A softmax that computes in float32, whatever it is given."""

import numpy as np


def softmax_forward(x):
    x = np.asarray(x, dtype=np.float32)
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    out = e / e.sum(axis=-1, keepdims=True)
    return out, out


def softmax_backward(dout, out):
    dout = np.asarray(dout, dtype=np.float32)
    return out * (dout - (dout * out).sum(axis=-1, keepdims=True))


inputs = {"x": np.random.default_rng(6).standard_normal((3, 5)).astype(np.float32)}
