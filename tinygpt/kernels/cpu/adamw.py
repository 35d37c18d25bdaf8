"""AdamW whose corrections are two numbers, not two arrays, so that a block stays in the cache."""

import math

import numpy as np


def adamw_update(
    w: np.ndarray, dw: np.ndarray, m: np.ndarray, v: np.ndarray, step: int,
    lr: float, beta1: float, beta2: float, eps: float, weight_decay: float,
) -> None:  # fmt: skip
    """As the definition, `tinygpt/optim/adamw.py`: lr m_hat = (lr / (1 - beta1^step)) m, and likewise v's root."""
    m *= beta1
    m += (1 - beta1) * dw
    v *= beta2
    v += (1 - beta2) * dw * dw
    w *= 1 - lr * weight_decay
    w -= (lr / (1 - beta1**step)) * m / (np.sqrt(v) / math.sqrt(1 - beta2**step) + eps)
