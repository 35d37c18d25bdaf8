"""Embedding whose gradient is added row by row, in a fixed order, into the rows that were read; no other is touched."""

import math
from collections.abc import Sequence

from tinygpt.backend import Array, array_module
from tinygpt.kernels.cuda.compiled import REALS, Kernels, OfDefinition, compiled, fall_back, real_of
from tinygpt.kernels.cuda.unfinished import Unfinished
from tinygpt.layers import embedding

WARPS = 8  # of a block
CHUNK, RANKED = 32, 8  # sorted positions that a block adds up, and positions that a warp finds the places of


def forward(idx: Array, w: Array) -> tuple[Array, tuple]:
    """As the definition, `tinygpt/layers/embedding.py`."""
    if why := _not_taken(idx, w):
        return fall_back("embedding", why, embedding.forward(idx, w))
    xp = array_module(w)
    ids = xp.ascontiguousarray(idx, idx.dtype if idx.dtype.name in ("int32", "int64") else "int64")
    (V, C), N = w.shape, ids.size
    out = xp.empty((*idx.shape, C), w.dtype)
    args = ids, xp.ascontiguousarray(w), out, N, V, C
    _kernels(ids, w).launch("embedding_forward", -(-N // WARPS), 32 * WARPS, *args)
    return out, (ids, w.shape, w.dtype)


def backward(dout: Array, cache: tuple) -> "Array | RowSums":
    """dw: (V, C), as the definition; unfinished."""
    if isinstance(cache, OfDefinition):
        return embedding.backward(dout, cache)
    ids, shape, dtype = cache
    dtype = dout.dtype if dout.dtype == real_of(dtype) else dtype  # a sum of bfloat16 may come in float32
    return RowSums(ids, array_module(ids).ascontiguousarray(dout, dtype), shape)


class RowSums(Unfinished):
    """dw: (V, C), whose row v is the sum of dout[n] over the n with ids[n] = v. ids: (...); dout: (..., C)."""

    def __init__(self, ids: Array, dout: Array, shape: tuple[int, int]):
        super().__init__(shape, real_of(dout.dtype))
        self.ids, self.dout = ids, dout

    @staticmethod
    def add_all(sums: Sequence[tuple["RowSums", Array]]) -> None:
        for gradient, total in sums:
            gradient._add(total)

    def _add(self, dw: Array) -> None:
        if dw.shape != self.shape or dw.dtype != self.dtype or not dw.flags.c_contiguous:
            raise ValueError(f"a gradient {self.shape} in {self.dtype} cannot be added to {dw.shape} in {dw.dtype}")
        xp, (V, C), N = array_module(dw), self.shape, self.ids.size
        kernels, threads = _kernels(self.ids, self.dout), 32 * WARPS
        chunks, columns = -(-N // CHUNK), -(-C // threads)
        ordered, pieces = xp.empty(N, "uint64"), xp.empty((chunks, 2, C), self.dtype)
        kernels.launch("embedding_sort", -(-N // (WARPS * RANKED)), threads, self.ids, ordered, N, V)
        kernels.launch("embedding_runs", (chunks, columns), threads, ordered, self.dout, pieces, dw, N, C)
        if chunks > 1:
            kernels.launch("embedding_join", (chunks - 1, columns), threads, ordered, pieces, dw, C)


def _kernels(ids: Array, rows: Array) -> Kernels:
    return compiled("embedding", rows.dtype, ID_BITS=8 * ids.dtype.itemsize, CHUNK=CHUNK, RANKED=RANKED)


def _not_taken(idx: Array, w: Array) -> str:
    if w.dtype.name not in REALS:
        return str(w.dtype)
    if idx.dtype.kind not in "iu":
        return f"ids in {idx.dtype}"
    if 0 in (*idx.shape, *w.shape):
        return "empty arrays"
    N = math.prod(idx.shape)
    return f"{N:,} ids" if N > 1 << 17 else ""  # sorting compares each with each, a millisecond for as many
