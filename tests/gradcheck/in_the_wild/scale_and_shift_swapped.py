"""LayerNorm whose two parameter gradients have changed places."""

import numpy as np


class LayerNorm:
    def __init__(self, dim):
        self.gamma, self.beta = np.ones(dim), np.zeros(dim)

    def forward(self, x):
        self.rstd = 1 / np.sqrt(x.var(axis=-1, keepdims=True) + 1e-5)
        self.xhat = (x - x.mean(axis=-1, keepdims=True)) * self.rstd
        return self.gamma * self.xhat + self.beta

    def backward(self, dout):
        dgamma, dbeta = dout.sum(axis=0), (dout * self.xhat).sum(axis=0)
        d = dout * self.gamma
        mean = lambda x: x.mean(axis=-1, keepdims=True)  # noqa: E731
        dx = self.rstd * (d - mean(d) - self.xhat * mean(d * self.xhat))
        return dx, dgamma, dbeta


def make():
    return LayerNorm(4)


inputs = {"x": np.random.default_rng(12).standard_normal((5, 4))}
