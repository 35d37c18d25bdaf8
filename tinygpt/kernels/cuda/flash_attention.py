"""Attention of bfloat16 heads on tensor cores, for what `attention.py` gives here."""

import numpy as np

from tinygpt.backend import Array, array_module, compute_capability
from tinygpt.kernels.cuda.compiled import compiled
from tinygpt.precision import BFLOAT16_CARD
from tinygpt.random import finalise

HEADS = 32, 64, 128  # sizes of heads
THREADS = 128  # of a block, as in flash_attention.cu
PADDED = 128  # to a multiple of this, rows have statistics
MOST_BLOCKS = 65535  # along a grid's second axis


def takes(B: int, D: int) -> bool:
    """Whether these kernels are for a batch of B sequences and heads of size D, on this card."""
    return D in HEADS and B <= MOST_BLOCKS and compute_capability() >= BFLOAT16_CARD


def attend(qkv: Array, n_head: int, dropout: float, key: int, row: int) -> tuple[Array, tuple]:
    """out and the cache; in this are not the weights, but log2 of each of their rows' sum of exps, and a bit for each
    that says whether dropout keeps it, which a hash would say again more slowly.
    """
    xp = array_module(qkv)
    B, T, width = qkv.shape
    qkv = _aligned(qkv)
    out = xp.empty((B, T, width // 3), qkv.dtype)
    rows = -(-T // PADDED) * PADDED
    lse = xp.empty((B, n_head, rows), np.float32)
    mask: Array = xp.empty((B, n_head, rows, rows // 32), np.uint32) if dropout else None
    bits = np.uint64(finalise(key)), np.uint64(row), np.uint32(dropout * 2**32)
    rescale = 1 / (1 - dropout)
    _launch("flash_forward", (qkv, out, lse, mask), (T, n_head, *bits, rescale))
    return out, (qkv, out, lse, mask, (T, n_head, rescale))


def gradient(dout: Array, cache: tuple) -> Array:
    """dqkv: (B, T, 3C)."""
    qkv, out, lse, mask, numbers = cache
    xp = array_module(qkv)
    dout = _aligned(dout.astype(qkv.dtype, copy=False))
    dqkv, delta = xp.empty_like(qkv), xp.empty_like(lse)
    _launch("flash_backward_q", (qkv, out, dout, lse, mask, delta, dqkv), numbers)
    _launch("flash_backward_kv", (qkv, dout, lse, mask, delta, dqkv), numbers)
    return dqkv


def _aligned(x: Array) -> Array:
    """x where 16 bytes can be read at once: itself, or a copy."""
    x = array_module(x).ascontiguousarray(x)
    return x.copy() if x.data.ptr % 16 else x


def _launch(kernel: str, arrays: tuple[Array, ...], numbers: tuple) -> None:
    (B, T, width), n_head, rescale = arrays[0].shape, numbers[1], numbers[-1]
    D = width // 3 // n_head
    own, shared = cut(kernel, D, rescale > 1)
    if arrays[0].size:
        kernels = compiled("flash_attention", arrays[0].dtype, HEAD=D, DROPOUT=int(rescale > 1))
        kernels.launch(kernel, (n_head, B, -(-T // own)), THREADS, *arrays, *numbers, shared=shared)


def cut(kernel: str, D: int, dropout: bool) -> tuple[int, int]:
    """Rows that a block owns, and its bytes of shared memory, as flash_attention.cu has them: its own tiles, two stages
    of two tiles, and in the backward pass two statistics of each of their rows.
    """
    if kernel == "flash_forward":
        rows = 32 if D == 128 or dropout else 64
        return 128, 2 * D * (128 + 4 * rows)
    own, rows = 64 if D == 128 else 128, 32
    return own, 2 * D * (2 * own + 4 * rows) + 16 * rows
