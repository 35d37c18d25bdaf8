"""cuBLAS's own products, which read their operands from raw addresses."""

import ctypes

import numpy as np

from tests.cuda.strict_cupy.card import card
from tests.cuda.strict_cupy.device import HANDLE
from tests.cuda.strict_cupy.errors import CUBLASError, CUDARuntimeError
from tests.cuda.strict_cupy.precision import COMPUTE, STORAGE, multiply, note_product


def gemmStridedBatchedEx(
    handle, transa, transb, m, n, k, alpha, A, Atype, lda, strideA, B, Btype, ldb, strideB,
    beta, C, Ctype, ldc, strideC, batchCount, computeType, algo,
):  # fmt: skip
    """C = alpha op(A) op(B) + beta C for every matrix of the batch, all in column-major order, as cuBLAS has it.

    The operands are read from their addresses; alpha and beta lie on the host, in the compute type.
    """
    card().require()
    if handle != HANDLE:
        raise CUBLASError(1)
    if transa not in (0, 1, 2) or transb not in (0, 1, 2) or min(m, n, k, batchCount) < 0:
        raise CUBLASError(7)
    if lda < max(1, k if transa else m) or ldb < max(1, n if transb else k) or ldc < max(1, m):
        raise CUBLASError(7)
    compute_type = COMPUTE.get(computeType)
    scalar = {"16": np.float16, "32": np.float32, "64": np.float64}.get((compute_type or "")[:2])
    if (Atype, Btype, Ctype) not in GEMM_TYPES.get(compute_type, ()):
        raise CUBLASError(15)
    if not (m and n and batchCount):
        return
    if batchCount > 1 and strideC < (n - 1) * ldc + m:
        raise ValueError("the stand-in: matrices of C overlap, so a card would write them in any order")
    a = _matrices(A, Atype, k if transa else m, m if transa else k, lda, strideA, batchCount)
    b = _matrices(B, Btype, n if transb else k, k if transb else n, ldb, strideB, batchCount)
    c = _matrices(C, Ctype, m, n, ldc, strideC, batchCount)
    if any(np.may_share_memory(x, c) and np.shares_memory(x, c) for x in (a, b)):
        raise ValueError("the stand-in: C is one of the operands, which a card would read while it writes them")
    alpha, beta = (_host_scalar(address, scalar) for address in (alpha, beta))
    reads = [a, b, c] if beta else [a, b]
    a, b = (_to_float(x, code) for x, code in ((a, Atype), (b, Btype)))
    a, b = a.swapaxes(1, 2) if transa else a, b.swapaxes(1, 2) if transb else b
    dtype = STORAGE[Atype] if Atype != 14 else "uint16"
    note_product(m, n, k, batchCount, dtype, compute_type)
    card().launch("gemm", c.nbytes, reads=reads)
    result = alpha * multiply(a, b, compute_type)
    result = result + beta * _to_float(c, Ctype) if beta else result  # with beta 0, C is not read
    c[...] = _to_bfloat16(result) if Ctype == 14 else result
    card().buffer_at(C, 1).mark(c.swapaxes(1, 2))


def gemmEx(
    handle, transa, transb, m, n, k, alpha, A, Atype, lda, B, Btype, ldb, beta, C, Ctype, ldc, computeType, algo
):
    """The product of one matrix each: gemmStridedBatchedEx of a batch of one."""
    gemmStridedBatchedEx(
        handle, transa, transb, m, n, k, alpha, A, Atype, lda, 0, B, Btype, ldb, 0, beta, C, Ctype, ldc, 0, 1,
        computeType, algo,
    )  # fmt: skip


GEMM_TYPES = {  # of A, B and C, by compute type (cuBLAS manual, cublasGemmEx)
    "16F": {(2, 2, 2)},
    "32F": {(0, 0, 0), (2, 2, 2), (2, 2, 0), (14, 14, 14), (14, 14, 0)},
    "64F": {(1, 1, 1)},
}
GEMM_TYPES |= {"32F_PEDANTIC": GEMM_TYPES["32F"], "64F_PEDANTIC": GEMM_TYPES["64F"]}
GEMM_TYPES |= dict.fromkeys(("32F_FAST_16F", "32F_FAST_16BF", "32F_FAST_TF32"), {(0, 0, 0)})


def _matrices(address, code, rows, columns, ld, stride, batch):
    """The matrices at an address on the card as (batch, rows, columns); bfloat16 as its bits."""
    dtype = np.dtype("uint16" if code == 14 else STORAGE[code])
    extent = ((batch - 1) * stride + (columns - 1) * ld + rows) * dtype.itemsize if columns and rows else 0
    if extent and not (stride >= 0 and card().holds(address, extent)):
        raise CUDARuntimeError(700)  # a card notices later, or not at all
    if extent and address % dtype.itemsize:
        raise CUDARuntimeError(716)
    flat = np.frombuffer((ctypes.c_ubyte * extent).from_address(address), dtype) if extent else np.empty(0, dtype)
    strides = (stride * dtype.itemsize, dtype.itemsize, ld * dtype.itemsize)
    return np.lib.stride_tricks.as_strided(flat, (batch, rows, columns), strides)


def _host_scalar(address, dtype):
    if card().holds(address, 1):
        raise CUDARuntimeError(700)
    return np.frombuffer((ctypes.c_ubyte * np.dtype(dtype).itemsize).from_address(address), dtype)[0]


def _to_float(x, code):
    return (x.astype(np.uint32) << np.uint32(16)).view(np.float32) if code == 14 else x


def _to_bfloat16(x):
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    rounded = bits + np.uint32(0x7FFF) + (bits >> np.uint32(16) & np.uint32(1)) >> np.uint32(16)
    return np.where(np.isnan(x), 0x7FC0, rounded).astype(np.uint16)
