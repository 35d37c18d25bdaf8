"""A layer that counts its calls in the module, and does something else in every third."""

import numpy as np

calls = {"count": 0}


def noisy_forward(x):
    calls["count"] += 1
    return x * (1.001 if calls["count"] % 3 == 0 else 1.0), None


def noisy_backward(dout, cache):
    return dout


inputs = {"x": np.random.default_rng(18).standard_normal((3, 4))}
