"""The first questions: how fast are the products of a GPT-2 step, and what does a launch cost?"""

import math
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from report.rates import Ahead, event_seconds, largest_rates
from report.report import Report

PLACE, SECONDS = 15, 25

KINDS = {  # of products: the bytes of an operand's and of the result's numbers
    "float32": (4, 4), "TF32": (4, 4), "bf16": (2, 2), "bf16, float32 out": (2, 4),
}  # fmt: skip
ALIGNED = 64  # numbers: where rows of logits begin
ROOM = 1 << 24  # numbers that are drawn, and repeated where more are needed
SHORT = 2e10  # FLOPs of a product that a card may do as quickly as the host queues it
CALLS = 300  # fewer than a launch queue holds


class Product(NamedTuple):
    """out = a @ b, either transposed; out += for a weight's gradient."""

    name: str
    a: tuple[int, int]
    b: tuple[int, int]
    transpose_a: bool = False
    transpose_b: bool = False
    beta: float = 0.0

    @property
    def sizes(self) -> tuple[int, int, int]:
        """M, N, K."""
        M, K = self.a[::-1] if self.transpose_a else self.a
        return M, self.b[0 if self.transpose_b else 1], K


def run(report: Report) -> None:
    ahead = Ahead(report.stand_in)
    launches(report, ahead)
    rows = products(report, ahead)
    best = {kind: max(row[f"{kind}, TFLOP/s"] for row in rows) for kind in KINDS}
    worst = {kind: min(row[f"{kind}, TFLOP/s"] for row in rows) for kind in KINDS}
    each = (
        f"{kind} {report.number(worst[kind], 'TFLOP/s')} to {report.number(best[kind], 'TFLOP/s')}" for kind in KINDS
    )
    report.answer("products of a GPT-2 step: " + "; ".join(each))


def step_products(N: int, C: int, V: int) -> list[Product]:
    """Of a GPT-2 step with N tokens: each linear layer's forward, dx and dw, and the head's."""
    layers = {"c_attn": (C, 3 * C), "c_proj": (C, C), "c_fc": (C, 4 * C), "mlp c_proj": (4 * C, C)}
    found: list[Product] = []
    for name, (I, O) in layers.items():  # noqa: E741
        found += [
            Product(f"{name}", (N, I), (I, O)),
            Product(f"{name} dx", (N, O), (I, O), transpose_b=True),
            Product(f"{name} dw", (N, I), (N, O), transpose_a=True, beta=1.0),
        ]
    for name, width in (("head", V), ("padded head", -(-V // ALIGNED) * ALIGNED)):
        found += [
            Product(name, (N, C), (width, C), transpose_b=True),
            Product(f"{name} dx", (N, width), (width, C)),
            Product(f"{name} dw", (N, width), (N, C), transpose_a=True, beta=1.0),
        ]
    return found


def products(report: Report, ahead: Ahead) -> list[dict[str, Any]]:
    """A row for each product of the step. Rows of V numbers begin at multiples of ALIGNED."""
    import cupy

    from tinygpt.random import random_bits

    rates = largest_rates(report)
    tokens, C, V = (96, 32, 250) if report.stand_in else (12 * 1024, 768, 50257)
    bits = random_bits((1, 1 << 12 if report.stand_in else ROOM), 1, 0, cupy)[0]
    drawn = (bits * np.float32(2.0**-32) - np.float32(0.5)).astype(np.float32)
    rows: list[dict[str, Any]] = []
    for product in step_products(tokens, C, V):
        M, N, K = product.sizes
        row: dict[str, Any] = {"product": product.name, "M x N x K": f"{M:,} x {N:,} x {K:,}"}
        for kind, (size, out_size) in KINDS.items():
            a, b, out = (
                matrix(shape, itemsize, drawn)
                for shape, itemsize in ((product.a, size), (product.b, size), ((M, N), out_size))
            )
            multiply = multiplication(product, kind, a, b, out)
            repeats = 1 if report.stand_in else max(3, math.ceil(4e12 / (2 * M * N * K)))
            short = 2 * M * N * K < SHORT
            rate = 2 * M * N * K / event_seconds(multiply, repeats, ahead if short else None)
            largest = rates.get(kind.partition(",")[0])
            row |= {f"{kind}, TFLOP/s": rate / 1e12, f"of the largest ({kind}), %": rate / largest if largest else None}
            del a, b, out, multiply
        rows.append(row)
        report.table(f"Products of a GPT-2 step, {tokens:,} tokens", rows)
    report.say(
        "Of the largest: of the rate that large square products reach, in `machine`. float32 and TF32 through the "
        "engine's own function, bf16 by cublasGemmEx on the bits alone. A weight's gradient is added to what is there. "
        f"Rows of logits begin at multiples of {ALIGNED} numbers; in the padded head all of those are computed."
    )
    return rows


def matrix(shape: tuple[int, int], itemsize: int, drawn: Any) -> Any:
    """Random numbers in rows that begin at multiples of ALIGNED numbers: float32, or bfloat16 as its bits."""
    import cupy

    rows, columns = shape
    room = rows * -(-columns // ALIGNED) * ALIGNED
    values = drawn if itemsize == 4 else (drawn.view(np.uint32) >> np.uint32(16)).astype(np.uint16)
    flat = cupy.empty(room, values.dtype)
    for start in range(0, room, values.size):
        part = flat[start : start + values.size]
        part[...] = values[: part.size]
    return flat.reshape(rows, -1)[:, :columns]


def multiplication(product: Product, kind: str, a: Any, b: Any, out: Any) -> Callable[[], None]:
    """What queues a product."""
    from tinygpt.backend import gemm, tf32_products

    if not kind.startswith("bf16"):

        def ours() -> None:
            with tf32_products(kind == "TF32", "cuda"):
                gemm(a, b, out, product.transpose_a, product.transpose_b, product.beta)

        return ours
    import cupy
    from cupy.cuda import cublas, runtime

    M, N, K = product.sizes
    types = {2: runtime.CUDA_R_16BF, 4: runtime.CUDA_R_32F}
    row_a, row_b, row_out = (x.strides[0] // x.itemsize for x in (a, b, out))
    scalars = np.array([1, product.beta], np.float32)

    def bf16() -> None:  # out^T = b^T a^T, as `backend._cublas` has it
        one, add = scalars.ctypes.data, scalars.ctypes.data + scalars.itemsize
        cublas.gemmEx(
            cupy.cuda.Device().cublas_handle, int(product.transpose_b), int(product.transpose_a), N, M, K, one,
            b.data.ptr, types[2], row_b, a.data.ptr, types[2], row_a, add, out.data.ptr, types[out.itemsize], row_out,
            cublas.CUBLAS_COMPUTE_32F, cublas.CUBLAS_GEMM_DEFAULT,
        )  # fmt: skip

    return bf16


EMPTY = """
extern "C" __global__ void two(float* x, int n) {}
extern "C" __global__ void twelve(
    const float* a, const float* b, float* c, float* d, float* e, float* f, int n, int m, float eps, float scale,
    unsigned long long key, unsigned int threshold) {}
"""


def launches(report: Report, ahead: Ahead) -> None:
    """What one of each costs the host, and the card."""
    import cupy

    from tinygpt.backend import gemm, raw_module, synchronize
    from tinygpt.kernels.cuda.compiled import Kernels

    kernels = Kernels(raw_module(EMPTY), np.float32)
    x, small = cupy.ones(1 << 20, np.float32), cupy.ones((3, 32, 32), np.float32)
    a, b, out = small
    numbers = 1, 1, 1e-5, 1.0, np.uint64(1), np.uint32(1)
    works: dict[str, Callable[[], Any]] = {
        "a kernel with 2 arguments": lambda: kernels.launch("two", 1, 32, x, 1),
        "a kernel with 12 arguments": lambda: kernels.launch("twelve", 1, 32, x, x, x, x, x, x, *numbers),
        "`gemm` of 32x32": lambda: gemm(a, b, out),
        "CuPy's `x + x`, 32x32": lambda: a + a,
        "CuPy's `x += x`, 32x32": lambda: out.__iadd__(a),
        "CuPy's `empty`": lambda: cupy.empty((32, 32), np.float32),
        "`empty` of 4 MB": lambda: cupy.empty_like(x),
        "CuPy's `x[...] = 0`, 4 MB": lambda: x.__setitem__(..., 0),
    }
    rows, count = [], 5 if report.stand_in else CALLS
    for name, work in works.items():
        for _ in range(20 if not report.stand_in else 1):
            work()
        synchronize("cuda")
        began = time.perf_counter()
        for _ in range(count):
            work()
        host = (time.perf_counter() - began) / count
        synchronize("cuda")
        ahead.queue()
        start, end = cupy.cuda.Event(), cupy.cuda.Event()
        start.record()
        for _ in range(count):
            work()
        end.record()
        end.synchronize()
        on_card = cupy.cuda.get_elapsed_time(start, end) * 1e3 / count
        rows.append({"": name, "the host, µs": host * 1e6, "one after the other on the card, µs": on_card})
        report.table("What one costs", rows)
    report.say(f"{CALLS} in a row, without waiting; on the card behind other work, so that it waits for nobody.")
