"""ReLU of inputs among which there are zeros, as padding brings them."""

import numpy as np


class ReLU:
    def forward(self, x):
        self.mask = x > 0
        return x * self.mask

    def backward(self, dout):
        return dout * self.mask


x = np.random.default_rng(7).standard_normal((4, 5))
x[:, -1] = 0.0
inputs = {"x": x}
