"""Matrix products."""

import numpy as np

from tests.cuda.strict_cupy.array import copied, device_array, into, ndarray
from tests.cuda.strict_cupy.precision import get_compute_type, multiply, note_product
from tests.cuda.strict_cupy.ufuncs import UFUNCS


def dot(a, b, out=None):
    device_array(a), device_array(b)
    dtype = np.promote_types(a.dtype, b.dtype)
    if out is not None:
        if device_array(out).dtype != dtype:
            raise ValueError("Not supported dtype combination.")
        if not out.flags.c_contiguous:
            raise ValueError("Output array must be C-contiguous")
    if a.ndim == 0 or b.ndim == 0:
        return UFUNCS["multiply"](a, b, out=out)
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError("Axis dimension mismatch")
    if a.ndim > 2 or b.ndim > 2:
        raise NotImplementedError("the stand-in's dot takes vectors and matrices; use matmul")
    if a.ndim == b.ndim == 1:  # an elementwise product and a sum
        return into("dot", UFUNCS["multiply"](a, b)._np.sum(dtype=dtype), out, "no", (a,))
    shape = a.shape[:-1] + b.shape[1:]
    a = a.reshape(1, -1) if a.ndim == 1 else a
    b = b.reshape(-1, 1) if b.ndim == 1 else b
    (n, k), m = a.shape, b.shape[1]
    if not (m and n and k):
        return into("matmul", np.zeros(shape, dtype), out, "no")
    compute_type = _compute_type_2d(dtype)
    a, b = (x.astype(dtype, copy=False) for x in (a, b))
    a, b = (x if x.flags.c_contiguous or x.flags.f_contiguous else copied(x, "matmul") for x in (a, b))
    note_product(m, n, k, 1, dtype, compute_type)
    product = multiply(a._np, b._np, compute_type).astype(dtype, copy=False).reshape(shape)
    return into("matmul", product, out, "no", (a, b))


def _compute_type_2d(dtype):
    if dtype.kind in "biu":
        return "integer"
    chosen = get_compute_type(dtype)
    name = "64F" if dtype.char in "dD" else "32F_FAST_TF32" if chosen == 7 and dtype.char in "fF" else "32F"
    return name + "_PEDANTIC" if chosen == 2 else name


def matmul(a, b, out=None):
    """Of two dimensions: `dot`. Of more: both operands C-contiguous, or copied; never TF32 (_routines_linalg.pyx)."""
    for x in (a, b) if out is None else (a, b, out):
        if not isinstance(x, ndarray):
            raise TypeError(f"Argument has incorrect type (expected cupy._core.core._ndarray_base, got {type(x)})")
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError("Scalar operands are not allowed, use '*' instead")
    dtype = np.promote_types(a.dtype, b.dtype)
    if max(a.ndim, b.ndim) <= 2:
        if out is None or out.flags.c_contiguous and out.dtype == dtype:
            return dot(a, b, out)
        product = dot(a, b)
        return into("matmul", product._np, out, "same_kind", (product,))
    if dtype.name == "bfloat16":
        raise TypeError("data type 'E' not understood")  # _tensordot_core_int_kernel: cuBLAS is not even asked
    upcast = np.dtype(np.float32) if dtype.char == "e" else dtype
    left, right = (
        x if x.flags.c_contiguous and x.dtype == upcast else copied(x, "matmul", upcast, "C") for x in (a, b)
    )
    rows, columns = (1 if a.ndim == 1 else a.shape[-2]), (1 if b.ndim == 1 else b.shape[-1])
    if a.shape[-1] != b.shape[-2 if b.ndim > 1 else 0]:
        raise ValueError(f"shapes {a.shape} and {b.shape} not aligned")
    compute_type = "integer" if upcast.kind in "biu" else "64F" if upcast.char in "dD" else "32F"
    product = multiply(left._np, right._np, compute_type)
    if product.size and a.shape[-1]:
        note_product(columns, rows, a.shape[-1], product.size // (rows * columns), upcast, compute_type)
    if out is not None and out.shape != product.shape:
        raise ValueError("Output array has an invalid size")
    return into("matmul", product.astype(dtype, copy=False), out, "same_kind", (left, right))


ndarray.dot = dot
