"""A root mean square whose backward forgets the small number under the root."""

import numpy as np


class RMSNorm:
    def forward(self, x):
        self.x = x
        self.ms = (x * x).mean(axis=-1, keepdims=True)
        return x / np.sqrt(self.ms + 1e-6)

    def backward(self, dout):
        rms = np.sqrt(self.ms)
        xhat = self.x / rms
        return (dout - xhat * (dout * xhat).mean(axis=-1, keepdims=True)) / rms


inputs = {"x": np.random.default_rng(17).standard_normal((5, 4))}
