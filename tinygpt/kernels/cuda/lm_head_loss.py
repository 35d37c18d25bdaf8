"""The head and its loss: logits that become their own gradient in place, so that of a step's largest array there is but
one, which passes through the card's memory as rarely as it can; in chunks of rows where it takes too much of that.
"""

import functools
from typing import Any

import numpy as np

from tinygpt.backend import Array, array_module, gemm
from tinygpt.kernels.cuda.compiled import REALS, Kernels, OfDefinition, compiled, fall_back, real_of
from tinygpt.kernels.cuda.unfinished import Product

REPLACES = ("linear", "cross_entropy")
SHARE = 16  # the logits of a chunk take at most this part of the card's memory
PER_THREAD = 16  # logits of a row, where there are not more; with fewer, a block would mostly add up its threads


def forward(
    x: Array, w: Array, targets: Array, denominator: Array | float | None = None, need_grad: bool = True,
    *, ops: Any, rows: int | None = None,
) -> tuple[Array, tuple | None]:  # fmt: skip
    """As the definition, LMHeadLoss in `tinygpt/models/gpt2.py`; the cache is None without `need_grad`. The gradient of
    an ignored row is 0 even where its logits are not finite.

    rows: of a chunk, if not as many as make 1 / SHARE of the card's memory.
    """
    if x.dtype.name not in REALS or w.dtype != x.dtype:
        why = f"{x.dtype} times {w.dtype}"
        loss, cache = fall_back("lm_head_loss", why, _of_definition(x, w, targets, denominator, ops))
        return loss, cache if need_grad else None
    xp, kernels, N, V = array_module(x), compiled("lm_head_loss", x.dtype), len(x), len(w)
    stride = -(-V // 64) * 64  # from a row to the next: V rounded up, so that cuBLAS and the kernel find rows aligned
    most = min(_card_memory(xp) // SHARE // x.itemsize, 2**31 - 1)  # numbers: cuBLAS may count them in int
    rows = min(N, rows or max(1, most // stride))
    targets = xp.ascontiguousarray(targets, dtype=np.int64)
    on_card, number = _denominator(denominator, targets, kernels)
    losses, loss = xp.empty(N, kernels.real), xp.empty((), kernels.real)
    buffer = xp.empty((rows, stride), x.dtype)
    if need_grad:
        dx, dw = xp.empty(x.shape, x.dtype), None if rows == N else xp.empty(w.shape, real_of(x.dtype))
    for start in range(0, N, rows or 1):
        chunk = slice(start, min(start + rows, N))
        n = chunk.stop - start
        logits = buffer[:n, :V]
        gemm(x[chunk], w, logits, transpose_b=True)  # (n, C) @ (C, V) -> (n, V)
        kernels.launch(
            "cross_entropy", n, _threads(-(-V // PER_THREAD)), logits, targets[chunk], on_card, number,
            losses[chunk], V, stride, need_grad,
        )  # fmt: skip
        if need_grad:
            gemm(logits, w, dx[chunk])  # now dlogits: (n, V) @ (V, C) -> (n, C)
            if dw is not None:
                gemm(logits, x[chunk], dw, transpose_a=True, beta=float(start > 0))  # (V, n) @ (n, C) -> (V, C)
    kernels.launch("sum_losses", 1, _threads(N), losses, on_card, number, loss, N)
    if not need_grad:
        return loss, None
    return loss, (dx, Product(buffer[:, :V], x) if dw is None else dw)


def backward(dout: Array, cache: tuple) -> tuple[Array, Array]:
    """dx: (N, C), dw: (V, C), as the definition; dw unfinished where all logits are one chunk."""
    if isinstance(cache, OfDefinition):
        return _backward_of_definition(dout, cache)
    dx, dw = cache
    dout = dout.astype(real_of(dx.dtype), copy=False) if hasattr(dout, "astype") else dout
    if isinstance(dw, Product):
        return _scaled(dx, dout), Product(dw.a, _scaled(dw.b, dout))
    return _scaled(dx, dout), dw * dout


def _scaled(x: Array, dout: Array) -> Array:
    return (x * dout).astype(x.dtype, copy=False)  # bfloat16 times float32 is float32


def _denominator(denominator: Any, targets: Array, kernels: Kernels) -> tuple[Array | None, float]:
    """As the kernels take it: a number on the card, or None and the number itself."""
    xp = array_module(targets)
    if denominator is None:
        counted = xp.empty((), kernels.real)
        kernels.launch("count_targets", 1, _threads(len(targets)), targets, counted, len(targets))
        return counted, 0.0
    if isinstance(denominator, xp.ndarray):
        return denominator.astype(kernels.real, copy=False), 0.0
    return None, float(denominator)


def _threads(numbers: int) -> int:
    """Of a block that has so many numbers: whole warps of 32, and at most 1,024."""
    return min(max(1, -(-numbers // 32)) * 32, 1024)


@functools.cache
def _card_memory(cupy: Any) -> int:
    """In bytes."""
    return int(cupy.cuda.runtime.getDeviceProperties(cupy.cuda.Device().id)["totalGlobalMem"])


def _of_definition(x: Array, w: Array, targets: Array, denominator: Any, ops: Any) -> tuple[Array, tuple]:
    logits, linear_cache = ops.linear.forward(x, w.T, None)
    loss, loss_cache = ops.cross_entropy.forward(logits, targets, denominator)
    return loss, (linear_cache, loss_cache, ops)


def _backward_of_definition(dout: Array, cache: tuple) -> tuple[Array, Array]:
    linear_cache, loss_cache, ops = cache
    dx, dw_transposed, _ = ops.linear.backward(ops.cross_entropy.backward(dout, loss_cache), linear_cache)
    return dx, dw_transposed.T
