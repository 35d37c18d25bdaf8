"""A linear model whose gradients hold a weight decay that its loss leaves out."""

import numpy as np


def linear_loss(W, X, y, reg):
    residual = X @ W - y
    loss = 0.5 * (residual**2).sum()
    return loss, X.T @ residual + reg * W


rng = np.random.default_rng(20)
constant = ["X", "y"]
inputs = {
    "linear_loss": {
        "W": rng.standard_normal((3, 2)),
        "X": rng.standard_normal((5, 3)),
        "y": rng.standard_normal((5, 2)),
        "reg": 0.1,
    }
}
