"""Layers as pairs of functions, all in one file, with modes and seeds in dicts."""

import numpy as np


def affine_forward(x, w, b):
    out = x.reshape(x.shape[0], -1).dot(w) + b
    return out, (x, w, b)


def affine_backward(dout, cache):
    x, w, _ = cache
    return dout.dot(w.T).reshape(x.shape), x.reshape(x.shape[0], -1).T.dot(dout), dout.sum(axis=0)


def relu_forward(x):
    return np.maximum(0, x), x


def relu_backward(dout, cache):
    return dout * (cache > 0)


def dropout_forward(x, dropout_param):
    p, mode = dropout_param["p"], dropout_param["mode"]
    if "seed" in dropout_param:
        np.random.seed(dropout_param["seed"])
    mask = None
    out = x
    if mode == "train":
        mask = (np.random.rand(*x.shape) < p) / p
        out = x * mask
    return out, (dropout_param, mask)


def dropout_backward(dout, cache):
    dropout_param, mask = cache
    return dout * mask if dropout_param["mode"] == "train" else dout


def batchnorm_forward(x, gamma, beta, bn_param):
    eps = bn_param.get("eps", 1e-5)
    bn_param["running_mean"] = 0.9 * bn_param.get("running_mean", np.zeros(x.shape[1])) + 0.1 * x.mean(0)
    std = np.sqrt(x.var(0) + eps)
    x_hat = (x - x.mean(0)) / std
    return gamma * x_hat + beta, (x_hat, gamma, std)


def batchnorm_backward(dout, cache):
    x_hat, gamma, std = cache
    dbeta = dout.sum(0)
    dgamma = (dout * x_hat).sum(0)
    dx = gamma / std * (dout - dbeta / len(dout) - x_hat * dgamma / len(dout))
    return dx, dgamma, dbeta


rng = np.random.default_rng(2)
inputs = {
    "affine": [rng.standard_normal((5, 2, 3)), rng.standard_normal((6, 4)), rng.standard_normal(4)],
    "relu": [rng.standard_normal((5, 4))],
    "dropout": [rng.standard_normal((5, 4)), {"mode": "train", "p": 0.6, "seed": 3}],
    "batchnorm": [rng.standard_normal((5, 4)), 1 + 0.3 * rng.standard_normal(4), np.zeros(4), {"mode": "train"}],
}
