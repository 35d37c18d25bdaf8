"""The right kernels of `kernels/`, launched on random numbers: their relative errors, and their outputs."""

import numpy as np

from tests.emulator.running import module
from tinygpt import emulator


def relative_error(got, expected):
    return np.linalg.norm(np.asarray(got, np.float64) - expected) / np.linalg.norm(expected)


def layernorm(rng, real="float", N=9, C=200):
    dtype = {"float": np.float32, "double": np.float64}[real]
    x, w, b = (emulator.asarray(rng.standard_normal(shape), dtype) for shape in ((N, C), C, C))
    out, mean, rstd = emulator.empty((N, C), dtype), emulator.empty(N, dtype), emulator.empty(N, dtype)
    kernel = module("layernorm.cu", f"-DREAL={real}").get_function("layernorm")
    args = (x, w, b, out, mean, rstd, np.int32(C), dtype(1e-5))
    kernel((N,), (128,), args, shared_mem=C * x.itemsize)
    x = x.astype(np.float64)
    xhat = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 1e-5)
    return relative_error(out, xhat * w + b), (out, mean, rstd)


def layernorm_double(rng):
    return layernorm(rng, "double")


def transpose(rng, R=70, C=100, kernel="transpose", options=()):
    x, out = emulator.asarray(rng.standard_normal((R, C)), "float32"), emulator.empty((C, R))
    grid = (-(-C // 32), -(-R // 32))
    module("transpose.cu", *options).get_function(kernel)(grid, (32, 8), (x, out, np.int32(R), np.int32(C)))
    return relative_error(out, x.T), (out,)


def transpose_naive(rng):
    return transpose(rng, kernel="transpose_naive")


def embedding(rng, kernel="embedding_ordered", N=40, V=11, C=48):
    ids = emulator.asarray(rng.integers(0, V, N), "int32")
    dout = emulator.asarray(rng.standard_normal((N, C)), "float32")
    dw = emulator.asarray(np.zeros((V, C)), "float32")
    blocks = V if kernel == "embedding_ordered" else N
    module("embedding.cu").get_function(kernel)((blocks,), (32,), (ids, dout, dw, np.int32(N), np.int32(C)))
    expected = np.zeros((V, C))
    np.add.at(expected, ids, dout.astype(np.float64))
    return relative_error(dw, expected), (dw,)


def embedding_atomic(rng):
    return embedding(rng, "embedding_atomic")


def row_sums(rng, N=5, C=768):
    x, out = emulator.asarray(rng.standard_normal((N, C)), "float32"), emulator.empty(N)
    module("pipeline.cu").get_function("row_sums")((N,), (64,), (x, out, np.int32(C)))
    return relative_error(out, x.astype(np.float64).sum(1)), (out,)


def total(rng, n=1000, blocks=7):
    x, partial, out = emulator.asarray(rng.random(n), "float32"), emulator.empty(blocks), emulator.empty(1)
    done = emulator.asarray([0], "uint32")
    module("pipeline.cu").get_function("total")((blocks,), (32,), (x, partial, done, out, np.int32(n)))
    return relative_error(out, [x.sum(dtype=np.float64)]), (partial, out)


def reverse(rng, n=512):
    x, out = emulator.asarray(rng.random(n), "float32"), emulator.empty(n)
    module("pipeline.cu").get_function("reverse")((n // 128,), (128,), (x, out))
    return relative_error(out, x.reshape(-1, 32)[:, ::-1].reshape(-1)), (out,)


RIGHT = {
    layernorm: 1e-6, layernorm_double: 1e-14, transpose: 0, transpose_naive: 0, embedding: 1e-6, embedding_atomic: 1e-6,
    row_sums: 1e-6, total: 1e-6, reverse: 0,
}  # fmt: skip
