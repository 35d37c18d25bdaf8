"""The kernels that go over a matrix column by column (`columns.h`): how they are launched, and what they take."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from tinygpt.backend import Array, array_module
from tinygpt.kernels.cuda.compiled import REALS, Kernels, real_of

BLOCK = (32, 8)  # threads: as many columns, and rows at a time
ROWS = 32  # of a part at least: 4 for each of a block's threads
BLOCKS = 2048  # that a large matrix is given to: about two for each that a large card runs at once
PARTS = 512  # of a column's sum at most


def launch(kernels: Kernels, kernel: str, x: Array, C: int, *args: Any) -> None:
    """Queue a kernel that goes over x as rows of C numbers, unless x is empty."""
    if x.size:
        kernels.launch(kernel, (_across(C), _parts(x, C)), BLOCK, *args, np.uint64(x.size), C)


def room_for_sums(x: Array, C: int) -> Array:
    """What such a kernel writes the columns' sums to, in parts: (P, C)."""
    return array_module(x).empty((_parts(x, C), C), real_of(x.dtype))


def _across(C: int) -> int:
    return -(-C // BLOCK[0])


def _parts(x: Array, C: int) -> int:
    """How many, by the shape alone, and with it the order of every sum, are the same on every card."""
    rows = -(-x.size // C)
    return min(-(-rows // ROWS), max(1, BLOCKS // _across(C)), PARTS)


def bias(b: Array | None, C: int) -> Array | None:
    """b as a kernel reads it. Raises ValueError unless it has one number for each of C columns."""
    if b is None:
        return None
    if b.shape != (C,):
        raise ValueError(f"b has the shape {b.shape}; expected ({C},)")
    return array_module(b).ascontiguousarray(b)


def taken(*arrays: Array, vectors: Sequence[Array | None] = ()) -> bool:
    """Whether the kernels are made for these: all are float32, or all float64, or bfloat16 with vectors in float32."""
    alike = dtypes(*arrays)
    return alike in REALS and all(v is None or v.dtype == real_of(arrays[0].dtype) for v in vectors)


def dtypes(*arrays: Array | None) -> str:
    return " with ".join(sorted({array.dtype.name for array in arrays if array is not None}))
