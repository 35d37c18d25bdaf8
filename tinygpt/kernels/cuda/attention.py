"""Attention in one pass over tiles of its scores, backward in two: no (T, T) array ever lies in the card's memory."""

import functools

import numpy as np

from tinygpt.backend import TF32_CARD, Array, array_module, compute_capability, products_in_tf32
from tinygpt.kernels.cuda import flash_attention
from tinygpt.kernels.cuda.compiled import OfDefinition, compiled, fall_back
from tinygpt.layers import attention as definition
from tinygpt.random import finalise

WIDEST = 256  # channels of a head
WIDEST_TF32 = 160  # of which a block still holds the 64 rows that its warps need for tensor cores
THREADS = 128  # of a block, as in tiles.h
SHARED_BYTES = {75: 64 << 10, 80: 99 << 10}  # of shared memory that a block can have, from a card's generation on


class OfFlash(tuple):
    """The cache of heads that flash_attention.py takes."""


class InFloat32(tuple):
    """The cache of other heads in bfloat16, computed in float32: the dtype and their cache."""


def forward(qkv: Array, n_head: int, dropout: float = 0.0, key: int = 0, row: int = 0) -> tuple[Array, tuple]:
    """As the definition, `tinygpt/layers/attention.py`; in the cache are not the weights, but of each of their rows the
    highest score and the sum of exps.
    """
    xp = array_module(qkv)
    B, T, width = qkv.shape
    D = width // 3 // n_head
    if 3 * n_head * D != width:
        raise ValueError(f"qkv has {width} channels, which are not three times {n_head} heads of equal size")
    if qkv.dtype.name == "bfloat16":
        if flash_attention.takes(B, D):
            out, cache = flash_attention.attend(qkv, n_head, dropout, key, row)
            return out, OfFlash(cache)
        out, cache = forward(qkv.astype(np.float32), n_head, dropout, key, row)
        return out.astype(qkv.dtype), InFloat32((qkv.dtype, cache))
    known, card = qkv.dtype.name in ("float32", "float64"), compute_capability()
    if not known or not tiles(padded(D), T, qkv.dtype.itemsize, False, card):
        why = f"heads of {D} channels in {qkv.dtype} on this card"
        return fall_back("attention", why, definition.forward(qkv, n_head, dropout, key, row))
    qkv = xp.ascontiguousarray(qkv)
    out = xp.empty((B, T, n_head * D), qkv.dtype)
    highest, total = (xp.empty((B, n_head, T), qkv.dtype) for _ in range(2))
    bits = np.uint64(finalise(key)), np.uint64(row), np.uint32(dropout * 2**32)
    numbers = T, n_head, D, D**-0.5, *bits, 1 / (1 - dropout)
    _launch("attention_forward", 1, (qkv, out, highest, total), numbers)
    return out, (qkv, out, highest, total, numbers)


def backward(dout: Array, cache: tuple) -> Array:
    """dqkv: (B, T, 3C), as the definition."""
    if isinstance(cache, OfDefinition):
        return definition.backward(dout, cache)
    if isinstance(cache, OfFlash):
        return flash_attention.gradient(dout, cache)
    if isinstance(cache, InFloat32):
        dtype, cache = cache
        return backward(dout.astype(np.float32), cache).astype(dtype)
    qkv, out, highest, total, numbers = cache
    xp = array_module(qkv)
    dout = xp.ascontiguousarray(dout, qkv.dtype)
    dqkv, delta = xp.empty_like(qkv), xp.empty_like(total)
    _launch("attention_backward_q", 2, (qkv, out, dout, highest, total, delta, dqkv), numbers)
    _launch("attention_backward_kv", 2, (qkv, dout, highest, total, delta, dqkv), numbers)
    return dqkv


def decode(q: Array, keys: Array, values: Array) -> Array:
    """As the definition; of bfloat16 in float32, rounded at the end."""
    if q.dtype.name != "bfloat16":
        return definition.decode(q, keys, values)
    return definition.decode(*(x.astype(np.float32) for x in (q, keys, values))).astype(q.dtype)


def _launch(kernel: str, own: int, arrays: tuple[Array, ...], numbers: tuple) -> None:
    """Queue a kernel whose blocks have `own` tiles of their own."""
    (B, _, _), dtype = arrays[0].shape, arrays[0].dtype
    T, n_head, D, *_, rescale = numbers
    head, card = padded(D), compute_capability()
    tf32 = dtype == np.float32 and head <= WIDEST_TF32 and card >= TF32_CARD and products_in_tf32()
    rows, columns = tiles(head, T, dtype.itemsize, tf32, card)
    macros = {"HEAD": head, "ROWS": rows, "COLUMNS": columns, "TF32": int(tf32), "DROPOUT": int(rescale > 1)}
    shared = shared_bytes(head, rows, columns, own, dtype.itemsize, tf32)
    if arrays[0].size:
        grid = B * n_head, -(-T // rows)
        compiled("attention", dtype, **macros).launch(kernel, grid, THREADS, *arrays, *numbers, shared=shared)


def padded(D: int) -> int:
    """The channels of a tile's rows, with zeros after a head's."""
    return -(-D // 32) * 32


@functools.cache
def tiles(head: int, T: int, itemsize: int, tf32: bool, card: int) -> tuple[int, ...]:
    """Rows of a block's own tiles, and of those that pass by: the largest of which the card's shared memory holds four,
    and a thread's registers what it needs of them, but for sizes of which half holds all T. Empty if there are none.
    """
    most = max((size for generation, size in SHARED_BYTES.items() if card >= generation), default=0)
    sizes = [(rows, columns) for rows in (64, 32, 16) for columns in (64, 32, 16, 8)]
    least = 64 if tf32 else 16
    fitting = [
        (rows, columns) for rows, columns in sizes
        if least <= rows <= 256 // itemsize and shared_bytes(head, rows, columns, 2, itemsize, tf32) <= most
        if (rows == least or rows // 2 < T) and (columns == 8 or columns // 2 < T)
    ]  # fmt: skip
    return fitting[0] if fitting and head <= WIDEST else ()


def shared_bytes(head: int, rows: int, columns: int, own: int, itemsize: int, tf32: bool) -> int:
    """Of a block with `own` tiles of its own, as attention.cu places them: these, two that pass by, four statistics of
    each of their rows and, without TF32, scratch.
    """
    vector = 16 // itemsize
    stride = head + (8 if tf32 else vector)
    scratch = 0 if tf32 else rows * (columns + 2 * vector)
    return ((own * rows + 2 * columns) * stride + 4 * columns + scratch) * itemsize
