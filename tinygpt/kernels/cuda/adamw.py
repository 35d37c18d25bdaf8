"""A whole step of AdamW in two kernels: the gradients' norm in parts, and the update, which clips by it."""

import math

import numpy as np

from tinygpt.backend import Array, array_module, to_device
from tinygpt.kernels.cuda.compiled import compiled

DTYPES = "float32", "float64"
PARTS = 1024  # blocks of sum_squares at most: about as many as a large card runs at once
BLOCKS = 8192  # of adamw at most, each of which adds up all the parts


def whole_step(
    w: Array, dw: Array, m: Array, v: Array, n_decayed: int, step: int, lr: float, beta1: float, beta2: float,
    eps: float, weight_decay: float, max_norm: float,
) -> Array:  # fmt: skip
    """Clipping by the global norm and `adamw_update`, as `Optimizer.step` has them, for flat buffers that begin with
    n_decayed numbers for weight decay. Returns the norm, (). What changes from step to step is uploaded, so that the
    launches are the same in each.
    """
    xp, n, kernels = array_module(w), len(w), compiled("adamw", w.dtype)
    threads, packs = 256, n * w.itemsize // 16
    parts = xp.empty(_blocks(packs, 4 * threads, PARTS), w.dtype)  # four packs a thread, as it has them under way
    norm = xp.empty((), w.dtype)
    now = lr / (1 - beta1**step), 1 / math.sqrt(1 - beta2**step), 1 - lr * weight_decay
    kernels.launch("sum_squares", len(parts), threads, dw, parts, np.int64(n))
    kernels.launch(
        "adamw", _blocks(packs, threads, BLOCKS), threads, w, dw, m, v, parts, len(parts),
        to_device(np.array(now, w.dtype), "cuda"), norm, float(beta1), 1.0 - beta1, float(beta2), 1.0 - beta2,
        float(eps), float(max_norm), np.int64(n), np.int64(n_decayed),
    )  # fmt: skip
    return norm


def _blocks(packs: int, of_block: int, most: int) -> int:
    return min(max(1, -(-packs // of_block)), most)
