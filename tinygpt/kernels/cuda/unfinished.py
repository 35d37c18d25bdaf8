"""Gradients that a kernel leaves unfinished, to be finished where they are added: no array of their own, no pass."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from tinygpt.backend import Array, array_module, device_module, gemm
from tinygpt.kernels.cuda.compiled import REALS, compiled, real_of

AT_ONCE = 8  # sums that one launch adds


class Unfinished:
    """A parameter's gradient on a card that `add_all` adds into the gradients. `array()` is the gradient itself, and
    `get()` that on the host, for whoever wants to look at it.
    """

    def __init__(self, shape: tuple[int, ...], dtype: Any):
        self.shape, self.dtype = shape, np.dtype(dtype)

    @staticmethod
    def add_all(sums: Sequence[tuple[Any, Array]]) -> None:
        """total += gradient for each pair (gradient, total), gradients of one class."""
        raise NotImplementedError

    def array(self) -> Array:
        total = device_module("cuda").zeros(self.shape, self.dtype)
        self.add_all([(self, total)])
        return total

    def get(self) -> np.ndarray:
        return self.array().get()

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise TypeError("a gradient that a kernel left unfinished is no array yet; array() makes it one")


class Product(Unfinished):
    """a^T @ b, a weight's gradient: cuBLAS adds it into the gradients itself. a: (N, I); b: (N, O)."""

    def __init__(self, a: Array, b: Array):
        super().__init__((a.shape[1], b.shape[1]), real_of(a.dtype) if a.dtype.name in REALS else a.dtype)
        self.a, self.b = a, b

    @property
    def T(self) -> "Product":
        return Product(self.b, self.a)

    @staticmethod
    def add_all(sums: Sequence[tuple["Product", Array]]) -> None:
        for product, total in sums:
            gemm(product.a, product.b, total, transpose_a=True, beta=1.0)


class Sums(Unfinished):
    """Column sums of parts, (P, W), the gradient of a bias or of LayerNorm's weight: (W,). A kernel sums its rows in P
    parts, here the parts are added up, in their order, of several gradients in one launch (`sums.cu`).
    """

    def __init__(self, parts: Array):
        super().__init__(parts.shape[1:], parts.dtype)
        self.parts = array_module(parts).ascontiguousarray(parts)

    @staticmethod
    def add_all(sums: Sequence[tuple["Sums", Array]]) -> None:
        for some in _launches(sums):
            args: list[Any] = []
            for gradient, total in some:
                if (total.shape, total.dtype) != (gradient.shape, gradient.dtype) or not total.flags.c_contiguous:
                    raise ValueError(f"sums of {gradient.dtype} {gradient.shape} for {total.dtype} {total.shape}")
                args += [total, gradient.parts, len(gradient.parts), total.size]
            args += [None, None, 0, 0] * (AT_ONCE - len(some))
            widest = max(total.size for _, total in some)
            grid = -(-widest // 32), len(some)
            compiled("sums", some[0][0].dtype).launch("add_sums", grid, (32, 32), *args)


def _launches(sums: Sequence[tuple[Sums, Array]]) -> Iterator[list[tuple[Sums, Array]]]:
    """The sums that are not empty, by launch: of two for the same total, one must be there before the other."""
    some: list[tuple[Sums, Array]] = []
    for gradient, total in sums:
        if len(some) == AT_ONCE or any(total.data.ptr == other.data.ptr for _, other in some):
            yield some
            some = []
        if total.size:
            some.append((gradient, total))
    if some:
        yield some
