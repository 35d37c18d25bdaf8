"""A loss whose backward multiplies by the gradient from above, and is given it once more."""

import numpy as np


def scale_forward(x, s):
    return x * s, (x, s)


def scale_backward(dout, cache):
    x, s = cache
    ds = (x * dout).sum(axis=0)
    return dout * dout * s, ds


inputs = [np.random.default_rng(16).standard_normal((4, 3)), np.array([1.5, -0.5, 2.0])]
