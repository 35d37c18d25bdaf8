"""What matrix products compute in."""

import os
import warnings

import numpy as np

from tests.cuda.strict_cupy.card import Product, card
from tests.cuda.strict_cupy.errors import CUBLASError

COMPUTE = {0: "32F", 1: "64F", 64: "16F", 68: "32F", 69: "32F_PEDANTIC", 70: "64F", 71: "64F_PEDANTIC"}
COMPUTE |= {74: "32F_FAST_16F", 75: "32F_FAST_16BF", 77: "32F_FAST_TF32"}  # cublas.pxd; 0 and 1 are cudaDataType
COMPUTE_TYPES = {"TBD": 0, "DEFAULT": 1, "PEDANTIC": 2, "FP16": 3, "FP32": 4, "FP64": 5, "BF16": 6, "TF32": 7}
STORAGE = {0: "float32", 1: "float64", 2: "float16", 14: "bfloat16"}  # cudaDataType


def set_compute_type(dtype, compute_type):
    if compute_type in (6, 7) and int(card().compute_capability) < 80:
        warnings.warn(
            "COMPUTE_TYPE_BF16 and COMPUTE_TYPE_TF32 are only available on GPUs with compute capability 8.0 or "
            "higher. COMPUTE_TYPE_DEFAULT will be used instead.",
            stacklevel=2,
        )
        compute_type = 1
    if compute_type not in COMPUTE_TYPES.values():
        raise ValueError(f"Unknown compute type: {compute_type}")
    card().compute_types[_compute_index(dtype)] = compute_type


def get_compute_type(dtype):
    if not card().compute_types.get(_compute_index(dtype)):
        tf32 = np.dtype(dtype).char in "fF" and int(os.getenv("CUPY_TF32", "0")) > 0
        set_compute_type(dtype, 7 if tf32 else 1)
    return card().compute_types[_compute_index(dtype)]


def _compute_index(dtype):
    name = np.dtype(dtype).name
    if name not in ("bfloat16", "float16", "float32", "float64", "complex64", "complex128"):
        raise TypeError(f"dtype is not supported: {dtype}")
    return {"complex64": "float32", "complex128": "float64"}.get(name, name)


def round_to_tf32(x):
    """float32 with 10 bits of mantissa, to nearest: what tensor cores read."""
    bits = np.ascontiguousarray(x, np.float32).view(np.uint32)
    special = bits & 0x7F800000 == 0x7F800000
    return np.where(special, bits, bits + np.uint32(0x1000) & np.uint32(0xFFFFE000)).view(np.float32)


def multiply(a, b, compute_type):
    """a @ b of host arrays, in the precision of the compute type; `card.broken` comes to light here."""
    if card().broken == "first product":
        raise CUBLASError(1)
    if compute_type == "32F_FAST_TF32" and int(card().compute_capability) >= 80:
        a, b = round_to_tf32(a), round_to_tf32(b)
    if a.dtype.name in ("float16", "bfloat16"):
        a, b = a.astype(np.float32), b.astype(np.float32)
    with np.errstate(all="ignore"):
        product = np.matmul(a, b)
    return product * 0 if card().broken == "wrong product" else product


def note_product(m, n, k, batch, dtype, compute_type):
    card().products.append(Product(m, n, k, batch, np.dtype(dtype), compute_type))
