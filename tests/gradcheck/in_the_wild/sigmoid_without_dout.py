"""A sigmoid whose backward is its derivative, whatever comes from above."""

import numpy as np


def sigmoid_forward(z):
    a = 1 / (1 + np.exp(-z))
    return a, a


def sigmoid_backward(dA, cache):
    return cache * (1 - cache)


inputs = {"z": np.random.default_rng(15).standard_normal((4, 3))}
