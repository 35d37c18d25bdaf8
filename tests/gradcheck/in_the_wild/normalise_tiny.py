"""Normalisation of rows that are tiny, with nothing added to their norm."""

import numpy as np


def l2_normalize(x):
    norm = np.sqrt((x * x).sum(axis=-1, keepdims=True))
    return x / norm, (x / norm, norm)


def l2_normalize_backward(dout, cache):
    out, norm = cache
    return (dout - out * (dout * out).sum(axis=-1, keepdims=True)) / norm


inputs = {"x": 1e-8 * np.random.default_rng(9).standard_normal((3, 4))}
