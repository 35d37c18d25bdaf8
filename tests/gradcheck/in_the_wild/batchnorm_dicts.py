"""BatchNorm, its parameters and gradients in dicts, with averages that run along."""

import numpy as np


class BatchNorm1d:
    def __init__(self, dim, momentum=0.9, eps=1e-5):
        self.params = {"gamma": np.ones(dim), "beta": np.zeros(dim)}
        self.grads = {}
        self.running_mean, self.running_var = np.zeros(dim), np.ones(dim)
        self.momentum, self.eps = momentum, eps

    def __call__(self, x, training=True):
        mean, var = (x.mean(0), x.var(0)) if training else (self.running_mean, self.running_var)
        if training:
            self.running_mean = self.momentum * self.running_mean + (1 - self.momentum) * mean
            self.running_var = self.momentum * self.running_var + (1 - self.momentum) * var
        self.std = np.sqrt(var + self.eps)
        self.x_hat = (x - mean) / self.std
        return self.params["gamma"] * self.x_hat + self.params["beta"]

    def backward(self, grad_output):
        self.grads["gamma"] = (grad_output * self.x_hat).sum(axis=0)
        self.grads["beta"] = grad_output.sum(axis=0)
        dx_hat = grad_output * self.params["gamma"]
        return (dx_hat - dx_hat.mean(0) - self.x_hat * (dx_hat * self.x_hat).mean(0)) / self.std


def make():
    return BatchNorm1d(4)


def inputs(rng):
    return {"x": rng.standard_normal((6, 4))}
