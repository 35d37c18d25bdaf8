"""Dropout in one kernel each way, `dropout.cu`: the mask is never kept, backward hashes its bits anew."""

import numpy as np

from tinygpt.backend import Array, array_module
from tinygpt.kernels.cuda.columns import dtypes, taken
from tinygpt.kernels.cuda.compiled import OfDefinition, compiled, fall_back
from tinygpt.layers import dropout as definition
from tinygpt.random import finalise

THREADS, EACH = 256, 4  # of a block, and the places of each thread
MOST_ROWS = 65535  # of a grid; a block takes several where there are more


def forward(x: Array, p: float, key: int = 0, row: int = 0) -> tuple[Array, tuple]:
    """As the definition, `tinygpt/layers/dropout.py`."""
    if p == 0:
        return x, (key, row, p)
    if not taken(x):
        return fall_back("dropout", dtypes(x), definition.forward(x, p, key, row))
    return _dropped(x, p, key, row), (key, row, p)


def backward(dout: Array, cache: tuple) -> Array:
    """As the definition."""
    if isinstance(cache, OfDefinition):
        return definition.backward(dout, cache)
    key, row, p = cache
    return dout if p == 0 else _dropped(dout, p, key, row)


def _dropped(x: Array, p: float, key: int, row: int) -> Array:
    """x with what the hash drops set to 0, the rest scaled."""
    xp = array_module(x)
    out = xp.empty(x.shape, x.dtype)
    if out.size:
        rows, places = len(x), x.size // len(x)
        grid = -(-places // (EACH * THREADS)), min(rows, MOST_ROWS)
        key, row, threshold = np.uint64(finalise(key)), np.uint64(row), np.uint32(p * 2**32)
        compiled("dropout", x.dtype, EACH=EACH).launch(
            "dropout", grid, THREADS, xp.ascontiguousarray(x), out, key, row, threshold, 1 / (1 - p), rows, places
        )
    return out
