"""A recurrent network whose parameters are objects with data and grad, which it adds to."""

import numpy as np


class Parameter:
    def __init__(self, data):
        self.data = data
        self.grad = np.zeros_like(data)


class RNN:
    def __init__(self, n_in, n_hidden):
        self.Wx = Parameter(np.random.randn(n_in, n_hidden) / np.sqrt(n_in))
        self.Wh = Parameter(np.random.randn(n_hidden, n_hidden) / np.sqrt(n_hidden))
        self.b = Parameter(np.zeros(n_hidden))

    def forward(self, xs, h0):
        self.xs, self.hs = xs, [h0]
        for x in xs:
            self.hs.append(np.tanh(x @ self.Wx.data + self.hs[-1] @ self.Wh.data + self.b.data))
        return np.stack(self.hs[1:])

    def backward(self, dhs):
        dh = np.zeros_like(dhs[0])
        dxs = np.zeros_like(self.xs)
        for t in reversed(range(len(self.xs))):
            da = (dhs[t] + dh) * (1 - self.hs[t + 1] ** 2)
            self.Wx.grad += self.xs[t].T @ da
            self.Wh.grad += self.hs[t].T @ da
            self.b.grad += da.sum(0)
            dxs[t] = da @ self.Wx.data.T
            dh = da @ self.Wh.data.T
        return dxs, dh


def inputs(rng):
    return {"xs": rng.standard_normal((4, 2, 3)), "h0": rng.standard_normal((2, 5)), "n_in": 3, "n_hidden": 5}
