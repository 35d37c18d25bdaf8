"""A block with a residual connection, through which no gradient goes."""

import numpy as np


class Residual:
    def __init__(self, dim):
        self.W = np.random.randn(dim, dim)

    def forward(self, x):
        self.x, self.h = x, np.tanh(x @ self.W)
        return x + self.h

    def backward(self, grad):
        da = grad * (1 - self.h**2)
        self.grad_W = self.x.T @ da
        return da @ self.W.T


inputs = {"x": np.random.default_rng(19).standard_normal((5, 3)), "dim": 3}
