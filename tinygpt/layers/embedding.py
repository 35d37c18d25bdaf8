"""Embedding: a table of vectors, one row for each token (`wte`) or each position (`wpe`)."""

from tinygpt.backend import Array, array_module, scatter_add


def forward(idx: Array, w: Array) -> tuple[Array, tuple]:
    """out[...] = w[idx[...]].

    idx: (...) integers in [0, V); w: (V, C). Returns out: (..., C), cache.

    Checking ids would make a CUDA card wait, so it is left to the caller: out-of-range ids raise IndexError on NumPy
    (negative ones count from the end) and wrap around on CuPy.
    """
    out = w[idx]  # (...) -> (..., C)
    return out, (idx, w)


def backward(dout: Array, cache: tuple) -> Array:
    """dw: (V, C). A row read n times receives the sum of n gradients; `dw[idx] = dout` would keep only the last.

    dout: (..., C).
    """
    idx, w = cache
    dw = array_module(w).zeros_like(w)
    scatter_add(dw, idx.reshape(-1), dout.reshape(-1, w.shape[1]))  # (..., C) -> (N, C), added into (V, C)
    return dw
