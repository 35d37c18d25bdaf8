"""The array backend: NumPy on the CPU, CuPy on a CUDA card. The only file that imports cupy.

A layer asks `xp = array_module(x)` and then writes ordinary array code; whatever the two libraries do not share
(an error function, a scatter-add that repeats indices, random bits that are the same on both, products in batches)
stands here, or is handed on from here: it is all that a layer imports.
"""

import contextlib
import sys
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np

from tinygpt import special
from tinygpt.random import fold_in as fold_in
from tinygpt.random import random_bits as random_bits

Array: TypeAlias = Any  # numpy.ndarray or cupy.ndarray: the same interface, two libraries without a common type

ALIGNMENT = 64  # bytes: a cache line, and one AVX-512 register
BLOCK = 65536  # elements: a few float32 blocks of this size fit in a core's L2 cache
TF32_CARD = 80  # Ampere, the first with TF32


def array_module(x: Array) -> Any:
    """What computes on `x`: `numpy` for a host array, `cupy` for one on a CUDA card. Raises TypeError for neither."""
    if isinstance(x, np.ndarray | np.generic):
        return np
    cupy = sys.modules.get("cupy")  # an array of cupy's exists only if cupy was imported
    if cupy is not None and isinstance(x, cupy.ndarray):
        return cupy
    raise TypeError(f"expected a numpy or cupy array, got {type(x).__name__}; wrap it in np.asarray(...)")


def device_module(device: str) -> Any:
    """`numpy` for "cpu", `cupy` for "cuda"."""
    if device == "cpu":
        return np
    import cupy

    return cupy


def nccl() -> Any:
    """NCCL as CuPy has it, or None where its library cannot be loaded."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # CuPy's own words on how to install it
        from cupy.cuda import nccl  # no attribute of cupy.cuda until it is imported
    return nccl if nccl.available else None


def to_device(x: np.ndarray, device: str) -> Array:
    """`x` on `device`, copied only where it must be. For a card CuPy pins a copy and queues it, and nobody waits."""
    return device_module(device).asarray(x)


def to_host(x: Array) -> np.ndarray:
    """`x` as a NumPy array; from a card this waits for the result and copies it."""
    return x.get() if hasattr(x, "get") else np.asarray(x)  # the latter also of a gradient in pieces


def synchronize(device: str) -> None:
    """Wait until everything queued on `device` is done; a CPU has nothing queued."""
    if device == "cuda":
        device_module(device).cuda.get_current_stream().synchronize()


def compute_capability() -> int:
    """The card's generation: 80 for 8.0, and so on."""
    return int(device_module("cuda").cuda.Device().compute_capability)


def has_tf32(device: str) -> bool:
    """Whether the card can multiply float32 matrices in TF32."""
    return device == "cuda" and compute_capability() >= TF32_CARD


@contextlib.contextmanager
def tf32_products(enabled: bool, device: str) -> Iterator[None]:
    """Within it, matrix products of float32 arrays on a card are in TF32 or, if not `enabled`, in float32. TF32 rounds
    the operands to 10 bits of mantissa instead of 23 and adds up in float32: a relative error of about 1e-3 for each of
    the products' terms, for several times the speed. It is left off where the card lacks it.
    """
    if device == "cpu":
        yield
        return
    from cupy._core import _routines_linalg as linalg  # the setting that the variable CUPY_TF32 makes at the start

    before = linalg.get_compute_type(np.float32)
    chosen = linalg.COMPUTE_TYPE_TF32 if enabled and has_tf32(device) else linalg.COMPUTE_TYPE_DEFAULT
    linalg.set_compute_type(np.float32, chosen)
    try:
        yield
    finally:
        linalg.set_compute_type(np.float32, before)


def products_in_tf32() -> bool:
    """Whether products of float32 arrays on the card are in TF32 at the moment."""
    from cupy._core import _routines_linalg as linalg

    return linalg.get_compute_type(np.float32) == linalg.COMPUTE_TYPE_TF32


def aligned_zeros(size: int, dtype: Any, device: str) -> Array:
    """`size` zeros whose first byte is aligned to `ALIGNMENT` bytes (a card's allocator aligns further by itself)."""
    xp = device_module(device)
    if xp is not np:
        return xp.zeros(size, dtype=dtype)
    itemsize = np.dtype(dtype).itemsize
    buffer = np.zeros(size * itemsize + ALIGNMENT, dtype=np.uint8)
    start = -buffer.ctypes.data % ALIGNMENT
    return buffer[start : start + size * itemsize].view(dtype)


def raw_module(code: str, options: Sequence[str] = ()) -> Any:
    """CUDA C compiled for the card, by NVRTC, or from CuPy's folder of what it has compiled before."""
    return device_module("cuda").RawModule(code=code, options=("-std=c++17", *options), backend="nvrtc")


def bmm(a: Array, b: Array, transpose_a: bool = False, transpose_b: bool = False) -> Array:
    """Batched matrix product over the last two axes, either operand transposed first without copying it.

    a: (..., M, K), or (..., K, M) transposed; b: (..., K, N), or (..., N, K); outer axes alike. Returns (..., M, N).
    """
    if array_module(a) is not np:
        return _cublas_bmm(a, b, transpose_a, transpose_b)
    a = a.swapaxes(-1, -2) if transpose_a else a
    b = b.swapaxes(-1, -2) if transpose_b else b
    return np.matmul(a, b)


def _cublas_bmm(a: Array, b: Array, transpose_a: bool, transpose_b: bool) -> Array:
    """`bmm` on a card. CuPy's own matmul would copy transposed operands, and compute neither TF32 nor bfloat16."""
    M, K = a.shape[:-3:-1] if transpose_a else a.shape[-2:]
    K_b, N = b.shape[:-3:-1] if transpose_b else b.shape[-2:]
    if K != K_b or a.shape[:-2] != b.shape[:-2] or a.dtype != b.dtype:
        raise ValueError(f"bmm got {a.dtype} {a.shape} and {b.dtype} {b.shape}, which do not fit together")
    out = array_module(a).empty((*a.shape[:-2], M, N), a.dtype)
    if out.size == 0 or K == 0:
        return array_module(a).zeros_like(out)
    _cublas(_matrices(a), _matrices(b), (out, N, M * N), (M, N, K), (transpose_a, transpose_b), 0.0)
    return out


def gemm(
    a: Array, b: Array, out: Array, transpose_a: bool = False, transpose_b: bool = False, beta: float = 0.0
) -> None:
    """out = a @ b + beta * out, in place, on a card; either operand transposed first without copying it.

    a: (M, K), or (K, M) transposed; b: (K, N), or (N, K); out: (M, N), of their dtype, or float32 of bfloat16. Of each,
    rows may be further apart than they are long, as those of a slice of columns. Raises ValueError for what does not
    fit.
    """
    M, K = a.shape[::-1] if transpose_a else a.shape
    K_b, N = b.shape[::-1] if transpose_b else b.shape
    strided = out.strides[1] == out.itemsize and out.strides[0] >= N * out.itemsize
    fitting = a.dtype == b.dtype and (out.dtype == a.dtype or (a.dtype.name, out.dtype.name) == ("bfloat16", "float32"))
    if K != K_b or out.shape != (M, N) or not fitting or not (strided or out.size == 0):
        raise ValueError(f"gemm got {a.dtype} {a.shape}, {b.dtype} {b.shape} and {out.dtype} {out.shape}: no product")
    if K == 0:
        out *= beta
    elif out.size:
        row = out.strides[0] // out.itemsize
        _cublas(_matrices(a), _matrices(b), (out, row, M * row), (M, N, K), (transpose_a, transpose_b), beta)


def _cublas(a: tuple, b: tuple, out: tuple, sizes: tuple, transposed: tuple, beta: float) -> None:
    """out = a @ b + beta * out for each matrix of a batch. a, b, out: an array, the elements from one row to the next,
    and from one matrix to the next; sizes: M, N, K.

    cuBLAS reads memory column by column, where ours lies row by row, so it sees each matrix transposed. It is asked for
    out^T = b^T a^T: the operands in reverse order, and what it writes column by column is out row by row.
    """
    import cupy
    from cupy.cuda import cublas, runtime

    (x, row_x, step_x), (y, row_y, step_y), (z, row_z, step_z), (M, N, K) = a, b, out, sizes
    single = cublas.CUBLAS_COMPUTE_32F_FAST_TF32 if products_in_tf32() else cublas.CUBLAS_COMPUTE_32F
    stored, computed, scalar = {
        "float16": (runtime.CUDA_R_16F, cublas.CUBLAS_COMPUTE_32F, np.float32),
        "bfloat16": (runtime.CUDA_R_16BF, cublas.CUBLAS_COMPUTE_32F, np.float32),
        "float32": (runtime.CUDA_R_32F, single, np.float32),
        "float64": (runtime.CUDA_R_64F, cublas.CUBLAS_COMPUTE_64F, np.float64),
    }[x.dtype.name]
    written = stored if z.dtype == x.dtype else runtime.CUDA_R_32F
    scalars = np.array([1, beta], scalar)
    one, add = scalars.ctypes.data, scalars.ctypes.data + scalars.itemsize
    transpose_a, transpose_b = map(int, transposed)
    first = cupy.cuda.Device().cublas_handle, transpose_b, transpose_a, N, M, K, one
    if z.ndim == 2:
        cublas.gemmEx(
            *first, y.data.ptr, stored, row_y, x.data.ptr, stored, row_x, add, z.data.ptr, written, row_z,
            computed, cublas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip
    else:
        cublas.gemmStridedBatchedEx(
            *first, y.data.ptr, stored, row_y, step_y, x.data.ptr, stored, row_x, step_x, add,
            z.data.ptr, written, row_z, step_z, z.size // (M * N), computed, cublas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip


def _matrices(x: Array) -> tuple[Array, int, int]:
    """`x` as a batch that cuBLAS can read, and the elements from a row to the next and from a matrix to the next. A
    row's elements must be neighbours and the matrices equally far apart; else, as for packed heads, `x` is copied.
    """
    *_, rows, columns = x.shape
    if not x.flags.c_contiguous:
        *outer, row, column = (stride // x.itemsize for stride in x.strides)
        steps = [(n, step) for n, step in zip(x.shape, outer, strict=False) if n > 1]
        even = all(step == n * inner for (_, step), (n, inner) in zip(steps, steps[1:], strict=False))
        if column == 1 and row >= columns and even:
            return x, row, steps[-1][1] if steps else 0
        x = array_module(x).ascontiguousarray(x)
    return x, columns, rows * columns


def scatter_add(out: Array, index: Array, values: Array) -> None:
    """`out[index[n]] += values[n]` for every n, in place, counting repeated indices each time. out: (V, C); index: (N,)
    integers in [0, V); values: (N, C). On NumPy the rows are sorted by index and each run of equal ones is summed at
    once, in their original order: the same bits every time, and several times the speed of `np.add.at`.
    """
    xp = array_module(out)
    if xp is not np:
        xp.add.at(out, index, values)
        return
    index, sums = sum_by_index(index % len(out), values)  # or a row and its alias from the end would be two
    out[index] += sums


def sum_by_index(index: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The different indices in ascending order, (M,), and the sum of the values of each: (N,), (N, C) -> (M, C)."""
    if index.size == 0:
        return index, values
    order = np.argsort(index, kind="stable")
    sorted_index = index[order]
    starts = np.flatnonzero(np.r_[True, sorted_index[1:] != sorted_index[:-1]])
    return sorted_index[starts], np.add.reduceat(values[order], starts, axis=0)


def erf(x: Array) -> Array:
    """The error function, 2/sqrt(pi) times the integral of exp(-t^2) from 0 to x; same shape and dtype as `x`."""
    if array_module(x) is np:
        return special.erf(x)
    from cupyx.scipy.special import erf as cupy_erf

    return cupy_erf(x)
