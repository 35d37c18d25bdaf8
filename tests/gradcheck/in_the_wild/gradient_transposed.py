"""A square layer whose weight gradient is the wrong way round."""

import numpy as np


class Dense:
    def __init__(self, n):
        self.weights = np.random.randn(n, n) * 0.01
        self.biases = np.zeros((1, n))

    def forward(self, inputs):
        self.inputs = inputs
        return inputs @ self.weights + self.biases

    def backward(self, dvalues):
        self.dweights = dvalues.T @ self.inputs
        self.dbiases = dvalues.sum(axis=0, keepdims=True)
        self.dinputs = dvalues @ self.weights.T


inputs = {"inputs": np.random.default_rng(10).standard_normal((5, 4)), "n": 4}
