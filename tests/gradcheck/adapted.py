"""What the tests of the adapters check again and again."""

import numpy as np

from tinygpt.gradcheck import check_gradients

x = np.random.default_rng(0).standard_normal((5, 3))
w = np.random.default_rng(1).standard_normal((3, 4))


def gradients(code, inputs, **options) -> list[str]:
    """The names of the gradients of right code."""
    report = check_gradients(code, inputs, **options)
    assert report.passed, report
    return [row.name for row in report.rows]


def matmul_forward(x, w):
    return x @ w, (x, w)


def matmul_backward(dout, cache):
    x, w = cache
    return dout @ w.T, x.T @ dout


class Linear:
    def __init__(self, n_in, n_out):
        self.W = np.random.randn(n_in, n_out)  # noqa: NPY002
        self.b = np.zeros(n_out)

    def forward(self, x):
        self.x = x
        return x @ self.W + self.b

    def backward(self, dout):
        self.dW, self.db = self.x.T @ dout, dout.sum(0)
        return dout @ self.W.T
